"""Each architecture seen through the other's interface. In a lane's slot neither costs anything."""

from infrastructure.networking.websocket.adapters.handler_adapter import WebSocketHandlerAdapter
from infrastructure.networking.websocket.adapters.strategy_adapter import StrategyPatternAdapter

__all__ = ["StrategyPatternAdapter", "WebSocketHandlerAdapter"]
