"""What was sent, against what was seen: every message of every stream carries a number that rises, hidden or open."""

from collections import deque

#: (kind of event, unified symbol)
Stream = tuple[str, str]

FINDINGS = 20


#: What the receiver got: a message with its number, and whether it covers earlier ones; or a Gap, which has no number.
_Seen = tuple[int | None, bool]


class _Account:
    __slots__ = ("expected", "in_gap", "missing", "seen", "sent_up_to")

    def __init__(self) -> None:
        self.expected: deque[int] = deque()
        self.seen: deque[_Seen] = deque()
        self.missing: set[int] = set()
        self.in_gap = False
        self.sent_up_to = -1


class Ledger:
    """Counts what was lost, duplicated or reordered between a sender and a callback.

    The sender's ``sent`` and the callbacks' ``seen`` may come in any order, as when the sender is another process whose log is read now
    and then: what was seen is judged once it is known to have been sent. A Gap that the receiver announced covers what is missing up to
    the stream's next message.
    """

    def __init__(self) -> None:
        self._accounts: dict[Stream, _Account] = {}
        self.duplicated = 0
        self.reordered = 0
        #: The first few findings, in words.
        self.findings: list[str] = []

    def sent(self, stream: Stream, number: int) -> None:
        """A message with this number goes out; numbers of one stream rise."""
        account = self._account(stream)
        account.expected.append(number)
        account.sent_up_to = number
        if account.seen:
            self._judge(stream, account, number)

    def seen(self, stream: Stream, number: int, *, covers_earlier: bool = False) -> None:
        """A callback got the message with this number; a whole book ``covers_earlier`` ones."""
        account = self._account(stream)
        account.seen.append((number, covers_earlier))
        if number <= account.sent_up_to:
            self._judge(stream, account, account.sent_up_to)

    def gap(self, kind: str | None, symbol: str | None) -> None:
        """The receiver announced a hole; None stands for any kind, any symbol."""
        for stream, account in self._accounts.items():
            if kind in (None, stream[0]) and symbol in (None, stream[1]):
                account.seen.append((None, False))
                self._judge(stream, account, account.sent_up_to)

    def finish(self) -> None:
        """Nothing more will be sent or seen: what is still expected is lost, unless a Gap covers it."""
        for stream, account in self._accounts.items():
            self._judge(stream, account, None)
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
    def outstanding(self) -> int:
        """Messages that were sent and not seen, or seen and not yet known to have been sent."""
        return sum(len(account.expected) + len(account.seen) for account in self._accounts.values() if not account.in_gap)

    @property
    def is_clean(self) -> bool:
        """Whether nothing was lost, duplicated or reordered so far."""
        return not (self.lost or self.duplicated or self.reordered)

    def _judge(self, stream: Stream, account: _Account, sent_up_to: int | None) -> None:
        """Take what was seen, in order, as far as it is known to have been sent; None: all of it."""
        seen = account.seen
        while seen:
            number, covers_earlier = seen[0]
            if number is None:
                account.in_gap = True
            elif sent_up_to is not None and number > sent_up_to:
                return
            else:
                self._match(stream, account, number, covers_earlier)
            seen.popleft()

    def _match(self, stream: Stream, account: _Account, number: int, covers_earlier: bool) -> None:
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

    def _account(self, stream: Stream) -> _Account:
        account = self._accounts.get(stream)
        if account is None:
            account = self._accounts[stream] = _Account()
        return account

    def _find(self, text: str) -> None:
        if len(self.findings) < FINDINGS:
            self.findings.append(text)
