"""MEXC spot's answers: to requests over its WebSocket and over REST. Pure: what is to be sent comes back."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeGuard

from infrastructure.simulator import mexc_spot
from infrastructure.simulator.exchange import EVERY, Answer, Client, Exchange, Recorded, Reply
from infrastructure.simulator.faults import Faults
from infrastructure.simulator.market import Event, Market, Print, Topic, price_text, turnover_text, units_text
from infrastructure.simulator.mexc_spot import (
    CHANNELS,
    DEPTH,
    MINI_TICKERS,
    WRAPPER_TEXTS,
    answer,
    bodyless,
    change_text,
    encoded,
    exchange_info,
    fields,
    mini_tickers,
    padded,
    rest_book,
    stream_name,
    unpadded,
)

#: The most subscriptions that a connection ever gets: ending one does not make room for another.
MOST_SUBSCRIPTIONS = 30
DEPTH_LIMIT = 5000
#: Endings of pairs' names, by which the pairs of a recording are told.
QUOTES = ("USDT", "USDC", "USDE", "USD1", "TUSD", "EUR", "BRL", "TRY", "BTC", "ETH", "MX")


class MexcSpotExchange(Exchange):
    """The exchange as its clients see it."""

    name = "mexc_spot"
    websocket_path = "/ws"
    channels = tuple(CHANNELS)
    #: Its clients begin with a REST book.
    seeded_channel = DEPTH
    #: Nothing says that it does; clients have a ping of their own.
    pings = False
    unused_timeout_s = 30.0
    quiet_timeout_s = 60.0
    most_messages_per_s = 100
    meaningless = {
        "full": "no push has a whole book in place of a change",
        "early": "no stream begins with a whole book",
    }
    too_often = '{"code":429,"msg":"Too many requests"}'

    def __init__(self, symbols: Sequence[str], seed: int, faults: Faults, api_key: str = "key", secret: str = "secret") -> None:
        super().__init__(symbols, seed, faults, api_key, secret)
        self._topics = {
            stream_name(name, symbol, option): Topic(name, symbol, option)
            for name, channel in CHANNELS.items()
            for symbol in ((EVERY,) if name == MINI_TICKERS else symbols)
            for option in channel.options
        }
        self._routes: Mapping[str, Callable[[Mapping[str, str], int], Answer]] = {
            "/api/v3/ping": lambda query, now_ms: Answer(200, "{}"),
            "/api/v3/time": lambda query, now_ms: Answer(200, f'{{"serverTime":{now_ms}}}'),
            "/api/v3/exchangeInfo": self._exchange_info,
            "/api/v3/depth": self._depth,
            "/api/v3/ticker/24hr": self._tickers,
            "/api/v3/trades": self._trades,
            # Contracts are another exchange's, but there are clients that ask for both or neither.
            "/api/v1/contract/detail": lambda query, now_ms: Answer(200, '{"success":true,"code":0,"data":[]}'),
        }

    @classmethod
    def native(cls, symbol: str) -> str:
        """``BTCUSDT``."""
        return mexc_spot.native(symbol)

    @classmethod
    def kind_of(cls, channel: str) -> str:
        """The kind of event that a channel pushes."""
        return CHANNELS[channel].kind

    def heard(self, topic: Topic) -> Sequence[str]:
        """The pairs whose events bring pushes: those of all pairs come with the tickers of the first."""
        return tuple(self.trading.markets)[:1] if topic.symbol == EVERY else (topic.symbol,)

    def push(self, topic: Topic, event: Event, now_ms: int, dialect: str = "") -> bytes:
        """The push of an event to the subscribers of ``topic``."""
        render = CHANNELS[topic.channel].render
        if render is None:
            return mini_tickers(self.trading.markets.values(), topic.option, now_ms, event.number)
        return render(event, topic.option, now_ms, self.faults.strikes("old-schema"))

    def bodyless(self, topic: Topic, now_ms: int) -> bytes:
        """A wrapper without a body."""
        return bodyless(topic, now_ms)

    def reply(self, text: str, client: Client, now_ms: int) -> Reply:
        """The reply to one frame of a client: what is refused of a request is refused on its own."""
        try:
            request = json.loads(text)
        except (ValueError, RecursionError):
            request = None
        if not isinstance(request, dict):
            return Reply(answer(0, "msg format invalid"))
        given = request.get("id")
        number = given if isinstance(given, int) and not isinstance(given, bool) and given >= 0 else 0
        method, names = request.get("method"), request.get("params")
        if method in ("PING", "ping"):
            return Reply(answer(number, "PONG"))
        if method not in ("SUBSCRIPTION", "UNSUBSCRIPTION") or not _are_names(names):
            return Reply(answer(number, "msg format invalid"))
        if method == "UNSUBSCRIPTION":
            ended = [self._topics[name] for name in names if name in self._topics]
            return Reply(answer(number, ",".join(names)), method, ended=ended)
        return self._subscribe(number, names, client)

    def _subscribe(self, number: int, names: Sequence[str], client: Client) -> Reply:
        begun: list[Topic] = []
        accepted, refused = [], []
        for name in names:
            topic = self._topics.get(name)
            if topic is None or self.faults.hits("refuse", topic.channel, topic.symbol):
                refused.append(name)
            elif self.faults.hits("unanswered", topic.channel):
                continue
            elif topic in client.topics or topic in begun:
                accepted.append(name)
            elif client.begun + len(begun) >= MOST_SUBSCRIPTIONS:
                self.limits["subscriptions"] += 1
                refused.append(name)
            else:
                accepted.append(name)
                begun.append(topic)
        answers = [answer(number, ",".join(accepted))] if accepted else []
        if refused:
            answers.append(answer(number, f"Not Subscribed successfully! [{','.join(refused)}].  Reason\uff1a Blocked! "))
        return Reply(answers[0] if answers else None, "SUBSCRIPTION", more=answers[1:], begun=begun)

    @classmethod
    def recorded_frame(cls, raw: bytes) -> Recorded | None:
        """What a recorded frame is. Answers repeat their requests, so they are nobody's: whoever asks gets an answer of its own."""
        if raw[:1] in (b"{", b"I"):  # JSON, or "Invalid listen key".
            return Recorded("")
        try:
            texts = {number: value.decode() for number, value in fields(raw) if number in WRAPPER_TEXTS and isinstance(value, bytes)}
        except ValueError:
            return None
        name, symbol = texts.get(WRAPPER_TEXTS[0], ""), texts.get(WRAPPER_TEXTS[1], "")
        channel = "@".join(name.split("@")[:2])
        pair = EVERY if channel == MINI_TICKERS else unified(symbol)
        return None if channel not in CHANNELS or pair is None else Recorded(channel, pair)

    @classmethod
    def recorded_book(cls, path: str, query: Mapping[str, str]) -> str | None:
        """The pair whose book a REST request asks for, None if it is another request."""
        symbol = query.get("symbol")
        return unified(symbol) if path == "/api/v3/depth" and symbol else None

    def get(self, path: str, query: Mapping[str, str], now_ms: int, dialect: str = "") -> Answer:
        """The answer to one REST request."""
        route = self._routes.get(path)
        if route is None:
            return _error(404, 404, f"no such path: {path}")
        return route(query, now_ms)

    def _exchange_info(self, query: Mapping[str, str], now_ms: int) -> Answer:
        named = [query["symbol"]] if "symbol" in query else query["symbols"].split(",") if "symbols" in query else list(self.by_native)
        for name in named:
            if name not in self.by_native:
                return _error(400, 10007, f"bad symbol: {name}")
        return Answer(200, exchange_info([self.by_native[name] for name in named], now_ms))

    def _depth(self, query: Mapping[str, str], now_ms: int) -> Answer:
        market, limit = self._market(query), _limit(query, 100, DEPTH_LIMIT)
        if isinstance(market, Answer):
            return market
        if limit is None:
            return _error(400, 33333, f"param error: limit {query['limit']}")
        update_id, bids, asks = self.rest_book(market)
        return Answer(200, rest_book(update_id, bids[:limit], asks[:limit], now_ms))

    def _tickers(self, query: Mapping[str, str], now_ms: int) -> Answer:
        if "symbol" not in query:
            return Answer(200, encoded([_ticker(market, now_ms) for market in self.by_native.values()]))
        market = self._market(query)
        return market if isinstance(market, Answer) else Answer(200, encoded(_ticker(market, now_ms)))

    def _trades(self, query: Mapping[str, str], now_ms: int) -> Answer:
        market, limit = self._market(query), _limit(query, 500, 1000)
        if isinstance(market, Answer):
            return market
        if limit is None:
            return _error(400, 33333, f"param error: limit {query['limit']}")
        return Answer(200, encoded([_trade(trade) for trade in reversed(market.prints)][:limit]))

    def _market(self, query: Mapping[str, str]) -> Market | Answer:
        """The market that a request names, or what is wrong with it."""
        if not query.get("symbol"):
            return _error(400, 44444, "param null: symbol")
        return self.by_native.get(query["symbol"]) or _error(400, 10007, f"bad symbol: {query['symbol']}")


def unified(native: str) -> str | None:
    """The pair of a recording that the exchange calls so, told by how its name ends; None if it ends in nothing known."""
    quote = next((quote for quote in QUOTES if native.endswith(quote) and native != quote), None)
    return None if quote is None else f"{native.removesuffix(quote)}/{quote}"


def _ticker(market: Market, now_ms: int) -> dict[str, object]:
    day = market.day
    (bid, *_), (ask, *_) = (padded(side) for side in market.ranked())
    return {
        "symbol": market.native,
        "priceChange": unpadded(price_text(day.close - day.open)),
        "priceChangePercent": change_text(market),
        "prevClosePrice": price_text(day.open),
        "lastPrice": price_text(day.close),
        "bidPrice": bid[0],
        "bidQty": bid[1],
        "askPrice": ask[0],
        "askQty": ask[1],
        "openPrice": price_text(day.open),
        "highPrice": price_text(day.high),
        "lowPrice": price_text(day.low),
        "volume": units_text(day.volume),
        "quoteVolume": turnover_text(day.turnover),
        "openTime": now_ms - 86_400_000,
        "closeTime": now_ms,
        "count": None,
    }


def _trade(trade: Print) -> dict[str, object]:
    is_sell = trade.side == "sell"
    return {
        "id": None,
        "price": price_text(trade.tick),
        "qty": units_text(trade.units),
        "quoteQty": turnover_text(trade.units * trade.tick),
        "time": trade.time_ms,
        "isBuyerMaker": is_sell,
        "isBestMatch": True,
        "tradeType": "ASK" if is_sell else "BID",
    }


def _are_names(params: Any) -> TypeGuard[list[str]]:
    return isinstance(params, list) and bool(params) and all(isinstance(name, str) for name in params)


def _limit(query: Mapping[str, str], default: int, most: int) -> int | None:
    text = query.get("limit", str(default))
    return int(text) if text.isdecimal() and 0 < int(text) <= most else None


def _error(status: int, code: int, message: str) -> Answer:
    return Answer(status, encoded({"code": code, "msg": message}))
