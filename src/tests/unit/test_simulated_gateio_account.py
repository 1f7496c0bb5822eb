"""Gate.io spot's simulated account, in a time of its own: who is let in, what REST answers, what is pushed to whom."""

import hmac
import json
from decimal import Decimal
from hashlib import sha512
from typing import Any

import pytest

from infrastructure.simulator.exchange import Answer, Client, Request
from infrastructure.simulator.faults import Faults
from infrastructure.simulator.gateio_spot_exchange import GateioSpotExchange

NOW_MS = 1_700_000_000_000
PAIRS = ("BTC/USDT", "ETH/USDT")
#: Of the exchange's documentation, with the secret ``testsecret``.
SUBSCRIBED = (
    "8a1c9c6c3915f0e96e5002dfe1b424d35d26927cfe38dc0a7343e00976fc88ee4f032b2e8a1aa837c9435cd3f67574fb12df064a6f071b5e129d364190969ef5"
)
ACCOUNTS = (
    "cd1cd4a806377879cb95f0223dd9f6214ad1e65e5f7501b5eca04c3698c533c10faa347c020b1308e5c61b40fc981ce7de0fcf8c2522bbf95bd8c4857a267b3d"
)


class Gate:
    """The exchange, and whoever has its key."""

    def __init__(self, secret: str = "testsecret") -> None:
        self.faults = Faults((*GateioSpotExchange.channels, *GateioSpotExchange.private_channels, *PAIRS), 1)
        self.exchange = GateioSpotExchange(PAIRS, 7, self.faults, "key", secret)
        self.exchange.account.fill_chance = 0
        self.secret = secret.encode()
        self.client = Client("1")
        self.now_ms = NOW_MS

    def sign(self, text: str) -> str:
        return hmac.new(self.secret, text.encode(), sha512).hexdigest()

    def request(self, channel: str, payload: object = ("!all",), event: str = "subscribe", **auth: object) -> dict[str, Any]:
        """A signed one; ``auth`` changes what would be right."""
        time = auth.pop("time", self.now_ms // 1000)
        sign = self.sign(f"channel={channel}&event={event}&time={time}")
        request: dict[str, Any] = {"time": time, "id": 1, "channel": channel, "event": event}
        request["auth"] = {"method": "api_key", "KEY": "key", "SIGN": sign} | auth
        return request if payload is None else request | {"payload": payload}

    def ask(self, request: dict[str, Any], client: Client | None = None) -> dict[str, Any]:
        """The answer; what begins and ends is done, as the server does it."""
        client = client or self.client
        reply = self.exchange.reply(json.dumps(request), client, self.now_ms)
        client.topics |= set(reply.begun)
        client.topics -= set(reply.ended)
        assert isinstance(reply.answer, str)
        answer: dict[str, Any] = json.loads(reply.answer)
        return answer

    def subscribe(self, *channels: str) -> None:
        for channel in channels:
            assert self.ask(self.request(channel))["result"] == {"status": "success"}

    def rest(self, method: str, path: str, query: str = "", body: object = None, **headers: str) -> tuple[int, Any]:
        """A signed request, and its answer."""
        raw = b"" if body is None else json.dumps(body).encode()
        time = str(self.now_ms // 1000)
        sign = self.sign(f"{method}\n{path}\n{query}\n{sha512(raw).hexdigest()}\n{time}")
        return self.send(Request(method, path, query, {"KEY": "key", "Timestamp": time, "SIGN": sign} | headers, raw))

    def send(self, request: Request) -> tuple[int, Any]:
        answer = self.exchange.rest(request, self.now_ms)
        assert isinstance(answer, Answer)
        return answer.status, json.loads(answer.body)

    def place(self, **order: object) -> dict[str, Any]:
        given: dict[str, object] = {"currency_pair": "BTC_USDT", "side": "buy", "amount": "0.5"}
        status, answer = self.rest("POST", "/api/v4/spot/orders", body=given | order)
        assert status == 201, answer
        assert isinstance(answer, dict)
        return answer

    def far(self, side: str = "buy") -> str:
        """A price that the market does not reach."""
        market = self.exchange.by_native["BTC_USDT"]
        return f"{(max(market.bids) - 5000) / 100:.2f}" if side == "buy" else f"{(min(market.asks) + 5000) / 100:.2f}"

    def pushed(self, *clients: Client) -> list[tuple[str, dict[str, Any]]]:
        """Channel and row of what is pushed to whoever asks."""
        pushes = self.exchange.take_pushes(clients or (self.client,), self.now_ms)
        rows = []
        for push in pushes:
            assert isinstance(push.message, str)
            frame = json.loads(push.message)
            assert (frame["channel"], frame["event"], frame["time_ms"]) == (push.channel, "update", self.now_ms)
            rows.append((push.channel, frame["result"][0]))
        return rows


def refusal(answer: dict[str, Any]) -> str:
    assert answer["error"]["code"] == 4 and answer["result"] is None
    label: str = json.loads(answer["error"]["message"])["label"]
    return label


def test_the_documented_signature_of_a_subscription_is_accepted() -> None:
    gate = Gate()
    request = gate.request("spot.orders", SIGN=SUBSCRIBED)
    answer = gate.ask(request)
    assert (answer["id"], answer["payload"], answer["result"]) == (1, ["!all"], {"status": "success"})
    assert gate.client.user == 1


def test_the_documented_signature_of_a_request_is_accepted() -> None:
    headers = {"KEY": "key", "Timestamp": "1700000000", "SIGN": ACCOUNTS}
    status, rows = Gate().send(Request("GET", "/api/v4/spot/accounts", "currency=USDT", headers))
    assert status == 200 and [row["currency"] for row in rows] == ["USDT"]


@pytest.mark.parametrize(
    ("wrong", "label"),
    [
        ({"KEY": "another"}, "INVALID_KEY"),
        ({"method": "password"}, "INVALID_KEY"),
        ({"SIGN": SUBSCRIBED[:-1] + "0"}, "INVALID_SIGNATURE"),
        ({"SIGN": SUBSCRIBED.upper()}, "INVALID_SIGNATURE"),
        ({"SIGN": "é"}, "INVALID_SIGNATURE"),
        ({"SIGN": None}, "INVALID_SIGNATURE"),
        ({"time": NOW_MS // 1000 - 61}, "REQUEST_EXPIRED"),
        ({"time": NOW_MS // 1000 + 61}, "REQUEST_EXPIRED"),
    ],
)
@pytest.mark.parametrize("event", ["subscribe", "unsubscribe"])
def test_a_subscription_or_its_end_is_refused_whose_proof_is_wrong(event: str, wrong: dict[str, object], label: str) -> None:
    gate = Gate()
    assert refusal(gate.ask(gate.request("spot.orders", event=event, **wrong))) == label
    assert gate.client.topics == set() and gate.client.user is None


def test_a_signature_holds_for_its_channel_event_and_time_alone() -> None:
    gate = Gate()
    right = gate.request("spot.orders")
    for changed in ({"channel": "spot.balances"}, {"event": "unsubscribe"}, {"time": right["time"] + 1}):
        assert refusal(gate.ask(right | changed)) == "INVALID_SIGNATURE"
    assert refusal(gate.ask({name: right[name] for name in right if name != "auth"})) == "INVALID_KEY"


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        ([], "empty currency pair list"),
        (["NOPE_USDT"], "unknown currency pair: NOPE_USDT"),
        ("!all", "invalid argument: payload is not a list of strings"),
    ],
)
def test_a_signed_subscription_still_needs_a_payload(payload: object, message: str) -> None:
    gate = Gate()
    answer = gate.ask(gate.request("spot.orders", payload))
    assert (answer["error"], answer["result"]) == ({"code": 2, "message": message}, {"status": "fail"})


def test_balances_have_no_payload_and_other_private_channels_are_not_served() -> None:
    gate = Gate()
    assert gate.ask(gate.request("spot.balances", None))["result"] == {"status": "success"}
    assert gate.ask(gate.request("spot.margin_balances"))["error"]["message"] == "Unknown channel spot.margin_balances"


def test_a_request_is_signed_byte_by_byte() -> None:
    gate = Gate()
    path, time = "/api/v4/spot/orders", "1700000000"
    body = b'{"currency_pair": "BTC_USDT", "side":"buy","amount":"1","price":"1"}'
    sign = gate.sign(f"POST\n{path}\n\n{sha512(body).hexdigest()}\n{time}")
    headers = {"KEY": "key", "Timestamp": time, "SIGN": sign}
    right = Request("POST", path, "", headers, body)
    for changed in (
        right._replace(body=body.replace(b" ", b"")),
        right._replace(query="a=1"),
        right._replace(method="DELETE"),
        right._replace(headers=headers | {"Timestamp": "1700000001"}),
        right._replace(headers=headers | {"SIGN": ""}),
    ):
        assert gate.send(changed)[1]["label"] == "INVALID_SIGNATURE"
    assert gate.send(right._replace(headers={}))[1]["label"] == "INVALID_KEY"
    assert gate.send(right)[0] == 201


def test_a_query_is_signed_in_the_order_of_its_address_and_without_percent_signs() -> None:
    gate = Gate()
    path, time = "/api/v4/spot/my_trades", "1700000000"
    empty = sha512(b"").hexdigest()
    sign = gate.sign(f"GET\n{path}\ntext=a,b&page=1\n{empty}\n{time}")
    headers = {"KEY": "key", "Timestamp": time, "SIGN": sign}
    assert gate.send(Request("GET", path, "text=a%2Cb&page=1", headers))[0] == 200
    assert gate.send(Request("GET", path, "page=1&text=a%2Cb", headers))[1]["label"] == "INVALID_SIGNATURE"


def test_an_order_is_told_before_its_fill_and_that_before_the_balances() -> None:
    gate = Gate()
    gate.subscribe("spot.balances", "spot.usertrades", "spot.orders")
    order = gate.place(type="market", side="sell", amount="0.0001", time_in_force="ioc", text="t-mine")
    assert (order["status"], order["finish_as"], order["text"], order["left"]) == ("closed", "filled", "t-mine", "0")
    rows = gate.pushed()
    assert [channel for channel, _ in rows] == [
        "spot.orders",
        "spot.balances",
        "spot.orders",
        "spot.usertrades",
        "spot.balances",
        "spot.balances",
    ]
    put, finish, trade = rows[0][1], rows[2][1], rows[3][1]
    assert (put["event"], put["finish_as"], finish["event"], finish["finish_as"]) == ("put", "open", "finish", "filled")
    assert put["id"] == finish["id"] == trade["order_id"] == order["id"]
    price, amount = Decimal(trade["price"]), Decimal(trade["amount"])
    assert (Decimal(trade["fee"]), trade["fee_currency"]) == (price * amount / 1000, "USDT")
    assert [(row["currency"], row["change_type"]) for channel, row in rows if channel == "spot.balances"] == [
        ("BTC", "order-create"),
        ("BTC", "order-match"),
        ("USDT", "order-match"),
    ]
    received = rows[-1][1]
    assert Decimal(received["change"]) == price * amount - Decimal(trade["fee"])
    assert len(received["total"].partition(".")[2]) == 20
    assert Decimal(received["total"]) == gate.exchange.account.funds["USDT"].total
    assert gate.pushed() == []


def test_second_versions_leave_the_fees_out() -> None:
    gate = Gate()
    gate.subscribe("spot.orders", "spot.orders_v2", "spot.usertrades", "spot.usertrades_v2")
    gate.place(type="market", side="sell", amount="0.0001")
    rows = dict(gate.pushed())
    assert set(rows["spot.orders"]) - set(rows["spot.orders_v2"]) == {"fee", "point_fee", "gt_fee", "rebated_fee"}
    assert set(rows["spot.usertrades"]) - set(rows["spot.usertrades_v2"]) == {"fee", "fee_currency", "point_fee", "gt_fee"}


def test_each_client_gets_what_it_is_subscribed_to_and_once() -> None:
    gate = Gate()
    other, nobody = Client("2"), Client("3")
    gate.subscribe("spot.orders")
    gate.ask(gate.request("spot.orders", ["BTC_USDT"]))
    gate.ask(gate.request("spot.orders", ["ETH_USDT"]), other)
    gate.place(type="limit", price=gate.far())
    pushes = gate.exchange.take_pushes([gate.client, other, nobody], NOW_MS)
    assert [(push.client.connection_id, push.channel) for push in pushes] == [("1", "spot.orders")]
    gate.ask(gate.request("spot.orders", event="unsubscribe"))
    gate.ask(gate.request("spot.orders", ["BTC_USDT"], event="unsubscribe"))
    gate.place(type="limit", price=gate.far())
    assert gate.pushed() == []


def test_what_the_market_does_to_an_order_is_pushed_too() -> None:
    gate = Gate()
    gate.exchange.account.fill_chance = 1
    gate.subscribe("spot.orders", "spot.usertrades")
    market = gate.exchange.by_native["BTC_USDT"]
    order = gate.place(type="limit", price=f"{(max(market.bids) - 1) / 100:.2f}")
    for _ in range(500):
        gate.exchange.next(gate.now_ms)
    rows = gate.pushed()
    assert rows[-2][1]["event"] == "finish" and rows[-1][1]["role"] == "maker"
    filled = sum(Decimal(row["amount"]) for channel, row in rows if channel == "spot.usertrades")
    assert filled == Decimal("0.5")
    assert gate.rest("GET", f"/api/v4/spot/orders/{order['id']}", "currency_pair=BTC_USDT")[1]["status"] == "closed"


def test_an_order_is_found_by_either_id_and_cancelled_once() -> None:
    gate = Gate()
    order = gate.place(type="limit", price=gate.far(), text="t-mine")
    query = "currency_pair=BTC_USDT"
    for name in (order["id"], "t-mine"):
        assert gate.rest("GET", f"/api/v4/spot/orders/{name}", query) == (200, order)
    assert gate.rest("GET", f"/api/v4/spot/orders/{order['id']}", "currency_pair=ETH_USDT")[1]["label"] == "ORDER_NOT_FOUND"
    assert gate.rest("GET", "/api/v4/spot/orders/nonsense", query)[0] == 404
    status, cancelled = gate.rest("DELETE", f"/api/v4/spot/orders/{order['id']}", query)
    assert (status, cancelled["status"], cancelled["finish_as"], cancelled["left"]) == (200, "cancelled", "cancelled", "0.5")
    assert gate.rest("DELETE", f"/api/v4/spot/orders/{order['id']}", query)[1]["label"] == "ORDER_CLOSED"


def test_open_orders_come_by_pair_and_in_pages() -> None:
    gate = Gate()
    ids = [gate.place(type="limit", amount="0.01", price=gate.far())["id"] for _ in range(5)]
    other = gate.place(type="limit", amount="1", price="1", currency_pair="ETH_USDT")
    _, rows = gate.rest("GET", "/api/v4/spot/open_orders", "page=1&limit=3")
    assert [(row["currency_pair"], row["total"], [order["id"] for order in row["orders"]]) for row in rows] == [
        ("BTC_USDT", 5, ids[:1:-1]),
        ("ETH_USDT", 1, [other["id"]]),
    ]
    _, rows = gate.rest("GET", "/api/v4/spot/open_orders", "page=2&limit=3")
    assert [[order["id"] for order in row["orders"]] for row in rows] == [ids[1::-1]]
    _, rows = gate.rest("GET", "/api/v4/spot/orders", "currency_pair=BTC_USDT&status=open")
    assert [order["id"] for order in rows] == ids[::-1]
    _, cancelled = gate.rest("DELETE", "/api/v4/spot/orders", "currency_pair=BTC_USDT")
    assert {order["id"] for order in cancelled} == set(ids)
    _, rows = gate.rest("GET", "/api/v4/spot/orders", "currency_pair=BTC_USDT&status=finished&limit=2")
    assert [order["id"] for order in rows] == ids[:2:-1]


def test_fills_are_found_by_time_pair_order_and_page() -> None:
    gate = Gate()
    for second in range(6):
        gate.now_ms = NOW_MS + second * 1000
        gate.place(type="market", side="sell", amount="0.0001", currency_pair=("BTC_USDT", "ETH_USDT")[second % 2])
    path, start = "/api/v4/spot/my_trades", NOW_MS // 1000
    _, every = gate.rest("GET", path)
    assert [int(row["create_time"]) - start for row in every] == [5, 4, 3, 2, 1, 0]
    assert every[0]["create_time_ms"].startswith(f"{NOW_MS + 5000}.") and every[0]["role"] == "taker"

    def seconds(query: str) -> list[int]:
        status, rows = gate.rest("GET", path, query)
        assert status == 200
        return [int(row["create_time"]) - start for row in rows]

    assert seconds(f"from={start + 1}&to={start + 3}") == [3, 2, 1]
    assert seconds("currency_pair=BTC_USDT") == [4, 2, 0]
    assert seconds("limit=4&page=2") == [1, 0]
    assert seconds(f"order_id={every[2]['order_id']}") == [3]
    for query in ("page=0", "limit=1001", "from=soon", "currency_pair=NOPE"):
        assert gate.rest("GET", path, query)[0] == 400, query


@pytest.mark.parametrize(
    ("order", "label"),
    [
        ({"amount": "1000000", "price": "100"}, "BALANCE_NOT_ENOUGH"),
        ({"amount": "0", "price": "1"}, "INVALID_PARAM_VALUE"),
        ({"amount": "many", "price": "1"}, "INVALID_PARAM_VALUE"),
        ({"amount": "1"}, "INVALID_PARAM_VALUE"),
        ({"amount": "1", "price": "1", "side": "long"}, "INVALID_PARAM_VALUE"),
        ({"amount": "1", "price": "1", "type": "stop"}, "INVALID_PARAM_VALUE"),
        ({"amount": "1", "price": "1", "text": "mine"}, "INVALID_PARAM_VALUE"),
        ({"amount": "1", "type": "market", "time_in_force": "gtc"}, "INVALID_PARAM_VALUE"),
        ({"amount": "1", "price": "1", "currency_pair": "NOPE_USDT"}, "INVALID_CURRENCY_PAIR"),
        ({"amount": "1", "price": "1", "currency_pair": ["BTC_USDT"]}, "INVALID_CURRENCY_PAIR"),
        ({"amount": "1", "price": "1", "currency_pair": None}, "MISSING_REQUIRED_PARAM"),
    ],
)
def test_an_order_that_cannot_be_is_refused(order: dict[str, object], label: str) -> None:
    gate = Gate()
    body = {"currency_pair": "BTC_USDT", "side": "buy"} | order
    assert gate.rest("POST", "/api/v4/spot/orders", body=body)[1]["label"] == label
    assert not gate.exchange.has_pushes


def test_a_body_that_is_none_is_refused_and_an_unknown_path_too() -> None:
    gate = Gate()
    assert gate.rest("POST", "/api/v4/spot/orders", body=[1])[1]["label"] == "INVALID_REQUEST_BODY"
    assert gate.rest("PUT", "/api/v4/spot/orders")[0] == 405
    assert gate.rest("GET", "/api/v4/spot/nothing")[0] == 404
    assert gate.rest("GET", "/api/v4/account/detail")[1]["user_id"] == 1


@pytest.mark.parametrize(
    ("fault", "label"), [("wrong-signature", "INVALID_SIGNATURE"), ("no-permission", "FORBIDDEN"), ("skew=61", "REQUEST_EXPIRED")]
)
def test_a_fault_refuses_what_is_right(fault: str, label: str) -> None:
    gate = Gate()
    gate.faults.set(fault)
    assert refusal(gate.ask(gate.request("spot.orders"))) == label
    assert gate.rest("GET", "/api/v4/spot/accounts")[1]["label"] == label


@pytest.mark.parametrize("skew", ["90", "-90", "0.5"])
def test_under_skew_its_own_time_is_right(skew: str) -> None:
    gate = Gate()
    gate.faults.set(f"skew={skew}")
    _, time = gate.send(Request("GET", "/api/v4/spot/time", "", {}))
    assert time == {"server_time": NOW_MS + int(float(skew) * 1000)}
    assert gate.ask(gate.request("spot.orders", time=time["server_time"] // 1000))["result"] == {"status": "success"}


def test_what_happens_while_pushes_are_quiet_is_in_rest_alone() -> None:
    gate = Gate()
    gate.subscribe("spot.orders")
    gate.faults.set("quiet-private")
    lost = gate.place(type="limit", price=gate.far())
    assert gate.pushed() == [] and gate.faults.counts["quiet-private"] == 2
    gate.faults.clear()
    assert gate.pushed() == []
    told = gate.place(type="limit", price=gate.far())
    assert [row["id"] for _, row in gate.pushed()] == [told["id"]]
    _, rows = gate.rest("GET", "/api/v4/spot/orders", "currency_pair=BTC_USDT&status=open")
    assert [row["id"] for row in rows] == [told["id"], lost["id"]]


#: Of the exchange's documentation, for a login without parameters.
LOGIN = "31d2b0caaec2f7498c87b02f61211be70dcd5e854c2d897715f4ac84ed3e4ff44388ad4ac0b059cb3ca44fcbb5438c16fbe3ccfd3f4e89796399b878bfc949b5"


def api(gate: Gate, channel: str, payload: object) -> list[dict[str, Any]]:
    """A request to the WebSocket API, and its answers."""
    request = {"time": NOW_MS // 1000, "id": "a", "channel": channel, "event": "api", "payload": payload}
    reply = gate.exchange.reply(json.dumps(request), gate.client, NOW_MS)
    return [json.loads(message) for message in (reply.answer, *reply.more) if message is not None]


def login(**changed: object) -> dict[str, object]:
    return {"req_id": "r", "api_key": "key", "signature": LOGIN, "timestamp": "1700000000"} | changed


def test_the_documented_signature_of_a_login_is_accepted_and_orders_may_be_placed() -> None:
    gate = Gate()
    (answer,) = api(gate, "spot.login", login())
    assert (answer["request_id"], answer["header"]["status"]) == ("r", "200")
    assert answer["data"] == {"result": {"api_key": "key", "uid": "1"}}
    gate.subscribe("spot.orders")
    order = {"currency_pair": "BTC_USDT", "side": "buy", "amount": "0.5", "price": gate.far()}
    ack, result = api(gate, "spot.order_place", {"req_id": "o", "req_param": order})
    assert ack["ack"] is True and ack["data"]["result"] == {"req_id": "o", "req_param": order}
    assert "ack" not in result and result["data"]["result"]["status"] == "open"
    order_id = result["data"]["result"]["id"]
    cancel = {"req_id": "c", "req_param": {"order_id": order_id, "currency_pair": "BTC_USDT"}}
    assert api(gate, "spot.order_cancel", cancel)[1]["data"]["result"]["status"] == "cancelled"
    assert [row["event"] for _, row in gate.pushed()] == ["put", "finish"]
    again = api(gate, "spot.order_cancel", cancel)[1]
    assert (again["header"]["status"], again["data"]["errs"]["label"]) == ("400", "ORDER_CLOSED")


def test_parameters_of_a_login_are_signed_as_they_were_written() -> None:
    gate = Gate()
    sign = gate.sign("api\nspot.login\n{}\n1700000000")
    assert api(gate, "spot.login", login(req_param={}, signature=sign))[0]["header"]["status"] == "200"


@pytest.mark.parametrize(
    ("wrong", "status", "label"),
    [
        ({"api_key": "another"}, "401", "INVALID_KEY"),
        ({"signature": LOGIN[1:]}, "401", "INVALID_SIGNATURE"),
        ({"req_param": {}}, "401", "INVALID_SIGNATURE"),
        ({"timestamp": "1699999900"}, "403", "REQUEST_EXPIRED"),
    ],
)
def test_without_a_right_login_no_order_is_placed(wrong: dict[str, object], status: str, label: str) -> None:
    gate = Gate()
    (answer,) = api(gate, "spot.login", login(**wrong))
    assert (answer["header"]["status"], answer["data"]["errs"]["label"]) == (status, label)
    (answer,) = api(gate, "spot.order_place", {"req_id": "o", "req_param": {"currency_pair": "BTC_USDT"}})
    assert (answer["header"]["status"], answer["data"]["errs"]["label"]) == ("400", "AUTHENTICATION_FAILED")
    assert gate.exchange.account.orders == {}


def test_a_request_without_form_is_refused_by_the_websocket_api_too() -> None:
    gate = Gate()
    assert api(gate, "spot.login", None)[0]["header"]["status"] == "401"
    api(gate, "spot.login", login())
    for channel, payload in (("spot.order_place", []), ("spot.order_place", {"req_param": []}), ("spot.order_nothing", {"req_param": {}})):
        assert api(gate, channel, payload)[0]["data"]["errs"]["label"] == "INVALID_PARAM_VALUE"
