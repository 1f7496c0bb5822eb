"""Which streams are mute, and which degraded: each held against its own rhythm and against what the others know. Pure: times are arguments.

    rhythm not known --every window regular--> known --silent--> mute --data--> back --at its usual rate--> known
                                                 '--- too few ---> degraded --'            '-- too few --> degraded

A quiet symbol is not a dead one. A stream without a rhythm is mute only if another knows better: if the symbol's book ticker is at an id
that the book's stream has not brought, or if its channel begins with a whole book and none came. One with a rhythm is mute if it is silent
while the venue goes on by its own clock. What three steps did not bring back is taken for quiet, and its rhythm is learned anew.
A stream of a whole account has no rhythm: what comes of it is what its owner does.
"""

from collections import deque
from collections.abc import Hashable, Mapping
from enum import StrEnum
from typing import ClassVar

import msgspec

from infrastructure.events import MessageType
from infrastructure.networking.websocket.settings import FreshnessSettings
from infrastructure.session import Key, Stream
from infrastructure.venue import ALL, Repair, Venue

#: Silences of one stream differ: mute is one that is longer than the longest by this factor.
LONGER = 4
#: A ticker that has come so often since the book was subscribed shows that the book must have moved, too.
TELLING = 3


class Step(StrEnum):
    """What is to be done about a mute stream: subscribe it anew, move it to another connection, connect anew."""

    RESUBSCRIBE = "resubscribe"
    MOVE = "move"
    RECONNECT = "reconnect"


STEPS = tuple(Step)


class Mute(msgspec.Struct, frozen=True):
    """A stream is silent though it should not be. ``step`` is to be done now; it is told again with the next one if that does not help."""

    kind: ClassVar[str] = "mute"
    key: Key
    step: Step
    silent_ns: int
    #: Whether it is the whole connection that has gone silent, of which this is the first stream.
    is_connection: bool = False

    def __str__(self) -> str:
        what = "the whole connection is silent" if self.is_connection else "others go on"
        return f"no message for {self.silent_ns / 1e9:.1f} s, {what}: {self.step.value}"


class Degraded(msgspec.Struct, frozen=True):
    """A stream brings only this share of what its quietest window has brought before. Nothing is to be done."""

    kind: ClassVar[str] = "degraded"
    key: Key
    share: float

    def __str__(self) -> str:
        return f"at {self.share:.1%} of its usual rate"


class Recovered(msgspec.Struct, frozen=True):
    """A stream that was mute or degraded is so no longer; with ``is_accepted`` because its lower rate has become its usual one."""

    kind: ClassVar[str] = "recovered"
    key: Key
    is_accepted: bool = False

    def __str__(self) -> str:
        return "its lower rate is its usual one now" if self.is_accepted else "flows as before"


Finding = Mute | Degraded | Recovered


class _Rhythm:
    """What a stream brings: the latest windows, each with its number of messages and its longest silence.

    The last window is kept apart until the one behind it has ended: a stream that is failing must not be held against its own failure.
    """

    __slots__ = ("_began_ns", "_count", "_last", "_longest_ns", "_window_ns", "_windows", "least", "longest_ns")

    def __init__(self, settings: FreshnessSettings) -> None:
        self._window_ns = _ns(settings.window_s)
        self._windows: deque[tuple[int, int]] = deque(maxlen=max(1, round(settings.learn_s / settings.window_s)))
        self._last: tuple[int, int] | None = None
        self.least = 0
        self.longest_ns = 0
        self.begin(0)

    @property
    def is_whole(self) -> bool:
        return len(self._windows) == self._windows.maxlen

    def begin(self, clock_ns: int) -> None:
        """A window begins; what the one before it held is not counted."""
        self._began_ns = clock_ns
        self._count = self._longest_ns = 0
        self._last = None

    def forget(self, clock_ns: int) -> None:
        self._windows.clear()
        self.begin(clock_ns)

    def add(self, clock_ns: int, count: int, silent_ns: int) -> None:
        self._count += count
        self._longest_ns = max(self._longest_ns, silent_ns)
        if clock_ns - self._began_ns < self._window_ns:
            return
        if self._last is not None:
            self._windows.append(self._last)
            self.least = min(count for count, _ in self._windows)
            self.longest_ns = max(longest_ns for _, longest_ns in self._windows)
        self._last = self._count, self._longest_ns
        self._began_ns = clock_ns
        self._count = self._longest_ns = 0


class _Watch:
    """One stream. Its ``clock_ns`` stands still while nothing can be said of it, and everything here is measured by that clock."""

    __slots__ = (
        "came",
        "clock_ns",
        "connection",
        "count",
        "is_back",
        "is_degraded",
        "is_mute",
        "level",
        "looked_ns",
        "marks",
        "next_ns",
        "rhythm",
        "silent_ns",
        "since_ns",
        "tickers",
    )

    def __init__(self, settings: FreshnessSettings, connection: Hashable, count: int, tickers: int, now_ns: int) -> None:
        self.connection = connection
        self.count = count
        #: How many of the symbol's tickers had come when it was placed on this connection.
        self.tickers = tickers
        self.looked_ns = now_ns
        self.clock_ns = 0
        self.silent_ns = 0
        #: Messages since it is on this connection.
        self.came = 0
        self.rhythm = _Rhythm(settings)
        #: Of the last window: the clock, and how many messages had come.
        self.marks: deque[tuple[int, int]] = deque()
        self.is_mute = False
        #: Mute, but something has come since.
        self.is_back = False
        self.is_degraded = False
        #: When it became so.
        self.since_ns = 0
        #: How many steps were taken, and before when there will be no other.
        self.level = 0
        self.next_ns = 0

    def place(self, connection: Hashable, tickers: int) -> None:
        """It is on another connection now, where it was not silent yet."""
        self.connection, self.tickers = connection, tickers
        self.silent_ns = self.came = 0
        self.interrupt()

    def interrupt(self) -> None:
        """Its clock stood still."""
        self.marks.clear()
        self.rhythm.begin(self.clock_ns)


class Freshness:
    """Judges the streams of a venue. One object for the life of a feed; ``judge`` is called each ``tick_s``."""

    def __init__(self, settings: FreshnessSettings, venue: Venue) -> None:
        self._settings = settings
        self._silent_ns = _ns(settings.silent_s)
        self._window_ns = _ns(settings.window_s)
        self._tick_ns = _ns(settings.tick_s)
        self._longest_tick_ns = 2 * self._tick_ns
        self._watches: dict[Key, _Watch] = {}
        self._opens = {channel.name for channel in venue.book_channels.values() if channel.repair is Repair.RESUBSCRIBE}
        self._audited = {channel.name for channel in venue.book_channels.values() if channel.is_audited}
        self._ticker = next((channel for channel, kind in venue.channels.items() if kind is MessageType.BOOK_TICKER), None)

    def __repr__(self) -> str:
        watches = self._watches.values()
        mute, degraded = (sum(getattr(watch, name) for watch in watches) for name in ("is_mute", "is_degraded"))
        return f"<Freshness streams={len(watches)} mute={mute} degraded={degraded}>"

    def threshold_ns(self, key: Key) -> int | None:
        """After how long a silence this stream is mute by its own rhythm; None as long as it has none."""
        watch = self._watches.get(key)
        return None if watch is None else self._threshold_ns(watch)

    def judge(self, now_ns: int, streams: Mapping[Key, Stream], placed: Mapping[Key, Hashable]) -> list[Finding]:
        """What is to be told, and done, now.

        ``streams`` are the session's, and ``now_ns`` is by the clock of their ``received_ns``. ``placed`` are the streams that can be
        judged, with the connection that carries each: wanted, acknowledged, and on a connection that is open and being read. The clocks
        of others stand still; one that is away for longer than ``max_wait_s`` is forgotten.
        """
        placed = {key: connection for key, connection in placed.items() if key[1] != ALL}
        for key, connection in placed.items():
            self._look(key, connection, streams, now_ns)
        away_ns = _ns(self._settings.max_wait_s)
        for key in [key for key, watch in self._watches.items() if now_ns - watch.looked_ns > away_ns]:
            del self._watches[key]
        newest_ns = max(
            (stream.exchange_ns for key in placed if (stream := streams.get(key)) and stream.exchange_ns is not None), default=0
        )
        moved: dict[Hashable, int] = {}
        for key, connection in placed.items():
            moved[connection] = min(moved.get(connection, self._watches[key].silent_ns), self._watches[key].silent_ns)
        findings: list[Finding] = []
        silent: dict[Hashable, list[Key]] = {}
        for key, connection in placed.items():
            watch, stream = self._watches[key], streams.get(key)
            self._judge_back(key, watch, findings)
            threshold_ns = self._mute_after_ns(watch)
            is_known_better = self._is_known_better(key, watch, streams, now_ns)
            is_silent = threshold_ns is not None and watch.silent_ns > threshold_ns
            if is_silent and not is_known_better and threshold_ns is not None:
                if moved[connection] > threshold_ns:
                    silent.setdefault(connection, []).append(key)
                    continue
                if stream is not None and stream.exchange_ns is not None and newest_ns - stream.exchange_ns < threshold_ns // 2:
                    continue  # By its own clock the venue has not gone on either.
            if is_silent or is_known_better:
                self._mute(key, watch, findings, is_sure=is_known_better)
            elif not watch.is_mute:
                self._judge_rate(key, watch, findings)
        for keys in silent.values():
            self._silent_connection(keys, findings)
        return findings

    def _look(self, key: Key, connection: Hashable, streams: Mapping[Key, Stream], now_ns: int) -> None:
        """Note what has come since the last look."""
        stream = streams.get(key)
        total = 0 if stream is None else stream.count
        watch = self._watches.get(key)
        if watch is None:
            self._watches[key] = _Watch(self._settings, connection, total, self._tickers(key, streams), now_ns)
            return
        passed_ns, watch.looked_ns = now_ns - watch.looked_ns, now_ns
        if connection != watch.connection:
            watch.place(connection, self._tickers(key, streams))
        if passed_ns > self._longest_tick_ns:
            # It was not looked at, or the event loop was held up, and what has come since waits to be read.
            watch.interrupt()
            passed_ns = 0
        came = total - watch.count if total >= watch.count else total
        watch.count = total
        watch.clock_ns += passed_ns
        watch.silent_ns += passed_ns
        if not watch.is_mute and not watch.is_degraded:
            watch.rhythm.add(watch.clock_ns, came, watch.silent_ns)
        if came and stream is not None:
            watch.silent_ns = min(now_ns - stream.received_ns, watch.silent_ns)
            watch.came += came
            watch.is_back = watch.is_mute
        marks = watch.marks
        marks.append((watch.clock_ns, total))
        while len(marks) > 1 and marks[1][0] <= watch.clock_ns - self._window_ns:
            marks.popleft()

    def _threshold_ns(self, watch: _Watch) -> int | None:
        rhythm = watch.rhythm
        if not rhythm.is_whole or rhythm.least < self._settings.regular:
            return None
        return max(self._silent_ns, LONGER * rhythm.longest_ns)

    def _mute_after_ns(self, watch: _Watch) -> int | None:
        """As the threshold; longer where a stream is known to bring little, of which silences are a part."""
        threshold_ns = self._threshold_ns(watch)
        if threshold_ns is not None and (watch.is_degraded or watch.is_back):
            return round(threshold_ns / self._settings.degraded_share)
        return threshold_ns

    def _tickers(self, key: Key, streams: Mapping[Key, Stream]) -> int:
        """How many book tickers of the symbol have come so far."""
        ticker = None if self._ticker is None else streams.get((self._ticker, key[1]))
        return 0 if ticker is None else ticker.count

    def _is_known_better(self, key: Key, watch: _Watch, streams: Mapping[Key, Stream], now_ns: int) -> bool:
        """Whether something else shows that the stream should have brought something, however quiet it is."""
        if watch.silent_ns <= self._silent_ns:
            return False
        stream = streams.get(key)
        if stream is not None and stream.overtaken_ns is not None:
            return now_ns - stream.overtaken_ns > self._silent_ns
        channel = key[0]
        if watch.came:
            return False
        return channel in self._opens or (channel in self._audited and self._tickers(key, streams) - watch.tickers >= TELLING)

    def _mute(self, key: Key, watch: _Watch, findings: list[Finding], *, is_sure: bool) -> None:
        if watch.clock_ns < watch.next_ns:
            return
        if not is_sure and watch.level >= len(STEPS):
            watch.rhythm.forget(watch.clock_ns)
            return
        step = STEPS[min(watch.level, len(STEPS) - 1)]
        self._take(watch)
        findings.append(Mute(key, step, watch.silent_ns))

    def _silent_connection(self, keys: list[Key], findings: list[Finding]) -> None:
        """These streams are all silent, and so is whatever else their connection carries."""
        watches = [self._watches[key] for key in keys]
        if len(keys) == 1:
            self._mute(keys[0], watches[0], findings, is_sure=False)
            return
        if any(watch.clock_ns < watch.next_ns for watch in watches):
            return
        for watch in watches:
            self._take(watch)
        findings.append(Mute(keys[0], Step.RECONNECT, watches[0].silent_ns, is_connection=True))

    def _take(self, watch: _Watch) -> None:
        """A step is taken against its silence."""
        wait_s = min(self._settings.first_wait_s * 2.0 ** min(watch.level, 30), self._settings.max_wait_s)
        watch.level += 1
        watch.next_ns = watch.clock_ns + _ns(wait_s)
        watch.is_mute, watch.is_back, watch.is_degraded = True, False, False
        watch.since_ns = watch.clock_ns
        watch.marks.clear()

    def _judge_back(self, key: Key, watch: _Watch, findings: list[Finding]) -> None:
        """Whether a mute stream flows again: at half its usual rate, or at all where that is not known."""
        if watch.level and not watch.is_mute and watch.clock_ns - watch.next_ns > watch.next_ns - watch.since_ns:
            watch.level = 0  # It has been well for as long again as the next step would have waited.
        if not watch.is_back:
            return
        share = self._share(watch)
        is_known = self._threshold_ns(watch) is not None
        if not is_known or (share is not None and share >= 0.5):
            self._well(watch)
            findings.append(Recovered(key))
        elif share is not None and share < self._settings.degraded_share and self._is_window_full(watch):
            self._well(watch)
            self._degrade(key, watch, share, findings)

    def _judge_rate(self, key: Key, watch: _Watch, findings: list[Finding]) -> None:
        share = self._share(watch)
        if share is None or not self._is_window_full(watch):
            return
        if not watch.is_degraded:
            # One that brings nothing at all is not starved but silent, and has its own time: it is not called starved for what its last
            # window still holds from before.
            if 0 < share < self._settings.degraded_share and watch.silent_ns <= self._tick_ns:
                self._degrade(key, watch, share, findings)
        elif share >= 0.5:
            self._well(watch)
            findings.append(Recovered(key))
        elif watch.clock_ns - watch.since_ns > _ns(self._settings.max_wait_s):
            self._well(watch)
            watch.rhythm.forget(watch.clock_ns)
            findings.append(Recovered(key, is_accepted=True))

    def _degrade(self, key: Key, watch: _Watch, share: float, findings: list[Finding]) -> None:
        watch.is_degraded = True
        watch.since_ns = watch.clock_ns
        findings.append(Degraded(key, share))

    @staticmethod
    def _well(watch: _Watch) -> None:
        watch.is_mute = watch.is_back = watch.is_degraded = False
        watch.rhythm.begin(watch.clock_ns)

    def _share(self, watch: _Watch) -> float | None:
        """What the last window has brought of what the quietest brought before; None where no rhythm is known."""
        if self._threshold_ns(watch) is None or not watch.marks:
            return None
        return (watch.marks[-1][1] - watch.marks[0][1]) / watch.rhythm.least

    def _is_window_full(self, watch: _Watch) -> bool:
        return watch.marks[-1][0] - watch.marks[0][0] >= self._window_ns


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)
