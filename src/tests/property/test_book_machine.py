"""Books against a simple model of the venue: whenever a book is LIVE, it is the venue's book at that id."""

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from infrastructure.book_sync import FetchSnapshot, Request
from infrastructure.events import BookState, Gap
from infrastructure.exchanges.gateio.spot import GATEIO_SPOT, OBU, ORDER_BOOK, ORDER_BOOK_UPDATE
from infrastructure.session import Emission, Session
from infrastructure.venue import BookUpdate, Levels
from tests.harness.effort import effort
from tests.harness.frames import SYMBOL, rest_book

#: Bids below, asks above: the venue's own book is never crossed.
BIDS, ASKS = range(1, 8), range(8, 15)
CHANGES = st.lists(st.tuples(st.sampled_from([*BIDS, *ASKS]), st.integers(0, 3)), min_size=1, max_size=4)
Sides = tuple[dict[float, float], dict[float, float]]


class Exchange:
    """What the venue knows: one change for each id, and the whole book after each."""

    def __init__(self) -> None:
        self.changes: list[tuple[int, int]] = [(0, 0)]
        self.books: list[dict[int, int]] = [{}]

    @property
    def last_id(self) -> int:
        return len(self.changes) - 1

    def change(self, price: int, amount: int) -> None:
        self.changes.append((price, amount))
        book = self.books[-1] | {price: amount}
        self.books.append({price: amount for price, amount in book.items() if amount})

    @property
    def asks(self) -> list[int]:
        return [price for price in self.books[-1] if price in ASKS]

    def levels(self, book_id: int) -> tuple[Levels, Levels]:
        book = self.books[book_id]
        return self._levels([price for price in book if price in BIDS], book), self._levels(
            [price for price in book if price in ASKS], book
        )

    def update(self, first: int, last: int) -> tuple[Levels, Levels]:
        """The levels that changed from ``first`` to ``last``, with their amounts at ``last``."""
        changed = dict.fromkeys(price for price, _ in self.changes[first : last + 1])
        book = self.books[last]
        return self._levels([price for price in changed if price in BIDS], book), self._levels([p for p in changed if p in ASKS], book)

    @staticmethod
    def _levels(prices: list[int], book: dict[int, int]) -> Levels:
        return [(float(price), float(book.get(price, 0))) for price in prices]


class BookMachine(RuleBasedStateMachine):
    """Any history of updates in time, lost, repeated, reordered and merged; of snapshots in time, late, old and failed; of cuts."""

    @initialize(channel=st.sampled_from([ORDER_BOOK_UPDATE, OBU, ORDER_BOOK]), changes=CHANGES)
    def open(self, channel: str, changes: list[tuple[int, int]]) -> None:
        self.channel = channel
        self.exchange = Exchange()
        self.requests: list[tuple[Request, Exchange]] = []
        self.session = Session(GATEIO_SPOT, [SYMBOL], lambda request: self.requests.append((request, self.exchange)))
        self.sent = 0
        self.was_live = False
        self.trade(changes)

    @property
    def state(self) -> BookState:
        return self.session.books[SYMBOL].state if SYMBOL in self.session.books else BookState.SYNCING

    @property
    def has_the_newest_book(self) -> bool:
        return self.session.books[SYMBOL].last_id == self.exchange.last_id

    def take(self, events: list[Emission]) -> None:
        """A book that stops being LIVE is announced by exactly one Gap."""
        is_live = self.state is BookState.LIVE
        assert sum(isinstance(event, Gap) for event in events) == (self.was_live and not is_live)
        self.was_live = is_live

    def push(self, first: int, last: int, levels: tuple[Levels, Levels], *, is_full: bool) -> None:
        self.take(self.session.apply([BookUpdate(self.channel, SYMBOL, first, last, *levels, is_full, None)]))

    def push_range(self, first: int, last: int) -> None:
        """What the channel sends for the changes from ``first`` to ``last``."""
        if self.channel == ORDER_BOOK:
            self.push(last, last, self.exchange.levels(last), is_full=True)
        else:
            self.push(first, last, self.exchange.update(first, last), is_full=False)

    @rule(changes=CHANGES)
    def trade(self, changes: list[tuple[int, int]]) -> None:
        for price, amount in changes:
            self.exchange.change(price, amount)

    @precondition(lambda self: self.sent < self.exchange.last_id)
    @rule(data=st.data())
    def next_update(self, data: st.DataObject) -> None:
        last = data.draw(st.integers(self.sent + 1, self.exchange.last_id))
        self.push_range(self.sent + 1, last)
        self.sent = last

    @precondition(lambda self: self.sent < self.exchange.last_id)
    @rule()
    def all_updates_one_by_one(self) -> None:
        while self.sent < self.exchange.last_id:
            self.sent += 1
            self.push_range(self.sent, self.sent)

    @precondition(lambda self: self.sent < self.exchange.last_id)
    @rule()
    def lost_update(self) -> None:
        self.sent += 1

    @rule(data=st.data())
    def repeated_reordered_or_merged_update(self, data: st.DataObject) -> None:
        first = data.draw(st.integers(1, self.exchange.last_id))
        self.push_range(first, data.draw(st.integers(first, self.exchange.last_id)))

    @rule(age=st.integers(0, 3))
    def whole_book(self, age: int) -> None:
        book_id = max(1, self.exchange.last_id - age)
        self.push(book_id, book_id, self.exchange.levels(book_id), is_full=True)
        self.sent = book_id
        if self.channel != ORDER_BOOK:
            assert self.state is BookState.LIVE

    @precondition(lambda self: self.state is BookState.LIVE and self.has_the_newest_book and self.exchange.asks)
    @rule()
    def update_that_crosses(self) -> None:
        """The venue sends nonsense under an id of its own; the market stands still meanwhile."""
        self.exchange.change(*self.exchange.changes[-1])
        self.sent = crossed_id = self.exchange.last_id
        bid, ask = (float(ASKS[-1]), 1.0), (float(ASKS[0]), 1.0)
        is_full = self.channel == ORDER_BOOK
        self.push(crossed_id, crossed_id, ([bid], [ask] if is_full else []), is_full=is_full)
        assert self.state is BookState.GAP

    @rule()
    def cut(self) -> None:
        self.take(self.session.disconnect())
        assert self.state is not BookState.LIVE

    @rule(changes=CHANGES)
    def cut_and_another_life_of_the_exchange(self, changes: list[tuple[int, int]]) -> None:
        """Ids and books start from the beginning; answers from before say nothing about them."""
        self.cut()
        self.exchange = Exchange()
        self.sent = 0
        self.trade(changes)

    @precondition(lambda self: self.requests)
    @rule(data=st.data(), age=st.integers(0, 4))
    def answer(self, data: st.DataObject, age: int) -> None:
        request, exchange = asked = data.draw(st.sampled_from(self.requests))
        self.requests.remove(asked)
        book_id = max(1, exchange.last_id - age)
        levels = exchange.levels(book_id)
        if isinstance(request, FetchSnapshot):
            self.take(self.session.snapshot(SYMBOL, rest_book(book_id, *levels), request.epoch))
        elif exchange is self.exchange:
            self.push(book_id, book_id, levels, is_full=True)

    @precondition(lambda self: self.channel == ORDER_BOOK_UPDATE and self.requests)
    @rule()
    def the_newest_book_in_answer_to_the_newest_request_is_always_enough(self) -> None:
        request, _ = self.requests[-1]
        levels = self.exchange.levels(self.exchange.last_id)
        self.take(self.session.snapshot(SYMBOL, rest_book(self.exchange.last_id, *levels), request.epoch))
        assert self.state in (BookState.LIVE, BookState.STALE)

    @precondition(lambda self: self.requests)
    @rule(data=st.data())
    def failed_answer(self, data: st.DataObject) -> None:
        request, _ = data.draw(st.sampled_from(self.requests))
        self.take(self.session.request_failed(request, "503"))

    @invariant()
    def a_live_book_is_the_venues_book_at_that_id(self) -> None:
        book = self.session.books.get(SYMBOL)
        if book is not None and book.is_live:
            assert book.last_id is not None and book.last_id <= self.exchange.last_id
            bids, asks = self.exchange.levels(book.last_id)
            assert book.bids == sorted(bids, reverse=True)
            assert book.asks == sorted(asks)

    @invariant()
    def every_message_is_somewhere_once(self) -> None:
        session = self.session
        assert session.decoded + session.raised == session.handed_over + session.absorbed + session.held


TestBookMachine: Any = BookMachine.TestCase
TestBookMachine.settings = effort(200, steps=40)
