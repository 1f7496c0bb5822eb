"""Faults on the way of a frame: cancellation, errors, swaps at every position, poison, and an exception at every line.

Each test names the row of the fault catalogue that it shows (docs/faults.md).
"""

import asyncio
import gc
import linecache
import sys
from collections.abc import Callable, Iterable, Sequence
from itertools import combinations
from types import CodeType, FrameType, FunctionType
from typing import Any

import pytest

from infrastructure.book import BookSide, OrderBook
from infrastructure.book_sync import BookSync, FetchSnapshot, Resubscribe
from infrastructure.errors import DecodeError
from infrastructure.events import Architecture, BookState, Gap, GapReason, Trade
from infrastructure.feed import OfflineFeed
from infrastructure.networking.websocket.lane import EXCERPT_BYTES
from infrastructure.session import Session
from tests.harness import frames
from tests.harness.receivers import Notes, Raw, closed, drained, rest, trade_id, until
from tests.harness.variants import Variant, assert_accounts

DIRECT, STRATEGY = Architecture.DIRECT, Architecture.STRATEGY
Levels = dict[float, float]


class Model:
    """A book kept by plain dicts, by id: what it has to be after each frame of a script."""

    def __init__(self) -> None:
        self.bids: Levels = {}
        self.asks: Levels = {}
        self.at: dict[int, tuple[tuple[Any, ...], tuple[Any, ...]]] = {}

    def set(self, last_id: int, bids: frames.Pairs = (), asks: frames.Pairs = (), *, full: bool = False) -> None:
        """Apply one frame and remember how the book stands."""
        if full:
            self.bids, self.asks = {}, {}
        for side, levels in ((self.bids, bids), (self.asks, asks)):
            side.update({float(price): float(amount) for price, amount in levels})
            for price in [price for price, amount in side.items() if not amount]:
                del side[price]
        self.at[last_id] = (tuple(sorted(self.bids.items(), reverse=True)), tuple(sorted(self.asks.items())))

    def assert_agrees(self, book: OrderBook) -> None:
        """A book that may be believed stands exactly as the script has it."""
        if book.is_live:
            assert book.last_id is not None
            assert (tuple(book.bids), tuple(book.asks)) == self.at[book.last_id]

    def assert_showed(self, seen: frames.Seen) -> None:
        """So did every book that a callback was shown."""
        assert [shown for shown in seen.books if shown[1:] != self.at.get(shown[0] or 0)] == []


class Script:
    """A stretch of one symbol's traffic, as frames and as the model sees it: a whole book, then increments, with a trade after each."""

    def __init__(self, increments: int) -> None:
        self.model = Model()
        self.raws: list[bytes] = []
        self.trades: list[int] = []
        self._add(10, 10, [(100, 1), (99, 2)], [(101, 1), (102, 2)], full=True)
        for number in range(increments):
            bid, ask = 99 - number % 3, 102 + number % 2
            self._add(11 + number, 11 + number, [(bid, number % 4), (100, 1 + number)], [(ask, (number + 1) % 3)])
            self.raws.append(frames.trade(1 + number))
            self.trades.append(1 + number)

    def _add(self, first: int, last: int, bids: frames.Pairs, asks: frames.Pairs, *, full: bool = False) -> None:
        self.model.set(last, bids, asks, full=full)
        self.raws.append(frames.obu(None if full else first, last, bids, asks, full=full))


def trades_in(seen: frames.Seen) -> list[int]:
    return [int(trade.trade_id) for trade in seen.of(Trade)]


def other_tasks() -> set[asyncio.Task[Any]]:
    this = asyncio.current_task()
    return {task for task in asyncio.all_tasks() if task is not this}


def opened(notes: Notes, variant: Variant, callbacks: dict[str, Any]) -> OfflineFeed:
    return notes.feed(variant.architecture, adapted=variant.adapted, callbacks=callbacks)


def resting(callbacks: dict[str, Any]) -> dict[str, Any]:
    """The same callbacks, ``async``, each giving way before and after."""

    def declared(callback: Callable[[Any], None]) -> Any:
        async def on_event(event: Any) -> None:
            await asyncio.sleep(0)
            callback(event)
            await asyncio.sleep(0)

        return on_event

    return {name: declared(callback) for name, callback in callbacks.items()}


class TestR8Cancellation:
    """R8: the lane's task is cancelled at every one of its awaits."""

    async def cancelled_after(self, variant: Variant, turns: int, *, closing: bool = False) -> tuple[bool, OfflineFeed, frames.Seen]:
        script, seen, notes = Script(4), frames.Seen(), Notes(rests=1)
        feed = opened(notes, variant, resting(seen.callbacks))
        for raw in script.raws:
            feed.deliver(raw)
        if closing:
            feed.close()
        for _ in range(turns):
            await asyncio.sleep(0)
        lane = other_tasks()
        for task in lane:
            task.cancel()
        await asyncio.gather(*lane, return_exceptions=True)
        assert_accounts(feed)
        if not closing:
            # To see that everything goes on.
            feed.deliver(frames.trade(100))
            script.trades.append(100)
        await drained(feed)
        self.check(script, feed, seen)
        return bool(lane), feed, seen

    def check(self, script: Script, feed: OfflineFeed, seen: frames.Seen) -> None:
        accounting = feed.accounting.frames
        interrupted = accounting.shed_by_reason.get("interrupted", 0)
        assert interrupted <= 1
        assert accounting.delivered == accounting.received - interrupted
        assert accounting.rejected == 0
        trades = trades_in(seen)
        assert trades == sorted(set(trades))
        assert len(set(script.trades) - set(trades)) <= interrupted
        # Whoever lost something was told so.
        assert len([gap for gap in seen.gaps if gap.reason is GapReason.FAILED]) == interrupted
        script.model.assert_showed(seen)
        script.model.assert_agrees(feed.books[frames.SYMBOL])

    @pytest.mark.parametrize("closing", [False, True], ids=["open", "closing"])
    def test_cancelling_at_any_await_loses_at_most_the_frame_inside_and_says_so(self, variant: Variant, closing: bool) -> None:
        async def run() -> list[int]:
            interrupted: list[int] = []
            turns = 0
            while True:
                was_running, feed, _ = await self.cancelled_after(variant, turns, closing=closing)
                if not was_running:
                    return interrupted
                interrupted.append(feed.accounting.frames.shed_by_reason.get("interrupted", 0))
                turns += 1

        interrupted = asyncio.run(run())
        assert len(interrupted) > 20
        # Before its first step there was nothing inside, later there always was.
        assert interrupted == [0] + [1] * (len(interrupted) - 1)

    def test_what_is_asked_of_a_lane_while_it_is_being_cancelled_is_answered(self, variant: Variant) -> None:
        async def run() -> None:
            for turns in range(4):
                seen = frames.Seen()
                feed = opened(Notes(rests=1), variant, resting(seen.callbacks))
                feed.deliver(frames.trade(1))
                feed.deliver(frames.trade(2))
                for _ in range(turns):
                    await asyncio.sleep(0)
                for task in other_tasks():
                    task.cancel()
                await drained(feed)
                accounting = feed.accounting.frames
                interrupted = accounting.shed_by_reason.get("interrupted", 0)
                assert (accounting.received, accounting.delivered) == (2, 2 - interrupted)
                assert interrupted <= 1

        asyncio.run(run())

    def test_a_callback_that_awaits_something_cancelled_stops_nobody_but_its_own_frame(self, variant: Variant) -> None:
        async def run() -> None:
            seen = frames.Seen()

            async def on_trade(trade: Trade) -> None:
                if trade.trade_id == "2":
                    lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                    lost.cancel()
                    await lost
                seen.events.append(trade)

            feed = opened(Notes(), variant, seen.callbacks | {"on_trade": on_trade})
            for number in (1, 2, 3):
                feed.deliver(frames.trade(number))
            # Nobody waits for the lane: it goes on by itself.
            await until(lambda: trades_in(seen) == [1, 3])
            await drained(feed)
            assert feed.accounting.frames.shed_by_reason == {"interrupted": 1}

        asyncio.run(run())

    def test_the_event_loops_own_shutdown_leaves_the_accounts_in_order(self, variant: Variant) -> None:
        async def leave() -> None:
            for raw in script.raws:
                feed.deliver(raw)
            await rest(5)

        script, seen = Script(4), frames.Seen()
        feed = opened(Notes(rests=1), variant, resting(seen.callbacks))
        asyncio.run(leave())
        assert feed.accounting.frames.in_flight > 1
        assert_accounts(feed)
        asyncio.run(drained(feed))
        script.model.assert_showed(seen)
        script.model.assert_agrees(feed.books[frames.SYMBOL])


class TestR9Errors:
    """R9: a receiver raises."""

    def test_whichever_frames_a_receiver_fails_on_the_others_are_unharmed(self, variant: Variant) -> None:
        async def run(failing: set[int]) -> None:
            def raises(raw: Raw) -> None:
                if trade_id(raw) in failing:
                    raise ValueError("a mistake")

            seen, notes = frames.Seen(), Notes(raises=raises)
            feed = opened(notes, variant, seen.callbacks)
            for number in range(6):
                feed.deliver(frames.trade(number))
            await drained(feed)
            assert trades_in(seen) == [number for number in range(6) if number not in failing]
            assert notes.trades == [(variant.architecture, number) for number in range(6)]
            assert feed.accounting.frames.rejected_by_kind == ({"error": len(failing)} if failing else {})
            assert feed.metrics()[variant.architecture].errors == ({"error": len(failing)} if failing else {})
            assert [gap.reason for gap in seen.gaps] == [GapReason.FAILED] * len(failing)
            assert [letter.number - 1 for letter in feed.dead_letters] == sorted(failing)

        for size in range(7):
            for failing in combinations(range(6), size):
                asyncio.run(run(set(failing)))

    def test_a_failing_callback_costs_its_own_event_and_no_frame(self, variant: Variant) -> None:
        async def run() -> None:
            seen = frames.Seen()

            def on_trade(trade: Trade) -> None:
                seen.events.append(trade)
                if int(trade.trade_id) % 2:
                    raise DecodeError("a callback cannot make a frame fall back")

            script = Script(6)
            feed = opened(Notes(), variant, seen.callbacks | {"on_trade": on_trade})
            for raw in script.raws:
                feed.deliver(raw)
            await drained(feed)
            assert trades_in(seen) == script.trades
            assert feed.accounting.frames.delivered == len(script.raws)
            assert feed.accounting.events.callback_errors == 3
            assert feed.metrics()[DIRECT].fallbacks == 0
            assert feed.books[frames.SYMBOL].is_live
            script.model.assert_showed(seen)

        asyncio.run(run())


class TestR10Interruptions:
    """R10: what is raised is no mistake of anybody: it passes, and the data is not blamed for it."""

    PASSING = pytest.mark.parametrize("passing", [KeyboardInterrupt, SystemExit, asyncio.CancelledError, MemoryError])
    WHERE = pytest.mark.parametrize("where", ["receiver", "callback", "async callback"])

    @PASSING
    @WHERE
    def test_it_passes_and_the_lane_goes_on_afterwards(self, variant: Variant, passing: type[BaseException], where: str) -> None:
        seen = frames.Seen()
        fell: list[str] = []

        def raises(raw: Raw) -> None:
            if where == "receiver" and trade_id(raw) == 2 and not fell:
                fell.append(where)
                raise passing

        def on_trade(trade: Trade) -> None:
            if where != "receiver" and trade.trade_id == "2" and not fell:
                fell.append(where)
                raise passing
            seen.events.append(trade)

        async def on_trade_async(trade: Trade) -> None:
            await asyncio.sleep(0)
            on_trade(trade)

        async def deliver() -> None:
            # What ends the lane's task without anybody waiting for it, the event loop tells.
            asyncio.get_running_loop().set_exception_handler(lambda loop, context: passed.append(context.get("exception")))
            for number in (1, 2, 3):
                try:
                    feed.deliver(frames.trade(number))
                except passing as error:
                    passed.append(error)
            await until(lambda: bool(fell))
            await rest()
            gc.collect()

        passed: list[BaseException | None] = []
        callback = on_trade_async if where == "async callback" else on_trade
        feed = opened(Notes(raises=raises), variant, seen.callbacks | {"on_trade": callback})
        try:
            asyncio.run(deliver())
        except passing as error:
            passed.append(error)
        if passing is not asyncio.CancelledError:
            assert passing in map(type, passed)
        assert_accounts(feed)
        asyncio.run(drained(feed))
        assert trades_in(seen) == [1, 3]
        accounting = feed.accounting
        assert (accounting.frames.delivered, accounting.frames.shed_by_reason) == (2, {"interrupted": 1})
        assert (accounting.frames.rejected, accounting.events.callback_errors) == (0, 0)
        assert feed.metrics()[variant.architecture].errors == {}
        assert feed.dead_letters == []
        assert [gap.reason for gap in seen.gaps] == [GapReason.FAILED]
        asyncio.run(closed(feed))
        assert_accounts(feed)

    def test_cancelling_whoever_delivers_stops_the_callback_that_runs_for_it(self) -> None:
        def on_trade(trade: Trade) -> None:
            raise asyncio.CancelledError

        async def run() -> None:
            feed = Notes().feed(DIRECT, callbacks={"on_trade": on_trade})
            with pytest.raises(asyncio.CancelledError):
                feed.deliver(frames.trade(1))
            await drained(feed)
            assert feed.accounting.frames.shed_by_reason == {"interrupted": 1}

        asyncio.run(run())


class TestR11Metrics:
    """R11: figures are fetched, not pushed: whoever fetches them is not in a frame's way."""

    def test_a_sink_of_metrics_that_fails_costs_no_frame(self, variant: Variant) -> None:
        async def sink(feed: OfflineFeed) -> None:
            feed.metrics()
            raise ConnectionError("the exporter is gone")

        async def run() -> None:
            seen = frames.Seen()
            feed = opened(Notes(rests=1), variant, seen.callbacks)
            sinks = []
            for number in range(50):
                feed.deliver(frames.trade(number))
                sinks.append(asyncio.create_task(sink(feed)))
                await asyncio.sleep(0)
            failures = await asyncio.gather(*sinks, return_exceptions=True)
            await drained(feed)
            assert {type(failure) for failure in failures} == {ConnectionError}
            assert trades_in(seen) == list(range(50))
            assert feed.metrics()[variant.architecture].messages == {"trade": 50}
            assert feed.metrics()[variant.architecture].errors == {}

        asyncio.run(run())

    def test_a_sink_that_never_ends_holds_nothing_up(self, variant: Variant) -> None:
        async def sink(feed: OfflineFeed, forever: asyncio.Future[None]) -> None:
            summary = feed.metrics()
            await forever
            assert summary

        async def run() -> None:
            seen = frames.Seen()
            feed = opened(Notes(), variant, seen.callbacks)
            forever: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            waiting = asyncio.create_task(sink(feed, forever))
            await asyncio.sleep(0)
            for number in range(10):
                feed.deliver(frames.trade(number))
            await drained(feed)
            assert trades_in(seen) == list(range(10))
            forever.set_result(None)
            await waiting

        asyncio.run(run())

    def test_what_a_sink_does_with_its_figures_changes_nothing(self, variant: Variant) -> None:
        async def run() -> None:
            feed = opened(Notes(), variant, {})
            feed.deliver(frames.trade(1))
            feed.deliver(b"nonsense")
            await drained(feed)
            before, accounting = feed.metrics(), feed.accounting
            for summary in before.values():
                summary.messages.clear()  # type: ignore[attr-defined]  # a sink that does what it must not
                summary.errors.clear()  # type: ignore[attr-defined]
            accounting.frames.rejected_by_kind.clear()  # type: ignore[attr-defined]
            feed.metrics().clear()
            feed.dead_letters.clear()
            assert feed.metrics()[variant.architecture].messages == {"trade": 1}
            assert feed.metrics()[variant.architecture].errors == {"undecodable": 1}
            assert feed.accounting.frames.rejected_by_kind == {"undecodable": 1}
            assert len(feed.dead_letters) == 1
            assert_accounts(feed)

        asyncio.run(run())


def switched_at(turns: Sequence[int], number: int, first: Architecture) -> Architecture:
    """The architecture that frame ``number`` belongs to, if a switch was asked for before each of ``turns``."""
    return first if sum(turn <= number for turn in turns) % 2 == 0 else first.other


class TestS1Batch:
    """S1: frames delivered in one batch, a swap between two of them."""

    def test_a_swap_between_any_two_frames_of_a_batch_takes_effect_with_the_next(self, variant: Variant) -> None:
        async def run(turns: Sequence[int]) -> None:
            seen, notes = frames.Seen(), Notes()
            feed = opened(notes, variant, seen.callbacks)
            switches = []
            for number in range(6):
                if number in turns:
                    switches.append(feed.switch(switched_at(turns, number, variant.architecture)))
                feed.deliver(frames.trade(number))
            await drained(feed)
            assert [(await switch).after_frame for switch in switches] == list(turns)
            assert notes.trades == [(switched_at(turns, number, variant.architecture), number) for number in range(6)]
            assert trades_in(seen) == list(range(6))

        for size in range(4):
            for turns in combinations(range(6), size):
                asyncio.run(run(turns))

    def test_a_swap_that_a_callback_asks_for_takes_effect_with_the_next_frame_of_the_batch(self, variant: Variant) -> None:
        async def run(turn: int) -> None:
            notes, seen = Notes(), frames.Seen()

            def on_trade(trade: Trade) -> None:
                seen.events.append(trade)
                if trade.trade_id == str(turn):
                    feed.switch(variant.architecture.other)

            feed = opened(notes, variant, seen.callbacks | {"on_trade": on_trade})
            for number in range(5):
                feed.deliver(frames.trade(number))
            await drained(feed)
            # Directly: with the very next frame. Queued: after what was delivered before the callback ran.
            at_once = variant == Variant(DIRECT, adapted=False)
            after = turn + 1 if at_once else 5
            assert notes.trades == [(switched_at([after], number, variant.architecture), number) for number in range(5)]
            assert trades_in(seen) == list(range(5))

        for turn in range(5):
            asyncio.run(run(turn))


class TestS2Backlog:
    """S2: a swap with a backlog: what came before goes to the old path, what came after to the new."""

    def test_swaps_at_every_depth_of_a_backlog_and_every_moment_of_its_draining(self, variant: Variant) -> None:
        async def run(backlog: int, moment: int, between: int) -> None:
            seen, notes = frames.Seen(), Notes(rests=1)
            feed = opened(notes, variant, resting(seen.callbacks))
            numbers = iter(range(100))

            def deliver(count: int) -> None:
                for _ in range(count):
                    feed.deliver(frames.trade(next(numbers)))

            deliver(backlog)
            await rest(moment)
            away = feed.switch(variant.architecture.other)
            deliver(between)
            await asyncio.sleep(0)
            back = feed.switch(variant.architecture)
            deliver(2)
            receipts = [await away, await back]
            await drained(feed)
            turns = [backlog, backlog + between]
            assert [receipt.after_frame for receipt in receipts] == turns
            assert notes.trades == [(switched_at(turns, number, variant.architecture), number) for number in range(turns[1] + 2)]
            assert trades_in(seen) == list(range(turns[1] + 2))

        async def all_of_them() -> None:
            for backlog in range(4):
                for moment in range(3 * backlog + 2):
                    for between in range(3):
                        await run(backlog, moment, between)

        asyncio.run(all_of_them())


class RestScript:
    """A book that starts from REST, is broken by a hole and repaired: each step is a frame, or an answer of REST with its id."""

    def __init__(self) -> None:
        self.model = Model()
        self.steps: list[bytes | int] = []
        self._answers: dict[int, bytes] = {}
        model = self.model
        # What the venue's book is, frame by frame, whoever heard it.
        model.set(100, [(100, 1)], [(101, 1)], full=True)
        for last in range(101, 116):
            bids, asks = [(100 - last % 4, last % 3)], [(101 + last % 3, 1 + last % 2)]
            model.set(last, bids, asks)
            self._answers[last] = frames.rest_book(last, *model.at[last])
            if last in (101, 102, 103):
                self.steps.append(frames.update(last, last, bids, asks))
            if last == 103:
                # The first answer is older than what is held only in part: it covers 101, so 102 and 103 follow from what is held.
                self.steps.append(101)
            if last in (104, 105, 108, 109, 110):
                self.steps.append(frames.update(last, last, bids, asks))
            if last == 110:
                # After the hole of 106 and 107: first an answer that is too old to bridge it, then one that does.
                self.steps += [105, 109]
            if last > 110:
                self.steps += [frames.update(last, last, bids, asks), frames.trade(last)]

    def play(self, feed: OfflineFeed, step: bytes | int) -> None:
        if isinstance(step, int):
            feed.snapshot(frames.SYMBOL, self._answers[step], received_ns=1)
        else:
            feed.deliver(step, received_ns=1)


class TestS3Sync:
    """S3: a swap while a book is being put in step, at every position."""

    def play(self, variant: Variant, turns: Sequence[int], give_way: bool) -> tuple[list[Any], list[Any]]:
        script, seen = RestScript(), frames.Seen()

        async def run() -> None:
            feed = opened(Notes(rests=1), variant, seen.callbacks)
            for number, step in enumerate(script.steps):
                if number in turns:
                    feed.switch(switched_at(turns, number, variant.architecture))
                script.play(feed, step)
                if give_way:
                    await rest(number % 4)
            await drained(feed)
            script.model.assert_showed(seen)
            book = feed.books[frames.SYMBOL]
            assert (book.state, book.last_id) == (BookState.LIVE, 115)
            script.model.assert_agrees(book)

        asyncio.run(run())
        return seen.events, seen.books

    @pytest.mark.parametrize("give_way", [False, True], ids=["in one batch", "spread"])
    def test_a_swap_at_any_two_positions_of_a_synchronisation_changes_nothing_that_is_seen(self, variant: Variant, give_way: bool) -> None:
        expected = self.play(Variant(DIRECT, adapted=False), (), give_way=False)
        assert [gap.reason for gap in expected[0] if isinstance(gap, Gap)] == [GapReason.SEQUENCE]
        assert [shown[0] for shown in expected[1]] == [103, 104, 105, 110, 111, 112, 113, 114, 115]
        positions = range(len(RestScript().steps))
        for turns in [(), *combinations(positions, 1), *combinations(positions, 2)]:
            assert self.play(variant, turns, give_way) == expected, turns


class TestS5Whole:
    """S5: the unit of a swap is the frame. A lane is handed whole frames only; pieces of one have no way in."""

    def test_a_swap_between_any_two_frames_hands_each_of_them_to_exactly_one_receiver_whole(self, variant: Variant) -> None:
        script = Script(4)

        async def run(turns: Sequence[int]) -> None:
            notes = Notes(rests=1)
            feed = opened(notes, variant, {})
            for number, raw in enumerate(script.raws):
                if number in turns:
                    feed.switch(switched_at(turns, number, variant.architecture))
                feed.deliver(raw)
            await drained(feed)
            assert notes.handled == [(switched_at(turns, number, variant.architecture), raw) for number, raw in enumerate(script.raws)]
            assert all(one is other for (_, one), other in zip(notes.handled, script.raws, strict=True))
            assert feed.accounting.frames.delivered == len(script.raws)

        for turns in combinations(range(len(script.raws)), 2):
            asyncio.run(run(turns))

    def test_a_piece_of_a_frame_is_a_bad_frame_and_joined_to_nothing(self, variant: Variant) -> None:
        async def run() -> None:
            seen = frames.Seen()
            feed = opened(Notes(), variant, seen.callbacks)
            whole = frames.trade(1)
            for cut in range(1, len(whole), 7):
                feed.deliver(whole[:cut])
                feed.switch(variant.architecture.other)
                feed.deliver(whole[cut:])
                feed.switch(variant.architecture)
            feed.deliver(whole)
            await drained(feed)
            assert trades_in(seen) == [1]
            accounting = feed.accounting.frames
            assert accounting.rejected_by_kind == {"undecodable": accounting.received - 1}

        asyncio.run(run())


class TestS6Poison:
    """S6: a frame that direct cannot read is given to the strategies once."""

    ADAPTED = pytest.mark.parametrize("adapted", [False, True], ids=["direct", "direct-adapted"])

    @ADAPTED
    def test_each_poisoned_frame_is_handled_once_more_and_each_trade_emitted_once(self, adapted: bool) -> None:
        async def run(poisoned: Iterable[int], rests: int) -> None:
            poison = [frames.trade(number) for number in poisoned]
            notes, seen = Notes(poison=poison, rests=rests), frames.Seen()
            feed = opened(notes, Variant(DIRECT, adapted), seen.callbacks)
            for number in range(5):
                feed.deliver(frames.trade(number))
            await drained(feed)
            assert trades_in(seen) == list(range(5))
            assert notes.by(STRATEGY) == sorted(poisoned)
            assert notes.by(DIRECT) == list(range(5))
            assert feed.accounting.frames.delivered == 5
            assert feed.metrics()[DIRECT].fallbacks == len(poison)
            assert feed.dead_letters == []

        for size in range(6):
            for poisoned in combinations(range(5), size):
                asyncio.run(run(poisoned, rests=size % 2))

    @ADAPTED
    def test_what_neither_can_read_is_tried_once_on_each_and_a_sample_is_kept(self, adapted: bool) -> None:
        async def run() -> None:
            notes, seen = Notes(), frames.Seen()
            feed = opened(notes, Variant(DIRECT, adapted), seen.callbacks)
            bad = frames.trade(2, price="-1").replace(b'"result"', b'"padding":"' + b"x" * EXCERPT_BYTES + b'","result"')
            for raw in (frames.trade(1), bad, frames.trade(3)):
                feed.deliver(raw, received_ns=9)
            await drained(feed)
            assert [architecture for architecture, raw in notes.handled if raw is bad] == [DIRECT, STRATEGY]
            assert trades_in(seen) == [1, 3]
            (letter,) = feed.dead_letters
            assert (letter.number, letter.received_ns, letter.architecture, letter.kind) == (2, 9, STRATEGY, "undecodable")
            assert letter.excerpt == bad[:EXCERPT_BYTES]
            assert [(gap.symbol, gap.reason) for gap in seen.gaps] == [(frames.SYMBOL, GapReason.REJECTED)]
            assert feed.accounting.frames.rejected_by_kind == {"undecodable": 1}

        asyncio.run(run())

    @ADAPTED
    def test_a_poisoned_update_reaches_its_book_in_its_turn(self, adapted: bool) -> None:
        script = Script(5)
        for poisoned in range(len(script.raws)):

            async def run(poison: bytes) -> None:
                seen = frames.Seen()
                feed = opened(Notes(poison=[poison], rests=1), Variant(DIRECT, adapted), seen.callbacks)
                for raw in script.raws:
                    feed.deliver(raw)
                await drained(feed)
                assert [shown[0] for shown in seen.books] == list(script.model.at)
                assert seen.gaps == []
                script.model.assert_showed(seen)

            asyncio.run(run(script.raws[poisoned]))

    @ADAPTED
    def test_a_switch_after_a_poisoned_frame_waits_for_it(self, adapted: bool) -> None:
        async def run() -> None:
            notes, seen = Notes(poison=[frames.trade(1)], rests=2), frames.Seen()
            feed = opened(notes, Variant(DIRECT, adapted), seen.callbacks)
            feed.deliver(frames.trade(1))
            switch = feed.switch(STRATEGY)
            assert not switch.is_done
            feed.deliver(frames.trade(2))
            await drained(feed)
            assert trades_in(seen) == [1, 2]
            assert notes.by(STRATEGY) == [1, 2]

        asyncio.run(run())


class Fault(Exception):
    """What the tracer throws."""


#: Where a frame is judged and applied, and where an answer of REST is.
APPLYING: list[Any] = [Session.apply, Session._act, Session._publish, OrderBook.apply, OrderBook.replace, BookSide.set, BookSide.replace]
ANSWERING: list[Any] = [*APPLYING[1:], Session.snapshot, BookSync.snapshot, BookSync._live]
CUTTING: list[Any] = [Session.disconnect, Session._act, BookSync.disconnect]

#: Lines that are no place for a fault: returning a name cannot fail, and before the stream is in hand nothing has begun.
SPARED = ("return events", "stream = self._snapshot_stream(symbol)", "self._streams_in_hand = ")


class FaultAt:
    """Raises at the n-th line that is executed of ``functions``, once."""

    def __init__(self, number: int, functions: Sequence[FunctionType]) -> None:
        self._left = number
        self._codes: set[CodeType] = {function.__code__ for function in functions}
        self.where: str | None = None

    def __enter__(self) -> "FaultAt":
        self._before = sys.gettrace()
        sys.settrace(self._call)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._before)

    def _call(self, frame: FrameType, event: str, argument: Any) -> Any:
        return self._line if frame.f_code in self._codes else None

    def _line(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "line" and not linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip().startswith(SPARED):
            self._left -= 1
            if not self._left:
                self.where = f"{frame.f_code.co_qualname}:{frame.f_lineno}"
                raise Fault(self.where)
        return self._line


#: The frame in whose middle the fault strikes, on top of a book that stands at 12.
STRUCK: dict[str, tuple[int, int, frames.Pairs, frames.Pairs, bool]] = {
    "increment": (13, 13, [(100, 0), (98, 3), (99, 7)], [(101, 0), (103, 3)], False),
    "whole book": (20, 20, [(90, 1), (89, 1)], [(91, 1), (92, 1)], True),
    "crossing": (13, 13, [(105, 1)], [], False),
    "hole": (15, 15, [(99, 9)], [], False),
}


class TestS7HalfApplied:
    """S7: an exception at every line of what applies a frame."""

    def strike(self, variant: Variant, kind: str, number: int) -> str | None:
        """Play a script with a fault at the ``number``-th line of the struck frame's application; say where that was."""
        first, last, bids, asks, full = STRUCK[kind]
        seen, model = frames.Seen(), Model()
        model.set(10, [(100, 1), (99, 2)], [(101, 1), (102, 2)], full=True)
        model.set(11, [(99, 3)], [])
        model.set(12, [], [(102, 5)])

        async def run() -> str | None:
            feed = opened(Notes(), variant, seen.callbacks)
            feed.deliver(frames.obu(None, 10, [(100, 1), (99, 2)], [(101, 1), (102, 2)], full=True))
            feed.deliver(frames.obu(11, 11, [(99, 3)]))
            feed.deliver(frames.obu(12, 12, [], [(102, 5)]))
            await drained(feed)
            book = feed.books[frames.SYMBOL]
            if kind in ("increment", "whole book"):
                model.set(last, bids, asks, full=full)
            with FaultAt(number, APPLYING) as fault:
                feed.deliver(frames.obu(None if full else first, last, bids, asks, full=full))
                await drained(feed)
            if fault.where is None:
                return None
            model.assert_agrees(book)
            assert [letter.error for letter in feed.dead_letters] == [f"Fault: {fault.where}"]
            assert feed.accounting.frames.rejected_by_kind == {"error": 1}
            assert [gap.reason for gap in seen.gaps][-1:] == [GapReason.FAILED]
            # The stream goes on: what comes next is believed only if it fits what the book really is.
            feed.deliver(frames.obu(last + 1, last + 1, [(97, 1)]))
            model.set(last + 1, [(97, 1)])
            await drained(feed)
            model.assert_agrees(book)
            if not book.is_live:
                assert any(isinstance(request, Resubscribe) for request in feed.take_requests()), fault.where
            feed.deliver(frames.obu(None, 30, [(50, 1)], [(51, 1)], full=True))
            model.set(30, [(50, 1)], [(51, 1)], full=True)
            feed.deliver(frames.obu(31, 31, [(50, 2)]))
            model.set(31, [(50, 2)])
            await drained(feed)
            assert (book.state, book.last_id) == (BookState.LIVE, 31)
            model.assert_agrees(book)
            model.assert_showed(seen)
            return fault.where

        return asyncio.run(run())

    @pytest.mark.parametrize("kind", STRUCK)
    def test_a_fault_at_any_line_leaves_the_book_old_or_new_or_not_live(self, variant: Variant, kind: str) -> None:
        struck = self.all_of_them(lambda number: self.strike(variant, kind, number))
        assert {where.partition(":")[0] for where in struck} >= {"Session.apply", "Session._act"}
        if kind == "increment":
            assert {where.partition(":")[0] for where in struck} >= {"Session._publish", "OrderBook.apply", "BookSide.set"}
        if kind == "whole book":
            assert {where.partition(":")[0] for where in struck} >= {"Session._publish", "OrderBook.replace", "BookSide.replace"}

    def all_of_them(self, strike: Callable[[int], str | None]) -> list[str]:
        struck: list[str] = []
        while (where := strike(len(struck) + 1)) is not None:
            struck.append(where)
        return struck

    def strike_answer(self, variant: Variant, number: int) -> str | None:
        """The same in the middle of an answer of REST, with updates that wait for it."""
        seen, model = frames.Seen(), Model()
        model.set(100, [(100, 1), (99, 1)], [(101, 1)], full=True)
        answer = frames.rest_book(100, *model.at[100])

        async def run() -> str | None:
            feed = opened(Notes(), variant, seen.callbacks)
            for last in (99, 100, 101, 102):
                feed.deliver(frames.update(last, last, [(98, last)]))
                if last > 100:
                    model.set(last, [(98, last)])
            await drained(feed)
            feed.take_requests()
            with FaultAt(number, ANSWERING) as fault:
                await feed.snapshot(frames.SYMBOL, answer)
                await drained(feed)
            if fault.where is None:
                return None
            book = feed.books[frames.SYMBOL]
            model.assert_agrees(book)
            assert [error.text for error in seen.errors] == [f"Fault: {fault.where}"]
            feed.deliver(frames.update(103, 103, [(97, 1)]))
            model.set(103, [(97, 1)])
            await drained(feed)
            model.assert_agrees(book)
            if not book.is_live:
                assert any(isinstance(request, FetchSnapshot) for request in feed.take_requests()), fault.where
                await feed.snapshot(frames.SYMBOL, frames.rest_book(103, *model.at[103]))
            feed.deliver(frames.update(104, 104, [(96, 1)]))
            model.set(104, [(96, 1)])
            await drained(feed)
            assert (book.state, book.last_id) == (BookState.LIVE, 104), fault.where
            model.assert_agrees(book)
            model.assert_showed(seen)
            return fault.where

        return asyncio.run(run())

    def test_a_fault_at_any_line_of_an_answer_of_rest_does_so_too(self, variant: Variant) -> None:
        struck = self.all_of_them(lambda number: self.strike_answer(variant, number))
        functions = {where.partition(":")[0] for where in struck}
        assert functions >= {"Session.snapshot", "BookSync.snapshot", "Session._publish", "OrderBook.replace", "BookSide.set"}

    def strike_cut(self, variant: Variant, number: int) -> str | None:
        """The same in the middle of a cut, which concerns several books and a stream of trades."""
        seen = frames.Seen()

        async def run() -> str | None:
            feed = opened(Notes(), variant, seen.callbacks)
            for pair in ("BTC_USDT", "ETH_USDT"):
                feed.deliver(frames.obu(None, 10, [(100, 1)], [(101, 1)], full=True, pair=pair))
            feed.deliver(frames.trade(1))
            await drained(feed)
            with FaultAt(number, CUTTING) as fault:
                await feed.cut()
                await drained(feed)
            if fault.where is None:
                return None
            assert [book.symbol for book in feed.books.values() if book.is_live] == [], fault.where
            assert {gap.symbol for gap in seen.gaps} >= {"BTC/USDT", "ETH/USDT"}, fault.where
            for pair in ("BTC_USDT", "ETH_USDT"):
                feed.deliver(frames.obu(None, 20, [(50, 1)], [(51, 1)], full=True, pair=pair))
            await drained(feed)
            assert [book.state for book in feed.books.values()] == [BookState.LIVE] * 2, fault.where
            return fault.where

        return asyncio.run(run())

    def test_a_fault_at_any_line_of_a_cut_leaves_no_book_live(self, variant: Variant) -> None:
        struck = self.all_of_them(lambda number: self.strike_cut(variant, number))
        assert {where.partition(":")[0] for where in struck} == {"Session.disconnect", "Session._act", "BookSync.disconnect"}
