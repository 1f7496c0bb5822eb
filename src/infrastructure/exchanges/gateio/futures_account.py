"""The account at Gate.io futures settled in USDT: private channels and REST.

Sources: https://www.gate.com/docs/developers/futures/ws/en/, .../apiv4/en/#futures. Each struct stands beside the payload that it reads, of
a channel and of REST where both have the same. Numbers are JSON numbers or texts; sizes are contracts.
"""

from collections.abc import Sequence
from decimal import Decimal

import msgspec

from infrastructure.account_api import AccountCall, Part, RestCall
from infrastructure.credentials import Credentials
from infrastructure.errors import DecodeError, SettingsError
from infrastructure.events import BalanceUpdate, Fill, MessageType, OrderStatus, OrderUpdate, PositionUpdate, RiskKind, RiskNotice, Side
from infrastructure.exchanges.gateio.account import (
    EVERY,
    NOTHING,
    TIME_CALL,
    GateioAccountCodec,
    Listing,
    Number,
    Time,
    Told,
    client_order_id,
    filled,
    first_time,
    identifier,
    read_answer,
    rows_of,
)
from infrastructure.exchanges.gateio.envelope import Envelope, native_contract, unified_contract
from infrastructure.exchanges.gateio.market import Reader, each
from infrastructure.exchanges.numbers import money, money_or_none, positive, positive_or_none
from infrastructure.instruments import Symbols
from infrastructure.venue import ALL, Message, PrivateVenue

NAME = "gateio_futures"
#: Without it sizes are cut to whole contracts, on the stream as in REST: 1.7 arrives as 1.
SIZES_WITH_FRACTIONS = {"X-Gate-Size-Decimal": "1"}
#: As many as the venue gives unless it is asked for more or fewer.
ROWS_A_PAGE = 100


class OrderResult(msgspec.Struct):
    """``{"contract":"BTC_USDT","create_time":1628736847,"create_time_ms":1628736847325,"fill_price":40000.4,"finish_as":"filled",
    "finish_time":1628736848,"finish_time_ms":1628736848321,"id":4872460,"left":0,"price":40000.4,"size":-1,"status":"finished",
    "text":"t-mine","tif":"gtc","user":"110xxxxx","update_id":1,"update_time":1628736848321}``: a negative size sells. In REST times are
    seconds with a fraction.
    """

    contract: str
    id: int | str
    size: Number
    left: Number
    status: str
    price: Number = NOTHING
    fill_price: Number = NOTHING
    finish_as: str = ""
    text: str | None = None
    update_time: Time = NOTHING
    finish_time_ms: Time = NOTHING
    finish_time: Time = NOTHING


class TradeResult(msgspec.Struct):
    """``{"id":"3335259","create_time":1628736848,"create_time_ms":1628736848321,"contract":"BTC_USDT","order_id":"4872460","size":"-1.5",
    "price":"40000.4","role":"maker","text":"api","fee":0.0009290592,"point_fee":0}``; in REST ``trade_id`` in place of ``id``, and
    ``create_time`` alone, in seconds with a fraction.
    """

    contract: str
    order_id: int | str
    size: Number
    price: Number
    id: int | str = ""
    trade_id: int | str = ""
    role: str = ""
    fee: Number = NOTHING
    point_fee: Number = NOTHING
    text: str | None = None
    create_time_ms: Time = NOTHING
    create_time: Time = NOTHING


class PositionResult(msgspec.Struct):
    """``{"contract":"BTC_USDT","entry_price":40000.36666661111,"leverage":0,"liq_price":0.1,"margin":49.999890611186,"mode":"single",
    "realised_pnl":-1.25e-8,"size":3,"time":1628736848,"time_ms":1628736848321,"user":"110xxxxx","update_id":170919}``: a negative size is
    short, a leverage of 0 says that the margin is that of the whole account. In REST ``update_time`` in place of ``time_ms``.
    """

    contract: str
    size: Number
    entry_price: Number = NOTHING
    leverage: Number = NOTHING
    liq_price: Number = NOTHING
    margin: Number = NOTHING
    realised_pnl: Number = NOTHING
    mode: str = ""
    time_ms: Time = NOTHING
    time: Time = NOTHING
    update_time: Time = NOTHING


class BalanceResult(msgspec.Struct):
    """``{"balance":2214.189114310433,"change":-0.00255888,"currency":"usdt","text":"TCOM_USDT:263179103241933644","time":1755738516,
    "time_ms":1755738516430,"type":"fee","user":"12870774"}``; frames of 2022 have no ``currency``.
    """

    balance: Number
    type: str = ""
    currency: str = "usdt"
    time_ms: Time = NOTHING
    time: Time = NOTHING


class LiquidationResult(msgspec.Struct):
    """``{"entry_price":209,"fill_price":215.1,"left":0,"leverage":0.0,"liq_price":213,"margin":0.007816722941,"mark_price":213,
    "order_id":4093362,"order_price":215.1,"size":-124,"time":1541486601,"time_ms":1541486601123,"contract":"BTC_USDT","user":"1040xxxx"}``
    """

    contract: str
    size: Number
    fill_price: Number = NOTHING
    time_ms: Time = NOTHING
    time: Time = NOTHING


class DeleverageResult(msgspec.Struct):
    """``{"entry_price":209,"fill_price":215.1,"position_size":10,"trade_size":-10,"time":1541486601,"time_ms":1541486601123,
    "contract":"BTC_USDT","user":"1040"}``
    """

    contract: str
    trade_size: Number
    fill_price: Number = NOTHING
    time_ms: Time = NOTHING
    time: Time = NOTHING


class RankResult(msgspec.Struct):
    """``{"contract":"BTC_USDT","mode":"single","rank_division":1,"time_ms":1588212926119,"user_id":2124426495}``: 1 is the first in line,
    6 is in liquidation.
    """

    contract: str
    rank_division: int
    time_ms: Time = NOTHING


class FuturesAccount(msgspec.Struct):
    """``{"user":1666,"currency":"USDT","total":"9707.803567115145","available":"4485.674275459","order_margin":"0","position_margin":"0"}``,
    of ``GET /futures/usdt/accounts``.
    """

    user: int
    currency: str
    total: Number
    available: Number = NOTHING


ORDERS = "futures.orders"
USER_TRADES = "futures.usertrades"
BALANCES = "futures.balances"
POSITIONS = "futures.positions"
LIQUIDATES = "futures.liquidates"
AUTO_DELEVERAGES = "futures.auto_deleverages"
POSITION_ADL_RANK = "futures.position_adl_rank"

_ORDERS = "/api/v4/futures/usdt/orders"
_MY_TRADES = "/api/v4/futures/usdt/my_trades_timerange"
_ACCOUNTS = "/api/v4/futures/usdt/accounts"
_POSITIONS = "/api/v4/futures/usdt/positions"

_decode_order = msgspec.json.Decoder(OrderResult, strict=False).decode
_decode_account = msgspec.json.Decoder(FuturesAccount, strict=False).decode


class GateioFuturesAccountCodec(GateioAccountCodec):
    """The wire format of an account at Gate.io futures settled in USDT. Pure; it keeps the user id, which subscriptions carry."""

    name = NAME
    prefix = "futures."
    unified = staticmethod(unified_contract)
    native = staticmethod(native_contract)
    headers = SIZES_WITH_FRACTIONS

    def __init__(self, credentials: Credentials, symbols: Symbols | None = None) -> None:
        super().__init__(credentials, symbols)
        self._user: str | None = None

    def fresh(self) -> "GateioFuturesAccountCodec":
        """The same account with names of its own."""
        fresh = type(self)(self._credentials)
        fresh._user = self._user
        return fresh

    def readers(self) -> dict[str, Reader]:
        """By channel: how a push is read."""
        return {
            ORDERS: each(OrderResult, lambda result, envelope: self._order(result, envelope.exchange_ns)),
            USER_TRADES: each(TradeResult, lambda result, envelope: self._fill(result, envelope.exchange_ns)),
            BALANCES: each(BalanceResult, self._balance),
            POSITIONS: each(PositionResult, lambda result, envelope: self._position(result, envelope.exchange_ns)),
            LIQUIDATES: each(LiquidationResult, self._liquidation),
            AUTO_DELEVERAGES: each(DeleverageResult, self._deleverage),
            POSITION_ADL_RANK: each(RankResult, self._rank),
        }

    def listings(self) -> dict[str, Listing]:
        """By path: how an answer of REST is read that is a list; the balance is one row."""
        return {
            _ORDERS: rows_of(OrderResult, self._order),
            _MY_TRADES: rows_of(TradeResult, self._fill),
            _POSITIONS: rows_of(PositionResult, self._position),
            _ACCOUNTS: self._account,
        }

    @property
    def identity_call(self) -> RestCall | None:
        """The account, which says the user id."""
        return RestCall("GET", _ACCOUNTS)

    def identify(self, raw: bytes | str) -> None:
        """Take the user id. Raises DecodeError."""
        user = read_answer(_decode_account, raw).user
        if user <= 0:
            raise DecodeError(f"{user} is not a user id")
        self._user = str(user)

    def asked(self, channel: str, option: str, symbols: Sequence[str]) -> list[tuple[tuple[str, ...], list[str]]]:
        """One request for each contract. Of balances there is one stream, and the rank says of itself whose it is."""
        if channel == POSITION_ADL_RANK:
            return [((symbol,), [self._contract(symbol)]) for symbol in symbols]
        if self._user is None:
            raise SettingsError(f"{NAME} is not asked for {channel} before the user id is known: identify comes first")
        if channel == BALANCES:
            return [(tuple(symbols), [self._user])]
        return [((symbol,), [self._user, self._contract(symbol)]) for symbol in symbols]

    def account_calls(self, symbols: Sequence[str], since_ms: int | None) -> list[AccountCall]:
        """Open orders, fills of all contracts, the balance and the positions."""
        page = (("limit", str(ROWS_A_PAGE)), ("offset", "0"))
        calls = [AccountCall(Part.ORDERS, RestCall("GET", _ORDERS, (("status", "open"), *page)))]
        if since_ms is not None:
            calls.append(AccountCall(Part.FILLS, RestCall("GET", _MY_TRADES, (("from", str(since_ms // 1000)), *page))))
        calls.append(AccountCall(Part.BALANCES, RestCall("GET", _ACCOUNTS)))
        return [*calls, AccountCall(Part.POSITIONS, RestCall("GET", _POSITIONS, page))]

    def order_call(self, symbol: str, order_id: str) -> AccountCall:
        """``GET /futures/usdt/orders/{order_id}``; an order canceled without a fill is no longer found after ten minutes."""
        return AccountCall(Part.ORDERS, RestCall("GET", f"{_ORDERS}/{order_id}"), symbol)

    def order(self, raw: bytes | str) -> OrderUpdate:
        """The answer of ``GET /futures/usdt/orders/{order_id}``."""
        return self._order(_decode_order(raw), None)

    def _contract(self, symbol: str) -> str:
        return EVERY if symbol == ALL else self.symbols.native(symbol)

    def _order(self, result: OrderResult, sent_ns: int | None) -> OrderUpdate:
        size, left = money(result.size, "size"), money(result.left, "left")
        return OrderUpdate(
            NAME,
            self.symbol_of(result.contract),
            identifier(result.id, "id"),
            client_order_id(result.text),
            _side(size),
            _status(result, left),
            positive_or_none(result.price, "price"),
            size.copy_abs(),
            filled(size.copy_abs(), left.copy_abs()),
            first_time(result.update_time, result.finish_time_ms, result.finish_time) or sent_ns,
            average_price=positive_or_none(result.fill_price, "fill_price"),
            native_status=result.finish_as or result.status,
        )

    def _fill(self, result: TradeResult, sent_ns: int | None) -> Fill:
        symbol, size = self.symbol_of(result.contract), money(result.size, "size")
        fee, points = money_or_none(result.fee, "fee"), money_or_none(result.point_fee, "point_fee")
        is_in_points = bool(not fee and points)
        return Fill(
            NAME,
            symbol,
            identifier(result.id or result.trade_id, "id"),
            identifier(result.order_id, "order_id"),
            _side(size),
            positive(result.price, "price"),
            size.copy_abs(),
            points if is_in_points else fee,
            "POINT" if is_in_points else symbol.rpartition(":")[2],
            first_time(result.create_time_ms, result.create_time) or sent_ns,
            is_maker={"maker": True, "taker": False}.get(result.role),
            client_order_id=client_order_id(result.text),
        )

    def _position(self, result: PositionResult, sent_ns: int | None) -> PositionUpdate:
        return PositionUpdate(
            NAME,
            self.symbol_of(result.contract),
            money(result.size, "size"),
            positive_or_none(result.entry_price, "entry_price"),
            first_time(result.time_ms, result.time, result.update_time) or sent_ns,
            mode=result.mode,
            leverage=positive_or_none(result.leverage, "leverage"),
            margin=money_or_none(result.margin, "margin"),
            realised_pnl=money_or_none(result.realised_pnl, "realised_pnl"),
            # Of a position that no price can end it is 0 or below.
            liquidation_price=max(money_or_none(result.liq_price, "liq_price") or Decimal(0), Decimal(0)) or None,
        )

    def _balance(self, result: BalanceResult, envelope: Envelope) -> Message:
        # What happens to points, by which fees can be paid, comes by the same channel.
        currency = "POINT" if result.type.startswith("point_") else result.currency.upper()
        exchange_ns = first_time(result.time_ms, result.time) or envelope.exchange_ns
        return BalanceUpdate(
            NAME, identifier(currency, "currency"), money(result.balance, "balance"), None, None, exchange_ns, reason=result.type
        )

    def _account(self, raw: bytes | str) -> tuple[list[Told], int]:
        result = _decode_account(raw)
        available = money_or_none(result.available, "available")
        currency = identifier(result.currency.upper(), "currency")
        return [BalanceUpdate(NAME, currency, money(result.total, "total"), available, None, None)], 1

    def _liquidation(self, result: LiquidationResult, envelope: Envelope) -> Message:
        times = first_time(result.time_ms, result.time) or envelope.exchange_ns
        return self._closed(RiskKind.LIQUIDATED, result.contract, result.size, result.fill_price, times)

    def _deleverage(self, result: DeleverageResult, envelope: Envelope) -> Message:
        times = first_time(result.time_ms, result.time) or envelope.exchange_ns
        return self._closed(RiskKind.DELEVERAGED, result.contract, result.trade_size, result.fill_price, times)

    def _closed(self, kind: RiskKind, contract: str, size: Number, price: Number, exchange_ns: int | None) -> Message:
        amount = money(size, "size").copy_abs()
        return RiskNotice(NAME, self.symbol_of(contract), kind, amount, positive_or_none(price, "fill_price"), None, exchange_ns)

    def _rank(self, result: RankResult, envelope: Envelope) -> Message:
        exchange_ns = first_time(result.time_ms) or envelope.exchange_ns
        return RiskNotice(NAME, self.symbol_of(result.contract), RiskKind.DELEVERAGING_RANK, None, None, result.rank_division, exchange_ns)


def _side(size: Decimal) -> Side:
    """Of an order or a fill of a size that has been checked."""
    if not size:
        raise DecodeError("a size of 0 is neither bought nor sold")
    return Side.BUY if size > 0 else Side.SELL


def _status(result: OrderResult, left: Decimal) -> OrderStatus:
    if result.status == "open":
        return OrderStatus.OPEN
    if result.status != "finished":
        raise DecodeError(f"an order is neither open nor finished: {result.status[:32]!r}")
    return OrderStatus.FILLED if not left or result.finish_as == "filled" else OrderStatus.CANCELED


GATEIO_FUTURES_ACCOUNT = PrivateVenue(
    codec=GateioFuturesAccountCodec,
    channels={
        ORDERS: MessageType.ORDER,
        USER_TRADES: MessageType.FILL,
        BALANCES: MessageType.BALANCE,
        POSITIONS: MessageType.POSITION,
        LIQUIDATES: MessageType.RISK,
        AUTO_DELEVERAGES: MessageType.RISK,
        POSITION_ADL_RANK: MessageType.RISK,
    },
    # Ranks are asked for contract by contract.
    default_channels=(ORDERS, USER_TRADES, BALANCES, POSITIONS, LIQUIDATES, AUTO_DELEVERAGES),
    time_call=TIME_CALL,
)
