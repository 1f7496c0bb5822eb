"""Runs a capture file through a feed. REST answers are given to the feed where they stand in time."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec

from infrastructure.canonical import EventDigest
from infrastructure.capture import CaptureLine
from infrastructure.errors import DecodeError, SettingsError
from infrastructure.events import Architecture
from infrastructure.exchanges import VENUES, venue_named
from infrastructure.feed import OfflineFeed, offline_feed
from infrastructure.metrics import FrameAccounting
from infrastructure.venue import Levels, Venue

#: The callbacks of a public feed.
CALLBACK_NAMES = (
    "on_orderbook",
    "on_trade",
    "on_book_ticker",
    "on_ticker",
    "on_candle",
    "on_liquidation",
    "on_gap",
    "on_book_state",
    "on_error",
)


class BookSummary(msgspec.Struct):
    """A book as it stands at the end, whatever its state; levels are (price, amount), best first."""

    state: str
    last_id: int | None
    bids: Levels
    asks: Levels


class ReplaySummary(msgspec.Struct):
    """What a replay ended with."""

    frames: int
    accounting: FrameAccounting
    events: dict[str, int]
    events_sha256: str
    switches: int
    books: dict[str, BookSummary]


def venue_of(lines: Iterable[CaptureLine], told: str | None = None) -> str:
    """The venue whose WebSocket address the lines name, or ``told``, where that is one of those or they name none.

    Raises SettingsError where it is not to be known, and UnknownVenue.
    """
    named = {_venue_at(line.url): None for line in lines}
    found = [name for name in named if name is not None]
    if told is not None:
        if found and venue_named(told).name not in found:
            raise SettingsError(f"the capture is not of {told}, but of {', '.join(found)}")
        return told
    if len(found) > 1:
        raise SettingsError(f"the capture is of several venues; name the one to replay: {', '.join(found)}")
    if not found:
        raise SettingsError(f"the capture does not say whose it is; name the venue, one of: {', '.join(VENUES)}")
    return found[0]


@lru_cache
def _venue_at(url: str) -> str | None:
    return _ADDRESSES.get(_address(url))


def _address(url: str) -> tuple[str | None, str]:
    """Where a URL leads: what stays of it when options, as of an account's stream, and ways to write it are taken off."""
    parts = urlsplit(url)
    return parts.hostname, parts.path.rstrip("/")


_ADDRESSES = {_address(venue.websocket_url): venue.name for venue in VENUES.values()}


async def replay(
    lines: list[CaptureLine], venue: str, architecture: Architecture, *, switch_every: int = 0, adapted: bool = False
) -> ReplaySummary:
    """Run the lines through one feed; every ``switch_every`` frames the architecture changes (0: never).

    Frames whose address is another venue's are left out: they are of no connection of this feed.
    """
    digest = EventDigest()
    callbacks: dict[str, Any] = dict.fromkeys(CALLBACK_NAMES, digest.add)
    feed = offline_feed(venue, None, architecture, adapted=adapted, **callbacks)
    frames = 0
    for line in lines:
        if line.dir == "in":
            if _venue_at(line.url) not in (None, venue):
                continue
            if switch_every and frames and frames % switch_every == 0:
                feed.switch(architecture.other if frames // switch_every % 2 else architecture)
            feed.deliver(line.frame, line.received_ns)
            frames += 1
        elif line.dir == "http":
            if urlsplit(line.url).path == feed.venue.instruments_path:
                feed.load_instruments(line.frame)
            elif (symbol := _snapshot_symbol(feed.venue, line.url)) is not None:
                feed.snapshot(symbol, line.frame, line.received_ns)
    await feed.drain()
    return ReplaySummary(frames, feed.accounting.frames, dict(sorted(digest.counts.items())), digest.sha256, feed.switches, _books(feed))


def _snapshot_symbol(venue: Venue, url: str) -> str | None:
    """Whose book a REST request asks for; None for any other request, and for a market that the instrument list does not have."""
    parts = urlsplit(url)
    names = parse_qs(parts.query).get(venue.snapshot_symbol_key)
    if not names or parts.path != venue.snapshot_path:
        return None
    try:
        return venue.symbols.by_native[names[0]]
    except DecodeError:
        return None


def _books(feed: OfflineFeed) -> dict[str, BookSummary]:
    return {
        symbol: BookSummary(book.state.value, book.last_id, book.raw.bids, book.raw.asks) for symbol, book in sorted(feed.books.items())
    }
