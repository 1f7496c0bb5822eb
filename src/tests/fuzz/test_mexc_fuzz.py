"""Any bytes give messages or DecodeError, whatever the order of the fields, and all variants agree on which."""

import json
from math import isfinite

import pytest
from google.protobuf.message import DecodeError as NotAMessage
from hypothesis import example, given
from hypothesis import strategies as st

from infrastructure.errors import DecodeError
from infrastructure.events import BookTicker, Candle, Ticker, Trade
from infrastructure.exchanges.mexc import wire
from infrastructure.exchanges.mexc.push_pb2 import Push
from infrastructure.exchanges.mexc.spot import MEXC_SPOT
from infrastructure.venue import BookUpdate, Message, check_symbol
from tests.harness import mexc_frames as frames
from tests.harness.effort import effort
from tests.harness.mexc_damage import UNKNOWN, mutated, pieces_of, values_of
from tests.harness.mexc_frames import BODIES, DEALS, NATIVE, SENT_MS, SYMBOL
from tests.harness.verdict import agreed_verdict

VENUE = "mexc_spot"
LEVELS = ([(100, 1), (99.5, 0)], [(101, 2)])
PUSHES = [
    frames.trades(frames.deal(), frames.deal("101", trade_type=2)),
    frames.depth(5, 6, *LEVELS),
    frames.depth(7, 7),
    frames.limit_depth(6, *LEVELS),
    frames.book_ticker(6),
    frames.book_ticker(None, None),
    frames.book_ticker_batch(),
    frames.kline(),
    frames.mini_ticker(),
    frames.mini_tickers(frames.ticker(), frames.ticker(native="ETHUSDT")),
    frames.without_body(),
    frames.push("spot@private.account.v3.api.pb", "privateAccount", {"vcoinName": "USDT", "time": SENT_MS}, symbol=None),
]
ANSWERS = [
    frames.answer(f"{DEALS}@100ms@{NATIVE}"),
    frames.answer(f"Not Subscribed successfully! [{DEALS}@100ms@{NATIVE}].  Reason： Blocked! ", request_id=3),
    frames.answer(f"Subscribed successful! [{DEALS}@100ms@{NATIVE}]. Not Subscribed successfully! [x].  Reason： Blocked! "),
    frames.answer("wrong", code=1),
    frames.PONG,
    b"Invalid listen key",
]
VALID = PUSHES + ANSWERS
REST_BOOK = frames.rest_book(7, *LEVELS)
EXCHANGE_INFO = frames.exchange_info(
    {"symbol": NATIVE, "status": "1", "baseAsset": "BTC", "quoteAsset": "USDT", "quotePrecision": 2, "baseAssetPrecision": 8}
)


@st.composite
def written(draw: st.DrawFn) -> bytes:
    """A frame that is well formed and may say anything."""
    name = draw(st.sampled_from(sorted(BODIES)))
    body = draw(values_of(BODIES[name][1]))
    usual = {"channel": f"{DEALS}@100ms@{NATIVE}", "symbol": NATIVE, "sendTime": SENT_MS}
    return frames.encode(usual | draw(values_of({"symbol": 3, "sendTime": 6, "createTime": 5})) | {name: body})


def assert_sound(message: Message) -> None:
    """Whatever was decoded must be fit to be used."""
    if isinstance(message, BookUpdate):
        check_symbol(message.symbol)
        assert 0 <= message.first_id <= message.last_id < 2**63
        for price, quantity in (*message.bids, *message.asks):
            assert isfinite(price) and isfinite(quantity) and price > 0 and quantity >= 0
    elif isinstance(message, Trade | BookTicker | Ticker | Candle):
        check_symbol(message.symbol)
        fields = {name: getattr(message, name) for name in message.__struct_fields__}
        numbers = {name: value for name, value in fields.items() if isinstance(value, float)}
        assert all(isfinite(value) for value in numbers.values())
        assert all(value >= 0 for name, value in numbers.items() if name != "change_percent")
        assert message.exchange_ns is None or 0 < message.exchange_ns < 2**63
    else:
        assert message.is_control


def outcome(raw: bytes | str) -> object:
    """The messages of a frame, each found to be sound, or DecodeError with its stream."""
    try:
        messages = MEXC_SPOT.codec.decode(raw)
    except DecodeError as error:
        assert error.channel is None or error.channel in MEXC_SPOT.channels
        return DecodeError
    assert len(messages) >= 1
    for message in messages:
        assert_sound(message)
    return list(messages)


@given(raw=st.binary(max_size=200) | st.text(st.characters(exclude_categories=()), max_size=60))
@example(raw=b"\x1b" * 200_000)
@example(raw=b"\x0a" * 100_000)
@example(raw=b"\x0a\x00" * 100_000)
@example(raw=b"\xd2\x13\x00" * 100_000)
@example(raw=b"\xff" * 100_000)
@example(raw=b"{" * 200_000)
@example(raw=b'{"msg":"' + b"[" * 100_000 + b'"}')
@effort(500)
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


@given(raw=mutated(REST_BOOK, EXCHANGE_INFO))
@effort(400)
def test_a_damaged_rest_answer_gives_its_content_or_a_decode_error(raw: bytes) -> None:
    try:
        assert_sound(MEXC_SPOT.codec.decode_snapshot(SYMBOL, raw))
    except DecodeError as error:
        assert error.symbol == SYMBOL
    try:
        assert all(json.dumps(instrument.native) for instrument in MEXC_SPOT.codec.decode_instruments(raw))
    except DecodeError:
        pass


def in_any_order(raw: bytes, data: st.DataObject) -> bytes:
    return b"".join(data.draw(st.permutations(pieces_of(raw))))


@given(raw=st.sampled_from(PUSHES), data=st.data())
@effort(300)
def test_any_order_of_the_fields_says_the_same(raw: bytes, data: st.DataObject) -> None:
    assert outcome(in_any_order(raw, data)) == outcome(raw)


@given(raw=st.sampled_from([raw for raw in PUSHES if raw != frames.without_body()]), unknown=st.lists(UNKNOWN, max_size=3), data=st.data())
@effort(300)
def test_fields_that_are_unknown_are_passed_over(raw: bytes, unknown: list[bytes], data: st.DataObject) -> None:
    assert outcome(b"".join(data.draw(st.permutations([*pieces_of(raw), *unknown])))) == outcome(raw)


@pytest.mark.parametrize("name", [name for name in BODIES if name.startswith("public")])
@given(unknown=st.lists(UNKNOWN, min_size=1, max_size=3), data=st.data())
@effort(40)
def test_fields_that_are_unknown_are_passed_over_in_a_body_too(name: str, unknown: list[bytes], data: st.DataObject) -> None:
    number = BODIES[name][0]
    (raw,) = [raw for raw in PUSHES if frames.varint(number << 3 | 2) in raw and raw not in (PUSHES[2], PUSHES[5])]
    (body,) = [field for field in wire.fields(raw, 0, len(raw)) if field.number == number]
    inner = pieces_of(raw[body.begin : body.end])
    # The items of a body keep their order, which says which deal came first.
    for piece in unknown:
        inner.insert(data.draw(st.integers(0, len(inner))), piece)
    head = [piece for piece in pieces_of(raw) if not piece.startswith(frames.varint(number << 3 | 2))]
    assert outcome(b"".join(head) + frames.counted(number, b"".join(inner))) == outcome(raw)


@given(raws=st.lists(mutated(*VALID) | written() | st.sampled_from(VALID), max_size=12))
@effort(100)
def test_all_variants_agree_on_damaged_frames(raws: list[bytes]) -> None:
    assert set(agreed_verdict(*raws, venue=VENUE).rejected) <= {"undecodable"}


@given(raw=mutated(*PUSHES) | written())
@effort(500)
def test_the_walk_over_a_frame_finds_what_its_reading_finds(raw: bytes) -> None:
    try:
        push = Push.FromString(raw)
    except NotAMessage:
        return
    fields = list(wire.fields(raw, 0, len(raw)))
    assert not fields or fields[-1].end == len(raw)
    if len(fields) <= 16:
        assert wire.channel_and_symbol(raw) == (push.channel, push.symbol)
