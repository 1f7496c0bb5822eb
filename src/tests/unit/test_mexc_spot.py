import json
import re
from collections.abc import Callable
from decimal import Decimal
from itertools import count
from typing import Any

import pytest
from msgspec import Struct

from infrastructure.errors import DecodeError, SettingsError
from infrastructure.events import BookTicker, Candle, Side, Ticker, Trade
from infrastructure.exchanges.mexc import channels, control, spot
from infrastructure.exchanges.mexc.names import channel_of, native_symbol, unified_symbol
from infrastructure.exchanges.mexc.spot import MEXC_SPOT, MexcSpotCodec
from infrastructure.exchanges.mexc.wire import channel_and_symbol
from infrastructure.instruments import Instrument, InstrumentStatus
from infrastructure.venue import Acknowledgement, BookUpdate, Message, Notice, Pong, Unknown
from tests.harness import mexc_frames as frames
from tests.harness.mexc_frames import (
    BOOK_TICKER,
    BOOK_TICKER_BATCH,
    DEALS,
    DEPTH,
    KLINE,
    LIMIT_DEPTH,
    MINI_TICKER,
    MINI_TICKERS,
    NATIVE,
    SENT_MS,
    SENT_NS,
    SYMBOL,
    push,
)

CODEC = MexcSpotCodec()
VENUE = "mexc_spot"
#: By channel: the venue's name of its body, the function whose docstring has an example of it, a stream.
CHANNELS: dict[str, tuple[str, Callable[..., Any], str]] = {
    DEALS: ("publicAggreDeals", spot._deals, f"{DEALS}@100ms@{NATIVE}"),
    DEPTH: ("publicAggreDepths", spot._depth, f"{DEPTH}@100ms@{NATIVE}"),
    LIMIT_DEPTH: ("publicLimitDepths", spot._limit_depth, f"{LIMIT_DEPTH}@{NATIVE}@5"),
    BOOK_TICKER: ("publicAggreBookTicker", spot._book_ticker, f"{BOOK_TICKER}@100ms@{NATIVE}"),
    BOOK_TICKER_BATCH: ("publicBookTickerBatch", spot._book_ticker_batch, f"{BOOK_TICKER_BATCH}@{NATIVE}"),
    KLINE: ("publicSpotKline", spot._kline, f"{KLINE}@{NATIVE}@Min15"),
    MINI_TICKER: ("publicMiniTicker", spot._mini_ticker, f"{MINI_TICKER}@ETHUSDT@UTC+8"),
    MINI_TICKERS: ("publicMiniTickers", spot._mini_tickers, f"{MINI_TICKERS}@UTC+8"),
}


def written_down(thing: type[Struct] | Callable[..., Any], **changes: Any) -> Any:
    """The example in the docstring of ``thing``, with some of its values changed; None takes a value away."""
    found = re.search(r"``(\{.*?\})``", thing.__doc__ or "", re.DOTALL)
    assert found is not None
    return {key: value for key, value in (json.loads(found[1]) | changes).items() if value is not None}


def example(channel: str, **changes: Any) -> bytes:
    """A frame with the example of a channel."""
    body, reader, stream = CHANNELS[channel]
    native = {MINI_TICKER: "ETHUSDT", MINI_TICKERS: None}.get(channel, NATIVE)
    return push(stream, body, written_down(reader, **changes), symbol=native)


def decoded(raw: bytes) -> Message:
    (message,) = CODEC.decode(raw)
    return message


def refusal_of(raw: bytes | str) -> DecodeError:
    with pytest.raises(DecodeError) as caught:
        CODEC.decode(raw)
    return caught.value


class TestExamples:
    def test_deals(self) -> None:
        trade_id = "731901896985399296X0_731901896985399297X0"
        expected = Trade(VENUE, SYMBOL, trade_id, Side.SELL, 84270.0, 0.00099829, 1_790_281_246_176_000_000)
        assert decoded(example(DEALS)) == expected

    def test_every_deal_of_a_frame_is_a_trade_in_its_order(self) -> None:
        messages = CODEC.decode(frames.trades(frames.deal("100"), frames.deal("101", trade_type=2), frames.deal("99.5")))
        assert [(trade.price, trade.side) for trade in messages if isinstance(trade, Trade)] == [
            (100.0, Side.BUY),
            (101.0, Side.SELL),
            (99.5, Side.BUY),
        ]

    def test_a_deal_of_before_june_2026_has_no_id(self) -> None:
        old = {name: value for name, value in frames.deal().items() if name != "tradeId"}
        trade = decoded(frames.trades(old))
        assert isinstance(trade, Trade)
        assert trade.trade_id == ""

    def test_depth(self) -> None:
        levels = ([(82578.18, 0.0)], [(82583.21, 0.12243346)])
        assert decoded(example(DEPTH)) == BookUpdate(DEPTH, SYMBOL, 83416612001, 83416612020, *levels, False, SENT_NS)

    def test_depth_of_one_side(self) -> None:
        assert decoded(example(DEPTH, asks=None)) == BookUpdate(
            DEPTH, SYMBOL, 83416612001, 83416612020, [(82578.18, 0.0)], [], False, SENT_NS
        )

    def test_depth_without_levels_moves_the_version_on(self) -> None:
        assert decoded(frames.depth(5, 7)) == BookUpdate(DEPTH, SYMBOL, 5, 7, [], [], False, SENT_NS)

    def test_limit_depth(self) -> None:
        levels = ([(84270.0, 0.006387)], [(84270.01, 5.42169969)])
        assert decoded(example(LIMIT_DEPTH)) == BookUpdate(LIMIT_DEPTH, SYMBOL, 82164155643, 82164155643, *levels, True, SENT_NS)

    def test_book_ticker(self) -> None:
        expected = BookTicker(VENUE, SYMBOL, 82164153436, 84270.0, 0.006387, 84270.01, 5.42169969, SENT_NS)
        assert decoded(example(BOOK_TICKER)) == expected

    def test_a_book_ticker_of_before_june_2026_has_no_version(self) -> None:
        expected = BookTicker(VENUE, SYMBOL, None, 84270.0, 0.006387, 84270.01, 5.42169969, SENT_NS)
        assert decoded(example(BOOK_TICKER, version=None, lastOrderCreateTime=None)) == expected

    @pytest.mark.parametrize("empty", [None, "", "0"])
    def test_a_book_ticker_with_an_empty_side(self, empty: str | None) -> None:
        bid = {"bidPrice": empty, "bidQuantity": empty}
        assert decoded(example(BOOK_TICKER, **bid)) == BookTicker(VENUE, SYMBOL, 82164153436, None, None, 84270.01, 5.42169969, SENT_NS)
        ask = {"askPrice": empty, "askQuantity": empty}
        assert decoded(example(BOOK_TICKER, **ask)) == BookTicker(VENUE, SYMBOL, 82164153436, 84270.0, 0.006387, None, None, SENT_NS)

    def test_a_book_ticker_of_an_empty_market_has_its_version_alone(self) -> None:
        assert decoded(frames.book_ticker(7, None, None)) == BookTicker(VENUE, SYMBOL, 7, None, None, None, None, SENT_NS)

    def test_book_ticker_batch(self) -> None:
        expected = BookTicker(VENUE, SYMBOL, 36913565463, 96567.37, 3.362925, 96567.38, 1.545255, SENT_NS)
        assert decoded(example(BOOK_TICKER_BATCH)) == expected

    def test_the_version_of_a_batch_is_that_of_its_last_item(self) -> None:
        messages = CODEC.decode(
            frames.book_ticker_batch({"bidPrice": "1", "bidQuantity": "2"}, {"askPrice": "3", "askQuantity": "4"}, version="9")
        )
        assert list(messages) == [
            BookTicker(VENUE, SYMBOL, None, 1.0, 2.0, None, None, SENT_NS),
            BookTicker(VENUE, SYMBOL, 9, None, None, 3.0, 4.0, SENT_NS),
        ]

    def test_kline(self) -> None:
        prices = (92925.0, 93158.47, 92800.0, 93158.47)
        expected = Candle(VENUE, SYMBOL, "Min15", 1_736_410_500_000_000_000, *prices, 36.83803224, 3424811.05, None, SENT_NS)
        assert decoded(example(KLINE)) == expected

    def test_kline_without_volumes(self) -> None:
        candle = decoded(example(KLINE, volume=None, amount=None))
        assert isinstance(candle, Candle)
        assert (candle.base_volume, candle.quote_volume) == (None, None)

    def test_mini_ticker_calls_turnover_volume(self) -> None:
        base, quote = 290247.40837, 1353770606.47
        expected = Ticker(VENUE, "ETH/USDT", 4714.07, None, None, 4766.59, 4508.64, base, quote, 3.8, SENT_NS)
        assert decoded(example(MINI_TICKER)) == expected

    def test_mini_ticker_with_nothing_but_its_price(self) -> None:
        raw = push(f"{MINI_TICKER}@{NATIVE}@24H", "publicMiniTicker", {"price": "3"})
        assert decoded(raw) == Ticker(VENUE, SYMBOL, 3.0, None, None, None, None, None, None, None, SENT_NS)

    def test_the_change_of_a_ticker_is_that_of_the_zone_asked_for(self) -> None:
        ticker = decoded(example(MINI_TICKER, rate="0.5", zonedRate="-0.0067"))
        assert isinstance(ticker, Ticker)
        assert ticker.change_percent == -0.67

    def test_mini_tickers(self) -> None:
        expected = Ticker(
            VENUE, "CRV/ETH", 0.00022592, None, None, 0.00022856, 0.00021024, 4884456.998, 1062.48406269, 2.8, exchange_ns=SENT_NS
        )
        assert decoded(example(MINI_TICKERS)) == expected

    def test_a_pair_that_has_no_name_here_keeps_nothing_from_the_others(self) -> None:
        items = [frames.ticker(native="BTCUSDT"), frames.ticker(native="NOPE"), frames.ticker(native="ETHUSDT")]
        first, odd, last = CODEC.decode(frames.mini_tickers(*items))
        assert odd == Unknown(MINI_TICKERS, "NOPE")
        assert [ticker.symbol for ticker in (first, last) if isinstance(ticker, Ticker)] == ["BTC/USDT", "ETH/USDT"]

    def test_three_thousand_pairs_fit_in_a_frame(self) -> None:
        raw = frames.mini_tickers(*(frames.ticker(native=f"COIN{number}USDT") for number in range(3000)))
        assert len(raw) > 200_000
        assert len(CODEC.decode(raw)) == 3000

    def test_rest_book(self) -> None:
        levels = ([(84270.0, 0.006387)], [(84270.01, 5.42169969)])
        expected = BookUpdate(DEPTH, SYMBOL, 82164155643, 82164155643, *levels, True, 1_790_281_247_251_000_000)
        assert CODEC.decode_snapshot(SYMBOL, json.dumps(written_down(spot.RestBook))) == expected

    def test_rest_book_of_before_it_had_a_time(self) -> None:
        body = written_down(spot.RestBook, timestamp=None, lastUpdateId="744267132")
        book = CODEC.decode_snapshot(SYMBOL, json.dumps(body))
        assert (book.last_id, book.exchange_ns) == (744267132, None)

    def test_ping_request(self) -> None:
        assert f"``{json.dumps(CODEC.ping_request(5), separators=(',', ':'))}``" == MexcSpotCodec.ping_request.__doc__

    def test_every_channel_of_the_venue_has_its_example(self) -> None:
        assert set(CHANNELS) == set(MEXC_SPOT.channels)


class TestNumbers:
    def test_padding_changes_no_number(self) -> None:
        padded, plain = (
            CODEC.decode(frames.limit_depth(1, [(f"84270{zeros}", f"0.006387{digits}")], [("84270.5" + digits, "82.1" + digits)]))
            for zeros, digits in ((".00", "00"), ("", ""))
        )
        assert padded == plain

    def test_the_rest_book_and_the_stream_name_the_same_levels(self) -> None:
        stream = decoded(frames.depth(1, 1, [("84270", "0.5")], [("84270.5", "82.1")]))
        rest = CODEC.decode_snapshot(SYMBOL, frames.rest_book(1, [("84270.00", "0.50000000")], [("84270.50", "82.10")]))
        assert isinstance(stream, BookUpdate)
        assert (stream.bids, stream.asks) == (rest.bids, rest.asks)

    @pytest.mark.parametrize(
        ("fraction", "percent"), [("0.0067", 0.67), ("-0.0067", -0.67), ("0.07", 7.0), ("0.29", 29.0), ("0", 0.0), ("1E-7", 1e-5)]
    )
    def test_a_fraction_becomes_the_percentage_it_is(self, fraction: str, percent: float) -> None:
        ticker = decoded(example(MINI_TICKER, zonedRate=fraction))
        assert isinstance(ticker, Ticker)
        assert ticker.change_percent == percent


class TestTimes:
    """Milliseconds in every channel but the windows of klines; absent or 0 is none; what is of another unit is refused."""

    @pytest.mark.parametrize("channel", CHANNELS)
    def test_the_time_of_sending_is_the_time_of_every_event_but_trades(self, channel: str) -> None:
        times = {getattr(message, "exchange_ns", None) for message in CODEC.decode(example(channel))}
        assert times == {1_790_281_246_176_000_000 if channel == DEALS else SENT_NS}

    @pytest.mark.parametrize(
        ("times", "expected"),
        [
            ({"sendTime": None, "createTime": SENT_MS + 5}, SENT_NS + 5_000_000),
            ({"sendTime": SENT_MS, "createTime": SENT_MS - 5}, SENT_NS),
            ({"sendTime": None}, None),
            ({"sendTime": 0}, None),
        ],
    )
    def test_klines_have_the_time_of_making_instead_and_no_time_stays_none(self, times: dict[str, int], expected: int | None) -> None:
        body, reader, stream = CHANNELS[KLINE]
        candle = decoded(push(stream, body, written_down(reader), **times))
        assert isinstance(candle, Candle)
        assert candle.exchange_ns == expected

    def test_a_deal_without_a_time_has_none(self) -> None:
        trade = decoded(frames.trades({name: value for name, value in frames.deal().items() if name != "time"}))
        assert isinstance(trade, Trade)
        assert trade.exchange_ns is None

    #: Seconds, microseconds and nanoseconds where milliseconds belong, and what is no time.
    OTHER_UNITS = (SENT_MS // 1000, SENT_MS * 1000, SENT_MS * 10**6, -SENT_MS, 1, 2**63 - 1)

    @pytest.mark.parametrize("time", OTHER_UNITS)
    @pytest.mark.parametrize("channel", [channel for channel in CHANNELS if channel != DEALS])
    def test_a_time_of_sending_in_another_unit_is_refused(self, channel: str, time: int) -> None:
        body, reader, stream = CHANNELS[channel]
        assert refusal_of(push(stream, body, written_down(reader), sendTime=time)).channel == channel

    @pytest.mark.parametrize("time", OTHER_UNITS)
    def test_a_time_of_a_deal_in_another_unit_is_refused(self, time: int) -> None:
        error = refusal_of(frames.trades(frames.deal() | {"time": time}))
        assert (error.channel, error.symbol) == (DEALS, SYMBOL)

    @pytest.mark.parametrize("time", [SENT_MS, SENT_MS * 1000, SENT_MS * 10**6, -1, 0, 2**63 - 1])
    def test_a_window_that_is_not_in_seconds_is_refused(self, time: int) -> None:
        assert refusal_of(example(KLINE, windowStart=time)).channel == KLINE


#: By channel: what a change of the venue's format could take from its body, so that it decodes and says nothing.
EMPTIED: list[tuple[str, dict[str, Any]]] = [
    (DEALS, {"deals": None}),
    *((DEALS, {"deals": [{k: v for k, v in frames.deal().items() if k != gone}]}) for gone in ("price", "quantity", "tradeType")),
    (DEALS, {"deals": [frames.deal(), {}]}),
    (DEPTH, {"fromVersion": None}),
    (DEPTH, {"toVersion": None}),
    (DEPTH, {"fromVersion": "7", "toVersion": "6"}),
    (DEPTH, {"bids": [{"price": "1"}]}),
    (DEPTH, {"asks": [{"quantity": "1"}]}),
    (DEPTH, {"asks": [{}]}),
    (LIMIT_DEPTH, {"version": None}),
    (LIMIT_DEPTH, {"bids": [{}]}),
    (BOOK_TICKER, dict.fromkeys(("bidPrice", "bidQuantity", "askPrice", "askQuantity", "version", "lastOrderCreateTime"))),
    (BOOK_TICKER, {"bidQuantity": None}),
    (BOOK_TICKER, {"askQuantity": None}),
    (BOOK_TICKER_BATCH, {"items": None}),
    (BOOK_TICKER_BATCH, {"items": [{}]}),
    *((KLINE, {gone: None}) for gone in ("interval", "windowStart", "openingPrice", "closingPrice", "highestPrice", "lowestPrice")),
    (MINI_TICKER, {"price": None}),
    (MINI_TICKERS, {"items": None}),
    (MINI_TICKERS, {"items": [{"symbol": NATIVE}]}),
    (MINI_TICKERS, {"items": [{"price": "1"}]}),
]


class TestEmptiness:
    @pytest.mark.parametrize(("channel", "changes"), EMPTIED, ids=lambda value: str(value)[-40:])
    def test_what_decodes_but_says_nothing_is_refused_by_channel(self, channel: str, changes: dict[str, Any]) -> None:
        assert refusal_of(example(channel, **changes)).channel == channel

    @pytest.mark.parametrize("channel", [channel for channel in CHANNELS if channel != MINI_TICKERS])
    def test_a_body_without_anything_is_refused_by_channel_and_symbol(self, channel: str) -> None:
        body, _, stream = CHANNELS[channel]
        error = refusal_of(push(stream, body, {}))
        assert (error.channel, error.symbol) == (channel, SYMBOL)

    @pytest.mark.parametrize("channel", [channel for channel in CHANNELS if channel not in (MINI_TICKER, MINI_TICKERS)])
    def test_a_frame_of_no_symbol_is_refused_by_channel(self, channel: str) -> None:
        body, reader, stream = CHANNELS[channel]
        assert refusal_of(push(stream, body, written_down(reader), symbol=None)).channel == channel

    @pytest.mark.parametrize("channel", CHANNELS)
    def test_a_body_that_moved_to_another_number_is_refused_on_a_channel_that_is_known(self, channel: str) -> None:
        raw = frames.without_body(CHANNELS[channel][2]) + frames.counted(399, b"\x0a\x01x")
        assert refusal_of(raw).channel == channel

    @pytest.mark.parametrize(
        ("body", "channel", "versions"),
        [("publicAggreDepths", DEPTH, {"fromVersion": "5", "toVersion": "6"}), ("publicLimitDepths", LIMIT_DEPTH, {"version": "6"})],
    )
    def test_levels_that_moved_to_another_number_are_refused(self, body: str, channel: str, versions: dict[str, str]) -> None:
        number, table = frames.BODIES[body]
        moved = b"".join(frames.pieces(versions, table)) + frames.counted(9, b"\x0a\x011\x12\x011")
        error = refusal_of(frames.without_body(CHANNELS[channel][2]) + frames.counted(number, moved))
        assert (error.channel, error.symbol) == (channel, SYMBOL)

    def test_prices_of_a_ticker_that_moved_to_other_numbers_are_refused(self) -> None:
        number, table = frames.BODIES["publicAggreBookTicker"]
        moved = b"".join(frames.pieces({"version": "5"}, table)) + frames.counted(9, b"100")
        assert refusal_of(frames.without_body(CHANNELS[BOOK_TICKER][2]) + frames.counted(number, moved)).channel == BOOK_TICKER

    @pytest.mark.parametrize("text", ["", "-1", "+1", "1.0", " 1", "0x1", "１", "9" * 19, "abc"])
    @pytest.mark.parametrize("name", ["fromVersion", "toVersion"])
    def test_what_is_no_version_is_refused(self, name: str, text: str) -> None:
        error = refusal_of(example(DEPTH, **{name: text}))
        assert (error.channel, error.symbol) == (DEPTH, SYMBOL)

    @pytest.mark.parametrize("trade_type", [0, 3, -1])
    def test_a_deal_of_neither_side_is_refused(self, trade_type: int) -> None:
        assert refusal_of(frames.trades(frames.deal(trade_type=trade_type))).symbol == SYMBOL


NO_NUMBERS = ("nan", "inf", "-inf", "Infinity", "1e400", "1_0", " 1", "1 ", "+1", "01", "1.", ".5", "0x10", "１", "1,5", "9" * 5000)
#: By channel: the names of its numbers and what, beside no number, has no place there.
NUMBERS = [
    (KLINE, ("openingPrice", "closingPrice", "highestPrice", "lowestPrice"), ("0", "-1")),
    (KLINE, ("volume", "amount"), ("-1",)),
    (BOOK_TICKER, ("bidPrice", "bidQuantity", "askPrice", "askQuantity"), ("-1",)),
    (MINI_TICKER, ("price",), ("0", "-1")),
    (MINI_TICKER, ("high", "low", "volume", "quantity"), ("-1",)),
    (MINI_TICKER, ("zonedRate",), ()),
]


@pytest.mark.parametrize(
    ("channel", "field", "text"),
    [(channel, field, text) for channel, names, texts in NUMBERS for field in names for text in (*NO_NUMBERS, *texts)],
    ids=lambda value: value[-24:],
)
def test_a_number_out_of_range_is_refused_in_every_field(channel: str, field: str, text: str) -> None:
    error = refusal_of(example(channel, **{field: text}))
    assert (error.channel, error.symbol) == (channel, "ETH/USDT" if channel == MINI_TICKER else SYMBOL)


@pytest.mark.parametrize("text", [*NO_NUMBERS, "0", "-1", ""])
def test_a_price_or_quantity_of_a_deal_out_of_range_is_refused(text: str) -> None:
    for deal in (frames.deal(price=text), frames.deal(quantity=text)):
        assert refusal_of(frames.trades(deal)).symbol == SYMBOL


@pytest.mark.parametrize(
    "level", [*((text, "1") for text in (*NO_NUMBERS, "0", "-1", "")), *(("1", text) for text in (*NO_NUMBERS, "-1", ""))]
)
def test_a_level_out_of_range_is_refused_in_every_book(level: tuple[str, str]) -> None:
    for raw in (frames.depth(1, 1, [(1, 1), level]), frames.limit_depth(1, (), [(1, 1), level])):
        assert refusal_of(raw).symbol == SYMBOL


class TestBinary:
    """What is no push: cut off, nested too deep, too long, too full."""

    @pytest.mark.parametrize("channel", CHANNELS)
    def test_a_frame_that_is_cut_off_is_refused_or_a_frame_without_a_body(self, channel: str) -> None:
        raw = example(channel)
        for length in range(len(raw)):
            try:
                messages = CODEC.decode(raw[:length])
            except DecodeError:
                continue
            assert [type(message) for message in messages] == [Unknown], length

    def test_a_frame_cut_off_in_its_body_is_refused_by_channel_and_symbol(self) -> None:
        error = refusal_of(frames.depth(1, 2, [(100, 1)])[:-1])
        assert (error.channel, error.symbol) == (DEPTH, SYMBOL)

    def test_a_frame_cut_off_before_its_symbol_is_refused_by_what_it_says(self) -> None:
        raw = frames.depth(1, 2, [(100, 1)])
        error = refusal_of(raw[: raw.index(b"\x1a\x07BTC") + 4])
        assert (error.channel, error.symbol) == (DEPTH, None)
        assert refusal_of(raw[:20]).channel is None

    def test_an_empty_frame_is_refused(self) -> None:
        assert refusal_of(b"").channel is None

    @pytest.mark.parametrize("depth", [101, 10_000, 200_000])
    def test_groups_nested_too_deep_are_refused(self, depth: int) -> None:
        nested = frames.varint(20 << 3 | 3) * depth + frames.varint(20 << 3 | 4) * depth
        assert refusal_of(frames.without_body() + nested)

    @pytest.mark.parametrize("body", [314, 310, 313, 303])
    def test_a_megabyte_of_empty_messages_is_refused_before_it_is_read(self, body: int, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delattr(channels, "Push")
        error = refusal_of(frames.without_body() + frames.counted(body, b"\x0a\x00" * 500_000))
        assert "more than 16384 items" in error.reason
        assert (error.channel, error.symbol) == (DEALS, SYMBOL)

    def test_many_bodies_are_refused_too(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delattr(channels, "Push")
        assert "more than 16384 items" in refusal_of(frames.without_body() + frames.counted(314, b"\x0a\x00") * 20_000).reason

    def test_a_frame_below_the_counted_length_cannot_hold_more_than_is_allowed(self) -> None:
        body = b"\x0a\x00" * 16_000
        assert "no deals" not in refusal_of(frames.without_body() + frames.counted(314, body)).reason

    def test_of_a_frame_that_cannot_be_read_no_more_than_its_beginning_is_walked_over(self) -> None:
        named = frames.without_body()
        padding = b"\x10\x01" * 20
        assert channel_and_symbol(named + b"\xff") == (f"{DEALS}@100ms@{NATIVE}", NATIVE)
        assert channel_and_symbol(padding + named + b"\xff") == ("", "")

    def test_what_stands_in_a_group_is_not_the_frames_own(self) -> None:
        group = frames.varint(20 << 3 | 3) + frames.counted(1, b"another") + frames.varint(20 << 3 | 4)
        assert channel_and_symbol(frames.without_body() + group + b"\xff") == (f"{DEALS}@100ms@{NATIVE}", NATIVE)

    def test_a_frame_that_is_too_long_is_refused_before_it_is_read(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delattr(channels, "Push")
        raw = frames.without_body() + frames.counted(9, bytes(5_000_000))
        assert refusal_of(raw).reason == f"{len(raw)} bytes, more than {4 * 1024 * 1024}"

    @pytest.mark.parametrize("number", [301, 302, 305, 312, 316, 399, 2])
    def test_bodies_of_no_use_are_unknown_on_channels_of_others(self, number: int) -> None:
        raw = frames.without_body("spot@public.increase.depth.v3.api.pb@BTCUSDT") + frames.counted(number, b"\x0a\x01x")
        assert decoded(raw) == Unknown("spot@public.increase.depth.v3.api.pb", "")

    @pytest.mark.parametrize("channel", CHANNELS)
    def test_a_frame_without_a_body_says_nothing(self, channel: str) -> None:
        assert decoded(frames.without_body(CHANNELS[channel][2])) == Unknown(channel, "")

    def test_bad_utf8_in_a_name_is_refused(self) -> None:
        assert refusal_of(frames.trades().replace(b"BTCUSDT", b"BTC\xff\xfeDT"))


class TestControl:
    STREAMS = (f"{DEALS}@100ms@BTCUSDT", f"{DEALS}@100ms@ETHUSDT")

    def test_an_agreement_repeats_the_streams(self) -> None:
        assert decoded(frames.answer(self.STREAMS[0])) == Acknowledgement("", "", self.STREAMS[:1])

    def test_of_several_streams_each_is_named(self) -> None:
        assert decoded(frames.answer(",".join(self.STREAMS), request_id=7)) == Acknowledgement("", "", self.STREAMS, 7)

    def test_the_example_is_an_agreement(self) -> None:
        assert decoded(json.dumps(written_down(control.Answer)).encode()) == Acknowledgement("", "", self.STREAMS[:1])

    @pytest.mark.parametrize("request_id", [0, 9])
    def test_a_refusal_has_code_0_and_the_venues_words(self, request_id: int) -> None:
        words = f"Not Subscribed successfully! [{','.join(self.STREAMS)}].  Reason： Blocked! "
        expected = Acknowledgement("", "", self.STREAMS, request_id or None, None, words)
        assert decoded(frames.answer(words, request_id=request_id)) == expected

    def test_a_refusal_may_name_its_streams_one_by_one(self) -> None:
        words = "".join(f"Not Subscribed successfully! [{stream}].  Reason： Blocked! " for stream in self.STREAMS)
        assert decoded(frames.answer(words)) == Acknowledgement("", "", self.STREAMS, None, None, words)

    def test_of_an_answer_in_two_halves_each_is_an_answer(self) -> None:
        # As seen on 2025-07-27.
        refusal = f"Not Subscribed successfully! [{DEALS}@100ms@USDTUSDC].  Reason： Blocked! "
        words = f"Subscribed successful! [{','.join(self.STREAMS)}]. {refusal}"
        assert list(CODEC.decode(frames.answer(words, request_id=5))) == [
            Acknowledgement("", "", self.STREAMS, 5),
            Acknowledgement("", "", (f"{DEALS}@100ms@USDTUSDC",), 5, None, refusal),
        ]

    @pytest.mark.parametrize("agreed", ["Subscribed successful! [{}]. ", "Subscribed successful! [{}]. Not Subscribed successfully! []."])
    def test_an_agreement_in_words_is_one_too(self, agreed: str) -> None:
        words = agreed.format(",".join(self.STREAMS))
        assert decoded(frames.answer(words, request_id=5)) == Acknowledgement("", "", self.STREAMS, 5)

    def test_an_answer_that_agrees_to_nothing_is_a_refusal(self) -> None:
        words = f"Subscribed successful! []. Not Subscribed successfully! [{self.STREAMS[0]}].  Reason： Blocked! "
        refusal = words.removeprefix("Subscribed successful! []. ")
        assert decoded(frames.answer(words, request_id=5)) == Acknowledgement("", "", self.STREAMS[:1], 5, None, refusal)

    @pytest.mark.parametrize("words", ["Not Subscribed successfully! [].", "no subscription success"])
    def test_a_refusal_may_name_no_stream(self, words: str) -> None:
        assert decoded(frames.answer(words)) == Acknowledgement("", "", (), None, None, words)

    @pytest.mark.parametrize("request_id", [0, 9])
    def test_no_words_agree_to_what_the_connection_had_before(self, request_id: int) -> None:
        assert decoded(frames.answer("", request_id=request_id)) == Acknowledgement("", "", (), request_id or None)

    def test_another_code_is_a_refusal_with_its_code(self) -> None:
        assert decoded(frames.answer("msg format invalid", code=100, request_id=3)) == Acknowledgement(
            "", "", (), 3, "100", "msg format invalid"
        )

    def test_a_refusal_without_words_is_still_a_refusal(self) -> None:
        assert decoded(b'{"id":3,"code":1}') == Acknowledgement("", "", (), 3, "1", "refused without a reason")

    def test_words_that_name_no_stream_refuse_the_request_that_they_answer(self) -> None:
        assert decoded(frames.answer("no such thing", request_id=3)) == Acknowledgement("", "", (), 3, None, "no such thing")

    def test_words_that_answer_no_request_are_a_notice(self) -> None:
        assert decoded(frames.answer("maintenance at noon")) == Notice("", "maintenance at noon")

    def test_pong(self) -> None:
        assert decoded(frames.PONG) == Pong(None)

    @pytest.mark.parametrize("raw", [b"Invalid listen key", "Invalid listen key"])
    def test_an_unknown_listen_key_refuses_whatever_was_asked(self, raw: bytes | str) -> None:
        assert CODEC.decode(raw) == [Acknowledgement("", "", error="Invalid listen key")]

    @pytest.mark.parametrize("raw", [b"{}", b'{"id":0,"code":0}', b'{"channel":"pong","data":1}'])
    def test_other_objects_are_unknown(self, raw: bytes) -> None:
        assert decoded(raw) == Unknown("", "")

    @pytest.mark.parametrize(
        "raw",
        [b"{", b'{"msg":1}', b'{"msg":"\xff"}', b'{"other":"\xff"}', b"{}x", b'{"a":' + b"[" * 200_000, "", "x", "[]", "\ud800", "\n"],
    )
    def test_other_texts_are_refused(self, raw: bytes | str) -> None:
        assert refusal_of(raw)

    def test_text_and_bytes_of_an_answer_say_the_same(self) -> None:
        for raw in (frames.PONG, frames.answer(self.STREAMS[0])):
            assert CODEC.decode(raw) == CODEC.decode(raw.decode())

    def test_no_push_begins_as_an_answer_does(self) -> None:
        assert not any(example(channel).startswith((b"{", b"I")) for channel in CHANNELS)


class TestSymbols:
    @pytest.mark.parametrize(
        ("native", "unified"),
        [
            ("BTCUSDT", "BTC/USDT"),
            ("CRVETH", "CRV/ETH"),
            ("USDCUSDT", "USDC/USDT"),
            ("USDTBRL", "USDT/BRL"),
            ("BTCUSD1", "BTC/USD1"),
            ("1INCHUSDC", "1INCH/USDC"),
            ("ETHBTC", "ETH/BTC"),
            ("币安人生USDT", "币安人生/USDT"),
        ],
    )
    def test_native_and_unified_names_are_each_others_inverse(self, native: str, unified: str) -> None:
        assert unified_symbol(native) == MexcSpotCodec().symbols.by_native[native] == unified
        assert native_symbol(unified) == native

    @pytest.mark.parametrize("native", ["", "USDT", "BTC", "BTC_USDT", "BTC/USDT", "B TCUSDT", "B\0USDT", "A" * 61 + "USDT", "btcusdt"])
    def test_other_texts_are_no_markets(self, native: str) -> None:
        with pytest.raises(DecodeError, match="is not a market quoted in one of USDT, "):
            unified_symbol(native)

    def test_a_list_decides_where_the_name_alone_would_not(self) -> None:
        codec = CODEC.fresh()
        codec.symbols.load(codec.decode_instruments(frames.exchange_info(info(symbol="AUSDEUR", baseAsset="AUSD", quoteAsset="EUR"))))
        (update,) = codec.decode(frames.depth(1, 1, native="AUSDEUR"))
        assert isinstance(update, BookUpdate) and update.symbol == "AUSD/EUR"
        with pytest.raises(DecodeError, match="is not in the instrument list") as caught:
            codec.decode(frames.depth(1, 1))
        assert caught.value.channel == DEPTH

    def test_a_name_of_letters_of_any_script_is_decoded(self) -> None:
        (trade,) = CODEC.decode(frames.trades(native="币安人生USDT"))
        assert isinstance(trade, Trade) and trade.symbol == "币安人生/USDT"

    def test_a_channel_is_told_from_its_stream(self) -> None:
        assert [channel_of(stream) for _, _, stream in CHANNELS.values()] == list(CHANNELS)


def info(**changes: Any) -> dict[str, Any]:
    example: dict[str, Any] = written_down(channels.SymbolInfo, **changes)
    return example


class TestInstruments:
    def test_the_example(self) -> None:
        (instrument,) = CODEC.decode_instruments(frames.exchange_info(info()))
        assert instrument == Instrument(
            VENUE,
            SYMBOL,
            NATIVE,
            "BTC",
            "USDT",
            None,
            InstrumentStatus.TRADING,
            tick_size=Decimal("0.01"),
            lot_size=Decimal("1e-8"),
            min_amount=Decimal("0.000001"),
            min_notional=Decimal(1),
        )

    @pytest.mark.parametrize("status", ["1", 1, "ENABLED"])
    def test_what_is_traded(self, status: str | int) -> None:
        (instrument,) = CODEC.decode_instruments(frames.exchange_info(info(status=status)))
        assert instrument.status is InstrumentStatus.TRADING

    @pytest.mark.parametrize("status", ["2", "3", 2, "DISABLED", ""])
    def test_what_is_not(self, status: str | int) -> None:
        (instrument,) = CODEC.decode_instruments(frames.exchange_info(info(status=status)))
        assert instrument.status is InstrumentStatus.HALTED

    def test_a_least_amount_of_0_is_none(self) -> None:
        (instrument,) = CODEC.decode_instruments(frames.exchange_info(info(baseSizePrecision="0", quoteAmountPrecision=None)))
        assert (instrument.min_amount, instrument.min_notional) == (None, None)

    @pytest.mark.parametrize("text", ["-1", "NaN", "Infinity", "sNaN"])
    @pytest.mark.parametrize("name", ["baseSizePrecision", "quoteAmountPrecision"])
    def test_a_least_amount_that_is_none_is_refused(self, name: str, text: str) -> None:
        with pytest.raises(DecodeError):
            CODEC.decode_instruments(frames.exchange_info(info(**{name: text})))

    @pytest.mark.parametrize(
        "raw",
        [
            b"",
            b"{}",
            b"[]",
            b'{"code":429,"msg":"too many requests"}',
            frames.exchange_info({"symbol": "X"}),
            frames.exchange_info(info(quotePrecision=10**30)),
            frames.exchange_info(info())[:-1],
            b'{"symbols":' + b"[" * 200_000,
        ],
    )
    def test_an_answer_that_is_no_list_is_refused(self, raw: bytes) -> None:
        with pytest.raises(DecodeError, match="not a list of symbols"):
            CODEC.decode_instruments(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"{}",
        frames.rest_book(7)[:-1],
        frames.rest_book(None),
        frames.rest_book(-1),
        frames.rest_book(7, [(0, 1)]),
        frames.rest_book(7, [("nan", 1)]),
        frames.rest_book(7).replace(str(SENT_MS).encode(), str(SENT_MS * 1000).encode()),
        b'{"code":-1121,"msg":"Invalid symbol."}',
        b"[" * 200_000,
    ],
)
def test_a_rest_answer_that_holds_no_book_is_refused(raw: bytes) -> None:
    with pytest.raises(DecodeError) as caught:
        CODEC.decode_snapshot(SYMBOL, raw)
    assert (caught.value.channel, caught.value.symbol) == (DEPTH, SYMBOL)


class TestRequests:
    @pytest.mark.parametrize(("action", "method"), [("subscribe", "SUBSCRIPTION"), ("unsubscribe", "UNSUBSCRIPTION")])
    @pytest.mark.parametrize(
        ("channel", "params"),
        [
            (DEALS, [f"{DEALS}@100ms@BTCUSDT", f"{DEALS}@100ms@ETHUSDT"]),
            (f"{DEALS}:10ms", [f"{DEALS}@10ms@BTCUSDT", f"{DEALS}@10ms@ETHUSDT"]),
            (DEPTH, [f"{DEPTH}@100ms@BTCUSDT", f"{DEPTH}@100ms@ETHUSDT"]),
            (f"{DEPTH}:10ms", [f"{DEPTH}@10ms@BTCUSDT", f"{DEPTH}@10ms@ETHUSDT"]),
            (BOOK_TICKER, [f"{BOOK_TICKER}@100ms@BTCUSDT", f"{BOOK_TICKER}@100ms@ETHUSDT"]),
            (BOOK_TICKER_BATCH, [f"{BOOK_TICKER_BATCH}@BTCUSDT", f"{BOOK_TICKER_BATCH}@ETHUSDT"]),
            (LIMIT_DEPTH, [f"{LIMIT_DEPTH}@BTCUSDT@20", f"{LIMIT_DEPTH}@ETHUSDT@20"]),
            (f"{LIMIT_DEPTH}:5", [f"{LIMIT_DEPTH}@BTCUSDT@5", f"{LIMIT_DEPTH}@ETHUSDT@5"]),
            (KLINE, [f"{KLINE}@BTCUSDT@Min1", f"{KLINE}@ETHUSDT@Min1"]),
            (f"{KLINE}:Hour4", [f"{KLINE}@BTCUSDT@Hour4", f"{KLINE}@ETHUSDT@Hour4"]),
            (MINI_TICKER, [f"{MINI_TICKER}@BTCUSDT@24H", f"{MINI_TICKER}@ETHUSDT@24H"]),
            (f"{MINI_TICKER}:UTC+4:30", [f"{MINI_TICKER}@BTCUSDT@UTC+4:30", f"{MINI_TICKER}@ETHUSDT@UTC+4:30"]),
            (MINI_TICKERS, [f"{MINI_TICKERS}@24H"]),
            (f"{MINI_TICKERS}:UTC+8", [f"{MINI_TICKERS}@UTC+8"]),
        ],
    )
    def test_every_channel_is_asked_for_as_it_wants(self, action: str, method: str, channel: str, params: list[str]) -> None:
        (request,) = CODEC.subscription_requests(action, channel, ["BTC/USDT", "ETH/USDT"], 1_700_000_000)
        assert request.message == {"method": method, "params": params}
        assert (request.action, request.channel, request.symbols) == (action, channel, ("BTC/USDT", "ETH/USDT"))
        assert (request.payload, request.request_id) == (tuple(params), None)

    def test_a_request_holds_no_more_streams_than_a_connection_takes(self) -> None:
        symbols = [f"COIN{number}/USDT" for number in range(65)]
        requests = CODEC.subscription_requests("subscribe", DEPTH, symbols, 0, count(7).__next__)
        assert [len(request.symbols) for request in requests] == [30, 30, 5]
        assert [symbol for request in requests for symbol in request.symbols] == symbols
        assert [(request.request_id, request.message["id"]) for request in requests] == [(7, 7), (8, 8), (9, 9)]
        assert all(len(request.payload) == len(request.symbols) for request in requests)

    def test_mini_tickers_of_any_number_of_markets_are_one_stream(self) -> None:
        (request,) = CODEC.subscription_requests("subscribe", MINI_TICKERS, [f"COIN{number}/USDT" for number in range(65)], 0)
        assert (len(request.symbols), len(request.payload)) == (65, 1)

    def test_an_agreement_repeats_the_payload_of_its_request(self) -> None:
        (request,) = CODEC.subscription_requests("subscribe", DEALS, ["BTC/USDT", "ETH/USDT"], 0, count(1).__next__)
        answer = decoded(frames.answer(",".join(request.payload), request_id=1))
        assert isinstance(answer, Acknowledgement)
        assert (answer.payload, answer.request_id) == (request.payload, request.request_id)

    def test_every_option_of_the_venue_can_be_asked_for(self) -> None:
        for channel, options in MEXC_SPOT.options.items():
            for option in options:
                name = MEXC_SPOT.channel_named(f"{channel}:{option}")
                (request,) = CODEC.subscription_requests("subscribe", name, [SYMBOL], 0)
                assert option in request.payload[0].split("@")

    def test_the_first_channel_of_each_kind_is_what_its_name_stands_for(self) -> None:
        kinds = ("trade", "book_ticker", "ticker", "candle", "orderbook")
        assert [MEXC_SPOT.channel_named(kind) for kind in kinds] == [DEALS, BOOK_TICKER, MINI_TICKER, KLINE, DEPTH]

    def test_an_unknown_channel_is_refused_with_those_that_are_known(self) -> None:
        with pytest.raises(SettingsError, match=r"unknown channel 'spot@nope'; known: .*aggre\.deals"):
            CODEC.subscription_requests("subscribe", "spot@nope", [SYMBOL], 0)
