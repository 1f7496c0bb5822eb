"""A private connection of a shipped venue, put together from the shipped parts: session, handler, both architectures, a lane."""

from typing import Any

from infrastructure.clock import Clock
from infrastructure.credentials import Credentials, Secret
from infrastructure.events import AccountStateChange, Architecture
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
        #: What ``on_account_state`` was given.
        self.changes: list[AccountStateChange] = []
        self.session = PrivateSession(venue)
        clock = Clock()
        paths = {kind: PathMetrics(kind, clock.monotonic_ns) for kind in Architecture}
        callbacks = dict.fromkeys(CALLBACKS, self.events.append) | {"on_account_state": self.changes.append}
        self.handler = PrivateWebSocketHandler(self.session, paths[Architecture.DIRECT], **callbacks)
        self.routes = wire(self.session, self.handler, strategy_set(venue), None, paths, adapted=variant.adapted)
        self.lane = Lane(self.routes[variant.architecture], self.session, self.handler.callbacks.emit, venue=venue.name, clock=clock)

    async def deliver(self, *raws: bytes, received_ns: int | None = None) -> None:
        """Hand it these frames, and see that every one of them, and every event, is somewhere."""
        for raw in raws:
            self.lane.deliver(raw, received_ns)
        await self.lane.drain()
        assert self.lane.accounting().is_balanced
        calls = self.handler.callbacks
        came = self.session.decoded + self.session.raised + self.lane.raised + calls.raised
        assert came == calls.emitted + self.session.absorbed + self.session.held
        assert calls.emitted == calls.accepted + calls.errors
