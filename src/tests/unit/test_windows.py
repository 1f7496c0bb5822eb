from hypothesis import given
from hypothesis import strategies as st

from infrastructure.windows import EVERY_NS, LONGEST_NS, SHARE, Copies
from tests.harness.effort import effort

SECOND = 10**9


def ticked(seconds: int) -> Copies[int]:
    """A copy each second, each the number of its second."""
    copies = Copies(0, 0)
    for second in range(1, seconds + 1):
        copies.add(second * SECOND, second)
    return copies


def test_what_is_no_older_than_a_second_needs_no_other() -> None:
    copies = Copies(0, "first")
    assert not copies.is_due(SECOND - 1)
    copies.add(SECOND - 1, "too early")
    assert (len(copies), copies.last) == (1, "first")
    assert copies.is_due(SECOND)
    copies.add(SECOND, "second")
    assert (len(copies), copies.last) == (2, "second")


def test_the_copies_of_the_last_seconds_are_all_there() -> None:
    copies = ticked(100)
    assert [copies.before(at * SECOND) for at in range(93, 101)] == [(at * SECOND, at) for at in range(93, 101)]
    assert copies.before(100 * SECOND - 1) == (99 * SECOND, 99)


def test_before_the_first_copy_there_is_only_that() -> None:
    assert Copies(7, "first").before(3) == (7, "first")


def test_an_hour_of_seconds_leaves_70_copies_at_most_and_none_of_before_the_longest_window() -> None:
    copies = Copies(0, 0)
    for second in range(1, 3601):
        copies.add(second * SECOND, second)
        assert len(copies) <= 70
    oldest_ns, _ = copies.before(0)
    assert LONGEST_NS <= 3600 * SECOND - oldest_ns < LONGEST_NS * (1 + 1 / SHARE)


STEPS_NS = st.one_of(
    st.integers(0, 3 * EVERY_NS), st.integers(EVERY_NS, EVERY_NS + 10**6), st.sampled_from([EVERY_NS - 1, EVERY_NS, 2 * LONGEST_NS])
)


@effort(40)
@given(
    st.lists(st.tuples(STEPS_NS, st.integers(1, 60)), min_size=1, max_size=20),
    st.lists(st.integers(1, LONGEST_NS), min_size=1, max_size=20),
)
def test_a_window_is_longer_than_asked_by_an_eighth_or_a_second_and_by_what_passed_without_a_copy(
    steps: list[tuple[int, int]], windows_ns: list[int]
) -> None:
    copies = Copies(0, 0)
    now_ns, every_ns = 0, [0]
    for step_ns in (step_ns for step_ns, times in steps for _ in range(times)):
        now_ns += step_ns
        if copies.is_due(now_ns):
            every_ns.append(now_ns)
        copies.add(now_ns, now_ns)
        assert len(copies) <= 90
    for window_ns in windows_ns:
        at_ns, copy = copies.before(now_ns - window_ns)
        assert at_ns == copy and at_ns in every_ns
        if at_ns <= now_ns - window_ns:
            # Where none was let go of, the window would begin here.
            best_ns = max(taken_ns for taken_ns in every_ns if taken_ns <= now_ns - window_ns)
            younger_ns = min((taken_ns for taken_ns in every_ns if taken_ns > at_ns), default=at_ns)
            assert best_ns - at_ns <= max(EVERY_NS, window_ns // SHARE) or younger_ns > now_ns - window_ns
        else:
            assert at_ns == 0
