"""What every simulated exchange is to the server that plays it. Pure: what is to be sent comes back."""

import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from math import inf
from typing import ClassVar, NamedTuple
from urllib.parse import parse_qsl

from infrastructure.simulator.accounts import Account, AccountEvent, SpotAccount
from infrastructure.simulator.faults import Faults
from infrastructure.simulator.market import MIX, Event, Market, Ranked, Topic, Trading

#: A whole message: text goes out as a text frame, bytes as a binary one.
Message = str | bytes

PAIRS = ("BTC/USDT", "ETH/USDT", "SOL/USDT", "XRP/USDT", "DOGE/USDT", "ADA/USDT")

#: In the place of a topic's symbol: the events of every market.
EVERY = ""


class Client:
    """One connection as its exchange knows it; ``dialect`` is what ``Exchange.dialect`` made of its handshake's headers."""

    def __init__(self, connection_id: str = "", dialect: str = "") -> None:
        self.connection_id = connection_id
        self.dialect = dialect
        #: What it is subscribed to.
        self.topics: set[Topic] = set()
        #: How many subscriptions it ever began, those that ended included.
        self.begun = 0
        #: What it proved: whose connection it is, and the key in its address where an exchange gives out such keys.
        self.user: int | None = None
        self.listen_key = ""
        #: Whether it may place orders over its WebSocket, where an exchange lets clients do so.
        self.is_logged_in = False


class Reply(NamedTuple):
    """What a request brings: an answer, whole books after it, and subscriptions that begin and end. ``request`` is its event.

    Where a request is answered in several messages, ``more`` are those after the first.
    """

    answer: Message | None
    request: str = ""
    books: Sequence[Message] = ()
    begun: Sequence[Topic] = ()
    ended: Sequence[Topic] = ()
    more: Sequence[Message] = ()


class Recorded(NamedTuple):
    """Whose a recorded frame is: a push of one pair, or without a symbol the answer to a request."""

    channel: str
    symbol: str | None = None


class Answer(NamedTuple):
    """What a REST request brings."""

    status: int
    body: str


class Request(NamedTuple):
    """A REST request as it came: ``query`` and ``body`` are what was sent, byte by byte, because that is what is signed."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def parameters(self) -> dict[str, str]:
        """The query, decoded."""
        return dict(parse_qsl(self.query, keep_blank_values=True))


class PrivatePush(NamedTuple):
    """What of an account's event goes to one client, on one of the channels that it is subscribed to."""

    client: Client
    channel: str
    event: AccountEvent
    message: Message


class Book(NamedTuple):
    """A whole book, best levels first."""

    update_id: int
    bids: Ranked
    asks: Ranked


class Exchange(ABC):
    """An exchange as its clients see it: markets from ``seed``, requests answered, and what happens put into its own frames."""

    name: ClassVar[str]
    websocket_path: ClassVar[str]
    channels: ClassVar[Sequence[str]]
    #: Those of its account; ``channels`` are the others.
    private_channels: ClassVar[Sequence[str]] = ()
    #: Its clients begin with a REST book.
    seeded_channel: ClassVar[str]
    #: What symbols it trades, as a pattern and in words.
    symbol_form: ClassVar[re.Pattern[str]] = re.compile(r"[A-Z0-9]+/[A-Z0-9]+")
    symbol_words: ClassVar[str] = "BASE/QUOTE in capitals, such as BTC/USDT"
    #: How often each kind of event comes.
    mix: ClassVar[Mapping[str, int]] = MIX
    #: What it trades unless it is told.
    symbols: ClassVar[Sequence[str]] = PAIRS
    #: Whether it pings its clients.
    pings: ClassVar[bool] = True
    #: A connection is dropped that has had no subscription so long after it opened, or on which neither side sent anything for so long.
    unused_timeout_s: ClassVar[float] = inf
    silence_timeout_s: ClassVar[float] = inf
    #: And one on which nothing but the protocol's pings and pongs went to the client for so long.
    quiet_timeout_s: ClassVar[float] = inf
    #: And one whose client sends more than so many messages within a second.
    most_messages_per_s: ClassVar[float] = inf
    #: Faults that it cannot have, and why.
    meaningless: ClassVar[Mapping[str, str]] = {}
    #: The body of an answer to whoever asks too often over REST.
    too_often: ClassVar[str] = "{}"

    def __init__(self, symbols: Sequence[str], seed: int, faults: Faults, api_key: str = "key", secret: str = "secret") -> None:
        self.api_key, self.secret = api_key, secret
        self.trading = Trading(symbols, seed, self.native, self.mix)
        self.account = self.opened_account(seed)
        self._account_events: list[AccountEvent] = []
        self.faults = faults
        #: How often clients met each of its limits.
        self.limits: Counter[str] = Counter()
        self.by_native = {market.native: market for market in self.trading.markets.values()}
        self._openings = {market: _book_of(market) for market in self.by_native.values()}
        self._stale_answers: Counter[Market] = Counter()
        for market in self.by_native.values():
            market.move()  # So that the opening book is older than any push.

    @classmethod
    @abstractmethod
    def native(cls, symbol: str) -> str:
        """What the exchange calls a unified symbol."""

    @staticmethod
    def dialect(headers: Mapping[str, str]) -> str:
        """In which of its forms the exchange speaks to whoever sends ``headers``."""
        return ""

    @classmethod
    @abstractmethod
    def kind_of(cls, channel: str) -> str:
        """The kind of event that a channel pushes."""

    def heard(self, topic: Topic) -> Sequence[str]:
        """The symbols whose events a subscription brings."""
        return tuple(self.trading.markets) if topic.symbol == EVERY else (topic.symbol,)

    @abstractmethod
    def push(self, topic: Topic, event: Event, now_ms: int, dialect: str = "") -> Message:
        """The push of an event to the subscribers of ``topic`` who are spoken to in ``dialect``."""

    def whole_push(self, topic: Topic, event: Event, now_ms: int, dialect: str = "") -> Message | None:
        """The same as a whole book, on channels that can say so."""
        return None

    def bodyless(self, topic: Topic, now_ms: int) -> Message:
        """A push to the subscribers of ``topic`` that says nothing. Not asked for where the fault has no meaning."""
        raise NotImplementedError

    @abstractmethod
    def reply(self, text: str, client: Client, now_ms: int) -> Reply:
        """The reply to one frame of a client."""

    @classmethod
    @abstractmethod
    def recorded_frame(cls, raw: bytes) -> Recorded | None:
        """What a recorded frame is, None if it belongs to no subscription."""

    @classmethod
    @abstractmethod
    def recorded_book(cls, path: str, query: Mapping[str, str]) -> str | None:
        """The pair whose book a REST request asks for, None if it is another request."""

    @abstractmethod
    def get(self, path: str, query: Mapping[str, str], now_ms: int, dialect: str = "") -> Answer:
        """The answer to one REST request."""

    def opened_account(self, seed: int) -> Account:
        """The account of whoever has the key."""
        return SpotAccount(self.trading.markets, seed)

    def clock_ms(self, now_ms: int) -> int:
        """What its clock shows."""
        return now_ms + int(self.faults.amount("skew") * 1000)

    def next(self, now_ms: int) -> Event:
        """What happens next on the markets; the account's orders are filled by it."""
        event = self.trading.next(now_ms)
        if event.kind == "orderbook" and self.account.has_open(event.market.symbol):
            self.tell(self.account.react(event.market, self.clock_ms(now_ms)))
        return event

    def trade(self, now_ms: int) -> None:
        """Let the account do something by itself."""
        self.tell(self.account.trade(self.clock_ms(now_ms)))

    def tell(self, events: Iterable[AccountEvent]) -> None:
        """The account's clients will be told with the next ``take_pushes``."""
        self._account_events += events

    @property
    def has_pushes(self) -> bool:
        """Whether anything happened to the account since ``take_pushes``."""
        return bool(self._account_events)

    def take_pushes(self, clients: Iterable[Client], now_ms: int) -> list[PrivatePush]:
        """What happened to the account since the last call, in order, as each of ``clients`` is told of it."""
        events, self._account_events = self._account_events, []
        if self.faults.amount("quiet-private"):
            self.faults.counts["quiet-private"] += len(events)
            return []
        clock_ms, told = self.clock_ms(now_ms), list(clients)
        return [
            PrivatePush(client, channel, event, message)
            for event in events
            for client in told
            for channel, message in self.private_pushes(event, client, clock_ms)
        ]

    def private_pushes(self, event: AccountEvent, client: Client, clock_ms: int) -> Iterable[tuple[str, Message]]:
        """The channels on which a client is told of an account's event, and how: none that it is not subscribed to."""
        return ()

    def admit(self, client: Client, query: Mapping[str, str], now_ms: int) -> Answer | None:
        """What whoever opens a WebSocket with ``query`` in its address is turned away with, None if he is let in."""
        return None

    def greeting(self, client: Client) -> Sequence[Message]:
        """What a client is told before it says anything."""
        return ()

    def dismiss(self, client: Client) -> None:
        """A client that was let in is gone."""

    def has_outlived(self, client: Client, now_ms: int) -> bool:
        """Whether a client's connection goes on only by mistake, because what it proved has lapsed long ago."""
        return False

    def seize(self, symbol: str, text: str, now_ms: int) -> None:
        """Close a position of the account against its owner's will. Not asked for where the fault has no meaning. Raises OrderRefused."""
        raise NotImplementedError

    def drop_keys(self) -> None:
        """Every listen key ends, in silence. Not asked for where the fault has no meaning."""
        raise NotImplementedError

    def rest(self, request: Request, now_ms: int) -> Answer:
        """The answer to any REST request; what follows from it for the account's clients comes with ``take_pushes``."""
        if request.method not in ("GET", "HEAD"):
            return Answer(405, "{}")
        return self.get(request.path, request.parameters, self.clock_ms(now_ms), self.dialect(request.headers))

    def rest_book(self, market: Market) -> Book:
        """The book that REST shows: that of now, or under ``stale`` that of before the first push."""
        if self._stale_answers[market] < self.faults.amount("stale"):
            self._stale_answers[market] += 1
            self.faults.counts["stale"] += 1
            return self._openings[market]
        return _book_of(market)


def _book_of(market: Market) -> Book:
    return Book(market.update_id, *market.ranked())
