"""A sorted book of price levels with its state of trust. Reading a book that is not LIVE raises; ``raw`` is for the curious."""

from bisect import bisect_left, insort

from infrastructure.errors import BookNotLive
from infrastructure.events import BookState, MessageType
from infrastructure.venue import BookUpdate, Levels


class BookSide:
    """One side of a book: amounts by price, and the prices in ascending order.

    A list kept in order by bisection: inserting moves memory, which for the few thousand levels that venues publish costs less
    than a tree of Python objects (``make bench`` prints the book's share).
    """

    __slots__ = ("amounts", "prices")

    def __init__(self) -> None:
        self.amounts: dict[float, float] = {}
        self.prices: list[float] = []

    def set(self, levels: Levels) -> None:
        """Give each price its amount; 0 removes the level, and removing an unknown level is normal."""
        amounts = self.amounts
        prices = self.prices
        for price, amount in levels:
            if amount:
                if price not in amounts:
                    insort(prices, price)
                amounts[price] = amount
            elif price in amounts:
                del amounts[price]
                del prices[bisect_left(prices, price)]

    def trim(self, surplus: slice) -> None:
        """Drop the levels that ``surplus`` cuts out of the ascending prices."""
        for price in self.prices[surplus]:
            del self.amounts[price]
        del self.prices[surplus]

    def replace(self, levels: Levels) -> None:
        """Forget everything and hold ``levels``."""
        self.amounts = {price: amount for price, amount in dict(levels).items() if amount}
        self.prices = sorted(self.amounts)


class BookChanges:
    """What the last applied frame did: (price, amount) pairs as the venue sent them, or the whole book when ``is_full``."""

    __slots__ = ("asks", "bids", "is_full")

    def __init__(self) -> None:
        self.bids: Levels = []
        self.asks: Levels = []
        self.is_full = False


class RawBook:
    """A book's levels whatever its state. They may be old, incomplete or crossed."""

    __slots__ = ("_book",)

    def __init__(self, book: "OrderBook") -> None:
        self._book = book

    @property
    def bids(self) -> Levels:
        """All bid levels as (price, amount), best first."""
        side = self._book._bids
        return [(price, side.amounts[price]) for price in reversed(side.prices)]

    @property
    def asks(self) -> Levels:
        """All ask levels as (price, amount), best first."""
        side = self._book._asks
        return [(price, side.amounts[price]) for price in side.prices]

    @property
    def best(self) -> tuple[float | None, float | None, float | None, float | None]:
        """The highest bid's price and amount, the lowest ask's price and amount; None twice for an empty side."""
        bids, asks = self._book._bids, self._book._asks
        bid = bids.prices[-1] if bids.prices else None
        ask = asks.prices[0] if asks.prices else None
        return bid, None if bid is None else bids.amounts[bid], ask, None if ask is None else asks.amounts[ask]


class OrderBook:
    """The live book of one symbol from one channel, as handed to ``on_orderbook``.

    It is one object for the life of the feed: what a callback reads from it, and ``changes`` in particular, is valid during that call.
    Properties that read levels raise BookNotLive unless ``state`` is LIVE. Prices and amounts are floats, amounts in base currency
    (futures: contracts). ``depth`` is how many levels a side are kept, None for all: a stream of the best so many does not always say which
    levels have left its window.
    """

    message_type = MessageType.ORDERBOOK
    is_control = False
    __slots__ = (
        "_asks",
        "_bids",
        "changes",
        "channel",
        "depth",
        "exchange_ns",
        "last_id",
        "raw",
        "received_ns",
        "state",
        "symbol",
        "venue",
    )

    def __init__(self, venue: str, channel: str, symbol: str) -> None:
        self.venue = venue
        self.channel = channel
        self.symbol = symbol
        self.state = BookState.SYNCING
        self.depth: int | None = None
        self.last_id: int | None = None
        self.exchange_ns: int | None = None
        self.received_ns = 0
        self.changes = BookChanges()
        self.raw = RawBook(self)
        self._bids = BookSide()
        self._asks = BookSide()

    def __repr__(self) -> str:
        bids, asks = self._bids.prices, self._asks.prices
        top = f"{bids[-1] if bids else None} / {asks[0] if asks else None}" if self.is_live else "-"
        return f"<OrderBook {self.venue} {self.symbol} {self.state.value} id={self.last_id} {top} levels={len(bids)}+{len(asks)}>"

    @property
    def is_live(self) -> bool:
        """Whether the book may be believed."""
        return self.state is BookState.LIVE

    @property
    def bids(self) -> Levels:
        """All bid levels as (price, amount), best first."""
        self._require_live()
        return self.raw.bids

    @property
    def asks(self) -> Levels:
        """All ask levels as (price, amount), best first."""
        self._require_live()
        return self.raw.asks

    @property
    def best_bid(self) -> tuple[float, float] | None:
        """The highest bid as (price, amount), None when nobody bids."""
        self._require_live()
        side = self._bids
        if not side.prices:
            return None
        price = side.prices[-1]
        return price, side.amounts[price]

    @property
    def best_ask(self) -> tuple[float, float] | None:
        """The lowest ask as (price, amount), None when nobody offers."""
        self._require_live()
        side = self._asks
        if not side.prices:
            return None
        price = side.prices[0]
        return price, side.amounts[price]

    def top(self, depth: int) -> tuple[Levels, Levels]:
        """The best ``depth`` levels of both sides as (price, amount), best first: bids, then asks."""
        self._require_live()
        bids, asks = self._bids, self._asks
        return (
            [(price, bids.amounts[price]) for price in bids.prices[: -depth - 1 : -1]],
            [(price, asks.amounts[price]) for price in asks.prices[:depth]],
        )

    @property
    def is_crossed(self) -> bool:
        """Whether the best bid reaches the best ask, which a matching engine never shows."""
        bids, asks = self._bids.prices, self._asks.prices
        return bool(bids and asks and bids[-1] >= asks[0])

    def apply(self, update: BookUpdate) -> None:
        """Set the levels of ``update`` and remember its ids and times; the caller has judged it."""
        self._bids.set(update.bids)
        self._asks.set(update.asks)
        if self.depth is not None:
            self._trim(self.depth)
        self.last_id = update.last_id
        self.exchange_ns = update.exchange_ns

    def replace(self, update: BookUpdate) -> None:
        """Forget everything and hold the levels, ids and times of ``update``."""
        self._bids.replace(update.bids)
        self._asks.replace(update.asks)
        if self.depth is not None:
            self._trim(self.depth)
        self.last_id = update.last_id
        self.exchange_ns = update.exchange_ns

    def _trim(self, depth: int) -> None:
        if len(self._bids.prices) > depth:
            self._bids.trim(slice(0, -depth))
        if len(self._asks.prices) > depth:
            self._asks.trim(slice(depth, None))

    def _require_live(self) -> None:
        if self.state is not BookState.LIVE:
            raise BookNotLive(self.symbol, self.state.value.upper())
