"""Streams a generated market through a feed, switches the architecture in mid-stream, and holds what came out against what went in."""

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from enum import StrEnum

import msgspec

from infrastructure.book import OrderBook
from infrastructure.book_sync import FetchSnapshot
from infrastructure.events import Architecture, BookState, BookStateChange, BookTicker, Candle, Gap, Ticker, Trade
from infrastructure.feed import OfflineFeed
from infrastructure.metrics import FrameAccounting
from infrastructure.networking.websocket.lane import Lane
from infrastructure.networking.websocket.marker import Switch
from infrastructure.simulator import MARKETS
from infrastructure.simulator.ledger import Ledger
from infrastructure.simulator.market import Sent, hidden_number

SYMBOLS = ("BTC/USDT", "ETH/USDT", "SOL/USDT", "XRP/USDT", "DOGE/USDT", "ADA/USDT")
TURN_S = 0.01
#: A REST answer takes so many turns.
SNAPSHOT_TURNS = 5
#: One book push in so many is lost at the exchange, which the feed must notice and repair.
HOLE_EVERY = 4000


class Inject(StrEnum):
    """Faults of our own side that the ledger must find."""

    FLIP_EARLY = "flip-early"
    DROP = "drop"
    DOUBLE = "double"
    SWAP = "swap"


class FlipEarlyLane(Lane):
    """A lane with the bug that the marker exists to prevent: after a switch, new frames do not wait for the backlog."""

    def deliver(self, raw: bytes | str, received_ns: int | None = None) -> None:
        """Take one frame, past whatever waits."""
        early = next((item for item in self._fifo if isinstance(item, Switch)), None)
        if early is not None and not early.route.is_queued:
            self._set_route(early.route)
            waiting, self._fifo = self._fifo, deque()
            super().deliver(raw, received_ns)
            self._fifo.extendleft(reversed(waiting))
        else:
            super().deliver(raw, received_ns)


class BookCounts(msgspec.Struct):
    """How many books are in which state."""

    live: int
    syncing: int
    gap: int
    stale: int


class ArchitectureFigures(msgspec.Struct):
    """What one architecture did; latency is from the receiver's call to its return."""

    messages: int
    per_second: float
    errors: int
    p50_ns: int | None
    p99_ns: int | None


class VenueFigures(msgspec.Struct):
    """What one venue's feed did."""

    accounting: FrameAccounting
    switches: int
    books: BookCounts
    architectures: dict[str, ArchitectureFigures]
    gaps_repaired: int


class DemoSummary(msgspec.Struct):
    """What a demo run ended with. ``wrong_books`` are LIVE books that differ from the exchange's."""

    seconds: float
    venues: dict[str, VenueFigures]
    lost: int
    duplicated: int
    reordered: int
    wrong_books: list[str]
    unbalanced: bool
    findings: list[str]

    @property
    def is_clean(self) -> bool:
        """Whether the run proves what it set out to."""
        return not (self.lost or self.duplicated or self.reordered or self.wrong_books or self.unbalanced)


class Demo:
    """One venue's generated market, the feed that reads it, and the ledger between the two."""

    def __init__(self, venue: str, seed: int, inject: Inject | None = None, symbols: Sequence[str] = SYMBOLS) -> None:
        self.ledger = Ledger()
        self.markets = MARKETS[venue](symbols, seed)
        self.feed = OfflineFeed(
            venue,
            symbols,
            Architecture.STRATEGY,
            lane_type=FlipEarlyLane if inject is Inject.FLIP_EARLY else Lane,
            callbacks={
                "on_orderbook": self._on_orderbook,
                "on_trade": self._on_trade,
                "on_book_ticker": self._on_book_ticker,
                "on_ticker": self._on_ticker,
                "on_candle": self._on_candle,
                "on_book_state": self._on_book_state,
                "on_gap": self._on_gap,
            },
        )
        self.gaps_repaired = 0
        self._chance = random.Random(seed)
        self._inject = inject
        self._is_armed = False
        self._kept: Sent | None = None
        self._in_gap: set[str] = set()
        self._answers: deque[tuple[int, str]] = deque()
        self._turn = 0

    async def run(
        self, seconds: float, rate: float, switch_every: float, show: Callable[["Demo", float], None] | None = None
    ) -> DemoSummary:
        """Stream for ``seconds`` at ``rate`` frames a second in all, and change the architecture every ``switch_every`` seconds."""
        for sent in self.markets.opening():
            self._send(sent)
        started = time.monotonic()
        delivered = 0
        next_switch = switch_every
        while (elapsed := time.monotonic() - started) < seconds:
            # Made first and delivered then, so that both architectures take their frames from a burst.
            burst = [self._next() for _ in range(int(elapsed * rate) - delivered)]
            for index, sent in enumerate(burst):
                # In the middle of a burst, where a backlog waits for whichever receiver is slower.
                if elapsed >= next_switch and index == len(burst) // 2:
                    self._switch()
                    next_switch += switch_every
                self._send(sent)
            delivered += len(burst)
            self._repair()
            if show is not None:
                show(self, elapsed)
            await asyncio.sleep(TURN_S)
        return await self._finish(time.monotonic() - started)

    def figures(self) -> VenueFigures:
        """The feed's figures so far."""
        states = [book.state for book in self.feed.books.values()]
        return VenueFigures(
            accounting=self.feed.accounting.frames,
            switches=self.feed.switches,
            books=BookCounts(*(states.count(state) for state in (BookState.LIVE, BookState.SYNCING, BookState.GAP, BookState.STALE))),
            architectures={
                architecture.value: ArchitectureFigures(
                    path.frames, round(path.per_second, 1), sum(path.errors.values()), path.p50_ns, path.p99_ns
                )
                for architecture, path in self.feed.metrics().items()
            },
            gaps_repaired=self.gaps_repaired,
        )

    async def _finish(self, seconds: float) -> DemoSummary:
        for symbol in self.markets.markets:
            self._send(self.markets.update(symbol))  # Shows a hole that nothing has followed yet.
        for _ in range(10 * SNAPSHOT_TURNS):
            self._repair()
            await self.feed.drain()
        self.ledger.finish()
        return DemoSummary(
            seconds=round(seconds, 3),
            venues={self.feed.venue.name: self.figures()},
            lost=self.ledger.lost,
            duplicated=self.ledger.duplicated,
            reordered=self.ledger.reordered,
            wrong_books=[symbol for symbol in self.markets.markets if not self._is_right(symbol)],
            unbalanced=not self.feed.accounting.is_balanced,
            findings=self.ledger.findings,
        )

    def _is_right(self, symbol: str) -> bool:
        book = self.feed.books.get(symbol)
        bids, asks = ([(float(price), float(amount)) for price, amount in side] for side in self.markets.markets[symbol].levels())
        return book is not None and book.is_live and book.bids == bids and book.asks == asks

    def _next(self) -> Sent:
        if self._chance.random() * HOLE_EVERY < 1:
            self.markets.skip_update(self._chance.choice(list(self.markets.markets)))
        return self.markets.next()

    def _switch(self) -> None:
        self.feed.switch(self.feed.architecture.other)
        self._is_armed = self._inject is not None

    def _send(self, sent: Sent) -> None:
        """Enter a frame into the ledger and deliver it, once, unless a fault of our own is to be shown."""
        if sent.stream is not None:
            self.ledger.sent(sent.stream, sent.number)
        copies = [sent]
        if self._is_armed and sent.stream is not None and sent.stream[0] == "trade":
            copies = self._spoil(sent)
        for copy in copies:
            self.feed.deliver(copy.raw)

    def _spoil(self, sent: Sent) -> list[Sent]:
        if self._inject is Inject.SWAP:
            if self._kept is None:
                self._kept = sent
                return []
            if self._kept.stream != sent.stream:
                return [sent]
            kept, self._kept = self._kept, None
            self._is_armed = False
            return [sent, kept]
        self._is_armed = False
        return {Inject.DROP: [], Inject.DOUBLE: [sent, sent]}.get(self._inject or Inject.SWAP, [sent])

    def _repair(self) -> None:
        self._turn += 1
        for request in self.feed.take_requests():
            if isinstance(request, FetchSnapshot):
                self._answers.append((self._turn + SNAPSHOT_TURNS, request.symbol))
            else:
                self._send(self.markets.whole_book(request.symbol))
        while self._answers and self._answers[0][0] <= self._turn:
            _, symbol = self._answers.popleft()
            self.feed.snapshot(symbol, self.markets.snapshot(symbol))

    def _on_orderbook(self, book: OrderBook) -> None:
        # A whole book stands for every change before it.
        self.ledger.seen(("orderbook", book.symbol), book.last_id or 0, covers_earlier=book.changes.is_full)

    def _on_trade(self, trade: Trade) -> None:
        self.ledger.seen(("trade", trade.symbol), hidden_number(trade.amount))

    def _on_book_ticker(self, ticker: BookTicker) -> None:
        self.ledger.seen(("book_ticker", ticker.symbol), ticker.update_id)

    def _on_ticker(self, ticker: Ticker) -> None:
        self.ledger.seen(("ticker", ticker.symbol), hidden_number(ticker.base_volume))

    def _on_candle(self, candle: Candle) -> None:
        self.ledger.seen(("candle", candle.symbol), hidden_number(candle.base_volume))

    def _on_book_state(self, change: BookStateChange) -> None:
        if change.new is BookState.LIVE:
            self.gaps_repaired += change.symbol in self._in_gap
            self._in_gap.discard(change.symbol)

    def _on_gap(self, gap: Gap) -> None:
        self._in_gap.add(gap.symbol or "")
        self.ledger.gap("orderbook" if gap.channel in self.feed.venue.book_channels else None, gap.symbol)
