"""MEXC spot: an account as REST tells it, when its streams have been away.

Source: https://www.mexc.com/api-docs/spot-v3/spot-account-trade
"""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal

import msgspec

from infrastructure.account_api import AccountAnswer, AccountCall, Part, RestCall
from infrastructure.errors import DecodeError
from infrastructure.events import BalanceUpdate, Fill, OrderStatus, OrderUpdate, Side
from infrastructure.exchanges.mexc.channels import NAME, ByNative, milliseconds
from infrastructure.exchanges.numbers import money, money_or_none, not_negative, positive, positive_or_none, total
from infrastructure.instruments import Symbols

#: Trades in one answer: the venue gives no more, whatever it is asked for.
PAGE = 100

_OPEN_ORDERS = "/api/v3/openOrders"
_ORDER = "/api/v3/order"
_TRADES = "/api/v3/myTrades"
_ACCOUNT = "/api/v3/account"

_STATUSES = {
    "NEW": OrderStatus.OPEN,
    "PARTIALLY_FILLED": OrderStatus.OPEN,
    "FILLED": OrderStatus.FILLED,
    "CANCELED": OrderStatus.CANCELED,
    "PARTIALLY_CANCELED": OrderStatus.CANCELED,
}
#: Those that cannot be without something filled.
_WITH_FILLS = frozenset({"PARTIALLY_FILLED", "FILLED", "PARTIALLY_CANCELED"})
_SIDES = {"BUY": Side.BUY, "SELL": Side.SELL}
_MARKET = "MARKET"
#: Of a number that is not there.
_NULL = msgspec.Raw(b"null")


class RestOrder(msgspec.Struct):
    """``{"symbol":"BTCUSDT","orderId":"C02__505979017439002624115","orderListId":-1,"clientOrderId":"","price":"45000",
    "origQty":"0.0002","executedQty":"0.0001","cummulativeQuoteQty":"4.5","status":"PARTIALLY_FILLED","timeInForce":null,"type":"LIMIT",
    "side":"SELL","stopPrice":null,"icebergQty":null,"time":1647718255199,"updateTime":1647718256000,"isWorking":true,
    "origQuoteOrderQty":"9"}``

    The page has ``Qty`` for ``origQty`` where it tells of one order. ``updateTime`` is null of an order in the list of those that are
    open; ``time`` is when the order was made, and nothing of the state it is in.
    """

    symbol: str
    orderId: str | int
    side: str
    type: str
    status: str
    executedQty: msgspec.Raw
    price: msgspec.Raw = _NULL
    origQty: msgspec.Raw = _NULL
    Qty: msgspec.Raw = _NULL
    origQuoteOrderQty: msgspec.Raw = _NULL
    clientOrderId: str | None = None
    updateTime: int | None = None


class RestTrade(msgspec.Struct):
    """``{"symbol":"BTCUSDT","id":"505979017439002624X1","orderId":"C02__505979017439002624115","orderListId":-1,"price":"41995.51",
    "qty":"0.0002","quoteQty":"8.399102","commission":"0.016798204","commissionAsset":"USDT","time":1647718055000,"isBuyer":true,
    "isMaker":false,"isBestMatch":true,"isSelfTrade":false,"clientOrderId":null}``
    """

    symbol: str
    id: str | int
    orderId: str | int
    price: msgspec.Raw
    qty: msgspec.Raw
    time: int
    isBuyer: bool
    isMaker: bool
    commission: msgspec.Raw = _NULL
    commissionAsset: str | None = None
    clientOrderId: str | None = None


class RestBalance(msgspec.Struct):
    """``{"asset":"USDT","free":"21.94210356004384","locked":"4.4022"}``"""

    asset: str
    free: msgspec.Raw
    locked: msgspec.Raw


class RestAccount(msgspec.Struct):
    """``{"canTrade":true,"canWithdraw":true,"canDeposit":true,"updateTime":null,"accountType":"SPOT","balances":[],"permissions":["SPOT"]}``"""

    balances: list[RestBalance]
    updateTime: int | None = None


_decode_orders = msgspec.json.Decoder(list[RestOrder], strict=False).decode
_decode_order = msgspec.json.Decoder(RestOrder, strict=False).decode
_decode_trades = msgspec.json.Decoder(list[RestTrade], strict=False).decode
_decode_account = msgspec.json.Decoder(RestAccount, strict=False).decode


def calls(symbols: Symbols, wanted: Sequence[str], since_ms: int | None) -> list[AccountCall]:
    """What has to be asked to know the account.

    Open orders are asked for market by market: the page has a list of up to five markets for ending orders, not for reading them, and
    an answer that left one out could not be told from one without orders in it. Trades older than a month are not told.
    """
    asked = []
    for symbol in wanted:
        market = ("symbol", symbols.native(symbol))
        asked.append(AccountCall(Part.ORDERS, RestCall("GET", _OPEN_ORDERS, (market,)), symbol))
        if since_ms is not None:
            query = (market, ("startTime", str(since_ms)), ("limit", str(PAGE)))
            asked.append(AccountCall(Part.FILLS, RestCall("GET", _TRADES, query), symbol))
    asked.append(AccountCall(Part.BALANCES, RestCall("GET", _ACCOUNT)))
    return asked


def order_call(symbols: Symbols, symbol: str, order_id: str) -> AccountCall:
    """The request for one order."""
    query = (("symbol", symbols.native(symbol)), ("orderId", order_id))
    return AccountCall(Part.ORDERS, RestCall("GET", _ORDER, query), symbol)


def read(call: AccountCall, raw: bytes | str, symbols: ByNative) -> AccountAnswer:
    """The answer to one of these. Raises DecodeError and nothing else."""
    try:
        return _READERS[call.call.path](call, raw, symbols)
    except DecodeError as error:
        error.channel, error.symbol = None, call.symbol
        raise
    except (msgspec.MsgspecError, ValueError, RecursionError, ArithmeticError) as error:
        raise DecodeError(f"not the {call.part.value} of an account: {error}", symbol=call.symbol) from None


def filled(value: str | msgspec.Raw, is_needed: bool) -> Decimal:
    """What is filled of an order; with ``is_needed`` it is in a state that cannot be without. Raises DecodeError."""
    return positive(value, "filled quantity") if is_needed else not_negative(value, "filled quantity")


def balance(currency: str, available: str | msgspec.Raw, frozen: str | msgspec.Raw, time_ns: int | None, reason: str = "") -> BalanceUpdate:
    """What the account has of a currency; the total is the sum of both parts, to the last digit. Raises DecodeError."""
    if not currency:
        raise DecodeError("a balance without its currency")
    free, locked = money(available, "available amount"), money(frozen, "frozen amount")
    return BalanceUpdate(NAME, currency, total(free, locked), free, locked, time_ns, reason=reason)


def _open_orders(call: AccountCall, raw: bytes | str, symbols: ByNative) -> AccountAnswer:
    return AccountAnswer(tuple(_order(order, symbols) for order in _decode_orders(raw)))


def _one_order(call: AccountCall, raw: bytes | str, symbols: ByNative) -> AccountAnswer:
    order = _order(_decode_order(raw), symbols)
    if ("orderId", order.order_id) not in call.call.query:
        raise DecodeError(f"order {order.order_id[:64]!r}, which was not asked for")
    return AccountAnswer((order,))


def _trades(call: AccountCall, raw: bytes | str, symbols: ByNative) -> AccountAnswer:
    trades = _decode_trades(raw)
    following = _following(call, [trade.time for trade in trades]) if len(trades) >= PAGE else None
    return AccountAnswer(tuple(_fill(trade, symbols) for trade in trades), following)


def _balances(call: AccountCall, raw: bytes | str, symbols: ByNative) -> AccountAnswer:
    account = _decode_account(raw)
    time_ns = milliseconds(account.updateTime or 0, "", "")
    return AccountAnswer(tuple(balance(each.asset, each.free, each.locked, time_ns) for each in account.balances))


_READERS: Mapping[str, Callable[[AccountCall, bytes | str, ByNative], AccountAnswer]] = {
    _OPEN_ORDERS: _open_orders,
    _ORDER: _one_order,
    _TRADES: _trades,
    _ACCOUNT: _balances,
}


def _following(call: AccountCall, times: list[int]) -> AccountCall:
    """The request for the trades before those of a full page, which has the newest first.

    The end is included, so that none is left out that shares its millisecond with the last of the page; those told twice are known by
    their ids. It must lie before the end of the last page, else the same page would come again and again.
    """
    if times != sorted(times, reverse=True):
        raise DecodeError("a full page of trades that does not have the newest first")
    query = dict(call.call.query)
    oldest, end = times[-1], query.get("endTime")
    if end is not None and oldest >= int(end):
        raise DecodeError(f"{len(times)} trades in the millisecond {oldest}, more than a page tells")
    query["endTime"] = str(oldest)
    following = RestCall(call.call.method, call.call.path, tuple(query.items()))
    return msgspec.structs.replace(call, call=following, page=call.page + 1)


def _order(order: RestOrder, symbols: ByNative) -> OrderUpdate:
    symbol = symbols[order.symbol]
    status, side = _STATUSES.get(order.status), _SIDES.get(order.side)
    if status is None or side is None:
        raise DecodeError(f"status {order.status[:32]!r} of an order to {order.side[:32]!r} is not known")
    quantity = order.Qty if order.origQty == _NULL else order.origQty
    if quantity == _NULL or not order.orderId:
        raise DecodeError("an order without a quantity or an id")
    amount = positive_or_none(quantity, "quantity")
    value, price = positive_or_none(order.origQuoteOrderQty, "amount"), positive_or_none(order.price, "price")
    return OrderUpdate(
        NAME,
        symbol,
        str(order.orderId),
        order.clientOrderId or None,
        side,
        status,
        None if order.type == _MARKET else price,
        amount,
        filled(order.executedQty, order.status in _WITH_FILLS),
        milliseconds(order.updateTime or 0, "", symbol),
        quote_amount=value if amount is None else None,
        native_status=order.status,
    )


def _fill(trade: RestTrade, symbols: ByNative) -> Fill:
    symbol = symbols[trade.symbol]
    if not trade.id or not trade.orderId:
        raise DecodeError("a trade without its id or that of its order")
    return Fill(
        NAME,
        symbol,
        str(trade.id),
        str(trade.orderId),
        Side.BUY if trade.isBuyer else Side.SELL,
        positive(trade.price, "price"),
        positive(trade.qty, "quantity"),
        money_or_none(trade.commission, "commission"),
        trade.commissionAsset or None,
        milliseconds(trade.time, "", symbol),
        is_maker=trade.isMaker,
        client_order_id=trade.clientOrderId or None,
    )
