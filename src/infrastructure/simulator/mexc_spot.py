"""MEXC spot's frames, as that exchange would push them, and a market that pushes them on one connection, from a seed.

Every push is a Protocol Buffers message, written here field by field with the exchange's numbers and by nothing else: no schema and no
library, so that a simulator and its reader cannot share a mistake. Fields come in ascending order and the body last, as observed.

Book messages carry versions; a trade, a ticker and a candle carry a number in the last eight digits of an amount, which no client looks
at. Numbers are texts without trailing zeros, but for those of whole books, which are filled up to the pair's digits.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from hashlib import md5
from typing import NamedTuple

from infrastructure.simulator.market import (
    DIGITS,
    LOTS,
    TICKS,
    Event,
    Levels,
    Market,
    Markets,
    Print,
    Ranked,
    Sent,
    Topic,
    numbered_text,
    price_text,
    turnover_text,
    units_text,
)

DEALS = "spot@public.aggre.deals.v3.api.pb"
DEPTH = "spot@public.aggre.depth.v3.api.pb"
BOOK_TICKER = "spot@public.aggre.bookTicker.v3.api.pb"
BOOK_TICKER_BATCH = "spot@public.bookTicker.batch.v3.api.pb"
LIMIT_DEPTH = "spot@public.limit.depth.v3.api.pb"
KLINE = "spot@public.kline.v3.api.pb"
MINI_TICKER = "spot@public.miniTicker.v3.api.pb"
MINI_TICKERS = "spot@public.miniTickers.v3.api.pb"

#: By the name of an interval, in seconds.
INTERVALS = {
    "Min1": 60,
    "Min5": 300,
    "Min15": 900,
    "Min30": 1800,
    "Min60": 3600,
    "Hour4": 14_400,
    "Hour8": 28_800,
    "Day1": 86_400,
    "Week1": 604_800,
    "Month1": 2_592_000,
}
#: How often the streams named ``aggre`` are said to push.
SPEEDS = ("100ms", "10ms")
#: Where a ticker's day may begin.
ZONES = (
    "24H",
    *(f"UTC-{hours}" for hours in (10, 8, 7, 6, 5, 4, 3)),
    *(f"UTC+{hours}" for hours in (*range(5), "4:30", 5, "5:30", *range(6, 13), "12:45", 13)),
)

# Field numbers of the wrapper, and of its bodies: the body of a channel is one of these.
_CHANNEL, _SYMBOL, _SYMBOL_ID, _CREATE_TIME, _SEND_TIME = 1, 3, 4, 5, 6
_LIMIT_DEPTHS, _SPOT_KLINE, _MINI_TICKER, _MINI_TICKERS, _TICKER_BATCH, _AGGRE_DEPTHS, _AGGRE_DEALS, _AGGRE_TICKER = (
    303,
    308,
    309,
    310,
    311,
    313,
    314,
    315,
)
#: What tells whose a push is.
WRAPPER_TEXTS = (_CHANNEL, _SYMBOL)
#: Wire types: a varint, and a length with so many bytes behind it.
_VARINT, _BYTES = 0, 2


def varint(value: int) -> bytes:
    """A number, seven bits a byte, the lowest first. Not for negative ones: no field here has any."""
    if value < 0x80:
        return bytes((value,))
    parts = bytearray()
    while value >= 0x80:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


@cache
def tag(number: int, wire_type: int) -> bytes:
    """What stands before a field."""
    return varint(number << 3 | wire_type)


def number_field(number: int, value: int) -> bytes:
    """A whole number; 0 is left out, as the format wants it."""
    return tag(number, _VARINT) + varint(value) if value else b""


def bytes_field(number: int, content: bytes) -> bytes:
    """A message inside a message."""
    return tag(number, _BYTES) + varint(len(content)) + content


def text_field(number: int, text: str) -> bytes:
    """A text; an empty one is left out, as the format wants it."""
    return bytes_field(number, text.encode()) if text else b""


def fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The number and content of each field of a message, a number or bytes. Raises ValueError where it is none of ours."""
    place = 0
    while place < len(message):
        key, place = _read_varint(message, place)
        content: int | bytes
        content, place = _read_varint(message, place)
        if key & 7 == _BYTES:
            start, place = place, place + content
            if place > len(message):
                raise ValueError(f"field {key >> 3} has no end")
            content = message[start:place]
        elif key & 7 != _VARINT:
            raise ValueError(f"field {key >> 3} is of wire type {key & 7}")
        yield key >> 3, content


def _read_varint(message: bytes, place: int) -> tuple[int, int]:
    """A varint, and the place behind it."""
    value = 0
    for shift in range(0, 70, 7):
        if place == len(message):
            break
        byte = message[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise ValueError("a varint has no end")


def unpadded(text: str) -> str:
    """A number with decimals, without the zeros at its end."""
    return text.rstrip("0").rstrip(".")


def native(symbol: str) -> str:
    """What the exchange calls a pair."""
    return symbol.replace("/", "")


def stream_name(channel: str, symbol: str, option: str) -> str:
    """The whole name of a stream, as clients subscribe to it."""
    return CHANNELS[channel].form.format(channel=channel, symbol=native(symbol), option=option)


def deals(event: Event, option: str, now_ms: int, is_old: bool = False) -> bytes:
    """One trade; before June 2026 it had no id."""
    done = event.done
    item = (
        text_field(1, unpadded(price_text(done.tick)))
        + text_field(2, unpadded(units_text(done.units)))
        + number_field(3, 1 if done.side == "buy" else 2)
        + number_field(4, done.time_ms)
        + (b"" if is_old else text_field(5, trade_id(done)))
    )
    body = bytes_field(1, item) + text_field(2, f"{DEALS}@{option}")
    return _sent(DEALS, event.market, option, now_ms) + bytes_field(_AGGRE_DEALS, body)


def trade_id(done: Print) -> str:
    """The ids of the two orders that met."""
    first = 730_000_000_000_000_000 + 2 * done.trade_id
    return f"{first}X0_{first + 1}X0"


def depth(event: Event, option: str, now_ms: int, is_old: bool = False) -> bytes:
    """A change of a book: a side without changes is absent."""
    change = event.change
    bids, asks = event.sides()
    body = (
        _changed(1, asks)
        + _changed(2, bids)
        + text_field(3, f"{DEPTH}@{option}")
        + text_field(4, str(change.first_id))
        + text_field(5, str(change.last_id))
        + _last_order(6, now_ms, is_old)
    )
    return _sent(DEPTH, event.market, option, now_ms) + bytes_field(_AGGRE_DEPTHS, body)


def limit_depth(event: Event, option: str, now_ms: int, is_old: bool = False) -> bytes:
    """The best levels of a book, their numbers filled up."""
    bids, asks = (padded(side[: int(option)]) for side in event.market.ranked())
    body = (
        b"".join(bytes_field(1, _level(*level)) for level in asks)
        + b"".join(bytes_field(2, _level(*level)) for level in bids)
        + text_field(3, LIMIT_DEPTH)
        + text_field(4, str(event.market.update_id))
        + _last_order(5, now_ms, is_old)
    )
    return _sent(LIMIT_DEPTH, event.market, option, now_ms) + bytes_field(_LIMIT_DEPTHS, body)


def book_ticker(event: Event, option: str, now_ms: int, is_old: bool = False) -> bytes:
    """The top of a book; before June 2026 it had no version."""
    version = b"" if is_old else text_field(5, str(event.number))
    body = _top(event.market) + version + _last_order(6, now_ms, is_old)
    return _sent(BOOK_TICKER, event.market, option, now_ms) + bytes_field(_AGGRE_TICKER, body)


def book_ticker_batch(event: Event, option: str, now_ms: int, is_old: bool = False) -> bytes:
    """The top of a book, as a list of one."""
    version = b"" if is_old else text_field(2, str(event.number))
    body = bytes_field(1, _top(event.market)) + version + _last_order(3, now_ms, is_old)
    return _sent(BOOK_TICKER_BATCH, event.market, option, now_ms) + bytes_field(_TICKER_BATCH, body)


def kline(event: Event, option: str, now_ms: int, is_old: bool = False) -> bytes:
    """The candle of now, or the one that has just ended: nothing in it says so but that the next one begins later."""
    bar, _ = event.market.bar(INTERVALS[option], now_ms // 1000)
    opened, closed, high, low = (unpadded(price_text(tick)) for tick in (bar.open, bar.close, bar.high, bar.low))
    body = (
        text_field(1, option)
        + number_field(2, bar.start_s)
        + text_field(3, opened)
        + text_field(4, closed)
        + text_field(5, high)
        + text_field(6, low)
        + text_field(7, unpadded(numbered_text(bar.volume, event.number)))
        + text_field(8, unpadded(turnover_text(bar.turnover)))
        + number_field(9, bar.end_s)
    )
    return _created(event.market.symbol, option, now_ms) + bytes_field(_SPOT_KLINE, body)


def mini_ticker(event: Event, option: str, now_ms: int, is_old: bool = False) -> bytes:
    """What a market did in its day."""
    return _sent(MINI_TICKER, event.market, option, now_ms) + bytes_field(_MINI_TICKER, _day(event.market, event.number))


def mini_tickers(markets: Iterable[Market], option: str, now_ms: int, number: int) -> bytes:
    """What all markets did, each with the number of the push; it belongs to no symbol."""
    body = b"".join(bytes_field(1, _day(market, number)) for market in markets)
    head = text_field(_CHANNEL, f"{MINI_TICKERS}@{option}") + number_field(_SEND_TIME, now_ms)
    return head + bytes_field(_MINI_TICKERS, body)


def bodyless(topic: Topic, now_ms: int) -> bytes:
    """A wrapper with nothing in it, as quiet pairs are seen to get."""
    if topic.channel == KLINE:
        return _created(topic.symbol, topic.option, now_ms)
    symbol = "" if topic.channel == MINI_TICKERS else native(topic.symbol)
    head = text_field(_CHANNEL, stream_name(*topic)) + text_field(_SYMBOL, symbol)
    return head + number_field(_SEND_TIME, now_ms)


def rest_book(update_id: int, bids: Ranked, asks: Ranked, now_ms: int) -> str:
    """The answer of ``GET /api/v3/depth``."""
    sides = (",".join(f'["{price}","{quantity}"]' for price, quantity in padded(side)) for side in (bids, asks))
    return '{{"lastUpdateId":{},"bids":[{}],"asks":[{}],"timestamp":{}}}'.format(update_id, *sides, now_ms)


def exchange_info(markets: Iterable[Market], now_ms: int) -> str:
    """The answer of ``GET /api/v3/exchangeInfo``."""
    rows = [_instrument(market) for market in markets]
    return encoded({"timezone": "CST", "serverTime": now_ms, "rateLimits": [], "exchangeFilters": [], "symbols": rows})


def padded(side: Ranked) -> list[tuple[str, str]]:
    """Levels as whole books have them: prices and amounts with all the digits that the pair has."""
    return [(price_text(tick), f"{lots / LOTS:.{DIGITS}f}") for tick, lots in side]


def change_text(market: Market) -> str:
    """By how much the price of a market rose since its day began, as a fraction."""
    day = market.day
    # Nothing is subtracted from 0, so that what rounds to nothing has no sign.
    return unpadded(f"{round((day.close - day.open) / day.open, 4) + 0.0:.4f}")


def _instrument(market: Market) -> dict[str, object]:
    base, quote = market.symbol.split("/")
    return {
        "symbol": market.native,
        "status": "1",
        "baseAsset": base,
        "baseAssetPrecision": 8,
        "quoteAsset": quote,
        "quotePrecision": 2,
        "quoteAssetPrecision": 2,
        "baseCommissionPrecision": 8,
        "quoteCommissionPrecision": 8,
        "orderTypes": ["LIMIT", "MARKET", "LIMIT_MAKER"],
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "quoteAmountPrecision": "1",
        "baseSizePrecision": "0.0001",
        "permissions": ["SPOT"],
        "filters": [],
        "maxQuoteAmount": "5000000",
        "makerCommission": "0",
        "takerCommission": "0.0005",
        "quoteAmountPrecisionMarket": "1",
        "maxQuoteAmountMarket": "100000",
        "fullName": base,
        "tradeSideType": 1,
    }


def _sent(channel: str, market: Market, option: str, now_ms: int) -> bytes:
    """All of a wrapper but its body."""
    return _head(channel, market.symbol, option) + number_field(_SEND_TIME, now_ms)


def _created(symbol: str, option: str, now_ms: int) -> bytes:
    """The same of a candle."""
    return _head(KLINE, symbol, option) + text_field(_SYMBOL_ID, _symbol_id(symbol)) + number_field(_CREATE_TIME, now_ms)


@cache
def _head(channel: str, symbol: str, option: str) -> bytes:
    return text_field(_CHANNEL, stream_name(channel, symbol, option)) + text_field(_SYMBOL, native(symbol))


@cache
def _symbol_id(symbol: str) -> str:
    return md5(symbol.encode(), usedforsecurity=False).hexdigest()


def _last_order(number: int, now_ms: int, is_old: bool) -> bytes:
    """When the order behind a change came in, which is told since June 2026."""
    return b"" if is_old else number_field(number, now_ms - 1)


def _top(market: Market) -> bytes:
    (bid, bid_amount), (ask, ask_amount) = market.best()
    texts = (bid, bid_amount, ask, ask_amount)
    return b"".join(text_field(number, unpadded(text)) for number, text in enumerate(texts, 1))


def _day(market: Market, number: int) -> bytes:
    day = market.day
    change, high, low = change_text(market), unpadded(price_text(day.high)), unpadded(price_text(day.low))
    texts = (
        market.native,
        unpadded(price_text(day.close)),
        change,
        change,
        high,
        low,
        unpadded(turnover_text(day.turnover)),
        unpadded(numbered_text(day.volume, number)),
        change,
        change,
        high,
        low,
    )
    return b"".join(text_field(place, text) for place, text in enumerate(texts, 1))


def _changed(number: int, levels: Levels) -> bytes:
    # Written out, because most of the time of most frames goes here. No level is longer than 127 bytes, so a length is one.
    start = tag(number, _BYTES)
    fields = []
    for tick, lots in levels.items():
        price = f"{tick / TICKS:.2f}".rstrip("0").rstrip(".").encode()
        quantity = f"{lots / LOTS:.4f}".rstrip("0").rstrip(".").encode() if lots else b"0"
        size, amount_size = len(price), len(quantity)
        fields.append(b"%b%c\x0a%c%b\x12%c%b" % (start, size + amount_size + 4, size, price, amount_size, quantity))
    return b"".join(fields)


def _level(price: str, quantity: str) -> bytes:
    return text_field(1, price) + text_field(2, quantity)


Render = Callable[[Event, str, int, bool], bytes]


class Channel(NamedTuple):
    """A channel: the kind of event that it pushes, the options that it has, where they stand in its streams' names, and how it pushes.

    ``render`` takes the event, the subscription's option, the time in ms and whether the schema is that of before June 2026; it is None
    where a push is of more than one pair.
    """

    kind: str
    options: tuple[str, ...]
    form: str
    render: Render | None


_BEFORE, _BEHIND = "{channel}@{option}@{symbol}", "{channel}@{symbol}@{option}"
CHANNELS: dict[str, Channel] = {
    DEPTH: Channel("orderbook", SPEEDS, _BEFORE, depth),
    LIMIT_DEPTH: Channel("orderbook", ("5", "10", "20"), _BEHIND, limit_depth),
    BOOK_TICKER: Channel("book_ticker", SPEEDS, _BEFORE, book_ticker),
    BOOK_TICKER_BATCH: Channel("book_ticker", ("",), "{channel}@{symbol}", book_ticker_batch),
    DEALS: Channel("trade", SPEEDS, _BEFORE, deals),
    KLINE: Channel("candle", tuple(INTERVALS), _BEHIND, kline),
    MINI_TICKER: Channel("ticker", ZONES, _BEHIND, mini_ticker),
    MINI_TICKERS: Channel("ticker", ZONES, "{channel}@{option}", None),
}

#: What one connection of ``MexcSpotMarkets`` is subscribed to, by kind of event: channel and option.
_OPEN = {
    "orderbook": (DEPTH, "100ms"),
    "book_ticker": (BOOK_TICKER, "100ms"),
    "trade": (DEALS, "100ms"),
    "ticker": (MINI_TICKER, "24H"),
    "candle": (KLINE, "Min1"),
}


class MexcSpotMarkets(Markets):
    """Several pairs on one connection."""

    @staticmethod
    def native(symbol: str) -> str:
        """``BTCUSDT``."""
        return native(symbol)

    def opening(self) -> Iterator[Sent]:
        """What a client gets after subscribing: an acknowledgement for each channel."""
        for channel, option in _OPEN.values():
            names = ",".join(stream_name(channel, symbol, option) for symbol in self.markets)
            yield Sent(answer(0, names).encode(), None, 0)

    def rest_book(self, market: Market, now_ms: int) -> str:
        """The REST answer with the whole book."""
        return rest_book(market.update_id, *market.ranked(), now_ms)

    def frame(self, event: Event) -> bytes:
        """How an event is pushed."""
        channel, option = _OPEN[event.kind]
        render = CHANNELS[channel].render
        assert render is not None
        return render(event, option, self._now_ms, False)


def answer(number: int, message: str) -> str:
    """An answer to a request; whether it is an error, only ``message`` tells: the code is 0 all the same."""
    return encoded({"id": number, "code": 0, "msg": message})


def encoded(value: object) -> str:
    """JSON as the exchange writes it."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
