"""Books against book tickers: what is compared, with what, and what comes of it."""

import random

import pytest

from infrastructure.audit import MISMATCHES, WAITING, Audit, AuditCounts
from infrastructure.book import OrderBook
from infrastructure.events import BookState, BookStateChange, BookTicker, ErrorEvent, Gap, GapReason
from infrastructure.exchanges.gateio.spot import GATEIO_SPOT, OBU, ORDER_BOOK_UPDATE
from infrastructure.session import Emission, Session
from infrastructure.venue import BookUpdate, Levels
from tests.harness.effort import is_soak
from tests.harness.frames import SYMBOL

LIVE, GAP = BookState.LIVE, BookState.GAP
BID, ASK = (100.0, 1.0), (101.0, 2.0)
Side = tuple[float, float] | None


class Desk:
    """A session whose account must be balanced after each step."""

    def __init__(self) -> None:
        self.asked = 0
        self.session = Session(GATEIO_SPOT, None, self.note)

    def note(self, request: object) -> None:
        self.asked += 1

    def take(self, *messages: BookUpdate | BookTicker, at_ns: int = 1) -> list[Emission]:
        events = self.session.apply(messages, at_ns)
        session = self.session
        assert session.decoded + session.raised == session.handed_over + session.absorbed + session.held
        return events

    @property
    def counts(self) -> tuple[int, int, int]:
        audit = self.session.audit
        return audit.compared, audit.mismatched, audit.unmatched

    def state(self, channel: str = ORDER_BOOK_UPDATE) -> BookState:
        (book,) = [stream.book for key, stream in self.session._streams.items() if key[0] == channel]
        return book.state


def ticker(update_id: int | None, bid: Side = BID, ask: Side = ASK) -> BookTicker:
    bid_price, bid_amount = bid or (None, None)
    ask_price, ask_amount = ask or (None, None)
    return BookTicker("gateio_spot", SYMBOL, update_id, bid_price, bid_amount, ask_price, ask_amount, None)


def whole(last_id: int, bid: Side = BID, ask: Side = ASK, channel: str = ORDER_BOOK_UPDATE) -> BookUpdate:
    return BookUpdate(channel, SYMBOL, last_id, last_id, [bid] if bid else [], [ask] if ask else [], True, None)


def update(first_id: int, last_id: int, bids: Levels = [], asks: Levels = []) -> BookUpdate:  # noqa: B006  # never changed
    return BookUpdate(ORDER_BOOK_UPDATE, SYMBOL, first_id, last_id, bids, asks, False, None)


def gaps(events: list[Emission]) -> list[tuple[GapReason, int | None]]:
    return [(event.reason, event.last_id) for event in events if isinstance(event, Gap)]


WRONG: list[tuple[Side, Side]] = [
    ((100.0, 1.5), ASK),
    ((99.0, 1.0), ASK),
    (BID, (101.0, 2.5)),
    (BID, (102.0, 2.0)),
    (None, ASK),
    (BID, None),
    (None, None),
]


class TestBothOrders:
    def test_a_ticker_behind_its_book_is_compared(self) -> None:
        desk = Desk()
        desk.take(whole(10))
        desk.take(ticker(10))
        assert desk.counts == (1, 0, 0)

    def test_a_ticker_ahead_of_its_book_is_compared_when_the_book_comes(self) -> None:
        desk = Desk()
        desk.take(whole(10))
        desk.take(ticker(12, (100.0, 3.0)))
        assert desk.counts == (0, 0, 0)
        assert desk.take(update(11, 12, [(100.0, 3.0)])) == [desk.session.books[SYMBOL]]
        assert desk.counts == (1, 0, 0)

    def test_a_ticker_that_came_before_its_book_was_live_waits_for_it(self) -> None:
        desk = Desk()
        desk.take(update(8, 9))
        desk.take(ticker(10))
        desk.take(whole(10))
        assert desk.counts == (1, 0, 0)

    def test_tickers_many_updates_behind_are_compared(self) -> None:
        desk = Desk()
        desk.take(whole(10), ticker(10))
        for last_id in range(11, 10 + WAITING):
            desk.take(update(last_id, last_id, [(100.0, float(last_id))]))
        for last_id in range(11, 10 + WAITING):
            desk.take(ticker(last_id, (100.0, float(last_id))))
        assert desk.counts == (WAITING, 0, 0)

    def test_only_equal_ids_are_compared(self) -> None:
        desk = Desk()
        desk.take(whole(10))
        desk.take(ticker(11, (77.0, 7.0)))
        desk.take(update(11, 12, [(100.0, 3.0)]))
        desk.take(ticker(11, (77.0, 7.0)))
        desk.take(ticker(None))
        assert (desk.counts, desk.state()) == ((0, 0, 2), LIVE)

    def test_an_empty_side_is_compared_too(self) -> None:
        desk = Desk()
        desk.take(whole(10, None))
        desk.take(ticker(10, None))
        assert desk.counts == (1, 0, 0)

    def test_each_channel_that_counts_so_is_compared(self) -> None:
        desk = Desk()
        desk.take(whole(10), whole(10, (100.0, 5.0), channel=OBU))
        events = desk.take(ticker(10))
        assert desk.counts == (2, 1, 0)
        assert (desk.state(), desk.state(OBU)) == (LIVE, GAP)
        assert [event.channel for event in events if isinstance(event, Gap)] == [OBU]


class TestMismatch:
    @pytest.mark.parametrize(("bid", "ask"), WRONG)
    def test_a_book_that_was_wrong_is_no_longer_believed_and_repaired(self, bid: Side, ask: Side) -> None:
        desk = Desk()
        desk.take(whole(10))
        desk.take(update(11, 11))
        events = desk.take(ticker(11, bid, ask))
        assert [type(event) for event in events] == [BookTicker, Gap, BookStateChange]
        assert gaps(events) == [(GapReason.AUDIT, 11)]
        assert (desk.counts, desk.state(), desk.asked) == ((1, 1, 0), GAP, 1)

    @pytest.mark.parametrize(("bid", "ask"), WRONG)
    def test_an_update_that_makes_it_wrong_is_never_shown(self, bid: Side, ask: Side) -> None:
        desk = Desk()
        desk.take(whole(10))
        desk.take(ticker(11, bid, ask))
        events = desk.take(update(11, 11))
        assert [type(event) for event in events] == [Gap, BookStateChange]
        assert (gaps(events), desk.counts, desk.asked) == ([(GapReason.AUDIT, 10)], (1, 1, 0), 1)

    def test_in_one_frame_too_whichever_comes_first(self) -> None:
        for is_behind in (True, False):
            messages: list[BookUpdate | BookTicker] = [update(11, 11), ticker(11, None)]
            desk = Desk()
            desk.take(whole(10))
            events = desk.take(*(messages if is_behind else messages[::-1]))
            assert not any(isinstance(event, OrderBook) for event in events)
            assert (len(gaps(events)), desk.state(), desk.counts) == (1, GAP, (1, 1, 0))

    def test_what_follows_in_the_frame_of_a_mismatch_is_not_shown(self) -> None:
        desk = Desk()
        desk.take(whole(10))
        events = desk.take(ticker(10, None), update(11, 11, [(99.0, 1.0)]))
        assert not any(isinstance(event, OrderBook) for event in events)
        assert desk.state() is GAP

    def test_it_is_announced_once_until_the_book_is_live_again(self) -> None:
        desk = Desk()
        desk.take(whole(10), ticker(10))
        events = [*desk.take(ticker(10, None)), *desk.take(ticker(10, None)), *desk.take(ticker(9, None))]
        assert len(gaps(events)) == 1
        desk.take(whole(20))
        assert desk.state() is LIVE
        desk.take(ticker(20))
        assert desk.state() is LIVE
        assert len(gaps(desk.take(ticker(20, None)))) == 1

    def test_a_repaired_book_is_not_held_against_what_the_wrong_one_showed(self) -> None:
        desk = Desk()
        desk.take(whole(10), ticker(9))
        for last_id in range(11, 15):
            desk.take(update(last_id, last_id))
        desk.take(ticker(11, None))
        desk.take(whole(20))
        for last_id in range(12, 15):
            desk.take(ticker(last_id, None))
        assert (desk.state(), desk.session.audit.mismatched) == (LIVE, 1)

    def test_only_the_symbols_own_book_is_touched(self) -> None:
        desk = Desk()
        other = BookUpdate(ORDER_BOOK_UPDATE, "ETH/USDT", 10, 10, [BID], [ASK], True, None)
        desk.take(whole(10), other)
        desk.take(ticker(10, None))
        assert desk.session.books["ETH/USDT"].is_live


class TestBounds:
    def test_without_a_ticker_nothing_is_kept(self) -> None:
        desk = Desk()
        desk.take(whole(10))
        assert desk.session._streams[ORDER_BOOK_UPDATE, SYMBOL].audit is None

    def test_a_ticker_that_is_no_longer_wanted_ends_the_audit(self) -> None:
        desk = Desk()
        desk.take(whole(10), ticker(10))
        desk.session.forget("spot.book_ticker", SYMBOL)
        assert desk.session._streams[ORDER_BOOK_UPDATE, SYMBOL].audit is None
        desk.take(ticker(10, None))
        assert desk.state() is LIVE

    def test_a_book_that_is_no_longer_wanted_ends_it_too(self) -> None:
        desk = Desk()
        desk.take(whole(10), ticker(10))
        desk.session.forget(ORDER_BOOK_UPDATE, SYMBOL)
        desk.take(ticker(10, None))
        assert desk.session.audit.compared == 1

    def test_no_more_than_so_many_wait(self) -> None:
        desk = Desk()
        desk.take(whole(10), ticker(10))
        stream = desk.session._streams[ORDER_BOOK_UPDATE, SYMBOL]
        audit = stream.audit
        assert audit is not None
        for number in range(3 * WAITING):
            desk.take(ticker(11 + number, None), at_ns=100 + number)
        assert len(audit._ahead) == WAITING
        assert desk.session.audit.unmatched == 2 * WAITING
        assert stream.overtaken_ns == 100
        for last_id in range(11, 11 + 3 * WAITING):
            desk.take(whole(last_id, None))
        assert len(audit._tops) == WAITING
        assert stream.overtaken_ns is None

    def test_a_cut_begins_it_anew(self) -> None:
        desk = Desk()
        desk.take(whole(1000), ticker(1000), ticker(1001, None))
        desk.session.disconnect()
        desk.take(whole(10))
        desk.take(update(11, 1001))
        assert (desk.counts, desk.state()) == ((1, 0, 1), LIVE)

    def test_after_a_cut_of_the_book_alone_the_ticker_knows_nothing_better(self) -> None:
        """What the ticker brought meanwhile may be all that there was: a quiet book sends nothing after a subscription."""
        desk = Desk()
        desk.take(whole(10), ticker(10))
        desk.session.disconnect({(ORDER_BOOK_UPDATE, SYMBOL)})
        desk.take(ticker(11))
        assert desk.session._streams[ORDER_BOOK_UPDATE, SYMBOL].overtaken_ns is None

    def test_a_count_that_begins_anew_begins_it_anew(self) -> None:
        desk = Desk()
        desk.take(whole(1000), ticker(1000), ticker(1001, None))
        desk.take(whole(10))
        desk.take(ticker(10))
        desk.take(update(11, 1001))
        assert (desk.counts, desk.state()) == ((2, 0, 1), LIVE)

    def test_a_stream_that_was_not_seen_yet_is_not_overtaken(self) -> None:
        desk = Desk()
        desk.take(update(9, 10))
        desk.take(ticker(10))
        stream = desk.session._streams[ORDER_BOOK_UPDATE, SYMBOL]
        assert stream.overtaken_ns is None
        desk.take(ticker(11), at_ns=7)
        assert stream.overtaken_ns == 7
        desk.take(update(11, 12))
        assert stream.overtaken_ns is None

    def test_repr_counts(self) -> None:
        desk = Desk()
        desk.take(whole(10), ticker(10))
        assert repr(desk.session.audit) == "<AuditCounts compared=1 mismatched=0 unmatched=0>"


def test_whatever_the_order_right_books_are_never_found_wrong() -> None:
    """Books and tickers of one truth, each delayed as it likes, with tickers left out and pushes merged."""
    for seed in range(500 if is_soak() else 50):
        chance = random.Random(seed)
        desk = Desk()
        truth = [(float(chance.randrange(90, 100)), float(chance.randrange(1, 9))) for _ in range(60)]
        desk.take(whole(0, truth[0]))
        queue: list[tuple[float, BookUpdate | BookTicker]] = []
        first_id, shown_at = 1, 0.0
        for last_id in range(1, 60):
            if chance.random() < 0.6:
                shown_at = max(shown_at, last_id + chance.random() * 10)
                bids = [(truth[first_id - 1][0], 0.0), truth[last_id]]
                queue.append((shown_at, update(first_id, last_id, bids)))
                first_id = last_id + 1
        told_at = 0.0
        for last_id in range(60):
            if chance.random() < 0.6:
                told_at = max(told_at, last_id + chance.random() * 10)
                queue.append((told_at, ticker(last_id, truth[last_id])))
        for _, message in sorted(queue, key=lambda entry: entry[0]):
            assert gaps(desk.take(message)) == []
        assert desk.session.audit.mismatched == 0
        assert desk.session.audit.compared > 5


class TestDisagreement:
    """Ids that are not those of the ticker, though they look like it."""

    def test_a_book_that_disagrees_after_each_repair_is_not_repaired_for_ever(self) -> None:
        desk = Desk()
        told: list[Emission] = []
        for last_id in range(10, 20):
            told += desk.take(whole(last_id), ticker(last_id, (55.0, 5.0)))
        assert desk.counts == (MISMATCHES, MISMATCHES, 0)
        assert (desk.state(), desk.asked) == (LIVE, MISMATCHES)
        assert [error.kind for error in told if isinstance(error, ErrorEvent)] == ["audit"]
        assert [gap.reason for gap in told if isinstance(gap, Gap)] == [GapReason.AUDIT] * MISMATCHES

    def test_a_repair_that_the_same_ticker_refutes_is_none(self) -> None:
        desk = Desk()
        told = desk.take(whole(10), ticker(10, (55.0, 5.0)))
        for _ in range(1, MISMATCHES):
            assert desk.state() is GAP
            told += desk.take(whole(10))
        assert (desk.counts, desk.state()) == ((MISMATCHES, MISMATCHES, 0), GAP)
        told += desk.take(whole(10))
        assert (desk.counts, desk.state()) == ((MISMATCHES, MISMATCHES, 0), LIVE)
        assert len(gaps(told)) == 1
        assert [error.kind for error in told if isinstance(error, ErrorEvent)] == ["audit"]

    def test_one_agreement_and_they_are_counted_anew(self) -> None:
        desk = Desk()
        for last_id in range(10, 50, 2):
            desk.take(whole(last_id), ticker(last_id, (55.0, 5.0)))
            desk.take(whole(last_id + 1), ticker(last_id + 1))
        assert desk.counts == (40, 20, 0)
        assert desk.state() is LIVE

    def test_what_repairs_a_book_is_held_against_the_ticker_that_refuted_it(self) -> None:
        desk = Desk()
        desk.take(whole(10))
        desk.take(ticker(10, (100.0, 2.0)))
        desk.take(whole(10, (100.0, 2.0)))
        assert (desk.counts, desk.state()) == ((2, 1, 0), LIVE)

    def test_the_other_books_are_compared_as_before(self) -> None:
        desk = Desk()
        for last_id in range(10, 20):
            desk.take(whole(last_id, (7.0, 1.0)), whole(last_id, channel=OBU), ticker(last_id))
        assert (desk.counts, desk.state(OBU)) == ((10 + MISMATCHES, MISMATCHES, 0), LIVE)

    def test_an_audit_that_is_over_knows_nothing_of_a_stream_that_is_overtaken(self) -> None:
        audit = Audit(AuditCounts())
        book = OrderBook("gateio_spot", ORDER_BOOK_UPDATE, SYMBOL)
        for last_id in range(10, 10 + MISMATCHES):
            book.replace(whole(last_id))
            audit.holds(book)
            assert not audit.agrees(ticker(last_id, (55.0, 5.0)), 1)
        audit.seen_id = 20
        assert audit.is_over and audit.agrees(ticker(30), 1) and audit.overtaken_ns() is None
