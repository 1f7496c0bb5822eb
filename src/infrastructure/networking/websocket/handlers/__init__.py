"""The direct architecture: one handler, bytes in, typed callback out."""

from infrastructure.networking.websocket.handlers.base_websocket_client import BaseWebSocketClient
from infrastructure.networking.websocket.handlers.private_handler import PrivateWebSocketHandler
from infrastructure.networking.websocket.handlers.public_handler import PublicWebSocketHandler

__all__ = ["BaseWebSocketClient", "PrivateWebSocketHandler", "PublicWebSocketHandler"]
