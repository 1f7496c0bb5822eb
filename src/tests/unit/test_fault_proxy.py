"""The fault proxy: what each toxic makes of pieces, without sockets, and what a client sees of it, over real ones."""

import asyncio
import os
import random
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import chain, pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.harness.effort import effort
from tests.harness.fault_proxy import (
    READ,
    Cutter,
    End,
    FaultProxy,
    FrameToxic,
    Log,
    Piece,
    Toxic,
    bandwidth,
    corrupt,
    cut_mid_frame,
    down,
    drop,
    duplicate,
    header_size,
    latency,
    limit_data,
    reorder,
    reset_peer,
    slicer,
    slow_close,
    timeout,
)

ANSWER = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"
TEXT, CONTINUATION, CLOSE, PING = 1, 0, 8, 9


def frame(payload: bytes, opcode: int = TEXT, *, is_masked: bool = False) -> bytes:
    """One frame with the FIN bit."""
    size, mask = len(payload), 0x80 * is_masked
    if size < 126:
        head = bytes([0x80 | opcode, mask | size])
    elif size < 65_536:
        head = bytes([0x80 | opcode, mask | 126]) + struct.pack(">H", size)
    else:
        head = bytes([0x80 | opcode, mask | 127]) + struct.pack(">Q", size)
    return head + bytes(4 * is_masked) + payload


FRAMES = [frame(b"%d" % number * 5) for number in range(1, 10)]
PINGED = [FRAMES[0], frame(b"p", PING), *FRAMES[1:4]]


def splits(data: bytes) -> list[list[bytes]]:
    """The whole, byte by byte, and in sevens."""
    return [[data[place : place + size] for place in range(0, len(data), size)] for size in (len(data), 1, 7)]


class Line:
    """One connection without sockets: what toxics make of what a server sends."""

    def __init__(self, *toxics: Toxic, key: str = "1/1") -> None:
        self.log: Log = []
        self.cutter = Cutter()
        self.toxics: list[Toxic] = []
        for toxic in toxics:
            self.add(toxic, key)
        self.pieces: list[Piece] = []

    def add(self, toxic: Toxic, key: str = "1/1") -> None:
        toxic.log = self.log
        self.toxics.append(toxic.put_on(key))

    def take(self, pieces: Iterable[Piece]) -> None:
        for toxic in self.toxics:
            pieces = chain.from_iterable(map(toxic.harm, pieces))
        pieces = iter(pieces)
        while not (self.pieces and self.pieces[-1].end) and (piece := next(pieces, None)):
            self.pieces.append(piece)

    def send(self, *parts: bytes, at: float = 0.0) -> None:
        for part in parts:
            self.take(self.cutter.cut(part, at))

    def end(self, end: End = End.FIN, at: float = 0.0) -> None:
        self.take([Piece(b"", at, end=end)])

    @property
    def seen(self) -> tuple[bytes, End | None]:
        """What the client gets: the bytes, and the end if there was one."""
        return b"".join(piece.data for piece in self.pieces), self.pieces[-1].end


def seen(toxic: Toxic, frames: Sequence[bytes], key: str = "1/1") -> tuple[bytes, Log]:
    """What the client gets of ``frames``, and what the log shows: the same for every split."""
    outcomes = []
    for parts in splits(ANSWER + b"".join(frames)):
        line = Line(toxic, key=key)
        line.send(*parts)
        data, _ = line.seen
        outcomes.append((data.removeprefix(ANSWER), line.log))
    assert all(outcome == outcomes[0] for outcome in outcomes)
    return outcomes[0]


FRAME = st.builds(
    frame, st.integers(0, 70_000).map(bytes) | st.binary(max_size=130), st.sampled_from([TEXT, CONTINUATION, PING]), is_masked=st.booleans()
)


class TestCutter:
    @effort(100)
    @given(st.lists(FRAME, max_size=5), st.randoms(use_true_random=False))
    def test_frames_are_found_and_bytes_kept_whatever_the_split(self, frames: list[bytes], chance: random.Random) -> None:
        data = ANSWER + b"".join(frames)
        places = sorted({0, len(data), *(chance.randrange(len(data)) for _ in range(20))})
        cutter = Cutter()
        pieces = [piece for begin, end in pairwise(places) for piece in cutter.cut(data[begin:end], 0.0)]
        assert b"".join(piece.data for piece in pieces) == data
        found: list[bytes] = []
        while pieces and sum(map(len, found)) < len(ANSWER):
            found.append(pieces.pop(0).data)
        assert b"".join(found) == ANSWER
        found = []
        for piece in pieces:
            found = [*found, piece.data] if piece.starts else [*found[:-1], found[-1] + piece.data]
        assert found == frames
        assert [piece.starts for piece in pieces[1:]] == [piece.ends for piece in pieces[:-1]]

    def test_data_frames_are_numbered_and_control_frames_not(self) -> None:
        frames = [frame(b"a"), frame(b"", PING), frame(b"b", CONTINUATION), frame(b"", CLOSE), frame(b"c", 2)]
        http, *pieces = Cutter().cut(ANSWER + b"".join(frames), 0.0)
        assert (http.data, http.number) == (ANSWER, 0)
        assert [piece.number for piece in pieces] == [1, 0, 2, 0, 3]

    def test_nothing_is_held_back(self) -> None:
        cutter = Cutter()
        for part in splits(ANSWER + bytes([0x82, 127]) + struct.pack(">Q", 2**63 - 1) + b"some")[1]:
            assert [piece.data for piece in cutter.cut(part, 0.0)] == [part]

    @pytest.mark.parametrize("size", [1, 5, 1000])
    def test_http_before_the_upgrade_is_not_taken_for_frames(self, size: int) -> None:
        http = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n\x81\x02ab"
        data = http + ANSWER + FRAMES[0]
        cutter = Cutter()
        pieces = [piece for place in range(0, len(data), size) for piece in cutter.cut(data[place : place + size], 0.0)]
        assert b"".join(piece.data for piece in pieces if not piece.number) == http + ANSWER
        assert b"".join(piece.data for piece in pieces if piece.number) == FRAMES[0]


class TestTime:
    def test_latency_is_added_to_the_time_of_arrival_and_to_the_end(self) -> None:
        line = Line(latency(0.5))
        line.send(ANSWER, at=1.0)
        line.send(FRAMES[0], FRAMES[1], at=2.0)
        line.end(at=3.0)
        assert [piece.at for piece in line.pieces] == [1.5, 2.5, 2.5, 3.5]

    def test_jitter_is_drawn_for_each_frame_and_is_the_same_for_one_key(self) -> None:
        times = []
        for parts, key in zip((*splits(b"".join(FRAMES)), FRAMES), ("1/1", "1/1", "1/1", "2/1"), strict=True):
            line = Line(latency(1.0, jitter_s=0.5), key=key)
            line.send(ANSWER, *parts)
            times.append([piece.at for piece in line.pieces if piece.starts])
            assert all(0.5 <= at <= 1.5 for at in times[-1])
            assert len({piece.at for piece in line.pieces}) == len(FRAMES) + 1
        whole, bytewise, sevens, other = times
        assert whole == bytewise == sevens != other

    def test_bandwidth_lets_no_byte_through_early_and_saves_nothing_up(self) -> None:
        line = Line(bandwidth(1000))
        line.send(bytes(100), at=5.0)
        line.send(bytes(50), at=9.0)
        assert {len(piece.data) for piece in line.pieces} <= {20, 10}
        assert [piece.at for piece in line.pieces] == pytest.approx([5.02, 5.04, 5.06, 5.08, 5.1, 9.02, 9.04, 9.05])
        assert line.seen == (bytes(150), None)

    def test_bandwidth_after_latency_counts_from_the_later_time(self) -> None:
        line = Line(latency(1.0), bandwidth(100))
        line.send(bytes(4), at=0.0)
        assert [piece.at for piece in line.pieces] == pytest.approx([1.02, 1.04])

    def test_the_slicer_pauses_between_parts_that_hold_one_frame_at_most(self) -> None:
        line = Line(slicer(5, 0.5))
        line.send(ANSWER)
        line.pieces.clear()
        line.send(FRAMES[0] + FRAMES[1], at=100.0)
        assert [(len(piece.data), piece.at) for piece in line.pieces] == [(5, 100.0), (2, 100.5), (5, 101.0), (2, 101.5)]
        assert [(piece.starts, piece.ends) for piece in line.pieces] == [(True, False), (False, True)] * 2
        assert line.seen == (FRAMES[0] + FRAMES[1], None)

    def test_slow_close_delays_the_fin_alone(self) -> None:
        for end, at in ((End.FIN, 3.0), (End.RST, 1.0)):
            line = Line(slow_close(2.0))
            line.send(b"data")
            line.end(end, at=1.0)
            assert [piece.at for piece in line.pieces] == [0.0, at]


class TestEnds:
    @pytest.mark.parametrize(("toxic", "end"), [(limit_data(70), End.FIN), (reset_peer(70), End.RST), (limit_data(0), End.FIN)])
    def test_so_many_bytes_go_through_whatever_the_split(self, toxic: limit_data, end: End) -> None:
        data = ANSWER + b"".join(FRAMES)
        for parts in splits(data):
            line = Line(toxic)
            line.send(*parts)
            assert line.seen == (data[: toxic.after_bytes], end)

    def test_the_end_comes_with_the_last_byte(self) -> None:
        line = Line(limit_data(4))
        line.send(b"data")
        assert line.seen == (b"data", End.FIN)
        assert line.log == [(0, "limit_data")]

    def test_each_connection_has_a_count_of_its_own(self) -> None:
        toxic = limit_data(4)
        for _ in range(2):
            line = Line(toxic)
            line.send(b"dat")
            assert line.seen == (b"dat", None)

    def test_the_log_names_the_frame_that_was_cut(self) -> None:
        line = Line(limit_data(len(ANSWER) + len(FRAMES[0]) + 1))
        line.send(ANSWER, *FRAMES)
        assert line.log == [(2, "limit_data")]


class TestFrames:
    def test_drop(self) -> None:
        assert seen(drop(2), PINGED) == (b"".join([*PINGED[:2], *PINGED[3:]]), [(2, "drop")])

    def test_duplicate(self) -> None:
        assert seen(duplicate(2), PINGED) == (b"".join([*PINGED[:3], *PINGED[2:]]), [(2, "duplicate")])

    def test_reorder_swaps_with_the_next_data_frame_and_lets_control_frames_pass(self) -> None:
        first, ping, second, *others = PINGED
        assert seen(reorder(1), PINGED) == (b"".join([ping, second, first, *others]), [(1, "reorder")])

    @pytest.mark.parametrize("size", [10, 300, 70_000])
    def test_corrupt_changes_one_to_four_bytes_of_the_payload(self, size: int) -> None:
        sent = frame(bytes(size))
        line = Line(corrupt(2))
        line.send(ANSWER, FRAMES[0], sent, FRAMES[2])
        http, before, data, after = (piece.data for piece in line.pieces)
        assert (http, before, after) == (ANSWER, FRAMES[0], FRAMES[2])
        head = header_size(sent)
        assert data[:head] == sent[:head]
        assert 1 <= sum(byte != 0 for byte in data[head:]) <= 4
        assert line.log == [(2, "corrupt")]
        assert seen(corrupt(1), FRAMES[:2]) == seen(corrupt(1), FRAMES[:2]) != seen(corrupt(1), FRAMES[:2], key="2/1")

    def test_an_empty_payload_cannot_be_corrupted(self) -> None:
        assert seen(corrupt(1), [frame(b"")]) == (frame(b""), [])

    def test_cut_mid_frame_ends_after_half_of_it(self) -> None:
        for parts in splits(ANSWER + b"".join(FRAMES)):
            line = Line(cut_mid_frame(2))
            line.send(*parts)
            assert line.seen == (ANSWER + FRAMES[0] + FRAMES[1][: len(FRAMES[1]) // 2], End.RST)
            assert line.log == [(2, "cut_mid_frame")]

    @pytest.mark.parametrize("kind", [drop, duplicate, corrupt])
    def test_one_in_n_is_one_of_every_n_by_the_key(self, kind: type[FrameToxic]) -> None:
        frames = [frame(b"%03d" % number) for number in range(1, 101)]
        _, log = seen(kind(one_in=10), frames)
        assert [number for number, _ in log] == sorted({number for number, _ in log})
        assert [(number - 1) // 10 for number, _ in log] == list(range(10))
        assert len({(number - 1) % 10 for number, _ in log}) > 2
        assert seen(kind(one_in=10), frames)[1] == log != seen(kind(one_in=10), frames, key="1/2")[1]

    def test_the_frames_that_are_meant_do_not_depend_on_when_the_toxic_came(self) -> None:
        frames = [frame(b"%03d" % number) for number in range(1, 101)]
        _, whole = seen(drop(one_in=10), frames)
        line = Line()
        line.send(ANSWER, *frames[:50])
        line.add(drop(one_in=10))
        line.send(*frames[50:])
        assert line.log == whole[5:]

    def test_toxics_work_one_after_the_other(self) -> None:
        line = Line(duplicate(1), reorder(3), drop(2), slicer(3, 0.1), limit_data(len(ANSWER) + 30))
        line.send(ANSWER, *FRAMES)
        assert line.seen == ((ANSWER + FRAMES[0] * 2 + FRAMES[3] + FRAMES[2] + FRAMES[4])[: len(ANSWER) + 30], End.FIN)

    def test_an_end_passes_a_toxic_that_means_its_frame(self) -> None:
        line = Line(cut_mid_frame(1), drop(1))
        line.send(ANSWER, FRAMES[0])
        assert line.seen[1] is End.RST

    @pytest.mark.parametrize("choice", [{}, {"frame": 1, "one_in": 2}])
    def test_either_a_number_or_one_in_n(self, choice: dict[str, int]) -> None:
        with pytest.raises(ValueError, match="either"):
            drop(**choice)

    @pytest.mark.parametrize("kind", [drop, duplicate, corrupt, reorder, cut_mid_frame])
    def test_a_frame_that_had_begun_is_not_touched(self, kind: type[FrameToxic]) -> None:
        line = Line()
        line.send(ANSWER, FRAMES[0][:3])
        line.add(kind(1))
        line.send(FRAMES[0][3:], FRAMES[1])
        assert line.seen == (ANSWER + FRAMES[0] + FRAMES[1], None)

    @pytest.mark.parametrize("kind", [drop, duplicate, corrupt, reorder, cut_mid_frame])
    def test_what_a_lifted_toxic_has_in_hand_is_finished(self, kind: type[FrameToxic]) -> None:
        toxic = kind(1)
        line = Line(toxic)
        line.send(ANSWER, FRAMES[0][:3])
        toxic.lifted.set()
        assert line.toxics[0].has_in_hand
        line.send(FRAMES[0][3:], *FRAMES[1:3])
        assert line.log == [(1, kind.__name__)]
        assert not line.toxics[0].has_in_hand

    def test_a_lifted_toxic_means_no_more_frames(self) -> None:
        toxic = drop(one_in=1)
        line = Line(toxic)
        line.send(ANSWER, FRAMES[0])
        toxic.lifted.set()
        line.send(FRAMES[1])
        assert line.seen == (ANSWER + FRAMES[1], None)

    def test_a_frame_that_the_server_never_finished_comes_as_far_as_it_came(self) -> None:
        line = Line(drop(1))
        line.send(ANSWER, FRAMES[0][:3])
        line.end()
        assert line.seen == (ANSWER + FRAMES[0][:3], End.FIN)

    @pytest.mark.parametrize("last", [frame(b"\x03\xe8", CLOSE), b""])
    def test_a_frame_with_none_to_swap_with_keeps_its_place(self, last: bytes) -> None:
        line = Line(reorder(2))
        line.send(ANSWER, *FRAMES[:2], last)
        line.end()
        assert line.seen == (ANSWER + FRAMES[0] + FRAMES[1] + last, End.FIN)
        assert line.log == []

    def test_a_frame_is_not_put_inside_another_one(self) -> None:
        line = Line(reorder(1))
        line.send(ANSWER, FRAMES[0], FRAMES[1][:3])
        line.end()
        assert line.seen == (ANSWER + FRAMES[1][:3], End.FIN)
        assert line.log == [(1, "reorder")]

    def test_a_frame_that_overtakes_is_not_held_itself(self) -> None:
        assert seen(reorder(one_in=1), FRAMES[:4]) == (b"".join(FRAMES[i] for i in (1, 0, 3, 2)), [(1, "reorder"), (3, "reorder")])


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Sends back what it is sent, so that the client says what the server sends."""
    while data := await reader.read(READ):
        writer.write(data)
        await writer.drain()


async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Resets as soon as it is sent something."""
    await reader.read(1)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@asynccontextmanager
async def serving(serve: Serve) -> AsyncIterator[int]:
    """A server on loopback; gives its port."""
    tasks: list[asyncio.Task[Any]] = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.append(task)
        try:
            await serve(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await asyncio.wait_for(asyncio.gather(*tasks), 20)  # they see that the other side has gone


class Client:
    """A raw socket, because a stream forgets what came before a RST."""

    def __init__(self) -> None:
        self.socket = socket.socket()
        self.socket.setblocking(False)

    async def connect(self, port: int) -> None:
        await asyncio.get_running_loop().sock_connect(self.socket, ("127.0.0.1", port))

    async def send(self, *parts: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.socket, b"".join(parts))

    async def read(self, size: int) -> bytes:
        """So many bytes."""
        data = b""
        while len(data) < size:
            part = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self.socket, size - len(data)), 20)
            assert part, f"the end after {data!r}"
            data += part
        return data

    async def rest(self) -> tuple[bytes, End]:
        """Everything that still comes, and how it ends."""
        parts: list[bytes] = []
        try:
            while part := await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self.socket, READ), 20):
                parts.append(part)
        except ConnectionResetError:
            return b"".join(parts), End.RST
        return b"".join(parts), End.FIN

    async def is_quiet(self, seconds: float = 0.05) -> bool:
        """Whether nothing comes for a while, the end neither."""
        try:
            await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self.socket, 1), seconds)
        except TimeoutError:
            return True
        return False


@asynccontextmanager
async def client(port: int) -> AsyncIterator[Client]:
    one = Client()
    try:
        await one.connect(port)
        yield one
    finally:
        one.socket.close()


@asynccontextmanager
async def through(*toxics: Toxic, serve: Serve = echo, seed: int = 1) -> AsyncIterator[tuple[FaultProxy, Client]]:
    """A server, the proxy in front of it, and a connected client; at the end nothing of them is left."""
    files = open_files()
    async with serving(serve) as port:
        async with FaultProxy(port, seed=seed) as proxy:
            for toxic in toxics:
                proxy.add(toxic)
            async with client(proxy.port) as one:
                yield proxy, one
        assert [task for task in asyncio.all_tasks() if "_Connection" in repr(task)] == []
    await until(lambda: open_files() == files)


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


async def until(condition: Callable[[], bool]) -> None:
    """Wait until ``condition`` holds, which must be soon."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.001)


def elapsed(since: float) -> float:
    return asyncio.get_running_loop().time() - since


class TestPassing:
    def test_without_toxics_bytes_are_the_same_in_both_directions(self) -> None:
        sent = ANSWER + b"".join(FRAMES) + frame(random.Random(1).randbytes(3_000_000)) + b"".join(FRAMES)

        async def run() -> None:
            async with through() as (proxy, one):
                chance = random.Random(2)
                writing = asyncio.create_task(self.write(one, sent, chance))
                assert await one.rest() == (sent, End.FIN)
                await writing
                assert proxy.log == []

        asyncio.run(run())

    @staticmethod
    async def write(one: Client, data: bytes, chance: random.Random) -> None:
        place = 0
        while place < len(data):
            size = chance.choice([1, 7, 1000, 300_000])
            await one.send(data[place : place + size])
            await asyncio.sleep(0)
            place += size
        one.socket.shutdown(socket.SHUT_WR)

    def test_http_requests_of_the_same_port_pass(self) -> None:
        body = b'{"id": 1, "text": "\x81\x02ab"}'
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            assert await reader.readuntil(b"\r\n\r\n") == b"GET /book HTTP/1.1\r\n\r\n"
            writer.write(answer)

        async def run() -> None:
            async with through(drop(one_in=1), serve=serve) as (proxy, one):
                await one.send(b"GET /book HTTP/1.1\r\n\r\n")
                assert await one.rest() == (answer, End.FIN)
                assert proxy.log == []

        asyncio.run(run())

    def test_a_client_that_does_not_read_holds_the_server_up(self) -> None:
        whole = 32 << 20
        written = 0

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal written
            while written < whole:
                writer.write(bytes(READ))
                written += READ
                await writer.drain()

        async def run() -> None:
            async with through(serve=serve) as (_, one):
                before = -1
                while written != before:
                    before = written
                    await asyncio.sleep(0.1)
                assert written < whole
                assert await one.rest() == (bytes(whole), End.FIN)

        asyncio.run(run())

    def test_a_server_that_resets_or_is_not_there_resets_the_client(self) -> None:
        async def run() -> None:
            async with through(serve=reset) as (_, one):
                await one.send(b"x")
                assert await one.rest() == (b"", End.RST)
            with socket.socket() as nobody:
                nobody.bind(("127.0.0.1", 0))
                async with FaultProxy(nobody.getsockname()[1]) as proxy, client(proxy.port) as one:
                    assert await one.rest() == (b"", End.RST)

        asyncio.run(run())

    def test_closing_ends_connections_that_are_busy(self) -> None:
        async def run() -> None:
            one = Client()
            async with serving(echo) as port:
                async with FaultProxy(port) as proxy:
                    for toxic in (latency(100.0), slow_close(100.0)):
                        proxy.add(toxic)
                    await one.connect(proxy.port)
                    await one.send(ANSWER, *FRAMES)
                    one.socket.shutdown(socket.SHUT_WR)
                    assert await one.is_quiet()
                assert await one.rest() == (b"", End.FIN)
            one.socket.close()

        asyncio.run(run())

    def test_a_mistake_in_a_toxic_comes_out_at_the_end(self) -> None:
        class Mistaken(Toxic):
            def harm(self, piece: Piece) -> Iterator[Piece]:
                raise LookupError("mistaken")

        async def run() -> None:
            async with through(Mistaken()) as (_, one):
                await one.send(b"x")
                await one.rest()

        with pytest.raises(ExceptionGroup) as caught:
            asyncio.run(run())
        assert caught.group_contains(LookupError, match="mistaken")


class TestToxics:
    """Each over real sockets, added to a connection that has its upgrade behind it."""

    def test_latency_delays_until_it_is_removed(self) -> None:
        async def run() -> None:
            async with through() as (proxy, one):
                started = asyncio.get_running_loop().time()
                slow = proxy.add(latency(0.1))
                await one.send(ANSWER)
                await one.read(len(ANSWER))
                assert elapsed(started) >= 0.1
                proxy.remove(slow)
                slow = proxy.add(latency(1000.0))
                await one.send(*FRAMES)
                assert await one.is_quiet()
                proxy.remove(slow)
                assert await one.read(len(b"".join(FRAMES))) == b"".join(FRAMES)

        asyncio.run(run())

    def test_what_is_delayed_overlaps(self) -> None:
        async def run() -> None:
            async with through(latency(0.2)) as (_, one):
                started = asyncio.get_running_loop().time()
                for data in (ANSWER, *FRAMES * 10):
                    await one.send(data)
                    await asyncio.sleep(0.001)
                await one.read(len(ANSWER + b"".join(FRAMES * 10)))
                assert 0.2 <= elapsed(started) < 91 * 0.2

        asyncio.run(run())

    @pytest.mark.parametrize("slow", [bandwidth(1000.0), slicer(10, 0.01)], ids=["bandwidth", "slicer"])
    def test_data_take_their_time_until_the_toxic_is_removed(self, slow: Toxic) -> None:
        async def run() -> None:
            async with through(slow) as (proxy, one):
                started = asyncio.get_running_loop().time()
                await one.send(bytes(110))
                await one.read(110)
                assert elapsed(started) >= 0.1
                await one.send(bytes(1_000_000))
                await one.read(10)
                proxy.remove(slow)
                assert await one.read(999_990) == bytes(999_990)

        asyncio.run(run())

    def test_slow_close_lets_data_pass_and_holds_the_fin(self) -> None:
        async def run() -> None:
            async with through() as (proxy, one):
                slow = proxy.add(slow_close(1000.0))
                await one.send(b"data")
                one.socket.shutdown(socket.SHUT_WR)
                assert await one.read(4) == b"data"
                assert await one.is_quiet()
                proxy.remove(slow)
                assert await one.rest() == (b"", End.FIN)

        asyncio.run(run())

    def test_timeout_swallows_whole_frames_and_holds_the_end_until_it_is_lifted(self) -> None:
        async def run() -> None:
            async with through() as (proxy, one):
                await one.send(ANSWER, FRAMES[0], FRAMES[1][:3])
                await one.read(len(ANSWER + FRAMES[0]) + 3)
                hole = proxy.add(timeout())
                await one.send(FRAMES[1][3:], FRAMES[2], FRAMES[3][:3])
                assert await one.read(len(FRAMES[1]) - 3) == FRAMES[1][3:]
                assert await one.is_quiet()
                proxy.remove(hole)
                await one.send(FRAMES[3][3:], FRAMES[4])
                assert await one.read(len(FRAMES[4])) == FRAMES[4]
                assert proxy.log == [(3, "timeout"), (4, "timeout")]
                hole = proxy.add(timeout())
                one.socket.shutdown(socket.SHUT_WR)
                assert await one.is_quiet()
                proxy.remove(hole)
                assert await one.rest() == (b"", End.FIN)

        asyncio.run(run())

    def test_timeout_hides_that_the_server_is_gone_whatever_the_client_does(self) -> None:
        async def run() -> None:
            async with through(serve=reset) as (proxy, one):
                hole = proxy.add(timeout())
                for _ in range(3):
                    await one.send(b"x")
                    assert await one.is_quiet()
                one.socket.shutdown(socket.SHUT_WR)
                assert await one.is_quiet()
                proxy.remove(hole)
                assert await one.rest() == (b"", End.RST)

        asyncio.run(run())

    def test_timeout_swallows_what_another_toxic_delays(self) -> None:
        async def run() -> None:
            async with through() as (proxy, one):
                slow = proxy.add(latency(1000.0))
                await one.send(ANSWER)
                assert await one.is_quiet()
                hole = proxy.add(timeout())
                proxy.remove(slow)
                assert await one.is_quiet()
                proxy.remove(hole)
                await one.send(FRAMES[0])
                assert await one.read(len(FRAMES[0])) == FRAMES[0]

        asyncio.run(run())

    def test_reset_peer_resets_at_once_and_every_new_connection_too(self) -> None:
        async def run() -> None:
            async with through() as (proxy, one):
                await one.send(ANSWER)
                await one.read(len(ANSWER))
                reset = proxy.add(reset_peer())
                assert await one.rest() == (b"", End.RST)
                async with client(proxy.port) as other:
                    assert await other.rest() == (b"", End.RST)
                proxy.remove(reset)
                async with client(proxy.port) as other:
                    await other.send(b"data")
                    assert await other.read(4) == b"data"
                assert proxy.log == [(0, "reset_peer")] * 2

        asyncio.run(run())

    @pytest.mark.parametrize(("toxic", "end"), [(limit_data(2_000_000), End.FIN), (reset_peer(2_000_000), End.RST)])
    def test_every_byte_before_the_end_comes_however_many_they_are(self, toxic: Toxic, end: End) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(bytes(10_000_000))
            await reader.read()

        async def run() -> None:
            async with through(toxic, serve=serve) as (_, one):
                data, how = await one.rest()
                assert (len(data), how) == (2_000_000, end)

        asyncio.run(run())

    def test_what_comes_after_the_limit_is_thrown_away(self) -> None:
        written = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(bytes(32 << 20))
            await writer.drain()
            written.set()

        async def run() -> None:
            async with through(limit_data(4), serve=serve) as (_, one):
                await asyncio.wait_for(written.wait(), 20)
                assert await one.rest() == (bytes(4), End.FIN)

        asyncio.run(run())

    def test_while_down_the_port_is_kept(self) -> None:
        async def run() -> None:
            async with FaultProxy(1) as proxy:
                proxy.add(down())
                with socket.socket() as other, pytest.raises(OSError, match="in use"):
                    other.bind(("127.0.0.1", proxy.port))

        asyncio.run(run())

    def test_down_refuses_and_drops_until_it_is_removed(self) -> None:
        async def run() -> None:
            async with through() as (proxy, one):
                async with client(proxy.port) as other:
                    other.socket.shutdown(socket.SHUT_WR)
                    await other.rest()
                await one.send(ANSWER)
                await one.read(len(ANSWER))
                closed = proxy.add(down())
                with pytest.raises(ConnectionRefusedError):
                    async with client(proxy.port):
                        pass
                assert await one.rest() == (b"", End.FIN)
                proxy.remove(closed)
                async with client(proxy.port) as other:
                    await other.send(b"data")
                    assert await other.read(4) == b"data"
                assert proxy.log == [(0, "down")]

        asyncio.run(run())

    def test_frames_are_harmed_by_number_in_each_connection(self) -> None:
        async def run() -> None:
            async with through(drop(1), duplicate(2), reorder(3)) as (proxy, one), client(proxy.port) as other:
                for each in (one, other):
                    await each.send(ANSWER, *FRAMES[:4])
                    each.socket.shutdown(socket.SHUT_WR)
                    assert await each.rest() == (ANSWER + FRAMES[1] * 2 + FRAMES[3] + FRAMES[2], End.FIN)
                assert proxy.log == [(1, "drop"), (2, "duplicate"), (3, "reorder")] * 2

        asyncio.run(run())

    @pytest.mark.parametrize("size", [100, 3_000_000])
    def test_a_frame_is_cut_after_all_that_came_before_and_half_of_itself(self, size: int) -> None:
        cut = frame(bytes(size))

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(ANSWER + FRAMES[0] + cut + FRAMES[1])
            await reader.read()

        async def run() -> None:
            async with through(cut_mid_frame(2), serve=serve) as (proxy, one):
                assert await one.rest() == (ANSWER + FRAMES[0] + cut[: len(cut) // 2], End.RST)
                assert proxy.log == [(2, "cut_mid_frame")]

        asyncio.run(run())

    def test_one_seed_harms_the_same_frames_and_another_seed_others(self) -> None:
        async def log_of(seed: int) -> Log:
            async with through(drop(one_in=3), corrupt(one_in=3), seed=seed) as (proxy, one):
                await one.send(ANSWER, *FRAMES * 5)
                one.socket.shutdown(socket.SHUT_WR)
                await one.rest()
                return proxy.log

        first, again, other = (asyncio.run(log_of(seed)) for seed in (1, 1, 2))
        assert first == again != other

    def test_a_removed_toxic_does_nothing_more_and_can_be_added_again(self) -> None:
        async def run() -> None:
            async with through() as (proxy, one):
                limit = proxy.add(limit_data(10))
                await one.send(b"1234")
                await one.read(4)
                proxy.remove(limit)
                await one.send(b"567890")
                await one.read(6)
                slow = proxy.add(latency(1000.0))
                for _ in range(2):
                    await one.send(b"data")
                    assert await one.is_quiet()
                    proxy.remove(slow)
                    assert await one.read(4) == b"data"
                    proxy.add(slow)

        asyncio.run(run())

    def test_a_removed_toxic_finishes_its_frame_and_touches_no_other(self) -> None:
        async def run() -> None:
            async with through() as (proxy, one):
                swap = proxy.add(reorder(one_in=1))
                await one.send(ANSWER, FRAMES[0])
                await one.read(len(ANSWER))
                proxy.remove(swap)
                await one.send(*FRAMES[1:4])
                expected = FRAMES[1] + FRAMES[0] + FRAMES[2] + FRAMES[3]
                assert await one.read(len(expected)) == expected

        asyncio.run(run())
