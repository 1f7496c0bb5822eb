"""What a benchmark reports: figures, each with what it is of, its unit, its interval and where it comes from."""

from collections.abc import Iterable
from typing import Literal

import msgspec

from tests.performance.duet import Estimate
from tests.performance.workload import Scope, Workload

#: Where a figure comes from: a clock; counting; valgrind's simulation of caches and branches; the processor's own counters.
Source = Literal["measured", "exact", "simulated", "hardware", "unavailable"]


class Path(msgspec.Struct, frozen=True, order=True):
    """What a figure is of. ``variant`` is an architecture, ``-adapted`` through the other's adapter, or a contestant of others."""

    venue: str
    scope: Scope
    channel: str
    workload: str
    variant: str

    def __str__(self) -> str:
        return f"{self.variant}, {self.venue} {self.channel}, {self.workload}"


class Figure(msgspec.Struct, frozen=True):
    """One figure of a path. ``low`` and ``high`` bound its 95 % interval, where it has one.

    Of an exact one ``total`` over ``messages`` is the integer that was counted, and ``value`` the share of each message.
    """

    path: Path
    name: str
    unit: str
    value: float
    source: Source
    low: float | None = None
    high: float | None = None
    total: int | None = None
    messages: int | None = None


def path_of(workload: Workload, variant: object) -> Path:
    """The path of a workload in a variant."""
    return Path(workload.venue, workload.scope, workload.channel, workload.name, str(variant))


def measured(path: Path, name: str, unit: str, found: Estimate) -> Figure:
    """A figure that was measured, with its interval."""
    return Figure(path, name, unit, found.value, "measured", found.low, found.high)


def counted(path: Path, name: str, unit: str, total: int, messages: int, source: Source = "exact") -> Figure:
    """A figure that was counted over so many messages."""
    return Figure(path, name, unit, total / messages, source, total=total, messages=messages)


class Distribution(msgspec.Struct, frozen=True):
    """Latencies of a path under ``rate`` frames for each second: ``shares[n]`` of them are at most ``latency_ns[n]``."""

    path: Path
    rate: float
    samples: int
    shares: tuple[float, ...]
    latency_ns: tuple[int, ...]


class Report(msgspec.Struct, frozen=True):
    """Everything that one run found. ``machine`` are its facts, ``commit`` the revision that was measured."""

    machine: dict[str, str]
    commit: str
    at: str
    figures: list[Figure]
    failures: list[str] = msgspec.field(default_factory=list)

    @property
    def is_sound(self) -> bool:
        """Whether the contestants did the same work."""
        return not self.failures

    def named(self, name: str) -> "dict[Path, Figure]":
        """All figures of one name, by path."""
        return {figure.path: figure for figure in self.figures if figure.name == name}


def by_key(figures: Iterable[Figure]) -> dict[tuple[Path, str], Figure]:
    """Figures by what they are of and their name."""
    return {(figure.path, figure.name): figure for figure in figures}
