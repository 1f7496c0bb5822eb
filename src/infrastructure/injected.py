"""Faults of our own side, planted into a demonstration so that it can be seen to find them."""

from collections import deque
from enum import StrEnum
from math import inf
from typing import Any

from infrastructure.networking.websocket.lane import Lane
from infrastructure.networking.websocket.marker import Switch

#: Frames that wait when our own fault lets others overtake them.
BACKLOG = 10
#: So many frames after a switch, when the lane is busy, so many are spoiled: books are repaired, but not all of them are of books.
SPOIL_AFTER = 50
SPOILED = 10
#: Frames that are swapped come so many frames late: by then their streams have gone on.
SWAP_LATE = 100


class Inject(StrEnum):
    """Faults of our own side that the ledger must find."""

    FLIP_EARLY = "flip-early"
    DROP = "drop"
    DOUBLE = "double"
    SWAP = "swap"


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


#: By fault: the lane that has it.
LANES: dict[Inject, type[Lane]] = {
    Inject.FLIP_EARLY: FlipInBacklogLane,
    Inject.DROP: DroppingLane,
    Inject.DOUBLE: DoublingLane,
    Inject.SWAP: SwappingLane,
}
