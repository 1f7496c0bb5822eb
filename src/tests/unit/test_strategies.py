"""The strategy architecture's general set: one set for every venue, over the venue's description and codec."""

import asyncio
import inspect
import json

import pytest

from infrastructure.errors import DecodeError, SettingsError
from infrastructure.events import MessageType
from infrastructure.networking.websocket.route import Outcome
from infrastructure.networking.websocket.strategies import (
    ConnectionContext,
    ConnectionState,
    ConnectionStrategy,
    MessageParser,
    ParsedMessage,
    ReconnectionPolicy,
    StrategyReceiver,
    SubscriptionAction,
    SubscriptionStrategy,
    WebSocketStrategySet,
    strategy_set,
)
from infrastructure.venue import Venue
from tests.harness import canary, frames
from tests.harness import private_venue as account
from tests.harness.receivers import GATEIO

VENUES = pytest.mark.parametrize("venue", [GATEIO, account.ACCOUNT_VENUE], ids=lambda venue: venue.name)


class TestConnection:
    @VENUES
    def test_the_context_is_the_venues_address_and_heartbeat(self, venue: Venue) -> None:
        context = asyncio.run(strategy_set(venue).connection_strategy.create_connection_context())
        assert (context.url, context.ping_interval) == (venue.websocket_url, venue.ping_interval_s)
        assert (context.headers, context.auth_required, context.auth_params) == ({}, False, None)
        assert context.ping_message is not None
        assert json.loads(context.ping_message).keys() == venue.codec.ping_request(0).keys()

    def test_the_policy_grows_up_to_a_minute(self) -> None:
        policy = strategy_set(GATEIO).connection_strategy.get_reconnection_policy()
        assert policy == ReconnectionPolicy(10, 1.0, 2.0, 60.0, reset_on_1005=True)

    def test_the_heartbeat_is_the_venues_ping_sent_over_the_socket_it_is_given(self) -> None:
        class Socket:
            state = ConnectionState.CONNECTED
            sent: list[str] = []

            async def send(self, text: str) -> None:
                self.sent.append(text)

        connection = strategy_set(GATEIO).connection_strategy
        asyncio.run(connection.handle_heartbeat())
        connection.websocket = socket = Socket()
        asyncio.run(connection.handle_heartbeat())
        assert [json.loads(text)["channel"] for text in socket.sent] == ["spot.ping"]

    def test_connecting_is_the_transports_business(self) -> None:
        with pytest.raises(SettingsError, match="the transport connects"):
            asyncio.run(strategy_set(GATEIO).connection_strategy.connect())

    @pytest.mark.parametrize(
        ("error", "again"),
        [(ConnectionResetError(), True), (TimeoutError(), True), (EOFError(), True), (ValueError(), False), (SettingsError("no"), False)],
        ids=lambda value: type(value).__name__,
    )
    def test_connecting_again_helps_where_the_network_is_to_blame(self, error: Exception, again: bool) -> None:
        connection = strategy_set(GATEIO).connection_strategy
        assert connection.should_reconnect(error) is again
        assert connection.classify_error(error) == type(error).__name__

    def test_what_a_strategy_need_not_write_is_harmless(self) -> None:
        async def run() -> None:
            connection = strategy_set(GATEIO).connection_strategy
            assert await connection.authenticate() is True
            await connection.disconnect()
            await connection.cleanup()

        asyncio.run(run())


class TestContext:
    def test_its_repr_hides_headers_parameters_and_the_query(self) -> None:
        secret = canary.SECRET
        context = ConnectionContext(
            f"wss://venue.invalid/ws?listenKey={secret}",
            {"Authorization": secret},
            auth_required=True,
            auth_params={"key": secret},
            ping_message=secret,
        )
        shown = (repr(context), str(context), f"{context}", repr(WebSocketStrategySet(*strategies_of(context))), repr([context]))
        assert all(secret not in text for text in shown)
        assert repr(context) == "ConnectionContext(url='wss://venue.invalid/ws', auth_required=True)"

    def test_it_is_made_as_it_always_was(self) -> None:
        context = ConnectionContext("wss://venue.invalid", {})
        rest = (context.auth_required, context.auth_params, context.ping_interval, context.ping_timeout)
        assert rest == (False, None, 30, 10)
        assert (context.max_reconnect_attempts, context.reconnect_delay, context.ping_message) == (10, 1.0, None)


def strategies_of(context: ConnectionContext) -> tuple[ConnectionStrategy, SubscriptionStrategy, MessageParser]:
    general = strategy_set(GATEIO)

    class Holding(ConnectionStrategy):
        async def connect(self) -> None:
            pass

        async def create_connection_context(self) -> ConnectionContext:
            return context

        def get_reconnection_policy(self) -> ReconnectionPolicy:
            return ReconnectionPolicy(1, 1.0, 1.0, 1.0)

    return Holding(), general.subscription_strategy, general.message_parser


class TestSubscription:
    def ask(self, action: SubscriptionAction, channels: list[str], venue: Venue = GATEIO) -> list[dict[str, object]]:
        subscription = strategy_set(venue).subscription_strategy
        return asyncio.run(subscription.create_subscription_messages(action, ["BTC/USDT", "ETH/USDT"], channels))

    def test_the_requests_are_the_codecs_channel_by_channel(self) -> None:
        requests = self.ask(SubscriptionAction.SUBSCRIBE, ["spot.trades", "spot.obu"])
        shown = [(request["channel"], request["event"], request["payload"]) for request in requests]
        assert shown == [
            ("spot.trades", "subscribe", ["BTC_USDT", "ETH_USDT"]),
            ("spot.obu", "subscribe", ["ob.BTC_USDT.50"]),
            ("spot.obu", "subscribe", ["ob.ETH_USDT.50"]),
        ]

    def test_unsubscribing_is_asked_for_in_the_same_way(self) -> None:
        (request,) = self.ask(SubscriptionAction.UNSUBSCRIBE, ["spot.trades"])
        assert request["event"] == "unsubscribe"

    def test_any_venues_codec_will_do(self) -> None:
        requests = self.ask(SubscriptionAction.SUBSCRIBE, ["orders"], account.ACCOUNT_VENUE)
        assert [request["symbol"] for request in requests] == ["BTC/USDT", "ETH/USDT"]

    def test_an_unknown_channel_is_an_error_that_names_the_known_ones(self) -> None:
        with pytest.raises(SettingsError, match=r"unknown channel 'spot.nothing'; known: .*spot\.trades"):
            self.ask(SubscriptionAction.SUBSCRIBE, ["spot.nothing"])


def parse(raw: bytes | str, venue: Venue = GATEIO) -> ParsedMessage:
    parsed = asyncio.run(strategy_set(venue).message_parser.parse_message(raw))
    assert parsed is not None
    return parsed


class TestParser:
    def test_a_frame_becomes_a_labelled_message_that_holds_what_the_codec_made_of_it(self) -> None:
        raw = frames.trade(7)
        parsed = parse(raw)
        (trade,) = parsed.data
        assert (parsed.message_type, parsed.symbol, parsed.channel, parsed.raw_data) == (MessageType.TRADE, "BTC/USDT", None, raw)
        assert trade.trade_id == "7"
        assert parsed.timestamp == pytest.approx(1_700_000_000.1234567, abs=1e-6)

    def test_a_book_update_names_its_channel(self) -> None:
        parsed = parse(frames.update(1, 2, [(100, 1)]))
        assert (parsed.message_type, parsed.symbol, parsed.channel) == (MessageType.ORDERBOOK, "BTC/USDT", "spot.order_book_update")

    def test_a_message_without_a_venue_time_has_none_made_up(self) -> None:
        assert parse(account.PONG, account.ACCOUNT_VENUE).timestamp == 0.0

    def test_a_frame_with_several_messages_is_labelled_by_the_first(self) -> None:
        parsed = parse(account.items("fill", "order"), account.ACCOUNT_VENUE)
        assert parsed.message_type is MessageType.FILL
        assert [message.message_type for message in parsed.data] == [MessageType.FILL, MessageType.ORDER]

    def test_what_cannot_be_read_raises(self) -> None:
        with pytest.raises(DecodeError):
            parse(b"nonsense")

    def test_its_translation_is_the_codecs_own_messages(self) -> None:
        parser = strategy_set(GATEIO).message_parser
        parsed = parse(frames.trade(7))
        assert parser.to_events(parsed) is parsed.data  # type: ignore[attr-defined]  # the general parser brings one


class TestReceiver:
    """``await parse_message``, then ``await message_handler``, and what the frame is then called."""

    def outcome(self, parsed: ParsedMessage | None, returned: object = None) -> tuple[Outcome | None, list[ParsedMessage]]:
        handled: list[ParsedMessage] = []

        class Parser(MessageParser):
            async def parse_message(self, raw_message: bytes | str) -> ParsedMessage | None:
                return parsed

        async def handle(message: ParsedMessage) -> object:
            handled.append(message)
            return returned

        return asyncio.run(StrategyReceiver(Parser(), handle)._handle_message(b"")), handled

    @pytest.mark.parametrize("kind", MessageType, ids=lambda kind: kind.name.lower())
    def test_answers_pongs_and_notices_are_control_and_the_rest_is_delivered(self, kind: MessageType) -> None:
        control = {MessageType.ACKNOWLEDGEMENT, MessageType.PONG, MessageType.NOTICE, MessageType.UNKNOWN}
        outcome, handled = self.outcome(ParsedMessage(kind))
        assert outcome is (Outcome.CONTROL if kind in control else None)
        assert len(handled) == 1

    def test_what_the_parser_has_no_use_for_is_control_and_reaches_no_handler(self) -> None:
        assert self.outcome(None) == (Outcome.CONTROL, [])

    def test_a_message_handler_may_say_the_outcome_itself(self) -> None:
        assert self.outcome(ParsedMessage("trade"), Outcome.CONTROL)[0] is Outcome.CONTROL
        assert self.outcome(ParsedMessage(MessageType.PONG), Outcome.DELIVERED)[0] is Outcome.DELIVERED

    def test_anything_else_that_it_returns_means_nothing(self) -> None:
        assert self.outcome(ParsedMessage("trade"), True)[0] is None


@pytest.mark.parametrize("interface", [ConnectionStrategy, SubscriptionStrategy, MessageParser])
def test_the_interfaces_are_abstract(interface: type) -> None:
    assert inspect.isabstract(interface)


SIGNATURES = {
    ConnectionStrategy.should_reconnect: ["self", "error"],
    ConnectionStrategy.classify_error: ["self", "error"],
    SubscriptionStrategy.create_subscription_messages: ["self", "action", "symbols", "channels"],
    MessageParser.parse_message: ["self", "raw_message"],
    ParsedMessage: ["message_type", "symbol", "channel", "data", "timestamp", "raw_data"],
    ReconnectionPolicy: ["max_attempts", "initial_delay", "backoff_factor", "max_delay", "reset_on_1005"],
    WebSocketStrategySet: ["connection_strategy", "subscription_strategy", "message_parser"],
    ConnectionContext: [
        *("url", "headers", "auth_required", "auth_params", "ping_interval", "ping_timeout"),
        *("max_reconnect_attempts", "reconnect_delay", "ping_message"),
    ],
}


@pytest.mark.parametrize("signature", SIGNATURES, ids=lambda known: known.__qualname__)
def test_the_signatures_are_those_that_existing_sets_were_written_for(signature: object) -> None:
    assert list(inspect.signature(signature).parameters) == SIGNATURES[signature]  # type: ignore[arg-type]
