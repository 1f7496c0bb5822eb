import inspect

import pytest

from infrastructure import errors
from infrastructure.errors import (
    AccountNotLive,
    AuthenticationFailed,
    AwaitedInsideCallback,
    BookNotLive,
    CaptureError,
    ConfigError,
    ConnectFailed,
    DecodeError,
    Fault,
    GaveUp,
    HandshakeDeferred,
    HandshakeRefused,
    KeyExpired,
    NotConnected,
    RequestFailed,
    RotationFailed,
    SecurityFailed,
    SettingsError,
    SimulatorFailed,
    SubscriptionRefused,
    SubscriptionUnanswered,
    TickrailError,
    UnannouncedAwaitable,
    UnknownSymbol,
    UnknownVenue,
)

TABLE = [
    (DecodeError("no price"), "no price", Fault.VENUE, False),
    (DecodeError("no price", channel="spot.trades"), "spot.trades: no price", Fault.VENUE, False),
    (DecodeError("no price", channel="spot.trades", symbol="BTC/USDT"), "spot.trades BTC/USDT: no price", Fault.VENUE, False),
    (
        BookNotLive("BTC/USDT", "GAP"),
        "the book of BTC/USDT is GAP, not LIVE; wait for on_book_state, or read book.raw knowing that it may be wrong",
        Fault.CALLER,
        True,
    ),
    (
        AccountNotLive("venue", "OFFLINE"),
        "the account at venue is OFFLINE, not LIVE; wait for on_account_state, or read account.raw knowing that it may be wrong",
        Fault.CALLER,
        True,
    ),
    (
        UnannouncedAwaitable("on_trade"),
        "on_trade returned an awaitable but is not declared with 'async def'; declare it so, or return nothing",
        Fault.CALLER,
        False,
    ),
    (
        AwaitedInsideCallback("switch()"),
        "switch() cannot be awaited inside a callback: it ends only after the callback returns; await it from another task",
        Fault.CALLER,
        False,
    ),
    (UnknownVenue("nope", iter(["a", "b"])), "unknown venue 'nope'; known: a, b", Fault.CALLER, False),
    (UnknownSymbol("BTCUSDT", "BTC/USDT"), "unknown symbol 'BTCUSDT'; expected BTC/USDT", Fault.CALLER, False),
    (SettingsError("two handlers given"), "two handlers given", Fault.CALLER, False),
    (CaptureError("a.jsonl", 3, "not JSON"), "a.jsonl:3: not JSON", Fault.CALLER, False),
    (ConfigError("a.toml", ["line 1: one", "two"]), "a.toml: line 1: one\na.toml: two", Fault.CALLER, False),
    (ConnectFailed("wss://a/", "refused"), "cannot connect to wss://a/: refused", Fault.VENUE, True),
    (SecurityFailed("wss://a/", "expired"), "cannot connect to wss://a/: expired", Fault.VENUE, False),
    (HandshakeRefused("wss://a/", "not found", 404), "cannot connect to wss://a/: not found", Fault.VENUE, False),
    (HandshakeDeferred("wss://a/", "too many", 429, 3.0), "cannot connect to wss://a/: too many", Fault.VENUE, True),
    (GaveUp("venue", "61 failures within 600 s"), "venue: gave up: 61 failures within 600 s", Fault.VENUE, False),
    (NotConnected("venue"), "venue is not connected", Fault.CALLER, True),
    (
        SubscriptionRefused("venue", "trades", ["A/B", "C/D"], "unknown pair", "2"),
        "venue refused trades of A/B, C/D: unknown pair (code 2)",
        Fault.VENUE,
        False,
    ),
    (SubscriptionRefused("venue", "trades", ["A/B"], "no"), "venue refused trades of A/B: no", Fault.VENUE, False),
    (SubscriptionUnanswered("venue", "trades", ["A/B"], 20.0), "venue did not answer trades of A/B within 20 s", Fault.VENUE, True),
    (
        AuthenticationFailed("venue", "INVALID_KEY", "4"),
        "venue refused the credentials: INVALID_KEY (code 4); see to the key, its secret and its permissions",
        Fault.CALLER,
        False,
    ),
    (
        AuthenticationFailed("venue", "no"),
        "venue refused the credentials: no; see to the key, its secret and its permissions",
        Fault.CALLER,
        False,
    ),
    (KeyExpired("venue", "not renewed"), "the listen key of venue has expired: not renewed", Fault.VENUE, True),
    (RotationFailed("venue", "no answer"), "venue: the connection was not replaced: no answer", Fault.VENUE, True),
    (RequestFailed("https://a/b", "HTTP 500", 500), "https://a/b: HTTP 500", Fault.VENUE, True),
    (SimulatorFailed("it did not start"), "it did not start", Fault.OURS, False),
]


@pytest.mark.parametrize(("error", "text", "fault", "is_retryable"), TABLE, ids=lambda value: type(value).__name__)
def test_each_error_says_what_happened_whose_fault_it_is_and_whether_trying_again_helps(
    error: TickrailError, text: str, fault: Fault, is_retryable: bool
) -> None:
    assert (str(error), error.fault, error.is_retryable) == (text, fault, is_retryable)


def test_the_table_holds_every_error() -> None:
    tree = {kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, TickrailError)}
    assert {type(error) for error, *_ in TABLE} == tree - {TickrailError}


def test_an_error_of_no_known_kind_is_ours_and_not_worth_a_retry() -> None:
    assert (TickrailError.fault, TickrailError.is_retryable) == (Fault.OURS, False)
