"""Puts a venue, a session, both architectures and the user's callbacks together."""

import asyncio
from collections.abc import Collection, Generator, Mapping
from functools import partial
from typing import Any

import msgspec

from infrastructure.book import OrderBook
from infrastructure.book_sync import FetchSnapshot, Request
from infrastructure.callbacks import Callback
from infrastructure.clock import Clock
from infrastructure.errors import SettingsError, UnknownSymbol
from infrastructure.events import Architecture
from infrastructure.exchanges import venue_named
from infrastructure.metrics import Accounting, EventAccounting, PathMetrics, PathSummary
from infrastructure.networking.websocket.handlers import BaseWebSocketClient, PublicWebSocketHandler
from infrastructure.networking.websocket.handlers.base_websocket_client import SessionHandler
from infrastructure.networking.websocket.lane import DeadLetter, Lane
from infrastructure.networking.websocket.marker import Marker, Switch
from infrastructure.networking.websocket.strategies import WebSocketStrategySet, strategy_set
from infrastructure.networking.websocket.strategies.interfaces import MessageHandler
from infrastructure.networking.websocket.wiring import wire
from infrastructure.session import Session


class OfflineFeed:
    """A feed without a socket: its owner calls ``deliver`` as a transport would, and ``snapshot`` as REST would answer.

    Made by ``offline_feed``. Everything else is what a live feed has: one lane, both architectures over it, books, both accounts.
    """

    def __init__(
        self,
        venue: str,
        symbols: Collection[str] | None = None,
        architecture: Architecture | str = Architecture.DIRECT,
        *,
        handler: BaseWebSocketClient | None = None,
        strategies: WebSocketStrategySet | None = None,
        message_handler: MessageHandler | None = None,
        adapted: bool = False,
        clock: Clock | None = None,
        lane_type: type[Lane] = Lane,
        lane_settings: Mapping[str, object] | None = None,
        callbacks: Mapping[str, Callback] | None = None,
    ) -> None:
        clock = clock or Clock()
        self.venue = venue_named(venue)
        if handler is not None and callbacks:
            raise SettingsError("give callbacks to the handler or to the feed, not to both")
        handler = handler or PublicWebSocketHandler(None, None, **(callbacks or {}))
        self._paths = {kind: PathMetrics(kind, clock.monotonic_ns) for kind in Architecture}
        self._requests: list[Request] = []
        self._awaited: dict[str, FetchSnapshot] = {}
        if isinstance(handler, SessionHandler) and handler.is_attached:
            raise SettingsError("the handler has a session already; give the feed a handler without one")
        self._session = Session(self.venue, symbols, self._note)
        if isinstance(handler, SessionHandler):
            handler.attach(self._session, self._paths[Architecture.DIRECT])
        self._callbacks = handler.callbacks
        self._routes = wire(self._session, handler, strategies or strategy_set(self.venue), message_handler, self._paths, adapted=adapted)
        self._lane = lane_type(
            self._routes[_architecture(architecture)],
            self._session,
            self._callbacks.emit,
            venue=self.venue.name,
            clock=clock,
            **(lane_settings or {}),  # type: ignore[arg-type]  # keyword arguments of Lane, passed on as given
        )

    def __repr__(self) -> str:
        return f"<OfflineFeed {self.venue.name} {self.architecture.value} {self._session!r}>"

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

    def deliver(self, raw: bytes | str, received_ns: int | None = None) -> None:
        """Take one frame, as a transport calls it; ``received_ns`` is Unix time, now if not given."""
        self._lane.deliver(raw, received_ns)

    def take_requests(self) -> list[Request]:
        """What has to be asked of the venue since the last call: FetchSnapshot, answered with ``snapshot``, and Resubscribe."""
        requests, self._requests = self._requests, []
        return requests

    def snapshot(self, symbol: str, raw: bytes | str, received_ns: int | None = None, request: FetchSnapshot | None = None) -> Marker:
        """REST answers with the whole book of ``symbol``; it takes effect between the frames received so far and the next.

        It answers ``request``, by default the latest for the symbol; before the first frame it may come unasked.
        """
        if symbol not in self._session:
            raise UnknownSymbol(symbol, "a symbol of this feed")
        request = request or self._awaited.pop(symbol, None)
        epoch = None if request is None else request.epoch
        return self._lane.call("snapshot()", partial(self._session.snapshot, symbol, raw, epoch), received_ns)

    def request_failed(self, request: Request, reason: str) -> Marker:
        """What ``take_requests`` handed out came to nothing; another request follows, unless the book is live by now."""
        return self._lane.call("request_failed()", partial(self._session.request_failed, request, reason))

    def cut(self, received_ns: int | None = None) -> Marker:
        """The connection is lost: what was received is finished, then each stream gets its Gap; later frames are of a new connection."""
        return self._lane.call("cut()", self._session.disconnect, received_ns)

    def switch(self, architecture: Architecture | str) -> Switch:
        """Hand all later frames to ``architecture``; awaiting what this returns gives the receipt."""
        return self._lane.switch(self._routes[_architecture(architecture)])

    def drain(self) -> Marker:
        """Await this to know that everything received so far has been handled."""
        return self._lane.drain()

    def close(self, deadline_s: float = 5.0) -> "Closing":
        """Take no more frames: later ones are shed as ``closed``. Await what this returns to know that the waiting ones were handled.

        Those that are not handled within ``deadline_s`` of awaiting are shed too, and a callback that still runs is cancelled.
        """
        return Closing(self._lane, self._lane.close(), deadline_s)

    def _note(self, request: Request) -> None:
        self._requests.append(request)
        if isinstance(request, FetchSnapshot):
            self._awaited[request.symbol] = request


def offline_feed(
    venue: str,
    symbols: Collection[str] | None = None,
    architecture: Architecture | str = Architecture.DIRECT,
    *,
    handler: BaseWebSocketClient | None = None,
    strategies: WebSocketStrategySet | None = None,
    message_handler: MessageHandler | None = None,
    adapted: bool = False,
    clock: Clock | None = None,
    **callbacks: Callback,
) -> OfflineFeed:
    """Open a feed of ``venue`` without a socket, for tests, replays and benchmarks.

    ``symbols`` are unified (``BTC/USDT``); None takes every symbol that arrives. ``callbacks`` are ``on_trade``, ``on_orderbook``,
    ``on_book_ticker``, ``on_ticker``, ``on_candle``, ``on_gap``, ``on_book_state``, ``on_error``, plain or ``async``; or give a
    ``handler`` that has methods for them. ``strategies`` replaces tickrail's own strategy set, with the ``message_handler`` it was
    written for unless its parser has ``to_events``. With ``adapted``, each architecture runs through the other's adapter.

    Raises UnknownVenue, UnknownSymbol or SettingsError.
    """
    return OfflineFeed(
        venue,
        symbols,
        architecture,
        handler=handler,
        strategies=strategies,
        message_handler=message_handler,
        adapted=adapted,
        clock=clock,
        callbacks=callbacks,
    )


def _architecture(name: Architecture | str) -> Architecture:
    try:
        return Architecture(name)
    except ValueError:
        raise SettingsError(f"unknown architecture {name!r}; known: {', '.join(Architecture)}") from None


class Closing:
    """A feed that takes no more frames; awaiting it ends within its deadline."""

    def __init__(self, lane: Lane, marker: Marker, deadline_s: float) -> None:
        self._lane = lane
        self._marker = marker
        self._deadline_s = deadline_s

    def __await__(self) -> Generator[Any, None, None]:
        return self._wait().__await__()

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(self._deadline_s):
                await self._marker
        except TimeoutError:
            await self._lane.abort()
