"""Gate.io USDT futures' account: its private pushes, its signed REST requests and their rows.

Amounts are contracts, of orders, fills and positions with a sign: what sells is below 0. To a client whose handshake said
``X-Gate-Size-Decimal: 1`` the numbers of a push are texts, to any other they are numbers, and contracts whole ones, truncated; so they
are in REST, where money is text to everybody.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from infrastructure.simulator.accounts import (
    BUY,
    DELEVERAGING,
    FEE,
    LEVERAGE,
    LIQUIDATION,
    SELL,
    USER,
    BalanceChange,
    Ending,
    Fill,
    FuturesAccount,
    Order,
    OrderChange,
    OrderRefused,
    Placement,
    Position,
    PositionChange,
    Reason,
    Refusal,
    Seizure,
    TimeInForce,
    text,
)
from infrastructure.simulator.exchange import Answer
from infrastructure.simulator.gateio_account import CLIENT_ID, Asked
from infrastructure.simulator.gateio_exchange import RefusedByRest, encoded, limit_of
from infrastructure.simulator.gateio_futures import middle_text

ORDERS = "futures.orders"
USER_TRADES = "futures.usertrades"
BALANCES = "futures.balances"
POSITIONS = "futures.positions"
LIQUIDATES = "futures.liquidates"
DELEVERAGES = "futures.auto_deleverages"
ADL_RANK = "futures.position_adl_rank"

_COUNT = re.compile("[0-9]{1,18}")
_LAST_S = 10**18 - 1
#: No price and no amount is as large.
_TOO_MUCH = 10**12
#: What an order is called that its client did not name.
UNNAMED = "api"
#: Where a position stood in the row of those that are closed for others' sake: the first, and in liquidation.
_FIRST, _IN_LIQUIDATION = 1, 6
#: Why an order ended that the exchange placed itself, and any other.
_SEIZED = {LIQUIDATION: "liquidated", DELEVERAGING: "auto_deleveraged"}
_ENDINGS = {
    Ending.OPEN: "_new",
    Ending.FILLED: "filled",
    Ending.CANCELLED: "cancelled",
    Ending.IOC: "ioc",
    Ending.FOK: "cancelled",
    Ending.POST_ONLY: "cancelled",
    Ending.REDUCE_ONLY: "reduce_only",
}
_REASONS = {Reason.FEE: "fee", Reason.PROFIT: "pnl"}


def order_push(change: OrderChange, dialect: str) -> str:
    """A row of ``futures.orders``."""
    order = change.order
    finished_ms = 0 if order.is_open else order.updated_ms
    return _row(
        contract=_quoted(order.market.native),
        create_time=order.created_ms // 1000,
        create_time_ms=order.created_ms,
        fill_price=_money(order.average, dialect),
        finish_as=_quoted(_finish_as(order)),
        finish_time=finished_ms // 1000,
        finish_time_ms=finished_ms,
        iceberg=_contracts(Decimal(0), dialect),
        id=order.order_id,
        id_string=_quoted(str(order.order_id)),
        is_close="false",
        is_liq=_truth(order.client_id == LIQUIDATION),
        is_reduce_only=_truth(order.reduce_only),
        left=_contracts(_signed(order, order.left), dialect),
        mkfr=_money(FEE, dialect),
        price=_money(order.price, dialect),
        refr=0,
        refu=0,
        size=_contracts(_signed(order, order.amount), dialect),
        status=_quoted(_status(order)),
        text=_quoted(order.client_id or UNNAMED),
        tif=_quoted(order.tif.value),
        tkfr=_money(FEE, dialect),
        user=_quoted(str(USER)),
        update_id=change.number,
        update_time=order.updated_ms,
        biz_info=_quoted("-"),
        amend_text=_quoted("-"),
        stp_id=0,
        stp_act=_quoted("-"),
        stop_loss_price=_quoted(""),
        stop_profit_price=_quoted(""),
    )


def trade_push(fill: Fill, dialect: str) -> str:
    """A row of ``futures.usertrades``: its ids are texts."""
    order = fill.order
    return _row(
        id=_quoted(str(fill.number)),
        create_time=fill.time_ms // 1000,
        create_time_ms=fill.time_ms,
        contract=_quoted(order.market.native),
        order_id=_quoted(str(order.order_id)),
        size=_contracts(_signed(order, fill.amount), dialect),
        price=_quoted(text(fill.price)),
        role=_quoted(_role(fill)),
        text=_quoted(order.client_id or UNNAMED),
        fee=_money(fill.fee, dialect),
        point_fee=_money(Decimal(0), dialect),
    )


def balance_push(change: BalanceChange, dialect: str) -> str:
    """A row of ``futures.balances``: all that there is, margins included."""
    order = change.order
    return _row(
        balance=_money(change.total, dialect),
        change=_money(change.change, dialect),
        text=_quoted(f"{order.market.native}:{order.order_id}"),
        time=change.time_ms // 1000,
        time_ms=change.time_ms,
        type=_quoted(_REASONS[change.reason]),
        user=_quoted(str(USER)),
        currency=_quoted(change.currency.lower()),
    )


def position_push(change: PositionChange, dialect: str) -> str:
    """A row of ``futures.positions``; a leverage of 0 says that margins are crossed."""
    position = change.position
    return _row(
        contract=_quoted(position.market.native),
        cross_leverage_limit=_money(Decimal(LEVERAGE), dialect),
        entry_price=_money(position.entry_price, dialect),
        history_pnl=_money(Decimal(0), dialect),
        history_point=_money(Decimal(0), dialect),
        last_close_pnl=_money(position.last_close, dialect),
        leverage=_money(Decimal(0), dialect),
        leverage_max=_money(Decimal(100), dialect),
        liq_price=_money(Decimal(0), dialect),
        maintenance_rate=_money(Decimal("0.005"), dialect),
        margin=_money(position.margin, dialect),
        mode=_quoted("single"),
        realised_pnl=_money(position.realised, dialect),
        realised_point=_money(Decimal(0), dialect),
        risk_limit=_money(Decimal(1_000_000), dialect),
        size=_contracts(position.size, dialect),
        time=position.updated_ms // 1000,
        time_ms=position.updated_ms,
        user=_quoted(str(USER)),
        update_id=change.number,
    )


def liquidation_push(seizure: Seizure, dialect: str) -> str:
    """A row of ``futures.liquidates``."""
    position, fill = seizure.position, seizure.fill
    mark = Decimal(middle_text(position.market))
    return _row(
        entry_price=_money(position.entry_price, dialect),
        fill_price=_money(fill.price, dialect),
        left=_contracts(Decimal(0), dialect),
        leverage=_money(Decimal(0), dialect),
        liq_price=_money(mark, dialect),
        margin=_money(position.margin, dialect),
        mark_price=_money(mark, dialect),
        order_id=fill.order.order_id,
        order_price=_money(fill.price, dialect),
        order_size=_contracts(_signed(fill.order, fill.order.amount), dialect),
        size=_contracts(position.size, dialect),
        time=fill.time_ms // 1000,
        time_ms=fill.time_ms,
        contract=_quoted(position.market.native),
        user=_quoted(str(USER)),
    )


def deleveraging_push(seizure: Seizure, dialect: str) -> str:
    """A row of ``futures.auto_deleverages``."""
    position, fill = seizure.position, seizure.fill
    return _row(
        entry_price=_money(position.entry_price, dialect),
        fill_price=_money(fill.price, dialect),
        position_size=_contracts(Decimal(0), dialect),
        trade_size=_contracts(_signed(fill.order, fill.order.amount), dialect),
        time=fill.time_ms // 1000,
        time_ms=fill.time_ms,
        contract=_quoted(position.market.native),
        user=_quoted(str(USER)),
    )


def rank_push(seizure: Seizure, dialect: str) -> str:
    """A row of ``futures.position_adl_rank``: where the position stood."""
    return _row(
        contract=_quoted(seizure.position.market.native),
        mode=_quoted("single"),
        rank_division=_IN_LIQUIDATION if seizure.text == LIQUIDATION else _FIRST,
        time_ms=seizure.fill.time_ms,
        user_id=USER,
    )


#: By private channel: the account's events that it pushes, by their kinds and a seizure's by its text, and how.
PUSHES: Mapping[str, tuple[tuple[str, ...], Callable[[Any, str], str]]] = {
    ORDERS: (("order",), order_push),
    USER_TRADES: (("fill",), trade_push),
    BALANCES: (("balance",), balance_push),
    POSITIONS: (("position",), position_push),
    LIQUIDATES: ((LIQUIDATION,), liquidation_push),
    DELEVERAGES: ((DELEVERAGING,), deleveraging_push),
    ADL_RANK: ((LIQUIDATION, DELEVERAGING), rank_push),
}


def placement_of(body: Mapping[str, Any], account: FuturesAccount, symbol: str, dialect: str) -> Placement:
    """The order that a request describes: at the price 0 it takes the market's. Raises RefusedByRest and OrderRefused."""
    client_id, tif = body.get("text", ""), body.get("tif", "gtc")
    if client_id and not (isinstance(client_id, str) and CLIENT_ID.fullmatch(client_id)):
        raise RefusedByRest(400, "INVALID_PARAM_VALUE", "Invalid text")
    price, size = _decimal(body.get("price", 0), Refusal.PRICE), _decimal(body.get("size"), Refusal.AMOUNT)
    if tif not in list(TimeInForce) or (not price and tif not in (TimeInForce.IOC, TimeInForce.FOK)):
        raise RefusedByRest(400, "INVALID_PARAM_VALUE", f"Invalid tif {tif}")
    is_close = body.get("close") is True
    if is_close and not size:
        size = -account.positions[symbol].size
    if not dialect:
        size = Decimal(int(size))
    side = BUY if size > 0 else SELL
    is_reducing = is_close or body.get("reduce_only") is True
    return Placement(symbol, side, abs(size), price or None, TimeInForce(tif), client_id, reduce_only=is_reducing)


def order_row(order: Order, dialect: str) -> dict[str, object]:
    """An order as REST shows it; what is open has no end."""
    row = {
        "id": order.order_id,
        "id_string": str(order.order_id),
        "user": USER,
        "contract": order.market.native,
        "create_time": order.created_ms / 1000,
        "update_time": order.updated_ms / 1000,
        "size": _whole(_signed(order, order.amount), dialect),
        "iceberg": _whole(Decimal(0), dialect),
        "left": _whole(_signed(order, order.left), dialect),
        "price": text(order.price),
        "fill_price": text(order.average),
        "mkfr": text(FEE),
        "tkfr": text(FEE),
        "tif": order.tif.value,
        "text": order.client_id or UNNAMED,
        "status": _status(order),
        "is_liq": order.client_id == LIQUIDATION,
        "is_close": False,
        "is_reduce_only": order.reduce_only,
        "refr": "0",
        "refu": 0,
        "stp_id": 0,
        "stp_act": "-",
        "amend_text": "-",
    }
    return row if order.is_open else row | {"finish_time": order.updated_ms / 1000, "finish_as": _finish_as(order)}


def trade_row(fill: Fill, dialect: str) -> dict[str, object]:
    """A fill as REST shows it."""
    order = fill.order
    return {
        "id": fill.number,
        "create_time": fill.time_ms / 1000,
        "contract": order.market.native,
        "order_id": str(order.order_id),
        "size": _whole(_signed(order, fill.amount), dialect),
        "price": text(fill.price),
        "role": _role(fill),
        "text": order.client_id or UNNAMED,
        "fee": text(fill.fee),
        "point_fee": "0",
    }


def timed_trade_row(fill: Fill, dialect: str) -> dict[str, object]:
    """The same of ``my_trades_timerange``, where its id is called otherwise and is a text."""
    row = trade_row(fill, dialect)
    del row["id"]
    return {"trade_id": str(fill.number), **row}


def account_row(account: FuturesAccount) -> dict[str, object]:
    """``GET /futures/usdt/accounts``: this is where a client learns its user's id."""
    funds = account.funds[account.currency]
    margin = text(account.margin)
    return {
        "user": account.user,
        "currency": account.currency,
        "total": text(funds.total),
        "unrealised_pnl": "0",
        "position_margin": margin,
        "position_initial_margin": margin,
        "order_margin": text(funds.frozen),
        "available": text(account.available(account.currency)),
        "point": "0",
        "bonus": "0",
        "in_dual_mode": False,
        "enable_credit": False,
        "maintenance_margin": "0",
    }


def position_row(position: Position, dialect: str) -> dict[str, object]:
    """A position as REST shows it."""
    mark = Decimal(middle_text(position.market))
    return {
        "user": USER,
        "contract": position.market.native,
        "size": _whole(position.size, dialect),
        "leverage": "0",
        "cross_leverage_limit": str(LEVERAGE),
        "risk_limit": "1000000",
        "leverage_max": "100",
        "maintenance_rate": "0.005",
        "value": text(abs(position.size) * mark * position.multiplier),
        "margin": text(position.margin),
        "entry_price": text(position.entry_price),
        "liq_price": "0",
        "mark_price": text(mark),
        "unrealised_pnl": text(position.size * (mark - position.entry_price) * position.multiplier),
        "realised_pnl": text(position.realised),
        "history_pnl": "0",
        "last_close_pnl": text(position.last_close),
        "realised_point": "0",
        "history_point": "0",
        "adl_ranking": 5,
        "pending_orders": 0,
        "close_order": None,
        "mode": "single",
        "update_time": position.updated_ms // 1000,
    }


def orders(account: FuturesAccount, asked: Asked, symbol: str | None) -> Answer:
    """``GET /futures/usdt/orders``: the open or the finished ones of one contract or all, the newest first."""
    status = asked.query.get("status")
    if status not in ("open", "finished"):
        raise RefusedByRest(400, "INVALID_PARAM_VALUE", f"Invalid status {status}")
    known = account.open_orders() if status == "open" else [order for order in account.orders.values() if not order.is_open]
    found = [order for order in reversed(known) if symbol in (None, order.symbol)]
    return Answer(200, encoded([order_row(order, asked.dialect) for order in part_of(asked.query, found)]))


def my_trades(account: FuturesAccount, asked: Asked, symbol: str | None) -> Answer:
    """``GET /futures/usdt/my_trades``: the fills of one contract or all, the newest first."""
    order_id = asked.query.get("order")
    found = [
        fill for fill in reversed(account.fills) if symbol in (None, fill.order.symbol) and order_id in (None, str(fill.order.order_id))
    ]
    return Answer(200, encoded([trade_row(fill, asked.dialect) for fill in part_of(asked.query, found)]))


def my_trades_timerange(account: FuturesAccount, asked: Asked, symbol: str | None) -> Answer:
    """``GET /futures/usdt/my_trades_timerange``: the same of some time, in seconds, both ends included."""
    since, until = (_number(asked.query, name, default) for name, default in (("from", 0), ("to", _LAST_S)))
    found = [fill for fill in reversed(account.fills) if symbol in (None, fill.order.symbol) and since <= fill.time_ms // 1000 <= until]
    return Answer(200, encoded([timed_trade_row(fill, asked.dialect) for fill in part_of(asked.query, found)]))


def positions(account: FuturesAccount, asked: Asked) -> Answer:
    """``GET /futures/usdt/positions``: those that ever were, with ``holding`` those that are."""
    is_held = asked.query.get("holding") == "true"
    found = [position for position in account.positions.values() if position.size or (position.updated_ms and not is_held)]
    return Answer(200, encoded([position_row(position, asked.dialect) for position in part_of(asked.query, found)]))


def found_order(account: FuturesAccount, name: str) -> Order:
    """The order that a path names by either of its ids. Raises OrderRefused."""
    if name.startswith("t-"):
        return account.order(client_id=name)
    return account.order(int(name) if _COUNT.fullmatch(name) else None)


def part_of(query: Mapping[str, str], rows: Sequence[Any]) -> Sequence[Any]:
    """Of ``rows`` those that a REST request asks for. Raises RefusedByRest."""
    offset = _number(query, "offset", 0)
    return rows[offset : offset + limit_of(query, 100)]


def _number(query: Mapping[str, str], name: str, default: int) -> int:
    written = query.get(name, str(default))
    if not _COUNT.fullmatch(written):
        raise RefusedByRest(400, "INVALID_PARAM_VALUE", f"Invalid {name} {written}")
    return int(written)


def _finish_as(order: Order) -> str:
    if order.ending is Ending.FILLED and order.client_id in _SEIZED:
        return _SEIZED[order.client_id]
    return _ENDINGS[order.ending]


def _status(order: Order) -> str:
    return "open" if order.is_open else "finished"


def _role(fill: Fill) -> str:
    return "maker" if fill.is_maker else "taker"


def _signed(order: Order, amount: Decimal) -> Decimal:
    return amount if order.side == BUY else -amount


def _whole(amount: Decimal, dialect: str) -> str | int:
    """Contracts in a row."""
    return text(amount) if dialect else int(amount)


def _contracts(amount: Decimal, dialect: str) -> str:
    """Contracts in JSON."""
    return f'"{text(amount)}"' if dialect else str(int(amount))


def _money(amount: Decimal, dialect: str) -> str:
    """Prices and money in JSON."""
    return f'"{text(amount)}"' if dialect else text(amount)


def _truth(value: bool) -> str:
    return "true" if value else "false"


def _quoted(words: str) -> str:
    return json.dumps(words)


def _row(**fields: str | int) -> str:
    """An object from what is JSON already: a number of it is written to its last digit."""
    return "{" + ",".join([f'"{name}":{value}' for name, value in fields.items()]) + "}"


def _decimal(value: object, refusal: Refusal) -> Decimal:
    """A number of a body, which may be a text. Raises OrderRefused."""
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        raise OrderRefused(refusal) from None
    if not number.is_finite() or not -_TOO_MUCH < number < _TOO_MUCH:
        raise OrderRefused(refusal)
    return number
