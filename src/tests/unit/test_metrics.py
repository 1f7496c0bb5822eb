import asyncio
import random
import sys
import threading
from array import array
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infrastructure.clock import Clock
from infrastructure.errors import SettingsError
from infrastructure.events import Architecture, MessageType
from infrastructure.metrics import LEAST_VALUES, EventAccounting, FrameAccounting, Histogram, PathMetrics, WindowSummary
from tests.harness import frames
from tests.harness.effort import effort
from tests.harness.variants import VARIANTS, Variant

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
    for kind in (MessageType.PONG, MessageType.NOTICE, MessageType.PONG):
        path.by_type[kind] += 1
    for name in ("undecodable", "error", "undecodable"):
        path.count_error(name)
    for histogram, value in ((path.latency, 20), (path.wait, 30), (path.switch_wait, 40)):
        histogram.record(value)
    time.now += 2_000_000_000
    summary = path.summary()
    assert summary.architecture is Architecture.STRATEGY
    assert summary.messages == {"pong": 2, "notice": 1}
    assert summary.errors == {"undecodable": 2, "error": 1}
    assert (summary.frames, summary.per_second, summary.fallbacks, summary.switches) == (10, 5.0, 2, 3)
    assert (summary.p50_ns, summary.p99_ns, summary.p999_ns) == (20, 20, 20)
    assert (summary.wait_p99_ns, summary.switch_wait_p99_ns) == (30, 40)


def test_a_summary_of_nothing_divides_nothing() -> None:
    summary = PathMetrics(Architecture.DIRECT, Time()).summary()
    assert (summary.frames, summary.per_second, summary.messages, summary.p50_ns, summary.p99_ns) == (0, 0.0, {}, None, None)


def test_a_summary_does_not_change_afterwards() -> None:
    path = PathMetrics(Architecture.DIRECT, Time())
    summary = path.summary()
    path.count_error("error")
    path.by_type[MessageType.PONG] += 1
    assert (summary.errors, summary.messages) == ({}, {})


SECOND = 10**9


def at_work() -> tuple[Time, PathMetrics]:
    """An architecture that has frames from now on, on a clock that the test moves."""
    time = Time()
    path = PathMetrics(Architecture.DIRECT, time)
    path.activate()
    return time, path


def record(path: PathMetrics, latency: int, times: int = 1, wait: int = 0) -> None:
    for _ in range(times):
        path.wait.record(wait)
        path.latency.record(latency)


class TestWindow:
    def test_a_window_has_what_came_since_the_copy_at_its_begin_and_says_how_long_that_was(self) -> None:
        time, path = at_work()
        for second in range(1, 31):
            record(path, latency=second * 1000, wait=second * 10, times=1000)
            time.now += SECOND
            path.observe()
        time.now += SECOND // 2
        window = path.window(5)
        # From the copy at 25 s; at 25.5 s there is none.
        assert (window.seconds, window.active_seconds, window.frames, window.per_second) == (5.5, 5.5, 5000, 5000 / 5.5)
        assert window.p50_ns is not None and 28_000 <= window.p50_ns <= 28_000 * (1 + ERROR)
        assert window.p99_ns is not None and 30_000 <= window.p99_ns <= 30_000 * (1 + ERROR)
        assert window.p999_ns is None  # 5,000 are too few.
        assert window.wait_p50_ns is not None and 280 <= window.wait_p50_ns <= 280 * (1 + ERROR)
        assert path.window(15).p999_ns == path.window(15).p99_ns == window.p99_ns == 30_000

    def test_a_young_feed_has_a_shorter_window_from_its_begin(self) -> None:
        time, path = at_work()
        record(path, 1)
        time.now += SECOND // 4
        window = path.window(60)
        assert (window.seconds, window.frames, window.per_second, window.error_rate) == (0.25, 1, 4.0, 0.0)

    def test_nothing_at_all(self) -> None:
        time = Time()
        window = PathMetrics(Architecture.STRATEGY, time).window(60)
        assert window == WindowSummary(Architecture.STRATEGY, 0.0, 0.0, 0, 0.0, {}, None, 0, None, None, None, None, None, None)

    def test_an_architecture_that_was_not_active_says_so(self) -> None:
        time, path = at_work()
        record(path, 1, times=50)
        path.count_error("error")
        path.fallbacks += 1
        path.deactivate()
        for _ in range(20):
            time.now += SECOND
            path.observe()
        window = path.window(10)
        assert (window.seconds, window.active_seconds, window.frames, window.per_second) == (10.0, 0.0, 0, 0.0)
        assert (window.errors, window.error_rate, window.fallbacks, window.p50_ns) == ({}, None, 0, None)
        assert path.summary().frames == 50

    def test_errors_and_fallbacks_are_those_of_the_window(self) -> None:
        time, path = at_work()
        for kind in ("undecodable", "error"):
            path.count_error(kind)
        path.fallbacks = 1
        time.now += 2 * SECOND
        path.observe()
        record(path, 1, times=8)
        path.count_error("undecodable")
        path.count_error("late")
        path.fallbacks = 2
        time.now += 2 * SECOND
        window = path.window(2)
        assert (window.errors, window.error_rate, window.fallbacks) == ({"undecodable": 1, "late": 1}, 0.25, 1)

    def test_time_without_a_copy_makes_the_window_longer_and_it_says_so(self) -> None:
        time, path = at_work()
        for _ in range(3):
            time.now += SECOND
            path.observe()
        record(path, 1, times=7)
        time.now += 100 * SECOND
        assert (path.window(60).seconds, path.window(60).frames) == (100.0, 7)
        time.now += 60 * SECOND
        assert (path.window(60).seconds, path.window(60).frames) == (60.0, 0)

    def test_lanes_together_are_active_as_long_as_one_of_them_is(self) -> None:
        time, path = at_work()
        path.activate()
        time.now += 3 * SECOND
        path.observe()
        path.deactivate()
        time.now += 3 * SECOND
        path.observe()
        path.deactivate()
        time.now += 3 * SECOND
        path.observe()
        assert [path.window(seconds).active_seconds for seconds in (3, 6, 9)] == [0.0, 3.0, 6.0]

    @pytest.mark.parametrize("percent", LEAST_VALUES)
    def test_a_percentile_of_one_frame_too_few_is_none(self, percent: float) -> None:
        time, path = at_work()
        named: dict[float, Callable[[WindowSummary], int | None]] = {
            50: lambda window: window.p50_ns,
            99: lambda window: window.p99_ns,
            99.9: lambda window: window.p999_ns,
        }
        record(path, 9, times=LEAST_VALUES[percent] - 1)
        assert named[percent](path.window(60)) is None
        record(path, 9)
        assert named[percent](path.window(60)) == 9

    @pytest.mark.parametrize("window_s", [0, -1.0, 601])
    def test_no_other_window_can_be_asked_for(self, window_s: float) -> None:
        with pytest.raises(SettingsError, match="it can be up to 600 s"):
            PathMetrics(Architecture.DIRECT, Time()).window(window_s)

    def test_who_asks_takes_the_copies(self) -> None:
        time, path = at_work()
        for second in range(20):
            record(path, 1, times=second)
            time.now += SECOND
            path.window(600)
        assert (path.window(2).seconds, path.window(2).frames) == (2.0, 18 + 19)

    def test_copies_are_bounded_and_what_has_not_changed_is_kept_once(self) -> None:
        time, path = at_work()
        for second in range(2000):
            path.latency.record(second)
            time.now += SECOND
            path.observe()
        kept = [reading for _, reading in path._copies._dated]
        assert len(kept) <= 90
        assert {sys.getsizeof(reading.latency) for reading in kept} <= set(range(15_104, 16_001))
        assert len({id(reading.latency) for reading in kept}) == len(kept)
        assert len({id(reading.wait) for reading in kept}) == 1

    @effort(60)
    @given(st.lists(st.tuples(st.integers(0, 3 * SECOND), st.lists(st.integers(0, 10**7), max_size=60)), max_size=40), st.integers(1, 60))
    def test_the_count_is_that_of_the_values_recorded_in_the_covered_time_and_percentiles_are_theirs(
        self, steps: list[tuple[int, list[int]]], window_s: int
    ) -> None:
        time, path = at_work()
        recorded: list[tuple[int, int]] = []
        for step_ns, values in steps:
            time.now += step_ns
            path.observe()
            for value in values:
                # What is recorded at the moment of a copy comes after it.
                recorded.append((time.now, value))
                path.latency.record(value)
        time.now += 1
        window = path.window(window_s)
        began_ns = time.now - round(window.seconds * 1e9)
        covered = [value for at_ns, value in recorded if at_ns >= began_ns]
        assert window.frames == len(covered)
        for percent, measured in ((50, window.p50_ns), (99, window.p99_ns), (99.9, window.p999_ns)):
            assert (measured is None) == (len(covered) < LEAST_VALUES[percent])
            if measured is not None:
                assert exact(covered, percent) <= measured <= exact(covered, percent) * (1 + ERROR)


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_each_architecture_has_its_own_window_after_a_switch(variant: Variant) -> None:
    time = Time()

    async def run() -> None:
        feed = variant.feed(clock=Clock(time, offset_ns=0))

        async def deliver(count: int) -> None:
            for number in range(count):
                feed.deliver(frames.trade(number))
            feed.deliver(b"nonsense")
            await feed.drain()
            time.now += SECOND
            feed.observe_metrics()

        await deliver(30)
        await feed.switch(variant.architecture.other)
        await deliver(40)
        await deliver(50)
        both = feed.recent_metrics(2)
        first, second = both[variant.architecture], both[variant.architecture.other]
        assert [(path.seconds, path.active_seconds) for path in (first, second)] == [(2.0, 0.0), (2.0, 2.0)]
        # What direct cannot decode the strategies get as well.
        fallen = 0 if variant.architecture is Architecture.DIRECT else 2
        assert (first.frames, second.frames) == (fallen, 92)
        assert second.errors == {"undecodable": 2} and second.fallbacks == fallen
        assert first.errors == ({"undecodable": 2} if fallen else {})
        since_the_begin = feed.recent_metrics()[variant.architecture]
        assert (since_the_begin.seconds, since_the_begin.active_seconds) == (3.0, 1.0)
        assert since_the_begin.frames == feed.metrics()[variant.architecture].frames == 31 + fallen
        assert (since_the_begin.p50_ns, since_the_begin.p99_ns) == (0, None)  # The clock stood still meanwhile.

    asyncio.run(run())


@contextmanager
def hurried() -> Iterator[None]:
    """Threads change places as often as they can."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(usual)


class TestThreads:
    """One thread records, others read."""

    def test_a_value_is_the_maximum_before_it_is_counted(self) -> None:
        histogram = Histogram()
        seen: list[int] = []

        class Slow(int):
            def bit_length(self) -> int:
                seen.append(histogram.maximum)
                return super().bit_length()

        histogram.record(Slow(70))
        assert (seen, histogram.count) == ([70], 1)

    def test_the_maximum_is_read_after_the_counts(self) -> None:
        class Recording(Histogram):
            def counts(self) -> "array[int]":
                self.record(10**6)
                return super().counts()

        histogram = Recording()
        histogram.record(5)
        assert histogram.values().percentile(100) == 10**6

    def test_errors_are_copied_in_one_step(self) -> None:
        class Growing(dict[str, int]):
            """Another error comes whenever a reader has looked at one."""

            def items(self) -> Any:
                for kind in self:
                    self[f"after {kind}"] = 1
                    yield kind, self[kind]

        path = PathMetrics(Architecture.DIRECT, Time())
        path.errors = Growing({"error": 1})
        assert path.summary().errors == path.window(1).errors == {"error": 1}

    def test_a_copy_that_another_thread_takes_while_a_window_is_made_is_not_its_begin(self) -> None:
        time, path = at_work()

        class Overtaken(Histogram):
            """Another thread read the clock long ago, and is done while this copy is handed over."""

            def counts(self) -> "array[int]":
                counts = super().counts()
                if not self.maximum:
                    self.record(5)
                    path._copies.add(time.now - 2 * SECOND, path._read(time.now))
                return counts

        path.latency = Overtaken()
        time.now += 10 * SECOND
        window = path.window(1)
        assert (window.frames, window.seconds) == (0, 10.0)

    VALUES = 30_000
    LOW, HIGH = 1_000, 1_000_000

    def test_what_is_read_while_another_thread_records_is_whole(self) -> None:
        chance = random.Random(5)
        # Growing, so that the maximum is always among the latest: what a reader is likeliest to miss.
        values = sorted(chance.randrange(self.LOW, self.HIGH) for _ in range(self.VALUES))
        time = Time()
        path = PathMetrics(Architecture.DIRECT, time)
        began, ended = threading.Event(), threading.Event()

        def work() -> None:
            began.wait()
            try:
                for number, value in enumerate(values):
                    path.activate()
                    path.wait.record(value)
                    path.by_type[MessageType.TRADE] += 1
                    path.latency.record(value)
                    path.count_error(f"kind {number // 10}")
                    time.now += SECOND // 500
                    path.deactivate()
            finally:
                ended.set()

        def read() -> None:
            began.set()
            summaries, windows = [path.summary()], [path.window(600)]
            while not ended.is_set():
                summaries.append(path.summary())
                windows.append(path.window(600))
                short = path.window(1)
                assert min(short.frames, short.fallbacks, short.active_seconds, *short.errors.values(), 0) == 0
                for measured in (summaries[-1].p50_ns, summaries[-1].p99_ns, summaries[-1].p999_ns, windows[-1].p50_ns):
                    assert measured is None or self.LOW <= measured <= path.latency.maximum
                assert (summaries[-1].frames > 0) is (summaries[-1].p50_ns is not None is not summaries[-1].p999_ns)
            for earlier, later in pairwise(summaries):
                assert earlier.frames <= later.frames and earlier.messages.get("trade", 0) <= later.messages.get("trade", 0)
                assert earlier.errors.keys() <= later.errors.keys()

        with hurried(), ThreadPoolExecutor(4) as threads:
            for done in [threads.submit(what) for what in (work, read, read, read)]:
                done.result()
        summary = path.summary()
        assert (summary.frames, summary.messages, len(summary.errors)) == (self.VALUES, {"trade": self.VALUES}, self.VALUES // 10)
        assert path.active_ns == self.VALUES * (SECOND // 500)
        assert sum(path.latency.counts()) == sum(path.wait.counts()) == self.VALUES


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
