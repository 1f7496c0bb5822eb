"""An account at a played exchange, streamed by the shipped manager in virtual time, and what its callbacks were told."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

from infrastructure.account import Account
from infrastructure.events import AccountState, AccountStateChange, ErrorEvent, Fill, Gap, OrderStatus, OrderUpdate
from infrastructure.exchanges import venue_named
from infrastructure.networking.websocket.account_streams import AccountStreams
from infrastructure.networking.websocket.handlers import PrivateWebSocketHandler
from infrastructure.networking.websocket.settings import ExchangeSettings
from infrastructure.networking.websocket.ws_manager import WebSocketManager
from tests.harness import canary
from tests.harness.played import PlayedExchange
from tests.harness.variants import Variant
from tests.harness.virtual_loop import VirtualLoop

BTC, ETH = "BTC/USDT", "ETH/USDT"
#: What is traded, by venue.
TRADED = {"gateio_spot": (BTC, ETH), "mexc_spot": (BTC, ETH), "gateio_futures": ("BTC/USDT:USDT", "ETH/USDT:USDT")}


class Told:
    """What the callbacks of an account were told, in order."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    def of(self, kind: type) -> list[Any]:
        """The events of one type."""
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def states(self) -> list[AccountState]:
        """The states that the account came to."""
        return [change.new for change in self.of(AccountStateChange)]

    @property
    def fills(self) -> list[str]:
        """The ids of the fills."""
        return [fill.fill_id for fill in self.of(Fill)]

    @property
    def orders(self) -> list[OrderUpdate]:
        """What was told of orders."""
        return self.of(OrderUpdate)

    @property
    def errors(self) -> list[str]:
        """The kinds of the errors."""
        return [error.kind for error in self.of(ErrorEvent)]

    @property
    def gaps(self) -> list[Gap]:
        """The gaps."""
        return self.of(Gap)

    @property
    def handler(self) -> PrivateWebSocketHandler:
        """A handler that tells this."""
        names = (method.removeprefix("_") for method in PrivateWebSocketHandler.event_methods.values())
        return PrivateWebSocketHandler(None, None, **dict.fromkeys(names, self.events.append))


class Scene:
    """The manager of an account, its exchange, and what it told."""

    def __init__(self, manager: WebSocketManager, exchange: PlayedExchange, told: Told) -> None:
        self.manager = manager
        self.exchange = exchange
        self.told = told

    @property
    def account(self) -> Account:
        """What the manager knows."""
        return self.manager.account

    @property
    def private(self) -> AccountStreams:
        """The private streams of the manager."""
        assert self.manager.private is not None
        return self.manager.private

    async def until(self, condition: Callable[[], object], within_s: float = 600.0) -> None:
        """Let time pass until ``condition`` holds."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within_s
        while not condition():
            assert loop.time() < deadline, f"never came to hold; told: {self.told.events[-5:]}"
            await asyncio.sleep(0.01)

    async def is_live(self, within_s: float = 600.0) -> None:
        """Let time pass until the account is live."""
        await self.until(lambda: self.account.is_live, within_s)

    async def is_settled(self) -> None:
        """Let time pass until the account is live, and everything sent has come."""
        await self.is_live()
        await asyncio.sleep(1)
        await self.is_live()
        await self.manager.drain()

    def assert_right(self) -> None:
        """Every fill was told once, orders only went forward, and the account is the exchange's to the last digit; identities hold."""
        state = self.exchange.exchange.account.state()
        assert_same_account(state, self.account)
        assert_every_fill_once(state, self.told)
        assert_orders_go_forward(self.told.orders)
        assert_orders_end_as_they_did(state, self.told.orders)
        accounting = self.manager.accounting
        assert accounting.is_balanced, accounting


@asynccontextmanager
async def scene(
    venue: str, variant: Variant, *, seed: int = 1, life_s: float | None = None, opens: bool = True, **settings: Any
) -> AsyncIterator[Scene]:
    """An account at ``venue``, live; ``settings`` are those of the manager."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    exchange = PlayedExchange(venue, TRADED[venue], loop.clock, seed=seed, life_s=life_s)
    told = Told()
    manager = WebSocketManager(
        ExchangeSettings(
            venue=venue_named(venue),
            credentials=canary.credentials(),
            architecture=variant.architecture,
            websocket_url="ws://localhost/played",
            rest_url="http://localhost",
            **settings,
        ),
        private_handler=told.handler,
        adapted=variant.adapted,
        connect=exchange,
        rest=exchange,
        clock=loop.clock,
        chance=random.Random(seed),
    )
    try:
        if opens:
            await manager.initialize(TRADED[venue])
        yield Scene(manager, exchange, told)
    finally:
        await manager.close()
    assert manager.accounting.is_balanced, manager.accounting


def assert_same_account(state: dict[str, Any], account: Account) -> None:
    """Balances, positions and open orders are those that the exchange shows, to the last digit."""
    assert_same_balances(state, account)
    assert_same_positions(state, account)
    assert_same_orders(state, account)


def assert_same_balances(state: dict[str, Any], account: Account) -> None:
    """Balances are those that the exchange shows."""
    for currency, its in state["balances"].items():
        known = account.balances.get(currency)
        total = Decimal(0) if known is None else known.total
        assert total == Decimal(its["total"]), (currency, known, its)
        if known is not None and known.available is not None and known.frozen is not None:
            assert (known.available, known.frozen) == (Decimal(its["available"]), Decimal(its["frozen"])), (currency, known, its)


def assert_same_positions(state: dict[str, Any], account: Account) -> None:
    """Positions are those that the exchange shows."""
    sizes = {symbol: Decimal(its["size"]) for symbol, its in state["positions"].items() if Decimal(its["size"])}
    assert {symbol: position.amount for (symbol, _), position in account.positions.items()} == sizes


def assert_same_orders(state: dict[str, Any], account: Account) -> None:
    """Open orders are those that the exchange shows, and as far filled."""
    open_orders = {order["order_id"]: Decimal(order["filled"]) for order in state["orders"] if order["ending"] == "open"}
    assert {_plain(order_id): order.filled for order_id, order in account.orders.items()} == open_orders


def assert_every_fill_once(state: dict[str, Any], told: Told) -> None:
    """The fills that were told are those that there were, each once."""
    theirs = sorted(_plain(fill.fill_id) for fill in told.of(Fill))
    assert theirs == sorted(fill["fill_id"] for fill in state["fills"])


def assert_orders_go_forward(updates: Sequence[OrderUpdate]) -> None:
    """No order opens again, and what is filled of it never falls."""
    last: dict[str, OrderUpdate] = {}
    for update in updates:
        before = last.get(update.order_id)
        assert before is None or (not before.status.is_final and update.filled >= before.filled), (before, update)
        last[update.order_id] = update


def assert_orders_end_as_they_did(state: dict[str, Any], updates: Sequence[OrderUpdate]) -> None:
    """The last word on each order is the exchange's: how it ended, if it did, and how much of it was filled."""
    endings = {"open": OrderStatus.OPEN, "filled": OrderStatus.FILLED}
    theirs = {
        order["order_id"]: (endings.get(order["ending"], OrderStatus.CANCELED), Decimal(order["filled"])) for order in state["orders"]
    }
    for order_id, (status, filled) in {_plain(update.order_id): (update.status, update.filled) for update in updates}.items():
        assert (status, filled) == theirs[order_id], order_id


def _plain(native_id: str) -> str:
    """The number in an id, which some exchanges dress up: ``C02__100000000033``, ``1000000024X1``."""
    return native_id.rpartition("__")[2].partition("X")[0]
