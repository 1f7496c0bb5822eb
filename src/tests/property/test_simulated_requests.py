"""Whatever is asked of a simulated account, signed or not: it is answered, and an answer that is an error has changed nothing."""

import hmac
import json
from hashlib import sha512
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from infrastructure.simulator.exchange import Answer, Client, Exchange, Request
from infrastructure.simulator.faults import Faults
from infrastructure.simulator.gateio_futures_exchange import GateioFuturesExchange
from infrastructure.simulator.mexc_spot_exchange import MexcSpotExchange
from infrastructure.simulator.mexc_spot_keys import signature_of

NOW_MS = 1_790_281_243_450
#: More digits than there may be in a number.
LONG = "9" * 5000
METHODS = st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH"])
MEXC_PATHS = ("userDataStream", "account", "order", "openOrders", "allOrders", "myTrades", "capital/config/getall")
GATE_PATHS = ("accounts", "positions", "positions/BTC_USDT", "orders", "orders/1", "orders/t-x", "my_trades", "my_trades_timerange")
NUMBERS = ("1", "0", "-1", "1.5", "1e3", "1e-99999999", "1e99999999", "NaN", "sNaN", "-Infinity", LONG, "\u0663", "", "x")
WORDS = (
    st.sampled_from(NUMBERS) | st.sampled_from(["BTCUSDT", "BTC_USDT", "BUY", "SELL", "LIMIT", "MARKET", "ioc", "gtc", "t-x"]) | st.text()
)
MEXC_NAMES = (
    *("symbol", "side", "type", "quantity", "quoteOrderQty", "price", "newClientOrderId", "orderId", "origClientOrderId"),
    *("limit", "startTime", "endTime", "listenKey", "recvWindow"),
)
GATE_NAMES = (
    "contract",
    "size",
    "price",
    "tif",
    "text",
    "reduce_only",
    "close",
    "status",
    "limit",
    "offset",
    "from",
    "to",
    "side",
    "holding",
)
LEAVES = WORDS | st.none() | st.booleans() | st.integers() | st.floats()
JSON = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2), max_leaves=4)


def mexc() -> Exchange:
    return MexcSpotExchange(("BTC/USDT",), 1, Faults((), 1))


def futures() -> Exchange:
    return GateioFuturesExchange(("BTC/USDT:USDT",), 1, Faults((), 1))


def mexc_signed(method: str, path: str, query: str) -> Request:
    query = f"{query}&signature={signature_of('secret', query)}"
    return Request(method, f"/api/v3/{path}", query, {"X-MEXC-APIKEY": "key"})


def gate_signed(method: str, path: str, query: str, body: bytes, headers: dict[str, str]) -> Request:
    whole, now = f"/api/v4/futures/usdt/{path}", str(NOW_MS // 1000)
    text = f"{method}\n{whole}\n{query}\n{sha512(body).hexdigest()}\n{now}"
    signature = hmac.new(b"secret", text.encode(), sha512).hexdigest()
    return Request(method, whole, quote(query, safe="=&"), headers | {"KEY": "key", "Timestamp": now, "SIGN": signature}, body)


def assert_answered(exchange: Exchange, request: Request) -> Answer:
    """An answer, in JSON; a refusal leaves the account as it was."""
    before = exchange.account.state()
    answer = exchange.rest(request, NOW_MS)
    told = json.loads(answer.body)
    if answer.status >= 400:
        assert told.get("msg") or told.get("label") or not told
        assert exchange.account.state() == before
    return answer


@example("GET", "myTrades", {"symbol": "BTCUSDT", "limit": LONG})
@example("GET", "allOrders", {"symbol": "BTCUSDT", "endTime": LONG})
@example("GET", "order", {"symbol": "BTCUSDT", "orderId": LONG})
@example("GET", "account", {"recvWindow": LONG})
@given(METHODS, st.sampled_from(MEXC_PATHS), st.dictionaries(st.sampled_from(MEXC_NAMES), WORDS))
@settings(max_examples=300)
def test_mexc_answers_whatever_is_signed(method: str, path: str, fields: dict[str, str]) -> None:
    query = urlencode({**fields, "timestamp": NOW_MS}, errors="replace")
    answer = assert_answered(mexc(), mexc_signed(method, path, query))
    assert json.loads(answer.body) != {"code": 700002}


@example("GET", "my_trades", {"limit": LONG}, {}, {})
@example("GET", "my_trades", {"offset": LONG}, {}, {})
@example("GET", f"orders/{LONG}", {}, {}, {})
@example("POST", "orders", {}, {"contract": "BTC_USDT", "size": "1e999999", "price": "1", "tif": "gtc"}, {})
@example("POST", "orders", {}, {"contract": "BTC_USDT", "size": 1, "price": "1", "tif": []}, {})
@given(
    METHODS,
    st.sampled_from(GATE_PATHS),
    st.dictionaries(st.sampled_from(GATE_NAMES), st.text("0123456789-tx_ABCUSDT.", max_size=30) | st.just(LONG)),
    st.dictionaries(st.sampled_from(GATE_NAMES), JSON) | JSON,
    st.sampled_from([{}, {"X-Gate-Size-Decimal": "1"}]),
)
@settings(max_examples=300)
def test_futures_answer_whatever_is_signed(method: str, path: str, query: dict[str, str], body: Any, headers: dict[str, str]) -> None:
    text = "&".join(f"{name}={value}" for name, value in query.items())
    answer = assert_answered(futures(), gate_signed(method, path, text, json.dumps(body).encode(), headers))
    assert answer.status != 401


@pytest.mark.parametrize("opened", [mexc, futures])
@example("GET", "account", f"timestamp={LONG}", b"", {"X-MEXC-APIKEY": "key"})
@example("GET", "accounts", "", b"", {"KEY": "key", "SIGN": "x", "Timestamp": LONG})
@given(
    METHODS,
    st.sampled_from([*MEXC_PATHS, *GATE_PATHS]),
    st.text(),
    st.binary(),
    st.dictionaries(st.sampled_from(["X-MEXC-APIKEY", "KEY", "SIGN", "Timestamp"]), WORDS),
)
def test_what_is_not_signed_is_refused(opened: Any, method: str, path: str, query: str, body: bytes, headers: dict[str, str]) -> None:
    exchange = opened()
    for base in ("/api/v3", "/api/v4/futures/usdt"):
        assert assert_answered(exchange, Request(method, f"{base}/{path}", query, headers, body)).status >= 400


@given(st.text() | JSON.map(json.dumps), st.text())
def test_a_private_connection_takes_whatever_is_said(text: str, key: str) -> None:
    exchange = mexc()
    client = Client()
    assert exchange.admit(client, {"listenKey": key}, NOW_MS) is None
    reply = exchange.reply(text, client, NOW_MS)
    assert reply.answer is not None and not reply.begun
    exchange.dismiss(client)
