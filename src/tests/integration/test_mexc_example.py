"""The shipped MEXC capture: every way through it gives the same events, and at its end the books are those of the market it tells of."""

import asyncio
import json

import pytest

from infrastructure.capture import read_capture
from infrastructure.exchanges.mexc.spot import MEXC_SPOT
from infrastructure.replay import ReplaySummary, replay, venue_of
from infrastructure.simulator.launch import level_floats
from infrastructure.venue import Unknown
from tests.harness.captures import ROOT
from tests.harness.make_example import binary_frames
from tests.harness.mexc_frames import DEPTH, LIMIT_DEPTH
from tests.harness.variants import VARIANTS, Variant

PATH = ROOT / "examples" / "mexc_spot.jsonl"


def run(variant: Variant, switch_every: int = 0) -> ReplaySummary:
    """Replay the file."""
    capture = read_capture(PATH)
    return asyncio.run(replay(capture, venue_of(capture), variant.architecture, switch_every=switch_every, adapted=variant.adapted))


def test_the_file_is_what_its_maker_writes() -> None:
    assert [json.loads(line) for line in PATH.read_text(encoding="utf-8").splitlines()] == binary_frames().lines


@pytest.mark.parametrize("switch_every", [0, 1, 7])
def test_every_way_through_it_gives_the_same_events_and_the_books_of_the_market(variant: Variant, switch_every: int) -> None:
    summary = run(variant, switch_every)
    assert summary.events_sha256 == run(VARIANTS[0]).events_sha256
    assert summary.accounting.is_balanced and summary.accounting.rejected == 0
    expected = {
        symbol: ("live", market.update_id, *map(level_floats, market.levels())) for symbol, market in binary_frames().markets.items()
    }
    assert {symbol: (book.state, book.last_id, book.bids, book.asks) for symbol, book in summary.books.items()} == expected


def test_it_holds_every_channel() -> None:
    kinds = {
        getattr(message, "channel", None) or message.message_type
        for line in read_capture(PATH)
        if line.dir == "in"
        for message in MEXC_SPOT.codec.decode(line.frame)
        if not isinstance(message, Unknown)
    }
    books = {DEPTH, LIMIT_DEPTH}
    assert kinds >= books | {kind for channel, kind in MEXC_SPOT.channels.items() if channel not in books}
