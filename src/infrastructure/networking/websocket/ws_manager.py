"""A venue's connections and their wiring: spread streams over them, switch, apply, close. It is not in a frame's way."""

import asyncio
import random
import ssl
from collections import Counter, deque
from collections.abc import Callable, Collection, Coroutine, Generator, Mapping, Sequence
from typing import Any, Self
from urllib.parse import urlsplit

import msgspec

from infrastructure.account import Account
from infrastructure.book_sync import Request
from infrastructure.clock import Clock
from infrastructure.errors import (
    AwaitedInsideCallback,
    DecodeError,
    NotConnected,
    RequestFailed,
    RotationFailed,
    SettingsError,
    SubscriptionRefused,
    SubscriptionUnanswered,
    TickrailError,
    UnknownSymbol,
)
from infrastructure.events import Architecture
from infrastructure.instruments import Instrument
from infrastructure.limits import Limiter
from infrastructure.metrics import Accounting
from infrastructure.networking.address import shown
from infrastructure.networking.http import Rest
from infrastructure.networking.websocket import transport
from infrastructure.networking.websocket.account_streams import AccountStreams
from infrastructure.networking.websocket.connections import Connections
from infrastructure.networking.websocket.handlers import BaseWebSocketClient, PrivateWebSocketHandler, PublicWebSocketHandler
from infrastructure.networking.websocket.lane import Lane
from infrastructure.networking.websocket.link import Connect, Loss, RestInterface
from infrastructure.networking.websocket.marker import Marker, Switch, Switches, SwitchReceipt
from infrastructure.networking.websocket.pipeline import LaneType, architecture_named
from infrastructure.networking.websocket.rotations import RotationReceipt
from infrastructure.networking.websocket.settings import ExchangeSettings, ReconnectSettings
from infrastructure.networking.websocket.shard import Common, Owner, Shard, retrieved, run_foreign
from infrastructure.networking.websocket.strategies import WebSocketStrategySet, strategy_set
from infrastructure.networking.websocket.strategies.interfaces import ConnectionHandler, ConnectionState, MessageHandler
from infrastructure.networking.websocket.subscriber import Key, answers, encoded
from infrastructure.networking.websocket.subscriptions import RequestIds, Stage, without_option
from infrastructure.networking.websocket.watchdog import Watchdog
from infrastructure.session import Session
from infrastructure.venue import Rate, Venue, check_symbol

#: What may be done at once of so many a minute.
SNAPSHOT_BURST, CONNECT_BURST = 5, 5
#: An instrument list is read again for a symbol that it does not have, but not more often than this.
LIST_AGE_S = 60.0

#: What a switch may be of.
SCOPES = ("all", "public", "private")

#: Of several connections the manager is in the first of these states that one of them is in.
_WORST_FIRST = (
    ConnectionState.ERROR,
    ConnectionState.RECONNECTING,
    ConnectionState.CONNECTING,
    ConnectionState.DISCONNECTED,
    ConnectionState.CONNECTED,
)


class Applied(msgspec.Struct, frozen=True):
    """What ``apply`` changed: (channel, symbol) of the streams, and the switch if the architecture changed."""

    subscribed: tuple[Key, ...] = ()
    unsubscribed: tuple[Key, ...] = ()
    switch: SwitchReceipt | None = None


class WebSocketManager(Connections):
    """Streams one exchange through either architecture over live connections, as many as its limits ask for, and keeps them alive.

    ``config`` is an ExchangeSettings, as ``exchange_settings(...)`` makes them. Called as before, with ``strategies``, a
    ``message_handler`` and a ``connection_handler``, frames go to that strategy set over one connection; of its connection strategy the
    context, the policy and the classification are read, ``authenticate`` and ``handle_heartbeat`` run with ``websocket`` set to an object
    that has ``send`` and ``state``, and its ``connect`` is never called. ``manager_config`` replaces single settings. ``handler`` takes
    the frames of the direct architecture, ``private_handler`` those of the account whose credentials the settings hold. ``architecture``
    and ``use_direct_handling`` say the same; without either, a strategy set that was given is used, else what the settings say. Managers
    that are given the same ``limiter`` share the limits of the hosts they share.

    ``connect``, ``rest``, ``clock`` and ``chance`` can be given for tests.
    """

    def __init__(
        self,
        config: ExchangeSettings | Venue,
        strategies: WebSocketStrategySet | None = None,
        message_handler: MessageHandler | None = None,
        connection_handler: ConnectionHandler | None = None,
        manager_config: Mapping[str, Any] | None = None,
        *,
        handler: BaseWebSocketClient | None = None,
        private_handler: PrivateWebSocketHandler | None = None,
        architecture: Architecture | str | None = None,
        use_direct_handling: bool | None = None,
        adapted: bool = False,
        ssl_context: ssl.SSLContext | None = None,
        limiter: Limiter | None = None,
        connect: Connect = transport.connect,
        rest: RestInterface | None = None,
        clock: Clock | None = None,
        chance: random.Random | None = None,
        lane_type: LaneType = Lane,
    ) -> None:
        settings = config if isinstance(config, ExchangeSettings) else ExchangeSettings(venue=config)
        settings = _replaced(settings, manager_config or {})
        first = _first_architecture(architecture, use_direct_handling, strategies is not None, settings.architecture)
        self.settings = _replaced(settings, {"architecture": first})
        venue = settings.venue.fresh()
        self._foreign = strategies
        #: Whether frames go past the session, and with them the answers to subscriptions.
        self._is_opaque = strategies is not None or message_handler is not None
        self._is_adapted = adapted
        self._ssl_context = ssl_context
        self._connect = connect
        self._chance = chance or random.Random()
        clock = clock or Clock()
        self._limiter = limiter or Limiter(clock.monotonic_ns, self._chance)
        self._rest = rest or _rest_of(self.settings, self._limiter, clock, self._chance, ssl_context)
        self._connection_handler = connection_handler
        self._states: deque[ConnectionState] = deque()
        self._state = ConnectionState.DISCONNECTED
        self._channels: tuple[str, ...] = ()
        self._shard_of: dict[Key, Shard] = {}
        self._common: Common | None = None
        self._listed_ns = 0
        self._announcer: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._gave_up = asyncio.Event()
        self._applying = asyncio.Lock()
        #: Why the venue was given up, if it was.
        self.failure: TickrailError | None = None
        session = Session(venue, None, self._repair_soon, self._answered, self._flowing)
        self._watchdog = Watchdog(self, session, settings.freshness, clock)
        super().__init__(
            session,
            first,
            settings,
            clock,
            self._chance,
            self._watchdog.worked,
            handler=handler or PublicWebSocketHandler(),
            strategies=strategies or strategy_set(venue),
            message_handler=message_handler,
            adapted=adapted,
            lane_type=lane_type,
        )
        self._private = self._account_streams_of(venue, private_handler)

    def __repr__(self) -> str:
        held = f"connections={len(self._shards)} " + " ".join(f"{stage.value}={self._stages[stage]}" for stage in Stage)
        return f"<WebSocketManager {self.venue.name} {self.architecture.value} {self._state.value} {held}>"

    async def __aenter__(self) -> Self:
        is_open = False
        try:
            await self.initialize()
            is_open = True
        finally:
            if not is_open:
                await self.close()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    @property
    def state(self) -> ConnectionState:
        """Where the connections are, in the words of the old interface: the least advanced counts."""
        return self._state

    @property
    def instruments(self) -> Mapping[str, Instrument]:
        """What the venue trades, by unified symbol, as its list says; empty until the manager is opened."""
        return self.venue.symbols.instruments

    @property
    def last_loss(self) -> Loss | None:
        """How the connection that was lost last ended; of several connections, one of them."""
        return next((shard.last_loss for shard in reversed(self._shards) if shard.last_loss is not None), None)

    @property
    def connections(self) -> int:
        """Over how many connections the streams are spread."""
        return len(self._shards)

    @property
    def lag_ns(self) -> int:
        """How long ago the frame that is handled next was received; 0 when none waits. Of several connections, the longest."""
        return max((lane.lag_ns for lane in self._lanes), default=0)

    @property
    def private(self) -> AccountStreams | None:
        """The private streams, None without credentials."""
        return self._private

    @property
    def account(self) -> Account:
        """What is known of the account; it can be read while it is LIVE. Raises SettingsError without credentials."""
        return self._with_account("account").account

    @property
    def accounting(self) -> Accounting:
        """Where every frame and every event is, at this moment: public and private."""
        public = super().accounting
        return public if self._private is None else public.with_those_of(self._private.accounting)

    def is_connected(self) -> bool:
        """Whether every connection is open."""
        return bool(self.every_shard) and all(shard.is_connected for shard in self.every_shard)

    async def initialize(
        self, symbols: Collection[str] | None = None, default_channels: Sequence[str] | None = None, *, partial_streams: bool = False
    ) -> None:
        """Connect and subscribe ``symbols`` to ``default_channels``, those of the settings if not given; returns when all is acknowledged.

        Raises what keeps the first connection from opening (ConnectFailed) or the instrument list from being read (RequestFailed), and
        AuthenticationFailed where the venue does not take the credentials; with them it returns once the account is live. Streams
        that cannot be had raise UnknownSymbol, SubscriptionRefused with the venue's words, or SubscriptionUnanswered, after all others have
        been subscribed: whoever catches it goes on with those. With ``partial_streams`` it is told as an error event,
        unless nothing is left.
        """
        if self._common is not None or self._closing is not None:
            raise SettingsError("the manager was opened or closed before; one manager is one life of its connections")
        self._channels = self._channel_names(default_channels)
        symbols = self.settings.symbols if symbols is None else tuple(symbols)
        # Without channels the symbols are those that the account trades.
        keys = _streams(self._channels, symbols) if self._channels or self._private is None else []
        self._refuse_second_options(keys)
        self.settings = _replaced(self.settings, {"symbols": symbols, "channels": self._channels})
        policy = self.settings.reconnect if self._foreign is None else _policy_of(self._foreign, self.settings.reconnect)
        self._common = Common(
            self.settings,
            self._session,
            self._rest,
            self._limiter,
            self._limit_connects(),
            self._connect,
            self._clock,
            self._chance,
            self._ssl_context,
            policy,
            RequestIds(),
            asyncio.Event(),
            self._watchdog.may_read,
            self._watchdog.worked,
        )
        self._watchdog.start()
        if not self._is_opaque:
            self._rotations.start()
        if keys or self._private is None:
            opened = self._add_shard(may_fail_first=True).opened
        else:
            opened = asyncio.get_running_loop().create_future()
            opened.set_result(None)  # An account alone needs no connection beside its own.
        if self._private is not None:
            self._private.start(self._common, lambda: {symbol for _, symbol in self._wanted_now()} | set(self.settings.symbols))
        listing = asyncio.get_running_loop().create_task(self._list_instruments())
        listing.add_done_callback(retrieved)
        try:
            await opened
            await listing
        finally:
            listing.cancel()
        try:
            if not keys:
                await self._require_known(symbols)
            await self._subscribe(keys)
        except (UnknownSymbol, SubscriptionRefused, SubscriptionUnanswered) as error:
            stages = self._stages
            if not partial_streams or not (stages[Stage.ACKNOWLEDGED] or stages[Stage.FLOWING]):
                raise
            if not isinstance(error, SubscriptionRefused):  # A refusal has been told with the venue's answer.
                self.report("not subscribed", str(error))
        if self._private is not None:
            await self._private.is_live()

    async def subscribe(self, symbols: Collection[str], channels: Sequence[str] | None = None) -> None:
        """Add streams; returns when the venue has acknowledged them. Raises as ``initialize``, after all that can be had are subscribed.

        While their connection is down they wait for the next one.
        """
        self._require_begun("subscribe()")
        await self._subscribe(_streams(self._channel_names(channels), symbols))

    async def unsubscribe(self, symbols: Collection[str], channels: Sequence[str] | None = None) -> None:
        """End streams; returns when the venue has acknowledged it. Their books can no longer be read, and no Gap is announced."""
        self._require_begun("unsubscribe()")
        await self._end(_streams(self._channel_names(channels), symbols))

    async def send_message(self, message: Mapping[str, Any]) -> None:
        """Send one JSON message over the first connection. It is never sent again: after a reconnect only subscriptions are. Raises
        NotConnected.
        """
        connection = self._shards[0].connection if self._shards else None
        if connection is None:
            raise NotConnected(self.venue.name)
        connection.send_text(encoded(message))

    def switch(self, architecture: Architecture | str, scope: str = "all") -> Switch | Switches:
        """Hand all later frames to ``architecture``; awaiting what this returns gives the receipt.

        ``scope``: ``all``, or the ``public`` or ``private`` streams alone. Inside a callback it may be called but not awaited.
        """
        if scope not in SCOPES:
            raise SettingsError(f"unknown scope {scope!r}; known: {', '.join(SCOPES)}")
        named = architecture_named(architecture)
        if scope == "private":
            return self._with_account("switch() of private streams").switch(named)
        marker = super().switch(named)
        self.settings = _replaced(self.settings, {"architecture": named})
        if scope == "public" or self._private is None:
            return marker
        return Switches([*marker.parts, *self._private.switch(named).parts])

    async def apply(self, settings: ExchangeSettings) -> Applied:
        """Go over to ``settings`` on the live connections: streams first, then the architecture. All of it, or an error and nothing.

        Only ``symbols``, ``channels`` and ``architecture`` can change while connected: anything else raises SettingsError. What was
        subscribed beside the settings stays. New streams that the venue refuses are an error as in ``subscribe``, and those that it took in
        the same call are ended again.
        """
        self._require_begun("apply()")
        async with self._applying:
            now = self.settings
            fixed = [
                name
                for name in settings.__struct_fields__
                if name not in ("symbols", "channels", "architecture") and getattr(settings, name) != getattr(now, name)
            ]
            if fixed:
                raise SettingsError(f"{', '.join(fixed)} cannot change on a live connection; open another manager")
            channels = self._channel_names(settings.channels)
            wanted = set(_streams(channels, settings.symbols))
            added = sorted(wanted - self._wanted_now())
            ended = sorted(set(_streams(self._channel_names(now.channels), now.symbols)) - wanted)
            try:
                await self._subscribe(added)
            except TickrailError:
                await self._end_quietly(added)
                raise
            await self._end_quietly(ended)
            self._channels = channels
            # Asked for in any case: a switch that was asked for before may not have been reached, or may have been withdrawn.
            receipt = await self.switch(settings.architecture)
            self.settings = settings
            return Applied(tuple(added), tuple(ended), receipt if receipt.changed else None)

    async def rotate(self) -> tuple[RotationReceipt, ...]:
        """Replace each connection by another while data flows: nothing is lost, nothing told twice, no Gap. Returns when all are replaced.

        Public connections first, then that of the account. Raises RotationFailed where one could not be, after all have been tried: that
        one goes on. Frames that go past the session cannot be told from each other: SettingsError. If the caller is cancelled it goes on.
        """
        self._require_begun("rotate()")
        if self._is_opaque:
            raise SettingsError("frames that go past the session are not known again on another connection; they cannot be rotated")
        results = [await super().rotate()] if self._private is None else await self._rotated(super().rotate, self._private.rotate)
        return tuple(receipt for receipts in results for receipt in receipts)

    def get_performance_metrics(self) -> dict[str, Any]:
        """Figures by name, for code that reads them so; ``metrics()`` and ``accounting`` say more."""
        frames = self.accounting.frames
        return {
            "architecture": self.architecture.value,
            "use_direct_handling": self.architecture is Architecture.DIRECT,
            "connection_state": self._state.value,
            "connections": self.connections,
            "connects": self.connects,
            "messages_received": frames.received,
            "messages_processed": frames.delivered + frames.control,
            "messages_rejected": frames.rejected,
            "messages_shed": frames.shed,
            "queue_size": frames.in_flight,
            "lag_ns": self.lag_ns,
            "venue_lag_ns": self.venue_lag_ns,
            "reading_pauses": sum(lane.pauses for lane in self._lanes),
            "switches": self.switches,
            "architectures": {kind.value: msgspec.to_builtins(path) for kind, path in self.metrics().items()},
        }

    def continued(self) -> None:
        """The process was stopped and goes on: for a handler of SIGCONT, which alone can tell a stop from a callback that took its time."""
        self._watchdog.continued()

    async def wait(self) -> None:
        """Wait until the manager is closed; raises what made it give up."""
        if self._is_inside():
            raise AwaitedInsideCallback("wait()")
        if self._common is not None:
            await self._gave_up.wait()
        if self.failure is not None:
            raise self.failure
        if self._closing is not None:
            await asyncio.wait([self._closing])

    def close(self) -> "ManagerClosing":
        """End everything within ``close_deadline_s``, whatever the callbacks do. Begins at once; await what this returns for the end.

        Frames that were received are handled if the deadline allows, others are shed as ``closed``. A callback that does not give in to its
        cancellation at the deadline is waited for a second more. Inside a callback it may be called but not awaited.
        """
        if self._closing is None:
            self._rotations.stop()
            handled = [lane.close() for lane in self._every_lane]
            self._closing = asyncio.get_running_loop().create_task(self._close(handled))
        return ManagerClosing(self._closing, self._is_inside)

    def shard_changed(self) -> None:
        """A connection is in another state."""
        states = {shard.state for shard in self.every_shard}
        self._tell(next(state for state in _WORST_FIRST if state in states))
        self._rotations.shard_changed()

    def shard_gave_up(self, error: TickrailError) -> None:
        """A connection is not tried again; a venue with a part of its streams is not whole, so this ends it."""
        if self.failure is not None:
            return
        self.failure = error
        self._tell(ConnectionState.ERROR)
        self.report("gave up", str(error))
        self._rotations.stop()
        for shard in self.with_spares:
            shard.subscriber.give_up(error)
            if shard.state is not ConnectionState.ERROR:
                shard.stop(error)
                if shard.connection is not None:
                    shard.connection.abort()
        self._gave_up.set()

    def account_gave_up(self, error: TickrailError) -> None:
        """The account's streams are not tried again. The public ones, if there are any, go on without."""
        self.report("account", str(error))
        if not self._shards:
            self.shard_gave_up(error)

    def streams_of(self, shard: Shard) -> set[Key] | None:
        """What is lost with the connection of ``shard``; None: everything, because there is no other."""
        return None if len(self._shards) == 1 else shard.streams

    @property
    def every_shard(self) -> Sequence[Shard]:
        """The connections of public streams, and those of the account."""
        return self._shards if self._private is None else [*self._shards, *self._private.shards]

    def carrier(self, channel: str, symbol: str) -> Shard | None:
        """The connection of a stream whose channel is named without its option."""
        return next((shard for shard in self._shards if shard.subscriber.names_of(channel, symbol)), None)

    async def move(self, shard: Shard, channel: str, symbol: str) -> None:
        """Let another connection carry a stream."""
        keys = [(name, symbol) for name in shard.subscriber.names_of(channel, symbol)]
        try:
            await shard.subscriber.end(keys)
        except TickrailError:
            pass  # That there was no answer has been told as an event.
        if self._closing is not None or self.failure is not None or any(self._shard_of.get(key) is not shard for key in keys):
            return  # Or it was ended meanwhile, or is wanted elsewhere by now.
        others = {other: other.subscriber.room for other in self._shards if other is not shard}
        target = next((other for other, room in others.items() if room is None or room >= len(keys)), None) or self._add_shard()
        self._shard_of |= dict.fromkeys(keys, target)
        target.subscriber.want(keys)
        await target.subscriber.ask()
        if shard is not self._shards[0] and not shard.subscriber.wanted:
            await self._retire(shard)

    def replace_shard(self, first: Shard, second: Shard) -> None:
        """From now on ``second`` carries what ``first`` carried, in its place."""
        self._shard_of = {key: second if shard is first else shard for key, shard in self._shard_of.items()}
        super().replace_shard(first, second)

    def _add_shard(self, *, may_fail_first: bool = False) -> Shard:
        lane = self._add_lane(**self._lane_settings) if self._shards else self._lanes[0]
        shard = self._new_shard(lane, self, may_fail_first=may_fail_first)
        self._shards.append(shard)
        return shard

    def _new_shard(self, lane: Lane, owner: Owner, *, may_fail_first: bool) -> Shard:
        assert self._common is not None
        return Shard(
            next(self._numbers),
            self._common,
            owner,
            self._foreign or strategy_set(self.venue),
            lane,
            is_foreign=self._foreign is not None,
            is_opaque=self._is_opaque,
            may_fail_first=may_fail_first,
        )

    async def _subscribe(self, keys: Sequence[Key]) -> None:
        """Subscribe all that can be had; raises the first error once everything has its answer."""
        assert self._common is not None
        known, unknown = await self._known(keys)
        self._refuse_second_options(known)
        shards = self._placed(known)
        waiters = [waiter for shard, its in shards.items() for waiter in shard.subscriber.want(its)]
        for channel, symbol in known:
            name, _, option = channel.partition(":")
            self._session.readmit(name, symbol, option)
        if self._common.symbols_are_known.is_set():
            await asyncio.gather(*(shard.subscriber.ask() for shard in shards))
        else:
            self._common.symbols_are_known.set()  # The connections wait for it, and ask themselves.
            if self._shards:
                await self._shards[0].has_asked.wait()
        await answers(waiters)
        if unknown is not None:
            raise unknown

    async def _known(self, keys: Sequence[Key]) -> tuple[list[Key], UnknownSymbol | None]:
        """The streams whose symbols the venue lists, and what is wrong with the first of the others."""
        for _, symbol in keys:
            check_symbol(symbol)
        symbols = self.venue.symbols
        if not symbols.instruments:
            return list(keys), None
        list_age_ns = self._clock.monotonic_ns() - self._listed_ns
        if any(symbol not in symbols.instruments for _, symbol in keys) and list_age_ns > LIST_AGE_S * 1e9:
            await self._list_instruments()
        unknown = [symbol for _, symbol in keys if symbol not in symbols.instruments]
        error = None
        if unknown:
            many = f"; {', '.join(dict.fromkeys(unknown))} are not" if len(set(unknown)) > 1 else ""
            error = UnknownSymbol(unknown[0], f"one of the {len(symbols.instruments)} instruments of {self.venue.name}{many}")
        return [key for key in keys if key[1] not in unknown], error

    async def _require_known(self, symbols: Collection[str]) -> None:
        """Raise UnknownSymbol unless the venue lists all: what an account trades is subscribed nowhere, where it would be told."""
        _, unknown = await self._known([("", symbol) for symbol in symbols])
        if unknown is not None:
            raise unknown

    def _placed(self, keys: Sequence[Key]) -> dict[Shard, list[Key]]:
        """Give each stream its connection: the one it has, else the first with room, else another."""
        placed: dict[Shard, list[Key]] = {}
        rooms = {shard: shard.subscriber.room for shard in self._shards}
        for key in keys:
            shard = self._shard_of.get(key)
            if shard is None or shard not in rooms or key not in shard.subscriber.wanted:
                shard = next((shard for shard, room in rooms.items() if room is None or room > 0), None)
                if shard is None:
                    shard = self._add_shard()
                    rooms[shard] = shard.subscriber.room
                room = rooms[shard]
                rooms[shard] = None if room is None else room - 1
                self._shard_of[key] = shard
            placed.setdefault(shard, []).append(key)
        return placed

    def _refuse_second_options(self, keys: Sequence[Key]) -> None:
        """A book channel with two options for one symbol would be two books under one name."""
        options: dict[Key, str] = {}
        for channel, symbol in (*self._wanted_now(), *keys):
            name = without_option(channel)
            if name in self.venue.book_channels and options.setdefault((name, symbol), channel) != channel:
                both = f"{channel} and {options[name, symbol]}"
                raise SettingsError(f"{symbol} is wanted of {both}; a book channel takes one option for each symbol")

    async def _list_instruments(self) -> None:
        """Read the venue's instrument list. A customer's own strategies do without where there is none."""
        venue = self.venue
        try:
            try:
                body = await self._rest.get(venue.instruments_path, {})
                venue.symbols.load(venue.codec.decode_instruments(body))
            except DecodeError as error:
                raise RequestFailed(shown(self.settings.rest_address + venue.instruments_path), str(error)) from None
        except RequestFailed as error:
            if not self._is_opaque:
                raise
            self.report("instruments", str(error))
        self._listed_ns = self._clock.monotonic_ns()

    async def _end(self, keys: Collection[Key]) -> None:
        """Unsubscribe what is no longer wanted, and forget it."""
        by_shard: dict[Shard, list[Key]] = {}
        for key in keys:
            shard = self._shard_of.pop(key, None)
            if shard is not None:
                by_shard.setdefault(shard, []).append(key)
        try:
            results = await asyncio.gather(*(shard.subscriber.end(its) for shard, its in by_shard.items()), return_exceptions=True)
            for result in results:
                if result is not None:
                    raise result
        finally:
            # A stream that is wanted again by now, or with another option, goes on.
            kept = {(without_option(channel), symbol) for channel, symbol in self._wanted_now()}
            for shard, its in by_shard.items():
                for channel, symbol in sorted({(without_option(channel), symbol) for channel, symbol in its} - kept):
                    shard.repairs.end(channel, symbol)
                    await shard.in_lane(Session.forget, channel, symbol)
            for shard in by_shard:
                if shard is not self._shards[0] and not shard.subscriber.wanted:
                    await self._retire(shard)

    async def _end_quietly(self, keys: Sequence[Key]) -> None:
        """As ``_end``; that the venue did not answer, or refused, has been told as an event."""
        try:
            await self._end(keys)
        except TickrailError:
            pass

    async def _retire(self, shard: Shard) -> None:
        """End a connection that has no streams any more."""
        if shard not in self._shards or self._closing is not None:
            return
        self._shards.remove(shard)
        await self.end_shard(shard)
        self._shard_of = {key: its for key, its in self._shard_of.items() if its is not shard}
        self.shard_changed()

    @property
    def _stages(self) -> Counter[Stage]:
        """How many streams are how far."""
        return sum((shard.subscriber.stages for shard in self._shards), Counter())

    def _wanted_now(self) -> set[Key]:
        return set().union(*(shard.subscriber.wanted for shard in self._shards))

    def _repair_soon(self, request: Request) -> None:
        shard = self.carrier(request.channel, request.symbol)
        if shard is not None and self._closing is None:
            shard.repairs.soon(request)

    def _channel_names(self, channels: Sequence[str] | None) -> tuple[str, ...]:
        """The venue's names of channels, those of ``initialize`` or the settings where none are given."""
        names = (self._channels or self.settings.channels) if channels is None else channels
        return tuple(dict.fromkeys(self.venue.channel_named(name) for name in names))

    def _limit_connects(self) -> tuple[str, str | None]:
        key = ("connect", urlsplit(self.settings.address).netloc)
        per_minute = self.settings.reconnect.connects_per_minute
        self._limiter.limit(
            key, self.venue.limits.connects if per_minute is None else Rate(CONNECT_BURST, CONNECT_BURST * 60.0 / per_minute)
        )
        return key

    async def _close(self, handled: Sequence[Marker]) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.settings.close_deadline_s
        self._watchdog.stop()
        shards = self.with_spares
        for shard in shards:
            shard.stop(NotConnected(self.venue.name))
        if self._private is not None:
            self._private.stop(NotConnected(self.venue.name))
            shards += self._private.with_spares
        connections = [shard.connection for shard in shards if shard.connection is not None]
        await self._rest.close()
        try:
            async with asyncio.timeout_at(deadline):
                await asyncio.gather(*(connection.close() for connection in connections))
                if self._foreign is not None:
                    await run_foreign(self.report, "disconnect", self._foreign.connection_strategy.disconnect)
                    await run_foreign(self.report, "cleanup", self._foreign.connection_strategy.cleanup)
                for marker in handled:
                    await marker
        except TimeoutError:
            for connection in connections:
                connection.abort()
            await asyncio.gather(*(lane.abort() for lane in self._every_lane))
        for shard in shards:
            shard.forget()
        self._tell(ConnectionState.CLOSED)
        self._gave_up.set()
        if self._announcer is not None:
            await asyncio.wait([self._announcer], timeout=max(0.0, deadline - loop.time()))
            self._announcer.cancel()

    def _tell(self, state: ConnectionState) -> None:
        """Change the state and tell the connection handler, in order, in a task of its own."""
        if state is self._state:
            return
        self._state = state
        if self._connection_handler is None:
            return
        self._states.append(state)
        if len(self._states) == 1:
            self._announcer = asyncio.get_running_loop().create_task(self._tell_all(self._connection_handler))

    async def _tell_all(self, handler: ConnectionHandler) -> None:
        while self._states:
            await run_foreign(self.report, "connection handler", handler, self._states[0])
            self._states.popleft()

    def report(self, kind: str, text: str) -> None:
        """Tell the user of what is no single connection's."""
        self._lanes[0].call("report", lambda: self._session.report(kind, text))

    def _is_inside(self) -> bool:
        """Whether the code that asks runs inside a callback of one of the lanes' tasks."""
        return any(lane.is_current_task() for lane in self._every_lane)

    @property
    def _every_lane(self) -> Sequence[Lane]:
        return self._lanes if self._private is None else [*self._lanes, *self._private.lanes]

    def _with_account(self, what: str) -> AccountStreams:
        if self._private is None:
            raise SettingsError(f"{what} needs credentials in the settings")
        return self._private

    async def _rotated(
        self, *rotations: Callable[[], Coroutine[Any, Any, tuple[RotationReceipt, ...]]]
    ) -> Sequence[tuple[RotationReceipt, ...]]:
        """The receipts of all, one after the other; raises the first failure once all have been tried."""
        receipts, failures = [], []
        for rotate in rotations:
            try:
                receipts.append(await rotate())
            except RotationFailed as failure:
                failures.append(failure)
        if failures:
            raise failures[0]
        return receipts

    def _account_streams_of(self, venue: Venue, handler: PrivateWebSocketHandler | None) -> AccountStreams | None:
        settings = self.settings
        if settings.credentials is None:
            if handler is not None:
                raise SettingsError("a private_handler needs credentials in the settings")
            return None
        return AccountStreams(
            venue.of_account(settings.credentials),
            settings,
            self,
            self._clock,
            self._chance,
            self._watchdog.worked,
            handler=handler or PrivateWebSocketHandler(),
            paths=self._paths,
            adapted=self._is_adapted,
            lane_type=self._lane_type,
        )

    def _require_begun(self, what: str) -> None:
        if self._is_inside():
            raise AwaitedInsideCallback(what)
        if self.failure is not None:
            raise self.failure
        if self._common is None or self._closing is not None:
            raise SettingsError("call initialize() first" if self._closing is None else "the manager is closed")


class ManagerClosing:
    """A manager that ends; awaiting it inside one of its callbacks raises AwaitedInsideCallback."""

    def __init__(self, task: asyncio.Task[None], is_inside: Callable[[], bool]) -> None:
        self._task = task
        self._is_inside = is_inside

    def __await__(self) -> Generator[Any, None, None]:
        if self._is_inside():
            raise AwaitedInsideCallback("close()")
        return asyncio.shield(self._task).__await__()


def _replaced(settings: ExchangeSettings, changes: Mapping[str, Any]) -> ExchangeSettings:
    unknown = sorted(set(changes) - set(settings.__struct_fields__))
    if unknown:
        raise SettingsError(f"unknown settings {', '.join(unknown)}; known: {', '.join(settings.__struct_fields__)}")
    return msgspec.structs.replace(settings, **changes)


def _first_architecture(
    architecture: Architecture | str | None, use_direct_handling: bool | None, has_strategies: bool, default: Architecture
) -> Architecture:
    """What the arguments say together, or SettingsError where they contradict one another."""
    named = None if architecture is None else architecture_named(architecture)
    if use_direct_handling is not None:
        meant = Architecture.DIRECT if use_direct_handling else Architecture.STRATEGY
        if named not in (None, meant):
            raise SettingsError(f"architecture={named.value!r} contradicts use_direct_handling={use_direct_handling}")
        return meant
    return named or (Architecture.STRATEGY if has_strategies else default)


def _policy_of(strategies: WebSocketStrategySet, settings: ReconnectSettings) -> ReconnectSettings:
    """The customer's policy in the words of ours; what it does not speak of stays as in ``settings``."""
    policy = strategies.connection_strategy.get_reconnection_policy()
    return msgspec.structs.replace(
        settings,
        first_delay_s=policy.initial_delay,
        factor=policy.backoff_factor,
        max_delay_s=policy.max_delay,
        max_attempts=policy.max_attempts,
        reset_on_1005=policy.reset_on_1005,
    )


def _rest_of(settings: ExchangeSettings, limiter: Limiter, clock: Clock, chance: random.Random, ssl_context: ssl.SSLContext | None) -> Rest:
    """The venue's REST interface, within its own limit and that of the settings."""
    key = ("rest", urlsplit(settings.rest_address).netloc)
    limiter.limit(key, settings.venue.limits.rest, Rate(SNAPSHOT_BURST, SNAPSHOT_BURST * 60.0 / settings.snapshots_per_minute))
    headers = settings.venue.headers
    return Rest(settings.rest_address, limiter=limiter, key=key, headers=headers, ssl_context=ssl_context, chance=chance, clock=clock)


def _streams(channels: Sequence[str], symbols: Collection[str]) -> list[Key]:
    if symbols and not channels:
        raise SettingsError(f"no channels for {', '.join(symbols)}: name them, or give callbacks for what is wanted")
    return [(channel, symbol) for channel in channels for symbol in symbols]
