"""Where recorded traffic is looked for, how its lines are read, and what a second reading of a venue's frames is."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from infrastructure.feed import OfflineFeed
from infrastructure.venue import BookUpdate, Message

ROOT = Path(__file__).resolve().parents[3]
CAPTURES = Path(os.environ.get("TICKRAIL_CAPTURES", ROOT.parent / "shared" / "captures"))


def lines(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of one capture file."""
    with path.open(encoding="utf-8") as file:
        for text in file:
            yield json.loads(text)


class Told(NamedTuple):
    """A received frame, and what it says by a reading that knows nothing of the codec; what is of no use there may be left out.

    ``is_public`` tells, by its text alone, that it is a push on a channel that needs no key.
    """

    raw: bytes
    messages: list[Message]
    is_public: bool


class Reading(NamedTuple):
    """How the captured frames of a venue are read a second time.

    ``told`` gives the frames of one of ``files``; ``floor`` gives a feed the book that an increment continues, whose levels are far off.
    """

    venue: str
    files: tuple[str, ...]
    told: Callable[[Path, str], Iterator[Told]]
    floor: Callable[[OfflineFeed, BookUpdate], object]
