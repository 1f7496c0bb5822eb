"""Accounts against a simple model of the exchange: whatever is lost, repeated and reordered, every fill is told once and the end is right.

The shipped session, handler, strategy set and lane; the owner, which asks REST, is the machine.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Sequence
from decimal import Decimal
from itertools import islice
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from infrastructure import private_session as module
from infrastructure.account import AccountSnapshot
from infrastructure.clock import Clock
from infrastructure.errors import AccountNotLive
from infrastructure.events import (
    AccountState,
    Architecture,
    BalanceUpdate,
    Data,
    Fill,
    Gap,
    OrderUpdate,
    PositionUpdate,
)
from infrastructure.metrics import PathMetrics
from infrastructure.networking.websocket.handlers import PrivateWebSocketHandler
from infrastructure.networking.websocket.lane import Lane
from infrastructure.networking.websocket.strategies import strategy_set
from infrastructure.networking.websocket.wiring import wire
from infrastructure.private_session import PrivateSession
from infrastructure.session import Emission
from infrastructure.venue import ALL, Acknowledgement
from tests.harness import private_venue
from tests.harness.effort import effort
from tests.harness.model_account import CHANNELS, SYMBOLS, Item, ModelExchange
from tests.harness.private_venue import ACCOUNT_VENUE
from tests.harness.variants import VARIANTS, Variant

KINDS = st.sampled_from(list(CHANNELS))
AMOUNTS = st.decimals(Decimal("0.001"), Decimal(5), places=3)
PRICES = st.decimals(1, 100, places=2)
DEEDS = ["place", "execute", "execute", "execute", "amend", "cancel", "transfer", "empty", "close"]
#: The shipped one, and so few that a run exceeds it.
LIMITS = st.sampled_from([module.WITHHELD_LIMIT, 8])


class Asked:
    """What the owner asks REST for, part by part, and what it has by now. ``until`` are the moments of the answers."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.parts: dict[str, list[Any]] = {}
        self.until: dict[str, int] = {}

    @property
    def is_whole(self) -> bool:
        return set(self.parts) == set(CHANNELS)

    @property
    def snapshot(self) -> AccountSnapshot:
        return AccountSnapshot(*(tuple(self.parts[kind]) for kind in CHANNELS))


class AccountMachine(RuleBasedStateMachine):
    """Orders and their fates; pushes in time, late, repeated and lost; cuts anywhere; REST read part by part, at any moment."""

    variant: Variant

    @initialize(has_times=st.booleans(), is_prompt=st.booleans(), is_async=st.booleans(), is_live=st.booleans(), limit=LIMITS)
    def start(self, has_times: bool, is_prompt: bool, is_async: bool, is_live: bool, limit: int) -> None:
        #: Whether an answer of REST comes after all that the streams had pushed when it was made.
        self.is_prompt = is_prompt
        self.exchange = ModelExchange(has_times=has_times)
        self.told: list[Any] = []
        self.asked: Asked | None = None
        #: What the exchange may push again.
        self.pushed: dict[str, list[Item]] = {kind: [] for kind in CHANNELS}
        self.loop = asyncio.new_event_loop()
        module.WITHHELD_LIMIT = limit
        self.session = PrivateSession(ACCOUNT_VENUE, None, self.agreed, reconciles=True)
        names = [name.removeprefix("_") for name in PrivateWebSocketHandler.event_methods.values()]
        clock = Clock()
        paths = {kind: PathMetrics(kind, clock.monotonic_ns) for kind in Architecture}
        self.handler = PrivateWebSocketHandler(self.session, paths[Architecture.DIRECT], **dict.fromkeys(names, self.callback(is_async)))
        self.routes = wire(self.session, self.handler, strategy_set(ACCOUNT_VENUE), None, paths, adapted=self.variant.adapted)
        route = self.routes[self.variant.architecture]
        self.lane = Lane(route, self.session, self.handler.callbacks.emit, venue=ACCOUNT_VENUE.name, clock=clock)
        if is_live:
            self.go_on(5, list(CHANNELS), False)

    def teardown(self) -> None:
        if not hasattr(self, "loop"):
            return
        try:
            self.finish()
        finally:
            module.WITHHELD_LIMIT = self.shipped_limit
            self.loop.close()

    shipped_limit = module.WITHHELD_LIMIT

    def callback(self, is_async: bool) -> Callable[[Any], Any]:
        async def awaited(event: Any) -> None:
            await asyncio.sleep(0)
            self.told.append(event)

        return awaited if is_async else self.told.append

    def agreed(self, answer: Acknowledgement) -> list[tuple[str, str]]:
        return [(channel, ALL) for channel in ACCOUNT_VENUE.channels]

    @property
    def state(self) -> AccountState:
        return self.session.account.state

    @property
    def told_data(self) -> int:
        return sum(isinstance(event, Data) for event in self.told)

    def deliver(self, *raws: bytes) -> None:
        async def run() -> None:
            for raw in raws:
                self.lane.deliver(raw)
            await self.lane.drain()

        before = self.told_data if self.state is not AccountState.LIVE else None
        self.loop.run_until_complete(run())
        assert before in (None, self.told_data), "told though the account is not live"

    def call(self, action: Callable[..., Sequence[Emission]], *arguments: object) -> None:
        async def run() -> None:
            await self.lane.call(action.__name__, lambda: action(*arguments))

        self.loop.run_until_complete(run())

    def push(self, items: list[Item]) -> None:
        self.deliver(json.dumps({"items": items}).encode())
        if self.session.held == module.WITHHELD_LIMIT:
            self.forget_states()

    # What the account's owner trades.

    @rule(deeds=st.lists(st.tuples(st.sampled_from(DEEDS), st.integers(0, 99), PRICES, AMOUNTS), min_size=3, max_size=8))
    def trade(self, deeds: list[tuple[str, int, Decimal, Decimal]]) -> None:
        exchange, symbols, currencies = self.exchange, list(SYMBOLS), ["USDT", *SYMBOLS.values()]
        for deed, number, price, amount in deeds:
            open_orders = exchange.open_orders
            order_id = open_orders[number % len(open_orders)] if open_orders else None
            if deed == "transfer":
                exchange.transfer(currencies[number % 3], amount)
            elif deed == "empty":
                exchange.empty(currencies[number % 3])
            elif deed == "close" and symbols[number % 2] in exchange.positions:
                exchange.close(symbols[number % 2])
            elif deed == "place" or order_id is None:
                exchange.place(symbols[number % 2], price, amount)
            elif deed == "execute":
                exchange.execute(order_id, Decimal("0.3") if number % 3 else Decimal(1))
            elif deed == "amend":
                exchange.amend(order_id, price)
            elif deed == "cancel":
                exchange.cancel(order_id)

    @rule(number=st.integers(0, 99))
    def fill_and_receive(self, number: int) -> None:
        """What most sessions consist of."""
        self.trade([("place", number, Decimal(2), Decimal(3)), ("execute", number, Decimal(2), Decimal(3))])
        self.receive_everything()

    # What becomes of the pushes.

    @rule(kind=KINDS, count=st.integers(1, 3))
    def receive(self, kind: str, count: int) -> None:
        queue = self.exchange.queues[kind]
        items = [item for _, item in islice(queue, count)]
        for _ in items:
            queue.popleft()
        if items:
            self.pushed[kind] += items
            self.push(items)

    @rule()
    def receive_everything(self) -> None:
        for kind in CHANNELS:
            self.receive(kind, len(self.exchange.queues[kind]))

    @rule(kind=KINDS, number=st.integers(0, 99))
    def receive_again(self, kind: str, number: int) -> None:
        pushed = self.pushed[kind]
        if not self.exchange.has_times and kind != "fill":
            pushed = pushed[-1:]  # Nothing else would tell what is old.
        if pushed:
            self.push([pushed[number % len(pushed)]])

    @precondition(lambda self: self.exchange.is_streaming)
    @rule(kind=KINDS, is_newest=st.booleans())
    def lose(self, kind: str, is_newest: bool) -> None:
        """The next frame cannot be read; it is the last of its channel for now if it ``is_newest``."""
        queue = self.exchange.queues[kind]
        if is_newest:
            self.receive(kind, max(0, len(queue) - 1))
        if queue:
            queue.popleft()
        self.deliver(b"{]")
        self.forget_states()

    @rule()
    def switch(self) -> None:
        route = self.routes[self.lane.route.architecture.other]

        async def run() -> None:
            await self.lane.switch(route)

        self.loop.run_until_complete(run())

    # What becomes of the connection.

    @rule(steps=st.integers(1, 5), order=st.permutations(list(CHANNELS)), forgets=st.booleans())
    def go_on(self, steps: int, order: list[str], forgets: bool) -> None:
        """Some steps of its owner towards a live account."""
        for _ in range(steps):
            if not self.exchange.is_streaming:
                self.exchange.open()
                self.call(self.session.begin)
            elif self.state is AccountState.AUTHENTICATING:
                self.deliver(private_venue.LOGIN)
                self.call(self.session.confirm)
            elif self.asked is not None and self.asked.is_whole:
                self.answer()
            elif self.session.needs_reconciliation:
                self.ask(order, forgets)

    @precondition(lambda self: self.exchange.is_streaming)
    @rule(expires=st.booleans())
    def cut(self, expires: bool) -> None:
        self.exchange.cut()
        if expires:
            self.call(self.session.expire, "not renewed")
        self.call(self.session.disconnect)
        self.asked = None
        self.forget_states()

    def ask(self, order: list[str], forgets: bool) -> None:
        """Ask for the next two parts."""
        asked = self.asked = self.asked or Asked(self.session.epoch)
        known = self.session.account.raw
        for kind in [kind for kind in order if kind not in asked.parts][:2]:
            asked.parts[kind] = self.exchange.answer(kind, known.last_fill_ns, known.orders, forgets=forgets)
            asked.until[kind] = self.exchange.now

    def answer(self) -> None:
        asked, self.asked = self.asked, None
        assert asked is not None
        for kind, until in asked.until.items() if self.is_prompt else ():
            self.receive(kind, sum(at <= until for at, _ in self.exchange.queues[kind]))
        self.call(self.session.reconcile, asked.snapshot, asked.epoch)
        self.forget_states()

    def forget_states(self) -> None:
        """What was pushed before REST was asked, or something was lost, is not pushed again: what has ended meanwhile nobody was told.

        Fills can be: they are known by their ids.
        """
        for kind in ("order", "balance", "position"):
            self.pushed[kind].clear()

    # What must hold.

    @invariant()
    def both_accounts_are_balanced(self) -> None:
        if not hasattr(self, "lane"):
            return
        assert self.lane.accounting().is_balanced
        session, callbacks = self.session, self.handler.callbacks
        came = session.decoded + session.raised + self.lane.raised + callbacks.raised
        assert came == callbacks.emitted + session.absorbed + session.held
        assert callbacks.emitted == callbacks.accepted == len(self.told)

    @invariant()
    def only_a_live_account_can_be_read(self) -> None:
        if not hasattr(self, "lane") or self.session.account.is_live:
            return
        with pytest.raises(AccountNotLive):
            _ = self.session.account.orders

    @invariant()
    def a_live_account_that_has_heard_everything_is_the_exchanges(self) -> None:
        if hasattr(self, "lane") and self.session.account.is_live and not any(self.exchange.queues.values()):
            self.assert_equal()

    def assert_equal(self) -> None:
        account, exchange = self.session.account, self.exchange
        orders = {key: (str(order.price), str(order.filled)) for key, order in account.orders.items()}
        assert orders == {key: (exchange.orders[key]["price"], exchange.orders[key]["filled"]) for key in exchange.open_orders}
        balances = {key: held.total for key, held in account.balances.items() if held.total}
        assert balances == {key: exchange.total(key) for key in exchange.balances if exchange.total(key)}
        positions = {symbol: str(held.amount) for (symbol, _), held in account.positions.items()}
        assert positions == {key: item["amount"] for key, item in exchange.positions.items() if Decimal(item["amount"])}
        assert {fill.fill_id for fill in self.of(Fill)} == {item["id"] for item in exchange.fills}

    @invariant()
    def no_fill_is_told_twice_and_no_order_goes_back(self) -> None:
        if not hasattr(self, "lane"):
            return
        assert max(Counter(fill.fill_id for fill in self.of(Fill)).values(), default=1) == 1
        known: dict[str, OrderUpdate] = {}
        for order in self.of(OrderUpdate):
            before = known.get(order.order_id)
            if before is not None:
                assert order.filled >= before.filled
                assert order.status.is_final or not before.status.is_final
            known[order.order_id] = order

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.told if type(event) is kind]

    def finish(self) -> None:
        """Connect, reconcile, hear everything: the account is the exchange's, and so is what was told of it."""
        self.go_on(1, list(CHANNELS), False)
        self.cut(False)
        self.go_on(5, list(CHANNELS), False)
        assert self.session.account.is_live
        self.receive_everything()
        self.assert_equal()
        self.both_accounts_are_balanced()
        self.no_fill_is_told_twice_and_no_order_goes_back()
        exact = {item["id"]: (item["price"], item["amount"]) for item in self.exchange.fills}
        assert {fill.fill_id: (str(fill.price), str(fill.amount)) for fill in self.of(Fill)} == exact
        for order in {order.order_id: order for order in self.of(OrderUpdate)}.values():
            item = self.exchange.orders[order.order_id]
            assert (str(order.filled), order.status) == (item["filled"], item["status"])
        if self.is_prompt:
            for currency, totals in self.exchange.totals.items():
                told = [balance.total for balance in self.of(BalanceUpdate) if balance.currency == currency]
                assert_in_order(told, totals)
            for symbol, entries in self.exchange.entries.items():
                states = [(p.amount, p.entry_price or Decimal(0)) for p in self.of(PositionUpdate) if p.symbol == symbol]
                assert_in_order(states, entries)
        assert all(gap.symbol is None for gap in self.of(Gap))


def assert_in_order(told: list[Any], history: list[Any]) -> None:
    """What was told is a part of the history, in its order."""
    rest = iter(history)
    assert all(state in rest for state in told), (told, history)


class DirectMachine(AccountMachine):
    variant = VARIANTS[0]


class DirectAdaptedMachine(AccountMachine):
    variant = VARIANTS[1]


class StrategyMachine(AccountMachine):
    variant = VARIANTS[2]


class StrategyAdaptedMachine(AccountMachine):
    variant = VARIANTS[3]


TestDirect = DirectMachine.TestCase
TestDirectAdapted = DirectAdaptedMachine.TestCase
TestStrategy = StrategyMachine.TestCase
TestStrategyAdapted = StrategyAdaptedMachine.TestCase
for _case in (TestDirect, TestDirectAdapted, TestStrategy, TestStrategyAdapted):
    _case.settings = effort(100, steps=50)
