"""Gate.io's recorded and documented frames, read a second time with nothing but ``json``, ``float`` and ``Decimal``."""

import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from infrastructure.events import BookTicker, Candle, Side, Ticker, Trade
from infrastructure.feed import OfflineFeed
from infrastructure.venue import Acknowledgement, BookUpdate, Message, Pong, Unknown
from tests.harness import frames, futures_frames
from tests.harness.captures import Reading, Told, lines

FILES = ("gateio_spot", "gateio_recent", "gateio_spot_examples", "gateio_futures_examples")
VENUE, FUTURES = "gateio_spot", "gateio_futures"
Json = dict[str, Any]
#: Channels of either market that need a key.
PRIVATE = {
    *("orders", "orders_v2", "priceorders", "autoorders", "usertrades", "usertrades_v2", "liquidates", "auto_deleverages"),
    *("positions", "position_closes", "position_adl_rank", "reduce_risk_limits"),
    *("balances", "margin_balances", "funding_balances", "cross_balances", "cross_loan"),
}


def inbound(captures: Path, *files: str) -> Iterator[tuple[str, Json]]:
    """Each received frame, as text and as plain data."""
    for file in files or FILES:
        for line in lines(captures / f"{file}.jsonl"):
            if line["dir"] == "in":
                yield line["raw"], json.loads(line["raw"])


def sent_ns(frame: Json) -> int | None:
    if frame.get("time_ms"):
        return int(frame["time_ms"]) * 10**6
    return int(frame["time"]) * 10**9 if frame.get("time") else None


def number(text: str | None) -> float | None:
    return float(text) if text else None


def levels(pairs: list[list[str]]) -> list[tuple[float, float]]:
    return [(float(price), float(amount)) for price, amount in pairs]


def symbol(pair: str) -> str:
    base, quote = pair.split("_")
    return f"{base}/{quote}"


def contract(name: str) -> str:
    settled_in = {"USDT": "USDT", "USD": "BTC"}[name.split("_")[1]]
    return f"{symbol(name)}:{settled_in}"


def trade(result: Json, frame: Json) -> Trade:
    price, amount = float(result["price"]), float(result["amount"])
    ns = int(Decimal(result["create_time_ms"]) * 10**6)
    return Trade(VENUE, symbol(result["currency_pair"]), str(result["id"]), Side(result["side"]), price, amount, ns)


def book_ticker(result: Json, frame: Json) -> BookTicker:
    return BookTicker(
        VENUE,
        symbol(result["s"]),
        update_id=result["u"],
        bid_price=number(result["b"]),
        bid_amount=number(result["B"]),
        ask_price=number(result["a"]),
        ask_amount=number(result["A"]),
        exchange_ns=result["t"] * 10**6,
    )


def ticker(result: Json, frame: Json) -> Ticker:
    return Ticker(
        VENUE,
        symbol(result["currency_pair"]),
        last=number(result["last"]),
        bid_price=number(result["highest_bid"]),
        ask_price=number(result["lowest_ask"]),
        high=number(result["high_24h"]),
        low=number(result["low_24h"]),
        base_volume=number(result["base_volume"]),
        quote_volume=number(result["quote_volume"]),
        change_percent=number(result["change_percentage"]),
        exchange_ns=sent_ns(frame),
    )


def candle(result: Json, frame: Json) -> Candle:
    interval, pair = result["n"].split("_", 1)
    return Candle(
        VENUE,
        symbol(pair),
        interval,
        open_ns=int(result["t"]) * 10**9,
        open=float(result["o"]),
        high=float(result["h"]),
        low=float(result["l"]),
        close=float(result["c"]),
        base_volume=number(result.get("a")),
        quote_volume=number(result["v"]),
        is_closed=result.get("w"),
        exchange_ns=sent_ns(frame),
    )


def order_book_update(result: Json, frame: Json) -> BookUpdate:
    sides = levels(result["b"]), levels(result["a"])
    is_full = result.get("full", False)
    return BookUpdate(frame["channel"], symbol(result["s"]), result["U"], result["u"], *sides, is_full, result["t"] * 10**6)


def obu(result: Json, frame: Json) -> BookUpdate:
    sides = levels(result.get("b", [])), levels(result.get("a", []))
    first_id = int(result.get("U") or result["u"])
    name = symbol(result["s"].split(".")[1])
    is_full = result.get("full", False)
    depth = int(result["s"].split(".")[2]) if is_full else None
    return BookUpdate(frame["channel"], name, first_id, result["u"], *sides, is_full, result["t"] * 10**6, depth)


def order_book(result: Json, frame: Json) -> BookUpdate:
    book_id = result["lastUpdateId"]
    sides = levels(result["bids"]), levels(result["asks"])
    return BookUpdate(frame["channel"], symbol(result["s"]), book_id, book_id, *sides, True, result["t"] * 10**6)


def futures_trade(result: Json, frame: Json) -> Trade:
    size, ms = Decimal(result["size"]), result.get("create_time_ms")
    return Trade(
        FUTURES,
        contract(result["contract"]),
        str(result["id"]),
        Side.SELL if size < 0 else Side.BUY,
        price=float(result["price"]),
        amount=float(abs(size)),
        exchange_ns=ms * 10**6 if ms else result["create_time"] * 10**9,
        is_internal=result.get("is_internal", False),
    )


def futures_book_ticker(result: Json, frame: Json) -> BookTicker:
    bid, bid_amount, ask, ask_amount = (number(str(result[name])) for name in "bBaA")
    ns = result["t"] * 10**6
    return BookTicker(FUTURES, contract(result["s"]), result["u"], bid, bid_amount, ask, ask_amount, ns)


def futures_ticker(result: Json, frame: Json) -> Ticker:
    following = result.get("funding_next_apply")
    return Ticker(
        FUTURES,
        contract(result["contract"]),
        last=number(result.get("last")),
        bid_price=None,
        ask_price=None,
        high=number(result.get("high_24h")),
        low=number(result.get("low_24h")),
        base_volume=number(result.get("volume_24h_base")),
        quote_volume=number(result.get("volume_24h_quote")),
        change_percent=number(result.get("change_percentage")),
        exchange_ns=result["t"] * 10**6 if "t" in result else sent_ns(frame),
        mark_price=number(result.get("mark_price")),
        index_price=number(result.get("index_price")),
        funding_rate=number(result.get("funding_rate")),
        next_funding_ns=following * 10**9 if following else None,
        open_interest=number(result.get("total_size")),
    )


def futures_contract_stats(result: Json, frame: Json) -> Ticker:
    nothing: Json = dict.fromkeys(
        ("last", "bid_price", "ask_price", "high", "low", "base_volume", "quote_volume", "change_percent", "index_price", "funding_rate")
    )
    return Ticker(
        FUTURES,
        contract(result["contract"]),
        **nothing,
        exchange_ns=sent_ns(frame),
        mark_price=float(result["mark_price"]),
        open_interest=float(result["open_interest"]),
    )


def futures_candle(result: Json, frame: Json) -> Candle:
    """As of spot, but for what ``v`` is: contracts, which no candle has a place for."""
    return replace(candle(result, frame), venue=FUTURES, symbol=contract(result["n"].split("_", 1)[1]), quote_volume=None)


def objects(levels: list[Json]) -> list[tuple[float, float]]:
    return [(float(level["p"]), float(level["s"])) for level in levels]


def futures_order_book_update(result: Json, frame: Json) -> BookUpdate:
    sides, ids = (objects(result["b"]), objects(result["a"])), (result["U"], result["u"])
    return BookUpdate(frame["channel"], contract(result["s"]), *ids, *sides, result.get("full", False), result["t"] * 10**6)


def futures_obu(result: Json, frame: Json) -> BookUpdate:
    update = obu(result, frame)
    return replace(update, symbol=contract(result["s"].split(".")[1]))


def futures_order_book(result: Json, frame: Json) -> BookUpdate:
    book_id, ns = result.get("id", 0), result["t"] * 10**6 if "t" in result else sent_ns(frame)
    sides = objects(result["bids"]), objects(result["asks"])
    return BookUpdate(frame["channel"], contract(result["contract"]), book_id, book_id, *sides, True, ns)


def futures_changes(results: list[Json], frame: Json) -> BookUpdate:
    """Of the captures: one contract a frame, signed whole sizes."""
    (name,) = {result["c"] for result in results}
    bids = [(float(result["p"]), float(result["s"] if result["s"] > 0 else 0)) for result in results]
    asks = [(float(result["p"]), float(-result["s"] if result["s"] < 0 else 0)) for result in results]
    return BookUpdate(frame["channel"], contract(name), results[0]["id"], results[-1]["id"], bids, asks, False, sent_ns(frame))


Read = Callable[[Any, Json], Message]
SPOT_READERS: dict[str, Read] = {
    "spot.trades": trade,
    "spot.book_ticker": book_ticker,
    "spot.tickers": ticker,
    "spot.candlesticks": candle,
    "spot.order_book_update": order_book_update,
    "spot.obu": obu,
    "spot.order_book": order_book,
}
FUTURES_READERS: dict[str, Read] = {
    "futures.trades": futures_trade,
    "futures.book_ticker": futures_book_ticker,
    "futures.tickers": futures_ticker,
    "futures.contract_stats": futures_contract_stats,
    "futures.candlesticks": futures_candle,
    "futures.order_book_update": futures_order_book_update,
    "futures.obu": futures_obu,
    "futures.order_book": futures_order_book,
}
READERS = {VENUE: SPOT_READERS, FUTURES: FUTURES_READERS}
PREFIXES = {VENUE: "spot.", FUTURES: "futures."}


def flat(result: Any) -> list[Json]:
    """The objects of a result, however deep its lists are."""
    return [item for inner in result for item in flat(inner)] if isinstance(result, list) else [result]


def expected(frame: Json, venue: str) -> list[Message]:
    """What a frame says on a socket of ``venue``, read independently of the codec."""
    channel, event = frame.get("channel", ""), frame.get("event")
    if event in ("subscribe", "unsubscribe"):
        error = frame.get("error") or {}
        code = str(error["code"]) if error else None
        payload = tuple(str(item) for item in frame.get("payload") or ())
        return [Acknowledgement(channel, event, payload, frame.get("id"), code, error.get("message"))]
    if channel == PREFIXES[venue] + "pong":
        return [Pong(sent_ns(frame))]
    if channel in READERS[venue] and event in ("update", "all", None):
        if channel == "futures.order_book" and event == "update":
            return [futures_changes(frame["result"], frame)]
        return [READERS[venue][channel](result, frame) for result in flat(frame["result"])]
    return [Unknown(channel, event or "")]


def is_public_data(frame: Json, venue: str) -> bool:
    """Whether a frame is a push on a channel of the venue that needs no key."""
    family, _, name = frame.get("channel", "").partition(".")
    return f"{family}." == PREFIXES[venue] and frame.get("event") in ("update", "all", None) and name not in {*PRIVATE, "pong"}


FAR = [(1e-9, 1)], [(1e9, 1)]
#: By channel: a whole book at an id.
FLOORS: dict[str, Callable[[int, str], bytes]] = {
    "spot.order_book_update": lambda last, pair: frames.update(last, last, *FAR, full=True, pair=pair),
    "spot.obu": lambda last, pair: frames.obu(None, last, *FAR, full=True, pair=pair),
    "futures.order_book_update": lambda last, pair: futures_frames.update(last, last, *FAR, full=True, pair=pair),
    "futures.obu": lambda last, pair: futures_frames.obu(None, last, *FAR, full=True, pair=pair),
    "futures.order_book": lambda last, pair: futures_frames.whole_book(last, *FAR, pair=pair),
}


def floor(feed: OfflineFeed, update: BookUpdate) -> None:
    feed.deliver(FLOORS[update.channel](update.first_id - 1, update.symbol.partition(":")[0].replace("/", "_")))


def reading(venue: str) -> Reading:
    """Every frame of either market, as it is to be read on a socket of ``venue``."""

    def told(captures: Path, file: str) -> Iterator[Told]:
        for raw, frame in inbound(captures, file):
            yield Told(raw.encode(), expected(frame, venue), is_public_data(frame, venue))

    return Reading(venue, FILES, told, floor)
