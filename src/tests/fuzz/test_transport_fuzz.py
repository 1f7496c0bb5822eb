"""Any bytes give messages and one Loss, however they are split, and nothing else ever comes of them."""

import asyncio
import contextlib
import gc
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from infrastructure.errors import ConnectFailed
from infrastructure.networking.retry_after import retry_after_s
from infrastructure.networking.websocket.link import LossCause
from infrastructure.networking.websocket.transport import excerpt
from tests.harness.bare_server import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    BareServer,
    Handled,
    JumpingLoop,
    Line,
    Peer,
    close,
    frame,
    more,
    text,
    upgrade,
)
from tests.harness.effort import effort

CAP = 70_000
Answer = Callable[[bytes], bytes]


class Outcome(NamedTuple):
    """What came of a connection."""

    messages: list[bytes]
    cause: LossCause
    code: int | None


class Bench:
    """One loop and one server for all examples: a run of the test is too short for one each."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner(loop_factory=JumpingLoop)
        self._answer: Answer = upgrade
        self._pieces: Sequence[bytes] = ()
        self.problems: Handled = []
        self._runner.get_loop().set_exception_handler(lambda _, context: self.problems.append(context))
        self._server = BareServer(self._script)
        self._runner.run(self._server.__aenter__())

    def close(self) -> None:
        """Nothing may have gone to the exception handler, at the very end either."""
        self._runner.run(self._server.__aexit__())
        self._runner.close()
        gc.collect()
        assert self.problems == []

    def outcome(self, *pieces: bytes, answer: Answer = upgrade) -> Outcome | ConnectFailed:
        """What comes of these pieces after ``answer`` to the request, each one read, then FIN."""
        self._answer, self._pieces = answer, pieces
        outcome = self._runner.run(self._connect())
        assert self.problems == []
        return outcome

    async def _connect(self) -> Outcome | ConnectFailed:
        line = Line()
        try:
            await line.open(self._server, max_message_bytes=CAP, close_timeout_s=1)
        except ConnectFailed as error:
            assert line.messages == [] and line.loss is None and str(error).isprintable()
            return error
        loss = await line.lost()
        assert loss.reason.isprintable()
        return Outcome(line.messages, loss.cause, loss.code)

    async def _script(self, peer: Peer) -> None:
        reading = None
        with contextlib.suppress(OSError):  # the client is gone already
            await peer.send(self._answer(await peer.asked()))
            reading = asyncio.ensure_future(peer.gone())  # or what we do not read would make a RST of our FIN
            for piece in self._pieces:
                await asyncio.sleep(0)
                await peer.send(piece)
            peer.writer.write_eof()
        if reading is not None:
            await reading


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.close()


PAYLOADS = st.binary(max_size=20) | st.sampled_from([bytes(125), bytes(126), bytes(65_535), bytes(65_536), b"\xff\xfe"])
CONTROLS = st.builds(frame, st.sampled_from([PING, PONG]), st.binary(max_size=125))


@st.composite
def messages(draw: st.DrawFn) -> tuple[list[bytes], bytes]:
    """A message, whole or in parts with control frames between them: the frames, and what they say."""
    parts = draw(st.lists(PAYLOADS, min_size=1, max_size=4))
    opcode = draw(st.sampled_from([TEXT, BINARY]))
    frames = [frame(opcode, parts[0], fin=len(parts) == 1)]
    for number, part in enumerate(parts[1:], 2):
        frames += [*draw(st.lists(CONTROLS, max_size=2)), more(part, fin=number == len(parts))]
    return frames, b"".join(parts)


SAID = st.lists(messages(), max_size=6).map(lambda said: [(frames, text) for frames, text in said if len(text) <= CAP])
WILD_FRAMES = st.builds(
    frame,
    st.sampled_from([CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG, 0x3, 0xF]),
    st.binary(max_size=130),
    fin=st.booleans(),
    rsv=st.sampled_from([0, 0, 0, 0, 4, 1]),
    length=st.none() | st.none() | st.sampled_from([0, 1, 125, 126, CAP, CAP + 1, 1 << 31, (1 << 63) - 1, 1 << 63, (1 << 64) - 1]),
    masked=st.sampled_from([False, False, False, True]),
)
CLOSES = st.builds(close, st.none() | st.integers(0, 65_535), st.binary(max_size=10))
TAMPERED = st.builds(
    lambda said, place, damage: b"".join(b"".join(frames) for frames, _ in said)[:place] + damage,
    SAID,
    st.integers(0, 300),
    st.binary(max_size=12),
)
WILD = st.binary(max_size=60) | st.lists(WILD_FRAMES | CLOSES | CONTROLS, max_size=6).map(b"".join) | TAMPERED
CUTS = st.lists(st.integers(0, 400) | st.integers(0, 200_000), max_size=12)


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    """``data`` in pieces that end at ``cuts``."""
    places = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    return [data[begin:end] for begin, end in zip(places, places[1:], strict=False)]


@effort(60)
@given(said=SAID, cuts=CUTS, code=st.sampled_from([None, 1000, 1001, 4321]))
def test_any_split_of_a_valid_stream_gives_its_messages(
    bench: Bench, said: list[tuple[list[bytes], bytes]], cuts: list[int], code: int | None
) -> None:
    stream = b"".join(b"".join(frames) for frames, _ in said) + close(code)
    expected = Outcome([text for _, text in said], LossCause.CLOSED_BY_VENUE, code or 1005)
    assert bench.outcome(*split(stream, cuts)) == expected


@effort(150)
@given(data=WILD, cuts=CUTS)
@example(data=text(b"a") + close(1000) + b"\xff\xff", cuts=[5])
@example(data=text(b"a", fin=False) + frame(CLOSE, b"\x03\xe8"), cuts=[])
def test_any_bytes_give_messages_and_one_loss_however_they_are_split(bench: Bench, data: bytes, cuts: list[int]) -> None:
    whole = bench.outcome(data)
    assert isinstance(whole, Outcome)
    assert whole.cause in (LossCause.CLOSED_BY_VENUE, LossCause.CUT, LossCause.PROTOCOL, LossCause.TOO_BIG)
    assert (whole.code is None) == (whole.cause is LossCause.CUT)
    assert bench.outcome(*split(data, cuts)) == whole


def test_one_byte_at_a_time_gives_the_same(bench: Bench) -> None:
    data = (
        text(b"one") + text(b"t", fin=False) + frame(PING, b"?") + more(b"wo", fin=True) + frame(BINARY, bytes(126)) + close(4000, b"bye")
    )
    assert bench.outcome(*split(data, list(range(len(data))))) == bench.outcome(data)


def tampered(place: int, removed: int, inserted: bytes) -> Answer:
    """The right answer with something else in one place."""

    def answer(request: bytes) -> bytes:
        right = upgrade(request)
        begin = place % (len(right) + 1)
        return right[:begin] + inserted + right[begin + removed :]

    return answer


ANSWERS = st.builds(
    tampered,
    st.integers(0, 200),
    st.integers(0, 20) | st.just(1000),
    st.binary(max_size=12) | st.sampled_from([b"\r\n", b"\r\n\r\n", b":", b" "]),
) | st.binary(max_size=80).map(lambda data: lambda request: data + b"\r\n\r\n")


@effort(100)
@given(answer=ANSWERS)
def test_any_answer_to_the_handshake_opens_the_connection_or_is_refused(bench: Bench, answer: Answer) -> None:
    outcome = bench.outcome(text(b"data"), answer=answer)
    assert isinstance(outcome, ConnectFailed) or outcome.cause in (
        LossCause.CUT,
        LossCause.PROTOCOL,
        LossCause.CLOSED_BY_VENUE,
        LossCause.TOO_BIG,
    )


@effort(100)
@given(value=st.text() | st.from_regex(r"\A[A-Z][a-z]{2}, \d{1,2} [A-Z][a-z]{2} \d{1,5} \d\d:\d\d:\d\d( GMT| [+-]\d{4})?\Z"))
def test_a_wait_is_a_number_of_seconds_or_none(value: str) -> None:
    wait_s = retry_after_s(value, 0)
    assert wait_s is None or 0 <= wait_s < float("inf")


@effort(100)
@given(words=st.text(), secrets=st.lists(st.text(min_size=6, max_size=8), max_size=3))
def test_an_excerpt_can_be_printed(words: str, secrets: list[str]) -> None:
    shown = excerpt(words + "".join(secrets), secrets)
    assert len(shown) <= 200 and shown.isprintable()
