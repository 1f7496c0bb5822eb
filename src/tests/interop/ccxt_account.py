"""ccxt.pro with an account, of which only the URLs are changed: orders by its own REST calls, and tells what it sees of them.

How it is started: see ``sight``. Of a market order it takes the average for the price, where it has one.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import ccxt.pro

from tests.interop.ccxt_client import EXCHANGES
from tests.interop.sight import KEY, SECRET, USER_ID, standard_input, task, tell_state

SIZE = 3.0


async def watch_orders(exchange: ccxt.pro.Exchange) -> None:
    while True:
        for order in await exchange.watch_orders():
            tell_state(
                "order",
                order["id"],
                symbol=order["symbol"],
                side=order["side"],
                status=order["status"],
                price=None if order["type"] == "market" else order["price"],
                filled=order["filled"],
                average=order["average"],
            )


async def watch_my_trades(exchange: ccxt.pro.Exchange) -> None:
    while True:
        for trade in await exchange.watch_my_trades():
            tell_state(
                "fill",
                trade["id"],
                symbol=trade["symbol"],
                order=trade["order"],
                side=trade["side"],
                role=trade["takerOrMaker"],
                price=trade["price"],
                amount=trade["amount"],
                fee=trade["fee"]["cost"],
                fee_currency=trade["fee"]["currency"],
            )


async def watch_balance(exchange: ccxt.pro.Exchange) -> None:
    while True:
        balance = await exchange.watch_balance()
        for currency in balance["total"]:
            known = balance[currency]
            tell_state("balance", currency, total=known["total"], available=known["free"], frozen=known["used"])


async def watch_positions(exchange: ccxt.pro.Exchange) -> None:
    while True:
        await exchange.watch_positions()
        # What that gives are the positions of one push; those of another that came at the same time only its cache has, the newest
        # last. There it keeps a long position beside the short one that it has become. Of a closed one it has 0 for the price.
        for position in exchange.positions["swap"]:
            amount = -position["contracts"] if position["side"] == "short" else position["contracts"]
            tell_state("position", position["symbol"], amount=amount, entry_price=position["entryPrice"] or None)


async def trade(exchange: ccxt.pro.Exchange, symbol: str, *, closes: bool) -> None:
    """Orders of each kind: two that rest, one that crosses, one that is filled in part, two for the market's price; one is canceled.

    What is then held of a contract is closed, if that is wanted.
    """

    async def place(kind: str, side: str, amount: float, price: float | None, **params: Any) -> str:
        exact = None if price is None else float(exchange.price_to_precision(symbol, price))
        order = await exchange.create_order(symbol, kind, side, amount, exact, params)
        tell_state("placed", order["id"])
        return str(order["id"])

    book = await exchange.fetch_order_book(symbol)
    (bid, standing), (ask, _) = book["bids"][0][:2], book["asks"][0][:2]
    canceled = await place("limit", "buy", SIZE, bid / 2)
    await place("limit", "buy", SIZE, bid / 2)
    await place("limit", "buy", SIZE, ask * 1.02)
    # More than stands there: the exchange cancels what is left.
    await place("limit", "sell", SIZE + 2 * standing, bid, timeInForce="IOC")
    # On spot it is asked what to spend, and multiplies for that.
    await place("market", "buy", SIZE, ask)
    await place("market", "sell", 2 * SIZE, None)
    await exchange.cancel_order(canceled, symbol)
    if closes:
        await place("market", "buy", 3 * standing, None, reduceOnly=True)


Watch = Callable[[ccxt.pro.Exchange], Coroutine[Any, Any, None]]
WATCHES: tuple[Watch, ...] = (watch_orders, watch_my_trades, watch_balance)


async def main() -> None:
    given = task()
    opened, _ = EXCHANGES[given.venue]
    exchange = opened(given)
    exchange.apiKey, exchange.secret, exchange.uid = KEY, SECRET, USER_ID
    has_contracts = given.venue == "gateio_futures"
    try:
        await exchange.load_markets()
        commands = await standard_input()
        async with asyncio.TaskGroup() as group:
            watching = [group.create_task(watch(exchange)) for watch in WATCHES]
            if has_contracts:
                watching.append(group.create_task(watch_positions(exchange)))
            if await commands.readline():
                for symbol in given.symbols:
                    await trade(exchange, symbol, closes=has_contracts and symbol == given.symbols[0])
                tell_state("done", "")
            await commands.read()
            for each in watching:
                each.cancel()
    finally:
        await exchange.close()


if __name__ == "__main__":
    asyncio.run(main())
