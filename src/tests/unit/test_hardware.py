"""The kernel's counters: a processor's where there is one, page faults everywhere."""

import mmap
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


PAGE = os.sysconf("SC_PAGE_SIZE")


def test_what_happens_in_between_is_counted_and_no_more() -> None:
    # New memory: what the interpreter has from before would give no faults.
    with counters() as found, mmap.mmap(-1, 400 * PAGE) as during, mmap.mmap(-1, 400 * PAGE) as between:
        found.start()
        touch(during)
        assert 400 <= found.stop()[PAGE_FAULTS.name] < 1000
        touch(between)
        found.start()
        assert found.stop()[PAGE_FAULTS.name] < 50


def touch(memory: mmap.mmap) -> None:
    for start in range(0, len(memory), PAGE):
        memory[start] = 1


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
