"""A contestant: a process of its own that takes commands on its standard input, in the environment of whatever it is.

A command is a line of JSON, a name and arguments, and so is its answer. It ends when its standard input does.
"""

import asyncio
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from typing import Any

import uvloop

from tests.interop.sight import Task, standard_input
from tests.performance.workload import Workload, read

TURNS = 10_000
START_TIMEOUT_S = 60.0
#: Price and amount, best first: of bids, then of asks.
Sides = tuple[list[tuple[float, float]], list[tuple[float, float]]]


class Told:
    """What the callbacks do: they count. ``calls`` counts them; one may be handed several trades, and all are in ``trades``."""

    def __init__(self) -> None:
        self.updates = 0
        self.trades = 0
        self.calls = 0


class Contestant(ABC):
    """One way from frames to callbacks; between ``open`` and ``close``, or ``connect`` and ``close``, it has a feed."""

    #: The packages whose versions matter to it.
    packages: Sequence[str] = ()

    def __init__(self) -> None:
        self.told = Told()

    @abstractmethod
    async def open(self, workload: Workload, task: Task) -> None:
        """Begin a feed that takes a workload's frames, and take its opening; ``task`` names an exchange that is silent meanwhile."""

    @abstractmethod
    async def take(self, messages: Sequence[Any]) -> None:
        """Take frames to the ends of their callbacks."""

    @abstractmethod
    def books(self) -> dict[str, Sides]:
        """The books as they stand, by unified symbol; those that are not live are not there."""

    @abstractmethod
    async def connect(self, task: Task) -> None:
        """Begin a feed over a socket, of books and trades."""

    @abstractmethod
    async def close(self) -> None:
        """End the feed."""

    def as_received(self, raw: bytes) -> Any:
        """A frame as the library's transport hands it on."""
        return raw

    def facts(self) -> dict[str, str]:
        """Versions."""
        return {"python": python_version()} | {name: version(name) for name in (*self.packages, "uvloop")}


class Server:
    """Carries the commands out."""

    def __init__(self, contestant: Contestant) -> None:
        self._contestant = contestant
        self._messages: list[Any] = []

    async def facts(self) -> dict[str, str]:
        """What runs here."""
        return self._contestant.facts()

    async def turn(self) -> int:
        """The nanoseconds of one turn of an idle event loop."""
        started = time.process_time_ns()
        for _ in range(TURNS):
            await asyncio.sleep(0)
        return (time.process_time_ns() - started) // TURNS

    async def open(self, file: str, index: int, task: list[Any]) -> None:
        """Begin a feed of a workload in a file."""
        workload = read(Path(file))[index]
        self._contestant.told = Told()
        self._messages = [self._contestant.as_received(raw) for raw in workload.frames]
        async with asyncio.timeout(START_TIMEOUT_S):
            await self._contestant.open(workload, Task(*task))
        self._contestant.told.updates = self._contestant.told.trades = 0

    async def take(self, first: int, end: int) -> int:
        """Take some of the workload's frames; gives the nanoseconds of processor time, user's and system's.

        Nothing waits here, so that by the clock on the wall it is the same on an idle machine. On a busy one whoever takes longer for the
        same block is interrupted more often within it, and would look worse than he is.
        """
        take, messages = self._contestant.take, self._messages[first:end]
        started = time.process_time_ns()
        await take(messages)
        return time.process_time_ns() - started

    async def connect(self, task: list[Any]) -> None:
        """Begin a feed over a socket, and wait until all its books are live."""
        given = Task(*task)
        self._contestant.told = Told()
        async with asyncio.timeout(START_TIMEOUT_S):
            await self._contestant.connect(given)
            while set(self._contestant.books()) != set(given.symbols):
                await asyncio.sleep(0.01)

    async def spent(self) -> int:
        """The nanoseconds of processor time, user's and system's, that this process has had."""
        return time.process_time_ns()

    async def told(self) -> tuple[int, int]:
        """How many updates and how many trades were told of."""
        return self._contestant.told.updates, self._contestant.told.trades

    async def books(self) -> dict[str, Sides]:
        """The live books by unified symbol."""
        return self._contestant.books()

    async def close(self) -> None:
        """End the feed."""
        await self._contestant.close()


async def serve(contestant: Contestant) -> None:
    """Carry commands out, one after the other."""
    server = Server(contestant)
    known = (server.facts, server.turn, server.open, server.take, server.connect, server.spent, server.told, server.books, server.close)
    commands: dict[str, Callable[..., Any]] = {command.__name__: command for command in known}
    async for line in await standard_input():
        name, *arguments = json.loads(line)
        print(json.dumps(await commands[name](*arguments)), flush=True)


def run(contestant: Callable[[], Contestant]) -> None:
    """Be a contestant; every one runs on the same event loop."""

    async def main() -> None:
        await serve(contestant())

    uvloop.run(main())
