"""The account at Gate.io spot: private channels and REST.

Sources: https://www.gate.com/docs/developers/apiv4/ws/en/#client-subscription, .../apiv4/en/#spot. Each struct stands beside the payload
that it reads, of a channel and of REST where both have the same.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal

import msgspec

from infrastructure.account_api import AccountCall, Part, RestCall
from infrastructure.errors import DecodeError
from infrastructure.events import BalanceUpdate, Fill, MessageType, OrderStatus, OrderUpdate, Side
from infrastructure.exchanges.gateio.account import (
    EVERY,
    NOTHING,
    TIME_CALL,
    GateioAccountCodec,
    Listing,
    Number,
    Time,
    Told,
    client_order_id,
    filled,
    first_time,
    identifier,
    rows_of,
)
from infrastructure.exchanges.gateio.envelope import Envelope, native_pair, unified_pair
from infrastructure.exchanges.gateio.market import Reader, each
from infrastructure.exchanges.numbers import money, money_or_none, not_negative, positive, positive_or_none, total
from infrastructure.venue import ALL, Message, PrivateVenue

NAME = "gateio_spot"
#: As many as the venue gives at most: of open orders those of each pair are counted for themselves.
ORDERS_A_PAGE = 100
FILLS_A_PAGE = 1000


class OrderResult(msgspec.Struct):
    """``{"id":"1036717689726","text":"apiv4","create_time":"1774613210","update_time":"1774613210","currency_pair":"BTC_USDT",
    "type":"limit","account":"unified","side":"buy","amount":"0.1","price":"200","time_in_force":"gtc","left":"0.1","filled_amount":"0",
    "filled_total":"0","avg_deal_price":"0","create_time_ms":"1774613210391","update_time_ms":"1774613210391","event":"put",
    "finish_as":"open"}``; REST has ``"status":"open"`` in place of ``event``. Of a market buy ``amount`` and ``left`` are in quote
    currency.
    """

    id: int | str
    currency_pair: str
    type: str
    side: Side
    amount: Number
    left: Number
    price: Number = NOTHING
    event: str = ""
    status: str = ""
    finish_as: str = ""
    text: str | None = None
    filled_amount: Number = NOTHING
    filled_total: Number = NOTHING
    avg_deal_price: Number = NOTHING
    update_time_ms: Time = NOTHING
    update_time: Time = NOTHING


class TradeResult(msgspec.Struct):
    """``{"id":5736713,"user_id":1000001,"order_id":"30784428","currency_pair":"BTC_USDT","create_time":1605176741,
    "create_time_ms":"1605176741123.456","side":"sell","amount":"1.00000000","role":"taker","price":"10000.00000000",
    "fee":"0.00200000000000","fee_currency":"USDT","point_fee":"0","gt_fee":"0","text":"apiv4","id_market":5736713}``; the second version
    of the channel has no fees.
    """

    id: int | str
    order_id: int | str
    currency_pair: str
    side: Side
    amount: Number
    price: Number
    role: str = ""
    fee: Number = NOTHING
    fee_currency: str | None = None
    gt_fee: Number = NOTHING
    point_fee: Number = NOTHING
    text: str | None = None
    create_time_ms: Time = NOTHING
    create_time: Time = NOTHING


class BalanceResult(msgspec.Struct):
    """``{"timestamp":"1755718222","timestamp_ms":"1755718222394","user":"12870774","currency":"USDT","change":"-3.99375",
    "total":"3083.01767272991036062136","available":"3081.68642272991036062136","freeze":"1.33125","freeze_change":"-3.99375",
    "change_type":"order-match"}``
    """

    currency: str
    total: Number
    available: Number
    freeze: Number
    change_type: str = ""
    timestamp_ms: Time = NOTHING
    timestamp: Time = NOTHING


class SpotAccount(msgspec.Struct):
    """``{"currency":"ETH","available":"968.8","locked":"0","update_id":98}``, of ``GET /spot/accounts``."""

    currency: str
    available: Number
    locked: Number


class PairOrders(msgspec.Struct):
    """``{"currency_pair":"ETH_BTC","total":1,"orders":[]}``, of ``GET /spot/open_orders``."""

    orders: list[OrderResult]


ORDERS = "spot.orders"
ORDERS_V2 = "spot.orders_v2"
USER_TRADES = "spot.usertrades"
USER_TRADES_V2 = "spot.usertrades_v2"
BALANCES = "spot.balances"

_OPEN_ORDERS = "/api/v4/spot/open_orders"
_ONE_ORDER = "/api/v4/spot/orders"
_MY_TRADES = "/api/v4/spot/my_trades"
_ACCOUNTS = "/api/v4/spot/accounts"

#: By ``event`` of a push, and by ``status`` of REST: whether the order has ended.
_HAS_ENDED: Mapping[str, bool] = {"put": False, "update": False, "finish": True, "open": False, "closed": True, "cancelled": True}

_decode_order = msgspec.json.Decoder(OrderResult, strict=False).decode
_decode_open_orders = msgspec.json.Decoder(list[PairOrders], strict=False).decode


class GateioSpotAccountCodec(GateioAccountCodec):
    """The wire format of an account at Gate.io spot. Pure."""

    name = NAME
    prefix = "spot."
    unified = staticmethod(unified_pair)
    native = staticmethod(native_pair)

    def readers(self) -> dict[str, Reader]:
        """By channel: how a push is read."""
        orders = each(OrderResult, lambda result, envelope: self._order(result, envelope.exchange_ns))
        fills = each(TradeResult, lambda result, envelope: self._fill(result, envelope.exchange_ns))
        return {ORDERS: orders, ORDERS_V2: orders, USER_TRADES: fills, USER_TRADES_V2: fills, BALANCES: each(BalanceResult, self._balance)}

    def listings(self) -> dict[str, Listing]:
        """By path: how an answer of REST is read that is a list."""
        return {
            _OPEN_ORDERS: self._open_orders,
            _MY_TRADES: rows_of(TradeResult, self._fill),
            _ACCOUNTS: rows_of(SpotAccount, self._account),
        }

    def asked(self, channel: str, option: str, symbols: Sequence[str]) -> list[tuple[tuple[str, ...], list[str]]]:
        """All pairs in one request. Balances have no payload, whichever symbols they are wanted for."""
        if channel == BALANCES:
            return [(tuple(symbols), [])]
        pairs = tuple(symbol for symbol in symbols if symbol != ALL)
        whole: list[tuple[tuple[str, ...], list[str]]] = [((ALL,), [EVERY])] if ALL in symbols else []
        return [*whole, (pairs, [self.symbols.native(pair) for pair in pairs])] if pairs else whole

    def account_calls(self, symbols: Sequence[str], since_ms: int | None) -> list[AccountCall]:
        """Open orders, fills of all pairs and balances."""
        orders = (("page", "1"), ("limit", str(ORDERS_A_PAGE)))
        calls = [AccountCall(Part.ORDERS, RestCall("GET", _OPEN_ORDERS, orders))]
        if since_ms is not None:
            fills = (("limit", str(FILLS_A_PAGE)), ("page", "1"), ("from", str(since_ms // 1000)))
            calls.append(AccountCall(Part.FILLS, RestCall("GET", _MY_TRADES, fills)))
        return [*calls, AccountCall(Part.BALANCES, RestCall("GET", _ACCOUNTS))]

    def order_call(self, symbol: str, order_id: str) -> AccountCall:
        """``GET /spot/orders/{order_id}``; an order canceled without a fill is no longer found after ten minutes."""
        # An order may outlive its place in the list.
        is_listed = symbol in self.symbols.instruments
        pair = (("currency_pair", self.symbols.native(symbol) if is_listed else self.native(symbol)),)
        return AccountCall(Part.ORDERS, RestCall("GET", f"{_ONE_ORDER}/{order_id}", pair), symbol)

    def order(self, raw: bytes | str) -> OrderUpdate:
        """The answer of ``GET /spot/orders/{order_id}``."""
        return self._order(_decode_order(raw), None)

    def _open_orders(self, raw: bytes | str) -> tuple[list[Told], int]:
        pairs = [pair.orders for pair in _decode_open_orders(raw)]
        return [self._order(order, None) for orders in pairs for order in orders], max(map(len, pairs), default=0)

    def _order(self, result: OrderResult, sent_ns: int | None) -> OrderUpdate:
        is_market = result.type.startswith("market")
        is_for_value = is_market and result.side is Side.BUY
        amount, left = positive(result.amount, "amount"), not_negative(result.left, "left")
        average = positive_or_none(result.avg_deal_price, "avg_deal_price")
        return OrderUpdate(
            NAME,
            self.symbol_of(result.currency_pair),
            identifier(result.id, "id"),
            client_order_id(result.text),
            result.side,
            _status(result, left),
            None if is_market else positive_or_none(result.price, "price"),
            None if is_for_value else amount,
            _bought(result, average) if is_for_value else filled(amount, left),
            first_time(result.update_time_ms, result.update_time) or sent_ns,
            average_price=average,
            quote_amount=amount if is_for_value else None,
            native_status=result.finish_as or result.event or result.status,
        )

    def _fill(self, result: TradeResult, sent_ns: int | None) -> Fill:
        fee, currency = _fee(result)
        return Fill(
            NAME,
            self.symbol_of(result.currency_pair),
            identifier(result.id, "id"),
            identifier(result.order_id, "order_id"),
            result.side,
            positive(result.price, "price"),
            positive(result.amount, "amount"),
            fee,
            currency,
            first_time(result.create_time_ms, result.create_time) or sent_ns,
            is_maker={"maker": True, "taker": False}.get(result.role),
            client_order_id=client_order_id(result.text),
        )

    def _balance(self, result: BalanceResult, envelope: Envelope) -> Message:
        return BalanceUpdate(
            NAME,
            identifier(result.currency, "currency"),
            money(result.total, "total"),
            money(result.available, "available"),
            money(result.freeze, "freeze"),
            first_time(result.timestamp_ms, result.timestamp) or envelope.exchange_ns,
            reason=result.change_type,
        )

    def _account(self, result: SpotAccount, sent_ns: int | None) -> BalanceUpdate:
        available, locked = money(result.available, "available"), money(result.locked, "locked")
        return BalanceUpdate(NAME, identifier(result.currency, "currency"), total(available, locked), available, locked, sent_ns)


def _status(result: OrderResult, left: Decimal) -> OrderStatus:
    """Nothing left is filled; so is a market buy that says so, though less is left than buys anything."""
    has_ended = _HAS_ENDED.get(result.event or result.status)
    if has_ended is None:
        raise DecodeError(f"an order is neither open nor ended: {(result.event or result.status)[:32]!r}")
    if not has_ended:
        return OrderStatus.OPEN
    return OrderStatus.FILLED if not left or result.finish_as == "filled" or result.status == "closed" else OrderStatus.CANCELED


def _bought(result: OrderResult, average: Decimal | None) -> Decimal:
    """What an order for a value has bought; where it is not said, as by the venue until 2025, the value at the average price."""
    if money_or_none(result.filled_amount, "filled_amount") is not None:
        return not_negative(result.filled_amount, "filled_amount")
    value = positive_or_none(result.filled_total, "filled_total")
    if value is None:
        return Decimal(0)
    if average is None:
        raise DecodeError("an order has bought something at no price")
    return value / average


def _fee(result: TradeResult) -> tuple[Decimal | None, str | None]:
    """A fee is taken in the currency that was bought, or from what the account holds of GT or of points instead."""
    fee, gt, points = (
        money_or_none(value, name) for value, name in ((result.fee, "fee"), (result.gt_fee, "gt_fee"), (result.point_fee, "point_fee"))
    )
    if not fee and gt:
        return gt, "GT"
    return (points, "POINT") if not fee and points else (fee, result.fee_currency)


GATEIO_SPOT_ACCOUNT = PrivateVenue(
    codec=GateioSpotAccountCodec,
    channels={
        ORDERS: MessageType.ORDER,
        ORDERS_V2: MessageType.ORDER,
        USER_TRADES: MessageType.FILL,
        USER_TRADES_V2: MessageType.FILL,
        BALANCES: MessageType.BALANCE,
    },
    default_channels=(ORDERS, USER_TRADES, BALANCES),
    time_call=TIME_CALL,
)
