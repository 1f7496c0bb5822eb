"""What stands in a lane between frames: a switch, a call into the session, a place that somebody waits for."""

import asyncio
from collections.abc import Callable, Generator, Sequence
from typing import Any, Protocol

import msgspec

from infrastructure.errors import AwaitedInsideCallback
from infrastructure.events import Architecture
from infrastructure.networking.websocket.route import Route
from infrastructure.session import Emission


class MarkedLane(Protocol):
    """What a marker needs of its lane."""

    def is_current_task(self) -> bool:
        """Whether the code that asks runs inside the lane's task."""

    def wake(self) -> None:
        """See to it that the marker is reached."""

    def withdraw(self, marker: "Switch") -> bool:
        """Take a switch back."""


class SwitchReceipt(msgspec.Struct, frozen=True):
    """Where a switch happened: the old receiver got every frame up to ``after_frame``, the new one every later frame.

    ``backlog`` frames were still to be handled by the old receiver at the request; they were. ``changed`` is False when the architecture
    was in place already, or the switch was withdrawn. Where a venue has several connections, each has a receipt of its own in
    ``connections``, and the counts here are the sums.
    """

    architecture: Architecture
    after_frame: int
    backlog: int
    requested_ns: int
    switched_ns: int
    changed: bool
    withdrawn: bool = False
    connections: "tuple[SwitchReceipt, ...]" = ()

    @property
    def wait_ns(self) -> int:
        """From the request to the moment the new receiver was in place; the old one handled frames meanwhile."""
        return self.switched_ns - self.requested_ns


class Marker:
    """Something in a lane that can be waited for. Awaiting it inside a callback of that lane raises AwaitedInsideCallback."""

    __slots__ = ("_lane", "_waiters", "_what", "is_done")

    def __init__(self, lane: MarkedLane, what: str) -> None:
        self._lane = lane
        self._what = what
        self._waiters: list[asyncio.Future[None]] = []
        self.is_done = False

    def __await__(self) -> Generator[Any, None, Any]:
        self.refuse_inside()
        if not self.is_done:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            self._lane.wake()
            yield from waiter
        return self._result()

    def _result(self) -> object:
        return None

    def refuse_inside(self) -> None:
        """Raise AwaitedInsideCallback in a callback of the lane, which would wait for itself."""
        if self._lane.is_current_task():
            raise AwaitedInsideCallback(self._what)

    def finish(self) -> None:
        """The lane has reached this marker."""
        self.is_done = True
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    @property
    def is_awaited(self) -> bool:
        """Whether a task waits for this at the moment."""
        return any(not waiter.done() for waiter in self._waiters)


class Switch(Marker):
    """A switch on its way; awaiting it returns the SwitchReceipt."""

    __slots__ = ("_after_frame", "_backlog", "receipt", "requested_ns", "route")

    def __init__(self, lane: MarkedLane, route: Route, after_frame: int, backlog: int, requested_ns: int) -> None:
        super().__init__(lane, "switch()")
        self.route = route
        self.receipt: SwitchReceipt | None = None
        self._after_frame = after_frame
        self._backlog = backlog
        self.requested_ns = requested_ns

    def __await__(self) -> Generator[Any, None, SwitchReceipt]:
        return super().__await__()

    @property
    def parts(self) -> "Sequence[Switch]":
        """Itself: it is of one lane."""
        return (self,)

    def withdraw(self) -> bool:
        """Take the switch back; False when the lane has passed it already."""
        return self._lane.withdraw(self)

    def settle(self, at_ns: int, changed: bool, withdrawn: bool = False) -> None:
        """Fix the receipt and wake whoever waits."""
        self.receipt = SwitchReceipt(
            self.route.architecture, self._after_frame, self._backlog, self.requested_ns, at_ns, changed, withdrawn
        )
        self.finish()

    def _result(self) -> object:
        return self.receipt


class Markers:
    """The same in several lanes, in each at a place of its own. Awaiting it inside a callback of any raises AwaitedInsideCallback."""

    def __init__(self, markers: Sequence[Marker]) -> None:
        self._markers = markers

    def __await__(self) -> Generator[Any, None, Any]:
        for marker in self._markers:
            marker.refuse_inside()
        for marker in self._markers:
            yield from marker.__await__()
        return self._result()

    @property
    def is_done(self) -> bool:
        """Whether every lane has reached its marker."""
        return all(marker.is_done for marker in self._markers)

    def _result(self) -> object:
        return None


class Switches(Markers):
    """One switch of several lanes; awaiting it returns one SwitchReceipt for all."""

    def __init__(self, switches: Sequence[Switch]) -> None:
        super().__init__(switches)
        self._switches = switches

    def __await__(self) -> Generator[Any, None, SwitchReceipt]:
        return super().__await__()

    def _result(self) -> object:
        return self.receipt

    @property
    def parts(self) -> Sequence[Switch]:
        """The switch of each lane."""
        return self._switches

    def withdraw(self) -> bool:
        """Take the switch back in the lanes that have not reached it; False when all have passed it already."""
        return any([switch.withdraw() for switch in self._switches])

    @property
    def receipt(self) -> SwitchReceipt | None:
        """The receipts of all lanes together; None until every one has its own."""
        receipts = [switch.receipt for switch in self._switches if switch.receipt is not None]
        if len(receipts) < len(self._switches):
            return None
        return SwitchReceipt(
            architecture=receipts[0].architecture,
            after_frame=sum(receipt.after_frame for receipt in receipts),
            backlog=sum(receipt.backlog for receipt in receipts),
            requested_ns=min(receipt.requested_ns for receipt in receipts),
            switched_ns=max(receipt.switched_ns for receipt in receipts),
            changed=any(receipt.changed for receipt in receipts),
            withdrawn=all(receipt.withdrawn for receipt in receipts),
            connections=tuple(receipts),
        )


class Call(Marker):
    """A change of the session's state that has its place between frames, such as a snapshot's arrival."""

    __slots__ = ("action", "received_ns")

    def __init__(self, lane: MarkedLane, what: str, action: Callable[[], Sequence[Emission]], received_ns: int) -> None:
        super().__init__(lane, what)
        self.action = action
        self.received_ns = received_ns
