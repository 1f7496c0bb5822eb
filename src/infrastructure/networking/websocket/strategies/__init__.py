"""The strategy architecture: connection strategy, subscription strategy, message parser, message handler."""

from infrastructure.networking.websocket.strategies.general import strategy_set
from infrastructure.networking.websocket.strategies.interfaces import (
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
from infrastructure.networking.websocket.strategies.receiver import StrategyReceiver

__all__ = [
    "ConnectionContext",
    "ConnectionState",
    "ConnectionStrategy",
    "MessageParser",
    "ParsedMessage",
    "ReconnectionPolicy",
    "StrategyReceiver",
    "SubscriptionAction",
    "SubscriptionStrategy",
    "WebSocketStrategySet",
    "strategy_set",
]
