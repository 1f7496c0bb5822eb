"""What benchmarks run over: every channel, the same each time, and equal on every way."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from infrastructure.events import MessageType
from infrastructure.exchanges import VENUES
from tests.harness.variants import VARIANTS
from tests.performance import duet, workload, workloads
from tests.performance.duet import contest
from tests.performance.subject import Subject
from tests.performance.ways import STAGES, Way, compare_ways, disagreements
from tests.performance.workload import PRIVATE, PUBLIC, Workload

FEW = 60
EVERY = [(PUBLIC, *named) for named in workloads.channels(PUBLIC)] + [(PRIVATE, *named) for named in workloads.channels(PRIVATE)]


def made(scope: str, venue: str, channel: str, frames: int = FEW) -> Workload:
    return workloads.public(venue, channel, frames) if scope == PUBLIC else workloads.private(venue, channel, frames)


def test_every_channel_of_every_venue_has_a_workload() -> None:
    private = [its.private for its in VENUES.values() if its.private is not None]
    assert len(EVERY) == sum(len(its.channels) for its in VENUES.values()) + sum(len(its.channels) for its in private)
    assert {(its.scope, its.venue, its.channel) for its in workloads.every_workload(2)} >= set(EVERY)


@pytest.mark.parametrize(("scope", "venue", "channel"), EVERY)
def test_each_frame_tells_something_and_every_way_ends_with_the_same(scope: str, venue: str, channel: str) -> None:
    its = made(scope, venue, channel)
    assert len(its.frames) == FEW

    async def run() -> list[Way]:
        ways = [Way(its, variant) for variant in VARIANTS]
        for way in ways:
            await (await way.open())(its.frames)
        return ways

    ways = asyncio.run(run())
    assert disagreements(ways) == []
    for way in ways:
        assert way.last is not None and way.last.counted.events >= FEW


@pytest.mark.parametrize("its", [*(workloads.many_symbols(*named, FEW) for named in workloads.GROWN), workloads.wide_book(FEW)], ids=str)
def test_what_grows_is_as_large_as_it_says(its: Workload) -> None:
    async def run() -> Subject:
        subject = Subject(its, VARIANTS[0])
        await subject.prepare()
        subject.deliver(its.frames[0])
        return subject

    subject = asyncio.run(run())
    if its.name == workloads.WIDE_BOOK:
        (book,) = subject.books.values()
        assert len(book.bids) >= 4990 and len(book.asks) >= 4990
    else:
        assert len(its.symbols) == 500
        is_book = VENUES[its.venue].channels[its.channel] is MessageType.ORDERBOOK
        assert len(subject.books) == (500 if is_book else 0)


def test_a_workload_is_the_same_each_time_and_after_a_file(tmp_path: Path) -> None:
    ones = [made(*EVERY[0]), made(*EVERY[-1]), workloads.wide_book(FEW)]
    assert ones == [made(*EVERY[0]), made(*EVERY[-1]), workloads.wide_book(FEW)]
    workload.write(tmp_path / "workloads", ones)
    assert workload.read(tmp_path / "workloads") == ones


def test_recorded_traffic_ends_with_the_same_on_every_way(captures: Path) -> None:
    its = workloads.recorded(captures / "gateio_spot.jsonl")
    assert its is not None and len(its.frames) > 200

    async def run() -> list[Way]:
        ways = [Way(its, variant) for variant in VARIANTS]
        for way in ways:
            await (await way.open())(its.frames)
        return ways

    assert disagreements(asyncio.run(run())) == []


def test_a_way_that_ends_with_something_else_is_told() -> None:
    its = made(*EVERY[0])

    async def run() -> list[Way]:
        ways = [Way(its, variant) for variant in VARIANTS[:2]]
        takers = [await way.open() for way in ways]
        await takers[0](its.frames)
        await takers[1](its.frames[1:])
        return ways

    assert len(disagreements(asyncio.run(run()))) == 1


def test_what_is_compared_has_a_figure_for_each_way_and_each_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duet, "LEAST_RUNS", 1)
    figures, failures = asyncio.run(compare_ways(made(*EVERY[0], frames=200), 0.0))
    assert failures == []
    names = [(figure.path.variant, figure.name) for figure in figures]
    assert names == [
        *((str(variant), name) for variant in VARIANTS for name in ("time", "ratio to direct", "indirection")),
        *(("direct", stage) for stage in STAGES),
    ]
    assert all(figure.low is not None and figure.high is not None and figure.low <= figure.value <= figure.high for figure in figures)


class Spending:
    """Takes so long for each item by a clock of its own, give or take; half of it in each of two parts."""

    def __init__(self, clock: list[int], each_ns: int) -> None:
        self.clock, self.each_ns = clock, each_ns
        self.opened = 0
        self.blocks: list[tuple[int, ...]] = []
        self._chance = random.Random(each_ns)

    async def open(self) -> Callable[[Sequence[int]], Awaitable[Sequence[int]]]:
        self.opened += 1
        self.blocks = []

        async def take(block: Sequence[int]) -> Sequence[int]:
            self.blocks.append(tuple(block))
            spent = round(len(block) * self.each_ns * self._chance.uniform(0.9, 1.1))
            self.clock[0] += spent
            return spent // 2, spent - spent // 2

        return take


def test_a_contest_gives_every_entry_every_item_in_order_and_finds_the_ratio() -> None:
    clock = [0]
    entries = [Spending(clock, 10_000), Spending(clock, 15_000)]
    timings = asyncio.run(contest(entries, range(1000), seconds=0.5, clock=lambda: clock[0]))
    first, second = entries
    assert first.opened == second.opened >= duet.LEAST_RUNS
    assert first.blocks == second.blocks
    taken = [item for block in first.blocks for item in block]
    assert taken == list(range(len(taken))) and len(taken) > 950
    ratio = timings.of(lambda columns: (columns[2] + columns[3]) / (columns[0] + columns[1]))
    assert ratio.contains(1.5) and ratio.high - ratio.low < 0.02
    assert clock[0] >= 0.5e9
