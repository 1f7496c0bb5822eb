"""What the transport decides without a socket, and the transport that has none."""

import asyncio
import functools
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from picows import WSHandshakeError

from infrastructure.errors import ConnectFailed, HandshakeDeferred, HandshakeRefused, SecurityFailed
from infrastructure.networking.retry_after import retry_after_s
from infrastructure.networking.websocket.fake_transport import Attempt, FakeTransport, FakeVenue
from infrastructure.networking.websocket.link import Connect, Loss, LossCause
from infrastructure.networking.websocket.settings import TransportSettings
from infrastructure.networking.websocket.transport import close_payload, connect, excerpt, may_be_sent, refusal
from tests.harness.virtual_loop import VirtualLoop, run_virtual

NOW_NS = 1_700_000_000 * 10**9  # Tue, 14 Nov 2023 22:13:20 GMT


class TestRetryAfter:
    @pytest.mark.parametrize(
        "value, wait_s",
        [
            ("0", 0.0),
            ("3", 3.0),
            (" 120 ", 120.0),
            ("999999999", 999_999_999.0),
            ("Tue, 14 Nov 2023 22:13:30 GMT", 10.0),
            ("Tuesday, 14-Nov-23 22:13:30 GMT", 10.0),
            ("Tue Nov 14 22:13:30 2023", 10.0),
            ("Tue, 14 Nov 2023 22:13:30 -0000", 10.0),
            ("Tue, 14 Nov 2023 23:13:30 +0100", 10.0),
            ("Tue, 14 Nov 2023 22:13:10 GMT", 0.0),
            ("", None),
            ("-1", None),
            ("1.5", None),
            ("1e3", None),
            ("٣", None),
            ("9" * 400, None),
            ("soon", None),
            ("Tue, 14 Nov 99999 22:13:30 GMT", None),
        ],
    )
    def test_seconds_or_a_date(self, value: str, wait_s: float | None) -> None:
        assert retry_after_s(value, NOW_NS) == wait_s

    def test_a_date_without_a_zone_is_not_of_the_zone_we_are_in(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with monkeypatch.context() as patched:
            patched.setenv("TZ", "Asia/Tokyo")
            time.tzset()
            assert retry_after_s("Tue, 14 Nov 2023 22:13:30 -0000", NOW_NS) == 10.0
        time.tzset()


class TestExcerpt:
    def test_at_most_200_characters_that_can_be_printed(self) -> None:
        assert excerpt("a\x00b\x1b[31m c\r\n\td\u202e", ()) == "a b [31m c d"
        assert excerpt("x" * 1000, ()) == "x" * 200

    def test_secrets_are_blacked_out_before_it_is_cut(self) -> None:
        assert excerpt("x" * 196 + "secret-99 and more", ["secret-9", "secret-99"]) == "x" * 196 + "*** "
        assert excerpt("key=secret-99&a=b", ["secret-9", "secret-99"]) == "key=***&a=b"


class TestRefusal:
    def refused(self, head: bytes, body: bytes = b"", text: str = "cannot upgrade") -> HandshakeRefused:
        return refusal("wss://venue/ws", WSHandshakeError(text, head, body), (), NOW_NS)

    @pytest.mark.parametrize("status", [200, 403, 418, 429, 500, 502, 503, 504, 521, 599, 999])
    def test_for_now(self, status: int) -> None:
        error = self.refused(b"HTTP/1.1 %d Words" % status, b"body")
        assert type(error) is HandshakeDeferred and (error.status, error.retry_after_s) == (status, None)
        assert str(error) == f"cannot connect to wss://venue/ws: HTTP {status} body"

    @pytest.mark.parametrize("status", [100, 201, 204, 301, 302, 307, 400, 401, 404, 410, 426, 451])
    def test_for_good(self, status: int) -> None:
        error = self.refused(b"HTTP/1.1 %d Words\r\nRetry-After: 3" % status)
        assert type(error) is HandshakeRefused and error.status == status

    def test_a_wait_in_whatever_case(self) -> None:
        error = self.refused(b"HTTP/1.1 429 Too Many\r\nX-Retry-After: 9\r\nRETRY-AFTER:\t7 \r\nServer: x")
        assert isinstance(error, HandshakeDeferred) and error.retry_after_s == 7.0

    @pytest.mark.parametrize("head", [b"", b"SSH-2.0", b"HTTP/1.1", b"HTTP/1.1 OK", b"HTTP/1.1 20", b"HTTP/1.1 2000", b"\xff"])
    def test_what_is_no_http(self, head: bytes) -> None:
        error = self.refused(head, text="no HTTP: \x00")
        assert type(error) is HandshakeDeferred and error.status is None and error.reason == "no HTTP:"


class TestCloseFrames:
    def test_codes_that_may_be_sent(self) -> None:
        allowed = [code for code in range(0x10000) if may_be_sent(code)]
        assert allowed == [1000, 1001, 1002, 1003, *range(1007, 1015), *range(3000, 5000)]

    def test_what_it_holds(self) -> None:
        assert close_payload(None) == b""
        assert close_payload(1000, "bye") == b"\x03\xe8bye"
        assert close_payload(1000, "a" + "ß" * 100) == b"\x03\xe8a" + "ß".encode() * 61
        assert close_payload(1000, "\ud800") == b"\x03\xe8?"


class User:
    """What a fake transport's user was told."""

    def __init__(self) -> None:
        self.messages: list[tuple[bytes, int]] = []
        self.losses: list[Loss] = []

    async def open(self, venue: FakeVenue, url: str = "wss://venue/ws", **more: Any) -> FakeTransport:
        """Connect to ``venue``."""
        return await venue(url, self.on_frame, self.losses.append, settings=TransportSettings(), clock=loop().clock, **more)

    def on_frame(self, message: bytes, received_ns: int) -> None:
        """Told of a message."""
        self.messages.append((message, received_ns - loop().clock.offset_ns))


def loop() -> VirtualLoop:
    running = asyncio.get_running_loop()
    assert isinstance(running, VirtualLoop)
    return running


def virtually(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an ``async`` test in virtual time."""

    @functools.wraps(test)
    def run(self: Any) -> None:
        run_virtual(1, test(self))

    return run


#: Both are what a connection needs: read by the type checker.
CONNECTS: tuple[Connect, ...] = (connect, FakeVenue())


class TestFakeVenue:
    @virtually
    async def test_it_keeps_each_attempt_and_refuses_those_it_is_told_to(self) -> None:
        venue, user = FakeVenue(), User()
        errors = [ConnectFailed("wss://venue/ws", "down"), SecurityFailed("wss://venue/ws", "expired")]
        venue.refuse(*errors)
        for error in errors:
            with pytest.raises(ConnectFailed) as caught:
                await user.open(venue, headers={"X-Key": "a"})
            assert caught.value is error
            await asyncio.sleep(5)
        transport = await user.open(venue, "wss://other/ws")
        assert venue.transports == [transport] and transport.is_open
        first = Attempt("wss://venue/ws", {"X-Key": "a"}, 0.0)
        assert venue.attempts == [first, Attempt("wss://venue/ws", {"X-Key": "a"}, 5.0), Attempt("wss://other/ws", {}, 10.0)]

    @virtually
    async def test_what_it_delivers_comes_at_its_time_and_what_it_is_sent_is_answered(self) -> None:
        user = User()
        transport = await user.open(FakeVenue(lambda text: [f"{text} back", b"\x00"]))
        await asyncio.sleep(3)
        transport.deliver("größe")
        transport.send("hello")
        assert transport.sent == ["hello"] and len(user.messages) == 1
        await asyncio.sleep(1)
        assert user.messages == [("größe".encode(), 3 * 10**9), (b"hello back", 3 * 10**9), (b"\x00", 3 * 10**9)]

    @virtually
    async def test_a_pause_holds_back_what_comes_and_the_end_too(self) -> None:
        user = User()
        transport = await user.open(FakeVenue())
        transport.pause()
        transport.deliver(b"1")
        transport.deliver(b"2")
        transport.lose(Loss(LossCause.RESET))
        transport.deliver(b"3")
        assert transport.is_open and transport.is_paused and user.messages == []
        transport.resume()
        assert [message for message, _ in user.messages] == [b"1", b"2"]
        assert user.losses == [Loss(LossCause.RESET)] == [transport.loss] and not transport.is_open

    @virtually
    async def test_what_is_delivered_meanwhile_does_not_overtake(self) -> None:
        user, seen = User(), list[bytes]()

        def on_frame(message: bytes, received_ns: int) -> None:
            if message == b"1":
                transport.deliver(b"3")
                transport.pause()
            seen.append(message)

        user.on_frame = on_frame  # type: ignore[method-assign]
        transport = await user.open(FakeVenue())
        transport.pause()
        transport.deliver(b"1")
        transport.deliver(b"2")
        transport.resume()
        assert seen == [b"1"]
        transport.resume()
        assert seen == [b"1", b"2", b"3"]

    @virtually
    async def test_what_may_not_be_read_ends_it_and_what_may_is_told_as_work(self) -> None:
        user, may_read, worked = User(), [True, False], list[int]()

        def on_frame(message: bytes, received_ns: int) -> None:
            user.messages.append((message, received_ns))
            loop().block(2.5)

        user.on_frame = on_frame  # type: ignore[method-assign]
        transport = await user.open(FakeVenue(), may_read=lambda: may_read.pop(0), worked=worked.append)
        transport.deliver(b"1")
        assert worked == [2_500_000_000]
        transport.deliver(b"2")
        transport.deliver(b"3")
        await asyncio.sleep(0)
        assert [message for message, _ in user.messages] == [b"1"] and may_read == []
        assert user.losses == [Loss(LossCause.ASLEEP)] and worked == [2_500_000_000]

    @virtually
    async def test_it_ends_once(self) -> None:
        user = User()
        transport = await user.open(FakeVenue())
        closing = asyncio.gather(transport.close(4000, "bye"), transport.close())
        await asyncio.sleep(0)
        transport.deliver(b"too late")
        transport.abort()
        await closing
        await transport.close()
        transport.lose(Loss(LossCause.CUT))
        transport.send("too late")
        assert user.losses == [Loss(LossCause.CLOSED_BY_US, 4000, "bye")]
        assert (user.messages, transport.sent) == ([], [])

    @virtually
    async def test_an_abort_is_told_soon(self) -> None:
        user = User()
        transport = await user.open(FakeVenue())
        transport.abort()
        assert user.losses == [] and not transport.is_open
        await asyncio.sleep(0)
        assert user.losses == [Loss(LossCause.CLOSED_BY_US)]
