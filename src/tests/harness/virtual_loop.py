"""An event loop whose time jumps to the next timer: hours pass in milliseconds, and one seed gives one history."""

import asyncio
import random
from collections.abc import Coroutine
from typing import Any, TypeVar

from infrastructure.clock import Clock

Result = TypeVar("Result")


class Deadlock(AssertionError):
    """Everybody waits, and nothing is due."""


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs tasks and timers without a selector. ``chance`` is the run's only source of randomness."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.chance = random.Random(seed)
        self.clock = Clock(self.monotonic_ns, 1_700_000_000 * 10**9)
        self._now = 0.0
        self._selector = self  # BaseEventLoop asks its selector how long to wait; here that is where time moves.

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._now

    def monotonic_ns(self) -> int:
        """The same in nanoseconds."""
        return round(self._now * 1e9)

    def block(self, seconds: float) -> None:
        """Let so much time pass in which nothing else runs, as code does that does not give way."""
        self._now += seconds

    def select(self, timeout: float | None) -> list[Any]:
        """Let ``timeout`` seconds pass at once."""
        if timeout is None:
            raise Deadlock("every task waits and no timer is set")
        self._now += timeout
        return []

    def _process_events(self, event_list: list[Any]) -> None:
        """There is no I/O."""

    def _write_to_self(self) -> None:
        """There is no other thread."""


def run_virtual(seed: int, main: Coroutine[Any, Any, Result]) -> Result:
    """Run ``main`` to its end on a fresh VirtualLoop."""
    loop = VirtualLoop(seed)
    try:
        return loop.run_until_complete(main)
    finally:
        asyncio.set_event_loop(None)
        loop.close()
