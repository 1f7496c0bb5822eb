"""What all contestants get: the same frames, and what a book and its trades must come to in the end by the exchange's own word."""

from collections.abc import Iterator
from itertools import cycle, islice
from typing import NamedTuple

from infrastructure.venue import Levels
from tests.harness.stretch import Maker
from tests.performance.peers.opening import CHANNELS
from tests.performance.workload import PUBLIC, STEADY, Frame, Snapshot, Workload

#: Pushes of each book before its snapshot. ccxt.pro asks for it after 11 at Gate.io spot and after 26 at MEXC, and will have one that is
#: not older than the first of them. At MEXC it loses a push in whose midst the snapshot falls: this one is taken between two.
HELD = 30

Sides = tuple[Levels, Levels]


class Given(NamedTuple):
    """A workload, and by symbol the book that it leads to, none of trades; every frame after the opening is one update or one trade."""

    workload: Workload
    books: dict[str, Sides]


def given(venue: str, channel: str, frames: int) -> Given:
    """Two symbols in turn, as a connection is served whose handshake says nothing special: contracts are whole numbers."""
    maker = Maker(venue, channel, whole_every=0, headers={})
    is_book = maker.repair is not None
    opening: list[Frame | Snapshot] = [Frame(raw) for raw in maker.subscribe(*maker.symbols)]
    if is_book:
        opening += map(Frame, islice(_pushes(maker), HELD * len(maker.symbols)))
        opening += [Snapshot(*maker.rest_book(symbol)) for symbol in maker.symbols]
    taken = tuple(islice(_pushes(maker), frames))
    workload = Workload(venue, PUBLIC, channel, STEADY, maker.symbols, maker.instruments, tuple(opening), taken)
    books = {symbol: (as_sent(venue, bids), as_sent(venue, asks)) for symbol, (_, bids, asks) in maker.books().items()}
    return Given(workload, books)


def as_sent(venue: str, levels: Levels) -> Levels:
    """A side of the exchange's book as it is sent to who asks for no fractions of contracts."""
    return [(price, float(int(amount))) for price, amount in levels] if venue == "gateio_futures" else levels


def everything(frames: int) -> list[Given]:
    """Books and trades of every venue."""
    return [given(venue, channel, frames) for venue, channels in CHANNELS.items() for channel in channels]


def _pushes(maker: Maker) -> Iterator[bytes]:
    return (raw for symbol in cycle(maker.symbols) for raw in maker.happen(maker.kind, symbol))
