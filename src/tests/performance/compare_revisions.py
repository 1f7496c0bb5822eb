"""What has become slower or faster since a revision: its code and the present one as a duet, and what each does for a message, counted.

    python -m tests.performance.compare_revisions HEAD~1 [--seconds 2] [--all]

The old revision is checked out into a worktree of its own, which is removed afterwards, and its protobuf modules are made there. The
harness and the workloads are the present ones for both. Exits 1 if something was lost, 2 if the old revision cannot be measured.
"""

import argparse
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from infrastructure.events import Architecture
from infrastructure.exchanges import VENUES
from tests.harness.captures import ROOT
from tests.harness.variants import Variant
from tests.performance import figures, workloads
from tests.performance.duet import CONFIDENCE, NO_DIFFERENCE
from tests.performance.findings import Finding
from tests.performance.pairs import PACKAGE, PROCESSES, SRC, ContestantFailed, Duel, Entry, compare_sources, copy_package, entries
from tests.performance.regression_detection import (
    RATIO_MARGIN,
    beyond,
    compare_exact,
    compare_slopes,
    decisive,
    judge,
    told,
    tried,
    worst_first,
)
from tests.performance.traces import LONG, located, slopes, trace
from tests.performance.workload import PRIVATE, PUBLIC, Workload

SECONDS = 2.0
VARIANTS = [Variant(architecture, False) for architecture in Architecture]
WIDTH = 140
#: So much of a failed command is shown.
EXCERPT = 2000


class RevisionError(Exception):
    """The revision cannot be measured."""


class Compared(NamedTuple):
    """What two versions took, each try of it; what is another; and what was wrong."""

    tries: dict[figures.Path, list[Duel]]
    found: list[Finding]
    failures: list[str]


def chosen(every: bool) -> list[Workload]:
    """Of each venue its trades, the first of its books, and the orders of an account; or every channel."""
    if every:
        return [workloads.public(*named, LONG) for named in workloads.channels(PUBLIC)] + [
            workloads.private(*named, LONG) for named in workloads.channels(PRIVATE)
        ]
    found = []
    for name, venue in VENUES.items():
        trades, *_ = [channel for channel in venue.channels if channel not in venue.book_channels]
        book, *_ = venue.book_channels
        found += [workloads.public(name, trades, LONG), workloads.public(name, book, LONG)]
        if venue.private is not None:
            found.append(workloads.private(name, next(iter(venue.private.channels)), LONG))
    return found


@contextmanager
def worktree(revision: str, repository: Path = ROOT) -> Iterator[Path]:
    """A folder with the files of a revision and its protobuf modules; it is removed at the end, however that comes."""
    commit = _run(
        ["git", "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}"], repository, f"there is no revision {revision}"
    ).strip()
    with tempfile.TemporaryDirectory(prefix="tickrail-") as folder:
        tree = Path(folder) / "old"
        try:
            _run(["git", "worktree", "add", "--detach", str(tree), commit], repository, f"{revision} cannot be checked out")
            if any((tree / "src" / PACKAGE).rglob("*.proto")):
                _run([sys.executable, "setup.py", "--quiet", "compile_messages"], tree, f"the messages of {revision} cannot be compiled")
            yield tree
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(tree)], cwd=repository, capture_output=True)
            subprocess.run(["git", "worktree", "prune"], cwd=repository, capture_output=True)


def _run(command: Sequence[str], folder: Path, otherwise: str) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise RevisionError(f"{otherwise}. {(done.stderr or done.stdout).strip()[-EXCERPT:]}".strip())
    return done.stdout


def compare(old: Path, new: Path, chosen: Sequence[Workload], *, seconds: float, processes: int = PROCESSES) -> Compared:
    """The ``infrastructure`` in the folder ``new`` against that in ``old``."""
    wanted, failures = entries(chosen, VARIANTS), dict[str, None]()

    def measure(some: Sequence[Entry]) -> list[Duel]:
        duels, wrong = compare_sources(old, new, chosen, some, seconds=seconds, processes=processes)
        failures.update(dict.fromkeys(wrong))
        return duels

    before, after = trace(old, chosen, wanted), trace(new, chosen, wanted)
    found = located(compare_exact(before.figures, after.figures), before.functions, after.functions)
    kept, wrong_before = slopes(old, chosen, wanted)
    keeps, wrong_after = slopes(new, chosen, wanted)
    found += compare_slopes(kept, keeps)
    tries = tried(measure, wanted)
    failures.update(dict.fromkeys([*wrong_before, *wrong_after]))
    return Compared(tries, worst_first(found + judge(tries)), list(failures))


def table(title: str, compared: Compared) -> Table:
    """A row for each path: of several tries the one that shows the least."""
    made = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, show_edge=False)
    words = ("channel", "variant", "verdict")
    for column in ("channel", "variant", "old, ns", "new, ns", "ratio", f"{CONFIDENCE:.0%} interval", "tries", "verdict"):
        made.add_column(column, justify="left" if column in words else "right", no_wrap=True)
    for path, duels in compared.tries.items():
        duel = decisive(duels)
        interval = f"{duel.ratio.low:.3f} to {duel.ratio.high:.3f}"
        channel = f"{path.venue} {path.channel}"
        made.add_row(
            channel,
            path.variant,
            f"{duel.a_ns.value:,.0f}",
            f"{duel.b_ns.value:,.0f}",
            f"{duel.ratio.value:.3f}",
            interval,
            str(len(duels)),
            verdict(duel),
        )
    return made


def verdict(duel: Duel) -> str:
    """In words: a difference that is too small to be told otherwise is one all the same."""
    is_small = duel.verdict != NO_DIFFERENCE and not beyond(duel.ratio)
    return f"{duel.verdict}, within {RATIO_MARGIN:.0%}" if is_small else duel.verdict


def leave(number: int, frame: object) -> None:
    """Ended from outside as by Ctrl-C: what was made is removed."""
    raise SystemExit(128 + number)


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, print, and return what the process exits with."""
    parser = argparse.ArgumentParser(prog="python -m tests.performance.compare_revisions", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("base", metavar="BASE", help="the old revision, as git names it")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for each path")
    parser.add_argument("--processes", type=int, default=PROCESSES, help="so often both begin anew")
    parser.add_argument("--all", action="store_true", help="every channel, not only three of each venue")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, leave)
    try:
        with worktree(options.base) as tree, tempfile.TemporaryDirectory(prefix="tickrail-") as folder:
            # Copies, so that neither is edited meanwhile, and both lie in folders whose names are equally long.
            old = copy_package(tree / "src" / PACKAGE, Path(folder) / "old")
            new = copy_package(SRC / PACKAGE, Path(folder) / "new")
            compared = compare(old, new, chosen(options.all), seconds=options.seconds, processes=options.processes)
    except (RevisionError, ContestantFailed) as error:
        print(f"{options.base} cannot be compared: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    console = Console()
    # A file, or a pipe, has no width.
    (console if console.is_terminal else Console(width=WIDTH)).print(table(f"{options.base} against the present code", compared))
    print()
    print("\n".join([*told(compared.found), *(f"note: {failure}." for failure in compared.failures)]))
    return 1 if any(finding.is_alarm for finding in compared.found) else 0


if __name__ == "__main__":
    sys.exit(main())
