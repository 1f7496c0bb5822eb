"""MEXC spot frames for tests, written byte by byte from the venue's field numbers; nothing of the product's schema is used."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

SYMBOL = "BTC/USDT"
NATIVE = "BTCUSDT"
SENT_MS = 1_700_000_000_123
SENT_NS = 1_700_000_000_123_000_000
Pairs = Sequence[tuple[Any, Any]]

DEALS = "spot@public.aggre.deals.v3.api.pb"
BOOK_TICKER = "spot@public.aggre.bookTicker.v3.api.pb"
BOOK_TICKER_BATCH = "spot@public.bookTicker.batch.v3.api.pb"
MINI_TICKER = "spot@public.miniTicker.v3.api.pb"
MINI_TICKERS = "spot@public.miniTickers.v3.api.pb"
KLINE = "spot@public.kline.v3.api.pb"
DEPTH = "spot@public.aggre.depth.v3.api.pb"
LIMIT_DEPTH = "spot@public.limit.depth.v3.api.pb"
PRIVATE_ORDERS = "spot@private.orders.v3.api.pb"
PRIVATE_DEALS = "spot@private.deals.v3.api.pb"
PRIVATE_ACCOUNT = "spot@private.account.v3.api.pb"

#: By the venue's name of a field: its number, and for a message within the message the same of that.
Table = Mapping[str, "int | tuple[int, Table]"]


def numbered(*names: str) -> dict[str, int]:
    """Names in the order of their numbers, from 1 on."""
    return {name: number for number, name in enumerate(names, 1)}


LEVEL = numbered("price", "quantity")
BEST = numbered("bidPrice", "bidQuantity", "askPrice", "askQuantity")
TICKER = numbered(
    "symbol",
    "price",
    "rate",
    "zonedRate",
    "high",
    "low",
    "volume",
    "quantity",
    "lastCloseRate",
    "lastCloseZonedRate",
    "lastCloseHigh",
    "lastCloseLow",
)
BODIES: dict[str, tuple[int, Table]] = {
    "publicLimitDepths": (303, {"asks": (1, LEVEL), "bids": (2, LEVEL), "eventType": 3, "version": 4, "lastOrderCreateTime": 5}),
    "privateOrders": (
        304,
        numbered(
            "id",
            "clientId",
            "price",
            "quantity",
            "amount",
            "avgPrice",
            "orderType",
            "tradeType",
            "isMaker",
            "remainAmount",
            "remainQuantity",
            "lastDealQuantity",
            "cumulativeQuantity",
            "cumulativeAmount",
            "status",
            "createTime",
            "market",
            "triggerType",
            "triggerPrice",
            "state",
            "ocoId",
            "routeFactor",
            "symbolId",
            "marketId",
            "marketCurrencyId",
            "currencyId",
        ),
    ),
    "privateDeals": (
        306,
        numbered(
            "price",
            "quantity",
            "amount",
            "tradeType",
            "isMaker",
            "isSelfTrade",
            "tradeId",
            "clientOrderId",
            "orderId",
            "feeAmount",
            "feeCurrency",
            "time",
        ),
    ),
    "privateAccount": (
        307,
        numbered("vcoinName", "coinId", "balanceAmount", "balanceAmountChange", "frozenAmount", "frozenAmountChange", "type", "time"),
    ),
    "publicSpotKline": (
        308,
        numbered("interval", "windowStart", "openingPrice", "closingPrice", "highestPrice", "lowestPrice", "volume", "amount", "windowEnd"),
    ),
    "publicMiniTicker": (309, TICKER),
    "publicMiniTickers": (310, {"items": (1, TICKER)}),
    "publicBookTickerBatch": (311, {"items": (1, BEST), "version": 2, "lastOrderCreateTime": 3}),
    "publicAggreDepths": (
        313,
        {"asks": (1, LEVEL), "bids": (2, LEVEL), "eventType": 3, "fromVersion": 4, "toVersion": 5, "lastOrderCreateTime": 6},
    ),
    "publicAggreDeals": (314, {"deals": (1, numbered("price", "quantity", "tradeType", "time", "tradeId")), "eventType": 2}),
    "publicAggreBookTicker": (315, {**BEST, "version": 5, "lastOrderCreateTime": 6}),
}
WRAPPER: Table = {"channel": 1, "symbol": 3, "symbolId": 4, "createTime": 5, "sendTime": 6, **BODIES}


def varint(value: int) -> bytes:
    """A number in seven bits a byte, the lowest first; a negative one as the 64 bits of its two's complement."""
    value &= 2**64 - 1
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*written, value])


def counted(number: int, value: bytes) -> bytes:
    """A field of text or of a message: its tag, its length, itself."""
    return varint(number << 3 | 2) + varint(len(value)) + value


def pieces(values: Mapping[str, Any], table: Table) -> list[bytes]:
    """The fields of a message, each by itself, in the order of ``values``."""
    written = []
    for name, value in values.items():
        place = table[name]
        number, inner = (place, {}) if isinstance(place, int) else place
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, int):
                written.append(varint(number << 3) + varint(item))
            elif isinstance(item, Mapping):
                written.append(counted(number, b"".join(pieces(item, inner))))
            else:
                written.append(counted(number, item.encode()))
    return written


def encode(frame: Mapping[str, Any]) -> bytes:
    """A frame from what it says, as the captures write it down beside their bytes. None takes a value away."""
    return b"".join(pieces({name: value for name, value in frame.items() if value is not None}, WRAPPER))


def push(stream: str, body: str, values: Mapping[str, Any], **wrapper: Any) -> bytes:
    """One frame of ``stream``; the wrapper is the usual one but for what ``wrapper`` changes, None takes a value away."""
    usual = {"channel": stream, "symbol": NATIVE, "sendTime": SENT_MS}
    return encode(usual | wrapper | {body: {name: value for name, value in values.items() if value is not None}})


def deal(price: str = "100.5", quantity: str = "0.25", trade_type: int = 1, *, trade_id: str = "7X0_8X0") -> dict[str, Any]:
    """One deal of a frame."""
    return {"price": price, "quantity": quantity, "tradeType": trade_type, "time": SENT_MS - 3, "tradeId": trade_id}


def trades(*deals: dict[str, Any], native: str = NATIVE) -> bytes:
    """A frame of aggre.deals."""
    values = {"deals": list(deals) or [deal()], "eventType": DEALS + "@100ms"}
    return push(f"{DEALS}@100ms@{native}", "publicAggreDeals", values, symbol=native)


def levels(pairs: Pairs) -> list[dict[str, str]]:
    """Levels as the wire has them."""
    return [{"price": str(price), "quantity": str(quantity)} for price, quantity in pairs]


def depth(first: int, last: int, bids: Pairs = (), asks: Pairs = (), *, native: str = NATIVE) -> bytes:
    """A frame of aggre.depth with these versions."""
    sides = {"asks": levels(asks), "bids": levels(bids)}
    versions = {"eventType": DEPTH + "@100ms", "fromVersion": str(first), "toVersion": str(last)}
    return push(f"{DEPTH}@100ms@{native}", "publicAggreDepths", sides | versions, symbol=native)


def limit_depth(version: int, bids: Pairs = (), asks: Pairs = (), *, native: str = NATIVE) -> bytes:
    """A frame of limit.depth."""
    values = {"asks": levels(asks), "bids": levels(bids), "eventType": LIMIT_DEPTH, "version": str(version)}
    return push(f"{LIMIT_DEPTH}@{native}@20", "publicLimitDepths", values, symbol=native)


def book_ticker(version: int | None = None, bid: str | None = "100", ask: str | None = "101", *, native: str = NATIVE) -> bytes:
    """A frame of aggre.bookTicker; None leaves a side empty, or the frame as it was before June 2026."""
    bids = {} if bid is None else {"bidPrice": bid, "bidQuantity": "1.5"}
    asks = {} if ask is None else {"askPrice": ask, "askQuantity": "2.5"}
    more = {} if version is None else {"version": str(version), "lastOrderCreateTime": SENT_MS - 7}
    return push(f"{BOOK_TICKER}@100ms@{native}", "publicAggreBookTicker", bids | asks | more, symbol=native)


def book_ticker_batch(*items: dict[str, str], version: str | None = "12", native: str = NATIVE) -> bytes:
    """A frame of bookTicker.batch."""
    usual = {"bidPrice": "100", "bidQuantity": "1.5", "askPrice": "101", "askQuantity": "2.5"}
    values = {"items": list(items) or [usual], "version": version}
    return push(f"{BOOK_TICKER_BATCH}@{native}", "publicBookTickerBatch", values, symbol=native)


def kline(close: str = "100.5", *, native: str = NATIVE) -> bytes:
    """A frame of a bar of one minute."""
    prices = {"openingPrice": "95", "closingPrice": close, "highestPrice": "110", "lowestPrice": "90", "volume": "12.5", "amount": "1250"}
    values = {"interval": "Min1", "windowStart": 1_699_999_980} | prices | {"windowEnd": 1_700_000_040}
    wrapper = {"symbol": native, "symbolId": "0f", "createTime": SENT_MS, "sendTime": None}
    return push(f"{KLINE}@{native}@Min1", "publicSpotKline", values, **wrapper)


def ticker(price: str = "100.5", *, native: str = NATIVE) -> dict[str, str]:
    """One ticker of a frame."""
    rates = {"rate": "0.01", "zonedRate": "-0.015", "high": "110", "low": "90", "volume": "1250", "quantity": "12.5"}
    return {"symbol": native, "price": price} | rates | {"lastCloseRate": "0.01", "lastCloseZonedRate": "-0.015"}


def mini_ticker(price: str = "100.5", *, native: str = NATIVE) -> bytes:
    """A frame of miniTicker."""
    return push(f"{MINI_TICKER}@{native}@24H", "publicMiniTicker", ticker(price, native=native), symbol=native)


def mini_tickers(*items: dict[str, str]) -> bytes:
    """A frame of miniTickers, which belongs to no symbol."""
    return push(MINI_TICKERS + "@24H", "publicMiniTickers", {"items": list(items) or [ticker()]}, symbol=None)


def own_order(order_id: str = "C02__1", status: int = 1, *, native: str = NATIVE, sent_ms: int = SENT_MS, **changes: Any) -> bytes:
    """A frame of an order of the account: to buy 2 at 100, with nothing filled."""
    values: dict[str, Any] = {"id": order_id, "price": "100", "quantity": "2", "amount": "200", "avgPrice": "0", "orderType": 1}
    values |= {"tradeType": 1, "remainAmount": "200", "remainQuantity": "2", "cumulativeQuantity": "0", "cumulativeAmount": "0"}
    values |= {"status": status, "createTime": SENT_MS - 9}
    return push(PRIVATE_ORDERS, "privateOrders", values | changes, symbol=native, sendTime=sent_ms)


def own_deal(deal_id: str = "1X1", *, native: str = NATIVE, **changes: Any) -> bytes:
    """A frame of an execution of an order of the account, as a taker."""
    values: dict[str, Any] = {"price": "100", "quantity": "2", "amount": "200", "tradeType": 1, "tradeId": deal_id}
    values |= {"orderId": "C02__1", "feeAmount": "0.001", "feeCurrency": "MX", "time": SENT_MS - 4}
    return push(PRIVATE_DEALS, "privateDeals", values | changes, symbol=native)


def own_balance(currency: str = "USDT", available: str = "7.5", frozen: str = "2.5", **changes: Any) -> bytes:
    """A frame of what the account has of a currency."""
    values: dict[str, Any] = {"vcoinName": currency, "coinId": "0f", "balanceAmount": available, "balanceAmountChange": "-2.5"}
    values |= {"frozenAmount": frozen, "frozenAmountChange": "2.5", "type": "ENTRUST_PLACE", "time": SENT_MS - 4}
    return push(PRIVATE_ACCOUNT, "privateAccount", values | changes, symbol=None, createTime=SENT_MS - 2)


def without_body(stream: str = f"{DEALS}@100ms@{NATIVE}", **wrapper: Any) -> bytes:
    """A frame that holds nothing, as quiet pairs get."""
    return encode({"channel": stream, "symbol": NATIVE, "sendTime": SENT_MS} | wrapper)


def rest_book(last: int | None, bids: Pairs = ((100, 1),), asks: Pairs = ((101, 1),)) -> bytes:
    """The REST answer with the whole book."""
    sides = {"bids": [[str(price), str(amount)] for price, amount in bids], "asks": [[str(price), str(amount)] for price, amount in asks]}
    return json.dumps({"lastUpdateId": last} | sides | {"timestamp": SENT_MS}).encode()


def exchange_info(*symbols: dict[str, Any]) -> bytes:
    """The REST answer with the instruments."""
    return json.dumps({"timezone": "CST", "serverTime": SENT_MS, "rateLimits": [], "symbols": list(symbols)}).encode()


def answer(message: str, *, request_id: int = 0, code: int = 0) -> bytes:
    """The answer to a request."""
    return json.dumps({"id": request_id, "code": code, "msg": message}, ensure_ascii=False).encode()


PONG = answer("PONG")
