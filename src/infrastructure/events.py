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
    RISK = 17
    ACCOUNT_STATE = 18


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
    EXPIRED = "expired"


class OrderStatus(StrEnum):
    """How far an order is: it can still be executed, or it has ended in one of three ways."""

    OPEN = "open"
    FILLED = "filled"
    CANCELED = "canceled"
    REJECTED = "rejected"

    @property
    def is_final(self) -> bool:
        """Whether nothing can happen to the order any more."""
        return self is not OrderStatus.OPEN


class RiskKind(StrEnum):
    """What a venue does, or may do, to a position against its owner's will."""

    LIQUIDATED = "liquidated"
    DELEVERAGED = "deleveraged"
    DELEVERAGING_RANK = "deleveraging rank"


class AccountState(Enum):
    """Whether what is known of an account may be believed; only a LIVE one can be read."""

    OFFLINE = "offline"
    AUTHENTICATING = "authenticating"
    RECONCILING = "reconciling"
    LIVE = "live"
    #: The venue's key for the stream has lapsed; another is on its way.
    EXPIRED = "expired"
    #: The venue does not take the credentials; nothing more is tried.
    REFUSED = "refused"


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
    """State of one of the account's own orders; ``amount`` and ``filled`` in base currency (futures: contracts, never negative).

    ``amount`` is None where the order is for a value, ``quote_amount`` in quote currency. ``price`` is None of a market order.
    ``native_status`` is in the venue's words, ``exchange_ns`` when the order was in this state.
    """

    message_type = MessageType.ORDER
    venue: str
    symbol: str
    order_id: str
    client_order_id: str | None
    side: Side
    status: OrderStatus
    price: Decimal | None
    amount: Decimal | None
    filled: Decimal
    exchange_ns: int | None
    received_ns: int = 0
    average_price: Decimal | None = None
    quote_amount: Decimal | None = None
    native_status: str = ""


class Fill(Event, frozen=True, gc=False):
    """One execution of one of the account's own orders; ``amount`` in base currency (futures: contracts, never negative)."""

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
    is_maker: bool | None = None
    client_order_id: str | None = None


class BalanceUpdate(Event, frozen=True, gc=False):
    """What the account holds of one currency after a change; ``available`` and ``frozen`` are None where the venue tells the total alone.

    ``reason`` is in the venue's words.
    """

    message_type = MessageType.BALANCE
    venue: str
    currency: str
    total: Decimal
    available: Decimal | None
    frozen: Decimal | None
    exchange_ns: int | None
    received_ns: int = 0
    reason: str = ""

    @property
    def symbol(self) -> str:
        """The currency: each has a stream of its own."""
        return self.currency


class PositionUpdate(Event, frozen=True, gc=False):
    """A futures position; ``amount`` in contracts, negative when short, 0 when closed.

    ``mode`` is in the venue's words: where an account may hold both a long and a short position of one contract, it tells them apart.
    """

    message_type = MessageType.POSITION
    venue: str
    symbol: str
    amount: Decimal
    entry_price: Decimal | None
    exchange_ns: int | None
    received_ns: int = 0
    mode: str = ""
    leverage: Decimal | None = None
    margin: Decimal | None = None
    realised_pnl: Decimal | None = None
    liquidation_price: Decimal | None = None


class RiskNotice(Event, frozen=True, gc=False):
    """A position of the account was closed by force, or may be.

    ``amount`` in contracts is what was closed, ``rank`` how near the position is to being deleveraged: 1 is first in line.
    """

    message_type = MessageType.RISK
    venue: str
    symbol: str
    kind: RiskKind
    amount: Decimal | None
    price: Decimal | None
    rank: int | None
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


class AccountStateChange(Event, frozen=True, gc=False):
    """What is known of the account moved from one state of trust to another; ``text`` says why, where there is more to say."""

    message_type = MessageType.ACCOUNT_STATE
    venue: str
    old: AccountState
    new: AccountState
    text: str = ""
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
Data = Trade | BookTicker | Ticker | Candle | Liquidation | OrderUpdate | Fill | BalanceUpdate | PositionUpdate | RiskNotice
