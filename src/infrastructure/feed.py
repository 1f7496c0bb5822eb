"""Puts a venue, a session, both architectures and the user's callbacks together."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Collection, Generator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from infrastructure.book_sync import FetchSnapshot, Request
from infrastructure.callbacks import Callback
from infrastructure.clock import Clock
from infrastructure.config import exchange_settings
from infrastructure.credentials import Credentials
from infrastructure.errors import SettingsError, UnknownSymbol
from infrastructure.events import Architecture
from infrastructure.exchanges import venue_named
from infrastructure.instruments import Instrument
from infrastructure.limits import Limiter
from infrastructure.networking.websocket.handlers import BaseWebSocketClient, PrivateWebSocketHandler, PublicWebSocketHandler
from infrastructure.networking.websocket.lane import Lane
from infrastructure.networking.websocket.marker import Marker
from infrastructure.networking.websocket.pipeline import LaneType, Pipeline
from infrastructure.networking.websocket.settings import ExchangeSettings
from infrastructure.networking.websocket.strategies import WebSocketStrategySet, strategy_set
from infrastructure.networking.websocket.strategies.interfaces import ConnectionHandler, MessageHandler
from infrastructure.networking.websocket.ws_manager import WebSocketManager
from infrastructure.session import Session
from infrastructure.venue import Venue

#: Callbacks that a handler of private streams takes, and those of them that no other does.
_PRIVATE = frozenset(method.removeprefix("_") for method in PrivateWebSocketHandler.event_methods.values())
_PRIVATE_ONLY = _PRIVATE - {method.removeprefix("_") for method in PublicWebSocketHandler.event_methods.values()}


class OfflineFeed(Pipeline):
    """A feed without a socket: its owner calls ``deliver`` as a transport would, and ``snapshot`` as REST would answer.

    Made by ``offline_feed``. Everything else is what a live feed has: one lane, both architectures over it, books, both accounts.
    """

    def __init__(
        self,
        venue: str | Venue,
        symbols: Collection[str] | None = None,
        architecture: Architecture | str = Architecture.DIRECT,
        *,
        handler: BaseWebSocketClient | None = None,
        strategies: WebSocketStrategySet | None = None,
        message_handler: MessageHandler | None = None,
        adapted: bool = False,
        clock: Clock | None = None,
        lane_type: LaneType = Lane,
        lane_settings: Mapping[str, object] | None = None,
        callbacks: Mapping[str, Callback] | None = None,
    ) -> None:
        described = (venue if isinstance(venue, Venue) else venue_named(venue)).fresh()
        self._requests: list[Request] = []
        self._awaited: dict[str, FetchSnapshot] = {}
        super().__init__(
            Session(described, symbols, self._note),
            architecture,
            handler=handler_of(handler, callbacks),
            strategies=strategies or strategy_set(described),
            message_handler=message_handler,
            adapted=adapted,
            clock=clock,
            lane_type=lane_type,
        )
        self._lane = self._add_lane(**(lane_settings or {}))

    def __repr__(self) -> str:
        return f"<OfflineFeed {self.venue.name} {self.architecture.value} {self._session!r}>"

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

    def load_instruments(self, raw: bytes | str) -> None:
        """REST answers with what the venue trades; names are read and written by this list from now on. Raises DecodeError."""
        self.venue.symbols.load(self.venue.codec.decode_instruments(raw))

    @property
    def instruments(self) -> Mapping[str, Instrument]:
        """What the venue trades, by unified symbol; empty until a list is loaded."""
        return self.venue.symbols.instruments

    def request_failed(self, request: Request, reason: str) -> Marker:
        """What ``take_requests`` handed out came to nothing; another request follows, unless the book is live by now."""
        return self._lane.call("request_failed()", partial(self._session.request_failed, request, reason))

    def cut(self, received_ns: int | None = None) -> Marker:
        """The connection is lost: what was received is finished, then each stream gets its Gap; later frames are of a new connection."""
        return self._lane.call("cut()", self._session.disconnect, received_ns)

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
    venue: str | Venue,
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
    """Open a feed of ``venue``, a name or a description, without a socket: for tests, replays and benchmarks.

    ``symbols`` are unified (``BTC/USDT``); None takes every symbol that arrives. ``callbacks`` are ``on_trade``, ``on_orderbook``,
    ``on_book_ticker``, ``on_ticker``, ``on_candle``, ``on_liquidation``, ``on_gap``, ``on_book_state``, ``on_error``, plain or
    ``async``; or give a ``handler`` that has methods for them. ``strategies`` replaces tickrail's own strategy set, with the
    ``message_handler`` it was written for unless its parser has ``to_events``. With ``adapted``, each architecture runs through the
    other's adapter.

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


def handler_of(handler: BaseWebSocketClient | None, callbacks: Mapping[str, Callback] | None) -> BaseWebSocketClient:
    """The handler that was given, or one for the callbacks that were; giving both is a SettingsError."""
    if handler is not None and callbacks:
        raise SettingsError("give callbacks to the handler or to the feed, not to both")
    return handler or PublicWebSocketHandler(None, None, **(callbacks or {}))


@asynccontextmanager
async def open_feed(
    venue: str | ExchangeSettings,
    *,
    symbols: Collection[str] | None = None,
    channels: Sequence[str] | None = None,
    architecture: Architecture | str | None = None,
    credentials: Credentials | None = None,
    handler: BaseWebSocketClient | None = None,
    private_handler: PrivateWebSocketHandler | None = None,
    strategies: WebSocketStrategySet | None = None,
    message_handler: MessageHandler | None = None,
    connection_handler: ConnectionHandler | None = None,
    adapted: bool = False,
    ssl_context: ssl.SSLContext | None = None,
    websocket_url: str | None = None,
    rest_url: str | None = None,
    lane_type: LaneType = Lane,
    limiter: Limiter | None = None,
    partial_streams: bool = False,
    **callbacks: Callback,
) -> AsyncIterator[WebSocketManager]:
    """Stream ``symbols`` of a venue for as long as the ``async with`` block runs; gives its WebSocketManager.

    ``channels`` default to those that the callbacks are for. ``callbacks`` are as for ``offline_feed``, or give a ``handler``. A venue's
    name may be replaced by settings that are complete. With ``credentials`` the account's private streams come too, over a connection of
    their own: ``on_order``, ``on_fill``, ``on_balance``, ``on_position``, ``on_risk``, ``on_account_state``, or a ``private_handler``; the
    block begins once the account is live. Raises UnknownVenue, UnknownSymbol, SettingsError, ConnectFailed, AuthenticationFailed,
    RequestFailed when the instrument list cannot be had, SubscriptionUnanswered, or SubscriptionRefused with the venue's own words. Later
    failures are told to ``on_error``, and ``wait()`` raises what ended the feed.

    With ``partial_streams`` a symbol that cannot be had is told to ``on_error`` instead, as long as there is another. Feeds that are
    given the same ``limiter`` share the limits of the hosts they share.
    """
    given = {
        "symbols": symbols,
        "channels": channels,
        "architecture": architecture,
        "websocket_url": websocket_url,
        "rest_url": rest_url,
        "credentials": credentials,
    }
    named = {name: value for name, value in given.items() if value is not None}
    if isinstance(venue, ExchangeSettings):
        if named:
            raise SettingsError(f"{', '.join(named)} stand in the settings already; give a venue's name, or settings alone")
        settings = venue
    else:
        settings = exchange_settings(venue, **({"channels": _channels_for(venue_named(venue), callbacks)} | named))
    public = {name: callback for name, callback in callbacks.items() if name not in _PRIVATE_ONLY}
    private = {name: callback for name, callback in callbacks.items() if name in _PRIVATE}
    if settings.credentials is None and len(public) < len(callbacks):
        raise SettingsError(f"{', '.join(callbacks.keys() - public.keys())} need credentials")
    if private_handler is not None and len(public) < len(callbacks):
        raise SettingsError("give callbacks to the private_handler or to the feed, not to both")
    if settings.credentials is not None and private_handler is None:
        private_handler = PrivateWebSocketHandler(None, None, **private)
    manager = WebSocketManager(
        settings,
        strategies,
        message_handler,
        connection_handler,
        handler=handler_of(handler, public),
        private_handler=private_handler,
        adapted=adapted,
        ssl_context=ssl_context,
        lane_type=lane_type,
        limiter=limiter,
    )
    try:
        await manager.initialize(partial_streams=partial_streams)
        yield manager
    finally:
        await manager.close()


def _channels_for(venue: Venue, callbacks: Mapping[str, Callback]) -> list[str]:
    """The venue's first channel for each callback that takes data."""
    kinds = {f"on_{kind.name.lower()}": kind.name.lower() for kind in dict.fromkeys(venue.channels.values())}
    return [kinds[name] for name in callbacks if name in kinds]


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
