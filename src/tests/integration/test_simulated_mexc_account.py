"""The simulated MEXC spot's account over its sockets: signed requests, listen keys, private channels, and what can go wrong with them."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import aiohttp
import pytest

from infrastructure.simulator import mexc_spot_exchange
from infrastructure.simulator.server import Simulator
from tests.harness.account_client import Told, mexc
from tests.harness.exchange_client import ExchangeClient, assert_fault_refused, run
from tests.harness.mexc_schema import read_push

ORDERS = "spot@private.orders.v3.api.pb"
DEALS = "spot@private.deals.v3.api.pb"
ACCOUNT = "spot@private.account.v3.api.pb"
PRIVATE = (ORDERS, DEALS, ACCOUNT)
INVALID = "Invalid listen key"
Json = dict[str, Any]


class Client(ExchangeClient):
    """A connection for private streams."""

    def __init__(self, http: aiohttp.ClientSession, socket: aiohttp.ClientWebSocketResponse) -> None:
        super().__init__(http, socket)
        self.words: list[str] = []

    def take(self, message: aiohttp.WSMessage) -> None:
        if message.type is aiohttp.WSMsgType.BINARY:
            self.frames.append(read_push(message.data))
        else:
            assert message.type is aiohttp.WSMsgType.TEXT, message
            if message.data.startswith("{"):
                self.answers.append(json.loads(message.data))
            else:
                self.words.append(message.data)

    async def subscribe(self, *channels: str) -> str:
        """Subscribe, and return what the exchange says to it."""
        (answer,) = await self.answers_to({"method": "SUBSCRIPTION", "params": list(channels)})
        return str(answer["msg"])

    async def rest_is_here(self) -> list[Json]:
        """What has come, when all that was put on the connection so far is here."""
        await self.answers_to({"method": "PING"})
        return self.frames


class Owner:
    """Whoever has the key of a simulated exchange."""

    def __init__(self, simulator: Simulator, http: aiohttp.ClientSession) -> None:
        self.simulator = simulator
        self.http = http

    async def ask(self, method: str, path: str, **fields: Any) -> Told:
        return await mexc(self.http, method, path, **fields)

    async def told(self, method: str, path: str, **fields: Any) -> Any:
        """The answer to a request that is not refused."""
        answer = await self.ask(method, path, **fields)
        assert answer.status == 200, answer
        return answer.body

    async def listen_key(self) -> str:
        return str((await self.told("POST", "userDataStream"))["listenKey"])

    @asynccontextmanager
    async def connected(self, key: str) -> AsyncIterator[Client]:
        async with self.http.ws_connect(f"/ws?listenKey={key}") as socket:
            yield Client(self.http, socket)

    @asynccontextmanager
    async def listening(self, *channels: str) -> AsyncIterator[Client]:
        """Connected with a key of its own, and subscribed."""
        async with self.connected(await self.listen_key()) as client:
            assert await client.subscribe(*(channels or PRIVATE)) == ",".join(channels or PRIVATE)
            yield client

    async def account(self) -> Any:
        async with self.http.get("/simulator/account") as answer:
            return await answer.json()

    async def open_connections(self) -> int:
        async with self.http.get("/simulator/state") as answer:
            return sum(connection["is_open"] for connection in (await answer.json())["connections"])

    async def fault(self, text: str) -> None:
        async with self.http.post("/simulator/fault", data=text) as answer:
            assert answer.status == 200, await answer.text()

    def best(self, side: str) -> Decimal:
        """What an order on this side gets."""
        market = self.simulator.markets["BTC/USDT"]
        return Decimal(min(market.asks) if side == "BUY" else max(market.bids)) / 100


@asynccontextmanager
async def owner(*faults: str) -> AsyncIterator[Owner]:
    """The exchange runs, and its markets stand still."""
    simulator = Simulator("mexc_spot", ("BTC/USDT", "ETH/USDT"), rate=0, faults=faults)
    async with simulator.serving() as port, aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http:
        yield Owner(simulator, http)


def of(frames: list[Json], channel: str, body: str) -> list[Json]:
    return [frame[body] for frame in frames if frame["channel"] == channel]


def limit(side: str, quantity: str, price: Decimal, **more: Any) -> Json:
    return {"symbol": "BTCUSDT", "side": side, "type": "LIMIT", "quantity": quantity, "price": str(price)} | more


class TestRequests:
    @pytest.mark.parametrize(
        ("change", "status", "code"),
        [
            ({"key": "another"}, 400, 10072),
            ({"secret": "another"}, 400, 700002),
            ({"timestamp": 1_700_000_000_000}, 400, 700003),
            ({"timestamp": "now"}, 400, 700003),
            ({"timestamp": ""}, 400, 44444),
            ({"recvWindow": 60_001}, 400, 700005),
        ],
    )
    def test_whoever_does_not_prove_who_he_is_is_refused(self, change: Json, status: int, code: int) -> None:
        async def test() -> None:
            async with owner() as user:
                answer = await user.ask("GET", "account", **change)
                assert (answer.status, answer.body["code"]) == (status, code) and answer.body["msg"]

        run(test())

    def test_a_key_is_asked_for_before_anything_else(self) -> None:
        async def test() -> None:
            async with owner() as user:
                for method, path in (("GET", "account"), ("POST", "userDataStream"), ("POST", "order")):
                    async with user.http.request(method, f"/api/v3/{path}") as answer:
                        assert (answer.status, (await answer.json())["code"]) == (401, 400)
                async with user.http.patch("/api/v3/order") as answer:
                    assert answer.status == 405
                assert (await user.account())["orders"] == []

        run(test())

    @pytest.mark.parametrize(("fault", "status", "code"), [("wrong-signature", 400, 700002), ("no-permission", 401, 700007)])
    def test_a_fault_refuses_what_is_right(self, fault: str, status: int, code: int) -> None:
        async def test() -> None:
            async with owner(fault) as user:
                answer = await user.ask("POST", "userDataStream")
                assert (answer.status, answer.body["code"]) == (status, code)
                await user.fault("clear")
                await user.listen_key()

        run(test())

    def test_a_clock_that_is_off_refuses_what_its_own_time_would_not(self) -> None:
        async def test() -> None:
            async with owner("skew=30") as user:
                assert (await user.ask("GET", "account")).body["code"] == 700003
                async with user.http.get("/api/v3/time") as answer:
                    its_time = (await answer.json())["serverTime"]
                await user.told("GET", "account", timestamp=its_time)
                # A little ahead is forgiven, more is not.
                await user.fault("skew=-0.5")
                await user.told("GET", "account")
                await user.fault("skew=-3")
                assert (await user.ask("GET", "account")).body["code"] == 700003

        run(test())

    def test_the_body_may_hold_what_the_query_does_not(self) -> None:
        async def test() -> None:
            async with owner() as user:
                placed = await user.told("POST", "order", symbol="BTCUSDT", side="BUY", type="LIMIT", body="quantity=0.5&price=1")
                assert placed["origQty"] == "0.5"

        run(test())

    @pytest.mark.parametrize(
        ("fields", "code"),
        [
            ({"symbol": ""}, 44444),
            ({"symbol": "NOPEUSDT"}, 10007),
            ({"side": "LONG"}, 33333),
            ({"type": "STOP"}, 33333),
            ({"quantity": "much"}, 33333),
            ({"quantity": ""}, 44444),
            ({"quantity": "-1"}, 30002),
            ({"quantity": "NaN"}, 30002),
            ({"price": "0"}, 30010),
            ({"quantity": "1000000"}, 30004),
        ],
    )
    def test_an_order_that_cannot_be_changes_nothing(self, fields: Json, code: int) -> None:
        async def test() -> None:
            async with owner() as user:
                before = await user.account()
                answer = await user.ask("POST", "order", **(limit("BUY", "0.5", Decimal(100)) | fields))
                assert (answer.status, answer.body["code"]) == (400, code)
                assert await user.account() == before

        run(test())

    def test_an_order_that_is_not_there_is_an_error(self) -> None:
        async def test() -> None:
            async with owner() as user:
                for name, value in (("orderId", "C02__1"), ("orderId", "x"), ("origClientOrderId", "mine")):
                    for method in ("GET", "DELETE"):
                        answer = await user.ask(method, "order", symbol="BTCUSDT", **{name: value})
                        assert (answer.status, answer.body["code"]) == (400, -2013)
                assert (await user.ask("GET", "order", symbol="BTCUSDT")).body["code"] == 700004
                placed = await user.told("POST", "order", **limit("BUY", "0.5", Decimal(1)))
                other = await user.ask("GET", "order", symbol="ETHUSDT", orderId=placed["orderId"])
                assert other.body["code"] == -2013
                await user.told("DELETE", "order", symbol="BTCUSDT", orderId=placed["orderId"])
                again = await user.ask("DELETE", "order", symbol="BTCUSDT", orderId=placed["orderId"])
                assert again.body["code"] == -2011

        run(test())

    def test_rest_shows_the_account_as_it_is(self) -> None:
        async def test() -> None:
            async with owner() as user:
                far = user.best("BUY") / 2
                first = await user.told("POST", "order", **limit("BUY", "0.5", far, newClientOrderId="mine"))
                second = await user.told("POST", "order", **limit("BUY", "0.25", far))
                bought = await user.told("POST", "order", symbol="BTCUSDT", side="BUY", type="MARKET", quoteOrderQty="1000")
                shown = await user.told("GET", "order", symbol="BTCUSDT", origClientOrderId="mine")
                assert shown["orderId"] == first["orderId"] and shown["status"] == "NEW" and shown["clientOrderId"] == "mine"
                waiting = await user.told("GET", "openOrders", symbol="BTCUSDT,ETHUSDT")
                assert [order["orderId"] for order in waiting] == [second["orderId"], first["orderId"]]
                done = await user.told("GET", "allOrders", symbol="BTCUSDT")
                assert [order["orderId"] for order in done] == [bought["orderId"], second["orderId"], first["orderId"]]
                assert done[0]["status"] == "FILLED" and done[0]["type"] == "MARKET"
                fills = await user.told("GET", "myTrades", symbol="BTCUSDT")
                assert sum(Decimal(fill["qty"]) for fill in fills) == Decimal(done[0]["executedQty"])
                assert sum(Decimal(fill["quoteQty"]) for fill in fills) == Decimal(done[0]["cummulativeQuoteQty"])
                ids = [int(fill["id"].removesuffix("X1")) for fill in fills]
                assert ids == sorted(ids, reverse=True)
                state = await user.account()
                held = {row["asset"]: row for row in (await user.told("GET", "account"))["balances"]}
                for currency, funds in state["balances"].items():
                    assert (held[currency]["free"], held[currency]["locked"]) == (funds["available"], funds["frozen"])
                assert Decimal(held["USDT"]["locked"]) == far * Decimal("0.75")
                coins = await user.told("GET", "capital/config/getall")
                assert {coin["coin"] for coin in coins} == set(state["balances"])
                canceled = await user.told("DELETE", "openOrders", symbol="BTCUSDT")
                assert [order["status"] for order in canceled] == ["CANCELED"] * 2
                assert await user.told("GET", "openOrders", symbol="BTCUSDT") == []

        run(test())

    def test_lists_end_where_a_request_says(self) -> None:
        async def test() -> None:
            async with owner() as user:
                for _ in range(5):
                    await user.told("POST", "order", symbol="BTCUSDT", side="BUY", type="MARKET", quoteOrderQty="100")
                fills = await user.told("GET", "myTrades", symbol="BTCUSDT")
                assert len(fills) >= 5
                assert await user.told("GET", "myTrades", symbol="BTCUSDT", limit=3) == fills[:3]
                last = fills[-1]["time"]
                assert await user.told("GET", "myTrades", symbol="BTCUSDT", endTime=last) == [f for f in fills if f["time"] <= last]
                assert await user.told("GET", "myTrades", symbol="BTCUSDT", startTime=fills[0]["time"] + 1) == []
                of_one = await user.told("GET", "myTrades", symbol="BTCUSDT", orderId=fills[0]["orderId"])
                assert of_one == [fill for fill in fills if fill["orderId"] == fills[0]["orderId"]]
                assert len(await user.told("GET", "allOrders", symbol="BTCUSDT", limit=2)) == 2
                for fields in ({"limit": 0}, {"limit": "x"}, {"startTime": "x"}):
                    assert (await user.ask("GET", "myTrades", symbol="BTCUSDT", **fields)).body["code"] == 33333
                for path in ("myTrades", "allOrders", "openOrders"):
                    assert (await user.ask("GET", path)).body["code"] == 44444
                assert (await user.ask("GET", "openOrders", symbol=",".join(["BTCUSDT"] * 6))).body["code"] == 33333

        run(test())


class TestListenKeys:
    def test_a_key_is_made_listed_renewed_and_ended(self) -> None:
        async def test() -> None:
            async with owner() as user:
                key, other = await user.listen_key(), await user.listen_key()
                assert await user.told("GET", "userDataStream") == {"listenKey": [key, other]}
                assert await user.told("PUT", "userDataStream", listenKey=key) == {"listenKey": key}
                await user.told("DELETE", "userDataStream", listenKey=key)
                assert await user.told("GET", "userDataStream") == {"listenKey": [other]}
                for method in ("PUT", "DELETE"):
                    assert (await user.ask(method, "userDataStream", listenKey=key)).status == 400
                    assert (await user.ask(method, "userDataStream")).body["code"] == 44444

        run(test())

    def test_there_are_sixty_keys_and_no_more(self) -> None:
        async def test() -> None:
            async with owner() as user:
                keys = [await user.listen_key() for _ in range(60)]
                assert (await user.ask("POST", "userDataStream")).status == 400
                await user.told("DELETE", "userDataStream", listenKey=keys[0])
                await user.listen_key()

        run(test())

    @pytest.mark.parametrize(("fault", "method", "status"), [("keys-refused", "POST", 500), ("renewal-refused", "PUT", 429)])
    def test_what_a_fault_refuses_goes_again_when_it_is_over(self, fault: str, method: str, status: int) -> None:
        async def test() -> None:
            async with owner() as user:
                key = await user.listen_key()
                await user.fault(fault)
                assert (await user.ask(method, "userDataStream", listenKey=key)).status == status
                await user.fault("clear")
                await user.told(method, "userDataStream", listenKey=key)

        run(test())

    def test_an_address_with_a_key_that_is_none_is_of_no_use(self) -> None:
        async def test() -> None:
            async with owner() as user, user.connected("0" * 64) as client:
                await client.read(lambda: client.words == [INVALID])
                for channel in (ORDERS, "spot@public.aggre.deals.v3.api.pb@100ms@BTCUSDT"):
                    await client.socket.send_json({"method": "SUBSCRIPTION", "params": [channel]})
                await client.read(lambda: client.words == [INVALID] * 3)
                assert client.answers == []

        run(test())

    def test_private_channels_want_a_key_and_public_ones_do_not(self) -> None:
        async def test() -> None:
            async with owner() as user, user.http.ws_connect("/ws") as socket:
                client = Client(user.http, socket)
                for channel in PRIVATE:
                    assert "Blocked" in await client.subscribe(channel)
                assert await client.subscribe("spot@public.aggre.deals.v3.api.pb@100ms@BTCUSDT")
                async with user.listening() as with_key:
                    deals = "spot@public.aggre.deals.v3.api.pb@100ms@BTCUSDT"
                    assert await with_key.subscribe(deals) == deals

        run(test())

    def test_five_connections_share_a_key(self) -> None:
        async def test() -> None:
            async with owner() as user:
                key = await user.listen_key()
                sockets = [await user.http.ws_connect(f"/ws?listenKey={key}") for _ in range(5)]
                async with user.connected(key) as sixth:
                    await sixth.read(lambda: sixth.words == [INVALID])
                await sockets[0].close()
                while await user.open_connections() > 4:
                    await asyncio.sleep(0)
                async with user.connected(key) as client:
                    assert await client.subscribe(ORDERS) == ORDERS
                for socket in sockets[1:]:
                    await socket.close()

        run(test())

    def test_a_lapsed_key_falls_silent_first_and_the_connection_ends_later(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def test() -> None:
            async with owner() as user, user.listening() as client:
                await user.told("POST", "order", **limit("BUY", "0.5", Decimal(1)))
                await client.read(lambda: len(client.frames) == 2)
                await user.fault("key-dies")
                await user.told("POST", "order", **limit("BUY", "0.5", Decimal(1)))
                assert len(await client.rest_is_here()) == 2  # It still answers, and says nothing of the account.
                assert "Blocked" in await client.subscribe(ORDERS)
                monkeypatch.setattr(mexc_spot_exchange, "LAPSED_MS", 0)
                await client.socket.receive(timeout=20)
                assert client.socket.closed
                assert user.simulator.exchange.limits["lapsed"] == 1

        run(test())

    def test_a_key_may_live_shorter(self) -> None:
        async def test() -> None:
            async with owner() as user:
                key = await user.listen_key()
                await user.fault("key-life=0.000001")
                async with user.connected(key) as client:
                    await client.read(lambda: client.words == [INVALID])

        run(test())


class TestPushes:
    def test_an_order_that_waits_is_told_and_so_is_its_end(self) -> None:
        async def test() -> None:
            async with owner() as user, user.listening() as client:
                price = user.best("BUY") / 2
                placed = await user.told("POST", "order", **limit("BUY", "0.5", price, newClientOrderId="mine"))
                await user.told("DELETE", "order", symbol="BTCUSDT", orderId=placed["orderId"])
                await client.read(lambda: len(client.frames) == 4)
                new, canceled = of(client.frames, ORDERS, "privateOrders")
                assert (new["id"], new["clientId"], new["status"], new["orderType"]) == (placed["orderId"], "mine", 1, 1)
                assert (canceled["id"], canceled["status"], canceled["cumulativeQuantity"]) == (placed["orderId"], 4, "0")
                taken, back = of(client.frames, ACCOUNT, "privateAccount")
                worth = price * Decimal("0.5")
                assert (taken["type"], back["type"]) == ("ENTRUST_PLACE", "ENTRUST_CANCEL")
                assert Decimal(taken["frozenAmountChange"]) == -Decimal(taken["balanceAmountChange"]) == worth
                assert Decimal(back["frozenAmountChange"]) == -worth and back["frozenAmount"] == "0"
                assert all("symbol" not in frame for frame in client.frames if frame["channel"] == ACCOUNT)

        run(test())

    @pytest.mark.parametrize("side", ["BUY", "SELL"])
    def test_what_is_filled_at_once_is_told_to_the_last_digit(self, side: str) -> None:
        async def test() -> None:
            async with owner() as user, user.listening() as client:
                fields = {"quoteOrderQty": "1234.5"} if side == "BUY" else {"quantity": "0.123"}
                placed = await user.told("POST", "order", symbol="BTCUSDT", side=side, type="MARKET", **fields)
                await client.read(lambda: any(order["status"] == 2 for order in of(client.frames, ORDERS, "privateOrders")))
                frames = await client.rest_is_here()
                state = await user.account()
                deals = of(frames, DEALS, "privateDeals")
                fills = state["fills"]
                assert [deal["tradeId"] for deal in deals] == [f"{fill['fill_id']}X1" for fill in fills]
                for deal, fill in zip(deals, fills, strict=True):
                    assert deal["orderId"] == placed["orderId"] and deal["tradeType"] == (1 if side == "BUY" else 2)
                    assert (deal["price"], deal["quantity"], deal["amount"]) == (fill["price"], fill["amount"], fill["turnover"])
                    assert (deal["feeAmount"], deal["feeCurrency"]) == (fill["fee"], fill["fee_currency"]) and "isMaker" not in deal
                last = of(frames, ORDERS, "privateOrders")[-1]
                assert last["orderType"] == 5 and Decimal(last["cumulativeQuantity"]) == sum(Decimal(deal["quantity"]) for deal in deals)
                for currency in ("BTC", "USDT"):
                    told = [each for each in of(frames, ACCOUNT, "privateAccount") if each["vcoinName"] == currency][-1]
                    funds = state["balances"][currency]
                    assert (told["balanceAmount"], told["frozenAmount"]) == (funds["available"], funds["frozen"])
                # REST tells the same of it by the same ids.
                rows = await user.told("GET", "myTrades", symbol="BTCUSDT")
                assert [row["id"] for row in reversed(rows)] == [deal["tradeId"] for deal in deals]

        run(test())

    def test_every_connection_hears_what_it_asked_for(self) -> None:
        async def test() -> None:
            async with owner() as user, user.listening(ORDERS) as orders, user.listening(ACCOUNT) as balances:
                await user.told("POST", "order", **limit("BUY", "0.5", Decimal(1)))
                await orders.read(lambda: len(orders.frames) == 1)
                await balances.read(lambda: len(balances.frames) == 1)
                assert {frame["channel"] for frame in await orders.rest_is_here()} == {ORDERS}
                assert {frame["channel"] for frame in await balances.rest_is_here()} == {ACCOUNT}
                await orders.answers_to({"method": "UNSUBSCRIPTION", "params": [ORDERS]})
                await user.told("POST", "order", **limit("BUY", "0.5", Decimal(1)))
                assert len(await orders.rest_is_here()) == 1

        run(test())

    def test_under_quiet_private_rest_alone_knows(self) -> None:
        async def test() -> None:
            async with owner("quiet-private") as user, user.listening() as client:
                await user.told("POST", "order", **limit("BUY", "0.5", Decimal(1)))
                assert await client.rest_is_here() == []
                assert len(await user.told("GET", "openOrders", symbol="BTCUSDT")) == 1

        run(test())

    def test_a_login_may_be_cut(self) -> None:
        async def test() -> None:
            async with owner("cut-login=1") as user:
                key = await user.listen_key()
                async with user.connected(key) as client:
                    await client.socket.send_json({"method": "SUBSCRIPTION", "params": list(PRIVATE)})
                    message = await client.socket.receive(timeout=20)
                    assert message.type in (aiohttp.WSMsgType.ERROR, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSE)
                async with user.connected(key) as client:
                    assert await client.subscribe(ORDERS) == ORDERS

        run(test())

    def test_it_has_no_positions(self) -> None:
        for fault in ("liquidate=BTC/USDT", "deleverage=BTC/USDT"):
            assert_fault_refused("mexc_spot", ("BTC/USDT",), fault, "it has no positions")
