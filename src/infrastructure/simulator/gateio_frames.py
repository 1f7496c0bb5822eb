"""What the frames of Gate.io's markets have in common, and a market that pushes them on one connection, from a seed.

Every message can be told from every other of its stream. Book messages carry update ids; a trade, a ticker and a candle carry a
number in the last eight digits of an amount, which no client looks at. Frames are put together as text: a simulator that must keep up
with its readers has no time for a JSON encoder, and every name and number in them is its own.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import ClassVar

from infrastructure.simulator.market import LOTS, TICKS, Event, Levels, Market, Markets, Sent

#: By the name of an interval, in seconds.
INTERVALS = {
    "10s": 10,
    "1m": 60,
    "3m": 180,
    "5m": 300,
    "15m": 900,
    "30m": 1800,
    "1h": 3600,
    "2h": 7200,
    "4h": 14_400,
    "6h": 21_600,
    "8h": 28_800,
    "12h": 43_200,
    "1d": 86_400,
    "7d": 604_800,
    "30d": 2_592_000,
}

#: From an event, the subscription's option, the time in ms and the client's dialect.
Render = Callable[[Event, str, int, str], str]


def push(channel: str, result: str, now_ms: int, event: str = "update") -> str:
    """A push as most channels have it."""
    return f'{{"time":{now_ms // 1000},"time_ms":{now_ms},"channel":"{channel}","event":"{event}","result":{result}}}'


def obu_result(event: Event, option: str, now_ms: int) -> str:
    """A change of a book on ``obu``: a side without changes is left out."""
    bids, asks = event.sides()
    sides = "".join(f',"{name}":[{changed_text(side)}]' for name, side in (("b", bids), ("a", asks)) if side)
    return f'{{"t":{now_ms},"s":"ob.{event.market.native}.{option}",{ids_text(event)}{sides}}}'


def whole_obu_result(market: Market, option: str, now_ms: int) -> str:
    """The whole book on ``obu``."""
    bids, asks = (levels_text(side[: int(option)]) for side in market.levels())
    return f'{{"t":{now_ms},"full":true,"s":"ob.{market.native}.{option}","u":{market.update_id},"b":{bids},"a":{asks}}}'


def ids_text(event: Event) -> str:
    """The ids of a change."""
    return f'"U":{event.change.first_id},"u":{event.change.last_id}'


def levels_text(levels: Sequence[Sequence[str]]) -> str:
    """Levels as JSON."""
    return "[" + ",".join(f'["{price}","{amount}"]' for price, amount in levels) + "]"


def changed_text(levels: Levels) -> str:
    """Levels of a change, without the brackets around them."""
    # Written out, because most of the time of most frames goes here.
    return ",".join(
        [f'["{tick / TICKS:.2f}","{lots / LOTS:.4f}"]' if lots else f'["{tick / TICKS:.2f}","0"]' for tick, lots in levels.items()]
    )


class GateioMarkets(Markets):
    """Several pairs on one connection; every second one sends its book over ``obu``."""

    #: By channel: the kind of event that it pushes, and how.
    channels: ClassVar[Mapping[str, tuple[str, Render]]]
    #: What the connection is subscribed to: channel and option, of books the seeded and the ``obu`` one, of the rest by kind of event.
    books: ClassVar[tuple[tuple[str, str], tuple[str, str]]]
    others: ClassVar[Mapping[str, tuple[str, str]]]
    dialect: ClassVar[str] = ""

    @staticmethod
    @abstractmethod
    def whole_obu(market: Market, option: str, now_ms: int) -> str:
        """The whole book on ``obu``."""

    def opening(self) -> Iterator[Sent]:
        """What a client gets after subscribing: acknowledgements, and the whole book of each ``obu`` stream."""
        for channel, _ in (*self.books, *self.others.values()):
            yield Sent(push(channel, '{"status":"success"}', self._now_ms, "subscribe").encode(), None, 0)
        for market in self.markets.values():
            if market.uses_obu:
                yield self.whole_book(market.symbol)

    def replacement(self, symbol: str) -> Sent:
        """The next push of an ``obu`` pair's book, whole and unasked."""
        change = self.markets[symbol].move()
        return Sent(self.whole_book(symbol).raw, ("orderbook", symbol), change.last_id)

    def whole_book(self, symbol: str) -> Sent:
        """The whole book of an ``obu`` pair as it is, which answers a subscription."""
        return Sent(self.whole_obu(self.markets[symbol], self.books[1][1], self._now_ms).encode(), None, 0)

    def frame(self, event: Event) -> bytes:
        """How an event is pushed."""
        channel, option = self.books[event.market.uses_obu] if event.kind == "orderbook" else self.others[event.kind]
        _, render = self.channels[channel]
        return render(event, option, self._now_ms, self.dialect).encode()
