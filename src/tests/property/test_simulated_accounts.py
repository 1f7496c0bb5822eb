"""Accounts of the simulated exchanges against a second book-keeping, in fractions: nothing is made, lost or rounded, whatever is done."""

from collections import defaultdict
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from infrastructure.simulator.accounts import (
    BUY,
    SELL,
    Account,
    AccountEvent,
    BalanceChange,
    Ending,
    Fill,
    FuturesAccount,
    OrderChange,
    OrderRefused,
    Placement,
    PositionChange,
    Reason,
    SpotAccount,
    TimeInForce,
)
from infrastructure.simulator.market import TICKS, Trading
from tests.harness.effort import effort

SYMBOLS = ("BTC/USDT", "ETH/USDT")
CONTRACTS = ("BTC/USDT:USDT", "ETH/USDT:USDT")
MULTIPLIERS = {CONTRACTS[0]: Decimal("0.0001"), CONTRACTS[1]: Decimal(10)}


class Step(NamedTuple):
    """Something done to an account; which of its numbers matter depends on what."""

    what: str
    symbol: int
    side: str
    amount: Decimal
    offset: int | None
    tif: TimeInForce
    in_quote: bool
    reduce_only: bool
    choice: int


AMOUNTS = st.one_of(
    st.decimals(min_value=Decimal("0.00000001"), max_value=Decimal(1500), places=8), st.integers(min_value=1, max_value=100).map(Decimal)
)
STEPS = st.builds(
    Step,
    st.sampled_from(("place", "place", "cancel", "fill", "market", "trade")),
    st.integers(0, 1),
    st.sampled_from((BUY, SELL)),
    AMOUNTS,
    st.none() | st.integers(-30, 30),
    st.sampled_from(list(TimeInForce)),
    st.booleans(),
    st.booleans(),
    st.integers(0, 1000),
)


class Books:
    """What the events of an account say, added up by other means than its own."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self.symbols = list(account.markets)
        self.trading_ms = 0
        self.totals = {currency: Fraction(funds.total) for currency, funds in account.funds.items()}
        self.told = {currency: (funds.available, funds.frozen) for currency, funds in account.funds.items()}
        self.filled: defaultdict[int, Fraction] = defaultdict(Fraction)
        self.sizes: defaultdict[str, Fraction] = defaultdict(Fraction)
        self.ended: dict[int, Any] = {}
        self.last_number = self.last_fill = 0

    def take(self, events: list[AccountEvent]) -> None:
        for event in events:
            if isinstance(event, Fill):
                assert event.number > self.last_fill
                self.last_fill = event.number
                self.filled[event.order.order_id] += Fraction(event.amount)
                self.sizes[event.order.symbol] += Fraction(event.amount) * (1 if event.order.side == BUY else -1)
                self.settle(event)
                continue
            assert event.number > self.last_number
            self.last_number = event.number
            if isinstance(event, OrderChange):
                assert event.order.order_id not in self.ended, "an order ended and went on"
                if event.what == "finish":
                    assert not event.order.is_open
                    self.ended[event.order.order_id] = event.order
            elif isinstance(event, BalanceChange):
                if isinstance(self.account, SpotAccount):
                    available, frozen = self.told[event.currency]
                    assert (available + event.available_change, frozen + event.frozen_change) == (event.available, event.frozen)
                self.told[event.currency] = event.available, event.frozen
                if event.reason is Reason.PROFIT:
                    self.totals[event.currency] += Fraction(event.change)
            else:
                assert isinstance(event, PositionChange)
                assert Fraction(event.position.size) == self.sizes[event.position.symbol]

    def settle(self, fill: Fill) -> None:
        order = fill.order
        amount, price = Fraction(fill.amount), Fraction(fill.price)
        if isinstance(self.account, FuturesAccount):
            self.totals["USDT"] -= amount * price * Fraction(MULTIPLIERS[order.symbol]) / 1000
            return
        base, quote = order.symbol.split("/")
        if order.side == BUY:
            self.totals[quote] -= amount * price
            self.totals[base] += amount - amount / 1000
        else:
            self.totals[base] -= amount
            self.totals[quote] += amount * price - amount * price / 1000

    def check(self) -> None:
        account = self.account
        assert {currency: Fraction(funds.total) for currency, funds in account.funds.items()} == self.totals
        reserved: defaultdict[str, Fraction] = defaultdict(Fraction)
        for order in account.orders.values():
            assert Fraction(order.filled) == self.filled[order.order_id]
            assert order.left >= 0 and order.reserved >= 0
            if not order.in_quote:
                assert order.filled + order.left == order.amount
            if order.is_open:
                reserved[order.reserved_currency] += Fraction(order.reserved)
            else:
                assert order == self.ended[order.order_id] and not order.reserved
        for currency, funds in account.funds.items():
            assert Fraction(funds.frozen) == reserved[currency]
            if isinstance(account, SpotAccount):
                assert funds.available >= 0
                assert self.told[currency] == (funds.available, funds.frozen)
        for fill in account.fills:
            price = fill.order.price
            assert not price or (fill.price <= price if fill.order.side == BUY else fill.price >= price)


def step(account: Account, trading: Trading, done: Step, now_ms: int) -> list[AccountEvent]:
    """Do it; what is refused must have changed nothing."""
    before = account.state()
    try:
        return _step(account, trading, done, now_ms)
    except OrderRefused:
        assert account.state() == before
        return []


def _step(account: Account, trading: Trading, done: Step, now_ms: int) -> list[AccountEvent]:
    market = list(account.markets.values())[done.symbol]
    waiting = account.open_orders()
    if done.what == "trade":
        return account.trade(now_ms)
    if done.what == "market":
        events = []
        for _ in range(done.choice % 7):
            events += account.react(trading.make(market, "orderbook", now_ms).market, now_ms)
        return events
    if done.what in ("cancel", "fill") and waiting:
        order_id = waiting[done.choice % len(waiting)].order_id
        return account.cancel(order_id, now_ms) if done.what == "cancel" else account.fill(order_id, now_ms, done.amount)
    price = None if done.offset is None else Decimal(max(market.bids) + done.offset) / TICKS
    is_futures = isinstance(account, FuturesAccount)
    in_quote = done.in_quote and price is None and done.side == BUY and not is_futures
    tif = done.tif if price is not None else TimeInForce.IOC
    placement = Placement(market.symbol, done.side, done.amount, price, tif, f"t-{now_ms}", in_quote, done.reduce_only and is_futures)
    return account.place(placement, now_ms)


def go_through(account: Account, trading: Trading, steps: list[Step]) -> None:
    account.fill_chance = 0.2
    books = Books(account)
    for number, done in enumerate(steps):
        books.take(step(account, trading, done, number))
        books.check()


@given(st.lists(STEPS, max_size=40), st.integers(0, 100))
@effort(150)
def test_a_spot_account_is_what_was_deposited_and_filled_less_fees_to_the_last_digit(steps: list[Step], seed: int) -> None:
    trading = Trading(SYMBOLS, seed)
    go_through(SpotAccount(trading.markets, seed, {"USDT": Decimal(10_000), "BTC": Decimal(5)}), trading, steps)


@given(st.lists(STEPS, max_size=40), st.integers(0, 100))
@effort(150)
def test_a_futures_account_is_what_was_deposited_less_fees_and_what_its_positions_brought(steps: list[Step], seed: int) -> None:
    trading = Trading(CONTRACTS, seed)
    account = FuturesAccount(trading.markets, seed, MULTIPLIERS)
    go_through(account, trading, steps)
    # What positions brought, from the cash that went in and out; the entry price is cut off behind eight digits at every change.
    for symbol, position in account.positions.items():
        multiplier = Fraction(MULTIPLIERS[symbol])
        signed = [
            (Fraction(fill.amount) * (1 if fill.order.side == BUY else -1), fill) for fill in account.fills if fill.order.symbol == symbol
        ]
        cash = -sum(size * Fraction(fill.price) for size, fill in signed) * multiplier
        fees = sum(Fraction(fill.fee) for _, fill in signed)
        held = Fraction(position.size) * Fraction(position.entry_price) * multiplier
        traded = sum(abs(size) for size, _ in signed)
        assert abs(cash + held - fees - Fraction(position.realised)) <= Fraction(1, 10**8) * multiplier * traded * (len(signed) + 1)


def test_ten_thousand_things_an_account_does_by_itself_leave_its_books_whole() -> None:
    for symbols in (SYMBOLS, CONTRACTS):
        trading = Trading(symbols, 5)
        account: Account = SpotAccount(trading.markets, 5) if symbols is SYMBOLS else FuturesAccount(trading.markets, 5, MULTIPLIERS)
        books = Books(account)
        for now_ms in range(10_000):
            books.take(account.trade(now_ms))
            event = trading.next(now_ms)
            books.take(account.react(event.market, now_ms))
        books.check()
        assert len(account.fills) > 2000
        assert {order.ending for order in account.orders.values()} >= {
            Ending.FILLED,
            Ending.CANCELLED,
            Ending.IOC,
            Ending.FOK,
            Ending.POST_ONLY,
        }
