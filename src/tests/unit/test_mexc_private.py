"""MEXC spot for the owner of an account: pushes, signatures, listen keys, refusals, REST answers."""

import json
import re
from collections.abc import Callable
from decimal import Decimal
from itertools import count
from typing import Any
from urllib.parse import parse_qsl

import pytest
from msgspec import Struct

from infrastructure.account_api import AccountAnswer, AccountCall, Part, RefusalKind, RestCall
from infrastructure.credentials import Credentials, Secret
from infrastructure.errors import DecodeError, SettingsError, UnknownSymbol
from infrastructure.events import BalanceUpdate, Fill, OrderStatus, OrderUpdate, Side
from infrastructure.exchanges.mexc import access, account, private
from infrastructure.exchanges.mexc.access import signature
from infrastructure.exchanges.mexc.private import ACCOUNT, DEALS, ORDERS, MexcPrivateCodec
from infrastructure.exchanges.mexc.spot import MEXC_SPOT
from infrastructure.venue import ALL, Acknowledgement, Message, Notice, Pong, PrivateCodec, Unknown
from tests.harness import mexc_frames as frames
from tests.harness.mexc_frames import NATIVE, SENT_MS, SENT_NS, SYMBOL, push

VENUE = "mexc_spot"
CANARY = "canary-7f3a-do-not-print"
CREDENTIALS = Credentials(Secret("mx0key"), Secret(CANARY))
CODEC = MexcPrivateCodec(CREDENTIALS)
BUY, SELL = Side.BUY, Side.SELL
OPEN, FILLED, CANCELED = OrderStatus.OPEN, OrderStatus.FILLED, OrderStatus.CANCELED
TIME_MS, TIME_NS = 1_736_417_034_281, 1_736_417_034_281_000_000
#: By channel: the venue's name of its body, the function whose docstring has an example of it.
BODIES: dict[str, tuple[str, Callable[..., Any]]] = {
    ORDERS: ("privateOrders", private._order),
    DEALS: ("privateDeals", private._deal),
    ACCOUNT: ("privateAccount", private._account),
}


def written_down(thing: type[Struct] | Callable[..., Any], **changes: Any) -> dict[str, Any]:
    """The example in the docstring of ``thing``, with some of its values changed; None takes a value away."""
    found = re.search(r"``(\{.*?\})``", thing.__doc__ or "", re.DOTALL)
    assert found is not None
    return {key: value for key, value in (json.loads(found[1]) | changes).items() if value is not None}


def example(channel: str, **changes: Any) -> bytes:
    """A frame with the example of a channel; what is empty or false is not on the wire."""
    body, reader = BODIES[channel]
    values = {key: value for key, value in written_down(reader, **changes).items() if value or key in changes}
    return push(channel, body, values, symbol=None if channel == ACCOUNT else NATIVE, sendTime=TIME_MS)


def decoded(raw: bytes | str) -> Any:
    (message,) = CODEC.decode(raw)
    return message


def refusal_of(raw: bytes | str) -> DecodeError:
    with pytest.raises(DecodeError) as caught:
        CODEC.decode(raw)
    return caught.value


def test_the_venue_of_an_account_has_its_channels_alone_and_its_names_in_common() -> None:
    venue = MEXC_SPOT.fresh()
    mine = venue.of_account(CREDENTIALS)
    codec: PrivateCodec = MexcPrivateCodec(CREDENTIALS)
    assert isinstance(mine.codec, type(codec))
    assert mine.symbols is venue.symbols
    assert set(mine.channels) == {ORDERS, DEALS, ACCOUNT} == set(MexcPrivateCodec.streams)
    assert [mine.channel_named(kind) for kind in ("order", "fill", "balance")] == [ORDERS, DEALS, ACCOUNT]
    assert mine.codec.fresh().symbols is not venue.symbols


class TestOrders:
    def test_the_example(self) -> None:
        order = decoded(example(ORDERS))
        assert order == OrderUpdate(
            VENUE,
            SYMBOL,
            "C02__505979017439002624115",
            None,
            SELL,
            FILLED,
            None,
            Decimal(1),
            Decimal(1),
            TIME_NS,
            average_price=Decimal("3.6962"),
            native_status="2",
        )

    @pytest.mark.parametrize(
        ("status", "filled", "expected"),
        [(0, "0", OPEN), (1, "0", OPEN), (2, "2", FILLED), (3, "1", OPEN), (4, "0", CANCELED), (5, "1", CANCELED)],
    )
    def test_every_status_has_its_meaning(self, status: int, filled: str, expected: OrderStatus) -> None:
        order = decoded(frames.own_order(status=status, cumulativeQuantity=filled))
        assert (order.status, order.native_status, order.filled) == (expected, str(status), Decimal(filled))
        assert order.status.is_final == (expected is not OPEN)

    @pytest.mark.parametrize("status", [-1, 6, 7, 100, 2**31 - 1])
    def test_a_status_that_is_not_known_is_refused(self, status: int) -> None:
        error = refusal_of(frames.own_order(status=status))
        assert (error.channel, error.symbol) == (ORDERS, SYMBOL)

    @pytest.mark.parametrize("status", [2, 3, 5])
    @pytest.mark.parametrize("filled", [None, "", "0", "0.000"])
    def test_a_status_that_cannot_be_without_fills_is_refused_without(self, status: int, filled: str | None) -> None:
        assert refusal_of(frames.own_order(status=status, cumulativeQuantity=filled)).symbol == SYMBOL

    def test_a_status_that_moved_to_another_number_is_not_taken_for_a_0(self) -> None:
        number, table = frames.BODIES["privateOrders"]
        body = {"id": "1", "price": "1", "quantity": "1", "tradeType": 1}
        moved = b"".join(frames.pieces(body, table)) + frames.varint(40 << 3) + b"\x02"
        raw = frames.encode({"channel": ORDERS, "symbol": NATIVE, "sendTime": SENT_MS}) + frames.counted(number, moved)
        assert refusal_of(raw).channel == ORDERS

    def test_of_what_is_absent_nothing_is_said(self) -> None:
        raw = push(ORDERS, "privateOrders", {"id": "7", "tradeType": 2, "status": 1})
        assert decoded(raw) == OrderUpdate(VENUE, SYMBOL, "7", None, SELL, OPEN, None, None, Decimal(0), SENT_NS, native_status="1")

    def test_a_market_buy_is_for_a_value(self) -> None:
        for quantity in (None, "0", "0.00"):
            order = decoded(frames.own_order(orderType=5, price="0", quantity=quantity, amount="25.50"))
            assert (order.price, order.amount, str(order.quote_amount)) == (None, None, "25.50")

    def test_a_limit_order_is_for_a_quantity(self) -> None:
        order = decoded(frames.own_order())
        assert (order.price, order.amount, order.quote_amount) == (Decimal(100), Decimal(2), None)

    def test_what_remains_says_nothing_of_what_is_filled(self) -> None:
        # As seen of a market buy in August 2025.
        order = decoded(frames.own_order(status=2, orderType=5, amount="0", remainAmount="0.092", cumulativeQuantity="2"))
        assert (order.filled, order.status) == (Decimal(2), FILLED)

    def test_an_average_of_0_is_none(self) -> None:
        assert decoded(frames.own_order(avgPrice="0")).average_price is None
        assert decoded(frames.own_order(avgPrice="0.10")).average_price == Decimal("0.1")

    def test_the_time_of_a_state_is_that_of_its_sending_not_of_the_orders_birth(self) -> None:
        assert decoded(frames.own_order(createTime=SENT_MS - 10_000)).exchange_ns == SENT_NS

    def test_a_client_id_is_told(self) -> None:
        assert decoded(frames.own_order(clientId="mine")).client_order_id == "mine"

    def test_digits_stay_as_they_are(self) -> None:
        order = decoded(frames.own_order(price="0.100000000000000000000000000001", quantity="12345678901234567890.123456789012345678"))
        assert (str(order.price), str(order.amount)) == ("0.100000000000000000000000000001", "12345678901234567890.123456789012345678")

    @pytest.mark.parametrize("changes", [{"id": None}, {"tradeType": None}, {"tradeType": 3}], ids=str)
    def test_what_says_nothing_is_refused(self, changes: dict[str, Any]) -> None:
        error = refusal_of(frames.own_order(**changes))
        assert (error.channel, error.symbol) == (ORDERS, SYMBOL)


class TestDeals:
    def test_the_example(self) -> None:
        assert decoded(example(DEALS)) == Fill(
            VENUE,
            SYMBOL,
            "505979017439002624X1",
            "C02__505979017439002624115",
            SELL,
            Decimal("3.6962"),
            Decimal(1),
            Decimal("0.0018481"),
            "USDT",
            1_736_417_034_280_000_000,
            is_maker=False,
        )

    def test_no_yes_on_the_wire_is_a_taker(self) -> None:
        assert decoded(frames.own_deal()).is_maker is False
        assert decoded(frames.own_deal(isMaker=1)).is_maker is True

    def test_without_a_time_of_its_own_it_has_that_of_its_sending(self) -> None:
        assert decoded(frames.own_deal()).exchange_ns == SENT_NS - 4_000_000
        assert decoded(frames.own_deal(time=None)).exchange_ns == SENT_NS

    def test_a_fee_may_be_unknown_nothing_or_paid_to_the_owner(self) -> None:
        fills = [
            decoded(frames.own_deal(feeAmount=fee, feeCurrency=currency)) for fee, currency in ((None, None), ("0", "MX"), ("-1", "MX"))
        ]
        assert [(fill.fee, fill.fee_currency) for fill in fills] == [(None, None), (Decimal(0), "MX"), (Decimal(-1), "MX")]

    @pytest.mark.parametrize(
        "changes",
        [*({name: None} for name in ("tradeId", "orderId", "tradeType", "price", "quantity")), {"tradeType": 3}, {"price": "0"}],
        ids=str,
    )
    def test_what_says_nothing_is_refused(self, changes: dict[str, Any]) -> None:
        error = refusal_of(frames.own_deal(**changes))
        assert (error.channel, error.symbol) == (DEALS, SYMBOL)


class TestBalances:
    def test_the_example(self) -> None:
        assert decoded(example(ACCOUNT)) == BalanceUpdate(
            VENUE,
            "USDT",
            Decimal("4.408216465074677006"),
            Decimal("0.006016465074677006"),
            Decimal("4.4022"),
            TIME_NS,
            reason="ENTRUST_PLACE",
        )

    def test_a_total_is_exact_beyond_what_a_thread_rounds_to(self) -> None:
        balance = decoded(frames.own_balance(available="98765432109876543210.000000000000000001", frozen="0.1"))
        assert str(balance.total) == "98765432109876543210.100000000000000001"

    @pytest.mark.parametrize("reason", ["", "SUGAR", "SOMETHING_NEW"])
    def test_any_type_is_a_reason(self, reason: str) -> None:
        assert decoded(frames.own_balance(type=reason or None)).reason == reason

    @pytest.mark.parametrize("name", ["vcoinName", "balanceAmount", "frozenAmount"])
    def test_an_amount_that_is_not_told_is_not_taken_for_a_0(self, name: str) -> None:
        body = written_down(private._account, **{name: None})
        assert refusal_of(push(ACCOUNT, "privateAccount", body, symbol=None)).channel == ACCOUNT

    def test_without_a_time_of_sending_it_has_that_of_its_making(self) -> None:
        raw = push(ACCOUNT, "privateAccount", written_down(private._account), symbol=None, sendTime=None, createTime=SENT_MS)
        assert decoded(raw).exchange_ns == SENT_NS


NO_NUMBERS = (
    *("nan", "inf", "-Infinity", "sNaN", "1_0", " 1", "+1", "01", "1.", ".5", "0x1", "１"),
    *("1e400", "1e-400", "9" * 100, "1e999999999999", "1e-99999999999999999999"),
)
FRAMES: dict[str, tuple[Callable[..., bytes], tuple[str, ...]]] = {
    ORDERS: (frames.own_order, ("price", "quantity", "amount", "avgPrice", "cumulativeQuantity")),
    DEALS: (frames.own_deal, ("price", "quantity", "feeAmount")),
    ACCOUNT: (frames.own_balance, ("balanceAmount", "frozenAmount")),
}


@pytest.mark.parametrize("text", NO_NUMBERS, ids=lambda text: text[:12])
@pytest.mark.parametrize(("channel", "name"), [(channel, name) for channel, (_, names) in FRAMES.items() for name in names])
def test_what_is_no_number_of_money_is_refused_in_every_field(channel: str, name: str, text: str) -> None:
    error = refusal_of(
        FRAMES[channel][0](**({"available" if name == "balanceAmount" else "frozen": text} if channel == ACCOUNT else {name: text}))
    )
    assert (error.channel, error.symbol) == (channel, None if channel == ACCOUNT else SYMBOL)


@pytest.mark.parametrize("name", ["price", "quantity", "amount", "avgPrice", "cumulativeQuantity"])
def test_no_number_of_an_order_is_below_0(name: str) -> None:
    assert refusal_of(push(ORDERS, "privateOrders", written_down(private._order, **{name: "-1"}))).symbol == SYMBOL


@pytest.mark.parametrize("time", [SENT_MS // 1000, SENT_MS * 1000, SENT_MS * 10**6, -SENT_MS, 1])
@pytest.mark.parametrize("channel", [ORDERS, ACCOUNT])
def test_a_time_in_another_unit_is_refused(channel: str, time: int) -> None:
    body, reader = BODIES[channel]
    assert refusal_of(push(channel, body, written_down(reader), sendTime=time)).channel == channel


def test_a_market_that_has_no_name_here_is_refused_by_channel() -> None:
    for raw in (frames.own_order(native="NOPE"), frames.own_deal(native="NOPE")):
        error = refusal_of(raw)
        assert error.channel in (ORDERS, DEALS) and error.symbol is None


def test_a_frame_that_is_cut_off_is_refused_by_what_it_says_of_its_stream() -> None:
    raw = frames.own_order()
    error = refusal_of(raw[:-1])
    assert (error.channel, error.symbol) == (ORDERS, SYMBOL)


@pytest.mark.parametrize("channel", BODIES)
def test_a_body_that_moved_to_another_number_is_refused(channel: str) -> None:
    raw = frames.without_body(channel) + frames.counted(399, b"\x0a\x01x")
    assert refusal_of(raw).channel == channel


def test_public_frames_are_of_no_use_to_the_owner_of_an_account() -> None:
    assert decoded(frames.trades()) == Unknown(frames.DEALS, "aggregated_deals")
    assert MEXC_SPOT.codec.decode(frames.own_order()) == (Unknown(ORDERS, "private_order"),)


def test_an_account_has_no_books_and_the_list_of_instruments_of_its_market() -> None:
    with pytest.raises(DecodeError, match="no books"):
        CODEC.decode_snapshot(SYMBOL, frames.rest_book(7))
    info = {"symbol": NATIVE, "status": "1", "baseAsset": "BTC", "quoteAsset": "USDT", "quotePrecision": 2, "baseAssetPrecision": 8}
    assert CODEC.decode_instruments(frames.exchange_info(info)) == MEXC_SPOT.codec.decode_instruments(frames.exchange_info(info))


class TestSubscriptions:
    @pytest.mark.parametrize("channel", [ORDERS, DEALS, ACCOUNT])
    @pytest.mark.parametrize(("action", "method"), [("subscribe", "SUBSCRIPTION"), ("unsubscribe", "UNSUBSCRIPTION")])
    def test_a_channel_is_asked_for_by_its_bare_name(self, channel: str, action: str, method: str) -> None:
        (request,) = CODEC.subscription_requests(action, channel, [ALL], 1_700_000_000, count(7).__next__)
        assert request.message == {"method": method, "params": [channel], "id": 7}
        assert (request.symbols, request.payload, request.channel) == ((ALL,), (channel,), channel)

    def test_the_whole_account_is_asked_for_whatever_the_list_of_instruments_says(self) -> None:
        codec = MexcPrivateCodec(CREDENTIALS)
        info = {"symbol": NATIVE, "status": "1", "baseAsset": "BTC", "quoteAsset": "USDT", "quotePrecision": 2, "baseAssetPrecision": 8}
        codec.symbols.load(codec.decode_instruments(frames.exchange_info(info)))
        (request,) = codec.subscription_requests("subscribe", ORDERS, [ALL], 0)
        assert request.payload == (ORDERS,)

    def test_a_public_channel_is_refused(self) -> None:
        with pytest.raises(SettingsError, match=r"unknown channel .*; known: spot@private\.orders"):
            CODEC.subscription_requests("subscribe", frames.DEALS, [ALL], 0)

    def test_an_agreement_to_a_private_channel_confirms_the_login(self) -> None:
        assert decoded(frames.answer(ORDERS, request_id=7)) == Acknowledgement("", "", (ORDERS,), 7, confirms_login=True)
        assert decoded(frames.answer(f"{ORDERS},{DEALS}").decode()).confirms_login
        assert decoded(frames.answer(f"Subscribed successful! [{ACCOUNT}]. ")).confirms_login

    @pytest.mark.parametrize(
        "words", [f"{frames.DEALS}@100ms@BTCUSDT", "", f"Not Subscribed successfully! [{ORDERS}].  Reason： Blocked! "]
    )
    def test_no_other_answer_does(self, words: str) -> None:
        assert not decoded(frames.answer(words, request_id=7)).confirms_login

    def test_of_an_answer_in_two_halves_the_agreement_does(self) -> None:
        words = f"Subscribed successful! [{ORDERS}]. Not Subscribed successfully! [{DEALS}].  Reason： Blocked! "
        agreed, refused = CODEC.decode(frames.answer(words))
        assert isinstance(agreed, Acknowledgement) and isinstance(refused, Acknowledgement)
        assert (agreed.confirms_login, refused.confirms_login) == (True, False)

    def test_the_public_codec_confirms_nothing(self) -> None:
        (answer,) = MEXC_SPOT.codec.decode(frames.answer(ORDERS))
        assert isinstance(answer, Acknowledgement) and not answer.confirms_login

    def test_pongs_and_notices_are_what_they_are(self) -> None:
        assert decoded(frames.PONG) == Pong(None)
        assert decoded(frames.answer("maintenance at noon")) == Notice("", "maintenance at noon")

    @pytest.mark.parametrize("raw", [b"Invalid listen key", "Invalid listen key"])
    def test_an_unknown_listen_key_is_a_refusal_of_the_key(self, raw: bytes | str) -> None:
        answer = decoded(raw)
        assert answer == Acknowledgement("", "", error="Invalid listen key")
        assert CODEC.refusal(answer.error, answer.error_code) is RefusalKind.KEY


#: Secret, query, body, signature: the venue's examples 2 and 3, and one of our own.
VECTORS = [
    (
        "45d0b3c26f2644f19bfb98b07741b2f5",
        "symbol=BTCUSDT&side=BUY&type=LIMIT&quantity=1&price=11&recvWindow=5000&timestamp=1644489390087",
        "",
        "fd3e4e8543c5188531eb7279d68ae7d26a573d0fc5ab0d18eb692451654d837a",
    ),
    (
        "45d0b3c26f2644f19bfb98b07741b2f5",
        "symbol=BTCUSDT&side=BUY&type=LIMIT",
        "quantity=1&price=11&recvWindow=5000&timestamp=1644489390087",
        "d1a676610ceb39174c8039b3f548357994b2a34139a8addd33baadba65684592",
    ),
    ("testsecret", "recvWindow=5000&timestamp=1700000000000", "", "8cb8853c05d40eab178f77fce129c8a259dc4f9b10f028a5688db5b6372420be"),
]


class TestSigning:
    @pytest.mark.parametrize(("secret", "query", "body", "expected"), VECTORS)
    def test_every_vector(self, secret: str, query: str, body: str, expected: str) -> None:
        assert signature(Secret(secret), query, body) == expected

    def test_a_call_is_sent_as_it_was_signed(self) -> None:
        secret, text, _, expected = VECTORS[0]
        codec = MexcPrivateCodec(Credentials(Secret("mx0key"), Secret(secret)))
        query = (("symbol", "BTCUSDT"), ("side", "BUY"), ("type", "LIMIT"), ("quantity", "1"), ("price", "11"))
        call = codec.signed(RestCall("POST", "/api/v3/order", query), 1_644_489_390_087)
        assert (call.method, call.path, call.body) == ("POST", "/api/v3/order", "")
        assert call.query == f"{text}&signature={expected}"
        assert call.headers == {"X-MEXC-APIKEY": "mx0key", "Content-Type": "application/json"}

    def test_a_call_without_a_query_has_its_time_alone(self) -> None:
        secret, text, _, expected = VECTORS[2]
        codec = MexcPrivateCodec(Credentials(Secret("mx0key"), Secret(secret)))
        assert codec.signed(RestCall("POST", "/api/v3/userDataStream"), 1_700_000_000_000).query == f"{text}&signature={expected}"

    def test_a_body_is_signed_right_behind_the_query(self) -> None:
        call = CODEC.signed(RestCall("POST", "/x", (("a", "1"),), body='{"b":2}'), SENT_MS)
        query, _, told = call.query.rpartition("&signature=")
        assert told == signature(CREDENTIALS.secret, query + '{"b":2}')

    def test_what_has_no_place_in_a_query_is_signed_as_it_is_sent(self) -> None:
        call = CODEC.signed(RestCall("GET", "/x", (("symbol", "币安人生USDT"), ("a", "b c&d=e/f"))), SENT_MS)
        query, _, told = call.query.rpartition("&signature=")
        assert query.isascii() and "+" not in query
        assert dict(parse_qsl(query, strict_parsing=True)) == {
            "symbol": "币安人生USDT",
            "a": "b c&d=e/f",
            "recvWindow": "5000",
            "timestamp": str(SENT_MS),
        }
        assert told == signature(CREDENTIALS.secret, query)

    def test_nothing_shows_the_secret_or_the_key(self) -> None:
        keys = MEXC_SPOT.private.listen_keys if MEXC_SPOT.private else None
        assert keys is not None
        call = CODEC.signed(keys.renew(Secret("listen-" + CANARY)), SENT_MS)
        assert CANARY in call.query
        for thing in (CODEC, call, MEXC_SPOT.of_account(CREDENTIALS)):
            assert CANARY not in repr(thing) and "mx0key" not in repr(thing)


class TestKeys:
    def test_how_keys_are_had(self) -> None:
        keys = access.LISTEN_KEYS
        assert keys.create == RestCall("POST", "/api/v3/userDataStream")
        assert keys.renew(Secret("k")) == RestCall("PUT", "/api/v3/userDataStream", (("listenKey", "k"),))
        assert keys.life_s == 3600.0
        assert 20 * 60 <= keys.renew_s <= 30 * 60

    def test_the_key_of_an_answer_is_a_secret(self) -> None:
        body = written_down(access.ListenKey)
        assert CODEC.decode_listen_key(json.dumps(body)) == Secret(body["listenKey"])

    @pytest.mark.parametrize(
        "raw",
        [b"", b"{}", b"[]", b'{"listenKey":7}', b'{"listenKey":[]}', b'{"listenKey":""}', b'{"listenKey":"a b"}', b'{"listenKey":"a&b=c"}'],
    )
    def test_an_answer_without_a_key_is_refused(self, raw: bytes) -> None:
        with pytest.raises(DecodeError):
            CODEC.decode_listen_key(raw)

    @pytest.mark.parametrize("raw", [f'{{"listenKey":"{CANARY} "}}', f'{{"listenKey":"{CANARY}"', f'{{"listenKey":["{CANARY}"]}}'])
    def test_a_refused_answer_does_not_show_the_key(self, raw: str) -> None:
        with pytest.raises(DecodeError) as caught:
            CODEC.decode_listen_key(raw)
        assert CANARY not in str(caught.value) and CANARY not in repr(caught.value.__context__)

    def test_the_venues_time(self) -> None:
        assert MEXC_SPOT.private is not None
        assert MEXC_SPOT.private.time_call == RestCall("GET", "/api/v3/time")
        assert CODEC.decode_server_time(json.dumps(written_down(access.ServerTime))) == 1_790_281_247_251

    @pytest.mark.parametrize(
        "raw", [b"", b"{}", b'{"serverTime":"x"}', b'{"serverTime":1790281247}', b'{"serverTime":1e30}', b"[" * 200_000]
    )
    def test_what_is_no_time_is_refused(self, raw: bytes) -> None:
        with pytest.raises(DecodeError):
            CODEC.decode_server_time(raw)

    def test_nobody_is_asked_who_the_user_is(self) -> None:
        assert CODEC.identity_call is None
        with pytest.raises(DecodeError):
            CODEC.identify(b"{}")


def refused(code: int | str, words: str = "words") -> str:
    return json.dumps({"code": code, "msg": words})


class TestRefusals:
    @pytest.mark.parametrize("code", [401, 403, 602, 10072, 700001, 700002, 700006, 700007])
    def test_key_secret_and_permission(self, code: int) -> None:
        assert CODEC.refusal(refused(code), None, 400) is RefusalKind.CREDENTIALS
        assert CODEC.refusal(refused(str(code)), None, 400) is RefusalKind.CREDENTIALS
        assert CODEC.refusal("words", str(code)) is RefusalKind.CREDENTIALS

    @pytest.mark.parametrize(
        ("words", "kind"),
        [
            ("api key required", RefusalKind.CREDENTIALS),
            ("The start time cannot be earlier than 90 days", RefusalKind.OTHER),
            ("Invalid listen key", RefusalKind.KEY),
        ],
    )
    def test_a_400_means_what_its_words_say(self, words: str, kind: RefusalKind) -> None:
        assert CODEC.refusal(refused(400, words), None, 400) is kind

    @pytest.mark.parametrize("code", [700003, 10073])
    def test_the_clock(self, code: int) -> None:
        assert CODEC.refusal(json.dumps(written_down(access.Refusal, code=code)), None, 400) is RefusalKind.CLOCK

    @pytest.mark.parametrize(
        "words", ["listenKey does not exist", "This listenKey does not exist.", "INVALID LISTEN KEY", "listen key expired"]
    )
    def test_a_listen_key_that_there_is_not(self, words: str) -> None:
        assert CODEC.refusal(refused(-1125, words), None, 400) is RefusalKind.KEY

    @pytest.mark.parametrize(
        "body",
        [
            "<html><head><title>403 Forbidden</title></head></html>",
            "",
            "{}",
            "[]",
            refused(429, "Too many requests"),
            refused(700005, "recvWindow must less than 60000"),
            refused(500, "Server error"),
            refused(400, "too many listen keys"),
            "{" * 200_000,
            "invalid" * 200_000,
            "[" * 200_000,
        ],
        ids=lambda body: body[:24],
    )
    def test_everything_else_may_pass(self, body: str) -> None:
        assert CODEC.refusal(body, None, 403) is RefusalKind.OTHER


def rest(thing: type[Struct], **changes: Any) -> dict[str, Any]:
    return written_down(thing, **changes)


def asked(part: Part, since_ms: int | None = SENT_MS) -> AccountCall:
    """The first call for a part."""
    return next(call for call in CODEC.account_calls([SYMBOL], since_ms) if call.part is part)


def answer_of(part: Part, body: object) -> AccountAnswer:
    return CODEC.decode_account(asked(part), json.dumps(body))


class TestAccount:
    def test_what_is_asked_for(self) -> None:
        calls = CODEC.account_calls(["BTC/USDT", "ETH/USDT"], SENT_MS)
        assert [(call.part, call.symbol, call.call.path, call.call.query) for call in calls] == [
            (Part.ORDERS, "BTC/USDT", "/api/v3/openOrders", (("symbol", "BTCUSDT"),)),
            (Part.FILLS, "BTC/USDT", "/api/v3/myTrades", (("symbol", "BTCUSDT"), ("startTime", str(SENT_MS)), ("limit", "100"))),
            (Part.ORDERS, "ETH/USDT", "/api/v3/openOrders", (("symbol", "ETHUSDT"),)),
            (Part.FILLS, "ETH/USDT", "/api/v3/myTrades", (("symbol", "ETHUSDT"), ("startTime", str(SENT_MS)), ("limit", "100"))),
            (Part.BALANCES, None, "/api/v3/account", ()),
        ]
        assert {call.call.method for call in calls} == {"GET"}

    def test_without_a_time_no_fills_are_asked_for(self) -> None:
        assert [call.part for call in CODEC.account_calls([SYMBOL], None)] == [Part.ORDERS, Part.BALANCES]
        assert [call.part for call in CODEC.account_calls([], SENT_MS)] == [Part.BALANCES]

    def test_a_market_that_is_not_known_is_not_asked_for(self) -> None:
        codec = MexcPrivateCodec(CREDENTIALS)
        info = {"symbol": NATIVE, "status": "1", "baseAsset": "BTC", "quoteAsset": "USDT", "quotePrecision": 2, "baseAssetPrecision": 8}
        codec.symbols.load(codec.decode_instruments(frames.exchange_info(info)))
        with pytest.raises(UnknownSymbol):
            codec.account_calls(["ETH/USDT"], None)

    def test_open_orders(self) -> None:
        second = rest(account.RestOrder, orderId=2, status="NEW", executedQty="0", updateTime=None, clientOrderId="mine")
        answer = answer_of(Part.ORDERS, [rest(account.RestOrder), second])
        assert answer.following is None
        assert answer.events == (
            OrderUpdate(
                VENUE,
                SYMBOL,
                "C02__505979017439002624115",
                None,
                SELL,
                OPEN,
                Decimal(45000),
                Decimal("0.0002"),
                Decimal("0.0001"),
                1_647_718_256_000_000_000,
                native_status="PARTIALLY_FILLED",
            ),
            OrderUpdate(VENUE, SYMBOL, "2", "mine", SELL, OPEN, Decimal(45000), Decimal("0.0002"), Decimal(0), None, native_status="NEW"),
        )
        assert answer_of(Part.ORDERS, []) == AccountAnswer(())

    @pytest.mark.parametrize(
        ("words", "filled", "expected"),
        [
            ("NEW", "0", OPEN),
            ("PARTIALLY_FILLED", "1", OPEN),
            ("FILLED", "2", FILLED),
            ("CANCELED", "0", CANCELED),
            ("PARTIALLY_CANCELED", "1", CANCELED),
        ],
    )
    def test_one_order_in_every_status(self, words: str, filled: str, expected: OrderStatus) -> None:
        call = CODEC.order_call(SYMBOL, "C02__1")
        assert call == AccountCall(Part.ORDERS, RestCall("GET", "/api/v3/order", (("symbol", NATIVE), ("orderId", "C02__1"))), SYMBOL)
        body = rest(account.RestOrder, orderId="C02__1", status=words, executedQty=filled, side="BUY")
        (order,) = CODEC.decode_account(call, json.dumps(body)).events
        assert isinstance(order, OrderUpdate)
        assert (order.status, order.native_status, order.filled, order.side) == (expected, words, Decimal(filled), BUY)

    def test_another_order_than_the_one_asked_for_is_refused(self) -> None:
        with pytest.raises(DecodeError, match="not asked for"):
            CODEC.decode_account(CODEC.order_call(SYMBOL, "C02__2"), json.dumps(rest(account.RestOrder, orderId="C02__1")))

    def test_the_quantity_has_two_names(self) -> None:
        (order,) = answer_of(Part.ORDERS, [rest(account.RestOrder, origQty=None, Qty="3")]).events
        assert isinstance(order, OrderUpdate) and order.amount == Decimal(3)

    def test_a_market_order_has_no_price_and_may_be_for_a_value(self) -> None:
        body = rest(account.RestOrder, type="MARKET", origQty="0", origQuoteOrderQty="9.50", executedQty="0.0001", status="FILLED")
        (order,) = answer_of(Part.ORDERS, [body]).events
        assert isinstance(order, OrderUpdate)
        assert (order.price, order.amount, str(order.quote_amount)) == (None, None, "9.50")

    @pytest.mark.parametrize(
        "changes",
        [
            {"status": "EXPIRED"},
            {"side": "LONG"},
            {"symbol": "NOPE"},
            {"symbol": None},
            {"orderId": ""},
            {"origQty": None},
            {"executedQty": None},
            {"executedQty": "0"},
            {"executedQty": "-1"},
            {"executedQty": "NaN"},
            {"price": "-1"},
            {"price": True},
            {"price": {}},
            {"updateTime": 1_647_718_256},
        ],
        ids=str,
    )
    def test_an_order_that_makes_no_sense_is_refused_by_its_market(self, changes: dict[str, Any]) -> None:
        with pytest.raises(DecodeError) as caught:
            answer_of(Part.ORDERS, [rest(account.RestOrder, **changes)])
        assert caught.value.symbol == SYMBOL

    def test_trades(self) -> None:
        answer = answer_of(Part.FILLS, [rest(account.RestTrade)])
        assert answer.following is None
        assert answer.events == (
            Fill(
                VENUE,
                SYMBOL,
                "505979017439002624X1",
                "C02__505979017439002624115",
                BUY,
                Decimal("41995.51"),
                Decimal("0.0002"),
                Decimal("0.016798204"),
                "USDT",
                1_647_718_055_000_000_000,
                is_maker=False,
            ),
        )

    @pytest.mark.parametrize(
        "changes",
        [{"id": ""}, {"id": None}, {"orderId": ""}, {"price": "0"}, {"qty": "-1"}, {"time": 1}, {"isBuyer": None}, {"commission": "x"}],
        ids=str,
    )
    def test_a_trade_that_makes_no_sense_is_refused_by_its_market(self, changes: dict[str, Any]) -> None:
        with pytest.raises(DecodeError) as caught:
            answer_of(Part.FILLS, [rest(account.RestTrade, **changes)])
        assert caught.value.symbol == SYMBOL

    def test_balances(self) -> None:
        answer = answer_of(Part.BALANCES, rest(account.RestAccount, balances=[rest(account.RestBalance)]))
        total = Decimal("26.34430356004384")
        assert answer.events == (BalanceUpdate(VENUE, "USDT", total, Decimal("21.94210356004384"), Decimal("4.4022"), None),)
        timed = answer_of(Part.BALANCES, rest(account.RestAccount, balances=[rest(account.RestBalance)], updateTime=SENT_MS))
        assert timed.events[0].exchange_ns == SENT_NS

    @pytest.mark.parametrize("changes", [{"asset": ""}, {"free": None}, {"locked": None}, {"free": "inf"}, {"locked": []}], ids=str)
    def test_a_balance_that_makes_no_sense_is_refused(self, changes: dict[str, Any]) -> None:
        with pytest.raises(DecodeError):
            answer_of(Part.BALANCES, rest(account.RestAccount, balances=[rest(account.RestBalance, **changes)]))

    @pytest.mark.parametrize("part", [Part.ORDERS, Part.FILLS, Part.BALANCES])
    @pytest.mark.parametrize(
        "raw", [b"", b"{}", b"null", b'{"code":429,"msg":"x"}', b"[" * 200_000, b"\xff", "\ud800"], ids=lambda raw: raw[:8]
    )
    def test_an_answer_of_another_kind_is_refused(self, part: Part, raw: bytes | str) -> None:
        with pytest.raises(DecodeError):
            CODEC.decode_account(asked(part), raw)


def page(*times: int) -> list[dict[str, Any]]:
    """Trades at these times."""
    return [rest(account.RestTrade, id=f"{time}-{place}", time=time) for place, time in enumerate(times)]


class TestPages:
    def test_a_full_page_is_followed_by_what_came_before_it_its_last_millisecond_included(self) -> None:
        answer = answer_of(Part.FILLS, page(*range(SENT_MS + 200, SENT_MS + 100, -1)))
        assert len(answer.events) == account.PAGE == 100
        following = answer.following
        assert following is not None
        assert (following.part, following.symbol, following.page) == (Part.FILLS, SYMBOL, 2)
        assert dict(following.call.query) == {
            "symbol": NATIVE,
            "startTime": str(SENT_MS),
            "limit": "100",
            "endTime": str(SENT_MS + 101),
        }
        last = CODEC.decode_account(following, json.dumps(page(SENT_MS + 101, SENT_MS + 50)))
        assert last.following is None

    def test_a_page_that_is_not_full_is_the_last(self) -> None:
        assert answer_of(Part.FILLS, page(*range(SENT_MS + 99, SENT_MS, -1))).following is None

    def test_more_trades_in_a_millisecond_than_a_page_has_are_refused_by_it(self) -> None:
        following = answer_of(Part.FILLS, page(*[SENT_MS + 5] * 100)).following
        assert following is not None
        with pytest.raises(DecodeError, match=f"100 trades in the millisecond {SENT_MS + 5}") as caught:
            CODEC.decode_account(following, json.dumps(page(*[SENT_MS + 5] * 100)))
        assert caught.value.symbol == SYMBOL

    def test_a_venue_that_does_not_mind_the_end_is_not_asked_for_ever(self) -> None:
        times = range(SENT_MS + 200, SENT_MS + 100, -1)
        following = answer_of(Part.FILLS, page(*times)).following
        assert following is not None
        with pytest.raises(DecodeError):
            CODEC.decode_account(following, json.dumps(page(*times)))

    def test_a_full_page_in_another_order_is_refused(self) -> None:
        with pytest.raises(DecodeError, match="newest first"):
            answer_of(Part.FILLS, page(*range(SENT_MS, SENT_MS + 100)))


def test_every_message_of_the_private_channels_is_one_of_the_accounts() -> None:
    messages: list[Message] = [decoded(make()) for make, _ in FRAMES.values()]
    assert [type(message) for message in messages] == [OrderUpdate, Fill, BalanceUpdate]
