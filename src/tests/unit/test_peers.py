"""What tickrail is held against: the loop written by hand, the check of the books, the figures, and the contestants' processes.

What needs the peers themselves, ``make bench-peers`` checks before it measures.
"""

import asyncio
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from infrastructure.events import Architecture
from tests.harness.captures import ROOT
from tests.harness.mexc_schema import Wrapper
from tests.interop.sight import Task
from tests.performance.duet import Columns
from tests.performance.figures import Figure, Report
from tests.performance.peers.compare import BOTH, Results, table
from tests.performance.peers.contestant import Contestant
from tests.performance.peers.contests import BLOCK, Run, Spent, mistake_of_books, mistake_of_counts, mistake_offline, pairs_of
from tests.performance.peers.crew import CCXT, CRYPTOFEED, DIRECT, LOOP, STRATEGY, ContestantFailed, Entry, Process, Told, crew
from tests.performance.peers.frames import Given, given
from tests.performance.peers.loop_contestant import Loop
from tests.performance.peers.loop_of_40_lines import Book, SpotLevel, gate_loop
from tests.performance.peers.opening import CHANNELS, body_for, is_of_trades
from tests.performance.peers.tickrail_contestant import Tickrail
from tests.performance.workload import write

EACH = pytest.mark.parametrize(("venue", "channel"), [(venue, channel) for venue, names in CHANNELS.items() for channel in names])
NOWHERE = Task("", "", "", [], [])


def contestants() -> list[Contestant]:
    return [Loop(Wrapper), *map(Tickrail, Architecture)]


async def taken(contestant: Contestant, made: Given) -> Told:
    await contestant.open(made.workload, NOWHERE)
    contestant.told.updates = contestant.told.trades = 0
    await contestant.take([contestant.as_received(raw) for raw in made.workload.frames])
    return Told(contestant.told.updates, contestant.told.trades)


@EACH
def test_the_loop_and_both_architectures_arrive_at_the_exchanges_own_books(venue: str, channel: str) -> None:
    made = given(venue, channel, 300)
    assert bool(made.books) is not is_of_trades(made.workload)

    async def main() -> None:
        for contestant in contestants():
            told = await taken(contestant, made)
            assert mistake_offline(made, 300, told, contestant.books()) == "", contestant
            await contestant.close()

    asyncio.run(main())


def test_whoever_misses_a_frame_of_a_book_is_found() -> None:
    made = given("gateio_spot", "spot.order_book_update", 300)
    loop = Loop(Wrapper)

    async def main() -> Told:
        told = await taken(loop, made)
        loop._books["BTC_USDT"].bids.popitem(-1)
        return told

    told = asyncio.run(main())
    assert mistake_offline(made, 300, told, loop.books()).startswith("BTC/USDT: bids differ from level 0 on: ")
    assert mistake_offline(made, 301, told, made.books) == "told of 300 updates and 0 trades, not of 301 and 0"


def test_the_loop_breaks_where_a_frame_is_missing_and_takes_none_twice() -> None:
    made = given("gateio_spot", "spot.order_book_update", 6)
    books: defaultdict[str, Book] = defaultdict(Book)
    told: list[Book] = []
    take = gate_loop(books, told.append)
    take(made.workload.frames[0])
    assert told == []
    for symbol in made.workload.symbols:
        native = symbol.replace("/", "_")
        books[native].start(body_for(f"?currency_pair={native}", made.workload).encode())
    take(made.workload.frames[0])
    take(made.workload.frames[0])
    assert told == [books["BTC_USDT"]]
    with pytest.raises(LookupError, match="does not follow"):
        take(made.workload.frames[4])


def test_a_level_of_nothing_leaves_the_loops_book() -> None:
    book = Book()
    book.start(b'{"id":7,"bids":[["2","1"]],"asks":[["3","1"]]}')
    assert book.follow(8, 8, [SpotLevel(2.0, 0.0), SpotLevel(1.0, 0.0)], [SpotLevel(3.0, 4.0)])
    assert (dict(book.bids), dict(book.asks), book.last_id) == ({}, {3.0: 4.0}, 8)


@pytest.mark.parametrize("parameter", ["?currency_pair=ETH_USDT&limit=50", "?contract=ETH_USDT", "?limit=9&symbol=ETHUSDT"])
def test_a_library_that_asks_for_a_book_gets_that_of_the_market_it_names(parameter: str) -> None:
    made = given("gateio_spot", "spot.order_book_update", 1)
    assert body_for(parameter, made.workload) == made.workload.opening[-1].body.decode()  # type: ignore[union-attr]
    with pytest.raises(LookupError):
        body_for(parameter.replace("ETH", "SOL"), made.workload)


def test_books_are_held_against_one_another_level_by_level() -> None:
    bids, asks = [(2.0, 1.0), (1.0, 1.0)], [(3.0, 1.0)]
    right = {"A/B": (bids, asks)}
    assert mistake_of_books({"A/B": (list(bids), list(asks))}, right) == ""
    assert "nothing" in mistake_of_books({}, right)
    assert "bids differ from level 1 on" in mistake_of_books({"A/B": ([bids[0], (1.0, 5.0)], asks)}, right)
    assert "bids differ from level 1 on: [], the exchange has [(1.0, 1.0)]" in mistake_of_books({"A/B": (bids[:1], asks)}, right)
    assert "asks differ from level 1 on: [(4.0, 1.0)], the exchange has []" in mistake_of_books({"A/B": (bids, [*asks, (4.0, 1.0)])}, right)


def test_everything_that_was_sent_must_have_been_told_but_updates_of_one_read_to_ccxts_users() -> None:
    sent, fewer_updates, fewer_trades = Counter(orderbook=9, trade=3), Counter(orderbook=8, trade=3), Counter(orderbook=9, trade=2)
    assert mistake_of_counts(CRYPTOFEED, sent, sent) == ""
    assert mistake_of_counts(CCXT, fewer_updates, sent) == ""
    assert mistake_of_counts(CRYPTOFEED, fewer_updates, sent) == "told of 8 updates and 3 trades, of 9 and 3"
    assert mistake_of_counts(CCXT, fewer_trades, sent) == "told of 9 updates and 2 trades, of 9 and 3"
    assert mistake_of_counts(CCXT, Counter(), Counter()) == "told of 0 updates and 0 trades, of 0 and 0"


def test_two_rounds_make_a_pair_and_the_first_two_only_warm_up() -> None:
    rounds = [[9 * BLOCK, 9 * BLOCK], [9 * BLOCK, 9 * BLOCK], [1 * BLOCK, 4 * BLOCK], [3 * BLOCK, 6 * BLOCK], [7 * BLOCK, 7 * BLOCK]]
    assert pairs_of(rounds) == [(2.0, 5.0)]


def results(*, wrong: Sequence[Entry] = ()) -> tuple[Results, list[Given]]:
    """Five groups: a machine that slows down, on which the loop takes half as long as direct does, and ccxt.pro five times as long."""
    made = [given("gateio_spot", channel, 0) for channel in CHANNELS["gateio_spot"]]
    found = Results()
    for group in range(5):
        pace = 1000.0 * 2**group
        for index, each in enumerate(made):
            pairs: list[Columns] = [(pace * part, pace * part / 2, pace * part * 5) for part in (1.0, 1.1, 1.2)]
            found.add_run(index, each, Run([DIRECT, LOOP, CCXT], pairs, dict.fromkeys(wrong, "lost a level")))
        for entry, share in ((DIRECT, 1), (CCXT, 3)):
            found.add_spent("gateio_spot", entry, Spent(pace * share, "lost a trade" if entry in wrong else ""))
    return found, made


def shown(figures: Sequence[Figure], name: str, entry: Entry) -> list[tuple[float, float | None, float | None]]:
    return [(figure.value, figure.low, figure.high) for figure in figures if (figure.name, figure.path.variant) == (name, entry.name)]


def test_ratios_are_those_of_one_moment_and_times_are_not() -> None:
    figures = Results.figures(*results())
    assert shown(figures, "ratio to direct", LOOP) == [(0.5, 0.5, 0.5)] * 2
    assert shown(figures, "ratio to direct", CCXT) == [(5.0, 5.0, 5.0)] * 2
    assert shown(figures, "processor time ratio to direct", CCXT) == [(3.0, 3.0, 3.0)]
    (time, low, high), _ = shown(figures, "time", LOOP)
    assert low is not None and high is not None and low < time == 2200.0 < high


def test_whoever_was_wrong_gets_no_figures_and_nobody_does_if_that_is_direct() -> None:
    found, made = results(wrong=[CCXT])
    figures = found.figures(made)
    assert {figure.path.variant for figure in figures} == {DIRECT.name, LOOP.name}
    assert found.failures == [
        "ccxt.pro: gateio_spot spot.order_book_update: lost a level",
        "ccxt.pro: gateio_spot spot.trades: lost a level",
        f"ccxt.pro: gateio_spot {BOTH}: lost a trade",
    ]
    assert Results.figures(*results(wrong=[DIRECT])) == []


def test_a_table_shows_ratios_with_intervals_in_100_columns() -> None:
    console = Console(width=100, record=True, file=StringIO())
    console.print(table(Report({}, "", "", Results.figures(*results())), "gateio_spot"))
    text = console.export_text()
    assert "5.00 [5.00, 5.00]" in text and "3.00 [3.00, 3.00]" in text and "…" not in text
    assert "cryptofeed" not in text


def test_a_process_takes_a_workload_over_its_pipe_and_ends_with_its_context(tmp_path: Path) -> None:
    made = given("gateio_futures", "futures.order_book_update", 200)
    write(tmp_path / "workloads", [made.workload])

    async def main() -> None:
        async with crew([DIRECT, STRATEGY], sys.executable, {}) as processes:
            for process in processes:
                await process.ask("open", str(tmp_path / "workloads"), 0, NOWHERE)
                assert await process.ask("take", 0, 100) > 0
                assert await process.ask("take", 100, 200) > 0
                assert mistake_offline(made, 200, await process.told(), await process.books()) == ""
                assert "tickrail" in await process.ask("facts")
        assert all(process._process.returncode is not None for process in processes)

    asyncio.run(main())


def test_a_process_that_ends_is_named(capfd: pytest.CaptureFixture[str]) -> None:
    async def main() -> None:
        async with Process(Entry("nobody", "no_such_module", is_foreign=False), sys.executable, {}) as process:
            await process.ask("turn")

    with pytest.raises(ContestantFailed, match="nobody: ended at turn"):
        asyncio.run(main())
    assert "no_such_module" in capfd.readouterr().err


def test_the_peers_are_locked_in_the_versions_of_the_loop_that_tests_run() -> None:
    locked = (ROOT / "requirements.lock").read_text(), (ROOT / "interop" / "requirements.lock").read_text()
    for name in ("msgspec", "sortedcontainers"):
        ours, theirs = ({line.split()[0] for line in text.splitlines() if line.startswith(f"{name}==")} for text in locked)
        assert ours == theirs
