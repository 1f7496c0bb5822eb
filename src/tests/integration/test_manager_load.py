"""What a live feed costs in the long run and under load: reconnects, slow and blocking consumers, bursts, no descriptors left."""

import asyncio
import gc
import os
import subprocess
import sys
from itertools import pairwise

import pytest

from infrastructure.events import ErrorEvent, Gap, Trade
from infrastructure.networking.websocket.ws_manager import WebSocketManager
from tests.harness import frames
from tests.harness.bare_server import Certificates
from tests.harness.captures import ROOT
from tests.harness.effort import is_soak
from tests.harness.live import AT_ONCE, ScriptedExchange, live, run, until
from tests.harness.variants import VARIANTS, Variant

RECONNECTS = 500 if is_soak() else 60
SERIES = 5
each_variant = pytest.mark.parametrize("variant", VARIANTS, ids=str)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def reconnect(feed: WebSocketManager, at: ScriptedExchange) -> None:
    """Let the venue cut the connection once data has come, and wait for the next."""
    connects, delivered = feed.connects, feed.accounting.delivered
    await at.push(frames.trade(connects))
    await until(lambda: feed.accounting.delivered > delivered, what="data")
    at.peer.writer.transport.abort()
    await until(lambda: feed.connects > connects and feed.is_connected() and at.asked, what="the next connection")
    at.asked.clear()


@pytest.mark.parametrize("is_secure", [False, True], ids=["plain", "tls"])
def test_reconnects_leave_no_task_no_descriptor_and_no_memory_behind(is_secure: bool, certificates: Certificates) -> None:
    async def main() -> None:
        async with ScriptedExchange(certificates.server() if is_secure else None) as at:
            context = certificates.client() if is_secure else None
            at.asked.clear()
            quiet = {"on_trade": lambda _: None, "on_gap": lambda _: None, "on_error": lambda _: None}
            # Failures are remembered for the window; a short one ends before it could be taken for a leak.
            again = AT_ONCE | {"window_s": 0.5}
            opening = live(VARIANTS[0], at, channels=["trade"], callbacks=quiet, ssl_context=context, reconnect=again)
            async with opening as (feed, _):
                figures = []
                for _ in range(SERIES):
                    for _ in range(RECONNECTS // SERIES):
                        await reconnect(feed, at)
                    gc.collect()
                    figures.append((len(asyncio.all_tasks()), descriptors(), sys.getallocatedblocks()))
                assert len({(tasks, files) for tasks, files, _ in figures[1:]}) == 1, figures
                # What stays of a connection would grow in every series, by at least one object for each reconnect.
                growth = [later[2] - earlier[2] for earlier, later in pairwise(figures)]
                assert min(growth) < RECONNECTS // SERIES, growth

    asyncio.run(main())


@each_variant
def test_a_consumer_that_sleeps_makes_reading_pause_and_loses_nothing(variant: Variant) -> None:
    """R1: the lag can be seen, what waits is bounded, and no clock that would end the connection runs meanwhile."""
    total = 4000

    async def main() -> None:
        awake = asyncio.Event()
        numbers: list[str] = []

        async def on_trade(trade: Trade) -> None:
            await awake.wait()
            numbers.append(trade.trade_id)

        clocks = {"ping_interval_s": 0.1, "ping_timeout_s": 0.1, "frame_timeout_s": 0.1}
        async with (
            ScriptedExchange() as at,
            live(variant, at, channels=["trade"], callbacks={"on_trade": on_trade}, high_water=64, transport=clocks) as (feed, seen),
        ):
            sending = asyncio.create_task(at.push(*(frames.trade(number) for number in range(total))))
            await until(lambda: feed.get_performance_metrics()["reading_pauses"] == 1, what="a pause")
            await until(lambda: feed.lag_ns > 500_000_000, what="a lag longer than all clocks")
            # The mark and what one read of the socket may bring beyond it.
            assert feed.accounting.in_flight < 64 + 2 * 65536 // len(frames.trade(0))
            assert feed.connects == 1 and feed.is_connected()
            awake.set()
            await sending
            await until(lambda: len(numbers) == total, what="every trade")
            assert numbers == [str(number) for number in range(total)]
            assert (feed.connects, feed.lag_ns, seen.of(Gap)) == (1, 0, [])

    run(main())


@each_variant
def test_a_burst_is_handled_in_order_and_to_the_end(variant: Variant) -> None:
    """R2."""

    async def main() -> None:
        async with ScriptedExchange() as at, live(variant, at, channels=["trade"]) as (feed, seen):
            for start in range(0, 3000, 1000):
                await at.push(*(frames.trade(number) for number in range(start, start + 1000)))
            await until(lambda: len(seen.of(Trade)) == 3000, what="every trade")
            assert [trade.trade_id for trade in seen.of(Trade)] == [str(number) for number in range(3000)]

    run(main())


@each_variant
def test_a_callback_that_blocks_the_loop_is_named_and_cuts_no_connection(variant: Variant) -> None:
    """R3: pings and answers that had to wait are nobody's fault but the callback's."""

    async def main() -> None:
        def busy_desk(trade: Trade) -> None:
            if trade.trade_id == "0":
                # What a computation would do; no event loop runs meanwhile.
                subprocess.run(["sleep", "1.5"], check=True)

        clocks = {"ping_interval_s": 0.2, "ping_timeout_s": 0.2, "frame_timeout_s": 0.2}
        async with (
            ScriptedExchange() as at,
            live(variant, at, channels=["trade"], callbacks={"on_trade": busy_desk}, transport=clocks) as (feed, seen),
        ):
            await at.push(frames.trade(0), frames.trade(1))
            await until(lambda: seen.of(ErrorEvent), what="the error")
            await asyncio.sleep(0.5)
            error = seen.of(ErrorEvent)[0]
            assert error.kind == "blocked" and "busy_desk blocked the event loop for " in error.text
            assert seen.errors == []
            assert (feed.connects, feed.is_connected(), seen.of(Gap)) == (1, True, [])

    run(main())


NO_DESCRIPTORS = """
import asyncio, os, resource
from infrastructure.events import Trade
from tests.harness import frames
from tests.harness.live import ScriptedExchange, live, until
from tests.harness.variants import VARIANTS

spare = []

def take_all():
    # Again and again: sockets that are still closing, such as those of the instrument lists, give theirs back later.
    try:
        while True:
            spare.append(os.dup(0))
    except OSError:
        pass

async def main():
    async with ScriptedExchange() as well, ScriptedExchange() as ill:
        # By number: looking up a name takes descriptors of its own.
        url = ill.websocket_url.replace("localhost", "127.0.0.1")
        # Not at once: first what the lost socket gives back is taken.
        later = {"first_delay_s": 2.0, "max_delay_s": 2.0}
        async with (
            live(VARIANTS[0], well, channels=["trade"]) as (good, seen),
            live(VARIANTS[0], ill, channels=["trade"], websocket_url=url, reconnect=later) as (bad, told),
        ):
            hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
            resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 10, hard))
            take_all()
            ill.peer.writer.transport.abort()
            await until(lambda: take_all() or any(error.kind == "connect" for error in told.errors), what="an attempt that fails")
            await well.push(frames.trade(1))
            await until(lambda: seen.of(Trade), what="the other venue's trade")
            assert good.connects == 1 and bad.connects == 1 and bad.failure is None
            print(next(error.text for error in told.errors if error.kind == "connect"))
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            for descriptor in spare:
                os.close(descriptor)
            await until(lambda: bad.connects == 2, what="the recovery")

asyncio.run(main())
"""


def test_without_a_descriptor_left_one_venue_waits_and_the_other_lives() -> None:
    """R6."""
    done = subprocess.run([sys.executable, "-c", NO_DESCRIPTORS], cwd=ROOT / "src", capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Too many open files" in done.stdout
