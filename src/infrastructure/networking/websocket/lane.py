"""A connection's one FIFO: frames and markers, in order, each frame to exactly one receiver at a time, each with exactly one outcome.

    deliver(frame) --idle, empty, synchronous receiver--> slot(frame)
          '------- otherwise --> FIFO --> the lane's task --> slot(frame)

A switch is a marker in the FIFO: frames before it go to the old receiver, frames after it to the new one. So there is no hold
buffer and no drain deadline, and nothing can overtake.
"""

import asyncio
import inspect
from collections import deque
from collections.abc import Awaitable, Callable, Generator, Sequence
from enum import Enum
from typing import Any, Protocol

import msgspec

from infrastructure.clock import Clock
from infrastructure.errors import AwaitedInsideCallback, DecodeError, UnannouncedAwaitable
from infrastructure.events import Architecture, ErrorEvent
from infrastructure.metrics import FrameAccounting, PathMetrics
from infrastructure.session import Emission

#: The task gives way to the rest of the program after so many frames in a row.
FRAMES_PER_TURN = 64
#: Reading is paused when so many items wait, and resumed at half.
HIGH_WATER = 8192
DEAD_LETTERS = 64
EXCERPT_BYTES = 2048


class Outcome(Enum):
    """What a receiver may return for a frame; None means delivered."""

    DELIVERED = "delivered"
    CONTROL = "control"


Slot = Callable[[bytes | str], Any]


class Route(msgspec.Struct):
    """Where frames go: a receiver's bound method, whether it has to be awaited, and who gets what it cannot decode."""

    architecture: Architecture
    slot: Slot
    is_queued: bool
    metrics: PathMetrics
    fallback: "Route | None" = None


class State(Protocol):
    """What a lane needs of the session behind its receivers."""

    received_ns: int

    def reject(self, error: DecodeError | None) -> list[Emission]:
        """A frame was given up before it changed anything."""

    def fail(self) -> list[Emission]:
        """A frame was given up, half applied perhaps."""


Emit = Callable[[Sequence[Emission]], Awaitable[None] | None]


class DeadLetter(msgspec.Struct, frozen=True):
    """A rejected frame, or its first 2048 bytes, kept for whoever wants to know why."""

    number: int
    received_ns: int
    architecture: Architecture
    kind: str
    error: str
    excerpt: bytes


class SwitchReceipt(msgspec.Struct, frozen=True):
    """Where a switch happened: the old receiver got every frame up to ``after_frame``, the new one every later frame.

    ``backlog`` frames were still to be handled by the old receiver at the request; they were. ``changed`` is False when the architecture
    was in place already, or the switch was withdrawn.
    """

    architecture: Architecture
    after_frame: int
    backlog: int
    requested_ns: int
    switched_ns: int
    changed: bool
    withdrawn: bool = False

    @property
    def wait_ns(self) -> int:
        """From the request to the moment the new receiver was in place; the old one handled frames meanwhile."""
        return self.switched_ns - self.requested_ns


class Marker:
    """Something in a lane that can be waited for. Awaiting it inside a callback of that lane raises AwaitedInsideCallback."""

    __slots__ = ("_future", "_lane", "_what", "is_done")

    def __init__(self, lane: "Lane", what: str) -> None:
        self._lane = lane
        self._what = what
        self._future: asyncio.Future[None] | None = None
        self.is_done = False

    def __await__(self) -> Generator[Any, None, Any]:
        if self._lane.is_current_task():
            raise AwaitedInsideCallback(self._what)
        if not self.is_done:
            if self._future is None:
                self._future = asyncio.get_running_loop().create_future()
            yield from asyncio.shield(self._future).__await__()
        return self._result()

    def _result(self) -> object:
        return None

    def finish(self) -> None:
        """The lane has reached this marker."""
        self.is_done = True
        if self._future is not None and not self._future.done():
            self._future.set_result(None)


class Switch(Marker):
    """A switch on its way; awaiting it returns the SwitchReceipt."""

    __slots__ = ("_after_frame", "_backlog", "receipt", "requested_ns", "route")

    def __init__(self, lane: "Lane", route: Route, after_frame: int, backlog: int, requested_ns: int) -> None:
        super().__init__(lane, "switch()")
        self.route = route
        self.receipt: SwitchReceipt | None = None
        self._after_frame = after_frame
        self._backlog = backlog
        self.requested_ns = requested_ns

    def __await__(self) -> Generator[Any, None, SwitchReceipt]:
        return super().__await__()

    def withdraw(self) -> bool:
        """Take the switch back; False when the lane has passed it already."""
        return self._lane.withdraw(self)

    def settle(self, at_ns: int, changed: bool, withdrawn: bool = False) -> None:
        """Fix the receipt and wake whoever waits."""
        self.receipt = SwitchReceipt(
            self.route.architecture, self._after_frame, self._backlog, self.requested_ns, at_ns, changed, withdrawn
        )
        self.finish()

    def _result(self) -> object:
        return self.receipt


class _Call(Marker):
    """A change of the session's state that has its place between frames, such as a snapshot's arrival."""

    __slots__ = ("action", "received_ns")

    def __init__(self, lane: "Lane", what: str, action: Callable[[], Sequence[Emission]], received_ns: int) -> None:
        super().__init__(lane, what)
        self.action = action
        self.received_ns = received_ns


# (number, received_ns, when it was queued, raw): a tuple, because one is made for each queued frame.
_Frame = tuple[int, int, int, bytes | str]


class _Fallback:
    """A frame at the head of the lane that its receiver could not decode."""

    __slots__ = ("frame", "route")

    def __init__(self, frame: _Frame, route: Route) -> None:
        self.frame = frame
        self.route = route


class Lane:
    """The FIFO of one connection, the receiver in place, and the account of every frame.

    ``pause`` and ``resume`` are called at the high-water mark and at half of it; frames that arrive in between are still taken. The
    lane's task exists while something waits in the FIFO.
    """

    def __init__(
        self,
        route: Route,
        state: State,
        emit: Emit,
        *,
        venue: str,
        clock: Clock,
        high_water: int = HIGH_WATER,
        pause: Callable[[], None] | None = None,
        resume: Callable[[], None] | None = None,
    ) -> None:
        self._state = state
        self._emit = emit
        self._venue = venue
        self._monotonic_ns = clock.monotonic_ns
        self._offset_ns = clock.offset_ns
        self._high_water = high_water
        self._pause = pause
        self._resume = resume
        self._fifo: deque[_Frame | _Fallback | Marker] = deque()
        self._task: asyncio.Task[None] | None = None
        self._is_busy = False
        self._inside = 0
        self._is_closed = False
        self.is_paused = False
        self.received = 0
        self.delivered = 0
        self.control = 0
        self.switches = 0
        #: Error events made here, beside those of the session.
        self.raised = 0
        self.rejected: dict[str, int] = {}
        self.shed: dict[str, int] = {}
        self.dead_letters: deque[DeadLetter] = deque(maxlen=DEAD_LETTERS)
        self._set_route(route)
        route.metrics.activate()

    def __repr__(self) -> str:
        state = "closed" if self._is_closed else "busy" if self._is_busy else "idle"
        return f"<Lane {self._venue} {self.route.architecture.value} {state} received={self.received} in_flight={self.in_flight}>"

    @property
    def in_flight(self) -> int:
        """Frames that wait, plus the one inside a receiver."""
        return self._inside + sum(1 for item in self._fifo if not isinstance(item, Marker))

    def accounting(self) -> FrameAccounting:
        """Where the frames are at this moment."""
        return FrameAccounting(
            self.received,
            self.delivered,
            self.control,
            sum(self.rejected.values()),
            sum(self.shed.values()),
            self.in_flight,
            dict(self.rejected),
            dict(self.shed),
        )

    def is_current_task(self) -> bool:
        """Whether the code that asks runs inside this lane's task, as an ``async`` callback does."""
        return self._task is not None and asyncio.current_task() is self._task

    def deliver(self, raw: bytes | str, received_ns: int | None = None) -> None:
        """Take one frame; ``received_ns`` is the Unix time at which its bytes were read, now if not given.

        A synchronous receiver is called before this returns, unless something waits in the FIFO already.
        """
        started = self._monotonic_ns()
        self.received = number = self.received + 1
        if received_ns is None:
            received_ns = started + self._offset_ns
        if self._fifo or self._is_busy or self._is_queued:
            self._enqueue((number, received_ns, started, raw))
            return
        self._is_busy = True
        self._inside = 1
        self._state.received_ns = received_ns
        try:
            outcome = self._slot(raw)
            self._inside = 0
            if outcome is None:
                self.delivered += 1
            else:
                self._settle(self.route, outcome)
        except MemoryError:
            raise  # Nobody's mistake, and nothing to go on from: passes like a cancellation.
        except Exception as error:  # noqa: BLE001  # one frame's failure ends no connection
            self._emit(self._caught(self.route, (number, received_ns, started, raw), error))
        finally:
            self._is_busy = False
            if self._inside:
                self._interrupted()
            if self._fifo:
                self._wake()
        metrics = self._metrics
        metrics.frames += 1
        metrics.latency.record(self._monotonic_ns() - started)

    def switch(self, route: Route) -> Switch:
        """Hand every frame from here on to ``route``; what came before goes to the receiver in place, however much waits."""
        marker = Switch(self, route, self.received, self.in_flight, self._monotonic_ns())
        if self._is_free():
            self._flip(marker)
        else:
            self._append(marker)
        return marker

    def withdraw(self, marker: Switch) -> bool:
        """Take a switch back that the lane has not reached."""
        if marker.is_done:
            return False
        self._fifo.remove(marker)
        marker.settle(self._monotonic_ns(), changed=False, withdrawn=True)
        return True

    def call(self, what: str, action: Callable[[], Sequence[Emission]], received_ns: int | None = None) -> Marker:
        """Run ``action`` between the frames received so far and the next, and emit what it returns.

        Its events carry ``received_ns``, now if not given.
        """
        marker = _Call(self, what, action, self._monotonic_ns() + self._offset_ns if received_ns is None else received_ns)
        if self._is_free() and not self._is_queued:
            self._is_busy = True
            try:
                self._emit(self._act(marker))
            finally:
                self._is_busy = False
            marker.finish()
            if self._fifo:
                self._wake()
        else:
            self._append(marker)
        return marker

    def drain(self) -> Marker:
        """A marker that is reached when everything received so far has been handled."""
        marker = Marker(self, "drain()")
        if self._is_free():
            marker.finish()
        else:
            self._append(marker)
        return marker

    def close(self) -> Marker:
        """Take no more frames; those that wait are still handled. Frames delivered from now on are shed as ``closed``."""
        marker = Marker(self, "close()")
        if self._is_free():
            marker.finish()
        else:
            self._append(marker)
        self._is_closed = True
        self._is_queued = True
        return marker

    def abort(self) -> None:
        """Take no more frames and shed those that wait, as ``closed``; the frame inside a receiver is cancelled."""
        self._is_closed = True
        self._is_queued = True
        if self._task is not None and not self.is_current_task():
            self._task.cancel()
        waiting, self._fifo = self._fifo, deque()
        for item in waiting:
            if isinstance(item, Switch):
                item.settle(self._monotonic_ns(), changed=False, withdrawn=True)
            elif isinstance(item, Marker):
                item.finish()
            else:
                self._shed("closed")

    def _is_free(self) -> bool:
        return not self._fifo and not self._is_busy

    def _set_route(self, route: Route) -> None:
        self.route = route
        self._slot = route.slot
        self._is_queued = route.is_queued or self._is_closed
        self._metrics = route.metrics

    def _flip(self, marker: Switch) -> None:
        now = self._monotonic_ns()
        changed = marker.route is not self.route
        if changed:
            self.route.metrics.deactivate()
            self._set_route(marker.route)
            self.switches += 1
            self._metrics.switches += 1
            self._metrics.switch_wait.record(now - marker.requested_ns)
            self._metrics.activate()
        marker.settle(now, changed)

    def _enqueue(self, frame: _Frame) -> None:
        if self._is_closed:
            self._shed("closed")
            return
        self._append(frame)
        if not self.is_paused and len(self._fifo) >= self._high_water and self._pause is not None:
            self.is_paused = True
            self._pause()

    def _append(self, item: _Frame | Marker) -> None:
        self._fifo.append(item)
        self._wake()

    def _wake(self) -> None:
        if self._task is None:
            try:
                loop = asyncio.get_running_loop()
            except RuntimeError:
                return  # Delivered outside an event loop: whoever awaits drain() wakes the lane again.
            self._task = loop.create_task(self._run())

    async def _run(self) -> None:
        handled = 0
        try:
            while self._fifo:
                await self._step(self._fifo.popleft())
                if self.is_paused and len(self._fifo) * 2 <= self._high_water:
                    self.is_paused = False
                    if self._resume is not None:
                        self._resume()
                handled += 1
                if handled % FRAMES_PER_TURN == 0:
                    await asyncio.sleep(0)
        finally:
            self._task = None

    async def _step(self, item: _Frame | _Fallback | Marker) -> None:
        if type(item) is tuple:
            await self._handle(item, self.route)
        elif isinstance(item, _Fallback):
            await self._handle(item.frame, item.route)
        elif isinstance(item, Switch):
            self._flip(item)
        elif isinstance(item, _Call):
            self._is_busy = True
            try:
                await self._emitted(self._act(item))
            finally:
                self._is_busy = False
                item.finish()
        elif isinstance(item, Marker):
            item.finish()

    async def _handle(self, frame: _Frame, route: Route) -> None:
        _, received_ns, queued_ns, raw = frame
        metrics = route.metrics
        started = self._monotonic_ns()
        metrics.wait.record(started - queued_ns)
        self._is_busy = True
        self._inside = 1
        self._state.received_ns = received_ns
        try:
            outcome = route.slot(raw)
            if route.is_queued and outcome is not None and outcome.__class__ is not Outcome:
                outcome = await outcome
            self._inside = 0
            if outcome is None:
                self.delivered += 1
            else:
                self._settle(route, outcome)
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001  # as in deliver
            await self._emitted(self._caught(route, frame, error))
        finally:
            self._is_busy = False
            if self._inside:
                self._interrupted()
        metrics.frames += 1
        metrics.latency.record(self._monotonic_ns() - started)

    async def _emitted(self, events: Sequence[Emission]) -> None:
        pending = self._emit(events)
        if pending is not None:
            await pending

    def _act(self, call: _Call) -> Sequence[Emission]:
        self._state.received_ns = call.received_ns
        try:
            return call.action()
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001  # as in deliver, for what comes between frames
            return [*self._state.fail(), self._error_event("error", error)]

    def _settle(self, route: Route, outcome: object) -> None:
        if outcome is Outcome.CONTROL:
            self.control += 1
            return
        if inspect.isawaitable(outcome):
            if inspect.iscoroutine(outcome):
                outcome.close()
            raise UnannouncedAwaitable(getattr(route.slot, "__qualname__", "the receiver"))
        self.delivered += 1

    def _caught(self, route: Route, frame: _Frame, error: Exception) -> Sequence[Emission]:
        """Find the place of a frame whose receiver raised; returns what has to be emitted."""
        self._inside = 0
        number, received_ns, _, raw = frame
        kind = "undecodable" if isinstance(error, DecodeError) else "error"
        route.metrics.count_error(kind)
        if isinstance(error, DecodeError) and route.fallback is not None:
            route.metrics.fallbacks += 1
            self._fifo.appendleft(_Fallback((number, received_ns, self._monotonic_ns(), raw), route.fallback))
            return ()
        self.rejected[kind] = self.rejected.get(kind, 0) + 1
        excerpt = (raw if isinstance(raw, bytes) else raw.encode("utf-8", "replace"))[:EXCERPT_BYTES]
        self.dead_letters.append(DeadLetter(number, received_ns, route.architecture, kind, f"{type(error).__name__}: {error}", excerpt))
        events = self._state.reject(error) if isinstance(error, DecodeError) else self._state.fail()
        return [*events, self._error_event(kind, error)]

    def _error_event(self, kind: str, error: Exception) -> ErrorEvent:
        self.raised += 1
        return ErrorEvent(self._venue, kind, f"{type(error).__name__}: {error}", received_ns=self._state.received_ns)

    def _shed(self, reason: str) -> None:
        self.shed[reason] = self.shed.get(reason, 0) + 1

    def _interrupted(self) -> None:
        """A cancellation passed through a receiver: the frame has its outcome, and its streams are told once the lane runs again."""
        self._inside = 0
        self._shed("interrupted")
        self._fifo.appendleft(_Call(self, "interruption", self._state.fail, self._state.received_ns))
