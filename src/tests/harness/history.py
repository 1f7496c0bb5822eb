"""Records what a feed's callbacks saw and holds it against what was sent: the checker of every simulated run."""

from collections import Counter
from typing import Any

from infrastructure.book import OrderBook
from infrastructure.events import Architecture, BookState, BookStateChange, BookTicker, Candle, Gap, Liquidation, Ticker, Trade
from infrastructure.feed import OfflineFeed
from infrastructure.networking.websocket.marker import SwitchReceipt
from infrastructure.simulator.ledger import Ledger
from infrastructure.simulator.market import Markets, Sent, hidden_number
from infrastructure.venue import Venue


class History:
    """What was sent, what was seen, who handled which frame. ``problems`` says in words what does not add up."""

    def __init__(self, markets: Markets, venue: Venue) -> None:
        self.ledger = Ledger()
        self.problems: list[str] = []
        self.receipts: list[SwitchReceipt] = []
        self.frames = 0
        self._markets = markets
        self._book_channels = venue.book_channels
        self._channels = venue.channels
        self._tops: dict[tuple[str, int], tuple[list[float], list[float]]] = {}
        self._handled: dict[int, list[Architecture]] = {}
        self._open_gaps: Counter[str] = Counter()
        self._started = 0
        self._finished = 0

    def sent(self, sent: Sent) -> None:
        """The exchange sends a frame, whether or not it arrives."""
        if sent.stream is not None:
            self.ledger.sent(sent.stream, sent.number)
        self.remember_tops()

    def remember_tops(self) -> None:
        """Keep the top of every book by its id, for whoever publishes it later."""
        for symbol, market in self._markets.markets.items():
            if (symbol, market.update_id) not in self._tops:
                bid, ask = market.best()
                self._tops[symbol, market.update_id] = [float(text) for text in bid], [float(text) for text in ask]

    def handled(self, number: int, architecture: Architecture) -> None:
        """A receiver of ``architecture`` was given the frame with this number."""
        self._handled.setdefault(number, []).append(architecture)

    def began(self) -> None:
        """A callback was called."""
        self._started += 1

    def ended(self) -> None:
        """A callback came to its end."""
        self._finished += 1

    def on_event(self, event: Any) -> None:
        """Any event at all."""
        if isinstance(event, OrderBook):
            self._on_orderbook(event)
        elif isinstance(event, Trade):
            self.ledger.seen(("trade", event.symbol), hidden_number(event.amount))
        elif isinstance(event, BookTicker):
            self.ledger.seen(("book_ticker", event.symbol), event.update_id or 0)
        elif isinstance(event, Ticker):
            self.ledger.seen(("ticker", event.symbol), hidden_number(event.base_volume))
        elif isinstance(event, Candle):
            self.ledger.seen(("candle", event.symbol), hidden_number(event.base_volume))
        elif isinstance(event, Liquidation):
            self.ledger.seen(("liquidation", event.symbol), hidden_number(event.amount))
        elif isinstance(event, BookStateChange):
            if event.new is BookState.LIVE:
                self._open_gaps[event.symbol] = 0
        elif isinstance(event, Gap):
            self._on_gap(event)

    def check_moment(self, feed: OfflineFeed) -> None:
        """What must hold at every moment."""
        accounting = feed.accounting
        if not accounting.frames.is_balanced:
            self.problems.append(f"frames do not add up: {accounting.frames}")
        if not accounting.events.is_balanced:
            self.problems.append(f"events do not add up: {accounting.events}")

    def check_end(self, feed: OfflineFeed, first: Architecture) -> None:
        """What must hold when everything has been handled and every book repaired."""
        self.check_moment(feed)
        accounting = feed.accounting
        if accounting.frames.in_flight or accounting.frames.received != self.frames:
            self.problems.append(f"{self.frames} frames were delivered: {accounting.frames}")
        if self._started != self._finished:
            self.problems.append(f"{self._started} callbacks began, {self._finished} came to their end")
        self.ledger.finish()
        self.problems += self.ledger.findings
        for symbol, market in self._markets.markets.items():
            book = feed.books.get(symbol)
            bids, asks = ([(float(price), float(amount)) for price, amount in side] for side in market.levels())
            if book is None or not book.is_live:
                self.problems.append(f"the book of {symbol} was never repaired: {book!r}")
            elif (book.bids, book.asks) != (bids, asks):
                self.problems.append(f"the book of {symbol} is wrong: {book!r}")
        self._check_architectures(first)

    def _check_architectures(self, first: Architecture) -> None:
        """Each frame went to the architecture that the receipts name, and only a fallback to a second one."""
        flips = sorted((receipt.after_frame, index, receipt) for index, receipt in enumerate(self.receipts) if not receipt.withdrawn)
        architecture = first
        position = 0
        for number in range(1, self.frames + 1):
            while position < len(flips) and flips[position][0] < number:
                architecture = flips[position][2].architecture
                position += 1
            handled = self._handled.get(number, [])
            fell_back = [Architecture.DIRECT, Architecture.STRATEGY]
            if handled != [architecture] and not (architecture is Architecture.DIRECT and handled == fell_back):
                self.problems.append(f"frame {number} belongs to {architecture.value}, was handled by {[kind.value for kind in handled]}")

    def _on_orderbook(self, book: OrderBook) -> None:
        # A whole book stands for every change before it.
        self.ledger.seen(("orderbook", book.symbol), book.last_id or 0, covers_earlier=book.changes.is_full)
        top = (list(book.best_bid or ()), list(book.best_ask or ()))
        expected = self._tops.get((book.symbol, book.last_id or 0))
        if expected != top:
            self.problems.append(f"{book!r} shows {top}, the exchange had {expected}")

    def _on_gap(self, gap: Gap) -> None:
        is_book = gap.channel in self._book_channels
        if is_book and gap.symbol:
            self._open_gaps[gap.symbol] += 1
            if self._open_gaps[gap.symbol] > 1:
                self.problems.append(f"a second Gap of {gap.symbol} before the first was repaired")
        self.ledger.gap(None if gap.channel is None else self._channels[gap.channel].name.lower(), gap.symbol)
