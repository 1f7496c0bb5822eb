"""Looks after a venue's clocks and after its streams: tells what is wrong with them, and takes the step against it."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, Protocol

from infrastructure.clock import Clock, WallWatch, Watch
from infrastructure.errors import GaveUp, TickrailError
from infrastructure.freshness import Finding, Freshness, Mute, Step
from infrastructure.networking.websocket.link import LossCause
from infrastructure.networking.websocket.settings import FreshnessSettings
from infrastructure.networking.websocket.shard import Shard
from infrastructure.networking.websocket.subscriber import Key
from infrastructure.session import Session

#: A program that is looked at so many times less often than it should be stood still.
TICKS_ASLEEP = 4


class Watched(Protocol):
    """Whoever has what is looked after."""

    @property
    def shards(self) -> Sequence[Shard]:
        """The connections of public streams, in the order in which they were begun."""

    @property
    def every_shard(self) -> Sequence[Shard]:
        """Those of an account as well."""

    def carrier(self, channel: str, symbol: str) -> Shard | None:
        """The connection of a stream whose channel is named without its option."""

    def report(self, kind: str, text: str) -> None:
        """Tell the user of what is no single connection's."""

    def observe_metrics(self) -> None:
        """Take the copies from which windows of the metrics are made."""

    def move(self, shard: Shard, channel: str, symbol: str) -> Coroutine[Any, Any, None]:
        """Let another connection carry a stream of ``shard``."""

    def shard_gave_up(self, error: TickrailError) -> None:
        """The venue cannot go on."""


class Watchdog:
    """What a manager's streams are watched by, each ``tick_s`` from ``start`` to ``stop``."""

    def __init__(self, owner: Watched, session: Session, settings: FreshnessSettings, clock: Clock) -> None:
        self._owner = owner
        self._session = session
        self._settings = settings
        self._clock = clock
        self._freshness = Freshness(settings, session.venue)
        self._sleep = Watch(round(max(settings.asleep_s, TICKS_ASLEEP * settings.tick_s) * 1e9))
        self._wall = WallWatch()
        #: The watch itself, and the steps against mute streams that are being taken.
        self._tasks: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<Watchdog {self._session.venue.name} {self._freshness!r}>"

    def start(self) -> None:
        """Begin."""
        self._begin(self._watch())

    def stop(self) -> None:
        """End, and take no step any more."""
        for task in self._tasks:
            task.cancel()

    def may_read(self) -> bool:
        """What is read first after the program stood still is of before, and so is every book: all connections end, and begin anew."""
        slept_ns = self._sleep.observe(self._clock.elapsed_ns())
        if slept_ns is None:
            return True
        for shard in self._owner.every_shard:
            if shard.connection is not None:
                shard.connection.abort(LossCause.ASLEEP)
        # At once: whatever else runs before the connections have ended must not find a book that it may believe.
        for shard in self._owner.every_shard:
            shard.wake()
        self._owner.report("asleep", f"this program stood still for {slept_ns / 1e9:.1f} s; every connection is opened anew")
        return False

    def worked(self, took_ns: int) -> None:
        """The event loop was kept so long by what is no sleep."""
        self._sleep.worked(took_ns, self._clock.elapsed_ns())

    def continued(self) -> None:
        """The process was stopped, and goes on."""
        self._sleep.continued()

    def threshold_ns(self, channel: str, symbol: str) -> int | None:
        """After how long a silence a stream is mute by its own rhythm; None as long as it has none."""
        return self._freshness.threshold_ns((channel, symbol))

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._settings.tick_s)
            self._owner.observe_metrics()
            self.may_read()
            moved_ns = self._wall.observe(self._clock.drift_ns())
            if moved_ns is not None:
                moved = f"the system's clock was moved by {moved_ns / 1e9:+.1f} s"
                self._owner.report("clock", f"{moved}; received_ns keeps the one it began with")
            for finding in self._freshness.judge(self._clock.now_ns(), self._session.streams(), self._judged()):
                self._found(finding)

    def _judged(self) -> dict[Key, int]:
        """The streams whose silence would mean something: agreed to, on an open connection of which nothing waits for long."""
        return {
            key: shard.number
            for shard in self._owner.shards
            if shard.is_connected and not shard.lane.is_paused and shard.lane.lag_ns < self._settings.tick_s * 1e9
            for key in shard.subscriber.settled()
        }

    def _found(self, finding: Finding) -> None:
        channel, symbol = finding.key
        shard = self._owner.carrier(channel, symbol)
        if shard is None:
            return
        if not isinstance(finding, Mute):
            shard.in_lane(Session.report, finding.kind, str(finding), channel, symbol)
            return
        shard.in_lane(Session.silence, channel, symbol, str(finding))
        if finding.step is Step.RECONNECT and shard.connection is not None:
            shard.connection.abort(LossCause.SILENT)
        elif finding.step is Step.MOVE or not shard.subscriber.may_renew:
            self._begin(self._owner.move(shard, channel, symbol))
        else:
            self._begin(shard.subscriber.renew(channel, symbol))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """An error of our own in what looks after the streams ends the venue: nobody would look after them any more."""
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            known = error if isinstance(error, TickrailError) else GaveUp(self._session.venue.name, f"{type(error).__name__}: {error}")
            self._owner.shard_gave_up(known)
