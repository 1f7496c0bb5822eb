"""Every private channel of every venue, from its simulated exchange: the same frames, the same events, the same account."""

import asyncio
from functools import cache

import pytest

from infrastructure.events import MessageType
from infrastructure.exchanges import VENUES
from tests.harness.account_stretch import EVERY_CHANNEL, AccountOutcome, account_stretch, read
from tests.harness.variants import VARIANTS, Variant

PRIVATE = {name: venue.private for name, venue in VENUES.items() if venue.private is not None}
CHANNELS = [(name, channel) for name, private in PRIVATE.items() for channel in private.channels]


@cache
def outcome(venue: str, channel: str, variant: Variant, switch_every: int = 0) -> AccountOutcome:
    """What a feed makes of the stretch of a channel."""
    return asyncio.run(read(account_stretch(venue, channel), venue, variant, switch_every))


def check(venue: str, channel: str, found: AccountOutcome) -> None:
    """Hold what came of a channel against what the exchange sent."""
    made, kind = account_stretch(venue, channel), PRIVATE[venue].channels[channel]
    received, delivered, control, *others = found.frames
    assert (received, others) == (made.frames, [0, 0, 0])
    assert delivered == made.told and control == received - delivered
    told = found.counts[kind.name.lower()]
    if kind is MessageType.RISK:
        assert told == made.told >= 4  # What no account keeps is told as often as it comes.
    elif kind is MessageType.FILL:
        assert told == len(made.state["fills"]) > made.told > 40  # Those of the outage, REST brought.
    else:
        assert told > 40 < made.told
    assert found.counts["gap"] == 1 and "error" not in found.counts


@pytest.mark.parametrize("switch_every", [0, 1, 4])
@pytest.mark.parametrize(("venue", "channel"), CHANNELS)
def test_the_same_frames_give_the_same_events_and_the_same_account(venue: str, channel: str, variant: Variant, switch_every: int) -> None:
    found = outcome(venue, channel, variant, switch_every)
    check(venue, channel, found)
    assert found == outcome(venue, channel, VARIANTS[0])


@pytest.mark.parametrize("venue", PRIVATE)
def test_so_it_is_with_every_channel_at_once_and_the_whole_account_is_the_exchanges(venue: str, variant: Variant) -> None:
    found, made = outcome(venue, EVERY_CHANNEL, variant, 3), account_stretch(venue, EVERY_CHANNEL)
    assert found == outcome(venue, EVERY_CHANNEL, VARIANTS[0])
    assert found.counts["fill"] == len(made.state["fills"]) and found.counts["gap"] == len(made.channels)
    assert found.frames == (made.frames, made.told, made.frames - made.told, 0, 0, 0)
