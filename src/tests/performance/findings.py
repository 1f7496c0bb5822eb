"""What a comparison found: one figure of one path that is not what it was."""

import msgspec

from tests.performance.figures import Path

#: How sure a count is.
EXACT = "exact"
#: Of a figure with such a name more is better; of any other, less.
_BETTER_WHEN_MORE = "throughput"


class Finding(msgspec.Struct, frozen=True):
    """A figure of a path was ``before`` and is ``after``; ``change`` is the share by which it grew, None from nothing.

    ``sure`` is ``exact``, or an interval and its confidence, or a probability. ``where`` is the function that does it, ``since`` the commit
    that was the first to show it; empty where that is not known. ``is_alarm``: a loss beyond what is let pass.
    """

    path: Path
    figure: str
    before: float
    after: float
    change: float | None
    sure: str
    where: str = ""
    since: str = ""
    is_alarm: bool = False

    @property
    def is_loss(self) -> bool:
        """Whether it is worse than it was."""
        return is_worse(self.figure, self.before, self.after)

    def __str__(self) -> str:
        by = f"{self.before:.4g} to {self.after:.4g}" + ("" if self.change is None else f" ({self.change:+.2%})")
        said = [f"{self.path}: {self.figure} {'worse' if self.is_loss else 'better'}, {by}", self.sure]
        said += [f"in {self.where}"] * bool(self.where) + [f"since {self.since}"] * bool(self.since)
        return ", ".join(said)


def is_worse(figure: str, before: float, after: float) -> bool:
    """Whether that change of a figure of this name is a loss."""
    return after < before if figure.startswith(_BETTER_WHEN_MORE) else after > before


def changed(before: float, after: float) -> float | None:
    """The share by which something grew; None from nothing."""
    return (after - before) / before if before else None
