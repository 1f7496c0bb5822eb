"""Gate.io's recipes for keeping a book in step with its stream."""

from infrastructure.exchanges import sequence
from infrastructure.venue import BookUpdate, Verdict


class RestSeeded(sequence.RestSeeded):
    """``order_book_update``: a REST book, then every update in turn.

    Gate.io's page: drop updates with u < base + 1; the first applied one has U <= base + 1 <= u; a later U above the last u + 1 means
    loss. A push with ``full`` is a whole book and replaces. Source: https://www.gate.com/docs/developers/apiv4/ws/en/#changed-order-book-levels
    """


class InBand:
    """``obu``: the stream opens with a whole book; an increment is valid only if U is the last u + 1.

    A whole book may come again at any time. An exact repetition (u not above the last) is dropped; anything else that does not fit
    means loss, repaired by subscribing again. Source: https://www.gate.com/docs/developers/apiv4/ws/en/#order-book-v2-api
    """

    def judge(self, last_id: int, update: BookUpdate) -> Verdict:
        """Say what to do with ``update`` when the book stands at ``last_id``."""
        if update.first_id == last_id + 1 and not update.is_full:
            return Verdict.APPLY
        if update.is_full:
            return Verdict.REPLACE
        return Verdict.IGNORE if update.last_id <= last_id else Verdict.GAP


class WholeBook(sequence.WholeBook):
    """``order_book``: every push is the whole top of the book; an older one than the last is dropped."""
