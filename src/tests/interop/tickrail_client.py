"""tickrail, from one architecture to the other each second: ``python -m tests.interop.tickrail_client WEBSOCKET_URL REST_URL CHANNEL``.

It takes its books from CHANNEL.
"""

import asyncio
import sys

from tests.interop.sight import SYMBOLS, tell
from tickrail import ErrorEvent, Gap, OrderBook, Ticker, Trade, open_feed

VENUE = "gateio_spot"
SWITCH_EVERY_S = 1.0


def on_orderbook(book: OrderBook) -> None:
    assert book.last_id is not None and book.best_bid is not None and book.best_ask is not None
    tell("book", book.symbol, book.last_id, *book.best_bid, *book.best_ask)


def on_trade(trade: Trade) -> None:
    tell("trade", trade.symbol, trade.trade_id, trade.price, trade.amount)


def on_ticker(ticker: Ticker) -> None:
    assert ticker.base_volume is not None and ticker.bid_price is not None and ticker.ask_price is not None
    tell("ticker", ticker.symbol, ticker.base_volume, ticker.bid_price, ticker.ask_price)


def complain(event: Gap | ErrorEvent) -> None:
    print(event, file=sys.stderr)


async def main(websocket_url: str, rest_url: str, channel: str) -> None:
    async with open_feed(
        VENUE,
        symbols=SYMBOLS,
        channels=[channel, "spot.trades", "spot.tickers"],
        websocket_url=websocket_url,
        rest_url=rest_url,
        on_orderbook=on_orderbook,
        on_trade=on_trade,
        on_ticker=on_ticker,
        on_gap=complain,
        on_error=complain,
    ) as feed:
        while True:
            try:
                async with asyncio.timeout(SWITCH_EVERY_S):
                    await feed.wait()
            except TimeoutError:
                await feed.switch(feed.architecture.other)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
