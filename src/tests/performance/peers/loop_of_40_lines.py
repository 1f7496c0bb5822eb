"""The floor of the field: what one writes by hand with ``msgspec`` and ``sortedcontainers`` for books and trades.

Below the types of the messages it is a loop of 40 lines: a typed decode, two sorted dicts for each book, a check of the sequence, a
callback. It has no accounting, no repair and no gaps: it begins with a snapshot that somebody hands it, and breaks where a frame is
missing. Markets are called what the exchange calls them.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

import msgspec
from sortedcontainers import SortedDict


class SpotLevel(msgspec.Struct, array_like=True):
    p: float
    s: float


class FuturesLevel(msgspec.Struct):
    p: float
    s: float


L = TypeVar("L", SpotLevel, FuturesLevel)


class Change(msgspec.Struct, Generic[L]):
    s: str = ""
    U: int = 0
    u: int = 0
    b: list[L] = []
    a: list[L] = []


class Trade(msgspec.Struct):
    id: int = 0
    currency_pair: str = ""
    create_time_ms: float = 0.0
    side: str = ""
    amount: float = 0.0
    price: float = 0.0


class Deal(msgspec.Struct):
    id: int
    contract: str
    create_time_ms: float
    size: float
    price: float


class Answer(msgspec.Struct):
    status: str


class SpotBook(msgspec.Struct, tag_field="channel", tag="spot.order_book_update"):
    result: Change[SpotLevel]
    event: str = ""


class FuturesBook(msgspec.Struct, tag_field="channel", tag="futures.order_book_update"):
    result: Change[FuturesLevel]
    event: str = ""


class SpotTrades(msgspec.Struct, tag_field="channel", tag="spot.trades"):
    result: Trade
    event: str = ""


class FuturesTrades(msgspec.Struct, tag_field="channel", tag="futures.trades"):
    result: list[Deal] | Answer
    event: str = ""


class Snapshot(msgspec.Struct):
    bids: list[Any]
    asks: list[Any]
    id: int = 0
    lastUpdateId: int = 0


class Book:
    """By price the amounts of each side, prices ascending; ``last_id`` is None until there is a snapshot."""

    def __init__(self) -> None:
        self.bids, self.asks = SortedDict(), SortedDict()
        self.last_id: int | None = None

    def start(self, raw: bytes) -> None:
        snapshot = msgspec.json.decode(raw, type=Snapshot)
        self.last_id = snapshot.id or snapshot.lastUpdateId
        for side, levels in ((self.bids, snapshot.bids), (self.asks, snapshot.asks)):
            pairs = [level.values() if isinstance(level, dict) else level for level in levels]
            side.update((float(price), float(amount)) for price, amount in pairs)

    def follow(self, first_id: int, last_id: int, bids: Iterable[L], asks: Iterable[L]) -> bool:
        if self.last_id is None or last_id <= self.last_id:
            return False
        if first_id > self.last_id + 1:
            raise LookupError(f"{first_id} does not follow {self.last_id}")
        self.last_id = last_id
        for side, levels in ((self.bids, bids), (self.asks, asks)):
            for level in levels:
                if level.s:
                    side[level.p] = level.s
                else:
                    side.pop(level.p, None)
        return True


def gate_loop(books: defaultdict[str, Book], told: Callable[[Any], object]) -> Callable[[bytes], None]:
    """What takes each frame of Gate.io, spot or futures, and calls back with books and trades."""
    decode = msgspec.json.Decoder(SpotBook | FuturesBook | SpotTrades | FuturesTrades, strict=False).decode

    def take(raw: bytes) -> None:
        push = decode(raw)
        if push.event != "update":
            return
        result = push.result
        if isinstance(result, Change):
            book = books[result.s]
            if book.follow(result.U, result.u, result.b, result.a):
                told(book)
        else:
            for trade in result if isinstance(result, list) else (result,):
                told(trade)

    return take


def mexc_loop(books: defaultdict[str, Book], told: Callable[[Any], object], push_type: Any) -> Callable[[bytes], None]:
    """The same of MEXC spot, whose schema somebody has compiled: ``push_type`` is its wrapper."""
    parse = push_type.FromString

    def sides(levels: Iterable[Any]) -> list[SpotLevel]:
        return [SpotLevel(float(level.price), float(level.quantity)) for level in levels]

    def take(raw: bytes) -> None:
        if raw.startswith(b"{"):
            return
        push = parse(raw)
        if push.HasField("publicAggreDepths"):
            change = push.publicAggreDepths
            book = books[push.symbol]
            if book.follow(int(change.fromVersion), int(change.toVersion), sides(change.bids), sides(change.asks)):
                told(book)
        elif push.HasField("publicAggreDeals"):
            for deal in push.publicAggreDeals.deals:
                told(Trade(0, push.symbol, deal.time, str(deal.tradeType), float(deal.quantity), float(deal.price)))

    return take
