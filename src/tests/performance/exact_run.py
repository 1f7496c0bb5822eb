"""The process whose every step is counted: ``exact.py`` starts it, under callgrind or plain, and reads what it writes.

    python -S -s -m tests.performance.exact_run KIND PROBE FOLDER JOBS AT_ONCE

It imports everything once and is then forked for each job: a workload in one variant. So no job finds a heap, or an interpreter, that
another has used, and what one costs does not depend on which others there are. A job opens the feed, takes frames until it is warm, and
then a window of n frames and one of 2n; what the second costs above the first is the cost of n frames, without what a window costs.
"""

import asyncio
import gc
import itertools
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, Literal

import msgspec

from infrastructure.clock import Clock
from infrastructure.events import Architecture
from tests.harness.variants import VARIANTS, Variant
from tests.performance import hardware
from tests.performance.probe import FunctionRow, Probe, load_from
from tests.performance.subject import Subject
from tests.performance.without_metrics import metrics_as
from tests.performance.workload import Workload, read

Kind = Literal["simulated", "allocations", "calls", "hardware"]

#: Frames that are queued before the lane's task runs, as one read of a socket brings them.
BLOCK = 10
#: More than the adaptive interpreter needs, and than 256, above which every increment of a counter makes an integer; each symbol's first
#: frame is among them.
LEAST_WARM_UP = 300
#: Taken as if they were counted already: callgrind has its translations made, and its caches hold what this way uses.
SETTLED = 20
#: A window has so many frames, the second twice as many.
WINDOW = 20

WARM_UP, SETTLE, ONCE, TWICE = "warm up", "settle", "n", "2n"
DIRECT = Variant(Architecture.DIRECT, False)
#: What no way can do without; counted beside the direct one where callgrind counts.
STAGES = ("decode", "apply", "emit")

Tally = dict[str, int]
#: What calls and allocates: (name, calls, allocations, bytes) of each function.
Row = tuple[str, int, int, int]
Blocks = Sequence[Sequence[bytes]]


class Window(msgspec.Struct, frozen=True):
    """What the frames of one window cost, all of it or of one stage; where callgrind counts, it is in the dump of this name."""

    name: str
    frames: int
    tally: Tally
    functions: list[Row]
    stage: str = ""

    @property
    def dump(self) -> str:
        """The name of callgrind's dump."""
        return f"{self.stage} {self.name}".strip()


class Job(msgspec.Struct, frozen=True):
    """A file with one workload, and the number of a variant.

    ``metrics`` says whether the path is to have them; None: the path as it is, whose code is not compiled anew.
    """

    workload: str
    variant: int
    metrics: bool | None = None


class Done(msgspec.Struct, frozen=True):
    """What a job found. ``process`` names callgrind's dumps."""

    process: int
    windows: list[Window]
    failures: list[str]


class CountedLoop(asyncio.SelectorEventLoop):
    """An event loop that reads no clock: each look at the time is a microsecond after the last."""

    def __init__(self) -> None:
        self._seconds = itertools.count(1.0, 1e-6)
        super().__init__()

    def time(self) -> float:
        return next(self._seconds)


def counted_clock() -> Clock:
    """Each look at it is a microsecond after the last."""
    return Clock(itertools.count(10**9, 1000).__next__, offset_ns=1_700_000_000 * 10**9)


def warm_up(workload: Workload) -> int:
    """So many frames come before anything is counted."""
    return max(LEAST_WARM_UP, len(workload.symbols))


def frames_needed(symbols: int = 0) -> int:
    """So many frames a workload of so many symbols must have."""
    return max(LEAST_WARM_UP, symbols) + SETTLED + 3 * WINDOW


class Counter:
    """Opens and closes windows, of one kind of counting."""

    def begin(self) -> None:
        """Warm-up is over."""

    def open(self) -> None:
        """Count from here."""
        raise NotImplementedError

    def close(self, name: str) -> tuple[Tally, list[Row]]:
        """To here."""
        raise NotImplementedError


class Simulated(Counter):
    """By callgrind, which writes its counts into files of its own."""

    def __init__(self, probe: Probe) -> None:
        self.begin = probe.start_instrumentation  # type: ignore[method-assign]  # nothing may be between
        self.open = probe.zero_stats  # type: ignore[method-assign]
        self._dump = probe.dump_stats

    def close(self, name: str) -> tuple[Tally, list[Row]]:
        self._dump(name)
        return {}, []


class Allocations(Counter):
    """By the counting allocators."""

    def __init__(self, probe: Probe) -> None:
        probe.install()
        self._probe = probe
        self.open = probe.start  # type: ignore[method-assign]

    def close(self, name: str) -> tuple[Tally, list[Row]]:
        allocations, size, _ = self._probe.stop()
        return {"allocations": allocations, "allocated bytes": size}, [named(row) for row in self._probe.functions()]


class Calls(Counter):
    """By the profile function."""

    def __init__(self, probe: Probe) -> None:
        self._probe = probe
        self.open = probe.start_profile  # type: ignore[method-assign]

    def close(self, name: str) -> tuple[Tally, list[Row]]:
        python, c = self._probe.stop_profile()
        return {"python calls": python, "c calls": c}, [named(row) for row in self._probe.functions()]


class Hardware(Counter):
    """By the processor's own counters."""

    def __init__(self) -> None:
        self._counters = hardware.Counters(hardware.PROCESSOR)
        self.open = self._counters.start  # type: ignore[method-assign]

    def close(self, name: str) -> tuple[Tally, list[Row]]:
        return self._counters.stop(), []


def named(row: FunctionRow) -> Row:
    """A function by file and qualified name, ``lane.Lane.deliver``; one of C by its module or type, ``list.append``."""
    owner, name, calls, allocations, size = row
    if isinstance(owner, CodeType):
        file = Path(owner.co_filename)
        home = file.parent.name if file.stem == "__init__" else file.stem
        return f"{home}.{owner.co_qualname}", calls, allocations, size
    home = owner.__name__ if isinstance(owner, type | ModuleType) else ""
    return f"{home}.{name}".lstrip(".") if name else "(no Python function)", calls, allocations, size


def counter(kind: Kind, probe: Probe) -> Counter:
    """What counts in this way."""
    if kind == "simulated":
        return Simulated(probe)
    if kind == "allocations":
        return Allocations(probe)
    return Calls(probe) if kind == "calls" else Hardware()


def blocks_of(frames: Sequence[bytes]) -> Blocks:
    """Blocks of ``BLOCK`` frames."""
    return [frames[start : start + BLOCK] for start in range(0, len(frames), BLOCK)]


def stretches(workload: Workload) -> list[tuple[str, Blocks]]:
    """The frames in blocks: to warm up, to settle, of the first window, of the second."""
    start, found = 0, []
    for name, count in [(WARM_UP, warm_up(workload)), (SETTLE, SETTLED), (ONCE, WINDOW), (TWICE, 2 * WINDOW)]:
        found.append((name, blocks_of(workload.frames[start : start + count])))
        start += count
    if start > len(workload.frames):
        raise ValueError(f"{workload.venue} {workload.title}: {len(workload.frames)} frames, {start} are needed")
    return found


class Way:
    """A feed that takes frames in one variant."""

    def __init__(self, workload: Workload, variant: Variant) -> None:
        self._subject = Subject(workload, variant, clock=counted_clock())
        self._taken = 0

    async def warm_up(self, blocks: Blocks) -> None:
        """Open the feed, and take these."""
        await self._subject.prepare()
        self._take = self._subject.contestant
        await self._take_all(blocks)

    async def count(self, count: Counter, name: str, blocks: Blocks) -> list[Window]:
        """What these cost."""
        count.open()
        await self._take_all(blocks)
        return [Window(name, sum(map(len, blocks)), *count.close(name))]

    async def _take_all(self, blocks: Blocks) -> None:
        for block in blocks:
            pending = self._take(block)
            if pending is not None:
                await pending
            self._taken += len(block)

    def failures(self) -> list[str]:
        """What was wrong with what was taken."""
        return self._subject.failures(self._taken)


class Staged:
    """A feed whose stages take the frames of a window one after the other: all are decoded, then all are applied, then all are emitted."""

    def __init__(self, workload: Workload) -> None:
        self._subject = Subject(workload, DIRECT, clock=counted_clock())

    async def warm_up(self, blocks: Blocks) -> None:
        """Open the feed, and take these."""
        subject = self._subject
        await subject.prepare()
        self._stages: list[Callable[[Any], Any]] = [subject.venue.codec.decode, subject.session.apply, subject.emit]
        for given in blocks:
            for stage in self._stages:
                given = [stage(item) for item in given]

    async def count(self, count: Counter, name: str, blocks: Blocks) -> list[Window]:
        """What these cost, of each stage."""
        given: Sequence[Any] = [frame for block in blocks for frame in block]
        windows = []
        for kind, stage in zip(STAGES, self._stages, strict=True):
            count.open()
            given = [stage(item) for item in given]
            windows.append(Window(name, len(given), *count.close(f"{kind} {name}"), stage=kind))
        return windows

    def failures(self) -> list[str]:
        """Every stage has raised what was wrong."""
        return []


async def count_ways(ways: Sequence[Way | Staged], workload: Workload, count: Counter) -> list[Window]:
    """All are warmed up before the first is counted: callgrind, which makes everything slow, does not observe that."""
    warm_up, *counted = stretches(workload)
    for way in ways:
        await way.warm_up(warm_up[1])
    count.begin()
    # In this order, so that each finds the interpreter as it has left it.
    return [window for way in reversed(ways) for name, blocks in counted for window in await way.count(count, name, blocks)]


def run_job(kind: Kind, probe: Probe, folder: Path, number: int) -> None:
    """Do one job, and write what it found."""
    job = msgspec.json.decode((folder / f"job-{number:04}").read_bytes(), type=Job)
    (workload,) = read(folder / job.workload)
    variant = VARIANTS[job.variant]
    loop = CountedLoop()
    with nullcontext() if job.metrics is None else metrics_as(counts=job.metrics):
        ways: list[Way | Staged] = [Way(workload, variant)]
        if kind == "simulated" and variant == DIRECT:
            ways.insert(0, Staged(workload))
        windows = loop.run_until_complete(count_ways(ways, workload, counter(kind, probe)))
    loop.close()
    failures = [failure for way in ways for failure in way.failures()]
    (folder / f"done-{number:04}").write_bytes(msgspec.json.encode(Done(os.getpid(), windows, failures)))


def _imported() -> list[str]:
    own = ("infrastructure", "tests")
    modules = [module for name, module in sys.modules.items() if name.partition(".")[0] in own]
    return sorted(file for module in modules if (file := getattr(module, "__file__", None)) is not None)


def main(kind: Kind, library: str, folder: str, jobs: str, at_once: str) -> None:
    """Fork for each job; does not return in the children. Of no jobs, print the files of the project that all need."""
    probe = load_from(Path(library))
    probe.die_with_parent()
    gc.disable()
    if not int(jobs):
        print(*_imported(), sep="\n")
    number = probe.fork_each(int(jobs), int(at_once))
    if number is None:
        return
    probe.die_with_parent()
    run_job(kind, probe, Path(folder), number)
    sys.stderr.flush()
    os._exit(0)  # Nothing of what was inherited is to be ended here. A job that fails ends as any program does: told, with status 1.


if __name__ == "__main__":
    main(*sys.argv[1:])  # type: ignore[arg-type]
