"""MEXC spot v3, public channels.

Source: https://www.mexc.com/api-docs/spot-v3/websocket-market-streams. Each body of ``push.proto`` is read by a function below, beside
an example of it in JSON with the venue's names of its fields.
"""

import msgspec

from infrastructure.errors import DecodeError
from infrastructure.events import BookTicker, Candle, MessageType, Ticker, Trade
from infrastructure.exchanges.mexc.channels import (
    EARLIEST_S,
    LATEST_S,
    NAME,
    SIDES,
    STREAMS_PER_CONNECTION,
    ByNative,
    MexcChannels,
    Reader,
    has_more,
    milliseconds,
    sent_ns,
)
from infrastructure.exchanges.mexc.private import PRIVATE
from infrastructure.exchanges.mexc.push_pb2 import AggregatedBookTicker, AggregatedDepth, BestPrices, LimitDepth, MiniTicker, Push
from infrastructure.exchanges.mexc.sequence import Versions
from infrastructure.exchanges.numbers import amount, number
from infrastructure.exchanges.sequence import WholeBook
from infrastructure.venue import (
    BookChannel,
    BookUpdate,
    Levels,
    Message,
    Rate,
    Repair,
    Unknown,
    Venue,
    VenueLimits,
    check_levels,
    check_positive,
)

DEALS = "spot@public.aggre.deals.v3.api.pb"
BOOK_TICKER = "spot@public.aggre.bookTicker.v3.api.pb"
BOOK_TICKER_BATCH = "spot@public.bookTicker.batch.v3.api.pb"
MINI_TICKER = "spot@public.miniTicker.v3.api.pb"
MINI_TICKERS = "spot@public.miniTickers.v3.api.pb"
KLINE = "spot@public.kline.v3.api.pb"
DEPTH = "spot@public.aggre.depth.v3.api.pb"
LIMIT_DEPTH = "spot@public.limit.depth.v3.api.pb"

BothSides = tuple[Levels, Levels]
Depth = AggregatedDepth | LimitDepth


class RestBook(msgspec.Struct):
    """``{"lastUpdateId":82164155643,"bids":[["84270.00","0.00638700"]],"asks":[["84270.01","5.42169969"]],"timestamp":1790281247251}``"""

    lastUpdateId: int
    bids: Levels
    asks: Levels
    timestamp: int | None = None


def _deals(push: Push, symbols: ByNative) -> list[Message]:
    """``{"deals":[{"price":"84270","quantity":"0.00099829","tradeType":2,"time":1790281246176,
    "tradeId":"731901896985399296X0_731901896985399297X0"}],"eventType":"spot@public.aggre.deals.v3.api.pb@100ms"}``
    """
    symbol = symbols[push.symbol]
    trades: list[Message] = []
    for deal in push.aggregated_deals.deals:
        side = SIDES.get(deal.trade_type)
        if side is None:
            raise DecodeError(f"trade type {deal.trade_type} is neither 1 nor 2", channel=DEALS, symbol=symbol)
        price = check_positive(number(deal.price, DEALS, symbol) or 0.0, "price", DEALS, symbol)
        quantity = check_positive(number(deal.quantity, DEALS, symbol) or 0.0, "quantity", DEALS, symbol)
        trades.append(Trade(NAME, symbol, deal.trade_id, side, price, quantity, milliseconds(deal.time, DEALS, symbol)))
    if not trades:
        raise DecodeError("no deals", channel=DEALS, symbol=symbol)
    return trades


def _depth(push: Push, symbols: ByNative) -> list[Message]:
    """``{"asks":[{"price":"82583.21","quantity":"0.12243346"}],"bids":[{"price":"82578.18","quantity":"0"}],
    "eventType":"spot@public.aggre.depth.v3.api.pb@100ms","fromVersion":"83416612001","toVersion":"83416612020"}``
    """
    symbol = symbols[push.symbol]
    body = push.aggregated_depth
    first_id = _version(body.from_version, DEPTH, symbol)
    last_id = _version(body.to_version, DEPTH, symbol)
    if first_id > last_id:
        raise DecodeError(f"versions run backwards, {first_id} to {last_id}", channel=DEPTH, symbol=symbol)
    return [_update(DEPTH, symbol, first_id, last_id, push, body, False)]


def _limit_depth(push: Push, symbols: ByNative) -> list[Message]:
    """``{"asks":[{"price":"84270.01","quantity":"5.42169969"}],"bids":[{"price":"84270.00","quantity":"0.00638700"}],
    "eventType":"spot@public.limit.depth.v3.api.pb","version":"82164155643"}``: quantities are padded, in other channels they are not.
    """
    symbol = symbols[push.symbol]
    version = _version(push.limit_depth.version, LIMIT_DEPTH, symbol)
    return [_update(LIMIT_DEPTH, symbol, version, version, push, push.limit_depth, True)]


def _book_ticker(push: Push, symbols: ByNative) -> list[Message]:
    """``{"bidPrice":"84270","bidQuantity":"0.006387","askPrice":"84270.01","askQuantity":"5.42169969","version":"82164153436",
    "lastOrderCreateTime":1790281240471}``: frames from before June 2026 have neither of the last two.
    """
    symbol = symbols[push.symbol]
    body = push.aggregated_book_ticker
    version = _version(body.version, BOOK_TICKER, symbol) if body.version else None
    ticker = _best(body, version, push, BOOK_TICKER, symbol)
    if ticker.bid_price is None and ticker.ask_price is None and (version is None or has_more(body)):
        raise DecodeError("neither side has a price", channel=BOOK_TICKER, symbol=symbol)
    return [ticker]


def _book_ticker_batch(push: Push, symbols: ByNative) -> list[Message]:
    """``{"items":[{"bidPrice":"96567.37","bidQuantity":"3.362925","askPrice":"96567.38","askQuantity":"1.545255"}],
    "version":"36913565463"}``: the version is that of the batch, which its last item has brought about.
    """
    symbol = symbols[push.symbol]
    body = push.book_ticker_batch
    version = _version(body.version, BOOK_TICKER_BATCH, symbol) if body.version else None
    last = len(body.items) - 1
    tickers: list[Message] = []
    for place, item in enumerate(body.items):
        ticker = _best(item, version if place == last else None, push, BOOK_TICKER_BATCH, symbol)
        if ticker.bid_price is None and ticker.ask_price is None:
            raise DecodeError("neither side has a price", channel=BOOK_TICKER_BATCH, symbol=symbol)
        tickers.append(ticker)
    if not tickers:
        raise DecodeError("no items", channel=BOOK_TICKER_BATCH, symbol=symbol)
    return tickers


def _kline(push: Push, symbols: ByNative) -> list[Message]:
    """``{"interval":"Min15","windowStart":1736410500,"openingPrice":"92925","closingPrice":"93158.47","highestPrice":"93158.47",
    "lowestPrice":"92800","volume":"36.83803224","amount":"3424811.05","windowEnd":1736411400}``: times are in seconds. Nothing tells
    the last frame of a bar from those before it.
    """
    symbol = symbols[push.symbol]
    body = push.kline
    if not body.interval or not EARLIEST_S <= body.window_start <= LATEST_S:
        reason = f"interval {body.interval[:32]!r} from {body.window_start} is no bar with its time in seconds"
        raise DecodeError(reason, channel=KLINE, symbol=symbol)
    open_, high, low, close = (
        check_positive(number(text, KLINE, symbol) or 0.0, "price", KLINE, symbol) for text in (body.open, body.high, body.low, body.close)
    )
    volume, turnover = amount(body.volume, KLINE, symbol), amount(body.amount, KLINE, symbol)
    open_ns, made_ns = body.window_start * 1_000_000_000, sent_ns(push, KLINE, symbol)
    return [Candle(NAME, symbol, body.interval, open_ns, open_, high, low, close, volume, turnover, None, made_ns)]


def _mini_ticker(push: Push, symbols: ByNative) -> list[Message]:
    """``{"symbol":"ETHUSDT","price":"4714.07","rate":"0.038","zonedRate":"0.038","high":"4766.59","low":"4508.64",
    "volume":"1353770606.47","quantity":"290247.40837","lastCloseRate":"0.038","lastCloseZonedRate":"0.038","lastCloseHigh":"4766.59",
    "lastCloseLow":"4508.64"}``
    """
    body = push.mini_ticker
    return [_ticker(body, MINI_TICKER, symbols[push.symbol or body.symbol], push)]


def _mini_tickers(push: Push, symbols: ByNative) -> list[Message]:
    """``{"items":[{"symbol":"CRVETH","price":"0.00022592","rate":"0.028","zonedRate":"0.028","high":"0.00022856","low":"0.00021024",
    "volume":"1062.48406269","quantity":"4884456.998"}]}``: all pairs of the venue. One that has no name here, listed since the
    instrument list was read or too odd for its notation, is Unknown and keeps nothing from the others.
    """
    messages: list[Message] = []
    for item in push.mini_tickers.items:
        try:
            symbol = symbols[item.symbol]
        except DecodeError:
            if not item.symbol:
                raise
            messages.append(Unknown(MINI_TICKERS, item.symbol))
        else:
            messages.append(_ticker(item, MINI_TICKERS, symbol, push))
    if not messages:
        raise DecodeError("no items", channel=MINI_TICKERS)
    return messages


def _update(channel: str, symbol: str, first_id: int, last_id: int, push: Push, body: Depth, is_full: bool) -> BookUpdate:
    try:
        bids, asks = msgspec.convert(
            ([(level.price, level.quantity) for level in body.bids], [(level.price, level.quantity) for level in body.asks]),
            BothSides,
            strict=False,
        )
    except msgspec.ValidationError as error:
        raise DecodeError(str(error), channel=channel, symbol=symbol) from None
    check_levels(bids, channel, symbol)
    check_levels(asks, channel, symbol)
    if not (bids or asks) and has_more(body):
        raise DecodeError("no levels, but fields that are unknown", channel=channel, symbol=symbol)
    return BookUpdate(channel, symbol, first_id, last_id, bids, asks, is_full, sent_ns(push, channel, symbol))


def _best(item: AggregatedBookTicker | BestPrices, version: int | None, push: Push, channel: str, symbol: str) -> BookTicker:
    """A side that is empty has neither price nor quantity."""
    bid = amount(item.bid_price, channel, symbol) or None
    ask = amount(item.ask_price, channel, symbol) or None
    bid_quantity = amount(item.bid_quantity, channel, symbol)
    ask_quantity = amount(item.ask_quantity, channel, symbol)
    if (bid is not None and bid_quantity is None) or (ask is not None and ask_quantity is None):
        raise DecodeError("a price without a quantity", channel=channel, symbol=symbol)
    return BookTicker(
        NAME,
        symbol,
        version,
        bid,
        None if bid is None else bid_quantity,
        ask,
        None if ask is None else ask_quantity,
        sent_ns(push, channel, symbol),
    )


def _ticker(item: MiniTicker, channel: str, symbol: str, push: Push) -> Ticker:
    """``zonedRate`` is the change within the time zone that was subscribed, by default the last 24 hours."""
    last = amount(item.price, channel, symbol)
    if not last:
        raise DecodeError("no price", channel=channel, symbol=symbol)
    high, low = amount(item.high, channel, symbol) or None, amount(item.low, channel, symbol) or None
    base, quote = amount(item.quantity, channel, symbol), amount(item.volume, channel, symbol)
    change = _percent(item.zoned_rate, channel, symbol)
    return Ticker(NAME, symbol, last, None, None, high, low, base, quote, change, sent_ns(push, channel, symbol))


def _percent(fraction: str, channel: str, symbol: str) -> float | None:
    """``0.0067`` as 0.67: the double nearest to the percentage, which the product of two doubles is not always."""
    if number(fraction, channel, symbol) is None:
        return None
    digits, _, exponent = fraction.lower().partition("e")
    if len(exponent) > 9:
        raise DecodeError(f"{fraction[:32]!r} is not a rate", channel=channel, symbol=symbol)
    return number(f"{digits}e{int(exponent or 0) + 2}", channel, symbol)


def _version(text: str, channel: str, symbol: str) -> int:
    if not (text.isdecimal() and text.isascii() and len(text) <= 18):
        raise DecodeError(f"{text[:32]!r} is not a version", channel=channel, symbol=symbol)
    return int(text)


#: By body: its channel and how it is read.
_READERS: dict[str, tuple[str, Reader]] = {
    "aggregated_depth": (DEPTH, _depth),
    "aggregated_book_ticker": (BOOK_TICKER, _book_ticker),
    "aggregated_deals": (DEALS, _deals),
    "limit_depth": (LIMIT_DEPTH, _limit_depth),
    "book_ticker_batch": (BOOK_TICKER_BATCH, _book_ticker_batch),
    "kline": (KLINE, _kline),
    "mini_ticker": (MINI_TICKER, _mini_ticker),
    "mini_tickers": (MINI_TICKERS, _mini_tickers),
}

CHANNELS = {
    DEALS: MessageType.TRADE,
    BOOK_TICKER: MessageType.BOOK_TICKER,
    BOOK_TICKER_BATCH: MessageType.BOOK_TICKER,
    MINI_TICKER: MessageType.TICKER,
    MINI_TICKERS: MessageType.TICKER,
    KLINE: MessageType.CANDLE,
    DEPTH: MessageType.ORDERBOOK,
    LIMIT_DEPTH: MessageType.ORDERBOOK,
}

#: By channel: how the name of a stream goes on after it, and the option when the user names none.
_STREAMS: dict[str, tuple[str, str]] = {
    DEALS: ("@{option}@{symbol}", "100ms"),
    BOOK_TICKER: ("@{option}@{symbol}", "100ms"),
    BOOK_TICKER_BATCH: ("@{symbol}", ""),
    MINI_TICKER: ("@{symbol}@{option}", "24H"),
    MINI_TICKERS: ("@{option}", "24H"),
    KLINE: ("@{symbol}@{option}", "Min1"),
    DEPTH: ("@{option}@{symbol}", "100ms"),
    LIMIT_DEPTH: ("@{symbol}@{option}", "20"),
}

_SPEEDS = ("100ms", "10ms")
_WEST = tuple(f"UTC-{hours}" for hours in (10, 8, 7, 6, 5, 4, 3))
_EAST = tuple(f"UTC+{hours}" for hours in (0, 1, 2, 3, 4, "4:30", 5, "5:30", 6, 7, 8, 9, 10, 11, 12, "12:45", 13))
_ZONES = ("24H", *_WEST, *_EAST)

_decode_rest_book = msgspec.json.Decoder(RestBook, strict=False).decode


class MexcSpotCodec(MexcChannels):
    """The wire format of MEXC spot, public channels. Pure."""

    readers = _READERS
    streams = _STREAMS

    def fresh(self) -> "MexcSpotCodec":
        """The same wire format with names of its own."""
        return MexcSpotCodec()

    def decode_snapshot(self, symbol: str, raw: bytes | str) -> BookUpdate:
        """Decode the answer of ``GET /api/v3/depth?symbol=...``, or raise DecodeError and nothing else."""
        try:
            book = _decode_rest_book(raw)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise DecodeError(f"not an order book: {error}", channel=DEPTH, symbol=symbol) from None
        check_levels(book.bids, DEPTH, symbol)
        check_levels(book.asks, DEPTH, symbol)
        if book.lastUpdateId < 0:
            raise DecodeError(f"{book.lastUpdateId} is not a version", channel=DEPTH, symbol=symbol)
        time_ns = milliseconds(book.timestamp or 0, DEPTH, symbol)
        return BookUpdate(DEPTH, symbol, book.lastUpdateId, book.lastUpdateId, book.bids, book.asks, True, time_ns)


MEXC_SPOT = Venue(
    name=NAME,
    codec=MexcSpotCodec(),
    websocket_url="wss://wbs-api.mexc.com/ws",
    rest_url="https://api.mexc.com",
    channels=CHANNELS,
    book_channels={
        # The versions of the ticker look like those of the book, but nobody has shown that at the same version both say the same.
        DEPTH: BookChannel(DEPTH, Versions(), Repair.FETCH_SNAPSHOT, is_audited=False),
        LIMIT_DEPTH: BookChannel(LIMIT_DEPTH, WholeBook(), Repair.WAIT, {"": 20, "5": 5, "10": 10, "20": 20}),
    },
    options={
        DEALS: _SPEEDS,
        BOOK_TICKER: _SPEEDS,
        MINI_TICKER: _ZONES,
        MINI_TICKERS: _ZONES,
        KLINE: ("Min1", "Min5", "Min15", "Min30", "Min60", "Hour4", "Hour8", "Day1", "Week1", "Month1"),
        DEPTH: _SPEEDS,
        LIMIT_DEPTH: ("5", "10", "20"),
    },
    snapshot_path="/api/v3/depth",
    snapshot_symbol_key="symbol",
    # The stream tells of every level, so that the more are known at the start the better; the page allows 5000, the server was seen to
    # stop at 2000, and its own recipe asks for 1000.
    snapshot_query=dict.fromkeys(("", *_SPEEDS), {"limit": "1000"}),
    # The server closes a connection that has had no data for 60 s, and asks for a ping every 10 to 30 s.
    ping_interval_s=15.0,
    instruments_path="/api/v3/exchangeInfo",
    shared_channels=frozenset({MINI_TICKERS}),
    # Subscriptions and messages: the page says 30 a connection and 100 messages a second, beyond which it cuts the connection and, when
    # repeated, bans the address; half of that leaves room for what the network bunches together. An ended subscription was seen to
    # count on. REST: the page says 500 requests in 10 s, but a firewall was seen to answer 403 from 20 to 30 a second on. Connections:
    # no rate is documented. A connection lives 24 hours at most, as the page says.
    limits=VenueLimits(
        connects=Rate(5, 1.0),
        requests=Rate(50, 1.0),
        rest=Rate(10, 1.0),
        subscriptions_per_connection=STREAMS_PER_CONNECTION,
        is_used_up=True,
        streams_per_request=STREAMS_PER_CONNECTION,
        connection_life_s=86_400.0,
    ),
    private=PRIVATE,
)
