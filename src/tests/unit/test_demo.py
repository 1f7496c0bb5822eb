"""A demonstration of several venues as a whole: what is found at one is found, and what ends one ends all."""

import asyncio

import pytest

from infrastructure.account_figures import AccountFigures
from infrastructure.demo import DEMO_VENUES, BookCounts, Demo, DemoSettings, DemoSummary, VenueFigures, VenueRun
from infrastructure.errors import SimulatorFailed, UnknownVenue
from infrastructure.metrics import total_of

ONE, OTHER = DEMO_VENUES[:2]


def figures(**found: object) -> VenueFigures:
    """Of a venue where nothing was found but this."""
    counts = ("lost", "duplicated", "reordered", "fills_lost", "fills_duplicated", "orders_reordered", "rotations_failed")
    nothing = dict.fromkeys(counts, 0) | {"unbalanced": False, "findings": [], "wrong_books": [], "wrong_account": []}
    account = AccountFigures("live", 0, 0, {}, {})
    return VenueFigures(
        accounting=total_of(()),
        switches=0,
        books=BookCounts(0, 0, 0, 0),
        account=account,
        account_gaps=0,
        architectures={},
        gaps_repaired=0,
        connections=1,
        rotations=0,
        **(nothing | found),  # type: ignore[arg-type]  # by name
    )


@pytest.mark.parametrize(
    ("found", "seen"),
    [
        ({"lost": 3}, 3),
        ({"duplicated": 2}, 2),
        ({"reordered": 1}, 1),
        ({"fills_lost": 1}, 1),
        ({"fills_duplicated": 4}, 4),
        ({"orders_reordered": 5}, 5),
        ({"rotations_failed": 1}, 1),
        ({"unbalanced": True}, True),
        ({"wrong_books": ["BTC/USDT"]}, [f"{OTHER} BTC/USDT"]),
        ({"wrong_account": ["balance BTC"]}, [f"{OTHER} balance BTC"]),
    ],
    ids=str,
)
def test_what_is_found_at_one_venue_is_found(found: dict[str, object], seen: object) -> None:
    assert DemoSummary.of(1.0, {ONE: figures(), OTHER: figures()}).is_clean
    summary = DemoSummary.of(1.0, {ONE: figures(), OTHER: figures(**found, findings=["in words"])})
    (name,) = found
    assert not summary.is_clean
    assert getattr(summary, name) == seen
    assert summary.findings == [f"in words, {OTHER}"]


def test_each_venue_has_its_share_of_the_rate_and_its_own_time_to_switch() -> None:
    runs = Demo([ONE, OTHER, ONE], DemoSettings(rate=1000.0, switch_every=2.0)).runs
    assert [(name, run.rate, run.switch_every) for name, run in runs.items()] == [(ONE, 500.0, 2.0), (OTHER, 500.0, 2.7)]


def test_a_venue_that_is_unknown_is_named() -> None:
    with pytest.raises(UnknownVenue, match="nope"):
        Demo([ONE, "nope"])


class Ended(VenueRun):
    """Does nothing until it is ended; where it is, something of its own fails."""

    async def run(self, ready: asyncio.Barrier) -> VenueFigures:
        try:
            await ready.wait()
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            raise SimulatorFailed("gone with the rest") from None
        return figures()


class Failed(Ended):
    """Fails at the second venue as soon as all are open."""

    async def run(self, ready: asyncio.Barrier) -> VenueFigures:
        if self.venue.name != OTHER:
            return await super().run(ready)
        await ready.wait()
        raise SimulatorFailed("does not answer")


def test_what_fails_at_one_venue_ends_all_and_is_raised_itself() -> None:
    with pytest.raises(SimulatorFailed, match="does not answer"):
        asyncio.run(Demo(run_type=Failed).run())


def test_what_fails_while_a_demonstration_is_ended_early_is_not_told() -> None:
    async def ended_early() -> None:
        is_open = asyncio.Event()
        demo = asyncio.create_task(Demo(run_type=Ended).run(lambda *_: is_open.set()))
        await is_open.wait()
        demo.cancel()
        with pytest.raises(asyncio.CancelledError):
            await demo

    asyncio.run(ended_early())
