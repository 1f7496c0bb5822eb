"""The measuring itself, by a clock that the contestants advance: nothing here depends on the machine."""

import asyncio
import gc
import random
from collections.abc import Callable, Sequence
from itertools import count
from types import FunctionType

import pytest

from tests.performance import duet
from tests.performance.duet import NO_DIFFERENCE, Comparison, Run, Same


class FakeClock:
    """Shows the nanoseconds that were counted so far; ``pace`` is what the machine makes of each."""

    def __init__(self, pace: Callable[[int], float] = lambda now: 1.0) -> None:
        self.now = 0
        self._pace = pace

    def __call__(self) -> int:
        return self.now

    def spend(self, duration_ns: float) -> None:
        self.now += round(duration_ns * self._pace(self.now))


class Worker:
    """A contestant that spends ``call_ns`` for each item, give or take ``spread``."""

    def __init__(self, clock: FakeClock, call_ns: float, spread: float = 0.0, seed: int = 1) -> None:
        self._clock = clock
        self._call_ns = call_ns
        self._spread = spread
        self._random = random.Random(seed)
        self.blocks: list[list[int]] = []

    def __call__(self, items: Sequence[int]) -> None:
        self.blocks.append(list(items))
        noise = 1.0 + self._random.uniform(-self._spread, self._spread)
        self._clock.spend(len(items) * self._call_ns * noise)

    @property
    def calls(self) -> list[int]:
        return [item for block in self.blocks for item in block]


def compared(a: Worker, b: Worker, clock: FakeClock, seconds: float = 0.4) -> Comparison:
    return asyncio.run(duet.compare(a, b, Run(count()), seconds=seconds, clock=clock))


@pytest.mark.parametrize("seed", range(5))
def test_a_planted_difference_of_5_percent_is_found_under_noise(seed: int) -> None:
    clock = FakeClock()
    found = compared(Worker(clock, 1000, 0.2, seed), Worker(clock, 1050, 0.2, seed + 100), clock)
    assert found.verdict == "A is faster"
    assert found.ratio.value == pytest.approx(1.05, abs=0.02)
    assert found.difference_ns.value == pytest.approx(50, abs=20)
    assert found.ratio.low > 1.0


def test_the_faster_is_named_whichever_it_is() -> None:
    clock = FakeClock()
    found = compared(Worker(clock, 1050), Worker(clock, 1000), clock)
    assert found.verdict == "B is faster"
    assert found.difference_ns.value == pytest.approx(-50)


@pytest.mark.parametrize("spread", [0.0, 0.2])
def test_two_equal_contestants_give_no_difference(spread: float) -> None:
    clock = FakeClock()
    found = compared(Worker(clock, 1000, spread, 1), Worker(clock, 1000, spread, 2), clock)
    assert found.verdict == NO_DIFFERENCE
    assert found.difference_ns.contains(0)


def test_a_machine_that_slows_down_halfway_changes_no_ratio() -> None:
    clock = FakeClock(lambda now: 1.0 if now < 200_000_000 else 1.9)
    found = compared(Worker(clock, 1000), Worker(clock, 1050), clock)
    assert found.ratio.value == pytest.approx(1.05)
    assert found.ratio.high - found.ratio.low < 0.001


def test_whoever_goes_second_in_a_round_has_no_advantage() -> None:
    blocks = 0

    def second_is_slower(now: int) -> float:
        nonlocal blocks
        blocks += 1
        return 1.1 if blocks % 2 == 0 else 1.0

    clock = FakeClock(second_is_slower)
    found = compared(Worker(clock, 1000), Worker(clock, 1000), clock)
    assert found.verdict == NO_DIFFERENCE
    assert found.difference_ns.value == pytest.approx(0, abs=0.01)


def test_rare_interruptions_of_one_contestant_do_not_move_the_median() -> None:
    clock = FakeClock()
    a, b = Worker(clock, 1000), Worker(clock, 1000)

    def interrupted(items: Sequence[int]) -> None:
        b(items)
        if len(b.blocks) % 10 == 0:
            clock.spend(4_000_000)

    found = asyncio.run(duet.compare(a, interrupted, Run(count()), seconds=0.5, clock=clock))
    assert found.verdict == NO_DIFFERENCE


def test_both_get_the_same_items_once_each_and_the_order_is_flipped_each_round() -> None:
    clock = FakeClock()
    order: list[str] = []
    a, b = Worker(clock, 1000), Worker(clock, 1000)

    def noted(name: str, worker: Worker) -> Callable[[Sequence[int]], None]:
        def run(items: Sequence[int]) -> None:
            order.append(name)
            worker(items)

        return run

    found = asyncio.run(duet.compare(noted("a", a), noted("b", b), Run(count()), seconds=0.05, clock=clock))
    assert a.calls == b.calls == list(range(len(a.calls)))
    # Ten pairs with each copy, after a round to warm it up.
    assert "".join(order).endswith(("ab" + 10 * "abba") * (found.pairs // 10))


def test_measuring_starts_after_200_calls_and_takes_blocks_of_100_to_200_us() -> None:
    clock = FakeClock()
    a, b = Worker(clock, 700), Worker(clock, 1300)
    found = compared(a, b, clock)
    assert len(a.blocks[0]) == len(b.blocks[0]) == 200
    assert found.pairs >= 150
    assert {len(block) for block in a.blocks[-2 * found.pairs :]} == {found.calls_per_block}
    assert found.calls_per_block * 700 >= 100_000 and found.calls_per_block * 1300 <= 200_000
    assert found.a_ns == pytest.approx(700) and found.b_ns == pytest.approx(1300)


def test_what_a_contestant_returns_is_awaited_within_the_measured_time() -> None:
    clock = FakeClock()

    async def slow(items: Sequence[int]) -> None:
        await asyncio.sleep(0)
        clock.spend(len(items) * 2000)

    found = asyncio.run(duet.compare(Worker(clock, 1000), slow, Same(0), seconds=0.05, clock=clock))
    assert found.b_ns == pytest.approx(2000)


def test_garbage_is_not_collected_meanwhile_and_is_afterwards() -> None:
    clock = FakeClock()
    enabled: set[bool] = set()

    def observed(items: Sequence[int]) -> None:
        enabled.add(gc.isenabled())
        clock.spend(len(items) * 1000)

    assert gc.isenabled()
    asyncio.run(duet.compare(observed, Worker(clock, 1000), Same(0), seconds=0.01, clock=clock))
    assert enabled == {False}
    assert gc.isenabled()


def test_garbage_is_collected_again_when_a_contestant_raises() -> None:
    def broken(items: Sequence[int]) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(duet.compare(broken, broken, Same(0), seconds=0.01))
    assert gc.isenabled()


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    chance = random.Random(3)
    held = 0
    for seed in range(40):
        shared = [chance.gauss(0.0, 0.05) for _ in range(21)]
        held += duet.estimate([[1.0 + offset + chance.gauss(0.0, 0.02) for _ in range(5)] for offset in shared], seed).contains(1.0)
    assert held >= 35


def test_values_that_agree_within_their_group_do_not_narrow_the_interval() -> None:
    chance = random.Random(4)
    offsets = [chance.gauss(1.0, 0.1) for _ in range(40)]
    few = duet.estimate([[offset] for offset in offsets])
    many = duet.estimate([[offset] * 10 for offset in offsets])
    assert many == few


def test_a_copy_does_the_same_with_a_code_object_of_its_own() -> None:
    seen: list[int] = []
    calling = duet.each(seen.append)
    copy = duet.own_code(calling)
    calling([1, 2])
    copy([3])
    assert seen == [1, 2, 3]
    assert isinstance(calling, FunctionType) and isinstance(copy, FunctionType)
    assert copy.__code__ is not calling.__code__


def test_a_contestant_that_is_no_function_is_not_copied() -> None:
    worker = Worker(FakeClock(), 1000)
    assert duet.own_code(worker) is worker


def test_a_run_supplies_its_items_in_order_across_its_stores() -> None:
    run = Run(count())
    taken = [item for size in (7, Run.STORE - 10, 30_000, 1) for item in run(size)]
    assert taken == list(range(len(taken)))
    assert run.supplied == len(taken)
