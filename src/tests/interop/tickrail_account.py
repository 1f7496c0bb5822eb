"""tickrail with an account. How it is started: see ``sight``; it tells its orders in the words of ccxt, and
beside that in those of the venue.

In the end what its account holds must be what its callbacks were told last, and both identities must hold.
"""

import asyncio
import sys
from decimal import Decimal

from infrastructure.credentials import Credentials, Secret
from tests.interop.sight import KEY, SECRET, standard_input, task, tell_state
from tickrail import BalanceUpdate, ErrorEvent, Fill, Gap, OrderStatus, OrderUpdate, PositionUpdate, open_feed

#: What ccxt calls them.
STATUSES = {
    OrderStatus.OPEN: "open",
    OrderStatus.FILLED: "closed",
    OrderStatus.CANCELED: "canceled",
    OrderStatus.REJECTED: "rejected",
}

orders: dict[str, OrderUpdate] = {}
fills: list[Fill] = []
balances: dict[str, BalanceUpdate] = {}
positions: dict[str, PositionUpdate] = {}


def number(value: Decimal | None) -> float | None:
    """As the others have it."""
    return None if value is None else float(value)


def on_order(order: OrderUpdate) -> None:
    orders[order.order_id] = order
    tell_state(
        "order",
        order.order_id,
        symbol=order.symbol,
        side=order.side,
        status=STATUSES[order.status],
        price=number(order.price),
        filled=number(order.filled),
        average=number(order.average_price),
        native=order.native_status,
    )


def on_fill(fill: Fill) -> None:
    fills.append(fill)
    tell_state(
        "fill",
        fill.fill_id,
        symbol=fill.symbol,
        order=fill.order_id,
        side=fill.side,
        role="maker" if fill.is_maker else "taker",
        price=number(fill.price),
        amount=number(fill.amount),
        fee=number(fill.fee),
        fee_currency=fill.fee_currency,
    )


def on_balance(balance: BalanceUpdate) -> None:
    balances[balance.currency] = balance
    total, available, frozen = number(balance.total), number(balance.available), number(balance.frozen)
    tell_state("balance", balance.currency, total=total, available=available, frozen=frozen)


def on_position(position: PositionUpdate) -> None:
    positions[position.symbol] = position
    tell_state("position", position.symbol, amount=number(position.amount), entry_price=number(position.entry_price))


def complain(event: Gap | ErrorEvent) -> None:
    print(event, file=sys.stderr)


async def main() -> None:
    given = task()
    async with open_feed(
        given.venue,
        symbols=given.symbols,
        channels=[],
        architecture=given.channels[0],
        credentials=Credentials(Secret(KEY), Secret(SECRET)),
        websocket_url=given.websocket_url,
        rest_url=given.rest_url,
        on_order=on_order,
        on_fill=on_fill,
        on_balance=on_balance,
        on_position=on_position,
        on_gap=complain,
        on_error=complain,
    ) as feed:
        await (await standard_input()).read()
        await feed.drain()
        account = feed.account
        assert account.orders == {order_id: order for order_id, order in orders.items() if not order.status.is_final}
        assert account.fills == tuple(fills)
        assert account.balances == balances
        assert {symbol: position for (symbol, _), position in account.positions.items()} == {
            symbol: position for symbol, position in positions.items() if position.amount
        }
    accounting = feed.accounting
    assert accounting.is_balanced and accounting.in_flight == 0, accounting


if __name__ == "__main__":
    asyncio.run(main())
