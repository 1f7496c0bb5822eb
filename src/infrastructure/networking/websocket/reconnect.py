"""When to connect again after a failure, and when to give up. Pure: monotonic seconds and the source of chance are arguments."""

import random
from collections import deque
from collections.abc import Iterator

import msgspec

from infrastructure.errors import GaveUp, HandshakeDeferred, RequestFailed, TickrailError
from infrastructure.networking.websocket.link import Loss
from infrastructure.networking.websocket.settings import ReconnectSettings

#: HTTP statuses and close codes that are waited out like a ban where no time is named. 1008 (policy) is a venue's objection to what this
#: client did, too many messages or connections as a rule; coming back at once makes a ban of it, or prolongs one. After every other end
#: comes the next delay: 1000, 1001, 1005, 1006 (no close frame), 1012, 1013 and 4000 to 4999 are the venue's plan, or the network;
#: 1002, 1003, 1007, 1009, 1010 and 1011 one bad frame, or a server that broke.
BAN_STATUSES = frozenset({403, 418})
BAN_CODES = frozenset({1008})

#: A wait that a venue asked for is exceeded by up to this share, never shortened.
JITTER_UP = 0.1


class Again(msgspec.Struct, frozen=True):
    """Connect again after ``delay_s``."""

    delay_s: float


class GiveUp(msgspec.Struct, frozen=True):
    """Do not connect again; ``error`` is for whoever waits."""

    error: TickrailError


def delays(settings: ReconnectSettings, chance: random.Random) -> Iterator[float]:
    """Endless delays with full jitter: between 0 and a bound that grows from ``first_delay_s`` by ``factor`` to ``max_delay_s``."""
    bound = settings.first_delay_s
    while True:
        bound = min(bound, settings.max_delay_s)
        yield chance.uniform(0.0, bound)
        bound *= settings.factor


class Reconnection:
    """Decides after each failure of one connection. Order of calls: ``data_flows`` at most once per connection, then ``failed``."""

    __slots__ = ("_chance", "_delays", "_failures", "_flowing_since_s", "_in_a_row", "_settings", "_venue")

    def __init__(self, venue: str, settings: ReconnectSettings, chance: random.Random) -> None:
        self._venue = venue
        self._settings = settings
        self._chance = chance
        self._delays = delays(settings, chance)
        #: When each failure within the window happened.
        self._failures: deque[float] = deque()
        #: Attempts since data last flowed; a connection that is lost after data flowed is none of them.
        self._in_a_row = 0
        self._flowing_since_s: float | None = None

    def __repr__(self) -> str:
        return f"<Reconnection {self._venue} failures={len(self._failures)} in_a_row={self._in_a_row}>"

    def data_flows(self, at_s: float) -> None:
        """The first good data of a connection came; an open socket or an accepted handshake is none."""
        self._flowing_since_s = at_s

    def failed(self, failure: Loss | TickrailError, at_s: float) -> Again | GiveUp:
        """Say what follows ``failure``, an end that nobody asked for; ``at_s`` never runs backwards."""
        settings = self._settings
        code = failure.code if isinstance(failure, Loss) else None
        flowing_since_s, self._flowing_since_s = self._flowing_since_s, None
        self._in_a_row = self._in_a_row + 1 if flowing_since_s is None else 0
        is_stable = flowing_since_s is not None and at_s - flowing_since_s >= settings.stable_s
        if is_stable or (settings.reset_on_1005 and code == 1005):
            self._delays = delays(settings, self._chance)
        self._failures.append(at_s)
        while at_s - self._failures[0] > settings.window_s:
            self._failures.popleft()

        if isinstance(failure, TickrailError) and not failure.is_retryable:
            return GiveUp(failure)
        if len(self._failures) > settings.max_restarts:
            return self._give_up(f"{len(self._failures)} failures within {settings.window_s:g} s", failure)
        if settings.max_attempts is not None and self._in_a_row >= settings.max_attempts:
            return self._give_up(f"{self._in_a_row} attempts in a row without data", failure)
        if isinstance(failure, HandshakeDeferred | RequestFailed):
            # A time of 0 names none.
            if failure.retry_after_s:
                return self._again_after(failure.retry_after_s)
            if failure.status in BAN_STATUSES:
                return self._again_after(settings.ban_delay_s)
        if code in BAN_CODES:
            return self._again_after(settings.ban_delay_s)
        return Again(next(self._delays))

    def _again_after(self, wait_s: float) -> Again:
        return Again(wait_s * (1.0 + self._chance.uniform(0.0, JITTER_UP)))

    def _give_up(self, count: str, failure: Loss | TickrailError) -> GiveUp:
        return GiveUp(GaveUp(self._venue, f"{count}, the last: {failure}"))
