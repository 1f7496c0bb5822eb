"""Streams a simulated exchange over real sockets, switches the architecture in mid-stream, and holds what came out against what went in."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any

import msgspec

from infrastructure.book import OrderBook
from infrastructure.events import Architecture, BookState, BookStateChange, BookTicker, Candle, Gap, Ticker, Trade
from infrastructure.exchanges import venue_named
from infrastructure.feed import open_feed
from infrastructure.injected import LANES, Inject
from infrastructure.metrics import FrameAccounting
from infrastructure.networking.websocket.lane import Lane
from infrastructure.networking.websocket.settings import ExchangeSettings, ReconnectSettings
from infrastructure.networking.websocket.ws_manager import WebSocketManager
from infrastructure.simulator.launch import SideChannel, level_floats, simulated_exchange
from infrastructure.simulator.ledger import Ledger
from infrastructure.simulator.market import hidden_number
from infrastructure.venue import Repair, Venue

SYMBOLS = ("BTC/USDT", "ETH/USDT", "SOL/USDT", "XRP/USDT", "DOGE/USDT", "ADA/USDT")
LOG_NAME = "demo"
#: How often the exchange's log is read.
LOG_EVERY_S = 0.25
#: One book push in so many is lost at the exchange, which the feed must notice and repair.
HOLE_EVERY = 4000
#: How long the exchange goes on without faults, so that every hole shows, and how long the feed then has to catch up.
SETTLE_S = 1.0
CATCH_UP_S = 20.0
#: The same where our own fault is known to leave something outstanding.
INJECTED_CATCH_UP_S = 2.0


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
    """What a demo run ended with. ``wrong_books`` are books that are not LIVE and equal to the exchange's, level by level."""

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
    """One simulated exchange in a process of its own, the feed that reads it, and the ledger between the two."""

    def __init__(
        self,
        venue: str,
        seed: int,
        inject: Inject | None = None,
        *,
        symbols: Sequence[str] = SYMBOLS,
        faults: Sequence[str] = (f"drop={HOLE_EVERY}",),
        adapted: bool = False,
        reconnect: ReconnectSettings | None = None,
    ) -> None:
        self.ledger = Ledger()
        self.venue: Venue = venue_named(venue)
        self.feed: WebSocketManager | None = None
        self.gaps_repaired = 0
        self._symbols = tuple(symbols)
        self._seed = seed
        self._inject = inject
        self._faults = faults
        self._adapted = adapted
        self._reconnect = reconnect or ReconnectSettings()
        self._in_gap: set[str] = set()

    async def run(
        self, seconds: float, rate: float, switch_every: float, show: Callable[["Demo", float], None] | None = None
    ) -> DemoSummary:
        """Stream for ``seconds`` at ``rate`` frames a second in all, and change the architecture every ``switch_every`` seconds."""
        options = ["--seed", str(self._seed), "--rate", str(rate), "--symbols", ",".join(self._symbols)]
        options += [part for fault in self._faults for part in ("--fault", fault)]
        async with AsyncExitStack() as stack:
            exchange = await stack.enter_async_context(simulated_exchange(self.venue.name, *options))
            self.feed = feed = await stack.enter_async_context(self._open(exchange))
            # Both ways of getting a whole book are shown, each with half of the symbols.
            ways = [channel.name for channel in self.venue.book_channels.values() if channel.repair is not Repair.WAIT]
            for index, way in enumerate(ways):
                await feed.subscribe(self._symbols[index :: len(ways)], [way])
            started = time.monotonic()
            next_switch, next_log = switch_every, LOG_EVERY_S
            while (elapsed := time.monotonic() - started) < seconds:
                if elapsed >= next_switch:
                    self.switch(feed)
                    next_switch += switch_every
                if elapsed >= next_log:
                    await self._read_log(exchange)
                    next_log += LOG_EVERY_S
                if show is not None:
                    show(self, elapsed)
                await asyncio.sleep(min(next_switch, next_log, seconds) - elapsed)
            if show is not None:
                show(self, elapsed)
            return await self._finish(exchange, time.monotonic() - started)

    def switch(self, feed: WebSocketManager) -> None:
        """Change the architecture, from the one that was asked for last: the lane may not have reached it."""
        feed.switch(feed.settings.architecture.other)

    def _open(self, exchange: SideChannel) -> Any:
        settings = ExchangeSettings(
            venue=self.venue,
            symbols=self._symbols,
            channels=("trade", "book_ticker", "ticker", "candle"),
            architecture=Architecture.STRATEGY,
            websocket_url=exchange.logged_url(LOG_NAME),
            rest_url=exchange.rest_url,
            reconnect=self._reconnect,
        )
        return open_feed(
            settings,
            lane_type=Lane if self._inject is None else LANES[self._inject],
            adapted=self._adapted,
            on_orderbook=self._on_orderbook,
            on_trade=self._on_trade,
            on_book_ticker=self._on_book_ticker,
            on_ticker=self._on_ticker,
            on_candle=self._on_candle,
            on_book_state=self._on_book_state,
            on_gap=self._on_gap,
        )

    def figures(self) -> VenueFigures:
        """The feed's figures so far."""
        feed = self.feed
        assert feed is not None
        states = [book.state for book in feed.books.values()]
        return VenueFigures(
            accounting=feed.accounting.frames,
            switches=feed.switches,
            books=BookCounts(*(states.count(state) for state in (BookState.LIVE, BookState.SYNCING, BookState.GAP, BookState.STALE))),
            architectures={
                architecture.value: ArchitectureFigures(
                    path.frames, round(path.per_second, 1), sum(path.errors.values()), path.p50_ns, path.p99_ns
                )
                for architecture, path in feed.metrics().items()
            },
            gaps_repaired=self.gaps_repaired,
        )

    async def _finish(self, exchange: SideChannel, seconds: float) -> DemoSummary:
        assert self.feed is not None
        streamed = self.figures().architectures
        await exchange.fault("clear")
        await asyncio.sleep(SETTLE_S)
        await exchange.pause()
        books = await exchange.books()
        waited = time.monotonic() + (CATCH_UP_S if self._inject is None else INJECTED_CATCH_UP_S)
        while time.monotonic() < waited:
            await self._read_log(exchange)
            await self.feed.drain()
            wrong = [symbol for symbol in self._symbols if not self._is_right(symbol, books[symbol])]
            if not wrong and not self.ledger.outstanding:
                break
            await asyncio.sleep(LOG_EVERY_S)
        self.ledger.finish()
        figures = self.figures()
        for name, path in figures.architectures.items():
            path.per_second = streamed[name].per_second  # Rates are of the streaming, counts of everything.
        return DemoSummary(
            seconds=round(seconds, 3),
            venues={self.venue.name: figures},
            lost=self.ledger.lost,
            duplicated=self.ledger.duplicated,
            reordered=self.ledger.reordered,
            wrong_books=wrong,
            unbalanced=not self.feed.accounting.is_balanced,
            findings=self.ledger.findings,
        )

    async def _read_log(self, exchange: SideChannel) -> None:
        for stream, number in await exchange.log(LOG_NAME):
            self.ledger.sent(stream, number)

    def _is_right(self, symbol: str, theirs: dict[str, Any]) -> bool:
        assert self.feed is not None
        book = self.feed.books.get(symbol)
        return book is not None and book.is_live and book.bids == level_floats(theirs["bids"]) and book.asks == level_floats(theirs["asks"])

    def _on_orderbook(self, book: OrderBook) -> None:
        # A whole book stands for every change before it.
        self.ledger.seen(("orderbook", book.symbol), book.last_id or 0, covers_earlier=book.changes.is_full)

    def _on_trade(self, trade: Trade) -> None:
        self.ledger.seen(("trade", trade.symbol), hidden_number(trade.amount))

    def _on_book_ticker(self, ticker: BookTicker) -> None:
        self.ledger.seen(("book_ticker", ticker.symbol), ticker.update_id or 0)

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
        self.ledger.gap("orderbook" if gap.channel in self.venue.book_channels else None, gap.symbol)
