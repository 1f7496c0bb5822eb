"""What the contestants' processes are put through, and whether what comes of it is right: offline in blocks, and over sockets.

Offline each takes the same block of frames in turn, in one order and then in the other, as in ``duet.contest``, and only one process
works at a time. Over a socket one after the other has a connection to itself at the same rate.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import count
from typing import NamedTuple

from infrastructure.simulator.launch import SideChannel, level_floats
from tests.interop.sight import Task
from tests.performance.duet import Columns
from tests.performance.peers.crew import CCXT, Entry, Process, Told
from tests.performance.peers.frames import Given, Sides, as_sent
from tests.performance.peers.opening import CHANNELS, is_of_trades

#: So many frames a block has.
BLOCK = 100
#: Rounds of a run that warm up.
WARM_UP = 2
#: Whoever has told nothing more for so long, has handled what was sent.
SETTLE_S = 0.2

_numbers = count(1)


class Ground(NamedTuple):
    """An exchange that is silent until it is asked to go on, and its address with TLS in front, which every client gets."""

    exchange: SideChannel
    websocket_url: str
    symbols: tuple[str, ...]

    def task(self, channels: Sequence[str], log: str = "") -> Task:
        """What a client is asked to watch here."""
        url = self.websocket_url + (f"?log={log}" if log else "")
        return Task(self.exchange.venue, url, self.exchange.rest_url, list(self.symbols), list(channels))


class Run(NamedTuple):
    """Of those that took part: the nanoseconds of each for a frame, for each pair of rounds; and what was wrong with whom."""

    entries: list[Entry]
    pairs: list[Columns]
    wrong: dict[Entry, str]


class Spent(NamedTuple):
    """The nanoseconds of processor time for each message that was sent, and what was wrong."""

    message_ns: float
    wrong: str


async def offline(processes: Sequence[Process], file: str, index: int, given: Given, ground: Ground) -> Run:
    """Let all take the frames of a workload; ``file`` has it at ``index``."""
    workload = given.workload
    takers = [process for process in processes if workload.venue in process.entry.venues]
    for process in takers:
        await process.ask("open", file, index, ground.task([workload.channel]))
    rounds: list[list[int]] = []
    for number, first in enumerate(range(0, len(workload.frames) - BLOCK + 1, BLOCK)):
        taken = [0] * len(takers)
        for place in range(len(takers)) if number % 2 else reversed(range(len(takers))):
            taken[place] = await takers[place].ask("take", first, first + BLOCK)
        rounds.append(taken)
    wrong: dict[Entry, str] = {}
    for process in takers:
        if mistake := mistake_offline(given, len(rounds) * BLOCK, await process.told(), await process.books()):
            wrong[process.entry] = mistake
        await process.ask("close")
    return Run([process.entry for process in takers], pairs_of(rounds), wrong)


def pairs_of(rounds: Sequence[Sequence[int]]) -> list[Columns]:
    """Two rounds, one in each order, as the nanoseconds of each for a frame; the first of them only warmed up."""
    kept = rounds[WARM_UP:]
    both_orders = zip(kept[::2], kept[1::2], strict=False)
    return [tuple((one + other) / (2 * BLOCK) for one, other in zip(*pair, strict=True)) for pair in both_orders]


def mistake_offline(given: Given, frames: int, told: Told, books: Mapping[str, Sides]) -> str:
    """What is wrong with what a contestant came to after so many frames; nothing if all is well."""
    expected = Told(0, frames) if is_of_trades(given.workload) else Told(frames, 0)
    if told != expected:
        return f"told of {told.updates} updates and {told.trades} trades, not of {expected.updates} and {expected.trades}"
    return mistake_of_books(books, given.books)


def mistake_of_books(books: Mapping[str, Sides], expected: Mapping[str, Sides]) -> str:
    """The first level that two sets of books do not have in common; nothing if they are equal."""
    if set(books) != set(expected):
        return f"has books of {', '.join(sorted(books)) or 'nothing'}"
    for symbol, sides in expected.items():
        for name, own, right in zip(("bids", "asks"), books[symbol], sides, strict=True):
            if own != right:
                place = next(
                    (place for place, pair in enumerate(zip(own, right, strict=False)) if pair[0] != pair[1]), min(len(own), len(right))
                )
                return (
                    f"{symbol}: {name} differ from level {place} on: {own[place : place + 1]}, the exchange has {right[place : place + 1]}"
                )
    return ""


async def whole_way(process: Process, ground: Ground, seconds: float) -> Spent:
    """Let one take what an exchange pushes for ``seconds``, once its books are live."""
    exchange, log = ground.exchange, f"run-{next(_numbers)}"
    await exchange.resume()
    await process.ask("connect", ground.task(CHANNELS[exchange.venue], log))
    before = await _silence(exchange, process)
    await exchange.log(log)
    began_ns = await process.ask("spent")
    await exchange.resume()
    await asyncio.sleep(seconds)
    after = await _silence(exchange, process)
    ended_ns = await process.ask("spent")
    sent = Counter(kind for (kind, _), _ in await exchange.log(log))
    books = {symbol: (level_floats(book["bids"]), level_floats(book["asks"])) for symbol, book in (await exchange.books()).items()}
    if process.entry.cuts:
        books = {symbol: (as_sent(exchange.venue, bids), as_sent(exchange.venue, asks)) for symbol, (bids, asks) in books.items()}
    told = Counter(orderbook=after.updates - before.updates, trade=after.trades - before.trades)
    wrong = mistake_of_counts(process.entry, told, sent) or mistake_of_books(await process.books(), books)
    await process.ask("close")
    return Spent((ended_ns - began_ns) / max(1, sent.total()), wrong)


def mistake_of_counts(entry: Entry, told: Counter[str], sent: Counter[str]) -> str:
    """What is wrong with how much a contestant told of what was sent; ccxt.pro tells of the updates of one read at once."""
    is_right = 0 < told["orderbook"] <= sent["orderbook"] if entry is CCXT else told["orderbook"] == sent["orderbook"]
    if not (is_right and 0 < told["trade"] == sent["trade"]):
        return f"told of {told['orderbook']} updates and {told['trade']} trades, of {sent['orderbook']} and {sent['trade']}"
    return ""


async def _silence(exchange: SideChannel, process: Process) -> Told:
    """Nothing is pushed from here on; gives what was told, once there is nothing more to tell."""
    await exchange.pause()
    told, before = await process.told(), None
    while told != before:
        await asyncio.sleep(SETTLE_S)
        told, before = await process.told(), told
    return told
