"""The old interface: four collaborators, everything awaited. Signatures are those of existing strategy sets, which run unchanged."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import Enum
from typing import Any, Protocol

import msgspec


class SubscriptionAction(Enum):
    """What is asked of a venue."""

    SUBSCRIBE = "subscribe"
    UNSUBSCRIBE = "unsubscribe"


class ConnectionState(Enum):
    """What a connection handler is told."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    RECONNECTING = "reconnecting"
    DISCONNECTED = "disconnected"
    CLOSED = "closed"
    ERROR = "error"


class ReconnectionPolicy(msgspec.Struct, frozen=True):
    """When to connect again; delays in seconds. ``reset_on_1005``: a close without a status starts over at the first delay."""

    max_attempts: int
    initial_delay: float
    backoff_factor: float
    max_delay: float
    reset_on_1005: bool = True


class ConnectionContext(msgspec.Struct, frozen=True):
    """Where and how to connect; intervals in seconds."""

    url: str
    headers: Mapping[str, str]
    auth_required: bool = False
    auth_params: Mapping[str, Any] | None = None
    ping_interval: float = 30
    ping_timeout: float = 10
    max_reconnect_attempts: int = 10
    reconnect_delay: float = 1.0
    ping_message: str | None = None

    def __repr__(self) -> str:
        # Headers and auth_params may hold credentials.
        return f"ConnectionContext(url={self.url.partition('?')[0]!r}, auth_required={self.auth_required})"


class ParsedMessage(msgspec.Struct):
    """What a parser makes of a frame; ``timestamp`` in seconds, ``data`` as the parser and its message handler agree."""

    message_type: Any
    symbol: str | None = None
    channel: str | None = None
    data: Any = None
    timestamp: float = 0.0
    raw_data: Any = None


class WebSocketFace(Protocol):
    """What a connection strategy sees of tickrail's socket."""

    @property
    def state(self) -> ConnectionState:
        """Where the connection is."""

    async def send(self, text: str) -> None:
        """Send one text message, or raise NotConnected."""


class ConnectionStrategy(ABC):
    """How to connect to a venue and stay connected.

    ``websocket`` is set before ``authenticate`` and ``handle_heartbeat`` are called, anew for each connection.
    """

    websocket: WebSocketFace | None = None

    @abstractmethod
    async def connect(self) -> Any:
        """Open a connection. The transport is tickrail's own, so a lane never calls this."""

    @abstractmethod
    async def create_connection_context(self) -> ConnectionContext:
        """Say where and how to connect."""

    @abstractmethod
    def get_reconnection_policy(self) -> ReconnectionPolicy:
        """Say when to connect again."""

    async def authenticate(self) -> bool:
        """Log in, if the venue wants it; False when it refused."""
        return True

    async def handle_heartbeat(self) -> None:
        """Send what keeps the connection alive."""

    def should_reconnect(self, error: Exception) -> bool:
        """Whether connecting again may help after ``error``."""
        return True

    def classify_error(self, error: Exception) -> str:
        """A label for ``error``."""
        return type(error).__name__

    async def disconnect(self) -> None:
        """End the connection."""

    async def cleanup(self) -> None:
        """Release what the strategy holds."""


class SubscriptionStrategy(ABC):
    """How to ask for streams."""

    @abstractmethod
    async def create_subscription_messages(
        self, action: SubscriptionAction, symbols: Sequence[str], channels: Sequence[str]
    ) -> list[dict[str, Any]]:
        """Build the requests for every channel of every symbol."""


class MessageParser(ABC):
    """How to read a frame."""

    @abstractmethod
    async def parse_message(self, raw_message: bytes | str) -> ParsedMessage | None:
        """Read one frame; None when it holds nothing for the application."""


class WebSocketStrategySet(msgspec.Struct):
    """The three strategies of one venue."""

    connection_strategy: ConnectionStrategy
    subscription_strategy: SubscriptionStrategy
    message_parser: MessageParser


MessageHandler = Callable[[ParsedMessage], Awaitable[Any]]
ConnectionHandler = Callable[[ConnectionState], Awaitable[None]]
ToEvents = Callable[[ParsedMessage], Sequence[Any]]
