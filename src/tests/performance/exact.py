"""Counts what a message costs, exactly: the same integers in every run, on every clone.

Instructions, cache and branch misses are callgrind's, of caches of a fixed geometry: a simulation, of this interpreter and this libc.
Python and C calls and allocations are counted in a second, plain process, and are the same on every machine.

What could differ from run to run is kept from differing: there is no other clock than a counted one, no hash seed, no address space
layout, no environment and no garbage collection; every file is reached by a path that has the same length everywhere, through symbolic
links in one folder of the system's temporary ones; byte code is compiled beforehand; folders are listed in order; and of the project they
hold what is imported, so that a new test moves nothing.
"""

import fcntl
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import NamedTuple

import msgspec

from tests.harness.variants import VARIANTS
from tests.performance import hardware, probe, workloads
from tests.performance.exact_run import DIRECT, STAGES, Done, Job, Kind, Tally, Window, frames_needed
from tests.performance.figures import Figure, Source, counted, path_of
from tests.performance.figures import Path as Of
from tests.performance.workload import PRIVATE, PUBLIC, Workload, write

DISTRIBUTION = "tickrail"
SRC = probe.PROJECT / "src"
BYTE_CODE = probe.PROJECT / ".bench" / "pyc"

#: Of the simulated caches: bytes, ways, bytes of a line. The last is what one core of a server has for itself.
GEOMETRY = ("--I1=32768,8,64", "--D1=32768,8,64", "--LL=2097152,16,64")
#: callgrind's counters that make up each figure.
SIMULATED = {
    "instructions": ("Ir",),
    "I1 misses": ("I1mr",),
    "D1 misses": ("D1mr", "D1mw"),
    "LL misses": ("ILmr", "DLmr", "DLmw"),
    "branch misses": ("Bcm", "Bim"),
}
#: Variants that can be counted under callgrind, by their numbers: all; and both architectures alone.
EVERY_WAY = tuple(range(len(VARIANTS)))
ARCHITECTURES = tuple(number for number, variant in enumerate(VARIANTS) if not variant.adapted)
EXACT = ("python calls", "c calls", "allocations", "allocated bytes")

#: Before anything else is imported: the order of a folder's entries is the file system's, and some come and go.
BEGIN = (
    "import posix, sys; entries = posix.listdir; posix.listdir = lambda path: sorted(set(entries(path)) - {'__pycache__'}); "
    "from tests.performance.exact_run import main; main(*sys.argv[1:])"
)
#: Reads of a clock: what is counted must not depend on time.
CLOCKS = re.compile(r"time\.\w*(time|monotonic|perf_counter)\w*|(date|datetime)\.(now|utcnow|today)")


class CountingError(Exception):
    """What counts could not run, or ended otherwise than it should."""


class Counts(NamedTuple):
    """What was counted: figures; by path and function its calls, allocations and bytes; and what was wrong."""

    figures: list[Figure]
    functions: dict[Of, dict[str, Tally]]
    failures: list[str]


def valgrind_missing() -> str | None:
    """Why callgrind cannot count here; None where it can."""
    for program in ("valgrind", "setarch"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    if not probe.load().has_callgrind:
        return "the header <valgrind/callgrind.h> is not installed"
    return None


def every_workload() -> list[Workload]:
    """All that are made from a seed, with as many frames as are counted."""
    usual, grown = frames_needed(), frames_needed(500)
    of_channels = [workloads.public(*named, usual) for named in workloads.channels(PUBLIC)]
    of_channels += [workloads.private(*named, usual) for named in workloads.channels(PRIVATE)]
    return [*of_channels, *(workloads.many_symbols(*named, grown) for named in workloads.GROWN), workloads.wide_book(usual)]


def count(chosen: Sequence[Workload], *, simulated: Sequence[int] = EVERY_WAY, source: Path = SRC) -> Counts:
    """Count these workloads: calls and allocations of all variants, and under callgrind the variants that are named, by their numbers.

    With the direct one go the instructions of its stages, and so of every other's indirection. ``source`` is the folder whose
    ``infrastructure`` is counted.
    """
    ways = [(workload, number) for workload in chosen for number in EVERY_WAY]
    under_callgrind = [(workload, number) for workload in chosen for number in sorted(simulated)]
    figures: list[Figure] = []
    functions: dict[Of, dict[str, Tally]] = {}
    failures: list[str] = []
    with Place(source) as place:
        for (workload, number), allocated, called in zip(ways, place.run("allocations", ways), place.run("calls", ways), strict=True):
            path = path_of(workload, VARIANTS[number])
            failures += [f"{workload.venue} {workload.title}: {failure}" for failure in (*allocated.failures, *called.failures)]
            functions[path] = difference_by_function(allocated.windows, called.windows)
            failures += [f"{path}: {name} reads the time" for name in functions[path] if CLOCKS.fullmatch(name)]
            (sizes, frames), (calls, _) = difference(allocated.windows), difference(called.windows)
            figures += [counted(path, name, "", (sizes | calls)[name], frames) for name in EXACT]
        if under_callgrind:
            figures += _simulated(under_callgrind, place.run("simulated", under_callgrind))
        if hardware.missing() is None:
            figures += _of_processor(ways, place.run("hardware", ways))
    return Counts(figures, functions, failures)


#: A workload, and the number of a variant.
Way = tuple[Workload, int]


def _simulated(ways: Sequence[Way], done: Sequence[Done]) -> Iterator[Figure]:
    stages: int | None = None
    for (workload, number), found in zip(ways, done, strict=True):
        path = path_of(workload, VARIANTS[number])
        if VARIANTS[number] == DIRECT:  # It is the first of its workload.
            stages = 0
            for stage in STAGES:
                slope, frames = difference([window for window in found.windows if window.stage == stage])
                stages += slope["instructions"]
                yield counted(path, f"{stage} instructions", "", slope["instructions"], frames, "simulated")
        slope, frames = difference(whole(found.windows))
        for name in SIMULATED:
            yield counted(path, name, "", slope[name], frames, "simulated")
        if stages is not None:
            yield counted(path, "indirection instructions", "", slope["instructions"] - stages, frames, "simulated")


def _of_processor(ways: Sequence[Way], done: Sequence[Done]) -> Iterator[Figure]:
    source: Source = "hardware"
    for (workload, number), found in zip(ways, done, strict=True):
        slope, frames = difference(found.windows)
        for name, total in slope.items():
            yield counted(path_of(workload, VARIANTS[number]), name, "", total, frames, source)


def whole(windows: Sequence[Window]) -> list[Window]:
    """Those of the way, without those of the stages by themselves."""
    return [window for window in windows if not window.stage]


def difference(windows: Sequence[Window]) -> tuple[Tally, int]:
    """What the second window cost above the first, and for how many frames more."""
    first, second = windows[-2:]
    return {name: second.tally[name] - first.tally[name] for name in first.tally}, second.frames - first.frames


def difference_by_function(*counted: Sequence[Window]) -> dict[str, Tally]:
    """The same of each function, of several countings together."""
    sums: dict[str, list[int]] = {}
    for windows in counted:
        first, second = windows[-2:]
        for sign, window in ((-1, first), (1, second)):
            # Functions that share a name, such as several lambdas of one function, are one.
            for name, *tally in window.functions:
                sums[name] = [before + sign * added for before, added in zip(sums.get(name, (0, 0, 0)), tally, strict=True)]
    return {name: dict(zip(("calls", "allocations", "bytes"), sums[name], strict=True)) for name in sorted(sums) if any(sums[name])}


class Place:
    """The folder through which everything is reached that is counted; one process at a time has it, the others wait."""

    def __init__(self, source: Path = SRC) -> None:
        self._source = source
        # No TMPDIR: its length is another on another machine.
        self._home = Path("/tmp") / f"tickrail-counted-{os.getuid():010}"
        self.folder = self._home / "now"
        self._kept = ExitStack()

    def __enter__(self) -> "Place":
        self._home.mkdir(mode=0o700, exist_ok=True)
        found = self._home.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise CountingError(f"{self._home} is not a folder of this user's")
        lock = os.open(self._home / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        with ExitStack() as stack:
            stack.callback(os.close, lock)
            fcntl.flock(lock, fcntl.LOCK_EX)
            shutil.rmtree(self.folder, ignore_errors=True)
            stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
            library = self.folder / "lib"
            library.mkdir(parents=True)
            own = {"infrastructure": self._source, "tests": SRC}
            for target in (*(folder / name for name, folder in own.items()), *_packages()):
                (library / target.name).symlink_to(target)
            (self.folder / "probe.so").symlink_to(probe.build())
            (self.folder / "pyc").symlink_to(self._byte_code(stack))
            imported = self._start([], writes_byte_code=True, arguments=["allocations", str(self.folder), "0", "1"])
            for name in own:
                (library / name).unlink()
            for line in imported.splitlines():
                file = Path(line).relative_to(library)
                (library / file).parent.mkdir(parents=True, exist_ok=True)
                (library / file).symlink_to(own[file.parts[0]] / file)
            self._kept = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._kept.close()

    def _byte_code(self, stack: ExitStack) -> Path:
        """The project's own is kept; that of another folder must not be taken for it, for it is reached by the same path."""
        if self._source != SRC:
            return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tickrail-pyc-")))
        BYTE_CODE.mkdir(parents=True, exist_ok=True)
        return BYTE_CODE

    def run(self, kind: Kind, ways: Sequence[Way], metrics: bool | None = None) -> list[Done]:
        """Count every way; all of one process, forked for each. ``metrics``: see ``Job``."""
        folder = self.folder / "run"
        folder.mkdir()
        try:
            names: dict[int, str] = {}
            for number, (workload, variant) in enumerate(ways):
                name = names.setdefault(id(workload), f"workload-{len(names):04}")
                if not (folder / name).exists():
                    write(folder / name, [workload])
                (folder / f"job-{number:04}").write_bytes(msgspec.json.encode(Job(name, variant, metrics)))
            above = _callgrind(folder) if kind == "simulated" else [_found("setarch"), "-R"]
            self._start(above, arguments=[kind, str(folder), str(len(ways)), str(len(os.sched_getaffinity(0)))])
            done = [msgspec.json.decode((folder / f"done-{number:04}").read_bytes(), type=Done) for number in range(len(ways))]
            return [_with_dumps(folder, found) for found in done] if kind == "simulated" else done
        finally:
            shutil.rmtree(folder)

    def _start(self, above: Sequence[str], arguments: Sequence[str], writes_byte_code: bool = False) -> str:
        kind, *others = arguments
        command = [*above, sys._base_executable, "-S", "-s", "-P", "-c", BEGIN, kind, str(self.folder / "probe.so"), *others]  # type: ignore[attr-defined]
        environment = {"PYTHONHASHSEED": "0", "PYTHONPATH": str(self.folder / "lib"), "PYTHONPYCACHEPREFIX": str(self.folder / "pyc")}
        if not writes_byte_code:
            environment["PYTHONDONTWRITEBYTECODE"] = "1"
        done = subprocess.run(command, env=environment, cwd=self.folder, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode != 0:
            raise CountingError(f"counting ended with {done.returncode}: {(done.stdout + done.stderr).strip()[-3000:]}")
        return done.stdout


def _callgrind(folder: Path) -> list[str]:
    options = ["--quiet", "--instr-atstart=no", "--cache-sim=yes", "--branch-sim=yes", *GEOMETRY, "--dump-line=no"]
    return [_found("setarch"), "-R", _found("valgrind"), "--tool=callgrind", *options, f"--callgrind-out-file={folder}/dump.%p"]


def _found(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise CountingError(f"{program} is not installed")
    return path


def _with_dumps(folder: Path, done: Done) -> Done:
    """Its windows with what callgrind wrote."""
    tallies = dict(read_dump(path.read_text()) for path in folder.glob(f"dump.{done.process}.*"))
    return msgspec.structs.replace(done, windows=[msgspec.structs.replace(window, tally=tallies[window.dump]) for window in done.windows])


def read_dump(text: str) -> tuple[str, Tally]:
    """The name that a dump of callgrind's was asked for under, and its figures."""
    name = re.search(r"^desc: Trigger: Client Request: (.*)$", text, re.M)
    events = re.search(r"^events: (.*)$", text, re.M)
    totals = re.search(r"^(?:totals|summary): (.*)$", text, re.M)
    if events is None or totals is None:
        raise CountingError(f"no dump of callgrind's: {text[:300]}")
    found = dict(zip(events[1].split(), map(int, totals[1].split()), strict=False))
    return name[1] if name else "", {figure: sum(found.get(event, 0) for event in made_of) for figure, made_of in SIMULATED.items()}


def _packages() -> list[Path]:
    """What the distribution needs of others, as it lies among the installed packages."""
    needed, seen, found = [DISTRIBUTION], set[str](), set[Path]()
    while needed:
        name = needed.pop()
        if name in seen:
            continue
        seen.add(name)
        try:
            one = distribution(name)
        except PackageNotFoundError:
            continue  # Needed on other systems or by other versions only.
        needed += [re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in one.requires or () if "extra ==" not in line]
        if name != DISTRIBUTION:
            tops = {file.parts[0] for file in one.files or () if not file.parts[0].endswith((".dist-info", ".egg-info"))}
            found |= {Path(str(one.locate_file(top))) for top in tops if top not in ("..", "__pycache__")}
    return sorted(found)
