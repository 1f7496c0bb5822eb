"""An account's connection is replaced while fills come, at a played exchange in virtual time: no Gap, no fill lost, none told twice."""

import asyncio
import random
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

import pytest

from infrastructure.errors import RotationFailed
from infrastructure.events import AccountState, GapReason
from infrastructure.networking.websocket.rotations import RotationReceipt
from infrastructure.networking.websocket.settings import FreshnessSettings
from tests.harness.account_scene import TRADED, Scene, scene
from tests.harness.effort import is_soak
from tests.harness.variants import VARIANTS, Variant
from tests.harness.virtual_loop import run_virtual

VENUES = tuple(TRADED)
EVERY_VENUE = pytest.mark.parametrize("venue", VENUES)
EVERY_VARIANT = pytest.mark.parametrize("variant", VARIANTS, ids=str)
LIVE = [AccountState.AUTHENTICATING, AccountState.RECONCILING, AccountState.LIVE]
HOUR_S = 3600
#: Seconds between what the account does in the course of days.
PAUSE_S = 10 if is_soak() else 300
#: Streams are looked at now and then: an hour has 3600 seconds.
SLOW = FreshnessSettings(tick_s=60.0, silent_s=600.0)
HOURS = 48 if is_soak() else 26
ORDERS = 10_000 if is_soak() else 300


def run(main: Coroutine[Any, Any, None], seed: int = 1) -> None:
    run_virtual(seed, main)


def assert_unnoticed(at: Scene, *errors: str) -> None:
    """Nobody was told of anything but the account's own affairs, and of ``errors`` where they are said."""
    at.assert_right()
    assert at.told.gaps == [] and at.told.states == LIVE
    assert set(at.told.errors) == set(errors)


def overlap(at: Scene) -> int:
    """Frames that came twice, and were shed for it."""
    return at.manager.accounting.frames.shed_by_reason.get("overlap", 0)


async def busily_rotated(at: Scene) -> tuple[RotationReceipt, ...]:
    """Rotate while the account acts all the time."""
    rotating = asyncio.ensure_future(at.manager.rotate())
    while not rotating.done():
        at.exchange.trade()
        await asyncio.sleep(0.02)
    return await rotating


@EVERY_VENUE
@EVERY_VARIANT
class TestOnDemand:
    def test_whoever_listens_notices_nothing(self, venue: str, variant: Variant) -> None:
        async def main() -> None:
            async with scene(venue, variant) as at:
                told = 0
                for _ in range(5):
                    (receipt,) = await busily_rotated(at)
                    assert receipt.streams == len(at.manager.settings.account_channels) and receipt.lost is None
                    assert receipt.overlap > 0
                    told += receipt.overlap
                await at.is_settled()
                assert_unnoticed(at)
                assert len(at.exchange.urls) == 6 and len(at.exchange.lines) == 1
                assert overlap(at) == told
                assert len(at.told.fills) > 50

        run(main())

    def test_architectures_are_switched_in_the_middle_of_it(self, venue: str, variant: Variant) -> None:
        async def main() -> None:
            async with scene(venue, variant, channels=("trade",)) as at:
                rotating = asyncio.ensure_future(at.manager.rotate())
                switches = 0
                while not rotating.done():
                    at.exchange.trade()
                    at.exchange.happen(3)
                    at.manager.switch(at.private.architecture.other, scope="private" if switches % 2 else "all")
                    switches += 1
                    await asyncio.sleep(0.02)
                public, private = await rotating
                await at.is_settled()
                assert_unnoticed(at)
                assert switches > 50 and public.streams == 2 and private.overlap > 0
                assert len(at.exchange.urls) == 4 and len(at.exchange.lines) == 2

        run(main())

    def test_where_no_second_can_be_had_the_first_goes_on(self, venue: str, variant: Variant) -> None:
        async def main() -> None:
            async with scene(venue, variant) as at:
                at.exchange.is_up = False
                with pytest.raises(RotationFailed):
                    await busily_rotated(at)
                at.exchange.is_up = True
                at.exchange.faults.set("cut-login=1")
                with pytest.raises(RotationFailed):
                    await busily_rotated(at)
                assert len(at.exchange.lines) == 1
                await busily_rotated(at)
                await at.is_settled()
                assert_unnoticed(at, "connect")

        run(main())

    def test_where_the_first_is_lost_meanwhile_it_is_announced_and_nothing_is_missing(self, venue: str, variant: Variant) -> None:
        async def main() -> None:
            for after_s in (0.5, 1.5, 2.5, 3.5):
                async with scene(venue, variant) as at:
                    first = at.exchange.private_line
                    rotating = asyncio.ensure_future(at.manager.rotate())
                    for _ in range(int(after_s * 50)):
                        at.exchange.trade()
                        await asyncio.sleep(0.02)
                    at.exchange.cut(first)
                    for _ in range(200):
                        at.exchange.trade()
                        await asyncio.sleep(0.02)
                    with suppress(RotationFailed):
                        await rotating
                    await at.is_settled()
                    at.assert_right()
                    # One that had nothing more to tell may be lost without a word.
                    assert bool(at.told.gaps) == ("disconnected" in at.told.errors)
                    assert at.told.gaps or after_s > 2

        run(main())

    def test_an_account_in_doubt_is_reconciled_by_whichever_connection_carries_it(self, venue: str, variant: Variant) -> None:
        async def main() -> None:
            async with scene(venue, variant) as at:
                rotating = asyncio.ensure_future(at.manager.rotate())
                while not rotating.done():
                    at.exchange.trade()
                    at.exchange.private_lines[0].transport.deliver(b'{"nonsense')
                    await asyncio.sleep(0.1)
                await rotating
                await at.is_settled()
                at.assert_right()
                assert set(at.told.errors) <= {"undecodable"} and at.told.gaps

        run(main())

    def test_through_cuts_lapsed_keys_outages_switches_and_rotations_every_fill_is_told_once(self, venue: str, variant: Variant) -> None:
        async def main() -> None:
            async with scene(venue, variant, seed=3) as at:
                at.exchange.cut()
                rotated = await trouble(at, random.Random(f"{venue} {variant}"), venue)
                at.exchange.faults.clear()
                await asyncio.sleep(200)  # A key that lapsed in silence is found out by then.
                await at.is_settled()
                at.assert_right()
                assert at.told.gaps and rotated > 1

        run(main(), seed=3)


async def trouble(at: Scene, chance: random.Random, venue: str) -> int:
    """The account trades and is rotated, and everything goes wrong that can; gives how many rotations came to their end."""
    exchange, rotating, rotated = at.exchange, asyncio.ensure_future(_rotation(at)), 0
    while len(exchange.exchange.account.orders) < ORDERS:
        if chance.random() < 0.8:
            await at.is_live()  # Else most would happen while there is no connection.
        for _ in range(chance.randint(1, 40)):
            exchange.trade(chance.randint(1, 2))
            await asyncio.sleep(chance.choice([0, 0.01, 0.3, 0.3]))
        if rotating.done():
            rotated += rotating.result()
            rotating = asyncio.ensure_future(_rotation(at))
        what = chance.choice(["cut", *["none"] * 6, "switch", "switch", "outage", "key", "login", "damage"])
        match what if at.told.gaps else "cut":
            case "cut":
                if exchange.lines:
                    exchange.cut(chance.choice(exchange.lines))
            case "switch":
                at.manager.switch(at.private.architecture.other, scope=chance.choice(["all", "private"]))
            case "outage":
                exchange.is_up = False
                if exchange.lines:
                    exchange.cut(chance.choice(exchange.lines))
                exchange.trade(3)
                await asyncio.sleep(2)
                exchange.is_up = True
            case "key" if venue == "mexc_spot" and chance.random() < 0.3:
                exchange.exchange.drop_keys()
            case "login":
                exchange.faults.set("cut-login=2")
            case "damage":
                if exchange.lines:
                    chance.choice(exchange.lines).transport.deliver(b'{"nonsense')
    return rotated + await rotating


async def _rotation(at: Scene) -> bool:
    """Whether one came to its end; whoever is not connected cannot be rotated, and is asked again a moment later."""
    try:
        await at.manager.rotate()
    except RotationFailed:
        await asyncio.sleep(1)
        return False
    return True


@EVERY_VARIANT
class TestPlanned:
    VENUE = "mexc_spot"

    def test_days_with_an_exchange_that_cuts_after_24_hours_cost_nothing(self, variant: Variant) -> None:
        async def main() -> None:
            async with scene(self.VENUE, variant, life_s=24 * HOUR_S, channels=("trade",), account_check_s=HOUR_S, freshness=SLOW) as at:
                for _ in range(HOURS * HOUR_S // PAUSE_S):
                    at.exchange.trade(2)
                    at.exchange.happen(2)
                    await asyncio.sleep(PAUSE_S)
                await at.is_settled()
                assert_unnoticed(at)
                assert len(at.exchange.urls) == 2 + 2 * (HOURS // 24) and len(at.exchange.lines) == 2

        run(main())

    def test_renewals_that_are_refused_lead_to_another_key_before_the_old_one_ends(self, variant: Variant) -> None:
        async def main() -> None:
            async with scene(self.VENUE, variant) as at:
                at.exchange.faults.set("renewal-refused")
                for _ in range(5 * HOUR_S // 10):
                    at.exchange.trade()
                    await asyncio.sleep(10)
                await at.is_settled()
                assert_unnoticed(at, "listen key")
                assert len(set(at.exchange.urls)) == len(at.exchange.urls) > 4 and len(at.exchange.lines) == 1
                assert not at.exchange.requests["DELETE /api/v3/userDataStream"]

        run(main())

    def test_a_key_whose_end_a_second_connection_finds_out_costs_a_gap_and_no_fill(self, variant: Variant) -> None:
        async def main() -> None:
            async with scene(self.VENUE, variant, account_check_s=HOUR_S) as at:
                at.exchange.exchange.drop_keys()
                at.exchange.trade(20)
                with pytest.raises(RotationFailed):
                    await busily_rotated(at)
                await at.is_settled()
                at.assert_right()
                assert {gap.reason for gap in at.told.gaps} == {GapReason.EXPIRED} and len(set(at.exchange.urls)) == 2
                await busily_rotated(at)
                await at.is_settled()
                at.assert_right()

        run(main())

    def test_a_key_that_the_exchange_has_forgotten_is_a_gap_at_the_next_renewal(self, variant: Variant) -> None:
        async def main() -> None:
            async with scene(self.VENUE, variant, account_check_s=HOUR_S) as at:
                at.exchange.exchange.drop_keys()
                for _ in range(30 * 60):
                    at.exchange.trade()
                    await asyncio.sleep(1)
                await at.is_settled()
                at.assert_right()
                assert at.told.gaps and len(set(at.exchange.urls)) == 2

        run(main())
