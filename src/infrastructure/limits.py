"""How often a venue may be asked: one keyed limiter for connection attempts, messages on a connection and REST requests."""

import asyncio
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Sequence

from infrastructure.clock import MonotonicNs
from infrastructure.venue import Rate

#: Whoever had to wait waits longer by up to this share of the time that the rate gives to one: those who were cut off together do not
#: come back in step.
JITTER = 0.2


class Window:
    """The turns taken under one key: of each rate no more than its count within any of its periods. Times are monotonic nanoseconds."""

    __slots__ = ("_deferred_ns", "_rates", "_taken", "spacing_s")

    def __init__(self, rates: Sequence[Rate]) -> None:
        self._rates = [(rate.count, round(rate.per_s * 1e9)) for rate in rates]
        self._taken: deque[int] = deque(maxlen=max(rate.count for rate in rates))
        self._deferred_ns = 0
        #: What the tightest rate gives to one turn.
        self.spacing_s = max(rate.per_s / rate.count for rate in rates)

    @property
    def free_ns(self) -> int:
        """From when on a turn is free."""
        taken = self._taken
        return max(self._deferred_ns, *(taken[-count] + period_ns if len(taken) >= count else 0 for count, period_ns in self._rates))

    def take(self, now_ns: int) -> None:
        """Take a turn that is free."""
        self._taken.append(now_ns)

    def defer(self, until_ns: int) -> None:
        """No turn is free before ``until_ns``."""
        self._deferred_ns = max(self._deferred_ns, until_ns)


class Limiter:
    """Turns by key, in the order in which they are asked for. One limiter can serve several venues: what shares a key shares its limit.

    It belongs to one event loop.
    """

    def __init__(
        self,
        monotonic_ns: MonotonicNs = time.monotonic_ns,
        chance: random.Random | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._monotonic_ns = monotonic_ns
        self._chance = chance or random.Random()
        self._sleep = sleep
        #: By key; the lock is held by the one whose turn comes next.
        self._windows: dict[Hashable, tuple[Window, asyncio.Lock]] = {}

    def limit(self, key: Hashable, *rates: Rate) -> None:
        """Let ``rates`` hold for ``key``; rates that hold already stay."""
        self._windows.setdefault(key, (Window(rates), asyncio.Lock()))

    def forget(self, key: Hashable) -> None:
        """Nobody asks for turns of ``key`` any more."""
        self._windows.pop(key, None)

    async def turn(self, key: Hashable) -> None:
        """Wait for a turn and take it."""
        window, lock = self._windows[key]
        async with lock:
            while (wait_ns := window.free_ns - self._monotonic_ns()) > 0:
                await self._sleep(wait_ns / 1e9 + self._chance.uniform(0.0, JITTER * window.spacing_s))
            window.take(self._monotonic_ns())

    def defer(self, key: Hashable, wait_s: float) -> None:
        """A venue asks for a pause: nobody has a turn of ``key`` for ``wait_s``."""
        window, _ = self._windows[key]
        window.defer(self._monotonic_ns() + round(wait_s * 1e9))
