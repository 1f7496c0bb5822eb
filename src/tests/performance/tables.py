"""What of a report stands in tables, in the terminal and in a page: which figures, under which headings, in which words."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from tests.harness.variants import VARIANTS
from tests.performance.drawing import interval_text, ratio_text
from tests.performance.figures import Figure, Path
from tests.performance.plots import DIRECT, OWN, STRATEGY, grouped, is_itself, place

ADAPTED = [str(variant) for variant in VARIANTS if variant.adapted]
NOTHING = "-"

Cell = Callable[[Figure], str]


def number(value: float) -> str:
    """With a decimal below 100, with more below 1."""
    size = abs(value)
    decimals = 0 if size >= 100 or size == 0 else 1 if size >= 1 else 2 if size >= 0.01 else 4
    return f"{value:,.{decimals}f}"


def plain(figure: Figure) -> str:
    """A figure as it is."""
    return number(figure.value)


def in_us(figure: Figure) -> str:
    """Of nanoseconds the microseconds."""
    return number(figure.value / 1000)


def with_interval(figure: Figure) -> str:
    """A ratio or a small number, with its interval."""
    return interval_text(figure.value, figure.low, figure.high, ratio_text)


def slope(figure: Figure) -> str:
    """What stays behind of each message: next to nothing, or a leak."""
    return interval_text(figure.value, figure.low, figure.high, "{:.5f}".format)


def in_ns(figure: Figure) -> str:
    """Nanoseconds, with the interval."""
    return interval_text(figure.value, figure.low, figure.high, "{:,.0f}".format)


class Column(NamedTuple):
    """Figures of one name. A heading breaks where it should in a terminal."""

    heading: str
    name: str
    cell: Cell = plain


class Section(NamedTuple):
    """A table with a line for each architecture; ``key`` is that of its markers in the page."""

    key: str
    title: str
    columns: Sequence[Column]

    def of(self, figures: Iterable[Figure]) -> list[Figure]:
        """Those of ``figures`` that it shows."""
        names = {column.name for column in self.columns}
        return [figure for figure in figures if figure.name in names and figure.path.variant in (DIRECT, STRATEGY)]

    def shown(self, figures: Iterable[Figure]) -> list[Column]:
        """The columns in which there is something."""
        names = {figure.name for figure in figures}
        return [column for column in self.columns if column.name in names]


def _spread(name: str) -> list[Column]:
    return [Column(share, f"{name} {share}", in_us) for share in ("p50", "p90", "p99", "p99.9", "max")]


SECTIONS = (
    Section(
        "latency",
        "Latency over a socket at a fixed rate, us; last how late the sender was",
        [Column("frames\n/s", "rate"), *_spread("latency"), Column("sender\np99", "sender lateness p99", in_us)],
    ),
    Section(
        "counts",
        "Counts of each message, exact",
        [
            Column("Python\ncalls", "python calls"),
            Column("C calls", "c calls"),
            Column("allocations", "allocations"),
            Column("bytes\nallocated", "allocated bytes"),
        ],
    ),
    Section(
        "simulated",
        "Counts of each message, simulated by valgrind",
        [
            Column("instructions", "instructions"),
            Column("D1\nmisses", "D1 misses"),
            Column("LL\nmisses", "LL misses"),
            Column("branch\nmisses", "branch misses"),
            Column("instructions,\nindirection", "indirection instructions"),
        ],
    ),
    Section(
        "hardware",
        "Counts of each message, by the processor's own counters",
        [
            Column("instructions", "hardware instructions"),
            Column("cache\nmisses", "hardware cache misses"),
            Column("branch\nmisses", "hardware branch misses"),
        ],
    ),
    Section(
        "throughput",
        "Throughput of a saturated socket",
        [
            Column("frames/s", "throughput"),
            Column("ratio to direct", "throughput ratio to direct", with_interval),
        ],
    ),
    Section(
        "wait",
        "Wait in the lane at the same rate, us",
        [Column("p50", "lane wait p50", in_us), Column("p99", "lane wait p99", in_us)],
    ),
    Section(
        "switch",
        "Pause of a switch, us beyond the usual latency; last where nothing was switched",
        [
            Column("p50", "switch pause p50", in_us),
            Column("p99", "switch pause p99", in_us),
            Column("max", "switch pause max", in_us),
            Column("none\np99", "no switch pause p99", in_us),
        ],
    ),
    Section(
        "memory",
        "Memory that stays behind of each message",
        [Column("blocks", "blocks a message", slope), Column("bytes", "bytes a message", slope)],
    ),
    Section(
        "metrics", "What the metrics cost", [Column("ns a frame", "metrics", in_ns), Column("instructions a frame", "metrics instructions")]
    ),
)


class Way(NamedTuple):
    """A workload's line in the table of times; None for what was not measured."""

    path: Path
    time: Sequence[Figure | None]
    ratio: Figure | None
    adapted: Sequence[Figure | None]
    indirection: Sequence[Figure | None]


def ways(figures: Iterable[Figure]) -> list[Way]:
    """Times, ratios and indirection of each workload, direct first."""
    found: list[Way] = []
    for path, of_workload in grouped((each for each in figures if each.path.variant in OWN), lambda figure: place(figure.path)).items():
        named = {(each.name, each.path.variant): each for each in of_workload}
        time, indirection = ([named.get((name, variant)) for variant in (DIRECT, STRATEGY)] for name in ("time", "indirection"))
        adapted = [named.get(("ratio to direct", variant)) for variant in ADAPTED]
        if any(time):
            found.append(Way(path, time, named.get(("ratio to direct", STRATEGY)), adapted, indirection))
    return found


def venue_of(path: Path) -> str:
    """Whose figures a table has."""
    return f"{path.venue}, {path.scope}"


def cell(figure: Figure | None, text: Cell) -> str:
    """A figure, a dash where there is none; nothing is said of what is compared with itself."""
    if figure is None:
        return NOTHING
    return "" if is_itself(figure) else text(figure)


def pair(both: Sequence[Figure | None], text: Cell) -> str:
    """Of two architectures, direct and strategy."""
    return " / ".join(cell(figure, text) for figure in both) if any(both) else NOTHING
