"""A simple exchange with one account: what is true, what its streams push, and what its REST interface answers at a moment."""

from collections import deque
from collections.abc import Collection
from decimal import Decimal
from typing import Any

from infrastructure.events import Data
from tests.harness.private_venue import event_of

Item = dict[str, Any]

SYMBOLS = {"BTC/USDT": "BTC", "ETH/USDT": "ETH"}
CHANNELS = {"order": "orders", "fill": "fills", "balance": "balances", "position": "positions"}


class ModelExchange:
    """Orders are executed by whoever asks for it. Each push waits in the queue of its channel, in order; channels have no order among them.

    ``has_times`` says whether pushes and answers carry the time of what they tell.
    """

    def __init__(self, *, has_times: bool) -> None:
        self.has_times = has_times
        self.now = 0
        self.orders: dict[str, Item] = {}
        self.fills: list[Item] = []
        self.balances: dict[str, Item] = {}
        self.positions: dict[str, Item] = {}
        #: Every state that a balance or a position was ever in.
        self.totals: dict[str, list[Decimal]] = {}
        self.entries: dict[str, list[tuple[Decimal, Decimal]]] = {}
        self.is_streaming = False
        #: By kind, with the moment of each.
        self.queues: dict[str, deque[tuple[int, Item]]] = {kind: deque() for kind in CHANNELS}

    @property
    def open_orders(self) -> list[str]:
        return [order_id for order_id, item in self.orders.items() if item["status"] == "open"]

    def place(self, symbol: str, price: Decimal, amount: Decimal) -> None:
        order_id = str(len(self.orders) + 1)
        terms = {"symbol": symbol, "price": str(price), "amount": str(amount), "filled": "0", "status": "open"}
        self._order({"kind": "order", "id": order_id} | terms)

    def execute(self, order_id: str, share: Decimal) -> None:
        """Fill this share of what is left of an order; all of what the smallest unit leaves."""
        order = self.orders[order_id]
        left = Decimal(order["amount"]) - Decimal(order["filled"])
        amount = min(left, max((left * share).quantize(Decimal("0.001")), Decimal("0.001")))
        symbol, price = order["symbol"], Decimal(order["price"])
        fill = {
            "kind": "fill",
            "id": str(len(self.fills) + 1),
            "order": order_id,
            "symbol": symbol,
            "price": str(price),
            "amount": str(amount),
        }
        self.fills.append(self._push(fill))
        status = "filled" if amount == left else "open"
        self._order(order | {"filled": str(Decimal(order["filled"]) + amount), "status": status})
        self.transfer("USDT", -price * amount)
        self.transfer(SYMBOLS[symbol], amount)
        held = self.positions.get(symbol)
        self._position(symbol, amount + (Decimal(held["amount"]) if held else 0), price)

    def amend(self, order_id: str, price: Decimal) -> None:
        self._order(self.orders[order_id] | {"price": str(price)})

    def cancel(self, order_id: str) -> None:
        self._order(self.orders[order_id] | {"status": "canceled"})

    def transfer(self, currency: str, change: Decimal) -> None:
        """A balance changes, by a little more than asked so that no state comes twice."""
        self._balance(currency, self.total(currency) + change + Decimal(self.now + 1) / 10**12)

    def empty(self, currency: str) -> None:
        self._balance(currency, Decimal(0))

    def close(self, symbol: str) -> None:
        self._position(symbol, Decimal(0), Decimal(0))

    def total(self, currency: str) -> Decimal:
        return Decimal(self.balances[currency]["amount"]) if currency in self.balances else Decimal(0)

    def open(self) -> None:
        """A connection is there, and subscribed."""
        self.is_streaming = True

    def cut(self) -> None:
        """It is lost, with all that was on its way."""
        self.is_streaming = False
        for queue in self.queues.values():
            queue.clear()

    def answer(self, kind: str, since: int | None, known_open: Collection[str], *, forgets: bool) -> list[Data]:
        """REST: one part of the account, as it is now.

        Orders are those that are open, and those of ``known_open`` that are not, unless the exchange ``forgets`` what was canceled before
        anything was filled.
        """
        if kind == "fill":
            items = [item for item in self.fills if not self.has_times or item["at"] >= (since or 0)]
        elif kind == "order":
            wanted = {*self.open_orders, *known_open}
            items = [item for order_id, item in self.orders.items() if order_id in wanted and not (forgets and self._is_nothing(item))]
        else:
            states = self.balances if kind == "balance" else self.positions
            items = [item for item in states.values() if Decimal(item["amount"])]
        return [event_of(item) for item in items]

    @staticmethod
    def _is_nothing(order: Item) -> bool:
        return order["status"] == "canceled" and not Decimal(order["filled"])

    def _order(self, order: Item) -> None:
        self.orders[order["id"]] = self._push(order)

    def _balance(self, currency: str, total: Decimal) -> None:
        self.balances[currency] = self._push({"kind": "balance", "currency": currency, "amount": str(total)})
        self.totals.setdefault(currency, []).append(total)

    def _position(self, symbol: str, amount: Decimal, price: Decimal) -> None:
        # The price of entry tells the states apart.
        entry = price + Decimal(self.now + 1) / 10**12 if amount else Decimal(0)
        self.positions[symbol] = self._push({"kind": "position", "symbol": symbol, "amount": str(amount), "entry": str(entry)})
        self.entries.setdefault(symbol, []).append((amount, entry))

    def _push(self, item: Item) -> Item:
        self.now += 1
        item = {key: value for key, value in item.items() if key != "at"} | ({"at": self.now} if self.has_times else {})
        if self.is_streaming:
            self.queues[item["kind"]].append((self.now, item))
        return item
