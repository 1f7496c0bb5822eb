"""A book held against the venue's own best bid and ask, where both count their ids in one sequence. Pure.

Only equal ids are compared: a push that covers several ids shows the top at its last one alone. Either may come first: tops that the book
has shown wait for their ticker, tickers that are ahead of the book wait for their top, a bounded number of both.

A book that is repaired and disagrees again, and so on without a single agreement, is not wrong: its ids are not those of the ticker.
Then the audit is over, or that book would be repaired for ever.
"""

from infrastructure.book import OrderBook
from infrastructure.events import BookTicker

#: Tops, and tickers, that wait for one another. At 20 ms a push this is more than five seconds of a book.
WAITING = 256
#: An audit that finds so many mismatches in a row is over. Each is a repair, and a book that was wrong agrees after it.
MISMATCHES = 3

#: Bid price, bid amount, ask price, ask amount; None where a side is empty.
Top = tuple[float | None, float | None, float | None, float | None]


class AuditCounts:
    """What the audits of a session found. ``unmatched`` tickers were never of an id at which their book was seen."""

    __slots__ = ("compared", "mismatched", "unmatched")

    def __init__(self) -> None:
        self.compared = 0
        self.mismatched = 0
        self.unmatched = 0

    def __repr__(self) -> str:
        return f"<AuditCounts compared={self.compared} mismatched={self.mismatched} unmatched={self.unmatched}>"


class Audit:
    """Of one book. ``seen_id`` is the last id that its stream brought, whatever became of it. One that is over finds nothing any more."""

    __slots__ = ("_ahead", "_counts", "_evicted", "_in_a_row", "_refuting", "_top_id", "_tops", "seen_id")

    def __init__(self, counts: AuditCounts) -> None:
        self._counts = counts
        self._tops: dict[int, Top] = {}
        # Tickers by id, each with the time at which it came.
        self._ahead: dict[int, tuple[Top, int]] = {}
        # Id and time of the first of them that had to go, for want of room.
        self._evicted: tuple[int, int] | None = None
        self._top_id = -1
        # Id and claim of the ticker that refuted the book: what repairs the book is held against it, too.
        self._refuting: tuple[int, Top] | None = None
        # Mismatches since the last agreement.
        self._in_a_row = 0
        self.seen_id = -1

    @property
    def is_over(self) -> bool:
        """Whether the ids have turned out not to be those of the ticker."""
        return self._in_a_row >= MISMATCHES

    def begin(self, book: OrderBook, seen_id: int | None) -> None:
        """Compare from here on, beginning with what the book shows."""
        self.seen_id = -1 if seen_id is None else seen_id
        if book.is_live:
            self.holds(book)

    def overtaken_ns(self) -> int | None:
        """Since when the tickers have known of an id that the book's stream has not brought; None if they know of none."""
        reached = max(self.seen_id, self._top_id)
        if reached < 0:
            return None  # The stream has brought nothing yet: the ticker may be of before it began.
        if self._evicted is not None and self._evicted[0] > reached:
            return self._evicted[1]
        return next((came_ns for update_id, (_, came_ns) in self._ahead.items() if update_id > reached), None)

    def agrees(self, ticker: BookTicker, received_ns: int) -> bool:
        """A ticker came: False if the book was otherwise at its id."""
        update_id = ticker.update_id
        if update_id is None or self.is_over:
            return True
        claimed = (ticker.bid_price, ticker.bid_amount, ticker.ask_price, ticker.ask_amount)
        top = self._tops.get(update_id)
        if top is not None:
            return self._is_equal(update_id, top, claimed)
        if update_id <= self._top_id:
            self._counts.unmatched += 1
            return True
        ahead = self._ahead
        if ahead and update_id < next(reversed(ahead)):
            self._forget_ahead()  # The venue has begun its count anew.
        ahead[update_id] = claimed, received_ns
        if len(ahead) > WAITING:
            first_id = next(iter(ahead))
            _, came_ns = ahead.pop(first_id)
            self._counts.unmatched += 1
            if self._evicted is None or self._evicted[0] <= self.seen_id:
                self._evicted = first_id, came_ns
        return True

    def holds(self, book: OrderBook) -> bool:
        """The book changed: False if a ticker says otherwise of its id."""
        if self.is_over:
            return True
        last_id = book.last_id
        assert last_id is not None
        if last_id < self._top_id:
            self.restart()
        self._top_id = last_id
        self._tops[last_id] = top = book.raw.best
        if len(self._tops) > WAITING:
            del self._tops[next(iter(self._tops))]
        ahead = self._ahead
        is_right = True
        if self._refuting is not None:
            update_id, claimed = self._refuting
            self._refuting = None
            if update_id == last_id:
                is_right = self._is_equal(update_id, top, claimed)
        while ahead:
            update_id = next(iter(ahead))
            if update_id > last_id:
                break
            claimed, _ = ahead.pop(update_id)
            if update_id == last_id:
                is_right = self._is_equal(update_id, top, claimed)
            else:
                self._counts.unmatched += 1
        return is_right

    def distrust(self) -> None:
        """The book is no longer believed: nothing that it showed is compared any more."""
        self._tops.clear()

    def restart(self) -> None:
        """The ids may begin anew: nothing from before is compared with what comes."""
        self._tops.clear()
        self._refuting = None
        self._forget_ahead()
        self._top_id = self.seen_id = -1

    def _forget_ahead(self) -> None:
        self._counts.unmatched += len(self._ahead)
        self._ahead.clear()
        self._evicted = None

    def _is_equal(self, update_id: int, top: Top, claimed: Top) -> bool:
        self._counts.compared += 1
        if top == claimed:
            self._in_a_row = 0
            return True
        self._counts.mismatched += 1
        self._in_a_row += 1
        self._refuting = update_id, claimed
        if self.is_over:
            self.restart()
        return False
