from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from infrastructure.book import OrderBook
from infrastructure.book_sync import HELD_LIMIT, FetchSnapshot, Request, Resubscribe
from infrastructure.errors import DecodeError, UnknownSymbol
from infrastructure.events import BookState, BookStateChange, ErrorEvent, Gap, GapReason
from infrastructure.exchanges.gateio.futures import GATEIO_FUTURES
from infrastructure.exchanges.gateio.spot import GATEIO_SPOT, OBU, ORDER_BOOK, ORDER_BOOK_UPDATE
from infrastructure.session import REMEMBERED_TRADES, Emission, Session
from infrastructure.venue import BookUpdate, Message
from tests.harness import frames, futures_frames
from tests.harness.frames import SYMBOL

SYNCING, LIVE, GAP, STALE = BookState.SYNCING, BookState.LIVE, BookState.GAP, BookState.STALE
TICKER = {"currency_pair": frames.PAIR, "last": "1"}
OTHER = "ETH/USDT"
OTHER_PAIR = "ETH_USDT"
RECEIVED_NS = 42


class Desk:
    """A session that is fed frames and notes what it asks for. After each step its account must be balanced."""

    def __init__(self, *symbols: str, session: Session | None = None) -> None:
        self.requests: list[Request] = []
        self.session = session or Session(GATEIO_SPOT, symbols or None, self.requests.append)
        self.session.received_ns = RECEIVED_NS

    def take(self, *raws: bytes) -> list[Emission]:
        """Apply frames; the events of the last."""
        events: list[Emission] = []
        for raw in raws:
            events = self.apply(*GATEIO_SPOT.codec.decode(raw))
        return events

    def apply(self, *messages: Message) -> list[Emission]:
        return self.balanced(self.session.apply(messages))

    def balanced(self, events: list[Emission]) -> list[Emission]:
        session = self.session
        assert session.decoded + session.raised == session.handed_over + session.absorbed + session.held
        return events

    def live(self, last_id: int = 10, pair: str = frames.PAIR) -> "Desk":
        """With a live book at ``last_id``, bid 100, ask 101."""
        self.take(frames.update(last_id, last_id, [(100, 1)], [(101, 1)], full=True, pair=pair))
        return self

    def state(self, symbol: str = SYMBOL) -> BookState:
        return self.session.books[symbol].state


def kinds(events: Sequence[Emission]) -> list[str]:
    return [type(event).__name__ for event in events]


def gaps(events: Sequence[Emission]) -> list[tuple[str | None, str | None, GapReason]]:
    return [(event.channel, event.symbol, event.reason) for event in events if isinstance(event, Gap)]


class TestSymbols:
    def test_a_symbol_that_was_not_asked_for_gives_no_event_and_no_book(self) -> None:
        desk = Desk(SYMBOL)
        assert desk.take(frames.trade(1, pair=OTHER_PAIR)) == []
        assert desk.take(frames.update(5, 6, pair=OTHER_PAIR)) == []
        assert (dict(desk.session.books), desk.requests, desk.session.absorbed) == ({}, [], 2)

    def test_a_symbol_that_was_asked_for_gives_its_events(self) -> None:
        assert kinds(Desk(SYMBOL).take(frames.trade(1))) == ["Trade"]

    def test_without_a_list_every_symbol_is_taken(self) -> None:
        desk = Desk()
        assert kinds(desk.take(frames.trade(1)) + desk.take(frames.trade(2, pair=OTHER_PAIR))) == ["Trade", "Trade"]
        assert OTHER in desk.session

    @pytest.mark.parametrize("text", ["BTCUSDT", "BTC_USDT", "", "/", "BTC/", "/USDT", "BTC/USDT:", "BTC/USDT/X", "BTC/USDT\0"])
    def test_a_symbol_in_another_notation_is_refused(self, text: str) -> None:
        with pytest.raises(UnknownSymbol):
            Session(GATEIO_SPOT, [text])

    def test_a_rejected_frame_of_a_symbol_that_was_not_asked_for_leaves_no_gap(self) -> None:
        desk = Desk(SYMBOL)
        desk.take(frames.trade(1, pair=OTHER_PAIR))
        assert desk.balanced(desk.session.reject(DecodeError("bad", channel="spot.trades", symbol=OTHER))) == []

    @pytest.mark.parametrize("symbol", [OTHER, "nope"])
    def test_a_snapshot_of_another_symbol_is_refused(self, symbol: str) -> None:
        with pytest.raises(UnknownSymbol):
            Desk(SYMBOL).session.snapshot(symbol, frames.rest_book(5))


class TestEvents:
    def test_events_carry_the_time_of_their_frame(self) -> None:
        desk = Desk().live()
        for raw in (frames.trade(1), frames.ticker(), frames.update(11, 11, [(99, 1)]), frames.update(20, 20)):
            assert {event.received_ns for event in desk.take(raw)} == {RECEIVED_NS}

    def test_a_frame_of_several_messages_gives_its_events_in_order(self) -> None:
        messages = [message for raw in (frames.trade(1), frames.trade(2), frames.trade(3)) for message in GATEIO_SPOT.codec.decode(raw)]
        assert [getattr(event, "trade_id", "") for event in Desk().apply(*messages)] == ["1", "2", "3"]

    def test_a_refusal_becomes_an_error_with_the_venues_words(self) -> None:
        text = "unknown currency pair: NOPE_USDT"
        (event,) = Desk().take(frames.acknowledgement(error={"code": 2, "message": text}))
        assert event == ErrorEvent("gateio_spot", "refused", text, "spot.trades", code="2", received_ns=RECEIVED_NS)

    @pytest.mark.parametrize("raw", [frames.acknowledgement(), frames.PONG, frames.push("spot.system", {}), frames.push("spot.orders", [])])
    def test_other_control_frames_give_no_event(self, raw: bytes) -> None:
        assert Desk().take(raw) == []

    def test_a_book_that_changes_twice_in_one_frame_is_shown_once(self) -> None:
        desk = Desk().live()
        messages = [
            *GATEIO_SPOT.codec.decode(frames.update(11, 11, [(99, 1)])),
            *GATEIO_SPOT.codec.decode(frames.update(12, 12, [(98, 1)])),
        ]
        events = desk.apply(*messages)
        book = desk.session.books[SYMBOL]
        assert events == [book]
        assert (book.last_id, book.changes.bids, book.changes.is_full) == (12, [(99.0, 1.0), (98.0, 1.0)], False)

    @pytest.mark.parametrize("order", [(True, False), (False, True)])
    def test_changes_of_a_frame_that_holds_a_whole_book_are_the_whole_book(self, order: tuple[bool, bool]) -> None:
        desk = Desk().live()
        pushes = (frames.update(number, number, [(90 + number - 10, 1)], full=full) for number, full in zip((11, 12), order, strict=True))
        desk.apply(*(message for raw in pushes for message in GATEIO_SPOT.codec.decode(raw)))
        book = desk.session.books[SYMBOL]
        assert book.changes.is_full
        assert sorted(book.changes.bids) == sorted(book.bids)


class TestChanges:
    def test_of_an_update_are_its_levels(self) -> None:
        desk = Desk().live()
        desk.take(frames.update(11, 11, [(99, 2)], [(101, 0), (102, 3)]))
        changes = desk.session.books[SYMBOL].changes
        assert (changes.bids, changes.asks, changes.is_full) == ([(99.0, 2.0)], [(101.0, 0.0), (102.0, 3.0)], False)

    def test_of_a_snapshot_with_replayed_updates_are_the_whole_book(self) -> None:
        desk = Desk()
        desk.take(frames.update(6, 6, [(99, 2)]))
        desk.balanced(desk.session.snapshot(SYMBOL, frames.rest_book(5), 0))
        changes = desk.session.books[SYMBOL].changes
        assert (changes.bids, changes.asks, changes.is_full) == ([(100.0, 1.0), (99.0, 2.0)], [(101.0, 1.0)], True)


class TestRepair:
    def test_a_hole_is_announced_and_a_snapshot_makes_the_book_live_again(self) -> None:
        desk = Desk().live(10)
        events = desk.take(frames.update(13, 13, [(99, 1)]))
        assert events == [
            Gap("gateio_spot", ORDER_BOOK_UPDATE, SYMBOL, GapReason.SEQUENCE, 10, 13, RECEIVED_NS),
            BookStateChange("gateio_spot", ORDER_BOOK_UPDATE, SYMBOL, LIVE, GAP, 10, RECEIVED_NS),
        ]
        (request,) = desk.requests
        events = desk.balanced(desk.session.snapshot(SYMBOL, frames.rest_book(12), request.epoch))
        assert kinds(events) == ["BookStateChange", "OrderBook"]
        assert desk.session.books[SYMBOL].bids == [(100.0, 1.0), (99.0, 1.0)]

    def test_a_gap_is_repaired_for_its_symbol_alone(self) -> None:
        desk = Desk().live(10).live(10, OTHER_PAIR)
        desk.take(frames.update(13, 13))
        assert (desk.state(), desk.state(OTHER)) == (GAP, LIVE)
        assert [request.symbol for request in desk.requests] == [SYMBOL]

    def test_a_late_snapshot_of_an_earlier_epoch_is_dropped(self) -> None:
        desk = Desk().live(10)
        desk.take(frames.update(13, 13))
        desk.balanced(desk.session.disconnect())
        desk.take(frames.update(20, 20))
        early, late = desk.requests
        assert desk.balanced(desk.session.snapshot(SYMBOL, frames.rest_book(30), early.epoch)) == []
        assert desk.state() is SYNCING
        assert kinds(desk.balanced(desk.session.snapshot(SYMBOL, frames.rest_book(20), late.epoch))) == ["BookStateChange", "OrderBook"]

    def test_a_failed_snapshot_is_told_and_asked_for_again(self) -> None:
        desk = Desk()
        desk.take(frames.update(5, 5))
        (event,) = desk.balanced(desk.session.request_failed(desk.requests[0], "429"))
        assert event == ErrorEvent("gateio_spot", "repair", "429", ORDER_BOOK_UPDATE, SYMBOL, received_ns=RECEIVED_NS)
        assert desk.requests == [FetchSnapshot(ORDER_BOOK_UPDATE, SYMBOL, 0, attempt) for attempt in (1, 2)]

    @pytest.mark.parametrize("raw", [b"", b"{}", b"<html>", b'{"label":"TOO_MANY_REQUESTS"}', frames.rest_book(5, [(-1, 1)])])
    def test_an_answer_that_holds_no_book_counts_as_failed(self, raw: bytes) -> None:
        desk = Desk()
        desk.take(frames.update(5, 5))
        (event,) = desk.balanced(desk.session.snapshot(SYMBOL, raw, 0))
        assert isinstance(event, ErrorEvent) and event.kind == "repair"
        assert [request.attempt for request in desk.requests] == [1, 2]

    def test_the_oldest_updates_go_when_too_many_wait(self) -> None:
        desk = Desk()
        for number in range(1, HELD_LIMIT + 3):
            desk.take(frames.update(number, number))
        assert desk.session.held == HELD_LIMIT
        desk.balanced(desk.session.snapshot(SYMBOL, frames.rest_book(2), 0))
        assert (desk.state(), desk.session.books[SYMBOL].last_id) == (LIVE, HELD_LIMIT + 2)

    def test_an_update_that_crosses_the_book_hides_it_and_asks_for_another(self) -> None:
        desk = Desk().live(10)
        events = desk.take(frames.update(11, 11, [(102, 1)]))
        assert events == [
            Gap("gateio_spot", ORDER_BOOK_UPDATE, SYMBOL, GapReason.CROSSED, 10, None, RECEIVED_NS),
            BookStateChange("gateio_spot", ORDER_BOOK_UPDATE, SYMBOL, LIVE, GAP, 10, RECEIVED_NS),
        ]
        assert len(desk.requests) == 1

    def test_a_crossed_snapshot_is_never_shown(self) -> None:
        desk = Desk()
        desk.take(frames.update(5, 5))
        assert desk.balanced(desk.session.snapshot(SYMBOL, frames.rest_book(5, [(101, 1)], [(100, 1)]), 0)) == []
        assert (desk.state(), len(desk.requests)) == (SYNCING, 2)


class TestDisconnect:
    def test_each_stream_that_had_data_gets_one_gap(self) -> None:
        desk = Desk().live(10).live(10, OTHER_PAIR)
        desk.take(
            frames.trade(1), frames.trade(2), frames.trade(3, pair=OTHER_PAIR), frames.book_ticker(1), frames.ticker(), frames.candle()
        )
        assert sorted(gaps(desk.balanced(desk.session.disconnect()))) == sorted(
            (channel, symbol, GapReason.DISCONNECTED)
            for channel, symbol in [
                (ORDER_BOOK_UPDATE, SYMBOL),
                (ORDER_BOOK_UPDATE, OTHER),
                ("spot.trades", SYMBOL),
                ("spot.trades", OTHER),
                ("spot.book_ticker", SYMBOL),
                ("spot.tickers", SYMBOL),
                ("spot.candlesticks", SYMBOL),
            ]
        )

    def test_every_hole_gets_one_gap_however_often_the_connection_is_cut_meanwhile(self) -> None:
        desk = Desk()
        told = [("spot.trades", SYMBOL, GapReason.DISCONNECTED)]
        for _ in range(2):
            desk.take(frames.trade(1))
            assert gaps(desk.balanced(desk.session.disconnect())) == told
            assert gaps(desk.balanced(desk.session.disconnect())) == []

    def test_a_stream_that_was_agreed_gets_its_gap_though_no_data_came(self) -> None:
        desk = Desk()
        desk.session.expect("spot.trades", SYMBOL)
        assert gaps(desk.balanced(desk.session.disconnect())) == [("spot.trades", SYMBOL, GapReason.DISCONNECTED)]
        desk.session.expect("spot.trades", SYMBOL)
        assert gaps(desk.balanced(desk.session.disconnect())) == []

    def test_a_stream_that_was_ended_on_purpose_gets_none_and_its_book_can_no_longer_be_read(self) -> None:
        desk = Desk().live(10)
        desk.take(frames.trade(1))
        book = desk.session.books[SYMBOL]
        desk.session.expect("spot.trades", SYMBOL)
        ended = [*desk.session.forget("spot.trades", SYMBOL), *desk.session.forget(ORDER_BOOK_UPDATE, SYMBOL)]
        assert gaps(desk.balanced(ended)) == []
        assert (book.state, dict(desk.session.books)) == (BookState.STALE, {})
        assert desk.balanced(desk.session.disconnect()) == []

    def test_the_book_of_another_channel_is_shown_once_the_first_is_forgotten(self) -> None:
        desk = Desk().live(10)
        desk.take(frames.obu(None, 5, [(100, 1)], [(101, 1)], full=True))
        assert desk.session.books[SYMBOL].channel == "spot.obu"
        desk.balanced(desk.session.forget("spot.obu", SYMBOL))
        assert desk.session.books[SYMBOL].channel == ORDER_BOOK_UPDATE

    def test_a_second_cut_changes_nothing_about_a_book_that_is_stale(self) -> None:
        desk = Desk().live(10)
        desk.session.disconnect()
        assert desk.balanced(desk.session.disconnect()) == []

    def test_a_book_that_had_a_hole_already_gets_no_second_gap(self) -> None:
        desk = Desk().live(10)
        desk.take(frames.update(13, 13))
        assert gaps(desk.balanced(desk.session.disconnect())) == []
        assert desk.state() is STALE

    def test_the_book_is_the_same_object_before_and_after(self) -> None:
        desk = Desk().live(10)
        before = desk.session.books[SYMBOL]
        desk.session.disconnect()
        desk.live(3)
        assert desk.session.books[SYMBOL] is before
        assert before.last_id == 3


class TestReplays:
    def test_a_trade_without_an_id_is_always_told(self) -> None:
        desk = Desk()
        (trade,) = GATEIO_SPOT.codec.decode(frames.trade(1))
        nameless = replace(trade, trade_id="")
        for _ in range(2):
            assert desk.apply(nameless, nameless) == [nameless, nameless]
            desk.session.disconnect()
        assert desk.session.replayed == 0

    def test_only_the_latest_are_remembered_and_only_until_as_many_new_ones_have_come(self) -> None:
        desk = Desk()
        desk.take(*(frames.trade(number) for number in range(2 * REMEMBERED_TRADES)))
        desk.session.disconnect()
        assert kinds(desk.take(frames.trade(REMEMBERED_TRADES - 1))) == ["Trade"]
        assert desk.take(frames.trade(REMEMBERED_TRADES)) == []
        desk.take(*(frames.trade(number) for number in range(9 * REMEMBERED_TRADES, 10 * REMEMBERED_TRADES)))
        assert kinds(desk.take(frames.trade(2 * REMEMBERED_TRADES - 1))) == ["Trade"]

    def test_a_cut_of_other_streams_changes_nothing(self) -> None:
        desk = Desk()
        desk.take(frames.trade(1))
        desk.session.disconnect({("spot.trades", OTHER)})
        assert kinds(desk.take(frames.trade(1))) == ["Trade"]


class TestLag:
    def lag(self, desk: Desk, raw: bytes, received_ms: int) -> int | None:
        desk.session.received_ns = received_ms * 10**6
        desk.take(raw)
        return desk.session.venue_lag_ns

    def test_it_is_the_age_beside_the_least_age(self) -> None:
        desk = Desk()
        began = 1_700_000_000_123
        pushes = [frames.push("spot.tickers", TICKER, time_ms=began + later) for later in (0, 100, 200, 300)]
        lags = [self.lag(desk, raw, began + 5000 + at) for raw, at in zip(pushes, (9000, 100, 900, 300), strict=True)]
        assert lags[:2] == [None, 0]
        assert lags[2] == pytest.approx(700e6, rel=0.001)
        assert lags[3] == 0

    def test_what_the_venue_had_kept_does_not_count(self) -> None:
        desk = Desk()
        began = 1_700_000_000_100
        assert self.lag(desk, frames.update(5, 5, [(1, 1)], full=True), began + 60_000) is None
        assert self.lag(desk, frames.update(6, 6), began + 10) == 0
        assert self.lag(desk, frames.obu(None, 5, [(1, 1)], full=True), began + 60_000) == 0

    def test_a_drift_of_the_clocks_is_no_lag(self) -> None:
        desk = Desk()
        began = 1_700_000_000_123
        for hour in range(100):
            raw = frames.push("spot.tickers", TICKER, time_ms=began + hour * 3_600_000)
            lag = self.lag(desk, raw, began + hour * 3_600_000 + hour * 300)
        assert lag == 0


class TestSeveralBookChannels:
    def test_the_venues_first_channel_is_shown_whichever_opens_first(self) -> None:
        desk = Desk()
        desk.take(frames.whole_book(1, [(100, 1)], [(101, 1)]))
        assert desk.session.books[SYMBOL].channel == ORDER_BOOK
        desk.live()
        assert desk.session.books[SYMBOL].channel == ORDER_BOOK_UPDATE
        desk.take(frames.obu(None, 5, [(100, 1)], [(101, 1)], full=True))
        assert desk.session.books[SYMBOL].channel == OBU
        desk.take(frames.whole_book(2, [(100, 1)], [(101, 1)]))
        assert desk.session.books[SYMBOL].channel == OBU

    def test_each_channel_keeps_a_book_and_a_sequence_of_its_own(self) -> None:
        desk = Desk().live(10)
        desk.take(frames.obu(None, 500, [(90, 1)], [(91, 1)], full=True))
        shown = [event for raw in (frames.update(11, 11), frames.obu(501, 501)) for event in desk.take(raw)]
        assert [(book.channel, book.last_id) for book in shown if isinstance(book, OrderBook)] == [(ORDER_BOOK_UPDATE, 11), (OBU, 501)]

    def test_a_hole_in_one_leaves_the_other_live(self) -> None:
        desk = Desk().live(10)
        desk.take(frames.obu(None, 500, [(90, 1)], [(91, 1)], full=True))
        assert gaps(desk.take(frames.obu(510, 510))) == [(OBU, SYMBOL, GapReason.SEQUENCE)]
        assert kinds(desk.take(frames.update(11, 11))) == ["OrderBook"]
        assert isinstance(desk.requests[-1], Resubscribe)


class TestGivenUpFrames:
    @pytest.mark.parametrize(
        ("error", "where"),
        [
            (None, (None, None)),
            (DecodeError("bad"), (None, None)),
            (DecodeError("bad", channel="spot.trades"), ("spot.trades", None)),
            (DecodeError("bad", channel="spot.trades", symbol=SYMBOL), ("spot.trades", SYMBOL)),
            (DecodeError("bad", channel=ORDER_BOOK_UPDATE, symbol=SYMBOL), (ORDER_BOOK_UPDATE, SYMBOL)),
        ],
    )
    def test_the_gap_names_what_could_be_read(self, error: DecodeError | None, where: tuple[str | None, str | None]) -> None:
        desk = Desk().live()
        assert gaps(desk.balanced(desk.session.reject(error))) == [(*where, GapReason.REJECTED)]

    def test_a_book_whose_update_is_rejected_is_no_longer_believed(self) -> None:
        desk = Desk().live(10).live(10, OTHER_PAIR)
        desk.session.reject(DecodeError("bad", channel=ORDER_BOOK_UPDATE, symbol=SYMBOL))
        assert (desk.state(), desk.state(OTHER), len(desk.requests)) == (GAP, LIVE, 1)

    def test_what_a_failing_frame_touches_is_no_longer_believed(self) -> None:
        desk = Desk().live(10)
        (good,) = GATEIO_SPOT.codec.decode(frames.update(11, 11, [(99, 1)]))
        bad = BookUpdate("no such channel", SYMBOL, 1, 1, [], [], False, None)
        with pytest.raises(KeyError):
            desk.session.apply([good, bad])
        assert gaps(desk.balanced(desk.session.fail())) == [
            (ORDER_BOOK_UPDATE, SYMBOL, GapReason.FAILED),
            ("no such channel", SYMBOL, GapReason.FAILED),
        ]
        assert desk.state() is GAP

    def test_a_failure_outside_any_frame_could_touch_everything(self) -> None:
        assert gaps(Desk().session.fail()) == [(None, None, GapReason.FAILED)]


def test_repr_counts_the_books_by_state() -> None:
    assert repr(Desk().live().session) == "<Session gateio_spot books: syncing=0 live=1 gap=0 stale=0>"


def test_of_two_channels_of_one_kind_the_end_of_one_leaves_the_other() -> None:
    desk = Desk(session=Session(GATEIO_FUTURES))
    tickers, stats, symbol = "futures.tickers", "futures.contract_stats", futures_frames.SYMBOL
    messages = GATEIO_FUTURES.codec.decode(futures_frames.ticker())

    def reaches_the_user() -> bool:
        return kinds(desk.apply(*messages)) == ["Ticker"]

    for channel in (tickers, stats):
        desk.session.readmit(channel, symbol)
    assert reaches_the_user()
    desk.balanced(desk.session.forget(stats, symbol))
    assert reaches_the_user()
    desk.balanced(desk.session.forget(tickers, symbol))
    assert not reaches_the_user()
    desk.session.readmit(stats, symbol)
    assert reaches_the_user()
