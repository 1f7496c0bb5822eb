"""What Gate.io spot says otherwise than futures; what both say alike is in ``test_gateio_market``."""

import json
from decimal import Decimal
from typing import Any

import pytest

from infrastructure.errors import DecodeError, SettingsError
from infrastructure.events import BookTicker, Candle, Side, Ticker, Trade
from infrastructure.exchanges.gateio import market, spot
from infrastructure.exchanges.gateio.envelope import native_pair, unified_pair
from infrastructure.exchanges.gateio.spot import GateioSpotCodec
from infrastructure.instruments import Instrument, InstrumentStatus
from infrastructure.venue import BookUpdate, Message
from tests.harness.examples import example
from tests.harness.frames import PAIR, SYMBOL, push

CODEC = GateioSpotCodec()
VENUE = "gateio_spot"
SENT_MS = 1_700_000_000_123
SENT_NS = 1_700_000_000_123_000_000


def decoded(channel: str, result: Any, **envelope: Any) -> Message:
    messages = CODEC.decode(push(channel, result, **envelope))
    assert len(messages) == 1
    return messages[0]


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

    @pytest.mark.parametrize(
        "changes",
        [
            *({"precision": value} for value in (-1, 33, 10**9, "x", None)),
            *({"min_base_amount": text} for text in ("nan", "-1", "sNaN", "inf")),
            {"id": None},
        ],
    )
    def test_an_instrument_list_with_a_value_that_is_none_is_refused(self, changes: dict[str, Any]) -> None:
        with pytest.raises(DecodeError):
            CODEC.decode_instruments(json.dumps([example(spot.CurrencyPair, **changes)]))

    def test_currency_pair(self) -> None:
        expected = Instrument(
            VENUE,
            "ETH/USDT",
            "ETH_USDT",
            "ETH",
            "USDT",
            None,
            InstrumentStatus.TRADING,
            tick_size=Decimal("0.000001"),
            lot_size=Decimal("0.001"),
            min_amount=Decimal("0.001"),
            min_notional=Decimal("1.0"),
        )
        assert CODEC.decode_instruments(json.dumps([example(spot.CurrencyPair)])) == [expected]
        (halted,) = CODEC.decode_instruments(json.dumps([example(spot.CurrencyPair, trade_status="untradable")]))
        assert halted.status is InstrumentStatus.HALTED

    def test_ping_request(self) -> None:
        assert f"``{json.dumps(CODEC.ping_request(1545404023), separators=(',', ':'))}``" in (GateioSpotCodec.ping_request.__doc__ or "")


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

    def test_an_unknown_channel_is_refused_with_those_that_are_known(self) -> None:
        with pytest.raises(SettingsError, match=r"unknown channel 'spot\.nope'; known: .*spot\.trades"):
            CODEC.subscription_requests("subscribe", "spot.nope", [SYMBOL], 0)
