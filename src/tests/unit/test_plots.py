"""Plots say what the figures say: lengths, whiskers, labels and units, read back from the SVG."""

import re
from itertools import pairwise
from xml.etree import ElementTree

import msgspec
import pytest

from tests.performance import plots
from tests.performance.drawing import linear, logarithmic, tail
from tests.performance.figures import Distribution, Figure, Path, Report
from tests.performance.plots import Stored
from tests.performance.workload import PUBLIC, Scope

SVG = "{http://www.w3.org/2000/svg}"
SPOT, BOOKS = ("gateio_spot", "spot.trades"), ("gateio_spot", "spot.order_book_update")
HOSTILE = 'spot.<b>"&amp;'
MACHINE = {"cpu": "Some <CPU>", "cores": "2", "python": "3.11.7"}


def path(variant: str, venue: str = SPOT[0], channel: str = SPOT[1], scope: Scope = PUBLIC, workload: str = "steady") -> Path:
    return Path(venue, scope, channel, workload, variant)


def ratio(value: float, of: Path, name: str = "ratio to direct") -> Figure:
    return Figure(of, name, "", value, "measured", value - 0.1, value + 0.2)


def report(*figures: Figure, distributions: tuple[Distribution, ...] = ()) -> Stored:
    return Stored(MACHINE, "abc1234", "2026-01-02T03:04:05", list(figures), distributions=list(distributions))


def staged(channel: tuple[str, str] = SPOT) -> list[Figure]:
    parts = {"decode": 2000.0, "apply": 3000.0, "emit": 1000.0}
    ways = {"direct": 1500.0, "strategy": 9000.0}
    figures = [Figure(path("direct", *channel), name, "ns", value, "measured") for name, value in parts.items()]
    for variant, value in ways.items():
        figures.append(Figure(path(variant, *channel), "indirection", "ns", value, "measured"))
        figures.append(Figure(path(variant, *channel), "time", "ns", value + 6000, "measured"))
    return figures


def taken(variant: str, scale: int, channel: tuple[str, str] = SPOT) -> Distribution:
    return Distribution(path(variant, *channel), 2000.0, 10_000, (0.0, 0.5, 0.9, 0.99, 0.999), tuple(scale * n for n in (1, 2, 4, 8, 80)))


def of_peers(name: str, value: float) -> list[Figure]:
    return [Figure(path(name), "time", "ns", 7000 * value, "measured"), ratio(value, path(name))]


def everything() -> Stored:
    private = path("strategy", "mexc_spot", "spot@private.orders.v3.api.pb", "private")
    figures = [ratio(1.5, path("strategy")), ratio(2.0, path("strategy", channel=HOSTILE)), ratio(1.25, private), *staged()]
    figures += [*of_peers("ccxt.pro", 20.0), *of_peers("msgspec loop", 0.6)]
    return report(*figures, distributions=(taken("direct", 10_000), taken("strategy", 25_000)))


class Plot:
    """An SVG, read."""

    def __init__(self, svg: str | None) -> None:
        assert svg is not None
        self.root = ElementTree.fromstring(svg)

    @property
    def texts(self) -> list[str]:
        return [text.text or "" for text in self.root.iter(f"{SVG}text")]

    def place_of(self, text: str) -> tuple[float, float]:
        found = [each for each in self.root.iter(f"{SVG}text") if each.text == text and "x" in each.attrib]
        return float(found[-1].attrib["x"]), float(found[-1].attrib["y"])

    def bars(self, said: str) -> list[tuple[float, float]]:
        """Start and width of the bars that say so, in order."""
        rects = [rect for rect in self.root.iter(f"{SVG}rect") if (rect.findtext(f"{SVG}title") or "").startswith(said)]
        return [(float(rect.attrib["x"]), float(rect.attrib["width"])) for rect in rects]

    def whiskers(self) -> list[tuple[float, float]]:
        """Ends of the level lines of a whisker, but that of the legend."""
        lines = [line.attrib for line in self.root.iter(f"{SVG}line") if line.attrib["class"] == "ink-stroke"]
        level = [(float(line["x1"]), float(line["x2"]), float(line["y1"])) for line in lines if line["y1"] == line["y2"]]
        return [(x1, x2) for x1, x2, y in level if y > 60]

    def curves(self) -> list[list[tuple[float, float]]]:
        lines = [line.attrib["points"].split() for line in self.root.iter(f"{SVG}polyline")]
        return [[(float(x), float(y)) for x, y in (point.split(",") for point in line)] for line in lines]


NAMES = ["latency", "ratios", "stages", "peers"]


@pytest.mark.parametrize("name", NAMES)
def test_a_plot_is_well_formed_and_the_same_each_time_and_has_no_script(name: str) -> None:
    first, second = plots.plots_of(everything()), plots.plots_of(everything())
    assert list(first) == NAMES and first == second
    plot, svg = Plot(first[name]), first[name]
    assert plot.root.attrib["viewBox"].startswith("0 0 860 ")
    assert "<script" not in svg and "http" not in svg.replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert "@media (prefers-color-scheme: dark)" in svg
    command = "make bench-peers" if name == "peers" else "make bench"
    assert f"tickrail {command}; Some <CPU>, 2 cores, Python 3.11.7, 2026-01-02, commit abc1234" in plot.texts


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("latency", ["latency, us", "percentile, %", "50", "99.9", "direct", "strategy", "2,000 frames/s, 10,000 frames", "spot.trades"]),
        (
            "ratios",
            ["strategy time / direct time, no unit", "gateio_spot, public", "mexc_spot, private", "1.500 (1.400 to 1.700)", HOSTILE],
        ),
        ("stages", ["us for each frame", "decode", "apply: session, book", "emit: callbacks", "lane and indirection", "7.5 us", "15.0 us"]),
        (
            "peers",
            ["theirs / tickrail direct's, no unit, logarithmic", "ccxt.pro", "gateio_spot, spot.trades: time", "20.0 (19.9 to 20.2)"],
        ),
    ],
)
def test_labels_and_units_are_there(name: str, labels: list[str]) -> None:
    assert not set(labels) - set(Plot(plots.plots_of(everything())[name]).texts)


@pytest.mark.parametrize("name", NAMES)
def test_no_text_begins_or_ends_outside(name: str) -> None:
    for text in Plot(plots.plots_of(everything())[name]).root.iter(f"{SVG}text"):
        if "x" in text.attrib:
            width = len(text.text or "") * float(text.attrib["font-size"]) * 0.5
            share = {"start": 0.0, "middle": 0.5, "end": 1.0}[text.attrib["text-anchor"]]
            start = float(text.attrib["x"]) - share * width
            assert start >= 0 and start + width <= 860, text.text


def test_a_bar_is_as_long_as_its_ratio_and_its_whisker_as_wide_as_the_interval() -> None:
    plot = Plot(plots.ratios(report(ratio(1.5, path("strategy")), ratio(2.0, path("strategy", channel="spot.obu")))))
    zero, one = plot.place_of("0")[0], plot.place_of("1")[0]
    (start, width), (_, other) = plot.bars("spot.trades") + plot.bars("spot.obu")
    unit = one - zero
    assert start == pytest.approx(zero, abs=0.3)
    assert width == pytest.approx(1.5 * unit, abs=0.3) and other == pytest.approx(2.0 * unit, abs=0.3)
    ends = [(end - zero) / unit for whisker in plot.whiskers() for end in whisker]
    assert ends == pytest.approx([1.4, 1.7, 1.9, 2.2], abs=0.01)


def test_who_is_slower_stands_at_the_right_of_direct_and_who_is_faster_at_its_left() -> None:
    plot = Plot(plots.peers(report(*of_peers("tickrail direct", 1.0), *of_peers("ccxt.pro", 10.0), *of_peers("msgspec loop", 0.5))))
    one, ten = plot.place_of("1")[0], plot.place_of("10")[0]
    (slow_start, slow_width), (fast_start, fast_width) = plot.bars("ccxt.pro") + plot.bars("msgspec loop")
    assert slow_start == pytest.approx(one, abs=0.3) and slow_width == pytest.approx(ten - one, abs=0.3)
    assert fast_start + fast_width == pytest.approx(one, abs=0.3)
    assert fast_width / slow_width == pytest.approx(0.30103, abs=0.002)


def test_what_is_measured_against_itself_has_no_bar() -> None:
    itself = Figure(path("tickrail direct"), "ratio to direct", "", 1.0, "measured", 1.0, 1.0)
    time = Figure(path("tickrail direct"), "time", "ns", 7000.0, "measured")
    assert plots.peers(report(itself, time)) is None
    assert not Plot(plots.peers(report(itself, time, *of_peers("ccxt.pro", 9.0)))).bars("tickrail direct")


def test_parts_stand_one_after_the_other_and_are_as_long_as_they_took() -> None:
    plot = Plot(plots.stages(report(*staged())))
    zero, ten = plot.place_of("0")[0], plot.place_of("10")[0]
    unit = (ten - zero) / 10
    for row, indirection in enumerate((1.5, 9.0)):
        start = zero
        for said, length in (("decode", 2.0), ("apply", 3.0), ("emit", 1.0), ("lane", indirection)):
            x, width = plot.bars(said)[row]
            assert [x, width] == pytest.approx([start, length * unit], abs=0.3)
            start += length * unit


def test_a_part_below_nothing_is_not_drawn() -> None:
    figures = [msgspec.structs.replace(figure, value=-500.0) if figure.name == "indirection" else figure for figure in staged()]
    assert [width for _, width in Plot(plots.stages(report(*figures))).bars("lane")] == [0, 0]


def test_stages_are_drawn_of_the_channels_asked_for_as_far_as_they_were_measured() -> None:
    found = report(*staged(SPOT), *staged(BOOKS))
    assert {SPOT[1], BOOKS[1]} <= set(Plot(plots.stages(found)).texts)
    assert SPOT[1] not in Plot(plots.stages(found, [BOOKS, ("mexc_spot", "unmeasured")])).texts
    assert plots.stages(report(*staged()[:-1])) is None


def test_a_curve_goes_through_its_quantiles() -> None:
    found = report(distributions=(taken("direct", 10_000), taken("strategy", 25_000)))
    plot = Plot(plots.latency(found, found.distributions))
    direct, strategy = plot.curves()
    # 10, 20, 40, 80, 800 us: a doubling is as high everywhere, and a decade as high as the axis says.
    heights = [lower - higher for (_, lower), (_, higher) in pairwise(direct)]
    assert heights[0] == pytest.approx(heights[1], abs=0.2) == pytest.approx(heights[2], abs=0.2)
    assert heights[3] / heights[0] == pytest.approx(1 / 0.30103, abs=0.05)
    ticks = {text: plot.place_of(text)[1] - 4 for text in ("10", "100", "1,000")}
    assert direct[0][1] == pytest.approx(ticks["10"], abs=0.2)
    assert ticks["10"] - ticks["100"] == pytest.approx(heights[3], abs=0.2)
    # A decade of what is left above is as wide everywhere.
    xs = [x for x, _ in direct]
    assert xs[2] - xs[0] == pytest.approx(xs[3] - xs[2], abs=0.2) == pytest.approx(xs[4] - xs[3], abs=0.2)
    assert xs[1] == pytest.approx(plot.place_of("50")[0], abs=0.2)
    assert [x for x, _ in strategy] == xs and all(slow < fast for (_, slow), (_, fast) in zip(strategy, direct, strict=True))


def test_the_channel_in_the_middle_stands_for_its_venue_unless_another_is_named() -> None:
    found = report(
        distributions=tuple(
            taken(variant, scale * 1000, ("gateio_spot", channel))
            for channel, scale in (("quick", 1), ("slow", 90), ("middle", 7))
            for variant in ("direct", "strategy", "direct-adapted")
        )
    )
    assert "middle" in Plot(plots.latency(found, found.distributions)).texts
    named = Plot(plots.latency(found, found.distributions, {"gateio_spot": "slow"}))
    assert "slow" in named.texts and "middle" not in named.texts and len(named.curves()) == 2


def test_what_a_report_has_no_figures_of_is_not_drawn() -> None:
    assert plots.plots_of(report()) == {}
    part = Figure(Path("any", PUBLIC, "The lane", "empty handler", "lane.deliver"), "ratio to direct", "", 1.5, "measured", 1.4, 1.6)
    assert plots.plots_of(report(part)) == {}


@pytest.mark.parametrize(
    ("high", "ticks"),
    [(1.0, 5), (1.9, 4), (3.0, 6), (7.3, 8), (56.8, 6), (100.0, 5), (0.3, 6)],
)
def test_an_axis_ends_at_the_first_round_number_that_is_not_below(high: float, ticks: int) -> None:
    scale = linear(high, 0, 100)
    step = scale.ticks[1]
    assert len(scale.ticks) - 1 == ticks and re.fullmatch(r"[125]e[+-]\d+", f"{step:.0e}")
    assert scale.ticks[-1] - step < high <= scale.ticks[-1] + 1e-9
    assert scale.high == scale.ticks[-1] and scale.at(scale.high) == 100


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(3, 80, [2, 5, 10, 20, 50, 100]), (1, 1, [1, 2]), (0.5, 10, [0.5, 1, 2, 5, 10]), (10, 99, [10, 20, 50, 100])],
)
def test_a_logarithmic_axis_has_ticks_at_1_2_and_5(low: float, high: float, ticks: list[float]) -> None:
    scale = logarithmic(low, high, 0, 100)
    assert list(scale.ticks) == ticks and scale.at(ticks[0]) == 0 and scale.at(ticks[-1]) == 100


def test_an_axis_of_shares_ends_where_its_data_do() -> None:
    assert list(tail(0.995, 0, 100).ticks) == [0.5, 0.9, 0.99]
    assert tail(0.99, 0, 100).at(0.9) == pytest.approx(50)


def test_a_stored_report_is_a_report() -> None:
    stored = everything()
    read = msgspec.json.decode(msgspec.json.encode(stored), type=Report)
    assert read.figures == stored.figures and read.machine == stored.machine
