"""An old strategy set seen through the new interface: a receiver whose ``_handle_message`` takes one raw frame."""

from infrastructure.callbacks import Callbacks
from infrastructure.errors import SettingsError
from infrastructure.metrics import PathMetrics
from infrastructure.networking.websocket.handlers.base_websocket_client import BaseWebSocketClient
from infrastructure.networking.websocket.route import Slot
from infrastructure.networking.websocket.strategies.general import EventMessageHandler
from infrastructure.networking.websocket.strategies.interfaces import MessageHandler, ToEvents, WebSocketStrategySet
from infrastructure.networking.websocket.strategies.receiver import StrategyReceiver
from infrastructure.session import Session


class StrategyPatternAdapter:
    """A strategy set with its message handler, as a lane takes it.

    The slot is the strategy receiver's own bound method: the adapter is not in a frame's way. A set without ``to_events`` is opaque:
    order, exact switching and the account of frames hold for it; books and comparison do not.
    """

    def __init__(self, strategies: WebSocketStrategySet, message_handler: MessageHandler) -> None:
        self.strategies = strategies
        self.receiver = StrategyReceiver(strategies.message_parser, message_handler)
        self._handle_message = self.receiver._handle_message

    @property
    def slot(self) -> Slot:
        """The strategy receiver's own ``_handle_message``."""
        return self.receiver._handle_message

    @classmethod
    def with_events(
        cls,
        strategies: WebSocketStrategySet,
        session: Session,
        callbacks: Callbacks,
        metrics: PathMetrics,
        to_events: ToEvents | None = None,
    ) -> "StrategyPatternAdapter":
        """A set whose parsed messages become tickrail's events, by ``to_events`` or the parser's own method of that name."""
        to_events = to_events or getattr(strategies.message_parser, "to_events", None)
        if to_events is None:
            raise SettingsError(f"{type(strategies.message_parser).__name__} has no to_events(parsed): give one, or a message_handler")
        return cls(strategies, EventMessageHandler(session, callbacks, metrics, to_events).handle)


BaseWebSocketClient.register(StrategyPatternAdapter)
