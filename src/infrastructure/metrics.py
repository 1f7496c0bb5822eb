"""Counters and latency histograms of both architectures. Per frame: slot increments only, no lookup, no label, no lock.

One thread records, that of the feed's event loop; any thread may read meanwhile. A reader copies what it reads before it reckons, each
list and dictionary in one step, which CPython's global lock lets nothing come between; and since counts only grow, a later copy has no
smaller ones. Builds of Python without that lock are not provided for.
"""

from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import accumulate, chain
from operator import sub
from typing import NamedTuple

import msgspec

from infrastructure.clock import MonotonicNs
from infrastructure.errors import SettingsError
from infrastructure.events import Architecture, MessageType
from infrastructure.windows import LONGEST_NS, Copies

_BITS = 5
_SUB_BUCKETS = 1 << _BITS
_BUCKETS = _SUB_BUCKETS * (64 - _BITS)

WINDOW_S = 60.0
#: A window's percentile is told of so many values at the least: ten of them lie beyond it then.
LEAST_VALUES = {50: 20, 99: 1_000, 99.9: 10_000}


class Histogram:
    """Log-linear histogram of non-negative integers: 32 buckets for each power of two, so a percentile is at most 3.2 % too high.

    ``record`` costs one bit length, one shift and one increment; ``make bench`` prints it.
    """

    __slots__ = ("_rows", "maximum")

    def __init__(self) -> None:
        #: By bit length, then by the leading 6 bits, of which the first is 1. Values of up to 6 bits have a row together.
        self._rows = [[0] * 64 for _ in range(64)]
        self.maximum = 0

    @property
    def count(self) -> int:
        """How many values were recorded."""
        return sum(self.counts())

    def record(self, value: int) -> None:
        """Count ``value``, 0 to 2**63 - 1."""
        if value > self.maximum:  # Before it is counted: a reader never finds a value above the maximum.
            self.maximum = value
        bits = value.bit_length()
        if bits > 6:  # _BITS + 1, written out: a global is looked up by name at each call.
            self._rows[bits][value >> bits - 6] += 1
        else:
            self._rows[6][value] += 1

    def counts(self) -> "array[int]":
        """How many values each bucket holds, in order of the values: a copy, of 16 KB.

        What was recorded before it was begun is in it, what was recorded meanwhile perhaps.
        """
        rows = self._rows
        return array("Q", chain(rows[_BITS + 1], *(row[_SUB_BUCKETS:] for row in rows[_BITS + 2 :])))

    def values(self) -> "Distribution":
        """What was recorded so far: a copy for reading."""
        counts = self.counts()
        return Distribution(counts, self.maximum)  # The maximum after the counts, see ``record``.

    def percentile(self, percent: float) -> int | None:
        """The upper edge of the bucket that holds the given percentile, None while nothing was recorded."""
        return self.values().percentile(percent)


class Distribution:
    """Values as a histogram's buckets have them, none above ``maximum``."""

    __slots__ = ("_cumulative", "_maximum")

    def __init__(self, counts: Iterable[int], maximum: int) -> None:
        self._cumulative = list(accumulate(counts))
        self._maximum = maximum

    @property
    def count(self) -> int:
        """How many they are."""
        return self._cumulative[-1]

    def percentile(self, percent: float) -> int | None:
        """The upper edge of the bucket that holds the given percentile, None of no values."""
        if not self.count:
            return None
        rank = max(1, -int(-self.count * percent // 100))
        return min(self._maximum, _upper_edge(bisect_left(self._cumulative, rank)))

    def sure_percentile(self, percent: float) -> int | None:
        """One of ``LEAST_VALUES``; None of too few values."""
        return self.percentile(percent) if self.count >= LEAST_VALUES[percent] else None


def _upper_edge(index: int) -> int:
    shift = max(0, (index >> _BITS) - 1)
    return (((index - (shift << _BITS)) + 1) << shift) - 1


class _Reading(NamedTuple):
    """What a window is made from; everything in it only grows."""

    latency: "array[int]"
    wait: "array[int]"
    active_ns: int
    errors: Mapping[str, int]
    fallbacks: int


_NOTHING = array("Q", bytes(8 * _BUCKETS))


class _Active(NamedTuple):
    """To how many lanes an architecture belongs, since when, and for how long there were any before: read as one."""

    lanes: int = 0
    since_ns: int = 0
    before_ns: int = 0

    def until(self, now_ns: int) -> int:
        """For how long there have been any."""
        return self.before_ns + (max(0, now_ns - self.since_ns) if self.lanes else 0)


class PathMetrics:
    """What one architecture did: frames, messages by type, errors by kind, handling latency, wait in the lane, switches to it.

    What it did lately is the difference between now and a copy that ``observe`` took: recording costs no more for it. A copy has 16 KB
    for each of the two histograms that has changed since the one before, so 90 of them, the most there can be, have 2.9 MB.
    """

    __slots__ = (
        "_active",
        "_copies",
        "_monotonic_ns",
        "architecture",
        "by_type",
        "errors",
        "fallbacks",
        "latency",
        "switch_wait",
        "switches",
        "wait",
    )

    def __init__(self, architecture: Architecture, monotonic_ns: MonotonicNs) -> None:
        self.architecture = architecture
        #: Decoded messages, by type: whoever has decoded a frame counts them here.
        self.by_type = [0] * len(MessageType)
        self.errors: dict[str, int] = {}
        self.fallbacks = 0
        self.switches = 0
        #: From the receiver's call to its return, in nanoseconds.
        self.latency = Histogram()
        #: From a frame's place at the end of the lane to the receiver's call.
        self.wait = Histogram()
        #: From a switch's request to the moment the new receiver is in place.
        self.switch_wait = Histogram()
        self._monotonic_ns = monotonic_ns
        self._active = _Active()
        self._copies = Copies(monotonic_ns(), _Reading(_NOTHING, _NOTHING, 0, {}, 0))

    @property
    def frames(self) -> int:
        """Frames that were handled: each has one latency."""
        return self.latency.count

    def count_error(self, kind: str) -> None:
        """Count an error of this architecture."""
        self.errors[kind] = self.errors.get(kind, 0) + 1

    def activate(self) -> None:
        """Frames of one more lane go to this architecture from now on."""
        lanes, since_ns, before_ns = self._active
        self._active = _Active(lanes + 1, since_ns if lanes else self._monotonic_ns(), before_ns)

    def deactivate(self) -> None:
        """Frames of one of its lanes go elsewhere from now on."""
        active = self._active
        left = active.lanes - 1
        self._active = _Active(left, active.since_ns, active.before_ns if left else active.until(self._monotonic_ns()))

    @property
    def active_ns(self) -> int:
        """How long frames have gone to this architecture."""
        active = self._active
        return active.until(self._monotonic_ns())

    def summary(self) -> "PathSummary":
        """A copy for reading."""
        active_ns = self.active_ns
        by_type, latency = self.by_type[:], self.latency.values()
        return PathSummary(
            architecture=self.architecture,
            frames=latency.count,
            messages={kind.name.lower(): by_type[kind] for kind in MessageType if by_type[kind]},
            per_second=_per_second(latency.count, active_ns),
            errors=self.errors.copy(),
            fallbacks=self.fallbacks,
            switches=self.switches,
            p50_ns=latency.percentile(50),
            p99_ns=latency.percentile(99),
            p999_ns=latency.percentile(99.9),
            wait_p99_ns=self.wait.percentile(99),
            switch_wait_p99_ns=self.switch_wait.percentile(99),
        )

    def observe(self) -> None:
        """Take a copy for later windows, if the last is a second old."""
        now_ns = self._monotonic_ns()
        if self._copies.is_due(now_ns):
            self._copies.add(now_ns, self._read(now_ns))

    def window(self, window_s: float) -> "WindowSummary":
        """What it did in the last ``window_s`` seconds, back to the youngest copy that is so old. Takes a copy itself, as ``observe``."""
        window_ns = round(window_s * 1e9)
        if not 0 < window_ns <= LONGEST_NS:
            raise SettingsError(f"a window of {window_s} s: it can be up to {LONGEST_NS // 10**9} s, and must be more than 0")
        now_ns = self._monotonic_ns()
        # The earlier before the present one: another thread may take a copy between the two, which must not be younger than the present.
        then_ns, then = self._copies.before(now_ns - window_ns)
        now = self._read(now_ns)
        latency = Distribution(map(sub, now.latency, then.latency), self.latency.maximum)
        wait = Distribution(map(sub, now.wait, then.wait), self.wait.maximum)
        self._copies.add(now_ns, now)
        active_ns = now.active_ns - then.active_ns
        errors = {kind: count - then.errors.get(kind, 0) for kind, count in now.errors.items() if count > then.errors.get(kind, 0)}
        return WindowSummary(
            architecture=self.architecture,
            seconds=(now_ns - then_ns) / 1e9,
            active_seconds=active_ns / 1e9,
            frames=latency.count,
            per_second=_per_second(latency.count, active_ns),
            errors=errors,
            error_rate=sum(errors.values()) / latency.count if latency.count else None,
            fallbacks=now.fallbacks - then.fallbacks,
            p50_ns=latency.sure_percentile(50),
            p99_ns=latency.sure_percentile(99),
            p999_ns=latency.sure_percentile(99.9),
            wait_p50_ns=wait.sure_percentile(50),
            wait_p99_ns=wait.sure_percentile(99),
            wait_p999_ns=wait.sure_percentile(99.9),
        )

    def _read(self, now_ns: int) -> _Reading:
        last = self._copies.last
        latency, wait = self.latency.counts(), self.wait.counts()
        return _Reading(
            last.latency if latency == last.latency else latency,
            last.wait if wait == last.wait else wait,
            self._active.until(now_ns),
            self.errors.copy(),
            self.fallbacks,
        )


def _per_second(frames: int, active_ns: int) -> float:
    return frames * 1e9 / active_ns if active_ns else 0.0


class PathSummary(msgspec.Struct, frozen=True):
    """One architecture's figures at one moment; times in nanoseconds, None where nothing was measured."""

    architecture: Architecture
    frames: int
    messages: Mapping[str, int]
    per_second: float
    errors: Mapping[str, int]
    fallbacks: int
    switches: int
    p50_ns: int | None
    p99_ns: int | None
    p999_ns: int | None
    wait_p99_ns: int | None
    switch_wait_p99_ns: int | None


class WindowSummary(msgspec.Struct, frozen=True):
    """One architecture's figures of the last ``seconds``; percentiles in nanoseconds, None where too few frames came for one.

    Those are 20 for the median, 1,000 for p99 and 10,000 for p99.9, so that ten at least lie beyond. ``seconds`` are no fewer than were
    asked for, unless the feed is younger: an eighth more at the most and a second, or whatever passed without a copy. Of them frames went
    to this architecture for ``active_seconds``; ``per_second`` is by these. A frame that was decoded by the other architecture in the end
    is among the ``errors``, and the ``fallbacks``, of this one; ``error_rate`` is errors for each frame, None without a frame.
    """

    architecture: Architecture
    seconds: float
    active_seconds: float
    frames: int
    per_second: float
    errors: Mapping[str, int]
    error_rate: float | None
    fallbacks: int
    p50_ns: int | None
    p99_ns: int | None
    p999_ns: int | None
    wait_p50_ns: int | None
    wait_p99_ns: int | None
    wait_p999_ns: int | None


class EventAccounting(msgspec.Struct, frozen=True):
    """Where the events are. ``decoded`` came out of frames and snapshots, ``raised`` are the session's own (gaps, states, errors)."""

    decoded: int
    raised: int
    emitted: int
    absorbed: int
    pending: int
    accepted: int
    callback_errors: int

    @property
    def is_balanced(self) -> bool:
        """Whether every event that came into being is somewhere, once."""
        return (
            self.decoded + self.raised == self.emitted + self.absorbed + self.pending
            and self.emitted == self.accepted + self.callback_errors
        )


class FrameAccounting(msgspec.Struct, frozen=True):
    """Where the frames are: each received one is delivered, control, rejected, shed, or still in flight."""

    received: int
    delivered: int
    control: int
    rejected: int
    shed: int
    in_flight: int
    rejected_by_kind: Mapping[str, int]
    shed_by_reason: Mapping[str, int]

    @property
    def is_balanced(self) -> bool:
        """Whether every received frame is somewhere, once."""
        return self.received == self.delivered + self.control + self.rejected + self.shed + self.in_flight


def total_of(accounts: Iterable[FrameAccounting]) -> FrameAccounting:
    """The frames of several lanes together."""
    each = list(accounts)
    by_kind: Counter[str] = Counter()
    by_reason: Counter[str] = Counter()
    for account in each:
        by_kind.update(account.rejected_by_kind)
        by_reason.update(account.shed_by_reason)
    return FrameAccounting(
        sum(account.received for account in each),
        sum(account.delivered for account in each),
        sum(account.control for account in each),
        sum(account.rejected for account in each),
        sum(account.shed for account in each),
        sum(account.in_flight for account in each),
        dict(by_kind),
        dict(by_reason),
    )


class Accounting(FrameAccounting, frozen=True):
    """Where the frames are, and in ``events`` where the events are, at one moment."""

    events: EventAccounting

    @property
    def frames(self) -> FrameAccounting:
        """The frames alone."""
        return FrameAccounting(*msgspec.structs.astuple(self)[: len(FrameAccounting.__struct_fields__)])

    def with_those_of(self, other: "Accounting") -> "Accounting":
        """The same of two sessions together."""
        frames = msgspec.structs.asdict(total_of((self.frames, other.frames)))
        mine, its = msgspec.structs.asdict(self.events), msgspec.structs.asdict(other.events)
        return Accounting(**frames, events=EventAccounting(**{name: count + its[name] for name, count in mine.items()}))

    @property
    def is_balanced(self) -> bool:
        """Whether both identities hold."""
        return super().is_balanced and self.events.is_balanced
