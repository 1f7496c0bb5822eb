"""The private streams of a venue: an account, its connection and their wiring, beside the public streams and with a lane of their own."""

from collections.abc import Callable, Collection, Sequence
from typing import Protocol, cast

from infrastructure.account import Account
from infrastructure.clock import Clock
from infrastructure.errors import KeyExpired, TickrailError
from infrastructure.events import Architecture
from infrastructure.networking.websocket.access import Access, ListenKey
from infrastructure.networking.websocket.handlers import PrivateWebSocketHandler
from infrastructure.networking.websocket.pipeline import LaneType, Pipeline
from infrastructure.networking.websocket.private_shard import PrivateShard
from infrastructure.networking.websocket.reconciler import Reconciler
from infrastructure.networking.websocket.shard import Common, Shard
from infrastructure.networking.websocket.strategies import strategy_set
from infrastructure.networking.websocket.subscriber import Key
from infrastructure.networking.websocket.wiring import Paths
from infrastructure.private_session import PrivateSession
from infrastructure.venue import Acknowledgement, PrivateCodec, Venue


class AccountOwner(Protocol):
    """Whoever has an account's streams beside others."""

    def shard_changed(self) -> None:
        """The state of a connection is another one."""

    def account_gave_up(self, error: TickrailError) -> None:
        """The account's streams are not tried again."""


class AccountStreams(Pipeline):
    """Takes the private frames of one account to the user's callbacks, and keeps the account right.

    ``venue`` is one ``of_account``; ``channels`` are those that are subscribed.
    """

    def __init__(
        self,
        venue: Venue,
        channels: Sequence[str],
        owner: AccountOwner,
        architecture: Architecture,
        *,
        handler: PrivateWebSocketHandler,
        paths: Paths,
        adapted: bool,
        clock: Clock,
        lane_type: LaneType,
        high_water: int,
        worked: Callable[[int], None],
    ) -> None:
        assert venue.private is not None
        self._private = venue.private
        #: What ``of_account`` made.
        self._codec = cast(PrivateCodec, venue.codec)
        self._channels = tuple(channels)
        self._owner = owner
        self._high_water = high_water
        self._worked = worked
        self._account_session = PrivateSession(
            venue, on_answer=self._answered, on_flowing=self._flowing, reconciles=True, on_reconcile=self._doubted
        )
        self._shard: PrivateShard | None = None
        self._key: ListenKey | None = None
        super().__init__(
            self._account_session,
            architecture,
            handler=handler,
            strategies=strategy_set(venue),
            adapted=adapted,
            clock=clock,
            lane_type=lane_type,
            paths=paths,
        )
        self._add_lane(high_water=high_water, worked=worked)

    def __repr__(self) -> str:
        return f"<AccountStreams {self.venue.name} {self.account.state.value}>"

    @property
    def account(self) -> Account:
        """What is known of the account."""
        return self._account_session.account

    @property
    def shards(self) -> Sequence[Shard]:
        """Its connection; none before ``start``."""
        return () if self._shard is None else (self._shard,)

    def start(self, common: Common, symbols: Callable[[], Collection[str]]) -> None:
        """Begin to connect, as the public streams do with ``common``; ``symbols`` may have fills."""
        common = common._replace(session=self._account_session)
        access = Access(self.venue.name, self._private, self._codec, common.rest, common.clock)
        keys = self._private.listen_keys
        if keys is not None:
            self._key = ListenKey(self.venue.name, keys, access, self._codec, self._report, self._key_fails, common.chance)
        self._shard = PrivateShard(
            1,
            common,
            self,
            self._lanes[0],
            self._account_session,
            self._channels,
            access,
            Reconciler(access, self._account_session, self._codec, symbols),
            self._key,
            "" if keys is None else keys.key_name,
        )

    async def is_live(self) -> None:
        """Wait until the account is live for the first time; raises what keeps it from that."""
        assert self._shard is not None
        await self._shard.opened
        await self._shard.lived

    def stop(self, error: TickrailError) -> None:
        """Connect no more; ``error`` is for whoever waits."""
        if self._key is not None:
            self._key.close()
        for shard in self.shards:
            shard.stop(error)

    def shard_changed(self) -> None:
        """As AccountOwner.shard_changed."""
        self._owner.shard_changed()

    def shard_gave_up(self, error: TickrailError) -> None:
        """The venue does not take the credentials, or cannot be reached: the end of these streams."""
        if self._key is not None:
            self._key.close()
        if self._shard is not None:
            self._shard.subscriber.give_up(error)
        self._owner.account_gave_up(error)

    def streams_of(self, shard: Shard) -> set[Key] | None:
        """All: there is one connection."""
        return None

    async def _key_fails(self, error: KeyExpired) -> None:
        """The key that the connection uses is gone, or will be: go over to another."""
        assert self._key is not None and self._shard is not None
        is_over = self._key.left_s <= 0
        try:
            await self._key.create()
        except TickrailError as failure:
            self._report("listen key", f"no new one: {failure}")
            if is_over:
                self._key.drop()
                await self._shard.expire(error)
            return
        await self._shard.expire(error)

    def _report(self, kind: str, text: str) -> None:
        self._lanes[0].call("report", lambda: self._session.report(kind, text))

    def _answered(self, answer: Acknowledgement) -> Collection[Key] | None:
        for shard in self.shards:
            agreed = shard.subscriber.answered(answer)
            if agreed is not None:
                return agreed.streams if agreed.is_final else None
        return ()

    def _flowing(self, channel: str, symbol: str) -> None:
        for shard in self.shards:
            shard.flowing(channel, symbol)

    def _doubted(self, epoch: int) -> None:
        if self._shard is not None:
            self._shard.doubt()
