"""The loop written by hand. It has no transport, and so takes no part where there are sockets.

MEXC's schema has somebody compiled already: ccxt.
"""

from collections import defaultdict
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from google.protobuf.internal import api_implementation

from tests.interop.sight import Task
from tests.performance.peers.contestant import Contestant, Sides, run
from tests.performance.peers.loop_of_40_lines import Book, gate_loop, mexc_loop
from tests.performance.workload import Frame, Workload


class Loop(Contestant):
    """Frames are bytes."""

    packages = ("msgspec", "sortedcontainers", "protobuf")

    def __init__(self, push_type: Any) -> None:
        super().__init__()
        self._push_type = push_type

    def facts(self) -> dict[str, str]:
        return super().facts() | {"protobuf's implementation": api_implementation.Type()}

    async def open(self, workload: Workload, task: Task) -> None:
        self._books: defaultdict[str, Book] = defaultdict(Book)
        is_mexc = workload.venue == "mexc_spot"
        self._symbols = {symbol.partition(":")[0].replace("/", "" if is_mexc else "_"): symbol for symbol in workload.symbols}
        told = self.told

        def on_event(event: Any) -> None:
            if isinstance(event, Book):
                told.updates += 1
            else:
                told.trades += 1

        given = (self._books, on_event)
        self._take = mexc_loop(*given, self._push_type) if is_mexc else gate_loop(*given)
        natives = {symbol: native for native, symbol in self._symbols.items()}
        for step in workload.opening:
            if isinstance(step, Frame):
                self._take(step.raw)
            else:
                self._books[natives[step.symbol]].start(step.body)

    async def take(self, messages: Sequence[Any]) -> None:
        take = self._take
        for message in messages:
            take(message)

    def books(self) -> dict[str, Sides]:
        return {self._symbols[native]: sides_of(book) for native, book in self._books.items() if book.last_id is not None}

    async def connect(self, task: Task) -> None:
        raise NotImplementedError("it has no transport")

    async def close(self) -> None:
        self._books.clear()


def sides_of(book: Book) -> Sides:
    """A book's levels, best first."""
    return list(reversed(book.bids.items())), list(book.asks.items())


if __name__ == "__main__":
    run(lambda: Loop(import_module("ccxt.protobuf.mexc.PushDataV3ApiWrapper_pb2").PushDataV3ApiWrapper))
