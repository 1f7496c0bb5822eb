"""Gets books their whole state: a snapshot from REST, or the stream subscribed anew, one attempt at a time for each stream."""

import asyncio
import random
from collections.abc import Callable

from infrastructure.book_sync import FetchSnapshot, Request
from infrastructure.errors import RequestFailed
from infrastructure.networking.websocket.link import RestInterface
from infrastructure.networking.websocket.reconnect import delays
from infrastructure.networking.websocket.settings import ReconnectSettings
from infrastructure.networking.websocket.subscriber import Subscriber
from infrastructure.session import Session
from infrastructure.venue import Venue

#: Waits before a repair that did not succeed is tried again: snapshots that are too old, subscriptions without a whole book.
WAITS = ReconnectSettings(first_delay_s=0.25, max_delay_s=15.0)

#: Runs a method of the session between two frames, with these arguments.
InLane = Callable[..., object]


class Repairs:
    """Does what a session asks for, and brings the answer into the lane, marked with the epoch of its question.

    A whole book that does not come within ``timeout_s`` of a new subscription is asked for again.
    """

    def __init__(
        self,
        venue: Venue,
        rest: RestInterface,
        in_lane: InLane,
        subscriber: Subscriber,
        timeout_s: float,
        chance: random.Random,
    ) -> None:
        self._venue = venue
        self._rest = rest
        self._in_lane = in_lane
        self._subscriber = subscriber
        self._timeout_s = timeout_s
        self._chance = chance
        self._tasks: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._requests: dict[tuple[str, str], Request] = {}

    def soon(self, request: Request) -> None:
        """Begin; an earlier attempt for the same stream ends. What a session calls in the middle of ``apply``."""
        key = (request.channel, request.symbol)
        earlier = self._tasks.get(key)
        if earlier is not None and earlier is not asyncio.current_task():
            earlier.cancel()
        self._requests[key] = request
        self._tasks[key] = task = asyncio.get_running_loop().create_task(self._repair(request))
        task.add_done_callback(lambda done: self._forget(key, done))

    def end(self, channel: str, symbol: str) -> None:
        """End the attempt for one stream: what is subscribed under its name later is another."""
        task = self._tasks.get((channel, symbol))
        if task is not None:
            task.cancel()

    def hand_over(self, other: "Repairs") -> None:
        """Another connection carries the streams: let it begin what is under way here."""
        for request in self._requests.values():
            other.soon(request)
        self.cancel()

    def cancel(self) -> None:
        """End every attempt: their source is gone."""
        for task in self._tasks.values():
            task.cancel()

    def _forget(self, key: tuple[str, str], task: asyncio.Task[None]) -> None:
        if self._tasks.get(key) is task:
            del self._tasks[key], self._requests[key]

    async def _repair(self, request: Request) -> None:
        if request.attempt > 1:
            waits = delays(WAITS, self._chance)
            for _ in range(request.attempt - 2):
                next(waits)
            await asyncio.sleep(next(waits))
        if isinstance(request, FetchSnapshot):
            await self._fetch(request)
        else:
            await self._subscriber.renew(request.channel, request.symbol)
            await asyncio.sleep(self._timeout_s)
            # One that was refused meanwhile, or ended, is no longer wanted.
            if self._subscriber.names_of(request.channel, request.symbol):
                self._in_lane(Session.request_failed, request, f"no whole book came within {self._timeout_s:g} s")

    async def _fetch(self, request: FetchSnapshot) -> None:
        venue = self._venue
        names = self._subscriber.names_of(request.channel, request.symbol)
        option = names[0].partition(":")[2] if names else ""
        query = {venue.snapshot_symbol_key: venue.symbols.native(request.symbol), **venue.snapshot_query[option]}
        try:
            body = await self._rest.get(venue.snapshot_path, query)
        except RequestFailed as error:
            self._in_lane(Session.request_failed, request, str(error))
        else:
            # One whose stream was ended meanwhile would begin a book that nobody wants.
            if self._subscriber.names_of(request.channel, request.symbol):
                self._in_lane(Session.snapshot, request.symbol, body, request.epoch)
