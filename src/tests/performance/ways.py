"""Every way of a workload against every other, and what of it is codec, session and callback: one contest.

What is left of a way beyond those three is its *indirection*: the lane, and for the strategy architecture its task, two coroutines and the
parsed message.
"""

import time
from collections.abc import Awaitable, Callable, Sequence
from operator import itemgetter
from typing import Any

from infrastructure.events import Architecture
from infrastructure.session import Emission
from infrastructure.venue import Message
from tests.harness.variants import VARIANTS, Variant
from tests.performance.duet import ClockNs, Columns, Part, contest, own_code
from tests.performance.figures import Figure, measured, path_of
from tests.performance.subject import Subject
from tests.performance.workload import Workload

STAGES = ("decode", "apply", "emit")
DIRECT = Variant(Architecture.DIRECT, False)


class Way:
    """A workload's frames through a lane, in one variant; whoever took all of them is held against the others."""

    def __init__(self, workload: Workload, variant: Variant, clock: ClockNs = time.perf_counter_ns) -> None:
        self.workload = workload
        self.variant = variant
        self._clock = clock
        self.last: Subject | None = None
        self.taken = 0

    async def open(self) -> Callable[[Sequence[bytes]], Awaitable[Sequence[int]]]:
        self.last, self.taken = subject, _ = Subject(self.workload, self.variant), 0
        await subject.prepare()
        contestant, clock = own_code(subject.contestant), self._clock

        async def take(block: Sequence[bytes]) -> Sequence[int]:
            started = clock()
            pending = contestant(block)
            if pending is not None:
                await pending
            ended = clock()
            self.taken += len(block)
            return (ended - started,)

        return take


class Stages:
    """The same frames through codec, session and callbacks, one after the other: what no way can do without."""

    def __init__(self, workload: Workload, clock: ClockNs = time.perf_counter_ns) -> None:
        self.workload = workload
        self._clock = clock

    async def open(self) -> Callable[[Sequence[bytes]], Awaitable[Sequence[int]]]:
        subject = Subject(self.workload, DIRECT)
        await subject.prepare()
        decode: Callable[[bytes], Sequence[Message]] = subject.venue.codec.decode
        apply: Callable[[Sequence[Message]], Sequence[Emission]] = subject.session.apply
        stages, clock = [_collecting(stage) for stage in (decode, apply, subject.emit)], self._clock

        async def take(block: Sequence[bytes]) -> Sequence[int]:
            times = []
            given: Sequence[Any] = block
            for stage in stages:
                started = clock()
                given = stage(given)
                times.append(clock() - started)
            return times

        return take


def _collecting(call: Callable[[Any], Any]) -> Callable[[Sequence[Any]], list[Any]]:
    """Keeps every result, as the next stage needs it."""

    def run(items: Sequence[Any]) -> list[Any]:
        do = call
        return [do(item) for item in items]

    return own_code(run)


async def compare_ways(workload: Workload, seconds: float) -> tuple[list[Figure], list[str]]:
    """Time, ratio to direct and indirection of each variant, and of the stages; and what was wrong."""
    ways = [Way(workload, variant) for variant in VARIANTS]
    timings = await contest([*ways, Stages(workload)], workload.frames, seconds=seconds)
    stages = slice(len(ways), None)
    figures: list[Figure] = []
    for index, way in enumerate(ways):
        own, path = itemgetter(index), path_of(workload, way.variant)

        def ratio(columns: Columns, own: Part = own) -> float:
            return own(columns) / columns[0]

        def indirection(columns: Columns, own: Part = own) -> float:
            return own(columns) - sum(columns[stages])

        figures.append(measured(path, "time", "ns", timings.of(own)))
        figures.append(measured(path, "ratio to direct", "", timings.of(ratio)))
        figures.append(measured(path, "indirection", "ns", timings.of(indirection)))
    path = path_of(workload, DIRECT)
    figures += [measured(path, stage, "ns", timings.of(itemgetter(len(ways) + index))) for index, stage in enumerate(STAGES)]
    return figures, disagreements(ways)


def disagreements(ways: Sequence[Way]) -> list[str]:
    """What the last run of each shows to be wrong: a frame without its outcome, or a state that differs from the first's."""
    subjects = [way.last for way in ways if way.last is not None]
    first, *_ = subjects
    found = [failure for way, subject in zip(ways, subjects, strict=True) for failure in subject.failures(way.taken)]
    found += [f"{subject.variant}: another number of events" for subject in subjects if subject.counted.events != first.counted.events]
    found += [f"{subject.variant}: another state than {first.variant}'s" for subject in subjects if subject.state() != first.state()]
    return [f"{first.workload.venue} {first.workload.title}: {failure}" for failure in found]
