"""A feed whose receivers write down which frames they were given; the work is done by the shipped classes."""

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

from infrastructure.callbacks import Callback
from infrastructure.clock import Clock
from infrastructure.errors import DecodeError
from infrastructure.events import Architecture
from infrastructure.exchanges import venue_named
from infrastructure.feed import OfflineFeed
from infrastructure.networking.websocket.handlers import PublicWebSocketHandler
from infrastructure.networking.websocket.marker import Marker, Markers
from infrastructure.networking.websocket.strategies import ParsedMessage, WebSocketStrategySet, strategy_set
from infrastructure.networking.websocket.strategies.general import CodecMessageParser
from infrastructure.venue import Venue
from tests.harness.variants import assert_accounts

Raw = bytes | str
GATEIO = venue_named("gateio_spot")


class Notes:
    """Which receiver was handed which frame, in order, and how the receivers behave.

    ``rests`` is how often the parser gives way for each frame; ``poison`` are the frames that only direct handling cannot read, and
    ``raises`` is what either receiver does about a frame before it is read.
    """

    def __init__(self, *, rests: int = 0, poison: Sequence[Raw] = (), raises: Callable[[Raw], None] | None = None) -> None:
        self.handled: list[tuple[Architecture, Raw]] = []
        self.rests = rests
        self.poison = poison
        self.raises = raises

    def take(self, architecture: Architecture, raw: Raw) -> None:
        """A receiver was handed ``raw``."""
        self.handled.append((architecture, raw))
        if self.raises is not None:
            self.raises(raw)

    def feed(
        self,
        architecture: Architecture = Architecture.DIRECT,
        *symbols: str,
        adapted: bool = False,
        clock: Clock | None = None,
        callbacks: dict[str, Callback] | None = None,
        **lane_settings: object,
    ) -> OfflineFeed:
        """A Gate.io feed over these receivers; ``lane_settings`` are those of ``Lane``."""
        general = strategy_set(GATEIO)
        strategies = WebSocketStrategySet(general.connection_strategy, general.subscription_strategy, NotingParser(GATEIO, self))
        return OfflineFeed(
            GATEIO.name,
            symbols or None,
            architecture,
            handler=NotingHandler(self, **(callbacks or {})),
            strategies=strategies,
            adapted=adapted,
            clock=clock,
            lane_settings=lane_settings,
        )

    @property
    def trades(self) -> list[tuple[Architecture, int]]:
        """The same, with the id of each trade for its frame."""
        return [(architecture, trade_id(raw)) for architecture, raw in self.handled]

    def by(self, architecture: Architecture) -> list[int]:
        """The ids of the trades that one architecture was handed."""
        return [number for receiver, number in self.trades if receiver is architecture]


class NotingHandler(PublicWebSocketHandler):
    """The shipped handler, noting."""

    def __init__(self, notes: Notes, **callbacks: Callback) -> None:
        super().__init__(None, None, **callbacks)
        self._notes = notes

    def _handle_message(self, raw_message: Raw) -> Any:
        self._notes.take(Architecture.DIRECT, raw_message)
        if raw_message in self._notes.poison:
            raise DecodeError("poison")
        return super()._handle_message(raw_message)


class NotingParser(CodecMessageParser):
    """The shipped parser, noting."""

    def __init__(self, venue: Venue, notes: Notes) -> None:
        super().__init__(venue)
        self._notes = notes

    async def parse_message(self, raw_message: Raw) -> ParsedMessage | None:
        self._notes.take(Architecture.STRATEGY, raw_message)
        await rest(self._notes.rests)
        return await super().parse_message(raw_message)


def trade_id(raw: Raw) -> int:
    """The id of a trade's frame, read without the product's help."""
    number: int = json.loads(raw)["result"]["id"]
    return number


async def rest(times: int = 10) -> None:
    """Give way to the other tasks."""
    for _ in range(times):
        await asyncio.sleep(0)


async def drained(feed: OfflineFeed) -> None:
    """Everything is handled and accounted for, and the lane is idle; one that has stopped fails here."""
    marker = feed.drain()
    await asyncio.wait_for(_awaited(marker), 5)
    assert feed.accounting.frames.in_flight == 0
    assert_accounts(feed)
    assert feed.drain().is_done


async def _awaited(marker: Marker | Markers) -> None:
    await marker


async def until(condition: Callable[[], bool]) -> None:
    """Give way until ``condition`` holds, which must be soon."""
    for _ in range(10_000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("the condition never came to hold")


async def closed(feed: OfflineFeed) -> None:
    """The feed has handled what it had and takes no more."""
    await feed.close()
