"""Writes ``examples/gateio_spot.jsonl`` anew: a short stretch of a generated market in the capture format. Run as ``python -m``."""

import json

from infrastructure.exchanges import venue_named
from infrastructure.simulator.gateio_spot import GateioSpotMarkets
from infrastructure.simulator.market import OPENED_MS
from tests.harness.captures import ROOT

FRAMES = 240


def main() -> None:
    """Two pairs, one with a REST-seeded book and one with ``obu``."""
    venue = venue_named("gateio_spot")
    markets = GateioSpotMarkets(("BTC/USDT", "ETH/USDT"), seed=7)
    lines: list[dict[str, object]] = []

    def add(kind: str, url: str, raw: bytes) -> None:
        lines.append({"t": OPENED_MS / 1000 + len(lines) * 0.004, "dir": kind, "url": url, "raw": raw.decode()})

    for sent in markets.opening():
        add("in", venue.websocket_url, sent.raw)
    for number in range(FRAMES):
        add("in", venue.websocket_url, markets.next().raw)
        if number == 12:
            query = f"?{venue.snapshot_symbol_key}=BTC_USDT&limit=100&with_id=true"
            add("http", venue.rest_url + venue.snapshot_path + query, markets.snapshot("BTC/USDT"))
    path = ROOT / "examples" / "gateio_spot.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


if __name__ == "__main__":
    main()
