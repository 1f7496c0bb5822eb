"""What happened to an account, against what was told of it: every fill once, orders that only go forward, all to the last digit."""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from infrastructure.events import BalanceUpdate, Fill, OrderUpdate, PositionUpdate
from infrastructure.simulator.accounts import text
from infrastructure.simulator.ledger import FINDINGS

_AMOUNTS = ("total", "available", "frozen")

#: What one side has of something; None: nothing.
_Facts = tuple[object, ...] | None


class AccountLedger:
    """Counts what was lost, duplicated or reordered between an account and a callback, and says what else is not as the exchange has it.

    ``compare`` may be asked again and again while the receiver catches up: what it said before counts no more.
    """

    def __init__(self) -> None:
        self.duplicated = 0
        self.reordered = 0
        #: Fills that were not told, and what is otherwise not equal, by the last comparison.
        self.missing: list[str] = []
        self.wrong: list[str] = []
        self._before: set[str] = set()
        self._fills: dict[str, Fill] = {}
        self._orders: dict[str, OrderUpdate] = {}
        self._findings: list[str] = []

    def begin(self, theirs: Mapping[str, Any]) -> None:
        """The receiver begins: of fills that the exchange has by now it need not be told."""
        self._before = {fill["fill_id"] for fill in theirs["fills"]}

    def fill(self, fill: Fill) -> None:
        """A callback was told of a fill."""
        fill_id = plain(fill.fill_id)
        if fill_id in self._fills:
            self.duplicated += 1
            self._find(f"fill duplicated: {fill.symbol} {fill_id}")
        self._fills[fill_id] = fill

    def order(self, order: OrderUpdate) -> None:
        """A callback was told of an order."""
        before = self._orders.get(order.order_id)
        if before is not None and (before.status.is_final or order.filled < before.filled):
            self.reordered += 1
            self._find(f"order reordered: {order.symbol} {plain(order.order_id)} {order.status} came after {before.status}")
        self._orders[order.order_id] = order

    def compare(
        self,
        theirs: Mapping[str, Any],
        orders: Mapping[str, OrderUpdate],
        balances: Mapping[str, BalanceUpdate],
        positions: Mapping[Any, PositionUpdate],
    ) -> None:
        """Hold what was told, and the open orders, balances and positions that are shown, against what the exchange has."""
        fills = {fill["fill_id"]: fill for fill in theirs["fills"]}
        known = self._before | self._fills.keys()
        self.missing = [f"fill lost: {fill['symbol']} {fill_id}" for fill_id, fill in fills.items() if fill_id not in known]
        held = theirs["balances"]
        self.wrong = [
            *_unequal("fill", {fill_id: _their_fill(fills.get(fill_id), fill) for fill_id, fill in self._fills.items()}, self._told()),
            *_unequal(
                "order",
                {each["order_id"]: _their_order(each) for each in theirs["orders"] if each["ending"] == "open"},
                {plain(order_id): _our_order(order) for order_id, order in orders.items()},
            ),
            *_unequal(
                "balance",
                {currency: tuple(Decimal(its[name]) for name in _AMOUNTS) for currency, its in held.items() if Decimal(its["total"])},
                {currency: _our_balance(balance, held.get(currency)) for currency, balance in balances.items() if balance.total},
            ),
            *_unequal(
                "position",
                {
                    symbol: (Decimal(its["size"]), Decimal(its["entry_price"]))
                    for symbol, its in theirs["positions"].items()
                    if Decimal(its["size"])
                },
                {each.symbol: (each.amount, each.entry_price) for each in positions.values()},
            ),
        ]

    @property
    def told(self) -> int:
        """How many fills were told."""
        return len(self._fills)

    @property
    def lost(self) -> int:
        """How many fills were not told, by the last comparison."""
        return len(self.missing)

    @property
    def findings(self) -> list[str]:
        """The first few findings, in words; what is wrong is not among them."""
        return [*self._findings, *self.missing][:FINDINGS]

    def _told(self) -> dict[str, _Facts]:
        return {
            fill_id: (fill.symbol, plain(fill.order_id), fill.side, fill.price, fill.amount, fill.fee)
            for fill_id, fill in self._fills.items()
        }

    def _find(self, words: str) -> None:
        if len(self._findings) < FINDINGS:
            self._findings.append(words)


def plain(native_id: str) -> str:
    """The number in an id, which some exchanges dress up: ``C02__100000000033``, ``1000000024X1``."""
    return native_id.rpartition("__")[2].partition("X")[0]


def _their_fill(their: Mapping[str, str] | None, told: Fill) -> _Facts:
    """A fee that was not told is not compared."""
    if their is None:
        return None
    fee = None if told.fee is None else Decimal(their["fee"])
    return their["symbol"], their["order_id"], their["side"], Decimal(their["price"]), Decimal(their["amount"]), fee


def _their_order(their: Mapping[str, str]) -> _Facts:
    return their["symbol"], their["side"], *(Decimal(their[name]) for name in ("price", "amount", "filled"))


def _our_order(order: OrderUpdate) -> _Facts:
    return order.symbol, order.side, order.price, order.amount, order.filled


def _our_balance(balance: BalanceUpdate, their: Mapping[str, str] | None) -> _Facts:
    """What the venue tells no part of is taken from the exchange."""
    amounts = (balance.total, balance.available, balance.frozen)
    return tuple(
        Decimal(their[name]) if amount is None and their is not None else amount for name, amount in zip(_AMOUNTS, amounts, strict=True)
    )


def _unequal(what: str, theirs: Mapping[str, _Facts], ours: Mapping[str, _Facts]) -> Iterator[str]:
    for name in sorted(theirs.keys() | ours.keys()):
        their, our = theirs.get(name), ours.get(name)
        if their != our:
            yield f"{what} {name}: {_shown(our)}, at the exchange {_shown(their)}"


def _shown(facts: _Facts) -> str:
    if facts is None:
        return "none"
    return " ".join(text(fact) if isinstance(fact, Decimal) else str(fact) for fact in facts)
