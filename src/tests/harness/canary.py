"""The canaries of the suite: secrets that nothing may ever show, and the watch over a run that finds the one that was shown.

Every test that uses credentials uses these. The watch notes everything that a run logs, at the lowest level and with the values of the
frames of what is logged with a traceback, what it prints, what it warns of, how it reports what failed and what every error holds, and
fails the run if one of them is in it.
"""

import logging
import tempfile
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import msgspec
import pytest

from infrastructure.credentials import Credentials, Secret
from infrastructure.errors import TickrailError

KEY = "K3yCanary5d2f9b7a41c8e06f"
SECRET = "S3cretCanary8b14f7d3a96e2c05"
LISTEN_KEY = "L1stenCanary37c9e5a0f28d6b41"
CANARIES = {"the key": KEY, "the secret": SECRET, "the listen key": LISTEN_KEY}

_SEEN = "canaries"
_TESTS = str(Path(__file__).parents[1])
_SHOWN_HITS = 50


def credentials() -> Credentials:
    """Those of the suite."""
    return Credentials(Secret(KEY), Secret(SECRET))


#: As in a program whose credentials are in use.
LIVING = (*msgspec.structs.astuple(credentials()), Secret(LISTEN_KEY))


def found_in(text: str) -> list[str]:
    """The canaries in ``text``, by what they are."""
    return [name for name, canary in CANARIES.items() if canary in text]


def assert_hidden(*things: object) -> None:
    """None of these shows a canary, as a text, in its repr, or, of an error, in a traceback with the values of its frames."""
    for thing in things:
        texts = [str(thing), repr(thing)]
        if isinstance(thing, BaseException):
            texts.append(shown_with_frames(thing))
        assert [found_in(text) for text in texts] == [[]] * len(texts)


def shown_with_frames(error: BaseException) -> str:
    """The traceback of ``error`` with the values of its frames, as far as the product's own and the libraries' go."""
    shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    links: list[traceback.TracebackException | None] = [shown]
    while links:
        if (link := links.pop()) is not None:
            for frame in link.stack:
                if frame.filename.startswith(_TESTS):
                    frame.locals = None  # A test holds what it looks for.
            links += [link.__cause__, link.__context__, *(link.exceptions or ())]
    return "".join(shown.format())


class Watch(logging.Handler):
    """A plugin of pytest, registered by ``pytest_configure``, and a handler of the root logger."""

    def __init__(self, config: pytest.Config) -> None:
        super().__init__(level=1)
        self.hits: list[str] = []
        self.notes = 0
        self._config = config
        self._file: IO[str] = tempfile.TemporaryFile(  # noqa: SIM115  # Open as long as the run.
            "w+", encoding="utf-8", errors="backslashreplace", prefix="tickrail-canary-"
        )
        self._level = logging.root.level
        self._new = TickrailError.__new__

    def begin(self) -> None:
        """Watch from now on."""
        logging.root.addHandler(self)
        logging.root.setLevel(1)
        TickrailError.__new__ = self._made  # type: ignore[method-assign, assignment]

    def _made(self, kind: type[TickrailError], *facts: object, **named: object) -> TickrailError:
        self.note("error", f"{facts!r} {named!r}")
        return Exception.__new__(kind, *facts)

    def note(self, what: str, text: str) -> None:
        """Write down ``text``, to be searched at the end."""
        self.notes += 1
        self._file.write(f"{what}\0{text}\1")

    def emit(self, record: logging.LogRecord) -> None:
        """Note all of a record."""
        error = record.exc_info[1] if record.exc_info else None
        try:
            message = record.getMessage()
        except (TypeError, ValueError):
            message = str(record.msg)
        rest = {name: value for name, value in vars(record).items() if name not in ("exc_info", "msg")}
        self.note(f"log of {record.name} at {record.levelno}", f"{message} {rest!r} {shown_with_frames(error) if error else ''}")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note what a test printed, and how it failed."""
        for name, text in report.sections:
            # What was logged has been noted, and here once more as pytest shows it.
            self.note(f"{name} of {report.nodeid}", text)
        if report.longrepr is not None:
            self.note(f"report of {report.nodeid}", report.longreprtext)

    def pytest_warning_recorded(self, warning_message: warnings.WarningMessage, nodeid: str) -> None:
        """Note a warning."""
        self.note(f"warning of {nodeid}", str(warning_message.message))

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Take over what another process of this run has found."""
        notes, hits = getattr(node, "workeroutput", {}).get(_SEEN, (0, []))
        self.notes += notes
        self.hits += hits

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Search, and fail the run if there is one to be found."""
        self.hits += self._search()
        output = getattr(self._config, "workeroutput", None)
        if output is not None:
            output[_SEEN] = (self.notes, self.hits)
        elif self.hits:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Tell what was found, and how much was searched."""
        terminalreporter.write_line(f"canaries: {self.notes} notes searched, {len(self.hits)} hits", red=bool(self.hits))
        for hit in self.hits[:_SHOWN_HITS]:
            terminalreporter.write_line(f"  {hit}", red=True)

    def pytest_unconfigure(self) -> None:
        """Watch no longer."""
        logging.root.removeHandler(self)
        logging.root.setLevel(self._level)
        TickrailError.__new__ = self._new  # type: ignore[method-assign]
        self._file.close()

    def _search(self) -> list[str]:
        self._file.flush()
        self._file.seek(0)
        return [f"{name} in a {note.partition(chr(0))[0]}" for note in _notes(self._file) for name in found_in(note)]


def _notes(file: IO[str]) -> Iterator[str]:
    rest = ""
    while chunk := file.read(1 << 20):
        *whole, rest = (rest + chunk).split("\1")
        yield from whole
    yield rest


def pytest_configure(config: pytest.Config) -> None:
    """Watch this run; of a run in several processes each is watched by its own."""
    watch = Watch(config)
    config.pluginmanager.register(watch, "canaries")
    watch.begin()
