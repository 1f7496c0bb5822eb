"""The wait that a server asks for."""

import re
from datetime import UTC
from email.utils import parsedate_to_datetime


def retry_after_s(value: str, now_ns: int) -> float | None:
    """The wait that a Retry-After header asks for (RFC 9110, 10.2.3): seconds, or a date; None if it is neither."""
    value = value.strip()
    if re.fullmatch(r"[0-9]{1,9}", value):
        return float(value)
    try:
        until = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return max(0.0, (until if until.tzinfo else until.replace(tzinfo=UTC)).timestamp() - now_ns / 1e9)
