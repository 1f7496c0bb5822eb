"""The simulated Gate.io futures' account over its sockets: signed channels and requests in both forms of numbers, and what goes wrong."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from infrastructure.simulator.server import Simulator
from tests.harness.account_client import Told, exact, gateio, gateio_subscription
from tests.harness.captures import lines
from tests.harness.exchange_client import ExchangeClient, assert_fault_refused, run

BTC, ETH = "BTC/USDT:USDT", "ETH/USDT:USDT"
DECIMAL = {"X-Gate-Size-Decimal": "1"}
DIALECTS = pytest.mark.parametrize("headers", [DECIMAL, {}], ids=["exact", "whole"])
PRIVATE = ("orders", "usertrades", "balances", "positions", "liquidates", "auto_deleverages", "position_adl_rank")
USDT = "futures/usdt"
Json = dict[str, Any]


class Client(ExchangeClient):
    """A connection for private streams."""

    def take(self, message: aiohttp.WSMessage) -> None:
        assert message.type is aiohttp.WSMsgType.TEXT, message
        told = exact(message.data)
        (self.frames if told["event"] == "update" else self.answers).append(told)

    async def subscribe(self, *names: str, user: str = "1", contract: str = "!all") -> None:
        """Subscribe to private channels of the account that there is."""
        for name in names or PRIVATE:
            payload = [contract] if name == "position_adl_rank" else [user] if name == "balances" else [user, contract]
            (answer,) = await self.answers_to(gateio_subscription(f"futures.{name}", payload))
            assert answer["result"] == {"status": "success"}, answer

    async def rest_is_here(self) -> list[Json]:
        """What has come, when all that was put on the connection so far is here."""
        await self.answers_to({"time": 1, "channel": "futures.ping"})
        return self.frames

    async def told(self, name: str) -> list[Json]:
        """What has come on a channel."""
        return [row for frame in await self.rest_is_here() if frame["channel"] == f"futures.{name}" for row in frame["result"]]


class Owner:
    """Whoever has the key of a simulated exchange, connected."""

    def __init__(self, simulator: Simulator, http: aiohttp.ClientSession, client: Client) -> None:
        self.simulator = simulator
        self.http = http
        self.client = client

    async def ask(self, method: str, path: str, query: Mapping[str, Any] | None = None, body: Mapping[str, Any] | None = None) -> Told:
        return await gateio(self.http, method, path, query, body)

    async def order(self, size: object, price: Decimal | str = "0", contract: str = "BTC_USDT", **more: Any) -> Any:
        """Place an order, at once where it has no price."""
        tif = "ioc" if price == "0" else "gtc"
        answer = await self.ask("POST", f"{USDT}/orders", body={"contract": contract, "size": size, "price": str(price), "tif": tif} | more)
        assert answer.status == 201, answer
        return answer.body

    async def get(self, path: str, **query: Any) -> Any:
        answer = await self.ask("GET", f"{USDT}/{path}", query)
        assert answer.status == 200, answer
        return answer.body

    async def account(self) -> Any:
        async with self.http.get("/simulator/account") as answer:
            return await answer.json()

    async def fault(self, text: str) -> int:
        async with self.http.post("/simulator/fault", data=text) as answer:
            return answer.status

    def best(self, side: str) -> Decimal:
        """What an order on this side gets."""
        market = self.simulator.markets[BTC]
        return Decimal(min(market.asks) if side == "buy" else max(market.bids)) / 100


@asynccontextmanager
async def owner(*faults: str, headers: Mapping[str, str] = DECIMAL) -> AsyncIterator[Owner]:
    """The exchange runs, its markets stand still, and the account's owner is connected."""
    simulator = Simulator("gateio_futures", (BTC, ETH), rate=0, faults=faults)
    async with (
        simulator.serving() as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}", headers=headers) as http,
        http.ws_connect("/v4/ws/usdt") as socket,
    ):
        yield Owner(simulator, http, Client(http, socket))


class TestPushes:
    @DIALECTS
    def test_what_is_filled_is_told_to_the_last_digit(self, headers: Mapping[str, str]) -> None:
        async def test() -> None:
            async with owner(headers=headers) as user:
                await user.client.subscribe()
                await user.order("7" if headers else 7)
                sold = await user.order("-3" if headers else -3, text="t-mine")
                state = await user.account()
                fills = await user.client.told("usertrades")
                assert [fill["id"] for fill in fills] == [fill["fill_id"] for fill in state["fills"]]
                for told, fill in zip(fills, state["fills"], strict=True):
                    sign = 1 if fill["side"] == "buy" else -1
                    assert Decimal(told["size"]) == sign * Decimal(fill["amount"]) and told["order_id"] == fill["order_id"]
                    assert (Decimal(told["price"]), Decimal(told["fee"])) == (Decimal(fill["price"]), Decimal(fill["fee"]))
                    assert told["role"] == "taker"
                last = (await user.client.told("orders"))[-1]
                assert (last["id"], last["status"], last["finish_as"]) == (sold["id"], "finished", "filled")
                assert (int(last["size"]), int(last["left"]), last["text"]) == (-3, 0, "t-mine")
                position = (await user.client.told("positions"))[-1]
                held = state["positions"][BTC]
                assert Decimal(position["size"]) == Decimal(held["size"]) == 4
                assert Decimal(position["entry_price"]) == Decimal(held["entry_price"])
                assert Decimal(position["realised_pnl"]) == Decimal(held["realised"])
                balances = await user.client.told("balances")
                assert Decimal(balances[-1]["balance"]) == Decimal(state["balances"]["USDT"]["total"])
                assert {row["type"] for row in balances} == {"fee", "pnl"} and {row["currency"] for row in balances} == {"usdt"}
                changes = sum(Decimal(row["change"]) for row in balances)
                assert Decimal(balances[-1]["balance"]) == 1_000_000 + changes

        run(test())

    @DIALECTS
    def test_numbers_have_the_form_that_the_handshake_asked_for(self, headers: Mapping[str, str]) -> None:
        async def test() -> None:
            async with owner(headers=headers) as user:
                await user.client.subscribe()
                await user.order("1.5" if headers else 1)
                form = str if headers else (int, Decimal)
                (fill, *_) = await user.client.told("usertrades")
                (order, *_) = await user.client.told("orders")
                (position, *_) = await user.client.told("positions")
                (balance, *_) = await user.client.told("balances")
                sizes = [row[name] for row in (fill, order, position) for name in ("size",)] + [order["left"], order["iceberg"]]
                assert all(isinstance(size, str if headers else int) for size in sizes)
                money = (order["price"], order["fill_price"], fill["fee"], position["entry_price"], position["margin"], balance["balance"])
                assert all(isinstance(amount, form) for amount in money)
                if headers:
                    assert order["size"] == "1.5"

        run(test())

    def test_whole_contracts_are_truncated_toward_zero(self) -> None:
        async def test() -> None:
            async with owner() as exact_one, exact_one.http.ws_connect("/v4/ws/usdt", headers={"X-Gate-Size-Decimal": "0"}) as socket:
                whole_one = Client(exact_one.http, socket)
                for client in (exact_one.client, whole_one):
                    await client.subscribe("positions")
                await exact_one.order("-1.7")
                (*_, last), (*_, truncated) = await exact_one.client.told("positions"), await whole_one.told("positions")
                assert (last["size"], truncated["size"]) == ("-1.7", -1)

        run(test())

    def test_an_order_that_waits_is_told_and_so_is_its_end(self) -> None:
        async def test() -> None:
            async with owner() as user:
                await user.client.subscribe("orders")
                placed = await user.order("5", user.best("buy") / 2)
                canceled = await user.ask("DELETE", f"{USDT}/orders/{placed['id']}")
                assert (canceled.status, canceled.body["finish_as"]) == (200, "cancelled")
                new, ended = await user.client.told("orders")
                assert (new["status"], new["finish_as"], new["finish_time"], new["tif"]) == ("open", "_new", 0, "gtc")
                assert (ended["status"], ended["finish_as"], ended["left"]) == ("finished", "cancelled", "5")
                assert new["update_id"] < ended["update_id"] and ended["finish_time_ms"] >= new["create_time_ms"]

        run(test())

    def test_only_what_was_asked_for_is_told(self) -> None:
        async def test() -> None:
            async with owner() as user:
                await user.client.subscribe("orders", contract="ETH_USDT")
                await user.client.subscribe("usertrades", user="2")  # Accepted, and nothing comes of it.
                await user.client.subscribe("balances", user="2")
                await user.order("1")
                assert await user.client.rest_is_here() == []
                await user.order("1", contract="ETH_USDT")
                assert {frame["channel"] for frame in await user.client.rest_is_here()} == {"futures.orders"}
                (answer,) = await user.client.answers_to(gateio_subscription("futures.orders", ["1", "ETH_USDT"], "unsubscribe"))
                assert answer["result"] == {"status": "success"}
                seen = len(user.client.frames)
                await user.order("1", contract="ETH_USDT")
                assert len(await user.client.rest_is_here()) == seen

        run(test())

    @DIALECTS
    @pytest.mark.parametrize(
        ("fault", "channel", "ending", "rank"),
        [("liquidate", "liquidates", "liquidated", 6), ("deleverage", "auto_deleverages", "auto_deleveraged", 1)],
    )
    def test_a_position_may_be_closed_against_its_owners_will(
        self, fault: str, channel: str, ending: str, rank: int, headers: Mapping[str, str]
    ) -> None:
        async def test() -> None:
            async with owner(headers=headers) as user:
                await user.client.subscribe()
                assert await user.fault(f"{fault}={BTC}") == 400  # There is none.
                await user.order("-4" if headers else -4)
                await user.order("2" if headers else 2, user.best("buy") / 2)
                assert await user.fault(f"{fault}={BTC}") == 200
                (notice,) = await user.client.told(channel)
                assert notice["contract"] == "BTC_USDT" and notice["user"] == "1"
                assert Decimal(notice["size"] if fault == "liquidate" else notice["trade_size"]) == (-4 if fault == "liquidate" else 4)
                (ranked,) = await user.client.told("position_adl_rank")
                assert (ranked["rank_division"], ranked["contract"]) == (rank, "BTC_USDT")
                orders = await user.client.told("orders")
                assert orders[-1]["finish_as"] == ending and orders[-1]["is_liq"] is (fault == "liquidate")
                assert "cancelled" in {order["finish_as"] for order in orders}
                position = (await user.client.told("positions"))[-1]
                assert Decimal(position["size"]) == 0 and (await user.account())["positions"][BTC]["size"] == "0"
                other = "auto_deleverages" if fault == "liquidate" else "liquidates"
                assert await user.client.told(other) == []

        run(test())

    def test_pushes_have_the_fields_of_documented_ones(self, captures: Path) -> None:
        async def test() -> None:
            async with owner(headers={}) as user:
                await user.client.subscribe()
                for fault in ("liquidate", "deleverage"):
                    await user.order(-4)
                    await user.fault(f"{fault}={BTC}")
                documented = [
                    line
                    for line in lines(captures / "gateio_futures_examples.jsonl")
                    if line["event"] == "update" and line["channel"].removeprefix("futures.") in PRIVATE and line["dir"] == "in"
                ]
                for line in documented:
                    frame = exact(line["raw"])
                    (like, *_) = [each for each in await user.client.rest_is_here() if each["channel"] == frame["channel"]]
                    missing = set(frame["result"][0]) - set(like["result"][0]) - {"close_size"}
                    assert not missing and set(frame) <= set(like), line["channel"]
                assert {line["channel"] for line in documented} >= {"futures.orders", "futures.positions", "futures.balances"}

        run(test())


class TestSubscriptions:
    def test_whoever_does_not_sign_gets_nothing(self) -> None:
        async def test() -> None:
            async with owner() as user:
                unsigned = gateio_subscription("futures.orders", ["1", "!all"])
                del unsigned["auth"]
                for request in (unsigned, gateio_subscription("futures.orders", ["1", "!all"], secret="another")):
                    (answer,) = await user.client.answers_to(request)
                    assert answer["error"]["code"] == 4 and answer["result"] is None
                # A signature is of one channel and one event.
                signed = gateio_subscription("futures.orders", ["1", "!all"])
                (answer,) = await user.client.answers_to(signed | {"channel": "futures.usertrades"})
                assert "INVALID_SIGNATURE" in answer["error"]["message"]
                await user.order("1")
                assert await user.client.rest_is_here() == []

        run(test())

    @pytest.mark.parametrize(
        ("channel", "payload"),
        [("orders", []), ("orders", ["1"]), ("orders", ["1", "NOPE_USDT"]), ("balances", []), ("position_adl_rank", []), ("nope", ["1"])],
    )
    def test_what_makes_no_sense_is_refused(self, channel: str, payload: list[str]) -> None:
        async def test() -> None:
            async with owner() as user:
                (answer,) = await user.client.answers_to(gateio_subscription(f"futures.{channel}", payload))
                assert answer["error"]["code"] == 2

        run(test())

    @pytest.mark.parametrize(
        ("fault", "label"), [("wrong-signature", "INVALID_SIGNATURE"), ("no-permission", "FORBIDDEN"), ("skew=120", "EXPIRED")]
    )
    def test_a_fault_refuses_what_is_right(self, fault: str, label: str) -> None:
        async def test() -> None:
            async with owner(fault) as user:
                (answer,) = await user.client.answers_to(gateio_subscription("futures.orders", ["1", "!all"]))
                assert answer["error"]["code"] == 4 and label in answer["error"]["message"]
                refused = await user.ask("GET", f"{USDT}/accounts")
                assert refused.status in (401, 403) and label in refused.body["label"]
                await user.fault("clear")
                await user.client.subscribe()
                await user.get("accounts")

        run(test())

    def test_under_quiet_private_rest_alone_knows(self) -> None:
        async def test() -> None:
            async with owner("quiet-private") as user:
                await user.client.subscribe()
                await user.order("1")
                assert await user.client.rest_is_here() == [] and (await user.get("positions"))[0]["size"] == "1"

        run(test())

    def test_a_login_may_be_cut(self) -> None:
        async def test() -> None:
            async with owner("cut-login=1") as user:
                await user.client.socket.send_json(gateio_subscription("futures.orders", ["1", "!all"]))
                message = await user.client.socket.receive(timeout=20)
                assert message.type in (aiohttp.WSMsgType.ERROR, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSE)
                async with user.http.ws_connect("/v4/ws/usdt") as socket:
                    await Client(user.http, socket).subscribe("orders")

        run(test())

    def test_it_has_no_listen_keys(self) -> None:
        for fault in ("key-life=1", "renewal-refused", "keys-refused"):
            assert_fault_refused("gateio_futures", (BTC,), fault, "it has no listen keys")


class TestRequests:
    @DIALECTS
    def test_rest_shows_the_account_as_it_is(self, headers: Mapping[str, str]) -> None:
        async def test() -> None:
            async with owner(headers=headers) as user:
                size = str if headers else int
                await user.order(size(7))
                first = await user.order(size(2), user.best("buy") / 2, text="t-mine")
                second = await user.order(size(-2), user.best("sell") * 2, contract="BTC_USDT")
                state = await user.account()
                account = await user.get("accounts")
                assert (account["user"], account["currency"], account["total"]) == (1, "USDT", state["balances"]["USDT"]["total"])
                assert account["available"] == state["balances"]["USDT"]["available"]
                waiting = await user.get("orders", status="open")
                assert [order["id"] for order in waiting] == [second["id"], first["id"]]
                assert await user.get("orders", status="open", limit=1, offset=1) == waiting[1:]
                assert await user.get("orders", status="open", contract="ETH_USDT") == []
                (done,) = await user.get("orders", status="finished")
                assert (done["finish_as"], done["size"], done["left"]) == ("filled", size(7), size(0))
                assert isinstance(done["price"], str) and done["finish_time"] >= done["create_time"]
                for name in (first["id"], "t-mine"):
                    assert await user.get(f"orders/{name}") == waiting[1]
                (position,) = await user.get("positions")
                assert await user.get("positions/BTC_USDT") == position
                assert (position["size"], position["entry_price"]) == (size(7), state["positions"][BTC]["entry_price"])
                fills = await user.get("my_trades", contract="BTC_USDT")
                assert [str(fill["id"]) for fill in fills] == [fill["fill_id"] for fill in reversed(state["fills"])]
                assert [fill["fee"] for fill in fills] == [fill["fee"] for fill in reversed(state["fills"])]
                timed = await user.get("my_trades_timerange", **{"from": 0})
                assert [fill["trade_id"] for fill in timed] == [str(fill["id"]) for fill in fills]
                assert await user.get("my_trades_timerange", to=1) == []
                assert await user.get("my_trades", limit=1, offset=0) == fills[:1]
                canceled = await user.ask("DELETE", f"{USDT}/orders", {"contract": "BTC_USDT", "side": "ask"})
                assert [order["id"] for order in canceled.body] == [second["id"]]

        run(test())

    def test_a_position_can_be_closed_and_is_still_shown(self) -> None:
        async def test() -> None:
            async with owner() as user:
                await user.order("-7")
                reduced = await user.order("100", reduce_only=True)
                assert reduced["size"] == "7" and reduced["is_reduce_only"]
                await user.order("3")
                await user.order(0, close=True)
                (position,) = await user.get("positions")
                assert position["size"] == "0" and await user.get("positions", holding="true") == []

        run(test())

    @pytest.mark.parametrize(
        ("fields", "label"),
        [
            ({"contract": "NOPE_USDT"}, "CONTRACT_NOT_FOUND"),
            ({"size": "much"}, "INVALID_PARAM_VALUE"),
            ({"size": "NaN"}, "INVALID_PARAM_VALUE"),
            ({"size": 0}, "INVALID_PARAM_VALUE"),
            ({"price": "-1"}, "INVALID_PARAM_VALUE"),
            ({"tif": "never"}, "INVALID_PARAM_VALUE"),
            ({"price": "0", "tif": "gtc"}, "INVALID_PARAM_VALUE"),
            ({"text": "mine"}, "INVALID_PARAM_VALUE"),
            ({"size": "100000000000"}, "BALANCE_NOT_ENOUGH"),
            ({"reduce_only": True}, "REDUCE_EXCEEDED"),
        ],
    )
    def test_an_order_that_cannot_be_changes_nothing(self, fields: Json, label: str) -> None:
        async def test() -> None:
            async with owner() as user:
                before = await user.account()
                order = {"contract": "BTC_USDT", "size": "1", "price": "100", "tif": "gtc"}
                answer = await user.ask("POST", f"{USDT}/orders", body=order | fields)
                assert (answer.status, answer.body["label"]) == (400, label)
                assert await user.account() == before

        run(test())

    def test_whole_contracts_are_all_that_counts_where_nobody_asked_for_exact_ones(self) -> None:
        async def test() -> None:
            async with owner(headers={}) as user:
                assert (await user.order(-1.7))["size"] == -1
                assert [order["amount"] for order in (await user.account())["orders"]] == ["1"]

        run(test())

    @pytest.mark.parametrize(
        ("path", "status", "label"),
        [
            ("orders/1", 404, "ORDER_NOT_FOUND"),
            ("orders/x", 404, "ORDER_NOT_FOUND"),
            ("orders/t-x", 404, "ORDER_NOT_FOUND"),
            ("orders?status=all", 400, "INVALID_PARAM_VALUE"),
            ("orders?status=open&offset=-1", 400, "INVALID_PARAM_VALUE"),
            ("my_trades?limit=0", 400, "INVALID_PARAM_VALUE"),
            ("my_trades_timerange?from=x", 400, "INVALID_PARAM_VALUE"),
            ("positions/BTC_USDT", 400, "POSITION_NOT_FOUND"),
            ("positions/NOPE", 400, "CONTRACT_NOT_FOUND"),
        ],
    )
    def test_what_is_not_there_is_an_error(self, path: str, status: int, label: str) -> None:
        async def test() -> None:
            async with owner() as user:
                where, _, query = path.partition("?")
                answer = await user.ask("GET", f"{USDT}/{where}", dict(part.split("=") for part in query.split("&")) if query else None)
                assert (answer.status, answer.body["label"]) == (status, label)

        run(test())
