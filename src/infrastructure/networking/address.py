"""What may be connected to, and how an address is shown: plain text only to this machine, and never what may be secret."""

import ipaddress
from urllib.parse import SplitResult, urlsplit

from infrastructure.errors import SettingsError

_DEFAULT_PORTS = {"ws": 80, "http": 80, "wss": 443, "https": 443}


def check_address(url: str, *schemes: str) -> SplitResult:
    """The parts of ``url``, whose scheme is one of ``schemes``, such as ``"wss", "ws"``; an unencrypted one goes to loopback only.

    Raises SettingsError.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise SettingsError(f"{shown(url)!r} is not an address: {error}") from None
    if parts.scheme not in schemes or not parts.hostname or port == 0:
        raise SettingsError(f"{shown(url)!r} is not an address of the form {schemes[0]}://host[:port]/path")
    if parts.scheme in ("ws", "http") and not is_loopback(parts.hostname):
        raise SettingsError(f"{shown(url)!r} would be sent in plain text; only addresses of this machine may be, use {parts.scheme}s://")
    return parts


def is_loopback(host: str) -> bool:
    """Whether ``host`` is this machine, by its name or number alone: nothing is looked up."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def port_of(parts: SplitResult) -> int:
    """The port that ``parts`` name, or their scheme's own."""
    return parts.port or _DEFAULT_PORTS[parts.scheme]


def shown(url: str) -> str:
    """``url`` without user, password, query and fragment, which may hold a key."""
    head, _, rest = url.partition("://")
    where = rest.split("?")[0].split("#")[0]
    authority, slash, path = where.partition("/")
    return f"{head}://{authority.rpartition('@')[2]}{slash}{path}" if rest else head.split("?")[0]
