"""Runs a capture file through a feed. REST answers are given to the feed where they stand in time."""

from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec

from infrastructure.canonical import EventDigest
from infrastructure.capture import CaptureLine
from infrastructure.errors import SettingsError
from infrastructure.events import Architecture
from infrastructure.exchanges import VENUES
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


def venue_of(lines: list[CaptureLine]) -> str:
    """The venue whose WebSocket address the lines name, or SettingsError."""
    for line in lines:
        for venue in VENUES.values():
            if line.url and line.url.split("?")[0] == venue.websocket_url:
                return venue.name
    raise SettingsError(f"the capture does not say whose it is; name the venue, one of: {', '.join(VENUES)}")


async def replay(
    lines: list[CaptureLine], venue: str, architecture: Architecture, *, switch_every: int = 0, adapted: bool = False
) -> ReplaySummary:
    """Run all lines through one feed; every ``switch_every`` frames the architecture changes (0: never)."""
    digest = EventDigest()
    callbacks: dict[str, Any] = dict.fromkeys(CALLBACK_NAMES, digest.add)
    feed = offline_feed(venue, None, architecture, adapted=adapted, **callbacks)
    frames = 0
    for line in lines:
        if line.dir == "in":
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
    parts = urlsplit(url)
    names = parse_qs(parts.query).get(venue.snapshot_symbol_key)
    return venue.symbols.by_native[names[0]] if parts.path == venue.snapshot_path and names else None


def _books(feed: OfflineFeed) -> dict[str, BookSummary]:
    return {
        symbol: BookSummary(book.state.value, book.last_id, book.raw.bids, book.raw.asks) for symbol, book in sorted(feed.books.items())
    }
