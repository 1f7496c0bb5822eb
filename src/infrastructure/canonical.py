"""Events as bytes that are equal exactly when the events are: what digests and comparisons are made of.

Our own receive time is left out, so that two runs over the same frames compare equal.
"""

import hashlib

import msgspec

from infrastructure.book import OrderBook
from infrastructure.session import Emission

_encode = msgspec.json.Encoder(decimal_format="string").encode


def canonical(event: Emission) -> bytes:
    """One event, or what a book shows of its last frame, as one line of JSON without a line end."""
    if isinstance(event, OrderBook):
        changes = event.changes
        fields: list[object] = [event.venue, event.channel, event.symbol, event.last_id, event.exchange_ns]
        fields += [changes.is_full, sorted(changes.bids), sorted(changes.asks)]
    else:
        fields = [getattr(event, name) for name in event.__struct_fields__ if name != "received_ns"]
    return _encode([event.message_type.name.lower(), *fields])


class EventDigest:
    """SHA-256 over the canonical events in order, and their count by kind."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self.counts: dict[str, int] = {}

    def add(self, event: Emission) -> None:
        """Take the next event; a callback for any of them."""
        kind = event.message_type.name.lower()
        self.counts[kind] = self.counts.get(kind, 0) + 1
        self._digest.update(canonical(event) + b"\n")

    @property
    def sha256(self) -> str:
        """The digest so far, in hex."""
        return self._digest.hexdigest()
