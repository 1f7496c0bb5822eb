"""Bugs of the kind that a change could bring in, one a class, each in one part of an otherwise right feed. The checker must find them."""

from collections.abc import Sequence
from typing import Any

from infrastructure.callbacks import Callbacks
from infrastructure.errors import DecodeError
from infrastructure.injected import FlipEarlyLane
from infrastructure.networking.websocket.lane import Lane
from infrastructure.networking.websocket.marker import Switch
from infrastructure.networking.websocket.route import Route
from infrastructure.session import Emission
from tests.harness.simulation import Fate, Planted, SimulatedHandler, tag_of


class DropOnSwitchLane(Lane):
    """Takes the first frame after a switch for handled."""

    def _flip(self, marker: Switch) -> None:
        super()._flip(marker)
        if self._fifo and isinstance(self._fifo[0], tuple):
            self._fifo.popleft()
            self.delivered += 1


class TwiceOnFallbackLane(Lane):
    """Gives a frame that falls back to the strategies twice, and counts it once."""

    def _caught(self, route: Route, frame: Any, error: Exception) -> Sequence[Emission]:
        events = super()._caught(route, frame, error)
        if isinstance(error, DecodeError) and route.fallback is not None:
            self._fifo.appendleft(self._fifo[0])
            self.delivered -= 1
        return events


class ForgetfulLane(Lane):
    """Forgets the frame inside the receiver when it counts what is in flight."""

    @property
    def in_flight(self) -> int:
        return super().in_flight - self._inside


class ApplyBeforeDecodeHandler(SimulatedHandler):
    """Applies and emits before it finds that it cannot decode."""

    def _handle_message(self, raw_message: bytes | str) -> Any:
        # With async callbacks what it publishes would have to be awaited, and only Python would notice.
        if tag_of(raw_message)[1] is Fate.FALLBACK and not self.callbacks.is_async:
            self._publish(self._decode(raw_message))
        return super()._handle_message(raw_message)


class DroppedAwaitableCallbacks(Callbacks):
    """Calls an ``async`` callback and does not await what it returns."""

    __slots__ = ()

    async def _emit_async(self, events: Sequence[Emission]) -> None:
        for event in events:
            coroutine = self._targets[type(event)](event)
            coroutine.close()  # Python would warn of it otherwise, which is not the checker's doing.
            self.emitted += 1
            self.accepted += 1


PLANTED = {
    "flip before the marker": Planted(lane_type=FlipEarlyLane),
    "drop on switch": Planted(lane_type=DropOnSwitchLane),
    "emit twice on fallback": Planted(lane_type=TwiceOnFallbackLane),
    "apply before decode": Planted(handler_type=ApplyBeforeDecodeHandler),
    "forget in_flight": Planted(lane_type=ForgetfulLane),
    "callback's awaitable dropped": Planted(callbacks_type=DroppedAwaitableCallbacks),
}
