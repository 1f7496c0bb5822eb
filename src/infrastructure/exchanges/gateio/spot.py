"""Gate.io spot v4, public channels.

Source: https://www.gate.com/docs/developers/apiv4/ws/en/. Each struct below stands beside the payload that it reads.
"""

from decimal import Decimal
from typing import Annotated

import msgspec

from infrastructure.events import MessageType, Side, Ticker, Trade
from infrastructure.exchanges.gateio.envelope import Envelope, milliseconds_to_ns, native_pair, unified_pair
from infrastructure.exchanges.gateio.market import CandleResult, GateioCodec, ObuResult, Reader, book_update, one
from infrastructure.exchanges.gateio.sequence import InBand, RestSeeded, WholeBook
from infrastructure.exchanges.gateio.spot_account import GATEIO_SPOT_ACCOUNT, NAME
from infrastructure.exchanges.numbers import amount, exact, number
from infrastructure.instruments import Instrument, InstrumentStatus
from infrastructure.venue import BookChannel, BookUpdate, Levels, Message, Rate, Repair, Venue, VenueLimits, check_positive


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


#: So many decimal places a step has.
Places = Annotated[int, msgspec.Meta(ge=0, le=32)]


class CurrencyPair(msgspec.Struct):
    """``{"id":"ETH_USDT","base":"ETH","quote":"USDT","fee":"0.2","min_base_amount":"0.001","min_quote_amount":"1.0",
    "amount_precision":3,"precision":6,"trade_status":"tradable"}``, of ``GET /spot/currency_pairs``.
    """

    id: str
    base: str
    quote: str
    trade_status: str
    precision: Places
    amount_precision: Places
    min_base_amount: Decimal | None = None
    min_quote_amount: Decimal | None = None


TRADES = "spot.trades"
BOOK_TICKER = "spot.book_ticker"
TICKERS = "spot.tickers"
CANDLESTICKS = "spot.candlesticks"
ORDER_BOOK = "spot.order_book"
ORDER_BOOK_UPDATE = "spot.order_book_update"
OBU = "spot.obu"

_decode_pairs = msgspec.json.Decoder(list[CurrencyPair], strict=False).decode
_decode_rest_book = msgspec.json.Decoder(RestBook, strict=False).decode


class GateioSpotCodec(GateioCodec):
    """The wire format of Gate.io spot, public channels. Pure."""

    name = NAME
    prefix = "spot."
    unified = staticmethod(unified_pair)
    native = staticmethod(native_pair)
    payloads = {
        CANDLESTICKS: lambda pair, option: [option or "1m", pair],
        ORDER_BOOK: lambda pair, option: [pair, option or "20", "100ms"],
        ORDER_BOOK_UPDATE: lambda pair, option: [pair, option or "100ms"],
        OBU: lambda pair, option: [f"ob.{pair}.{option or '50'}"],
    }

    def readers(self) -> dict[str, Reader]:
        """By channel: how a push is read. The most frequent channels of a busy market come first; the order does not matter to a dict."""
        return {
            ORDER_BOOK_UPDATE: one(BookUpdateResult, self._book_update),
            OBU: one(ObuResult, self.obu),
            BOOK_TICKER: self.book_tickers(),
            TRADES: one(TradeResult, self._trade),
            TICKERS: one(TickerResult, self._ticker),
            CANDLESTICKS: one(CandleResult, self._candle),
            ORDER_BOOK: one(OrderBookResult, self._order_book),
        }

    def _trade(self, result: TradeResult, envelope: Envelope) -> Message:
        symbol = self._by_native[result.currency_pair]
        return Trade(
            NAME,
            symbol,
            str(result.id),
            result.side,
            check_positive(result.price, "price", envelope.channel, symbol),
            check_positive(result.amount, "amount", envelope.channel, symbol),
            milliseconds_to_ns(result.create_time_ms),
        )

    def _ticker(self, result: TickerResult, envelope: Envelope) -> Message:
        symbol = self._by_native[result.currency_pair]
        last, bid, ask, high, low, base, quote = (
            amount(text, envelope.channel, symbol)
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
        change = number(result.change_percentage, envelope.channel, symbol)
        return Ticker(
            NAME, symbol, last or None, bid or None, ask or None, high or None, low or None, base, quote, change, envelope.exchange_ns
        )

    def _candle(self, result: CandleResult, envelope: Envelope) -> Message:
        """Quote volume is ``v``."""
        interval, _, native = result.n.partition("_")
        return self.bar(result, envelope, interval, native, result.a, result.v)

    def _book_update(self, result: BookUpdateResult, envelope: Envelope) -> Message:
        symbol = self._by_native[result.s]
        return book_update(envelope.channel, symbol, result.U, result.u, result.b, result.a, result.full, result.t * 1_000_000)

    def _order_book(self, result: OrderBookResult, envelope: Envelope) -> Message:
        symbol, book_id = self._by_native[result.s], result.lastUpdateId
        return book_update(envelope.channel, symbol, book_id, book_id, result.bids, result.asks, True, result.t * 1_000_000)

    def rest_book(self, symbol: str, raw: bytes | str) -> BookUpdate:
        """The answer of ``GET /spot/order_book?currency_pair=...&with_id=true``; its times are milliseconds."""
        book = _decode_rest_book(raw)
        exchange_ns = None if book.update is None else book.update * 1_000_000
        return book_update(ORDER_BOOK_UPDATE, symbol, book.id, book.id, book.bids, book.asks, True, exchange_ns)

    def instruments(self, raw: bytes | str) -> list[Instrument]:
        """The answer of ``GET /spot/currency_pairs``."""
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
                exact(pair.min_base_amount, "min_base_amount"),
                exact(pair.min_quote_amount, "min_quote_amount"),
            )
            for pair in _decode_pairs(raw)
        ]


#: Of the channel that pushes whole books.
_LEVELS = ("5", "10", "20", "30", "50", "100")

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
        ORDER_BOOK: BookChannel(ORDER_BOOK, WholeBook(), Repair.WAIT, {"": 20} | {level: int(level) for level in _LEVELS}),
    },
    options={
        CANDLESTICKS: ("10s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "7d", "30d"),
        ORDER_BOOK_UPDATE: ("20ms", "100ms"),
        OBU: ("50", "100", "400"),
        ORDER_BOOK: _LEVELS,
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
    private=GATEIO_SPOT_ACCOUNT,
)
