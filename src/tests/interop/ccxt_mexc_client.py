"""ccxt.pro's ``mexc``, spot, of which only the URLs are changed: ``python -m tests.interop.ccxt_mexc_client WEBSOCKET_URL REST_URL``.

Its schema is older than June 2026: a trade has no id and the top of a book no version, so that trades are known by their amount, of
which no two are alike, and tops by when they were sent and their amounts. It knows a book by the first version of its last change. It
tests no continuity: where versions leave a hole it goes on, which is why nobody looks at what it does there.
"""

import asyncio
import sys

import ccxt.pro

from tests.interop.sight import SYMBOLS, tell


async def watch_books(mexc: ccxt.pro.mexc, symbol: str) -> None:
    while True:
        book = await mexc.watch_order_book(symbol)
        tell("book", symbol, book["nonce"], *book["bids"][0], *book["asks"][0])


async def watch_trades(mexc: ccxt.pro.mexc, symbol: str) -> None:
    while True:
        for trade in await mexc.watch_trades(symbol):
            tell("trade", symbol, trade["amount"], trade["price"], trade["timestamp"], trade["side"] == "buy")


async def watch_tickers(mexc: ccxt.pro.mexc, symbol: str) -> None:
    while True:
        ticker = await mexc.watch_ticker(symbol)
        amounts = ticker["bidVolume"], ticker["askVolume"]
        tell("ticker", symbol, f"{ticker['timestamp']} {amounts[0]} {amounts[1]}", ticker["bid"], ticker["ask"])


async def main(websocket_url: str, rest_url: str) -> None:
    mexc = ccxt.pro.mexc()
    api = mexc.urls["api"]
    api["ws"]["spot"] = websocket_url
    api["spot"] = {"public": rest_url, "private": rest_url}
    api["contract"] = {"public": f"{rest_url}/api/v1/contract", "private": f"{rest_url}/api/v1/private"}
    try:
        await mexc.load_markets()
        async with asyncio.TaskGroup() as group:
            for symbol in SYMBOLS:
                for watch in (watch_books, watch_trades, watch_tickers):
                    group.create_task(watch(mexc, symbol))
    finally:
        await mexc.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
