"""A feed and its exchange in one event loop, over real loopback sockets, and notes of everything that was called back.

async def main() -> None:
    async with simulated("BTC/USDT") as at, live(variant, at, symbols=["BTC/USDT"]) as (feed, seen):
        await until(lambda: seen.of(Trade))

run(main())
"""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, Protocol, Self, TypeVar

import aiohttp

from infrastructure.config import exchange_settings
from infrastructure.feed import open_feed
from infrastructure.networking.websocket.settings import ExchangeSettings
from infrastructure.networking.websocket.ws_manager import WebSocketManager
from infrastructure.simulator.launch import SideChannel, level_floats
from infrastructure.simulator.server import Simulator
from tests.harness import canary, frames
from tests.harness.bare_server import CLOSE, PING, PONG, TEXT, Certificates, Peer, answer, frame, run_on, text, upgrade
from tests.harness.variants import Variant

Result = TypeVar("Result")

VENUE = "gateio_spot"
BTC, ETH, SOL = "BTC/USDT", "ETH/USDT", "SOL/USDT"
LISTED = (BTC, ETH, SOL, "XRP/USDT", "DOGE/USDT", "LTC/USDT")
INSTRUMENTS_PATH = "/api/v4/spot/currency_pairs"
#: Not what a user would choose: a lost connection is tried again at once, and for ever.
AT_ONCE: dict[str, Any] = {"first_delay_s": 0.01, "max_delay_s": 0.05, "max_restarts": 100_000, "connects_per_minute": 600_000}


def run(main: Coroutine[Any, Any, Result], loop: str = "asyncio") -> Result:
    """Run ``main``; nothing may reach the loop's exception handler, and no task may be left behind."""

    async def checked() -> Result:
        result = await main
        await until(lambda: len(asyncio.all_tasks()) <= 2, what="every task ended")  # this one, and the one that limits its time
        return result

    return run_on(loop, checked())


async def until(condition: Callable[[], object], within_s: float = 30.0, what: str = "the condition") -> None:
    """Wait until ``condition`` holds; AssertionError if it does not in time."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within_s
    while not condition():
        assert loop.time() < deadline, f"{what} never came to hold"
        await asyncio.sleep(0.002)


@asynccontextmanager
async def simulated(
    *symbols: str, venue: str = VENUE, rate: float = 400.0, faults: Sequence[str] = (), certificates: Certificates | None = None
) -> AsyncIterator[SideChannel]:
    """A simulated exchange on a port of its own; with ``certificates`` it speaks TLS alone."""
    simulator = Simulator(venue, symbols, rate=rate, faults=faults, api_key=canary.KEY, secret=canary.SECRET)
    async with simulator.serving(security=None if certificates is None else certificates.server()) as port:
        rest = f"http://127.0.0.1:{port}" if certificates is None else f"https://localhost:{port}"
        trust = True if certificates is None else certificates.client()
        async with aiohttp.ClientSession(rest, connector=aiohttp.TCPConnector(ssl=trust)) as http:
            yield SideChannel(venue, rest.replace("http", "ws") + simulator.exchange.websocket_path, rest, http)


class Addresses(Protocol):
    """Where an exchange is."""

    @property
    def websocket_url(self) -> str: ...

    @property
    def rest_url(self) -> str: ...


class Asked(NamedTuple):
    """What a client sent: on which connection, counted from 1, and the JSON."""

    connection: int
    message: Any


class ScriptedExchange:
    """An exchange that does what a test tells it; unless told otherwise it acknowledges every request and answers REST with one book.

    ``answers`` is what it sends back for a request; ``rest`` what it answers to a GET, by its target.
    """

    def __init__(self, security: ssl.SSLContext | None = None) -> None:
        self.asked: list[Asked] = []
        self.fetched: list[str] = []
        self.connections = 0
        #: The pairs in its instrument list.
        self.listed: Sequence[str] = LISTED
        self.answers: Callable[[dict[str, Any]], list[bytes]] = acknowledged
        self.rest: Callable[[str], Awaitable[bytes]] = _one_book
        #: The connections that are open, in the order in which they were opened.
        self.peers: list[Peer] = []
        #: Whether it leaves the client's close frames without an answer.
        self.is_deaf = False
        self._security = security

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._security)
        port = self._server.sockets[0].getsockname()[1]
        secure = "s" if self._security else ""
        self.websocket_url = f"ws{secure}://localhost:{port}/"
        self.rest_url = f"http{secure}://localhost:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for peer in self.peers:
            peer.writer.transport.abort()
        await until(lambda: not self.peers, what="every connection ended")

    @property
    def peer(self) -> Peer:
        """The connection that was opened last."""
        return self.peers[-1]

    @property
    def requests(self) -> list[tuple[int, str, str, Any]]:
        """Of everything that was subscribed or unsubscribed: connection, event, channel and payload."""
        return [
            (number, message["event"], message["channel"], message["payload"])
            for number, message in self.asked
            if message.get("event") in ("subscribe", "unsubscribe")
        ]

    async def push(self, *raws: bytes) -> None:
        """Send messages to the last connection, in one write."""
        await self.peer.send(*map(text, raws))

    def stop_listening(self) -> None:
        """Refuse connections from now on."""
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer)
        try:
            request = await peer.asked()
            if b"upgrade: websocket" in request.lower():
                await self._converse(peer, request)
            elif (target := request.split(b" ", 2)[1].decode()) == INSTRUMENTS_PATH:
                await peer.send(answer("200 OK", frames.instruments(*self.listed), Connection="close"))
                peer.end()
            else:
                self.fetched.append(target)
                await peer.send(answer("200 OK", await self.rest(target), Connection="close"))
                peer.end()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()

    async def _converse(self, peer: Peer, request: bytes) -> None:
        self.connections += 1
        number = self.connections
        self.peers.append(peer)
        try:
            await peer.send(upgrade(request))
            while True:
                opcode, payload = await peer.frame()
                if opcode == CLOSE and self.is_deaf:
                    continue
                if opcode == CLOSE:
                    await peer.send(frame(CLOSE, payload))
                    return
                if opcode == PING:
                    await peer.send(frame(PONG, payload))
                elif opcode == TEXT:
                    message = json.loads(payload)
                    self.asked.append(Asked(number, message))
                    await peer.send(*map(text, self.answers(message)))
        finally:
            self.peers.remove(peer)


def acknowledged(request: dict[str, Any], error: dict[str, Any] | None = None) -> list[bytes]:
    """The venue's answer to a request, or to its ping."""
    if request.get("channel") == "spot.ping":
        return [frames.PONG]
    if request.get("event") not in ("subscribe", "unsubscribe"):
        return []
    reply = {key: request[key] for key in ("time", "id", "channel", "event", "payload") if key in request}
    return [json.dumps(reply | {"error": error, "result": {"status": "fail" if error else "success"}}).encode()]


def refused(request: dict[str, Any]) -> list[bytes]:
    """The venue's refusal of a request."""
    return acknowledged(request, {"code": 2, "message": "no more than 30 subscriptions"})


def unanswered(request: dict[str, Any]) -> list[bytes]:
    """Nothing."""
    return []


async def _one_book(target: str) -> bytes:
    return frames.rest_book(10)


class Live(NamedTuple):
    """An open feed, and what it called back."""

    feed: WebSocketManager
    seen: frames.Seen


def settings_of(at: Addresses, venue: str = VENUE, **settings: Any) -> ExchangeSettings:
    """Settings for an exchange of this module; ``settings`` as in a file."""
    return exchange_settings(venue, **{"websocket_url": at.websocket_url, "rest_url": at.rest_url, "reconnect": AT_ONCE, **settings})


@asynccontextmanager
async def live(
    variant: Variant,
    at: Addresses,
    *,
    symbols: Sequence[str] = (BTC,),
    channels: Sequence[str] = ("trade", "orderbook"),
    callbacks: dict[str, Any] | None = None,
    ssl_context: ssl.SSLContext | None = None,
    **settings: Any,
) -> AsyncIterator[Live]:
    """An open feed of this variant; ``callbacks`` take the place of the notes' own. Both its accounts must be right when it is closed."""
    seen = frames.Seen()
    named = settings_of(at, symbols=symbols, channels=channels, architecture=variant.architecture, **settings)
    opening = open_feed(named, adapted=variant.adapted, ssl_context=ssl_context, **seen.callbacks | (callbacks or {}))
    async with opening as feed:
        yield Live(feed, seen)
    assert_whole(feed)


def assert_whole(feed: WebSocketManager) -> None:
    """Both identities hold, and nothing is in flight."""
    accounting = feed.accounting
    assert accounting.frames.is_balanced, accounting.frames
    assert accounting.events.is_balanced, accounting.events
    assert accounting.frames.in_flight == 0, accounting.frames


async def assert_right(feed: WebSocketManager, at: SideChannel, *symbols: str) -> None:
    """Wait until the books are live, stop the market, and hold each against the exchange's, level by level."""
    await until(lambda: all(symbol in feed.books and feed.books[symbol].is_live for symbol in symbols), what=f"books of {symbols}")
    await at.pause()
    theirs = await at.books()
    await until(lambda: all(feed.books[symbol].last_id == theirs[symbol]["id"] for symbol in symbols), what=f"the last ids of {symbols}")
    for symbol in symbols:
        book = feed.books[symbol]
        assert (book.bids, book.asks) == (level_floats(theirs[symbol]["bids"]), level_floats(theirs[symbol]["asks"]))
    await at.resume()
