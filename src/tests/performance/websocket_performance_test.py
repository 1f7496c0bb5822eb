"""What the parts of a frame's way cost, and direct handling against the strategy architecture: duets, printed.

    cd src && ../.venv/bin/python -m tests.performance.websocket_performance_test [--json] [--seconds N]

Both contestants of a row get the same frames; all figures are nanoseconds of wall clock for each message. A contestant calls in a
loop of its own, which is part of its figure and cancels in the difference.

Direct against strategy: both are an OfflineFeed with its real lane, session, metrics and both accounts. Direct is ``feed.deliver`` in a
loop. Strategy is ``feed.deliver`` for a block of frames, which queues them, and then as many turns of the event loop as the lane's task
needs to finish them: everything runs within one running loop, so that a block pays for one task and one or two turns of the
loop, as one read of a socket would, and never for starting or stopping a loop. Book frames carry rising ids, so that every one is
applied. Afterwards both feeds must have given the same events, hold equal books, and balance their accounts, else the exit status is 1.
"""

import argparse
import asyncio
import importlib.metadata
import os
import platform
import random
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from sortedcontainers import SortedDict

from infrastructure.book import BookSide
from infrastructure.clock import Clock
from infrastructure.events import Architecture, MessageType
from infrastructure.exchanges.gateio.spot import GATEIO_SPOT
from infrastructure.feed import OfflineFeed, offline_feed
from infrastructure.metrics import Histogram, PathMetrics
from infrastructure.networking.websocket.adapters import StrategyPatternAdapter, WebSocketHandlerAdapter
from infrastructure.networking.websocket.handlers import BaseWebSocketClient, PublicWebSocketHandler
from infrastructure.networking.websocket.lane import FRAMES_PER_TURN, Lane
from infrastructure.networking.websocket.route import Route
from infrastructure.networking.websocket.strategies import MessageParser, ParsedMessage, StrategyReceiver, strategy_set
from infrastructure.session import Session
from infrastructure.venue import Levels
from tests.harness import frames
from tests.performance.duet import (
    BLOCK_NS,
    CALIBRATION_BLOCKS,
    CALIBRATION_CALLS,
    WARM_UP_CALLS,
    Comparison,
    Contestant,
    Estimate,
    Run,
    Same,
    calls_taking,
    compare,
    each,
    own_code,
    uncollected,
)

SECONDS = 60.0
WIDTH = 100
PARTS = "Parts of a frame's way, direct: plain medians, no duets"
LEVELS = 100
CALLBACKS = ("on_trade", "on_book_ticker", "on_ticker", "on_candle", "on_orderbook", "on_book_state", "on_gap", "on_error")
#: What is measured by sections, for the share of the time that each gets.
_DUETS = 20
_SHARES = 2
LEAST_BLOCKS = 150

FrameSource = Callable[[], Iterator[bytes]]


class Row(msgspec.Struct, frozen=True):
    """One duet; with ``within_ns`` its difference is also held against that bound."""

    section: str
    name: str
    a: str
    b: str
    found: Comparison
    within_ns: float | None = None

    @property
    def verdict(self) -> str:
        """In words."""
        bound = self.within_ns
        if bound is None:
            return self.found.verdict
        difference = self.found.difference_ns
        if -bound <= difference.low and difference.high <= bound:
            place = "within"
        else:
            place = "beyond" if difference.low > bound or difference.high < -bound else "undecided on"
        return f"{self.found.verdict}; {place} ±{bound:,.0f} ns"


class Share(msgspec.Struct, frozen=True):
    """The median cost of one part of a frame's way, not a duet."""

    frame: str
    part: str
    median_ns: float
    of_the_way: float


class Check(msgspec.Struct, frozen=True):
    """What both feeds of a row must agree on."""

    name: str
    frames: int
    events: int
    failures: tuple[str, ...]


class Report(msgspec.Struct, frozen=True):
    """Everything that is printed."""

    machine: dict[str, str]
    rows: list[Row]
    shares: list[Share]
    checks: list[Check]

    @property
    def is_sound(self) -> bool:
        """Whether the contestants did the same work."""
        return not any(check.failures for check in self.checks)

    def as_json(self) -> bytes:
        """One object."""
        rows = [
            {**msgspec.to_builtins(row), **msgspec.to_builtins(row.found), "verdict": row.verdict, "confidence": 0.95} for row in self.rows
        ]
        for row in rows:
            del row["found"]
        rest = msgspec.to_builtins({"shares": self.shares, "checks": self.checks})
        return msgspec.json.encode({"machine": self.machine, "rows": rows, **rest, "is_sound": self.is_sound})


class Count:
    """A callback that counts."""

    __slots__ = ("events",)

    def __init__(self) -> None:
        self.events = 0

    def add(self, event: object) -> None:
        self.events += 1


class Counts:
    """A counting callback for each event."""

    def __init__(self) -> None:
        self._counts = {name: Count() for name in CALLBACKS}

    @property
    def callbacks(self) -> dict[str, Any]:
        return {name: counted.add for name, counted in self._counts.items()}

    @property
    def by_name(self) -> dict[str, int]:
        return {name: counted.events for name, counted in self._counts.items()}

    @property
    def total(self) -> int:
        return sum(self.by_name.values())


class EmptyHandler(BaseWebSocketClient):
    """Takes a frame and does nothing."""

    def _handle_message(self, raw_message: bytes | str) -> None:
        pass


class EmptyParser(MessageParser):
    """Gives the same parsed message for every frame, so that what is left is what an awaited receiver costs."""

    def __init__(self) -> None:
        self._parsed = ParsedMessage(MessageType.TRADE)

    async def parse_message(self, raw_message: bytes | str) -> ParsedMessage:
        return self._parsed


# Frames


def trade_frames() -> Iterator[bytes]:
    chance = random.Random(1)
    for number in count(1):
        price = f"{chance.uniform(63_000, 65_000):.1f}"
        yield frames.trade(number, price=price, amount=f"{chance.uniform(0.0001, 2):.6f}", side=chance.choice(("buy", "sell")))


def book_ticker_frames() -> Iterator[bytes]:
    chance = random.Random(2)
    for number in count(1):
        bid = chance.randrange(630_000, 650_000)
        yield frames.book_ticker(number, bid=f"{bid / 10:.1f}", ask=f"{(bid + 1) / 10:.1f}")


def ticker_frames() -> Iterator[bytes]:
    chance = random.Random(3)
    while True:
        yield frames.ticker(last=f"{chance.uniform(63_000, 65_000):.1f}")


def candle_frames() -> Iterator[bytes]:
    chance = random.Random(4)
    while True:
        yield frames.candle(close=f"{chance.uniform(63_000, 65_000):.1f}")


def _price(is_bid: bool, index: int) -> str:
    return f"{64_000 - index / 10:.1f}" if is_bid else f"{64_000.1 + index / 10:.1f}"


def _amount(chance: random.Random) -> str:
    return f"{chance.uniform(0.001, 5):.4f}"


def whole_side(is_bid: bool, levels: int, chance: random.Random) -> list[tuple[str, str]]:
    return [(_price(is_bid, index), _amount(chance)) for index in range(levels)]


def whole_book_frames() -> Iterator[bytes]:
    """The top 20 of both sides, each time anew."""
    chance = random.Random(5)
    for number in count(1):
        yield frames.whole_book(number, whole_side(True, 20, chance), whole_side(False, 20, chance))


def changes(is_bid: bool, levels: int, chance: random.Random) -> Iterator[list[tuple[str, str]]]:
    """Changed levels of one side; every fourth push removes a level and the next puts it back."""
    missing: int | None = None
    for number in count():
        chosen = chance.sample(range(LEVELS), levels)
        if missing is not None and missing not in chosen:
            chosen[0] = missing
        missing = None
        changed = [(_price(is_bid, index), _amount(chance)) for index in chosen]
        if number % 4 == 3:
            missing = chosen[-1]
            changed[-1] = (changed[-1][0], "0")
        yield changed


def update_frames(levels: int) -> Iterator[bytes]:
    """Pushes of order_book_update after a snapshot at 1, half of the changed levels on each side."""
    chance = random.Random(6)
    sides = zip(changes(True, levels // 2, chance), changes(False, levels // 2, chance), strict=True)
    for number, (bids, asks) in enumerate(sides):
        yield frames.update(2 + number * levels, 1 + (number + 1) * levels, bids, asks)


def obu_frames(levels: int) -> Iterator[bytes]:
    """A whole book, then increments."""
    chance = random.Random(7)
    yield frames.obu(None, 1, whole_side(True, LEVELS, chance), whole_side(False, LEVELS, chance), full=True)
    sides = zip(changes(True, levels // 2, chance), changes(False, levels // 2, chance), strict=True)
    for number, (bids, asks) in enumerate(sides):
        yield frames.obu(2 + number * levels, 1 + (number + 1) * levels, bids, asks)


def rest_book() -> bytes:
    chance = random.Random(8)
    return frames.rest_book(1, whole_side(True, LEVELS, chance), whole_side(False, LEVELS, chance))


# Contestants


def nothing() -> Contestant[Any]:
    """The loop alone."""

    def run(items: Sequence[object]) -> None:
        for _ in items:
            pass

    return run


def two_readings(clock: Callable[[], int]) -> Contestant[Any]:
    def run(items: Sequence[object]) -> None:
        read = clock
        for _ in items:
            read()
            read()

    return run


def driven(call: Callable[[bytes], Coroutine[Any, Any, Any]]) -> Contestant[bytes]:
    """Each coroutine is run to its end by hand: it never suspends."""

    def run(items: Sequence[bytes]) -> None:
        do = call
        for item in items:
            try:
                do(item).send(None)
            except StopIteration:
                pass

    return run


def parsed_and_handled(adapter: WebSocketHandlerAdapter) -> Contestant[bytes]:
    async def run(items: Sequence[bytes]) -> None:
        for item in items:
            parsed = await adapter.parse_message(item)
            if parsed is not None:
                await adapter.message_handler(parsed)

    return run


def awaited_at_once(adapter: WebSocketHandlerAdapter) -> Contestant[bytes]:
    async def run(items: Sequence[bytes]) -> None:
        do = adapter._handle_message
        for item in items:
            await do(item)

    return run


def in_the_lane(feed: OfflineFeed) -> Contestant[bytes]:
    """A block of frames is queued, then the lane's task runs to its end."""

    async def run(items: Sequence[bytes]) -> None:
        deliver = feed.deliver
        for item in items:
            deliver(item)
        for _ in range(len(items) // FRAMES_PER_TURN + 1):
            await asyncio.sleep(0)

    return run


# What is measured


async def adapters(seconds: float) -> list[Row]:
    handler = EmptyHandler()
    frame = frames.trade(1)
    section = "Adapters in the slot"
    found = await compare(each(handler._handle_message), each(WebSocketHandlerAdapter(handler).slot), Same(frame), seconds=seconds)
    rows = [Row(section, "handler, empty", "its _handle_message", "WebSocketHandlerAdapter.slot", found, within_ns=5)]
    strategies = strategy_set(GATEIO_SPOT)
    strategies.message_parser = EmptyParser()
    adapter = StrategyPatternAdapter(strategies, _ignore)
    receiver = StrategyReceiver(strategies.message_parser, _ignore)
    found = await compare(driven(receiver._handle_message), driven(adapter.slot), Same(frame), seconds=seconds)
    return [*rows, Row(section, "strategy set, empty", "StrategyReceiver", "StrategyPatternAdapter.slot", found, within_ns=5)]


async def _ignore(parsed: ParsedMessage) -> None:
    """A message handler that does nothing."""


async def lane(seconds: float) -> list[Row]:
    section = "The lane over an empty handler, and its parts over an empty loop"
    handler = EmptyHandler()
    clock = Clock()
    metrics = PathMetrics(Architecture.DIRECT, clock.monotonic_ns)
    route = Route(Architecture.DIRECT, handler._handle_message, False, metrics)
    real = Lane(route, Session(GATEIO_SPOT), handler.callbacks.emit, venue=GATEIO_SPOT.name, clock=clock)
    frame = Same(frames.trade(1))
    chance = random.Random(9)
    latencies = Run(int(chance.lognormvariate(9, 0.5)) for _ in count())
    rows = [
        Row(
            section,
            "lane.deliver, empty handler",
            "the slot alone",
            "lane.deliver",
            await compare(each(handler._handle_message), each(real.deliver), frame, seconds=seconds),
            within_ns=1000,
        ),
        Row(
            section,
            "two clock readings",
            "empty loop",
            "Clock.monotonic_ns, twice",
            await compare(nothing(), two_readings(clock.monotonic_ns), frame, seconds=seconds),
        ),
        Row(
            section,
            "one latency recorded",
            "empty loop",
            "Histogram.record",
            await compare(nothing(), each(Histogram().record), latencies, seconds=seconds),
        ),
    ]
    return rows


class SortedDictSide:
    """One side of a book in a SortedDict: the alternative to BookSide."""

    def __init__(self) -> None:
        self.levels = SortedDict()

    def set(self, levels: Levels) -> None:
        """As BookSide.set."""
        for price, amount in levels:
            if amount:
                self.levels[price] = amount
            else:
                self.levels.pop(price, None)


async def containers(seconds: float) -> list[Row]:
    rows = []
    for depth in (LEVELS, 50 * LEVELS):
        chance = random.Random(11)
        ours, theirs = BookSide(), SortedDictSide()
        whole = [(float(index), 1.0) for index in range(depth)]
        ours.set(whole)
        theirs.set(whole)
        # Most changes are near the top; one in four removes a level, which the next push may bring back.
        pushes = Run(
            [(float(int(chance.expovariate(0.05)) % depth), float(chance.randrange(4))), (float(chance.randrange(depth)), 1.0)]
            for _ in count()
        )
        found = await compare(each(ours.set), each(theirs.set), pushes, seconds=seconds)
        rows.append(Row("One side of a book, 2 changes a push", f"{depth:,} levels", "BookSide", "SortedDict", found))
        assert ours.prices == list(theirs.levels) and ours.amounts == dict(theirs.levels)
    return rows


CHANNELS: list[tuple[str, FrameSource, bool]] = [
    ("spot.trades", trade_frames, False),
    ("spot.book_ticker", book_ticker_frames, False),
    ("spot.tickers", ticker_frames, False),
    ("spot.candlesticks", candle_frames, False),
    ("spot.order_book, 20+20 levels", whole_book_frames, False),
    ("spot.order_book_update, 2 changes", partial(update_frames, 2), True),
    ("spot.order_book_update, 20 changes", partial(update_frames, 20), True),
    ("spot.obu, 2 changes", partial(obu_frames, 2), False),
    ("spot.obu, 20 changes", partial(obu_frames, 20), False),
]


async def open_counted(architecture: Architecture, is_seeded: bool) -> tuple[OfflineFeed, Counts]:
    """A feed of one symbol; ``is_seeded`` gives its book a snapshot."""
    counts = Counts()
    feed = offline_feed(GATEIO_SPOT.name, [frames.SYMBOL], architecture, **counts.callbacks)
    if is_seeded:
        feed.snapshot(frames.SYMBOL, rest_book())
        await feed.drain()
    return feed, counts


async def architectures(seconds: float) -> tuple[list[Row], list[Check]]:
    rows: list[Row] = []
    checks: list[Check] = []
    for name, source, is_seeded in CHANNELS:
        direct, direct_counts = await open_counted(Architecture.DIRECT, is_seeded)
        strategy, strategy_counts = await open_counted(Architecture.STRATEGY, is_seeded)
        supply = Run(source())
        found = await compare(each(direct.deliver), in_the_lane(strategy), supply, seconds=seconds)
        rows.append(Row("Direct against strategy, frame to callback", name, "direct", "strategy", found))
        checks.append(agreement(name, supply.supplied, (direct, direct_counts), (strategy, strategy_counts)))
    return rows, checks


def agreement(name: str, sent: int, direct: tuple[OfflineFeed, Counts], strategy: tuple[OfflineFeed, Counts]) -> Check:
    """Whether both gave the same events, hold equal books, and balance their accounts."""
    failures: list[str] = []
    for feed, counts in (direct, strategy):
        kind = feed.architecture.value
        account = feed.accounting
        if not account.is_balanced:
            failures.append(f"{kind}: the accounts do not balance: {account}")
        if account.frames.delivered != sent or account.events.absorbed or account.events.pending:
            failures.append(f"{kind}: of {sent} frames not every one was delivered and gave an event: {account}")
        if account.events.accepted != counts.total:
            failures.append(f"{kind}: {account.events.accepted} events were accepted, the callbacks counted {counts.total}")
        if counts.by_name["on_gap"] or counts.by_name["on_error"]:
            failures.append(f"{kind}: gaps or errors: {counts.by_name}")
    if direct[1].by_name != strategy[1].by_name:
        failures.append(f"the events differ: {direct[1].by_name}, {strategy[1].by_name}")
    if held_by(direct[0]) != held_by(strategy[0]):
        failures.append("the books differ")
    return Check(name, sent, direct[1].total, tuple(failures))


OLD_LOOPS: list[tuple[str, Callable[[WebSocketHandlerAdapter], Contestant[bytes]]]] = [
    ("parse_message, message_handler", parsed_and_handled),
    ("adapter._handle_message", awaited_at_once),
]


def held_by(feed: OfflineFeed) -> dict[str, object]:
    return {symbol: (book.state, book.last_id, book.raw.bids, book.raw.asks) for symbol, book in feed.books.items()}


async def customers_loop(seconds: float) -> tuple[list[Row], list[Check]]:
    section = "An adapter awaited by the customer's own loop, against the handler's slot"
    rows: list[Row] = []
    checks: list[Check] = []
    frame = Same(frames.trade(1))
    for way, contestant in OLD_LOOPS:
        adapter = WebSocketHandlerAdapter(EmptyHandler())
        rows.append(
            Row(section, "empty handler", "slot", way, await compare(each(adapter.slot), contestant(adapter), frame, seconds=seconds))
        )
    for way, contestant in OLD_LOOPS:
        counts = [Counts(), Counts()]
        faces = [WebSocketHandlerAdapter(PublicWebSocketHandler(Session(GATEIO_SPOT), **counted.callbacks)) for counted in counts]
        supply = Run(trade_frames())
        found = await compare(each(faces[0].slot), contestant(faces[1]), supply, seconds=seconds)
        rows.append(Row(section, "spot.trades", "slot", way, found))
        wrong = [f"of {supply.supplied} trades: {counted.by_name}" for counted in counts if counted.total != supply.supplied]
        checks.append(Check(f"spot.trades, {way}", supply.supplied, counts[0].total, tuple(wrong)))
    return rows, checks


async def shares(name: str, source: FrameSource, is_seeded: bool, seconds: float) -> list[Share]:
    """Decode, apply and emit one after the other over the same block of frames, and the whole way of the same frames through a lane."""
    whole, _ = await open_counted(Architecture.DIRECT, is_seeded)
    session = Session(GATEIO_SPOT, [frames.SYMBOL])
    callbacks = PublicWebSocketHandler(session, **Counts().callbacks).callbacks
    if is_seeded:
        callbacks.emit(session.snapshot(frames.SYMBOL, rest_book()))
    decode, apply, emit = collecting(GATEIO_SPOT.codec.decode), collecting(session.apply), collecting(callbacks.emit)
    deliver = collecting(whole.deliver)
    supply = Run(source())
    clock = time.perf_counter_ns

    def block(calls: int) -> tuple[float, ...]:
        items = supply(calls)
        started = clock()
        messages = decode(items)
        decoded = clock()
        events = apply(messages)
        applied = clock()
        emit(events)
        emitted = clock()
        deliver(items)
        delivered = clock()
        return tuple(taken / calls for taken in (decoded - started, applied - decoded, emitted - applied, delivered - emitted))

    deadline = clock() + int(seconds * 1e9)
    with uncollected():
        block(WARM_UP_CALLS)
        calls = calls_taking(BLOCK_NS, median(block(CALIBRATION_CALLS)[-1] for _ in range(CALIBRATION_BLOCKS)))
        blocks: list[tuple[float, ...]] = []
        while len(blocks) < LEAST_BLOCKS or clock() < deadline:
            blocks.append(block(calls))
    *parts, way = (median(column) for column in zip(*blocks, strict=True))
    costs = [*zip(("codec.decode", "session.apply", "callbacks.emit"), parts, strict=True), ("the rest", way - sum(parts))]
    return [Share(name, part, cost, cost / way) for part, cost in [*costs, ("feed.deliver, the whole way", way)]]


def collecting(call: Callable[[Any], Any]) -> Callable[[Sequence[Any]], list[Any]]:
    """Keeps every result, as the next part needs it."""

    def run(items: Sequence[Any]) -> list[Any]:
        do = call
        results: list[Any] = []
        keep = results.append
        for item in items:
            keep(do(item))
        return results

    return own_code(run)


async def measure(seconds: float) -> Report:
    """Everything, in about ``seconds``."""
    share = seconds / (_DUETS + _SHARES)
    rows = await adapters(share) + await lane(share) + await containers(share)
    compared, checks = await architectures(share)
    under_old_loops, more_checks = await customers_loop(share)
    ways = await shares("spot.trades", trade_frames, False, share)
    ways += await shares("spot.order_book_update, 2 changes", partial(update_frames, 2), True, share)
    return Report(machine(), rows + compared + under_old_loops, ways, checks + more_checks)


# Printing


def machine() -> dict[str, str]:
    versions = {name: importlib.metadata.version(name) for name in ("tickrail", "msgspec", "rich")}
    return {
        "cores": str(os.cpu_count()),
        "cpu": _cpu_model(),
        "system": platform.platform(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "event_loop": type(asyncio.get_running_loop()).__name__,
        **versions,
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or "unknown")


def show(report: Report, console: Console) -> None:
    facts = Table.grid(padding=(0, 2))
    for name, value in report.machine.items():
        facts.add_row(name.replace("_", " "), value)
    console.print(facts)
    for section in dict.fromkeys(row.section for row in report.rows):
        table = Table(title=section, title_justify="left", title_style="bold", width=WIDTH, box=SIMPLE_HEAD, show_edge=False)
        table.add_column("", no_wrap=True)
        table.add_column("ns each", justify="right", no_wrap=True)
        table.add_column("B - A, ns", justify="right", no_wrap=True)
        table.add_column("B / A", justify="right", no_wrap=True)
        table.add_column("verdict", no_wrap=True)
        for row in (row for row in report.rows if row.section == section):
            found = row.found
            table.add_row(
                f"{row.name}\n A {row.a}\n B {row.b}",
                f"\n{_figure(found.a_ns)}\n{_figure(found.b_ns)}",
                _interval(found.difference_ns, _figure),
                _interval(found.ratio, "{:.3f}".format),
                row.verdict.replace("; ", "\n"),
            )
        console.print(table)
    pairs = min(row.found.pairs for row in report.rows)
    console.print(f"Medians over at least {pairs:,} pairs of blocks a row, with bootstrapped 95 % intervals.\n")
    table = Table(title=PARTS, title_justify="left", title_style="bold", width=WIDTH, box=SIMPLE_HEAD, show_edge=False)
    for heading in ("frame", "part"):
        table.add_column(heading)
    for heading in ("median, ns", "of the way"):
        table.add_column(heading, justify="right")
    for share in report.shares:
        table.add_row(share.frame, share.part, f"{share.median_ns:,.0f}", f"{share.of_the_way:.0%}")
    console.print(table)
    for check in report.checks:
        for failure in check.failures:
            console.print(f"{check.name}: {failure}", style="red")
    if report.is_sound:
        total = sum(check.frames for check in report.checks)
        console.print(f"Same events from both, equal books, balanced accounts: {total:,} frames each in {len(report.checks)} rows.")


def _figure(nanoseconds: float) -> str:
    return f"{nanoseconds:,.1f}" if abs(nanoseconds) < 1000 else f"{nanoseconds:,.0f}"


def _interval(estimate: Estimate, text: Callable[[float], str]) -> str:
    return f"{text(estimate.value)}\n{text(estimate.low)} to {text(estimate.high)}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and return the exit status."""
    parser = argparse.ArgumentParser(description="Duets with intervals: adapters, the lane, direct against strategy.")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="about so long in all (default %(default)s)")
    chosen = parser.parse_args(arguments)
    report = asyncio.run(measure(chosen.seconds))
    if chosen.json:
        print(report.as_json().decode())
    else:
        show(report, Console(width=WIDTH))
    return 0 if report.is_sound else 1


if __name__ == "__main__":
    sys.exit(main())
