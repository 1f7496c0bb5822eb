"""Starts a simulated exchange as a process of its own, and talks to it over its side channel."""

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec

from infrastructure.errors import SimulatorFailed
from infrastructure.simulator.ledger import Stream

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 10.0


class SideChannel:
    """What a simulated exchange tells whoever measures, and lets them do; never part of what it plays."""

    def __init__(self, venue: str, websocket_url: str, rest_url: str, http: aiohttp.ClientSession) -> None:
        self.venue = venue
        self.websocket_url = websocket_url
        self.rest_url = rest_url
        self._http = http

    def logged_url(self, name: str) -> str:
        """The WebSocket address for a connection whose frames are logged under ``name``."""
        return f"{self.websocket_url}?log={name}"

    async def log(self, name: str) -> list[tuple[Stream, int]]:
        """The (stream, number) of every message put on the connections of that name since the last call, in order."""
        body = msgspec.json.decode(await self._ask("GET", f"log?name={name}"))
        streams = [(kind, symbol) for kind, symbol, *_ in body["streams"]]
        return [(streams[index], number) for index, number in body["entries"]]

    async def books(self) -> dict[str, dict[str, Any]]:
        """By symbol: ``id``, ``bids`` and ``asks``, levels as texts."""
        books: dict[str, dict[str, Any]] = msgspec.json.decode(await self._ask("GET", "books"))
        return books

    async def state(self) -> dict[str, Any]:
        """Connections, subscriptions, counts of faults and requests."""
        state: dict[str, Any] = msgspec.json.decode(await self._ask("GET", "state"))
        return state

    async def account(self) -> dict[str, Any]:
        """The account of whoever has the key: balances, positions, every order and every fill there ever was, numbers as texts."""
        account: dict[str, Any] = msgspec.json.decode(await self._ask("GET", "account"))
        return account

    async def trade(self, count: int = 1) -> None:
        """Let the account do something by itself, so often."""
        await self._ask("POST", "trade", str(count))

    async def pause(self) -> None:
        """Nothing is pushed from now on; REST still answers."""
        await self._ask("POST", "pause")

    async def resume(self) -> None:
        """Go on."""
        await self._ask("POST", "resume")

    async def fault(self, text: str) -> None:
        """Inject a fault now, such as ``cut`` or ``drop=100``."""
        await self._ask("POST", "fault", text)

    async def _ask(self, method: str, what: str, body: str = "") -> bytes:
        try:
            async with self._http.request(method, f"/simulator/{what}", data=body) as answer:
                content = await answer.read()
        except aiohttp.ClientError as error:
            raise SimulatorFailed(f"the simulated {self.venue} does not answer: {error}") from error
        if answer.status >= 400:
            raise SimulatorFailed(f"{what} {body}: {content.decode(errors='replace')}")
        return content


@asynccontextmanager
async def simulated_exchange(venue: str, *options: str) -> AsyncIterator[SideChannel]:
    """Run ``tickrail simulate VENUE options...`` for as long as the block runs, on a free port of this machine."""
    process = await _start(venue, options)
    assert process.stdout is not None
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            line = (await process.stdout.readline()).decode()
        if not line:
            raise SimulatorFailed(f"the simulated {venue} did not start: exit code {await process.wait()}")
        name, websocket_url, rest_url = line.split()
        async with aiohttp.ClientSession(rest_url) as http:
            yield SideChannel(name, websocket_url, rest_url, http)
    finally:
        await _stop(process)


async def _start(venue: str, options: Sequence[str]) -> asyncio.subprocess.Process:
    """A process in a session of its own: Ctrl-C in a terminal is for whoever started it, who ends it.

    Where its starter is killed, its standard input ends, and it with that.
    """
    command = (sys.executable, "-m", "infrastructure.cli", "simulate", venue, *options, "--attended")
    pipe = asyncio.subprocess.PIPE
    starting = asyncio.ensure_future(asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, start_new_session=True))
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        await _stop(await starting)  # There may be a process already.
        raise


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
    try:
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def level_floats(levels: Sequence[Sequence[str]]) -> list[tuple[float, float]]:
    """Levels of ``SideChannel.books`` as a book shows them."""
    return [(float(price), float(amount)) for price, amount in levels]
