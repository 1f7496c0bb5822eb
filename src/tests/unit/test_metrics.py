import random
from collections.abc import Callable

import pytest

from infrastructure.events import Architecture, MessageType
from infrastructure.metrics import EventAccounting, FrameAccounting, Histogram, PathMetrics
from infrastructure.venue import Notice, Pong

#: 32 buckets for each power of two: the upper edge is at most 1/32 above any value in the bucket.
ERROR = 1 / 32
PERCENTS = (0.0, 0.1, 1, 10, 25, 50, 75, 90, 99, 99.9, 100)

Draw = Callable[[random.Random], int]
SHAPES: dict[str, Draw] = {
    "small": lambda rng: rng.randrange(64),
    "uniform": lambda rng: rng.randrange(10_000_000),
    "latency": lambda rng: int(rng.lognormvariate(8, 2)),
    "every magnitude": lambda rng: rng.getrandbits(rng.randrange(64)),
    "edges of buckets": lambda rng: max(0, (1 << rng.randrange(63)) + rng.choice((-1, 0, 1))),
}


def exact(values: list[int], percent: float) -> int:
    rank = max(1, -int(-len(values) * percent // 100))
    return sorted(values)[rank - 1]


@pytest.mark.parametrize("count", [1, 2, 99, 5_000])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_percentile_is_never_too_low_and_at_most_a_thirty_second_too_high(shape: str, count: int) -> None:
    rng = random.Random(f"{shape} {count}")
    values = [SHAPES[shape](rng) for _ in range(count)]
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    assert (histogram.count, histogram.maximum) == (count, max(values))
    for percent in PERCENTS:
        measured = histogram.percentile(percent)
        assert measured is not None
        assert exact(values, percent) <= measured <= exact(values, percent) * (1 + ERROR)


@pytest.mark.parametrize("value", [0, 1, 31, 32, 63, 64, 65, 2**31, 2**62, 2**63 - 1])
def test_a_single_value_is_its_own_percentile(value: int) -> None:
    histogram = Histogram()
    histogram.record(value)
    assert [histogram.percentile(percent) for percent in PERCENTS] == [value] * len(PERCENTS)


def test_values_below_64_are_exact() -> None:
    histogram = Histogram()
    for value in range(64):
        histogram.record(value)
    assert [histogram.percentile(100 * (value + 1) / 64) for value in range(64)] == list(range(64))


def test_an_empty_histogram_has_no_percentile() -> None:
    assert Histogram().percentile(50) is None


class Time:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1_000

    def __call__(self) -> int:
        return self.now


def test_time_counts_only_while_frames_go_to_the_architecture() -> None:
    time = Time()
    path = PathMetrics(Architecture.DIRECT, time)
    time.now += 50
    path.activate()
    time.now += 300
    assert path.active_ns == 300
    path.deactivate()
    time.now += 7_000
    assert path.active_ns == 300
    path.activate()
    path.activate()
    time.now += 30
    path.deactivate()
    time.now += 10
    assert path.active_ns == 340  # one of two lanes went elsewhere


def test_a_summary_says_what_was_counted() -> None:
    time = Time()
    path = PathMetrics(Architecture.STRATEGY, time)
    path.activate()
    for _ in range(9):
        path.latency.record(20)
    path.fallbacks = 2
    path.switches = 3
    path.count([Pong(None), Notice("c", "t"), Pong(None)])
    for kind in ("undecodable", "error", "undecodable"):
        path.count_error(kind)
    for histogram, value in ((path.latency, 20), (path.wait, 30), (path.switch_wait, 40)):
        histogram.record(value)
    time.now += 2_000_000_000
    summary = path.summary()
    assert summary.architecture is Architecture.STRATEGY
    assert summary.messages == {"pong": 2, "notice": 1}
    assert summary.errors == {"undecodable": 2, "error": 1}
    assert (summary.frames, summary.per_second, summary.fallbacks, summary.switches) == (10, 5.0, 2, 3)
    assert (summary.p50_ns, summary.p99_ns, summary.wait_p99_ns, summary.switch_wait_p99_ns) == (20, 20, 30, 40)


def test_a_summary_of_nothing_divides_nothing() -> None:
    summary = PathMetrics(Architecture.DIRECT, Time()).summary()
    assert (summary.frames, summary.per_second, summary.messages, summary.p50_ns, summary.p99_ns) == (0, 0.0, {}, None, None)


def test_a_summary_does_not_change_afterwards() -> None:
    path = PathMetrics(Architecture.DIRECT, Time())
    summary = path.summary()
    path.count_error("error")
    path.count([Pong(None)])
    assert (summary.errors, summary.messages) == ({}, {})


def test_every_type_of_message_has_a_counter() -> None:
    assert len(PathMetrics(Architecture.DIRECT, Time()).by_type) == len(MessageType) == max(MessageType) + 1


FRAMES = {"received": 21, "delivered": 1, "control": 2, "rejected": 3, "shed": 4, "in_flight": 11}
EVENTS = {"decoded": 20, "raised": 5, "emitted": 18, "absorbed": 4, "pending": 3, "accepted": 16, "callback_errors": 2}


def test_an_account_is_balanced_when_its_sums_agree() -> None:
    assert FrameAccounting(**FRAMES, rejected_by_kind={}, shed_by_reason={}).is_balanced
    assert EventAccounting(**EVENTS).is_balanced


@pytest.mark.parametrize("name", FRAMES)
def test_one_frame_too_many_anywhere_is_noticed(name: str) -> None:
    assert not FrameAccounting(**FRAMES | {name: FRAMES[name] + 1}, rejected_by_kind={}, shed_by_reason={}).is_balanced


@pytest.mark.parametrize("name", EVENTS)
def test_one_event_too_many_anywhere_is_noticed(name: str) -> None:
    assert not EventAccounting(**EVENTS | {name: EVENTS[name] + 1}).is_balanced
