"""Two contestants measured against one another in one process, so that whatever slows the machine slows both.

    A B | B A | A B | B A | ...      each letter is a block of calls that takes 100 to 200 us

Two rounds, one in each order, make one pair: whatever favours the first or the second of a round is in both sums. What is reported
are medians over the pairs: of B / A, and of B - A in nanoseconds for each call, each with a 95 % interval, bootstrapped. A contest is
the same with any number of contestants, who begin anew whenever their items come to an end.
"""

import gc
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from statistics import median
from types import FunctionType
from typing import Any, Generic, Protocol, TypeVar, cast

import msgspec

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)
F = TypeVar("F", bound=Callable[..., Any])

#: Calls once with each of the items; what it returns is awaited in the running event loop, within the measured time.
Contestant = Callable[[Sequence[T]], Awaitable[None] | None]
#: Returns so many items; called between blocks.
Supply = Callable[[int], Sequence[T]]
ClockNs = Callable[[], int]
#: Of a pair of rounds of a contest: the nanoseconds for each item, of each part of each entry.
Columns = tuple[float, ...]
Part = Callable[[Columns], float]

BLOCK_NS = 150_000
WARM_UP_CALLS = 200
#: So many pairs are measured with one copy of each contestant's code, see own_code. Fewer copies say nothing about their spread.
PAIRS_PER_COPY = 10
LEAST_COPIES = 15
#: A contest has at least so many runs through its items, each of at least so many rounds.
LEAST_RUNS = 8
LEAST_ROUNDS = 40
RESAMPLES = 400
CONFIDENCE = 0.95
NO_DIFFERENCE = "no difference"

CALIBRATION_CALLS = 50
CALIBRATION_BLOCKS = 9


class Estimate(msgspec.Struct, frozen=True):
    """A median and its 95 % interval."""

    value: float
    low: float
    high: float

    def contains(self, value: float) -> bool:
        """Whether the interval holds ``value``."""
        return self.low <= value <= self.high


class Comparison(msgspec.Struct, frozen=True):
    """What a duet found. ``difference`` is B - A in nanoseconds for each call, ``ratio`` is B / A."""

    a_ns: float
    b_ns: float
    difference_ns: Estimate
    ratio: Estimate
    pairs: int
    calls_per_block: int

    @property
    def verdict(self) -> str:
        """In words."""
        if self.ratio.contains(1.0):
            return NO_DIFFERENCE
        return "A is faster" if self.ratio.low > 1.0 else "B is faster"


async def compare(
    a: Contestant[T], b: Contestant[T], supply: Supply[T], *, seconds: float, clock: ClockNs = time.perf_counter_ns
) -> Comparison:
    """Alternate ``a`` and ``b`` for about ``seconds``, with at least 150 pairs; both get every item that ``supply`` hands out.

    Garbage collection is off meanwhile.
    """
    deadline = clock() + int(seconds * 1e9)
    pairs: list[list[tuple[int, int]]] = []
    copies: list[tuple[Contestant[T], Contestant[T]]] = []
    with uncollected():
        await _round(a, b, supply(WARM_UP_CALLS), clock)
        calls = await _calls_per_block(a, b, supply, clock)
        while len(copies) < LEAST_COPIES or clock() < deadline:
            # The earlier copies are kept, so that the new ones lie elsewhere.
            copies.append((own_code(a), own_code(b)))
            own_a, own_b = copies[-1]
            await _round(own_a, own_b, supply(calls), clock)
            pairs.append([await _pair(own_a, own_b, supply, calls, clock) for _ in range(PAIRS_PER_COPY)])
    flat = list(chain.from_iterable(pairs))
    return Comparison(
        a_ns=median(in_a for in_a, _ in flat) / calls / 2,
        b_ns=median(in_b for _, in_b in flat) / calls / 2,
        difference_ns=estimate([[(in_b - in_a) / calls / 2 for in_a, in_b in group] for group in pairs]),
        ratio=estimate([[in_b / in_a for in_a, in_b in group] for group in pairs]),
        pairs=len(flat),
        calls_per_block=calls,
    )


class Entry(Protocol[T_contra]):
    """One way to take a contest's items, opened anew each time these begin again."""

    async def open(self) -> Callable[[Sequence[T_contra]], Awaitable[Sequence[int]]]:
        """Return what takes a block of items, in order, and tells the nanoseconds of each of its parts."""


async def contest(entries: Sequence[Entry[T]], items: Sequence[T], *, seconds: float, clock: ClockNs = time.perf_counter_ns) -> "Timings":
    """Let each of ``entries`` take all ``items``, block by block in turn, again and again for about ``seconds``.

    Every run through the items is a group of its own, with the entries opened anew; a tenth of each warms up. Garbage is not collected
    meanwhile.
    """
    deadline = clock() + int(seconds * 1e9)
    groups: list[list[Columns]] = []
    size = CALIBRATION_CALLS
    with uncollected():
        while len(groups) <= LEAST_RUNS or clock() < deadline:
            takers = [await entry.open() for entry in entries]
            rounds: list[tuple[int, ...]] = []
            for number, start in enumerate(range(0, len(items) - size + 1, size)):
                block = items[start : start + size]
                taken: list[Sequence[int]] = [()] * len(takers)
                order = range(len(takers)) if number % 2 else reversed(range(len(takers)))
                for index in order:
                    taken[index] = await takers[index](block)
                rounds.append(tuple(chain.from_iterable(taken)))
            warm = 2 * max(1, len(rounds) // 20)
            both_orders = zip(rounds[warm::2], rounds[warm + 1 :: 2], strict=False)
            groups.append([tuple((one + other) / (2 * size) for one, other in zip(*pair, strict=True)) for pair in both_orders])
            if len(groups) == 1:
                slowest = max(median(column) for column in zip(*groups[0], strict=True))
                size = min(calls_taking(BLOCK_NS, slowest), len(items) // LEAST_ROUNDS)
            gc.collect()
    return Timings(groups[1:])


class Timings:
    """Nanoseconds for each item: ``groups`` of pairs of rounds, each with a column for each part of each entry."""

    def __init__(self, groups: Sequence[Sequence[Columns]]) -> None:
        self.groups = groups

    def of(self, figure: Part) -> Estimate:
        """What ``figure`` makes of a pair's columns: its median and interval."""
        return estimate([[figure(columns) for columns in group] for group in self.groups])


def estimate(groups: Sequence[Sequence[float]], seed: int = 0) -> Estimate:
    """The median of all values, and the interval that holds 95 % of the medians of bootstrap resamples.

    Whole groups are resampled: what the values of a group have in common, such as a moment on a busy machine, is one observation.
    """
    chance = random.Random(seed)
    medians = sorted(median(chain.from_iterable(chance.choices(groups, k=len(groups)))) for _ in range(RESAMPLES))
    tail = round(RESAMPLES * (1 - CONFIDENCE) / 2)
    return Estimate(median(chain.from_iterable(groups)), medians[tail], medians[-1 - tail])


def each(call: Callable[[T], object]) -> Contestant[T]:
    """``call(item)`` for every item."""

    def run(items: Sequence[T]) -> None:
        do = call
        for item in items:
            do(item)

    return run


def own_code(function: F) -> F:
    """A copy of ``function`` with a code object of its own; any other callable as it is.

    CPython specialises each call site of a code object for what is called there; contestants that shared one would undo each other's.
    And where a code object lies in memory shifts the time of a short call, which is no property of what is called.
    """
    if not isinstance(function, FunctionType):
        return function
    source = function
    copy = FunctionType(source.__code__.replace(), source.__globals__, source.__name__, source.__defaults__, source.__closure__)
    return cast(F, copy)


class Same(Generic[T]):
    """Supplies one item again and again."""

    def __init__(self, item: T) -> None:
        self._item = item
        self._items: list[T] = []

    def __call__(self, count: int) -> Sequence[T]:
        if len(self._items) != count:
            self._items = [self._item] * count
        return self._items


class Run(Generic[T]):
    """Supplies the items of an endless iterator in order, made 20,000 at a time, outside of what is measured."""

    STORE = 20_000

    def __init__(self, source: Iterator[T]) -> None:
        self._source = source
        self._store: list[T] = []
        self._next = 0
        self.supplied = 0

    def __call__(self, count: int) -> Sequence[T]:
        if self._next + count > len(self._store):
            self._store = self._store[self._next :]
            self._store.extend(islice(self._source, max(self.STORE, count)))
            self._next = 0
        items = self._store[self._next : self._next + count]
        self._next += count
        self.supplied += count
        return items


def calls_taking(duration_ns: float, call_ns: float) -> int:
    """How many calls of ``call_ns`` fill ``duration_ns``; 1 at least."""
    return max(1, round(duration_ns / max(0.1, call_ns)))


@contextmanager
def uncollected() -> Iterator[None]:
    """Collect garbage once, then not again until the end."""
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextmanager
def frozen() -> Iterator[None]:
    """Collect garbage once, and leave all that is there out of every collection until the end."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


async def _block(contestant: Contestant[T], items: Sequence[T], clock: ClockNs) -> int:
    started = clock()
    pending = contestant(items)
    if pending is not None:
        await pending
    return clock() - started


async def _round(first: Contestant[T], second: Contestant[T], items: Sequence[T], clock: ClockNs) -> tuple[int, int]:
    return await _block(first, items, clock), await _block(second, items, clock)


async def _pair(a: Contestant[T], b: Contestant[T], supply: Supply[T], calls: int, clock: ClockNs) -> tuple[int, int]:
    a_first, b_second = await _round(a, b, supply(calls), clock)
    b_first, a_second = await _round(b, a, supply(calls), clock)
    return a_first + a_second, b_first + b_second


async def _calls_per_block(a: Contestant[T], b: Contestant[T], supply: Supply[T], clock: ClockNs) -> int:
    """So many that the blocks of A and B take 150 us on average."""
    taken: list[int] = []
    for _ in range(CALIBRATION_BLOCKS):
        taken.append(sum(await _round(a, b, supply(CALIBRATION_CALLS), clock)))
    return calls_taking(2 * BLOCK_NS, median(taken) / CALIBRATION_CALLS)
