"""A private connection put together from the shipped parts: session, handler, both architectures, a lane."""

from typing import Any

from infrastructure.clock import Clock
from infrastructure.events import Architecture
from infrastructure.metrics import PathMetrics
from infrastructure.networking.websocket.handlers import PrivateWebSocketHandler
from infrastructure.networking.websocket.lane import Lane
from infrastructure.networking.websocket.strategies import strategy_set
from infrastructure.networking.websocket.wiring import wire
from infrastructure.private_session import PrivateSession
from infrastructure.venue import Venue
from tests.harness.variants import Variant


class AccountLine:
    """One venue as the owner of an account sees it, in one variant; ``events`` is what the callbacks got."""

    def __init__(self, venue: Venue, variant: Variant) -> None:
        self.events: list[Any] = []
        callbacks = dict.fromkeys(("on_order", "on_fill", "on_balance", "on_position", "on_risk", "on_gap", "on_error"), self.events.append)
        self.session = PrivateSession(venue)
        clock = Clock()
        paths = {kind: PathMetrics(kind, clock.monotonic_ns) for kind in Architecture}
        self.handler = PrivateWebSocketHandler(self.session, paths[Architecture.DIRECT], **callbacks)
        self.routes = wire(self.session, self.handler, strategy_set(venue), None, paths, adapted=variant.adapted)
        self.lane = Lane(self.routes[variant.architecture], self.session, self.handler.callbacks.emit, venue=venue.name, clock=clock)

    async def deliver(self, *raws: bytes) -> None:
        """Hand over these frames, wait for what becomes of them, and find both identities kept."""
        for raw in raws:
            self.lane.deliver(raw)
        await self.lane.drain()
        assert self.lane.accounting().is_balanced
        callbacks = self.handler.callbacks
        came = self.session.decoded + self.session.raised + self.lane.raised + callbacks.raised
        assert came == callbacks.emitted + self.session.absorbed + self.session.held
        assert callbacks.emitted == callbacks.accepted + callbacks.errors
