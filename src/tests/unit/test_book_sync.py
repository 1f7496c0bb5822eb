from collections.abc import Callable

import pytest

from infrastructure.book_sync import (
    HELD_LIMIT,
    RESET_NS,
    RESET_RUN,
    Action,
    Announce,
    BookSync,
    ChangeState,
    FetchSnapshot,
    Publish,
    Resubscribe,
)
from infrastructure.events import BookState, GapReason
from infrastructure.exchanges.gateio.spot import GATEIO_SPOT, OBU, ORDER_BOOK, ORDER_BOOK_UPDATE
from infrastructure.venue import BookUpdate

SYNCING, LIVE, GAP, STALE = BookState.SYNCING, BookState.LIVE, BookState.GAP, BookState.STALE
SYMBOL = "BTC/USDT"


def sync(channel: str = ORDER_BOOK_UPDATE) -> BookSync:
    return BookSync(GATEIO_SPOT.book_channels[channel], SYMBOL)


def live(last_id: int = 10, channel: str = ORDER_BOOK_UPDATE) -> BookSync:
    made = sync(channel)
    made.receive(update(last_id, last_id, is_full=True))
    assert (made.state, made.last_id) == (LIVE, last_id)
    return made


def update(first: int, last: int, *, is_full: bool = False) -> BookUpdate:
    return BookUpdate("channel", SYMBOL, first, last, [], [], is_full, None)


def snapshot(last: int) -> BookUpdate:
    return update(last, last, is_full=True)


def fetch(epoch: int, attempt: int = 1) -> FetchSnapshot:
    return FetchSnapshot(ORDER_BOOK_UPDATE, SYMBOL, epoch, attempt)


def publishes(actions: list[Action]) -> list[tuple[int, ...]]:
    """The last ids of the updates in each Publish."""
    return [tuple(each.last_id for each in action.updates) for action in actions if isinstance(action, Publish)]


class TestStart:
    def test_the_first_update_is_held_and_a_snapshot_asked_for_once(self) -> None:
        book = sync()
        assert book.receive(update(5, 6)) == [fetch(0)]
        assert book.receive(update(7, 8)) == []
        assert (book.state, len(book.held)) == (SYNCING, 2)

    def test_held_updates_are_replayed_on_the_snapshot(self) -> None:
        book = sync()
        for each in (update(1, 4), update(5, 6), update(7, 8)):
            book.receive(each)
        actions = book.snapshot(snapshot(5), epoch=0)
        assert publishes(actions) == [(5, 6, 8)]
        assert isinstance(actions[0], Publish) and actions[0].replaces and actions[0].was is SYNCING
        assert (book.state, book.last_id, len(book.held)) == (LIVE, 8, 0)

    @pytest.mark.parametrize("last", [8, 9, 1000])
    def test_a_snapshot_not_older_than_the_last_update_makes_the_book_live_at_once(self, last: int) -> None:
        book = sync()
        book.receive(update(5, 6))
        book.receive(update(7, 8))
        assert publishes(book.snapshot(snapshot(last), epoch=0)) == [(last,)]
        assert (book.state, book.last_id) == (LIVE, last)

    @pytest.mark.parametrize("last", [1, 3])
    def test_a_snapshot_older_than_the_first_update_is_fetched_again(self, last: int) -> None:
        book = sync()
        book.receive(update(5, 6))
        assert book.snapshot(snapshot(last), epoch=0) == [fetch(0, attempt=2)]
        assert book.snapshot(snapshot(last), epoch=0) == [fetch(0, attempt=3)]
        assert publishes(book.snapshot(snapshot(4), epoch=0)) == [(4, 6)]

    def test_a_hole_among_the_held_updates_needs_a_snapshot_from_behind_it(self) -> None:
        book = sync()
        for each in (update(5, 6), update(9, 10)):
            book.receive(each)
        assert book.snapshot(snapshot(4), epoch=0) == [fetch(0, attempt=2)]
        assert (book.absorbed, len(book.held)) == (2, 1)
        assert publishes(book.snapshot(snapshot(8), epoch=0)) == [(8, 10)]
        assert (book.absorbed, len(book.held)) == (3, 0)

    def test_a_snapshot_that_nobody_asked_for_is_welcome_before_the_first_update(self) -> None:
        book = sync()
        assert publishes(book.snapshot(snapshot(4))) == [(4,)]
        assert book.state is LIVE

    def test_a_whole_book_in_the_stream_makes_the_snapshot_needless(self) -> None:
        book = sync()
        book.receive(update(5, 6))
        assert publishes(book.receive(snapshot(9))) == [(9,)]
        assert book.snapshot(snapshot(7), epoch=0) == []
        assert (book.state, book.last_id) == (LIVE, 9)

    def test_a_whole_book_throws_away_what_was_held(self) -> None:
        book = sync()
        book.receive(update(5, 6))
        book.receive(snapshot(9))
        assert len(book.held) == 0

    def test_no_more_updates_are_held_than_the_limit(self) -> None:
        book = sync()
        for number in range(1, HELD_LIMIT + 3):
            book.receive(update(number, number))
        assert len(book.held) == HELD_LIMIT
        assert book.held[0].first_id == 3
        assert book.absorbed == 2


class TestLive:
    def test_the_next_update_is_published(self) -> None:
        book = live(10)
        following = update(11, 12)
        assert book.receive(following) == [Publish((following,))]
        assert book.last_id == 12

    def test_an_old_update_is_absorbed(self) -> None:
        book = live(10)
        absorbed = book.absorbed
        assert book.receive(update(9, 10)) == []
        assert (book.state, book.last_id, book.absorbed) == (LIVE, 10, absorbed + 1)

    def test_an_overlapping_update_is_published(self) -> None:
        book = live(10)
        assert publishes(book.receive(update(8, 12))) == [(12,)]

    def test_a_whole_book_replaces_and_the_book_stays_live(self) -> None:
        book = live(10)
        whole = snapshot(50)
        assert book.receive(whole) == [Publish((whole,), replaces=True, was=LIVE)]
        assert publishes(book.receive(update(51, 51))) == [(51,)]

    def test_a_hole_is_announced_before_anything_else(self) -> None:
        book = live(10)
        epoch = book.epoch
        assert book.receive(update(13, 14)) == [Announce(GapReason.SEQUENCE, 10, 13), ChangeState(LIVE, GAP), fetch(epoch + 1)]
        assert (book.state, len(book.held)) == (GAP, 1)

    def test_a_hole_is_announced_once(self) -> None:
        book = live(10)
        book.receive(update(13, 14))
        assert book.receive(update(20, 21)) == []
        assert book.distrust(GapReason.REJECTED) == [fetch(book.epoch)]

    def test_a_repaired_book_can_have_another_hole(self) -> None:
        book = live(10)
        book.receive(update(13, 14))
        book.snapshot(snapshot(15), epoch=book.epoch)
        assert book.receive(update(18, 18))[0] == Announce(GapReason.SEQUENCE, 15, 18)


class TestLateAnswers:
    def test_the_answer_of_an_earlier_epoch_is_dropped(self) -> None:
        book = sync()
        book.receive(update(5, 6))
        book.distrust(GapReason.REJECTED)
        assert book.snapshot(snapshot(6), epoch=0) == []
        assert book.request_failed(epoch=0) == []
        assert book.state is SYNCING
        assert publishes(book.snapshot(snapshot(6), epoch=1)) == [(6,)]

    @pytest.mark.parametrize("epoch", [None, 0, 1, 2])
    def test_a_live_book_takes_no_snapshot(self, epoch: int | None) -> None:
        book = live(10)
        assert book.snapshot(snapshot(20), epoch) == []
        assert book.request_failed(epoch) == []
        assert book.last_id == 10

    @pytest.mark.parametrize("epoch", [None, 0, 1, 2])
    def test_a_book_without_a_source_takes_no_snapshot(self, epoch: int | None) -> None:
        book = live(10)
        book.disconnect()
        assert book.snapshot(snapshot(20), epoch) == []
        assert (book.state, book.last_id) == (STALE, 10)

    def test_every_answer_is_counted_even_if_nothing_comes_of_it(self) -> None:
        book = live(10)
        absorbed = book.absorbed
        book.snapshot(snapshot(20))
        assert book.absorbed == absorbed + 1


class TestFailures:
    def test_a_failed_snapshot_is_asked_for_again_as_often_as_it_fails(self) -> None:
        book = sync()
        book.receive(update(5, 6))
        assert [book.request_failed(epoch=0) for _ in range(3)] == [[fetch(0, attempt=attempt)] for attempt in (2, 3, 4)]
        assert publishes(book.snapshot(snapshot(6), epoch=0)) == [(6,)]

    def test_attempts_start_again_with_every_epoch(self) -> None:
        book = sync()
        book.receive(update(5, 6))
        book.request_failed(epoch=0)
        assert book.distrust(GapReason.REJECTED) == [fetch(1, attempt=1)]

    @pytest.mark.parametrize("reason", [GapReason.REJECTED, GapReason.FAILED])
    def test_a_live_book_that_is_distrusted_announces_why(self, reason: GapReason) -> None:
        book = live(10)
        assert book.distrust(reason) == [Announce(reason, 10, None), ChangeState(LIVE, GAP), fetch(book.epoch)]

    def test_a_live_book_that_would_be_crossed_falls_back_to_its_last_good_id(self) -> None:
        book = live(10)
        book.receive(update(11, 12))
        assert book.retract(LIVE, 10) == [Announce(GapReason.CROSSED, 10, None), ChangeState(LIVE, GAP), fetch(book.epoch)]
        assert book.last_id == 10

    @pytest.mark.parametrize("was", [SYNCING, GAP])
    def test_a_crossed_snapshot_is_no_new_hole_and_is_fetched_again(self, was: BookState) -> None:
        book = sync() if was is SYNCING else live(10)
        book.receive(update(13, 14))
        book.snapshot(snapshot(14), epoch=book.epoch)
        assert book.retract(was, None) == [fetch(book.epoch)]
        assert book.state is was


def dated(first: int, last: int, exchange_ns: int | None) -> BookUpdate:
    return BookUpdate("channel", SYMBOL, first, last, [], [], False, exchange_ns)


class TestCountsThatBeginAnew:
    @pytest.mark.parametrize(
        ("later_ns", "is_anew"), [(-RESET_NS, False), (0, False), (RESET_NS, False), (RESET_NS + 1, True), (10**18, True)]
    )
    def test_by_the_venues_time(self, later_ns: int, is_anew: bool) -> None:
        book = live(10)
        book.receive(dated(11, 11, 1000))
        actions = book.receive(dated(3, 4, 1000 + later_ns))
        expected: list[Action] = [Announce(GapReason.SEQUENCE, 11, 3), ChangeState(LIVE, GAP), fetch(book.epoch)]
        assert actions == (expected if is_anew else [])
        assert len(book.held) == is_anew

    @pytest.mark.parametrize("times", [(None, 10**18), (1000, None), (None, None)])
    def test_by_their_number_where_a_time_is_missing(self, times: tuple[int | None, int | None]) -> None:
        book = live(10)
        book.receive(dated(11, 11, times[0]))
        assert [bool(book.receive(dated(number, number, times[1]))) for number in [3] * RESET_RUN] == [False] * (RESET_RUN - 1) + [True]

    def test_an_update_that_is_applied_in_between_begins_the_number_anew(self) -> None:
        book = live(10)
        for number in range(11, 11 + 2 * RESET_RUN):
            assert publishes(book.receive(update(number, number))) == [(number,)]
            assert book.receive(update(3, 3)) == []

    def test_a_repetition_of_the_last_update_is_none(self) -> None:
        book = live(10)
        book.receive(dated(11, 11, 1000))
        assert not any(book.receive(dated(11, 11, 10**18)) for _ in range(RESET_RUN + 1))

    def test_every_update_is_absorbed_or_held(self) -> None:
        book = live(10)
        absorbed = book.absorbed
        book.receive(dated(11, 11, 1000))
        book.receive(dated(3, 3, 1000))
        book.receive(dated(4, 4, 10**18))
        assert (book.absorbed - absorbed, len(book.held)) == (1, 1)

    def test_the_time_is_that_of_the_snapshot_and_what_was_replayed_on_it(self) -> None:
        book = sync()
        book.receive(dated(5, 6, 10**18))
        book.snapshot(dated(5, 5, 1000))
        assert book.receive(dated(3, 3, 10**18)) == []


class TestSilence:
    def test_a_silent_book_is_announced_and_nothing_is_asked_before_it_goes_on(self) -> None:
        book = live(10)
        assert book.silence() == [Announce(GapReason.SILENT, 10, None), ChangeState(LIVE, GAP)]
        assert book.silence() == []
        assert book.receive(update(15, 15)) == [fetch(book.epoch)]
        assert publishes(book.snapshot(snapshot(15), book.epoch)) == [(15,)]

    def test_what_was_asked_before_is_no_longer_taken(self) -> None:
        book = live(10)
        book.receive(update(13, 13))
        epoch = book.epoch
        assert (book.silence(), book.snapshot(snapshot(20), epoch), book.request_failed(epoch)) == ([], [], [])

    def test_a_stream_that_brings_its_own_books_is_live_with_the_next(self) -> None:
        book = live(10, OBU)
        book.silence()
        assert publishes(book.receive(snapshot(20))) == [(20,)]

    def test_a_stale_book_stays_stale(self) -> None:
        book = live(10)
        book.disconnect()
        assert (book.silence(), book.state) == ([], STALE)


class TestDisconnect:
    def test_a_live_book_announces_the_cut_and_goes_stale(self) -> None:
        assert live(10).disconnect() == [Announce(GapReason.DISCONNECTED, 10, None), ChangeState(LIVE, STALE)]

    def test_a_hole_that_was_announced_is_not_announced_again(self) -> None:
        book = live(10)
        book.receive(update(13, 14))
        assert book.disconnect() == [ChangeState(GAP, STALE)]

    def test_a_second_cut_says_nothing(self) -> None:
        book = live(10)
        book.disconnect()
        assert book.disconnect() == []
        assert book.distrust(GapReason.REJECTED) == []

    def test_what_was_held_belongs_to_the_lost_source(self) -> None:
        book = sync()
        book.receive(update(5, 6))
        book.disconnect()
        assert (len(book.held), book.absorbed) == (0, 1)

    def test_the_next_source_starts_with_a_snapshot_of_its_own(self) -> None:
        book = live(10)
        book.disconnect()
        assert book.receive(update(11, 12)) == [ChangeState(STALE, SYNCING), fetch(book.epoch)]
        assert publishes(book.snapshot(snapshot(11), epoch=book.epoch)) == [(11, 12)]

    def test_the_next_source_may_start_with_a_whole_book(self) -> None:
        book = live(10)
        book.disconnect()
        whole = snapshot(3)
        assert book.receive(whole) == [ChangeState(STALE, SYNCING), Publish((whole,), replaces=True, was=SYNCING)]


class TestOtherRepairs:
    def test_a_channel_with_its_whole_book_in_band_is_subscribed_again(self) -> None:
        book = live(10, OBU)
        actions = book.receive(update(13, 14))
        assert actions == [Announce(GapReason.SEQUENCE, 10, 13), ChangeState(LIVE, GAP), Resubscribe(OBU, SYMBOL, book.epoch, 1)]
        assert book.receive(update(15, 15)) == []
        assert len(book.held) == 0
        assert publishes(book.receive(snapshot(20))) == [(20,)]

    def test_a_channel_of_whole_books_waits_for_the_next(self) -> None:
        book = live(10, ORDER_BOOK)
        assert book.distrust(GapReason.REJECTED) == [Announce(GapReason.REJECTED, 10, None), ChangeState(LIVE, GAP)]
        assert publishes(book.receive(snapshot(11))) == [(11,)]

    def test_an_older_whole_book_is_dropped_by_a_channel_of_whole_books(self) -> None:
        assert live(10, ORDER_BOOK).receive(snapshot(9)) == []


@pytest.mark.parametrize(
    "begin",
    [
        lambda book: book.distrust(GapReason.SEQUENCE),
        lambda book: book.disconnect(),
        lambda book: book.retract(LIVE, 9),
        lambda book: book.receive(update(50, 50)),
    ],
    ids=["distrust", "disconnect", "retract", "hole"],
)
def test_every_loss_begins_another_epoch(begin: Callable[[BookSync], object]) -> None:
    book = live(10)
    epoch = book.epoch
    begin(book)
    assert book.epoch == epoch + 1


def test_repr_shows_the_place_in_the_stream() -> None:
    book = sync()
    book.receive(update(5, 6))
    assert repr(book) == "<BookSync spot.order_book_update BTC/USDT syncing epoch=0 last_id=None held=1>"
