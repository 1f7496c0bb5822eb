"""Turns by key: no window ever holds more than a rate allows, and nobody waits without need."""

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infrastructure.limits import JITTER, Limiter, Window
from infrastructure.venue import Rate
from tests.harness.effort import effort
from tests.harness.virtual_loop import VirtualLoop, run_virtual

SECOND = 1_000_000_000
RATES = st.lists(st.builds(Rate, st.integers(1, 6), st.floats(0.1, 20.0)), min_size=1, max_size=3)


@given(rates=RATES, asked_s=st.lists(st.floats(0.0, 60.0), min_size=1, max_size=60).map(sorted))
@effort(200)
def test_no_window_holds_more_than_a_rate_allows_and_none_waits_needlessly(rates: list[Rate], asked_s: list[float]) -> None:
    window = Window(rates)
    taken: list[int] = []
    for at_s in asked_s:
        asked_ns = max(round(at_s * SECOND), *taken[-1:], 0)
        goes_ns = max(asked_ns, window.free_ns)
        window.take(goes_ns)
        taken.append(goes_ns)
        if goes_ns > asked_ns:
            # A nanosecond earlier it would have been one too many for some rate.
            assert any(sum(1 for other in taken[:-1] if other > goes_ns - 1 - round(rate.per_s * SECOND)) >= rate.count for rate in rates)
    for rate in rates:
        for begin in taken:
            assert sum(1 for other in taken if begin <= other < begin + round(rate.per_s * SECOND)) <= rate.count


def on_virtual_time(seed: int, *rates: Rate) -> tuple[Limiter, VirtualLoop]:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    limiter = Limiter(loop.clock.monotonic_ns, random.Random(seed))
    limiter.limit("k", *rates)
    return limiter, loop


@pytest.mark.parametrize("seed", range(20))
def test_who_come_together_go_one_after_the_other_in_their_order_and_within_the_limit(seed: int) -> None:
    async def main() -> None:
        limiter, loop = on_virtual_time(seed, Rate(5, 1.0))
        went: list[tuple[int, float]] = []

        async def go(number: int) -> None:
            await limiter.turn("k")
            went.append((number, loop.time()))

        await asyncio.gather(*(go(number) for number in range(50)))
        assert [number for number, _ in went] == list(range(50))
        times = [at for _, at in went]
        for begin in times:
            assert sum(1 for at in times if begin <= at < begin + 1.0 - 1e-6) <= 5
        assert times[-1] <= 9 * (1.0 + 5 * JITTER * 0.2) + 1e-6

    run_virtual(seed, main())


def test_a_pause_that_the_venue_asks_for_holds_for_everybody_under_the_key_and_for_nobody_else() -> None:
    async def main() -> None:
        limiter, loop = on_virtual_time(1, Rate(100, 1.0))
        limiter.limit("other", Rate(1, 1.0))
        began = loop.time()
        limiter.defer("k", 30.0)
        await limiter.turn("other")
        assert loop.time() == began
        await asyncio.gather(limiter.turn("k"), limiter.turn("k"))
        assert loop.time() - began >= 30.0

    run_virtual(1, main())


def test_who_gives_up_waiting_takes_no_turn() -> None:
    async def main() -> None:
        limiter, loop = on_virtual_time(1, Rate(1, 1.0))
        began = loop.time()
        await limiter.turn("k")
        waiting = [asyncio.ensure_future(limiter.turn("k")) for _ in range(20)]
        await asyncio.sleep(0)
        for each in waiting:
            each.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await limiter.turn("k")
        assert loop.time() - began <= 1.0 + JITTER + 1e-6

    run_virtual(1, main())
