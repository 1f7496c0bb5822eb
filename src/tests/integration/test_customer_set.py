"""A customer's own strategy set, run by tickrail unchanged: same messages as under its own loop, exact switches, exact accounts."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence

import pytest

from infrastructure.networking.websocket.adapters import WebSocketHandlerAdapter
from infrastructure.session import Session
from tests.harness import frames
from tests.harness.customer import Desk, DeskConnection, Kind, desk_loop, desk_set
from tests.harness.receivers import GATEIO
from tests.harness.variants import assert_accounts
from tickrail import (
    Architecture,
    BaseWebSocketClient,
    OfflineFeed,
    PublicWebSocketHandler,
    StrategyPatternAdapter,
    SubscriptionAction,
    Trade,
    offline_feed,
)

DIRECT, STRATEGY = Architecture.DIRECT, Architecture.STRATEGY

#: A stretch of traffic with everything that such a set meets: data, an answer, a refusal, a pong, a frame it cannot read.
TRAFFIC: list[bytes] = [
    frames.acknowledgement(),
    frames.trade(1),
    frames.obu(None, 10, [(100, 1)], [(101, 1)], full=True).replace(b'"time": ', b'"event": "update", "time": '),
    frames.trade(2),
    frames.PONG,
    frames.book_ticker(5),
    b"nonsense",
    frames.trade(3),
    frames.acknowledgement(error={"code": 2, "message": "unknown currency pair"}),
    frames.ticker(),
    frames.trade(4),
]


def opened(desk: Desk, seen: frames.Seen | None = None, *, adapted: bool = True) -> OfflineFeed:
    """A feed that starts on the customer's set."""
    callbacks = seen.callbacks if seen else {}
    return offline_feed("gateio_spot", None, STRATEGY, strategies=desk_set(), message_handler=desk.on_message, adapted=adapted, **callbacks)


async def stream(raws: Sequence[bytes | str]) -> AsyncIterator[bytes | str]:
    for raw in raws:
        yield raw


def kinds(desk: Desk) -> list[tuple[Kind, str | None]]:
    return [(message.message_type, message.symbol) for message in desk.messages]


@pytest.mark.parametrize("adapted", [False, True], ids=["strategy", "strategy-adapted"])
class TestUnchanged:
    def test_the_set_gets_what_it_gets_under_its_own_loop(self, adapted: bool) -> None:
        async def run() -> None:
            alone, under_tickrail = Desk(), Desk()
            unread = await desk_loop(desk_set(), alone, stream(TRAFFIC))
            feed = opened(under_tickrail, adapted=adapted)
            for raw in TRAFFIC:
                feed.deliver(raw)
            await feed.drain()
            assert under_tickrail.messages == alone.messages
            assert len(alone.messages) == 8
            accounting = feed.accounting.frames
            assert (accounting.received, accounting.delivered, accounting.control) == (len(TRAFFIC), 8, 2)
            # The set raises what json raises, which tells nobody that nothing had changed yet: its own error.
            assert accounting.rejected_by_kind == {"error": unread} == {"error": 1}
            assert feed.dead_letters[0].excerpt == b"nonsense"
            assert_accounts(feed)

        asyncio.run(run())

    def test_an_exception_of_its_message_handler_costs_one_frame(self, adapted: bool) -> None:
        async def run() -> None:
            desk, seen = Desk(bad_symbol="ETH_USDT"), frames.Seen()
            feed = opened(desk, seen, adapted=adapted)
            for raw in (frames.trade(1), frames.trade(2, pair="ETH_USDT"), frames.trade(3)):
                feed.deliver(raw)
            await feed.drain()
            assert desk.trade_ids == [1, 3]
            assert feed.accounting.frames.rejected_by_kind == {"error": 1}
            assert [error.text for error in seen.errors] == ["LookupError: no position in ETH_USDT"]
            assert_accounts(feed)

        asyncio.run(run())


@pytest.mark.parametrize("adapted", [False, True], ids=["plain", "adapted"])
class TestSwitching:
    @pytest.mark.parametrize("position", range(len(TRAFFIC) + 1))
    def test_a_switch_at_any_position_splits_the_traffic_exactly_there(self, position: int, adapted: bool) -> None:
        async def run() -> None:
            desk, seen = Desk(), frames.Seen()
            feed = opened(desk, seen, adapted=adapted)
            for raw in TRAFFIC[:position]:
                feed.deliver(raw)
            switch = feed.switch(DIRECT)
            for raw in TRAFFIC[position:]:
                feed.deliver(raw)
            receipt = await switch
            await feed.drain()
            assert (receipt.after_frame, receipt.backlog) == (position, position)
            alone = Desk()
            await desk_loop(desk_set(), alone, stream(TRAFFIC[:position]))
            assert desk.messages == alone.messages
            assert [int(trade.trade_id) for trade in seen.of(Trade)] == ids(TRAFFIC[position:])
            # The frame that direct could not read went to the customer's set, which could not either.
            assert feed.accounting.frames.rejected == 1
            assert feed.accounting.frames.received == len(TRAFFIC)
            assert_accounts(feed)

        asyncio.run(run())

    def test_switching_to_and_fro_hands_every_trade_to_exactly_one_side(self, adapted: bool) -> None:
        async def run() -> None:
            desk, seen = Desk(), frames.Seen()
            feed = opened(desk, seen, adapted=adapted)
            turns: list[int] = []
            architecture = STRATEGY
            for number in range(200):
                if number % 7 == 3:
                    architecture = architecture.other
                    turns.append(number)
                    feed.switch(architecture)
                feed.deliver(frames.trade(number))
                if number % 5 == 0:
                    await asyncio.sleep(0)
            await feed.drain()
            direct = [int(trade.trade_id) for trade in seen.of(Trade)]
            assert sorted(direct + desk.trade_ids) == list(range(200))
            assert desk.trade_ids == [number for number in range(200) if sum(turn <= number for turn in turns) % 2 == 0]
            assert feed.switches == len(turns)
            accounting = feed.accounting
            assert (accounting.frames.delivered, accounting.events.decoded) == (200, len(direct))
            assert_accounts(feed)

        asyncio.run(run())

    def test_order_holds_across_both_sides_when_they_write_into_one_place(self, adapted: bool) -> None:
        async def run() -> None:
            order: list[int] = []

            class Shared(Desk):
                async def on_message(self, parsed: object) -> None:
                    await asyncio.sleep(0)
                    order.append(parsed.data["id"])  # type: ignore[attr-defined]

            desk = Shared()
            feed = offline_feed(
                "gateio_spot",
                None,
                STRATEGY,
                strategies=desk_set(),
                message_handler=desk.on_message,
                adapted=adapted,
                on_trade=lambda trade: order.append(int(trade.trade_id)),
            )
            for number in range(100):
                if number % 10 == 9:
                    feed.switch(DIRECT if number % 20 == 9 else STRATEGY)
                feed.deliver(frames.trade(number))
            await feed.drain()
            assert order == list(range(100))
            assert_accounts(feed)

        asyncio.run(run())


def ids(raws: Sequence[bytes]) -> list[int]:
    return [json.loads(raw)["result"]["id"] for raw in raws if b"spot.trades" in raw and b"update" in raw]


class TestThroughTheAdapters:
    def test_the_adapted_set_is_a_client_of_the_new_interface(self) -> None:
        async def run() -> None:
            desk = Desk()
            client = StrategyPatternAdapter(desk_set(), desk.on_message)
            assert isinstance(client, BaseWebSocketClient)
            for raw in (frames.trade(1), frames.PONG, frames.trade(2)):
                await client._handle_message(raw)
            assert desk.trade_ids == [1, 2]

        asyncio.run(run())

    def test_the_customers_loop_runs_the_new_handler_in_place_of_its_own_parser(self) -> None:
        async def run() -> None:
            seen = frames.Seen()
            adapter = WebSocketHandlerAdapter(PublicWebSocketHandler(Session(GATEIO), **seen.callbacks))
            own = desk_set()
            strategies = adapter.strategy_set(own.connection_strategy, own.subscription_strategy)
            for raw in TRAFFIC:
                if raw != b"nonsense":
                    parsed = await strategies.message_parser.parse_message(raw)
                    assert parsed is not None
                    await adapter.message_handler(parsed)
            assert [int(trade.trade_id) for trade in seen.of(Trade)] == [1, 2, 3, 4]
            assert len(seen.books) == 1

        asyncio.run(run())


class TestCollaborators:
    def test_its_connection_and_subscription_strategies_answer_as_they_always_did(self) -> None:
        async def run() -> None:
            strategies = desk_set()
            connection = strategies.connection_strategy
            assert isinstance(connection, DeskConnection)
            context = await connection.create_connection_context()
            assert (context.url, context.ping_interval, context.ping_timeout, context.ping_message) == (
                "wss://venue.invalid/ws",
                20,
                10,
                None,
            )
            assert connection.get_reconnection_policy().reset_on_1005
            assert await connection.authenticate()
            await connection.handle_heartbeat()
            assert len(connection.sent) == 2
            assert [connection.should_reconnect(error) for error in (ConnectionResetError(), ValueError())] == [True, False]
            requests = await strategies.subscription_strategy.create_subscription_messages(
                SubscriptionAction.SUBSCRIBE, ["BTC/USDT"], ["spot.trades", "spot.tickers"]
            )
            assert [request["payload"] for request in requests] == [["BTC_USDT"], ["BTC_USDT"]]
            await connection.disconnect()
            await connection.cleanup()
            assert connection.states == ["disconnected", "clean"]

        asyncio.run(run())

    def test_a_feed_opens_no_connection_with_it(self) -> None:
        async def run() -> None:
            desk = Desk()
            feed = opened(desk)
            feed.deliver(frames.trade(1))
            await feed.drain()
            await feed.close()
            assert desk.trade_ids == [1]
            assert_accounts(feed)

        asyncio.run(run())
