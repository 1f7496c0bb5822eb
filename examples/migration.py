"""A team's existing strategy set under the new manager, then direct handling on the same live connection, and back.

Runs against a simulated exchange that it starts itself: python examples/migration.py
"""

import asyncio
import json

from tickrail import (
    ConnectionContext,
    ConnectionState,
    ConnectionStrategy,
    MessageParser,
    OrderBook,
    ParsedMessage,
    PublicWebSocketHandler,
    ReconnectionPolicy,
    StrategyPatternAdapter,
    SubscriptionAction,
    SubscriptionStrategy,
    Trade,
    WebSocketHandlerAdapter,
    WebSocketManager,
    WebSocketStrategySet,
    exchange_settings,
    offline_feed,
    simulated_exchange,
)


class OldConnection(ConnectionStrategy):
    """What the team has today; ``connect`` is no longer called, ``self.websocket`` is tickrail's."""

    def __init__(self, url):
        self.url = url
        self.heartbeats = 0

    async def connect(self):
        raise NotImplementedError

    async def create_connection_context(self):
        return ConnectionContext(url=self.url, headers={}, ping_interval=0.5)

    async def handle_heartbeat(self):
        self.heartbeats += 1
        await self.websocket.send('{"time": 1, "channel": "spot.ping"}')

    def get_reconnection_policy(self):
        return ReconnectionPolicy(max_attempts=5, initial_delay=0.2, backoff_factor=2.0, max_delay=5.0)


class OldSubscription(SubscriptionStrategy):
    async def create_subscription_messages(self, action, symbols, channels):
        pairs = [symbol.replace("/", "_") for symbol in symbols]
        event = SubscriptionAction(action).value
        return [{"time": 1, "channel": channel, "event": event, "payload": pairs} for channel in channels]


class OldParser(MessageParser):
    async def parse_message(self, raw_message):
        frame = json.loads(raw_message)
        if frame.get("event") != "update":
            return None
        return ParsedMessage("trade", channel=frame["channel"], data=frame["result"], raw_data=raw_message)


class Desk(PublicWebSocketHandler):
    """The new handler: bytes in, typed callback out."""

    def __init__(self):
        super().__init__()
        self.trades = []

    def _on_trade(self, trade: Trade):
        self.trades.append(trade.trade_id)

    def _on_orderbook(self, book: OrderBook):
        pass


async def main():
    async with simulated_exchange("gateio_spot", "--rate", "400", "--symbols", "BTC/USDT,ETH/USDT") as exchange:
        old_trades, states = [], []

        async def message_handler(parsed):
            old_trades.append(str(parsed.data["id"]))

        async def connection_handler(state):
            states.append(state)

        desk = Desk()
        strategies = WebSocketStrategySet(OldConnection(exchange.websocket_url), OldSubscription(), OldParser())
        config = exchange_settings("gateio_spot", rest_url=exchange.rest_url)

        manager = WebSocketManager(
            config,
            strategies,
            message_handler,
            connection_handler,
            {"close_deadline_s": 3.0},
            handler=desk,
            use_direct_handling=False,
        )
        await manager.initialize(["BTC/USDT"], ["spot.trades"])
        await manager.subscribe(["ETH/USDT"])
        await asyncio.sleep(1)
        print("old way:", len(old_trades), "trades, connected:", manager.is_connected())

        receipt = await manager.switch("direct")
        print("direct after frame", receipt.after_frame)
        await asyncio.sleep(1)
        await manager.switch("strategy")
        await manager.unsubscribe(["ETH/USDT"])
        await manager.send_message({"time": 1, "channel": "spot.ping"})
        await manager.drain()
        assert not set(old_trades) & set(desk.trades) and old_trades and desk.trades
        print("both:", len(old_trades), "+", len(desk.trades), "trades, none twice;", manager.get_performance_metrics()["switches"], "switches")
        await manager.close()
        assert manager.accounting.is_balanced
        assert states[0] is ConnectionState.CONNECTING and states[-1] is ConnectionState.CLOSED

    # Each architecture through the other's interface, frame by frame.
    frame = b'{"time":1,"channel":"spot.trades","event":"update","result":{"id":1,"currency_pair":"BTC_USDT","create_time_ms":"1.5",'
    frame += b'"side":"buy","amount":"1","price":"2"}}'
    seen = []
    handler = PublicWebSocketHandler(on_trade=seen.append)
    offline_feed("gateio_spot", handler=handler)  # gives the handler its session
    new_as_old = WebSocketHandlerAdapter(handler)
    parsed = await new_as_old.parse_message(frame)
    await new_as_old.message_handler(parsed)
    old_as_new = StrategyPatternAdapter(strategies, message_handler)
    await old_as_new._handle_message(frame)
    assert seen[0].trade_id == "1" and old_trades[-1] == "1"
    print("adapters: one trade each way")


if __name__ == "__main__":
    asyncio.run(main())
