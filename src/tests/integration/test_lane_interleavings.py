"""The lane under every interleaving of a few steps; ``make soak`` goes to eight."""

import pytest

from infrastructure.injected import FlipEarlyLane
from tests.harness.interleavings import CONFIGURATIONS, Run, Violation, explore, explore_all
from tests.harness.planted import DropOnSwitchLane, ForgetfulLane, TwiceOnFallbackLane


@pytest.mark.parametrize("run", CONFIGURATIONS, ids=["plain callbacks", "async callbacks"])
def test_every_interleaving_of_four_steps_keeps_order_and_account(run: Run) -> None:
    assert explore(run, 4).states > 800


@pytest.mark.parametrize("run", CONFIGURATIONS, ids=["plain callbacks", "async callbacks"])
def test_so_does_every_sequence_of_four_moves_none_left_out(run: Run) -> None:
    assert explore_all(run, 4) == 9 + 9**2 + 9**3 + 9**4


@pytest.mark.parametrize("lane_type", [FlipEarlyLane, DropOnSwitchLane, TwiceOnFallbackLane, ForgetfulLane])
def test_a_planted_bug_is_found(lane_type: type) -> None:
    with pytest.raises(Violation):
        for run in CONFIGURATIONS:
            explore(run._replace(lane_type=lane_type), 4)
