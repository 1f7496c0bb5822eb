"""One side of a duet of two processes: takes a workload's frames when it is told to, and says how long that took.

    python -P -m tests.performance.contestant SOURCE WORKLOADS        with PYTHONPATH=SOURCE:src

``SOURCE`` is the folder that holds the ``infrastructure`` to be measured, of another revision perhaps, and nothing else; the harness is
that of ``src``. Orders come as lines from stdin, answers go to stdout; at the end of stdin the process ends.
"""

import asyncio
import gc
import hashlib
import sys
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import msgspec

from infrastructure.clock import Clock
from tests.harness.variants import VARIANTS
from tests.performance.duet import Contestant, own_code, uncollected
from tests.performance.orders import Blocks, Growth, Open, Order, Round, State, Tell, Trace, Traced
from tests.performance.subject import Subject
from tests.performance.workload import Workload, read

#: A clock that counts shows this much more at each look.
TICK_NS = 1000
#: Of which every module must come from the source.
PACKAGE = "infrastructure"

_decode = msgspec.json.Decoder(Order).decode
_encode = msgspec.json.Encoder().encode


def strangers(source: Path) -> list[str]:
    """The modules of the package that were loaded from elsewhere, because ``source`` has none of that name."""
    loaded = [(name, module.__file__) for name, module in sys.modules.items() if name.startswith(f"{PACKAGE}.") and module is not None]
    return sorted(name for name, file in loaded if file is not None and not Path(file).is_relative_to(source))


class Side:
    """Holds one subject at a time, and carries out orders on it."""

    def __init__(self, workloads: Sequence[Workload], source: Path) -> None:
        self._workloads = workloads
        self._source = source
        self._variants = {str(variant): variant for variant in VARIANTS}
        self._subject: Subject | None = None
        self._take: Contestant[bytes] = _nobody
        self._block = 0
        self._frames: Sequence[bytes] = ()
        self._taken = 0

    async def obey(self, order: Order) -> Any:
        """What is to be answered."""
        # Patterns without fields: those would leave memory blocks behind, which are counted here.
        match order:
            case Round():
                return await self._round(order.number)
            case Open():
                return await self._open(order)
            case Trace():
                return await self._trace(order.number)
            case Blocks():
                gc.collect()
                return sys.getallocatedblocks()
            case Growth():
                return await self._growth(order.begin, order.end)
            case Tell():
                return self._state()

    async def _open(self, order: Open) -> int:
        self._subject = None  # Before the next is made, so that the two do not lie side by side.
        gc.collect()
        workload = self._workloads[order.workload]
        clock = Clock(count(TICK_NS, TICK_NS).__next__, 0) if order.is_counted else None
        self._subject = subject = Subject(workload, self._variants[order.variant], clock=clock)
        await subject.prepare()
        self._take = own_code(subject.contestant)
        self._block, self._frames, self._taken = order.block, workload.frames, 0
        return len(workload.frames)

    async def _round(self, number: int) -> int:
        frames = self._frames[number * self._block : (number + 1) * self._block]
        take, clock = self._take, time.perf_counter_ns
        started = clock()
        pending = take(frames)
        if pending is not None:
            await pending
        ended = clock()
        self._taken += len(frames)
        return ended - started

    async def _trace(self, number: int) -> Traced:
        with traced() as found:
            await self._round(number)
        return found()

    async def _growth(self, begin: int, end: int) -> str:
        tracemalloc.start()
        try:
            before = await self._snapshot_after(range(begin))
            grown = (await self._snapshot_after(range(begin, end))).compare_to(before, "lineno")
        finally:
            tracemalloc.stop()
        lines = [(Path(line.traceback[0].filename), line.traceback[0].lineno, line.count_diff) for line in grown]
        ours = [line for line in lines if line[2] > 0 and line[0].is_relative_to(self._source)]
        file, number, _ = max(ours, key=lambda line: line[2], default=(self._source, 0, 0))
        return f"{file.relative_to(self._source)}:{number}" if number else ""

    async def _snapshot_after(self, numbers: Iterable[int]) -> tracemalloc.Snapshot:
        for number in numbers:
            await self._round(number)
        gc.collect()
        return tracemalloc.take_snapshot()

    def _state(self) -> State:
        subject = self._subject
        assert subject is not None
        digest = hashlib.sha256(repr(subject.state()).encode()).hexdigest()
        failures = subject.failures(self._taken) + [f"{name} is not of this revision" for name in strangers(self._source)]
        return State(digest, subject.counted.events, failures)


def _nobody(items: Sequence[bytes]) -> None:
    raise RuntimeError("nothing is open")


@contextmanager
def traced() -> Iterator[Callable[[], Traced]]:
    """Note every call, of Python and of C, and every bytecode; what is given returns them afterwards.

    The two calls and the bytecodes of this function's own end are among them. Reads of the system's clock are not: those of the clock that
    counts, which takes its place, are no calls that Python tells of.
    """
    calls: Counter[CodeType] = Counter()
    opcodes: Counter[CodeType] = Counter()
    into_c: Counter[str] = Counter()
    modules: dict[CodeType, str] = {}

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            calls[frame.f_code] += 1
            modules[frame.f_code] = frame.f_globals.get("__name__", "?").rpartition(".")[2]
        elif event == "c_call" and getattr(argument, "__module__", "") != "time":
            into_c[_name_of_builtin(argument)] += 1

    def step(frame: FrameType, event: str, argument: Any) -> Callable[..., Any]:
        if event == "call":
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
        elif event == "opcode":
            opcodes[frame.f_code] += 1
        return step

    def found() -> Traced:
        def by_name(counts: Counter[CodeType]) -> dict[str, int]:
            named: Counter[str] = Counter()
            for code, number in counts.items():
                named[f"{modules.get(code, '?')}.{code.co_qualname}"] += number
            return dict(named)

        return Traced(by_name(calls), dict(into_c), by_name(opcodes))

    sys.setprofile(profile)
    sys.settrace(step)
    try:
        yield found
    finally:
        sys.settrace(None)
        sys.setprofile(None)


def _name_of_builtin(function: Any) -> str:
    owner = getattr(function, "__module__", None) or type(getattr(function, "__self__", None)).__module__
    return f"{owner}.{getattr(function, '__qualname__', repr(type(function)))}"


async def serve(workloads: Sequence[Workload], source: Path) -> None:
    """Carry out orders until there are no more."""
    side = Side(workloads, source)
    orders, answers = sys.stdin.buffer, sys.stdout.buffer
    with uncollected():
        # Reading blocks the event loop, in which nothing else goes on.
        while line := orders.readline():
            answers.write(_encode(await side.obey(_decode(line))) + b"\n")
            answers.flush()


def main(source: str, workloads: str) -> None:
    """Serve, if the package comes from where it should."""
    if elsewhere := strangers(Path(source)):
        raise SystemExit(f"{source} has no {', '.join(elsewhere)}, which the harness needs")
    asyncio.run(serve(read(Path(workloads)), Path(source)))


if __name__ == "__main__":
    main(*sys.argv[1:])
