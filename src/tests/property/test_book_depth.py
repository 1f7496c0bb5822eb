"""A stream of the best so many levels that says nothing of what leaves its window: the book is that window, and nothing else."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from infrastructure.exchanges.gateio.spot import GATEIO_SPOT, ORDER_BOOK_UPDATE
from infrastructure.session import Session
from infrastructure.venue import BookUpdate, Levels
from tests.harness.effort import effort
from tests.harness.frames import SYMBOL

#: Bids below, asks above: the market's own book is never crossed.
BIDS, ASKS = range(1, 20), range(20, 39)
CHANGES = st.lists(st.tuples(st.sampled_from([*BIDS, *ASKS]), st.integers(0, 3)), min_size=1, max_size=8)


class Window:
    """The best ``depth`` levels a side of a market whose every level is known here."""

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.market: dict[int, int] = {}

    def change(self, changes: list[tuple[int, int]]) -> tuple[Levels, Levels]:
        """Change the market; returns what the stream sends: what is new or different in the window, and what is really gone of it."""
        before = self.sides()
        self.market |= dict(changes)
        self.market = {price: amount for price, amount in self.market.items() if amount}
        sent: list[Levels] = []
        for old, new in zip(before, self.sides(), strict=True):
            gone = [(price, 0.0) for price, _ in old if int(price) not in self.market]
            sent.append([level for level in new if level not in old] + gone)
        return sent[0], sent[1]

    def sides(self) -> tuple[Levels, Levels]:
        """Bids and asks, best first."""
        bids, asks = ([(float(price), float(self.market[price])) for price in side if price in self.market] for side in (BIDS[::-1], ASKS))
        return bids[: self.depth], asks[: self.depth]

    def whole(self) -> tuple[Levels, Levels]:
        """All that is known, in no order: more than the window, as a snapshot over REST may have it."""
        bids, asks = ([(float(price), float(self.market[price])) for price in side if price in self.market] for side in (BIDS, ASKS))
        return bids, asks


@given(st.integers(1, 6), st.lists(st.tuples(CHANGES, st.booleans()), min_size=1, max_size=12))
@effort(300)
def test_the_book_is_the_window(depth: int, steps: list[tuple[list[tuple[int, int]], bool]]) -> None:
    channel = replace(GATEIO_SPOT.book_channels[ORDER_BOOK_UPDATE], depths={"": depth, "deep": 1000})
    session = Session(replace(GATEIO_SPOT, book_channels={ORDER_BOOK_UPDATE: channel}))
    session.readmit(ORDER_BOOK_UPDATE, SYMBOL, "")
    window = Window(depth)
    for number, (changes, is_full) in enumerate(steps):
        sent = window.change(changes)
        is_full = is_full or not number
        levels = window.whole() if is_full else sent
        session.apply([BookUpdate(ORDER_BOOK_UPDATE, SYMBOL, number, number, *levels, is_full, None)])
        book = session.books[SYMBOL]
        assert (book.bids, book.asks) == window.sides()
        assert len(book._bids.amounts) == len(book._bids.prices) and len(book._asks.amounts) == len(book._asks.prices)
        assert (book.changes.bids, book.changes.asks, book.changes.is_full) == (*levels, is_full)
