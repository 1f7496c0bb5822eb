"""The probe counts what happens, and nothing of its own."""

import shutil
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType

import pytest

from tests.performance import probe
from tests.performance.exact_run import named
from tests.performance.probe import Probe, ProbeError


@pytest.fixture
def counting() -> Iterator[Probe]:
    found = probe.load()
    found.install()
    yield found
    found.remove()
    found.forget()


def allocations_of(counting: Probe, call: Callable[[], object]) -> tuple[int, int, int]:
    """Of ``call`` alone."""

    def nothing() -> None:
        pass

    totals = []
    for measured in (nothing, call):
        for _ in range(300):
            measured()
        counting.start()
        measured()
        totals.append(counting.stop())
    before, after = totals
    return after[0] - before[0], after[1] - before[1], after[2] - before[2]


def one_block() -> None:
    bytes(1000)


def handed_on() -> None:
    bytearray(100_000)  # Its block is too large for the object allocator, which hands it on to the raw one.


@pytest.mark.parametrize(("call", "allocations", "least_bytes"), [(one_block, 1, 1000), (handed_on, 2, 100_000)])
def test_an_allocation_is_counted_once_with_its_bytes(
    counting: Probe, call: Callable[[], object], allocations: int, least_bytes: int
) -> None:
    found, size, frees = allocations_of(counting, call)
    assert (found, frees) == (allocations, allocations)
    assert least_bytes <= size < least_bytes + 200


def test_allocations_belong_to_the_function_that_runs(counting: Probe) -> None:
    def outer() -> None:
        one_block()
        one_block()

    outer()
    counting.start()
    outer()
    total, *_ = counting.stop()
    by_name = {named(row)[0]: row[3] for row in counting.functions()}
    assert by_name["test_probe.one_block"] == 2
    assert sum(by_name.values()) == total


def test_what_other_threads_allocate_does_not_count(counting: Probe) -> None:
    def working() -> None:
        begin.wait()
        for _ in range(1000):
            one_block()
        end.set()

    begin, end = threading.Event(), threading.Event()
    thread = threading.Thread(target=working)
    thread.start()
    counting.start()
    begin.set()
    end.wait()
    found, *_ = counting.stop()
    thread.join()
    assert found < 200


def calls_of(call: Callable[[], object]) -> tuple[int, int, dict[str, int]]:
    found = probe.load()
    call()
    found.start_profile()
    call()
    python, c = found.stop_profile()
    by_name = {named(row)[0]: row[2] for row in found.functions()}
    found.forget()
    return python, c - 1, by_name  # Less the call that stops it.


def three_calls() -> None:
    sorted([len("a"), abs(-1)], key=lambda number: number)


def failing() -> None:
    try:
        int.from_bytes(b"", "middle")  # type: ignore[arg-type]
    except ValueError:
        pass


def test_python_and_c_calls_are_counted_by_function() -> None:
    python, c, by_name = calls_of(three_calls)
    assert (python, c) == (3, 3)
    assert by_name["builtins.sorted"] == by_name["builtins.len"] == by_name["builtins.abs"] == 1
    assert by_name["test_probe.three_calls.<locals>.<lambda>"] == 2


def test_a_call_that_raises_is_a_call() -> None:
    assert calls_of(failing)[:2] == (1, 1)


def test_the_counts_are_those_of_the_profile_function_of_sys() -> None:
    events: list[str] = []
    sys.setprofile(lambda frame, event, arg: events.append(event))
    three_calls()
    sys.setprofile(None)
    python, c, _ = calls_of(three_calls)
    assert (python, c) == (events.count("call"), events.count("c_call") - 1)


def test_no_code_is_kept_once_the_functions_are_forgotten() -> None:
    def passing() -> None:
        pass

    code: CodeType = passing.__code__
    before = sys.getrefcount(code)
    calls_of(passing)
    assert sys.getrefcount(code) == before


def test_calls_out_of_order_are_errors(counting: Probe) -> None:
    with pytest.raises(RuntimeError, match="installed already"):
        counting.install()
    with pytest.raises(RuntimeError, match="start_profile first"):
        counting.stop_profile()
    counting.start()
    with pytest.raises(RuntimeError, match="being counted"):
        counting.start_profile()
    with pytest.raises(RuntimeError, match="being counted"):
        counting.forget()
    counting.stop()


def test_nothing_is_counted_before_the_allocators_are_installed() -> None:
    found = probe.load()
    with pytest.raises(RuntimeError, match="install the counting allocators first"):
        found.start()
    with pytest.raises(RuntimeError, match="not installed"):
        found.remove()


FORKING = """
import os, sys
from pathlib import Path
from tests.performance.probe import load_from
number = load_from(Path(sys.argv[1])).fork_each(5, 2)
if number is not None:
    (Path(sys.argv[2]) / str(number)).write_text("")
    os._exit(3 if number == int(sys.argv[3]) else 0)
"""


def forked(folder: Path, failing: int) -> subprocess.CompletedProcess[str]:
    source = str(probe.PROJECT / "src")
    command = [sys.executable, "-c", FORKING, str(probe.build()), str(folder), str(failing)]
    return subprocess.run(command, env={"PYTHONPATH": source}, capture_output=True, text=True)


def test_each_job_has_a_process(tmp_path: Path) -> None:
    assert forked(tmp_path, -1).returncode == 0
    assert {path.name for path in tmp_path.iterdir()} == set("01234")


def test_a_job_that_fails_ends_them_all(tmp_path: Path) -> None:
    done = forked(tmp_path, 1)
    assert done.returncode != 0 and "job 1 ended with the status" in done.stderr
    assert not (tmp_path / "4").exists()


def test_it_is_compiled_once_and_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = probe.build(tmp_path)
    written = made.stat().st_mtime_ns
    assert probe.build(tmp_path) == made and made.stat().st_mtime_ns == written
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ProbeError, match="no C compiler"):
        probe.build(tmp_path / "other")
    monkeypatch.undo()
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(ProbeError, match="no headers of Python"):
        probe.build(tmp_path / "other")
    monkeypatch.undo()
    broken = tmp_path / "probe.c"
    broken.write_text("int wrong(")
    monkeypatch.setattr(probe, "SOURCE", broken)
    with pytest.raises(ProbeError, match="probe.c does not compile"):
        probe.build(tmp_path / "other")
