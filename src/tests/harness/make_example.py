"""Writes the captures of ``examples/`` anew: short stretches of generated markets in the capture format. Run as ``python -m``."""

import json

from infrastructure.exchanges import venue_named
from infrastructure.simulator.gateio_spot import GateioSpotMarkets
from infrastructure.simulator.market import OPENED_MS
from infrastructure.simulator.mexc_spot import MexcSpotMarkets
from infrastructure.venue import Venue
from tests.harness.captures import ROOT

SYMBOLS = ("BTC/USDT", "ETH/USDT")
FRAMES = 240


class Example:
    """The capture of one venue, a line each 4 ms."""

    def __init__(self, name: str) -> None:
        self.venue: Venue = venue_named(name)
        self._lines: list[dict[str, object]] = []

    def frame(self, raw: bytes) -> None:
        """A frame came; those that are no JSON are binary."""
        content = {"raw": raw.decode()} if raw.startswith(b"{") else {"hex": raw.hex()}
        self._add("in", self.venue.websocket_url, content)

    def rest(self, path: str, body: bytes) -> None:
        """A REST answer came."""
        self._add("http", self.venue.rest_url + path, {"raw": body.decode()})

    def book(self, native: str, options: str, body: bytes) -> None:
        """A REST book came."""
        self.rest(f"{self.venue.snapshot_path}?{self.venue.snapshot_symbol_key}={native}&{options}", body)

    def write(self) -> None:
        """Put it into its file."""
        path = ROOT / "examples" / f"{self.venue.name}.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in self._lines))

    def _add(self, kind: str, url: str, content: dict[str, str]) -> None:
        self._lines.append({"t": OPENED_MS / 1000 + len(self._lines) * 0.004, "dir": kind, "url": url} | content)


def gateio_spot() -> None:
    """Two pairs, one with a REST-seeded book and one with ``obu``."""
    example, markets = Example("gateio_spot"), GateioSpotMarkets(SYMBOLS, seed=7)
    for sent in markets.opening():
        example.frame(sent.raw)
    for number in range(FRAMES):
        example.frame(markets.next().raw)
        if number == 12:
            example.book("BTC_USDT", "limit=100&with_id=true", markets.snapshot("BTC/USDT"))
    example.write()


def mexc_spot() -> None:
    """Two pairs, whose books come by REST after their first pushes, and what is traded."""
    example, markets = Example("mexc_spot"), MexcSpotMarkets(SYMBOLS, seed=7)
    example.rest("/api/v3/exchangeInfo", markets.instruments())
    for sent in markets.opening():
        example.frame(sent.raw)
    for number in range(FRAMES):
        example.frame(markets.next().raw)
        if number in (12, 20):
            symbol = SYMBOLS[number // 20]
            example.book(symbol.replace("/", ""), "limit=1000", markets.snapshot(symbol))
    example.write()


def main() -> None:
    """All of them."""
    gateio_spot()
    mexc_spot()


if __name__ == "__main__":
    main()
