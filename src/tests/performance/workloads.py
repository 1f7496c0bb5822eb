"""The workloads: for each channel of each venue the frames that everybody gets, made from a seed or recorded.

The simulated exchanges make them, asked with the requests of the venue's own codec; nothing of them depends on a clock.
"""

import random
from collections.abc import Iterator
from itertools import count, cycle, islice, product
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from infrastructure.capture import read_capture
from infrastructure.events import MessageType
from infrastructure.exchanges import VENUES
from infrastructure.simulator import EXCHANGES
from infrastructure.simulator.accounts import DELEVERAGING, LIQUIDATION
from infrastructure.venue import Repair
from tests.harness import mexc_frames
from tests.harness.account_stretch import Maker as AccountMaker
from tests.harness.captures import CAPTURES
from tests.harness.stretch import Maker
from tests.performance.workload import PRIVATE, PUBLIC, STEADY, Frame, Scope, Snapshot, Workload

#: So many frames a workload has unless it is asked for another number.
FRAMES = 1500
#: A notice of risk comes seldom: so many different ones, and then again.
NOTICES = 40

MANY_SYMBOLS = "500 symbols"
WIDE_BOOK = "5,000 levels"
RECORDED = "recorded"

#: Of each venue: its trades, and its books that are seeded by REST; what grows with the number of symbols shows there.
GROWN = [
    (name, channel)
    for name, venue in VENUES.items()
    for channel, kind in venue.channels.items()
    if kind is MessageType.TRADE or (kind is MessageType.ORDERBOOK and venue.book_channels[channel].repair is Repair.FETCH_SNAPSHOT)
]


def channels(scope: Scope = PUBLIC) -> list[tuple[str, str]]:
    """Every channel of every venue."""
    if scope == PUBLIC:
        return [(name, channel) for name, venue in VENUES.items() for channel in venue.channels]
    return [(name, channel) for name, venue in VENUES.items() if venue.private is not None for channel in venue.private.channels]


def public(venue: str, channel: str, frames: int = FRAMES) -> Workload:
    """A public channel, two symbols in turn."""
    return _public(Maker(venue, channel, whole_every=0), STEADY, frames)


def many_symbols(venue: str, channel: str, frames: int = FRAMES, symbols: int = 500) -> Workload:
    """A public channel, so many symbols in turn."""
    quoted = EXCHANGES[venue].symbols[0].partition("/")[2]
    names = [f"{''.join(letters)}/{quoted}" for letters in product("ABCDEFGH", "KLMNOPQR", "STUVWXYZ")]
    return _public(Maker(venue, channel, names[:symbols], whole_every=0), MANY_SYMBOLS, frames)


def _public(maker: Maker, name: str, frames: int) -> Workload:
    for symbol in maker.symbols:
        list(maker.happen("trade", symbol))  # Nothing is subscribed to yet; tickers and candles need a trade.
    opening: list[Frame | Snapshot] = [Frame(raw) for raw in maker.subscribe(*maker.symbols)]
    if maker.repair is Repair.FETCH_SNAPSHOT:
        opening += [Snapshot(*maker.rest_book(symbol)) for symbol in maker.symbols]
    pushes = (frame for symbol in cycle(maker.symbols) for frame in maker.happen(maker.kind, symbol))
    taken = tuple(islice(pushes, frames))
    return Workload(maker.venue.name, PUBLIC, maker.channel, name, maker.symbols, maker.instruments, tuple(opening), taken)


def wide_book(frames: int = FRAMES, levels: int = 5000, changes: int = 20) -> Workload:
    """The book of one symbol with so many levels a side; each push changes that many of them, anywhere, and takes one away in two."""
    venue, channel = "mexc_spot", "spot@public.aggre.depth.v3.api.pb"
    maker, chance = Maker(venue, channel), random.Random(6)
    symbol, *_ = maker.symbols
    native, offset = maker.exchange.native(symbol), 100_000

    def level(is_bid: bool, index: int) -> tuple[str, str]:
        return f"{(offset - index if is_bid else offset + 1 + index) / 10:.1f}", f"{chance.uniform(0.001, 5):.4f}"

    def pushes() -> Iterator[bytes]:
        gone: tuple[bool, int] | None = None
        for number in count():
            sides: tuple[list[tuple[str, str]], list[tuple[str, str]]] = ([], [])
            chosen = [(side, index) for side in (True, False) for index in chance.sample(range(1, levels), changes // 2)]
            if gone is not None:
                chosen[0], gone = gone, None
            elif number % 2:
                gone = chosen[-1]
            for is_bid, index in dict.fromkeys(chosen):
                price, amount = level(is_bid, index)
                sides[not is_bid].append((price, "0" if (is_bid, index) == gone else amount))
            first = 2 + number * changes
            yield mexc_frames.depth(first, first + changes - 1, *sides, native=native)

    book = mexc_frames.rest_book(1, *([level(is_bid, index) for index in range(levels)] for is_bid in (True, False)))
    opening: list[Frame | Snapshot] = [*map(Frame, maker.subscribe(symbol)), Snapshot(symbol, book)]
    return Workload(venue, PUBLIC, channel, WIDE_BOOK, (symbol,), maker.instruments, tuple(opening), tuple(islice(pushes(), frames)))


def private(venue: str, channel: str, frames: int = FRAMES) -> Workload:
    """A private channel of an account that trades."""
    maker = AccountMaker(venue, channel)
    opening = tuple(Frame(raw) for raw in maker.subscribe())
    is_notice = maker.venue.channels[channel] is MessageType.RISK
    pushes = _account_pushes(maker)
    taken = tuple(islice(cycle(islice(pushes, NOTICES)) if is_notice else pushes, frames))
    return Workload(venue, PRIVATE, channel, STEADY, maker.symbols, maker.instruments, opening, taken)


def _account_pushes(maker: AccountMaker) -> Iterator[bytes]:
    for number in count():
        yield from maker.happen(number)
        yield from maker.seize(LIQUIDATION if number % 2 else DELEVERAGING)


def recorded(path: Path = CAPTURES / "gateio_spot.jsonl") -> Workload | None:
    """Recorded traffic of all channels at once, None where there is none; REST books come first, so that some of the frames are older."""
    if not path.is_file():
        return None
    lines = read_capture(path)
    frames = tuple(line.frame for line in lines if line.dir == "in")
    asked = ((parse_qs(urlsplit(line.url).query), line.frame) for line in lines if line.dir == "http")
    books = tuple(Snapshot(query["currency_pair"][0].replace("_", "/"), body) for query, body in asked if "currency_pair" in query)
    return Workload("gateio_spot", PUBLIC, "all channels", RECORDED, (), b"", books, frames)


def every_workload(frames: int = FRAMES) -> list[Workload]:
    """Each channel, public and private; those that show how a path grows with symbols and levels; recorded traffic where there is some."""
    of_channels = [public(*named, frames) for named in channels(PUBLIC)] + [private(*named, frames) for named in channels(PRIVATE)]
    grown = [*(many_symbols(*named, frames) for named in GROWN), wide_book(frames)]
    seen = recorded()
    return [*of_channels, *grown, *([] if seen is None else [seen])]
