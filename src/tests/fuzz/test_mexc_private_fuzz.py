"""An account at MEXC: any bytes give messages or DecodeError, in pushes and in REST answers, and all variants agree on which."""

import asyncio
import json
from decimal import Context, Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from infrastructure.account_api import AccountCall, Part, RefusalKind
from infrastructure.credentials import Credentials, Secret
from infrastructure.errors import DecodeError
from infrastructure.events import BalanceUpdate, Fill, OrderStatus, OrderUpdate
from infrastructure.exchanges.mexc import wire
from infrastructure.exchanges.mexc.private import ORDERS, MexcPrivateCodec
from infrastructure.exchanges.mexc.spot import MEXC_SPOT
from infrastructure.venue import check_symbol
from tests.harness import mexc_frames as frames
from tests.harness.account_lane import AccountLane
from tests.harness.effort import effort
from tests.harness.mexc_damage import NUMBERS, TEXTS, UNKNOWN, mutated, pieces_of, values_of
from tests.harness.mexc_frames import BODIES, NATIVE, SENT_MS, SYMBOL
from tests.harness.variants import VARIANTS

CREDENTIALS = Credentials(Secret("key"), Secret("secret"))
VENUE = MEXC_SPOT.of_account(CREDENTIALS)
CODEC = MexcPrivateCodec(CREDENTIALS)
PUSHES = [
    frames.own_order(),
    frames.own_order(status=3, cumulativeQuantity="1", avgPrice="100", lastDealQuantity="1", isMaker=1, state=2),
    frames.own_order(orderType=5, price=None, quantity=None, amount="25.5"),
    frames.own_deal(clientOrderId="mine", isMaker=1),
    frames.own_balance(),
]
VALID = [*PUSHES, frames.without_body(ORDERS), frames.answer(ORDERS), frames.PONG, b"Invalid listen key"]
ORDER: dict[str, Any] = {"symbol": NATIVE, "orderId": "C02__1", "price": "100", "origQty": "2", "executedQty": "0", "status": "NEW"}
ORDER |= {"type": "LIMIT", "side": "BUY", "origQuoteOrderQty": "200", "clientOrderId": None}
TRADE: dict[str, Any] = {
    "symbol": NATIVE,
    "id": "1X1",
    "orderId": "C02__1",
    "price": "100",
    "qty": "2",
    "commission": "0.1",
    "commissionAsset": "MX",
}
#: By part, and for the request for one order: a call, and an answer to it.
ANSWERS: dict[str, tuple[AccountCall, Any]] = {
    **{
        part.value: (next(call for call in CODEC.account_calls([SYMBOL], SENT_MS) if call.part is part), answer)
        for part, answer in (
            (Part.ORDERS, [ORDER | {"updateTime": SENT_MS}]),
            (Part.FILLS, [TRADE | {"time": SENT_MS, "isBuyer": True, "isMaker": False}]),
            (Part.BALANCES, {"balances": [{"asset": "USDT", "free": "7.5", "locked": "2.5"}], "updateTime": None}),
        )
    },
    "order": (CODEC.order_call(SYMBOL, "C02__1"), ORDER | {"updateTime": SENT_MS}),
}
#: Wide enough for every digit of a sum of two numbers of money.
WIDE = Context(prec=300)
EACH_ANSWER = pytest.mark.parametrize("name", ANSWERS)


@st.composite
def written(draw: st.DrawFn) -> bytes:
    """A private frame that is well formed and may say anything."""
    name = draw(st.sampled_from([name for name in BODIES if name.startswith("private")]))
    values = draw(values_of(BODIES[name][1]))
    usual = {"channel": ORDERS, "symbol": NATIVE, "sendTime": SENT_MS}
    return frames.encode(usual | draw(values_of({"symbol": 3, "sendTime": 6, "createTime": 5})) | {name: values})


def assert_sound(message: Any) -> None:
    """Whatever was decoded must be fit to be used."""
    if not isinstance(message, OrderUpdate | Fill | BalanceUpdate):
        assert message.is_control
        return
    fields = {name: getattr(message, name) for name in message.__struct_fields__}
    money = {name: value for name, value in fields.items() if isinstance(value, Decimal)}
    assert all(value.is_finite() and len(f"{value:f}") < 140 for value in money.values())
    assert not any(isinstance(value, float) for value in fields.values())
    assert message.exchange_ns is None or 0 < message.exchange_ns < 2**63
    if isinstance(message, BalanceUpdate):
        assert message.currency and message.available is not None and message.frozen is not None
        exact = [int(value.scaleb(70, context=WIDE)) for value in (message.total, message.available, message.frozen)]
        assert exact[0] == exact[1] + exact[2]
        return
    check_symbol(message.symbol)
    assert message.order_id and all(value >= 0 for name, value in money.items() if name != "fee")
    if isinstance(message, Fill):
        assert message.fill_id and message.price > 0 and message.amount > 0
    else:
        assert message.status is not OrderStatus.FILLED or message.filled > 0
        assert message.amount is None or message.quote_amount is None


def outcome(raw: bytes | str) -> object:
    """The messages of a frame, each found to be sound, or DecodeError with its stream."""
    try:
        messages = CODEC.decode(raw)
    except DecodeError as error:
        assert error.channel is None or error.channel in VENUE.channels
        return DecodeError
    assert len(messages) >= 1
    for message in messages:
        assert_sound(message)
    return list(messages)


@given(raw=st.binary(max_size=200) | st.text(st.characters(exclude_categories=()), max_size=60))
@example(raw=b"\x1b" * 200_000)
@example(raw=b"\x82\x13\x00" * 100_000)
@effort(300)
def test_any_bytes_or_text_give_messages_or_a_decode_error(raw: bytes | str) -> None:
    outcome(raw)


@given(raw=mutated(*VALID))
@effort(1500)
def test_a_damaged_frame_gives_messages_or_a_decode_error(raw: bytes) -> None:
    outcome(raw)


@given(raw=written())
@effort(1000)
def test_any_values_in_any_field_give_messages_or_a_decode_error(raw: bytes) -> None:
    outcome(raw)


@given(raw=st.sampled_from(PUSHES), unknown=st.lists(UNKNOWN, max_size=3), data=st.data())
@effort(300)
def test_any_order_of_the_fields_and_any_unknown_ones_say_the_same(raw: bytes, unknown: list[bytes], data: st.DataObject) -> None:
    (body,) = [field for field in wire.fields(raw, 0, len(raw)) if field.number > 300]
    inner = b"".join(data.draw(st.permutations([*pieces_of(raw[body.begin : body.end]), *unknown])))
    head = [piece for piece in pieces_of(raw) if not piece.startswith(frames.varint(body.number << 3 | 2))]
    assert outcome(b"".join(data.draw(st.permutations([*head, frames.counted(body.number, inner)])))) == outcome(raw)


@EACH_ANSWER
@given(data=st.data())
@effort(400)
def test_a_damaged_rest_answer_gives_its_content_or_a_decode_error(name: str, data: st.DataObject) -> None:
    call, answer = ANSWERS[name]
    raw = data.draw(mutated(json.dumps(answer).encode()) | st.binary(max_size=60) | st.text(max_size=60))
    try:
        events = CODEC.decode_account(call, raw).events
    except DecodeError as error:
        assert (error.channel, error.symbol) == (None, call.symbol)
    else:
        for event in events:
            assert_sound(event)


PLAIN = TEXTS | NUMBERS | st.none() | st.booleans() | st.floats() | st.lists(st.none(), max_size=1)


@EACH_ANSWER
@given(data=st.data())
@effort(400)
def test_any_value_in_any_place_of_a_rest_answer_gives_events_or_a_decode_error(name: str, data: st.DataObject) -> None:
    call, answer = ANSWERS[name]
    (item, *_) = answer if isinstance(answer, list) else answer.get("balances", [answer])
    changed = item | data.draw(st.dictionaries(st.sampled_from(sorted(item)), PLAIN, max_size=2))
    raw = json.dumps([changed] if isinstance(answer, list) else answer | {"balances": [changed]} if "balances" in answer else changed)
    try:
        events = CODEC.decode_account(call, raw).events
    except DecodeError as error:
        assert (error.channel, error.symbol) == (None, call.symbol)
    else:
        for event in events:
            assert_sound(event)


@given(raw=mutated(b'{"listenKey":"0a1b"}', b'{"serverTime":1790281247251}', b'{"code":700003,"msg":"Invalid listen key"}'))
@effort(300)
def test_other_damaged_answers_give_what_they_hold_or_a_decode_error(raw: bytes) -> None:
    try:
        assert CODEC.decode_listen_key(raw).reveal().isascii()
    except DecodeError:
        pass
    try:
        assert CODEC.decode_server_time(raw) > 0
    except DecodeError:
        pass
    assert CODEC.refusal(raw.decode(errors="replace")) in RefusalKind


@given(raws=st.lists(mutated(*VALID) | written() | st.sampled_from(VALID), max_size=8))
@effort(60)
def test_all_variants_agree_on_damaged_frames(raws: list[bytes]) -> None:
    async def shown(line: AccountLane) -> tuple[list[Any], Any]:
        await line.deliver(frames.answer(ORDERS), *raws)
        return [replace(event, received_ns=0) for event in line.events], line.lane.accounting().rejected_by_kind

    first, *others = [asyncio.run(shown(AccountLane(VENUE, variant))) for variant in VARIANTS]
    assert all(other == first for other in others)
    assert set(first[1]) <= {"undecodable"}
