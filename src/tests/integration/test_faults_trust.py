"""Faults that no sequence shows: streams that fall silent, counts that begin anew, trades that come twice, clocks that jump."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Collection
from functools import partial
from typing import Any

import pytest

from infrastructure.book import OrderBook
from infrastructure.book_sync import RESET_RUN, FetchSnapshot
from infrastructure.clock import Clock, WallWatch, Watch
from infrastructure.events import BookState, BookStateChange, ErrorEvent, Gap, GapReason, Trade
from infrastructure.exchanges.gateio.spot import BOOK_TICKER, GATEIO_SPOT, OBU, ORDER_BOOK_UPDATE, TRADES
from infrastructure.freshness import Degraded, Finding, Freshness, Mute, Recovered, Step
from infrastructure.networking.websocket.settings import FreshnessSettings
from infrastructure.session import Emission, Key
from tests.harness import frames
from tests.harness.frames import SYMBOL, Pairs, Seen, rest_book
from tests.harness.variants import VARIANTS, Variant, assert_accounts

SYNCING, LIVE, GAP, STALE = BookState.SYNCING, BookState.LIVE, BookState.GAP, BookState.STALE
BOOK, TICKER, PRINTS = (ORDER_BOOK_UPDATE, SYMBOL), (BOOK_TICKER, SYMBOL), (TRADES, SYMBOL)
OTHER, OTHER_PAIR = "ETH/USDT", "ETH_USDT"
SECOND = 10**9
MS = 10**6
#: When the tests begin, by the venue's clock; ours is some seconds ahead.
BEGAN_MS = 1_700_000_000_000
AHEAD_MS = 7_000
SETTINGS = FreshnessSettings(learn_s=60, window_s=10)


def push(channel: str, time_ms: int, result: dict[str, Any]) -> bytes:
    return frames.push(channel, result, time_ms=time_ms)


def update(time_ms: int, first: int, last: int, bids: Pairs = (), asks: Pairs = (), *, full: bool = False) -> bytes:
    """A push of order_book_update with the venue's time in it."""
    texts = {name: [[str(price), str(amount)] for price, amount in side] for name, side in (("b", bids), ("a", asks))}
    result = {"t": time_ms, "e": "depthUpdate", "E": time_ms // 1000, "s": frames.PAIR, "U": first, "u": last} | texts
    return push(ORDER_BOOK_UPDATE, time_ms, result | ({"full": True} if full else {}))


def ticker(time_ms: int, update_id: int, pair: str = frames.PAIR) -> bytes:
    result = {"t": time_ms, "u": update_id, "s": pair, "b": "100", "B": "1", "a": "101", "A": "1"}
    return push(BOOK_TICKER, time_ms, result)


def trade(time_ms: int, number: int, pair: str = frames.PAIR) -> bytes:
    result = {"id": number, "create_time": time_ms // 1000, "create_time_ms": f"{time_ms}.5", "side": "buy", "currency_pair": pair}
    return push(TRADES, time_ms, result | {"amount": "0.25", "price": "100.5"})


class Stage:
    """A feed of one variant in virtual time, and what its callbacks saw. The network takes no time."""

    def __init__(self, variant: Variant, symbols: Collection[str] = (SYMBOL, OTHER), **settings: Any) -> None:
        self.seen = Seen()
        self.feed = variant.feed(*symbols, **self.seen.callbacks, **settings)
        self.session = self.feed._session
        self.freshness = Freshness(SETTINGS, GATEIO_SPOT)
        self.now_ms = BEGAN_MS
        self.placed: dict[Key, str] = {}
        self.findings: list[tuple[int, Finding]] = []

    async def take(self, *raws: bytes, late_ms: int = 0) -> None:
        """Frames arrive, so late by the venue's clock, and are handled."""
        for raw in raws:
            self.feed.deliver(raw, (self.now_ms + AHEAD_MS + late_ms) * MS)
        await self.feed.drain()

    async def live(self, last_id: int = 10) -> None:
        await self.take(update(self.now_ms, last_id, last_id, [(100, 1)], [(101, 1)], full=True))
        assert self.book.is_live

    async def in_lane(self, method: Callable[..., list[Emission]], *arguments: object) -> None:
        """Call a method of the session between two frames."""
        await self.feed._lane.call(method.__name__, partial(method, *arguments), (self.now_ms + AHEAD_MS) * MS)

    async def tick(self) -> None:
        """The second is over: judge the streams and do what is to be done, as far as that is done without a socket."""
        self.now_ms += 1000
        for finding in self.freshness.judge((self.now_ms + AHEAD_MS) * MS, self.session.streams(), self.placed):
            self.findings.append((self.now_ms, finding))
            if isinstance(finding, Mute):
                await self.in_lane(self.session.silence, *finding.key, str(finding))
            else:
                await self.in_lane(self.session.report, finding.kind, str(finding), *finding.key)

    @property
    def book(self) -> OrderBook:
        return self.feed.books[SYMBOL]

    @property
    def gaps(self) -> list[tuple[str | None, GapReason]]:
        return [(gap.channel, gap.reason) for gap in self.seen.gaps]

    @property
    def kinds(self) -> list[str]:
        return [error.kind for error in self.seen.errors]

    @property
    def trades(self) -> list[str]:
        return [event.trade_id for event in self.seen.of(Trade)]


def play(variant: Variant, scene: Callable[[Stage], Awaitable[None]], **settings: Any) -> None:
    """Run a scene; at its end every frame and every event must be somewhere, once."""

    async def run() -> None:
        stage = Stage(variant, **settings)
        await scene(stage)
        await stage.feed.drain()
        assert_accounts(stage.feed)

    asyncio.run(run())


@pytest.fixture(params=VARIANTS, ids=str)
def variant(request: pytest.FixtureRequest) -> Variant:
    made: Variant = request.param
    return made


class Flow:
    """A busy market: each second some pushes of the book, some tickers of another pair, some trades."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.book_id = 10
        self.book_every = 1
        self.is_muted = False
        self._turn = 0
        self._number = 0
        stage.placed = dict.fromkeys([BOOK, PRINTS, (BOOK_TICKER, OTHER)], "A")

    def thin_book(self, factor: int) -> None:
        """From now on a push of the book holds what so many held."""
        self.book_every, self._turn = factor, 0

    async def second(self) -> None:
        stage = self.stage
        for tenth in range(5):
            time_ms = stage.now_ms + 200 * tenth
            self.book_id += 1
            self._turn += 1
            self._number += 1
            raws = [ticker(time_ms, self._number, OTHER_PAIR), trade(time_ms, self._number)]
            if not self.is_muted and self._turn % self.book_every == 0:
                raws.append(update(time_ms, self.book_id - self.book_every + 1, self.book_id, [(99, self._turn)]))
            stage.now_ms += 200
            await stage.take(*raws, late_ms=-200)
        stage.now_ms -= 1000
        await stage.tick()

    async def run(self, seconds: int) -> None:
        for _ in range(seconds):
            await self.second()


class TestSilence:
    def test_n4_a_mute_book_is_told_no_longer_believed_and_repaired_when_it_goes_on(self, variant: Variant) -> None:
        """N4 Zombie: everything else flows."""

        async def scene(stage: Stage) -> None:
            await stage.live()
            flow = Flow(stage)
            await flow.run(100)
            assert (stage.findings, stage.gaps) == ([], [])
            begun_ms, shown = stage.now_ms, len(stage.seen.books)
            flow.is_muted = True
            await flow.run(60)
            at_ms, finding = stage.findings[0]
            assert isinstance(finding, Mute) and (finding.key, finding.step) == (BOOK, Step.RESUBSCRIBE)
            assert at_ms - begun_ms <= 1000 * (SETTINGS.silent_s + 1)
            assert [finding.step for _, finding in stage.findings if isinstance(finding, Mute)] == list(Step)[:3]
            assert stage.gaps == [(ORDER_BOOK_UPDATE, GapReason.SILENT)]
            assert (stage.book.state, len(stage.seen.books)) == (GAP, shown)
            assert stage.feed.take_requests() == []
            flow.is_muted = False
            await flow.run(1)
            (request,) = stage.feed.take_requests()
            assert isinstance(request, FetchSnapshot)
            await stage.feed.snapshot(SYMBOL, rest_book(flow.book_id), request=request)
            assert stage.book.is_live
            await flow.run(60)
            assert stage.findings[-1][1] == Recovered(BOOK)
            assert stage.kinds == ["mute", "mute", "mute", "recovered"]
            assert stage.gaps == [(ORDER_BOOK_UPDATE, GapReason.SILENT)]

        play(variant, scene)

    def test_n4_an_answer_that_was_on_its_way_does_not_make_a_mute_book_live(self, variant: Variant) -> None:
        """N4 Zombie: REST answers, the stream does not go on."""

        async def scene(stage: Stage) -> None:
            await stage.live()
            await stage.take(update(stage.now_ms, 13, 13))
            (request,) = stage.feed.take_requests()
            assert isinstance(request, FetchSnapshot)
            await stage.in_lane(stage.session.silence, *BOOK, "mute")
            await stage.feed.snapshot(SYMBOL, rest_book(13), request=request)
            assert (stage.book.state, stage.feed.take_requests()) == (GAP, [])
            assert stage.gaps == [(ORDER_BOOK_UPDATE, GapReason.SEQUENCE)]

        play(variant, scene)

    def test_n4_other_streams_get_one_gap_each_time_that_they_fall_silent(self, variant: Variant) -> None:
        """N4 Zombie: a mute stream of trades."""

        async def scene(stage: Stage) -> None:
            told = (TRADES, GapReason.SILENT)
            for number in (1, 2):
                await stage.take(trade(stage.now_ms, number))
                for _ in range(3):
                    await stage.in_lane(stage.session.silence, *PRINTS, "mute")
                assert stage.gaps == [told] * number
            await stage.feed.cut()
            assert stage.gaps == [told] * 2
            await stage.take(trade(stage.now_ms, 3))
            await stage.feed.cut()
            assert stage.gaps[2:] == [(TRADES, GapReason.DISCONNECTED)]
            assert stage.trades == ["1", "2", "3"]

        play(variant, scene)

    def test_n4_a_stream_that_was_agreed_and_never_came_has_its_gap_and_no_other_at_the_cut(self, variant: Variant) -> None:
        """N4 Zombie: mute from the beginning."""

        async def scene(stage: Stage) -> None:
            stage.session.expect(*PRINTS)
            await stage.in_lane(stage.session.silence, *PRINTS, "mute")
            await stage.feed.cut()
            assert stage.gaps == [(TRADES, GapReason.SILENT)]

        play(variant, scene)

    def test_n4_a_stream_that_ended_meanwhile_is_not_told(self, variant: Variant) -> None:
        """N4 Zombie: a finding that comes late."""

        async def scene(stage: Stage) -> None:
            await stage.live()
            for key in (BOOK, PRINTS):
                await stage.in_lane(stage.session.forget, *key)
                await stage.in_lane(stage.session.silence, *key, "mute")
            assert (stage.gaps, stage.kinds) == ([], [])

        play(variant, scene)

    def test_n5_a_starved_stream_is_degraded_once_and_nothing_is_done(self, variant: Variant) -> None:
        """N5 Partial starvation: every fortieth push comes, in whole: no hole shows it."""

        async def scene(stage: Stage) -> None:
            await stage.live()
            flow = Flow(stage)
            await flow.run(100)
            begun_ms = stage.now_ms
            flow.thin_book(40)
            await flow.run(240)
            ((at_ms, finding),) = stage.findings
            assert isinstance(finding, Degraded) and finding.key == BOOK
            assert at_ms - begun_ms <= 60_000
            assert (stage.gaps, stage.book.is_live, stage.kinds) == ([], True, ["degraded"])

        play(variant, scene)


class TestResets:
    @pytest.mark.parametrize("interval_ms", [20, 100, 5_000, 1_200_000])
    def test_x7_a_count_that_begins_anew_is_followed(self, variant: Variant, interval_ms: int) -> None:
        """X7 Sequence reset to lower."""

        async def scene(stage: Stage) -> None:
            await stage.live(1_000_000)
            taken = 0
            while stage.book.is_live:
                stage.now_ms += interval_ms
                taken += 1
                await stage.take(update(stage.now_ms, taken, taken, [(90, taken)]))
            assert stage.now_ms - BEGAN_MS <= 1000 + interval_ms
            assert stage.gaps == [(ORDER_BOOK_UPDATE, GapReason.SEQUENCE)]
            assert (stage.seen.gaps[0].last_id, stage.seen.gaps[0].next_id) == (1_000_000, taken)
            await stage.feed.snapshot(SYMBOL, rest_book(taken))
            await stage.take(update(stage.now_ms, taken + 1, taken + 1, [(91, 1)]))
            assert (stage.book.is_live, stage.book.last_id, stage.book.bids) == (True, taken + 1, [(100.0, 1.0), (91.0, 1.0)])

        play(variant, scene)

    def test_x7_a_venue_that_tells_no_time_is_followed_after_so_many(self, variant: Variant) -> None:
        """X7 Sequence reset to lower."""

        async def scene(stage: Stage) -> None:
            await stage.take(frames.obu(None, 1_000_000, [(100, 1)], [(101, 1)], full=True))
            for number in range(1, RESET_RUN):
                await stage.take(frames.obu(number, number))
            assert (stage.book.is_live, stage.gaps) == (True, [])
            await stage.take(frames.obu(RESET_RUN, RESET_RUN))
            assert (stage.book.state, stage.gaps) == (GAP, [(OBU, GapReason.SEQUENCE)])
            assert len(stage.feed.take_requests()) == 1
            await stage.take(frames.obu(None, 600, [(100, 1)], [(101, 1)], full=True))
            assert stage.book.is_live

        play(variant, scene)

    def test_x7_old_updates_after_a_newer_snapshot_are_ignored(self, variant: Variant) -> None:
        """X7: what is old by the venue's own clock is old, however much of it comes."""

        async def scene(stage: Stage) -> None:
            await stage.take(update(BEGAN_MS, 10, 10))
            body = json.loads(rest_book(100)) | {"update": BEGAN_MS + 100_000}
            await stage.feed.snapshot(SYMBOL, json.dumps(body).encode())
            for number in range(11, 101):
                # The push that holds the snapshot's last change was sent a little later than that was made.
                await stage.take(update(BEGAN_MS + 1_000 * number + 900, number, number, [(50, 1)]))
            assert (stage.gaps, stage.book.is_live, stage.book.bids) == ([], True, [(100.0, 1.0)])
            await stage.take(update(BEGAN_MS + 102_000, 101, 101, [(99, 1)]))
            assert (stage.book.last_id, stage.feed.take_requests()[1:]) == (101, [])

        play(variant, scene)

    def test_x7_the_last_update_may_be_repeated_at_any_time(self, variant: Variant) -> None:
        """X7: a repetition is no beginning."""

        async def scene(stage: Stage) -> None:
            await stage.live(10)
            for _ in range(RESET_RUN + 5):
                stage.now_ms += 60_000
                await stage.take(update(stage.now_ms, 10, 10, [(55, 1)]))
            assert (stage.gaps, stage.book.bids) == ([], [(100.0, 1.0)])

        play(variant, scene)

    def test_x7_whole_books_with_lower_ids_are_a_hole_and_then_the_book(self, variant: Variant) -> None:
        """X7 Sequence reset to lower, of a channel that sends whole books."""

        def whole(time_ms: int, last: int, bid: float) -> bytes:
            result = {"t": time_ms, "lastUpdateId": last, "s": frames.PAIR, "l": "5", "bids": [[str(bid), "1"]], "asks": [["101", "1"]]}
            return push("spot.order_book", time_ms, result)

        async def scene(stage: Stage) -> None:
            await stage.take(whole(BEGAN_MS, 1000, 100), whole(BEGAN_MS + 500, 3, 98))
            assert (stage.book.last_id, stage.gaps) == (1000, [])
            await stage.take(whole(BEGAN_MS + 5000, 5, 99))
            assert (stage.book.last_id, stage.book.bids, stage.book.is_live) == (5, [(99.0, 1.0)], True)
            assert stage.gaps == [("spot.order_book", GapReason.SEQUENCE)]
            assert stage.seen.states == [LIVE, GAP, LIVE]

        play(variant, scene)


class TestGhosts:
    def test_x10_levels_beyond_the_depth_of_the_stream_go(self, variant: Variant) -> None:
        """X10 Ghost levels: the venue says nothing of what leaves its window."""

        async def scene(stage: Stage) -> None:
            depth = 100
            bids = [(1000 - step, 1) for step in range(depth)]
            asks = [(1001 + step, 1) for step in range(depth)]
            await stage.take(update(stage.now_ms, 10, 10, bids, asks, full=True))
            await stage.take(update(stage.now_ms, 11, 11, [("1000.5", 2)], [("1000.75", 3)]))
            assert (len(stage.book.bids), len(stage.book.asks)) == (depth, depth)
            assert (stage.book.bids[0], stage.book.bids[-1]) == ((1000.5, 2.0), (902.0, 1.0))
            assert (stage.book.asks[0], stage.book.asks[-1]) == ((1000.75, 3.0), (1099.0, 1.0))
            assert (stage.book.changes.bids, stage.book.changes.asks) == ([(1000.5, 2.0)], [(1000.75, 3.0)])
            # A best level goes; the one that enters the window is sent, and the ghost that stood before it is not there.
            await stage.take(update(stage.now_ms, 12, 12, [("1000.5", 0), ("901.5", 7)]))
            assert stage.book.bids[-2:] == [(902.0, 1.0), (901.5, 7.0)]

        play(variant, scene)

    def test_x10_a_deeper_snapshot_is_cut_too(self, variant: Variant) -> None:
        """X10 Ghost levels: those below the window would never be updated."""

        async def scene(stage: Stage) -> None:
            await stage.take(update(stage.now_ms, 10, 10))
            await stage.feed.snapshot(SYMBOL, rest_book(10, [(1000 - step, 1) for step in range(500)], [(1001, 1)]))
            assert (len(stage.book.bids), len(stage.book.asks)) == (100, 1)

        play(variant, scene)

    def test_x10_the_option_of_the_stream_says_how_many_are_kept(self, variant: Variant) -> None:
        """X10 Ghost levels."""

        async def scene(stage: Stage) -> None:
            stage.session.readmit(*BOOK, "20ms")
            bids = [(1000 - step, 1) for step in range(60)]
            await stage.take(update(stage.now_ms, 10, 10, bids, [(1001, 1)], full=True))
            assert len(stage.book.bids) == 20
            await stage.in_lane(stage.session.forget, *BOOK)
            stage.session.readmit(*BOOK, "100ms")
            await stage.take(update(stage.now_ms, 11, 11, bids, [(1001, 1)], full=True))
            assert len(stage.book.bids) == 60

        play(variant, scene)


class TestReplays:
    @pytest.mark.parametrize("cause", ["cut", "silence"])
    def test_x14_trades_that_come_again_after_a_hole_are_told_once(self, variant: Variant, cause: str) -> None:
        """X14 Trade replay after reconnect."""

        async def scene(stage: Stage) -> None:
            await stage.take(*(trade(stage.now_ms, number) for number in range(1, 101)))
            absorbed = stage.feed.accounting.events.absorbed
            if cause == "cut":
                await stage.feed.cut()
            else:
                await stage.in_lane(stage.session.silence, *PRINTS, "mute")
            replayed = [trade(stage.now_ms, number) for number in range(51, 106)]
            await stage.take(*replayed, *replayed)
            assert stage.trades == [str(number) for number in range(1, 106)]
            assert stage.session.replayed == 105
            assert stage.feed.accounting.events.absorbed == absorbed + 105
            assert [channel for channel, _ in stage.gaps] == [TRADES]

        play(variant, scene)

    def test_x14_trades_of_other_symbols_are_others(self, variant: Variant) -> None:
        """X14 Trade replay after reconnect."""

        async def scene(stage: Stage) -> None:
            await stage.take(trade(stage.now_ms, 1), trade(stage.now_ms, 1, OTHER_PAIR))
            await stage.feed.cut()
            await stage.take(trade(stage.now_ms, 2), trade(stage.now_ms, 1, OTHER_PAIR), trade(stage.now_ms, 1))
            assert stage.trades == ["1", "1", "2"]

        play(variant, scene)

    def test_x14_nothing_is_looked_up_before_a_cut(self, variant: Variant) -> None:
        """X14: what the venue sends twice on one connection is told twice, as it says."""

        async def scene(stage: Stage) -> None:
            await stage.take(trade(stage.now_ms, 1), trade(stage.now_ms, 1))
            assert (stage.trades, stage.session.replayed) == (["1", "1"], 0)

        play(variant, scene)


class TestClocks:
    def test_n8_a_growing_lag_is_seen_and_no_trade_is_lost(self, variant: Variant) -> None:
        """N8 Bandwidth cap: a pipe that lets a third of a second through in each second, as long as it is narrow."""

        async def scene(stage: Stage) -> None:
            count, worst = 0, 0.0
            free_ms = BEGAN_MS
            for index in range(6_000):
                stage.now_ms = sent_ms = BEGAN_MS + 10 * index
                is_narrow = 1_000 < index < 3_000
                free_ms = max(free_ms, sent_ms) + (15 if is_narrow else 1)
                count += 1
                await stage.take(trade(sent_ms, index + 1), late_ms=free_ms - sent_ms)
                lag_ns = stage.session.venue_lag_ns
                true_ms = free_ms - sent_ms - 1
                if index and true_ms > 100:
                    assert lag_ns is not None
                    worst = max(worst, abs(lag_ns / MS - true_ms) / true_ms)
            assert 0 < worst < 0.1
            assert (len(stage.trades), stage.gaps) == (count, [])
            assert stage.session.venue_lag_ns is not None and stage.session.venue_lag_ns < 20 * MS

        play(variant, scene)

    @pytest.mark.parametrize("jump_s", [3600, -3600])
    def test_t1_a_wall_clock_that_jumps_is_told_once_and_dates_nothing(self, variant: Variant, jump_s: int) -> None:
        """T1 Wall clock +-1 h."""
        monotonic, wall = [0], [BEGAN_MS * MS]
        clock = Clock(lambda: monotonic[0], wall_ns=lambda: wall[0])

        async def scene(stage: Stage) -> None:
            watch = WallWatch()
            for second in range(10):
                if second == 5:
                    wall[0] += jump_s * SECOND
                monotonic[0] += SECOND
                wall[0] += SECOND
                stage.feed.deliver(trade(BEGAN_MS, second + 1))
                await stage.feed.drain()
                if (moved_ns := watch.observe(clock.drift_ns())) is not None:
                    await stage.in_lane(stage.session.report, "clock", f"the wall clock was moved by {moved_ns / 1e9:+.1f} s")
            times = [event.received_ns for event in stage.seen.of(Trade)]
            assert [later - earlier for earlier, later in zip(times, times[1:], strict=False)] == [SECOND] * 9
            (error,) = stage.seen.of(ErrorEvent)
            assert (error.kind, error.text) == ("clock", f"the wall clock was moved by {jump_s:+.1f} s")
            assert stage.gaps == []

        play(variant, scene, clock=clock)

    def test_t2_after_a_sleep_every_book_is_stale_before_anything_is_told(self, variant: Variant) -> None:
        """T2 Suspend/resume: what is read first may be of before the sleep, and the rest was never read."""

        async def scene(stage: Stage) -> None:
            watch = Watch()
            await stage.live()
            await stage.take(trade(stage.now_ms, 1))
            assert watch.observe(stage.now_ms * MS) is None
            before = len(stage.seen.events)
            stage.now_ms += 3_600_000
            for raw in (update(stage.now_ms, 11, 11, [(99, 1)]), trade(stage.now_ms, 2)):
                # As a transport does it: before what it has read is handed on.
                if watch.observe(stage.now_ms * MS) is not None:
                    stage.feed.cut()
                await stage.take(raw)
            told = stage.seen.events[before:]
            assert [type(event) for event in told[:3]] == [Gap, BookStateChange, Gap]
            assert [event.new for event in told if isinstance(event, BookStateChange)] == [STALE, SYNCING]
            assert stage.gaps == [(ORDER_BOOK_UPDATE, GapReason.DISCONNECTED), (TRADES, GapReason.DISCONNECTED)]
            assert len(stage.seen.books) == 1

        play(variant, scene)


class TestAges:
    def test_a_stream_is_as_old_as_its_last_message(self, variant: Variant) -> None:
        async def scene(stage: Stage) -> None:
            session = stage.session
            now_ns = (BEGAN_MS + AHEAD_MS) * MS
            assert (session.streams(), session.age_ns(*PRINTS, now_ns), session.stream(*BOOK)) == ({}, None, None)
            await stage.live()
            stage.now_ms += 1_000
            await stage.take(trade(stage.now_ms, 1), trade(stage.now_ms, 2))
            assert set(session.streams()) == {BOOK, PRINTS}
            assert [(stream.count, stream.is_flowing) for stream in session.streams().values()] == [(1, True), (2, True)]
            assert (session.age_ns(*BOOK, now_ns + 5 * SECOND), session.age_ns(*PRINTS, now_ns + 5 * SECOND)) == (5 * SECOND, 4 * SECOND)
            await stage.feed.cut()
            assert session.age_ns(*PRINTS, now_ns + 5 * SECOND) == 4 * SECOND
            assert [stream.is_flowing for stream in session.streams().values()] == [False, False]
            await stage.in_lane(session.forget, *PRINTS)
            assert set(session.streams()) == {BOOK}

        play(variant, scene)
