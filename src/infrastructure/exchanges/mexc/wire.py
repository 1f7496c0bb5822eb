"""The wire format of protobuf, walked over without making objects: how much a frame holds, and whose it is when it cannot be read."""

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from infrastructure.errors import DecodeError

#: Fields directly in a frame or its body: levels, trades, tickers. The longest frame, miniTickers, has one for each pair of the venue,
#: some 3,000. Each becomes an object of some fifty bytes, so that a frame of nothing but empty ones costs more than it seems to.
MAX_ITEMS = 16_384
#: A frame no longer than this cannot hold more, for an item takes two bytes at least; nothing needs to be counted.
UNCOUNTED_BYTES = 2 * MAX_ITEMS
#: The 3,000 tickers of miniTickers are some 400,000 bytes.
MAX_BYTES = 4 * 1024 * 1024

#: Bodies are numbered from here on.
_FIRST_BODY = 301
_CHANNEL = 1
_SYMBOL = 3
#: A frame has six fields at most, and those that say whose it is have always come first.
_FEW = 16

_VARINT, _EIGHT_BYTES, _COUNTED, _GROUP, _GROUP_END, _FOUR_BYTES = range(6)
#: Of a number of 64 bits, seven a byte.
_VARINT_BYTES = 10


class Field(NamedTuple):
    """One field as it lies in a frame; ``begin`` to ``end`` is its value. Text and messages are counted, and stand in no group."""

    number: int
    is_counted: bool
    begin: int
    end: int


def fields(raw: bytes, begin: int, end: int) -> Iterator[Field]:
    """The fields between two places of ``raw``, not those within them. Raises DecodeError where they are cut off or make no sense."""
    at = begin
    groups = 0
    while at < end:
        tag, at = _varint(raw, at, end)
        kind = tag & 7
        start = at
        if kind == _COUNTED:
            length, start = _varint(raw, at, end)
            at = start + length
        elif kind == _VARINT:
            _, at = _varint(raw, at, end)
        elif kind == _EIGHT_BYTES:
            at += 8
        elif kind == _FOUR_BYTES:
            at += 4
        elif kind == _GROUP:
            groups += 1
        elif kind == _GROUP_END:
            groups -= 1
        else:
            raise DecodeError(f"a field of kind {kind}, which there is not")
        if at > end:
            raise DecodeError("cut off")
        yield Field(tag >> 3, kind == _COUNTED and not groups, start, at)


def check_size(raw: bytes) -> None:
    """Raise DecodeError if a frame is longer than ``MAX_BYTES`` or holds more than ``MAX_ITEMS``, before anything is made of it."""
    if len(raw) <= UNCOUNTED_BYTES:
        return
    if len(raw) > MAX_BYTES:
        raise DecodeError(f"{len(raw)} bytes, more than {MAX_BYTES}")
    items = 0
    for outer in fields(raw, 0, len(raw)):
        items += 1
        if outer.is_counted and outer.number >= _FIRST_BODY:
            for _ in fields(raw, outer.begin, outer.end):
                items += 1
                if items > MAX_ITEMS:
                    break
        if items > MAX_ITEMS:
            raise DecodeError(f"more than {MAX_ITEMS} items")


def channel_and_symbol(raw: bytes) -> tuple[str, str]:
    """What a frame that cannot be read as a whole says of its stream before the place where it breaks; empty where it says nothing."""
    found = {_CHANNEL: "", _SYMBOL: ""}
    try:
        for field in islice(fields(raw, 0, len(raw)), _FEW):
            if field.is_counted and field.number in found:
                found[field.number] = raw[field.begin : field.end].decode()
    except (DecodeError, ValueError):
        pass
    return found[_CHANNEL], found[_SYMBOL]


def _varint(raw: bytes, at: int, end: int) -> tuple[int, int]:
    """The number at ``at``, and the place after it."""
    value = 0
    for place in range(_VARINT_BYTES):
        if at >= end:
            raise DecodeError("cut off")
        byte = raw[at]
        at += 1
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value, at
    raise DecodeError("a number of more than 64 bits")
