"""What the contestants of a benchmark get, as a value: whoever opens a feed for it anew can run it again, in any process."""

from pathlib import Path
from typing import Literal

import msgspec

Scope = Literal["public", "private"]
PUBLIC: Scope = "public"
PRIVATE: Scope = "private"

#: The usual workload of a channel: two symbols in turn, of an account all that it does.
STEADY = "steady"


class Snapshot(msgspec.Struct, frozen=True, tag=True):
    """REST answers with the whole book of a symbol."""

    symbol: str
    body: bytes


class Frame(msgspec.Struct, frozen=True, tag=True):
    """A frame among what opens a feed: an answer to a subscription, or a whole book."""

    raw: bytes


class Workload(msgspec.Struct, frozen=True):
    """Frames of one channel, each of which gives at least one event, and what a feed gets before the first of them."""

    venue: str
    scope: Scope
    channel: str
    name: str
    symbols: tuple[str, ...]
    instruments: bytes
    opening: tuple[Frame | Snapshot, ...]
    frames: tuple[bytes, ...]

    @property
    def title(self) -> str:
        """For a row of a table: the channel, and the workload unless it is the usual one."""
        return self.channel if self.name == STEADY else f"{self.channel}, {self.name}"


def write(path: Path, workloads: list[Workload]) -> None:
    """To a file, for ``read``."""
    path.write_bytes(msgspec.msgpack.encode(workloads))


def read(path: Path) -> list[Workload]:
    """What ``write`` wrote."""
    return msgspec.msgpack.decode(path.read_bytes(), type=list[Workload])
