"""Account data by direct handling: orders, fills, balances, positions."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

from infrastructure.callbacks import Callback
from infrastructure.errors import SettingsError
from infrastructure.events import BalanceUpdate, Fill, OrderUpdate, PositionUpdate
from infrastructure.metrics import PathMetrics
from infrastructure.networking.websocket.handlers.base_websocket_client import BaseWebSocketClient, SessionHandler
from infrastructure.session import PrivateSession, Session


class Signer(Protocol):
    """Whoever holds the credentials: puts a signature on a request, and shows nothing of itself in a repr."""

    def sign(self, request: dict[str, object]) -> dict[str, object]:
        """Return the request with what the venue asks for as proof."""


class PrivateWebSocketHandler(SessionHandler):
    """Turns a venue's private frames into calls of ``_on_order``, ``_on_fill`` and so on.

    Its session publishes nothing before the venue confirmed the login; ``signer`` signs what is asked of the venue.
    """

    event_methods: ClassVar[Mapping[type, str]] = {
        OrderUpdate: "_on_order",
        Fill: "_on_fill",
        BalanceUpdate: "_on_balance",
        PositionUpdate: "_on_position",
        **BaseWebSocketClient.event_methods,
    }

    def __init__(
        self, session: PrivateSession | None = None, signer: Signer | None = None, metrics: PathMetrics | None = None, **callbacks: Callback
    ) -> None:
        super().__init__(session, metrics, **callbacks)
        self._signer = signer

    def attach(self, session: Session, metrics: PathMetrics) -> None:
        """As SessionHandler.attach; raises SettingsError for a session that would publish before the login is confirmed."""
        if not isinstance(session, PrivateSession):
            raise SettingsError(f"{type(self).__name__} needs a PrivateSession, not a {type(session).__name__}")
        super().attach(session, metrics)

    def signed_requests(self, channel: str, symbols: Sequence[str], now_s: int) -> list[dict[str, object]]:
        """The requests that subscribe ``symbols`` to a private channel, signed; ``now_s`` is Unix time."""
        requests = [request.message for request in self.session.venue.codec.subscription_requests("subscribe", channel, symbols, now_s)]
        return requests if self._signer is None else [self._signer.sign(message) for message in requests]

    def _on_order(self, order: OrderUpdate) -> Any:
        """An order of one's own changed."""

    def _on_fill(self, fill: Fill) -> Any:
        """An order of one's own was executed, in part or whole."""

    def _on_balance(self, balance: BalanceUpdate) -> Any:
        """A balance changed."""

    def _on_position(self, position: PositionUpdate) -> Any:
        """A position changed."""
