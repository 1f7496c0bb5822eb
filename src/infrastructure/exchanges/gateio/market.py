"""What the public channels of all Gate.io markets have in common: dispatch, readers, requests, and the messages of one shape in each.

Source: https://www.gate.com/docs/developers/apiv4/ws/en/ (spot), .../futures/ws/en/ (futures). Each struct stands beside the payload
that it reads.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import ClassVar, TypeVar

import msgspec

from infrastructure.errors import DecodeError, SettingsError
from infrastructure.events import BookTicker, Candle
from infrastructure.exchanges.gateio.envelope import Envelope, control_message, open_envelope
from infrastructure.exchanges.numbers import number
from infrastructure.instruments import Instrument, Symbols
from infrastructure.venue import BookUpdate, Levels, Message, SubscriptionRequest, check_levels, check_positive

#: A number that comes as a text or as a JSON number; where a side is empty, as an empty text.
Number = float | str


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
    b: Number
    B: Number
    a: Number
    A: Number


class CandleResult(msgspec.Struct):
    """``{"t":"1606292580","v":"2362.32035","c":"19128.1","h":"19128.1","l":"19128.1","o":"19128.1","n":"1m_BTC_USDT","a":"3.8283",
    "w":true}``: ``a`` is base volume, ``v`` the market's own; frames of 2021 have neither ``a`` nor ``w``.
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


Reader = Callable[[Envelope], Sequence[Message]]
Result = TypeVar("Result")


def one(result_type: type[Result], convert: Callable[[Result, Envelope], Message]) -> Reader:
    """The reader of a channel whose pushes hold one result."""
    decode = msgspec.json.Decoder(result_type, strict=False).decode

    def read(envelope: Envelope) -> Sequence[Message]:
        return (convert(decode(envelope.result), envelope),)

    return read


def each(result_type: type[Result], convert: Callable[[Result, Envelope], Message]) -> Reader:
    """The reader of a channel whose pushes hold a list of results."""
    decode = msgspec.json.Decoder(list[result_type], strict=False).decode  # type: ignore[valid-type]  # a type made at run time

    def read(envelope: Envelope) -> Sequence[Message]:
        return some([convert(result, envelope) for result in decode(envelope.result)])

    return read


def some(messages: list[Message]) -> list[Message]:
    """Return ``messages`` if there are any: data that holds nothing is a change of the format that nobody announced."""
    if not messages:
        raise DecodeError("a push without data")
    return messages


def book_update(
    channel: str, symbol: str, first_id: int, last_id: int, bids: Levels, asks: Levels, is_full: bool, exchange_ns: int | None
) -> BookUpdate:
    """A BookUpdate whose levels and ids have been checked. Raises DecodeError."""
    check_levels(bids, channel, symbol)
    check_levels(asks, channel, symbol)
    if first_id > last_id:
        raise DecodeError(f"ids run backwards, {first_id} to {last_id}", channel=channel, symbol=symbol)
    return BookUpdate(channel, symbol, first_id, last_id, bids, asks, is_full, exchange_ns)


#: Beside ``update``: obu pushes may come without an event, and a whole book of ``futures.order_book`` is ``all``.
_OTHER_PUSHES = (None, "all")


class GateioChannels(ABC):
    """Channels of one Gate.io market, public or private: dispatch and requests. Pure.

    Those who derive from it say how their channels are read and asked for, and what names the market has.
    """

    #: The venue, and what its channels begin with.
    name: ClassVar[str]
    prefix: ClassVar[str]

    def __init__(self, symbols: Symbols | None = None) -> None:
        self.symbols = symbols or Symbols(self.name, self.unified, self.native)
        self._by_native = self.symbols.by_native
        self._readers = self.readers()

    @abstractmethod
    def readers(self) -> dict[str, Reader]:
        """By channel: how a push is read."""

    @staticmethod
    @abstractmethod
    def unified(native: str) -> str:
        """The unified symbol of a native name, by the market's notation. Raises DecodeError."""

    @staticmethod
    @abstractmethod
    def native(symbol: str) -> str:
        """The native name of a unified symbol, by the market's notation."""

    @abstractmethod
    def asked(self, channel: str, option: str, symbols: Sequence[str]) -> list[tuple[tuple[str, ...], list[str]]]:
        """The requests that ask for ``symbols``: of each its own of them, and its payload, empty where it has none."""

    def proof(self, channel: str, action: str, now_s: int) -> dict[str, object]:
        """What a request says of who asks: on a public channel nothing."""
        return {}

    def answer(self, envelope: Envelope) -> Message:
        """What a frame without data says."""
        return control_message(envelope, self.prefix)

    def decode(self, raw_message: bytes | str) -> Sequence[Message]:
        """Decode one frame into at least one message, or raise DecodeError and nothing else."""
        envelope = open_envelope(raw_message)
        channel = envelope.channel
        read = self._readers.get(channel)
        try:
            if read is None or (envelope.event != "update" and envelope.event not in _OTHER_PUSHES):
                return (self.answer(envelope),)
            return read(envelope)
        except DecodeError as error:
            error.channel = channel  # A symbol or a time is read without knowing of which channel it is.
            raise
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise DecodeError(str(error), channel=channel) from None

    def subscription_requests(
        self, action: str, channel: str, symbols: Sequence[str], now_s: int, next_id: Callable[[], int] | None = None
    ) -> list[SubscriptionRequest]:
        """One request for all names, or one for each where the channel wants that. ``id`` must fit in 32 bits.

        ``channel`` may name an option after a colon: ``spot.candlesticks:5m``, ``futures.obu:400``.
        """
        name, _, option = channel.partition(":")
        if name not in self._readers:
            raise SettingsError(f"unknown channel {name!r}; known: {', '.join(self._readers)}")
        requests = []
        for group, payload in self.asked(name, option, symbols):
            message: dict[str, object] = {"time": now_s, "channel": name, "event": action}
            if payload:
                message["payload"] = payload
            message |= self.proof(name, action, now_s)
            request = SubscriptionRequest(action, channel, group, message, payload=tuple(payload))
            if next_id is not None:
                message["id"] = request.request_id = next_id()
            requests.append(request)
        return requests

    def ping_request(self, now_s: int) -> dict[str, object]:
        """``{"time":1545404023,"channel":"spot.ping"}``, or ``futures.ping``."""
        return {"time": now_s, "channel": self.prefix + "ping"}


class GateioCodec(GateioChannels):
    """The wire format of one Gate.io market, public channels. Pure.

    A market adds what differs: how its channels are read and asked for, its names, and its REST answers.
    """

    #: By channel, where one request is for one name: its payload, of the name and the option, which is empty if the user named none.
    payloads: ClassVar[Mapping[str, Callable[[str, str], list[str]]]]
    #: By the name of a level of ``obu``, as in ``ob.BTC_USDT.50``: so many levels a side.
    depths: ClassVar[Mapping[str, int]] = {level: int(level) for level in ("50", "100", "400")}

    def fresh(self) -> "GateioCodec":
        """The same wire format with names of its own."""
        return type(self)()

    @abstractmethod
    def rest_book(self, symbol: str, raw: bytes | str) -> BookUpdate:
        """The book in a REST answer; raises what msgspec raises, or DecodeError."""

    @abstractmethod
    def instruments(self, raw: bytes | str) -> list[Instrument]:
        """The instruments in a REST answer; raises what msgspec raises, or DecodeError."""

    def asked(self, channel: str, option: str, symbols: Sequence[str]) -> list[tuple[tuple[str, ...], list[str]]]:
        """All names in one request, or each in its own where its channel has a payload of its own form."""
        payload_of = self.payloads.get(channel)
        if payload_of is None:
            return [(tuple(symbols), [self.symbols.native(symbol) for symbol in symbols])]
        return [((symbol,), payload_of(self.symbols.native(symbol), option)) for symbol in symbols]

    def decode_snapshot(self, symbol: str, raw: bytes | str) -> BookUpdate:
        """Decode the REST answer with the whole book of ``symbol``, or raise DecodeError and nothing else."""
        try:
            return self.rest_book(symbol, raw)
        except DecodeError as error:
            error.channel, error.symbol = self.prefix + "order_book_update", symbol
            raise
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise DecodeError(f"not an order book: {error}", channel=self.prefix + "order_book_update", symbol=symbol) from None

    def decode_instruments(self, raw: bytes | str) -> list[Instrument]:
        """Decode the REST answer that lists what is traded, or raise DecodeError and nothing else."""
        try:
            return self.instruments(raw)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise DecodeError(f"not a list of instruments: {error}") from None

    def book_tickers(self) -> Reader:
        """The reader of ``book_ticker``."""
        two_sided, one_sided = one(TwoSidedResult, self._two_sided), one(OneSidedResult, self._one_sided)

        def read(envelope: Envelope) -> Sequence[Message]:
            try:
                return two_sided(envelope)
            except msgspec.ValidationError:
                return one_sided(envelope)

        return read

    def _two_sided(self, result: TwoSidedResult, envelope: Envelope) -> Message:
        return self._book_ticker(result, envelope, result.b, result.B, result.a, result.A)

    def _one_sided(self, result: OneSidedResult, envelope: Envelope) -> Message:
        symbol = self._by_native[result.s]
        values = (number(str(value), envelope.channel, symbol) or 0.0 for value in (result.b, result.B, result.a, result.A))
        return self._book_ticker(result, envelope, *values)

    def _book_ticker(
        self, result: TwoSidedResult | OneSidedResult, envelope: Envelope, bid: float, bid_amount: float, ask: float, ask_amount: float
    ) -> Message:
        symbol = self._by_native[result.s]
        if not (0.0 <= bid < inf and 0.0 <= bid_amount < inf and 0.0 <= ask < inf and 0.0 <= ask_amount < inf):
            raise DecodeError("a price or amount is not a finite number of 0 or more", channel=envelope.channel, symbol=symbol)
        return BookTicker(
            self.name,
            symbol,
            result.u or None,  # A contract that is dead sends 0 for its id and for its time.
            bid or None,
            bid_amount if bid else None,
            ask or None,
            ask_amount if ask else None,
            result.t * 1_000_000 if result.t else None,
        )

    def obu(self, result: ObuResult, envelope: Envelope) -> Message:
        """A push of ``obu``, which reads the same in every market."""
        prefix, _, rest = result.s.partition(".")
        native, _, level = rest.partition(".")
        symbol = self._by_native[native]
        if prefix != "ob" or (result.U is None and not result.full):
            raise DecodeError("an increment without its first id", channel=envelope.channel, symbol=symbol)
        first_id = result.u if result.U is None else result.U
        update = book_update(envelope.channel, symbol, first_id, result.u, result.b, result.a, result.full, result.t * 1_000_000)
        if result.full and level in self.depths:
            update.depth = self.depths[level]
        return update

    def bar(
        self, result: CandleResult, envelope: Envelope, interval: str, native: str, base_volume: float | None, quote_volume: float | None
    ) -> Message:
        """A Candle of a result whose name has been read, with the volumes that the market says."""
        symbol = self._by_native[native]
        channel = envelope.channel
        open_, high, low, close = (check_positive(value, "price", channel, symbol) for value in (result.o, result.h, result.l, result.c))
        for volume in (result.v, result.a):
            if volume is not None and not 0.0 <= volume < inf:
                raise DecodeError(f"volume {volume!r} is not a finite number of 0 or more", channel=channel, symbol=symbol)
        open_ns = result.t * 1_000_000_000
        return Candle(
            self.name, symbol, interval, open_ns, open_, high, low, close, base_volume, quote_volume, result.w, envelope.exchange_ns
        )
