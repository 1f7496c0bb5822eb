"""Writes ``examples/*.jsonl`` anew: short stretches of generated markets in the capture format. Run as ``python -m``."""

import json
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit

from infrastructure.exchanges import venue_named
from infrastructure.simulator.exchange import EVERY, Client
from infrastructure.simulator.faults import Faults
from infrastructure.simulator.gateio_frames import GateioMarkets
from infrastructure.simulator.gateio_futures import GateioFuturesMarkets
from infrastructure.simulator.gateio_spot import GateioSpotMarkets
from infrastructure.simulator.market import OPENED_MS, Market
from infrastructure.simulator.mexc_spot import CHANNELS, KLINE, LIMIT_DEPTH, MINI_TICKER, MINI_TICKERS, stream_name
from infrastructure.simulator.mexc_spot_exchange import MexcSpotExchange
from tests.harness.captures import ROOT

SYMBOLS = ("BTC/USDT", "ETH/USDT")
FRAMES = 240
#: Events of the market of binary frames, each of which is pushed on every channel of its kind.
EVENTS = 150
#: Before these its REST books come, and before this one an application's ping and a push that says nothing.
BOOKS = {13: "BTC/USDT", 21: "ETH/USDT"}
PING = 50

Lines = list[dict[str, object]]


class Example(NamedTuple):
    """The lines of a capture, and by symbol the markets as they stand at its end."""

    lines: Lines
    markets: dict[str, Market]


def add_line(lines: Lines, kind: str, url: str, raw: bytes) -> None:
    """A line each 4 ms; what is no JSON is binary."""
    content = {"raw": raw.decode()} if raw[:1] in b"{[" else {"hex": raw.hex()}
    lines.append({"t": OPENED_MS / 1000 + len(lines) * 0.004, "dir": kind, "url": url} | content)


def text_frames(name: str, markets: GateioMarkets, seeded: str) -> Example:
    """Two pairs, ``seeded`` with a REST-seeded book and one with ``obu``."""
    venue = venue_named(name)
    lines: Lines = []
    for sent in markets.opening():
        add_line(lines, "in", venue.websocket_url, sent.raw)
    for number in range(FRAMES):
        add_line(lines, "in", venue.websocket_url, markets.next().raw)
        if number == 12:
            query = {venue.snapshot_symbol_key: markets.native(seeded), **venue.snapshot_query[""]}
            add_line(lines, "http", f"{venue.rest_url}{venue.snapshot_path}?{urlencode(query)}", markets.snapshot(seeded))
    return Example(lines, dict(markets.markets))


def binary_frames() -> Example:
    """Two pairs with every channel, whose books come by REST after their first pushes, and the list of what is traded."""
    venue = venue_named("mexc_spot")
    exchange, client = MexcSpotExchange(SYMBOLS, 7, Faults(CHANNELS, seed=7)), Client()
    options = {LIMIT_DEPTH: "5", KLINE: "Min1", MINI_TICKER: "24H", MINI_TICKERS: "24H"}
    streams = {
        name: [
            stream_name(name, symbol, options.get(name, channel.options[0])) for symbol in ((EVERY,) if name == MINI_TICKERS else SYMBOLS)
        ]
        for name, channel in CHANNELS.items()
    }
    lines: Lines = []

    def rest(path: str) -> None:
        parts = urlsplit(path)
        answer = exchange.get(parts.path, dict(parse_qsl(parts.query)), OPENED_MS + len(lines) * 4)
        add_line(lines, "http", venue.rest_url + path, answer.body.encode())

    def ask(request: dict[str, object]) -> None:
        text = json.dumps(request)
        add_line(lines, "out", venue.websocket_url, text.encode())
        reply = exchange.reply(text, client, OPENED_MS)
        client.topics.update(reply.begun)
        assert isinstance(reply.answer, str) and not reply.more
        add_line(lines, "in", venue.websocket_url, reply.answer.encode())

    rest(venue.instruments_path)
    for names in streams.values():
        ask({"method": "SUBSCRIPTION", "params": names})
    topics = sorted(client.topics)
    for number in range(EVENTS):
        if number in BOOKS:
            query = {venue.snapshot_symbol_key: exchange.native(BOOKS[number]), **venue.snapshot_query[""]}
            rest(f"{venue.snapshot_path}?{urlencode(query)}")
        now_ms = OPENED_MS + len(lines) * 4
        if number == PING:
            ask({"method": "PING"})
            add_line(lines, "in", venue.websocket_url, exchange.bodyless(topics[0], now_ms))
        event = exchange.trading.next(now_ms)
        for topic in topics:
            if exchange.kind_of(topic.channel) == event.kind and event.market.symbol in exchange.heard(topic):
                add_line(lines, "in", venue.websocket_url, exchange.push(topic, event, now_ms))
    return Example(lines, exchange.trading.markets)


#: By venue.
EXAMPLES: dict[str, Callable[[], Example]] = {
    "gateio_spot": lambda: text_frames("gateio_spot", GateioSpotMarkets(SYMBOLS, seed=7), "BTC/USDT"),
    "gateio_futures": lambda: text_frames(
        "gateio_futures", GateioFuturesMarkets(("BTC/USDT:USDT", "ETH/USDT:USDT"), seed=7), "BTC/USDT:USDT"
    ),
    "mexc_spot": binary_frames,
}


def main() -> None:
    """All examples."""
    for name, made in EXAMPLES.items():
        path = ROOT / "examples" / f"{name}.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in made().lines))


if __name__ == "__main__":
    main()
