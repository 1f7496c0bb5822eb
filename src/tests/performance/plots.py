"""What of a report is drawn: latencies, ratios, the stages of a frame's way, and others. Each is an SVG, or None if the report has no such.

Figures of others are those whose variant is none of tickrail's.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from statistics import median_low
from typing import NamedTuple, TypeVar

import msgspec

from infrastructure.events import Architecture
from tests.harness.variants import VARIANTS
from tests.performance.drawing import (
    WHISKER,
    Bar,
    Curve,
    Group,
    Panel,
    Stack,
    StackGroup,
    latency_curves,
    ratio_bars,
    stacked_bars,
)
from tests.performance.figures import Distribution, Figure, Path, Report
from tests.performance.workload import PUBLIC, STEADY
from tests.performance.workloads import GROWN

DIRECT, STRATEGY = map(str, Architecture)
OWN = frozenset(map(str, VARIANTS))
PAINT = {DIRECT: "blue", STRATEGY: "vermilion"}
#: Of everything that is not measured against others, and of what is.
BENCH, BENCH_PEERS = "make bench", "make bench-peers"
#: Ratios to tickrail's direct handling, and what is divided.
PEER_RATIOS = {"ratio to direct": "time", "processor time ratio to direct": "processor time"}
STAGES = {
    "decode": ("decode", "blue"),
    "apply": ("apply: session, book", "green"),
    "emit": ("emit: callbacks", "purple"),
    "indirection": ("lane and indirection", "vermilion"),
}

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class Stored(Report, frozen=True):
    """A report as it is kept, with the distributions of its latencies and the command that made it."""

    command: str = BENCH
    distributions: list[Distribution] = msgspec.field(default_factory=list)


def plots_of(report: Stored) -> dict[str, str]:
    """All plots for which there are figures, as SVG, by name."""
    found = {
        "latency": latency(report, report.distributions, command=report.command),
        "ratios": ratios(report, report.command),
        "stages": stages(report, command=report.command),
        "peers": peers(report),
    }
    return {name: svg for name, svg in found.items() if svg is not None}


def latency(
    report: Report, distributions: Sequence[Distribution], channels: Mapping[str, str] | None = None, command: str = BENCH
) -> str | None:
    """A panel for each venue: one public channel in both architectures.

    Without ``channels`` it is, of those with the most frames, the one whose median latency, direct, is the median of the venue's.
    """
    steady = [each for each in distributions if (each.path.scope, each.path.workload) == (PUBLIC, STEADY) and each.path.variant in PAINT]
    panels = []
    for venue in dict.fromkeys(each.path.venue for each in steady):
        of_venue = [each for each in steady if each.path.venue == venue]
        channel = (channels or {}).get(venue) or _median_channel(of_venue)
        chosen = sorted((each for each in of_venue if each.path.channel == channel), key=lambda each: each.path.variant)
        if chosen:
            note = f"{chosen[0].rate:,.0f} frames/s, {min(each.samples for each in chosen):,} frames"
            panels.append(Panel(venue, channel, note, [_curve(each) for each in chosen]))
    if not panels:
        return None
    return latency_curves("Latency, from when a frame was due to the end of its callback", panels, source_line(report, command))


def _median_channel(distributions: Sequence[Distribution]) -> str:
    most = max(each.samples for each in distributions)
    medians = [(_median(each), each.path.channel) for each in distributions if each.path.variant == DIRECT and each.samples == most]
    return median_low(medians)[1] if medians else distributions[0].path.channel


def _median(found: Distribution) -> int:
    return next(ns for share, ns in zip(found.shares, found.latency_ns, strict=True) if share >= 0.5)


def _curve(found: Distribution) -> Curve:
    return Curve(found.path.variant, PAINT[found.path.variant], list(zip(found.shares, found.latency_ns, strict=True)))


def ratios(report: Report, command: str = BENCH) -> str | None:
    """The strategy architecture's time over direct handling's, of each channel, with its interval."""
    figures = [each for path, each in report.named("ratio to direct").items() if path.variant == STRATEGY]
    groups = [
        Group(f"{venue}, {scope}", [_bar(title_of(each.path), each) for each in of_venue])
        for (venue, scope), of_venue in grouped(figures, lambda figure: (figure.path.venue, figure.path.scope)).items()
    ]
    if not groups:
        return None
    return ratio_bars(
        "Time for a frame: strategy architecture / direct handling",
        groups,
        "strategy time / direct time, no unit",
        source_line(report, command),
        [("vermilion", "strategy / direct"), (WHISKER, "95 % interval; the line at 1: as direct")],
    )


def stages(report: Report, channels: Iterable[tuple[str, str]] = tuple(GROWN), command: str = BENCH) -> str | None:
    """Where the time of a frame goes, of each of ``channels``, as (venue, channel), in both architectures."""
    named = {name: report.named(name) for name in (*STAGES, "time")}
    groups = []
    for venue, channel in channels:
        paths = {variant: Path(venue, PUBLIC, channel, STEADY, variant) for variant in (DIRECT, STRATEGY)}
        # What no way can do without was measured once, for all.
        at = {(name, variant): paths[variant if name in ("indirection", "time") else DIRECT] for name in named for variant in paths}
        if any(path not in named[name] for (name, _), path in at.items()):
            continue
        stacks = [
            Stack(variant, [named[name][at[name, variant]].value / 1000 for name in STAGES], named["time"][paths[variant]].value / 1000)
            for variant in paths
        ]
        groups.append(StackGroup(venue, channel, stacks))
    if not groups:
        return None
    title = "Where the time of a frame goes"
    return stacked_bars(title, groups, list(STAGES.values()), "us for each frame", source_line(report, command))


def peers(report: Report) -> str | None:
    """Others against tickrail's direct handling, in as many groups as there are workloads, on a logarithmic axis."""
    rows = [row for row in peer_rows(report.figures) if not is_itself(row.ratio)]
    groups = [
        Group(heading, [_bar(row.path.variant, row.ratio) for row in of_workload])
        for heading, of_workload in grouped(rows, lambda row: row.heading).items()
    ]
    if not groups:
        return None
    return ratio_bars(
        "Others against tickrail's direct handling",
        groups,
        "theirs / tickrail direct's, no unit, logarithmic",
        source_line(report, BENCH_PEERS),
        [("grey", "others"), ("vermilion", "tickrail strategy"), (WHISKER, "95 % interval; the line at 1: tickrail direct")],
        log=True,
    )


def place(path: Path) -> Path:
    """A path without its variant."""
    return msgspec.structs.replace(path, variant="")


def grouped(items: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    """Items that have something in common, in the order of the first of each."""
    found: dict[K, list[T]] = {}
    for item in items:
        found.setdefault(key(item), []).append(item)
    return found


class PeerRow(NamedTuple):
    """What one who took part needed for a workload, and its ratio to tickrail's direct handling."""

    path: Path
    what: str
    time: Figure
    ratio: Figure

    @property
    def heading(self) -> str:
        """What of which workload was measured."""
        return f"{self.path.venue}, {title_of(self.path)}: {self.what}"


def peer_rows(figures: Iterable[Figure]) -> list[PeerRow]:
    """Of everyone who is not tickrail's own variant within its own benchmark."""
    named = {(each.path, each.name): each for each in figures if each.path.variant not in OWN}
    both = [(path, PEER_RATIOS[name], ratio) for (path, name), ratio in named.items() if name in PEER_RATIOS]
    return [PeerRow(path, what, named[path, what], ratio) for path, what, ratio in both if (path, what) in named]


def is_itself(figure: Figure) -> bool:
    """Whether it is the ratio of something to itself."""
    return figure.value == figure.low == figure.high == 1.0


def title_of(path: Path) -> str:
    """The channel, and the workload unless it is the usual one."""
    return path.channel if path.workload == STEADY else f"{path.channel}, {path.workload}"


def source_line(report: Report, command: str) -> str:
    """What was run, on what, when, of which revision."""
    return f"tickrail {command}; {facts_line(report)}"


def facts_line(report: Report) -> str:
    """On what, when, of which revision."""
    facts = report.machine
    said = [facts.get("cpu") or facts.get("system", "unknown machine"), f"{facts.get('cores', '?')} cores"]
    said += [f"Python {facts['python']}"] if "python" in facts else []
    return ", ".join([*said, report.at[:10], f"commit {report.commit}"])


def _bar(label: str, figure: Figure) -> Bar:
    is_own = STRATEGY in figure.path.variant
    return Bar(label, figure.value, figure.low, figure.high, "vermilion" if is_own else "grey")
