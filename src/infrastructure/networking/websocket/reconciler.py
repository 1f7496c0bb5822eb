"""Asks a venue what an account is, and what happened to it while nobody listened."""

import asyncio
from collections.abc import Callable, Collection, Sequence

from infrastructure.account import AccountSnapshot
from infrastructure.account_api import AccountCall, Part
from infrastructure.errors import DecodeError, RequestFailed
from infrastructure.events import BalanceUpdate, Fill, OrderUpdate, PositionUpdate
from infrastructure.networking.websocket.access import Access
from infrastructure.private_session import PrivateSession
from infrastructure.venue import PrivateCodec

#: Fills are asked for from so long before all were known: clocks differ, and a venue's list may lag behind its stream.
MARGIN_MS = 60_000
#: Statuses by which a venue says that it does not know an order: some forget those that ended without a fill.
NOT_THERE = (400, 404)
#: Requests for single orders that are under way at once.
AT_ONCE = 4

_Found = OrderUpdate | Fill | BalanceUpdate | PositionUpdate


class Reconciler:
    """The REST side of one account, over as many connections as come one after the other.

    ``symbols`` gives those that the user named: with those of known orders and fills they are what fills are asked for, where a venue
    wants that said.
    """

    def __init__(self, access: Access, session: PrivateSession, codec: PrivateCodec, symbols: Callable[[], Collection[str]]) -> None:
        self._access = access
        self._session = session
        self._codec = codec
        self._symbols = symbols
        #: When the venue first agreed to send everything, by its clock. What was before is not part of the feed.
        self._began_ms: int | None = None
        #: Up to when nothing is missing: REST was asked then, or its list was held against the stream's.
        self._verified_ms: int | None = None
        self._was_interrupted = False

    def __repr__(self) -> str:
        return f"<Reconciler {self._session.venue.name} verified_ms={self._verified_ms}>"

    def begin(self) -> None:
        """The venue agreed to send everything."""
        if self._began_ms is None:
            self._began_ms = self._access.now_ms()

    def interrupted(self) -> None:
        """Something may be missing."""
        self._was_interrupted = True

    def verified(self, at_ms: int) -> None:
        """Nothing that happened before is missing, by the venue's clock."""
        self._verified_ms = at_ms

    @property
    def _since_ms(self) -> int | None:
        """From when on fills may be missing; None: none are, for nothing has been missed yet."""
        if self._began_ms is None or not (self._was_interrupted or self._verified_ms):
            return None
        return self._began_ms if self._verified_ms is None else max(self._began_ms, self._verified_ms - MARGIN_MS)

    async def snapshot(self) -> AccountSnapshot:
        """All of the account, and the fills that may have been missed. Raises AuthenticationFailed or RequestFailed."""
        calls = self._codec.account_calls(self._traded(), self._since_ms)
        found = await self._found(calls)
        orders = {(order.symbol, order.order_id): order for order in found if isinstance(order, OrderUpdate)}
        gone = [order for order in self._session.open_orders().values() if (order.symbol, order.order_id) not in orders]
        for start in range(0, len(gone), AT_ONCE):
            for order in await asyncio.gather(*(self._ended(order) for order in gone[start : start + AT_ONCE])):
                if order is not None:
                    orders[order.symbol, order.order_id] = order
        parts = {call.part for call in calls}
        return AccountSnapshot(
            orders=tuple(orders.values()),
            fills=_fills(found),
            balances=tuple(event for event in found if isinstance(event, BalanceUpdate)) if Part.BALANCES in parts else None,
            positions=tuple(event for event in found if isinstance(event, PositionUpdate)) if Part.POSITIONS in parts else None,
        )

    async def fills(self) -> tuple[Fill, ...]:
        """Those that the venue lists since all were known. Raises as ``snapshot``."""
        calls = [call for call in self._codec.account_calls(self._traded(), self._since_ms) if call.part is Part.FILLS]
        return _fills(await self._found(calls))

    def _traded(self) -> list[str]:
        account, listed = self._session.account.raw, self._session.venue.symbols.instruments
        of_orders = {order.symbol for order in account.orders.values()}
        # One that the venue does not list was told to whoever named it, and has no fills.
        named = {symbol for symbol in self._symbols() if symbol in listed or not listed}
        return sorted({*named, *of_orders, *(fill.symbol for fill in account.fills)})

    async def _found(self, calls: Sequence[AccountCall]) -> list[_Found]:
        answers = await asyncio.gather(*(self._pages(call) for call in calls))
        return [event for events in answers for event in events]

    async def _pages(self, call: AccountCall | None) -> Sequence[_Found]:
        found: list[_Found] = []
        while call is not None:
            raw = await self._access.ask(call.call)
            try:
                answer = self._codec.decode_account(call, raw)
            except DecodeError as error:
                raise RequestFailed(call.call.path, str(error)) from None
            found += answer.events
            call = answer.following
        return found

    async def _ended(self, order: OrderUpdate) -> OrderUpdate | None:
        """What became of an order that was open and is not in the list any more; None where the venue knows no more of it."""
        try:
            answer = await self._pages(self._codec.order_call(order.symbol, order.order_id))
        except RequestFailed as error:
            if error.status not in NOT_THERE:
                raise
            answer = ()
        return next((event for event in answer if isinstance(event, OrderUpdate) and event.order_id == order.order_id), None)


def _fills(found: Sequence[_Found]) -> tuple[Fill, ...]:
    return tuple(event for event in found if isinstance(event, Fill))
