"""Two versions of ``infrastructure`` against one another, each in processes of its own: a duet whose contestants share no interpreter.

    A B | B A | A B | B A | ...      each letter is a block of frames that takes 100 to 200 us

The parent orders a block of one, then of the other, and never both at once; what passes between the processes is outside of what is
measured. Where a process happens to have its code and data biases it by a per cent or so for as long as it lives: both begin anew again
and again, and each two processes are one group of the bootstrap.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from statistics import median
from types import MappingProxyType, TracebackType
from typing import IO, TypeVar, cast

import msgspec

from tests.harness.captures import ROOT
from tests.harness.variants import Variant
from tests.performance import figures, workload
from tests.performance.duet import BLOCK_NS, LEAST_ROUNDS, NO_DIFFERENCE, WARM_UP_CALLS, Estimate, calls_taking, estimate
from tests.performance.figures import Figure, measured, path_of
from tests.performance.orders import Blocks, Open, Order, Round, State, Tell
from tests.performance.workload import Workload

T = TypeVar("T")

SRC = ROOT / "src"
PACKAGE = "infrastructure"
#: So often both processes begin anew. Fewer say nothing about their spread.
PROCESSES = 8
#: The name of the figure B / A.
RATIO = "ratio to base"


class ContestantFailed(Exception):
    """A contestant's process has ended; the text is what it said last."""


class Contestant(AbstractContextManager["Contestant"]):
    """A process with the ``infrastructure`` that lies in ``source``, and the workloads of a file. It ends with this process, or before.

    ``settings`` are added to its environment.
    """

    def __init__(self, source: Path, workloads: Path, settings: Mapping[str, str] = MappingProxyType({})) -> None:
        self._source = source
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  # closed in __exit__
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "tests.performance.contestant", str(source), str(workloads)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join((str(source), str(SRC))), **settings},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
        )
        self._orders, self._answers = cast(IO[bytes], self._process.stdin), cast(IO[bytes], self._process.stdout)

    def stay_on(self, cpu: int) -> None:
        """Run on this processor from now on."""
        os.sched_setaffinity(self._process.pid, {cpu})

    def ask(self, order: Order, answer: type[T]) -> T:
        """Have an order carried out."""
        try:
            self._orders.write(msgspec.json.encode(order) + b"\n")
            self._orders.flush()
            line = self._answers.readline()
        except BrokenPipeError:
            line = b""
        if not line:
            raise ContestantFailed(f"{self._source.name}: {self._last_words()}")
        return msgspec.json.decode(line, type=answer)

    def _last_words(self) -> str:
        self._process.wait()
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").split("\n")
        return next((line for line in reversed(lines) if line.strip()), f"ended with status {self._process.returncode}")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._orders, self._answers, self._said):
            try:
                pipe.close()
            except BrokenPipeError:
                pass  # An order that was never read.


class Duel(msgspec.Struct, frozen=True):
    """What two versions took for a frame of one path, and the ratio B / A. ``pairs`` of rounds, of so many ``processes`` each."""

    path: figures.Path
    a_ns: Estimate
    b_ns: Estimate
    ratio: Estimate
    pairs: int
    processes: int

    @property
    def verdict(self) -> str:
        """In words."""
        if self.ratio.contains(1.0):
            return NO_DIFFERENCE
        return "slower" if self.ratio.low > 1.0 else "faster"

    @property
    def figures(self) -> list[Figure]:
        """The time of B and its ratio to A."""
        return [measured(self.path, "time", "ns", self.b_ns), measured(self.path, RATIO, "", self.ratio)]


class Entry(msgspec.Struct, frozen=True):
    """A workload in a variant: what is timed on its own."""

    workload: int
    variant: str
    path: figures.Path


def entries(workloads: Sequence[Workload], variants: Sequence[Variant]) -> list[Entry]:
    """Every workload in every variant."""
    return [Entry(index, str(variant), path_of(made, variant)) for index, made in enumerate(workloads) for variant in variants]


def compare_sources(
    a: Path,
    b: Path,
    workloads: Sequence[Workload],
    wanted: Sequence[Entry],
    *,
    seconds: float,
    processes: int = PROCESSES,
) -> tuple[list[Duel], list[str]]:
    """Time the ``infrastructure`` in the folder ``b`` against that in ``a``, for ``seconds`` each entry.

    Also returned is what was wrong. The states that the frames leave behind should be equal; whether those of another revision may differ
    is for the reader to judge.
    """
    found: dict[Entry, list[list[tuple[float, float]]]] = {entry: [] for entry in wanted}
    failures: dict[str, None] = {}
    # What slows a processor, its neighbour or its clock, slows both sides if both are on it.
    cpus = sorted(os.sched_getaffinity(0))
    with written(workloads) as file:
        for number in range(processes):
            cpu = cpus[number % len(cpus)]
            # Both start at the same time, in turn the one and the other first.
            with ExitStack() as stack:
                sides = {source: stack.enter_context(Contestant(source, file)) for source in ((a, b) if number % 2 else (b, a))}
                for side in sides.values():
                    side.ask(Blocks(), int)  # Once it is up.
                    side.stay_on(cpu)
                for entry, groups in found.items():
                    pairs, wrong = _duet(sides[a], sides[b], entry, seconds / processes)
                    groups.append(pairs)
                    failures |= dict.fromkeys(f"{entry.path}: {failure}" for failure in wrong)
    return [_duel(entry.path, groups) for entry, groups in found.items()], list(failures)


@contextmanager
def written(workloads: Sequence[Workload]) -> Iterator[Path]:
    """A file of these workloads for contestants."""
    with tempfile.TemporaryDirectory(prefix="tickrail-") as folder:
        file = Path(folder) / "workloads"
        workload.write(file, list(workloads))
        yield file


def copy_package(package: Path, source: Path) -> Path:
    """Make ``source`` a folder that holds a copy of this ``infrastructure`` and nothing else; returns it."""
    shutil.copytree(package, source / PACKAGE, ignore=shutil.ignore_patterns("__pycache__"))
    return source.resolve()


def _duel(path: figures.Path, groups: Sequence[Sequence[tuple[float, float]]]) -> Duel:
    return Duel(
        path,
        estimate([[in_a for in_a, _ in group] for group in groups]),
        estimate([[in_b for _, in_b in group] for group in groups]),
        estimate([[in_b / in_a for in_a, in_b in group] for group in groups]),
        sum(map(len, groups)),
        len(groups),
    )


def _duet(
    a: Contestant, b: Contestant, entry: Entry, seconds: float, clock: Callable[[], float] = time.monotonic
) -> tuple[list[tuple[float, float]], list[str]]:
    """Of each pair of rounds what A and B took for a frame, in nanoseconds; and what was wrong.

    Both begin the workload anew whenever it comes to its end. The first run finds how many frames make a block, and warms up.
    """
    sides = (a, b)
    size, deadline = _size(sides, entry), clock() + seconds
    pairs: list[tuple[float, float]] = []
    while True:
        count = [side.ask(Open(entry.workload, entry.variant, size), int) for side in sides][0]
        taken: list[tuple[int, int]] = []
        for number in range(count // size):
            taken.append(_round(sides, number))
            if number > LEAST_ROUNDS // 2 and clock() > deadline:
                break
        warm = 2 * max(1, len(taken) // 20)
        both_orders = zip(taken[warm::2], taken[warm + 1 :: 2], strict=False)
        pairs += [((one[0] + other[0]) / (2 * size), (one[1] + other[1]) / (2 * size)) for one, other in both_orders]
        if clock() > deadline:
            return pairs, disagreements(*(side.ask(Tell(), State) for side in sides))


def _size(sides: tuple[Contestant, Contestant], entry: Entry) -> int:
    """So many frames that the blocks take 150 us on average."""
    size = 20
    count = [side.ask(Open(entry.workload, entry.variant, size), int) for side in sides][0]
    taken = [sum(_round(sides, number)) for number in range(min(count, max(WARM_UP_CALLS, count // 4)) // size)]
    return max(1, min(calls_taking(2 * BLOCK_NS, median(taken) / size), count // LEAST_ROUNDS))


def _round(sides: tuple[Contestant, Contestant], number: int) -> tuple[int, int]:
    order = Round(number)
    first, second = sides if number % 2 else (sides[1], sides[0])
    taken = {side: side.ask(order, int) for side in (first, second)}
    return taken[sides[0]], taken[sides[1]]


def disagreements(a: State, b: State) -> list[str]:
    """What is wrong with either, and how they differ in what they did."""
    found = [f"{name}: {failure}" for name, state in (("before", a), ("after", b)) for failure in state.failures]
    if a.events != b.events:
        found.append(f"another number of events: {a.events} before, {b.events} after")
    if a.digest != b.digest:
        found.append("another state than before")
    return found
