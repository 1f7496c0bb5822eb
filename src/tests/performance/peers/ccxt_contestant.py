"""ccxt.pro. It is connected and subscribed to an exchange, offline to one that is silent, and watches books or trades as its users do.

Offline its client's ``handle_message`` gets each frame as its receiving loop calls it, a message of ``aiohttp``; the next frame comes once
the task that awaits ``watch_order_book`` or ``watch_trades`` has had this one. So its figures have in them the future that is
resolved, that task's turn of the event loop, and its asking for the next; they do not have the task that its receiving loop makes for each
message. Where several frames come in one read it hands a book over once for all of them: over a socket it gains by that. It remembers
1,000 trades of a symbol, and copies all of them for each that it hands over; at first there are fewer.

The REST book that it asks for is the workload's. Nothing else is changed.
"""

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from aiohttp import WSMessage, WSMsgType
from ccxt.async_support.base.ws.client import Client

from tests.interop.ccxt_client import EXCHANGES
from tests.interop.sight import Task
from tests.performance.peers.contestant import Contestant, Sides, run
from tests.performance.peers.opening import body_for, is_of_trades
from tests.performance.workload import Frame, Workload

#: ccxt.pro takes Gate.io spot's ``order_book_update`` only where its URL says so; of futures it has no other channel.
FRAGMENTS = {"gateio_spot": "#gateeu"}


class Ccxt(Contestant):
    """A task for each symbol that is watched."""

    packages = ("ccxt", "aiohttp", "orjson", "coincurve", "protobuf")

    def __init__(self) -> None:
        super().__init__()
        self._watching: list[asyncio.Task[None]] = []

    async def open(self, workload: Workload, task: Task) -> None:
        await self._start(task)
        watch = self._watch_trades if is_of_trades(workload) else self._watch_books
        for symbol in task.symbols:
            await self._subscribe(watch, symbol)

        async def fetch(url: str, *args: Any, **kwargs: Any) -> Any:
            return self._exchange.parse_json(body_for(url, workload))

        self._exchange.fetch = fetch
        for step in workload.opening:
            if isinstance(step, Frame):
                self._client.handle_message(self.as_received(step.raw))
                await asyncio.sleep(0)
        if not is_of_trades(workload):
            while set(self.books()) != set(task.symbols):
                await asyncio.sleep(0.001)
        await asyncio.sleep(0.02)  # whoever watches has been told of the whole book

    async def take(self, messages: Sequence[Any]) -> None:
        handle, told = self._client.handle_message, self.told
        for message in messages:
            calls = told.calls
            handle(message)
            while told.calls == calls:
                await asyncio.sleep(0)

    def as_received(self, raw: bytes) -> WSMessage:
        is_text = raw.startswith(b"{")
        return WSMessage(WSMsgType.TEXT, raw.decode(), "") if is_text else WSMessage(WSMsgType.BINARY, raw, "")

    def books(self) -> dict[str, Sides]:
        live = {symbol: book for symbol, book in self._exchange.orderbooks.items() if book["nonce"] is not None}
        return {symbol: (_pairs(book["bids"]), _pairs(book["asks"])) for symbol, book in live.items()}

    async def connect(self, task: Task) -> None:
        await self._start(task)
        for symbol in task.symbols:
            await self._subscribe(self._watch_books, symbol)
            await self._subscribe(self._watch_trades, symbol)

    async def close(self) -> None:
        for watching in self._watching:
            watching.cancel()
        await asyncio.gather(*self._watching, return_exceptions=True)
        self._watching = []
        await self._exchange.close()

    async def _start(self, task: Task) -> None:
        opened, _ = EXCHANGES[task.venue]
        self._exchange = opened(task._replace(websocket_url=task.websocket_url + FRAGMENTS.get(task.venue, "")))
        self._exchange.cafile = os.environ["SSL_CERT_FILE"]
        await self._exchange.load_markets()

    async def _subscribe(self, watch: Callable[[str], Coroutine[Any, Any, None]], symbol: str) -> None:
        """Watch, and wait for the exchange's answer."""
        before = self._last_message_at()
        await asyncio.sleep(0.002)  # the time of the last message is in milliseconds
        self._watching.append(asyncio.create_task(watch(symbol)))
        self._watching[-1].add_done_callback(_complain)
        while self._last_message_at() == before:
            await asyncio.sleep(0.001)

    @property
    def _client(self) -> Client:
        (client,) = self._exchange.clients.values()
        return client

    def _last_message_at(self) -> int | None:
        return self._client.last_message_at if self._exchange.clients else None

    async def _watch_books(self, symbol: str) -> None:
        watch, told = self._exchange.watch_order_book, self.told
        while True:
            await watch(symbol)
            told.updates += 1
            told.calls += 1

    async def _watch_trades(self, symbol: str) -> None:
        watch, told = self._exchange.watch_trades, self.told
        while True:
            trades = await watch(symbol)
            told.trades += len(trades)
            told.calls += 1


def _complain(watching: asyncio.Task[None]) -> None:
    if not watching.cancelled():
        print(repr(watching.exception()), file=sys.stderr)


def _pairs(levels: Any) -> list[tuple[float, float]]:
    return [(price, amount) for price, amount in levels]


if __name__ == "__main__":
    run(Ccxt)
