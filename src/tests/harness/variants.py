"""Both architectures, each as it is and through the other's adapter: what every behaviour test runs over."""

from typing import Any, NamedTuple

from infrastructure.events import Architecture
from infrastructure.feed import OfflineFeed, offline_feed


class Variant(NamedTuple):
    """One way of turning frames into events."""

    architecture: Architecture
    adapted: bool

    def __str__(self) -> str:
        return self.architecture + ("-adapted" if self.adapted else "")

    def feed(self, *symbols: str, venue: str = "gateio_spot", **settings: Any) -> OfflineFeed:
        """An offline feed of this variant; ``settings`` are those of ``offline_feed``, callbacks among them."""
        return offline_feed(venue, symbols or None, self.architecture, adapted=self.adapted, **settings)


VARIANTS = [Variant(architecture, adapted) for architecture in Architecture for adapted in (False, True)]


def assert_accounts(feed: OfflineFeed) -> None:
    """Both identities: every frame is somewhere, once, and so is every event; nothing is in flight after a drain."""
    accounting = feed.accounting
    assert accounting.frames.is_balanced, accounting.frames
    assert accounting.events.is_balanced, accounting.events
