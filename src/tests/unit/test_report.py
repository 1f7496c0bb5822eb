"""Tables that fit a terminal, a report that can be read again, and a page of which only the figures change."""

import io
import re
from functools import cache
from pathlib import Path as File

import msgspec
import pytest
from rich.console import Console

from tests.harness.variants import VARIANTS
from tests.performance import page, report, workloads
from tests.performance.figures import Distribution, Figure, Path, Report
from tests.performance.plots import Stored
from tests.performance.report import shortened
from tests.performance.tables import SECTIONS, Section, number
from tests.performance.workload import PRIVATE, PUBLIC

MACHINE = {"cpu": "Some CPU of a name that is rather long @ 2.25GHz", "cores": "2", "python": "3.11.7", "fingerprint": "0123456789ab"}
PAGE = page.PAGE.read_text()
KEYS = sorted({*page.PLOTS, "ways", "parts", *(section.key for section in SECTIONS)})
BOOKS = "books and trades"


def every_path() -> list[Path]:
    """Of every channel, and of those whose tables have longer names."""
    usual = [Path(venue, scope, channel, "steady", "") for scope in (PUBLIC, PRIVATE) for venue, channel in workloads.channels(scope)]
    grown = [Path(venue, PUBLIC, channel, workloads.MANY_SYMBOLS, "") for venue, channel in workloads.GROWN]
    return [*usual, *grown, Path("gateio_spot", PUBLIC, "all channels", workloads.RECORDED, "")]


def everything() -> Report:
    """Figures of each name that there is, as wide as they get, of every channel."""
    figures: list[Figure] = []
    for where in every_path():
        for index, variant in enumerate(map(str, VARIANTS)):
            of = msgspec.structs.replace(where, variant=variant)
            ratio, low, high = (1.0, 1.0, 1.0) if variant == "direct" else (1.7 + index / 10, 1.6 + index / 10, 1.8 + index / 10)
            figures += [Figure(of, "time", "ns", 12_345.0, "measured"), Figure(of, "indirection", "ns", 7_654.0, "measured")]
            figures.append(Figure(of, "ratio to direct", "", ratio, "measured", low, high))
            for column in (column for section in SECTIONS for column in section.columns):
                value = 1_234.5 if column.name.endswith("misses") else 123_456.0
                value = 1.2345 if "ratio" in column.name else 0.00012 if " a message" in column.name else value
                figures.append(Figure(of, column.name, "", value, "measured", value * 0.9, value * 1.1))
        direct = msgspec.structs.replace(where, variant="direct")
        figures += [Figure(direct, stage, "ns", 1000.0, "measured") for stage in ("decode", "apply", "emit")]
    for who, ratio in (("tickrail direct", 1.0), ("ccxt.pro", 31.5)):
        of = Path("mexc_spot", PUBLIC, BOOKS, "whole way", who)
        figures += [Figure(of, "processor time", "ns", 70_000 * ratio, "measured")]
        figures += [Figure(of, "processor time ratio to direct", "", ratio, "measured", ratio, ratio)]
    of = Path("any", PUBLIC, "The lane", "empty handler", "lane.deliver")
    figures += [Figure(of, "more than the slot alone", "ns", 672.0, "measured", 671.0, 674.0)]
    figures += [Figure(of, "ratio to the slot alone", "", 9.5, "measured", 9.4, 9.6)]
    return Report(MACHINE, "abc1234", "2026-01-02T03:04:05+00:00", figures)


EVERYTHING = everything()
DISTRIBUTIONS = [
    Distribution(Path(venue, PUBLIC, channel, "steady", variant), 10_000.0, 10_032, (0.0, 0.5, 0.9, 0.999), (1000, 2000, 3000, 90_000))
    for venue, channel in workloads.GROWN[:2]
    for variant in ("direct", "strategy")
]


def shown(found: Report, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    report.show(found, console)
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


@cache
def everything_shown(width: int) -> list[str]:
    return shown(EVERYTHING, width)


def headed(lines: list[str], title: str) -> list[str]:
    """A table: from its title to the next empty line."""
    start = lines.index(title)
    return lines[start + 1 : lines.index("", start)]


@pytest.mark.parametrize("width", [80, 100])
def test_no_line_is_wider_than_the_terminal_and_nothing_is_cut_off(width: int) -> None:
    lines = everything_shown(width)
    assert max(map(len, lines)) <= width
    assert not [line for line in lines if "…" in line]
    text = "\n".join(lines)
    names = {name for venue, channels in _by_venue().items() for name in shortened(channels)[1].values()}
    assert not {name for name in names if name not in text}


def _by_venue() -> dict[tuple[str, str], list[str]]:
    found: dict[tuple[str, str], list[str]] = {}
    for path in every_path():
        found.setdefault((path.venue, path.scope), []).append(path.channel)
    return found


def test_a_line_has_both_times_the_ratio_with_its_interval_both_adapters_and_both_indirections() -> None:
    table = headed(everything_shown(100), "gateio_futures, private (futures.*)")
    line = next(line for line in table if line.startswith("positions"))
    assert line.split(maxsplit=3)[1:3] == ["12.3", "12.3"]
    assert "1.900 (1.800 to 2.000)" in line and "1.80 / 2.00" in line and line.endswith("7.7 / 7.7")


def test_at_80_columns_an_interval_stands_below() -> None:
    table = headed(everything_shown(80), "gateio_futures, private (futures.*)")
    index = next(index for index, line in enumerate(table) if line.startswith("positions"))
    assert " 1.900 " in table[index] and table[index + 1].strip() == "(1.800 to 2.000)"


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.key)
def test_a_section_has_a_line_for_each_architecture(section: Section) -> None:
    table = headed(everything_shown(160), f"{section.title}: mexc_spot, private (spot@private.*.v3.api.pb)")
    index = next(index for index, line in enumerate(table) if line.startswith("deals"))
    assert table[index].split()[1] == "direct" and table[index + 1].split()[0] == "strategy"
    for column in section.columns:
        assert column.heading.split("\n")[-1].split()[-1] in "\n".join(table)


def test_what_was_not_measured_is_not_there() -> None:
    some = [figure for figure in EVERYTHING.figures if figure.name in ("time", "latency p50") and figure.path.channel == "spot.obu"]
    text = "\n".join(shown(Report({}, "abc1234", "2026-01-02", some), 100))
    assert "p50" in text and "p99" not in text and "Memory" not in text and "mexc" not in text


def test_a_section_s_table_is_of_both_architectures_alone() -> None:
    adapted = Figure(Path("gateio_spot", PUBLIC, "spot.obu", "steady", "direct-adapted"), "latency p99", "ns", 1.0, "measured")
    assert "Latency" not in "\n".join(shown(Report({}, "abc1234", "2026-01-02", [adapted]), 100))


def test_failures_come_last_in_red() -> None:
    failed = msgspec.structs.replace(EVERYTHING, figures=EVERYTHING.figures[:50], failures=["gateio_spot [spot.trades]: another state"])
    assert shown(failed, 100)[-1] == "gateio_spot [spot.trades]: another state"
    console = Console(file=io.StringIO(), width=100, force_terminal=True, color_system="standard")
    report.show(failed, console)
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().rstrip().splitlines()[-1].startswith("\x1b[31m")
    assert everything_shown(100)[-1] == "Failures: none."


@pytest.mark.parametrize(
    ("channels", "common", "names"),
    [
        (["spot.trades", "spot.obu"], " (spot.*)", ["trades", "obu"]),
        (["spot@public.aggre.deals.v3.api.pb", "spot@public.kline.v3.api.pb"], " (spot@public.*.v3.api.pb)", ["aggre.deals", "kline"]),
        (["spot.orders", "spot.orders_v2"], " (spot.*)", ["orders", "orders_v2"]),
        (["spot.trades", "all channels", "spot.obu"], " (spot.*)", ["trades", "all channels", "obu"]),
        (["spot.trades"], "", ["spot.trades"]),
        (["trades", "tickers"], "", ["trades", "tickers"]),
    ],
)
def test_what_channels_have_in_common_is_said_once(channels: list[str], common: str, names: list[str]) -> None:
    assert shortened(channels) == (common, dict(zip(channels, names, strict=True)))


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (12_345.6, "12,346"), (99.94, "99.9"), (1.0, "1.0"), (0.52, "0.52"), (0.0042, "0.0042"), (-3.0, "-3.0")]
)
def test_numbers(value: float, text: str) -> None:
    assert number(value) == text


def test_a_report_that_was_written_is_read_again_and_drawn_the_same(tmp_path: File, capsys: pytest.CaptureFixture[str]) -> None:
    report.write(EVERYTHING, DISTRIBUTIONS, tmp_path / "new", "make bench-quick")
    drawn = {file.name: file.read_bytes() for file in (tmp_path / "new").glob("*.svg")}
    assert sorted(drawn) == ["latency.svg", "peers.svg", "ratios.svg", "stages.svg"] and b"make bench-quick" in drawn["ratios.svg"]
    stored = report.read(tmp_path / "new" / "report.json")
    assert stored.figures == EVERYTHING.figures and stored.distributions == DISTRIBUTIONS and stored.command == "make bench-quick"
    assert msgspec.json.decode((tmp_path / "new" / "report.json").read_bytes(), type=Report) == EVERYTHING
    assert report.main([str(tmp_path / "new" / "report.json"), "--folder", str(tmp_path / "again")]) == 0
    assert {file.name: file.read_bytes() for file in (tmp_path / "again").iterdir()} == drawn
    assert "Failures: none." in capsys.readouterr().out


def test_the_exit_status_tells_of_failures(tmp_path: File) -> None:
    report.write(Report(MACHINE, "abc1234", "2026-01-02", [], ["wrong"]), (), tmp_path)
    assert report.main([str(tmp_path / "report.json")]) == 1


# The page


def stored(found: Report = EVERYTHING) -> Stored:
    return Stored(**msgspec.structs.asdict(found), distributions=DISTRIBUTIONS)


def outside(text: str) -> str:
    """All that no command writes."""
    return re.sub(r"(<!-- (\w+):begin -->).*?(<!-- \2:end -->)", r"\1\3", text, flags=re.S)


def between(text: str, key: str) -> str:
    return text.partition(f"<!-- {key}:begin -->")[2].partition(f"<!-- {key}:end -->")[0]


@pytest.fixture
def copied(tmp_path: File) -> File:
    copy = tmp_path / "performance.md"
    copy.write_text(PAGE)
    return copy


def test_the_page_has_a_place_for_everything_and_only_what_is_between_markers_changes(copied: File) -> None:
    assert sorted(page.fill(stored(), copied)) == KEYS
    text = copied.read_text()
    assert outside(text) == outside(PAGE) and text != PAGE
    for key in KEYS:
        assert "Some CPU" in between(text, key) and "commit abc1234" in between(text, key)
    for plot in page.PLOTS:
        assert f"](performance/{plot}.svg)" in between(text, plot) and (copied.parent / "performance" / f"{plot}.svg").is_file()
    assert "From `make bench-peers`:" in between(text, "peers") and "From `make bench`:" in between(text, "parts")
    page.fill(stored(), copied)
    assert copied.read_text() == text


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ("ways", "| gateio_spot, public | `spot.obu` | 12.3 | 12.3 | 1.900 (1.800 to 2.000) | 1.800 / 2.000 | 7.7 / 7.7 |"),
        ("peers", f"| mexc_spot, public | {BOOKS}, whole way | processor time | ccxt.pro | 2,205 | 31.5 (31.5 to 31.5) |"),
        ("parts", "| The lane | empty handler | the slot alone | lane.deliver | 672 (671 to 674) | 9.500 (9.400 to 9.600) |"),
        ("counts", "| mexc_spot, private | `spot@private.deals.v3.api.pb` | strategy | 123,456 | 123,456 | 123,456 | 123,456 |"),
    ],
)
def test_a_table_of_the_page_has_the_figures(key: str, line: str) -> None:
    table = page.sections(stored())[key]
    assert line in table.splitlines() and len({line.count("|") for line in table.splitlines()}) == 1


def test_a_section_of_which_a_report_has_nothing_stays(copied: File) -> None:
    page.fill(stored(), copied)
    before = copied.read_text()
    peers = [figure for figure in EVERYTHING.figures if figure.path.channel == BOOKS]
    later = Stored({"system": "Another"}, "def5678", "2026-02-03", peers)
    assert page.fill(later, copied) == ["peers"]
    after = copied.read_text()
    assert "Another" in between(after, "peers") and "Some CPU" not in between(after, "peers")
    assert [between(after, key) for key in KEYS if key != "peers"] == [between(before, key) for key in KEYS if key != "peers"]


def test_a_page_without_a_place_or_a_report_with_failures_is_refused_and_nothing_is_written(copied: File) -> None:
    copied.write_text(PAGE.replace("<!-- counts:end -->", ""))
    before = copied.read_text()
    with pytest.raises(page.CannotFill, match="counts"):
        page.fill(stored(), copied)
    copied.write_text(PAGE)
    with pytest.raises(page.CannotFill, match="another state"):
        page.fill(stored(msgspec.structs.replace(EVERYTHING, failures=["another state"])), copied)
    assert copied.read_text() == PAGE and before != PAGE and not (copied.parent / "performance").exists()


def test_the_page_in_the_project_shows_no_figure_outside_of_its_markers() -> None:
    assert sorted(re.findall(r"<!-- (\w+):begin -->", PAGE)) == KEYS
    assert not re.search(r"\d (us|ns|frames/s)\b(?! a side)", outside(PAGE).replace("150 us", ""))
