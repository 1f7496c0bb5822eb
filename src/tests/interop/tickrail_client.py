"""tickrail, from one architecture to the other each second. How it is started: see ``sight``; its channels are subscribed to.

Where another client reads no ids, what it sees is told by what that client knows it by: see ``ccxt_client``.
"""

import asyncio
import sys

from tests.interop.sight import task, tell, tell_top
from tickrail import BookTicker, Candle, ErrorEvent, Gap, OrderBook, Ticker, Trade, open_feed

SWITCH_EVERY_S = 1.0
#: Where some client reads no ids of trades and tops, and of a change of a book the first alone.
WITHOUT_IDS = ("mexc_spot",)

#: By symbol, the last id of a book.
last_ids: dict[str, int] = {}


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


def on_change(book: OrderBook) -> None:
    """A book by the first id of its last change, which is the one after the last before it: nothing lies between them."""
    assert book.last_id is not None and book.best_bid is not None and book.best_ask is not None
    if book.symbol in last_ids:
        tell("book", book.symbol, last_ids[book.symbol] + 1, *book.best_bid, *book.best_ask)
    last_ids[book.symbol] = book.last_id


def on_numberless_trade(trade: Trade) -> None:
    assert trade.exchange_ns is not None
    tell("trade", trade.symbol, trade.amount, trade.price, trade.exchange_ns // 1_000_000)


def on_numberless_top(top: BookTicker) -> None:
    assert top.exchange_ns is not None and top.bid_price and top.bid_amount and top.ask_price and top.ask_amount
    tell_top(top.symbol, top.exchange_ns // 1_000_000, top.bid_price, top.bid_amount, top.ask_price, top.ask_amount)


def on_candle(candle: Candle) -> None:
    assert candle.base_volume is not None
    tell("candle", candle.symbol, candle.base_volume, candle.open_ns // 1_000_000, candle.open, candle.high, candle.low, candle.close)


def complain(event: Gap | ErrorEvent) -> None:
    print(event, file=sys.stderr)


async def main() -> None:
    given = task()
    has_ids = given.venue not in WITHOUT_IDS
    async with open_feed(
        given.venue,
        symbols=given.symbols,
        channels=given.channels,
        websocket_url=given.websocket_url,
        rest_url=given.rest_url,
        on_orderbook=on_orderbook if has_ids else on_change,
        on_trade=on_trade if has_ids else on_numberless_trade,
        on_ticker=on_ticker,
        on_book_ticker=on_book_ticker if has_ids else on_numberless_top,
        on_candle=on_candle,
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
