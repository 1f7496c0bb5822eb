"""The examples run as they stand, each a program of its own, and are short enough to be read."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness.captures import ROOT

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
LONGEST = 130


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs(example: Path, tmp_path: Path) -> None:
    # Warnings, and what asyncio and the interpreter find amiss, are on standard error.
    command = [sys.executable, "-W", "always", "-X", "dev", str(example)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_short(example: Path) -> None:
    assert len(example.read_text().splitlines()) < LONGEST
