"""What a lane and a receiver agree on: the slot, what it may return, and where a frame goes that it cannot decode."""

from collections.abc import Callable
from enum import Enum
from typing import Any

import msgspec

from infrastructure.events import Architecture
from infrastructure.metrics import PathMetrics

Slot = Callable[[bytes | str], Any]


class Outcome(Enum):
    """What a receiver may return for a frame; None means delivered."""

    DELIVERED = "delivered"
    CONTROL = "control"


class Route(msgspec.Struct):
    """Where frames go: a receiver's bound method, whether it has to be awaited, and who gets what it cannot decode."""

    architecture: Architecture
    slot: Slot
    is_queued: bool
    metrics: PathMetrics
    fallback: "Route | None" = None
