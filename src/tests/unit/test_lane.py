"""The lane: order, switches, fallback, backpressure, closing, and the account of frames at every moment."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from itertools import count
from typing import Any

import pytest

from infrastructure.book import OrderBook
from infrastructure.clock import Clock
from infrastructure.errors import AwaitedInsideCallback
from infrastructure.events import Architecture, BookStateChange, ErrorEvent, Gap, GapReason, Trade
from infrastructure.feed import OfflineFeed
from infrastructure.metrics import Accounting
from infrastructure.networking.websocket.lane import DEAD_LETTERS, EXCERPT_BYTES, FRAMES_PER_TURN
from infrastructure.networking.websocket.marker import SwitchReceipt
from tests.harness import frames
from tests.harness.receivers import Notes, drained, rest, until
from tests.harness.variants import Variant, assert_accounts

DIRECT, STRATEGY = Architecture.DIRECT, Architecture.STRATEGY


def deliver(feed: OfflineFeed, *numbers: int) -> None:
    """Deliver one trade for each number, in one turn of the event loop."""
    for number in numbers:
        feed.deliver(frames.trade(number))


def ticking(step_ns: int = 1) -> Clock:
    """A clock that moves by ``step_ns`` whenever it is read."""
    ticks: Iterator[int] = count(0, step_ns)
    return Clock(lambda: next(ticks), offset_ns=1_000_000)


class TestOrder:
    def test_a_synchronous_receiver_has_handled_the_frame_when_deliver_returns(self) -> None:
        notes = Notes()
        feed = notes.feed(DIRECT)
        deliver(feed, 1)
        assert notes.trades == [(DIRECT, 1)]
        assert feed.accounting.frames.delivered == 1
        assert_accounts(feed)

    def test_a_queued_receiver_handles_the_frame_in_the_lanes_task(self) -> None:
        async def run() -> None:
            notes = Notes()
            feed = notes.feed(STRATEGY)
            deliver(feed, 1, 2)
            assert notes.trades == []
            assert feed.accounting.frames.in_flight == 2
            assert_accounts(feed)
            await drained(feed)
            assert notes.trades == [(STRATEGY, 1), (STRATEGY, 2)]

        asyncio.run(run())

    def test_async_callbacks_put_the_direct_receiver_into_the_queue_too(self) -> None:
        async def run() -> None:
            seen = frames.Seen()
            feed = Notes().feed(DIRECT, callbacks=seen.async_callbacks)
            deliver(feed, 1)
            assert seen.events == []
            await drained(feed)
            assert [trade.trade_id for trade in seen.of(Trade)] == ["1"]

        asyncio.run(run())

    def test_a_queue_of_hundreds_is_handled_in_order_while_more_arrives(self, variant: Variant) -> None:
        async def run() -> None:
            seen = frames.Seen()
            feed = variant.feed(**seen.async_callbacks)
            for start in range(0, 600, 100):
                deliver(feed, *range(start, start + 100))
                await asyncio.sleep(0)
            await drained(feed)
            assert [trade.trade_id for trade in seen.of(Trade)] == [str(number) for number in range(600)]

        asyncio.run(run())

    def test_a_synchronous_receiver_waits_behind_what_is_queued(self) -> None:
        async def run() -> None:
            notes = Notes()
            feed = notes.feed(STRATEGY)
            deliver(feed, 1, 2)
            switch = feed.switch(DIRECT)
            deliver(feed, 3)
            assert notes.trades == []
            await switch
            await drained(feed)
            assert notes.trades == [(STRATEGY, 1), (STRATEGY, 2), (DIRECT, 3)]

        asyncio.run(run())

    def test_a_synchronous_receiver_waits_while_another_frame_is_inside_a_receiver(self) -> None:
        async def run() -> None:
            notes = Notes(rests=3)
            feed = notes.feed(STRATEGY)
            deliver(feed, 1)
            feed.switch(DIRECT)
            await rest(2)
            assert notes.trades == [(STRATEGY, 1)]
            deliver(feed, 2)
            assert notes.trades == [(STRATEGY, 1)]
            await drained(feed)
            assert notes.trades == [(STRATEGY, 1), (DIRECT, 2)]

        asyncio.run(run())

    def test_a_frame_of_an_idle_moment_does_not_overtake_the_one_inside_the_strategies(self) -> None:
        async def run() -> None:
            notes = Notes(rests=3)
            seen = frames.Seen()
            feed = notes.feed(STRATEGY, callbacks=seen.callbacks)
            deliver(feed, 1)
            await rest(2)
            # Nothing waits now, but one frame is inside the receiver: the switch must not take place yet.
            switch = feed.switch(DIRECT)
            assert not switch.is_done
            deliver(feed, 2)
            await drained(feed)
            assert [trade.trade_id for trade in seen.of(Trade)] == ["1", "2"]

        asyncio.run(run())

    def test_frames_are_handled_at_once_again_when_the_lane_is_empty(self) -> None:
        async def run() -> None:
            notes = Notes()
            feed = notes.feed(STRATEGY)
            deliver(feed, 1)
            await feed.switch(DIRECT)
            deliver(feed, 2)
            assert notes.trades == [(STRATEGY, 1), (DIRECT, 2)]
            await drained(feed)

        asyncio.run(run())

    def test_a_frame_delivered_inside_a_callback_waits_until_the_callback_has_returned(self, variant: Variant) -> None:
        async def run() -> None:
            order: list[str] = []

            def on_trade(trade: Trade) -> None:
                order.append(f"begin {trade.trade_id}")
                if trade.trade_id == "1":
                    deliver(feed, 2, 3)
                order.append(f"end {trade.trade_id}")

            feed = variant.feed(on_trade=on_trade)
            deliver(feed, 1)
            await drained(feed)
            assert order == [f"{what} {number}" for number in (1, 2, 3) for what in ("begin", "end")]

        asyncio.run(run())

    def test_frames_delivered_outside_an_event_loop_are_handled_when_a_drain_is_awaited(self) -> None:
        notes = Notes(poison=(frames.trade(2),))
        feed = notes.feed(DIRECT)
        deliver(feed, 1, 2, 3)
        assert notes.trades == [(DIRECT, 1), (DIRECT, 2)]
        assert feed.accounting.frames.in_flight == 2
        assert_accounts(feed)
        asyncio.run(drained(feed))
        assert notes.trades == [(DIRECT, 1), (DIRECT, 2), (STRATEGY, 2), (DIRECT, 3)]

    def test_a_marker_that_was_made_outside_an_event_loop_is_reached_when_it_is_awaited(self) -> None:
        notes = Notes()
        feed = notes.feed(STRATEGY)
        deliver(feed, 1)
        switch = feed.switch(DIRECT)
        deliver(feed, 2)
        receipt = asyncio.run(asyncio.wait_for(_awaited(switch), 5))
        assert receipt is switch.receipt
        asyncio.run(drained(feed))
        assert notes.trades == [(STRATEGY, 1), (DIRECT, 2)]

    def test_a_lane_whose_event_loop_ended_goes_on_in_the_next(self) -> None:
        async def leave_at_once() -> None:
            deliver(feed, 1)

        seen = frames.Seen()
        feed = Notes().feed(STRATEGY, callbacks=seen.callbacks)
        asyncio.run(leave_at_once())
        asyncio.run(drained(feed))
        assert [trade.trade_id for trade in seen.of(Trade)] == ["1"]

    def test_the_lane_gives_way_to_other_tasks_after_every_64_frames(self) -> None:
        async def run() -> None:
            notes = Notes()
            feed = notes.feed(STRATEGY)
            deliver(feed, *range(3 * FRAMES_PER_TURN))
            turns = []
            while feed.accounting.frames.in_flight:
                turns.append(len(notes.handled))
                await asyncio.sleep(0)
            assert turns == [0, FRAMES_PER_TURN, 2 * FRAMES_PER_TURN]

        asyncio.run(run())

    def test_events_carry_the_receive_time_of_their_own_frame_however_long_it_waited(self, variant: Variant) -> None:
        async def run() -> None:
            seen = frames.Seen()
            feed = variant.feed(**seen.async_callbacks)
            for number in range(1, 4):
                feed.deliver(frames.trade(number), received_ns=number * 1000)
            await drained(feed)
            assert [trade.received_ns for trade in seen.of(Trade)] == [1000, 2000, 3000]

        asyncio.run(run())


class TestSwitch:
    def test_an_idle_lane_switches_at_once(self) -> None:
        async def run() -> None:
            notes = Notes()
            feed = notes.feed(DIRECT)
            deliver(feed, 1, 2)
            switch = feed.switch(STRATEGY)
            assert switch.is_done
            receipt = await switch
            assert (receipt.architecture, receipt.after_frame, receipt.backlog, receipt.changed) == (STRATEGY, 2, 0, True)
            deliver(feed, 3)
            await drained(feed)
            assert notes.trades == [(DIRECT, 1), (DIRECT, 2), (STRATEGY, 3)]

        asyncio.run(run())

    def test_a_busy_lane_switches_after_exactly_the_frames_that_came_before_the_request(self) -> None:
        async def run() -> None:
            notes = Notes(rests=1)
            feed = notes.feed(STRATEGY)
            deliver(feed, *range(1, 11))
            await until(lambda: len(notes.handled) == 4)
            switch = feed.switch(DIRECT)
            assert feed.architecture is STRATEGY
            deliver(feed, *range(11, 16))
            receipt = await switch
            assert (receipt.after_frame, receipt.backlog, receipt.changed, receipt.withdrawn) == (10, 7, True, False)
            await drained(feed)
            assert notes.trades == [(STRATEGY, number) for number in range(1, 11)] + [(DIRECT, number) for number in range(11, 16)]

        asyncio.run(run())

    def test_a_receipt_says_how_long_the_old_receiver_went_on(self) -> None:
        async def run() -> SwitchReceipt:
            feed = Notes().feed(STRATEGY, clock=ticking(10))
            deliver(feed, 1, 2, 3)
            receipt = await feed.switch(DIRECT)
            assert feed.metrics()[DIRECT].switch_wait_p99_ns == receipt.wait_ns
            return receipt

        receipt = asyncio.run(run())
        assert receipt.requested_ns < receipt.switched_ns
        # Three frames, each timed at its begin and its end, its callback too, and the moment of the switch itself.
        assert receipt.wait_ns == 130

    def test_switches_asked_for_one_after_the_other_happen_so_each_at_its_own_frame(self) -> None:
        async def run() -> None:
            notes = Notes(rests=1)
            feed = notes.feed(STRATEGY)
            switches = []
            for number in range(1, 9):
                deliver(feed, number)
                switches.append(feed.switch(DIRECT if number % 2 else STRATEGY))
            receipts = await asyncio.gather(*switches)
            assert [receipt.after_frame for receipt in receipts] == list(range(1, 9))
            assert [receipt.backlog for receipt in receipts] == list(range(1, 9))
            assert all(receipt.changed for receipt in receipts)
            assert [receipt.switched_ns for receipt in receipts] == sorted(receipt.switched_ns for receipt in receipts)
            await drained(feed)
            assert notes.trades == [(STRATEGY if number % 2 else DIRECT, number) for number in range(1, 9)]
            assert feed.switches == 8

        asyncio.run(run())

    @pytest.mark.parametrize("backlog", [0, 3])
    def test_a_switch_to_the_architecture_in_place_changes_nothing(self, variant: Variant, backlog: int) -> None:
        async def run() -> None:
            feed = variant.feed()
            deliver(feed, *range(backlog))
            receipt = await feed.switch(variant.architecture)
            assert (receipt.changed, receipt.withdrawn, receipt.after_frame) == (False, False, backlog)
            assert feed.switches == 0
            assert feed.metrics()[variant.architecture].switches == 0
            await drained(feed)

        asyncio.run(run())

    def test_whether_a_switch_changes_anything_is_judged_where_it_happens(self) -> None:
        async def run() -> None:
            feed = Notes().feed(STRATEGY)
            deliver(feed, 1)
            away, back, again = feed.switch(DIRECT), feed.switch(STRATEGY), feed.switch(STRATEGY)
            assert [(await switch).changed for switch in (away, back, again)] == [True, True, False]
            assert feed.switches == 2

        asyncio.run(run())

    def test_a_switch_that_the_lane_has_not_reached_can_be_withdrawn(self) -> None:
        async def run() -> None:
            notes = Notes()
            feed = notes.feed(STRATEGY)
            deliver(feed, 1)
            switch = feed.switch(DIRECT)
            deliver(feed, 2)
            assert switch.withdraw()
            receipt = await switch
            assert (receipt.changed, receipt.withdrawn, receipt.after_frame, receipt.backlog) == (False, True, 1, 1)
            await drained(feed)
            assert notes.trades == [(STRATEGY, 1), (STRATEGY, 2)]
            assert (feed.architecture, feed.switches) == (STRATEGY, 0)

        asyncio.run(run())

    def test_withdrawing_one_of_two_switches_leaves_the_other(self) -> None:
        async def run() -> None:
            notes = Notes()
            feed = notes.feed(STRATEGY)
            deliver(feed, 1)
            first = feed.switch(DIRECT)
            deliver(feed, 2)
            second = feed.switch(DIRECT)
            deliver(feed, 3)
            assert first.withdraw()
            assert not first.withdraw()
            assert (await second).changed
            await drained(feed)
            assert notes.trades == [(STRATEGY, 1), (STRATEGY, 2), (DIRECT, 3)]

        asyncio.run(run())

    def test_a_switch_that_has_happened_cannot_be_withdrawn(self) -> None:
        async def run() -> None:
            feed = Notes().feed(DIRECT)
            switch = feed.switch(STRATEGY)
            assert not switch.withdraw()
            receipt = await switch
            assert (receipt.changed, receipt.withdrawn) == (True, False)

        asyncio.run(run())

    def test_a_waiter_that_is_cancelled_takes_nothing_back(self) -> None:
        async def run() -> None:
            feed = Notes(rests=2).feed(STRATEGY)
            deliver(feed, 1)
            switch = feed.switch(DIRECT)
            waiter = asyncio.ensure_future(_awaited(switch))
            await asyncio.sleep(0)
            waiter.cancel()
            assert (await switch).changed

        asyncio.run(run())

    def test_a_switch_asked_for_inside_a_callback_happens_after_the_frame_that_caused_it(self, variant: Variant) -> None:
        async def run() -> None:
            asked: list[Any] = []
            other = STRATEGY if variant.architecture is DIRECT else DIRECT

            def on_trade(trade: Trade) -> None:
                if trade.trade_id == "2":
                    asked.append(feed.switch(other))
                    assert not asked[0].is_done

            feed = variant.feed(on_trade=on_trade)
            deliver(feed, 1, 2)
            await until(lambda: bool(asked) and asked[0].is_done)
            receipt = await asked[0]
            assert (receipt.after_frame, receipt.backlog, receipt.changed) == (2, 1, True)
            deliver(feed, 3)
            await drained(feed)
            summary = feed.metrics()
            assert (summary[variant.architecture].frames, summary[other].frames) == (2, 1)

        asyncio.run(run())

    def test_a_cut_takes_its_place_between_the_frames(self, variant: Variant) -> None:
        async def run() -> None:
            seen = frames.Seen()
            feed = variant.feed(**seen.async_callbacks)
            deliver(feed, 1, 2)
            feed.cut()
            deliver(feed, 3)
            feed.switch(STRATEGY if variant.architecture is DIRECT else DIRECT)
            deliver(feed, 4)
            feed.cut()
            await drained(feed)
            order = [event.trade_id if isinstance(event, Trade) else event.reason for event in seen.events]
            assert order == ["1", "2", GapReason.DISCONNECTED, "3", "4", GapReason.DISCONNECTED]

        asyncio.run(run())


class TestFallback:
    def test_a_frame_that_direct_cannot_decode_goes_to_the_strategies_ahead_of_what_waits(self) -> None:
        async def run() -> None:
            notes = Notes(poison=(frames.trade(2),))
            seen = frames.Seen()
            feed = notes.feed(DIRECT, callbacks=seen.callbacks)
            deliver(feed, 1, 2, 3, 4)
            await drained(feed)
            assert notes.trades == [(DIRECT, 1), (DIRECT, 2), (STRATEGY, 2), (DIRECT, 3), (DIRECT, 4)]
            assert [trade.trade_id for trade in seen.of(Trade)] == ["1", "2", "3", "4"]
            assert feed.metrics()[DIRECT].fallbacks == 1
            assert feed.metrics()[DIRECT].errors == {"undecodable": 1}

        asyncio.run(run())

    def test_a_queued_frame_that_falls_back_keeps_its_place_before_a_switch_and_later_frames(self) -> None:
        async def run() -> None:
            notes = Notes(poison=(frames.trade(2),), rests=1)
            feed = notes.feed(STRATEGY)
            deliver(feed, 1)
            feed.switch(DIRECT)
            deliver(feed, 2)
            feed.switch(STRATEGY)
            deliver(feed, 3)
            await drained(feed)
            assert notes.trades == [(STRATEGY, 1), (DIRECT, 2), (STRATEGY, 2), (STRATEGY, 3)]

        asyncio.run(run())

    def test_the_frame_that_falls_back_is_in_flight_until_it_has_an_outcome(self) -> None:
        async def run() -> None:
            feed = Notes(poison=(frames.trade(1),)).feed(DIRECT)
            deliver(feed, 1)
            accounting = feed.accounting.frames
            assert (accounting.received, accounting.delivered, accounting.in_flight) == (1, 0, 1)
            assert_accounts(feed)
            await drained(feed)
            assert feed.accounting.frames.delivered == 1

        asyncio.run(run())

    def test_the_strategies_get_it_without_anything_else_having_to_happen(self) -> None:
        async def run() -> None:
            feed = Notes(poison=(frames.trade(1),)).feed(DIRECT)
            deliver(feed, 1)
            await until(lambda: feed.accounting.frames.delivered == 1)
            assert_accounts(feed)

        asyncio.run(run())

    def test_what_neither_can_decode_is_rejected_once(self) -> None:
        async def run() -> None:
            notes = Notes()
            seen = frames.Seen()
            feed = notes.feed(DIRECT, callbacks=seen.callbacks)
            feed.deliver(b"nonsense")
            await drained(feed)
            assert [architecture for architecture, _ in notes.handled] == [DIRECT, STRATEGY]
            assert feed.accounting.frames.rejected_by_kind == {"undecodable": 1}
            assert [gap.reason for gap in seen.gaps] == [GapReason.REJECTED]
            assert len(seen.errors) == len(feed.dead_letters) == 1

        asyncio.run(run())


class Reading:
    """A socket that stops reading when told so, and what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    @property
    def settings(self) -> dict[str, Any]:
        return {"pause": lambda: self.told.append("pause"), "resume": lambda: self.told.append("resume")}


class TestBackpressure:
    def test_reading_pauses_at_the_mark_and_resumes_at_half_of_it(self) -> None:
        async def run() -> None:
            notes, reading = Notes(rests=1), Reading()
            feed = notes.feed(STRATEGY, high_water=8, **reading.settings)
            deliver(feed, *range(7))
            assert reading.told == []
            deliver(feed, 7)
            assert reading.told == ["pause"]
            while reading.told == ["pause"]:
                waiting = feed.accounting.frames.in_flight
                await asyncio.sleep(0)
            # One frame was inside the receiver and five waited; four are half of the mark.
            assert (reading.told, waiting) == (["pause", "resume"], 5)
            await drained(feed)
            assert reading.told == ["pause", "resume"]

        asyncio.run(run())

    def test_frames_that_were_read_before_the_pause_took_effect_are_still_taken(self) -> None:
        async def run() -> None:
            notes, reading = Notes(), Reading()
            feed = notes.feed(STRATEGY, high_water=4, **reading.settings)
            deliver(feed, *range(50))
            assert reading.told == ["pause"]
            await drained(feed)
            assert notes.by(STRATEGY) == list(range(50))
            assert reading.told == ["pause", "resume"]

        asyncio.run(run())

    def test_a_lane_whose_task_is_cancelled_while_reading_is_paused_asks_for_frames_again(self) -> None:
        async def run() -> None:
            notes, reading = Notes(rests=1), Reading()
            feed = notes.feed(STRATEGY, high_water=4, **reading.settings)
            deliver(feed, *range(6))
            await rest(2)
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
            await until(lambda: reading.told == ["pause", "resume"])
            deliver(feed, 6)
            await drained(feed)
            assert notes.by(STRATEGY) == list(range(7))

        asyncio.run(run())

    def test_the_mark_can_be_reached_again_after_the_resumption(self) -> None:
        async def run() -> None:
            reading = Reading()
            feed = Notes().feed(STRATEGY, high_water=4, **reading.settings)
            for _ in range(3):
                deliver(feed, *range(5))
                await drained(feed)
            assert reading.told == ["pause", "resume"] * 3

        asyncio.run(run())

    def test_the_lag_is_the_age_of_the_frame_that_is_handled_next(self) -> None:
        async def run() -> None:
            feed = Notes().feed(STRATEGY, high_water=4)
            lane = feed._lane
            assert lane.lag_ns == 0
            long_ago = feed._clock.now_ns() - 3_000_000_000
            lane.deliver(frames.trade(0), long_ago)
            lane.deliver(frames.trade(1), long_ago + 1_000_000_000)
            assert 3_000_000_000 <= lane.lag_ns < 60_000_000_000
            await drained(feed)
            assert (lane.lag_ns, lane.pauses) == (0, 0)

        asyncio.run(run())

    def test_a_synchronous_receiver_that_keeps_up_never_pauses_anything(self) -> None:
        reading = Reading()
        feed = Notes().feed(DIRECT, high_water=1, **reading.settings)
        deliver(feed, *range(100))
        assert reading.told == []
        assert_accounts(feed)


class TestClose:
    def test_close_handles_what_waits_and_sheds_what_comes_after(self, variant: Variant) -> None:
        async def run() -> None:
            seen = frames.Seen()
            feed = variant.feed(**seen.async_callbacks)
            deliver(feed, 1, 2, 3)
            closing = feed.close()
            deliver(feed, 4)
            await closing
            deliver(feed, 5)
            assert [trade.trade_id for trade in seen.of(Trade)] == ["1", "2", "3"]
            assert feed.accounting.frames.shed_by_reason == {"closed": 2}
            await drained(feed)

        asyncio.run(run())

    def test_an_idle_synchronous_lane_takes_nothing_more_after_close(self) -> None:
        async def run() -> None:
            notes = Notes()
            feed = notes.feed(DIRECT)
            await feed.close()
            deliver(feed, 1)
            assert notes.handled == []
            assert feed.accounting.frames.shed_by_reason == {"closed": 1}
            assert_accounts(feed)

        asyncio.run(run())

    def test_a_switch_after_close_reopens_nothing(self) -> None:
        async def run() -> None:
            notes = Notes()
            feed = notes.feed(STRATEGY)
            await feed.close()
            await feed.switch(DIRECT)
            deliver(feed, 1)
            assert notes.handled == []
            assert feed.accounting.frames.shed == 1
            assert_accounts(feed)

        asyncio.run(run())

    def test_the_deadline_sheds_what_waits_and_cancels_what_is_inside_a_receiver(self) -> None:
        async def run() -> None:
            forever: asyncio.Future[None] = asyncio.get_running_loop().create_future()

            async def on_trade(trade: Trade) -> None:
                await forever

            feed = Notes().feed(DIRECT, callbacks={"on_trade": on_trade})
            deliver(feed, 1, 2, 3)
            switch = feed.switch(STRATEGY)
            await rest(2)
            await asyncio.wait_for(_awaited(feed.close(deadline_s=0)), 5)
            assert feed.accounting.frames.in_flight == 0
            assert feed.accounting.frames.shed_by_reason == {"closed": 2, "interrupted": 1}
            assert forever.cancelled()
            assert switch.is_done
            receipt = await switch
            assert (receipt.changed, receipt.withdrawn) == (False, True)
            assert feed.architecture is DIRECT
            assert_accounts(feed)

        asyncio.run(run())

    def test_whoever_waits_for_a_drain_is_woken_by_the_deadline(self) -> None:
        async def run() -> None:
            feed = Notes(rests=1000).feed(STRATEGY)
            deliver(feed, 1, 2)
            waiting = asyncio.ensure_future(_awaited(feed.drain()))
            await rest(2)
            await asyncio.wait_for(_awaited(feed.close(deadline_s=0)), 5)
            await asyncio.wait_for(waiting, 5)
            assert feed.accounting.frames.in_flight == 0
            assert_accounts(feed)

        asyncio.run(run())

    @pytest.mark.parametrize("awaited_at_once", [True, False], ids=["at once", "later"])
    def test_what_is_asked_while_the_deadline_is_being_enforced_is_answered(self, awaited_at_once: bool) -> None:
        async def run() -> None:
            async def on_trade(trade: Trade) -> None:
                try:
                    await rest(1000)
                finally:
                    await rest(5)

            feed = Notes().feed(DIRECT, callbacks={"on_trade": on_trade})
            deliver(feed, 1, 2)
            await rest(2)
            closing = asyncio.ensure_future(asyncio.wait_for(_awaited(feed.close(deadline_s=0)), 5))
            await rest(4)
            assert not closing.done()
            marker = feed.drain()
            draining = asyncio.ensure_future(_awaited(marker)) if awaited_at_once else _awaited(marker)
            await closing
            await asyncio.wait_for(draining, 5)
            assert feed.accounting.frames.shed_by_reason == {"closed": 1, "interrupted": 1}
            assert_accounts(feed)

        asyncio.run(run())

    def test_a_callback_that_does_not_give_in_to_its_cancellation_holds_nobody_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def run() -> None:
            released = asyncio.Event()

            async def on_trade(trade: Trade) -> None:
                while not released.is_set():
                    try:
                        await released.wait()
                    except asyncio.CancelledError:
                        continue

            monkeypatch.setattr("infrastructure.networking.websocket.lane.CANCELLATION_GRACE_S", 0)
            feed = Notes().feed(DIRECT, callbacks={"on_trade": on_trade})
            deliver(feed, 1, 2)
            await rest(2)
            await asyncio.wait_for(_awaited(feed.close(deadline_s=0)), 5)
            assert feed.accounting.frames.in_flight == 1
            assert_accounts(feed)
            released.set()
            await until(lambda: feed.accounting.frames.in_flight == 0)
            assert_accounts(feed)

        asyncio.run(run())

    def test_a_feed_is_closed_from_the_call_on_and_awaiting_is_for_what_waits(self, variant: Variant) -> None:
        async def run() -> None:
            feed = variant.feed()
            deliver(feed, 1)
            feed.close()
            deliver(feed, 2)
            await drained(feed)
            assert (feed.accounting.frames.delivered, feed.accounting.frames.shed_by_reason) == (1, {"closed": 1})

        asyncio.run(run())

    def test_a_callback_may_close_its_feed(self, variant: Variant) -> None:
        async def run() -> None:
            seen = frames.Seen()

            def on_trade(trade: Trade) -> None:
                seen.events.append(trade)
                feed.close()

            feed = variant.feed(**seen.callbacks | {"on_trade": on_trade})
            deliver(feed, 1)
            await until(lambda: bool(seen.events))
            deliver(feed, 2)
            await drained(feed)
            assert [trade.trade_id for trade in seen.of(Trade)] == ["1"]
            assert feed.accounting.frames.shed_by_reason == {"closed": 1}

        asyncio.run(run())

    def test_closing_twice_is_closing_once(self, variant: Variant) -> None:
        async def run() -> None:
            feed = variant.feed()
            deliver(feed, 1)
            await feed.close()
            await feed.close()
            assert feed.accounting.frames.delivered == 1
            await drained(feed)

        asyncio.run(run())


WAITS: dict[str, Callable[[OfflineFeed], Awaitable[object]]] = {
    "switch": lambda feed: feed.switch(STRATEGY),
    "drain": lambda feed: feed.drain(),
    "close": lambda feed: feed.close(),
}


class TestWaitingInsideACallback:
    @pytest.mark.parametrize("what", WAITS)
    def test_awaiting_a_marker_of_the_lane_inside_an_async_callback_raises(self, variant: Variant, what: str) -> None:
        async def run() -> None:
            raised: list[Exception] = []

            async def on_trade(trade: Trade) -> None:
                try:
                    await WAITS[what](feed)
                except AwaitedInsideCallback as error:
                    raised.append(error)
                    raise

            seen = frames.Seen()
            feed = variant.feed(**seen.callbacks | {"on_trade": on_trade})
            deliver(feed, 1)
            await drained(feed)
            assert [str(error).partition(" ")[0] for error in raised] == [f"{what}()"]
            assert [error.kind for error in seen.errors] == ["callback"]

        asyncio.run(run())

    @pytest.mark.parametrize("what", WAITS)
    def test_a_task_that_a_callback_started_may_await_it(self, variant: Variant, what: str) -> None:
        async def run() -> None:
            started: list[asyncio.Task[object]] = []

            async def on_trade(trade: Trade) -> None:
                started.append(asyncio.create_task(_awaited(WAITS[what](feed))))
                await rest(3)

            feed = variant.feed(on_trade=on_trade)
            deliver(feed, 1)
            await until(lambda: bool(started))
            await asyncio.wait_for(started[0], 5)
            await drained(feed)

        asyncio.run(run())

    def test_a_marker_that_was_made_inside_a_callback_may_be_awaited_outside(self) -> None:
        async def run() -> None:
            asked: list[Any] = []

            async def on_trade(trade: Trade) -> None:
                asked.append(feed.switch(STRATEGY))

            feed = Notes().feed(DIRECT, callbacks={"on_trade": on_trade})
            deliver(feed, 1)
            await until(lambda: bool(asked))
            assert (await asked[0]).changed

        asyncio.run(run())


class TestDeadLetters:
    def test_the_latest_rejected_frames_are_kept_and_no_more(self, variant: Variant) -> None:
        async def run() -> None:
            feed = variant.feed()
            for number in range(DEAD_LETTERS + 10):
                feed.deliver(b"bad %d" % number)
            await drained(feed)
            assert [letter.excerpt for letter in feed.dead_letters] == [b"bad %d" % number for number in range(10, DEAD_LETTERS + 10)]
            assert [letter.number for letter in feed.dead_letters] == list(range(11, DEAD_LETTERS + 11))
            assert feed.accounting.frames.rejected == DEAD_LETTERS + 10

        asyncio.run(run())

    @pytest.mark.parametrize(
        "raw", [b"x" * (EXCERPT_BYTES + 1000), "ä" * EXCERPT_BYTES, "\ud800" + "x" * EXCERPT_BYTES], ids=["bytes", "text", "surrogate"]
    )
    def test_of_a_long_frame_only_the_beginning_is_kept(self, variant: Variant, raw: bytes | str) -> None:
        async def run() -> None:
            feed = variant.feed()
            feed.deliver(raw, received_ns=7)
            await drained(feed)
            (letter,) = feed.dead_letters
            assert (len(letter.excerpt), letter.received_ns, letter.kind) == (EXCERPT_BYTES, 7, "undecodable")
            assert letter.architecture is STRATEGY
            assert letter.error.startswith("DecodeError: ")

        asyncio.run(run())


class TestAccounts:
    def test_both_identities_hold_inside_every_callback(self, variant: Variant) -> None:
        async def run() -> None:
            moments: list[tuple[type, Accounting]] = []

            def check(event: Any) -> None:
                moments.append((type(event), feed.accounting))

            def check_and_fail(event: Any) -> None:
                check(event)
                raise ValueError("the user's own")

            callbacks: dict[str, Any] = dict.fromkeys(("on_orderbook", "on_ticker", "on_gap", "on_book_state", "on_error"), check)
            feed = variant.feed(on_trade=check_and_fail, **callbacks)
            deliver(feed, 1, 2)
            feed.deliver(frames.obu(None, 10, [(100, 1)], [(101, 1)], full=True))
            feed.deliver(frames.obu(13, 14, [(99, 1)]))
            feed.deliver(frames.acknowledgement(error={"code": 2, "message": "no"}))
            feed.deliver(b"nonsense")
            feed.cut()
            await drained(feed)
            assert {kind for kind, _ in moments} == {ErrorEvent, Gap, Trade, OrderBook, BookStateChange}
            assert [(kind, moment) for kind, moment in moments if not moment.is_balanced] == []
            assert feed.accounting.events.callback_errors == 2
            # Inside a callback for data its own frame is in flight; what is told of a rejected frame comes after its outcome.
            assert all(moment.frames.in_flight >= 1 for kind, moment in moments if kind in (Trade, OrderBook))

        asyncio.run(run())

    def test_both_identities_hold_at_every_turn_of_the_event_loop(self, variant: Variant) -> None:
        async def run() -> None:
            async def slow(event: Any) -> None:
                await asyncio.sleep(0)
                if number % 3 == 0:
                    raise ValueError("the user's own")

            feed = variant.feed(on_trade=slow, on_error=slow)
            for number in range(40):
                feed.deliver(b"bad" if number % 7 == 0 else frames.trade(number))
                if number % 10 == 5:
                    feed.switch(STRATEGY if number % 20 == 5 else DIRECT)
                await asyncio.sleep(0)
                assert_accounts(feed)
            while feed.accounting.frames.in_flight:
                assert_accounts(feed)
                await asyncio.sleep(0)
            await drained(feed)

        asyncio.run(run())

    def test_a_lane_and_a_feed_show_their_state(self) -> None:
        feed = Notes().feed(DIRECT)
        deliver(feed, 1)
        assert repr(feed._lane) == "<Lane gateio_spot direct idle received=1 in_flight=0>"
        assert repr(feed).startswith("<OfflineFeed gateio_spot direct <Session gateio_spot books:")


async def _awaited(marker: Awaitable[object]) -> object:
    return await marker


def is_ticker(raw: bytes | str) -> bool:
    """What stands for the frames that need not wait."""
    return b"spot.tickers" in (raw if isinstance(raw, bytes) else raw.encode())


class TestHeld:
    """A lane that takes over from another: held, released, settled; and one that another has taken over from: retired."""

    def test_frames_wait_but_for_those_that_need_not_and_calls(self, variant: Variant) -> None:
        async def run() -> None:
            seen = frames.Seen()
            feed = variant.feed(**seen.callbacks)
            (lane,) = feed._lanes
            lane.hold(is_ticker)
            deliver(feed, 1, 2)
            feed.deliver(frames.ticker())
            called: list[int] = []
            await lane.call("called", lambda: called.append(len(seen.events)) or ())  # type: ignore[func-returns-value]
            assert [type(event).__name__ for event in seen.events] == ["Ticker"] and called == [1]
            assert feed.accounting.frames.in_flight == 2 and lane.lag_ns == 0
            assert_accounts(feed)
            lane.release()
            deliver(feed, 3)
            await drained(feed)
            assert [trade.trade_id for trade in seen.of(Trade)] == ["1", "2", "3"]
            assert feed.accounting.frames.shed == 0

        asyncio.run(run())

    def test_a_switch_and_a_drain_wait_behind_what_waits(self) -> None:
        async def run() -> None:
            notes = Notes()
            feed = notes.feed(DIRECT)
            (lane,) = feed._lanes
            lane.hold(is_ticker)
            deliver(feed, 1)
            switch, drain = feed.switch(STRATEGY), feed.drain()
            withdrawn = feed.switch(DIRECT)
            deliver(feed, 2)
            await rest(3)
            assert not switch.is_done and not drain.is_done and withdrawn.withdraw()
            lane.release()
            receipt = await switch
            await drain
            await drained(feed)
            assert notes.trades == [(DIRECT, 1), (STRATEGY, 2)]
            assert receipt is not None and (receipt.after_frame, receipt.backlog) == (1, 1)

        asyncio.run(run())

    def test_reading_pauses_at_a_higher_mark_while_it_is_held(self) -> None:
        async def run() -> None:
            done: list[str] = []
            feed = Notes().feed(DIRECT, high_water=4, pause=lambda: done.append("pause"), resume=lambda: done.append("resume"))
            (lane,) = feed._lanes
            lane.hold(is_ticker)
            deliver(feed, *range(1, 31))
            feed.deliver(frames.ticker())
            await rest(5)
            assert done == []
            deliver(feed, 31, 32)
            feed.deliver(frames.ticker())
            await rest(5)
            assert done == ["pause"] and feed.accounting.frames.in_flight == 32
            lane.release()
            await drained(feed)
            assert done == ["pause", "resume"]

        asyncio.run(run())

    def test_a_retired_lane_sheds_what_waits_and_what_comes_and_reaches_its_markers(self, variant: Variant) -> None:
        async def run() -> None:
            seen = frames.Seen()
            feed = variant.feed(**seen.callbacks)
            (lane,) = feed._lanes
            lane.hold(is_ticker)
            deliver(feed, 1, 2)
            switch = feed.switch(variant.architecture.other)
            lane.retire("overlap")
            deliver(feed, 3)
            feed.deliver(frames.ticker())
            await switch
            await drained(feed)
            assert seen.events == [] and feed.accounting.frames.shed_by_reason == {"overlap": 4}
            assert "retired" in repr(lane)

        asyncio.run(run())

    def test_a_lane_that_is_retired_in_a_call_has_handled_what_came_before_it(self, variant: Variant) -> None:
        async def run() -> None:
            seen = frames.Seen()
            feed = variant.feed(**seen.async_callbacks)
            (lane,) = feed._lanes
            deliver(feed, 1, 2)

            def retire() -> tuple[()]:
                lane.retire("overlap")
                return ()

            retired = lane.call("retire", retire)
            deliver(feed, 3, 4)
            await retired
            await drained(feed)
            assert [trade.trade_id for trade in seen.of(Trade)] == ["1", "2"]
            assert feed.accounting.frames.shed_by_reason == {"overlap": 2}

        asyncio.run(run())

    def test_a_frame_whose_data_was_all_told_before_is_shed_until_the_overlap_is_over(self, variant: Variant) -> None:
        async def run() -> None:
            seen = frames.Seen()
            feed = variant.feed(**seen.callbacks)
            (lane,) = feed._lanes
            session = feed._session
            session.begin_overlap(lane)
            deliver(feed, 1, 2)
            await drained(feed)
            session.take_over(lane, None)
            lane.release(session.overlap)
            deliver(feed, 1, 2, 3)
            feed.deliver(frames.acknowledgement())
            await drained(feed)
            assert [trade.trade_id for trade in seen.of(Trade)] == ["1", "2", "3"]
            counts = feed.accounting.frames
            assert counts.shed_by_reason == {"overlap": 2} and counts.delivered + counts.control == 4
            session.end_overlap()
            lane.settle()
            deliver(feed, 3, 4)
            await drained(feed)
            # A trade is known again for a while, as after a cut; its frame is no overlap.
            assert [trade.trade_id for trade in seen.of(Trade)] == ["1", "2", "3", "4"]
            assert feed.accounting.frames.shed_by_reason == {"overlap": 2} and session.replayed == 1
            deliver(feed, 5)
            assert (feed.accounting.frames.in_flight == 0) == (not lane.route.is_queued)
            await drained(feed)

        asyncio.run(run())

    def test_an_abort_sheds_what_is_held(self) -> None:
        async def run() -> None:
            feed = Notes().feed(DIRECT)
            (lane,) = feed._lanes
            lane.hold(is_ticker)
            deliver(feed, 1, 2)
            await lane.abort()
            assert feed.accounting.frames.shed_by_reason == {"closed": 2}

        asyncio.run(run())

    def test_the_session_knows_whose_frame_it_is_after_another_lane_was_at_work(self) -> None:
        async def run() -> None:
            sources: list[object] = []
            feed = Notes(rests=2).feed(STRATEGY, worked=lambda ns: None, callbacks={"on_trade": lambda _: sources.append(state.source)})
            (lane,) = feed._lanes
            state = feed._session
            deliver(feed, 1)
            await rest(1)
            state.source = "another lane"
            await drained(feed)
            assert sources == [lane]

        asyncio.run(run())
