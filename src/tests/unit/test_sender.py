"""When frames are due, and what they are put into."""

import pytest

from tests.performance.sender import SATURATED, Schedule, framed


def test_a_steady_schedule_has_each_frame_at_its_time_whatever_was_before() -> None:
    assert Schedule(4000.0).due_ns(4) == [0, 250_000, 500_000, 750_000]
    assert Schedule(3.0).due_ns(100_000)[-1] == round(99_999 * 1e9 / 3)


def test_bursts_are_ten_times_as_fast_for_a_tenth_of_the_time() -> None:
    due = Schedule(1000.0, 10).due_ns(250)
    assert [after % 100_000_000 for after in due[:100]] == [100_000 * n for n in range(100)]
    assert [due[0], due[100], due[200]] == [0, 100_000_000, 200_000_000]
    assert due[99] < 10_000_000 and due[199] < 110_000_000


def test_bursts_have_the_mean_of_their_rate() -> None:
    steady, bursts = Schedule(1000.0), Schedule(1000.0, 10)
    assert bursts.due_ns(501)[500] == steady.due_ns(501)[500]
    assert bursts.lasts_s(500) == steady.lasts_s(500) == 0.5


def test_what_goes_as_fast_as_it_is_taken_is_due_at_once() -> None:
    assert SATURATED.due_ns(3) == [0, 0, 0]
    assert SATURATED.lasts_s(1_000_000) == 0.0


@pytest.mark.parametrize("raw, opcode", [(b'{"a":1}', 0x1), (b"\x0a\x03abc", 0x2)])
def test_json_is_text_and_protobuf_is_binary(raw: bytes, opcode: int) -> None:
    assert framed(raw) == bytes([0x80 | opcode, len(raw)]) + raw


@pytest.mark.parametrize(
    "size, length", [(125, b"\x7d"), (126, b"\x7e\x00\x7e"), (65_535, b"\x7e\xff\xff"), (65_536, b"\x7f" + (65_536).to_bytes(8, "big"))]
)
def test_a_length_takes_as_many_bytes_as_it_needs(size: int, length: bytes) -> None:
    assert framed(b"{" * size) == b"\x81" + length + b"{" * size
