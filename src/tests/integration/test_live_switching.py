"""Switching over real sockets, held against the logs of the exchanges; ``make soak-live`` is the long form of the same."""

import asyncio

import pytest

from infrastructure.demo import DEMO_VENUES, Demo, DemoSettings, DemoSummary, Trouble, VenueRun
from infrastructure.events import Architecture
from infrastructure.exchanges import VENUES
from infrastructure.simulator import EXCHANGES
from infrastructure.simulator.exchange import PAIRS
from tests.harness.live_soak import FAULTS, ApplyRun, rotating, switching
from tests.harness.variants import Variant

SECONDS = 2.5
RATE = 4500.0
SWITCHES = 25

OWN, ADAPTED = Variant(Architecture.STRATEGY, False), Variant(Architecture.STRATEGY, True)
DIRECT, DIRECT_ADAPTED = Variant(Architecture.DIRECT, False), Variant(Architecture.DIRECT, True)
WHOLE, CUTS, HOLES = ("full=50",), (*FAULTS, "cut=0.8"), ("drop=100",)


def assert_proven(summary: DemoSummary) -> None:
    """Nothing was found, at any venue or over all."""
    assert summary.is_clean
    for name, figures in summary.venues.items():
        found = (figures.lost, figures.duplicated, figures.reordered, figures.wrong_books, figures.findings, figures.unbalanced)
        assert found == (0, 0, 0, [], [], False), name
        of_account = (figures.fills_lost, figures.fills_duplicated, figures.orders_reordered, figures.wrong_account)
        assert of_account == (0, 0, 0, []) and figures.account.state == "live" and figures.account.fills > 0, name
        # A machine that is held up skips turns; each that was taken is a change.
        assert figures.switches > SWITCHES / 4, name


def test_every_venue_is_shown() -> None:
    assert tuple(VENUES) == DEMO_VENUES and set(DEMO_VENUES) == set(EXCHANGES)


@pytest.mark.parametrize(
    ("kind", "faults", "start"),
    [
        (VenueRun, WHOLE, OWN),
        (VenueRun, WHOLE, DIRECT_ADAPTED),
        (VenueRun, CUTS, DIRECT),
        (VenueRun, CUTS, ADAPTED),
        (ApplyRun, HOLES, OWN),
        (ApplyRun, HOLES, DIRECT_ADAPTED),
    ],
    ids=str,
)
def test_nothing_is_lost_doubled_or_reordered_at_any_venue_and_every_book_is_right(
    kind: type[VenueRun], faults: tuple[str, ...], start: Variant
) -> None:
    summary = switching(DEMO_VENUES, kind, SECONDS, RATE, SWITCHES, faults, architecture=start.architecture, adapted=start.adapted)
    assert_proven(summary)
    assert list(summary.venues) == list(DEMO_VENUES)
    for name, figures in summary.venues.items():
        assert figures.accounting.received > RATE / len(DEMO_VENUES) * SECONDS / 4, name
        assert (figures.gaps_repaired > 0) == (faults != WHOLE), name


@pytest.mark.parametrize("start", [OWN, ADAPTED, DIRECT, DIRECT_ADAPTED], ids=str)
def test_connections_are_replaced_under_load_and_nothing_is_lost_or_told_twice(start: Variant) -> None:
    summary, runs = rotating(DEMO_VENUES, 2 * SECONDS, RATE, 0.1, architecture=start.architecture, adapted=start.adapted)
    assert summary.is_clean, summary.findings
    assert [run.venue.name for run in runs] == list(DEMO_VENUES)
    for run in runs:
        figures = summary.venues[run.venue.name]
        assert len(run.receipts) >= figures.connections and run.troubles == []
        assert all(receipt.lost is None for receipt in run.receipts)
        assert figures.accounting.shed_by_reason == {"overlap": run.overlap} and run.overlap > 0


def test_a_venue_switches_all_its_connections_in_the_middle_of_their_frames() -> None:
    # Five streams a pair, thirty on a connection.
    symbols = (*PAIRS, "LTC/USDT", "LINK/USDT")
    summary = switching(["mexc_spot"], VenueRun, SECONDS, RATE / 3, SWITCHES, ("drop=100", "cut=0.8"), symbols=symbols)
    assert_proven(summary)
    figures = summary.venues["mexc_spot"]
    assert figures.connections == 2 and figures.books.live == len(symbols) and figures.gaps_repaired > 0


def test_accounts_are_right_through_cuts_a_rotation_and_a_listen_key_that_dies() -> None:
    troubles = ((0.2, Trouble.CUT), (0.6, Trouble.ROTATE), (1.0, Trouble.KEY_DIES), (1.1, Trouble.CUT))
    settings = DemoSettings(seconds=2.0, rate=RATE / 3, orders=40.0, switch_every=0.1, troubles=troubles)
    summary = asyncio.run(Demo(settings=settings).run())
    assert_proven(summary)
    for name, figures in summary.venues.items():
        assert figures.rotations == 2 and figures.rotations_failed == 0, name
        assert figures.account_gaps >= 2 * 3, name
        assert figures.account.fills > 10, name
