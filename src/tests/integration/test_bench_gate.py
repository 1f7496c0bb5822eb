"""The gate, as ``make bench-gate`` runs it: what a message costs is what the committed baseline says."""

import pytest

from tests.performance import exact, gate


def test_no_message_costs_more_than_the_baseline_says(capsys: pytest.CaptureFixture[str]) -> None:
    lacking = exact.valgrind_missing()
    if lacking is not None:
        pytest.skip(f"instructions cannot be counted: {lacking}")
    assert gate.main([]) == 0, capsys.readouterr().out
