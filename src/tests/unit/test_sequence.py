import pytest

from infrastructure.exchanges.gateio.futures import GATEIO_FUTURES
from infrastructure.exchanges.gateio.sequence import InBand, RestSeeded, WholeBook
from infrastructure.exchanges.gateio.spot import GATEIO_SPOT
from infrastructure.venue import BookUpdate, Repair, SequenceRule, Venue, Verdict

APPLY, IGNORE, REPLACE, GAP = Verdict.APPLY, Verdict.IGNORE, Verdict.REPLACE, Verdict.GAP
LAST_ID = 100

#: What each rule says of an update with these first and last ids, full or not, when the book stands at 100.
TABLE = [
    # first, last, is_full, RestSeeded, InBand, WholeBook
    (101, 101, False, APPLY, APPLY, REPLACE),
    (101, 105, False, APPLY, APPLY, REPLACE),
    (100, 101, False, APPLY, GAP, REPLACE),
    (90, 110, False, APPLY, GAP, REPLACE),
    (1, 101, False, APPLY, GAP, REPLACE),
    (100, 100, False, IGNORE, IGNORE, IGNORE),
    (90, 100, False, IGNORE, IGNORE, IGNORE),
    (1, 1, False, IGNORE, IGNORE, IGNORE),
    (102, 102, False, GAP, GAP, REPLACE),
    (102, 110, False, GAP, GAP, REPLACE),
    (10_000, 10_001, False, GAP, GAP, REPLACE),
    (101, 101, True, REPLACE, REPLACE, REPLACE),
    (500, 500, True, REPLACE, REPLACE, REPLACE),
    (95, 105, True, REPLACE, REPLACE, REPLACE),
    (100, 100, True, REPLACE, REPLACE, IGNORE),
    (1, 1, True, REPLACE, REPLACE, IGNORE),
]
RULES: tuple[SequenceRule, ...] = (RestSeeded(), InBand(), WholeBook())


@pytest.mark.parametrize(("first", "last", "is_full", "verdicts"), [(*row[:3], row[3:]) for row in TABLE])
def test_each_rule_judges_as_its_recipe_says(first: int, last: int, is_full: bool, verdicts: tuple[Verdict, ...]) -> None:
    update = BookUpdate("channel", "BTC/USDT", first, last, [], [], is_full, None)
    assert tuple(rule.judge(LAST_ID, update) for rule in RULES) == verdicts


@pytest.mark.parametrize(
    ("venue", "channels"),
    [
        (
            GATEIO_SPOT,
            {
                "spot.obu": (InBand, Repair.RESUBSCRIBE),
                "spot.order_book_update": (RestSeeded, Repair.FETCH_SNAPSHOT),
                "spot.order_book": (WholeBook, Repair.WAIT),
            },
        ),
        (
            GATEIO_FUTURES,
            {
                "futures.obu": (InBand, Repair.RESUBSCRIBE),
                "futures.order_book_update": (RestSeeded, Repair.FETCH_SNAPSHOT),
                "futures.order_book": (InBand, Repair.RESUBSCRIBE),
            },
        ),
    ],
    ids=["spot", "futures"],
)
def test_each_book_channel_has_its_rule_and_its_repair(venue: Venue, channels: dict[str, tuple[type, Repair]]) -> None:
    assert {name: (type(channel.rule), channel.repair) for name, channel in venue.book_channels.items()} == channels
