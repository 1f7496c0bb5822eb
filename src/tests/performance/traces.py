"""What a version of ``infrastructure`` does for a message, as Python itself sees it: every call, every bytecode, and the blocks it keeps.

All of it is exact: the clock counts, hashes have no seed, garbage is not collected. And all of it has a function's name. A C compiler or
valgrind is not needed; what happens inside of C is not seen.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

from tests.performance import figures
from tests.performance.duet import WARM_UP_CALLS
from tests.performance.figures import Figure, counted, measured
from tests.performance.findings import Finding
from tests.performance.memory import slope
from tests.performance.orders import Blocks, Growth, Open, Round, State, Tell, Trace, Traced
from tests.performance.pairs import Contestant, Entry, written
from tests.performance.workload import Workload

#: So many frames are traced, after a warm-up.
WINDOW = 100
#: Blocks are read after so many frames each, in stretches of which each gives slopes.
STEP = 100
STRETCHES = 5
READINGS = 3
#: Frames before the first reading: what is bounded fills up, such as the ids of trades that a feed remembers.
FILLED = 1200
#: A workload for slopes has so many frames.
LONG = FILLED + STRETCHES * READINGS * STEP

Tally = Mapping[str, int]


class Traces(NamedTuple):
    """Figures of each path, and by function what each is made of."""

    figures: list[Figure]
    functions: dict[figures.Path, dict[str, dict[str, int]]]


def trace(source: Path, workloads: Sequence[Workload], wanted: Sequence[Entry]) -> Traces:
    """Python calls, C calls and bytecodes of each entry, by the ``infrastructure`` in the folder ``source``."""
    found: list[Figure] = []
    functions: dict[figures.Path, dict[str, dict[str, int]]] = {}
    with _contestant(source, workloads) as contestant:
        for entry in wanted:
            made = workloads[entry.workload]
            contestant.ask(Open(entry.workload, entry.variant, WINDOW, is_counted=True), int)
            warm = max(WARM_UP_CALLS, 2 * len(made.symbols)) // WINDOW
            for number in range(warm):
                contestant.ask(Round(number), int)
            traced = contestant.ask(Trace(warm), Traced)
            kinds = {"python calls": traced.python_calls, "c calls": traced.c_calls, "bytecodes": traced.bytecodes}
            found += [counted(entry.path, name, "", sum(by_name.values()), WINDOW) for name, by_name in kinds.items()]
            by_function = functions.setdefault(entry.path, {})
            for name, by_name in kinds.items():
                for function, number in by_name.items():
                    by_function.setdefault(function, {})[name] = number
    return Traces(found, functions)


def slopes(source: Path, workloads: Sequence[Workload], wanted: Sequence[Entry]) -> tuple[list[Figure], list[str]]:
    """The blocks that stay behind of each message of each entry, and what was wrong. The workloads need ``LONG`` frames."""
    found: list[Figure] = []
    failures: list[str] = []
    with _contestant(source, workloads) as contestant:
        for entry in wanted:
            contestant.ask(Open(entry.workload, entry.variant, STEP, is_counted=True), int)
            readings = []
            for number in range(LONG // STEP):
                contestant.ask(Round(number), int)
                if (number + 1) * STEP >= FILLED:
                    readings.append(contestant.ask(Blocks(), int))
            found.append(measured(entry.path, "blocks a message", "", slope(readings, STEP, STRETCHES)))
            failures += [f"{entry.path}: {failure}" for failure in contestant.ask(Tell(), State).failures]
    return found, failures


def what_grows(source: Path, workloads: Sequence[Workload], entry: Entry) -> str:
    """The line of ``infrastructure`` whose objects stay behind most."""
    with _contestant(source, workloads) as contestant:
        contestant.ask(Open(entry.workload, entry.variant, STEP, is_counted=True), int)
        return contestant.ask(Growth(FILLED // STEP, LONG // STEP), str)


@contextmanager
def _contestant(source: Path, workloads: Sequence[Workload]) -> Iterator[Contestant]:
    with written(workloads) as file, Contestant(source, file, {"PYTHONHASHSEED": "0"}) as contestant:
        yield contestant


#: By figure: what of a function's tally it is the sum of.
_PARTS = {"python calls": ("python calls", "calls"), "c calls": ("c calls", "calls"), "allocated bytes": ("bytes",)}

By = Mapping[figures.Path, Mapping[str, Tally]]


def located(found: Iterable[Finding], before: By, after: By) -> list[Finding]:
    """The findings, each with the functions whose counts of that figure changed in its direction, the most first.

    Where the figure is not counted by function, such as instructions, those that execute more or less bytecode.
    """
    return [msgspec.structs.replace(finding, where=finding.where or _where(finding, before, after)) for finding in found]


def _where(finding: Finding, before: By, after: By) -> str:
    was, now = before.get(finding.path, {}), after.get(finding.path, {})
    rises = 1 if finding.after > finding.before else -1

    def moved(parts: Sequence[str]) -> Callable[[str], int]:
        def of(function: str) -> int:
            old, new = was.get(function, {}), now.get(function, {})
            return rises * sum(new.get(part, 0) - old.get(part, 0) for part in parts)

        return of

    def by(change: Callable[[str], int]) -> list[str]:
        return sorted((name for name in sorted({*was, *now}) if change(name) > 0), key=lambda name: -change(name))

    named = by(moved(_PARTS.get(finding.figure, (finding.figure,))))
    for instead in ("bytecodes",), ("python calls", "calls"):
        if not named and finding.figure not in _PARTS:
            named = by(moved(instead))
    return ", ".join(named[:3])
