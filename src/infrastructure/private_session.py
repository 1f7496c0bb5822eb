"""The state of an account's streams: nothing is told before the venue confirmed whose they are, and REST what was missed.

OFFLINE --begin--> AUTHENTICATING --confirm--> RECONCILING --reconcile--> LIVE
                                        ^------ a frame was lost ---------'
   any state --disconnect--> OFFLINE, --expire--> EXPIRED, --refuse--> REFUSED: --begin--> AUTHENTICATING
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import islice
from typing import Any

from msgspec.structs import force_setattr

from infrastructure.account import Account, AccountSnapshot
from infrastructure.book_sync import Request
from infrastructure.errors import DecodeError
from infrastructure.events import AccountState, AccountStateChange, BalanceUpdate, Data, GapReason, OrderUpdate, PositionUpdate
from infrastructure.session import Emission, Key, Session
from infrastructure.venue import ALL, Acknowledgement, Message, Venue

#: Messages held back until the account is LIVE. REST is asked for everything within seconds; a venue that sends more than this in them, or
#: before it confirms, is not followed.
WITHHELD_LIMIT = 4096

_CONFIRMED = (AccountState.RECONCILING, AccountState.LIVE)
#: States that say more than that there is no connection, and are left when the next one begins.
_TELLING = (AccountState.EXPIRED, AccountState.REFUSED)


class PrivateSession(Session):
    """The session of an account: everything that comes before the account is LIVE is held back, in order, and then judged.

    Its streams are its channels, each for the whole account: their symbol is ALL, and a Gap of theirs names none.

    With ``reconciles`` its owner leads it with ``begin``, ``confirm`` and ``reconcile``, which like every other method are called between
    two frames, and asks REST whenever ``needs_reconciliation``; ``on_reconcile`` is handed the ``epoch`` each time that becomes so, in
    the middle of something else: it must only take note. Without, as where frames are read from a file, the account is LIVE with the first
    acknowledgement that confirms the login, and what was missed stays missed.
    """

    def __init__(
        self,
        venue: Venue,
        on_request: Callable[[Request], None] | None = None,
        on_answer: Callable[[Acknowledgement], Iterable[tuple[str, str]] | None] | None = None,
        on_flowing: Callable[[str, str], None] | None = None,
        *,
        reconciles: bool = False,
        on_reconcile: Callable[[int], None] | None = None,
    ) -> None:
        super().__init__(venue, None, on_request, on_answer, on_flowing)
        self.account = Account(venue.name)
        self.reconciles = reconciles
        self._on_reconcile = on_reconcile
        #: Counts what REST has to be asked anew for: what was asked in an earlier one may lack what was lost since.
        self.epoch = 0
        self._withheld: deque[tuple[Data, int]] = deque()
        # How many of them, the first ones, came before this epoch: what REST is asked in it covers them.
        self._covered = 0
        # Channels that were told that more came than is held back.
        self._overflowed: set[str] = set()
        self._was_live = False
        # Events of what is in hand: they are taken into the account, and are told even if the rest of it fails.
        self._made: list[Emission] = []

    def __repr__(self) -> str:
        return f"<PrivateSession {self.venue.name} {self.account.state.value} epoch={self.epoch} held={self.held}>"

    @property
    def held(self) -> int:
        """Messages that wait until the account is LIVE."""
        return len(self._withheld)

    @property
    def is_confirmed(self) -> bool:
        """Whether the venue has confirmed whose account it is, on this connection."""
        return self.account.state in _CONFIRMED

    @property
    def needs_reconciliation(self) -> bool:
        """Whether REST has to be asked, for an answer that carries ``epoch`` as it is before the first request."""
        return self.reconciles and self.account.state is AccountState.RECONCILING

    def apply(self, messages: Sequence[Message], received_ns: int | None = None) -> list[Emission]:
        """As Session.apply; data is held back unless the account is LIVE, and then told as far as it is news."""
        received_ns = self.received_ns if received_ns is None else received_ns
        if self.overlap is not None:
            messages = self._new_of(messages, self.overlap)
        self._current = messages
        events = self._made
        for message in messages:
            if isinstance(message, Acknowledgement):
                self._answered(message, received_ns, events)
            if message.is_control:
                continue
            self.decoded += 1
            data: Data = message  # type: ignore[assignment]  # A private codec makes no books.
            if not self._note(data, received_ns):
                self._absorbed += 1
            elif self.account.state is AccountState.LIVE:
                self._judge(data, received_ns, events)
            else:
                self._withhold(data, received_ns, events)
        return self._whole(events)

    def begin(self) -> list[Emission]:
        """A connection is open, and signed subscriptions are on their way."""
        if not self.is_confirmed:
            self._become(AccountState.AUTHENTICATING, "", self._made)
        return self._whole(self._made)

    def confirm(self) -> list[Emission]:
        """The venue has agreed to every subscription: from here on the streams are complete, and REST can be asked for what was before."""
        self._confirm(self._made)
        return self._whole(self._made)

    def reconcile(self, snapshot: AccountSnapshot, epoch: int | None = None) -> list[Emission]:
        """REST answered, and the account is LIVE: what it says is told as far as it is news, then what was held back, then that.

        ``epoch`` is the one in which it was asked, the present one if None. The answer of an earlier one, or of a connection that is lost,
        is absorbed.

        Balances and positions are told as they are, not how they changed, and on a confirmed stream none is left out. So whatever the
        stream has held back of one is the authority for it, and the snapshot's state of it is absorbed: nobody can say without a doubt
        whether that is older or newer, and told before the stream's own it could be a step back for whoever watches. What makes it newer
        is still to come on the stream.
        """
        events, account, told = self._made, self.account, snapshot.events
        self.decoded += len(told)
        if account.state is not AccountState.RECONCILING or epoch not in (None, self.epoch):
            self._absorbed += len(told)
            return self._whole(events)
        streamed = {state_of(message) for message, _ in self._withheld} - {None}
        were_open = self.open_orders().keys()
        for event in told:
            if state_of(event) not in streamed and account.correct(event):
                self._tell(event, self.received_ns, events)
            else:
                self._absorbed += 1
        self._release(events)
        for event in account.lacking(snapshot, were_open):
            if state_of(event) not in streamed and account.correct(event):
                self._raise(event, self.received_ns, events)
        self._live(events)
        return self._whole(events)

    def open_orders(self) -> dict[str, OrderUpdate]:
        """Those that were open by all that came before this epoch, held back or not, by id: REST has to say what became of each."""
        found = dict(self.account.raw.orders)
        for message, _ in islice(self._withheld, self._covered):
            if isinstance(message, OrderUpdate):
                if message.status.is_final:
                    found.pop(message.order_id, None)
                elif self.account.raw.order(message.order_id) is None:
                    found[message.order_id] = message
        return found

    def disconnect(self, keys: Collection[Key] | None = None) -> list[Emission]:
        """As Session.disconnect, with one Gap for each channel. What is held back is absorbed: it will be asked for.

        If there are ``keys``, some of them are the account's: it is not OFFLINE by the end of a connection that carries nothing.
        """
        if keys is None or keys:
            state = self.account.state if self.account.state in _TELLING else AccountState.OFFLINE
            self._end(state, "", GapReason.DISCONNECTED, keys)
        return self._whole(self._made)

    def expire(self, text: str) -> list[Emission]:
        """The key of the streams has lapsed; ``text`` says how that is known."""
        self._end(AccountState.EXPIRED, text, GapReason.EXPIRED)
        return self._whole(self._made)

    def refuse(self, text: str) -> list[Emission]:
        """The venue does not take the credentials, in the words of ``text``."""
        self._end(AccountState.REFUSED, text, GapReason.DISCONNECTED)
        return self._whole(self._made)

    def reject(self, error: DecodeError | None) -> list[Emission]:
        """As Session.reject. There may have been a fill in the frame: the account has to be reconciled anew."""
        self._miss([error.channel if error else None], GapReason.REJECTED, self._made)
        return self._whole(self._made)

    def fail(self) -> list[Emission]:
        """As Session.fail, and as ``reject``; what was taken into the account before it failed is told."""
        pending = self.decoded + self.raised - self.handed_over - self.absorbed - self.held
        self._absorbed += pending - len(self._made)
        channels = dict.fromkeys(self._channel_of(message) for message in self._current) or {None: None}
        self._miss(channels, GapReason.FAILED, self._made)
        return self._whole(self._made)

    def expect(self, channel: str, symbol: str) -> None:
        """As Session.expect; a channel that is agreed anew gets its Gap anew."""
        super().expect(channel, symbol)
        self._cut.discard((channel, symbol))

    def _whole(self, events: list[Emission]) -> list[Emission]:
        self._made = []
        return super()._whole(events)

    def _gap(self, channel: str | None, symbol: str | None, reason: GapReason, events: list[Emission]) -> None:
        super()._gap(channel, None, reason, events)

    def _channel_of(self, message: Message) -> str | None:
        return None if message.is_control else self._name(message.message_type, ALL)

    def _note(self, message: Data, received_ns: int) -> bool:
        """Whether the stream of the message is wanted; if so it has come."""
        stream, exchange_ns = self._sources[message.message_type].get(ALL), message.exchange_ns
        if stream is None or not stream.is_flowing:
            stream = self._admit(message.message_type, ALL)
            if stream is None:
                return False
        elif exchange_ns is not None and received_ns != self._dated_ns:
            self._date(exchange_ns, received_ns)  # As in Session.apply: the first may be of what the venue had kept.
        stream.received_ns, stream.count = received_ns, stream.count + 1
        if exchange_ns is not None:
            stream.exchange_ns = exchange_ns
        return True

    def _answered(self, answer: Acknowledgement, received_ns: int, events: list[Emission]) -> None:
        refused: list[Any] = []
        self._control(answer, refused)
        for event in refused:
            force_setattr(event, "received_ns", received_ns)
        events += refused
        if self.reconciles or answer.error is not None or not answer.confirms_login:
            return
        if self._on_answer is None and answer.channel in self.venue.channels:
            self.expect(answer.channel, ALL)
        self._confirm(events)

    def _confirm(self, events: list[Emission]) -> None:
        if self.is_confirmed:
            return
        if self.reconciles:
            self._become(AccountState.RECONCILING, "", events)
            self._begin_epoch()
        else:
            self._release(events)
            self._live(events)

    def _live(self, events: list[Emission]) -> None:
        """Every Gap has come to its end."""
        self._cut.clear()
        self._overflowed.clear()
        self._was_live = True
        self._become(AccountState.LIVE, "", events)

    def _become(self, state: AccountState, text: str, events: list[Emission]) -> None:
        old, self.account.state = self.account.state, state
        if state is not old:
            self._raise(AccountStateChange(self.venue.name, old, state, text), self.received_ns, events)

    def _begin_epoch(self) -> None:
        self.epoch += 1
        self._covered = len(self._withheld)
        if self._on_reconcile is not None:
            self._on_reconcile(self.epoch)

    def _end(self, state: AccountState, text: str, reason: GapReason, keys: Collection[Key] | None = None) -> None:
        events = self._made
        self.epoch += 1
        self._absorbed += len(self._withheld)
        self._withheld.clear()
        self._covered = 0
        self._overflowed.clear()
        self._lose(keys, reason, events)
        self._become(state, text, events)

    def _miss(self, channels: Iterable[str | None], reason: GapReason, events: list[Emission]) -> None:
        """A frame will never be known."""
        flowing = (self._sources[kind].get(ALL) for kind in self._channels)
        has_begun = self._was_live or self._expected or any(stream is not None and stream.is_flowing for stream in flowing)
        for channel in channels if has_begun or not self.reconciles else ():
            self._gap(channel, None, reason, events)
        if not self.reconciles:
            return
        # It may have held a newer state of these, and then REST alone knows it.
        kept = [(message, received_ns) for message, received_ns in self._withheld if state_of(message) is None]
        self._absorbed += len(self._withheld) - len(kept)
        self._withheld = deque(kept)
        if self.is_confirmed:
            self._become(AccountState.RECONCILING, f"a frame was {reason}", events)
            self._begin_epoch()

    def _withhold(self, message: Data, received_ns: int, events: list[Emission]) -> None:
        self._withheld.append((message, received_ns))
        if len(self._withheld) <= WITHHELD_LIMIT:
            return
        lost, _ = self._withheld.popleft()
        self._absorbed += 1
        channel = self._name(lost.message_type, ALL)
        if channel not in self._overflowed:
            self._overflowed.add(channel)
            self._gap(channel, None, GapReason.OVERFLOW, events)
        if self._covered:
            self._covered -= 1
        elif self.needs_reconciliation:
            # What REST is being asked may be of before it. All that is held back now is covered by asking again.
            self._begin_epoch()

    def _release(self, events: list[Emission]) -> None:
        covered, self._covered = self._covered, 0
        while self._withheld:
            self._judge(*self._withheld.popleft(), events, is_covered=covered > 0)
            covered -= 1

    def _judge(self, message: Data, received_ns: int, events: list[Emission], *, is_covered: bool = False) -> None:
        if self.account.apply(message, is_covered=is_covered):
            self._tell(message, received_ns, events)
        else:
            self._absorbed += 1

    def _tell(self, event: Data, received_ns: int, events: list[Emission]) -> None:
        force_setattr(event, "received_ns", received_ns)
        events.append(event)


def state_of(message: Data) -> tuple[str, ...] | None:
    """What the message tells the whole present state of: a currency, or a symbol and a mode. None of what is told in steps."""
    if isinstance(message, BalanceUpdate):
        return (message.currency,)
    return (message.symbol, message.mode) if isinstance(message, PositionUpdate) else None
