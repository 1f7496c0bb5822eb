"""Access to an account: requests signed at the venue's time, and the one owner of its listen key."""

import asyncio
import random
from collections.abc import Awaitable, Callable

from infrastructure.account_api import ListenKeys, RefusalKind, RestCall
from infrastructure.clock import Clock
from infrastructure.credentials import Secret
from infrastructure.errors import AuthenticationFailed, DecodeError, KeyExpired, RequestFailed, TickrailError
from infrastructure.networking.websocket.link import RestInterface
from infrastructure.venue import PrivateCodec, PrivateVenue

#: Tells the user of something that failed: kind and text.
Report = Callable[[str, str], None]

#: Renewals come this much earlier than they must, so that those of many keys do not come together.
RENEWAL_JITTER = 0.2
#: After a renewal that failed, the next comes within this.
RETRY_S = 30.0
#: A key that could not be renewed is replaced when no more than this share of its life is left.
LAST_SHARE = 0.2


class Access:
    """What is asked of a venue in an account's name.

    The venue's time is taken for ours until it refuses a request for its time; then it is asked, once for each request that was refused.
    """

    def __init__(self, venue_name: str, private: PrivateVenue, codec: PrivateCodec, rest: RestInterface, clock: Clock) -> None:
        self._venue_name = venue_name
        self._private = private
        self._codec = codec
        self._rest = rest
        self._clock = clock
        self._is_identified = codec.identity_call is None
        #: How far the venue's clock is ahead of ours.
        self.offset_ms = 0

    def __repr__(self) -> str:
        return f"<Access {self._venue_name} offset_ms={self.offset_ms}>"

    def now_ms(self) -> int:
        """The venue's time, as far as it is known."""
        return self._clock.now_ns() // 1_000_000 + self.offset_ms

    async def ask(self, call: RestCall) -> bytes:
        """The answer to a signed request. Raises AuthenticationFailed, KeyExpired or RequestFailed."""
        try:
            return await self._send(call)
        except RequestFailed as error:
            if self._kind_of(error) is not RefusalKind.CLOCK:
                raise self._meant(error) from None
        await self.measure()
        try:
            return await self._send(call)
        except RequestFailed as error:
            raise self._meant(error) from None

    async def measure(self) -> None:
        """Learn how far the venue's clock is from ours. Raises RequestFailed."""
        asked_ns = self._clock.now_ns()
        call = self._private.time_call
        raw = await self._rest.get(call.path, dict(call.query))
        try:
            venue_ms = self._codec.decode_server_time(raw)
        except DecodeError as error:
            raise RequestFailed(call.path, str(error)) from None
        self.offset_ms = venue_ms - (asked_ns + self._clock.now_ns()) // 2_000_000

    async def identify(self) -> None:
        """Learn whose account it is, where the venue wants to be told. Raises as ``ask``."""
        call = self._codec.identity_call
        if call is None or self._is_identified:
            return
        raw = await self.ask(call)
        try:
            self._codec.identify(raw)
        except DecodeError as error:
            raise RequestFailed(call.path, str(error)) from None
        self._is_identified = True

    def judged(self, words: str, code: str | None) -> RefusalKind:
        """What the refusal of a subscription means."""
        return self._codec.refusal(words, code)

    async def _send(self, call: RestCall) -> bytes:
        return await self._rest.send(lambda: self._codec.signed(call, self.now_ms()))

    def _kind_of(self, error: RequestFailed) -> RefusalKind:
        return RefusalKind.OTHER if error.status is None else self._codec.refusal(error.words, None, error.status)

    def _meant(self, error: RequestFailed) -> TickrailError:
        kind = self._kind_of(error)
        if kind is RefusalKind.CREDENTIALS:
            return AuthenticationFailed(self._venue_name, error.words, str(error.status))
        if kind is RefusalKind.CLOCK:
            return AuthenticationFailed(self._venue_name, f"{error.words}, by the venue's own clock", str(error.status))
        if kind is RefusalKind.KEY:
            return KeyExpired(self._venue_name, error.words)
        return error


class ListenKey:
    """The listen key of one account: created when it is needed, and renewed as long as it is used.

    ``fails`` is awaited after each renewal that failed, if the venue no longer knows the key or only the last part of its life is left:
    whoever uses it should take another. A key is never deleted, so none can be taken from under a connection: it lapses by itself.
    """

    def __init__(
        self,
        venue_name: str,
        keys: ListenKeys,
        access: Access,
        codec: PrivateCodec,
        report: Report,
        fails: Callable[[KeyExpired], Awaitable[None]],
        chance: random.Random,
    ) -> None:
        self._venue_name = venue_name
        self._keys = keys
        self._access = access
        self._codec = codec
        self._report = report
        self._fails = fails
        self._chance = chance
        self._key: Secret | None = None
        self._ends_s = 0.0
        self._keeper: asyncio.Task[None] | None = None
        #: How many keys were created so far, and how often one was renewed.
        self.created = 0
        self.renewed = 0

    def __repr__(self) -> str:
        return f"<ListenKey created={self.created} renewed={self.renewed}>"

    @property
    def name(self) -> str:
        """What the address calls it."""
        return self._keys.key_name

    async def get(self) -> Secret:
        """The key to connect with. Raises as ``Access.ask``."""
        if self._key is None or self.left_s <= 0:
            await self.create()
        assert self._key is not None
        return self._key

    async def create(self) -> None:
        """Create a new key, and use it from now on. Raises as ``Access.ask``."""
        raw = await self._access.ask(self._keys.create)
        try:
            key = self._codec.decode_listen_key(raw)
        except DecodeError as error:
            raise RequestFailed(self._keys.create.path, str(error)) from None
        self._key = key
        self.created += 1
        self._ends_s = _now_s() + self._keys.life_s
        if self._keeper is None or self._keeper.done():
            self._keeper = asyncio.get_running_loop().create_task(self._keep())

    def drop(self) -> None:
        """The key is not to be used for another connection."""
        self._key = None

    async def end(self, key: Secret, error: KeyExpired) -> None:
        """The venue does not know ``key`` any more, and nobody can say since when."""
        if key is self._key:
            self._ends_s = _now_s()
            await self._fails(error)

    def close(self) -> None:
        """Renew it no more."""
        if self._keeper is not None:
            self._keeper.cancel()

    @property
    def left_s(self) -> float:
        """How long the key lives without another renewal."""
        return self._ends_s - _now_s()

    async def _keep(self) -> None:
        wait_s = self._pause_s()
        while True:
            await asyncio.sleep(wait_s)
            key = self._key
            if key is None:
                return
            failure = await self._renewed(key)
            if self._key is not key:
                wait_s = self._pause_s()
            elif failure is None:
                self.renewed += 1
                self._ends_s = _now_s() + self._keys.life_s
                wait_s = self._pause_s()
            else:
                left_s = self.left_s
                self._report("listen key", f"not renewed, {max(left_s, 0.0):.0f} s before it ends: {failure}")
                if isinstance(failure, KeyExpired):
                    await self.end(key, failure)
                elif left_s <= self._keys.life_s * LAST_SHARE:
                    await self._fails(KeyExpired(self._venue_name, f"it could not be renewed: {failure}"))
                wait_s = self._chance.uniform(RETRY_S / 2, RETRY_S)

    async def _renewed(self, key: Secret) -> TickrailError | None:
        """What kept the key from being renewed."""
        try:
            await self._access.ask(self._keys.renew(key))
        except TickrailError as error:
            return error
        return None

    def _pause_s(self) -> float:
        return self._keys.renew_s * (1.0 - self._chance.uniform(0.0, RENEWAL_JITTER))


def _now_s() -> float:
    return asyncio.get_running_loop().time()
