"""What Gate.io's exchanges answer alike: requests over their WebSockets and over REST."""

import json
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, ClassVar

from infrastructure.simulator.accounts import AccountEvent, BalanceChange, OrderRefused
from infrastructure.simulator.exchange import EVERY, Answer, Client, Exchange, Recorded, Reply, Request
from infrastructure.simulator.faults import Faults
from infrastructure.simulator.gateio_account import ALL, Asked, Denied, Gate, refused
from infrastructure.simulator.gateio_frames import INTERVALS, GateioMarkets, push
from infrastructure.simulator.market import Event, Market, Topic

ID_LIMIT = 2**31

Parsers = Mapping[str, Callable[[list[str]], list[Topic]]]
Routes = Mapping[str, Callable[[Mapping[str, str], int, str], Answer]]
#: By method and path, which ends in a slash where an order's id follows: the answer to a request at a time.
SignedRoutes = Mapping[tuple[str, str], Callable[[Asked, int], Answer]]
#: By private channel: the kind of account event that it pushes, and its row for a client's dialect.
Rows = Mapping[str, tuple[str, Callable[[Any, str], Mapping[str, object]]]]


class Refused(Exception):
    """A request is answered with an error."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class RefusedByRest(Exception):
    """A REST request is answered with an error."""

    def __init__(self, status: int, label: str, message: str) -> None:
        super().__init__(message)
        self.answer = Answer(status, encoded({"label": label, "message": message}))


class GateioExchange(Exchange):
    """One of the exchanges. ``parsers`` turn payloads into topics by channel, ``routes`` answer REST requests by path."""

    meaningless = {
        "bodyless": "its pushes have no wrapper that could be empty",
        "old-schema": "its pushes have no schema that changed in 2026",
        **dict.fromkeys(("key-life", "renewal-refused", "keys-refused", "key-dies"), "it has no listen keys"),
    }
    too_often = '{"label":"TOO_MANY_REQUESTS","message":"Request Rate limit Exceeded"}'

    markets: ClassVar[type[GateioMarkets]]
    #: What its channels' names begin with, and the names of those that need a key; ``rows`` has those that are served.
    family: ClassVar[str]
    private: ClassVar[Collection[str]]
    rows: ClassVar[Rows] = {}
    #: How it says that a request is none, that it does not know a pair, and what it adds to a pong.
    no_request: ClassVar[str]
    unknown_pair: ClassVar[str]
    pong: ClassVar[Mapping[str, None]]
    #: How REST requests name a pair, the error they get for one that is unknown, and the path of books.
    pair_key: ClassVar[str]
    unknown_label: ClassVar[str]
    book_path: ClassVar[str]
    #: Whether it says of what an order came to that this is no acknowledgement.
    denies_ack: ClassVar[bool] = False

    def __init__(self, symbols: Sequence[str], seed: int, faults: Faults, api_key: str = "key", secret: str = "secret") -> None:
        super().__init__(symbols, seed, faults, api_key, secret)
        self._obu = f"{self.family}.obu"
        self._parsers = self.parsers()
        self._private_parsers = self.private_parsers()
        self._signed_routes = self.signed_routes()
        orders = self.book_path.removesuffix("order_book") + "orders"
        #: By channel: the REST request that does what its requests ask for.
        self._api_routes = {f"{self.family}.order_place": ("POST", orders), f"{self.family}.order_cancel": ("DELETE", f"{orders}/")}
        self._gate = Gate(api_key, secret, faults)
        self._routes: Routes = self.routes() | {
            "/api/v4/spot/time": lambda query, now_ms, dialect: Answer(200, f'{{"server_time":{now_ms}}}'),
            "/api/v4/spot/currencies": self._currencies,
            self.book_path: self._rest_book,
        }

    @abstractmethod
    def parsers(self) -> Parsers:
        """By public channel: what the payload of a request means; may raise Refused."""

    @abstractmethod
    def routes(self) -> dict[str, Callable[[Mapping[str, str], int, str], Answer]]:
        """By path: the answer to a query at a time in a dialect; may raise RefusedByRest."""

    def private_parsers(self) -> Parsers:
        """By private channel: the same."""
        return {}

    def signed_routes(self) -> SignedRoutes:
        """The answers to signed requests; may raise RefusedByRest and OrderRefused."""
        return {}

    @classmethod
    @abstractmethod
    def unified(cls, native: str) -> str:
        """The unified symbol of a pair."""

    @abstractmethod
    def book_body(self, query: Mapping[str, str], market: Market, limit: int, now_ms: int, dialect: str) -> str:
        """A REST book."""

    @classmethod
    def native(cls, symbol: str) -> str:
        """What the exchange calls a unified symbol."""
        return cls.markets.native(symbol)

    @classmethod
    def kind_of(cls, channel: str) -> str:
        """The kind of event that a channel pushes."""
        return cls.markets.channels[channel][0]

    def push(self, topic: Topic, event: Event, now_ms: int, dialect: str = "") -> str:
        """The push of an event to the subscribers of ``topic``."""
        return self.markets.channels[topic.channel][1](event, topic.option, now_ms, dialect)

    def private_pushes(self, event: AccountEvent, client: Client, clock_ms: int) -> Iterable[tuple[str, str]]:
        """The channels on which a client is told of an account's event, and how."""
        symbol = EVERY if isinstance(event, BalanceChange) else event.subject
        for channel, (kind, row) in self.rows.items():
            if kind == event.kind and not client.topics.isdisjoint((Topic(channel, EVERY), Topic(channel, symbol))):
                yield channel, push(channel, f"[{encoded(row(event, client.dialect))}]", clock_ms)

    def reply(self, text: str, client: Client, now_ms: int) -> Reply:
        """The reply to one frame of a client."""
        now_ms = self.clock_ms(now_ms)
        try:
            request = json.loads(text)
            if not _is_request(request):
                raise ValueError
        except (ValueError, RecursionError):
            return Reply(_message({}, now_ms, "", "", error={"code": 1, "message": self.no_request}, result=None))
        channel, event = request["channel"], request.get("event", "")
        if channel == f"{self.family}.ping":
            return Reply(_message(request, now_ms, f"{self.family}.pong", "", **self.pong))
        if event == "api":
            return self._api(request, client, now_ms)
        echo = {"conn_id": client.connection_id, "payload": request.get("payload")}
        begun: list[Topic] = []
        try:
            asked = self._topics(request, channel, event, now_ms)
            if event == "unsubscribe":
                return Reply(_message(request, now_ms, channel, event, **echo, result={"status": "success"}), event, ended=asked)
            if self.faults.hits("unanswered", channel):
                return Reply(None, event)
            for target in (channel, *(topic.symbol for topic in asked)):
                if self.faults.hits("refuse", target):
                    raise Refused(2, f"subscription refused: {target}")
            for topic in asked:
                if channel == self._obu and (topic in client.topics or topic in begun):
                    raise Refused(2, f"Alert sub ob.{self.native(topic.symbol)}.{topic.option}")
                begun.append(topic)
            if channel in self.private_channels:
                client.user = self.account.user
        except Refused as refusal:
            error = {"code": refusal.code, "message": refusal.message}
            result = None if refusal.code == 4 else {"status": "fail"}
            return Reply(_message(request, now_ms, channel, event, **echo, error=error, result=result), event)
        books = [
            self.markets.whole_obu(self.trading.markets[topic.symbol], topic.option, now_ms)
            for topic in begun
            if channel == self._obu and not self.faults.hits("mute", topic.channel, topic.symbol)
        ]
        return Reply(_message(request, now_ms, channel, event, **echo, result={"status": "success"}), event, books, begun)

    def _api(self, request: Mapping[str, Any], client: Client, now_ms: int) -> Reply:
        """The reply to a login, or to an order over the WebSocket."""
        channel, payload = request["channel"], request.get("payload")
        given: Mapping[str, Any] = payload if isinstance(payload, dict) else {}
        parameters = given.get("req_param")
        header = {"response_time": str(now_ms), "channel": channel, "event": "api", "conn_id": client.connection_id}

        def told(status: int, data: object, **ack: bool) -> str:
            return encoded({"request_id": given.get("req_id"), **ack, "header": {**header, "status": str(status)}, "data": data})

        if channel == f"{self.family}.login":
            try:
                self._gate.check_login(given, channel, now_ms)
            except Denied as denied:
                return Reply(told(denied.status, {"errs": json.loads(denied.body)}), "api")
            client.is_logged_in = True
            return Reply(told(200, {"result": {"api_key": given["api_key"], "uid": str(self.account.user)}}), "api")
        if not client.is_logged_in:
            return Reply(told(400, {"errs": {"label": "AUTHENTICATION_FAILED", "message": "Not login"}}), "api")
        route = self._signed_routes.get(self._api_routes.get(channel, ("", "")))
        if route is None or not isinstance(parameters, dict):
            return Reply(told(400, {"errs": {"label": "INVALID_PARAM_VALUE", "message": "Invalid request"}}), "api")
        texts = {name: str(value) for name, value in parameters.items()}
        status, body = self._let_in(route, Asked(texts, parameters, texts.get("order_id", ""), client.dialect), now_ms)
        result = told(status if status >= 400 else 200, {"errs" if status >= 400 else "result": json.loads(body)}, **self._no_ack)
        return Reply(told(200, {"result": {"req_id": given.get("req_id"), "req_param": parameters}}, ack=True), "api", more=[result])

    @property
    def _no_ack(self) -> dict[str, bool]:
        return {"ack": False} if self.denies_ack else {}

    def _topics(self, request: Mapping[str, Any], channel: str, event: str, now_ms: int) -> list[Topic]:
        """What a request asks for, or Refused."""
        payload = request.get("payload")
        if channel.startswith(f"{self.family}.") and channel.partition(".")[2] in self.private:
            try:
                self._gate.check_subscription(request, now_ms)
            except Denied as denied:
                raise Refused(4, f"{denied.body}\n") from None
        elif channel not in self._parsers:
            raise Refused(2, f"Unknown channel {channel}")
        if event not in ("subscribe", "unsubscribe"):
            raise Refused(2, f"Unknown event {event}")
        if channel not in self._parsers:
            return self._private_topics(channel, [] if payload is None else payload)
        if not isinstance(payload, list) or not all(isinstance(item, str) for item in payload):
            raise Refused(2, "invalid argument: payload is not a list of strings")
        if not payload:
            raise Refused(2, "empty currency pair list")
        return self._parsers[channel](payload)

    def _private_topics(self, channel: str, payload: Any) -> list[Topic]:
        if channel not in self._private_parsers:
            raise Refused(2, f"Unknown channel {channel}")
        if not isinstance(payload, list) or not all(isinstance(item, str) for item in payload):
            raise Refused(2, "invalid argument: payload is not a list of strings")
        return self._private_parsers[channel](payload)

    def symbol(self, native: str) -> str:
        """The unified symbol of a pair that is traded here. Raises Refused."""
        if native not in self.by_native:
            raise Refused(2, f"{self.unknown_pair} {native}")
        return self.by_native[native].symbol

    def pairs(self, channel: str) -> Callable[[list[str]], list[Topic]]:
        """What a payload of nothing but pairs means."""
        return lambda payload: [Topic(channel, self.symbol(pair)) for pair in payload]

    def pairs_or_all(self, channel: str) -> Callable[[list[str]], list[Topic]]:
        """What a payload of pairs, or of ``!all``, means."""

        def parsed(payload: list[str]) -> list[Topic]:
            if not payload:
                raise Refused(2, "empty currency pair list")
            return [Topic(channel, EVERY if pair == ALL else self.symbol(pair)) for pair in payload]

        return parsed

    def candlesticks(self, payload: list[str]) -> list[Topic]:
        """What a request for candles means."""
        if len(payload) != 2 or payload[0] not in INTERVALS:
            raise Refused(2, f"invalid argument: not an interval and a currency pair: {payload}")
        return [Topic(f"{self.family}.candlesticks", self.symbol(payload[1]), payload[0])]

    @classmethod
    def recorded_frame(cls, raw: bytes) -> Recorded | None:
        """What a recorded frame is, None if it belongs to no subscription."""
        try:
            frame = json.loads(raw)
            channel, result = frame["channel"], frame["result"]
            if frame.get("event") in ("subscribe", "unsubscribe"):
                return Recorded(channel)
            while isinstance(result, list):
                result = result[0]
            if channel == f"{cls.family}.candlesticks":
                pair = result["n"].partition("_")[2]
            elif channel == f"{cls.family}.obu":
                pair = result["s"].split(".")[1]
            else:
                pair = result[cls.pair_key] if cls.pair_key in result else result["s"]
            return Recorded(channel, cls.unified(pair))
        except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
            return None

    @classmethod
    def recorded_book(cls, path: str, query: Mapping[str, str]) -> str | None:
        """The pair whose book a REST request asks for, None if it is another request."""
        pair = query.get(cls.pair_key)
        return cls.unified(pair) if path == cls.book_path and pair else None

    def get(self, path: str, query: Mapping[str, str], now_ms: int, dialect: str = "") -> Answer:
        """The answer to one REST request."""
        try:
            if path not in self._routes:
                raise RefusedByRest(404, "NOT_FOUND", f"no such path: {path}")
            return self._routes[path](query, now_ms, dialect)
        except RefusedByRest as refusal:
            return refusal.answer

    def rest(self, request: Request, now_ms: int) -> Answer:
        """The answer to any REST request."""
        head, slash, last = request.path.rpartition("/")
        route = self._signed_routes.get((request.method, request.path))
        if route is None and last:
            route = self._signed_routes.get((request.method, head + slash))
        else:
            last = ""
        if route is None:
            return super().rest(request, now_ms)
        clock_ms = self.clock_ms(now_ms)
        try:
            self._gate.check_request(request, clock_ms)
            asked = Asked(request.parameters, _body(request.body), last, self.dialect(request.headers))
        except Denied as denied:
            return Answer(denied.status, denied.body)
        except RefusedByRest as refusal:
            return refusal.answer
        return self._let_in(route, asked, clock_ms)

    def _let_in(self, route: Callable[[Asked, int], Answer], asked: Asked, clock_ms: int) -> Answer:
        """The answer to whoever has proved that he may ask."""
        try:
            return route(asked, clock_ms)
        except OrderRefused as refusal:
            return refused(refusal.refusal)
        except RefusedByRest as refusal:
            return refusal.answer

    def market(self, query: Mapping[str, str]) -> Market:
        """The pair that a REST request names. Raises RefusedByRest."""
        pair = query.get(self.pair_key)
        if pair is None:
            raise RefusedByRest(400, "MISSING_REQUIRED_PARAM", f"Missing required parameter: {self.pair_key}")
        if not isinstance(pair, str) or pair not in self.by_native:
            raise RefusedByRest(400, self.unknown_label, f"Invalid {self.pair_key.replace('_', ' ')} {pair}")
        return self.by_native[pair]

    def markets_asked(self, query: Mapping[str, str]) -> Collection[Market]:
        """The same, and all where a request names none."""
        return [self.market(query)] if self.pair_key in query else self.by_native.values()

    def _rest_book(self, query: Mapping[str, str], now_ms: int, dialect: str) -> Answer:
        return Answer(200, self.book_body(query, self.market(query), limit_of(query, 10), now_ms, dialect))

    def _currencies(self, query: Mapping[str, str], now_ms: int, dialect: str) -> Answer:
        names = dict.fromkeys(name for native in self.by_native for name in native.split("_"))
        flags = dict.fromkeys(("delisted", "withdraw_disabled", "withdraw_delayed", "deposit_disabled", "trade_disabled"), False)
        chain = {"name": "ETH", "addr": "", "withdraw_disabled": False, "withdraw_delayed": False, "deposit_disabled": False}
        rows = [{"currency": name, "name": name, **flags, "fixed_rate": "", "chain": "ETH", "chains": [chain]} for name in names]
        return Answer(200, encoded(rows))


def page_of(query: Mapping[str, str], rows: Sequence[Any], most: int = 1000) -> Sequence[Any]:
    """Of ``rows`` those of the page that a REST request asks for. Raises RefusedByRest."""
    limit, page = limit_of(query, 100), query.get("page", "1")
    if not (page.isascii() and page.isdecimal() and int(page) and limit <= most):
        raise RefusedByRest(400, "INVALID_PARAM_VALUE", f"Invalid page {page}")
    start = (int(page) - 1) * limit
    return rows[start : start + limit]


def limit_of(query: Mapping[str, str], default: int) -> int:
    """How many levels or trades a REST request asks for. Raises RefusedByRest."""
    limit = query.get("limit", str(default))
    if not (limit.isdecimal() and len(limit) <= 4 and 0 < int(limit) <= 1000):
        raise RefusedByRest(400, "INVALID_PARAM_VALUE", f"Invalid limit {limit}")
    return int(limit)


def _body(body: bytes) -> Mapping[str, Any]:
    try:
        parsed = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        parsed = None
    if not isinstance(parsed, dict):
        raise RefusedByRest(400, "INVALID_REQUEST_BODY", "Invalid request body")
    return parsed


def encoded(value: object) -> str:
    """As JSON without white space."""
    return json.dumps(value, separators=(",", ":"))


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
    return encoded(message | {"channel": channel, "event": event} | rest)
