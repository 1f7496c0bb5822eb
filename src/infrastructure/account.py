"""What is known of an account, with its state of trust, and the judge of what is news. Reading one that is not LIVE raises.

Pure: events in, whether they are news out. ``PrivateSession`` asks, and decides what is told.
"""

from collections import OrderedDict, deque
from collections.abc import Collection, Mapping
from decimal import Decimal
from types import MappingProxyType

import msgspec
from msgspec.structs import replace

from infrastructure.errors import AccountNotLive
from infrastructure.events import AccountState, BalanceUpdate, Data, Fill, OrderStatus, OrderUpdate, PositionUpdate, Side

#: Fills whose ids are remembered. What can come again is what REST is asked for, which begins seconds before the last fill that was told,
#: and what a second connection repeats, which overlaps by seconds. To fall out while it can still come, a fill must be followed by this
#: many others within those seconds: a hundred times what venues let one account order.
REMEMBERED_FILLS = 100_000
#: Fills that can be read.
LATEST_FILLS = 1_000
#: Orders that have ended and can still be read; a late word on one of them opens it no more.
ENDED_ORDERS = 10_000

#: Symbol and mode of a position.
PositionKey = tuple[str, str]


class AccountSnapshot(msgspec.Struct, frozen=True):
    """What REST says of an account, asked after everything that the account knows.

    ``orders`` are all that are open, and each that was known as open and is not among them, looked up. ``fills`` are those since the last
    that was told, or earlier, in any order. ``balances`` and ``positions`` are complete, None where the venue has none.
    """

    orders: tuple[OrderUpdate, ...] = ()
    fills: tuple[Fill, ...] = ()
    balances: tuple[BalanceUpdate, ...] | None = None
    positions: tuple[PositionUpdate, ...] | None = None

    @property
    def events(self) -> tuple[OrderUpdate | Fill | BalanceUpdate | PositionUpdate, ...]:
        """Everything in it, in the order in which it is told: fills by time, orders, balances, positions."""
        fills = sorted(self.fills, key=lambda fill: fill.exchange_ns or 0)
        return (*fills, *self.orders, *(self.balances or ()), *(self.positions or ()))


class RawAccount:
    """What is known of an account whatever its state. It may be old, and lack what has happened since."""

    __slots__ = ("_account", "balances", "orders", "positions")

    def __init__(self, account: "Account") -> None:
        self._account = account
        #: The open ones, by order id.
        self.orders: Mapping[str, OrderUpdate] = MappingProxyType(account._orders)
        #: By currency.
        self.balances: Mapping[str, BalanceUpdate] = MappingProxyType(account._balances)
        #: The open ones, by symbol and mode.
        self.positions: Mapping[PositionKey, PositionUpdate] = MappingProxyType(account._positions)

    @property
    def fills(self) -> tuple[Fill, ...]:
        """The latest, in the order in which they were told."""
        return tuple(self._account._fills)

    @property
    def last_fill_ns(self) -> int | None:
        """The venue's time of the latest fill, None before the first."""
        return self._account._last_fill_ns

    def order(self, order_id: str) -> OrderUpdate | None:
        """An order that is open or has ended lately, None of any other."""
        return self._account._orders.get(order_id) or self._account._ended.get(order_id)


class Account:
    """An account at one venue: open orders, balances, positions and the latest fills.

    It is one object for the life of the feed, and its views change with it. Properties that read it raise AccountNotLive unless ``state``
    is LIVE. Every number is a Decimal of the venue's own text.
    """

    __slots__ = (
        "_balances",
        "_closed",
        "_ended",
        "_fills",
        "_last_fill_ns",
        "_order_of_fills",
        "_orders",
        "_positions",
        "_told",
        "raw",
        "state",
        "venue",
    )

    def __init__(self, venue: str) -> None:
        self.venue = venue
        self.state = AccountState.OFFLINE
        self._orders: dict[str, OrderUpdate] = {}
        self._ended: OrderedDict[str, OrderUpdate] = OrderedDict()
        self._balances: dict[str, BalanceUpdate] = {}
        self._positions: dict[PositionKey, PositionUpdate] = {}
        #: What closed a position: an older state must not open it again.
        self._closed: dict[PositionKey, PositionUpdate] = {}
        self._fills: deque[Fill] = deque(maxlen=LATEST_FILLS)
        self._last_fill_ns: int | None = None
        self._told: set[tuple[str, str, Side]] = set()
        self._order_of_fills: deque[tuple[str, str, Side]] = deque()
        self.raw = RawAccount(self)

    def __repr__(self) -> str:
        counts = f"orders={len(self._orders)} balances={len(self._balances)} positions={len(self._positions)} fills={len(self._fills)}"
        return f"<Account {self.venue} {self.state.value} {counts}>"

    @property
    def is_live(self) -> bool:
        """Whether the account may be believed."""
        return self.state is AccountState.LIVE

    @property
    def orders(self) -> Mapping[str, OrderUpdate]:
        """The open orders, by order id."""
        self._require_live()
        return self.raw.orders

    def order(self, order_id: str) -> OrderUpdate | None:
        """An order that is open or has ended lately, None of any other."""
        self._require_live()
        return self.raw.order(order_id)

    @property
    def balances(self) -> Mapping[str, BalanceUpdate]:
        """What is held, by currency."""
        self._require_live()
        return self.raw.balances

    @property
    def positions(self) -> Mapping[PositionKey, PositionUpdate]:
        """The open positions, by symbol and mode, which is empty where the venue names none."""
        self._require_live()
        return self.raw.positions

    @property
    def fills(self) -> tuple[Fill, ...]:
        """The latest fills, in the order in which they were told, newest last."""
        self._require_live()
        return self.raw.fills

    @property
    def last_fill_ns(self) -> int | None:
        """The venue's time of the latest fill, None before the first."""
        self._require_live()
        return self.raw.last_fill_ns

    def knows(self, fill: Fill) -> bool:
        """Whether a fill was told already."""
        return (fill.symbol, fill.fill_id, fill.side) in self._told

    def apply(self, event: Data, *, is_covered: bool = False) -> bool:
        """Take what a stream says, if it is news, and say whether it is. What no account keeps, such as a notice, always is.

        A fill is news once. An order's state is news if more of it is filled, or if it has ended, or if it was amended: its price or amount
        is another, and not at an earlier time. A balance or a position is news unless the venue's time says that it is older, or it is
        repeated word for word; where there is no time, or it is the same, the stream's order counts.

        With ``is_covered`` REST was asked after it came, and its answer has been taken: then an amendment is none.
        """
        if isinstance(event, Fill):
            return self._take_fill(event)
        if isinstance(event, OrderUpdate):
            return self._take_order(event, is_amended=not is_covered)
        if isinstance(event, BalanceUpdate):
            known = self._balances.get(event.currency)
            return _is_not_older(known, event) and self._set_balance(known, event)
        if isinstance(event, PositionUpdate):
            key = event.symbol, event.mode
            held = self._positions.get(key) or self._closed.get(key)
            return _is_not_older(held, event) and self._set_position(held, event)
        return True

    def correct(self, event: Data) -> bool:
        """Take what REST says, asked after all that is known here, if it is news, and say whether it is.

        As ``apply``; but of an amendment, a balance or a position the venue's time does not count, which REST may give in seconds, or of
        something else. A balance of the same amounts is no news, and nothing of what nothing was known of is none either.
        """
        if isinstance(event, OrderUpdate):
            return self._take_order(event, is_amended=True, is_asked=True)
        if isinstance(event, BalanceUpdate):
            known = self._balances.get(event.currency)
            if (not event.total) if known is None else _has_equal_amounts(known, event):
                return False
            return self._set_balance(known, event)
        if isinstance(event, PositionUpdate):
            held = self._positions.get((event.symbol, event.mode))
            if held is None and not event.amount:
                return False
            return self._set_position(None if held is None else replace(held, exchange_ns=event.exchange_ns), event)
        return self.apply(event)

    def lacking(self, snapshot: AccountSnapshot, were_open: Collection[str]) -> list[OrderUpdate | BalanceUpdate | PositionUpdate]:
        """What is known and does not stand in ``snapshot``, as it is now: an order has ended, a balance is zero, a position closed.

        Of orders only those that ``were_open`` when REST was asked: they are not open any more, and not found by their ids either, for
        some venues forget an order that was canceled.
        """
        orders = {order.order_id for order in snapshot.orders}
        found: list[OrderUpdate | BalanceUpdate | PositionUpdate] = [
            replace(order, status=OrderStatus.CANCELED, native_status="", exchange_ns=None)
            for order in self._orders.values()
            if order.order_id in were_open and order.order_id not in orders
        ]
        if snapshot.balances is not None:
            currencies = {balance.currency for balance in snapshot.balances}
            found += [_emptied(balance) for balance in self._balances.values() if balance.total and balance.currency not in currencies]
        if snapshot.positions is not None:
            open_ones = {(position.symbol, position.mode) for position in snapshot.positions}
            found += [
                PositionUpdate(self.venue, symbol, Decimal(0), None, None, mode=mode)
                for symbol, mode in self._positions
                if (symbol, mode) not in open_ones
            ]
        return found

    def _take_fill(self, fill: Fill) -> bool:
        # An account that trades with itself has two fills of one id, on either side.
        key = fill.symbol, fill.fill_id, fill.side
        if key in self._told:
            return False
        if fill.fill_id:
            self._told.add(key)
            self._order_of_fills.append(key)
            if len(self._order_of_fills) > REMEMBERED_FILLS:
                self._told.remove(self._order_of_fills.popleft())
        self._fills.append(fill)
        if fill.exchange_ns is not None:
            self._last_fill_ns = max(fill.exchange_ns, self._last_fill_ns or 0)
        return True

    def _take_order(self, order: OrderUpdate, *, is_amended: bool, is_asked: bool = False) -> bool:
        """``is_amended``: another price or amount may be news; ``is_asked``: whatever its time."""
        known = self.raw.order(order.order_id)
        if known is not None and not _goes_forward(known, order, is_amended, is_asked):
            return False
        if not order.status.is_final:
            self._orders[order.order_id] = order
            return True
        self._orders.pop(order.order_id, None)
        self._ended[order.order_id] = order
        if len(self._ended) > ENDED_ORDERS:
            self._ended.popitem(last=False)
        return True

    def _set_balance(self, known: BalanceUpdate | None, balance: BalanceUpdate) -> bool:
        if known is not None and replace(known, received_ns=balance.received_ns) == balance:
            return False
        self._balances[balance.currency] = balance
        return True

    def _set_position(self, held: PositionUpdate | None, position: PositionUpdate) -> bool:
        if held is not None and replace(held, received_ns=position.received_ns) == position:
            return False
        key = position.symbol, position.mode
        kept, left = (self._positions, self._closed) if position.amount else (self._closed, self._positions)
        left.pop(key, None)
        kept[key] = position
        return True

    def _require_live(self) -> None:
        if self.state is not AccountState.LIVE:
            raise AccountNotLive(self.venue, self.state.value.upper())


def _has_equal_amounts(one: BalanceUpdate, other: BalanceUpdate) -> bool:
    return (one.total, one.available, one.frozen) == (other.total, other.available, other.frozen)


def _emptied(balance: BalanceUpdate) -> BalanceUpdate:
    available, frozen = (None if amount is None else Decimal(0) for amount in (balance.available, balance.frozen))
    return BalanceUpdate(balance.venue, balance.currency, Decimal(0), available, frozen, None)


def _goes_forward(known: OrderUpdate, order: OrderUpdate, is_amended: bool, is_asked: bool) -> bool:
    if known.status.is_final and not order.status.is_final:
        return False
    if order.filled != known.filled:
        return order.filled > known.filled
    if order.status.is_final:
        return not known.status.is_final
    # Both are open, and nothing was filled in between: an amendment, or nothing new.
    if (order.price, order.amount, order.quote_amount) == (known.price, known.amount, known.quote_amount):
        return False
    return is_amended and (is_asked or _is_not_older(known, order))


def _is_not_older(known: OrderUpdate | BalanceUpdate | PositionUpdate | None, event: OrderUpdate | BalanceUpdate | PositionUpdate) -> bool:
    """By the venue's time, where both carry one."""
    return known is None or known.exchange_ns is None or event.exchange_ns is None or event.exchange_ns >= known.exchange_ns
