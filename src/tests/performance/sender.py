"""The venue's end of the line while a benchmark runs: a process of its own that writes frames when they are due.

    benchmark --commands--> standard input
    subject <--one WebSocket on 127.0.0.1 for each flow--> sender
    benchmark <--one line for each command-- standard output

It knows as much of WebSocket as the product's transport asks for: the handshake, pings, the close. Frames are put into their WebSocket form
before a flow begins. When one is due is decided before it begins, too, and does not depend on when those before it left: what is late is
written at once, together with all that is due by then. ``time.monotonic_ns`` is the same clock in every process, so that whoever reads
can hold the end of a callback against the time at which its frame was due; how late the sender itself was is told after each flow.

It ends when its standard input does, and so with whoever started it, however that ends.
"""

import asyncio
import base64
import gc
import hashlib
import os
import select
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import msgspec

from tests.performance.workload import Workload, read, write

#: From the word to the first frame that is due: whoever gave it waits in its event loop by then.
LEAD_NS = 3_000_000
#: Mean rate and length of a burst: so many times as fast for so small a part of each period.
PERIOD_S = 0.1
#: A sleep ends up to so much late; the rest of the time is spent looking at the clock.
SPIN_NS = 150_000
#: One write of a flow that is as fast as the socket takes it.
WRITE_BYTES = 64 * 1024
#: A line of the sender may hold the lateness of many frames.
_LONGEST_LINE = 1 << 24

_TEXT, _BINARY, _CLOSE, _PING, _PONG = 0x1, 0x2, 0x8, 0x9, 0xA
_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3

Answer = TypeVar("Answer")


class Schedule(msgspec.Struct, frozen=True):
    """When frames are due: ``rate`` for each second on average, as fast as the socket takes them if None.

    With ``burst`` above 1 the frames of each period come that many times as fast, at its beginning.
    """

    rate: float | None
    burst: int = 1

    def due_ns(self, count: int) -> list[int]:
        """For each of the first ``count`` frames, how long after the first."""
        if self.rate is None:
            return [0] * count
        period = max(1, round(self.rate * PERIOD_S)) if self.burst > 1 else 1
        return [round((n // period * period + n % period / self.burst) * 1e9 / self.rate) for n in range(count)]

    def lasts_s(self, count: int) -> float:
        """From the first of so many frames to the time at which one more would be due."""
        return 0.0 if self.rate is None else count / self.rate


SATURATED = Schedule(None)


class Load(msgspec.Struct, frozen=True, tag=True):
    """The workloads of the flows to come, in a file."""

    path: str


class Flow(msgspec.Struct, frozen=True, tag=True):
    """The next connection gets the first ``frames`` of a workload."""

    workload: int
    frames: int
    schedule: Schedule


class Go(msgspec.Struct, frozen=True, tag=True):
    """The subject's connection is open. A frame sent earlier might be read with the answer to the handshake, before reads are counted."""


class Loaded(msgspec.Struct, frozen=True):
    """How many frames each workload has."""

    frames: list[int]


class Flown(msgspec.Struct, frozen=True):
    """A flow, after its end: when the first frame was due, how many were written, and how late each was where it had a time.

    ``held`` counts how often the socket had no room: then the subject had not read what was before.
    """

    start_ns: int
    written: int
    late_ns: list[int]
    held: int


class Ended(Exception):
    """Nobody reads on."""


def framed(raw: bytes) -> bytes:
    """A message as one WebSocket frame: a JSON object as text; what begins otherwise is protobuf, and binary."""
    return _frame(_TEXT if raw.startswith((b"{", b"[")) else _BINARY, raw)


def _frame(opcode: int, payload: bytes) -> bytes:
    head, size = bytes([0x80 | opcode]), len(payload)
    if size < 126:
        return head + bytes([size]) + payload
    if size < 1 << 16:
        return head + b"\x7e" + size.to_bytes(2, "big") + payload
    return head + b"\x7f" + size.to_bytes(8, "big") + payload


class _Commands:
    """Standard input: commands, and its end, which is that of the process."""

    def __init__(self) -> None:
        self._buffer = b""

    def fileno(self) -> int:
        return 0

    def next(self) -> bytes:
        """The next line."""
        while b"\n" not in self._buffer:
            self.read()
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def read(self) -> None:
        """Take what is there, or wait for it."""
        got = os.read(0, 1 << 16)
        if not got:
            raise SystemExit
        self._buffer += got


class _Peer:
    """One connection, from the handshake to its end; Ended is raised when the other side is gone."""

    def __init__(self, sock: socket.socket, commands: _Commands) -> None:
        self._sock = sock
        self._commands = commands
        self._unread = bytearray()
        self.held = 0
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)

    def shake_hands(self) -> None:
        while b"\r\n\r\n" not in self._unread:
            self._wait()
            self._receive()
        request, _, rest = bytes(self._unread).partition(b"\r\n\r\n")
        self._unread[:] = rest
        key = next(line.split(b": ", 1)[1] for line in request.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key:"))
        accept = base64.b64encode(hashlib.sha1(key + _MAGIC).digest())
        lines = (b"HTTP/1.1 101 Switching Protocols", b"Upgrade: websocket", b"Connection: Upgrade", b"Sec-WebSocket-Accept: " + accept)
        self.write(b"\r\n".join(lines) + b"\r\n\r\n")

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[self._sock.send(view) :]
            except BlockingIOError:
                self.held += 1
                self._wait(writing=True)
            except OSError as error:
                raise Ended from error

    def attend(self, timeout_s: float) -> None:
        """Answer what has come, or comes first within that time."""
        if select.select([self._sock], [], [], timeout_s)[0]:
            self._answer()

    def attend_to_the_end(self) -> None:
        """Answer whatever comes until Ended."""
        while True:
            self._wait()
            self._answer()

    def _answer(self) -> None:
        self._receive()
        for opcode, payload in self._frames():
            if opcode == _PING:
                self.write(_frame(_PONG, payload))
            elif opcode == _CLOSE:
                self.write(_frame(_CLOSE, payload))
                raise Ended

    def _wait(self, writing: bool = False) -> None:
        """Until the socket is ready; commands are taken meanwhile, and their end."""
        while True:
            readers = [self._commands.fileno()] if writing else [self._commands.fileno(), self._sock.fileno()]
            readable, writable, _ = select.select(readers, [self._sock.fileno()] if writing else [], [])
            if self._commands.fileno() in readable:
                self._commands.read()
            if self._sock.fileno() in readable or writable:
                return

    def _receive(self) -> None:
        try:
            got = self._sock.recv(1 << 16)
        except OSError as error:
            raise Ended from error
        if not got:
            raise Ended
        self._unread += got

    def _frames(self) -> Iterator[tuple[int, bytes]]:
        """The whole frames that have come. The subject sends none of 126 bytes or more."""
        while len(self._unread) >= 6 and len(self._unread) >= (end := 6 + (self._unread[1] & 0x7F)):
            mask, masked = self._unread[2:6], self._unread[6:end]
            opcode = self._unread[0] & 0xF
            del self._unread[:end]
            yield opcode, bytes(byte ^ mask[place % 4] for place, byte in enumerate(masked))


def _write_as_due(peer: _Peer, frames: Sequence[bytes], due_ns: Sequence[int], late_ns: list[int]) -> None:
    """Each at its time by the clock, or at once with all that are late."""
    monotonic_ns, first = time.monotonic_ns, 0
    while first < len(frames):
        left_ns = due_ns[first] - monotonic_ns()
        if left_ns > 0:
            peer.attend(max(0, left_ns - SPIN_NS) / 1e9)
            while (now := monotonic_ns()) < due_ns[first]:
                pass
        else:
            now = monotonic_ns()
        end = first + 1
        while end < len(frames) and due_ns[end] <= now:
            end += 1
        late_ns += [now - due for due in due_ns[first:end]]
        peer.write(frames[first] if end == first + 1 else b"".join(frames[first:end]))
        first = end


def _write_at_once(peer: _Peer, frames: Sequence[bytes]) -> None:
    """In large pieces, as fast as they are taken. What comes meanwhile is attended to behind the last: a pong says that it was read."""
    data = memoryview(b"".join(frames))
    for start in range(0, len(data), WRITE_BYTES):
        peer.write(bytes(data[start : start + WRITE_BYTES]))


def _fly(listener: socket.socket, commands: _Commands, frames: Sequence[bytes], schedule: Schedule) -> Flown:
    while listener.fileno() not in select.select([listener.fileno(), commands.fileno()], [], [])[0]:
        commands.read()
    sock, _ = listener.accept()
    start_ns, late_ns, written = 0, list[int](), 0
    with sock:
        peer = _Peer(sock, commands)
        try:
            peer.shake_hands()
            after_ns = schedule.due_ns(len(frames))
            commands.next()  # Go; a ping that came with it is answered behind the frames of a flood.
            start_ns = time.monotonic_ns() + LEAD_NS
            if schedule.rate is None:
                time.sleep(LEAD_NS / 1e9)
                _write_at_once(peer, frames)
            else:
                _write_as_due(peer, frames, [start_ns + after for after in after_ns], late_ns)
            written = len(frames)
            peer.attend_to_the_end()
        except Ended:
            pass
    return Flown(start_ns, written or len(late_ns), late_ns, peer.held)


def serve() -> None:
    """Carry out the commands of standard input until it ends."""
    gc.disable()
    commands = _Commands()
    frames: list[list[bytes]] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        _tell(listener.getsockname()[1])
        while True:
            command = msgspec.json.decode(commands.next(), type=Load | Flow | Go)
            if isinstance(command, Load):
                frames = [[framed(raw) for raw in workload.frames] for workload in read(Path(command.path))]
                _tell(Loaded([len(each) for each in frames]))
            elif isinstance(command, Flow):  # A Go to a flow that ended in its handshake is for nobody.
                _tell(_fly(listener, commands, frames[command.workload][: command.frames], command.schedule))


def _tell(answer: object) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
    sys.stdout.buffer.flush()


@contextmanager
def on_core(number: int, is_wanted: bool = True) -> Iterator[None]:
    """Keep this process to one of the cores that it may use, -1 the last; where there is one core, or no way to say so, to any."""
    allowed = os.sched_getaffinity(0) if is_wanted and hasattr(os, "sched_setaffinity") else set[int]()
    if len(allowed) < 2:
        yield
        return
    os.sched_setaffinity(0, {sorted(allowed)[number]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


class Sender:
    """The process, from the benchmark's side: ``async with Sender(workloads) as sender``; ``pinned`` gives it a core of its own.

    A flow: ``begin``, connect to ``url``, ``go``, close the connection, ``flown``.
    """

    def __init__(self, workloads: Sequence[Workload], *, pinned: bool = True) -> None:
        self._workloads = list(workloads)
        self._pinned = pinned
        self.port = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"ws://127.0.0.1:{self.port}/"

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    async def __aenter__(self) -> Self:
        pipe, source = asyncio.subprocess.PIPE, Path(__file__).parents[2]
        with on_core(-1, self._pinned):  # Which a child inherits.
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.performance.sender"),
                stdin=pipe,
                stdout=pipe,
                cwd=source,
                env=os.environ | {"PYTHONPATH": str(source)},
                limit=_LONGEST_LINE,
                start_new_session=True,  # Ctrl-C is for the benchmark, whose end is that of the sender.
            )
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._end)
            self.port = await self._answer(int)
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "workloads"
                write(path, self._workloads)
                self._command(Load(str(path)))
                await self._answer(Loaded)
            stack.pop_all()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._end()

    def begin(self, workload: int, frames: int, schedule: Schedule) -> None:
        """The next connection gets so many frames of one of the workloads."""
        self._command(Flow(workload, frames, schedule))

    def go(self) -> None:
        """The connection is open: its frames may come."""
        self._command(Go())

    async def flown(self) -> Flown:
        """What became of the flow, once its connection has ended."""
        return await self._answer(Flown)

    def _command(self, command: Load | Flow | Go) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(command) + b"\n")

    async def _answer(self, kind: type[Answer]) -> Answer:
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise ConnectionError("the sender has ended")
        return msgspec.json.decode(line, type=kind)

    async def _end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(5):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


if __name__ == "__main__":
    serve()
