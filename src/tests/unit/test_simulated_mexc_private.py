"""The simulated MEXC spot's accounts: pushes as recorded and as the protobuf library writes them, signatures, lives of listen keys."""

import json
import random
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infrastructure.simulator.accounts import BUY, SELL, BalanceChange, Ending, Fill, Order, Reason, TimeInForce
from infrastructure.simulator.exchange import Answer, Client, Request
from infrastructure.simulator.faults import Faults
from infrastructure.simulator.market import Market
from infrastructure.simulator.mexc_spot_exchange import LAPSED_MS, MexcSpotExchange
from infrastructure.simulator.mexc_spot_keys import MOST_CONNECTIONS, MOST_KEYS, Lapsed, ListenKeys, is_signed, signature_of, signed_text
from infrastructure.simulator.mexc_spot_private import ORDERS, balance_push, deal_push, order_push, order_row
from tests.harness.captures import lines
from tests.harness.mexc_schema import read_push, rewritten

NOW_MS = 1_790_281_243_450
TIFS = {1: TimeInForce.GTC, 5: TimeInForce.IOC}
ENDINGS = {1: Ending.OPEN, 2: Ending.FILLED, 3: Ending.OPEN, 4: Ending.CANCELLED, 5: Ending.CANCELLED}
USER = 1


def order_told(symbol: str, told: dict[str, Any]) -> Order:
    """The order of which this was told."""
    is_market = told["orderType"] == 5
    amount, filled = Decimal(told["quantity"]), Decimal(told["cumulativeQuantity"])
    return Order(
        order_id=int(told["id"].removeprefix("C02__")),
        client_id=told.get("clientId", ""),
        market=Market(symbol, random.Random(1), False, symbol),
        side=BUY if told["tradeType"] == 1 else SELL,
        price=Decimal(0) if is_market else Decimal(told["price"]),
        amount=amount,
        tif=TIFS[told["orderType"]],
        in_quote=False,
        reduce_only=False,
        created_ms=told["createTime"],
        updated_ms=told["createTime"],
        left=amount - filled,
        reserved_currency="",
        filled=filled,
        turnover=Decimal(told["cumulativeAmount"]),
        last_fill=Decimal(told.get("lastDealQuantity", "0")),
        ending=ENDINGS[told["status"]],
    )


ORDER = order_told(
    "MXUSDT",
    {
        "id": "C02__5",
        "price": "3.5121",
        "quantity": "2",
        "orderType": 1,
        "tradeType": 2,
        "cumulativeQuantity": "1",
        "cumulativeAmount": "3.6962",
        "lastDealQuantity": "1",
        "status": 3,
        "createTime": 7,
    },
)


class TestPushes:
    def test_an_order_is_written_byte_for_byte_as_a_recorded_one(self, captures: Path) -> None:
        recorded = [line for line in lines(captures / "mexc_spot_private.jsonl") if "privateOrders" in line["decoded"]]
        for line in recorded:
            told = line["decoded"]["privateOrders"]
            raw = order_push(order_told(line["decoded"]["symbol"], told), line["decoded"]["sendTime"])
            if told["orderType"] == 5:  # How far it might have gone is its own.
                read = read_push(raw)
                assert read["privateOrders"].keys() == told.keys() and Decimal(read["privateOrders"].pop("price")) < Decimal(
                    told["avgPrice"]
                )
                assert {**read["privateOrders"], "price": told["price"]} == told
            else:
                assert raw == bytes.fromhex(line["hex"])
        assert {line["decoded"]["privateOrders"]["status"] for line in recorded} == {2, 4}

    def test_a_balance_is_written_as_a_recorded_one(self, captures: Path) -> None:
        recorded = [line for line in lines(captures / "mexc_spot_private.jsonl") if "privateAccount" in line["decoded"]]
        for line in recorded:
            told = line["decoded"]["privateAccount"]
            change = BalanceChange(
                number=1,
                currency=told["vcoinName"],
                available=Decimal(told["balanceAmount"]),
                frozen=Decimal(told["frozenAmount"]),
                available_change=Decimal(told["balanceAmountChange"]),
                frozen_change=Decimal(told["frozenAmountChange"]),
                reason=Reason.PLACED,
                order=ORDER,
                time_ms=told["time"],
            )
            read = read_push(balance_push(change, line["decoded"]["sendTime"]))
            assert read["privateAccount"] | {"coinId": told["coinId"], "type": told["type"]} == told
            assert read.keys() == line["decoded"].keys() and "symbol" not in read
        assert "ENTRUST_PLACE" in {line["decoded"]["privateAccount"]["type"] for line in recorded}

    def test_a_deal_without_yes_says_no_by_silence(self) -> None:
        taken = Fill(5, 1, ORDER, Decimal("3.6962"), Decimal(1), Decimal("3.6962"), Decimal("0.0004"), "MX", False, 8)
        assert read_push(deal_push(taken, NOW_MS)) == {
            "channel": "spot@private.deals.v3.api.pb",
            "symbol": "MXUSDT",
            "sendTime": NOW_MS,
            "privateDeals": {
                "price": "3.6962",
                "quantity": "1",
                "amount": "3.6962",
                "tradeType": 2,
                "tradeId": "5X1",
                "orderId": "C02__5",
                "feeAmount": "0.0004",
                "feeCurrency": "MX",
                "time": 8,
            },
        }
        made = taken._replace(is_maker=True, order=ORDER._replace(client_id="mine"))
        raw = deal_push(made, NOW_MS)
        read = read_push(raw)["privateDeals"]
        assert rewritten(raw) == raw and read["isMaker"] == 1 and read["clientOrderId"] == "mine"

    @given(
        st.text(),
        st.decimals(0, 10**9, places=8),
        st.decimals(Decimal("1e-8"), 10**9, places=8),
        st.sampled_from(list(TimeInForce)),
        st.sampled_from([BUY, SELL]),
        st.sampled_from(list(Ending)),
        st.booleans(),
    )
    def test_any_order_is_what_the_library_would_have_written(
        self, client_id: str, price: Decimal, amount: Decimal, tif: TimeInForce, side: str, ending: Ending, in_quote: bool
    ) -> None:
        order = ORDER._replace(client_id=client_id, price=price, amount=amount, tif=tif, side=side, ending=ending)
        order = order._replace(in_quote=in_quote and not price and side == BUY)
        raw = order_push(order, NOW_MS)
        read = read_push(raw)["privateOrders"]
        assert rewritten(raw) == raw
        assert read.get("clientId", "") == client_id and Decimal(read["cumulativeQuantity"]) == order.filled
        row = order_row(order)
        assert [row["price"], row["origQty"], row["origQuoteOrderQty"]] == [read["price"], read["quantity"], read["amount"]]


class TestSignatures:
    SECRET = "45d0b3c26f2644f19bfb98b07741b2f5"
    ORDER = "symbol=BTCUSDT&side=BUY&type=LIMIT"
    REST = "quantity=1&price=11&recvWindow=5000&timestamp=1644489390087"

    @pytest.mark.parametrize(
        ("secret", "query", "body", "signature"),
        [
            (SECRET, f"{ORDER}&{REST}", "", "fd3e4e8543c5188531eb7279d68ae7d26a573d0fc5ab0d18eb692451654d837a"),
            (SECRET, "", f"{ORDER}&{REST}", "fd3e4e8543c5188531eb7279d68ae7d26a573d0fc5ab0d18eb692451654d837a"),
            (SECRET, ORDER, REST, "d1a676610ceb39174c8039b3f548357994b2a34139a8addd33baadba65684592"),
            (
                "testsecret",
                "recvWindow=5000&timestamp=1700000000000",
                "",
                "8cb8853c05d40eab178f77fce129c8a259dc4f9b10f028a5688db5b6372420be",
            ),
        ],
    )
    def test_a_signature_is_of_the_query_directly_followed_by_the_body(self, secret: str, query: str, body: str, signature: str) -> None:
        assert signature_of(secret, query + body) == signature
        assert is_signed(secret, f"{query}&signature={signature}" if query else f"signature={signature}", body)
        if body:
            assert is_signed(secret, query, f"{body}&signature={signature}")

    def test_every_byte_counts(self) -> None:
        query = f"{self.ORDER}&{self.REST}"
        signature = signature_of(self.SECRET, query)
        assert is_signed(self.SECRET, f"{query}&signature={signature}")
        assert not is_signed(self.SECRET, f"{query}&signature={signature.upper()}")
        assert not is_signed(self.SECRET, query)
        assert not is_signed(self.SECRET, f"{query}&signature=")
        assert not is_signed("another", f"{query}&signature={signature}")
        assert not is_signed(self.SECRET, f"{query}&signature={signature}", " ")
        # Another order of the same fields, and another spelling of the same values, are other bytes.
        assert not is_signed(self.SECRET, f"{self.REST}&{self.ORDER}&signature={signature}")
        assert not is_signed(self.SECRET, f"{query.replace('BTC', '%42TC')}&signature={signature}")

    @given(st.text(), st.text())
    def test_any_text_can_be_looked_at(self, query: str, body: str) -> None:
        text, signature = signed_text(query, body)
        assert len(text) <= len(query) + len(body)
        assert not is_signed("secret", query, body) or signature == signature_of("secret", text)


class TestListenKeys:
    def test_a_key_lives_an_hour_from_its_last_renewal(self) -> None:
        keys = ListenKeys()
        key = created(keys, 0)
        assert len(key) == 64 and keys.user(key, 3_599_999) == USER and keys.user(key, 3_600_000) is None
        keys.renew(USER, key, 1_800_000)
        assert keys.user(key, 5_399_999) == USER and keys.user(key, 5_400_000) is None
        with pytest.raises(Lapsed):
            keys.renew(USER, key, 5_400_000)

    def test_how_long_keys_live_may_change_while_they_do(self) -> None:
        lives = [3600.0]
        keys = ListenKeys(lambda: lives[0])
        key = created(keys, 0)
        lives[0] = 2
        assert keys.user(key, 1999) == USER and keys.user(key, 2000) is None

    def test_a_user_has_sixty_keys_and_another_when_one_is_gone(self) -> None:
        keys = ListenKeys()
        first, *others = (created(keys, number) for number in range(MOST_KEYS))
        assert keys.create(USER, MOST_KEYS) is None and keys.create(2, MOST_KEYS) is not None
        keys.delete(USER, others[0], MOST_KEYS)
        assert keys.create(USER, MOST_KEYS) is not None
        assert keys.create(USER, MOST_KEYS) is None
        assert first in keys.of(USER, 3_599_999) and first not in keys.of(USER, 3_600_000)
        assert keys.create(USER, 3_600_000) is not None  # The first has lapsed.

    def test_a_key_is_its_users_alone(self) -> None:
        keys = ListenKeys()
        key = created(keys, 0)
        for act in (keys.renew, keys.delete):
            with pytest.raises(Lapsed):
                act(2, key, 1)
            with pytest.raises(Lapsed):
                act(USER, "0" * 64, 1)
        assert keys.of(USER, 1) == [key] and keys.of(2, 1) == []
        keys.delete(USER, key, 1)
        assert keys.user(key, 1) is None

    def test_five_connections_read_a_key_and_another_when_one_is_gone(self) -> None:
        keys = ListenKeys()
        key = created(keys, 0)
        assert [keys.open(key, 1) for _ in range(MOST_CONNECTIONS + 1)] == [USER] * MOST_CONNECTIONS + [None]
        keys.close(key)
        assert keys.open(key, 1) == USER
        assert keys.open(key, 3_600_000) is None

    def test_all_keys_may_end_at_once(self) -> None:
        keys = ListenKeys()
        key = created(keys, 0)
        keys.open(key, 0)
        keys.clear()
        assert keys.user(key, 0) is None and keys.of(USER, 0) == []
        keys.close(key)


class TestConnections:
    """What a listen key does for a connection, with a clock of the test's own."""

    def test_a_connection_is_silent_when_its_key_lapses_and_outlives_it_for_a_while(self) -> None:
        exchange = exchange_with_key()
        assert exchange.told(3_599_999) == 2 and not exchange.has_outlived(3_599_999)
        assert exchange.told(3_600_000) == 0 and not exchange.has_outlived(3_600_000)
        assert not exchange.has_outlived(3_600_000 + LAPSED_MS - 1)
        assert exchange.has_outlived(3_600_000 + LAPSED_MS)

    def test_a_renewed_key_is_heard_on(self) -> None:
        exchange = exchange_with_key()
        assert exchange.renewed(3_000_000).status == 200
        assert exchange.told(6_599_999) == 2 and not exchange.has_outlived(6_599_999)
        assert exchange.told(6_600_000) == 0
        assert exchange.renewed(6_600_000).status == 400  # Too late: what lapsed stays so.

    def test_a_connection_without_a_key_outlives_nothing(self) -> None:
        exchange = MexcSpotExchange(("MX/USDT",), 1, Faults((), 1))
        client = Client()
        assert exchange.admit(client, {}, 0) is None and not exchange.has_outlived(client, 10**9)


class Connected(NamedTuple):
    """An exchange, a client with a listen key of time 0 that is subscribed to the orders, and that key."""

    exchange: MexcSpotExchange
    client: Client
    key: str

    def has_outlived(self, now_ms: int) -> bool:
        return self.exchange.has_outlived(self.client, now_ms)

    def told(self, now_ms: int) -> int:
        """How many pushes an order brings that is placed and canceled."""
        order = {"symbol": "MXUSDT", "side": "BUY", "type": "LIMIT", "quantity": "1", "price": "0.01"}
        placed = json.loads(signed(self.exchange, "POST", "order", now_ms, **order).body)
        signed(self.exchange, "DELETE", "order", now_ms, symbol="MXUSDT", orderId=placed["orderId"])
        return len(self.exchange.take_pushes([self.client], now_ms))

    def renewed(self, now_ms: int) -> Answer:
        return signed(self.exchange, "PUT", "userDataStream", now_ms, listenKey=self.key)


def exchange_with_key() -> Connected:
    exchange = MexcSpotExchange(("MX/USDT",), 1, Faults((), 1))
    key = json.loads(signed(exchange, "POST", "userDataStream", 0).body)["listenKey"]
    client = Client()
    assert exchange.admit(client, {"listenKey": key}, 0) is None and exchange.greeting(client) == ()
    reply = exchange.reply(json.dumps({"method": "SUBSCRIPTION", "params": [ORDERS]}), client, 0)
    client.topics.update(reply.begun)
    assert [topic.channel for topic in reply.begun] == [ORDERS]
    return Connected(exchange, client, key)


def signed(exchange: MexcSpotExchange, method: str, path: str, now_ms: int, **fields: str) -> Answer:
    """The answer to a signed request."""
    query = urlencode({**fields, "timestamp": now_ms})
    query = f"{query}&signature={signature_of('secret', query)}"
    return exchange.rest(Request(method, f"/api/v3/{path}", query, {"X-MEXC-APIKEY": "key"}), now_ms)


def created(keys: ListenKeys, now_ms: int) -> str:
    key = keys.create(USER, now_ms)
    assert key is not None
    return key
