"""Keys and secrets of an account, which show nothing of themselves wherever they may be printed."""

import hmac
import os
import re
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

import msgspec

from infrastructure.errors import SettingsError
from infrastructure.redaction import REDACTION

#: The widest mode that a file of credentials may have.
FILE_MODE = 0o600
LONGEST_FILE = 64 * 1024  # bytes
#: What can stand in a header, and what a venue could have given out.
_TEXT = re.compile(r"[!-~]{1,1024}")
#: Of what the TOML parser says only the place, since it may quote what it could not read.
_PLACE = re.compile(r"\(at [^()]*\)$")


class Secret:
    """A text that nobody sees by accident: not in a repr, not in ``str``, not in a pickle. ``reveal`` is for whoever signs or sends.

    As long as it lives its text is kept out of the logs.
    """

    __slots__ = ("__weakref__", "_text")

    def __init__(self, text: str) -> None:
        self._text = text
        REDACTION.add(self)

    def reveal(self) -> str:
        """The text itself."""
        return self._text

    def __repr__(self) -> str:
        return "<Secret>"

    def __str__(self) -> str:
        return "<Secret>"

    def __format__(self, spec: str) -> str:
        return format("<Secret>", spec)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._text.encode(), other._text.encode())

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not pickled or copied into anything that is")


class Credentials(msgspec.Struct, frozen=True):
    """What proves to a venue whose account it is: the key that names it, and the secret that signs."""

    key: Secret
    secret: Secret


def variables(venue: str) -> tuple[str, str]:
    """The names of the environment's variables that hold the key and the secret of ``venue``."""
    return f"TICKRAIL_{venue.upper()}_KEY", f"TICKRAIL_{venue.upper()}_SECRET"


def credentials_for(venue: str, environment: Mapping[str, str] | None = None) -> Credentials:
    """The credentials that ``environment``, by default this process's own, holds under the names of ``variables``.

    Raises SettingsError, which names what is missing and shows no value.
    """
    names = variables(venue)
    key, secret = (_text_of((os.environ if environment is None else environment).get(name)) for name in names)
    # A traceback can show what a frame still holds.
    del environment
    if key is not None and secret is not None:
        return Credentials(key, secret)
    lacking = [name for name, text in zip(names, (key, secret), strict=True) if text is None]
    raise SettingsError(
        f"no credentials of {venue}: {' and '.join(lacking)} must be set in the environment, to printable text without spaces"
    )


def credentials_from_file(path: Path | str, venue: str) -> Credentials:
    """The credentials in the table ``venue`` of the TOML file at ``path``: ``key`` and ``secret``, nothing else.

    The file must be a regular one, belong to who runs this process, and be open to nobody else: mode 0600 or narrower. Raises
    SettingsError, which says what is wrong and what to do, and shows nothing of the file.
    """
    found = _read(Path(path), venue)
    # It is no path if somebody took the secret itself for one.
    del path
    if isinstance(found, str):
        raise SettingsError(f"the file of credentials {found}")
    return found


def _read(path: Path, venue: str) -> Credentials | str:
    """The credentials, or what is wrong: returned, since a traceback from here could show what was read."""
    try:
        # A pipe would keep us waiting for who writes to it.
        descriptor = os.open(path.expanduser(), os.O_RDONLY | os.O_NONBLOCK)
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: nobody's home
        # Its name is not repeated: it may be a secret put in the wrong place.
        return f"cannot be read: {error.strerror if isinstance(error, OSError) else 'not a name that a file can have'}"
    try:
        # Asked of what is open, which nobody can put another in place of.
        if (problem := _objection(os.fstat(descriptor), os.geteuid())) is not None:
            return f"{str(path)!r} {problem}"
        with open(descriptor, "rb", closefd=False) as file:
            raw = file.read(LONGEST_FILE + 1)
    finally:
        os.close(descriptor)
    if len(raw) > LONGEST_FILE:
        return f"{str(path)!r} is longer than {LONGEST_FILE} bytes"
    try:
        table = tomllib.loads(raw.decode()).get(venue)
    except (ValueError, RecursionError) as error:
        place = _PLACE.search(str(error)) if isinstance(error, tomllib.TOMLDecodeError) else None
        return f"{str(path)!r} is not TOML{f' {place[0]}' if place else ''}"
    wanted = f"must have a table [{venue}] with key and secret, both printable text without spaces, and nothing else in it"
    if not isinstance(table, dict) or table.keys() != {"key", "secret"}:
        return f"{str(path)!r} {wanted}"
    key, secret = _text_of(table["key"]), _text_of(table["secret"])
    return Credentials(key, secret) if key is not None and secret is not None else f"{str(path)!r} {wanted}"


def _objection(status: os.stat_result, user: int) -> str | None:
    """Why a file may not hold secrets, and what to do about it."""
    if not stat.S_ISREG(status.st_mode):
        return "is not a regular file"
    if status.st_uid != user:
        return f"belongs to user {status.st_uid}, not to {user} who runs this: chown it, or run as its owner"
    mode = stat.S_IMODE(status.st_mode)
    if mode & ~FILE_MODE:
        return f"has mode {mode:04o}, so that others could read or change it: chmod 600, and new keys if others may have read it"
    return None


def _text_of(value: object) -> Secret | None:
    return Secret(value) if isinstance(value, str) and _TEXT.fullmatch(value) else None
