"""What a venue is to the rest of tickrail: its codec, its channels, and the rule by which its books are kept.

The messages below are what a codec makes of a frame beside the events themselves: neutral, complete, without a clock.
"""

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from math import inf
from typing import ClassVar, Protocol

import msgspec

from infrastructure.account_api import AccountAnswer, AccountCall, ListenKeys, RefusalKind, RestCall, SignedCall
from infrastructure.credentials import Credentials, Secret
from infrastructure.errors import DecodeError, SettingsError, UnknownSymbol
from infrastructure.events import Data, MessageType
from infrastructure.instruments import Instrument, Symbols

Levels = list[tuple[float, float]]


class BookUpdate(msgspec.Struct, gc=False):
    """A change of a book, or a whole one when ``is_full``; amounts are absolute and 0 removes a level.

    The update carries the ids ``first_id`` to ``last_id``, both included. Levels are (price, amount), in any order. A whole book may say
    to what ``depth``, in levels a side, its stream keeps it.
    """

    message_type: ClassVar[MessageType] = MessageType.ORDERBOOK
    is_control: ClassVar[bool] = False
    channel: str
    symbol: str
    first_id: int
    last_id: int
    bids: Levels
    asks: Levels
    is_full: bool
    exchange_ns: int | None
    depth: int | None = None


class Acknowledgement(msgspec.Struct):
    """A venue's answer to a request; ``error`` holds the venue's own words when it refused.

    ``payload`` repeats what was asked for, or of a refusal what was refused; ``request`` and ``channel`` are empty where the venue does
    not say to what it answers.
    ``confirms_login`` is set by a private codec on the answer that proves the venue took the credentials.
    """

    message_type: ClassVar[MessageType] = MessageType.ACKNOWLEDGEMENT
    is_control: ClassVar[bool] = True
    channel: str
    request: str
    payload: tuple[str, ...] = ()
    request_id: int | str | None = None
    error_code: str | None = None
    error: str | None = None
    confirms_login: bool = False


class Pong(msgspec.Struct):
    """The answer to an application-level ping."""

    message_type: ClassVar[MessageType] = MessageType.PONG
    is_control: ClassVar[bool] = True
    exchange_ns: int | None


class Notice(msgspec.Struct):
    """The venue speaks about itself, as when it is about to go down."""

    message_type: ClassVar[MessageType] = MessageType.NOTICE
    is_control: ClassVar[bool] = True
    channel: str
    text: str


class Unknown(msgspec.Struct):
    """A well-formed frame that this codec has no use for."""

    message_type: ClassVar[MessageType] = MessageType.UNKNOWN
    is_control: ClassVar[bool] = True
    channel: str
    event: str


Message = Data | BookUpdate | Acknowledgement | Pong | Notice | Unknown


class Verdict(Enum):
    """What a sequence rule says of an update."""

    APPLY = "apply"
    IGNORE = "ignore"
    REPLACE = "replace"
    GAP = "gap"


class SequenceRule(Protocol):
    """A venue's recipe for one kind of book stream. Pure: the same arguments, the same verdict."""

    def judge(self, last_id: int, update: BookUpdate) -> Verdict:
        """Say what to do with ``update`` when the book stands at ``last_id``."""


class Repair(Enum):
    """How a book stream gets its first whole book, and a new one after a gap."""

    FETCH_SNAPSHOT = "fetch snapshot"
    RESUBSCRIBE = "resubscribe"
    WAIT = "wait"


class BookChannel(msgspec.Struct, frozen=True):
    """One kind of book stream of a venue.

    ``depths`` are, by option, the levels a side that the stream keeps up to date; without one it keeps all. ``is_audited`` says that
    ``BookTicker.update_id`` is of this stream's sequence, so that the tops of both can be held against each other.
    """

    name: str
    rule: SequenceRule
    repair: Repair
    depths: Mapping[str, int] = {}
    is_audited: bool = False


class SubscriptionRequest(msgspec.Struct):
    """One request to subscribe or unsubscribe ``symbols``; ``message`` is what goes over the socket.

    ``channel`` is as the user wrote it, with its option. ``request_id`` stands in the message, None if it carries none. ``payload`` is
    what an acknowledgement repeats of it; where that has an entry for each symbol, in their order, an answer can be for some of them.
    """

    action: str
    channel: str
    symbols: tuple[str, ...]
    message: dict[str, object]
    request_id: int | None = None
    payload: tuple[str, ...] = ()


class Codec(Protocol):
    """A venue's wire format, pure: no I/O, no clock, no logging. ``symbols`` are the names it reads and writes."""

    symbols: Symbols

    def fresh(self) -> "Codec":
        """The same wire format with names of its own: each feed loads its own list."""

    def decode(self, raw_message: bytes | str) -> Sequence[Message]:
        """Decode one frame into at least one message, or raise DecodeError and nothing else."""

    def decode_snapshot(self, symbol: str, raw: bytes | str) -> BookUpdate:
        """Decode the REST answer that holds the whole book of ``symbol``, or raise DecodeError and nothing else."""

    def decode_instruments(self, raw: bytes | str) -> list[Instrument]:
        """Decode the REST answer that lists what is traded, or raise DecodeError and nothing else."""

    def subscription_requests(
        self, action: str, channel: str, symbols: Sequence[str], now_s: int, next_id: Callable[[], int] | None = None
    ) -> list[SubscriptionRequest]:
        """Build the requests that subscribe or unsubscribe (``action``) ``symbols``; ``now_s`` is Unix time.

        Each is numbered by ``next_id``, or goes without a number.
        """

    def ping_request(self, now_s: int) -> dict[str, object]:
        """Build the application-level ping."""


class PrivateCodec(Codec, Protocol):
    """The wire format of an account: the same, for private channels, with the credentials that sign what is asked for.

    Private channels are subscribed for the whole account: the symbol of their subscriptions is ALL. Pure as any codec: the time at which
    something is signed is given.
    """

    def signed(self, call: RestCall, now_ms: int) -> SignedCall:
        """``call`` with what proves whose it is; ``now_ms`` is the venue's time."""

    def refusal(self, words: str, code: str | None = None, status: int | None = None) -> RefusalKind:
        """What a refusal means: ``words`` and ``code`` of an acknowledgement, or body and ``status`` of a REST answer."""

    def decode_server_time(self, raw: bytes | str) -> int:
        """The venue's time in milliseconds, of the answer to ``PrivateVenue.time_call``. Raises DecodeError."""

    @property
    def identity_call(self) -> RestCall | None:
        """What must be asked before the first subscription, None if nothing must be."""

    def identify(self, raw: bytes | str) -> None:
        """Take the answer to ``identity_call``. Raises DecodeError."""

    def decode_listen_key(self, raw: bytes | str) -> Secret:
        """The key that ``ListenKeys.create`` brought. Raises DecodeError."""

    def account_calls(self, symbols: Sequence[str], since_ms: int | None) -> list[AccountCall]:
        """Everything that has to be asked to know the account: open orders, balances, positions, and fills ``since_ms``, if that is given.

        ``symbols`` are those that may have fills: some venues want to be asked for each.
        """

    def order_call(self, symbol: str, order_id: str) -> AccountCall:
        """The request for one order, open or ended."""

    def decode_account(self, call: AccountCall, raw: bytes | str) -> AccountAnswer:
        """Decode the answer to one of these, or raise DecodeError and nothing else."""


#: The symbol of a subscription that is for the whole account.
ALL = "*"


class PrivateVenue(msgspec.Struct, frozen=True, kw_only=True):
    """What a venue is to the owner of an account: its private channels, and how they are reached."""

    codec: Callable[[Credentials, Symbols], PrivateCodec]
    #: A kind's first channel is what the kind's name stands for.
    channels: Mapping[str, MessageType]
    #: What is subscribed unless others are named.
    default_channels: tuple[str, ...]
    time_call: RestCall
    #: None where the subscriptions prove whose they are.
    listen_keys: ListenKeys | None = None


class Rate(msgspec.Struct, frozen=True):
    """At most ``count`` within any ``per_s`` seconds."""

    count: int
    per_s: float


class VenueLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What a venue allows one client; its source stands beside the values."""

    #: Connection attempts.
    connects: Rate
    #: Messages sent over one connection.
    requests: Rate
    #: Requests to the REST interface.
    rest: Rate
    #: None: any number. With ``is_used_up`` an ended subscription still counts, as long as its connection lives.
    subscriptions_per_connection: int | None = None
    is_used_up: bool = False
    #: After so long the venue cuts a connection; None: it does not say.
    connection_life_s: float | None = None
    #: Of streams in one request.
    streams_per_request: int = 100


class Venue(msgspec.Struct, frozen=True):
    """One market of an exchange: a description; nothing of connecting, retrying or calling back is written per venue."""

    name: str
    codec: Codec
    websocket_url: str
    rest_url: str
    channels: Mapping[str, MessageType]
    book_channels: Mapping[str, BookChannel]
    #: By channel: what may follow its name after a colon.
    options: Mapping[str, tuple[str, ...]]
    snapshot_path: str
    snapshot_symbol_key: str
    #: What else a request for a snapshot says, by the option of the stream that it is for.
    snapshot_query: Mapping[str, Mapping[str, str]]
    ping_interval_s: float
    instruments_path: str
    limits: VenueLimits
    #: Channels of which one subscription brings every symbol.
    shared_channels: frozenset[str] = frozenset()
    #: Sent with the handshake of the WebSocket, and with requests to REST.
    headers: Mapping[str, str] = {}
    #: None of a venue whose accounts are not known, and of one that is itself an account's.
    private: PrivateVenue | None = None

    def fresh(self) -> "Venue":
        """The same venue for one feed, with a codec whose names are the feed's own."""
        return msgspec.structs.replace(self, codec=self.codec.fresh())

    def of_account(self, credentials: Credentials) -> "Venue":
        """The same venue as the owner of these credentials sees it: private channels alone, names of markets in common.

        Raises SettingsError where its accounts are not known.
        """
        private = self.private
        if private is None:
            raise SettingsError(f"{self.name} has no private channels here")
        return msgspec.structs.replace(
            self,
            codec=private.codec(credentials, self.symbols),
            channels=private.channels,
            book_channels={},
            options={},
            shared_channels=frozenset(private.channels),
        )

    @property
    def symbols(self) -> Symbols:
        """The names of its markets."""
        return self.codec.symbols

    @property
    def snapshot_channel(self) -> str | None:
        """The book channel that is repaired by a REST snapshot, if the venue has one."""
        for channel in self.book_channels.values():
            if channel.repair is Repair.FETCH_SNAPSHOT:
                return channel.name
        return None

    def channel_named(self, text: str) -> str:
        """The venue's name for a channel, its option kept: ``spot.trades`` for that or for ``trade``. Raises SettingsError.

        ``trade``, ``book_ticker``, ``ticker``, ``candle``, ``orderbook``, and of an account ``order``, ``fill``, ``balance`` and so on
        stand for the venue's first channel of that kind.
        """
        name, colon, option = text.partition(":")
        kinds: dict[str, str] = {}
        for channel, kind in self.channels.items():
            kinds.setdefault(kind.name.lower(), channel)
        if name not in self.channels and name not in kinds:
            raise SettingsError(f"{self.name} has no channel {name!r}; known: {', '.join([*kinds, *self.channels])}")
        channel = kinds.get(name, name)
        options = self.options.get(channel, ())
        if colon and option not in options:
            known = f"known: {', '.join(options)}" if options else "it has none"
            raise SettingsError(f"{self.name} has no option {option!r} of {channel}; {known}")
        return channel + colon + option


def check_symbol(text: str) -> str:
    """Return ``text`` if it is a unified symbol, BASE/QUOTE or BASE/QUOTE:SETTLE, else raise UnknownSymbol."""
    pair, _, settle = text.partition(":")
    parts = pair.split("/")
    if len(parts) != 2 or not all(part.isalnum() for part in parts) or (":" in text and not settle.isalnum()):
        raise UnknownSymbol(text, "the unified notation, such as BTC/USDT or BTC/USDT:USDT")
    return text


def check_levels(levels: Levels, channel: str, symbol: str) -> None:
    """Raise DecodeError unless every price is finite and above 0 and every amount finite and not below 0."""
    for price, amount in levels:
        # A NaN fails every comparison, so the positive form catches it too.
        if not (0.0 < price < inf and 0.0 <= amount < inf):
            raise DecodeError(
                f"level ({price!r}, {amount!r}) is not a price above 0 with an amount of 0 or more", channel=channel, symbol=symbol
            )


def check_positive(value: float, name: str, channel: str, symbol: str) -> float:
    """Return ``value`` if it is finite and above 0, else raise DecodeError."""
    if 0.0 < value < inf:
        return value
    raise DecodeError(f"{name} {value!r} is not a finite number above 0", channel=channel, symbol=symbol)
