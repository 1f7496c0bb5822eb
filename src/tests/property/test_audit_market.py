"""Books of the simulated exchange against its own tickers: right ones are never found wrong, wrong ones are always found."""

import asyncio
import json
import random
from typing import Any

import pytest

from infrastructure.audit import AuditCounts
from infrastructure.book_sync import FetchSnapshot
from infrastructure.events import GapReason
from infrastructure.feed import OfflineFeed
from infrastructure.simulator.gateio_spot import GateioSpotMarkets
from infrastructure.simulator.market import Market, Sent
from tests.harness.effort import is_soak
from tests.harness.frames import Seen
from tests.harness.variants import VARIANTS, Variant, assert_accounts

SYMBOLS = ("BTC/USDT", "ETH/USDT")
UPDATES = 1_000_000 if is_soak() else 4_000
CORRUPTIONS = 1_000 if is_soak() else 250
EACH = pytest.mark.parametrize("variant", VARIANTS, ids=str)


def counts(feed: OfflineFeed) -> AuditCounts:
    return feed._session.audit


def is_of(sent: Sent, kind: str) -> bool:
    return sent.stream is not None and sent.stream[0] == kind


async def answered(feed: OfflineFeed, markets: GateioSpotMarkets) -> None:
    """Give the feed every book that it asks for, until it asks for no more."""
    await feed.drain()
    while requests := feed.take_requests():
        for request in requests:
            if isinstance(request, FetchSnapshot):
                feed.snapshot(request.symbol, markets.snapshot(request.symbol), request=request)
            else:
                feed.deliver(markets.whole_book(request.symbol).raw)
        await feed.drain()


async def opened(variant: Variant, seed: int, seen: Seen) -> tuple[OfflineFeed, GateioSpotMarkets]:
    """A feed with live books of two symbols, one of each channel that is audited, and their tickers."""
    markets = GateioSpotMarkets(SYMBOLS, seed)
    feed = variant.feed(*SYMBOLS, **seen.callbacks | {"on_orderbook": lambda book: None})
    for sent in markets.opening():
        feed.deliver(sent.raw)
    for symbol in SYMBOLS:
        feed.deliver(markets.update(symbol).raw)
        feed.deliver(markets.make(markets.markets[symbol], "book_ticker").raw)
    await answered(feed, markets)
    assert all(book.is_live for book in feed.books.values())
    return feed, markets


@EACH
def test_right_books_are_never_found_wrong(variant: Variant) -> None:
    """Tickers come behind the push that they belong to, or ahead of it, as those of another connection may."""

    async def run() -> None:
        chance = random.Random(11)
        seen = Seen()
        feed, markets = await opened(variant, 11, seen)
        updates = tickers = 0
        while updates < UPDATES:
            sent = markets.next()
            updates += is_of(sent, "orderbook")
            tickers += is_of(sent, "book_ticker")
            if sent.stream is not None and is_of(sent, "orderbook") and chance.random() < 0.3:
                feed.deliver(markets.make(markets.markets[sent.stream[1]], "book_ticker").raw)
                tickers += 1
            feed.deliver(sent.raw)
            if updates % 256 == 0:
                await feed.drain()
                seen.events.clear()
        await feed.drain()
        audit = counts(feed)
        assert audit.mismatched == 0
        assert audit.compared == tickers + len(SYMBOLS)
        assert feed.take_requests() == []
        assert_accounts(feed)

    asyncio.run(run())


def corrupted(raw: bytes, market: Market, shown: set[str], chance: random.Random) -> bytes | None:
    """The push with its best level silently wrong, or None if it holds no such level: ids and form stay right.

    ``shown`` are the prices that the book had before.
    """
    frame: dict[str, Any] = json.loads(raw)
    (bid, _), (ask, _) = market.best()
    ways = []
    for side, best, inward in (("b", bid, 1), ("a", ask, -1)):
        for index, (price, amount) in enumerate(frame["result"].get(side, ())):
            if float(amount) and price == best:
                ways += [(side, index, way) for way in ("amount", "price", "omission")]
            elif not float(amount) and (float(price) - float(best)) * inward > 0 and price in shown:
                ways.append((side, index, "omission"))
    if not ways:
        return None
    side, index, way = chance.choice(ways)
    levels = frame["result"][side]
    if way == "omission":
        del levels[index]
    elif way == "amount":
        levels[index][1] = f"{float(levels[index][1]) + 0.0001:.4f}"
    else:
        levels[index][0] = f"{float(levels[index][0]) - (0.01 if side == 'b' else -0.01):.2f}"
    return json.dumps(frame).encode()


@EACH
def test_every_silent_corruption_of_a_top_is_found(variant: Variant) -> None:
    async def run() -> None:
        chance = random.Random(5)
        seen = Seen()
        feed, markets = await opened(variant, 5, seen)
        ways = 0
        while ways < CORRUPTIONS:
            symbol = chance.choice(SYMBOLS)
            market = markets.markets[symbol]
            shown = {price for side in market.levels() for price, _ in side}
            sent = markets.update(symbol)
            wrong = corrupted(sent.raw, market, shown, chance)
            frames = [wrong or sent.raw, markets.make(market, "book_ticker").raw]
            if chance.random() < 0.3:
                frames.reverse()
            for raw in frames:
                feed.deliver(raw)
            await feed.drain()
            ways += wrong is not None
            assert counts(feed).mismatched == ways, (wrong, sent.raw)
            assert feed.books[symbol].is_live is (wrong is None)
            await answered(feed, markets)
            assert feed.books[symbol].is_live
        assert [gap.reason for gap in seen.gaps] == [GapReason.AUDIT] * ways
        for symbol in SYMBOLS:
            levels = [[(float(price), float(amount)) for price, amount in side] for side in markets.markets[symbol].levels()]
            assert [feed.books[symbol].bids, feed.books[symbol].asks] == levels
        assert_accounts(feed)

    asyncio.run(run())
