"""The adapters: each architecture behind the other's interface, and nothing between a lane and the wrapped object."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest

from infrastructure.book import OrderBook
from infrastructure.callbacks import Callbacks
from infrastructure.clock import Clock
from infrastructure.errors import DecodeError, SettingsError
from infrastructure.events import Architecture, GapReason, MessageType, Side, Trade
from infrastructure.feed import offline_feed
from infrastructure.metrics import PathMetrics
from infrastructure.networking.websocket.adapters import StrategyPatternAdapter, WebSocketHandlerAdapter
from infrastructure.networking.websocket.handlers import BaseWebSocketClient, PublicWebSocketHandler
from infrastructure.networking.websocket.route import Outcome, Slot
from infrastructure.networking.websocket.strategies import (
    MessageParser,
    ParsedMessage,
    StrategyReceiver,
    WebSocketStrategySet,
    strategy_set,
)
from infrastructure.networking.websocket.wiring import wire
from infrastructure.session import Session
from tests.harness import frames
from tests.harness.receivers import GATEIO
from tests.harness.variants import assert_accounts

DIRECT, STRATEGY = Architecture.DIRECT, Architecture.STRATEGY
Raw = bytes | str


def assert_own_method(slot: Slot, owner: object) -> None:
    """``slot`` is ``owner._handle_message``, with nothing around it; two bound methods are never the same object."""
    bound: Any = slot
    assert bound.__self__ is owner
    assert bound.__func__ is type(owner)._handle_message


def paths() -> dict[Architecture, PathMetrics]:
    return {kind: PathMetrics(kind, Clock().monotonic_ns) for kind in Architecture}


def set_with(parser: MessageParser) -> WebSocketStrategySet:
    """A strategy set with a parser of one's own."""
    general = strategy_set(GATEIO)
    return WebSocketStrategySet(general.connection_strategy, general.subscription_strategy, parser)


class Foreign(MessageParser):
    """A parser that has never heard of tickrail: plain ``json``, labels of its own, None for what it has no use for."""

    async def parse_message(self, raw_message: Raw) -> ParsedMessage | None:
        await asyncio.sleep(0)
        try:
            frame = json.loads(raw_message)
        except ValueError as error:
            raise DecodeError(str(error)) from None
        if frame["event"] != "update":
            return None
        return ParsedMessage("trade", symbol=frame["result"]["currency_pair"], data=frame["result"], raw_data=raw_message)


class ForeignWithEvents(Foreign):
    """The same, with a translation of its messages."""

    def to_events(self, parsed: ParsedMessage) -> Sequence[Trade]:
        data = parsed.data
        symbol = data["currency_pair"].replace("_", "/")
        return [Trade("gateio_spot", symbol, str(data["id"]), Side(data["side"]), float(data["price"]), float(data["amount"]), None)]


async def nothing(parsed: ParsedMessage) -> None:
    """A message handler."""


class TestSlots:
    def test_a_handlers_slot_is_its_own_bound_method(self) -> None:
        handler = PublicWebSocketHandler(Session(GATEIO))
        assert_own_method(WebSocketHandlerAdapter(handler).slot, handler)

    def test_the_slot_of_a_subclass_is_its_override(self) -> None:
        class Own(PublicWebSocketHandler):
            def _handle_message(self, raw_message: Raw) -> None:
                pass

        handler = Own()
        slot: Any = WebSocketHandlerAdapter(handler).slot
        assert_own_method(slot, handler)
        assert slot.__func__ is Own._handle_message

    def test_a_strategy_sets_slot_is_the_receivers_own_bound_method(self) -> None:
        adapter = StrategyPatternAdapter(set_with(Foreign()), nothing)
        assert_own_method(adapter.slot, adapter.receiver)
        assert_own_method(adapter._handle_message, adapter.receiver)

    @pytest.mark.parametrize("adapted", [False, True], ids=["plain", "adapted"])
    def test_wiring_puts_no_adapter_between_the_lane_and_the_receivers(self, adapted: bool) -> None:
        session, handler = Session(GATEIO), PublicWebSocketHandler()
        handler.attach(session, paths()[DIRECT])
        routes = wire(session, handler, set_with(Foreign()), nothing, paths(), adapted=adapted)
        strategy_slot: Any = routes[STRATEGY].slot
        assert type(strategy_slot.__self__) is StrategyReceiver
        assert_own_method(strategy_slot, strategy_slot.__self__)
        direct_slot: Any = routes[DIRECT].slot
        owner = direct_slot.__self__ if adapted else handler
        assert type(owner) is (StrategyReceiver if adapted else PublicWebSocketHandler)
        assert_own_method(direct_slot, owner)

    def test_the_receiver_calls_the_parsers_and_the_message_handlers_own_bound_methods(self) -> None:
        parser = Foreign()
        adapter = WebSocketHandlerAdapter(PublicWebSocketHandler())
        receiver = StrategyReceiver(parser, adapter.message_handler)
        assert receiver._parse.__self__ is parser  # type: ignore[attr-defined]
        assert receiver._parse.__func__ is Foreign.parse_message  # type: ignore[attr-defined]
        assert receiver._handle.__self__ is adapter  # type: ignore[attr-defined]
        assert receiver._handle.__func__ is WebSocketHandlerAdapter.message_handler  # type: ignore[attr-defined]

    @pytest.mark.parametrize("architecture", Architecture)
    def test_the_lane_of_a_feed_calls_what_was_wired(self, architecture: Architecture) -> None:
        handler = PublicWebSocketHandler()
        feed = offline_feed("gateio_spot", None, architecture, handler=handler)
        slot: Any = feed._lane._slot
        assert_own_method(slot, handler if architecture is DIRECT else slot.__self__)
        assert type(slot.__self__) is (PublicWebSocketHandler if architecture is DIRECT else StrategyReceiver)

    def test_a_strategy_set_behind_its_adapter_counts_as_a_new_client(self) -> None:
        assert isinstance(StrategyPatternAdapter(set_with(Foreign()), nothing), BaseWebSocketClient)


class TestOldLoop:
    """A loop as the strategy pattern has it: ``await parse_message``, ``await message_handler``, for one frame after the other."""

    async def loop(self, parser: MessageParser, message_handler: Any, raws: Sequence[Raw]) -> list[ParsedMessage | None]:
        parsed_messages = []
        for raw in raws:
            parsed = await parser.parse_message(raw)
            parsed_messages.append(parsed)
            if parsed is not None:
                await message_handler(parsed)
        return parsed_messages

    @pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
    def test_an_old_loop_runs_a_new_handler_unchanged(self, is_async: bool) -> None:
        seen = frames.Seen()
        handler = PublicWebSocketHandler(Session(GATEIO), **(seen.async_callbacks if is_async else seen.callbacks))
        adapter = WebSocketHandlerAdapter(handler)
        book = frames.obu(None, 10, [(100, 1)], [(101, 1)], full=True)
        raws = [frames.trade(1), frames.PONG, book, frames.trade(2)]
        parsed = asyncio.run(self.loop(adapter, adapter.message_handler, raws))
        assert [trade.trade_id for trade in seen.of(Trade)] == ["1", "2"]
        assert seen.books == [(10, ((100.0, 1.0),), ((101.0, 1.0),))]
        labels = [(message.message_type, message.symbol) for message in parsed if message]
        expected = [MessageType.TRADE, MessageType.PONG, MessageType.ORDERBOOK, MessageType.TRADE]
        assert labels == [(kind, None if kind is MessageType.PONG else frames.SYMBOL) for kind in expected]

    def test_parsing_changes_nothing_before_the_message_handler_has_the_result(self) -> None:
        session = Session(GATEIO)
        adapter = WebSocketHandlerAdapter(PublicWebSocketHandler(session))
        parsed = asyncio.run(adapter.parse_message(frames.trade(1)))
        assert session.decoded == 0
        assert parsed is not None
        asyncio.run(adapter.message_handler(parsed))
        assert session.decoded == 1

    def test_the_awaitable_face_waits_until_the_callbacks_are_done(self) -> None:
        seen = frames.Seen()
        adapter = WebSocketHandlerAdapter(PublicWebSocketHandler(Session(GATEIO), **seen.async_callbacks))

        async def run() -> Any:
            await adapter._handle_message(frames.trade(1))
            assert len(seen.of(Trade)) == 1
            return await adapter._handle_message(frames.PONG)

        assert asyncio.run(run()) is Outcome.CONTROL

    @pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
    def test_an_old_loop_runs_a_handler_that_has_its_own_way_with_frames(self, is_async: bool) -> None:
        class Own(BaseWebSocketClient):
            def __init__(self) -> None:
                super().__init__()
                self.got: list[Raw] = []

            def _handle_message(self, raw_message: Raw) -> None:
                self.got.append(raw_message)

        class OwnAsync(Own):
            async def _handle_message(self, raw_message: Raw) -> None:  # type: ignore[override]  # the base allows both
                await asyncio.sleep(0)
                self.got.append(raw_message)

        handler = OwnAsync() if is_async else Own()
        adapter = WebSocketHandlerAdapter(handler)
        parsed = asyncio.run(self.loop(adapter, adapter.message_handler, [b"1", "2"]))
        assert handler.got == [b"1", "2"]
        assert [message.raw_data for message in parsed if message] == [b"1", "2"]

    def test_a_strategy_set_made_of_an_adapter_has_it_for_its_parser(self) -> None:
        general = strategy_set(GATEIO)
        adapter = WebSocketHandlerAdapter(PublicWebSocketHandler(Session(GATEIO)))
        made = adapter.strategy_set(general.connection_strategy, general.subscription_strategy)
        assert made.message_parser is adapter
        assert made.connection_strategy is general.connection_strategy

    def test_what_cannot_be_decoded_raises_out_of_parsing(self) -> None:
        adapter = WebSocketHandlerAdapter(PublicWebSocketHandler(Session(GATEIO)))
        with pytest.raises(DecodeError):
            asyncio.run(adapter.parse_message(b"nonsense"))


@pytest.mark.parametrize("adapted", [False, True], ids=["strategy", "strategy-adapted"])
class TestForeignSet:
    def test_a_lane_runs_a_foreign_set_with_its_own_message_handler(self, adapted: bool) -> None:
        async def run() -> None:
            got: list[Any] = []

            async def handle(parsed: ParsedMessage) -> None:
                await asyncio.sleep(0)
                got.append((parsed.message_type, parsed.data["id"]))

            feed = offline_feed("gateio_spot", None, STRATEGY, strategies=set_with(Foreign()), message_handler=handle, adapted=adapted)
            for raw in (frames.trade(1), frames.acknowledgement(), frames.trade(2), b"nonsense"):
                feed.deliver(raw)
            await feed.drain()
            assert got == [("trade", 1), ("trade", 2)]
            accounting = feed.accounting.frames
            assert (accounting.delivered, accounting.control, accounting.rejected_by_kind) == (2, 1, {"undecodable": 1})
            # Opaque: its frames are tickrail's to count, its messages are not.
            assert feed.accounting.events.decoded == 0
            assert_accounts(feed)

        asyncio.run(run())

    def test_a_message_handler_that_fails_costs_its_own_frame_only(self, adapted: bool) -> None:
        async def run() -> None:
            got: list[int] = []

            async def handle(parsed: ParsedMessage) -> None:
                if parsed.data["id"] == 2:
                    raise ValueError("a mistake")
                got.append(parsed.data["id"])

            seen = frames.Seen()
            feed = offline_feed(
                "gateio_spot", None, STRATEGY, strategies=set_with(Foreign()), message_handler=handle, adapted=adapted, **seen.callbacks
            )
            for number in (1, 2, 3):
                feed.deliver(frames.trade(number))
            await feed.drain()
            assert got == [1, 3]
            assert feed.accounting.frames.rejected_by_kind == {"error": 1}
            assert [gap.reason for gap in seen.gaps] == [GapReason.FAILED]
            assert_accounts(feed)

        asyncio.run(run())

    @pytest.mark.parametrize("number", range(16))
    def test_labels_of_a_foreign_parser_mean_nothing_to_the_account(self, adapted: bool, number: int) -> None:
        class Numbered(Foreign):
            async def parse_message(self, raw_message: Raw) -> ParsedMessage | None:
                return ParsedMessage(number)

        async def run() -> None:
            feed = offline_feed("gateio_spot", None, STRATEGY, strategies=set_with(Numbered()), message_handler=nothing, adapted=adapted)
            feed.deliver(b"anything")
            await feed.drain()
            assert (feed.accounting.frames.delivered, feed.accounting.frames.control) == (1, 0)
            assert_accounts(feed)

        asyncio.run(run())

    def test_a_label_that_cannot_be_hashed_does_no_harm(self, adapted: bool) -> None:
        class Labelled(Foreign):
            async def parse_message(self, raw_message: Raw) -> ParsedMessage | None:
                return ParsedMessage({"type": "trade"})

        async def run() -> None:
            feed = offline_feed("gateio_spot", None, STRATEGY, strategies=set_with(Labelled()), message_handler=nothing, adapted=adapted)
            feed.deliver(b"anything")
            await feed.drain()
            assert feed.accounting.frames.delivered == 1

        asyncio.run(run())

    def test_a_set_that_brings_to_events_reaches_the_callbacks(self, adapted: bool) -> None:
        async def run() -> None:
            seen = frames.Seen()
            strategies = set_with(ForeignWithEvents())
            feed = offline_feed("gateio_spot", None, STRATEGY, strategies=strategies, adapted=adapted, **seen.callbacks)
            feed.deliver(frames.trade(1), received_ns=5)
            await feed.switch(DIRECT)
            feed.deliver(frames.trade(2), received_ns=6)
            await feed.drain()
            by_set, by_handler = seen.of(Trade)
            assert (by_set.trade_id, by_set.price, by_set.received_ns) == ("1", 100.5, 5)
            assert (by_handler.trade_id, by_handler.price, by_handler.received_ns) == ("2", 100.5, 6)
            assert feed.metrics()[STRATEGY].messages == {"trade": 1}
            assert_accounts(feed)

        asyncio.run(run())

    def test_a_set_without_to_events_needs_a_message_handler(self, adapted: bool) -> None:
        with pytest.raises(SettingsError, match=r"Foreign has no to_events\(parsed\)"):
            offline_feed("gateio_spot", strategies=set_with(Foreign()), adapted=adapted)


def test_to_events_may_be_given_beside_a_set_that_has_none() -> None:
    session, seen = Session(GATEIO), list[Trade]()
    callbacks = Callbacks("gateio_spot", {Trade: seen.append})
    to_events = ForeignWithEvents().to_events
    adapter = StrategyPatternAdapter.with_events(set_with(Foreign()), session, callbacks, paths()[STRATEGY], to_events)
    asyncio.run(adapter._handle_message(frames.trade(1)))
    assert [trade.trade_id for trade in seen] == ["1"]


def test_books_carry_on_across_a_switch_between_a_handler_and_the_general_set() -> None:
    async def run() -> None:
        shown: list[tuple[int | None, int]] = []

        def on_orderbook(book: OrderBook) -> None:
            shown.append((book.last_id, len(book.bids)))

        feed = offline_feed("gateio_spot", adapted=True, on_orderbook=on_orderbook)
        feed.deliver(frames.obu(None, 10, [(100, 1)], [(101, 1)], full=True))
        await feed.switch(STRATEGY)
        feed.deliver(frames.obu(11, 12, [(99, 1)]))
        await feed.switch(DIRECT)
        feed.deliver(frames.obu(13, 13, [(98, 1)]))
        await feed.drain()
        assert shown == [(10, 1), (12, 2), (13, 3)]
        assert_accounts(feed)

    asyncio.run(run())
