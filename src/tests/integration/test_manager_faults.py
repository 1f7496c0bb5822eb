"""Faults of the fault catalogue as a live feed's user meets them, in both architectures and through both adapters."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import pytest

from infrastructure.book import OrderBook
from infrastructure.clock import Clock
from infrastructure.networking.websocket.fake_transport import FakeRest, FakeVenue
from infrastructure.networking.websocket.link import Loss, LossCause
from infrastructure.networking.websocket.transport import connect
from infrastructure.networking.websocket.ws_manager import WebSocketManager
from infrastructure.simulator.ledger import Ledger
from infrastructure.simulator.market import hidden_number
from tests.harness import frames
from tests.harness.bare_server import Peer, close, on_loopback, text
from tests.harness.live import (
    BTC,
    ETH,
    SOL,
    ScriptedExchange,
    acknowledged,
    assert_right,
    assert_whole,
    live,
    refused,
    run,
    settings_of,
    simulated,
    unanswered,
    until,
)
from tests.harness.variants import Variant
from tests.harness.virtual_loop import VirtualLoop, run_virtual
from tickrail import (
    BookState,
    BookTicker,
    Candle,
    Gap,
    GapReason,
    PublicWebSocketHandler,
    SubscriptionRefused,
    SubscriptionUnanswered,
    Ticker,
    Trade,
)

#: The kind of each channel, as the exchange's log has it.
KINDS = {
    "spot.trades": "trade",
    "spot.book_ticker": "book_ticker",
    "spot.tickers": "ticker",
    "spot.candlesticks": "candle",
    "spot.obu": "orderbook",
    "spot.order_book_update": "orderbook",
}


def whole_book(last_id: int) -> bytes:
    return frames.obu(None, last_id, [(100, 1)], [(101, 1)], full=True)


class Place(NamedTuple):
    """Where an exchange is."""

    websocket_url: str
    rest_url: str


NOWHERE = Place("wss://venue.invalid/", "https://venue.invalid")


class Order:
    """Everything that was called back, in one line; ``blocked`` holds up every trade while it is set."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.may_go_on = asyncio.Event()

    @property
    def callbacks(self) -> dict[str, Any]:
        return {
            "on_trade": self.on_trade,
            "on_gap": lambda gap: self.events.append(f"gap {gap.channel} {gap.symbol}"),
            "on_error": lambda error: self.events.append(error.kind),
        }

    async def on_trade(self, trade: Trade) -> None:
        await self.may_go_on.wait()
        self.events.append(trade.trade_id)


class TestLosses:
    """N1, N2, P7: how a connection ends is told, and what was announced is all that is missing."""

    @pytest.mark.parametrize(
        ("end", "words", "code"),
        [("reset", "reset", None), ("fin", "ended without a close frame", None), ("close", "closed by the venue (1012): restart", "1012")],
    )
    def test_the_cause_and_one_gap_for_each_stream_are_told_and_nothing_of_half_a_frame(
        self, variant: Variant, end: str, words: str, code: str | None
    ) -> None:
        async def finish(peer: Peer) -> None:
            half = text(frames.trade(2))[:-10]
            if end == "close":
                await peer.send(close(1012, b"restart"))
                return
            await peer.send(half)
            await asyncio.sleep(0.02)
            if end == "fin":
                peer.end()
            else:
                peer.reset()

        async def main() -> None:
            async with ScriptedExchange() as at, live(variant, at, symbols=[BTC, ETH], channels=["trade", "spot.obu"]) as (feed, seen):
                await at.push(frames.trade(1), whole_book(10))
                await until(lambda: seen.books and feed.accounting.frames.in_flight == 0)
                book = feed.books[BTC]
                states_when_told: list[BookState] = []
                seen.events.clear()
                await finish(at.peer)
                await until(lambda: seen.errors)
                states_when_told.append(book.state)
                await until(lambda: feed.connects == 2 and len(at.requests) == 6)
                (error,) = seen.errors
                assert (error.kind, error.code) == ("disconnected", code) and error.text.startswith(words)
                assert {(gap.channel, gap.symbol, gap.reason) for gap in seen.gaps} == {
                    (channel, symbol, GapReason.DISCONNECTED)
                    # Of ETH's book nothing had come: there is no interval that could be missing.
                    for channel, symbol in (("spot.trades", BTC), ("spot.trades", ETH), ("spot.obu", BTC))
                }
                assert len(seen.gaps) == 3
                assert states_when_told == [BookState.STALE] and not seen.of(Trade)
                assert feed.last_loss is not None and str(feed.last_loss).startswith(words)
                await at.push(frames.trade(3), whole_book(20))
                await until(lambda: book.is_live)
                assert book.last_id == 20 and [trade.trade_id for trade in seen.of(Trade)] == ["3"]

        run(main())

    def test_an_interval_that_no_data_ended_gets_no_second_gap(self, variant: Variant) -> None:
        async def main() -> None:
            async with ScriptedExchange() as at, live(variant, at, channels=["trade", "spot.obu"]) as (feed, seen):
                await at.push(frames.trade(1), whole_book(10))
                await until(lambda: seen.books)
                for number in range(2, 6):
                    at.peer.reset()
                    await until(lambda: feed.connects == number and len(at.requests) == 2 * number)  # noqa: B023
                    if number == 4:
                        await at.push(frames.trade(2))
                        await until(lambda: len(seen.of(Trade)) == 2)
                assert [error.kind for error in seen.errors] == ["disconnected"] * 4
                assert [gap.channel for gap in seen.gaps] == ["spot.obu", "spot.trades", "spot.trades"]

        run(main())


class Longest(random.Random):
    """Every wait is as long as it may be."""

    def uniform(self, a: float, b: float) -> float:
        return b


class TestFlapping:
    """N15: the delays start over only once data has flowed for a while."""

    MINUTES = 10.0

    def test_a_venue_that_accepts_sends_a_little_and_drops_is_not_stormed(self, variant: Variant) -> None:
        async def main() -> tuple[list[float], WebSocketManager, int]:
            loop = asyncio.get_running_loop()
            assert isinstance(loop, VirtualLoop)
            venue = FakeVenue(answers_of(acknowledged))
            seen = frames.Seen()
            manager = WebSocketManager(
                settings_of(
                    Place("wss://venue.invalid/", "https://venue.invalid"),
                    symbols=[BTC],
                    channels=["trade"],
                    reconnect={"max_restarts": 10_000},
                ),
                architecture=variant.architecture,
                adapted=variant.adapted,
                handler=PublicWebSocketHandler(**seen.callbacks),
                connect=venue,
                rest=FakeRest(lambda path, query: frames.instruments(BTC)),
                clock=loop.clock,
                chance=loop.chance,
            )
            await manager.initialize()
            while loop.time() < self.MINUTES * 60:
                await asyncio.sleep(0.5)
                transport = venue.transports[-1]
                if transport.is_open:
                    transport.deliver(frames.trade(len(venue.attempts)))
                    await asyncio.sleep(0.5)
                    transport.lose(Loss(LossCause.CUT))
            await manager.close()
            assert_whole(manager)
            # Each interval has its Gap: the trade between two of them ended the one before.
            assert abs(len(seen.gaps) - len(seen.of(Trade))) <= 1
            return [attempt.at_s for attempt in venue.attempts], manager, len(seen.of(Trade))

        attempts, _, trades = run_virtual(7, main())
        # A wait of 30 s at most, 15 s on average, once the first few have passed.
        assert 25 < len(attempts) < 70 and trades > 20
        late = [later - earlier for earlier, later in pairwise(attempts) if earlier > 120]
        assert sum(late) / len(late) > 8


def answers_of(answers: Callable[[dict[str, Any]], list[bytes]]) -> Callable[[str], list[bytes]]:
    return lambda sent: answers(json.loads(sent))


class TestAnswers:
    """P15: what the venue does not say is not believed."""

    def test_a_subscription_without_an_answer_is_asked_once_more_and_then_raised(self, variant: Variant) -> None:
        async def main() -> None:
            async with simulated(BTC, ETH, faults=["unanswered=spot.tickers"]) as at:
                async with live(variant, at, channels=["trade"], subscribe_timeout_s=0.3) as (feed, seen):
                    subscribing = asyncio.create_task(feed.subscribe([ETH], ["ticker"]))
                    await asyncio.sleep(0.4)
                    assert not subscribing.done() and "acknowledged=0" in repr(feed) and "asked=1" in repr(feed)
                    with pytest.raises(SubscriptionUnanswered, match=r"spot.tickers of ETH/USDT within 0.6 s"):
                        await subscribing
                    assert [(error.kind, error.channel) for error in seen.errors] == [("unanswered", "spot.tickers")]
                    (connection,) = (await at.state())["connections"]
                    assert connection["requests"] == {"subscribe": 3}  # of the trades, and twice of the ticker
                    await asyncio.sleep(0.4)
                    (connection,) = (await at.state())["connections"]
                    assert connection["requests"] == {"subscribe": 3} and connection["subscriptions"] == [["spot.trades", BTC, ""]]
                    trades = len(seen.of(Trade))
                    await until(lambda: len(seen.of(Trade)) > trades)
                with pytest.raises(SubscriptionUnanswered):
                    async with live(variant, at, channels=["ticker"], subscribe_timeout_s=0.1):
                        raise AssertionError("it was opened")

        run(main())

    def test_what_was_ended_meanwhile_is_not_asked_for_again(self, variant: Variant) -> None:
        async def main() -> None:
            async with ScriptedExchange() as at, live(variant, at, symbols=[], channels=["trade"], subscribe_timeout_s=0.2) as (feed, _):
                at.answers = lambda request: [] if request["event"] == "subscribe" else acknowledged(request)
                subscribing = asyncio.create_task(feed.subscribe([BTC, ETH]))
                await until(lambda: at.requests)
                await feed.unsubscribe([BTC])
                with pytest.raises(Exception, match="ended meanwhile|did not answer"):
                    await subscribing
                await until(lambda: len(at.requests) == 3)
                assert at.requests[-1] == (1, "subscribe", "spot.trades", ["ETH_USDT"])

        run(main())

    def test_a_limit_is_raised_in_the_venues_words(self, variant: Variant) -> None:
        async def main() -> None:
            async with ScriptedExchange() as at, live(variant, at, channels=["trade"]) as (feed, seen):
                at.answers = refused
                with pytest.raises(SubscriptionRefused, match="no more than 30 subscriptions") as caught:
                    await feed.subscribe([ETH, SOL])
                assert caught.value.symbols == (ETH, SOL) and caught.value.code == "2"
                await at.push(frames.trade(1))
                await until(lambda: seen.of(Trade))
                assert "wanted=0" in repr(feed)

        run(main())


class TestStaleSnapshots:
    """X4: a venue whose REST books come from an old cache."""

    def test_it_is_asked_again_until_the_book_bridges(self, variant: Variant) -> None:
        async def main() -> None:
            async with simulated(BTC, faults=["stale=3"]) as at, live(variant, at, channels=["spot.order_book_update"]) as (feed, seen):
                await assert_right(feed, at, BTC)
                state = await at.state()
                assert state["faults"]["stale"] == 3 and state["requests"]["/api/v4/spot/order_book"] == 4
                assert not seen.gaps

        run(main())

    def test_one_that_never_gets_newer_is_asked_a_few_times_a_minute(self, variant: Variant) -> None:
        async def main() -> None:
            loop: Any = asyncio.get_running_loop()
            async with ScriptedExchange() as at:
                manager = WebSocketManager(
                    settings_of(at, symbols=[BTC], channels=["spot.order_book_update"]),
                    architecture=variant.architecture,
                    adapted=variant.adapted,
                    connect=partial(connect, resolve=on_loopback),
                    clock=Clock(loop.monotonic_ns),
                    chance=random.Random(4),
                )
                await manager.initialize()
                await at.push(frames.update(21, 22, [(100, 2)]))
                counts = []
                for _ in range(5):
                    before = len(at.fetched)
                    await asyncio.sleep(60)
                    counts.append(len(at.fetched) - before)
                assert 5 < counts[0] < 25 and all(1 < count < 20 for count in counts[1:]), counts
                assert manager.books[BTC].state is BookState.SYNCING and manager.is_connected()
                await manager.close()
                assert_whole(manager)

        run(main(), "jumping")


class TestCuts:
    """X13, contract 13: what callbacks saw is what the venue sent, minus intervals each covered by exactly one Gap."""

    def test_over_cuts_in_the_middle_of_frames_while_switching(self, variant: Variant) -> None:
        async def main() -> None:
            ledger, between = Ledger(), Checker()
            async with simulated(BTC, ETH, rate=1500, faults=["drop=300"]) as at:
                channels = ["trade", "book_ticker", "ticker", "candle"]
                at.websocket_url = at.logged_url("cuts")
                async with live(variant, at, symbols=[BTC, ETH], channels=channels, callbacks=noting(ledger, between)) as (feed, _):
                    await feed.subscribe([BTC], ["spot.obu"])
                    await feed.subscribe([ETH], ["spot.order_book_update"])
                    await until(lambda: len(feed.books) == 2 and all(book.is_live for book in feed.books.values()))
                    for round_ in range(24):
                        await asyncio.sleep(0.05)
                        feed.switch(feed.architecture.other)
                        if round_ % 4 == 3:
                            await until(lambda: not between.open)
                            connects = feed.connects
                            await at.fault("cut")
                            await until(lambda: feed.connects > connects)  # noqa: B023
                    await at.fault("clear")
                    await asyncio.sleep(0.1)
                    for stream, number in await at.log("cuts"):
                        ledger.sent(stream, number)
                    await assert_right(feed, at, BTC, ETH)
                    await at.pause()
                    await asyncio.sleep(0.05)
                    await feed.drain()
                    for stream, number in await at.log("cuts"):
                        ledger.sent(stream, number)
                    ledger.finish()
                    assert ledger.is_clean, ledger.findings
                    assert feed.connects == 7 and feed.switches >= 20
                    assert between.problems == []
                    losses, holes = between.gaps[GapReason.DISCONNECTED], between.gaps[GapReason.SEQUENCE]
                    assert losses["spot.trades", BTC] == losses["spot.trades", ETH] == 6
                    # A loss may fall into the interval of a hole.
                    for book in (("spot.obu", BTC), ("spot.order_book_update", ETH)):
                        assert 6 - holes[book] <= losses[book] <= 6

        run(main())


class Checker:
    """Of each stream: no Gap may follow another before data ended the first."""

    def __init__(self) -> None:
        self.gaps: dict[GapReason, Counter[tuple[str | None, str | None]]] = {reason: Counter() for reason in GapReason}
        self.problems: list[Gap] = []
        #: The streams whose Gap no data has ended.
        self.open: set[tuple[str | None, str | None]] = set()

    def data(self, channel: str, symbol: str) -> None:
        self.open.discard((channel, symbol))

    def gap(self, gap: Gap) -> None:
        stream = (gap.channel, gap.symbol)
        if stream in self.open:
            self.problems.append(gap)
        self.open.add(stream)
        self.gaps[gap.reason][stream] += 1


def noting(ledger: Ledger, between: Checker) -> dict[str, Any]:
    def seen(channel: str, symbol: str, number: int) -> None:
        between.data(channel, symbol)
        ledger.seen((KINDS[channel], symbol), number)

    def on_orderbook(book: OrderBook) -> None:
        between.data(book.channel, book.symbol)
        ledger.seen(("orderbook", book.symbol), book.last_id or 0, covers_earlier=book.changes.is_full)

    def on_gap(gap: Gap) -> None:
        between.gap(gap)
        ledger.gap(KINDS[gap.channel or ""], gap.symbol)

    def on_trade(trade: Trade) -> None:
        seen("spot.trades", trade.symbol, hidden_number(trade.amount))

    def on_book_ticker(ticker: BookTicker) -> None:
        seen("spot.book_ticker", ticker.symbol, ticker.update_id or 0)

    def on_ticker(ticker: Ticker) -> None:
        seen("spot.tickers", ticker.symbol, hidden_number(ticker.base_volume))

    def on_candle(candle: Candle) -> None:
        seen("spot.candlesticks", candle.symbol, hidden_number(candle.base_volume))

    callbacks = (on_orderbook, on_gap, on_trade, on_book_ticker, on_ticker, on_candle)
    return {callback.__name__: callback for callback in callbacks}


class TestEarlierEpochs:
    """S4, and what belongs to a connection that is gone."""

    def test_a_switch_during_a_reconnect_comes_before_the_gap_and_after_what_was_received(self, variant: Variant) -> None:
        async def main() -> None:
            order = Order()
            async with ScriptedExchange() as at, live(variant, at, channels=["trade"], callbacks=order.callbacks) as (feed, _):
                await at.push(*(frames.trade(number) for number in range(1, 6)))
                await until(lambda: feed.accounting.frames.received == 6)
                at.peer.reset()
                await until(lambda: feed.connects == 2)
                switch = feed.switch(variant.architecture.other)
                back = feed.switch(variant.architecture)
                again = feed.switch(variant.architecture.other)
                await asyncio.sleep(0.05)
                # What was received is not handled yet: the new connection must not be asked for anything.
                assert [request for request in at.requests if request[0] == 2] == [] and order.events == []
                order.may_go_on.set()
                receipts = [await switch, await back, await again]
                assert [receipt.after_frame for receipt in receipts] == [6, 6, 6] and all(receipt.changed for receipt in receipts)
                assert order.events == ["1", "2", "3", "4", "5", "disconnected", "gap spot.trades BTC/USDT"]
                await until(lambda: len(at.requests) == 2)
                await at.push(frames.trade(6))
                await until(lambda: order.events[-1] == "6")
                assert [feed.metrics()[kind].frames for kind in (variant.architecture, variant.architecture.other)] == [6, 2]

        run(main())

    def test_answers_to_the_last_connection_are_none_to_this_one(self, variant: Variant) -> None:
        async def main() -> None:
            order = Order()
            async with ScriptedExchange() as at, live(variant, at, channels=["trade"], callbacks=order.callbacks) as (feed, _):
                await at.push(frames.trade(1))
                held: list[dict[str, Any]] = []
                at.answers = lambda request: held.append(request) or []  # type: ignore[func-returns-value]
                subscribing = [asyncio.create_task(feed.subscribe([symbol])) for symbol in (ETH, SOL)]
                await until(lambda: len(held) == 2)
                # The last first, and one for something that nobody asked.
                strange = held[0] | {"id": 77, "payload": ["ADA_USDT"]}
                await at.push(*(raw for request in (strange, held[1], held[0]) for raw in acknowledged(request)))
                await until(lambda: feed.accounting.frames.in_flight == 4)
                at.answers = unanswered
                at.peer.reset()
                await until(lambda: feed.connects == 2)
                late = asyncio.create_task(feed.subscribe(["XRP/USDT"]))
                await asyncio.sleep(0.05)
                order.may_go_on.set()
                await until(lambda: len([request for request in at.requests if request[0] == 2]) >= 1)
                await asyncio.sleep(0.05)
                (again,) = [request for request in at.requests if request[0] == 2]
                assert again == (2, "subscribe", "spot.trades", ["BTC_USDT", "ETH_USDT", "SOL_USDT", "XRP_USDT"])
                assert "asked=4 acknowledged=0 flowing=0" in repr(feed)
                assert not late.done()
                await asyncio.gather(*subscribing)  # The venue did agree, on the connection before.
                await at.push(*acknowledged(at.asked[-1].message))
                await late
                assert "acknowledged=4" in repr(feed)

        run(main())

    def test_a_snapshot_for_the_last_connection_is_no_book_of_this_one(self, variant: Variant) -> None:
        async def main() -> None:
            answers: list[asyncio.Future[bytes]] = []

            async def rest(target: str) -> bytes:
                answers.append(asyncio.get_running_loop().create_future())
                return await answers[-1]

            async with ScriptedExchange() as at, live(variant, at, channels=["spot.order_book_update"]) as (feed, seen):
                at.rest = rest
                await at.push(frames.update(11, 12, [(100, 2)]))
                await until(lambda: len(answers) == 1)
                at.peer.reset()
                await until(lambda: feed.connects == 2 and len(at.requests) == 2)
                await at.push(frames.update(21, 22, [(100, 3)]))
                await until(lambda: len(answers) == 2)
                # It would bridge: ids alone do not tell that it was asked for before the loss.
                answers[0].set_result(frames.rest_book(20, [(90, 1)]))
                await asyncio.sleep(0.1)
                assert feed.books[BTC].state is BookState.SYNCING and not seen.books
                answers[1].set_result(frames.rest_book(21, [(95, 1)]))
                await until(lambda: feed.books[BTC].is_live)
                assert feed.books[BTC].bids == [(100.0, 3.0), (95.0, 1.0)]

        run(main())

    def test_a_snapshot_that_overtakes_the_end_of_its_connection_is_dropped(self, variant: Variant) -> None:
        async def main() -> None:
            order = Order()
            answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

            async def rest(target: str) -> bytes:
                return await asyncio.shield(answer)

            channels = ["trade", "spot.order_book_update"]
            async with ScriptedExchange() as at, live(variant, at, channels=channels, callbacks=order.callbacks) as (feed, seen):
                at.rest = rest
                await at.push(frames.update(11, 12, [(100, 2)]), frames.trade(1))
                await until(lambda: at.fetched and feed.accounting.frames.in_flight == 1)
                at.peer.reset()
                await until(lambda: feed.connects == 2)
                answer.set_result(frames.rest_book(11))
                await asyncio.sleep(0.1)
                order.may_go_on.set()
                await until(lambda: len([request for request in at.requests if request[0] == 2]) == 2)
                assert feed.books[BTC].state is BookState.STALE and not seen.books

        run(main())

    def test_a_repair_of_the_last_connection_ends_with_it(self, variant: Variant) -> None:
        async def main() -> None:
            async with ScriptedExchange() as at:
                seen = frames.Seen()
                manager = WebSocketManager(
                    settings_of(at, symbols=[BTC], channels=["spot.obu"], subscribe_timeout_s=0.1),
                    architecture=variant.architecture,
                    adapted=variant.adapted,
                    handler=PublicWebSocketHandler(**seen.callbacks),
                    chance=Longest(),
                )
                await manager.initialize()
                await at.push(whole_book(10), frames.obu(12, 12, [(100, 2)]))
                # Subscribed, subscribed anew in vain, and about to be once more.
                await until(lambda: any(error.kind == "repair" for error in seen.errors))
                assert [request[1] for request in at.requests] == ["subscribe", "unsubscribe", "subscribe"]
                at.peer.reset()
                await until(lambda: manager.connects == 2 and any(request[0] == 2 for request in at.requests))
                await at.push(whole_book(20), frames.obu(21, 21, [(100, 2)]))
                await until(lambda: manager.books[BTC].is_live)
                await asyncio.sleep(0.4)
                assert [request[1] for request in at.requests if request[0] == 2] == ["subscribe"]
                assert manager.books[BTC].last_id == 21
                # One for the hole; the loss fell into the same interval.
                assert [gap.reason for gap in seen.gaps] == [GapReason.SEQUENCE]
                await manager.close()
                assert_whole(manager)

        run(main())

    def test_a_book_whose_new_subscription_the_venue_refuses_is_left_alone(self, variant: Variant) -> None:
        async def main() -> None:
            async with ScriptedExchange() as at, live(variant, at, channels=["spot.obu"], subscribe_timeout_s=0.05) as (feed, seen):
                at.answers = lambda request: refused(request) if request["event"] == "subscribe" else acknowledged(request)
                await at.push(whole_book(10), frames.obu(12, 12, [(100, 2)]))
                await until(lambda: seen.errors)
                await asyncio.sleep(0.3)
                assert [error.kind for error in seen.errors] == ["refused"]
                assert feed.books[BTC].state is BookState.GAP and len(at.requests) == 3
                at.answers = acknowledged
                await feed.subscribe([BTC])
                await at.push(whole_book(20))
                await until(lambda: feed.books[BTC].is_live)

        run(main())

    def test_subscribing_anew_is_tried_again_until_a_whole_book_comes(self, variant: Variant) -> None:
        async def main() -> None:
            async with ScriptedExchange() as at, live(variant, at, channels=["spot.obu"], subscribe_timeout_s=0.1) as (feed, seen):
                await at.push(whole_book(10), frames.obu(12, 12, [(100, 2)]))
                await until(lambda: len(at.requests) == 5)
                assert feed.books[BTC].state is BookState.GAP
                await at.push(whole_book(20))
                await until(lambda: feed.books[BTC].is_live)
                assert {(error.kind, error.text) for error in seen.errors} == {("repair", "no whole book came within 0.1 s")}
                assert [gap.reason for gap in seen.gaps] == [GapReason.SEQUENCE]

        run(main())
