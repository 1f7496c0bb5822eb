"""An account at a simulated exchange: orders, fills, balances and positions, exact to the last digit. Pure: what happens comes back.

Every change returns what a private channel would tell of it, in the order in which exchanges do: of a placing the order and what it
reserves; of a fill the order, the fill, the balances and the position. An order fills against its market's book, which does not move
for it. Amounts are base currency, in a ``FuturesAccount`` contracts, and never negative: the ``side`` tells the direction.
"""

import random
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import ROUND_DOWN, Context, Decimal, DivisionByZero, Inexact, InvalidOperation, Overflow, localcontext
from enum import StrEnum
from functools import wraps
from typing import Concatenate, NamedTuple, ParamSpec, TypeVar

from infrastructure.simulator.market import LOTS, TICKS, Market

USER = 1
FEE = Decimal("0.001")
QUOTE_DEPOSIT, BASE_DEPOSIT = Decimal(1_000_000), Decimal(1_000)
LEVERAGE = 10
#: The digits behind the point of amounts, of prices and of what is divided.
MOST_DIGITS = 8
#: How likely an order that rests within its market's book is to be filled at a change of that book, though the price has not reached it.
FILL_CHANCE = 0.002
#: The most open orders that ``trade`` leaves.
MOST_OPEN = 20

BUY, SELL = "buy", "sell"
#: In the place of a client's id: orders that the exchange placed itself, for whom it does not trust and for others' sake.
LIQUIDATION, DELEVERAGING = "liquidation", "auto_deleveraging"

#: A sum or a product that does not fit is an error, never rounded.
_EXACT = Context(prec=200, traps=[InvalidOperation, DivisionByZero, Overflow, Inexact])
_ROUNDED = Context(prec=200, rounding=ROUND_DOWN, traps=[InvalidOperation, DivisionByZero, Overflow])
_LAST_DIGIT = Decimal(1).scaleb(-MOST_DIGITS)

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S", bound="Account")


def exactly(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """Let a method calculate without rounding."""

    @wraps(method)
    def calculate(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with localcontext(_EXACT):
            return method(self, *args, **kwargs)

    return calculate


def divided(dividend: Decimal, divisor: Decimal) -> Decimal:
    """The quotient, cut off behind the last digit."""
    return _ROUNDED.quantize(_ROUNDED.divide(dividend, divisor), _LAST_DIGIT)


def text(number: Decimal) -> str:
    """A number without an exponent and without zeros at its end."""
    written = f"{number:f}"
    written = written.rstrip("0").rstrip(".") if "." in written else written
    return "0" if written in ("-0", "") else written


class TimeInForce(StrEnum):
    """How long an order may wait."""

    GTC = "gtc"
    IOC = "ioc"
    FOK = "fok"
    POST_ONLY = "poc"


class Ending(StrEnum):
    """Why an order is finished; OPEN: it is not."""

    OPEN = "open"
    FILLED = "filled"
    CANCELLED = "cancelled"
    IOC = "ioc"
    FOK = "fok"
    POST_ONLY = "poc"
    REDUCE_ONLY = "reduce_only"


class Reason(StrEnum):
    """Why a balance changed."""

    PLACED = "placed"
    FILLED = "filled"
    #: What an order that ended had reserved.
    RELEASED = "released"
    FEE = "fee"
    PROFIT = "profit"


class Refusal(StrEnum):
    """Why nothing was done."""

    AMOUNT = "amount"
    PRICE = "price"
    FUNDS = "funds"
    UNKNOWN_ORDER = "unknown order"
    FINISHED = "finished"
    NOTHING_TO_REDUCE = "nothing to reduce"


class OrderRefused(Exception):
    """What was asked of the account is refused; nothing has changed."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal)
        self.refusal = refusal


class Placement(NamedTuple):
    """An order as it is asked for. Without a ``price`` it takes the market's. ``in_quote``: the amount is what a market buy may spend."""

    symbol: str
    side: str
    amount: Decimal
    price: Decimal | None = None
    tif: TimeInForce = TimeInForce.GTC
    client_id: str = ""
    in_quote: bool = False
    reduce_only: bool = False


class Order(NamedTuple):
    """An order as it is at one moment. Its ``price`` is 0 where it takes the market's; ``left`` counts as ``amount`` does.

    ``filled`` is in base currency or contracts, ``turnover`` in quote currency, ``reserved`` in ``reserved_currency``.
    """

    order_id: int
    client_id: str
    market: Market
    side: str
    price: Decimal
    amount: Decimal
    tif: TimeInForce
    in_quote: bool
    reduce_only: bool
    created_ms: int
    updated_ms: int
    left: Decimal
    reserved_currency: str
    reserved: Decimal = Decimal(0)
    filled: Decimal = Decimal(0)
    turnover: Decimal = Decimal(0)
    fee: Decimal = Decimal(0)
    fee_currency: str = ""
    last_fill: Decimal = Decimal(0)
    ending: Ending = Ending.OPEN

    @property
    def symbol(self) -> str:
        """The unified symbol."""
        return self.market.symbol

    @property
    def is_market(self) -> bool:
        """Whether it takes the market's price."""
        return not self.price

    @property
    def is_open(self) -> bool:
        """Whether it still waits."""
        return self.ending is Ending.OPEN

    @property
    def average(self) -> Decimal:
        """The mean price of its fills, 0 without any."""
        return divided(self.turnover, self.filled) if self.filled else Decimal(0)


class OrderChange(NamedTuple):
    """An order is new (``put``), was filled in part (``update``) or has ended (``finish``)."""

    number: int
    what: str
    order: Order

    @property
    def kind(self) -> str:
        """What the logs call it."""
        return "order"

    @property
    def subject(self) -> str:
        """Whose log it belongs to."""
        return self.order.symbol


class Fill(NamedTuple):
    """A part of an order was filled: ``order`` is as it was then, ``number`` the fill's id, ``market_number`` its count on the market."""

    number: int
    market_number: int
    order: Order
    price: Decimal
    amount: Decimal
    turnover: Decimal
    fee: Decimal
    fee_currency: str
    is_maker: bool
    time_ms: int

    @property
    def kind(self) -> str:
        """What the logs call it."""
        return "fill"

    @property
    def subject(self) -> str:
        """Whose log it belongs to."""
        return self.order.symbol


class BalanceChange(NamedTuple):
    """A balance as it is after a change, and that change; ``order`` is whose doing it is."""

    number: int
    currency: str
    available: Decimal
    frozen: Decimal
    available_change: Decimal
    frozen_change: Decimal
    reason: Reason
    order: Order
    time_ms: int

    @property
    def kind(self) -> str:
        """What the logs call it."""
        return "balance"

    @property
    def subject(self) -> str:
        """Whose log it belongs to."""
        return self.currency

    @property
    def total(self) -> Decimal:
        """Available and frozen."""
        return _EXACT.add(self.available, self.frozen)

    @property
    def change(self) -> Decimal:
        """That of the total."""
        return _EXACT.add(self.available_change, self.frozen_change)


class Position(NamedTuple):
    """What is held of a contract: ``size`` in contracts, negative when short; ``realised`` is all profit and loss so far, less fees."""

    market: Market
    multiplier: Decimal
    size: Decimal = Decimal(0)
    entry_price: Decimal = Decimal(0)
    realised: Decimal = Decimal(0)
    last_close: Decimal = Decimal(0)
    updated_ms: int = 0

    @property
    def symbol(self) -> str:
        """The unified symbol."""
        return self.market.symbol

    @property
    def margin(self) -> Decimal:
        """What of the balance stands for it."""
        return _EXACT.divide(_EXACT.multiply(_EXACT.multiply(abs(self.size), self.entry_price), self.multiplier), Decimal(LEVERAGE))


class PositionChange(NamedTuple):
    """A position as it is after a change."""

    number: int
    position: Position

    @property
    def kind(self) -> str:
        """What the logs call it."""
        return "position"

    @property
    def subject(self) -> str:
        """Whose log it belongs to."""
        return self.position.symbol


class Seizure(NamedTuple):
    """The exchange closed a position against its owner's will: ``position`` is as it was before, ``fill`` what it did last to it."""

    number: int
    text: str
    position: Position
    fill: Fill

    @property
    def kind(self) -> str:
        """What the logs call it."""
        return "risk"

    @property
    def subject(self) -> str:
        """Whose log it belongs to."""
        return self.position.symbol


AccountEvent = OrderChange | Fill | BalanceChange | PositionChange | Seizure


class Funds:
    """What an account has of one currency."""

    def __init__(self, available: Decimal = Decimal(0)) -> None:
        self.available = available
        self.frozen = Decimal(0)

    @property
    def total(self) -> Decimal:
        """Available and frozen."""
        return _EXACT.add(self.available, self.frozen)


class Account(ABC):
    """One user's orders on ``markets``; its chances come from ``seed`` and are its own."""

    #: What fills are counted in where an order is filled in parts.
    quantum: Decimal
    #: The amounts that ``trade`` places, in quanta.
    traded: tuple[int, int]

    def __init__(self, markets: Mapping[str, Market], seed: int, deposits: Mapping[str, Decimal]) -> None:
        self.user = USER
        self.fill_chance = FILL_CHANCE
        self.markets = markets
        self.funds = {currency: Funds(amount) for currency, amount in deposits.items()}
        #: All that ever were, by id, and the last of each client's id; fills from the first on.
        self.orders: dict[int, Order] = {}
        self.fills: list[Fill] = []
        self._open: dict[str, dict[int, None]] = {symbol: {} for symbol in markets}
        self._by_client_id: dict[str, int] = {}
        self._order_id = 10**11
        self._fill_id = 10**9
        self._market_numbers: Counter[str] = Counter()
        self._number = 0
        self._chance = random.Random(f"account {seed}")

    @abstractmethod
    def reservation(self, order: Order, price: Decimal) -> Decimal:
        """What of ``order.reserved_currency`` an order takes out of what is available, where the market's price is ``price``."""

    @abstractmethod
    def reserved_currency(self, placement: Placement) -> str:
        """In which currency that is."""

    @abstractmethod
    def settled(self, order: Order, fill: Fill, unreserved: Decimal) -> list[AccountEvent]:
        """What a fill does to balances and positions; ``unreserved`` is what the order no longer reserves."""

    @abstractmethod
    def fee_of(self, order: Order, amount: Decimal, turnover: Decimal) -> tuple[Decimal, str]:
        """The fee of a fill, and its currency."""

    def turnover(self, market: Market, price: Decimal, amount: Decimal) -> Decimal:
        """What so much costs, in the quote currency."""
        return price * amount

    def reducible(self, symbol: str, side: str) -> Decimal:
        """The most that an order on this side could reduce a position by."""
        return Decimal(0)

    def available(self, currency: str) -> Decimal:
        """What can be reserved."""
        return self.funds[currency].available

    def has_open(self, symbol: str) -> bool:
        """Whether any order waits on a market."""
        return bool(self._open[symbol])

    def open_orders(self, symbol: str | None = None) -> list[Order]:
        """Those that wait, the oldest first."""
        symbols: Iterable[str] = self._open if symbol is None else (symbol,)
        return [self.orders[order_id] for order_id in sorted(each for name in symbols for each in self._open[name])]

    def order(self, order_id: int | None = None, client_id: str | None = None) -> Order:
        """One order, by either of its ids. Raises OrderRefused."""
        if client_id is not None:
            order_id = self._by_client_id.get(client_id)
        if order_id is None or order_id not in self.orders:
            raise OrderRefused(Refusal.UNKNOWN_ORDER)
        return self.orders[order_id]

    @exactly
    def place(self, placement: Placement, now_ms: int) -> list[AccountEvent]:
        """Place an order: the first event is it, as new. Raises OrderRefused."""
        market = self.markets[placement.symbol]
        amount = _checked(placement.amount, Refusal.AMOUNT)
        price = Decimal(0) if placement.price is None else _checked(placement.price, Refusal.PRICE)
        best = _best(market, placement.side)
        if placement.reduce_only:
            amount = min(amount, self.reducible(placement.symbol, placement.side))
            if not amount:
                raise OrderRefused(Refusal.NOTHING_TO_REDUCE)
        currency = self.reserved_currency(placement)
        order = Order(
            self._order_id + 1,
            placement.client_id,
            market,
            placement.side,
            price,
            amount,
            placement.tif,
            placement.in_quote,
            placement.reduce_only,
            now_ms,
            now_ms,
            amount,
            currency,
        )
        quantity = divided(amount, best) if order.in_quote else min(amount, _standing(order))
        if not quantity and order.in_quote:
            raise OrderRefused(Refusal.AMOUNT)
        reserved = self.reservation(order, best)
        if reserved > self.available(currency):
            raise OrderRefused(Refusal.FUNDS)
        ending = _unfit(order, quantity)
        if ending:
            reserved = Decimal(0)
        self._order_id += 1
        if order.client_id:
            self._by_client_id[order.client_id] = order.order_id
        self._open[order.symbol][order.order_id] = None
        order = self._keep(order._replace(reserved=reserved))
        events: list[AccountEvent] = [self._order_change("put", order)]
        events += self._moved(currency, -reserved, reserved, Reason.PLACED, order, now_ms)
        if ending:
            return events + self._end(order, ending, now_ms)
        parts = self._parts(quantity)
        for number, part in enumerate(parts, 1):
            events += self._fill(order.order_id, best, part, now_ms, is_maker=False, is_last=order.in_quote and number == len(parts))
        order = self.orders[order.order_id]
        return events + self._end(order, Ending.IOC, now_ms) if order.is_open and order.tif is TimeInForce.IOC else events

    @exactly
    def cancel(self, order_id: int, now_ms: int) -> list[AccountEvent]:
        """Cancel an order that waits. Raises OrderRefused."""
        order = self.order(order_id)
        if not order.is_open:
            raise OrderRefused(Refusal.FINISHED)
        return self._end(order, Ending.CANCELLED, now_ms)

    @exactly
    def fill(self, order_id: int, now_ms: int, amount: Decimal | None = None) -> list[AccountEvent]:
        """Let an order that waits be filled at its price, whole or by ``amount``. Raises OrderRefused."""
        order = self.order(order_id)
        if not order.is_open:
            raise OrderRefused(Refusal.FINISHED)
        part = order.left if amount is None else min(amount, order.left)
        if order.reduce_only:
            part = min(part, self.reducible(order.symbol, order.side))
            if not part:
                return self._end(order, Ending.REDUCE_ONLY, now_ms)
        return self._fill(order_id, order.price, part, now_ms, is_maker=True)

    @exactly
    def react(self, market: Market, now_ms: int) -> list[AccountEvent]:
        """The book of a market changed: an order that its price has reached is filled, one that rests within the book by chance."""
        events: list[AccountEvent] = []
        for order_id in list(self._open[market.symbol]):
            order = self.orders[order_id]
            if _standing(order) or (self._is_near(order) and self._chance.random() < self.fill_chance):
                events += self.fill(order_id, now_ms, self._some(order.left))
        return events

    @exactly
    def trade(self, now_ms: int) -> list[AccountEvent]:
        """Do something at random: place an order, cancel one or let one be filled."""
        waiting = self.open_orders()
        choice = self._chance.random()
        if waiting and (choice < 0.2 or len(waiting) >= MOST_OPEN):
            return self.cancel(self._chance.choice(waiting).order_id, now_ms)
        if waiting and choice < 0.5:
            order = self._chance.choice(waiting)
            return self.fill(order.order_id, now_ms, self._some(order.left))
        placement = self._placement()
        # Whoever has spent all that he had can still go the other way.
        for side in (placement.side, _other(placement.side)):
            try:
                return self.place(placement._replace(side=side), now_ms)
            except OrderRefused:
                continue
        return []

    def state(self) -> dict[str, object]:
        """All of it as text: balances by currency, positions by symbol, every order and every fill there ever was."""
        return {
            "user": self.user,
            "balances": {
                currency: {"total": text(funds.total), "available": text(self.available(currency)), "frozen": text(funds.frozen)}
                for currency, funds in self.funds.items()
            },
            "positions": {},
            "orders": [_order_state(order) for order in self.orders.values()],
            "fills": [_fill_state(fill) for fill in self.fills],
        }

    def _placement(self) -> Placement:
        chance = self._chance
        market = self.markets[chance.choice(list(self.markets))]
        side = chance.choice((BUY, SELL))
        amount = self.quantum * chance.randint(*self.traded)
        if chance.random() < 0.25:
            return Placement(market.symbol, side, amount, None, TimeInForce.IOC, self._client_id())
        away = chance.randint(-2, 20)
        best = _best(market, side)
        price = best + Decimal(-away if side == BUY else away) / TICKS
        tif = TimeInForce.GTC if chance.random() < 0.7 else chance.choice(list(TimeInForce))
        return Placement(market.symbol, side, amount, price, tif, self._client_id())

    def _client_id(self) -> str:
        return f"t-{self._order_id + 1}" if self._chance.random() < 0.5 else ""

    def _parts(self, quantity: Decimal) -> list[Decimal]:
        """An amount in one to three parts."""
        parts = []
        for _ in range(self._chance.randrange(3)):
            part = self._some(quantity)
            if part == quantity:
                break
            parts.append(part)
            quantity -= part
        return [*parts, quantity] if quantity else parts

    def _some(self, quantity: Decimal) -> Decimal:
        """A part of an amount, in quanta, or all of it."""
        quanta = int(_ROUNDED.divide(quantity, self.quantum))
        if quanta < 2 or self._chance.random() < 0.4:
            return quantity
        return self.quantum * self._chance.randint(1, quanta - 1)

    def _is_near(self, order: Order) -> bool:
        """Whether an order rests within what its market's book shows."""
        tick = order.price * TICKS
        return tick >= min(order.market.bids) if order.side == BUY else tick <= max(order.market.asks)

    def _fill(
        self, order_id: int, price: Decimal, amount: Decimal, now_ms: int, is_maker: bool, is_last: bool = False
    ) -> list[AccountEvent]:
        order = self.orders[order_id]
        turnover = self.turnover(order.market, price, amount)
        fee, currency = self.fee_of(order, amount, turnover)
        left = order.left - (turnover if order.in_quote else amount)
        is_done = is_last or not left
        if is_done:
            unreserved = order.reserved
        elif order.in_quote:
            unreserved = turnover
        else:
            # What is still reserved goes with what is left: the same share of a product, exact.
            unreserved = order.reserved - self.reservation(order._replace(amount=left), order.price or price)
        order = self._keep(
            order._replace(
                left=left,
                reserved=order.reserved - unreserved,
                filled=order.filled + amount,
                turnover=order.turnover + price * amount,
                fee=order.fee + fee,
                fee_currency=currency,
                last_fill=amount,
                updated_ms=now_ms,
                ending=Ending.FILLED if is_done else Ending.OPEN,
            )
        )
        self._fill_id += 1
        self._market_numbers[order.symbol] += 1
        fill = Fill(self._fill_id, self._market_numbers[order.symbol], order, price, amount, turnover, fee, currency, is_maker, now_ms)
        self.fills.append(fill)
        change = self._order_change("finish" if is_done else "update", order)
        return [change, fill, *self.settled(order, fill, unreserved)]

    def _end(self, order: Order, ending: Ending, now_ms: int) -> list[AccountEvent]:
        reserved = order.reserved
        order = self._keep(order._replace(ending=ending, reserved=Decimal(0), updated_ms=now_ms))
        return [
            self._order_change("finish", order),
            *self._moved(order.reserved_currency, reserved, -reserved, Reason.RELEASED, order, now_ms),
        ]

    def _keep(self, order: Order) -> Order:
        self.orders[order.order_id] = order
        if not order.is_open:
            self._open[order.symbol].pop(order.order_id, None)
        return order

    def _order_change(self, what: str, order: Order) -> OrderChange:
        return OrderChange(self._next_number(), what, order)

    def _moved(self, currency: str, available: Decimal, frozen: Decimal, reason: Reason, order: Order, now_ms: int) -> list[AccountEvent]:
        """Change a balance; nothing happens where nothing changes."""
        if not available and not frozen:
            return []
        funds = self.funds[currency]
        funds.available += available
        funds.frozen += frozen
        return [self._balance_change(currency, available, frozen, reason, order, now_ms)]

    def _balance_change(
        self, currency: str, available: Decimal, frozen: Decimal, reason: Reason, order: Order, now_ms: int
    ) -> BalanceChange:
        funds = self.funds[currency]
        return BalanceChange(self._next_number(), currency, funds.available, funds.frozen, available, frozen, reason, order, now_ms)

    def _next_number(self) -> int:
        self._number += 1
        return self._number


class SpotAccount(Account):
    """An account that owns what it buys; the fee is taken out of what is received."""

    quantum = Decimal("0.0001")
    traded = 1, 1000

    def __init__(self, markets: Mapping[str, Market], seed: int, deposits: Mapping[str, Decimal] | None = None) -> None:
        pairs = [symbol.split("/") for symbol in markets]
        own = {base: BASE_DEPOSIT for base, _ in pairs} | {quote: QUOTE_DEPOSIT for _, quote in pairs}
        super().__init__(markets, seed, own | dict(deposits or {}))

    def reserved_currency(self, placement: Placement) -> str:
        """What is paid with."""
        base, quote = placement.symbol.split("/")
        return quote if placement.side == BUY else base

    def reservation(self, order: Order, price: Decimal) -> Decimal:
        """What may have to be paid."""
        if order.side == SELL or order.in_quote:
            return order.amount
        return (order.price or price) * order.amount

    def fee_of(self, order: Order, amount: Decimal, turnover: Decimal) -> tuple[Decimal, str]:
        """A share of what is received."""
        base, quote = order.symbol.split("/")
        return (amount * FEE, base) if order.side == BUY else (turnover * FEE, quote)

    def settled(self, order: Order, fill: Fill, unreserved: Decimal) -> list[AccountEvent]:
        """One currency goes, the other comes."""
        paid, received = (fill.turnover, fill.amount) if order.side == BUY else (fill.amount, fill.turnover)
        now_ms = fill.time_ms
        return [
            *self._moved(order.reserved_currency, unreserved - paid, -unreserved, Reason.FILLED, order, now_ms),
            *self._moved(fill.fee_currency, received - fill.fee, Decimal(0), Reason.FILLED, order, now_ms),
        ]


class FuturesAccount(Account):
    """An account of positions, which all settle in ``currency``; margins are crossed and of one leverage.

    Its balance changes by fees, profits and losses alone: margins of orders are ``frozen``, those of positions lessen what is available.
    """

    quantum = Decimal(1)
    traded = 1, 20

    def __init__(
        self,
        markets: Mapping[str, Market],
        seed: int,
        multipliers: Mapping[str, Decimal],
        currency: str = "USDT",
        deposits: Mapping[str, Decimal] | None = None,
    ) -> None:
        super().__init__(markets, seed, {currency: QUOTE_DEPOSIT} | dict(deposits or {}))
        self.currency = currency
        self.positions = {symbol: Position(market, multipliers[symbol]) for symbol, market in markets.items()}

    @property
    def margin(self) -> Decimal:
        """What stands for all positions."""
        total = Decimal(0)
        for position in self.positions.values():
            total = _EXACT.add(total, position.margin)
        return total

    def available(self, currency: str) -> Decimal:
        """What can be reserved: the positions' margins cannot."""
        return _EXACT.subtract(self.funds[currency].available, self.margin)

    def reducible(self, symbol: str, side: str) -> Decimal:
        """The size of a position in the other direction."""
        size = self.positions[symbol].size
        return abs(size) if (size < 0) == (side == BUY) else Decimal(0)

    def turnover(self, market: Market, price: Decimal, amount: Decimal) -> Decimal:
        """The worth of so many contracts."""
        return price * amount * self.positions[market.symbol].multiplier

    def reserved_currency(self, placement: Placement) -> str:
        """That of settlement."""
        return self.currency

    def reservation(self, order: Order, price: Decimal) -> Decimal:
        """The margin of what it may open."""
        if order.reduce_only:
            return Decimal(0)
        return self.turnover(order.market, order.price or price, order.amount) / LEVERAGE

    def fee_of(self, order: Order, amount: Decimal, turnover: Decimal) -> tuple[Decimal, str]:
        """A share of the worth."""
        return turnover * FEE, self.currency

    def settled(self, order: Order, fill: Fill, unreserved: Decimal) -> list[AccountEvent]:
        """The fee and, where something is closed, what that brought; then the position."""
        now_ms = fill.time_ms
        self.funds[self.currency].frozen -= unreserved
        self.funds[self.currency].available += unreserved
        before = self.positions[order.symbol]
        signed = fill.amount if order.side == BUY else -fill.amount
        closed = min(fill.amount, self.reducible(order.symbol, order.side))
        profit = closed * (fill.price - before.entry_price) * before.multiplier * (1 if before.size > 0 else -1)
        size = before.size + signed
        entry = before.entry_price
        if not size:
            entry = Decimal(0)
        elif not closed:
            entry = divided(abs(before.size) * entry + fill.amount * fill.price, abs(size))
        elif closed < fill.amount:
            entry = fill.price
        position = before._replace(
            size=size,
            entry_price=entry,
            realised=before.realised + profit - fill.fee,
            last_close=profit if closed else before.last_close,
            updated_ms=now_ms,
        )
        self.positions[order.symbol] = position
        return [
            *self._moved(self.currency, -fill.fee, Decimal(0), Reason.FEE, order, now_ms),
            *self._moved(self.currency, profit, Decimal(0), Reason.PROFIT, order, now_ms),
            PositionChange(self._next_number(), position),
        ]

    def seize(self, symbol: str, text: str, now_ms: int) -> list[AccountEvent]:
        """Close a position against its owner's will: first its orders are canceled. Raises OrderRefused where there is none."""
        position = self.positions[symbol]
        if not position.size:
            raise OrderRefused(Refusal.NOTHING_TO_REDUCE)
        events = [event for order in self.open_orders(symbol) for event in self.cancel(order.order_id, now_ms)]
        side = SELL if position.size > 0 else BUY
        events += self.place(Placement(symbol, side, abs(position.size), None, TimeInForce.IOC, text, reduce_only=True), now_ms)
        return [*events, Seizure(self._next_number(), text, position, self.fills[-1])]

    def _moved(self, currency: str, available: Decimal, frozen: Decimal, reason: Reason, order: Order, now_ms: int) -> list[AccountEvent]:
        """Change the balance; what is only reserved or released is told to nobody."""
        events = super()._moved(currency, available, frozen, reason, order, now_ms)
        return [] if reason in (Reason.PLACED, Reason.RELEASED) else events

    def state(self) -> dict[str, object]:
        """The same with the positions."""
        return super().state() | {
            "positions": {
                symbol: {
                    "size": text(position.size),
                    "entry_price": text(position.entry_price),
                    "realised": text(position.realised),
                }
                for symbol, position in self.positions.items()
            }
        }


def _order_state(order: Order) -> dict[str, object]:
    return {
        "order_id": str(order.order_id),
        "client_id": order.client_id,
        "symbol": order.symbol,
        "side": order.side,
        "price": text(order.price),
        "amount": text(order.amount),
        "in_quote": order.in_quote,
        "tif": order.tif.value,
        "left": text(order.left),
        "filled": text(order.filled),
        "turnover": text(order.turnover),
        "fee": text(order.fee),
        "fee_currency": order.fee_currency,
        "ending": order.ending.value,
        "created_ms": order.created_ms,
        "updated_ms": order.updated_ms,
    }


def _fill_state(fill: Fill) -> dict[str, object]:
    return {
        "fill_id": str(fill.number),
        "order_id": str(fill.order.order_id),
        "symbol": fill.order.symbol,
        "side": fill.order.side,
        "price": text(fill.price),
        "amount": text(fill.amount),
        "turnover": text(fill.turnover),
        "fee": text(fill.fee),
        "fee_currency": fill.fee_currency,
        "is_maker": fill.is_maker,
        "time_ms": fill.time_ms,
    }


def _checked(number: Decimal, refusal: Refusal) -> Decimal:
    """A number that an order may have. Raises OrderRefused."""
    if not number.is_finite() or not 0 < number < 10**12 or number != _ROUNDED.quantize(number, _LAST_DIGIT):
        raise OrderRefused(refusal)
    return number


def _best(market: Market, side: str) -> Decimal:
    """The price that an order on this side can have at once."""
    return Decimal(min(market.asks) if side == BUY else max(market.bids)) / TICKS


def _standing(order: Order) -> Decimal:
    """How much stands on the other side of the book for what the order would pay; for a market order there is always enough."""
    if order.is_market:
        return order.left
    tick = order.price * TICKS
    if order.side == BUY:
        return Decimal(sum(lots for level, lots in order.market.asks.items() if level <= tick)) / LOTS
    return Decimal(sum(lots for level, lots in order.market.bids.items() if level >= tick)) / LOTS


def _unfit(order: Order, quantity: Decimal) -> Ending | None:
    """Why an order ends before anything of it is filled, where so much could be at once."""
    if order.tif is TimeInForce.POST_ONLY and quantity:
        return Ending.POST_ONLY
    if order.tif is TimeInForce.FOK and quantity < order.amount and not order.in_quote:
        return Ending.FOK
    return None


def _other(side: str) -> str:
    return SELL if side == BUY else BUY


def orders_of(events: Sequence[AccountEvent]) -> Order:
    """The order that the first event of a placing tells of."""
    first = events[0]
    assert isinstance(first, OrderChange)
    return first.order
