"""How the texts of venues become numbers: one grammar, JSON's, and the double nearest to what it says."""

from decimal import Context, Decimal
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


#: No money has a digit further than this from its decimal point; a number that has, in however few characters, may be gigabytes long.
_PLACES = 64
#: In it the sum of any two numbers of so many places is exact; the context of a thread rounds to 28 digits.
_EXACT = Context(prec=4 * _PLACES)


def money(value: Decimal, name: str) -> Decimal:
    """``value``, of an account, as it is if it is finite, with no digit further than 64 places from its point. Raises DecodeError."""
    if value.is_finite() and int(value.as_tuple().exponent) >= -_PLACES and value.adjusted() < _PLACES:
        return value
    raise DecodeError(f"{name} is not a finite number of a size that money has")


def not_negative(value: Decimal, name: str) -> Decimal:
    """As ``money``, and not below 0."""
    if money(value, name) >= 0:
        return value
    raise DecodeError(f"{name} {value} is below 0")


def positive(value: Decimal, name: str) -> Decimal:
    """As ``money``, and above 0."""
    if money(value, name) > 0:
        return value
    raise DecodeError(f"{name} {value} is not above 0")


def total(one: Decimal, other: Decimal) -> Decimal:
    """The sum of two numbers that ``money`` let through, to the last digit."""
    return _EXACT.add(one, other)


def difference(one: Decimal, other: Decimal) -> Decimal:
    """``one`` less ``other``, as exactly."""
    return _EXACT.subtract(one, other)
