"""Gate.io spot's account: its private pushes, its signed REST requests and their rows."""

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation

from infrastructure.simulator.accounts import (
    BUY,
    SELL,
    Account,
    BalanceChange,
    Ending,
    Fill,
    Order,
    OrderChange,
    OrderRefused,
    Placement,
    Reason,
    Refusal,
    TimeInForce,
    text,
)
from infrastructure.simulator.exchange import Answer
from infrastructure.simulator.gateio_account import CLIENT_ID, UNNAMED, Asked
from infrastructure.simulator.gateio_exchange import RefusedByRest, Rows, encoded, page_of

ORDERS = "spot.orders"
ORDERS_V2 = "spot.orders_v2"
USER_TRADES = "spot.usertrades"
USER_TRADES_V2 = "spot.usertrades_v2"
BALANCES = "spot.balances"

#: What the second versions of channels leave out.
_ORDER_FEES = ("fee", "point_fee", "gt_fee", "rebated_fee")
_TRADE_FEES = ("fee", "fee_currency", "point_fee", "gt_fee")
_CHANGES = {Reason.PLACED: "order-create", Reason.FILLED: "order-match", Reason.RELEASED: "order-update"}
#: The most orders on a page.
_MOST_ORDERS = 100


def order_push(change: OrderChange, dialect: str) -> dict[str, object]:
    """A row of ``spot.orders``."""
    order = change.order
    return {
        **_order(order),
        "create_time_ms": str(order.created_ms),
        "update_time_ms": str(order.updated_ms),
        "user": 1,
        "event": change.what,
        "stp_id": 0,
        "stp_act": "-",
        "finish_as": order.ending.value,
        "biz_info": "-",
        "amend_text": "-",
    }


def order_push_v2(change: OrderChange, dialect: str) -> dict[str, object]:
    """The same without amounts of fees."""
    return _without(order_push(change, dialect), _ORDER_FEES)


def trade_push(fill: Fill, dialect: str) -> dict[str, object]:
    """A row of ``spot.usertrades``."""
    order = fill.order
    return {
        "id": fill.number,
        "user_id": 1,
        "order_id": str(order.order_id),
        "currency_pair": order.market.native,
        "create_time": fill.time_ms // 1000,
        "create_time_ms": _time_text(fill),
        "side": order.side,
        "amount": text(fill.amount),
        "role": _role(fill),
        "price": text(fill.price),
        "fee": text(fill.fee),
        "fee_currency": fill.fee_currency,
        "point_fee": "0",
        "gt_fee": "0",
        "text": order.client_id or UNNAMED,
        "id_market": fill.market_number,
    }


def trade_push_v2(fill: Fill, dialect: str) -> dict[str, object]:
    """The same without the fee."""
    return _without(trade_push(fill, dialect), _TRADE_FEES)


def balance_push(change: BalanceChange, dialect: str) -> dict[str, object]:
    """A row of ``spot.balances``: what is summed has twenty digits behind the point, as observed."""
    return {
        "timestamp": str(change.time_ms // 1000),
        "timestamp_ms": str(change.time_ms),
        "user": "1",
        "currency": change.currency,
        "change": f"{change.change:.20f}",
        "total": f"{change.total:.20f}",
        "available": f"{change.available:.20f}",
        "freeze": text(change.frozen),
        "freeze_change": f"{change.frozen_change:.20f}",
        "change_type": _CHANGES[change.reason],
    }


ROWS: Rows = {
    ORDERS: ("order", order_push),
    ORDERS_V2: ("order", order_push_v2),
    USER_TRADES: ("fill", trade_push),
    USER_TRADES_V2: ("fill", trade_push_v2),
    BALANCES: ("balance", balance_push),
}


def placement_of(body: Mapping[str, object], symbol: str) -> Placement:
    """The order that a request describes. Raises RefusedByRest and OrderRefused."""
    kind, side, client_id = body.get("type", "limit"), body.get("side"), body.get("text", "")
    if kind not in ("limit", "market") or side not in (BUY, SELL):
        raise RefusedByRest(400, "INVALID_PARAM_VALUE", f"Invalid order: {kind} {side}")
    if client_id and not (isinstance(client_id, str) and CLIENT_ID.fullmatch(client_id)):
        raise RefusedByRest(400, "INVALID_PARAM_VALUE", "Invalid text")
    tif = body.get("time_in_force", "gtc" if kind == "limit" else "ioc")
    if tif not in (list(TimeInForce) if kind == "limit" else (TimeInForce.IOC, TimeInForce.FOK)):
        raise RefusedByRest(400, "INVALID_PARAM_VALUE", f"Invalid time_in_force {tif}")
    price = _decimal(body.get("price"), Refusal.PRICE) if kind == "limit" else None
    amount = _decimal(body.get("amount"), Refusal.AMOUNT)
    is_market_buy = kind == "market" and side == BUY
    return Placement(symbol, str(side), amount, price, TimeInForce(str(tif)), str(client_id), in_quote=is_market_buy)


def order_row(order: Order) -> dict[str, object]:
    """An order as REST shows it."""
    return {
        **_order(order),
        "create_time_ms": order.created_ms,
        "update_time_ms": order.updated_ms,
        "status": _status(order),
        "iceberg": "0",
        "fill_price": text(order.turnover),
        "gt_maker_fee": "0",
        "gt_taker_fee": "0",
        "gt_discount": False,
        "finish_as": order.ending.value,
        "stp_id": 0,
        "stp_act": "-",
        "amend_text": "-",
    }


def trade_row(fill: Fill) -> dict[str, object]:
    """A fill as REST shows it: every number of it is a text."""
    row = trade_push(fill, "")
    identity = {"id": str(fill.number), "create_time": str(row["create_time"]), "sequence_id": str(fill.market_number), "amend_text": "-"}
    return _without(row | identity, ("user_id", "id_market"))


def open_orders(account: Account, asked: Asked) -> Answer:
    """``GET /spot/open_orders``: by pair, a page of each."""
    rows = []
    for symbol, market in account.markets.items():
        waiting = account.open_orders(symbol)[::-1]
        page = page_of(asked.query, waiting, _MOST_ORDERS)
        if page:
            rows.append({"currency_pair": market.native, "total": len(waiting), "orders": [order_row(order) for order in page]})
    return Answer(200, encoded(rows))


def orders(account: Account, asked: Asked, symbol: str) -> Answer:
    """``GET /spot/orders``: a pair's open or finished ones, the newest first."""
    status = asked.query.get("status")
    if status == "open":
        found = account.open_orders(symbol)
    elif status == "finished":
        found = [order for order in account.orders.values() if not order.is_open and order.symbol == symbol]
        found = [order for order in found if _is_within(asked.query, order.created_ms)]
    else:
        raise RefusedByRest(400, "INVALID_PARAM_VALUE", f"Invalid status {status}")
    return Answer(200, encoded([order_row(order) for order in page_of(asked.query, found[::-1], _MOST_ORDERS)]))


def my_trades(account: Account, asked: Asked, symbol: str | None) -> Answer:
    """``GET /spot/my_trades``: the fills of one pair or all, the newest first."""
    order_id = asked.query.get("order_id")
    found = [
        fill
        for fill in reversed(account.fills)
        if symbol in (None, fill.order.symbol) and order_id in (None, str(fill.order.order_id)) and _is_within(asked.query, fill.time_ms)
    ]
    return Answer(200, encoded([trade_row(fill) for fill in page_of(asked.query, found)]))


def balances(account: Account, asked: Asked) -> Answer:
    """``GET /spot/accounts``."""
    wanted = asked.query.get("currency")
    return Answer(
        200,
        encoded(
            [
                {"currency": currency, "available": text(funds.available), "locked": text(funds.frozen), "update_id": len(account.fills)}
                for currency, funds in account.funds.items()
                if wanted in (None, currency)
            ]
        ),
    )


def found_order(account: Account, name: str, symbol: str) -> Order:
    """The order of a pair that a path names by either of its ids. Raises OrderRefused."""
    if name.startswith("t-"):
        order = account.order(client_id=name)
    else:
        order = account.order(int(name) if name.isascii() and name.isdecimal() else None)
    if order.symbol != symbol:
        raise OrderRefused(Refusal.UNKNOWN_ORDER)
    return order


def _order(order: Order) -> dict[str, object]:
    base, quote = order.symbol.split("/")
    received = base if order.side == BUY else quote
    return {
        "id": str(order.order_id),
        "text": order.client_id or UNNAMED,
        "create_time": str(order.created_ms // 1000),
        "update_time": str(order.updated_ms // 1000),
        "currency_pair": order.market.native,
        "type": "market" if order.is_market else "limit",
        "account": "spot",
        "side": order.side,
        "amount": text(order.amount),
        "price": text(order.price),
        "time_in_force": order.tif.value,
        "left": text(order.left),
        "filled_amount": text(order.filled),
        "filled_total": text(order.turnover),
        "avg_deal_price": text(order.average),
        "fee": text(order.fee),
        "fee_currency": received,
        "point_fee": "0",
        "gt_fee": "0",
        "rebated_fee": "0",
        "rebated_fee_currency": received,
    }


def _status(order: Order) -> str:
    if order.is_open:
        return "open"
    return "closed" if order.ending is Ending.FILLED else "cancelled"


def _role(fill: Fill) -> str:
    return "maker" if fill.is_maker else "taker"


def _time_text(fill: Fill) -> str:
    """When a fill was, in ms, with the decimals that the exchange has."""
    return f"{fill.time_ms}.{fill.number % 1_000_000:06d}"


def _is_within(query: Mapping[str, str], time_ms: int) -> bool:
    """Whether a time is in the range that a request names, in seconds, both ends included. Raises RefusedByRest."""
    start, end = query.get("from", "0"), query.get("to", "9999999999")
    if not (start + end).isdecimal():
        raise RefusedByRest(400, "INVALID_PARAM_VALUE", f"Invalid range {start} {end}")
    return int(start) <= time_ms // 1000 <= int(end)


def _decimal(value: object, refusal: Refusal) -> Decimal:
    """A number of a body, which may be a text. Raises OrderRefused."""
    try:
        return Decimal(str(value))
    except InvalidOperation:
        raise OrderRefused(refusal) from None


def _without(row: Mapping[str, object], names: tuple[str, ...]) -> dict[str, object]:
    return {name: value for name, value in row.items() if name not in names}
