"""A venue's frames on their way: one session, the receivers of both architectures, the lane, and both accounts."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from infrastructure.book import OrderBook
from infrastructure.clock import Clock
from infrastructure.errors import SettingsError
from infrastructure.events import Architecture
from infrastructure.metrics import Accounting, EventAccounting, PathMetrics, PathSummary
from infrastructure.networking.websocket.handlers import BaseWebSocketClient
from infrastructure.networking.websocket.handlers.base_websocket_client import SessionHandler
from infrastructure.networking.websocket.lane import DeadLetter, Lane
from infrastructure.networking.websocket.marker import Marker, Switch
from infrastructure.networking.websocket.strategies import WebSocketStrategySet
from infrastructure.networking.websocket.strategies.interfaces import MessageHandler
from infrastructure.networking.websocket.wiring import wire
from infrastructure.session import Session
from infrastructure.venue import Venue

#: Makes the lane: ``Lane`` itself, or one with a fault of our own that a checker must find.
LaneType = Callable[..., Lane]


class Pipeline:
    """What takes a venue's frames to the user's callbacks, in either architecture.

    It has no socket: what delivers frames, and answers the session's requests, builds on it.
    """

    def __init__(
        self,
        session: Session,
        architecture: Architecture | str,
        *,
        handler: BaseWebSocketClient,
        strategies: WebSocketStrategySet,
        message_handler: MessageHandler | None = None,
        adapted: bool = False,
        clock: Clock | None = None,
        lane_type: LaneType = Lane,
        lane_settings: Mapping[str, Any] | None = None,
    ) -> None:
        self._clock = clock or Clock()
        self._session = session
        self._paths = {kind: PathMetrics(kind, self._clock.monotonic_ns) for kind in Architecture}
        if isinstance(handler, SessionHandler):
            if handler.is_attached:
                raise SettingsError("the handler has a session already; give the feed a handler without one")
            handler.attach(session, self._paths[Architecture.DIRECT])
        self._callbacks = handler.callbacks
        self._routes = wire(session, handler, strategies, message_handler, self._paths, adapted=adapted)
        self._lane = lane_type(
            self._routes[architecture_named(architecture)],
            session,
            self._callbacks.emit,
            venue=session.venue.name,
            clock=self._clock,
            **(lane_settings or {}),
        )

    @property
    def venue(self) -> Venue:
        """The venue whose frames these are."""
        return self._session.venue

    @property
    def architecture(self) -> Architecture:
        """The architecture that takes the next frame the lane comes to."""
        return self._lane.route.architecture

    @property
    def books(self) -> Mapping[str, OrderBook]:
        """The live book of each unified symbol."""
        return self._session.books

    @property
    def accounting(self) -> Accounting:
        """Where every frame and every event is, at this moment."""
        session, callbacks, lane = self._session, self._callbacks, self._lane
        return Accounting(
            **msgspec.structs.asdict(lane.accounting()),
            events=EventAccounting(
                decoded=session.decoded,
                raised=session.raised + callbacks.raised + lane.raised,
                emitted=callbacks.emitted,
                absorbed=session.absorbed + callbacks.abandoned,
                pending=session.held + callbacks.underway,
                accepted=callbacks.accepted,
                callback_errors=callbacks.errors,
            ),
        )

    @property
    def dead_letters(self) -> list[DeadLetter]:
        """The latest rejected frames, oldest first."""
        return list(self._lane.dead_letters)

    @property
    def switches(self) -> int:
        """How often the architecture has changed."""
        return self._lane.switches

    def metrics(self) -> dict[Architecture, PathSummary]:
        """What each architecture did so far."""
        return {kind: path.summary() for kind, path in self._paths.items()}

    def switch(self, architecture: Architecture | str) -> Switch:
        """Hand all later frames to ``architecture``; awaiting what this returns gives the receipt."""
        return self._lane.switch(self._routes[architecture_named(architecture)])

    def drain(self) -> Marker:
        """Await this to know that everything received so far has been handled."""
        return self._lane.drain()


def architecture_named(name: Architecture | str) -> Architecture:
    """``direct`` or ``strategy``, or SettingsError."""
    try:
        return Architecture(name)
    except ValueError:
        raise SettingsError(f"unknown architecture {name!r}; known: {', '.join(Architecture)}") from None
