"""Account data by direct handling: orders, fills, balances, positions."""

import time
from collections.abc import Mapping
from typing import Any, ClassVar

from infrastructure.callbacks import Callback
from infrastructure.clock import MonotonicNs
from infrastructure.errors import SettingsError
from infrastructure.events import AccountStateChange, BalanceUpdate, Fill, OrderUpdate, PositionUpdate, RiskNotice
from infrastructure.metrics import PathMetrics
from infrastructure.networking.websocket.handlers.base_websocket_client import BaseWebSocketClient, SessionHandler
from infrastructure.private_session import PrivateSession
from infrastructure.session import Session


class PrivateWebSocketHandler(SessionHandler):
    """Turns a venue's private frames into calls of ``_on_order``, ``_on_fill`` and so on.

    Override the methods, plain or ``async``, or give callables: ``PrivateWebSocketHandler(on_fill=print)``. Its session publishes nothing
    before the venue confirmed the login; the credentials are the codec's, which signs what is asked of the venue.
    """

    event_methods: ClassVar[Mapping[type, str]] = {
        OrderUpdate: "_on_order",
        Fill: "_on_fill",
        BalanceUpdate: "_on_balance",
        PositionUpdate: "_on_position",
        RiskNotice: "_on_risk",
        AccountStateChange: "_on_account_state",
        **BaseWebSocketClient.event_methods,
    }

    def __init__(self, session: PrivateSession | None = None, metrics: PathMetrics | None = None, **callbacks: Callback) -> None:
        super().__init__(session, metrics, **callbacks)

    def attach(self, session: Session, metrics: PathMetrics, monotonic_ns: MonotonicNs = time.monotonic_ns) -> None:
        """As SessionHandler.attach; raises SettingsError for a session that would publish before the login is confirmed."""
        if not isinstance(session, PrivateSession):
            raise SettingsError(f"{type(self).__name__} needs a PrivateSession, not a {type(session).__name__}")
        super().attach(session, metrics, monotonic_ns)

    def _on_order(self, order: OrderUpdate) -> Any:
        """An order of one's own changed."""

    def _on_fill(self, fill: Fill) -> Any:
        """An order of one's own was executed, in part or whole."""

    def _on_balance(self, balance: BalanceUpdate) -> Any:
        """A balance changed."""

    def _on_position(self, position: PositionUpdate) -> Any:
        """A position changed."""

    def _on_risk(self, notice: RiskNotice) -> Any:
        """A position was closed by force, or may be."""

    def _on_account_state(self, change: AccountStateChange) -> Any:
        """The account became LIVE, or can no longer be believed."""
