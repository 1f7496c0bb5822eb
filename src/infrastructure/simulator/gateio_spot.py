"""A Gate.io spot exchange's markets, from a seed: frames as that exchange would push them, and the books behind them.

Every message can be told from every other of its stream. Book messages carry update ids; a trade, a ticker and a candle carry a
number in the last eight digits of an amount, which no client looks at.
"""

import json
import random
from collections.abc import Iterator, Sequence
from typing import Any

from infrastructure.simulator.market import MIX, OPENED_MS, Market, Sent


class GateioSpotMarkets:
    """Several pairs on one connection. ``symbols`` are unified; every second one sends its book over ``spot.obu``."""

    def __init__(self, symbols: Sequence[str], seed: int) -> None:
        self._chance = random.Random(seed)
        self.markets = {symbol: Market(symbol, self._chance, bool(index % 2)) for index, symbol in enumerate(symbols)}
        self._order = list(self.markets.values())
        self._kinds = list(MIX)
        self._weights = list(MIX.values())
        self._now_ms = OPENED_MS
        self._trade_id = 10**9

    def opening(self) -> Iterator[Sent]:
        """What a client gets after subscribing: acknowledgements, and the whole book of each ``obu`` stream."""
        for channel in ("spot.order_book_update", "spot.obu", "spot.book_ticker", "spot.trades", "spot.tickers", "spot.candlesticks"):
            answer = {"time": self._now_ms // 1000, "time_ms": self._now_ms, "channel": channel, "event": "subscribe"}
            yield Sent(_encode(answer | {"result": {"status": "success"}}), None, 0)
        for market in self._order:
            if market.uses_obu:
                yield self.whole_book(market.symbol)

    def next(self) -> Sent:
        """The next frame of a randomly chosen pair."""
        self._now_ms += self._chance.randrange(3)
        market = self._chance.choice(self._order)
        kind = self._chance.choices(self._kinds, self._weights)[0]
        if kind == "book_ticker" and market.last_ticker_id == market.update_id:
            kind = "orderbook"
        make = getattr(self, f"_{kind}")
        sent: Sent = make(market)
        return sent

    def skip_update(self, symbol: str) -> None:
        """The exchange loses a change of this pair's book: the next push leaves a hole in its ids."""
        self.markets[symbol].move()

    def update(self, symbol: str) -> Sent:
        """The next push of this pair's book."""
        return self._orderbook(self.markets[symbol])

    def replacement(self, symbol: str) -> Sent:
        """The next push of an ``obu`` pair's book, whole and unasked."""
        self.markets[symbol].move()
        return Sent(self.whole_book(symbol).raw, ("orderbook", symbol), self.markets[symbol].update_id)

    def whole_book(self, symbol: str) -> Sent:
        """The whole book of an ``obu`` pair as it is, which answers a subscription."""
        market = self.markets[symbol]
        bids, asks = market.levels()
        result: dict[str, Any] = {
            "t": self._now_ms,
            "full": True,
            "s": f"ob.{market.native}.50",
            "u": market.update_id,
            "b": bids,
            "a": asks,
        }
        push = {"channel": "spot.obu", "result": result, "time_ms": self._now_ms, "event": "update"}
        return Sent(_encode(push), None, 0)

    def snapshot(self, symbol: str) -> bytes:
        """The REST answer with the whole book."""
        market = self.markets[symbol]
        bids, asks = market.levels()
        return _encode({"id": market.update_id, "current": self._now_ms, "update": self._now_ms, "asks": asks, "bids": bids})

    def _orderbook(self, market: Market) -> Sent:
        first_id, bids, asks = market.move()
        result: dict[str, Any] = {"t": self._now_ms}
        if market.uses_obu:
            result |= {"s": f"ob.{market.native}.50", "U": first_id, "u": market.update_id}
            result |= {name: levels for name, levels in (("b", bids), ("a", asks)) if levels}
            raw = _encode({"channel": "spot.obu", "result": result, "time_ms": self._now_ms, "event": "update"})
        else:
            result |= {"e": "depthUpdate", "E": self._now_ms // 1000, "s": market.native, "U": first_id, "u": market.update_id}
            raw = self._push("spot.order_book_update", result | {"b": bids, "a": asks})
        return Sent(raw, ("orderbook", market.symbol), market.update_id)

    def _book_ticker(self, market: Market) -> Sent:
        bid, ask = market.best()
        market.last_ticker_id = market.update_id
        result = {"t": self._now_ms, "u": market.update_id, "s": market.native, "b": bid[0], "B": bid[1], "a": ask[0], "A": ask[1]}
        return Sent(self._push("spot.book_ticker", result), ("book_ticker", market.symbol), market.update_id)

    def _trade(self, market: Market) -> Sent:
        number = market.next_number("trade")
        self._trade_id += 1
        side = self._chance.choice(("buy", "sell"))
        bid, ask = market.best()
        result = {
            "id": self._trade_id,
            "create_time": self._now_ms // 1000,
            "create_time_ms": f"{self._now_ms}.{self._chance.randrange(10_000):04d}",
            "side": side,
            "currency_pair": market.native,
            "amount": market.numbered_amount(number),
            "price": ask[0] if side == "buy" else bid[0],
        }
        return Sent(self._push("spot.trades", result), ("trade", market.symbol), number)

    def _ticker(self, market: Market) -> Sent:
        number = market.next_number("ticker")
        bid, ask = market.best()
        result = {
            "currency_pair": market.native,
            "last": bid[0],
            "lowest_ask": ask[0],
            "highest_bid": bid[0],
            "change_percentage": f"{self._chance.uniform(-5, 5):.4f}",
            "base_volume": market.numbered_amount(number),
            "quote_volume": f"{self._chance.uniform(1e5, 1e7):.2f}",
            "high_24h": ask[0],
            "low_24h": bid[0],
        }
        return Sent(self._push("spot.tickers", result), ("ticker", market.symbol), number)

    def _candle(self, market: Market) -> Sent:
        number = market.next_number("candle")
        bid, ask = market.best()
        result = {
            "t": str(self._now_ms // 60_000 * 60),
            "v": f"{self._chance.uniform(1e3, 1e5):.2f}",
            "c": bid[0],
            "h": ask[0],
            "l": bid[0],
            "o": ask[0],
            "n": f"1m_{market.native}",
            "a": market.numbered_amount(number),
            "w": False,
        }
        return Sent(self._push("spot.candlesticks", result), ("candle", market.symbol), number)

    def _push(self, channel: str, result: dict[str, Any]) -> bytes:
        return _encode({"time": self._now_ms // 1000, "time_ms": self._now_ms, "channel": channel, "event": "update", "result": result})


def _encode(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
