"""The long forms that need real sockets: a thousand switches in a minute, with cuts and holes, by order and by configuration.

``python -m tests.harness.live_soak [--seconds 60] [--rate 21000]`` prints a line for each run; exit code 0 only if all are clean.
"""

import argparse
import asyncio
import sys

import msgspec
import uvloop

from infrastructure.demo import Demo, DemoSummary
from infrastructure.events import Architecture
from infrastructure.networking.websocket.settings import ReconnectSettings
from infrastructure.networking.websocket.ws_manager import WebSocketManager

VENUE = "gateio_spot"
#: Holes in books, and connections reset in the middle of a frame; they are opened again at once, or there would be little to switch.
FAULTS = ("drop=400", "cut=4")
AT_ONCE = ReconnectSettings(first_delay_s=0.02, max_delay_s=0.1, max_restarts=1000)


class ApplyDemo(Demo):
    """Changes the architecture by applying a configuration that names the other."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]  # the demo's own arguments
        self.applying: set[asyncio.Task[object]] = set()
        self.asked = Architecture.STRATEGY

    def switch(self, feed: WebSocketManager) -> None:
        self.asked = self.asked.other
        settings = msgspec.structs.replace(feed.settings, architecture=self.asked)
        task: asyncio.Task[object] = asyncio.create_task(feed.apply(settings))
        self.applying.add(task)
        task.add_done_callback(self._applied)

    def _applied(self, task: asyncio.Task[object]) -> None:
        self.applying.discard(task)
        task.result()


def switching(
    kind: type[Demo], seconds: float, rate: float, switches: int, *, faults: tuple[str, ...], adapted: bool = False
) -> DemoSummary:
    """One run: ``switches`` of them, evenly over ``seconds``."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        demo = kind(VENUE, 1, faults=faults, adapted=adapted, reconnect=AT_ONCE)
        return runner.run(demo.run(seconds, rate, seconds / (switches + 1)))


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=22_000.0)
    parser.add_argument("--switches", type=int, default=1_050)
    given = parser.parse_args()
    is_clean = True
    for name, kind, faults in (("plain", Demo, ()), ("cuts and holes", Demo, FAULTS), ("by apply, cuts and holes", ApplyDemo, FAULTS)):
        summary = switching(kind, given.seconds, given.rate, given.switches, faults=faults)
        figures = summary.venues[VENUE]
        frames = figures.accounting.received
        print(
            f"{name}: {frames:,} frames in {summary.seconds:.1f} s, {frames / summary.seconds:,.0f}/s, {figures.switches:,} switches, "
            f"lost {summary.lost}, duplicated {summary.duplicated}, reordered {summary.reordered}, wrong books {summary.wrong_books}, "
            f"repaired {figures.gaps_repaired}, unbalanced {summary.unbalanced}",
            *summary.findings,
            sep="\n  ",
            flush=True,
        )
        is_clean = is_clean and summary.is_clean
    return 0 if is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
