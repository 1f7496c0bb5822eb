"""Writes ``examples/mexc_spot.jsonl`` anew: a short stretch of a made-up MEXC market in the capture format. Run as ``python -m``."""

import json
import random
from collections.abc import Iterator
from typing import Any

from tests.harness import mexc_frames as frames
from tests.harness.captures import ROOT
from tests.harness.mexc_frames import (
    BOOK_TICKER,
    BOOK_TICKER_BATCH,
    DEALS,
    DEPTH,
    KLINE,
    LIMIT_DEPTH,
    MINI_TICKER,
    MINI_TICKERS,
    levels,
    push,
)

PATH = ROOT / "examples" / "mexc_spot.jsonl"
WEBSOCKET = "wss://wbs-api.mexc.com/ws"
REST = "https://api.mexc.com"
OPENED_MS = 1_790_000_000_000
STEP_MS = 100
STEPS = 30
Book = dict[int, int]


class Pair:
    """One market. Prices are counted in cents, quantities in hundredths."""

    def __init__(self, base: str, cents: int, dice: random.Random) -> None:
        self.base, self.native = base, f"{base}USDT"
        self._cents, self._dice = cents, dice
        self.version = 70_000_000_000 + cents
        self.bids: Book = {cents - step: dice.randrange(1, 500) for step in range(1, 9)}
        self.asks: Book = {cents + step: dice.randrange(1, 500) for step in range(1, 9)}

    def depth(self, ms: int) -> bytes:
        """A few changes, one version each."""
        first = self.version + 1
        told: dict[str, Book] = {"bids": {}, "asks": {}}
        for _ in range(self._dice.randrange(1, 5)):
            side = self._dice.choice(("bids", "asks"))
            book: Book = getattr(self, side)
            step = self._dice.randrange(2, 12)
            price = self._cents + (step if side == "asks" else -step)
            quantity = self._dice.choice((0, self._dice.randrange(1, 500)))
            book[price] = told[side][price] = quantity
            if not quantity:
                del book[price]
            self.version += 1
        sides = {side: levels([(plain(price), plain(quantity)) for price, quantity in changes.items()]) for side, changes in told.items()}
        versions = {"eventType": f"{DEPTH}@100ms", "fromVersion": str(first), "toVersion": str(self.version)}
        return self._push(f"{DEPTH}@100ms@{self.native}", "publicAggreDepths", ms, sides | versions | {"lastOrderCreateTime": ms - 7})

    def deals(self, ms: int) -> bytes:
        """One to three deals at the best prices."""
        made = []
        for number in range(self._dice.randrange(1, 4)):
            trade_type = self._dice.choice((1, 2))
            price = min(self.asks) if trade_type == 1 else max(self.bids)
            values = {
                "price": plain(price),
                "quantity": plain(self._dice.randrange(1, 50)),
                "tradeType": trade_type,
                "time": ms - 9 + number,
            }
            made.append(values | {"tradeId": f"{self.version}{number}X0_{self.version}{number + 1}X0"})
        return self._push(f"{DEALS}@100ms@{self.native}", "publicAggreDeals", ms, {"deals": made, "eventType": f"{DEALS}@100ms"})

    def best(self) -> dict[str, str]:
        """The best of both sides."""
        bid, ask = max(self.bids), min(self.asks)
        return {
            "bidPrice": plain(bid),
            "bidQuantity": plain(self.bids[bid]),
            "askPrice": plain(ask),
            "askQuantity": plain(self.asks[ask]),
        }

    def book_ticker(self, ms: int) -> bytes:
        """The best of both sides, at the version of the book."""
        more = {"version": str(self.version), "lastOrderCreateTime": ms - 7}
        return self._push(f"{BOOK_TICKER}@100ms@{self.native}", "publicAggreBookTicker", ms, self.best() | more)

    def book_ticker_batch(self, ms: int) -> bytes:
        """The same as a batch of one."""
        values = {"items": [self.best()], "version": str(self.version)}
        return self._push(f"{BOOK_TICKER_BATCH}@{self.native}", "publicBookTickerBatch", ms, values)

    def limit_depth(self, ms: int) -> bytes:
        """The best five levels, padded as the venue does."""
        bids = sorted(self.bids.items(), reverse=True)[:5]
        asks = sorted(self.asks.items())[:5]
        sides = {
            "asks": levels([(padded(price), padded(quantity)) for price, quantity in asks]),
            "bids": levels([(padded(price), padded(quantity)) for price, quantity in bids]),
        }
        values = sides | {"eventType": LIMIT_DEPTH, "version": str(self.version)}
        return self._push(f"{LIMIT_DEPTH}@{self.native}@5", "publicLimitDepths", ms, values)

    def kline(self, ms: int) -> bytes:
        """A bar of one minute that has not moved."""
        window = ms // 60_000 * 60
        prices = dict.fromkeys(("openingPrice", "closingPrice", "highestPrice", "lowestPrice"), plain(self._cents))
        values = {"interval": "Min1", "windowStart": window} | prices | {"volume": "1.5", "amount": plain(self._cents * 3 // 2)}
        wrapper = {"channel": f"{KLINE}@{self.native}@Min1", "symbol": self.native, "symbolId": f"{self._cents:032x}", "createTime": ms}
        return frames.encode(wrapper | {"publicSpotKline": values | {"windowEnd": window + 60}})

    def ticker(self) -> dict[str, str]:
        """24 hours in which little has happened."""
        rates = dict.fromkeys(("rate", "zonedRate"), "0.0067")
        volumes = {"volume": plain(self._cents * 40), "quantity": "40"}
        return (
            {"symbol": self.native, "price": plain(self._cents)}
            | rates
            | {"high": plain(self._cents + 9), "low": plain(self._cents - 9)}
            | volumes
        )

    def mini_ticker(self, ms: int) -> bytes:
        """The same for this pair alone."""
        return self._push(f"{MINI_TICKER}@{self.native}@24H", "publicMiniTicker", ms, self.ticker())

    def rest(self, ms: int) -> bytes:
        """The whole book, padded."""
        sides = {
            "bids": [[padded(price), padded(quantity)] for price, quantity in sorted(self.bids.items(), reverse=True)],
            "asks": [[padded(price), padded(quantity)] for price, quantity in sorted(self.asks.items())],
        }
        return json.dumps({"lastUpdateId": self.version} | sides | {"timestamp": ms}).encode()

    def info(self) -> dict[str, Any]:
        """Its line in the list of instruments."""
        precisions = {"baseAssetPrecision": 2, "quotePrecision": 2, "quoteAssetPrecision": 2}
        least = {"baseSizePrecision": "0.01", "quoteAmountPrecision": "1.000000000000000000"}
        return {"symbol": self.native, "status": "1", "baseAsset": self.base, "quoteAsset": "USDT"} | precisions | least

    def _push(self, stream: str, body: str, ms: int, values: dict[str, Any]) -> bytes:
        return push(stream, body, values, symbol=self.native, sendTime=ms)


def plain(hundredths: int) -> str:
    """Without padding, as most channels have it."""
    return padded(hundredths).rstrip("0").rstrip(".")


def padded(hundredths: int) -> str:
    """With two decimals."""
    return f"{hundredths // 100}.{hundredths % 100:02d}"


def market() -> tuple[list[dict[str, object]], dict[str, Pair]]:
    """The lines of the file, and the pairs as they stand at its end."""
    dice = random.Random(7)
    pairs = [Pair("BTC", 8_427_000, dice), Pair("ETH", 471_400, dice)]
    lines: list[dict[str, object]] = []

    def add(ms: int, kind: str, url: str, raw: bytes) -> None:
        said = {"raw": raw.decode()} if raw.startswith(b"{") else {"hex": raw.hex()}
        lines.append({"t": (ms + len(lines) * 0.01) / 1000, "dir": kind, "url": url} | said)

    add(OPENED_MS, "http", f"{REST}/api/v3/exchangeInfo", frames.exchange_info(*(pair.info() for pair in pairs)))
    streams = [f"{channel}@100ms@{pair.native}" for channel in (DEPTH, DEALS, BOOK_TICKER) for pair in pairs]
    asked = {"method": "SUBSCRIPTION", "params": streams, "id": 1}
    add(OPENED_MS, "out", WEBSOCKET, json.dumps(asked).encode())
    add(OPENED_MS, "in", WEBSOCKET, frames.answer(",".join(streams), request_id=1))
    for step in range(1, STEPS + 1):
        ms = OPENED_MS + step * STEP_MS
        for pair in pairs:
            for raw in step_of(pair, step, ms):
                add(ms, "in", WEBSOCKET, raw)
            if step == 3:
                add(ms, "http", f"{REST}/api/v3/depth?symbol={pair.native}&limit=1000", pair.rest(ms))
        if step == 20:
            tickers = {"items": [pair.ticker() for pair in pairs]}
            add(ms, "in", WEBSOCKET, push(f"{MINI_TICKERS}@24H", "publicMiniTickers", tickers, symbol=None, sendTime=ms))
        if step % 15 == 0:
            add(ms, "out", WEBSOCKET, b'{"method":"PING"}')
            add(ms, "in", WEBSOCKET, frames.PONG)
    return lines, {f"{pair.base}/USDT": pair for pair in pairs}


def step_of(pair: Pair, step: int, ms: int) -> Iterator[bytes]:
    """What one pair sends at one moment."""
    yield pair.depth(ms)
    if step % 2:
        yield pair.deals(ms)
    yield pair.book_ticker(ms)
    if step % 10 == 5:
        yield from (pair.book_ticker_batch(ms), pair.limit_depth(ms), pair.kline(ms), pair.mini_ticker(ms))
    if step % 10 == 9:
        yield frames.without_body(f"{DEALS}@100ms@{pair.native}", symbol=pair.native, sendTime=ms)


def main() -> None:
    """Two pairs, every channel, books from REST."""
    lines, _ = market()
    PATH.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")


if __name__ == "__main__":
    main()
