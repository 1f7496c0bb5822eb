"""MEXC: numbers and times are what their texts say, names keep their meaning, and a LIVE book is what the venue's is."""

import asyncio
import re
from collections.abc import Callable
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from infrastructure.errors import DecodeError
from infrastructure.events import BookTicker, Candle, Ticker, Trade
from infrastructure.exchanges.mexc.channels import EARLIEST_MS, LATEST_MS
from infrastructure.exchanges.mexc.names import native_symbol, unified_symbol
from infrastructure.exchanges.mexc.spot import MEXC_SPOT
from infrastructure.venue import BookUpdate, Message, check_symbol
from tests.harness import mexc_frames as frames
from tests.harness.effort import effort
from tests.harness.frames import Seen
from tests.harness.mexc_frames import DEPTH, KLINE, MINI_TICKER, NATIVE, SYMBOL, push
from tests.harness.receivers import drained
from tests.harness.variants import VARIANTS, Variant

NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,9})?", re.ASCII)


def message(raw: bytes) -> Message:
    (decoded,) = MEXC_SPOT.codec.decode(raw)
    return decoded


def price_of_deal(text: str) -> float | None:
    decoded = message(frames.trades(frames.deal(price=text)))
    assert isinstance(decoded, Trade)
    return decoded.price


def price_of_level(text: str) -> float | None:
    decoded = message(frames.depth(1, 1, [(text, 1)]))
    assert isinstance(decoded, BookUpdate)
    return decoded.bids[0][0]


def quantity_of_level(text: str) -> float | None:
    decoded = message(frames.limit_depth(1, [], [(1, text)]))
    assert isinstance(decoded, BookUpdate)
    return decoded.asks[0][1]


def close_of_candle(text: str) -> float | None:
    decoded = message(frames.kline(text))
    assert isinstance(decoded, Candle)
    return decoded.close


def quantity_of_ticker(text: str) -> float | None:
    values = {"bidPrice": "1", "bidQuantity": text, "version": "1"}
    decoded = message(push("spot@public.aggre.bookTicker.v3.api.pb@100ms@BTCUSDT", "publicAggreBookTicker", values))
    assert isinstance(decoded, BookTicker)
    return decoded.bid_amount


def change_of_ticker(text: str) -> float | None:
    decoded = message(push(f"{MINI_TICKER}@{NATIVE}@24H", "publicMiniTicker", frames.ticker() | {"zonedRate": text}))
    assert isinstance(decoded, Ticker)
    return decoded.change_percent


Read = Callable[[str], float | None]
#: How a number is read, and whether it may be 0.
READS: list[tuple[Read, bool]] = [
    (price_of_deal, False),
    (price_of_level, False),
    (close_of_candle, False),
    (quantity_of_level, True),
    (quantity_of_ticker, True),
]
TEXTS = st.one_of(
    st.from_regex(NUMBER, fullmatch=True),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.decimals(allow_nan=False, allow_infinity=False, places=8).map(lambda value: f"{value:f}"),
    st.integers(-(10**330), 10**330).map(str),
).filter(lambda text: NUMBER.fullmatch(text) is not None)
NO_NUMBERS = st.one_of(
    st.text(max_size=12),
    st.text("0123456789+-.eE_ xnaif", max_size=12),
    TEXTS.flatmap(lambda text: st.sampled_from([text + " ", " " + text, "+" + text, text + "_0", text + ".", text + "\n"])),
    st.sampled_from(["nan", "inf", "-inf", "Infinity", "1_0", "0x1", "１", "true", "null"]),
).filter(lambda text: NUMBER.fullmatch(text) is None and text != "")


@pytest.mark.parametrize(("read", "may_be_0"), READS)
@given(text=TEXTS)
@example(text="1" + "0" * 309)
@example(text="4.9e-324")
@example(text="0." + "1" * 5000)
@effort(80)
def test_the_float_of_a_number_is_the_one_python_reads(read: Read, may_be_0: bool, text: str) -> None:
    exact = float(text)
    if 0.0 < exact < float("inf") or (may_be_0 and exact == 0.0):
        assert read(text) == exact
    else:
        with pytest.raises(DecodeError):
            read(text)


@pytest.mark.parametrize("read", [*(read for read, _ in READS), change_of_ticker])
@given(text=NO_NUMBERS)
@effort(80)
def test_a_text_that_is_no_json_number_is_refused(read: Read, text: str) -> None:
    with pytest.raises(DecodeError):
        read(text)


@given(text=st.decimals(-10, 10, allow_nan=False, places=8).map(lambda value: f"{value:f}") | st.floats(1e-9, 1e9).map(repr))
@effort(300)
def test_a_rate_becomes_the_double_nearest_to_its_percentage(text: str) -> None:
    assert change_of_ticker(text) == float(Fraction(text) * 100)


@given(zeros=st.integers(0, 12), whole=st.integers(1, 10**9), digits=st.text("0123456789", min_size=1, max_size=8))
@effort(200)
def test_padding_changes_no_number(zeros: int, whole: int, digits: str) -> None:
    text = f"{whole}.{digits}"
    assert price_of_level(text + "0" * zeros) == price_of_level(text) == price_of_deal(text)


#: From units that venues use to milliseconds.
UNITS = {"s": Fraction(1000), "ms": Fraction(1), "us": Fraction(1, 1000), "ns": Fraction(1, 1_000_000)}


@pytest.mark.parametrize("unit", UNITS)
@given(ms=st.integers(1_500_000_000_000, 4_000_000_000_000))
@effort(100)
def test_a_time_is_exact_in_its_own_unit_and_refused_in_any_other(unit: str, ms: int) -> None:
    number = int(Fraction(ms) / UNITS[unit])
    in_ms = (
        frames.trades(frames.deal() | {"time": number}),
        push(f"{DEPTH}@100ms@{NATIVE}", "publicAggreDepths", VERSIONS, sendTime=number),
        push(f"{KLINE}@{NATIVE}@Min1", "publicSpotKline", BAR, sendTime=None, createTime=number),
    )
    for raw in in_ms:
        if unit == "ms":
            assert getattr(message(raw), "exchange_ns", None) == ms * 1_000_000
        else:
            with pytest.raises(DecodeError):
                message(raw)
    bar = push(f"{KLINE}@{NATIVE}@Min1", "publicSpotKline", BAR | {"windowStart": number})
    if unit == "s":
        assert getattr(message(bar), "open_ns", None) == ms // 1000 * 1_000_000_000
    else:
        with pytest.raises(DecodeError):
            message(bar)


VERSIONS = {"fromVersion": "1", "toVersion": "2"}
PRICES = {"openingPrice": "1", "closingPrice": "1", "highestPrice": "1", "lowestPrice": "1"}
BAR = {"interval": "Min1", "windowStart": 1_700_000_000} | PRICES


@given(time=st.integers(-(2**63), 2**63 - 1))
@example(time=EARLIEST_MS)
@example(time=EARLIEST_MS - 1)
@example(time=LATEST_MS)
@example(time=LATEST_MS + 1)
@effort(200)
def test_any_time_is_exact_or_none_or_refused(time: int) -> None:
    raw = frames.trades(frames.deal() | {"time": time})
    if time == 0:
        assert getattr(message(raw), "exchange_ns", 0) is None
    elif EARLIEST_MS <= time <= LATEST_MS:
        ns = getattr(message(raw), "exchange_ns", None)
        assert ns == time * 1_000_000 < 2**63
    else:
        with pytest.raises(DecodeError):
            message(raw)


@given(text=st.text(max_size=20) | st.from_regex(r"[A-Z0-9]{1,8}(USDT|USDC|BTC|ETH)", fullmatch=True))
@effort(300)
def test_a_market_has_one_unified_name_and_keeps_it(text: str) -> None:
    try:
        unified = unified_symbol(text)
    except DecodeError:
        return
    assert native_symbol(unified) == text
    assert check_symbol(unified) == unified


Change = tuple[str, int, int]
CHANGES = st.lists(st.tuples(st.sampled_from(["bid", "ask"]), st.integers(1, 5), st.integers(0, 3)), min_size=0, max_size=3)
#: What may happen to a push on its way.
FATES = st.sampled_from(["arrives"] * 6 + ["is lost", "comes twice", "comes late"])


class Market:
    """The venue's own book; bids stay below 100 and asks above."""

    def __init__(self) -> None:
        self.version = 10
        self.bids: dict[int, int] = {99: 1}
        self.asks: dict[int, int] = {101: 1}
        #: Each state there was, by version.
        self.history = {10: self.sides()}

    def change(self, changes: list[Change]) -> bytes:
        """Make all changes, one version each, and tell of them in one push."""
        first = self.version + 1
        told: dict[str, dict[int, int]] = {"bid": {}, "ask": {}}
        for side, distance, quantity in changes or [("bid", 1, 1)]:
            book, price = (self.bids, 100 - distance) if side == "bid" else (self.asks, 100 + distance)
            book[price] = told[side][price] = quantity
            if not quantity:
                del book[price]
            self.version += 1
        self.history[self.version] = self.sides()
        return frames.depth(first, self.version, list(told["bid"].items()), list(told["ask"].items()))

    def sides(self) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
        bids = sorted(((float(price), float(quantity)) for price, quantity in self.bids.items()), reverse=True)
        return bids, sorted((float(price), float(quantity)) for price, quantity in self.asks.items())

    def rest(self) -> bytes:
        return frames.rest_book(self.version, *self.sides())


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
@given(steps=st.lists(st.tuples(CHANGES, FATES, st.booleans()), max_size=25))
@effort(60)
def test_a_live_book_is_always_what_the_venues_was_at_its_version(variant: Variant, steps: list[tuple[list[Change], str, bool]]) -> None:
    async def run() -> None:
        market = Market()
        seen = Seen()
        feed = variant.feed(SYMBOL, venue="mexc_spot", **seen.callbacks)
        late: list[bytes] = []
        for changes, fate, is_answered in [*steps, ([], "arrives", True), ([], "arrives", True)]:
            raw = market.change(changes)
            arriving = {"arrives": [*late, raw], "is lost": [], "comes twice": [raw, raw], "comes late": []}[fate]
            late = [raw] if fate == "comes late" else late if not arriving else []
            for frame in arriving:
                feed.deliver(frame)
            await feed.drain()
            if feed.take_requests() or is_answered:
                await feed.snapshot(SYMBOL, market.rest())
            book = feed.books.get(SYMBOL)
            if book is not None and book.is_live:
                assert book.last_id is not None
                assert (book.bids, book.asks) == market.history[book.last_id]
        assert feed.books[SYMBOL].is_live and feed.books[SYMBOL].last_id == market.version
        for last_id, bids, asks in seen.books:
            assert last_id is not None
            assert (list(bids), list(asks)) == market.history[last_id]
        await drained(feed)

    asyncio.run(run())
