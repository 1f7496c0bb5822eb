import inspect

import pytest

from infrastructure import errors
from infrastructure.errors import (
    AwaitedInsideCallback,
    BookNotLive,
    CaptureError,
    DecodeError,
    Fault,
    SettingsError,
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
