"""The detector's own test: losses that were planted must be found and named, and a version against itself must give no alarm.

    python -m tests.performance.detector_check [--quick] [--comparisons 100]

Six copies of ``infrastructure`` get one thing each in their direct path, see ``planted_regressions``. How much work makes 2 % more
instructions is found by counting, how much makes 5 % more time by a duet with far more of it. Then two equal copies are timed against one
another again and again, each time as an old revision would be. Exits 1 if one that was planted is missed, or if equal copies give more than
one alarm in a hundred comparisons.
"""

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from infrastructure.events import Architecture
from tests.harness.variants import Variant
from tests.performance.compare_revisions import leave
from tests.performance.counting import count
from tests.performance.duet import NO_DIFFERENCE
from tests.performance.exact import valgrind_missing
from tests.performance.figures import Figure
from tests.performance.findings import Finding
from tests.performance.pairs import PACKAGE, SRC, Duel, Entry, compare_sources, copy_package, entries
from tests.performance.planted_regressions import ALLOCATION, CALL, LEAK, LINEAR_SEARCH, Planted, work
from tests.performance.regression_detection import compare_exact, compare_slopes, judge, tried
from tests.performance.traces import LONG, Traces, located, slopes, what_grows
from tests.performance.workload import Workload
from tests.performance.workloads import many_symbols, public

COMPARISONS = 100
QUICK_COMPARISONS = 5
#: Of a hundred comparisons of a version with itself so many may give an alarm.
LET_PASS = 0.01
#: One comparison with itself: seconds of measuring, and how often both processes begin anew.
SHORT, FEW = 1.2, 6
#: To find 5 %, so that the nearer bound is beyond 3 %.
LONG_ENOUGH, MANY = 8.0, 12
INSTRUCTIONS, TIME = 0.02, 0.05
#: Work whose cost is to be found out, in items.
MUCH = 10
VERY_MUCH = 250

DIRECT = Variant(Architecture.DIRECT, False)
CHANNEL = ("gateio_spot", "spot.trades")
WIDTH = 140


class Result(NamedTuple):
    """What was planted, by which figures it has to be found, and what found it."""

    planted: Planted
    figures: Sequence[str]
    found: list[Finding]
    note: str = ""

    @property
    def by(self) -> Finding | None:
        """The finding that is right: a loss of such a figure, which names the function where that is known."""
        fitting = [each for each in self.found if each.is_alarm and each.figure in self.figures]
        return next((each for each in fitting if not each.where or self.planted.where in each.where), None)


class Bench:
    """A folder of copies, the workloads that they get, and what the one that was not changed costs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.plain = copy_package(SRC / PACKAGE, folder / "plain")
        self.workloads: list[Workload] = [public(*CHANNEL, LONG), many_symbols(*CHANNEL, LONG)]
        self.few, self.many = self.wanted = entries(self.workloads, [DIRECT])
        self.counts = self.count(self.plain)

    def count(self, source: Path) -> Traces:
        """With two symbols and with 500."""
        return count(source, self.workloads, self.wanted)

    def planted(self, planted: Planted) -> Path:
        """A folder with a copy that has it."""
        return planted.into(self.folder / planted.name.replace(" ", "-"))

    def counted(self, planted: Planted, figures: Sequence[str], note: str = "") -> Result:
        """By counts."""
        counts = self.count(self.planted(planted))
        found = located(compare_exact(self.counts.figures, counts.figures), self.counts.functions, counts.functions)
        return Result(planted, figures, found, note)

    def duets(self, source: Path, wanted: Sequence[Entry], seconds: float, processes: int) -> list[Duel]:
        """Of a copy against the one that was not changed."""
        duels, failures = compare_sources(self.plain, source, self.workloads, wanted, seconds=seconds, processes=processes)
        if failures:
            raise ValueError("; ".join(failures))
        return duels


def extra_instructions(bench: Bench) -> Result:
    """So much work that there are 2 % more instructions."""
    if missing := valgrind_missing():
        return Result(work("2 % more instructions", 0), ["instructions"], [], missing)
    before = _of(bench.counts.figures, bench.few, "instructions")
    much = _of(bench.count(bench.planted(work("much work", MUCH))).figures, bench.few, "instructions")
    length = max(1, round(INSTRUCTIONS * before / ((much - before) / MUCH)))
    return bench.counted(work("2 % more instructions", length), ["instructions"], f"{length} items")


def _of(figures: Sequence[Figure], entry: Entry, name: str) -> float:
    return next(figure.value for figure in figures if figure.path == entry.path and figure.name == name)


def extra_time(bench: Bench) -> Result:
    """So much work that it takes 5 % longer."""
    (much,) = bench.duets(bench.planted(work("very much work", VERY_MUCH)), [bench.few], LONG_ENOUGH / 2, FEW)
    length = max(1, round(TIME * VERY_MUCH / (much.ratio.value - 1)))
    planted = work("5 % more time", length)
    source = bench.planted(planted)
    tries = tried(lambda wanted: bench.duets(source, wanted, LONG_ENOUGH, MANY), [bench.few])
    seen = ", ".join(
        f"{duel.ratio.value - 1:+.1%} [{duel.ratio.low - 1:+.1%} {duel.ratio.high - 1:+.1%}]" for duel in tries[bench.few.path]
    )
    return Result(planted, ["time"], judge(tries), f"{length} items; {seen}")


def linear_search(bench: Bench) -> Result:
    """More symbols must make it dearer; with few it is cheap."""
    result = bench.counted(LINEAR_SEARCH, ["instructions", "bytecodes"])
    grown = [each for each in result.found if each.path == bench.many.path and _cost(result.found, bench.few, each) < _added(each) / 2]
    return result._replace(found=grown)


def _cost(found: Sequence[Finding], entry: Entry, of: Finding) -> float:
    return next((_added(each) for each in found if each.path == entry.path and each.figure == of.figure), 0.0)


def _added(finding: Finding) -> float:
    return finding.after - finding.before


def leak(bench: Bench) -> Result:
    """By the slope of the memory blocks; the line is that of which most objects come up."""
    source = bench.planted(LEAK)
    before, _ = slopes(bench.plain, bench.workloads, [bench.few])
    after, _ = slopes(source, bench.workloads, [bench.few])
    line = what_grows(source, bench.workloads, bench.few)
    found = [msgspec.structs.replace(each, where=line) for each in compare_slopes(before, after)]
    # A line of the file, not the name of a function.
    file = msgspec.structs.replace(LEAK, where=LEAK.file)
    return Result(file, ["blocks a message"], found)


def planted(bench: Bench) -> Iterator[Result]:
    """All six, one after the other."""
    yield bench.counted(CALL, ["python calls"])
    yield bench.counted(ALLOCATION, ["bytecodes"] if valgrind_missing() else ["allocations"], valgrind_missing() or "")
    yield extra_instructions(bench)
    yield extra_time(bench)
    yield linear_search(bench)
    yield leak(bench)


def with_itself(bench: Bench, comparisons: int) -> Iterator[list[Finding]]:
    """What each comparison of two equal copies finds; of counts and slopes first, then of times."""
    twin = copy_package(SRC / PACKAGE, bench.folder / "twin!")
    again = bench.count(twin)
    kept = [slopes(source, bench.workloads, [bench.few])[0] for source in (bench.plain, twin)]
    yield [*compare_exact(bench.counts.figures, again.figures), *compare_slopes(*kept)]
    for _ in range(comparisons):
        yield judge(tried(lambda wanted: bench.duets(twin, wanted, SHORT, FEW), [bench.few]))


def main(arguments: Sequence[str] | None = None) -> int:
    """Check, print, and return what the process exits with."""
    parser = argparse.ArgumentParser(prog="python -m tests.performance.detector_check", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_COMPARISONS} comparisons of a version with itself")
    parser.add_argument("--comparisons", type=int, help=f"so many instead of {COMPARISONS}")
    options = parser.parse_args(arguments)
    comparisons = options.comparisons if options.comparisons is not None else QUICK_COMPARISONS if options.quick else COMPARISONS
    signal.signal(signal.SIGTERM, leave)
    console = Console() if sys.stdout.isatty() else Console(width=WIDTH)
    with tempfile.TemporaryDirectory(prefix="tickrail-") as folder:
        bench = Bench(Path(folder).resolve())
        table = Table(title="Planted in the direct path", title_justify="left", title_style="bold", box=SIMPLE_HEAD, show_edge=False)
        for column in ("planted", "found", "by", "note"):
            table.add_column(column, overflow="fold")
        missed = 0
        for result in planted(bench):
            missed += result.by is None
            table.add_row(result.planted.name, "no" if result.by is None else "yes", str(result.by or ""), result.note)
        console.print(table)
        alarms, done, started = 0, 0, time.monotonic()
        for done, found in enumerate(with_itself(bench, comparisons)):
            alarms += bool(found)
            for finding in found:
                console.print(f"comparison {done}: {finding}")
    console.print(f"{done} comparisons of a version with itself in {time.monotonic() - started:.0f} s: {alarms or 'no'} alarms")
    if missed or alarms > max(1, LET_PASS * comparisons):
        return 1
    console.print(f"all planted losses were found; against itself: {NO_DIFFERENCE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
