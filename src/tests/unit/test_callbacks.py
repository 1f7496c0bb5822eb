"""Callbacks: in order, exactly once each, one's exception nobody else's business, and nothing dropped in silence."""

import asyncio
import functools
import gc
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from infrastructure.callbacks import CALLBACK_ERROR, Callbacks
from infrastructure.events import BookTicker, ErrorEvent, Gap, GapReason, Side, Trade

Reaction = Callable[[Any], Any]


def trade(number: int) -> Trade:
    """A trade whose id is ``number``."""
    return Trade("venue", "BTC/USDT", str(number), Side.BUY, 1.0, 1.0, None, received_ns=number)


def quote(number: int) -> BookTicker:
    """A quote whose id is ``number``."""
    return BookTicker("venue", "BTC/USDT", number, 1.0, 1.0, 2.0, 1.0, None)


def emit(callbacks: Callbacks, *events: Any) -> None:
    """Hand out ``events`` as a lane does, to the end."""

    async def run(pending: Awaitable[None]) -> None:
        await pending

    pending = callbacks.emit(events)
    if pending is not None:
        asyncio.run(run(pending))


def assert_counts(callbacks: Callbacks, accepted: int, errors: int) -> None:
    """Every event was handed out once, and was accepted or not."""
    assert (callbacks.accepted, callbacks.errors) == (accepted, errors)
    assert callbacks.emitted == accepted + errors
    assert (callbacks.underway, callbacks.abandoned) == (0, 0)


class Got:
    """The events that callbacks were given, in order."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.errors: list[ErrorEvent] = []

    def plain(self, reaction: Reaction | None = None) -> Reaction:
        def on_event(event: Any) -> Any:
            self.events.append(event)
            return reaction(event) if reaction else None

        return on_event

    def declared(self, reaction: Reaction | None = None) -> Reaction:
        async def on_event(event: Any) -> None:
            await asyncio.sleep(0)
            self.events.append(event)
            if reaction:
                reaction(event)

        return on_event

    def callbacks(self, on_trade: Reaction, on_quote: Reaction | None = None, on_error: Reaction | None = None) -> Callbacks:
        targets: dict[type, Reaction] = {Trade: on_trade, BookTicker: on_quote or self.plain(), ErrorEvent: on_error or self.errors.append}
        return Callbacks("venue", targets)


class Called:
    """An object with an ``async __call__``, which no inspection of it as a function finds."""

    async def __call__(self, event: Any) -> None:
        raise AssertionError("nobody awaits this")


async def coroutine(event: Any) -> None:
    raise AssertionError("nobody awaits this")


def fails(event: Any) -> Any:
    raise ValueError(f"no {getattr(event, 'trade_id', 'more')}")


KINDS = ["plain", "async", "mixed"]


@pytest.fixture(params=KINDS)
def kinds(request: pytest.FixtureRequest) -> Callable[[Got, Reaction | None], tuple[Reaction, Reaction]]:
    """A callback for trades and one for quotes: both plain, both async, one of each."""

    def make(got: Got, reaction: Reaction | None = None) -> tuple[Reaction, Reaction]:
        on_trade = got.plain(reaction) if request.param == "plain" else got.declared(reaction)
        return on_trade, got.declared() if request.param == "async" else got.plain()

    return make


Kinds = Callable[[Got, Reaction | None], tuple[Reaction, Reaction]]


def test_events_reach_their_callbacks_in_order_and_once_each(kinds: Kinds) -> None:
    got = Got()
    events = [trade(1), quote(2), trade(3), quote(4), quote(5), trade(6)]
    callbacks = got.callbacks(*kinds(got, None))
    emit(callbacks, *events)
    assert got.events == events
    assert_counts(callbacks, accepted=6, errors=0)


def test_an_exception_is_counted_and_told_and_the_others_go_on(kinds: Kinds) -> None:
    got = Got()
    callbacks = got.callbacks(*kinds(got, lambda event: fails(event) if event.trade_id == "2" else None))
    emit(callbacks, trade(1), trade(2), quote(3), trade(4))
    assert len(got.events) == 4
    (error,) = got.errors
    assert (error.kind, error.symbol, error.received_ns) == (CALLBACK_ERROR, "BTC/USDT", 2)
    assert "ValueError: no 2" in error.text
    assert isinstance(callbacks.last_error, ValueError)
    assert callbacks.raised == 1
    assert_counts(callbacks, accepted=4, errors=1)


def test_an_error_is_told_between_the_event_that_failed_and_the_next(kinds: Kinds) -> None:
    got = Got()
    on_trade, on_quote = kinds(got, fails)
    emit(got.callbacks(on_trade, on_quote, got.plain()), trade(1), quote(2))
    assert [type(event) for event in got.events] == [Trade, ErrorEvent, BookTicker]


@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
def test_a_callback_for_errors_that_fails_is_counted_and_not_told_of_itself(kinds: Kinds, is_async: bool) -> None:
    got = Got()
    told: list[ErrorEvent] = []

    def on_error(error: ErrorEvent) -> None:
        told.append(error)
        raise RuntimeError("this one too")

    async def on_error_async(error: ErrorEvent) -> None:
        on_error(error)

    on_trade, on_quote = kinds(got, fails)
    callbacks = got.callbacks(on_trade, on_quote, on_error_async if is_async else on_error)
    emit(callbacks, trade(1), quote(2))
    assert len(told) == 1
    assert got.events == [trade(1), quote(2)]
    assert isinstance(callbacks.last_error, RuntimeError)
    assert_counts(callbacks, accepted=1, errors=2)


def test_the_counts_hold_while_an_error_is_being_told(kinds: Kinds) -> None:
    got = Got()
    counts: list[tuple[int, int, int]] = []

    def on_error(error: ErrorEvent) -> None:
        counts.append((callbacks.emitted, callbacks.accepted + callbacks.errors, callbacks.underway))

    on_trade, on_quote = kinds(got, fails)
    callbacks = got.callbacks(on_trade, on_quote, on_error)
    emit(callbacks, trade(1), quote(2))
    # The trade is done with; the quote waits and the error is inside.
    assert counts == [(1, 1, 2)]


@pytest.mark.parametrize("is_async", [False, True], ids=["among plain", "among async"])
@pytest.mark.parametrize(
    "unannounced",
    [lambda event: coroutine(event), Called(), functools.partial(lambda make, event: make(event), coroutine)],
    ids=["lambda", "object with async __call__", "partial"],
)
def test_an_awaitable_that_nobody_announced_is_an_error_and_leaves_no_warning(unannounced: Reaction, is_async: bool) -> None:
    got = Got()
    callbacks = got.callbacks(unannounced, got.declared() if is_async else got.plain())
    emit(callbacks, trade(1), quote(2))
    gc.collect()
    (error,) = got.errors
    assert "UnannouncedAwaitable" in error.text
    assert "async def" in error.text
    assert got.events == [quote(2)]
    assert_counts(callbacks, accepted=2, errors=1)


def test_a_future_that_nobody_announced_is_an_error_too() -> None:
    async def run() -> None:
        got = Got()
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        callbacks = got.callbacks(lambda event: future)
        assert callbacks.emit([trade(1)]) is None
        assert "UnannouncedAwaitable" in got.errors[0].text
        future.cancel()

    asyncio.run(run())


def test_a_partial_of_an_async_function_is_announced() -> None:
    got = Got()
    callbacks = got.callbacks(functools.partial(got.declared()))
    assert callbacks.is_async
    emit(callbacks, trade(1))
    assert got.events == [trade(1)]


@pytest.mark.parametrize("value", [0, "text", [1], object()], ids=["int", "str", "list", "object"])
def test_any_other_return_value_is_of_no_interest(value: object) -> None:
    got = Got()
    callbacks = got.callbacks(lambda event: value)
    emit(callbacks, trade(1))
    assert_counts(callbacks, accepted=1, errors=0)


PASSING = [KeyboardInterrupt, SystemExit, asyncio.CancelledError, MemoryError]


@pytest.mark.parametrize("passing", PASSING)
def test_what_is_no_mistake_of_the_callback_passes_through_it(passing: type[BaseException]) -> None:
    got = Got()

    def raises(event: Any) -> None:
        raise passing

    callbacks = got.callbacks(raises)
    with pytest.raises(passing):
        callbacks.emit([quote(1), trade(2), quote(3)])
    assert got.events == [quote(1)]
    assert got.errors == []
    assert (callbacks.emitted, callbacks.accepted, callbacks.errors) == (1, 1, 0)
    assert (callbacks.underway, callbacks.abandoned) == (0, 2)


@pytest.mark.parametrize("passing", PASSING)
def test_it_passes_through_an_async_callback_as_well(passing: type[BaseException]) -> None:
    got = Got()

    async def raises(event: Any) -> None:
        raise passing

    callbacks = got.callbacks(raises)
    pending: Any = callbacks.emit([quote(1), trade(2), quote(3)])
    with pytest.raises(passing):
        pending.send(None)
    assert got.errors == []
    assert (callbacks.emitted, callbacks.accepted, callbacks.errors) == (1, 1, 0)
    assert (callbacks.underway, callbacks.abandoned) == (0, 2)


@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
def test_it_passes_through_the_callback_for_errors_and_the_counts_still_hold(is_async: bool) -> None:
    got = Got()

    def interrupts(error: ErrorEvent) -> None:
        raise KeyboardInterrupt

    callbacks = got.callbacks(fails, got.declared() if is_async else got.plain(), interrupts)
    with pytest.raises(KeyboardInterrupt):
        pending: Any = callbacks.emit([trade(1), quote(2)])
        pending.send(None)
    assert (callbacks.emitted, callbacks.accepted, callbacks.errors) == (1, 0, 1)
    assert (callbacks.underway, callbacks.abandoned) == (0, 2)


def test_events_are_underway_from_the_moment_they_are_handed_over_until_their_callback_returns() -> None:
    underway: list[int] = []
    got = Got()
    callbacks = got.callbacks(lambda event: underway.append(callbacks.underway))
    emit(callbacks, trade(1), trade(2), trade(3))
    assert underway == [3, 2, 1]


def test_no_events_are_nothing_to_wait_for(kinds: Kinds) -> None:
    got = Got()
    assert got.callbacks(*kinds(got, None)).emit([]) is None


def test_an_error_of_a_callback_of_an_event_without_a_symbol_is_told_without_one() -> None:
    told: list[ErrorEvent] = []
    callbacks = Callbacks("venue", {Gap: fails, ErrorEvent: told.append})
    emit(callbacks, Gap("venue", None, None, GapReason.FAILED))
    assert [error.symbol for error in told] == [None]


class Hands:
    """A clock that a callback moves."""

    def __init__(self) -> None:
        self.now_ns = 0

    def busy(self, seconds: float) -> Reaction:
        def react(event: Any) -> None:
            self.now_ns += round(seconds * 1e9)

        return react


@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "beside an async one"])
class TestBlocked:
    def emitted(self, seconds: float, is_async: bool, *, by_errors: bool = False) -> list[ErrorEvent]:
        hands, got = Hands(), Got()
        targets: dict[type, Any] = {Trade: got.plain(hands.busy(seconds)), ErrorEvent: got.errors.append}
        if is_async:
            targets[Gap] = got.declared()
        if by_errors:

            def on_error(event: ErrorEvent) -> None:
                got.errors.append(event)
                hands.busy(seconds)(event)

            targets[ErrorEvent] = on_error
        callbacks = Callbacks("venue", targets, lambda: hands.now_ns)
        emit(callbacks, trade(1), trade(2))
        assert_counts(callbacks, 2 + len(got.errors), 0)
        assert callbacks.raised == len(got.errors)
        return got.errors

    def test_a_plain_callback_that_keeps_the_loop_is_named(self, is_async: bool) -> None:
        errors = self.emitted(2.5, is_async)
        assert [(error.kind, error.symbol) for error in errors] == [("blocked", "BTC/USDT")] * 2
        assert "on_event blocked the event loop for 2.5 s" in errors[0].text

    def test_one_that_is_quick_is_not(self, is_async: bool) -> None:
        assert self.emitted(0.4, is_async) == []

    def test_whoever_is_told_may_be_slow_himself(self, is_async: bool) -> None:
        assert len(self.emitted(2.5, is_async, by_errors=True)) == 2
