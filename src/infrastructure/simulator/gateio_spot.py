"""Gate.io spot's frames, as that exchange would push them."""

from collections.abc import Mapping, Sequence

from infrastructure.simulator.gateio_frames import (
    INTERVALS,
    GateioMarkets,
    Render,
    changed_text,
    ids_text,
    levels_text,
    obu_result,
    push,
    whole_obu_result,
)
from infrastructure.simulator.market import Event, Market, Print, numbered_text, price_text, turnover_text, units_text

TRADES = "spot.trades"
BOOK_TICKER = "spot.book_ticker"
TICKERS = "spot.tickers"
CANDLESTICKS = "spot.candlesticks"
ORDER_BOOK_UPDATE = "spot.order_book_update"
OBU = "spot.obu"
ORDER_BOOK = "spot.order_book"


def book_update(event: Event, option: str, now_ms: int, dialect: str) -> str:
    """A change of a book on ``spot.order_book_update``; of the 20 ms stream, what it changes among the best 20 levels."""
    bids, asks = event.sides(20 if option == "20ms" else 100)
    result = (
        f'{{"t":{now_ms},"e":"depthUpdate","E":{now_ms // 1000},"s":"{event.market.native}",'
        f'{ids_text(event)},"b":[{changed_text(bids)}],"a":[{changed_text(asks)}]}}'
    )
    return push(ORDER_BOOK_UPDATE, result, now_ms)


def whole_book_update(event: Event, option: str, now_ms: int) -> str:
    """The same with the whole book in place of the change."""
    level = 20 if option == "20ms" else 100
    bids, asks = (levels_text(side[:level]) for side in event.market.levels())
    result = (
        f'{{"t":{now_ms},"full":true,"l":"{level}","e":"depthUpdate","E":{now_ms // 1000},"s":"{event.market.native}",'
        f'{ids_text(event)},"b":{bids},"a":{asks}}}'
    )
    return push(ORDER_BOOK_UPDATE, result, now_ms)


def obu(event: Event, option: str, now_ms: int, dialect: str) -> str:
    """A change of a book on ``spot.obu``."""
    return _obu(obu_result(event, option, now_ms), now_ms)


def whole_obu(market: Market, option: str, now_ms: int) -> str:
    """The whole book on ``spot.obu``."""
    return _obu(whole_obu_result(market, option, now_ms), now_ms)


def order_book(event: Event, option: str, now_ms: int, dialect: str) -> str:
    """The best levels of a book on ``spot.order_book``."""
    market = event.market
    bids, asks = (levels_text(side[: int(option)]) for side in market.levels())
    return push(
        ORDER_BOOK,
        f'{{"t":{now_ms},"lastUpdateId":{market.update_id},"s":"{market.native}","l":"{option}","bids":{bids},"asks":{asks}}}',
        now_ms,
    )


def book_ticker(event: Event, option: str, now_ms: int, dialect: str) -> str:
    """The top of a book."""
    (bid, bid_amount), (ask, ask_amount) = event.market.best()
    return push(
        BOOK_TICKER,
        f'{{"t":{now_ms},"u":{event.number},"s":"{event.market.native}","b":"{bid}","B":"{bid_amount}","a":"{ask}","A":"{ask_amount}"}}',
        now_ms,
    )


def trade(event: Event, option: str, now_ms: int, dialect: str) -> str:
    """One trade."""
    done = event.done
    result = (
        f'{{"id":{done.trade_id},"id_market":{done.number},"create_time":{now_ms // 1000},'
        f'"create_time_ms":"{time_text(done)}","side":"{done.side}","currency_pair":"{event.market.native}",'
        f'"amount":"{units_text(done.units)}","price":"{price_text(done.tick)}","range":"{done.number}-{done.number}"}}'
    )
    return push(TRADES, result, now_ms)


def time_text(done: Print) -> str:
    """When a trade was, in ms, with the decimals that the exchange has."""
    return f"{done.time_ms}.{done.number % 10_000:04d}"


def ticker(event: Event, option: str, now_ms: int, dialect: str) -> str:
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


def candle(event: Event, option: str, now_ms: int, dialect: str) -> str:
    """The candle of now, or the one that has just ended."""
    bar, is_finished = event.market.bar(INTERVALS[option], now_ms // 1000, event.number)
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


def _obu(result: str, now_ms: int) -> str:
    return f'{{"channel":"{OBU}","result":{result},"time_ms":{now_ms},"event":"update"}}'


#: By channel: the kind of event that it pushes, and how.
CHANNELS: Mapping[str, tuple[str, Render]] = {
    ORDER_BOOK_UPDATE: ("orderbook", book_update),
    OBU: ("orderbook", obu),
    ORDER_BOOK: ("orderbook", order_book),
    BOOK_TICKER: ("book_ticker", book_ticker),
    TRADES: ("trade", trade),
    TICKERS: ("ticker", ticker),
    CANDLESTICKS: ("candle", candle),
}


class GateioSpotMarkets(GateioMarkets):
    """Several pairs on one connection."""

    channels = CHANNELS
    books = (ORDER_BOOK_UPDATE, "100ms"), (OBU, "50")
    others = {"book_ticker": (BOOK_TICKER, ""), "trade": (TRADES, ""), "ticker": (TICKERS, ""), "candle": (CANDLESTICKS, "1m")}
    whole_obu = staticmethod(whole_obu)

    @staticmethod
    def native(symbol: str) -> str:
        """``BTC_USDT``."""
        return symbol.replace("/", "_")

    def rest_book(self, market: Market, now_ms: int) -> str:
        """The REST answer with the whole book."""
        return rest_book(market.update_id, *market.levels(), now_ms)
