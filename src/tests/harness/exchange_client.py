"""Somebody's connection to a simulated exchange, by means of the tests' own: nothing of tickrail's codecs, books or connections."""

import asyncio
import json
import re
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import aiohttp
import pytest

from infrastructure.errors import SettingsError
from infrastructure.simulator.server import Simulator


class ExchangeClient(ABC):
    """One connection. What a subclass makes of a message, it puts to the frames or to the answers."""

    def __init__(self, http: aiohttp.ClientSession, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.http = http
        self.socket = socket
        #: What came, but for answers.
        self.frames: list[dict[str, Any]] = []
        self.answers: list[dict[str, Any]] = []

    @abstractmethod
    def take(self, message: aiohttp.WSMessage) -> None:
        """A message came."""

    async def answers_to(self, request: Mapping[str, Any], count: int = 1) -> list[dict[str, Any]]:
        """Send a request and return its answers."""
        await self.socket.send_str(json.dumps(request))
        seen = len(self.answers)
        await self.read(lambda: len(self.answers) >= seen + count)
        return self.answers[seen:]

    async def read(self, enough: Callable[[], bool]) -> None:
        """Take frames until there are enough."""
        while not enough():
            self.take(await self.socket.receive(timeout=20))

    async def read_frames(self, count: int) -> list[dict[str, Any]]:
        """The first so many frames."""
        await self.read(lambda: len(self.frames) >= count)
        return self.frames[:count]

    async def get(self, path: str) -> Any:
        async with self.http.get(path) as answer:
            return await answer.json()

    async def post(self, what: str, body: str = "") -> int:
        async with self.http.post(f"/simulator/{what}", data=body) as answer:
            return answer.status

    async def state(self) -> Any:
        return await self.get("/simulator/state")


class Opened(NamedTuple):
    """What a client of an exchange is made of."""

    http: aiohttp.ClientSession
    socket: aiohttp.ClientWebSocketResponse


@asynccontextmanager
async def opened(simulator: Simulator, log: str = "test", headers: Mapping[str, str] | None = None) -> AsyncIterator[Opened]:
    """The exchange runs, and somebody is connected to it."""
    async with (
        simulator.serving() as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}", headers=headers) as http,
        http.ws_connect(f"{simulator.exchange.websocket_path}?log={log}") as socket,
    ):
        yield Opened(http, socket)


def assert_fault_refused(venue: str, symbols: Sequence[str], fault: str, says: str) -> None:
    """A fault that cannot be is refused at the start, in these words, and of an exchange that runs."""
    with pytest.raises(SettingsError, match=re.escape(says)):
        Simulator(venue, symbols, faults=[fault])

    async def test() -> None:
        async with opened(Simulator(venue, symbols, rate=0)) as (http, _), http.post("/simulator/fault", data=fault) as answer:
            assert answer.status == 400

    run(test())


def run(test: Coroutine[Any, Any, None]) -> None:
    """Run a test, for no longer than a minute."""

    async def main() -> None:
        async with asyncio.timeout(60):
            await test

    asyncio.run(main())
