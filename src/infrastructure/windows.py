"""Copies of what only grows, kept so that its growth over any of the last minutes is the difference between two of them."""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Generic, TypeVar

T = TypeVar("T")

#: Copies are so far apart at the least.
EVERY_NS = 1_000_000_000
#: No window is longer than this.
LONGEST_NS = 600_000_000_000
#: Copies may be further apart the older they are, by this part of their age: a window is longer than was asked by no more than that.
SHARE = 8


class Copies(Generic[T]):
    """Dated copies, oldest first, from ``first`` on: each second's at first, fewer and fewer as they grow older, none beyond the longest
    window.

    Copies that come each second are never more than 70 at a time, and no more than 90 however they come. Times are monotonic nanoseconds.

    It may be used from several threads, without a lock: the copies are a tuple that is replaced as a whole. Of two threads that add at
    the same moment one may add in vain; the windows between are longer by that.
    """

    __slots__ = ("_dated",)

    def __init__(self, at_ns: int, first: T) -> None:
        self._dated: tuple[tuple[int, T], ...] = ((at_ns, first),)

    def __len__(self) -> int:
        return len(self._dated)

    @property
    def last(self) -> T:
        """The youngest."""
        return self._dated[-1][1]

    def is_due(self, now_ns: int) -> bool:
        """Whether the youngest is old enough for another."""
        return now_ns - self._dated[-1][0] >= EVERY_NS

    def add(self, now_ns: int, copy: T) -> None:
        """Keep another, if it is due, and let go of those that no window needs any more."""
        dated = self._dated
        if now_ns - dated[-1][0] >= EVERY_NS:
            self._dated = tuple(_thinned([*dated, (now_ns, copy)], now_ns))

    def before(self, at_ns: int) -> tuple[int, T]:
        """The youngest that is no younger than ``at_ns``, with its time; the oldest if all are."""
        dated = self._dated
        return dated[max(0, bisect_right(dated, at_ns, key=_time_of) - 1)]


def _time_of(dated: tuple[int, object]) -> int:
    return dated[0]


def _thinned(dated: Sequence[tuple[int, T]], now_ns: int) -> list[tuple[int, T]]:
    """Without what is before the longest window, nor what stands between two that are near enough to one another."""
    begin = max(0, bisect_right(dated, now_ns - LONGEST_NS, key=_time_of) - 1)
    kept = [dated[begin]]
    for index in range(begin + 1, len(dated) - 1):
        younger_ns = dated[index + 1][0]
        if younger_ns - kept[-1][0] > max(EVERY_NS, (now_ns - younger_ns) // SHARE):
            kept.append(dated[index])
    kept.append(dated[-1])
    return kept
