import json
import re
from itertools import count
from typing import Any

import pytest
from msgspec import Struct

from infrastructure.errors import DecodeError, SettingsError
from infrastructure.events import BookTicker, Candle, Side, Ticker, Trade
from infrastructure.exchanges.gateio import market, spot
from infrastructure.exchanges.gateio.envelope import Refusal, milliseconds_to_ns, native_pair, unified_pair
from infrastructure.exchanges.gateio.spot import GATEIO_SPOT, GateioSpotCodec
from infrastructure.venue import Acknowledgement, BookUpdate, Message, Notice, Pong, Unknown
from tests.harness.frames import PAIR, PONG, SYMBOL, push, rest_book

CODEC = GateioSpotCodec()
VENUE = "gateio_spot"
SENT_MS = 1_700_000_000_123
SENT_NS = 1_700_000_000_123_000_000


def decoded(channel: str, result: Any, **envelope: Any) -> Message:
    messages = CODEC.decode(push(channel, result, **envelope))
    assert len(messages) == 1
    return messages[0]


def control(**frame: Any) -> Message:
    (message,) = CODEC.decode(json.dumps(frame).encode())
    return message


def refusal_of(channel: str, result: Any) -> DecodeError:
    with pytest.raises(DecodeError) as caught:
        decoded(channel, result)
    return caught.value


class TestExamples:
    def test_trade(self) -> None:
        expected = Trade(VENUE, "GT/USDT", "309143071", Side.SELL, 0.4705, 16.47, 1_606_292_218_213_457_800)
        assert decoded("spot.trades", example(spot.TradeResult)) == expected

    def test_book_ticker(self) -> None:
        expected = BookTicker(VENUE, SYMBOL, 48733182, 19177.79, 0.0003341504, 19179.38, 0.09, 1_606_293_275_123_000_000)
        assert decoded("spot.book_ticker", example(market.TwoSidedResult)) == expected

    def test_book_ticker_with_an_empty_side(self) -> None:
        expected = BookTicker(VENUE, SYMBOL, 48733182, None, None, 19179.38, 0.09, 1_606_293_275_123_000_000)
        assert decoded("spot.book_ticker", example(market.OneSidedResult)) == expected

    def test_ticker(self) -> None:
        expected = Ticker(
            VENUE, SYMBOL, 15743.4, 15743.5, 15744.4, 16280.9, 15468.5, 9110.473081735, 145082083.2535, -1.8254, exchange_ns=SENT_NS
        )
        assert decoded("spot.tickers", example(spot.TickerResult)) == expected

    def test_ticker_with_nothing_but_the_last_price(self) -> None:
        expected = Ticker(VENUE, SYMBOL, 15743.4, None, None, None, None, None, None, None, exchange_ns=SENT_NS)
        assert decoded("spot.tickers", {"currency_pair": PAIR, "last": "15743.4"}) == expected

    def test_candle(self) -> None:
        prices = (19128.1, 19128.1, 19128.1, 19128.1)
        expected = Candle(VENUE, SYMBOL, "1m", 1_606_292_580_000_000_000, *prices, 3.8283, 2362.32035, True, SENT_NS)
        assert decoded("spot.candlesticks", example(market.CandleResult)) == expected

    def test_candle_of_2021_has_no_base_volume_and_does_not_say_whether_it_is_closed(self) -> None:
        candle = decoded("spot.candlesticks", example(market.CandleResult, a=None, w=None))
        assert isinstance(candle, Candle)
        assert (candle.base_volume, candle.quote_volume, candle.is_closed) == (None, 2362.32035, None)

    @pytest.mark.parametrize("full", [True, None])
    def test_order_book_update(self, full: bool | None) -> None:
        expected = BookUpdate(
            "spot.order_book_update",
            SYMBOL,
            48776301,
            48776306,
            [(19137.74, 0.0001), (19088.37, 0.0)],
            [(19137.75, 0.6135)],
            bool(full),
            1_606_294_781_123_000_000,
        )
        assert decoded("spot.order_book_update", example(spot.BookUpdateResult, full=full)) == expected

    def test_obu_increment(self) -> None:
        levels = ([(104024.5, 10343.0)], [(104027.2, 0.0)])
        expected = BookUpdate("spot.obu", SYMBOL, 73777715169, 73777715212, *levels, False, 1_747_054_612_695_000_000)
        assert decoded("spot.obu", example(market.ObuResult), event=None) == expected

    def test_obu_whole_book_has_one_id(self) -> None:
        update = decoded("spot.obu", example(market.ObuResult, U=None, full=True), event=None)
        assert isinstance(update, BookUpdate)
        assert (update.is_full, update.first_id, update.last_id) == (True, 73777715212, 73777715212)

    def test_obu_increment_without_levels(self) -> None:
        update = decoded("spot.obu", example(market.ObuResult, b=None, a=None))
        assert isinstance(update, BookUpdate)
        assert (update.first_id, update.last_id, update.bids, update.asks) == (73777715169, 73777715212, [], [])

    def test_order_book(self) -> None:
        levels = ([(19079.55, 0.0195)], [(19080.24, 0.1638)])
        expected = BookUpdate("spot.order_book", SYMBOL, 48791820, 48791820, *levels, True, 1_606_295_412_123_000_000)
        assert decoded("spot.order_book", example(spot.OrderBookResult)) == expected

    def test_rest_book(self) -> None:
        levels = ([(0.00010322, 5360.2)], [(0.00010396, 5876.967)])
        expected = BookUpdate("spot.order_book_update", SYMBOL, 2691446, 2691446, *levels, True, 1_619_093_532_978_000_000)
        assert CODEC.decode_snapshot(SYMBOL, json.dumps(example(spot.RestBook))) == expected

    def test_ping_request(self) -> None:
        assert f"``{json.dumps(CODEC.ping_request(1545404023), separators=(',', ':'))}``" in (GateioSpotCodec.ping_request.__doc__ or "")


class TestControl:
    def test_acknowledgement_echoes_what_was_asked(self) -> None:
        answer = {"time": 1, "id": 7, "channel": "spot.trades", "event": "subscribe", "payload": [PAIR], "result": {"status": "success"}}
        assert control(**answer, error=None) == Acknowledgement("spot.trades", "subscribe", (PAIR,), 7)

    def test_acknowledgement_of_2021_has_nothing_but_channel_event_and_result(self) -> None:
        answer = control(time=1, channel="spot.trades", event="unsubscribe", result={"status": "success"})
        assert answer == Acknowledgement("spot.trades", "unsubscribe")

    def test_refusal_keeps_the_venues_words(self) -> None:
        found = re.search(r'``"error":(\{.*\})``', Refusal.__doc__ or "")
        assert found is not None
        answer = control(channel="spot.trades", event="subscribe", error=json.loads(found[1]), result={"status": "fail"})
        assert isinstance(answer, Acknowledgement)
        assert (answer.error_code, answer.error) == ("2", "unknown currency pair: NOPE_USDT")

    def test_refusal_without_words_is_still_a_refusal(self) -> None:
        answer = control(channel="spot.trades", event="subscribe", error={})
        assert isinstance(answer, Acknowledgement)
        assert (answer.error_code, answer.error) == (None, "refused without a reason")

    @pytest.mark.parametrize("channel", ["spot.orders", "futures.trades"])
    def test_answers_on_channels_of_others_are_acknowledgements_too(self, channel: str) -> None:
        assert control(channel=channel, event="subscribe") == Acknowledgement(channel, "subscribe")

    def test_pong(self) -> None:
        assert CODEC.decode(PONG) == (Pong(1_700_000_000_000_000_000),)

    def test_system_notice(self) -> None:
        assert CODEC.decode(push("spot.system", {"type": "upgrade"})) == (Notice("spot.system", '{"type": "upgrade"}'),)

    @pytest.mark.parametrize(
        ("frame", "expected"),
        [
            ({}, Unknown("", "")),
            ({"channel": "spot.orders", "event": "update", "result": []}, Unknown("spot.orders", "update")),
            ({"channel": "futures.trades", "event": "update", "result": []}, Unknown("futures.trades", "update")),
            ({"channel": "spot.trades", "event": "api"}, Unknown("spot.trades", "api")),
            ({"header": {"status": "200"}, "data": {}}, Unknown("", "")),
        ],
    )
    def test_frames_of_no_use_are_unknown(self, frame: dict[str, Any], expected: Unknown) -> None:
        assert control(**frame) == expected


class TestTimes:
    def test_the_envelopes_milliseconds_are_preferred_to_its_seconds(self) -> None:
        frame = {"channel": "spot.tickers", "event": "update", "result": example(spot.TickerResult)}
        times = [control(**frame, **sent) for sent in ({"time": 5, "time_ms": 6_007}, {"time": 5}, {"time": 5, "time_ms": 0}, {})]
        assert [message.exchange_ns for message in times if isinstance(message, Ticker)] == [
            6_007_000_000,
            5_000_000_000,
            5_000_000_000,
            None,
        ]

    @pytest.mark.parametrize(
        ("text", "ns"),
        [
            ("1606292218213.4578", 1_606_292_218_213_457_800),
            ("1606292218213", 1_606_292_218_213_000_000),
            ("1606292218213.", 1_606_292_218_213_000_000),
            ("1606292218213.000001", 1_606_292_218_213_000_001),
            ("1606292218213.0000019", 1_606_292_218_213_000_001),
            ("0", 0),
        ],
    )
    def test_milliseconds_are_exact(self, text: str, ns: int) -> None:
        assert milliseconds_to_ns(text) == ns

    @pytest.mark.parametrize("text", ["", ".5", "-1", "+1", " 1", "1 ", "1e3", "1_0", "nan", "1.-5", "1.5.5", "１２", "1.５", "9" * 16])
    def test_other_texts_are_no_times(self, text: str) -> None:
        with pytest.raises(DecodeError, match="is not a time in milliseconds"):
            milliseconds_to_ns(text)


class TestSymbols:
    @pytest.mark.parametrize(("native", "unified"), [(PAIR, SYMBOL), ("BTC3L_USDT", "BTC3L/USDT"), ("1INCH_ETH", "1INCH/ETH")])
    def test_native_and_unified_names_are_each_others_inverse(self, native: str, unified: str) -> None:
        assert unified_pair(native) == CODEC.symbols.by_native[native] == unified
        assert native_pair(unified) == native

    @pytest.mark.parametrize(
        "native", ["", "_", "BTC", "BTCUSDT", "_USDT", "BTC_", "A_B_C", "BTC/USDT", "BTC USDT", "B\0C_USDT", "A" * 60 + "_USDT"]
    )
    def test_other_texts_are_no_pairs(self, native: str) -> None:
        with pytest.raises(DecodeError, match="is not a currency pair"):
            unified_pair(native)


#: By channel: an example and, for each number in it, how to put another in its place.
NUMBERS = [
    ("spot.trades", spot.TradeResult, ("price", "amount"), ("0", "-1")),
    ("spot.book_ticker", market.TwoSidedResult, ("b", "B", "a", "A"), ("-1",)),
    (
        "spot.tickers",
        spot.TickerResult,
        ("last", "lowest_ask", "highest_bid", "base_volume", "quote_volume", "high_24h", "low_24h"),
        ("-1",),
    ),
    ("spot.tickers", spot.TickerResult, ("change_percentage",), ()),
    ("spot.candlesticks", market.CandleResult, ("o", "h", "l", "c"), ("0", "-1")),
    ("spot.candlesticks", market.CandleResult, ("v", "a"), ("-1",)),
]
NO_NUMBERS = (
    "nan",
    "NaN",
    "inf",
    "-inf",
    "Infinity",
    "1e400",
    "-1e400",
    "1_0",
    " 1",
    "1 ",
    "1\n",
    "+1",
    "01",
    "1.",
    ".5",
    "0x10",
    "１",
    "1,5",
    "9" * 5000,
)


@pytest.mark.parametrize(
    ("channel", "struct", "field", "text"),
    [(channel, struct, field, text) for channel, struct, fields, texts in NUMBERS for field in fields for text in (*NO_NUMBERS, *texts)],
    ids=lambda value: value[:12] if isinstance(value, str) else value.__name__,
)
def test_a_number_out_of_range_is_refused_in_every_field(channel: str, struct: type[Struct], field: str, text: str) -> None:
    assert refusal_of(channel, example(struct, **{field: text})).channel == channel


@pytest.mark.parametrize(
    "level", [*([text, "1"] for text in (*NO_NUMBERS, "0", "-1")), *(["1", text] for text in (*NO_NUMBERS, "-1")), ["1"], []]
)
@pytest.mark.parametrize(
    ("channel", "struct", "side"),
    [
        ("spot.order_book_update", spot.BookUpdateResult, "b"),
        ("spot.obu", market.ObuResult, "a"),
        ("spot.order_book", spot.OrderBookResult, "bids"),
    ],
)
def test_a_level_out_of_range_is_refused_in_every_book(channel: str, struct: type[Struct], side: str, level: list[str]) -> None:
    assert refusal_of(channel, example(struct, **{side: [["1", "1"], level]})).channel == channel


@pytest.mark.parametrize("level", [["0", "1"], ["-1", "1"], ["1", "-1"], ["nan", "1"], ["1", "inf"]])
def test_a_bad_level_names_the_book_that_misses_it(level: list[str]) -> None:
    error = refusal_of("spot.order_book_update", example(spot.BookUpdateResult, a=[level]))
    assert (error.channel, error.symbol) == ("spot.order_book_update", SYMBOL)


@pytest.mark.parametrize(
    ("channel", "result"),
    [
        ("spot.order_book_update", example(spot.BookUpdateResult, U=48776307)),
        ("spot.obu", example(market.ObuResult, U=73777715213)),
        ("spot.obu", example(market.ObuResult, U=None)),
        ("spot.obu", example(market.ObuResult, s="BTC_USDT.50")),
    ],
    ids=["ids run backwards", "ids run backwards in obu", "increment without a first id", "stream name without its prefix"],
)
def test_an_update_without_a_place_in_the_sequence_is_refused(channel: str, result: Any) -> None:
    assert refusal_of(channel, result).channel == channel


@pytest.mark.parametrize(
    "raw", [b"", b"[]", b"{}", rest_book(7)[:-1], rest_book(7) + b"}", rest_book(7, [(0, 1)]), b"[" * 200_000, b'{"label":"X"}']
)
def test_a_rest_answer_that_holds_no_book_is_refused(raw: bytes) -> None:
    with pytest.raises(DecodeError) as caught:
        CODEC.decode_snapshot(SYMBOL, raw)
    assert (caught.value.channel, caught.value.symbol) == ("spot.order_book_update", SYMBOL)


class TestRequests:
    @pytest.mark.parametrize("action", ["subscribe", "unsubscribe"])
    @pytest.mark.parametrize(
        ("channel", "payloads"),
        [
            ("spot.trades", [["BTC_USDT", "ETH_USDT"]]),
            ("spot.book_ticker", [["BTC_USDT", "ETH_USDT"]]),
            ("spot.tickers", [["BTC_USDT", "ETH_USDT"]]),
            ("spot.candlesticks", [["1m", "BTC_USDT"], ["1m", "ETH_USDT"]]),
            ("spot.candlesticks:5m", [["5m", "BTC_USDT"], ["5m", "ETH_USDT"]]),
            ("spot.order_book", [["BTC_USDT", "20", "100ms"], ["ETH_USDT", "20", "100ms"]]),
            ("spot.order_book:5", [["BTC_USDT", "5", "100ms"], ["ETH_USDT", "5", "100ms"]]),
            ("spot.order_book_update", [["BTC_USDT", "100ms"], ["ETH_USDT", "100ms"]]),
            ("spot.order_book_update:20ms", [["BTC_USDT", "20ms"], ["ETH_USDT", "20ms"]]),
            ("spot.obu", [["ob.BTC_USDT.50"], ["ob.ETH_USDT.50"]]),
            ("spot.obu:400", [["ob.BTC_USDT.400"], ["ob.ETH_USDT.400"]]),
        ],
    )
    def test_every_channel_is_asked_for_as_it_wants(self, action: str, channel: str, payloads: list[list[str]]) -> None:
        requests = CODEC.subscription_requests(action, channel, ["BTC/USDT", "ETH/USDT"], 1_700_000_000)
        name = channel.partition(":")[0]
        messages = [{"time": 1_700_000_000, "channel": name, "event": action, "payload": payload} for payload in payloads]
        assert [request.message for request in requests] == messages
        assert [symbol for request in requests for symbol in request.symbols] == ["BTC/USDT", "ETH/USDT"]
        assert {(request.action, request.channel, request.request_id) for request in requests} == {(action, channel, None)}

    def test_requests_are_numbered_where_numbers_are_given(self) -> None:
        requests = CODEC.subscription_requests("subscribe", "spot.obu", ["BTC/USDT", "ETH/USDT"], 0, count(7).__next__)
        assert [(request.request_id, request.message["id"]) for request in requests] == [(7, 7), (8, 8)]

    def test_every_channel_of_the_venue_can_be_asked_for(self) -> None:
        assert all(CODEC.subscription_requests("subscribe", channel, [SYMBOL], 0) for channel in GATEIO_SPOT.channels)

    def test_an_unknown_channel_is_refused_with_those_that_are_known(self) -> None:
        with pytest.raises(SettingsError, match=r"unknown channel 'spot\.nope'; known: .*spot\.trades"):
            CODEC.subscription_requests("subscribe", "spot.nope", [SYMBOL], 0)
