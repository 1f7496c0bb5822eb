"""What the metrics cost: the real path, and the same path without them, over the same frames.

    python -m tests.performance.metrics_cost [--seconds 10]

Metrics are what summaries and windows are made from: each frame's latency, its wait in the lane where it waits, the count of its messages
by type, and the clock readings for these alone. The frame's number, its outcome, the events' account and the reading that dates the frame
are no metrics: the contracts and ``received_ns`` need them. The path without is the source of the real one, less the statements named in
``METRICS``; one that is not found there, once, is an error.
"""

import argparse
import ast
import asyncio
import inspect
import sys
import textwrap
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from types import CodeType, FunctionType
from typing import Any
from unittest.mock import patch

from msgspec.structs import replace

from infrastructure.events import Architecture
from infrastructure.exchanges.mexc.spot import MINI_TICKERS
from infrastructure.metrics import Histogram
from infrastructure.networking.websocket.adapters import strategy_adapter
from infrastructure.networking.websocket.handlers import PrivateWebSocketHandler, PublicWebSocketHandler
from infrastructure.networking.websocket.lane import Lane
from infrastructure.networking.websocket.strategies.general import EventMessageHandler
from tests.harness.variants import Variant
from tests.performance import subject, workloads
from tests.performance.duet import contest, own_code
from tests.performance.figures import Figure, measured, path_of
from tests.performance.subject import Subject
from tests.performance.ways import Way, disagreements
from tests.performance.workload import Workload

FIGURE = "metrics"
BOTH = [Variant(architecture, False) for architecture in Architecture]
#: A frame's messages are counted one by one: so many of them in each.
MANY = 20
FRAMES = 1000
#: Counts of a feed that has run for long: integers of two digits, of which each increment makes another.
GROWN = 1 << 40
GROWN_COUNTS = "grown counts"

_COUNTING = ["by_type = self._by_type", "for message in messages:\n    by_type[message.message_type] += 1"]
#: By class and method: the statements that are metrics.
METRICS: Mapping[type, Mapping[str, Sequence[str]]] = {
    Lane: {
        "deliver": ["self._metrics.latency.record(self._monotonic_ns() - started)"],
        "_handle": [
            "metrics = route.metrics",
            "started = self._monotonic_ns()",
            "metrics.wait.record(started - queued_ns)",
            "metrics.latency.record(self._monotonic_ns() - started)",
        ],
    },
    PublicWebSocketHandler: {"_publish": _COUNTING},
    PrivateWebSocketHandler: {"_publish": _COUNTING},
    EventMessageHandler: {"handle": _COUNTING},
}


class NotFound(Exception):
    """A statement does not stand in a function's source, or more than once."""


class _Less(ast.NodeTransformer):
    """Takes statements out of a tree, and notes each."""

    def __init__(self, statements: Sequence[str]) -> None:
        self._wanted = {ast.dump(ast.parse(statement).body[0]): statement for statement in statements}
        self.found: list[str] = []

    def visit(self, node: ast.AST) -> Any:
        """Without the node, if it is one of them."""
        statement = self._wanted.get(ast.dump(node)) if isinstance(node, ast.stmt) else None
        if statement is None:
            return super().visit(node)
        self.found.append(statement)
        return None


def less(function: Callable[..., Any], statements: Sequence[str]) -> FunctionType:
    """``function``, compiled anew from its source without ``statements``. Raises NotFound."""
    if not isinstance(function, FunctionType):
        raise NotFound(f"{function!r} has no source")
    made: dict[str, Any] = {}
    exec(_compiled(function, tuple(statements)), function.__globals__, made)
    own: FunctionType = own_code(made[function.__name__])
    return own


@cache
def _compiled(function: FunctionType, statements: Sequence[str]) -> CodeType:
    name = f"{function.__module__}.{function.__qualname__}"
    if function.__closure__:
        raise NotFound(f"{name} is not all in its source")
    transformer = _Less(statements)
    tree = transformer.visit(ast.parse(textwrap.dedent(inspect.getsource(function))))
    if sorted(transformer.found) != sorted(statements):
        raise NotFound(f"{name} is to lose {sorted(statements)}, and has {sorted(transformer.found)}")
    return compile(tree, f"<{name}, less {len(statements)} statements>", "exec")


def rebuilt(kind: type, *, counts: bool) -> type:
    """A subclass of ``kind`` whose methods are its own, without the statements that are metrics unless it ``counts``."""
    own: dict[str, Any] = {}
    for name, method in inspect.getmembers(kind, inspect.isfunction):
        if name in METRICS[kind]:
            own[name] = less(method, [] if counts else METRICS[kind][name])
        elif not name.startswith("__"):
            own[name] = own_code(method)
    return type(kind)(kind.__name__, (kind,), own)


@contextmanager
def metrics_as(*, counts: bool) -> Iterator[None]:
    """A Subject that is made within, of either architecture as it is, has code of its own, and no metrics unless it ``counts``."""
    lane, public, private, handler = (rebuilt(kind, counts=counts) for kind in METRICS)
    with (
        patch.dict(Subject.__init__.__kwdefaults__, lane_type=lane),
        patch.object(subject, "PublicWebSocketHandler", public),
        patch.object(subject, "PrivateWebSocketHandler", private),
        patch.object(strategy_adapter, "EventMessageHandler", handler),
    ):
        yield


def without_metrics() -> AbstractContextManager[None]:
    """A Subject that is made within, of either architecture as it is, has no metrics."""
    return metrics_as(counts=False)


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
    for failure in failures:
        print(failure, file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
