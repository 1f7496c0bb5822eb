"""Market data by direct handling: bytes in, typed callback out."""

from collections.abc import Mapping
from typing import Any, ClassVar

from infrastructure.book import OrderBook
from infrastructure.events import BookStateChange, BookTicker, Candle, Liquidation, Ticker, Trade
from infrastructure.networking.websocket.handlers.base_websocket_client import BaseWebSocketClient, SessionHandler


class PublicWebSocketHandler(SessionHandler):
    """Turns a venue's public frames into calls of ``_on_trade``, ``_on_orderbook`` and so on.

    Override the methods, plain or ``async``, or give callables: ``PublicWebSocketHandler(on_trade=print)``. Without a session it takes
    that of the feed it is given to. It holds no credentials and cannot sign a request.
    """

    event_methods: ClassVar[Mapping[type, str]] = {
        OrderBook: "_on_orderbook",
        Trade: "_on_trade",
        BookTicker: "_on_book_ticker",
        Ticker: "_on_ticker",
        Candle: "_on_candle",
        Liquidation: "_on_liquidation",
        BookStateChange: "_on_book_state",
        **BaseWebSocketClient.event_methods,
    }

    def _on_orderbook(self, book: OrderBook) -> Any:
        """A frame was applied to ``book``, which is LIVE; ``book.changes`` is what it did. Valid during the call."""

    def _on_trade(self, trade: Trade) -> Any:
        """A public trade."""

    def _on_book_ticker(self, ticker: BookTicker) -> Any:
        """The best bid and ask."""

    def _on_ticker(self, ticker: Ticker) -> Any:
        """Rolling 24 hour statistics."""

    def _on_candle(self, candle: Candle) -> Any:
        """A bar, open or closed."""

    def _on_liquidation(self, liquidation: Liquidation) -> Any:
        """A position of somebody else was closed by force."""

    def _on_book_state(self, change: BookStateChange) -> Any:
        """A book became LIVE, or can no longer be believed."""
