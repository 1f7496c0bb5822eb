"""What the codecs of both Gate.io markets do alike: answers, times, names, and the refusal of what is no number."""

import json
import re
from itertools import count
from types import ModuleType
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from infrastructure.errors import DecodeError, SettingsError, UnknownSymbol
from infrastructure.events import BookTicker, Liquidation, Side, Ticker, Trade
from infrastructure.exchanges import VENUES
from infrastructure.exchanges.gateio import futures, market, spot
from infrastructure.exchanges.gateio.envelope import Refusal, milliseconds_to_ns, seconds_to_ns
from infrastructure.venue import Acknowledgement, BookUpdate, Codec, Message, Notice, Pong, Unknown, Venue
from tests.harness import frames as spot_frames
from tests.harness import futures_frames
from tests.harness.effort import effort
from tests.harness.examples import example
from tests.harness.frames import push


class Market(NamedTuple):
    """One market, its frames, and the prefix of its channels."""

    name: str
    frames: ModuleType

    def __str__(self) -> str:
        return self.name

    @property
    def venue(self) -> Venue:
        return VENUES[self.name]

    @property
    def codec(self) -> Codec:
        return self.venue.codec

    @property
    def prefix(self) -> str:
        return str(next(iter(self.venue.channels)).partition(".")[0] + ".")

    @property
    def symbol(self) -> str:
        return str(self.frames.SYMBOL)

    def decode(self, **frame: Any) -> Message:
        (message,) = self.codec.decode(json.dumps(frame).encode())
        return message


MARKETS = [Market("gateio_spot", spot_frames), Market("gateio_futures", futures_frames)]
PAIR = "BTC_USDT"
SENT_NS = 1_700_000_000_123_000_000


@pytest.fixture(params=MARKETS, ids=str)
def gate(request: pytest.FixtureRequest) -> Market:
    chosen: Market = request.param
    return chosen


def codec_of(channel: str) -> Codec:
    return VENUES["gateio_" + channel.partition(".")[0]].codec


def refusal_of(channel: str, result: Any, **envelope: Any) -> DecodeError:
    with pytest.raises(DecodeError) as caught:
        codec_of(channel).decode(push(channel, result, **envelope))
    return caught.value


class TestControl:
    def test_acknowledgement_echoes_what_was_asked(self, gate: Market) -> None:
        channel = gate.prefix + "trades"
        answer = {"time": 1, "id": 7, "channel": channel, "event": "subscribe", "payload": [PAIR], "result": {"status": "success"}}
        assert gate.decode(**answer, error=None) == Acknowledgement(channel, "subscribe", (PAIR,), 7)

    def test_acknowledgement_of_2021_has_nothing_but_channel_event_and_result(self, gate: Market) -> None:
        answer = gate.decode(time=1, channel=gate.prefix + "trades", event="unsubscribe", result={"status": "success"})
        assert answer == Acknowledgement(gate.prefix + "trades", "unsubscribe")

    def test_refusal_keeps_the_venues_words(self, gate: Market) -> None:
        found = re.search(r'``"error":(\{.*\})``', Refusal.__doc__ or "")
        assert found is not None
        answer = gate.decode(channel=gate.prefix + "trades", event="subscribe", error=json.loads(found[1]), result={"status": "fail"})
        assert isinstance(answer, Acknowledgement)
        assert (answer.error_code, answer.error) == ("2", "unknown currency pair: NOPE_USDT")

    def test_refusal_without_words_is_still_a_refusal(self, gate: Market) -> None:
        answer = gate.decode(channel=gate.prefix + "trades", event="subscribe", error={})
        assert isinstance(answer, Acknowledgement)
        assert (answer.error_code, answer.error) == (None, "refused without a reason")

    @pytest.mark.parametrize("channel", ["spot.orders", "spot.trades", "futures.trades", "futures.orders"])
    def test_answers_on_channels_of_others_are_acknowledgements_too(self, gate: Market, channel: str) -> None:
        assert gate.decode(channel=channel, event="subscribe") == Acknowledgement(channel, "subscribe")

    def test_pong(self, gate: Market) -> None:
        sent = json.loads(gate.frames.PONG)
        ns = sent["time_ms"] * 10**6 if "time_ms" in sent else sent["time"] * 10**9
        assert gate.codec.decode(gate.frames.PONG) == (Pong(ns),)

    def test_system_notice(self, gate: Market) -> None:
        channel = gate.prefix + "system"
        assert gate.codec.decode(push(channel, {"type": "upgrade"})) == (Notice(channel, '{"type": "upgrade"}'),)

    @pytest.mark.parametrize("channel", ["", "spot.orders", "futures.orders", "futures.adl_warning", "futures.contract_info", "x"])
    @pytest.mark.parametrize("result", [[], {}, None, [{"contract": PAIR}]])
    @pytest.mark.parametrize("event", ["update", "all", "api", "", None])
    def test_pushes_of_no_use_are_unknown(self, gate: Market, channel: str, result: Any, event: str | None) -> None:
        assert gate.decode(channel=channel, event=event, result=result) == Unknown(channel, event or "")

    def test_what_the_other_market_pushes_is_unknown(self, gate: Market) -> None:
        (other,) = (other for other in MARKETS if other is not gate)
        for raw in (other.frames.trade(1), other.frames.update(5, 6), other.frames.ticker()):
            assert [type(message) for message in gate.codec.decode(raw)] == [Unknown]

    @pytest.mark.parametrize("frame", [{"header": {"status": "200"}, "data": {}}, {}])
    def test_answers_of_the_order_interface_are_unknown(self, gate: Market, frame: dict[str, Any]) -> None:
        assert gate.decode(**frame) == Unknown("", "")
        assert gate.decode(channel=gate.prefix + "trades", event="api") == Unknown(gate.prefix + "trades", "api")

    def test_the_ping_is_the_markets_own(self, gate: Market) -> None:
        assert gate.codec.ping_request(1545404023) == {"time": 1545404023, "channel": gate.prefix + "ping"}


class TestTimes:
    def test_the_envelopes_milliseconds_are_preferred_to_its_seconds(self, gate: Market) -> None:
        frame = json.loads(gate.frames.ticker())
        del frame["time"], frame["time_ms"]
        times = [gate.decode(**frame, **sent) for sent in ({"time": 5, "time_ms": 6_007}, {"time": 5}, {"time": 5, "time_ms": 0}, {})]
        assert [message.exchange_ns for message in times if isinstance(message, Ticker)] == [
            6_007_000_000,
            5_000_000_000,
            5_000_000_000,
            None,
        ]

    #: A time in milliseconds; the same in seconds; nanoseconds.
    TABLE = [
        ("1606292218213.4578", "1606292218.2134578", 1_606_292_218_213_457_800),
        ("1606292218213", "1606292218.213", 1_606_292_218_213_000_000),
        ("1606292218000.", "1606292218.", 1_606_292_218_000_000_000),
        ("1606292218213.000001", "1606292218.213000001", 1_606_292_218_213_000_001),
        ("1606292218213.0000019", "1606292218.2130000019", 1_606_292_218_213_000_001),
        ("1623898993121.0", "1623898993.1210", 1_623_898_993_121_000_000),
        ("0", "0", 0),
    ]

    @pytest.mark.parametrize(("milliseconds", "seconds", "ns"), TABLE)
    def test_either_unit_is_exact(self, milliseconds: str, seconds: str, ns: int) -> None:
        assert milliseconds_to_ns(milliseconds) == seconds_to_ns(seconds) == ns

    @given(ns=st.integers(0, 10**21 - 1), places=st.integers(0, 12))
    @effort(300)
    def test_any_time_is_exact_in_either_unit(self, ns: int, places: int) -> None:
        for read, unit in ((milliseconds_to_ns, 6), (seconds_to_ns, 9)):
            whole, rest = divmod(ns, 10**unit)
            text = f"{whole}.{rest:0{unit}d}" + "7" * places
            assert read(text) == ns
            assert read(str(whole)) == whole * 10**unit

    @given(ns=st.integers(1, 10**19))
    @effort(100)
    def test_a_rest_book_and_an_old_trade_of_futures_keep_the_nanosecond(self, ns: int) -> None:
        codec = VENUES["gateio_futures"].codec
        seconds = f"{ns // 10**9}.{ns % 10**9:09d}"
        raw = futures_frames.rest_book(7).replace(b"1700000000.1,", seconds.encode() + b",")
        assert seconds.encode() in raw and codec.decode_snapshot(futures_frames.SYMBOL, raw).exchange_ns == ns
        old = futures_frames.trade(1).replace(
            b'"create_time": 1700000000, "create_time_ms": 1700000000123', f'"create_time": {seconds}'.encode()
        )
        (trade,) = codec.decode(old)
        assert isinstance(trade, Trade) and trade.exchange_ns == ns

    @given(ms=st.integers(1, 10**15 - 1))
    @effort(100)
    def test_every_whole_number_of_milliseconds_is_exact(self, ms: int) -> None:
        texts = {
            "spot.trades": spot_frames.trade(1).replace(b"1700000000123.4567", str(ms).encode()),
            "spot.book_ticker": spot_frames.book_ticker(1).replace(b"1700000000100", str(ms).encode()),
            "futures.book_ticker": futures_frames.book_ticker(1).replace(b"1700000000100", str(ms).encode()),
            "futures.trades": futures_frames.trade(1).replace(b'"create_time_ms": 1700000000123', f'"create_time_ms": {ms}'.encode()),
            "futures.public_liquidates": futures_frames.liquidation().replace(b"1700000000100", str(ms).encode()),
            "futures.order_book_update": futures_frames.update(1, 1).replace(b"1700000000100", str(ms).encode()),
        }
        for channel, raw in texts.items():
            (message,) = codec_of(channel).decode(raw)
            assert isinstance(message, Trade | BookTicker | Liquidation | BookUpdate) and message.exchange_ns == ms * 10**6, channel

    @pytest.mark.parametrize("text", ["", ".5", "-1", "+1", " 1", "1 ", "1e3", "1_0", "nan", "1.-5", "1.5.5", "１２", "1.５", "9" * 16])
    def test_other_texts_are_no_times(self, text: str) -> None:
        with pytest.raises(DecodeError, match="is not a time in milliseconds"):
            milliseconds_to_ns(text)
        with pytest.raises(DecodeError, match="is not a time in seconds"):
            seconds_to_ns(text)


class TestNames:
    def of(self, codec: Codec, gate: Market) -> str:
        (message,) = codec.decode(gate.frames.trade(1))
        assert isinstance(message, Trade)
        return message.symbol

    def loaded(self, gate: Market, *natives: str) -> Codec:
        """A codec whose list calls these names otherwise than their notation does."""
        codec = gate.codec.fresh()
        entries = [
            {"id": name, "base": "X" + name[:3], "quote": "Y", "trade_status": "tradable", "precision": 1, "amount_precision": 1}
            if gate.name == "gateio_spot"
            else futures_frames.contract(name)
            for name in natives
        ]
        codec.symbols.load(codec.decode_instruments(json.dumps(entries)))
        return codec

    def test_without_a_list_names_are_read_by_their_notation(self, gate: Market) -> None:
        assert self.of(gate.codec.fresh(), gate) == gate.symbol

    def test_with_a_list_it_alone_counts(self) -> None:
        gate = MARKETS[0]
        codec = self.loaded(gate, PAIR)
        assert self.of(codec, gate) == "XBTC/Y"
        assert codec.subscription_requests("subscribe", "spot.trades", ["XBTC/Y"], 0)[0].payload == (PAIR,)

    def test_a_name_that_the_list_does_not_have_is_refused_in_every_message(self, gate: Market) -> None:
        codec = self.loaded(gate, "ETH_USDT")
        frames = gate.frames
        raws = [frames.trade(1), frames.book_ticker(1), frames.book_ticker(1, bid=""), frames.ticker(), frames.candle()]
        raws += [frames.update(1, 1), frames.obu(1, 1), frames.whole_book(1, [], [])]
        if gate.name == "gateio_futures":
            raws += [frames.contract_stats(), frames.liquidation(), frames.changes(1, (1, 1))]
        for raw in raws:
            with pytest.raises(DecodeError, match="'BTC_USDT' is not in the instrument list of " + gate.name):
                codec.decode(raw)
        with pytest.raises(UnknownSymbol):
            codec.subscription_requests("subscribe", gate.prefix + "trades", [gate.symbol], 0)

    def test_a_list_is_of_one_feed_alone(self, gate: Market) -> None:
        self.loaded(gate, "ETH_USDT")
        assert self.of(gate.codec, gate) == gate.symbol
        assert type(gate.codec.fresh()) is type(gate.codec)


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
    ("futures.trades", futures.TradeResult, ("price",), ("0", "-1")),
    ("futures.trades", futures.TradeResult, ("size",), ("0",)),
    ("futures.book_ticker", market.TwoSidedResult, ("b", "B", "a", "A"), ("-1",)),
    (
        "futures.tickers",
        futures.TickerResult,
        ("last", "mark_price", "index_price", "high_24h", "low_24h", "volume_24h_base", "volume_24h_quote", "total_size"),
        ("-1",),
    ),
    ("futures.tickers", futures.TickerResult, ("change_percentage", "funding_rate"), ()),
    ("futures.contract_stats", futures.ContractStatsResult, ("mark_price", "open_interest"), ("-1",)),
    ("futures.candlesticks", market.CandleResult, ("o", "h", "l", "c"), ("0", "-1")),
    ("futures.candlesticks", market.CandleResult, ("v", "a"), ("-1",)),
    ("futures.public_liquidates", futures.LiquidationResult, ("price",), ("0", "-1")),
    ("futures.public_liquidates", futures.LiquidationResult, ("size",), ("0",)),
]
#: Channels whose pushes are lists.
LISTS = {"futures.trades", "futures.tickers", "futures.contract_stats", "futures.candlesticks", "futures.public_liquidates"}
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
    result = example(struct, **{field: text})
    assert refusal_of(channel, [result] if channel in LISTS else result).channel == channel


@pytest.mark.parametrize("value", [True, False, [], {}, [1], {"a": 1}])
@pytest.mark.parametrize(
    ("channel", "struct", "field"), [(channel, struct, field) for channel, struct, fields, _ in NUMBERS for field in fields]
)
def test_what_is_neither_a_number_nor_a_text_is_refused_in_every_field(channel: str, struct: type[Struct], field: str, value: Any) -> None:
    result = example(struct, **{field: value})
    assert refusal_of(channel, [result] if channel in LISTS else result).channel == channel


@pytest.mark.parametrize("channel", sorted(LISTS | {"futures.order_book"}))
@pytest.mark.parametrize("result", [[], None, "x", 5])
def test_a_push_without_data_is_refused(channel: str, result: Any) -> None:
    assert refusal_of(channel, result).channel == channel


@pytest.mark.parametrize(
    "level", [*([text, "1"] for text in (*NO_NUMBERS, "0", "-1")), *(["1", text] for text in (*NO_NUMBERS, "-1")), ["1"], []]
)
@pytest.mark.parametrize(
    ("channel", "struct", "side", "event"),
    [
        ("spot.order_book_update", spot.BookUpdateResult, "b", "update"),
        ("spot.obu", market.ObuResult, "a", None),
        ("spot.order_book", spot.OrderBookResult, "bids", "update"),
        ("futures.order_book_update", futures.BookUpdateResult, "b", "update"),
        ("futures.obu", market.ObuResult, "a", "update"),
        ("futures.order_book", futures.OrderBookResult, "bids", "all"),
    ],
)
def test_a_level_out_of_range_is_refused_in_every_book(
    channel: str, struct: type[Struct], side: str, event: str | None, level: list[str]
) -> None:
    levels: list[Any] = [["1", "1"], level]
    if channel.startswith("futures.order_book"):
        levels = [dict(zip("ps", pair, strict=False)) for pair in levels]
    assert refusal_of(channel, example(struct, **{side: levels}), event=event).channel == channel


@pytest.mark.parametrize("text", NO_NUMBERS)
@pytest.mark.parametrize("key", ["p", "s"])
def test_a_change_out_of_range_is_refused(key: str, text: str) -> None:
    assert refusal_of("futures.order_book", [example(futures.LevelChange), example(futures.LevelChange, **{key: text})]).symbol in (
        None,
        "HT/USDT:USDT",
    )


@pytest.mark.parametrize("level", [("0", "1"), ("-1", "1"), ("1", "-1"), ("nan", "1"), ("1", "inf")])
def test_a_bad_level_names_the_book_that_misses_it(gate: Market, level: tuple[str, str]) -> None:
    with pytest.raises(DecodeError) as caught:
        gate.codec.decode(gate.frames.update(5, 6, [], [level]))
    assert (caught.value.channel, caught.value.symbol) == (gate.prefix + "order_book_update", gate.symbol)


def test_a_bad_number_of_one_side_names_the_book_ticker_that_misses_it(gate: Market) -> None:
    with pytest.raises(DecodeError) as caught:
        gate.codec.decode(gate.frames.book_ticker(5, bid="", ask="-1"))
    assert (caught.value.channel, caught.value.symbol) == (gate.prefix + "book_ticker", gate.symbol)


def test_an_update_without_a_place_in_the_sequence_is_refused(gate: Market) -> None:
    frames = gate.frames
    for raw in (
        frames.update(7, 6),
        frames.obu(7, 6),
        frames.obu(None, 6),
        frames.obu(5, 6).replace(b"ob.BTC", b"BTC"),
        *([frames.changes(7, (1, 1), (2, 1)).replace(b'"id": 8', b'"id": 6')] if gate.name == "gateio_futures" else []),
    ):
        with pytest.raises(DecodeError):
            gate.codec.decode(raw)


def test_a_rest_answer_that_holds_no_book_is_refused(gate: Market) -> None:
    book = gate.frames.rest_book(7)
    for raw in (b"", b"[]", b"{}", book[:-1], book + b"}", gate.frames.rest_book(7, [(0, 1)]), b"[" * 200_000, b'{"label":"X"}'):
        with pytest.raises(DecodeError) as caught:
            gate.codec.decode_snapshot(gate.symbol, raw)
        assert (caught.value.channel, caught.value.symbol) == (gate.prefix + "order_book_update", gate.symbol)


@pytest.mark.parametrize("raw", [b"", b"{}", b"[{}]", b"[1]", b"[" * 200_000, b'{"label":"X"}', b"\xff"])
def test_a_rest_answer_that_holds_no_instruments_is_refused(gate: Market, raw: bytes) -> None:
    with pytest.raises(DecodeError):
        gate.codec.decode_instruments(raw)


class TestRequests:
    def test_every_channel_can_be_asked_for_with_each_of_its_options(self, gate: Market) -> None:
        for channel in gate.venue.channels:
            for option in ("", *(":" + option for option in gate.venue.options.get(channel, ()))):
                (request,) = gate.codec.subscription_requests("subscribe", channel + option, [gate.symbol], 0)
                assert (request.channel, request.request_id, request.message["channel"]) == (channel + option, None, channel)
                assert any(PAIR in item for item in request.payload)

    def test_requests_are_numbered_where_numbers_are_given(self, gate: Market) -> None:
        symbols = [gate.symbol, gate.symbol.replace("BTC", "ETH")]
        requests = gate.codec.subscription_requests("subscribe", gate.prefix + "obu", symbols, 0, count(7).__next__)
        assert [(request.request_id, request.message["id"]) for request in requests] == [(7, 7), (8, 8)]

    def test_an_unknown_channel_is_refused(self, gate: Market) -> None:
        with pytest.raises(SettingsError, match=f"known: .*{gate.prefix}trades"):
            gate.codec.subscription_requests("subscribe", gate.prefix + "nope", [gate.symbol], 0)


def test_both_markets_audit_their_books_with_their_book_ticker(gate: Market) -> None:
    audited = {name.removeprefix(gate.prefix) for name, channel in gate.venue.book_channels.items() if channel.is_audited}
    assert audited == {"obu", "order_book_update"}


def test_a_trade_of_either_market_reads_alike(gate: Market) -> None:
    (bought,), (sold,) = (gate.codec.decode(gate.frames.trade(7, amount="2.5", side=side)) for side in ("buy", "sell"))
    assert isinstance(bought, Trade) and isinstance(sold, Trade)
    assert (bought.side, sold.side, bought.amount, sold.amount) == (Side.BUY, Side.SELL, 2.5, 2.5)
