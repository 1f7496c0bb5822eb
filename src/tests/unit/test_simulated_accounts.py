"""An account of a simulated exchange, order by order."""

from decimal import Decimal
from typing import Any

import pytest

from infrastructure.simulator.accounts import (
    BUY,
    SELL,
    Account,
    AccountEvent,
    BalanceChange,
    Ending,
    Fill,
    FuturesAccount,
    Order,
    OrderChange,
    OrderRefused,
    Placement,
    PositionChange,
    Reason,
    Refusal,
    SpotAccount,
    TimeInForce,
    divided,
    orders_of,
    text,
)
from infrastructure.simulator.market import TICKS, Market, Trading

NOTHING = Decimal(0)
PAIR, CONTRACT = "BTC/USDT", "BTC/USDT:USDT"


def spot(**deposits: str) -> tuple[SpotAccount, Market]:
    trading = Trading((PAIR,), 3)
    given = {currency: Decimal(amount) for currency, amount in deposits.items()}
    return SpotAccount(trading.markets, 3, given), trading.markets[PAIR]


def futures() -> tuple[FuturesAccount, Market]:
    trading = Trading((CONTRACT,), 3)
    return FuturesAccount(trading.markets, 3, {CONTRACT: Decimal("0.0001")}), trading.markets[CONTRACT]


def bid(market: Market) -> Decimal:
    return Decimal(max(market.bids)) / TICKS


def ask(market: Market) -> Decimal:
    return Decimal(min(market.asks)) / TICKS


def kinds(events: list[AccountEvent]) -> list[str]:
    return [event.what if isinstance(event, OrderChange) else event.kind for event in events]


def balances(events: list[AccountEvent]) -> list[tuple[str, Decimal, Decimal, Reason]]:
    changes = [event for event in events if isinstance(event, BalanceChange)]
    return [(change.currency, change.change, change.frozen_change, change.reason) for change in changes]


def now(account: Account, events: list[AccountEvent]) -> Order:
    """The order that was placed, as it is now."""
    return account.order(orders_of(events).order_id)


def test_a_resting_order_freezes_what_it_may_cost_and_gives_it_back() -> None:
    account, market = spot()
    price = bid(market) - 40
    events = account.place(Placement(PAIR, BUY, Decimal("0.5"), price, client_id="t-mine"), 1000)
    assert kinds(events) == ["put", "balance"]
    cost = price / 2
    assert balances(events) == [("USDT", NOTHING, cost, Reason.PLACED)]
    assert account.funds["USDT"].frozen == cost and account.funds["USDT"].total == 1_000_000
    assert account.order(client_id="t-mine") is now(account, events)
    assert [order.order_id for order in account.open_orders()] == [orders_of(events).order_id]
    cancelled = account.cancel(orders_of(events).order_id, 2000)
    assert kinds(cancelled) == ["finish", "balance"] and balances(cancelled) == [("USDT", NOTHING, -cost, Reason.RELEASED)]
    order = now(account, events)
    assert (order.ending, order.left, order.created_ms, order.updated_ms) == (Ending.CANCELLED, Decimal("0.5"), 1000, 2000)
    assert account.funds["USDT"].available == 1_000_000 and account.open_orders() == []


def test_a_crossing_order_takes_the_best_price_and_gives_back_what_it_did_not_need() -> None:
    account, market = spot()
    limit, best = ask(market) + 1, ask(market)
    events = account.place(Placement(PAIR, BUY, Decimal("0.5"), limit), 1000)
    fills = [event for event in events if isinstance(event, Fill)]
    assert 1 <= len(fills) <= 3
    assert kinds(events) == [
        "put",
        "balance",
        *["update", "fill", "balance", "balance"] * (len(fills) - 1),
        "finish",
        "fill",
        "balance",
        "balance",
    ]
    assert {(fill.price, fill.is_maker, fill.fee_currency) for fill in fills} == {(best, False, "BTC")}
    assert sum(fill.amount for fill in fills) == Decimal("0.5")
    assert account.funds["BTC"].total == 1000 + Decimal("0.5") * Decimal("0.999")
    assert account.funds["USDT"].total == 1_000_000 - best / 2
    assert account.funds["USDT"].frozen == 0
    assert (now(account, events).average, now(account, events).ending) == (best, Ending.FILLED)


def test_a_market_buy_spends_what_it_says_and_no_more() -> None:
    account, market = spot()
    events = account.place(Placement(PAIR, BUY, Decimal(100), None, TimeInForce.IOC, in_quote=True), 1)
    order = now(account, events)
    assert order.filled == divided(Decimal(100), ask(market))
    assert order.left == 100 - order.filled * ask(market) and 0 <= order.left < Decimal("0.0001")
    assert order.ending is Ending.FILLED and order.reserved == 0
    assert account.funds["USDT"].available == 1_000_000 - order.turnover


def test_a_market_sell_is_filled_whole_however_little_stands_there() -> None:
    account, market = spot()
    events = account.place(Placement(PAIR, SELL, Decimal(900), None, TimeInForce.IOC), 1)
    assert now(account, events).filled == 900 and now(account, events).average == bid(market)
    assert account.funds["USDT"].total == 1_000_000 + 900 * bid(market) * Decimal("0.999")


def test_what_does_not_stand_there_waits_or_ends_as_the_order_says() -> None:
    for tif, ending in ((TimeInForce.GTC, Ending.OPEN), (TimeInForce.IOC, Ending.IOC), (TimeInForce.FOK, Ending.FOK)):
        account, market = spot()
        standing = Decimal(market.bids[max(market.bids)]) / 10_000
        events = account.place(Placement(PAIR, SELL, standing + 1, bid(market), tif), 1)
        order = now(account, events)
        assert order.ending is ending
        assert order.filled == (0 if tif is TimeInForce.FOK else standing)
        assert account.funds["BTC"].frozen == (1 if tif is TimeInForce.GTC else 0)


def test_a_post_only_order_rests_or_ends_unfilled() -> None:
    account, market = spot()
    events = account.place(Placement(PAIR, SELL, Decimal(1), bid(market), TimeInForce.POST_ONLY), 1)
    assert kinds(events) == ["put", "finish"] and now(account, events).ending is Ending.POST_ONLY
    assert now(account, account.place(Placement(PAIR, SELL, Decimal(1), ask(market), TimeInForce.POST_ONLY), 1)).is_open


def test_a_resting_order_is_filled_as_maker_once_the_price_reaches_it() -> None:
    account, market = spot()
    account.fill_chance = 0
    price = bid(market) - Decimal("0.05")
    order = orders_of(account.place(Placement(PAIR, BUY, Decimal("0.003"), price), 1))
    assert account.react(market, 2) == []
    for tick in [tick for tick in market.asks if tick < min(market.asks) + 3]:
        del market.asks[tick]
    market.asks[int(price * TICKS)] = 10_000
    events: list[AccountEvent] = []
    for now_ms in range(3, 60):
        events += account.react(market, now_ms)
    fills = [event for event in events if isinstance(event, Fill)]
    assert account.order(order.order_id).ending is Ending.FILLED
    assert {(fill.price, fill.is_maker) for fill in fills} == {(price, True)}


def test_by_chance_only_an_order_within_the_book_is_filled() -> None:
    account, market = spot()
    account.fill_chance = 1
    near = orders_of(account.place(Placement(PAIR, BUY, Decimal("0.5"), bid(market) - Decimal("0.1")), 1))
    far = orders_of(account.place(Placement(PAIR, BUY, Decimal("0.5"), bid(market) - 40), 1))
    for now_ms in range(50):
        account.react(market, now_ms)
    assert account.order(near.order_id).ending is Ending.FILLED and account.order(far.order_id).filled == 0


@pytest.mark.parametrize(
    ("placement", "refusal"),
    [
        (Placement(PAIR, BUY, Decimal(1), Decimal(10**7)), Refusal.FUNDS),
        (Placement(PAIR, SELL, Decimal(1001), Decimal(10**7)), Refusal.FUNDS),
        (Placement(PAIR, BUY, Decimal(10**7), None, TimeInForce.IOC, in_quote=True), Refusal.FUNDS),
        (Placement(PAIR, BUY, Decimal(0), Decimal(1)), Refusal.AMOUNT),
        (Placement(PAIR, BUY, Decimal(-1), Decimal(1)), Refusal.AMOUNT),
        (Placement(PAIR, BUY, Decimal("1e-9"), Decimal(1)), Refusal.AMOUNT),
        (Placement(PAIR, BUY, Decimal("NaN"), Decimal(1)), Refusal.AMOUNT),
        (Placement(PAIR, BUY, Decimal("Infinity"), Decimal(1)), Refusal.AMOUNT),
        (Placement(PAIR, BUY, Decimal("0.00000001"), None, TimeInForce.IOC, in_quote=True), Refusal.AMOUNT),
        (Placement(PAIR, BUY, Decimal(1), Decimal(0)), Refusal.PRICE),
        (Placement(PAIR, BUY, Decimal(1), Decimal("0.000000001")), Refusal.PRICE),
        (Placement(PAIR, SELL, Decimal(1), None, reduce_only=True), Refusal.NOTHING_TO_REDUCE),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(placement: Placement, refusal: Refusal) -> None:
    account, _ = spot()
    before = account.state()
    with pytest.raises(OrderRefused) as raised:
        account.place(placement, 1)
    assert raised.value.refusal is refusal and account.state() == before


def test_an_order_that_is_unknown_or_over_cannot_be_cancelled_or_filled() -> None:
    account, market = spot()
    order = orders_of(account.place(Placement(PAIR, SELL, Decimal(1), None, TimeInForce.IOC), 1))
    for what in (account.cancel, account.fill):
        for order_id, refusal in ((order.order_id, Refusal.FINISHED), (17, Refusal.UNKNOWN_ORDER)):
            with pytest.raises(OrderRefused) as raised:
                what(order_id, 2)
            assert raised.value.refusal is refusal
    with pytest.raises(OrderRefused):
        account.order(client_id="t-nobody's")


def test_a_position_is_opened_enlarged_reduced_and_turned() -> None:
    account, market = futures()
    best_bid, best_ask = bid(market), ask(market)
    opened = account.place(Placement(CONTRACT, BUY, Decimal(10), None, TimeInForce.IOC), 1)
    assert kinds(opened)[-4:] == ["finish", "fill", "balance", "position"]
    position = account.positions[CONTRACT]
    assert (position.size, position.entry_price) == (Decimal(10), best_ask)
    account.place(Placement(CONTRACT, SELL, Decimal(4), None, TimeInForce.IOC), 2)
    lost = 4 * (best_bid - best_ask) * Decimal("0.0001")
    assert account.positions[CONTRACT].size == 6 and account.positions[CONTRACT].last_close <= 0
    fees = Decimal("0.001") * Decimal("0.0001") * (10 * best_ask + 4 * best_bid)
    assert account.positions[CONTRACT].realised == lost - fees
    assert account.funds["USDT"].total == 1_000_000 + lost - fees
    account.place(Placement(CONTRACT, SELL, Decimal(16), None, TimeInForce.IOC), 3)
    assert (account.positions[CONTRACT].size, account.positions[CONTRACT].entry_price) == (Decimal(-10), best_bid)
    closed = account.place(Placement(CONTRACT, BUY, Decimal(99), None, TimeInForce.IOC, reduce_only=True), 4)
    assert orders_of(closed).amount == 10
    last = closed[-1]
    assert isinstance(last, PositionChange) and last.position.size == last.position.entry_price == 0


def test_margins_lessen_what_is_available_and_are_no_balance_event() -> None:
    account, market = futures()
    events = account.place(Placement(CONTRACT, BUY, Decimal(10), bid(market) - 40), 1)
    assert kinds(events) == ["put"]
    margin = (bid(market) - 40) * 10 * Decimal("0.0001") / 10
    assert account.available("USDT") == 1_000_000 - margin and account.funds["USDT"].total == 1_000_000
    assert kinds(account.cancel(orders_of(events).order_id, 2)) == ["finish"]
    account.place(Placement(CONTRACT, BUY, Decimal(10), None, TimeInForce.IOC), 3)
    assert account.available("USDT") == account.funds["USDT"].total - ask(market) * Decimal("0.0001")
    with pytest.raises(OrderRefused) as raised:
        account.place(Placement(CONTRACT, BUY, Decimal(10**9), bid(market)), 1)
    assert raised.value.refusal is Refusal.FUNDS


def test_an_order_that_may_only_reduce_ends_where_nothing_is_left_to_reduce() -> None:
    account, market = futures()
    account.place(Placement(CONTRACT, BUY, Decimal(5), None, TimeInForce.IOC), 1)
    waiting = orders_of(account.place(Placement(CONTRACT, SELL, Decimal(5), ask(market) + 40, reduce_only=True), 2))
    account.place(Placement(CONTRACT, SELL, Decimal(5), None, TimeInForce.IOC), 3)
    events = account.fill(waiting.order_id, 4)
    assert kinds(events) == ["finish"] and account.order(waiting.order_id).ending is Ending.REDUCE_ONLY


def test_the_same_seed_trades_the_same() -> None:
    def lived(seed: int) -> dict[str, object]:
        account, _ = spot()
        account = SpotAccount(account.markets, seed)
        for now_ms in range(200):
            account.trade(now_ms)
        return account.state()

    assert lived(1) == lived(1) != lived(2)


def test_an_account_without_funds_does_nothing_by_itself() -> None:
    account, _ = spot(USDT="0", BTC="0")
    assert [event for now_ms in range(50) for event in account.trade(now_ms)] == []


@pytest.mark.parametrize(
    ("number", "written"), [("1.500", "1.5"), ("100", "100"), ("1E+3", "1000"), ("1e-8", "0.00000001"), ("-0.00", "0"), ("0E-20", "0")]
)
def test_numbers_are_written_without_exponents_and_zeros_at_the_end(number: str, written: str) -> None:
    assert text(Decimal(number)) == written


def test_a_state_has_everything_as_text() -> None:
    account, market = futures()
    account.place(Placement(CONTRACT, SELL, Decimal(3), None, TimeInForce.IOC, "t-a"), 1)
    state: Any = account.state()
    price = text(bid(market))
    assert state["positions"] == {CONTRACT: {"size": "-3", "entry_price": price, "realised": text(account.positions[CONTRACT].realised)}}
    (order,) = state["orders"]
    assert (order["client_id"], order["filled"], order["ending"]) == ("t-a", "3", "filled")
    assert {fill["price"] for fill in state["fills"]} == {price}


def test_no_order_is_filled_beyond_its_amount() -> None:
    account, market = spot()
    order = orders_of(account.place(Placement(PAIR, BUY, Decimal("0.5"), bid(market) - 40), 1))
    assert kinds(account.fill(order.order_id, 2, Decimal("0.2"))) == ["update", "fill", "balance", "balance"]
    account.fill(order.order_id, 3, Decimal(99))
    assert (account.order(order.order_id).filled, account.order(order.order_id).left) == (Decimal("0.5"), NOTHING)
