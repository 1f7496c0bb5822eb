"""The state of a venue's streams: judge every message of a frame, apply them all, and return the events to emit.

State belongs to the stream and lives here: not in an architecture, not in a connection. Both architectures call the same
``apply``, so a switch between them leaves books and sequence numbers where they are.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from types import MappingProxyType

from msgspec.structs import force_setattr

from infrastructure.audit import MISMATCHES, Audit, AuditCounts
from infrastructure.book import OrderBook
from infrastructure.book_sync import Action, Announce, BookSync, ChangeState, Publish, Request
from infrastructure.errors import DecodeError, UnknownSymbol
from infrastructure.events import AccountStateChange, BookState, BookStateChange, BookTicker, Data, ErrorEvent, Gap, GapReason, MessageType
from infrastructure.rotation import Overlap
from infrastructure.venue import Acknowledgement, BookUpdate, Message, Venue, check_symbol

#: What is handed to callbacks.
Emission = Data | Gap | BookStateChange | AccountStateChange | ErrorEvent | OrderBook


#: Channel, without its option, and symbol of a stream.
Key = tuple[str, str]

#: Trades of one symbol whose ids are remembered: more than venues are known to send again after a subscription.
REMEMBERED_TRADES = 512

#: The venue's clock and ours may drift apart by one part in so many. So much the smallest age of a message is let grow by itself.
DRIFT = 10_000


class Stream:
    """What is known of one stream: when its last message came, the venue's time of it, and how many came. For reading only."""

    __slots__ = ("count", "exchange_ns", "is_carried_on", "is_flowing", "received_ns")

    def __init__(self) -> None:
        self.received_ns = 0
        self.exchange_ns: int | None = None
        self.count = 0
        #: Whether data has come since it was last cut, over the connection that carries it.
        self.is_flowing = False
        #: Whether the connection that carries it took over from another, which brought data, and has brought none itself.
        self.is_carried_on = False

    @property
    def overtaken_ns(self) -> int | None:
        """Since when another stream of the symbol has known of something that this one has not brought, None if none does."""
        return None


class _DataStream(Stream):
    """Of anything but books. ``audited`` are the books that a book ticker is held against."""

    __slots__ = ("audited", "known", "recent")

    def __init__(self, remembers: bool) -> None:
        super().__init__()
        self.audited: tuple[_BookStream, ...] = ()
        #: The ids of the latest trades, None where it is not trades.
        self.recent: deque[str] | None = deque(maxlen=REMEMBERED_TRADES) if remembers else None
        #: After a cut: the ids that will not be told again, until as many new ones have come.
        self.known: set[str] | None = None


class _BookStream(Stream):
    """One book and its place in its stream."""

    __slots__ = ("audit", "book", "sync")

    def __init__(self, venue: Venue, channel: str, symbol: str) -> None:
        super().__init__()
        self.sync = BookSync(venue.book_channels[channel], symbol)
        self.book = OrderBook(venue.name, channel, symbol)
        #: None unless the symbol's book ticker comes too, and counts as this stream does.
        self.audit: Audit | None = None

    @property
    def overtaken_ns(self) -> int | None:
        """Since when the book ticker has known of an id that this stream has not brought, None if it does not."""
        return None if self.audit is None else self.audit.overtaken_ns()


#: What a frame holds, once it is judged: an update of a book, a book ticker that books are held against, or what only has to be told.
_Judged = tuple[_BookStream, list[Action]] | tuple[_DataStream, BookTicker] | Data | ErrorEvent


class Session:
    """A venue's running feed: books, sequence numbers, which streams have data and how old it is.

    ``symbols`` limits the feed to these unified symbols; None takes every symbol that arrives. ``on_request`` is handed what has to be
    asked of the venue (FetchSnapshot, Resubscribe), ``on_answer`` each acknowledgement, of which it returns the streams that were agreed
    (None: it will be asked again), ``on_flowing`` channel and symbol of each stream with its first data on a connection. All are called in
    the middle of ``apply``: they must only take note.
    """

    def __init__(
        self,
        venue: Venue,
        symbols: Collection[str] | None = None,
        on_request: Callable[[Request], None] | None = None,
        on_answer: Callable[[Acknowledgement], Iterable[tuple[str, str]] | None] | None = None,
        on_flowing: Callable[[str, str], None] | None = None,
    ) -> None:
        self.venue = venue
        self._symbols = None if symbols is None else frozenset(check_symbol(symbol) for symbol in symbols)
        self._on_request = on_request
        self._on_answer = on_answer
        self._on_flowing = on_flowing
        #: Set by the lane before each frame: when its bytes were read, and the lane itself.
        self.received_ns = 0
        self.source: object | None = None
        #: While a connection takes over from another: what both bring.
        self.overlap: Overlap | None = None
        self.decoded = 0
        self.raised = 0
        #: Events returned to whoever emits them.
        self.handed_over = 0
        self._absorbed = 0
        # What is in hand, until it is whole: the messages of a frame, the streams of anything else, and the state that the user knows
        # of each book that was moved.
        self._current: Sequence[Message] = ()
        self._streams_in_hand: Sequence[_BookStream] = ()
        self._moved: tuple[tuple[_BookStream, BookState], ...] = ()
        #: Trades that the venue sent again after a cut, and that were not told again.
        self.replayed = 0
        #: What comparing books with book tickers found.
        self.audit = AuditCounts()
        # How old the last message was by the venue's clock, how old the youngest, and when the last came.
        self._behind_ns: int | None = None
        self._least_ns = 0
        self._dated_ns = 0
        self._streams: dict[Key, _BookStream] = {}
        self._books: dict[str, OrderBook] = {}
        # By message type, books apart: each symbol whose stream has had data.
        self._sources: list[dict[str, _DataStream]] = [{} for _ in MessageType]
        # By channel and symbol, as far as it was said: the option of the stream.
        self._options: dict[Key, str] = {}
        self._audited = [channel.name for channel in venue.book_channels.values() if channel.is_audited]
        # Channel and symbol of the streams that the venue agreed to send, and of those whose Gap has been told and not ended.
        self._expected: set[Key] = set()
        self._cut: set[Key] = set()
        # Channel and symbol of the streams that were ended on purpose: what still comes of them is nobody's.
        self._ended: set[Key] = set()
        # Symbols that were seen but not asked for.
        self._unwanted: set[str] = set()
        # By kind and symbol, books apart: the channels that are wanted, for data does not say of which it is; the last names it. Empty
        # once all were ended.
        self._named: dict[tuple[MessageType, str], list[str]] = {}
        self._channels: dict[MessageType, str] = {}
        for channel, kind in venue.channels.items():
            if channel not in venue.book_channels:
                self._channels.setdefault(kind, channel)

    def __repr__(self) -> str:
        states = [stream.sync.state for stream in self._streams.values()]
        counts = " ".join(f"{state.value}={states.count(state)}" for state in BookState)
        return f"<Session {self.venue.name} books: {counts}>"

    def __contains__(self, symbol: str) -> bool:
        return self._symbols is None or symbol in self._symbols

    @property
    def books(self) -> Mapping[str, OrderBook]:
        """The book of each unified symbol. Where several channels carry one, the venue's first book channel counts."""
        return MappingProxyType(self._books)

    @property
    def held(self) -> int:
        """Updates that wait for a snapshot."""
        return sum(len(stream.sync.held) for stream in self._streams.values())

    @property
    def absorbed(self) -> int:
        """Decoded messages that gave no event of their own."""
        return self._absorbed + sum(stream.sync.absorbed for stream in self._streams.values())

    def streams(self) -> dict[Key, Stream]:
        """Every stream that has had data, by channel and symbol. Of several channels that carry one kind of data, the one wanted last."""
        found: dict[Key, Stream] = dict(self._streams)
        for kind in self._channels:
            found |= {(self._name(kind, symbol), symbol): source for symbol, source in self._sources[kind].items()}
        return found

    def stream(self, channel: str, symbol: str) -> Stream | None:
        """The same of one stream; None if it never had data."""
        kind = self.venue.channels[channel]
        return self._streams.get((channel, symbol)) if channel in self.venue.book_channels else self._sources[kind].get(symbol)

    def age_ns(self, channel: str, symbol: str, now_ns: int) -> int | None:
        """How long before ``now_ns`` the last message of a stream came; None if none did."""
        stream = self.stream(channel, symbol)
        return None if stream is None else now_ns - stream.received_ns

    @property
    def venue_lag_ns(self) -> int | None:
        """How much older the latest message was, when it came, than the youngest seen; None before the venue has sent a time.

        Of each read of the socket the first message counts. By the venue's own clock, whose distance from ours thereby falls out. Whole
        books, and the first message of other streams, may be of what the venue had kept, and do not count.
        """
        return None if self._behind_ns is None else self._behind_ns - self._least_ns

    def apply(self, messages: Sequence[Message], received_ns: int | None = None) -> list[Emission]:
        """Judge all messages of one frame, apply all, and return the events to emit, in order.

        If this raises, ``fail`` must be called: the frame may be half applied.
        """
        received_ns = self.received_ns if received_ns is None else received_ns
        if self.overlap is not None:
            messages = self._new_of(messages, self.overlap)
        self._current = messages
        judged: list[_Judged] = []
        exchange_ns = None
        for message in messages:
            if message.is_control:
                self._control(message, judged)
                continue
            self.decoded += 1
            # Only data gets here, which has a symbol and a time; mypy cannot narrow a union by a class attribute.
            symbol: str = message.symbol  # type: ignore[union-attr]
            exchange_ns = message.exchange_ns  # type: ignore[union-attr]
            if type(message) is BookUpdate:
                stream = self._streams.get((message.channel, symbol))
                if stream is None or not stream.is_flowing:
                    stream = self._admit_book(message.channel, symbol)
                    if stream is None:
                        self._absorbed += 1
                        continue
                stream.received_ns, stream.exchange_ns, stream.count = received_ns, exchange_ns, stream.count + 1
                if stream.audit is not None:
                    stream.audit.seen_id = message.last_id
                if message.is_full:
                    exchange_ns = None
                judged.append((stream, stream.sync.receive(message)))
                continue
            source = self._sources[message.message_type].get(symbol)
            if source is None or not source.is_flowing:
                source = self._admit(message.message_type, symbol)
                if source is None:
                    self._absorbed += 1
                    continue
                source.exchange_ns, exchange_ns = exchange_ns, None
            source.received_ns, source.count = received_ns, source.count + 1
            if exchange_ns is not None:
                source.exchange_ns = exchange_ns
            if source.recent is not None:
                trade_id: str = message.trade_id  # type: ignore[union-attr]  # Trades alone are remembered.
                if source.known is not None and self._is_replayed(source, source.known, trade_id):
                    continue
                source.recent.append(trade_id)
            judged.append((source, message) if source.audited else message)  # type: ignore[arg-type]  # Data: see above
        # The first frame of a read is enough: the others have the same time.
        if exchange_ns is not None and received_ns != self._dated_ns:
            self._date(exchange_ns, received_ns)
        events: list[Emission] = []
        for item in judged:
            if not isinstance(item, tuple):
                force_setattr(item, "received_ns", received_ns)
                events.append(item)
            elif isinstance(item[0], _BookStream):
                self._act(*item, received_ns, events)
            else:
                self._hold_against(*item, received_ns, events)
        self.handed_over, self._current, self._moved = self.handed_over + len(events), (), ()
        return events

    def snapshot(self, symbol: str, raw: bytes | str, epoch: int | None = None) -> list[Emission]:
        """REST answered with the whole book of ``symbol``; ``epoch`` is the one of the request."""
        stream = self._snapshot_stream(symbol)
        self._streams_in_hand = (stream,)
        events: list[Emission] = []
        try:
            snapshot = self.venue.codec.decode_snapshot(symbol, raw)
        except DecodeError as error:
            self._raise(ErrorEvent(self.venue.name, "repair", str(error), stream.book.channel, symbol), self.received_ns, events)
            self._act(stream, stream.sync.request_failed(epoch), self.received_ns, events)
        else:
            self.decoded += 1
            self._act(stream, stream.sync.snapshot(snapshot, epoch), self.received_ns, events)
        return self._whole(events)

    def request_failed(self, request: Request, reason: str) -> list[Emission]:
        """What was asked of the venue came to nothing; unless the book is live by now, it is asked again."""
        stream = self._streams.get((request.channel, request.symbol))
        if stream is None:
            return []  # Nobody wants it any more.
        self._streams_in_hand = (stream,)
        actions = stream.sync.request_failed(request.epoch)
        events: list[Emission] = []
        if actions:
            self._raise(ErrorEvent(self.venue.name, "repair", reason, request.channel, request.symbol), self.received_ns, events)
        self._act(stream, actions, self.received_ns, events)
        return self._whole(events)

    def silence(self, channel: str, symbol: str, text: str) -> list[Emission]:
        """A stream is mute: tell so in ``text``, and, if data has come of it since its last Gap, or should have, with a Gap.

        Its book is not believed, and not asked for, before the stream goes on.
        """
        key = channel, symbol
        if key in self._ended:
            return []
        events = self._raised(ErrorEvent(self.venue.name, "mute", text, channel, symbol))
        book = self._streams.get(key)
        if book is not None:
            self._streams_in_hand = (book,)
            book.is_flowing = False
            self._act(book, book.sync.silence(), self.received_ns, events)
        elif channel not in self.venue.book_channels:
            source = self._sources[self.venue.channels[channel]].get(symbol)
            if source is not None and (source.is_flowing or source.is_carried_on) or key in self._expected - self._cut:
                self._cut.add(key)
                self._gap(channel, symbol, GapReason.SILENT, events)
            if source is not None:
                self._interrupt(source)
        return self._whole(events)

    def expect(self, channel: str, symbol: str) -> None:
        """The venue agreed to send this stream: when the connection is lost it gets its Gap, whether data has come or not."""
        if channel not in self.venue.book_channels:
            self._expected.add((channel, symbol))

    def readmit(self, channel: str, symbol: str, option: str | None = None) -> None:
        """A stream is wanted, perhaps again after it was ended; with this option of its channel, if that is known.

        The option of a book's stream says how many levels are kept; without it, as many as any.
        """
        key = channel, symbol
        self._ended.discard(key)
        kind = self.venue.channels[channel]
        if kind in self._channels:
            names = self._named.setdefault((kind, symbol), [])
            names[:] = [name for name in names if name != channel] + [channel]
        if option is not None and channel in self.venue.book_channels:
            self._options[key] = option
            if key in self._streams:
                self._streams[key].book.depth = self._depth(channel, symbol)

    def forget(self, channel: str, symbol: str) -> list[Emission]:
        """The stream was ended on purpose: no Gap for it, nothing more of it, and a book that its user still holds cannot be read."""
        key = (channel, symbol)
        self._ended.add(key)
        self._expected.discard(key)
        self._cut.discard(key)
        self._options.pop(key, None)
        events: list[Emission] = []
        stream = self._streams.pop(key, None)
        if stream is None:
            kind = self.venue.channels.get(channel)
            if kind is not None and kind is not MessageType.ORDERBOOK:
                names = self._named.setdefault((kind, symbol), [])
                names[:] = [name for name in names if name != channel]
                if not names:
                    self._sources[kind].pop(symbol, None)
            self._pair(symbol)
            return events
        self._pair(symbol)
        actions = [action for action in stream.sync.disconnect() if not isinstance(action, Announce)]
        self._act(stream, actions, self.received_ns, events)
        self._absorbed += stream.sync.absorbed
        del self._books[symbol]
        for other, _ in [key for key in self._streams if key[1] == symbol]:
            self._show(other, symbol)
        return self._whole(events)

    def report(
        self, kind: str, text: str, channel: str | None = None, symbol: str | None = None, code: str | None = None
    ) -> list[Emission]:
        """Tell the user of something that failed outside of this session."""
        return self._whole(self._raised(ErrorEvent(self.venue.name, kind, text, channel, symbol, code)))

    def disconnect(self, keys: Collection[tuple[str, str]] | None = None) -> list[Emission]:
        """The source of these streams, channel and symbol, is lost, or of all: one Gap for each that had data, or was agreed, since its
        last Gap.
        """
        self._streams_in_hand = tuple(stream for key, stream in self._streams.items() if keys is None or key in keys)
        events: list[Emission] = []
        for stream in self._streams_in_hand:
            stream.is_flowing = stream.is_carried_on = False
            if stream.audit is not None:
                stream.audit.restart()
            self._act(stream, stream.sync.disconnect(), self.received_ns, events)
        self._lose(keys, GapReason.DISCONNECTED, events)
        return self._whole(events)

    def _lose(self, keys: Collection[Key] | None, reason: GapReason, events: list[Emission]) -> None:
        """Of anything but books."""
        flowing = {
            (self._name(kind, symbol), symbol): source
            for kind in self._channels
            for symbol, source in self._sources[kind].items()
            if source.is_flowing or source.is_carried_on
        }
        lost = {key for key in flowing.keys() | (self._expected - self._cut) if keys is None or key in keys}
        self._cut |= lost
        for key in lost & flowing.keys():
            self._interrupt(flowing[key])
        for channel, symbol in sorted(lost):
            self._gap(channel, symbol, reason, events)

    def begin_overlap(self, first: object) -> None:
        """Another connection is to take over from ``first``: note what this one brings."""
        self.overlap = overlap = Overlap(first)
        for kind in MessageType:
            for symbol, source in self._sources[kind].items():
                if source.recent is not None:
                    overlap.know(kind, symbol, source.recent)

    def take_over(self, second: object, keys: Collection[Key] | None) -> None:
        """From now on these streams, channel and symbol, or all, are brought by ``second``, which begins with what was told before."""
        if self.overlap is not None:
            self.overlap.take_over(second)
        for key, stream in self.streams().items():
            if stream.is_flowing and (keys is None or key in keys):
                stream.is_flowing, stream.is_carried_on = False, True

    def end_overlap(self) -> None:
        """What has been told more than once by now is over, but for trades, which may come again for a while as after a cut."""
        self.overlap = None
        for kind in MessageType:
            for source in self._sources[kind].values():
                if source.recent:
                    source.known = set(source.recent)

    def reject(self, error: DecodeError | None) -> list[Emission]:
        """A frame was given up before it changed anything; whose data is missing stands in ``error``, as far as it could be read."""
        channel, symbol = (error.channel, error.symbol) if error else (None, None)
        events: list[Emission] = []
        self._distrust(channel, symbol, GapReason.REJECTED, events)
        return self._whole(events)

    def fail(self) -> list[Emission]:
        """``apply``, or what else was asked of this session, raised: whatever it touches cannot be believed."""
        # What had come of it by now will never be emitted.
        self._absorbed += self.decoded + self.raised - self.handed_over - self.absorbed - self.held
        messages = dict.fromkeys((self._channel_of(message), getattr(message, "symbol", None)) for message in self._current)
        streams = dict.fromkeys([*self._streams_in_hand, *(stream for stream, _ in self._moved)])
        streams |= dict.fromkeys(stream for key in messages if (stream := self._streams.get((key[0] or "", key[1] or ""))))
        for stream, known in reversed(self._moved):
            stream.book.state = known
        self._moved = ()
        events: list[Emission] = []
        for stream in streams:
            # The stream goes on from what its user knows, not from where the failed frame had taken it.
            sync, book = stream.sync, stream.book
            sync.state, sync.last_id = book.state, book.last_id
            if stream.audit is not None:
                stream.audit.distrust()
            actions = sync.disconnect() if book.state is BookState.STALE else sync.distrust(GapReason.FAILED)
            self._act(stream, actions, self.received_ns, events)
        for channel, symbol in messages:
            if (channel, symbol) not in self._streams:
                self._distrust(channel, symbol, GapReason.FAILED, events)
        if not messages and not streams:
            self._distrust(None, None, GapReason.FAILED, events)
        return self._whole(events)

    def _new_of(self, messages: Sequence[Message], overlap: Overlap) -> Sequence[Message]:
        """``messages`` without those that were told before; of the connection that brings them first, all are noted."""
        if self.source is overlap.first and overlap.second is None:
            for message in messages:
                if not message.is_control and type(message) is not BookUpdate:
                    overlap.note(message)  # type: ignore[arg-type]  # Data: see apply
            return messages
        if self.source is not overlap.second or overlap.second is None:
            return messages
        new = [message for message in messages if message.is_control or not self._was_told(message, overlap)]
        told = len(messages) - len(new)
        overlap.count(told, sum(1 for message in new if not message.is_control))
        self.decoded += told
        self._absorbed += told
        return new

    def _was_told(self, message: Message, overlap: Overlap) -> bool:
        if type(message) is BookUpdate:
            stream = self._streams.get((message.channel, message.symbol))
            # What the book has reached, not what has come of it: a book that is being repaired needs what is newer than it.
            return stream is not None and stream.book.last_id is not None and message.last_id <= stream.book.last_id
        return overlap.was_told(message)  # type: ignore[arg-type]  # Data: see apply

    def _whole(self, events: list[Emission]) -> list[Emission]:
        self.handed_over, self._current, self._streams_in_hand, self._moved = self.handed_over + len(events), (), (), ()
        return events

    def _channel_of(self, message: Message) -> str | None:
        if isinstance(message, BookUpdate):
            return message.channel
        return next((name for name, kind in self.venue.channels.items() if kind is message.message_type), None)

    def _distrust(self, channel: str | None, symbol: str | None, reason: GapReason, events: list[Emission]) -> None:
        stream = self._streams.get((channel or "", symbol or ""))
        if stream is not None:
            self._act(stream, stream.sync.distrust(reason), self.received_ns, events)
        elif symbol is None or symbol not in self._unwanted:
            self._gap(channel, symbol, reason, events)

    def _gap(self, channel: str | None, symbol: str | None, reason: GapReason, events: list[Emission]) -> None:
        self._raise(Gap(self.venue.name, channel, symbol, reason), self.received_ns, events)

    def _admit(self, message_type: MessageType, symbol: str) -> _DataStream | None:
        if symbol not in self:
            self._unwanted.add(symbol)
            return None
        if self._named.get((message_type, symbol)) == []:
            return None
        channel = self._name(message_type, symbol)
        source = self._sources[message_type].get(symbol)
        if source is None:
            source = self._sources[message_type][symbol] = _DataStream(message_type is MessageType.TRADE)
            self._pair(symbol)
        source.is_flowing, source.is_carried_on = True, False
        if self._on_flowing is not None:
            self._on_flowing(channel, symbol)
        return source

    def _name(self, kind: MessageType, symbol: str) -> str:
        names = self._named.get((kind, symbol))
        return names[-1] if names else self._channels[kind]

    def _interrupt(self, source: _DataStream) -> None:
        """What comes next comes after a hole, and may begin with what came before it."""
        source.is_flowing = source.is_carried_on = False
        if source.recent:
            source.known = set(source.recent)
        for stream in source.audited:
            if stream.audit is not None:
                stream.audit.restart()

    def _is_replayed(self, source: _DataStream, known: set[str], trade_id: str) -> bool:
        """Whether a trade was told before a cut, as far as its venue gives ids."""
        if not trade_id:
            return False
        if trade_id in known:
            self.replayed += 1
            self._absorbed += 1
            return True
        known.add(trade_id)
        if len(known) >= 2 * REMEMBERED_TRADES:
            source.known = None
        return False

    def _date(self, exchange_ns: int, received_ns: int) -> None:
        behind_ns = received_ns - exchange_ns
        least_ns = self._least_ns + (received_ns - self._dated_ns) // DRIFT
        self._least_ns = behind_ns if self._behind_ns is None or behind_ns < least_ns else least_ns
        self._behind_ns, self._dated_ns = behind_ns, received_ns

    def _pair(self, symbol: str) -> None:
        """Hold the symbol's books against its book ticker, where both are there."""
        source = self._sources[MessageType.BOOK_TICKER].get(symbol)
        streams = [stream for channel in self._audited if (stream := self._streams.get((channel, symbol))) is not None]
        for stream in streams:
            if source is None:
                stream.audit = None
            elif stream.audit is None:
                stream.audit = Audit(self.audit)
                stream.audit.begin(stream.book, stream.sync.held[-1].last_id if stream.sync.held else stream.sync.last_id)
        if source is not None:
            source.audited = tuple(streams)

    def _hold_against(self, source: _DataStream, ticker: BookTicker, received_ns: int, events: list[Emission]) -> None:
        force_setattr(ticker, "received_ns", received_ns)
        events.append(ticker)
        for stream in source.audited:
            if stream.audit is None or stream.audit.agrees(ticker, received_ns) or stream.sync.state is not BookState.LIVE:
                continue
            if stream.book in events:
                # Shown by this very frame: it must not be shown after all.
                events.remove(stream.book)
                self._absorbed += 1
            self._act(stream, stream.sync.distrust(GapReason.AUDIT), received_ns, events)
            self._tell_audit_over(stream, stream.audit, received_ns, events)

    def _tell_audit_over(self, stream: _BookStream, audit: Audit, received_ns: int, events: list[Emission]) -> None:
        """After a mismatch: tell it if that was the last one."""
        if audit.is_over:
            text = f"at {MISMATCHES} equal ids in a row its best levels are not those of the book ticker: they are not compared any more"
            self._raise(ErrorEvent(self.venue.name, "audit", text, stream.book.channel, stream.book.symbol), received_ns, events)

    def _admit_book(self, channel: str, symbol: str) -> _BookStream | None:
        if symbol not in self:
            self._unwanted.add(symbol)
            return None
        if (channel, symbol) in self._ended:
            return None
        stream = self._streams.get((channel, symbol)) or self._open(channel, symbol)
        stream.is_flowing, stream.is_carried_on = True, False
        if self._on_flowing is not None:
            self._on_flowing(channel, symbol)
        return stream

    def _open(self, channel: str, symbol: str) -> _BookStream:
        stream = self._streams[channel, symbol] = _BookStream(self.venue, channel, symbol)
        stream.book.depth = self._depth(channel, symbol)
        self._show(channel, symbol)
        self._pair(symbol)
        return stream

    def _depth(self, channel: str, symbol: str) -> int | None:
        depths = self.venue.book_channels[channel].depths
        option = self._options.get((channel, symbol))
        return max(depths.values(), default=None) if option is None else depths.get(option)

    def _show(self, channel: str, symbol: str) -> None:
        order = list(self.venue.book_channels)
        shown = self._books.get(symbol)
        if shown is None or order.index(channel) < order.index(shown.channel):
            self._books[symbol] = self._streams[channel, symbol].book

    def _snapshot_stream(self, symbol: str) -> _BookStream:
        channel = self.venue.snapshot_channel
        if channel is None or symbol not in self:
            raise UnknownSymbol(symbol, "a symbol of this feed, of a venue whose books start from a REST snapshot")
        return self._streams.get((channel, symbol)) or self._open(channel, check_symbol(symbol))

    def _control(self, message: Message, judged: list[_Judged]) -> None:
        if not isinstance(message, Acknowledgement):
            return
        agreed = () if self._on_answer is None else self._on_answer(message)
        if agreed is None:
            return
        if message.error is not None:
            self.raised += 1
            judged.append(ErrorEvent(self.venue.name, "refused", message.error, message.channel, code=message.error_code))
        for channel, symbol in agreed:
            self.expect(channel, symbol)

    def _raised(self, event: ErrorEvent) -> list[Emission]:
        events: list[Emission] = []
        self._raise(event, self.received_ns, events)
        return events

    def _raise(
        self, event: Data | Gap | BookStateChange | AccountStateChange | ErrorEvent, received_ns: int, events: list[Emission]
    ) -> None:
        self.raised += 1
        force_setattr(event, "received_ns", received_ns)
        events.append(event)

    def _act(self, stream: _BookStream, actions: Sequence[Action], received_ns: int, events: list[Emission]) -> None:
        book = stream.book
        for action in actions:
            if type(action) is Publish:
                self._publish(stream, action, received_ns, events)
            elif type(action) is ChangeState:
                self._moved = (*self._moved, (stream, book.state))
                book.state = action.new
                if stream.audit is not None and action.new is not BookState.LIVE:
                    stream.audit.distrust()
                self._raise(
                    BookStateChange(self.venue.name, book.channel, book.symbol, action.old, action.new, stream.sync.last_id),
                    received_ns,
                    events,
                )
            elif type(action) is Announce:
                self._raise(
                    Gap(self.venue.name, book.channel, book.symbol, action.reason, action.last_id, action.next_id), received_ns, events
                )
            elif isinstance(action, Request) and self._on_request is not None:
                self._on_request(action)

    def _publish(self, stream: _BookStream, publish: Publish, received_ns: int, events: list[Emission]) -> None:
        book = stream.book
        if publish.was is BookState.LIVE is not book.state:
            self._absorbed += 1  # Something before it in this frame took the trust away.
            return
        changes = book.changes
        first = publish.updates[0]
        good_id = book.last_id
        if publish.replaces:
            if first.depth is not None:
                book.depth = first.depth
            book.replace(first)
            for update in publish.updates[1:]:
                book.apply(update)
        else:
            book.apply(first)
        if book.is_crossed:
            self._act(stream, stream.sync.retract(publish.was, good_id), received_ns, events)
            return
        if stream.audit is not None and not stream.audit.holds(book):
            self._act(stream, stream.sync.retract(publish.was, good_id, GapReason.AUDIT), received_ns, events)
            self._tell_audit_over(stream, stream.audit, received_ns, events)
            return
        book.received_ns = received_ns
        if publish.was is not BookState.LIVE:
            self._act(stream, [ChangeState(publish.was, BookState.LIVE)], received_ns, events)
        is_shown = book in events
        if publish.replaces:
            changes.bids, changes.asks, changes.is_full = (
                (first.bids, first.asks, True) if len(publish.updates) == 1 else (book.raw.bids, book.raw.asks, True)
            )
        elif is_shown and not changes.is_full:
            changes.bids, changes.asks = changes.bids + first.bids, changes.asks + first.asks
        elif is_shown:
            changes.bids, changes.asks = book.raw.bids, book.raw.asks
        else:
            changes.bids, changes.asks, changes.is_full = first.bids, first.asks, False
        if is_shown:
            self._absorbed += 1
        else:
            events.append(book)
