"""Connections replaced by others while data flows, in virtual time: everything once and in order, whatever else happens meanwhile."""

import asyncio
import json
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any, NamedTuple

import pytest
from msgspec.structs import replace

from infrastructure.config import exchange_settings
from infrastructure.errors import AwaitedInsideCallback, ConnectFailed, RequestFailed, RotationFailed, SettingsError
from infrastructure.events import Architecture, ErrorEvent, GapReason, Ticker, Trade
from infrastructure.exchanges import venue_named
from infrastructure.networking.websocket.connection import Phase
from infrastructure.networking.websocket.fake_transport import FakeRest, FakeTransport, FakeVenue
from infrastructure.networking.websocket.handlers import PublicWebSocketHandler
from infrastructure.networking.websocket.link import Loss, LossCause
from infrastructure.networking.websocket.rotations import RotationReceipt
from infrastructure.networking.websocket.strategies.interfaces import ConnectionState
from infrastructure.networking.websocket.subscriptions import Stage
from infrastructure.networking.websocket.ws_manager import WebSocketManager
from tests.harness import frames
from tests.harness.live import AT_ONCE, INSTRUMENTS_PATH, LISTED, acknowledged, assert_whole, refused, unanswered
from tests.harness.variants import Variant
from tests.harness.virtual_loop import VirtualLoop, run_virtual

BTC, ETH = "BTC/USDT", "ETH/USDT"
TRADES, TICKERS, OBU, SEEDED = "spot.trades", "spot.tickers", "spot.obu", "spot.order_book_update"
CUT = Loss(LossCause.CUT)
OVERLAP_S = 0.5
URLS = {"websocket_url": "wss://venue.invalid/ws", "rest_url": "https://venue.invalid"}
DAY_S = 86_400.0
#: Of a market that trades every 20 seconds: nobody looks after its streams every second, and silence is usual.
SLOW: Mapping[str, Any] = {"round_s": 20.0, "freshness": {"tick_s": 60.0, "silent_s": 600.0}}

#: By channel: what a round of the market brings of it.
ROUND: Mapping[str, Callable[[int, str], bytes]] = {
    TRADES: lambda number, pair: frames.trade(number, pair=pair),
    TICKERS: lambda number, pair: frames.ticker(last=str(number), pair=pair),
    OBU: lambda number, pair: frames.obu(number, number, [(50, number)], pair=pair),
    SEEDED: lambda number, pair: frames.update(number, number, [(50, number)], pair=pair),
}


class Exchange(FakeVenue):
    """Sends each round of its market to every connection that is subscribed; its machine behind each is behind by ``lags_s``."""

    def __init__(self, round_s: float) -> None:
        super().__init__()
        self.answers: Callable[[dict[str, Any]], list[bytes]] = acknowledged
        #: By connection, counted from 1.
        self.lags_s: defaultdict[int, float] = defaultdict(float)
        self.subscribed: defaultdict[int, set[tuple[str, str]]] = defaultdict(set)
        self.rounds = 10
        self.reached: defaultdict[int, int] = defaultdict(lambda: 10)
        #: A connection is cut after so long.
        self.life_s: float | None = None
        self.rest = FakeRest(self._rest)
        self.is_rest_down = False
        self.round_s = round_s
        self._last_s: defaultdict[int, float] = defaultdict(float)

    async def __call__(self, *arguments: Any, **more: Any) -> FakeTransport:
        transport = await super().__call__(*arguments, **more)
        number = len(self.transports)
        transport._answer = lambda text: self._answered(number, json.loads(text))
        if self.life_s is not None:
            asyncio.get_running_loop().call_later(self.life_s, transport.lose, CUT)
        return transport

    @property
    def open(self) -> list[int]:
        """The connections that are open."""
        return [number for number, transport in enumerate(self.transports, 1) if transport.is_open]

    async def trade(self) -> None:
        """Round after round, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self.round_s)
            self.rounds += 1
            for number in range(1, len(self.transports) + 3):
                loop.call_later(self.lags_s[number], self._reach, number, self.rounds)

    def _reach(self, number: int, rounds: int) -> None:
        """The venue's machine behind a connection has come so far."""
        self.reached[number] = rounds
        for channel, pair in sorted(self.subscribed[number]):
            self.send(number, ROUND[channel](rounds, pair))

    def send(self, number: int, raw: bytes) -> None:
        """Send a message over one connection, in its turn."""
        loop = asyncio.get_running_loop()
        self._last_s[number] = at_s = max(self._last_s[number] + 1e-6, loop.time())
        loop.call_at(at_s, self.transports[number - 1].deliver, raw)

    def _answered(self, number: int, request: dict[str, Any]) -> list[bytes]:
        replies = self.answers(request)
        for reply in replies:
            self.send(number, reply)
        if not replies or json.loads(replies[0]).get("error"):
            return []
        for pair in re.findall(r"[A-Z]+_[A-Z]+", " ".join(request.get("payload", ()))):
            key = request["channel"], pair
            if request["event"] == "unsubscribe":
                self.subscribed[number].discard(key)
                continue
            self.subscribed[number].add(key)
            if request["channel"] == OBU:
                reached = self.reached[number]
                self.send(number, frames.obu(None, reached, [(50, reached)], [(101, 1)], full=True, pair=pair))
        return []

    def _rest(self, path: str, query: Mapping[str, str]) -> bytes:
        if path == INSTRUMENTS_PATH:
            return frames.instruments(*LISTED)
        if self.is_rest_down:
            raise RequestFailed("https://venue.invalid", "503")
        return frames.rest_book(self.rounds, [(50, self.rounds)])


class Scene(NamedTuple):
    """A feed whose exchange trades."""

    feed: WebSocketManager
    at: Exchange
    seen: frames.Seen

    def numbers(self, kind: type = Trade, symbol: str = BTC) -> list[int]:
        """Of all events of one kind, in their order."""
        return [int(event.trade_id if kind is Trade else event.last) for event in self.seen.of(kind) if event.symbol == symbol]

    def assert_once(self, *symbols: str) -> None:
        """Everything came once and in order; no Gap was told, and no error."""
        for symbol in symbols or (BTC,):
            for kind in (Trade, Ticker):
                numbers = self.numbers(kind, symbol)
                assert all(later == earlier + 1 for earlier, later in pairwise(numbers)), numbers
        if len(symbols) < 2:
            ids = [last_id for last_id, _, _ in self.seen.books]
            assert all(later == (earlier or 0) + 1 for earlier, later in pairwise(ids)), ids
        assert (self.seen.gaps, self.seen.errors) == ([], [])

    async def flows(self, rounds: int = 5) -> None:
        """Wait for so many rounds more."""
        target = self.at.rounds + rounds
        await until(lambda: self.numbers() and self.numbers()[-1] >= target, within_s=60.0 + 2 * rounds * self.at.round_s)


@asynccontextmanager
async def trading(
    variant: Variant,
    *,
    symbols: tuple[str, ...] = (BTC,),
    channels: tuple[str, ...] = (TRADES, TICKERS, OBU),
    round_s: float = 0.05,
    limits: Mapping[str, Any] | None = None,
    callbacks: Mapping[str, Any] | None = None,
    is_slow: bool = False,
    rotation: Mapping[str, Any] | None = None,
    **settings: Any,
) -> AsyncIterator[Scene]:
    """An open feed of this variant; both its accounts must be right when it is closed."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    at, seen = Exchange(round_s), frames.Seen()

    async def on_trade(trade: Trade) -> None:
        await asyncio.sleep(0.03)
        seen.events.append(trade)

    if is_slow:
        callbacks = {"on_trade": on_trade}
    given = {"symbols": symbols, "channels": channels, "reconnect": AT_ONCE, **URLS, **settings}
    named = exchange_settings("gateio_spot", **given, rotation={"overlap_s": OVERLAP_S, **(rotation or {})})
    venue = replace(named.venue, limits=replace(named.venue.limits, **(limits or {})))
    feed = WebSocketManager(
        replace(named, venue=venue),
        architecture=variant.architecture,
        adapted=variant.adapted,
        handler=PublicWebSocketHandler(**{**seen.callbacks, **(callbacks or {})}),
        rest=at.rest,
        connect=at,
        clock=loop.clock,
        chance=loop.chance,
    )
    market = loop.create_task(at.trade())
    try:
        async with feed:
            scene = Scene(feed, at, seen)
            await scene.flows()
            yield scene
    finally:
        market.cancel()
    assert_whole(feed)


async def until(condition: Callable[[], object], within_s: float = 60.0) -> None:
    deadline = asyncio.get_running_loop().time() + within_s
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, "it never came to hold"
        await asyncio.sleep(0.01)


def run(main: Coroutine[Any, Any, None]) -> None:
    async def checked() -> None:
        await main
        for _ in range(10):
            await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) == 1, asyncio.all_tasks()

    run_virtual(7, checked())


async def begun(scene: Scene, connections: int = 2) -> "asyncio.Task[tuple[RotationReceipt, ...]]":
    """A rotation whose second connection is open, and subscribed to what the first is."""
    rotating = asyncio.create_task(scene.feed.rotate())
    wanted = scene.at.subscribed[connections - 1]
    await until(lambda: len(scene.at.transports) == connections and scene.at.subscribed[connections] == wanted)
    return rotating


class TestOnceAndInOrder:
    @pytest.mark.parametrize("lags_s", [(0.0, 0.0), (0.3, 0.0), (0.0, 0.3), (0.2, 0.45)], ids=str)
    def test_whichever_connection_is_behind(self, variant: Variant, lags_s: tuple[float, float]) -> None:
        async def main() -> None:
            async with trading(variant) as scene:
                feed, at, _ = scene
                for number in range(1, 5):
                    at.lags_s[number] = lags_s[number % 2]
                await scene.flows(10)
                overlap = 0
                for number in (2, 3):
                    (receipt,) = await feed.rotate()
                    overlap += receipt.overlap
                    assert at.open == [number] and feed.connects == number and feed.is_connected()
                    assert receipt.streams == 3 and receipt.lost is None and receipt.overlap > 0 and receipt.held > 0
                    assert feed.accounting.shed_by_reason == {"overlap": overlap}
                await scene.flows(20)
                scene.assert_once()
                assert feed.books[BTC].is_live

        run(main())

    def test_the_second_counts_as_flowing_once_its_own_data_has_come(self, variant: Variant) -> None:
        async def main() -> None:
            async with trading(variant) as scene:
                await scene.feed.rotate()
                await scene.flows(1)
                (shard,) = scene.feed.shards
                assert shard.number == 2 and shard.subscriber.stages == {Stage.FLOWING: 3}
                assert shard.connection is not None and shard.connection.phase is Phase.FLOWING
                assert shard.connection.flowing_at is not None
                scene.at.transports[1].lose(CUT)
                await until(lambda: scene.feed.connects == 3)
                await scene.flows()
                assert sorted(gap.channel or "" for gap in scene.seen.gaps) == sorted([TRADES, TICKERS, OBU])

        run(main())

    def test_a_stream_that_is_quiet_since_gets_its_gap_all_the_same(self, variant: Variant) -> None:
        async def main() -> None:
            async with trading(variant, channels=(TRADES, TICKERS)) as scene:
                quiet = (TICKERS, "BTC_USDT")
                rotating = await begun(scene)
                for number in (1, 2):
                    scene.at.subscribed[number].discard(quiet)
                await rotating
                (shard,) = scene.feed.shards
                scene.feed._session._expected.clear()  # As of streams that nobody agreed to, but that came.
                scene.at.transports[1].lose(CUT)
                await until(lambda: scene.feed.connects == 3)
                assert sorted(gap.channel or "" for gap in scene.seen.gaps) == [TICKERS, TRADES]
                assert shard is scene.feed.shards[0]

        run(main())

    def test_with_callbacks_that_take_their_time(self, variant: Variant) -> None:
        async def main() -> None:
            async with trading(variant, is_slow=True) as scene:
                (receipt,) = await scene.feed.rotate()
                await scene.flows()
                scene.assert_once()
                assert scene.feed.accounting.shed_by_reason == {"overlap": receipt.overlap}

        run(main())


class TestFailures:
    def test_a_refusal_leaves_the_first_as_it_was(self, variant: Variant) -> None:
        async def main() -> None:
            async with trading(variant) as scene:
                scene.at.answers = refused
                with pytest.raises(RotationFailed, match="no more than 30 subscriptions"):
                    await scene.feed.rotate()
                await self.goes_on(scene)
                assert {error.kind for error in scene.seen.errors} == {"refused"}

        run(main())

    def test_so_does_a_venue_that_does_not_answer(self, variant: Variant) -> None:
        async def main() -> None:
            async with trading(variant, subscribe_timeout_s=1.0) as scene:
                scene.at.answers = unanswered
                with pytest.raises(RotationFailed, match="did not answer|not answered|no answer"):
                    await scene.feed.rotate()
                await self.goes_on(scene)

        run(main())

    def test_and_a_connection_that_cannot_be_opened(self, variant: Variant) -> None:
        async def main() -> None:
            async with trading(variant) as scene:
                scene.at.refuse(ConnectFailed("wss://venue.invalid/ws", "down"))
                with pytest.raises(RotationFailed, match="down"):
                    await scene.feed.rotate()
                await self.goes_on(scene, connects=1)

        run(main())

    def test_the_loss_of_the_second_is_nothing_but_that(self, variant: Variant) -> None:
        async def main() -> None:
            async with trading(variant) as scene:
                rotating = await begun(scene)
                await asyncio.sleep(OVERLAP_S / 2)
                scene.at.transports[1].lose(CUT)
                with pytest.raises(RotationFailed, match="the other connection was lost: ended without a close frame"):
                    await rotating
                await self.goes_on(scene)
                assert scene.seen.errors == []

        run(main())

    def test_a_first_that_does_not_answer_pings_is_not_replaced(self, variant: Variant) -> None:
        async def main() -> None:
            async with trading(variant, rotation={"timeout_s": 5.0}) as scene:
                scene.at.transports[0].pong_after_s = None
                with pytest.raises(RotationFailed, match="longer than 5 s"):
                    await scene.feed.rotate()
                await self.goes_on(scene)

        run(main())

    def test_a_second_that_does_not_answer_pings_goes_on_when_the_time_is_over(self, variant: Variant) -> None:
        async def main() -> None:
            async with trading(variant, rotation={"timeout_s": 5.0}) as scene:
                rotating = await begun(scene)
                scene.at.transports[1].pong_after_s = None
                (receipt,) = await rotating
                assert receipt.took_ns > 5e9
                await scene.flows()
                scene.assert_once()

        run(main())

    def test_a_connection_that_is_down_is_not_replaced(self, variant: Variant) -> None:
        async def main() -> None:
            async with trading(variant) as scene:
                scene.at.refuse(*[ConnectFailed("wss://venue.invalid/ws", "down")] * 3)
                scene.at.transports[0].lose(CUT)
                await until(lambda: scene.feed.state is not ConnectionState.CONNECTED)
                with pytest.raises(RotationFailed, match="not connected"):
                    await scene.feed.rotate()
                await until(scene.feed.is_connected)

        run(main())

    async def goes_on(self, scene: Scene, connects: int = 2) -> None:
        """The first connection alone, and nothing told twice or lost."""
        assert scene.at.open == [1] and scene.feed.connects == connects and scene.feed.connections == 1
        await scene.flows(20)
        assert scene.seen.gaps == []
        numbers = scene.numbers()
        assert numbers == list(range(numbers[0], numbers[-1] + 1))
        assert scene.feed._session.overlap is None
        assert set(scene.feed.accounting.shed_by_reason) <= {"overlap"}


class TestLosses:
    def test_when_the_first_is_lost_the_second_goes_on_behind_one_gap(self, variant: Variant) -> None:
        async def main() -> None:
            async with trading(variant) as scene:
                rotating = await begun(scene)
                await asyncio.sleep(OVERLAP_S / 2)
                before = len(scene.numbers())
                scene.at.transports[0].lose(CUT)
                (receipt,) = await rotating
                assert receipt.lost == "ended without a close frame"
                await scene.flows(20)
                assert scene.at.open == [2] and scene.feed.connects == 2
                assert sorted((gap.channel, gap.reason) for gap in scene.seen.gaps) == [
                    (channel, GapReason.DISCONNECTED) for channel in sorted([TRADES, TICKERS, OBU])
                ]
                # The second had waited: what the first had not brought, it has.
                numbers = scene.numbers()
                assert numbers == list(range(numbers[0], numbers[-1] + 1)) and len(numbers) > before
                assert [error.kind for error in scene.seen.errors] == ["disconnected"]
                ids = [last_id or 0 for last_id, _, _ in scene.seen.books]
                assert ids == sorted(set(ids)) and scene.feed.books[BTC].is_live

        run(main())

    def test_a_first_that_is_lost_before_the_second_is_open_connects_again(self, variant: Variant) -> None:
        async def main() -> None:
            async with trading(variant) as scene:
                rotating = asyncio.create_task(scene.feed.rotate())
                await asyncio.sleep(OVERLAP_S / 2)
                scene.at.transports[0].lose(CUT)
                with pytest.raises(RotationFailed, match="was lost meanwhile"):
                    await rotating
                await until(scene.feed.is_connected)
                await scene.flows()
                assert scene.at.open == [2] and len(scene.seen.gaps) == 3

        run(main())

    def test_a_second_that_is_lost_after_it_took_over_has_its_gap(self, variant: Variant) -> None:
        async def main() -> None:
            async with trading(variant) as scene:
                rotating = await begun(scene)
                await until(lambda: scene.feed.shards[0].number == 2)
                scene.at.transports[1].lose(CUT)
                (receipt,) = await rotating
                assert receipt.lost is None
                await until(scene.feed.is_connected)
                await scene.flows()
                assert scene.at.open == [3] and len(scene.seen.gaps) == 3
                numbers = scene.numbers()
                assert numbers == sorted(set(numbers))

        run(main())

    def test_a_program_that_stood_still_believes_neither_connection(self, variant: Variant) -> None:
        async def main() -> None:
            async with trading(variant) as scene:
                loop = asyncio.get_running_loop()
                assert isinstance(loop, VirtualLoop)
                rotating = await begun(scene)
                await asyncio.sleep(OVERLAP_S / 2)
                loop.block(30.0)
                with pytest.raises(RotationFailed, match="stood still"):
                    await rotating
                await until(scene.feed.is_connected)
                await scene.flows()
                assert scene.at.open == [3] and {gap.reason for gap in scene.seen.gaps} == {GapReason.DISCONNECTED}

        run(main())


class TestMeanwhile:
    def test_streams_that_are_added_and_ended_go_over_too(self, variant: Variant) -> None:
        async def main() -> None:
            async with trading(variant, channels=(TRADES, TICKERS)) as scene:
                feed, at, _ = scene
                rotating = await begun(scene)
                await feed.subscribe([ETH])
                await feed.unsubscribe([BTC], [TICKERS])
                await until(lambda: scene.numbers(symbol=ETH))
                assert len(feed.shards) == 1 and feed.shards[0].number == 1
                (receipt,) = await rotating
                assert receipt.streams == 3
                expected = {(TRADES, "BTC_USDT"), (TRADES, "ETH_USDT"), (TICKERS, "ETH_USDT")}
                assert at.open == [2] and at.subscribed[2] == expected
                await scene.flows()
                scene.assert_once(BTC, ETH)
                tickers = len(scene.numbers(Ticker))
                await feed.unsubscribe([ETH])
                assert at.subscribed[2] == {(TRADES, "BTC_USDT")}
                await scene.flows()
                assert len(scene.numbers(Ticker)) == tickers

        run(main())

    def test_a_stream_without_an_answer_yet_holds_the_rotation_up(self, variant: Variant) -> None:
        async def main() -> None:
            async with trading(variant, channels=(TRADES, TICKERS)) as scene:
                feed, at, _ = scene
                rotating = await begun(scene)
                asked: list[dict[str, Any]] = []

                def note(request: dict[str, Any]) -> list[bytes]:
                    asked.append(request)
                    return []

                at.answers = note
                subscribing = asyncio.create_task(feed.subscribe([ETH], [TRADES]))
                await until(lambda: asked)
                await asyncio.sleep(4 * OVERLAP_S)
                assert feed.shards[0].number == 1 and not rotating.done()
                at.answers = acknowledged
                at._answered(1, asked[0])
                await subscribing
                await rotating
                assert at.subscribed[2] == at.subscribed[1]
                await scene.flows()
                scene.assert_once(BTC, ETH)

        run(main())

    def test_whoever_waits_for_an_answer_of_a_first_that_is_lost_gets_that_of_the_second(self, variant: Variant) -> None:
        async def main() -> None:
            async with trading(variant, channels=(TRADES, TICKERS)) as scene:
                feed, at, _ = scene
                rotating = await begun(scene)
                at.answers = unanswered
                subscribing = asyncio.create_task(feed.subscribe([ETH], [TRADES]))
                await asyncio.sleep(0.1)
                at.answers = acknowledged
                at.transports[0].lose(CUT)
                await asyncio.gather(subscribing, rotating)
                assert at.open == [2] and (TRADES, "ETH_USDT") in at.subscribed[2]
                await until(lambda: scene.numbers(symbol=ETH))

        run(main())

    def test_a_switch_is_exact_on_both_connections(self, variant: Variant) -> None:
        async def main() -> None:
            async with trading(variant) as scene:
                feed = scene.feed
                for architecture in (variant.architecture.other, variant.architecture):
                    await feed.switch(architecture)
                rotating = await begun(scene)
                receipt = await feed.switch(variant.architecture.other)
                assert receipt.changed and len(receipt.connections) == 2 and feed.architecture is variant.architecture.other
                await rotating
                again = await feed.switch(variant.architecture)
                await scene.flows()
                scene.assert_once()
                assert again.changed and feed.switches == 4 and feed.accounting.frames.is_balanced

        run(main())

    def test_settings_are_applied(self, variant: Variant) -> None:
        async def main() -> None:
            async with trading(variant, channels=(TRADES, TICKERS)) as scene:
                feed, at, _ = scene
                rotating = await begun(scene)
                settings = replace(feed.settings, symbols=(BTC, ETH), architecture=variant.architecture.other)
                applied = await feed.apply(settings)
                assert applied.switch is not None and len(applied.subscribed) == 2
                await rotating
                assert at.open == [2] and len(at.subscribed[2]) == 4
                await scene.flows()
                scene.assert_once(BTC, ETH)

        run(main())

    @pytest.mark.parametrize("moment", ["before the second", "while it waits", "when it has taken over"])
    def test_closing_ends_both_connections_and_tells_nothing_twice(self, variant: Variant, moment: str) -> None:
        async def main() -> None:
            async with trading(variant) as scene:
                feed, at, _ = scene
                if moment == "before the second":
                    rotating = asyncio.create_task(feed.rotate())
                    await asyncio.sleep(OVERLAP_S / 2)
                else:
                    rotating = await begun(scene)
                    await asyncio.sleep(OVERLAP_S / 2)
                if moment == "when it has taken over":
                    await until(lambda: feed.shards[0].number == 2)
                await feed.close()
                with pytest.raises(RotationFailed, match="ended"):
                    await rotating
                assert at.open == [] and feed.connects == len(at.transports)
                scene.assert_once()
                assert feed.accounting.in_flight == 0

        run(main())

    def test_a_snapshot_that_was_under_way_is_fetched_for_the_second(self, variant: Variant) -> None:
        async def main() -> None:
            async with trading(variant, channels=(TRADES, SEEDED)) as scene:
                feed, at, seen = scene
                at.is_rest_down = True
                at.send(1, frames.update(at.rounds + 50, at.rounds + 50, [(50, 1)]))
                await until(lambda: seen.gaps)
                await feed.rotate()
                assert not feed.books[BTC].is_live and at.open == [2]
                at.is_rest_down = False
                await until(lambda: feed.books[BTC].is_live)
                await scene.flows()
                assert feed.books[BTC].last_id == at.rounds and len(seen.gaps) == 1

        run(main())

    def test_a_book_that_waits_to_be_subscribed_anew_gets_its_whole_book_from_the_second(self, variant: Variant) -> None:
        async def main() -> None:
            async with trading(variant) as scene:
                feed, at, seen = scene
                rotating = await begun(scene)
                # It answers, but its whole book never comes.
                at.answers = lambda request: acknowledged(request) if at.open == [2] else acknowledged(request)[:1]
                held = at.send
                at.send = lambda number, raw: None if number == 1 and b'"full"' in raw else held(number, raw)  # type: ignore[method-assign]
                at.send(1, frames.obu(at.rounds + 50, at.rounds + 50, [(50, 1)]))
                await until(lambda: seen.gaps)
                assert not feed.books[BTC].is_live
                await rotating
                await until(lambda: feed.books[BTC].is_live)
                await scene.flows()
                assert len(seen.gaps) == 1 and feed.books[BTC].last_id == at.rounds

        run(main())

    def test_of_several_connections_each_is_replaced_one_after_the_other(self, variant: Variant) -> None:
        async def main() -> None:
            async with trading(
                variant, symbols=(BTC, ETH), channels=(TRADES, TICKERS), limits={"subscriptions_per_connection": 1}
            ) as scene:
                feed, at, _ = scene
                assert at.open == [1, 2, 3, 4]
                together = await asyncio.gather(feed.rotate(), feed.rotate())
                receipts = [receipt for its in together for receipt in its]
                assert at.open == [9, 10, 11, 12] or at.open[-1] == 12
                assert feed.connections == 4 and feed.connects == 12 and len(receipts) == 8
                for earlier, later in pairwise(sorted(receipts, key=lambda receipt: receipt.began_ns)):
                    assert earlier.ended_ns <= later.began_ns
                await scene.flows()
                scene.assert_once(BTC, ETH)
                # So are one that is asked for and one that is due.
                one, other, *_ = feed.shards
                (first,), (second,) = await asyncio.gather(feed._rotations._rotate(one), feed._rotations._rotate(other))
                assert first.ended_ns <= second.began_ns
                # One cut, its own streams.
                at.transports[at.open[0] - 1].lose(CUT)
                await until(lambda: scene.seen.gaps)
                assert len(scene.seen.gaps) == 1

        run(main())

    def test_whoever_is_cancelled_does_not_end_the_rotation(self, variant: Variant) -> None:
        async def main() -> None:
            async with trading(variant) as scene:
                rotating = await begun(scene)
                rotating.cancel()
                await until(lambda: scene.at.open == [2])
                await scene.flows(20)
                scene.assert_once()

        run(main())

    def test_inside_a_callback_it_is_refused(self, variant: Variant) -> None:
        async def main() -> None:
            caught: list[Exception] = []
            feeds: list[WebSocketManager] = []

            async def on_trade(trade: Trade) -> None:
                if feeds and not caught:
                    try:
                        await feeds[0].rotate()
                    except AwaitedInsideCallback as error:
                        caught.append(error)

            async with trading(variant, callbacks={"on_ticker": on_trade}) as scene:
                feeds.append(scene.feed)
                await until(lambda: caught)

        run(main())


class TestBeforeTheEnd:
    def test_n16_in_48_hours_with_a_cut_after_24_nothing_is_lost_or_told_twice(self, variant: Variant) -> None:
        async def main() -> None:
            limits = {"connection_life_s": DAY_S}
            async with trading(variant, limits=limits, rotation={"overlap_s": 60.0, "timeout_s": 600.0}, **SLOW) as scene:
                feed, at, _ = scene
                at.life_s = DAY_S
                asyncio.get_running_loop().call_at(DAY_S, at.transports[0].lose, CUT)
                await asyncio.sleep(2 * DAY_S)
                assert at.open == [3] and feed.connects == 3
                scene.assert_once()
                assert scene.numbers()[-1] > 2 * DAY_S / 20

        run(main())

    def test_without_it_the_cut_is_a_gap(self) -> None:
        async def main() -> None:
            async with trading(Variant(Architecture.DIRECT, False), **SLOW) as scene:
                asyncio.get_running_loop().call_at(DAY_S, scene.at.transports[0].lose, CUT)
                await asyncio.sleep(2 * DAY_S)
                assert len(scene.seen.gaps) == 3

        run(main())

    def test_many_connections_are_not_replaced_at_once_and_each_before_its_end(self) -> None:
        async def main() -> None:
            limits = {"connection_life_s": DAY_S, "subscriptions_per_connection": 1}
            symbols = ("BTC/USDT", "ETH/USDT", "SOL/USDT", "XRP/USDT", "DOGE/USDT", "LTC/USDT")
            opening = trading(Variant(Architecture.DIRECT, False), symbols=symbols, channels=(TRADES,), limits=limits, **SLOW)
            async with opening as scene:
                await asyncio.sleep(DAY_S)
                opened_s = [attempt.at_s for attempt in scene.at.attempts[6:]]
                assert len(opened_s) == 6 and min(opened_s) > DAY_S - 1900 and max(opened_s) < DAY_S - 800
                assert max(opened_s) - min(opened_s) > 120
                assert scene.seen.gaps == []

        run(main())

    def test_what_fails_is_told_and_tried_again_before_the_end(self, variant: Variant) -> None:
        async def main() -> None:
            async with trading(variant, limits={"connection_life_s": DAY_S}, rotation={"overlap_s": 5.0}, **SLOW) as scene:
                feed, at, seen = scene
                asyncio.get_running_loop().call_at(DAY_S, at.transports[0].lose, CUT)
                at.refuse(*[ConnectFailed("wss://venue.invalid/ws", "down")] * 3)
                await asyncio.sleep(DAY_S + 10)
                assert at.open == [2] and seen.gaps == []
                told = [error for error in seen.of(ErrorEvent) if error.kind == "rotation"]
                assert len(told) == 3 and "down" in told[0].text
                tried_s = [attempt.at_s for attempt in at.attempts[1:]]
                assert all(later - earlier >= 90 for earlier, later in pairwise(tried_s))

        run(main())

    def test_the_venue_that_says_how_long_its_connections_live(self) -> None:
        assert venue_named("mexc_spot").limits.connection_life_s == DAY_S
        assert venue_named("gateio_spot").limits.connection_life_s is None


def test_frames_that_go_past_the_session_are_not_known_again() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        at = Exchange(1.0)

        async def message_handler(parsed: Any) -> None:
            """Whatever a customer does with it."""

        settings = exchange_settings("gateio_spot", **URLS)
        feed = WebSocketManager(settings, message_handler=message_handler, rest=at.rest, connect=at, clock=loop.clock, chance=loop.chance)
        async with feed:
            with pytest.raises(SettingsError, match="not known again"):
                await feed.rotate()
        with pytest.raises(SettingsError, match="closed"):
            await feed.rotate()

    run(main())
