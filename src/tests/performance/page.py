"""The figures of ``docs/performance.md``: what stands between two markers is written by a command, never by hand.

<!-- ways:begin -->
...
<!-- ways:end -->
"""

from collections.abc import Iterable, Sequence
from pathlib import Path as File

from tests.harness.captures import ROOT
from tests.performance.figures import Path
from tests.performance.plots import BENCH_PEERS, DIRECT, STRATEGY, Stored, grouped, place, plots_of, source_line
from tests.performance.tables import SECTIONS, Section, cell, in_us, pair, peer_rows, ways, with_interval
from tests.performance.workload import STEADY

PAGE = ROOT / "docs" / "performance.md"
#: Plots of the page with what is read to those who do not see them.
PLOTS = {
    "latency": "Latency by percentile, both architectures, one channel of each venue",
    "ratios": "Time of the strategy architecture over that of direct handling, every channel, with intervals",
    "stages": "Cost of decoding, applying, emitting and of lane and indirection, both architectures",
    "peers": "Others over tickrail's direct handling, with intervals",
}


class MarkersMissing(ValueError):
    """The page has no place for a section, or several."""


def fill(report: Stored, page: File = PAGE) -> list[str]:
    """Write all sections for which there are figures, draw their plots beside the page, and tell the sections' names."""
    plots, text = plots_of(report), page.read_text()
    folder = page.parent / page.stem
    contents = sections(report)
    for key in (*plots, *contents):
        shown = [f"![{PLOTS[key]}]({folder.name}/{key}.svg)"] if key in plots else []
        command = BENCH_PEERS if key == "peers" else report.command
        told = [contents[key]] if key in contents else []
        text = replaced(text, key, "\n\n".join([*shown, *told, f"From {source_line(report, command)}."]))
    folder.mkdir(exist_ok=True)
    for name, svg in plots.items():
        (folder / f"{name}.svg").write_text(svg)
    page.write_text(text)
    return list(dict.fromkeys((*plots, *contents)))


def replaced(text: str, key: str, content: str) -> str:
    """The text with another content between the markers of ``key``."""
    begin, end = (f"<!-- {key}:{which} -->" for which in ("begin", "end"))
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise MarkersMissing(f"{key}: {begin} and {end} must both be there, once")
    return f"{text[: text.index(begin)]}{begin}\n\n{content}\n\n{text[text.index(end) :]}"


def sections(report: Stored) -> dict[str, str]:
    """Tables in Markdown, by the names of their markers."""
    found = {"ways": _ways(report), "peers": _peers(report)} | {section.key: _section(section, report) for section in SECTIONS}
    return {key: table for key, table in found.items() if table}


def _ways(report: Stored) -> str:
    headings = (
        "direct, us",
        "strategy, us",
        "strategy / direct",
        "adapted: direct, strategy",
        "indirection, us: direct, strategy",
    )
    rows = [
        (
            *_place(way.path),
            *(cell(figure, in_us) for figure in way.time),
            cell(way.ratio, with_interval),
            pair(way.adapted, lambda figure: f"{figure.value:.3f}"),
            pair(way.indirection, in_us),
        )
        for way in ways(report.figures)
    ]
    return _table(("venue", "channel", *headings), rows)


def _section(section: Section, report: Stored) -> str:
    figures = section.of(report.figures)
    columns = section.shown(figures)
    rows = []
    for path, of_place in grouped(figures, lambda figure: place(figure.path)).items():
        for variant in (DIRECT, STRATEGY):
            named = {figure.name: figure for figure in of_place if figure.path.variant == variant}
            if named:
                rows.append((*_place(path), variant, *(cell(named.get(column.name), column.cell) for column in columns)))
    return _table(("venue", "channel", "architecture", *(column.heading.replace("\n", " ") for column in columns)), rows)


def _peers(report: Stored) -> str:
    rows = [(*_place(row.path), row.what, row.path.variant, in_us(row.time), with_interval(row.ratio)) for row in peer_rows(report.figures)]
    return _table(("venue", "channel", "what", "who", "us", "ratio to tickrail direct"), rows)


def _place(path: Path) -> tuple[str, str]:
    channel = path.channel if " " in path.channel else f"`{path.channel}`"
    return f"{path.venue}, {path.scope}", channel if path.workload == STEADY else f"{channel}, {path.workload}"


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Nothing without rows."""
    lines = [_line(row) for row in rows]
    return "\n".join([_line(headings), "|---" * len(headings) + "|", *lines]) if lines else ""


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(text.replace('|', chr(92) + '|') for text in cells)} |"
