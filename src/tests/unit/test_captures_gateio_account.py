"""Every captured frame, as the owner of an account reads it, gives what a second reading of its text says, in every variant."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any, get_args

import pytest
from msgspec.structs import replace

from infrastructure.events import BalanceUpdate, Fill, OrderUpdate, PositionUpdate, RiskNotice
from infrastructure.exchanges import VENUES
from infrastructure.venue import Acknowledgement, Unknown, Venue
from tests.harness.account_lane import CREDENTIALS, AccountLane
from tests.harness.frames import push
from tests.harness.gateio_account_reading import READERS, expected
from tests.harness.gateio_reading import FUTURES, PRIVATE, VENUE, inbound
from tests.harness.variants import Variant

EACH_VENUE = pytest.mark.parametrize("name", [VENUE, FUTURES])
Told = OrderUpdate | Fill | BalanceUpdate | PositionUpdate | RiskNotice
#: How many pushes of each private channel there are.
PUSHES = {
    VENUE: {"spot.orders": 2, "spot.orders_v2": 1, "spot.usertrades": 2, "spot.usertrades_v2": 1, "spot.balances": 3},
    FUTURES: {
        "futures.orders": 2,
        "futures.usertrades": 2,
        "futures.balances": 4,
        "futures.positions": 2,
        "futures.liquidates": 2,
        "futures.position_adl_rank": 1,
    },
}


def owned(name: str) -> Venue:
    """The venue as the owner of an account sees it."""
    return VENUES[name].fresh().of_account(CREDENTIALS)


def confirmation(venue: Venue) -> bytes:
    """What a venue answers once its channels are subscribed."""
    return push(next(iter(venue.channels)), {"status": "success"}, event="subscribe")


@EACH_VENUE
def test_every_frame_decodes_to_the_values_beside_it(captures: Path, name: str) -> None:
    decode = owned(name).codec.decode
    for raw, _ in inbound(captures):
        assert list(decode(raw)) == list(decode(raw.encode())) == expected(raw, name), raw


@EACH_VENUE
def test_the_captures_hold_every_private_channel_that_is_read(captures: Path, name: str) -> None:
    pushed = Counter(frame.get("channel") for _, frame in inbound(captures) if frame.get("event") == "update")
    assert {channel: pushed[channel] for channel in READERS[name]} == PUSHES[name]
    assert set(owned(name).channels) - set(READERS[name]) == ({"futures.auto_deleverages"} if name == FUTURES else set())


@EACH_VENUE
def test_every_variant_tells_the_owner_what_the_frames_say(captures: Path, name: str, variant: Variant) -> None:
    """Each frame on a connection of its own, confirmed before: examples of the documentation repeat themselves."""
    frames = [raw for raw, frame in inbound(captures) if frame.get("channel") in READERS[name] and frame.get("event") == "update"]
    assert len(frames) == sum(PUSHES[name].values())

    async def show(raw: str) -> list[Any]:
        venue = owned(name)
        connection = AccountLane(venue, variant)
        await connection.deliver(confirmation(venue), raw.encode(), received_ns=7)
        accounting = connection.lane.accounting()
        assert (accounting.received, accounting.control, accounting.delivered) == (2, 1, 1)
        return [event for event in connection.events if isinstance(event, get_args(Told))]

    async def run() -> None:
        for raw in frames:
            told = [message for message in expected(raw, name) if isinstance(message, get_args(Told))]
            assert told and await show(raw) == [replace(message, received_ns=7) for message in told], raw

    asyncio.run(run())


@EACH_VENUE
def test_nothing_is_told_before_a_private_channel_was_confirmed(captures: Path, name: str, variant: Variant) -> None:
    frames = [raw.encode() for raw, frame in inbound(captures) if frame.get("channel") in READERS[name] and frame.get("event") == "update"]

    async def run() -> list[Any]:
        connection = AccountLane(owned(name), variant)
        await connection.deliver(*frames, received_ns=7)
        assert connection.session.held == sum(PUSHES[name].values())
        return connection.events

    assert asyncio.run(run()) == []


@EACH_VENUE
def test_what_is_neither_an_answer_nor_read_is_unknown(captures: Path, name: str) -> None:
    decode = owned(name).codec.decode
    private = {f"{family}.{channel}" for family in ("spot", "futures") for channel in PRIVATE} - set(READERS[name])
    others = [raw for raw, frame in inbound(captures) if frame.get("channel") in private and frame.get("event") == "update"]
    assert len(others) > 5 and {type(message) for raw in others for message in decode(raw)} == {Unknown}


@EACH_VENUE
def test_a_subscribed_private_channel_confirms_the_login_and_nothing_else_does(captures: Path, name: str) -> None:
    decode = owned(name).codec.decode
    answers = [message for raw, _ in inbound(captures) for message in decode(raw) if isinstance(message, Acknowledgement)]
    confirming = [answer for answer in answers if answer.confirms_login]
    assert confirming and {answer.channel for answer in confirming} <= set(owned(name).channels)
    assert {(answer.request, answer.error) for answer in confirming} == {("subscribe", None)}
    assert any(answer.error for answer in answers) and any(answer.request == "unsubscribe" for answer in answers)
