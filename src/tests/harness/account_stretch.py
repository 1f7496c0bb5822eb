"""A stretch of what a simulated exchange sends the owner of an account, the same for whoever reads it, and a feed that does.

The exchange is asked with the requests of the venue's own codec, and checks every signature. Every stretch has a place where the connection
is cut while the account goes on, everything is subscribed anew, and REST is asked what was missed while frames come already.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from itertools import count
from typing import Any, NamedTuple, cast

from infrastructure.account import Account
from infrastructure.account_api import RestCall, SignedCall
from infrastructure.canonical import EventDigest, canonical
from infrastructure.clock import Clock
from infrastructure.events import AccountState, MessageType
from infrastructure.exchanges import VENUES
from infrastructure.networking.websocket.access import Access
from infrastructure.networking.websocket.handlers import PrivateWebSocketHandler
from infrastructure.networking.websocket.pipeline import Pipeline
from infrastructure.networking.websocket.reconciler import Reconciler
from infrastructure.networking.websocket.strategies import strategy_set
from infrastructure.private_session import PrivateSession
from infrastructure.session import Emission
from infrastructure.simulator import EXCHANGES
from infrastructure.simulator.accounts import DELEVERAGING, LIQUIDATION
from infrastructure.simulator.exchange import Client, Exchange, Message, Request
from infrastructure.simulator.faults import Faults
from infrastructure.simulator.market import OPENED_MS
from infrastructure.venue import ALL, Acknowledgement, PrivateCodec
from tests.harness import canary
from tests.harness.account_scene import assert_same_balances, assert_same_orders, assert_same_positions
from tests.harness.variants import Variant

SEED = 5
ROUNDS = 60
#: Of the rounds: before which the connection is cut, before which there is another, and for how many of them REST takes its time.
CUT, AGAIN, ASKED = 25, 30, 4
#: Positions are taken from the account at these.
SEIZED = range(5, ROUNDS, 5)
#: In the place of a channel: all of them at once.
EVERY_CHANNEL = "every channel"


class Begun(NamedTuple):
    """A connection is open, and signed subscriptions are on their way."""


class Confirmed(NamedTuple):
    """The venue has agreed to every one of them."""

    now_ms: int


class Asked(NamedTuple):
    """REST is asked for the account, as it was in that round."""

    number: int
    now_ms: int


class Answered(NamedTuple):
    """What REST says has come."""


class Cut(NamedTuple):
    """The connection is lost."""


Step = bytes | Begun | Confirmed | Asked | Answered | Cut


class AccountStretch(NamedTuple):
    """What the owner of an account gets of ``channels``, in order; ``told`` counts the pushes. ``state`` is the exchange's at its end.

    ``channel`` is what the stretch was asked for by.
    """

    channel: str
    channels: tuple[str, ...]
    symbols: tuple[str, ...]
    instruments: bytes
    steps: tuple[Step, ...]
    told: int
    state: dict[str, Any]

    @property
    def frames(self) -> int:
        """How many of the steps are frames."""
        return sum(isinstance(step, bytes) for step in self.steps)


class AccountOutcome(NamedTuple):
    """What was made of a stretch: events, and the account that they left behind; nothing in it says which architecture it was."""

    counts: dict[str, int]
    sha256: str
    account: tuple[bytes, ...]
    frames: tuple[int, ...]
    events: str


class Maker:
    """One exchange, and one connection of its account's owner to it at a time."""

    def __init__(self, name: str, channel: str) -> None:
        exchange_type = EXCHANGES[name]
        self.symbols = tuple(exchange_type.symbols[:2])
        self.exchange = exchange_type(self.symbols, SEED, Faults((), SEED), canary.KEY, canary.SECRET)
        self.now_ms = OPENED_MS
        self.told = 0
        public = VENUES[name].fresh()
        self._dialect = self.exchange.dialect(public.headers)
        self.instruments = self._asked(RestCall("GET", public.instruments_path))
        public.symbols.load(public.codec.decode_instruments(self.instruments))
        self.venue = public.of_account(canary.credentials())
        self._codec = cast(PrivateCodec, self.venue.codec)
        if self._codec.identity_call is not None:
            self._codec.identify(self._asked(self._codec.identity_call, self._codec))
        self.channels = tuple(self.venue.channels) if channel == EVERY_CHANNEL else (channel,)
        self._client = Client()

    def subscribe(self) -> Iterator[bytes]:
        """A new connection asks for the channels: answers."""
        self._client = Client(dialect=self._dialect)
        assert self.venue.private is not None
        keys, query = self.venue.private.listen_keys, {}
        if keys is not None:
            query[keys.key_name] = self._codec.decode_listen_key(self._asked(keys.create, self._codec)).reveal()
        assert self.exchange.admit(self._client, query, self.now_ms) is None
        next_id = count(1).__next__
        for channel in self.channels:
            begun = set(self._client.topics)
            for request in self._codec.subscription_requests("subscribe", channel, [ALL], self.now_ms // 1000, next_id):
                reply = self.exchange.reply(json.dumps(request.message), self._client, self.now_ms)
                self._client.topics.update(reply.begun)
                yield from (_raw(answer) for answer in (reply.answer, *reply.more) if answer is not None)
            assert self._client.topics > begun, f"the simulated {self.venue.name} has no {channel}"

    def happen(self, number: int) -> Iterator[bytes]:
        """The account does something, and the markets do something to it; pushes of it are what the channels have."""
        for _ in range(3):
            self.now_ms += 40
            self.exchange.next(self.now_ms)
            self.exchange.trade(self.now_ms)
            yield from self._pushes()
        if number in SEIZED:
            yield from self.seize(LIQUIDATION if number % 2 else DELEVERAGING)

    def state(self) -> dict[str, Any]:
        """The account, as the exchange shows it."""
        return self.exchange.account.state()

    def seize(self, text: str) -> Iterator[bytes]:
        """The exchange takes a position away, if there is one; pushes of it."""
        held = [symbol for symbol, its in self.state()["positions"].items() if its["size"] != "0"]
        if held:
            self.exchange.seize(held[0], text, self.now_ms)
        yield from self._pushes()

    def _pushes(self) -> Iterator[bytes]:
        for push in self.exchange.take_pushes([self._client], self.now_ms):
            self.told += 1
            yield _raw(push.message)

    def _asked(self, call: RestCall, codec: PrivateCodec | None = None) -> bytes:
        signed = codec.signed(call, self.now_ms) if codec else SignedCall(call.method, call.path, "", {}, "")
        return _answer(self.exchange, signed, VENUES[self.exchange.name].headers, self.now_ms)


@cache
def account_stretch(venue: str, channel: str) -> AccountStretch:
    """The stretch of one private channel of a venue, or of EVERY_CHANNEL."""
    maker = Maker(venue, channel)
    steps = tuple(_steps(maker))
    return AccountStretch(channel, maker.channels, maker.symbols, maker.instruments, steps, maker.told, maker.state())


@cache
def _exchange_of(venue: str, channel: str, asked: Asked) -> Exchange:
    """The exchange as it was when REST was asked: the same history once more, up to there."""
    maker = Maker(venue, channel)
    assert asked in _steps(maker)
    return maker.exchange


def _steps(maker: Maker) -> Iterator[Step]:
    is_open = False
    for number in range(ROUNDS):
        if number in (0, AGAIN):
            yield Begun()
            yield from maker.subscribe()
            yield Confirmed(maker.now_ms)
            is_open = True
        if number in (1, AGAIN + 1):
            yield Asked(number, maker.now_ms)
        if number in (1 + ASKED, AGAIN + 1 + ASKED):
            yield Answered()
        if number == CUT:
            yield Cut()
            is_open = False
        for frame in maker.happen(number):
            if is_open:
                yield frame
            else:
                maker.told -= 1


class AccountFeed(Pipeline):
    """The frames of an account on their way to ``told``, without a socket: what AccountStreams has, but for connections."""

    def __init__(self, made: AccountStretch, venue: str, variant: Variant, told: Callable[[Any], None]) -> None:
        public = VENUES[venue].fresh()
        public.symbols.load(public.codec.decode_instruments(made.instruments))
        described = public.of_account(canary.credentials())
        names = (method.removeprefix("_") for method in PrivateWebSocketHandler.event_methods.values())
        self._made = made
        self.private = PrivateSession(described, on_answer=self._agreed, reconciles=True)
        for channel in made.channels:
            self.private.readmit(channel, ALL)
        super().__init__(
            self.private,
            variant.architecture,
            handler=PrivateWebSocketHandler(None, None, **dict.fromkeys(names, told)),
            strategies=strategy_set(described),
            adapted=variant.adapted,
        )
        self.lane = self._add_lane()
        self._truth: Exchange | None = None
        self._now_ms = OPENED_MS
        self._answer: tuple[Any, ...] = ()
        codec = cast(PrivateCodec, described.codec)
        assert public.private is not None
        access = Access(venue, public.private, codec, self, Clock(lambda: self._now_ms * 1_000_000, 0))
        self._reconciler = Reconciler(access, self.private, codec, lambda: made.symbols)

    async def take(self, step: Step) -> None:
        """What happens next to the feed."""
        if isinstance(step, bytes):
            self.lane.deliver(step)
        elif isinstance(step, Begun):
            self.lane.call("begin", self.private.begin)
        elif isinstance(step, Confirmed):
            self._now_ms = step.now_ms
            self.lane.call("confirm", self.private.confirm)
            self._reconciler.begin()
        elif isinstance(step, Asked):
            self._now_ms = step.now_ms
            self._truth = _exchange_of(self.venue.name, self._made.channel, step)
            await self.drain()  # What is asked depends on what is known.
            self._answer = await self._reconciler.snapshot(), self.private.epoch
        elif isinstance(step, Answered):
            answer = self._answer
            self.lane.call("reconcile", lambda: self.private.reconcile(*answer))
            self._reconciler.verified(self._now_ms)
        else:
            self._reconciler.interrupted()
            self.lane.call("cut", self.private.disconnect)

    async def get(self, path: str, query: Mapping[str, str]) -> bytes:
        """As RestInterface.get; nobody asks for the time of an exchange whose clock is right."""
        raise NotImplementedError

    async def send(self, sign: Callable[[], SignedCall]) -> bytes:
        """As RestInterface.send."""
        assert self._truth is not None
        return _answer(self._truth, sign(), self.venue.headers, self._now_ms)

    async def close(self) -> None:
        """Nothing is open."""

    def _agreed(self, answer: Acknowledgement) -> list[tuple[str, str]]:
        named = {answer.channel, *answer.payload}
        return [(channel, ALL) for channel in self._made.channels if channel in named and answer.error is None]


async def read(made: AccountStretch, venue: str, variant: Variant, switch_every: int = 0) -> AccountOutcome:
    """Run a stretch through a feed of ``variant``; every ``switch_every`` frames the architecture changes (0: never).

    What the channels tell of the account is at the end as the exchange has it, to the last digit.
    """
    digest = EventDigest()
    feed = AccountFeed(made, venue, variant, digest.add)
    frames, chosen = 0, variant.architecture
    for step in made.steps:
        if isinstance(step, bytes):
            if switch_every and frames and frames % switch_every == 0:
                chosen = chosen.other
                feed.switch(chosen)
            frames += 1
        await feed.take(step)
    await feed.drain()
    assert feed.accounting.is_balanced and feed.accounting.frames.in_flight == 0, feed.accounting
    assert feed.switches == ((frames - 1) // switch_every if switch_every else 0)
    account = feed.private.account
    assert account.state is AccountState.LIVE
    for kind in {feed.venue.channels[channel] for channel in made.channels} & _CHECKS.keys():
        _CHECKS[kind](made.state, account)
    return _outcome(feed, account, digest)


_CHECKS: Mapping[MessageType, Callable[[dict[str, Any], Account], None]] = {
    MessageType.ORDER: assert_same_orders,
    MessageType.BALANCE: assert_same_balances,
    MessageType.POSITION: assert_same_positions,
}


def _outcome(feed: AccountFeed, account: Account, digest: EventDigest) -> AccountOutcome:
    frames = feed.accounting.frames
    known: tuple[Emission, ...] = (*account.orders.values(), *account.balances.values(), *account.positions.values(), *account.fills)
    return AccountOutcome(
        digest.counts,
        digest.sha256,
        tuple(canonical(event) for event in known),
        (frames.received, frames.delivered, frames.control, frames.rejected, frames.shed, frames.in_flight),
        repr(feed.accounting.events),
    )


def _answer(exchange: Exchange, call: SignedCall, headers: Mapping[str, str], now_ms: int) -> bytes:
    answer = exchange.rest(Request(call.method, call.path, call.query, {**headers, **call.headers}, call.body.encode()), now_ms)
    assert answer.status == 200, answer
    return answer.body.encode()


def _raw(message: Message) -> bytes:
    return message.encode() if isinstance(message, str) else message
