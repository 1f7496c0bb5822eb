"""A server that speaks HTTP and WebSocket by hand: a test's script decides about every byte. And the product's end of such a line.

async def script(peer):
    await peer.accept()
    await peer.send(text(b"hello"), frame(0x1, b"reserved bit", rsv=4))

async with BareServer(script) as server:
    ...  # connect to server.url
"""

import asyncio
import base64
import hashlib
import selectors
import socket
import ssl
import struct
import subprocess
import warnings
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar

import uvloop

from infrastructure.clock import Clock
from infrastructure.networking.websocket.link import Loss, Transport
from infrastructure.networking.websocket.settings import TransportSettings
from infrastructure.networking.websocket.transport import Address, Resolve, connect
from tests.harness.virtual_loop import Deadlock

Result = TypeVar("Result")
Script = Callable[["Peer"], Awaitable[None]]
Handled = list[dict[str, Any]]

#: A test that takes longer hangs; one that streams over sockets may take half a minute on a slow machine.
LONGEST_S = 90.0
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, length: int | None = None, masked: bool = False) -> bytes:
    """A frame; ``rsv`` is 4 for the first reserved bit, 2 and 1 for the others, ``length`` what the header says instead of the truth."""
    size = len(payload) if length is None else length
    short = size if size < 126 else 126 if size < 1 << 16 else 127
    head = bytes([fin << 7 | rsv << 4 | opcode, masked << 7 | short])
    if short == 126:
        head += size.to_bytes(2, "big")
    elif short == 127:
        head += size.to_bytes(8, "big")
    return head + (b"\0\0\0\0" if masked else b"") + payload


def text(payload: bytes, *, fin: bool = True) -> bytes:
    """A text frame."""
    return frame(TEXT, payload, fin=fin)


def more(payload: bytes, *, fin: bool = False) -> bytes:
    """A continuation."""
    return frame(CONTINUATION, payload, fin=fin)


def close(code: int | None = None, reason: bytes = b"") -> bytes:
    """A close frame."""
    return frame(CLOSE, b"" if code is None else code.to_bytes(2, "big") + reason)


def answer(status: str, body: bytes = b"", **headers: str) -> bytes:
    """An HTTP answer that is no upgrade; ``retry_after="3"`` is the header Retry-After."""
    lines = [
        f"HTTP/1.1 {status}",
        f"Content-Length: {len(body)}",
        *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def upgrade(request: bytes, *more_headers: str) -> bytes:
    """The right answer to ``request``."""
    key = next(line.split(b": ", 1)[1] for line in request.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key:"))
    accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()).decode()
    headers = ("Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Accept: {accept}", *more_headers)
    return "\r\n".join(("HTTP/1.1 101 Switching Protocols", *headers)).encode() + b"\r\n\r\n"


class Sent(NamedTuple):
    """A frame of the client."""

    opcode: int
    payload: bytes


class Peer:
    """One connection, from the server's side."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.request = b""

    async def asked(self) -> bytes:
        """The request for the upgrade."""
        self.request = await self.reader.readuntil(b"\r\n\r\n")
        return self.request

    async def accept(self, *first: bytes) -> None:
        """Read the request and grant it; ``first`` goes out in the same write."""
        await self.send(upgrade(await self.asked()), *first)

    async def send(self, *data: bytes) -> None:
        """Send all of it at once, and give way."""
        self.writer.write(b"".join(data))
        await self.writer.drain()
        await asyncio.sleep(0)

    async def frame(self) -> Sent:
        """The next frame of the client, which must be masked and whole."""
        head = await self.reader.readexactly(2)
        assert head[0] & 0xF0 == 0x80 and head[1] & 0x80
        size = head[1] & 0x7F
        if size >= 126:
            size = int.from_bytes(await self.reader.readexactly(2 if size == 126 else 8), "big")
        mask = await self.reader.readexactly(4)
        payload = await self.reader.readexactly(size)
        return Sent(head[0] & 0xF, bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload)))

    async def closing(self) -> tuple[int | None, str]:
        """Code and reason of the client's close frame, whatever came before it."""
        while (sent := await self.frame()).opcode != CLOSE:
            pass
        return int.from_bytes(sent.payload[:2], "big") if sent.payload else None, sent.payload[2:].decode()

    async def gone(self) -> bytes:
        """Wait for the end of the connection; what came before it."""
        try:
            return await self.reader.read(-1)
        except ConnectionError:
            return b""

    def freeze(self) -> None:
        """Read nothing more."""
        assert isinstance(self.writer.transport, asyncio.Transport)
        self.writer.transport.pause_reading()

    def end(self) -> None:
        """Send FIN."""
        self.writer.close()

    def reset(self) -> None:
        """Send RST."""
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


async def silent(peer: Peer) -> None:
    """Accept, and then read without an answer until the client is gone."""
    await peer.accept()
    await peer.gone()


class BareServer:
    """Listens on loopback and runs ``script`` for each connection. What a script raises is raised when the server is left."""

    def __init__(self, script: Script, *, tls: ssl.SSLContext | None = None) -> None:
        self.peers: list[Peer] = []
        self._script = script
        self._tls = tls
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def port(self) -> int:
        """Where it listens."""
        number: int = self._server.sockets[0].getsockname()[1]
        return number

    @property
    def url(self) -> str:
        """Its address; a name, so that there is a name for a certificate to be about."""
        return f"{'wss' if self._tls else 'ws'}://localhost:{self.port}/stream"

    @property
    def address(self) -> Address:
        """As a resolver gives it."""
        return socket.AF_INET, ("127.0.0.1", self.port)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._begin, "127.0.0.1", 0, ssl=self._tls)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        outcomes = await asyncio.gather(*self._tasks, return_exceptions=True)
        for peer in self.peers:
            peer.writer.transport.abort()
        for outcome in outcomes:
            if isinstance(outcome, Exception) and not isinstance(outcome, ConnectionError):
                raise outcome

    async def _run(self, peer: Peer) -> None:
        try:
            await self._script(peer)
        finally:
            peer.end()

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer)
        self.peers.append(peer)
        self._tasks.append(asyncio.ensure_future(self._run(peer)))


async def on_loopback(host: str, port: int) -> list[Address]:
    """Any name is this machine's."""
    return [(socket.AF_INET, ("127.0.0.1", port))]


class Line:
    """The product's end: every message, when the read that brought it returned, and the one Loss, after which nothing may come."""

    def __init__(self, clock: Clock | None = None) -> None:
        loop = asyncio.get_running_loop()
        self.clock = clock or (Clock(loop.monotonic_ns) if isinstance(loop, JumpingLoop) else Clock())
        self.messages: list[bytes] = []
        self.stamps: list[int] = []
        self.loss: Loss | None = None
        #: Loop time of the loss.
        self.lost_at = 0.0
        self._is_lost = asyncio.Event()

    async def open(
        self,
        server: BareServer,
        *,
        url: str | None = None,
        headers: dict[str, str] | None = None,
        trust: ssl.SSLContext | None = None,
        resolve: Resolve | None = on_loopback,
        **settings: Any,
    ) -> Self:
        """Connect; ``settings`` are those of TransportSettings."""
        self.transport: Transport = await connect(
            url or server.url,
            self.on_frame,
            self.on_loss,
            settings=TransportSettings(**settings),
            clock=self.clock,
            headers=headers,
            ssl_context=trust,
            resolve=resolve,
        )
        return self

    def on_frame(self, message: bytes, received_ns: int) -> None:
        """Takes a message."""
        assert self.loss is None
        self.messages.append(message)
        self.stamps.append(received_ns)

    def on_loss(self, loss: Loss) -> None:
        """Told once."""
        assert self.loss is None
        self.loss = loss
        self.lost_at = asyncio.get_running_loop().time()
        self._is_lost.set()

    async def lost(self) -> Loss:
        """Wait for the end."""
        await self._is_lost.wait()
        assert self.loss is not None and not self.transport.is_open
        return self.loss

    async def received(self, count: int) -> list[bytes]:
        """Wait for so many messages, and no more than a moment."""
        for _ in range(1000):
            if len(self.messages) >= count or self.loss is not None:
                break
            await asyncio.sleep(0.002)
        return self.messages


class Certificates:
    """Made by the ``openssl`` command in ``folder``: an authority, and servers' certificates for localhost, one good, the others not.

    ``good``, ``expired``, ``wrong-host`` and ``self-signed``.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "key")
        self._own("authority", "CA:TRUE", "tickrail tests")
        self._own("self-signed", "CA:FALSE", "localhost")
        for name, host, days in (("good", "localhost", 2), ("expired", "localhost", -1), ("wrong-host", "example.invalid", 2)):
            (folder / "extensions").write_text(f"subjectAltName=DNS:{host}\n")
            self._openssl("req", "-new", "-key", "key", "-subj", f"/CN={host}", "-out", "request")
            signing = ("-CA", "authority", "-CAkey", "key", "-set_serial", "1", "-days", str(days), "-extfile", "extensions")
            self._openssl("x509", "-req", "-in", "request", *signing, "-out", name)

    def server(self, name: str = "good") -> ssl.SSLContext:
        """A server's context with the certificate ``name``."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._folder / name, self._folder / "key")
        return context

    def old_server(self) -> ssl.SSLContext:
        """A server with a good certificate that speaks TLS 1.0 and 1.1 only."""
        context = self.server()
        context.set_ciphers("ALL:@SECLEVEL=0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = ssl.TLSVersion.TLSv1_1
        return context

    def client(self) -> ssl.SSLContext:
        """A client's context that trusts the authority, and is otherwise the default one."""
        return ssl.create_default_context(cafile=str(self._folder / "authority"))

    def _own(self, name: str, constraints: str, subject: str) -> None:
        extensions = ("-addext", f"basicConstraints=critical,{constraints}", "-addext", "subjectAltName=DNS:localhost")
        self._openssl("req", "-x509", "-new", "-key", "key", "-days", "2", "-subj", f"/CN={subject}", *extensions, "-out", name)

    def _openssl(self, *arguments: str) -> None:
        done = subprocess.run(["openssl", *arguments], cwd=self._folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


class _JumpingSelector(selectors.DefaultSelector):
    """Waits for nothing but what the kernel is about to hand out."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        ready = super().select(0.001)  # loopback may take a moment
        if ready:
            return ready
        if timeout is None:
            # A thread may be at work, as one that looked a name up and is joined at the end.
            ready = super().select(5.0)
            if ready:
                return ready
            raise Deadlock("every task waits, no timer is set, and nothing comes")
        self.now += max(timeout, 0.0)
        return []


class JumpingLoop(asyncio.SelectorEventLoop):
    """Real loopback sockets, and a time that jumps to the next timer when nothing is on its way. No threads: give ``resolve``."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._jumping.now

    def monotonic_ns(self) -> int:
        """The same in nanoseconds."""
        return round(self._jumping.now * 1e9)


LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.SelectorEventLoop,
    "uvloop": uvloop.new_event_loop,
    "jumping": JumpingLoop,
}


def run_on(loop: str, main: Coroutine[Any, Any, Result], *, handled: Handled | None = None) -> Result:
    """Run ``main`` on one of LOOPS. What reaches the loop's exception handler goes to ``handled``; where that is None, nothing may."""
    problems: Handled = [] if handled is None else handled
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.get_loop().set_exception_handler(lambda _, context: problems.append(context))
        result = runner.run(main if loop == "jumping" else asyncio.wait_for(main, LONGEST_S))
    if handled is None:
        assert problems == []
    return result
