"""What MEXC spot answers over REST to the owner of an account: signed requests for listen keys, orders, fills and balances. Pure."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from urllib.parse import parse_qsl

from infrastructure.simulator.accounts import (
    BUY,
    SELL,
    Account,
    AccountEvent,
    Order,
    OrderRefused,
    Placement,
    Refusal,
    TimeInForce,
    orders_of,
)
from infrastructure.simulator.exchange import Answer, Request
from infrastructure.simulator.faults import Faults
from infrastructure.simulator.market import Market
from infrastructure.simulator.mexc_spot import encoded
from infrastructure.simulator.mexc_spot_keys import AHEAD_MS, LIFE_S, MOST_WINDOW_MS, WINDOW_MS, Lapsed, ListenKeys, is_signed
from infrastructure.simulator.mexc_spot_private import (
    MARKET,
    ORDER_TYPES,
    account_row,
    coin_row,
    fill_row,
    order_id_text,
    order_row,
    placed_row,
)

#: How many orders and how many fills an answer has at most.
MOST_ORDERS, MOST_FILLS = 1000, 100
#: The most pairs that a request for open orders names.
MOST_SYMBOLS = 5
_COUNT = re.compile("[0-9]{1,18}")
_LAST_MS = 10**18 - 1
_SIDES = {"BUY": BUY, "SELL": SELL}
_REFUSALS = {
    Refusal.AMOUNT: (30002, "The quantity or amount of the order is not one that can be traded"),
    Refusal.PRICE: (30010, "no valid trade price"),
    Refusal.FUNDS: (30004, "Insufficient position"),
    Refusal.UNKNOWN_ORDER: (-2013, "Order does not exist."),
    Refusal.FINISHED: (-2011, "Unknown order sent."),
    Refusal.NOTHING_TO_REDUCE: (33333, "param error"),
}


class Refused(Exception):
    """A request is answered with an error."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.answer = error(status, code, message)


def error(status: int, code: int, message: str) -> Answer:
    """An error as the exchange words it."""
    return Answer(status, encoded({"code": code, "msg": message}))


Parameters = Mapping[str, str]


class MexcSpotAccount:
    """The account as its owner sees it over REST; ``tell`` is handed what clients are to be told."""

    def __init__(
        self,
        account: Account,
        by_native: Mapping[str, Market],
        faults: Faults,
        api_key: str,
        secret: str,
        tell: Callable[[Iterable[AccountEvent]], None],
    ) -> None:
        self.keys = ListenKeys(lambda: faults.amount("key-life") or LIFE_S)
        self._account = account
        self._by_native = by_native
        self._faults = faults
        self._api_key, self._secret = api_key, secret
        self._tell = tell
        #: By method and path: the answer to the parameters of a request whose signature is right, at a time.
        self._routes: Mapping[tuple[str, str], Callable[[Parameters, int], object]] = {
            ("POST", "/api/v3/userDataStream"): self._create_key,
            ("GET", "/api/v3/userDataStream"): self._list_keys,
            ("PUT", "/api/v3/userDataStream"): self._renew_key,
            ("DELETE", "/api/v3/userDataStream"): self._delete_key,
            ("GET", "/api/v3/account"): self._balances,
            ("GET", "/api/v3/capital/config/getall"): self._coins,
            ("POST", "/api/v3/order"): self._place,
            ("GET", "/api/v3/order"): self._show,
            ("DELETE", "/api/v3/order"): self._cancel,
            ("GET", "/api/v3/openOrders"): self._open_orders,
            ("DELETE", "/api/v3/openOrders"): self._cancel_all,
            ("GET", "/api/v3/allOrders"): self._all_orders,
            ("GET", "/api/v3/myTrades"): self._fills,
        }
        self._paths = {path for _, path in self._routes}

    def answers(self, path: str) -> bool:
        """Whether a path is one of its own, whatever the method."""
        return path in self._paths

    def rest(self, request: Request, now_ms: int) -> Answer:
        """The answer to a request for one of its paths, where the exchange's clock shows ``now_ms``."""
        route = self._routes.get((request.method, request.path))
        if route is None:
            return error(405, 405, f"Request method '{request.method}' not supported")
        try:
            return Answer(200, encoded(route(self._signed(request, now_ms), now_ms)))
        except Refused as refused:
            return refused.answer
        except Lapsed:
            return error(400, 400, "Invalid listen key")
        except OrderRefused as refused:
            return error(400, *_REFUSALS[refused.refusal])

    def _signed(self, request: Request, now_ms: int) -> Parameters:
        """The parameters of a request, of the query and of the body. Raises Refused unless it is the owner's, now."""
        key = request.headers.get("X-MEXC-APIKEY")
        if not key:
            raise Refused(401, 400, "api key required")
        if key != self._api_key:
            raise Refused(400, 10072, "Api key info invalid")
        body = request.body.decode(errors="replace")
        parameters = request.parameters | dict(parse_qsl(body, keep_blank_values=True))
        window = _count(parameters.get("recvWindow", str(WINDOW_MS)))
        if window is None or window > MOST_WINDOW_MS:
            raise Refused(400, 700005, "recvWindow must less than 60000")
        sent = _count(_needed(parameters, "timestamp"))
        if sent is None or sent >= now_ms + AHEAD_MS or now_ms - sent > window:
            raise Refused(400, 700003, "Timestamp for this request is outside of the recvWindow.")
        if not is_signed(self._secret, request.query, body) or self._faults.strikes("wrong-signature"):
            raise Refused(400, 700002, "Signature for this request is not valid.")
        if self._faults.strikes("no-permission"):
            raise Refused(401, 700007, "No permission to access the endpoint.")
        return parameters

    def _create_key(self, parameters: Parameters, now_ms: int) -> object:
        if self._faults.strikes("keys-refused"):
            raise Refused(500, 500, "Server error")
        key = self.keys.create(self._account.user, now_ms)
        if key is None:
            raise Refused(400, 400, "too many listen keys")
        return {"listenKey": key}

    def _list_keys(self, parameters: Parameters, now_ms: int) -> object:
        return {"listenKey": self.keys.of(self._account.user, now_ms)}

    def _renew_key(self, parameters: Parameters, now_ms: int) -> object:
        key = _needed(parameters, "listenKey")
        if self._faults.strikes("renewal-refused"):
            raise Refused(429, 429, "Too many requests")
        self.keys.renew(self._account.user, key, now_ms)
        return {"listenKey": key}

    def _delete_key(self, parameters: Parameters, now_ms: int) -> object:
        key = _needed(parameters, "listenKey")
        self.keys.delete(self._account.user, key, now_ms)
        return {"listenKey": key}

    def _balances(self, parameters: Parameters, now_ms: int) -> object:
        rows = [account_row(currency, funds) for currency, funds in self._account.funds.items() if funds.total]
        allowed = {"canTrade": True, "canWithdraw": True, "canDeposit": True}
        return allowed | {"updateTime": None, "accountType": "SPOT", "balances": rows, "permissions": ["SPOT"]}

    def _coins(self, parameters: Parameters, now_ms: int) -> object:
        return [coin_row(currency) for currency in self._account.funds]

    def _place(self, parameters: Parameters, now_ms: int) -> object:
        placement = self._placement(parameters)
        events = self._account.place(placement, now_ms)
        self._tell(events)
        return placed_row(orders_of(events))

    def _placement(self, parameters: Parameters) -> Placement:
        symbol = self._market(parameters).symbol
        side = _SIDES.get(_needed(parameters, "side"))
        kind = _needed(parameters, "type")
        if side is None or (kind != MARKET and kind not in ORDER_TYPES):
            raise Refused(400, 33333, "param error: side or type")
        client_id = parameters.get("newClientOrderId", "")
        if kind == MARKET:
            in_quote = side == BUY and "quoteOrderQty" in parameters
            amount = _number(parameters, "quoteOrderQty" if in_quote else "quantity")
            return Placement(symbol, side, amount, None, TimeInForce.IOC, client_id, in_quote)
        amount, price = _number(parameters, "quantity"), _number(parameters, "price")
        return Placement(symbol, side, amount, price, ORDER_TYPES[kind][1], client_id)

    def _show(self, parameters: Parameters, now_ms: int) -> object:
        return order_row(self._order(parameters))

    def _cancel(self, parameters: Parameters, now_ms: int) -> object:
        return self._canceled([self._order(parameters)], now_ms)[0]

    def _cancel_all(self, parameters: Parameters, now_ms: int) -> object:
        return self._canceled(self._waiting(parameters), now_ms)

    def _canceled(self, orders: Sequence[Order], now_ms: int) -> list[dict[str, object]]:
        for order in orders:
            self._tell(self._account.cancel(order.order_id, now_ms))
        return [order_row(self._account.order(order.order_id)) for order in orders]

    def _open_orders(self, parameters: Parameters, now_ms: int) -> object:
        return [order_row(order) for order in self._waiting(parameters)]

    def _waiting(self, parameters: Parameters) -> list[Order]:
        """The open orders of the pairs that a request names, the newest first."""
        names = _needed(parameters, "symbol").split(",")
        if len(names) > MOST_SYMBOLS:
            raise Refused(400, 33333, f"param error: more than {MOST_SYMBOLS} symbols")
        symbols = [self._market({"symbol": name}).symbol for name in names]
        orders = [order for symbol in dict.fromkeys(symbols) for order in self._account.open_orders(symbol)]
        return sorted(orders, key=lambda order: order.order_id, reverse=True)

    def _all_orders(self, parameters: Parameters, now_ms: int) -> object:
        symbol, limit, since, until = self._market(parameters).symbol, _limit(parameters, 500, MOST_ORDERS), *_span(parameters)
        orders = [
            order for order in reversed(self._account.orders.values()) if order.symbol == symbol and since <= order.created_ms <= until
        ]
        return [order_row(order) for order in orders[:limit]]

    def _fills(self, parameters: Parameters, now_ms: int) -> object:
        symbol, limit, since, until = self._market(parameters).symbol, _limit(parameters, MOST_FILLS, MOST_FILLS), *_span(parameters)
        wanted = parameters.get("orderId")
        fills = [
            fill
            for fill in reversed(self._account.fills)
            if fill.order.symbol == symbol and since <= fill.time_ms <= until and wanted in (None, order_id_text(fill.order))
        ]
        return [fill_row(fill) for fill in fills[:limit]]

    def _order(self, parameters: Parameters) -> Order:
        """The order that a request names, by either of its ids."""
        symbol = self._market(parameters).symbol
        if "orderId" in parameters:
            order = self._account.order(_count(parameters["orderId"].rpartition("__")[2]))
        elif "origClientOrderId" in parameters:
            order = self._account.order(client_id=parameters["origClientOrderId"])
        else:
            raise Refused(400, 700004, "Param 'origClientOrderId' or 'orderId' must be sent, but both were empty/null")
        if order.symbol != symbol:
            raise OrderRefused(Refusal.UNKNOWN_ORDER)
        return order

    def _market(self, parameters: Parameters) -> Market:
        name = _needed(parameters, "symbol")
        if name not in self._by_native:
            raise Refused(400, 10007, f"bad symbol: {name}")
        return self._by_native[name]


def _needed(parameters: Parameters, name: str) -> str:
    if not parameters.get(name):
        raise Refused(400, 44444, f"param null: {name}")
    return parameters[name]


def _number(parameters: Parameters, name: str) -> Decimal:
    try:
        return Decimal(_needed(parameters, name))
    except InvalidOperation:
        raise Refused(400, 33333, f"param error: {name}") from None


def _count(text: str) -> int | None:
    """A whole number that is not below 0, None if a text is none."""
    return int(text) if _COUNT.fullmatch(text) else None


def _limit(parameters: Parameters, default: int, most: int) -> int:
    """How much a request asks for; more than there may be is as much as there may be."""
    limit = _count(parameters.get("limit", str(default)))
    if not limit:
        raise Refused(400, 33333, "param error: limit")
    return min(limit, most)


def _span(parameters: Parameters) -> tuple[int, int]:
    """From when to when, in ms, both included."""
    since, until = _count(parameters.get("startTime", "0")), _count(parameters.get("endTime", str(_LAST_MS)))
    if since is None or until is None:
        raise Refused(400, 33333, "param error: startTime or endTime")
    return since, until
