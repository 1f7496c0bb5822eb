"""The figures of ``docs/performance.md``: a command writes what stands between ``<!-- KEY:begin -->`` and ``<!-- KEY:end -->``."""

from collections.abc import Iterable, Sequence
from pathlib import Path as File

from tests.harness.captures import ROOT
from tests.performance.figures import Path
from tests.performance.plots import BENCH_PEERS, DIRECT, STRATEGY, Stored, facts_line, grouped, peer_rows, place, plots_of
from tests.performance.tables import SECTIONS, Section, cell, in_ns, in_us, pair, ways, with_interval
from tests.performance.workload import STEADY

PAGE = ROOT / "docs" / "performance.md"
#: What the names of a part's figures begin with.
MORE, RATIO = "more than ", "ratio to "
#: Plots of the page with what is read to those who do not see them.
PLOTS = {
    "latency": "Latency by percentile, both architectures, one channel of each venue",
    "ratios": "Time of the strategy architecture over that of direct handling, every channel, with intervals",
    "stages": "Cost of decoding, applying, emitting and of lane and indirection, both architectures",
    "peers": "Others over tickrail's direct handling, with intervals",
}


#: A table with more lines than this is shown to who asks for it.
LONG = 16


class CannotFill(ValueError):
    """The page has no place for a section, or several; or the report tells of failures."""


def fill(report: Stored, page: File = PAGE) -> list[str]:
    """Write all sections for which there are figures, draw their plots beside the page, and tell the sections' names."""
    if not report.is_sound:
        raise CannotFill(f"{len(report.failures)} failures: {report.failures[0]}")
    plots, text, folder = plots_of(report), page.read_text(), page.parent / page.stem
    tables = sections(report)
    keys = list(dict.fromkeys((*plots, *tables)))
    for key in keys:
        command = BENCH_PEERS if key == "peers" else report.command
        shown = [f"![{PLOTS[key]}]({folder.name}/{key}.svg)"] if key in plots else []
        shown += [_folded(tables[key])] if key in tables else []
        text = replaced(text, key, "\n\n".join([*shown, f"From `{command}`: {facts_line(report)}."]))
    folder.mkdir(exist_ok=True)
    for name, svg in plots.items():
        (folder / f"{name}.svg").write_text(svg)
    page.write_text(text)
    return keys


def _folded(table: str) -> str:
    lines = table.count("\n") - 1
    return table if lines <= LONG else f"<details><summary>{lines} lines</summary>\n\n{table}\n\n</details>"


def replaced(text: str, key: str, content: str) -> str:
    """The text with another content between the markers of ``key``."""
    begin, end = (f"<!-- {key}:{which} -->" for which in ("begin", "end"))
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise CannotFill(f"{key}: {begin} and {end} must both be there, once")
    return f"{text[: text.index(begin)]}{begin}\n\n{content}\n\n{text[text.index(end) :]}"


def sections(report: Stored) -> dict[str, str]:
    """Tables in Markdown, by the names of their markers."""
    found = {"ways": _ways(report), "parts": _parts(report), "peers": _peers(report)} | {
        section.key: _section(section, report) for section in SECTIONS
    }
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


def _parts(report: Stored) -> str:
    """Whatever says how much more one takes than another."""
    ratios = {(figure.path, figure.name.removeprefix(RATIO)): figure for figure in report.figures if figure.name.startswith(RATIO)}
    rows = []
    for figure in report.figures:
        other = figure.name.removeprefix(MORE)
        if other != figure.name:
            path = figure.path
            rows.append((path.channel, path.workload, other, path.variant, in_ns(figure), cell(ratios.get((path, other)), with_interval)))
    return _table(("", "frame", "A", "B", "B - A, ns", "B / A"), rows)


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
