"""The gate, as ``make bench-gate`` runs it: what a message costs is what the committed baseline says."""

import subprocess
import sys

import pytest

from tests.harness.captures import ROOT
from tests.performance import exact


def test_no_message_costs_more_than_the_baseline_says() -> None:
    lacking = exact.valgrind_missing()
    if lacking is not None:
        pytest.skip(f"instructions cannot be counted: {lacking}")
    # It counts, and does not mind how long it takes; tests over sockets beside it do.
    command = ["nice", "-n", "19", sys.executable, "-m", "tests.performance.gate"]
    done = subprocess.run(command, cwd=ROOT / "src", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
