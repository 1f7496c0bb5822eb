"""tickrail against what others stream with: cryptofeed, ccxt.pro, and a loop written by hand, on the same frames.

    cd src && ../.venv/bin/python -m tests.performance.peers.compare PYTHON [--seconds 300] [--quick] [--json]

PYTHON is that of an environment with cryptofeed, ccxt, msgspec and sortedcontainers. Every contestant is a process of its own, all of them
on uvloop, with garbage collected as Python does it by default.

First all take the same frames, and must arrive at the exchange's own books and number of trades; whoever does not, then or later, gets no
figures. The books have at most 50 levels a side, and every contestant keeps them all.

*A frame*: from the frame as the library's transport hands it on to the end of the callback, with the book in order. Offline, in blocks,
each in turn; several times with fresh processes, which are the groups of the bootstrap. What is part of a contestant's figure is said
where it is made: see ``ccxt_contestant``, ``cryptofeed_contestant``, ``loop_contestant``, and ``subject`` for tickrail.

*The whole way*: processor time, user's and system's, of the contestant's process for each message that one simulated exchange sends it
over a socket with TLS, books and trades, from when the books are live. ccxt.pro and cryptofeed are as they are shipped, tickrail is
``open_feed``. cryptofeed does not ask for fractions of contracts, and gets shorter frames. The loop has no transport.

Results go to ``.bench/peers.json``. Exit code 0 only if all books were right.
"""

import argparse
import asyncio
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from operator import itemgetter
from pathlib import Path as File
from tempfile import TemporaryDirectory
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec
from rich.console import Console
from rich.table import Table

from tests.harness.bare_server import Certificates
from tests.interop.compare import tls_in_front
from tests.performance import baseline_metrics
from tests.performance import report as reports
from tests.performance import workload as workloads
from tests.performance.duet import Columns, Timings, estimate
from tests.performance.figures import Figure, Path, Report, measured, path_of
from tests.performance.peers import contests, crew
from tests.performance.peers.contests import Ground, Run
from tests.performance.peers.crew import DIRECT, ENTRIES, ContestantFailed, Entry, Process
from tests.performance.peers.frames import Given, everything
from tests.performance.peers.opening import CHANNELS
from tests.performance.workload import PUBLIC
from tickrail import simulated_exchange

WIDTH = 100
BOTH = "books and trades"
WHOLE_WAY = "whole way"
#: What happens a second over all pairs and kinds at the simulated exchange; it pushes every 10 ms. Three quarters are books and trades.
RATE = "1000"


class Effort(NamedTuple):
    """How much is measured: frames of a workload, seconds over a socket, how often at least, and how long in all."""

    frames: int
    live_s: float
    groups: int
    seconds: float


FULL = Effort(3000, 1.5, 5, 300.0)
QUICK = Effort(1000, 0.5, 2, 30.0)


class Results:
    """What came of all groups, and what was wrong with whom."""

    def __init__(self) -> None:
        #: By number of the workload.
        self.runs: dict[int, list[Run]] = defaultdict(list)
        #: By venue and contestant, by group the nanoseconds for each message.
        self.spent: dict[tuple[str, Entry], list[float]] = defaultdict(list)
        self.wrong: dict[tuple[str, str, Entry], str] = {}

    def add_run(self, index: int, given: Given, run: Run) -> None:
        """A run through a workload."""
        self.runs[index].append(run)
        for entry, mistake in run.wrong.items():
            self.wrong.setdefault((given.workload.venue, given.workload.channel, entry), mistake)

    def add_spent(self, venue: str, entry: Entry, spent: contests.Spent) -> None:
        """A time over a socket."""
        self.spent[venue, entry].append(spent.message_ns)
        if spent.wrong:
            self.wrong.setdefault((venue, BOTH, entry), spent.wrong)

    @property
    def failures(self) -> list[str]:
        """In words."""
        return [f"{entry}: {venue} {channel}: {mistake}" for (venue, channel, entry), mistake in self.wrong.items()]

    def figures(self, everything: Sequence[Given]) -> list[Figure]:
        """Of whoever was right, and the ratios to tickrail's direct architecture."""
        found: list[Figure] = []
        for index, runs in self.runs.items():
            workload = everything[index].workload
            entries, timings = runs[0].entries, Timings([run.pairs for run in runs])
            for place, entry in enumerate(entries):
                if self._is_right(workload.venue, workload.channel, entry):
                    found += frame_figures(path_of(workload, entry), timings, place, entries.index(DIRECT))
        for (venue, entry), each in self.spent.items():
            if self._is_right(venue, BOTH, entry):
                path = Path(venue, PUBLIC, BOTH, WHOLE_WAY, str(entry))
                found += whole_way_figures(path, each, self.spent[venue, DIRECT])
        return found

    def _is_right(self, venue: str, channel: str, entry: Entry) -> bool:
        """Whether it was, and that which it is held against."""
        return not {(venue, channel, entry), (venue, channel, DIRECT)} & self.wrong.keys()


def frame_figures(path: Path, timings: Timings, place: int, direct: int) -> list[Figure]:
    """The time of one for a frame, and its ratio to direct's."""

    def ratio(columns: Columns) -> float:
        return columns[place] / columns[direct]

    return [measured(path, "time", "ns", timings.of(itemgetter(place))), measured(path, "ratio to direct", "", timings.of(ratio))]


def whole_way_figures(path: Path, each: Sequence[float], direct: Sequence[float]) -> list[Figure]:
    """Processor time for each message, by group, and its ratio to direct's of the same group."""
    ratios = [[own / other] for own, other in zip(each, direct, strict=True)]
    return [
        measured(path, "processor time", "ns", estimate([[own] for own in each])),
        measured(path, "processor time ratio to direct", "", estimate(ratios)),
    ]


@asynccontextmanager
async def grounds(everything: Sequence[Given], certificates: Certificates) -> AsyncIterator[dict[str, Ground]]:
    """The exchanges of all workloads by venue, silent, with TLS in front."""
    async with AsyncExitStack() as stack:
        found: dict[str, Ground] = {}
        for workload in (given.workload for given in everything):
            if workload.venue not in found:
                options = ("--seed", "7", "--symbols", ",".join(workload.symbols), "--rate", RATE)
                exchange = await stack.enter_async_context(simulated_exchange(workload.venue, *options))
                await exchange.pause()
                address = urlsplit(exchange.websocket_url)
                assert address.port is not None
                port = await stack.enter_async_context(tls_in_front(address.port, certificates.server()))
                found[workload.venue] = Ground(exchange, f"wss://localhost:{port}{address.path}", workload.symbols)
        yield found


async def measure(python: str, effort: Effort, console: Console) -> Report:
    """Measure until the time is up; the first group's run through the frames is the check that is told at once."""
    deadline = time.monotonic() + effort.seconds
    given = everything(effort.frames)
    results = Results()
    with TemporaryDirectory() as folder:
        file, certificates = File(folder) / "workloads", Certificates(File(folder))
        workloads.write(file, [each.workload for each in given])
        environment = {"SSL_CERT_FILE": f"{folder}/authority"}
        async with grounds(given, certificates) as by_venue:

            async def offline(processes: Sequence[Process]) -> None:
                for index, each in enumerate(given):
                    ground = by_venue[each.workload.venue]
                    results.add_run(index, each, await contests.offline(processes, str(file), index, each, ground))

            facts, done = baseline_metrics.machine(), 0
            while done < effort.groups or time.monotonic() < deadline:
                async with crew.crew(ENTRIES, python, environment) as processes:
                    await offline(processes)
                    if not done:
                        facts |= await _facts(processes)
                        console.print("\n".join(results.failures) or "The same books and trades everywhere.", soft_wrap=True)
                    done += 1
                    for ground in by_venue.values():
                        for process in processes if done % 2 else reversed(processes):
                            if process.entry.has_transport and ground.exchange.venue in process.entry.venues:
                                spent = await contests.whole_way(process, ground, effort.live_s)
                                results.add_spent(ground.exchange.venue, process.entry, spent)
    facts["groups"] = str(done)
    return Report(facts, baseline_metrics.commit(), baseline_metrics.now(), results.figures(given), results.failures)


async def _facts(processes: Sequence[Process]) -> dict[str, str]:
    found = {str(process.entry): _words(await process.ask("facts")) for process in processes}
    return found | {"turn of the loop": f"{await processes[-1].ask('turn')} ns"}


def _words(facts: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in facts.items())


def table(report: Report, venue: str) -> Table:
    """A venue's contestants in microseconds, and against tickrail's direct architecture."""
    shown = Table(title=f"\n{venue}", title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 1, 0, 0))
    shown.add_column("", no_wrap=True)
    book, trade = CHANNELS[venue]
    columns = [(book, "time", "ratio to direct"), (trade, "time", "ratio to direct")]
    columns.append((BOTH, "processor time", "processor time ratio to direct"))
    for title in ("book us", "trade us", "whole us"):
        shown.add_column(title, justify="right", no_wrap=True)
        shown.add_column("ratio", justify="right", no_wrap=True)
    for entry in ENTRIES:
        own = {(figure.path.channel, figure.name): figure for figure in report.figures if _is_of(figure, venue, str(entry))}
        cells = [_cell(own.get((channel, name)), 1000 if name == names[0] else 1) for channel, *names in columns for name in names]
        if own:
            shown.add_row(str(entry), *cells)
    return shown


def _is_of(figure: Figure, venue: str, variant: str) -> bool:
    return (figure.path.venue, figure.path.variant) == (venue, variant)


def _cell(figure: Figure | None, unit: int) -> str:
    if figure is None:
        return "-"
    if unit > 1:
        return f"{figure.value / unit:.1f}"
    assert figure.low is not None and figure.high is not None
    value, low, high = (f"{each:.1f}" if figure.value >= 10 else f"{each:.2f}" for each in (figure.value, figure.low, figure.high))
    return f"{value} [{low}, {high}]"


def main() -> int:
    """Print, write, and say with the exit code whether all was right."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("python")
    parser.add_argument("--seconds", type=float, help="how long in all, but for the last round")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true", help="to standard output, in place of tables")
    given = parser.parse_args()
    effort = QUICK if given.quick else FULL
    if given.seconds is not None:
        effort = effort._replace(seconds=given.seconds)
    console = Console(width=WIDTH, stderr=given.json)
    try:
        report = asyncio.run(measure(given.python, effort, console))
    except ContestantFailed as error:
        console.print(str(error), style="red", soft_wrap=True)
        return 1
    content = msgspec.json.format(msgspec.json.encode(report))
    baseline_metrics.FOLDER.mkdir(exist_ok=True)
    (baseline_metrics.FOLDER / "peers.json").write_bytes(content)
    reports.draw(reports.read(baseline_metrics.FOLDER / "peers.json"), baseline_metrics.FOLDER)
    if given.json:
        print(content.decode())
    else:
        for name, value in report.machine.items():
            console.print(f"{name}: {value}")
        for venue in CHANNELS:
            console.print(table(report, venue))
    for failure in report.failures:
        console.print(failure, style="red", soft_wrap=True)
    return 0 if report.is_sound else 1


if __name__ == "__main__":
    sys.exit(main())
