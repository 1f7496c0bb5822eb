"""The shipped captures: every way through one gives the same events, and at its end the books are those of the market it tells of."""

import asyncio
import json
from functools import cache

import pytest

from infrastructure.capture import CaptureLine, read_capture
from infrastructure.exchanges import VENUES
from infrastructure.replay import ReplaySummary, replay, venue_of
from infrastructure.simulator.launch import level_floats
from infrastructure.venue import Unknown
from tests.harness.captures import ROOT
from tests.harness.make_example import EXAMPLES, Example
from tests.harness.variants import VARIANTS, Variant

EACH_VENUE = pytest.mark.parametrize("venue", VENUES)


def shipped(venue: str) -> list[CaptureLine]:
    """The lines of the file."""
    return read_capture(ROOT / "examples" / f"{venue}.jsonl")


@cache
def made(venue: str) -> Example:
    """What its maker writes."""
    return EXAMPLES[venue]()


def run(venue: str, variant: Variant, switch_every: int = 0) -> ReplaySummary:
    """Replay the file."""
    lines = shipped(venue)
    return asyncio.run(replay(lines, venue_of(lines), variant.architecture, switch_every=switch_every, adapted=variant.adapted))


@EACH_VENUE
def test_the_file_is_what_its_maker_writes(venue: str) -> None:
    text = (ROOT / "examples" / f"{venue}.jsonl").read_text(encoding="utf-8")
    assert [json.loads(line) for line in text.splitlines()] == made(venue).lines


@EACH_VENUE
@pytest.mark.parametrize("switch_every", [0, 1, 7])
def test_every_way_through_it_gives_the_same_events_and_the_books_of_the_market(venue: str, variant: Variant, switch_every: int) -> None:
    summary, reference = run(venue, variant, switch_every), run(venue, VARIANTS[0])
    assert (summary.frames, summary.events, summary.events_sha256) == (reference.frames, reference.events, reference.events_sha256)
    assert summary.accounting.is_balanced and (summary.accounting.rejected, summary.accounting.in_flight) == (0, 0)
    expected = {symbol: ("live", market.update_id, *map(level_floats, market.levels())) for symbol, market in made(venue).markets.items()}
    assert {symbol: (book.state, book.last_id, book.bids, book.asks) for symbol, book in summary.books.items()} == expected


@EACH_VENUE
def test_it_holds_every_kind_of_data(venue: str) -> None:
    """And of books every stream but those of whole books, which would hide the others."""
    messages = [message for line in shipped(venue) if line.dir == "in" for message in VENUES[venue].codec.decode(line.frame)]
    kinds = {message.message_type for message in messages if not isinstance(message, Unknown)}
    assert kinds >= set(VENUES[venue].channels.values())
