"""Two connections of one venue, one behind the other by any time, and the second taking over at any moment: everything once, in order."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from infrastructure.book import OrderBook
from infrastructure.events import (
    BalanceUpdate,
    BookTicker,
    Candle,
    Data,
    Fill,
    Liquidation,
    OrderStatus,
    OrderUpdate,
    PositionUpdate,
    Side,
    Ticker,
    Trade,
)
from infrastructure.exchanges.gateio.futures import GATEIO_FUTURES, OBU
from infrastructure.rotation import SENT_APART_NS, Overlap
from infrastructure.session import Session
from infrastructure.venue import BookUpdate, Message
from tests.harness.effort import effort

VENUE, BTC, ETH = GATEIO_FUTURES.name, "BTC/USDT:USDT", "ETH/USDT:USDT"
BEGUN_NS = 1_700_000_000 * 10**9
FIRST, SECOND, OTHER = "the first connection", "the second", "a third"


def trade(number: int, symbol: str, ns: int, trade_id: str) -> Trade:
    return Trade(VENUE, symbol, trade_id, Side.BUY, 100.0, float(number), ns)


def ticker(number: int, symbol: str, ns: int | None) -> Ticker:
    return Ticker(VENUE, symbol, 100.0, None, None, None, None, float(number), None, None, ns)


def candle(number: int, symbol: str, ns: int | None, interval: str) -> Candle:
    opened = BEGUN_NS + number // 4 * 60 * 10**9
    return Candle(VENUE, symbol, interval, opened, 1.0, 2.0, 0.5, 1.5, float(number), None, None, ns)


def order(number: int, symbol: str, ns: int) -> OrderUpdate:
    amounts = Decimal(1000), Decimal(number)
    return OrderUpdate(VENUE, symbol, str(number % 3), None, Side.BUY, OrderStatus.OPEN, Decimal(1), *amounts, ns)


def book(number: int, symbol: str, ns: int) -> BookUpdate:
    return BookUpdate(OBU, symbol, number, number, [(100.0, float(number))], [(101.0, 1.0)], number == 1, ns)


#: By name: the message of a number. Some times are those of several messages, and some are missing.
MAKERS: Mapping[str, Callable[[int, str, int], Data]] = {
    "trade": lambda number, symbol, ns: trade(number, symbol, ns, str(number)),
    "trade without an id": lambda number, symbol, ns: trade(number, symbol, ns, ""),
    "ticker": ticker,
    "ticker without a time": lambda number, symbol, ns: ticker(-number, symbol, None),
    "candle": lambda number, symbol, ns: candle(number, symbol, ns, "1m" if number % 2 else "5m"),
    "candle without a time": lambda number, symbol, ns: candle(number, symbol, None, "15m"),
    "book ticker": lambda number, symbol, ns: BookTicker(VENUE, symbol, 1_000_000 + number * 3, 100.0, float(number), 101.0, 1.0, ns),
    "book ticker without an id": lambda number, symbol, ns: BookTicker(VENUE, symbol, None, 100.0, float(number), 101.0, 1.0, ns),
    "liquidation": lambda number, symbol, ns: Liquidation(VENUE, symbol, Side.BUY, 1.0, float(number), ns),
    "order": order,
    "fill": lambda number, symbol, ns: Fill(VENUE, symbol, str(number), "1", Side.BUY, Decimal(1), Decimal(number), None, None, ns),
    "balance": lambda number, symbol, ns: BalanceUpdate(VENUE, symbol, Decimal(number), None, None, ns),
    "position": lambda number, symbol, ns: PositionUpdate(VENUE, symbol, Decimal(number), None, ns),
}
PUBLIC = [
    "trade",
    "trade without an id",
    "ticker",
    "ticker without a time",
    "candle",
    "book ticker",
    "book ticker without an id",
    "liquidation",
]


class Sent(NamedTuple):
    """One message of the venue, which every connection is sent as a message of its own."""

    kind: str
    symbol: str
    number: int
    exchange_ns: int

    def made(self, later_ns: int = 0) -> Any:
        """As one connection is sent it."""
        make = book if self.kind == "book" else MAKERS[self.kind]
        return make(self.number, self.symbol, self.exchange_ns + later_ns)


@st.composite
def histories(draw: st.DrawFn, kinds: list[str]) -> list[Sent]:
    """What a venue sends, each stream numbered from 1; time stands still now and then."""
    numbers: dict[tuple[str, str], int] = {}
    sent, now_ns = [], BEGUN_NS
    for kind, symbol, passed_ms in draw(
        st.lists(st.tuples(st.sampled_from(kinds), st.sampled_from([BTC, ETH]), st.sampled_from([0, 0, 1, 300])), min_size=1, max_size=60)
    ):
        now_ns += passed_ms * 1_000_000
        numbers[kind, symbol] = number = numbers.get((kind, symbol), 0) + 1
        sent.append(Sent(kind, symbol, number, now_ns))
    return sent


class Course(NamedTuple):
    """Of how many messages each thing had happened: the first was noted from ``noted`` on, the second asked, the first was over."""

    noted: int
    asked: int
    over: int


@st.composite
def courses(draw: st.DrawFn, length: int) -> Course:
    """The second is asked after the first is noted, and begins before the first is over; how far each is behind is its own."""
    noted = draw(st.integers(0, length))
    over = draw(st.integers(noted, length))
    return Course(noted, draw(st.integers(noted, over)), over)


@effort(400)
@given(data=st.data())
def test_of_two_connections_each_message_is_new_once(data: st.DataObject) -> None:
    history = data.draw(histories(list(MAKERS)))
    course = data.draw(courses(len(history)))
    overlap = Overlap(FIRST)
    new = history[: course.over]
    for sent in history[course.noted : course.over]:
        overlap.note(sent.made())
    overlap.take_over(SECOND)
    for sent in history[course.asked :]:
        if not overlap.was_told(sent.made()):
            new.append(sent)
    assert new == history


@effort(400)
@given(data=st.data())
def test_a_session_hands_over_each_message_once_however_frames_are_cut(data: st.DataObject) -> None:
    history = data.draw(histories([*PUBLIC, "book", "book"]))
    course = data.draw(courses(len(history)))
    session = Session(GATEIO_FUTURES)
    seen: list[Any] = []

    def take(source: object, messages: list[Message]) -> None:
        session.source = source
        for event in session.apply(messages):
            if isinstance(event, OrderBook):
                seen.append(("book", event.symbol, event.last_id))
            elif event.message_type < 5 or isinstance(event, Liquidation):
                seen.append(event)
        assert session.decoded + session.raised == session.handed_over + session.absorbed + session.held

    def frames(sent: list[Sent]) -> list[list[Message]]:
        """As a connection puts them into frames: never two changes of one book in one, whose place would be that of the first."""
        cut: list[list[Message]] = []
        for one in sent:
            message = one.made()
            is_alone = one.kind == "book" or not cut or isinstance(cut[-1][0], BookUpdate) or data.draw(st.booleans())
            if is_alone:
                cut.append([])
            cut[-1].append(message)
        return cut

    for index, frame in enumerate(frames(history[: course.noted])):
        take(FIRST, frame)
        if data.draw(st.booleans()) and index % 5 == 0:
            take(OTHER, [trade(index, "SOL/USDT:USDT", BEGUN_NS, "1")])
    session.begin_overlap(FIRST)
    for frame in frames(history[course.noted : course.over]):
        take(FIRST, frame)
        take(OTHER, [trade(1, "SOL/USDT:USDT", BEGUN_NS, "")])
    session.take_over(SECOND, None)
    for frame in frames(history[course.asked :]):
        take(SECOND, frame)
        # Of another connection nothing is known again.
        before = len(seen)
        take(OTHER, [trade(1, "SOL/USDT:USDT", BEGUN_NS, "")])
        assert len(seen) == before + 1
    session.end_overlap()
    assert session.overlap is None
    told = [event for event in seen if getattr(event, "symbol", "") != "SOL/USDT:USDT"]
    assert [as_seen(event) for event in told] == [
        ("book", sent.symbol, sent.number) if sent.kind == "book" else as_seen(sent.made()) for sent in history
    ]


def as_seen(event: Any) -> Any:
    """Without what only the session knows."""
    if isinstance(event, tuple):
        return event
    return type(event).__name__, *(value for name, value in event.__rich_repr__() if name != "received_ns")


@effort(200)
@given(
    apart=st.integers(-SENT_APART_NS, SENT_APART_NS),
    count=st.integers(1, 30),
    data=st.data(),
    kind=st.sampled_from(["ticker", "candle", "book ticker without an id", "balance", "position"]),
)
def test_a_state_is_known_again_whose_time_is_that_of_its_sending(apart: int, count: int, data: st.DataObject, kind: str) -> None:
    history = [Sent(kind, BTC, number, BEGUN_NS + number * 2 * SENT_APART_NS) for number in range(count)]
    course = data.draw(courses(count))
    overlap = Overlap(FIRST)
    new = history[: course.over]
    for sent in history[course.noted : course.over]:
        overlap.note(sent.made())
    overlap.take_over(SECOND)
    new += [sent for sent in history[course.asked :] if not overlap.was_told(sent.made(apart))]
    assert new == history


class TestOtherConnections:
    """Two connections may carry one kind of one symbol, as bars of two intervals are; only the two that change places are compared."""

    def test_what_another_connection_brings_is_not_known_again(self) -> None:
        session = Session(GATEIO_FUTURES)
        session.begin_overlap(FIRST)
        session.source = FIRST
        assert session.apply([candle(1, BTC, BEGUN_NS, "1m")])
        session.take_over(SECOND, None)
        session.source = OTHER
        assert session.apply([candle(1, BTC, BEGUN_NS, "1m")])
        session.source = SECOND
        assert not session.apply([candle(1, BTC, BEGUN_NS, "1m")])

    def test_nor_is_it_noted(self) -> None:
        session = Session(GATEIO_FUTURES)
        session.begin_overlap(FIRST)
        session.source = OTHER
        assert session.apply([candle(1, BTC, BEGUN_NS, "1m")])
        session.take_over(SECOND, None)
        session.source = SECOND
        assert session.apply([candle(1, BTC, BEGUN_NS, "1m")])


class TestRules:
    def test_a_state_that_is_older_than_the_last_is_old_though_it_was_never_told(self) -> None:
        overlap = Overlap(FIRST)
        overlap.note(ticker(5, BTC, BEGUN_NS + 5))
        overlap.take_over(SECOND)
        assert overlap.was_told(ticker(4, BTC, BEGUN_NS + 4)) and not overlap.was_told(ticker(6, BTC, BEGUN_NS + 5))
        assert not overlap.was_told(ticker(4, ETH, BEGUN_NS + 4))

    def test_a_fact_that_is_older_than_the_last_and_was_never_told_is_new(self) -> None:
        overlap = Overlap(FIRST)
        overlap.note(Liquidation(VENUE, BTC, Side.BUY, 1.0, 5.0, BEGUN_NS + 5))
        overlap.take_over(SECOND)
        assert not overlap.was_told(Liquidation(VENUE, BTC, Side.BUY, 1.0, 4.0, BEGUN_NS + 4))

    def test_an_earlier_id_of_a_book_ticker_is_old_and_a_later_one_new(self) -> None:
        overlap = Overlap(FIRST)
        overlap.note(MAKERS["book ticker"](5, BTC, BEGUN_NS))
        overlap.take_over(SECOND)
        assert [overlap.was_told(MAKERS["book ticker"](number, BTC, BEGUN_NS)) for number in (4, 5, 6)] == [True, True, False]

    def test_what_is_as_it_was_before_is_news_where_no_time_tells(self) -> None:
        overlap = Overlap(FIRST)
        for number in (1, 2, 1):
            overlap.note(ticker(number, BTC, None))
        overlap.take_over(SECOND)
        assert [overlap.was_told(ticker(number, BTC, None)) for number in (2, 1, 2)] == [True, False, False]

    def test_two_facts_alike_at_one_time_are_two(self) -> None:
        overlap = Overlap(FIRST)
        for _ in range(2):
            overlap.note(trade(1, BTC, BEGUN_NS, ""))
        overlap.take_over(SECOND)
        assert [overlap.was_told(trade(1, BTC, BEGUN_NS, "")) for _ in range(3)] == [True, True, False]

    def test_the_bars_of_two_intervals_are_two_streams(self) -> None:
        overlap = Overlap(FIRST)
        overlap.note(candle(8, BTC, BEGUN_NS + 8, "1m"))
        overlap.take_over(SECOND)
        assert overlap.was_told(candle(4, BTC, BEGUN_NS + 4, "1m")) and not overlap.was_told(candle(4, BTC, BEGUN_NS + 4, "5m"))
