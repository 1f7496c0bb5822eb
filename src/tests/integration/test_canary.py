"""The watch over the run finds what is planted, in one process and in several, and fails the run for it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness.canary import CANARIES

SRC = Path(__file__).parents[2]
#: What shows a canary, and by which words the watch tells of it.
PLANTED = {
    "logging.getLogger('some.library').log(1, 'sent %s', SECRET)": "the secret in a log of some.library at 1",
    "logging.getLogger('a.library').debug('%(a)s', {'a': 1, 'b': KEY})": "the key in a log of a.library at 10",
    "planted.log_failing(SECRET)": "the secret in a log of planted.library at 40",
    "print(LISTEN_KEY)": "the listen key in a Captured stdout call of",
    "sys.stderr.write(KEY)": "the key in a Captured stderr call of",
    "subprocess.run(['echo', SECRET])": "the secret in a Captured stdout call of",
    "warnings.warn(SECRET, UserWarning)": "the secret in a warning of",
    "assert KEY == ''": "the key in a report of",
    "RequestFailed('x', f'no {SECRET}')": "the secret in a error",
}
PROLOGUE = """
import logging, subprocess, sys, warnings
import planted
from infrastructure.errors import RequestFailed
from tests.harness.canary import KEY, LISTEN_KEY, SECRET
"""
LIBRARY = """
import logging

def log_failing(held):
    try:
        1 / 0
    except ZeroDivisionError:
        logging.getLogger("planted.library").exception("failed")
"""


def ran(folder: Path, lines: list[str], *options: str) -> tuple[int, list[str]]:
    """The exit code of a run of one test for each line, and what the watch told at its end."""
    (folder / "conftest.py").write_text("from tests.harness.canary import pytest_configure\n")
    (folder / "planted.py").write_text(LIBRARY)
    (folder / "test_planted.py").write_text(PROLOGUE + "".join(f"def test_{number}():\n    {line}\n" for number, line in enumerate(lines)))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(folder), *options, str(folder)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(SRC), str(folder)])},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    _, _, told = done.stdout.partition("canaries: ")
    # What fails is named after that, in pytest's own words.
    return done.returncode, told.partition("\n=")[0].splitlines()


BOTH = pytest.mark.parametrize("options", [["-p", "no:xdist"], ["-n", "2"]], ids=["one process", "two"])


@BOTH
def test_each_planted_canary_is_found_and_not_shown_again(tmp_path: Path, options: list[str]) -> None:
    code, told = ran(tmp_path, list(PLANTED), *options)
    assert code == pytest.ExitCode.TESTS_FAILED
    assert [words for words in PLANTED.values() if not any(line.strip().startswith(words) for line in told)] == []
    assert not any(canary in line for line in told for canary in CANARIES.values())


@BOTH
def test_one_is_enough_to_fail_a_run_whose_tests_pass(tmp_path: Path, options: list[str]) -> None:
    code, told = ran(tmp_path, ["logging.getLogger('x').log(1, LISTEN_KEY)"], *options)
    assert code == pytest.ExitCode.TESTS_FAILED and not told[0].endswith(" 0 hits")


def test_a_run_without_one_passes(tmp_path: Path) -> None:
    code, told = ran(tmp_path, ["print('nothing')", "logging.getLogger('x').debug('nothing')"], "-p", "no:xdist")
    assert code == pytest.ExitCode.OK and told[0].endswith(" 0 hits")
