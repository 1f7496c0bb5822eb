"""Recorded traffic through both architectures, held against an independent reading of the same file."""

import asyncio
import random
from decimal import Decimal
from pathlib import Path

import pytest

from infrastructure.capture import read_capture
from infrastructure.errors import CaptureError, SettingsError
from infrastructure.events import Candle, Ticker, Trade
from infrastructure.replay import ReplaySummary, replay, venue_of
from tests.harness.captures import ROOT, lines
from tests.harness.frames import Seen
from tests.harness.independent_reading import Reading
from tests.harness.variants import VARIANTS, Variant, assert_accounts

EXAMPLE = ROOT / "examples" / "gateio_spot.jsonl"


def run(path: Path, variant: Variant, switch_every: int = 0) -> ReplaySummary:
    """Replay a file."""
    capture = read_capture(path)
    return asyncio.run(replay(capture, venue_of(capture), variant.architecture, switch_every=switch_every, adapted=variant.adapted))


def books(summary: ReplaySummary) -> dict[str, tuple[int | None, list[tuple[float, float]], list[tuple[float, float]]]]:
    """The books of a replay."""
    return {symbol: (book.last_id, book.bids, book.asks) for symbol, book in summary.books.items()}


@pytest.mark.parametrize("switch_every", [0, 1, 7])
def test_every_way_through_a_capture_gives_the_same_events_and_books(captures: Path, variant: Variant, switch_every: int) -> None:
    reference = run(captures / "gateio_spot.jsonl", VARIANTS[0])
    summary = run(captures / "gateio_spot.jsonl", variant, switch_every)
    assert summary.events_sha256 == reference.events_sha256
    assert summary.books == reference.books
    assert summary.accounting.is_balanced and summary.accounting.in_flight == 0
    assert summary.switches == ((summary.frames - 1) // switch_every if switch_every else 0)


def test_the_books_are_those_of_an_independent_reading(captures: Path, variant: Variant) -> None:
    reading = Reading(captures / "gateio_spot.jsonl")
    expected = {
        symbol: (last_id, sorted(bids.items(), reverse=True), sorted(asks.items()))
        for symbol, (last_id, bids, asks) in reading.books.items()
    }
    summary = run(captures / "gateio_spot.jsonl", variant)
    assert books(summary) == expected
    assert {book.state for book in summary.books.values()} == {"live"}


def test_trades_tickers_and_candles_are_those_of_an_independent_reading(captures: Path, variant: Variant) -> None:
    reading = Reading(captures / "gateio_spot.jsonl")
    seen = Seen()

    async def main() -> None:
        feed = variant.feed(**seen.callbacks)
        for line in lines(captures / "gateio_spot.jsonl"):
            if line["dir"] == "in":
                feed.deliver(line["raw"].encode())
        await feed.drain()
        assert_accounts(feed)

    asyncio.run(main())
    assert [(*row[:5], int(Decimal(row[5]) * 10**6)) for row in reading.trades] == [
        (e.symbol, e.trade_id, e.side, e.price, e.amount, e.exchange_ns) for e in seen.of(Trade)
    ]
    assert reading.tickers == [
        (e.symbol, e.last, e.bid_price, e.ask_price, e.high, e.low, e.base_volume, e.quote_volume, e.change_percent)
        for e in seen.of(Ticker)
    ]
    assert reading.candles == [
        (e.symbol, e.interval, e.open_ns // 10**9, e.open, e.high, e.low, e.close, e.quote_volume) for e in seen.of(Candle)
    ]


def test_the_shipped_example_replays_alike_with_random_switches(variant: Variant) -> None:
    reference = run(EXAMPLE, VARIANTS[0])
    assert reference.frames > 100 and {book.state for book in reference.books.values()} == {"live"}
    assert run(EXAMPLE, variant, random.Random(1).randrange(2, 9)).events_sha256 == reference.events_sha256


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ('{"dir":"in"}', 1, "neither raw nor hex"),
        ('{"dir":"in","raw":"{}"}\n{"dir":"up","raw":"{}"}', 2, "dir is 'up'"),
        ('{"dir":"in","raw":"{}"}\n\n{broken', 3, "JSON is malformed"),
        ('{"dir":"in","hex":"0g"}', 1, "non-hexadecimal"),
        ('{"dir":"in","raw":5}', 1, "Expected `str | null`"),
    ],
)
def test_a_bad_capture_line_is_named_by_its_place(tmp_path: Path, text: str, line: int, reason: str) -> None:
    path = tmp_path / "capture.jsonl"
    path.write_text(text)
    with pytest.raises(CaptureError) as caught:
        read_capture(path)
    assert caught.value.line == line
    assert reason in str(caught.value)


def test_a_capture_that_names_no_venue_must_be_told_one(tmp_path: Path) -> None:
    path = tmp_path / "capture.jsonl"
    path.write_text('{"dir":"in","raw":"{}"}')
    with pytest.raises(SettingsError, match="name the venue, one of: gateio_spot"):
        venue_of(read_capture(path))


def test_lines_are_replayed_in_the_order_of_their_times(tmp_path: Path) -> None:
    path = tmp_path / "capture.jsonl"
    path.write_text('{"t":2,"dir":"in","raw":"b"}\n{"t":1,"dir":"in","raw":"a"}\n')
    assert [line.raw for line in read_capture(path)] == ["a", "b"]
