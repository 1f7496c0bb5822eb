"""Keeps secrets out of logs: a filter that knows every Secret that lives, and the shapes in which venues are sent one.

Every Secret registers itself, and the first one puts the filter on the loggers that could come to hold one. ``logging`` asks a logger's
filters about what is logged through that very logger: a program whose own loggers, or loggers below these, could be given a secret puts
``REDACTION`` on its handlers too.
"""

import json
import logging
import re
import traceback
import weakref
from typing import Protocol, TypeVar

#: What stands in place of a secret.
REDACTED = "<redacted>"
#: Shorter ones would black out ordinary words.
SHORTEST_SECRET = 8
#: The loggers of the event loop, of HTTP, of the WebSocket library, and ours. A filter of a parent is not asked, so each is named.
LOGGERS = (
    "infrastructure",
    "tickrail",
    "asyncio",
    "py.warnings",
    *(f"aiohttp.{part}" for part in ("access", "client", "internal", "server", "web", "websocket")),
    *("picows", "picows.client", "picows.server"),
)

_USUAL = frozenset(vars(logging.LogRecord("", 0, "", 0, "", (), None))) | {"message", "asctime"}
# Quotes may be escaped, as in JSON within JSON or in the repr of a text.
_QUOTE = r"\\*[\"']"
_NAME = r"listen_?key|signature|x-[\w-]*api-?key|api_?key|api_?secret|passphrase"
_SHAPES = (
    # The object that proves who subscribes; it holds no object itself.
    (re.compile(rf"({_QUOTE}auth{_QUOTE}\s*:\s*)\{{[^{{}}]*\}}?"), rf"\1{REDACTED}"),
    # In a query, or a form, perhaps within another address.
    (re.compile(rf"((?:\b|(?<=%26))(?:{_NAME}|sign)(?:=|%3D))(?!{_QUOTE})[^&\s\"'<>\\]+", re.IGNORECASE), rf"\1{REDACTED}"),
    # In JSON, a dict or a list of pairs.
    (re.compile(rf"({_QUOTE}(?:(?i:{_NAME})|KEY|SIGN){_QUOTE}\s*[:,]\s*b?{_QUOTE})(?!<)[^\"'\\]*"), rf"\1{REDACTED}"),
    # A line of a header, as it is sent or as a repr of it.
    (re.compile(r"((?:\b|(?<=\\[rn]))(?:(?i:x-[\w-]*api-?key)|KEY|SIGN)\s*:\s*)(?![\s<\"'])[^\s,\"'\\]+"), rf"\1{REDACTED}"),
)


class Revealing(Protocol):
    """What holds a secret text."""

    def reveal(self) -> str:
        """The text."""


class Redaction(logging.Filter):
    """Replaces secrets in what is logged, and lets every record through. Of what is registered it holds no more than a weak reference."""

    def __init__(self) -> None:
        super().__init__()
        self._secrets: dict[int, weakref.ref[Revealing]] = {}
        self._known: re.Pattern[str] | None = None
        self._is_current = True

    def add(self, secret: Revealing) -> None:
        """Replace ``secret`` from now on, for as long as it lives; one shorter than SHORTEST_SECRET only where its shape betrays it."""
        number = id(secret)
        if not self._secrets:
            self.attach()

        def forget(_: weakref.ref[Revealing]) -> None:
            del self._secrets[number]
            self._is_current = False

        self._secrets[number] = weakref.ref(secret, forget)
        self._is_current = False

    def attach(self) -> None:
        """Put the filter on each of LOGGERS that does not have it."""
        for name in LOGGERS:
            logging.getLogger(name).addFilter(self)

    def redacted(self, text: str) -> str:
        """``text`` without secrets, however they are quoted or percent-encoded in it."""
        if not self._is_current:
            self._know()
        if self._known is not None:
            text = self._known.sub(REDACTED, text)
        for shape, instead in _SHAPES:
            text = shape.sub(instead, text)
        return text

    def filter(self, record: logging.LogRecord) -> bool:
        """Replace what is secret in any part of ``record``; always true."""
        message = record.getMessage()
        if self._shows(message) or self._shows(str(record.msg)) or self._shows(repr(record.args)):
            record.msg, record.args = self.redacted(message), None
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            # Whoever prints it may print the values of its frames too.
            if self._shows("".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())):
                record.exc_text = self.redacted("".join(traceback.format_exception(error)).rstrip("\n"))
                record.exc_info = None
        if record.exc_text:
            record.exc_text = self.redacted(record.exc_text)
        if record.stack_info:
            record.stack_info = self.redacted(record.stack_info)
        for name in vars(record).keys() - _USUAL:
            value = getattr(record, name)
            text = value if isinstance(value, str) else repr(value)
            if self._shows(text):
                setattr(record, name, self.redacted(text))
        return True

    def _shows(self, text: str) -> bool:
        return self.redacted(text) != text

    def _know(self) -> None:
        self._is_current = True
        living = [secret for secret in (reference() for reference in list(self._secrets.values())) if secret is not None]
        texts = {text for secret in living if len(text := secret.reveal()) >= SHORTEST_SECRET}
        # The longest first: it may begin with another.
        patterns = [_in_any_form(text) for text in sorted(texts, key=len, reverse=True)]
        self._known = re.compile("|".join(patterns)) if patterns else None


def _in_any_form(text: str) -> str:
    """A pattern of ``text``, each character as it is, percent-encoded or escaped."""
    return "".join(_character(character) for character in text)


def _character(character: str) -> str:
    forms = [re.escape(character), "".join(f"%(?i:{byte:02x})" for byte in character.encode(errors="surrogatepass"))]
    if character == " ":
        forms.append(r"\+")
    elif not (character.isascii() and character.isalnum()):
        escaped = {json.dumps(character)[1:-1], ascii(character)[1:-1], repr(character)[1:-1]}
        # Escaped once or more often.
        forms = [*(r"\\+" + re.escape(form.lstrip("\\")) for form in escaped if form.startswith("\\")), *forms]
        forms.append(r"\\*" + re.escape(character))
    return f"(?:{'|'.join(forms)})"


Error = TypeVar("Error", bound=BaseException)


def without_frames(error: Error) -> Error:
    """``error``, and all that it came of, without tracebacks: whoever prints one may print the values of its frames, such as an address."""
    links: list[BaseException | None] = [error]
    seen: set[int] = set()
    while links:
        link = links.pop()
        if link is not None and id(link) not in seen:
            seen.add(id(link))
            link.__traceback__ = None
            links += [link.__cause__, link.__context__]
    return error


#: The one that every Secret is registered with.
REDACTION = Redaction()
