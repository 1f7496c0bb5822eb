"""What the gate makes of counts and a baseline, and what the baseline's files hold."""

from pathlib import Path

import msgspec
import pytest

from tests.performance import baseline_metrics, exact, gate
from tests.performance.baseline_metrics import NothingToKeep, append, keep, kept, made_of, read_baseline, write_baseline
from tests.performance.exact import Counts
from tests.performance.figures import Figure, Report, counted
from tests.performance.figures import Path as Of

PATH = Of("gateio_spot", "public", "spot.trades", "steady", "direct")
MANY = msgspec.structs.replace(PATH, workload="500 symbols")
SESSION = "session.Session.apply"


def counts(
    calls: int = 800, allocations: int = 2000, instructions: int = 1_000_000, d1: int = 4000, many: int = 800, **functions: int
) -> Counts:
    """Counts over 40 messages; ``functions`` are calls by function."""
    figures = [
        counted(PATH, "python calls", "", calls, 40),
        counted(PATH, "allocations", "", allocations, 40),
        counted(PATH, "instructions", "", instructions, 40, "simulated"),
        counted(PATH, "D1 misses", "", d1, 40, "simulated"),
        counted(MANY, "python calls", "", many, 40),
    ]
    tally = {SESSION: {"calls": 40, "allocations": 80, "bytes": 0}} | {
        name: {"calls": number, "allocations": 0, "bytes": 0} for name, number in functions.items()
    }
    return Counts(figures, {PATH: tally, MANY: tally}, [])


def judged(kind: str, now: Counts, before: Counts | None = None) -> gate.Verdict:
    was = before or counts()
    return gate.judge(kind, made_of(kind, was.figures, was.functions), now)


def test_the_same_counts_are_no_finding() -> None:
    assert judged("calls", counts()).findings == judged("instructions", counts()).findings == []


def test_one_call_more_is_an_alarm_and_names_the_function() -> None:
    (found,) = judged("calls", counts(calls=840, extra=40)).alarms
    assert (found.path, found.figure, found.before, found.after, found.where) == (PATH, "python calls", 20, 21, "extra")
    assert "exact" in str(found) and "baseline" in found.since


def test_one_call_less_is_told_and_no_alarm() -> None:
    verdict = judged("calls", counts(calls=760))
    assert verdict.alarms == [] and len(verdict.findings) == 1


def test_instructions_may_rise_by_one_per_cent_and_no_more() -> None:
    assert judged("instructions", counts(instructions=1_009_999)).alarms == []
    (found,) = judged("instructions", counts(instructions=1_020_000)).alarms
    assert found.change == pytest.approx(0.02)


def test_a_miss_more_of_a_few_is_no_alarm_and_many_are() -> None:
    few = counts(d1=40)
    assert judged("instructions", counts(d1=60), few).alarms == []
    assert len(judged("instructions", counts(d1=4800)).alarms) == 1


def test_what_shows_with_many_symbols_alone_is_said_to_grow_with_them() -> None:
    (found,) = judged("calls", counts(many=20_000)).alarms
    assert found.path == MANY and gate.GROWS in found.where
    both = judged("calls", counts(calls=840, many=840)).alarms
    assert len(both) == 2 and not any(gate.GROWS in found.where for found in both)


def test_a_path_without_a_baseline_fails_until_it_is_recorded() -> None:
    before = counts()
    (found,) = judged("calls", counts(), Counts([each for each in before.figures if each.path != MANY], before.functions, [])).alarms
    assert found.path == MANY


def test_unknown_versions_are_not_compared_and_it_is_said() -> None:
    verdict = gate.judge("instructions", None, counts())
    assert verdict.alarms == [] and "not compared" in verdict.notes[0]


def test_valgrind_is_not_missed_in_silence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(exact, "valgrind_missing", lambda: "valgrind is not installed")
    monkeypatch.setenv("TICKRAIL_NO_SKIP", "1")
    assert gate.main([]) == 1
    assert "valgrind is not installed" in capsys.readouterr().out


def test_a_baseline_is_the_same_after_its_file_with_a_line_for_each_path(tmp_path: Path) -> None:
    now = counts(extra=3)
    made = made_of("calls", now.figures, now.functions)
    write_baseline(made, tmp_path / "calls.json")
    assert read_baseline(tmp_path / "calls.json") == made
    assert read_baseline(tmp_path / "none.json") is None
    assert sum("spot.trades" in line for line in (tmp_path / "calls.json").read_text().splitlines()) == 2
    assert made.figures("exact") == [
        figure for figure in sorted(now.figures, key=lambda its: (its.path, its.name)) if figure.source == "exact"
    ]


def report(**changes: object) -> Report:
    figures = [Figure(msgspec.structs.replace(PATH, variant=variant), "time", "ns", 7.0, "measured") for variant in ("direct", "strategy")]
    return msgspec.structs.replace(Report(baseline_metrics.machine(), "abc", "now", figures), **changes)


def test_a_history_is_that_of_one_machine(tmp_path: Path) -> None:
    other = report(machine={**baseline_metrics.machine(), "fingerprint": "another"})
    first = append(report(), tmp_path)
    assert append(report(), tmp_path) == first != append(other, tmp_path)
    assert [msgspec.json.decode(line, type=Report) for line in first.read_bytes().splitlines()] == [report(), report()]


def test_the_strategys_figures_are_kept_once(tmp_path: Path) -> None:
    file = tmp_path / "strategy.json"
    with pytest.raises(NothingToKeep):
        keep(report(failures=["something"]), file)
    keep(report(), file)
    assert [figure.path.variant for figure in kept(file).figures] == ["strategy"]
    with pytest.raises(NothingToKeep, match="kept already"):
        keep(report(), file)
    assert kept(file).commit == "abc"
