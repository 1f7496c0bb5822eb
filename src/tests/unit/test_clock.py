import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infrastructure.clock import ASLEEP_NS, JUMP_NS, Clock, WallWatch, Watch
from tests.harness.effort import effort

HOUR = 3600 * 10**9
SECOND = 10**9


class Wall:
    """A monotonic clock and a wall clock that somebody sets."""

    def __init__(self) -> None:
        self.monotonic = 5 * SECOND
        self.unix = 1_700_000_000 * SECOND

    def clock(self) -> Clock:
        return Clock(lambda: self.monotonic, wall_ns=lambda: self.unix)

    def run(self, nanoseconds: int) -> None:
        self.monotonic += nanoseconds
        self.unix += nanoseconds


class TestClock:
    def test_the_machines_clocks_agree_when_one_begins(self) -> None:
        clock = Clock()
        assert abs(clock.now_ns() - time.time_ns()) < SECOND
        assert abs(clock.drift_ns()) < SECOND
        assert clock.elapsed_ns() >= clock.monotonic_ns() - SECOND

    def test_a_clock_with_an_offset_of_its_own_never_drifts(self) -> None:
        clock = Clock(lambda: 7, 100)
        assert (clock.now_ns(), clock.drift_ns(), clock.elapsed_ns()) == (107, 0, 7)

    @pytest.mark.parametrize("jump", [HOUR, -HOUR])
    def test_dates_stay_on_the_offset_that_the_clock_began_with(self, jump: int) -> None:
        wall = Wall()
        clock = wall.clock()
        began = clock.now_ns()
        wall.unix += jump
        wall.run(SECOND)
        assert clock.now_ns() - began == SECOND
        assert clock.drift_ns() == jump


class TestWallWatch:
    @pytest.mark.parametrize("jump", [HOUR, -HOUR, JUMP_NS])
    def test_a_move_is_told_once_with_by_how_much(self, jump: int) -> None:
        wall, watch = Wall(), WallWatch()
        clock = wall.clock()
        assert watch.observe(clock.drift_ns()) is None
        wall.unix += jump
        assert [watch.observe(clock.drift_ns()) for _ in range(3)] == [jump, None, None]

    def test_a_move_back_is_another_move(self) -> None:
        watch = WallWatch()
        assert [watch.observe(drift) for drift in (HOUR, HOUR, 0)] == [HOUR, None, -HOUR]

    def test_small_corrections_are_told_when_they_have_come_to_something(self) -> None:
        watch = WallWatch()
        told = [watch.observe(step * JUMP_NS // 10) for step in range(25)]
        assert [moved for moved in told if moved is not None] == [JUMP_NS, JUMP_NS]

    @given(st.lists(st.integers(-2 * HOUR, 2 * HOUR), max_size=20))
    @effort(100)
    def test_what_was_told_adds_up_to_where_the_clock_is(self, drifts: list[int]) -> None:
        watch = WallWatch()
        told = [watch.observe(drift) or 0 for drift in drifts]
        for index, drift in enumerate(drifts):
            assert abs(sum(told[: index + 1]) - drift) < JUMP_NS


class TestWatch:
    def test_a_long_pause_is_told_once(self) -> None:
        watch = Watch()
        assert [watch.observe(now) for now in (0, SECOND, HOUR, HOUR + SECOND)] == [None, None, HOUR - SECOND, None]

    def test_what_was_at_work_did_not_sleep(self) -> None:
        watch = Watch()
        watch.observe(0)
        watch.worked(ASLEEP_NS * 2, ASLEEP_NS * 2)
        assert watch.observe(ASLEEP_NS * 2 + SECOND) is None

    def test_a_process_that_was_stopped_at_work_did_not_work_all_the_time(self) -> None:
        watch = Watch()
        watch.observe(0)
        watch.continued()
        watch.worked(HOUR, HOUR)  # by the clock, what was stopped took an hour
        assert watch.observe(HOUR + SECOND) == HOUR + SECOND
        watch.worked(HOUR, 2 * HOUR)
        assert watch.observe(2 * HOUR + SECOND) is None

    def test_one_that_was_stopped_for_a_moment_did_not_sleep(self) -> None:
        watch = Watch()
        watch.observe(0)
        watch.continued()
        assert watch.observe(SECOND) is None

    def test_work_told_twice_hides_no_pause_after_it(self) -> None:
        watch = Watch()
        watch.observe(0)
        watch.worked(HOUR, HOUR)
        watch.worked(HOUR, HOUR)
        assert watch.observe(HOUR + SECOND + ASLEEP_NS) == SECOND + ASLEEP_NS

    @given(st.lists(st.tuples(st.sampled_from(["asleep", "at work", "observed"]), st.integers(0, 2 * ASLEEP_NS)), max_size=30))
    @effort(100)
    def test_between_two_observations_all_counts_that_was_no_work(self, steps: list[tuple[str, int]]) -> None:
        watch, now, asleep = Watch(), 0, 0
        watch.observe(now)
        for kind, passed in steps:
            now += passed
            if kind == "at work":
                watch.worked(passed, now)
                continue
            asleep += passed
            if kind == "observed":
                assert watch.observe(now) == (asleep if asleep > ASLEEP_NS else None)
                asleep = 0
