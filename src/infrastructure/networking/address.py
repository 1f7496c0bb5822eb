"""What may be connected to, and how an address is shown: plain text only to this machine, and never what may be secret."""

import ipaddress
from urllib.parse import SplitResult, urlencode, urlsplit

from infrastructure.errors import SettingsError

_DEFAULT_PORTS = {"ws": 80, "http": 80, "wss": 443, "https": 443}


def check_address(url: str, *schemes: str) -> SplitResult:
    """The parts of ``url``, whose scheme is one of ``schemes``, such as ``"wss", "ws"``; an unencrypted one goes to loopback only.

    Raises SettingsError.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        # The reason that urlsplit gives quotes parts of the address, and so perhaps of a password.
        raise SettingsError(f"{shown(url)!r} is not an address") from None
    if "@" in url:
        raise SettingsError(f"{shown(url)!r} holds a user or a password, which has no place in an address")
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


def with_query(url: str, name: str, value: str) -> str:
    """``url`` with one more parameter in its query."""
    parts = urlsplit(url)
    return parts._replace(query="&".join(filter(None, (parts.query, urlencode({name: value}))))).geturl()


def shown(url: str) -> str:
    """``url`` without query and fragment, and without anything but the scheme if there may be a password in it."""
    if "@" in url:
        scheme, separator, _ = url.partition("://")
        return f"{scheme}://..." if separator else "..."
    return url.split("?")[0].split("#")[0]
