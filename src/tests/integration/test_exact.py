"""Counting itself: the same integers again, whatever lies beside; and what is planted into the direct path shows, with its name."""

import shutil
from pathlib import Path

import msgspec
import pytest

from infrastructure.events import Architecture
from tests.harness.variants import VARIANTS, Variant
from tests.performance import exact, workloads
from tests.performance.exact import CountingError, Counts, read_dump
from tests.performance.exact_run import DIRECT, WINDOW, frames_needed
from tests.performance.figures import path_of
from tests.performance.workload import Workload

STRATEGY = Variant(Architecture.STRATEGY, False)

#: Into ``Lane.deliver``, which each frame passes once.
BEGIN = "        self.received = number = self.received + 1\n"
CALL = "        self._planted()\n"
IMPORT = "import asyncio\n"
LOOK = "        time.monotonic_ns()\n"
METHOD = "    def deliver(self, raw: bytes | str, received_ns: int | None = None) -> None:\n"
#: A list's items lie in a block of their own, which no free list keeps; and the time is an integer.
ALLOCATION = "        _ = [raw, number, started, received_ns]\n"
#: Some 2 % of what a trade costs: a search in C among constants.
WORK = f"        number in ({'-1, ' * 60})\n"


@pytest.fixture(scope="module")
def trades() -> Workload:
    return workloads.public("gateio_spot", "spot.trades", frames_needed())


def simulated() -> tuple[int, ...]:
    return () if exact.valgrind_missing() else (VARIANTS.index(DIRECT),)


def totals(counts: Counts, workload: Workload, variant: Variant = DIRECT) -> dict[str, int]:
    path = path_of(workload, variant)
    return {figure.name: figure.total for figure in counts.figures if figure.path == path and figure.total is not None}


def copy_of(folder: Path, *planted: tuple[str, str]) -> Path:
    shutil.copytree(exact.SRC / "infrastructure", folder / "infrastructure", ignore=shutil.ignore_patterns("__pycache__"))
    lane = folder / "infrastructure" / "networking" / "websocket" / "lane.py"
    text = lane.read_text()
    for old, new in planted:
        assert text.count(old) == 1
        text = text.replace(old, new)
    lane.write_text(text)
    return folder


@pytest.fixture(scope="module")
def counts(trades: Workload) -> Counts:
    return exact.count([trades], simulated=simulated())


def assert_adds_up(counts: Counts, workload: Workload, variant: Variant) -> None:
    tallies = counts.functions[path_of(workload, variant)].values()
    found = totals(counts, workload, variant)
    assert sum(tally["allocations"] for tally in tallies) == found["allocations"]
    assert sum(tally["bytes"] for tally in tallies) == found["allocated bytes"]
    assert sum(tally["calls"] for tally in tallies) == found["python calls"] + found["c calls"]


def test_counts_add_up_and_are_the_same_again_from_another_folder_and_in_other_company(
    trades: Workload, counts: Counts, tmp_path: Path
) -> None:
    other = workloads.public("mexc_spot", "spot@public.aggre.deals.v3.api.pb", frames_needed())
    elsewhere = copy_of(tmp_path / "a folder with a longer name")
    for folder in (elsewhere / "infrastructure").rglob("*/"):
        (folder / "another.py").touch()
    again = exact.count([other, trades], simulated=simulated(), source=elsewhere)
    assert counts.failures == again.failures == []
    for variant in VARIANTS:
        assert_adds_up(counts, trades, variant)
        assert totals(again, trades, variant) == totals(counts, trades, variant)
        assert again.functions[path_of(trades, variant)] == counts.functions[path_of(trades, variant)]


def test_what_is_planted_into_the_direct_path_is_counted_and_has_a_name(trades: Workload, counts: Counts, tmp_path: Path) -> None:
    planted = f"    def _planted(self) -> None:\n        pass\n\n{METHOD}"
    source = copy_of(tmp_path, (METHOD, planted), (IMPORT, f"{IMPORT}import time\n"), (BEGIN, BEGIN + CALL + ALLOCATION + WORK + LOOK))
    now = exact.count([trades], simulated=simulated(), source=source)
    before, after = totals(counts, trades), totals(now, trades)
    assert {figure.messages for figure in counts.figures} == {WINDOW}
    assert after["python calls"] == before["python calls"] + WINDOW
    assert after["c calls"] == before["c calls"] + WINDOW
    # No count may depend on the time; this one looked at it, in every way.
    assert len(now.failures) == len(VARIANTS)
    assert all("time.monotonic_ns reads the time" in failure for failure in now.failures)
    assert after["allocations"] == before["allocations"] + 2 * WINDOW
    functions, were = now.functions[path_of(trades, DIRECT)], counts.functions[path_of(trades, DIRECT)]
    assert functions["lane.Lane._planted"]["calls"] == WINDOW
    assert functions["lane.Lane.deliver"]["allocations"] == were["lane.Lane.deliver"]["allocations"] + 2 * WINDOW
    changed = {name for name in functions | were if functions.get(name) != were.get(name)}
    assert changed == {"lane.Lane._planted", "lane.Lane.deliver", "time.monotonic_ns"}
    if simulated():
        assert after["instructions"] > before["instructions"] * 1.02
        assert after["indirection instructions"] > before["indirection instructions"] * 1.02
        # What was not touched has moved in memory, and no more.
        assert after["decode instructions"] == pytest.approx(before["decode instructions"], rel=0.01)


def test_frames_that_fail_are_told(trades: Workload) -> None:
    broken = msgspec.structs.replace(trades, frames=(b"{", *trades.frames[1:]))
    assert "of 380 frames" in exact.count([broken], simulated=()).failures[0]


def test_too_few_frames_are_an_error(trades: Workload) -> None:
    short = msgspec.structs.replace(trades, frames=trades.frames[:-1])
    with pytest.raises(CountingError, match="379 frames, 380 are needed"):
        exact.count([short], simulated=())


def test_a_dump_is_read_by_its_own_head() -> None:
    text = "desc: Trigger: Client Request: decode 2n\nevents: Ir Dr D1mr D1mw Bcm\nfn=(1) x\n1 5 5\ntotals: 100 20 3 4 5\n"
    assert read_dump(text) == (
        "decode 2n",
        {"instructions": 100, "I1 misses": 0, "D1 misses": 7, "LL misses": 0, "branch misses": 5},
    )
    with pytest.raises(CountingError, match="no dump"):
        read_dump("nothing")
