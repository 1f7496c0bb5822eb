"""What the parts of a frame's way cost over nothing at all: duets of an adapter, the lane, a book's container, the customer's own loop.

Both contestants of a row get the same frames; all figures are nanoseconds of wall clock for each message. A contestant calls in a
loop of its own, which is part of its figure and cancels in the difference.
"""

import random
from collections.abc import Callable, Coroutine, Iterator, Sequence
from itertools import count
from typing import Any

import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table
from sortedcontainers import SortedDict

from infrastructure.book import BookSide
from infrastructure.clock import Clock
from infrastructure.events import Architecture, MessageType
from infrastructure.exchanges.gateio.spot import GATEIO_SPOT
from infrastructure.metrics import Histogram, PathMetrics
from infrastructure.networking.websocket.adapters import StrategyPatternAdapter, WebSocketHandlerAdapter
from infrastructure.networking.websocket.handlers import BaseWebSocketClient, PublicWebSocketHandler
from infrastructure.networking.websocket.lane import Lane
from infrastructure.networking.websocket.route import Route
from infrastructure.networking.websocket.strategies import MessageParser, ParsedMessage, StrategyReceiver, strategy_set
from infrastructure.session import Session
from infrastructure.venue import Levels
from tests.harness import frames
from tests.performance.duet import Comparison, Contestant, Estimate, Run, Same, compare, each
from tests.performance.figures import Figure, Path, measured
from tests.performance.subject import Count
from tests.performance.workload import PUBLIC

LEVELS = 100
NO_VENUE = "any"
#: The rows there are, for the share of the time that each gets.
_DUETS = 11


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


def trade_frames() -> Iterator[bytes]:
    chance = random.Random(1)
    for number in count(1):
        price = f"{chance.uniform(63_000, 65_000):.1f}"
        yield frames.trade(number, price=price, amount=f"{chance.uniform(0.0001, 2):.6f}", side=chance.choice(("buy", "sell")))


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


OLD_LOOPS: list[tuple[str, Callable[[WebSocketHandlerAdapter], Contestant[bytes]]]] = [
    ("parse_message, message_handler", parsed_and_handled),
    ("adapter._handle_message", awaited_at_once),
]


async def customers_loop(seconds: float) -> tuple[list[Row], list[str]]:
    """The rows, and what was wrong."""
    section = "An adapter awaited by the customer's own loop, against the handler's slot"
    rows: list[Row] = []
    wrong: list[str] = []
    frame = Same(frames.trade(1))
    for way, contestant in OLD_LOOPS:
        adapter = WebSocketHandlerAdapter(EmptyHandler())
        found = await compare(each(adapter.slot), contestant(adapter), frame, seconds=seconds)
        rows.append(Row(section, "empty handler", "slot", way, found))
    for way, contestant in OLD_LOOPS:
        counts = [Count(), Count()]
        faces = [WebSocketHandlerAdapter(PublicWebSocketHandler(Session(GATEIO_SPOT), on_trade=counted.add)) for counted in counts]
        supply = Run(trade_frames())
        rows.append(
            Row(section, "spot.trades", "slot", way, await compare(each(faces[0].slot), contestant(faces[1]), supply, seconds=seconds))
        )
        told = [counted.events for counted in counts]
        if told != [supply.supplied] * 2:
            wrong.append(f"{way}: of {supply.supplied} trades {told} were told")
    return rows, wrong


async def every_part(seconds: float) -> tuple[list[Row], list[str]]:
    """All rows, in about ``seconds``, and what was wrong."""
    share = seconds / _DUETS
    rows = await adapters(share) + await lane(share) + await containers(share)
    under_old_loops, wrong = await customers_loop(share)
    return rows + under_old_loops, wrong


def figures_of(rows: Sequence[Row]) -> list[Figure]:
    """As figures of no venue: what is measured stands for the channel, what it is measured against in its name."""
    figures = []
    for row in rows:
        path = Path(NO_VENUE, PUBLIC, row.section, row.name, row.b)
        figures.append(measured(path, f"more than {row.a}", "ns", row.found.difference_ns))
        figures.append(measured(path, f"ratio to {row.a}", "", row.found.ratio))
    return figures


def table_of(rows: Sequence[Row], width: int) -> Iterator[RenderableType]:
    """A table for each section."""
    for section in dict.fromkeys(row.section for row in rows):
        table = Table(title=section, title_justify="left", title_style="bold", width=width, box=SIMPLE_HEAD, show_edge=False)
        table.add_column("", no_wrap=True)
        for heading in ("ns each", "B - A, ns", "B / A"):
            table.add_column(heading, justify="right", no_wrap=True)
        table.add_column("verdict")
        for row in (row for row in rows if row.section == section):
            found = row.found
            table.add_row(
                f"{row.name}\n A {row.a}\n B {row.b}",
                f"\n{_figure(found.a_ns)}\n{_figure(found.b_ns)}",
                _interval(found.difference_ns, _figure),
                _interval(found.ratio, "{:.3f}".format),
                row.verdict.replace("; ", "\n"),
            )
        yield table


def _figure(nanoseconds: float) -> str:
    return f"{nanoseconds:,.1f}" if abs(nanoseconds) < 1000 else f"{nanoseconds:,.0f}"


def _interval(found: Estimate, text: Callable[[float], str]) -> str:
    return f"{text(found.value)}\n{text(found.low)} to {text(found.high)}"
