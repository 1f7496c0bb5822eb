"""What Gate.io futures says otherwise than spot; what both say alike is in ``test_gateio_market``."""

import json
from decimal import Decimal
from itertools import count
from typing import Any

import pytest
from msgspec.structs import replace

from infrastructure.errors import DecodeError, SettingsError, UnknownSymbol
from infrastructure.events import BookTicker, Candle, Liquidation, Side, Ticker, Trade
from infrastructure.exchanges.gateio import futures, market
from infrastructure.exchanges.gateio.futures import GATEIO_FUTURES, GateioFuturesCodec
from infrastructure.instruments import Instrument, InstrumentStatus
from infrastructure.venue import BookUpdate, Message
from tests.harness import futures_frames as frames
from tests.harness.examples import example
from tests.harness.frames import push
from tests.harness.futures_frames import OTHER, OTHER_PAIR, PAIR, SYMBOL

CODEC = GateioFuturesCodec()
VENUE = "gateio_futures"
SENT_NS = 1_700_000_000_123_000_000
TRADE = example(futures.TradeResult)


def decoded(channel: str, *results: Any, **envelope: Any) -> list[Message]:
    return list(CODEC.decode(push(channel, list(results), **envelope)))


def only(channel: str, result: Any, **envelope: Any) -> Message:
    (message,) = CODEC.decode(push(channel, result, **envelope))
    return message


class TestTrades:
    @pytest.mark.parametrize(("size", "side", "amount"), [(-108, Side.SELL, 108.0), (108, Side.BUY, 108.0), (1, Side.BUY, 1.0)])
    @pytest.mark.parametrize("form", [int, str], ids=["number", "text"])
    def test_the_sign_of_a_size_is_its_side(self, size: int, side: Side, amount: float, form: Any) -> None:
        expected = Trade(VENUE, SYMBOL, "27753479", side, 96.4, amount, 1_545_136_464_123_000_000, is_internal=True)
        assert decoded("futures.trades", TRADE | {"size": form(size)}) == [expected]

    def test_a_fraction_of_a_contract(self) -> None:
        (trade,) = decoded("futures.trades", TRADE | {"size": "-0.25"})
        assert isinstance(trade, Trade)
        assert (trade.side, trade.amount) == (Side.SELL, 0.25)

    def test_trades_of_a_market_are_not_internal(self) -> None:
        (trade,) = decoded("futures.trades", example(futures.TradeResult, is_internal=None))
        assert isinstance(trade, Trade) and trade.is_internal is False

    def test_a_push_of_several_gives_them_in_order(self) -> None:
        trades = decoded("futures.trades", *(TRADE | {"id": number} for number in (3, 1, 2)))
        assert [trade.trade_id for trade in trades if isinstance(trade, Trade)] == ["3", "1", "2"]

    @pytest.mark.parametrize(
        ("seconds", "ns"),
        [
            (1_545_136_464, 1_545_136_464_000_000_000),
            (1_545_136_464.123456, 1_545_136_464_123_456_000),
            ("1545136464.123456789", 1_545_136_464_123_456_789),
            (0, None),
            (None, None),
        ],
    )
    def test_without_milliseconds_the_seconds_count(self, seconds: Any, ns: int | None) -> None:
        (trade,) = decoded("futures.trades", example(futures.TradeResult, create_time_ms=None, create_time=seconds))
        assert isinstance(trade, Trade) and trade.exchange_ns == ns


class TestBookTicker:
    @pytest.mark.parametrize("sizes", [{"B": 37000, "A": 47061}, {"B": "37000", "A": "47061"}])
    def test_sizes_are_numbers_or_texts(self, sizes: dict[str, Any]) -> None:
        result = {"t": 1615366379123, "u": "2517661076", "s": PAIR, "b": "54696.6", "a": "54696.7"} | sizes
        expected = BookTicker(VENUE, SYMBOL, 2517661076, 54696.6, 37000.0, 54696.7, 47061.0, 1_615_366_379_123_000_000)
        assert only("futures.book_ticker", result) == expected

    @pytest.mark.parametrize("nothing", [0, "0", ""])
    def test_an_empty_side_has_no_price_and_no_amount(self, nothing: Any) -> None:
        ticker = only("futures.book_ticker", {"t": 1, "u": 7, "s": PAIR, "b": "", "B": nothing, "a": "2", "A": 3})
        assert ticker == BookTicker(VENUE, SYMBOL, 7, None, None, 2.0, 3.0, 1_000_000)

    def test_a_dead_contract_has_no_sides_no_id_and_no_time(self) -> None:
        result = {"t": 0, "u": 0, "s": "BSW_USDT", "b": "", "B": 0, "a": "", "A": 0}
        assert only("futures.book_ticker", result) == BookTicker(VENUE, "BSW/USDT:USDT", None, None, None, None, None, None)


class TestTicker:
    WHOLE = example(futures.TickerResult)
    EXPECTED = Ticker(
        VENUE,
        SYMBOL,
        last=77175.1,
        bid_price=None,
        ask_price=None,
        high=78589.2,
        low=76018.3,
        base_volume=15549.0,
        quote_volume=360157621.0,
        change_percent=-1.3224,
        exchange_ns=1_789_456_337_802_000_000,
        mark_price=77183.5,
        index_price=77221.8,
        funding_rate=0.000072,
        next_funding_ns=1_789_459_200_000_000_000,
        open_interest=153482780.0,
    )

    def test_ticker(self) -> None:
        assert decoded("futures.tickers", self.WHOLE) == [self.EXPECTED]

    def test_numbers_may_be_json_numbers(self) -> None:
        texts = {key: value for key, value in self.WHOLE.items() if isinstance(value, str) and key != "contract"}
        numbers = self.WHOLE | {key: json.loads(text) for key, text in texts.items()}
        assert decoded("futures.tickers", numbers) == [self.EXPECTED]

    @pytest.mark.parametrize("result", [[WHOLE], [[WHOLE]], WHOLE], ids=["a list", "2021: a list in a list", "2022: one ticker"])
    def test_every_shape_of_the_years(self, result: Any) -> None:
        assert list(CODEC.decode(push("futures.tickers", result))) == [self.EXPECTED]

    @pytest.mark.parametrize(
        ("key", "field", "value"),
        [
            ("last", "last", 77175.1),
            ("mark_price", "mark_price", 77183.5),
            ("index_price", "index_price", 77221.8),
            ("high_24h", "high", 78589.2),
            ("low_24h", "low", 76018.3),
            ("volume_24h_base", "base_volume", 15549.0),
            ("volume_24h_quote", "quote_volume", 360157621.0),
            ("total_size", "open_interest", 153482780.0),
            ("change_percentage", "change_percent", -1.3224),
            ("funding_rate", "funding_rate", 0.000072),
            ("funding_next_apply", "next_funding_ns", 1_789_459_200_000_000_000),
        ],
    )
    def test_a_partial_tick_says_nothing_of_what_it_leaves_out(self, key: str, field: str, value: float) -> None:
        (ticker,) = decoded("futures.tickers", {"contract": PAIR, key: self.WHOLE[key]})
        assert isinstance(ticker, Ticker)
        values = {name: getattr(ticker, name) for name in Ticker.__struct_fields__[2:] if name != "received_ns"}
        assert {name: value for name, value in values.items() if value is not None} == {field: value, "exchange_ns": SENT_NS}

    def test_a_funding_rate_may_be_negative(self) -> None:
        (ticker,) = decoded("futures.tickers", self.WHOLE | {"funding_rate": "-0.000114"})
        assert isinstance(ticker, Ticker) and ticker.funding_rate == -0.000114

    def test_a_tick_with_a_name_and_nothing_else_is_refused(self) -> None:
        with pytest.raises(DecodeError, match="without a value") as caught:
            decoded("futures.tickers", {"contract": PAIR, "price": "1"})
        assert (caught.value.channel, caught.value.symbol) == ("futures.tickers", SYMBOL)


class TestContractStats:
    WHOLE = example(futures.ContractStatsResult)
    EXPECTED = Ticker(VENUE, SYMBOL, *(None,) * 8, exchange_ns=SENT_NS, mark_price=8865.0, open_interest=124724.0)

    @pytest.mark.parametrize("result", [[WHOLE], WHOLE], ids=["a list", "an object"])
    def test_mark_price_and_open_interest_are_a_ticker_of_the_frames_time(self, result: Any) -> None:
        assert only("futures.contract_stats", result) == self.EXPECTED

    @pytest.mark.parametrize("form", [str, float])
    def test_numbers_are_numbers_or_texts(self, form: Any) -> None:
        changes = {"mark_price": form(8865), "open_interest": form(124724)}
        assert decoded("futures.contract_stats", self.WHOLE | changes) == [self.EXPECTED]

    @pytest.mark.parametrize(("key", "field"), [("mark_price", "open_interest"), ("open_interest", "mark_price")])
    def test_either_may_be_missing(self, key: str, field: str) -> None:
        (ticker,) = decoded("futures.contract_stats", example(futures.ContractStatsResult, **{key: None}))
        assert ticker == replace(self.EXPECTED, **{key: None}) and getattr(ticker, field) is not None

    def test_statistics_without_either_are_refused(self) -> None:
        with pytest.raises(DecodeError, match="without a value") as caught:
            decoded("futures.contract_stats", example(futures.ContractStatsResult, mark_price=None, open_interest=None))
        assert (caught.value.channel, caught.value.symbol) == ("futures.contract_stats", SYMBOL)


class TestCandles:
    BAR = example(market.CandleResult, t=1_545_129_300, v=27525555, a="314732.87412", w=None)

    def test_contracts_are_no_volume_and_the_amount_is_of_base_currency(self) -> None:
        prices = (19128.1, 19128.1, 19128.1, 19128.1)
        expected = Candle(VENUE, SYMBOL, "1m", 1_545_129_300_000_000_000, *prices, 314732.87412, None, None, SENT_NS)
        assert decoded("futures.candlesticks", self.BAR) == [expected]

    def test_without_an_amount_there_is_no_volume(self) -> None:
        (candle,) = decoded("futures.candlesticks", {key: value for key, value in self.BAR.items() if key != "a"})
        assert isinstance(candle, Candle)
        assert (candle.base_volume, candle.quote_volume) == (None, None)

    @pytest.mark.parametrize(
        ("name", "symbol", "interval"),
        [
            ("1m_BTC_USDT", SYMBOL, "1m"),
            ("1m_mark_BTC_USDT", SYMBOL, "mark_1m"),
            ("7d_index_BTC_USDT", SYMBOL, "index_7d"),
            ("1m_MARK_USDT", "MARK/USDT:USDT", "1m"),
            ("1m_mark_USDT", "mark/USDT:USDT", "1m"),
        ],
    )
    def test_candles_of_another_price_have_it_before_their_interval(self, name: str, symbol: str, interval: str) -> None:
        (candle,) = decoded("futures.candlesticks", self.BAR | {"n": name})
        assert isinstance(candle, Candle)
        assert (candle.symbol, candle.interval) == (symbol, interval)

    def test_every_interval_that_can_arrive_is_an_option(self) -> None:
        for option in GATEIO_FUTURES.options["futures.candlesticks"]:
            (request,) = CODEC.subscription_requests("subscribe", f"futures.candlesticks:{option}", [SYMBOL], 0)
            interval, name = request.payload
            (candle,) = decoded("futures.candlesticks", self.BAR | {"n": f"{interval}_{name}"})
            assert isinstance(candle, Candle) and candle.interval == option


class TestLiquidations:
    PUSH = example(futures.LiquidationResult)

    @pytest.mark.parametrize("price", ["215.1", 215.1])
    @pytest.mark.parametrize(("size", "side"), [("-124.5", Side.SELL), (-124.5, Side.SELL), ("124.5", Side.BUY), (124.5, Side.BUY)])
    def test_the_side_is_that_of_the_order_that_closes(self, price: Any, size: Any, side: Side) -> None:
        expected = Liquidation(VENUE, SYMBOL, side, 215.1, 124.5, 1_541_486_601_123_000_000)
        assert decoded("futures.public_liquidates", self.PUSH | {"price": price, "size": size}) == [expected]

    @pytest.mark.parametrize(
        ("times", "ns"),
        [
            ({"time_ms": 1_541_486_601_123}, 1_541_486_601_123_000_000),
            ({"time": 1_541_486_601}, 1_541_486_601_000_000_000),
            ({"time": 1_787_000_000_456}, 1_787_000_000_456_000_000),
            ({"time": 1_541_486_601, "time_ms": 1_541_486_601_123}, 1_541_486_601_123_000_000),
            ({}, SENT_NS),
        ],
    )
    def test_its_time_is_in_either_unit(self, times: dict[str, int], ns: int) -> None:
        (liquidation,) = decoded("futures.public_liquidates", {"price": 1, "size": 1, "contract": PAIR} | times)
        assert isinstance(liquidation, Liquidation) and liquidation.exchange_ns == ns

    def test_all_of_a_period_come_in_one_push(self) -> None:
        several = decoded("futures.public_liquidates", self.PUSH, self.PUSH | {"contract": OTHER_PAIR})
        assert [liquidation.symbol for liquidation in several if isinstance(liquidation, Liquidation)] == [SYMBOL, OTHER]


class TestBooks:
    @pytest.mark.parametrize("form", [int, str], ids=["number", "text"])
    @pytest.mark.parametrize("full", [True, None])
    def test_order_book_update(self, full: bool | None, form: Any) -> None:
        result = example(futures.BookUpdateResult, full=full)
        for level in (*result["b"], *result["a"]):
            level["s"] = form(level["s"])
        expected = BookUpdate(
            "futures.order_book_update",
            SYMBOL,
            2517661101,
            2517661113,
            [(54672.1, 0.0), (54664.5, 58794.0)],
            [(54743.6, 0.0), (54742.0, 95.0)],
            bool(full),
            1_615_366_381_417_000_000,
        )
        assert only("futures.order_book_update", result) == expected

    def test_a_whole_book_is_all(self) -> None:
        levels = ([(97.1, 2245.0)], [(97.2, 2245.0)])
        expected = BookUpdate("futures.order_book", SYMBOL, 93973511, 93973511, *levels, True, 1_541_500_161_123_000_000)
        assert only("futures.order_book", example(futures.OrderBookResult), event="all") == expected

    def test_a_whole_book_of_2020_has_no_id_and_the_time_of_its_frame(self) -> None:
        update = only("futures.order_book", example(futures.OrderBookResult, id=None, t=None), event="all")
        assert isinstance(update, BookUpdate)
        assert (update.last_id, update.is_full, update.exchange_ns) == (0, True, SENT_NS)

    def test_a_change_says_what_rests_at_its_price_on_both_sides(self) -> None:
        updates = CODEC.decode(frames.changes(7, ("4.2", 117), ("4.3", -5), ("4.4", 0), ("4.5", "-0.25")))
        bids = [(4.2, 117.0), (4.3, 0.0), (4.4, 0.0), (4.5, 0.0)]
        asks = [(4.2, 0.0), (4.3, 5.0), (4.4, 0.0), (4.5, 0.25)]
        assert list(updates) == [BookUpdate("futures.order_book", SYMBOL, 7, 10, bids, asks, False, SENT_NS)]
        assert [str(amount) for _, amount in asks if not amount] == ["0.0", "0.0"]

    def test_changes_of_several_contracts_in_one_push(self) -> None:
        changes = [{"p": "1", "s": 1, "c": pair, "id": number} for number, pair in enumerate((PAIR, PAIR, OTHER_PAIR), 5)]
        updates = [message for message in decoded("futures.order_book", *changes) if isinstance(message, BookUpdate)]
        assert [(update.symbol, update.first_id, update.last_id) for update in updates] == [(SYMBOL, 5, 6), (OTHER, 7, 7)]

    @pytest.mark.parametrize(
        ("update", "ns"),
        [
            (b"1623898993.121", 1_623_898_993_121_000_000),
            (b"1623898993.121456789", 1_623_898_993_121_456_789),
            (b"1623898993", 1_623_898_993_000_000_000),
            (b'"1623898993.121"', 1_623_898_993_121_000_000),
            (b"0", None),
        ],
    )
    def test_the_time_of_a_rest_book_is_exact(self, update: bytes, ns: int | None) -> None:
        raw = json.dumps(example(futures.RestBook)).encode().replace(b"1623898993.121", update)
        expected = BookUpdate("futures.order_book_update", SYMBOL, 123456, 123456, [(1.17, 150.0)], [(1.52, 100.0)], True, ns)
        assert CODEC.decode_snapshot(SYMBOL, raw) == expected

    @pytest.mark.parametrize("update", ["1e9", "-1", "null", '""', "true", '"x"', "[]", "9" * 20])
    def test_another_time_is_refused(self, update: str) -> None:
        raw = json.dumps(example(futures.RestBook)).replace("1623898993.121", update)
        with pytest.raises(DecodeError) as caught:
            CODEC.decode_snapshot(SYMBOL, raw)
        assert (caught.value.channel, caught.value.symbol) == ("futures.order_book_update", SYMBOL)


class TestNames:
    @pytest.mark.parametrize(
        ("native", "symbol"), [("BTC_USDT", "BTC/USDT:USDT"), ("1INCH_USDT", "1INCH/USDT:USDT"), ("BTC_USD", "BTC/USD:BTC")]
    )
    def test_by_notation_a_contract_is_settled_as_its_quote_currency_says(self, native: str, symbol: str) -> None:
        assert CODEC.symbols.by_native[native] == symbol
        assert CODEC.symbols.native(symbol) == native

    @pytest.mark.parametrize("symbol", ["BTC/USDT", "BTC/USDT:BTC", "BTC/USD:USD", "BTC_USDT"])
    def test_what_is_no_such_contract_cannot_be_asked_for(self, symbol: str) -> None:
        with pytest.raises(UnknownSymbol, match="BTC/USDT:USDT"):
            CODEC.subscription_requests("subscribe", "futures.trades", [symbol], 0)

    def test_a_delivery_contract_is_refused(self) -> None:
        with pytest.raises(DecodeError, match="is not a currency pair"):
            CODEC.decode(frames.trade(1, pair="BTC_USDT_20261225"))


class TestInstruments:
    def listed(self, *contracts: dict[str, Any]) -> list[Instrument]:
        return CODEC.decode_instruments(json.dumps(contracts))

    def test_contract(self) -> None:
        expected = Instrument(
            VENUE,
            SYMBOL,
            PAIR,
            "BTC",
            "USDT",
            "USDT",
            InstrumentStatus.TRADING,
            tick_size=Decimal("0.1"),
            lot_size=Decimal(1),
            min_amount=Decimal(1),
            contract_size=Decimal("0.0001"),
        )
        assert self.listed(example(futures.Contract)) == self.listed(frames.contract()) == [expected]
        assert expected.base_amount(-25.0) == -0.0025

    def test_where_sizes_have_decimals_their_step_is_not_said(self) -> None:
        (instrument,) = self.listed(frames.contract(enable_decimal=True, order_size_min="0.1"))
        assert (instrument.lot_size, instrument.min_amount) == (None, Decimal("0.1"))

    @pytest.mark.parametrize("changes", [{"in_delisting": True}, {"status": "prelaunch"}, {"status": "delisting"}, {"status": "delisted"}])
    def test_what_cannot_be_traded_is_halted(self, changes: dict[str, Any]) -> None:
        (instrument,) = self.listed(frames.contract(**changes))
        assert instrument.status is InstrumentStatus.HALTED

    def test_what_cannot_be_named_or_sized_is_left_out(self) -> None:
        listed = [frames.contract("BTC_USDT_20261225"), frames.contract(), frames.contract("BTC_USD", quanto_multiplier="0")]
        assert [instrument.native for instrument in self.listed(*listed)] == [PAIR]

    @pytest.mark.parametrize(
        "changes",
        [
            *({"quanto_multiplier": text} for text in ("nan", "-1", "inf", "", "x")),
            *({"order_price_round": text} for text in ("nan", "-0.1", "sNaN", "Infinity")),
            *({"order_size_min": text} for text in ("nan", "-1")),
            {"name": None},
            {"name": 5},
        ],
    )
    def test_a_list_with_a_value_that_is_none_is_refused(self, changes: dict[str, Any]) -> None:
        with pytest.raises(DecodeError):
            self.listed(frames.contract(**changes))


class TestRequests:
    @pytest.mark.parametrize("action", ["subscribe", "unsubscribe"])
    @pytest.mark.parametrize(
        ("channel", "payloads"),
        [
            ("futures.trades", [["BTC_USDT", "ETH_USDT"]]),
            ("futures.book_ticker", [["BTC_USDT", "ETH_USDT"]]),
            ("futures.tickers", [["BTC_USDT", "ETH_USDT"]]),
            ("futures.public_liquidates", [["BTC_USDT", "ETH_USDT"]]),
            ("futures.contract_stats", [["BTC_USDT", "1m"], ["ETH_USDT", "1m"]]),
            ("futures.contract_stats:3d", [["BTC_USDT", "3d"], ["ETH_USDT", "3d"]]),
            ("futures.candlesticks", [["1m", "BTC_USDT"], ["1m", "ETH_USDT"]]),
            ("futures.candlesticks:5m", [["5m", "BTC_USDT"], ["5m", "ETH_USDT"]]),
            ("futures.candlesticks:mark_5m", [["5m", "mark_BTC_USDT"], ["5m", "mark_ETH_USDT"]]),
            ("futures.candlesticks:index_1d", [["1d", "index_BTC_USDT"], ["1d", "index_ETH_USDT"]]),
            ("futures.order_book", [["BTC_USDT", "20", "0"], ["ETH_USDT", "20", "0"]]),
            ("futures.order_book:5", [["BTC_USDT", "5", "0"], ["ETH_USDT", "5", "0"]]),
            ("futures.order_book_update", [["BTC_USDT", "100ms", "100"], ["ETH_USDT", "100ms", "100"]]),
            ("futures.order_book_update:100ms", [["BTC_USDT", "100ms", "100"], ["ETH_USDT", "100ms", "100"]]),
            ("futures.order_book_update:20ms", [["BTC_USDT", "20ms", "20"], ["ETH_USDT", "20ms", "20"]]),
            ("futures.obu", [["ob.BTC_USDT.50"], ["ob.ETH_USDT.50"]]),
            ("futures.obu:400", [["ob.BTC_USDT.400"], ["ob.ETH_USDT.400"]]),
        ],
    )
    def test_every_channel_is_asked_for_as_it_wants(self, action: str, channel: str, payloads: list[list[str]]) -> None:
        requests = CODEC.subscription_requests(action, channel, [SYMBOL, OTHER], 1_700_000_000, count(7).__next__)
        name = channel.partition(":")[0]
        assert [request.message for request in requests] == [
            {"time": 1_700_000_000, "channel": name, "event": action, "payload": payload, "id": number}
            for number, payload in enumerate(payloads, 7)
        ]
        assert [symbol for request in requests for symbol in request.symbols] == [SYMBOL, OTHER]

    @pytest.mark.parametrize("option", GATEIO_FUTURES.options["futures.order_book_update"])
    def test_a_snapshot_and_its_stream_are_equally_deep(self, option: str) -> None:
        (request,) = CODEC.subscription_requests("subscribe", f"futures.order_book_update:{option}", [SYMBOL], 0)
        depth = request.payload[-1]
        assert GATEIO_FUTURES.snapshot_query[option]["limit"] == depth
        assert GATEIO_FUTURES.book_channels["futures.order_book_update"].depths[option] == int(depth)

    def test_an_unknown_channel_is_refused_with_those_that_are_known(self) -> None:
        with pytest.raises(SettingsError, match=r"unknown channel 'spot\.trades'; known: .*futures\.trades"):
            CODEC.subscription_requests("subscribe", "spot.trades", [SYMBOL], 0)


def test_the_venue_is_asked_for_sizes_with_their_decimals_and_pinged_often_enough() -> None:
    assert GATEIO_FUTURES.headers == {"X-Gate-Size-Decimal": "1"}
    assert GATEIO_FUTURES.ping_interval_s < 15.0
