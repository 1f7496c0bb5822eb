"""Streams simulated exchanges and an account at each over real sockets, switches architectures in mid-stream, and holds what came out
against what went in.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from enum import StrEnum
from typing import Any

import msgspec

from infrastructure.account_figures import AccountFigures
from infrastructure.book import OrderBook
from infrastructure.credentials import Credentials, Secret
from infrastructure.errors import RotationFailed
from infrastructure.events import Architecture, BookState, BookStateChange, BookTicker, Candle, Gap, Liquidation, MessageType, Ticker, Trade
from infrastructure.exchanges import VENUES, venue_named
from infrastructure.feed import open_feed
from infrastructure.injected import Inject, lane_with
from infrastructure.limits import Limiter
from infrastructure.metrics import FrameAccounting
from infrastructure.networking.websocket.handlers import PrivateWebSocketHandler
from infrastructure.networking.websocket.settings import ExchangeSettings, ReconnectSettings, RotationSettings
from infrastructure.networking.websocket.ws_manager import WebSocketManager
from infrastructure.simulator import EXCHANGES
from infrastructure.simulator.account_ledger import AccountLedger
from infrastructure.simulator.launch import SideChannel, level_floats, simulated_exchange
from infrastructure.simulator.ledger import Ledger, Stream
from infrastructure.simulator.market import hidden_number
from infrastructure.venue import Repair, Venue

#: Those that can be simulated and have accounts.
DEMO_VENUES = tuple(name for name, venue in VENUES.items() if name in EXCHANGES and venue.private is not None)
LOG_NAME = "demo"
#: How often an exchange's log is read, and the picture drawn.
LOG_EVERY_S = 0.25
SHOW_EVERY_S = 0.25
#: By this share of the first venue's time each further one switches later, so that no two keep step.
STAGGER = 0.35
#: One book push in so many is lost at the exchange, which the feed must notice and repair.
HOLE_EVERY = 1500
#: What simulated exchanges know the account by, unless they are told otherwise.
KEY, SECRET = "key", "secret"
#: How often the exchange's list of fills is asked for: a listen key that died in silence is found out by it.
ACCOUNT_CHECK_S = 1.0
#: Simulated connections are not far behind one another.
OVERLAP_S = 0.5
#: How long the exchange goes on without faults, so that every hole shows, and how long the feed then has to catch up.
SETTLE_S = 1.0
CATCH_UP_S = 20.0
#: The same where our own fault is known to leave something outstanding.
INJECTED_CATCH_UP_S = 2.0


class Trouble(StrEnum):
    """What happens to the connections of an account, and those beside it, while they stream."""

    CUT = "cut"
    ROTATE = "rotate"
    #: Where there are listen keys: each ends in silence.
    KEY_DIES = "key dies"


class DemoSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a demonstration does: for how long, at how many frames a second over all venues, and how often the first venue switches.

    Each venue's account does something ``orders`` times a second. ``symbols`` are traded by every venue, or by each its own few; ``faults``
    are those of the exchanges, each of those that can have it, ``troubles`` come after so many seconds each, and ``inject`` is a fault of
    our own.
    """

    seconds: float = 20.0
    rate: float = 4000.0
    orders: float = 10.0
    switch_every: float = 1.0
    seed: int = 1
    inject: Inject | None = None
    symbols: tuple[str, ...] = ()
    faults: tuple[str, ...] = (f"drop={HOLE_EVERY}",)
    troubles: tuple[tuple[float, Trouble], ...] = (
        (3.0, Trouble.CUT),
        (5.0, Trouble.ROTATE),
        (10.0, Trouble.KEY_DIES),
        (18.0, Trouble.CUT),
    )
    architecture: Architecture = Architecture.STRATEGY
    adapted: bool = False
    reconnect: ReconnectSettings = msgspec.field(default_factory=ReconnectSettings)
    rotation: RotationSettings = RotationSettings(overlap_s=OVERLAP_S)


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
    """What one venue's feed did, and what its ledgers say of it.

    ``wrong_books`` are books that at the end are not LIVE and equal to the exchange's, level by level; ``wrong_account`` is in words what
    of the account is not equal to the exchange's, to the last digit. ``rotations`` counts connections that were replaced by others.
    """

    accounting: FrameAccounting
    switches: int
    books: BookCounts
    account: AccountFigures
    account_gaps: int
    architectures: dict[str, ArchitectureFigures]
    gaps_repaired: int
    connections: int
    rotations: int
    rotations_failed: int
    lost: int
    duplicated: int
    reordered: int
    fills_lost: int
    fills_duplicated: int
    orders_reordered: int
    unbalanced: bool
    findings: list[str]
    wrong_books: list[str] = []
    wrong_account: list[str] = []


class DemoSummary(msgspec.Struct):
    """What a demo run ended with: each venue's figures, and over all of them what was found."""

    seconds: float
    venues: dict[str, VenueFigures]
    lost: int
    duplicated: int
    reordered: int
    fills_lost: int
    fills_duplicated: int
    orders_reordered: int
    rotations_failed: int
    wrong_books: list[str]
    wrong_account: list[str]
    unbalanced: bool
    findings: list[str]

    @classmethod
    def of(cls, seconds: float, venues: dict[str, VenueFigures]) -> "DemoSummary":
        """The sums over ``venues``."""
        return cls(
            seconds=round(seconds, 3),
            venues=venues,
            lost=sum(venue.lost for venue in venues.values()),
            duplicated=sum(venue.duplicated for venue in venues.values()),
            reordered=sum(venue.reordered for venue in venues.values()),
            fills_lost=sum(venue.fills_lost for venue in venues.values()),
            fills_duplicated=sum(venue.fills_duplicated for venue in venues.values()),
            orders_reordered=sum(venue.orders_reordered for venue in venues.values()),
            rotations_failed=sum(venue.rotations_failed for venue in venues.values()),
            wrong_books=[f"{name} {symbol}" for name, venue in venues.items() for symbol in venue.wrong_books],
            wrong_account=[f"{name} {text}" for name, venue in venues.items() for text in venue.wrong_account],
            unbalanced=any(venue.unbalanced for venue in venues.values()),
            findings=[f"{text}, {name}" for name, venue in venues.items() for text in venue.findings],
        )

    @property
    def is_clean(self) -> bool:
        """Whether the run proves what it set out to."""
        of_market = self.lost or self.duplicated or self.reordered or self.wrong_books
        of_accounts = self.fills_lost or self.fills_duplicated or self.orders_reordered or self.wrong_account
        return not (of_market or of_accounts or self.rotations_failed or self.unbalanced)


class VenueRun:
    """One simulated exchange in a process of its own, the feed that reads it and an account there, and the ledgers between them.

    ``rate`` is this exchange's own, and ``switch_every`` this feed's.
    """

    def __init__(self, venue: Venue, settings: DemoSettings, rate: float, switch_every: float, limiter: Limiter) -> None:
        self.ledger = Ledger()
        self.account_ledger = AccountLedger()
        self.venue = venue
        self.feed: WebSocketManager | None = None
        self.gaps_repaired = 0
        self.account_gaps = 0
        self.rotations = 0
        #: Rotations that failed, in words.
        self.not_rotated: list[str] = []
        #: How long it streamed.
        self.seconds = 0.0
        self.symbols = settings.symbols or tuple(EXCHANGES[venue.name].symbols)
        self._settings = settings
        self.rate = rate
        self.switch_every = switch_every
        self._limiter = limiter
        self._in_gap: set[str] = set()
        self._kinds = {kind.name.lower() for kind in venue.channels.values()}
        #: By stream: up to which number messages are known to have been sent.
        self._sent_up_to: dict[Stream, int] = {}

    async def run(self, ready: asyncio.Barrier) -> VenueFigures:
        """Open, wait until all others have opened, stream, and compare."""
        settings = self._settings
        options = ["--seed", str(settings.seed), "--rate", str(self.rate), "--orders", str(settings.orders)]
        options += ["--symbols", ",".join(self.symbols)]
        async with AsyncExitStack() as stack:
            exchange = await stack.enter_async_context(simulated_exchange(self.venue.name, *options))
            await exchange.pause()  # What happens from here on is streamed, and all of it.
            self.account_ledger.begin(await exchange.account())
            self.feed = feed = await stack.enter_async_context(self._open(exchange))
            # Every way of getting a whole book anew is shown, each by its first channel and with its share of the symbols.
            ways: dict[Repair, str] = {}
            for channel in self.venue.book_channels.values():
                if channel.repair is not Repair.WAIT:
                    ways.setdefault(channel.repair, channel.name)
            for index, way in enumerate(ways.values()):
                await feed.subscribe(self.symbols[index :: len(ways)], [way])
            await ready.wait()
            # Not before: connections that are cut all the time might never all be open.
            meaningless = EXCHANGES[self.venue.name].meaningless
            for fault in settings.faults:
                if fault.partition("=")[0] not in meaningless:
                    await exchange.fault(fault)
            await exchange.resume()
            troubles = asyncio.create_task(self._trouble(exchange, feed))
            try:
                await self._stream(exchange, feed)
                await troubles
            finally:
                troubles.cancel()
            return await self._finish(exchange)

    async def _stream(self, exchange: SideChannel, feed: WebSocketManager) -> None:
        """Let the time pass, with the switches that come in it."""
        seconds, started = self._settings.seconds, time.monotonic()
        next_switch, next_log = self.switch_every, LOG_EVERY_S
        while (elapsed := time.monotonic() - started) < seconds:
            if elapsed >= next_switch:
                self.switch(feed)
                next_switch += self.switch_every
            if elapsed >= next_log:
                await self._read_log(exchange)
                next_log += LOG_EVERY_S
            await asyncio.sleep(min(next_switch, next_log, seconds) - elapsed)
        self.seconds = time.monotonic() - started

    async def _trouble(self, exchange: SideChannel, feed: WebSocketManager) -> None:
        """Let happen what the settings say, one after the other."""
        started = time.monotonic()
        for after_s, trouble in self._settings.troubles:
            if after_s >= self._settings.seconds:
                return
            await asyncio.sleep(after_s - (time.monotonic() - started))
            if trouble is Trouble.CUT:
                await exchange.fault("cut-private")
            elif trouble is Trouble.ROTATE:
                await self._rotate(feed)
            elif self.venue.private is not None and self.venue.private.listen_keys is not None:
                await exchange.fault("key-dies")

    async def _rotate(self, feed: WebSocketManager) -> None:
        """Replace every connection by another, once there is none that is being opened."""
        until = time.monotonic() + CATCH_UP_S
        while not (feed.is_connected() and feed.account.is_live) and time.monotonic() < until:
            await asyncio.sleep(LOG_EVERY_S)
        try:
            self.rotations += len(await feed.rotate())
        except RotationFailed as failure:
            self.not_rotated.append(f"not rotated: {failure}")

    def switch(self, feed: WebSocketManager) -> None:
        """Change the architecture, from the one that was asked for last: the lane may not have reached it."""
        feed.switch(feed.settings.architecture.other)

    def _open(self, exchange: SideChannel) -> Any:
        kinds = dict.fromkeys(kind for kind in self.venue.channels.values() if kind is not MessageType.ORDERBOOK)
        settings = ExchangeSettings(
            venue=self.venue,
            symbols=self.symbols,
            channels=tuple(kind.name.lower() for kind in kinds),
            architecture=self._settings.architecture,
            websocket_url=exchange.logged_url(LOG_NAME),
            rest_url=exchange.rest_url,
            reconnect=self._settings.reconnect,
            rotation=self._settings.rotation,
            credentials=Credentials(Secret(KEY), Secret(SECRET)),
            account_check_s=ACCOUNT_CHECK_S,
        )
        return open_feed(
            settings,
            private_handler=PrivateWebSocketHandler(
                None, None, on_order=self.account_ledger.order, on_fill=self.account_ledger.fill, on_gap=self._on_account_gap
            ),
            lane_type=lane_with(self._settings.inject),
            adapted=self._settings.adapted,
            limiter=self._limiter,
            on_orderbook=self._on_orderbook,
            on_trade=self._on_trade,
            on_book_ticker=self._on_book_ticker,
            on_ticker=self._on_ticker,
            on_candle=self._on_candle,
            on_liquidation=self._on_liquidation,
            on_book_state=self._on_book_state,
            on_gap=self._on_gap,
        )

    def figures(self) -> VenueFigures:
        """The feed's figures so far."""
        feed = self.feed
        assert feed is not None
        states = [book.state for book in feed.books.values()]
        accounting = feed.accounting
        return VenueFigures(
            accounting=accounting.frames,
            switches=feed.switches,
            books=BookCounts(*(states.count(state) for state in (BookState.LIVE, BookState.SYNCING, BookState.GAP, BookState.STALE))),
            account=AccountFigures.of(feed.account, self.account_ledger.told),
            account_gaps=self.account_gaps,
            architectures={
                architecture.value: ArchitectureFigures(
                    path.frames, round(path.per_second, 1), sum(path.errors.values()), path.p50_ns, path.p99_ns
                )
                for architecture, path in feed.metrics().items()
            },
            gaps_repaired=self.gaps_repaired,
            connections=feed.connections,
            rotations=self.rotations,
            rotations_failed=len(self.not_rotated),
            lost=self.ledger.lost,
            duplicated=self.ledger.duplicated,
            reordered=self.ledger.reordered,
            fills_lost=self.account_ledger.lost,
            fills_duplicated=self.account_ledger.duplicated,
            orders_reordered=self.account_ledger.reordered,
            unbalanced=not accounting.is_balanced,
            findings=[*self.ledger.findings, *self.account_ledger.findings, *self.not_rotated],
        )

    async def _finish(self, exchange: SideChannel) -> VenueFigures:
        assert self.feed is not None
        streamed = self.figures().architectures
        await exchange.fault("clear")
        await asyncio.sleep(SETTLE_S)
        await exchange.pause()
        books, account = await exchange.books(), await exchange.account()
        waited = time.monotonic() + (CATCH_UP_S if self._settings.inject is None else INJECTED_CATCH_UP_S)
        while time.monotonic() < waited:
            await self._read_log(exchange)
            await self.feed.drain()
            wrong = [symbol for symbol in self.symbols if not self._is_right(symbol, books[symbol])]
            wrong_account = self._compare_account(account)
            if not wrong and not self.ledger.outstanding and not wrong_account and not self.account_ledger.lost:
                break
            await asyncio.sleep(LOG_EVERY_S)
        self.ledger.finish()
        figures = self.figures()
        figures.wrong_books, figures.wrong_account = wrong, wrong_account
        for name, path in figures.architectures.items():
            path.per_second = streamed[name].per_second  # Rates are of the streaming, counts of everything.
        return figures

    async def _read_log(self, exchange: SideChannel) -> None:
        for stream, number in await exchange.log(LOG_NAME):
            # What is sent over two connections, one of which takes over from the other, is one message.
            if stream[0] in self._kinds and number > self._sent_up_to.get(stream, -1):
                self._sent_up_to[stream] = number
                self.ledger.sent(stream, number)

    def _compare_account(self, theirs: dict[str, Any]) -> list[str]:
        """What of the account is not as the exchange has it, in words."""
        assert self.feed is not None
        account = self.feed.account
        self.account_ledger.compare(theirs, account.raw.orders, account.raw.balances, account.raw.positions)
        return self.account_ledger.wrong if account.is_live else [f"the account is {account.state.value}", *self.account_ledger.wrong]

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

    def _on_liquidation(self, liquidation: Liquidation) -> None:
        self.ledger.seen(("liquidation", liquidation.symbol), hidden_number(liquidation.amount))

    def _on_book_state(self, change: BookStateChange) -> None:
        if change.new is BookState.LIVE:
            self.gaps_repaired += change.symbol in self._in_gap
            self._in_gap.discard(change.symbol)

    def _on_gap(self, gap: Gap) -> None:
        kind = None if gap.channel is None else self.venue.channels[gap.channel].name.lower()
        if kind in (None, "orderbook"):
            self._in_gap.add(gap.symbol or "")
        self.ledger.gap(kind, gap.symbol)

    def _on_account_gap(self, gap: Gap) -> None:
        self.account_gaps += 1


class Demo:
    """Several venues at once in one event loop, each with its own exchange, its own feed and its own times to switch."""

    def __init__(
        self, venues: Sequence[str] = DEMO_VENUES, settings: DemoSettings | None = None, run_type: type[VenueRun] = VenueRun
    ) -> None:
        self.settings = settings = settings or DemoSettings()
        # One for all, as whoever streams several venues would have it.
        limiter = Limiter()
        names = list(dict.fromkeys(venues))
        self.runs: Mapping[str, VenueRun] = {
            name: run_type(venue_named(name), settings, settings.rate / len(names), settings.switch_every * (1 + STAGGER * place), limiter)
            for place, name in enumerate(names)
        }

    async def run(self, show: Callable[["Demo", float], None] | None = None) -> DemoSummary:
        """Stream all venues, and compare; ``show`` is told how long it has gone on. Raises what keeps one of them from going on."""
        ready = asyncio.Barrier(len(self.runs) + 1)
        ends = {name: asyncio.create_task(run.run(ready)) for name, run in self.runs.items()}
        tasks: list[asyncio.Task[Any]] = [*ends.values(), asyncio.create_task(self._show(ready, show))]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            for task in tasks:
                task.cancel()
            # What fails while all is ended is of no interest.
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            task.result()
        return DemoSummary.of(max(run.seconds for run in self.runs.values()), {name: end.result() for name, end in ends.items()})

    async def _show(self, ready: asyncio.Barrier, show: Callable[["Demo", float], None] | None) -> None:
        await ready.wait()
        if show is None:
            return
        started, seconds = time.monotonic(), self.settings.seconds
        while (elapsed := time.monotonic() - started) < seconds:
            show(self, elapsed)
            await asyncio.sleep(min(SHOW_EVERY_S, seconds - elapsed))
        show(self, seconds)
