"""Gate.io spot's answers: to requests over its WebSocket and over REST. Pure: what is to be sent comes back as text."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from infrastructure.simulator.exchange import Answer, Client, Exchange, Recorded, Reply
from infrastructure.simulator.faults import Faults
from infrastructure.simulator.gateio_spot import (
    BOOK_TICKER,
    CANDLESTICKS,
    CHANNELS,
    INTERVALS,
    OBU,
    ORDER_BOOK,
    ORDER_BOOK_UPDATE,
    TICKERS,
    TRADES,
    rest_book,
    ticker_result,
    time_text,
    whole_book_update,
    whole_obu,
)
from infrastructure.simulator.market import Event, Market, Print, Topic, price_text, units_text

#: Channels that need a key, which nobody has here.
PRIVATE = (
    "spot.orders",
    "spot.orders_v2",
    "spot.usertrades",
    "spot.usertrades_v2",
    "spot.balances",
    "spot.margin_balances",
    "spot.funding_balances",
    "spot.cross_balances",
    "spot.cross_loan",
    "spot.priceorders",
)
ID_LIMIT = 2**31


class Refused(Exception):
    """A request is answered with an error."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class GateioSpotExchange(Exchange):
    """The exchange as its clients see it."""

    name = "gateio_spot"
    websocket_path = "/ws/v4/"
    channels = tuple(CHANNELS)
    #: Its clients begin with a REST book.
    seeded_channel = ORDER_BOOK_UPDATE
    meaningless = {
        "bodyless": "its pushes have no wrapper that could be empty",
        "old-schema": "its pushes have no schema that changed in 2026",
    }
    too_often = '{"label":"TOO_MANY_REQUESTS","message":"Request Rate limit Exceeded"}'

    def __init__(self, symbols: Sequence[str], seed: int, faults: Faults) -> None:
        super().__init__(symbols, seed, faults)
        self._payloads: Mapping[str, Callable[[Any], list[Topic]]] = {
            TRADES: self._pairs(TRADES),
            TICKERS: self._pairs(TICKERS),
            BOOK_TICKER: self._pairs(BOOK_TICKER),
            CANDLESTICKS: self._candlesticks,
            ORDER_BOOK_UPDATE: self._order_book_update,
            ORDER_BOOK: self._order_book,
            OBU: self._obu,
        }
        self._routes: Mapping[str, Callable[[Mapping[str, str], int], Answer]] = {
            "/api/v4/spot/time": lambda query, now_ms: Answer(200, f'{{"server_time":{now_ms}}}'),
            "/api/v4/spot/currencies": self._currencies,
            "/api/v4/spot/currency_pairs": self._currency_pairs,
            "/api/v4/margin/currency_pairs": lambda query, now_ms: Answer(200, "[]"),
            "/api/v4/spot/order_book": self._rest_book,
            "/api/v4/spot/tickers": self._rest_tickers,
            "/api/v4/spot/trades": self._rest_trades,
        }

    @staticmethod
    def native(symbol: str) -> str:
        """``BTC_USDT``."""
        return symbol.replace("/", "_")

    @classmethod
    def kind_of(cls, channel: str) -> str:
        """The kind of event that a channel pushes."""
        return CHANNELS[channel][0]

    def push(self, topic: Topic, event: Event, now_ms: int, dialect: str = "") -> str:
        """The push of an event to the subscribers of ``topic``."""
        return CHANNELS[topic.channel][1](event, topic.option, now_ms)

    def whole_push(self, topic: Topic, event: Event, now_ms: int, dialect: str = "") -> str | None:
        """The same as a whole book, on channels that can say so."""
        if topic.channel == OBU:
            return whole_obu(event.market, topic.option, now_ms)
        return whole_book_update(event, topic.option, now_ms) if topic.channel == ORDER_BOOK_UPDATE else None

    def reply(self, text: str, client: Client, now_ms: int) -> Reply:
        """The reply to one frame of a client."""
        try:
            request = json.loads(text)
            if not _is_request(request):
                raise ValueError
        except (ValueError, RecursionError):
            return Reply(
                _message({}, now_ms, "", "", error={"code": 1, "message": "request payload does not follow json schema"}, result=None)
            )
        channel, event = request["channel"], request.get("event", "")
        if channel == "spot.ping":
            return Reply(_message(request, now_ms, "spot.pong", "", error=None, result=None))
        echo = {"conn_id": client.connection_id, "payload": request.get("payload")}
        begun: list[Topic] = []
        try:
            asked = self._topics(channel, event, request.get("payload"))
            if event == "unsubscribe":
                return Reply(_message(request, now_ms, channel, event, **echo, result={"status": "success"}), event, ended=asked)
            if self.faults.hits("unanswered", channel):
                return Reply(None, event)
            for target in (channel, *(topic.symbol for topic in asked)):
                if self.faults.hits("refuse", target):
                    raise Refused(2, f"subscription refused: {target}")
            for topic in asked:
                if channel == OBU and (topic in client.topics or topic in begun):
                    raise Refused(2, f"Alert sub ob.{topic.symbol.replace('/', '_')}.{topic.option}")
                begun.append(topic)
        except Refused as refusal:
            error = {"code": refusal.code, "message": refusal.message}
            result = None if refusal.code == 4 else {"status": "fail"}
            return Reply(_message(request, now_ms, channel, event, **echo, error=error, result=result), event)
        books = [
            whole_obu(self.trading.markets[topic.symbol], topic.option, now_ms)
            for topic in begun
            if channel == OBU and not self.faults.hits("mute", topic.channel, topic.symbol)
        ]
        return Reply(_message(request, now_ms, channel, event, **echo, result={"status": "success"}), event, books, begun)

    def _topics(self, channel: str, event: str, payload: Any) -> list[Topic]:
        """What a request asks for, or Refused."""
        if channel in PRIVATE:
            raise Refused(4, '{"label":"INVALID_KEY","message":"Invalid key provided"}\n')
        if channel not in self._payloads:
            raise Refused(2, f"Unknown channel {channel}")
        if event not in ("subscribe", "unsubscribe"):
            raise Refused(2, f"Unknown event {event}")
        if not isinstance(payload, list) or not all(isinstance(item, str) for item in payload):
            raise Refused(2, "invalid argument: payload is not a list of strings")
        if not payload:
            raise Refused(2, "empty currency pair list")
        return self._payloads[channel](payload)

    def _symbol(self, pair: str) -> str:
        if pair not in self.by_native:
            raise Refused(2, f"unknown currency pair: {pair}")
        return self.by_native[pair].symbol

    def _pairs(self, channel: str) -> Callable[[list[str]], list[Topic]]:
        return lambda payload: [Topic(channel, self._symbol(pair)) for pair in payload]

    def _candlesticks(self, payload: list[str]) -> list[Topic]:
        if len(payload) != 2 or payload[0] not in INTERVALS:
            raise Refused(2, f"invalid argument: not an interval and a currency pair: {payload}")
        return [Topic(CANDLESTICKS, self._symbol(payload[1]), payload[0])]

    def _order_book_update(self, payload: list[str]) -> list[Topic]:
        if len(payload) != 2 or payload[1] not in ("100ms", "20ms"):
            raise Refused(2, f"invalid argument: not a currency pair and an interval: {payload}")
        return [Topic(ORDER_BOOK_UPDATE, self._symbol(payload[0]), payload[1])]

    def _order_book(self, payload: list[str]) -> list[Topic]:
        if len(payload) != 3 or payload[1] not in ("5", "10", "20", "50", "100") or payload[2] not in ("100ms", "1000ms"):
            raise Refused(2, f"invalid argument: not a currency pair, a level and an interval: {payload}")
        return [Topic(ORDER_BOOK, self._symbol(payload[0]), payload[1])]

    def _obu(self, payload: list[str]) -> list[Topic]:
        topics = []
        for stream in payload:
            prefix, pair, level = (stream.split(".") + ["", ""])[:3]
            if prefix != "ob" or level not in ("50", "100", "400") or stream != f"ob.{pair}.{level}":
                raise Refused(2, f"invalid argument: {stream}")
            topics.append(Topic(OBU, self._symbol(pair), level))
        return topics

    @classmethod
    def recorded_frame(cls, raw: bytes) -> Recorded | None:
        """What a recorded frame is, None if it belongs to no subscription."""
        try:
            frame = json.loads(raw)
            channel, result = frame["channel"], frame["result"]
            if frame.get("event") in ("subscribe", "unsubscribe"):
                return Recorded(channel)
            if channel == CANDLESTICKS:
                pair = result["n"].partition("_")[2]
            elif channel == OBU:
                pair = result["s"].split(".")[1]
            else:
                pair = result["currency_pair"] if "currency_pair" in result else result["s"]
            return Recorded(channel, pair.replace("_", "/"))
        except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
            return None

    @classmethod
    def recorded_book(cls, path: str, query: Mapping[str, str]) -> str | None:
        """The pair whose book a REST request asks for, None if it is another request."""
        pair = query.get("currency_pair")
        return pair.replace("_", "/") if path == "/api/v4/spot/order_book" and pair else None

    def get(self, path: str, query: Mapping[str, str], now_ms: int, dialect: str = "") -> Answer:
        """The answer to one REST request."""
        route = self._routes.get(path)
        if route is None:
            return _error(404, "NOT_FOUND", f"no such path: {path}")
        return route(query, now_ms)

    def _currencies(self, query: Mapping[str, str], now_ms: int) -> Answer:
        names = dict.fromkeys(name for symbol in self.trading.markets for name in symbol.split("/"))
        flags = dict.fromkeys(("delisted", "withdraw_disabled", "withdraw_delayed", "deposit_disabled", "trade_disabled"), False)
        chain = {"name": "ETH", "addr": "", "withdraw_disabled": False, "withdraw_delayed": False, "deposit_disabled": False}
        rows = [{"currency": name, "name": name, **flags, "fixed_rate": "", "chain": "ETH", "chains": [chain]} for name in names]
        return Answer(200, _encode(rows))

    def _currency_pairs(self, query: Mapping[str, str], now_ms: int) -> Answer:
        rows = []
        for pair in self.by_native:
            base, quote = pair.split("_")
            rows.append(
                {
                    "id": pair,
                    "base": base,
                    "base_name": base,
                    "quote": quote,
                    "quote_name": quote,
                    "fee": "0.2",
                    "min_base_amount": "0.0001",
                    "min_quote_amount": "1",
                    "max_quote_amount": "5000000",
                    "amount_precision": 8,
                    "precision": 2,
                    "trade_status": "tradable",
                    "sell_start": 0,
                    "buy_start": 0,
                    "type": "normal",
                    "trade_url": f"https://www.gate.com/trade/{pair}",
                }
            )
        return Answer(200, _encode(rows))

    def _rest_book(self, query: Mapping[str, str], now_ms: int) -> Answer:
        market = self.by_native.get(query.get("currency_pair", ""))
        if market is None:
            return _unknown_pair(query)
        limit = query.get("limit", "10")
        if not (limit.isdecimal() and 0 < int(limit) <= 1000):
            return _error(400, "INVALID_PARAM_VALUE", f"Invalid limit {limit}")
        update_id, bids, asks = self.rest_book(market)
        top = int(limit)
        return Answer(200, rest_book(update_id, bids[:top], asks[:top], now_ms, query.get("with_id") == "true"))

    def _rest_tickers(self, query: Mapping[str, str], now_ms: int) -> Answer:
        pair = query.get("currency_pair")
        if pair is not None and pair not in self.by_native:
            return _unknown_pair(query)
        markets = [self.by_native[pair]] if pair else self.by_native.values()
        return Answer(200, f"[{','.join(ticker_result(market, units_text(market.day.volume)) for market in markets)}]")

    def _rest_trades(self, query: Mapping[str, str], now_ms: int) -> Answer:
        market = self.by_native.get(query.get("currency_pair", ""))
        if market is None:
            return _unknown_pair(query)
        limit = query.get("limit", "100")
        if not (limit.isdecimal() and 0 < int(limit) <= 1000):
            return _error(400, "INVALID_PARAM_VALUE", f"Invalid limit {limit}")
        return Answer(200, _encode([_rest_trade(market, trade) for trade in reversed(market.prints)][: int(limit)]))


def _rest_trade(market: Market, trade: Print) -> dict[str, str]:
    return {
        "id": str(trade.trade_id),
        "create_time": str(trade.time_ms // 1000),
        "create_time_ms": time_text(trade),
        "currency_pair": market.native,
        "side": trade.side,
        "amount": units_text(trade.units),
        "price": price_text(trade.tick),
        "sequence_id": str(trade.number),
    }


def _is_request(request: Any) -> bool:
    """Whether a frame has the venue's form; ``id`` may be a text or fit in 32 bits."""
    if not isinstance(request, dict) or not isinstance(request.get("channel"), str) or not isinstance(request.get("event", ""), str):
        return False
    number = request.get("id")
    return _is_integer(request.get("time", 0)) and (
        number is None or isinstance(number, str) or (_is_integer(number) and -ID_LIMIT <= number < ID_LIMIT)
    )


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _message(request: Mapping[str, Any], now_ms: int, channel: str, event: str, **rest: object) -> str:
    """An answer with the request's ``id`` if it has one; ``rest`` follows in the venue's order."""
    message: dict[str, object] = {"time": now_ms // 1000, "time_ms": now_ms}
    if request.get("id") is not None:
        message["id"] = request["id"]
    if "conn_id" in rest:
        message["conn_id"] = rest.pop("conn_id")
    return _encode(message | {"channel": channel, "event": event} | rest)


def _unknown_pair(query: Mapping[str, str]) -> Answer:
    if "currency_pair" not in query:
        return _error(400, "MISSING_REQUIRED_PARAM", "Missing required parameter: currency_pair")
    return _error(400, "INVALID_CURRENCY_PAIR", f"Invalid currency pair {query['currency_pair']}")


def _error(status: int, label: str, message: str) -> Answer:
    return Answer(status, _encode({"label": label, "message": message}))


def _encode(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))
