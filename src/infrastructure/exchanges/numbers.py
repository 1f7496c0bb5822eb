"""How the texts of venues become numbers: one grammar, JSON's, and the double nearest to what it says."""

from decimal import Decimal
from math import inf

import msgspec

from infrastructure.errors import DecodeError


def number(text: str, channel: str, symbol: str) -> float | None:
    """The double nearest to ``text``, None for an empty text. Raises DecodeError unless it is a finite JSON number."""
    if not text:
        return None
    try:
        value = msgspec.convert(text, float, strict=False)
    except msgspec.ValidationError:
        value = inf
    if not -inf < value < inf:
        raise DecodeError(f"{text[:32]!r} is not a finite number", channel=channel, symbol=symbol)
    return value


def amount(text: str, channel: str, symbol: str) -> float | None:
    """As ``number``, and not below 0."""
    value = number(text, channel, symbol)
    if value is not None and value < 0.0:
        raise DecodeError(f"{text[:32]!r} is below 0", channel=channel, symbol=symbol)
    return value


def exact(value: Decimal | None, name: str) -> Decimal | None:
    """``value``, a step or a size of an instrument list, if it is finite and not below 0, or None. Raises DecodeError."""
    if value is None or (value.is_finite() and value >= 0):
        return value
    raise DecodeError(f"{name} {value} is not a finite number of 0 or more")
