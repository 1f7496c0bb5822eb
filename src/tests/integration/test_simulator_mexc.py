"""The simulated MEXC spot over its sockets: requests, limits, market data that is consistent, REST, and faults, each as a client sees it.

Pushes are read by the protobuf library from a table of fields in the tests; a small book of this file's own stands for every client.
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from infrastructure.capture import CaptureLine
from infrastructure.errors import SettingsError
from infrastructure.simulator import connection as simulated_connection
from infrastructure.simulator import server
from infrastructure.simulator.exchange import EVERY, Exchange
from infrastructure.simulator.gateio_spot_exchange import GateioSpotExchange
from infrastructure.simulator.market import FALL, LEAP, Topic, hidden_number
from infrastructure.simulator.mexc_spot_exchange import MOST_SUBSCRIPTIONS, MexcSpotExchange
from infrastructure.simulator.server import Simulator
from tests.harness.exchange_client import ExchangeClient, assert_fault_refused, opened, run
from tests.harness.mexc_schema import read_push

SYMBOLS = ("BTC/USDT", "ETH/USDT")
PAIRS = ["BTCUSDT", "ETHUSDT"]
PATH = "/ws"
DEALS = "spot@public.aggre.deals.v3.api.pb@100ms"
DEPTH = "spot@public.aggre.depth.v3.api.pb@100ms"
BOOK_TICKER = "spot@public.aggre.bookTicker.v3.api.pb@100ms"
MINI_TICKER = "spot@public.miniTicker.v3.api.pb"
#: Every channel, as a client subscribes to all of BTCUSDT.
EVERYTHING = [
    f"{DEALS}@BTCUSDT",
    f"{DEPTH}@BTCUSDT",
    "spot@public.aggre.depth.v3.api.pb@10ms@BTCUSDT",
    f"{BOOK_TICKER}@BTCUSDT",
    "spot@public.bookTicker.batch.v3.api.pb@BTCUSDT",
    "spot@public.limit.depth.v3.api.pb@BTCUSDT@5",
    "spot@public.kline.v3.api.pb@BTCUSDT@Min1",
    f"{MINI_TICKER}@BTCUSDT@24H",
    "spot@public.miniTickers.v3.api.pb@UTC+8",
]
BLOCKED = "Not Subscribed successfully! [{}].  Reason\uff1a Blocked! "


class Client(ExchangeClient):
    """Somebody's connection to the exchange."""

    def take(self, message: aiohttp.WSMessage) -> None:
        if message.type is aiohttp.WSMsgType.TEXT:
            self.answers.append(json.loads(message.data))
        else:
            assert message.type is aiohttp.WSMsgType.BINARY, message
            self.frames.append(read_push(message.data))

    async def ask(self, method: str, *params: str, answers: int = 1, **more: Any) -> list[dict[str, Any]]:
        """Send a request and return its answers."""
        return await self.answers_to({"method": method, "params": list(params)} | more, answers)

    async def subscribe(self, *streams: str) -> None:
        """Subscribe to streams that the exchange has."""
        assert await self.ask("SUBSCRIPTION", *streams) == [{"id": 0, "code": 0, "msg": ",".join(streams)}]

    async def rest_is_here(self) -> None:
        """Everything that was put on the connection so far has been read: the server answers pings in order."""
        assert await self.ask("PING", id=4711) == [{"id": 4711, "code": 0, "msg": "PONG"}]
        self.answers.pop()

    async def is_closed(self) -> aiohttp.WSMsgType:
        """Read to the end, and tell how it came."""
        message = await self.socket.receive(timeout=20)
        while message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
            message = await self.socket.receive(timeout=20)
        return message.type


@asynccontextmanager
async def exchange(
    *faults: str, rate: float = 2000.0, seed: int = 1, log: str = "test", is_paused: bool = False, **more: Any
) -> AsyncIterator[Client]:
    """A running exchange and a client of it."""
    simulator = Simulator("mexc_spot", () if "capture" in more else SYMBOLS, rate=rate, seed=seed, faults=faults, **more)
    simulator.is_paused = is_paused
    async with opened(simulator, log) as (http, socket):
        yield Client(http, socket)


def body_of(frame: dict[str, Any]) -> dict[str, Any]:
    body: dict[str, Any] = next((value for value in frame.values() if isinstance(value, dict)), {})
    return body


class Book:
    """A book kept by the venue's page and nothing else; keys are prices as numbers, since padding differs."""

    def __init__(self, rest: dict[str, Any] | None = None) -> None:
        self.last = 0 if rest is None else int(rest["lastUpdateId"])
        self.bids: dict[float, float] = {}
        self.asks: dict[float, float] = {}
        self.holes = self.repeated = 0
        #: By how much the first version after each hole was too high.
        self.leaps: list[int] = []
        if rest is not None:
            for side, levels in ((self.bids, rest["bids"]), (self.asks, rest["asks"])):
                side.update((float(price), float(quantity)) for price, quantity in levels)

    def take(self, body: dict[str, Any]) -> None:
        """A change, or the best levels."""
        if "version" in body:
            self.bids.clear()
            self.asks.clear()
            self.last = int(body["version"])
        else:
            first, last = int(body["fromVersion"]), int(body["toVersion"])
            assert first <= last
            if last <= self.last:
                self.repeated += 1
                return
            if self.last and first > self.last + 1:
                self.holes += 1
                self.leaps.append(first - self.last - 1)
            self.last = last
        for side, levels in ((self.bids, body.get("bids", [])), (self.asks, body.get("asks", []))):
            for level in levels:
                if float(level["quantity"]):
                    side[float(level["price"])] = float(level["quantity"])
                else:
                    side.pop(float(level["price"]), None)

    @property
    def levels(self) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
        return sorted(self.bids.items(), reverse=True), sorted(self.asks.items())


def levels_of(book: dict[str, Any], top: int = 1000) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    bids, asks = ([(float(price), float(quantity)) for price, quantity in book[side][:top]] for side in ("bids", "asks"))
    return bids, asks


class TestRequests:
    @pytest.mark.parametrize(
        ("given", "echoed"), [({}, 0), ({"id": 7}, 7), ({"id": 0}, 0), ({"id": "x"}, 0), ({"id": -1}, 0), ({"id": True}, 0)]
    )
    def test_an_acknowledgement_repeats_the_streams_and_the_id(self, given: dict[str, Any], echoed: int) -> None:
        async def test() -> None:
            async with exchange(rate=0) as client:
                for method in ("SUBSCRIPTION", "UNSUBSCRIPTION"):
                    answers = await client.ask(method, *EVERYTHING, **given)
                    assert answers == [{"id": echoed, "code": 0, "msg": ",".join(EVERYTHING)}]

        run(test())

    @pytest.mark.parametrize("method", ["PING", "ping"])
    def test_a_ping_is_answered(self, method: str) -> None:
        async def test() -> None:
            async with exchange(rate=0) as client:
                await client.socket.send_str(json.dumps({"method": method}))
                await client.read(lambda: bool(client.answers))
                assert client.answers == [{"id": 0, "code": 0, "msg": "PONG"}]

        run(test())

    @pytest.mark.parametrize(
        "stream",
        [
            "spot@public.deals.v3.api.pb@BTCUSDT",
            "spot@public.increase.depth.v3.api.pb@BTCUSDT",
            "spot@public.bookTicker.v3.api.pb@BTCUSDT",
            "spot@public.deals.v3.api@BTCUSDT",
            "spot@public.miniTicker.v3.api@BTCUSDT@UTC+0",
            f"{DEALS}@NOPEUSDT",
            f"{DEALS}@btcusdt",
            f"{DEALS}@BTC_USDT",
            "spot@public.aggre.deals.v3.api.pb@50ms@BTCUSDT",
            "spot@public.aggre.deals.v3.api.pb@BTCUSDT",
            "spot@public.limit.depth.v3.api.pb@BTCUSDT@50",
            "spot@public.kline.v3.api.pb@BTCUSDT@Min2",
            "spot@public.miniTicker.v3.api.pb@BTCUSDT",
            "spot@public.miniTickers.v3.api.pb@BTCUSDT",
            "spot@private.deals.v3.api.pb",
            "",
        ],
    )
    def test_a_refusal_has_code_zero_and_the_venues_words(self, stream: str) -> None:
        async def test() -> None:
            async with exchange(rate=0) as client:
                await client.socket.send_str(json.dumps({"method": "SUBSCRIPTION", "params": [stream], "id": 5}))
                message = await client.socket.receive(timeout=20)
                # To the letter, the wide colon included: it is not written as an escape.
                assert message.data == f'{{"id":5,"code":0,"msg":"{BLOCKED.format(stream)}"}}'
                (state,) = (await client.state())["connections"]
                assert (state["subscriptions"], state["begun"]) == ([], 0)

        run(test())

    def test_a_request_can_be_part_accepted_and_part_refused(self) -> None:
        async def test() -> None:
            async with exchange() as client:
                good, bad = [f"{DEALS}@{pair}" for pair in PAIRS], [f"{DEALS}@NOPEUSDT", "spot@public.deals.v3.api.pb@BTCUSDT"]
                answers = await client.ask("SUBSCRIPTION", good[0], bad[0], good[1], bad[1], answers=2, id=3)
                assert answers == [
                    {"id": 3, "code": 0, "msg": ",".join(good)},
                    {"id": 3, "code": 0, "msg": BLOCKED.format(",".join(bad))},
                ]
                assert {frame["channel"] for frame in await client.read_frames(50)} == set(good)

        run(test())

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "{",
            "[]",
            "7",
            "{}",
            '{"method":"SUBSCRIPTION"}',
            '{"method":"SUBSCRIPTION","params":[]}',
            '{"method":"SUBSCRIPTION","params":[1]}',
            '{"method":"SUBSCRIPTION","params":"x"}',
            '{"method":"NOTHING","params":["x"]}',
            "[" * 100_000,
        ],
    )
    def test_what_is_no_request_is_told_so_and_the_connection_lives(self, text: str) -> None:
        async def test() -> None:
            async with exchange(rate=0) as client:
                await client.socket.send_str(text)
                await client.read(lambda: bool(client.answers))
                assert client.answers == [{"id": 0, "code": 0, "msg": "msg format invalid"}]
                await client.subscribe(f"{DEALS}@BTCUSDT")

        run(test())

    def test_two_subscriptions_of_one_stream_push_once_and_count_once(self) -> None:
        async def test() -> None:
            async with exchange() as client:
                await client.subscribe(f"{DEALS}@BTCUSDT")
                await client.subscribe(f"{DEALS}@BTCUSDT", f"{DEALS}@BTCUSDT")
                frames = await client.read_frames(50)
                assert len({body_of(frame)["deals"][0]["tradeId"] for frame in frames}) == 50
                (state,) = (await client.state())["connections"]
                assert state["begun"] == 1

        run(test())

    def test_unsubscribing_ends_a_stream(self) -> None:
        async def test() -> None:
            async with exchange() as client:
                await client.subscribe(*(f"{DEALS}@{pair}" for pair in PAIRS))
                await client.read_frames(5)
                await client.ask("UNSUBSCRIPTION", f"{DEALS}@BTCUSDT", "what is no stream")
                client.frames.clear()
                assert {frame["symbol"] for frame in await client.read_frames(50)} == {"ETHUSDT"}

        run(test())

    def test_pushes_are_binary_and_answers_text(self) -> None:
        async def test() -> None:
            async with exchange(is_paused=True) as client:
                await client.socket.send_str(json.dumps({"method": "SUBSCRIPTION", "params": EVERYTHING}))
                assert (await client.socket.receive(timeout=20)).type is aiohttp.WSMsgType.TEXT
                await client.post("resume")
                for _ in range(100):
                    message = await client.socket.receive(timeout=20)
                    assert message.type is aiohttp.WSMsgType.BINARY and message.data[0] == 0x0A

        run(test())


class TestLimits:
    def test_a_connection_has_thirty_subscriptions_ever(self) -> None:
        async def test() -> None:
            symbols = tuple(f"C{number}/USDT" for number in range(40))
            async with served(symbols) as client:
                names = [f"{DEALS}@C{number}USDT" for number in range(40)]
                answers = await client.ask("SUBSCRIPTION", *names[:32], answers=2)
                assert answers[0]["msg"] == ",".join(names[:MOST_SUBSCRIPTIONS])
                assert answers[1]["msg"] == BLOCKED.format(",".join(names[MOST_SUBSCRIPTIONS:32]))
                # Ending some makes no room: neither for others nor for themselves.
                await client.ask("UNSUBSCRIPTION", *names[:5])
                for name in (names[35], names[0]):
                    assert (await client.ask("SUBSCRIPTION", name))[0]["msg"] == BLOCKED.format(name)
                # What it still has it may ask for again.
                await client.subscribe(names[6])
                async with client.http.ws_connect(PATH) as socket:
                    await Client(client.http, socket).subscribe(*names[:30])
                    state = await client.state()
                assert state["limits"] == {"subscriptions": 4}
                assert [(each["begun"], len(each["subscriptions"])) for each in state["connections"]] == [(30, 25), (30, 30)]

        run(test())

    def test_more_than_so_many_messages_a_second_cost_the_connection(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(MexcSpotExchange, "most_messages_per_s", 20)

        async def test() -> None:
            async with exchange(rate=0) as client:
                for _ in range(20):
                    await client.rest_is_here()
                state = await client.state()
                assert state["limits"] == {}
                burst = '{"method":"PING"}'
                async with client.http.ws_connect(PATH) as socket:
                    for _ in range(21):
                        await socket.send_str(burst)
                    assert await Client(client.http, socket).is_closed() in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)
                state = await client.state()
                assert state["limits"] == {"messages": 1}
                assert [(each["is_open"], each["busiest"] <= 20) for each in state["connections"]] == [(True, True), (False, False)]

        run(test())

    def test_a_connection_without_a_subscription_is_dropped(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(MexcSpotExchange, "unused_timeout_s", 0.5)

        async def test() -> None:
            async with exchange(rate=0) as client:
                await client.subscribe(f"{DEALS}@BTCUSDT")
                async with client.http.ws_connect(PATH) as socket:
                    other = Client(client.http, socket)
                    # Neither a ping nor a refusal is a subscription.
                    await other.rest_is_here()
                    await other.ask("SUBSCRIPTION", "nothing")
                    assert await other.is_closed() in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)
                await client.rest_is_here()
                assert (await client.state())["limits"] == {"unused": 1}

        run(test())

    def test_a_connection_without_data_is_dropped_unless_its_client_pings(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(MexcSpotExchange, "quiet_timeout_s", 0.5)
        # The protocol's own pings would be no data.
        monkeypatch.setattr(MexcSpotExchange, "pings", True)
        for module in (simulated_connection, server):
            monkeypatch.setattr(module, "PING_EVERY_S", 0.05)

        async def test() -> None:
            async with exchange(is_paused=True) as client, client.http.ws_connect(PATH) as quiet, client.http.ws_connect(PATH) as pinging:
                one, other = Client(client.http, quiet), Client(client.http, pinging)
                for each in (one, other, client):
                    await each.subscribe(f"{DEALS}@BTCUSDT")
                closed = asyncio.create_task(one.is_closed())
                while not closed.done():
                    await other.rest_is_here()
                    await client.rest_is_here()
                    await asyncio.sleep(0.05)
                await client.post("resume")
                await client.read_frames(3)
                state = await client.state()
                assert state["limits"] == {"quiet": 1}
                assert [each["is_open"] for each in state["connections"]] == [True, False, True]

        run(test())

    def test_data_keeps_a_connection(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(MexcSpotExchange, "quiet_timeout_s", 1.0)

        async def test() -> None:
            async with exchange() as client:
                await client.subscribe(f"{DEALS}@BTCUSDT")
                until = time.monotonic() + 2
                await client.read(lambda: time.monotonic() > until)
                assert (await client.state())["limits"] == {}

        run(test())

    def test_the_venues_own_limits_stand(self) -> None:
        assert (MOST_SUBSCRIPTIONS, MexcSpotExchange.most_messages_per_s) == (30, 100)
        assert (MexcSpotExchange.unused_timeout_s, MexcSpotExchange.quiet_timeout_s) == (30, 60)


@asynccontextmanager
async def served(symbols: tuple[str, ...]) -> AsyncIterator[Client]:
    """An exchange at rest with other pairs."""
    async with (
        Simulator("mexc_spot", symbols, rate=0).serving() as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http,
        http.ws_connect(PATH) as socket,
    ):
        yield Client(http, socket)


class TestMarketData:
    def test_all_channels_of_a_pair_show_one_book_at_the_same_version(self) -> None:
        async def test() -> None:
            async with exchange(is_paused=True) as client:
                await client.subscribe(*EVERYTHING)
                rest = await client.get("/api/v3/depth?symbol=BTCUSDT&limit=5000")
                await client.post("resume")
                await client.read(lambda: len(client.frames) > 4000)
                await client.post("pause")
                await client.rest_is_here()
                truth = (await client.get("/simulator/books"))["BTC/USDT"]
                books = {speed: Book(rest) for speed in ("100ms", "10ms")}
                top = Book()
                checked: Counter[str] = Counter()
                for frame in client.frames:
                    channel, body = frame["channel"], body_of(frame)
                    if ".aggre.depth." in channel:
                        books[channel.split("@")[2]].take(body)
                    elif ".limit.depth." in channel:
                        top.take(body)
                        best = books["100ms"].levels
                        assert top.levels == (best[0][:5], best[1][:5]) and top.last == books["100ms"].last
                    elif "ookTicker" in channel:
                        shown = body["items"][0] if "items" in body else body
                        (bid, ask) = (side[0] for side in books["100ms"].levels)
                        assert int(body["version"]) == books["100ms"].last
                        assert (float(shown["bidPrice"]), float(shown["bidQuantity"])) == bid
                        assert (float(shown["askPrice"]), float(shown["askQuantity"])) == ask
                    checked[channel] += 1
                for book in books.values():
                    assert (book.holes, book.repeated, book.last, book.levels) == (0, 0, truth["id"], levels_of(truth))
                assert set(checked) == set(EVERYTHING) and min(checked.values()) > 10

        run(test())

    def test_trades_tickers_and_candles_agree_with_one_another(self) -> None:
        async def test() -> None:
            async with exchange(rate=5000, is_paused=True) as client:
                await client.subscribe(*EVERYTHING)
                await client.post("resume")
                await client.read(lambda: sum(frame["channel"].startswith(MINI_TICKER) for frame in client.frames) > 60)
                last, high, low, volume, turnover = 0.0, 0.0, 1e9, 0.0, 0.0
                checked: Counter[str] = Counter()
                for frame in client.frames:
                    body = body_of(frame)
                    if "deals" in body:
                        (deal,) = body["deals"]
                        last, amount = float(deal["price"]), float(deal["quantity"])
                        high, low, volume, turnover = max(high, last), min(low, last), volume + amount, turnover + amount * last
                    elif "publicSpotKline" in frame and last:
                        assert float(body["closingPrice"]) == last or body["windowEnd"] * 1000 <= frame["createTime"]
                        assert float(body["volume"]) < volume + 1
                    elif "publicMiniTicker" in frame and last:
                        assert float(body["price"]) == last
                        assert float(body["low"]) <= low <= high <= float(body["high"])
                        assert int(float(body["quantity"])) == int(volume) and float(body["volume"]) == pytest.approx(turnover)
                    else:
                        continue
                    checked[next(iter(frame.keys() & {"publicAggreDeals", "publicSpotKline", "publicMiniTicker"}))] += 1
                assert len(checked) == 3 and min(checked.values()) > 10

        run(test())

    def test_numbers_rise_by_one_on_every_pair_and_channel(self) -> None:
        async def test() -> None:
            streams = [f"{DEALS}@{pair}" for pair in PAIRS] + [f"{MINI_TICKER}@{pair}@24H" for pair in PAIRS]
            streams += [f"spot@public.kline.v3.api.pb@{pair}@Min5" for pair in PAIRS]
            async with exchange(rate=5000) as client:
                await client.subscribe(*streams, "spot@public.miniTickers.v3.api.pb@24H")
                numbers: dict[str, list[int]] = {}
                for frame in await client.read_frames(1500):
                    body = body_of(frame)
                    for item in body.get("deals") or body.get("items") or [body]:
                        # The volume of a candle is in the base, that of a ticker is its turnover.
                        amount = item["quantity"] if "quantity" in item else item["volume"]
                        numbers.setdefault(f"{frame['channel']} {item.get('symbol')}", []).append(hidden_number(float(amount)))
                assert len(numbers) == 8
                for stream in numbers.values():
                    assert stream == list(range(stream[0], stream[0] + len(stream)))

        run(test())

    def test_one_seed_gives_one_market_whoever_listens(self) -> None:
        async def contents(seed: int, *streams: str) -> list[tuple[str, str]]:
            async with exchange(rate=5000, seed=seed, is_paused=True) as client:
                await client.subscribe(*streams)
                await client.post("resume")
                await client.read(lambda: sum(frame["channel"] == streams[0] for frame in client.frames) > 150)
                deals = [body_of(frame)["deals"][0] for frame in client.frames if frame["channel"] == streams[0]][:150]
                return [(deal["tradeId"], deal["quantity"]) for deal in deals]

        async def test() -> None:
            first = await contents(7, f"{DEALS}@ETHUSDT")
            assert first == await contents(7, f"{DEALS}@ETHUSDT", *EVERYTHING)
            assert first != await contents(8, f"{DEALS}@ETHUSDT")

        run(test())

    def test_times_are_of_the_wall_clock(self) -> None:
        async def test() -> None:
            async with exchange() as client:
                await client.subscribe(*EVERYTHING)
                for frame in await client.read_frames(500):
                    assert abs((frame.get("sendTime") or frame["createTime"]) / 1000 - time.time()) < 30
                    assert ("createTime" in frame) is ("publicSpotKline" in frame) is ("sendTime" not in frame)

        run(test())


class TestRest:
    def test_the_paths_that_clients_load_first(self) -> None:
        async def test() -> None:
            async with exchange(rate=0) as client:
                assert await client.get("/api/v3/ping") == {}
                assert abs((await client.get("/api/v3/time"))["serverTime"] / 1000 - time.time()) < 30
                assert await client.get("/api/v1/contract/detail") == {"success": True, "code": 0, "data": []}
                info = await client.get("/api/v3/exchangeInfo")
                rows = info["symbols"]
                assert [(row["symbol"], row["baseAsset"], row["quoteAsset"], row["status"]) for row in rows] == [
                    ("BTCUSDT", "BTC", "USDT", "1"),
                    ("ETHUSDT", "ETH", "USDT", "1"),
                ]
                assert {"quotePrecision", "baseAssetPrecision", "baseSizePrecision", "quoteAmountPrecision", "permissions"} <= rows[
                    0
                ].keys()
                for query in ("symbol=ETHUSDT", "symbols=ETHUSDT"):
                    assert (await client.get(f"/api/v3/exchangeInfo?{query}"))["symbols"] == rows[1:]

        run(test())

    def test_books_trades_and_tickers(self) -> None:
        async def test() -> None:
            async with exchange(rate=5000) as client:
                while len(await client.get("/api/v3/trades?symbol=ETHUSDT")) < 20:
                    await asyncio.sleep(0.05)
                await client.post("pause")
                truth = (await client.get("/simulator/books"))["ETH/USDT"]
                book = await client.get("/api/v3/depth?symbol=ETHUSDT&limit=5000")
                assert (book["lastUpdateId"], levels_of(book)) == (truth["id"], levels_of(truth))
                assert abs(book["timestamp"] / 1000 - time.time()) < 30
                assert {len(text.partition(".")[2]) for side in ("bids", "asks") for _, text in book[side]} == {8}
                short = await client.get("/api/v3/depth?symbol=ETHUSDT&limit=3")
                assert levels_of(short) == levels_of(truth, 3)
                trades = await client.get("/api/v3/trades?symbol=ETHUSDT&limit=5")
                assert len(trades) == 5 and [row["time"] for row in trades] == sorted((row["time"] for row in trades), reverse=True)
                assert all(row["isBuyerMaker"] is (row["tradeType"] == "ASK") for row in trades)
                ticker = await client.get("/api/v3/ticker/24hr?symbol=ETHUSDT")
                assert (float(ticker["lastPrice"]), float(ticker["bidPrice"])) == (float(trades[0]["price"]), float(truth["bids"][0][0]))
                assert [each["symbol"] for each in await client.get("/api/v3/ticker/24hr")] == PAIRS

        run(test())

    @pytest.mark.parametrize(
        ("path", "status", "code"),
        [
            ("/api/v3/depth?symbol=NOPEUSDT", 400, 10007),
            ("/api/v3/trades?symbol=BTC_USDT", 400, 10007),
            ("/api/v3/ticker/24hr?symbol=NOPEUSDT", 400, 10007),
            ("/api/v3/exchangeInfo?symbol=NOPEUSDT", 400, 10007),
            ("/api/v3/exchangeInfo?symbols=BTCUSDT,NOPEUSDT", 400, 10007),
            ("/api/v3/depth", 400, 44444),
            ("/api/v3/depth?symbol=BTCUSDT&limit=5001", 400, 33333),
            ("/api/v3/depth?symbol=BTCUSDT&limit=x", 400, 33333),
            ("/api/v3/trades?symbol=BTCUSDT&limit=0", 400, 33333),
            ("/api/v3/nothing", 404, 404),
        ],
    )
    def test_a_wrong_request_gets_the_venues_code(self, path: str, status: int, code: int) -> None:
        async def test() -> None:
            async with exchange(rate=0) as client, client.http.get(path) as answer:
                body = await answer.json()
                assert (answer.status, body["code"]) == (status, code) and body["msg"]

        run(test())


async def logged(client: Client, name: str = "test") -> list[tuple[str, str, str, int]]:
    log = await client.get(f"/simulator/log?name={name}")
    streams = [tuple(stream) for stream in log["streams"]]
    return [(*streams[index], number) for index, number in log["entries"]]


async def follow(client: Client, count: int = 400) -> Book:
    """A book of BTCUSDT, kept for so many frames."""
    await client.subscribe(f"{DEPTH}@BTCUSDT")
    await client.read_frames(count)
    book = Book()
    for frame in client.frames:
        book.take(body_of(frame))
    return book


async def faults(client: Client) -> dict[str, int]:
    counts: dict[str, int] = (await client.state())["faults"]
    return counts


class TestFaults:
    def test_without_faults_nothing_is_amiss_and_the_log_is_what_came(self) -> None:
        async def test() -> None:
            async with exchange(is_paused=True) as client:
                await client.subscribe(*EVERYTHING)
                await client.post("resume")
                await client.read_frames(1000)
                await client.post("pause")
                await client.rest_is_here()
                assert await faults(client) == {}
                entries = await logged(client)
                assert len(entries) == len(client.frames)
                expected = Counter(frame["channel"].split("@")[1] for frame in client.frames)
                assert Counter(channel.split("@")[1] for _, _, channel, _ in entries) == expected
                versions = [int(body_of(frame)["toVersion"]) for frame in client.frames if frame["channel"] == f"{DEPTH}@BTCUSDT"]
                assert [number for kind, _, channel, number in entries if kind == "orderbook" and ".aggre." in channel][::2] == versions

        run(test())

    def test_jump_leaps_without_leaving_anything_out(self) -> None:
        async def test() -> None:
            async with exchange("jump=10", is_paused=True) as client:
                rest = await client.get("/api/v3/depth?symbol=BTCUSDT&limit=5000")
                await client.subscribe(f"{DEPTH}@BTCUSDT", f"{BOOK_TICKER}@BTCUSDT")
                await client.post("resume")
                await client.read_frames(600)
                await client.post("pause")
                await client.rest_is_here()
                book, tickers = Book(rest), 0
                for frame in client.frames:
                    body = body_of(frame)
                    if "version" in body:
                        tickers += 1
                        assert int(body["version"]) == book.last
                    else:
                        book.take(body)
                assert 20 < book.holes < 100 and set(book.leaps) == {LEAP} and book.repeated == 0 and tickers
                # The book that was kept through all leaps is right, and REST goes on from where they led.
                truth = (await client.get("/simulator/books"))["BTC/USDT"]
                assert (book.last, book.levels) == (truth["id"], levels_of(truth))
                assert (await client.get("/api/v3/depth?symbol=BTCUSDT"))["lastUpdateId"] == book.last
                assert (await faults(client))["jump"] == book.holes

        run(test())

    @pytest.mark.parametrize("stream", EVERYTHING)
    def test_bodyless_puts_an_empty_wrapper_before_a_push(self, stream: str) -> None:
        async def test() -> None:
            async with exchange("bodyless=2", rate=10_000) as client:
                await client.subscribe(stream)
                frames = await client.read_frames(60)
                empty = [place for place, frame in enumerate(frames) if not body_of(frame)]
                assert empty and not any(place + 1 in empty for place in empty)
                for frame in frames:
                    assert frame["channel"] == stream and ("symbol" in frame) is ("miniTickers" not in stream)
                assert (await faults(client))["bodyless"] >= len(empty)

        run(test())

    def test_old_schema_has_neither_ids_of_trades_nor_versions_of_tops(self) -> None:
        async def test() -> None:
            async with exchange("old-schema") as client:
                await client.subscribe(*EVERYTHING)
                await client.read_frames(600)
                for frame in client.frames:
                    body = body_of(frame)
                    assert "lastOrderCreateTime" not in body
                    if "ookTicker" in frame["channel"]:
                        assert "version" not in body
                    elif "deals" in body:
                        assert "tradeId" not in body["deals"][0] and "time" in body["deals"][0]
                    elif "limit" in frame["channel"]:
                        assert "version" in body
                assert (await faults(client))["old-schema"] >= 500
                await client.post("fault", "clear")
                await client.rest_is_here()
                client.frames.clear()
                await client.read(lambda: any("tradeId" in str(frame) for frame in client.frames))

        run(test())

    def test_corrupt_is_a_wrong_top_that_the_ticker_of_the_same_version_tells(self) -> None:
        async def test() -> None:
            async with exchange("corrupt=5", is_paused=True) as client:
                book = Book(await client.get("/api/v3/depth?symbol=BTCUSDT&limit=5000"))
                await client.subscribe(f"{DEPTH}@BTCUSDT", f"{BOOK_TICKER}@BTCUSDT")
                await client.post("resume")
                # Once a push was wrong, a level may stay so: only the first one is held against a right book.
                for place in range(2000):
                    await client.read_frames(place + 1)
                    body = body_of(client.frames[place])
                    if "version" not in body:
                        book.take(body)
                        continue
                    assert int(body["version"]) == book.last
                    best = [side[0] for side in book.levels]
                    shown = [(float(body[f"{side}Price"]), float(body[f"{side}Quantity"])) for side in ("bid", "ask")]
                    if best != shown:
                        break
                assert place < 1999 and book.holes == 0 and (await faults(client))["corrupt"] >= 1

        run(test())

    def test_one_sided_changes_have_no_bids(self) -> None:
        async def test() -> None:
            async with exchange("one-sided=BTC/USDT") as client:
                book = await follow(client)
                assert not any("bids" in body_of(frame) for frame in client.frames) and book.asks and book.holes == 0

        run(test())

    def test_reset_lets_versions_begin_anew_far_below(self) -> None:
        async def test() -> None:
            async with exchange("reset=20") as client:
                await client.subscribe(f"{DEPTH}@BTCUSDT")
                versions = [int(body_of(frame)["fromVersion"]) for frame in await client.read_frames(300)]
                falls = [earlier - later for earlier, later in zip(versions, versions[1:], strict=False) if later < earlier]
                assert falls and min(falls) > FALL // 2

        run(test())

    def test_replay_begins_with_trades_that_were_sent_before(self) -> None:
        async def test() -> None:
            async with exchange("replay=5") as client:
                await client.subscribe(f"{DEALS}@BTCUSDT")
                await client.read_frames(50)
                async with client.http.ws_connect(f"{PATH}?log=test") as socket:
                    other = Client(client.http, socket)
                    await other.subscribe(f"{DEALS}@BTCUSDT")
                    frames = await other.read_frames(20)
                    await client.rest_is_here()
                seen = [body_of(frame)["deals"][0]["tradeId"] for frame in frames]
                first = [body_of(frame)["deals"][0]["tradeId"] for frame in client.frames]
                assert seen[0] in first and len(set(seen)) == 20 and (await faults(client))["replay"] == 5

        run(test())

    def test_drop_leaves_holes(self) -> None:
        async def test() -> None:
            async with exchange("drop=10") as client:
                book = await follow(client)
                assert 20 < book.holes < 80 and max(book.leaps) < LEAP

        run(test())

    def test_duplicate_repeats_a_push_and_logs_it_once(self) -> None:
        async def test() -> None:
            async with exchange("duplicate=10") as client:
                book = await follow(client)
                assert 20 < book.repeated < 80 and book.holes == 0
                numbers = [entry[3] for entry in await logged(client)]
                assert len(set(numbers)) == len(numbers)

        run(test())

    def test_reorder_swaps_two_pushes(self) -> None:
        async def test() -> None:
            async with exchange("reorder=10") as client:
                await follow(client)
                numbers = [int(body_of(frame)["toVersion"]) for frame in client.frames]
                swapped = [index for index in range(len(numbers) - 1) if numbers[index] > numbers[index + 1]]
                assert 15 < len(swapped) < 80

        run(test())

    @pytest.mark.parametrize("target", ["spot@public.aggre.deals.v3.api.pb", "ETH/USDT"])
    def test_refuse_refuses_what_it_names_and_nothing_else(self, target: str) -> None:
        async def test() -> None:
            async with exchange(f"refuse={target}", rate=0) as client:
                bad = f"{DEALS}@ETHUSDT"
                accepted, refused = await client.ask("SUBSCRIPTION", bad, f"{DEPTH}@BTCUSDT", answers=2)
                assert (accepted["msg"], refused["msg"]) == (f"{DEPTH}@BTCUSDT", BLOCKED.format(bad))
                assert (await faults(client)) == {"refuse": 1}

        run(test())

    def test_unanswered_neither_answers_nor_pushes(self) -> None:
        async def test() -> None:
            async with exchange("unanswered=spot@public.aggre.deals.v3.api.pb") as client:
                await client.subscribe(f"{DEPTH}@BTCUSDT")
                await client.ask("SUBSCRIPTION", f"{DEALS}@BTCUSDT", answers=0)
                await client.rest_is_here()
                client.frames.clear()
                assert {frame["channel"] for frame in await client.read_frames(100)} == {f"{DEPTH}@BTCUSDT"}
                (state,) = (await client.state())["connections"]
                assert (len(client.answers), state["begun"]) == (1, 1)

        run(test())

    @pytest.mark.parametrize("target", ["spot@public.aggre.deals.v3.api.pb", "ETH/USDT"])
    def test_mute_acknowledges_and_pushes_nothing(self, target: str) -> None:
        async def test() -> None:
            async with exchange(f"mute={target}") as client:
                await client.subscribe(f"{DEALS}@ETHUSDT", f"{DEPTH}@BTCUSDT")
                assert {frame["channel"] for frame in await client.read_frames(100)} == {f"{DEPTH}@BTCUSDT"}
                assert (await faults(client))["mute"] > 0

        run(test())

    def test_cut_resets_the_connection(self) -> None:
        async def test() -> None:
            async with exchange("cut=0.2") as client:
                await client.subscribe(f"{DEALS}@BTCUSDT")
                assert await client.is_closed() in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)
                assert (await faults(client))["cut"] == 1

        run(test())

    def test_stale_books_are_from_before_the_first_push(self) -> None:
        async def test() -> None:
            async with exchange("stale=2", is_paused=True) as client:
                await client.subscribe(f"{DEPTH}@BTCUSDT")
                await client.post("resume")
                (first,) = await client.read_frames(1)
                ids = [(await client.get("/api/v3/depth?symbol=BTCUSDT"))["lastUpdateId"] for _ in range(3)]
                assert ids[0] == ids[1] and ids[0] + 1 < int(body_of(first)["fromVersion"]) <= ids[2]

        run(test())

    def test_slow_rest_and_drip_are_slow(self) -> None:
        async def test() -> None:
            async with exchange("slow-rest=0.2", "drip=2000") as client:
                began = time.monotonic()
                await client.get("/api/v3/time")
                assert time.monotonic() - began >= 0.2
                began = time.monotonic()
                await client.subscribe(f"{DEPTH}@BTCUSDT")
                await client.read_frames(10)
                # Ten frames have more than a thousand bytes.
                assert time.monotonic() - began >= 0.4

        run(test())

    @pytest.mark.parametrize(
        ("fault", "says"),
        [
            ("full=3", "fault 'full' has no meaning here: no push has a whole book in place of a change"),
            ("early", "fault 'early' has no meaning here: no stream begins with a whole book"),
            ("mute=BTCUSDT", "known: spot@public.aggre.depth.v3.api.pb"),
            ("old-schema=1", "is not of the form old-schema"),
            ("jump", "is not of the form jump=N"),
        ],
    )
    def test_a_fault_that_it_cannot_have_is_told(self, fault: str, says: str) -> None:
        assert_fault_refused("mexc_spot", SYMBOLS, fault, says)

    @pytest.mark.parametrize("fault", ["bodyless=3", "old-schema"])
    def test_what_others_cannot_have_is_told_too(self, fault: str) -> None:
        with pytest.raises(SettingsError, match="has no meaning here"):
            Simulator("gateio_spot", SYMBOLS, faults=[fault])


class TestTooOften:
    @pytest.mark.parametrize(
        ("venue", "path", "other", "words"),
        [
            (MexcSpotExchange, "/api/v3/depth?symbol=BTCUSDT", "/api/v3/time", {"code": 429, "msg": "Too many requests"}),
            (
                GateioSpotExchange,
                "/api/v4/spot/order_book?currency_pair=BTC_USDT",
                "/api/v4/spot/time",
                {"label": "TOO_MANY_REQUESTS", "message": "Request Rate limit Exceeded"},
            ),
        ],
    )
    def test_a_path_that_is_asked_too_often_says_when_to_come_back(
        self, venue: type[Exchange], path: str, other: str, words: dict[str, Any]
    ) -> None:
        async def test() -> None:
            simulator = Simulator(venue.name, SYMBOLS, rate=0, faults=["too-often=5"])
            async with simulator.serving() as port, aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http:
                statuses = []
                while 429 not in statuses:
                    async with http.get(path) as answer:
                        statuses.append(answer.status)
                        body = await answer.json()
                assert (answer.headers["Retry-After"], body) == ("1", words) and statuses.count(200) >= 5
                # Another path has its own count.
                async with http.get(other) as answer:
                    assert answer.status == 200
                while answer.status == 429 or path not in str(answer.url):
                    await asyncio.sleep(0.1)
                    async with http.get(path) as answer:
                        pass
                assert simulator.faults.counts["too-often"] >= 1

        run(test())


class TestRecording:
    @staticmethod
    def lines() -> list[CaptureLine]:
        """A recording of two pairs: answers of somebody else's requests, pushes, a wrapper without a body, and a book."""
        from_exchange = MexcSpotExchange(SYMBOLS, 4, Simulator("mexc_spot", SYMBOLS).faults)
        recorded = [CaptureLine(raw='{"id":0,"code":0,"msg":"somebody else\'s"}'), CaptureLine(raw='{"id":0,"code":0,"msg":"PONG"}')]
        topics = [
            Topic("spot@public.aggre.deals.v3.api.pb", SYMBOLS[0], "100ms"),
            Topic("spot@public.aggre.depth.v3.api.pb", SYMBOLS[0], "100ms"),
            Topic("spot@public.aggre.bookTicker.v3.api.pb", SYMBOLS[0], "100ms"),
            Topic("spot@public.miniTickers.v3.api.pb", EVERY, "UTC+8"),
        ]
        now_ms = 1_790_281_243_450
        for number in range(200):
            event = from_exchange.trading.next(now_ms + number)
            for topic in topics:
                if from_exchange.kind_of(topic.channel) == event.kind and event.market.symbol in from_exchange.heard(topic):
                    recorded.append(CaptureLine(hex=from_exchange.push(topic, event, now_ms + number).hex()))
            if number == 100:
                recorded.append(CaptureLine(hex=from_exchange.bodyless(topics[0], now_ms).hex()))
                body = from_exchange.get("/api/v3/depth", {"symbol": "BTCUSDT"}, now_ms).body
                recorded.append(CaptureLine(dir="http", url="https://api.mexc.com/api/v3/depth?symbol=BTCUSDT&limit=1000", raw=body))
        return recorded

    def test_a_client_gets_what_it_subscribed_to_and_answers_of_its_own(self) -> None:
        lines = self.lines()
        (book,) = (line.frame.decode() for line in lines if line.dir == "http")
        wanted = [f"{DEPTH}@BTCUSDT", f"{DEALS}@BTCUSDT", "spot@public.miniTickers.v3.api.pb@UTC+8"]
        kinds = ("publicAggreDepths", "publicAggreDeals", "publicMiniTickers")

        async def test() -> None:
            async with exchange(capture=lines) as client:
                asked = asyncio.create_task(client.get("/api/v3/depth?symbol=BTCUSDT&limit=1000"))
                await client.subscribe(*wanted)
                pushed = [read_push(line.frame) for line in lines if line.dir == "in" and line.hex is not None]
                # A recording tells channels apart, and not the options of one.
                channels = {name.split("@")[1] for name in wanted}
                expected = [push for push in pushed if push["channel"].split("@")[1] in channels]
                assert await client.read_frames(len(expected)) == expected and len(expected) > 50
                assert await asked == json.loads(book)
                await client.rest_is_here()
                assert len(client.answers) == 1 and len(client.frames) == len(expected)
                assert {kind for kind in kinds if any(kind in frame for frame in client.frames)} == set(kinds)
                assert [row["symbol"] for row in (await client.get("/api/v3/exchangeInfo"))["symbols"]] == ["BTCUSDT"]
                assert "Blocked" in (await client.ask("SUBSCRIPTION", f"{DEALS}@ETHUSDT"))[0]["msg"]

        run(test())

    def test_a_recording_without_pushes_has_no_symbols(self) -> None:
        with pytest.raises(SettingsError, match="in the recording"):
            Simulator("mexc_spot", capture=self.lines()[:2])
