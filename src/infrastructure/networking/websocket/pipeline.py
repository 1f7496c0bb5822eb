"""A venue's frames on their way: one session, the receivers of both architectures, the lanes, and both accounts."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from infrastructure.audit import AuditCounts
from infrastructure.book import OrderBook
from infrastructure.clock import Clock
from infrastructure.errors import SettingsError
from infrastructure.events import Architecture
from infrastructure.metrics import WINDOW_S, Accounting, EventAccounting, PathMetrics, PathSummary, WindowSummary, total_of
from infrastructure.networking.websocket.handlers import BaseWebSocketClient
from infrastructure.networking.websocket.handlers.base_websocket_client import SessionHandler
from infrastructure.networking.websocket.lane import DEAD_LETTERS, DeadLetter, Lane
from infrastructure.networking.websocket.marker import Marker, Markers, Switch, Switches
from infrastructure.networking.websocket.route import Route
from infrastructure.networking.websocket.strategies import WebSocketStrategySet
from infrastructure.networking.websocket.strategies.interfaces import MessageHandler
from infrastructure.networking.websocket.wiring import Paths, wire
from infrastructure.session import Session
from infrastructure.venue import Venue

#: Makes the lane: ``Lane`` itself, or one with a fault of our own that a checker must find.
LaneType = Callable[..., Lane]


class Pipeline:
    """What takes a venue's frames to the user's callbacks, in either architecture.

    It has no socket: what delivers frames, and answers the session's requests, builds on it, with a lane for each of its connections.
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
        paths: Paths | None = None,
    ) -> None:
        self._clock = clock or Clock()
        self._session = session
        #: What each architecture did; shared by pipelines that are counted together.
        self._paths = paths or {kind: PathMetrics(kind, self._clock.monotonic_ns) for kind in Architecture}
        if isinstance(handler, SessionHandler):
            if handler.is_attached:
                raise SettingsError("the handler has a session already; give the feed a handler without one")
            handler.attach(session, self._paths[Architecture.DIRECT], self._clock.monotonic_ns)
        self._callbacks = handler.callbacks
        self._routes = wire(session, handler, strategies, message_handler, self._paths, adapted=adapted)
        self._route = self._routes[architecture_named(architecture)]
        self._last_switch: Switch | Switches | None = None
        self._lane_type = lane_type
        self._lanes: list[Lane] = []
        #: What is left of lanes whose connections have come to their end.
        self._ended_frames = total_of(())
        self._ended_raised = 0

    @property
    def _every_lane(self) -> Sequence[Lane]:
        return self._lanes

    def _add_lane(self, **settings: Any) -> Lane:
        lane = self._lane_type(
            self._route_of_new_lanes(), self._session, self._callbacks.emit, venue=self._session.venue.name, clock=self._clock, **settings
        )
        self._lanes.append(lane)
        return lane

    def _route_of_new_lanes(self) -> Route:
        """That of the others; while they are on their way to another, that one."""
        if self._last_switch is None or self._last_switch.receipt is None:
            return self._route
        return self._lanes[0].route

    def _end_lane(self, lane: Lane) -> None:
        """The lane is closed and empty: keep its account."""
        self._lanes.remove(lane)
        self._ended_frames = total_of((self._ended_frames, lane.accounting()))
        self._ended_raised += lane.raised
        lane.route.metrics.deactivate()

    @property
    def venue(self) -> Venue:
        """The venue whose frames these are."""
        return self._session.venue

    @property
    def architecture(self) -> Architecture:
        """The architecture that takes the next frame the lane comes to; of several lanes, the first."""
        return self._lanes[0].route.architecture

    @property
    def books(self) -> Mapping[str, OrderBook]:
        """The live book of each unified symbol."""
        return self._session.books

    @property
    def accounting(self) -> Accounting:
        """Where every frame and every event is, at this moment."""
        session, callbacks = self._session, self._callbacks
        frames = total_of((self._ended_frames, *(lane.accounting() for lane in self._lanes)))
        return Accounting(
            **msgspec.structs.asdict(frames),
            events=EventAccounting(
                decoded=session.decoded,
                raised=session.raised + callbacks.raised + self._ended_raised + sum(lane.raised for lane in self._lanes),
                emitted=callbacks.emitted,
                absorbed=session.absorbed + callbacks.abandoned,
                pending=session.held + callbacks.underway,
                accepted=callbacks.accepted,
                callback_errors=callbacks.errors,
            ),
        )

    @property
    def dead_letters(self) -> list[DeadLetter]:
        """The latest rejected frames, oldest first; a frame's number is that of its connection."""
        letters = [letter for lane in self._lanes for letter in lane.dead_letters]
        return sorted(letters, key=lambda letter: letter.received_ns)[-DEAD_LETTERS:]

    @property
    def audit(self) -> AuditCounts:
        """What holding the books against the venue's own best bid and ask has found so far."""
        return self._session.audit

    @property
    def venue_lag_ns(self) -> int | None:
        """How much older the latest message was, when it came, than the youngest seen: what has come up on the way, and at the venue.

        None before the venue has sent a time.
        """
        return self._session.venue_lag_ns

    @property
    def switches(self) -> int:
        """How often the architecture has changed."""
        return max(lane.switches for lane in self._lanes)

    def metrics(self) -> dict[Architecture, PathSummary]:
        """What each architecture did so far. Any thread may ask."""
        return {kind: path.summary() for kind, path in self._paths.items()}

    def recent_metrics(self, window_s: float = WINDOW_S) -> dict[Architecture, WindowSummary]:
        """What each architecture did in the last ``window_s`` seconds, up to 600. Any thread may ask.

        A window begins where a copy of the counters was taken, see ``observe_metrics``: it is a little longer than asked for, and says so.
        """
        return {kind: path.window(window_s) for kind, path in self._paths.items()}

    def observe_metrics(self) -> None:
        """Take the copies from which later windows are made, once a second at most.

        ``recent_metrics`` does so too, and a live feed at each tick of its watchdog; whoever seldom asks a feed without a socket calls it.
        """
        for path in self._paths.values():
            path.observe()

    def switch(self, architecture: Architecture | str) -> Switch | Switches:
        """Hand all later frames to ``architecture``; awaiting what this returns gives the receipt."""
        self._route = self._routes[architecture_named(architecture)]
        switches = [lane.switch(self._route) for lane in self._lanes]
        self._last_switch = switches[0] if len(switches) == 1 else Switches(switches)
        return self._last_switch

    @property
    def lanes(self) -> Sequence[Lane]:
        """One for each connection."""
        return self._lanes

    def drain(self) -> Marker | Markers:
        """Await this to know that everything received so far has been handled."""
        markers = [lane.drain() for lane in self._every_lane]
        return markers[0] if len(markers) == 1 else Markers(markers)


def architecture_named(name: Architecture | str) -> Architecture:
    """``direct`` or ``strategy``, or SettingsError."""
    try:
        return Architecture(name)
    except ValueError:
        raise SettingsError(f"unknown architecture {name!r}; known: {', '.join(Architecture)}") from None
