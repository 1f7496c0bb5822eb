"""The user's callables, one for each type of event, and the first of the two places that catch everything."""

import inspect
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from infrastructure.clock import MonotonicNs
from infrastructure.errors import UnannouncedAwaitable
from infrastructure.events import ErrorEvent
from infrastructure.session import Emission

Callback = Callable[[Any], Any]

#: Under this kind a callback's exception reaches ``on_error``.
CALLBACK_ERROR = "callback"
#: And under this one that a plain callback kept the event loop from everything else for longer than ``BLOCKED_NS``.
CALLBACK_BLOCKED = "blocked"
BLOCKED_NS = 500_000_000


def name_of(callback: Callback) -> str:
    """A name for error texts."""
    return getattr(callback, "__qualname__", None) or type(callback).__qualname__


class Callbacks:
    """Hands events to callables, in order, exactly once each.

    A callable declared with ``async def`` is awaited before the next event is handed out; ``is_async`` is fixed when this object is
    made. An exception is the callback's own: it is counted and told to the callback for errors, and the remaining events go on. So is a
    plain callable that blocks.
    """

    __slots__ = (
        "_awaited",
        "_monotonic_ns",
        "_targets",
        "_venue",
        "abandoned",
        "accepted",
        "emitted",
        "errors",
        "is_async",
        "last_error",
        "raised",
        "underway",
    )

    def __init__(self, venue: str, targets: Mapping[type, Callback], monotonic_ns: MonotonicNs = time.monotonic_ns) -> None:
        self._venue = venue
        self._monotonic_ns = monotonic_ns
        self._targets = dict(targets)
        self._awaited = frozenset(kind for kind, target in targets.items() if inspect.iscoroutinefunction(target))
        self.is_async = bool(self._awaited)
        self.emitted = 0
        self.accepted = 0
        self.errors = 0
        #: Error events made here, beside those of the session.
        self.raised = 0
        #: Events whose callback has not returned yet, or has not been called.
        self.underway = 0
        #: Events whose callback was never called, or never returned, because the task was cancelled.
        self.abandoned = 0
        self.last_error: Exception | None = None

    def emit(self, events: Sequence[Emission]) -> Awaitable[None] | None:
        """Call the callbacks; returns what must be awaited when one of them is ``async``, else None."""
        if self.is_async:
            return self._emit_async(events) if events else None
        targets = self._targets
        remaining = len(events)
        self.underway += remaining
        called = self._monotonic_ns()
        try:
            for event in events:
                target = targets[type(event)]
                following = None
                try:
                    result = target(event)
                    if result is not None:
                        _refuse_awaitable(target, result)
                except MemoryError:
                    raise  # Not the callback's mistake, and nothing to go on from.
                except Exception as error:  # noqa: BLE001  # whatever a user's callable raises is its own
                    following = self._failed(event, target, error)
                else:
                    self.accepted += 1
                self.emitted += 1
                self.underway -= 1
                remaining -= 1
                returned = self._monotonic_ns()
                if returned - called > BLOCKED_NS:
                    following = following or self._blocked(event, target, returned - called)
                called = returned
                if following is not None:
                    self.emit([following])
        finally:
            self.underway -= remaining
            self.abandoned += remaining
        return None

    async def _emit_async(self, events: Sequence[Emission]) -> None:
        targets = self._targets
        awaited = self._awaited
        remaining = len(events)
        self.underway += remaining
        try:
            for event in events:
                kind = type(event)
                target = targets[kind]
                following = None
                called = self._monotonic_ns()
                try:
                    result = target(event)
                    blocked_ns = self._monotonic_ns() - called
                    if kind in awaited:
                        await result
                    elif result is not None:
                        _refuse_awaitable(target, result)
                except MemoryError:
                    raise
                except Exception as error:  # noqa: BLE001  # whatever a user's callable raises is its own
                    following = self._failed(event, target, error)
                else:
                    self.accepted += 1
                    if blocked_ns > BLOCKED_NS:
                        following = self._blocked(event, target, blocked_ns)
                self.emitted += 1
                self.underway -= 1
                remaining -= 1
                if following is not None:
                    await self._emit_async([following])
        finally:
            self.underway -= remaining
            self.abandoned += remaining

    def _failed(self, event: Emission, target: Callback, error: Exception) -> ErrorEvent | None:
        self.errors += 1
        self.last_error = error
        if isinstance(event, ErrorEvent):
            return None  # Whoever is told of errors failed itself: counted, and not told again.
        return self._tell(CALLBACK_ERROR, f"{name_of(target)}: {type(error).__name__}: {error}", event)

    def _blocked(self, event: Emission, target: Callback, elapsed_ns: int) -> ErrorEvent | None:
        if isinstance(event, ErrorEvent):
            return None
        return self._tell(CALLBACK_BLOCKED, f"{name_of(target)} blocked the event loop for {elapsed_ns / 1e9:.1f} s", event)

    def _tell(self, kind: str, text: str, event: Emission) -> ErrorEvent:
        self.raised += 1
        return ErrorEvent(self._venue, kind, text, symbol=getattr(event, "symbol", None), received_ns=event.received_ns)


def _refuse_awaitable(target: Callback, result: object) -> None:
    """Raise UnannouncedAwaitable if ``result`` is one; any other return value is of no interest."""
    if inspect.isawaitable(result):
        if inspect.iscoroutine(result):
            result.close()
        raise UnannouncedAwaitable(name_of(target))
