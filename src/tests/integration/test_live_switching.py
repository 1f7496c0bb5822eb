"""Switching over a real socket, held against the log of the exchange; ``make soak-live`` is the long form of the same."""

import pytest

from infrastructure.demo import Demo
from tests.harness.live_soak import FAULTS, VENUE, ApplyDemo, switching

SECONDS = 2.5
RATE = 3000.0
SWITCHES = 40


@pytest.mark.parametrize("adapted", [False, True], ids=["own", "adapted"])
@pytest.mark.parametrize(
    ("kind", "faults"),
    [(Demo, ("full=50",)), (Demo, (*FAULTS, "cut=0.8")), (ApplyDemo, ("drop=100",))],
    ids=["switch", "switch with cuts and holes", "apply with holes"],
)
def test_nothing_is_lost_doubled_or_reordered_and_every_book_is_right(kind: type[Demo], faults: tuple[str, ...], adapted: bool) -> None:
    summary = switching(kind, SECONDS, RATE, SWITCHES, faults=faults, adapted=adapted)
    assert (summary.lost, summary.duplicated, summary.reordered, summary.wrong_books, summary.findings) == (0, 0, 0, [], [])
    assert not summary.unbalanced
    figures = summary.venues[VENUE]
    # A machine that is held up skips turns; each that was taken is a change.
    assert figures.switches > SWITCHES / 4
    assert figures.accounting.received > RATE * SECONDS / 4
    assert (figures.gaps_repaired > 0) == (faults != ("full=50",))
