"""The one clock: monotonic nanoseconds, and an offset that turns them into Unix time. Durations never see a clock adjustment.

Beside it, what notices that the wall clock was moved, and that the program did not run for a while.
"""

import sys
import time
from collections.abc import Callable

MonotonicNs = Callable[[], int]

#: By so much the wall clock must have been moved, at once or little by little, before it is told.
JUMP_NS = 1_000_000_000
#: Longer than this the program is not kept from running by anything but a suspended machine or a stopped process.
ASLEEP_NS = 10_000_000_000


def _boottime_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) if sys.platform == "linux" else time.monotonic_ns()


class Clock:
    """``monotonic_ns`` measures, ``offset_ns`` added to it dates. Both can be given, which makes tests and counts exact.

    ``elapsed_ns`` measures too, and goes on while the machine is suspended, where the system has such a clock. ``wall_ns`` is what the
    system takes for Unix time; with an offset of its own a clock has nothing to do with that, unless it is given.
    """

    __slots__ = ("_wall_ns", "elapsed_ns", "monotonic_ns", "offset_ns")

    def __init__(
        self,
        monotonic_ns: MonotonicNs = time.monotonic_ns,
        offset_ns: int | None = None,
        *,
        elapsed_ns: MonotonicNs | None = None,
        wall_ns: Callable[[], int] | None = None,
    ) -> None:
        self.monotonic_ns = monotonic_ns
        self.elapsed_ns = elapsed_ns or (_boottime_ns if monotonic_ns is time.monotonic_ns else monotonic_ns)
        self._wall_ns = wall_ns or (time.time_ns if offset_ns is None else self.now_ns)
        self.offset_ns = self._wall_ns() - monotonic_ns() if offset_ns is None else offset_ns

    def now_ns(self) -> int:
        """Unix time in nanoseconds."""
        return self.monotonic_ns() + self.offset_ns

    def drift_ns(self) -> int:
        """How far the system's wall clock is ahead of this one, which keeps the offset that it began with."""
        return self._wall_ns() - self.now_ns()


class WallWatch:
    """Notices that the wall clock was moved, by what ``Clock.drift_ns`` says now and then."""

    __slots__ = ("_limit_ns", "_told_ns")

    def __init__(self, limit_ns: int = JUMP_NS) -> None:
        self._limit_ns = limit_ns
        self._told_ns = 0

    def observe(self, drift_ns: int) -> int | None:
        """By how much it was moved since that was last told, forward if positive; None if it was not, by as much as is told."""
        moved_ns = drift_ns - self._told_ns
        if abs(moved_ns) < self._limit_ns:
            return None
        self._told_ns = drift_ns
        return moved_ns


class Watch:
    """Notices that the program stood still for longer than ``limit_ns``: that the machine was suspended, or the process stopped.

    ``observe`` is called with ``Clock.elapsed_ns`` first thing in whatever comes before anything else can after a wake, such as a read of a
    socket, and by a timer several times within the limit. ``worked`` is told of everything that may have kept the event loop, such as
    callbacks: that is no sleep. A process that was stopped in the midst of its work looks as if it had worked all the time; only
    ``continued``, which is for whoever handles SIGCONT, knows better.
    """

    __slots__ = ("_awake_ns", "_is_continued", "_limit_ns", "_looked_ns")

    def __init__(self, limit_ns: int = ASLEEP_NS) -> None:
        self._limit_ns = limit_ns
        self._awake_ns: int | None = None
        self._looked_ns: int | None = None
        self._is_continued = False

    def observe(self, now_ns: int) -> int | None:
        """How long the program stood still until now; None if it did not."""
        awake_ns, self._awake_ns, self._looked_ns, self._is_continued = self._awake_ns, now_ns, now_ns, False
        if awake_ns is None or now_ns - awake_ns <= self._limit_ns:
            return None
        return now_ns - awake_ns

    def worked(self, took_ns: int, now_ns: int) -> None:
        """So much of the time until now the program was at work, by the monotonic clock, which stands still while it is suspended."""
        if self._awake_ns is not None and not self._is_continued:
            self._awake_ns = min(self._awake_ns + took_ns, now_ns)

    def continued(self) -> None:
        """The process was stopped, and goes on: what has passed since the last look was no work."""
        self._awake_ns, self._is_continued = self._looked_ns, True
