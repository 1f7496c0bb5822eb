"""Recorded and documented frames, read a second time with nothing but ``json``, ``float`` and ``Decimal``."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from infrastructure.events import BookTicker, Candle, Side, Ticker, Trade
from infrastructure.exchanges.gateio.spot import GATEIO_SPOT
from infrastructure.venue import Acknowledgement, BookUpdate, Message, Pong, Unknown
from tests.harness.captures import lines

FILES = ("gateio_spot", "gateio_recent", "gateio_spot_examples", "gateio_futures_examples")
VENUE = "gateio_spot"
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


READERS: dict[str, Callable[[Json, Json], Message]] = {
    "spot.trades": trade,
    "spot.book_ticker": book_ticker,
    "spot.tickers": ticker,
    "spot.candlesticks": candle,
    "spot.order_book_update": order_book_update,
    "spot.obu": obu,
    "spot.order_book": order_book,
}


def expected(frame: Json) -> Message:
    """What a frame says, read independently of the codec."""
    channel, event = frame.get("channel", ""), frame.get("event")
    if event in ("subscribe", "unsubscribe"):
        error = frame.get("error") or {}
        code = str(error["code"]) if error else None
        payload = tuple(str(item) for item in frame.get("payload") or ())
        return Acknowledgement(channel, event, payload, frame.get("id"), code, error.get("message"))
    if channel == "spot.pong":
        return Pong(sent_ns(frame))
    if channel in READERS and event in ("update", None):
        return READERS[channel](frame["result"], frame)
    return Unknown(channel, event or "")


@pytest.mark.parametrize("file", FILES)
def test_every_frame_decodes_to_the_values_in_its_text(captures: Path, file: str) -> None:
    count = 0
    for raw, frame in inbound(captures, file):
        assert GATEIO_SPOT.codec.decode(raw) == GATEIO_SPOT.codec.decode(raw.encode()) == (expected(frame),), raw
        count += 1
    assert count


def test_the_captures_hold_every_public_channel_and_every_kind_of_answer(captures: Path) -> None:
    seen = Counter(
        (type(message).__name__, getattr(message, "error", None) is not None)
        for raw, _ in inbound(captures)
        for message in GATEIO_SPOT.codec.decode(raw)
    )
    answers = [("Acknowledgement", False), ("Acknowledgement", True), ("Pong", False), ("Unknown", False)]
    assert set(seen) == {*((kind, False) for kind in ("Trade", "BookTicker", "Ticker", "Candle", "BookUpdate")), *answers}
    assert {frame.get("channel") for _, frame in inbound(captures)} >= set(READERS) == set(GATEIO_SPOT.channels)


def test_private_and_futures_frames_are_answers_or_unknown(captures: Path) -> None:
    others = [raw for raw, frame in inbound(captures) if frame.get("channel") not in READERS]
    decoded = {type(message) for raw in others for message in GATEIO_SPOT.codec.decode(raw)}
    assert others and decoded == {Acknowledgement, Unknown, Pong}


def test_refusals_carry_the_venues_own_words(captures: Path) -> None:
    refused = [(raw, frame["error"]) for raw, frame in inbound(captures) if frame.get("event") == "subscribe" and frame.get("error")]
    assert refused
    for raw, error in refused:
        (message,) = GATEIO_SPOT.codec.decode(raw)
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
        assert GATEIO_SPOT.codec.decode_snapshot(symbol(pair), line["raw"]) == update
