"""What the parent of a contestant may order, and what it answers: one line of JSON each way."""

import msgspec


class Open(msgspec.Struct, frozen=True, tag=True):
    """Begin a workload anew in a variant; a round is ``block`` frames. Answered by the number of its frames.

    ``is_counted``: the clock counts how often it is read instead, so that nothing depends on the moment.
    """

    workload: int
    variant: str
    block: int
    is_counted: bool = False


class Round(msgspec.Struct, frozen=True, tag=True):
    """Take the block of frames of this number. Answered by the nanoseconds that took."""

    number: int


class Trace(msgspec.Struct, frozen=True, tag=True):
    """Take the block of frames of this number and note every call and bytecode. Answered by ``Traced``."""

    number: int


class Traced(msgspec.Struct, frozen=True):
    """What was done, by function."""

    python_calls: dict[str, int]
    c_calls: dict[str, int]
    bytecodes: dict[str, int]


class Blocks(msgspec.Struct, frozen=True, tag=True):
    """Answered by the memory blocks that are allocated, garbage collected first."""


class Growth(msgspec.Struct, frozen=True, tag=True):
    """Take the blocks of frames from the first to ``end``. Answered by the line of code of which most objects came up from ``begin`` on.

    "" if of none. What is bounded must be full by ``begin``.
    """

    begin: int
    end: int


class Tell(msgspec.Struct, frozen=True, tag=True):
    """Answered by ``State``."""


class State(msgspec.Struct, frozen=True):
    """What the frames have left behind: a digest of the state, the events, and what is wrong."""

    digest: str
    events: int
    failures: list[str]


Order = Open | Round | Trace | Blocks | Growth | Tell
