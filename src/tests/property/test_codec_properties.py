"""Numbers: what the codec makes of a text is what Python makes of it, or a refusal."""

import math
import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from infrastructure.errors import DecodeError
from infrastructure.events import BookTicker, Candle, Liquidation, Side, Ticker, Trade
from infrastructure.exchanges import VENUES
from infrastructure.exchanges.gateio.envelope import milliseconds_to_ns, native_contract, native_pair, unified_contract, unified_pair
from infrastructure.venue import BookUpdate, Message, check_symbol
from tests.harness import futures_frames
from tests.harness.effort import effort
from tests.harness.frames import PAIR, SYMBOL, push, rest_book, update

NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?", re.ASCII)
CANDLE = {"t": "1700000000", "v": "1", "c": "1", "h": "1", "l": "1", "o": "1", "n": f"1m_{PAIR}"}
TICKER = {"currency_pair": PAIR, "last": "1"}
TRADE = {"id": 1, "create_time_ms": "1700000000000", "side": "buy", "currency_pair": PAIR, "amount": "1", "price": "1"}
FUTURES_TRADE = {"size": 1, "id": 1, "create_time_ms": 1_700_000_000_000, "price": "1", "contract": PAIR}
TWO_SIDED = {"t": 1_700_000_000_000, "u": 1, "s": PAIR, "b": "1", "B": "1", "a": "1", "A": "1"}
ONE_SIDED = TWO_SIDED | {"b": "", "B": "0"}


def message(raw: bytes, venue: str = "gateio_spot") -> Message:
    (decoded,) = VENUES[venue].codec.decode(raw)
    return decoded


def futures_message(channel: str, result: object, **envelope: Any) -> Message:
    return message(push(channel, result, **envelope), "gateio_futures")


def price_of_trade(text: str) -> float | None:
    decoded = message(push("spot.trades", TRADE | {"price": text}))
    assert isinstance(decoded, Trade)
    return decoded.price


def amount_of_level(text: str) -> float | None:
    decoded = message(update(1, 1, [(1, text)]))
    assert isinstance(decoded, BookUpdate)
    return decoded.bids[0][1]


def price_of_level(text: str) -> float | None:
    decoded = VENUES["gateio_spot"].codec.decode_snapshot(SYMBOL, rest_book(1, [(text, 1)]))
    return decoded.bids[0][0]


def ask_of_two_sides(text: str) -> float | None:
    decoded = message(push("spot.book_ticker", TWO_SIDED | {"A": text}))
    assert isinstance(decoded, BookTicker)
    return decoded.ask_amount


def ask_of_one_side(text: str) -> float | None:
    decoded = message(push("spot.book_ticker", ONE_SIDED | {"A": text}))
    assert isinstance(decoded, BookTicker)
    return decoded.ask_amount


def volume_of_ticker(text: str) -> float | None:
    decoded = message(push("spot.tickers", TICKER | {"base_volume": text}))
    assert isinstance(decoded, Ticker)
    return decoded.base_volume


def change_of_ticker(text: str) -> float | None:
    decoded = message(push("spot.tickers", TICKER | {"change_percentage": text}))
    assert isinstance(decoded, Ticker)
    return decoded.change_percent


def volume_of_candle(text: str) -> float | None:
    decoded = message(push("spot.candlesticks", CANDLE | {"v": text}))
    assert isinstance(decoded, Candle)
    return decoded.quote_volume


def price_of_futures_trade(text: str) -> float | None:
    decoded = futures_message("futures.trades", [FUTURES_TRADE | {"price": text}])
    assert isinstance(decoded, Trade)
    return decoded.price


def size_of_futures_trade(text: str) -> float | None:
    """Read back with the sign that its side stands for."""
    decoded = futures_message("futures.trades", [FUTURES_TRADE | {"size": text}])
    assert isinstance(decoded, Trade)
    return decoded.amount if decoded.side is Side.BUY else -decoded.amount


def size_of_futures_level(text: str) -> float | None:
    decoded = message(futures_frames.update(1, 1, [(1, text)]), "gateio_futures")
    assert isinstance(decoded, BookUpdate)
    return decoded.bids[0][1]


def price_of_futures_level(text: str) -> float | None:
    decoded = VENUES["gateio_futures"].codec.decode_snapshot(futures_frames.SYMBOL, futures_frames.rest_book(1, [(text, 1)]))
    return decoded.bids[0][0]


def ask_of_a_futures_book_ticker(text: str) -> float | None:
    decoded = futures_message("futures.book_ticker", ONE_SIDED | {"A": text})
    assert isinstance(decoded, BookTicker)
    return decoded.ask_amount


def size_of_a_change(text: str) -> float | None:
    """Read back from whichever side it went to."""
    decoded = message(futures_frames.changes(1, (1, text)), "gateio_futures")
    assert isinstance(decoded, BookUpdate)
    return decoded.bids[0][1] - decoded.asks[0][1]


def mark_price(text: str) -> float | None:
    decoded = futures_message("futures.tickers", [{"contract": PAIR, "last": "1", "mark_price": text}])
    assert isinstance(decoded, Ticker)
    return decoded.mark_price or (0.0 if text else None)


def funding_rate(text: str) -> float | None:
    decoded = futures_message("futures.tickers", [{"contract": PAIR, "last": "1", "funding_rate": text}])
    assert isinstance(decoded, Ticker)
    return decoded.funding_rate


def open_interest(text: str) -> float | None:
    decoded = message(futures_frames.contract_stats(interest=text), "gateio_futures")
    assert isinstance(decoded, Ticker)
    return decoded.open_interest


def size_of_a_liquidation(text: str) -> float | None:
    decoded = message(futures_frames.liquidation(size=text), "gateio_futures")
    assert isinstance(decoded, Liquidation)
    return decoded.amount if decoded.side is Side.BUY else -decoded.amount


Read = Callable[[str], float | None]
#: How a number is read and the range in which it makes sense: from 0 on, above 0, anything but 0, or anything finite.
POSITIVE: list[Read] = [price_of_trade, price_of_level, price_of_futures_trade, price_of_futures_level]
NOT_NEGATIVE: list[Read] = [
    amount_of_level,
    volume_of_candle,
    volume_of_ticker,
    ask_of_two_sides,
    ask_of_one_side,
    size_of_futures_level,
    ask_of_a_futures_book_ticker,
    mark_price,
    open_interest,
]
NOT_ZERO: list[Read] = [size_of_futures_trade, size_of_a_liquidation]
ANY_SIGN: list[Read] = [change_of_ticker, funding_rate, size_of_a_change]
READS = [*POSITIVE, *NOT_NEGATIVE, *NOT_ZERO, *ANY_SIGN]
#: Those for which an empty text says nothing, and those for which it says 0.
EMPTY_IS_NONE: list[Read] = [volume_of_ticker, change_of_ticker, mark_price, funding_rate, open_interest]
EMPTY_IS_ZERO: list[Read] = [ask_of_two_sides, ask_of_one_side, ask_of_a_futures_book_ticker]


def is_in_range(read: Read, value: float) -> bool:
    if read in NOT_ZERO and value == 0:
        return False
    return math.isfinite(value) and (read in ANY_SIGN or read in NOT_ZERO or value > 0 or (read in NOT_NEGATIVE and value == 0))


def halfway(low: float) -> str:
    """The exact decimal text of the number in the middle between two neighbouring doubles, where rounding is hardest."""
    middle = (Fraction(low) + Fraction(math.nextafter(low, math.inf))) / 2
    digits = middle.denominator.bit_length() - 1  # The denominator is a power of two: so many decimals are exact.
    whole, rest = divmod(abs(middle.numerator) * 10**digits // middle.denominator, 10**digits)
    return f"{'-' if middle < 0 else ''}{whole}" + (f".{rest:0{digits}d}" if digits else "")


FINITE = st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.one_of(
    st.from_regex(NUMBER, fullmatch=True),
    FINITE.map(repr),
    st.integers(-(10**330), 10**330).map(str),
    st.decimals(allow_nan=False, allow_infinity=False, places=8).map(lambda value: f"{value:f}"),
    st.floats(1e-30, 1e30).map(halfway),
    st.floats(1e-30, 1e30).map(lambda value: halfway(value) + "000000000000000000000000001"),
).filter(lambda text: NUMBER.fullmatch(text) is not None)
ANY_TEXT = st.one_of(
    st.text(max_size=12),
    st.text("0123456789+-.eE_ xnaif", max_size=12),
    TEXTS.flatmap(lambda text: st.sampled_from([text + " ", " " + text, "+" + text, text + "_0", "0" + text, text + ".", text + "\n"])),
    st.sampled_from(["nan", "inf", "-inf", "Infinity", "1e400", "-1e400", "1_0", " 1", "+1", "9" * 5000, "0x1", "１", "true", "null"]),
)


@pytest.mark.parametrize("read", READS)
@given(text=TEXTS)
@example(text="9" * 5000)
@example(text="1e308")
@example(text="1" + "0" * 308)
@example(text="1" + "0" * 309)
@example(text="179769313486231580793728971405301e276")
@example(text="4.9e-324")
@example(text="2.4703282292062327e-324")
@example(text="1e-400")
@example(text="-0")
@example(text="0." + "1" * 5000)
@effort(80)
def test_the_float_of_a_number_is_the_one_python_reads(read: Read, text: str) -> None:
    exact = float(text)
    if is_in_range(read, exact):
        assert read(text) == exact
    else:
        with pytest.raises(DecodeError):
            read(text)


@pytest.mark.parametrize("read", READS)
@given(text=ANY_TEXT)
@effort(80)
def test_a_text_that_is_no_json_number_is_refused(read: Read, text: str) -> None:
    if NUMBER.fullmatch(text) is not None:
        return
    if text == "" and read in EMPTY_IS_NONE:
        assert read(text) is None
    elif text == "" and read in EMPTY_IS_ZERO:
        assert read(text) == 0.0
    else:
        with pytest.raises(DecodeError):
            read(text)


@given(whole=st.integers(0, 10**15 - 1), fraction=st.text("0123456789", max_size=9))
@effort(300)
def test_a_time_in_milliseconds_is_exact_to_the_nanosecond(whole: int, fraction: str) -> None:
    exact = Fraction(whole) + (Fraction(int(fraction), 10 ** len(fraction)) if fraction else 0)
    assert milliseconds_to_ns(f"{whole}.{fraction}" if fraction else str(whole)) == int(exact * 10**6)


@given(text=st.text(max_size=20))
@effort(300)
def test_any_other_text_is_no_time(text: str) -> None:
    if re.fullmatch(r"[0-9]{1,15}(\.[0-9]*)?", text, re.ASCII) is None:
        with pytest.raises(DecodeError):
            milliseconds_to_ns(text)


@given(text=st.text(max_size=20) | st.from_regex(r"[A-Z0-9]{1,8}_[A-Z0-9]{1,8}", fullmatch=True))
@effort(300)
def test_a_pair_has_one_unified_name_and_keeps_it(text: str) -> None:
    try:
        unified = unified_pair(text)
    except DecodeError:
        assert re.fullmatch(r"[A-Za-z0-9]+_[A-Za-z0-9]+", text, re.ASCII) is None
    else:
        assert native_pair(unified) == text
        assert all(part.isalnum() for part in unified.split("/")) and unified.count("/") == 1


@given(text=st.text(max_size=20) | st.from_regex(r"[A-Z0-9]{1,8}_(USDT|USD|[A-Z0-9]{1,8})", fullmatch=True))
@effort(300)
def test_a_contract_has_one_unified_name_and_keeps_it(text: str) -> None:
    try:
        unified = unified_contract(text)
    except DecodeError:
        with pytest.raises(DecodeError):
            unified_pair(text)
    else:
        assert native_contract(check_symbol(unified)) == text
        assert unified.partition(":")[0] == unified_pair(text)
