"""Gate.io USDT futures' answers: to requests over its WebSocket and over REST."""

import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal

from infrastructure.simulator import gateio_futures_account
from infrastructure.simulator.accounts import BUY, SELL, AccountEvent, BalanceChange, FuturesAccount, Order, Seizure, orders_of
from infrastructure.simulator.exchange import EVERY, PAIRS, Answer, Client
from infrastructure.simulator.gateio_account import ALL, Asked
from infrastructure.simulator.gateio_exchange import GateioExchange, Parsers, Refused, RefusedByRest, SignedRoutes, encoded, limit_of
from infrastructure.simulator.gateio_frames import push
from infrastructure.simulator.gateio_futures import (
    BOOK_TICKER,
    CANDLESTICKS,
    CHANNELS,
    CONTRACT_STATS,
    DECIMAL,
    FUNDING_S,
    LIQUIDATIONS,
    OBU,
    ORDER_BOOK,
    ORDER_BOOK_UPDATE,
    OTHER_PRICES,
    STATS_INTERVALS,
    TICKERS,
    TRADES,
    GateioFuturesMarkets,
    contract_of,
    funding_text,
    levels,
    rest_book,
    ticker_result,
    trade_result,
    whole_book_update,
    whole_obu,
)
from infrastructure.simulator.gateio_futures_account import (
    ADL_RANK,
    BALANCES,
    PUSHES,
    account_row,
    found_order,
    order_row,
    placement_of,
    position_row,
)
from infrastructure.simulator.market import Event, Market, Topic, price_text

#: How a request calls a side.
_SIDES = {"bid": BUY, "ask": SELL}
#: By frequency of ``futures.order_book_update``: the levels that it may show, the first where a request names none.
_LEVELS = {"100ms": ("100", "50", "20"), "20ms": ("20",)}


class GateioFuturesExchange(GateioExchange):
    """The exchange as its clients see it."""

    account: FuturesAccount
    name = "gateio_futures"
    websocket_path = "/v4/ws/usdt"
    channels = tuple(CHANNELS)
    seeded_channel = ORDER_BOOK_UPDATE
    symbol_form = re.compile(r"[A-Z0-9]+/USDT:USDT")
    symbol_words = "BASE/USDT:USDT in capitals, such as BTC/USDT:USDT"
    symbols = tuple(f"{pair}:USDT" for pair in PAIRS)
    mix = GateioFuturesMarkets.mix
    pings = False
    denies_ack = True
    silence_timeout_s = 30.0
    markets = GateioFuturesMarkets
    family = "futures"
    private = (
        "orders",
        "usertrades",
        "liquidates",
        "auto_deleverages",
        "position_closes",
        "balances",
        "reduce_risk_limits",
        "positions",
        "position_adl_rank",
        "autoorders",
    )
    private_channels = tuple(PUSHES)
    no_request = "request message need json scheme"
    unknown_pair = "unknown contract"
    pong = {"result": None}
    pair_key = "contract"
    unknown_label = "CONTRACT_NOT_FOUND"
    book_path = "/api/v4/futures/usdt/order_book"

    @staticmethod
    def dialect(headers: Mapping[str, str]) -> str:
        """Exact sizes for whoever asks for them."""
        return DECIMAL if headers.get("X-Gate-Size-Decimal") == "1" else ""

    @classmethod
    def unified(cls, native: str) -> str:
        """``BTC/USDT:USDT``."""
        return f"{native.replace('_', '/')}:{native.partition('_')[2]}"

    def opened_account(self, seed: int) -> FuturesAccount:
        """The account of whoever has the key."""
        markets = self.trading.markets
        return FuturesAccount(markets, seed, {symbol: Decimal(contract_of(market).multiplier) for symbol, market in markets.items()})

    def whole_push(self, topic: Topic, event: Event, now_ms: int, dialect: str = "") -> str | None:
        """A change of a book as a whole book, on channels that can say so."""
        if topic.channel == OBU:
            return whole_obu(event.market, topic.option, now_ms)
        return whole_book_update(event, topic.option, now_ms, dialect) if topic.channel == ORDER_BOOK_UPDATE else None

    def parsers(self) -> Parsers:
        """By public channel: what the payload of a request means."""
        return {
            TRADES: self.pairs(TRADES),
            TICKERS: self.pairs(TICKERS),
            CONTRACT_STATS: self._contract_stats,
            BOOK_TICKER: self.pairs(BOOK_TICKER),
            CANDLESTICKS: self.candlesticks,
            LIQUIDATIONS: self._liquidations,
            ORDER_BOOK_UPDATE: self._order_book_update,
            ORDER_BOOK: self._order_book,
            OBU: self._obu_streams,
        }

    def candlesticks(self, payload: list[str]) -> list[Topic]:
        """What a request for candles means: ``mark_`` or ``index_`` before a contract asks for those of that price."""
        price, _, contract = payload[-1].partition("_")
        if price not in OTHER_PRICES or contract not in self.by_native:
            return super().candlesticks(payload)
        return [topic._replace(option=f"{price}_{topic.option}") for topic in super().candlesticks([*payload[:-1], contract])]

    def private_parsers(self) -> Parsers:
        """By private channel: what the payload of a request means; whose user id is not the client's own, gets nothing."""
        of_users: Parsers = {channel: self._of_user(channel) for channel in PUSHES}
        return {**of_users, BALANCES: self._balances, ADL_RANK: self._ranks}

    def _of_user(self, channel: str) -> Callable[[list[str]], list[Topic]]:
        """What a payload of a user's id and contracts, or ``!all``, means."""

        def parsed(payload: list[str]) -> list[Topic]:
            user, *contracts = payload or [""]
            if not contracts:
                raise Refused(2, f"invalid argument: not a user id and a contract: {payload}")
            return [Topic(channel, EVERY if contract == ALL else self.symbol(contract), user) for contract in contracts]

        return parsed

    def _balances(self, payload: list[str]) -> list[Topic]:
        if not payload:
            raise Refused(2, "invalid argument: no user id")
        return [Topic(BALANCES, EVERY, payload[0])]

    def _ranks(self, payload: list[str]) -> list[Topic]:
        if not payload:
            raise Refused(2, "invalid argument: no contract")
        user = str(self.account.user)
        return [Topic(ADL_RANK, EVERY if contract == ALL else self.symbol(contract), user) for contract in payload]

    def private_pushes(self, event: AccountEvent, client: Client, clock_ms: int) -> Iterable[tuple[str, str]]:
        """The channels on which a client is told of an account's event, and how."""
        kind = event.text if isinstance(event, Seizure) else event.kind
        symbol = EVERY if isinstance(event, BalanceChange) else event.subject
        user = str(self.account.user)
        for channel, (kinds, row) in PUSHES.items():
            if kind in kinds and not client.topics.isdisjoint((Topic(channel, EVERY, user), Topic(channel, symbol, user))):
                yield channel, push(channel, f"[{row(event, client.dialect)}]", clock_ms)

    def seize(self, symbol: str, text: str, now_ms: int) -> None:
        """Close a position of the account against its owner's will. Raises OrderRefused where there is none."""
        self.tell(self.account.seize(symbol, text, self.clock_ms(now_ms)))

    def _contract_stats(self, payload: list[str]) -> list[Topic]:
        if len(payload) != 2 or payload[1] not in STATS_INTERVALS:
            raise Refused(2, f"invalid argument: not a contract and an interval: {payload}")
        return [Topic(CONTRACT_STATS, self.symbol(payload[0]), payload[1])]

    def _liquidations(self, payload: list[str]) -> list[Topic]:
        return [Topic(LIQUIDATIONS, EVERY if contract == "!all" else self.symbol(contract)) for contract in payload]

    def _order_book_update(self, payload: list[str]) -> list[Topic]:
        if len(payload) not in (2, 3) or payload[1] not in _LEVELS:
            raise Refused(2, f"invalid argument: not a contract, a frequency and a level: {payload}")
        contract, frequency, level = payload if len(payload) == 3 else (*payload, _LEVELS[payload[1]][0])
        if level not in _LEVELS[frequency]:
            raise Refused(2, f"provided level not supported: {level}")
        return [Topic(ORDER_BOOK_UPDATE, self.symbol(contract), f"{frequency}-{level}")]

    def _order_book(self, payload: list[str]) -> list[Topic]:
        if len(payload) != 3 or payload[2] != "0":
            raise Refused(2, f"invalid argument: not a contract, a level and 0: {payload}")
        if payload[1] not in ("100", "50", "20", "10", "5", "1"):
            raise Refused(2, f"provided level not supported: {payload[1]}")
        return [Topic(ORDER_BOOK, self.symbol(payload[0]), payload[1])]

    def _obu_streams(self, payload: list[str]) -> list[Topic]:
        """Streams that do not exist are acknowledged and say nothing."""
        asked = [stream.split(".") for stream in payload]
        return [
            Topic(OBU, self.by_native[parts[1]].symbol, parts[2])
            for parts in asked
            if len(parts) == 3 and parts[0] == "ob" and parts[1] in self.by_native and parts[2] in ("50", "400")
        ]

    def routes(self) -> dict[str, Callable[[Mapping[str, str], int, str], Answer]]:
        """By path: the answer to a query."""
        return {
            "/api/v4/futures/usdt/contracts": self._contracts,
            # Clients ask for these too; none are traded here.
            "/api/v4/futures/btc/contracts": lambda query, now_ms, dialect: Answer(200, "[]"),
            "/api/v4/futures/usdt/tickers": self._rest_tickers,
            "/api/v4/futures/usdt/trades": self._rest_trades,
        }

    def signed_routes(self) -> SignedRoutes:
        """The answers to signed requests."""
        account, path = self.account, "/api/v4/futures/usdt"
        detail = {"user_id": account.user, "ip_whitelist": [], "currency_pairs": [], "key": {"mode": 1}, "tier": 0}
        return {
            ("GET", "/api/v4/account/detail"): lambda asked, now_ms: Answer(200, encoded(detail)),
            ("GET", f"{path}/accounts"): lambda asked, now_ms: Answer(200, encoded(account_row(account))),
            ("GET", f"{path}/positions"): lambda asked, now_ms: gateio_futures_account.positions(account, asked),
            ("GET", f"{path}/positions/"): self._position,
            ("GET", f"{path}/orders"): lambda asked, now_ms: gateio_futures_account.orders(account, asked, self._named(asked)),
            ("GET", f"{path}/orders/"): lambda asked, now_ms: _answered(found_order(account, asked.last), asked),
            ("POST", f"{path}/orders"): self._place,
            ("DELETE", f"{path}/orders"): self._cancel_all,
            ("DELETE", f"{path}/orders/"): self._cancel,
            ("GET", f"{path}/my_trades"): lambda asked, now_ms: gateio_futures_account.my_trades(account, asked, self._named(asked)),
            ("GET", f"{path}/my_trades_timerange"): lambda asked, now_ms: gateio_futures_account.my_trades_timerange(
                account, asked, self._named(asked)
            ),
        }

    def _named(self, asked: Asked) -> str | None:
        """The contract that a request names, None if it is about all. Raises RefusedByRest."""
        return self.market(asked.query).symbol if self.pair_key in asked.query else None

    def _position(self, asked: Asked, now_ms: int) -> Answer:
        position = self.account.positions[self.market({self.pair_key: asked.last}).symbol]
        if not position.updated_ms:
            raise RefusedByRest(400, "POSITION_NOT_FOUND", "position not found")
        return Answer(200, encoded(position_row(position, asked.dialect)))

    def _place(self, asked: Asked, now_ms: int) -> Answer:
        placement = placement_of(asked.body, self.account, self.market(asked.body).symbol, asked.dialect)
        events = self.account.place(placement, now_ms)
        self.tell(events)
        return _answered(self.account.order(orders_of(events).order_id), asked)._replace(status=201)

    def _cancel(self, asked: Asked, now_ms: int) -> Answer:
        order_id = found_order(self.account, asked.last).order_id
        self.tell(self.account.cancel(order_id, now_ms))
        return _answered(self.account.order(order_id), asked)

    def _cancel_all(self, asked: Asked, now_ms: int) -> Answer:
        waiting = self.account.open_orders(self.market(asked.query).symbol)
        if asked.query.get("side"):
            waiting = [order for order in waiting if order.side == _SIDES.get(asked.query["side"])]
        for order in waiting:
            self.tell(self.account.cancel(order.order_id, now_ms))
        return Answer(200, encoded([order_row(self.account.order(order.order_id), asked.dialect) for order in waiting]))

    def book_body(self, query: Mapping[str, str], market: Market, limit: int, now_ms: int, dialect: str) -> str:
        """A REST book."""
        update_id, bids, asks = self.rest_book(market)
        sides = levels(bids[:limit], dialect), levels(asks[:limit], dialect)
        return rest_book(update_id, *sides, now_ms, query.get("with_id") == "true")

    def _contracts(self, query: Mapping[str, str], now_ms: int, dialect: str) -> Answer:
        return Answer(200, encoded([_contract(market, now_ms, dialect) for market in self.by_native.values()]))

    def _rest_tickers(self, query: Mapping[str, str], now_ms: int, dialect: str) -> Answer:
        rows = [ticker_result(market, market.numbers["ticker"], now_ms, dialect) for market in self.markets_asked(query)]
        return Answer(200, f"[{','.join(rows)}]")

    def _rest_trades(self, query: Mapping[str, str], now_ms: int, dialect: str) -> Answer:
        market, limit = self.market(query), limit_of(query, 100)
        rows = [trade_result(market, trade, dialect) for trade in reversed(market.prints)][:limit]
        return Answer(200, f"[{','.join(rows)}]")


def _answered(order: Order, asked: Asked) -> Answer:
    return Answer(200, encoded(order_row(order, asked.dialect)))


def _contract(market: Market, now_ms: int, dialect: str) -> dict[str, object]:
    middle = price_text((max(market.bids) + min(market.asks)) // 2)
    number = market.numbers["ticker"]
    return {
        "name": market.native,
        "type": "direct",
        "quanto_multiplier": contract_of(market).multiplier,
        "ref_discount_rate": "0",
        "order_price_deviate": "0.2",
        "maintenance_rate": "0.005",
        "mark_type": "index",
        "last_price": price_text(market.day.close),
        "mark_price": middle,
        "index_price": middle,
        "funding_rate": funding_text(number),
        "funding_rate_indicative": funding_text(number),
        "funding_interval": FUNDING_S,
        "funding_offset": 0,
        "funding_next_apply": now_ms // 1000 - now_ms // 1000 % FUNDING_S + FUNDING_S,
        "mark_price_round": "0.001",
        "order_price_round": "0.01",
        "order_size_min": "0.00000001" if dialect else 1,
        "order_size_max": "1000000" if dialect else 1_000_000,
        "enable_decimal": True,
        "in_delisting": False,
        "status": "trading",
        "risk_limit_base": "1000000",
        "risk_limit_step": "1000000",
        "risk_limit_max": "8000000",
        "interest_rate": "0.0003",
        "ref_rebate_rate": "0.2",
        "taker_fee_rate": "0.0005",
        "maker_fee_rate": "0.0002",
        "leverage_min": "1",
        "leverage_max": "100",
        "config_change_time": 1_609_899_548,
        "create_time": 1_546_300_800,
        "orders_limit": 50,
        "orderbook_id": market.update_id,
        "trade_id": market.prints[-1].trade_id if market.prints else 0,
    }
