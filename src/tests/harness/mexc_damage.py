"""What may happen to a frame of MEXC: bits flipped, bytes lost or added, any values in any field, fields that nobody knows."""

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from infrastructure.exchanges.mexc import wire
from tests.harness import mexc_frames as frames
from tests.harness.mexc_frames import DEALS, NATIVE, SENT_MS, Table

TEXTS = st.one_of(
    st.text(max_size=8),
    st.sampled_from(["", "0", "-1", "1", "100.5", "nan", "inf", "1e400", "1_0", NATIVE, "9" * 20, "Min1", f"{DEALS}@100ms@{NATIVE}"]),
)
NUMBERS = st.one_of(st.integers(-(2**63), 2**63 - 1), st.sampled_from([0, 1, 2, 3, SENT_MS, SENT_MS // 1000]))
PLACES = st.integers(0, 10_000)
Mutation = Callable[[bytes], bytes]


def flip(place: int, bit: int) -> Mutation:
    return lambda raw: raw[: place % len(raw)] + bytes([raw[place % len(raw)] ^ (1 << bit)]) + raw[place % len(raw) + 1 :] if raw else raw


def cut(place: int, count: int) -> Mutation:
    """Take ``count`` bytes out, or everything from there on."""
    return lambda raw: raw[: place % (len(raw) + 1)] + (raw[place % (len(raw) + 1) + count :] if count else b"")


def insert(place: int, more: bytes) -> Mutation:
    return lambda raw: raw[: place % (len(raw) + 1)] + more + raw[place % (len(raw) + 1) :]


MUTATIONS = st.one_of(
    st.builds(flip, PLACES, st.integers(0, 7)),
    st.builds(cut, PLACES, st.integers(0, 8)),
    st.builds(insert, PLACES, st.binary(min_size=1, max_size=4) | st.sampled_from([b"\x0a\x00", b"\xd2\x13\x00", b"\x0b", b"\x0c", b"{"])),
)


@st.composite
def mutated(draw: st.DrawFn, *valid: bytes) -> bytes:
    """One of ``valid``, with up to three damages."""
    raw = draw(st.sampled_from(valid))
    for mutate in draw(st.lists(MUTATIONS, min_size=1, max_size=3)):
        raw = mutate(raw)
    return raw


def values_of(table: Table) -> st.SearchStrategy[dict[str, Any]]:
    """Any values for any of the fields of a message, of either kind, whatever the venue has there."""
    return st.fixed_dictionaries(
        {},
        optional={
            name: TEXTS | NUMBERS if isinstance(place, int) else st.lists(values_of(place[1]), max_size=3) for name, place in table.items()
        },
    )


def pieces_of(raw: bytes) -> list[bytes]:
    """The fields of a frame, each by itself."""
    ends = [field.end for field in wire.fields(raw, 0, len(raw))]
    return [raw[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]


#: Numbers that the venue's messages do not use.
UNUSED = st.integers(100, 299) | st.integers(400, 2**29 - 1)
UNKNOWN = st.one_of(
    st.builds(frames.counted, UNUSED, st.binary(max_size=12)),
    st.builds(lambda number, value: frames.varint(number << 3) + frames.varint(value), UNUSED, NUMBERS),
    st.builds(lambda number, value: frames.varint(number << 3 | 1) + value, UNUSED, st.binary(min_size=8, max_size=8)),
    st.builds(lambda number, value: frames.varint(number << 3 | 5) + value, UNUSED, st.binary(min_size=4, max_size=4)),
    st.builds(lambda number: frames.varint(number << 3 | 3) + frames.varint(number << 3 | 4), UNUSED),
)
