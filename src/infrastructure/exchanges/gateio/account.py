"""What the accounts of all Gate.io markets have in common: signed subscriptions and requests, refusals, answers in pages, times.

Sources: https://www.gate.com/docs/developers/apiv4/ws/en/, .../futures/ws/en/ (private channels), .../apiv4/en/ (REST).
"""

import re
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import ClassVar, TypeVar

import msgspec

from infrastructure.account_api import AccountAnswer, AccountCall, RefusalKind, RestCall, SignedCall
from infrastructure.credentials import Credentials, Secret
from infrastructure.errors import DecodeError
from infrastructure.events import BalanceUpdate, Fill, OrderUpdate, PositionUpdate
from infrastructure.exchanges.gateio.envelope import Envelope, milliseconds_to_ns, seconds_to_ns
from infrastructure.exchanges.gateio.market import GateioChannels
from infrastructure.exchanges.gateio.signing import signed_call, subscription_proof
from infrastructure.exchanges.numbers import difference
from infrastructure.instruments import Instrument, Symbols
from infrastructure.venue import Acknowledgement, BookUpdate, Message

#: How a subscription names every market.
EVERY = "!all"
TIME_CALL = RestCall("GET", "/api/v4/spot/time")
#: So many pages no account has: an answer that goes on after them repeats itself.
MOST_PAGES = 1000

#: Labels that come with a refusal, or as JSON text in the message of one. https://www.gate.com/docs/developers/apiv4/en/#error-handling
_CREDENTIALS = (
    "INVALID_KEY",
    "INVALID_SIGNATURE",
    "INVALID_CREDENTIALS",
    "FORBIDDEN",
    "READ_ONLY",
    "ACCOUNT_LOCKED",
    "AUTHENTICATION_FAILED",
)
_PASSING = ("TOO_MANY_REQUESTS", "TOO_FAST", "TOO_BUSY", "SERVER_ERROR", "INTERNAL")
_CLOCK_WORDS = re.compile(r"REQUEST_EXPIRED|timestamp|request expired|time gap|server time|invalid time", re.IGNORECASE)
_CREDENTIALS_WORDS = re.compile(r"signature mismatch|invalid key|whitelist|permission|authenticat", re.IGNORECASE)
#: Of an acknowledgement: authentication.
_AUTHENTICATION_CODE = "4"
_UNAUTHORIZED = 401


class ServerTime(msgspec.Struct):
    """``{"server_time":1597026383085}``, of ``GET /spot/time``."""

    server_time: int


#: A number of an account, in JSON a number or a text, which a double would not hold.
Number = msgspec.Raw
#: A time, likewise, in seconds or milliseconds, with a fraction or without.
Time = msgspec.Raw
NOTHING = msgspec.Raw(b'""')
#: No time in milliseconds is shorter before its point, no time in seconds longer: 5138 in seconds, 1973 in milliseconds.
_DIGITS_OF_MS = 12

Told = OrderUpdate | Fill | BalanceUpdate | PositionUpdate
Row = TypeVar("Row")
#: What the answer to a request for a list holds, and how many rows it has of those that a page counts.
Listing = Callable[[bytes | str], tuple[list[Told], int]]

_decode_time = msgspec.json.Decoder(ServerTime, strict=False).decode


def first_time(*times: Time) -> int | None:
    """The first of ``times`` that says something, in nanoseconds. Raises DecodeError."""
    for raw in times:
        text = bytes(raw).decode().strip('"')
        if text not in ("", "null"):
            to_ns = milliseconds_to_ns if len(text.partition(".")[0]) >= _DIGITS_OF_MS else seconds_to_ns
            if ns := to_ns(text):
                return ns
    return None


def identifier(value: int | str, name: str) -> str:
    """``value`` as a text, if it can name something, in a URL too. Raises DecodeError."""
    text = str(value)
    if text.isascii() and text.isalnum() and len(text) <= 64:
        return text
    raise DecodeError(f"{name} {text[:32]!r} names nothing")


def client_order_id(text: str | None) -> str | None:
    """What the owner called an order: it begins with ``t-``; other texts are the venue's, such as ``web`` and ``apiv4``."""
    return text if text is not None and text.startswith("t-") else None


def filled(amount: Decimal, left: Decimal) -> Decimal:
    """How much of an order of ``amount`` was executed when so much is left. Raises DecodeError for more than there was."""
    if left > amount:
        raise DecodeError(f"of an order of {amount} {left} is left")
    return difference(amount, left)


def rows_of(row_type: type[Row], convert: Callable[[Row, int | None], Told]) -> Listing:
    """How a list of rows is read that are as those of a push."""
    decode = msgspec.json.Decoder(list[row_type], strict=False).decode  # type: ignore[valid-type]  # a type made at run time

    def read(raw: bytes | str) -> tuple[list[Told], int]:
        rows = decode(raw)
        return [convert(row, None) for row in rows], len(rows)

    return read


class GateioAccountCodec(GateioChannels):
    """The wire format of an account at one Gate.io market: private channels, and what REST says of it. Pure.

    A market adds what differs: its channels, its requests, its rows, each with when it was sent, which of an answer of REST is not known.
    """

    #: Sent with every request to REST.
    headers: ClassVar[Mapping[str, str]] = {}

    def __init__(self, credentials: Credentials, symbols: Symbols | None = None) -> None:
        self._credentials = credentials
        super().__init__(symbols)
        self._listings = self.listings()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def fresh(self) -> "GateioAccountCodec":
        """The same account with names of its own."""
        return type(self)(self._credentials)

    @abstractmethod
    def listings(self) -> dict[str, Listing]:
        """By path: how an answer of REST is read that is a list, in pages or whole."""

    @abstractmethod
    def order(self, raw: bytes | str) -> OrderUpdate:
        """The one order in an answer of REST; raises what msgspec raises, or DecodeError."""

    @abstractmethod
    def account_calls(self, symbols: Sequence[str], since_ms: int | None) -> list[AccountCall]:
        """Requests for all parts of the account. No list of this venue has to be asked for symbol by symbol."""

    @abstractmethod
    def order_call(self, symbol: str, order_id: str) -> AccountCall:
        """The request for one order. An order that was canceled without a fill is no longer found after ten minutes."""

    def symbol_of(self, native: str) -> str:
        """The unified symbol of a native name; one that no list has is read by the notation: an account may hold what left the market."""
        known = self._by_native.get(native)
        return self.unified(native) if known is None else known

    def proof(self, channel: str, action: str, now_s: int) -> dict[str, object]:
        """Each request is signed for itself, to unsubscribe as to subscribe."""
        return {"auth": subscription_proof(self._credentials, channel, action, now_s)}

    def answer(self, envelope: Envelope) -> Message:
        """As of any channel; that a private one was subscribed proves that the venue took the credentials."""
        message = super().answer(envelope)
        if isinstance(message, Acknowledgement):
            message.confirms_login = message.error is None and message.request == "subscribe" and message.channel in self._readers
        return message

    def decode_snapshot(self, symbol: str, raw: bytes | str) -> BookUpdate:
        """Raises DecodeError: an account has no books."""
        raise DecodeError("an account has no books", symbol=symbol)

    def decode_instruments(self, raw: bytes | str) -> list[Instrument]:
        """Raises DecodeError: the names of markets are those of the public codec."""
        raise DecodeError("an account has no list of instruments")

    def decode_listen_key(self, raw: bytes | str) -> Secret:
        """Raises DecodeError: this venue gives out no keys for streams."""
        raise DecodeError("this venue has no listen keys")

    @property
    def identity_call(self) -> RestCall | None:
        """Nothing must be asked: the key says whose account it is."""
        return None

    def identify(self, raw: bytes | str) -> None:
        """Raises DecodeError: nothing was asked."""
        raise DecodeError("nobody asked for an identity")

    def signed(self, call: RestCall, now_ms: int) -> SignedCall:
        """``call`` with its signature, good for a minute from ``now_ms``."""
        return signed_call(self._credentials, call, now_ms, self.headers)

    def refusal(self, words: str, code: str | None = None, status: int | None = None) -> RefusalKind:
        """What a refusal means; ``words`` may be JSON with a label, whole or cut off, or plain."""
        if any(label in words for label in _PASSING):
            return RefusalKind.OTHER
        if any(label in words for label in _CREDENTIALS):
            return RefusalKind.CREDENTIALS
        if _CLOCK_WORDS.search(words):
            return RefusalKind.CLOCK
        if _CREDENTIALS_WORDS.search(words) or code == _AUTHENTICATION_CODE or status == _UNAUTHORIZED:
            return RefusalKind.CREDENTIALS
        return RefusalKind.OTHER

    def decode_server_time(self, raw: bytes | str) -> int:
        """The venue's time in milliseconds. Raises DecodeError."""
        time_ms = read_answer(_decode_time, raw).server_time
        if len(str(time_ms)) < _DIGITS_OF_MS or first_time(msgspec.Raw(str(time_ms).encode())) is None:
            raise DecodeError("not a time of the venue")
        return time_ms

    def decode_account(self, call: AccountCall, raw: bytes | str) -> AccountAnswer:
        """Decode the answer to ``call``; a full page leads to the next one. Raises DecodeError."""
        read = self._listings.get(call.call.path)
        if read is None:
            return AccountAnswer((read_answer(self.order, raw),))
        events, rows = read_answer(read, raw)
        return AccountAnswer(tuple(events), _following(call, rows))


Value = TypeVar("Value")


def read_answer(read: Callable[[bytes | str], Value], raw: bytes | str) -> Value:
    """What ``read`` makes of an answer; what it cannot read is a DecodeError."""
    try:
        return read(raw)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise DecodeError(f"not an answer about an account: {error}") from None


def _following(call: AccountCall, rows: int) -> AccountCall | None:
    """The request for the next page, if this one was full: with more rows than were asked for the venue gives no pages."""
    query = dict(call.call.query)
    limit = int(query.get("limit", "0"))
    if not limit or rows != limit:
        return None
    if call.page == MOST_PAGES:
        raise DecodeError(f"the list has more than {MOST_PAGES} pages")
    place = {"page": str(call.page + 1), "offset": str(call.page * limit)}
    following = RestCall(call.call.method, call.call.path, tuple((key, place.get(key, value)) for key, value in query.items()))
    return msgspec.structs.replace(call, call=following, page=call.page + 1)
