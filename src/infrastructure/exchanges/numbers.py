"""How a number that a venue sends as text is read: one rule for all venues."""

from math import inf

import msgspec

from infrastructure.errors import DecodeError


def number(text: str, channel: str, symbol: str) -> float | None:
    """The double nearest to ``text``, None for an empty text; one grammar for every number, JSON's. Raises DecodeError."""
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
