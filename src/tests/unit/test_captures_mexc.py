"""What MEXC's captures hold beside the values of their frames: their bytes, frames without data, answers."""

import asyncio
from collections import Counter
from pathlib import Path

from msgspec.structs import replace

from infrastructure.credentials import Credentials, Secret
from infrastructure.events import MessageType
from infrastructure.exchanges.mexc.spot import MEXC_SPOT
from infrastructure.feed import OfflineFeed
from infrastructure.venue import Acknowledgement, Pong, Unknown
from tests.harness.account_lane import AccountLane
from tests.harness.captures import lines
from tests.harness.frames import Seen
from tests.harness.mexc_frames import BODIES, answer, encode
from tests.harness.mexc_reading import OWN, PRIVATE, PUSHES, VENUE, expected, expected_private, pushes
from tests.harness.receivers import drained
from tests.harness.variants import Variant

CONTROL = "mexc_spot_control"
ACCOUNT = MEXC_SPOT.of_account(Credentials(Secret("key"), Secret("secret")))


def test_the_bytes_of_every_frame_are_those_of_a_second_writing(captures: Path) -> None:
    frames = [*pushes(captures), *pushes(captures, PRIVATE)]
    assert len(frames) > 20
    for raw, frame in frames:
        assert encode(frame) == raw, frame["channel"]


def test_the_captures_hold_every_public_channel(captures: Path) -> None:
    channels = Counter("@".join(frame["channel"].split("@")[:2]) for _, frame in pushes(captures) if set(frame) & set(BODIES))
    assert set(channels) == set(MEXC_SPOT.channels)


def test_frames_without_a_body_and_private_ones_say_nothing_and_raise_nothing(captures: Path) -> None:
    silent = [raw for raw, frame in [*pushes(captures), *pushes(captures, PRIVATE)] if not expected(frame)]
    assert len(silent) == 8
    assert {type(message) for raw in silent for message in MEXC_SPOT.codec.decode(raw)} == {Unknown}


def test_every_answer_is_read_as_what_it_is(captures: Path) -> None:
    seen = []
    for line in lines(captures / f"{CONTROL}.jsonl"):
        if line["dir"] == "in":
            (message,) = MEXC_SPOT.codec.decode(line["raw"].encode())
            assert MEXC_SPOT.codec.decode(line["raw"]) == [message]
            seen.append(message)
    agreed, pong, refused, key = seen
    assert agreed == Acknowledgement("", "", ("spot@public.aggre.bookTicker.v3.api.pb@10ms@BTCUSDT",))
    assert pong == Pong(None)
    words = "Not Subscribed successfully! [spot@public.miniTicker.v3.api@BTCUSDT@UTC+0].  Reason： Blocked!"
    assert refused == Acknowledgement("", "", ("spot@public.miniTicker.v3.api@BTCUSDT@UTC+0",), error=words)
    assert key == Acknowledgement("", "", error="Invalid listen key")


def test_every_variant_reads_the_answers(captures: Path, variant: Variant) -> None:
    seen = Seen()

    async def show() -> OfflineFeed:
        feed = variant.feed(venue=VENUE, **seen.callbacks)
        for line in lines(captures / f"{CONTROL}.jsonl"):
            if line["dir"] == "in":
                feed.deliver(line["raw"].encode(), 0)
        await drained(feed)
        return feed

    accounting = asyncio.run(show()).accounting.frames
    assert accounting.rejected == 0
    assert [error.text for error in seen.errors] == [
        "Not Subscribed successfully! [spot@public.miniTicker.v3.api@BTCUSDT@UTC+0].  Reason： Blocked!",
        "Invalid listen key",
    ]


def test_every_frame_says_to_the_owner_of_an_account_what_stands_beside_it(captures: Path) -> None:
    frames = list(pushes(captures, *PUSHES, PRIVATE))
    for raw, frame in frames:
        messages = list(ACCOUNT.codec.decode(raw))
        assert [message for message in messages if not isinstance(message, Unknown)] == expected_private(frame), frame
    assert sum(bool(set(frame) & set(OWN)) for _, frame in frames) == 5


def test_every_variant_shows_the_owner_every_private_frame_once_the_login_is_confirmed(captures: Path, variant: Variant) -> None:
    frames = list(pushes(captures, *PUSHES, PRIVATE))
    told = [replace(message, received_ns=0) for _, frame in frames for message in expected_private(frame)]

    async def show() -> AccountLane:
        line = AccountLane(ACCOUNT, variant)
        await line.deliver(*(raw for raw, _ in frames))
        assert line.events == []
        await line.deliver(*(answer(channel) for channel in ACCOUNT.channels))
        return line

    line = asyncio.run(show())
    assert [replace(event, received_ns=0) for event in line.events] == told
    assert {event.message_type for event in told} >= {MessageType.ORDER, MessageType.BALANCE}
    assert line.lane.accounting().rejected == 0
