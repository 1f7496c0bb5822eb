"""The three strategies for any registered venue, over the venue's codec, and the message handler behind them."""

import time
from collections.abc import Sequence
from typing import Any

import msgspec

from infrastructure.callbacks import Callbacks
from infrastructure.errors import SettingsError
from infrastructure.metrics import PathMetrics
from infrastructure.networking.websocket.strategies.interfaces import (
    ConnectionContext,
    ConnectionStrategy,
    MessageParser,
    ParsedMessage,
    ReconnectionPolicy,
    SubscriptionAction,
    SubscriptionStrategy,
    ToEvents,
    WebSocketStrategySet,
)
from infrastructure.session import Session
from infrastructure.venue import Message, Venue


class VenueConnectionStrategy(ConnectionStrategy):
    """Connects to a venue's public address and sends the venue's own ping."""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue

    async def connect(self) -> Any:
        """Refuses with a SettingsError: the transport connects."""
        raise SettingsError("the transport connects; read create_connection_context()")

    async def create_connection_context(self) -> ConnectionContext:
        """The venue's address and heartbeat."""
        return ConnectionContext(
            url=self._venue.websocket_url,
            headers=self._venue.headers,
            ping_interval=self._venue.ping_interval_s,
            ping_message=_encode(self._venue.codec.ping_request(int(time.time()))),
        )

    def get_reconnection_policy(self) -> ReconnectionPolicy:
        """Delays of 1 s, doubling up to 60 s."""
        return ReconnectionPolicy(max_attempts=10, initial_delay=1.0, backoff_factor=2.0, max_delay=60.0)

    async def handle_heartbeat(self) -> None:
        """Send the venue's application-level ping."""
        if self.websocket is not None:
            await self.websocket.send(_encode(self._venue.codec.ping_request(int(time.time()))))

    def should_reconnect(self, error: Exception) -> bool:
        """Whether the network is to blame; a mistake in the program is not mended by connecting again."""
        return isinstance(error, OSError | EOFError)


class VenueSubscriptionStrategy(SubscriptionStrategy):
    """Builds a venue's requests from unified symbols and the venue's channel names."""

    def __init__(self, venue: Venue) -> None:
        self._codec = venue.codec

    async def create_subscription_messages(
        self, action: SubscriptionAction, symbols: Sequence[str], channels: Sequence[str]
    ) -> list[dict[str, Any]]:
        """All requests, channel by channel."""
        now_s = int(time.time())
        return [
            request.message for channel in channels for request in self._codec.subscription_requests(action.value, channel, symbols, now_s)
        ]


class CodecMessageParser(MessageParser):
    """Parses with a venue's codec; ``data`` of what it returns is the sequence of decoded messages."""

    def __init__(self, venue: Venue) -> None:
        self._decode = venue.codec.decode

    async def parse_message(self, raw_message: bytes | str) -> ParsedMessage | None:
        """Read one frame, or raise DecodeError."""
        messages = self._decode(raw_message)
        return parsed_message(messages, raw_message)

    def to_events(self, parsed: ParsedMessage) -> Sequence[Message]:
        """What a session applies."""
        messages: Sequence[Message] = parsed.data
        return messages


def parsed_message(messages: Sequence[Message], raw_message: bytes | str) -> ParsedMessage:
    """Decoded messages in the old envelope, labelled by the first of them."""
    first = messages[0]
    exchange_ns = getattr(first, "exchange_ns", None)
    return ParsedMessage(
        message_type=first.message_type,
        symbol=getattr(first, "symbol", None),
        channel=getattr(first, "channel", None),
        data=messages,
        timestamp=0.0 if exchange_ns is None else exchange_ns / 1e9,
        raw_data=raw_message,
    )


class EventMessageHandler:
    """The message handler that turns what a parser made into tickrail's events: session, then callbacks.

    ``to_events`` gives the decoded messages of a ParsedMessage; a foreign set that brings one has its books kept and compared too.
    """

    def __init__(self, session: Session, callbacks: Callbacks, metrics: PathMetrics, to_events: ToEvents) -> None:
        self._session = session
        self._callbacks = callbacks
        self._by_type = metrics.by_type
        self._to_events = to_events

    async def handle(self, parsed: ParsedMessage) -> None:
        """Apply one parsed message and call back for each event."""
        messages = self._to_events(parsed)
        by_type = self._by_type
        for message in messages:
            by_type[message.message_type] += 1
        pending = self._callbacks.emit(self._session.apply(messages))
        if pending is not None:
            await pending


def strategy_set(venue: Venue) -> WebSocketStrategySet:
    """The strategy set of a registered venue."""
    return WebSocketStrategySet(VenueConnectionStrategy(venue), VenueSubscriptionStrategy(venue), CodecMessageParser(venue))


def _encode(request: dict[str, object]) -> str:
    return msgspec.json.encode(request).decode()
