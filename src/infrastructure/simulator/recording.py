"""Recorded traffic, served as the exchange would have: to each connection what it subscribed to, in the recorded order."""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import parse_qsl, urlsplit

from infrastructure.capture import CaptureLine
from infrastructure.simulator.connection import BINARY, TEXT, Connection, framed
from infrastructure.simulator.exchange import Exchange, Recorded

#: The recording begins when a client has subscribed and has asked for nothing more for so long.
QUIET_S = 0.3
#: How long a recorded book waits for a client to ask for it, and how long a client waits for a recorded book.
BOOK_TIMEOUT_S = 2.0
ASKED_TIMEOUT_S = 30.0
#: A client is asked to answer so many pings around a REST book: one before it, or the book would overtake frames that stand before it;
#: the others after a pause, by when the client has taken it: nothing else on the wire says so.
BOOK_ROUND_TRIPS = 5
BOOK_PAUSE_S = 0.03


class RecordedFrame(NamedTuple):
    """A frame of the exchange, and whose it is; None: everybody's."""

    raw: bytes
    whose: Recorded | None


class RecordedBook(NamedTuple):
    """A REST answer with a book."""

    symbol: str
    body: bytes


class Recording:
    """What one file holds, and who waits for which of its books."""

    def __init__(self, lines: Sequence[CaptureLine], exchange_type: type[Exchange]) -> None:
        self.bodies: dict[str, bytes] = {}
        self._steps: list[RecordedFrame | RecordedBook] = []
        self._books: Counter[str] = Counter()
        self._answered: set[str] = set()
        symbols: dict[str, None] = {}
        for line in lines:
            if line.dir == "in":
                opcode = TEXT if line.raw is not None else BINARY
                whose = exchange_type.recorded_frame(line.frame)
                self._steps.append(RecordedFrame(framed(line.frame, opcode), whose))
                if whose is not None and whose.symbol:
                    symbols[whose.symbol] = None
                elif whose is not None and whose.symbol is None:
                    self._answered.add(whose.channel)
            elif line.dir == "http":
                parts = urlsplit(line.url)
                symbol = exchange_type.recorded_book(parts.path, dict(parse_qsl(parts.query)))
                if symbol is None:
                    self.bodies.setdefault(parts.path, line.frame)
                else:
                    symbols[symbol] = None
                    self._steps.append(RecordedBook(symbol, line.frame))
                    self._books[symbol] += 1
        self.symbols = tuple(symbols)
        self._seeded_channel = exchange_type.seeded_channel
        #: By pair: requests that wait for a book, the last body that was passed, and how many bodies lie ahead of any player.
        self._asked: dict[str, deque[asyncio.Future[bytes]]] = {symbol: deque() for symbol in self._books}
        self._somebody_asks = asyncio.Condition()
        self._passed: dict[str, bytes] = {}
        self._ahead: Counter[str] = Counter()

    def has_answer(self, channel: str) -> bool:
        """Whether requests of ``channel`` are answered by the recording itself."""
        return channel in self._answered

    async def book(self, symbol: str) -> bytes | None:
        """The recorded book of a pair, when its time has come; None if there is none, or it never comes."""
        if symbol not in self._asked:
            return None
        if symbol in self._passed and not self._ahead[symbol]:
            return self._passed[symbol]
        request: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._asked[symbol].append(request)
        async with self._somebody_asks:
            self._somebody_asks.notify_all()
        try:
            async with asyncio.timeout(ASKED_TIMEOUT_S):
                return await request
        except TimeoutError:
            return None

    async def play(self, connection: Connection) -> None:
        """Send everything to ``connection`` that it subscribed to."""
        while (left_s := connection.subscribed + QUIET_S - time.monotonic()) > 0:
            await asyncio.sleep(left_s)
        wanted = {(topic.channel, topic.symbol) for topic in connection.client.topics}
        channels = {channel for channel, _ in wanted}
        ahead = Counter({symbol: count for symbol, count in self._books.items() if (self._seeded_channel, symbol) in wanted})
        self._ahead += ahead
        try:
            for step in self._steps:
                if isinstance(step, RecordedBook):
                    if ahead[step.symbol]:
                        await _round_trips(connection, 1)
                        request = await self._next_request(step.symbol)
                        ahead[step.symbol] -= 1
                        self._ahead[step.symbol] -= 1
                        self._passed[step.symbol] = step.body
                        if request is not None:
                            request.set_result(step.body)
                            await asyncio.sleep(BOOK_PAUSE_S)
                            await _round_trips(connection, BOOK_ROUND_TRIPS - 1)
                elif step.whose is None or (step.whose.channel in channels if step.whose.symbol is None else step.whose in wanted):
                    connection.put(step.raw)
            connection.is_played = True
        finally:
            self._ahead -= ahead

    async def _next_request(self, symbol: str) -> asyncio.Future[bytes] | None:
        """The next request for a book; None if nobody asks in time: a client may do without."""
        try:
            async with asyncio.timeout(BOOK_TIMEOUT_S), self._somebody_asks:
                await self._somebody_asks.wait_for(lambda: self._is_asked(symbol))
        except TimeoutError:
            return None
        return self._asked[symbol].popleft()

    def _is_asked(self, symbol: str) -> bool:
        asked = self._asked[symbol]
        while asked and asked[0].done():  # Whoever asked has gone.
            asked.popleft()
        return bool(asked)


async def _round_trips(connection: Connection, count: int) -> None:
    """Wait until the client has answered so many pings, if it ever does."""
    try:
        async with asyncio.timeout(BOOK_TIMEOUT_S):
            for _ in range(count):
                await connection.round_trip()
    except TimeoutError:
        return
