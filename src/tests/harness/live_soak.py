"""The long forms that need real sockets: a thousand switches of each venue, with cuts and holes, by order and by configuration; and
connections replaced by others again and again.

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

from infrastructure.demo import DEMO_VENUES, STAGGER, Demo, DemoSettings, DemoSummary, VenueFigures, VenueRun
from infrastructure.events import Architecture, Gap
from infrastructure.networking.websocket.rotations import RotationReceipt
from infrastructure.networking.websocket.settings import ReconnectSettings, RotationSettings
from infrastructure.networking.websocket.ws_manager import WebSocketManager
from infrastructure.simulator.launch import SideChannel

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


class RotateRun(VenueRun):
    """Replaces all connections by others, again and again; never changes the architecture."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.receipts: list[RotationReceipt] = []
        #: Every Gap and every error, in words.
        self.troubles: list[str] = []
        self._rotating: asyncio.Task[tuple[RotationReceipt, ...]] | None = None

    def switch(self, feed: WebSocketManager) -> None:
        if self._rotating is None or self._rotating.done():
            self._note()
            self._rotating = asyncio.create_task(feed.rotate())

    @property
    def overlap(self) -> int:
        """How many frames the receipts say were shed."""
        return sum(receipt.overlap for receipt in self.receipts)

    async def _finish(self, exchange: SideChannel) -> VenueFigures:
        if self._rotating is not None:
            await self._rotating
            self._note()
        return await super()._finish(exchange)

    def _note(self) -> None:
        if self._rotating is not None:
            self.receipts += self._rotating.result()
            self._rotating = None

    def _on_gap(self, gap: Gap) -> None:
        self.troubles.append(str(gap))
        super()._on_gap(gap)


def rotating(
    venues: Sequence[str], seconds: float, rate: float, overlap_s: float, **settings: Any
) -> tuple[DemoSummary, Sequence[RotateRun]]:
    """One run: as many rotations as there is time for."""
    rotation = RotationSettings(overlap_s=overlap_s)
    given = DemoSettings(seconds=seconds, rate=rate, switch_every=overlap_s, faults=(), troubles=(), rotation=rotation, **settings)
    demo = Demo(venues, given, RotateRun)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        summary = runner.run(demo.run())
    return summary, [run for run in demo.runs.values() if isinstance(run, RotateRun)]


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
    parser.add_argument("--rate-of-rotation", type=float, default=20_000.0, help="of one venue whose connections are replaced")
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
    for name, venues, rate in (("rotation", one, given.rate_of_rotation), ("rotation of all venues", DEMO_VENUES, given.rate_of_all)):
        for architecture in Architecture:
            summary, runs = rotating(venues, given.seconds / 2, rate, 0.5, architecture=architecture)
            for run in runs:
                figures = summary.venues[run.venue.name]
                frames, shed = figures.accounting.received, figures.accounting.shed_by_reason
                print(
                    f"{name}, {architecture}, {run.venue.name}: {frames:,} frames in {summary.seconds:.1f} s, "
                    f"{frames / summary.seconds:,.0f}/s, {len(run.receipts)} connections replaced, lost {figures.lost}, "
                    f"duplicated {figures.duplicated}, reordered {figures.reordered}, wrong books {figures.wrong_books}, "
                    f"gaps {len(run.troubles)}, shed {shed}, unbalanced {figures.unbalanced}",
                    *figures.findings,
                    *run.troubles,
                    sep="\n  ",
                    flush=True,
                )
                is_clean = is_clean and not run.troubles and bool(run.receipts) and shed == {"overlap": run.overlap}
            is_clean = is_clean and summary.is_clean
    return 0 if is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
