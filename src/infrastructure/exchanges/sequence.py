"""Rules of books that more than one venue keeps; where a venue names them stands its own recipe."""

from infrastructure.venue import BookUpdate, Verdict


class RestSeeded:
    """A REST book, then every update in turn.

    An update that ends before the next id is old; one that holds the next id is applied, whatever it repeats; one that begins after it
    means loss. An update that is a whole book replaces.
    """

    def judge(self, last_id: int, update: BookUpdate) -> Verdict:
        """Say what to do with ``update`` when the book stands at ``last_id``."""
        if update.first_id <= last_id + 1 <= update.last_id and not update.is_full:
            return Verdict.APPLY
        if update.is_full:
            return Verdict.REPLACE
        return Verdict.IGNORE if update.last_id <= last_id else Verdict.GAP


class WholeBook:
    """Every push is the whole top of the book; an older one than the last is dropped."""

    def judge(self, last_id: int, update: BookUpdate) -> Verdict:
        """Say what to do with ``update`` when the book stands at ``last_id``."""
        return Verdict.REPLACE if update.last_id > last_id else Verdict.IGNORE
