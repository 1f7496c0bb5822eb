"""One WebSocket's life, as one table of states, and the socket itself.

CONNECTING -> OPEN -> [AUTHENTICATING ->] SUBSCRIBING -> FLOWING -> CLOSING -> CLOSED

of an account: OPEN -> AUTHENTICATING -> RECONCILING <-> LIVE -> CLOSING -> CLOSED, and from these three to EXPIRED or REFUSED
"""

import asyncio
import ssl
from collections.abc import Callable, Mapping
from enum import Enum

from infrastructure.clock import Clock
from infrastructure.errors import NotConnected
from infrastructure.networking.websocket.link import Connect, Loss, LossCause, OnFrame, Transport
from infrastructure.networking.websocket.settings import TransportSettings
from infrastructure.networking.websocket.strategies.interfaces import ConnectionState


class Phase(Enum):
    """Where a connection is in its life."""

    CONNECTING = "connecting"
    OPEN = "open"
    AUTHENTICATING = "authenticating"
    SUBSCRIBING = "subscribing"
    FLOWING = "flowing"
    #: Of an account: the venue agreed to every subscription; what was missed is being asked for.
    RECONCILING = "reconciling"
    LIVE = "live"
    #: The key that the connection was opened with has lapsed.
    EXPIRED = "expired"
    #: The venue does not take the credentials.
    REFUSED = "refused"
    CLOSING = "closing"
    CLOSED = "closed"


class Fact(Enum):
    """What can happen to a connection."""

    OPENED = "opened"
    LOGIN = "login begun"
    ASKED = "subscriptions sent"
    DATA = "data came"
    CONFIRMED = "every subscription agreed"
    RECONCILED = "account reconciled"
    DOUBTED = "something of the account may be missing"
    EXPIRED = "key expired"
    REFUSED = "credentials refused"
    CLOSE = "close asked for"
    LOST = "socket gone"


#: Phase by phase: what may happen, and where it leads.
TABLE: Mapping[Phase, Mapping[Fact, Phase]] = {
    # A venue may send data with the answer to the handshake.
    Phase.CONNECTING: {Fact.OPENED: Phase.OPEN, Fact.DATA: Phase.CONNECTING, Fact.LOST: Phase.CLOSED, Fact.CLOSE: Phase.CLOSED},
    Phase.OPEN: {
        Fact.LOGIN: Phase.AUTHENTICATING,
        Fact.ASKED: Phase.SUBSCRIBING,
        Fact.DATA: Phase.OPEN,
        Fact.CLOSE: Phase.CLOSING,
        Fact.LOST: Phase.CLOSED,
    },
    Phase.AUTHENTICATING: {
        Fact.ASKED: Phase.SUBSCRIBING,
        Fact.DATA: Phase.AUTHENTICATING,
        Fact.CONFIRMED: Phase.RECONCILING,
        Fact.EXPIRED: Phase.EXPIRED,
        Fact.REFUSED: Phase.REFUSED,
        Fact.CLOSE: Phase.CLOSING,
        Fact.LOST: Phase.CLOSED,
    },
    Phase.SUBSCRIBING: {
        Fact.ASKED: Phase.SUBSCRIBING,
        Fact.DATA: Phase.FLOWING,
        Fact.CLOSE: Phase.CLOSING,
        Fact.LOST: Phase.CLOSED,
    },
    Phase.FLOWING: {Fact.ASKED: Phase.FLOWING, Fact.DATA: Phase.FLOWING, Fact.CLOSE: Phase.CLOSING, Fact.LOST: Phase.CLOSED},
    Phase.RECONCILING: {
        Fact.DATA: Phase.RECONCILING,
        Fact.DOUBTED: Phase.RECONCILING,
        Fact.RECONCILED: Phase.LIVE,
        Fact.EXPIRED: Phase.EXPIRED,
        Fact.REFUSED: Phase.REFUSED,
        Fact.CLOSE: Phase.CLOSING,
        Fact.LOST: Phase.CLOSED,
    },
    Phase.LIVE: {
        Fact.DATA: Phase.LIVE,
        Fact.DOUBTED: Phase.RECONCILING,
        Fact.RECONCILED: Phase.LIVE,
        Fact.EXPIRED: Phase.EXPIRED,
        Fact.REFUSED: Phase.REFUSED,
        Fact.CLOSE: Phase.CLOSING,
        Fact.LOST: Phase.CLOSED,
    },
    Phase.EXPIRED: {Fact.DATA: Phase.EXPIRED, Fact.CLOSE: Phase.CLOSING, Fact.LOST: Phase.CLOSED},
    Phase.REFUSED: {Fact.DATA: Phase.REFUSED, Fact.CLOSE: Phase.CLOSING, Fact.LOST: Phase.CLOSED},
    # What was read before the close is still handled.
    Phase.CLOSING: {Fact.CLOSE: Phase.CLOSING, Fact.DATA: Phase.CLOSING, Fact.LOST: Phase.CLOSED},
    Phase.CLOSED: {Fact.CLOSE: Phase.CLOSED, Fact.DATA: Phase.CLOSED, Fact.LOST: Phase.CLOSED},
}

#: What a connection handler is told, phase by phase.
STATES: Mapping[Phase, ConnectionState] = {
    Phase.CONNECTING: ConnectionState.CONNECTING,
    Phase.OPEN: ConnectionState.CONNECTED,
    Phase.AUTHENTICATING: ConnectionState.CONNECTED,
    Phase.SUBSCRIBING: ConnectionState.CONNECTED,
    Phase.FLOWING: ConnectionState.CONNECTED,
    Phase.RECONCILING: ConnectionState.CONNECTED,
    Phase.LIVE: ConnectionState.CONNECTED,
    Phase.EXPIRED: ConnectionState.DISCONNECTED,
    Phase.REFUSED: ConnectionState.DISCONNECTED,
    Phase.CLOSING: ConnectionState.DISCONNECTED,
    Phase.CLOSED: ConnectionState.DISCONNECTED,
}


class Connection:
    """One attempt to connect and, if it succeeds, the socket until its end.

    It is also what a connection strategy sees of its socket: ``send`` and ``state``.
    """

    def __init__(self, venue: str) -> None:
        self.phase = Phase.CONNECTING
        #: Loop time of the first data.
        self.flowing_at: float | None = None
        #: And of its opening.
        self.opened_at: float | None = None
        self._venue = venue
        self._loop = asyncio.get_running_loop()
        self._transport: Transport | None = None
        self._end: asyncio.Future[Loss] = self._loop.create_future()

    def __repr__(self) -> str:
        return f"<Connection {self._venue} {self.phase.value}>"

    @property
    def state(self) -> ConnectionState:
        """In the words of the old interface."""
        return STATES[self.phase]

    @property
    def is_open(self) -> bool:
        """Whether something can be sent."""
        return self.state is ConnectionState.CONNECTED

    def learn(self, fact: Fact) -> None:
        """Move to the phase that ``fact`` leads to; a KeyError is a mistake of whoever calls."""
        if fact is Fact.DATA and self.flowing_at is None:
            self.flowing_at = self._loop.time()
        self.phase = TABLE[self.phase][fact]

    async def open(
        self,
        connect: Connect,
        url: str,
        on_frame: OnFrame,
        *,
        settings: TransportSettings,
        clock: Clock,
        headers: Mapping[str, str],
        ssl_context: ssl.SSLContext | None,
        may_read: Callable[[], bool],
        worked: Callable[[int], None],
    ) -> None:
        """Open the socket, or raise ConnectFailed. It may have ended when this returns."""
        try:
            self._transport = await connect(
                url,
                on_frame,
                self._lost,
                settings=settings,
                clock=clock,
                headers=headers,
                ssl_context=ssl_context,
                may_read=may_read,
                worked=worked,
            )
        finally:
            if self._transport is None:
                self.learn(Fact.LOST)
        if not self._end.done():
            self.opened_at = self._loop.time()
            self.learn(Fact.OPENED)

    def send_text(self, text: str) -> None:
        """Send one message, or raise NotConnected."""
        if self._transport is None or not self.is_open:
            raise NotConnected(self._venue)
        self._transport.send(text)

    async def send(self, text: str) -> None:
        """As ``send_text``, awaitable as old strategies expect it."""
        self.send_text(text)

    async def round_trip(self) -> bool:
        """Whether everything that the venue had sent when it was pinged now has been read; False if the end came first."""
        return self._transport is not None and await self._transport.round_trip()

    def pause(self) -> None:
        """Stop reading until ``resume``."""
        if self._transport is not None:
            self._transport.pause()

    def resume(self) -> None:
        """Read again."""
        if self._transport is not None:
            self._transport.resume()

    async def end(self) -> Loss:
        """Wait for the end of an open connection."""
        return await asyncio.shield(self._end)

    async def close(self) -> None:
        """End it; safe at any time, and done within the transport's ``close_timeout_s``."""
        self.learn(Fact.CLOSE)
        if self._transport is not None:
            await self._transport.close()

    def abort(self, cause: LossCause = LossCause.CLOSED_BY_US) -> None:
        """End it at once, without a closing handshake."""
        if self._transport is not None:
            self._transport.abort(cause)

    def _lost(self, loss: Loss) -> None:
        self.learn(Fact.LOST)
        self._end.set_result(loss)
