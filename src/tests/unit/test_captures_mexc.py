"""Recorded and documented MEXC frames, held against what was written down beside them, and against a second writing of their bytes."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from infrastructure.events import BookTicker, Candle, Side, Ticker, Trade
from infrastructure.exchanges.mexc.spot import MEXC_SPOT
from infrastructure.feed import OfflineFeed
from infrastructure.venue import Acknowledgement, BookUpdate, Message, Pong, Unknown
from tests.harness.captures import lines
from tests.harness.frames import Seen
from tests.harness.mexc_frames import BODIES, encode
from tests.harness.receivers import drained
from tests.harness.variants import Variant

PUSHES = ("mexc_spot_frames", "mexc_spot_examples")
PRIVATE = "mexc_spot_private"
CONTROL = "mexc_spot_control"
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


@pytest.mark.parametrize("file", PUSHES)
def test_every_frame_decodes_to_the_values_beside_it(captures: Path, file: str) -> None:
    count = 0
    for raw, frame in pushes(captures, file):
        messages = [message for message in MEXC_SPOT.codec.decode(raw) if not isinstance(message, Unknown)]
        assert messages == expected(frame), frame
        count += 1
    assert count


def test_the_bytes_of_every_frame_are_those_of_a_second_writing(captures: Path) -> None:
    frames = [*pushes(captures), *pushes(captures, PRIVATE)]
    assert len(frames) > 20
    for raw, frame in frames:
        assert encode(frame) == raw, frame["channel"]


def test_the_captures_hold_every_public_channel(captures: Path) -> None:
    channels = Counter("@".join(frame["channel"].split("@")[:2]) for _, frame in pushes(captures) if set(frame) & set(BODIES))
    assert set(channels) == set(MEXC_SPOT.channels)


def test_frames_without_a_body_and_private_ones_say_nothing_and_raise_nothing(captures: Path) -> None:
    silent = [raw for raw, frame in [*pushes(captures), *pushes(captures, PRIVATE)] if not expected(frame)]
    assert len(silent) == 8
    assert {type(message) for raw in silent for message in MEXC_SPOT.codec.decode(raw)} == {Unknown}


def test_every_answer_is_read_as_what_it_is(captures: Path) -> None:
    seen = []
    for line in lines(captures / f"{CONTROL}.jsonl"):
        if line["dir"] == "in":
            (message,) = MEXC_SPOT.codec.decode(line["raw"].encode())
            assert MEXC_SPOT.codec.decode(line["raw"]) == [message]
            seen.append(message)
    agreed, pong, refused, key = seen
    assert agreed == Acknowledgement("", "", ("spot@public.aggre.bookTicker.v3.api.pb@10ms@BTCUSDT",))
    assert pong == Pong(None)
    words = "Not Subscribed successfully! [spot@public.miniTicker.v3.api@BTCUSDT@UTC+0].  Reason： Blocked!"
    assert refused == Acknowledgement("", "", ("spot@public.miniTicker.v3.api@BTCUSDT@UTC+0",), error=words)
    assert key == Acknowledgement("", "", error="Invalid listen key")


def test_every_variant_shows_the_values_beside_every_frame(captures: Path, variant: Variant) -> None:
    frames = [*pushes(captures), *pushes(captures, PRIVATE)]
    wanted = [message for _, frame in frames for message in expected(frame)]
    seen = Seen()

    async def show() -> OfflineFeed:
        feed = variant.feed(venue=VENUE, **seen.callbacks)
        for raw, _ in frames:
            feed.deliver(raw, 0)
            await feed.drain()
        await drained(feed)
        return feed

    accounting = asyncio.run(show()).accounting.frames
    assert [event for event in seen.events if isinstance(event, Trade | BookTicker | Ticker | Candle)] == [
        message for message in wanted if not isinstance(message, BookUpdate)
    ]
    assert (accounting.received, accounting.rejected, accounting.control) == (len(frames), 0, 8)
    # An older whole book than the last does not show; increments wait for a snapshot, which these captures do not have.
    last_id = 0
    shown = []
    for update in wanted:
        if isinstance(update, BookUpdate) and update.is_full and update.last_id > last_id:
            last_id = update.last_id
            shown.append((last_id, tuple(update.bids), tuple(update.asks)))
    assert seen.books == shown and shown


def test_every_variant_reads_the_answers(captures: Path, variant: Variant) -> None:
    seen = Seen()

    async def show() -> OfflineFeed:
        feed = variant.feed(venue=VENUE, **seen.callbacks)
        for line in lines(captures / f"{CONTROL}.jsonl"):
            if line["dir"] == "in":
                feed.deliver(line["raw"].encode(), 0)
        await drained(feed)
        return feed

    accounting = asyncio.run(show()).accounting.frames
    assert accounting.rejected == 0
    assert [error.text for error in seen.errors] == [
        "Not Subscribed successfully! [spot@public.miniTicker.v3.api@BTCUSDT@UTC+0].  Reason： Blocked!",
        "Invalid listen key",
    ]
