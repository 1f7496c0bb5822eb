"""Handlers: abstract base, concrete over a venue's codec, subclassed by users, and what a private one keeps to itself."""

import asyncio
import gc
import inspect
from collections.abc import Callable
from typing import Any, get_args

import pytest

from infrastructure.book import OrderBook
from infrastructure.errors import DecodeError, SettingsError
from infrastructure.events import (
    AccountState,
    AccountStateChange,
    Architecture,
    BalanceUpdate,
    BookState,
    BookStateChange,
    ErrorEvent,
    Fill,
    Gap,
    GapReason,
    MessageType,
    OrderUpdate,
    PositionUpdate,
    RiskNotice,
    Ticker,
    Trade,
)
from infrastructure.feed import OfflineFeed, offline_feed
from infrastructure.networking.websocket.handlers import BaseWebSocketClient, PrivateWebSocketHandler, PublicWebSocketHandler
from infrastructure.networking.websocket.route import Outcome
from infrastructure.private_session import PrivateSession
from infrastructure.session import Emission, Session
from infrastructure.venue import Message
from tests.harness import frames, futures_frames
from tests.harness import private_venue as account
from tests.harness.account_lane import AccountLane
from tests.harness.receivers import GATEIO
from tests.harness.variants import VARIANTS, Variant, assert_accounts

DIRECT, STRATEGY = Architecture.DIRECT, Architecture.STRATEGY
Raw = bytes | str


def of_every_kind(feed: OfflineFeed) -> None:
    """One frame of each public kind, a book made live and then broken, and a refusal."""
    for raw in (frames.trade(1), frames.book_ticker(2), frames.ticker(), frames.candle()):
        feed.deliver(raw)
    feed.deliver(frames.obu(None, 10, [(100, 1)], [(101, 1)], full=True))
    feed.deliver(frames.obu(12, 12, [(99, 1)]))
    feed.deliver(frames.acknowledgement(error={"code": 2, "message": "unknown currency pair"}))


NAMES = ["on_trade", "on_book_ticker", "on_ticker", "on_candle", "on_liquidation", "on_orderbook", "on_book_state", "on_gap", "on_error"]


class TestBase:
    def test_the_base_is_abstract(self) -> None:
        assert inspect.isabstract(BaseWebSocketClient)
        with pytest.raises(TypeError, match="_handle_message"):
            BaseWebSocketClient()  # type: ignore[abstract]  # that is the point

    def test_a_subclass_without_handle_message_is_abstract_too(self) -> None:
        class Forgetful(BaseWebSocketClient):
            pass

        with pytest.raises(TypeError, match="_handle_message"):
            Forgetful()  # type: ignore[abstract]

    def test_public_and_private_handlers_are_concrete(self) -> None:
        assert isinstance(PublicWebSocketHandler(), BaseWebSocketClient)
        assert isinstance(PrivateWebSocketHandler(), BaseWebSocketClient)


class TestPublic:
    def test_a_handler_decodes_with_its_sessions_venue_and_calls_back(self) -> None:
        seen: list[Trade] = []
        handler = PublicWebSocketHandler(Session(GATEIO), on_trade=seen.append)
        assert handler._handle_message(frames.trade(7)) is None
        assert handler._handle_message(frames.trade(8).decode()) is None
        assert handler._handle_message(frames.PONG) is Outcome.CONTROL
        assert [trade.trade_id for trade in seen] == ["7", "8"]

    def test_a_frame_that_cannot_be_decoded_raises_before_anything_has_changed(self) -> None:
        session = Session(GATEIO)
        handler = PublicWebSocketHandler(session)
        with pytest.raises(DecodeError):
            handler._handle_message(frames.trade(7, price="-1"))
        assert session.decoded == session.handed_over == 0

    @pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
    def test_callbacks_given_by_name_get_every_event(self, variant: Variant, is_async: bool) -> None:
        async def run() -> None:
            seen = frames.Seen()
            feed = variant.feed(**(seen.async_callbacks if is_async else seen.callbacks))
            of_every_kind(feed)
            await feed.drain()
            assert [type(event).__name__ for event in seen.events] == [
                *("Trade", "BookTicker", "Ticker", "Candle", "BookStateChange", "Gap", "BookStateChange", "ErrorEvent")
            ]
            assert [book[0] for book in seen.books] == [10]
            assert_accounts(feed)

        asyncio.run(run())

    @pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
    def test_overridden_methods_get_every_event(self, variant: Variant, is_async: bool) -> None:
        async def run() -> None:
            calls: list[str] = []
            handler = overriding(calls, is_async)
            feed = variant.feed(handler=handler)
            of_every_kind(feed)
            await feed.drain()
            # A book that becomes LIVE says so before it is shown.
            expected = ["trade", "book_ticker", "ticker", "candle", "book_state", "orderbook", "gap", "book_state", "error"]
            assert calls == [f"_on_{name}" for name in expected]
            assert_accounts(feed)

        asyncio.run(run())

    def test_a_mixture_of_plain_and_async_overrides_keeps_the_order(self, variant: Variant) -> None:
        class Mixed(PublicWebSocketHandler):
            order: list[str] = []

            async def _on_trade(self, trade: Trade) -> None:
                await asyncio.sleep(0)
                self.order.append(trade.trade_id)

            def _on_ticker(self, ticker: Ticker) -> None:
                self.order.append("ticker")

        async def run() -> None:
            Mixed.order = []
            feed = variant.feed(handler=Mixed())
            for raw in (frames.trade(1), frames.ticker(), frames.trade(2), frames.ticker()):
                feed.deliver(raw)
            await feed.drain()
            assert Mixed.order == ["1", "ticker", "2", "ticker"]
            assert_accounts(feed)

        asyncio.run(run())

    def test_a_given_callback_takes_the_methods_place(self) -> None:
        class Overridden(PublicWebSocketHandler):
            def _on_trade(self, trade: Trade) -> None:
                raise AssertionError("not called")

        seen: list[Trade] = []
        feed = offline_feed("gateio_spot", handler=Overridden(on_trade=seen.append))
        feed.deliver(frames.trade(1))
        assert len(seen) == 1
        assert feed.accounting.events.callback_errors == 0

    def test_an_unknown_callback_name_is_refused_and_the_known_ones_are_named(self) -> None:
        with pytest.raises(SettingsError, match="no callback on_orderbok; known: on_orderbook, on_trade"):
            PublicWebSocketHandler(on_orderbok=print)
        with pytest.raises(SettingsError, match="on_orderbok"):
            offline_feed("gateio_spot", on_orderbok=print)

    def test_something_that_cannot_be_called_is_refused(self) -> None:
        with pytest.raises(SettingsError, match="callable, not int"):
            PublicWebSocketHandler(on_trade=7)  # type: ignore[arg-type]  # that is the point

    def test_a_callback_that_is_none_is_none_given(self) -> None:
        handler = PublicWebSocketHandler(on_trade=None)  # type: ignore[arg-type]  # as in on_trade=callback or None
        feed = offline_feed("gateio_spot", handler=handler)
        feed.deliver(frames.trade(1))
        assert feed.accounting.events.accepted == 1

    def test_callbacks_belong_to_the_handler_or_to_the_feed(self) -> None:
        with pytest.raises(SettingsError, match="not to both"):
            offline_feed("gateio_spot", handler=PublicWebSocketHandler(), on_trade=print)

    def test_a_handler_with_a_session_of_its_own_is_refused_by_a_feed(self) -> None:
        with pytest.raises(SettingsError, match="has a session already"):
            offline_feed("gateio_spot", handler=PublicWebSocketHandler(Session(GATEIO)))

    def test_a_public_handler_has_no_way_to_sign(self) -> None:
        names = {name for name in dir(PublicWebSocketHandler) if "sign" in name or "secret" in name or "key" in name}
        assert names == set()
        assert "signer" not in inspect.signature(PublicWebSocketHandler).parameters
        with pytest.raises(SettingsError, match="signer"):
            PublicWebSocketHandler(signer=print)  # No such argument, so taken for a callback.

    def test_every_public_event_has_a_callback_by_name(self) -> None:
        methods = PublicWebSocketHandler.event_methods
        assert sorted(name.removeprefix("_") for name in methods.values()) == sorted(NAMES)


def overriding(calls: list[str], is_async: bool) -> PublicWebSocketHandler:
    """A subclass that overrides every method, plain or ``async``."""

    def override(name: str) -> Callable[..., Any]:
        def plain(self: Any, event: Any) -> None:
            calls.append(name)

        async def declared(self: Any, event: Any) -> None:
            await asyncio.sleep(0)
            calls.append(name)

        return declared if is_async else plain

    methods = {name: override(name) for name in PublicWebSocketHandler.event_methods.values()}
    handler: PublicWebSocketHandler = type("Overriding", (PublicWebSocketHandler,), methods)()
    return handler


class Opaque(PublicWebSocketHandler):
    """A handler with a ``_handle_message`` of its own: ``does`` says what becomes of each frame."""

    def __init__(self, does: Callable[[Raw], Any], **callbacks: Any) -> None:
        super().__init__(None, None, **callbacks)
        self.does = does
        self.got: list[Raw] = []

    def _handle_message(self, raw_message: Raw) -> Any:
        self.got.append(raw_message)
        return self.does(raw_message)


class OpaqueAsync(Opaque):
    """The same, declared with ``async def``."""

    async def _handle_message(self, raw_message: Raw) -> Any:
        await asyncio.sleep(0)
        return super()._handle_message(raw_message)


class FromScratch(BaseWebSocketClient):
    """A handler that knows nothing of sessions, over the base class alone."""

    def __init__(self, **callbacks: Any) -> None:
        super().__init__(**callbacks)
        self.got: list[Raw] = []

    def _handle_message(self, raw_message: Raw) -> None:
        self.got.append(raw_message)


def cannot_read(raw: Raw) -> None:
    raise DecodeError("not for me")


def fails(raw: Raw) -> None:
    raise ValueError("a mistake")


@pytest.mark.parametrize("adapted", [False, True], ids=["direct", "direct-adapted"])
@pytest.mark.parametrize("kind", [Opaque, OpaqueAsync])
class TestOpaque:
    def run(self, kind: type[Opaque], adapted: bool, does: Callable[[Raw], Any], *raws: Raw) -> tuple[Opaque, frames.Seen, OfflineFeed]:
        async def run() -> tuple[Opaque, frames.Seen, OfflineFeed]:
            seen = frames.Seen()
            handler = kind(does, **seen.callbacks)
            feed = offline_feed("gateio_spot", handler=handler, adapted=adapted)
            for raw in raws:
                feed.deliver(raw)
            await feed.drain()
            assert_accounts(feed)
            return handler, seen, feed

        return asyncio.run(run())

    def test_it_gets_every_frame_and_each_counts_as_delivered(self, kind: type[Opaque], adapted: bool) -> None:
        raws: list[Raw] = [b"anything", "at all", frames.trade(1)]
        handler, seen, feed = self.run(kind, adapted, lambda raw: None, *raws)
        assert handler.got == raws
        assert seen.events == []
        assert (feed.accounting.frames.delivered, feed.accounting.frames.control) == (3, 0)

    def test_it_may_say_that_a_frame_was_control(self, kind: type[Opaque], adapted: bool) -> None:
        _, _, feed = self.run(kind, adapted, lambda raw: Outcome.CONTROL if raw == b"pong" else None, b"pong", b"data")
        assert (feed.accounting.frames.delivered, feed.accounting.frames.control) == (1, 1)

    def test_a_decode_error_of_its_own_falls_back(self, kind: type[Opaque], adapted: bool) -> None:
        _, seen, feed = self.run(kind, adapted, cannot_read, frames.trade(1), frames.trade(2))
        assert [trade.trade_id for trade in seen.of(Trade)] == ["1", "2"]
        assert feed.metrics()[DIRECT].fallbacks == 2
        assert feed.accounting.frames.rejected == 0

    def test_any_other_error_of_its_own_rejects_the_frame_and_falls_back_to_nobody(self, kind: type[Opaque], adapted: bool) -> None:
        _, seen, feed = self.run(kind, adapted, fails, frames.trade(1))
        assert seen.of(Trade) == []
        assert feed.accounting.frames.rejected_by_kind == {"error": 1}
        assert [gap.reason for gap in seen.gaps] == [GapReason.FAILED]
        assert [error.text for error in seen.errors] == ["ValueError: a mistake"]
        assert feed.metrics()[DIRECT].fallbacks == 0
        assert feed.dead_letters[0].architecture is DIRECT

    def test_it_may_hand_on_to_the_shipped_handler(self, kind: type[Opaque], adapted: bool) -> None:
        async def run() -> None:
            seen = frames.Seen()
            handler = Opaque(lambda raw: PublicWebSocketHandler._handle_message(handler, raw), **seen.callbacks)
            feed = offline_feed("gateio_spot", handler=handler, adapted=adapted)
            feed.deliver(frames.trade(1))
            feed.deliver(frames.PONG)
            await feed.drain()
            assert len(seen.of(Trade)) == 1
            assert (feed.accounting.frames.delivered, feed.accounting.frames.control) == (1, 1)
            assert_accounts(feed)

        asyncio.run(run())


def test_a_handler_from_scratch_gets_every_frame() -> None:
    handler = FromScratch()
    feed = offline_feed("gateio_spot", handler=handler)
    feed.deliver(b"anything")
    assert handler.got == [b"anything"]
    assert_accounts(feed)


@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
@pytest.mark.parametrize("returned", [0, True, "text", b"x"], ids=repr)
def test_whatever_else_a_plain_handler_returns_means_nothing(returned: object, is_async: bool) -> None:
    async def run() -> None:
        seen = frames.Seen()
        callbacks = seen.async_callbacks if is_async else seen.callbacks
        feed = offline_feed("gateio_spot", handler=Opaque(lambda raw: returned, **callbacks))
        feed.deliver(b"anything")
        await feed.drain()
        assert (feed.accounting.frames.delivered, seen.errors) == (1, [])
        assert_accounts(feed)

    asyncio.run(run())


def test_a_plain_handler_that_returns_an_awaitable_is_a_counted_error_and_leaves_no_warning() -> None:
    async def nobody_awaits() -> None:
        raise AssertionError

    errors: list[ErrorEvent] = []
    feed = offline_feed("gateio_spot", handler=Opaque(lambda raw: nobody_awaits(), on_error=errors.append))
    feed.deliver(b"anything")
    gc.collect()
    assert feed.accounting.frames.rejected_by_kind == {"error": 1}
    assert "UnannouncedAwaitable" in errors[0].text
    assert_accounts(feed)


class Account(AccountLane):
    """A private connection of a venue of a user's own."""

    def __init__(self, variant: Variant) -> None:
        super().__init__(account.ACCOUNT_VENUE, variant)

    @property
    def kinds(self) -> list[str]:
        return [type(event).__name__ for event in self.events]


class TestPrivate:
    def test_nothing_is_published_before_the_login_is_confirmed(self, variant: Variant) -> None:
        async def run() -> None:
            connection = Account(variant)
            await connection.deliver(account.items("order", "fill"), account.PONG, account.NOTICE)
            assert connection.events == []
            assert connection.session.held == 2
            await connection.deliver(account.LOGIN)
            assert connection.kinds == ["OrderUpdate", "Fill"]
            await connection.deliver(account.items("balance", "position"))
            assert connection.kinds == ["OrderUpdate", "Fill", "BalanceUpdate", "PositionUpdate"]

        asyncio.run(run())

    def test_a_refused_login_publishes_the_refusal_alone(self, variant: Variant) -> None:
        async def run() -> None:
            connection = Account(variant)
            await connection.deliver(account.items("order"), account.REFUSAL, account.items("fill"))
            (error,) = connection.events
            assert (error.kind, error.text) == ("refused", "bad key")
            assert not connection.session.is_confirmed

        asyncio.run(run())

    def test_after_a_cut_the_next_login_has_to_be_confirmed_anew(self, variant: Variant) -> None:
        async def run() -> None:
            connection = Account(variant)
            await connection.deliver(account.LOGIN, account.items("order"))
            connection.lane.call("cut()", connection.session.disconnect)
            await connection.deliver(account.items("fill"))
            assert connection.kinds == ["OrderUpdate", "Gap"]
            await connection.deliver(account.LOGIN)
            assert connection.kinds == ["OrderUpdate", "Gap", "Fill"]
            states = AccountState.OFFLINE, AccountState.LIVE
            assert [(change.old, change.new) for change in connection.changes] == [states, states[::-1], states]

        asyncio.run(run())

    def test_a_switch_leaves_what_was_confirmed_confirmed(self, variant: Variant) -> None:
        async def run() -> None:
            connection = Account(variant)
            await connection.deliver(account.items("order", number=1))
            await connection.lane.switch(connection.routes[variant.architecture.other])
            await connection.deliver(account.LOGIN, account.items("order", number=2))
            await connection.lane.switch(connection.routes[variant.architecture])
            await connection.deliver(account.items("order", number=3))
            assert [order.order_id for order in connection.events] == ["1", "2", "3"]

        asyncio.run(run())

    def test_money_stays_exact(self) -> None:
        async def run() -> None:
            connection = Account(VARIANTS[0])
            await connection.deliver(account.LOGIN, account.items("fill"))
            assert (str(connection.events[0].price), str(connection.events[0].amount)) == ("100.10", "0.30")

        asyncio.run(run())

    def test_a_session_that_would_publish_before_the_login_is_refused(self) -> None:
        with pytest.raises(SettingsError, match="needs a PrivateSession"):
            PrivateWebSocketHandler(Session(account.ACCOUNT_VENUE))  # type: ignore[arg-type]  # that is the point
        with pytest.raises(SettingsError, match="needs a PrivateSession"):
            offline_feed("gateio_spot", handler=PrivateWebSocketHandler())


#: What a codec makes of a frame, and what sessions, lanes and callbacks make themselves.
DECODED: tuple[Any, ...] = get_args(Message)
EMITTED: tuple[Any, ...] = get_args(Emission)

#: One frame for each kind that a codec makes.
BY_KIND: dict[MessageType, bytes] = {
    MessageType.TRADE: frames.trade(1),
    MessageType.BOOK_TICKER: frames.book_ticker(1),
    MessageType.TICKER: frames.ticker(),
    MessageType.CANDLE: frames.candle(),
    MessageType.LIQUIDATION: futures_frames.liquidation(),
    MessageType.ORDERBOOK: frames.obu(None, 10, [(100, 1)], [(101, 1)], full=True),
    MessageType.ACKNOWLEDGEMENT: frames.acknowledgement(),
    MessageType.PONG: frames.PONG,
    MessageType.NOTICE: frames.push("spot.system", {"type": "upgrade"}),
    MessageType.UNKNOWN: frames.push("spot.nothing", {}),
}
#: Whose frame that is, where not of the venue of all others.
VENUE_OF = {MessageType.LIQUIDATION: "gateio_futures"}
PRIVATE_BY_KIND = {
    MessageType.ORDER: account.items("order"),
    MessageType.FILL: account.items("fill"),
    MessageType.BALANCE: account.items("balance"),
    MessageType.POSITION: account.items("position"),
    MessageType.RISK: account.items("risk"),
}
#: Made by no codec: they reach a callback and are counted as errors, gaps and changes of a book's state.
MADE_BY_THE_SESSION = {Gap: MessageType.GAP, BookStateChange: MessageType.BOOK_STATE, ErrorEvent: MessageType.ERROR}


class TestMessageTypes:
    def test_every_message_type_is_that_of_a_class_and_of_one_kind_only(self) -> None:
        kinds = {kind.message_type: kind for kind in (*DECODED, *EMITTED) if kind is not OrderBook}
        assert sorted(kinds) == list(MessageType)
        assert OrderBook.message_type is MessageType.ORDERBOOK

    @pytest.mark.parametrize("kind", MessageType, ids=lambda kind: kind.name.lower())
    def test_every_message_type_reaches_a_counter_or_a_callback(self, variant: Variant, kind: MessageType) -> None:
        async def run() -> None:
            if kind in BY_KIND:
                feed = variant.feed(venue=VENUE_OF.get(kind, "gateio_spot"))
                feed.deliver(BY_KIND[kind])
                await feed.drain()
                assert feed.metrics()[variant.architecture].messages == {kind.name.lower(): 1}
                assert_accounts(feed)
            elif kind is MessageType.ACCOUNT_STATE:
                connection = Account(variant)
                await connection.deliver(account.LOGIN)
                assert [change.message_type for change in connection.changes] == [kind]
            elif kind in PRIVATE_BY_KIND:
                connection = Account(variant)
                await connection.deliver(account.LOGIN, PRIVATE_BY_KIND[kind])
                messages = connection.routes[variant.architecture].metrics.summary().messages
                assert messages == {"acknowledgement": 1, kind.name.lower(): 1}
                assert [event.message_type for event in connection.events] == [kind]
            else:
                seen = frames.Seen()
                feed = variant.feed(**seen.callbacks)
                of_every_kind(feed)
                await feed.drain()
                (made,) = (event for event, message_type in MADE_BY_THE_SESSION.items() if message_type is kind)
                assert {event.message_type for event in seen.of(made)} == {kind}

        asyncio.run(run())

    def test_whatever_is_emitted_has_a_method_on_one_of_the_handlers(self) -> None:
        methods = {**PublicWebSocketHandler.event_methods, **PrivateWebSocketHandler.event_methods}
        assert set(methods) == set(EMITTED)
        for handler in (PublicWebSocketHandler, PrivateWebSocketHandler):
            for event, method in handler.event_methods.items():
                assert callable(getattr(handler, method)), (event, method)

    def test_what_a_public_codec_makes_has_a_method_on_the_public_handler(self) -> None:
        private = {OrderUpdate, Fill, BalanceUpdate, PositionUpdate, RiskNotice, AccountStateChange}
        assert set(PublicWebSocketHandler.event_methods) == set(EMITTED) - private
        assert private <= set(PrivateWebSocketHandler.event_methods)


def test_a_live_book_is_the_one_object_that_the_feed_shows(variant: Variant) -> None:
    async def run() -> None:
        books: list[OrderBook] = []
        feed = variant.feed(on_orderbook=books.append)
        feed.deliver(frames.obu(None, 10, [(100, 1)], [(101, 1)], full=True))
        feed.deliver(frames.obu(11, 11, [(99, 1)]))
        await feed.drain()
        assert books[0] is books[1] is feed.books[frames.SYMBOL]
        assert books[0].state is BookState.LIVE

    asyncio.run(run())


def test_a_private_session_is_what_a_private_handler_asks_for() -> None:
    annotation = inspect.signature(PrivateWebSocketHandler).parameters["session"].annotation
    assert annotation == PrivateSession | None
