"""Pairs that trade, from a seed: books, trades, candles and hidden numbers, which every simulated exchange pushes in a form of its own."""

import random
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import log
from typing import ClassVar, NamedTuple

from infrastructure.simulator.ledger import Stream

DIGITS = 8
#: A trade's amount is counted in these, a level's in lots: 8 and 4 digits.
UNITS: int = 10**DIGITS
LOTS = 10**4
TICKS = 100
#: The most levels that a side has.
DEPTH = 50
OPENED_MS = 1_767_225_600_000
#: A market's day, which its volume, high and low are of, ends when so much was traded: a double still holds that with eight digits behind.
DAY = 10**7 * UNITS

#: How far ids leap when they do.
LEAP = 1000
#: How much lower ids are that begin anew.
FALL = 10**7

#: Trades that a market remembers.
PRINTS = 1000

#: By kind of event: how often it comes, in every hundred. An exchange may have kinds of its own beside these.
MIX = {"orderbook": 62, "book_ticker": 18, "trade": 14, "ticker": 4, "candle": 2}

#: How far from the price a change is, in ticks: exponentially distributed.
_DISTANCES = tuple(1 + min(int(-5 * log(1 - (index + 0.5) / 256)), DEPTH) for index in range(256))

#: How long candles are, in seconds.
BAR_SECONDS = (10, 60, 180, 300, 900, 1800, 3600, 7200, 14_400, 21_600, 28_800, 43_200, 86_400, 604_800, 2_592_000)


#: By tick, lots.
Levels = dict[int, int]
#: Ticks with lots, in an order.
Ranked = list[tuple[int, int]]


class Sent(NamedTuple):
    """One frame, the stream it belongs to, and its number there; control frames belong to no stream."""

    raw: bytes
    stream: Stream | None
    number: int


class Topic(NamedTuple):
    """What one subscription delivers; ``option`` is an interval or a level, empty where its channel has none."""

    channel: str
    symbol: str
    option: str = ""


class Change(NamedTuple):
    """One change of a book: its ids, and by tick the lots of the levels that it touched, now and before; 0: no such level."""

    first_id: int
    last_id: int
    bids: Levels
    asks: Levels
    bids_before: Levels
    asks_before: Levels


class Print(NamedTuple):
    """One trade, at the best price and for less than stood there; ``number`` is its pair's count and the last digits of ``units``."""

    trade_id: int
    number: int
    side: str
    tick: int
    units: int
    time_ms: int


class Bar:
    """One candle: prices in ticks, volume in units, turnover in ticks times units."""

    __slots__ = ("close", "end_s", "high", "low", "open", "start_s", "turnover", "volume")

    def __init__(self, tick: int, start_s: int = 0, seconds: int = 0) -> None:
        self.start_s = start_s
        self.end_s = start_s + seconds
        self.open = self.high = self.low = self.close = tick
        self.volume = self.turnover = 0

    def add(self, tick: int, units: int) -> None:
        """Take a trade in."""
        if tick > self.high:
            self.high = tick
        elif tick < self.low:
            self.low = tick
        self.close = tick
        self.volume += units
        self.turnover += units * tick


def hidden_number(amount: float | None) -> int:
    """The number in the last digits of an amount."""
    return round((amount or 0.0) * UNITS) % UNITS


class Market:
    """One pair: a book in integer ticks and lots around a price that wanders, and what was traded."""

    def __init__(self, symbol: str, chance: random.Random, uses_obu: bool, native: str = "", place: int = 0) -> None:
        self.symbol = symbol
        #: Among the markets of its exchange, from 0.
        self.place = place
        #: What its exchange calls it.
        self.native = native or symbol.replace("/", "_")
        self.uses_obu = uses_obu
        self.update_id = chance.randrange(10**9, 10**10)
        self.numbers: Counter[str] = Counter()
        self.last_ticker_id = 0
        self._random = chance.random
        self._mid = chance.randrange(20_000, 900_000)
        self.bids: Levels = {self._mid - step: self._lots() for step in range(1, DEPTH + 1)}
        self.asks: Levels = {self._mid + step: self._lots() for step in range(1, DEPTH + 1)}
        #: Since the day began.
        self.day = Bar(self._mid)
        #: The last trades, the newest at the end.
        self.prints: deque[Print] = deque(maxlen=PRINTS)
        self._bars: dict[int, Bar] = {}
        self._finished: dict[int, Bar] = {}
        #: By length: the number of the candle that was shown last, and that candle.
        self._shown: dict[int, tuple[int | None, tuple[Bar, bool]]] = {}
        self._next_roll_s = 0

    def ranked(self) -> tuple[Ranked, Ranked]:
        """Bids and asks, best first."""
        return sorted(self.bids.items(), reverse=True), sorted(self.asks.items())

    def levels(self) -> tuple[list[list[str]], list[list[str]]]:
        """The same as text."""
        bids, asks = self.ranked()
        return texts(bids), texts(asks)

    def best(self) -> tuple[list[str], list[str]]:
        """The best bid and ask, as text."""
        bid, ask = max(self.bids), min(self.asks)
        return _level(bid, self.bids[bid]), _level(ask, self.asks[ask])

    def move(self) -> Change:
        """Change the book."""
        step = (-1, 0, 0, 0, 1)[int(self._random() * 5)]
        self._mid += step
        first_id = self.update_id + 1
        self.update_id += 1 + int(self._random() * 4)
        bids, bids_before = self._move_side(self.bids, -1, step)
        asks, asks_before = self._move_side(self.asks, 1, step)
        return Change(first_id, self.update_id, bids, asks, bids_before, asks_before)

    def restart(self) -> None:
        """Let the ids go on from far lower ones; not below 0."""
        if self.update_id > FALL:
            self.update_id -= FALL

    def _move_side(self, levels: Levels, outward: int, step: int) -> tuple[Levels, Levels]:
        """Change one side; ``outward`` is the direction away from the price, which has just moved by ``step``."""
        random = self._random
        changes: Levels = {}
        if step == outward and self._mid in levels:
            changes[self._mid] = 0
        for _ in range(int(random() * 3)):
            # A removal may name a level that nobody has, as real exchanges do.
            changes[self._near(outward)] = 0 if random() < 0.35 else self._lots()
        if len(levels) < DEPTH // 2:
            changes[self._near(outward)] = self._lots()
        before = {tick: levels.get(tick, 0) for tick in changes}
        for tick, lots in changes.items():
            if lots:
                levels[tick] = lots
            else:
                levels.pop(tick, None)
        while len(levels) > DEPTH:
            outermost = max(levels) if outward > 0 else min(levels)
            before.setdefault(outermost, levels.pop(outermost))
            changes[outermost] = 0
        return changes, before

    def _near(self, outward: int) -> int:
        """A tick on one side, more often near the price than far from it."""
        return self._mid + outward * _DISTANCES[int(self._random() * len(_DISTANCES))]

    def trade(self, trade_id: int, now_ms: int) -> Print:
        """Trade with the best level of either side."""
        side = "buy" if self._random() < 0.5 else "sell"
        levels = self.asks if side == "buy" else self.bids
        tick = min(levels) if side == "buy" else max(levels)
        number = self.next_number("trade")
        # A level has at least two whole ones: one and a fraction are less than that.
        units = (1 + int(self._random() * min(levels[tick] // LOTS - 1, 4))) * UNITS + number % UNITS
        trade = Print(trade_id, number, side, tick, units, now_ms)
        self.prints.append(trade)
        if self.day.volume + units > DAY:
            self.day = Bar(self.day.close)
        self._roll(now_ms // 1000)
        self.day.add(tick, units)
        for bar in self._bars.values():
            bar.add(tick, units)
        return trade

    def bar(self, seconds: int, now_s: int, number: int | None = None) -> tuple[Bar, bool]:
        """The candle of now, or once the one before it, and whether it is finished; of one ``number`` always the same."""
        last_number, shown = self._shown.get(seconds, (None, None))
        if shown is None or number is None or last_number != number:
            shown = self._next_bar(seconds, now_s)
            self._shown[seconds] = number, shown
        return shown

    def _next_bar(self, seconds: int, now_s: int) -> tuple[Bar, bool]:
        self._roll(now_s)
        finished = self._finished.pop(seconds, None)
        return (self._bars[seconds], False) if finished is None else (finished, True)

    def _roll(self, now_s: int) -> None:
        """Begin the candles that are due."""
        if now_s < self._next_roll_s:
            return
        for seconds in BAR_SECONDS:
            bar = self._bars.get(seconds)
            if bar is None or now_s >= bar.end_s:
                if bar is not None:
                    self._finished[seconds] = bar
                self._bars[seconds] = Bar(self.day.close, now_s - now_s % seconds, seconds)
        self._next_roll_s = min(bar.end_s for bar in self._bars.values())

    def next_number(self, kind: str) -> int:
        """The next hidden number of a kind of message."""
        self.numbers[kind] += 1
        return self.numbers[kind]

    def _lots(self) -> int:
        return 2 * LOTS + int(self._random() * 198 * LOTS)


def price_text(tick: int) -> str:
    """A price."""
    return f"{tick / TICKS:.2f}"


def lots_text(lots: int) -> str:
    """The amount of a level."""
    return f"{lots / LOTS:.4f}" if lots else "0"


def units_text(units: int) -> str:
    """The amount of a trade."""
    return f"{units // UNITS}.{units % UNITS:0{DIGITS}d}"


def numbered_text(units: int, number: int) -> str:
    """A volume to the whole one; the digits behind are ``number``."""
    return units_text(units - units % UNITS + number % UNITS)


def turnover_text(turnover: int) -> str:
    """The volume in the quote currency."""
    whole, fraction = divmod(turnover, TICKS * UNITS)
    return f"{whole}.{fraction:0{DIGITS + 2}d}"


def texts(side: Ranked) -> list[list[str]]:
    """Levels as text."""
    return [_level(tick, lots) for tick, lots in side]


def _level(tick: int, lots: int) -> list[str]:
    return [price_text(tick), lots_text(lots)]


class Flaw(NamedTuple):
    """What is wrong with the push of a change: no bids, or at ``tick`` of one side ``said`` in place of what is true."""

    hides_bids: bool = False
    is_of_bids: bool = False
    tick: int | None = None
    said: Levels = {}


class Event(NamedTuple):
    """Something that happened on a market; ``number`` is the count of its stream, of a book or its top the update id."""

    market: Market
    kind: str
    number: int
    detail: Change | Print | None = None
    flaw: Flaw | None = None

    @property
    def change(self) -> Change:
        """What happened to a book."""
        assert isinstance(self.detail, Change)
        return self.detail

    @property
    def done(self) -> Print:
        """The trade that happened."""
        assert isinstance(self.detail, Print)
        return self.detail

    def sides(self, depth: int = DEPTH) -> tuple[Levels, Levels]:
        """What a change of a book does to bids and asks as it is pushed, or to the best ``depth`` levels alone."""
        change = self.change
        bids, asks = change.bids, change.asks
        if depth < DEPTH:
            bids = _within(depth, self.market.bids, change.bids_before, -1)
            asks = _within(depth, self.market.asks, change.asks_before, 1)
        flaw = self.flaw
        if flaw is None:
            return bids, asks
        if flaw.tick is not None:
            side = bids if flaw.is_of_bids else asks
            side = {tick: lots for tick, lots in side.items() if tick != flaw.tick} | flaw.said
            bids, asks = (side, asks) if flaw.is_of_bids else (bids, side)
        return ({} if flaw.hides_bids else bids), asks

    def leapt(self) -> "Event":
        """The same change of a book with ids that leapt; the market goes on from there."""
        self.market.update_id += LEAP
        change = self.change._replace(first_id=self.change.first_id + LEAP, last_id=self.change.last_id + LEAP)
        return self._replace(number=change.last_id, detail=change)

    def without_bids(self) -> "Event":
        """The same change of a book, pushed without its bids."""
        return self._replace(flaw=(self.flaw or Flaw())._replace(hides_bids=True))

    def corrupted(self) -> "Event | None":
        """The same change of a book, pushed with a wrong best level that does not cross; None if it does not touch one."""
        change = self.change
        bid, ask = max(self.market.bids), min(self.market.asks)
        for is_of_bids, best, changes, before, levels in (
            (True, bid, change.bids, change.bids_before, self.market.bids),
            (False, ask, change.asks, change.asks_before, self.market.asks),
        ):
            if best in changes:
                # A new level is told one tick farther out; of one that was there before another amount, or the old one would still show.
                said = {best: levels[best] + LOTS} if before[best] else {best - 1 if is_of_bids else best + 1: levels[best]}
                return self._replace(flaw=Flaw(is_of_bids=is_of_bids, tick=best, said=said))
        return None


def _within(count: int, levels: Levels, before: Levels, outward: int) -> Levels:
    """How the best ``count`` levels differ from those of before a change; ``before`` has the levels that it touched."""
    old = {tick: lots for tick, lots in (levels | before).items() if lots}
    shown, was_shown = ({tick: side[tick] for tick in sorted(side, key=outward.__mul__)[:count]} for side in (levels, old))
    changed = {tick: lots for tick, lots in shown.items() if was_shown.get(tick) != lots}
    return changed | {tick: 0 for tick in was_shown if tick not in shown}


class Trading:
    """What happens on several markets, one event after the other; the same symbols and seed, the same events but for their times."""

    def __init__(
        self, symbols: Sequence[str], seed: int, native: Callable[[str], str] = lambda symbol: "", mix: Mapping[str, int] = MIX
    ) -> None:
        chance = random.Random(f"trading {seed}")  # Faults and clocks have sequences of their own.
        self._random = chance.random
        self.markets = {symbol: Market(symbol, chance, bool(index % 2), native(symbol), index) for index, symbol in enumerate(symbols)}
        self._kinds = tuple(kind for kind, share in mix.items() for _ in range(share))
        self._order = list(self.markets.values())
        self._trade_id = 10**9

    def next(self, now_ms: int) -> Event:
        """What happens next."""
        market = self._order[int(self._random() * len(self._order))]
        kind = self._kinds[int(self._random() * len(self._kinds))]
        if kind == "book_ticker" and market.last_ticker_id == market.update_id:
            kind = "orderbook"
        elif kind == "liquidation" and not market.prints:
            kind = "trade"
        return self.make(market, kind, now_ms)

    def make(self, market: Market, kind: str, now_ms: int) -> Event:
        """Let one thing happen."""
        if kind == "orderbook":
            change = market.move()
            return Event(market, kind, change.last_id, change)
        if kind == "book_ticker":
            market.last_ticker_id = market.update_id
            return Event(market, kind, market.update_id)
        if kind == "trade":
            self._trade_id += 1
            trade = market.trade(self._trade_id, now_ms)
            return Event(market, kind, trade.number, trade)
        if kind == "liquidation":
            return Event(market, kind, market.next_number(kind), market.prints[-1])
        return Event(market, kind, market.next_number(kind))


class Markets(ABC):
    """Several pairs of one simulated exchange, on one connection, from a seed. ``symbols`` are unified."""

    mix: ClassVar[Mapping[str, int]] = MIX

    def __init__(self, symbols: Sequence[str], seed: int) -> None:
        self._trading = Trading(symbols, seed, self.native, self.mix)
        #: By unified symbol.
        self.markets: Mapping[str, Market] = self._trading.markets
        self._clock = random.Random(f"clock {seed}")
        self._now_ms = OPENED_MS

    @staticmethod
    @abstractmethod
    def native(symbol: str) -> str:
        """What the exchange calls a unified symbol."""

    @abstractmethod
    def opening(self) -> Iterator[Sent]:
        """What a client gets after subscribing."""

    @abstractmethod
    def rest_book(self, market: Market, now_ms: int) -> str:
        """The REST answer with the whole book."""

    @abstractmethod
    def frame(self, event: Event) -> bytes:
        """How an event is pushed."""

    def next(self) -> Sent:
        """The next frame of a randomly chosen pair."""
        self._now_ms += self._clock.randrange(3)
        return self._sent(self._trading.next(self._now_ms))

    def make(self, market: Market, kind: str) -> Sent:
        """The next frame of this pair and kind."""
        return self._sent(self._trading.make(market, kind, self._now_ms))

    def update(self, symbol: str) -> Sent:
        """The next push of this pair's book."""
        return self.make(self.markets[symbol], "orderbook")

    def corrupted_update(self, symbol: str) -> Sent | None:
        """The next push of this pair's book with a wrong best level; None if it did not touch one, and then it is lost."""
        event = self._trading.make(self.markets[symbol], "orderbook", self._now_ms).corrupted()
        return None if event is None else self._sent(event)

    def skip_update(self, symbol: str) -> None:
        """The exchange loses a change of this pair's book: the next push leaves a hole in its ids."""
        self.markets[symbol].move()

    def snapshot(self, symbol: str) -> bytes:
        """The REST answer with the whole book."""
        return self.rest_book(self.markets[symbol], self._now_ms).encode()

    def _sent(self, event: Event) -> Sent:
        return Sent(self.frame(event), (event.kind, event.market.symbol), event.number)
