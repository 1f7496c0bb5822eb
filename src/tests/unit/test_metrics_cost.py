import asyncio

import pytest
from msgspec.structs import replace

from infrastructure.exchanges.mexc.spot import MINI_TICKERS
from infrastructure.networking.websocket.handlers import PublicWebSocketHandler
from infrastructure.networking.websocket.lane import Lane
from tests.performance import metrics_cost, workloads
from tests.performance.metrics_cost import BOTH, Side, miscounts
from tests.performance.subject import Subject
from tests.performance.ways import disagreements
from tests.performance.without_metrics import METRICS, NotFound, less, rebuilt, without_metrics
from tests.performance.workload import Workload

WORKLOADS = [
    workloads.public("gateio_spot", "spot.trades", 60),
    workloads.many_symbols("mexc_spot", MINI_TICKERS, 20, 5),
    workloads.private("gateio_spot", "spot.orders", 60),
]


class Example:
    def total(self, values: list[int]) -> int:
        found = 0
        for value in values:
            found += value
            found += 1
        return found


def test_a_statement_is_taken_out() -> None:
    assert Example().total([5, 6]) == 13
    assert less(Example.total, ["found += 1"])(Example(), [5, 6]) == 11
    assert less(Example.total, [])(Example(), [5, 6]) == 13


@pytest.mark.parametrize("statement", ["found += 2", "return", "for value in values:\n    found += value"])
def test_a_statement_that_is_not_there_is_an_error(statement: str) -> None:
    with pytest.raises(NotFound, match="Example.total is to lose"):
        less(Example.total, ["found += 1", statement])


def test_a_statement_that_is_there_twice_is_an_error() -> None:
    def doubled(value: int) -> int:
        value += 1
        value += 1
        return value

    with pytest.raises(NotFound):
        less(doubled, ["value += 1"])


@pytest.mark.parametrize("kind", METRICS, ids=lambda kind: kind.__name__)
def test_what_counts_as_metrics_stands_in_the_source_as_it_is(kind: type) -> None:
    bare, counting = rebuilt(kind, counts=False), rebuilt(kind, counts=True)
    for name, statements in METRICS[kind].items():
        assert statements
        shorter, longer, real = (getattr(each, name).__code__ for each in (bare, counting, kind))
        assert len(shorter.co_code) < len(longer.co_code)
        assert (longer.co_names, longer.co_varnames) == (real.co_names, real.co_varnames)


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.channel)
def test_nothing_but_the_metrics_is_missing(workload: Workload) -> None:
    async def run() -> None:
        sides = [Side(workload, variant, counts=counts) for variant in BOTH for counts in (True, False)]
        for side in sides:
            take = await side.open()
            await take(workload.frames)
            assert side.last is not None and type(side.last.lane) is not Lane
            metrics, handled = side.last.lane.route.metrics, len(workload.opening) + len(workload.frames) if side.counts else 0
            assert (metrics.frames, metrics.wait.count) == (handled, handled if side.last.is_queued else 0)
            assert (sum(metrics.by_type) > 0) is side.counts is side.has_counted
        assert disagreements(sides) == []

    asyncio.run(run())


def test_outside_of_the_block_everything_is_as_it_was() -> None:
    with without_metrics():
        assert type(Subject(WORKLOADS[0], BOTH[0]).lane) is not Lane
    subject = Subject(WORKLOADS[0], BOTH[0])
    assert type(subject.lane) is Lane
    assert type(subject.lane.route.slot.__self__) is PublicWebSocketHandler  # type: ignore[attr-defined]


def test_the_cost_has_a_figure_for_each_architecture(monkeypatch: pytest.MonkeyPatch) -> None:
    short = replace(WORKLOADS[0], frames=WORKLOADS[0].frames * 15)
    monkeypatch.setattr(metrics_cost, "cases", lambda: [(short, True)])
    figures, failures = asyncio.run(metrics_cost.metrics_cost(0.1))
    assert failures == []
    assert [(figure.name, figure.unit, figure.path.variant) for figure in figures] == [("metrics", "ns", str(each)) for each in BOTH]
    assert all(figure.low is not None and figure.high is not None and figure.low <= figure.value <= figure.high for figure in figures)


def test_a_side_that_counts_and_must_not_is_told() -> None:
    async def run() -> None:
        sides = [Side(WORKLOADS[0], BOTH[0], counts=counts) for counts in (True, False)]
        for side in sides:
            await (await side.open())(WORKLOADS[0].frames)
        assert miscounts(sides) == []
        for side in sides:
            side.counts = not side.counts
        assert [text.partition(": ")[2] for text in miscounts(sides)] == [
            "metrics off, and counted: True",
            "metrics on, and counted: False",
        ]

    asyncio.run(run())
