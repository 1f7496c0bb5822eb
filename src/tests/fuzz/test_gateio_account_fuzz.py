"""Any bytes give what an account may hold, or DecodeError; all variants agree on which; a number is what its text says."""

import asyncio
import json
import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any

import pytest
from hypothesis import example as such_as
from hypothesis import given
from hypothesis import strategies as st

from infrastructure.account_api import AccountCall
from infrastructure.errors import DecodeError
from infrastructure.events import BalanceUpdate, Fill, OrderUpdate, PositionUpdate, RiskNotice
from infrastructure.exchanges import VENUES
from infrastructure.exchanges.gateio import futures_account, spot_account
from infrastructure.exchanges.numbers import money
from infrastructure.venue import Message, PrivateCodec, check_symbol
from tests.fuzz.test_codec_fuzz import ANY_STRING, FUTURES, JSON, MUTATIONS, PLACES, SCALARS, SPOT, replace_value
from tests.harness.account_lane import CREDENTIALS, AccountLane
from tests.harness.effort import effort
from tests.harness.examples import example
from tests.harness.frames import push
from tests.harness.variants import VARIANTS, Variant

ROWS = {
    "spot.orders": example(spot_account.OrderResult),
    "spot.usertrades": example(spot_account.TradeResult),
    "spot.balances": example(spot_account.BalanceResult),
    "futures.orders": example(futures_account.OrderResult),
    "futures.usertrades": example(futures_account.TradeResult),
    "futures.positions": example(futures_account.PositionResult),
    "futures.balances": example(futures_account.BalanceResult),
    "futures.liquidates": example(futures_account.LiquidationResult),
    "futures.auto_deleverages": example(futures_account.DeleverageResult),
    "futures.position_adl_rank": example(futures_account.RankResult),
}
MARKET_BUY = ROWS["spot.orders"] | {"type": "market", "filled_total": "0.05", "avg_deal_price": "100"}
FRAMES = [
    *(push(channel, [row]) for channel, row in ROWS.items()),
    push("spot.orders", [MARKET_BUY]),
    push("spot.orders", [{key: value for key, value in MARKET_BUY.items() if key != "filled_amount"}]),
]
ANSWERS = [
    push("spot.orders", {"status": "success"}, event="subscribe"),
    push("futures.orders", None, event="subscribe").replace(b"null", b'null,"error":{"code":4,"message":"Signature mismatch"}'),
    push("spot.margin_balances", [{}]),
]
VALID = [*FRAMES, *ANSWERS]
OPEN = example(spot_account.OrderResult, event=None, status="open")


def codec_of(venue: str) -> PrivateCodec:
    codec = VENUES[venue].fresh().of_account(CREDENTIALS).codec
    assert isinstance(codec, spot_account.GateioSpotAccountCodec | futures_account.GateioFuturesAccountCodec)
    return codec


CODECS = {venue: codec_of(venue) for venue in (SPOT, FUTURES)}
#: By venue: requests about the account, each with a right answer.
REST: dict[str, list[tuple[AccountCall, bytes]]] = {
    SPOT: [
        (call, json.dumps(body).encode())
        for call, body in zip(
            [*CODECS[SPOT].account_calls((), 0), CODECS[SPOT].order_call("BTC/USDT", "1")],
            [
                [{"currency_pair": "BTC_USDT", "total": 1, "orders": [OPEN]}],
                [ROWS["spot.usertrades"]],
                [example(spot_account.SpotAccount)],
                OPEN,
            ],
            strict=True,
        )
    ],
    FUTURES: [
        (call, json.dumps(body).encode())
        for call, body in zip(
            [*CODECS[FUTURES].account_calls((), 0), CODECS[FUTURES].order_call("BTC/USDT:USDT", "1")],
            [
                [ROWS["futures.orders"]],
                [ROWS["futures.usertrades"]],
                example(futures_account.FuturesAccount),
                [ROWS["futures.positions"]],
                ROWS["futures.orders"],
            ],
            strict=True,
        )
    ],
}
EACH_VENUE = pytest.mark.parametrize("venue", [SPOT, FUTURES])


def assert_sound(message: Message) -> None:
    """Whatever was decoded must be fit to be believed."""
    if not isinstance(message, OrderUpdate | Fill | BalanceUpdate | PositionUpdate | RiskNotice):
        assert message.is_control
        return
    if not isinstance(message, BalanceUpdate):
        check_symbol(message.symbol)
    numbers = [value for name in message.__struct_fields__ if isinstance(value := getattr(message, name), Decimal)]
    assert all(number.is_finite() and abs(number.adjusted()) <= 200 for number in numbers)
    assert not any(isinstance(getattr(message, name), float) for name in message.__struct_fields__)
    if isinstance(message, OrderUpdate):
        amount = message.quote_amount if message.amount is None else message.amount
        assert message.order_id and amount is not None and amount > 0 and message.filled >= 0
        assert message.amount is None or message.filled <= message.amount
        assert all(price is None or price > 0 for price in (message.price, message.average_price))
    elif isinstance(message, Fill):
        assert message.fill_id and message.order_id and message.price > 0 and message.amount > 0
    elif isinstance(message, BalanceUpdate):
        assert message.currency.isalnum()


def decode(raw: bytes | str, venue: str) -> None:
    try:
        messages = CODECS[venue].decode(raw)
    except DecodeError:
        return
    assert len(messages) >= 1
    for message in messages:
        assert_sound(message)


def decode_rest(raw: bytes | str, venue: str) -> None:
    codec = CODECS[venue]
    for call, _ in REST[venue]:
        try:
            answer = codec.decode_account(call, raw)
        except DecodeError:
            continue
        for event in answer.events:
            assert_sound(event)
    reads: list[Callable[[bytes | str], Any]] = [codec_of(venue).identify, codec.decode_server_time, codec.decode_listen_key]
    for read in reads:
        try:
            read(raw)
        except DecodeError:
            continue


@EACH_VENUE
def test_the_frames_and_answers_that_are_damaged_here_are_right(venue: str) -> None:
    for raw in FRAMES:
        if f'"channel": "{venue.partition("_")[2]}.'.encode() in raw:
            assert not any(message.is_control for message in CODECS[venue].decode(raw)), raw
    for call, raw in REST[venue]:
        assert CODECS[venue].decode_account(call, raw).events


@EACH_VENUE
@given(raw=st.binary(max_size=200) | ANY_STRING)
@effort(200)
def test_any_bytes_or_text_give_messages_or_a_decode_error(venue: str, raw: bytes | str) -> None:
    decode(raw, venue)
    decode_rest(raw, venue)


@st.composite
def mutated(draw: st.DrawFn, *valid: bytes) -> bytes:
    raw = draw(st.sampled_from(valid))
    for mutate in draw(st.lists(MUTATIONS, min_size=1, max_size=3)):
        raw = mutate(raw)
    return raw


@EACH_VENUE
@given(raw=mutated(*VALID))
@effort(500)
def test_a_damaged_frame_gives_messages_or_a_decode_error(venue: str, raw: bytes) -> None:
    decode(raw, venue)


#: Numbers that break what does not look.
HARD = st.sampled_from(["1e400", "1E-400", "9" * 200, "sNaN", "NaN", "-Infinity", "-0", "1_0", " 1", "٣", "", "0.0000", "-1", "1e99999999"])


@EACH_VENUE
@given(data=st.data(), mutate=st.builds(replace_value, PLACES, SCALARS | HARD))
@effort(1000)
def test_another_value_anywhere_gives_messages_or_a_decode_error(venue: str, data: st.DataObject, mutate: Callable[[bytes], bytes]) -> None:
    decode(mutate(data.draw(st.sampled_from(FRAMES))), venue)
    decode_rest(mutate(data.draw(st.sampled_from([raw for _, raw in REST[venue]]))), venue)


@EACH_VENUE
@given(data=st.data())
@effort(300)
def test_a_damaged_rest_answer_gives_what_it_holds_or_a_decode_error(venue: str, data: st.DataObject) -> None:
    decode_rest(data.draw(mutated(*(raw for _, raw in REST[venue]))), venue)


KEYS = sorted({key for row in ROWS.values() for key in row})


@EACH_VENUE
@given(data=st.data(), row=st.dictionaries(st.sampled_from(KEYS), JSON | HARD, max_size=8))
@effort(250)
def test_a_row_of_any_shape_gives_messages_or_a_decode_error(venue: str, data: st.DataObject, row: dict[str, Any]) -> None:
    channel = data.draw(st.sampled_from(list(ROWS)))
    decode(push(channel, [row]), venue)
    decode(push(channel, [ROWS[channel] | row]), venue)
    decode(push(channel, row), venue)
    decode_rest(json.dumps([row]), venue)


async def told(variant: Variant, raws: list[bytes], venue: str) -> list[Any]:
    """What becomes of each frame, on a connection of its own that was confirmed."""
    outcomes: list[Any] = []
    for raw in raws:
        owned = VENUES[venue].fresh().of_account(CREDENTIALS)
        connection = AccountLane(owned, variant)
        await connection.deliver(push(next(iter(owned.channels)), {"status": "success"}, event="subscribe"), raw, received_ns=1)
        frames = connection.lane.accounting()
        outcomes.append((connection.events, dict(frames.rejected_by_kind), frames.delivered, frames.control))
    return outcomes


@EACH_VENUE
@given(raws=st.lists(mutated(*VALID) | st.sampled_from(VALID), max_size=4))
@effort(40)
def test_all_variants_agree_on_damaged_frames(venue: str, raws: list[bytes]) -> None:
    first, *others = (asyncio.run(told(variant, raws, venue)) for variant in VARIANTS)
    assert all(other == first for other in others), (first, others)


NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?", re.ASCII)


def size_of_a_position(text: str) -> Decimal:
    raw = push("futures.positions", [ROWS["futures.positions"] | {"size": text}])
    (as_text,) = CODECS[FUTURES].decode(raw)
    (as_number,) = CODECS[FUTURES].decode(raw.replace(json.dumps(text).encode(), text.encode()))
    assert isinstance(as_text, PositionUpdate) and as_text == as_number
    return as_text.amount


@given(text=st.from_regex(NUMBER, fullmatch=True))
@such_as(text="-1.25e-8")
@such_as(text="9" * 64)
@such_as(text="9" * 65)
@such_as(text="0." + "0" * 63 + "1")
@such_as(text="0." + "0" * 64 + "1")
@such_as(text="1e999999999999999999999")
@such_as(text="0e999999")
@effort(300)
def test_a_number_is_its_text_to_the_last_digit_or_of_a_size_that_money_has_not(text: str) -> None:
    try:
        exact = Decimal(text)
    except InvalidOperation:
        exact = Decimal("NaN")
    if exact.is_finite() and exact.adjusted() < 64 and int(exact.as_tuple().exponent) >= -64:
        assert str(size_of_a_position(text)) == str(exact)
    else:
        with pytest.raises(DecodeError):
            size_of_a_position(text)


@given(text=st.text(max_size=12) | st.text("0123456789+-.eE_ xnaif\n", max_size=12) | HARD)
@effort(300)
def test_a_text_that_is_no_json_number_is_no_money(text: str) -> None:
    if NUMBER.fullmatch(text) is None:
        with pytest.raises(DecodeError):
            money(text, "amount")
