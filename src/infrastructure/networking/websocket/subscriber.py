"""Asks a venue for streams over whatever connection is open, and tells whoever waits what became of it."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from infrastructure.errors import SettingsError, SubscriptionRefused, SubscriptionUnanswered, TickrailError
from infrastructure.networking.websocket.connection import Connection
from infrastructure.networking.websocket.strategies.interfaces import SubscriptionAction, SubscriptionStrategy
from infrastructure.networking.websocket.subscriptions import RequestIds, Stage, Subscriptions, without_option
from infrastructure.venue import Acknowledgement, SubscriptionRequest, Venue

#: Channel, with its option, and unified symbol.
Key = tuple[str, str]
Waiters = Sequence[asyncio.Future[None]]

#: How often a subscription that got no answer is asked for, before whoever wants it is told.
ASK_LIMIT = 2
#: How often answers are looked for, in parts of the time they may take.
CHECK_SHARE = 0.2


class Agreed(msgspec.Struct, frozen=True):
    """What became of a request: the streams that the venue agreed to send, without options; not final where it is asked again in parts."""

    streams: tuple[Key, ...]
    is_final: bool


class Subscriber:
    """The subscriptions of one connection, and of those that come after it: sent, answered and waited for.

    With a ``foreign`` strategy its messages are sent; they are not numbered, and their answers are its own affair, so nobody waits for
    them. ``connection`` gives the present connection, ``turn`` is awaited before each message, ``now_s`` dates it; ``tell`` is handed what
    nobody may be waiting for: error and channel.
    """

    def __init__(
        self,
        venue: Venue,
        foreign: SubscriptionStrategy | None,
        timeout_s: float,
        connection: Callable[[], Connection | None],
        turn: Callable[[], Awaitable[None]],
        next_id: RequestIds,
        now_s: Callable[[], int],
        tell: Callable[[TickrailError, str], None],
    ) -> None:
        self._venue = venue
        self._foreign = foreign
        self._timeout_s = timeout_s
        self._connection = connection
        self._turn = turn
        self._next_id = next_id
        self._now_s = now_s
        self._tell = tell
        self._subscriptions = Subscriptions(venue.name, timeout_s, venue.limits.streams_per_request)
        #: Held by whoever sends: what one has not come to yet, another must not send as well.
        self._sending = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        #: Subscriptions that were asked for on the present connection; where ended ones count, they are among them.
        self._used = 0
        #: By what was asked, channel and symbol: who waits for its answer.
        self._waiters: dict[tuple[SubscriptionAction, Key], list[asyncio.Future[None]]] = {}
        self._unanswered: dict[Key, int] = {}
        self._check: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return repr(self._subscriptions)

    @property
    def wanted(self) -> set[Key]:
        """Everything that is wanted, however far it has come."""
        return set(self._subscriptions.wanted())

    @property
    def stages(self) -> Counter[Stage]:
        """How many streams are how far."""
        return self._subscriptions.stages

    def want(self, keys: Collection[Key]) -> Waiters:
        """Add streams; returns what to wait for, for those that the venue has not agreed to yet. ``ask`` must follow."""
        for channel, symbol in keys:
            self._subscriptions.want(channel, [symbol])
        unsettled = [key for key in keys if self._subscriptions.stage(*key) in (Stage.WANTED, Stage.ASKED)]
        return self._wait_for(SubscriptionAction.SUBSCRIBE, unsettled)

    async def ask(self) -> None:
        """Ask for every stream that is wanted and has not been asked for on this connection; without one, the next asks for all."""
        if not self._is_open:
            return
        async with self._sending:
            for channel, symbols in self._subscriptions.to_ask():
                await self._request(SubscriptionAction.SUBSCRIBE, channel, symbols)

    async def end(self, keys: Collection[Key]) -> None:
        """Ask for the end of streams and wait for the answers; raises the first error."""
        by_channel: dict[str, list[str]] = {}
        for channel, symbol in keys:
            ended = SettingsError(f"{channel} of {symbol} was ended meanwhile")
            self._settle(SubscriptionAction.SUBSCRIBE, (channel, symbol), ended)
            if without_option(channel) in self._venue.shared_channels and {its for its in self.wanted if its[0] == channel} - set(keys):
                self._subscriptions.release(channel, [symbol])
            elif self._subscriptions.drop(channel, [symbol]):
                by_channel.setdefault(channel, []).append(symbol)
        waiters: list[asyncio.Future[None]] = []
        async with self._sending:
            for channel, symbols in by_channel.items():
                if self._is_open:
                    waiters += self._wait_for(SubscriptionAction.UNSUBSCRIBE, [(channel, symbol) for symbol in symbols])
                await self._request(SubscriptionAction.UNSUBSCRIBE, channel, symbols)
        await answers(waiters)

    async def renew(self, channel: str, symbol: str) -> None:
        """End a stream and ask for it again, without waiting; ``channel`` is without its option."""
        async with self._sending:
            for name in self.names_of(channel, symbol):
                if self._subscriptions.drop(name, [symbol]):
                    await self._request(SubscriptionAction.UNSUBSCRIBE, name, [symbol])
                self._subscriptions.want(name, [symbol])
        await self.ask()

    @property
    def agreed(self) -> set[Key]:
        """What the venue has agreed to send, or sends, on the present connection."""
        return {
            (channel, symbol)
            for channel, symbol in self._subscriptions.wanted()
            if self._subscriptions.stage(channel, symbol) in (Stage.ACKNOWLEDGED, Stage.FLOWING)
        }

    def settled(self) -> set[Key]:
        """The same, channels without their options."""
        return {(without_option(channel), symbol) for channel, symbol in self.agreed}

    @property
    def is_waiting(self) -> bool:
        """Whether anything that was asked for has no answer yet, or is about to be asked for."""
        return self._subscriptions.is_waiting or self._sending.locked()

    def take_over(self, other: "Subscriber") -> None:
        """Carry what ``other`` carried, and no more; whoever waits for an answer there waits for it here."""
        wanted = other.wanted
        for channel, symbol in wanted - self.wanted:
            self._subscriptions.want(channel, [symbol])
        for (action, key), waiters in list(other._waiters.items()):
            if action is SubscriptionAction.SUBSCRIBE and key in wanted - self.agreed:
                self._waiters.setdefault((action, key), []).extend(waiters)
            else:
                other._settle(action, key)
        other._waiters.clear()
        self._soon(self.end(self.wanted - wanted))
        self._soon(self.ask())

    def names_of(self, channel: str, symbol: str) -> list[str]:
        """``channel``, named without its option, as it is wanted for ``symbol``: with each option; empty if it is not."""
        return [name for name, wanted in self._subscriptions.wanted() if wanted == symbol and without_option(name) == channel]

    def answered(self, answer: Acknowledgement) -> "Agreed | None":
        """The venue answered; None if it did not answer to anything asked here."""
        found = self._subscriptions.acknowledge(answer)
        if found is None:
            return None
        if found.is_to_be_split:
            self._soon(self.ask())
            return Agreed((), is_final=False)
        action = SubscriptionAction(found.request.action)
        agreed = []
        for key in [(found.request.channel, symbol) for symbol in found.symbols]:
            stage = self._subscriptions.stage(*key)
            is_agreed = action is SubscriptionAction.SUBSCRIBE and stage in (Stage.ACKNOWLEDGED, Stage.FLOWING)
            # Of a stream that was asked for anew meanwhile this answer says nothing.
            if is_agreed or stage is None or action is SubscriptionAction.UNSUBSCRIBE:
                self._unanswered.pop(key, None)
                self._settle(action, key, found.error)
            if is_agreed:
                agreed.append((without_option(key[0]), key[1]))
        return Agreed(tuple(agreed), is_final=True)

    def flowing(self, channel: str, symbol: str) -> None:
        """The first data of a stream came on this connection."""
        self._subscriptions.flowing(channel, symbol)

    def disconnected(self) -> None:
        """The connection is lost: what is wanted is to be asked for again, and what was to be ended has ended."""
        self._subscriptions.disconnected()
        self._unanswered.clear()
        self._used = 0
        for action, key in list(self._waiters):
            if self._subscriptions.stage(*key) is None:
                self._settle(action, key)

    def give_up(self, error: TickrailError) -> None:
        """There will be no connection any more."""
        for action, key in list(self._waiters):
            self._settle(action, key, error)

    def close(self) -> None:
        """Nobody need wait any longer."""
        for waiters in self._waiters.values():
            for waiter in waiters:
                waiter.cancel()
        if self._check is not None:
            self._check.cancel()
            self._check = None
        for task in self._tasks:
            task.cancel()

    @property
    def may_renew(self) -> bool:
        """Whether a stream can be asked for anew here: where an ended subscription keeps its place, there may be none left."""
        room = self.room
        return room is None or room > 0 or not self._venue.limits.is_used_up

    @property
    def room(self) -> int | None:
        """How many more streams may be subscribed on the present connection; None: any number."""
        limits = self._venue.limits
        if limits.subscriptions_per_connection is None:
            return None
        wanted = len(self._subscriptions.wanted())
        # What is wanted and has not been asked for will take a place as well.
        waiting = sum(len(symbols) for _, symbols in self._subscriptions.to_ask())
        taken = max(wanted, self._used + waiting) if limits.is_used_up else wanted
        return limits.subscriptions_per_connection - taken

    @property
    def _is_open(self) -> bool:
        connection = self._connection()
        return connection is not None and connection.is_open

    async def _request(self, action: SubscriptionAction, channel: str, symbols: Sequence[str]) -> None:
        """Send it, if there is a connection; otherwise the next one asks for all that is wanted then."""
        if self._foreign is None:
            for request in self._venue.codec.subscription_requests(action.value, channel, symbols, self._now_s(), self._next_id):
                await self._send([request.message], request)
            self._check_later()
            return
        messages = await self._foreign.create_subscription_messages(action, symbols, [channel])
        await self._send(messages, SubscriptionRequest(action.value, channel, tuple(symbols), {}))

    async def _send(self, messages: Sequence[Mapping[str, Any]], request: SubscriptionRequest) -> None:
        connection = self._connection()
        for message in messages:
            if connection is not None and connection.is_open:
                await self._turn()
            if connection is None or not connection.is_open:
                return
            still = self._still_wanted(request)
            if len(still) < len(request.symbols):
                # Some were ended while this waited for its turn: what nobody wants takes no place at the venue.
                if still:
                    await self._request(SubscriptionAction.SUBSCRIBE, request.channel, still)
                return
            connection.send_text(encoded(message))
        if request.action == SubscriptionAction.SUBSCRIBE.value:
            self._used += len(request.symbols)
        self._subscriptions.asked([request], asyncio.get_running_loop().time())

    def _still_wanted(self, request: SubscriptionRequest) -> Sequence[str]:
        """The symbols that ``request`` is still to be sent for; an end is sent in any case."""
        if request.action != SubscriptionAction.SUBSCRIBE.value:
            return request.symbols
        return [symbol for symbol in request.symbols if self._subscriptions.stage(request.channel, symbol) is Stage.WANTED]

    def _soon(self, sending: Coroutine[Any, Any, None]) -> None:
        """Send in a task of its own: for those who must only take note."""
        task = asyncio.get_running_loop().create_task(sending)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ask_again(self, action: SubscriptionAction, channel: str, symbols: Sequence[str]) -> None:
        async with self._sending:
            await self._request(action, channel, symbols)

    def _wait_for(self, action: SubscriptionAction, keys: Iterable[Key]) -> Waiters:
        if self._foreign is not None:
            return []
        loop = asyncio.get_running_loop()
        waiters = []
        for key in keys:
            waiter = loop.create_future()
            waiter.add_done_callback(_retrieved)
            self._waiters.setdefault((action, key), []).append(waiter)
            waiters.append(waiter)
        return waiters

    def _settle(self, action: SubscriptionAction, key: Key, error: TickrailError | None = None) -> None:
        for waiter in self._waiters.pop((action, key), []):
            if waiter.done():
                continue
            if error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(error)

    def _check_later(self) -> None:
        if self._check is None and self._subscriptions.is_waiting:
            self._check = asyncio.get_running_loop().call_later(self._timeout_s * CHECK_SHARE, self._check_answers)

    def _check_answers(self) -> None:
        self._check = None
        for request in self._subscriptions.overdue(asyncio.get_running_loop().time()):
            action = SubscriptionAction(request.action)
            # What was asked for otherwise meanwhile is no longer this request's business.
            stage = Stage.WANTED if action is SubscriptionAction.SUBSCRIBE else Stage.LEAVING
            keys = [key for key in _keys_of(request) if self._subscriptions.stage(*key) is stage]
            for key in keys:
                self._unanswered[key] = self._unanswered.get(key, 0) + 1
            again = [symbol for channel, symbol in keys if self._unanswered[channel, symbol] < ASK_LIMIT]
            if again:
                self._soon(self._ask_again(action, request.channel, again))
            given_up = [key for key in keys if key[1] not in again]
            if given_up:
                symbols = [symbol for _, symbol in given_up]
                error = SubscriptionUnanswered(self._venue.name, request.channel, symbols, self._timeout_s * ASK_LIMIT)
                self._tell(error, without_option(request.channel))
                for key in given_up:
                    del self._unanswered[key]
                    self._settle(action, key, error)
        self._check_later()


async def answers(waiters: Waiters) -> None:
    """Wait for all; raises the first error once every one has its answer. What was refused of one channel is one error."""
    if not waiters:
        return
    await asyncio.wait(waiters)
    refused: dict[str, list[SubscriptionRefused]] = {}
    for waiter in waiters:
        error = waiter.exception()
        if isinstance(error, SubscriptionRefused):
            refused.setdefault(error.channel, []).append(error)
        elif error is not None:
            raise error
    for first, *others in refused.values():
        symbols = dict.fromkeys(symbol for error in (first, *others) for symbol in error.symbols)
        words = dict.fromkeys(error.words for error in (first, *others))
        raise SubscriptionRefused(first.venue, first.channel, symbols, "; ".join(words), first.code)


def _retrieved(waiter: asyncio.Future[None]) -> None:
    """Whoever waited may have gone; its error has been told as an event as well."""
    if not waiter.cancelled():
        waiter.exception()


def _keys_of(request: SubscriptionRequest) -> list[Key]:
    return [(request.channel, symbol) for symbol in request.symbols]


def encoded(message: Mapping[str, Any]) -> str:
    """A message as the text that goes over the socket."""
    return msgspec.json.encode(message).decode()
