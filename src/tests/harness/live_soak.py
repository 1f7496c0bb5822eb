"""The long forms that need real sockets: a thousand switches of each venue, with cuts and holes, by order and by configuration.

``python -m tests.harness.live_soak [--seconds 60] [--rate 22000]`` prints a line for each venue of each run; exit code 0 only if all are
clean.
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from typing import Any

import msgspec
import uvloop

from infrastructure.demo import DEMO_VENUES, STAGGER, Demo, DemoSettings, DemoSummary, VenueRun
from infrastructure.events import Architecture
from infrastructure.networking.websocket.settings import ReconnectSettings
from infrastructure.networking.websocket.ws_manager import WebSocketManager

#: Holes in books, and connections reset in the middle of a frame; they are opened again at once, or there would be little to switch.
FAULTS = ("drop=400", "cut=4")
AT_ONCE = ReconnectSettings(first_delay_s=0.02, max_delay_s=0.1, max_restarts=1000)


class ApplyRun(VenueRun):
    """Changes the architecture by applying a configuration that names the other."""

    applying: set[asyncio.Task[object]]
    asked: Architecture | None = None

    def switch(self, feed: WebSocketManager) -> None:
        if self.asked is None:
            self.applying, self.asked = set(), feed.settings.architecture
        self.asked = self.asked.other
        settings = msgspec.structs.replace(feed.settings, architecture=self.asked)
        task: asyncio.Task[object] = asyncio.create_task(feed.apply(settings))
        self.applying.add(task)
        task.add_done_callback(self._applied)

    def _applied(self, task: asyncio.Task[object]) -> None:
        self.applying.discard(task)
        task.result()


def switching(
    venues: Sequence[str], kind: type[VenueRun], seconds: float, rate: float, switches: int, faults: tuple[str, ...], **settings: Any
) -> DemoSummary:
    """One run: so many ``switches`` of the last venue, evenly over ``seconds``, and more of those before it."""
    every = seconds / (switches + 1) / (1 + STAGGER * (len(venues) - 1))
    # Connections that are cut at other times cannot be relied on to be there when they are to be replaced.
    given = DemoSettings(seconds=seconds, rate=rate, switch_every=every, faults=faults, troubles=(), reconnect=AT_ONCE, **settings)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(Demo(venues, given, kind).run())


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=22_000.0, help="of one venue")
    parser.add_argument("--rate-of-all", type=float, default=9_000.0, help="of all venues at once")
    parser.add_argument("--switches", type=int, default=1_050)
    given = parser.parse_args()
    one = DEMO_VENUES[:1]
    is_clean = True
    for name, venues, rate, kind, faults in (
        ("plain", one, given.rate, VenueRun, ()),
        ("cuts and holes", one, given.rate, VenueRun, FAULTS),
        ("by apply, cuts and holes", one, given.rate, ApplyRun, FAULTS),
        ("all venues, cuts and holes", DEMO_VENUES, given.rate_of_all, VenueRun, FAULTS),
    ):
        summary = switching(venues, kind, given.seconds, rate, given.switches, faults)
        for venue, figures in summary.venues.items():
            frames = figures.accounting.received
            print(
                f"{name}, {venue}: {frames:,} frames in {summary.seconds:.1f} s, {frames / summary.seconds:,.0f}/s, "
                f"{figures.switches:,} switches, lost {figures.lost}, duplicated {figures.duplicated}, reordered {figures.reordered}, "
                f"wrong books {figures.wrong_books}, repaired {figures.gaps_repaired}, unbalanced {figures.unbalanced}, "
                f"fills {figures.account.fills:,}, lost {figures.fills_lost}, duplicated {figures.fills_duplicated}, "
                f"wrong account {figures.wrong_account}",
                *figures.findings,
                sep="\n  ",
                flush=True,
            )
        is_clean = is_clean and summary.is_clean
    return 0 if is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
