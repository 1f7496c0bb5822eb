"""A pair's book and its hidden numbers, from a seed; what every simulated exchange pushes in a form of its own."""

import random
from collections.abc import Iterator, Mapping
from typing import NamedTuple, Protocol

from infrastructure.simulator.ledger import Stream

DIGITS = 8
DEPTH = 60
OPENED_MS = 1_767_225_600_000

#: By kind of event: how often it comes, in every hundred frames.
MIX = {"orderbook": 62, "book_ticker": 18, "trade": 14, "ticker": 4, "candle": 2}


class Sent(NamedTuple):
    """One frame, the stream it belongs to, and its number there; control frames belong to no stream."""

    raw: bytes
    stream: Stream | None
    number: int


def hidden_number(amount: float | None) -> int:
    """The number in the last digits of an amount."""
    digits: int = 10**DIGITS
    return round((amount or 0.0) * digits) % digits


class Market:
    """One pair: a book in integer ticks and lots around a price that wanders."""

    def __init__(self, symbol: str, chance: random.Random, uses_obu: bool) -> None:
        self.symbol = symbol
        self.native = symbol.replace("/", "_")
        self.uses_obu = uses_obu
        self.update_id = chance.randrange(10**9, 10**10)
        self.numbers = dict.fromkeys(MIX, 0)
        self.last_ticker_id = 0
        self._chance = chance
        self._mid = chance.randrange(20_000, 900_000)
        self._bids = {self._mid - step: self._lots() for step in range(1, DEPTH)}
        self._asks = {self._mid + step: self._lots() for step in range(1, DEPTH)}

    def levels(self) -> tuple[list[list[str]], list[list[str]]]:
        """Bids and asks, best first, as text."""
        bids = [_level(tick, self._bids[tick]) for tick in sorted(self._bids, reverse=True)]
        asks = [_level(tick, self._asks[tick]) for tick in sorted(self._asks)]
        return bids, asks

    def best(self) -> tuple[list[str], list[str]]:
        """The best bid and ask, as text."""
        bid, ask = max(self._bids), min(self._asks)
        return _level(bid, self._bids[bid]), _level(ask, self._asks[ask])

    def move(self) -> tuple[int, list[list[str]], list[list[str]]]:
        """Change the book; returns the first id of the change, and the changed levels of bids and asks."""
        self._mid += self._chance.choice((-1, 0, 0, 0, 1))
        first_id = self.update_id + 1
        self.update_id += self._chance.randint(1, 4)
        return first_id, self._move_side(self._bids, -1), self._move_side(self._asks, 1)

    def _move_side(self, levels: dict[int, int], outward: int) -> list[list[str]]:
        """Change one side; ``outward`` is the direction away from the price."""
        chance = self._chance
        reached = [tick for tick in levels if not 0 < (tick - self._mid) * outward <= 2 * DEPTH]
        changes = dict.fromkeys(reached, 0)
        for _ in range(chance.randint(0, 2)):
            tick = self._mid + outward * (1 + min(int(chance.expovariate(0.2)), DEPTH))
            # A removal may name a level that nobody has, as real exchanges do.
            changes[tick] = 0 if chance.random() < 0.35 else self._lots()
        if len(levels) < DEPTH // 2:
            changes[self._mid + outward * chance.randint(1, 5)] = self._lots()
        for tick, lots in changes.items():
            if lots:
                levels[tick] = lots
            else:
                levels.pop(tick, None)
        return [_level(tick, lots) for tick, lots in changes.items()]

    def next_number(self, kind: str) -> int:
        """The next hidden number of a kind of message."""
        self.numbers[kind] += 1
        return self.numbers[kind]

    def numbered_amount(self, number: int) -> str:
        """An amount that carries ``number``."""
        return f"{self._chance.randrange(1, 50)}.{number:0{DIGITS}d}"

    def _lots(self) -> int:
        return self._chance.randrange(1, 2_000_000)


def _level(tick: int, lots: int) -> list[str]:
    return [f"{tick / 100:.2f}", f"{lots / 10_000:.4f}" if lots else "0"]


class Markets(Protocol):
    """Several pairs of one simulated exchange, on one connection."""

    @property
    def markets(self) -> Mapping[str, Market]:
        """By unified symbol."""

    def opening(self) -> Iterator[Sent]:
        """What a client gets after subscribing."""

    def next(self) -> Sent:
        """The next frame of a randomly chosen pair."""

    def update(self, symbol: str) -> Sent:
        """The next push of this pair's book."""

    def skip_update(self, symbol: str) -> None:
        """The exchange loses a change of this pair's book."""

    def whole_book(self, symbol: str) -> Sent:
        """The whole book as a push, which answers a subscription."""

    def snapshot(self, symbol: str) -> bytes:
        """The REST answer with the whole book."""
