"""Faults of our own side, planted into a demonstration so that it can be seen to find them."""

from collections import deque
from enum import StrEnum
from math import inf
from typing import Any

from infrastructure.errors import DecodeError
from infrastructure.events import Fill
from infrastructure.networking.websocket.lane import Lane
from infrastructure.networking.websocket.marker import Switch
from infrastructure.networking.websocket.pipeline import LaneType
from infrastructure.private_session import PrivateSession

#: Frames that wait when our own fault lets others overtake them.
BACKLOG = 10
#: So many frames after a switch, when the lane is busy, so many are spoiled: books are repaired, but not all of them are of books.
SPOIL_AFTER = 50
SPOILED = 10
#: Frames that are swapped come so many frames late: by then their streams have gone on.
SWAP_LATE = 100
#: One fill in so many is spoiled.
SPOIL_FILL_EVERY = 5


class Inject(StrEnum):
    """Faults of our own side that the ledgers must find."""

    FLIP_EARLY = "flip-early"
    DROP = "drop"
    DOUBLE = "double"
    SWAP = "swap"
    LOSE_FILL = "lose-fill"
    DOUBLE_FILL = "double-fill"


class FlipEarlyLane(Lane):
    """A lane with the bug that the marker exists to prevent: after a switch, new frames do not wait for the backlog."""

    def deliver(self, raw: bytes | str, received_ns: int | None = None) -> None:
        """Take one frame, past whatever waits."""
        early = next((item for item in self._fifo if isinstance(item, Switch)), None)
        if early is not None and not early.route.is_queued:
            self._set_route(early.route)
            waiting, self._fifo = self._fifo, deque()
            super().deliver(raw, received_ns)
            self._fifo.extendleft(reversed(waiting))
        else:
            super().deliver(raw, received_ns)


class FlipInBacklogLane(FlipEarlyLane):
    """The same; a switch that finds no backlog waits for one."""

    _put_off: Switch | None = None

    def switch(self, route: Any) -> Switch:
        """Switch; where there is no backlog, wait for one."""
        if route.is_queued or not self._is_free():
            return super().switch(route)
        self._put_off = Switch(self, route, self.received, 0, self._monotonic_ns())
        return self._put_off

    def deliver(self, raw: bytes | str, received_ns: int | None = None) -> None:
        """Take one frame."""
        if self._put_off is not None and len(self._fifo) == BACKLOG:
            self._append(self._put_off)
            self._put_off = None
        super().deliver(raw, received_ns)


class SpoilingLane(Lane):
    """A lane that loses, doubles or swaps a few frames after each switch."""

    fault: Inject
    _since_switch = inf
    _kept: tuple[tuple[bytes | str, int | None], ...] = ()

    def switch(self, route: Any) -> Switch:
        """Switch, and spoil frames soon after."""
        if not self._kept:
            self._since_switch = 0
        return super().switch(route)

    def deliver(self, raw: bytes | str, received_ns: int | None = None) -> None:
        """Take one frame, unless it is to be spoiled."""
        self._since_switch += 1
        is_spoiled = 0 < self._since_switch - SPOIL_AFTER <= SPOILED
        if is_spoiled and self.fault is Inject.DROP:
            return
        if is_spoiled and self.fault is Inject.SWAP:
            self._kept += ((raw, received_ns),)
            return
        super().deliver(raw, received_ns)
        if is_spoiled:
            super().deliver(raw, received_ns)
        elif self._since_switch == SPOIL_AFTER + SPOILED + SWAP_LATE:
            for kept in self._kept:
                super().deliver(*kept)
            self._kept = ()


class DroppingLane(SpoilingLane):
    """Loses them."""

    fault = Inject.DROP


class DoublingLane(SpoilingLane):
    """Hands each of them on twice."""

    fault = Inject.DOUBLE


class SwappingLane(SpoilingLane):
    """Hands them on after later ones."""

    fault = Inject.SWAP


class FillSpoilingLane(Lane):
    """An account's lane that spoils what is known of a fill now and then. Lost frames alone would not do: REST makes up for those."""

    def __init__(self, route: Any, session: PrivateSession, *arguments: Any, **settings: Any) -> None:
        super().__init__(route, session, *arguments, **settings)
        self._session = session
        self._fills = 0

    def _spoiled(self, raw: bytes | str) -> list[Fill]:
        """The fills in a frame that are to be spoiled."""
        try:
            fills = [message for message in self._session.venue.codec.decode(raw) if isinstance(message, Fill)]
        except DecodeError:
            return []
        before, self._fills = self._fills, self._fills + len(fills)
        return fills if before // SPOIL_FILL_EVERY < self._fills // SPOIL_FILL_EVERY else []


class FillLosingLane(FillSpoilingLane):
    """Takes them for told."""

    def deliver(self, raw: bytes | str, received_ns: int | None = None) -> None:
        """Take one frame, with the fault."""
        for fill in self._spoiled(raw):
            self._session.account.apply(fill)
        super().deliver(raw, received_ns)


class FillDoublingLane(FillSpoilingLane):
    """Forgets that they were told, and hands them on again."""

    def deliver(self, raw: bytes | str, received_ns: int | None = None) -> None:
        """Take one frame, and the same again where it is to be spoiled."""
        is_spoiled = bool(self._spoiled(raw))
        super().deliver(raw, received_ns)
        if is_spoiled:
            self.call("forget", self._forget, received_ns)
            super().deliver(raw, received_ns)

    def _forget(self) -> list[Any]:
        self._session.account._told.clear()
        return []


#: By fault: the lane that has it, of the market or of the account.
LANES: dict[Inject, type[Lane]] = {
    Inject.FLIP_EARLY: FlipInBacklogLane,
    Inject.DROP: DroppingLane,
    Inject.DOUBLE: DoublingLane,
    Inject.SWAP: SwappingLane,
    Inject.LOSE_FILL: FillLosingLane,
    Inject.DOUBLE_FILL: FillDoublingLane,
}


def lane_with(inject: Inject | None) -> LaneType:
    """Lanes with a fault: those of the market or those of the account, as it is a fault of the one or the other."""
    if inject is None:
        return Lane
    spoiling = LANES[inject]
    is_of_account = issubclass(spoiling, FillSpoilingLane)

    def lane(route: Any, session: Any, *arguments: Any, **settings: Any) -> Lane:
        kind = spoiling if isinstance(session, PrivateSession) is is_of_account else Lane
        return kind(route, session, *arguments, **settings)

    return lane
