"""A stretch of what a simulated exchange sends on one channel, the same for whoever reads it, and how an offline feed reads it.

The exchange is asked with the requests of the venue's own codec. Every stretch has a place where the connection is cut and everything is
subscribed anew, and one of a book a hole in its ids, which is repaired as the venue has it.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import count
from typing import Any, NamedTuple

from infrastructure.canonical import EventDigest
from infrastructure.events import Architecture
from infrastructure.exchanges import VENUES
from infrastructure.feed import OfflineFeed
from infrastructure.replay import CALLBACK_NAMES
from infrastructure.simulator import EXCHANGES
from infrastructure.simulator.exchange import EVERY, Client, Message
from infrastructure.simulator.faults import Faults
from infrastructure.simulator.launch import level_floats
from infrastructure.simulator.market import OPENED_MS, Event, Topic
from infrastructure.venue import Levels, Repair
from tests.harness.variants import Variant, assert_accounts

SEED = 5
ROUNDS = 45
#: Of the rounds: after which a REST book comes, in which one change of a book in so many comes whole, which begins with a hole, and before
#: which the connection is cut.
SEEDED, WHOLE_EVERY, HOLE, CUT = 3, 7, 15, 30


class RestBook(NamedTuple):
    """REST answers with the book of a symbol."""

    symbol: str
    body: bytes


class Cut(NamedTuple):
    """The connection is lost."""


class Stretch(NamedTuple):
    """What a feed of ``symbols`` gets, in order; ``told`` counts what its pushes tell. ``books`` are those of the exchange at its end."""

    symbols: tuple[str, ...]
    instruments: bytes
    steps: tuple[bytes | RestBook | Cut, ...]
    kind: str
    told: int
    books: dict[str, tuple[int, Levels, Levels]]


class Outcome(NamedTuple):
    """What a feed made of a stretch: events and the state that they left behind; nothing in it says which architecture it was."""

    counts: dict[str, int]
    sha256: str
    books: dict[str, tuple[str, int | None, int | None, Levels, Levels]]
    frames: tuple[int, ...]
    events: str


class Maker:
    """One exchange, and one connection to it at a time; ``symbols`` are two of its own if none are given.

    Where the venue has such, one push of a book in ``whole_every`` is whole, none if 0. ``headers`` are those of the connection's
    handshake, the venue's own if not given.
    """

    def __init__(
        self,
        name: str,
        channel: str,
        symbols: Sequence[str] = (),
        *,
        whole_every: int = WHOLE_EVERY,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        exchange_type = EXCHANGES[name]
        self.venue = VENUES[name].fresh()
        self.channel = channel
        self.symbols = tuple(symbols or exchange_type.symbols[:2])
        self.exchange = exchange_type(self.symbols, SEED, Faults((), SEED))
        self.markets = self.exchange.trading.markets
        self.now_ms = OPENED_MS
        self.kind = self.exchange.kind_of(self.channel.partition(":")[0])
        self.told = 0
        self._dialect = self.exchange.dialect(self.venue.headers if headers is None else headers)
        self._topics: list[Topic] = []
        self._books = 0
        self._whole_every = whole_every
        self.instruments = self._get(self.venue.instruments_path)
        self.venue.symbols.load(self.venue.codec.decode_instruments(self.instruments))

    @property
    def repair(self) -> Repair | None:
        """How its books are repaired, None if the channel has none."""
        book = self.venue.book_channels.get(self.channel.partition(":")[0])
        return None if book is None else book.repair

    def subscribe(self, *symbols: str) -> Iterator[bytes]:
        """A new connection asks for ``symbols``: answers, and the whole books behind them."""
        client = Client(dialect=self._dialect)
        begun: list[Topic] = []
        for request in self.venue.codec.subscription_requests("subscribe", self.channel, symbols, self.now_ms // 1000, count(1).__next__):
            reply = self.exchange.reply(json.dumps(request.message), client, self.now_ms)
            client.topics.update(reply.begun)
            begun += reply.begun
            answers = [reply.answer, *reply.more, *reply.books]
            yield from (_raw(answer) for answer in answers if answer is not None)
        assert begun, f"the simulated {self.venue.name} has no {self.channel}"
        self._topics = list(dict.fromkeys([*self._topics, *begun]))

    def rest_book(self, symbol: str) -> RestBook:
        """What REST answers now."""
        native = self.exchange.native(symbol)
        query = self.venue.snapshot_query[self.channel.partition(":")[2]]
        return RestBook(symbol, self._get(self.venue.snapshot_path, **{self.venue.snapshot_symbol_key: native, **query}))

    def happen(self, kind: str | None = None, symbol: str = "") -> Iterator[bytes]:
        """Something happens, of ``kind`` on the market of ``symbol`` if they are given; pushes of it are what the channel has."""
        self.now_ms += 40
        trading = self.exchange.trading
        event = trading.make(self.markets[symbol], kind, self.now_ms) if kind else trading.next(self.now_ms)
        for topic in self._topics:
            if event.kind == self.kind and event.market.symbol in self.exchange.heard(topic):
                self.told += len(self.markets) if topic.symbol == EVERY else 1
                yield _raw(self._push(topic, event))

    def books(self) -> dict[str, tuple[int, Levels, Levels]]:
        """The exchange's own books as far as the channel shows them, none where it is not one of books."""
        name, _, option = self.channel.partition(":")
        book = self.venue.book_channels.get(name)
        if book is None:
            return {}
        depth = book.depths.get(option)
        sides = {symbol: [level_floats(side)[:depth] for side in market.levels()] for symbol, market in self.markets.items()}
        return {symbol: (self.markets[symbol].update_id, bids, asks) for symbol, (bids, asks) in sides.items()}

    def _push(self, topic: Topic, event: Event) -> Message:
        self._books += event.kind == "orderbook"
        whole = None
        if self._whole_every and self._books % self._whole_every == self._whole_every - 1:
            whole = self.exchange.whole_push(topic, event, self.now_ms, self._dialect) if event.kind == "orderbook" else None
        return self.exchange.push(topic, event, self.now_ms, self._dialect) if whole is None else whole

    def _get(self, path: str, **query: str) -> bytes:
        answer = self.exchange.get(path, query, self.now_ms, self._dialect)
        assert answer.status == 200, answer
        return answer.body.encode()


def _raw(message: Message) -> bytes:
    return message.encode() if isinstance(message, str) else message


@cache
def stretch(venue: str, channel: str) -> Stretch:
    """The stretch of one channel of a venue; ``channel`` may name an option."""
    maker = Maker(venue, channel)
    return Stretch(maker.symbols, maker.instruments, tuple(_steps(maker)), maker.kind, maker.told, maker.books())


def _steps(maker: Maker) -> Iterator[bytes | RestBook | Cut]:
    first, *_ = maker.symbols
    yield from maker.subscribe(*maker.symbols)
    for number in range(ROUNDS):
        if number == HOLE and maker.repair is not None:
            maker.markets[first].move()
        if number == CUT:
            yield Cut()
            yield from maker.subscribe(*maker.symbols)
        for _ in range(4):
            yield from maker.happen()
        for symbol in maker.symbols:
            yield from maker.happen("trade", symbol)
            yield from maker.happen(maker.kind, symbol)
        if maker.repair is Repair.FETCH_SNAPSHOT and number in (SEEDED, HOLE, CUT + SEEDED):
            yield from map(maker.rest_book, maker.symbols if number != HOLE else (first,))
        elif maker.repair is Repair.RESUBSCRIBE and number == HOLE:
            yield from maker.subscribe(first)


async def read(made: Stretch, venue: str, variant: Variant, switch_every: int = 0) -> Outcome:
    """Run a stretch through a feed of ``variant``; every ``switch_every`` frames the architecture changes (0: never)."""
    digest = EventDigest()
    callbacks: dict[str, Any] = dict.fromkeys(CALLBACK_NAMES, digest.add)
    feed = variant.feed(*made.symbols, venue=venue, **callbacks)
    feed.load_instruments(made.instruments)
    frames = 0
    chosen: Architecture = variant.architecture
    for step in made.steps:
        if isinstance(step, RestBook):
            await feed.drain()  # The request that it answers has been made.
            feed.snapshot(*step)
        elif isinstance(step, Cut):
            feed.cut()
        else:
            if switch_every and frames and frames % switch_every == 0:
                chosen = chosen.other
                feed.switch(chosen)
            feed.deliver(step)
            frames += 1
    await feed.drain()
    assert_accounts(feed)
    assert feed.switches == ((frames - 1) // switch_every if switch_every else 0)
    return _outcome(feed, digest)


def _outcome(feed: OfflineFeed, digest: EventDigest) -> Outcome:
    frames = feed.accounting.frames
    return Outcome(
        digest.counts,
        digest.sha256,
        {
            symbol: (book.state.value, book.last_id, book.exchange_ns, book.raw.bids, book.raw.asks)
            for symbol, book in sorted(feed.books.items())
        },
        (frames.received, frames.delivered, frames.control, frames.rejected, frames.shed, frames.in_flight),
        repr(feed.accounting.events),
    )
