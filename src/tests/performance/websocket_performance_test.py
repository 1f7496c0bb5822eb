"""Measures both architectures, alone and through each other's adapter, on every channel of every venue; prints, and keeps what it found.

    cd src && ../.venv/bin/python -m tests.performance.websocket_performance_test [--quick] [--only TEXT] [--json]

In this order: duets in one process (``ways``), the parts of a frame's way (``parts``), real sockets (``over_socket``), a million messages
(``memory``), and what is counted (``exact``). The exit status is 1 where contestants did not do the same work. ``.bench/`` in the
project's folder gets report and plots, and a record in the history of this machine.
"""

import argparse
import asyncio
import sys
from collections.abc import Iterator, Sequence
from itertools import chain

import msgspec
import uvloop
from rich.console import Console

from infrastructure.events import MessageType
from infrastructure.exchanges import VENUES
from tests.performance import baseline_metrics, exact, parts, report, workloads
from tests.performance.figures import Distribution, Figure, Path, Report, by_key, path_of
from tests.performance.memory import memory_slopes
from tests.performance.metrics_cost import metrics_cost, metrics_instructions
from tests.performance.over_socket import latencies, rate_for, switch_pauses, throughputs
from tests.performance.ways import compare_ways
from tests.performance.workload import PUBLIC, STEADY, Workload

WIDTH = 100
BURST = 10


class Plan(msgspec.Struct, frozen=True):
    """How long is measured. Seconds are those of each workload, or of a whole section; a section of 0 is left out."""

    ways_s: float
    parts_s: float
    latency_s: float
    samples: int
    throughput_s: float
    pauses_s: float
    metrics_s: float
    messages: int

    @property
    def is_full(self) -> bool:
        """Whether nothing is left out."""
        return self.messages > 0


FULL = Plan(ways_s=1.0, parts_s=11, latency_s=80, samples=10_000, throughput_s=20, pauses_s=8, metrics_s=10, messages=1_000_000)
QUICK = Plan(ways_s=0.3, parts_s=0, latency_s=0, samples=1_000, throughput_s=4, pauses_s=0, metrics_s=0, messages=0)


def of_every_channel() -> list[Workload]:
    """All there are."""
    return workloads.every_workload()


def of_a_few_channels() -> list[Workload]:
    """Trades, a book and an order of each venue."""
    return [*map(_public, chain(TRADES, BOOKS)), *(workloads.private(*named) for named in ORDERS)]


def _first(kind: MessageType) -> Iterator[tuple[str, str]]:
    for name, venue in VENUES.items():
        every = {**venue.channels, **(venue.private.channels if venue.private else {})}
        yield name, next(channel for channel, its in every.items() if its is kind)


def _public(named: tuple[str, str]) -> Workload:
    return workloads.public(*named)


#: Of each venue, those that stand for it where not all are measured.
TRADES, ORDERS = list(_first(MessageType.TRADE)), list(_first(MessageType.ORDER))
BOOKS = [named for named in workloads.GROWN if named not in TRADES]
TYPICAL = TRADES + BOOKS + ORDERS


async def measure(chosen: Sequence[Workload], plan: Plan, told: Console) -> tuple[Report, list[Distribution], list[parts.Row]]:
    """Everything that the plan has time for."""
    figures: list[Figure] = []
    failures: list[str] = []
    rows: list[parts.Row] = []

    def took(found: tuple[list[Figure], list[str]]) -> None:
        figures.extend(found[0])
        failures.extend(found[1])

    for number, workload in enumerate(chosen, 1):
        told.print(f"{number}/{len(chosen)} {workload.venue} {workload.title}", style="dim")
        took(await compare_ways(workload, plan.ways_s))
    times = {key: figure.value for key, figure in by_key(figures).items() if key[1] == "time"}
    rated = [(workload, rate_for(slowest_of(workload, times))) for workload in chosen if workload.name != workloads.RECORDED]
    typical = [(workload, rate) for workload, rate in rated if (workload.venue, workload.channel) in TYPICAL and workload.name == STEADY]
    few = [(workload, rate) for workload, rate in typical if workload.scope == PUBLIC]
    if plan.parts_s:
        told.print("parts of a frame's way", style="dim")
        rows, wrong = await parts.every_part(plan.parts_s)
        took((parts.figures_of(rows), wrong))
    if plan.metrics_s:
        told.print("metrics", style="dim")
        took(await metrics_cost(plan.metrics_s))
    told.print("latency", style="dim")
    # As many frames as p99.9 needs, of those that stand for their venues; of the others what there is time for.
    found, distributions, wrong = await latencies(typical, samples=plan.samples)
    took((found, wrong))
    others = [each for each in rated if each not in typical]
    if others:
        found, more, wrong = await latencies(others, samples=plan.samples, seconds=plan.latency_s)
        distributions += more
        took((found, wrong))
    if plan.pauses_s:
        told.print("latency in bursts, throughput, switches", style="dim")
        found, _, wrong = await latencies(few, samples=plan.samples, seconds=plan.throughput_s, burst=BURST)
        took((found, wrong))
        took(await switch_pauses(few, seconds=plan.pauses_s))
    took(await throughputs([workload for workload, _ in few], seconds=plan.throughput_s))
    if plan.messages:
        told.print(f"{plan.messages:,} messages", style="dim")
        took(await memory_slopes(plan.messages))
    told.print("counts", style="dim")
    lacking = exact.valgrind_missing()
    if lacking is not None:
        told.print(f"instructions and misses are not counted: {lacking}", style="yellow")
    counts = exact.count(counted_of(chosen), simulated=exact.EVERY_WAY if plan.is_full and lacking is None else ())
    took((counts.figures, counts.failures))
    if plan.metrics_s and lacking is None:
        took((metrics_instructions(), []))
    return Report(baseline_metrics.machine(), baseline_metrics.commit(), baseline_metrics.now(), figures, failures), distributions, rows


def slowest_of(workload: Workload, times: dict[tuple[Path, str], float]) -> float:
    """What its slowest way takes for a frame, in nanoseconds."""
    return max(value for (path, _), value in times.items() if msgspec.structs.replace(path, variant="") == path_of(workload, ""))


def counted_of(chosen: Sequence[Workload]) -> list[Workload]:
    """The same with as many frames as are counted."""
    names = {path_of(workload, "") for workload in chosen}
    return [workload for workload in exact.every_workload() if path_of(workload, "") in names]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, keep, and return the exit status."""
    parser = argparse.ArgumentParser(description="Both architectures on every channel: time, latency, throughput, memory, counts.")
    parser.add_argument("--quick", action="store_true", help="a few channels, in less than a minute")
    parser.add_argument("--only", default="", metavar="TEXT", help="channels that have this in their name, or in their venue's")
    parser.add_argument("--json", action="store_true", help="the report as one JSON object on stdout")
    given = parser.parse_args(arguments)
    told = Console(width=WIDTH, stderr=True)
    every = of_a_few_channels() if given.quick else of_every_channel()
    chosen = [workload for workload in every if given.only in f"{workload.venue} {workload.title}"]
    if not chosen:
        parser.error(f"no channel has {given.only!r} in its name")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # As the commands of the product do.
        found, distributions, rows = runner.run(measure(chosen, QUICK if given.quick else FULL, told))
    if given.json:
        print(msgspec.json.encode(found).decode())
    else:
        console = Console(width=WIDTH)
        report.show(found, console)
        for table in parts.table_of(rows, WIDTH):
            console.print(table)
    report.write(found, distributions, baseline_metrics.FOLDER, "make bench-quick" if given.quick else "make bench")
    if not given.only and not given.quick:
        baseline_metrics.append(found)
    return 0 if found.is_sound else 1


if __name__ == "__main__":
    sys.exit(main())
