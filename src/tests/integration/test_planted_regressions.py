"""Losses that were planted are found by what can be counted without a compiler or valgrind, in processes that run the code they should."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import pytest

from infrastructure.events import Architecture
from tests.harness.variants import Variant
from tests.performance import compare_revisions
from tests.performance.compare_revisions import RevisionError, worktree
from tests.performance.figures import Figure
from tests.performance.findings import Finding
from tests.performance.orders import Open, Round, State, Tell
from tests.performance.pairs import (
    PACKAGE,
    SRC,
    Contestant,
    ContestantFailed,
    compare_sources,
    copy_package,
    disagreements,
    entries,
    written,
)
from tests.performance.planted_regressions import ALLOCATION, CALL, LEAK, LINEAR_SEARCH, Planted, work
from tests.performance.regression_detection import compare_exact, compare_slopes
from tests.performance.traces import LONG, Traces, located, slopes, trace, what_grows
from tests.performance.workload import Workload
from tests.performance.workloads import many_symbols, public

DIRECT = Variant(Architecture.DIRECT, False)
CHANNEL = ("gateio_spot", "spot.trades")


class Bench:
    """The code as it is, and the figures of its copies."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.plain = copy_package(SRC / PACKAGE, folder / "plain")
        self.workloads: list[Workload] = [public(*CHANNEL, LONG), many_symbols(*CHANNEL)]
        self.few, self.many = self.wanted = entries(self.workloads, [DIRECT])
        self.traces = trace(self.plain, self.workloads, self.wanted)

    def copy(self, planted: Planted) -> Path:
        return planted.into(self.folder / planted.name.replace(" ", "-"))

    def found(self, source: Path) -> dict[tuple[bool, str], Finding]:
        """By whether there are many symbols, and figure."""
        traces: Traces = trace(source, self.workloads, self.wanted)
        found = located(compare_exact(self.traces.figures, traces.figures), self.traces.functions, traces.functions)
        return {(each.path == self.many.path, each.figure): each for each in found}

    @cached_property
    def plain_slopes(self) -> list[Figure]:
        return self.slopes(self.plain)

    def slopes(self, source: Path) -> list[Figure]:
        figures, failures = slopes(source, self.workloads, [self.few])
        assert failures == []
        return figures


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    yield Bench(tmp_path_factory.mktemp("copies"))


class TestPlanted:
    def test_a_call_is_found_and_named(self, bench: Bench) -> None:
        found = bench.found(bench.copy(CALL))[False, "python calls"]
        assert found.is_alarm
        assert found.after - found.before == 1.0
        assert found.where == "base_websocket_client.SessionHandler._planted"

    def test_an_allocation_is_found_where_it_is_made(self, bench: Bench) -> None:
        found = bench.found(bench.copy(ALLOCATION))
        assert found[False, "bytecodes"].where == "lane.Lane.deliver"
        assert (False, "python calls") not in found

    def test_a_linear_search_is_found_by_what_more_symbols_cost(self, bench: Bench) -> None:
        found = bench.found(bench.copy(LINEAR_SEARCH))
        few, many = found[False, "bytecodes"], found[True, "bytecodes"]
        assert many.is_alarm
        assert many.after - many.before > 10 * (few.after - few.before)
        assert "session.Session.apply" in many.where

    def test_a_leak_of_an_object_per_100_messages_is_found_and_its_line_named(self, bench: Bench) -> None:
        source = bench.copy(LEAK)
        (found,) = compare_slopes(bench.plain_slopes, bench.slopes(source))
        assert found.is_alarm
        assert found.figure == "blocks a message"
        assert found.after == pytest.approx(0.01)
        assert what_grows(source, bench.workloads, bench.few).startswith("infrastructure/networking/websocket/lane.py:")

    def test_the_same_code_is_no_difference(self, bench: Bench) -> None:
        twin = copy_package(SRC / PACKAGE, bench.folder / "twin!")
        assert bench.found(twin) == {}
        assert compare_slopes(bench.plain_slopes, bench.slopes(twin)) == []

    def test_a_text_that_does_not_stand_there_once_plants_nothing(self, bench: Bench) -> None:
        with pytest.raises(ValueError, match="stands 0 times in session.py"):
            Planted("nothing", "session.py", "no such text", "", "").into(bench.folder / "nothing")

    def test_a_duet_of_processes_times_both_and_holds_their_states_against_one_another(self, bench: Bench) -> None:
        (duel,), failures = compare_sources(
            bench.plain, bench.copy(work("much work", 3000)), bench.workloads, [bench.few], seconds=0.1, processes=2
        )
        assert failures == []
        assert duel.processes == 2
        assert duel.pairs >= 2
        assert duel.a_ns.value > 0
        assert duel.ratio.low <= duel.ratio.value <= duel.ratio.high
        assert [figure.name for figure in duel.figures] == ["time", "ratio to base"]


# Processes


@pytest.fixture(scope="module")
def file() -> Iterator[Path]:
    with written([public(*CHANNEL, 40)]) as made:
        yield made


def test_a_contestant_runs_the_code_of_its_source(tmp_path: Path, file: Path) -> None:
    source = Planted("ended", "session.py", "class Session:\n", 'raise RuntimeError("the other code")\n\n\nclass Session:\n', "").into(
        tmp_path
    )
    with Contestant(source, file) as contestant, pytest.raises(ContestantFailed, match="RuntimeError: the other code"):
        contestant.ask(Tell(), State)


def test_a_contestant_takes_nothing_from_elsewhere(tmp_path: Path, file: Path) -> None:
    source = copy_package(SRC / PACKAGE, tmp_path)
    (source / PACKAGE / "audit.py").unlink()
    with (
        Contestant(source, file) as contestant,
        pytest.raises(ContestantFailed, match="has no infrastructure.audit, which the harness needs"),
    ):
        contestant.ask(Tell(), State)


PARENT = """
import os, sys
from pathlib import Path
from tests.performance.orders import Blocks
from tests.performance.pairs import SRC, Contestant
one = Contestant(SRC, Path(sys.argv[1]))
one.ask(Blocks(), int)
print(one._process.pid, flush=True)
os.kill(os.getpid(), 9)
"""


def test_a_contestant_ends_when_its_parent_does(file: Path) -> None:
    done = subprocess.run([sys.executable, "-c", PARENT, str(file)], cwd=SRC, capture_output=True, text=True)
    child, deadline = int(done.stdout), time.monotonic() + 30
    # The end of its orders is all that tells it.
    while is_running(child):
        assert time.monotonic() < deadline
        os.sched_yield()


def is_running(process: int) -> bool:
    """A zombie, which nobody has asked for its status, is not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_rounds_leave_the_state_that_their_frames_leave(file: Path) -> None:
    with Contestant(SRC, file) as one, Contestant(SRC, file) as other:
        for side, rounds in ((one, 2), (other, 1)):
            assert side.ask(Open(0, "strategy", 20), int) == 40
            assert all(side.ask(Round(number), int) > 0 for number in range(rounds))
        states = one.ask(Tell(), State), other.ask(Tell(), State)
    assert [state.events for state in states] == [40, 20]
    assert disagreements(*states) == ["another number of events: 40 before, 20 after"]
    assert disagreements(states[0], states[0]) == []


# Revisions


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "repository"
    (root / "src" / PACKAGE).mkdir(parents=True)
    (root / "src" / PACKAGE / "one.py").write_text("first = True\n")
    git = ["git", "-c", "user.name=tests", "-c", "user.email=tests@localhost"]
    for command in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "first"]):
        subprocess.run([*git, *command], cwd=root, check=True)
    (root / "src" / PACKAGE / "one.py").write_text("first = False\n")
    return root


def worktrees(repository: Path) -> int:
    listed = subprocess.run(["git", "worktree", "list"], cwd=repository, capture_output=True, text=True, check=True)
    return len(listed.stdout.splitlines())


@pytest.mark.parametrize("end", [None, KeyboardInterrupt, SystemExit])
def test_a_revision_is_checked_out_and_removed_however_it_ends(repository: Path, end: type[BaseException] | None) -> None:
    tree = Path()
    try:
        with worktree("HEAD", repository) as tree:
            assert (tree / "src" / PACKAGE / "one.py").read_text() == "first = True\n"
            assert worktrees(repository) == 2
            if end is not None:
                raise end
    except (KeyboardInterrupt, SystemExit):
        pass
    assert not tree.exists()
    assert worktrees(repository) == 1


def test_a_revision_that_is_not_there_is_told(
    repository: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RevisionError, match="there is no revision nosuch"), worktree("nosuch", repository):
        pass
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    assert compare_revisions.main(["no-such-revision"]) == 2
    assert "no-such-revision cannot be compared: there is no revision" in capsys.readouterr().err
