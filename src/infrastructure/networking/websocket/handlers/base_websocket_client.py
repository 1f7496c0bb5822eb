"""What every handler is: an object whose ``_handle_message`` takes one raw frame."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from infrastructure.callbacks import Callback, Callbacks, name_of
from infrastructure.clock import Clock, MonotonicNs
from infrastructure.errors import SettingsError
from infrastructure.events import Architecture, ErrorEvent, Gap
from infrastructure.metrics import PathMetrics
from infrastructure.networking.websocket.route import Outcome
from infrastructure.session import Emission, Session


class BaseWebSocketClient(ABC):
    """A receiver of the direct architecture.

    Subclass it and write ``_handle_message``; raise DecodeError, before anything has changed, for a frame that cannot be read. Or use
    PublicWebSocketHandler and PrivateWebSocketHandler, which decode with a venue's codec.

    Each ``_on_*`` method takes one event and may be overridden, plain or ``async``; or a callable is given for it at construction, such
    as ``on_gap=print``, which then takes its place.
    """

    #: By event: the method that takes it. Subclasses extend this.
    event_methods: ClassVar[Mapping[type, str]] = {Gap: "_on_gap", ErrorEvent: "_on_error"}

    def __init__(self, **callbacks: Callback) -> None:
        known = {method.removeprefix("_"): event for event, method in self.event_methods.items()}
        unknown = sorted(set(callbacks) - set(known))
        if unknown:
            raise SettingsError(f"{type(self).__name__} has no callback {', '.join(unknown)}; known: {', '.join(known)}")
        self._given = {known[name]: callback for name, callback in callbacks.items() if callback is not None}
        for callback in self._given.values():
            if not callable(callback):
                raise SettingsError(f"a callback must be callable, not {name_of(callback)}")
        self.callbacks = self._bind("", time.monotonic_ns)

    def _bind(self, venue: str, monotonic_ns: MonotonicNs) -> Callbacks:
        targets = {event: self._given.get(event) or getattr(self, method) for event, method in self.event_methods.items()}
        return Callbacks(venue, targets, monotonic_ns)

    @abstractmethod
    def _handle_message(self, raw_message: bytes | str) -> Any:
        """Take one frame. Returns None or an Outcome; an ``async def`` override is awaited, in the lane's task."""

    def _on_gap(self, gap: Gap) -> Any:
        """An interval of a stream is missing."""

    def _on_error(self, error: ErrorEvent) -> Any:
        """Something failed that no caller could be told by an exception."""


class SessionHandler(BaseWebSocketClient):
    """A handler that decodes with the codec of its session's venue, lets the session judge and apply, and calls back."""

    session: Session

    def __init__(self, session: Session | None = None, metrics: PathMetrics | None = None, **callbacks: Callback) -> None:
        super().__init__(**callbacks)
        if session is not None:
            self.attach(session, metrics or PathMetrics(Architecture.DIRECT, Clock().monotonic_ns))

    @property
    def is_attached(self) -> bool:
        """Whether the handler has a session already; a feed gives its own to one that has none."""
        return hasattr(self, "session")

    def attach(self, session: Session, metrics: PathMetrics, monotonic_ns: MonotonicNs = time.monotonic_ns) -> None:
        """Work on ``session`` from now on and count into ``metrics``; callbacks are timed by ``monotonic_ns``."""
        self.session = session
        self.metrics = metrics
        self._by_type = metrics.by_type
        self.callbacks = self._bind(session.venue.name, monotonic_ns)
        self._decode: Callable[[bytes | str], Any] = session.venue.codec.decode
        self._apply = session.apply
        self._emit = self.callbacks.emit

    def _handle_message(self, raw_message: bytes | str) -> Any:
        """Decode one frame, apply it, call back. Raises DecodeError before anything has changed.

        Returns None or an Outcome; with ``async`` callbacks, what must be awaited.
        """
        return self._publish(self._decode(raw_message))

    def _publish(self, messages: Any) -> Any:
        by_type = self._by_type
        for message in messages:
            by_type[message.message_type] += 1
        events: list[Emission] = self._apply(messages)
        pending = self._emit(events)
        outcome = Outcome.CONTROL if messages[0].is_control else None
        return outcome if pending is None else _after(pending, outcome)


async def _after(pending: Any, outcome: Outcome | None) -> Outcome | None:
    await pending
    return outcome
