"""What was lost between two reports, two revisions, or in the course of a history; "no difference" when nothing was.

    python -m tests.performance.regression_detection BEFORE AFTER
    python -m tests.performance.regression_detection --history FILE

Four things are looked at, each by itself:

- what was counted: the same number, or it has changed;
- ratios of duets, with their intervals: a loss if the nearer bound is beyond 3 %; of two revisions, three times out of three;
- memory slopes: a leak if more stays behind of each message than a bound, and more than before;
- the level of each figure over at least 30 records of the same machine: since which commit it is another.

Times of different runs are compared in a history only, where there are enough of them; of different machines never. Prints a sentence for
each finding and exits 1 if one of them is a loss.
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from tests.performance import figures
from tests.performance.changes import LEAST_RECORDS, WINDOWS, ChangePoint, candidates, significant
from tests.performance.duet import CONFIDENCE, NO_DIFFERENCE, Estimate
from tests.performance.figures import Figure, Report, by_key
from tests.performance.findings import EXACT, Finding, changed, is_worse
from tests.performance.pairs import Duel, Entry

#: A count that rises by more is a loss; any change of one is told.
EXACT_MARGIN = 0.01
#: A ratio whose nearer bound is beyond is a loss.
RATIO_MARGIN = 0.03
#: So often a ratio must be beyond, each time measured anew, before it is one.
TRIES = 3
#: One object in a thousand messages, or less, is no leak; nor a byte for each.
SLOPES = {"blocks a message": 1 / 1000, "bytes a message": 1.0}

_COUNTED = ("exact", "simulated", "hardware")


class DifferentMachines(ValueError):
    """Figures of different machines, or versions of what they run, were to be compared."""


def fingerprint(report: Report) -> str:
    """What must be equal for two reports to be compared."""
    return report.machine.get("fingerprint") or "; ".join(f"{name} {value}" for name, value in sorted(report.machine.items()))


def same_machine(reports: Iterable[Report]) -> None:
    """Raise DifferentMachines unless all were made on one."""
    seen = list(dict.fromkeys(map(fingerprint, reports)))
    if len(seen) > 1:
        raise DifferentMachines(f"records of {len(seen)} machines are not compared: {' / '.join(seen)}")


def compare_reports(before: Report, after: Report) -> list[Finding]:
    """All that two reports of one machine show, worst first. Times of one run against those of another show nothing, and are left out."""
    same_machine((before, after))
    found = compare_exact(before.figures, after.figures)
    found += compare_ratios(before.figures, after.figures)
    found += compare_slopes(before.figures, after.figures)
    return worst_first(found)


def compare_exact(before: Sequence[Figure], after: Sequence[Figure]) -> list[Finding]:
    """Every count that is another; one that is worse by more than 1 % is a loss. What only one of them has is not compared."""
    known, found = by_key(before), []
    for (path, name), figure in by_key(after).items():
        was = known.get((path, name))
        if was is None or {was.source, figure.source} - {*_COUNTED} or was.source != figure.source or was.value == figure.value:
            continue
        change = changed(was.value, figure.value)
        is_alarm = is_worse(name, was.value, figure.value) and (change is None or abs(change) > EXACT_MARGIN)
        found.append(Finding(path, name, was.value, figure.value, change, EXACT, is_alarm=is_alarm))
    return found


def compare_ratios(before: Sequence[Figure], after: Sequence[Figure]) -> list[Finding]:
    """Ratios of duets within each run, whose intervals lie more than 3 % apart."""
    known, found = by_key(before), []
    for (path, name), figure in by_key(after).items():
        was = known.get((path, name))
        if "ratio" not in name or was is None or None in (was.low, was.high, figure.low, figure.high):
            continue
        assert was.low and was.high and figure.low and figure.high
        least, most = figure.low / was.high, figure.high / was.low
        apart = Estimate(figure.value / was.value, least, most)
        if beyond(apart):
            sure = _interval(apart)
            change = changed(was.value, figure.value)
            is_alarm = is_worse(name, was.value, figure.value)
            found.append(Finding(path, name, was.value, figure.value, change, sure, is_alarm=is_alarm))
    return found


def compare_slopes(before: Sequence[Figure], after: Sequence[Figure]) -> list[Finding]:
    """Leaks: what surely stays behind of each message, more of it than a bound, and more than before."""
    known, found = by_key(before), []
    for (path, name), figure in by_key(after).items():
        if name not in SLOPES or figure.low is None or figure.high is None:
            continue
        was = known.get((path, name))
        had, most = (was.value, was.high or was.value) if was is not None else (0.0, 0.0)
        if figure.low > max(most, SLOPES[name]):
            sure = f"{CONFIDENCE:.0%} interval {figure.low:.4g} to {figure.high:.4g}"
            found.append(Finding(path, name, had, figure.value, changed(had, figure.value), sure, is_alarm=True))
    return found


def tried(measure: Callable[[Sequence[Entry]], Sequence[Duel]], wanted: Sequence[Entry]) -> dict[figures.Path, list[Duel]]:
    """Measure all of ``wanted``, then again those whose ratio is beyond 3 %, up to three times; returns what each try found."""
    found: dict[figures.Path, list[Duel]] = {entry.path: [] for entry in wanted}
    for _ in range(TRIES):
        for duel in measure(wanted):
            found[duel.path].append(duel)
        wanted = [entry for entry in wanted if beyond(found[entry.path][-1].ratio)]
        if not wanted:
            break
    return found


def beyond(ratio: Estimate) -> int:
    """Whether the nearer bound of B / A is beyond 3 %: 1 if B is the slower, -1 if it is the faster, 0 if it is not."""
    return (ratio.low > 1 + RATIO_MARGIN) - (ratio.high < 1 / (1 + RATIO_MARGIN))


def judge(tries: Mapping[figures.Path, Sequence[Duel]]) -> list[Finding]:
    """Of what ``tried`` found: losses, and gains, that every try has shown."""
    found = []
    for path, duels in tries.items():
        (side, *others) = {beyond(duel.ratio) for duel in duels}
        if len(duels) == TRIES and side and not others:
            duel = decisive(duels)
            sure = f"{_interval(duel.ratio)}, {TRIES} times out of {TRIES}"
            found.append(Finding(path, "time", duel.a_ns.value, duel.b_ns.value, duel.ratio.value - 1, sure, is_alarm=side > 0))
    return found


def decisive(duels: Sequence[Duel]) -> Duel:
    """The try that shows the least."""
    return min(duels, key=lambda duel: abs(duel.ratio.value - 1))


def _interval(ratio: Estimate) -> str:
    return f"{CONFIDENCE:.0%} interval {ratio.low - 1:+.1%} to {ratio.high - 1:+.1%}"


def change_points(records: Sequence[Report]) -> list[Finding]:
    """Since when the level of a figure is another, of every figure that at least 30 of these records of one machine have, oldest first."""
    same_machine(records)
    latest = records[-WINDOWS[-1] :]
    series: dict[tuple[figures.Path, str], list[tuple[float, Report]]] = {}
    for record in latest:
        for key, figure in by_key(record.figures).items():
            if figure.source == "measured" and figure.name not in SLOPES:
                series.setdefault(key, []).append((figure.value, record))
    enough = {key: values for key, values in series.items() if len(values) >= LEAST_RECORDS}
    points = {key: candidates([value for value, _ in values]) for key, values in enough.items()}
    return [_since(key, point, enough[key]) for key, point in significant(points)]


def _since(key: tuple[figures.Path, str], point: ChangePoint, series: Sequence[tuple[float, Report]]) -> Finding:
    (path, name), record = key, series[point.at][1]
    since = f"{record.commit} of {record.at}, record {point.at + 1} of {len(series)}"
    return Finding(
        path,
        name,
        point.before,
        point.after,
        point.effect,
        f"p = {point.p:.1g}",
        since=since,
        is_alarm=is_worse(name, point.before, point.after),
    )


def worst_first(found: Iterable[Finding]) -> list[Finding]:
    """Losses first, then by how much changed."""
    return sorted(found, key=lambda each: (not each.is_alarm, -abs(each.change or 0.0), each.path, each.figure))


def read_report(file: Path) -> Report:
    """A report that a benchmark wrote."""
    return msgspec.json.decode(file.read_bytes(), type=Report)


def read_history(file: Path) -> list[Report]:
    """Records of a machine, one a line, oldest first."""
    return [msgspec.json.decode(line, type=Report) for line in file.read_bytes().splitlines() if line.strip()]


def told(found: Sequence[Finding]) -> list[str]:
    """A sentence for each finding, or "no difference"."""
    return [f"{'LOSS' if finding.is_alarm else 'note'}: {finding}." for finding in found] or [NO_DIFFERENCE]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what was found; returns 1 if it is a loss, 2 if it cannot be compared."""
    parser = argparse.ArgumentParser(prog="python -m tests.performance.regression_detection", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("reports", nargs="*", type=Path, metavar="REPORT", help="two of them: before and after")
    parser.add_argument("--history", type=Path, metavar="FILE", help="records of one machine, one JSON object a line")
    options = parser.parse_args(arguments)
    if len(options.reports) not in (0, 2) or not (options.reports or options.history):
        parser.error("give two reports, or a history, or both")
    found: list[Finding] = []
    try:
        if options.reports:
            found += compare_reports(*map(read_report, options.reports))
        if options.history is not None:
            records = read_history(options.history)
            if len(records) < LEAST_RECORDS:
                print(f"{options.history}: {len(records)} records; a change of level is looked for from {LEAST_RECORDS} on")
            found += change_points(records)
    except (DifferentMachines, OSError, msgspec.DecodeError) as error:
        print(error, file=sys.stderr)
        return 2
    print("\n".join(told(worst_first(found))))
    return 1 if any(finding.is_alarm for finding in found) else 0


if __name__ == "__main__":
    sys.exit(main())
