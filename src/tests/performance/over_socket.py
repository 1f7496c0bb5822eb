"""What a feed takes over a real socket: latency under a schedule, throughput of a flood, the pause of a switch.

    sender (another process, another core) --loopback--> transport -> lane -> receiver -> callback, whose last act is to read the clock

The subject is what a live feed has: the product's transport and connection, a lane that may pause reading, both accounts, metrics on. It
runs in the event loop of whoever calls; the product's is uvloop's, see ``loop_name``. Garbage is collected as it is in the product, but
for what was there before, such as the simulated exchanges that made the frames: that is looked through once, before, and then left out.

Latency is from the time at which a frame was *due* to the end of the last callback of its events: if the subject falls behind, or the
sender, the wait of every frame behind that is in it. How far behind the sender was stands beside it. The exchange's own times have no
part in it.
"""

import asyncio
import gc
import random
import time
from bisect import bisect_left, bisect_right
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from itertools import chain
from math import ceil, inf
from statistics import median_low

import msgspec

from infrastructure.clock import Clock, Watch
from infrastructure.events import Architecture
from infrastructure.metrics import Histogram
from infrastructure.networking.websocket.connection import Connection
from infrastructure.networking.websocket.lane import Lane
from infrastructure.networking.websocket.marker import Switch, Switches, SwitchReceipt
from infrastructure.networking.websocket.settings import TransportSettings
from infrastructure.networking.websocket.transport import connect
from tests.harness.variants import VARIANTS, Variant
from tests.performance.duet import CONFIDENCE, Estimate, estimate, frozen
from tests.performance.figures import Distribution, Figure, Path, measured, path_of
from tests.performance.sender import LEAD_NS, SATURATED, Flown, Schedule, Sender, on_core
from tests.performance.subject import Subject
from tests.performance.workload import STEADY, Workload

#: A workload and its rate in frames for each second.
Rated = tuple[Workload, float]

SAMPLES = 10_000
#: The share of frames that are slower than p99.9 is too small to be seen in fewer samples.
LEAST_FOR_TAIL = 10_000
#: And of those beyond p99.
LEAST_FOR_P99 = 100
#: What begins a run warms caches up, and is in no figure.
WARM_UP = 100
LEAST_RUNS = 4
LEAST_PAIRS = 4
LEAST_SEGMENT = 200
#: Of what the slowest way can take, and at most.
LOAD, FASTEST = 0.25, 10_000.0
BURST = 10
SWITCH_EVERY = 20
RESAMPLES = 200
#: So long after a schedule's end its last frame has come, usually, and nobody needs to ask for it.
AFTER_S = 3 * LEAD_NS / 1e9
#: How much longer than its schedule a flow may take until it is given up.
GRACE_S = 20.0
#: What opening a subject and closing it takes, about: a budget is shared out with it.
BETWEEN_S = 0.012

#: Of a distribution: 200 shares, evenly spaced in decades of what is left above, so that the tail is drawn as closely as the rest.
SHARES = tuple(1 - 10 ** (-3 * step / 199) for step in range(200))


class Reception(msgspec.Struct):
    """What one subject made of one flow. Times are of the monotonic clock; ``ended_ns`` is 0 for a frame without an event."""

    variant: Variant
    is_queued: bool
    events: int
    #: All that the frames have left behind.
    state: object
    due_ns: list[int]
    ended_ns: list[int]
    first_read_ns: int
    #: In the lane, by the feed's own metrics.
    wait: Histogram
    #: How often the lane was full, so that reading was paused.
    pauses: int
    flown: Flown
    #: For each switch the first frame after it, and its receipt; every second one was to the architecture in place.
    switches: list[tuple[int, SwitchReceipt]]
    failures: list[str]

    @property
    def latency_ns(self) -> list[int]:
        """Of each frame, in order."""
        return [ended - due for ended, due in zip(self.ended_ns, self.due_ns, strict=True)]

    @property
    def frame_ns(self) -> float:
        """From the first read to the end of the last callback, for each frame."""
        return (self.ended_ns[-1] - self.first_read_ns) / len(self.ended_ns)


class _Stamps:
    """The callback: counts events, and keeps when the last one of each frame was told."""

    __slots__ = ("ended_ns", "events", "first", "lane")

    lane: Lane

    def __init__(self, opening: int) -> None:
        self.events = 0
        self.first = 0
        self.ended_ns = [0] * (opening + 1)

    def begin(self, frames: int) -> None:
        self.events = 0
        self.first = self.lane.delivered
        self.ended_ns = [0] * frames

    def told(self, event: object) -> None:
        self.events += 1
        # The lane counts a frame once its receiver has returned.
        self.ended_ns[self.lane.delivered - self.first] = time.monotonic_ns()


class _Wakefulness:
    """What a manager's watchdog is to the transport and the lane: asked before each read is handed on, told of all work."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._watch = Watch()
        self.first_read_ns = 0

    def may_read(self) -> bool:
        if not self.first_read_ns:
            self.first_read_ns = self._clock.monotonic_ns()
        return self._watch.observe(self._clock.elapsed_ns()) is None

    def worked(self, took_ns: int) -> None:
        self._watch.worked(took_ns, self._clock.elapsed_ns())


class Line:
    """A sender, and one subject after the other at the other end: ``async with opened(workloads) as line``."""

    def __init__(self, sender: Sender, workloads: Sequence[Workload]) -> None:
        self.sender = sender
        self.workloads = workloads

    async def receive(self, workload: int, variant: Variant, frames: int, schedule: Schedule, switch_every: int = 0) -> Reception:
        """Open a subject for a workload, let it take so many frames, and close it; switch every so many frames (0: never)."""
        chosen, clock = self.workloads[workload], Clock()
        stamps, wakefulness = _Stamps(len(chosen.opening)), _Wakefulness(clock)
        lane_type = partial(Lane, worked=wakefulness.worked)
        subject = Subject(chosen, variant, clock=clock, told=stamps.told, lane_type=lane_type)
        lane = stamps.lane = subject.lane
        await subject.prepare()
        opened = lane.received
        stamps.begin(frames)
        connection = Connection(chosen.venue)
        lane.attend(connection.pause, connection.resume)
        gc.collect()
        self.sender.begin(workload, frames, schedule)
        await connection.open(
            connect,
            self.sender.url,
            lane.deliver,
            settings=TransportSettings(),
            clock=clock,
            headers={},
            ssl_context=None,
            may_read=wakefulness.may_read,
            worked=wakefulness.worked,
        )
        self.sender.go()
        lasts_s = schedule.lasts_s(frames)
        switches: list[Switch | Switches] = []
        switching = asyncio.create_task(_switch(subject, switches, schedule.lasts_s(switch_every))) if switch_every else None
        try:
            async with asyncio.timeout(lasts_s + GRACE_S):
                await asyncio.sleep(lasts_s + AFTER_S if lasts_s else 0)
                while lane.received < opened + frames and await connection.round_trip():
                    if not lasts_s:
                        break  # The answer came behind the last frame.
        except TimeoutError:
            pass  # What is missing is told as such.
        if switching is not None:
            switching.cancel()
        await subject.drain()
        await connection.close()
        flown = await self.sender.flown()
        receipts = [switch.receipt for switch in switches if switch.receipt is not None]
        return Reception(
            variant=variant,
            is_queued=subject.is_queued,
            events=stamps.events,
            state=subject.state(),
            due_ns=[flown.start_ns + after for after in schedule.due_ns(frames)],
            ended_ns=stamps.ended_ns,
            first_read_ns=wakefulness.first_read_ns,
            wait=lane.route.metrics.wait,
            pauses=lane.pauses,
            flown=flown,
            switches=[(receipt.after_frame - opened, receipt) for receipt in receipts],
            failures=_failures(subject, stamps, frames, lane.received - opened, flown, (len(switches) + 1) // 2),
        )


@asynccontextmanager
async def opened(workloads: Sequence[Workload], *, pinned: bool = True) -> AsyncIterator[Line]:
    """A line for these workloads; ``pinned``: this process keeps to one core and the sender to another, where there are two."""
    async with Sender(workloads, pinned=pinned) as sender:
        with on_core(0, pinned), frozen():
            yield Line(sender, workloads)


def loop_name() -> str:
    """What the running event loop is of."""
    return type(asyncio.get_running_loop()).__module__.partition(".")[0]


def rate_for(slowest_ns: float) -> float:
    """Frames for each second that leave the slowest way idle for three quarters of the time, and at most 10,000."""
    return min(FASTEST, LOAD * 1e9 / slowest_ns)


async def _switch(subject: Subject, switches: list[Switch | Switches], every_s: float) -> None:
    """To the other architecture, then to the same, and so on."""
    while True:
        await asyncio.sleep(every_s)
        switches.append(subject.switch(subject.architecture if len(switches) % 2 else subject.architecture.other))
        await switches[-1]


def _failures(subject: Subject, stamps: _Stamps, frames: int, received: int, flown: Flown, switches: int) -> list[str]:
    found = subject.failures(subject.lane.received - received + frames)
    if not flown.written == received == frames:
        found.append(f"{subject.variant}: of {frames} frames {flown.written} were sent and {received} received")
    if silent := stamps.ended_ns.count(0):
        found.append(f"{subject.variant}: {silent} of {frames} frames gave no event")
    if subject.switches != switches:
        found.append(f"{subject.variant}: of {switches} switches {subject.switches} happened")
    return found


class Judge:
    """Holds every reception of a workload's first frames against the first of them."""

    def __init__(self, workload: Workload) -> None:
        self._of = f"{workload.venue} {workload.title}"
        self._first: Reception | None = None
        self._state: object = None
        self.failures: list[str] = []

    def see(self, reception: Reception) -> None:
        """Keep what is wrong with it, and of the states that of the first."""
        found, variant = list(reception.failures), reception.variant
        state, reception.state = reception.state, None
        if self._first is None:
            self._first, self._state = reception, state
        if reception.events != self._first.events:
            found.append(f"{variant}: {reception.events} events, and {self._first.events} of {self._first.variant}")
        if state != self._state:
            found.append(f"{variant}: another state than {self._first.variant}'s")
        self.failures += [f"{self._of}: {failure}" for failure in found]


def quantile(ordered: Sequence[int], share: float) -> int:
    """The least of ``ordered`` that so large a share of them does not exceed."""
    return ordered[max(0, ceil(share * len(ordered)) - 1)]


def pooled_quantile(runs: Sequence[Sequence[int]], share: float) -> Estimate:
    """``quantile`` of all ``runs`` together, each of them in order, and its interval: whole runs are resampled."""
    together = sorted(chain.from_iterable(runs))

    def of(chosen: Sequence[Sequence[int]]) -> int:
        rank = max(1, ceil(share * sum(map(len, chosen))))
        return together[bisect_left(together, rank, key=lambda value: sum(bisect_right(run, value) for run in chosen))]

    chance = random.Random(0)
    found = sorted(of(chance.choices(runs, k=len(runs))) for _ in range(RESAMPLES))
    tail = round(RESAMPLES * (1 - CONFIDENCE) / 2)
    return Estimate(of(runs), found[tail], found[-1 - tail])


def _spread(path: Path, name: str, runs: Sequence[Sequence[int]]) -> list[Figure]:
    """p50 to max, as far as there are enough samples for each."""
    together = sorted(chain.from_iterable(runs))
    figures = [measured(path, f"{name} p50", "ns", pooled_quantile(runs, 0.5))]
    if len(together) >= LEAST_FOR_P99:
        figures += [measured(path, f"{name} p{percent}", "ns", pooled_quantile(runs, percent / 100)) for percent in (90, 99)]
    if len(together) >= LEAST_FOR_TAIL:
        figures.append(Figure(path, f"{name} p99.9", "ns", quantile(together, 0.999), "measured"))
    return [*figures, Figure(path, f"{name} max", "ns", together[-1], "measured")]


async def latencies(
    rated: Sequence[Rated], *, samples: int = SAMPLES, seconds: float | None = None, burst: int = 1, pinned: bool = True
) -> tuple[list[Figure], list[Distribution], list[str]]:
    """So many latencies of each workload in each variant, fewer if they took more than ``seconds`` in all, and what was wrong.

    Every variant of a workload gets the same rate; ``burst`` as in Schedule. The workload's frames come again and again, to a new subject
    each time, variants in turn and back. A workload whose frames do not all give an event, as recorded ones, fails.
    """
    figures: list[Figure] = []
    distributions: list[Distribution] = []
    failures: list[str] = []
    async with opened([workload for workload, _ in rated], pinned=pinned) as line:
        for index, (workload, rate) in enumerate(rated):
            share_s = inf if seconds is None else seconds / len(rated)
            runs, frames = plan(len(workload.frames), samples, rate, share_s)
            judge, schedule, begun = Judge(workload), Schedule(rate, burst), time.monotonic()
            taken: dict[Variant, list[Reception]] = {variant: [] for variant in VARIANTS}
            done = 0
            while done < LEAST_RUNS or (done < runs and (time.monotonic() - begun) * (done + 2) / done < share_s):
                for variant in (*VARIANTS, *reversed(VARIANTS)):
                    reception = await line.receive(index, variant, frames, schedule)
                    judge.see(reception)
                    taken[variant].append(reception)
                done += 2
            failures += judge.failures
            named = workload if burst == 1 else _bursting(workload, burst)
            for variant, receptions in taken.items():
                path = path_of(named, variant)
                own = [sorted(reception.latency_ns[_warm(frames) :]) for reception in receptions]
                figures += [*_spread(path, "latency", own), *_beside(path, rate, receptions)]
                together = sorted(chain.from_iterable(own))
                values = tuple(quantile(together, share) for share in SHARES)
                distributions.append(Distribution(path, rate, len(together), SHARES, values))
    return figures, distributions, failures


def plan(available: int, samples: int, rate: float = FASTEST, seconds: float = inf) -> tuple[int, int]:
    """How many runs of each variant, an even number, and how many frames of each; fewer frames if four runs were too long."""
    warm = _warm(available)
    runs = max(LEAST_RUNS, ceil(samples / (available - warm)))
    runs += runs % 2
    frames = min(available, ceil(samples / runs) + warm)
    if seconds < inf:
        run_s = seconds / (LEAST_RUNS * len(VARIANTS)) - BETWEEN_S - AFTER_S
        frames = min(frames, max(1, 2 * warm, int(run_s * rate)))
    runs = max(LEAST_RUNS, ceil(samples / (frames - warm)))
    return runs + runs % 2, frames


def _warm(frames: int) -> int:
    return min(WARM_UP, frames // 10)


def _bursting(workload: Workload, burst: int) -> Workload:
    name = f"burst x{burst}"
    return msgspec.structs.replace(workload, name=name if workload.name == STEADY else f"{workload.name}, {name}")


def _beside(path: Path, rate: float, receptions: Sequence[Reception]) -> list[Figure]:
    """The rate, how late the sender was, and the wait in the lane where frames wait there."""
    late = sorted(chain.from_iterable(reception.flown.late_ns for reception in receptions))
    figures = [
        Figure(path, "rate", "frames/s", rate, "exact"),
        Figure(path, "sender lateness p99", "ns", quantile(late, 0.99), "measured"),
    ]
    for percent in (50, 99):
        waits = [wait for reception in receptions if (wait := reception.wait.percentile(percent)) is not None]
        if waits and receptions[0].is_queued:
            figures.append(measured(path, f"lane wait p{percent}", "ns", estimate([[wait] for wait in waits])))
    return figures


async def throughputs(workloads: Sequence[Workload], *, seconds: float, pinned: bool = True) -> tuple[list[Figure], list[str]]:
    """Frames for each second that a variant takes of a sender that writes as fast as it can, and the ratio to direct.

    Variants take the first frames of a workload in turn and back, as many as give at least four such pairs in ``seconds`` for all.
    """
    figures: list[Figure] = []
    failures: list[str] = []
    async with opened(workloads, pinned=pinned) as line:
        for index, workload in enumerate(workloads):
            share_s = seconds / len(workloads)
            deadline = time.monotonic() + share_s
            warm = min(LEAST_SEGMENT, len(workload.frames))
            frame_ns = sum(await _flood(line, index, VARIANTS, warm, failures)) / len(VARIANTS)
            segment_s = share_s / (2 * LEAST_PAIRS * len(VARIANTS)) - BETWEEN_S
            frames = min(len(workload.frames), max(LEAST_SEGMENT, int(segment_s * 1e9 / frame_ns)))
            pairs: list[tuple[float, ...]] = []
            while len(pairs) < LEAST_PAIRS or time.monotonic() < deadline:
                both = await _flood(line, index, [*VARIANTS, *reversed(VARIANTS)], frames, failures)
                pairs.append(tuple((there + back) / 2 for there, back in zip(both, reversed(both), strict=True))[: len(VARIANTS)])
            for column, variant in enumerate(VARIANTS):
                path = path_of(workload, variant)
                figures.append(measured(path, "throughput", "frames/s", estimate([[1e9 / pair[column]] for pair in pairs])))
                figures.append(measured(path, "throughput ratio to direct", "", estimate([[pair[0] / pair[column]] for pair in pairs])))
    return figures, failures


async def _flood(line: Line, index: int, variants: Sequence[Variant], frames: int, failures: list[str]) -> list[float]:
    """Nanoseconds for each frame in each of ``variants``."""
    judge, times = Judge(line.workloads[index]), list[float]()
    for variant in variants:
        reception = await line.receive(index, variant, frames, SATURATED)
        judge.see(reception)
        times.append(reception.frame_ns)
    failures += judge.failures
    return times


async def switch_pauses(
    rated: Sequence[Rated], *, seconds: float, every: int = SWITCH_EVERY, pinned: bool = True
) -> tuple[list[Figure], list[str]]:
    """How much later than usual the first frame after a switch ended its callback; of each architecture, when it was switched to.

    Usual is the median latency of that architecture in the same runs. A switch is asked for every so many frames, by a timer, while
    frames come at the workload's rate; every second one is to the architecture in place, which changes nothing. What the first frame after
    such a one takes beyond the usual is "no switch pause": a timer is likelier to fire while the process is held up, and that is no pause
    of a switch. "switch wait" is the receipt's own time, from the request to the moment at which the new receiver was in place.
    """
    figures: list[Figure] = []
    failures: list[str] = []
    async with opened([workload for workload, _ in rated], pinned=pinned) as line:
        for index, (workload, rate) in enumerate(rated):
            deadline = time.monotonic() + seconds / len(rated)
            judge, runs = Judge(workload), list[Reception]()
            while len(runs) < LEAST_RUNS or time.monotonic() < deadline:
                for architecture in Architecture:
                    variant = Variant(architecture, False)
                    runs.append(await line.receive(index, variant, len(workload.frames), Schedule(rate), every))
                    judge.see(runs[-1])
            failures += judge.failures
            for architecture in Architecture:
                path = path_of(workload, Variant(architecture, False))
                for name, groups in _pauses(runs, architecture).items():
                    figures += _spread(path, name, groups)
    return figures, failures


def _pauses(runs: Sequence[Reception], architecture: Architecture) -> dict[str, list[list[int]]]:
    """Run by run, in order: what the frame after each switch to ``architecture`` took beyond the median, and the receipts' waits."""
    usual: list[int] = []
    found: dict[str, list[list[tuple[int, int]]]] = {"switch": [], "no switch": []}
    for run in runs:
        latency_ns = run.latency_ns
        current, begun, warm = run.variant.architecture, 0, _warm(len(latency_ns))
        for kind in found.values():
            kind.append([])
        for first, receipt in run.switches:
            if current is architecture:
                usual += latency_ns[max(begun, warm) : first]
            current, begun = receipt.architecture, first + 1
            if current is architecture and warm <= first < len(latency_ns):
                found["switch" if receipt.changed else "no switch"][-1].append((latency_ns[first], receipt.wait_ns))
        if current is architecture:
            usual += latency_ns[max(begun, warm) :]
    middle = median_low(usual)
    pauses = {f"{name} pause": [[latency - middle for latency, _ in run] for run in kind] for name, kind in found.items()}
    pauses["switch wait"] = [[wait for _, wait in run] for run in found["switch"]]
    return {name: [sorted(run) for run in kind if run] for name, kind in pauses.items() if any(kind)}
