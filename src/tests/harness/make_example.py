"""Writes ``examples/*.jsonl`` anew: short stretches of generated markets in the capture format. Run as ``python -m``."""

import json
from collections.abc import Mapping
from urllib.parse import urlencode

from infrastructure.exchanges import venue_named
from infrastructure.simulator.gateio_frames import GateioMarkets
from infrastructure.simulator.gateio_futures import GateioFuturesMarkets
from infrastructure.simulator.gateio_spot import GateioSpotMarkets
from infrastructure.simulator.market import OPENED_MS
from infrastructure.simulator.mexc_spot import MexcSpotMarkets
from tests.harness.captures import ROOT

SYMBOLS = ("BTC/USDT", "ETH/USDT")
FRAMES = 240


def write(name: str, markets: GateioMarkets | MexcSpotMarkets, seeded: Mapping[int, str], instruments: bytes | None = None) -> None:
    """Two pairs; after so many frames the REST book of a ``seeded`` one; before them what is traded, if it is told."""
    venue = venue_named(name)
    lines: list[dict[str, object]] = []

    def add(kind: str, url: str, raw: bytes) -> None:
        content = {"raw": raw.decode()} if raw[:1] in b"{[" else {"hex": raw.hex()}
        lines.append({"t": OPENED_MS / 1000 + len(lines) * 0.004, "dir": kind, "url": url} | content)

    if instruments is not None:
        add("http", venue.rest_url + venue.instruments_path, instruments)
    for sent in markets.opening():
        add("in", venue.websocket_url, sent.raw)
    for number in range(FRAMES):
        add("in", venue.websocket_url, markets.next().raw)
        if number in seeded:
            symbol = seeded[number]
            query = {venue.snapshot_symbol_key: markets.native(symbol), **venue.snapshot_query[""]}
            add("http", f"{venue.rest_url}{venue.snapshot_path}?{urlencode(query)}", markets.snapshot(symbol))
    path = ROOT / "examples" / f"{name}.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def main() -> None:
    """All examples."""
    write("gateio_spot", GateioSpotMarkets(SYMBOLS, seed=7), {12: "BTC/USDT"})
    write("gateio_futures", GateioFuturesMarkets(("BTC/USDT:USDT", "ETH/USDT:USDT"), seed=7), {12: "BTC/USDT:USDT"})
    mexc = MexcSpotMarkets(SYMBOLS, seed=7)
    write("mexc_spot", mexc, {12: "BTC/USDT", 20: "ETH/USDT"}, mexc.instruments())


if __name__ == "__main__":
    main()
