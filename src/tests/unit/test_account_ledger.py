"""An account as it was told, held against the exchange's: whatever differs is found, in the last digit too."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from infrastructure.events import BalanceUpdate, Fill, OrderStatus, OrderUpdate, PositionUpdate, Side
from infrastructure.simulator.account_ledger import AccountLedger, plain

VENUE, BTC = "gateio_futures", "BTC/USDT:USDT"
ONE = Decimal("0.100000001")

FILL = Fill(VENUE, BTC, "1000000002", "100000000001", Side.BUY, Decimal("7600.10"), ONE, Decimal("0.76"), "USDT", 5)
ORDER = OrderUpdate(
    VENUE, BTC, "100000000001", None, Side.BUY, OrderStatus.OPEN, Decimal("7600.10"), Decimal("3.0"), ONE, 5, native_status="open"
)
BALANCE = BalanceUpdate(VENUE, "USDT", Decimal("999.990"), None, Decimal("0.01"), 5)
POSITION = PositionUpdate(VENUE, BTC, Decimal("-2"), Decimal("7600.1"), 5)


def theirs() -> dict[str, Any]:
    """The same as the exchange shows it, with a fill and an order from before."""
    fill = {"symbol": BTC, "order_id": "100000000001", "side": "buy", "price": "7600.1", "amount": "0.100000001", "fee": "0.76"}
    order = {"order_id": "100000000001", "symbol": BTC, "side": "buy", "price": "7600.1", "amount": "3", "filled": "0.100000001"}
    return {
        "fills": [fill | {"fill_id": "1000000001"}, fill | {"fill_id": "1000000002"}],
        "orders": [order | {"order_id": "100000000000", "ending": "cancelled"}, order | {"ending": "open"}],
        "balances": {
            "USDT": {"total": "999.99", "available": "7", "frozen": "0.01"},
            "BTC": {"total": "0", "available": "0", "frozen": "0"},
        },
        "positions": {BTC: {"size": "-2", "entry_price": "7600.1"}, "ETH/USDT:USDT": {"size": "0", "entry_price": "0"}},
    }


class Told:
    """What the account's feed told and shows."""

    def __init__(self) -> None:
        self.ledger = AccountLedger()
        self.ledger.begin({"fills": theirs()["fills"][:1]})
        self.orders = {ORDER.order_id: ORDER}
        self.balances = {"USDT": BALANCE}
        self.positions = {(BTC, ""): POSITION}
        self.fills = [FILL]

    def compared(self) -> AccountLedger:
        for fill in self.fills:
            self.ledger.fill(fill)
        self.ledger.compare(theirs(), self.orders, self.balances, self.positions)
        return self.ledger


def test_what_is_equal_is_found_equal_however_it_is_written() -> None:
    ledger = Told().compared()
    assert (ledger.missing, ledger.wrong, ledger.findings) == ([], [], [])
    assert (ledger.told, ledger.lost, ledger.duplicated, ledger.reordered) == (1, 0, 0, 0)


def test_a_fill_from_before_may_be_told() -> None:
    told = Told()
    told.fills.insert(0, replace(FILL, fill_id="1000000001"))
    assert (told.compared().wrong, told.ledger.lost) == ([], 0)


def test_a_fill_that_was_not_told_is_lost_until_it_comes() -> None:
    told = Told()
    told.fills = []
    assert told.compared().missing == ["fill lost: BTC/USDT:USDT 1000000002"] == told.ledger.findings
    assert told.ledger.lost == 1
    told.fills = [FILL]
    assert (told.compared().lost, told.ledger.findings) == (0, [])


def test_a_fill_that_is_told_twice_is_found_whatever_its_id_is_dressed_in() -> None:
    told = Told()
    told.fills.append(replace(FILL, fill_id="1000000002X1"))
    assert told.compared().duplicated == 1
    assert told.ledger.findings == ["fill duplicated: BTC/USDT:USDT 1000000002"]
    assert plain("C02__100000000033") == "100000000033" and plain("1000000024X1") == "1000000024"


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("fill 1000000002", lambda told: told.fills.append(replace(told.fills.pop(), amount=Decimal("0.100000002")))),
        ("fill 1000000002", lambda told: told.fills.append(replace(told.fills.pop(), price=Decimal("7600.11")))),
        ("fill 1000000002", lambda told: told.fills.append(replace(told.fills.pop(), fee=Decimal("0.77")))),
        ("fill 1000000002", lambda told: told.fills.append(replace(told.fills.pop(), side=Side.SELL))),
        ("fill 1000000002", lambda told: told.fills.append(replace(told.fills.pop(), order_id="100000000002"))),
        ("fill 1000000003", lambda told: told.fills.append(replace(FILL, fill_id="1000000003"))),
        ("order 100000000001", lambda told: told.orders.clear()),
        ("order 100000000000", lambda told: told.orders.update({"100000000000": replace(ORDER, order_id="100000000000")})),
        ("order 100000000001", lambda told: told.orders.update({ORDER.order_id: replace(ORDER, filled=Decimal("0.1"))})),
        ("order 100000000001", lambda told: told.orders.update({ORDER.order_id: replace(ORDER, price=None)})),
        ("balance USDT", lambda told: told.balances.clear()),
        ("balance USDT", lambda told: told.balances.update({"USDT": replace(BALANCE, total=Decimal("999.9900001"))})),
        ("balance USDT", lambda told: told.balances.update({"USDT": replace(BALANCE, frozen=Decimal("0.02"))})),
        ("balance USDT", lambda told: told.balances.update({"USDT": replace(BALANCE, available=Decimal("7.1"))})),
        ("balance ETH", lambda told: told.balances.update({"ETH": replace(BALANCE, currency="ETH")})),
        ("position BTC/USDT:USDT", lambda told: told.positions.clear()),
        ("position BTC/USDT:USDT", lambda told: told.positions.update({(BTC, ""): replace(POSITION, amount=Decimal(2))})),
        ("position BTC/USDT:USDT", lambda told: told.positions.update({(BTC, ""): replace(POSITION, entry_price=Decimal("7600.2"))})),
        ("position ETH/USDT:USDT", lambda told: told.positions.update({("ETH/USDT:USDT", ""): replace(POSITION, symbol="ETH/USDT:USDT")})),
    ],
)
def test_whatever_differs_is_named(what: str, change: Callable[[Told], object]) -> None:
    told = Told()
    change(told)
    (words,) = told.compared().wrong
    assert words.startswith(f"{what}: ") and ", at the exchange " in words


@pytest.mark.parametrize(
    "later", [replace(ORDER, filled=Decimal("0.1")), replace(ORDER, filled=Decimal("0.1"), status=OrderStatus.CANCELED)], ids=str
)
def test_an_order_of_which_less_is_filled_than_before_went_back(later: OrderUpdate) -> None:
    ledger = AccountLedger()
    ledger.order(ORDER)
    ledger.order(later)
    assert ledger.reordered == 1 and ledger.findings[0].startswith("order reordered: BTC/USDT:USDT 100000000001 ")


def test_an_order_that_has_ended_does_not_go_on_and_each_is_judged_by_itself() -> None:
    ledger = AccountLedger()
    ledger.order(ORDER)
    ledger.order(replace(ORDER, filled=ONE * 2))
    ledger.order(replace(ORDER, order_id="100000000002"))
    assert ledger.reordered == 0
    ledger.order(replace(ORDER, filled=ONE * 2, status=OrderStatus.CANCELED))
    assert ledger.reordered == 0
    ledger.order(replace(ORDER, filled=ONE * 2))
    assert ledger.reordered == 1
