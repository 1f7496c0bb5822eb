"""Gate.io spot's answers: to requests over its WebSocket and over REST."""

from collections.abc import Callable, Mapping

from infrastructure.simulator import gateio_spot_account
from infrastructure.simulator.accounts import Order, orders_of
from infrastructure.simulator.exchange import EVERY, Answer
from infrastructure.simulator.gateio_account import Asked
from infrastructure.simulator.gateio_exchange import GateioExchange, Parsers, Refused, SignedRoutes, encoded, limit_of
from infrastructure.simulator.gateio_spot import (
    BOOK_TICKER,
    CANDLESTICKS,
    CHANNELS,
    OBU,
    ORDER_BOOK,
    ORDER_BOOK_UPDATE,
    TICKERS,
    TRADES,
    GateioSpotMarkets,
    rest_book,
    ticker_result,
    time_text,
    whole_book_update,
    whole_obu,
)
from infrastructure.simulator.gateio_spot_account import (
    BALANCES,
    ORDERS,
    ORDERS_V2,
    ROWS,
    USER_TRADES,
    USER_TRADES_V2,
    found_order,
    order_row,
    placement_of,
)
from infrastructure.simulator.market import Event, Market, Print, Topic, price_text, texts, units_text


class GateioSpotExchange(GateioExchange):
    """The exchange as its clients see it."""

    name = "gateio_spot"
    websocket_path = "/ws/v4/"
    channels = tuple(CHANNELS)
    seeded_channel = ORDER_BOOK_UPDATE
    markets = GateioSpotMarkets
    family = "spot"
    private = (
        "orders",
        "orders_v2",
        "usertrades",
        "usertrades_v2",
        "balances",
        "margin_balances",
        "funding_balances",
        "cross_balances",
        "cross_loan",
        "priceorders",
    )
    meaningless = {**GateioExchange.meaningless, **dict.fromkeys(("liquidate", "deleverage"), "it has no positions")}
    rows = ROWS
    private_channels = tuple(ROWS)
    no_request = "request payload does not follow json schema"
    unknown_pair = "unknown currency pair:"
    pong = {"error": None, "result": None}
    pair_key = "currency_pair"
    unknown_label = "INVALID_CURRENCY_PAIR"
    book_path = "/api/v4/spot/order_book"

    @classmethod
    def unified(cls, native: str) -> str:
        """``BTC/USDT``."""
        return native.replace("_", "/")

    def whole_push(self, topic: Topic, event: Event, now_ms: int, dialect: str = "") -> str | None:
        """A change of a book as a whole book, on channels that can say so."""
        if topic.channel == OBU:
            return whole_obu(event.market, topic.option, now_ms)
        return whole_book_update(event, topic.option, now_ms) if topic.channel == ORDER_BOOK_UPDATE else None

    def parsers(self) -> Parsers:
        """By public channel: what the payload of a request means."""
        return {
            TRADES: self.pairs(TRADES),
            TICKERS: self.pairs(TICKERS),
            BOOK_TICKER: self.pairs(BOOK_TICKER),
            CANDLESTICKS: self.candlesticks,
            ORDER_BOOK_UPDATE: self._order_book_update,
            ORDER_BOOK: self._order_book,
            OBU: self._obu_streams,
        }

    def private_parsers(self) -> Parsers:
        """By private channel: what the payload of a request means."""
        of_pairs: Parsers = {channel: self.pairs_or_all(channel) for channel in (ORDERS, ORDERS_V2, USER_TRADES, USER_TRADES_V2)}
        return {**of_pairs, BALANCES: lambda payload: [Topic(BALANCES, EVERY)]}

    def _order_book_update(self, payload: list[str]) -> list[Topic]:
        if len(payload) != 2 or payload[1] not in ("100ms", "20ms"):
            raise Refused(2, f"invalid argument: not a currency pair and an interval: {payload}")
        return [Topic(ORDER_BOOK_UPDATE, self.symbol(payload[0]), payload[1])]

    def _order_book(self, payload: list[str]) -> list[Topic]:
        if len(payload) != 3 or payload[1] not in ("5", "10", "20", "30", "50", "100") or payload[2] not in ("100ms", "1000ms"):
            raise Refused(2, f"invalid argument: not a currency pair, a level and an interval: {payload}")
        return [Topic(ORDER_BOOK, self.symbol(payload[0]), payload[1])]

    def _obu_streams(self, payload: list[str]) -> list[Topic]:
        topics = []
        for stream in payload:
            prefix, pair, level = (stream.split(".") + ["", ""])[:3]
            if prefix != "ob" or level not in ("50", "100", "400") or stream != f"ob.{pair}.{level}":
                raise Refused(2, f"invalid argument: {stream}")
            topics.append(Topic(OBU, self.symbol(pair), level))
        return topics

    def routes(self) -> dict[str, Callable[[Mapping[str, str], int, str], Answer]]:
        """By path: the answer to a query."""
        return {
            "/api/v4/spot/currency_pairs": self._currency_pairs,
            "/api/v4/margin/currency_pairs": lambda query, now_ms, dialect: Answer(200, "[]"),
            "/api/v4/spot/tickers": self._rest_tickers,
            "/api/v4/spot/trades": self._rest_trades,
        }

    def signed_routes(self) -> SignedRoutes:
        """The answers to signed requests."""
        account = self.account
        detail = {"user_id": account.user, "ip_whitelist": [], "currency_pairs": [], "key": {"mode": 1}, "tier": 0}
        return {
            ("GET", "/api/v4/account/detail"): lambda asked, now_ms: Answer(200, encoded(detail)),
            ("GET", "/api/v4/spot/accounts"): lambda asked, now_ms: gateio_spot_account.balances(account, asked),
            ("GET", "/api/v4/spot/open_orders"): lambda asked, now_ms: gateio_spot_account.open_orders(account, asked),
            ("GET", "/api/v4/spot/my_trades"): self._my_trades,
            ("GET", "/api/v4/spot/orders"): lambda asked, now_ms: gateio_spot_account.orders(
                account, asked, self.market(asked.query).symbol
            ),
            ("GET", "/api/v4/spot/orders/"): lambda asked, now_ms: _answered(self._order(asked)),
            ("POST", "/api/v4/spot/orders"): self._place,
            ("DELETE", "/api/v4/spot/orders"): self._cancel_all,
            ("DELETE", "/api/v4/spot/orders/"): self._cancel,
        }

    def _my_trades(self, asked: Asked, now_ms: int) -> Answer:
        symbol = self.market(asked.query).symbol if self.pair_key in asked.query else None
        return gateio_spot_account.my_trades(self.account, asked, symbol)

    def _order(self, asked: Asked) -> Order:
        return found_order(self.account, asked.last, self.market(asked.query).symbol)

    def _place(self, asked: Asked, now_ms: int) -> Answer:
        events = self.account.place(placement_of(asked.body, self.market(asked.body).symbol), now_ms)
        self.tell(events)
        return _answered(self.account.order(orders_of(events).order_id))._replace(status=201)

    def _cancel(self, asked: Asked, now_ms: int) -> Answer:
        order_id = self._order(asked).order_id
        self.tell(self.account.cancel(order_id, now_ms))
        return _answered(self.account.order(order_id))

    def _cancel_all(self, asked: Asked, now_ms: int) -> Answer:
        waiting = [order.order_id for order in self.account.open_orders(self.market(asked.query).symbol)]
        for order_id in waiting:
            self.tell(self.account.cancel(order_id, now_ms))
        return Answer(200, encoded([order_row(self.account.order(order_id)) for order_id in waiting]))

    def book_body(self, query: Mapping[str, str], market: Market, limit: int, now_ms: int, dialect: str) -> str:
        """A REST book."""
        update_id, bids, asks = self.rest_book(market)
        return rest_book(update_id, texts(bids[:limit]), texts(asks[:limit]), now_ms, query.get("with_id") == "true")

    def _currency_pairs(self, query: Mapping[str, str], now_ms: int, dialect: str) -> Answer:
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
        return Answer(200, encoded(rows))

    def _rest_tickers(self, query: Mapping[str, str], now_ms: int, dialect: str) -> Answer:
        rows = [ticker_result(market, units_text(market.day.volume)) for market in self.markets_asked(query)]
        return Answer(200, f"[{','.join(rows)}]")

    def _rest_trades(self, query: Mapping[str, str], now_ms: int, dialect: str) -> Answer:
        market, limit = self.market(query), limit_of(query, 100)
        return Answer(200, encoded([_rest_trade(market, trade) for trade in reversed(market.prints)][:limit]))


def _answered(order: Order) -> Answer:
    return Answer(200, encoded(order_row(order)))


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
