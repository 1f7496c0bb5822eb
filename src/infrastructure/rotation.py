"""What two connections of one venue bring twice while the second takes over from the first. Pure: messages in, yes or no out.

    first:   ... m3 m4 m5 |              told, and noted by their keys
    second:         m4 m5 | m6 m7 ...    noted: told before; not noted: goes on
                          '- from here on the second's messages count, and the first's no more

One rule for each kind of message, by what the venues give it:

- trades and fills by their id; without one they are facts, as liquidations and risk notices are
- facts by their whole content, in order
- book tickers with an id of an order: told if the id is not later than the last
- states (tickers, candles, orders, balances, positions, book tickers without an id) by their whole content, in order, and never back in
  the venue's time: an older state than the last one is old, whether it was told or not
- books by the id that the book has reached, which the session knows
"""

from bisect import bisect_left
from collections.abc import Hashable, Iterable
from typing import Any, NamedTuple

from msgspec.structs import asdict

from infrastructure.events import Candle, Data, MessageType

_FACTS = frozenset({MessageType.TRADE, MessageType.FILL, MessageType.LIQUIDATION, MessageType.RISK})
#: By kind, what tells streams of one symbol apart.
_PARTS = {MessageType.CANDLE: "interval", MessageType.ORDER: "order_id", MessageType.POSITION: "mode"}
_IDS = {MessageType.TRADE: "trade_id", MessageType.FILL: "fill_id"}

#: The time of a state may be that of its sending, and two connections are sent it so far apart at most.
SENT_APART_NS = 250_000_000

#: A stream: kind and symbol, and what tells it apart from others of the same.
_Key = tuple[MessageType, str, Hashable]


class _Said(NamedTuple):
    """Everything that a message says but when; the venue's time of it; and what places it among the states of its stream."""

    content: Hashable
    exchange_ns: int | None
    order: tuple[int, ...] | None


class _InOrder:
    """What the first connection told of one stream, in its order, and how far the second has come in it."""

    __slots__ = ("_latest", "_place", "_places", "_times", "_tolerance_ns")

    def __init__(self, tolerance_ns: int) -> None:
        self._tolerance_ns = tolerance_ns
        self._places: dict[Hashable, list[int]] = {}
        self._times: list[int | None] = []
        self._place = 0
        self._latest: tuple[int, ...] | None = None

    def note(self, said: _Said) -> None:
        self._places.setdefault(said.content, []).append(len(self._times))
        self._times.append(said.exchange_ns)
        if said.order is not None and (self._latest is None or said.order > self._latest):
            self._latest = said.order

    def was_told(self, said: _Said) -> bool:
        places = self._places.get(said.content, [])
        for place in places[bisect_left(places, self._place) :]:
            if self._is_of(said.exchange_ns, self._times[place], len(places)):
                self._place = place + 1
                return True
        return False

    def is_past(self, said: _Said) -> bool:
        """Whether it is of before the latest that was told."""
        return said.order is not None and self._latest is not None and said.order < self._latest

    def _is_of(self, one_ns: int | None, other_ns: int | None, alike: int) -> bool:
        if one_ns is None or other_ns is None:
            # What was said more than once, without a time, may be news now: that something is again as it was.
            return alike == 1
        return abs(one_ns - other_ns) <= self._tolerance_ns


class Overlap:
    """Notes what ``first`` brings, and from ``take_over`` on knows it again when the second connection brings it.

    Both are told apart by identity alone. Books are not noted here.
    """

    def __init__(self, first: object) -> None:
        self.first = first
        self.second: object | None = None
        #: Messages of the second that were told before.
        self.told = 0
        self._ids: dict[_Key, set[str]] = {}
        self._latest_ids: dict[_Key, int] = {}
        self._contents: dict[_Key, _InOrder] = {}
        self._told_of_frame = self._new_of_frame = 0

    def __repr__(self) -> str:
        return f"<Overlap {'noting' if self.second is None else 'taken over'} told={self.told}>"

    def know(self, kind: MessageType, symbol: str, ids: Iterable[str]) -> None:
        """These ids were told before anything was noted."""
        self._ids.setdefault((kind, symbol, None), set()).update(filter(None, ids))

    def note(self, message: Data) -> None:
        """The first connection brought this; not a book."""
        key, name = _key_of(message), _IDS.get(message.message_type)
        if name is not None and (given := getattr(message, name)):
            self._ids.setdefault(key, set()).add(given)
        elif (update_id := getattr(message, "update_id", None)) is not None:
            self._latest_ids[key] = max(update_id, self._latest_ids.get(key, update_id))
        else:
            stream = self._contents.get(key)
            if stream is None:
                stream = self._contents[key] = _InOrder(0 if message.message_type in _FACTS else SENT_APART_NS)
            stream.note(_said_by(message))

    def take_over(self, second: object) -> None:
        """From now on the messages of ``second`` count."""
        self.second = second

    def was_told(self, message: Data) -> bool:
        """Whether the first connection brought this, or what makes it old; each message of the second is asked about once, in order."""
        key, name = _key_of(message), _IDS.get(message.message_type)
        if name is not None and (given := getattr(message, name)):
            return given in self._ids.get(key, ())
        if (update_id := getattr(message, "update_id", None)) is not None:
            latest = self._latest_ids.get(key)
            return latest is not None and update_id <= latest
        stream = self._contents.get(key)
        if stream is None:
            return False
        said = _said_by(message)
        return stream.was_told(said) or (message.message_type not in _FACTS and stream.is_past(said))

    def begin_frame(self) -> None:
        """A frame of the second is about to be handled."""
        self._told_of_frame = self._new_of_frame = 0

    def count(self, told: int, new: int) -> None:
        """So much of the data of a frame of the second was told before, and so much was not."""
        self.told += told
        self._told_of_frame += told
        self._new_of_frame += new

    @property
    def has_told_frame(self) -> bool:
        """Whether all data of the frame was told before."""
        return self._told_of_frame > 0 and self._new_of_frame == 0


def _key_of(message: Data) -> _Key:
    part = _PARTS.get(message.message_type)
    return message.message_type, message.symbol, None if part is None else getattr(message, part)


def _said_by(message: Data) -> _Said:
    values: dict[str, Any] = asdict(message)
    del values["received_ns"]
    exchange_ns = values.pop("exchange_ns")
    if isinstance(message, Candle):
        return _Said(tuple(values.values()), exchange_ns, (message.open_ns, exchange_ns or 0))
    return _Said(tuple(values.values()), exchange_ns, None if exchange_ns is None else (exchange_ns,))
