"""cryptofeed. Offline its message handler is awaited for each frame as its connection handler does it, on text, as ``websockets`` gives it;
the REST book that it asks for is the workload's. What it knows of markets it has from the exchange. Nothing else is changed.
"""

import time
from collections.abc import Sequence
from typing import Any

from cryptofeed import FeedHandler
from cryptofeed.defines import L2_BOOK, TRADES
from cryptofeed.exchanges import Gateio, GateioFutures
from cryptofeed.types import OrderBook, Trade

from tests.interop.cryptofeed_client import own, unified
from tests.interop.sight import Task
from tests.performance.peers.contestant import Contestant, Sides, run
from tests.performance.peers.opening import body_for
from tests.performance.workload import Frame, Workload

FEEDS: dict[str, type[Gateio]] = {"gateio_spot": Gateio, "gateio_futures": GateioFutures}


class Deaf:
    """A connection that requests are written on, and nobody reads."""

    async def write(self, data: str) -> None:
        """Take a request."""


class Cryptofeed(Contestant):
    """Books and trades of a feed."""

    packages = ("cryptofeed", "order-book", "yapic.json", "websockets")

    def __init__(self) -> None:
        super().__init__()
        self._handler: FeedHandler | None = None

    async def open(self, workload: Workload, task: Task) -> None:
        self._feed = feed = self._made(task)

        async def read(url: str, *args: Any, **kwargs: Any) -> str:
            return body_for(url, workload)

        feed.http_conn.read = read
        await feed.subscribe(Deaf())
        await self.take([self.as_received(step.raw) for step in workload.opening if isinstance(step, Frame)])

    async def take(self, messages: Sequence[Any]) -> None:
        handler, now = self._feed.message_handler, time.time
        for message in messages:
            await handler(message, None, now())

    def as_received(self, raw: bytes) -> str:
        return raw.decode()

    def books(self) -> dict[str, Sides]:
        return {unified(symbol): (_pairs(book.book.bids), _pairs(book.book.asks)) for symbol, book in self._feed._l2_book.items()}

    async def connect(self, task: Task) -> None:
        self._feed = self._made(task)
        self._handler = FeedHandler({"log": {"disabled": True}})  # warnings go to standard error, not to a file
        self._handler.add_feed(self._feed)
        self._handler.run(start_loop=False, install_signal_handlers=False)

    async def close(self) -> None:
        if self._handler is None:
            await self._feed.shutdown()
        else:
            await self._handler.stop_async()
            self._handler = None

    def _made(self, task: Task) -> Gateio:
        feed, told = FEEDS[task.venue], self.told

        async def on_book(book: OrderBook, received_s: float) -> None:
            told.updates += 1

        async def on_trade(trade: Trade, received_s: float) -> None:
            told.trades += 1

        feed.websocket_endpoints[0].address = task.websocket_url
        feed.rest_endpoints[0].address = task.rest_url
        callbacks = {L2_BOOK: on_book, TRADES: on_trade}
        return feed(symbols=[own(symbol) for symbol in task.symbols], channels=list(callbacks), callbacks=callbacks)


def _pairs(side: Any) -> list[tuple[float, float]]:
    return [(float(price), float(amount)) for price, amount in side.to_list()]


if __name__ == "__main__":
    run(Cryptofeed)
