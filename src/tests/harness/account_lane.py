"""A private connection of a shipped venue, put together from the shipped parts: session, handler, both architectures, a lane."""

from collections.abc import Sequence
from typing import Any

from infrastructure.clock import Clock
from infrastructure.credentials import Credentials, Secret
from infrastructure.events import Architecture
from infrastructure.metrics import PathMetrics
from infrastructure.networking.websocket.handlers import PrivateWebSocketHandler
from infrastructure.networking.websocket.lane import Lane
from infrastructure.networking.websocket.strategies import strategy_set
from infrastructure.networking.websocket.wiring import wire
from infrastructure.private_session import PrivateSession
from infrastructure.venue import Venue
from tests.harness.variants import Variant

CREDENTIALS = Credentials(Secret("testkey"), Secret("testsecret"))
CALLBACKS = ("on_order", "on_fill", "on_balance", "on_position", "on_risk", "on_gap", "on_error")


class AccountLane:
    """One variant of ``venue``, as the owner of an account sees it; ``events`` is what its callbacks were given."""

    def __init__(self, venue: Venue, variant: Variant) -> None:
        self.events: list[Any] = []
        self.session = PrivateSession(venue)
        clock = Clock()
        paths = {kind: PathMetrics(kind, clock.monotonic_ns) for kind in Architecture}
        handler = PrivateWebSocketHandler(self.session, paths[Architecture.DIRECT], **dict.fromkeys(CALLBACKS, self.events.append))
        routes = wire(self.session, handler, strategy_set(venue), None, paths, adapted=variant.adapted)
        self._callbacks = handler.callbacks
        self.lane = Lane(routes[variant.architecture], self.session, handler.callbacks.emit, venue=venue.name, clock=clock)

    async def deliver(self, raws: Sequence[bytes], received_ns: int) -> None:
        """Hand it these frames, and see that every one of them, and every event, is somewhere."""
        for raw in raws:
            self.lane.deliver(raw, received_ns)
        await self.lane.drain()
        assert self.lane.accounting().is_balanced
        came = self.session.decoded + self.session.raised + self.lane.raised + self._callbacks.raised
        assert came == self._callbacks.emitted + self.session.absorbed + self.session.held
        assert self._callbacks.emitted == self._callbacks.accepted + self._callbacks.errors
