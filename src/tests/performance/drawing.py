"""Charts as SVG: text stays text, no script, no library, the same bytes for the same data, light or dark as whoever looks prefers.

Everything is laid out in pixels of a README's width. Colours are those of Okabe and Ito, which those who see fewer colours tell apart
too. Widths of texts are estimated: fonts are whichever of a list there is.
"""

import textwrap
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from math import ceil, floor, log10
from typing import NamedTuple
from xml.sax.saxutils import escape, quoteattr

WIDTH = 860
MARGIN = 16
ROW = 20
BAR = 11
TEXT = 12
SANS = "system-ui, -apple-system, 'Segoe UI', 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif"
FIXED = "ui-monospace, 'SF Mono', Menlo, Consolas, 'DejaVu Sans Mono', monospace"
#: A character of a fixed width is so many ems wide.
MONO_EM = 0.602
SANS_EM = 0.56

#: Classes of texts.
BOLD, MONO, FAINT = "ink-fill bold", "ink-fill mono", "faint-fill"
WHISKER = "whisker"
#: Of each paint its colour in light and in dark surroundings.
PAINTS = {
    "ground": ("#ffffff", "#0d1117"),
    "ink": ("#1f2328", "#e6edf3"),
    "faint": ("#59636e", "#9da7b3"),
    "grid": ("#dfe3e8", "#2a313a"),
    "blue": ("#0072b2", "#56b4e9"),
    "vermilion": ("#d55e00", "#e36d25"),
    "green": ("#009e73", "#2fbf93"),
    "purple": ("#b0568a", "#d993bd"),
    "yellow": ("#e0a800", "#f0e442"),
    "grey": ("#8c959f", "#7d8590"),
}

Number = Callable[[float], str]


class Scale(NamedTuple):
    """Values from ``low`` to ``high`` between two places of a drawing; ``place`` bends them: a logarithm, or nothing."""

    low: float
    high: float
    start: float
    end: float
    ticks: Sequence[float]
    place: Callable[[float], float] = float

    def at(self, value: float) -> float:
        """Where a value is; what is beyond an end is at that end."""
        low, high = self.place(self.low), self.place(self.high)
        share = (self.place(max(self.low, min(self.high, value))) - low) / (high - low)
        return self.start + share * (self.end - self.start)


def linear(high: float, start: float, end: float, at_most: int = 8) -> Scale:
    """From 0 to the first round number that is not below ``high``."""
    size = 10.0 ** floor(log10(high / at_most))
    step = next(step for step in (size, 2 * size, 5 * size, 10 * size) if step * at_most >= high)
    count = ceil(round(high / step, 9))
    return Scale(0, count * step, start, end, [number * step for number in range(count + 1)])


def logarithmic(low: float, high: float, start: float, end: float) -> Scale:
    """From the last of 1, 2, 5, 10, ... that is not above ``low`` to the first that is not below ``high``."""
    steps = [float(f"{step}e{power}") for power in range(floor(log10(low)) - 1, ceil(log10(high)) + 2) for step in (1, 2, 5)]
    first = max(index for index, step in enumerate(steps) if step <= low)
    last = next(index for index, step in enumerate(steps) if step >= high and index > first)
    return Scale(steps[first], steps[last], start, end, steps[first : last + 1], log10)


def tail(highest: float, start: float, end: float) -> Scale:
    """Shares of a distribution, evenly spaced in decades of what is left above: 0, 0.9, 0.99, ..."""
    shares = [share for share in (0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999) if share <= highest]
    return Scale(0.0, highest, start, end, shares, lambda share: -log10(1 - share))


class Drawing:
    """An SVG image, stroke by stroke."""

    def __init__(self, title: str, height: float, text: str) -> None:
        self._strokes: list[str] = []
        self._height = height
        self._title = title
        self._text = text
        self.rect(0, 0, WIDTH, height, "ground")
        self.text(MARGIN, 28, title, names=BOLD, size=16)

    def text(self, x: float, y: float, text: str, names: str = "ink-fill", *, size: int = TEXT, anchor: str = "start") -> None:
        """A line of text of these classes; ``anchor`` is which of its ends, or "middle", is at ``x``."""
        attributes = f'x="{_px(x)}" y="{_px(y)}" class="{names}" font-size="{size}" text-anchor="{anchor}"'
        self._strokes.append(f"<text {attributes}>{escape(text)}</text>")

    def turned_text(self, x: float, y: float, text: str, paint: str = "ink") -> None:
        """A line of text from below to above, its middle at this place."""
        turn = f"translate({_px(x)} {_px(y)}) rotate(-90)"
        self._strokes.append(f'<text transform="{turn}" class="{paint}-fill" font-size="{TEXT}" text-anchor="middle">{escape(text)}</text>')

    def rect(self, x: float, y: float, width: float, height: float, paint: str, says: str = "") -> None:
        """A filled rectangle; what it ``says`` is shown to who points at it."""
        attributes = f'x="{_px(x)}" y="{_px(y)}" width="{_px(width)}" height="{_px(height)}" class="{paint}-fill"'
        self._strokes.append(f"<rect {attributes}><title>{escape(says)}</title></rect>" if says else f"<rect {attributes}/>")

    def line(self, x1: float, y1: float, x2: float, y2: float, paint: str, width: float = 1) -> None:
        """A straight line."""
        ends = f'x1="{_px(x1)}" y1="{_px(y1)}" x2="{_px(x2)}" y2="{_px(y2)}"'
        self._strokes.append(f'<line {ends} class="{paint}-stroke" stroke-width="{width:g}"/>')

    def curve(self, points: Iterable[tuple[float, float]], paint: str) -> None:
        """A line through these points."""
        through = " ".join(f"{_px(x)},{_px(y)}" for x, y in points)
        self._strokes.append(f'<polyline points="{through}" class="{paint}-stroke" stroke-width="2"/>')

    def interval(self, start: float, end: float, y: float) -> None:
        """A whisker, with a cap at either end."""
        self.line(start, y, end, y, "ink", 1.5)
        for x in (start, end):
            self.line(x, y - 4, x, y + 4, "ink", 1.5)

    def legend(self, y: float, entries: Sequence[tuple[str, str]]) -> None:
        """Paints and what they stand for, in one line; ``WHISKER`` is an interval's."""
        x = float(MARGIN)
        for paint, label in entries:
            if paint == WHISKER:
                self.interval(x, x + 12, y - 4)
            else:
                self.rect(x, y - 9, 12, 10, paint)
            self.text(x + 18, y, label)
            x += 18 + len(label) * TEXT * SANS_EM + 20

    def svg(self) -> str:
        """The file."""
        size = f'viewBox="0 0 {WIDTH} {_px(self._height)}" width="{WIDTH}" height="{_px(self._height)}"'
        head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label={quoteattr(self._title)}>'
        described = f"<title>{escape(self._title)}</title>\n<desc>{escape(self._text)}</desc>"
        return "\n".join([head, described, _STYLE, *self._strokes, "</svg>", ""])


def _paints(dark: bool) -> str:
    return "\n".join(f".{name}-fill {{ fill: {both[dark]} }} .{name}-stroke {{ stroke: {both[dark]} }}" for name, both in PAINTS.items())


_STYLE = f"""<style>
text {{ font-family: {SANS} }}
.mono {{ font-family: {FIXED} }}
.bold {{ font-weight: 600 }}
.clear {{ paint-order: stroke; stroke-width: 4px; stroke-linejoin: round }}
polyline {{ fill: none; stroke-linejoin: round }}
{_paints(False)}
@media (prefers-color-scheme: dark) {{
{_paints(True)}
}}
</style>"""


def _px(value: float) -> str:
    return f"{round(value, 1):g}"


class Bar(NamedTuple):
    """A value, with its interval where it has one."""

    label: str
    value: float
    low: float | None = None
    high: float | None = None
    paint: str = "vermilion"

    @property
    def ends(self) -> tuple[float, float, float]:
        """All that it covers."""
        return self.value, self.value if self.low is None else self.low, self.value if self.high is None else self.high


class Group(NamedTuple):
    """Bars under one heading."""

    heading: str
    bars: Sequence[Bar]


def ratio_bars(title: str, groups: Sequence[Group], axis: str, source: str, legend: Sequence[tuple[str, str]], *, log: bool = False) -> str:
    """Bars from 0, or on a logarithmic axis from 1; whiskers, and figures at the right; a line at 1."""
    bars = list(chain.from_iterable(group.bars for group in groups))
    figures = {bar: interval_text(bar.value, bar.low, bar.high) for bar in bars}
    left = MARGIN + max(len(bar.label) for bar in bars) * TEXT * MONO_EM + 10
    right = WIDTH - MARGIN - max(map(len, figures.values())) * TEXT * MONO_EM - 12
    ends = list(chain.from_iterable(bar.ends for bar in bars))
    scale = logarithmic(min(1.0, *ends), max(1.0, *ends), left, right) if log else linear(max(1.0, *ends), left, right)
    top = 74
    bottom = top + sum(len(group.bars) * ROW + 28 for group in groups) + 4
    note = _wrapped(source)
    drawing = Drawing(title, bottom + 58 + 15 * len(note), "; ".join(f"{bar.label} {figures[bar]}" for bar in bars))
    drawing.legend(52, legend)
    _axis(drawing, scale, bottom, axis)
    y = float(top)
    for group in groups:
        y += 28
        drawing.text(MARGIN, y - 10, group.heading, BOLD, size=13)
        span = y - 4, y + len(group.bars) * ROW
        _grid(drawing, scale, *span)
        for bar in group.bars:
            middle = y + ROW / 2 - 2
            start, end = scale.at(1.0 if log else 0.0), scale.at(bar.value)
            drawing.text(left - 8, middle + 4, bar.label, MONO, anchor="end")
            drawing.rect(min(start, end), middle - BAR / 2, abs(end - start), BAR, bar.paint, f"{bar.label}: {figures[bar]}")
            if bar.low is not None and bar.high is not None:
                drawing.interval(scale.at(bar.low), scale.at(bar.high), middle)
            drawing.text(right + 12, middle + 4, figures[bar], MONO)
            y += ROW
        drawing.line(scale.at(1.0), span[0], scale.at(1.0), span[1], "ink", 1.5)
    _noted(drawing, bottom + 64, note)
    return drawing.svg()


class Stack(NamedTuple):
    """Parts of a whole in us, one after the other, and what the whole took."""

    label: str
    parts: Sequence[float]
    whole: float


class StackGroup(NamedTuple):
    """Stacks of one thing, which has two lines of a name."""

    heading: str
    name: str
    stacks: Sequence[Stack]


def stacked_bars(title: str, groups: Sequence[StackGroup], parts: Sequence[tuple[str, str]], axis: str, source: str) -> str:
    """Bars of parts, with the whole at their ends; a part below nothing is not drawn."""
    tag = max(len(stack.label) for group in groups for stack in group.stacks) * TEXT * SANS_EM + 10
    left = MARGIN + max(max(len(group.name) * MONO_EM, len(group.heading) * SANS_EM) for group in groups) * TEXT + 14 + tag
    longest = max(sum(max(0.0, part) for part in stack.parts) for group in groups for stack in group.stacks)
    scale = linear(longest, left, WIDTH - MARGIN - 76)
    top, gap = 74, 14
    bottom = top + sum(len(group.stacks) * ROW + gap for group in groups)
    note = _wrapped(source)
    told = [f"{group.heading} {group.name} {stack.label} {us(stack.whole)} us" for group in groups for stack in group.stacks]
    drawing = Drawing(title, bottom + 58 + 15 * len(note), "; ".join(told))
    drawing.legend(52, [(paint, label) for label, paint in parts])
    _grid(drawing, scale, top, bottom)
    _axis(drawing, scale, bottom, axis)
    y = top + gap / 2
    for group in groups:
        middle = y + len(group.stacks) * ROW / 2
        drawing.text(MARGIN, middle - 4, group.heading, BOLD)
        drawing.text(MARGIN, middle + 12, group.name, MONO)
        for stack in group.stacks:
            middle, x = y + ROW / 2, left
            drawing.text(left - 8, middle + 4, stack.label, anchor="end")
            for (label, paint), part in zip(parts, stack.parts, strict=True):
                width = scale.at(max(0.0, part)) - left
                drawing.rect(x, middle - 7, width, 14, paint, f"{label}: {us(part)} us")
                x += width
            drawing.text(x + 6, middle + 4, f"{us(stack.whole)} us", f"{MONO} ground-stroke clear")
            y += ROW
        y += gap
    _noted(drawing, bottom + 64, note)
    return drawing.svg()


class Curve(NamedTuple):
    """Latencies: shares of all, and the ns that so large a share does not exceed."""

    label: str
    paint: str
    points: Sequence[tuple[float, float]]


class Panel(NamedTuple):
    """Curves of one thing, which has three lines of a name."""

    heading: str
    name: str
    note: str
    curves: Sequence[Curve]


PANELS, PANEL_HEIGHT, PANEL_GAP = 3, 260, 34


def latency_curves(title: str, panels: Sequence[Panel], source: str) -> str:
    """Panels side by side, with the same axes: the tail of distributions, as far as all of them reach."""
    curves = [curve for panel in panels for curve in panel.curves]
    highest = min(max(share for share, _ in curve.points if share < 1) for curve in curves)
    taken = [ns / 1000 for curve in curves for share, ns in curve.points if share <= highest and ns > 0]
    left, columns = 70, min(PANELS, len(panels))
    width = (WIDTH - MARGIN - left - (columns - 1) * PANEL_GAP) / columns
    step, top = PANEL_HEIGHT + 120, 124
    note = _wrapped(source)
    rows = ceil(len(panels) / columns)
    drawing = Drawing(title, top + rows * step - 62 + 15 * len(note), "; ".join(f"{panel.heading} {panel.name}" for panel in panels))
    drawing.legend(52, list(dict.fromkeys((curve.paint, curve.label) for curve in curves)))
    for number, panel in enumerate(panels):
        row, column = divmod(number, columns)
        x, y = left + column * (width + PANEL_GAP), top + row * step
        drawing.text(x, y - 42, panel.heading, BOLD, size=13)
        drawing.text(x, y - 26, panel.name, MONO, size=11)
        drawing.text(x, y - 11, panel.note, FAINT, size=11)
        high = logarithmic(min(taken), max(taken), y + PANEL_HEIGHT, y)
        along = tail(highest, x, x + width)
        for tick in high.ticks:
            drawing.line(x, high.at(tick), x + width, high.at(tick), "grid")
            if not column:
                drawing.text(x - 8, high.at(tick) + 4, tick_text(tick), anchor="end")
        for share in along.ticks:
            drawing.line(along.at(share), y, along.at(share), y + PANEL_HEIGHT, "grid")
            drawing.text(along.at(share), y + PANEL_HEIGHT + 18, tick_text(round(share * 100, 6)), anchor="middle")
        drawing.line(x, y, x, y + PANEL_HEIGHT, "faint")
        drawing.line(x, y + PANEL_HEIGHT, x + width, y + PANEL_HEIGHT, "faint")
        if not column:
            drawing.turned_text(22, y + PANEL_HEIGHT / 2, "latency, us")
        drawing.text(x + width / 2, y + PANEL_HEIGHT + 38, "percentile, %", anchor="middle")
        for curve in panel.curves:
            drawing.curve([(along.at(share), high.at(ns / 1000)) for share, ns in curve.points if share <= highest], curve.paint)
    _noted(drawing, top + rows * step - 56, note)
    return drawing.svg()


def _grid(drawing: Drawing, scale: Scale, top: float, bottom: float) -> None:
    for tick in scale.ticks:
        drawing.line(scale.at(tick), top, scale.at(tick), bottom, "grid")


def _axis(drawing: Drawing, scale: Scale, y: float, label: str) -> None:
    drawing.line(scale.start, y, scale.end, y, "faint")
    for tick in scale.ticks:
        drawing.line(scale.at(tick), y, scale.at(tick), y + 4, "faint")
        drawing.text(scale.at(tick), y + 18, tick_text(tick), anchor="middle")
    drawing.text((scale.start + scale.end) / 2, y + 38, label, anchor="middle")


def _wrapped(source: str) -> list[str]:
    return textwrap.wrap(source, 135)


def _noted(drawing: Drawing, y: float, note: Sequence[str]) -> None:
    for number, line in enumerate(note):
        drawing.text(MARGIN, y + 15 * number, line, FAINT, size=11)


def us(value: float) -> str:
    """Microseconds, to a tenth."""
    return f"{value:,.1f}"


def tick_text(value: float) -> str:
    """A round number."""
    return f"{round(value, 9):,.9g}" if abs(value) < 1e6 else f"{value:,.0f}"


def ratio_text(value: float) -> str:
    """A ratio, to four digits or so."""
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def interval_text(value: float, low: float | None, high: float | None, text: Number = ratio_text) -> str:
    """A value, and its interval where it has one."""
    return text(value) if low is None or high is None else f"{text(value)} ({text(low)} to {text(high)})"
