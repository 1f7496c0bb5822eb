"""The one clock: monotonic nanoseconds, and an offset that turns them into Unix time. Durations never see a clock adjustment."""

import time
from collections.abc import Callable

MonotonicNs = Callable[[], int]


class Clock:
    """``monotonic_ns`` measures, ``offset_ns`` added to it dates. Both can be given, which makes tests and counts exact."""

    __slots__ = ("monotonic_ns", "offset_ns")

    def __init__(self, monotonic_ns: MonotonicNs = time.monotonic_ns, offset_ns: int | None = None) -> None:
        self.monotonic_ns = monotonic_ns
        self.offset_ns = time.time_ns() - monotonic_ns() if offset_ns is None else offset_ns

    def now_ns(self) -> int:
        """Unix time in nanoseconds."""
        return self.monotonic_ns() + self.offset_ns
