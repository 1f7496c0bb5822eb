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
    """The venue answered ``request`` for these ``symbols`` of it; ``error`` is set where it refused them for good.

    With ``is_to_be_split`` it refused several together, of which one may be to blame: they are wanted again, fewer at a time.
    """

    request: SubscriptionRequest
    symbols: tuple[str, ...]
    error: SubscriptionRefused | None = None
    is_to_be_split: bool = False


class RequestIds:
    """Numbers for requests: 1 to ``most``, then again from 1. The connections of one venue share them."""

    def __init__(self, most: int = 2**31 - 1) -> None:
        self._most = most
        self._last = 0

    def __call__(self) -> int:
        """The next."""
        self._last = self._last % self._most + 1
        return self._last


class _Stream:
    """One symbol of one channel; ``request`` is the last on this connection that asked for it, or, once it is LEAVING, for its end.

    ``most`` streams may be asked for together with it, so many at first, fewer once a request with it was refused.
    """

    __slots__ = ("most", "request", "stage")

    def __init__(self, most: int) -> None:
        self.stage = Stage.WANTED
        self.request: SubscriptionRequest | None = None
        self.most = most


class Subscriptions:
    """The subscriptions of one connection, and of those that come after it when it is lost.

    Channels are named as the user wrote them, with their option. Whoever sends asks for what ``to_ask`` returns and for the end of what
    ``drop`` returned, and tells by ``asked`` what was sent.
    """

    def __init__(self, venue_name: str, timeout_s: float, most_at_once: int = 100) -> None:
        self._venue = venue_name
        self._timeout_s = timeout_s
        self._most = most_at_once
        self._streams: dict[str, dict[str, _Stream]] = {}
        #: Requests without an answer, each with the time it was sent, oldest first.
        self._pending: list[tuple[float, SubscriptionRequest]] = []

    def __repr__(self) -> str:
        counts = self.stages
        stages = " ".join(f"{stage.value}={counts[stage]}" for stage in Stage)
        return f"<Subscriptions {self._venue} {stages} pending={len(self._pending)}>"

    @property
    def stages(self) -> Counter[Stage]:
        """How many streams are how far."""
        return Counter(stream.stage for _, _, stream in self._all())

    def stage(self, channel: str, symbol: str) -> Stage | None:
        """How far ``symbol`` of ``channel`` has come; None when nobody wants it, nor its end."""
        stream = self._streams.get(channel, {}).get(symbol)
        return None if stream is None else stream.stage

    def want(self, channel: str, symbols: Sequence[str]) -> None:
        """These are wanted; what is wanted already stays as it is."""
        streams = self._streams.setdefault(channel, {})
        for symbol in symbols:
            if symbol not in streams or streams[symbol].stage is Stage.LEAVING:
                streams[symbol] = _Stream(self._most)

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

    def release(self, channel: str, symbols: Sequence[str]) -> None:
        """These are no longer wanted, and the venue need not know: their channel's one subscription goes on for others."""
        for symbol in symbols:
            self._streams.get(channel, {}).pop(symbol, None)

    @property
    def is_waiting(self) -> bool:
        """Whether a request has no answer yet."""
        return bool(self._pending)

    def wanted(self) -> list[tuple[str, str]]:
        """Channel and symbol of everything that is wanted, however far it has come."""
        return [(channel, symbol) for channel, symbol, stream in self._all() if stream.stage is not Stage.LEAVING]

    def to_ask(self) -> list[tuple[str, list[str]]]:
        """Channel and symbols of each request that is to be sent: what is wanted and was not asked for on this connection, or not answered
        in time.
        """
        wanted: dict[tuple[str, int], list[str]] = {}
        for channel, symbol, stream in self._all():
            if stream.stage is Stage.WANTED:
                wanted.setdefault((channel, stream.most), []).append(symbol)
        return [
            (channel, symbols[start : start + most])
            for (channel, most), symbols in wanted.items()
            for start in range(0, len(symbols), most)
        ]

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

        A refusal ends the wish as well: the venue said no, and would again. Only of several together it may have meant one.
        """
        request = self._answered(acknowledgement)
        if request is None:
            return None
        symbols = _named(request, acknowledgement)
        is_whole = len(symbols) == len(request.symbols)
        error = None
        is_to_be_split = False
        if acknowledgement.error is not None:
            is_to_be_split = is_whole and len(symbols) > 1 and request.action == "subscribe"
            if not is_to_be_split:
                error = SubscriptionRefused(self._venue, request.channel, symbols, acknowledgement.error, acknowledgement.error_code)
        for symbol, stream in self._waiting_for(request):
            if symbol not in symbols:
                continue
            if is_to_be_split and stream.stage is not Stage.LEAVING:
                stream.stage, stream.request, stream.most = Stage.WANTED, None, (len(symbols) + 1) // 2
            elif error is not None or stream.stage is Stage.LEAVING:
                del self._streams[request.channel][symbol]
            elif stream.stage is Stage.ASKED:
                stream.stage = Stage.ACKNOWLEDGED
        if is_whole or not any(stream.stage in (Stage.ASKED, Stage.LEAVING) for _, stream in self._waiting_for(request)):
            self._pending = [entry for entry in self._pending if entry[1] is not request]
        return Answer(request, symbols, error, is_to_be_split)

    def flowing(self, channel: str, symbol: str) -> None:
        """Data came; ``channel`` is without its option, so that data of one option counts for all options of its channel."""
        for name, streams in self._streams.items():
            if without_option(name) == channel:
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
            self._streams[channel] = {
                symbol: _Stream(self._most) for symbol, stream in streams.items() if stream.stage is not Stage.LEAVING
            }
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


def _named(request: SubscriptionRequest, answer: Acknowledgement) -> tuple[str, ...]:
    """The symbols of ``request`` that ``answer`` is for: those it names, or all."""
    named = set(answer.payload)
    if not named or len(request.payload) != len(request.symbols) or not named < set(request.payload):
        return request.symbols
    return tuple(symbol for symbol, item in zip(request.symbols, request.payload, strict=True) if item in named)


def _is_alike(request: SubscriptionRequest, answer: Acknowledgement) -> bool:
    """Whether everything that ``answer`` repeats of its request is in this one; old frames repeat no payload."""
    if answer.request not in ("", request.action) or answer.channel not in ("", without_option(request.channel)):
        return False
    return not answer.payload or set(answer.payload) <= set(request.payload)


def without_option(channel: str) -> str:
    """``spot.obu`` for ``spot.obu:400``."""
    return channel.partition(":")[0]
