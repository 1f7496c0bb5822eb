"""Books of both Gate.io markets through a feed, in every variant: how they begin, what breaks them, how they are repaired."""

import asyncio
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from infrastructure.book_sync import FetchSnapshot, Resubscribe
from infrastructure.events import BookState, Gap, GapReason, Liquidation
from infrastructure.feed import OfflineFeed
from tests.harness import frames as spot_frames
from tests.harness import futures_frames
from tests.harness.frames import Seen
from tests.harness.variants import Variant, assert_accounts

MARKETS = {"gateio_spot": spot_frames, "gateio_futures": futures_frames}
PREFIXES = {"gateio_spot": "spot.", "gateio_futures": "futures."}
SYNCING, LIVE, GAP, STALE = BookState.SYNCING, BookState.LIVE, BookState.GAP, BookState.STALE
BIDS, ASKS = [(100, 1), (99, 2)], [(101, 3)]


class Desk:
    """A feed of one market in one variant, and what its user sees."""

    def __init__(self, name: str, variant: Variant) -> None:
        self.frames: ModuleType = MARKETS[name]
        self.symbol: str = self.frames.SYMBOL
        self.channel = PREFIXES[name]
        self.seen = Seen()
        self.feed: OfflineFeed = variant.feed(self.symbol, venue=name, **self.seen.callbacks)

    async def take(self, *raws: bytes) -> None:
        for raw in raws:
            self.feed.deliver(raw, 7)
        await self.feed.drain()
        assert_accounts(self.feed)

    async def answer(self, last: int, bids: Any = BIDS, asks: Any = ASKS) -> None:
        """REST answers the one request that is open."""
        (request,) = self.requests()
        assert request == FetchSnapshot(self.channel + "order_book_update", self.symbol, request.epoch, request.attempt)
        self.feed.snapshot(self.symbol, self.frames.rest_book(last, bids, asks), request=request)
        await self.feed.drain()
        assert_accounts(self.feed)

    def requests(self) -> list[Any]:
        return list(self.feed.take_requests())

    @property
    def state(self) -> BookState:
        return self.feed.books[self.symbol].state

    @property
    def levels(self) -> tuple[Any, Any]:
        book = self.feed.books[self.symbol]
        return book.bids, book.asks

    @property
    def gaps(self) -> list[tuple[GapReason, int | None, int | None]]:
        return [(gap.reason, gap.last_id, gap.next_id) for gap in self.seen.of(Gap)]


@pytest.fixture(params=MARKETS)
def desk(request: pytest.FixtureRequest, variant: Variant) -> Desk:
    return Desk(request.param, variant)


def run(story: Callable[[], Any]) -> None:
    asyncio.run(story())


class TestSeededByRest:
    def test_what_came_before_the_answer_is_applied_to_it(self, desk: Desk) -> None:
        async def story() -> None:
            update = desk.frames.update
            await desk.take(update(8, 9, [(98, 9)]), update(10, 12, [(99, 0)]), update(13, 13, [], [(102, 4)]))
            assert desk.state is SYNCING
            await desk.answer(10)
            assert desk.state is LIVE
            assert desk.levels == ([(100.0, 1.0)], [(101.0, 3.0), (102.0, 4.0)])
            assert [book[0] for book in desk.seen.books] == [13]

        run(story)

    def test_an_answer_that_is_older_than_the_stream_is_asked_for_again(self, desk: Desk) -> None:
        async def story() -> None:
            await desk.take(desk.frames.update(12, 12))
            await desk.answer(10)
            assert desk.state is SYNCING
            await desk.answer(12)
            assert (desk.state, desk.gaps) == (LIVE, [])

        run(story)

    def test_a_hole_is_told_once_and_the_book_is_repaired(self, desk: Desk) -> None:
        async def story() -> None:
            update = desk.frames.update
            await desk.take(update(10, 10))
            await desk.answer(10)
            await desk.take(update(11, 11, [(98, 1)]), update(14, 15, [(97, 1)]), update(16, 16), update(20, 20, [(96, 5)]))
            assert desk.state is GAP
            assert desk.gaps == [(GapReason.SEQUENCE, 11, 14)]
            await desk.answer(20, [(100, 7)])
            assert desk.state is LIVE
            assert desk.levels == ([(100.0, 7.0)], [(101.0, 3.0)])
            assert [book[0] for book in desk.seen.books] == [10, 11, 20]

        run(story)

    def test_a_whole_book_in_the_stream_replaces_what_there_is(self, desk: Desk) -> None:
        async def story() -> None:
            await desk.take(desk.frames.update(10, 10, BIDS, ASKS, full=True))
            assert desk.state is LIVE
            await desk.take(desk.frames.update(50, 50, [(90, 1)], [(91, 1)], full=True))
            assert desk.levels == ([(90.0, 1.0)], [(91.0, 1.0)])
            assert (desk.gaps, desk.requests()) == ([], [])

        run(story)

    def test_repetitions_are_dropped(self, desk: Desk) -> None:
        async def story() -> None:
            await desk.take(desk.frames.update(10, 12, BIDS, ASKS, full=True))
            await desk.take(desk.frames.update(10, 12, [(98, 1)]), desk.frames.update(5, 9, [(97, 1)]))
            assert (desk.state, desk.levels, desk.gaps) == (LIVE, ([(100.0, 1.0), (99.0, 2.0)], [(101.0, 3.0)]), [])

        run(story)

    def test_a_lost_connection_makes_it_stale_and_the_next_one_begins_anew(self, desk: Desk) -> None:
        async def story() -> None:
            await desk.take(desk.frames.update(10, 10, BIDS, ASKS, full=True))
            desk.feed.cut()
            await desk.feed.drain()
            assert (desk.state, desk.gaps) == (STALE, [(GapReason.DISCONNECTED, 10, None)])
            await desk.take(desk.frames.update(30, 31))
            await desk.answer(31)
            assert desk.state is LIVE

        run(story)


class TestInBand:
    def test_the_stream_opens_with_a_whole_book_and_goes_on_by_increments(self, desk: Desk) -> None:
        async def story() -> None:
            obu = desk.frames.obu
            await desk.take(obu(None, 10, BIDS, ASKS, full=True), obu(11, 14), obu(15, 15, [(99, 0)], [(102, 4)]))
            assert desk.state is LIVE
            assert desk.levels == ([(100.0, 1.0)], [(101.0, 3.0), (102.0, 4.0)])
            assert [book[0] for book in desk.seen.books] == [10, 14, 15]

        run(story)

    @pytest.mark.parametrize("first", [12, 10])
    def test_an_increment_that_does_not_follow_is_a_hole(self, desk: Desk, first: int) -> None:
        async def story() -> None:
            obu = desk.frames.obu
            await desk.take(obu(None, 10, BIDS, ASKS, full=True), obu(first, 13, [(98, 1)]), obu(14, 14))
            assert (desk.state, desk.gaps) == (GAP, [(GapReason.SEQUENCE, 10, first)])
            (request,) = desk.requests()
            assert request == Resubscribe(desk.channel + "obu", desk.symbol, request.epoch, request.attempt)
            await desk.take(obu(None, 20, [(100, 7)], ASKS, full=True), obu(21, 21))
            assert (desk.state, desk.levels) == (LIVE, ([(100.0, 7.0)], [(101.0, 3.0)]))

        run(story)

    def test_increments_before_the_whole_book_ask_for_it(self, desk: Desk) -> None:
        async def story() -> None:
            await desk.take(desk.frames.obu(11, 11, [(98, 1)]))
            assert [type(request) for request in desk.requests()] == [Resubscribe]
            await desk.take(desk.frames.obu(None, 10, BIDS, ASKS, full=True))
            assert (desk.state, desk.gaps) == (LIVE, [])

        run(story)


class TestLegacyBookOfFutures:
    @pytest.fixture
    def desk(self, variant: Variant) -> Desk:
        return Desk("gateio_futures", variant)

    def test_every_push_is_whole_whatever_its_id(self, desk: Desk) -> None:
        async def story() -> None:
            for last in (10, 20, 5, 0):
                await desk.take(futures_frames.whole_book(last, [(100, last + 1)], ASKS))
                assert desk.levels == ([(100.0, last + 1.0)], [(101.0, 3.0)])
            assert (desk.gaps, desk.requests()) == ([], [])

        run(story)

    def test_changes_go_to_either_side_and_0_to_both(self, desk: Desk) -> None:
        async def story() -> None:
            changes = futures_frames.changes
            await desk.take(futures_frames.whole_book(10, BIDS, ASKS), changes(11, (101, 0), (102, -5)), changes(13, (99, 0), (101, 6)))
            assert desk.levels == ([(101.0, 6.0), (100.0, 1.0)], [(102.0, 5.0)])

        run(story)

    def test_a_hole_in_their_ids_is_told_and_the_stream_asked_for_again(self, desk: Desk) -> None:
        async def story() -> None:
            await desk.take(futures_frames.whole_book(10, BIDS, ASKS), futures_frames.changes(12, (98, 1)))
            assert (desk.state, desk.gaps) == (GAP, [(GapReason.SEQUENCE, 10, 12)])
            assert [type(request) for request in desk.requests()] == [Resubscribe]
            await desk.take(futures_frames.whole_book(13, BIDS, ASKS))
            assert desk.state is LIVE

        run(story)


def test_a_liquidation_reaches_its_callback(variant: Variant) -> None:
    async def story() -> None:
        desk = Desk("gateio_futures", variant)
        await desk.take(futures_frames.liquidation(), futures_frames.liquidation(pair=futures_frames.OTHER_PAIR))
        assert [event.symbol for event in desk.seen.of(Liquidation)] == [desk.symbol]
        desk.feed.cut()
        await desk.feed.drain()
        assert [(gap.channel, gap.symbol) for gap in desk.seen.gaps] == [("futures.public_liquidates", desk.symbol)]
        assert_accounts(desk.feed)

    run(story)


def test_a_tick_that_is_rejected_is_a_gap_of_its_contract_alone(variant: Variant) -> None:
    async def story() -> None:
        desk = Desk("gateio_futures", variant)
        await desk.take(futures_frames.ticker(), futures_frames.ticker(last="nan"), futures_frames.ticker())
        assert [(gap.channel, gap.symbol, gap.reason) for gap in desk.seen.gaps] == [("futures.tickers", desk.symbol, GapReason.REJECTED)]
        assert dict(desk.feed.accounting.frames.rejected_by_kind) == {"undecodable": 1}

    run(story)
