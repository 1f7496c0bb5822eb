"""Where a series of figures changed its level, if it did.

Every place where the series may be cut in two is looked at: how far do the ranks of what stands before differ from the ranks of what stands
after (Mann and Whitney's statistic, in standard deviations)? The farthest of them counts. How far chance alone gets depends on the length
of the series only and is found by shuffling. Ranks make one wild value weigh no more than any other; that neighbours in time resemble one
another, as on a machine that is busy for a while, makes differences less telling and is taken into account. The latest 30 records are
looked at, the latest 45, and so on: of two changes one after the other the later stands in a window of its own. A level that drifts away
is told as one that changed where it changed most.
"""

import random
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import accumulate
from math import erfc, sqrt
from statistics import median
from typing import NamedTuple, TypeVar

T = TypeVar("T")

#: Fewer records tell nothing.
LEAST_RECORDS = 30
#: So many at least stand on either side of a change.
LEAST_SEGMENT = 5
#: A smaller change of level is none, however sure.
LEAST_EFFECT = 0.03
#: Of all changes that are told, such a share may be chance.
FALSE_SHARE = 0.005
SHUFFLES = 10_000
#: So many of the latest records are looked at each time; the first is the least that tells anything.
WINDOWS = (LEAST_RECORDS, 45, 65, 95, 140, 200)


class ChangePoint(NamedTuple):
    """From ``at`` on the values are ``after``, before it they were ``before``: medians. ``p``: how likely chance alone gets so far."""

    at: int
    before: float
    after: float
    p: float

    @property
    def effect(self) -> float:
        """The share by which the level rose."""
        return self.after / self.before - 1 if self.before else 0.0


def candidates(values: Sequence[float]) -> list[ChangePoint]:
    """Of each window that the series fills, the likeliest change, however likely chance is: see ``significant``."""
    found = []
    for first in (len(values) - size for size in WINDOWS if size <= len(values)):
        window = values[first:]
        cut, score = _farthest(ranks(window))
        p = chance(score / inflation(window, cut), len(window))
        found.append(ChangePoint(first + cut, median(window[:cut]), median(window[cut:]), p))
    return found


def significant(found: Mapping[T, Sequence[ChangePoint]]) -> list[tuple[T, ChangePoint]]:
    """Those of the candidates of each series that chance does not explain, though it had all of them to try (Benjamini and Hochberg).

    What several windows show at the same place, give or take a few records, is one change.
    """
    ordered = sorted(((name, point) for name, points in found.items() for point in points), key=lambda each: each[1].p)
    passed = max((rank for rank, (_, point) in enumerate(ordered, 1) if point.p <= FALSE_SHARE * rank / len(ordered)), default=0)
    kept: list[tuple[T, ChangePoint]] = []
    for name, point in ordered[:passed]:
        is_known = any(name == other and abs(point.at - known.at) <= LEAST_SEGMENT for other, known in kept)
        if not is_known and abs(point.effect) >= LEAST_EFFECT:
            kept.append((name, point))
    return kept


def _farthest(ranked: Sequence[float]) -> tuple[int, float]:
    """Where the ranks before and after differ most, and by how many standard deviations of chance."""
    size = len(ranked)
    sums = list(accumulate(ranked))
    weights = _weights(size)
    return max(
        ((cut, abs(sums[cut - 1] - cut * (size + 1) / 2) * weights[cut]) for cut in range(LEAST_SEGMENT, size - LEAST_SEGMENT + 1)),
        key=lambda each: each[1],
    )


@lru_cache
def _weights(size: int) -> list[float]:
    return [0.0] + [1 / sqrt(cut * (size - cut) * (size + 1) / 12) for cut in range(1, size)]


def ranks(values: Sequence[float]) -> list[float]:
    """From 1; equal values share the middle of theirs."""
    order = sorted(range(len(values)), key=values.__getitem__)
    ranked = [0.0] * len(values)
    start = 0
    while start < len(order):
        end = start + 1
        while end < len(order) and values[order[end]] == values[order[start]]:
            end += 1
        for place in order[start:end]:
            ranked[place] = (start + 1 + end) / 2
        start = end
    return ranked


def chance(score: float, size: int) -> float:
    """How likely the farthest cut of so many values, in any order equally likely, is as far as that.

    Shuffling cannot show less than one in so many; beyond, the sum over all cuts of what each alone may do is a bound.
    """
    reached = _reached_by_chance(size)
    shuffled = (1 + len(reached) - bisect_left(reached, score)) / (1 + len(reached))
    return min(shuffled, (size - 2 * LEAST_SEGMENT + 1) * erfc(score / sqrt(2)))


@lru_cache
def _reached_by_chance(size: int) -> list[float]:
    dice = random.Random(size)
    order = list(range(1, size + 1))
    reached = []
    for _ in range(SHUFFLES):
        dice.shuffle(order)
        reached.append(_farthest(order)[1])
    return sorted(reached)


def inflation(values: Sequence[float], cut: int) -> float:
    """How many times farther a cut gets where neighbours resemble one another, than where they do not; 1 at least.

    The root of their long-run variance over their variance (Newey and West), of ranks, once the two levels are taken out. That takes
    about 3 / n of each correlation with it.
    """
    levels = [median(values[:cut])] * cut + [median(values[cut:])] * (len(values) - cut)
    size = len(values)
    left = [rank - (size + 1) / 2 for rank in ranks([value - level for value, level in zip(values, levels, strict=True)])]
    spread = sum(rank * rank for rank in left)
    if not spread:
        return 1.0
    reach = round(sqrt(size))
    alike = [sum(one * other for one, other in zip(left, left[lag:], strict=False)) / spread + 3 / size for lag in range(1, reach + 1)]
    return sqrt(max(1.0, 1 + 2 * sum((1 - lag / (reach + 1)) * share for lag, share in enumerate(alike, 1))))
