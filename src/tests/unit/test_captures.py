"""Recorded and documented frames, read a second time with nothing but ``json``, ``float`` and ``Decimal``."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from msgspec.structs import replace

from infrastructure.events import BookState, BookTicker, Candle, ErrorEvent, Side, Ticker, Trade
from infrastructure.exchanges import VENUES
from infrastructure.venue import Acknowledgement, BookUpdate, Message, Pong, Unknown
from tests.harness import frames, futures_frames
from tests.harness.captures import lines
from tests.harness.frames import Seen
from tests.harness.variants import Variant, assert_accounts

FILES = ("gateio_spot", "gateio_recent", "gateio_spot_examples", "gateio_futures_examples")
VENUE, FUTURES = "gateio_spot", "gateio_futures"
Json = dict[str, Any]


def inbound(captures: Path, *files: str) -> Iterator[tuple[str, Json]]:
    """Each received frame, as text and as plain data."""
    for file in files or FILES:
        for line in lines(captures / f"{file}.jsonl"):
            if line["dir"] == "in":
                yield line["raw"], json.loads(line["raw"])


def sent_ns(frame: Json) -> int | None:
    if frame.get("time_ms"):
        return int(frame["time_ms"]) * 10**6
    return int(frame["time"]) * 10**9 if frame.get("time") else None


def number(text: str | None) -> float | None:
    return float(text) if text else None


def levels(pairs: list[list[str]]) -> list[tuple[float, float]]:
    return [(float(price), float(amount)) for price, amount in pairs]


def symbol(pair: str) -> str:
    base, quote = pair.split("_")
    return f"{base}/{quote}"


def contract(name: str) -> str:
    settled_in = {"USDT": "USDT", "USD": "BTC"}[name.split("_")[1]]
    return f"{symbol(name)}:{settled_in}"


def trade(result: Json, frame: Json) -> Trade:
    price, amount = float(result["price"]), float(result["amount"])
    ns = int(Decimal(result["create_time_ms"]) * 10**6)
    return Trade(VENUE, symbol(result["currency_pair"]), str(result["id"]), Side(result["side"]), price, amount, ns)


def book_ticker(result: Json, frame: Json) -> BookTicker:
    return BookTicker(
        VENUE,
        symbol(result["s"]),
        update_id=result["u"],
        bid_price=number(result["b"]),
        bid_amount=number(result["B"]),
        ask_price=number(result["a"]),
        ask_amount=number(result["A"]),
        exchange_ns=result["t"] * 10**6,
    )


def ticker(result: Json, frame: Json) -> Ticker:
    return Ticker(
        VENUE,
        symbol(result["currency_pair"]),
        last=number(result["last"]),
        bid_price=number(result["highest_bid"]),
        ask_price=number(result["lowest_ask"]),
        high=number(result["high_24h"]),
        low=number(result["low_24h"]),
        base_volume=number(result["base_volume"]),
        quote_volume=number(result["quote_volume"]),
        change_percent=number(result["change_percentage"]),
        exchange_ns=sent_ns(frame),
    )


def candle(result: Json, frame: Json) -> Candle:
    interval, pair = result["n"].split("_", 1)
    return Candle(
        VENUE,
        symbol(pair),
        interval,
        open_ns=int(result["t"]) * 10**9,
        open=float(result["o"]),
        high=float(result["h"]),
        low=float(result["l"]),
        close=float(result["c"]),
        base_volume=number(result.get("a")),
        quote_volume=number(result["v"]),
        is_closed=result.get("w"),
        exchange_ns=sent_ns(frame),
    )


def order_book_update(result: Json, frame: Json) -> BookUpdate:
    sides = levels(result["b"]), levels(result["a"])
    is_full = result.get("full", False)
    return BookUpdate(frame["channel"], symbol(result["s"]), result["U"], result["u"], *sides, is_full, result["t"] * 10**6)


def obu(result: Json, frame: Json) -> BookUpdate:
    sides = levels(result.get("b", [])), levels(result.get("a", []))
    first_id = int(result.get("U") or result["u"])
    name = symbol(result["s"].split(".")[1])
    return BookUpdate(frame["channel"], name, first_id, result["u"], *sides, result.get("full", False), result["t"] * 10**6)


def order_book(result: Json, frame: Json) -> BookUpdate:
    book_id = result["lastUpdateId"]
    sides = levels(result["bids"]), levels(result["asks"])
    return BookUpdate(frame["channel"], symbol(result["s"]), book_id, book_id, *sides, True, result["t"] * 10**6)


def futures_trade(result: Json, frame: Json) -> Trade:
    size, ms = Decimal(result["size"]), result.get("create_time_ms")
    return Trade(
        FUTURES,
        contract(result["contract"]),
        str(result["id"]),
        Side.SELL if size < 0 else Side.BUY,
        price=float(result["price"]),
        amount=float(abs(size)),
        exchange_ns=ms * 10**6 if ms else result["create_time"] * 10**9,
        is_internal=result.get("is_internal", False),
    )


def futures_book_ticker(result: Json, frame: Json) -> BookTicker:
    bid, bid_amount, ask, ask_amount = (number(str(result[name])) for name in "bBaA")
    ns = result["t"] * 10**6
    return BookTicker(FUTURES, contract(result["s"]), result["u"], bid, bid_amount, ask, ask_amount, ns)


def futures_ticker(result: Json, frame: Json) -> Ticker:
    following = result.get("funding_next_apply")
    return Ticker(
        FUTURES,
        contract(result["contract"]),
        last=number(result.get("last")),
        bid_price=None,
        ask_price=None,
        high=number(result.get("high_24h")),
        low=number(result.get("low_24h")),
        base_volume=number(result.get("volume_24h_base")),
        quote_volume=number(result.get("volume_24h_quote")),
        change_percent=number(result.get("change_percentage")),
        exchange_ns=result["t"] * 10**6 if "t" in result else sent_ns(frame),
        mark_price=number(result.get("mark_price")),
        index_price=number(result.get("index_price")),
        funding_rate=number(result.get("funding_rate")),
        next_funding_ns=following * 10**9 if following else None,
        open_interest=number(result.get("total_size")),
    )


def futures_candle(result: Json, frame: Json) -> Candle:
    interval, name = result["n"].split("_", 1)
    return Candle(
        FUTURES,
        contract(name),
        interval,
        open_ns=result["t"] * 10**9,
        open=float(result["o"]),
        high=float(result["h"]),
        low=float(result["l"]),
        close=float(result["c"]),
        base_volume=number(result.get("a")),
        quote_volume=None,
        is_closed=result.get("w"),
        exchange_ns=sent_ns(frame),
    )


def objects(levels: list[Json]) -> list[tuple[float, float]]:
    return [(float(level["p"]), float(level["s"])) for level in levels]


def futures_order_book_update(result: Json, frame: Json) -> BookUpdate:
    sides, ids = (objects(result["b"]), objects(result["a"])), (result["U"], result["u"])
    return BookUpdate(frame["channel"], contract(result["s"]), *ids, *sides, result.get("full", False), result["t"] * 10**6)


def futures_obu(result: Json, frame: Json) -> BookUpdate:
    update = obu(result, frame)
    return replace(update, symbol=contract(result["s"].split(".")[1]))


def futures_order_book(result: Json, frame: Json) -> BookUpdate:
    book_id, ns = result.get("id", 0), result["t"] * 10**6 if "t" in result else sent_ns(frame)
    sides = objects(result["bids"]), objects(result["asks"])
    return BookUpdate(frame["channel"], contract(result["contract"]), book_id, book_id, *sides, True, ns)


def futures_changes(results: list[Json], frame: Json) -> BookUpdate:
    """Of the captures: one contract a frame, signed whole sizes."""
    (name,) = {result["c"] for result in results}
    bids = [(float(result["p"]), float(result["s"] if result["s"] > 0 else 0)) for result in results]
    asks = [(float(result["p"]), float(-result["s"] if result["s"] < 0 else 0)) for result in results]
    return BookUpdate(frame["channel"], contract(name), results[0]["id"], results[-1]["id"], bids, asks, False, sent_ns(frame))


Read = Callable[[Any, Json], Message]
SPOT_READERS: dict[str, Read] = {
    "spot.trades": trade,
    "spot.book_ticker": book_ticker,
    "spot.tickers": ticker,
    "spot.candlesticks": candle,
    "spot.order_book_update": order_book_update,
    "spot.obu": obu,
    "spot.order_book": order_book,
}
FUTURES_READERS: dict[str, Read] = {
    "futures.trades": futures_trade,
    "futures.book_ticker": futures_book_ticker,
    "futures.tickers": futures_ticker,
    "futures.candlesticks": futures_candle,
    "futures.order_book_update": futures_order_book_update,
    "futures.obu": futures_obu,
    "futures.order_book": futures_order_book,
}
READERS = {VENUE: SPOT_READERS, FUTURES: FUTURES_READERS}
PREFIXES = {VENUE: "spot.", FUTURES: "futures."}


def flat(result: Any) -> list[Json]:
    """The objects of a result, however deep its lists are."""
    return [item for inner in result for item in flat(inner)] if isinstance(result, list) else [result]


def expected(frame: Json, venue: str) -> list[Message]:
    """What a frame says on a socket of ``venue``, read independently of the codec."""
    channel, event = frame.get("channel", ""), frame.get("event")
    if event in ("subscribe", "unsubscribe"):
        error = frame.get("error") or {}
        code = str(error["code"]) if error else None
        payload = tuple(str(item) for item in frame.get("payload") or ())
        return [Acknowledgement(channel, event, payload, frame.get("id"), code, error.get("message"))]
    if channel == PREFIXES[venue] + "pong":
        return [Pong(sent_ns(frame))]
    if channel in READERS[venue] and event in ("update", "all", None):
        if channel == "futures.order_book" and event == "update":
            return [futures_changes(frame["result"], frame)]
        return [READERS[venue][channel](result, frame) for result in flat(frame["result"])]
    return [Unknown(channel, event or "")]


EACH_VENUE = pytest.mark.parametrize("venue", READERS)


@EACH_VENUE
@pytest.mark.parametrize("file", FILES)
def test_every_frame_decodes_to_the_values_in_its_text(captures: Path, file: str, venue: str) -> None:
    count = 0
    for raw, frame in inbound(captures, file):
        decode = VENUES[venue].codec.decode
        assert list(decode(raw)) == list(decode(raw.encode())) == expected(frame, venue), raw
        count += 1
    assert count


@EACH_VENUE
def test_every_frame_of_a_public_channel_gives_the_same_in_every_variant(captures: Path, venue: str, variant: Variant) -> None:
    """What does not belong to a book is emitted as it stands in the text; books have a test of their own."""
    seen = Seen()
    told: list[Message] = []
    feed = variant.feed(venue=venue, **seen.callbacks)

    async def run() -> None:
        for raw, frame in inbound(captures):
            told.extend(expected(frame, venue))
            feed.deliver(raw, 7)
        await feed.drain()

    asyncio.run(run())
    assert_accounts(feed)
    data = [replace(message, received_ns=7) for message in told if isinstance(message, Trade | BookTicker | Ticker | Candle)]
    assert data and seen.of((Trade, BookTicker, Ticker, Candle)) == data
    assert [error.text for error in seen.of(ErrorEvent) if error.kind == "refused"] == [
        message.error for message in told if isinstance(message, Acknowledgement) and message.error
    ]
    assert feed.accounting.frames.rejected == 0


@EACH_VENUE
def test_every_frame_of_a_book_shows_its_levels_in_every_variant(captures: Path, venue: str, variant: Variant) -> None:
    """Each on a book of its own, which for an increment stands at the id before it."""
    shown = 0

    async def run() -> None:
        nonlocal shown
        for raw, frame in inbound(captures):
            for told in expected(frame, venue):
                if isinstance(told, BookUpdate):
                    shown += await show(raw, told)

    async def show(raw: str, told: BookUpdate) -> bool:
        changes: list[Any] = []
        feed = variant.feed(venue=venue, on_orderbook=lambda book: changes.append((book.last_id, book.changes.bids, book.changes.asks)))
        if not told.is_full:
            feed.deliver(FLOORS[told.channel](told.first_id - 1, native(told.symbol)))
        feed.deliver(raw)
        await feed.drain()
        assert_accounts(feed)
        bids, asks = ([price for price, amount in levels if amount] for levels in (told.bids, told.asks))
        if told.is_full and bids and asks and max(bids) >= min(asks):
            assert changes == []  # An example of the documentation is crossed: no such book is shown.
            return False
        assert changes[-1] == (told.last_id, told.bids, told.asks)
        assert (feed.books[told.symbol].state, feed.books[told.symbol].exchange_ns) == (BookState.LIVE, told.exchange_ns)
        return True

    asyncio.run(run())
    assert shown > 5


def native(symbol: str) -> str:
    return symbol.partition(":")[0].replace("/", "_")


#: By channel: a whole book at an id, whose bid and ask are far from any other.
FAR = [(1e-9, 1)], [(1e9, 1)]
FLOORS: dict[str, Callable[[int, str], bytes]] = {
    "spot.order_book_update": lambda last, pair: frames.update(last, last, *FAR, full=True, pair=pair),
    "spot.obu": lambda last, pair: frames.obu(None, last, *FAR, full=True, pair=pair),
    "futures.order_book_update": lambda last, pair: futures_frames.update(last, last, *FAR, full=True, pair=pair),
    "futures.obu": lambda last, pair: futures_frames.obu(None, last, *FAR, full=True, pair=pair),
    "futures.order_book": lambda last, pair: futures_frames.whole_book(last, *FAR, pair=pair),
}


@EACH_VENUE
def test_the_captures_hold_every_public_channel_and_every_kind_of_answer(captures: Path, venue: str) -> None:
    codec = VENUES[venue].codec
    seen = Counter(
        (type(message).__name__, getattr(message, "error", None) is not None)
        for raw, _ in inbound(captures)
        for message in codec.decode(raw)
    )
    # No capture holds a pong of the futures, nor a liquidation.
    answers = [("Acknowledgement", False), ("Acknowledgement", True), *([("Pong", False)] if venue == VENUE else []), ("Unknown", False)]
    assert set(seen) == {*((kind, False) for kind in ("Trade", "BookTicker", "Ticker", "Candle", "BookUpdate")), *answers}
    assert {frame.get("channel") for _, frame in inbound(captures)} >= set(READERS[venue])
    assert set(VENUES[venue].channels) - set(READERS[venue]) == ({"futures.public_liquidates"} if venue == FUTURES else set())


@EACH_VENUE
def test_private_frames_and_those_of_the_other_market_are_answers_or_unknown(captures: Path, venue: str) -> None:
    others = [raw for raw, frame in inbound(captures) if frame.get("channel") not in READERS[venue]]
    decoded = {type(message) for raw in others for message in VENUES[venue].codec.decode(raw)}
    assert others and decoded - {Pong} == {Acknowledgement, Unknown}


@EACH_VENUE
def test_refusals_carry_the_venues_own_words(captures: Path, venue: str) -> None:
    refused = [(raw, frame["error"]) for raw, frame in inbound(captures) if frame.get("event") == "subscribe" and frame.get("error")]
    assert refused
    for raw, error in refused:
        (message,) = VENUES[venue].codec.decode(raw)
        assert isinstance(message, Acknowledgement)
        assert (message.error_code, message.error) == (str(error["code"]), error["message"])


def test_every_rest_book_decodes_to_the_values_in_its_text(captures: Path) -> None:
    answers = [line for line in lines(captures / "gateio_spot.jsonl") if line["dir"] == "http" and "order_book" in line["url"]]
    assert answers
    for line in answers:
        pair = parse_qs(urlsplit(line["url"]).query)["currency_pair"][0]
        body = json.loads(line["raw"])
        sides = levels(body["bids"]), levels(body["asks"])
        ns = body["update"] * 10**6 if "update" in body else None
        update = BookUpdate("spot.order_book_update", symbol(pair), body["id"], body["id"], *sides, True, ns)
        assert VENUES[VENUE].codec.decode_snapshot(symbol(pair), line["raw"]) == update
