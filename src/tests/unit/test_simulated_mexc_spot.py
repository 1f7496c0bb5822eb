"""The simulated MEXC spot's frames: as the protobuf library writes them, of the shape of recorded ones, and true to the market."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from infrastructure.simulator import mexc_spot
from infrastructure.simulator.exchange import EVERY, Recorded
from infrastructure.simulator.faults import Faults
from infrastructure.simulator.market import Change, Event, Print, Topic, hidden_number
from infrastructure.simulator.mexc_spot import (
    BOOK_TICKER,
    BOOK_TICKER_BATCH,
    CHANNELS,
    DEALS,
    DEPTH,
    KLINE,
    LIMIT_DEPTH,
    MINI_TICKER,
    MINI_TICKERS,
    ZONES,
    MexcSpotMarkets,
    fields,
    number_field,
    stream_name,
    text_field,
    varint,
)
from infrastructure.simulator.mexc_spot_exchange import MexcSpotExchange
from tests.harness.captures import lines
from tests.harness.mexc_schema import read_push, rewritten, shape

SYMBOLS = ("BTC/USDT", "ETH/USDT")
NOW_MS = 1_790_281_243_450
OPTIONS = {
    DEPTH: "10ms",
    LIMIT_DEPTH: "5",
    BOOK_TICKER: "100ms",
    BOOK_TICKER_BATCH: "",
    DEALS: "100ms",
    KLINE: "Min1",
    MINI_TICKER: "UTC+8",
}


def exchange(*faults: str) -> MexcSpotExchange:
    known = Faults(MexcSpotExchange.channels, seed=1)
    for fault in faults:
        known.set(fault)
    return MexcSpotExchange(SYMBOLS, 1, known)


def pushes(channel: str, count: int, *faults: str) -> Iterator[tuple[Event, bytes]]:
    """So many events of a channel's kind on the first pair, each with its push."""
    venue = exchange(*faults)
    market = venue.trading.markets[SYMBOLS[0]]
    topic = Topic(channel, EVERY, "24H") if channel == MINI_TICKERS else Topic(channel, market.symbol, OPTIONS[channel])
    for number in range(count):
        if channel not in (DEPTH, DEALS):
            venue.trading.make(market, "trade", NOW_MS + number)
        event = venue.trading.make(market, CHANNELS[channel].kind, NOW_MS + number)
        yield event, venue.push(topic, event, NOW_MS + number)


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize("faults", [(), ("old-schema",)], ids=["new", "old"])
def test_a_push_is_what_the_library_would_have_written(channel: str, faults: tuple[str, ...]) -> None:
    for _, raw in pushes(channel, 200, *faults):
        read_push(raw)  # Every field is one that the exchange has.
        assert rewritten(raw) == raw and raw[0] == 0x0A


@pytest.mark.parametrize("channel", CHANNELS)
def test_a_push_has_the_shape_of_recorded_ones(channel: str, captures: Path) -> None:
    recorded = [
        read_push(bytes.fromhex(line["hex"]))
        for name in ("mexc_spot_frames.jsonl", "mexc_spot_examples.jsonl")
        for line in lines(captures / name)
        if line["channel"].startswith(channel)
    ]
    whole = [message for message in recorded if body_of(message)]
    assert whole
    new, old = ({shape_text(read_push(raw)) for _, raw in pushes(channel, 100, *faults)} for faults in ((), ("old-schema",)))
    for message in whole:
        if channel == DEALS:
            body_of(message).setdefault("eventType", "")  # One of them lacks it.
        assert shape_text(message) in new | old
    assert (new == old) is (channel in (KLINE, MINI_TICKER, MINI_TICKERS))
    for empty in recorded:
        if not body_of(empty):
            topic = Topic(channel, SYMBOLS[0], "10ms")
            assert shape_text(read_push(exchange().bodyless(topic, NOW_MS))) == shape_text(empty)


def body_of(message: dict[str, Any]) -> dict[str, Any]:
    return next((value for value in message.values() if isinstance(value, dict)), {})


def shape_text(message: dict[str, Any]) -> str:
    return str(sorted(shape(message).items()))


@pytest.mark.parametrize("channel", CHANNELS)
def test_a_push_without_a_body_names_its_stream_and_nothing_else(channel: str) -> None:
    topic = Topic(channel, EVERY, "24H") if channel == MINI_TICKERS else Topic(channel, SYMBOLS[0], OPTIONS[channel])
    raw = exchange().bodyless(topic, NOW_MS)
    (_, push) = next(pushes(channel, 1))
    assert read_push(raw) == {name: value for name, value in read_push(push).items() if not isinstance(value, dict)}
    assert rewritten(raw) == raw


class TestValues:
    def test_a_deal_is_the_trade(self) -> None:
        ids = set()
        for event, raw in pushes(DEALS, 300):
            done = event.detail
            assert isinstance(done, Print)
            read = read_push(raw)
            assert (read["channel"], read["symbol"], read["sendTime"]) == (f"{DEALS}@100ms@BTCUSDT", "BTCUSDT", done.time_ms)
            (deal,) = read["publicAggreDeals"]["deals"]
            assert float(deal["price"]) == done.tick / 100 and float(deal["quantity"]) == done.units / 10**8
            assert hidden_number(float(deal["quantity"])) == done.number == event.number
            assert (deal["tradeType"], deal["time"]) == ({"buy": 1, "sell": 2}[done.side], done.time_ms)
            assert not deal["price"].endswith(".") and not ("." in deal["price"] and deal["price"].endswith("0"))
            ids.add(deal["tradeId"])
        assert len(ids) == 300

    def test_a_change_of_a_book_has_its_ids_and_absolute_amounts(self) -> None:
        sides = set()
        for event, raw in pushes(DEPTH, 300):
            change = event.detail
            assert isinstance(change, Change)
            body = read_push(raw)["publicAggreDepths"]
            assert (body["fromVersion"], body["toVersion"], body["eventType"]) == (
                str(change.first_id),
                str(change.last_id),
                f"{DEPTH}@10ms",
            )
            for name, levels in (("bids", change.bids), ("asks", change.asks)):
                read = {round(float(level["price"]) * 100): level["quantity"] for level in body.get(name, [])}
                assert {tick: round(float(quantity) * 10_000) for tick, quantity in read.items()} == levels
                assert all((quantity == "0") is (levels[tick] == 0) for tick, quantity in read.items())
            sides.add(("bids" in body, "asks" in body))
        assert len(sides) == 4

    def test_the_best_levels_are_filled_up_and_those_of_the_top_are_not(self) -> None:
        for _, raw in pushes(LIMIT_DEPTH, 20):
            body = read_push(raw)["publicLimitDepths"]
            for side, outward in ((body["bids"], -1), (body["asks"], 1)):
                prices = [float(level["price"]) * outward for level in side]
                assert len(prices) == 5 and prices == sorted(prices)
                assert {len(level[name].partition(".")[2]) for level in side for name in ("price",)} == {2}
                assert {len(level["quantity"].partition(".")[2]) for level in side} == {8}
        texts = [text for _, raw in pushes(BOOK_TICKER, 200) for text in read_push(raw)["publicAggreBookTicker"].values()]
        assert not [text for text in texts if isinstance(text, str) and "." in text and text[-1] in ".0"]

    def test_tops_of_books_have_the_books_version(self) -> None:
        for channel, name in ((BOOK_TICKER, "publicAggreBookTicker"), (BOOK_TICKER_BATCH, "publicBookTickerBatch")):
            for event, raw in pushes(channel, 20):
                body = read_push(raw)[name]
                assert body["version"] == str(event.market.update_id) == str(event.number)
                top = body["items"][0] if "items" in body else body
                (bid, bid_amount), (ask, ask_amount) = event.market.best()
                texts = (bid, bid_amount, ask, ask_amount)
                assert [float(top[key]) for key in ("bidPrice", "bidQuantity", "askPrice", "askQuantity")] == [
                    float(text) for text in texts
                ]

    def test_a_candle_ends_when_the_next_begins(self) -> None:
        venue = exchange()
        market = venue.trading.markets[SYMBOLS[0]]
        starts = []
        for number in range(200):
            now_ms = NOW_MS + number * 1000
            venue.trading.make(market, "trade", now_ms)
            event = venue.trading.make(market, "candle", now_ms)
            read = read_push(venue.push(Topic(KLINE, market.symbol, "Min1"), event, now_ms))
            bar = read["publicSpotKline"]
            assert (read["createTime"], read["symbol"], "sendTime" in read) == (now_ms, "BTCUSDT", False) and len(read["symbolId"]) == 32
            assert bar["windowEnd"] - bar["windowStart"] == 60 and bar["windowStart"] % 60 == 0
            opened, closed, high, low = (float(bar[f"{name}Price"]) for name in ("opening", "closing", "highest", "lowest"))
            assert low <= min(opened, closed) <= max(opened, closed) <= high
            assert hidden_number(float(bar["volume"])) == event.number
            starts.append(bar["windowStart"])
        assert starts == sorted(starts) and len(set(starts)) == 5

    def test_a_ticker_has_turnover_for_volume_and_the_volume_for_quantity(self) -> None:
        for event, raw in pushes(MINI_TICKER, 50):
            body, day = read_push(raw)["publicMiniTicker"], event.market.day
            assert float(body["volume"]) == pytest.approx(day.turnover / 10**10)
            assert int(float(body["quantity"])) == day.volume // 10**8
            assert hidden_number(float(body["quantity"])) == event.number
            assert float(body["price"]) == day.close / 100 and body["symbol"] == "BTCUSDT"
            assert float(body["rate"]) == pytest.approx((day.close - day.open) / day.open, abs=5e-5)

    def test_a_change_that_rounds_to_nothing_has_no_sign(self) -> None:
        market = exchange().trading.markets[SYMBOLS[0]]
        market.day.open, market.day.close = 100_000, 99_999
        assert mexc_spot.change_text(market) == "0"

    def test_all_tickers_are_in_one_frame_with_one_number(self) -> None:
        for event, raw in pushes(MINI_TICKERS, 5):
            read = read_push(raw)
            assert "symbol" not in read and read["channel"] == f"{MINI_TICKERS}@24H"
            items = read["publicMiniTickers"]["items"]
            assert [item["symbol"] for item in items] == ["BTCUSDT", "ETHUSDT"]
            assert {hidden_number(float(item["quantity"])) for item in items} == {event.number}


@pytest.mark.parametrize(
    ("topic", "name"),
    [
        (Topic(DEALS, "BTC/USDT", "100ms"), "spot@public.aggre.deals.v3.api.pb@100ms@BTCUSDT"),
        (Topic(LIMIT_DEPTH, "BTC/USDT", "20"), "spot@public.limit.depth.v3.api.pb@BTCUSDT@20"),
        (Topic(BOOK_TICKER_BATCH, "BTC/USDT"), "spot@public.bookTicker.batch.v3.api.pb@BTCUSDT"),
        (Topic(KLINE, "BTC/USDT", "Month1"), "spot@public.kline.v3.api.pb@BTCUSDT@Month1"),
        (Topic(MINI_TICKER, "BTC/USDT", "UTC-10"), "spot@public.miniTicker.v3.api.pb@BTCUSDT@UTC-10"),
        (Topic(MINI_TICKERS, EVERY, "UTC+12:45"), "spot@public.miniTickers.v3.api.pb@UTC+12:45"),
    ],
)
def test_streams_are_named_as_the_venue_names_them(topic: Topic, name: str) -> None:
    assert stream_name(*topic) == name
    assert topic.option == "" or topic.option in CHANNELS[topic.channel].options


def test_the_zones_are_those_of_the_page() -> None:
    assert len(ZONES) == 25 and {"24H", "UTC-10", "UTC-3", "UTC+0", "UTC+4:30", "UTC+5:30", "UTC+12:45", "UTC+13"} <= set(ZONES)


class TestMarkets:
    def test_its_opening_acknowledges_what_comes_after_it(self) -> None:
        markets = MexcSpotMarkets(SYMBOLS, 3)
        names = {name for sent in markets.opening() for name in sent.raw.decode().split('"')[-2].split(",")}
        frames = [markets.next() for _ in range(2000)]
        assert {read_push(frame.raw)["channel"] for frame in frames} == names and len(names) == 10

    def test_books_are_continuous_but_for_what_was_skipped(self) -> None:
        markets = MexcSpotMarkets(SYMBOLS, 3)
        book = read_push(markets.update("ETH/USDT").raw)["publicAggreDepths"]
        following = read_push(markets.update("ETH/USDT").raw)["publicAggreDepths"]
        assert int(following["fromVersion"]) == int(book["toVersion"]) + 1
        assert f'"lastUpdateId":{following["toVersion"]},' in markets.snapshot("ETH/USDT").decode()
        markets.skip_update("ETH/USDT")
        after = read_push(markets.update("ETH/USDT").raw)["publicAggreDepths"]
        assert int(after["fromVersion"]) > int(following["toVersion"]) + 1

    def test_a_corrupted_change_says_of_a_best_level_what_is_not_so(self) -> None:
        markets = MexcSpotMarkets(SYMBOLS, 3)
        sent = [each for each in (markets.corrupted_update("ETH/USDT") for _ in range(100)) if each is not None]
        assert sent and all(read_push(each.raw)["publicAggreDepths"]["toVersion"] == str(each.number) for each in sent)
        last = None
        while last is None:
            last = markets.corrupted_update("ETH/USDT")
        body, market = read_push(last.raw)["publicAggreDepths"], markets.markets["ETH/USDT"]
        said = {
            (side, round(float(level["price"]) * 100), round(float(level["quantity"]) * 10_000))
            for side in ("bids", "asks")
            for level in body.get(side, ())
        }
        true = {(side, tick, lots) for side in ("bids", "asks") for tick, lots in getattr(market, side).items()}
        assert [level for level in said - true if level[2]]


class TestWire:
    @given(st.integers(0, 2**63 - 1))
    def test_a_number_is_read_as_it_was_written(self, value: int) -> None:
        assert list(fields(number_field(6, value))) == ([(6, value)] if value else [])

    @given(st.text(min_size=1))
    def test_a_text_is_read_as_it_was_written(self, text: str) -> None:
        assert list(fields(text_field(303, text))) == [(303, text.encode())]

    @given(st.binary(max_size=200))
    @example(b"\x0a")
    @example(b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f")
    @example(b"\xff" * 20)
    @example(b"\x0d")
    def test_any_bytes_are_fields_or_an_error(self, raw: bytes) -> None:
        try:
            read = list(fields(raw))
        except ValueError:
            return
        assert sum(len(value) for _, value in read if isinstance(value, bytes)) <= len(raw)

    @given(st.one_of(st.binary(max_size=200), st.binary(max_size=100).map(lambda rest: text_field(1, f"{DEALS}@10ms@BTCUSDT") + rest)))
    def test_whose_a_frame_is_can_be_asked_of_any_bytes(self, raw: bytes) -> None:
        told = MexcSpotExchange.recorded_frame(raw)
        assert told is None or told.channel in ("", *CHANNELS)

    @pytest.mark.parametrize(
        ("raw", "says"),
        [
            (b"\x0a\x04abc", "field 1 has no end"),
            (b"\x0a", "a varint has no end"),
            (b"\x0d\x00\x00\x00\x00", "field 1 is of wire type 5"),
            (b"\x30" + b"\x80" * 10, "a varint has no end"),
        ],
    )
    def test_what_is_no_message_of_the_exchange_is_told(self, raw: bytes, says: str) -> None:
        with pytest.raises(ValueError, match=says):
            list(fields(raw))

    def test_a_long_number_has_its_seven_bits_a_byte(self) -> None:
        assert (varint(300), varint(127), varint(128)) == (b"\xac\x02", b"\x7f", b"\x80\x01")


class TestRecorded:
    @pytest.mark.parametrize("channel", CHANNELS)
    def test_a_push_is_its_pairs_whatever_the_order_of_its_fields(self, channel: str) -> None:
        expected = Recorded(channel, EVERY if channel == MINI_TICKERS else "BTC/USDT")
        for _, raw in pushes(channel, 1):
            assert MexcSpotExchange.recorded_frame(raw) == expected
            length = 2 + raw[1]
            assert MexcSpotExchange.recorded_frame(raw[length:] + raw[:length]) == expected

    @pytest.mark.parametrize("raw", [b'{"id":0,"code":0,"msg":"PONG"}', b"Invalid listen key"])
    def test_an_answer_is_nobodys(self, raw: bytes) -> None:
        assert MexcSpotExchange.recorded_frame(raw) == Recorded("")

    @pytest.mark.parametrize(
        "raw",
        [
            b"",
            text_field(1, "spot@public.deals.v3.api.pb@BTCUSDT") + text_field(3, "BTCUSDT"),
            text_field(1, f"{DEALS}@100ms@BTCXYZ") + text_field(3, "BTCXYZ"),
            text_field(1, f"{DEALS}@100ms@BTCUSDT"),
            text_field(1, f"{DEALS}@100ms@USDT") + text_field(3, "USDT"),
            text_field(1, f"{DEALS}@100ms@BTCUSDT")[:-1],
        ],
    )
    def test_what_belongs_to_nobody_in_particular_is_told_as_such(self, raw: bytes) -> None:
        assert MexcSpotExchange.recorded_frame(raw) is None

    def test_real_pushes_are_told_apart(self, captures: Path) -> None:
        for line in lines(captures / "mexc_spot_frames.jsonl"):
            told = MexcSpotExchange.recorded_frame(bytes.fromhex(line["hex"]))
            assert told is not None and line["channel"].startswith(told.channel) and told.symbol == line["symbol"].replace("USDT", "/USDT")
