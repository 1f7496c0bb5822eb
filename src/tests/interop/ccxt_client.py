"""ccxt.pro, of which only the URLs are changed. How it is started: see ``sight``.

Which channels it asks for is its own affair. Of Gate.io spot it takes its books from ``spot.obu``, or from ``spot.order_book_update`` if
its WebSocket URL contains "gateeu"; of Gate.io futures from ``futures.order_book_update`` alone (with "gateeu" it would ask that
exchange for the channel of spot).

Of MEXC spot it has a schema older than June 2026: a trade has no id and a top no version, so that trades are told by their amount, of which
no two are alike, and tops by when they were sent and their amounts; and it knows a book by the first version of its last change. It tests
no continuity: after a hole it goes on, and a change in whose midst a REST book falls it takes for older than that. Here there is neither.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import ccxt.pro

from tests.interop.sight import Task, task, tell, tell_top


async def watch_books(exchange: ccxt.pro.Exchange, symbol: str) -> None:
    while True:
        book = await exchange.watch_order_book(symbol)
        tell("book", symbol, book["nonce"], *book["bids"][0], *book["asks"][0])


async def watch_trades(exchange: ccxt.pro.Exchange, symbol: str) -> None:
    while True:
        for trade in await exchange.watch_trades(symbol):
            tell("trade", symbol, trade["id"], trade["price"], trade["amount"])


async def watch_tickers(exchange: ccxt.pro.Exchange, symbol: str) -> None:
    while True:
        ticker = await exchange.watch_ticker(symbol)
        prices = [ticker["bid"], ticker["ask"]] if ticker["indexPrice"] is None else [ticker["indexPrice"]]
        tell("ticker", symbol, ticker["baseVolume"], *prices)


async def watch_tops(exchange: ccxt.pro.Exchange, symbol: str) -> None:
    while True:
        for top in (await exchange.watch_bids_asks([symbol])).values():
            tell("top", symbol, top["info"]["u"], top["bid"], top["bidVolume"], top["ask"], top["askVolume"])


async def watch_numberless_trades(exchange: ccxt.pro.Exchange, symbol: str) -> None:
    while True:
        for trade in await exchange.watch_trades(symbol):
            tell("trade", symbol, trade["amount"], trade["price"], trade["timestamp"])


async def watch_numberless_tops(exchange: ccxt.pro.Exchange, symbol: str) -> None:
    while True:
        top = await exchange.watch_ticker(symbol)
        tell_top(symbol, top["timestamp"], top["bid"], top["bidVolume"], top["ask"], top["askVolume"])


async def watch_candles(exchange: ccxt.pro.Exchange, symbol: str) -> None:
    while True:
        for opened_ms, open_, high, low, close, volume in await exchange.watch_ohlcv(symbol, "1m"):
            tell("candle", symbol, volume, opened_ms, open_, high, low, close)


def gate(given: Task, market: str) -> ccxt.pro.Exchange:
    """Gate.io with its markets of one type."""
    exchange = ccxt.pro.gate({"options": {"fetchMarkets": {"types": [market]}, "defaultType": market}})
    api = exchange.urls["api"]
    api[market] = given.websocket_url if market == "spot" else {"usdt": given.websocket_url}
    for access in ("public", "private"):
        api[access] = dict.fromkeys(api[access], f"{given.rest_url}/api/v4")
    return exchange


def mexc(given: Task) -> ccxt.pro.Exchange:
    """MEXC, whose contracts it asks for even if nobody wants them."""
    exchange = ccxt.pro.mexc()
    api = exchange.urls["api"]
    api["ws"]["spot"] = given.websocket_url
    api["spot"] = dict.fromkeys(api["spot"], given.rest_url)
    api["contract"]["public"] = f"{given.rest_url}/api/v1/contract"
    return exchange


Watch = Callable[[ccxt.pro.Exchange, str], Coroutine[Any, Any, None]]

#: By venue: its class with the URLs changed, and what is watched.
EXCHANGES: dict[str, tuple[Callable[[Task], ccxt.pro.Exchange], tuple[Watch, ...]]] = {
    "gateio_spot": (lambda given: gate(given, "spot"), (watch_books, watch_trades, watch_tickers, watch_tops)),
    "gateio_futures": (lambda given: gate(given, "swap"), (watch_books, watch_trades, watch_tickers, watch_tops)),
    "mexc_spot": (mexc, (watch_books, watch_numberless_trades, watch_numberless_tops, watch_candles)),
}


async def main() -> None:
    given = task()
    opened, watches = EXCHANGES[given.venue]
    exchange = opened(given)
    try:
        await exchange.load_markets()
        async with asyncio.TaskGroup() as group:
            for symbol in given.symbols:
                for watch in watches:
                    group.create_task(watch(exchange, symbol))
    finally:
        await exchange.close()


if __name__ == "__main__":
    asyncio.run(main())
