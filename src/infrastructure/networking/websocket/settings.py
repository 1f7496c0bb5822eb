"""The settings of one exchange's connection, and the one rule by which values for them are judged, whoever gives them."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Annotated, Any, get_args

import msgspec
from msgspec import Meta

from infrastructure.credentials import Credentials
from infrastructure.errors import SettingsError, UnknownSymbol
from infrastructure.events import Architecture
from infrastructure.networking.address import check_address
from infrastructure.venue import Venue, check_symbol

Seconds = Annotated[float, Meta(gt=0, le=3600, title="a number of seconds")]
#: Up to a day.
LongSeconds = Annotated[float, Meta(gt=0, le=86_400, title="a number of seconds")]
Count = Annotated[int, Meta(ge=1, le=1_000_000, title="a whole number")]
Flag = Annotated[bool, Meta(title="true or false")]
Text = Annotated[str, Meta(title="a text")]
Texts = Annotated[tuple[str, ...], Meta(title="a list of texts")]

#: Where a value stands, such as ``transport.ping_interval_s``, and what is wrong with it.
Problem = tuple[str, str]

_LONGEST_SHOWN = 60
_BARE_KEY = re.compile(rf"[A-Za-z0-9_-]{{1,{_LONGEST_SHOWN}}}")
_SECRET = re.compile(r"key|secret|pass(w|phrase)|pwd|token|credential", re.IGNORECASE)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Values that are all within their ranges; else SettingsError, which names every wrong one."""

    def __post_init__(self) -> None:
        refuse(self._problems())
        for name, hint in types_of(type(self)).items():
            msgspec.structs.force_setattr(self, name, msgspec.convert(getattr(self, name), hint))

    def _problems(self) -> Iterable[Problem]:
        return wrong_values(msgspec.structs.asdict(self), types_of(type(self)))


class TransportSettings(Settings, frozen=True, kw_only=True):
    """Of one WebSocket. A peer that sends nothing for ``ping_interval_s`` is pinged, and given up ``ping_timeout_s`` later."""

    open_timeout_s: Seconds = 10.0
    close_timeout_s: Seconds = 2.0
    #: From the first byte of a frame to its last.
    frame_timeout_s: Seconds = 10.0
    ping_interval_s: Seconds = 10.0
    ping_timeout_s: Seconds = 10.0
    max_message_bytes: Annotated[int, Meta(ge=1024, le=1024**3, title="a whole number of bytes")] = 4 * 1024 * 1024


class ReconnectSettings(Settings, frozen=True, kw_only=True):
    """When to connect again: full jitter between 0 and a bound that grows from ``first_delay_s`` by ``factor`` to ``max_delay_s``.

    The bound starts over once data has flowed for ``stable_s``. More than ``max_restarts`` connections lost or failed within ``window_s``,
    or ``max_attempts`` in a row that brought no data (None: any number), and the venue is given up.
    """

    first_delay_s: Seconds = 0.5
    factor: Annotated[float, Meta(ge=1, le=100, title="a number")] = 2.0
    max_delay_s: Seconds = 30.0
    stable_s: Seconds = 10.0
    max_restarts: Annotated[int, Meta(ge=0, le=1_000_000, title="a whole number")] = 60
    window_s: LongSeconds = 600.0
    max_attempts: Count | None = None
    #: Connection attempts at most; None: as many as the venue allows.
    connects_per_minute: Annotated[float, Meta(gt=0, le=1_000_000, title="a number")] | None = None
    #: The wait after a refusal that means a ban but names no time, such as HTTP 403.
    ban_delay_s: LongSeconds = 60.0
    #: Whether a close without a status (1005) starts over at the first delay.
    reset_on_1005: Flag = False


class FreshnessSettings(Settings, frozen=True, kw_only=True):
    """When a stream is mute, and when degraded. Every stream is judged each ``tick_s``.

    A stream is judged by its own rhythm, which is known once each window of ``window_s`` within ``learn_s`` has brought ``regular``
    messages. It is mute after ``silent_s`` without any, or four times the longest silence of that while if that is longer. It is
    degraded when a window brings less than ``degraded_share`` of the quietest of them. A stream without a rhythm is quiet, however
    long, unless others know of what it should have brought.
    """

    tick_s: Seconds = 1.0
    silent_s: Seconds = 15.0
    window_s: Seconds = 30.0
    learn_s: Seconds = 600.0
    regular: Count = 20
    degraded_share: Annotated[float, Meta(gt=0, le=0.5, title="a share")] = 0.1
    #: From one step against a mute stream to the next; each wait is twice the one before, up to ``max_wait_s``. A lower rate that lasts so
    #: long is usual from then on.
    first_wait_s: Seconds = 15.0
    max_wait_s: LongSeconds = 3600.0
    #: A program that did not run for longer than this, and than four ``tick_s``, stood still: the machine was suspended, or the process
    #: stopped. What it read first after that is not believed. Its own work is no standing still, however long.
    asleep_s: Seconds = 10.0


class RotationSettings(Settings, frozen=True, kw_only=True):
    """How a connection is replaced by another while data flows.

    Both bring the same for ``overlap_s`` before the second takes over, and as long after it: more than one of them may be behind the other.
    A venue that ends its connections after a known time has each replaced at most ``rotate_before_s`` earlier. A second connection that is
    not ready within ``timeout_s`` is given up.
    """

    overlap_s: Seconds = 1.0
    rotate_before_s: LongSeconds = 1800.0
    timeout_s: Seconds = 60.0


class ExchangeSettings(Settings, frozen=True, kw_only=True):
    """Of one exchange: what to stream, through which architecture, over which connection.

    ``channels`` are the venue's names, or ``trade``, ``book_ticker``, ``ticker``, ``candle`` and ``orderbook``, each with an option after a
    colon where the channel has one: ``candle:5m``. ``symbols`` are unified. Addresses default to the venue's own. ``credentials`` are an
    account's, whose ``private_channels`` are named as ``order``, ``fill``, ``balance`` and so on, or by the venue's names.
    """

    venue: Annotated[Venue, Meta(title="a venue")]
    symbols: Texts = ()
    channels: Texts = ()
    architecture: Annotated[Architecture, Meta(title=" or ".join(Architecture))] = Architecture.DIRECT
    websocket_url: Text | None = None
    rest_url: Text | None = None
    transport: Annotated[TransportSettings, Meta(title="a table")] = msgspec.field(default_factory=TransportSettings)
    reconnect: Annotated[ReconnectSettings, Meta(title="a table")] = msgspec.field(default_factory=ReconnectSettings)
    freshness: Annotated[FreshnessSettings, Meta(title="a table")] = msgspec.field(default_factory=FreshnessSettings)
    rotation: Annotated[RotationSettings, Meta(title="a table")] = msgspec.field(default_factory=RotationSettings)
    #: How long a subscription may stay unanswered.
    subscribe_timeout_s: Seconds = 10.0
    close_deadline_s: Seconds = 5.0
    #: Frames that may wait in the lane before reading pauses.
    high_water: Count = 8192
    #: How often the venue's list of an account's fills is held against what its stream has brought.
    account_check_s: Seconds = 60.0
    snapshots_per_minute: Annotated[float, Meta(gt=0, le=6000, title="a number")] = 600.0
    credentials: Annotated[Credentials, Meta(title="credentials")] | None = None
    #: None given: the venue's default ones, which are of every kind.
    private_channels: Texts = ()

    @property
    def account_channels(self) -> tuple[str, ...]:
        """The venue's names of the private channels to be streamed; none without credentials."""
        private = self.venue.private
        if private is None or self.credentials is None:
            return ()
        if self.private_channels:
            return tuple(_private_channel(self.venue, text) for text in self.private_channels)
        return private.default_channels

    @property
    def address(self) -> str:
        """Where the WebSocket connects to."""
        return self.websocket_url or self.venue.websocket_url

    @property
    def rest_address(self) -> str:
        """Where snapshots are fetched."""
        return self.rest_url or self.venue.rest_url

    def _problems(self) -> Iterable[Problem]:
        return exchange_problems(self.venue, msgspec.structs.asdict(self), types_of(type(self)))


def types_of(kind: type[Settings]) -> dict[str, Any]:
    """The annotated type of each field of ``kind``: what ``wrong_values`` judges by."""
    return {field.name: field.type for field in msgspec.structs.fields(kind)}


def refuse(problems: Iterable[Problem]) -> None:
    """Raise SettingsError with all ``problems``, if there are any."""
    if text := "; ".join(f"{key}: {words}" for key, words in problems):
        raise SettingsError(text)


def wrong_values(values: Mapping[str, object], types: Mapping[str, Any]) -> Iterator[Problem]:
    """Every key that ``types`` does not know, and every value that is not of its key's type or outside its range."""
    for key, value in values.items():
        if key not in types:
            yield shown_key(key), unknown_key(key, types)
            continue
        kind, meta = _taken(types[key])
        if isinstance(value, Mapping) and isinstance(kind, type) and issubclass(kind, Settings):
            yield from ((f"{key}.{inner}", words) for inner, words in wrong_values(value, types_of(kind)))
            continue
        try:
            msgspec.convert(value, types[key])
        except (msgspec.ValidationError, UnicodeEncodeError):
            # Where credentials belong the credentials themselves may have been put.
            yield key, f"{'what it says' if _SECRET.search(key) else shown_value(value)} is not {_range(meta)}"


def exchange_problems(venue: Venue, values: Mapping[str, object], types: Mapping[str, Any]) -> list[Problem]:
    """``wrong_values``, and every symbol, channel and address that ``venue`` cannot be asked for."""
    if not isinstance(venue, Venue):
        return list(wrong_values(values, types))
    return [*wrong_values(values, types), *_wrong_texts(venue, values), *_wrong_account(venue, values)]


def _wrong_account(venue: Venue, values: Mapping[str, object]) -> Iterator[Problem]:
    if isinstance(values.get("credentials"), Credentials):
        if venue.private is None:
            yield "credentials", f"{venue.name} has no private channels here"
    elif values.get("private_channels"):
        yield "private_channels", "of no account; give its credentials"


def _private_channel(venue: Venue, text: str) -> str:
    if venue.private is None:
        raise SettingsError(f"{venue.name} has no private channels here")
    return msgspec.structs.replace(venue, channels=venue.private.channels, options={}).channel_named(text)


#: Each refuses a text, or returns what the text stands for.
_CHECKS: Mapping[str, Callable[[Venue, str], object]] = {
    "symbols": lambda venue, text: check_symbol(text),
    "channels": Venue.channel_named,
    "private_channels": _private_channel,
    "websocket_url": lambda venue, text: check_address(text, "wss", "ws"),
    "rest_url": lambda venue, text: check_address(text, "https", "http"),
}


def _wrong_texts(venue: Venue, values: Mapping[str, object]) -> Iterator[Problem]:
    for key, check in _CHECKS.items():
        value = values.get(key)
        first: dict[object, str] = {}
        for text in value if isinstance(value, list | tuple | set | frozenset) else [value]:
            if not isinstance(text, str):
                continue
            try:
                meant = check(venue, text)
            except (SettingsError, UnknownSymbol) as error:
                yield key, str(error)
                continue
            if meant in first:
                yield key, f"{text!r} repeats {first[meant]!r}"
            first[meant] = text


def unknown_key(key: str, known: Iterable[str]) -> str:
    """What is wrong with ``key``; nothing of its value, which may be a secret."""
    names = list(known)
    near = get_close_matches(str(key), names, n=1)
    return secret_key(key) or (f"unknown key, did you mean {near[0]}?" if near else f"unknown key; known: {', '.join(names)}")


def secret_key(key: str) -> str | None:
    """What is wrong with ``key`` if what stands under it is likely a secret."""
    if not _SECRET.search(str(key)):
        return None
    return "looks like a secret, which has no place here; put it into the environment, or into a file that credentials_file names"


def shown_key(key: str) -> str:
    """``key`` as it can stand in a line."""
    return key if _BARE_KEY.fullmatch(str(key)) else shown_value(key)


def _taken(hint: Any) -> tuple[Any, Meta]:
    """The type that a field takes beside None, and its range."""
    kind, beside, *_ = get_args(hint)
    return (kind, beside) if isinstance(beside, Meta) else _taken(kind)


def _range(meta: Meta) -> str:
    if meta.le is None:
        return str(meta.title)
    return f"{meta.title} " + (f"above {meta.gt} and at most {meta.le}" if meta.ge is None else f"from {meta.ge} to {meta.le}")


def shown_value(value: object) -> str:
    """``value`` on one line, without what it holds where that may be a secret: texts in a list, and everything in a table."""
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, list | tuple):
        text = f"[{', '.join('a text' if isinstance(item, str) else shown_value(item) for item in value)}]"
    else:
        try:
            text = repr(value)
        except ValueError:
            # Python does not write an integer of more than 4300 digits.
            return "a huge number"
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 3] + "..."
