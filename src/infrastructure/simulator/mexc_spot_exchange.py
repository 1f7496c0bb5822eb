"""MEXC spot's answers: to requests over its WebSocket and over REST. Pure: what is to be sent comes back."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeGuard

from infrastructure.simulator import mexc_spot
from infrastructure.simulator.accounts import AccountEvent, BalanceChange, Fill, OrderChange
from infrastructure.simulator.exchange import EVERY, Answer, Client, Exchange, Recorded, Reply, Request
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
from infrastructure.simulator.mexc_spot_account import MexcSpotAccount
from infrastructure.simulator.mexc_spot_private import ACCOUNT, DEALS, ORDERS, PRIVATE_CHANNELS, balance_push, deal_push, order_push

#: The most subscriptions that a connection ever gets: ending one does not make room for another.
MOST_SUBSCRIPTIONS = 30
DEPTH_LIMIT = 5000
#: What an address with a listen key that is none brings, whatever is asked for: the one message that is not JSON.
INVALID_LISTEN_KEY = "Invalid listen key"
#: For how long a connection whose listen key has lapsed stays open, in ms; nothing private comes on it any more.
LAPSED_MS = 60_000
#: Endings of pairs' names, by which the pairs of a recording are told.
QUOTES = ("USDT", "USDC", "USDE", "USD1", "TUSD", "EUR", "BRL", "TRY", "BTC", "ETH", "MX")


class MexcSpotExchange(Exchange):
    """The exchange as its clients see it."""

    name = "mexc_spot"
    websocket_path = "/ws"
    channels = tuple(CHANNELS)
    private_channels = tuple(PRIVATE_CHANNELS)
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
        **dict.fromkeys(("liquidate", "deleverage"), "it has no positions"),
    }
    too_often = '{"code":429,"msg":"Too many requests"}'

    def __init__(self, symbols: Sequence[str], seed: int, faults: Faults, api_key: str = "key", secret: str = "secret") -> None:
        super().__init__(symbols, seed, faults, api_key, secret)
        self._topics = {
            stream_name(name, symbol, option): Topic(name, symbol, option)
            for name, channel in CHANNELS.items()
            for symbol in ((EVERY,) if name == MINI_TICKERS else symbols)
            for option in channel.options
        } | {name: Topic(name, EVERY) for name in PRIVATE_CHANNELS}
        self._owner = MexcSpotAccount(self.account, self.by_native, faults, api_key, secret, self.tell)
        #: By client: when its listen key was first seen to have lapsed.
        self._lapsed: dict[Client, int] = {}
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

    def private_pushes(self, event: AccountEvent, client: Client, clock_ms: int) -> Iterable[tuple[str, bytes]]:
        """How a client is told of an account's event: nothing any more once its listen key has lapsed."""
        channel, message = _told(event, clock_ms)
        if channel and Topic(channel, EVERY) in client.topics and self._is_owner(client, clock_ms):
            yield channel, message

    def _is_owner(self, client: Client, clock_ms: int) -> bool:
        return client.user is not None and self._owner.keys.user(client.listen_key, clock_ms) == client.user

    def admit(self, client: Client, query: Mapping[str, str], now_ms: int) -> Answer | None:
        """Let in whoever comes; whose connection it is, a listen key in its address says."""
        client.listen_key = query.get("listenKey", "")
        if client.listen_key:
            client.user = self._owner.keys.open(client.listen_key, self.clock_ms(now_ms))
        return None

    def greeting(self, client: Client) -> Sequence[str]:
        """That a listen key is none."""
        return (INVALID_LISTEN_KEY,) if _is_useless(client) else ()

    def dismiss(self, client: Client) -> None:
        """Another connection may use its listen key."""
        self._lapsed.pop(client, None)
        if client.user is not None:
            self._owner.keys.close(client.listen_key)

    def has_outlived(self, client: Client, now_ms: int) -> bool:
        """Whether its listen key has lapsed long ago; first such a connection only falls silent."""
        if client.user is None or self._is_owner(client, self.clock_ms(now_ms)):
            return False
        return now_ms - self._lapsed.setdefault(client, now_ms) >= LAPSED_MS

    def drop_keys(self) -> None:
        """Every listen key ends, in silence."""
        self._owner.keys.clear()

    def rest(self, request: Request, now_ms: int) -> Answer:
        """The answer to any REST request: of the account's owner, or of anybody."""
        if self._owner.answers(request.path):
            return self._owner.rest(request, self.clock_ms(now_ms))
        return super().rest(request, now_ms)

    def reply(self, text: str, client: Client, now_ms: int) -> Reply:
        """The reply to one frame of a client: what is refused of a request is refused on its own."""
        if _is_useless(client):
            return Reply(INVALID_LISTEN_KEY)
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
        return self._subscribe(number, names, client, self._is_owner(client, self.clock_ms(now_ms)))

    def _subscribe(self, number: int, names: Sequence[str], client: Client, is_owner: bool) -> Reply:
        begun: list[Topic] = []
        accepted, refused = [], []
        for name in names:
            topic = self._topics.get(name) if is_owner or name not in PRIVATE_CHANNELS else None
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


def _told(event: AccountEvent, clock_ms: int) -> tuple[str, bytes]:
    """The channel that tells of an account's event, "" if none does, and how."""
    if isinstance(event, OrderChange):
        return ORDERS, order_push(event.order, clock_ms)
    if isinstance(event, Fill):
        return DEALS, deal_push(event, clock_ms)
    if isinstance(event, BalanceChange):
        return ACCOUNT, balance_push(event, clock_ms)
    return "", b""


def _is_useless(client: Client) -> bool:
    """Whether a client came with a listen key that is none."""
    return bool(client.listen_key) and client.user is None


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
    return int(text) if text.isdecimal() and len(text) <= len(str(most)) and 0 < int(text) <= most else None


def _error(status: int, code: int, message: str) -> Answer:
    return Answer(status, encoded({"code": code, "msg": message}))
