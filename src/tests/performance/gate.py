"""The gate: what a message costs, counted, against the committed baseline.

    cd src && ../.venv/bin/python -m tests.performance.gate [--record]

A Python call, a C call or an allocation more of any message is a loss; of instructions and simulated misses, more than 1 %. A path that the
baseline does not have fails as well, until it is recorded. What is less is told, and fails nothing. ``--record`` writes what was counted as
the baseline: it is committed together with the change that it is for.

Where valgrind is missing, or where the baseline knows no interpreter like this one, instructions are not compared, and it is said; with
TICKRAIL_NO_SKIP it is a failure that valgrind is missing. Of the adapters, which add nothing of their own to instructions, calls and
allocations alone are counted. Calls and allocations are compared wherever Python and wheels have the baseline's
versions. What is not compared is recorded under ``.bench/``.
"""

import argparse
import os
import sys
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from tests.performance import baseline_metrics, exact
from tests.performance.baseline_metrics import (
    BASELINES,
    FOLDER,
    KINDS,
    Baseline,
    file_of,
    made_of,
    read_baseline,
    write_baseline,
)
from tests.performance.exact import Counts
from tests.performance.figures import by_key
from tests.performance.findings import Finding
from tests.performance.regression_detection import compare_exact, worst_first
from tests.performance.traces import located
from tests.performance.workload import STEADY
from tests.performance.workloads import MANY_SYMBOLS

#: Fewer misses than this in a message are too few to be compared by a share.
LEAST_MISSES = 1.0
GROWS = "with the number of symbols"


class Verdict(msgspec.Struct, frozen=True):
    """What the gate says of one kind of counts; ``notes`` are what was not compared, and why."""

    findings: list[Finding]
    notes: list[str]

    @property
    def alarms(self) -> list[Finding]:
        """Findings that fail it."""
        return [finding for finding in self.findings if finding.is_alarm]


def judge(kind: str, baseline: Baseline | None, counts: Counts) -> Verdict:
    """Hold counts of a kind against its baseline."""
    now = [figure for figure in counts.figures if figure.source in KINDS[kind]]
    if baseline is None:
        return Verdict([], [f"no baseline of {kind} for {baseline_metrics.key_of(kind)}: not compared"])
    before = baseline.figures(KINDS[kind][0])
    found = [_judged(kind, finding) for finding in compare_exact(before, now)]
    found = located(found, baseline.functions(), counts.functions)
    found = [msgspec.structs.replace(finding, since=f"the baseline of {baseline.commit}") for finding in _grown(found)]
    missing = sorted({path for path, _ in by_key(now)} - {path for path, _ in by_key(before)})
    found += [Finding(path, "a path without a baseline", 0, 1, None, "exact", is_alarm=True) for path in missing]
    return Verdict(worst_first(found), [])


def _judged(kind: str, finding: Finding) -> Finding:
    """Of calls and allocations any more is an alarm; of misses so few that one more is a large share, none is."""
    is_alarm = finding.is_loss if kind == "calls" else finding.is_alarm
    if "misses" in finding.figure and abs(finding.after - finding.before) < LEAST_MISSES:
        is_alarm = False
    return msgspec.structs.replace(finding, is_alarm=is_alarm)


def _grown(found: Sequence[Finding]) -> Iterator[Finding]:
    """Say of a loss that shows with many symbols and not with two that it grows with their number."""
    usual = {(finding.path, finding.figure): finding.after - finding.before for finding in found if finding.path.workload == STEADY}
    for finding in found:
        with_two = usual.get((msgspec.structs.replace(finding.path, workload=STEADY), finding.figure), 0)
        grows = finding.path.workload == MANY_SYMBOLS and finding.after - finding.before > 2 * with_two
        where = ", ".join(part for part in (finding.where, GROWS) if part) if grows else finding.where
        yield msgspec.structs.replace(finding, where=where)


def record(counts: Counts, kinds: Mapping[str, bool]) -> list[str]:
    """Write what was counted: into the project where ``kinds`` says so, else beside it."""
    written = []
    for kind, is_baseline in kinds.items():
        made = made_of(kind, counts.figures, counts.functions)
        if made.counts:
            file = file_of(kind, BASELINES if is_baseline else FOLDER / "baselines")
            write_baseline(made, file)
            written.append(str(file))
    return written


def main(arguments: Sequence[str] | None = None) -> int:
    """Count, compare or record, print, and return the exit status."""
    parser = argparse.ArgumentParser(description="Counts against the baseline: calls, allocations, instructions, misses.")
    parser.add_argument("--record", action="store_true", help="take what is counted now for the baseline")
    given = parser.parse_args(arguments)
    lacking = exact.valgrind_missing()
    if lacking is not None:
        print(f"instructions and misses are not counted: {lacking}")
        if os.environ.get("TICKRAIL_NO_SKIP"):
            return 1
    counts = exact.count(exact.every_workload(), simulated=exact.ARCHITECTURES if lacking is None else ())
    for failure in counts.failures:
        print(failure)
    if counts.failures:
        return 1
    if given.record:
        print("\n".join(record(counts, dict.fromkeys(KINDS, True))))
        return 0
    baselines = {kind: read_baseline(file_of(kind)) for kind in KINDS}
    return told(counts, {kind: judge(kind, baseline, counts) for kind, baseline in baselines.items()}, baselines)


def told(counts: Counts, verdicts: Mapping[str, Verdict], baselines: Mapping[str, Baseline | None]) -> int:
    """Print what was found; the exit status."""
    for verdict in verdicts.values():
        for line in (*verdict.notes, *map(str, verdict.findings)):
            print(line)
    unknown = record(counts, {kind: False for kind, baseline in baselines.items() if baseline is None})
    print("".join(f"recorded: {file}\n" for file in unknown), end="")
    alarms = sum(len(verdict.alarms) for verdict in verdicts.values())
    better = sum(not finding.is_loss for verdict in verdicts.values() for finding in verdict.findings)
    paths = len({figure.path for figure in counts.figures})
    print(f"{len(counts.figures):,} counts of {paths} paths: {alarms} losses" + (f", {better} better: --record them" if better else ""))
    return 1 if alarms else 0


if __name__ == "__main__":
    sys.exit(main())
