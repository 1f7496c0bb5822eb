"""Every error tickrail raises: facts as fields, text from ``__str__``, whose fault it is, and whether trying again helps."""

from collections.abc import Iterable
from enum import Enum
from typing import ClassVar


class Fault(Enum):
    """Whose mistake an error is."""

    CALLER = "caller"
    VENUE = "venue"
    OURS = "ours"


class TickrailError(Exception):
    """Root of the tree. ``fault`` says whose mistake it is, ``is_retryable`` whether the same call may succeed later."""

    fault: ClassVar[Fault] = Fault.OURS
    is_retryable: ClassVar[bool] = False


class DecodeError(TickrailError):
    """A frame or reply is not what its venue documents. Raised before any state has changed.

    ``channel`` and ``symbol`` are set when the frame could be read far enough to know whose data is missing.
    """

    fault = Fault.VENUE

    def __init__(self, reason: str, *, channel: str | None = None, symbol: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.channel = channel
        self.symbol = symbol

    def __str__(self) -> str:
        where = " ".join(part for part in (self.channel, self.symbol) if part)
        return f"{where}: {self.reason}" if where else self.reason


class BookNotLive(TickrailError):
    """A book was read while it is not LIVE; ``book.raw`` reads it all the same."""

    fault = Fault.CALLER
    is_retryable = True

    def __init__(self, symbol: str, state: str) -> None:
        super().__init__(symbol, state)
        self.symbol = symbol
        self.state = state

    def __str__(self) -> str:
        return f"the book of {self.symbol} is {self.state}, not LIVE; wait for on_book_state, or read book.raw knowing that it may be wrong"


class UnannouncedAwaitable(TickrailError):
    """A callback that was not declared with ``async def`` returned an awaitable, which nobody awaits."""

    fault = Fault.CALLER

    def __init__(self, callback: str) -> None:
        super().__init__(callback)
        self.callback = callback

    def __str__(self) -> str:
        return f"{self.callback} returned an awaitable but is not declared with 'async def'; declare it so, or return nothing"


class AwaitedInsideCallback(TickrailError):
    """A switch, drain or close was awaited inside a callback of the lane that it waits for."""

    fault = Fault.CALLER

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what

    def __str__(self) -> str:
        return f"{self.what} cannot be awaited inside a callback: it ends only after the callback returns; await it from another task"


class UnknownVenue(TickrailError):
    """No venue of that name is registered."""

    fault = Fault.CALLER

    def __init__(self, name: str, known: Iterable[str]) -> None:
        self.known = tuple(known)
        super().__init__(name, self.known)
        self.name = name

    def __str__(self) -> str:
        return f"unknown venue {self.name!r}; known: {', '.join(self.known)}"


class UnknownSymbol(TickrailError):
    """A symbol is not written in the unified notation, or is not part of the feed."""

    fault = Fault.CALLER

    def __init__(self, text: str, expected: str) -> None:
        super().__init__(text, expected)
        self.text = text
        self.expected = expected

    def __str__(self) -> str:
        return f"unknown symbol {self.text!r}; expected {self.expected}"


class SettingsError(TickrailError):
    """Arguments that contradict one another, or a value outside its range."""

    fault = Fault.CALLER


class CaptureError(TickrailError):
    """A capture file cannot be read: which file, which line (0: none of them), what is wrong."""

    fault = Fault.CALLER

    def __init__(self, path: str, line: int, reason: str) -> None:
        super().__init__(path, line, reason)
        self.path = path
        self.line = line
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.reason}" if self.line else f"{self.path}: {self.reason}"


class ConfigError(TickrailError):
    """A configuration cannot be used; ``problems`` are all that is wrong with it, each with its place."""

    fault = Fault.CALLER

    def __init__(self, source: str, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__(source, self.problems)
        self.source = source

    def __str__(self) -> str:
        return "\n".join(f"{self.source}: {problem}" for problem in self.problems)


class ConnectFailed(TickrailError):
    """A connection could not be opened. ``address`` is the URL without what may be secret in it."""

    fault = Fault.VENUE
    is_retryable = True

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(address, reason)
        self.address = address
        self.reason = reason

    def __str__(self) -> str:
        return f"cannot connect to {self.address}: {self.reason}"


class SecurityFailed(ConnectFailed):
    """The other side could not prove who it is: certificate, host name or TLS version. Never tried again without a change."""

    is_retryable = False


class HandshakeRefused(ConnectFailed):
    """The server answered the WebSocket handshake with something else; ``status`` is of HTTP, None where it sent none.

    Trying again does not help: wrong address, credentials that are not accepted, a redirect (none is followed).
    """

    is_retryable = False

    def __init__(self, address: str, reason: str, status: int | None = None) -> None:
        super().__init__(address, reason)
        self.status = status


class HandshakeDeferred(HandshakeRefused):
    """The server does not take the connection now: overload, rate limit or ban. ``retry_after_s`` is the wait it asked for."""

    is_retryable = True

    def __init__(self, address: str, reason: str, status: int | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(address, reason, status)
        self.retry_after_s = retry_after_s


class GaveUp(TickrailError):
    """A connection is not tried again: too many failures; ``reason`` has the last one."""

    fault = Fault.VENUE

    def __init__(self, venue: str, reason: str) -> None:
        super().__init__(venue, reason)
        self.venue = venue
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.venue}: gave up: {self.reason}"


class NotConnected(TickrailError):
    """Something was to be sent while no connection is open."""

    fault = Fault.CALLER
    is_retryable = True

    def __init__(self, venue: str) -> None:
        super().__init__(venue)
        self.venue = venue

    def __str__(self) -> str:
        return f"{self.venue} is not connected"


class SubscriptionRefused(TickrailError):
    """A venue refused a subscription; ``words`` are the venue's own, ``code`` its code if it gave one."""

    fault = Fault.VENUE

    def __init__(self, venue: str, channel: str, symbols: Iterable[str], words: str, code: str | None = None) -> None:
        self.symbols = tuple(symbols)
        super().__init__(venue, channel, self.symbols, words, code)
        self.venue = venue
        self.channel = channel
        self.words = words
        self.code = code

    def __str__(self) -> str:
        code = "" if self.code is None else f" (code {self.code})"
        return f"{self.venue} refused {self.channel} of {', '.join(self.symbols)}: {self.words.strip()}{code}"


class SubscriptionUnanswered(TickrailError):
    """A venue did not answer a subscription in time."""

    fault = Fault.VENUE
    is_retryable = True

    def __init__(self, venue: str, channel: str, symbols: Iterable[str], waited_s: float) -> None:
        self.symbols = tuple(symbols)
        super().__init__(venue, channel, self.symbols, waited_s)
        self.venue = venue
        self.channel = channel
        self.waited_s = waited_s

    def __str__(self) -> str:
        return f"{self.venue} did not answer {self.channel} of {', '.join(self.symbols)} within {self.waited_s:g} s"


class AuthenticationFailed(TickrailError):
    """A venue does not take the credentials, or they lack a permission; ``words`` are the venue's own, ``code`` its code if it gave one.

    Trying again does not help, and too many attempts cost a ban: there is none.
    """

    fault = Fault.CALLER

    def __init__(self, venue: str, words: str, code: str | None = None) -> None:
        super().__init__(venue, words, code)
        self.venue = venue
        self.words = words
        self.code = code

    def __str__(self) -> str:
        code = "" if self.code is None else f" (code {self.code})"
        return f"{self.venue} refused the credentials: {self.words.strip()}{code}; see to the key, its secret and its permissions"


class KeyExpired(TickrailError):
    """The venue's key for a private stream has lapsed: its renewal failed for too long, or the venue dropped it. Another is asked for."""

    fault = Fault.VENUE
    is_retryable = True

    def __init__(self, venue: str, reason: str) -> None:
        super().__init__(venue, reason)
        self.venue = venue
        self.reason = reason

    def __str__(self) -> str:
        return f"the listen key of {self.venue} has expired: {self.reason}"


class AccountNotLive(TickrailError):
    """An account was read while it is not LIVE; ``account.raw`` reads it all the same."""

    fault = Fault.CALLER
    is_retryable = True

    def __init__(self, venue: str, state: str) -> None:
        super().__init__(venue, state)
        self.venue = venue
        self.state = state

    def __str__(self) -> str:
        known = "wait for on_account_state, or read account.raw knowing that it may be wrong"
        return f"the account at {self.venue} is {self.state}, not LIVE; {known}"


class RotationFailed(TickrailError):
    """A connection could not be replaced by another; the first goes on."""

    fault = Fault.VENUE
    is_retryable = True

    def __init__(self, venue: str, reason: str) -> None:
        super().__init__(venue, reason)
        self.venue = venue
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.venue}: the connection was not replaced: {self.reason}"


class RequestFailed(TickrailError):
    """An HTTP request came to nothing. ``status`` is None where no answer came, ``retry_after_s`` the wait the venue asked for.

    ``words`` are the beginning of what the venue answered, empty where it answered nothing.
    """

    fault = Fault.VENUE
    is_retryable = True

    def __init__(self, address: str, reason: str, status: int | None = None, retry_after_s: float | None = None, words: str = "") -> None:
        super().__init__(address, reason, status, retry_after_s, words)
        self.address = address
        self.reason = reason
        self.status = status
        self.retry_after_s = retry_after_s
        self.words = words

    def __str__(self) -> str:
        return f"{self.address}: {self.reason}"


class SimulatorFailed(TickrailError):
    """A simulated exchange could not be started or did not do what it was told."""
