"""Writes ``examples/*.jsonl`` anew: short stretches of generated markets in the capture format. Run as ``python -m``."""

import json
from urllib.parse import urlencode

from infrastructure.exchanges import venue_named
from infrastructure.simulator.gateio_frames import GateioMarkets
from infrastructure.simulator.gateio_futures import GateioFuturesMarkets
from infrastructure.simulator.gateio_spot import GateioSpotMarkets
from infrastructure.simulator.market import OPENED_MS
from tests.harness.captures import ROOT

FRAMES = 240


def write(name: str, markets: GateioMarkets, seeded: str) -> None:
    """Two pairs, ``seeded`` with a REST-seeded book and one with ``obu``."""
    venue = venue_named(name)
    lines: list[dict[str, object]] = []

    def add(kind: str, url: str, raw: bytes) -> None:
        lines.append({"t": OPENED_MS / 1000 + len(lines) * 0.004, "dir": kind, "url": url, "raw": raw.decode()})

    for sent in markets.opening():
        add("in", venue.websocket_url, sent.raw)
    for number in range(FRAMES):
        add("in", venue.websocket_url, markets.next().raw)
        if number == 12:
            query = {venue.snapshot_symbol_key: markets.native(seeded), **venue.snapshot_query[""]}
            add("http", f"{venue.rest_url}{venue.snapshot_path}?{urlencode(query)}", markets.snapshot(seeded))
    path = ROOT / "examples" / f"{name}.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def main() -> None:
    """All examples."""
    write("gateio_spot", GateioSpotMarkets(("BTC/USDT", "ETH/USDT"), seed=7), "BTC/USDT")
    write("gateio_futures", GateioFuturesMarkets(("BTC/USDT:USDT", "ETH/USDT:USDT"), seed=7), "BTC/USDT:USDT")


if __name__ == "__main__":
    main()
