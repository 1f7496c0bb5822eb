"""Faults of the network and of the peer, against the real transport over loopback sockets."""

import asyncio
import contextlib
import errno
import gc
import json
import logging
import os
import random
import socket
import ssl
import subprocess
import sys
import time
import weakref
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, NamedTuple

import pytest

from infrastructure.clock import Clock
from infrastructure.errors import ConnectFailed, HandshakeDeferred, HandshakeRefused, SecurityFailed, SettingsError
from infrastructure.networking.websocket.link import Loss, LossCause, Transport
from infrastructure.networking.websocket.settings import TransportSettings
from infrastructure.networking.websocket.transport import Address, Resolve, connect
from tests.harness import bare_server, canary
from tests.harness.bare_server import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    BareServer,
    Certificates,
    Handled,
    Line,
    Peer,
    Script,
    Sent,
    answer,
    close,
    frame,
    more,
    on_loopback,
    run_on,
    silent,
    text,
    upgrade,
)
from tests.harness.effort import effort

REAL = ("asyncio", "uvloop")
LOOP = pytest.mark.parametrize("loop", REAL)
#: Where each loop and TLS have been seen to do the same: each loop once, and TLS once.
PAIRED = pytest.mark.parametrize("loop, tls", [("asyncio", False), ("uvloop", True)], ids=["asyncio-plain", "uvloop-tls"])
TLS = pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
CAP = 10_000


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def way(tls: bool, certificates: Certificates) -> dict[str, Any]:
    """How to serve and how to connect, with and without TLS."""
    return {"tls": certificates.server(), "trust": certificates.client()} if tls else {}


@contextlib.asynccontextmanager
async def joined(
    script: Script, *, tls: ssl.SSLContext | None = None, trust: ssl.SSLContext | None = None, clock: Clock | None = None, **settings: Any
) -> AsyncIterator[Line]:
    """A line to a server that runs ``script``."""
    async with BareServer(script, tls=tls) as server:
        line = await Line(clock).open(server, trust=trust, **settings)
        yield line
        line.transport.abort()
        await line.lost()


def sending(*data: bytes) -> Script:
    """Accept, send this at once, and wait for the client's end."""

    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.send(*data)
        await peer.gone()

    return script


def fate(*data: bytes, **settings: Any) -> tuple[list[bytes], Loss]:
    """What the client received of a server that sends this, and how it ended."""

    async def main() -> tuple[list[bytes], Loss]:
        async with joined(sending(*data), **settings) as line:
            return line.messages, await line.lost()

    return run_on("jumping", main())


class TestSleep:
    @LOOP
    @TLS
    def test_t2_what_may_not_be_read_ends_it_and_is_not_handed_on(self, loop: str, way: dict[str, Any]) -> None:
        """And what may be read is told as work once it has been handled."""

        async def script(peer: Peer) -> None:
            await peer.accept()
            await peer.send(text(b"1"))
            await peer.frame()
            await peer.send(*(text(b"%d" % number) for number in range(2, 40)))
            await peer.gone()

        async def main() -> None:
            line, worked, slept = Line(), list[int](), False
            async with BareServer(script, tls=way.get("tls")) as server:
                line.transport = await connect(
                    server.url,
                    line.on_frame,
                    line.on_loss,
                    settings=TransportSettings(),
                    clock=line.clock,
                    ssl_context=way.get("trust"),
                    may_read=lambda: not slept,
                    worked=worked.append,
                    resolve=on_loopback,
                )
                assert await line.received(1) == [b"1"]
                reads, slept = len(worked), True
                line.transport.send("go on")
                assert await line.lost() == Loss(LossCause.ASLEEP)
                assert (line.messages, len(worked)) == ([b"1"], reads) and all(took_ns >= 0 for took_ns in worked)

        run_on(loop, main())


class TestTraffic:
    @LOOP
    @TLS
    def test_whole_messages_come_in_order_whatever_they_are_made_of(self, loop: str, way: dict[str, Any]) -> None:
        async def script(peer: Peer) -> None:
            await peer.accept(text(b"with the answer"), text(b"to the hand"))
            await peer.send(text(b"text"), frame(BINARY, b"\x00\xff"), text(b"\xff not UTF-8"), text(b""))
            await peer.send(text(b"in ", fin=False), frame(PING, b"!"), more(b"three "), frame(PONG), more(b"parts", fin=True))
            assert await peer.frame() == Sent(PONG, b"!")
            assert await peer.frame() == Sent(TEXT, "größe".encode())
            await peer.send(text(b"last"))
            await peer.gone()

        async def main() -> None:
            async with joined(script, **way) as line:
                assert line.transport.is_open
                line.transport.send("größe")
                expected = [b"with the answer", b"to the hand", b"text", b"\x00\xff", b"\xff not UTF-8", b"", b"in three parts", b"last"]
                assert await line.received(len(expected)) == expected

        run_on(loop, main())

    @LOOP
    @TLS
    def test_messages_of_one_read_carry_its_time(self, loop: str, way: dict[str, Any]) -> None:
        async def script(peer: Peer) -> None:
            await peer.accept(text(b"0"))
            await peer.frame()
            await peer.send(*(text(b"%d" % number) for number in range(1, 40)))
            await peer.frame()
            await peer.send(text(b"40"), text(b"41"))
            await peer.gone()

        class Slow(Line):
            def on_frame(self, message: bytes, received_ns: int) -> None:
                super().on_frame(message, received_ns)
                time.sleep(0.001)

        async def main() -> list[int]:
            async with BareServer(script, tls=way.get("tls")) as server:
                line = await Slow().open(server, trust=way.get("trust"))
                for count in (1, 40, 42):
                    await line.received(count)
                    line.transport.send("go on")
                line.transport.abort()
                await line.lost()
            return line.stamps

        before = time.time_ns()
        stamps = run_on(loop, main())
        after = time.time_ns()
        assert len(stamps) == 42
        assert len(set(stamps[1:40])) == 1 and len(set(stamps[40:])) == 1
        assert before - 10**9 < stamps[0] < stamps[1] < stamps[40] < after

    @TLS
    def test_one_byte_at_a_time(self, way: dict[str, Any]) -> None:
        async def script(peer: Peer) -> None:
            stream = (
                upgrade(await peer.asked())
                + text(b"first")
                + text(b"a", fin=False)
                + frame(PING, b"?")
                + more(b"b", fin=True)
                + close(1001)
            )
            for byte in stream:
                await peer.send(bytes([byte]))
                await asyncio.sleep(0.01)
            assert await peer.frame() == Sent(PONG, b"?")
            assert await peer.closing() == (1001, "")

        async def main() -> None:
            async with joined(script, **way) as line:
                assert await line.lost() == Loss(LossCause.CLOSED_BY_VENUE, 1001)
                assert line.messages == [b"first", b"ab"]

        run_on("jumping", main())

    def test_jitter_loses_nothing(self) -> None:
        chance = random.Random(1)
        count = 1000

        async def script(peer: Peer) -> None:
            await peer.accept()
            stream = b"".join(text(b"%d" % number) for number in range(count))
            place = 0
            while place < len(stream):
                size = chance.randrange(1, 40)
                await peer.send(stream[place : place + size])
                place += size
                await asyncio.sleep(chance.uniform(0, 0.3))
            await peer.gone()

        async def main() -> None:
            async with joined(script, ping_interval_s=1, ping_timeout_s=1, frame_timeout_s=1) as line:
                while len(line.messages) < count:
                    await asyncio.sleep(1)
                    assert line.loss is None
                assert line.messages == [b"%d" % number for number in range(count)]

        run_on("jumping", main())

    def test_what_is_sent_after_the_end_is_dropped(self) -> None:
        async def main() -> None:
            async with joined(sending(close(1000))) as line:
                await line.lost()
                line.transport.send("too late")
                line.transport.pause()
                line.transport.resume()
                line.transport.abort()
                await line.transport.close()

        run_on("jumping", main())

    @LOOP
    @TLS
    def test_paused_it_reads_no_more_and_resumed_it_reads_on(self, loop: str, way: dict[str, Any]) -> None:
        async def script(peer: Peer) -> None:
            await peer.accept()
            number = 0
            with contextlib.suppress(ConnectionError):
                while True:
                    await peer.send(*(text(b"%06d" % (number + step)) for step in range(1000)))
                    number += 1000

        async def main() -> None:
            async with joined(script, **way) as line:
                await line.received(5000)
                line.transport.pause()
                line.transport.pause()
                await asyncio.sleep(0)
                count = len(line.messages)
                await asyncio.sleep(0.05)
                assert len(line.messages) == count
                line.transport.resume()
                line.transport.resume()
                await line.received(count + 5000)
                assert line.messages == [b"%06d" % number for number in range(len(line.messages))]
                assert len(line.messages) >= count + 5000

        run_on(loop, main())


class TestRoundTrip:
    @LOOP
    @TLS
    def test_it_is_over_when_everything_sent_before_the_answer_has_been_read(self, loop: str, way: dict[str, Any]) -> None:
        async def script(peer: Peer) -> None:
            await peer.accept()
            for number in range(2):
                asked = await peer.frame()
                assert asked.opcode == PING
                await peer.send(text(b"%d" % number), frame(PONG, b"nobody asked"), text(b"more"), frame(PONG, asked.payload))
            await peer.gone()

        async def main() -> None:
            async with joined(script, **way) as line:
                for number in range(2):
                    line.messages.clear()
                    assert await line.transport.round_trip()
                    assert line.messages == [b"%d" % number, b"more"]
                await line.transport.close()
                assert not await line.transport.round_trip()

        run_on(loop, main())

    def test_an_end_without_an_answer_is_no_round_trip(self) -> None:
        async def script(peer: Peer) -> None:
            await peer.accept()
            await peer.frame()
            peer.reset()

        async def main() -> None:
            async with joined(script) as line:
                assert not await line.transport.round_trip()

        run_on("jumping", main())

    def test_whoever_waits_no_longer_leaves_nothing_behind(self) -> None:
        async def main() -> None:
            async with joined(sending()) as line:
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(1):
                        await line.transport.round_trip()
                await line.transport.close()

        run_on("jumping", main())

    def test_an_answer_to_the_latest_of_several_pings_is_one_to_those_before(self) -> None:
        async def script(peer: Peer) -> None:
            await peer.accept()
            pings = [await peer.frame() for _ in range(3)]  # The last is that of the watch, 10 s later.
            await peer.send(frame(PONG, pings[-1].payload))
            await peer.gone()

        async def main() -> None:
            async with joined(script, **limits()) as line:
                begun = asyncio.get_running_loop().time()
                assert all(await asyncio.gather(line.transport.round_trip(), line.transport.round_trip()))
                assert asyncio.get_running_loop().time() - begun > 9.9
                await line.transport.close()

        run_on("jumping", main())


class TestTheEnd:
    @LOOP
    @TLS
    def test_a_reset_in_the_middle_of_a_frame(self, loop: str, way: dict[str, Any]) -> None:
        async def script(peer: Peer) -> None:
            await peer.accept()
            await peer.send(text(b"whole"), text(b"half")[:-2])
            await peer.frame()
            peer.reset()

        async def main() -> None:
            async with joined(script, **way) as line:
                await line.received(1)
                line.transport.send("now")
                loss = await line.lost()
                assert (loss.cause, loss.code) == (LossCause.RESET, None)
                assert line.messages == [b"whole"]

        run_on(loop, main())

    @LOOP
    @TLS
    @pytest.mark.parametrize("rest", [b"", text(b"half")[:-2], text(b"part", fin=False)], ids=["between", "in-frame", "in-message"])
    def test_an_end_without_a_close_frame(self, loop: str, way: dict[str, Any], rest: bytes) -> None:
        async def script(peer: Peer) -> None:
            await peer.accept()
            await peer.send(text(b"whole"), rest)
            peer.end()

        async def main() -> None:
            async with joined(script, **way) as line:
                assert await line.lost() == Loss(LossCause.CUT)
                assert line.messages == [b"whole"]

        run_on(loop, main())

    @PAIRED
    @pytest.mark.parametrize("code", [1000, 1001, 1008, 1012, 1013, 3000, 4001, 4999])
    def test_the_venue_closes(self, loop: str, way: dict[str, Any], code: int) -> None:
        async def script(peer: Peer) -> None:
            await peer.accept()
            await peer.send(text(b"before"), close(code, b"wegen\n\x1b[mWartung"), text(b"after"))
            assert await peer.closing() == (code, "")
            assert await peer.gone() == b""

        async def main() -> None:
            async with joined(script, **way) as line:
                assert await line.lost() == Loss(LossCause.CLOSED_BY_VENUE, code, "wegen [mWartung")
                assert line.messages == [b"before"]

        run_on(loop, main())

    def test_a_close_without_a_code_is_answered_without_one(self) -> None:
        async def script(peer: Peer) -> None:
            await peer.accept()
            await peer.send(close())
            assert await peer.closing() == (None, "")

        async def main() -> None:
            async with joined(script) as line:
                assert await line.lost() == Loss(LossCause.CLOSED_BY_VENUE, 1005)

        run_on("jumping", main())

    @pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535])
    def test_a_close_code_that_must_not_be_sent(self, code: int) -> None:
        _, loss = fate(close(code))
        assert (loss.cause, loss.code) == (LossCause.PROTOCOL, 1002)

    @TLS
    @pytest.mark.parametrize("is_deaf", [False, True])
    @pytest.mark.parametrize(
        "last",
        [close(1001), frame(0x3), frame(TEXT, rsv=4), close(1001) + frame(0x3)],
        ids=["close", "nonsense", "violation", "close and nonsense"],
    )
    def test_a_peer_that_does_not_part_is_left(self, way: dict[str, Any], last: bytes, is_deaf: bool) -> None:
        async def script(peer: Peer) -> None:
            await peer.accept()
            peer.freeze()
            await asyncio.sleep(1)
            await peer.send(last)
            await asyncio.sleep(3600)

        async def main() -> None:
            loop = asyncio.get_running_loop()
            async with joined(script, close_timeout_s=2, ping_interval_s=0.3, **way) as line:
                begun = loop.time()
                if is_deaf:
                    line.transport.send("x" * 20_000_000)  # more than the kernel takes
                loss = await line.lost()
                assert loss.code in (1001, 1002)
                assert line.lost_at - begun <= 3.02

        run_on("jumping", main())

    @LOOP
    @TLS
    def test_we_close(self, loop: str, way: dict[str, Any]) -> None:
        async def script(peer: Peer) -> None:
            await peer.accept()
            assert await peer.closing() == (1001, "bye")
            await peer.send(text(b"crossed it"), close(1001))
            assert await peer.gone() == b""

        async def main() -> None:
            async with joined(script, **way) as line:
                await asyncio.gather(line.transport.close(1001, "bye"), line.transport.close())
                assert await line.lost() == Loss(LossCause.CLOSED_BY_US, 1001, "bye")
                assert line.messages == []
                await line.transport.close()

        run_on(loop, main())

    @TLS
    @pytest.mark.parametrize("is_paused", [False, True])
    @pytest.mark.parametrize("is_frozen", [False, True])
    def test_our_close_ends_with_the_answer_to_it(self, way: dict[str, Any], is_paused: bool, is_frozen: bool) -> None:
        async def script(peer: Peer) -> None:
            await peer.accept()
            await peer.closing()
            await asyncio.sleep(1.5)
            await peer.send(text(b"crossed it"), close(1000))
            if is_frozen:
                peer.freeze()
                await asyncio.sleep(3600)
            await peer.gone()

        async def main() -> None:
            async with joined(script, close_timeout_s=2, **way) as line:
                begun = asyncio.get_running_loop().time()
                if is_paused:
                    line.transport.pause()
                await line.transport.close()
                assert 1.49 < line.lost_at - begun < (2.01 if is_frozen else 1.6)

        run_on("jumping", main())

    @TLS
    @pytest.mark.parametrize("is_flooding", [False, True])
    @pytest.mark.parametrize("is_paused", [False, True])
    def test_our_close_is_not_answered(self, way: dict[str, Any], is_flooding: bool, is_paused: bool) -> None:
        async def script(peer: Peer) -> None:
            await peer.accept()
            while True:
                if is_flooding:
                    await peer.send(*(text(b"data") for _ in range(1000)))
                await asyncio.sleep(0.1)

        async def main() -> None:
            loop = asyncio.get_running_loop()
            async with joined(script, close_timeout_s=2, **way) as line:
                await asyncio.sleep(1)
                if is_paused:
                    line.transport.pause()
                begun, count = loop.time(), len(line.messages)
                closing = asyncio.ensure_future(line.transport.close())
                await asyncio.sleep(1)
                closing.cancel()  # whoever waits may stop to; the end comes all the same
                assert await line.lost() == Loss(LossCause.CLOSED_BY_US, 1000)
                assert 1.99 <= line.lost_at - begun <= 2.01
                assert len(line.messages) == count

        run_on("jumping", main())

    def test_a_close_answered_with_nonsense_ends_too(self) -> None:
        async def script(peer: Peer) -> None:
            await peer.accept()
            await peer.closing()
            await peer.send(frame(0x3, b"?"))
            await peer.gone()

        async def main() -> None:
            async with joined(script) as line:
                begun = asyncio.get_running_loop().time()
                await line.transport.close(1000)
                assert line.loss == Loss(LossCause.CLOSED_BY_US, 1000)
                assert line.lost_at - begun < 1

        run_on("jumping", main())

    def test_our_reason_is_cut_to_what_fits(self) -> None:
        async def script(peer: Peer) -> None:
            await peer.accept()
            assert await peer.closing() == (4000, "ß" * 61)
            await peer.send(close(4000))

        async def main() -> None:
            async with joined(script) as line:
                await line.transport.close(4000, "ß" * 500)

        run_on("jumping", main())

    @LOOP
    @TLS
    def test_abort(self, loop: str, way: dict[str, Any]) -> None:
        async def main() -> None:
            async with joined(silent, **way) as line:
                line.transport.abort()
                assert not line.transport.is_open
                line.transport.abort()
                assert await line.lost() == Loss(LossCause.CLOSED_BY_US)

        run_on(loop, main())


#: What breaks the protocol, and the code we close with.
BROKEN: dict[str, tuple[bytes, int]] = {
    "reserved bit 1": (frame(TEXT, b"x", rsv=4), 1002),
    "reserved bit 2": (frame(TEXT, b"x", rsv=2), 1002),
    "reserved bit 3": (frame(BINARY, b"x", rsv=1), 1002),
    "reserved bit of a continuation": (text(b"a", fin=False) + frame(CONTINUATION, b"b", rsv=4), 1002),
    "reserved bit of a ping": (frame(PING, rsv=4), 1002),
    "reserved bit of a pong": (frame(PONG, rsv=4), 1002),
    "reserved bit of a close": (frame(CLOSE, rsv=4), 1002),
    "continuation of nothing": (more(b"x", fin=True), 1002),
    "continuation after the end": (text(b"a", fin=False) + more(b"b", fin=True) + more(b"c"), 1002),
    "text inside a message": (text(b"a", fin=False) + text(b"b"), 1002),
    "binary inside a message": (text(b"a", fin=False) + frame(BINARY, b"b"), 1002),
    "message begun inside a message": (text(b"a", fin=False) + text(b"b", fin=False), 1002),
    "unknown opcode": (frame(0x3), 1002),
    "unknown control opcode": (frame(0xB), 1002),
    "ping in parts": (frame(PING, fin=False), 1002),
    "long ping": (frame(PING, bytes(126)), 1002),
    "masked": (frame(TEXT, b"x", masked=True), 1002),
    "length with a sign": (frame(BINARY, length=1 << 63), 1002),
    "length of all ones": (frame(BINARY, length=(1 << 64) - 1), 1002),
    "length in too many bytes": (b"\x82\x7e\x00\x05hello", 1002),
    "close of one byte": (frame(CLOSE, b"\x03"), 1002),
    "close reason that is not UTF-8": (close(1000, b"\xff"), 1007),
    "frame over the cap": (frame(BINARY, length=CAP + 1), 1009),
    "frame far over the cap": (frame(BINARY, length=(1 << 63) - 1), 1009),
    "part over the cap": (frame(BINARY, fin=False, length=CAP + 1), 1009),
    "message over the cap": (text(bytes(CAP), fin=False) + more(b"x"), 1009),
    "message over the cap in small parts": (text(b"", fin=False) + more(b"ten bytes!") * (CAP // 10) + more(b"x", fin=True), 1009),
}


class TestBrokenProtocol:
    @pytest.mark.parametrize("name", BROKEN)
    @PAIRED
    def test_it_is_answered_with_its_code_and_ends(self, loop: str, way: dict[str, Any], name: str) -> None:
        data, code = BROKEN[name]

        async def script(peer: Peer) -> None:
            await peer.accept()
            await peer.send(text(b"before"), data, text(b"after"))
            answered, reason = await peer.closing()
            assert answered == code and reason
            assert await peer.gone() == b""

        async def main() -> None:
            async with joined(script, max_message_bytes=CAP, **way) as line:
                loss = await line.lost()
                assert (loss.cause, loss.code) == (LossCause.TOO_BIG if code == 1009 else LossCause.PROTOCOL, code)
                assert loss.reason
                assert [message for message in line.messages if message != b"ab"] == [b"before"]

        run_on(loop, main())

    @pytest.mark.parametrize("name", BROKEN)
    def test_with_the_answer_to_the_handshake(self, name: str) -> None:
        data, code = BROKEN[name]

        async def script(peer: Peer) -> None:
            await peer.accept(text(b"before"), data)
            assert (await peer.closing())[0] == code

        async def main() -> None:
            async with joined(script, max_message_bytes=CAP) as line:
                assert (await line.lost()).code == code

        run_on("jumping", main())

    def test_what_is_as_big_as_it_may_be(self) -> None:
        whole, half = bytes(CAP), bytes(CAP // 2)
        messages, loss = fate(frame(BINARY, whole), text(half, fin=False), more(half, fin=True), close(1000), max_message_bytes=CAP)
        assert messages == [whole, whole]
        assert loss.cause is LossCause.CLOSED_BY_VENUE

    @LOOP
    @TLS
    def test_what_still_comes_after_it_does_not_delay_the_end(self, loop: str, way: dict[str, Any]) -> None:
        async def script(peer: Peer) -> None:
            await peer.accept()
            with contextlib.suppress(ConnectionError):
                await peer.send(frame(0x3))
                while True:
                    await peer.send(bytes(100_000))

        async def main() -> None:
            async with joined(script, close_timeout_s=0.2, **way) as line:
                async with asyncio.timeout(2):
                    assert (await line.lost()).code == 1002

        run_on(loop, main())


def limits(**settings: float) -> dict[str, Any]:
    return {"ping_interval_s": 10, "ping_timeout_s": 5, "frame_timeout_s": 10} | settings


class TestLiveness:
    @TLS
    def test_a_frozen_peer_is_given_up_in_time(self, way: dict[str, Any]) -> None:
        chance = random.Random(7)
        last_sent: list[float] = []

        async def script(peer: Peer) -> None:
            await peer.accept()
            for _ in range(chance.randrange(4)):
                await asyncio.sleep(chance.uniform(0, 9))
                await peer.send(text(b"alive"))
            last_sent.append(asyncio.get_running_loop().time())
            peer.freeze()
            await asyncio.sleep(3600)

        async def main() -> None:
            async with BareServer(script, tls=way.get("tls")) as server:
                lines = [await Line().open(server, trust=way.get("trust"), **limits()) for _ in range(50)]
                for line in lines:
                    assert await line.lost() == Loss(LossCause.PING_TIMEOUT)
                delays = [gone - sent for gone, sent in zip(sorted(line.lost_at for line in lines), sorted(last_sent), strict=True)]
                assert min(delays) > 14.9 and max(delays) < 15.01

        run_on("jumping", main())

    def test_a_silent_peer_is_pinged_and_kept_if_it_answers(self) -> None:
        pings: list[float] = []

        async def script(peer: Peer) -> None:
            await peer.accept()
            while (sent := await peer.frame()).opcode == PING:
                pings.append(asyncio.get_running_loop().time())
                await asyncio.sleep(4.9)
                await peer.send(frame(PONG, sent.payload))

        async def main() -> None:
            async with joined(script, **limits()) as line:
                begun = asyncio.get_running_loop().time()
                await asyncio.sleep(1800)
                assert line.loss is None
                gaps = [later - earlier for earlier, later in zip([begun, *pings], pings, strict=False)]
                assert 120 <= len(pings) <= 122 and min(gaps) > 9.9 and max(gaps) < 15.1
                await line.transport.close()

        run_on("jumping", main())

    @pytest.mark.parametrize("sign", [frame(PING), frame(PONG), text(b"data"), text(bytes(100))[:1]], ids=["ping", "pong", "data", "byte"])
    def test_any_byte_is_a_sign_of_life(self, sign: bytes) -> None:
        async def script(peer: Peer) -> None:
            await peer.accept()
            for _ in range(9):
                await asyncio.sleep(14.9)
                await peer.send(sign if len(sign) > 1 else text(bytes(100))[_ : _ + 1])
            peer.freeze()
            await asyncio.sleep(3600)

        async def main() -> None:
            async with joined(script, **limits(frame_timeout_s=3000)) as line:
                assert (await line.lost()).cause is LossCause.PING_TIMEOUT
                assert 149 < line.lost_at < 150

        run_on("jumping", main())

    @TLS
    def test_pauses_do_not_count(self, way: dict[str, Any]) -> None:
        async def script(peer: Peer) -> None:
            await peer.accept()
            await asyncio.sleep(0.01)
            await peer.send(text(b"begun")[:-1])
            peer.freeze()
            await asyncio.sleep(36_000)

        async def main(first_s: float, **settings: float) -> tuple[Loss, float]:
            async with joined(script, **limits(**settings), **way) as line:
                await asyncio.sleep(first_s)
                for _ in range(2):
                    line.transport.pause()
                    await asyncio.sleep(1800)
                assert line.loss is None
                line.transport.resume()
                return await line.lost(), line.lost_at

        loss, at = run_on("jumping", main(9, frame_timeout_s=100))
        assert loss == Loss(LossCause.PING_TIMEOUT) and 3614.9 < at < 3615.1
        loss, at = run_on("jumping", main(12, frame_timeout_s=100))
        assert loss == Loss(LossCause.PING_TIMEOUT) and 3614.9 < at < 3615.1
        loss, at = run_on("jumping", main(8, frame_timeout_s=9))
        assert loss == Loss(LossCause.FRAME_TIMEOUT) and 3608.9 < at < 3609.1

    @LOOP
    @pytest.mark.parametrize("first, rest", [(b"", frame(PONG)), (text(b"half")[:2], text(b"half")[2:])], ids=["ping", "frame"])
    def test_an_event_loop_that_was_held_up_blames_nobody(self, loop: str, first: bytes, rest: bytes) -> None:
        held: list[bool] = []
        server = holding = BareServer(silent)

        async def script(peer: Peer) -> None:
            await peer.accept()
            await asyncio.sleep(0.01)
            await peer.send(first)
            if first:
                await asyncio.sleep(0.02)
            else:
                await peer.frame()  # the ping
            await holding.peers[0].send(text(b"hold up"))
            await peer.gone()

        class Holding(Line):
            def on_frame(self, message: bytes, received_ns: int) -> None:
                # As a callback that takes long; in the meantime the answer arrives, and waits in the kernel.
                os.write(server.peers[0].writer.get_extra_info("socket").fileno(), rest)
                time.sleep(0.5)
                held.append(True)

        async def main() -> None:
            nonlocal server, holding
            times: dict[str, Any] = {"ping_interval_s": 10 if first else 0.05, "ping_timeout_s": 0.4, "frame_timeout_s": 0.4}
            async with BareServer(silent) as holding, BareServer(script) as server:
                lines = [await Holding().open(holding), await Line().open(server, **times)]
                while not held:
                    await asyncio.sleep(0.01)
                await asyncio.sleep(0.02)
                await lines[1].received(1 if first else 0)
                for line in lines:
                    assert line.loss is None
                    line.transport.abort()
                    await line.lost()

        run_on(loop, main())

    @TLS
    def test_a_frame_that_drips_is_given_up_in_time(self, way: dict[str, Any]) -> None:
        async def script(peer: Peer) -> None:
            await peer.accept()
            await peer.send(text(b"whole"))
            await asyncio.sleep(7)
            for byte in text(bytes(100)):
                await peer.send(bytes([byte]))
                await asyncio.sleep(1)

        async def main() -> None:
            async with joined(script, **limits(), **way) as line:
                assert await line.lost() == Loss(LossCause.FRAME_TIMEOUT)
                assert 16.9 < line.lost_at < 17.1
                assert line.messages == [b"whole"]

        run_on("jumping", main())

    def test_a_message_that_is_never_finished_is_given_up_in_time(self) -> None:
        async def script(peer: Peer) -> None:
            await peer.accept()
            await peer.send(text(b"a", fin=False))
            while True:
                await asyncio.sleep(1)
                await peer.send(more(b"b"), frame(PING))

        async def main() -> None:
            async with joined(script, **limits()) as line:
                assert await line.lost() == Loss(LossCause.FRAME_TIMEOUT)
                assert 9.9 < line.lost_at < 10.1

        run_on("jumping", main())

    @LOOP
    def test_a_message_of_endless_empty_parts_is_given_up_too(self, loop: str) -> None:
        async def script(peer: Peer) -> None:
            await peer.accept()
            await peer.send(text(b"a", fin=False))
            with contextlib.suppress(ConnectionError):
                while True:
                    await peer.send(more(b"") * 60_000)

        async def main() -> None:
            async with joined(script, frame_timeout_s=0.1) as line:
                assert await line.lost() == Loss(LossCause.FRAME_TIMEOUT)

        run_on(loop, main())

    def test_reads_that_each_end_within_a_frame_are_no_drip(self) -> None:
        async def script(peer: Peer) -> None:
            await peer.accept()
            stream = text(b"0123456789") * 100
            for place in range(0, len(stream), 7):
                await peer.send(stream[place : place + 7])
                await asyncio.sleep(2)
            await peer.gone()

        async def main() -> None:
            async with joined(script, **limits()) as line:
                await asyncio.sleep(350)
                assert line.loss is None and len(line.messages) == 100

        run_on("jumping", main())


@contextlib.contextmanager
def full_port() -> Iterator[Address]:
    """Where a connection is neither made nor refused: a listener whose queue is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            assert waiting.connect_ex(listener.getsockname()) in (0, errno.EINPROGRESS)
        time.sleep(0.01)
        yield socket.AF_INET, listener.getsockname()


@contextlib.contextmanager
def mute_port() -> Iterator[Address]:
    """Where connections are made by the kernel and nobody says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(10)
        yield socket.AF_INET, listener.getsockname()


def free_port() -> Address:
    """Where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return socket.AF_INET, taken.getsockname()


def resolving(*addresses: Address) -> Callable[[str, int], Awaitable[list[Address]]]:
    async def resolve(host: str, port: int) -> list[Address]:
        return list(addresses)

    return resolve


async def refused(*, url: str = "ws://localhost:1/stream", resolve: Any = on_loopback, trust: Any = None, **settings: Any) -> ConnectFailed:
    """The error that an attempt to connect gives; nothing may be called back, and nothing may be left."""
    line, tasks, sockets = Line(), asyncio.all_tasks(), open_sockets()
    with pytest.raises(ConnectFailed) as caught:
        await connect(
            url, line.on_frame, line.on_loss, settings=TransportSettings(**settings), clock=line.clock, ssl_context=trust, resolve=resolve
        )
    await settled(sockets, tasks)
    assert line.messages == [] and line.loss is None
    assert caught.value.address == url.partition("?")[0]
    return caught.value


async def settled(sockets: set[str], tasks: set[asyncio.Task[Any]]) -> None:
    """Both sides have closed what they had opened, and nothing runs that did not before."""
    for _ in range(1000):
        if open_sockets() <= sockets and asyncio.all_tasks() <= tasks:
            return
        await asyncio.sleep(0.002)
    assert (open_sockets() - sockets, asyncio.all_tasks() - tasks) == (set(), set())


def open_sockets() -> set[str]:
    """The sockets of this process that something may still come of."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found.add(os.readlink(f"/proc/self/fd/{number}"))
    return {target for target in found if target.startswith("socket:")}


class TestOpening:
    @LOOP
    def test_an_address_that_does_not_answer_does_not_eat_the_time_of_the_next(self, loop: str) -> None:
        async def main() -> None:
            with full_port() as full, mute_port() as mute:
                async with BareServer(sending(text(b"hello"))) as server:
                    begun = time.monotonic()
                    line = await Line().open(server, resolve=resolving(full, mute, free_port(), server.address), open_timeout_s=0.8)
                    assert time.monotonic() - begun < 0.8
                    assert await line.received(1) == [b"hello"]
                    line.transport.abort()
                    await line.lost()

        run_on(loop, main())

    @LOOP
    @pytest.mark.parametrize("scheme", ["ws", "wss"])
    def test_no_address_answers(self, loop: str, scheme: str) -> None:
        async def main() -> None:
            with full_port() as full, mute_port() as mute:
                begun = time.monotonic()
                resolve = resolving(full, mute, mute)
                error = await refused(url=f"{scheme}://localhost:1/stream", resolve=resolve, open_timeout_s=0.3)
                assert 0.29 < time.monotonic() - begun < 2
                assert type(error) is ConnectFailed and error.reason.count("no answer within") == 3

        run_on(loop, main())

    @LOOP
    def test_nobody_listens(self, loop: str) -> None:
        async def main() -> None:
            error = await refused(resolve=resolving(free_port(), free_port()))
            assert type(error) is ConnectFailed and error.reason.count("refused") == 2

        run_on(loop, main())

    def test_names(self) -> None:
        asked: list[tuple[str, int]] = []

        async def unknown(host: str, port: int) -> list[Address]:
            asked.append((host, port))
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        async def hanging(host: str, port: int) -> list[Address]:
            await asyncio.sleep(3600)
            return []

        async def main() -> None:
            loop = asyncio.get_running_loop()
            for url, port in (("wss://example.invalid/a", 443), ("wss://example.invalid:8443/a", 8443)):
                error = await refused(url=url, resolve=unknown)
                assert "Name or service not known" in error.reason
                assert asked.pop() == ("example.invalid", port) and asked == []
            begun = loop.time()
            assert "in time" in (await refused(url="wss://example.invalid", resolve=hanging, open_timeout_s=3)).reason
            assert loop.time() - begun == 3
            assert "no address" in (await refused(url="wss://example.invalid", resolve=resolving())).reason

        run_on("jumping", main())

    @LOOP
    def test_names_are_looked_up_by_the_event_loop_unless_told_otherwise(self, loop: str) -> None:
        async def main() -> None:
            async with BareServer(silent) as server:
                line = await Line().open(server, resolve=None)
                line.transport.abort()
                await line.lost()
            error = await refused(url="wss://" + "a" * 64 + ".invalid", resolve=None)
            assert "looked up" in error.reason

        run_on(loop, main())

    @LOOP
    @TLS
    @pytest.mark.parametrize("how", ["at once", "after the request", "in the answer", "reset"])
    def test_the_connection_ends_before_the_handshake_does(self, loop: str, way: dict[str, Any], how: str) -> None:
        async def script(peer: Peer) -> None:
            if how != "at once":
                await peer.asked()
            if how == "in the answer":
                await peer.send(upgrade(peer.request)[:-3])
            if how == "reset":
                peer.reset()
            peer.end()

        async def main() -> None:
            async with BareServer(script, tls=way.get("tls")) as first, BareServer(sending(text(b"hello")), tls=way.get("tls")) as second:
                error = await refused(url=first.url, trust=way.get("trust"))
                assert type(error) is ConnectFailed and error.is_retryable
                line = await Line().open(first, resolve=resolving(first.address, second.address), trust=way.get("trust"))
                assert await line.received(1) == [b"hello"]
                line.transport.abort()
                await line.lost()

        run_on(loop, main())

    @LOOP
    @TLS
    @pytest.mark.parametrize("stage", ["name", "socket", "tls", "answer", "answered"])
    def test_whoever_gives_up_waiting_leaves_nothing_behind(self, loop: str, way: dict[str, Any], stage: str) -> None:
        reached = asyncio.Event()
        opening: asyncio.Future[Any]

        async def script(peer: Peer) -> None:
            await peer.asked()
            reached.set()
            if stage == "answered":
                await peer.send(upgrade(peer.request), text(b"data") * 200_000)
            await peer.gone()

        async def resolve(host: str, port: int) -> list[Address]:
            if stage == "name":
                reached.set()
                await asyncio.sleep(3600)
            return [dead] if stage in ("socket", "tls") else await on_loopback(host, port)

        class GivingUp(Line):
            def on_frame(self, message: bytes, received_ns: int) -> None:
                super().on_frame(message, received_ns)
                opening.cancel()

        async def main() -> None:
            nonlocal opening
            async with BareServer(script, tls=way.get("tls")) as server:
                line, sockets, tasks = GivingUp(), open_sockets(), asyncio.all_tasks()
                opening = asyncio.ensure_future(line.open(server, trust=way.get("trust"), resolve=resolve))
                if stage in ("socket", "tls"):
                    await asyncio.sleep(0.02)
                else:
                    await reached.wait()
                if stage != "answered":
                    opening.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await opening
                count = len(line.messages)
                await settled(sockets, tasks)
                assert line.loss is None and len(line.messages) == count

        with full_port() if stage == "socket" else mute_port() as dead:
            run_on(loop, main())

    @LOOP
    def test_an_answer_that_comes_as_we_give_up(self, loop: str) -> None:
        server = holding = BareServer(silent)

        async def script(peer: Peer) -> None:
            await peer.asked()
            await holding.peers[0].send(text(b"hold up"))
            await peer.gone()

        class Holding(Line):
            def on_frame(self, message: bytes, received_ns: int) -> None:
                peer = server.peers[0]
                os.write(peer.writer.get_extra_info("socket").fileno(), upgrade(peer.request) + text(b"late") * 50_000)
                time.sleep(0.5)

        async def main() -> None:
            nonlocal server, holding
            async with BareServer(silent) as holding, BareServer(script) as server:
                other, line = await Holding().open(holding), Line()
                try:
                    await line.open(server, open_timeout_s=0.4)
                except ConnectFailed:
                    count = len(line.messages)
                    await asyncio.sleep(0.05)
                    assert line.loss is None and len(line.messages) == count
                    assert loop != "asyncio"  # which reads before it looks at the time
                else:
                    assert len(await line.received(50_000)) == 50_000
                    line.transport.abort()
                    await line.lost()
                other.transport.abort()
                await other.lost()

        run_on(loop, main())

    def test_addresses_that_cannot_be_used(self) -> None:
        async def main() -> None:
            line = Line()
            for url, headers in (
                ("ws://example.com/", {}),
                ("http://localhost/", {}),
                ("wss://user:hunter22@localhost/", {}),
                ("wss://localhost/#part", {}),
                ("wss://localhost/a b", {}),
                ("wss://localhost/ä", {}),
                ("wss://localhost/", {"X-Key": "hunter22\n"}),
                ("wss://localhost/", {"X-Key\r\n": "a"}),
            ):
                with pytest.raises(SettingsError) as caught:
                    await connect(
                        url,
                        line.on_frame,
                        line.on_loss,
                        settings=TransportSettings(),
                        clock=line.clock,
                        headers=headers,
                        resolve=resolving(),
                    )
                assert "hunter22" not in str(caught.value)

        run_on("jumping", main())


class TestSecurity:
    @LOOP
    @pytest.mark.parametrize(
        "name, says", [("expired", "expired"), ("wrong-host", "localhost"), ("self-signed", "self-signed"), ("unknown", "issuer")]
    )
    def test_a_certificate_that_proves_nothing(self, loop: str, certificates: Certificates, name: str, says: str) -> None:
        async def main() -> None:
            tls = certificates.server("good" if name == "unknown" else name)
            trust = ssl.create_default_context() if name == "unknown" else certificates.client()
            async with BareServer(silent, tls=tls) as server:
                error = await refused(url=server.url, trust=trust)
                assert type(error) is SecurityFailed and not error.is_retryable
                assert says in error.reason
                assert server.peers == []

        run_on(loop, main())

    @LOOP
    def test_without_a_context_the_authorities_of_the_machine_are_asked(self, loop: str, certificates: Certificates) -> None:
        async def main() -> None:
            async with BareServer(silent, tls=certificates.server()) as server:
                assert type(await refused(url=server.url)) is SecurityFailed
                assert server.peers == []

        run_on(loop, main())

    @LOOP
    def test_an_old_tls(self, loop: str, certificates: Certificates) -> None:
        refusals: list[str | None] = []

        def serve(listener: socket.socket) -> None:
            # Blocking, because asyncio's server parts without the alert that tells why.
            sock, _ = listener.accept()
            with sock:
                try:
                    certificates.old_server().wrap_socket(sock, server_side=True)
                except ssl.SSLError as error:
                    refusals.append(error.reason)

        async def main() -> None:
            with socket.create_server(("127.0.0.1", 0)) as listener:
                serving = asyncio.get_running_loop().run_in_executor(None, serve, listener)
                url = f"wss://localhost:{listener.getsockname()[1]}/stream"
                error = await refused(url=url, trust=certificates.client())
                assert type(error) is SecurityFailed and "TLS" in error.reason
                await serving
            assert refusals == ["UNSUPPORTED_PROTOCOL"]

        run_on(loop, main())

    @LOOP
    def test_a_server_without_tls_hears_no_request(self, loop: str, certificates: Certificates) -> None:
        heard: list[bytes] = []

        async def script(peer: Peer) -> None:
            heard.append(await peer.reader.read(1 << 16))
            await peer.send(answer("400 Bad Request", b"speak HTTP"))
            peer.end()
            heard.append(await peer.gone())

        async def main() -> None:
            async with BareServer(script) as server:
                url = server.url.replace("ws:", "wss:") + "?listenKey=canary-1"
                error = await refused(url=url, trust=certificates.client())
                assert type(error) is SecurityFailed
                assert len(server.peers) == 1
            assert heard[0].startswith(b"\x16\x03") and b"GET" not in b"".join(heard) and b"canary" not in b"".join(heard)

        run_on(loop, main())

    @PAIRED
    @pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary Redirect", "308 Permanent Redirect"])
    def test_a_redirect_is_not_followed(self, loop: str, way: dict[str, Any], status: str) -> None:
        async def main() -> None:
            async with BareServer(silent) as other:

                async def script(peer: Peer) -> None:
                    await peer.asked()
                    await peer.send(answer(status, location=other.url))
                    await peer.gone()

                async with BareServer(script, tls=way.get("tls")) as server:
                    error = await refused(url=server.url, trust=way.get("trust"))
                    assert type(error) is HandshakeRefused and error.status == int(status[:3])
                    assert (len(server.peers), other.peers) == (1, [])

        run_on(loop, main())

    @LOOP
    def test_no_secret_is_shown_or_logged(self, loop: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
        secrets = ("canary-1", "canary%2F2", "canary-3")

        async def repeating(peer: Peer) -> None:
            await peer.asked()
            await peer.send(answer("403 Forbidden", b"canary/2 canary-3 " + peer.request))
            await peer.gone()

        async def breaking(peer: Peer) -> None:
            await peer.accept(frame(0x3))
            await peer.gone()

        async def main() -> str:
            shown = ""
            for script in (repeating, breaking):
                async with BareServer(script) as server:
                    line = Line()
                    try:
                        url = f"{server.url}?listenKey=canary-1&sign=canary%2F2"
                        await line.open(server, url=url, headers={"X-Key": "Bearer canary-3"})
                    except HandshakeDeferred as error:
                        shown += f"{error} {error!r}"
                    else:
                        shown += f"{line.transport!r} {await line.lost()}"
                    request = server.peers[0].request
                    assert all(secret.encode() in request for secret in secrets)
            return shown

        for name in (None, *logging.root.manager.loggerDict):
            caplog.set_level(1, name)
        shown = run_on(loop, main()) + caplog.text + "".join(capfd.readouterr())
        assert "403" in shown and "canary" not in shown and "picows" not in shown

    @LOOP
    @pytest.mark.parametrize("is_listening", [True, False])
    def test_a_traceback_shows_no_secret_even_with_the_values_of_its_frames(self, loop: str, is_listening: bool) -> None:
        async def refusing(peer: Peer) -> None:
            await peer.asked()
            await peer.send(answer("403 Forbidden", peer.request))
            await peer.gone()

        async def nowhere(host: str, port: int) -> list[Address]:
            raise OSError("no such name")

        async def opened(url: str, resolve: Resolve) -> Transport:
            clock, settings = Clock(), TransportSettings()
            headers = {"KEY": canary.KEY}
            return await connect(url, ignored, ignored, settings=settings, clock=clock, headers=headers, resolve=resolve)

        def ignored(*_: object) -> None:
            pass

        async def main() -> None:
            async with contextlib.AsyncExitStack() as stack:
                url = (await stack.enter_async_context(BareServer(refusing))).url
                if not is_listening:
                    await stack.aclose()
                for resolve in (on_loopback, nowhere):
                    with pytest.raises(ConnectFailed) as caught:
                        await opened(f"{url}?listenKey={canary.LISTEN_KEY}", resolve)
                    canary.assert_hidden(caught.value)

        run_on(loop, main())

    @LOOP
    def test_a_cancelled_attempt_shows_no_secret_either(self, loop: str) -> None:
        async def main() -> None:
            async with BareServer(silently) as server:
                opening = asyncio.create_task(Line().open(server, url=f"{server.url}?listenKey={canary.LISTEN_KEY}"))
                await asked.wait()
                opening.cancel()
                with pytest.raises(asyncio.CancelledError) as caught:
                    await opening
                canary.assert_hidden(caught.value)

        async def silently(peer: Peer) -> None:
            await peer.asked()
            asked.set()
            await peer.gone()

        asked = asyncio.Event()
        run_on(loop, main())

    def test_compression_is_not_offered(self) -> None:
        async def main() -> None:
            async with BareServer(silent) as server:
                line = await Line().open(server, headers={"X-Key": "abc"})
                request = server.peers[0].request.lower()
                assert b"extensions" not in request and b"x-key: abc\r\n" in request
                line.transport.abort()
                await line.lost()

        run_on("jumping", main())


def answering(*data: Any) -> Script:
    """Answer the request with these bytes; a function makes them of the request."""

    async def script(peer: Peer) -> None:
        await peer.asked()
        for part in data:
            await peer.send(part(peer.request) if callable(part) else part)
        await peer.gone()

    return script


WRONG_ACCEPT = upgrade(b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n")

#: What a server answers, and what that means: the error, its status, the wait it asks for, and a word of the reason.
ANSWERS: dict[str, tuple[Any, type[ConnectFailed], int | None, float | None, str]] = {
    "200": (
        answer("200 OK", b"<html> Welcome\n\r\x00 to our hotel </html>"),
        HandshakeDeferred,
        200,
        None,
        "<html> Welcome to our hotel </html>",
    ),
    "403": (answer("403 Forbidden", b"go away"), HandshakeDeferred, 403, None, "go away"),
    "403 with a wait": (answer("403 Forbidden", retry_after="7"), HandshakeDeferred, 403, 7.0, "403"),
    "418": (answer("418 I'm a teapot", retry_after="120"), HandshakeDeferred, 418, 120.0, "418"),
    "429": (answer("429 Too Many Requests", b"slow down", retry_after="3"), HandshakeDeferred, 429, 3.0, "slow down"),
    "429 without a wait": (answer("429 Too Many Requests"), HandshakeDeferred, 429, None, "429"),
    "429 with nonsense": (answer("429 Too Many Requests", retry_after="soon"), HandshakeDeferred, 429, None, "429"),
    "500": (answer("500 Oops"), HandshakeDeferred, 500, None, "500"),
    "502": (answer("502 Bad Gateway"), HandshakeDeferred, 502, None, "502"),
    "503": (answer("503 Service Unavailable", b"x" * 1000, retry_after="30"), HandshakeDeferred, 503, 30.0, "x" * 190),
    "a status of no standard": (answer("521 Web Server Is Down", retry_after="9"), HandshakeDeferred, 521, 9.0, "521"),
    "HTTP/1.0": (b"HTTP/1.0 503 Service Unavailable\r\nRetry-After: 5\r\n\r\n", HandshakeDeferred, 503, 5.0, "503"),
    "302": (answer("302 Found", location="wss://example.com/"), HandshakeRefused, 302, None, "302"),
    "400": (answer("400 Bad Request", b"no such stream"), HandshakeRefused, 400, None, "no such stream"),
    "401": (answer("401 Unauthorized", retry_after="3"), HandshakeRefused, 401, None, "401"),
    "404": (answer("404 Not Found"), HandshakeRefused, 404, None, "404"),
    "426": (answer("426 Upgrade Required"), HandshakeRefused, 426, None, "426"),
    "wrong accept": (WRONG_ACCEPT, HandshakeDeferred, 101, None, "accept"),
    "no accept": (WRONG_ACCEPT.replace(b"Accept", b"Reject"), HandshakeDeferred, 101, None, "accept"),
    "no upgrade": (lambda request: upgrade(request).replace(b"Upgrade: websocket\r\n", b""), HandshakeDeferred, 101, None, "upgrade"),
    "an extension": (
        lambda request: upgrade(request, "Sec-WebSocket-Extensions: permessage-deflate"),
        HandshakeDeferred,
        101,
        None,
        "extension",
    ),
    "another protocol": (b"SSH-2.0-OpenSSH_9.6\r\nthis is no HTTP\r\n\r\n", HandshakeDeferred, None, None, "ssh-2.0"),
    "no end": (b"\xff" * 20_000, HandshakeDeferred, None, None, "exceed"),
    "giant headers": (lambda request: upgrade(request, f"X-Padding: {'a' * 20_000}"), HandshakeDeferred, 101, None, "exceed"),
    "many headers": (lambda request: upgrade(request, *(f"X-{n}: a" for n in range(200))), HandshakeDeferred, 101, None, "128"),
    "no headers": (lambda request: upgrade(request, "nonsense"), HandshakeDeferred, 101, None, "malformed"),
}


class TestHandshake:
    @pytest.mark.parametrize("name", ANSWERS)
    @PAIRED
    def test_an_answer_and_what_it_means(self, loop: str, way: dict[str, Any], name: str) -> None:
        data, kind, status, retry_after_s, word = ANSWERS[name]

        async def main() -> None:
            async with BareServer(answering(data), tls=way.get("tls")) as server:
                error = await refused(url=server.url, trust=way.get("trust"))
                assert isinstance(error, HandshakeRefused) and type(error) is kind
                assert error.status == status and error.is_retryable is (kind is HandshakeDeferred)
                assert getattr(error, "retry_after_s", None) == retry_after_s
                assert word in error.reason and len(error.reason) <= 210 and error.reason.isprintable()

        run_on(loop, main())

    def test_a_wait_until_a_date(self) -> None:
        async def main() -> None:
            loop = asyncio.get_running_loop()
            assert isinstance(loop, bare_server.JumpingLoop)
            data = answer("503 Service Unavailable", retry_after="Wed, 21 Oct 2026 07:28:00 GMT")
            async with BareServer(answering(data)) as server:
                line = Line(Clock(loop.monotonic_ns, 1792567670 * 10**9))
                with pytest.raises(HandshakeDeferred) as caught:
                    await line.open(server)
                assert caught.value.retry_after_s == pytest.approx(10, abs=0.1)

        run_on("jumping", main())


class Raising(Line):
    """Its ``on_frame`` raises ``error`` at the second message."""

    error: BaseException

    def on_frame(self, message: bytes, received_ns: int) -> None:
        super().on_frame(message, received_ns)
        if len(self.messages) == 2:
            raise self.error


class TestWhatOnFrameLetsThrough:
    @LOOP
    @TLS
    @pytest.mark.parametrize("error", [MemoryError(), asyncio.CancelledError(), ZeroDivisionError()], ids=repr)
    @pytest.mark.parametrize("is_first_read", [False, True])
    def test_it_ends_the_connection_and_is_reported(
        self, loop: str, way: dict[str, Any], error: BaseException, is_first_read: bool
    ) -> None:
        data = text(b"1") + text(b"2") + text(b"3") + text(b"4")

        async def script(peer: Peer) -> None:
            await peer.accept(data if is_first_read else b"")
            await asyncio.sleep(0.01)
            await peer.send(b"" if is_first_read else data)
            await peer.gone()

        async def main() -> None:
            async with BareServer(script, tls=way.get("tls")) as server:
                line = Raising()
                line.error = error
                await line.open(server, trust=way.get("trust"))
                loss = await line.lost()
                assert (loss.cause, loss.code) == (LossCause.CLOSED_BY_US, 1011) and type(error).__name__ in loss.reason
                assert line.messages == [b"1", b"2"]

        handled: Handled = []
        run_on(loop, main(), handled=handled)
        assert [context["exception"] for context in handled] == [error]

    @LOOP
    @TLS
    @pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
    def test_what_ends_the_program(self, loop: str, way: dict[str, Any], kind: type[BaseException]) -> None:
        lines: list[Raising] = []

        async def main() -> None:
            async with BareServer(sending(text(b"1"), text(b"2"), text(b"3")), tls=way.get("tls")) as server:
                line = Raising()
                line.error = kind()
                lines.append(line)
                await line.open(server, trust=way.get("trust"))
                assert (await line.lost()).code == 1011

        handled: Handled = []
        try:
            run_on(loop, main(), handled=handled)
        except kind:
            assert loop == "asyncio"
        else:
            # What a protocol raises uvloop hands to the exception handler, whatever it is.
            assert loop == "uvloop" and [type(context["exception"]) for context in handled] == [kind]
        assert lines[0].messages == [b"1", b"2"]


#: Connects to each address that it reads, and writes how many messages came, how the line ended, and how many KiB it took at its peak.
MEASURED = """
import asyncio, json, sys
from infrastructure.clock import Clock
from infrastructure.networking.websocket.settings import TransportSettings
from infrastructure.networking.websocket.transport import connect

def kib(name):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(name))

async def measure(url):
    count, ended = 0, asyncio.get_running_loop().create_future()
    def on_frame(message, received_ns):
        nonlocal count
        count += 1
    with open("/proc/self/clear_refs", "w") as peak:
        peak.write("5")
    before = kib("VmRSS")
    await connect(url, on_frame, ended.set_result, settings=TransportSettings(max_message_bytes=4 << 20), clock=Clock())
    loss = await ended
    return count, loss.cause.name, loss.code, kib("VmHWM") - before

async def main():
    for url in sys.argv[1:]:
        print(json.dumps(await measure(url)))

asyncio.run(main())
"""

MIB = 1 << 20
PARTS = effort(100_000).max_examples
BOMB = zlib.compress(bytes(64 * MIB))


def repeated(data: bytes, times: int, *, first: bytes = b"", last: bytes = b"") -> Iterator[bytes]:
    """``data`` so many times, in writes of about 64 KiB."""
    yield first
    size = max(1, (1 << 16) // len(data))
    for done in range(0, times, size):
        yield data * min(size, times - done)
    yield last


class Heavy(NamedTuple):
    """What is sent, what comes of it, and how many KiB it may take."""

    sent: Callable[[], Iterator[bytes]]
    messages: int
    cause: LossCause
    code: int | None
    kib: int = 1024


VENUE, TOO_BIG = LossCause.CLOSED_BY_VENUE, LossCause.TOO_BIG
END, BEGUN, CAP_KIB = close(1000), text(b"", fin=False), 4 * 1024
HEAVY = {
    "warming up": Heavy(lambda: repeated(text(b"x"), 1000, last=END), 1000, VENUE, 1000, 8 * 1024),
    "length of 2^62": Heavy(lambda: repeated(bytes(MIB), 64, first=frame(BINARY, length=1 << 62)), 0, TOO_BIG, 1009),
    "small parts": Heavy(lambda: repeated(more(b"x"), PARTS, first=BEGUN, last=more(b"", fin=True) + END), 1, VENUE, 1000, CAP_KIB + 1024),
    "empty parts": Heavy(lambda: repeated(more(b""), PARTS, first=BEGUN, last=END), 0, VENUE, 1000),
    "empty messages": Heavy(lambda: repeated(text(b""), PARTS, last=END), PARTS, VENUE, 1000),
    "pings": Heavy(lambda: repeated(frame(PING, bytes(125)), PARTS, last=END), 0, VENUE, 1000),
    "bomb": Heavy(lambda: repeated(frame(BINARY, BOMB, rsv=4), 1), 0, LossCause.PROTOCOL, 1002),
    "parts over the cap": Heavy(lambda: repeated(more(bytes(MIB // 16)), 128, first=BEGUN), 0, TOO_BIG, 1009, CAP_KIB + 1024),
    "frame that is cut": Heavy(
        lambda: repeated(bytes(MIB), 4, first=frame(BINARY, length=4 * MIB)[:-1]), 0, LossCause.CUT, None, CAP_KIB + 1024
    ),
    "part over the cap": Heavy(
        lambda: repeated(bytes(MIB), 3, first=BEGUN + more(bytes(MIB // 16)) * 63 + frame(CONTINUATION, length=4 * MIB)),
        0,
        TOO_BIG,
        1009,
        CAP_KIB + 1024,
    ),
}


class TestMemory:
    def test_it_is_bounded_whatever_comes(self) -> None:
        """In a process of its own, because this one holds what is sent."""

        async def script(peer: Peer) -> None:
            await peer.accept()
            heavy = HEAVY[peer.request.split(b" ")[1].decode().strip("/").replace("-", " ")]
            with contextlib.suppress(ConnectionError):
                for data in heavy.sent():
                    await peer.send(data)
            if heavy.cause is not LossCause.CUT:
                await peer.gone()

        async def main() -> bytes:
            async with BareServer(script) as server:
                urls = [f"ws://localhost:{server.port}/{name.replace(' ', '-')}" for name in HEAVY]
                # With a fixed threshold a large buffer that grows is moved by the kernel; otherwise it may be copied, and exist twice.
                changed = {"PYTHONPATH": os.pathsep.join(sys.path), "MALLOC_MMAP_THRESHOLD_": "65536"}
                command = (sys.executable, "-c", MEASURED, *urls)
                client = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, env=os.environ | changed)
                return (await client.communicate())[0]

        lines = run_on("asyncio", main()).splitlines()
        for (name, heavy), (*ended, kib) in zip(HEAVY.items(), map(json.loads, lines), strict=True):
            assert ended == [heavy.messages, heavy.cause.name, heavy.code], name
            assert kib <= heavy.kib, (name, kib)


def timers() -> list[asyncio.TimerHandle]:
    """Those that are set, where the loop can be asked."""
    return [timer for timer in getattr(asyncio.get_running_loop(), "_scheduled", []) if not timer.cancelled()]


class TestNothingIsLeft:
    @LOOP
    @TLS
    def test_after_fifty_connections(self, loop: str, way: dict[str, Any]) -> None:
        endings = ["venue", "cut", "broken", "ours", "abort"]

        async def script(peer: Peer) -> None:
            await peer.accept(text(b"hello"))
            ending = (await peer.frame()).payload
            if ending == b"venue":
                await peer.send(close(1000))
            elif ending == b"broken":
                await peer.send(frame(0x3))
            elif ending == b"ours":
                await peer.closing()
                await peer.send(close(1000))
            if ending != b"cut":
                await peer.gone()

        async def main() -> None:
            async with BareServer(script, tls=way.get("tls")) as server:
                sockets, tasks, before = open_sockets(), asyncio.all_tasks(), timers()
                left: list[weakref.ref[Any]] = []
                for number in range(50):
                    line = await Line().open(server, trust=way.get("trust"))
                    await line.received(1)
                    ending = endings[number % 5]
                    line.transport.send(ending)
                    if ending == "ours":
                        await line.transport.close()
                    elif ending == "abort":
                        line.transport.abort()
                    await line.lost()
                    left += weakref.ref(line), weakref.ref(line.transport)
                del line
                await settled(sockets, tasks)
                await asyncio.sleep(0.02)  # the library's own timer after an error
                assert [ref() for ref in left if ref() is not None] == []
                assert timers() == before

        gc.collect()
        gc.disable()
        try:
            run_on(loop, main())
        finally:
            gc.enable()
