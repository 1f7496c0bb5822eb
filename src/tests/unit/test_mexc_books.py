"""Books of MEXC spot in a feed: how they start, lose their place and find it again, in every variant."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from infrastructure.book import OrderBook
from infrastructure.book_sync import FetchSnapshot
from infrastructure.errors import BookNotLive
from infrastructure.events import BookState, GapReason, Trade
from infrastructure.exchanges.mexc.sequence import Versions
from infrastructure.exchanges.mexc.spot import MEXC_SPOT
from infrastructure.exchanges.sequence import WholeBook
from infrastructure.venue import BookUpdate, Levels, Repair, Verdict
from tests.harness import mexc_frames as frames
from tests.harness.frames import Seen
from tests.harness.mexc_frames import DEPTH, LIMIT_DEPTH, SYMBOL, Pairs, depth, limit_depth, rest_book, trades
from tests.harness.receivers import drained
from tests.harness.variants import Variant

SYNCING, LIVE, GAP, STALE = BookState.SYNCING, BookState.LIVE, BookState.GAP, BookState.STALE
OTHER, OTHER_NATIVE = "ETH/USDT", "ETHUSDT"


class Stage:
    """A feed of one variant and what its callbacks saw."""

    def __init__(self, variant: Variant) -> None:
        self.seen = Seen()
        self.feed = variant.feed(SYMBOL, OTHER, venue="mexc_spot", **self.seen.callbacks)

    async def take(self, *raws: bytes) -> None:
        """Deliver frames and wait until they are handled."""
        for raw in raws:
            self.feed.deliver(raw)
        await self.feed.drain()

    async def answer(self, version: int, bids: Pairs = ((100, 1),), asks: Pairs = ((101, 1),), symbol: str = SYMBOL) -> None:
        """REST answers with this book."""
        await self.feed.snapshot(symbol, rest_book(version, bids, asks))

    async def live(self, version: int = 10) -> None:
        """Bring the book to ``version``: bid 100, ask 101."""
        await self.take(depth(version, version))
        await self.answer(version)
        assert self.book.is_live
        self.asked()

    def asked(self) -> list[tuple[str, str, int]]:
        """What has been asked of REST since the last call: channel, symbol, which attempt."""
        requests = self.feed.take_requests()
        return [(request.channel, request.symbol, request.attempt) for request in requests if isinstance(request, FetchSnapshot)]

    @property
    def book(self) -> OrderBook:
        return self.feed.books[SYMBOL]

    @property
    def levels(self) -> tuple[int | None, Levels, Levels]:
        return self.book.last_id, self.book.bids, self.book.asks


Play = Callable[[Callable[[Stage], Awaitable[None]]], Stage]


@pytest.fixture
def play(variant: Variant) -> Play:
    """Runs a scene on a stage of its own; afterwards everything is accounted for."""

    def run(scene: Callable[[Stage], Awaitable[None]]) -> Stage:
        async def played() -> Stage:
            stage = Stage(variant)
            await scene(stage)
            await drained(stage.feed)
            return stage

        played_out: Coroutine[Any, Any, Stage] = played()
        return asyncio.run(played_out)

    return run


def test_the_first_push_asks_for_a_snapshot_and_the_snapshot_makes_the_book(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        await stage.take(depth(11, 12, [(99, 5)]))
        assert stage.asked() == [(DEPTH, SYMBOL, 1)]
        assert stage.book.state is SYNCING
        await stage.take(depth(13, 13, [], [(102, 3)]))
        assert stage.asked() == []
        await stage.answer(10)
        assert stage.levels == (13, [(100.0, 1.0), (99.0, 5.0)], [(101.0, 1.0), (102.0, 3.0)])

    assert play(scene).seen.states == [LIVE]


def test_a_push_that_the_snapshot_falls_into_is_applied(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        await stage.take(depth(8, 15, [(100, 4)]))
        await stage.answer(10)
        assert stage.levels == (15, [(100.0, 4.0)], [(101.0, 1.0)])

    play(scene)


def test_pushes_that_the_snapshot_covers_are_passed_over(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        await stage.take(depth(3, 7, [(100, 9)]), depth(8, 10, [(100, 8)]))
        await stage.answer(10)
        assert stage.levels == (10, [(100.0, 1.0)], [(101.0, 1.0)])

    assert play(scene).seen.gaps == []


def test_a_snapshot_older_than_the_first_push_is_asked_for_again(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        await stage.take(depth(21, 22))
        assert stage.asked() == [(DEPTH, SYMBOL, 1)]
        await stage.answer(10)
        assert stage.asked() == [(DEPTH, SYMBOL, 2)]
        with pytest.raises(BookNotLive):
            assert stage.book.bids
        await stage.answer(20)
        assert stage.book.is_live and stage.book.last_id == 22

    play(scene)


def test_a_push_that_continues_from_the_next_version_is_applied(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        await stage.live()
        await stage.take(depth(11, 14, [("100.00", "0.00000000"), (99, 2)]))
        assert stage.levels == (14, [(99.0, 2.0)], [(101.0, 1.0)])
        assert stage.asked() == []

    play(scene)


def test_a_padded_price_is_the_same_level(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        await stage.take(depth(10, 10))
        await stage.answer(10, [("100.00", "1.50000000")], [("101.00", "2.00")])
        await stage.take(depth(11, 11, [("100", "0")], [("101", "2.5")]))
        assert stage.levels == (11, [], [(101.0, 2.5)])

    play(scene)


@pytest.mark.parametrize("again", [(11, 12), (12, 12), (1, 12)])
def test_a_push_that_comes_again_changes_nothing(play: Play, again: tuple[int, int]) -> None:
    async def scene(stage: Stage) -> None:
        await stage.live()
        await stage.take(depth(11, 12, [(100, 7)]))
        await stage.take(depth(*again, [(100, 3)]))
        assert stage.levels == (12, [(100.0, 7.0)], [(101.0, 1.0)])

    assert play(scene).seen.gaps == []


def test_a_version_that_is_missing_is_a_gap_of_that_book_alone(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        await stage.live()
        await stage.take(depth(30, 30, native=OTHER_NATIVE))
        await stage.answer(30, symbol=OTHER)
        stage.asked()
        await stage.take(depth(12, 13, [(100, 7)]))
        assert stage.book.state is GAP
        assert stage.asked() == [(DEPTH, SYMBOL, 1)]
        with pytest.raises(BookNotLive):
            assert stage.book.bids
        await stage.take(depth(14, 14, [(98, 1)]))
        await stage.answer(12, [(97, 1)])
        assert stage.levels == (14, [(100.0, 7.0), (98.0, 1.0), (97.0, 1.0)], [(101.0, 1.0)])
        assert stage.feed.books[OTHER].is_live

    (gap,) = play(scene).seen.gaps
    assert (gap.channel, gap.symbol, gap.reason, gap.last_id, gap.next_id) == (DEPTH, SYMBOL, GapReason.SEQUENCE, 10, 12)


def test_a_lost_connection_makes_the_book_stale_and_the_next_push_starts_it_anew(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        await stage.live()
        await stage.feed.cut()
        assert stage.book.state is STALE
        await stage.take(depth(50, 51))
        assert stage.asked() == [(DEPTH, SYMBOL, 1)]
        await stage.answer(50)
        assert stage.book.last_id == 51

    stage = play(scene)
    assert stage.seen.states == [LIVE, STALE, SYNCING, LIVE]
    assert [gap.reason for gap in stage.seen.gaps] == [GapReason.DISCONNECTED]


def test_a_push_whose_levels_have_gone_makes_a_gap_of_its_book(play: Play) -> None:
    number, table = frames.BODIES["publicAggreDepths"]
    versions = b"".join(frames.pieces({"fromVersion": "11", "toVersion": "12"}, table))
    drifted = frames.without_body(f"{DEPTH}@100ms@BTCUSDT") + frames.counted(number, versions + frames.counted(9, b"levels"))

    async def scene(stage: Stage) -> None:
        await stage.live()
        await stage.take(drifted)
        assert stage.book.state is GAP
        assert stage.asked() == [(DEPTH, SYMBOL, 1)]
        await stage.answer(12)
        assert stage.book.is_live

    stage = play(scene)
    assert [(gap.channel, gap.symbol, gap.reason) for gap in stage.seen.gaps] == [(DEPTH, SYMBOL, GapReason.REJECTED)]
    assert dict(stage.feed.accounting.frames.rejected_by_kind) == {"undecodable": 1}


def test_a_push_that_is_cut_off_makes_a_gap_of_its_book_and_of_no_other(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        await stage.live()
        await stage.take(depth(30, 30, native=OTHER_NATIVE))
        await stage.answer(30, symbol=OTHER)
        await stage.take(depth(11, 12, [(100, 2)])[:-2])
        assert (stage.book.state, stage.feed.books[OTHER].state) == (GAP, LIVE)

    play(scene)


def test_a_frame_without_a_body_moves_nothing(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        await stage.live()
        await stage.take(frames.without_body(f"{DEPTH}@100ms@BTCUSDT"), depth(11, 11, [(99, 1)]))
        assert stage.book.last_id == 11

    stage = play(scene)
    assert (stage.seen.gaps, stage.feed.accounting.frames.control) == ([], 1)


def test_every_deal_of_a_frame_reaches_the_callback_in_order(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        await stage.take(trades(*(frames.deal(str(100 + number), trade_id=str(number)) for number in range(5))))

    assert [trade.trade_id for trade in play(scene).seen.of(Trade)] == ["0", "1", "2", "3", "4"]


def test_the_best_levels_replace_the_book_and_older_ones_are_dropped(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        await stage.take(limit_depth(7, [(100, 1), (99, 1)], [(101, 1)]), limit_depth(9, [(98, 1)], [(99, 2)]))
        await stage.take(limit_depth(8, [(50, 1)], [(60, 1)]), limit_depth(9, [(50, 1)], [(60, 1)]))
        assert stage.levels == (9, [(98.0, 1.0)], [(99.0, 2.0)])
        assert stage.asked() == []

    assert play(scene).seen.gaps == []


class TestRules:
    @pytest.mark.parametrize(
        ("first", "last", "verdict"),
        [
            (101, 101, Verdict.APPLY),
            (101, 105, Verdict.APPLY),
            (100, 101, Verdict.APPLY),
            (1, 200, Verdict.APPLY),
            (100, 100, Verdict.IGNORE),
            (1, 100, Verdict.IGNORE),
            (1, 1, Verdict.IGNORE),
            (102, 102, Verdict.GAP),
            (102, 200, Verdict.GAP),
        ],
    )
    def test_versions_are_judged_as_the_recipe_says(self, first: int, last: int, verdict: Verdict) -> None:
        assert Versions().judge(100, BookUpdate(DEPTH, SYMBOL, first, last, [], [], False, None)) is verdict

    def test_each_book_channel_has_its_rule_and_its_repair(self) -> None:
        assert {name: (type(channel.rule), channel.repair) for name, channel in MEXC_SPOT.book_channels.items()} == {
            DEPTH: (Versions, Repair.FETCH_SNAPSHOT),
            LIMIT_DEPTH: (WholeBook, Repair.WAIT),
        }
        assert MEXC_SPOT.snapshot_channel == DEPTH

    def test_no_book_is_held_against_a_ticker_whose_versions_may_be_of_another_sequence(self) -> None:
        assert not any(channel.is_audited for channel in MEXC_SPOT.book_channels.values())
