"""A new handler seen through the old interface: a message parser and a message handler that old loops await."""

import inspect
from typing import Any

from infrastructure.networking.websocket.handlers.base_websocket_client import BaseWebSocketClient, SessionHandler
from infrastructure.networking.websocket.route import Slot
from infrastructure.networking.websocket.strategies.general import parsed_message
from infrastructure.networking.websocket.strategies.interfaces import (
    ConnectionStrategy,
    MessageParser,
    ParsedMessage,
    SubscriptionStrategy,
    WebSocketStrategySet,
)


class WebSocketHandlerAdapter(MessageParser):
    """The awaitable face of a handler.

    An old loop calls ``await adapter.parse_message(raw)`` and ``await adapter.message_handler(parsed)``, or ``await
    adapter._handle_message(raw)``, and pays what awaiting costs. A lane takes ``adapter.slot``, the handler's own bound method, and pays
    nothing.
    """

    def __init__(self, handler: BaseWebSocketClient) -> None:
        self.handler = handler
        # A handler with a _handle_message of its own is opaque: parsing hands its frame through, handling does all the work.
        self._session_handler = (
            handler if isinstance(handler, SessionHandler) and type(handler)._handle_message is SessionHandler._handle_message else None
        )

    @property
    def slot(self) -> Slot:
        """The handler's own ``_handle_message``."""
        return self.handler._handle_message

    def strategy_set(self, connection: ConnectionStrategy, subscription: SubscriptionStrategy) -> WebSocketStrategySet:
        """A strategy set whose parser is this adapter; its message handler is ``message_handler``."""
        return WebSocketStrategySet(connection, subscription, self)

    async def _handle_message(self, raw_message: bytes | str) -> Any:
        """Take one frame, as the handler does, and wait until its callbacks are done."""
        result = self.handler._handle_message(raw_message)
        return await result if inspect.isawaitable(result) else result

    async def parse_message(self, raw_message: bytes | str) -> ParsedMessage | None:
        """Decode one frame; nothing has changed before ``message_handler`` gets the result.

        The frame of a handler with a ``_handle_message`` of its own is handed through unread, without a message type.
        """
        if self._session_handler is None:
            return ParsedMessage(None, raw_data=raw_message)
        return parsed_message(self._session_handler._decode(raw_message), raw_message)

    async def message_handler(self, parsed: ParsedMessage) -> Any:
        """Apply one parsed message and call back; returns what the handler does, None or an Outcome."""
        if self._session_handler is None:
            return await self._handle_message(parsed.raw_data)
        result = self._session_handler._publish(parsed.data)
        return await result if inspect.isawaitable(result) else result
