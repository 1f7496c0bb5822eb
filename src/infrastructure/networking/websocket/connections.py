"""A pipeline whose frames come over connections, each of which can be replaced by another while data flows."""

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from itertools import count
from typing import Any

from infrastructure.clock import Clock
from infrastructure.errors import DecodeError, NotConnected, TickrailError
from infrastructure.events import Architecture
from infrastructure.networking.websocket.lane import Lane
from infrastructure.networking.websocket.pipeline import Pipeline
from infrastructure.networking.websocket.rotations import RotationReceipt, Rotations
from infrastructure.networking.websocket.settings import ExchangeSettings
from infrastructure.networking.websocket.shard import Owner, Shard
from infrastructure.networking.websocket.subscriber import Key
from infrastructure.session import Session
from infrastructure.venue import Acknowledgement


class Connections(Pipeline, ABC):
    """What the public streams of a venue and those of an account have in common: connections, a lane for each, and their rotation.

    ``worked`` is told how long the lanes kept the event loop. The arguments behind it are those of Pipeline.
    """

    def __init__(
        self,
        session: Session,
        architecture: Architecture | str,
        settings: ExchangeSettings,
        clock: Clock,
        chance: random.Random,
        worked: Callable[[int], None],
        **pipeline: Any,
    ) -> None:
        self._shards: list[Shard] = []
        self._numbers = count(1)
        self._connects_ended = 0
        self._lane_settings = {"high_water": settings.high_water, "worked": worked}
        self._rotations = Rotations(self, session, settings.rotation, clock, chance)
        super().__init__(session, architecture, clock=clock, **pipeline)
        self._add_lane(**self._lane_settings)

    @property
    def shards(self) -> Sequence[Shard]:
        """The connections that carry streams, in the order in which they were begun. For what looks after them."""
        return self._shards

    @property
    def with_spares(self) -> list[Shard]:
        """Every connection, those that carry nothing, yet or any more, included."""
        return [*self._shards, *self._rotations.spares]

    @property
    def connects(self) -> int:
        """How many connections have been opened so far."""
        return self._connects_ended + sum(shard.connects for shard in self.with_spares)

    async def rotate(self) -> tuple[RotationReceipt, ...]:
        """Replace each connection by another while data flows: nothing is lost, nothing told twice, no Gap. Returns when all are replaced.

        Raises RotationFailed where one could not be, after all have been tried: that one goes on. If the caller is cancelled it goes on.
        """
        return await self._rotations.every()

    @abstractmethod
    def shard_changed(self) -> None:
        """A connection is in another state."""

    @abstractmethod
    def shard_gave_up(self, error: TickrailError) -> None:
        """A connection is not tried again."""

    @abstractmethod
    def streams_of(self, shard: Shard) -> set[Key] | None:
        """What is lost with the connection of ``shard``; None: everything, because there is no other."""

    @abstractmethod
    def _new_shard(self, lane: Lane, owner: Owner, *, may_fail_first: bool) -> Shard:
        """Begin a connection."""

    @abstractmethod
    def report(self, kind: str, text: str) -> None:
        """Tell the user of what is no single connection's."""

    def spare_shard(self, owner: Owner) -> Shard:
        """Begin a connection that carries nothing yet, whose lane is held, and that belongs to ``owner``."""
        lane = self._add_lane(**self._lane_settings)
        lane.hold(self._is_control)
        return self._new_shard(lane, owner, may_fail_first=True)

    def replace_shard(self, first: Shard, second: Shard) -> None:
        """From now on ``second`` carries what ``first`` carried, in its place."""
        self._shards[self._shards.index(first)] = second
        self.shard_changed()

    async def end_shard(self, shard: Shard) -> None:
        """Close a connection that carries nothing, and keep its account."""
        shard.stop(NotConnected(self.venue.name))
        if shard.connection is not None:
            await shard.connection.close()
        await shard.lane.close()
        shard.forget()
        self._connects_ended += shard.connects
        self._end_lane(shard.lane)

    def _is_control(self, raw_message: bytes | str) -> bool:
        try:
            return all(message.is_control for message in self.venue.codec.decode(raw_message))
        except DecodeError:
            return False

    def _answered(self, answer: Acknowledgement) -> Collection[Key] | None:
        for shard in self._speaking():
            agreed = shard.subscriber.answered(answer)
            if agreed is not None:
                return agreed.streams if agreed.is_final else None
        return ()

    def _flowing(self, channel: str, symbol: str) -> None:
        for shard in self._speaking():
            shard.flowing(channel, symbol)  # Data that nobody asked for is a sign of life all the same.

    def _speaking(self) -> Sequence[Shard]:
        """The connection whose frame is being handled."""
        return [shard for shard in self.with_spares if shard.lane is self._session.source]
