"""A simulated exchange in virtual time: its pure part behind a fake transport and a fake REST interface, so that days pass in seconds."""

import asyncio
import ssl
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from urllib.parse import parse_qsl, urlencode, urlsplit

from infrastructure.account_api import SignedCall
from infrastructure.clock import Clock
from infrastructure.errors import HandshakeDeferred, HandshakeRefused, RequestFailed
from infrastructure.networking.address import shown
from infrastructure.networking.websocket.fake_transport import FakeTransport
from infrastructure.networking.websocket.link import Loss, LossCause, OnFrame, OnLoss
from infrastructure.networking.websocket.settings import TransportSettings
from infrastructure.simulator import EXCHANGES
from infrastructure.simulator.exchange import Client, Exchange, Message, Request
from infrastructure.simulator.faults import FAULTS, Faults
from infrastructure.simulator.market import Event
from tests.harness import canary

#: On the way to the exchange, and back.
LATENCY_S = 0.005


class Line:
    """One client's connection."""

    def __init__(self, client: Client, transport: FakeTransport, url: str, opened_s: float) -> None:
        self.client = client
        self.transport = transport
        self.url = url
        self.opened_s = opened_s
        #: Texts that the client sent.
        self.taken: list[str] = []


class PlayedExchange:
    """The pure exchange of a venue, with its clock that of the running loop; it is a ``Connect`` and a ``RestInterface``.

    ``life_s``: it closes each connection so long after it opened.
    """

    def __init__(self, venue: str, symbols: Iterable[str], clock: Clock, *, seed: int = 1, life_s: float | None = None) -> None:
        exchange_type = EXCHANGES[venue]
        symbols = tuple(symbols)
        targets = (*exchange_type.channels, *exchange_type.private_channels, *symbols)
        self.faults = Faults(targets, seed, tuple(FAULTS), exchange_type.meaningless)
        self.exchange: Exchange = exchange_type(symbols, seed, self.faults, canary.KEY, canary.SECRET)
        self.lines: list[Line] = []
        #: Of every connection that ever was: its address.
        self.urls: list[str] = []
        self.requests: Counter[str] = Counter()
        #: Whether REST answers, and new connections are taken.
        self.is_up = True
        #: Signed requests, of those that subscribe the first of each round alone.
        self.signed = 0
        #: How many connections it still resets together with its answer to their last private subscription.
        self.cuts_with_answer = 0
        #: Whether its time request answers without the skew that it judges by.
        self.is_lying_about_time = False
        #: Of every push of a public stream: kind, symbol and number.
        self.pushed: list[tuple[str, str, int]] = []
        #: Private channels that a client asks for.
        self.private_count = 3
        self._clock = clock
        self._life_s = life_s
        self._loop = asyncio.get_running_loop()

    @property
    def now_ms(self) -> int:
        """Its time, without skew."""
        return self._clock.now_ns() // 1_000_000

    @property
    def asked_for_time(self) -> int:
        """How often somebody asked for its time."""
        return sum(count for call, count in self.requests.items() if call.endswith("/time"))

    @property
    def private_line(self) -> Line:
        """The connection of the account."""
        (line,) = self.private_lines
        return line

    @property
    def private_lines(self) -> list[Line]:
        """The connections of the account: two while one is about to take over from the other."""
        return [line for line in self.lines if any(topic.channel in self.exchange.private_channels for topic in line.client.topics)]

    async def __call__(
        self,
        url: str,
        on_frame: OnFrame,
        on_loss: OnLoss,
        *,
        settings: TransportSettings,
        clock: Clock,
        headers: Mapping[str, str] | None = None,
        ssl_context: ssl.SSLContext | None = None,
        may_read: Callable[[], bool] | None = None,
        worked: Callable[[int], None] | None = None,
    ) -> FakeTransport:
        """A connection, or HandshakeRefused."""
        await asyncio.sleep(LATENCY_S)
        client = Client(f"{len(self.urls):016x}", self.exchange.dialect(headers or {}))
        refusal = self.exchange.admit(client, dict(parse_qsl(urlsplit(url).query)), self.now_ms)
        if not self.is_up:
            raise HandshakeDeferred(shown(url), "HTTP 503", 503)
        if refusal is not None:
            raise HandshakeRefused(shown(url), refusal.body, refusal.status)
        transport = FakeTransport(on_frame, self._told(client, on_loss), clock, self._answering(client), may_read, worked)
        line = Line(client, transport, url, self._loop.time())
        self.lines.append(line)
        self.urls.append(url)
        if self._life_s is not None:
            self._loop.call_later(self._life_s, line.transport.lose, Loss(LossCause.CLOSED_BY_VENUE, 1001))
        return line.transport

    async def get(self, path: str, query: Mapping[str, str]) -> bytes:
        """As RestInterface.get."""
        return await self._asked(Request("GET", path, urlencode(query), {}))

    async def send(self, sign: Callable[[], SignedCall]) -> bytes:
        """As RestInterface.send, without its repetitions."""
        self.signed += 1
        call = sign()
        return await self._asked(Request(call.method, call.path, call.query, call.headers, call.body.encode()))

    async def close(self) -> None:
        """Nothing is open."""

    def happen(self, count: int = 1) -> None:
        """Let so much happen on its markets."""
        for _ in range(count):
            self._push(self.exchange.next(self.now_ms))
        self.push_private()

    def trade(self, count: int = 1) -> None:
        """Let the account act by itself."""
        for _ in range(count):
            self.exchange.trade(self.now_ms)
        self.push_private()

    def cut(self, line: Line | None = None) -> None:
        """Reset a connection, the last by default."""
        (line or self.lines[-1]).transport.lose(Loss(LossCause.RESET))

    def push_private(self) -> None:
        """Tell whoever listens to the account."""
        by_client = {line.client: line for line in self.lines}
        for push in self.exchange.take_pushes(by_client, self.now_ms):
            self._send(by_client[push.client], [push.message])

    def _push(self, event: Event) -> None:
        pushed = False
        for line in self.lines:
            for topic in sorted(line.client.topics):
                if topic.channel in self.exchange.private_channels or self.exchange.kind_of(topic.channel) != event.kind:
                    continue
                if event.market.symbol in self.exchange.heard(topic):
                    self._send(line, [self.exchange.push(topic, event, self.now_ms, line.client.dialect)])
                    pushed = True
        if pushed:
            self.pushed.append((event.kind, event.market.symbol, event.number))

    async def _asked(self, request: Request) -> bytes:
        where = f"played:{request.path}"
        self.requests[f"{request.method} {request.path}"] += 1
        await asyncio.sleep(LATENCY_S)
        if not self.is_up:
            raise RequestFailed(where, "HTTP 503: ", 503)
        now_ms = self.now_ms
        if self.is_lying_about_time and request.path.endswith("/time"):
            now_ms -= int(self.faults.amount("skew") * 1000)
        answer = self.exchange.rest(request, now_ms)
        self.push_private()
        await asyncio.sleep(LATENCY_S)
        if answer.status >= 400:
            raise RequestFailed(where, f"HTTP {answer.status}: {answer.body}", answer.status, words=answer.body)
        return answer.body.encode()

    def _answering(self, client: Client) -> Callable[[str], Iterable[str | bytes]]:
        def answered(text: str) -> Iterable[Message]:
            line = next((line for line in self.lines if line.client is client), None)
            if line is None:
                return []
            line.taken.append(text)
            self.signed += '"SIGN"' in text and 'orders"' in text
            reply = self.exchange.reply(text, client, self.now_ms)
            is_private = any(topic.channel in self.exchange.private_channels for topic in reply.begun)
            if is_private and self.faults.takes("cut-login"):
                self.cut(line)
                return []
            client.topics.difference_update(reply.ended)
            client.topics.update(reply.begun)
            client.begun += len(reply.begun)
            if is_private and self.cuts_with_answer and len(client.topics) >= self.private_count:
                self.cuts_with_answer -= 1
                self._loop.call_soon(self.cut, line)
            return [*([] if reply.answer is None else [reply.answer]), *reply.more, *reply.books]

        return answered

    def _told(self, client: Client, on_loss: OnLoss) -> OnLoss:
        def lost(loss: Loss) -> None:
            self.lines = [line for line in self.lines if line.client is not client]
            self.exchange.dismiss(client)
            on_loss(loss)

        return lost

    def _send(self, line: Line, messages: Iterable[Message]) -> None:
        for message in messages:
            line.transport.deliver(message)
