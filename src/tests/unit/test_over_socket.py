"""What becomes of latencies once they are taken."""

from math import inf

import pytest

from tests.performance.over_socket import LEAST_RUNS, SHARES, WARM_UP, plan, pooled_quantile, quantile, rate_for


def test_a_quantile_is_the_least_value_that_so_many_do_not_exceed() -> None:
    hundred = list(range(1, 101))
    assert [quantile(hundred, share) for share in (0.0, 0.5, 0.501, 0.99, 0.999, 1.0)] == [1, 50, 51, 99, 100, 100]


def test_runs_are_pooled_and_the_interval_is_between_what_they_have_alone() -> None:
    runs = [list(range(start, start + 100)) for start in (0, 10, 20, 30)]
    found = pooled_quantile(runs, 0.5)
    assert found.value == quantile(sorted(value for run in runs for value in run), 0.5)
    assert 49 <= found.low < found.value < found.high <= 79


def test_runs_that_are_equal_leave_no_doubt() -> None:
    found = pooled_quantile([[1, 2, 3]] * 4, 0.9)
    assert (found.value, found.low, found.high) == (3, 3, 3)


def test_a_distribution_is_as_close_in_its_tail_as_before() -> None:
    assert len(SHARES) == 200 and SHARES[0] == 0.0 and SHARES[-1] == pytest.approx(0.999)
    assert sum(0.9 < share <= 0.99 for share in SHARES) == pytest.approx(sum(0.99 < share <= 0.999 for share in SHARES), abs=1)


@pytest.mark.parametrize("slowest_ns, rate", [(100_000, 2500.0), (25_000, 10_000.0), (1000, 10_000.0)])
def test_the_slowest_way_has_a_quarter_of_what_it_can_take(slowest_ns: float, rate: float) -> None:
    assert rate_for(slowest_ns) == rate


@pytest.mark.parametrize("available, samples", [(1500, 10_000), (1500, 100), (12_000, 10_000), (50, 200), (10, 1)])
@pytest.mark.parametrize("seconds", [inf, 2.0, 0.01])
def test_the_runs_give_as_many_samples_as_are_wanted(available: int, samples: int, seconds: float) -> None:
    runs, frames = plan(available, samples, 1000.0, seconds)
    assert runs % 2 == 0 and runs >= LEAST_RUNS and frames <= available
    assert runs * (frames - min(WARM_UP, available // 10)) >= samples


def test_four_runs_of_each_variant_fit_into_the_time() -> None:
    _, frames = plan(1500, 10_000, 5000.0, 2.0)
    assert 200 < frames < 1350
    assert LEAST_RUNS * 4 * frames / 5000.0 < 2.0
