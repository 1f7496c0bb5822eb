"""Gate.io spot v4, public channels.

Source: https://www.gate.com/docs/developers/apiv4/ws/en/. Each struct below stands beside the payload that it reads.
"""

from collections.abc import Callable, Sequence
from decimal import Decimal
from math import inf
from typing import TypeVar

import msgspec

from infrastructure.errors import DecodeError, SettingsError
from infrastructure.events import BookTicker, Candle, MessageType, Side, Ticker, Trade
from infrastructure.exchanges.gateio import envelope as gateio
from infrastructure.exchanges.gateio.envelope import Envelope
from infrastructure.exchanges.gateio.sequence import InBand, RestSeeded, WholeBook
from infrastructure.instruments import Instrument, InstrumentStatus, Symbols
from infrastructure.venue import (
    BookChannel,
    BookUpdate,
    Levels,
    Message,
    Rate,
    Repair,
    SubscriptionRequest,
    Venue,
    VenueLimits,
    check_levels,
    check_positive,
)

NAME = "gateio_spot"


class TradeResult(msgspec.Struct):
    """``{"id":309143071,"create_time":1606292218,"create_time_ms":"1606292218213.4578","side":"sell","currency_pair":"GT_USDT",
    "amount":"16.4700000000","price":"0.4705000000"}``
    """

    id: int
    create_time_ms: str
    side: Side
    currency_pair: str
    amount: float
    price: float


class TwoSidedResult(msgspec.Struct):
    """``{"t":1606293275123,"u":48733182,"s":"BTC_USDT","b":"19177.79","B":"0.0003341504","a":"19179.38","A":"0.09"}``"""

    t: int
    u: int
    s: str
    b: float
    B: float
    a: float
    A: float


class OneSidedResult(msgspec.Struct):
    """``{"t":1606293275123,"u":48733182,"s":"BTC_USDT","b":"","B":"0","a":"19179.38","A":"0.09"}``: an empty side has no price."""

    t: int
    u: int
    s: str
    b: str
    B: str
    a: str
    A: str


class TickerResult(msgspec.Struct):
    """``{"currency_pair":"BTC_USDT","last":"15743.4","lowest_ask":"15744.4","highest_bid":"15743.5","change_percentage":"-1.8254",
    "base_volume":"9110.473081735","quote_volume":"145082083.2535","high_24h":"16280.9","low_24h":"15468.5"}``
    """

    currency_pair: str
    last: str
    lowest_ask: str = ""
    highest_bid: str = ""
    change_percentage: str = ""
    base_volume: str = ""
    quote_volume: str = ""
    high_24h: str = ""
    low_24h: str = ""


class CandleResult(msgspec.Struct):
    """``{"t":"1606292580","v":"2362.32035","c":"19128.1","h":"19128.1","l":"19128.1","o":"19128.1","n":"1m_BTC_USDT","a":"3.8283",
    "w":true}``: ``v`` is quote volume, ``a`` base volume; frames of 2021 have neither ``a`` nor ``w``.
    """

    t: int
    v: float
    c: float
    h: float
    l: float  # noqa: E741  # the venue's name
    o: float
    n: str
    a: float | None = None
    w: bool | None = None


class BookUpdateResult(msgspec.Struct):
    """``{"t":1606294781123,"full":true,"l":"100","e":"depthUpdate","E":1606294781,"s":"BTC_USDT","U":48776301,"u":48776306,
    "b":[["19137.74","0.0001"],["19088.37","0"]],"a":[["19137.75","0.6135"]]}``
    """

    t: int
    s: str
    U: int
    u: int
    b: Levels
    a: Levels
    full: bool = False


class ObuResult(msgspec.Struct):
    """``{"t":1747054612695,"s":"ob.BTC_USDT.50","U":73777715169,"u":73777715212,"b":[["104024.5","10343"]],"a":[["104027.2","0"]]}``;
    a whole book has ``"full":true`` and no ``U``; an increment may have no levels at all.
    """

    t: int
    s: str
    u: int
    U: int | None = None
    b: Levels = []
    a: Levels = []
    full: bool = False


class OrderBookResult(msgspec.Struct):
    """``{"t":1606295412123,"lastUpdateId":48791820,"s":"BTC_USDT","l":"5","bids":[["19079.55","0.0195"]],"asks":[["19080.24","0.1638"]]}``"""

    t: int
    lastUpdateId: int
    s: str
    bids: Levels
    asks: Levels


class RestBook(msgspec.Struct):
    """``{"id":2691446,"current":1619093533703,"update":1619093532978,"asks":[["0.00010396","5876.967"]],"bids":[["0.00010322","5360.2"]]}``"""

    id: int
    asks: Levels
    bids: Levels
    update: int | None = None


class CurrencyPair(msgspec.Struct):
    """``{"id":"ETH_USDT","base":"ETH","quote":"USDT","fee":"0.2","min_base_amount":"0.001","min_quote_amount":"1.0",
    "amount_precision":3,"precision":6,"trade_status":"tradable"}``, of ``GET /spot/currency_pairs``.
    """

    id: str
    base: str
    quote: str
    trade_status: str
    precision: int
    amount_precision: int
    min_base_amount: Decimal | None = None
    min_quote_amount: Decimal | None = None


def _trade(result: TradeResult, envelope: Envelope) -> Message:
    symbol = gateio.unified_pair(result.currency_pair)
    return Trade(
        NAME,
        symbol,
        str(result.id),
        result.side,
        check_positive(result.price, "price", envelope.channel, symbol),
        check_positive(result.amount, "amount", envelope.channel, symbol),
        gateio.milliseconds_to_ns(result.create_time_ms),
    )


def _two_sided(result: TwoSidedResult, envelope: Envelope) -> Message:
    return _book_ticker(result, envelope, result.b, result.B, result.a, result.A)


def _one_sided(result: OneSidedResult, envelope: Envelope) -> Message:
    symbol = gateio.unified_pair(result.s)
    bid, bid_amount, ask, ask_amount = (_number(text, envelope.channel, symbol) or 0.0 for text in (result.b, result.B, result.a, result.A))
    return _book_ticker(result, envelope, bid, bid_amount, ask, ask_amount)


def _book_ticker(
    result: TwoSidedResult | OneSidedResult, envelope: Envelope, bid: float, bid_amount: float, ask: float, ask_amount: float
) -> Message:
    symbol = gateio.unified_pair(result.s)
    if not (0.0 <= bid < inf and 0.0 <= bid_amount < inf and 0.0 <= ask < inf and 0.0 <= ask_amount < inf):
        raise DecodeError("a price or amount is not a finite number of 0 or more", channel=envelope.channel, symbol=symbol)
    return BookTicker(
        NAME,
        symbol,
        result.u,
        bid or None,
        bid_amount if bid else None,
        ask or None,
        ask_amount if ask else None,
        result.t * 1_000_000 if result.t else None,
    )


def _ticker(result: TickerResult, envelope: Envelope) -> Message:
    symbol = gateio.unified_pair(result.currency_pair)
    last, bid, ask, high, low, base, quote = (
        _amount(text, envelope.channel, symbol)
        for text in (
            result.last,
            result.highest_bid,
            result.lowest_ask,
            result.high_24h,
            result.low_24h,
            result.base_volume,
            result.quote_volume,
        )
    )
    change = _number(result.change_percentage, envelope.channel, symbol)
    return Ticker(
        NAME, symbol, last or None, bid or None, ask or None, high or None, low or None, base, quote, change, envelope.exchange_ns
    )


def _candle(result: CandleResult, envelope: Envelope) -> Message:
    interval, _, native = result.n.partition("_")
    symbol = gateio.unified_pair(native)
    channel = envelope.channel
    open_, high, low, close = (check_positive(value, "price", channel, symbol) for value in (result.o, result.h, result.l, result.c))
    for volume in (result.v, result.a):
        if volume is not None and not 0.0 <= volume < inf:
            raise DecodeError(f"volume {volume!r} is not a finite number of 0 or more", channel=channel, symbol=symbol)
    return Candle(
        NAME, symbol, interval, result.t * 1_000_000_000, open_, high, low, close, result.a, result.v, result.w, envelope.exchange_ns
    )


def _book_update(result: BookUpdateResult, envelope: Envelope) -> Message:
    return _update(envelope.channel, gateio.unified_pair(result.s), result.U, result.u, result.b, result.a, result.full, result.t)


def _obu(result: ObuResult, envelope: Envelope) -> Message:
    prefix, _, rest = result.s.partition(".")
    native, _, _ = rest.partition(".")
    symbol = gateio.unified_pair(native)
    if prefix != "ob" or (result.U is None and not result.full):
        raise DecodeError("an increment without its first id", channel=envelope.channel, symbol=symbol)
    first_id = result.u if result.U is None else result.U
    return _update(envelope.channel, symbol, first_id, result.u, result.b, result.a, result.full, result.t)


def _order_book(result: OrderBookResult, envelope: Envelope) -> Message:
    symbol = gateio.unified_pair(result.s)
    return _update(envelope.channel, symbol, result.lastUpdateId, result.lastUpdateId, result.bids, result.asks, True, result.t)


def _update(
    channel: str, symbol: str, first_id: int, last_id: int, bids: Levels, asks: Levels, is_full: bool, time_ms: int | None
) -> BookUpdate:
    check_levels(bids, channel, symbol)
    check_levels(asks, channel, symbol)
    if first_id > last_id:
        raise DecodeError(f"ids run backwards, {first_id} to {last_id}", channel=channel, symbol=symbol)
    return BookUpdate(channel, symbol, first_id, last_id, bids, asks, is_full, None if time_ms is None else time_ms * 1_000_000)


def _number(text: str, channel: str, symbol: str) -> float | None:
    """The double nearest to ``text``, None for an empty text; one grammar for every number, JSON's."""
    if not text:
        return None
    try:
        value = msgspec.convert(text, float, strict=False)
    except msgspec.ValidationError:
        value = inf
    if not -inf < value < inf:
        raise DecodeError(f"{text[:32]!r} is not a finite number", channel=channel, symbol=symbol)
    return value


def _amount(text: str, channel: str, symbol: str) -> float | None:
    value = _number(text, channel, symbol)
    if value is not None and value < 0.0:
        raise DecodeError(f"{text[:32]!r} is below 0", channel=channel, symbol=symbol)
    return value


Reader = Callable[[Envelope], Message]
Result = TypeVar("Result")


def _reader(result_type: type[Result], convert: Callable[[Result, Envelope], Message]) -> Reader:
    decode = msgspec.json.Decoder(result_type, strict=False).decode

    def read(envelope: Envelope) -> Message:
        return convert(decode(envelope.result), envelope)

    return read


_read_two_sided = _reader(TwoSidedResult, _two_sided)
_read_one_sided = _reader(OneSidedResult, _one_sided)


def _read_book_ticker(envelope: Envelope) -> Message:
    try:
        return _read_two_sided(envelope)
    except msgspec.ValidationError:
        return _read_one_sided(envelope)


TRADES = "spot.trades"
BOOK_TICKER = "spot.book_ticker"
TICKERS = "spot.tickers"
CANDLESTICKS = "spot.candlesticks"
ORDER_BOOK = "spot.order_book"
ORDER_BOOK_UPDATE = "spot.order_book_update"
OBU = "spot.obu"

#: By channel: how a push is read. The most frequent channels of a busy market come first; the order does not matter to a dict.
_READERS: dict[str, Reader] = {
    ORDER_BOOK_UPDATE: _reader(BookUpdateResult, _book_update),
    OBU: _reader(ObuResult, _obu),
    BOOK_TICKER: _read_book_ticker,
    TRADES: _reader(TradeResult, _trade),
    TICKERS: _reader(TickerResult, _ticker),
    CANDLESTICKS: _reader(CandleResult, _candle),
    ORDER_BOOK: _reader(OrderBookResult, _order_book),
}

_decode_pairs = msgspec.json.Decoder(list[CurrencyPair], strict=False).decode
_decode_rest_book = msgspec.json.Decoder(RestBook, strict=False).decode

#: What follows the pair in a request, by channel, and what is asked for when the user names nothing.
_ONE_PAIR_A_REQUEST: dict[str, Callable[[str, str], list[str]]] = {
    CANDLESTICKS: lambda pair, option: [option or "1m", pair],
    ORDER_BOOK: lambda pair, option: [pair, option or "20", "100ms"],
    ORDER_BOOK_UPDATE: lambda pair, option: [pair, option or "100ms"],
    OBU: lambda pair, option: [f"ob.{pair}.{option or '50'}"],
}


class GateioSpotCodec:
    """The wire format of Gate.io spot, public channels. Pure."""

    def __init__(self) -> None:
        self.symbols = Symbols(NAME, gateio.unified_pair, gateio.native_pair)

    def fresh(self) -> "GateioSpotCodec":
        """The same wire format with names of its own."""
        return GateioSpotCodec()

    def decode(self, raw_message: bytes | str) -> Sequence[Message]:
        """Decode one frame into one message, or raise DecodeError and nothing else."""
        envelope = gateio.open_envelope(raw_message)
        channel = envelope.channel
        read = _READERS.get(channel)
        try:
            # obu pushes may come without an event.
            if read is None or (envelope.event != "update" and envelope.event is not None):
                return (gateio.control_message(envelope, "spot."),)
            return (read(envelope),)
        except DecodeError as error:
            error.channel = channel  # A symbol or a time is read without knowing of which channel it is.
            raise
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise DecodeError(str(error), channel=channel) from None

    def decode_snapshot(self, symbol: str, raw: bytes | str) -> BookUpdate:
        """Decode the answer of ``GET /spot/order_book?currency_pair=...&with_id=true``, or raise DecodeError and nothing else."""
        try:
            book = _decode_rest_book(raw)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise DecodeError(f"not an order book: {error}", channel=ORDER_BOOK_UPDATE, symbol=symbol) from None
        return _update(ORDER_BOOK_UPDATE, symbol, book.id, book.id, book.bids, book.asks, True, book.update)

    def decode_instruments(self, raw: bytes | str) -> list[Instrument]:
        """Decode the answer of ``GET /spot/currency_pairs``, or raise DecodeError and nothing else."""
        try:
            pairs = _decode_pairs(raw)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise DecodeError(f"not a list of currency pairs: {error}") from None
        return [
            Instrument(
                NAME,
                f"{pair.base}/{pair.quote}",
                pair.id,
                pair.base,
                pair.quote,
                None,
                InstrumentStatus.TRADING if pair.trade_status == "tradable" else InstrumentStatus.HALTED,
                Decimal(1).scaleb(-pair.precision),
                Decimal(1).scaleb(-pair.amount_precision),
                pair.min_base_amount,
                pair.min_quote_amount,
            )
            for pair in pairs
        ]

    def subscription_requests(
        self, action: str, channel: str, symbols: Sequence[str], now_s: int, next_id: Callable[[], int] | None = None
    ) -> list[SubscriptionRequest]:
        """One request for all pairs, or one for each where the channel wants that. ``id`` must fit in 32 bits.

        ``channel`` may name an option after a colon: ``spot.candlesticks:5m``, ``spot.order_book:10``, ``spot.obu:400``.
        """
        name, _, option = channel.partition(":")
        if name not in _READERS:
            raise SettingsError(f"unknown channel {name!r}; known: {', '.join(_READERS)}")
        payload_of = _ONE_PAIR_A_REQUEST.get(name)
        groups = [tuple(symbols)] if payload_of is None else [(symbol,) for symbol in symbols]
        requests = []
        for group in groups:
            pairs = [gateio.native_pair(symbol) for symbol in group]
            payload = pairs if payload_of is None else payload_of(pairs[0], option)
            message: dict[str, object] = {"time": now_s, "channel": name, "event": action, "payload": payload}
            request = SubscriptionRequest(action, channel, group, message, payload=tuple(payload))
            if next_id is not None:
                message["id"] = request.request_id = next_id()
            requests.append(request)
        return requests

    def ping_request(self, now_s: int) -> dict[str, object]:
        """``{"time":1545404023,"channel":"spot.ping"}``"""
        return {"time": now_s, "channel": "spot.ping"}


GATEIO_SPOT = Venue(
    name=NAME,
    codec=GateioSpotCodec(),
    websocket_url="wss://api.gateio.ws/ws/v4/",
    rest_url="https://api.gateio.ws",
    channels={
        TRADES: MessageType.TRADE,
        BOOK_TICKER: MessageType.BOOK_TICKER,
        TICKERS: MessageType.TICKER,
        CANDLESTICKS: MessageType.CANDLE,
        OBU: MessageType.ORDERBOOK,
        ORDER_BOOK_UPDATE: MessageType.ORDERBOOK,
        ORDER_BOOK: MessageType.ORDERBOOK,
    },
    book_channels={
        OBU: BookChannel(OBU, InBand(), Repair.RESUBSCRIBE, {"": 50, "50": 50, "100": 100, "400": 400}, is_audited=True),
        ORDER_BOOK_UPDATE: BookChannel(
            ORDER_BOOK_UPDATE, RestSeeded(), Repair.FETCH_SNAPSHOT, {"": 100, "100ms": 100, "20ms": 20}, is_audited=True
        ),
        ORDER_BOOK: BookChannel(ORDER_BOOK, WholeBook(), Repair.WAIT),
    },
    options={
        CANDLESTICKS: ("10s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "7d", "30d"),
        ORDER_BOOK_UPDATE: ("20ms", "100ms"),
        OBU: ("50", "100", "400"),
        ORDER_BOOK: ("5", "10", "20", "30", "50", "100"),
    },
    snapshot_path="/api/v4/spot/order_book",
    snapshot_symbol_key="currency_pair",
    # As many levels as the stream keeps: further ones would grow old, and a deeper book comes from a cache that is many versions old.
    snapshot_query={
        "": {"limit": "100", "with_id": "true"},
        "100ms": {"limit": "100", "with_id": "true"},
        "20ms": {"limit": "20", "with_id": "true"},
    },
    ping_interval_s=15.0,
    instruments_path="/api/v4/spot/currency_pairs",
    # REST: 200 requests in 10 s for each endpoint and address; connections: 300 for each address, no rate is documented. 200 streams on
    # one connection have been seen to work.
    limits=VenueLimits(connects=Rate(10, 1.0), requests=Rate(50, 1.0), rest=Rate(200, 10.0), subscriptions_per_connection=200),
)
