"""MEXC's recorded and documented frames, held against what was written down beside them."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

from infrastructure.events import BookTicker, Candle, Side, Ticker, Trade
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
