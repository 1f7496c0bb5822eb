"""Every channel of every venue, from its simulated exchange: the same frames give the same events and the same state on every way."""

import asyncio
from functools import cache
from typing import Any

import pytest

from infrastructure.book import OrderBook
from infrastructure.events import MessageType
from infrastructure.exchanges import VENUES
from infrastructure.simulator import EXCHANGES
from infrastructure.simulator.launch import level_floats
from tests.harness.live import live, run, simulated, until
from tests.harness.stretch import Outcome, read, stretch
from tests.harness.variants import VARIANTS, Variant

CHANNELS = [(name, channel) for name, venue in VENUES.items() for channel in venue.channels]
OPTIONS = [(name, f"{channel}:{option}") for name, channel in CHANNELS for option in VENUES[name].options.get(channel, ())]


@cache
def outcome(venue: str, channel: str, variant: Variant, switch_every: int = 0) -> Outcome:
    """What a feed makes of the stretch of a channel."""
    return asyncio.run(read(stretch(venue, channel), venue, variant, switch_every))


def check(venue: str, channel: str, found: Outcome) -> None:
    """Hold what came of a channel against what the exchange sent."""
    made, name = stretch(venue, channel), channel.partition(":")[0]
    is_book = name in VENUES[venue].book_channels
    received, delivered, control, *others = found.frames
    assert received == delivered + control and others == [0, 0, 0]
    count = found.counts[VENUES[venue].channels[name].name.lower()]
    assert count > 40 and (is_book or count == made.told)
    assert found.counts["gap"] >= len(made.symbols) and "error" not in found.counts
    assert ("book_state" in found.counts) is is_book
    assert {symbol: (state, last_id, bids, asks) for symbol, (state, last_id, _, bids, asks) in found.books.items()} == {
        symbol: ("live", *book) for symbol, book in made.books.items()
    }


@pytest.mark.parametrize("switch_every", [0, 1, 4])
@pytest.mark.parametrize(("venue", "channel"), CHANNELS)
def test_the_same_frames_give_the_same_events_and_the_same_state(venue: str, channel: str, variant: Variant, switch_every: int) -> None:
    found = outcome(venue, channel, variant, switch_every)
    check(venue, channel, found)
    assert found == outcome(venue, channel, VARIANTS[0])


@pytest.mark.parametrize(("venue", "channel"), OPTIONS)
def test_so_it_is_with_every_option(venue: str, channel: str) -> None:
    first, *others = (outcome(venue, channel, variant, 3) for variant in VARIANTS)
    check(venue, channel, first)
    assert others == [first] * len(others)


@pytest.mark.parametrize("name", VENUES)
def test_all_channels_at_once_over_a_socket_with_switches_end_with_right_books(name: str, variant: Variant) -> None:
    venue, symbols = VENUES[name], EXCHANGES[name].symbols[:2]
    wanted = {(kind, symbol) for kind in venue.channels.values() for symbol in symbols if kind is not MessageType.ORDERBOOK}
    streams = {(channel, symbol) for channel in venue.book_channels for symbol in symbols}
    books: dict[tuple[str, str], OrderBook] = {}

    def on_orderbook(book: OrderBook) -> None:
        books[book.channel, book.symbol] = book

    async def main() -> None:
        asked: dict[str, Any] = {"venue": name, "symbols": symbols, "channels": list(venue.channels)}
        async with (
            simulated(*symbols, venue=name, rate=1000) as at,
            live(variant, at, callbacks={"on_orderbook": on_orderbook}, **asked) as (feed, seen),
        ):

            def is_whole() -> bool:
                feed.switch(feed.architecture.other)
                told = {(event.message_type, event.symbol) for event in seen.events}
                return wanted <= told and books.keys() == streams and all(book.is_live for book in books.values())

            await until(is_whole, what="every channel of every symbol")
            await at.pause()
            theirs = await at.books()
            await until(lambda: all(book.last_id == theirs[book.symbol]["id"] for book in books.values()), what="the last ids")
            for (channel, symbol), book in books.items():
                depth = venue.book_channels[channel].depths.get("")
                told = tuple(level_floats(theirs[symbol][side])[:depth] for side in ("bids", "asks"))
                assert (book.bids, book.asks) == told, channel
            assert feed.switches > 1 and seen.gaps == [] and seen.errors == []

    run(main())
