"""One of a venue's connections and those that come after it when it is lost: connect, log in, subscribe, repair, reconnect."""

import asyncio
import inspect
import random
import ssl
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

from infrastructure.clock import Clock
from infrastructure.errors import ConnectFailed, GaveUp, HandshakeDeferred, HandshakeRefused, TickrailError
from infrastructure.limits import Limiter
from infrastructure.networking.address import shown
from infrastructure.networking.websocket.connection import Connection, Fact, Phase
from infrastructure.networking.websocket.lane import Lane
from infrastructure.networking.websocket.link import Connect, Loss, RestInterface
from infrastructure.networking.websocket.marker import Marker
from infrastructure.networking.websocket.reconnect import Again, GiveUp, Reconnection
from infrastructure.networking.websocket.repairs import Repairs
from infrastructure.networking.websocket.settings import ExchangeSettings, ReconnectSettings
from infrastructure.networking.websocket.strategies import WebSocketStrategySet
from infrastructure.networking.websocket.strategies.interfaces import ConnectionContext, ConnectionState
from infrastructure.networking.websocket.subscriber import Key, Subscriber
from infrastructure.networking.websocket.subscriptions import RequestIds, without_option
from infrastructure.session import Emission, Session


class Common(NamedTuple):
    """What the connections of a venue share.

    ``symbols_are_known`` is set once streams can be named in the venue's words. ``may_read`` says whether what has just been read may be
    handed on (if not, every connection has been ended), ``worked`` is told how long it took to handle it.
    """

    settings: ExchangeSettings
    session: Session
    rest: RestInterface
    limiter: Limiter
    #: Of the limiter: turns to connect.
    connect_key: Hashable
    connect: Connect
    clock: Clock
    chance: random.Random
    ssl_context: ssl.SSLContext | None
    reconnect: ReconnectSettings
    next_id: RequestIds
    symbols_are_known: asyncio.Event
    may_read: Callable[[], bool]
    worked: Callable[[int], None]


class Owner(Protocol):
    """Whoever has the shards."""

    def shard_changed(self) -> None:
        """The state of a shard is another one."""

    def shard_gave_up(self, error: TickrailError) -> None:
        """A shard does not connect again."""

    def streams_of(self, shard: "Shard") -> set[Key] | None:
        """What is lost with the connection of a shard; None: everything, because there is no other."""


class Shard:
    """A part of a venue's streams: one lane, one table of subscriptions, and one connection after the other beneath them.

    ``strategies`` say where and how to connect; of those that are a customer's, ``is_foreign``, the policy is asked as well. With
    ``is_opaque`` frames go past the session, and with them the answers to subscriptions.
    """

    def __init__(
        self,
        number: int,
        common: Common,
        owner: Owner,
        strategies: WebSocketStrategySet,
        lane: Lane,
        *,
        is_foreign: bool = False,
        is_opaque: bool = False,
        may_fail_first: bool = True,
    ) -> None:
        settings = common.settings
        self.number = number
        self.state = ConnectionState.DISCONNECTED
        self.connects = 0
        self.last_loss: Loss | None = None
        self.connection: Connection | None = None
        self._common = common
        self._owner = owner
        self._venue = common.session.venue
        self._strategies = strategies
        self._is_foreign = is_foreign
        self._is_opaque = is_opaque
        self._may_fail_first = may_fail_first
        self.lane = lane
        lane.attend(self._pause, self._resume)
        self._requests_key = (common.connect_key, "requests", id(self))
        common.limiter.limit(self._requests_key, self._venue.limits.requests)
        self.subscriber = Subscriber(
            self._venue,
            strategies.subscription_strategy if is_opaque else None,
            settings.subscribe_timeout_s,
            self._asking,
            partial(common.limiter.turn, self._requests_key),
            common.next_id,
            self._now_s,
            lambda error, channel: self.report("unanswered", str(error), channel),
        )
        self.repairs = Repairs(self._venue, common.rest, self.in_lane, self.subscriber, settings.subscribe_timeout_s, common.chance)
        self._reconnection = Reconnection(self._venue.name, common.reconnect, common.chance)
        self._cut: Marker | None = None
        #: Done when the first connection is open; never, where later ones are tried until one is.
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.opened.add_done_callback(retrieved)
        #: Set once the first connection was asked for what was wanted, or there will be none.
        self.has_asked = asyncio.Event()
        self.supervisor = asyncio.get_running_loop().create_task(self._supervise())
        self.supervisor.add_done_callback(self._supervised)

    def __repr__(self) -> str:
        return f"<Shard {self._venue.name} {self.number} {self.state.value} {self.subscriber!r}>"

    @property
    def is_connected(self) -> bool:
        """Whether the connection is open."""
        return self.connection is not None and self.connection.is_open

    @property
    def streams(self) -> set[Key]:
        """Channel, without its option, and symbol of everything that is wanted here."""
        return {(without_option(channel), symbol) for channel, symbol in self.subscriber.wanted}

    def belong_to(self, owner: Owner) -> None:
        """Another owner has it from now on."""
        self._owner = owner

    def in_lane(self, action: Callable[..., Sequence[Emission]], *arguments: object) -> Marker:
        """Run a method of the session between two frames."""
        # By its name: the session may have one of its own.
        return self.lane.call(action.__name__, partial(getattr(self._common.session, action.__name__), *arguments))

    def report(self, kind: str, text: str, channel: str | None = None) -> None:
        """Tell the user of something that failed."""
        self.in_lane(Session.report, kind, text, channel)

    def flowing(self, channel: str, symbol: str) -> None:
        """A stream has its first data on a connection."""
        if self.connection is None or (self._cut is not None and not self._cut.is_done):
            return  # A frame of the connection before, handled late.
        self.subscriber.flowing(channel, symbol)
        self.connection.learn(Fact.DATA)

    def wake(self) -> None:
        """The program stood still: what was asked before, and every book, is of before."""
        self.repairs.cancel()
        self.in_lane(Session.disconnect, self._owner.streams_of(self))

    def stop(self, error: TickrailError) -> None:
        """Connect no more and ask for nothing more; ``error`` is for whoever waits."""
        self.supervisor.cancel()
        self.repairs.cancel()
        # A cancellation would end the task of whoever waits, who did nothing wrong.
        self.subscriber.give_up(error)
        self.subscriber.close()
        self.has_asked.set()
        if not self.opened.done():
            self.opened.set_exception(error)

    def forget(self) -> None:
        """The connection is closed, and there will be no other: nothing is sent any more."""
        self._common.limiter.forget(self._requests_key)

    async def _supervise(self) -> None:
        """Connect again and again; ends when the venue is given up."""
        loop = asyncio.get_running_loop()
        while True:
            self._tell(ConnectionState.RECONNECTING if self.opened.done() else ConnectionState.CONNECTING)
            try:
                failure = await self._live()
            except TickrailError as error:
                failure = error
            if isinstance(failure, HandshakeDeferred) and failure.retry_after_s:
                self._common.limiter.defer(self._common.connect_key, failure.retry_after_s)
            if not self.opened.done() and self._may_fail_first:
                # Trying again is for streams that have run; whoever opens one is told at once.
                self._give_up(failure if isinstance(failure, TickrailError) else GaveUp(self._venue.name, str(failure)))
                return
            decision = self._reconnection.failed(failure, loop.time())
            if not isinstance(decision, GiveUp) and self._is_foreign:
                decision = await self._allowed(decision, failure)
            if isinstance(decision, GiveUp):
                self._give_up(decision.error)
                return
            await asyncio.sleep(decision.delay_s)

    def _supervised(self, task: asyncio.Task[None]) -> None:
        """An error of our own in the supervisor ends the venue, and is not lost."""
        error = None if task.cancelled() else task.exception()
        if error is not None:
            if self.connection is not None:
                self.connection.abort()
            self._give_up(error if isinstance(error, TickrailError) else GaveUp(self._venue.name, f"{type(error).__name__}: {error}"))

    async def _live(self) -> Loss | TickrailError:
        """One connection, from the attempt to its end; what keeps it from opening is returned, or raised."""
        common = self._common
        await common.limiter.turn(common.connect_key)
        self.connection = connection = Connection(self._venue.name)
        strategy = self._strategies.connection_strategy
        strategy.websocket = connection
        context = await run_foreign(self.report, "connection context", strategy.create_connection_context)
        if context is None:
            return ConnectFailed(self._venue.name, "the connection strategy gave no connection context")
        url = await self._address(common.settings.websocket_url or context.url)
        handled = self.lane.delivered
        try:
            await connection.open(
                common.connect,
                url,
                self.lane.deliver,
                settings=common.settings.transport,
                clock=common.clock,
                headers=context.headers,
                ssl_context=common.ssl_context,
                may_read=common.may_read,
                worked=common.worked,
            )
        except ConnectFailed as error:
            self.report("connect", str(error))
            return error
        opened_at = asyncio.get_running_loop().time()
        self.connects += 1
        if self.lane.is_paused:
            connection.pause()
        heartbeat = asyncio.create_task(self._heartbeat(connection, context))
        try:
            if context.auth_required and connection.is_open and not await self._log_in(connection) and connection.is_open:
                await connection.close()
                return HandshakeRefused(shown(url), "the connection strategy could not authenticate")
            if self._cut is not None:
                await self._cut  # The frames of the last connection are handled first: their answers are not of this one.
            self._tell(connection.state)
            if not self.opened.done():
                self.opened.set_result(None)
            await common.symbols_are_known.wait()
            if connection.is_open:
                await self._ask(connection)
            loss = await connection.end()
        finally:
            heartbeat.cancel()
        self.last_loss = loss
        self._cut = self.lane.call("cut", partial(self._lost, loss))
        self._tell(connection.state)
        flowing_at = connection.flowing_at
        if flowing_at is None and self._is_opaque and self.lane.delivered > handled:
            flowing_at = opened_at  # What a foreign set reads is its own affair; that it read something is all that can be known.
        if flowing_at is not None:
            self._reconnection.data_flows(flowing_at)
        return loss

    async def _address(self, url: str) -> str:
        """Where the next connection goes to, given the address of the settings or the strategies; may raise what keeps it from opening."""
        return url

    async def _ask(self, connection: Connection) -> None:
        """The connection is open: ask for what is wanted."""
        connection.learn(Fact.ASKED)
        await run_foreign(self.report, "subscription messages", self.subscriber.ask)
        self.has_asked.set()

    def _now_s(self) -> int:
        """The time that requests are dated with."""
        return self._common.clock.now_ns() // 1_000_000_000

    def _lost(self, loss: Loss) -> list[Emission]:
        """In the lane, after the last frame of the connection."""
        session = self._common.session
        self.subscriber.disconnected()
        self.repairs.cancel()
        streams = self._owner.streams_of(self)
        if streams is not None and not streams and self.subscriber.wanted:
            return []  # Another connection carries what this one wants.
        code = None if loss.code is None else str(loss.code)
        events = session.report("disconnected", str(loss), code=code)
        return [*events, *session.disconnect(streams)]

    async def _log_in(self, connection: Connection) -> bool:
        """Whether it is done; not if the connection is lost meanwhile, or it takes longer than opening one may."""
        connection.learn(Fact.LOGIN)
        login = asyncio.create_task(run_foreign(self.report, "authenticate", self._strategies.connection_strategy.authenticate))
        end = asyncio.create_task(connection.end())
        try:
            timeout_s = self._common.settings.transport.open_timeout_s
            await asyncio.wait([login, end], timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            return login.done() and bool(login.result())
        finally:
            login.cancel()
            end.cancel()

    async def _heartbeat(self, connection: Connection, context: ConnectionContext) -> None:
        while context.ping_interval:  # 0 or None: none is wanted
            await asyncio.sleep(context.ping_interval)
            if connection.is_open:
                await run_foreign(self.report, "heartbeat", self._strategies.connection_strategy.handle_heartbeat)

    async def _allowed(self, again: Again, failure: Loss | TickrailError) -> Again | GiveUp:
        """``again``, unless the customer's strategy is against it; one that raises has no opinion."""
        strategy, error = self._strategies.connection_strategy, ConnectionError(str(failure))
        if await run_foreign(self.report, "should_reconnect", strategy.should_reconnect, error) in (True, None):
            return again
        label = await run_foreign(self.report, "classify_error", strategy.classify_error, error)
        return GiveUp(GaveUp(self._venue.name, f"the connection strategy does not connect again after {label}: {failure}"))

    def _give_up(self, error: TickrailError) -> None:
        self._tell(ConnectionState.ERROR)
        self._owner.shard_gave_up(error)
        self.has_asked.set()
        if not self.opened.done():
            self.opened.set_exception(error)

    def _asking(self) -> Connection | None:
        """The connection, once it may be asked for streams: logged in, and behind the end of the one before."""
        connection = self.connection
        return connection if connection is not None and connection.phase in (Phase.SUBSCRIBING, Phase.FLOWING) else None

    def _tell(self, state: ConnectionState) -> None:
        if state is not self.state:
            self.state = state
            self._owner.shard_changed()

    def _pause(self) -> None:
        if self.connection is not None:
            self.connection.pause()

    def _resume(self) -> None:
        if self.connection is not None:
            self.connection.resume()


async def run_foreign(report: Callable[[str, str], None], what: str, function: Callable[..., Any], *arguments: object) -> Any:
    """Call what is not ours, plain or ``async``, in a task of its own: what it raises is told to ``report``, and None returned."""
    task = asyncio.create_task(_called(function, *arguments))
    try:
        await asyncio.wait([task])
    finally:
        task.cancel()
    error = None if task.cancelled() else task.exception()
    if error is not None:
        report(what, f"{type(error).__name__}: {error}")
        return None
    return None if task.cancelled() else task.result()


def retrieved(done: asyncio.Future[None]) -> None:
    """Nobody may have waited; what went wrong is told anyway."""
    if not done.cancelled():
        done.exception()


async def _called(function: Callable[..., Any], *arguments: object) -> Any:
    result = function(*arguments)
    return await result if inspect.isawaitable(result) else result
