"""A report for people: tables in the terminal, plots beside it, and the tables of ``docs/performance.md``.

    cd src && ../.venv/bin/python -m tests.performance.report REPORT.json [--folder FOLDER | --docs]

Prints a stored report again and draws its plots where it lies, or in FOLDER. ``--docs`` writes its figures into the page instead, and draws
the plots that are shown there; sections of which it has no figures stay as they are.
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from os.path import commonprefix
from pathlib import Path as File

import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tests.performance import page
from tests.performance.figures import Distribution, Figure, Path, Report
from tests.performance.plots import BENCH, DIRECT, STRATEGY, Stored, grouped, peer_rows, place, plots_of
from tests.performance.tables import SECTIONS, Section, Way, cell, in_us, pair, venue_of, ways, with_interval
from tests.performance.workload import STEADY

REPORT = "report.json"
#: So many columns have room for an interval beside its value; where there are fewer it stands below.
BROAD = 100


def write(report: Report, distributions: Sequence[Distribution], folder: File, command: str = BENCH) -> None:
    """Keep a report in a folder, as JSON, and draw its plots there."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = Stored(**msgspec.structs.asdict(report), command=command, distributions=list(distributions))
    (folder / REPORT).write_bytes(msgspec.json.format(msgspec.json.encode(kept)))
    draw(kept, folder)


def read(file: File) -> Stored:
    """A report that was kept; others' have no distributions."""
    return msgspec.json.decode(file.read_bytes(), type=Stored)


def draw(report: Stored, folder: File) -> list[File]:
    """Write all plots for which there are figures."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = {folder / f"{name}.svg": svg for name, svg in plots_of(report).items()}
    for file, svg in drawn.items():
        file.write_text(svg)
    return list(drawn)


def show(report: Report, console: Console) -> None:
    """Print everything that the report has. "d / s" is direct / strategy."""
    facts = Table.grid(padding=(0, 2))
    for name, value in (*report.machine.items(), ("commit", report.commit), ("at", report.at)):
        facts.add_row(name.replace("_", " "), Text(value, overflow="fold"))
    console.print(facts)
    console.print()
    for title, lines in grouped(ways(report.figures), lambda way: venue_of(way.path)).items():
        common, names = shortened(way.path.channel for way in lines)
        _print(console, f"{title}{common}", _ways_table(lines, names, console.width >= BROAD))
    for section in SECTIONS:
        for title, figures in grouped(section.of(report.figures), lambda figure: venue_of(figure.path)).items():
            common, names = shortened(figure.path.channel for figure in figures)
            _print(console, f"{section.title}: {title}{common}", _section_table(section, figures, names))
    for title, rows in grouped(peer_rows(report.figures), lambda row: row.heading).items():
        table = _table("", "us", "ratio to tickrail direct")
        for row in rows:
            table.add_row(row.path.variant, in_us(row.time), with_interval(row.ratio))
        _print(console, title, table)
    for failure in report.failures:
        console.print(Text(failure, "red"))
    if report.is_sound:
        console.print("Failures: none.")


def _print(console: Console, title: str, table: Table) -> None:
    console.print(Text(title, "bold"))
    console.print(table)
    console.print()


def _table(*headings: str) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), pad_edge=False)
    first, *others = headings
    table.add_column(first, overflow="fold")
    for heading in others:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _ways_table(lines: Sequence[Way], names: dict[str, str], is_broad: bool) -> Table:
    table = _table("channel", "direct\nus", "strategy\nus", "strategy\n/ direct", "adapted\nd / s", "indirection\nus, d / s")
    for way in lines:
        ratio = cell(way.ratio, with_interval)
        table.add_row(
            _channel(way.path, names),
            *(cell(figure, in_us) for figure in way.time),
            ratio if is_broad else ratio.replace(" (", "\n("),
            pair(way.adapted, lambda figure: f"{figure.value:.2f}"),
            pair(way.indirection, in_us),
        )
    return table


def _section_table(section: Section, figures: Sequence[Figure], names: dict[str, str]) -> Table:
    columns = section.shown(figures)
    table = _table("channel", "", *(column.heading for column in columns))
    for path, of_place in grouped(figures, lambda figure: place(figure.path)).items():
        label = _channel(path, names)
        for variant in (DIRECT, STRATEGY):
            found = {figure.name: figure for figure in of_place if figure.path.variant == variant}
            if found:
                table.add_row(label, variant, *(cell(found.get(column.name), column.cell) for column in columns))
                label = Text()
    return table


def _channel(path: Path, names: dict[str, str]) -> Text:
    return Text(names[path.channel] if path.workload == STEADY else f"{names[path.channel]}\n {path.workload}")


def shortened(channels: Iterable[str]) -> tuple[str, dict[str, str]]:
    """What the names of channels have in common, as a table's title says it, and of each name what is left."""
    names = list(dict.fromkeys(channels))
    alike = [name for name in names if " " not in name]
    if len(alike) < 2:
        return "", {name: name for name in names}
    prefix = commonprefix(alike)
    head = prefix[: max(prefix.rfind("."), prefix.rfind("@")) + 1]
    suffix = commonprefix([name[: len(head) - 1 : -1] if head else name[::-1] for name in alike])[::-1]
    end = suffix[suffix.find(".") :] if "." in suffix else ""
    if not head and not end:
        return "", {name: name for name in names}
    return f" ({head}*{end})", {name: name.removeprefix(head).removesuffix(end) if name in alike else name for name in names}


def main(arguments: Sequence[str] | None = None) -> int:
    """Show, draw, and return the exit status: 1 if the report tells of failures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=File)
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--folder", type=File, help="where the plots go")
    where.add_argument("--docs", action="store_true", help="write into docs/performance.md")
    chosen = parser.parse_args(arguments)
    report, console = read(chosen.report), Console()
    if chosen.docs:
        try:
            filled = page.fill(report)
        except page.CannotFill as error:
            parser.error(str(error))
        console.print(f"{page.PAGE}: {', '.join(filled)}", soft_wrap=True)
    else:
        show(report, console)
        for file in draw(report, chosen.folder or chosen.report.parent):
            console.print(str(file), soft_wrap=True)
    return 0 if report.is_sound else 1


if __name__ == "__main__":
    sys.exit(main())
