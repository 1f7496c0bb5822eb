"""What the metrics cost: the real path, and the same path without them, over the same frames.

    python -m tests.performance.metrics_cost [--seconds 10]

In nanoseconds, and where valgrind is there in instructions. What counts as metrics, ``without_metrics.py`` says.
"""

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence

from msgspec.structs import replace

from infrastructure.events import Architecture
from infrastructure.exchanges.mexc.spot import MINI_TICKERS
from infrastructure.metrics import Histogram
from tests.harness.variants import VARIANTS, Variant
from tests.performance import workloads
from tests.performance.duet import contest
from tests.performance.exact import Place, difference, valgrind_missing, whole
from tests.performance.figures import Figure, counted, measured, path_of
from tests.performance.subject import Subject
from tests.performance.ways import Way, disagreements
from tests.performance.without_metrics import metrics_as
from tests.performance.workload import Workload

FIGURE = "metrics"
BOTH = [Variant(architecture, False) for architecture in Architecture]
#: A frame's messages are counted one by one: so many of them in each.
MANY = 20
FRAMES = 1000
#: Counts of a feed that has run for long: integers of two digits, of which each increment makes another.
GROWN = 1 << 40
GROWN_COUNTS = "grown counts"


class Side(Way):
    """A workload's frames with metrics, or without; ``is_grown``: as if the feed had run for long."""

    def __init__(self, workload: Workload, variant: Variant, *, counts: bool, is_grown: bool = False) -> None:
        super().__init__(workload, variant)
        self.counts = counts
        self._is_grown = is_grown

    async def open(self) -> Callable[[Sequence[bytes]], Awaitable[Sequence[int]]]:
        with metrics_as(counts=self.counts):
            take = await super().open()
        if self._is_grown and self.last is not None:
            grow(self.last)
        return take

    @property
    def has_counted(self) -> bool:
        """Whether anything was recorded of the workload's frames."""
        return self.last is not None and self.last.lane.route.metrics.latency.maximum > 0


def grow(opened: Subject) -> None:
    """Let the metrics look as if the feed had run for long."""
    metrics = opened.lane.route.metrics
    metrics.by_type[:] = [GROWN] * len(metrics.by_type)
    for histogram in (metrics.latency, metrics.wait):
        _grow(histogram)


def _grow(histogram: Histogram) -> None:
    for row in histogram._rows:
        row[:] = [GROWN] * len(row)


def cases() -> list[tuple[Workload, bool]]:
    """A cheap frame; the same when counts have grown; a frame of many messages, grown too. With whether they have."""
    trades = workloads.public("gateio_spot", "spot.trades", FRAMES)
    many = workloads.many_symbols("mexc_spot", MINI_TICKERS, FRAMES, MANY)
    return [
        (trades, False),
        (replace(trades, name=GROWN_COUNTS), True),
        (replace(many, name=f"{MANY} messages a frame, {GROWN_COUNTS}"), True),
    ]


async def metrics_cost(seconds: float) -> tuple[list[Figure], list[str]]:
    """The metrics of each architecture in nanoseconds a frame, in about so many seconds; and what was wrong."""
    figures: list[Figure] = []
    failures: list[str] = []
    of_all = cases()
    for workload, is_grown in of_all:
        sides = [Side(workload, variant, counts=counts, is_grown=is_grown) for variant in BOTH for counts in (True, False)]
        timings = await contest(sides, workload.frames, seconds=seconds / len(of_all))
        for index, variant in enumerate(BOTH):
            counting, bare = 2 * index, 2 * index + 1

            def cost(columns: Sequence[float], counting: int = counting, bare: int = bare) -> float:
                return columns[counting] - columns[bare]

            figures.append(measured(path_of(workload, variant), FIGURE, "ns", timings.of(cost)))
        failures += disagreements(sides)
        failures += miscounts(sides)
    return figures, failures


def metrics_instructions() -> list[Figure]:
    """The metrics of each architecture in instructions a frame: of a cheap frame, and of one of many messages."""
    few, _, many = (replace(workload, name=workload.name.removesuffix(f", {GROWN_COUNTS}")) for workload, _ in cases())
    ways = [(workload, VARIANTS.index(variant)) for workload in (few, many) for variant in BOTH]
    with Place() as place:
        both = zip(ways, *(place.run("simulated", ways, metrics=counts) for counts in (True, False)), strict=True)
        figures = []
        for (workload, number), counting, bare in both:
            (dear, frames), (cheap, _) = difference(whole(counting.windows)), difference(whole(bare.windows))
            instructions = dear["instructions"] - cheap["instructions"]
            figures.append(counted(path_of(workload, VARIANTS[number]), f"{FIGURE} instructions", "", instructions, frames, "simulated"))
    return figures


def miscounts(sides: Sequence[Side]) -> list[str]:
    """Which of them have metrics and must not, or the other way round."""
    return [
        f"{side.workload.title}, {side.variant}: metrics {'on' if side.counts else 'off'}, and counted: {side.has_counted}"
        for side in sides
        if side.has_counted is not side.counts
    ]


def main() -> int:
    """Print what the metrics cost; 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description="What the metrics cost, in nanoseconds a frame.")
    parser.add_argument("--seconds", type=float, default=10.0)
    figures, failures = asyncio.run(metrics_cost(parser.parse_args().seconds))
    for figure in figures:
        print(f"{figure.value:8.0f} {figure.unit}  ({figure.low:.0f} to {figure.high:.0f})  {figure.path}")
    missing = valgrind_missing()
    if missing is None:
        for figure in metrics_instructions():
            print(f"{figure.value:8.0f} instructions  {figure.path}")
    else:
        print(f"no instructions: {missing}")
    for failure in failures:
        print(failure, file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
