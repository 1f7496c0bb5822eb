"""The accounts of Gate.io: signatures, subscriptions, refusals, what REST says, and what orders become."""

import json
from decimal import Decimal
from itertools import count
from typing import Any

import pytest
from msgspec.structs import replace

from infrastructure.account_api import AccountAnswer, AccountCall, Part, RefusalKind, RestCall
from infrastructure.credentials import Credentials, Secret
from infrastructure.errors import DecodeError, SettingsError, UnknownSymbol
from infrastructure.events import BalanceUpdate, Fill, OrderStatus, OrderUpdate, PositionUpdate, RiskKind, RiskNotice, Side
from infrastructure.exchanges import VENUES
from infrastructure.exchanges.gateio import account, futures_account, spot_account
from infrastructure.exchanges.gateio.futures_account import GateioFuturesAccountCodec
from infrastructure.exchanges.gateio.signing import subscription_proof
from infrastructure.exchanges.gateio.spot_account import GateioSpotAccountCodec
from infrastructure.exchanges.numbers import total
from infrastructure.venue import ALL, Message, PrivateCodec
from tests.harness.examples import example
from tests.harness.frames import push

KEY, SECRET = "testkey", "testsecret"
CREDENTIALS = Credentials(Secret(KEY), Secret(SECRET))
NOW_S = 1_700_000_000
SPOT, FUTURES = "gateio_spot", "gateio_futures"
IDENTITY = json.dumps(example(futures_account.FuturesAccount)).encode()
EACH_MARKET = pytest.mark.parametrize("venue", [SPOT, FUTURES])


def spot() -> GateioSpotAccountCodec:
    return GateioSpotAccountCodec(CREDENTIALS)


def futures() -> GateioFuturesAccountCodec:
    """With its user id, 1666."""
    codec = GateioFuturesAccountCodec(CREDENTIALS)
    codec.identify(IDENTITY)
    return codec


def codec_of(venue: str) -> PrivateCodec:
    return spot() if venue == SPOT else futures()


def only(channel: str, result: Any) -> Any:
    """What a push with one result says."""
    venue = SPOT if channel.startswith("spot.") else FUTURES
    (message,) = codec_of(venue).decode(push(channel, [result]))
    return message


def answered(codec: PrivateCodec, call: AccountCall, body: Any) -> AccountAnswer:
    return codec.decode_account(call, json.dumps(body))


class TestSignatures:
    @pytest.mark.parametrize(
        ("channel", "expected"),
        [
            (
                "spot.orders",
                "8a1c9c6c3915f0e96e5002dfe1b424d35d26927cfe38dc0a7343e00976fc88ee"
                "4f032b2e8a1aa837c9435cd3f67574fb12df064a6f071b5e129d364190969ef5",
            ),
            (
                "futures.orders",
                "685fc9ce96824949879f2cd1a34ceddd783805053df26d2e7a0d2de566a5127e"
                "dc1bbc5fb92caf92513259147706d44c78a8b2f766b1b2770fbe9d603332ed4d",
            ),
        ],
    )
    def test_of_a_subscription(self, channel: str, expected: str) -> None:
        (request,) = codec_of(SPOT if channel.startswith("spot") else FUTURES).subscription_requests("subscribe", channel, [ALL], NOW_S)
        assert request.message["auth"] == {"method": "api_key", "KEY": KEY, "SIGN": expected}

    def test_the_end_of_a_subscription_is_signed_for_itself(self) -> None:
        begun, ended = (spot().subscription_requests(action, "spot.orders", [ALL], NOW_S)[0] for action in ("subscribe", "unsubscribe"))
        assert begun.message["auth"] != ended.message["auth"]
        assert ended.message["auth"] == subscription_proof(CREDENTIALS, "spot.orders", "unsubscribe", NOW_S)

    def test_of_a_request_to_rest(self) -> None:
        signed = spot().signed(RestCall("GET", "/api/v4/spot/accounts", (("currency", "USDT"),)), NOW_S * 1000 + 999)
        assert (signed.method, signed.path, signed.query, signed.body) == ("GET", "/api/v4/spot/accounts", "currency=USDT", "")
        assert signed.headers == {
            "KEY": KEY,
            "Timestamp": str(NOW_S),
            "SIGN": "cd1cd4a806377879cb95f0223dd9f6214ad1e65e5f7501b5eca04c3698c533c1"
            "0faa347c020b1308e5c61b40fc981ce7de0fcf8c2522bbf95bd8c4857a267b3d",
        }

    def test_a_request_of_the_futures_asks_for_sizes_with_fractions_and_one_with_a_body_says_of_what_kind(self) -> None:
        signed = futures().signed(RestCall("POST", "/api/v4/futures/usdt/orders", (), '{"size":1}'), NOW_S * 1000)
        assert set(signed.headers) == {"KEY", "Timestamp", "SIGN", "X-Gate-Size-Decimal", "Content-Type"}
        assert signed.headers["X-Gate-Size-Decimal"] == VENUES[FUTURES].headers["X-Gate-Size-Decimal"] == "1"
        other = futures().signed(RestCall("POST", "/api/v4/futures/usdt/orders", (), '{"size":2}'), NOW_S * 1000)
        assert other.headers["SIGN"] != signed.headers["SIGN"]

    @EACH_MARKET
    def test_neither_key_nor_signature_is_shown_by_what_may_be_printed(self, venue: str) -> None:
        codec = codec_of(venue)
        requests = [codec.subscription_requests("subscribe", channel, [ALL], NOW_S, count(1).__next__)[0] for channel in channels(venue)]
        signed = codec.signed(codec.account_calls((), 0)[0].call, NOW_S * 1000)
        proofs: list[Any] = [request.message["auth"] for request in requests]
        secrets = {KEY, SECRET, signed.headers["SIGN"], *(proof["SIGN"] for proof in proofs)}
        for shown in (codec, CREDENTIALS, signed, requests, [request.message for request in requests], *proofs):
            for text in (repr(shown), str(shown), f"{shown}", f"{shown!r:>10}"):
                assert [secret for secret in secrets if secret in text] == []


def channels(venue: str) -> list[str]:
    private = VENUES[venue].private
    assert private is not None
    return list(private.channels)


class TestSubscriptions:
    @pytest.mark.parametrize(
        ("channel", "payload"),
        [
            ("spot.orders", ["!all"]),
            ("spot.usertrades", ["!all"]),
            ("spot.balances", None),
            ("futures.orders", ["1666", "!all"]),
            ("futures.usertrades", ["1666", "!all"]),
            ("futures.positions", ["1666", "!all"]),
            ("futures.liquidates", ["1666", "!all"]),
            ("futures.auto_deleverages", ["1666", "!all"]),
            ("futures.balances", ["1666"]),
            ("futures.position_adl_rank", ["!all"]),
        ],
    )
    def test_for_the_whole_account(self, channel: str, payload: list[str] | None) -> None:
        venue = SPOT if channel.startswith("spot") else FUTURES
        (request,) = codec_of(venue).subscription_requests("subscribe", channel, [ALL], NOW_S, count(7).__next__)
        proof = subscription_proof(CREDENTIALS, channel, "subscribe", NOW_S)
        message = {"time": NOW_S, "channel": channel, "event": "subscribe", "auth": proof, "id": 7}
        assert request.message == message | ({} if payload is None else {"payload": payload})
        assert (request.symbols, request.request_id, request.payload) == ((ALL,), 7, tuple(payload or ()))

    def test_of_some_pairs(self) -> None:
        whole, pairs = spot().subscription_requests("subscribe", "spot.orders", ["BTC/USDT", ALL, "ETH/USDT"], NOW_S)
        assert (whole.symbols, whole.payload) == ((ALL,), ("!all",))
        assert (pairs.symbols, pairs.payload) == (("BTC/USDT", "ETH/USDT"), ("BTC_USDT", "ETH_USDT"))

    def test_of_some_contracts_each_by_itself(self) -> None:
        requests = futures().subscription_requests("subscribe", "futures.orders", ["BTC/USDT:USDT", "ETH/USDT:USDT"], NOW_S)
        assert [request.payload for request in requests] == [("1666", "BTC_USDT"), ("1666", "ETH_USDT")]

    def test_before_the_user_id_is_known_the_futures_cannot_be_asked(self) -> None:
        codec = GateioFuturesAccountCodec(CREDENTIALS)
        with pytest.raises(SettingsError, match="user id"):
            codec.subscription_requests("subscribe", "futures.orders", [ALL], NOW_S)
        assert codec.identity_call == RestCall("GET", "/api/v4/futures/usdt/accounts")
        codec.identify(IDENTITY)
        for known in (codec, codec.fresh()):
            assert known.subscription_requests("subscribe", "futures.orders", [ALL], NOW_S)[0].payload == ("1666", "!all")

    @pytest.mark.parametrize("raw", [b"", b"{}", b"[]", b'{"user":0,"currency":"USDT","total":"0"}', b'{"user":null}'])
    def test_what_names_no_user_is_refused(self, raw: bytes) -> None:
        with pytest.raises(DecodeError):
            GateioFuturesAccountCodec(CREDENTIALS).identify(raw)

    def test_of_spot_nothing_has_to_be_asked_before(self) -> None:
        assert spot().identity_call is None
        with pytest.raises(DecodeError):
            spot().identify(IDENTITY)

    @EACH_MARKET
    def test_public_channels_and_what_an_account_has_not_are_refused(self, venue: str) -> None:
        codec = codec_of(venue)
        for channel in VENUES[venue].channels:
            with pytest.raises(SettingsError):
                codec.subscription_requests("subscribe", channel, [ALL], NOW_S)
        for refused in (lambda: codec.decode_snapshot("BTC/USDT", b"{}"), lambda: codec.decode_instruments(b"[]")):
            with pytest.raises(DecodeError):
                refused()
        with pytest.raises(DecodeError):
            codec.decode_listen_key(b"{}")

    @EACH_MARKET
    def test_the_account_shares_the_names_of_its_market_and_those_of_a_fresh_one_are_its_own(self, venue: str) -> None:
        market = VENUES[venue].fresh()
        owned = market.of_account(CREDENTIALS)
        assert owned.symbols is market.symbols
        assert owned.codec.fresh().symbols is not market.symbols
        assert set(owned.channels) == set(owned.shared_channels) == set(channels(venue))

    @EACH_MARKET
    @pytest.mark.parametrize(("request_", "error", "confirms"), [("subscribe", None, True), ("unsubscribe", None, False)])
    def test_what_confirms_a_login(self, venue: str, request_: str, error: Any, confirms: bool) -> None:
        codec = codec_of(venue)
        (agreed,) = codec.decode(push(channels(venue)[0], {"status": "success"}, event=request_))
        assert getattr(agreed, "confirms_login", None) is confirms
        (public,) = codec.decode(push(next(iter(VENUES[venue].channels)), {"status": "success"}, event=request_))
        assert getattr(public, "confirms_login", None) is False
        refusal = {"channel": channels(venue)[0], "event": request_, "error": {"code": 4, "message": "Signature mismatch"}}
        (refused,) = codec.decode(json.dumps(refusal))
        assert (getattr(refused, "confirms_login", None), getattr(refused, "error_code", None)) == (False, "4")


class TestRefusals:
    @pytest.mark.parametrize(
        ("words", "code", "status", "kind"),
        [
            ('{"label":"INVALID_KEY","message":"Invalid key provided"}\n', "4", None, RefusalKind.CREDENTIALS),
            ('{"label":"INVALID_SIGNATURE","message":"Signature mismatch"}', None, 401, RefusalKind.CREDENTIALS),
            ('{"label":"FORBIDDEN","message":"Request IP not in whitelist: 1.2.3.4"}', None, 403, RefusalKind.CREDENTIALS),
            ('{"label":"INVALID_KEY","mess', None, None, RefusalKind.CREDENTIALS),
            ("Signature mismatch", None, None, RefusalKind.CREDENTIALS),
            ("authentication fail", "4", None, RefusalKind.CREDENTIALS),
            ("", "4", None, RefusalKind.CREDENTIALS),
            ("", None, 401, RefusalKind.CREDENTIALS),
            (
                '{"label":"REQUEST_EXPIRED","message":"gap between request Timestamp and server time exceeds 60"}',
                "4",
                403,
                RefusalKind.CLOCK,
            ),
            ("request time gap is too large", "4", None, RefusalKind.CLOCK),
            ("invalid Timestamp", None, None, RefusalKind.CLOCK),
            ('{"label":"TOO_MANY_REQUESTS","message":"Request Rate limit Exceeded"}', "4", 429, RefusalKind.OTHER),
            ('{"label":"SERVER_ERROR","message":"authentication service"}', "4", 500, RefusalKind.OTHER),
            ('{"label":"USER_NOT_FOUND","message":"please transfer funds first to create futures account"}', None, 400, RefusalKind.OTHER),
            ("unknown currency pair: NOPE_USDT", "2", None, RefusalKind.OTHER),
            ("<html>403 Forbidden</html>", None, 403, RefusalKind.OTHER),
        ],
    )
    @EACH_MARKET
    def test_what_they_mean(self, venue: str, words: str, code: str | None, status: int | None, kind: RefusalKind) -> None:
        assert codec_of(venue).refusal(words, code, status) is kind


ORDER = example(spot_account.OrderResult)
MARKET_BUY = ORDER | {"type": "market", "amount": "25", "left": "25", "price": "0"}
FUTURES_ORDER = example(futures_account.OrderResult)


class TestOrders:
    @pytest.mark.parametrize(
        ("changes", "status", "filled", "native"),
        [
            ({}, OrderStatus.OPEN, "0", "open"),
            ({"event": "update", "left": "0.04"}, OrderStatus.OPEN, "0.06", "open"),
            ({"event": "finish", "left": "0", "finish_as": "filled"}, OrderStatus.FILLED, "0.1", "filled"),
            ({"event": "finish", "left": "0", "finish_as": ""}, OrderStatus.FILLED, "0.1", "finish"),
            ({"event": "finish", "finish_as": "cancelled"}, OrderStatus.CANCELED, "0.0", "cancelled"),
            ({"event": "finish", "left": "0.04", "finish_as": "ioc"}, OrderStatus.CANCELED, "0.06", "ioc"),
            ({"event": "finish", "finish_as": "poc"}, OrderStatus.CANCELED, "0.0", "poc"),
            ({"event": None, "status": "open"}, OrderStatus.OPEN, "0.0", "open"),
            ({"event": None, "status": "closed", "left": "0", "finish_as": None}, OrderStatus.FILLED, "0.1", "closed"),
            ({"event": None, "status": "cancelled", "left": "0.04", "finish_as": None}, OrderStatus.CANCELED, "0.06", "cancelled"),
        ],
    )
    def test_how_far_one_of_spot_is(self, changes: dict[str, Any], status: OrderStatus, filled: str, native: str) -> None:
        told = only("spot.orders", example(spot_account.OrderResult, **changes))
        assert (told.status, told.filled, told.native_status) == (status, Decimal(filled), native)
        assert (told.amount, told.quote_amount, told.price) == (Decimal("0.1"), None, Decimal(200))

    def test_a_market_buy_is_for_a_value(self) -> None:
        told = only("spot.orders", MARKET_BUY)
        assert (told.amount, told.quote_amount, told.price, told.filled) == (None, Decimal(25), None, Decimal(0))
        ended = MARKET_BUY | {
            "event": "finish",
            "left": "0.092",
            "finish_as": "filled",
            "filled_amount": "0.00123",
            "filled_total": "24.908",
        }
        told = only("spot.orders", ended | {"avg_deal_price": "20250.4"})
        assert (told.status, told.filled, told.average_price) == (OrderStatus.FILLED, Decimal("0.00123"), Decimal("20250.4"))

    def test_what_a_market_buy_has_bought_follows_from_its_price_where_it_is_not_said(self) -> None:
        bought = {key: value for key, value in MARKET_BUY.items() if key != "filled_amount"} | {"filled_total": "24.5"}
        assert only("spot.orders", bought | {"avg_deal_price": "24500"}).filled == Decimal("0.001")
        assert only("spot.orders", bought | {"filled_total": "0"}).filled == 0
        with pytest.raises(DecodeError, match="no price"):
            only("spot.orders", bought)

    def test_a_market_sell_is_for_an_amount(self) -> None:
        told = only("spot.orders", MARKET_BUY | {"side": "sell"})
        assert (told.amount, told.quote_amount, told.price) == (Decimal(25), None, None)

    @pytest.mark.parametrize(("text", "own"), [("t-my_1.a", "t-my_1.a"), ("apiv4", None), ("-", None), ("", None), (None, None)])
    def test_a_name_of_the_owner_is_told_from_a_word_of_the_venue(self, text: str | None, own: str | None) -> None:
        assert only("spot.orders", ORDER | {"text": text}).client_order_id == own
        assert only("futures.orders", FUTURES_ORDER | {"text": text}).client_order_id == own

    @pytest.mark.parametrize(
        ("changes", "status", "side", "amount", "filled"),
        [
            ({}, OrderStatus.FILLED, Side.SELL, "1", "1"),
            ({"status": "open", "finish_as": "", "left": -1}, OrderStatus.OPEN, Side.SELL, "1", "0"),
            ({"status": "open", "finish_as": "_update", "size": "2.5", "left": "1.7"}, OrderStatus.OPEN, Side.BUY, "2.5", "0.8"),
            ({"finish_as": "cancelled", "size": 5, "left": 3}, OrderStatus.CANCELED, Side.BUY, "5", "2"),
            ({"finish_as": "liquidated", "size": -5, "left": 0}, OrderStatus.FILLED, Side.SELL, "5", "5"),
            ({"finish_as": "auto_deleveraged", "size": -5, "left": -5}, OrderStatus.CANCELED, Side.SELL, "5", "0"),
        ],
    )
    def test_how_far_one_of_the_futures_is(
        self, changes: dict[str, Any], status: OrderStatus, side: Side, amount: str, filled: str
    ) -> None:
        told = only("futures.orders", FUTURES_ORDER | changes)
        assert (told.status, told.side, told.amount, told.filled) == (status, side, Decimal(amount), Decimal(filled))

    def test_a_market_order_of_the_futures_has_no_price(self) -> None:
        told = only("futures.orders", FUTURES_ORDER | {"price": 0, "fill_price": "0"})
        assert (told.price, told.average_price) == (None, None)

    @pytest.mark.parametrize(
        ("changes", "ns"),
        [
            ({}, 1_628_736_848_321_000_000),
            ({"update_time": 1_628_736_847.25}, 1_628_736_847_250_000_000),
            ({"update_time": None}, 1_628_736_848_321_000_000),
            ({"update_time": None, "finish_time_ms": 0}, 1_628_736_848_000_000_000),
            ({"update_time": 0, "finish_time_ms": 0, "finish_time": 0}, 1_700_000_000_123_000_000),
        ],
    )
    def test_an_order_is_dated_by_its_last_change_else_by_its_frame(self, changes: dict[str, Any], ns: int) -> None:
        assert only("futures.orders", example(futures_account.OrderResult) | changes).exchange_ns == ns

    @pytest.mark.parametrize(
        "changes",
        [
            *({"event": event} for event in ("", "created", "open ")),
            *({"left": left} for left in ("0.2", "-0.1", "", None, "nan", "1_0", " 0", "1e99")),
            *({"amount": amount} for amount in ("0", "-1", "inf", True)),
            *({"id": value} for value in ("", "../accounts", "a b", "é", None)),
            {"currency_pair": "BTC"},
            {"side": "both"},
            {"price": "-1"},
        ],
    )
    def test_what_is_no_order_of_spot(self, changes: dict[str, Any]) -> None:
        with pytest.raises(DecodeError) as refused:
            only("spot.orders", ORDER | changes)
        assert refused.value.channel == "spot.orders"

    @pytest.mark.parametrize(
        "changes", [{"size": 0, "left": 0}, {"status": "closed"}, {"left": -2}, {"size": "1e400"}, {"contract": ""}, {"fill_price": -1}]
    )
    def test_what_is_no_order_of_the_futures(self, changes: dict[str, Any]) -> None:
        with pytest.raises(DecodeError):
            only("futures.orders", FUTURES_ORDER | changes)


class TestFills:
    @pytest.mark.parametrize(
        ("changes", "fee", "currency"),
        [
            ({}, "0.002", "USDT"),
            ({"fee": "0", "gt_fee": "0.01"}, "0.01", "GT"),
            ({"fee": "0", "point_fee": "0.3"}, "0.3", "POINT"),
            ({"fee": "-0.001"}, "-0.001", "USDT"),
            ({"fee": None, "fee_currency": None, "gt_fee": None, "point_fee": None}, None, None),
        ],
    )
    def test_a_fee_is_in_the_currency_in_which_it_was_taken(self, changes: dict[str, Any], fee: str | None, currency: str | None) -> None:
        told = only("spot.usertrades", example(spot_account.TradeResult, **changes))
        assert (told.fee, told.fee_currency) == (None if fee is None else Decimal(fee), currency)

    def test_the_sign_of_a_size_is_the_side(self) -> None:
        trade = example(futures_account.TradeResult)
        told = only("futures.usertrades", trade)
        assert (told.side, told.amount, told.fee, told.fee_currency) == (Side.SELL, Decimal("1.5"), Decimal("0.0009290592"), "USDT")
        assert only("futures.usertrades", trade | {"size": 2}).side is Side.BUY
        told = only("futures.usertrades", trade | {"fee": 0, "point_fee": "0.5"})
        assert (told.fee, told.fee_currency) == (Decimal("0.5"), "POINT")

    @pytest.mark.parametrize(("role", "is_maker"), [("maker", True), ("taker", False), ("", None)])
    def test_whether_it_made_the_market(self, role: str, is_maker: bool | None) -> None:
        assert only("spot.usertrades", example(spot_account.TradeResult, role=role)).is_maker is is_maker
        assert only("futures.usertrades", example(futures_account.TradeResult, role=role)).is_maker is is_maker


class TestBalancesAndPositions:
    def test_the_futures_tell_the_total_alone(self) -> None:
        told = only("futures.balances", example(futures_account.BalanceResult))
        assert told == BalanceUpdate(FUTURES, "USDT", Decimal("2214.189114310433"), None, None, 1_755_738_516_430_000_000, reason="fee")

    def test_points_are_no_money(self) -> None:
        assert only("futures.balances", example(futures_account.BalanceResult, type="point_fee")).currency == "POINT"

    def test_a_position_keeps_its_sign_and_its_mode(self) -> None:
        told = only("futures.positions", example(futures_account.PositionResult, size="-2.5", mode="dual_short", leverage="10"))
        assert (told.amount, told.mode, told.leverage, told.realised_pnl) == (
            Decimal("-2.5"),
            "dual_short",
            Decimal(10),
            Decimal("-1.25E-8"),
        )

    def test_a_closed_position_has_no_prices(self) -> None:
        told = only("futures.positions", example(futures_account.PositionResult, size=0, entry_price=0, liq_price="-0.5", margin="0"))
        assert (told.amount, told.entry_price, told.leverage, told.liquidation_price) == (0, None, None, None)
        assert told.margin == 0

    @pytest.mark.parametrize(
        ("channel", "struct", "kind", "amount"),
        [
            ("futures.liquidates", futures_account.LiquidationResult, RiskKind.LIQUIDATED, "124"),
            ("futures.auto_deleverages", futures_account.DeleverageResult, RiskKind.DELEVERAGED, "10"),
        ],
    )
    def test_what_was_closed_by_force(self, channel: str, struct: Any, kind: RiskKind, amount: str) -> None:
        notice = RiskNotice(FUTURES, "BTC/USDT:USDT", kind, Decimal(amount), Decimal("215.1"), None, 1_541_486_601_123_000_000)
        assert only(channel, example(struct)) == notice

    def test_how_near_a_position_is_to_being_closed(self) -> None:
        notice = RiskNotice(FUTURES, "BTC/USDT:USDT", RiskKind.DELEVERAGING_RANK, None, None, 1, 1_588_212_926_119_000_000)
        assert only("futures.position_adl_rank", example(futures_account.RankResult)) == notice

    def test_what_left_the_market_is_read_by_its_notation(self) -> None:
        market = VENUES[FUTURES].fresh()
        listed = {"name": "BTC_USDT", "quanto_multiplier": "0.0001", "order_price_round": "0.1"}
        market.symbols.load(market.codec.decode_instruments(json.dumps([listed])))
        codec = market.of_account(CREDENTIALS).codec
        (told,) = codec.decode(push("futures.positions", [example(futures_account.PositionResult, contract="LUNA_USDT")]))
        assert isinstance(told, PositionUpdate) and told.symbol == "LUNA/USDT:USDT"
        with pytest.raises(UnknownSymbol):
            codec.symbols.native("LUNA/USDT:USDT")


class TestRest:
    def test_what_is_asked_of_spot(self) -> None:
        assert spot().account_calls(("BTC/USDT",), NOW_S * 1000 + 999) == [
            AccountCall(Part.ORDERS, RestCall("GET", "/api/v4/spot/open_orders", (("page", "1"), ("limit", "100")))),
            AccountCall(Part.FILLS, RestCall("GET", "/api/v4/spot/my_trades", (("limit", "1000"), ("page", "1"), ("from", "1700000000")))),
            AccountCall(Part.BALANCES, RestCall("GET", "/api/v4/spot/accounts")),
        ]
        order = RestCall("GET", "/api/v4/spot/orders/12", (("currency_pair", "BTC_USDT"),))
        assert spot().order_call("BTC/USDT", "12") == AccountCall(Part.ORDERS, order, "BTC/USDT")

    def test_what_is_asked_of_the_futures(self) -> None:
        page = (("limit", "100"), ("offset", "0"))
        assert futures().account_calls((), NOW_S * 1000) == [
            AccountCall(Part.ORDERS, RestCall("GET", "/api/v4/futures/usdt/orders", (("status", "open"), *page))),
            AccountCall(Part.FILLS, RestCall("GET", "/api/v4/futures/usdt/my_trades_timerange", (("from", "1700000000"), *page))),
            AccountCall(Part.BALANCES, RestCall("GET", "/api/v4/futures/usdt/accounts")),
            AccountCall(Part.POSITIONS, RestCall("GET", "/api/v4/futures/usdt/positions", page)),
        ]
        order = RestCall("GET", "/api/v4/futures/usdt/orders/12")
        assert futures().order_call("BTC/USDT:USDT", "12") == AccountCall(Part.ORDERS, order, "BTC/USDT:USDT")

    def test_an_order_is_asked_for_though_its_pair_left_the_market(self) -> None:
        market = VENUES[SPOT].fresh()
        listed = {"id": "BTC_USDT", "base": "BTC", "quote": "USDT", "trade_status": "tradable", "precision": 1, "amount_precision": 4}
        market.symbols.load(market.codec.decode_instruments(json.dumps([listed])))
        codec = GateioSpotAccountCodec(CREDENTIALS, market.symbols)
        asked = [codec.order_call(symbol, "12").call.query for symbol in ("BTC/USDT", "LUNA/USDT")]
        assert asked == [(("currency_pair", "BTC_USDT"),), (("currency_pair", "LUNA_USDT"),)]

    @EACH_MARKET
    def test_without_a_time_no_fills_are_asked_for(self, venue: str) -> None:
        asked = [call.part for call in codec_of(venue).account_calls((), None)]
        assert asked == [Part.ORDERS, Part.BALANCES, *([Part.POSITIONS] if venue == FUTURES else [])]

    def test_open_orders_of_spot_come_by_pairs(self) -> None:
        call = spot().account_calls((), None)[0]
        row = example(spot_account.OrderResult, event=None, status="open")
        body = [{"currency_pair": pair, "total": 1, "orders": [row | {"currency_pair": pair}]} for pair in ("BTC_USDT", "ETH_USDT")]
        answer = answered(spot(), call, body)
        assert [(type(event), event.symbol) for event in answer.events] == [(OrderUpdate, "BTC/USDT"), (OrderUpdate, "ETH/USDT")]
        assert answer.following is None and answered(spot(), call, []) == AccountAnswer(())

    def test_a_full_page_of_one_pair_has_a_next_one(self) -> None:
        call = spot().account_calls((), None)[0]
        row = example(spot_account.OrderResult, event=None, status="open")
        pages = [{"currency_pair": "ETH_USDT", "total": 1, "orders": [row]}, {"orders": [row] * spot_account.ORDERS_A_PAGE}]
        following = answered(spot(), call, pages).following
        assert following == replace(call, page=2, call=replace(call.call, query=(("page", "2"), ("limit", "100"))))

    def test_pages_go_on_until_one_is_not_full(self) -> None:
        codec, row = futures(), example(futures_account.TradeResult, id=None, trade_id="9")
        call: AccountCall | None = codec.account_calls((), 0)[1]
        offsets = []
        for rows in (100, 100, 99):
            assert call is not None
            offsets.append(dict(call.call.query)["offset"])
            answer = answered(codec, call, [row] * rows)
            assert [event.fill_id for event in answer.events if isinstance(event, Fill)] == ["9"] * rows
            call = answer.following
        assert (offsets, call) == (["0", "100", "200"], None)

    def test_pages_that_do_not_end_are_refused(self) -> None:
        codec, row = futures(), example(futures_account.TradeResult)
        call = replace(codec.account_calls((), 0)[1], page=account.MOST_PAGES)
        assert answered(codec, call, [row]).following is None
        with pytest.raises(DecodeError, match="pages"):
            answered(codec, call, [row] * futures_account.ROWS_A_PAGE)

    def test_more_rows_than_were_asked_for_are_all_there_are(self) -> None:
        call = futures().account_calls((), None)[-1]
        rows = [example(futures_account.PositionResult)] * (futures_account.ROWS_A_PAGE + 1)
        answer = answered(futures(), call, rows)
        assert (len(answer.events), answer.following) == (101, None)

    def test_balances_of_spot(self) -> None:
        call = spot().account_calls((), None)[-1]
        answer = answered(spot(), call, [{"currency": "ETH", "available": "968.80", "locked": "0.2", "update_id": 98}])
        assert answer.events == (BalanceUpdate(SPOT, "ETH", Decimal("969.00"), Decimal("968.80"), Decimal("0.2"), None),)

    def test_the_balance_of_the_futures(self) -> None:
        answer = futures().decode_account(futures().account_calls((), None)[1], IDENTITY)
        assert answer.events == (BalanceUpdate(FUTURES, "USDT", Decimal("9707.803567115145"), Decimal("4485.674275459"), None, None),)

    def test_positions_and_open_orders_of_the_futures_are_dated_in_seconds(self) -> None:
        codec = futures()
        orders, _, positions = codec.account_calls((), None)
        row = example(futures_account.PositionResult, time=None, time_ms=None) | {"update_time": 1684994406}
        (position,) = answered(codec, positions, [row]).events
        assert position.exchange_ns == 1_684_994_406_000_000_000
        row = example(futures_account.OrderResult, finish_time_ms=None, update_time=1628736848.321, status="open", left=-1)
        (order,) = answered(codec, orders, [row]).events
        assert (order.exchange_ns, getattr(order, "status", None)) == (1_628_736_848_321_000_000, OrderStatus.OPEN)

    def test_one_order_ended(self) -> None:
        row = example(spot_account.OrderResult, event=None, status="cancelled", finish_as="cancelled")
        (told,) = answered(spot(), spot().order_call("BTC/USDT", "1036717689726"), row).events
        assert isinstance(told, OrderUpdate) and (told.status, told.order_id) == (OrderStatus.CANCELED, "1036717689726")
        (told,) = answered(futures(), futures().order_call("BTC/USDT:USDT", "4872460"), FUTURES_ORDER).events
        assert isinstance(told, OrderUpdate) and told.status is OrderStatus.FILLED

    @EACH_MARKET
    def test_the_time_of_the_venue(self, venue: str) -> None:
        private = VENUES[venue].private
        assert private is not None and private.time_call == RestCall("GET", "/api/v4/spot/time") and private.listen_keys is None
        assert codec_of(venue).decode_server_time(b'{"server_time":1597026383085}') == 1_597_026_383_085
        for raw in (b"", b"{}", b'{"server_time":0}', b'{"server_time":-1597026383085}', b'{"server_time":1597026383}'):
            with pytest.raises(DecodeError):
                codec_of(venue).decode_server_time(raw)


class TestMoney:
    LONG = "123456789012345678901234567890.12345678901234567890"

    def test_is_exact_however_long_it_is(self) -> None:
        left = "0.00000000000000000001"
        told = only("spot.orders", ORDER | {"amount": self.LONG, "left": left})
        assert str(told.filled) == "123456789012345678901234567890.12345678901234567889"
        told = only("futures.orders", FUTURES_ORDER | {"size": f"-{self.LONG}", "left": f"-{left}", "finish_as": "cancelled"})
        assert (str(told.amount), str(told.filled)) == (self.LONG, "123456789012345678901234567890.12345678901234567889")
        assert str(only("futures.usertrades", example(futures_account.TradeResult, size=f"-{self.LONG}")).amount) == self.LONG
        assert str(total(Decimal(self.LONG), Decimal(left))) == "123456789012345678901234567890.12345678901234567891"

    def test_of_a_json_number_never_passes_through_a_double(self) -> None:
        raw = push("futures.balances", [example(futures_account.BalanceResult, balance=1.5)]).replace(
            b"1.5", b"1234567890.12345678901234567"
        )
        (told,) = futures().decode(raw)
        assert isinstance(told, BalanceUpdate) and str(told.total) == "1234567890.12345678901234567"

    def test_messages_keep_their_order(self) -> None:
        rows = [example(spot_account.TradeResult, id=number) for number in (3, 1, 2)]
        messages: list[Message] = list(spot().decode(push("spot.usertrades", rows)))
        assert [message.fill_id for message in messages if isinstance(message, Fill)] == ["3", "1", "2"]
