"""Gate.io spot's frames, as that exchange would push them, and a market that pushes them on one connection, from a seed.

Every message can be told from every other of its stream. Book messages carry update ids; a trade, a ticker and a candle carry a
number in the last eight digits of an amount, which no client looks at. Frames are put together as text: a simulator that must keep up
with its readers has no time for a JSON encoder, and every name and number in them is its own.
"""

import random
from collections.abc import Callable, Iterator, Sequence

from infrastructure.simulator.market import (
    LOTS,
    OPENED_MS,
    TICKS,
    Change,
    Event,
    Levels,
    Market,
    Print,
    Sent,
    Trading,
    numbered_text,
    price_text,
    turnover_text,
    units_text,
)

TRADES = "spot.trades"
BOOK_TICKER = "spot.book_ticker"
TICKERS = "spot.tickers"
CANDLESTICKS = "spot.candlesticks"
ORDER_BOOK_UPDATE = "spot.order_book_update"
OBU = "spot.obu"
ORDER_BOOK = "spot.order_book"

#: By the name of an interval, in seconds.
INTERVALS = {
    "10s": 10,
    "1m": 60,
    "3m": 180,
    "5m": 300,
    "15m": 900,
    "30m": 1800,
    "1h": 3600,
    "2h": 7200,
    "4h": 14_400,
    "6h": 21_600,
    "8h": 28_800,
    "12h": 43_200,
    "1d": 86_400,
    "7d": 604_800,
    "30d": 2_592_000,
}


def push(channel: str, result: str, now_ms: int) -> str:
    """A push of any channel but ``spot.obu``."""
    return f'{{"time":{now_ms // 1000},"time_ms":{now_ms},"channel":"{channel}","event":"update","result":{result}}}'


def book_update(event: Event, option: str, now_ms: int) -> str:
    """A change of a book on ``spot.order_book_update``; of the 20 ms stream, what it changes among the best 20 levels."""
    change = event.detail
    assert isinstance(change, Change)
    bids, asks = change.bids, change.asks
    if option == "20ms":
        bids = _within(20, event.market.bids, change.bids_before, -1)
        asks = _within(20, event.market.asks, change.asks_before, 1)
    result = (
        f'{{"t":{now_ms},"e":"depthUpdate","E":{now_ms // 1000},"s":"{event.market.native}",'
        f'"U":{change.first_id},"u":{change.last_id},"b":[{_changed(bids)}],"a":[{_changed(asks)}]}}'
    )
    return push(ORDER_BOOK_UPDATE, result, now_ms)


def whole_book_update(event: Event, option: str, now_ms: int) -> str:
    """The same with the whole book in place of the change."""
    change = event.detail
    assert isinstance(change, Change)
    level = 20 if option == "20ms" else 100
    bids, asks = (levels_text(side[:level]) for side in event.market.levels())
    result = (
        f'{{"t":{now_ms},"full":true,"l":"{level}","e":"depthUpdate","E":{now_ms // 1000},"s":"{event.market.native}",'
        f'"U":{change.first_id},"u":{change.last_id},"b":{bids},"a":{asks}}}'
    )
    return push(ORDER_BOOK_UPDATE, result, now_ms)


def obu(event: Event, option: str, now_ms: int) -> str:
    """A change of a book on ``spot.obu``: a side without changes is left out."""
    change = event.detail
    assert isinstance(change, Change)
    sides = "".join(f',"{name}":[{_changed(side)}]' for name, side in (("b", change.bids), ("a", change.asks)) if side)
    return _obu(f'{{"t":{now_ms},"s":"ob.{event.market.native}.{option}","U":{change.first_id},"u":{change.last_id}{sides}}}', now_ms)


def whole_obu(market: Market, option: str, now_ms: int) -> str:
    """The whole book on ``spot.obu``."""
    bids, asks = (levels_text(side[: int(option)]) for side in market.levels())
    return _obu(
        f'{{"t":{now_ms},"full":true,"s":"ob.{market.native}.{option}","u":{market.update_id},"b":{bids},"a":{asks}}}',
        now_ms,
    )


def order_book(event: Event, option: str, now_ms: int) -> str:
    """The best levels of a book on ``spot.order_book``."""
    market = event.market
    bids, asks = (levels_text(side[: int(option)]) for side in market.levels())
    return push(
        ORDER_BOOK,
        f'{{"t":{now_ms},"lastUpdateId":{market.update_id},"s":"{market.native}","l":"{option}","bids":{bids},"asks":{asks}}}',
        now_ms,
    )


def book_ticker(event: Event, option: str, now_ms: int) -> str:
    """The top of a book."""
    (bid, bid_amount), (ask, ask_amount) = event.market.best()
    return push(
        BOOK_TICKER,
        f'{{"t":{now_ms},"u":{event.number},"s":"{event.market.native}","b":"{bid}","B":"{bid_amount}","a":"{ask}","A":"{ask_amount}"}}',
        now_ms,
    )


def trade(event: Event, option: str, now_ms: int) -> str:
    """One trade."""
    done = event.detail
    assert isinstance(done, Print)
    result = (
        f'{{"id":{done.trade_id},"id_market":{done.number},"create_time":{now_ms // 1000},'
        f'"create_time_ms":"{time_text(done)}","side":"{done.side}","currency_pair":"{event.market.native}",'
        f'"amount":"{units_text(done.units)}","price":"{price_text(done.tick)}","range":"{done.number}-{done.number}"}}'
    )
    return push(TRADES, result, now_ms)


def time_text(done: Print) -> str:
    """When a trade was, in ms, with the decimals that the exchange has."""
    return f"{done.time_ms}.{done.number % 10_000:04d}"


def ticker(event: Event, option: str, now_ms: int) -> str:
    """What a market did in its day."""
    return push(TICKERS, ticker_result(event.market, numbered_text(event.market.day.volume, event.number)), now_ms)


def ticker_result(market: Market, volume: str) -> str:
    """The same as ``GET /spot/tickers`` has it."""
    day = market.day
    (bid, _), (ask, _) = market.best()
    return (
        f'{{"currency_pair":"{market.native}","last":"{price_text(day.close)}","lowest_ask":"{ask}","highest_bid":"{bid}",'
        f'"change_percentage":"{(day.close - day.open) * 100 / day.open:.4f}","base_volume":"{volume}",'
        f'"quote_volume":"{turnover_text(day.turnover)}","high_24h":"{price_text(day.high)}","low_24h":"{price_text(day.low)}"}}'
    )


def candle(event: Event, option: str, now_ms: int) -> str:
    """The candle of now, or the one that has just ended."""
    bar, is_finished = event.market.bar(INTERVALS[option], now_ms // 1000)
    result = (
        f'{{"t":"{bar.start_s}","v":"{turnover_text(bar.turnover)}","c":"{price_text(bar.close)}","h":"{price_text(bar.high)}",'
        f'"l":"{price_text(bar.low)}","o":"{price_text(bar.open)}","n":"{option}_{event.market.native}",'
        f'"a":"{numbered_text(bar.volume, event.number)}","w":{"true" if is_finished else "false"}}}'
    )
    return push(CANDLESTICKS, result, now_ms)


def rest_book(update_id: int, bids: Sequence[Sequence[str]], asks: Sequence[Sequence[str]], now_ms: int, with_id: bool = True) -> str:
    """The answer of ``GET /spot/order_book``."""
    start = f'"id":{update_id},' if with_id else ""
    return f'{{{start}"current":{now_ms},"update":{now_ms},"asks":{levels_text(asks)},"bids":{levels_text(bids)}}}'


def levels_text(levels: Sequence[Sequence[str]]) -> str:
    """Levels as JSON."""
    return "[" + ",".join(f'["{price}","{amount}"]' for price, amount in levels) + "]"


def _within(count: int, levels: Levels, before: Levels, outward: int) -> Levels:
    """How the best ``count`` levels differ from those of before a change; ``before`` has the levels that it touched."""
    old = {tick: lots for tick, lots in (levels | before).items() if lots}
    shown, was_shown = ({tick: side[tick] for tick in sorted(side, key=outward.__mul__)[:count]} for side in (levels, old))
    changed = {tick: lots for tick, lots in shown.items() if was_shown.get(tick) != lots}
    return changed | {tick: 0 for tick in was_shown if tick not in shown}


def _changed(levels: Levels) -> str:
    # Written out, because most of the time of most frames goes here.
    return ",".join(
        [f'["{tick / TICKS:.2f}","{lots / LOTS:.4f}"]' if lots else f'["{tick / TICKS:.2f}","0"]' for tick, lots in levels.items()]
    )


def _obu(result: str, now_ms: int) -> str:
    return f'{{"channel":"{OBU}","result":{result},"time_ms":{now_ms},"event":"update"}}'


Render = Callable[[Event, str, int], str]

#: By channel: the kind of event that it pushes, and how, from the event, the subscription's option and the time in ms.
CHANNELS: dict[str, tuple[str, Render]] = {
    ORDER_BOOK_UPDATE: ("orderbook", book_update),
    OBU: ("orderbook", obu),
    ORDER_BOOK: ("orderbook", order_book),
    BOOK_TICKER: ("book_ticker", book_ticker),
    TRADES: ("trade", trade),
    TICKERS: ("ticker", ticker),
    CANDLESTICKS: ("candle", candle),
}

#: What one connection of ``GateioSpotMarkets`` is subscribed to, by kind of event: channel and option.
_OPEN = {
    "book_ticker": (BOOK_TICKER, ""),
    "trade": (TRADES, ""),
    "ticker": (TICKERS, ""),
    "candle": (CANDLESTICKS, "1m"),
}


class GateioSpotMarkets:
    """Several pairs on one connection. ``symbols`` are unified; every second one sends its book over ``spot.obu``."""

    def __init__(self, symbols: Sequence[str], seed: int) -> None:
        self._trading = Trading(symbols, seed)
        self.markets = self._trading.markets
        self._clock = random.Random(f"clock {seed}")
        self._now_ms = OPENED_MS

    def opening(self) -> Iterator[Sent]:
        """What a client gets after subscribing: acknowledgements, and the whole book of each ``obu`` stream."""
        for channel in (ORDER_BOOK_UPDATE, OBU, BOOK_TICKER, TRADES, TICKERS, CANDLESTICKS):
            answer = push(channel, '{"status":"success"}', self._now_ms).replace('"update"', '"subscribe"')
            yield Sent(answer.encode(), None, 0)
        for market in self.markets.values():
            if market.uses_obu:
                yield self.whole_book(market.symbol)

    def next(self) -> Sent:
        """The next frame of a randomly chosen pair."""
        self._now_ms += self._clock.randrange(3)
        return self._sent(self._trading.next(self._now_ms))

    def skip_update(self, symbol: str) -> None:
        """The exchange loses a change of this pair's book: the next push leaves a hole in its ids."""
        self.markets[symbol].move()

    def update(self, symbol: str) -> Sent:
        """The next push of this pair's book."""
        return self.make(self.markets[symbol], "orderbook")

    def replacement(self, symbol: str) -> Sent:
        """The next push of an ``obu`` pair's book, whole and unasked."""
        change = self.markets[symbol].move()
        return Sent(self.whole_book(symbol).raw, ("orderbook", symbol), change.last_id)

    def whole_book(self, symbol: str) -> Sent:
        """The whole book of an ``obu`` pair as it is, which answers a subscription."""
        return Sent(whole_obu(self.markets[symbol], "50", self._now_ms).encode(), None, 0)

    def snapshot(self, symbol: str) -> bytes:
        """The REST answer with the whole book."""
        market = self.markets[symbol]
        return rest_book(market.update_id, *market.levels(), self._now_ms).encode()

    def make(self, market: Market, kind: str) -> Sent:
        """The next frame of this pair and kind."""
        return self._sent(self._trading.make(market, kind, self._now_ms))

    def _sent(self, event: Event) -> Sent:
        market = event.market
        if event.kind == "orderbook":
            channel, option = (OBU, "50") if market.uses_obu else (ORDER_BOOK_UPDATE, "100ms")
        else:
            channel, option = _OPEN[event.kind]
        _, render = CHANNELS[channel]
        return Sent(render(event, option, self._now_ms).encode(), (event.kind, market.symbol), event.number)
