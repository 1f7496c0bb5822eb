"""What a connection needs of a transport, and what a transport tells of its end."""

import ssl
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Protocol

import msgspec

from infrastructure.account_api import SignedCall
from infrastructure.clock import Clock
from infrastructure.networking.websocket.settings import TransportSettings


class LossCause(Enum):
    """Why a WebSocket ended."""

    CLOSED_BY_VENUE = "closed by the venue"
    CLOSED_BY_US = "closed by us"
    CUT = "ended without a close frame"
    RESET = "reset"
    PING_TIMEOUT = "no answer to a ping"
    FRAME_TIMEOUT = "a frame was not completed in time"
    PROTOCOL = "not WebSocket"
    TOO_BIG = "message too big"
    ASLEEP = "this program stood still"
    SILENT = "its streams fell silent"
    EXPIRED = "its listen key lapsed"


class Loss(msgspec.Struct, frozen=True):
    """How a WebSocket ended; ``code`` is that of the close frame, received or sent, None where there was none (1006)."""

    cause: LossCause
    code: int | None = None
    reason: str = ""

    def __str__(self) -> str:
        code = "" if self.code is None else f" ({self.code})"
        return f"{self.cause.value}{code}: {self.reason}" if self.reason else f"{self.cause.value}{code}"


#: Takes one whole message and the Unix time in nanoseconds at which the read that completed it returned.
OnFrame = Callable[[bytes, int], None]
#: Told once, after the last frame.
OnLoss = Callable[[Loss], None]


class Transport(Protocol):
    """One open WebSocket. Nothing is called back after ``on_loss``."""

    @property
    def is_open(self) -> bool:
        """Whether frames may come and be sent."""

    def send(self, text: str) -> None:
        """Send one text message. What is sent after the end is dropped; the end has been told."""

    async def round_trip(self) -> bool:
        """Ping the peer; True when its answer has been read, and with it everything that it sent before. False if the end came first."""

    def pause(self) -> None:
        """Read no more until ``resume``; ping and frame clocks stand still. What has been read already still comes."""

    def resume(self) -> None:
        """Read again."""

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close with the closing handshake, or without it once ``close_timeout_s`` has passed; ``on_loss`` has been called at the end."""

    def abort(self, cause: LossCause = LossCause.CLOSED_BY_US) -> None:
        """End at once, without a closing handshake; ``on_loss`` is called soon, with ``cause`` unless another came first."""


class RestInterface(Protocol):
    """A venue's REST interface: the real one, or a fake."""

    async def get(self, path: str, query: Mapping[str, str]) -> bytes:
        """The body of the answer. Raises RequestFailed and nothing else."""

    async def send(self, sign: Callable[[], SignedCall]) -> bytes:
        """The body of the answer to what ``sign`` makes, anew for each attempt. Raises RequestFailed, and what ``sign`` raises."""

    async def close(self) -> None:
        """A request that is under way, or comes later, fails."""


class Connect(Protocol):
    """Opens a WebSocket: the real one, or a fake."""

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
    ) -> Transport:
        """An open WebSocket, or ConnectFailed. Frames may come before this returns.

        ``may_read`` is asked when a read has returned, before anything of it is handed on; if it says no the WebSocket has ended before.
        ``worked`` is told how long it then took to handle what was read, in nanoseconds.
        """
