"""The kernel's counters: a processor's where there is one, page faults everywhere."""

import os
from pathlib import Path

import pytest

from tests.performance import hardware
from tests.performance.hardware import PAGE_FAULTS, PROCESSOR, Counters, NoCounters


def counters() -> Counters:
    try:
        return Counters((PAGE_FAULTS,))
    except NoCounters as error:
        pytest.skip(str(error))


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_what_happens_in_between_is_counted_and_no_more() -> None:
    with counters() as found:
        found.start()
        kept = bytearray(400 * os.sysconf("SC_PAGE_SIZE"))
        assert 400 <= found.stop()[PAGE_FAULTS.name] < 1000
        kept.extend(bytearray(400 * os.sysconf("SC_PAGE_SIZE")))
        found.start()
        assert found.stop()[PAGE_FAULTS.name] < 50


def test_a_processor_without_counters_is_said_to_have_none_and_leaves_no_file() -> None:
    before = open_files()
    missing = hardware.missing()
    assert open_files() == before
    if missing is None:
        with Counters(PROCESSOR) as found:
            found.start()
            assert found.stop()["hardware instructions"] > 0
    else:
        assert "perf_event_open" in missing
