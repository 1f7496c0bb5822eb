"""One simulated life of a feed under everything that goes wrong at once, from one seed, checked by a History.

The exchange, the network and REST are generated; the feed, its lane, its session and both architectures are the shipped ones. A frame
carries its number and its fate in white space behind the JSON, which no decoder looks at.
"""

import asyncio
from enum import IntEnum
from typing import Any, NamedTuple

from infrastructure.book_sync import FetchSnapshot, Request
from infrastructure.callbacks import Callbacks
from infrastructure.clock import MonotonicNs
from infrastructure.errors import DecodeError
from infrastructure.events import Architecture, BookState
from infrastructure.exchanges import venue_named
from infrastructure.feed import OfflineFeed
from infrastructure.networking.websocket.handlers import PublicWebSocketHandler
from infrastructure.networking.websocket.lane import Lane
from infrastructure.networking.websocket.marker import Switch, Switches
from infrastructure.networking.websocket.strategies.general import CodecMessageParser, strategy_set
from infrastructure.networking.websocket.strategies.interfaces import ParsedMessage
from infrastructure.simulator.gateio_spot import GateioSpotMarkets
from infrastructure.simulator.market import MIX, Sent
from infrastructure.venue import Venue
from tests.harness.history import History
from tests.harness.variants import Variant
from tests.harness.virtual_loop import VirtualLoop, run_virtual

SYMBOLS = ("BTC/USDT", "ETH/USDT", "SOL/USDT")
ROUNDS = 40
READ_BUFFER = 6


class Fate(IntEnum):
    """What our own side does to a frame."""

    PLAIN = 0
    FALLBACK = 1
    SLOT_RAISES = 2
    CALLBACK_RAISES = 3
    SLOW = 4


class Planted(NamedTuple):
    """A bug put into one part, for the checker to find."""

    lane_type: type[Lane] = Lane
    handler_type: "type[SimulatedHandler] | None" = None
    callbacks_type: type[Callbacks] = Callbacks


NOTHING_PLANTED = Planted()


def tagged(raw: bytes, number: int, fate: Fate) -> bytes:
    """The frame with its number and fate behind it: blanks and tabs for the bits, line ends for the fate."""
    return raw + f"{number:b}".replace("0", " ").replace("1", "\t").encode() + b"\n" * fate


def tag_of(raw: bytes | str) -> tuple[int, Fate]:
    """The number and the fate behind a frame."""
    assert isinstance(raw, bytes)
    tag = raw[len(raw.rstrip()) :].decode()
    return int(tag.rstrip("\n").replace(" ", "0").replace("\t", "1"), 2), Fate(tag.count("\n"))


class SimulatedHandler(PublicWebSocketHandler):
    """A user's handler that fails on the frames whose fate it is, plain or with ``async`` callbacks."""

    def __init__(self, simulation: "Simulation") -> None:
        self.simulation = simulation
        callbacks: dict[str, Any] = dict.fromkeys(
            (method.removeprefix("_") for method in self.event_methods.values()),
            simulation.awaited_callback if simulation.is_async else simulation.plain_callback,
        )
        super().__init__(**callbacks)

    def _bind(self, venue: str, monotonic_ns: MonotonicNs) -> Callbacks:
        bound = super()._bind(venue, monotonic_ns)
        return self.simulation.planted.callbacks_type(venue, bound._targets)

    def _handle_message(self, raw_message: bytes | str) -> Any:
        self.simulation.enter(raw_message, Architecture.DIRECT)
        if self.simulation.fate is Fate.FALLBACK:
            raise DecodeError("planted")
        return super()._handle_message(raw_message)


class SimulatedParser(CodecMessageParser):
    """The same for the strategies; what direct handling cannot decode, this can."""

    def __init__(self, venue: Venue, simulation: "Simulation") -> None:
        super().__init__(venue)
        self._simulation = simulation

    async def parse_message(self, raw_message: bytes | str) -> ParsedMessage | None:
        self._simulation.enter(raw_message, Architecture.STRATEGY)
        if self._simulation.fate is Fate.SLOW:
            await asyncio.sleep(self._simulation.loop.chance.random())
        return await super().parse_message(raw_message)


class Simulation:
    """One run."""

    def __init__(self, loop: VirtualLoop, seed: int, variant: Variant, planted: Planted) -> None:
        self.loop = loop
        self.planted = planted
        self.fate = Fate.PLAIN
        self.is_async = loop.chance.random() < 0.5
        self.markets = GateioSpotMarkets(SYMBOLS, seed)
        self.high_water = loop.chance.choice((4, 16, 8192))
        self.is_paused = False
        self._first = variant.architecture
        self._wire: list[Sent] = []
        self._switches: list[Switch | Switches] = []
        self._answers: list[asyncio.Task[None]] = []
        self._old_books: dict[str, bytes] = {}
        self._connection = 1
        handler = (planted.handler_type or SimulatedHandler)(self)
        strategies = strategy_set_with(self)
        self.feed = OfflineFeed(
            "gateio_spot",
            SYMBOLS,
            variant.architecture,
            handler=handler,
            strategies=strategies,
            adapted=variant.adapted,
            clock=loop.clock,
            lane_type=planted.lane_type,
            lane_settings={"high_water": self.high_water, "pause": self._pause, "resume": self._resume},
        )
        self.history = History(self.markets, self.feed.venue)

    def enter(self, raw: bytes | str, architecture: Architecture) -> None:
        """A receiver took a frame."""
        number, self.fate = tag_of(raw)
        self.history.handled(number, architecture)
        if self.fate is Fate.SLOT_RAISES:
            raise RuntimeError("planted in the slot")

    def plain_callback(self, event: Any) -> None:
        """Any event, in a plain callback."""
        self.history.on_event(event)
        if self.fate is Fate.CALLBACK_RAISES:
            raise RuntimeError("planted in the callback")

    async def awaited_callback(self, event: Any) -> None:
        """Any event, in an ``async`` callback that may take its time."""
        self.history.began()
        try:
            if self.fate is Fate.SLOW:
                await asyncio.sleep(self.loop.chance.random())
            self.plain_callback(event)
        finally:
            self.history.ended()

    async def run(self) -> list[str]:
        """Live through all rounds, repair everything, and return the problems found."""
        self._open()
        await self.feed.drain()
        for _ in range(ROUNDS):
            await self._round()
            self._ask()
            self.history.check_moment(self.feed)
        await self._end()
        self.history.receipts = [switch.receipt for switch in self._switches if switch.receipt is not None]
        self.history.check_end(self.feed, self._first)
        return self.history.problems

    def _open(self) -> None:
        """Every stream has data before anything goes wrong."""
        for sent in self.markets.opening():
            self._deliver(sent)
        for market in self.markets.markets.values():
            for kind in MIX:
                sent = self.markets.make(market, kind)
                self.history.sent(sent)
                self._deliver(sent)

    async def _round(self) -> None:
        chance = self.loop.chance
        for _ in range(chance.randint(0, 4)):
            self._wire.append(self._made(self.markets.next()))
        event = chance.random()
        if event < 0.25:
            self._switches.append(self.feed.switch(self.feed.architecture.other))
        elif event < 0.30 and self._switches:
            self._switches[-1].withdraw()
        elif event < 0.35:
            self.feed.cut()
            self._connection += 1
            self._wire.clear()
            for symbol, market in self.markets.markets.items():
                if market.uses_obu:
                    self._deliver(self.markets.whole_book(symbol))
        elif event < 0.40:
            self.markets.skip_update(chance.choice(SYMBOLS))
        elif event < 0.45:
            self._wire.append(self._made(self.markets.replacement(SYMBOLS[1])))
        elif event < 0.60:
            self._disturb_book_frames(event)
        if chance.random() < 0.7:
            for sent in self._wire[: READ_BUFFER if not self.is_paused else 0]:
                self._deliver(sent)
                self._wire.remove(sent)
        if chance.random() < 0.4:
            await asyncio.sleep(chance.random() * 0.3)
        if self.feed.accounting.frames.in_flight > self.high_water + READ_BUFFER + len(SYMBOLS):
            self.history.problems.append(f"{self.feed.accounting.frames.in_flight} frames wait, the mark is {self.high_water}")

    def _disturb_book_frames(self, event: float) -> None:
        """Something between the exchange and us loses, repeats or swaps book pushes; ids allow the feed to notice.

        Not whole ones: a whole book with a lower id means that the exchange began its count anew, and is believed.
        """
        places = [index for index, sent in enumerate(self._wire) if (sent.stream or "")[:1] == ("orderbook",) and b'"full"' not in sent.raw]
        if not places:
            return
        first, last = places[0], places[-1]
        if event < 0.50:
            del self._wire[first]
        elif event < 0.55:
            self._wire.insert(first, self._wire[first])
        else:
            self._wire[first], self._wire[last] = self._wire[last], self._wire[first]

    def _made(self, sent: Sent) -> Sent:
        self.history.sent(sent)
        return sent

    def _deliver(self, sent: Sent, fate: Fate | None = None) -> None:
        chance = self.loop.chance
        if fate is None:
            fate = Fate.PLAIN if chance.random() < 0.8 else chance.choice(list(Fate))
        self.history.frames += 1
        self.history.remember_tops()
        self.feed.deliver(tagged(sent.raw, self.history.frames, fate))

    def _ask(self) -> None:
        """Put every request of the feed to the exchange; answers take their time and may be wrong."""
        self._answers += [asyncio.ensure_future(self._answer(request)) for request in self.feed.take_requests()]

    async def _answer(self, request: Request) -> None:
        chance = self.loop.chance
        symbol = request.symbol
        connection = self._connection
        await asyncio.sleep(chance.random())
        if not isinstance(request, FetchSnapshot):
            if connection == self._connection:
                self.history.remember_tops()
                self._wire.append(self.markets.whole_book(symbol))
                await asyncio.sleep(2)
            self.feed.request_failed(request, "no whole book within two seconds")
            return
        self.history.remember_tops()
        body = self.markets.snapshot(symbol)
        fate = chance.random()
        if fate < 0.15:
            self.feed.request_failed(request, "503")
        elif fate < 0.25:
            self.feed.snapshot(symbol, b"<html>", request=request)
        else:
            old = self._old_books.setdefault(symbol, body)
            await asyncio.sleep(chance.random())
            self.feed.snapshot(symbol, old if fate < 0.4 else body, request=request)

    async def _end(self) -> None:
        """Let the network deliver, the exchange push once more, and REST answer rightly until every book is live."""
        await asyncio.gather(*self._answers)
        self._wire += [self._made(self.markets.update(symbol)) for symbol in SYMBOLS]
        for sent in self._wire:
            self._deliver(sent, Fate.PLAIN)
        for _ in range(20):
            await self.feed.drain()
            for request in self.feed.take_requests():
                if isinstance(request, FetchSnapshot):
                    self.feed.snapshot(request.symbol, self.markets.snapshot(request.symbol), request=request)
                else:
                    self._deliver(self.markets.whole_book(request.symbol), Fate.PLAIN)
            if all(book.state is BookState.LIVE for book in self.feed.books.values()):
                break
        await self.feed.drain()

    def _pause(self) -> None:
        self.is_paused = True

    def _resume(self) -> None:
        self.is_paused = False


def strategy_set_with(simulation: Simulation) -> Any:
    """Gate.io's strategy set with the simulated parser."""
    venue = venue_named("gateio_spot")
    strategies = strategy_set(venue)
    strategies.message_parser = SimulatedParser(venue, simulation)
    return strategies


def simulate(seed: int, variant: Variant, planted: Planted = NOTHING_PLANTED) -> list[str]:
    """Run one life; returns the problems found, none for a right implementation."""

    async def main() -> list[str]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        return await Simulation(loop, seed, variant, planted).run()

    return run_virtual(seed, main())
