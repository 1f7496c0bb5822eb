"""The simulated account over real sockets: orders by REST, pushes, the side channel, faults. Read here by means of its own."""

import hmac
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from functools import partial
from hashlib import sha512
from typing import Any

import aiohttp
from yarl import URL

from infrastructure.simulator.server import Simulator
from tests.harness.exchange_client import ExchangeClient, assert_fault_refused, opened, run

PAIRS = ("BTC/USDT", "ETH/USDT")
CHANNELS = ("spot.orders", "spot.usertrades", "spot.balances")
PATH = "/api/v4/spot/orders"


class Trader(ExchangeClient):
    """Somebody with the key."""

    secret = b"secret"

    def take(self, message: aiohttp.WSMessage) -> None:
        assert message.type is aiohttp.WSMsgType.TEXT, message
        frame = json.loads(message.data)
        (self.frames if frame["event"] == "update" else self.answers).append(frame)

    def sign(self, text: str) -> str:
        return hmac.new(self.secret, text.encode(), sha512).hexdigest()

    def signed(self, channel: str, payload: Sequence[str] = ("!all",), event: str = "subscribe") -> dict[str, Any]:
        now_s = int(time.time())
        auth = {"method": "api_key", "KEY": "key", "SIGN": self.sign(f"channel={channel}&event={event}&time={now_s}")}
        return {"time": now_s, "channel": channel, "event": event, "payload": payload, "auth": auth}

    async def subscribe(self, *channels: str) -> None:
        for channel in channels:
            (answer,) = await self.answers_to(self.signed(channel))
            assert answer["result"] == {"status": "success"}, answer

    async def rest(self, method: str, path: str, query: str = "", body: object = None) -> tuple[int, Any]:
        raw, now_s = b"" if body is None else json.dumps(body).encode(), str(int(time.time()))
        sign = self.sign(f"{method}\n{path}\n{query}\n{sha512(raw).hexdigest()}\n{now_s}")
        headers = {"KEY": "key", "Timestamp": now_s, "SIGN": sign, "Content-Type": "application/json"}
        address = f"{path}?{query}" if query else path
        async with self.http.request(method, address, data=raw, headers=headers) as answer:
            return answer.status, await answer.json()

    async def sell(self, amount: str = "0.0001") -> dict[str, Any]:
        body = {"currency_pair": "BTC_USDT", "side": "sell", "type": "market", "amount": amount, "time_in_force": "ioc"}
        status, order = await self.rest("POST", PATH, body=body)
        assert status == 201, order
        assert isinstance(order, dict)
        return order

    async def account(self) -> Any:
        return await self.get("/simulator/account")

    async def logged(self, name: str = "test") -> list[tuple[str, str, int]]:
        """(kind, symbol, number) of each push that was put on the connection since this was last asked."""
        log = await self.get(f"/simulator/log?name={name}")
        return [(*log["streams"][index][:2], number) for index, number in log["entries"]]

    async def rest_is_here(self) -> None:
        """Everything that was put on the connection so far has been read: the server answers pings in order."""
        await self.answers_to({"time": 1, "channel": "spot.ping"})

    def has_fill(self, fill_id: int) -> bool:
        return any(row["id"] == fill_id for row in self.rows("spot.usertrades"))

    def rows(self, channel: str) -> list[dict[str, Any]]:
        return [row for frame in self.frames if frame["channel"] == channel for row in frame["result"]]


@asynccontextmanager
async def trading(rate: float = 0, orders_rate: float = 0, faults: Sequence[str] = ()) -> AsyncIterator[Trader]:
    async with opened(Simulator("gateio_spot", PAIRS, rate=rate, orders_rate=orders_rate, faults=faults)) as (http, socket):
        yield Trader(http, socket)


def test_an_order_by_rest_is_pushed_and_logged() -> None:
    async def test() -> None:
        async with trading() as client:
            await client.subscribe(*CHANNELS)
            order = await client.sell()
            await client.read_frames(6)
            assert [row["event"] for row in client.rows("spot.orders")] == ["put", "finish"]
            (trade,) = client.rows("spot.usertrades")
            assert trade["order_id"] == order["id"]
            account = await client.account()
            assert account["user"] == 1 and [fill["fill_id"] for fill in account["fills"]] == [str(trade["id"])]
            last = {row["currency"]: row for row in client.rows("spot.balances")}
            for currency, row in last.items():
                assert Decimal(row["total"]) == Decimal(account["balances"][currency]["total"])
            logged = await client.logged()
            assert [entry[:2] for entry in logged] == [
                ("order", "BTC/USDT"),
                ("balance", "BTC"),
                ("order", "BTC/USDT"),
                ("fill", "BTC/USDT"),
                ("balance", "BTC"),
                ("balance", "USDT"),
            ]
            assert logged[3][2] == trade["id"]
            numbers = [number for kind, _, number in logged if kind != "fill"]
            assert numbers == sorted(set(numbers))

    run(test())


def test_a_query_reaches_the_check_as_it_was_sent() -> None:
    async def test() -> None:
        async with trading() as client:
            path, now_s = "/api/v4/spot/accounts", str(int(time.time()))
            sign = client.sign(f"GET\n{path}\na=b,c&currency=BTC\n{sha512(b'').hexdigest()}\n{now_s}")
            headers = {"KEY": "key", "Timestamp": now_s, "SIGN": sign}
            async with client.http.get("/api/v4/spot/time") as answer:
                url = URL(f"{answer.url.origin()}{path}?a=b%2Cc&currency=BTC", encoded=True)
            async with client.http.get(url, headers=headers) as answer:
                assert (answer.status, (await answer.json())[0]["available"]) == (200, "1000")

    run(test())


def test_whatever_the_account_does_by_itself_reaches_every_subscribed_connection() -> None:
    async def test() -> None:
        async with trading(rate=300, orders_rate=200) as client, client.http.ws_connect("/ws/v4/?log=other") as socket:
            other = Trader(client.http, socket)
            await client.subscribe(*CHANNELS)
            await other.subscribe(*CHANNELS)
            await client.read(lambda: len(client.rows("spot.usertrades")) > 40)
            assert await client.post("pause") == 200
            assert await client.post("trade", "25") == 200
            fills = (await client.account())["fills"]
            last = int(fills[-1]["fill_id"])
            for each in (client, other):
                await each.read(partial(each.has_fill, last))
                await each.rest_is_here()
                rows = each.rows("spot.usertrades")
                told = [(str(row["id"]), row["amount"], row["price"], row["fee"], row["fee_currency"]) for row in rows]
                had = [(fill["fill_id"], fill["amount"], fill["price"], fill["fee"], fill["fee_currency"]) for fill in fills]
                assert told == had[-len(told) :]
            account = await client.account()
            for currency, row in {row["currency"]: row for row in client.rows("spot.balances")}.items():
                assert [Decimal(row[name]) for name in ("total", "available", "freeze")] == [
                    Decimal(account["balances"][currency][name]) for name in ("total", "available", "frozen")
                ]

    run(test())


def test_an_account_that_nobody_listens_to_trades_all_the_same() -> None:
    async def test() -> None:
        async with trading() as client:
            assert await client.post("trade", "50") == 200
            assert await client.post("trade", "many") == 400
            assert len((await client.account())["orders"]) > 10
            await client.subscribe(*CHANNELS)
            await client.sell()
            await client.read_frames(6)
            assert await client.logged() != []

    run(test())


def test_only_the_next_connections_are_cut_at_their_first_private_subscription() -> None:
    async def test() -> None:
        async with trading(faults=["cut-login=1"]) as client:
            (answer,) = await client.answers_to({"time": 1, "channel": "spot.trades", "event": "subscribe", "payload": ["BTC_USDT"]})
            assert answer["result"] == {"status": "success"}
            await client.socket.send_str(json.dumps(client.signed("spot.orders")))
            message = await client.socket.receive(timeout=20)
            assert message.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR, aiohttp.WSMsgType.CLOSE), message
            assert (await client.state())["faults"] == {"cut-login": 1}
            async with client.http.ws_connect("/ws/v4/") as socket:
                other = Trader(client.http, socket)
                await other.subscribe(*CHANNELS)
                await other.sell()
                await other.read_frames(6)

    run(test())


def test_connections_that_listen_to_the_account_can_be_cut_and_no_others() -> None:
    async def test() -> None:
        async with trading() as client, client.http.ws_connect("/ws/v4/") as socket:
            other = Trader(client.http, socket)
            await other.subscribe(*CHANNELS)
            assert await client.post("fault", "cut-private") == 200
            message = await other.socket.receive(timeout=20)
            assert message.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR, aiohttp.WSMsgType.CLOSE), message
            await client.rest_is_here()
            assert (await client.state())["faults"] == {"cut-private": 1}

    run(test())


def test_a_muted_private_channel_is_acknowledged_and_silent() -> None:
    async def test() -> None:
        async with trading(faults=["mute=spot.orders", "quiet-private"]) as client:
            await client.subscribe(*CHANNELS)
            await client.sell()
            assert await client.post("fault", "quiet-private=0") == 200
            await client.sell()
            await client.rest_is_here()
            assert client.rows("spot.orders") == [] and len(client.rows("spot.usertrades")) == 1
            assert len((await client.account())["fills"]) == 2

    run(test())


def test_a_private_channel_can_be_refused_or_left_unanswered_like_any_other() -> None:
    async def test() -> None:
        async with trading(faults=["refuse=spot.balances", "unanswered=spot.usertrades"]) as client:
            (answer,) = await client.answers_to(client.signed("spot.balances"))
            assert answer["result"] == {"status": "fail"}
            await client.socket.send_str(json.dumps(client.signed("spot.usertrades")))
            await client.subscribe("spot.orders")
            await client.sell()
            await client.rest_is_here()
            assert {frame["channel"] for frame in client.frames} == {"spot.orders"}

    run(test())


def test_an_exchange_without_listen_keys_has_no_faults_of_them() -> None:
    for fault in ("key-life=1", "renewal-refused", "keys-refused"):
        assert_fault_refused("gateio_spot", PAIRS, fault, "has no meaning here: it has no listen keys")

    async def test() -> None:
        async with trading() as client:
            assert await client.post("fault", "key-dies") == 400

    run(test())


def test_another_key_and_secret_may_be_chosen() -> None:
    async def test() -> None:
        simulator = Simulator("gateio_spot", PAIRS, rate=0, api_key="another", secret="other")
        async with opened(simulator) as (http, socket):
            client = Trader(http, socket)
            client.secret = b"other"
            request = client.signed("spot.orders")
            assert json.loads((await client.answers_to(request))[0]["error"]["message"])["label"] == "INVALID_KEY"
            request["auth"]["KEY"] = "another"
            assert (await client.answers_to(request))[0]["result"] == {"status": "success"}

    run(test())


def test_whoever_unsubscribed_is_no_longer_kept_as_a_listener() -> None:
    async def test() -> None:
        simulator = Simulator("gateio_spot", PAIRS, rate=0)
        async with opened(simulator) as (http, socket):
            client = Trader(http, socket)
            await client.subscribe(*CHANNELS)
            assert len(simulator._private) == 1
            for channel in CHANNELS:
                await client.answers_to(client.signed(channel, event="unsubscribe"))
            assert not simulator._private
            await client.sell()
            await client.rest_is_here()
            assert client.frames == []

    run(test())
