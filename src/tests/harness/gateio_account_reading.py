"""Gate.io's recorded and documented private frames, read a second time with nothing but ``json`` and ``Decimal``."""

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from infrastructure.events import (
    BalanceUpdate,
    Fill,
    OrderStatus,
    OrderUpdate,
    PositionUpdate,
    RiskKind,
    RiskNotice,
    Side,
)
from infrastructure.venue import Acknowledgement, Message, Pong, Unknown
from tests.harness import gateio_reading
from tests.harness.gateio_reading import FUTURES, VENUE, Json, contract, symbol

Read = Callable[[Json], Message]


def ns(value: Any) -> int:
    """Seconds or milliseconds, by their size."""
    number = Decimal(value)
    return int(number * (10**6 if number >= 10**11 else 10**9))


def own_text(result: Json) -> str | None:
    text = str(result["text"])
    return text if text[:2] == "t-" else None


def order(result: Json) -> OrderUpdate:
    """Of the captures: limit orders that have just been put."""
    assert (result["type"], result["event"], result["finish_as"]) == ("limit", "put", "open")
    return OrderUpdate(
        VENUE,
        symbol(result["currency_pair"]),
        result["id"],
        own_text(result),
        Side(result["side"]),
        OrderStatus.OPEN,
        Decimal(result["price"]),
        Decimal(result["amount"]),
        Decimal(result["amount"]) - Decimal(result["left"]),
        ns(result["update_time_ms"]),
        average_price=None if result["avg_deal_price"] == "0" else Decimal(result["avg_deal_price"]),
        native_status="open",
    )


def fill(result: Json) -> Fill:
    return Fill(
        VENUE,
        symbol(result["currency_pair"]),
        str(result["id"]),
        result["order_id"],
        Side(result["side"]),
        Decimal(result["price"]),
        Decimal(result["amount"]),
        Decimal(result["fee"]) if "fee" in result else None,
        result.get("fee_currency"),
        ns(result["create_time_ms"]),
        is_maker=result["role"] == "maker",
        client_order_id=own_text(result),
    )


def balance(result: Json) -> BalanceUpdate:
    total, available, frozen = (Decimal(result[name]) for name in ("total", "available", "freeze"))
    sent_ns = ns(result["timestamp_ms"])
    return BalanceUpdate(VENUE, result["currency"], total, available, frozen, sent_ns, reason=result["change_type"])


def side(size: Decimal) -> Side:
    return Side.SELL if size < 0 else Side.BUY


def futures_order(result: Json) -> OrderUpdate:
    """Of the captures: orders that were filled."""
    assert (result["status"], result["finish_as"]) == ("finished", "filled")
    size, left = Decimal(result["size"]), Decimal(result["left"])
    return OrderUpdate(
        FUTURES,
        contract(result["contract"]),
        str(result["id"]),
        own_text(result),
        side(size),
        OrderStatus.FILLED,
        result["price"],
        abs(size),
        abs(size) - abs(left),
        ns(result.get("update_time") or result["finish_time_ms"]),
        average_price=result["fill_price"],
        native_status="filled",
    )


def futures_fill(result: Json) -> Fill:
    size, name = Decimal(result["size"]), contract(result["contract"])
    return Fill(
        FUTURES,
        name,
        result["id"],
        result["order_id"],
        side(size),
        Decimal(result["price"]),
        abs(size),
        result["fee"],
        name.split(":")[1],
        ns(result["create_time_ms"]),
        is_maker=result["role"] == "maker",
        client_order_id=own_text(result),
    )


def futures_balance(result: Json) -> BalanceUpdate:
    currency = result["currency"].upper() if "currency" in result else "USDT"
    return BalanceUpdate(FUTURES, currency, result["balance"], None, None, ns(result["time_ms"]), reason=result["type"])


def position(result: Json) -> PositionUpdate:
    return PositionUpdate(
        FUTURES,
        contract(result["contract"]),
        Decimal(result["size"]),
        result["entry_price"],
        ns(result["time_ms"]),
        mode=result["mode"],
        leverage=result["leverage"] or None,
        margin=result["margin"],
        realised_pnl=result["realised_pnl"],
        liquidation_price=result["liq_price"],
    )


def liquidation(result: Json) -> RiskNotice:
    name, closed = contract(result["contract"]), abs(Decimal(result["size"]))
    return RiskNotice(FUTURES, name, RiskKind.LIQUIDATED, closed, result["fill_price"], None, ns(result["time_ms"]))


def rank(result: Json) -> RiskNotice:
    name, place = contract(result["contract"]), int(result["rank_division"])
    return RiskNotice(FUTURES, name, RiskKind.DELEVERAGING_RANK, None, None, place, ns(result["time_ms"]))


SPOT_READERS: dict[str, Read] = {
    "spot.orders": order,
    "spot.orders_v2": order,
    "spot.usertrades": fill,
    "spot.usertrades_v2": fill,
    "spot.balances": balance,
}
FUTURES_READERS: dict[str, Read] = {
    "futures.orders": futures_order,
    "futures.usertrades": futures_fill,
    "futures.balances": futures_balance,
    "futures.positions": position,
    "futures.liquidates": liquidation,
    "futures.position_adl_rank": rank,
}
READERS = {VENUE: SPOT_READERS, FUTURES: FUTURES_READERS}


def expected(raw: str, venue: str) -> list[Message]:
    """What a frame says on a private socket of ``venue``, read independently of the codec."""
    frame: Json = json.loads(raw, parse_float=Decimal, parse_int=Decimal)
    channel, event = frame.get("channel", ""), frame.get("event")
    if channel in READERS[venue] and event == "update":
        return [READERS[venue][channel](result) for result in frame["result"]]
    if event not in ("subscribe", "unsubscribe") and channel != gateio_reading.PREFIXES[venue] + "pong":
        return [Unknown(channel, event or "")]
    (message,) = gateio_reading.expected(json.loads(raw), venue)
    assert isinstance(message, Acknowledgement | Pong)
    if isinstance(message, Acknowledgement) and event == "subscribe":
        message.confirms_login = (
            message.error is None
            and channel in (*READERS[venue], "futures.auto_deleverages")
            and (channel.partition(".")[0] == venue.partition("_")[2])
        )
    return [message]
