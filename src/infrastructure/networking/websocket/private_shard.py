"""The connection of an account and those that come after it: key, subscriptions, reconciliation, doubt."""

import asyncio
from collections.abc import Sequence

from infrastructure.account_api import RefusalKind
from infrastructure.credentials import Secret
from infrastructure.errors import (
    AuthenticationFailed,
    KeyExpired,
    RequestFailed,
    SubscriptionRefused,
    TickrailError,
)
from infrastructure.events import AccountState, Fill
from infrastructure.networking.address import with_query
from infrastructure.networking.websocket.access import Access, ListenKey
from infrastructure.networking.websocket.connection import Connection, Fact, Phase
from infrastructure.networking.websocket.lane import Lane
from infrastructure.networking.websocket.link import Loss, LossCause
from infrastructure.networking.websocket.reconciler import Reconciler
from infrastructure.networking.websocket.shard import Common, Owner, Shard, retrieved
from infrastructure.networking.websocket.strategies import strategy_set
from infrastructure.networking.websocket.subscriber import answers
from infrastructure.private_session import PrivateSession
from infrastructure.session import Emission
from infrastructure.venue import ALL

#: In which of its phases a connection of an account may be asked for streams.
_ASKING = (Phase.AUTHENTICATING, Phase.RECONCILING, Phase.LIVE)
#: A fill that REST knows and the stream has not brought after so long is taken for missed.
GRACE_S = 5.0


class PrivateShard(Shard):
    """All private channels of an account, over one connection.

    What the venue agreed to is not published before the account has been reconciled. Bad credentials are an end; a lapsed key leads to a
    new one. While it is live, the venue's list of fills is held against what has come, each ``account_check_s``.
    """

    def __init__(
        self,
        number: int,
        common: Common,
        owner: Owner,
        lane: Lane,
        session: PrivateSession,
        channels: Sequence[str],
        access: Access,
        reconciler: Reconciler,
        key: ListenKey | None,
    ) -> None:
        self._session = session
        self._access = access
        self._reconciler = reconciler
        self._key = key
        self._streams = [(channel, ALL) for channel in channels]
        self._failure: TickrailError | None = None
        #: The key that it connected with last, and what the venue had against it.
        self._used: Secret | None = None
        self._refusal: KeyExpired | None = None
        self._is_doubted = asyncio.Event()
        #: Done when the account is live for the first time.
        self.lived: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.lived.add_done_callback(retrieved)
        super().__init__(number, common, owner, strategy_set(session.venue), lane)

    def doubt(self) -> None:
        """Something of the account is not known, or may be missing: it has to be reconciled."""
        self._is_doubted.set()

    async def expire(self, error: KeyExpired) -> None:
        """The key of the connection has lapsed: the next one gets another."""
        connection = self.connection
        if connection is not None and connection.phase in _ASKING:
            self._failure = error
            connection.learn(Fact.EXPIRED)
            connection.abort(LossCause.EXPIRED)

    async def tell_of_key(self) -> None:
        """It has ended and another goes on: if the venue did not know its key any more, that one's has ended too."""
        if self._key is not None and self._used is not None and self._refusal is not None:
            await self._key.end(self._used, self._refusal)

    def stop(self, error: TickrailError) -> None:
        """As Shard.stop."""
        super().stop(error)
        if not self.lived.done():
            self.lived.set_exception(error)

    async def _live(self) -> Loss | TickrailError:
        self._failure = None
        loss = await super()._live()
        return self._failure or loss

    async def _address(self, url: str) -> str:
        await self._access.identify()
        if self._key is None:
            return url
        self._used = await self._key.get()
        return with_query(url, self._key.name, self._used.reveal())

    async def _ask(self, connection: Connection) -> None:
        """Subscribe, reconcile, and stay with it until the connection ends."""
        following = asyncio.create_task(self._follow(connection))
        end = asyncio.create_task(connection.end())
        try:
            await asyncio.wait([following, end], return_when=asyncio.FIRST_COMPLETED)
            if following.done():
                following.result()
        except TickrailError as error:
            self._failure = error
            if isinstance(error, AuthenticationFailed) and connection.is_open:
                connection.learn(Fact.REFUSED)
            elif isinstance(error, KeyExpired):
                if connection.is_open:
                    connection.learn(Fact.EXPIRED)
                if self._key is not None and self._carries:
                    self._key.drop()
            await connection.close()
        finally:
            following.cancel()
            end.cancel()

    async def _follow(self, connection: Connection) -> None:
        connection.learn(Fact.LOGIN)
        if self._carries:
            self.in_lane(PrivateSession.begin)
        await self._subscribe()
        if not connection.is_open:
            return  # Lost together with the last answer.
        connection.learn(Fact.CONFIRMED)
        self._reconciler.begin()
        self.has_asked.set()
        if self._carries:
            self.in_lane(PrivateSession.confirm)
        else:
            connection.learn(Fact.RECONCILED)  # Until it carries the streams, another connection is what the account is known by.
        while True:
            try:
                async with asyncio.timeout(self._common.settings.account_check_s):
                    await self._is_doubted.wait()
            except TimeoutError:
                if self._carries:
                    await self._check()
            else:
                await self._reconcile(connection)

    async def _subscribe(self) -> None:
        """Ask for every channel, and wait until the venue has agreed to all."""
        try:
            await self._agreed()
        except SubscriptionRefused as refusal:
            if self._access.judged(refusal.words, refusal.code) is not RefusalKind.CLOCK:
                raise self._meant(refusal) from None
            await self._access.measure()
            try:
                await self._agreed()
            except SubscriptionRefused as again:
                raise self._meant(again) from None

    async def _agreed(self) -> None:
        waiters = self.subscriber.want(self._streams)
        await self.subscriber.ask()
        await answers(waiters)

    def _meant(self, refusal: SubscriptionRefused) -> TickrailError:
        kind = self._access.judged(refusal.words, refusal.code)
        if kind is RefusalKind.KEY:
            self._refusal = KeyExpired(self._venue.name, refusal.words)
            return self._refusal
        if kind is RefusalKind.OTHER:
            return refusal
        return AuthenticationFailed(self._venue.name, refusal.words, refusal.code)

    async def _reconcile(self, connection: Connection) -> None:
        """Ask until it is answered; then nothing is missing, and the account is live."""
        session, chance, bound_s = self._session, self._common.chance, 1.0
        if connection.phase is Phase.LIVE:
            connection.learn(Fact.DOUBTED)
            self._reconciler.interrupted()
        if session.account.state is AccountState.OFFLINE:
            # Another connection has ended, whose place this one has taken.
            self.in_lane(PrivateSession.begin)
            await self.in_lane(PrivateSession.confirm)
        self._is_doubted.clear()
        while session.needs_reconciliation:
            epoch, asked_ms = session.epoch, self._access.now_ms()
            try:
                snapshot = await self._reconciler.snapshot()
            except RequestFailed as error:
                self.report("reconcile", str(error))
                await asyncio.sleep(error.retry_after_s or chance.uniform(0.0, bound_s))
                bound_s = min(2 * bound_s, self._common.reconnect.max_delay_s)
                continue
            await self.in_lane(PrivateSession.reconcile, snapshot, epoch)
            self._reconciler.verified(asked_ms)
        if not connection.is_open:
            return
        connection.learn(Fact.RECONCILED)
        connection.learn(Fact.DATA)
        if not self.lived.done():
            self.lived.set_result(None)

    async def _check(self) -> None:
        """Hold the venue's list of fills against what came; a stream that has missed one, without a cut, is mute."""
        asked_ms = self._access.now_ms()
        try:
            missed = await self._missed()
            if missed:
                # Perhaps they are on their way.
                await asyncio.sleep(GRACE_S)
                missed = [fill for fill in missed if not self._session.account.knows(fill)]
        except RequestFailed as error:
            self.report("check", str(error))
            return
        if not missed:
            self._reconciler.verified(asked_ms)
            return
        self.report("mute", f"the venue knows of {len(missed)} fills that its stream has not brought")
        if self.connection is not None:
            self.connection.abort(LossCause.SILENT)

    async def _missed(self) -> list[Fill]:
        return [fill for fill in await self._reconciler.fills() if not self._session.account.knows(fill)]

    @property
    def _carries(self) -> bool:
        """Whether it is this connection that the account is known by."""
        return self._owner.streams_of(self) is None

    def _lost(self, loss: Loss) -> list[Emission]:
        session, failure = self._session, self._failure
        if not self._carries:
            self.subscriber.disconnected()
            return []
        self._reconciler.interrupted()
        self.subscriber.disconnected()
        events = session.report("disconnected", str(loss), code=None if loss.code is None else str(loss.code))
        if isinstance(failure, KeyExpired):
            return [*events, *session.report("key expired", str(failure)), *session.expire(str(failure))]
        if isinstance(failure, AuthenticationFailed):
            return [*events, *session.refuse(str(failure))]
        return [*events, *session.disconnect()]

    def _give_up(self, error: TickrailError) -> None:
        super()._give_up(error)
        is_told = self._session.account.state is AccountState.REFUSED
        if isinstance(error, AuthenticationFailed) and self._carries and not is_told:
            self.in_lane(PrivateSession.refuse, str(error))
        if not self.lived.done():
            self.lived.set_exception(error)

    def _asking(self) -> Connection | None:
        connection = self.connection
        return connection if connection is not None and connection.phase in _ASKING else None

    def _now_s(self) -> int:
        return self._access.now_ms() // 1000
