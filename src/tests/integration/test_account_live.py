"""Market and account together over real sockets: orders are placed while all goes wrong, and the account is right to the last digit."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest

from infrastructure.events import BookTicker, Fill, Gap, Trade
from infrastructure.exchanges import venue_named
from infrastructure.feed import open_feed
from infrastructure.networking.websocket.account_streams import AccountStreams
from infrastructure.networking.websocket.ws_manager import WebSocketManager
from infrastructure.simulator.launch import SideChannel, simulated_exchange
from infrastructure.simulator.ledger import Ledger, Stream
from infrastructure.simulator.market import hidden_number
from tests.harness import canary
from tests.harness.account_scene import TRADED, Told, assert_every_fill_once, assert_orders_go_forward, assert_same_account
from tests.harness.bare_server import Certificates
from tests.harness.live import assert_right, assert_whole, run, settings_of, simulated, until
from tests.harness.variants import VARIANTS, Variant

VENUES = tuple(TRADED)
LOG = "account"
RATE = 400.0


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


class Desk:
    """A feed of a market and an account, what it told, and the ledger between the market and it."""

    def __init__(self, feed: WebSocketManager, at: SideChannel, told: Told, ledger: Ledger) -> None:
        self.feed = feed
        self.at = at
        self.told = told
        self.ledger = ledger
        self._logged: dict[Stream, int] = {}

    async def trade(self, count: int) -> None:
        """The account acts; what the market did meanwhile goes into the ledger, once if two connections brought it."""
        await self.at.trade(count)
        for stream, number in await self.at.log(LOG):
            if stream[0] in ("trade", "book_ticker") and number > self._logged.get(stream, -1):
                self._logged[stream] = number
                self.ledger.sent(stream, number)

    async def is_live(self) -> None:
        """Wait until everything is connected, and the account live."""
        await until(lambda: self.feed.is_connected() and self.feed.account.is_live, what="the account live")

    async def rotate(self) -> None:
        """Replace all connections while the account acts."""
        rotating = asyncio.ensure_future(self.feed.rotate())
        while not rotating.done():
            await self.trade(2)
        assert len(await rotating) == self.feed.connections + 1

    async def assert_right(self, symbols: tuple[str, ...]) -> None:
        """Nothing is wrong when all is still: books, account, fills, the market's messages."""
        await self.is_live()
        await assert_right(self.feed, self.at, *symbols)
        await self.at.pause()
        await self.trade(1)
        state = await self.at.account()
        await until(lambda: len(self.told.fills) >= len(state["fills"]), what="every fill")
        assert self.feed.private is not None
        await until(lambda: not self.ledger.outstanding, what="everything of the market")
        await self.is_live()
        await until(lambda: _is_same(state, self.feed), what="the same account")
        assert_same_account(state, self.feed.account)
        assert_every_fill_once(state, self.told)
        assert_orders_go_forward(self.told.orders)
        self.ledger.finish()
        assert self.ledger.is_clean, self.ledger.findings


def _is_same(state: dict[str, Any], feed: WebSocketManager) -> bool:
    """Whether the last pushes have come; what is wrong if they never do, is said by the assertion itself."""
    try:
        assert_same_account(state, feed.account)
    except AssertionError:
        return False
    return True


def _has_connected(private: AccountStreams, times: int) -> bool:
    return private.connects >= times


@asynccontextmanager
async def desk(venue: str, variant: Variant, at: SideChannel, security: ssl.SSLContext | None = None) -> AsyncIterator[Desk]:
    """One that is open; both its accounts must be right when it is closed."""
    told, ledger, channels = Told(), Ledger(), venue_named(venue).channels

    def on_trade(trade: Trade) -> None:
        ledger.seen(("trade", trade.symbol), hidden_number(trade.amount))

    def on_book_ticker(ticker: BookTicker) -> None:
        ledger.seen(("book_ticker", ticker.symbol), ticker.update_id or 0)

    def on_gap(gap: Gap) -> None:
        ledger.gap(None if gap.channel is None else channels[gap.channel].name.lower(), gap.symbol)

    settings = settings_of(
        at,
        venue,
        websocket_url=at.logged_url(LOG),
        symbols=TRADED[venue],
        channels=["trade", "book_ticker", "orderbook"],
        credentials=canary.credentials(),
        architecture=variant.architecture,
        rotation={"overlap_s": 0.3},
    )
    opening = open_feed(
        settings,
        private_handler=told.handler,
        adapted=variant.adapted,
        ssl_context=security,
        on_trade=on_trade,
        on_book_ticker=on_book_ticker,
        on_gap=on_gap,
    )
    async with opening as feed:
        yield Desk(feed, at, told, ledger)
    assert_whole(feed)


async def through_everything(venue: str, variant: Variant, at: SideChannel, security: ssl.SSLContext | None = None) -> None:
    """Orders are placed while connections are cut, keys die, architectures are switched and connections replaced."""
    async with desk(venue, variant, at, security) as here:
        feed = here.feed
        assert feed.private is not None
        await here.trade(30)
        await feed.switch(feed.architecture.other, scope="private")
        await here.trade(30)
        await here.rotate()
        assert here.told.gaps == []
        assert feed.accounting.frames.shed_by_reason["overlap"] > 0
        for scope in ("all", "private", "public"):
            connects = feed.private.connects
            if venue == "mexc_spot":
                await at.fault("key-dies")
            await at.fault("cut")
            switching = feed.switch(feed.private.architecture.other, scope=scope)
            await here.trade(30)
            await until(partial(_has_connected, feed.private, connects + 1), what="another connection")
            await here.is_live()
            await switching
            await here.trade(30)
        await here.rotate()
        await here.assert_right(TRADED[venue])
        assert {gap.channel for gap in here.told.gaps} == set(feed.settings.account_channels)
        assert feed.private.switches >= 3 and here.told.of(Fill)
        assert ("key expired" in here.told.errors) is (venue == "mexc_spot")


@pytest.mark.parametrize("venue", VENUES)
def test_the_account_is_the_exchanges_to_the_last_digit_and_the_markets_ledger_clean(venue: str, variant: Variant) -> None:
    async def main() -> None:
        options = ("--rate", str(RATE), "--symbols", ",".join(TRADED[venue]), "--api-key", canary.KEY, "--secret", canary.SECRET)
        async with simulated_exchange(venue, *options) as at:
            await through_everything(venue, variant, at)

    run(main())


@pytest.mark.parametrize("venue", VENUES)
def test_so_it_is_over_tls(venue: str, certificates: Certificates) -> None:
    async def main() -> None:
        async with simulated(*TRADED[venue], venue=venue, rate=RATE, certificates=certificates) as at:
            assert at.websocket_url.startswith("wss://") and at.rest_url.startswith("https://")
            await through_everything(venue, VARIANTS[0], at, certificates.client())

    run(main())


@pytest.mark.parametrize("venue", VENUES)
def test_a_fill_overtakes_a_market_that_waits_for_its_consumer(venue: str, variant: Variant) -> None:
    """Private streams have their own connection and lane: what waits in the market's is still waiting when the fills have been told."""

    async def main() -> None:
        released = asyncio.Event()
        told, trades = Told(), 0

        async def on_trade(trade: Trade) -> None:
            nonlocal trades
            await released.wait()
            trades += 1

        async with simulated(*TRADED[venue], venue=venue, rate=4000) as at:
            named = {
                "symbols": TRADED[venue],
                "channels": ["trade"],
                "credentials": canary.credentials(),
                "architecture": variant.architecture,
            }
            settings = settings_of(at, venue, high_water=200, **named)
            async with open_feed(settings, private_handler=told.handler, adapted=variant.adapted, on_trade=on_trade) as feed:
                (market,) = feed.lanes
                assert feed.private is not None and feed.private.lanes != feed.lanes
                await until(lambda: market.pauses, what="a market that is not read any more")
                waiting, handled = market.in_flight, market.delivered
                assert waiting > 200
                while len(told.fills) < 20:
                    await at.trade(5)
                assert trades == 0 and market.delivered == handled and market.in_flight >= waiting
                released.set()
                await until(lambda: trades > 200, what="the market")
                await at.pause()  # Orders that wait are filled as the market moves.
                state = await at.account()
                await until(lambda: len(told.fills) >= len(state["fills"]), what="every fill")
                assert_every_fill_once(state, told)
            assert_whole(feed)

    run(main())
