"""A connection's one FIFO: frames and markers, in order, each frame to exactly one receiver at a time, each with exactly one outcome.

    deliver(frame) --idle, empty, synchronous receiver--> slot(frame)
          '------- otherwise --> FIFO --> the lane's task --> slot(frame)

A switch is a marker in the FIFO: frames before it go to the old receiver, frames after it to the new one. So there is no hold
buffer and no drain deadline, and nothing can overtake.
"""

import asyncio
import inspect
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from typing import Any, Protocol

import msgspec

from infrastructure.clock import Clock, MonotonicNs
from infrastructure.errors import DecodeError, UnannouncedAwaitable
from infrastructure.events import Architecture, ErrorEvent
from infrastructure.metrics import FrameAccounting
from infrastructure.networking.websocket.marker import Call, Marker, Switch
from infrastructure.networking.websocket.route import Outcome, Route
from infrastructure.rotation import Overlap
from infrastructure.session import Emission

#: The task gives way to the rest of the program after so many frames in a row.
FRAMES_PER_TURN = 64
#: Reading is paused when so many items wait, and resumed at half.
HIGH_WATER = 8192
#: Of a lane that is held, so many times as many: it must be read on, or the answers would not be.
HELD_SHARE = 8
#: How long an abort waits for a callback that does not give in to its cancellation.
CANCELLATION_GRACE_S = 1.0
DEAD_LETTERS = 64
EXCERPT_BYTES = 2048


class State(Protocol):
    """What a lane needs of the session behind its receivers."""

    received_ns: int
    #: The lane whose frame, or call, is being handled.
    source: object | None

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


# (number, received_ns, when it was queued, raw): a tuple, because one is made for each queued frame.
_Frame = tuple[int, int, int, bytes | str]


class _Fallback:
    """A frame at the head of the lane that its receiver could not decode."""

    __slots__ = ("frame", "route")

    def __init__(self, frame: _Frame, route: Route) -> None:
        self.frame = frame
        self.route = route


class _Steps(Coroutine[Any, Any, None]):
    """A coroutine that says before each of its steps that it goes on, and after it how long it has kept the event loop."""

    __slots__ = ("_goes_on", "_monotonic_ns", "_steps", "_worked")

    def __init__(
        self, steps: Coroutine[Any, Any, None], monotonic_ns: MonotonicNs, goes_on: Callable[[], None], worked: Callable[[int], None]
    ) -> None:
        self._steps = steps
        self._monotonic_ns = monotonic_ns
        self._goes_on = goes_on
        self._worked = worked

    def send(self, value: Any) -> Any:
        self._goes_on()
        started = self._monotonic_ns()
        try:
            return self._steps.send(value)
        finally:
            self._worked(self._monotonic_ns() - started)

    def throw(self, *error: Any) -> Any:
        self._goes_on()
        started = self._monotonic_ns()
        try:
            return self._steps.throw(*error)
        finally:
            self._worked(self._monotonic_ns() - started)

    def close(self) -> None:
        self._steps.close()

    def __await__(self) -> Generator[Any, Any, None]:
        return self._steps.__await__()


class Lane:
    """The FIFO of one connection, the receiver in place, and the account of every frame.

    ``pause`` and ``resume`` are called at the high-water mark and at half of it; frames that arrive in between are still taken. The
    lane's task exists while something waits in the FIFO. ``worked`` is told of everything that it does outside of ``deliver``, in
    nanoseconds.
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
        worked: Callable[[int], None] | None = None,
    ) -> None:
        self._state = state
        self._emit = emit
        self._venue = venue
        self._monotonic_ns = clock.monotonic_ns
        self._offset_ns = clock.offset_ns
        self._high_water = high_water
        self._pause = pause
        self._resume = resume
        self._worked = worked
        self._fifo: deque[_Frame | _Fallback | Marker] = deque()
        #: What waits for ``release``, and which frames need not.
        self._held: deque[_Frame | Marker] = deque()
        self._passes: Callable[[bytes | str], bool] | None = None
        self._overlap: Overlap | None = None
        #: The reason for which every frame is shed.
        self._retired: str | None = None
        self._task: asyncio.Task[None] | None = None
        self._is_busy = False
        self._inside = 0
        self._is_closed = False
        self.is_paused = False
        #: How often reading was paused.
        self.pauses = 0
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
        held = "retired" if self._retired is not None else "held" if self._passes is not None else "busy" if self._is_busy else "idle"
        state = "closed" if self._is_closed else held
        return f"<Lane {self._venue} {self.route.architecture.value} {state} received={self.received} in_flight={self.in_flight}>"

    @property
    def in_flight(self) -> int:
        """Frames that wait, plus the one inside a receiver."""
        return self._inside + sum(1 for waiting in (self._fifo, self._held) for item in waiting if not isinstance(item, Marker))

    @property
    def lag_ns(self) -> int:
        """How long ago the frame that is handled next was received; 0 when none waits."""
        waiting = next((item for item in self._fifo if not isinstance(item, Marker)), None)
        if waiting is None:
            return 0
        _, received_ns, _, _ = waiting.frame if isinstance(waiting, _Fallback) else waiting
        return self._monotonic_ns() + self._offset_ns - received_ns

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
        self._state.source = self
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
                self.wake()
        self._metrics.latency.record(self._monotonic_ns() - started)

    def attend(self, pause: Callable[[], None], resume: Callable[[], None]) -> None:
        """Call these at the high-water mark and at half of it from now on."""
        self._pause, self._resume = pause, resume

    def switch(self, route: Route) -> Switch:
        """Hand every frame from here on to ``route``; what came before goes to the receiver in place, however much waits."""
        marker = Switch(self, route, self.received, self.in_flight, self._monotonic_ns())
        if self._is_free():
            self._flip(marker)
        else:
            self._wait(marker)
        return marker

    def withdraw(self, marker: Switch) -> bool:
        """Take a switch back that the lane has not reached."""
        if marker.is_done:
            return False
        (self._held if marker in self._held else self._fifo).remove(marker)
        marker.settle(self._monotonic_ns(), changed=False, withdrawn=True)
        return True

    def call(self, what: str, action: Callable[[], Sequence[Emission]], received_ns: int | None = None) -> Marker:
        """Run ``action`` between the frames received so far and the next, and emit what it returns.

        Its events carry ``received_ns``, now if not given.
        """
        marker = Call(self, what, action, self._monotonic_ns() + self._offset_ns if received_ns is None else received_ns)
        if self._is_free() and not self._is_queued:
            self._is_busy = True
            started = self._monotonic_ns()
            try:
                self._emit(self._act(marker))
            finally:
                self._is_busy = False
                if self._worked is not None:
                    self._worked(self._monotonic_ns() - started)
            marker.finish()
            if self._fifo:
                self.wake()
        else:
            self._append(marker)
        return marker

    def drain(self) -> Marker:
        """A marker that is reached when everything received so far has been handled."""
        marker = Marker(self, "drain()")
        if self._is_free():
            marker.finish()
        else:
            self._wait(marker)
        return marker

    def close(self) -> Marker:
        """Take no more frames; those that wait are still handled. Frames delivered from now on are shed as ``closed``."""
        marker = Marker(self, "close()")
        if self._is_free():
            marker.finish()
        else:
            self._wait(marker)
        self._is_closed = True
        self._is_queued = True
        return marker

    def hold(self, passes: Callable[[bytes | str], bool]) -> None:
        """Let frames wait until ``release``, but for those that ``passes`` says yes to, and calls. For a lane that has had no frame."""
        self._passes = passes
        self._is_queued = True

    def release(self, overlap: Overlap | None = None) -> None:
        """Handle what waits, in order, and then what comes.

        With ``overlap`` a frame whose data was all told before is shed as ``overlap``, until ``settle``.
        """
        self._passes = None
        self._overlap = overlap
        now = self._monotonic_ns()
        while self._held:
            item = self._held.popleft()
            # It waited for its turn to begin, not for its receiver.
            self._fifo.append(item if isinstance(item, Marker) else (item[0], item[1], now, item[3]))
        self._set_route(self.route)
        self.wake()

    def settle(self) -> None:
        """What was told before does not come any more."""
        self._overlap = None
        self._set_route(self.route)

    def retire(self, reason: str) -> None:
        """Shed every frame that waits, or comes, for ``reason``: another lane has taken over. Calls and markers are still reached."""
        self._retired = reason
        self.release()

    async def abort(self) -> None:
        """Take no more frames and shed those that wait, as ``closed``; the frame inside a receiver is cancelled."""
        self._is_closed = True
        self._is_queued = True
        self._give_up_waiting()
        task = self._task
        if task is not None:
            task.cancel()
            await asyncio.wait([task], timeout=CANCELLATION_GRACE_S)
            # Whoever aborts does not wait for callbacks, not even for the one that would tell of the interruption.
            self._give_up_waiting()

    def _give_up_waiting(self) -> None:
        while self._fifo or self._held:
            item = (self._fifo or self._held).popleft()
            if isinstance(item, Switch):
                item.settle(self._monotonic_ns(), changed=False, withdrawn=True)
            elif isinstance(item, Marker):
                item.finish()
            else:
                self._shed("closed")

    def _is_free(self) -> bool:
        return not self._fifo and not self._is_busy and not self._held

    def _set_route(self, route: Route) -> None:
        self.route = route
        self._slot = route.slot
        is_watched = self._passes is not None or self._overlap is not None or self._retired is not None
        self._is_queued = route.is_queued or self._is_closed or is_watched
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
        if self._passes is None or self._passes(frame[3]):
            self._append(frame)
        else:
            self._held.append(frame)
        high_water = self._high_water if self._passes is None else HELD_SHARE * self._high_water
        if not self.is_paused and len(self._fifo) + len(self._held) >= high_water and self._pause is not None:
            self.is_paused = True
            self.pauses += 1
            self._pause()

    def _resume_reading(self) -> None:
        if self.is_paused and self._resume is not None:
            self.is_paused = False
            self._resume()

    def _append(self, item: _Frame | Marker) -> None:
        self._fifo.append(item)
        self.wake()

    def _wait(self, marker: Marker) -> None:
        """Put a marker behind everything that was received."""
        if self._held:
            self._held.append(marker)
        else:
            self._append(marker)

    def wake(self) -> None:
        """See to it that what waits in the FIFO is handled, if there is an event loop."""
        if self._task is None and self._fifo:
            try:
                loop = asyncio.get_running_loop()
            except RuntimeError:
                return  # Delivered outside an event loop: whoever awaits a marker wakes the lane.
            steps: Coroutine[Any, Any, None] = self._run()
            if self._worked is not None:
                steps = _Steps(steps, self._monotonic_ns, self._goes_on, self._worked)
            self._task = loop.create_task(steps)
            self._task.add_done_callback(self._ended)

    def _goes_on(self) -> None:
        """Other lanes may have been at work since this one's task last was."""
        self._state.source = self

    async def _run(self) -> None:
        handled = 0
        try:
            while self._fifo:
                try:
                    await self._step(self._fifo.popleft())
                except asyncio.CancelledError:
                    if self._task is None or self._task.cancelling():
                        raise
                    # A callback awaited something that was cancelled: its own frame is interrupted, the lane is not.
                if (len(self._fifo) + len(self._held)) * 2 <= self._high_water:
                    self._resume_reading()
                handled += 1
                if handled % FRAMES_PER_TURN == 0:
                    await asyncio.sleep(0)
        finally:
            self._task = None

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Go on after a cancellation if somebody waits for the lane; otherwise the next frame wakes it.

        A task can be cancelled before its first step, where no ``finally`` of its own runs; and when an event loop shuts down it
        cancels every task, after which nobody waits and nothing must be started.
        """
        if self._task is task:
            self._task = None
        if any(isinstance(item, Marker) and item.is_awaited for item in self._fifo):
            self.wake()
        elif not self._held:
            self._resume_reading()  # Or there would be no next frame.

    async def _step(self, item: _Frame | _Fallback | Marker) -> None:
        if type(item) is tuple:
            if self._retired is None:
                await self._handle(item, self.route)
            else:
                self._shed(self._retired)
        elif isinstance(item, _Fallback):
            await self._handle(item.frame, item.route)
        elif isinstance(item, Switch):
            self._flip(item)
        elif isinstance(item, Call):
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
        self._state.source = self
        overlap = self._overlap
        if overlap is not None:
            overlap.begin_frame()
        try:
            outcome = route.slot(raw)
            if route.is_queued and outcome is not None and inspect.isawaitable(outcome):
                outcome = await outcome
            self._inside = 0
            if overlap is not None and overlap.has_told_frame:
                self._shed("overlap")
            elif outcome is None:
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
        metrics.latency.record(self._monotonic_ns() - started)

    async def _emitted(self, events: Sequence[Emission]) -> None:
        pending = self._emit(events)
        if pending is not None:
            await pending

    def _act(self, call: Call) -> Sequence[Emission]:
        self._state.received_ns = call.received_ns
        self._state.source = self
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
        self._fifo.appendleft(Call(self, "interruption", self._state.fail, self._state.received_ns))
