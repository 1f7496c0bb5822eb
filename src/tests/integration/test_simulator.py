"""The simulated exchange over real sockets, read here by means of its own: nothing of tickrail's codecs, books or connections."""

import asyncio
import json
import logging
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest

from infrastructure.capture import read_capture
from infrastructure.errors import SettingsError, UnknownSymbol, UnknownVenue
from infrastructure.simulator import connection as simulated_connection
from infrastructure.simulator import recording
from infrastructure.simulator.faults import FAULTS, Faults
from infrastructure.simulator.gateio_futures_exchange import GateioFuturesExchange
from infrastructure.simulator.market import hidden_number
from infrastructure.simulator.server import Simulator
from tests.harness.captures import ROOT
from tests.harness.exchange_client import ExchangeClient, assert_fault_refused, opened, run

SYMBOLS = ("BTC/USDT", "ETH/USDT")
CONTRACTS = ("BTC/USDT:USDT", "ETH/USDT:USDT")
PAIRS = ["BTC_USDT", "ETH_USDT"]
EXAMPLE = ROOT / "examples" / "gateio_spot.jsonl"
PATH = "/ws/v4/"


class Play(NamedTuple):
    """One of the exchanges, how a client asks it for all of the first pair, and for the book of any."""

    venue: str
    path: str
    symbols: tuple[str, ...]
    family: str
    everything: tuple[tuple[str, list[str]], ...]
    book: str
    headers: dict[str, str] = {}

    def channel(self, name: str) -> str:
        return f"{self.family}.{name}"


SPOT = Play(
    "gateio_spot",
    PATH,
    SYMBOLS,
    "spot",
    (
        ("spot.trades", ["BTC_USDT"]),
        ("spot.book_ticker", ["BTC_USDT"]),
        ("spot.tickers", ["BTC_USDT"]),
        ("spot.candlesticks", ["1m", "BTC_USDT"]),
        ("spot.order_book_update", ["BTC_USDT", "100ms"]),
        ("spot.order_book_update", ["BTC_USDT", "20ms"]),
        ("spot.obu", ["ob.BTC_USDT.50", "ob.BTC_USDT.400"]),
        ("spot.order_book", ["BTC_USDT", "5", "100ms"]),
    ),
    "/api/v4/spot/order_book?currency_pair={}&limit={}&with_id=true",
)
FUTURES = Play(
    "gateio_futures",
    "/v4/ws/usdt",
    CONTRACTS,
    "futures",
    (
        ("futures.trades", ["BTC_USDT"]),
        ("futures.book_ticker", ["BTC_USDT"]),
        ("futures.tickers", ["BTC_USDT"]),
        ("futures.contract_stats", ["BTC_USDT", "5m"]),
        ("futures.candlesticks", ["1m", "BTC_USDT"]),
        ("futures.order_book_update", ["BTC_USDT", "100ms", "100"]),
        ("futures.order_book_update", ["BTC_USDT", "20ms", "20"]),
        ("futures.obu", ["ob.BTC_USDT.50", "ob.BTC_USDT.400"]),
        ("futures.order_book", ["BTC_USDT", "5", "0"]),
        ("futures.public_liquidates", ["!all"]),
    ),
    "/api/v4/futures/usdt/order_book?contract={}&limit={}&with_id=true",
    {"X-Gate-Size-Decimal": "1"},
)
BOTH = pytest.mark.parametrize("play", [SPOT, FUTURES], ids=lambda play: play.venue)


class Client(ExchangeClient):
    """Somebody's connection to one of Gate.io's exchanges."""

    def __init__(self, http: aiohttp.ClientSession, socket: aiohttp.ClientWebSocketResponse, play: Play = SPOT) -> None:
        super().__init__(http, socket)
        self.play = play

    def take(self, message: aiohttp.WSMessage) -> None:
        assert message.type is aiohttp.WSMsgType.TEXT, message
        frame = json.loads(message.data)
        (self.frames if frame["event"] in ("update", "all") else self.answers).append(frame)

    async def ask(self, channel: str, payload: Any, event: str = "subscribe", **more: Any) -> dict[str, Any]:
        """Send a request and return its answer."""
        request = {"time": int(time.time()), "channel": channel, "event": event, "payload": payload} | more
        return (await self.answers_to(request))[-1]

    async def rest_is_here(self) -> None:
        """Everything that was put on the connection so far has been read: the server answers pings in order."""
        marker = "the end"
        await self.socket.send_str(json.dumps({"time": 1, "channel": self.play.channel("ping"), "id": marker}))
        await self.read(lambda: bool(self.answers) and self.answers[-1].get("id") == marker)
        self.answers.pop()

    @asynccontextmanager
    async def another(self, log: str | None = None) -> AsyncIterator["Client"]:
        """A second connection to the same exchange."""
        async with self.http.ws_connect(self.play.path + (f"?log={log}" if log else "")) as socket:
            yield Client(self.http, socket, self.play)


@asynccontextmanager
async def exchange(
    *faults: str, rate: float = 2000.0, seed: int = 1, log: str = "test", is_paused: bool = False, play: Play = SPOT, **more: Any
) -> AsyncIterator[Client]:
    """A running exchange and a client of it."""
    simulator = Simulator(play.venue, () if "capture" in more else play.symbols, rate=rate, seed=seed, faults=faults, **more)
    simulator.is_paused = is_paused
    async with opened(simulator, log, play.headers) as (http, socket):
        yield Client(http, socket, play)


async def bare_connection(client: Client, query: str = "") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A WebSocket that does nothing of its own accord, its handshake done."""
    url = client.http._base_url
    assert url is not None
    reader, writer = await asyncio.open_connection(url.host, url.port, limit=1024)
    writer.write(
        f"GET {client.play.path}{query} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nX-Gate-Size-Decimal: 1\r\n\r\n".encode()
    )
    await reader.readuntil(b"\r\n\r\n")
    return reader, writer


def masked(text: str) -> bytes:
    """A short text as a client sends it."""
    return bytes((0x81, 0x80 | len(text))) + bytes(4) + text.encode()


def frames_of(data: bytes) -> list[tuple[int, bytes]]:
    """First byte and payload of each frame that a server sent."""
    frames = []
    while data:
        length, start = data[1], 2
        if length == 126:
            length, start = int.from_bytes(data[2:4], "big"), 4
        frames.append((data[0], data[start : start + length]))
        data = data[start + length :]
    return frames


def result_of(frame: dict[str, Any]) -> dict[str, Any]:
    """What a push says: some channels have it in a list."""
    result = frame["result"]
    if isinstance(result, list):
        (result,) = result
    assert isinstance(result, dict)
    return result


def channel_of(frame: dict[str, Any]) -> str:
    """The channel of a push, and what tells two streams of one channel apart."""
    channel: str = frame["channel"]
    result = result_of(frame)
    return f"{channel} {next(result[key] for key in ('n', 's', 'currency_pair', 'contract') if key in result)}"


def number_of(frame: dict[str, Any]) -> int:
    """The number of a push in its stream."""
    result = result_of(frame)
    for key in ("u", "lastUpdateId", "id"):
        if key in result and "price" not in result:
            return int(result[key])
    amount = next(result[key] for key in ("amount", "size", "a", "base_volume", "volume_24h_base", "lsr_account") if key in result)
    return hidden_number(abs(float(amount)))


class Book:
    """A book kept by the venue's page and nothing else."""

    def __init__(self) -> None:
        self.last: int | None = None
        self.bids: dict[str, str] = {}
        self.asks: dict[str, str] = {}
        self.holes = 0
        self.repeated = 0

    def take(self, result: dict[str, Any]) -> None:
        bids, asks = result.get("b", result.get("bids", [])), result.get("a", result.get("asks", []))
        first = result.get("U")
        last: int = result["u"] if "u" in result else result["id"] if "id" in result else result["lastUpdateId"]
        if result.get("full") or first is None:
            self.bids.clear()
            self.asks.clear()
        elif self.last is not None and last <= self.last:
            self.repeated += 1
            return
        elif self.last is not None and first > self.last + 1:
            self.holes += 1
        self.last = last
        for side, levels in ((self.bids, bids), (self.asks, asks)):
            for price, amount in pairs_of(levels):
                if float(amount):
                    side[price] = amount
                else:
                    side.pop(price, None)

    @property
    def levels(self) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
        return sorted(self.bids.items(), key=lambda level: -float(level[0])), sorted(self.asks.items(), key=lambda level: float(level[0]))


def pairs_of(levels: list[Any]) -> list[tuple[str, str]]:
    """Levels in either form."""
    return [(level["p"], level["s"]) if isinstance(level, dict) else tuple(level) for level in levels]


def levels_of(book: dict[str, Any], top: int = 1000) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    return pairs_of(book["bids"][:top]), pairs_of(book["asks"][:top])


class TestRequests:
    @pytest.mark.parametrize("number", [1, -5, "text", 2**31 - 1, None])
    def test_a_subscription_is_acknowledged_as_the_venue_does(self, number: Any) -> None:
        async def test() -> None:
            async with exchange(rate=0) as client:
                more: dict[str, Any] = {} if number is None else {"id": number}
                answer = await client.ask("spot.trades", PAIRS, **more)
                assert abs(answer.pop("time_ms") / 1000 - time.time()) < 30 and abs(answer.pop("time") - time.time()) < 30
                assert answer.pop("conn_id")
                expected = {"channel": "spot.trades", "event": "subscribe", "payload": PAIRS, "result": {"status": "success"}}
                assert answer == expected | more

        run(test())

    @pytest.mark.parametrize(
        ("channel", "payload", "code", "words"),
        [
            ("spot.trades", ["BTC_USDT", "NOPE_USDT"], 2, "unknown currency pair: NOPE_USDT"),
            ("spot.order_book_update", ["NOPE_USDT", "100ms"], 2, "unknown currency pair: NOPE_USDT"),
            ("spot.candlesticks", ["1m", "NOPE_USDT"], 2, "unknown currency pair: NOPE_USDT"),
            ("spot.obu", ["ob.BTC_USDT.50", "ob.NOPE_USDT.50"], 2, "unknown currency pair: NOPE_USDT"),
            ("spot.nothing", ["BTC_USDT"], 2, "Unknown channel spot.nothing"),
            ("spot.trades", [], 2, "empty currency pair list"),
            ("spot.trades", None, 2, "invalid argument"),
            ("spot.trades", "BTC_USDT", 2, "invalid argument"),
            ("spot.trades", [1], 2, "invalid argument"),
            ("spot.candlesticks", ["2m", "BTC_USDT"], 2, "invalid argument"),
            ("spot.candlesticks", ["1m"], 2, "invalid argument"),
            ("spot.order_book_update", ["BTC_USDT"], 2, "invalid argument"),
            ("spot.order_book_update", ["BTC_USDT", "1000ms"], 2, "invalid argument"),
            ("spot.order_book", ["BTC_USDT", "7", "100ms"], 2, "invalid argument"),
            ("spot.obu", ["ob.BTC_USDT.10"], 2, "invalid argument"),
            ("spot.obu", ["ob.BTC_USDT.50.1"], 2, "invalid argument"),
            ("spot.obu", ["BTC_USDT"], 2, "invalid argument"),
            ("spot.orders", ["!all"], 4, "INVALID_KEY"),
            ("spot.balances", None, 4, "INVALID_KEY"),
        ],
    )
    def test_a_refusal_is_of_the_whole_request_and_in_the_venues_words(self, channel: str, payload: Any, code: int, words: str) -> None:
        async def test() -> None:
            async with exchange(rate=0) as client:
                answer = await client.ask(channel, payload, id=9)
                assert (answer["id"], answer["channel"], answer["event"]) == (9, channel, "subscribe")
                assert answer["error"]["code"] == code and words in answer["error"]["message"]
                assert answer["result"] == (None if code == 4 else {"status": "fail"})
                assert (await client.get("/simulator/state"))["connections"][0]["subscriptions"] == []

        run(test())

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "{",
            "[]",
            "7",
            '{"time":1}',
            '{"time":"1","channel":"spot.trades","event":"subscribe","payload":["BTC_USDT"]}',
            '{"time":1,"id":2147483648,"channel":"spot.trades","event":"subscribe","payload":["BTC_USDT"]}',
            '{"time":1,"id":1.5,"channel":"spot.trades","event":"subscribe","payload":["BTC_USDT"]}',
            '{"time":1,"channel":"spot.trades","event":7,"payload":["BTC_USDT"]}',
            "[" * 100_000,
        ],
    )
    def test_what_is_no_request_gets_code_one_and_the_connection_lives(self, text: str) -> None:
        async def test() -> None:
            async with exchange(rate=0) as client:
                await client.socket.send_str(text)
                await client.read(lambda: bool(client.answers))
                assert client.answers[0]["error"]["code"] == 1
                assert "error" not in await client.ask("spot.trades", PAIRS)

        run(test())

    def test_a_binary_request_is_read_as_text(self) -> None:
        async def test() -> None:
            async with exchange(rate=0) as client:
                await client.socket.send_bytes(b"\xff")
                await client.read(lambda: bool(client.answers))
                assert client.answers[0]["error"]["code"] == 1

        run(test())

    def test_a_second_subscription_of_an_obu_stream_is_refused_and_others_are_not(self) -> None:
        async def test() -> None:
            async with exchange(rate=0) as client:
                assert "error" not in await client.ask("spot.obu", ["ob.BTC_USDT.50"])
                answer = await client.ask("spot.obu", ["ob.BTC_USDT.50"])
                assert answer["error"] == {"code": 2, "message": "Alert sub ob.BTC_USDT.50"}
                assert "error" not in await client.ask("spot.obu", ["ob.BTC_USDT.400"])
                for _ in range(2):
                    assert "error" not in await client.ask("spot.trades", ["BTC_USDT"])
                # Not on the first connection any more, the stream can be had again.
                assert "error" not in await client.ask("spot.obu", ["ob.BTC_USDT.50"], "unsubscribe")
                assert "error" not in await client.ask("spot.obu", ["ob.BTC_USDT.50"])

        run(test())

    def test_two_subscriptions_of_one_stream_push_once(self) -> None:
        async def test() -> None:
            async with exchange() as client:
                await client.ask("spot.trades", ["BTC_USDT"])
                await client.ask("spot.trades", ["BTC_USDT"])
                frames = await client.read_frames(50)
                assert len({frame["result"]["id"] for frame in frames}) == 50

        run(test())

    def test_unsubscribing_ends_a_stream_and_is_always_acknowledged(self) -> None:
        async def test() -> None:
            async with exchange() as client:
                answer = await client.ask("spot.trades", PAIRS, "unsubscribe", id=4)
                assert (answer["id"], answer["event"], answer["result"]) == (4, "unsubscribe", {"status": "success"})
                await client.ask("spot.trades", PAIRS)
                await client.read_frames(5)
                await client.ask("spot.trades", ["BTC_USDT"], "unsubscribe")
                client.frames.clear()
                assert {frame["result"]["currency_pair"] for frame in await client.read_frames(50)} == {"ETH_USDT"}

        run(test())

    def test_the_applications_ping_is_answered(self) -> None:
        async def test() -> None:
            async with exchange(rate=0) as client:
                await client.socket.send_str('{"time":1,"channel":"spot.ping"}')
                await client.read(lambda: bool(client.answers))
                (answer,) = client.answers
                assert (answer["channel"], answer["event"], answer["error"], answer["result"]) == ("spot.pong", "", None, None)

        run(test())


class TestFuturesRequests:
    @pytest.mark.parametrize(
        ("channel", "payload", "code", "words"),
        [
            ("futures.trades", ["BTC_USDT", "NOPE_USDT"], 2, "unknown contract NOPE_USDT"),
            ("futures.nope", ["BTC_USDT"], 2, "Unknown channel futures.nope"),
            ("spot.trades", ["BTC_USDT"], 2, "Unknown channel spot.trades"),
            ("futures.trades", [], 2, "empty"),
            ("futures.trades", ["!all"], 2, "unknown contract !all"),
            ("futures.order_book_update", ["BTC_USDT", "100ms", "30"], 2, "provided level not supported: 30"),
            ("futures.order_book_update", ["BTC_USDT", "20ms", "50"], 2, "provided level not supported: 50"),
            ("futures.order_book_update", ["BTC_USDT", "1000ms"], 2, "invalid argument"),
            ("futures.order_book_update", ["BTC_USDT"], 2, "invalid argument"),
            ("futures.order_book", ["BTC_USDT", "30", "0"], 2, "provided level not supported: 30"),
            ("futures.order_book", ["BTC_USDT", "20", "100ms"], 2, "invalid argument"),
            ("futures.contract_stats", ["BTC_USDT", "10s"], 2, "invalid argument"),
            ("futures.contract_stats", ["BTC_USDT"], 2, "invalid argument"),
            ("futures.contract_stats", ["NOPE_USDT", "1m"], 2, "unknown contract NOPE_USDT"),
            ("futures.candlesticks", ["1x", "BTC_USDT"], 2, "invalid argument"),
            ("futures.candlesticks", ["1m", "NOPE_USDT"], 2, "unknown contract NOPE_USDT"),
            ("futures.positions", ["1", "!all"], 4, "INVALID_KEY"),
        ],
    )
    def test_a_refusal_is_in_the_venues_words(self, channel: str, payload: Any, code: int, words: str) -> None:
        async def test() -> None:
            async with exchange(rate=0, play=FUTURES) as client:
                answer = await client.ask(channel, payload, id=9)
                assert (answer["id"], answer["channel"], answer["payload"]) == (9, channel, payload)
                assert answer["error"]["code"] == code and words in answer["error"]["message"]
                assert (await client.get("/simulator/state"))["connections"][0]["subscriptions"] == []

        run(test())

    def test_what_is_no_json_and_a_ping_are_answered_in_this_venues_form(self) -> None:
        async def test() -> None:
            async with exchange(rate=0, play=FUTURES) as client:
                for text in ("{", '{"time":1,"channel":"futures.ping"}'):
                    await client.socket.send_str(text)
                await client.read(lambda: len(client.answers) == 2)
                wrong, pong = client.answers
                assert wrong["error"] == {"code": 1, "message": "request message need json scheme"}
                assert {key: pong[key] for key in pong if "time" not in key} == {"channel": "futures.pong", "event": "", "result": None}

        run(test())

    def test_obu_acknowledges_what_does_not_exist_and_says_nothing(self) -> None:
        async def test() -> None:
            async with exchange(play=FUTURES) as client:
                streams = ["ob.NOPE_USDT.50", "ob.BTC_USDT.100", "BTC_USDT", "ob.BTC_USDT.50.1"]
                assert (await client.ask("futures.obu", streams))["result"] == {"status": "success"}
                await client.ask("futures.trades", ["ETH_USDT"])
                assert {frame["channel"] for frame in await client.read_frames(20)} == {"futures.trades"}
                await client.ask("futures.obu", ["ob.ETH_USDT.50"])
                assert (await client.ask("futures.obu", ["ob.ETH_USDT.50"]))["error"]["message"] == "Alert sub ob.ETH_USDT.50"

        run(test())

    def test_an_update_without_a_level_has_the_deepest_one(self) -> None:
        async def test() -> None:
            async with exchange(play=FUTURES) as client:
                await client.ask("futures.order_book_update", ["BTC_USDT", "100ms"])
                assert (await client.read_frames(1))[0]["result"]["l"] == "100"

        run(test())

    def test_sizes_are_whole_numbers_for_whoever_does_not_ask_for_decimals(self) -> None:
        async def test() -> None:
            whole = FUTURES._replace(headers={"X-Gate-Size-Decimal": "0"})
            async with exchange(play=FUTURES, rate=5000, is_paused=True) as client:
                url = client.http._base_url
                async with aiohttp.ClientSession(url, headers=whole.headers) as http, http.ws_connect(whole.path) as socket:
                    other = Client(http, socket, whole)
                    for each in (client, other):
                        for channel, payload in FUTURES.everything:
                            await each.ask(channel, payload)
                    exact = [await client.get(path) for path in paths]
                    cut = [await other.get(path) for path in paths]
                    for book in (exact[0], cut[0]):
                        del book["current"], book["update"]
                    await client.post("resume")
                    await client.read_frames(2000)
                    await client.post("pause")
                    for each in (client, other):
                        await each.rest_is_here()
                    # Whole books answer a subscription, each at its own time.
                    exact += [frame for frame in client.frames if "full" not in result_of(frame)]
                    cut += [frame for frame in other.frames if "full" not in result_of(frame)]
                checked = set()
                for one, two in zip(exact, cut, strict=True):
                    is_obu = isinstance(one, dict) and one.get("channel") == "futures.obu"
                    assert (one if is_obu else cut_down(one)) == two
                    checked.add(one["channel"] if isinstance(one, dict) and "channel" in one else "rest")
                assert len(checked) == 10

        paths = (FUTURES.book.format("BTC_USDT", 100), "/api/v4/futures/usdt/trades?contract=BTC_USDT")

        def cut_down(value: Any, key: str = "") -> Any:
            """The same without decimals where sizes stand."""
            if isinstance(value, dict):
                return {key: cut_down(each, key) for key, each in value.items()}
            if isinstance(value, list):
                return [cut_down(each, key) for each in value]
            if key in ("volume_24h", "total_size"):
                return value.partition(".")[0]
            return int(float(value)) if key in ("size", "s", "v", "B", "A", "open_interest") and value not in PAIRS else value

        run(test())

    def test_a_connection_on_which_nobody_says_anything_is_dropped(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def test() -> None:
            monkeypatch.setattr(GateioFuturesExchange, "silence_timeout_s", 0.3)
            async with exchange(play=FUTURES, rate=0) as client:
                assert (await client.socket.receive(timeout=20)).type is aiohttp.WSMsgType.CLOSED
                assert client.socket.close_code == aiohttp.WSCloseCode.ABNORMAL_CLOSURE

        run(test())


class TestWebSocket:
    def test_the_server_pings_answers_pings_and_does_not_compress(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def test() -> None:
            monkeypatch.setattr(simulated_connection, "PING_EVERY_S", 0.05)
            async with exchange(rate=0) as client, client.http.ws_connect(PATH, autoping=False, compress=15) as socket:
                assert socket.compress == 0
                message = await socket.receive(timeout=10)
                assert message.type is aiohttp.WSMsgType.PING
                await socket.ping(b"mine")
                while message.type is aiohttp.WSMsgType.PING:
                    message = await socket.receive(timeout=10)
                assert (message.type, bytes(message.data)) == (aiohttp.WSMsgType.PONG, b"mine")

        run(test())

    @pytest.mark.parametrize("code", [1000, 1001, 3999])
    def test_a_close_is_answered_with_its_code(self, code: int) -> None:
        async def test() -> None:
            async with exchange(rate=0) as client, client.http.ws_connect(PATH) as socket:
                await socket.close(code=code)
                assert socket.close_code == code

        run(test())

    def test_a_client_that_does_not_read_is_cut_off(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def test() -> None:
            monkeypatch.setattr(simulated_connection, "MOST_UNREAD", 100_000)
            async with exchange(rate=20_000) as client:
                reader, writer = await bare_connection(client)
                writer.write(masked('{"time":1,"channel":"spot.order_book","event":"subscribe","payload":["BTC_USDT","100","100ms"]}'))
                while (await client.get("/simulator/state"))["slow"] == 0:
                    await asyncio.sleep(0.05)
                state = await client.get("/simulator/state")
                assert [each["is_open"] for each in state["connections"]] == [True, False]
                writer.close()
                del reader

        run(test())


class TestMarketData:
    @BOTH
    def test_all_channels_of_a_pair_show_one_book_at_the_same_id(self, play: Play) -> None:
        async def test() -> None:
            async with exchange(is_paused=True, play=play) as client:
                for channel, payload in play.everything:
                    assert "error" not in await client.ask(channel, payload)
                seeds = {limit: await client.get(play.book.format("BTC_USDT", limit)) for limit in (20, 100)}
                await client.post("resume")
                await client.read(lambda: len(client.frames) > 3000)
                await client.post("pause")
                await client.rest_is_here()
                truth = (await client.get("/simulator/books"))[play.symbols[0]]
                books = {name: Book() for name in ("100ms", "20ms", "50", "400", "top")}
                books["100ms"].take(seeds[100])
                books["20ms"].take(seeds[20])
                updates = 0
                for frame in client.frames:
                    result = result_of(frame)
                    if frame["channel"] == play.channel("order_book_update"):
                        books[("100ms", "20ms")[updates % 2]].take(result)
                        updates += 1
                    elif frame["channel"] == play.channel("obu"):
                        books[result["s"].split(".")[-1]].take(result)
                    elif frame["channel"] == play.channel("order_book"):
                        assert result["l"] == "5" and len(result["bids"]) == len(result["asks"]) == 5
                        books["top"].take(result)
                assert [(book.holes, book.last) for book in books.values()] == [(0, truth["id"])] * 5
                whole = levels_of(truth)
                assert books["100ms"].levels == books["50"].levels == books["400"].levels == whole
                assert books["20ms"].levels == levels_of(truth, 20)
                assert books["top"].levels == levels_of(truth, 5)
                assert len(whole[0]) <= 50 and len(whole[1]) <= 50

        run(test())

    @BOTH
    def test_trades_tickers_and_candles_agree_with_the_book_and_with_one_another(self, play: Play) -> None:
        async def test() -> None:
            async with exchange(rate=5000, is_paused=True, play=play) as client:
                for channel, payload in play.everything:
                    if not channel.endswith(("order_book_update", "order_book")):
                        await client.ask(channel, payload)
                await client.post("resume")
                await client.read(lambda: sum(frame["channel"] == play.channel("tickers") for frame in client.frames) > 60)
                contracts = await client.get("/api/v4/futures/usdt/contracts") if play is FUTURES else []
                size = next((float(row["quanto_multiplier"]) for row in contracts if row["name"] == "BTC_USDT"), 1.0)
                book, last, high, low, volume, turnover = Book(), None, 0.0, 1e9, 0.0, 0.0
                trades: list[tuple[str, int]] = []
                told: dict[str, Any] = {}
                checked: Counter[str] = Counter()
                for frame in client.frames:
                    name, result = frame["channel"].partition(".")[2], result_of(frame)
                    if name == "obu":
                        if result["s"] == "ob.BTC_USDT.50":
                            book.take(result)
                        continue
                    (bid, ask) = (side[0] for side in book.levels)
                    if name == "trades":
                        price, amount = result["price"], float(result["amount" if play is SPOT else "size"])
                        is_bought = result["side"] == "buy" if play is SPOT else amount > 0
                        level = ask if is_bought else bid
                        trades.append((price, int(amount)))
                        amount = abs(amount)
                        assert price == level[0] and 0 < amount < float(level[1])
                        last, high, low = price, max(high, float(price)), min(low, float(price))
                        volume, turnover = volume + amount * size, turnover + amount * size * float(price)
                    elif name == "book_ticker":
                        assert result["u"] == book.last
                        assert ((result["b"], result["B"]), (result["a"], result["A"])) == (bid, ask)
                    elif name == "tickers":
                        if play is SPOT:
                            assert (result["highest_bid"], result["lowest_ask"]) == (bid[0], ask[0])
                        else:
                            assert float(bid[0]) <= float(result["index_price"]) <= float(result["mark_price"]) <= float(ask[0])
                        if last is not None:
                            assert result["last"] == last
                        if last is not None and "low_24h" in result:
                            # The price at which the day opened counts too.
                            assert float(result["low_24h"]) <= low <= high <= float(result["high_24h"])
                        base, quote = ("base_volume", "quote_volume") if play is SPOT else ("volume_24h_base", "volume_24h_quote")
                        assert int(float(result[base])) == int(volume)
                        assert float(result[quote]) == pytest.approx(turnover)
                        assert play is SPOT or float(result["volume_24h"]) == pytest.approx(volume / size, abs=1)
                        told = result
                    elif name == "contract_stats":
                        # What happened is one thing, of which the ticker has just told.
                        assert result["mark_price"] == told["mark_price"] and told.get("total_size") in (None, result["open_interest"])
                        assert result["time"] % 300 == 0 and 0 <= frame["time"] - result["time"] < 300
                        value = float(result["open_interest"]) * size * float(result["mark_price"])
                        assert result["open_interest_usd"] == pytest.approx(value)
                    elif name == "candlesticks" and last is not None:
                        if not result["w"]:
                            assert result["c"] == last
                        assert float(result["l"]) <= min(float(result["o"]), float(result["c"])) and result["n"] == "1m_BTC_USDT"
                        assert float(result["h"]) >= max(float(result["o"]), float(result["c"]))
                        assert float(result["a"]) < volume + 1 and int(result["t"]) % 60 == 0
                    elif name == "public_liquidates" and result["contract"] == "BTC_USDT":
                        assert (result["price"], int(float(result["size"]))) == trades[-1]
                    checked[name] += 1
                assert min(checked.values()) > 10 and len(checked) == len({channel for channel, _ in play.everything}) - 3

        run(test())

    @BOTH
    def test_numbers_rise_by_one_on_every_pair_and_channel(self, play: Play) -> None:
        async def test() -> None:
            async with exchange(rate=5000, play=play) as client:
                channels = {channel for channel, _ in play.everything} & {
                    play.channel(name) for name in ("trades", "tickers", "public_liquidates")
                }
                for channel in channels:
                    await client.ask(channel, PAIRS)
                for pair in PAIRS:
                    await client.ask(play.channel("candlesticks"), ["5m", pair])
                numbers: dict[str, list[int]] = {}
                for frame in await client.read_frames(1500):
                    numbers.setdefault(channel_of(frame), []).append(number_of(frame))
                assert len(numbers) == 2 * len(channels) + 2
                for stream in numbers.values():
                    assert stream == list(range(stream[0], stream[0] + len(stream)))

        run(test())

    def test_one_seed_gives_one_market_whoever_listens(self) -> None:
        async def contents(seed: int, *channels: tuple[str, list[str]]) -> list[str]:
            async with exchange(rate=5000, seed=seed, is_paused=True) as client:
                for channel, payload in channels:
                    await client.ask(channel, payload)
                await client.post("resume")
                wanted = channels[0][0]
                await client.read(lambda: sum(frame["channel"] == wanted for frame in client.frames) > 150)
                chosen = [frame["result"] for frame in client.frames if frame["channel"] == wanted][:150]
                timeless = [
                    {key: value for key, value in result.items() if key not in ("t", "E", "create_time", "create_time_ms")}
                    for result in chosen
                ]
                return [json.dumps(result) for result in timeless]

        async def test() -> None:
            trades = ("spot.trades", PAIRS)
            first = await contents(7, trades)
            assert first == await contents(7, trades, ("spot.obu", ["ob.ETH_USDT.50"]), ("spot.tickers", PAIRS))
            assert first != await contents(8, trades)

        run(test())

    def test_a_market_that_stood_still_does_not_hurry_to_catch_up(self) -> None:
        async def test() -> None:
            async with exchange(rate=10_000) as client:
                await client.ask("spot.trades", PAIRS)
                await client.read_frames(10)
                await client.rest_is_here()
                before = client.frames[-1]["result"]["id"]
                time.sleep(1)  # Of this loop, so of the market too.
                woke = time.monotonic()
                await asyncio.sleep(0.1)
                await client.rest_is_here()
                # 1400 trades a second, of which the second that was slept through may have brought a fifth.
                assert client.frames[-1]["result"]["id"] - before < 700 + 1600 * (time.monotonic() - woke)

        run(test())

    def test_times_are_of_the_wall_clock(self) -> None:
        async def test() -> None:
            async with exchange() as client:
                for channel, payload in SPOT.everything:
                    await client.ask(channel, payload)
                for frame in await client.read_frames(300):
                    assert abs(frame["time_ms"] / 1000 - time.time()) < 30
                    assert ("time" in frame) is (frame["channel"] != "spot.obu")

        run(test())


class TestRest:
    def test_the_paths_that_clients_load_first(self) -> None:
        async def test() -> None:
            async with exchange(rate=0) as client:
                assert abs((await client.get("/api/v4/spot/time"))["server_time"] / 1000 - time.time()) < 30
                assert [row["currency"] for row in await client.get("/api/v4/spot/currencies")] == ["BTC", "USDT", "ETH"]
                rows = await client.get("/api/v4/spot/currency_pairs")
                assert [(row["id"], row["base"], row["quote"], row["trade_status"]) for row in rows] == [
                    ("BTC_USDT", "BTC", "USDT", "tradable"),
                    ("ETH_USDT", "ETH", "USDT", "tradable"),
                ]
                assert {"precision", "amount_precision", "min_base_amount", "min_quote_amount", "fee"} <= rows[0].keys()
                assert await client.get("/api/v4/margin/currency_pairs") == []

        run(test())

    def test_books_trades_and_tickers(self) -> None:
        async def test() -> None:
            async with exchange(rate=5000) as client:
                await asyncio.sleep(0.3)
                await client.post("pause")
                truth = (await client.get("/simulator/books"))["ETH/USDT"]
                book = await client.get("/api/v4/spot/order_book?currency_pair=ETH_USDT&limit=100&with_id=true")
                assert (book["id"], levels_of(book)) == (truth["id"], levels_of(truth))
                assert abs(book["current"] / 1000 - time.time()) < 30 and "update" in book
                short = await client.get("/api/v4/spot/order_book?currency_pair=ETH_USDT&limit=3")
                assert levels_of(short) == levels_of(truth, 3) and "id" not in short
                trades = await client.get("/api/v4/spot/trades?currency_pair=ETH_USDT&limit=5")
                assert len(trades) == 5 and [int(row["id"]) for row in trades] == sorted((int(row["id"]) for row in trades), reverse=True)
                (ticker,) = await client.get("/api/v4/spot/tickers?currency_pair=ETH_USDT")
                assert (ticker["last"], ticker["highest_bid"]) == (trades[0]["price"], truth["bids"][0][0])
                assert len(await client.get("/api/v4/spot/tickers")) == 2

        run(test())

    def test_contracts_books_trades_and_tickers_of_futures(self) -> None:
        async def test() -> None:
            async with exchange(rate=5000, play=FUTURES) as client:
                await asyncio.sleep(0.3)
                await client.post("pause")
                rows = await client.get("/api/v4/futures/usdt/contracts")
                assert [(row["name"], row["quanto_multiplier"], row["status"]) for row in rows] == [
                    ("BTC_USDT", "0.0001", "trading"),
                    ("ETH_USDT", "0.01", "trading"),
                ]
                truth = (await client.get("/simulator/books"))["ETH/USDT:USDT"]
                book = await client.get(FUTURES.book.format("ETH_USDT", 100))
                assert (book["id"], levels_of(book)) == (truth["id"], levels_of(truth))
                assert isinstance(book["current"], float) and abs(book["update"] - time.time()) < 30
                assert levels_of(await client.get(FUTURES.book.format("ETH_USDT", 3))) == levels_of(truth, 3)
                trades = await client.get("/api/v4/futures/usdt/trades?contract=ETH_USDT&limit=5")
                assert len(trades) == 5 and [row["id"] for row in trades] == sorted((row["id"] for row in trades), reverse=True)
                (ticker,) = await client.get("/api/v4/futures/usdt/tickers?contract=ETH_USDT")
                assert ticker["last"] == trades[0]["price"] and ticker["funding_next_apply"] > time.time()
                assert len(await client.get("/api/v4/futures/usdt/tickers")) == 2
                assert [row["currency"] for row in await client.get("/api/v4/spot/currencies")] == ["BTC", "USDT", "ETH"]
                async with client.http.get(FUTURES.book.format("NOPE_USDT", 1)) as answer:
                    assert (answer.status, (await answer.json())["label"]) == (400, "CONTRACT_NOT_FOUND")

        run(test())

    @pytest.mark.parametrize(
        ("path", "status", "label"),
        [
            ("/api/v4/spot/order_book?currency_pair=NOPE_USDT", 400, "INVALID_CURRENCY_PAIR"),
            ("/api/v4/spot/trades?currency_pair=NOPE_USDT", 400, "INVALID_CURRENCY_PAIR"),
            ("/api/v4/spot/tickers?currency_pair=NOPE_USDT", 400, "INVALID_CURRENCY_PAIR"),
            ("/api/v4/spot/order_book", 400, "MISSING_REQUIRED_PARAM"),
            ("/api/v4/spot/order_book?currency_pair=BTC_USDT&limit=x", 400, "INVALID_PARAM_VALUE"),
            ("/api/v4/spot/trades?currency_pair=BTC_USDT&limit=0", 400, "INVALID_PARAM_VALUE"),
            ("/api/v4/spot/nothing", 404, "NOT_FOUND"),
            ("/elsewhere", 404, None),
        ],
    )
    def test_a_wrong_request_gets_the_venues_label(self, path: str, status: int, label: str | None) -> None:
        async def test() -> None:
            async with exchange(rate=0) as client, client.http.get(path) as answer:
                assert answer.status == status
                if label:
                    body = await answer.json()
                    assert body["label"] == label and body["message"]

        run(test())


class TestSideChannel:
    @BOTH
    def test_the_log_is_what_arrived_also_after_a_reconnect(self, play: Play) -> None:
        async def test() -> None:
            async with exchange(log="mine", play=play) as client:
                seen: list[tuple[str, str, str, int]] = []
                for _ in range(2):
                    async with client.another("mine") as other:
                        await client.post("pause")
                        for channel, payload in play.everything:
                            if "20ms" not in payload:
                                await other.ask(channel, payload)
                        await client.post("resume")
                        await other.read_frames(300)
                        await client.post("pause")
                        await other.rest_is_here()
                        seen += [told(frame) for frame in other.frames if "full" not in result_of(frame)]
                entries = await logged(client, "mine")
                assert sorted(entries) == sorted(seen) and len(entries) > 500
                assert [entry for entry in entries if entry[0] == "trade"] == [entry for entry in seen if entry[0] == "trade"]
                assert await logged(client, "mine") == [] == await logged(client, "nobody's")

        kinds = {
            "trades": "trade",
            "tickers": "ticker",
            "contract_stats": "ticker",
            "candlesticks": "candle",
            "book_ticker": "book_ticker",
            "public_liquidates": "liquidation",
        }

        def told(frame: dict[str, Any]) -> tuple[str, str, str, int]:
            channel = frame["channel"]
            place = PAIRS.index(result_of(frame).get("contract", "BTC_USDT"))
            return kinds.get(channel.partition(".")[2], "orderbook"), play.symbols[place], channel, number_of(frame)

        run(test())

    def test_the_state_counts_requests_and_subscriptions(self) -> None:
        async def test() -> None:
            async with exchange(rate=0) as client:
                await client.ask("spot.trades", PAIRS)
                await client.ask("spot.candlesticks", ["1m", "BTC_USDT"])
                await client.ask("spot.trades", ["ETH_USDT"], "unsubscribe")
                for _ in range(3):
                    await client.get("/api/v4/spot/order_book?currency_pair=BTC_USDT")
                async with client.http.ws_connect(PATH):
                    pass
                state = await client.get("/simulator/state")
                first, second = state["connections"]
                assert first["subscriptions"] == [["spot.candlesticks", "BTC/USDT", "1m"], ["spot.trades", "BTC/USDT", ""]]
                assert first["requests"] == {"subscribe": 2, "unsubscribe": 1}
                assert (first["log"], first["is_open"], first["sent"]) == ("test", True, 3)
                assert (second["log"], second["subscriptions"]) == (None, [])
                assert state["requests"] == {"/api/v4/spot/order_book": 3} and state["paused"] is False

        run(test())

    def test_the_state_tells_when_and_how_much_was_ever_asked_for(self) -> None:
        async def test() -> None:
            async with exchange(rate=0) as client:
                await client.ask("spot.trades", PAIRS)
                await client.ask("spot.trades", ["ETH_USDT"], "unsubscribe")
                await client.ask("spot.trades", ["ETH_USDT"])
                await client.ask("spot.trades", ["ETH_USDT"])  # It has that one.
                async with client.another():
                    await client.get("/api/v4/spot/time")
                state = await client.get("/simulator/state")
                first, second = state["connections"]
                assert (first["begun"], second["begun"]) == (3, 0)
                assert [request[1:] for request in first["requested"]] == [
                    ["subscribe", 2],
                    ["unsubscribe", 0],
                    ["subscribe", 1],
                    ["subscribe", 1],
                ]
                times = [0.0, state["connects"][0], first["opened_s"], *(request[0] for request in first["requested"])]
                times += [state["connects"][1], second["opened_s"], state["rests"][0][0], state["now_s"]]
                assert times == sorted(times) and second["requested"] == []
                assert [path for _, path in state["rests"]] == ["/api/v4/spot/time"]

        run(test())

    def test_a_paused_market_stands_still_and_answers(self) -> None:
        async def test() -> None:
            async with exchange() as client:
                await client.post("pause")
                await client.ask("spot.trades", PAIRS)
                first = await client.get("/simulator/books")
                await asyncio.sleep(0.1)
                await client.rest_is_here()
                assert client.frames == [] and await client.get("/simulator/books") == first
                assert (await client.get("/simulator/state"))["paused"] is True
                await client.post("resume")
                await client.read_frames(3)

        run(test())


async def logged(client: Client, name: str) -> list[tuple[str, str, str, int]]:
    log = await client.get(f"/simulator/log?name={name}")
    streams = [tuple(stream) for stream in log["streams"]]
    return [(*streams[index], number) for index, number in log["entries"]]


async def follow(client: Client, channel: str = "spot.order_book_update", count: int = 400) -> Book:
    """A book of BTC/USDT, kept for so many frames."""
    await client.ask(channel, ["BTC_USDT", "100ms"] if channel == "spot.order_book_update" else ["ob.BTC_USDT.50"])
    await client.read_frames(count)
    return book_of(client)


def book_of(client: Client) -> Book:
    """The book that all frames so far make."""
    book = Book()
    for frame in client.frames:
        book.take(frame["result"])
    return book


async def until_one_is_held(client: Client) -> None:
    """Pause the market while a change of BTC/USDT has not been pushed yet."""
    while True:
        await client.post("pause")
        await client.rest_is_here()
        if (await client.get("/simulator/books"))["BTC/USDT"]["id"] > max(frame["result"]["u"] for frame in client.frames):
            return
        await client.post("resume")
        await client.read_frames(len(client.frames) + 1)


class TestFaults:
    def test_without_faults_nothing_is_amiss(self) -> None:
        async def test() -> None:
            async with exchange() as client:
                book = await follow(client)
                assert (book.holes, book.repeated) == (0, 0)
                assert (await client.get("/simulator/state"))["faults"] == {}

        run(test())

    def test_drop_leaves_holes_for_everybody(self) -> None:
        async def test() -> None:
            async with exchange("drop=10") as client, client.http.ws_connect(PATH) as socket:
                other = Client(client.http, socket)
                books = await asyncio.gather(follow(client), follow(other, "spot.obu"))
                assert all(20 < book.holes < 80 for book in books)
                numbers = [frame["result"]["u"] for frame in client.frames]
                logged_numbers = [entry[3] for entry in await logged(client, "test")]
                assert logged_numbers[: len(numbers)] == numbers

        run(test())

    def test_duplicate_repeats_a_push_and_logs_it_once(self) -> None:
        async def test() -> None:
            async with exchange("duplicate=10") as client:
                book = await follow(client)
                assert 20 < book.repeated < 80 and book.holes == 0
                numbers = [entry[3] for entry in await logged(client, "test")]
                assert len(set(numbers)) == len(numbers)

        run(test())

    def test_reorder_swaps_two_pushes_of_a_pair_and_logs_them_in_order(self) -> None:
        async def test() -> None:
            async with exchange("reorder=10") as client:
                await follow(client)
                numbers = [frame["result"]["u"] for frame in client.frames]
                swapped = [index for index in range(len(numbers) - 1) if numbers[index] > numbers[index + 1]]
                assert 15 < len(swapped) < 80
                for index in swapped:
                    numbers[index : index + 2] = reversed(numbers[index : index + 2])
                assert numbers == sorted(numbers)
                assert [entry[3] for entry in await logged(client, "test")][: len(numbers) - 1] == numbers[:-1]

        run(test())

    def test_a_push_that_waits_for_the_next_one_is_not_lost_when_the_fault_ends(self) -> None:
        async def test() -> None:
            async with exchange("reorder=2") as client:
                await follow(client, "spot.obu", 10)
                await until_one_is_held(client)
                await client.post("fault", "clear")
                await client.post("resume")
                await client.read_frames(len(client.frames) + 20)
                numbers = sorted((frame["result"]["U"], frame["result"]["u"]) for frame in client.frames[1:])
                assert all(after[0] == before[1] + 1 for before, after in zip(numbers, numbers[1:], strict=False))

        run(test())

    def test_a_push_that_waits_for_the_next_one_does_not_come_after_a_new_subscription(self) -> None:
        async def test() -> None:
            async with exchange("reorder=2") as client:
                await follow(client, "spot.obu", 10)
                await until_one_is_held(client)
                await client.post("fault", "clear")
                await client.ask("spot.obu", ["ob.BTC_USDT.50"], "unsubscribe")
                client.frames.clear()
                await client.ask("spot.obu", ["ob.BTC_USDT.50"])
                await client.post("resume")
                await client.read_frames(20)
                book = book_of(client)
                assert (book.holes, book.repeated) == (0, 0)

        run(test())

    @pytest.mark.parametrize("channel", ["spot.order_book_update", "spot.obu"])
    def test_full_pushes_the_whole_book_unasked(self, channel: str) -> None:
        async def test() -> None:
            async with exchange("full=10") as client:
                await follow(client, channel)
                whole = [frame["result"] for frame in client.frames[1:] if frame["result"].get("full")]
                assert 15 < len(whole) < 80 and all(len(result["b"]) > 10 for result in whole)
                assert all(("U" in result) is (channel == "spot.order_book_update") for result in whole)
                await client.post("fault", "full=0")
                await client.post("pause")
                await client.rest_is_here()
                assert book_of(client).levels == levels_of((await client.get("/simulator/books"))["BTC/USDT"])

        run(test())

    @pytest.mark.parametrize("target", ["spot.trades", "BTC/USDT"])
    def test_refuse_refuses_a_channel_or_a_pair(self, target: str) -> None:
        async def test() -> None:
            async with exchange(f"refuse={target}", rate=0) as client:
                answer = await client.ask("spot.trades", ["BTC_USDT"])
                assert answer["error"] == {"code": 2, "message": f"subscription refused: {target}"}
                assert "error" not in await client.ask("spot.tickers", ["ETH_USDT"])
                await client.post("fault", "clear")
                assert "error" not in await client.ask("spot.trades", ["BTC_USDT"])

        run(test())

    def test_unanswered_gives_neither_acknowledgement_nor_data(self) -> None:
        async def test() -> None:
            async with exchange("unanswered=spot.trades") as client:
                await client.socket.send_str('{"time":1,"channel":"spot.trades","event":"subscribe","payload":["BTC_USDT"]}')
                await client.ask("spot.tickers", PAIRS)
                assert [answer["channel"] for answer in client.answers] == ["spot.tickers"]
                assert {frame["channel"] for frame in await client.read_frames(20)} == {"spot.tickers"}

        run(test())

    @pytest.mark.parametrize("target", ["spot.obu", "BTC/USDT"])
    def test_mute_acknowledges_and_says_nothing(self, target: str) -> None:
        async def test() -> None:
            async with exchange(f"mute={target}") as client:
                assert "error" not in await client.ask("spot.obu", ["ob.BTC_USDT.50"])
                await client.ask("spot.tickers", ["ETH_USDT"])
                assert {frame["channel"] for frame in await client.read_frames(20)} == {"spot.tickers"}
                assert {entry[2] for entry in await logged(client, "test")} == {"spot.tickers"}
                await client.post("fault", "clear")
                await client.read(lambda: client.frames[-1]["channel"] == "spot.obu")

        run(test())

    @pytest.mark.parametrize("fault", ["cut=0.3", None])
    def test_cut_resets_a_connection_in_the_middle_of_a_frame(self, fault: str | None) -> None:
        async def test() -> None:
            async with exchange(*([fault] if fault else []), rate=0) as client:
                reader, writer = await bare_connection(client)
                started = time.monotonic()
                if fault is None:
                    assert await client.post("fault", "cut") == 200
                data = b""
                with pytest.raises(ConnectionResetError):
                    while True:
                        data += await reader.readexactly(1)
                assert data[0] == 0x81 and len(data) < 4 + int.from_bytes(data[2:4], "big")
                assert fault is None or time.monotonic() - started > 0.2
                assert (await client.get("/simulator/state"))["faults"]["cut"] >= 1
                writer.close()

        run(test())

    def test_stale_books_are_older_than_the_stream(self) -> None:
        async def test() -> None:
            async with exchange("stale=2") as client:
                await client.post("pause")
                await client.ask("spot.order_book_update", ["BTC_USDT", "100ms"])
                await client.post("resume")
                first = (await client.read_frames(1))[0]["result"]["U"]
                for pair in PAIRS:
                    path = f"/api/v4/spot/order_book?currency_pair={pair}&limit=100&with_id=true"
                    books = [await client.get(path) for _ in range(3)]
                    assert books[0]["id"] == books[1]["id"] < books[2]["id"]
                    assert pair == "ETH_USDT" or books[0]["id"] < first - 1 <= books[2]["id"]

        run(test())

    def test_drip_lets_so_many_bytes_a_second_through(self) -> None:
        async def test() -> None:
            async with exchange("drip=4000") as client:
                await client.ask("spot.trades", PAIRS)
                started = time.monotonic()
                frames = await client.read_frames(20)
                size = sum(len(json.dumps(frame, separators=(",", ":"))) for frame in frames)
                assert size / (time.monotonic() - started) < 8000
                await client.post("fault", "drip=0")
                await client.read_frames(200)

        run(test())

    def test_early_sends_the_whole_book_before_the_acknowledgement(self) -> None:
        async def test() -> None:
            async with exchange("early", rate=0) as client:
                await client.ask("spot.obu", ["ob.BTC_USDT.50", "ob.ETH_USDT.50"])
                assert [frame["result"]["full"] for frame in client.frames] == [True, True]

        run(test())

    def test_slow_rest_takes_its_time(self) -> None:
        async def test() -> None:
            async with exchange("slow-rest=0.3", rate=0) as client:
                started = time.monotonic()
                await client.get("/api/v4/spot/time")
                assert time.monotonic() - started >= 0.3

        run(test())

    @BOTH
    @pytest.mark.parametrize("is_at_once", [False, True])
    def test_a_wrong_top_is_pushed_with_the_right_ids_and_the_right_top_after_it(self, play: Play, is_at_once: bool) -> None:
        async def test() -> None:
            async with exchange(*([] if is_at_once else ["corrupt=10"]), play=play, is_paused=is_at_once) as client:
                await client.ask(play.channel("book_ticker"), PAIRS)
                await client.ask(play.channel("obu"), ["ob.BTC_USDT.50"])
                await client.ask(play.channel("order_book"), ["BTC_USDT", "50", "100ms" if play is SPOT else "0"])
                client.frames = [frame for frame in client.frames if frame["channel"] != play.channel("book_ticker")]
                if is_at_once:
                    for _ in range(30):
                        assert await client.post("fault", f"wrong-top={play.symbols[0]}") == 200
                    await client.rest_is_here()
                else:
                    await client.read(lambda: len(client.frames) > 3000)
                    assert await client.post("fault", "corrupt=0") == 200
                    await client.post("pause")
                    await client.rest_is_here()
                struck = (await client.get("/simulator/state"))["faults"]["wrong-top" if is_at_once else "corrupt"]
                found, prices, book, truth = 0, 0, Book(), Book()
                wrong: int | None = None
                for frame in client.frames:
                    result = frame["result"]
                    if frame["channel"] == play.channel("obu"):
                        assert wrong is None
                        book.take(result)
                    elif frame["channel"] == play.channel("order_book"):
                        truth.take(result)
                        (bid, ask), (true_bid, true_ask) = ([side[0] for side in each.levels] for each in (book, truth))
                        assert float(bid[0]) < float(ask[0]) and book.last == truth.last
                        if (bid, ask) == (true_bid, true_ask):
                            assert book.levels == truth.levels
                        else:
                            wrong = truth.last
                            prices += (bid[0], ask[0]) != (true_bid[0], true_ask[0])
                            book.bids, book.asks = dict(truth.bids), dict(truth.asks)
                    elif wrong is not None and result["s"] == "BTC_USDT":
                        assert (result["u"], result["b"], result["B"], result["a"], result["A"]) == (wrong, *true_bid, *true_ask)
                        found, wrong = found + 1, None
                assert (wrong, book.holes) == (None, 0)
                assert found == struck and (found == 30 if is_at_once else found > 20)
                assert 0 < prices < found

        run(test())

    @BOTH
    def test_ids_that_begin_anew_are_far_lower_and_the_book_goes_on(self, play: Play) -> None:
        async def test() -> None:
            async with exchange("reset=20", play=play) as client:
                await client.ask(play.channel("obu"), ["ob.BTC_USDT.50"])
                await client.read_frames(300)
                await client.post("fault", "clear")
                assert await client.post("fault", f"restart={play.symbols[0]}") == 200
                await client.post("pause")
                await client.rest_is_here()
                ids = [(frame["result"].get("U"), frame["result"]["u"]) for frame in client.frames]
                falls = [before[1] - after[0] for before, after in zip(ids, ids[1:], strict=False) if after[0] != before[1] + 1]
                assert 5 < len(falls) < 40 and min(falls) > 10**6
                truth = (await client.get("/simulator/books"))[play.symbols[0]]
                assert truth["id"] < ids[-1][1] - 10**6
                seed = await client.get(play.book.format("BTC_USDT", 100))
                assert (seed["id"], levels_of(seed)) == (truth["id"], levels_of(truth))

        run(test())

    @BOTH
    def test_one_sided_pushes_have_no_bids_and_true_asks(self, play: Play) -> None:
        async def test() -> None:
            async with exchange(play=play, is_paused=True) as client:
                await client.ask(play.channel("obu"), ["ob.BTC_USDT.50", "ob.ETH_USDT.50"])
                assert await client.post("fault", f"one-sided={play.symbols[0]}") == 200
                await client.post("resume")
                await client.read_frames(400)
                await client.post("pause")
                await client.rest_is_here()
                truth = await client.get("/simulator/books")
                books = {pair: Book() for pair in PAIRS}
                for frame in client.frames:
                    books[frame["result"]["s"].split(".")[1]].take(frame["result"])
                own, other = (levels_of(truth[symbol]) for symbol in play.symbols)
                assert books["BTC_USDT"].levels[1] == own[1] and books["BTC_USDT"].levels[0] != own[0]
                assert books["ETH_USDT"].levels == other
                assert [book.holes for book in books.values()] == [0, 0]

        run(test())

    @BOTH
    def test_thin_lets_one_of_n_messages_through_and_all_of_a_book(self, play: Play) -> None:
        async def test() -> None:
            async with exchange("thin=10", play=play) as client:
                await client.ask(play.channel("trades"), PAIRS)
                await client.ask(play.channel("obu"), ["ob.BTC_USDT.50"])
                await client.read(lambda: sum(frame["channel"] == play.channel("trades") for frame in client.frames) >= 30)
                book = Book()
                numbers: dict[str, list[int]] = {}
                for frame in client.frames:
                    if frame["channel"] == play.channel("obu"):
                        book.take(frame["result"])
                    else:
                        numbers.setdefault(channel_of(frame), []).append(number_of(frame))
                assert book.holes == 0
                for stream in numbers.values():
                    assert 4 < (stream[-1] - stream[0]) / (len(stream) - 1) < 25
                entries = [entry[3] for entry in await logged(client, "test") if entry[:2] == ("trade", play.symbols[0])]
                own = next(stream for name, stream in numbers.items() if "BTC" in name)
                assert entries[: len(own)] == own
                await client.post("fault", "thin=0")
                await client.rest_is_here()
                client.frames.clear()
                await client.ask(play.channel("obu"), ["ob.BTC_USDT.50"], "unsubscribe")
                client.frames.clear()
                after = [number_of(frame) for frame in await client.read_frames(40) if "BTC" in channel_of(frame)]
                assert after == list(range(after[0], after[0] + len(after)))

        run(test())

    @BOTH
    def test_a_new_subscription_to_trades_begins_with_the_last_ones_again(self, play: Play) -> None:
        async def test() -> None:
            async with exchange("replay=5", play=play, log="mine") as client:
                await client.ask(play.channel("trades"), ["BTC_USDT"])
                await client.read_frames(20)
                await client.post("pause")
                await client.rest_is_here()
                seen = [number_of(frame) for frame in client.frames]
                assert seen == list(range(seen[0], seen[0] + len(seen)))
                async with client.another("mine") as again, client.another("nobody's") as stranger:
                    for each in (again, stranger):
                        await each.ask(play.channel("trades"), PAIRS)
                        await each.rest_is_here()
                    assert [number_of(frame) for frame in again.frames] == seen[-5:]
                    assert stranger.frames == []
                assert [entry[3] for entry in await logged(client, "mine")] == seen
                assert (await client.get("/simulator/state"))["faults"] == {"replay": 5}

        run(test())

    @BOTH
    def test_a_retired_connection_ends_with_a_close_frame_and_nothing_after_it(self, play: Play) -> None:
        async def test() -> None:
            async with exchange("retire=0.4", play=play) as client:
                reader, writer = await bare_connection(client, "?log=mine")
                writer.write(masked(json.dumps({"time": 1, "channel": play.channel("trades"), "event": "subscribe", "payload": PAIRS})))
                *frames, (opcode, payload) = frames_of(await reader.read(-1))
                assert (opcode, int.from_bytes(payload, "big")) == (0x88, aiohttp.WSCloseCode.GOING_AWAY)
                told = [json.loads(text) for opcode, text in frames if opcode == 0x81]
                # What was logged was sent.
                assert [number_of(frame) for frame in told[1:]] == [entry[3] for entry in await logged(client, "mine")] != []
                writer.close()
                state = await client.get("/simulator/state")
                assert state["faults"] == {"retire": 2}
                assert await client.post("fault", "retire=0") == 200
                async with client.another() as other:
                    await other.ask(play.channel("trades"), PAIRS)
                    await asyncio.sleep(0.6)
                    await other.rest_is_here()

        run(test())

    @BOTH
    def test_an_exchange_that_is_down_turns_everybody_away_until_it_is_not(self, play: Play) -> None:
        async def test() -> None:
            async with exchange(play=play) as client:
                await client.ask(play.channel("trades"), PAIRS)
                assert await client.post("fault", "down") == 200
                with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                    async with client.another():
                        pass
                assert caught.value.status == 503
                async with client.http.get("/api/v4/spot/time") as answer:
                    assert answer.status == 503
                await client.read_frames(len(client.frames) + 10)  # Whoever is there stays.
                assert await client.post("fault", "down=0") == 200
                async with client.another() as other:
                    await other.ask(play.channel("trades"), PAIRS)
                state = await client.get("/simulator/state")
                assert state["faults"] == {"down": 2} and len(state["connects"]) == 3

        run(test())

    def test_mute_also_silences_who_listens_already_and_ends(self) -> None:
        async def test() -> None:
            async with exchange() as client:
                await client.ask("spot.trades", PAIRS)
                await client.read_frames(10)
                await client.post("pause")
                assert await client.post("fault", "mute=BTC/USDT") == 200
                await client.rest_is_here()
                client.frames.clear()
                await client.post("resume")
                assert {frame["result"]["currency_pair"] for frame in await client.read_frames(30)} == {"ETH_USDT"}
                assert await client.post("fault", "mute=0") == 200
                await client.read(lambda: client.frames[-1]["result"]["currency_pair"] == "BTC_USDT")

        run(test())

    def test_a_hole_is_one_change_that_nobody_sees(self) -> None:
        async def test() -> None:
            async with exchange() as client:
                await follow(client, count=10)
                assert await client.post("fault", "hole=BTC/USDT") == 200
                await client.read_frames(300)
                assert book_of(client).holes == 1
                assert (await client.get("/simulator/state"))["faults"] == {"hole": 1}

        run(test())

    @pytest.mark.parametrize(
        ("fault", "says"),
        [
            ("dorp=3", "unknown fault 'dorp'; known: drop=N, duplicate=N"),
            ("drop", "fault 'drop' is not of the form drop=N"),
            ("drop=x", "drop=N"),
            ("drop=-1", "drop=N"),
            ("drop=1.5", "a whole number"),
            ("cut=nan", "cut=SECONDS"),
            ("cut=inf", "cut=SECONDS"),
            ("early=1", "is not of the form early"),
            ("refuse=NOPE/USDT", "known: spot.order_book_update"),
            ("mute=", "mute=CHANNEL or PAIR"),
            ("unanswered=BTC/USDT", "unanswered=CHANNEL"),
            ("", "unknown fault ''"),
        ],
    )
    def test_a_wrong_fault_names_what_is_known(self, fault: str, says: str) -> None:
        assert_fault_refused("gateio_spot", SYMBOLS, fault, says)

    def test_every_fault_of_the_table_can_be_set_and_ended(self) -> None:
        values = {"N": "5", "SECONDS": "0.5", "BYTES": "100", "CHANNEL": "spot.trades", "CHANNEL or PAIR": "BTC/USDT", "": ""}
        faults = Faults(("spot.trades", "BTC/USDT"), seed=1)
        for fault in FAULTS.values():
            faults.set(f"{fault.name}={values[fault.value]}" if fault.value else fault.name)
        assert faults.are_any
        faults.clear()
        assert not faults.are_any
        assert not any(faults.strikes(name) or faults.amount(name) or faults.hits(name, "spot.trades") for name in FAULTS)


class TestRecording:
    def test_a_client_gets_what_it_subscribed_to_byte_for_byte(self) -> None:
        lines = read_capture(EXAMPLE)
        frames = [line.frame.decode() for line in lines if line.dir == "in"]
        (book_line,) = (line for line in lines if line.dir == "http")
        before_book = sum(line.dir == "in" for line in lines[: lines.index(book_line)])

        async def test() -> None:
            async with exchange(capture=lines) as client:
                asked = asyncio.create_task(get_text(client, "/api/v4/spot/order_book?currency_pair=BTC_USDT&limit=100&with_id=true"))
                for channel, payload in (
                    ("spot.order_book_update", ["BTC_USDT", "100ms"]),
                    ("spot.obu", ["ob.ETH_USDT.50"]),
                    *((name, PAIRS) for name in ("spot.book_ticker", "spot.trades", "spot.tickers")),
                    *(("spot.candlesticks", ["1m", pair]) for pair in PAIRS),
                ):
                    await send(client, channel, payload)
                assert not asked.done()
                seen: list[str] = []
                while len(seen) < len(frames):
                    seen.append((await client.socket.receive(timeout=20)).data)
                    # The client has its book before the first frame that stood behind it.
                    assert asked.done() or len(seen) <= before_book
                assert seen == frames
                assert await asked == book_line.frame.decode()
                await client.rest_is_here()
                state = await client.get("/simulator/state")
                assert [(each["is_open"], each["is_played"]) for each in state["connections"]] == [(True, True)]

        run(test())

    def test_only_subscribed_streams_come_and_missing_acknowledgements_are_made(self) -> None:
        lines = [line for line in read_capture(EXAMPLE) if b'"spot.trades","event":"subscribe"' not in line.frame]

        async def test() -> None:
            async with exchange(capture=lines) as client:
                answer = await client.ask("spot.trades", ["BTC_USDT"], id=3)
                assert (answer["id"], answer["result"]) == (3, {"status": "success"})
                wanted = [json.loads(line.frame) for line in lines if b'"spot.trades"' in line.frame and b"BTC_USDT" in line.frame]
                assert await client.read_frames(len(wanted)) == wanted
                assert "error" in await client.ask("spot.trades", ["SOL_USDT"])
                assert (await client.get("/simulator/books")) == {}

        run(test())

    def test_a_recording_goes_on_without_a_client_that_never_asks_for_the_book(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(recording, "BOOK_TIMEOUT_S", 0.1)
        lines = read_capture(EXAMPLE)
        wanted = [line for line in lines if line.dir == "in" and b'"spot.order_book_update"' in line.frame]
        (book,) = (line.frame.decode() for line in lines if line.dir == "http")

        async def test() -> None:
            async with exchange(capture=lines) as client:
                await send(client, "spot.order_book_update", ["BTC_USDT", "100ms"])
                await client.read_frames(len(wanted) - 1)
                # Whoever asks later gets the last one that there was.
                assert await get_text(client, "/api/v4/spot/order_book?currency_pair=BTC_USDT") == book

        run(test())

    def test_a_recording_goes_on_only_after_the_client_has_answered_its_pings(self) -> None:
        async def test() -> None:
            async with exchange(capture=read_capture(EXAMPLE)) as client, client.http.ws_connect(PATH, autoping=False) as socket:
                await send(Client(client.http, socket), "spot.order_book_update", ["BTC_USDT", "100ms"])
                await get_text(client, "/api/v4/spot/order_book?currency_pair=BTC_USDT")
                before = 0
                while (message := await socket.receive(timeout=20)).type is aiohttp.WSMsgType.TEXT:
                    before += 1
                for number in range(recording.BOOK_ROUND_TRIPS):
                    assert message.type is aiohttp.WSMsgType.PING, number
                    await socket.pong(bytes(message.data))
                    message = await socket.receive(timeout=20)
                assert message.type is aiohttp.WSMsgType.TEXT and 0 < before < 20

        run(test())

    def test_a_book_is_not_handed_to_whoever_no_longer_waits_for_it(self) -> None:
        lines = read_capture(EXAMPLE)
        (book,) = (line.frame.decode() for line in lines if line.dir == "http")
        path = "/api/v4/spot/order_book?currency_pair=BTC_USDT"
        count = sum(line.dir == "in" and b'"depthUpdate"' in line.frame for line in lines)

        async def test() -> None:
            async with exchange(capture=lines) as client:
                with pytest.raises(TimeoutError):
                    await client.http.get(path, timeout=aiohttp.ClientTimeout(total=0.1))
                asked = asyncio.create_task(get_text(client, path))
                await send(client, "spot.order_book_update", ["BTC_USDT", "100ms"])
                await client.read(lambda: len(client.frames) == count > 50)
                assert await asked == book

        run(test())

    def test_rest_answers_come_from_the_recording_where_it_has_them(self, captures: Path) -> None:
        lines = read_capture(captures / "gateio_spot.jsonl")
        recorded = next(line.frame.decode() for line in lines if line.url.endswith("/currency_pairs"))

        async def test() -> None:
            async with exchange(capture=lines) as client:
                assert await get_text(client, "/api/v4/spot/currency_pairs") == recorded
                assert len(await client.get("/api/v4/spot/currencies")) > 10

        run(test())

    def test_the_real_recording_is_served_whole(self, captures: Path) -> None:
        lines = read_capture(captures / "gateio_spot.jsonl")
        frames = [line.frame.decode() for line in lines if line.dir == "in"]
        books = {line.url.partition("api.gateio.ws")[2]: line.frame.decode() for line in lines if "/order_book?" in line.url}

        async def test() -> None:
            async with exchange(capture=lines) as client:
                for line in lines:
                    if line.dir == "out":
                        await client.socket.send_str(line.frame.decode())
                asked = {path: asyncio.create_task(get_text(client, path)) for path in books}
                seen = [(await client.socket.receive(timeout=20)).data for _ in frames]
                assert seen == frames
                assert {path: await task for path, task in asked.items()} == books

        run(test())

    def test_faults_of_the_generated_market_are_refused(self) -> None:
        with pytest.raises(SettingsError, match="known: cut=SECONDS, retire=SECONDS, down, drip=BYTES, slow-rest=SECONDS"):
            Simulator("gateio_spot", capture=read_capture(EXAMPLE), faults=["drop=3"])
        with pytest.raises(SettingsError, match="its own symbols"):
            Simulator("gateio_spot", SYMBOLS, capture=read_capture(EXAMPLE))
        with pytest.raises(SettingsError, match="in the recording"):
            Simulator("gateio_spot", capture=[])


async def send(client: Client, channel: str, payload: list[str]) -> None:
    await client.socket.send_str(json.dumps({"time": 1, "channel": channel, "event": "subscribe", "payload": payload}))


async def get_text(client: Client, path: str) -> str:
    async with client.http.get(path) as answer:
        return await answer.text()


def test_what_is_no_venue_and_no_symbol() -> None:
    with pytest.raises(UnknownVenue, match="known: gateio_spot"):
        Simulator("nope", SYMBOLS)
    with pytest.raises(UnknownSymbol):
        Simulator("gateio_spot", ["BTCUSDT"])
    with pytest.raises(SettingsError):
        Simulator("gateio_spot", [])


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "infrastructure.cli", "simulate", *map(str, arguments)]


def finished(*arguments: object) -> "subprocess.CompletedProcess[str]":
    """A command that does not get as far as serving."""
    return subprocess.run(command(*arguments), capture_output=True, text=True, check=False, cwd=ROOT / "src", timeout=60)


@asynccontextmanager
async def process(*arguments: object) -> AsyncIterator[tuple[asyncio.subprocess.Process, list[str]]]:
    """The command, and the three words of its line."""
    started = await asyncio.create_subprocess_exec(
        *command("gateio_spot", *arguments), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, cwd=ROOT / "src"
    )
    assert started.stdout is not None
    try:
        yield started, (await started.stdout.readline()).decode().split()
    finally:
        if started.returncode is None:
            started.kill()
        await started.communicate()


class TestCommand:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_it_prints_one_line_serves_and_leaves_with_a_close_frame(self, number: signal.Signals) -> None:
        async def test() -> None:
            async with process("--rate", 500, "--symbols", "BTC/USDT,ETH/USDT") as (started, words), aiohttp.ClientSession() as http:
                assert words[0] == "gateio_spot" and re.fullmatch(r"ws://127\.0\.0\.1:\d+/ws/v4/", words[1])
                assert words[1] == words[2].replace("http", "ws") + "/ws/v4/"
                async with http.ws_connect(words[1]) as socket:
                    client = Client(http, socket)
                    await client.ask("spot.trades", PAIRS)
                    await client.read_frames(3)
                    started.send_signal(number)
                    message = await socket.receive(timeout=10)
                    while message.type is aiohttp.WSMsgType.TEXT:
                        message = await socket.receive(timeout=10)
                    assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1001)
                out, err = await started.communicate()
                assert (started.returncode, out, err) == (0, b"", b"")

        run(test())

    def test_it_serves_tls(self, tmp_path: Path) -> None:
        certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
        made = subprocess.run(
            f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost "
            f"-addext subjectAltName=IP:127.0.0.1 -keyout {key} -out {certificate}".split(),
            capture_output=True,
            check=False,
        )
        if made.returncode:
            pytest.skip("openssl makes no certificate here")
        trust = ssl.create_default_context(cafile=str(certificate))

        async def test() -> None:
            async with (
                process("--certificate", certificate, "--key", key, "--fault", "cut=1") as (_, words),
                aiohttp.ClientSession() as http,
            ):
                assert words[1].startswith("wss://") and words[2].startswith("https://")
                async with http.get(f"{words[2]}/api/v4/spot/time", ssl=trust) as answer:
                    assert answer.status == 200
                async with http.ws_connect(words[1], ssl=trust) as socket:
                    client = Client(http, socket)
                    await client.ask("spot.trades", PAIRS)
                    await client.read_frames(3)
                    message = await socket.receive(timeout=10)
                    while message.type is aiohttp.WSMsgType.TEXT:
                        message = await socket.receive(timeout=10)
                    assert message.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)

        run(test())

    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            (["nope"], "unknown venue 'nope'; known: gateio_spot"),
            (["gateio_spot", "--symbols", "BTCUSDT"], "unknown symbol 'BTCUSDT'"),
            (["gateio_spot", "--symbols", ""], "unknown symbol ''"),
            (["gateio_spot", "--fault", "dorp=3"], "unknown fault 'dorp'; known: drop=N"),
            (["gateio_spot", "--capture", "nowhere.jsonl"], "nowhere.jsonl: cannot be read: No such file or directory"),
            (["gateio_spot", "--capture", ROOT / "README.md"], "README.md:1: JSON is malformed"),
            (["gateio_spot", "--capture", EXAMPLE, "--symbols", "BTC/USDT"], "its own symbols"),
            (["gateio_spot", "--certificate", "nowhere.pem", "--key", "nowhere.pem"], "cannot use certificate nowhere.pem"),
            (["gateio_spot", "--certificate", ROOT / "README.md", "--key", ROOT / "README.md"], "cannot use certificate"),
            (["gateio_spot", "--key", "nowhere.pem"], "belong together"),
            (["gateio_spot", "--rate", "nan"], "--rate"),
            (["gateio_spot", "--port", "70000"], "--port"),
        ],
    )
    def test_wrong_input_gives_one_line_and_exit_code_two(self, arguments: list[object], says: str) -> None:
        done = finished(*arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert says in " ".join(done.stderr.replace("│", " ").split()) and "Traceback" not in done.stderr

    def test_a_port_in_use_is_told(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            done = finished("gateio_spot", "--port", port)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == f"tickrail: cannot serve on 127.0.0.1:{port}: Address already in use\n"

    def test_its_help_lists_every_fault(self) -> None:
        done = finished("--help")
        assert done.returncode == 0 and "Example" in done.stdout
        assert [name for name in FAULTS if name not in done.stdout] == []


def test_a_client_that_leaves_before_it_is_answered_is_nobodys_error(caplog: pytest.LogCaptureFixture) -> None:
    upgrade = f"GET {PATH} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"

    async def leaving() -> None:
        simulator = Simulator("gateio_spot", SYMBOLS)
        async with simulator.serving() as port, aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http:
            for _ in range(30):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(f"{upgrade}Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode())
                writer.transport.abort()
            async with http.get("/simulator/state") as answer:
                assert answer.status == 200

    run(leaving())
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []
