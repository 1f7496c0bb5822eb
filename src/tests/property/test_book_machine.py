"""Books against a simple model of the venue: whenever a book is LIVE, it is the venue's book at that id."""

from typing import Any

from hypothesis import assume
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
        self.requests: list[Request] = []
        self.session = Session(GATEIO_SPOT, [SYMBOL], self.requests.append)
        self.sent = 0
        self.was_live = False
        self.trade(changes)

    @property
    def state(self) -> BookState:
        return self.session.books[SYMBOL].state if SYMBOL in self.session.books else BookState.SYNCING

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

    @rule(crossing=st.sampled_from([ASKS[-1], ASKS[0]]))
    def update_that_crosses(self, crossing: int) -> None:
        assume(any(price in ASKS for price in self.exchange.books[self.exchange.last_id]))
        next_id = self.sent + 1
        book = self.session.books.get(SYMBOL)
        is_next = book is not None and book.is_live and book.last_id == self.sent
        asks = [] if self.channel != ORDER_BOOK else [(float(crossing), 1.0)]
        self.exchange.change(*self.exchange.changes[-1])  # The id is used up, whatever the push says.
        self.push(next_id, next_id, ([(float(ASKS[-1]), 1.0)], asks), is_full=self.channel == ORDER_BOOK)
        if is_next and book is not None and any(price <= ASKS[-1] for price, _ in book.raw.asks):
            assert self.state is not BookState.LIVE
        self.session.disconnect() if self.state is not BookState.LIVE else None

    @rule()
    def cut(self) -> None:
        self.take(self.session.disconnect())
        assert self.state is not BookState.LIVE

    @precondition(lambda self: self.requests)
    @rule(data=st.data(), age=st.integers(0, 4))
    def answer(self, data: st.DataObject, age: int) -> None:
        request = data.draw(st.sampled_from(self.requests))
        self.requests.remove(request)
        book_id = max(1, self.exchange.last_id - age)
        self.snapshot(request, book_id)

    @precondition(lambda self: any(isinstance(request, FetchSnapshot) for request in self.requests))
    @rule()
    def newest_answer_with_the_newest_book_is_always_enough(self) -> None:
        request = self.requests[-1]
        self.snapshot(request, self.exchange.last_id)
        assert self.state in (BookState.LIVE, BookState.STALE)

    @precondition(lambda self: any(isinstance(request, FetchSnapshot) for request in self.requests))
    @rule(data=st.data())
    def failed_answer(self, data: st.DataObject) -> None:
        request = data.draw(st.sampled_from(self.requests))
        self.take(self.session.snapshot_failed(SYMBOL, "503", request.epoch))

    def snapshot(self, request: Request, book_id: int) -> None:
        if isinstance(request, FetchSnapshot):
            bids, asks = self.exchange.levels(book_id)
            self.take(self.session.snapshot(SYMBOL, rest_book(book_id, bids, asks), request.epoch))
        else:
            self.push(book_id, book_id, self.exchange.levels(book_id), is_full=True)

    @invariant()
    def a_live_book_is_the_venues_book_at_that_id(self) -> None:
        book = self.session.books.get(SYMBOL)
        if book is not None and book.is_live:
            assert book.last_id is not None
            bids, asks = self.exchange.levels(book.last_id)
            assert book.bids == sorted(bids, reverse=True)
            assert book.asks == sorted(asks)

    @invariant()
    def every_message_is_somewhere_once(self) -> None:
        session = self.session
        assert session.decoded + session.raised == session.handed_over + session.absorbed + session.held


TestBookMachine: Any = BookMachine.TestCase
TestBookMachine.settings = effort(150, steps=40)
