"""Recorded traffic through both architectures, held against an independent reading of the same file."""

import asyncio
import json
from decimal import Decimal
from pathlib import Path

import pytest

from infrastructure.capture import CaptureLine, read_capture
from infrastructure.errors import CaptureError, SettingsError, UnknownVenue
from infrastructure.events import Candle, Ticker, Trade
from infrastructure.exchanges import VENUES
from infrastructure.replay import ReplaySummary, replay, venue_of
from tests.harness.captures import ROOT, lines
from tests.harness.frames import Seen
from tests.harness.independent_reading import Reading
from tests.harness.variants import VARIANTS, Variant, assert_accounts

EACH_VENUE = pytest.mark.parametrize("venue", VENUES)
#: Recorded and documented frames that do not say where they come from.
UNADDRESSED = [
    ("gateio_spot_examples", "gateio_spot"),
    ("gateio_futures_examples", "gateio_futures"),
    ("mexc_spot_examples", "mexc_spot"),
    ("mexc_spot_frames", "mexc_spot"),
    ("mexc_spot_control", "mexc_spot"),
    ("mexc_spot_private", "mexc_spot"),
]


def example(venue: str) -> Path:
    """The shipped capture of a venue."""
    return ROOT / "examples" / f"{venue}.jsonl"


def run(capture: Path | list[CaptureLine], variant: Variant, switch_every: int = 0, venue: str | None = None) -> ReplaySummary:
    """Replay a file, or lines."""
    told = read_capture(capture) if isinstance(capture, Path) else capture
    name = venue_of(told, venue)
    return asyncio.run(replay(told, name, variant.architecture, switch_every=switch_every, adapted=variant.adapted))


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


@pytest.mark.parametrize("switch_every", [0, 1])
@pytest.mark.parametrize(("name", "venue"), UNADDRESSED)
def test_frames_without_an_address_replay_alike_as_those_of_the_venue_that_is_named(
    captures: Path, name: str, venue: str, variant: Variant, switch_every: int
) -> None:
    lines = read_capture(captures / f"{name}.jsonl")
    with pytest.raises(SettingsError, match="does not say whose it is"):
        venue_of(lines)
    reference, summary = run(lines, VARIANTS[0], venue=venue), run(lines, variant, switch_every, venue)
    assert summary.frames == sum(line.dir == "in" for line in lines) > 3
    assert (summary.events, summary.events_sha256, summary.books) == (reference.events, reference.events_sha256, reference.books)
    assert summary.accounting.is_balanced and (summary.accounting.in_flight, summary.accounting.rejected) == (0, 0)


@EACH_VENUE
@pytest.mark.parametrize("end", ["{url}", "{bare}", "{bare}/", "{bare}?listenKey=abc", "{bare}/?a=1&b=2", "{upper}"])
def test_a_venues_address_is_known_in_every_way_that_it_is_written(venue: str, end: str) -> None:
    url = VENUES[venue].websocket_url
    scheme, host, path = url.rstrip("/").partition(url.split("/")[2])
    assert venue_of([CaptureLine(raw="{}", url=end.format(url=url, bare=url.rstrip("/"), upper=scheme + host.upper() + path))]) == venue


def test_another_address_is_no_venues() -> None:
    for url in (
        "",
        "ws",
        "wss://api.gateio.ws/ws/v4/more",
        "wss://fx-ws.gateio.ws/v4/ws/btc",
        "wss://example.com/ws",
        "https://api.mexc.com",
    ):
        with pytest.raises(SettingsError, match="does not say whose it is"):
            venue_of([CaptureLine(raw="{}", url=url)])


def test_a_capture_of_several_venues_needs_to_be_told_one_whose_frames_alone_are_replayed(variant: Variant) -> None:
    several = sorted((line for venue in VENUES for line in read_capture(example(venue))), key=lambda line: line.t or 0.0)
    with pytest.raises(SettingsError, match="of several venues; name the one to replay: (gateio_spot|gateio_futures|mexc_spot), "):
        venue_of(several)
    for venue in VENUES:
        alone, among = run(example(venue), VARIANTS[0]), run(several, variant, 3, venue)
        assert (among.frames, among.events_sha256, among.books) == (alone.frames, alone.events_sha256, alone.books)


def test_a_capture_is_not_replayed_as_that_of_a_venue_that_it_does_not_name() -> None:
    with pytest.raises(SettingsError, match="not of mexc_spot, but of gateio_spot"):
        venue_of(read_capture(example("gateio_spot")), "mexc_spot")
    with pytest.raises(UnknownVenue):
        venue_of(read_capture(example("gateio_spot")), "gateio")


@EACH_VENUE
def test_names_are_those_of_the_notation_where_the_capture_has_no_instrument_list(venue: str, variant: Variant) -> None:
    listed = read_capture(example(venue))
    without = [line for line in listed if VENUES[venue].instruments_path not in line.url]
    assert run(without, variant).events_sha256 == run(listed, VARIANTS[0]).events_sha256


def test_a_book_of_a_market_that_is_not_listed_is_nobodys(variant: Variant) -> None:
    lines = read_capture(example("mexc_spot"))
    other = CaptureLine(raw="{}", t=lines[-1].t, dir="http", url="https://api.mexc.com/api/v3/depth?symbol=NOBODY&limit=1000")
    assert run([*lines, other], variant).events_sha256 == run(lines, variant).events_sha256


def test_sizes_of_a_futures_book_are_the_contracts_that_the_venue_sent(variant: Variant) -> None:
    lines = read_capture(example("gateio_futures"))
    sent = {level["s"] for line in lines if line.dir == "http" and "order_book" in line.url for level in json.loads(line.frame)["bids"]}
    book = run([line for line in lines if line.dir == "http"], variant, venue="gateio_futures").books["BTC/USDT:USDT"]
    assert book.bids and {amount for _, amount in book.bids} == set(map(float, sent))


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ('{"dir":"in"}', 1, "neither raw nor hex"),
        ('{"dir":"in","raw":"{}"}\n{"dir":"up","raw":"{}"}', 2, "dir is 'up'"),
        ('{"dir":"in","raw":"{}"}\n\n{broken', 3, "JSON is malformed"),
        ('{"dir":"in","hex":"0g"}', 1, "non-hexadecimal"),
        ('{"dir":"in","raw":5}', 1, "Expected `str | null`"),
        ('{"dir":"in","raw":"{}","url":"wss://[::1/ws"}', 1, "Invalid IPv6 URL"),
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
