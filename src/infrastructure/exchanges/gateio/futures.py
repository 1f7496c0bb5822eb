"""Gate.io futures v4 settled in USDT, public channels.

Source: https://www.gate.com/docs/developers/futures/ws/en/. Each struct below stands beside the payload that it reads. Sizes are
contracts, whole numbers in JSON or, as this venue asks for with a header, decimal texts; both are read.
"""

from collections.abc import Sequence
from decimal import Decimal
from itertools import groupby

import msgspec

from infrastructure.errors import DecodeError
from infrastructure.events import Liquidation, MessageType, Side, Ticker, Trade
from infrastructure.exchanges.gateio.envelope import Envelope, native_contract, seconds_to_ns, unified_contract, unified_pair
from infrastructure.exchanges.gateio.futures_account import GATEIO_FUTURES_ACCOUNT, NAME, SIZES_WITH_FRACTIONS
from infrastructure.exchanges.gateio.market import CandleResult, GateioCodec, Number, ObuResult, Reader, book_update, each, one, some
from infrastructure.exchanges.gateio.sequence import InBand, RestSeeded
from infrastructure.exchanges.numbers import amount, exact, number
from infrastructure.instruments import Instrument, InstrumentStatus
from infrastructure.venue import BookChannel, BookUpdate, Levels, Message, Rate, Repair, Venue, VenueLimits, check_positive

SETTLE = "USDT"


class TradeResult(msgspec.Struct):
    """``{"size":-108,"id":27753479,"create_time":1545136464,"create_time_ms":1545136464123,"price":"96.4","contract":"BTC_USDT",
    "is_internal":true}``: a positive size was bought by the taker; frames of 2020 have no ``create_time_ms``.
    """

    size: float
    id: int
    price: float
    contract: str
    create_time: msgspec.Raw = msgspec.Raw(b"0")
    create_time_ms: int = 0
    is_internal: bool = False


class TickerResult(msgspec.Struct):
    """``{"contract":"BTC_USDT","last":"77175.1","mark_price":"77183.5","index_price":"77221.8","funding_rate":"0.000072",
    "funding_next_apply":1789459200,"total_size":"153482780","volume_24h_base":"15549","volume_24h_quote":"360157621",
    "low_24h":"76018.3","high_24h":"78589.2","change_percentage":"-1.3224","t":1789456337802}``: what has not changed may be missing.
    """

    contract: str
    last: Number = ""
    mark_price: Number = ""
    index_price: Number = ""
    high_24h: Number = ""
    low_24h: Number = ""
    volume_24h_base: Number = ""
    volume_24h_quote: Number = ""
    total_size: Number = ""
    change_percentage: Number = ""
    funding_rate: Number = ""
    funding_next_apply: int = 0
    t: int = 0


class ContractStatsResult(msgspec.Struct):
    """``{"time":1603865400,"contract":"BTC_USDT","mark_price":"8865","lsr_taker":100,"lsr_account":0.5,"top_lsr_account":1.5,
    "top_lsr_size":1.02,"long_liq_size":0,"long_liq_amount":0,"long_liq_usd":0,"short_liq_size":0,"short_liq_amount":0,
    "short_liq_usd":0,"open_interest":124724,"open_interest_usd":1511}``: an interval's, which began at ``time``; when it was sent the frame
    says.

    No event has a place for the ratios of long to short, the sums of what was liquidated, and the open interest in USD: they are not
    carried.
    """

    contract: str
    mark_price: Number = ""
    open_interest: Number = ""


class LiquidationResult(msgspec.Struct):
    """``{"price":"215.1","size":"-124.5","time_ms":1541486601123,"contract":"BTC_USDT"}``: the order that closes the position, a
    positive size buys. ``time`` in place of ``time_ms`` was in seconds until August 2026 and is in milliseconds since.
    """

    price: float
    size: float
    contract: str
    time_ms: int = 0
    time: int = 0


class Level(msgspec.Struct, gc=False):
    """``{"p":"19909.1","s":5000}``"""

    p: float
    s: float


class BookUpdateResult(msgspec.Struct):
    """``{"t":1615366381417,"full":true,"l":"100","s":"BTC_USDT","U":2517661101,"u":2517661113,
    "b":[{"p":"54672.1","s":0},{"p":"54664.5","s":58794}],"a":[{"p":"54743.6","s":0},{"p":"54742","s":95}]}``
    """

    t: int
    s: str
    U: int
    u: int
    b: list[Level]
    a: list[Level]
    full: bool = False


class OrderBookResult(msgspec.Struct):
    """``{"t":1541500161123,"contract":"BTC_USDT","id":93973511,"asks":[{"p":"97.2","s":2245}],"bids":[{"p":"97.1","s":2245}],"l":"20"}``;
    frames of 2020 have neither ``t`` nor ``id``.
    """

    contract: str
    asks: list[Level]
    bids: list[Level]
    id: int = 0
    t: int | None = None


class LevelChange(msgspec.Struct):
    """``{"p":"4.2907","s":-117,"c":"HT_USDT","id":139300730}``: all that now rests at a price, a negative size to be sold, 0 nothing."""

    p: float
    s: float
    c: str
    id: int


class RestBook(msgspec.Struct):
    """``{"id":123456,"current":1623898993.123,"update":1623898993.121,"asks":[{"p":"1.52","s":100}],"bids":[{"p":"1.17","s":150}]}``"""

    id: int
    asks: list[Level]
    bids: list[Level]
    update: msgspec.Raw = msgspec.Raw(b"0")


class Contract(msgspec.Struct):
    """``{"name":"BTC_USDT","quanto_multiplier":"0.0001","order_price_round":"0.1","order_size_min":1,"enable_decimal":false,
    "in_delisting":false,"status":"trading"}``, of ``GET /futures/usdt/contracts``.
    """

    name: str
    quanto_multiplier: Decimal
    order_price_round: Decimal
    order_size_min: Decimal | None = None
    enable_decimal: bool = False
    in_delisting: bool = False
    status: str = "trading"


TRADES = "futures.trades"
BOOK_TICKER = "futures.book_ticker"
TICKERS = "futures.tickers"
CONTRACT_STATS = "futures.contract_stats"
CANDLESTICKS = "futures.candlesticks"
LIQUIDATIONS = "futures.public_liquidates"
ORDER_BOOK = "futures.order_book"
ORDER_BOOK_UPDATE = "futures.order_book_update"
OBU = "futures.obu"

#: Candles are of trades, or of one of these prices: ``mark_BTC_USDT``.
_OTHER_PRICES = ("mark", "index")
#: Levels a side of the whole books.
_DEPTHS = ("1", "5", "10", "20", "50", "100")
_INTERVALS = ("10s", "1m", "5m", "15m", "30m", "1h", "4h", "8h", "1d", "7d")
_STATS_INTERVALS = ("1m", "5m", "15m", "30m", "1h", "4h", "8h", "1d", "3d", "7d")

#: No time in milliseconds is smaller, no time in seconds greater: 5138 in seconds, 1973 in milliseconds.
_SMALLEST_MS = 10**11

_decode_tickers = msgspec.json.Decoder(list[TickerResult], strict=False).decode
#: What a push held in 2021, a list in a list, and in 2022, one ticker.
_decode_old_tickers = msgspec.json.Decoder(list[list[TickerResult]] | TickerResult, strict=False).decode
#: A push holds a list by the venue's page; one object has been reported.
_decode_stats = msgspec.json.Decoder(list[ContractStatsResult] | ContractStatsResult, strict=False).decode
_decode_changes = msgspec.json.Decoder(list[LevelChange], strict=False).decode
_decode_contracts = msgspec.json.Decoder(list[Contract], strict=False).decode
_decode_rest_book = msgspec.json.Decoder(RestBook, strict=False).decode


def _levels(levels: list[Level]) -> Levels:
    return [(level.p, level.s) for level in levels]


def _side(size: float) -> Side:
    return Side.BUY if size > 0.0 else Side.SELL


def _seconds(raw: msgspec.Raw) -> int | None:
    """A number of seconds as exact nanoseconds, from its text: a double holds no nanosecond of this century."""
    return seconds_to_ns(bytes(raw).decode().strip('"')) or None


def _candles(contract: str, option: str) -> list[str]:
    price, _, interval = option.rpartition("_")
    return [interval or "1m", f"{price}_{contract}" if price else contract]


class GateioFuturesCodec(GateioCodec):
    """The wire format of Gate.io futures settled in USDT, public channels. Pure."""

    name = NAME
    prefix = "futures."
    unified = staticmethod(unified_contract)
    native = staticmethod(native_contract)
    payloads = {
        CONTRACT_STATS: lambda contract, option: [contract, option or "1m"],
        CANDLESTICKS: _candles,
        ORDER_BOOK: lambda contract, option: [contract, option or "20", "0"],
        # The level is as deep as the venue allows for the frequency.
        ORDER_BOOK_UPDATE: lambda contract, option: [contract, "20ms", "20"] if option == "20ms" else [contract, "100ms", "100"],
        OBU: lambda contract, option: [f"ob.{contract}.{option or '50'}"],
    }

    def readers(self) -> dict[str, Reader]:
        """By channel: how a push is read."""
        return {
            ORDER_BOOK_UPDATE: one(BookUpdateResult, self._book_update),
            OBU: one(ObuResult, self.obu),
            BOOK_TICKER: self.book_tickers(),
            TRADES: each(TradeResult, self._trade),
            TICKERS: self._tickers,
            CONTRACT_STATS: self._contract_stats,
            CANDLESTICKS: each(CandleResult, self._candle),
            LIQUIDATIONS: each(LiquidationResult, self._liquidation),
            ORDER_BOOK: self._order_books(),
        }

    def _trade(self, result: TradeResult, envelope: Envelope) -> Message:
        symbol, channel = self._by_native[result.contract], envelope.channel
        ms = result.create_time_ms
        return Trade(
            NAME,
            symbol,
            str(result.id),
            _side(result.size),
            check_positive(result.price, "price", channel, symbol),
            check_positive(abs(result.size), "size", channel, symbol),
            ms * 1_000_000 if ms else _seconds(result.create_time),
            is_internal=result.is_internal,
        )

    def _tickers(self, envelope: Envelope) -> Sequence[Message]:
        try:
            results = _decode_tickers(envelope.result)
        except msgspec.ValidationError:
            old = _decode_old_tickers(envelope.result)
            results = [old] if isinstance(old, TickerResult) else [result for results in old for result in results]
        return some([self._ticker(result, envelope) for result in results])

    def _ticker(self, result: TickerResult, envelope: Envelope) -> Message:
        symbol, channel = self._by_native[result.contract], envelope.channel
        last, mark, index, high, low, base, quote, interest = (
            amount(str(value), channel, symbol)
            for value in (
                result.last,
                result.mark_price,
                result.index_price,
                result.high_24h,
                result.low_24h,
                result.volume_24h_base,
                result.volume_24h_quote,
                result.total_size,
            )
        )
        change, funding = (number(str(value), channel, symbol) for value in (result.change_percentage, result.funding_rate))
        next_funding_ns = result.funding_next_apply * 1_000_000_000 or None
        if all(value is None for value in (last, mark, index, high, low, base, quote, interest, change, funding, next_funding_ns)):
            # However little has changed, a name and nothing else is a change of the format that nobody announced.
            raise DecodeError("a ticker without a value", symbol=symbol)
        return Ticker(
            NAME,
            symbol,
            last or None,
            None,  # Best bid and ask come by book_ticker alone.
            None,
            high or None,
            low or None,
            base,
            quote,
            change,
            result.t * 1_000_000 or envelope.exchange_ns,
            mark_price=mark or None,
            index_price=index or None,
            funding_rate=funding,
            next_funding_ns=next_funding_ns,
            open_interest=interest,
        )

    def _contract_stats(self, envelope: Envelope) -> Sequence[Message]:
        results = _decode_stats(envelope.result)
        return some([self._stats(result, envelope) for result in (results if isinstance(results, list) else [results])])

    def _stats(self, result: ContractStatsResult, envelope: Envelope) -> Message:
        symbol, channel = self._by_native[result.contract], envelope.channel
        mark, interest = (amount(str(value), channel, symbol) for value in (result.mark_price, result.open_interest))
        if mark is None and interest is None:
            raise DecodeError("statistics without a value that is read", symbol=symbol)
        # No last price, no best bid and ask, nothing of the day.
        return Ticker(NAME, symbol, *(None,) * 8, envelope.exchange_ns, mark_price=mark or None, open_interest=interest)

    def _candle(self, result: CandleResult, envelope: Envelope) -> Message:
        """``v`` is contracts, which is neither volume; ``a`` is what the venue calls amount, of base currency as in its other statistics.

        A candle of another price than that of trades has it before its interval, as in its option: ``mark_1m``.
        """
        interval, _, native = result.n.partition("_")
        price, _, contract = native.partition("_")
        if price in _OTHER_PRICES and "_" in contract:
            interval, native = f"{price}_{interval}", contract
        return self.bar(result, envelope, interval, native, result.a, None)

    def _liquidation(self, result: LiquidationResult, envelope: Envelope) -> Message:
        symbol, channel = self._by_native[result.contract], envelope.channel
        ms = result.time_ms or (result.time if result.time >= _SMALLEST_MS else result.time * 1_000)
        return Liquidation(
            NAME,
            symbol,
            _side(result.size),
            check_positive(result.price, "price", channel, symbol),
            check_positive(abs(result.size), "size", channel, symbol),
            ms * 1_000_000 or envelope.exchange_ns,
        )

    def _book_update(self, result: BookUpdateResult, envelope: Envelope) -> Message:
        symbol, sides = self._by_native[result.s], (_levels(result.b), _levels(result.a))
        return book_update(envelope.channel, symbol, result.U, result.u, *sides, result.full, result.t * 1_000_000)

    def _order_books(self) -> Reader:
        """Of event ``all``, a whole book; of ``update``, as until 2023, changes of one."""
        whole = one(OrderBookResult, self._order_book)
        return lambda envelope: whole(envelope) if envelope.event == "all" else self._changes(envelope)

    def _order_book(self, result: OrderBookResult, envelope: Envelope) -> Message:
        symbol, sides = self._by_native[result.contract], (_levels(result.bids), _levels(result.asks))
        ns = envelope.exchange_ns if result.t is None else result.t * 1_000_000
        return book_update(envelope.channel, symbol, result.id, result.id, *sides, True, ns)

    def _changes(self, envelope: Envelope) -> Sequence[Message]:
        updates: list[Message] = []
        for native, group in groupby(_decode_changes(envelope.result), key=lambda change: change.c):
            changes = list(group)
            # A size says of which side it is, 0 does not; so each change is of both sides, and the other side has nothing at its price.
            bids = [(change.p, max(change.s, 0.0)) for change in changes]
            asks = [(change.p, max(0.0 - change.s, 0.0)) for change in changes]
            symbol, ids = self._by_native[native], (changes[0].id, changes[-1].id)
            updates.append(book_update(envelope.channel, symbol, *ids, bids, asks, False, envelope.exchange_ns))
        return some(updates)

    def rest_book(self, symbol: str, raw: bytes | str) -> BookUpdate:
        """The answer of ``GET /futures/usdt/order_book?contract=...&with_id=true``; its times are seconds with a fraction."""
        book = _decode_rest_book(raw)
        sides = _levels(book.bids), _levels(book.asks)
        return book_update(ORDER_BOOK_UPDATE, symbol, book.id, book.id, *sides, True, _seconds(book.update))

    def instruments(self, raw: bytes | str) -> list[Instrument]:
        """The answer of ``GET /futures/usdt/contracts``.

        A contract has no fields for its currencies: its name is documented as BASE_QUOTE. One whose name is not, and an inverse one,
        which has no size in base currency and a multiplier of 0, are left out.
        """
        return [instrument for contract in _decode_contracts(raw) if (instrument := _instrument(contract)) is not None]


def _instrument(contract: Contract) -> Instrument | None:
    size = exact(contract.quanto_multiplier, "quanto_multiplier")
    try:
        base, quote = unified_pair(contract.name).split("/")
    except DecodeError:
        return None
    if not size:
        return None
    is_trading = contract.status == "trading" and not contract.in_delisting
    return Instrument(
        NAME,
        f"{base}/{quote}:{SETTLE}",
        contract.name,
        base,
        quote,
        SETTLE,
        InstrumentStatus.TRADING if is_trading else InstrumentStatus.HALTED,
        exact(contract.order_price_round, "order_price_round"),
        # The list has no step of sizes; without decimals it is one contract.
        None if contract.enable_decimal else Decimal(1),
        exact(contract.order_size_min, "order_size_min"),
        contract_size=size,
    )


GATEIO_FUTURES = Venue(
    name=NAME,
    codec=GateioFuturesCodec(),
    websocket_url="wss://fx-ws.gateio.ws/v4/ws/usdt",
    rest_url="https://api.gateio.ws",
    headers=SIZES_WITH_FRACTIONS,
    channels={
        TRADES: MessageType.TRADE,
        BOOK_TICKER: MessageType.BOOK_TICKER,
        TICKERS: MessageType.TICKER,
        CONTRACT_STATS: MessageType.TICKER,
        CANDLESTICKS: MessageType.CANDLE,
        LIQUIDATIONS: MessageType.LIQUIDATION,
        OBU: MessageType.ORDERBOOK,
        ORDER_BOOK_UPDATE: MessageType.ORDERBOOK,
        ORDER_BOOK: MessageType.ORDERBOOK,
    },
    book_channels={
        OBU: BookChannel(OBU, InBand(), Repair.RESUBSCRIBE, {"": 50, "50": 50, "400": 400}, is_audited=True),
        ORDER_BOOK_UPDATE: BookChannel(
            ORDER_BOOK_UPDATE, RestSeeded(), Repair.FETCH_SNAPSHOT, {"": 100, "100ms": 100, "20ms": 20}, is_audited=True
        ),
        # Whole books alone today. Changes, as until 2023, continue one if their ids do.
        ORDER_BOOK: BookChannel(ORDER_BOOK, InBand(), Repair.RESUBSCRIBE, {"": 20} | {level: int(level) for level in _DEPTHS}),
    },
    options={
        CONTRACT_STATS: _STATS_INTERVALS,
        CANDLESTICKS: (*_INTERVALS, *(f"{price}_{interval}" for price in _OTHER_PRICES for interval in _INTERVALS)),
        ORDER_BOOK_UPDATE: ("20ms", "100ms"),
        OBU: ("50", "400"),
        ORDER_BOOK: _DEPTHS,
    },
    snapshot_path="/api/v4/futures/usdt/order_book",
    snapshot_symbol_key="contract",
    snapshot_query={option: {"limit": depth, "with_id": "true"} for option, depth in (("", "100"), ("100ms", "100"), ("20ms", "20"))},
    # A socket without subscriptions was seen to be closed after 30 s without a message, the venue's own pings missing.
    ping_interval_s=12.0,
    instruments_path="/api/v4/futures/usdt/contracts",
    # REST: 200 requests in 10 s for each endpoint and address; connections: 300 for each address, no rate is documented. 150 obu streams
    # on one connection have been seen to work, 200 of book_ticker. https://www.gate.com/docs/developers/apiv4/en/#frequency-limit-rule
    limits=VenueLimits(connects=Rate(10, 1.0), requests=Rate(50, 1.0), rest=Rate(200, 10.0), subscriptions_per_connection=150),
    private=GATEIO_FUTURES_ACCOUNT,
)
