"""Gate.io spot frames for tests, in the venue's own form, and a collector of what came of them."""

import json
from collections.abc import Sequence
from typing import Any

from infrastructure.book import OrderBook
from infrastructure.events import BookState, BookStateChange, ErrorEvent, Gap

PAIR = "BTC_USDT"
SYMBOL = "BTC/USDT"
Pairs = Sequence[tuple[Any, Any]]


def push(channel: str, result: Any, *, event: str | None = "update", time_ms: int = 1_700_000_000_123) -> bytes:
    """One frame of a market data channel."""
    frame = {"time": time_ms // 1000, "time_ms": time_ms, "channel": channel, "event": event, "result": result}
    return json.dumps({key: value for key, value in frame.items() if value is not None}).encode()


def trade(number: int, *, price: str = "100.5", amount: str = "0.25", side: str = "buy", pair: str = PAIR) -> bytes:
    """A trade whose id is ``number``."""
    result = {"id": number, "create_time": 1_700_000_000, "create_time_ms": "1700000000123.4567", "side": side, "currency_pair": pair}
    return push("spot.trades", result | {"amount": amount, "price": price})


def book_ticker(update_id: int, *, bid: str = "100", ask: str = "101", pair: str = PAIR) -> bytes:
    """Best bid and ask."""
    return push("spot.book_ticker", {"t": 1_700_000_000_100, "u": update_id, "s": pair, "b": bid, "B": "1.5", "a": ask, "A": "2.5"})


def ticker(*, last: str = "100.5", pair: str = PAIR) -> bytes:
    """24 hour statistics."""
    result = {"currency_pair": pair, "last": last, "lowest_ask": "101", "highest_bid": "100", "change_percentage": "-1.5"}
    return push("spot.tickers", result | {"base_volume": "12.5", "quote_volume": "1250", "high_24h": "110", "low_24h": "90"})


def candle(*, close: str = "100.5", pair: str = PAIR) -> bytes:
    """A bar of one minute."""
    result = {"t": "1700000000", "v": "1250", "c": close, "h": "110", "l": "90", "o": "95", "n": f"1m_{pair}", "a": "12.5", "w": False}
    return push("spot.candlesticks", result)


def update(first: int, last: int, bids: Pairs = (), asks: Pairs = (), *, full: bool = False, pair: str = PAIR) -> bytes:
    """A push of order_book_update."""
    result: dict[str, Any] = {"t": 1_700_000_000_100, "e": "depthUpdate", "E": 1_700_000_000, "s": pair, "U": first, "u": last}
    return push("spot.order_book_update", result | {"b": _text(bids), "a": _text(asks)} | ({"full": True} if full else {}))


def obu(first: int | None, last: int, bids: Pairs = (), asks: Pairs = (), *, full: bool = False, pair: str = PAIR) -> bytes:
    """A push of obu."""
    result: dict[str, Any] = {"t": 1_700_000_000_100, "s": f"ob.{pair}.50", "u": last} | ({} if first is None else {"U": first})
    sides = {name: _text(levels) for name, levels in (("b", bids), ("a", asks)) if levels}
    return push("spot.obu", result | ({"full": True} if full else {}) | sides, event=None)


def whole_book(last: int, bids: Pairs, asks: Pairs, *, pair: str = PAIR) -> bytes:
    """A push of order_book."""
    result = {"t": 1_700_000_000_100, "lastUpdateId": last, "s": pair, "l": "5", "bids": _text(bids), "asks": _text(asks)}
    return push("spot.order_book", result)


def rest_book(last: int, bids: Pairs = ((100, 1),), asks: Pairs = ((101, 1),)) -> bytes:
    """The REST answer with the whole book."""
    body = {"id": last, "current": 1_700_000_000_200, "update": 1_700_000_000_100, "asks": _text(asks), "bids": _text(bids)}
    return json.dumps(body).encode()


def instruments(*symbols: str) -> bytes:
    """The REST answer that lists these pairs."""
    steps = {"precision": 2, "amount_precision": 4, "trade_status": "tradable"}
    named = [dict(zip(("base", "quote"), symbol.split("/"), strict=True)) | {"id": symbol.replace("/", "_")} for symbol in symbols]
    return json.dumps([names | steps for names in named]).encode()


def acknowledgement(channel: str = "spot.trades", event: str = "subscribe", error: dict[str, Any] | None = None) -> bytes:
    """The answer to a request."""
    frame: dict[str, Any] = {"time": 1_700_000_000, "id": 1, "channel": channel, "event": event, "payload": [PAIR]}
    status = {"result": {"status": "fail" if error else "success"}}
    return json.dumps(frame | ({"error": error} if error else {}) | status).encode()


PONG = b'{"time":1700000000,"channel":"spot.pong","event":"","error":null,"result":null}'


def _text(levels: Pairs) -> list[list[str]]:
    return [[str(price), str(amount)] for price, amount in levels]


class Seen:
    """Collects every event of a feed: ``offline_feed(..., **seen.callbacks)``. Books are kept as what they showed during the call."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.books: list[tuple[int | None, tuple[Any, ...], tuple[Any, ...]]] = []

    @property
    def callbacks(self) -> dict[str, Any]:
        """One plain callback for each event."""
        names = ("on_trade", "on_book_ticker", "on_ticker", "on_candle", "on_liquidation", "on_gap", "on_book_state", "on_error")
        return dict.fromkeys(names, self.events.append) | {"on_orderbook": self._book}

    @property
    def async_callbacks(self) -> dict[str, Any]:
        """The same, each declared with ``async def``."""
        return {name: _async(callback) for name, callback in self.callbacks.items()}

    def of(self, kind: type | tuple[type, ...]) -> list[Any]:
        """The events of one type, or of several."""
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def gaps(self) -> list[Gap]:
        """Every Gap."""
        return self.of(Gap)

    @property
    def errors(self) -> list[ErrorEvent]:
        """Every error but that a callback blocked the loop, which a machine that is held up can make of any."""
        return [error for error in self.of(ErrorEvent) if error.kind != "blocked"]

    @property
    def states(self) -> list[BookState]:
        """What each book became, in order."""
        return [change.new for change in self.of(BookStateChange)]

    def _book(self, book: OrderBook) -> None:
        self.books.append((book.last_id, tuple(book.bids), tuple(book.asks)))


def _async(callback: Any) -> Any:
    async def awaited(event: Any) -> None:
        callback(event)

    return awaited
