"""Many streams of one venue: over as many connections as its limits ask for, never faster than they allow, each cut its own affair."""

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

import aiohttp
import pytest

from infrastructure.account_api import SignedCall
from infrastructure.config import exchange_settings
from infrastructure.errors import SettingsError, SubscriptionRefused, UnknownSymbol
from infrastructure.events import Trade
from infrastructure.exchanges import venue_named
from infrastructure.limits import Limiter
from infrastructure.networking.http import Answer, Rest
from infrastructure.networking.websocket.fake_transport import FakeRest, FakeTransport, FakeVenue
from infrastructure.networking.websocket.handlers import PublicWebSocketHandler
from infrastructure.networking.websocket.link import Loss, LossCause
from infrastructure.networking.websocket.marker import Switches
from infrastructure.networking.websocket.ws_manager import WebSocketManager
from infrastructure.simulator.launch import SideChannel
from infrastructure.simulator.server import Simulator
from infrastructure.venue import Rate
from tests.harness import frames, mexc_frames
from tests.harness.effort import is_soak
from tests.harness.live import acknowledged, assert_right, assert_whole, live
from tests.harness.live import run as live_run
from tests.harness.live import until as eventually
from tests.harness.variants import Variant
from tests.harness.virtual_loop import VirtualLoop, run_virtual

VENUE = venue_named("mexc_spot")
LIMITS = VENUE.limits
MOST = 30
TRADES, DEPTH = mexc_frames.DEALS, mexc_frames.DEPTH
URLS = {"websocket_url": "wss://venue.invalid/ws", "rest_url": "https://venue.invalid"}


def named(count: int) -> list[str]:
    return [f"S{number}/USDT" for number in range(count)]


def native(symbol: str) -> str:
    return symbol.replace("/", "")


class Exchange(FakeVenue):
    """Answers as the venue does, and knows what each of its connections was ever asked for, and when."""

    def __init__(self, symbols: Sequence[str]) -> None:
        super().__init__(self._answers)
        self.listed = list(symbols)
        self.blocked: set[str] = set()
        #: By connection, in their order: every stream it ever subscribed, with repetitions; and the times of its requests.
        self.ever: defaultdict[int, list[str]] = defaultdict(list)
        self.requested_s: defaultdict[int, list[float]] = defaultdict(list)
        self.fetched_s: list[float] = []
        #: The version of every book.
        self.version = 10

    async def __call__(self, *arguments: Any, **more: Any) -> FakeTransport:
        transport = await super().__call__(*arguments, **more)
        number = len(self.transports)
        transport._answer = lambda text: self._answers_of(number, text)
        return transport

    def _answers(self, text: str) -> list[bytes]:
        raise AssertionError("each connection answers for itself")

    def _answers_of(self, number: int, text: str) -> list[bytes]:
        request = json.loads(text)
        if request["method"] == "PING":
            return [b'{"id":0,"code":0,"msg":"PONG"}']
        self.requested_s[number].append(asyncio.get_running_loop().time())
        if request["method"] == "UNSUBSCRIPTION":
            return [answer(request, ",".join(request["params"]))]
        self.ever[number] += request["params"]
        refused = [stream for stream in request["params"] if stream.rpartition("@")[2] in self.blocked]
        agreed = [stream for stream in request["params"] if stream not in refused]
        words = [answer(request, ",".join(agreed))] if agreed else []
        if refused:
            words.append(answer(request, f"Not Subscribed successfully! [{','.join(refused)}].  Reason\uff1a Blocked! "))
        return words

    def rest(self, path: str, query: Mapping[str, str]) -> bytes:
        if path == VENUE.instruments_path:
            pairs = [symbol.split("/") for symbol in self.listed]
            steps = {"status": "1", "baseAssetPrecision": 2, "quotePrecision": 2, "baseSizePrecision": "0.01"}
            listed = [{"symbol": base + quote, "baseAsset": base, "quoteAsset": quote} | steps for base, quote in pairs]
            return json.dumps({"symbols": listed}).encode()
        self.fetched_s.append(asyncio.get_running_loop().time())
        return json.dumps(
            {"lastUpdateId": self.version, "bids": [["100", "1"]], "asks": [["101", "1"]], "timestamp": 1_700_000_000_000}
        ).encode()

    def carrier(self, stream: str) -> FakeTransport:
        """The open connection that was asked for this stream last."""
        number = max(number for number, streams in self.ever.items() if stream in streams)
        return self.transports[number - 1]


def answer(request: Mapping[str, Any], words: str) -> bytes:
    return json.dumps({"id": request.get("id", 0), "code": 0, "msg": words}).encode()


class RestInMemory(Rest):
    """The shipped one, with its limits and its repetitions, whose answers come from the exchange and not over a socket."""

    def __init__(self, exchange: Exchange, limiter: Limiter, loop: VirtualLoop) -> None:
        limiter.limit("rest", LIMITS.rest)
        super().__init__(URLS["rest_url"], limiter=limiter, key="rest", chance=loop.chance, clock=loop.clock)
        self._exchange = exchange

    async def _ask(self, call: SignedCall) -> Answer:
        if self._is_closed:
            raise aiohttp.ClientError("closed")
        return Answer(200, self._exchange.rest(call.path, dict(parse_qsl(call.query))))


Made = tuple[WebSocketManager, Exchange, frames.Seen, VirtualLoop]


def made(variant: Variant, symbols: Sequence[str], **settings: Any) -> Made:
    """A manager of MEXC in virtual time, the exchange it talks to, and what it calls back."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    exchange, seen = Exchange(symbols), frames.Seen()
    limiter = Limiter(loop.clock.monotonic_ns, loop.chance)
    manager = WebSocketManager(
        exchange_settings(VENUE.name, **{"symbols": symbols, "channels": ["trade"], **URLS, **settings}),
        architecture=variant.architecture,
        adapted=variant.adapted,
        handler=PublicWebSocketHandler(**seen.callbacks),
        limiter=limiter,
        rest=RestInMemory(exchange, limiter, loop),
        connect=exchange,
        clock=loop.clock,
        chance=loop.chance,
    )
    return manager, exchange, seen, loop


def in_virtual_time(seed: int, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    run_virtual(seed, main())


def assert_within(rate: Rate, times_s: Sequence[float]) -> None:
    """No window of the rate's length holds more than its count."""
    for begin in times_s:
        assert sum(1 for at in times_s if begin <= at < begin + rate.per_s - 1e-6) <= rate.count, (rate, begin)


async def until(condition: Callable[[], object], within_s: float = 600.0) -> None:
    """Let virtual time pass until ``condition`` holds."""
    deadline = asyncio.get_running_loop().time() + within_s
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, "it never came to hold"
        await asyncio.sleep(0.1)


async def trade_each(exchange: Exchange, symbols: Sequence[str], number: int) -> None:
    """A trade of every symbol, over the connection that carries it."""
    for symbol in symbols:
        deal = mexc_frames.deal(trade_id=str(number))
        exchange.carrier(f"{TRADES}@100ms@{native(symbol)}").deliver(mexc_frames.trades(deal, native=native(symbol)))
    await asyncio.sleep(0.1)


class TestSpreading:
    def test_two_hundred_symbols_take_seven_connections_and_none_ever_has_more_than_thirty(self, variant: Variant) -> None:
        async def main() -> None:
            symbols = named(200)
            manager, exchange, seen, _ = made(variant, symbols)
            await manager.initialize()
            assert manager.connections == len(exchange.transports) == 7 and manager.is_connected()
            assert sorted(len(streams) for streams in exchange.ever.values()) == [20] + [MOST] * 6
            assert sorted(stream for streams in exchange.ever.values() for stream in streams) == sorted(
                f"{TRADES}@100ms@{native(symbol)}" for symbol in symbols
            )
            assert_within(LIMITS.connects, [attempt.at_s for attempt in exchange.attempts])
            for times in exchange.requested_s.values():
                assert_within(LIMITS.requests, times)
            await trade_each(exchange, symbols, 1)
            assert Counter(trade.symbol for trade in seen.of(Trade)) == Counter(symbols)
            await manager.close()
            assert_whole(manager)

        in_virtual_time(1, main)

    def test_an_ended_subscription_still_counts_where_the_venue_counts_it(self, variant: Variant) -> None:
        async def main() -> None:
            symbols = named(MOST + 5)
            manager, exchange, _, _ = made(variant, symbols)
            await manager.initialize(symbols[:MOST])
            assert manager.connections == 1
            await manager.unsubscribe(symbols[:3])
            await manager.subscribe(symbols[:3])
            assert manager.connections == 2
            assert [len(streams) for _, streams in sorted(exchange.ever.items())] == [MOST, 3]
            for round_number in range(15):
                await manager.unsubscribe(symbols[:3])
                await manager.subscribe(symbols[:3])
                assert all(len(streams) <= MOST for streams in exchange.ever.values()), round_number
            # What is empty is closed: churning does not heap up connections.
            assert manager.connections <= 3
            await manager.close()
            assert_whole(manager)

        in_virtual_time(2, main)

    def test_a_new_connection_begins_its_count_anew(self, variant: Variant) -> None:
        async def main() -> None:
            symbols = named(MOST)
            manager, exchange, _, _ = made(variant, symbols)
            await manager.initialize(symbols[: MOST - 2])
            await manager.unsubscribe(symbols[:2])
            exchange.transports[0].lose(Loss(LossCause.CUT))
            await until(lambda: manager.connects == 2 and manager.is_connected())
            await asyncio.sleep(0.1)
            await manager.subscribe(symbols[MOST - 2 :])
            assert manager.connections == 1 and len(exchange.ever[2]) == MOST - 2
            await manager.close()
            assert_whole(manager)

        in_virtual_time(3, main)

    def test_a_connection_without_streams_is_closed_and_its_account_is_kept(self, variant: Variant) -> None:
        async def main() -> None:
            symbols = named(MOST + 2)
            manager, exchange, seen, _ = made(variant, symbols)
            await manager.initialize()
            await trade_each(exchange, symbols, 1)
            received = manager.accounting.received
            await manager.unsubscribe(symbols[MOST:])
            assert manager.connections == 1 and not exchange.transports[1].is_open
            assert manager.accounting.received == received + 1  # the answer to the end
            assert manager.connects == 2 and not seen.gaps and not seen.errors
            await manager.close()
            assert_whole(manager)

        in_virtual_time(4, main)

    def test_a_switch_has_a_receipt_of_each_connection_and_is_done_when_all_are(self, variant: Variant) -> None:
        async def main() -> None:
            symbols = named(2 * MOST)
            manager, exchange, seen, _ = made(variant, symbols)
            await manager.initialize()
            await trade_each(exchange, symbols, 1)
            received = manager.accounting.received
            marker = manager.switch(variant.architecture.other)
            assert isinstance(marker, Switches)
            receipt = await marker
            assert receipt.changed and len(receipt.connections) == 2 and receipt.after_frame == received
            await trade_each(exchange, symbols, 2)
            assert len(seen.of(Trade)) == 2 * len(symbols)
            assert manager.architecture is variant.architecture.other and manager.switches == 1
            # A connection that is opened later begins in the architecture that was asked for last.
            await manager.subscribe(symbols[:1], [DEPTH])
            assert manager.connections == 3 and {lane.route.architecture for lane in manager._lanes} == {variant.architecture.other}
            await manager.close()
            assert_whole(manager)

        in_virtual_time(5, main)


def test_requests_of_one_stream_each_go_out_no_faster_than_the_venue_takes_them(variant: Variant) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        symbols, sent_s = named(120), []
        limits = venue_named("gateio_spot").limits

        def answered(text: str) -> list[bytes]:
            sent_s.append(loop.time())
            return acknowledged(json.loads(text))

        manager = WebSocketManager(
            exchange_settings("gateio_spot", symbols=symbols, channels=["spot.obu"], **URLS),
            architecture=variant.architecture,
            adapted=variant.adapted,
            connect=FakeVenue(answered),
            rest=FakeRest(lambda path, query: frames.instruments(*symbols)),
            clock=loop.clock,
            chance=loop.chance,
        )
        await manager.initialize()
        assert manager.connections == 1 and len(sent_s) == len(symbols)
        assert_within(limits.requests, sent_s)
        await manager.close()
        assert_whole(manager)

    in_virtual_time(11, main)


def test_what_is_ended_before_its_turn_has_come_is_never_asked_for(variant: Variant) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        symbols, asked = named(120), []

        def answered(text: str) -> list[bytes]:
            asked.append(json.loads(text))
            return acknowledged(json.loads(text))

        manager = WebSocketManager(
            exchange_settings("gateio_spot", symbols=symbols, channels=["spot.obu"], **URLS),
            architecture=variant.architecture,
            adapted=variant.adapted,
            connect=FakeVenue(answered),
            rest=FakeRest(lambda path, query: frames.instruments(*symbols)),
            clock=loop.clock,
            chance=loop.chance,
        )
        await manager.initialize([], ["spot.obu"])
        subscribing = asyncio.ensure_future(manager.subscribe(symbols))
        await asyncio.sleep(0.5)
        assert 0 < len(asked) < len(symbols)
        await manager.unsubscribe(symbols[-10:])
        with pytest.raises(SettingsError, match="was ended meanwhile"):
            await subscribing
        await until(lambda: len(asked) == len(symbols) - 10)
        await asyncio.sleep(5)
        ended = {f"ob.{symbol.replace('/', '_')}.50" for symbol in symbols[-10:]}
        assert not ended & {message["payload"][0] for message in asked}
        assert len(asked) == len(symbols) - 10
        await manager.close()
        assert_whole(manager)

    in_virtual_time(13, main)


def test_a_connection_that_begins_after_a_switch_was_taken_back_is_of_the_architecture_of_the_others(variant: Variant) -> None:
    async def main() -> None:
        symbols = named(MOST + 1)
        manager, exchange, _, _ = made(variant, symbols)
        manager_lane = manager._lanes[0]
        await manager.initialize(symbols[:MOST])
        waits = manager_lane.call("nothing", list)  # something that the switch stands behind, if the lane is not idle
        switch = manager.switch(variant.architecture.other)
        was_taken_back = switch.withdraw()
        await manager.subscribe(symbols[MOST:])
        await waits
        routes = {lane.route.architecture for lane in manager._lanes}
        assert len(manager._lanes) == 2 and routes == {variant.architecture if was_taken_back else variant.architecture.other}
        await manager.close()
        assert_whole(manager)

    in_virtual_time(12, main)


class TestRefusals:
    def test_a_blocked_symbol_is_named_and_the_others_stream(self, variant: Variant) -> None:
        async def main() -> None:
            symbols = named(40)
            manager, exchange, seen, _ = made(variant, symbols)
            exchange.blocked = {native(symbols[7]), native(symbols[33])}
            with pytest.raises(SubscriptionRefused, match="Blocked!") as caught:
                await manager.initialize()
            assert sorted(caught.value.symbols) == sorted([symbols[7], symbols[33]])
            good = [symbol for symbol in symbols if native(symbol) not in exchange.blocked]
            await trade_each(exchange, good, 1)
            assert Counter(trade.symbol for trade in seen.of(Trade)) == Counter(good)
            await manager.close()
            assert_whole(manager)

        in_virtual_time(6, main)

    def test_a_symbol_that_is_not_listed_is_named_and_the_others_stream(self, variant: Variant) -> None:
        async def main() -> None:
            symbols = named(3)
            manager, exchange, seen, loop = made(variant, symbols)
            with pytest.raises(UnknownSymbol, match="'LATE/USDT'; expected one of the 3 instruments of mexc_spot"):
                await manager.initialize([*symbols, "LATE/USDT"])
            await trade_each(exchange, symbols, 1)
            assert len(seen.of(Trade)) == 3 and set(manager.instruments) == set(symbols)
            # A listing of today is found once the list may be read again.
            exchange.listed.append("LATE/USDT")
            with pytest.raises(UnknownSymbol):
                await manager.subscribe(["LATE/USDT"])
            await asyncio.sleep(61)
            await manager.subscribe(["LATE/USDT"])
            assert set(manager.instruments) == {*symbols, "LATE/USDT"}
            await manager.close()
            assert_whole(manager)

        in_virtual_time(7, main)

    def test_a_feed_may_go_on_with_what_it_can_have(self, variant: Variant) -> None:
        async def main() -> None:
            symbols = named(3)
            manager, exchange, seen, _ = made(variant, symbols)
            exchange.blocked = {native(symbols[1])}
            await manager.initialize([*symbols, "NONE/USDT"], partial_streams=True)
            assert sorted({error.kind for error in seen.errors}) == ["refused"]
            await trade_each(exchange, [symbols[0], symbols[2]], 1)
            assert len(seen.of(Trade)) == 2
            await manager.close()
            assert_whole(manager)

        in_virtual_time(8, main)


class TestCuts:
    def test_a_cut_touches_the_symbols_of_its_connection_alone(self, variant: Variant) -> None:
        async def main() -> None:
            symbols = named(3 * MOST)
            manager, exchange, seen, _ = made(variant, symbols)
            await manager.initialize()
            await trade_each(exchange, symbols, 1)
            struck = exchange.carrier(f"{TRADES}@100ms@{native(symbols[MOST])}")
            its = [symbol for symbol in symbols if exchange.carrier(f"{TRADES}@100ms@{native(symbol)}") is struck]
            struck.lose(Loss(LossCause.CUT))
            await asyncio.sleep(0.01)
            assert len(its) == MOST and sorted(gap.symbol or "" for gap in seen.gaps) == sorted(its)
            assert not manager.is_connected()
            rest = [symbol for symbol in symbols if symbol not in its]
            await trade_each(exchange, rest, 2)
            assert len(seen.of(Trade)) == len(symbols) + len(rest)
            await until(manager.is_connected)
            await asyncio.sleep(0.1)
            await trade_each(exchange, its, 2)
            assert len(seen.of(Trade)) == 2 * len(symbols) and len(seen.gaps) == MOST
            assert manager.connects == 4 and all(len(streams) <= MOST for streams in exchange.ever.values())
            await manager.close()
            assert_whole(manager)

        in_virtual_time(9, main)

    @pytest.mark.parametrize("connections", [50 if is_soak() else 20])
    def test_connections_that_are_cut_together_recover_within_the_limits(self, variant: Variant, connections: int) -> None:
        async def main() -> None:
            # N14. Every connection carries trades and one book, whose snapshot everybody wants at the same moment.
            symbols = named((MOST - 1) * connections)
            books = symbols[:connections]
            manager, exchange, seen, loop = made(variant, symbols)
            await manager.initialize()
            await manager.subscribe(books, [DEPTH])
            assert manager.connections == len(exchange.transports)

            def push() -> None:
                exchange.version += 1
                for symbol in books:
                    update = mexc_frames.depth(exchange.version, exchange.version, [(100, 2)], native=native(symbol))
                    exchange.carrier(f"{DEPTH}@100ms@{native(symbol)}").deliver(update)

            push()
            await until(lambda: all(symbol in manager.books and manager.books[symbol].is_live for symbol in books))
            before_s = loop.time()
            open_before = len(exchange.transports)
            for transport in exchange.transports:
                transport.lose(Loss(LossCause.CUT))
            await asyncio.sleep(0.01)
            assert all(book.state.value == "stale" for book in manager.books.values())
            await until(manager.is_connected)
            await asyncio.sleep(1)
            push()
            await until(lambda: all(manager.books[symbol].is_live for symbol in books))
            assert len(exchange.transports) == 2 * open_before
            assert_within(LIMITS.connects, [attempt.at_s for attempt in exchange.attempts])
            assert_within(LIMITS.rest, exchange.fetched_s)
            for times in exchange.requested_s.values():
                assert_within(LIMITS.requests, times)
            took_s = loop.time() - before_s
            least_s = open_before / LIMITS.connects.count * LIMITS.connects.per_s
            assert took_s < 2 * least_s + 40, (took_s, least_s)
            assert len(seen.gaps) == len({(gap.channel, gap.symbol) for gap in seen.gaps})
            await manager.close()
            assert_whole(manager)

        in_virtual_time(10, main)


#: On its way a message may lose so much of its distance from the one before.
ON_THE_WAY_S = 0.1


class TestOnTheExchangesClock:
    """The same over sockets, against an exchange that counts what it is asked, and when."""

    def test_two_hundred_symbols_stream_within_the_limits_and_so_they_do_after_cuts(self, variant: Variant) -> None:
        async def main() -> None:
            symbols = named(200)
            books = symbols[:10]
            simulator = Simulator(VENUE.name, symbols, rate=1000.0)
            async with simulator.serving() as port, aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http:
                at = SideChannel(VENUE.name, f"ws://127.0.0.1:{port}/ws", f"http://127.0.0.1:{port}", http)
                quick = {"first_delay_s": 0.01, "max_delay_s": 0.05, "max_restarts": 1000}
                async with live(variant, at, venue=VENUE.name, symbols=symbols, channels=["trade"], reconnect=quick) as (feed, seen):
                    await feed.subscribe(books, ["orderbook"])
                    assert feed.connections == 7 and feed.is_connected()
                    await eventually(lambda: len({trade.symbol for trade in seen.of(Trade)}) == 200)
                    await assert_right(feed, at, *books)

                    struck = next(iter(simulator._connections.values()))
                    its = {topic.symbol for topic in struck.client.topics}
                    struck.cut()
                    await eventually(lambda: {gap.symbol for gap in seen.gaps} == its)
                    await eventually(lambda: feed.is_connected() and feed.connects == 8)
                    assert {gap.symbol for gap in seen.gaps} == its

                    await at.fault("cut")
                    await eventually(lambda: feed.is_connected() and feed.connects == 15)
                    await assert_right(feed, at, *books)
                    state = await at.state()
                assert state["limits"] == {}, "the exchange never had to refuse"
                assert all(connection["begun"] <= MOST for connection in state["connections"])
                assert_within_on_the_way(LIMITS.connects, state["connects"])
                assert_within_on_the_way(LIMITS.rest, [at_s for at_s, _ in state["rests"]])
                for connection in state["connections"]:
                    assert_within_on_the_way(LIMITS.requests, [at_s for at_s, *_ in connection["requested"]])

        live_run(main())


def assert_within_on_the_way(rate: Rate, times_s: Sequence[float]) -> None:
    assert_within(Rate(rate.count, rate.per_s - ON_THE_WAY_S), times_s)
