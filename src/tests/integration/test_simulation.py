"""Simulated lives of a feed, from seeds; ``make soak`` runs ten thousand."""

import asyncio

import pytest

from tests.harness.planted import PLANTED
from tests.harness.simulation import simulate
from tests.harness.variants import VARIANTS, Variant
from tests.harness.virtual_loop import Deadlock, run_virtual

SEEDS = 60


def test_nothing_is_lost_doubled_or_reordered_and_every_book_is_right(variant: Variant) -> None:
    problems = {seed: found for seed in range(SEEDS) if (found := simulate(seed, variant))}
    assert not problems


def test_one_seed_gives_one_history(variant: Variant) -> None:
    first, second = ([simulate(seed, variant, PLANTED["drop on switch"]) for seed in range(5)] for _ in range(2))
    assert first == second and any(first)


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_bug_is_found_within_a_thousand_seeds(name: str) -> None:
    assert any(simulate(seed, VARIANTS[seed % len(VARIANTS)], PLANTED[name]) for seed in range(1000))


def test_an_hour_of_virtual_time_passes_at_once() -> None:
    async def main() -> float:
        await asyncio.sleep(3600)
        return asyncio.get_running_loop().time()

    assert run_virtual(1, main()) >= 3600


def test_a_deadlock_is_an_error() -> None:
    async def main() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(Deadlock):
        run_virtual(1, main())
