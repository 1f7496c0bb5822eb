"""What a feed keeps of what it has handled: memory over a long time, one subject, a million messages.

Trades with new ids and pushes of a book with rising ids come in turn, made in small numbers as they are needed. After each share of them
all garbage is collected, then two things are read: how many small blocks the interpreter has handed out (exact; an object is one of them
or a few), and how much memory of the process is resident (in pages, but everything is in it, blocks of more than 512 bytes too).

The slope is the median of the slopes between any two readings of the same stretch (Theil and Sen); its interval is that of bootstrap
resamples of the stretches. What is taken once, however much, is in one of them; what leaks is in all.

The subject's clock is counted. The counters of a histogram become objects as they pass 256, and which of them do would
depend on the machine.
"""

import gc
import os
import sys
from array import array
from collections.abc import Iterator, Sequence
from itertools import combinations, cycle, islice
from itertools import count as numbers
from pathlib import Path

from infrastructure.callbacks import Callback
from infrastructure.clock import Clock
from infrastructure.events import Architecture
from tests.harness import frames
from tests.harness.variants import Variant
from tests.performance.duet import Estimate, estimate, frozen
from tests.performance.figures import Figure, measured, path_of
from tests.performance.subject import Subject
from tests.performance.workload import PUBLIC, Snapshot, Workload

MESSAGES = 1_000_000
READINGS = 100
#: Messages before the first reading: what is bounded fills up, such as the ids of trades that a feed remembers.
WARM_UP = 10_000
STRETCHES = 10
#: Frames that exist at a time.
BATCH = 500
#: One object in a thousand messages, or less, is no leak; nor a byte for each.
LEAST_BLOCKS = 1 / 1000
LEAST_BYTES = 1.0

#: Ids have the same number of digits all along.
_FIRST_ID = 1_000_000_000
_LEVELS = 50
_STATM = Path("/proc/self/statm")

#: Nothing of it is made beforehand.
LONG = Workload(
    venue="gateio_spot",
    scope=PUBLIC,
    channel="trades and book updates",
    name="long",
    symbols=(frames.SYMBOL,),
    instruments=b"",
    opening=(
        Snapshot(
            frames.SYMBOL,
            frames.rest_book(_FIRST_ID, [(500 - n, 1) for n in range(_LEVELS)], [(501 + n, 1) for n in range(_LEVELS)]),
        ),
    ),
    frames=(),
)


def messages() -> Iterator[bytes]:
    """A trade, a change of the book's amounts at a price of each side, and so on without end."""
    first, last = str(_FIRST_ID + 1).encode(), str(_FIRST_ID + 2).encode()
    trade = frames.trade(_FIRST_ID + 1).replace(first, b"%d")
    sides = [([(500 - n, amount)], [(501 + n, amount)]) for amount in ("0.5", "1.5") for n in range(_LEVELS)]
    updates = [frames.update(_FIRST_ID + 1, _FIRST_ID + 2, *each).replace(first, b"%d").replace(last, b"%d") for each in sides]
    for number, update in zip(numbers(_FIRST_ID + 1, 2), cycle(updates), strict=False):
        yield trade % number
        yield update % (number, number + 1)


async def memory_slopes(messages: int = MESSAGES) -> tuple[list[Figure], list[str]]:
    """Blocks and bytes that stay behind of each message, in both architectures, and what was wrong: a leak is."""
    figures: list[Figure] = []
    failures: list[str] = []
    for architecture in Architecture:
        found, wrong = await memory_slope(Variant(architecture, False), messages)
        figures += found
        failures += wrong
    return figures, failures


async def memory_slope(variant: Variant, count: int, told: Callback | None = None) -> tuple[list[Figure], list[str]]:
    """The same of one variant; its events go to ``told`` if that is given."""
    subject = Subject(LONG, variant, clock=Clock(numbers(0, 1000).__next__, 0), told=told)
    await subject.prepare()
    source, step = messages(), count // READINGS
    # Of numbers that are no objects.
    blocks, resident = array("q", bytes(8 * (READINGS + 1))), array("q", bytes(8 * (READINGS + 1)))
    await _handle(subject, source, WARM_UP)
    with frozen():
        for reading in range(READINGS + 1):
            if reading:
                await _handle(subject, source, step)
            gc.collect()
            blocks[reading], resident[reading] = sys.getallocatedblocks(), resident_bytes()
    path = path_of(LONG, variant)
    found = {"blocks": (slope(blocks, step), LEAST_BLOCKS), "bytes": (slope(resident, step), LEAST_BYTES)}
    failures = subject.failures(WARM_UP + READINGS * step)
    failures += [
        f"{variant}: of each message {its.value:.3g} {name} stay behind, {its.low:.3g} to {its.high:.3g}"
        for name, (its, floor) in found.items()
        if its.low > floor
    ]
    return [measured(path, f"{name} a message", "", its) for name, (its, _) in found.items()], failures


async def _handle(subject: Subject, source: Iterator[bytes], count: int) -> None:
    take = subject.contestant
    for start in range(0, count, BATCH):
        pending = take(list(islice(source, min(BATCH, count - start))))
        if pending is not None:
            await pending
    await subject.drain()


def resident_bytes() -> int:
    """Of this process; 0 where the system does not tell."""
    return int(_STATM.read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE") if _STATM.exists() else 0


def slope(readings: Sequence[int], step: int, stretches: int = STRETCHES) -> Estimate:
    """What comes up for each message, with readings after every ``step`` of them.

    It is the median of the slopes between any two readings of a stretch, by bootstrap over the stretches.
    """
    size = (len(readings) - 1) // stretches
    parts = [readings[start : start + size + 1] for start in range(0, stretches * size, size)]
    return estimate([[(b - a) / ((j - i) * step) for (i, a), (j, b) in combinations(enumerate(part), 2)] for part in parts])
