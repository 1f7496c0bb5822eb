"""A capture that is served over a socket gives what a replay of its file gives: the same events in the same order, to the byte."""

import asyncio
import json
import re
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from infrastructure.canonical import EventDigest
from infrastructure.capture import CaptureLine, read_capture
from infrastructure.events import Architecture
from infrastructure.feed import open_feed
from infrastructure.networking.websocket.ws_manager import WebSocketManager
from infrastructure.replay import CALLBACK_NAMES, ReplaySummary, replay
from infrastructure.simulator.launch import SideChannel, simulated_exchange
from tests.harness.captures import ROOT
from tests.harness.live import until
from tests.harness.mexc_schema import read_push
from tests.harness.variants import VARIANTS, Variant

SPOT, FUTURES, BINARY = "gateio_spot", "gateio_futures", "mexc_spot"
SWITCH_EVERY_S = 0.003
#: So that there are frames between any two switches, and reads end in the middle of frames.
SLOWLY = "drip=200000"


def pushed_streams(lines: list[CaptureLine]) -> dict[str, list[str]]:
    """The symbols of each native channel whose binary pushes there are."""
    streams: dict[str, dict[str, None]] = {}
    for line in lines:
        if line.hex is not None:
            push = read_push(line.frame)
            channel = "@".join(push["channel"].split("@")[:2])
            natives = [push["symbol"]] if "symbol" in push else [item["symbol"] for item in push["publicMiniTickers"]["items"]]
            streams.setdefault(channel, {}).update(dict.fromkeys(native.replace("USDT", "/USDT") for native in natives))
    return {channel: list(symbols) for channel, symbols in streams.items()}


def recorded_streams(venue: str, lines: list[CaptureLine]) -> dict[str, list[str]]:
    """The symbols of each native channel that the recording's requests name, or its pushes where it has none."""
    requests = [json.loads(line.frame) for line in lines if line.dir == "out"]
    pushes = [frame for line in lines if line.dir == "in" and (frame := json.loads(line.frame))["event"] == "update"]
    streams: dict[str, dict[str, None]] = {}
    for message in requests or pushes:
        named = json.dumps(message["payload"] if requests else message["result"])
        for base, quote in re.findall(r"(?:[a-z0-9]+_|ob\.|\b)([A-Z0-9]+)_([A-Z]+)\b", named):
            symbol = f"{base}/{quote}" if venue == SPOT else f"{base}/{quote}:{quote}"
            streams.setdefault(message["channel"], {})[symbol] = None
    return {channel: list(symbols) for channel, symbols in streams.items()}


async def switching(feed: WebSocketManager) -> None:
    """Change the architecture, again and again."""
    while True:
        await asyncio.sleep(SWITCH_EVERY_S)
        feed.switch(feed.architecture.other)


async def served(
    exchange: SideChannel,
    streams: dict[str, list[str]],
    reference: ReplaySummary,
    variant: Variant,
    meanwhile: Callable[[WebSocketManager], Coroutine[Any, Any, None]] | None = None,
) -> WebSocketManager:
    """Read the whole recording off the socket and hold it against its replay."""
    digest = EventDigest()
    callbacks: dict[str, Any] = dict.fromkeys(CALLBACK_NAMES, digest.add)
    async with open_feed(
        exchange.venue,
        architecture=variant.architecture,
        adapted=variant.adapted,
        websocket_url=exchange.websocket_url,
        rest_url=exchange.rest_url,
        **callbacks,
    ) as feed:
        # A recording has fewer acknowledgements than this client has requests, if another client made it.
        tasks = [asyncio.create_task(feed.subscribe(symbols, [channel])) for channel, symbols in streams.items()]
        if meanwhile is not None:
            tasks.append(asyncio.create_task(meanwhile(feed)))
        await until(lambda: sum(digest.counts.values()) >= sum(reference.events.values()), what="as many events as the replay has")
        for task in tasks:
            task.cancel()
        await feed.drain()
        assert dict(sorted(digest.counts.items())) == reference.events
        assert digest.sha256 == reference.events_sha256
        assert {symbol: (book.last_id, book.bids, book.asks) for symbol, book in sorted(feed.books.items())} == {
            symbol: (book.last_id, book.bids, book.asks) for symbol, book in reference.books.items()
        }
        assert feed.accounting.is_balanced and feed.connects == 1
    return feed


def check(venue: str, path: Path) -> None:
    lines = read_capture(path)
    streams = pushed_streams(lines) if any(line.hex is not None for line in lines) else recorded_streams(venue, lines)

    async def main() -> None:
        reference = await replay(lines, venue, Architecture.DIRECT)
        async with simulated_exchange(venue, "--capture", str(path)) as exchange:
            for variant in VARIANTS:
                await served(exchange, streams, reference, variant)
            await exchange.fault(SLOWLY)
            feed = await served(exchange, streams, reference, VARIANTS[0], switching)
            assert feed.switches > 20

    asyncio.run(main())


@pytest.mark.parametrize("venue", [SPOT, FUTURES, BINARY])
def test_the_shipped_capture(venue: str) -> None:
    check(venue, ROOT / "examples" / f"{venue}.jsonl")


def test_the_real_capture(captures: Path) -> None:
    check(SPOT, captures / "gateio_spot.jsonl")
