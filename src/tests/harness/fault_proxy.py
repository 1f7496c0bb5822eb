"""A TCP proxy on loopback that does harm by seed, to bytes in toxiproxy's words and to WebSocket frames in words of its own.

    async with FaultProxy(upstream_port, seed=1) as proxy:
        slow = proxy.add(latency(0.2, jitter_s=0.1))
        proxy.add(drop(3))
        ...  # connect to proxy.port
        proxy.remove(slow)

Toxics act on what the upstream server sends to the client, in the order in which they were added; the other direction passes untouched.
"""

import asyncio
import copy
import fcntl
import random
import socket
import struct
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from itertools import chain
from typing import ClassVar, NamedTuple, Self

READ = 65_536
BACKLOG = 1 << 20  # bytes waiting in one connection; beyond that the upstream server is read no further
LONGEST_HEADER = 14
CLOSE = b"\x88"  # how a close frame begins
UPGRADED = b"HTTP/1.1 101 "
SIOCOUTQNSD = 0x894B  # linux/sockios.h: how many bytes were written and not sent yet

Log = list[tuple[int, str]]


class End(Enum):
    """How a connection ends."""

    FIN = "FIN"
    RST = "RST"


class Piece(NamedTuple):
    """Bytes on their way to the client, of one frame at most, or an ``end``.

    Goes out when the loop's time is ``at``, or when ``lifted`` is set. ``number`` counts a connection's data frames from 1, continuations
    too; everything else has 0. ``starts`` and ``ends`` tell whether the first and the last byte of the frame are in it.
    """

    data: bytes
    at: float
    number: int = 0
    starts: bool = True
    ends: bool = True
    end: End | None = None
    lifted: asyncio.Event | None = None

    def then(self, end: End) -> "Piece":
        """The end that comes right after it."""
        return Piece(b"", self.at, end=end, lifted=self.lifted)

    def later(self, at: float, toxic: "Toxic") -> "Piece":
        """The same, not before ``at`` while ``toxic`` is in place."""
        return self._replace(at=at, lifted=toxic.lifted) if at > self.at else self


def header_size(head: bytes) -> int:
    """The size of a frame's header, seen its first two bytes."""
    return 2 + {126: 2, 127: 8}.get(head[1] & 0x7F, 0) + 4 * (head[1] >> 7)


def least_size(head: bytes) -> int:
    """How many bytes a frame has at least, seen its first bytes; how many it has, once the header is among them."""
    if len(head) < 2:
        return 2
    size = header_size(head)
    if len(head) < size:
        return size
    length = head[1] & 0x7F
    return size + (length if length < 126 else int.from_bytes(head[2 : 4 if length == 126 else 10], "big"))


class Cutter:
    """Cuts what a server sends into pieces: HTTP as it comes, and after the answer 101 at the bounds of frames. Holds nothing back."""

    def __init__(self) -> None:
        self._answer: bytes | None = b""  # what may be the beginning of the answer 101; None once that has come
        self._head = b""  # the first bytes of the current frame
        self._passed = 0  # how many of its bytes have passed
        self._number = 0
        self._count = 0

    def cut(self, data: bytes, at: float) -> Iterator[Piece]:
        """The pieces of ``data``, which came at ``at``."""
        place = 0
        if self._answer is not None:
            place = self._http(data)
            yield Piece(data[:place], at)
        while place < len(data):
            begin, is_first = place, not self._passed
            if is_first:
                is_data = data[place] & 0x0F < 0x8  # opcodes of control frames begin at 8
                self._count += is_data
                self._number = self._count if is_data else 0
            while place < len(data) and (left := least_size(self._head) - self._passed):
                part = data[place : place + left]
                self._head += part[: LONGEST_HEADER - len(self._head)]
                self._passed += len(part)
                place += len(part)
            is_last = self._passed == least_size(self._head)
            yield Piece(data[begin:place], at, self._number, is_first, is_last)
            if is_last:
                self._head, self._passed = b"", 0

    def _http(self, data: bytes) -> int:
        """How many bytes of ``data`` are HTTP."""
        seen = (self._answer or b"") + data
        begin = seen.find(UPGRADED)
        end = seen.find(b"\r\n\r\n", begin) if begin >= 0 else -1
        if end < 0:
            self._answer = seen[begin:] if begin >= 0 else seen[1 - len(UPGRADED) :]
            return len(data)
        self._answer = None
        return len(data) - (len(seen) - end - 4)


@dataclass(eq=False)
class Toxic:
    """Something bad that happens to connections; each has a copy of its own that holds its state.

    ``harm`` makes of a piece what goes on instead of it. ``drops`` is how every connection ends at once while the toxic is in place.
    ``has_in_hand`` tells of bytes held back that must go out even after the toxic was lifted.
    """

    drops: End | None = field(init=False, default=None)
    lifted: asyncio.Event = field(init=False, default_factory=asyncio.Event)
    log: Log = field(init=False, default_factory=list)
    has_in_hand: bool = field(init=False, default=False)
    _key: str = field(init=False, default="")

    def put_on(self, key: str) -> Self:
        """A copy for the connection that ``key`` names; with one key the same is done to the same frames."""
        own = copy.copy(self)
        own._key = key
        return own

    def harm(self, piece: Piece) -> Iterator[Piece]:
        """What goes on instead of ``piece``."""
        yield piece

    def chance(self, turn: int) -> random.Random:
        """The randomness of one turn: it depends on the key and the turn, not on what was drawn before."""
        return random.Random(f"{self._key}/{type(self).__name__}/{turn}")

    def note(self, number: int) -> None:
        """It was done to this frame."""
        self.log.append((number, type(self).__name__))


# The toxics are written as toxiproxy writes them, because their names are what the log shows.


@dataclass(eq=False)
class latency(Toxic):
    """Everything comes ``delay_s`` later, give or take up to ``jitter_s`` for each frame; the order is kept."""

    delay_s: float
    jitter_s: float = 0.0
    _turn: int = field(init=False, default=0)

    def harm(self, piece: Piece) -> Iterator[Piece]:
        self._turn += piece.starts
        yield piece.later(piece.at + self.delay_s + self.chance(self._turn).uniform(-self.jitter_s, self.jitter_s), self)


@dataclass(eq=False)
class bandwidth(Toxic):
    """At most ``bytes_per_s``, in parts of a fiftieth of a second."""

    bytes_per_s: float
    _free_at: float = field(init=False, default=0.0)

    def harm(self, piece: Piece) -> Iterator[Piece]:
        for part in sliced(piece, max(1, int(self.bytes_per_s / 50))):
            self._free_at = max(self._free_at, part.at) + len(part.data) / self.bytes_per_s
            yield part.later(self._free_at, self)


@dataclass(eq=False)
class slicer(Toxic):
    """Parts of at most ``size`` bytes, never of two frames, with ``pause_s`` (> 0) between them."""

    size: int
    pause_s: float
    _free_at: float = field(init=False, default=0.0)

    def harm(self, piece: Piece) -> Iterator[Piece]:
        for part in sliced(piece, self.size):
            at = max(self._free_at, part.at)
            self._free_at = at + self.pause_s
            yield part.later(at, self)


def sliced(piece: Piece, size: int) -> Iterator[Piece]:
    """``piece`` in parts of at most ``size`` bytes."""
    last = max(0, len(piece.data) - 1) // size
    for index in range(last + 1):
        data = piece.data[index * size : (index + 1) * size]
        yield piece._replace(data=data, starts=piece.starts and index == 0, ends=piece.ends and index == last)


@dataclass(eq=False)
class slow_close(Toxic):
    """A FIN comes ``delay_s`` later."""

    delay_s: float

    def harm(self, piece: Piece) -> Iterator[Piece]:
        yield piece.later(piece.at + self.delay_s, self) if piece.end is End.FIN else piece


class timeout(Toxic):
    """Everything is swallowed where it would go out, and ends are held until this is lifted: a connection frozen, but open.

    Takes hold and is lifted between frames, so that the connection is of use afterwards.
    """


@dataclass(eq=False)
class limit_data(Toxic):
    """``after_bytes`` go through, then a FIN without a close frame; what comes later is thrown away."""

    after_bytes: int
    end: ClassVar[End] = End.FIN

    def harm(self, piece: Piece) -> Iterator[Piece]:
        if piece.end is not None or len(piece.data) < self.after_bytes:
            self.after_bytes -= len(piece.data)
            yield piece
            return
        self.note(piece.number)
        yield piece._replace(data=piece.data[: self.after_bytes], ends=False)
        yield piece.then(self.end)


@dataclass(eq=False)
class reset_peer(limit_data):
    """``after_bytes`` go through, then a RST; without any a RST at once, for every new connection too."""

    after_bytes: int = 0
    end = End.RST

    def __post_init__(self) -> None:
        self.drops = None if self.after_bytes else End.RST


class down(Toxic):
    """Connections are closed, and new ones refused."""

    drops = End.FIN


@dataclass(eq=False)
class FrameToxic(Toxic):
    """Something done to data frame number ``frame`` of each connection, or to one of every ``one_in`` by the seed."""

    frame: int | None = None
    one_in: int | None = field(default=None, kw_only=True)
    _is_meant: bool = field(init=False, default=False)
    _gathered: bytes = field(init=False, default=b"")

    def __post_init__(self) -> None:
        if (self.frame is None) == (self.one_in is None):
            raise ValueError("either the number of a frame, or one_in")

    def harm(self, piece: Piece) -> Iterator[Piece]:
        if piece.starts:
            self._is_meant = piece.number > 0 and not self.lifted.is_set() and self.means(piece.number)
        if piece.end is not None and self._gathered:
            yield piece._replace(data=self._gathered, end=None, ends=False)
        if not self._is_meant:
            yield from self.others(piece)
            return
        self._gathered += piece.data
        self.has_in_hand = not piece.ends
        if piece.ends:
            frame, self._gathered = self._gathered, b""
            yield from self.done(piece._replace(data=frame, starts=True))

    def means(self, number: int) -> bool:
        """Whether this frame is one of those that it is done to."""
        if self.one_in is None:
            return number == self.frame
        block, place = divmod(number - 1, self.one_in)
        return place == self.chance(block).randrange(self.one_in)

    def others(self, piece: Piece) -> Iterator[Piece]:
        """What goes on instead of a piece of another frame."""
        yield piece

    def done(self, frame: Piece) -> Iterable[Piece]:
        """What goes on instead of the whole frame that is meant."""
        raise NotImplementedError


class drop(FrameToxic):
    """The frame never comes."""

    def done(self, frame: Piece) -> Iterable[Piece]:
        self.note(frame.number)
        return ()


class duplicate(FrameToxic):
    """The frame comes twice."""

    def done(self, frame: Piece) -> Iterable[Piece]:
        self.note(frame.number)
        return frame, frame


class corrupt(FrameToxic):
    """One to four bytes of the payload are other ones; an empty payload stays as it is."""

    def done(self, frame: Piece) -> Iterable[Piece]:
        data = bytearray(frame.data)
        payload = range(header_size(frame.data), len(data))
        if payload:
            self.note(frame.number)
            chance = self.chance(-frame.number)  # the others are for ``means``
            for place in chance.sample(payload, min(len(payload), chance.randint(1, 4))):
                data[place] ^= chance.randint(1, 255)
        return (frame._replace(data=bytes(data)),)


class cut_mid_frame(FrameToxic):
    """Half of the frame's bytes come, then a RST."""

    def done(self, frame: Piece) -> Iterable[Piece]:
        self.note(frame.number)
        return frame._replace(data=frame.data[: len(frame.data) // 2], ends=False), frame.then(End.RST)


@dataclass(eq=False)
class reorder(FrameToxic):
    """The frame comes after the next data frame; where a close frame or the end comes before that, in its own place."""

    _held: Piece | None = field(init=False, default=None)
    _is_overtaken: bool = field(init=False, default=False)

    def means(self, number: int) -> bool:
        return self._held is None and super().means(number)

    def done(self, frame: Piece) -> Iterable[Piece]:
        self._held, self.has_in_hand, self._is_overtaken = frame, True, False
        return ()

    def others(self, piece: Piece) -> Iterator[Piece]:
        held = self._held
        if held is not None and piece.number and piece.starts:
            self.note(held.number)
            self._is_overtaken = True
        is_overtaker = piece.number > 0 and piece.ends
        is_last_moment = piece.end is not None or (piece.starts and piece.data[:1] == CLOSE)
        if held is None or not (is_overtaker or (is_last_moment and not self._is_overtaken)):
            yield piece
            return
        self._held, self.has_in_hand = None, False
        yield from (piece, held._replace(at=piece.at, lifted=piece.lifted)) if is_overtaker else (held, piece)


class FaultProxy:
    """Passes TCP connections on to ``host:upstream_port``, with the toxics that are in place.

    ``port`` is where it listens. ``log`` lists what was done: the number of the data frame it was done to (0 where it was none) and the
    toxic's name, for toxics that lose, change or end something. Frame numbers are those of each connection.
    """

    def __init__(self, upstream_port: int, *, host: str = "127.0.0.1", seed: int = 0) -> None:
        self.port = 0
        self.log: Log = []
        self._upstream = (host, upstream_port)
        self._seed = seed
        self._toxics: list[Toxic] = []
        self._connections: list[_Connection] = []
        self._listener: socket.socket | None = None

    def add(self, toxic: Toxic) -> Toxic:
        """Put a toxic in place, for what is read from now on; it is returned."""
        toxic.log = self.log
        self._toxics.append(toxic)
        for connection in self._connections:
            connection.add(toxic)
        self._listen_unless_down()
        return toxic

    def remove(self, toxic: Toxic) -> None:
        """Take a toxic away; what only waited for it goes out at once."""
        self._toxics.remove(toxic)
        toxic.lifted.set()
        toxic.lifted = asyncio.Event()
        self._listen_unless_down()

    @property
    def hole(self) -> timeout | None:
        """What swallows everything now."""
        return next((toxic for toxic in self._toxics if isinstance(toxic, timeout)), None)

    async def __aenter__(self) -> Self:
        self._place = socket.socket()  # bound and never listening: the port stays ours while nobody listens
        self._place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._place.bind(("127.0.0.1", 0))
        self.port = self._place.getsockname()[1]
        self._listen_unless_down()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop_listening()
        self._place.close()
        tasks = [connection.task for connection in self._connections]
        for task in tasks:
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome

    def _listen_unless_down(self) -> None:
        if any(isinstance(toxic, down) for toxic in self._toxics):
            self._stop_listening()
        elif self._listener is None and self.port:
            self._listener = socket.create_server(("127.0.0.1", self.port))
            self._listener.setblocking(False)
            asyncio.get_running_loop().add_reader(self._listener, self._accept, self._listener)

    def _stop_listening(self) -> None:
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
            self._listener = None

    def _accept(self, listener: socket.socket) -> None:
        client, _ = listener.accept()
        connection = _Connection(self, client, self._upstream, f"{self._seed}/{len(self._connections) + 1}")
        self._connections.append(connection)
        for toxic in self._toxics:
            connection.add(toxic)


class _Connection:
    """One client and its own connection to the upstream server."""

    def __init__(self, proxy: FaultProxy, client: socket.socket, address: tuple[str, int], key: str) -> None:
        self._proxy = proxy
        self._client = client
        self._upstream = socket.socket()
        self._key = key
        self._toxics: list[Toxic] = []
        self._end = End.FIN
        self._cutter = Cutter()
        self._read: asyncio.Queue[tuple[float, bytes | End]] = asyncio.Queue()
        self._waiting = 0
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._is_swallowing = False
        for side in (client, self._upstream):
            side.setblocking(False)
            side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._loop = asyncio.get_running_loop()
        self.task = self._loop.create_task(self._run(address))
        self.task.add_done_callback(self._close)  # unlike a ``finally`` it runs when the task never began

    def add(self, toxic: Toxic) -> None:
        self._toxics.append(toxic.put_on(self._key))
        if toxic.drops is not None and not self.task.done():
            toxic.note(0)
            self._drop(toxic.drops)

    def _drop(self, end: End) -> None:
        self._end = end
        self.task.cancel()

    def _close(self, _: asyncio.Task[None]) -> None:
        if self._end is End.RST:
            self._client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._client.close()
        self._upstream.close()

    async def _run(self, address: tuple[str, int]) -> None:
        try:
            await self._loop.sock_connect(self._upstream, address)
            async with asyncio.TaskGroup() as group:
                for part in (self._up(), self._receive(), self._send()):
                    group.create_task(part)
        except* OSError:
            self._end = End.RST

    async def _up(self) -> None:
        while data := await self._loop.sock_recv(self._client, READ):
            with suppress(ConnectionError):  # the client is told by the other direction, which may be delayed
                await self._loop.sock_sendall(self._upstream, data)
        with suppress(OSError):
            self._upstream.shutdown(socket.SHUT_WR)

    async def _receive(self) -> None:
        end = End.FIN
        try:
            while data := await self._loop.sock_recv(self._upstream, READ):
                self._read.put_nowait((self._loop.time(), data))
                self._waiting += len(data)
                if self._waiting > BACKLOG:
                    self._has_room.clear()
                await self._has_room.wait()
        except ConnectionError:
            end = End.RST
        self._read.put_nowait((self._loop.time(), end))

    async def _send(self) -> None:
        is_over = False
        while True:
            at, data = await self._read.get()
            pieces = [Piece(b"", at, end=data)] if isinstance(data, End) else self._cutter.cut(data, at)
            if not is_over:
                is_over = await self._deliver(self._harmed(pieces))
            if isinstance(data, End):
                return
            self._waiting -= len(data)
            self._has_room.set()

    def _harmed(self, pieces: Iterable[Piece]) -> Iterable[Piece]:
        self._toxics = [toxic for toxic in self._toxics if toxic.has_in_hand or not toxic.lifted.is_set()]
        for toxic in self._toxics:
            pieces = chain.from_iterable(map(toxic.harm, pieces))
        return pieces

    async def _deliver(self, pieces: Iterable[Piece]) -> bool:
        """Send the pieces, each in its time and those of one time together; whether the end was among them."""
        out: list[bytes] = []
        for piece in pieces:
            if piece.lifted is not None and piece.at > self._loop.time():
                await self._loop.sock_sendall(self._client, b"".join(out))
                out.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(piece.at):
                        await piece.lifted.wait()
            if piece.end is not None:
                await self._loop.sock_sendall(self._client, b"".join(out))
                await self._finish(piece.end)
                return True
            if piece.starts:
                hole = self._proxy.hole
                self._is_swallowing = hole is not None
                if hole is not None and piece.number:
                    hole.note(piece.number)
            if not self._is_swallowing:
                out.append(piece.data)
        await self._loop.sock_sendall(self._client, b"".join(out))
        return False

    async def _finish(self, end: End) -> None:
        while (hole := self._proxy.hole) is not None:
            await hole.lifted.wait()
        if end is End.FIN:
            self._client.shutdown(socket.SHUT_WR)
            return
        # A RST discards what the client's window had no room for.
        while int.from_bytes(fcntl.ioctl(self._client, SIOCOUTQNSD, bytes(4)), sys.byteorder):
            await asyncio.sleep(0.005)
        self._drop(end)
