"""A strategy set as a customer has it: written against the old interface alone, with plain ``json`` and labels of its own.

It knows nothing of sessions, codecs or events; what its message handler is given ends up in ``Desk``.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from tickrail import (
    ConnectionContext,
    ConnectionState,
    ConnectionStrategy,
    MessageParser,
    ParsedMessage,
    ReconnectionPolicy,
    SubscriptionAction,
    SubscriptionStrategy,
    WebSocketStrategySet,
)


class Kind(IntEnum):
    """The customer's message types; that the numbers mean something else to others is no concern of theirs."""

    TRADE = 12
    QUOTE = 13
    ORDERBOOK = 14
    TICKER = 15
    ERROR = 1


class DeskConnection(ConnectionStrategy):
    """Connects, logs in and sends heartbeats; ``sent`` is what would have gone over the socket."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.states: list[str] = []

    async def connect(self) -> Any:
        raise ConnectionError("this customer's own socket is not to be opened")

    async def authenticate(self) -> bool:
        self.sent.append(json.dumps({"login": True}))
        return True

    async def handle_heartbeat(self) -> None:
        self.sent.append(json.dumps({"channel": "spot.ping"}))

    async def create_connection_context(self) -> ConnectionContext:
        return ConnectionContext("wss://venue.invalid/ws", {"X-Key": "k"}, auth_required=True, ping_interval=20)

    def get_reconnection_policy(self) -> ReconnectionPolicy:
        return ReconnectionPolicy(max_attempts=5, initial_delay=0.5, backoff_factor=2.0, max_delay=30.0)

    def should_reconnect(self, error: Exception) -> bool:
        return self.classify_error(error) == "network"

    def classify_error(self, error: Exception) -> str:
        return "network" if isinstance(error, OSError) else "other"

    async def disconnect(self) -> None:
        self.states.append("disconnected")

    async def cleanup(self) -> None:
        self.states.append("clean")


class DeskSubscription(SubscriptionStrategy):
    """One request for each channel."""

    async def create_subscription_messages(
        self, action: SubscriptionAction, symbols: Sequence[str], channels: Sequence[str]
    ) -> list[dict[str, Any]]:
        pairs = [symbol.replace("/", "_") for symbol in symbols]
        return [{"channel": channel, "event": action.value, "payload": pairs} for channel in channels]


class DeskParser(MessageParser):
    """Reads frames into dicts; awaits, as such parsers do; returns None for what nobody needs; raises what ``json`` raises."""

    _KINDS = {
        "spot.trades": Kind.TRADE,
        "spot.book_ticker": Kind.QUOTE,
        "spot.obu": Kind.ORDERBOOK,
        "spot.order_book_update": Kind.ORDERBOOK,
        "spot.tickers": Kind.TICKER,
    }

    async def parse_message(self, raw_message: bytes | str) -> ParsedMessage | None:
        frame = json.loads(raw_message)
        await asyncio.sleep(0)
        if frame.get("error"):
            return ParsedMessage(Kind.ERROR, channel=frame["channel"], data=frame["error"], raw_data=raw_message)
        kind = self._KINDS.get(frame["channel"])
        if kind is None or frame.get("event", "update") != "update":
            return None
        result = frame["result"]
        symbol = result.get("currency_pair") or result["s"]
        return ParsedMessage(kind, symbol, frame["channel"], result, frame["time"], raw_message)


@dataclass
class Desk:
    """What the customer's program holds: everything its message handler was given, in order."""

    messages: list[ParsedMessage] = field(default_factory=list)
    states: list[ConnectionState] = field(default_factory=list)
    bad_symbol: str | None = None

    async def on_message(self, parsed: ParsedMessage) -> None:
        await asyncio.sleep(0)
        if parsed.symbol is not None and parsed.symbol == self.bad_symbol:
            raise LookupError(f"no position in {parsed.symbol}")
        self.messages.append(parsed)

    async def on_state(self, state: ConnectionState) -> None:
        self.states.append(state)

    @property
    def trade_ids(self) -> list[int]:
        return [message.data["id"] for message in self.messages if message.message_type is Kind.TRADE]


def desk_set() -> WebSocketStrategySet:
    """The customer's three strategies."""
    return WebSocketStrategySet(DeskConnection(), DeskSubscription(), DeskParser())


async def desk_loop(strategies: WebSocketStrategySet, desk: Desk, source: AsyncIterator[bytes | str]) -> int:
    """The customer's own loop; returns how many frames it could not read."""
    unread = 0
    async for raw in source:
        try:
            parsed = await strategies.message_parser.parse_message(raw)
        except ValueError:
            unread += 1
            continue
        if parsed is not None:
            await desk.on_message(parsed)
    return unread
