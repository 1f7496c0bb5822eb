"""A venue of a user's own with account data: JSON frames, a codec, a description. Nothing of it is part of tickrail."""

import json
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

from infrastructure.errors import DecodeError
from infrastructure.events import (
    BalanceUpdate,
    Data,
    Fill,
    MessageType,
    OrderStatus,
    OrderUpdate,
    PositionUpdate,
    RiskKind,
    RiskNotice,
    Side,
)
from infrastructure.instruments import Instrument, Symbols
from infrastructure.private_session import PrivateSession
from infrastructure.venue import (
    Acknowledgement,
    BookUpdate,
    Message,
    Notice,
    Pong,
    Rate,
    SubscriptionRequest,
    Unknown,
    Venue,
    VenueLimits,
)


class AccountCodec:
    """Frames are ``{"login": ...}``, ``{"pong": 1}``, ``{"notice": "..."}`` or ``{"items": [{"kind": "order", ...}, ...]}``.

    Of an item ``at`` is the venue's time, if it is there.
    """

    def __init__(self) -> None:
        self.symbols = Symbols("account_venue", lambda native: native.replace("-", "/"), lambda symbol: symbol.replace("/", "-"))

    def fresh(self) -> "AccountCodec":
        return AccountCodec()

    def decode(self, raw_message: bytes | str) -> Sequence[Message]:
        try:
            frame = json.loads(raw_message)
            if "login" in frame:
                refused = None if frame["login"] == "ok" else frame["login"]
                return (Acknowledgement("account", "login", error=refused, confirms_login=refused is None),)
            if "pong" in frame:
                return (Pong(None),)
            if "notice" in frame:
                return (Notice("account", frame["notice"]),)
            if "items" in frame:
                return [event_of(item) for item in frame["items"]]
            return (Unknown("account", ""),)
        except (ValueError, TypeError, KeyError, ArithmeticError) as error:
            raise DecodeError(f"not an account frame: {error!r}") from None

    def decode_snapshot(self, symbol: str, raw: bytes | str) -> BookUpdate:
        raise DecodeError("an account has no books")

    def decode_instruments(self, raw: bytes | str) -> list[Instrument]:
        raise DecodeError("an account has no instruments")

    def subscription_requests(
        self, action: str, channel: str, symbols: Sequence[str], now_s: int, next_id: Callable[[], int] | None = None
    ) -> list[SubscriptionRequest]:
        message = {"do": action, "channel": channel, "at": now_s}
        return [SubscriptionRequest(action, channel, (symbol,), message | {"symbol": symbol}) for symbol in symbols]

    def ping_request(self, now_s: int) -> dict[str, object]:
        return {"ping": now_s}


def _order(item: dict[str, Any]) -> OrderUpdate:
    amount = Decimal(item["amount"])
    price = Decimal(item["price"])
    status, filled = OrderStatus(item.get("status", "open")), Decimal(item.get("filled", 0))
    return OrderUpdate("account_venue", item["symbol"], item["id"], None, Side.BUY, status, price, amount, filled, item.get("at"))


def _fill(item: dict[str, Any]) -> Fill:
    price, amount = Decimal(item["price"]), Decimal(item["amount"])
    return Fill("account_venue", item["symbol"], item["id"], item.get("order", "1"), Side.BUY, price, amount, None, None, item.get("at"))


def _balance(item: dict[str, Any]) -> BalanceUpdate:
    amount = Decimal(item["amount"])
    return BalanceUpdate("account_venue", item["currency"], amount, amount, Decimal(0), item.get("at"))


def _position(item: dict[str, Any]) -> PositionUpdate:
    entry_price = Decimal(item["entry"]) if "entry" in item else None
    return PositionUpdate("account_venue", item["symbol"], Decimal(item["amount"]), entry_price, item.get("at"), mode=item.get("mode", ""))


def _risk(item: dict[str, Any]) -> RiskNotice:
    return RiskNotice("account_venue", item["symbol"], RiskKind.DELEVERAGED, Decimal(item["amount"]), Decimal(item["price"]), None, None)


_ITEMS: dict[str, Callable[[dict[str, Any]], Data]] = {
    "order": _order,
    "fill": _fill,
    "balance": _balance,
    "position": _position,
    "risk": _risk,
}


def event_of(item: dict[str, Any]) -> Data:
    """What an item of a frame, or of an answer of REST, says."""
    return _ITEMS[item["kind"]](item)


ACCOUNT_VENUE = Venue(
    name="account_venue",
    codec=AccountCodec(),
    websocket_url="wss://venue.invalid/account",
    rest_url="https://venue.invalid",
    channels={
        "orders": MessageType.ORDER,
        "fills": MessageType.FILL,
        "balances": MessageType.BALANCE,
        "positions": MessageType.POSITION,
        "risks": MessageType.RISK,
    },
    book_channels={},
    snapshot_path="",
    snapshot_symbol_key="",
    snapshot_query={},
    options={},
    ping_interval_s=10.0,
    instruments_path="",
    limits=VenueLimits(connects=Rate(10, 1.0), requests=Rate(10, 1.0), rest=Rate(10, 1.0)),
)

LOGIN = b'{"login":"ok"}'
REFUSAL = b'{"login":"bad key"}'
PONG = b'{"pong":1}'
NOTICE = b'{"notice":"down at noon"}'
UNKNOWN = b"{}"


def items(*kinds: str, number: int = 1) -> bytes:
    """One frame with an item of each kind, whose id is ``number``."""
    shared = {"symbol": "BTC/USDT", "currency": "USDT", "id": str(number), "price": "100.10", "amount": "0.30"}
    return json.dumps({"items": [{"kind": kind} | shared for kind in kinds]}).encode()


def private_session() -> PrivateSession:
    """A session of the account."""
    return PrivateSession(ACCOUNT_VENUE)
