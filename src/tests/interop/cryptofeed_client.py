"""cryptofeed's ``Gateio``, of which only the URLs are changed: ``python -m tests.interop.cryptofeed_client WEBSOCKET_URL REST_URL``.

It takes its books from ``spot.order_book_update``.
"""

import sys

from cryptofeed import FeedHandler
from cryptofeed.defines import L2_BOOK, TICKER, TRADES
from cryptofeed.exchanges import Gateio
from cryptofeed.types import OrderBook, Ticker, Trade

from tests.interop.sight import SYMBOLS, tell


def unified(symbol: str) -> str:
    return symbol.replace("-", "/")


async def on_book(book: OrderBook, received_s: float) -> None:
    # ``sequence_number`` is set for the REST book alone; ``raw`` is the message that the book has just taken in.
    update_id = book.raw["result"]["u"] if book.sequence_number is None else book.sequence_number
    bid, ask = book.book.bids.index(0), book.book.asks.index(0)
    tell("book", unified(book.symbol), update_id, *map(float, (*bid, *ask)))


async def on_trade(trade: Trade, received_s: float) -> None:
    tell("trade", unified(trade.symbol), trade.id, float(trade.price), float(trade.amount))


async def on_ticker(ticker: Ticker, received_s: float) -> None:
    tell("ticker", unified(ticker.symbol), float(ticker.raw["result"]["base_volume"]), float(ticker.bid), float(ticker.ask))


def main(websocket_url: str, rest_url: str) -> None:
    Gateio.websocket_endpoints[0].address = websocket_url
    Gateio.rest_endpoints[0].address = rest_url
    handler = FeedHandler({"log": {"disabled": True}})  # warnings go to standard error, not to a file
    callbacks = {L2_BOOK: on_book, TRADES: on_trade, TICKER: on_ticker}
    handler.add_feed(Gateio(symbols=[symbol.replace("/", "-") for symbol in SYMBOLS], channels=list(callbacks), callbacks=callbacks))
    handler.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
