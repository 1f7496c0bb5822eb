"""The simulated MEXC spot's accounts: pushes as recorded and as the protobuf library writes them, signatures, lives of listen keys."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infrastructure.simulator.mexc_spot_keys import MOST_CONNECTIONS, MOST_KEYS, Lapsed, ListenKeys, is_signed, signature_of, signed_text
from infrastructure.simulator.mexc_spot_private import (
    STATUSES,
    Balance,
    Deal,
    OrderState,
    balance_push,
    deal_push,
    number_text,
    order_push,
)
from tests.harness.captures import lines
from tests.harness.mexc_schema import read_push, rewritten

NOW_MS = 1_790_281_243_450
#: By the exchange's word in REST, the number in a push.
TYPES = {1: "LIMIT", 5: "MARKET"}
SIDES = {1: "BUY", 2: "SELL"}


class TestPushes:
    def test_an_order_is_written_byte_for_byte_as_a_recorded_one(self, captures: Path) -> None:
        recorded = [line for line in lines(captures / "mexc_spot_private.jsonl") if "privateOrders" in line["decoded"]]
        for line in recorded:
            told = line["decoded"]["privateOrders"]
            order = order_state(line["decoded"]["symbol"], told)
            raw = bytes.fromhex(line["hex"])
            written = order_push(order, line["decoded"]["sendTime"])
            if told["orderType"] == 5:  # Of a market order nothing that is left was told.
                read = read_push(written)
                assert {**read, "privateOrders": told} == line["decoded"]
                assert read["privateOrders"].keys() == told.keys()
            else:
                assert written == raw
        assert {line["decoded"]["privateOrders"]["status"] for line in recorded} == {2, 4}

    def test_a_balance_is_written_as_a_recorded_one(self, captures: Path) -> None:
        recorded = [line for line in lines(captures / "mexc_spot_private.jsonl") if "privateAccount" in line["decoded"]]
        for line in recorded:
            told = line["decoded"]["privateAccount"]
            balance = Balance(
                currency=told["vcoinName"],
                available=Decimal(told["balanceAmount"]),
                available_change=Decimal(told["balanceAmountChange"]),
                frozen=Decimal(told["frozenAmount"]),
                frozen_change=Decimal(told["frozenAmountChange"]),
                type=told["type"],
                time_ms=told["time"],
            )
            read = read_push(balance_push(balance, line["decoded"]["sendTime"]))
            assert read["privateAccount"] | {"coinId": told["coinId"]} == told
            assert read.keys() == line["decoded"].keys() and "symbol" not in read
        assert recorded

    def test_a_deal_without_yes_says_no_by_silence(self) -> None:
        taken = Deal(
            "MXUSDT", Decimal("3.6962"), Decimal(1), Decimal("3.6962"), "SELL", False, "5X1", "", "C02__5", Decimal("0.0004"), "MX", 7
        )
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
                "time": 7,
            },
        }
        made = read_push(deal_push(taken._replace(is_maker=True, client_id="mine"), NOW_MS))["privateDeals"]
        assert made["isMaker"] == 1 and made["clientOrderId"] == "mine"

    @given(
        st.builds(
            OrderState,
            st.just("BTCUSDT"),
            st.text(min_size=1),
            st.text(),
            *[st.decimals(0, 10**9, places=8) for _ in range(3)],
            st.sampled_from(["LIMIT", "LIMIT_MAKER", "IMMEDIATE_OR_CANCEL", "FILL_OR_KILL", "MARKET"]),
            st.sampled_from(["BUY", "SELL"]),
            st.sampled_from(list(STATUSES)),
            *[st.decimals(0, 10**9, places=8) for _ in range(2)],
            st.integers(0, 2**62),
            st.decimals(0, 10**9, places=8),
            st.booleans(),
        )
    )
    def test_any_order_is_what_the_library_would_have_written(self, order: OrderState) -> None:
        raw = order_push(order, NOW_MS)
        read = read_push(raw)["privateOrders"]
        assert rewritten(raw) == raw
        assert Decimal(read["price"]) == order.price and Decimal(read["cumulativeQuantity"]) == order.filled
        assert ("lastDealQuantity" in read) is bool(order.last_quantity)

    @given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**15), max_value=10**15, places=12))
    def test_a_number_is_exact_and_bare(self, value: Decimal) -> None:
        text = number_text(value)
        assert Decimal(text) == value and "E" not in text
        assert "." not in text or text[-1] not in "0."


def order_state(symbol: str, told: dict[str, Any]) -> OrderState:
    """An order of which this was told."""
    statuses = {number: name for name, number in STATUSES.items()}
    return OrderState(
        symbol=symbol,
        order_id=told["id"],
        client_id=told.get("clientId", ""),
        price=Decimal(told["price"]),
        quantity=Decimal(told["quantity"]),
        amount=Decimal(told["amount"]),
        type=TYPES[told["orderType"]],
        side=SIDES[told["tradeType"]],
        status=statuses[told["status"]],
        filled=Decimal(told["cumulativeQuantity"]),
        filled_amount=Decimal(told["cumulativeAmount"]),
        create_ms=told["createTime"],
        last_quantity=Decimal(told.get("lastDealQuantity", "0")),
    )


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
        assert len(key) == 64 and keys.user(key, 3_599_999) == "1" and keys.user(key, 3_600_000) is None
        keys.renew("1", key, 1_800_000)
        assert keys.user(key, 5_399_999) == "1" and keys.user(key, 5_400_000) is None
        with pytest.raises(Lapsed):
            keys.renew("1", key, 5_400_000)

    def test_how_long_keys_live_may_change_while_they_do(self) -> None:
        lives = [3600.0]
        keys = ListenKeys(lambda: lives[0])
        key = created(keys, 0)
        lives[0] = 2
        assert keys.user(key, 1999) == "1" and keys.user(key, 2000) is None

    def test_a_user_has_sixty_keys_and_another_when_one_is_gone(self) -> None:
        keys = ListenKeys()
        first, *others = (created(keys, number) for number in range(MOST_KEYS))
        assert keys.create("1", MOST_KEYS) is None and keys.create("2", MOST_KEYS) is not None
        keys.delete("1", others[0], MOST_KEYS)
        assert keys.create("1", MOST_KEYS) is not None
        assert keys.create("1", MOST_KEYS) is None
        assert first in keys.of("1", 3_599_999) and first not in keys.of("1", 3_600_000)
        assert keys.create("1", 3_600_000) is not None  # The first has lapsed.

    def test_a_key_is_its_users_alone(self) -> None:
        keys = ListenKeys()
        key = created(keys, 0)
        for act in (keys.renew, keys.delete):
            with pytest.raises(Lapsed):
                act("2", key, 1)
            with pytest.raises(Lapsed):
                act("1", "0" * 64, 1)
        assert keys.of("1", 1) == [key] and keys.of("2", 1) == []
        keys.delete("1", key, 1)
        assert keys.user(key, 1) is None

    def test_five_connections_read_a_key_and_another_when_one_is_gone(self) -> None:
        keys = ListenKeys()
        key = created(keys, 0)
        assert [keys.open(key, 1) for _ in range(MOST_CONNECTIONS + 1)] == ["1"] * MOST_CONNECTIONS + [None]
        keys.close(key)
        assert keys.open(key, 1) == "1"
        assert keys.open(key, 3_600_000) is None

    def test_only_keys_in_use_are_killed(self) -> None:
        keys = ListenKeys()
        used, unused = created(keys, 0), created(keys, 0)
        keys.open(used, 0)
        assert keys.kill(1) == 1 and keys.kill(1) == 0
        assert keys.user(used, 1) is None and keys.user(unused, 1) == "1"


def created(keys: ListenKeys, now_ms: int) -> str:
    key = keys.create("1", now_ms)
    assert key is not None
    return key
