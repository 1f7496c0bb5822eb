"""cryptofeed, of which only the URLs are changed. How it is started: see ``sight``. It takes its books from ``order_book_update``.

Of Gate.io futures it cannot read sizes that are texts, and does not ask for them: its amounts are whole contracts, truncated. Its futures
ticker is the venue's ``book_ticker`` and has no amounts.
"""

from collections.abc import Callable
from typing import Any

from cryptofeed import FeedHandler
from cryptofeed.defines import INDEX, L2_BOOK, TICKER, TRADES
from cryptofeed.exchanges import Gateio, GateioFutures
from cryptofeed.types import Index, OrderBook, Ticker, Trade

from tests.interop.sight import task, tell


def unified(symbol: str) -> str:
    """``BTC-USDT`` as ``BTC/USDT``, ``BTC-USDT-PERP`` as ``BTC/USDT:USDT``."""
    base, quote, *kind = symbol.split("-")
    return f"{base}/{quote}:{quote}" if kind else f"{base}/{quote}"


def own(symbol: str) -> str:
    """The way back."""
    pair, _, settle = symbol.partition(":")
    return pair.replace("/", "-") + ("-PERP" if settle else "")


async def on_book(book: OrderBook, received_s: float) -> None:
    # ``sequence_number`` is set for the REST book alone; ``raw`` is the message that the book has just taken in.
    update_id = book.raw["result"]["u"] if book.sequence_number is None else book.sequence_number
    bid, ask = book.book.bids.index(0), book.book.asks.index(0)
    tell("book", unified(book.symbol), update_id, *map(float, (*bid, *ask)))


async def on_trade(trade: Trade, received_s: float) -> None:
    tell("trade", unified(trade.symbol), trade.id, float(trade.price), float(trade.amount))


async def on_ticker(ticker: Ticker, received_s: float) -> None:
    tell("ticker", unified(ticker.symbol), float(ticker.raw["result"]["base_volume"]), float(ticker.bid), float(ticker.ask))


async def on_top(ticker: Ticker, received_s: float) -> None:
    tell("top", unified(ticker.symbol), ticker.raw["result"]["u"], float(ticker.bid), float(ticker.ask))


async def on_index(index: Index, received_s: float) -> None:
    tell("ticker", unified(index.symbol), float(index.raw["volume_24h_base"]), float(index.price))


#: By venue: its class, and what is watched.
FEEDS: dict[str, tuple[type[Gateio], dict[str, Callable[[Any, float], Any]]]] = {
    "gateio_spot": (Gateio, {L2_BOOK: on_book, TRADES: on_trade, TICKER: on_ticker}),
    "gateio_futures": (GateioFutures, {L2_BOOK: on_book, TRADES: on_trade, TICKER: on_top, INDEX: on_index}),
}


def main() -> None:
    given = task()
    feed, callbacks = FEEDS[given.venue]
    feed.websocket_endpoints[0].address = given.websocket_url
    feed.rest_endpoints[0].address = given.rest_url
    handler = FeedHandler({"log": {"disabled": True}})  # warnings go to standard error, not to a file
    handler.add_feed(feed(symbols=[own(symbol) for symbol in given.symbols], channels=list(callbacks), callbacks=callbacks))
    handler.run()


if __name__ == "__main__":
    main()
