"""Fixtures of the whole suite, and the rule that a skipped test fails where TICKRAIL_NO_SKIP is set."""

import os
from pathlib import Path

import pytest

from tests.harness.canary import pytest_configure  # noqa: F401  # The watch over what the run shows.
from tests.harness.captures import CAPTURES
from tests.harness.variants import VARIANTS, Variant


@pytest.fixture(params=VARIANTS, ids=str)
def variant(request: pytest.FixtureRequest) -> Variant:
    """Both architectures, each as it is and through the other's adapter."""
    chosen: Variant = request.param
    return chosen


@pytest.fixture
def captures() -> Path:
    """The folder of recorded traffic, which is no part of the project."""
    if not CAPTURES.is_dir():
        pytest.skip(f"no recorded traffic at {CAPTURES}; set TICKRAIL_CAPTURES to the folder that holds it")
    return CAPTURES


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("TICKRAIL_NO_SKIP") and reporter and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
