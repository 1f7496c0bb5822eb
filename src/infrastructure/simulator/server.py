"""A simulated exchange as a process of its own: REST, WebSocket and a side channel on one port of this machine."""

import asyncio
import os
import signal
import ssl
import sys
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import NamedTuple

import msgspec
from aiohttp import WSCloseCode, WSMsgType, web

from infrastructure.capture import CaptureLine
from infrastructure.errors import SettingsError, UnknownSymbol, UnknownVenue
from infrastructure.simulator import EXCHANGES
from infrastructure.simulator.accounts import DELEVERAGING, LIQUIDATION, OrderRefused
from infrastructure.simulator.connection import PING, PING_EVERY_S, PONG, Connection, Log, frame_of, framed
from infrastructure.simulator.exchange import Client, Request
from infrastructure.simulator.faults import FAULTS, OF_RECORDINGS, Faults
from infrastructure.simulator.market import PRINTS, Event, Market, Topic
from infrastructure.simulator.recording import Recording

HOST = "127.0.0.1"
TICK_S = 0.01
#: A market that is further behind goes on from where it is.
MOST_BEHIND_S = 0.2
CLOSE_TIMEOUT_S = 1.0
#: Connects and REST requests whose times are kept.
REMEMBERED_TIMES = 10_000
#: Connections that ``/simulator/state`` shows, those that are closed included.
REMEMBERED = 1000


class ConnectionState(msgspec.Struct):
    """One connection in ``/simulator/state``.

    Its requests by event and, of the last ones, ``[seconds, event, subscriptions begun]``; how many subscriptions it ever began, how many
    frames were put on it, whether its recording is over, and the most messages that came on it within a second. Seconds are since the
    exchange began to serve.
    """

    number: int
    log: str | None
    is_open: bool
    subscriptions: list[Topic]
    requests: dict[str, int]
    sent: int
    is_played: bool
    opened_s: float
    begun: int
    requested: list[tuple[float, str, int]]
    busiest: int


class State(msgspec.Struct):
    """``/simulator/state``.

    How often each fault struck and each limit was met, REST requests by path, and how many clients were cut off for not reading.

    ``connects`` and ``rests`` are when the last clients tried to connect and the last REST requests came, with their paths, in seconds
    since the exchange began to serve.
    """

    paused: bool
    connections: list[ConnectionState]
    faults: dict[str, int]
    limits: dict[str, int]
    requests: dict[str, int]
    slow: int
    now_s: float
    connects: list[float]
    rests: list[tuple[float, str]]


#: Faults of one pair that are over at once.
_AT_ONCE = ("hole", "wrong-top", "restart")
#: The same of the account's position in a pair, and what such an order calls itself.
_SEIZURES = {"liquidate": LIQUIDATION, "deleverage": DELEVERAGING}

Listeners = dict[tuple[Topic, str], list[Connection]]


class Delivery(NamedTuple):
    """A rendered push, and to whom it goes."""

    event: Event
    topic: Topic
    frame: bytes
    connections: list[Connection]

    def put(self) -> None:
        """Send it."""
        for connection in self.connections:
            connection.put(self.frame)

    def log(self) -> None:
        """Enter it into the logs."""
        for connection in self.connections:
            if connection.log is not None:
                connection.log.add(self.event, self.topic)


class Pace:
    """How many of what comes ``rate`` times a second are due."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._made = 0
        self._started = 0.0

    def restart(self) -> None:
        """Begin now."""
        self._started, self._made = time.monotonic(), 0

    def due(self, now: float) -> int:
        """Those that came due since the last call; whoever is too far behind goes on from where he is."""
        due = int((now - self._started) * self._rate) - self._made
        most = int(MOST_BEHIND_S * self._rate) + 1
        if due > most:
            self._started, self._made = now, 0
            return most
        self._made += due
        return due


class Simulator:
    """One simulated exchange: a market from ``seed`` in which ``rate`` things happen a second, or a recording.

    Side channel: a WebSocket opened with ``?log=NAME`` is logged, and ``GET /simulator/log?name=NAME`` returns and forgets
    ``{"streams": [[kind, symbol, channel], ...], "entries": [[index of stream, number], ...]}``, one entry for each push that was put on
    the connection, in the order of its numbers; whole books that answer a subscription and repetitions have none. ``GET
    /simulator/books`` and ``GET /simulator/state`` show the exchange. ``POST /simulator/pause`` and ``/simulator/resume`` stop and
    start the market. ``POST /simulator/fault`` lets a fault stand, as ``faults`` does; or resets every connection now with ``cut``, those
    that listen to the account with ``cut-private``, loses one change of a book with ``hole=PAIR``, pushes one with a wrong best level with
    ``wrong-top=PAIR``, lets the ids of one go on from far lower ones with ``restart=PAIR``, ends every listen key in silence with
    ``key-dies``, closes a position of the account with ``liquidate=PAIR`` or ``deleverage=PAIR``, ends all faults with ``clear``.

    Whoever has ``api_key`` and ``secret`` has an account: ``GET /simulator/account`` shows it, with every order and fill there ever was.
    ``POST /simulator/trade`` lets it do something by itself, as often as the body says, and ``orders_rate`` so often a second. In the
    log its pushes are of the kinds ``order``, ``fill``, ``balance`` and ``position``; a fill's number is its id.
    """

    def __init__(
        self,
        venue: str,
        symbols: Sequence[str] = (),
        *,
        seed: int = 1,
        rate: float = 100.0,
        faults: Iterable[str] = (),
        capture: Sequence[CaptureLine] | None = None,
        api_key: str = "key",
        secret: str = "secret",
        orders_rate: float = 0.0,
    ) -> None:
        exchange_type = EXCHANGES.get(venue)
        if exchange_type is None:
            raise UnknownVenue(venue, EXCHANGES)
        self._recording = None if capture is None else Recording(capture, exchange_type)
        if self._recording is not None:
            if symbols:
                raise SettingsError("a recording has its own symbols")
            symbols = self._recording.symbols
        if not symbols:
            raise SettingsError(f"no symbols of {venue}{'' if capture is None else ' in the recording'}")
        for symbol in symbols:
            if not exchange_type.symbol_form.fullmatch(symbol):
                raise UnknownSymbol(symbol, exchange_type.symbol_words)
        names = FAULTS if self._recording is None else OF_RECORDINGS
        targets = (*exchange_type.channels, *exchange_type.private_channels, *symbols)
        self.faults = Faults(targets, seed, tuple(names), exchange_type.meaningless)
        for fault in faults:
            self.faults.set(fault)
        self.exchange = exchange_type(tuple(dict.fromkeys(symbols)), seed, self.faults, api_key, secret)
        self.markets = self.exchange.trading.markets
        self.is_paused = False
        self._pace, self._orders_pace = Pace(rate), Pace(orders_rate)
        #: Who listens to the account.
        self._private: dict[Client, Connection] = {}
        self._connections: dict[int, Connection] = {}
        self._remembered: deque[Connection] = deque(maxlen=REMEMBERED)
        self._numbers = count(1)
        self._logs: dict[str, Log] = {}
        self._requests: Counter[str] = Counter()
        #: By path: when it was asked for within the last second.
        self._asked: dict[str, deque[float]] = {}
        self._slow = 0
        self._born = time.monotonic()
        self._connects: deque[float] = deque(maxlen=REMEMBERED_TIMES)
        self._rests: deque[tuple[float, str]] = deque(maxlen=REMEMBERED_TIMES)
        self._tasks = asyncio.TaskGroup()
        self._players: dict[int, asyncio.Task[None]] = {}
        #: By pair and kind of event: who listens to what, and in which dialect. Only what somebody listens to is rendered.
        self._listeners: dict[tuple[str, str], Listeners] = {}
        #: By log name and topic: the last trades that were pushed under ``replay``.
        self._trades: dict[tuple[str | None, Topic], deque[Event]] = {}
        #: By pair: a push of its book that comes after the next one.
        self._held: dict[str, list[Delivery]] = {}

    @asynccontextmanager
    async def serving(self, port: int = 0, security: ssl.SSLContext | None = None) -> AsyncIterator[int]:
        """Serve on ``port`` of this machine, 0: any that is free, while the context lasts; gives the port. Raises SettingsError."""
        app = web.Application()
        app.add_routes(
            [
                web.get(self.exchange.websocket_path, self._websocket),
                web.route("*", "/api/{path:.*}", self._rest),
                web.get("/simulator/log", self._get_log),
                web.get("/simulator/books", self._get_books),
                web.get("/simulator/state", self._get_state),
                web.get("/simulator/account", self._get_account),
                web.post("/simulator/trade", self._trade),
                web.post("/simulator/pause", self._pause),
                web.post("/simulator/resume", self._resume),
                web.post("/simulator/fault", self._inject),
            ]
        )
        app.on_shutdown.append(self._close)
        # Whoever no longer waits for a recorded book must not be handed it.
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=CLOSE_TIMEOUT_S, handler_cancellation=True)
        await runner.setup()
        try:
            await web.TCPSite(runner, HOST, port, ssl_context=security).start()
        except OSError as error:
            await runner.cleanup()
            raise SettingsError(f"cannot serve on {HOST}:{port}: {os.strerror(error.errno or 0)}") from None
        try:
            # An error in the market or in a recording ends the server, instead of leaving it mute.
            async with asyncio.TaskGroup() as self._tasks:
                clock = self._tasks.create_task(self._run())
                try:
                    yield runner.addresses[0][1]
                finally:
                    for task in (clock, *self._players.values()):
                        task.cancel()
        finally:
            await runner.cleanup()

    async def _run(self) -> None:
        self._restart()
        while True:
            if not self.is_paused and self._recording is None:
                self._advance(time.monotonic())
            for connection in list(self._connections.values()):
                self._attend(connection)
            await asyncio.sleep(TICK_S)

    def _restart(self) -> None:
        """What is due is counted from now on."""
        self._pace.restart()
        self._orders_pace.restart()

    def _advance(self, now: float) -> None:
        """Let happen what is due."""
        now_ms = _now_ms()
        for _ in range(self._pace.due(now)):
            self._happen(self.exchange.next(now_ms), now_ms)
        for _ in range(self._orders_pace.due(now)):
            self.exchange.trade(now_ms)
        self._push_private(now_ms)

    def _push_private(self, now_ms: int) -> None:
        """Tell whoever listens to the account what happened to it."""
        if not self.exchange.has_pushes:
            return
        for push in self.exchange.take_pushes(self._private, now_ms):
            if not self.faults.hits("mute", push.channel):
                connection = self._private[push.client]
                connection.put(frame_of(push.message))
                if connection.log is not None:
                    connection.log.add_private(push)

    def _happen(self, event: Event, now_ms: int) -> None:
        """Push something to whoever listens."""
        listeners = self._listeners.get((event.market.symbol, event.kind))
        if not listeners:
            return
        if self._held or self.faults.are_any or event.flaw is not None:
            self._push_with_faults(event, listeners, now_ms)
            return
        # The same as with faults, in as few steps as it takes.
        for (topic, dialect), connections in listeners.items():
            frame = frame_of(self.exchange.push(topic, event, now_ms, dialect))
            for connection in connections:
                connection.put(frame)
                if connection.log is not None:
                    connection.log.add(event, topic)

    def _push_with_faults(self, event: Event, listeners: Listeners, now_ms: int) -> None:
        market = event.market
        symbol = market.symbol
        is_book = event.kind == "orderbook"
        if is_book:
            if self.faults.strikes("drop"):
                return
            event = self._maybe_corrupted(event)
            if self.faults.strikes("jump"):
                event = event.leapt()
        elif not self.faults.spares("thin"):
            return
        is_whole = is_book and event.flaw is None and self.faults.strikes("full")
        deliveries = []
        for (topic, dialect), connections in listeners.items():
            if not self.faults.hits("mute", topic.channel, symbol):
                told = event.without_bids() if is_book and self.faults.hits("one-sided", topic.channel, symbol) else event
                whole = self.exchange.whole_push(topic, event, now_ms, dialect) if is_whole else None
                message = self.exchange.push(topic, told, now_ms, dialect) if whole is None else whole
                frame = frame_of(message)
                if self.faults.strikes("bodyless"):
                    frame = frame_of(self.exchange.bodyless(topic, now_ms)) + frame
                deliveries.append(Delivery(event, topic, frame, list(connections)))
        self._deliver(symbol, is_book, deliveries)
        if event.kind == "trade" and self.faults.amount("replay"):
            self._remember(deliveries)
        if event.flaw is not None:
            # The right top at the same id: whoever compares can see what is wrong before another change hides it.
            self._happen(self.exchange.trading.make(market, "book_ticker", now_ms), now_ms)
        if is_book and self.faults.strikes("reset"):
            market.restart()

    def _maybe_corrupted(self, event: Event) -> Event:
        """A change of a book as it is pushed: under ``corrupt`` one of N that touch a best level is wrong."""
        if not self.faults.amount("corrupt"):
            return event
        corrupted = event.corrupted()
        return event if corrupted is None or not self.faults.strikes("corrupt") else corrupted

    def _deliver(self, symbol: str, is_book: bool, deliveries: Sequence[Delivery]) -> None:
        """Put what was rendered on its connections, now or after the next one."""
        held = self._held.pop(symbol, None) if is_book else None
        if held is not None:
            for delivery in held:
                delivery.log()
            for delivery in (*deliveries, *held):
                delivery.put()
            for delivery in deliveries:
                delivery.log()
        elif is_book and self.faults.strikes("reorder"):
            self._held[symbol] = list(deliveries)
        else:
            is_repeated = is_book and self.faults.strikes("duplicate")
            for delivery in deliveries:
                delivery.put()
                delivery.log()
                if is_repeated:
                    delivery.put()

    def _remember(self, deliveries: Sequence[Delivery]) -> None:
        """Keep trades for whoever is to get them again."""
        for delivery in deliveries:
            for name in {connection.log_name for connection in delivery.connections}:
                self._trades.setdefault((name, delivery.topic), deque(maxlen=PRINTS)).append(delivery.event)

    def _replay(self, connection: Connection, topics: Sequence[Topic]) -> None:
        """Send a new subscription what its log name was sent before."""
        for topic in topics:
            trades = list(self._trades.get((connection.log_name, topic), ()))
            for event in trades[-int(self.faults.amount("replay")) :]:
                self.faults.counts["replay"] += 1
                connection.put(frame_of(self.exchange.push(topic, event, _now_ms(), connection.client.dialect)))

    def _attend(self, connection: Connection) -> None:
        """What a connection needs at every tick."""
        if connection.closing is not None:
            return
        now = time.monotonic()
        if self.exchange.pings and now >= connection.next_ping:
            connection.next_ping = now + PING_EVERY_S
            connection.put_control(framed(b"", PING))
        connection.flush(self.faults.amount("drip"))
        cut_after = self.faults.amount("cut")
        if cut_after and now - connection.opened >= cut_after and connection.is_open:
            self.faults.counts["cut"] += 1
            connection.cut()
        elif (retire_after := self.faults.amount("retire")) and now - connection.opened >= retire_after:
            self.faults.counts["retire"] += 1
            self._retire(connection)
        elif connection.is_slow:
            self._slow += 1
            connection.abort()
        elif not connection.is_open:
            return
        elif not connection.client.begun and now - connection.opened >= self.exchange.unused_timeout_s:
            self._end(connection, "unused")
        elif now - connection.stirred >= self.exchange.silence_timeout_s:
            self._end(connection, "silence")
        elif connection.quiet_s(now) >= self.exchange.quiet_timeout_s:
            self._end(connection, "quiet")
        elif self.exchange.has_outlived(connection.client, _now_ms()):
            self._end(connection, "lapsed")

    def _end(self, connection: Connection, limit: str) -> None:
        """The client met a limit that costs it its connection."""
        self.exchange.limits[limit] += 1
        connection.abort()

    def _retire(self, connection: Connection) -> None:
        """Close a connection as exchanges do that have had enough of it."""
        self._unsubscribe(connection, list(connection.client.topics))
        connection.flush()
        connection.closing = self._tasks.create_task(connection.websocket.close(code=WSCloseCode.GOING_AWAY))

    async def _websocket(self, request: web.Request) -> web.StreamResponse:
        self._connects.append(self._now_s())
        if self._is_down():
            return web.Response(status=503)
        number = next(self._numbers)
        client = Client(f"{number:016x}", self.exchange.dialect(request.headers))
        refusal = self.exchange.admit(client, request.query, _now_ms())
        if refusal is not None:
            return web.Response(status=refusal.status, text=refusal.body, content_type="application/json")
        try:
            return await self._meet(request, number, client)
        finally:
            self.exchange.dismiss(client)

    async def _meet(self, request: web.Request, number: int, client: Client) -> web.StreamResponse:
        websocket = web.WebSocketResponse(timeout=CLOSE_TIMEOUT_S, autoping=False, autoclose=False, compress=False)
        try:
            await websocket.prepare(request)
        except ConnectionError:
            return websocket  # The client is gone before it got its answer.
        transport = request.transport
        if transport is None:
            return websocket
        name = request.query.get("log")
        log = None if name is None else self._logs.setdefault(name, Log())
        connection = Connection(number, client, websocket, transport, name, log)
        self._connections[connection.number] = connection
        self._remembered.append(connection)
        for message in self.exchange.greeting(client):
            connection.put(frame_of(message))
        try:
            await self._read(connection)
        finally:
            del self._connections[connection.number]
            self._unsubscribe(connection, list(connection.client.topics))
            player = self._players.pop(connection.number, None)
            if player is not None:
                player.cancel()
        return websocket

    async def _read(self, connection: Connection) -> None:
        while True:
            message = await connection.websocket.receive()
            connection.stirred = time.monotonic()
            if connection.closing is not None:
                await connection.closing
                return
            if message.type is WSMsgType.TEXT:
                self._take(connection, message.data)
            elif message.type is WSMsgType.BINARY:
                self._take(connection, message.data.decode(errors="replace"))
            elif message.type is WSMsgType.PING:
                connection.put_control(framed(bytes(message.data), PONG))
            elif message.type is WSMsgType.PONG:
                connection.pong(bytes(message.data))
            else:
                if message.type is WSMsgType.CLOSE:
                    await connection.websocket.close(code=message.data or WSCloseCode.OK)
                return
            connection.flush(self.faults.amount("drip"))

    def _take(self, connection: Connection, text: str) -> None:
        """A client's frame."""
        connection.take(time.monotonic())
        if len(connection.taken) > self.exchange.most_messages_per_s and connection.is_open:
            self._end(connection, "messages")
            return
        client = connection.client
        reply = self.exchange.reply(text, client, _now_ms())
        if client not in self._private and any(map(self._is_private, reply.begun)) and self.faults.takes("cut-login"):
            connection.cut()
            return
        if reply.request:
            connection.requests[reply.request] += 1
            connection.requested.append((self._now_s(), reply.request, len(reply.begun)))
        answer = [] if reply.answer is None else [reply.answer, *reply.more]
        if self._recording is None:
            messages = [*reply.books, *answer] if reply.books and self.faults.strikes("early") else [*answer, *reply.books]
        else:
            messages = [] if reply.begun and self._recording.has_answer(reply.begun[0].channel) else answer
        for each in messages:
            connection.put(frame_of(each))
        if self.faults.amount("replay"):
            self._replay(connection, reply.begun)
        self._unsubscribe(connection, reply.ended)
        self._subscribe(connection, reply.begun)
        self._push_private(_now_ms())
        if self._recording is not None and not all(map(self._is_private, reply.begun)):
            connection.subscribed = time.monotonic()
            if connection.number not in self._players:
                self._players[connection.number] = self._tasks.create_task(self._recording.play(connection))

    def _subscribe(self, connection: Connection, topics: Sequence[Topic]) -> None:
        client = connection.client
        for topic in topics:
            if topic not in client.topics:
                client.topics.add(topic)
                client.begun += 1
                if self._is_private(topic):
                    self._private[client] = connection
                    continue
                for key in self._heard(topic):
                    self._listeners.setdefault(key, {}).setdefault((topic, client.dialect), []).append(connection)

    def _unsubscribe(self, connection: Connection, topics: Sequence[Topic]) -> None:
        client = connection.client
        for topic in topics:
            if topic in client.topics:
                client.topics.remove(topic)
                if self._is_private(topic):
                    if not any(map(self._is_private, client.topics)):
                        del self._private[client]
                    continue
                for key in self._heard(topic):
                    listeners = self._listeners[key]
                    listeners[topic, client.dialect].remove(connection)
                    if not listeners[topic, client.dialect]:
                        del listeners[topic, client.dialect]
                for delivery in self._held.get(topic.symbol, ()):
                    if delivery.topic == topic and connection in delivery.connections:
                        delivery.connections.remove(connection)

    def _is_private(self, topic: Topic) -> bool:
        """Whether a topic is of the account."""
        return topic.channel in self.exchange.private_channels

    def _is_down(self) -> bool:
        """Whether whoever comes now is turned away."""
        if not self.faults.amount("down"):
            return False
        self.faults.counts["down"] += 1
        return True

    def _now_s(self, at: float | None = None) -> float:
        """Seconds since the exchange began to serve."""
        return round((time.monotonic() if at is None else at) - self._born, 6)

    def _heard(self, topic: Topic) -> list[tuple[str, str]]:
        """The pairs and the kind of event that a topic is about."""
        kind = self.exchange.kind_of(topic.channel)
        return [(symbol, kind) for symbol in self.exchange.heard(topic)]

    async def _rest(self, request: web.Request) -> web.Response:
        self._requests[request.path] += 1
        self._rests.append((self._now_s(), request.path))
        if self._is_down():
            return web.Response(status=503)
        if self._is_too_often(request.path):
            self.faults.counts["too-often"] += 1
            return web.Response(status=429, text=self.exchange.too_often, content_type="application/json", headers={"Retry-After": "1"})
        delay = self.faults.amount("slow-rest")
        if delay:
            self.faults.counts["slow-rest"] += 1
            await asyncio.sleep(delay)
        if self._recording is not None and request.method == "GET":
            symbol = self.exchange.recorded_book(request.path, request.query)
            body = self._recording.bodies.get(request.path) if symbol is None else await self._recording.book(symbol)
            if body is not None:
                return web.Response(body=body, content_type="application/json")
            if symbol is not None:
                return web.Response(status=503)
        # What was signed is what was sent: nothing of it may be decoded and written anew.
        path, _, query = request.raw_path.partition("?")
        asked = Request(request.method, path, query, request.headers, await request.read())
        status, text = self.exchange.rest(asked, _now_ms())
        self._push_private(_now_ms())
        for connection in self._private.values():
            connection.flush(self.faults.amount("drip"))
        return web.Response(status=status, text=text, content_type="application/json")

    def _is_too_often(self, path: str) -> bool:
        most = self.faults.amount("too-often")
        if not most:
            return False
        now = time.monotonic()
        asked = self._asked.setdefault(path, deque())
        while asked and asked[0] <= now - 1:
            asked.popleft()
        if len(asked) >= most:
            return True
        asked.append(now)
        return False

    async def _get_log(self, request: web.Request) -> web.Response:
        return _json(self._logs.setdefault(request.query.get("name", ""), Log()).take())

    async def _get_books(self, request: web.Request) -> web.Response:
        books = {}
        for symbol, market in self.markets.items() if self._recording is None else ():
            bids, asks = market.levels()
            books[symbol] = {"id": market.update_id, "bids": bids, "asks": asks}
        return _json(books)

    async def _get_state(self, request: web.Request) -> web.Response:
        connections = [
            ConnectionState(
                connection.number,
                connection.log_name,
                connection.number in self._connections,
                sorted(connection.client.topics),
                connection.requests,
                connection.sent,
                connection.is_played,
                self._now_s(connection.opened),
                connection.client.begun,
                list(connection.requested),
                connection.busiest,
            )
            for connection in self._remembered
        ]
        state = State(
            self.is_paused,
            connections,
            self.faults.counts,
            self.exchange.limits,
            self._requests,
            self._slow,
            self._now_s(),
            list(self._connects),
            list(self._rests),
        )
        return _json(state)

    async def _get_account(self, request: web.Request) -> web.Response:
        return _json(self.exchange.account.state())

    async def _trade(self, request: web.Request) -> web.Response:
        text = (await request.text()).strip() or "1"
        if not text.isdecimal():
            return web.Response(status=400, text=f"{text!r} is not a count\n")
        for _ in range(int(text)):
            self.exchange.trade(_now_ms())
        self._push_private(_now_ms())
        return _json({"trades": int(text)})

    async def _pause(self, request: web.Request) -> web.Response:
        self.is_paused = True
        return _json({"paused": True})

    async def _resume(self, request: web.Request) -> web.Response:
        self._restart()
        self.is_paused = False
        return _json({"paused": False})

    async def _inject(self, request: web.Request) -> web.Response:
        text = (await request.text()).strip()
        try:
            self._inject_now(text)
        except SettingsError as error:
            return web.Response(status=400, text=f"{error}\n")
        return _json({"fault": text})

    def _inject_now(self, text: str) -> None:
        name, _, value = text.partition("=")
        if text in ("cut", "cut-private"):
            for connection in self._connections.values() if text == "cut" else self._private.values():
                self.faults.counts[text] += 1
                connection.cut()
        elif text == "clear":
            self.faults.clear()
        elif text == "key-dies" and self._recording is None and text not in self.exchange.meaningless:
            self.faults.counts[text] += 1
            self.exchange.drop_keys()
        elif name in (*_AT_ONCE, *_SEIZURES) and self._recording is None and name not in self.exchange.meaningless:
            if value not in self.markets:
                raise SettingsError(f"fault {text!r} is not of the form {name}=PAIR; known: {', '.join(self.markets)}")
            self._strike_now(name, self.markets[value])
            self.faults.counts[name] += 1
        else:
            self.faults.set(text)

    def _strike_now(self, name: str, market: Market) -> None:
        if name in _SEIZURES:
            try:
                self.exchange.seize(market.symbol, _SEIZURES[name], _now_ms())
            except OrderRefused:
                raise SettingsError(f"the account has no position in {market.symbol}") from None
            self._push_private(_now_ms())
        elif name == "hole":
            market.move()
        elif name == "restart":
            market.restart()
        else:
            corrupted = None
            while corrupted is None:  # A few changes on the way may leave the best levels alone.
                now_ms = _now_ms()
                event = self.exchange.trading.make(market, "orderbook", now_ms)
                corrupted = event.corrupted()
                self._happen(event if corrupted is None else corrupted, now_ms)

    async def _close(self, app: web.Application) -> None:
        """Say goodbye to every client, and wait a moment for their answers."""
        closing = [
            asyncio.create_task(connection.websocket.close(code=WSCloseCode.GOING_AWAY)) for connection in self._connections.values()
        ]
        if closing:
            await asyncio.wait(closing, timeout=2 * CLOSE_TIMEOUT_S)
        for connection in list(self._connections.values()):
            connection.abort()


async def serve_until_signal(
    simulator: Simulator, port: int, security: ssl.SSLContext | None, ready: Callable[[int], None], is_attended: bool = False
) -> None:
    """Serve until SIGTERM or SIGINT, or where it ``is_attended`` until standard input ends; ``ready`` is told the port."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()

    def read() -> None:
        if not os.read(sys.stdin.fileno(), 1):
            loop.remove_reader(sys.stdin.fileno())
            stopped.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    if is_attended:
        loop.add_reader(sys.stdin.fileno(), read)
    async with simulator.serving(port, security) as bound:
        ready(bound)
        await stopped.wait()


def security_of(certificate: Path, key: Path) -> ssl.SSLContext:
    """TLS with a certificate chain and its key, both PEM. Raises SettingsError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key)
    except OSError as error:  # ssl.SSLError is one.
        raise SettingsError(f"cannot use certificate {certificate} with key {key}: {error.strerror or error}") from None
    return context


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _json(value: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")
