"""Settings of exchanges out of a TOML file, or out of keyword arguments: all of them in order, or none and every reason."""

import re
import tomllib
from collections.abc import Iterable, Mapping
from math import inf
from pathlib import Path

import msgspec

from infrastructure.credentials import Credentials, Secret, credentials_for, credentials_from_file, variables
from infrastructure.errors import ConfigError, SettingsError, UnknownVenue
from infrastructure.events import Architecture
from infrastructure.exchanges import VENUES, venue_named
from infrastructure.networking.websocket.settings import (
    ExchangeSettings,
    Flag,
    Problem,
    Text,
    exchange_problems,
    refuse,
    secret_key,
    shown_key,
    shown_value,
    types_of,
)
from infrastructure.venue import Venue

#: What may be said of an exchange: its settings but the venue, which is named elsewhere, and the architecture by its older name.
_TYPES = {key: hint for key, hint in types_of(ExchangeSettings).items() if key != "venue"} | {
    "use_direct_handling": Flag,
    "credentials_file": Text,
}
#: What says that the credentials are in the environment.
FROM_ENVIRONMENT = "environment"
_NOT_HERE = (
    f"only {FROM_ENVIRONMENT!r} may stand here; what is a secret has no place here: put it into the environment, as {{}} and {{}}, "
    "or into a file of mode 0600 that credentials_file names"
)

_HEADER = re.compile(r"""\[{1,2}([\w.\s"'-]+)\]{1,2}\s*(#.*)?$""")
_KEY = re.compile(r"""([\w.\s"'-]+)=""")


def read_config(path: Path | str) -> Mapping[str, ExchangeSettings]:
    """``parse_config`` of the file at ``path``. Raises ConfigError, also if it cannot be read."""
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(str(path), [f"cannot be read: {error.strerror}"]) from None
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError(str(path), [f"line {line}: not UTF-8"]) from None
    return parse_config(text, str(path))


def parse_config(text: str, source: str) -> Mapping[str, ExchangeSettings]:
    """The settings of each exchange that ``text`` has a table for, by the venue's name; ``source`` is what errors call the text.

    A table is named after its venue and must have ``symbols`` and ``channels``; ``transport``, ``reconnect``, ``freshness`` and
    ``rotation`` are tables within it. ``credentials = "environment"`` or ``credentials_file`` say where those of an account are: they are
    read now. Raises ConfigError with all that is wrong.
    """
    try:
        tables = tomllib.loads(text)
    except ValueError as error:
        raise ConfigError(source, [f"not TOML: {error}"]) from None
    except RecursionError:
        raise ConfigError(source, ["not TOML: nested too deeply"]) from None
    if not tables:
        raise ConfigError(source, [f"no exchange; write a table for one of: {', '.join(VENUES)}"])
    problems: list[Problem] = []
    given: dict[str, Mapping[str, object]] = {}
    for name, table in tables.items():
        if name not in VENUES:
            problems.append((shown_key(name), secret_key(name) or str(UnknownVenue(name, VENUES))))
        elif not isinstance(table, dict):
            problems.append((name, f"{shown_value(table)} is not a table"))
        else:
            given[name], found = _with_credentials(VENUES[name], table)
            found += _problems(VENUES[name], given[name])
            found += [(key, "at least one is needed") for key in ("symbols", "channels") if table.get(key, []) == []]
            problems += [(f"{name}.{key}", words) for key, words in found]
    if problems:
        raise ConfigError(source, _in_order(problems, text))
    return {name: _settings(VENUES[name], table) for name, table in given.items()}


def exchange_settings(venue_name: str, **settings: object) -> ExchangeSettings:
    """The settings of one exchange, by the names that its table in a file would have.

    ``transport``, ``reconnect``, ``freshness`` and ``rotation`` are mappings, or TransportSettings, ReconnectSettings, FreshnessSettings
    and RotationSettings; ``credentials`` may be Credentials. Symbols and channels may come later. Raises UnknownVenue, or SettingsError
    with all that is wrong.
    """
    venue = venue_named(venue_name)
    given, problems = _with_credentials(venue, settings)
    refuse([*problems, *_problems(venue, given)])
    return _settings(venue, given)


def _with_credentials(venue: Venue, given: Mapping[str, object]) -> tuple[Mapping[str, object], list[Problem]]:
    """The same with the credentials themselves where it says where they are, and why they could not be had."""
    values, problems = dict(given), list[Problem]()
    # Judged as if there were some, where there are none: what else is wrong is told in the same breath.
    missing = Credentials(Secret(""), Secret("")) if venue.private else None
    place, path = values.get("credentials"), values.get("credentials_file")
    key = "credentials" if path is None else "credentials_file"
    try:
        if place is not None and path is not None:
            problems.append((key, "contradicts credentials; give one of them"))
            values["credentials"] = missing
        elif place == FROM_ENVIRONMENT:
            values["credentials"] = credentials_for(venue.name)
        elif isinstance(path, str):
            values["credentials"] = credentials_from_file(path, venue.name)
        elif place is not None and not isinstance(place, Credentials):
            problems.append((key, _NOT_HERE.format(*variables(venue.name))))
            values["credentials"] = missing
    except SettingsError as error:
        problems.append((key, str(error)))
        values["credentials"] = missing
    if isinstance(path, str):
        del values["credentials_file"]
    return values, problems


def _problems(venue: Venue, given: Mapping[str, object]) -> list[Problem]:
    problems = exchange_problems(venue, given, _TYPES)
    is_direct = given.get("use_direct_handling")
    if isinstance(is_direct, bool) and given.get("architecture") == _architecture(is_direct).other:
        problems.append(("use_direct_handling", f"contradicts architecture = {_architecture(is_direct).other.value!r}"))
    return problems


def _settings(venue: Venue, given: Mapping[str, object]) -> ExchangeSettings:
    values = {**given, "venue": venue}
    is_direct = values.pop("use_direct_handling", None)
    if is_direct is not None:
        values["architecture"] = _architecture(bool(is_direct))
    return msgspec.convert(values, ExchangeSettings)


def _architecture(is_direct: bool) -> Architecture:
    return Architecture.DIRECT if is_direct else Architecture.STRATEGY


def _in_order(problems: Iterable[Problem], text: str) -> list[str]:
    """The problems as lines, each with its place in ``text``, from its beginning to its end."""
    lines = _lines(text)
    placed = [(_line_of(key, lines), f"{key}: {words}") for key, words in problems]
    placed.sort(key=lambda one: one[0] or inf)
    return [f"line {line}: {problem}" if line else problem for line, problem in placed]


def _line_of(key: str, lines: Mapping[str, int]) -> int | None:
    """The line of ``key``, or else of the table that it is missing in."""
    while key and key not in lines:
        key = key.rpartition(".")[0]
    return lines.get(key)


def _lines(text: str) -> dict[str, int]:
    """Where tables and keys seem to stand: read line by line, for messages; a multi-line text may deceive it."""
    lines: dict[str, int] = {}
    table = ""
    for number, line in enumerate(text.split("\n"), 1):
        if header := _HEADER.match(line.strip()):
            table = _dotted(header[1])
            lines.setdefault(table, number)
        elif key := _KEY.match(line.strip()):
            lines.setdefault(f"{table}.{_dotted(key[1])}".lstrip("."), number)
    return lines


def _dotted(written: str) -> str:
    return re.sub(r"""[\s"']""", "", written)
