import gc
import logging
import sys
from collections.abc import Callable, Iterator
from urllib.parse import quote, quote_plus

import picows
import pytest

from infrastructure.credentials import Secret
from infrastructure.redaction import LOGGERS, REDACTED, REDACTION, Redaction
from tests.harness import canary

Logged = Callable[..., logging.LogRecord]


@pytest.fixture
def logged() -> Iterator[Logged]:
    """Logs through a logger that has the filter; what a handler gets, formatted."""
    logger = logging.Logger("of a test", 1)
    records: list[logging.LogRecord] = []
    handler = logging.Handler(1)
    handler.emit = records.append  # type: ignore[method-assign, assignment]
    logger.addHandler(handler)
    logger.addFilter(REDACTION)

    def log(message: object, *args: object, **more: object) -> logging.LogRecord:
        logger.log(9, message, *args, **more)  # type: ignore[arg-type]
        record = records.pop()
        record.message = logging.Formatter().format(record)
        return record

    yield log


@pytest.fixture
def living() -> Iterator[list[Secret]]:
    yield [Secret(canary.KEY), Secret(canary.SECRET), Secret(canary.LISTEN_KEY)]


class Holder:
    """Whose repr is not careful."""

    def __repr__(self) -> str:
        return f"Holder({canary.SECRET!r})"


class TestRecord:
    def test_the_message_and_its_arguments(self, logged: Logged, living: list[Secret]) -> None:
        for record in (
            logged(f"sent {canary.SECRET}"),
            logged("sent %s", canary.SECRET),
            logged("sent %s", canary.SECRET.encode()),
            logged("sent %(what)s", {"what": Holder()}),
            logged("sent %(more)d", {"more": 1, "what": canary.SECRET}),
            logged(Holder()),
        ):
            canary.assert_hidden(record.message, record.msg, record.args)
        assert logged("sent %s and %d", canary.SECRET, 5).message == f"sent {REDACTED} and 5"

    def test_what_is_no_secret_stays_as_it_was(self, logged: Logged, living: list[Secret]) -> None:
        record = logged("%s of %d", "one", 2)
        assert (record.msg, record.args) == ("%s of %d", ("one", 2))

    def test_the_traceback_and_the_values_of_its_frames(self, logged: Logged, living: list[Secret]) -> None:
        def fail(text: str, error: Exception) -> None:
            raise error

        for text, error in ((canary.SECRET, ValueError()), ("", ValueError(canary.SECRET))):
            try:
                fail(text, error)
            except ValueError:
                record = logged("failed", exc_info=True)
            assert record.exc_info is None and "Traceback" in str(record.exc_text)
            assert canary.found_in(record.message) == []

    def test_a_traceback_without_secrets_stays_an_exception(self, logged: Logged, living: list[Secret]) -> None:
        try:
            raise ValueError("why")
        except ValueError as error:
            record = logged("failed", exc_info=(ValueError, error, None))
            assert record.exc_info is not None and record.exc_info[1] is error

    def test_what_else_a_record_carries(self, logged: Logged, living: list[Secret]) -> None:
        record = logged("sent", extra={"url": f"/ws?x={canary.LISTEN_KEY}", "holder": Holder(), "number": 5}, stack_info=True)
        assert vars(record)["number"] == 5
        canary.assert_hidden(vars(record))

    def test_the_stack(self, logged: Logged, living: list[Secret]) -> None:
        record = logging.LogRecord("x", 9, "", 0, "sent", (), None, sinfo=f"Stack: {canary.SECRET}")
        assert REDACTION.filter(record)
        canary.assert_hidden(vars(record))


@pytest.mark.parametrize(
    "written",
    [
        lambda text: text,
        quote_plus,
        lambda text: "".join(f"%{byte:02x}" for byte in text.encode()),
        lambda text: "".join(quote(character, safe="") if number % 2 else character for number, character in enumerate(text)),
        lambda text: quote(f"wss://x/?listenKey={text}", safe=""),
        repr,
        lambda text: repr(repr(text)),
        ascii,
    ],
)
@pytest.mark.parametrize(
    "text", [canary.SECRET, "quo'te\"and\\slash", "white space & sign=", "ключ-ключ", "a" * 8, "(.*)+?[x]{2}"], ids=range(6)
)
def test_a_secret_is_found_however_it_is_written(text: str, written: Callable[[str], str]) -> None:
    redaction, secret = Redaction(), Secret(text)
    redaction.add(secret)
    shown = redaction.redacted(f"<{written(text)}>")
    assert REDACTED in shown
    assert text not in shown and written(text).strip("'\"") not in shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("GET /api?listenKey=pqia91 HTTP/1.1", "GET /api?listenKey=<redacted> HTTP/1.1"),
        ("wss://x/ws?listenKey=pqia91", "wss://x/ws?listenKey=<redacted>"),
        ("a=1&signature=9f86d0&b=2", "a=1&signature=<redacted>&b=2"),
        ("q=a%3D1%26signature%3D9f86d0%26b", "q=a%3D1%26signature%3D<redacted>"),
        ("{'KEY': '21324', 'SIGN': '9f86', 'Timestamp': '17'}", "{'KEY': '<redacted>', 'SIGN': '<redacted>', 'Timestamp': '17'}"),
        ("('KEY', '21324')", "('KEY', '<redacted>')"),
        ("(b'KEY', b'21324')", "(b'KEY', b'<redacted>')"),
        ("KEY: 21324\r\nSIGN: 9f86\r\nHost: x", "KEY: <redacted>\r\nSIGN: <redacted>\r\nHost: x"),
        (repr(b"GET / HTTP/1.1\r\nKEY: 21324\r\nHost: x"), repr("GET / HTTP/1.1\r\nKEY: <redacted>\r\nHost: x").join(("b", ""))),
        ("X-SOME-APIKEY: 21324", "X-SOME-APIKEY: <redacted>"),
        ('{"listenKey":"pqia91"}', '{"listenKey":"<redacted>"}'),
        ('{"time":1,"auth":{"method":"api_key","KEY":"2","SIGN":"9"},"id":2}', '{"time":1,"auth":<redacted>,"id":2}'),
        (r"{\"auth\": {\"KEY\": \"2\"}, \"id\": 2}", r"{\"auth\": <redacted>, \"id\": 2}"),
        ("{'auth': {'KEY': '2'", "{'auth': <redacted>"),
        ("key: spot.trades, signed, KEYS: 5, design=x, sign it", "key: spot.trades, signed, KEYS: 5, design=x, sign it"),
    ],
)
def test_what_has_the_shape_of_a_secret_is_replaced_without_being_known(text: str, shown: str) -> None:
    assert Redaction().redacted(text) == shown
    assert Redaction().redacted(shown) == shown


class TestRegistry:
    def test_every_secret_that_lives_is_known(self) -> None:
        text = "only-here-and-not-for-long"
        secret, other = Secret(text), Secret(text)
        assert REDACTION.redacted(text) == REDACTED
        del other
        gc.collect()
        assert REDACTION.redacted(text) == REDACTED and secret
        del secret
        gc.collect()
        assert REDACTION.redacted(text) == text

    def test_of_two_of_which_one_begins_the_other_both_are_found(self) -> None:
        short, long = Secret("abcdefgh"), Secret("abcdefghijkl")
        assert REDACTION.redacted("abcdefghijkl abcdefgh") == f"{REDACTED} {REDACTED}" and short and long

    def test_a_short_one_is_left_to_its_shape(self) -> None:
        short = Secret("key")
        assert REDACTION.redacted("the key, KEY: key") == f"the key, KEY: {REDACTED}" and short

    def test_the_first_puts_the_filter_on_the_loggers(self) -> None:
        secret = Secret(canary.SECRET)
        assert secret and all(REDACTION in logging.getLogger(name).filters for name in LOGGERS)

    def test_every_logger_of_the_libraries_is_among_them(self) -> None:
        libraries = ("aiohttp", "asyncio", "picows", "yarl", "infrastructure", "tickrail")
        known = [name for name, made in logging.Logger.manager.loggerDict.items() if isinstance(made, logging.Logger)]
        assert [name for name in known if name.split(".")[0] in libraries and name not in LOGGERS] == []
        assert picows.PICOWS_DEBUG_LL == 9 and "aiohttp.client" in known and sys.modules["asyncio"]
