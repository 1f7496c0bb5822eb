"""MEXC's recorded and documented frames, held against what was written down beside them."""

from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

from infrastructure.events import BalanceUpdate, BookTicker, Candle, Fill, OrderStatus, OrderUpdate, Side, Ticker, Trade
from infrastructure.feed import OfflineFeed
from infrastructure.venue import BookUpdate, Message
from tests.harness import mexc_frames
from tests.harness.captures import Reading, Told, lines
from tests.harness.mexc_frames import BODIES

PUSHES = ("mexc_spot_frames", "mexc_spot_examples")
PRIVATE = "mexc_spot_private"
VENUE = "mexc_spot"
Json = dict[str, Any]


def pushes(captures: Path, *files: str) -> Iterator[tuple[bytes, Json]]:
    """Each binary frame, and what stands beside it."""
    for file in files or PUSHES:
        for line in lines(captures / f"{file}.jsonl"):
            yield bytes.fromhex(line["hex"]), line["decoded"]


def nearest(text: str) -> float:
    """The double nearest to a decimal text, by way of an exact fraction."""
    return float(Fraction(text))


def known(text: str | None) -> float | None:
    return nearest(text) if text else None


def symbol(native: str) -> str:
    quote = next(quote for quote in ("USDT", "ETH") if native.endswith(quote))
    return f"{native.removesuffix(quote)}/{quote}"


def levels(side: list[Json]) -> list[tuple[float, float]]:
    return [(nearest(level["price"]), nearest(level["quantity"])) for level in side]


def sent(frame: Json) -> int:
    time: int = frame["sendTime"] if "sendTime" in frame else frame["createTime"]
    return time * 10**6


def ticker(item: Json, frame: Json) -> Ticker:
    return Ticker(
        VENUE,
        symbol(item["symbol"]),
        last=nearest(item["price"]),
        bid_price=None,
        ask_price=None,
        high=nearest(item["high"]),
        low=nearest(item["low"]),
        base_volume=nearest(item["quantity"]),
        quote_volume=nearest(item["volume"]),
        change_percent=float(Fraction(item["zonedRate"]) * 100),
        exchange_ns=sent(frame),
    )


def best(item: Json, version: str | None, frame: Json) -> BookTicker:
    return BookTicker(
        VENUE,
        symbol(frame["symbol"]),
        update_id=int(version) if version else None,
        bid_price=known(item.get("bidPrice")),
        bid_amount=known(item.get("bidQuantity")),
        ask_price=known(item.get("askPrice")),
        ask_amount=known(item.get("askQuantity")),
        exchange_ns=sent(frame),
    )


def trade(item: Json, frame: Json) -> Trade:
    side = Side.BUY if item["tradeType"] == 1 else Side.SELL
    price, quantity = nearest(item["price"]), nearest(item["quantity"])
    return Trade(VENUE, symbol(frame["symbol"]), item.get("tradeId", ""), side, price, quantity, item["time"] * 10**6)


def candle(body: Json, frame: Json) -> Candle:
    return Candle(
        VENUE,
        symbol(frame["symbol"]),
        body["interval"],
        open_ns=body["windowStart"] * 10**9,
        open=nearest(body["openingPrice"]),
        high=nearest(body["highestPrice"]),
        low=nearest(body["lowestPrice"]),
        close=nearest(body["closingPrice"]),
        base_volume=nearest(body["volume"]),
        quote_volume=nearest(body["amount"]),
        is_closed=None,
        exchange_ns=sent(frame),
    )


def book(body: Json, frame: Json, channel: str, first: str, last: str, is_full: bool) -> BookUpdate:
    sides = levels(body.get("bids", [])), levels(body.get("asks", []))
    return BookUpdate(channel, symbol(frame["symbol"]), int(first), int(last), *sides, is_full, sent(frame))


def own_order(body: Json, frame: Json) -> OrderUpdate:
    """An order of the account. What the schema leaves out is not there; texts of 0 stand for nothing but where something is counted."""
    texts = {name: Decimal(body.get(name, "0")) for name in ("price", "quantity", "amount", "avgPrice", "cumulativeQuantity")}
    ended = {2: OrderStatus.FILLED, 4: OrderStatus.CANCELED, 5: OrderStatus.CANCELED}
    return OrderUpdate(
        VENUE,
        symbol(frame["symbol"]),
        body["id"],
        body.get("clientId"),
        {1: Side.BUY, 2: Side.SELL}[body["tradeType"]],
        ended.get(body.get("status", 0), OrderStatus.OPEN),
        price=texts["price"] if texts["price"] and body["orderType"] != 5 else None,
        amount=texts["quantity"] if texts["quantity"] else None,
        filled=texts["cumulativeQuantity"],
        exchange_ns=sent(frame),
        average_price=texts["avgPrice"] if texts["avgPrice"] else None,
        quote_amount=texts["amount"] if texts["amount"] and not texts["quantity"] else None,
        native_status=str(body.get("status", 0)),
    )


def own_deal(body: Json, frame: Json) -> Fill:
    """An execution of an order of the account."""
    return Fill(
        VENUE,
        symbol(frame["symbol"]),
        body["tradeId"],
        body["orderId"],
        {1: Side.BUY, 2: Side.SELL}[body["tradeType"]],
        Decimal(body["price"]),
        Decimal(body["quantity"]),
        fee=Decimal(body["feeAmount"]) if "feeAmount" in body else None,
        fee_currency=body.get("feeCurrency"),
        exchange_ns=body["time"] * 10**6,
        is_maker=bool(body.get("isMaker", False)),
        client_order_id=body.get("clientOrderId"),
    )


def own_balance(body: Json, frame: Json) -> BalanceUpdate:
    """What the account has of one currency; whole numbers of the smallest part are added, so that no digit is lost."""
    texts = [Fraction(body[name]) for name in ("balanceAmount", "frozenAmount")]
    whole = sum(texts) * 10**30
    assert whole.denominator == 1
    return BalanceUpdate(
        VENUE,
        body["vcoinName"],
        Decimal(f"{whole.numerator}E-30"),
        Decimal(body["balanceAmount"]),
        Decimal(body["frozenAmount"]),
        exchange_ns=sent(frame),
        reason=body["type"],
    )


Own = OrderUpdate | Fill | BalanceUpdate
OWN: dict[str, Callable[[Json, Json], Own]] = {
    "privateOrders": own_order,
    "privateDeals": own_deal,
    "privateAccount": own_balance,
}


def expected_private(frame: Json) -> list[Own]:
    """What a frame says to the owner of the account, read independently of the codec; of a public one nothing."""
    return [read(frame[name], frame) for name, read in OWN.items() if name in frame]


def expected(frame: Json) -> list[Message]:
    """What a frame says, read independently of the codec."""
    names = [name for name in frame if name in BODIES]
    if not names or names[0].startswith("private"):
        return []
    (name,), body = names, frame[names[0]]
    if name == "publicAggreDeals":
        return [trade(item, frame) for item in body["deals"]]
    if name == "publicAggreDepths":
        channel = "spot@public.aggre.depth.v3.api.pb"
        return [book(body, frame, channel, body["fromVersion"], body["toVersion"], False)]
    if name == "publicLimitDepths":
        return [book(body, frame, "spot@public.limit.depth.v3.api.pb", body["version"], body["version"], True)]
    if name == "publicAggreBookTicker":
        return [best(body, body.get("version"), frame)]
    if name == "publicBookTickerBatch":
        return [best(item, body.get("version"), frame) for item in body["items"]]
    if name == "publicSpotKline":
        return [candle(body, frame)]
    items = body["items"] if name == "publicMiniTickers" else [body]
    return [ticker(item, frame) for item in items]


def told(captures: Path, file: str) -> Iterator[Told]:
    for raw, frame in pushes(captures, file):
        yield Told(raw, expected(frame), any(name.startswith("public") for name in frame))


def floor(feed: OfflineFeed, update: BookUpdate) -> None:
    feed.snapshot(update.symbol, mexc_frames.rest_book(update.first_id - 1, [(1e-9, 1)], [(1e9, 1)]))


READING = Reading(VENUE, (*PUSHES, PRIVATE), told, floor)
