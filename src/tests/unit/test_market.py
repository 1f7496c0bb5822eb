"""The generated market: books that are never crossed, trades that fit them, candles that fit the trades, all from a seed."""

import random
from collections import Counter

import pytest

from infrastructure.simulator.gateio_frames import INTERVALS, GateioMarkets
from infrastructure.simulator.gateio_futures import GateioFuturesMarkets
from infrastructure.simulator.gateio_spot import GateioSpotMarkets
from infrastructure.simulator.market import (
    BAR_SECONDS,
    DAY,
    DEPTH,
    FALL,
    LOTS,
    MIX,
    UNITS,
    Change,
    Event,
    Market,
    Print,
    Trading,
    hidden_number,
    lots_text,
    numbered_text,
    price_text,
    turnover_text,
    units_text,
)

SYMBOLS = ("BTC/USDT", "ETH/USDT")
NOW_MS = 1_767_225_600_000


def market(seed: int = 1) -> Market:
    return Market("BTC/USDT", random.Random(seed), uses_obu=False)


def events(seed: int, count: int) -> list[Event]:
    trading = Trading(SYMBOLS, seed)
    return [trading.next(NOW_MS + number) for number in range(count)]


@pytest.mark.parametrize("seed", range(6))
def test_a_book_is_never_crossed_never_empty_and_never_deeper_than_it_may_be(seed: int) -> None:
    pair = market(seed)
    for _ in range(3000):
        pair.move()
        assert max(pair.bids) < min(pair.asks)
        for side in (pair.bids, pair.asks):
            assert 0 < len(side) <= DEPTH
            assert min(side.values()) >= 2 * LOTS


def test_a_side_with_one_level_left_does_not_become_empty() -> None:
    pair = market()
    for _ in range(500):
        best = max(pair.bids)
        pair.bids = {best: pair.bids[best]}
        pair.move()
        assert pair.bids


@pytest.mark.parametrize("seed", range(5))
def test_a_change_leads_from_the_book_before_to_the_book_after_and_ids_have_no_hole(seed: int) -> None:
    pair = market(seed)
    for _ in range(2000):
        last_id, before = pair.update_id, (dict(pair.bids), dict(pair.asks))
        change = pair.move()
        assert change.first_id == last_id + 1 <= change.last_id == pair.update_id
        sides = ((pair.bids, change.bids, change.bids_before), (pair.asks, change.asks, change.asks_before))
        for old, (new, changed, changed_before) in zip(before, sides, strict=True):
            assert {tick: lots for tick, lots in (old | changed).items() if lots} == new
            assert {tick: lots for tick, lots in (new | changed_before).items() if lots} == old


def test_a_trade_is_at_the_best_price_and_for_less_than_stands_there() -> None:
    pair = market()
    for number in range(1, 3000):
        best = {"buy": min(pair.asks), "sell": max(pair.bids)}
        trade = pair.trade(7, NOW_MS)
        assert trade.tick == best[trade.side]
        level = (pair.asks if trade.side == "buy" else pair.bids)[trade.tick]
        assert 0 < trade.units / UNITS < level / LOTS
        assert trade.number == number == hidden_number(float(units_text(trade.units)))
        pair.move()


def test_candles_and_the_day_are_what_the_trades_make_of_them() -> None:
    pair = market()
    done: list[Print] = []
    opened = pair.day.open
    for number in range(2000):
        done.append(pair.trade(number, NOW_MS + 50 * number))
        pair.move()
    now_s = done[-1].time_ms // 1000
    for seconds in BAR_SECONDS:
        start_s = now_s - now_s % seconds
        earlier = [trade.tick for trade in done if trade.time_ms // 1000 < start_s]
        within = [trade for trade in done if trade.time_ms // 1000 >= start_s]
        ticks = [earlier[-1] if earlier else opened, *(trade.tick for trade in within)]
        bar, is_finished = pair.bar(seconds, now_s)
        if is_finished:
            bar, is_finished = pair.bar(seconds, now_s)
        assert (bar.start_s, is_finished) == (start_s, False)
        assert (bar.open, bar.high, bar.low, bar.close) == (ticks[0], max(ticks), min(ticks), ticks[-1])
        assert bar.volume == sum(trade.units for trade in within)
        assert bar.turnover == sum(trade.units * trade.tick for trade in within)
    ticks = [opened, *(trade.tick for trade in done)]
    assert (pair.day.open, pair.day.high, pair.day.low, pair.day.close) == (opened, max(ticks), min(ticks), ticks[-1])
    assert pair.day.volume == sum(trade.units for trade in done)


def test_a_candle_that_ends_is_shown_once_more_as_finished() -> None:
    pair = market()
    trade = pair.trade(1, NOW_MS)
    assert pair.bar(60, NOW_MS // 1000)[1] is False
    bar, is_finished = pair.bar(60, NOW_MS // 1000 + 60)
    assert is_finished and bar.volume == trade.units
    bar, is_finished = pair.bar(60, NOW_MS // 1000 + 60)
    assert not is_finished and bar.volume == 0 and bar.open == bar.close == trade.tick


def test_a_candle_of_one_number_is_the_same_for_everybody() -> None:
    pair = market()
    pair.trade(1, NOW_MS)
    pair.bar(60, NOW_MS // 1000, 1)
    ended = pair.bar(60, NOW_MS // 1000 + 60, 2)
    assert ended[1] and pair.bar(60, NOW_MS // 1000 + 60, 2) == ended
    assert not pair.bar(60, NOW_MS // 1000 + 60, 3)[1]


def test_a_wrong_top_differs_from_the_true_one_and_crosses_nothing() -> None:
    pair = market()
    bids, asks = dict(pair.bids), dict(pair.asks)
    moved = 0
    for _ in range(3000):
        change = pair.move()
        event = Event(pair, "orderbook", change.last_id, change)
        corrupted = event.corrupted()
        touched = max(pair.bids) in change.bids or min(pair.asks) in change.asks
        assert (corrupted is not None) is touched
        if corrupted is not None:
            told = [
                {tick: lots for tick, lots in (side | said).items() if lots}
                for side, said in zip((bids, asks), corrupted.sides(), strict=True)
            ]
            bid, ask = max(told[0]), min(told[1])
            true_bid, true_ask = max(pair.bids), min(pair.asks)
            assert bid < ask
            assert (bid, told[0][bid], ask, told[1][ask]) != (true_bid, pair.bids[true_bid], true_ask, pair.asks[true_ask])
            moved += (bid, ask) != (true_bid, true_ask)
            # The same among the best levels alone.
            assert corrupted.sides(20) != event.sides(20)
        bids, asks = dict(pair.bids), dict(pair.asks)
    assert moved > 20


def test_ids_begin_anew_far_lower_and_not_below_zero() -> None:
    pair = market()
    for _ in range(2000):
        before = pair.update_id
        pair.restart()
        assert 0 < pair.update_id == (before - FALL if before > FALL else before)
        assert pair.move().first_id == (before - FALL if before > FALL else before) + 1
    assert pair.update_id < 2 * FALL


def test_a_liquidation_is_the_trade_before_it() -> None:
    trading = Trading(SYMBOLS, 4, mix=MIX | {"liquidation": 20})
    liquidations = [event for event in (trading.next(NOW_MS) for _ in range(3000)) if event.kind == "liquidation"]
    assert len(liquidations) > 300
    assert all(event.done in event.market.prints for event in liquidations if event.number == event.market.numbers["liquidation"])
    for symbol in SYMBOLS:
        numbers = [event.number for event in liquidations if event.market.symbol == symbol]
        assert numbers == list(range(1, len(numbers) + 1))


def test_a_day_ends_before_its_volume_crowds_out_the_number() -> None:
    pair = market()
    pair.trade(1, NOW_MS)
    pair.day.volume = DAY - 1
    trade = pair.trade(2, NOW_MS)
    assert pair.day.volume == trade.units
    for number in (0, 1, 12_345_678, UNITS - 1):
        assert hidden_number(float(numbered_text(DAY - 1, number))) == number


def test_numbers_of_a_stream_rise_by_one_and_a_top_is_shown_once() -> None:
    last: Counter[tuple[str, str]] = Counter()
    for event in events(3, 5000):
        stream = event.kind, event.market.symbol
        if event.kind == "orderbook":
            assert isinstance(event.detail, Change) and event.detail.last_id == event.number
        elif event.kind != "book_ticker":
            assert event.number == last[stream] + 1
        assert event.number > last[stream]
        last[stream] = event.number


def test_one_seed_gives_one_market() -> None:
    def told(seed: int) -> list[tuple[object, ...]]:
        return [(event.market.symbol, event.kind, event.number, event.detail) for event in events(seed, 2000)]

    assert told(5) == told(5)
    assert told(5) != told(6)


def test_kinds_come_as_often_as_the_mix_says() -> None:
    counts = Counter(event.kind for event in events(1, 20_000))
    assert set(counts) == set(MIX)
    for kind in ("trade", "ticker", "candle"):
        assert counts[kind] / 200 == pytest.approx(MIX[kind], rel=0.25)


def test_texts_of_numbers_are_exact() -> None:
    assert price_text(20_005) == "200.05"
    assert (lots_text(20_000), lots_text(0)) == ("2.0000", "0")
    assert (units_text(3 * UNITS + 42), numbered_text(7 * UNITS + 99, 42)) == ("3.00000042", "7.00000042")
    assert turnover_text(3 * UNITS * 20_005) == "600.1500000000"


def test_every_interval_has_candles() -> None:
    assert set(INTERVALS.values()) == set(BAR_SECONDS)


@pytest.mark.parametrize("markets_type", [GateioSpotMarkets, GateioFuturesMarkets])
def test_markets_on_one_connection_are_the_same_market(markets_type: type[GateioMarkets]) -> None:
    markets = markets_type(SYMBOLS, 9)
    trading = Trading(SYMBOLS, 9, mix=markets.mix)
    for _ in range(500):
        sent, event = markets.next(), trading.next(NOW_MS)
        assert (sent.stream, sent.number) == ((event.kind, event.market.symbol), event.number)
