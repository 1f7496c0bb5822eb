"""Change points, in series as a shared machine makes them: wild values, stretches of a busy hour, a level for each process."""

import math
import random
from typing import Any

import pytest

from tests.performance.changes import LEAST_RECORDS, ChangePoint, candidates, chance, ranks, significant


def series(
    seed: int, count: int = 60, *, step: float = 0.0, at: int = 30, spread: float = 0.02, alike: float = 0.0, drift: float = 0.0
) -> list[float]:
    """About 1000, from ``at`` on by ``step`` more; ``spread`` is shared with the record before to a degree; 1 in 20 is wild."""
    dice, now, made = random.Random(seed), 0.0, []
    for index in range(count):
        now = alike * now + dice.gauss(0, spread * math.sqrt(1 - alike * alike))
        wild = dice.uniform(1.3, 3.0) if dice.random() < 0.05 else 1.0
        wave = drift * math.sin(2 * math.pi * index / count + seed)
        made.append(1000 * math.exp(now + wave) * wild * (1 + step if index >= at else 1.0))
    return made


def changes(values: list[float]) -> list[ChangePoint]:
    """By place; the likeliest of them has the smallest p."""
    return sorted(point for _, point in significant({"": candidates(values)}))


@pytest.mark.parametrize(("step", "at"), [(0.08, 30), (-0.08, 30), (0.15, 50), (0.15, 15)])
def test_a_step_is_found_where_it_is_and_by_how_much(step: float, at: int) -> None:
    found = [changes(series(seed, 65, step=step, at=at, alike=0.2)) for seed in range(20)]
    assert sum(bool(points) for points in found) >= 16
    likeliest = [min(points, key=lambda point: point.p) for points in found if points]
    assert sum(abs(point.at - at) <= 3 for point in likeliest) >= 0.9 * len(likeliest)
    assert all(point.effect == pytest.approx(step, abs=0.03) for point in likeliest)


@pytest.mark.parametrize(
    "noise",
    [{"spread": 0.2}, {"spread": 0.05, "alike": 0.3}, {"spread": 0.1, "alike": 0.5}, {"spread": 0.15, "drift": 0.03}],
    ids=["of each process", "busy for a while", "busy for long", "slow waves"],
)
@pytest.mark.parametrize("count", [30, 65])
def test_noise_alone_seldom_looks_like_a_change(noise: dict[str, Any], count: int) -> None:
    alarms = sum(bool(changes(series(seed, count, **noise))) for seed in range(100))
    assert alarms <= 3


def test_many_series_without_memory_give_no_alarm() -> None:
    assert significant({seed: candidates(series(seed, 45, spread=0.2)) for seed in range(200)}) == []


def test_one_wild_value_is_no_change_and_hides_none() -> None:
    flat = series(1, step=0.0)
    flat[40] *= 100
    assert changes(flat) == []
    stepped = series(1, step=0.1)
    stepped[10] *= 100
    assert abs(changes(stepped)[0].at - 30) <= 2


def test_less_than_3_percent_is_no_change_however_sure() -> None:
    exact = [1000.0 + number % 5 + (20 if number >= 30 else 0) for number in range(60)]
    assert min(candidates(exact), key=lambda point: point.p).p < 1e-3
    assert changes(exact) == []


def test_too_few_records_tell_nothing() -> None:
    stepped = [1000.0 + number % 3 + (100 if number >= 15 else 0) for number in range(LEAST_RECORDS)]
    assert changes(stepped)[0].at == 15
    assert candidates(stepped[:-1]) == []


def test_a_gain_does_not_hide_the_loss_that_follows() -> None:
    values = [value * (0.7 if index >= 40 else 1.0) * (1.1 if index >= 80 else 1.0) for index, value in enumerate(series(3, 120))]
    found = changes(values)
    assert any(abs(point.at - 80) <= 2 and point.effect == pytest.approx(0.1, abs=0.03) for point in found)


def test_a_change_must_stand_out_more_where_there_were_more_to_look_at() -> None:
    point, none = ChangePoint(30, 1000, 1100, 0.001), ChangePoint(30, 1000, 1100, 0.5)
    assert significant({"a": [point]}) == [("a", point)]
    assert significant({"a": [point], **{str(number): [none] for number in range(99)}}) == []
    assert len(significant({str(number): [point if number < 30 else none] for number in range(100)})) == 30


def test_what_several_windows_show_at_one_place_is_one_change() -> None:
    seen = [ChangePoint(30, 1000, 1100, 1e-5), ChangePoint(32, 1000, 1100, 1e-4), ChangePoint(50, 1100, 1200, 1e-4)]
    assert [point.at for _, point in significant({"a": seen})] == [30, 50]


def test_equal_values_share_a_rank_and_are_no_change() -> None:
    assert ranks([3, 1, 3, 2]) == [3.5, 1, 3.5, 2]
    assert chance(0.0, 40) == 1.0
    assert changes([5.0] * 40) == []
