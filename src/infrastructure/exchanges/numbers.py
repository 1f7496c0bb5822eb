"""How the texts of venues become numbers: one grammar, JSON's, and the double nearest to what it says."""

import re
from decimal import Context, Decimal, InvalidOperation
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


_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?", re.ASCII)
#: No money has a digit further than this from its decimal point; a number that has, in however few characters, may be gigabytes long.
_PLACES = 64
#: In it the sum of any two numbers of so many places is exact; the context of a thread rounds to 28 digits.
_EXACT = Context(prec=4 * _PLACES)


def money(value: str | msgspec.Raw, name: str) -> Decimal:
    """What an account's number says, digit by digit: a text, or what stands in JSON, a number or a text.

    Raises DecodeError unless it is a JSON number with no digit further than 64 places from its point.
    """
    text = _text(value)
    if _NUMBER.fullmatch(text) is not None:
        try:
            number = Decimal(text)
        except InvalidOperation:  # An exponent that not even a Decimal has.
            number = Decimal("NaN")
        if number.is_finite() and int(number.as_tuple().exponent) >= -_PLACES and number.adjusted() < _PLACES:
            return number
    raise DecodeError(f"{name} {text[:32]!r} is not a number of a size that money has")


def money_or_none(value: str | msgspec.Raw, name: str) -> Decimal | None:
    """As ``money``, None where nothing is said: an empty text, or null."""
    return None if _text(value) in ("", "null") else money(value, name)


def not_negative(value: str | msgspec.Raw, name: str) -> Decimal:
    """As ``money``, and not below 0."""
    number = money(value, name)
    if number < 0:
        raise DecodeError(f"{name} {number} is below 0")
    return number


def positive(value: str | msgspec.Raw, name: str) -> Decimal:
    """As ``money``, and above 0."""
    number = money(value, name)
    if number <= 0:
        raise DecodeError(f"{name} {number} is not above 0")
    return number


def positive_or_none(value: str | msgspec.Raw, name: str) -> Decimal | None:
    """As ``positive``, None where nothing is said or 0 stands for nothing, as in the price of a market order."""
    return None if not money_or_none(value, name) else positive(value, name)


def _text(value: str | msgspec.Raw) -> str:
    return value if isinstance(value, str) else bytes(value).decode().strip('"')


def total(one: Decimal, other: Decimal) -> Decimal:
    """The sum of two of what ``money`` returns, to the last digit."""
    return _EXACT.add(one, other)


def difference(one: Decimal, other: Decimal) -> Decimal:
    """``one`` less ``other``, as exactly."""
    return _EXACT.subtract(one, other)
