"""A slope is found, and a step is none; no leak in the product, and one of an object in a hundred messages."""

import asyncio

import pytest

from infrastructure.events import Architecture
from tests.harness.variants import Variant
from tests.performance import memory
from tests.performance.duet import Estimate
from tests.performance.figures import Figure

MESSAGES = 60_000


def blocks(figures: list[Figure]) -> Estimate:
    found, *_ = [figure for figure in figures if figure.name == "blocks a message"]
    assert found.low is not None and found.high is not None
    return Estimate(found.value, found.low, found.high)


def test_what_comes_up_steadily_is_a_slope() -> None:
    found = memory.slope([7 + 3 * n + n % 2 for n in range(101)], 300)
    assert found.value == pytest.approx(0.01) and found.low > 0.0095


def test_what_is_taken_once_is_none() -> None:
    found = memory.slope([0] * 42 + [5000] * 59, 300)
    assert (found.value, found.low, found.high) == (0, 0, 0)


def test_what_goes_up_and_down_is_none() -> None:
    assert memory.slope([n * n % 7 for n in range(101)], 300).contains(0)


@pytest.mark.parametrize("architecture", Architecture)
def test_nothing_of_a_message_stays_behind(architecture: Architecture) -> None:
    figures, failures = asyncio.run(memory.memory_slope(Variant(architecture, False), MESSAGES))
    assert [failure for failure in failures if "bytes" not in failure] == []
    assert blocks(figures).contains(0) and blocks(figures).high < memory.LEAST_BLOCKS


@pytest.mark.parametrize("architecture", Architecture)
def test_a_leak_of_one_object_in_a_hundred_messages_is_found(architecture: Architecture) -> None:
    kept: list[object] = []
    seen = [0]

    def leaks(event: object) -> None:
        seen[0] += 1
        if seen[0] % 100 == 0:
            kept.append(object())

    figures, failures = asyncio.run(memory.memory_slope(Variant(architecture, False), MESSAGES // 2, leaks))
    found = blocks(figures)
    assert found.value == pytest.approx(0.01, rel=0.1) and found.low > memory.LEAST_BLOCKS
    assert any("blocks stay behind" in failure for failure in failures)
