"""A feed of a workload, opened one way: what every benchmark measures. It reads no clock but the one that it is given."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from infrastructure.callbacks import Callback
from infrastructure.canonical import canonical
from infrastructure.clock import Clock
from infrastructure.credentials import Credentials, Secret
from infrastructure.exchanges import VENUES
from infrastructure.networking.websocket.handlers import BaseWebSocketClient, PrivateWebSocketHandler, PublicWebSocketHandler
from infrastructure.networking.websocket.lane import FRAMES_PER_TURN, Lane
from infrastructure.networking.websocket.pipeline import LaneType, Pipeline
from infrastructure.networking.websocket.strategies import strategy_set
from infrastructure.private_session import PrivateSession
from infrastructure.session import Emission, Session
from infrastructure.venue import ALL, Venue
from tests.harness.variants import Variant
from tests.performance.duet import Contestant, each
from tests.performance.workload import PRIVATE, Frame, Workload

_OWNER = Credentials(Secret("benchmark-key"), Secret("benchmark-secret"))


class Count:
    """A callback that counts."""

    __slots__ = ("events",)

    def __init__(self) -> None:
        self.events = 0

    def add(self, event: object) -> None:
        self.events += 1


class Subject(Pipeline):
    """One lane, both architectures over it, books or an account, metrics, both accounts: what a live feed has, but for its socket.

    Every event but gaps and errors goes to ``told``, which counts it unless another callable is given. ``prepare`` brings the subject to
    where the first of the workload's frames comes next.
    """

    def __init__(
        self,
        workload: Workload,
        variant: Variant,
        *,
        clock: Clock | None = None,
        told: Callback | None = None,
        lane_type: LaneType = Lane,
    ) -> None:
        self.workload = workload
        self.variant = variant
        self.counted = Count()
        #: Gaps and errors, of which a workload has none.
        self.complaints = Count()
        session, handler = state_of(workload, told or self.counted.add, self.complaints.add)
        super().__init__(
            session,
            variant.architecture,
            handler=handler,
            strategies=strategy_set(session.venue),
            adapted=variant.adapted,
            clock=clock,
            lane_type=lane_type,
        )
        self.lane = self._add_lane()
        self.deliver: Callable[[bytes], None] = self.lane.deliver

    @property
    def session(self) -> Session:
        """Books or an account."""
        return self._session

    def emit(self, events: Sequence[Emission]) -> Any:
        """Call the callbacks."""
        return self._callbacks.emit(events)

    @property
    def is_queued(self) -> bool:
        """Whether frames wait in the lane for its task."""
        return self.lane.route.is_queued

    async def prepare(self) -> None:
        """Take what comes before the first frame."""
        for step in self.workload.opening:
            if isinstance(step, Frame):
                self.deliver(step.raw)
            else:
                await self.drain()
                self.lane.call("snapshot", partial(self._session.snapshot, step.symbol, step.body))
        await self.drain()

    @property
    def contestant(self) -> Contestant[bytes]:
        """Takes a block of frames through the lane to the end of their callbacks, within a running event loop.

        Where frames wait for the lane's task, a block is queued and the task runs to its end: that pays for one task and one or two turns
        of the loop, as one read of a socket would.
        """
        return through_the_task(self.deliver) if self.is_queued else each(self.deliver)

    def failures(self, frames: int) -> list[str]:
        """What is wrong after so many frames: nothing, if each was handled, and every frame and event is somewhere, once."""
        account, found = self.accounting, []
        if not account.is_balanced:
            found.append(f"the accounts do not balance: {account}")
        handled = account.delivered + account.control
        if handled < frames or handled < account.received or self.complaints.events:
            found.append(f"of {frames} frames {handled} were handled, gaps and errors: {self.complaints.events}; {account}")
        return [f"{self.variant}: {failure}" for failure in found]

    def state(self) -> object:
        """All that the frames have left behind; equal for every way."""
        if isinstance(self._session, PrivateSession):
            account = self._session.account.raw
            known: tuple[Emission, ...] = (
                *account.orders.values(),
                *account.balances.values(),
                *account.positions.values(),
                *account.fills,
            )
            return [canonical(event) for event in known]
        return {symbol: (book.state, book.last_id, book.raw.bids, book.raw.asks) for symbol, book in self.books.items()}


def state_of(workload: Workload, told: Callback, complained: Callback) -> tuple[Session, BaseWebSocketClient]:
    """A session for the workload's streams, and a handler for it: gaps and errors go to ``complained``, every other event to ``told``."""
    public: Venue = VENUES[workload.venue].fresh()
    if workload.instruments:
        public.symbols.load(public.codec.decode_instruments(workload.instruments))
    if workload.scope == PRIVATE:
        session: Session = PrivateSession(public.of_account(_OWNER))
        session.readmit(workload.channel, ALL)
        return session, PrivateWebSocketHandler(None, None, **_named(PrivateWebSocketHandler, told, complained))
    return Session(public, workload.symbols or None), PublicWebSocketHandler(None, None, **_named(PublicWebSocketHandler, told, complained))


def _named(handler: type[BaseWebSocketClient], told: Callback, complained: Callback) -> dict[str, Callback]:
    methods = dict.fromkeys(handler.event_methods.values(), told) | dict.fromkeys(BaseWebSocketClient.event_methods.values(), complained)
    return {method.removeprefix("_"): callback for method, callback in methods.items()}


def through_the_task(deliver: Callable[[bytes], None]) -> Contestant[bytes]:
    """A block of frames is queued, then the lane's task runs to its end."""

    async def run(items: Sequence[bytes]) -> None:
        take = deliver
        for item in items:
            take(item)
        for _ in range(len(items) // FRAMES_PER_TURN + 1):
            await asyncio.sleep(0)

    return run
