"""tickrail in one architecture, the command line's: offline all of a feed but its socket, else what ``open_feed`` opens."""

import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

from infrastructure.events import Architecture
from infrastructure.venue import Levels
from tests.harness.variants import Variant
from tests.interop.sight import Task
from tests.performance.duet import own_code
from tests.performance.peers.contestant import Contestant, Sides, Told, run
from tests.performance.peers.opening import is_of_trades
from tests.performance.subject import Subject
from tests.performance.workload import Workload
from tickrail import ErrorEvent, Gap, OrderBook, Trade, WebSocketManager, open_feed


class Tickrail(Contestant):
    """Frames are bytes, as its transport has them."""

    packages = ("tickrail", "msgspec", "picows", "protobuf")

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self._architecture = architecture
        self._subject: Subject | None = None
        self._feed: WebSocketManager | None = None
        self._stack = AsyncExitStack()

    async def open(self, workload: Workload, task: Task) -> None:
        self._subject = Subject(workload, Variant(self._architecture, False), told=_counting(self.told, is_of_trades(workload)))
        await self._subject.prepare()
        self._contestant = own_code(self._subject.contestant)

    async def take(self, messages: Sequence[Any]) -> None:
        pending = self._contestant(messages)
        if pending is not None:
            await pending

    def books(self) -> dict[str, Sides]:
        source = self._subject or self._feed
        assert source is not None
        return {symbol: (_pairs(book.bids), _pairs(book.asks)) for symbol, book in source.books.items() if book.is_live}

    async def connect(self, task: Task) -> None:
        told = self.told

        def on_orderbook(book: OrderBook) -> None:
            told.updates += 1

        def on_trade(trade: Trade) -> None:
            told.trades += 1

        self._feed = await self._stack.enter_async_context(
            open_feed(
                task.venue,
                symbols=task.symbols,
                channels=task.channels,
                architecture=self._architecture,
                websocket_url=task.websocket_url,
                rest_url=task.rest_url,
                on_orderbook=on_orderbook,
                on_trade=on_trade,
                on_gap=_complain,
                on_error=_complain,
            )
        )

    async def close(self) -> None:
        self._subject = self._feed = None
        await self._stack.aclose()


def _counting(told: Told, is_of_trades: bool) -> Any:
    def add_update(event: object) -> None:
        told.updates += 1

    def add_trade(event: object) -> None:
        told.trades += 1

    return add_trade if is_of_trades else add_update


def _pairs(levels: Levels) -> list[tuple[float, float]]:
    return [(price, amount) for price, amount in levels]


def _complain(event: Gap | ErrorEvent) -> None:
    print(event, file=sys.stderr)


if __name__ == "__main__":
    run(lambda: Tickrail(Architecture(sys.argv[1])))
