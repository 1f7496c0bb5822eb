"""ccxt.pro's ``gate``, of which only the URLs are changed: ``python -m tests.interop.ccxt_client WEBSOCKET_URL REST_URL``.

It takes its books from ``spot.obu``, and from ``spot.order_book_update`` if its WebSocket URL contains "gateeu".
"""

import asyncio
import sys

import ccxt.pro

from tests.interop.sight import SYMBOLS, tell


async def watch_books(gate: ccxt.pro.gate, symbol: str) -> None:
    while True:
        book = await gate.watch_order_book(symbol)
        tell("book", symbol, book["nonce"], *book["bids"][0], *book["asks"][0])


async def watch_trades(gate: ccxt.pro.gate, symbol: str) -> None:
    while True:
        for trade in await gate.watch_trades(symbol):
            tell("trade", symbol, trade["id"], trade["price"], trade["amount"])


async def watch_tickers(gate: ccxt.pro.gate, symbol: str) -> None:
    while True:
        ticker = await gate.watch_ticker(symbol)
        tell("ticker", symbol, ticker["baseVolume"], ticker["bid"], ticker["ask"])


async def main(websocket_url: str, rest_url: str) -> None:
    gate = ccxt.pro.gate({"options": {"fetchMarkets": {"types": ["spot"]}}})
    api = gate.urls["api"]
    api["spot"] = websocket_url
    api["public"] = dict.fromkeys(api["public"], f"{rest_url}/api/v4")
    try:
        await gate.load_markets()
        async with asyncio.TaskGroup() as group:
            for symbol in SYMBOLS:
                for watch in (watch_books, watch_trades, watch_tickers):
                    group.create_task(watch(gate, symbol))
    finally:
        await gate.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
