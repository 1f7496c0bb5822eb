"""tickrail, from one architecture to the other each second. How it is started: see ``sight``; its channels are subscribed to."""

import asyncio
import sys

from tests.interop.sight import task, tell
from tickrail import BookTicker, ErrorEvent, Gap, OrderBook, Ticker, Trade, open_feed

SWITCH_EVERY_S = 1.0


def on_orderbook(book: OrderBook) -> None:
    assert book.last_id is not None and book.best_bid is not None and book.best_ask is not None
    tell("book", book.symbol, book.last_id, *book.best_bid, *book.best_ask)


def on_trade(trade: Trade) -> None:
    tell("trade", trade.symbol, trade.trade_id, trade.price, trade.amount)


def on_ticker(ticker: Ticker) -> None:
    prices = [ticker.bid_price, ticker.ask_price] if ticker.index_price is None else [ticker.index_price]
    assert ticker.base_volume is not None
    tell("ticker", ticker.symbol, ticker.base_volume, *(price for price in prices if price is not None))


def on_book_ticker(top: BookTicker) -> None:
    values = top.bid_price, top.bid_amount, top.ask_price, top.ask_amount
    assert top.update_id is not None
    tell("top", top.symbol, top.update_id, *(value for value in values if value is not None))


def complain(event: Gap | ErrorEvent) -> None:
    print(event, file=sys.stderr)


async def main() -> None:
    given = task()
    async with open_feed(
        given.venue,
        symbols=given.symbols,
        channels=given.channels,
        websocket_url=given.websocket_url,
        rest_url=given.rest_url,
        on_orderbook=on_orderbook,
        on_trade=on_trade,
        on_ticker=on_ticker,
        on_book_ticker=on_book_ticker,
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
    asyncio.run(main())
