"""What is wanted of a connection, what was asked, what the venue acknowledged, and what flows. Pure: facts in, what is to be done out.

    WANTED --asked--> ASKED --acknowledged--> ACKNOWLEDGED --data--> FLOWING
       ^                '------------------- data ------------------------^
       '-- not answered in time, and from every stage when the connection is lost

    whatever was asked for --drop--> LEAVING --answered, or the connection lost--> gone

Only subscriptions are held here, so nothing else can be sent again after a connection is lost.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from enum import Enum

import msgspec

from infrastructure.errors import SubscriptionRefused
from infrastructure.venue import Acknowledgement, SubscriptionRequest


class Stage(Enum):
    """How far one symbol of one channel has come on the current connection."""

    WANTED = "wanted"
    ASKED = "asked"
    ACKNOWLEDGED = "acknowledged"
    FLOWING = "flowing"
    LEAVING = "leaving"


class Answer(msgspec.Struct, frozen=True):
    """A request that the venue answered; ``error`` is set where it refused."""

    request: SubscriptionRequest
    error: SubscriptionRefused | None


class _Stream:
    """One symbol of one channel; ``request`` is the last on this connection that asked for it, or, once it is LEAVING, for its end."""

    __slots__ = ("request", "stage")

    def __init__(self) -> None:
        self.stage = Stage.WANTED
        self.request: SubscriptionRequest | None = None


class Subscriptions:
    """The subscriptions of one connection, and of those that come after it when it is lost.

    Channels are named as the user wrote them, with their option. Whoever sends asks for what ``to_ask`` returns and for the end of what
    ``drop`` returned, and tells by ``asked`` what was sent.
    """

    def __init__(self, venue_name: str, timeout_s: float, max_id: int = 2**31 - 1) -> None:
        self._venue = venue_name
        self._timeout_s = timeout_s
        self._max_id = max_id
        self._last_id = 0
        self._streams: dict[str, dict[str, _Stream]] = {}
        #: Requests without an answer, each with the time it was sent, oldest first.
        self._pending: list[tuple[float, SubscriptionRequest]] = []

    def __repr__(self) -> str:
        counts = Counter(stream.stage for _, _, stream in self._all())
        stages = " ".join(f"{stage.value}={counts[stage]}" for stage in Stage)
        return f"<Subscriptions {self._venue} {stages} pending={len(self._pending)}>"

    def next_id(self) -> int:
        """A number for the next request: 1 to ``max_id``, then again from 1."""
        self._last_id = self._last_id % self._max_id + 1
        return self._last_id

    def stage(self, channel: str, symbol: str) -> Stage | None:
        """How far ``symbol`` of ``channel`` has come; None when nobody wants it, nor its end."""
        stream = self._streams.get(channel, {}).get(symbol)
        return None if stream is None else stream.stage

    def want(self, channel: str, symbols: Sequence[str]) -> None:
        """These are wanted; what is wanted already stays as it is."""
        streams = self._streams.setdefault(channel, {})
        for symbol in symbols:
            if symbol not in streams or streams[symbol].stage is Stage.LEAVING:
                streams[symbol] = _Stream()

    def drop(self, channel: str, symbols: Sequence[str]) -> list[str]:
        """These are no longer wanted; returns the symbols whose end must be asked for, because the venue was asked for them."""
        streams = self._streams.get(channel, {})
        known = []
        for symbol in symbols:
            stream = streams.get(symbol)
            if stream is None or stream.stage is Stage.LEAVING:
                continue
            if stream.request is None:
                del streams[symbol]
            else:
                stream.stage = Stage.LEAVING
                stream.request = None
                known.append(symbol)
        return known

    @property
    def is_waiting(self) -> bool:
        """Whether a request has no answer yet."""
        return bool(self._pending)

    def wanted(self) -> list[tuple[str, str]]:
        """Channel and symbol of everything that is wanted, however far it has come."""
        return [(channel, symbol) for channel, symbol, stream in self._all() if stream.stage is not Stage.LEAVING]

    def to_ask(self) -> dict[str, list[str]]:
        """By channel, the symbols that are wanted and were not asked for on this connection, or not answered in time."""
        wanted: dict[str, list[str]] = {}
        for channel, symbol, stream in self._all():
            if stream.stage is Stage.WANTED:
                wanted.setdefault(channel, []).append(symbol)
        return wanted

    def asked(self, requests: Sequence[SubscriptionRequest], at_s: float) -> None:
        """These requests were sent, at this monotonic time."""
        for request in requests:
            self._pending.append((at_s, request))
            before, after = (Stage.WANTED, Stage.ASKED) if request.action == "subscribe" else (Stage.LEAVING, Stage.LEAVING)
            streams = self._streams.get(request.channel, {})
            for symbol in request.symbols:
                stream = streams.get(symbol)
                if stream is not None and stream.stage is before:
                    stream.stage = after
                    stream.request = request

    def acknowledge(self, acknowledgement: Acknowledgement) -> Answer | None:
        """Find the request that is answered, by its number, else its payload, else its age; None when nobody asked.

        A refusal ends the wish as well: the venue said no, and would again.
        """
        request = self._answered(acknowledgement)
        if request is None:
            return None
        self._pending = [entry for entry in self._pending if entry[1] is not request]
        error = None
        if acknowledgement.error is not None:
            error = SubscriptionRefused(self._venue, request.channel, request.symbols, acknowledgement.error, acknowledgement.error_code)
        for symbol, stream in self._waiting_for(request):
            if error is not None or stream.stage is Stage.LEAVING:
                del self._streams[request.channel][symbol]
            elif stream.stage is Stage.ASKED:
                stream.stage = Stage.ACKNOWLEDGED
        return Answer(request, error)

    def flowing(self, channel: str, symbol: str) -> None:
        """Data came; ``channel`` is without its option, so that data of one option counts for all options of its channel."""
        for name, streams in self._streams.items():
            if _without_option(name) == channel:
                stream = streams.get(symbol)
                if stream is not None and stream.stage in (Stage.ASKED, Stage.ACKNOWLEDGED):
                    stream.stage = Stage.FLOWING

    def overdue(self, at_s: float) -> list[SubscriptionRequest]:
        """The requests that were not answered in time. They are forgotten; what they asked for is WANTED again, an end stays LEAVING."""
        late = [request for asked_s, request in self._pending if at_s - asked_s >= self._timeout_s]
        self._pending = [(asked_s, request) for asked_s, request in self._pending if at_s - asked_s < self._timeout_s]
        for request in late:
            for _, stream in self._waiting_for(request):
                if stream.stage is not Stage.LEAVING:
                    stream.stage = Stage.WANTED
        return late

    def disconnected(self) -> list[SubscriptionRequest]:
        """The connection was lost: everything wanted is to be asked for again. Returns the requests that will get no answer."""
        unanswered = [request for _, request in self._pending]
        self._pending = []
        for channel, streams in self._streams.items():
            self._streams[channel] = {symbol: _Stream() for symbol, stream in streams.items() if stream.stage is not Stage.LEAVING}
        return unanswered

    def _all(self) -> Iterator[tuple[str, str, _Stream]]:
        for channel, streams in self._streams.items():
            for symbol, stream in streams.items():
                yield channel, symbol, stream

    def _waiting_for(self, request: SubscriptionRequest) -> list[tuple[str, _Stream]]:
        """The streams that ``request`` was the last to ask for; an answer says nothing of those that were asked for anew."""
        streams = self._streams.get(request.channel, {})
        return [(symbol, streams[symbol]) for symbol in request.symbols if symbol in streams and streams[symbol].request is request]

    def _answered(self, answer: Acknowledgement) -> SubscriptionRequest | None:
        oldest_alike = None
        for _, request in self._pending:
            if answer.request_id is not None and request.request_id is not None:
                # Another number answers another request, perhaps one that was given up.
                if answer.request_id == request.request_id:
                    return request
            elif oldest_alike is None and _is_alike(request, answer):
                oldest_alike = request
        return oldest_alike


def _is_alike(request: SubscriptionRequest, answer: Acknowledgement) -> bool:
    """Whether everything that ``answer`` repeats of its request is in this one; old frames repeat no payload."""
    if answer.request not in ("", request.action) or answer.channel not in ("", _without_option(request.channel)):
        return False
    return not answer.payload or set(answer.payload) <= set(request.payload)


def _without_option(channel: str) -> str:
    return channel.partition(":")[0]
