"""Every order in which things can happen to a lane, up to a number of steps, each run held against what it must come to.

A run is a sequence of steps; after each of them the lane's task may get a turn or not. There is no event loop: the task is a coroutine
that is resumed by hand, which is what makes millions of runs affordable.
"""

import asyncio
from collections.abc import Callable, Coroutine, Generator, Sequence
from enum import Enum
from itertools import product
from typing import Any, NamedTuple

from infrastructure.callbacks import Callbacks
from infrastructure.clock import Clock
from infrastructure.errors import DecodeError
from infrastructure.events import Architecture, ErrorEvent, Gap, GapReason, Trade
from infrastructure.metrics import PathMetrics
from infrastructure.networking.websocket.lane import Lane
from infrastructure.networking.websocket.marker import Switch
from infrastructure.networking.websocket.route import Route
from infrastructure.session import Emission


class Step(Enum):
    """What can happen to a lane."""

    FRAME = "frame"
    SWITCH = "switch"
    WITHDRAW = "withdraw"
    CUT = "cut"
    SLOT_RAISES = "slot raises"
    CALLBACK_RAISES = "callback raises"
    SLOW_CALLBACK = "slow callback"
    FALLBACK = "fallback"


STEPS = tuple(Step)
#: The lane's task runs until it waits for something.
TURN = None
Move = Step | None


class Run(NamedTuple):
    """One configuration of a run: whether direct handling is queued too, and what kind of lane."""

    is_queued: bool
    lane_type: type[Lane] = Lane


class _Suspended:
    """What a slow callback waits for: the task's next turn."""

    def __await__(self) -> Generator[None, None, None]:
        yield


class _Task:
    """The lane's coroutine, resumed by ``turn``."""

    def __init__(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self.coroutine = coroutine
        self.has_started = False
        self.is_done = False

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """Nobody cancels this task."""

    def turn(self) -> None:
        self.has_started = True
        try:
            self.coroutine.send(None)
        except StopIteration:
            self.is_done = True


class _Loop:
    """As much of an event loop as a lane needs."""

    def __init__(self) -> None:
        self.task: _Task | None = None

    def create_task(self, coroutine: Coroutine[Any, Any, None]) -> _Task:
        self.task = _Task(coroutine)
        return self.task

    def turn(self) -> bool:
        """Give the task one turn; False when there is nothing to do."""
        if self.task is None or self.task.is_done:
            return False
        self.task.turn()
        return True

    def close(self) -> None:
        """End what a violation left unfinished."""
        if self.task is not None:
            self.task.coroutine.close()


_CLOCK = Clock(lambda: 0, 0)
_PATHS = {kind: PathMetrics(kind, _CLOCK.monotonic_ns) for kind in Architecture}


class _State:
    """What a session says of frames that were given up, and of a lost connection."""

    received_ns = 0
    source: object | None = None

    def reject(self, error: DecodeError | None) -> list[Emission]:
        return [Gap("", None, None, GapReason.REJECTED)]

    def fail(self) -> list[Emission]:
        return [Gap("", None, None, GapReason.FAILED)]

    def disconnect(self) -> list[Emission]:
        return [Gap("", None, None, GapReason.DISCONNECTED)]


class Violation(AssertionError):
    """A run came to something else than it must."""


def _kind(item: object) -> object:
    if isinstance(item, tuple):
        return item[3].split(" ", 1)[1]
    if isinstance(item, Switch):
        return item.route.architecture
    return ("fallback", _kind(item.frame)) if hasattr(item, "frame") else "call"


class _Bench:
    """One lane with its receivers, and a record of what reached the callbacks."""

    def __init__(self, run: Run) -> None:
        self.log: list[tuple[str, Any]] = []
        self.steps: list[tuple[Step, Any]] = []
        self.switches: list[Switch] = []
        self.target = Architecture.DIRECT
        self.frames = 0
        self.inside: tuple[Architecture, str] | None = None
        targets: dict[type, Callable[[Any], Any]] = {Trade: self._on_trade, Gap: self._on_gap, ErrorEvent: self._on_error}
        if run.is_queued:
            targets[Trade] = self._on_trade_awaited
        self.callbacks = Callbacks("", targets)
        strategy = Route(Architecture.STRATEGY, self._strategy, True, _PATHS[Architecture.STRATEGY])
        direct = Route(Architecture.DIRECT, self._direct, run.is_queued, _PATHS[Architecture.DIRECT], strategy)
        self.routes = {Architecture.DIRECT: direct, Architecture.STRATEGY: strategy}
        self.state = _State()
        self.lane = run.lane_type(direct, self.state, self.callbacks.emit, venue="", clock=_CLOCK)

    def take(self, step: Step) -> bool:
        """Let one thing happen; False when it could not."""
        if step is Step.SWITCH:
            self.target = self.target.other
            self.switches.append(self.lane.switch(self.routes[self.target]))
            self.steps.append((step, self.switches[-1]))
        elif step is Step.WITHDRAW:
            pending = next((switch for switch in reversed(self.switches) if not switch.is_done), None)
            if pending is None:
                return False
            if not pending.withdraw():
                raise Violation("a switch that the lane had not reached could not be withdrawn")
        elif step is Step.CUT:
            self.lane.call("cut", self.state.disconnect)
            self.steps.append((step, None))
        else:
            self.frames += 1
            self.steps.append((step, self.frames))
            self.lane.deliver(f"{self.frames} {step.value}")
        self.check_account()
        return True

    def check_account(self) -> None:
        """Both identities, at this moment."""
        lane = self.lane
        settled = lane.delivered + lane.control + sum(lane.rejected.values()) + sum(lane.shed.values())
        if lane.received != settled + lane.in_flight:
            raise Violation(f"frames: {lane.accounting()}")
        if self.callbacks.emitted != self.callbacks.accepted + self.callbacks.errors:
            raise Violation("events: emitted is not accepted plus errors")

    def state_key(self, loop: _Loop) -> tuple[object, ...]:
        """Everything on which the lane's future depends."""
        lane = self.lane
        waiting = tuple(_kind(item) for item in lane._fifo)
        stage = None if loop.task is None or loop.task.is_done else (loop.task.has_started, lane._inside, lane._is_busy)
        return lane.route.architecture, self.target, waiting, stage, self.inside if lane._inside else None

    def expected(self) -> list[tuple[str, Any]]:
        """What the callbacks must have seen, from the steps alone."""
        architecture = Architecture.DIRECT
        log: list[tuple[str, Any]] = []
        for step, what in self.steps:
            if step is Step.SWITCH:
                if not what.receipt.withdrawn:
                    architecture = what.route.architecture
            elif step is Step.CUT:
                log.append(("gap", GapReason.DISCONNECTED))
            elif step is Step.SLOT_RAISES:
                log += [("gap", GapReason.FAILED), ("error", "error")]
            else:
                handled_by = Architecture.STRATEGY if step is Step.FALLBACK else architecture
                log.append((handled_by.value, what))
                if step is Step.CALLBACK_RAISES:
                    log.append(("error", "callback"))
        return log

    def _direct(self, raw: bytes | str) -> Any:
        number, kind = str(raw).split(" ", 1)
        if kind == Step.FALLBACK.value:
            raise DecodeError("poison")
        return self.callbacks.emit([self._trade(number, kind, Architecture.DIRECT)])

    async def _strategy(self, raw: bytes | str) -> None:
        number, kind = str(raw).split(" ", 1)
        pending = self.callbacks.emit([self._trade(number, kind, Architecture.STRATEGY)])
        if pending is not None:
            await pending
        elif kind == Step.SLOW_CALLBACK.value:
            await _Suspended()

    def _trade(self, number: str, kind: str, architecture: Architecture) -> Trade:
        self.inside = architecture, kind
        if kind == Step.SLOT_RAISES.value:
            raise RuntimeError("planted in the slot")
        return Trade(architecture.value, kind, number, None, 0.0, 0.0, None)  # type: ignore[arg-type]  # no side is needed here

    def _on_trade(self, trade: Trade) -> None:
        self.log.append((trade.venue, int(trade.trade_id)))
        if trade.symbol == Step.CALLBACK_RAISES.value:
            raise RuntimeError("planted in the callback")

    async def _on_trade_awaited(self, trade: Trade) -> None:
        if trade.symbol == Step.SLOW_CALLBACK.value:
            await _Suspended()
        self._on_trade(trade)

    def _on_gap(self, gap: Gap) -> None:
        self.log.append(("gap", gap.reason))

    def _on_error(self, error: ErrorEvent) -> None:
        self.log.append(("error", error.kind))


def run_moves(run: Run, moves: Sequence[Move]) -> "tuple[object, ...] | None":
    """Take ``moves``, then let the lane finish; raises Violation. Returns the lane's state after the moves, None if the last was idle."""
    loop = _Loop()
    asyncio._set_running_loop(loop)  # type: ignore[arg-type]  # a lane asks it for a task and nothing else
    try:
        bench = _Bench(run)
        for move in moves:
            if not (loop.turn() if move is TURN else bench.take(move)):
                return None
            bench.check_account()
        state = bench.state_key(loop)
        while loop.turn():
            bench.check_account()
    finally:
        asyncio._set_running_loop(None)
        loop.close()
    if bench.lane.in_flight or bench.log != bench.expected():
        raise Violation(f"{[move.value if move else 'turn' for move in moves]}: saw {bench.log}, expected {bench.expected()}")
    return state


class Visited(NamedTuple):
    """How much an exploration has seen."""

    states: int
    runs: int


def explore(run: Run, depth: int) -> Visited:
    """Run every interleaving of up to ``depth`` steps, with turns of the task anywhere between them.

    Two sequences that leave the lane in the same state are continued once: what happens next depends on that state alone.
    """
    seen: set[int] = set()
    runs = 0
    frontier: list[tuple[Move, ...]] = [()]
    for level in range(depth + 1):
        following: list[tuple[Move, ...]] = []
        while frontier:
            moves = frontier.pop()
            for move in (*STEPS, TURN) if level < depth else (TURN,):
                runs += 1
                state = run_moves(run, (*moves, move))
                if state is not None and (key := hash(state)) not in seen:  # 64 bits: millions of states fit in memory.
                    seen.add(key)
                    (frontier if move is TURN else following).append((*moves, move))
        frontier = following
    return Visited(len(seen), runs)


def explore_all(run: Run, depth: int) -> int:
    """Run every sequence of up to ``depth`` moves, turns among them, none left out; returns how many."""
    runs = 0
    for length in range(1, depth + 1):
        for moves in product((*STEPS, TURN), repeat=length):
            run_moves(run, moves)
            runs += 1
    return runs


#: Direct handling with plain callbacks, and with ``async`` ones.
CONFIGURATIONS = (Run(is_queued=False), Run(is_queued=True))
