"""Replaces connections by others while data flows: make before break.

    first   ---- told ------------------------------ pong | shed ... closed
    second        opened, asked for the same, agreed      | released: what was told before is shed ---- pong | on its own
                  '--------- waits in its lane ----------'|                                                  |
    session  |--- notes what the first brings ------------|--- knows it again ------------------------------|
             overlap_s                       overlap_s                                   overlap_s

The one instant is a call in the first lane, behind everything that the first connection had read when its pong came. Whatever goes
wrong before it costs the second connection and nothing else; only if the first is lost does the second take its place at once.
"""

import asyncio
import random
from collections.abc import Awaitable, Collection, Coroutine, Sequence
from typing import Any, Protocol, TypeVar

import msgspec

from infrastructure.clock import Clock
from infrastructure.errors import NotConnected, RotationFailed, TickrailError
from infrastructure.networking.websocket.connection import Connection
from infrastructure.networking.websocket.link import LossCause
from infrastructure.networking.websocket.settings import RotationSettings
from infrastructure.networking.websocket.shard import Owner, Shard
from infrastructure.networking.websocket.strategies.interfaces import ConnectionState
from infrastructure.networking.websocket.subscriber import Key, answers
from infrastructure.session import Emission, Session

#: How often it is looked whether both connections carry the same by now.
LOOK_S = 0.05
#: A rotation that failed is tried again after so much of the time that is left before a connection's end when it is first due.
RETRY_SHARE = 0.05
#: How often it is looked for a connection that is due, at least.
LONGEST_SLEEP_S = 60.0

_Result = TypeVar("_Result")


class RotationReceipt(msgspec.Struct, frozen=True):
    """How one connection was replaced: the first's frames up to ``after_frame`` counted, ``held`` of the second's had waited by then.

    ``streams`` were taken over, and ``overlap`` frames of both were shed as such. ``lost`` says how the first ended if it was lost before
    the second was to take over: then there was a Gap.
    """

    streams: int
    after_frame: int
    held: int
    overlap: int
    began_ns: int
    took_over_ns: int
    ended_ns: int
    lost: str | None = None

    @property
    def took_ns(self) -> int:
        """From the request to the end of the overlap."""
        return self.ended_ns - self.began_ns


class Rotated(Owner, Protocol):
    """Whoever has the connections that are replaced."""

    @property
    def shards(self) -> Sequence[Shard]:
        """The connections that carry the streams."""

    def spare_shard(self, owner: Owner) -> Shard:
        """Begin a connection that carries nothing yet, whose lane is held, and that belongs to ``owner``."""

    def replace_shard(self, first: Shard, second: Shard) -> None:
        """From now on ``second`` carries what ``first`` carried, in its place."""

    async def end_shard(self, shard: Shard) -> None:
        """Close a connection that carries nothing, and keep its account."""

    def report(self, kind: str, text: str) -> None:
        """Tell the user of what is no single connection's."""


class Rotation:
    """One connection replaced by another, and the owner of whichever of the two does not carry the streams."""

    def __init__(self, owner: Rotated, session: Session, first: Shard, settings: RotationSettings, clock: Clock) -> None:
        self._owner = owner
        self._session = session
        self._first = first
        self._second: Shard | None = None
        #: The one of the two that carries nothing, as long as there is one.
        self._spare: Shard | None = None
        self._settings = settings
        self._clock = clock
        self._venue = session.venue.name
        #: Done when the second has taken over (None), or why it cannot.
        self._decided: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self._began_ns = clock.monotonic_ns()
        self._took_over_ns = 0
        self._streams = self._after_frame = self._held = 0
        self._lost: str | None = None
        #: What the first lane shed before, when it was itself a second.
        self._shed_before = _overlap_of(first)

    def __repr__(self) -> str:
        state = "under way" if not self._decided.done() else "failed" if not self._took_over_ns else "taken over"
        return f"<Rotation {self._venue} {self._first.number} {state}>"

    @property
    def spares(self) -> list[Shard]:
        """Of the two connections the one that carries nothing, if there is one."""
        return [] if self._spare is None else [self._spare]

    async def run(self) -> RotationReceipt:
        """Replace the connection, or raise RotationFailed: then the first goes on as if nothing had been tried."""
        if self._first.state is not ConnectionState.CONNECTED:
            raise RotationFailed(self._venue, "it is not connected")
        self._session.begin_overlap(self._first.lane)
        steps = asyncio.get_running_loop().create_task(self._prepare())
        steps.add_done_callback(self._prepared)
        try:
            await asyncio.wait([self._decided], timeout=self._settings.timeout_s)
            self._decide(f"it took longer than {self._settings.timeout_s:g} s")
            steps.cancel()
            await (self._finish() if self._took_over_ns else self._undo())
        finally:
            steps.cancel()
            self.stop()
        reason = self._decided.result()
        if reason is not None:
            raise RotationFailed(self._venue, reason)
        return self._receipt()

    def stop(self) -> None:
        """End the overlap as it stands: before the second took over its frames are shed, afterwards they count."""
        self._decide("it was ended")
        if self._session.overlap is not None:
            self._session.end_overlap()
        if self._second is None:
            return
        if self._took_over_ns:
            self._second.lane.settle()
        else:
            self._second.lane.retire("overlap")

    # Owner of the connection that carries nothing

    def shard_changed(self) -> None:
        """The state of one of the two is another one."""
        first, second = self._first, self._second
        if self._decided.done():
            return
        if first.state is not ConnectionState.CONNECTED:
            is_ready = second is not None and second.state is ConnectionState.CONNECTED and second.has_asked.is_set()
            # What the second has read is of before as well, where the program stood still.
            is_asleep = first.last_loss is not None and first.last_loss.cause is LossCause.ASLEEP
            if is_ready and not is_asleep:
                # Behind the cut, which has just been put there.
                self._lost = str(first.last_loss)
                first.lane.call("take over", self._take_over)
            else:
                self._decide(f"the connection was lost meanwhile: {first.last_loss}")
        elif second is not None and second.opened.done() and second.state is not ConnectionState.CONNECTED:
            self._decide(f"the other connection was lost: {second.last_loss}")

    def shard_gave_up(self, error: TickrailError) -> None:
        """The second cannot be opened."""
        self._decide(str(error))

    def streams_of(self, shard: Shard) -> set[Key] | None:
        """Nothing is lost with a connection that carries nothing."""
        return set()

    # Before the one instant

    async def _prepare(self) -> None:
        """Get the second ready, and let it take over when the first has handed on all that it had read."""
        first, overlap_s = self._first, self._settings.overlap_s
        # What the first told a moment ago may come late over the second.
        await asyncio.sleep(overlap_s)
        self._second = self._spare = second = self._owner.spare_shard(self)
        second.lane.switches = first.lane.switches
        waiters = second.subscriber.want(sorted(first.subscriber.agreed))
        await asyncio.shield(second.opened)
        await answers(waiters)
        while not self._decided.done():
            await self._make_equal(second)
            # And what the second was told before it was asked for may come late over the first.
            await asyncio.sleep(overlap_s)
            if first.connection is not None and await first.connection.round_trip():
                await first.lane.call("take over", self._take_over_if_equal)
            else:
                await asyncio.sleep(LOOK_S)  # It is lost, and that is about to be told.

    def _prepared(self, steps: asyncio.Task[None]) -> None:
        error = None if steps.cancelled() else steps.exception()
        if isinstance(error, TickrailError):
            self._decide(error.reason if isinstance(error, RotationFailed) else str(error))
        elif error is not None:
            self._decide(f"{type(error).__name__}: {error}")

    async def _make_equal(self, second: Shard) -> None:
        """Return when the second is subscribed to what the first is, and to nothing else."""
        while not self._is_equal(second):
            if self._first not in self._owner.shards:
                raise RotationFailed(self._venue, "its streams were ended meanwhile")
            waiters = second.subscriber.want(sorted(self._first.subscriber.agreed))
            await second.subscriber.ask()
            await second.subscriber.end(second.subscriber.wanted - self._first.subscriber.wanted)
            await answers(waiters)
            await asyncio.sleep(LOOK_S)

    def _is_equal(self, second: Shard) -> bool:
        first = self._first.subscriber
        is_first_still = self._first in self._owner.shards and not first.is_waiting
        return is_first_still and first.agreed <= second.subscriber.agreed and second.subscriber.wanted <= first.wanted

    # The one instant

    def _take_over_if_equal(self) -> list[Emission]:
        return self._take_over() if self._second is not None and self._is_equal(self._second) else []

    def _take_over(self) -> list[Emission]:
        """In the first lane, between its last frame that counts and the first that does not."""
        first, second = self._first, self._second
        if self._decided.done() or second is None or first not in self._owner.shards:
            return []
        keys = self._owner.streams_of(first)
        self._took_over_ns = self._clock.monotonic_ns()
        self._streams = len(first.subscriber.wanted)
        self._after_frame = first.lane.received - first.lane.in_flight
        self._held = second.lane.in_flight
        first.lane.retire("overlap")
        self._session.take_over(second.lane, keys)
        self._owner.replace_shard(first, second)
        second.subscriber.take_over(first.subscriber)
        first.repairs.hand_over(second.repairs)
        first.belong_to(self)
        self._spare = first
        first.stop(NotConnected(self._venue))
        second.belong_to(self._owner)
        second.lane.release(self._session.overlap)
        self._decided.set_result(None)
        return []

    # After it

    async def _finish(self) -> None:
        """Let the overlap end, and the first with it."""
        second = self._second
        assert second is not None
        await self._end_spare()
        await asyncio.sleep(self._settings.overlap_s)
        if second.connection is not None:
            await _at_most(self._settings.timeout_s, second.connection.round_trip())
        await second.lane.call("end of the overlap", self._end)

    def _end(self) -> list[Emission]:
        self.stop()
        return []

    async def _undo(self) -> None:
        self.stop()
        await self._end_spare()

    async def _end_spare(self) -> None:
        if self._spare is not None:
            await self._owner.end_shard(self._spare)
            self._spare = None

    def _decide(self, reason: str) -> None:
        if not self._decided.done():
            self._decided.set_result(reason)

    def _receipt(self) -> RotationReceipt:
        shards = [shard for shard in (self._first, self._second) if shard is not None]
        return RotationReceipt(
            streams=self._streams,
            after_frame=self._after_frame,
            held=self._held,
            overlap=sum(map(_overlap_of, shards)) - self._shed_before,
            began_ns=self._began_ns,
            took_over_ns=self._took_over_ns,
            ended_ns=self._clock.monotonic_ns(),
            lost=self._lost,
        )


class Rotations:
    """The rotations of one owner's connections: one at a time, on demand and before a venue ends them."""

    def __init__(self, owner: Rotated, session: Session, settings: RotationSettings, clock: Clock, chance: random.Random) -> None:
        self._owner = owner
        self._session = session
        self._settings = settings
        self._clock = clock
        self._chance = chance
        self._life_s = session.venue.limits.connection_life_s
        self._turn = asyncio.Lock()
        self._series = asyncio.Lock()
        self._current: Rotation | None = None
        self._is_stopped = False
        self._tasks: set[asyncio.Task[Any]] = set()
        #: By connection: when it is due, in loop time.
        self._due_s: dict[Connection, float] = {}

    def __repr__(self) -> str:
        return f"<Rotations {self._session.venue.name} {self._current!r}>"

    @property
    def spares(self) -> Collection[Shard]:
        """Connections that carry nothing, yet or any more."""
        return [] if self._current is None else self._current.spares

    def start(self) -> None:
        """Look after the connections of a venue that ends them."""
        if self._life_s is not None:
            self._begin(self._plan(self._life_s))

    def stop(self) -> None:
        """Begin no rotation any more, and end the one that is under way; its spare connection is left to the owner."""
        self._is_stopped = True
        if self._current is not None:
            self._current.stop()
        for task in self._tasks:
            task.cancel()

    def shard_changed(self) -> None:
        """The state of one of the owner's connections is another one."""
        if self._current is not None:
            self._current.shard_changed()

    async def every(self) -> tuple[RotationReceipt, ...]:
        """Rotate each connection, one after the other; raises the first RotationFailed after all have been tried.

        If the caller is cancelled it goes on.
        """
        task = self._begin(self._each())
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if self._is_stopped and task.cancelled():
                raise RotationFailed(self._session.venue.name, "it was ended") from None
            raise

    async def _each(self) -> tuple[RotationReceipt, ...]:
        receipts: list[RotationReceipt] = []
        failures: list[RotationFailed] = []
        async with self._series:
            for shard in tuple(self._owner.shards):
                try:
                    receipts += await self._rotate(shard)
                except RotationFailed as failure:
                    failures.append(failure)
        if failures:
            raise failures[0]
        return tuple(receipts)

    async def _rotate(self, shard: Shard) -> list[RotationReceipt]:
        """Nothing where the connection had its end, or was replaced, before its turn came."""
        async with self._turn:
            if shard not in self._owner.shards:
                return []
            self._current = Rotation(self._owner, self._session, shard, self._settings, self._clock)
            try:
                return [await self._current.run()]
            finally:
                # What a rotation that was stopped has left, its owner ends.
                if not self._is_stopped:
                    self._current = None

    async def _plan(self, life_s: float) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = self._dues(life_s)
            shard, at_s = min(due, key=lambda pair: pair[1], default=(None, loop.time() + LONGEST_SLEEP_S))
            if shard is None or at_s > loop.time():
                await asyncio.sleep(min(at_s - loop.time(), LONGEST_SLEEP_S))
                continue
            try:
                await self._rotate(shard)
            except RotationFailed as failure:
                self._owner.report("rotation", str(failure))
                if shard.connection is not None:
                    self._due_s[shard.connection] = loop.time() + self._ahead_s(life_s) * RETRY_SHARE

    def _dues(self, life_s: float) -> list[tuple[Shard, float]]:
        """Each open connection, and when it is due: at random in the first half of the time before its end, so that not all are at once."""
        open_now = {shard.connection: shard for shard in self._owner.shards if shard.connection is not None and shard.is_connected}
        ahead_s = self._ahead_s(life_s)
        for connection in open_now:
            if connection not in self._due_s and connection.opened_at is not None:
                self._due_s[connection] = connection.opened_at + life_s - ahead_s * self._chance.uniform(0.5, 1.0)
        self._due_s = {connection: at_s for connection, at_s in self._due_s.items() if connection in open_now}
        return [(open_now[connection], at_s) for connection, at_s in self._due_s.items()]

    def _ahead_s(self, life_s: float) -> float:
        return min(self._settings.rotate_before_s, life_s / 2)

    def _begin(self, work: Coroutine[Any, Any, _Result]) -> "asyncio.Task[_Result]":
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, TickrailError):
            self._owner.report("rotation", f"{type(error).__name__}: {error}")


def _overlap_of(shard: Shard) -> int:
    return shard.lane.shed.get("overlap", 0)


async def _at_most(seconds: float, work: Awaitable[object]) -> None:
    try:
        async with asyncio.timeout(seconds):
            await work
    except TimeoutError:
        pass
