"""What a manager makes of streams that fall silent, of clocks that jump and of books that are wrong, over its own connections."""

import asyncio
import inspect
import json
import random
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from msgspec.structs import replace

from infrastructure.audit import MISMATCHES
from infrastructure.book import OrderBook
from infrastructure.clock import Clock
from infrastructure.errors import GaveUp
from infrastructure.exchanges import venue_named
from infrastructure.freshness import Freshness
from infrastructure.networking.websocket.fake_transport import FakeRest, FakeTransport, FakeVenue
from infrastructure.networking.websocket.link import LossCause
from infrastructure.networking.websocket.settings import ExchangeSettings
from infrastructure.networking.websocket.ws_manager import WebSocketManager
from infrastructure.simulator.ledger import Ledger
from infrastructure.simulator.market import hidden_number
from tests.harness import frames
from tests.harness.bare_server import text
from tests.harness.frames import Pairs, Seen
from tests.harness.live import (
    BTC,
    ETH,
    ScriptedExchange,
    acknowledged,
    assert_right,
    assert_whole,
    live,
    run,
    settings_of,
    simulated,
    until,
)
from tests.harness.variants import Variant
from tests.harness.virtual_loop import VirtualLoop, run_virtual
from tickrail import Architecture, BookState, BookStateChange, ErrorEvent, Gap, GapReason, PublicWebSocketHandler, Trade

BOOK, TRADES, TICKER = "spot.order_book_update", "spot.trades", "spot.book_ticker"
SECOND = 10**9
HOUR = 3600 * SECOND
#: Unix time at which virtual time begins.
BEGAN_S = 1_700_000_000
#: A rhythm is known after a minute and a half; what is not said is as users have it.
FRESHNESS = {"learn_s": 60, "window_s": 10}
LEARNT_S = 100.0
#: From one round of the market to the next.
ROUND_S = 0.2

Stream = tuple[str, str]


def pair_of(symbol: str) -> str:
    return symbol.replace("/", "_")


class Scene:
    """A manager at a venue without sockets in virtual time, and a market that goes on there.

    In each round every pair has a trade and a change of its book. What is in ``muted`` does not come, though the rest does; of a stream
    in ``thinned`` one of so many comes, a change of a book with what those before it would have brought.
    """

    def __init__(
        self,
        variant: Variant,
        symbols: Sequence[str] = (BTC, ETH),
        channels: Sequence[str] = (BOOK, TRADES),
        *,
        per_connection: int | None = None,
        handler: PublicWebSocketHandler | None = None,
        **settings: Any,
    ) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        self.loop = loop
        self.symbols = symbols
        self.seen = Seen()
        self.venue = FakeVenue(self._acknowledged)
        #: Requests that get no answer.
        self.unanswered: set[str] = set()
        self.rest = FakeRest(self._answer)
        #: How far the wall clock was moved, and for how long the program stood still.
        self.moved_ns = self.asleep_ns = 0
        self.muted: set[Stream] = set()
        self.thinned: dict[Stream, int] = {}
        self.last_ids = dict.fromkeys(symbols, 1000)
        #: When the last message of each stream was sent, in Unix nanoseconds.
        self.sent_ns: dict[Stream, int] = {}
        self._shown_ids = dict(self.last_ids)
        self._numbers = 0
        self._read: dict[FakeTransport, int] = {}
        self._asked: dict[FakeTransport, list[tuple[str, str, str]]] = {}
        self._streams: dict[FakeTransport, set[Stream]] = {}
        spot = venue_named("gateio_spot")
        limits = replace(spot.limits, subscriptions_per_connection=per_connection)
        self.manager = WebSocketManager(
            ExchangeSettings(venue=replace(spot, limits=limits), symbols=tuple(symbols), channels=tuple(channels), **settings),
            architecture=variant.architecture,
            adapted=variant.adapted,
            handler=handler or PublicWebSocketHandler(**self.seen.callbacks),
            connect=self.venue,
            rest=self.rest,
            clock=Clock(
                loop.monotonic_ns,
                BEGAN_S * SECOND,
                elapsed_ns=lambda: loop.monotonic_ns() + self.asleep_ns,
                wall_ns=lambda: BEGAN_S * SECOND + loop.monotonic_ns() + self.moved_ns,
            ),
            chance=loop.chance,
        )

    @property
    def now_ns(self) -> int:
        return BEGAN_S * SECOND + self.loop.monotonic_ns()

    @property
    def now_ms(self) -> int:
        return self.now_ns // 10**6

    def asked(self, transport: FakeTransport) -> list[tuple[str, str, str]]:
        """What was asked on a connection so far: event, channel and pair."""
        asked = self._asked.setdefault(transport, [])
        for sent in transport.sent[self._read.get(transport, 0) :]:
            message = json.loads(sent)
            if message.get("event") in ("subscribe", "unsubscribe"):
                pairs = message["payload"][:1] if message["channel"] == BOOK else message["payload"]
                asked += [(message["event"], message["channel"], pair) for pair in pairs]
        self._read[transport] = len(transport.sent)
        return asked

    def carriers(self, channel: str, symbol: str) -> list[FakeTransport]:
        """The open connections on which a stream is subscribed."""
        return [transport for transport in self.venue.transports if transport.is_open and (channel, symbol) in self._subscribed(transport)]

    def _subscribed(self, transport: FakeTransport) -> set[Stream]:
        subscribed = self._streams.setdefault(transport, set())
        if len(transport.sent) > self._read.get(transport, 0):
            subscribed.clear()
            for event, channel, pair in self.asked(transport):
                (subscribed.add if event == "subscribe" else subscribed.discard)((channel, pair.replace("_", "/")))
        return subscribed

    def round(self) -> None:
        """Something happens in every market."""
        for symbol in self.symbols:
            self.trade(symbol)
            self.change(symbol)

    def trade(self, symbol: str) -> None:
        self._numbers += 1
        self._send((TRADES, symbol), trade(self.now_ms, self._numbers, symbol))

    def change(self, symbol: str) -> None:
        """The best bid has another amount."""
        self.last_ids[symbol] = last_id = self.last_ids[symbol] + 1
        if last_id % self.thinned.get((BOOK, symbol), 1):
            return
        first_id, self._shown_ids[symbol] = self._shown_ids[symbol] + 1, last_id
        self._send((BOOK, symbol), update(self.now_ms, first_id, last_id, [(100, last_id)], symbol=symbol))

    def quote(self, symbol: str, bid: float = 100.0) -> None:
        """The best bid and ask as of the last change of the book."""
        last_id = self.last_ids[symbol]
        result = {"t": self.now_ms, "u": last_id, "s": pair_of(symbol), "b": str(bid), "B": str(last_id), "a": "101", "A": "1"}
        self._send((TICKER, symbol), frames.push(TICKER, result, time_ms=self.now_ms))

    async def run(self, seconds: float) -> None:
        """Let the markets go on for so long."""
        await self.until(lambda: False, seconds, may_fail=True)

    async def until(self, condition: Callable[[], object], within_s: float = 60.0, *, may_fail: bool = False) -> None:
        """Let the markets go on until ``condition`` holds."""
        ends = self.loop.time() + within_s - ROUND_S / 2
        while not condition():
            if self.loop.time() >= ends:
                assert may_fail, "the condition never came to hold"
                return
            self.round()
            await asyncio.sleep(ROUND_S)

    async def begin(self) -> None:
        """Open the manager, and let every stream flow."""
        await self.manager.initialize()
        await self.until(lambda: len(self.books) == len(self.symbols) and all(book.is_live for book in self.books.values()))
        self.seen.events.clear()

    @property
    def books(self) -> Mapping[str, OrderBook]:
        return self.manager.books

    @property
    def gaps(self) -> list[tuple[str | None, str | None, GapReason]]:
        return [(gap.channel, gap.symbol, gap.reason) for gap in self.seen.gaps]

    def told(self, kind: str) -> list[ErrorEvent]:
        return [error for error in self.seen.errors if error.kind == kind]

    async def assert_right(self) -> None:
        """Every book is live and as the venue has it."""
        await self.manager.drain()
        for symbol in self.symbols:
            book, last_id = self.books[symbol], self.last_ids[symbol]
            assert (book.state, book.last_id, book.bids) == (BookState.LIVE, last_id, [(100.0, float(last_id))]), symbol

    def _send(self, stream: Stream, raw: bytes) -> None:
        if stream in self.muted:
            return
        for transport in self.carriers(*stream):
            self.sent_ns[stream] = self.now_ns
            transport.deliver(raw)

    def _acknowledged(self, sent: str) -> list[bytes]:
        request = json.loads(sent)
        return [] if request.get("event") in self.unanswered else acknowledged(request)

    def _answer(self, path: str, query: Mapping[str, str]) -> bytes:
        if "currency_pair" not in query:
            return frames.instruments(*self.symbols)
        last_id = self.last_ids[query["currency_pair"].replace("_", "/")]
        return frames.rest_book(last_id, [(100, last_id)])


def trade(time_ms: int, number: int, symbol: str) -> bytes:
    result = {"id": number, "create_time": time_ms // 1000, "create_time_ms": f"{time_ms}.5", "side": "buy"}
    return frames.push(TRADES, result | {"currency_pair": pair_of(symbol), "amount": "0.25", "price": "100.5"}, time_ms=time_ms)


def update(time_ms: int, first_id: int, last_id: int, bids: Pairs, *, symbol: str) -> bytes:
    result = {"t": time_ms, "e": "depthUpdate", "E": time_ms // 1000, "s": pair_of(symbol), "U": first_id, "u": last_id, "a": []}
    return frames.push(BOOK, result | {"b": [[str(price), str(amount)] for price, amount in bids]}, time_ms=time_ms)


def play(story: Callable[[Scene], Coroutine[Any, Any, None]], variant: Variant, seed: int = 1, **settings: Any) -> None:
    """Run a story in virtual time; at its end the manager is closed, and both its accounts must be right."""

    async def main() -> None:
        scene = Scene(variant, **settings)
        try:
            await story(scene)
        finally:
            await scene.manager.close()
        assert_whole(scene.manager)

    run_virtual(seed, main())


class TestSilence:
    """N4: pongs come, and other streams, but not this one."""

    def test_a_mute_stream_is_asked_for_anew_then_moved_then_connected_anew_and_no_other_notices(self, variant: Variant) -> None:
        async def story(scene: Scene) -> None:
            await scene.begin()
            await scene.run(LEARNT_S)
            assert (scene.seen.errors, scene.seen.gaps) == ([], [])
            (first,) = scene.venue.transports
            before = len(scene.asked(first))
            scene.muted = {(BOOK, BTC)}
            await scene.until(lambda: scene.told("mute"))
            (alarm,) = scene.told("mute")
            assert (alarm.channel, alarm.symbol) == (BOOK, BTC) and alarm.text.endswith("others go on: resubscribe")
            assert 15 * SECOND < alarm.received_ns - scene.sent_ns[BOOK, BTC] <= 16 * SECOND
            assert scene.gaps == [(BOOK, BTC, GapReason.SILENT)] and scene.books[BTC].state is BookState.GAP
            await scene.run(2)
            anew = [("unsubscribe", BOOK, "BTC_USDT"), ("subscribe", BOOK, "BTC_USDT")]
            assert (scene.asked(first)[before:], len(scene.venue.transports)) == (anew, 1)
            await scene.until(lambda: len(scene.venue.transports) == 2)
            await scene.run(1)
            second = scene.venue.transports[1]
            assert scene.asked(first)[before:] == [*anew, anew[0]] and scene.asked(second) == [anew[1]]
            assert scene.told("mute")[-1].text.endswith("others go on: move") and scene.manager.connections == 2
            await scene.until(lambda: len(scene.venue.transports) == 3)
            await scene.run(1)
            assert scene.told("mute")[-1].text.endswith(": reconnect") and len(scene.told("mute")) == 3
            assert first.is_open and second.loss is not None and second.loss.cause is LossCause.SILENT
            assert scene.asked(scene.venue.transports[2]) == [anew[1]]
            assert scene.gaps == [(BOOK, BTC, GapReason.SILENT)] and not scene.told("recovered")
            assert scene.books[BTC].state is not BookState.LIVE and scene.books[ETH].is_live
            scene.muted = set()
            await scene.until(lambda: scene.told("recovered"))
            assert [(error.channel, error.symbol) for error in scene.told("recovered")] == [(BOOK, BTC)]
            await scene.assert_right()
            await scene.run(LEARNT_S)
            await scene.assert_right()
            assert [error.kind for error in scene.seen.errors] == ["mute", "mute", "mute", "disconnected", "recovered"]
            assert len(scene.gaps) == 1 and scene.manager.connects == 3

        play(story, variant, freshness=FRESHNESS)

    def test_the_watchdog_takes_the_copies_from_which_recent_metrics_are_made(self, variant: Variant) -> None:
        async def story(scene: Scene) -> None:
            await scene.begin()
            await scene.run(30.0)
            # Nobody has asked before, and the window begins where it should all the same.
            recent = scene.manager.recent_metrics(10)
            own, other = recent[variant.architecture], recent[variant.architecture.other]
            assert 10.0 <= own.seconds < 12.0 and own.active_seconds == own.seconds == other.seconds
            # A trade and a change of the book of each symbol, five times a second.
            assert abs(own.frames - own.seconds * 2 * len(scene.symbols) / ROUND_S) <= 2 * len(scene.symbols)
            assert (other.frames, other.active_seconds, own.errors) == (0, 0.0, {})

        play(story, variant)

    def test_a_connection_that_is_silent_as_a_whole_is_opened_anew_at_once(self, variant: Variant) -> None:
        async def story(scene: Scene) -> None:
            await scene.begin()
            await scene.run(LEARNT_S)
            pinged = len(scene.venue.transports[0].sent)
            streams = {(channel, symbol) for channel in (BOOK, TRADES) for symbol in (BTC, ETH)}
            scene.muted = set(streams)
            await scene.until(lambda: len(scene.venue.transports) == 2)
            (alarm,) = scene.told("mute")
            assert alarm.text.endswith("the whole connection is silent: reconnect")
            assert 15 * SECOND < alarm.received_ns - max(scene.sent_ns.values()) <= 16 * SECOND
            # The venue answered pings meanwhile.
            assert any("spot.ping" in text for text in scene.venue.transports[0].sent[pinged:])
            scene.muted = set()
            await scene.run(LEARNT_S)
            assert {(channel, symbol) for channel, symbol, _ in scene.gaps} == streams and len(scene.gaps) == len(streams)
            await scene.assert_right()
            assert scene.manager.connects == 2 and len(scene.told("mute")) == 1

        play(story, variant, freshness=FRESHNESS)

    def test_24_hours_of_a_quiet_symbol_give_no_alarm_and_no_reconnect(self, variant: Variant) -> None:
        async def story(scene: Scene) -> None:
            chance = random.Random(3)
            await scene.begin()
            trades = len(scene.seen.of(Trade))
            ends = scene.loop.time() + 24 * 3600
            while scene.loop.time() < ends:
                # BTC has something every twenty minutes, or not for hours; ETH often enough to have a rhythm.
                quiet_s = chance.uniform(2 * 3600, 5 * 3600) if chance.random() < 0.05 else chance.expovariate(1 / 1200)
                for _ in range(round(quiet_s / 20)):
                    for _ in range(4):
                        scene.change(ETH)
                    await asyncio.sleep(20)
                scene.trade(BTC)
                scene.change(BTC)
            assert len(scene.seen.of(Trade)) - trades > 24
            assert (scene.seen.errors, scene.seen.gaps) == ([], [])
            assert scene.manager.connects == 1
            await scene.assert_right()

        play(story, variant, freshness={"tick_s": 10.0, "window_s": 120.0})

    def test_n5_a_starved_stream_is_told_within_a_minute_and_nothing_is_done(self, variant: Variant) -> None:
        async def story(scene: Scene) -> None:
            await scene.begin()
            await scene.run(LEARNT_S)
            began_ns = scene.now_ns
            scene.thinned[BOOK, BTC] = 40
            await scene.run(240)
            (told,) = scene.seen.errors
            assert (told.kind, told.channel, told.symbol) == ("degraded", BOOK, BTC)
            assert told.received_ns - began_ns <= 60 * SECOND
            assert scene.gaps == [] and scene.books[BTC].is_live and scene.manager.connects == 1
            del scene.thinned[BOOK, BTC]
            await scene.until(lambda: scene.told("recovered"))
            await scene.assert_right()

        play(story, variant, freshness=FRESHNESS)

    def test_a_connection_whose_only_stream_was_moved_is_closed(self, variant: Variant) -> None:
        async def story(scene: Scene) -> None:
            await scene.manager.initialize()
            await scene.run(LEARNT_S)
            first, second = scene.venue.transports
            scene.muted = {(TRADES, ETH)}
            await scene.until(lambda: len(scene.venue.transports) == 3)
            await scene.run(1)
            assert (scene.manager.connections, first.is_open, second.is_open) == (2, True, False)
            assert scene.carriers(TRADES, ETH) == [scene.venue.transports[2]]
            scene.muted = set()
            await scene.until(lambda: scene.told("recovered"))
            assert scene.gaps == [(TRADES, ETH, GapReason.SILENT)]
            assert [error.kind for error in scene.seen.errors] == ["mute", "mute", "recovered"]

        play(story, variant, channels=[TRADES], per_connection=1, freshness=FRESHNESS)

    def test_a_stream_that_is_ended_while_it_is_moved_is_not_begun_anew(self, variant: Variant) -> None:
        async def story(scene: Scene) -> None:
            await scene.begin()
            await scene.run(LEARNT_S)
            scene.muted = {(BOOK, BTC)}
            scene.unanswered = {"unsubscribe"}
            await scene.until(lambda: scene.told("mute") and scene.told("mute")[-1].text.endswith("move"))
            asked = len(scene.asked(scene.venue.transports[0]))
            await scene.manager.unsubscribe([BTC], [BOOK])
            assert BTC not in scene.books
            await scene.run(60)
            later = scene.asked(scene.venue.transports[0])[asked:]
            assert len(scene.venue.transports) == 1 and not [event for event, *_ in later if event == "subscribe"]

        play(story, variant, freshness=FRESHNESS)

    def test_what_fails_in_looking_after_streams_ends_the_venue_and_is_told(
        self, variant: Variant, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def story(scene: Scene) -> None:
            await scene.begin()

            def fail(*_: object) -> None:
                raise RuntimeError("planted")

            monkeypatch.setattr(Freshness, "judge", fail)
            with pytest.raises(GaveUp, match="RuntimeError: planted"):
                await asyncio.wait_for(scene.manager.wait(), 60)
            assert [error.kind for error in scene.seen.errors][:1] == ["gave up"]

        play(story, variant)


class Slow:
    """Blocks the event loop, by the loop's own clock, when it is told to: as code that computes, or waits without ``await``."""

    def __init__(self) -> None:
        self.blocks = 0
        self.is_blocking = False

    def block(self) -> None:
        if self.is_blocking:
            loop = asyncio.get_running_loop()
            assert isinstance(loop, VirtualLoop)
            self.blocks += 1
            loop.block(30.0)

    def plain(self, event: Any) -> None:
        self.block()

    async def awaited(self, event: Any) -> None:
        self.block()

    async def awaited_late(self, event: Any) -> None:
        await asyncio.sleep(0.01)
        self.block()


class SlowHandler(PublicWebSocketHandler):
    """One that blocks before it decodes."""

    slow: Slow

    def _handle_message(self, raw_message: bytes | str) -> Any:
        self.slow.block()
        return super()._handle_message(raw_message)


class SlowAsyncHandler(SlowHandler):
    """The same, awaited."""

    async def _handle_message(self, raw_message: bytes | str) -> Any:
        await asyncio.sleep(0.01)
        pending = super()._handle_message(raw_message)
        return await pending if inspect.isawaitable(pending) else pending


class TestBlocking:
    """What keeps the event loop longer than any sleep need last is at work, and no sleep."""

    @pytest.mark.parametrize("where", ["plain", "awaited", "awaited_late", "book", "handler", "async handler"])
    def test_code_of_the_user_that_blocks_is_no_sleep(self, variant: Variant, where: str) -> None:
        slow, seen = Slow(), Seen()
        if "handler" in where:
            handler: PublicWebSocketHandler = (SlowHandler if where == "handler" else SlowAsyncHandler)(**seen.callbacks)
            handler.slow = slow  # type: ignore[attr-defined]  # of these two
        elif where == "book":
            # The first book is shown when REST has answered: in no read, and in no task of a lane's.
            handler = PublicWebSocketHandler(**seen.callbacks | {"on_orderbook": slow.plain})
        else:
            handler = PublicWebSocketHandler(**seen.callbacks | {"on_trade": getattr(slow, where)})

        async def story(scene: Scene) -> None:
            slow.is_blocking = where == "book"
            await scene.manager.initialize()
            await scene.until(lambda: slow.blocks or all(book.is_live for book in scene.books.values()))
            await scene.manager.drain()
            slow.is_blocking = True
            for _ in range(3):
                scene.round()
                await scene.manager.drain()
                await asyncio.sleep(0.5)
            slow.is_blocking = False
            if "handler" not in where or variant.architecture is Architecture.DIRECT:
                assert slow.blocks >= 3
            await scene.run(5)
            assert seen.gaps == [] and scene.manager.connects == 1
            assert "asleep" not in [error.kind for error in seen.errors]

        play(story, variant, handler=handler)


class TestClocks:
    @pytest.mark.parametrize("moved_ns", [HOUR, -HOUR])
    def test_t1_a_wall_clock_that_was_moved_is_told_once_and_nothing_is_done(self, variant: Variant, moved_ns: int) -> None:
        async def story(scene: Scene) -> None:
            await scene.begin()
            await scene.run(LEARNT_S)
            scene.moved_ns = moved_ns
            await scene.run(LEARNT_S)
            (told,) = scene.seen.errors
            assert told.kind == "clock" and f"{moved_ns / 1e9:+.1f} s" in told.text
            assert scene.gaps == [] and scene.manager.connects == 1
            assert all(0 < scene.now_ns - trade.received_ns <= 2 * LEARNT_S * SECOND for trade in scene.seen.of(Trade))
            await scene.assert_right()

        play(story, variant, freshness=FRESHNESS)

    @pytest.mark.parametrize("is_stopped", [False, True], ids=["suspended", "stopped"])
    @pytest.mark.parametrize("is_read", [True, False], ids=["by a read", "by the timer"])
    def test_t2_after_a_sleep_every_book_is_stale_before_anything_is_told_and_each_connection_begins_anew(
        self, variant: Variant, is_read: bool, is_stopped: bool
    ) -> None:
        streams = {(channel, symbol) for channel in (BOOK, TRADES) for symbol in (BTC, ETH)}

        async def story(scene: Scene) -> None:
            await scene.begin()
            await scene.run(5)
            first, second = scene.venue.transports
            await scene.manager.drain()
            scene.seen.events.clear()
            if is_stopped:
                scene.loop.block(30.0)
            else:
                scene.asleep_ns += 30 * SECOND
            books, woke_s = len(scene.seen.books), scene.loop.time()
            if is_read:
                scene.round()  # Not one of these is handed on.
                await scene.manager.drain()
                # Already now, before the connections have ended.
                assert [scene.books[symbol].state for symbol in scene.symbols] == [BookState.STALE] * 2
                await asyncio.sleep(0.001)
            else:
                await asyncio.sleep(1.1)
            assert [transport.loss and transport.loss.cause for transport in (first, second)] == [LossCause.ASLEEP] * 2
            assert len(scene.seen.books) == books and not scene.seen.of(Trade)
            await scene.until(lambda: len(scene.venue.transports) == 4)
            told = scene.seen.events
            first_data = next((index for index, event in enumerate(told) if isinstance(event, Trade)), len(told))
            before = told[:first_data]
            assert [event.new for event in before if isinstance(event, BookStateChange)][:2] == [BookState.STALE] * 2
            assert {(gap.channel, gap.symbol) for gap in before if isinstance(gap, Gap)} == streams
            await scene.until(lambda: all(book.is_live for book in scene.books.values()))
            await scene.run(30)
            assert {gap[:2] for gap in scene.gaps} == streams and len(scene.gaps) == 4
            assert [error.text for error in scene.told("disconnected")] == [LossCause.ASLEEP.value] * 2
            assert len(scene.told("asleep")) == 1 and scene.manager.connects == 4
            waits = [attempt.at_s - woke_s for attempt in scene.venue.attempts[2:]]
            assert waits[0] != waits[1] and all(wait < 2 for wait in waits)
            await scene.assert_right()

        play(story, variant, per_connection=2)

    def test_a_slow_tick_is_no_sleep(self, variant: Variant) -> None:
        async def story(scene: Scene) -> None:
            await scene.manager.initialize()
            await asyncio.sleep(600)
            assert scene.seen.errors == [] and scene.manager.connects == 1

        play(story, variant, channels=[TRADES], freshness={"tick_s": 30.0})

    def test_t2_a_sleep_while_a_callback_waits_is_one(self, variant: Variant) -> None:
        may_go_on = asyncio.Event()
        seen = Seen()

        async def on_trade(trade: Trade) -> None:
            await may_go_on.wait()

        async def story(scene: Scene) -> None:
            await scene.manager.initialize()
            scene.round()
            await asyncio.sleep(5)
            scene.loop.block(30.0)
            may_go_on.set()
            await asyncio.sleep(5)
            await scene.manager.drain()
            assert [error.kind for error in seen.errors] == ["asleep", "disconnected"] or scene.manager.connects == 2
            assert len(scene.venue.transports) == 2
            assert {(gap.channel, gap.symbol) for gap in seen.gaps} == {(TRADES, BTC), (TRADES, ETH)}

        play(story, variant, channels=[TRADES], handler=PublicWebSocketHandler(**seen.callbacks | {"on_trade": on_trade}))


class TestDisagreement:
    def test_a_venue_whose_tickers_count_otherwise_does_not_have_its_books_repaired_for_ever(self, variant: Variant) -> None:
        """Ids that look alike and are not: of every book that REST or the stream brings, the ticker says otherwise."""

        async def story(scene: Scene) -> None:
            await scene.begin()
            asked = len(scene.rest.asked)
            for _ in range(300):
                scene.round()
                for symbol in scene.symbols:
                    scene.quote(symbol, bid=55.0 if symbol == BTC else 100.0)
                await asyncio.sleep(ROUND_S)
            await scene.assert_right()
            (told,) = scene.seen.errors
            assert (told.kind, told.channel, told.symbol) == ("audit", BOOK, BTC)
            assert {gap[:2] for gap in scene.gaps} == {(BOOK, BTC)} and {gap[2] for gap in scene.gaps} == {GapReason.AUDIT}
            audit = scene.manager.audit
            assert 1 <= len(scene.gaps) <= audit.mismatched == MISMATCHES and len(scene.rest.asked) - asked <= MISMATCHES
            # The other book is compared as before.
            assert audit.compared - audit.mismatched >= 300

        play(story, variant, channels=[BOOK, TRADES, TICKER])


#: For a venue of which every stream has a rhythm within two seconds.
AT_ONCE_FRESHNESS = {"tick_s": 0.1, "silent_s": 0.5, "window_s": 0.4, "learn_s": 0.8, "regular": 3, "first_wait_s": 0.5}
FUTURES = "gateio_futures"
VENUES = pytest.mark.parametrize(("venue", "symbol"), [("gateio_spot", BTC), (FUTURES, "BTC/USDT:USDT")], ids=["gateio_spot", FUTURES])


class TestLiveStreams:
    """Over real sockets, at the simulated exchanges."""

    def test_n4_one_mute_stream_of_a_real_connection(self, variant: Variant) -> None:
        async def main() -> None:
            async with (
                simulated(BTC, ETH, rate=1500) as at,
                live(variant, at, symbols=[BTC, ETH], channels=["trade"], freshness=AT_ONCE_FRESHNESS) as (feed, seen),
            ):
                await feed.subscribe([BTC], ["spot.obu"])
                await until(lambda: feed._watchdog.threshold_ns("spot.obu", BTC), what="a rhythm")
                await at.fault("mute=spot.obu")
                await until(lambda: feed.connections == 2, what="a move")
                await until(lambda: feed.connects == 3, what="a reconnect")
                first, second, third = (await at.state())["connections"]
                assert first["requests"]["unsubscribe"] == 2 and {channel for channel, *_ in first["subscriptions"]} == {"spot.trades"}
                assert (first["is_open"], second["is_open"], third["is_open"]) == (True, False, True)
                assert second["requests"] == {"subscribe": 1}
                mutes = [error for error in seen.errors if error.kind == "mute"]
                assert {(error.channel, error.symbol) for error in mutes} == {("spot.obu", BTC)}
                assert [error.text.rpartition(" ")[2] for error in mutes][:3] == ["resubscribe", "move", "reconnect"]
                assert [(gap.channel, gap.symbol, gap.reason) for gap in seen.gaps] == [("spot.obu", BTC, GapReason.SILENT)]
                await at.fault("clear")
                await until(lambda: [error for error in seen.errors if error.kind == "recovered"], what="a recovery")
                await assert_right(feed, at, BTC)
                assert len(seen.gaps) == 1 and (await at.state())["connections"][0]["is_open"]

        run(main())

    def test_n8_under_a_bandwidth_cap_the_lag_is_seen_and_no_trade_is_lost(self, variant: Variant) -> None:
        """N8: held against each frame's own time, by the clock of this machine, which is the exchange's, too."""
        ledger = Ledger()
        errors: list[float] = []
        reads = [0]
        feeds: list[WebSocketManager] = []

        def on_trade(trade: Trade) -> None:
            ledger.seen(("trade", trade.symbol), hidden_number(trade.amount))
            assert trade.exchange_ns is not None
            lag_ns, real_ns = feeds[0].venue_lag_ns if feeds else None, trade.received_ns - trade.exchange_ns
            # The first frame of a read tells the lag.
            if lag_ns is not None and real_ns > SECOND // 2 and trade.received_ns != reads[-1]:
                errors.append(abs(lag_ns - real_ns) / real_ns)
            reads.append(trade.received_ns)

        async def main() -> None:
            async with simulated(BTC, rate=2500) as at:
                at.websocket_url = at.logged_url("capped")
                async with live(variant, at, channels=["trade"], callbacks={"on_trade": on_trade}) as (feed, seen):
                    feeds.append(feed)
                    await until(lambda: ledger.outstanding > 100)
                    assert feed.venue_lag_ns is not None
                    await at.fault("drip=20000")
                    await until(lambda: (feed.venue_lag_ns or 0) > SECOND, what="a lag")
                    assert feed.get_performance_metrics()["venue_lag_ns"] >= SECOND // 2
                    await at.fault("drip=0")
                    await until(lambda: (feed.venue_lag_ns or 0) < SECOND // 10, what="no lag any more")
                    await at.pause()
                    for stream, number in await at.log("capped"):
                        ledger.sent(stream, number)
                    await until(lambda: not ledger.outstanding, what="the last trade")
                    ledger.finish()
                    assert ledger.is_clean and seen.gaps == [] and feed.connects == 1, ledger.findings
                    frames = feed.accounting.frames
                    assert (frames.shed, frames.rejected) == (0, 0)
            assert len(errors) > 20 and max(errors) < 0.1

        run(main())

    @VENUES
    def test_right_books_are_compared_and_never_found_wrong(self, variant: Variant, venue: str, symbol: str) -> None:
        async def main() -> None:
            async with (
                simulated(symbol, venue=venue, rate=1500) as at,
                live(variant, at, venue=venue, symbols=[symbol], channels=["orderbook", "book_ticker"]) as (feed, seen),
            ):
                await until(lambda: feed.audit.compared > 200)
                await assert_right(feed, at, symbol)
                assert (feed.audit.mismatched, seen.gaps, seen.errors) == (0, [], [])

        run(main())

    @VENUES
    def test_a_wrong_top_is_found_told_and_repaired(self, variant: Variant, venue: str, symbol: str) -> None:
        async def main() -> None:
            async with (
                simulated(symbol, venue=venue, rate=300) as at,
                live(variant, at, venue=venue, symbols=[symbol], channels=["orderbook", "book_ticker"]) as (feed, seen),
            ):
                audit = feed.audit
                for number in range(1, 4):
                    agreed = audit.compared - audit.mismatched
                    await until(lambda: audit.compared - audit.mismatched > agreed, what="a right book")  # noqa: B023
                    await at.fault(f"wrong-top={symbol}")
                    await until(lambda: len(seen.gaps) == number, what="a gap")  # noqa: B023
                await assert_right(feed, at, symbol)
                assert [(gap.symbol, gap.reason) for gap in seen.gaps] == [(symbol, GapReason.AUDIT)] * 3
                assert audit.mismatched >= 3 and feed.connects == 1 and seen.errors == []

        run(main())

    @VENUES
    def test_books_are_right_after_many_silent_corruptions(self, variant: Variant, venue: str, symbol: str) -> None:
        async def main() -> None:
            async with (
                simulated(symbol, venue=venue, rate=1500, faults=["corrupt=40"]) as at,
                live(variant, at, venue=venue, symbols=[symbol], channels=["orderbook", "book_ticker"]) as (feed, seen),
            ):
                await until(lambda: len(seen.gaps) >= 5, what="five gaps")
                await at.fault("clear")
                await assert_right(feed, at, symbol)
                assert {gap.reason for gap in seen.gaps} == {GapReason.AUDIT}
                assert 5 <= len(seen.gaps) <= feed.audit.mismatched and seen.errors == []

        run(main())

    @pytest.mark.parametrize("channel", ["spot.obu", BOOK])
    def test_x7_ids_that_begin_anew_are_followed(self, variant: Variant, channel: str) -> None:
        async def main() -> None:
            async with simulated(BTC, rate=600) as at, live(variant, at, channels=[channel, "book_ticker"]) as (feed, seen):
                await until(lambda: BTC in feed.books and feed.books[BTC].is_live)
                before = feed.books[BTC].last_id
                await at.fault(f"restart={BTC}")
                await until(lambda: seen.gaps, what="a gap")
                await assert_right(feed, at, BTC)
                after = feed.books[BTC].last_id
                assert before is not None and after is not None and after < before
                assert [(gap.channel, gap.reason) for gap in seen.gaps] == [(channel, GapReason.SEQUENCE)]
                assert feed.audit.mismatched == 0 and feed.connects == 1 and seen.errors == []

        run(main())

    def test_x14_trades_that_a_venue_sends_again_are_told_once(self, variant: Variant) -> None:
        async def main() -> None:
            ledger = Ledger()
            ids: list[str] = []

            def on_trade(trade: Trade) -> None:
                ids.append(trade.trade_id)
                ledger.seen(("trade", trade.symbol), hidden_number(trade.amount))

            callbacks = {"on_trade": on_trade, "on_gap": lambda gap: ledger.gap("trade", gap.symbol)}
            async with simulated(BTC, rate=1000, faults=["replay=30"]) as at:
                at.websocket_url = at.logged_url("replayed")
                async with live(variant, at, channels=["trade"], callbacks=callbacks) as (feed, seen):
                    for number in range(2, 5):
                        told = len(ids)
                        await until(lambda: len(ids) > told + 50)  # noqa: B023
                        await at.fault("cut")
                        await until(lambda: feed.connects == number)  # noqa: B023
                    told = len(ids)
                    await until(lambda: len(ids) > told + 50)
                    await at.pause()
                    for stream, sent in await at.log("replayed"):
                        ledger.sent(stream, sent)
                    await until(lambda: not ledger.outstanding, what="the last trade")
                    assert (await at.state())["faults"]["replay"] == 90 == feed._session.replayed
            ledger.finish()
            assert ledger.is_clean and len(ids) == len(set(ids)), ledger.findings

        run(main())


class Ahead:
    """A clock of this machine that can be moved: as if it had been suspended, or as if work had taken so long."""

    def __init__(self) -> None:
        self.asleep_ns = self.worked_ns = 0
        self.clock = Clock(self.monotonic_ns, time.time_ns() - time.monotonic_ns(), elapsed_ns=lambda: self.monotonic_ns() + self.asleep_ns)

    def monotonic_ns(self) -> int:
        return time.monotonic_ns() + self.worked_ns


class TestRealReads:
    """The same where a read brings more than one frame."""

    @asynccontextmanager
    async def opened(
        self, variant: Variant, at: ScriptedExchange, clock: Clock, callbacks: dict[str, Any], per_connection: int | None = None
    ) -> AsyncIterator[WebSocketManager]:
        settings = settings_of(at, symbols=[BTC, ETH], channels=["trade"])
        limits = replace(settings.venue.limits, subscriptions_per_connection=per_connection)
        manager = WebSocketManager(
            replace(settings, venue=replace(settings.venue, limits=limits)),
            architecture=variant.architecture,
            adapted=variant.adapted,
            handler=PublicWebSocketHandler(**callbacks),
            clock=clock,
        )
        async with manager:
            yield manager
        assert_whole(manager)

    def test_t2_of_all_that_waited_in_any_socket_nothing_is_told(self, variant: Variant) -> None:
        async def main() -> None:
            seen, ahead = Seen(), Ahead()
            async with ScriptedExchange() as at, self.opened(variant, at, ahead.clock, seen.callbacks, per_connection=1) as manager:
                assert [connection for connection, *_ in at.requests] == [1, 2]
                pairs = ["BTC_USDT", "ETH_USDT"]
                for peer, pair in zip(at.peers, pairs, strict=True):
                    await peer.send(*(text(frames.trade(number, pair=pair)) for number in range(1, 4)))
                await until(lambda: len(seen.of(Trade)) == 6)
                ahead.asleep_ns += 30 * SECOND
                for peer, pair in zip(list(at.peers), pairs, strict=True):
                    await peer.send(*(text(frames.trade(number, pair=pair)) for number in range(4, 10)))
                await until(lambda: manager.connects == 4 and len(at.requests) == 4)
                for peer in at.peers:
                    await peer.send(*(text(frames.trade(11, pair=pair)) for pair in pairs))
                await until(lambda: len(seen.of(Trade)) >= 8)
                assert {trade.trade_id for trade in seen.of(Trade)} == {"1", "2", "3", "11"}
                assert sorted((gap.symbol, gap.reason) for gap in seen.gaps) == [(symbol, GapReason.DISCONNECTED) for symbol in (BTC, ETH)]
                errors = [(error.kind, error.text) for error in seen.errors if error.kind != "asleep"]
                assert errors == [("disconnected", LossCause.ASLEEP.value)] * 2 and len(seen.errors) == 3

        run(main())

    def test_many_callbacks_that_each_take_a_little_are_no_sleep(self, variant: Variant) -> None:
        """Thirty frames come with one read, or a few, and each takes less than is told of as blocking."""

        async def main() -> None:
            seen, ahead = Seen(), Ahead()

            def on_trade(trade: Trade) -> None:
                seen.events.append(trade)
                ahead.worked_ns += 4 * SECOND // 10

            async with (
                ScriptedExchange() as at,
                self.opened(variant, at, ahead.clock, seen.callbacks | {"on_trade": on_trade}) as manager,
            ):
                for number in range(3):
                    await at.push(*(frames.trade(30 * number + index) for index in range(30)))
                    await until(lambda: len(seen.of(Trade)) == 30 * (number + 1))  # noqa: B023
                await at.push(frames.trade(100))
                await until(lambda: len(seen.of(Trade)) == 91)
                assert (seen.gaps, seen.errors, manager.connects) == ([], [], 1)

        run(main())
