"""What a Gate.io spot capture says, read from its text with the standard library alone: the reference that replays are held against."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

Side = dict[float, float]


class Reading:
    """Books, trades, tickers and candles of one capture file."""

    def __init__(self, path: Path) -> None:
        self.trades: list[tuple[Any, ...]] = []
        self.tickers: list[tuple[Any, ...]] = []
        self.candles: list[tuple[Any, ...]] = []
        self.books: dict[str, tuple[int, Side, Side]] = {}
        self._early: dict[str, list[Any]] = {}
        for text in path.read_text().splitlines():
            line = json.loads(text)
            if line["dir"] == "in":
                self._frame(json.loads(line["raw"]))
            elif line["dir"] == "http" and urlsplit(line["url"]).path.endswith("/order_book"):
                pair = parse_qs(urlsplit(line["url"]).query)["currency_pair"][0]
                self._snapshot(pair.replace("_", "/"), json.loads(line["raw"]))

    def _frame(self, frame: dict[str, Any]) -> None:
        result = frame["result"]
        if frame["event"] != "update":
            return
        if frame["channel"] == "spot.trades":
            row = (result["currency_pair"].replace("_", "/"), str(result["id"]), result["side"], float(result["price"]))
            self.trades.append((*row, float(result["amount"]), result["create_time_ms"]))
        elif frame["channel"] == "spot.tickers":
            names = ("last", "highest_bid", "lowest_ask", "high_24h", "low_24h", "base_volume", "quote_volume", "change_percentage")
            self.tickers.append((result["currency_pair"].replace("_", "/"), *(float(result[name]) for name in names)))
        elif frame["channel"] == "spot.candlesticks":
            interval, pair = result["n"].split("_", 1)
            self.candles.append((pair.replace("_", "/"), interval, int(result["t"]), *(float(result[name]) for name in "ohlcv")))
        elif frame["channel"] == "spot.order_book_update":
            symbol = result["s"].replace("_", "/")
            if symbol in self.books:
                self._update(symbol, result)
            else:
                self._early.setdefault(symbol, []).append(result)

    def _snapshot(self, symbol: str, body: dict[str, Any]) -> None:
        bids, asks = ({float(price): float(amount) for price, amount in body[side]} for side in ("bids", "asks"))
        self.books[symbol] = body["id"], bids, asks
        for result in self._early.get(symbol, []):
            self._update(symbol, result)

    def _update(self, symbol: str, result: dict[str, Any]) -> None:
        last_id, bids, asks = self.books[symbol]
        if result["u"] <= last_id:
            return
        assert result["U"] <= last_id + 1, "the capture has no gap"
        for side, levels in ((bids, result["b"]), (asks, result["a"])):
            for price, amount in levels:
                if float(amount):
                    side[float(price)] = float(amount)
                else:
                    side.pop(float(price), None)
        self.books[symbol] = result["u"], bids, asks
