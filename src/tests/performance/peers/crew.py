"""The contestants' processes, and what they are told to do."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple, Self

from tests.harness.captures import ROOT
from tests.performance.peers.frames import Sides
from tests.performance.peers.opening import CHANNELS

#: Longer than anything that a process is told takes.
ANSWER_TIMEOUT_S = 90.0


class Entry(NamedTuple):
    """Who takes part: name, module and what that is started with, whether it is of the peers' environment, and where it takes part.

    ``cuts`` says that it does not ask for fractions of contracts, and so does not get them.
    """

    name: str
    module: str
    arguments: tuple[str, ...] = ()
    is_foreign: bool = True
    venues: tuple[str, ...] = tuple(CHANNELS)
    has_transport: bool = True
    cuts: bool = False

    def __str__(self) -> str:
        return self.name


DIRECT = Entry("tickrail direct", "tickrail_contestant", ("direct",), is_foreign=False)
STRATEGY = Entry("tickrail strategy", "tickrail_contestant", ("strategy",), is_foreign=False)
LOOP = Entry("msgspec loop", "loop_contestant", has_transport=False)
CRYPTOFEED = Entry("cryptofeed", "cryptofeed_contestant", venues=("gateio_spot", "gateio_futures"), cuts=True)
CCXT = Entry("ccxt.pro", "ccxt_contestant")
#: The first is what the others are held against.
ENTRIES = (DIRECT, STRATEGY, LOOP, CRYPTOFEED, CCXT)


class Told(NamedTuple):
    """How many callbacks told of an update, and how many trades were told."""

    updates: int
    trades: int


class ContestantFailed(Exception):
    """A contestant ended, or did not answer; its own words are on standard error."""


class Process:
    """One contestant, for as long as the context lasts."""

    def __init__(self, entry: Entry, python: str, environment: Mapping[str, str]) -> None:
        self.entry = entry
        own = os.path.abspath(python) if entry.is_foreign else sys.executable
        self._command = (own, "-m", f"tests.performance.peers.{entry.module}", *entry.arguments)
        self._environment = os.environ | environment

    async def __aenter__(self) -> Self:
        pipe, folder = asyncio.subprocess.PIPE, ROOT / "src"
        self._process = await asyncio.create_subprocess_exec(*self._command, cwd=folder, env=self._environment, stdin=pipe, stdout=pipe)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process.returncode is None:
            self._process.kill()  # it has nothing to put in order
        await self._process.wait()

    async def ask(self, name: str, *arguments: object) -> Any:
        """Give a command, and wait for its answer."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps([name, *arguments]).encode() + b"\n")
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                answer = await self._process.stdout.readline()
        except TimeoutError:
            raise ContestantFailed(f"{self.entry}: no answer to {name} within {ANSWER_TIMEOUT_S:.0f} s") from None
        if not answer:
            raise ContestantFailed(f"{self.entry}: ended at {name} {arguments}: exit code {await self._process.wait()}")
        return json.loads(answer)

    async def told(self) -> Told:
        """What its callbacks were told since its feed was opened."""
        return Told(*await self.ask("told"))

    async def books(self) -> dict[str, Sides]:
        """The live books of its feed, by symbol."""
        found = await self.ask("books")
        return {symbol: ([(p, a) for p, a in bids], [(p, a) for p, a in asks]) for symbol, (bids, asks) in found.items()}


@asynccontextmanager
async def crew(entries: Sequence[Entry], python: str, environment: Mapping[str, str]) -> AsyncIterator[list[Process]]:
    """Fresh processes, all of which are ready."""
    async with AsyncExitStack() as stack:
        processes = [await stack.enter_async_context(Process(entry, python, environment)) for entry in entries]
        for process in processes:
            await process.ask("turn")
        yield processes
