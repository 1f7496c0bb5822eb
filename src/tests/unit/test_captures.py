"""Every captured frame of every venue gives what a second reading of its text says, in every variant; none is left out."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from infrastructure.events import BookState, BookTicker, Candle, ErrorEvent, Ticker, Trade
from infrastructure.exchanges import VENUES
from infrastructure.venue import Acknowledgement, BookUpdate, Message, Unknown
from tests.harness import gateio_reading, mexc_reading
from tests.harness.captures import Reading, Told, lines
from tests.harness.frames import Seen
from tests.harness.variants import Variant, assert_accounts

READINGS = [gateio_reading.reading("gateio_spot"), gateio_reading.reading("gateio_futures"), mexc_reading.READING]
EACH_READING = pytest.mark.parametrize("reading", READINGS, ids=[reading.venue for reading in READINGS])
EACH_FILE = pytest.mark.parametrize(
    ("reading", "file"), [pytest.param(reading, file, id=f"{reading.venue}-{file}") for reading in READINGS for file in reading.files]
)
#: Answers to requests alone; they are read where the venue's own tests are.
CONTROL = "mexc_spot_control"
#: How many pushes on public channels there are, by venue and file.
PUBLIC = {
    ("gateio_spot", "gateio_spot"): 217,
    ("gateio_spot", "gateio_recent"): 4,
    ("gateio_spot", "gateio_spot_examples"): 13,
    ("gateio_futures", "gateio_recent"): 19,
    ("gateio_futures", "gateio_futures_examples"): 14,
    ("mexc_spot", "mexc_spot_frames"): 8,
    ("mexc_spot", "mexc_spot_examples"): 11,
}
Emitted = (Trade, BookTicker, Ticker, Candle)


def every(captures: Path, reading: Reading) -> list[Told]:
    """All frames of a reading."""
    return [told for file in reading.files for told in reading.told(captures, file)]


def known(messages: Sequence[Message]) -> list[Message]:
    """Those that say something."""
    return [message for message in messages if not isinstance(message, Unknown)]


@EACH_FILE
def test_every_frame_decodes_to_the_values_beside_it(captures: Path, reading: Reading, file: str) -> None:
    decode = VENUES[reading.venue].codec.decode
    frames = list(reading.told(captures, file))
    for raw, messages, _ in frames:
        assert known(decode(raw)) == known(messages), raw
    assert frames


@EACH_READING
def test_every_variant_shows_what_the_frames_say(captures: Path, reading: Reading, variant: Variant) -> None:
    """What does not belong to a book is emitted as it stands in the text; books have a test of their own."""
    seen = Seen()
    frames = every(captures, reading)
    feed = variant.feed(venue=reading.venue, **seen.callbacks)

    async def run() -> None:
        for raw, _, _ in frames:
            feed.deliver(raw, 7)
        await feed.drain()

    asyncio.run(run())
    assert_accounts(feed)
    told = [message for frame in frames for message in frame.messages]
    data = [replace(message, received_ns=7) for message in told if isinstance(message, Emitted)]
    assert data and seen.of(Emitted) == data
    assert [error.text for error in seen.of(ErrorEvent) if error.kind == "refused"] == [
        message.error for message in told if isinstance(message, Acknowledgement) and message.error
    ]
    accounting = feed.accounting.frames
    assert (accounting.received, accounting.rejected) == (len(frames), 0)


@EACH_READING
def test_every_variant_shows_the_levels_of_every_frame_of_a_book(captures: Path, reading: Reading, variant: Variant) -> None:
    """Each on a book of its own, which for an increment stands at the id before it."""
    updates = [(raw, told) for raw, messages, _ in every(captures, reading) for told in messages if isinstance(told, BookUpdate)]

    async def show(raw: bytes, told: BookUpdate) -> bool:
        changes: list[Any] = []
        feed = variant.feed(
            venue=reading.venue, on_orderbook=lambda book: changes.append((book.last_id, book.changes.bids, book.changes.asks))
        )
        if not told.is_full:
            reading.floor(feed, told)
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

    async def run() -> list[bool]:
        return [await show(raw, told) for raw, told in updates]

    shown = asyncio.run(run())
    assert sum(shown) > 4 and len(shown) - sum(shown) <= 2


def test_no_received_frame_of_any_file_is_left_out(captures: Path) -> None:
    read = {reading.venue: {file: {told.raw for told in reading.told(captures, file)} for file in reading.files} for reading in READINGS}
    files = {file for frames in read.values() for file in frames}
    assert {path.stem for path in captures.glob("*.jsonl")} == {*files, CONTROL}
    for file in files:
        received = [line for line in lines(captures / f"{file}.jsonl") if line.get("dir", "in") == "in"]
        raws = {line["raw"].encode() if "raw" in line else bytes.fromhex(line["hex"]) for line in received}
        assert raws and all(frames[file] == raws for frames in read.values() if file in frames)


def test_every_push_on_a_public_channel_says_something(captures: Path) -> None:
    counts: dict[tuple[str, str], int] = {}
    for reading in READINGS:
        for file in reading.files:
            for raw, messages, is_public in reading.told(captures, file):
                if is_public:
                    counts[reading.venue, file] = counts.get((reading.venue, file), 0) + 1
                    assert all(isinstance(message, (*Emitted, BookUpdate)) for message in messages), raw
                    assert messages, raw
    assert counts == PUBLIC
