"""MEXC spot's accounts in that exchange's words: pushes to their owners, written field by field like the public ones, and REST's rows.

In a push a field without a value, and a "no", are not there. A market order has a price too: how far it might have gone.
"""

from decimal import Decimal
from functools import cache
from hashlib import md5

from infrastructure.simulator.accounts import BUY, BalanceChange, Ending, Fill, Funds, Order, Reason, TimeInForce, divided, text
from infrastructure.simulator.market import TICKS
from infrastructure.simulator.mexc_spot import bytes_field, number_field, text_field

ORDERS = "spot@private.orders.v3.api.pb"
DEALS = "spot@private.deals.v3.api.pb"
ACCOUNT = "spot@private.account.v3.api.pb"
#: Their names have no symbol.
PRIVATE_CHANNELS = (ORDERS, DEALS, ACCOUNT)

# Field numbers of the wrapper, and of its bodies.
_CHANNEL, _SYMBOL, _CREATE_TIME, _SEND_TIME = 1, 3, 5, 6
_PRIVATE_ORDERS, _PRIVATE_DEALS, _PRIVATE_ACCOUNT = 304, 306, 307

#: By REST's word for a type of orders: the number in a push, and how long such an order waits.
ORDER_TYPES = {
    "LIMIT": (1, TimeInForce.GTC),
    "LIMIT_MAKER": (2, TimeInForce.POST_ONLY),
    "IMMEDIATE_OR_CANCEL": (3, TimeInForce.IOC),
    "FILL_OR_KILL": (4, TimeInForce.FOK),
}
MARKET = "MARKET"
_MARKET_NUMBER = 5
_TYPE_NAMES = {tif: name for name, (_, tif) in ORDER_TYPES.items()}
#: By REST's word for the state of an order: the number in a push.
STATUSES = {"NEW": 1, "FILLED": 2, "PARTIALLY_FILLED": 3, "CANCELED": 4, "PARTIALLY_CANCELED": 5}
_REASONS = {
    Reason.PLACED: "ENTRUST_PLACE",
    Reason.FILLED: "ENTRUST",
    Reason.RELEASED: "ENTRUST_CANCEL",
    Reason.FEE: "TRADE_FEE",
}
#: How much worse than the book a market order's price is.
_ROOM = Decimal("0.05")


def order_id_text(order: Order) -> str:
    """The id of an order."""
    return f"C02__{order.order_id}"


def fill_id_text(fill: Fill) -> str:
    """The id of a fill."""
    return f"{fill.number}X1"


def type_of(order: Order) -> str:
    """REST's word for what an order is."""
    return MARKET if order.is_market else _TYPE_NAMES[order.tif]


def status_of(order: Order) -> str:
    """REST's word for how far an order is."""
    if order.is_open:
        return "PARTIALLY_FILLED" if order.filled else "NEW"
    if order.ending is Ending.FILLED:
        return "FILLED"
    return "PARTIALLY_CANCELED" if order.filled else "CANCELED"


def price_of(order: Order) -> Decimal:
    """What an order may pay at worst, or be paid."""
    if order.price:
        return order.price
    usual = order.average or _best_price(order)
    return usual * (1 + _ROOM if order.side == BUY else 1 - _ROOM)


def quantity_of(order: Order) -> Decimal:
    """How much an order is for: one for a value is for what it got, or would get now."""
    if not order.in_quote:
        return order.amount
    return divided(order.amount, _best_price(order)) if order.is_open else order.filled


def amount_of(order: Order) -> Decimal:
    """How much an order is worth; 0 of a market order for a quantity."""
    if order.in_quote:
        return order.amount
    return order.price * order.amount


def order_push(order: Order, now_ms: int) -> bytes:
    """A new state of an order."""
    price, quantity, amount = price_of(order), quantity_of(order), amount_of(order)
    # What a market order does not need of its price stays there although all is filled.
    left_amount = order.left if order.in_quote else price * order.amount - order.turnover if order.is_market else price * order.left
    body = (
        text_field(1, order_id_text(order))
        + text_field(2, order.client_id)
        + text_field(3, text(price))
        + text_field(4, text(quantity))
        + text_field(5, text(amount))
        + text_field(6, text(order.average))
        + number_field(7, _MARKET_NUMBER if order.is_market else ORDER_TYPES[type_of(order)][0])
        + number_field(8, _side_number(order))
        + text_field(10, text(max(left_amount, Decimal(0))))
        + text_field(11, text(quantity - order.filled))
        + (text_field(12, text(order.last_fill)) if order.last_fill else b"")
        + text_field(13, text(order.filled))
        + text_field(14, text(order.turnover))
        + number_field(15, STATUSES[status_of(order)])
        + number_field(16, order.created_ms)
    )
    return _sent(ORDERS, order, now_ms) + bytes_field(_PRIVATE_ORDERS, body)


def deal_push(fill: Fill, now_ms: int) -> bytes:
    """An execution."""
    order = fill.order
    body = (
        text_field(1, text(fill.price))
        + text_field(2, text(fill.amount))
        + text_field(3, text(fill.turnover))
        + number_field(4, _side_number(order))
        + number_field(5, fill.is_maker)
        + text_field(7, fill_id_text(fill))
        + text_field(8, order.client_id)
        + text_field(9, order_id_text(order))
        + text_field(10, text(fill.fee))
        + text_field(11, fill.fee_currency)
        + number_field(12, fill.time_ms)
    )
    return _sent(DEALS, order, now_ms) + bytes_field(_PRIVATE_DEALS, body)


def balance_push(change: BalanceChange, now_ms: int) -> bytes:
    """A change of a balance: it belongs to no symbol, and its wrapper says when it was made too."""
    body = (
        text_field(1, change.currency)
        + text_field(2, coin_id(change.currency))
        + text_field(3, text(change.available))
        + text_field(4, text(change.available_change))
        + text_field(5, text(change.frozen))
        + text_field(6, text(change.frozen_change))
        + text_field(7, _REASONS[change.reason])
        + number_field(8, change.time_ms)
    )
    head = text_field(_CHANNEL, ACCOUNT) + number_field(_CREATE_TIME, change.time_ms) + number_field(_SEND_TIME, now_ms)
    return head + bytes_field(_PRIVATE_ACCOUNT, body)


@cache
def coin_id(currency: str) -> str:
    """What the exchange calls a currency where it means the coin."""
    return md5(currency.encode(), usedforsecurity=False).hexdigest()


def placed_row(order: Order) -> dict[str, object]:
    """What REST says of an order that was just placed."""
    return {
        "symbol": order.market.native,
        "orderId": order_id_text(order),
        "orderListId": -1,
        "price": text(price_of(order)),
        "origQty": text(quantity_of(order)),
        "type": type_of(order),
        "side": order.side.upper(),
        "transactTime": order.created_ms,
    }


def order_row(order: Order) -> dict[str, object]:
    """What REST says of an order."""
    return {
        "symbol": order.market.native,
        "orderId": order_id_text(order),
        "orderListId": -1,
        "clientOrderId": order.client_id or None,
        "price": text(price_of(order)),
        "origQty": text(quantity_of(order)),
        "executedQty": text(order.filled),
        "cummulativeQuoteQty": text(order.turnover),
        "status": status_of(order),
        "timeInForce": None,
        "type": type_of(order),
        "side": order.side.upper(),
        "stopPrice": None,
        "icebergQty": None,
        "time": order.created_ms,
        "updateTime": order.updated_ms,
        "isWorking": order.is_open,
        "origQuoteOrderQty": text(amount_of(order)),
    }


def fill_row(fill: Fill) -> dict[str, object]:
    """What REST says of an execution."""
    order = fill.order
    return {
        "symbol": order.market.native,
        "id": fill_id_text(fill),
        "orderId": order_id_text(order),
        "orderListId": -1,
        "price": text(fill.price),
        "qty": text(fill.amount),
        "quoteQty": text(fill.turnover),
        "commission": text(fill.fee),
        "commissionAsset": fill.fee_currency,
        "time": fill.time_ms,
        "isBuyer": order.side == BUY,
        "isMaker": fill.is_maker,
        "isBestMatch": True,
        "isSelfTrade": False,
        "clientOrderId": order.client_id or None,
    }


def account_row(currency: str, funds: Funds) -> dict[str, object]:
    """What REST says of a balance."""
    return {"asset": currency, "free": text(funds.available), "locked": text(funds.frozen)}


def coin_row(currency: str) -> dict[str, object]:
    """What REST says of a currency."""
    network = {
        "coin": currency,
        "depositDesc": None,
        "depositEnable": True,
        "minConfirm": 64,
        "name": currency,
        "network": "Ethereum(ERC20)",
        "netWork": "ETH",
        "withdrawEnable": True,
        "withdrawFee": "1",
        "withdrawIntegerMultiple": None,
        "withdrawMax": "1000000",
        "withdrawMin": "10",
        "sameAddress": False,
        "contract": "",
        "withdrawTips": None,
        "depositTips": None,
    }
    return {"coin": currency, "name": currency, "networkList": [network]}


def _best_price(order: Order) -> Decimal:
    """What an order would get now."""
    return Decimal(min(order.market.asks) if order.side == BUY else max(order.market.bids)) / TICKS


def _side_number(order: Order) -> int:
    return 1 if order.side == BUY else 2


def _sent(channel: str, order: Order, now_ms: int) -> bytes:
    return text_field(_CHANNEL, channel) + text_field(_SYMBOL, order.market.native) + number_field(_SEND_TIME, now_ms)
