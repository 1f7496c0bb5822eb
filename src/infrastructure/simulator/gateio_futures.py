"""Gate.io USDT futures' frames, as that exchange would push them.

Amounts are contracts. A client whose handshake said ``X-Gate-Size-Decimal: 1`` gets them as exact texts, any other as whole numbers,
truncated; ``futures.obu`` has texts for both.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from infrastructure.simulator.gateio_frames import (
    INTERVALS,
    GateioMarkets,
    Render,
    ids_text,
    obu_result,
    push,
    whole_obu_result,
)
from infrastructure.simulator.market import (
    LOTS,
    MIX,
    TICKS,
    UNITS,
    Event,
    Market,
    Print,
    lots_text,
    numbered_text,
    price_text,
    turnover_text,
    units_text,
)

TRADES = "futures.trades"
BOOK_TICKER = "futures.book_ticker"
TICKERS = "futures.tickers"
CONTRACT_STATS = "futures.contract_stats"
CANDLESTICKS = "futures.candlesticks"
ORDER_BOOK_UPDATE = "futures.order_book_update"
OBU = "futures.obu"
ORDER_BOOK = "futures.order_book"
LIQUIDATIONS = "futures.public_liquidates"

#: The dialect of whoever sends the header.
DECIMAL = "decimal"

#: How much of the base one contract is, by the place of its market: as text, and in ten-thousandths.
_MULTIPLIERS = (("0.0001", 1), ("0.01", 100), ("1", 10_000), ("10", 100_000))
FUNDING_S = 28_800
#: Of which there are candles, beside those of trades.
OTHER_PRICES = ("mark", "index")
#: Of which there are statistics, in seconds.
STATS_INTERVALS = {name: INTERVALS[name] for name in ("1m", "5m", "15m", "30m", "1h", "4h", "8h", "1d", "7d")} | {"3d": 259_200}
#: Every so many tickers one is whole; the others have only what changed.
_WHOLE_TICKERS = 3


class Contract(NamedTuple):
    """What one contract of a market is."""

    multiplier: str
    ten_thousandths: int

    def base_units(self, units: int) -> int:
        """Contracts in base currency, both in units."""
        return units * self.ten_thousandths // 10_000


def contract_of(market: Market) -> Contract:
    """The contract that is traded on a market."""
    return Contract(*_MULTIPLIERS[market.place % len(_MULTIPLIERS)])


def size(units: int, dialect: str) -> str:
    """Contracts in JSON: a text, or a number truncated toward zero."""
    text = f"-{units_text(-units)}" if units < 0 else units_text(units)
    return f'"{text}"' if dialect else text.partition(".")[0]


def level_size(lots: int, dialect: str) -> str:
    """The contracts of a level in JSON."""
    return f'"{lots_text(lots)}"' if dialect else str(lots // LOTS)


def levels(side: Iterable[tuple[int, int]], dialect: str) -> str:
    """Levels in JSON, from ticks and lots."""
    return "[" + ",".join([f'{{"p":"{tick / TICKS:.2f}","s":{level_size(lots, dialect)}}}' for tick, lots in side]) + "]"


def whole_sides(market: Market, level: int, dialect: str) -> tuple[str, str]:
    """The best levels of a book in JSON: bids and asks."""
    bids, asks = market.ranked()
    return levels(bids[:level], dialect), levels(asks[:level], dialect)


def _level_of(option: str) -> int:
    """``100ms-20`` shows 20 levels."""
    return int(option.partition("-")[2])


def book_update(event: Event, option: str, now_ms: int, dialect: str) -> str:
    """A change of a book on ``futures.order_book_update``, or what it changes among the levels that the stream shows."""
    level = _level_of(option)
    bids, asks = (levels(side.items(), dialect) for side in event.sides(level))
    return push(
        ORDER_BOOK_UPDATE, f'{{"t":{now_ms},"s":"{event.market.native}",{ids_text(event)},"b":{bids},"a":{asks},"l":"{level}"}}', now_ms
    )


def whole_book_update(event: Event, option: str, now_ms: int, dialect: str) -> str:
    """The same with the whole book in place of the change."""
    level = _level_of(option)
    bids, asks = whole_sides(event.market, level, dialect)
    result = f'{{"t":{now_ms},"full":true,"s":"{event.market.native}",{ids_text(event)},"b":{bids},"a":{asks},"l":"{level}"}}'
    return push(ORDER_BOOK_UPDATE, result, now_ms)


def obu(event: Event, option: str, now_ms: int, dialect: str) -> str:
    """A change of a book on ``futures.obu``."""
    return push(OBU, obu_result(event, option, now_ms), now_ms)


def whole_obu(market: Market, option: str, now_ms: int) -> str:
    """The whole book on ``futures.obu``."""
    return push(OBU, whole_obu_result(market, option, now_ms), now_ms)


def order_book(event: Event, option: str, now_ms: int, dialect: str) -> str:
    """The best levels of a book on ``futures.order_book``."""
    market = event.market
    bids, asks = whole_sides(market, int(option), dialect)
    result = f'{{"t":{now_ms},"contract":"{market.native}","id":{market.update_id},"asks":{asks},"bids":{bids},"l":"{option}"}}'
    return push(ORDER_BOOK, result, now_ms, "all")


def book_ticker(event: Event, option: str, now_ms: int, dialect: str) -> str:
    """The top of a book."""
    market = event.market
    bid, ask = max(market.bids), min(market.asks)
    return push(
        BOOK_TICKER,
        f'{{"t":{now_ms},"u":{event.number},"s":"{market.native}","b":"{price_text(bid)}","B":{level_size(market.bids[bid], dialect)},'
        f'"a":"{price_text(ask)}","A":{level_size(market.asks[ask], dialect)}}}',
        now_ms,
    )


def trade(event: Event, option: str, now_ms: int, dialect: str) -> str:
    """One trade."""
    return push(TRADES, f"[{trade_result(event.market, event.done, dialect)}]", now_ms)


def trade_result(market: Market, done: Print, dialect: str) -> str:
    """The same, and as ``GET .../trades`` has it but for its time."""
    return (
        f'{{"contract":"{market.native}","create_time":{done.time_ms // 1000},"create_time_ms":{done.time_ms},"id":{done.trade_id},'
        f'"price":"{price_text(done.tick)}","size":{size(signed(done, done.units), dialect)}}}'
    )


def signed(done: Print, units: int) -> int:
    """An amount with the sign of a trade's side: a seller's is below 0."""
    return units if done.side == "buy" else -units


def ticker(event: Event, option: str, now_ms: int, dialect: str) -> str:
    """What a market did in its day: most pushes have only what changed."""
    is_whole = event.number % _WHOLE_TICKERS == 1
    return push(TICKERS, f"[{ticker_result(event.market, event.number, now_ms, dialect, is_whole)}]", now_ms)


def ticker_result(market: Market, number: int, now_ms: int, dialect: str, is_whole: bool = True) -> str:
    """The same, and as ``GET .../tickers`` has it."""
    day, contract = market.day, contract_of(market)
    volume = numbered_text(day.volume, number)
    turnover = turnover_text(day.turnover * contract.ten_thousandths // 10_000)
    changed = (
        f'"contract":"{market.native}","last":"{price_text(day.close)}","mark_price":"{middle_text(market)}",'
        f'"index_price":"{middle_text(market, -1)}","volume_24h":"{volume if dialect else volume.partition(".")[0]}",'
        f'"volume_24h_base":"{numbered_text(contract.base_units(day.volume), number)}","volume_24h_quote":"{turnover}",'
        f'"volume_24h_settle":"{turnover}","t":{now_ms}'
    )
    if not is_whole:
        return f"{{{changed}}}"
    next_s = now_ms // 1000 - now_ms // 1000 % FUNDING_S + FUNDING_S
    interest = units_text(open_interest(market))
    return (
        f'{{{changed},"change_percentage":"{(day.close - day.open) * 100 / day.open:.4f}",'
        f'"change_price":"{(day.close - day.open) / TICKS:.2f}","change_from":"{price_text(day.open)}",'
        f'"total_size":"{interest if dialect else interest.partition(".")[0]}","funding_rate":"{funding_text(number)}",'
        f'"funding_rate_indicative":"{funding_text(number)}","funding_interval":{FUNDING_S},"funding_offset":0,'
        f'"funding_next_apply":{next_s},"quanto_base_rate":"","low_24h":"{price_text(day.low)}","high_24h":"{price_text(day.high)}",'
        f'"price_type":"last"}}'
    )


def middle_text(market: Market, half_ticks: int = 0) -> str:
    """A price in the middle of the book, which is the mark price, or so many half ticks above."""
    return f"{(max(market.bids) + min(market.asks) + half_ticks) / 2 / TICKS:.3f}"


def open_interest(market: Market) -> int:
    """Contracts that are held, in units: every trade opens some."""
    return 10**6 * UNITS + market.day.volume


def contract_stats(event: Event, option: str, now_ms: int, dialect: str) -> str:
    """Statistics of an interval, with what the ticker says too.

    A ticker's amounts with a number behind are not among them; here the ratio of long to short accounts has it.
    """
    market, now_s = event.market, now_ms // 1000
    interest = open_interest(market)
    value = turnover_text(contract_of(market).base_units(interest) * (max(market.bids) + min(market.asks)) // 2)
    nothing = ",".join(f'"{side}_liq_{name}":0' for side in ("long", "short") for name in ("size", "amount", "usd"))
    result = (
        f'[{{"time":{now_s - now_s % STATS_INTERVALS[option]},"contract":"{market.native}","mark_price":"{middle_text(market)}",'
        f'"lsr_taker":1,"lsr_account":{numbered_text(UNITS, event.number)},"top_lsr_account":1.5,"top_lsr_size":1.02,{nothing},'
        f'"open_interest":{size(interest, dialect)},"open_interest_usd":{value}}}]'
    )
    return push(CONTRACT_STATS, result, now_ms)


def funding_text(number: int) -> str:
    """A funding rate that moves a little from ticker to ticker, also below 0."""
    return f"{(number % 41 - 20) / 1_000_000:.6f}"


def candle(event: Event, option: str, now_ms: int, dialect: str) -> str:
    """The candle of now, or the one that has just ended: ``v`` in contracts, ``a`` in base currency.

    Those of mark and index price, which here are what was paid, say so in front of the contract.
    """
    market = event.market
    price, underscore, interval = option.rpartition("_")
    bar, is_finished = market.bar(INTERVALS[interval], now_ms // 1000, event.number)
    volume = bar.volume - bar.volume % UNITS + event.number % UNITS
    result = (
        f'[{{"t":{bar.start_s},"v":{size(volume, dialect)},"c":"{price_text(bar.close)}","h":"{price_text(bar.high)}",'
        f'"l":"{price_text(bar.low)}","o":"{price_text(bar.open)}","n":"{interval}_{price}{underscore}{market.native}",'
        f'"a":"{numbered_text(contract_of(market).base_units(bar.volume), event.number)}","w":{"true" if is_finished else "false"}}}]'
    )
    return push(CANDLESTICKS, result, now_ms)


def liquidation(event: Event, option: str, now_ms: int, dialect: str) -> str:
    """A liquidation: the trade before it was the exchange's own order, to the whole contract."""
    done = event.done
    contracts = done.units - done.units % UNITS + event.number % UNITS
    result = (
        f'[{{"price":"{price_text(done.tick)}","size":{size(signed(done, contracts), dialect)},"time_ms":{now_ms},'
        f'"contract":"{event.market.native}"}}]'
    )
    return push(LIQUIDATIONS, result, now_ms)


def rest_book(update_id: int, bids: str, asks: str, now_ms: int, with_id: bool = True) -> str:
    """The answer of ``GET /futures/usdt/order_book``, from levels in JSON."""
    start = f'"id":{update_id},' if with_id else ""
    return f'{{{start}"current":{now_ms / 1000:.3f},"update":{now_ms / 1000:.3f},"asks":{asks},"bids":{bids}}}'


#: By channel: the kind of event that it pushes, and how.
CHANNELS: Mapping[str, tuple[str, Render]] = {
    ORDER_BOOK_UPDATE: ("orderbook", book_update),
    OBU: ("orderbook", obu),
    ORDER_BOOK: ("orderbook", order_book),
    BOOK_TICKER: ("book_ticker", book_ticker),
    TRADES: ("trade", trade),
    TICKERS: ("ticker", ticker),
    CONTRACT_STATS: ("ticker", contract_stats),
    CANDLESTICKS: ("candle", candle),
    LIQUIDATIONS: ("liquidation", liquidation),
}


class GateioFuturesMarkets(GateioMarkets):
    """Several contracts on one connection, whose client sent the header."""

    channels = CHANNELS
    books = (ORDER_BOOK_UPDATE, "100ms-100"), (OBU, "50")
    others = {
        "book_ticker": (BOOK_TICKER, ""),
        "trade": (TRADES, ""),
        "ticker": (TICKERS, ""),
        "candle": (CANDLESTICKS, "1m"),
        "liquidation": (LIQUIDATIONS, ""),
    }
    mix = MIX | {"liquidation": 1}
    dialect = DECIMAL
    whole_obu = staticmethod(whole_obu)

    @staticmethod
    def native(symbol: str) -> str:
        """``BTC_USDT``."""
        return symbol.partition(":")[0].replace("/", "_")

    def rest_book(self, market: Market, now_ms: int) -> str:
        """The REST answer with the whole book."""
        return rest_book(market.update_id, *whole_sides(market, len(market.bids) + len(market.asks), self.dialect), now_ms)
