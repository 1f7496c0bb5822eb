"""How a book gets and keeps its place in a venue's sequence: decoded updates and snapshots in, actions as values out. No I/O.

    SYNCING --snapshot bridges--> LIVE --gap, crossed, failure, silence, audit--> GAP --snapshot bridges--> LIVE
       any state --connection lost--> STALE --first update--> SYNCING

A stream counts its sources in ``epoch``: every new hole and every lost connection begins another one, and an answer that was
asked for in an earlier epoch is dropped.
"""

from collections import deque

import msgspec

from infrastructure.events import BookState, GapReason
from infrastructure.venue import BookChannel, BookUpdate, Repair, Verdict

#: Updates held back while a snapshot is awaited. At 100 ms a push this is about seven minutes of one symbol.
HELD_LIMIT = 4096

#: An update with ids that the book has passed is old, and ignored. It is not if it is later than the book by the venue's own clock by more
#: than this: ids rise with time, so the venue has begun its count anew. The time of a push may be that of its sending, and that of a
#: snapshot that of its last change; a second is more than any push waits.
RESET_NS = 1_000_000_000
#: Nor, where the times say nothing, after so many in a row: a snapshot that is newer than the stream is so by tens of pushes.
RESET_RUN = 512


class Publish(msgspec.Struct, gc=False):
    """Apply ``updates`` in order, then show the book; the first replaces it when ``replaces``.

    ``was`` is the state before. If the outcome must not be shown, ``BookSync.retract`` takes the publication back.
    """

    updates: tuple[BookUpdate, ...]
    replaces: bool = False
    was: BookState = BookState.LIVE


class Announce(msgspec.Struct, gc=False):
    """Tell the user of a hole in the stream."""

    reason: GapReason
    last_id: int | None
    next_id: int | None


class ChangeState(msgspec.Struct, gc=False):
    """Tell the user of a change of trust."""

    old: BookState
    new: BookState


class FetchSnapshot(msgspec.Struct, frozen=True):
    """Ask REST for the whole book; the answer carries ``epoch`` back. ``attempt`` counts from 1 within an epoch."""

    channel: str
    symbol: str
    epoch: int
    attempt: int


class Resubscribe(msgspec.Struct, frozen=True):
    """Unsubscribe and subscribe again: this channel sends its whole book after subscribing."""

    channel: str
    symbol: str
    epoch: int
    attempt: int


Request = FetchSnapshot | Resubscribe
Action = Publish | Announce | ChangeState | FetchSnapshot | Resubscribe


class BookSync:
    """The place of one book in its stream. Each method takes one fact and returns what is to be done about it, in order."""

    __slots__ = (
        "_attempts",
        "_channel",
        "_exchange_ns",
        "_is_asked",
        "_passed_id",
        "_run",
        "_symbol",
        "absorbed",
        "epoch",
        "held",
        "last_id",
        "state",
    )

    def __init__(self, channel: BookChannel, symbol: str) -> None:
        self._channel = channel
        self._symbol = symbol
        self._is_asked = False
        self._attempts = 0
        # The venue's time of the book's last update; how many updates were ignored in a row, and the book's id meanwhile.
        self._exchange_ns: int | None = None
        self._run = 0
        self._passed_id: int | None = None
        self.state = BookState.SYNCING
        self.epoch = 0
        self.last_id: int | None = None
        #: Updates that wait for a snapshot.
        self.held: deque[BookUpdate] = deque()
        #: Updates that changed nothing or went into another's publication.
        self.absorbed = 0

    def __repr__(self) -> str:
        where = f"{self._channel.name} {self._symbol} {self.state.value}"
        return f"<BookSync {where} epoch={self.epoch} last_id={self.last_id} held={len(self.held)}>"

    def receive(self, update: BookUpdate) -> list[Action]:
        """An update arrived from the stream."""
        if self.state is BookState.LIVE:
            assert self.last_id is not None
            verdict = self._channel.rule.judge(self.last_id, update)
            if verdict is Verdict.APPLY:
                self.last_id = update.last_id
                self._exchange_ns = update.exchange_ns
                return [Publish((update,))]
            if verdict is Verdict.IGNORE and not self._begins_anew(update, self.last_id):
                self.absorbed += 1
                return []
            if verdict is Verdict.REPLACE:
                return self._live([update])
            actions = self.distrust(GapReason.SEQUENCE, update.first_id)
            return actions + (self._live([update]) if update.is_full else self._hold(update))
        actions = self._move(BookState.SYNCING) if self.state is BookState.STALE else []
        if update.is_full:
            return actions + self._live([update])
        return actions + self._hold(update)

    def snapshot(self, snapshot: BookUpdate, epoch: int | None = None) -> list[Action]:
        """The answer to a FetchSnapshot of ``epoch`` arrived; without an epoch it is taken for one of the current epoch."""
        if not self._is_awaited(epoch):
            self.absorbed += 1
            return []
        self._is_asked = False
        updates = [snapshot]
        last_id = snapshot.last_id
        while self.held:
            update = self.held[0]
            verdict = self._channel.rule.judge(last_id, update)
            if verdict is Verdict.GAP:
                # The snapshot is older than what is held: only a newer one can bridge, and it will cover what this one reached.
                self.absorbed += len(updates)
                return self._ask()
            self.held.popleft()
            if verdict is Verdict.IGNORE:
                self.absorbed += 1
                continue
            last_id = update.last_id
            updates.append(update)
        return self._live(updates)

    def request_failed(self, epoch: int | None = None) -> list[Action]:
        """A FetchSnapshot or Resubscribe of ``epoch`` came to nothing; ask again."""
        if not self._is_awaited(epoch):
            return []
        self._is_asked = False
        return self._ask()

    def distrust(self, reason: GapReason, next_id: int | None = None) -> list[Action]:
        """The book cannot be believed from here on. Announced once, until the book is live again; repaired for this symbol alone."""
        if self.state is BookState.STALE:
            return []
        return self._lose_trust(reason, next_id) + self._ask()

    def silence(self) -> list[Action]:
        """The stream has gone silent. The next update asks: until then a snapshot would begin a book that nobody goes on with."""
        if self.state is BookState.STALE:
            return []
        return self._lose_trust(GapReason.SILENT, None)

    def retract(self, was: BookState, last_id: int | None, reason: GapReason = GapReason.CROSSED) -> list[Action]:
        """The book that was to be shown is wrong; ``was`` is the state before, as the Publish said, ``last_id`` the book's id then."""
        self.absorbed += 1
        self.last_id = last_id
        if was is BookState.LIVE:
            return self.distrust(reason)
        self.state = was
        self._forget()
        return self._ask()

    def disconnect(self) -> list[Action]:
        """The source is gone: whatever is held belongs to it."""
        actions: list[Action] = []
        if self.state is BookState.LIVE:
            actions.append(Announce(GapReason.DISCONNECTED, self.last_id, None))
        if self.state is not BookState.STALE:
            actions += self._move(BookState.STALE)
        self._forget()
        return actions

    def _begins_anew(self, update: BookUpdate, last_id: int) -> bool:
        """Whether an update that the book has passed by its ids is the beginning of another count; see RESET_NS and RESET_RUN."""
        if update.last_id == last_id:
            return False  # A repetition of the last one may be sent, and dated, at any time.
        if self._passed_id != last_id:
            self._passed_id, self._run = last_id, 0
        self._run += 1
        if self._run >= RESET_RUN:
            return True
        if update.exchange_ns is None or self._exchange_ns is None:
            return False
        return update.exchange_ns > self._exchange_ns + RESET_NS

    def _lose_trust(self, reason: GapReason, next_id: int | None) -> list[Action]:
        actions: list[Action] = []
        if self.state is BookState.LIVE:
            actions.append(Announce(reason, self.last_id, next_id))
            actions += self._move(BookState.GAP)
        self._forget()
        return actions

    def _is_awaited(self, epoch: int | None) -> bool:
        return self.state in (BookState.SYNCING, BookState.GAP) and epoch in (None, self.epoch)

    def _forget(self) -> None:
        self.epoch += 1
        self.absorbed += len(self.held)
        self.held.clear()
        self._is_asked = False
        self._attempts = 0

    def _hold(self, update: BookUpdate) -> list[Action]:
        if self._channel.repair is not Repair.FETCH_SNAPSHOT:
            # The next whole book comes in the stream itself and makes everything before it worthless.
            self.absorbed += 1
        else:
            if len(self.held) == HELD_LIMIT:
                self.held.popleft()
                self.absorbed += 1
            self.held.append(update)
        return [] if self._is_asked else self._ask()

    def _ask(self) -> list[Action]:
        self._is_asked = True
        self._attempts += 1
        if self._channel.repair is Repair.FETCH_SNAPSHOT:
            return [FetchSnapshot(self._channel.name, self._symbol, self.epoch, self._attempts)]
        if self._channel.repair is Repair.RESUBSCRIBE:
            return [Resubscribe(self._channel.name, self._symbol, self.epoch, self._attempts)]
        return []

    def _live(self, updates: list[BookUpdate]) -> list[Action]:
        self.absorbed += len(updates) - 1
        self.last_id = updates[-1].last_id
        self._exchange_ns = updates[-1].exchange_ns
        was, self.state = self.state, BookState.LIVE
        if was is not BookState.LIVE:
            self._forget()
        return [Publish(tuple(updates), replaces=True, was=was)]

    def _move(self, new: BookState) -> list[Action]:
        old, self.state = self.state, new
        return [ChangeState(old, new)]
