"""Faults in the data: damaged frames, impossible numbers, and everything that can happen to a book's sequence."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from itertools import product

import pytest

from infrastructure.book import OrderBook
from infrastructure.book_sync import FetchSnapshot, Resubscribe
from infrastructure.errors import BookNotLive, DecodeError
from infrastructure.events import Architecture, BookState, BookTicker, GapReason, Ticker, Trade
from infrastructure.exchanges.gateio.spot import GATEIO_SPOT, OBU, ORDER_BOOK_UPDATE
from infrastructure.venue import Acknowledgement, Levels
from tests.harness import frames
from tests.harness.frames import SYMBOL, Pairs, Seen, rest_book, trade, update
from tests.harness.variants import Variant, assert_accounts
from tests.harness.verdict import agreed_verdict

SYNCING, LIVE, GAP, STALE = BookState.SYNCING, BookState.LIVE, BookState.GAP, BookState.STALE


class Stage:
    """A feed of one variant and what its callbacks saw."""

    def __init__(self, variant: Variant) -> None:
        self.seen = Seen()
        self.feed = variant.feed(SYMBOL, **self.seen.callbacks)

    async def take(self, *raws: bytes) -> None:
        """Deliver frames and wait until they are handled."""
        for raw in raws:
            self.feed.deliver(raw)
        await self.feed.drain()

    async def answer(
        self, last_id: int, bids: Pairs = ((100, 1),), asks: Pairs = ((101, 1),), request: FetchSnapshot | None = None
    ) -> None:
        """REST answers with this book."""
        await self.feed.snapshot(SYMBOL, rest_book(last_id, bids, asks), request=request)

    async def live(self, last_id: int = 10) -> None:
        """Bring the book to ``last_id``: bid 100, ask 101."""
        await self.answer(last_id)
        assert self.book.is_live

    @property
    def book(self) -> OrderBook:
        return self.feed.books[SYMBOL]

    @property
    def levels(self) -> tuple[Levels, Levels]:
        return self.book.bids, self.book.asks

    @property
    def shown(self) -> list[int | None]:
        """The ids at which the book was shown."""
        return [last_id for last_id, _, _ in self.seen.books]

    @property
    def gaps(self) -> list[tuple[GapReason, int | None, int | None]]:
        return [(gap.reason, gap.last_id, gap.next_id) for gap in self.seen.gaps]


def play(variant: Variant, scene: Callable[[Stage], Awaitable[None]]) -> None:
    """Run a scene; at its end every frame and every event must be somewhere, once."""

    async def run() -> None:
        stage = Stage(variant)
        await scene(stage)
        await stage.feed.drain()
        assert_accounts(stage.feed)

    asyncio.run(run())


GOOD = trade(7)
UNREAD = b'"unread":'


def with_field(raw: bytes, field: bytes, value: bytes) -> bytes:
    """``raw`` with one more field at the end of its result, which nobody reads."""
    assert raw.endswith(b"}}")
    return raw[:-2] + b", " + field + value + b"}}"


class TestBadBytes:
    @pytest.mark.parametrize(
        "raw",
        [
            GOOD.replace(b"BTC", b"B\xffC"),
            GOOD.replace(b"buy", b"b\xe9y"),
            with_field(GOOD, UNREAD, b'"\xc3\x28"'),
            with_field(GOOD, b'"\xed\xa0\x80":', b"1"),
            GOOD[:-1] + b', "unread": "\xf0\x90"}',
            frames.PONG.replace(b'"event":""', b'"event":"","unread":"\xff"'),
        ],
        ids=["symbol", "side", "unread field", "unread name", "unread field of the envelope", "control frame"],
    )
    def test_p3_text_that_is_not_utf8_is_rejected_wherever_it_stands(self, variant: Variant, raw: bytes) -> None:
        """P3 Invalid UTF-8 text (also in unread fields)."""

        async def scene(stage: Stage) -> None:
            await stage.take(raw, GOOD)
            assert stage.feed.accounting.frames.rejected_by_kind == {"undecodable": 1}
            assert [(gap.reason, gap.symbol) for gap in stage.seen.gaps] == [(GapReason.REJECTED, None)]
            assert len(stage.seen.of(Trade)) == 1

        play(variant, scene)

    @pytest.mark.parametrize(
        "raw",
        [b"", b" ", b"null", b"[]", b'"text"', b"7", b"{", b"\xef\xbb\xbf" + GOOD, GOOD + b"}", GOOD + GOOD, GOOD + b"\0", b"\0" * 64],
        ids=lambda raw: repr(raw[:12]),
    )
    def test_p8_a_damaged_frame_is_rejected_counted_and_kept(self, variant: Variant, raw: bytes) -> None:
        """P8 Truncated / trailing / BOM / empty JSON."""

        async def scene(stage: Stage) -> None:
            await stage.take(GOOD, raw, GOOD)
            account = stage.feed.accounting.frames
            assert (account.delivered, account.rejected_by_kind) == (2, {"undecodable": 1})
            (letter,) = stage.feed.dead_letters
            assert (letter.number, letter.kind, letter.excerpt) == (2, "undecodable", raw)
            assert [error.kind for error in stage.seen.errors] == ["undecodable"]
            assert len(stage.seen.of(Trade)) == 2

        play(variant, scene)

    def test_p8_a_frame_cut_off_anywhere_is_rejected(self, variant: Variant) -> None:
        """P8 Truncated / trailing / BOM / empty JSON."""

        async def scene(stage: Stage) -> None:
            await stage.take(*(GOOD[:length] for length in range(len(GOOD))), GOOD)
            account = stage.feed.accounting.frames
            assert (account.delivered, account.rejected_by_kind) == (1, {"undecodable": len(GOOD)})

        play(variant, scene)

    def test_p8_a_frame_that_direct_handling_cannot_read_is_offered_to_the_strategies_once(self, variant: Variant) -> None:
        """P8 Truncated / trailing / BOM / empty JSON."""

        async def scene(stage: Stage) -> None:
            await stage.take(b"{", GOOD)
            fallbacks = {kind: path.fallbacks for kind, path in stage.feed.metrics().items()}
            assert fallbacks == {Architecture.DIRECT: variant.architecture is Architecture.DIRECT, Architecture.STRATEGY: 0}

        play(variant, scene)


DEPTH = 200_000
NESTED = {
    "alone": b"[" * DEPTH,
    "closed": b"[" * DEPTH + b"]" * DEPTH,
    "in an unread field": with_field(GOOD, UNREAD, b"[" * DEPTH + b"]" * DEPTH),
    "in an unread field of the envelope": GOOD[:-1] + b", " + UNREAD + b'{"a":' * DEPTH + b"1" + b"}" * DEPTH + b"}",
    "in a field that is read": GOOD.replace(b'"100.5"', b"[" * DEPTH + b"]" * DEPTH),
    "in the echo of a request": frames.acknowledgement().replace(b'"BTC_USDT"', b"[" * DEPTH + b"]" * DEPTH),
}


@pytest.mark.parametrize("where", NESTED)
class TestNesting:
    def test_p9_brackets_without_end_are_rejected_and_the_feed_lives(self, variant: Variant, where: str) -> None:
        """P9 200k nested brackets."""

        async def scene(stage: Stage) -> None:
            await stage.take(NESTED[where], GOOD)
            account = stage.feed.accounting.frames
            assert (account.delivered, account.rejected_by_kind) == (1, {"undecodable": 1})

        play(variant, scene)

    def test_p9_brackets_without_end_are_rejected_in_under_five_milliseconds(self, where: str) -> None:
        """P9 200k nested brackets."""

        def seconds() -> float:
            started = time.perf_counter()
            with pytest.raises(DecodeError):
                GATEIO_SPOT.codec.decode(NESTED[where])
            return time.perf_counter() - started

        assert min(seconds() for _ in range(5)) < 0.005


@pytest.mark.parametrize("bracket", ["[%s]", '{"a":%s}'])
def test_p9_at_no_depth_does_anything_but_a_decode_error_come_out(bracket: str) -> None:
    """P9 200k nested brackets: just below the depth that cannot be read lies one that can be read and not be used."""
    opening, closing = (half.encode() for half in bracket.split("%s"))
    verdicts: set[type] = set()
    for depth in range(900, 1100):
        raw = frames.acknowledgement().replace(b'"BTC_USDT"', opening * depth + b"1" + closing * depth)
        try:
            verdicts.add(type(GATEIO_SPOT.codec.decode(raw)[0]))
        except DecodeError:
            verdicts.add(DecodeError)
    assert verdicts == {Acknowledgement, DecodeError}


def test_p9_a_rest_answer_of_brackets_is_rejected(variant: Variant) -> None:
    """P9 200k nested brackets."""

    async def scene(stage: Stage) -> None:
        await stage.take(update(11, 11))
        await stage.feed.snapshot(SYMBOL, b'{"id": 5, "unread": ' + b"[" * DEPTH + b"]" * DEPTH + b"}")
        assert [error.kind for error in stage.seen.errors] == ["repair"]
        await stage.live(11)

    play(variant, scene)


HUGE = "9" * 5000
NO_NUMBERS = ["nan", "NaN", "inf", "-inf", "Infinity", "1e400", "-1e400", "1_0", " 1", "1 ", "+1", "01", ".5", "1.", "0x1", "１", "", HUGE]
NO_JSON_NUMBERS = ["NaN", "Infinity", "-Infinity", "1e400", "+1", "01", ".5", "1.", "0x1", HUGE]


class TestNumbers:
    """P10 1e400, NaN, Infinity, "nan", "1_0", 5000-digit ints."""

    @pytest.mark.parametrize("text", NO_NUMBERS, ids=lambda text: text[:9])
    def test_p10_a_text_that_is_no_finite_number_is_rejected_by_all_variants(self, text: str) -> None:
        book = GATEIO_SPOT.book_channels[ORDER_BOOK_UPDATE].name
        raws = [trade(1, price=text), frames.candle(close=text), update(5, 5, [(text, 1)]), update(5, 5, [(1, text)], full=True)]
        found = agreed_verdict(*raws)
        assert (found.rejected, found.delivered) == ({"undecodable": len(raws)}, 0)
        assert [gap.channel for gap in found.events if hasattr(gap, "reason")] == ["spot.trades", "spot.candlesticks", book, book]

    @pytest.mark.parametrize("text", [text for text in NO_NUMBERS if text], ids=lambda text: text[:9])
    def test_p10_where_an_empty_text_means_nothing_any_other_must_be_a_finite_number(self, text: str) -> None:
        found = agreed_verdict(
            frames.ticker(last=text), frames.book_ticker(1, bid=text), frames.ticker(last=""), frames.book_ticker(1, bid="")
        )
        assert (found.rejected, found.delivered) == ({"undecodable": 2}, 2)
        assert [type(event) for event in found.events if isinstance(event, Ticker | BookTicker)] == [Ticker, BookTicker]

    @pytest.mark.parametrize("text", NO_JSON_NUMBERS, ids=lambda text: text[:9])
    def test_p10_a_number_without_quotes_follows_the_same_rule(self, text: str) -> None:
        found = agreed_verdict(trade(1).replace(b'"100.5"', text.encode()), trade(1).replace(b'"100.5"', b"100.5"))
        assert (found.rejected, found.delivered) == ({"undecodable": 1}, 1)

    @pytest.mark.parametrize("text", ["0", "-0", "-1", "-1e-9", "1e-400"])
    def test_p10_a_price_has_to_be_above_zero(self, text: str) -> None:
        assert agreed_verdict(trade(1, price=text), update(5, 5, [(text, 1)])).rejected == {"undecodable": 2}

    @pytest.mark.parametrize("field", ["U", "u", "t"])
    @pytest.mark.parametrize("text", ["1e400", "1.5", "NaN", "-Infinity", HUGE])
    def test_p10_an_id_or_a_time_has_to_be_a_whole_number(self, field: str, text: str) -> None:
        raw = update(5, 5).replace(b'"%s": 5' % field.encode(), b'"%s": %s' % (field.encode(), text.encode()))
        raw = raw.replace(b'"t": 1700000000100', b'"t": %s' % text.encode()) if field == "t" else raw
        assert agreed_verdict(raw).rejected == {"undecodable": 1}

    def test_p10_a_time_far_beyond_all_calendars_harms_nobody(self) -> None:
        found = agreed_verdict(frames.push("spot.tickers", {"currency_pair": frames.PAIR, "last": "1"}, time_ms=10**300), GOOD)
        assert (found.rejected, found.delivered) == ({}, 2)


class TestNames:
    """P11 Duplicate keys, lone surrogate, NUL in symbol."""

    @pytest.mark.parametrize(
        "name",
        [
            "BTC\0_USDT",
            "BTC_USDT\0",
            "BTC_US\nDT",
            "BTC_<USDT>",
            "BTC_USDT\u202e",
            "../_USDT",
            "BTC__USDT",
            "BTC_USDT_X",
            "",
            "_",
            "A" * 99 + "_B",
        ],
    )
    def test_p11_a_symbol_of_other_characters_than_letters_and_digits_is_rejected(self, name: str) -> None:
        raws = [
            trade(1, pair=name),
            frames.ticker(pair=name),
            frames.candle(pair=name),
            update(5, 5, pair=name),
            frames.obu(5, 5, pair=name),
        ]
        found = agreed_verdict(*raws)
        assert (found.rejected, found.delivered) == ({"undecodable": len(raws)}, 0)
        assert all(gap.channel for gap in found.events if hasattr(gap, "reason"))

    @pytest.mark.parametrize("escape", [rb"\ud800", rb"\udc00", rb"\ud800\ud800", rb"\udfff\ud800"])
    @pytest.mark.parametrize("where", [b"BTC", b"buy", b"spot.trades"])
    def test_p11_half_a_surrogate_pair_is_rejected(self, escape: bytes, where: bytes) -> None:
        assert agreed_verdict(GOOD.replace(where, escape)).rejected == {"undecodable": 1}

    @pytest.mark.parametrize(
        ("raw", "price"),
        [
            (GOOD.replace(b'"price"', b'"price": "1", "price"'), 100.5),
            (GOOD.replace(b'"price": "100.5"', b'"price": "100.5", "price": "1"'), 1.0),
            (GOOD.replace(b'"price"', b'"pric\\u0065": "1", "price"'), 100.5),
            (GOOD[:-1] + b', "result": ' + json.dumps(json.loads(trade(8, price="2"))["result"]).encode() + b"}", 2.0),
            (b'{"channel": "spot.pong", ' + GOOD[1:], 100.5),
        ],
        ids=["before", "after", "written with an escape", "whole result", "channel"],
    )
    def test_p11_of_a_key_that_comes_twice_the_last_counts(self, raw: bytes, price: float) -> None:
        found = agreed_verdict(raw)
        assert [event.price for event in found.events] == [price]

    def test_p11_a_bad_first_value_of_a_key_that_comes_twice_is_rejected_all_the_same(self) -> None:
        assert agreed_verdict(GOOD.replace(b'"price"', b'"price": "nan?", "price"')).rejected == {"undecodable": 1}


class TestBookStreams:
    def test_x1_after_a_gap_no_book_is_shown_until_it_is_whole_again(self, variant: Variant) -> None:
        """X1 Gap."""

        async def scene(stage: Stage) -> None:
            await stage.live(10)
            await stage.take(update(11, 11, [(99, 1)]), update(13, 13, [(98, 1)]), update(14, 14, [(97, 1)]))
            assert stage.shown == [10, 11]
            assert stage.gaps == [(GapReason.SEQUENCE, 11, 13)]
            assert stage.book.state is GAP
            with pytest.raises(BookNotLive):
                stage.book.bids  # noqa: B018  # reading it is what raises
            await stage.answer(12, [(100, 1), (99, 1), (96, 1)])
            assert stage.shown == [10, 11, 14]
            assert stage.book.bids == [(100.0, 1.0), (99.0, 1.0), (98.0, 1.0), (97.0, 1.0), (96.0, 1.0)]

        play(variant, scene)

    def test_x1_a_gap_in_a_stream_that_brings_its_own_books_subscribes_again(self, variant: Variant) -> None:
        """X1 Gap."""

        async def scene(stage: Stage) -> None:
            await stage.take(frames.obu(None, 10, [(100, 1)], [(101, 1)], full=True), frames.obu(11, 11, [(99, 1)]))
            await stage.take(frames.obu(13, 13, [(98, 1)]), frames.obu(14, 14, [(97, 1)]))
            assert (stage.shown, stage.gaps) == ([10, 11], [(GapReason.SEQUENCE, 11, 13)])
            (request,) = stage.feed.take_requests()
            assert isinstance(request, Resubscribe) and request.channel == OBU
            await stage.take(frames.obu(None, 20, [(90, 1)], [(91, 1)], full=True), frames.obu(21, 21, [(89, 1)]))
            assert stage.shown == [10, 11, 20, 21]
            assert stage.levels == ([(90.0, 1.0), (89.0, 1.0)], [(91.0, 1.0)])

        play(variant, scene)

    @pytest.mark.parametrize(("first", "last"), [(10, 10), (9, 10), (1, 3)])
    def test_x2_what_was_seen_already_is_skipped_and_counted(self, variant: Variant, first: int, last: int) -> None:
        """X2 Duplicate / overlapping range."""

        async def scene(stage: Stage) -> None:
            await stage.live(10)
            absorbed = stage.feed.accounting.events.absorbed
            await stage.take(update(first, last, [(55, 1)], [(56, 1)]), update(11, 11, [(99, 1)]))
            assert stage.feed.accounting.events.absorbed == absorbed + 1
            assert (stage.shown, stage.gaps) == ([10, 11], [])
            assert stage.levels == ([(100.0, 1.0), (99.0, 1.0)], [(101.0, 1.0)])

        play(variant, scene)

    @pytest.mark.parametrize("first", [1, 9, 10])
    def test_x2_an_overlapping_range_that_goes_further_is_applied(self, variant: Variant, first: int) -> None:
        """X2 Duplicate / overlapping range."""

        async def scene(stage: Stage) -> None:
            await stage.live(10)
            await stage.take(update(first, 12, [(99, 2)]), update(13, 13, [(98, 3)]))
            assert (stage.shown, stage.gaps) == ([10, 12, 13], [])
            assert stage.book.bids == [(100.0, 1.0), (99.0, 2.0), (98.0, 3.0)]

        play(variant, scene)

    def test_x2_a_repeated_increment_of_a_stream_that_brings_its_own_books_is_skipped(self, variant: Variant) -> None:
        """X2 Duplicate / overlapping range."""

        async def scene(stage: Stage) -> None:
            await stage.take(frames.obu(None, 10, [(100, 1)], [(101, 1)], full=True), *[frames.obu(11, 12, [(99, 1)])] * 3)
            assert (stage.shown, stage.gaps, stage.feed.take_requests()) == ([10, 12], [], [])

        play(variant, scene)

    def test_x3_reordered_updates_are_a_gap(self, variant: Variant) -> None:
        """X3 Reorder."""

        async def scene(stage: Stage) -> None:
            await stage.live(10)
            await stage.take(update(11, 11, [(99, 1)]), update(13, 13, [(98, 3)]), update(12, 12, [(98, 2)]))
            assert (stage.shown, stage.gaps) == ([10, 11], [(GapReason.SEQUENCE, 11, 13)])
            await stage.answer(13, [(100, 1), (99, 1), (98, 3)])
            assert stage.shown == [10, 11, 13]
            assert stage.book.bids == [(100.0, 1.0), (99.0, 1.0), (98.0, 3.0)]

        play(variant, scene)

    def test_x3_reordered_increments_of_a_stream_that_brings_its_own_books_are_a_gap(self, variant: Variant) -> None:
        """X3 Reorder."""

        async def scene(stage: Stage) -> None:
            whole = [frames.obu(None, last, [(100, last)], [(101, 1)], full=True) for last in (10, 13)]
            await stage.take(whole[0], frames.obu(12, 12, [(98, 2)]), frames.obu(11, 11, [(99, 1)]), whole[1])
            assert (stage.shown, stage.gaps) == ([10, 13], [(GapReason.SEQUENCE, 10, 12)])
            assert stage.book.bids == [(100.0, 13.0)]

        play(variant, scene)

    def test_x5_updates_between_a_snapshots_request_and_its_arrival_are_replayed(self, variant: Variant) -> None:
        """X5 Delta between snapshot send/receive: every interleaving, with every age of the snapshot."""
        updates = range(5, 10)

        async def one(snapshot_id: int, arrived: int) -> None:
            stage = Stage(variant)
            await stage.take(*(update(number, number, [(number, number)]) for number in updates[:arrived]))
            assert stage.shown == []
            await stage.answer(snapshot_id, [(number, number) for number in range(1, snapshot_id + 1)])
            assert stage.shown == [max(snapshot_id, *updates[:arrived], 0)]
            await stage.take(*(update(number, number, [(number, number)]) for number in updates[arrived:]))
            assert stage.book.bids == [(float(number), float(number)) for number in range(9, 0, -1)]
            assert (stage.book.last_id, stage.gaps) == (9, [])
            assert_accounts(stage.feed)

        async def all_interleavings() -> None:
            for snapshot_id, arrived in product(range(4, 10), range(len(updates) + 1)):
                await one(snapshot_id, arrived)

        asyncio.run(all_interleavings())

    @pytest.mark.parametrize(
        ("start", "whole", "following"),
        [
            (update(10, 10, [(100, 1)], [(101, 1)], full=True), update(50, 50, [(90, 1)], [(91, 1)], full=True), update(51, 51, [(89, 1)])),
            (
                frames.obu(None, 10, [(100, 1)], [(101, 1)], full=True),
                frames.obu(None, 50, [(90, 1)], [(91, 1)], full=True),
                frames.obu(51, 51, [(89, 1)]),
            ),
        ],
        ids=["update", "obu"],
    )
    def test_x6_a_whole_book_in_mid_stream_replaces_the_book_and_keeps_it_live(
        self, variant: Variant, start: bytes, whole: bytes, following: bytes
    ) -> None:
        """X6 Unprompted full snapshot mid-stream."""

        async def scene(stage: Stage) -> None:
            await stage.take(start, whole)
            assert stage.levels == ([(90.0, 1.0)], [(91.0, 1.0)])
            assert stage.book.changes.is_full
            await stage.take(following)
            assert stage.levels == ([(90.0, 1.0), (89.0, 1.0)], [(91.0, 1.0)])
            assert (stage.shown, stage.gaps, stage.feed.take_requests()) == ([10, 50, 51], [], [])
            assert stage.seen.states[-1] is LIVE

        play(variant, scene)

    @pytest.mark.parametrize(
        "bad",
        [
            update(11, 11, [(102, 1)]),
            update(11, 11, [(101, 1)]),
            update(11, 11, [], [(99, 1)]),
            update(11, 11, [(102, 1)], [(101, 1)], full=True),
        ],
        ids=["crossed by a bid", "locked", "crossed by an ask", "crossed whole book"],
    )
    def test_x8_a_crossed_book_is_never_shown_and_fetched_anew(self, variant: Variant, bad: bytes) -> None:
        """X8 Crossed/locked book."""

        async def scene(stage: Stage) -> None:
            await stage.live(10)
            await stage.take(bad, update(12, 12, [(99, 2)]))
            assert (stage.shown, stage.gaps, stage.book.state) == ([10], [(GapReason.CROSSED, 10, None)], GAP)
            await self._repaired(stage)

        play(variant, scene)

    @pytest.mark.parametrize(
        "bad",
        [
            update(11, 11, [(0, 1)]),
            update(11, 11, [], [(-5, 1)]),
            update(11, 11, [("-0.0", 1)]),
            update(11, 11, [(99, -1)]),
            update(11, 11, [(99, 1), (0, 0)], [(101, 1)], full=True),
        ],
        ids=["zero price", "negative price", "negative zero", "negative amount", "zero price in a whole book"],
    )
    def test_x8_an_update_with_an_impossible_level_is_never_applied(self, variant: Variant, bad: bytes) -> None:
        """X8 Negative or zero price."""

        async def scene(stage: Stage) -> None:
            await stage.live(10)
            await stage.take(bad, update(12, 12, [(99, 2)]))
            assert (stage.shown, stage.gaps, stage.book.state) == ([10], [(GapReason.REJECTED, 10, None)], GAP)
            assert [error.kind for error in stage.seen.errors] == ["undecodable"]
            assert stage.feed.accounting.frames.rejected == 1
            await self._repaired(stage)

        play(variant, scene)

    @staticmethod
    async def _repaired(stage: Stage) -> None:
        assert len(stage.feed.take_requests()) == 1
        await stage.answer(11, [(100, 1)], [(101, 1)])
        assert stage.shown == [10, 12]
        assert stage.levels == ([(100.0, 1.0), (99.0, 2.0)], [(101.0, 1.0)])

    def test_x8_a_crossed_snapshot_is_fetched_again(self, variant: Variant) -> None:
        """X8 Crossed/locked book."""

        async def scene(stage: Stage) -> None:
            await stage.take(update(11, 11))
            await stage.answer(11, [(101, 1)], [(101, 1)])
            assert (stage.shown, stage.book.state, len(stage.feed.take_requests())) == ([], SYNCING, 2)
            await stage.live(11)

        play(variant, scene)

    def test_x9_deleting_an_unknown_level_is_normal(self, variant: Variant) -> None:
        """X9 Delete of unknown level."""

        async def scene(stage: Stage) -> None:
            await stage.live(10)
            await stage.take(update(11, 11, [(42, 0), (100, 2)], [(4242, 0)]), frames.obu(None, 1, [(1, 0)], [(2, 1)], full=True))
            await stage.take(frames.obu(2, 2, [(1, 0)], [(3, 0)]), update(12, 12, [(42, 0)]))
            assert (stage.gaps, stage.feed.take_requests(), stage.seen.errors) == ([], [], [])
            assert stage.seen.books[1] == (11, ((100.0, 2.0),), ((101.0, 1.0),))
            assert stage.shown == [10, 11, 1, 2, 12]

        play(variant, scene)


class TestRepairs:
    @pytest.mark.parametrize("failures", [1, 2, 5])
    def test_x11_a_snapshot_that_fails_is_asked_for_again_until_it_comes(self, variant: Variant, failures: int) -> None:
        """X11 Failed snapshot/resubscribe."""

        async def scene(stage: Stage) -> None:
            await stage.live(10)
            await stage.take(update(13, 13, [(98, 1)]))
            for attempt in range(1, failures + 1):
                (request,) = stage.feed.take_requests()
                assert request.attempt == attempt
                if attempt % 2:
                    await stage.feed.request_failed(request, "503")
                else:
                    await stage.feed.snapshot(SYMBOL, b"<html>busy</html>")
            assert len(stage.feed.take_requests()) == 1
            assert [error.kind for error in stage.seen.errors] == ["repair"] * failures
            await stage.answer(12)
            assert stage.shown == [10, 13]

        play(variant, scene)

    @pytest.mark.parametrize("failures", [1, 3])
    def test_x11_a_resubscription_that_fails_is_asked_for_again_until_it_comes(self, variant: Variant, failures: int) -> None:
        """X11 Failed snapshot/resubscribe."""

        async def scene(stage: Stage) -> None:
            await stage.take(frames.obu(None, 10, [(100, 1)], [(101, 1)], full=True), frames.obu(13, 13, [(98, 1)]))
            for attempt in range(1, failures + 1):
                (request,) = stage.feed.take_requests()
                assert isinstance(request, Resubscribe) and request.attempt == attempt
                await stage.feed.request_failed(request, "timeout")
            assert len(stage.feed.take_requests()) == 1
            await stage.take(frames.obu(None, 20, [(100, 1)], [(101, 1)], full=True))
            assert stage.shown == [10, 20]

        play(variant, scene)

    def test_x11_a_snapshot_too_old_to_bridge_is_asked_for_again(self, variant: Variant) -> None:
        """X11 Failed snapshot/resubscribe."""

        async def scene(stage: Stage) -> None:
            await stage.take(update(20, 20, [(99, 1)]))
            for _ in range(3):
                assert len(stage.feed.take_requests()) == 1
                await stage.answer(15)
            await stage.answer(19)
            assert stage.shown == [20]

        play(variant, scene)

    def test_x12_while_a_snapshot_is_awaited_no_second_is_asked_for(self, variant: Variant) -> None:
        """X12 Two resyncs at once."""

        async def scene(stage: Stage) -> None:
            await stage.live(10)
            await stage.take(*(update(number, number) for number in (13, 14, 20, 21, 30)))
            assert len(stage.feed.take_requests()) == 1
            assert stage.gaps == [(GapReason.SEQUENCE, 10, 13)]

        play(variant, scene)

    @pytest.mark.parametrize("begin", ["cut", "rejected frame"])
    def test_x12_the_late_answer_to_an_earlier_request_is_dropped(self, variant: Variant, begin: str) -> None:
        """X12 Two resyncs at once (restart during fetch)."""

        async def scene(stage: Stage) -> None:
            await stage.live(10)
            await stage.take(update(13, 13, [(98, 1)]))
            if begin == "cut":
                await stage.feed.cut()
            else:
                await stage.take(update(14, 14, [(0, 1)]))
            await stage.take(update(15, 15, [(97, 1)]))
            early, late = stage.feed.take_requests()
            assert isinstance(early, FetchSnapshot) and isinstance(late, FetchSnapshot)
            await stage.answer(15, [(55, 1)], [(56, 1)], request=early)
            assert stage.shown == [10]
            await stage.feed.request_failed(early, "503")
            assert stage.feed.take_requests() == []
            assert "repair" not in {error.kind for error in stage.seen.errors}
            await stage.answer(14, [(100, 1)], request=late)
            assert stage.shown == [10, 15]
            assert stage.levels == ([(100.0, 1.0), (97.0, 1.0)], [(101.0, 1.0)])

        play(variant, scene)

    def test_x13_nothing_of_the_old_book_is_left_after_a_reconnect(self, variant: Variant) -> None:
        """X13 Reconnect keeps old book."""

        async def scene(stage: Stage) -> None:
            await stage.live(10)
            await stage.feed.cut()
            assert (stage.book.state, stage.gaps) == (STALE, [(GapReason.DISCONNECTED, 10, None)])
            with pytest.raises(BookNotLive):
                stage.book.top(1)
            await stage.take(update(11, 11, [(89, 1)]))
            assert stage.shown == [10]
            await stage.answer(10, [(90, 1)], [(91, 1)])
            assert stage.levels == ([(90.0, 1.0), (89.0, 1.0)], [(91.0, 1.0)])
            assert stage.shown == [10, 11]

        play(variant, scene)

    def test_x13_the_venue_may_count_from_the_beginning_after_a_reconnect(self, variant: Variant) -> None:
        """X13 Reconnect keeps old book."""

        async def scene(stage: Stage) -> None:
            await stage.live(1000)
            await stage.feed.cut()
            await stage.take(update(3, 3, [(89, 1)]))
            await stage.answer(2, [(90, 1)], [(91, 1)])
            await stage.take(update(4, 4, [(88, 1)]))
            assert stage.shown == [1000, 3, 4]
            assert stage.levels == ([(90.0, 1.0), (89.0, 1.0), (88.0, 1.0)], [(91.0, 1.0)])

        play(variant, scene)

    def test_x13_updates_held_for_the_old_connection_are_not_replayed_on_the_new(self, variant: Variant) -> None:
        """X13 Reconnect keeps old book."""

        async def scene(stage: Stage) -> None:
            await stage.take(update(5, 5, [(55, 1)]), update(6, 6, [(56, 1)]))
            await stage.feed.cut()
            await stage.take(update(7, 7, [(89, 1)]))
            assert len(stage.feed.take_requests()) == 2
            await stage.answer(4, [(90, 1)], [(91, 1)])
            assert (stage.shown, stage.book.state) == ([], SYNCING)
            await stage.answer(6, [(90, 1)], [(91, 1)])
            assert stage.levels == ([(90.0, 1.0), (89.0, 1.0)], [(91.0, 1.0)])

        play(variant, scene)
