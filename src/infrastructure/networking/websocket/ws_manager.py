"""A venue's connection and its wiring: connect, log in, subscribe, repair, reconnect, switch, close. It is not in a frame's way."""

import asyncio
import inspect
import random
import ssl
from collections import deque
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from functools import partial
from typing import Any, Self

import msgspec

from infrastructure.book_sync import Request
from infrastructure.clock import Clock
from infrastructure.errors import (
    AwaitedInsideCallback,
    ConnectFailed,
    GaveUp,
    HandshakeRefused,
    NotConnected,
    SettingsError,
    TickrailError,
)
from infrastructure.events import Architecture
from infrastructure.networking.address import shown
from infrastructure.networking.http import Rest
from infrastructure.networking.websocket import transport
from infrastructure.networking.websocket.connection import Connection, Fact, Phase
from infrastructure.networking.websocket.handlers import BaseWebSocketClient, PublicWebSocketHandler
from infrastructure.networking.websocket.lane import Lane
from infrastructure.networking.websocket.link import Connect, Loss
from infrastructure.networking.websocket.marker import Marker, Switch, SwitchReceipt
from infrastructure.networking.websocket.pipeline import LaneType, Pipeline, architecture_named
from infrastructure.networking.websocket.reconnect import Again, GiveUp, Reconnection
from infrastructure.networking.websocket.repairs import Repairs
from infrastructure.networking.websocket.settings import ExchangeSettings, ReconnectSettings
from infrastructure.networking.websocket.strategies import WebSocketStrategySet, strategy_set
from infrastructure.networking.websocket.strategies.interfaces import (
    ConnectionContext,
    ConnectionHandler,
    ConnectionState,
    MessageHandler,
)
from infrastructure.networking.websocket.subscriber import Key, Subscriber, Waiters, answers, encoded, without_option
from infrastructure.session import Emission, Session
from infrastructure.venue import Venue


class Applied(msgspec.Struct, frozen=True):
    """What ``apply`` changed: (channel, symbol) of the streams, and the switch if the architecture changed."""

    subscribed: tuple[Key, ...] = ()
    unsubscribed: tuple[Key, ...] = ()
    switch: SwitchReceipt | None = None


class WebSocketManager(Pipeline):
    """Streams one exchange through either architecture over one live connection, and keeps it alive.

    ``config`` is an ExchangeSettings, as ``exchange_settings(...)`` makes them. Called as before, with ``strategies``, a
    ``message_handler`` and a ``connection_handler``, frames go to that strategy set; of its connection strategy the context, the policy
    and the classification are read, ``authenticate`` and ``handle_heartbeat`` run with ``websocket`` set to an object that has ``send``
    and ``state``, and its ``connect`` is never called. ``manager_config`` replaces single settings. ``handler`` takes the frames of the
    direct architecture. ``architecture`` and ``use_direct_handling`` say the same; without either, a strategy set that was given is used,
    else what the settings say.

    ``connect``, ``clock`` and ``chance`` can be given for tests.
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
        architecture: Architecture | str | None = None,
        use_direct_handling: bool | None = None,
        adapted: bool = False,
        ssl_context: ssl.SSLContext | None = None,
        connect: Connect = transport.connect,
        clock: Clock | None = None,
        chance: random.Random | None = None,
        lane_type: LaneType = Lane,
    ) -> None:
        settings = config if isinstance(config, ExchangeSettings) else ExchangeSettings(venue=config)
        settings = _replaced(settings, manager_config or {})
        first = _first_architecture(architecture, use_direct_handling, strategies is not None, settings.architecture)
        self.settings = _replaced(settings, {"architecture": first})
        venue = settings.venue
        self._foreign = strategies
        self._strategies = strategies or strategy_set(venue)
        #: Whether frames go past the session, and with them the answers to subscriptions.
        self._is_opaque = strategies is not None or message_handler is not None
        self._ssl_context = ssl_context
        self._connect = connect
        self._chance = chance or random.Random()
        self._rest = Rest(
            settings.rest_address, per_minute=settings.snapshots_per_minute, ssl_context=ssl_context, chance=self._chance, clock=clock
        )
        self._subscriber = Subscriber(
            venue,
            self._strategies.subscription_strategy if self._is_opaque else None,
            settings.subscribe_timeout_s,
            self._asking,
            lambda error, channel: self._report("unanswered", str(error), channel),
        )
        self._repairs = Repairs(venue, self._rest, self._in_lane, self._subscriber, settings.subscribe_timeout_s, self._chance)
        self._connection_handler = connection_handler
        self._states: deque[ConnectionState] = deque()
        self._state = ConnectionState.DISCONNECTED
        self._channels: tuple[str, ...] = ()
        self._connection: Connection | None = None
        self._reconnection: Reconnection | None = None
        self._announcer: asyncio.Task[None] | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._opened: asyncio.Future[None] | None = None
        self._cut: Marker | None = None
        self._closing: asyncio.Task[None] | None = None
        self._applying = asyncio.Lock()
        #: Why the venue was given up, if it was.
        self.failure: TickrailError | None = None
        self.connects = 0
        self.last_loss: Loss | None = None
        super().__init__(
            Session(venue, None, self._repair_soon, self._subscriber.answered, self._flowing),
            first,
            handler=handler or PublicWebSocketHandler(),
            strategies=self._strategies,
            message_handler=message_handler,
            adapted=adapted,
            clock=clock,
            lane_type=lane_type,
            lane_settings={"high_water": settings.high_water, "pause": self._pause, "resume": self._resume},
        )

    def __repr__(self) -> str:
        return f"<WebSocketManager {self.venue.name} {self.architecture.value} {self._state.value} {self._subscriber!r}>"

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
        """Where the connection is, in the words of the old interface."""
        return self._state

    @property
    def lag_ns(self) -> int:
        """How long ago the frame that is handled next was received; 0 when none waits."""
        return self._lane.lag_ns

    def is_connected(self) -> bool:
        """Whether the connection is open."""
        return self._connection is not None and self._connection.is_open

    async def initialize(self, symbols: Collection[str] | None = None, default_channels: Sequence[str] | None = None) -> None:
        """Connect and subscribe ``symbols`` to ``default_channels``, those of the settings if not given; returns when all is acknowledged.

        Raises what keeps the first connection from opening (ConnectFailed), SubscriptionRefused with the venue's words, or
        SubscriptionUnanswered.
        """
        if self._supervisor is not None or self._closing is not None:
            raise SettingsError("the manager was opened or closed before; one manager is one connection's life")
        self._channels = self._channel_names(default_channels)
        symbols = self.settings.symbols if symbols is None else tuple(symbols)
        self.settings = _replaced(self.settings, {"symbols": symbols, "channels": self._channels})
        policy = self.settings.reconnect if self._foreign is None else _policy_of(self._foreign, self.settings.reconnect)
        self._reconnection = Reconnection(self.venue.name, policy, self._chance)
        waiters = self._wanted(_streams(self._channels, symbols))
        self._opened = opened = asyncio.get_running_loop().create_future()
        self._supervisor = asyncio.get_running_loop().create_task(self._supervise(opened))
        self._supervisor.add_done_callback(self._supervised)
        has_opened = False
        try:
            await opened
            has_opened = True
        finally:
            if not has_opened:
                self._subscriber.close()
        await answers(waiters)

    async def subscribe(self, symbols: Collection[str], channels: Sequence[str] | None = None) -> None:
        """Add streams; returns when the venue has acknowledged them. Raises as ``initialize``.

        While the connection is down they wait for the next one.
        """
        self._require_begun("subscribe()")
        waiters = self._wanted(_streams(self._channel_names(channels), symbols))
        await self._subscriber.ask()
        await answers(waiters)

    async def unsubscribe(self, symbols: Collection[str], channels: Sequence[str] | None = None) -> None:
        """End streams; returns when the venue has acknowledged it. Their books can no longer be read, and no Gap is announced."""
        self._require_begun("unsubscribe()")
        await self._end(_streams(self._channel_names(channels), symbols))

    async def send_message(self, message: Mapping[str, Any]) -> None:
        """Send one JSON message. It is never sent again: after a reconnect only subscriptions are. Raises NotConnected."""
        if self._connection is None:
            raise NotConnected(self.venue.name)
        self._connection.send_text(encoded(message))

    def switch(self, architecture: Architecture | str, scope: str = "all") -> Switch:
        """Hand all later frames to ``architecture``; awaiting what this returns gives the receipt. ``scope``: ``all`` or ``public``.

        Inside a callback it may be called but not awaited.
        """
        if scope not in ("all", "public"):
            raise SettingsError(f"unknown scope {scope!r}; this manager has public streams only: all, public")
        marker = super().switch(architecture)
        self.settings = _replaced(self.settings, {"architecture": architecture_named(architecture)})
        return marker

    async def apply(self, settings: ExchangeSettings) -> Applied:
        """Go over to ``settings`` on the live connection: streams first, then the architecture. All of it, or an error and nothing.

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
            added = sorted(wanted - self._subscriber.wanted)
            ended = sorted(set(_streams(self._channel_names(now.channels), now.symbols)) - wanted)
            waiters = self._wanted(added)
            await self._subscriber.ask()
            try:
                await answers(waiters)
            except TickrailError:
                await self._end_quietly(added)
                raise
            await self._end_quietly(ended)
            self._channels = channels
            # Asked for in any case: a switch that was asked for before may not have been reached, or may have been withdrawn.
            receipt = await super().switch(settings.architecture)
            self.settings = settings
            return Applied(tuple(added), tuple(ended), receipt if receipt.changed else None)

    def get_performance_metrics(self) -> dict[str, Any]:
        """Figures by name, for code that reads them so; ``metrics()`` and ``accounting`` say more."""
        frames = self.accounting.frames
        return {
            "architecture": self.architecture.value,
            "use_direct_handling": self.architecture is Architecture.DIRECT,
            "connection_state": self._state.value,
            "connects": self.connects,
            "messages_received": frames.received,
            "messages_processed": frames.delivered + frames.control,
            "messages_rejected": frames.rejected,
            "messages_shed": frames.shed,
            "queue_size": frames.in_flight,
            "lag_ns": self.lag_ns,
            "reading_pauses": self._lane.pauses,
            "switches": self.switches,
            "architectures": {kind.value: msgspec.to_builtins(path) for kind, path in self.metrics().items()},
        }

    async def wait(self) -> None:
        """Wait until the manager is closed; raises what made it give up."""
        if self._lane.is_current_task():
            raise AwaitedInsideCallback("wait()")
        if self._supervisor is not None:
            await asyncio.wait([self._supervisor])
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
            self._closing = asyncio.get_running_loop().create_task(self._close(self._lane.close()))
        return ManagerClosing(self._closing, self._lane)

    async def _supervise(self, opened: asyncio.Future[None]) -> None:
        """Connect again and again; ends when the venue is given up."""
        assert self._reconnection is not None
        while True:
            self._tell(ConnectionState.RECONNECTING if opened.done() else ConnectionState.CONNECTING)
            failure = await self._live(opened)
            if not opened.done():
                # Trying again is for streams that have run; whoever opens one is told at once.
                self._give_up(failure if isinstance(failure, ConnectFailed) else GaveUp(self.venue.name, str(failure)))
                return
            decision = self._reconnection.failed(failure, asyncio.get_running_loop().time())
            if not isinstance(decision, GiveUp) and self._foreign is not None:
                decision = await self._allowed(decision, failure)
            if isinstance(decision, GiveUp):
                self._give_up(decision.error)
                return
            await asyncio.sleep(decision.delay_s)

    def _supervised(self, task: asyncio.Task[None]) -> None:
        """An error of our own in the supervisor ends the venue, and is not lost."""
        error = None if task.cancelled() else task.exception()
        if error is not None:
            if self._connection is not None:
                self._connection.abort()
            self._give_up(error if isinstance(error, TickrailError) else GaveUp(self.venue.name, f"{type(error).__name__}: {error}"))

    async def _live(self, opened: asyncio.Future[None]) -> Loss | ConnectFailed:
        """One connection, from the attempt to its end."""
        self._connection = connection = Connection(self.venue.name)
        strategy = self._strategies.connection_strategy
        strategy.websocket = connection
        context = await self._run_foreign("connection context", strategy.create_connection_context)
        if context is None:
            return ConnectFailed(self.venue.name, "the connection strategy gave no connection context")
        url = self.settings.websocket_url or context.url
        handled = self._lane.delivered
        try:
            await connection.open(
                self._connect,
                url,
                self._lane.deliver,
                settings=self.settings.transport,
                clock=self._clock,
                headers=context.headers,
                ssl_context=self._ssl_context,
            )
        except ConnectFailed as error:
            self._report("connect", str(error))
            return error
        opened_at = asyncio.get_running_loop().time()
        self.connects += 1
        if self._lane.is_paused:
            connection.pause()
        heartbeat = asyncio.create_task(self._heartbeat(connection, context))
        try:
            if context.auth_required and connection.is_open and not await self._log_in(connection) and connection.is_open:
                await connection.close()
                return HandshakeRefused(shown(url), "the connection strategy could not authenticate")
            if self._cut is not None:
                await self._cut  # The frames of the last connection are handled first: their answers are not of this one.
            self._tell(connection.state)
            if connection.is_open:
                connection.learn(Fact.ASKED)
                await self._run_foreign("subscription messages", self._subscriber.ask)
            if not opened.done():
                opened.set_result(None)
            loss = await connection.end()
        finally:
            heartbeat.cancel()
        self.last_loss = loss
        self._cut = self._lane.call("cut", partial(self._lost, loss))
        self._tell(connection.state)
        flowing_at = connection.flowing_at
        if flowing_at is None and self._is_opaque and self._lane.delivered > handled:
            flowing_at = opened_at  # What a foreign set reads is its own affair; that it read something is all that can be known.
        if flowing_at is not None and self._reconnection is not None:
            self._reconnection.data_flows(flowing_at)
        return loss

    def _lost(self, loss: Loss) -> list[Emission]:
        """In the lane, after the last frame of the connection."""
        self._subscriber.disconnected()
        self._repairs.cancel()
        code = None if loss.code is None else str(loss.code)
        return [*self._session.report("disconnected", str(loss), code=code), *self._session.disconnect()]

    async def _log_in(self, connection: Connection) -> bool:
        """Whether it is done; not if the connection is lost meanwhile, or it takes longer than opening one may."""
        connection.learn(Fact.LOGIN)
        login = asyncio.create_task(self._run_foreign("authenticate", self._strategies.connection_strategy.authenticate))
        end = asyncio.create_task(connection.end())
        try:
            await asyncio.wait([login, end], timeout=self.settings.transport.open_timeout_s, return_when=asyncio.FIRST_COMPLETED)
            return login.done() and bool(login.result())
        finally:
            login.cancel()
            end.cancel()

    async def _heartbeat(self, connection: Connection, context: ConnectionContext) -> None:
        while context.ping_interval:  # 0 or None: none is wanted
            await asyncio.sleep(context.ping_interval)
            if connection.is_open:
                await self._run_foreign("heartbeat", self._strategies.connection_strategy.handle_heartbeat)

    async def _run_foreign(self, what: str, function: Callable[..., Any], *arguments: object) -> Any:
        """Call what is not ours, plain or ``async``, in a task of its own: what it raises is told as an error, and None returned."""
        task = asyncio.create_task(_called(function, *arguments))
        try:
            await asyncio.wait([task])
        finally:
            task.cancel()
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._report(what, f"{type(error).__name__}: {error}")
            return None
        return None if task.cancelled() else task.result()

    async def _allowed(self, again: Again, failure: Loss | ConnectFailed) -> Again | GiveUp:
        """``again``, unless the customer's strategy is against it; one that raises has no opinion."""
        assert self._foreign is not None
        strategy, error = self._foreign.connection_strategy, ConnectionError(str(failure))
        if await self._run_foreign("should_reconnect", strategy.should_reconnect, error) in (True, None):
            return again
        label = await self._run_foreign("classify_error", strategy.classify_error, error)
        return GiveUp(GaveUp(self.venue.name, f"the connection strategy does not connect again after {label}: {failure}"))

    def _give_up(self, error: TickrailError) -> None:
        self.failure = error
        self._tell(ConnectionState.ERROR)
        self._report("gave up", str(error))
        if self._opened is not None and not self._opened.done():
            self._opened.set_exception(error)
        self._subscriber.give_up(error)

    def _wanted(self, keys: Collection[Key]) -> Waiters:
        waiters = self._subscriber.want(keys)
        for channel, symbol in keys:
            self._session.readmit(without_option(channel), symbol)
        return waiters

    async def _end(self, keys: Collection[Key]) -> None:
        """Unsubscribe what is no longer wanted, and forget it."""
        try:
            await self._subscriber.end(keys)
        finally:
            # A stream that is wanted again by now, or with another option, goes on.
            kept = {(without_option(channel), symbol) for channel, symbol in self._subscriber.wanted}
            for channel, symbol in sorted({(without_option(channel), symbol) for channel, symbol in keys} - kept):
                self._repairs.end(channel, symbol)
                await self._in_lane(Session.forget, channel, symbol)

    async def _end_quietly(self, keys: Sequence[Key]) -> None:
        """As ``_end``; that the venue did not answer, or refused, has been told as an event."""
        try:
            await self._end(keys)
        except TickrailError:
            pass

    def _asking(self) -> Connection | None:
        """The connection, once it may be asked for streams: logged in, and behind the end of the one before."""
        connection = self._connection
        return connection if connection is not None and connection.phase in (Phase.SUBSCRIBING, Phase.FLOWING) else None

    def _repair_soon(self, request: Request) -> None:
        if self._closing is None:
            self._repairs.soon(request)

    def _flowing(self, channel: str, symbol: str) -> None:
        if self._connection is None or (self._cut is not None and not self._cut.is_done):
            return  # A frame of the connection before, handled late.
        self._subscriber.flowing(channel, symbol)
        self._connection.learn(Fact.DATA)

    def _channel_names(self, channels: Sequence[str] | None) -> tuple[str, ...]:
        """The venue's names of channels, those of ``initialize`` or the settings where none are given."""
        names = (self._channels or self.settings.channels) if channels is None else channels
        return tuple(dict.fromkeys(self.venue.channel_named(name) for name in names))

    def _in_lane(self, action: Callable[..., Sequence[Emission]], *arguments: object) -> Marker:
        """Run a method of the session between two frames."""
        return self._lane.call(action.__name__, partial(action, self._session, *arguments))

    def _report(self, kind: str, text: str, channel: str | None = None) -> None:
        self._in_lane(Session.report, kind, text, channel)

    async def _close(self, handled: Marker) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.settings.close_deadline_s
        connection = self._connection
        if self._supervisor is not None:
            self._supervisor.cancel()
        self._repairs.cancel()
        # A cancellation would end the task of whoever waits, who did nothing wrong.
        self._subscriber.give_up(NotConnected(self.venue.name))
        self._subscriber.close()
        if self._opened is not None and not self._opened.done():
            self._opened.set_exception(NotConnected(self.venue.name))
        try:
            async with asyncio.timeout_at(deadline):
                if connection is not None:
                    await connection.close()
                await self._rest.close()
                if self._foreign is not None:
                    await self._run_foreign("disconnect", self._foreign.connection_strategy.disconnect)
                    await self._run_foreign("cleanup", self._foreign.connection_strategy.cleanup)
                await handled
        except TimeoutError:
            if connection is not None:
                connection.abort()
            await self._lane.abort()
        self._tell(ConnectionState.CLOSED)
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
            await self._run_foreign("connection handler", handler, self._states[0])
            self._states.popleft()

    def _pause(self) -> None:
        if self._connection is not None:
            self._connection.pause()

    def _resume(self) -> None:
        if self._connection is not None:
            self._connection.resume()

    def _require_begun(self, what: str) -> None:
        if self._lane.is_current_task():
            raise AwaitedInsideCallback(what)
        if self.failure is not None:
            raise self.failure
        if self._supervisor is None or self._closing is not None:
            raise SettingsError("call initialize() first" if self._closing is None else "the manager is closed")


class ManagerClosing:
    """A manager that ends; awaiting it inside one of its callbacks raises AwaitedInsideCallback."""

    def __init__(self, task: asyncio.Task[None], lane: Lane) -> None:
        self._task = task
        self._lane = lane

    def __await__(self) -> Generator[Any, None, None]:
        if self._lane.is_current_task():
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


async def _called(function: Callable[..., Any], *arguments: object) -> Any:
    result = function(*arguments)
    return await result if inspect.isawaitable(result) else result


def _streams(channels: Sequence[str], symbols: Collection[str]) -> list[Key]:
    if symbols and not channels:
        raise SettingsError(f"no channels for {', '.join(symbols)}: name them, or give callbacks for what is wanted")
    return [(channel, symbol) for channel in channels for symbol in symbols]
