"""Any bytes give messages or DecodeError, and all variants agree on which."""

import json
import re
from collections.abc import Callable
from math import isfinite
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infrastructure.errors import DecodeError
from infrastructure.events import BookTicker, Candle, Liquidation, Ticker, Trade
from infrastructure.exchanges import VENUES
from infrastructure.venue import BookUpdate, Message, check_symbol
from tests.harness import frames, futures_frames
from tests.harness.effort import effort
from tests.harness.verdict import agreed_verdict

LEVELS = ([(100, 1), (99.5, 0)], [(101, 2)])
SPOT, FUTURES = "gateio_spot", "gateio_futures"
#: Frames with numbers in them.
SPOT_NUMBERS = [
    frames.trade(1),
    frames.book_ticker(1),
    frames.book_ticker(1, bid=""),
    frames.ticker(),
    frames.candle(),
    frames.update(5, 6, *LEVELS),
    frames.update(6, 6, *LEVELS, full=True),
    frames.obu(5, 6, *LEVELS),
    frames.obu(None, 6, *LEVELS, full=True),
    frames.whole_book(6, *LEVELS),
]
FUTURES_NUMBERS = [
    futures_frames.trade(1),
    futures_frames.trade(1, amount=3, side="sell"),
    futures_frames.book_ticker(1),
    futures_frames.book_ticker(1, bid=""),
    futures_frames.ticker(),
    futures_frames.contract_stats(),
    futures_frames.candle(),
    futures_frames.liquidation(),
    futures_frames.update(5, 6, *LEVELS),
    futures_frames.update(6, 6, *LEVELS, full=True),
    futures_frames.obu(5, 6, *LEVELS),
    futures_frames.obu(None, 6, *LEVELS, full=True),
    futures_frames.whole_book(6, *LEVELS),
    futures_frames.changes(6, (100, 1), (101, -2)),
]
ANSWERS = [
    frames.acknowledgement(),
    frames.acknowledgement(error={"code": 2, "message": "unknown currency pair: NOPE_USDT"}),
    frames.push("spot.system", {"type": "upgrade"}),
    frames.push("futures.system", {"type": "upgrade"}),
    frames.push("spot.orders", [{"id": "1"}]),
    frames.PONG,
    futures_frames.PONG,
]
#: By venue: frames of the other one stand among them, which are unknown.
NUMBERS = {SPOT: SPOT_NUMBERS, FUTURES: FUTURES_NUMBERS}
VALID = [*SPOT_NUMBERS, *FUTURES_NUMBERS, *ANSWERS]
REST_BOOKS = {SPOT: frames.rest_book(7, *LEVELS), FUTURES: futures_frames.rest_book(7, *LEVELS)}
REST_LISTS = {
    SPOT: b"""[{"id":"ETH_USDT","base":"ETH","quote":"USDT","min_base_amount":"0.001","amount_precision":3,"precision":6,"""
    b""""trade_status":"tradable"}]""",
    FUTURES: json.dumps([futures_frames.contract(), futures_frames.contract("ETH_USDT")]).encode(),
}
SYMBOLS = {SPOT: frames.SYMBOL, FUTURES: futures_frames.SYMBOL}
EACH_VENUE = pytest.mark.parametrize("venue", [SPOT, FUTURES])
KEYS = sorted({key for raw in (*VALID, *REST_BOOKS.values(), *REST_LISTS.values()) for key in re.findall(r'"(\w+)":', raw.decode())})

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
    st.sampled_from(
        [
            *("nan", "inf", "-1", "0", "1e400", "", "BTC_USDT", "ob.BTC_USDT.50", "buy", "update", "all", "subscribe", "100", "sNaN"),
            *("spot.trades", "futures.trades", "futures.tickers"),
        ]
    ),
)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3), max_leaves=6
)

VALUE = re.compile(rb'"[^"]*":|("[^"]*"|-?[0-9][0-9.]*|true|false|null)')
Mutation = Callable[[bytes], bytes]
PLACES = st.integers(0, 10_000)


def flip(place: int, bit: int) -> Mutation:
    return lambda raw: raw[: place % len(raw)] + bytes([raw[place % len(raw)] ^ (1 << bit)]) + raw[place % len(raw) + 1 :] if raw else raw


def truncate(place: int) -> Mutation:
    return lambda raw: raw[: place % (len(raw) + 1)]


def insert(place: int, more: bytes) -> Mutation:
    return lambda raw: raw[: place % (len(raw) + 1)] + more + raw[place % (len(raw) + 1) :]


def delete(place: int, count: int) -> Mutation:
    return lambda raw: raw[: place % (len(raw) + 1)] + raw[place % (len(raw) + 1) + count :]


def repeat_key(place: int, key: str, value: Any) -> Mutation:
    """Put ``key`` once more, with another value, at the beginning of one of the frame's objects."""

    def mutate(raw: bytes) -> bytes:
        objects = [found.end() for found in re.finditer(rb"\{", raw)]
        if not objects:
            return raw
        at = objects[place % len(objects)]
        comma = b"" if raw[at : at + 1] == b"}" else b","
        return raw[:at] + json.dumps({key: value})[1:-1].encode() + comma + raw[at:]

    return mutate


def replace_value(place: int, value: Any) -> Mutation:
    """Put another value in the place of one of the frame's texts or numbers."""

    def mutate(raw: bytes) -> bytes:
        values = [found for found in VALUE.finditer(raw) if found[1]]
        if not values:
            return raw
        found = values[place % len(values)]
        return raw[: found.start()] + json.dumps(value).encode() + raw[found.end() :]

    return mutate


MUTATIONS = st.one_of(
    st.builds(flip, PLACES, st.integers(0, 7)),
    st.builds(truncate, PLACES),
    st.builds(
        insert,
        PLACES,
        st.binary(min_size=1, max_size=4) | st.sampled_from([b"{", b"[", b'"', b"\\", b"\\ud800", b"\\u0000", b"\xff", b"-", b"e9"]),
    ),
    st.builds(delete, PLACES, st.integers(1, 8)),
    st.builds(repeat_key, PLACES, st.sampled_from(KEYS), JSON),
    st.builds(replace_value, PLACES, JSON),
)


@st.composite
def mutated(draw: st.DrawFn, *valid: bytes) -> bytes:
    raw = draw(st.sampled_from(valid or VALID))
    for mutate in draw(st.lists(MUTATIONS, min_size=1, max_size=3)):
        raw = mutate(raw)
    return raw


def assert_sound(message: Message) -> None:
    """Whatever was decoded must be fit to be used."""
    if isinstance(message, BookUpdate):
        check_symbol(message.symbol)
        assert message.first_id <= message.last_id
        for price, amount in (*message.bids, *message.asks):
            assert isfinite(price) and isfinite(amount) and price > 0 and amount >= 0
    elif isinstance(message, Trade | BookTicker | Ticker | Candle | Liquidation):
        check_symbol(message.symbol)
        fields = {name: getattr(message, name) for name in message.__struct_fields__}
        numbers = {name: value for name, value in fields.items() if isinstance(value, float)}
        assert all(isfinite(value) for value in numbers.values())
        assert all(value >= 0 for name, value in numbers.items() if name not in ("change_percent", "funding_rate"))
    else:
        assert message.is_control


def decode(raw: bytes | str, venue: str) -> None:
    try:
        messages = VENUES[venue].codec.decode(raw)
    except DecodeError:
        return
    assert len(messages) >= 1
    assert isinstance(raw, str) or raw.decode()
    for message in messages:
        assert_sound(message)


def decode_snapshot(raw: bytes | str, venue: str) -> None:
    try:
        book = VENUES[venue].codec.decode_snapshot(SYMBOLS[venue], raw)
    except DecodeError:
        return
    assert book.is_full
    assert_sound(book)


def decode_instruments(raw: bytes | str, venue: str) -> None:
    try:
        instruments = VENUES[venue].codec.decode_instruments(raw)
    except DecodeError:
        return
    for instrument in instruments:
        sizes = (instrument.tick_size, instrument.lot_size, instrument.min_amount, instrument.min_notional, instrument.contract_size)
        assert all(size is None or (size.is_finite() and size >= 0) for size in sizes)
        assert isfinite(instrument.base_amount(1.0)) and instrument.contract_size != 0


ANY_STRING = st.text(st.characters(exclude_categories=()), max_size=60)


@EACH_VENUE
@given(raw=st.binary(max_size=200) | ANY_STRING)
@effort(200)
def test_any_bytes_or_text_give_messages_or_a_decode_error(venue: str, raw: bytes | str) -> None:
    decode(raw, venue)
    decode_snapshot(raw, venue)
    decode_instruments(raw, venue)


@EACH_VENUE
@given(raw=mutated())
@effort(700)
def test_a_damaged_frame_gives_messages_or_a_decode_error(venue: str, raw: bytes) -> None:
    decode(raw, venue)


@EACH_VENUE
@given(data=st.data(), mutate=st.builds(replace_value, PLACES, SCALARS))
@effort(1000)
def test_another_value_anywhere_gives_messages_or_a_decode_error(venue: str, data: st.DataObject, mutate: Mutation) -> None:
    decode(mutate(data.draw(st.sampled_from(NUMBERS[venue]))), venue)


@EACH_VENUE
@given(data=st.data())
@effort(300)
def test_a_damaged_rest_answer_gives_what_it_holds_or_a_decode_error(venue: str, data: st.DataObject) -> None:
    decode_snapshot(data.draw(mutated(REST_BOOKS[venue])), venue)
    decode_instruments(data.draw(mutated(REST_LISTS[venue])), venue)


@EACH_VENUE
@given(data=st.data(), frame=st.dictionaries(st.sampled_from(KEYS), JSON, max_size=8))
@effort(250)
def test_a_frame_of_any_shape_gives_messages_or_a_decode_error(venue: str, data: st.DataObject, frame: dict[str, Any]) -> None:
    channel = data.draw(st.sampled_from([*VENUES[venue].channels, "spot.pong", "futures.pong"]))
    decode(json.dumps({"channel": channel} | frame), venue)
    for event in ("update", "all"):
        decode(json.dumps({"channel": channel, "event": event, "result": frame}), venue)
        decode(json.dumps({"channel": channel, "event": event, "result": [frame]}), venue)
    decode_snapshot(json.dumps(frame), venue)
    decode_instruments(json.dumps([frame]), venue)


@EACH_VENUE
@given(raws=st.lists(mutated() | st.sampled_from(VALID), max_size=12))
@effort(60)
def test_all_variants_agree_on_damaged_frames(venue: str, raws: list[bytes]) -> None:
    assert set(agreed_verdict(*raws, venue=venue).rejected) <= {"undecodable"}


#: A notice hands its text on as it is.
DECODED = [raw for raw in VALID if b".system" not in raw]


@EACH_VENUE
@given(place=PLACES, key=st.sampled_from(KEYS), value=JSON, valid=st.sampled_from(DECODED))
@effort(300)
def test_a_key_that_comes_twice_means_what_its_last_value_means_or_the_frame_is_refused(
    venue: str, place: int, key: str, value: Any, valid: bytes
) -> None:
    twice = repeat_key(place, key, value)(valid)
    try:
        collapsed = json.dumps(json.loads(twice)).encode()
    except ValueError:
        return
    assert outcome(twice, venue) in (outcome(collapsed, venue), DecodeError)


def outcome(raw: bytes, venue: str) -> object:
    try:
        return list(VENUES[venue].codec.decode(raw))
    except DecodeError:
        return DecodeError
