"""What is known of an account: read only while it may be believed, and changed only by what is news."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from infrastructure import account as module
from infrastructure.account import Account, AccountSnapshot
from infrastructure.errors import AccountNotLive
from infrastructure.events import AccountState, BalanceUpdate, Data, Fill, OrderStatus, OrderUpdate, PositionUpdate, Side

SYMBOL = "BTC/USDT"
OPEN, FILLED, CANCELED = OrderStatus.OPEN, OrderStatus.FILLED, OrderStatus.CANCELED


def order(filled: int = 0, status: OrderStatus = OPEN, at: int | None = None, *, price: int = 1, number: int = 1) -> OrderUpdate:
    return OrderUpdate("venue", SYMBOL, str(number), None, Side.BUY, status, Decimal(price), Decimal(9), Decimal(filled), at)


def fill(number: int = 1, side: Side = Side.BUY, at: int | None = None, symbol: str = SYMBOL) -> Fill:
    return Fill("venue", symbol, str(number), "1", side, Decimal(1), Decimal(2), None, None, at)


def balance(total: int, at: int | None = None, currency: str = "USDT") -> BalanceUpdate:
    return BalanceUpdate("venue", currency, Decimal(total), Decimal(total), Decimal(0), at)


def position(amount: int, at: int | None = None, mode: str = "", entry_price: int = 1) -> PositionUpdate:
    return PositionUpdate("venue", SYMBOL, Decimal(amount), Decimal(entry_price), at, mode=mode)


@pytest.fixture
def account() -> Account:
    made = Account("venue")
    made.state = AccountState.LIVE
    return made


class TestReading:
    READ: list[Callable[[Any], Any]] = [
        lambda account: account.orders,
        lambda account: account.order("1"),
        lambda account: account.balances,
        lambda account: account.positions,
        lambda account: account.fills,
        lambda account: account.last_fill_ns,
    ]

    @pytest.mark.parametrize("read", READ, ids=["orders", "order", "balances", "positions", "fills", "last_fill_ns"])
    @pytest.mark.parametrize("state", AccountState, ids=lambda state: state.value)
    def test_only_a_live_account_can_be_read_but_for_the_raw_one(
        self, account: Account, state: AccountState, read: Callable[[Any], Any]
    ) -> None:
        for event in (order(), fill(at=5), balance(1), position(1)):
            account.apply(event)
        account.state = state
        assert read(account.raw)
        if account.is_live:
            assert read(account) == read(account.raw)
        else:
            with pytest.raises(AccountNotLive, match=f"the account at venue is {state.value.upper()}, not LIVE"):
                read(account)

    def test_what_is_read_cannot_be_written(self, account: Account) -> None:
        account.apply(order())
        for view in (account.orders, account.balances, account.positions, account.raw.orders):
            with pytest.raises(TypeError):
                view["1"] = order()  # type: ignore[index]  # that is the point
        assert isinstance(account.fills, tuple)

    def test_an_order_that_has_ended_can_be_read_by_its_id_alone(self, account: Account) -> None:
        account.apply(order())
        account.apply(order(9, FILLED))
        assert (dict(account.orders), account.order("1"), account.order("2")) == ({}, order(9, FILLED), None)

    def test_no_more_ended_orders_are_kept_than_the_limit(self, account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "ENDED_ORDERS", 2)
        for number in range(3):
            account.apply(order(9, FILLED, number=number))
        assert [account.order(str(number)) is None for number in range(3)] == [True, False, False]

    def test_the_latest_fills_are_kept_newest_last(self, account: Account) -> None:
        for number in range(module.LATEST_FILLS + 1):
            account.apply(fill(number))
        assert (len(account.fills), account.fills[0].fill_id, account.fills[-1].fill_id) == (module.LATEST_FILLS, "1", "1000")

    def test_the_time_of_the_last_fill_does_not_go_back(self, account: Account) -> None:
        assert account.last_fill_ns is None
        for number, at in enumerate((5, 3, None)):
            account.apply(fill(number, at=at))
        assert account.last_fill_ns == 5

    def test_the_two_sides_of_a_contract_are_two_positions_and_closed_ones_drop_out(self, account: Account) -> None:
        account.apply(position(3, mode="dual_long"))
        account.apply(position(-2, mode="dual_short"))
        account.apply(position(0, mode="dual_long"))
        assert {key: int(held.amount) for key, held in account.positions.items()} == {(SYMBOL, "dual_short"): -2}

    def test_repr_shows_the_state(self, account: Account) -> None:
        account.apply(order())
        assert repr(account) == "<Account venue live orders=1 balances=0 positions=0 fills=0>"


class TestFills:
    def test_a_fill_is_news_once(self, account: Account) -> None:
        assert [account.apply(fill()), account.apply(fill(at=7)), account.correct(fill())] == [True, False, False]

    def test_ids_are_of_a_symbol(self, account: Account) -> None:
        assert account.apply(fill()) and account.apply(fill(symbol="ETH/USDT"))

    def test_an_account_that_trades_with_itself_has_two_fills_of_one_id(self, account: Account) -> None:
        assert account.apply(fill()) and account.apply(fill(side=Side.SELL))

    def test_a_fill_without_an_id_cannot_be_known_again(self, account: Account) -> None:
        nameless = replace(fill(), fill_id="")
        assert account.apply(nameless) and account.apply(nameless)

    def test_a_bounded_number_is_remembered_and_the_oldest_fall_out(self, account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "REMEMBERED_FILLS", 3)
        for number in range(4):
            account.apply(fill(number))
        assert [account.apply(fill(number)) for number in (3, 2, 1, 0)] == [False, False, False, True]


class TestOrders:
    @pytest.mark.parametrize("asked", [False, True], ids=["stream", "rest"])
    @pytest.mark.parametrize(
        ("known", "told", "is_news"),
        [
            (order(), order(), False),
            (order(), order(1), True),
            (order(2), order(1), False),
            (order(2, at=1), order(1, at=2), False),
            (order(2, at=2), order(3, at=1), True),
            (order(), order(0, CANCELED), True),
            (order(2), order(1, CANCELED), False),
            (order(2), order(2, CANCELED), True),
            (order(2, at=5), order(2, CANCELED, at=4), True),
            (order(2, CANCELED), order(2, CANCELED), False),
            (order(2, CANCELED, at=1), order(2, FILLED, at=2), False),
            (order(2, CANCELED), order(3, CANCELED), True),
            (order(2, CANCELED), order(1, CANCELED), False),
            (order(2, CANCELED), order(2), False),
            (order(2, CANCELED, at=1), order(3, at=2), False),
            (order(at=1), order(at=2), False),
            (order(at=1), order(at=2, price=2), True),
            (order(at=1), order(at=1, price=2), True),
            (order(at=1), order(price=2), True),
            (order(), order(at=1, price=2), True),
            (order(1, at=1), replace(order(1, at=2), amount=Decimal(8)), True),
            (order(1, at=1), replace(order(1, at=2), quote_amount=Decimal(8)), True),
            (order(1), replace(order(1), price=Decimal("1.00")), False),
        ],
    )
    def test_an_order_goes_forward_only(self, account: Account, known: OrderUpdate, told: OrderUpdate, is_news: bool, asked: bool) -> None:
        account.apply(known)
        assert (account.correct if asked else account.apply)(told) is is_news
        assert account.order("1") == (told if is_news else known)
        assert list(account.orders) == ([] if (told if is_news else known).status.is_final else ["1"])

    def test_an_amendment_of_an_earlier_time_is_old_on_a_stream_and_new_from_rest(self, account: Account) -> None:
        account.apply(order(at=5))
        assert not account.apply(order(at=4, price=2))
        assert account.correct(order(at=4, price=2))

    def test_what_came_before_rest_was_asked_amends_nothing_that_rest_has_said(self, account: Account) -> None:
        account.correct(order(at=None, price=2))
        assert not account.apply(order(at=None, price=1), is_covered=True)
        assert account.raw.orders[order().order_id].price == 2
        assert account.apply(order(at=None, price=1))


class TestStates:
    """Balances and positions."""

    @pytest.mark.parametrize("state", [balance, position])
    @pytest.mark.parametrize(
        ("known", "told", "is_news"),
        [
            ((1, 5), (2, 6), True),
            ((1, 5), (2, 5), True),
            ((1, 5), (2, 4), False),
            ((1, 5), (2, None), True),
            ((1, None), (2, 4), True),
            ((1, 5), (1, 5), False),
            ((1, 5), (1, 6), True),
            ((0, 5), (2, 4), False),
            ((0, 5), (0, 5), False),
        ],
    )
    def test_the_latest_by_the_venues_time_counts_and_else_the_streams_order(
        self, account: Account, state: Callable[..., Any], known: tuple[int, int | None], told: tuple[int, int | None], is_news: bool
    ) -> None:
        account.apply(state(*known))
        assert account.apply(state(*told)) is is_news
        amounts = [held.total for held in account.balances.values()] + [held.amount for held in account.positions.values()]
        assert sum(amounts) == (told if is_news else known)[0]

    @pytest.mark.parametrize("state", [balance, position])
    def test_of_rest_the_time_does_not_count(self, account: Account, state: Callable[..., Any]) -> None:
        account.apply(state(1, 5))
        assert account.correct(state(2, 4))
        assert not account.correct(state(2, 3))

    @pytest.mark.parametrize("state", [balance, position])
    def test_nothing_of_what_nothing_is_known_of_is_no_news_from_rest(self, account: Account, state: Callable[..., Any]) -> None:
        assert not account.correct(state(0))
        assert account.correct(state(1))
        assert account.correct(state(0))
        assert account.apply(replace(state(0), exchange_ns=9))

    def test_a_position_that_was_entered_anew_is_news_though_its_amount_is_the_same(self, account: Account) -> None:
        account.apply(position(1, 5))
        assert account.correct(position(1, 6, entry_price=2))


class TestSnapshot:
    def test_it_is_told_in_the_order_of_time_and_then_part_by_part(self) -> None:
        snapshot = AccountSnapshot((order(),), (fill(2, at=2), fill(3), fill(1, at=1)), (balance(1),), (position(1),))
        assert snapshot.events == (fill(3), fill(1, at=1), fill(2, at=2), order(), balance(1), position(1))

    def test_what_it_lacks_has_ended(self, account: Account) -> None:
        known: list[Data] = [
            order(number=1),
            order(1, number=2),
            order(number=3),
            balance(1),
            replace(balance(2, 5, "BTC"), available=None),
            position(1),
        ]
        for event in known:
            account.apply(event)
        snapshot = AccountSnapshot((order(number=1),), (), (balance(1),), ())
        assert account.lacking(snapshot, {"1", "2"}) == [
            replace(order(1, number=2), status=CANCELED),
            replace(balance(0, currency="BTC"), available=None),
            PositionUpdate("venue", SYMBOL, Decimal(0), None, None),
        ]
        assert account.lacking(AccountSnapshot((), (), None, None), set()) == []
