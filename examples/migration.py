"""A team's strategy set, unchanged, under the new manager; then direct handling on the same live connection, and the way back.

Run it as ``python examples/migration.py``: it starts a simulated exchange of its own.
"""

import asyncio
import json

from tickrail import (
    ConnectionContext,
    ConnectionStrategy,
    MessageParser,
    ParsedMessage,
    PublicWebSocketHandler,
    ReconnectionPolicy,
    StrategyPatternAdapter,
    SubscriptionAction,
    SubscriptionStrategy,
    WebSocketHandlerAdapter,
    WebSocketManager,
    WebSocketStrategySet,
    exchange_settings,
    offline_feed,
    simulated_exchange,
)


class OldConnection(ConnectionStrategy):
    """What the team has today. Its ``connect`` is not called any more; ``self.websocket`` is the manager's connection."""

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
    """What replaces it: bytes in, typed callback out."""

    def __init__(self):
        super().__init__()
        self.trades = []

    def _on_trade(self, trade):
        self.trades.append(trade.trade_id)


async def migrate(exchange):
    old_trades, states = [], []

    async def message_handler(parsed):
        old_trades.append(str(parsed.data["id"]))

    async def connection_handler(state):
        states.append(state.value)

    desk, connection = Desk(), OldConnection(exchange.websocket_url)
    strategies = WebSocketStrategySet(connection, OldSubscription(), OldParser())
    config = exchange_settings("gateio_spot", rest_url=exchange.rest_url)

    # Called as before; the handler is new.
    manager = WebSocketManager(config, strategies, message_handler, connection_handler, handler=desk, use_direct_handling=False)
    await manager.initialize(["BTC/USDT"], ["spot.trades"])
    await manager.subscribe(["ETH/USDT"])
    await asyncio.sleep(1)
    assert manager.is_connected() and old_trades and not desk.trades
    print(f"as before: {len(old_trades)} trades")

    receipt = await manager.switch("direct")
    print(f"direct after frame {receipt.after_frame}")
    await asyncio.sleep(1)
    receipt = await manager.switch("strategy")
    print(f"and back after frame {receipt.after_frame}: {len(desk.trades)} trades were direct")
    await manager.unsubscribe(["ETH/USDT"])
    await manager.send_message({"time": 1, "channel": "spot.ping"})
    await manager.close()

    assert manager.accounting.is_balanced and manager.get_performance_metrics()["switches"] == 2
    assert desk.trades and not set(old_trades) & set(desk.trades) and connection.heartbeats
    print(f"one connection, {connection.heartbeats} heartbeats, no trade twice; {' -> '.join(states)}")
    return strategies, message_handler, old_trades


async def main():
    async with simulated_exchange("gateio_spot", "--rate", "400", "--symbols", "BTC/USDT,ETH/USDT") as exchange:
        strategies, message_handler, old_trades = await migrate(exchange)

    # Where code of one kind must hold an object of the other, each through the other's interface.
    trade = {"id": 1, "currency_pair": "BTC_USDT", "create_time_ms": "1.5", "side": "buy", "amount": "1", "price": "2"}
    frame = json.dumps({"time": 1, "channel": "spot.trades", "event": "update", "result": trade}).encode()
    desk = Desk()
    offline_feed("gateio_spot", handler=desk)  # gives the handler its codec
    new_as_old = WebSocketHandlerAdapter(desk)
    await new_as_old.message_handler(await new_as_old.parse_message(frame))
    await StrategyPatternAdapter(strategies, message_handler)._handle_message(frame)
    assert desk.trades == ["1"] and old_trades[-1] == "1"
    print("adapters: one trade each way")


if __name__ == "__main__":
    asyncio.run(main())
