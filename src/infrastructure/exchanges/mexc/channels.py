"""MEXC spot: what its public and its private channels share. Frames told apart, times, requests, the instrument list."""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import ClassVar

import msgspec
from google.protobuf.message import DecodeError as NotAMessage
from google.protobuf.message import Message as Body
from google.protobuf.unknown_fields import UnknownFieldSet

from infrastructure.errors import DecodeError, SettingsError
from infrastructure.events import Side
from infrastructure.exchanges.mexc.control import INVALID_LISTEN_KEY, read_text
from infrastructure.exchanges.mexc.names import channel_of, native_symbol, unified_symbol
from infrastructure.exchanges.mexc.push_pb2 import Push
from infrastructure.exchanges.mexc.wire import channel_and_symbol, check_size
from infrastructure.instruments import Instrument, InstrumentStatus, Symbols
from infrastructure.venue import ALL, Message, SubscriptionRequest, Unknown

NAME = "mexc_spot"

SIDES = {1: Side.BUY, 2: Side.SELL}

#: A time in milliseconds lies between 1973 and 2262. Below are seconds; above are microseconds, which would not fit in 64 bits as
#: nanoseconds.
EARLIEST_MS, LATEST_MS = 10**11, (2**63 - 1) // 10**6
EARLIEST_S, LATEST_S = EARLIEST_MS // 1000, LATEST_MS // 1000

ByNative = Mapping[str, str]
Reader = Callable[[Push, ByNative], list[Message]]

#: A connection takes thirty, so a request never has to hold more.
STREAMS_PER_CONNECTION = 30
_METHODS = {"subscribe": "SUBSCRIPTION", "unsubscribe": "UNSUBSCRIPTION"}


class SymbolInfo(msgspec.Struct):
    """``{"symbol":"BTCUSDT","status":"1","baseAsset":"BTC","baseAssetPrecision":8,"quoteAsset":"USDT","quotePrecision":2,
    "baseSizePrecision":"0.000001","quoteAmountPrecision":"1.000000000000000000"}``

    Precisions are numbers of decimals, but for the last two: they are the least quantity and the least value of an order, 0 where
    there is none. ``status`` is 1 while the pair is traded, 2 paused, 3 ended; earlier it was ENABLED.
    """

    symbol: str
    status: int | str
    baseAsset: str
    quoteAsset: str
    quotePrecision: int
    baseAssetPrecision: int
    baseSizePrecision: Decimal | None = None
    quoteAmountPrecision: Decimal | None = None


class ExchangeInfo(msgspec.Struct):
    """``{"timezone":"CST","serverTime":1790281247251,"rateLimits":[],"exchangeFilters":[],"symbols":[]}``"""

    symbols: list[SymbolInfo]


def milliseconds(time: int, channel: str, symbol: str) -> int | None:
    """A time in milliseconds as nanoseconds; 0 is none, for so the wire has it."""
    if EARLIEST_MS <= time <= LATEST_MS:
        return time * 1_000_000
    if time:
        raise DecodeError(f"{time} is not a time in milliseconds", channel=channel, symbol=symbol)
    return None


def sent_ns(push: Push, channel: str, symbol: str) -> int | None:
    """When the venue sent a push, or, of one that does not say so, when it made it."""
    return milliseconds(push.send_time or push.create_time, channel, symbol)


def has_more(body: Body) -> bool:
    """Whether a message holds fields that the schema does not have."""
    return len(UnknownFieldSet(body)) > 0


def _instrument(info: SymbolInfo) -> Instrument:
    return Instrument(
        NAME,
        f"{info.baseAsset}/{info.quoteAsset}",
        info.symbol,
        info.baseAsset,
        info.quoteAsset,
        None,
        InstrumentStatus.TRADING if str(info.status) in ("1", "ENABLED") else InstrumentStatus.HALTED,
        Decimal(1).scaleb(-info.quotePrecision),
        Decimal(1).scaleb(-info.baseAssetPrecision),
        _least(info.baseSizePrecision),
        _least(info.quoteAmountPrecision),
    )


def _least(value: Decimal | None) -> Decimal | None:
    """None where the venue asks for no least value."""
    if value is None or value == 0:
        return None
    if not (value.is_finite() and value > 0):
        raise DecodeError(f"{value} is not a least amount or value of an order")
    return value


_decode_exchange_info = msgspec.json.Decoder(ExchangeInfo, strict=False).decode


class MexcChannels:
    """Channels of MEXC spot, public or private: dispatch and requests. Pure.

    Those who derive from it say how the bodies of their channels are read, and how their streams are called.
    """

    #: By body: its channel and how it is read.
    readers: ClassVar[Mapping[str, tuple[str, Reader]]]
    #: By channel: how the name of a stream goes on after it, and the option when the user names none.
    streams: ClassVar[Mapping[str, tuple[str, str]]]

    def __init__(self, symbols: Symbols | None = None) -> None:
        self.symbols = Symbols(NAME, unified_symbol, native_symbol) if symbols is None else symbols

    def answers(self, raw: bytes) -> list[Message]:
        """What a text frame says. Raises DecodeError."""
        return read_text(raw)

    def decode(self, raw_message: bytes | str) -> Sequence[Message]:
        """Decode one frame into at least one message, or raise DecodeError and nothing else.

        Text and binary frames are told apart by their first byte: answers are JSON objects and one plain text, and the tag of no field
        of a push is ``{``.
        """
        if isinstance(raw_message, str):
            try:
                return self.answers(raw_message.encode())
            except UnicodeEncodeError:
                raise DecodeError("a text frame that is not Unicode") from None
        if raw_message.startswith(b"{") or raw_message == INVALID_LISTEN_KEY:
            return self.answers(raw_message)
        try:
            check_size(raw_message)
            push = Push.FromString(raw_message)
        except (DecodeError, NotAMessage) as error:
            raise self._unreadable(raw_message, str(error)) from None
        reader = self.readers.get(push.WhichOneof("body") or "")
        if reader is None:
            return (self._without_data(push),)
        channel, read = reader
        try:
            return read(push, self.symbols.by_native)
        except DecodeError as error:
            # A symbol is read without knowing of which channel it is, a number without knowing of which symbol.
            error.channel, error.symbol = channel, error.symbol or self.symbols.by_native.get(push.symbol)
            raise

    def decode_instruments(self, raw: bytes | str) -> list[Instrument]:
        """Decode the answer of ``GET /api/v3/exchangeInfo``, or raise DecodeError and nothing else."""
        try:
            return [_instrument(info) for info in _decode_exchange_info(raw).symbols]
        except (msgspec.MsgspecError, ValueError, RecursionError, ArithmeticError) as error:
            raise DecodeError(f"not a list of symbols: {error}") from None

    def subscription_requests(
        self, action: str, channel: str, symbols: Sequence[str], now_s: int, next_id: Callable[[], int] | None = None
    ) -> list[SubscriptionRequest]:
        """``{"method":"SUBSCRIPTION","params":["spot@public.aggre.deals.v3.api.pb@100ms@BTCUSDT"],"id":1}``

        One request for as many markets as a connection takes; a stream without a symbol in its name is one for all of them.
        ``channel`` may name an option after a colon: ``spot@public.kline.v3.api.pb:Min5``.
        """
        name, _, option = channel.partition(":")
        if name not in self.streams:
            raise SettingsError(f"unknown channel {name!r}; known: {', '.join(self.streams)}")
        form, default = self.streams[name]
        requests = []
        size = STREAMS_PER_CONNECTION if "{symbol}" in form else max(len(symbols), 1)
        for start in range(0, len(symbols), size):
            group = tuple(symbols[start : start + size])
            natives = [symbol if symbol == ALL else self.symbols.native(symbol) for symbol in group]
            names = [name + form.format(option=option or default, symbol=native) for native in natives]
            params = list(dict.fromkeys(names))
            message: dict[str, object] = {"method": _METHODS[action], "params": params}
            request = SubscriptionRequest(action, channel, group, message, payload=tuple(params))
            if next_id is not None:
                message["id"] = request.request_id = next_id()
            requests.append(request)
        return requests

    def ping_request(self, now_s: int) -> dict[str, object]:
        """``{"method":"PING"}``"""
        return {"method": "PING"}

    def _unreadable(self, raw: bytes, reason: str) -> DecodeError:
        """Of a frame that is no push, with the stream that it names before it breaks."""
        text, native = channel_and_symbol(raw)
        channel = channel_of(text)
        if channel not in self.streams:
            return DecodeError(reason)
        try:
            return DecodeError(reason, channel=channel, symbol=self.symbols.by_native[native])
        except DecodeError:
            return DecodeError(reason, channel=channel)

    def _without_data(self, push: Push) -> Message:
        """A frame without a body, as quiet pairs have been seen to get, or with one that is of no use here, such as an account's.

        On a channel that is known, a body that is not known is the venue's format changed: its data is lost.
        """
        channel = channel_of(push.channel)
        body = push.WhichOneof("body")
        if body is None:
            if not channel:
                raise DecodeError("neither a channel nor a body")
            if channel in self.streams and has_more(push):
                raise DecodeError("a body that is unknown", channel=channel)
        return Unknown(channel, body or "")
