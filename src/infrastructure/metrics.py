"""Counters and latency histograms of both architectures. Per frame: slot increments only, no lookup, no label, no lock."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Protocol

import msgspec

from infrastructure.clock import MonotonicNs
from infrastructure.events import Architecture, MessageType

_BITS = 5
_SUB_BUCKETS = 1 << _BITS


class Histogram:
    """Log-linear histogram of non-negative integers: 32 buckets for each power of two, so a percentile is at most 3.2 % too high.

    ``record`` costs one bit length, two shifts and one increment; ``make bench`` prints it.
    """

    __slots__ = ("_buckets", "maximum")

    def __init__(self) -> None:
        self._buckets = [0] * (_SUB_BUCKETS * (64 - _BITS))
        self.maximum = 0

    @property
    def count(self) -> int:
        """How many values were recorded."""
        return sum(self._buckets)

    def record(self, value: int) -> None:
        """Count ``value``, 0 to 2**63 - 1."""
        if value > self.maximum:
            self.maximum = value
        shift = value.bit_length() - 6  # _BITS + 1, written out: a global is looked up by name at each call.
        if shift > 0:
            self._buckets[(shift << 5) + (value >> shift)] += 1
        else:
            self._buckets[value] += 1

    def percentile(self, percent: float) -> int | None:
        """The upper edge of the bucket that holds the given percentile, None while nothing was recorded."""
        total = self.count
        if not total:
            return None
        rank = max(1, -int(-total * percent // 100))
        for index, count in enumerate(self._buckets):
            rank -= count
            if rank <= 0:
                return min(self.maximum, _upper_edge(index))
        return self.maximum


def _upper_edge(index: int) -> int:
    shift = max(0, (index >> _BITS) - 1)
    return (((index - (shift << _BITS)) + 1) << shift) - 1


class HasType(Protocol):
    """What ``PathMetrics.count`` reads of a message."""

    @property
    def message_type(self) -> MessageType:
        """The counter to increment."""


class PathMetrics:
    """What one architecture did: frames, messages by type, errors by kind, handling latency, wait in the lane, switches to it."""

    __slots__ = (
        "_active_lanes",
        "_active_ns",
        "_active_since",
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
        self._active_ns = 0
        self._active_lanes = 0
        self._active_since = 0

    @property
    def frames(self) -> int:
        """Frames that were handled: each has one latency."""
        return self.latency.count

    def count(self, messages: Iterable[HasType]) -> None:
        """Count decoded messages by type."""
        by_type = self.by_type
        for message in messages:
            by_type[message.message_type] += 1

    def count_error(self, kind: str) -> None:
        """Count an error of this architecture."""
        self.errors[kind] = self.errors.get(kind, 0) + 1

    def activate(self) -> None:
        """Frames of one more lane go to this architecture from now on."""
        if not self._active_lanes:
            self._active_since = self._monotonic_ns()
        self._active_lanes += 1

    def deactivate(self) -> None:
        """Frames of one of its lanes go elsewhere from now on."""
        self._active_lanes -= 1
        if not self._active_lanes:
            self._active_ns += self._monotonic_ns() - self._active_since

    @property
    def active_ns(self) -> int:
        """How long frames have gone to this architecture."""
        running = self._monotonic_ns() - self._active_since if self._active_lanes else 0
        return self._active_ns + running

    def summary(self) -> "PathSummary":
        """A copy for reading."""
        active = self.active_ns
        return PathSummary(
            architecture=self.architecture,
            frames=self.frames,
            messages={kind.name.lower(): self.by_type[kind] for kind in MessageType if self.by_type[kind]},
            per_second=self.frames * 1e9 / active if active else 0.0,
            errors=dict(self.errors),
            fallbacks=self.fallbacks,
            switches=self.switches,
            p50_ns=self.latency.percentile(50),
            p99_ns=self.latency.percentile(99),
            wait_p99_ns=self.wait.percentile(99),
            switch_wait_p99_ns=self.switch_wait.percentile(99),
        )


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
    wait_p99_ns: int | None
    switch_wait_p99_ns: int | None


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
