"""What was sent, against what was seen: every message of every stream carries a number that rises, hidden or open."""

from collections import deque

#: (kind of event, unified symbol)
Stream = tuple[str, str]

FINDINGS = 20


class _Account:
    __slots__ = ("expected", "in_gap", "missing")

    def __init__(self) -> None:
        self.expected: deque[int] = deque()
        self.missing: set[int] = set()
        self.in_gap = False


class Ledger:
    """Counts what was lost, duplicated or reordered between a sender and a callback.

    The sender calls ``sent`` before each message, the callbacks call ``seen``; a Gap that the receiver announced covers what is missing
    up to the stream's next message.
    """

    def __init__(self) -> None:
        self._accounts: dict[Stream, _Account] = {}
        self.duplicated = 0
        self.reordered = 0
        #: The first few findings, in words.
        self.findings: list[str] = []

    def sent(self, stream: Stream, number: int) -> None:
        """A message with this number goes out; numbers of one stream rise."""
        self._account(stream).expected.append(number)

    def seen(self, stream: Stream, number: int, *, covers_earlier: bool = False) -> None:
        """A callback got the message with this number; a whole book ``covers_earlier`` ones."""
        account = self._account(stream)
        expected = account.expected
        is_covered = covers_earlier or account.in_gap
        account.in_gap = False
        while expected and expected[0] < number:
            earlier = expected.popleft()
            if not is_covered:
                account.missing.add(earlier)
        if expected and expected[0] == number:
            expected.popleft()
        elif number in account.missing:
            account.missing.remove(number)
            self.reordered += 1
            self._find(f"reordered: {stream[0]} {stream[1]} {number} came after a later one")
        elif not covers_earlier:
            self.duplicated += 1
            self._find(f"duplicated: {stream[0]} {stream[1]} {number}")

    def gap(self, kind: str | None, symbol: str | None) -> None:
        """The receiver announced a hole; None stands for any kind, any symbol."""
        for stream, account in self._accounts.items():
            if kind in (None, stream[0]) and symbol in (None, stream[1]):
                account.in_gap = True

    def finish(self) -> None:
        """Nothing more will be seen: what is still expected is lost, unless a Gap covers it."""
        for account in self._accounts.values():
            if not account.in_gap:
                account.missing.update(account.expected)
            account.expected.clear()
        for (kind, symbol), account in self._accounts.items():
            for number in sorted(account.missing):
                self._find(f"lost: {kind} {symbol} {number}")

    @property
    def lost(self) -> int:
        """Messages that later ones overtook and that have not come since; after ``finish``, all that never came."""
        return sum(len(account.missing) for account in self._accounts.values())

    @property
    def is_clean(self) -> bool:
        """Whether nothing was lost, duplicated or reordered so far."""
        return not (self.lost or self.duplicated or self.reordered)

    def _account(self, stream: Stream) -> _Account:
        return self._accounts.setdefault(stream, _Account())

    def _find(self, text: str) -> None:
        if len(self.findings) < FINDINGS:
            self.findings.append(text)
