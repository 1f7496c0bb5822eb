from collections.abc import Callable
from typing import Any

import pytest

from infrastructure.book import OrderBook
from infrastructure.errors import BookNotLive
from infrastructure.events import BookState
from infrastructure.venue import BookUpdate, Levels


def update(bids: Levels, asks: Levels, last_id: int = 7) -> BookUpdate:
    return BookUpdate("channel", "BTC/USDT", last_id, last_id, bids, asks, False, 5_000)


def book(bids: Levels, asks: Levels, state: BookState = BookState.LIVE) -> OrderBook:
    made = OrderBook("gateio_spot", "channel", "BTC/USDT")
    made.replace(update(bids, asks))
    made.state = state
    return made


def test_levels_are_sorted_best_first_however_they_arrive() -> None:
    unsorted = book([(1.0, 1.0), (3.0, 3.0), (2.0, 2.0)], [(6.0, 6.0), (4.0, 4.0), (5.0, 5.0)])
    assert unsorted.bids == [(3.0, 3.0), (2.0, 2.0), (1.0, 1.0)]
    assert unsorted.asks == [(4.0, 4.0), (5.0, 5.0), (6.0, 6.0)]
    assert (unsorted.best_bid, unsorted.best_ask) == ((3.0, 3.0), (4.0, 4.0))


def test_an_update_inserts_changes_and_removes() -> None:
    changed = book([(1.0, 1.0), (3.0, 3.0)], [(4.0, 4.0)])
    changed.apply(update([(2.0, 2.0), (3.0, 9.0), (1.0, 0.0)], [(4.0, 0.0), (5.0, 5.0)], last_id=8))
    assert (changed.bids, changed.asks) == ([(3.0, 9.0), (2.0, 2.0)], [(5.0, 5.0)])
    assert (changed.last_id, changed.exchange_ns) == (8, 5_000)


def test_removing_an_unknown_level_changes_nothing() -> None:
    unchanged = book([(1.0, 1.0)], [(4.0, 4.0)])
    unchanged.apply(update([(2.0, 0.0)], [(9.0, -0.0)]))
    assert (unchanged.bids, unchanged.asks) == ([(1.0, 1.0)], [(4.0, 4.0)])


def test_a_whole_book_leaves_nothing_of_the_one_before() -> None:
    replaced = book([(1.0, 1.0)], [(4.0, 4.0)])
    replaced.replace(update([(2.0, 2.0), (0.5, 0.0)], [], last_id=3))
    assert (replaced.bids, replaced.asks, replaced.last_id) == ([(2.0, 2.0)], [], 3)


def test_a_level_named_twice_in_one_update_ends_at_its_last_amount() -> None:
    twice = book([(1.0, 1.0), (1.0, 2.0)], [(4.0, 4.0), (4.0, 0.0)])
    assert (twice.bids, twice.raw.asks) == ([(1.0, 2.0)], [])
    twice.apply(update([(1.0, 0.0), (1.0, 3.0)], []))
    assert twice.bids == [(1.0, 3.0)]


def test_an_empty_side_has_no_best_level() -> None:
    empty = book([], [])
    assert (empty.best_bid, empty.best_ask, empty.is_crossed) == (None, None, False)


@pytest.mark.parametrize("depth", [0, 1, 2, 3, 100])
def test_top_gives_so_many_levels_of_each_side(depth: int) -> None:
    deep = book([(1.0, 1.0), (2.0, 2.0), (3.0, 3.0)], [(4.0, 4.0), (5.0, 5.0)])
    assert deep.top(depth) == (deep.bids[:depth], deep.asks[:depth])


@pytest.mark.parametrize(
    ("bid", "ask", "is_crossed"), [(3.0, 4.0, False), (4.0, 4.0, True), (5.0, 4.0, True)], ids=["apart", "locked", "crossed"]
)
def test_a_book_whose_sides_touch_is_crossed(bid: float, ask: float, is_crossed: bool) -> None:
    assert book([(1.0, 1.0), (bid, 1.0)], [(ask, 1.0), (9.0, 1.0)]).is_crossed is is_crossed


@pytest.mark.parametrize("depth", [1, 2, 3, 100])
def test_no_more_levels_than_its_depth_are_kept(depth: int) -> None:
    levels = [(1.0, 1.0), (2.0, 2.0), (3.0, 3.0)], [(4.0, 4.0), (5.0, 5.0), (6.0, 6.0)]
    replaced, changed = book(*levels), book([], [])
    for kept in (replaced, changed):
        kept.depth = depth
        kept.apply(update(*levels))
    replaced.replace(update(*levels))
    for kept in (replaced, changed):
        assert (kept.bids, kept.asks) == ([(3.0, 3.0), (2.0, 2.0), (1.0, 1.0)][:depth], levels[1][:depth])


@pytest.mark.parametrize(
    ("bids", "asks", "best"),
    [
        ([(1.0, 2.0), (3.0, 4.0)], [(6.0, 5.0), (7.0, 8.0)], (3.0, 4.0, 6.0, 5.0)),
        ([], [(6.0, 5.0)], (None, None, 6.0, 5.0)),
        ([], [], (None, None, None, None)),
    ],
)
def test_the_best_of_both_sides_can_be_read_in_any_state(bids: Levels, asks: Levels, best: Any) -> None:
    assert book(bids, asks, BookState.GAP).raw.best == best


READS: list[Callable[[OrderBook], Any]] = [
    lambda book: book.bids,
    lambda book: book.asks,
    lambda book: book.best_bid,
    lambda book: book.best_ask,
    lambda book: book.top(5),
]


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("state", [state for state in BookState if state is not BookState.LIVE])
def test_a_book_that_is_not_live_cannot_be_read(state: BookState, read: Callable[[OrderBook], Any]) -> None:
    with pytest.raises(BookNotLive, match=state.value.upper()):
        read(book([(1.0, 1.0)], [(2.0, 2.0)], state))


def test_the_raw_book_can_be_read_in_any_state() -> None:
    stale = book([(1.0, 1.0), (2.0, 2.0)], [(3.0, 3.0)], BookState.STALE)
    assert (stale.raw.bids, stale.raw.asks) == ([(2.0, 2.0), (1.0, 1.0)], [(3.0, 3.0)])


def test_repr_shows_the_top_of_a_live_book_and_hides_that_of_another() -> None:
    assert repr(book([(1.0, 1.0)], [(2.0, 2.0)])) == "<OrderBook gateio_spot BTC/USDT live id=7 1.0 / 2.0 levels=1+1>"
    assert repr(book([], [(2.0, 2.0)])) == "<OrderBook gateio_spot BTC/USDT live id=7 None / 2.0 levels=0+1>"
    assert repr(book([(1.0, 1.0)], [], BookState.GAP)) == "<OrderBook gateio_spot BTC/USDT gap id=7 - levels=1+0>"
