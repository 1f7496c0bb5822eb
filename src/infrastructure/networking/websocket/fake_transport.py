"""The other end of a WebSocket without a socket: whatever connects can be tried against it, in virtual time too.

venue = FakeVenue(answer=lambda text: [acknowledgement_of(text)])
venue.refuse(ConnectFailed("ws://fake", "down"))  # the next attempt
...  # let something connect, with connect=venue
venue.transports[-1].deliver(frame)
venue.transports[-1].lose(Loss(LossCause.CUT))
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Callable, Iterable, Mapping

import msgspec

from infrastructure.account_api import SignedCall
from infrastructure.clock import Clock
from infrastructure.errors import ConnectFailed, RequestFailed
from infrastructure.networking.websocket.link import Loss, LossCause, OnFrame, OnLoss
from infrastructure.networking.websocket.settings import TransportSettings

#: What a venue sends when it is sent this text.
Answer = Callable[[str], Iterable[str | bytes]]


class Attempt(msgspec.Struct, frozen=True):
    """One attempt to connect, and the event loop's time at which it was made."""

    url: str
    headers: Mapping[str, str]
    at_s: float


class FakeVenue:
    """A ``Connect``. Every attempt is in ``attempts``, every transport given out in ``transports``, both in order."""

    def __init__(self, answer: Answer | None = None) -> None:
        self.attempts: list[Attempt] = []
        self.transports: list[FakeTransport] = []
        self._answer = answer
        self._refusals: deque[ConnectFailed] = deque()

    def refuse(self, *errors: ConnectFailed) -> None:
        """Let the next attempts fail, each with one of these."""
        self._refusals.extend(errors)

    async def __call__(
        self,
        url: str,
        on_frame: OnFrame,
        on_loss: OnLoss,
        *,
        settings: TransportSettings,
        clock: Clock,
        headers: Mapping[str, str] | None = None,
        ssl_context: ssl.SSLContext | None = None,
        may_read: Callable[[], bool] | None = None,
        worked: Callable[[int], None] | None = None,
    ) -> "FakeTransport":
        """A FakeTransport, or the next refusal."""
        self.attempts.append(Attempt(url, dict(headers or {}), asyncio.get_running_loop().time()))
        await asyncio.sleep(0)
        if self._refusals:
            raise self._refusals.popleft()
        transport = FakeTransport(on_frame, on_loss, clock, self._answer, may_read, worked)
        self.transports.append(transport)
        return transport


class FakeTransport:
    """A ``Transport`` whose other end is its methods ``deliver`` and ``lose``; ``sent`` is what it was given to send."""

    def __init__(
        self,
        on_frame: OnFrame,
        on_loss: OnLoss,
        clock: Clock,
        answer: Answer | None = None,
        may_read: Callable[[], bool] | None = None,
        worked: Callable[[int], None] | None = None,
    ) -> None:
        self.sent: list[str] = []
        #: How it ended, once that has been told.
        self.loss: Loss | None = None
        self.is_paused = False
        #: How long the other end takes to answer a ping; None: it never does.
        self.pong_after_s: float | None = 0.0
        self._on_frame = on_frame
        self._may_read = may_read
        self._worked = worked
        self._on_loss = on_loss
        self._clock = clock
        self._answer = answer
        self._loop = asyncio.get_running_loop()
        self._lost = asyncio.Event()
        self._is_ending = False
        self._is_delivering = False
        self._waiting: deque[bytes | Loss | asyncio.Future[bool]] = deque()
        self._round_trips: list[asyncio.Future[bool]] = []

    def deliver(self, raw: str | bytes) -> None:
        """The venue sends a message: taken at once, at ``resume`` while paused, never once the end has begun."""
        self._waiting.append(raw.encode() if isinstance(raw, str) else raw)
        self._deliver_all()

    def lose(self, loss: Loss) -> None:
        """The venue, or what is between, ends the connection; seen when what was delivered before has been."""
        self._waiting.append(loss)
        self._deliver_all()

    @property
    def is_open(self) -> bool:
        """Whether frames may come and be sent."""
        return self.loss is None and not self._is_ending

    def send(self, text: str) -> None:
        """Note ``text`` in ``sent``; what the venue answers comes soon."""
        if self.is_open:
            self.sent.append(text)
            if self._answer is not None:
                self._loop.call_soon(self._respond, self._answer, text)

    async def round_trip(self) -> bool:
        """Answered behind what is delivered within ``pong_after_s``."""
        if not self.is_open:
            return False
        answered: asyncio.Future[bool] = self._loop.create_future()
        self._round_trips.append(answered)
        if self.pong_after_s is not None:
            self._loop.call_later(self.pong_after_s, self._pong, answered)
        return await answered

    def pause(self) -> None:
        """Keep what comes until ``resume``."""
        self.is_paused = True

    def resume(self) -> None:
        """Take what came in the meantime."""
        self.is_paused = False
        self._deliver_all()

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """End it; ``on_loss`` has been called at the end."""
        self._end_soon(Loss(LossCause.CLOSED_BY_US, code, reason))
        await self._lost.wait()

    def abort(self, cause: LossCause = LossCause.CLOSED_BY_US) -> None:
        """End it; ``on_loss`` is called soon."""
        self._end_soon(Loss(cause))

    def _pong(self, answered: asyncio.Future[bool]) -> None:
        self._waiting.append(answered)
        self._deliver_all()

    def _respond(self, answer: Answer, text: str) -> None:
        for raw in answer(text):
            self.deliver(raw)

    def _deliver_all(self) -> None:
        while self._waiting and not self.is_paused and not self._is_delivering:
            self._is_delivering = True
            try:
                self._take(self._waiting.popleft())
            finally:
                self._is_delivering = False

    def _take(self, what: bytes | Loss | asyncio.Future[bool]) -> None:
        if not self.is_open:
            return
        if isinstance(what, asyncio.Future):
            if not what.done():
                what.set_result(True)
            return
        if isinstance(what, Loss):
            self._end(what)
        elif self._may_read is not None and not self._may_read():
            self._end_soon(Loss(LossCause.ASLEEP))
        else:
            heard_ns = self._clock.monotonic_ns()
            self._on_frame(what, heard_ns + self._clock.offset_ns)
            if self._worked is not None:
                self._worked(self._clock.monotonic_ns() - heard_ns)

    def _end_soon(self, loss: Loss) -> None:
        if self.is_open:
            self._is_ending = True
            self._loop.call_soon(self._end, loss)

    def _end(self, loss: Loss) -> None:
        self.loss = loss
        self._lost.set()
        for answered in self._round_trips:
            if not answered.done():
                answered.set_result(False)
        self._on_loss(loss)


class FakeRest:
    """A venue's REST interface in memory: ``answers`` makes the body for a path and a query, ``signed`` that for a SignedCall.

    Either may raise RequestFailed; nothing is asked again.
    """

    def __init__(self, answers: Callable[[str, Mapping[str, str]], bytes], signed: Callable[[SignedCall], bytes] | None = None) -> None:
        self._answers = answers
        self._signed = signed
        #: What was asked for: path and query.
        self.asked: list[tuple[str, Mapping[str, str]]] = []
        #: What was sent with a signature.
        self.sent: list[SignedCall] = []

    async def get(self, path: str, query: Mapping[str, str]) -> bytes:
        """What ``answers`` makes of it."""
        self.asked.append((path, query))
        return self._answers(path, query)

    async def send(self, sign: Callable[[], SignedCall]) -> bytes:
        """What ``signed`` makes of it."""
        call = sign()
        self.sent.append(call)
        if self._signed is None:
            raise RequestFailed(call.path, "nobody answers what is signed")
        return self._signed(call)

    async def close(self) -> None:
        """Nothing is open."""
