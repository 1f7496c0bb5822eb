"""Gate.io futures frames for tests, in the venue's own form and under the names of ``frames``, so that a test can run over both markets."""

import json
from collections.abc import Sequence
from typing import Any

from tests.harness.frames import push

PAIR = "BTC_USDT"
SYMBOL = "BTC/USDT:USDT"
OTHER_PAIR, OTHER = "ETH_USDT", "ETH/USDT:USDT"
#: What all of its channels begin with.
PREFIX = "futures."
Pairs = Sequence[tuple[Any, Any]]


def trade(number: int, *, price: str = "100.5", amount: Any = "25", side: str = "buy", pair: str = PAIR) -> bytes:
    """A trade whose id is ``number``."""
    size = amount if side == "buy" else f"-{amount}" if isinstance(amount, str) else -amount
    result = {"size": size, "id": number, "create_time": 1_700_000_000, "create_time_ms": 1_700_000_000_123, "price": price}
    return push("futures.trades", [result | {"contract": pair}])


def book_ticker(update_id: int, *, bid: str = "100", ask: str = "101", pair: str = PAIR) -> bytes:
    """Best bid and ask; an empty side has an empty price and 0 contracts."""
    sides = {"b": bid, "B": "15" if bid else 0, "a": ask, "A": "25" if ask else 0}
    return push("futures.book_ticker", {"t": 1_700_000_000_100, "u": update_id, "s": pair} | sides)


def ticker(*, last: str = "100.5", pair: str = PAIR) -> bytes:
    """24 hour statistics, mark price, index price and funding."""
    result = {"contract": pair, "last": last, "mark_price": "100.4", "index_price": "100.3", "funding_rate": "-0.0001"}
    result |= {"total_size": "1000", "volume_24h": "500", "volume_24h_base": "0.05", "volume_24h_quote": "5", "change_percentage": "-1.5"}
    return push("futures.tickers", [result | {"low_24h": "90", "high_24h": "110", "funding_next_apply": 1_700_006_400}])


def contract_stats(*, mark: Any = "100.4", interest: Any = 1000, pair: str = PAIR) -> bytes:
    """Statistics of an interval."""
    result = {"time": 1_700_000_000, "contract": pair, "mark_price": mark, "open_interest": interest, "open_interest_usd": 100.5}
    ratios = {"lsr_taker": 1.5, "lsr_account": 0.5, "top_lsr_account": 1.5, "top_lsr_size": 1.02}
    liquidated = {f"{side}_liq_{name}": 0 for side in ("long", "short") for name in ("size", "amount", "usd")}
    return push("futures.contract_stats", [result | ratios | liquidated])


def candle(*, close: str = "100.5", pair: str = PAIR) -> bytes:
    """A bar of one minute."""
    result = {"t": 1_700_000_000, "v": 1250, "c": close, "h": "110", "l": "90", "o": "95", "n": f"1m_{pair}", "a": "0.125", "w": False}
    return push("futures.candlesticks", [result])


def liquidation(*, price: Any = "99.5", size: Any = "-12", pair: str = PAIR) -> bytes:
    """A position that was closed by force."""
    return push("futures.public_liquidates", [{"price": price, "size": size, "time_ms": 1_700_000_000_100, "contract": pair}])


def update(first: int, last: int, bids: Pairs = (), asks: Pairs = (), *, full: bool = False, pair: str = PAIR) -> bytes:
    """A push of order_book_update."""
    result: dict[str, Any] = {"t": 1_700_000_000_100, "s": pair, "U": first, "u": last, "l": "100"}
    return push("futures.order_book_update", result | {"b": _objects(bids), "a": _objects(asks)} | ({"full": True} if full else {}))


def obu(first: int | None, last: int, bids: Pairs = (), asks: Pairs = (), *, full: bool = False, pair: str = PAIR) -> bytes:
    """A push of obu."""
    result: dict[str, Any] = {"t": 1_700_000_000_100, "s": f"ob.{pair}.50", "u": last} | ({} if first is None else {"U": first})
    sides = {name: [[str(price), str(size)] for price, size in levels] for name, levels in (("b", bids), ("a", asks)) if levels}
    return push("futures.obu", result | ({"full": True} if full else {}) | sides)


def whole_book(last: int, bids: Pairs, asks: Pairs, *, pair: str = PAIR) -> bytes:
    """A push of order_book."""
    result = {"t": 1_700_000_000_100, "contract": pair, "id": last, "asks": _objects(asks), "bids": _objects(bids), "l": "20"}
    return push("futures.order_book", result, event="all")


def changes(first: int, *levels: tuple[Any, Any], pair: str = PAIR) -> bytes:
    """Changes of a book as order_book pushed them until 2023, numbered from ``first``; a negative size is to be sold."""
    result = [{"p": str(price), "s": size, "c": pair, "id": number} for number, (price, size) in enumerate(levels, first)]
    return push("futures.order_book", result)


def rest_book(last: int, bids: Pairs = ((100, 1),), asks: Pairs = ((101, 1),)) -> bytes:
    """The REST answer with the whole book."""
    body = {"id": last, "current": 1_700_000_000.123, "update": 1_700_000_000.1, "asks": _objects(asks), "bids": _objects(bids)}
    return json.dumps(body).encode()


def contract(name: str = PAIR, **changes: Any) -> dict[str, Any]:
    """One entry of the contract list, the values that nobody reads left out."""
    listed = {"name": name, "type": "direct", "quanto_multiplier": "0.0001", "order_price_round": "0.1", "order_size_min": 1}
    return listed | {"order_size_max": 1_000_000, "enable_decimal": False, "in_delisting": False, "status": "trading"} | changes


PONG = b'{"time":1700000000,"time_ms":1700000000123,"channel":"futures.pong","event":"","result":null}'


def _objects(levels: Pairs) -> list[dict[str, Any]]:
    """Sizes as they are: whole numbers, or texts where the venue was asked for decimals."""
    return [{"p": str(price), "s": size} for price, size in levels]
