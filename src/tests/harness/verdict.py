"""What becomes of frames, so that variants can be compared: outcomes, events and books, without the architecture."""

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

from tests.harness.frames import Seen
from tests.harness.variants import VARIANTS, Variant, assert_accounts


class Verdict(NamedTuple):
    """What became of some frames."""

    rejected: dict[str, int]
    delivered: int
    control: int
    events: list[Any]
    books: list[Any]


async def verdict(variant: Variant, raws: Sequence[bytes], venue: str = "gateio_spot") -> Verdict:
    """What became of these frames in one variant, all received at one moment."""
    seen = Seen()
    feed = variant.feed(venue=venue, **seen.callbacks)
    for raw in raws:
        feed.deliver(raw, 1)
        await feed.drain()
    assert_accounts(feed)
    frames = feed.accounting.frames
    return Verdict(dict(frames.rejected_by_kind), frames.delivered, frames.control, seen.events, seen.books)


def agreed_verdict(*raws: bytes, venue: str = "gateio_spot") -> Verdict:
    """What became of these frames, which must be the same in all variants."""
    first, *others = (asyncio.run(verdict(variant, raws, venue)) for variant in VARIANTS)
    assert all(other == first for other in others), (first, others)
    return first
