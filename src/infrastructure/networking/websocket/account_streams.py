"""The private streams of a venue: an account, its connection and their wiring, beside the public streams and with a lane of their own."""

import random
from collections.abc import Callable, Collection
from typing import Any, Protocol, cast

from infrastructure.account import Account
from infrastructure.clock import Clock
from infrastructure.errors import KeyExpired, RotationFailed, TickrailError
from infrastructure.networking.websocket.access import Access, ListenKey
from infrastructure.networking.websocket.connections import Connections
from infrastructure.networking.websocket.lane import Lane
from infrastructure.networking.websocket.private_shard import PrivateShard
from infrastructure.networking.websocket.reconciler import Reconciler
from infrastructure.networking.websocket.settings import ExchangeSettings
from infrastructure.networking.websocket.shard import Common, Owner, Shard
from infrastructure.networking.websocket.strategies import strategy_set
from infrastructure.networking.websocket.subscriber import Key
from infrastructure.private_session import PrivateSession
from infrastructure.venue import ALL, PrivateCodec, Venue


class AccountOwner(Protocol):
    """Whoever has an account's streams beside others."""

    def shard_changed(self) -> None:
        """The state of a connection is another one."""

    def account_gave_up(self, error: TickrailError) -> None:
        """The account's streams are not tried again."""


class AccountStreams(Connections):
    """Takes the private frames of one account to the user's callbacks, and keeps the account right.

    ``venue`` is one ``of_account``. Its one connection carries all its channels; another one may be about to take over from it.
    """

    def __init__(
        self,
        venue: Venue,
        settings: ExchangeSettings,
        owner: AccountOwner,
        clock: Clock,
        chance: random.Random,
        worked: Callable[[int], None],
        **pipeline: Any,
    ) -> None:
        assert venue.private is not None
        self._private = venue.private
        #: What ``of_account`` made.
        self._codec = cast(PrivateCodec, venue.codec)
        self._channels = settings.account_channels
        self._owner = owner
        self._account_session = PrivateSession(
            venue, on_answer=self._answered, on_flowing=self._flowing, reconciles=True, on_reconcile=self._doubted
        )
        for channel in reversed(self._channels):
            self._account_session.readmit(channel, ALL)  # What is told of a kind is told by the first of its channels.
        self._common: Common | None = None
        self._access: Access | None = None
        self._reconciler: Reconciler | None = None
        self._key: ListenKey | None = None
        super().__init__(
            self._account_session, settings.architecture, settings, clock, chance, worked, strategies=strategy_set(venue), **pipeline
        )

    def __repr__(self) -> str:
        return f"<AccountStreams {self.venue.name} {self.account.state.value}>"

    @property
    def account(self) -> Account:
        """What is known of the account."""
        return self._account_session.account

    def start(self, common: Common, symbols: Callable[[], Collection[str]]) -> None:
        """Begin to connect, as the public streams do with ``common``; ``symbols`` may have fills."""
        self._common = common = common._replace(session=self._account_session)
        self._access = access = Access(self.venue.name, self._private, self._codec, common.rest, common.clock)
        self._reconciler = Reconciler(access, self._account_session, self._codec, symbols)
        keys = self._private.listen_keys
        if keys is not None:
            self._key = ListenKey(self.venue.name, keys, access, self._codec, self.report, self._key_fails, common.chance)
        self._shards.append(self._new_shard(self._lanes[0], self, may_fail_first=True))
        self._rotations.start()

    async def is_live(self) -> None:
        """Wait until the account is live for the first time; raises what keeps it from that."""
        shard = self._carrier
        await shard.opened
        await shard.lived

    def stop(self, error: TickrailError) -> None:
        """Connect no more; ``error`` is for whoever waits."""
        self._rotations.stop()
        if self._key is not None:
            self._key.close()
        for shard in self.with_spares:
            shard.stop(error)

    def shard_changed(self) -> None:
        """As AccountOwner.shard_changed."""
        self._owner.shard_changed()
        self._rotations.shard_changed()

    def shard_gave_up(self, error: TickrailError) -> None:
        """The venue does not take the credentials, or cannot be reached: the end of these streams."""
        self._rotations.stop()
        if self._key is not None:
            self._key.close()
        for shard in self.with_spares:
            shard.subscriber.give_up(error)
        self._owner.account_gave_up(error)

    def streams_of(self, shard: Shard) -> set[Key] | None:
        """All: one connection carries them."""
        return None

    def replace_shard(self, first: Shard, second: Shard) -> None:
        """As Connections.replace_shard. If the first was lost before the second was ready, something is missing."""
        super().replace_shard(first, second)
        if not self.account.is_live:
            self._carrier.doubt()

    async def end_shard(self, shard: Shard) -> None:
        """As Connections.end_shard."""
        await super().end_shard(shard)
        assert isinstance(shard, PrivateShard)
        await shard.tell_of_key()

    def report(self, kind: str, text: str) -> None:
        """Tell the user of what is no single connection's."""
        self._lanes[0].call("report", lambda: self._session.report(kind, text))

    @property
    def _carrier(self) -> PrivateShard:
        (shard,) = self._shards
        assert isinstance(shard, PrivateShard)
        return shard

    def _new_shard(self, lane: Lane, owner: Owner, *, may_fail_first: bool) -> PrivateShard:
        assert self._common is not None and self._access is not None and self._reconciler is not None
        return PrivateShard(
            next(self._numbers),
            self._common,
            owner,
            lane,
            self._account_session,
            self._channels,
            self._access,
            self._reconciler,
            self._key,
        )

    async def _key_fails(self, error: KeyExpired) -> None:
        """The key that the connection uses will end: go over to another, over another connection. If it has ended, something is missing."""
        assert self._key is not None
        is_over = self._key.left_s <= 0
        try:
            await self._key.create()
            if not is_over:
                await self.rotate()
        except RotationFailed as failure:
            self.report("rotation", str(failure))
            is_over = True
        except TickrailError as failure:
            self.report("listen key", f"no new one: {failure}")
            if is_over:
                self._key.drop()
        if is_over:
            await self._carrier.expire(error)

    def _doubted(self, epoch: int) -> None:
        if self._shards:
            self._carrier.doubt()
