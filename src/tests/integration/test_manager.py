"""What a live feed does for its user, over real sockets, in both architectures and through both adapters."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from infrastructure.feed import open_feed
from infrastructure.networking.websocket.ws_manager import Applied, WebSocketManager
from tests.harness import frames
from tests.harness.customer import Desk, DeskConnection, DeskParser, DeskSubscription
from tests.harness.live import (
    AT_ONCE,
    BTC,
    ETH,
    SOL,
    VENUE,
    ScriptedExchange,
    acknowledged,
    assert_right,
    assert_whole,
    live,
    run,
    settings_of,
    simulated,
    unanswered,
    until,
)
from tests.harness.variants import Variant
from tickrail import (
    Architecture,
    AwaitedInsideCallback,
    BookNotLive,
    BookState,
    BookTicker,
    Candle,
    ConnectFailed,
    ConnectionContext,
    ConnectionState,
    GaveUp,
    HandshakeRefused,
    NotConnected,
    PublicWebSocketHandler,
    ReconnectionPolicy,
    SettingsError,
    SubscriptionRefused,
    SwitchReceipt,
    Ticker,
    Trade,
    UnknownSymbol,
    WebSocketStrategySet,
)

DIRECT, STRATEGY = Architecture.DIRECT, Architecture.STRATEGY


class TestOpening:
    def test_events_of_every_channel_come_and_the_books_are_the_exchanges(self, variant: Variant) -> None:
        async def main() -> None:
            channels = ["trade", "book_ticker", "ticker", "candle:5m"]
            async with simulated(BTC, ETH) as at, live(variant, at, channels=channels) as (feed, seen):
                await feed.subscribe([BTC], ["spot.obu"])
                await feed.subscribe([ETH], ["spot.order_book_update"])
                await until(lambda: all(seen.of(kind) for kind in (Trade, BookTicker, Ticker, Candle)))
                await assert_right(feed, at, BTC, ETH)
                assert {event.symbol for event in seen.of(Trade)} == {BTC}
                assert {candle.interval for candle in seen.of(Candle)} == {"5m"}
                assert not seen.gaps and not seen.errors
                assert feed.state is ConnectionState.CONNECTED and feed.is_connected() and feed.connects == 1

        run(main())

    def test_the_channels_are_those_that_the_callbacks_are_for(self, variant: Variant) -> None:
        async def main() -> None:
            seen = frames.Seen()
            settings: dict[str, Any] = {name: seen.callbacks[name] for name in ("on_orderbook", "on_trade", "on_gap")}
            settings |= {"architecture": variant.architecture, "adapted": variant.adapted}
            async with (
                simulated(BTC) as at,
                open_feed(VENUE, symbols=[BTC], websocket_url=at.websocket_url, rest_url=at.rest_url, **settings) as feed,
            ):
                (connection,) = (await at.state())["connections"]
                assert {channel for channel, *_ in connection["subscriptions"]} == {"spot.obu", "spot.trades"}
                await until(lambda: seen.books and seen.of(Trade))
            assert_whole(feed)

        run(main())

    def test_a_symbol_that_the_venue_refuses_is_raised_in_its_words_and_nothing_stays_open(self, variant: Variant) -> None:
        async def main() -> None:
            async with simulated(BTC, faults=[f"refuse={BTC}"]) as at:
                with pytest.raises(SubscriptionRefused, match="subscription refused: BTC/USDT") as caught:
                    async with live(variant, at, symbols=[BTC], channels=["trade"]):
                        raise AssertionError("it was opened")
                assert (caught.value.channel, caught.value.symbols, caught.value.code) == ("spot.trades", (BTC,), "2")
                connections = (await at.state())["connections"]
                assert [connection["is_open"] for connection in connections] == [False]

        run(main())

    def test_a_symbol_that_the_venue_does_not_list_is_named_and_never_asked_for(self, variant: Variant) -> None:
        async def main() -> None:
            async with ScriptedExchange() as at:
                with pytest.raises(UnknownSymbol, match="'NOPE/USDT'; expected one of the 6 instruments of gateio_spot"):
                    async with live(variant, at, symbols=[BTC, "NOPE/USDT"], channels=["trade"]):
                        raise AssertionError("it was opened")
                assert at.requests == [(1, "subscribe", "spot.trades", ["BTC_USDT"])]

        run(main())

    def test_an_exchange_that_is_not_there_is_raised_at_once(self, variant: Variant) -> None:
        async def main() -> None:
            async with ScriptedExchange() as at:
                pass
            with pytest.raises(ConnectFailed, match="cannot connect to ws://localhost"):
                async with live(variant, at):
                    raise AssertionError("it was opened")

        run(main())

    def test_symbols_without_a_channel_are_an_error_and_not_an_empty_feed(self, variant: Variant) -> None:
        async def main() -> None:
            async with ScriptedExchange() as at:
                with pytest.raises(SettingsError, match="no channels"):
                    async with live(variant, at, channels=[]):
                        raise AssertionError("it was opened")
                async with live(variant, at, symbols=[], channels=[]) as (feed, _):
                    with pytest.raises(SettingsError, match="no channels"):
                        await feed.subscribe([BTC])
                    with pytest.raises(UnknownSymbol):
                        await feed.subscribe(["btcusdt"], ["trade"])

        run(main())

    def test_a_manager_is_opened_once(self, variant: Variant) -> None:
        async def main() -> None:
            async with ScriptedExchange() as at, live(variant, at) as (feed, _):
                with pytest.raises(SettingsError, match="opened or closed before"):
                    await feed.initialize()
                other = WebSocketManager(settings_of(at))
                with pytest.raises(SettingsError, match="initialize"):
                    await other.subscribe([BTC], ["trade"])
                await other.close()
                with pytest.raises(SettingsError, match="opened or closed before"):
                    await other.initialize([BTC], ["trade"])
                assert at.connections == 1

        run(main())


class TestStreams:
    def test_streams_are_added_and_ended_while_others_flow(self, variant: Variant) -> None:
        async def main() -> None:
            async with simulated(BTC, ETH) as at, live(variant, at) as (feed, seen):
                await until(lambda: BTC in feed.books and feed.books[BTC].is_live)
                await feed.subscribe([ETH])
                await until(lambda: ETH in feed.books and feed.books[ETH].is_live)
                book = feed.books[ETH]
                await feed.unsubscribe([ETH])
                assert ETH not in feed.books
                with pytest.raises(BookNotLive):
                    book.bids  # noqa: B018
                await feed.drain()
                count = len([event for event in [*seen.events, *seen.books] if getattr(event, "symbol", None) == ETH])
                trades = len(seen.of(Trade))
                await until(lambda: len(seen.of(Trade)) > trades + 10)
                assert len([event for event in [*seen.events, *seen.books] if getattr(event, "symbol", None) == ETH]) == count
                assert not seen.gaps
                (connection,) = (await at.state())["connections"]
                assert {symbol for _, symbol, _ in connection["subscriptions"]} == {BTC}
                await feed.subscribe([ETH])
                await assert_right(feed, at, BTC, ETH)

        run(main())

    @pytest.mark.parametrize("channel", ["spot.obu", "spot.order_book_update"])
    def test_an_ended_stream_gets_no_gap_when_the_connection_is_lost(self, variant: Variant, channel: str) -> None:
        async def main() -> None:
            async with simulated(BTC, ETH) as at, live(variant, at, symbols=[BTC, ETH], channels=["trade", channel]) as (feed, seen):
                await until(lambda: {event.symbol for event in seen.of(Trade)} == {BTC, ETH} and len(feed.books) == 2)
                await feed.unsubscribe([ETH])
                await at.fault("cut")
                await until(lambda: feed.connects == 2)
                await assert_right(feed, at, BTC)
                assert {(gap.channel, gap.symbol) for gap in seen.gaps} == {("spot.trades", BTC), (channel, BTC)}

        run(main())

    def test_a_snapshot_that_comes_after_the_end_of_its_stream_is_no_book(self, variant: Variant) -> None:
        async def main() -> None:
            async with ScriptedExchange() as at:
                asked, may_answer = asyncio.Event(), asyncio.Event()

                async def rest(target: str) -> bytes:
                    asked.set()
                    await may_answer.wait()
                    return frames.rest_book(10)

                at.rest = rest
                async with live(variant, at, channels=["spot.order_book_update"]) as (feed, seen):
                    await at.push(frames.update(11, 12, [(100, 2)]))
                    await asked.wait()
                    await feed.unsubscribe([BTC])
                    may_answer.set()
                    await feed.subscribe([ETH], ["trade"])
                    await asyncio.sleep(0.1)
                    assert BTC not in feed.books and not seen.books and not seen.gaps

        run(main())

    def test_a_snapshot_that_was_asked_for_before_the_end_is_no_book_of_the_stream_begun_anew(self, variant: Variant) -> None:
        async def main() -> None:
            answers: list[asyncio.Future[bytes]] = []

            async def rest(target: str) -> bytes:
                answers.append(asyncio.get_running_loop().create_future())
                return await answers[-1]

            async with ScriptedExchange() as at, live(variant, at, channels=["spot.order_book_update"]) as (feed, seen):
                at.rest = rest
                await at.push(frames.update(11, 12, [(100, 2)]))
                await until(lambda: answers)
                await feed.unsubscribe([BTC])
                await feed.subscribe([BTC])
                answers[0].set_result(frames.rest_book(12))
                await asyncio.sleep(0.05)
                assert BTC not in feed.books and not seen.books

        run(main())

    def test_a_repair_that_begins_while_its_stream_ends_brings_no_book(self, variant: Variant) -> None:
        async def main() -> None:
            may_go_on = asyncio.Event()

            async def on_trade(trade: Trade) -> None:
                await may_go_on.wait()

            channels = ["trade", "spot.order_book_update"]
            async with ScriptedExchange() as at, live(variant, at, channels=channels, callbacks={"on_trade": on_trade}) as (feed, seen):
                # The venue agrees to the end, but more of the stream had been on its way, and waits behind a slow callback.
                late = [frames.trade(1), frames.update(11, 12, [(100, 2)])]
                at.answers = lambda request: [*acknowledged(request), *late]
                ending = asyncio.create_task(feed.unsubscribe([BTC], ["spot.order_book_update"]))
                await until(lambda: feed.accounting.frames.in_flight == 2)
                await asyncio.sleep(0.05)
                may_go_on.set()
                await ending
                await asyncio.sleep(0.05)
                assert BTC not in feed.books and not seen.books and not at.fetched

        run(main())

    @pytest.mark.parametrize("channel", ["spot.trades", "spot.obu", "spot.order_book_update"])
    def test_data_that_a_venue_sends_after_it_agreed_to_the_end_is_nobodys(self, variant: Variant, channel: str) -> None:
        late = {
            "spot.trades": [frames.trade(1)],
            "spot.obu": [frames.obu(None, 12, [(100, 1)], [(101, 1)], full=True), frames.obu(13, 13, [(100, 2)])],
            "spot.order_book_update": [frames.update(11, 12, [(100, 2)]), frames.update(13, 13, [(100, 3)])],
        }[channel]

        async def main() -> None:
            async with ScriptedExchange() as at, live(variant, at, channels=["ticker", channel]) as (feed, seen):
                await feed.unsubscribe([BTC], [channel])
                before = len(at.asked)
                await at.push(*late, frames.ticker())
                await until(lambda: seen.of(Ticker))
                await asyncio.sleep(0.05)
                assert not seen.of(Trade) and not seen.books and BTC not in feed.books
                assert (at.fetched, len(at.asked)) == ([], before)
                at.peer.reset()
                await until(lambda: feed.connects == 2)
                assert [gap.channel for gap in seen.gaps] == ["spot.tickers"]
                await feed.subscribe([BTC], [channel])
                await at.push(*late)
                await until(lambda: seen.of(Trade) or seen.books)

        run(main())

    def test_a_refused_symbol_is_an_error_to_whoever_subscribed_and_the_rest_goes_on(self, variant: Variant) -> None:
        async def main() -> None:
            async with simulated(BTC, ETH, faults=[f"refuse={ETH}"]) as at, live(variant, at) as (feed, seen):
                with pytest.raises(SubscriptionRefused, match=f"subscription refused: {ETH}"):
                    await feed.subscribe([ETH])
                assert {(error.kind, error.text) for error in seen.errors} == {("refused", f"subscription refused: {ETH}")}
                trades = len(seen.of(Trade))
                await until(lambda: len(seen.of(Trade)) > trades)
                await assert_right(feed, at, BTC)
                # Nobody asks for it again.
                await at.fault("clear")
                await at.fault("cut")
                await until(lambda: feed.connects == 2 and feed.is_connected())
                trades = len(seen.of(Trade))
                await until(lambda: len(seen.of(Trade)) > trades)
                connection = (await at.state())["connections"][-1]
                assert {symbol for _, symbol, _ in connection["subscriptions"]} == {BTC}

        run(main())

    def test_ending_and_beginning_a_stream_at_once_leaves_it_running(self, variant: Variant) -> None:
        async def main() -> None:
            async with ScriptedExchange() as at, live(variant, at, channels=["trade"]) as (feed, seen):
                late: list[dict[str, Any]] = []

                def answers(request: dict[str, Any]) -> list[bytes]:
                    late.append(request)
                    return []

                at.answers = answers
                ending = asyncio.create_task(feed.unsubscribe([BTC]))
                await until(lambda: len(late) == 1)
                beginning = asyncio.create_task(feed.subscribe([BTC]))
                await until(lambda: len(late) == 2)
                await at.push(*acknowledged(late[0]))
                await ending
                assert not beginning.done()
                await at.push(*acknowledged(late[1]))
                await beginning
                await at.push(frames.trade(1))
                await until(lambda: seen.of(Trade))
                at.answers = acknowledged
                at.peer.reset()
                await until(lambda: feed.connects == 2)
                assert [(gap.channel, gap.symbol) for gap in seen.gaps] == [("spot.trades", BTC)]

        run(main())

    def test_while_the_connection_is_down_subscribing_waits_and_ending_does_not(self, variant: Variant) -> None:
        async def main() -> None:
            async with ScriptedExchange() as at, live(variant, at, symbols=[BTC, SOL], channels=["trade"]) as (feed, seen):
                at.answers = unanswered
                ending = asyncio.create_task(feed.unsubscribe([SOL]))
                await until(lambda: at.requests[-1][1] == "unsubscribe")
                at.peer.reset()
                await ending
                at.answers = acknowledged
                await feed.subscribe([ETH])
                await until(lambda: feed.connects == 2)
                again = [(number, event, set(payload)) for number, event, _, payload in at.requests if number > 1]
                assert {pair for _, event, pairs in again for pair in pairs if event == "subscribe"} == {"BTC_USDT", "ETH_USDT"}
                assert {gap.symbol for gap in seen.gaps} >= {BTC}

        run(main())

    def test_a_stream_that_is_ended_before_it_was_asked_for_keeps_nobody_waiting(self, variant: Variant) -> None:
        async def main() -> None:
            slow = AT_ONCE | {"first_delay_s": 0.5, "max_delay_s": 0.5}
            async with ScriptedExchange() as at, live(variant, at, channels=["trade"], reconnect=slow) as (feed, _):
                at.stop_listening()
                at.peer.reset()
                await until(lambda: not feed.is_connected())
                subscribing = asyncio.create_task(feed.subscribe([ETH]))
                await asyncio.sleep(0)
                await feed.unsubscribe([ETH])
                with pytest.raises(SettingsError, match="ended meanwhile"):
                    await asyncio.wait_for(subscribing, 5)

        run(main())


class TestSwitching:
    def test_switches_while_data_flows_lose_nothing(self, variant: Variant) -> None:
        async def main() -> None:
            async with simulated(BTC, ETH, rate=2000) as at, live(variant, at, symbols=[BTC, ETH]) as (feed, seen):
                receipts: list[SwitchReceipt] = []
                for _ in range(10):
                    receipts.append(await feed.switch(feed.architecture.other))
                    assert feed.settings.architecture is feed.architecture is receipts[-1].architecture
                    frames_before = feed.accounting.frames.received
                    await until(lambda: feed.accounting.frames.received > frames_before + 10)  # noqa: B023
                assert feed.switches == 10 and feed.architecture is variant.architecture
                assert all(receipt.changed for receipt in receipts)
                places = [receipt.after_frame for receipt in receipts]
                assert places == sorted(places) and places[-1] > places[0]
                await assert_right(feed, at, BTC, ETH)
                await feed.drain()
                metrics = feed.metrics()
                assert all(metrics[architecture].frames for architecture in Architecture)
                assert sum(path.frames for path in metrics.values()) == feed.accounting.frames.received
                assert not seen.gaps and not seen.errors
                numbers = [int(trade.trade_id) for trade in seen.of(Trade)]
                assert numbers == sorted(set(numbers))
                assert feed.get_performance_metrics()["switches"] == 10

        run(main())

    def test_a_scope_or_an_architecture_that_does_not_exist_is_refused(self, variant: Variant) -> None:
        async def main() -> None:
            async with ScriptedExchange() as at, live(variant, at) as (feed, _):
                with pytest.raises(SettingsError, match="unknown scope 'mine'; known: all, public, private"):
                    feed.switch("direct", scope="mine")
                with pytest.raises(SettingsError, match="needs credentials"):
                    feed.switch("direct", scope="private")
                with pytest.raises(SettingsError, match="unknown architecture"):
                    feed.switch("both")
                assert feed.architecture is variant.architecture is feed.settings.architecture
                assert not (await feed.switch(variant.architecture, scope="public")).changed

        run(main())


class TestApplying:
    def test_streams_and_architecture_change_on_the_live_connection(self, variant: Variant) -> None:
        async def main() -> None:
            async with simulated(BTC, ETH) as at, live(variant, at, channels=["trade", "spot.order_book_update"]) as (feed, seen):
                await until(lambda: BTC in feed.books and feed.books[BTC].is_live)
                other = variant.architecture.other
                wanted = msgspec.structs.replace(feed.settings, symbols=(ETH,), channels=("trade", "orderbook"), architecture=other)
                applied = await feed.apply(wanted)
                assert set(applied.subscribed) == {("spot.trades", ETH), ("spot.obu", ETH)}
                assert set(applied.unsubscribed) == {("spot.trades", BTC), ("spot.order_book_update", BTC)}
                assert applied.switch is not None and applied.switch.changed and feed.architecture is other
                assert BTC not in feed.books and feed.connects == 1
                assert await feed.apply(wanted) == Applied()
                await feed.subscribe([BTC])  # on the channels of the settings that were applied
                await assert_right(feed, at, BTC, ETH)
                (connection,) = (await at.state())["connections"]
                assert {(channel, symbol) for channel, symbol, _ in connection["subscriptions"]} == {
                    (channel, symbol) for channel in ("spot.trades", "spot.obu") for symbol in (BTC, ETH)
                }
                assert not seen.gaps

        run(main())

    def test_what_cannot_change_is_refused_and_nothing_is_done(self, variant: Variant) -> None:
        async def main() -> None:
            async with ScriptedExchange() as at, live(variant, at) as (feed, _):
                before, asked = feed.settings, len(at.asked)
                wanted = msgspec.structs.replace(before, symbols=(ETH,), close_deadline_s=1.0, websocket_url="ws://localhost:1/")
                with pytest.raises(SettingsError, match="websocket_url, close_deadline_s cannot change"):
                    await feed.apply(wanted)
                assert (feed.settings, len(at.asked)) == (before, asked)

        run(main())

    def test_a_refused_addition_leaves_everything_as_it_was(self, variant: Variant) -> None:
        async def main() -> None:
            async with simulated(BTC, ETH, SOL, faults=[f"refuse={SOL}"]) as at, live(variant, at, channels=["spot.obu"]) as (feed, seen):
                before = feed.settings
                wanted = msgspec.structs.replace(before, symbols=(ETH, SOL), architecture=variant.architecture.other)
                with pytest.raises(SubscriptionRefused, match=SOL):
                    await feed.apply(wanted)
                assert feed.settings == before and feed.architecture is variant.architecture
                await assert_right(feed, at, BTC)
                (connection,) = (await at.state())["connections"]
                assert {symbol for _, symbol, _ in connection["subscriptions"]} == {BTC}
                assert set(feed.books) == {BTC} and not seen.gaps

        run(main())

    def test_the_last_word_on_the_architecture_counts(self, variant: Variant) -> None:
        async def main() -> None:
            may_go_on = asyncio.Event()

            async def on_trade(trade: Trade) -> None:
                await may_go_on.wait()

            async with ScriptedExchange() as at, live(variant, at, channels=["trade"], callbacks={"on_trade": on_trade}) as (feed, _):
                first = feed.settings
                await at.push(frames.trade(1), frames.trade(2))
                await until(lambda: feed.accounting.frames.in_flight == 2)
                there = feed.switch(variant.architecture.other)
                back = asyncio.create_task(feed.apply(first))
                await asyncio.sleep(0)
                may_go_on.set()
                assert (await there).changed
                await back
                assert feed.architecture is variant.architecture
                withdrawn = feed.switch(variant.architecture.other)
                assert (await withdrawn).changed
                await feed.apply(first)
                assert feed.architecture is variant.architecture

        run(main())

    def test_after_a_withdrawn_switch_the_settings_still_tell_the_truth(self, variant: Variant) -> None:
        async def main() -> None:
            may_go_on = asyncio.Event()

            async def on_trade(trade: Trade) -> None:
                await may_go_on.wait()

            async with ScriptedExchange() as at, live(variant, at, channels=["trade"], callbacks={"on_trade": on_trade}) as (feed, _):
                other = variant.architecture.other
                await at.push(frames.trade(1), frames.trade(2))
                await until(lambda: feed.accounting.frames.in_flight == 2)
                assert feed.switch(other).withdraw()
                may_go_on.set()
                await feed.apply(msgspec.structs.replace(feed.settings, architecture=other))
                assert feed.architecture is other

        run(main())


class TestInsideCallbacks:
    def test_switch_and_close_return_at_once_in_a_plain_callback(self, variant: Variant) -> None:
        async def main() -> None:
            calls: list[Any] = []

            def on_trade(trade: Trade) -> None:
                if trade.trade_id == "1":
                    calls.append(feed.switch(variant.architecture.other))
                if trade.trade_id == "3":
                    calls.append(feed.close())

            async with ScriptedExchange() as at, live(variant, at, channels=["trade"], callbacks={"on_trade": on_trade}) as (feed, seen):
                await at.push(frames.trade(1), frames.trade(2), frames.trade(3), frames.trade(4))
                await until(lambda: len(calls) == 2)
                receipt = await calls[0]
                assert receipt.changed and receipt.after_frame == receipt.backlog + 1  # the acknowledgement had been handled
                await calls[1]
                assert feed.state is ConnectionState.CLOSED
                await feed.wait()
                assert not seen.errors

        run(main())

    def test_switch_and_close_return_at_once_in_an_async_callback_and_awaiting_them_raises(self, variant: Variant) -> None:
        async def main() -> None:
            raised: list[str] = []

            async def on_trade(trade: Trade) -> None:
                begins: dict[str, Callable[[], Any]] = {
                    "1": lambda: feed.switch(variant.architecture.other),
                    "2": lambda: feed.subscribe([ETH], ["trade"]),
                    "3": lambda: feed.unsubscribe([BTC], ["trade"]),
                    "4": lambda: feed.apply(feed.settings),
                    "5": lambda: feed.drain(),
                    "6": lambda: feed.close(),
                }
                try:
                    await begins[trade.trade_id]()
                except AwaitedInsideCallback as error:
                    raised.append(error.what)

            async with ScriptedExchange() as at, live(variant, at, channels=["trade"], callbacks={"on_trade": on_trade}) as (feed, seen):
                await at.push(*(frames.trade(number) for number in range(1, 7)))
                await asyncio.wait_for(feed.wait(), 5)
                await feed.close()
                assert raised == ["switch()", "subscribe()", "unsubscribe()", "apply()", "drain()", "close()"]
                assert feed.switches == 1 and not seen.errors
                assert feed.state is ConnectionState.CLOSED

        run(main())


class TestSending:
    def test_a_message_is_sent_once_and_only_subscriptions_are_sent_again(self, variant: Variant) -> None:
        async def main() -> None:
            async with ScriptedExchange() as at:
                unopened = WebSocketManager(settings_of(at))
                with pytest.raises(NotConnected):
                    await unopened.send_message({"channel": "spot.ping"})
                await unopened.close()
                async with live(variant, at, channels=["trade", "spot.obu"]) as (feed, _):
                    order = {"channel": "spot.order_place", "event": "api", "payload": {"text": "t-1"}}
                    await feed.send_message(order)
                    await until(lambda: at.asked[-1].message == order)
                    first = [request[1:] for request in at.requests if request[1] == "subscribe"]
                    at.peer.reset()
                    await until(lambda: not feed.is_connected())
                    with pytest.raises(NotConnected):
                        await feed.send_message(order)
                    await until(lambda: len([request for request in at.requests if request[0] == 2]) == len(first))
                    await feed.subscribe([ETH], ["trade"])
                    again = [request[1:] for request in at.requests if request[0] == 2]
                    assert again[:-1] == first and again[-1] == ("subscribe", "spot.trades", ["ETH_USDT"])
                with pytest.raises(NotConnected):
                    await feed.send_message(order)

        run(main())

    def test_the_venues_own_ping_is_sent(self, variant: Variant) -> None:
        async def main() -> None:
            async with ScriptedExchange() as at:
                venue = msgspec.structs.replace(settings_of(at).venue, ping_interval_s=0.02)
                settings = msgspec.structs.replace(settings_of(at, symbols=[BTC], channels=["trade"]), venue=venue)
                async with open_feed(msgspec.structs.replace(settings, architecture=variant.architecture), adapted=variant.adapted) as feed:
                    await until(lambda: [asked.message["channel"] for asked in at.asked].count("spot.ping") >= 3)
                assert_whole(feed)
                assert feed.accounting.frames.control >= 3

        run(main())


class LiveConnection(DeskConnection):
    """A customer's connection strategy: logs in and pings over ``websocket``, and never connects itself."""

    def __init__(self, ping_interval: float = 20.0, max_attempts: int = 2) -> None:
        super().__init__()
        self.ping_interval = ping_interval
        self.max_attempts = max_attempts
        self.has_connected = False
        self.socket_states: list[ConnectionState] = []

    async def connect(self) -> Any:
        self.has_connected = True

    async def create_connection_context(self) -> ConnectionContext:
        return ConnectionContext("wss://venue.invalid/ws", {"X-Key": "k"}, auth_required=True, ping_interval=self.ping_interval)

    async def authenticate(self) -> bool:
        assert self.websocket is not None
        self.socket_states.append(self.websocket.state)
        await self.websocket.send('{"login": true}')
        return True

    async def handle_heartbeat(self) -> None:
        assert self.websocket is not None
        await self.websocket.send('{"channel": "spot.ping"}')

    def get_reconnection_policy(self) -> ReconnectionPolicy:
        return ReconnectionPolicy(max_attempts=self.max_attempts, initial_delay=0.01, backoff_factor=2.0, max_delay=0.05)


def old_manager(at: ScriptedExchange, desk: Desk, connection: DeskConnection, **more: Any) -> WebSocketManager:
    """Called as the customer's code calls it."""
    strategies = WebSocketStrategySet(connection, DeskSubscription(), DeskParser())
    return WebSocketManager(settings_of(at), strategies, desk.on_message, desk.on_state, {"close_deadline_s": 2.0}, **more)


class TestOldForms:
    @pytest.mark.parametrize("more", [{}, {"use_direct_handling": False}, {"architecture": "strategy", "adapted": True}])
    def test_a_customers_set_runs_unchanged(self, more: dict[str, Any]) -> None:
        async def main() -> None:
            async with ScriptedExchange() as at:
                desk, connection, seen = Desk(), LiveConnection(0.02), frames.Seen()
                manager = WebSocketManager(
                    settings_of(at),
                    WebSocketStrategySet(connection, DeskSubscription(), DeskParser()),
                    desk.on_message,
                    desk.on_state,
                    {"close_deadline_s": 2.0},
                    **more,
                )
                assert manager.settings.close_deadline_s == 2.0 and manager.architecture is STRATEGY
                await manager.initialize([BTC], ["spot.trades"])
                await manager.subscribe([ETH])
                await until(lambda: len(at.requests) >= 2)
                assert at.asked[0].message == {"login": True}
                assert at.requests == [(1, "subscribe", "spot.trades", ["BTC_USDT"]), (1, "subscribe", "spot.trades", ["ETH_USDT"])]
                await until(lambda: any(asked.message == {"channel": "spot.ping"} for asked in at.asked))
                await at.push(frames.trade(1), frames.trade(2))
                await until(lambda: desk.trade_ids == [1, 2])
                at.peer.reset()
                await until(lambda: any(number == 2 for number, *_ in at.requests))
                again = [asked.message for asked in at.asked if asked.connection == 2 and asked.message.get("channel") != "spot.ping"]
                assert again == [
                    {"login": True},
                    {"channel": "spot.trades", "event": "subscribe", "payload": ["BTC_USDT", "ETH_USDT"]},
                ]
                await manager.unsubscribe([ETH])
                await manager.send_message({"channel": "spot.ping"})
                await until(lambda: (2, "unsubscribe", "spot.trades", ["ETH_USDT"]) in at.requests)
                await at.push(frames.trade(3))
                await until(lambda: desk.trade_ids == [1, 2, 3])
                await manager.close()
                assert not manager.is_connected() and not connection.has_connected
                assert connection.socket_states == [ConnectionState.CONNECTED] * 2
                assert connection.states == ["disconnected", "clean"]
                assert [state.value for state in desk.states] == [
                    "connecting",
                    "connected",
                    "disconnected",
                    "reconnecting",
                    "connected",
                    "closed",
                ]
                assert_whole(manager)
                assert not seen.events

        run(main())

    def test_the_same_connection_goes_over_to_direct_handling_and_back(self) -> None:
        async def main() -> None:
            async with ScriptedExchange() as at:
                desk, seen = Desk(), frames.Seen()
                manager = old_manager(at, desk, LiveConnection(), handler=handler(seen))
                await manager.initialize([BTC], ["spot.trades"])
                await at.push(frames.trade(1))
                await until(lambda: desk.trade_ids == [1])
                assert (await manager.switch(DIRECT)).changed
                await at.push(frames.trade(2))
                await until(lambda: [trade.trade_id for trade in seen.of(Trade)] == ["2"])
                await manager.switch(STRATEGY)
                await at.push(frames.trade(3))
                await until(lambda: desk.trade_ids == [1, 3])
                assert at.connections == 1
                await manager.close()
                assert_whole(manager)

        run(main())

    def test_a_message_handler_without_strategies_is_given_what_the_venues_own_parser_makes(self) -> None:
        async def main() -> None:
            async with ScriptedExchange() as at:
                handled: list[Any] = []

                async def message_handler(parsed: Any) -> None:
                    handled.append(parsed.data[0])

                manager = WebSocketManager(settings_of(at), None, message_handler, use_direct_handling=False)
                await asyncio.wait_for(manager.initialize([BTC], ["trade"]), 5)
                await until(lambda: at.requests)
                await at.push(frames.trade(1))
                await until(lambda: [message.trade_id for message in handled if isinstance(message, Trade)] == ["1"])
                await manager.close()
                assert_whole(manager)

        run(main())

    def test_contradicting_words_are_an_error(self) -> None:
        async def main() -> None:
            async with ScriptedExchange() as at:
                desk = Desk()
                for architecture in Architecture:
                    with pytest.raises(SettingsError, match="contradicts"):
                        old_manager(at, desk, LiveConnection(), architecture=architecture, use_direct_handling=architecture is STRATEGY)
                with pytest.raises(SettingsError, match="unknown settings close_deadline;"):
                    WebSocketManager(settings_of(at), manager_config={"close_deadline": 1})
                agreeing: list[tuple[dict[str, Any], Architecture]] = [
                    ({"use_direct_handling": True}, DIRECT),
                    ({"architecture": DIRECT}, DIRECT),
                    ({"architecture": "strategy", "use_direct_handling": False}, STRATEGY),
                ]
                for more, expected in agreeing:
                    assert old_manager(at, desk, LiveConnection(), **more).architecture is expected

        run(main())

    def test_the_customers_policy_says_how_often_and_its_classification_whether(self) -> None:
        class Unwilling(LiveConnection):
            def should_reconnect(self, error: Exception) -> bool:
                assert isinstance(error, ConnectionError)
                return self.classify_error(error) != "network"

        async def main() -> None:
            async with ScriptedExchange() as at:
                willing, unwilling = Desk(), Desk()
                managers = [old_manager(at, willing, LiveConnection()), old_manager(at, unwilling, Unwilling())]
                for manager in managers:
                    await manager.initialize([BTC], ["spot.trades"])
                at.stop_listening()
                for _ in managers:
                    at.peer.reset()
                    count = len(at.peers)
                    await until(lambda count=count: len(at.peers) < count)  # type: ignore[misc]
                for manager, words in zip(managers, ("2 attempts in a row without data", "network"), strict=True):
                    with pytest.raises(GaveUp, match=words):
                        await manager.wait()
                    await manager.close()
                    assert_whole(manager)
                assert [desk.states[-2:] for desk in (willing, unwilling)] == [[ConnectionState.ERROR, ConnectionState.CLOSED]] * 2

        run(main())

    @pytest.mark.parametrize("is_plain", [False, True], ids=["async", "plain"])
    @pytest.mark.parametrize("method", ["handle_heartbeat", "should_reconnect", "create_connection_context", "disconnect", "cleanup"])
    def test_what_the_set_raises_is_told_and_harms_nobody(self, method: str, is_plain: bool) -> None:
        async def main() -> None:
            async with ScriptedExchange() as at:
                seen, desk, connection = frames.Seen(), Desk(), LiveConnection(0.02, max_attempts=5)
                manager = old_manager(at, desk, connection, handler=handler(seen))
                await manager.initialize([BTC], ["spot.trades"])
                calls = 0

                def fail(*arguments: Any) -> Any:
                    nonlocal calls
                    calls += 1
                    if method in ("create_connection_context", "should_reconnect") and calls > 1:
                        return getattr(LiveConnection, method)(connection, *arguments)
                    raise LookupError("the customer's own")

                async def fail_later(*arguments: Any) -> Any:
                    return await fail(*arguments)

                setattr(connection, method, fail if is_plain or method == "should_reconnect" else fail_later)
                await until(lambda: method != "handle_heartbeat" or calls > 2)
                at.peer.reset()
                await until(lambda: manager.connects == 2 and manager.is_connected())
                await at.push(frames.trade(1))
                await until(lambda: desk.trade_ids == [1])
                await manager.close()
                assert calls and any("LookupError: the customer's own" in error.text for error in seen.errors)
                assert_whole(manager)

        run(main())

    @pytest.mark.parametrize("interval", [0, None])
    def test_without_an_interval_there_is_no_heartbeat(self, interval: Any) -> None:
        async def main() -> None:
            async with ScriptedExchange() as at:
                manager = old_manager(at, Desk(), LiveConnection(interval))
                await manager.initialize([BTC], ["spot.trades"])
                await until(lambda: len(at.asked) == 2)
                await asyncio.sleep(0.02)
                assert len(at.asked) == 2 and manager.failure is None
                await manager.close()

        run(main())

    def test_an_address_that_is_none_is_raised_as_what_it_is(self) -> None:
        class Lost(LiveConnection):
            async def create_connection_context(self) -> ConnectionContext:
                return ConnectionContext("ftp://venue.invalid", {})

        async def main() -> None:
            async with ScriptedExchange() as at:
                settings = msgspec.structs.replace(settings_of(at), websocket_url=None)
                strategies = WebSocketStrategySet(Lost(), DeskSubscription(), DeskParser())
                manager = WebSocketManager(settings, strategies, Desk().on_message)
                with pytest.raises(SettingsError, match="ftp"):
                    await manager.initialize([BTC], ["spot.trades"])
                await manager.close()

        run(main())

    def test_a_subscription_strategy_that_raises_is_told_and_asked_again(self) -> None:
        class Moody(DeskSubscription):
            fails = True

            async def create_subscription_messages(self, *arguments: Any) -> list[dict[str, Any]]:
                await asyncio.sleep(0)
                if self.fails:
                    raise LookupError("the customer's own")
                return await super().create_subscription_messages(*arguments)

        async def main() -> None:
            async with ScriptedExchange() as at:
                seen, desk, moody = frames.Seen(), Desk(), Moody()
                strategies = WebSocketStrategySet(LiveConnection(), moody, DeskParser())
                manager = WebSocketManager(settings_of(at), strategies, desk.on_message, handler=handler(seen))
                await manager.initialize([BTC], ["spot.trades"])
                assert [(error.kind, error.text) for error in seen.errors] == [("subscription messages", "LookupError: the customer's own")]
                with pytest.raises(LookupError):
                    await manager.subscribe([ETH])
                moody.fails = False
                await manager.subscribe([SOL])
                await until(lambda: at.requests == [(1, "subscribe", "spot.trades", ["BTC_USDT", "ETH_USDT", "SOL_USDT"])])
                assert manager.is_connected() and manager.failure is None
                await manager.close()
                assert_whole(manager)

        run(main())

    def test_a_login_that_fails_is_raised_and_one_that_fails_because_the_socket_is_gone_is_tried_again(self) -> None:
        class Loser(LiveConnection):
            """Loses its second socket while it logs in, and is refused on the fourth."""

            def __init__(self, at: ScriptedExchange) -> None:
                super().__init__(max_attempts=5)
                self.at = at

            async def authenticate(self) -> bool:
                await super().authenticate()
                if len(self.socket_states) == 2:
                    self.at.peer.reset()
                    await asyncio.Event().wait()
                return len(self.socket_states) != 4

        async def main() -> None:
            async with ScriptedExchange() as at:
                desk, connection = Desk(), Loser(at)
                manager = old_manager(at, desk, connection)
                await manager.initialize([BTC], ["spot.trades"])
                at.peer.reset()
                # At once, and not when the time for logging in has passed.
                await until(lambda: manager.connects == 3 and manager.state is ConnectionState.CONNECTED, within_s=5)
                at.peer.reset()
                with pytest.raises(HandshakeRefused, match="could not authenticate"):
                    await manager.wait()
                await manager.close()
                assert_whole(manager)

        run(main())

    @pytest.mark.parametrize("how", ["raises", "hangs", "is plain and raises"])
    def test_a_connection_handler_that_misbehaves_harms_nobody(self, how: str, variant: Variant) -> None:
        async def main() -> None:
            states: list[str] = []

            async def misbehaves(state: ConnectionState) -> None:
                states.append(state.value)
                if how == "hangs":
                    await asyncio.Event().wait()
                raise LookupError("the customer's own")

            def plain(state: ConnectionState) -> Any:
                states.append(state.value)
                raise LookupError("the customer's own")

            async with ScriptedExchange() as at:
                seen = frames.Seen()
                manager = WebSocketManager(
                    settings_of(at, symbols=[BTC], channels=["trade"], close_deadline_s=0.5),
                    connection_handler=plain if how == "is plain and raises" else misbehaves,
                    handler=handler(seen),
                    architecture=variant.architecture,
                    adapted=variant.adapted,
                )
                await manager.initialize()
                at.peer.reset()
                await until(lambda: manager.connects == 2 and manager.is_connected())
                await at.push(frames.trade(1))
                await until(lambda: seen.of(Trade))
                await manager.close()
                if how == "hangs":
                    assert states == ["connecting", "closed"] or states == ["connecting"]
                else:
                    assert states == ["connecting", "connected", "disconnected", "reconnecting", "connected", "closed"]
                    assert [error.kind for error in seen.errors].count("connection handler") >= 5
                assert_whole(manager)

        run(main())

    def test_the_last_state_is_told_to_a_handler_that_was_busy_with_another(self, variant: Variant) -> None:
        async def main() -> None:
            states: list[str] = []

            async def slow(state: ConnectionState) -> None:
                await asyncio.sleep(0.02)
                states.append(state.value)

            async with ScriptedExchange() as at:
                settings = settings_of(at, architecture=variant.architecture)
                async with open_feed(settings, connection_handler=slow, adapted=variant.adapted):
                    pass
            assert states == ["connecting", "connected", "closed"]

        run(main())


def handler(seen: frames.Seen) -> PublicWebSocketHandler:
    return PublicWebSocketHandler(**seen.callbacks)


class TestClosing:
    DEADLINE_S = 0.2
    #: A callback that does not give in to its cancellation is waited for a second; the rest is for a machine that is busy.
    GRACE_S, PATIENCE_S = 1.0, 3.0

    @pytest.mark.parametrize("consumer", ["sleeps", "swallows", "never returns"])
    def test_it_ends_in_time_whatever_the_consumer_does(self, consumer: str, variant: Variant) -> None:
        async def main() -> None:
            stop = asyncio.Event()

            async def on_trade(trade: Trade) -> None:
                if consumer == "sleeps":
                    await asyncio.sleep(0.02)
                elif consumer == "never returns":
                    await stop.wait()
                else:
                    try:
                        await stop.wait()
                    except asyncio.CancelledError:
                        await stop.wait()

            async with ScriptedExchange() as at:
                async with live(variant, at, channels=["trade"], callbacks={"on_trade": on_trade}, close_deadline_s=self.DEADLINE_S) as (
                    feed,
                    _,
                ):
                    await at.push(*(frames.trade(number) for number in range(1000)))
                    await until(lambda: feed.accounting.frames.received > 500)
                    begun = time.monotonic()
                    closing = feed.close()
                    await closing
                    assert time.monotonic() - begun < self.DEADLINE_S + self.GRACE_S + self.PATIENCE_S
                    assert not feed.is_connected() and feed.state is ConnectionState.CLOSED
                    accounting = feed.accounting
                    assert accounting.is_balanced
                    assert accounting.frames.shed_by_reason["closed"] > 0
                    await feed.wait()
                    stop.set()
                    await until(lambda: feed.accounting.frames.in_flight == 0)
                await until(lambda: not at.peers)

        run(main())

    def test_what_was_received_is_handled_first(self, variant: Variant) -> None:
        async def main() -> None:
            seen: list[str] = []

            async def on_trade(trade: Trade) -> None:
                await asyncio.sleep(0)
                seen.append(trade.trade_id)

            async with ScriptedExchange() as at, live(variant, at, channels=["trade"], callbacks={"on_trade": on_trade}) as (feed, _):
                await at.push(*(frames.trade(number) for number in range(500)))
                await until(lambda: feed.accounting.frames.received > 400)
                await feed.close()
                await feed.close()
                accounting = feed.accounting.frames
                assert len(seen) == accounting.delivered > 400
                assert accounting.delivered + accounting.control + accounting.shed == accounting.received

        run(main())

    def test_what_is_handled_at_the_end_begins_nothing_new(self, variant: Variant) -> None:
        async def main() -> None:
            may_go_on = asyncio.Event()

            async def on_trade(trade: Trade) -> None:
                await may_go_on.wait()

            channels = ["trade", "spot.order_book_update"]
            async with ScriptedExchange() as at, live(variant, at, channels=channels, callbacks={"on_trade": on_trade}) as (feed, seen):
                await at.push(frames.trade(1), frames.update(11, 12, [(100, 2)]))
                await until(lambda: feed.accounting.frames.in_flight == 2)
                closing = feed.close()
                may_go_on.set()
                await closing
                assert feed.accounting.frames.shed == 0 and feed.books[BTC].state is BookState.SYNCING
                assert not at.fetched and not seen.errors

        run(main())

    def test_what_comes_after_the_call_is_shed(self, variant: Variant) -> None:
        async def main() -> None:
            received: list[int] = []

            def on_trade(trade: Trade) -> None:
                if trade.trade_id == "1":
                    received.append(feed.accounting.frames.received)
                    feed.close()

            async with ScriptedExchange() as at, live(variant, at, channels=["trade"], callbacks={"on_trade": on_trade}) as (feed, _):
                await at.push(frames.trade(1), frames.trade(2), frames.trade(3))
                await until(lambda: received)
                await feed.wait()
                accounting = feed.accounting.frames
                assert accounting.delivered + accounting.control == received[0]
                assert accounting.shed_by_reason.get("closed", 0) == accounting.received - received[0]

        run(main())

    def test_a_venue_that_does_not_answer_the_close_is_left_in_time(self, variant: Variant) -> None:
        async def main() -> None:
            async with ScriptedExchange() as at, live(variant, at, close_deadline_s=self.DEADLINE_S) as (feed, _):
                await until(lambda: feed.is_connected())
                at.is_deaf = True
                begun = time.monotonic()
                await feed.close()
                assert time.monotonic() - begun < self.DEADLINE_S + self.PATIENCE_S
                assert feed.last_loss is None and not feed.is_connected()
                await until(lambda: not at.peers, within_s=1.5)

        run(main())

    def test_whoever_waits_for_an_answer_is_told(self, variant: Variant) -> None:
        async def main() -> None:
            async with ScriptedExchange() as at:
                at.answers = unanswered
                manager = WebSocketManager(settings_of(at, symbols=[BTC], channels=["trade"]), architecture=variant.architecture)
                opening = asyncio.create_task(manager.initialize())
                await until(lambda: at.asked)
                subscribing = asyncio.create_task(manager.subscribe([ETH]))
                await until(lambda: len(at.asked) == 2)
                await manager.close()
                for task in (opening, subscribing):
                    with pytest.raises(NotConnected):
                        await task
                stuck = WebSocketManager(settings_of(at, symbols=[BTC], channels=["trade"]), connect=never)
                opening = asyncio.create_task(stuck.initialize())
                await until(lambda: stuck.state is ConnectionState.CONNECTING)
                await stuck.close()
                with pytest.raises(NotConnected):
                    await opening
                with pytest.raises(SettingsError, match="closed"):
                    await manager.subscribe([ETH])

        run(main())

    def test_nothing_is_pending_afterwards(self, variant: Variant) -> None:
        async def main() -> None:
            loop = asyncio.get_running_loop()
            async with ScriptedExchange() as at:
                tasks, timers = asyncio.all_tasks(), pending_timers(loop)
                over = asyncio.Event()

                async def stuck(target: str) -> bytes:
                    await over.wait()
                    return b""

                at.rest = stuck
                async with live(variant, at, channels=["trade", "spot.order_book_update", "spot.obu"], subscribe_timeout_s=60) as (feed, _):
                    # A fetch, a repair by resubscribing, a question without an answer, and the timers that go with them.
                    await at.push(frames.update(11, 12, [(100, 2)]), frames.obu(11, 12, [(100, 2)]))
                    await until(lambda: at.fetched)
                    at.answers = unanswered
                    asking = asyncio.create_task(feed.subscribe([ETH]))
                    await until(lambda: "ETH_USDT" in str(at.asked[-1].message))
                with pytest.raises(NotConnected):
                    await asking
                over.set()
                await until(lambda: asyncio.all_tasks() == tasks and not at.peers)
                assert pending_timers(loop) == timers

        run(main())


async def never(*arguments: Any, **settings: Any) -> Any:
    await asyncio.Event().wait()


def pending_timers(loop: Any) -> int:
    return sum(not handle.cancelled() for handle in loop._scheduled)


class TestIsolation:
    def test_one_venue_dies_and_the_other_does_not_notice(self, variant: Variant) -> None:
        async def main() -> None:
            async with simulated(BTC) as healthy, live(variant, healthy) as (feed, seen), ScriptedExchange() as dying:
                policy = AT_ONCE | {"max_attempts": 3}
                async with live(variant, dying, channels=["trade"], reconnect=policy) as (doomed, its):
                    dying.stop_listening()
                    dying.peer.reset()
                    with pytest.raises(GaveUp, match="3 attempts in a row without data") as caught:
                        await asyncio.wait_for(doomed.wait(), 10)
                    assert doomed.failure is caught.value and doomed.state is ConnectionState.ERROR
                    assert [error.kind for error in its.errors] == ["disconnected", *["connect"] * 2, "gave up"]
                    with pytest.raises(GaveUp):
                        await doomed.subscribe([ETH])
                trades = len(seen.of(Trade))
                await until(lambda: len(seen.of(Trade)) > trades)
                await assert_right(feed, healthy, BTC)
                assert feed.connects == 1 and not seen.gaps and not seen.errors

        run(main())

    def test_who_waits_for_a_subscription_is_told_that_the_venue_was_given_up(self, variant: Variant) -> None:
        async def main() -> None:
            async with ScriptedExchange() as at:
                policy = AT_ONCE | {"max_restarts": 3, "max_delay_s": 0.3, "first_delay_s": 0.3}
                async with live(variant, at, channels=["trade"], reconnect=policy) as (feed, _):
                    at.stop_listening()
                    at.peer.reset()
                    await until(lambda: not feed.is_connected())
                    with pytest.raises(GaveUp, match="4 failures within"):
                        await asyncio.wait_for(feed.subscribe([ETH]), 10)
                    with pytest.raises(GaveUp):
                        await feed.wait()

        run(main())
