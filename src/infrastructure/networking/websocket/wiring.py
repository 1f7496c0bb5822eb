"""Puts one connection's receivers in place: for each architecture, the bound method that takes its frames."""

import inspect
from collections.abc import Mapping

from infrastructure.events import Architecture
from infrastructure.metrics import PathMetrics
from infrastructure.networking.websocket.adapters import StrategyPatternAdapter, WebSocketHandlerAdapter
from infrastructure.networking.websocket.handlers import BaseWebSocketClient
from infrastructure.networking.websocket.route import Route, Slot
from infrastructure.networking.websocket.strategies import StrategyReceiver, WebSocketStrategySet
from infrastructure.networking.websocket.strategies.interfaces import MessageHandler
from infrastructure.session import Session

Paths = Mapping[Architecture, PathMetrics]


def wire(
    session: Session,
    handler: BaseWebSocketClient,
    strategies: WebSocketStrategySet,
    message_handler: MessageHandler | None,
    paths: Paths,
    *,
    adapted: bool = False,
) -> dict[Architecture, Route]:
    """Build the route of each architecture; what direct handling cannot decode falls back to the strategies.

    With ``adapted`` each runs through the other's interface: the handler as a strategy set under ``await parse_message``, ``await
    message_handler``, the strategy set through StrategyPatternAdapter. Without a ``message_handler`` the set's parser must offer
    ``to_events``.
    """
    if message_handler is None:
        adapter = StrategyPatternAdapter.with_events(strategies, session, handler.callbacks, paths[Architecture.STRATEGY])
    else:
        adapter = StrategyPatternAdapter(strategies, message_handler)
    strategy = Route(
        Architecture.STRATEGY, adapter.slot if adapted else adapter.receiver._handle_message, True, paths[Architecture.STRATEGY]
    )
    awaitable_face = WebSocketHandlerAdapter(handler)
    slot: Slot = awaitable_face.slot
    if adapted:
        slot = StrategyReceiver(awaitable_face, awaitable_face.message_handler)._handle_message
    is_queued = inspect.iscoroutinefunction(slot) or handler.callbacks.is_async
    direct = Route(Architecture.DIRECT, slot, is_queued, paths[Architecture.DIRECT], fallback=strategy)
    return {Architecture.DIRECT: direct, Architecture.STRATEGY: strategy}
