"""What is a loss, what is a note and what is no difference; nothing here is measured."""

import random
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from tests.performance.duet import Estimate, estimate
from tests.performance.figures import Figure, Report, Source, counted, measured
from tests.performance.figures import Path as Of
from tests.performance.pairs import Duel, Entry
from tests.performance.regression_detection import (
    DifferentMachines,
    change_points,
    compare_exact,
    compare_ratios,
    compare_reports,
    compare_slopes,
    judge,
    main,
    told,
    tried,
)
from tests.performance.traces import located

DIRECT = Of("gateio_spot", "public", "spot.trades", "steady", "direct")
STRATEGY = msgspec.structs.replace(DIRECT, variant="strategy")
MACHINE = {"cpu": "one", "python": "3.11"}


def report(*figures: Figure, commit: str = "abc1234", machine: dict[str, str] = MACHINE) -> Report:
    return Report(machine, commit, "2026-01-01T00:00:00Z", list(figures))


def of(total: int, name: str = "instructions", source: Source = "simulated") -> Figure:
    return counted(DIRECT, name, "", total, 100, source)


def ratio(value: float, spread: float = 0.01, name: str = "ratio to direct") -> Figure:
    return measured(STRATEGY, name, "", Estimate(value, value - spread, value + spread))


# Counts


@pytest.mark.parametrize(("total", "is_alarm"), [(10_100, False), (10_101, True), (9_000, False), (10_001, False)])
def test_any_count_that_changed_is_told_and_more_than_one_percent_more_is_a_loss(total: int, is_alarm: bool) -> None:
    (found,) = compare_exact([of(10_000)], [of(total)])
    assert found.is_alarm is is_alarm
    assert found.sure == "exact"
    assert found.is_loss is (total > 10_000)


def test_the_same_counts_are_no_difference() -> None:
    assert told(compare_reports(report(of(10_000)), report(of(10_000)))) == ["no difference"]


def test_counts_of_another_source_or_of_one_report_alone_are_not_compared() -> None:
    assert compare_exact([of(10_000)], [of(20_000, source="hardware")]) == []
    assert compare_exact([], [of(20_000)]) == []


def test_something_where_there_was_nothing_is_a_loss() -> None:
    (found,) = compare_exact([of(0, "python calls", "exact")], [of(1, "python calls", "exact")])
    assert found.is_alarm
    assert found.change is None


def test_a_finding_is_a_sentence_that_names_path_figure_amount_certainty_and_place() -> None:
    (found,) = located(
        compare_exact([of(10_000, "allocations", "exact")], [of(10_200, "allocations", "exact")]),
        {DIRECT: {"lane.Lane.deliver": {"allocations": 5}, "book.gone": {"allocations": 9}}},
        {DIRECT: {"lane.Lane.deliver": {"allocations": 207}, "venue.new": {"allocations": 3}}},
    )
    assert told([found]) == [
        "LOSS: direct, gateio_spot spot.trades, steady: allocations worse, 100 to 102 (+2.00%), exact, in lane.Lane.deliver, venue.new."
    ]


def test_what_is_not_counted_by_function_is_named_by_the_bytecode_that_was_added() -> None:
    (found,) = located(
        compare_exact([of(10_000)], [of(11_000)]),
        {DIRECT: {"lane.Lane.deliver": {"bytecodes": 50}, "book.same": {"bytecodes": 9}}},
        {DIRECT: {"lane.Lane.deliver": {"bytecodes": 54}, "book.same": {"bytecodes": 9}}},
    )
    assert found.where == "lane.Lane.deliver"


# Ratios


@pytest.mark.parametrize(
    ("after", "verdict"), [(2.0, None), (2.07, None), (2.2, "loss"), (1.8, "gain")], ids=["same", "within 3 %", "loss", "gain"]
)
def test_ratios_of_two_runs_differ_if_their_intervals_lie_apart(after: float, verdict: str | None) -> None:
    found = compare_ratios([ratio(2.0)], [ratio(after)])
    assert [("loss" if each.is_loss else "gain") for each in found] == ([] if verdict is None else [verdict])
    assert [each.is_alarm for each in found] == [each.is_loss for each in found]


def test_less_throughput_is_a_loss() -> None:
    name = "throughput ratio to direct"
    (found,) = compare_ratios([ratio(0.9, name=name)], [ratio(0.8, name=name)])
    assert found.is_alarm
    assert not compare_ratios([ratio(0.8, name=name)], [ratio(0.9, name=name)])[0].is_alarm


def test_times_of_two_runs_are_not_compared() -> None:
    slow = measured(DIRECT, "time", "ns", Estimate(9000, 8900, 9100))
    fast = measured(DIRECT, "time", "ns", Estimate(1000, 900, 1100))
    assert compare_reports(report(fast), report(slow)) == []


# Slopes


def slope(value: float, low: float, high: float) -> Figure:
    return measured(DIRECT, "blocks a message", "", Estimate(value, low, high))


def test_a_leak_is_told_and_what_may_be_nothing_is_not() -> None:
    (found,) = compare_slopes([slope(0, -0.001, 0.001)], [slope(0.01, 0.008, 0.012)])
    assert found.is_alarm
    assert "0.008 to 0.012" in str(found)
    assert compare_slopes([slope(0, 0, 0)], [slope(0.01, -0.002, 0.02)]) == []
    assert compare_slopes([slope(0, 0, 0)], [slope(0.0005, 0.0004, 0.0006)]) == []
    assert compare_slopes([slope(0.01, 0.008, 0.012)], [slope(0.01, 0.009, 0.011)]) == []


# Duets


class Duets:
    """Every measurement takes the next of these intervals."""

    def __init__(self, *intervals: tuple[float, float]) -> None:
        self._intervals = iter(intervals)
        self.asked: list[int] = []

    def __call__(self, wanted: Sequence[Entry]) -> list[Duel]:
        self.asked.append(len(wanted))
        return [duel(entry.path, *next(self._intervals)) for entry in wanted]


def duel(path: Of, low: float, high: float) -> Duel:
    middle = (low + high) / 2
    return Duel(path, Estimate(1000, 990, 1010), Estimate(1000 * middle, 0, 9999), Estimate(middle, low, high), 400, 8)


ONE = [Entry(0, "direct", DIRECT)]
BEYOND, SMALL, SAME, FASTER = (1.04, 1.06), (1.01, 1.03), (0.98, 1.01), (0.90, 0.95)


def test_a_loss_must_show_three_times() -> None:
    duets = Duets(BEYOND, (1.031, 1.07), BEYOND)
    (found,) = judge(tried(duets, ONE))
    assert duets.asked == [1, 1, 1]
    assert found.is_alarm
    assert "interval +4.0% to +6.0%, 3 times out of 3" in str(found)


@pytest.mark.parametrize("other", [SAME, SMALL])
def test_once_in_doubt_is_no_loss_and_ends_the_tries(other: tuple[float, float]) -> None:
    duets = Duets(BEYOND, other)
    assert judge(tried(duets, ONE)) == []
    assert duets.asked == [1, 1]


def test_only_what_is_in_doubt_is_measured_again() -> None:
    duets = Duets(SAME, BEYOND, BEYOND, BEYOND)
    tries = tried(duets, [*ONE, Entry(0, "strategy", STRATEGY)])
    assert duets.asked == [2, 1, 1]
    assert [(found.path, found.is_alarm) for found in judge(tries)] == [(STRATEGY, True)]


def test_a_gain_must_show_three_times_as_well_and_is_a_note() -> None:
    (found,) = judge(tried(Duets(FASTER, FASTER, FASTER), ONE))
    assert not found.is_alarm
    assert told([found])[0].startswith("note: direct, gateio_spot spot.trades, steady: time better")
    assert judge(tried(Duets(FASTER, SAME), ONE)) == []


def test_fewer_tries_than_three_decide_nothing() -> None:
    assert judge({DIRECT: [duel(DIRECT, *BEYOND)] * 2}) == []


def test_tries_that_contradict_one_another_show_nothing() -> None:
    assert judge(tried(Duets(BEYOND, FASTER, BEYOND), ONE)) == []


def noisy(chance: random.Random, processes: int, true: float) -> Estimate:
    """A duet of processes on a busy machine: each process is biased, some pairs of blocks are disturbed, a few grossly."""
    groups = []
    for _ in range(processes):
        bias = chance.gauss(0, 0.01) - chance.gauss(0, 0.01)
        groups.append([true * (1 + bias) * (1 + chance.gauss(0, 0.05)) * chance.choice([1] * 18 + [0.6, 1.8]) for _ in range(20)])
    return estimate(groups)


@pytest.mark.parametrize(("true", "least", "most"), [(1.0, 0, 0), (1.07, 9, 10)])
def test_duets_of_processes_on_a_noisy_machine(true: float, least: int, most: int) -> None:
    chance, alarms = random.Random(7), 0
    for _ in range(10):

        def measure(wanted: Sequence[Entry]) -> list[Duel]:
            ratio = noisy(chance, 8, true)
            return [Duel(DIRECT, Estimate(1, 1, 1), Estimate(true, true, true), ratio, 320, 8)]

        alarms += any(found.is_alarm for found in judge(tried(measure, ONE)))
    assert least <= alarms <= most


# History


def history(
    step: float = 0.0, at: int = 20, count: int = 40, name: str = "ratio to direct", machine: dict[str, str] = MACHINE
) -> list[Report]:
    chance = random.Random(5)
    values = [2.0 * chance.gauss(1, 0.005) * (1 + step if number >= at else 1) for number in range(count)]
    return [report(ratio(value, name=name), commit=f"commit{number}", machine=machine) for number, value in enumerate(values)]


def test_a_change_of_level_names_the_commit_since_which_it_is() -> None:
    (found,) = change_points(history(0.06))
    assert found.is_alarm
    assert found.since == "commit20 of 2026-01-01T00:00:00Z, record 21 of 40"
    assert found.change == pytest.approx(0.06, abs=0.01)
    assert "ratio to direct worse" in str(found)
    assert "p = " in str(found)


def test_which_direction_is_worse_depends_on_the_figure() -> None:
    assert not change_points(history(-0.06))[0].is_alarm
    assert change_points(history(-0.06, name="throughput"))[0].is_alarm


def test_a_level_that_stays_is_no_difference() -> None:
    assert change_points(history()) == []
    assert change_points(history(0.5, at=10, count=29)) == []


def test_records_of_different_machines_are_never_compared() -> None:
    other = {**MACHINE, "cpu": "two"}
    with pytest.raises(DifferentMachines, match="cpu one.*cpu two"):
        change_points([*history(count=20), *history(count=20, machine=other)])
    with pytest.raises(DifferentMachines):
        compare_reports(report(of(1)), report(of(1), machine=other))


# The command


def write(file: Path, *reports: Report) -> Path:
    file.write_bytes(b"\n".join(map(msgspec.json.encode, reports)) + b"\n")
    return file


def test_the_command_tells_losses_by_its_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, after = write(tmp_path / "a", report(of(10_000))), write(tmp_path / "b", report(of(10_500)))
    assert main([str(before), str(after)]) == 1
    assert "LOSS: direct, gateio_spot spot.trades, steady: instructions worse" in capsys.readouterr().out
    assert main([str(after), str(before)]) == 0
    assert main([str(before), str(before)]) == 0
    assert capsys.readouterr().out.endswith("no difference\n")


def test_the_command_reads_a_history(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--history", str(write(tmp_path / "long", *history(0.06)))]) == 1
    assert "since commit20" in capsys.readouterr().out
    assert main(["--history", str(write(tmp_path / "short", *history(0.06, count=25)))]) == 0
    assert "25 records; a change of level is looked for from 30 on" in capsys.readouterr().out
    mixed = write(tmp_path / "mixed", *history(count=20), *history(count=20, machine={"cpu": "two"}))
    assert main(["--history", str(mixed)]) == 2
    assert "2 machines are not compared" in capsys.readouterr().err
