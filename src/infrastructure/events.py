"""What a user receives. Times are nanoseconds since the Unix epoch.

``exchange_ns`` is the venue's clock and None where the venue sent no time; ``received_ns`` is ours. Market data is ``float``
(the double nearest to the venue's text), money of an account is ``Decimal``.
"""

from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import ClassVar

import msgspec


class Architecture(StrEnum):
    """How frames become events."""

    DIRECT = "direct"
    STRATEGY = "strategy"

    @property
    def other(self) -> "Architecture":
        """The one that a switch leads to."""
        return Architecture.STRATEGY if self is Architecture.DIRECT else Architecture.DIRECT


class MessageType(IntEnum):
    """What one decoded message is: the dispatch key of every handler and the label of every counter."""

    TRADE = 0
    BOOK_TICKER = 1
    TICKER = 2
    CANDLE = 3
    ORDERBOOK = 4
    ORDER = 5
    FILL = 6
    BALANCE = 7
    POSITION = 8
    GAP = 9
    BOOK_STATE = 10
    ERROR = 11
    ACKNOWLEDGEMENT = 12
    PONG = 13
    NOTICE = 14
    UNKNOWN = 15
    LIQUIDATION = 16


class Side(StrEnum):
    """Of the taker for a trade, of one's own order for an order or a fill."""

    BUY = "buy"
    SELL = "sell"


class BookState(Enum):
    """Whether a book may be believed; only a LIVE one can be read."""

    SYNCING = "syncing"
    LIVE = "live"
    GAP = "gap"
    STALE = "stale"


class GapReason(StrEnum):
    """Why an interval of a stream is missing."""

    SEQUENCE = "sequence"
    DISCONNECTED = "disconnected"
    CROSSED = "crossed"
    REJECTED = "rejected"
    FAILED = "failed"
    OVERFLOW = "overflow"
    SILENT = "silent"
    AUDIT = "audit"


class Event(msgspec.Struct, frozen=True, gc=False):
    """What the events have in common: ``message_type``, by which callbacks are found."""

    message_type: ClassVar[MessageType]
    is_control: ClassVar[bool] = False


class Trade(Event, frozen=True, gc=False):
    """One public trade; ``amount`` in base currency (futures: contracts), ``side`` of the taker.

    ``trade_id`` is empty where the venue gave none. ``is_internal`` marks what no market order did, as when a venue takes over a
    position.
    """

    message_type = MessageType.TRADE
    venue: str
    symbol: str
    trade_id: str
    side: Side
    price: float
    amount: float
    exchange_ns: int | None
    received_ns: int = 0
    is_internal: bool = False


class BookTicker(Event, frozen=True, gc=False):
    """Best bid and ask; an empty side is None. ``update_id`` is of the book's sequence where the venue has one, None without any."""

    message_type = MessageType.BOOK_TICKER
    venue: str
    symbol: str
    update_id: int | None
    bid_price: float | None
    bid_amount: float | None
    ask_price: float | None
    ask_amount: float | None
    exchange_ns: int | None
    received_ns: int = 0


class Ticker(Event, frozen=True, gc=False):
    """Rolling 24 hour statistics; ``change_percent`` 1.5 means +1.5 %.

    A value that the venue left out is None; some venues leave out what has not changed. The last five are of futures: ``funding_rate``
    0.0001 means 0.01 % for each funding interval, ``open_interest`` is in contracts.
    """

    message_type = MessageType.TICKER
    venue: str
    symbol: str
    last: float | None
    bid_price: float | None
    ask_price: float | None
    high: float | None
    low: float | None
    base_volume: float | None
    quote_volume: float | None
    change_percent: float | None
    exchange_ns: int | None
    received_ns: int = 0
    mark_price: float | None = None
    index_price: float | None = None
    funding_rate: float | None = None
    next_funding_ns: int | None = None
    open_interest: float | None = None


class Candle(Event, frozen=True, gc=False):
    """One bar; ``interval`` in the venue's words, ``is_closed`` None where the venue does not say."""

    message_type = MessageType.CANDLE
    venue: str
    symbol: str
    interval: str
    open_ns: int
    open: float
    high: float
    low: float
    close: float
    base_volume: float | None
    quote_volume: float | None
    is_closed: bool | None
    exchange_ns: int | None
    received_ns: int = 0


class Liquidation(Event, frozen=True, gc=False):
    """A position of somebody else that the venue closed by force; ``amount`` in contracts, ``side`` of the order that closes it."""

    message_type = MessageType.LIQUIDATION
    venue: str
    symbol: str
    side: Side
    price: float
    amount: float
    exchange_ns: int | None
    received_ns: int = 0


class OrderUpdate(Event, frozen=True, gc=False):
    """State of one of the account's own orders; ``status`` in the venue's words."""

    message_type = MessageType.ORDER
    venue: str
    symbol: str
    order_id: str
    client_order_id: str | None
    side: Side
    status: str
    price: Decimal | None
    amount: Decimal
    filled: Decimal
    exchange_ns: int | None
    received_ns: int = 0


class Fill(Event, frozen=True, gc=False):
    """One execution of one of the account's own orders."""

    message_type = MessageType.FILL
    venue: str
    symbol: str
    fill_id: str
    order_id: str
    side: Side
    price: Decimal
    amount: Decimal
    fee: Decimal | None
    fee_currency: str | None
    exchange_ns: int | None
    received_ns: int = 0


class BalanceUpdate(Event, frozen=True, gc=False):
    """What the account holds of one currency after a change."""

    message_type = MessageType.BALANCE
    venue: str
    currency: str
    available: Decimal
    frozen: Decimal
    exchange_ns: int | None
    received_ns: int = 0

    @property
    def symbol(self) -> str:
        """The currency: each has a stream of its own."""
        return self.currency


class PositionUpdate(Event, frozen=True, gc=False):
    """A futures position; ``amount`` in contracts, negative when short."""

    message_type = MessageType.POSITION
    venue: str
    symbol: str
    amount: Decimal
    entry_price: Decimal | None
    exchange_ns: int | None
    received_ns: int = 0


class Gap(Event, frozen=True, gc=False):
    """An interval of a stream that was not received or cannot be trusted, announced once, when it begins.

    ``last_id`` is the last id that was good and ``next_id`` the first after the hole, where the stream has ids. ``channel`` and
    ``symbol`` are None when a frame was so damaged that it could belong to any stream of the connection.
    """

    message_type = MessageType.GAP
    venue: str
    channel: str | None
    symbol: str | None
    reason: GapReason
    last_id: int | None = None
    next_id: int | None = None
    received_ns: int = 0


class BookStateChange(Event, frozen=True, gc=False):
    """A book moved from one state of trust to another."""

    message_type = MessageType.BOOK_STATE
    venue: str
    channel: str
    symbol: str
    old: BookState
    new: BookState
    last_id: int | None
    received_ns: int = 0


class ErrorEvent(Event, frozen=True, gc=False):
    """Something went wrong that no caller could be told by an exception: a refused subscription, a rejected frame, a callback that raised.

    ``kind`` is the label under which it is counted; ``text`` is the venue's own words where the venue spoke.
    """

    message_type = MessageType.ERROR
    venue: str
    kind: str
    text: str
    channel: str | None = None
    symbol: str | None = None
    code: str | None = None
    received_ns: int = 0


#: What a codec may make of a frame beside the messages of ``venue.py``.
Data = Trade | BookTicker | Ticker | Candle | Liquidation | OrderUpdate | Fill | BalanceUpdate | PositionUpdate
