"""Stores what was measured, with the machine it was measured on: counts as baselines, timings as a history.

Counts are integers and are committed: ``baselines/`` has one file for each set of versions. Calls and allocations depend on Python and on
the wheels alone; instructions and misses also on how the interpreter was built, on libc and on valgrind, and so have a file of their own.
Times are appended to ``.bench/history/``, a file for each machine, and are never compared with those of another.
"""

import hashlib
import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from tests.harness.captures import ROOT
from tests.performance.figures import Figure, Report, by_key
from tests.performance.figures import Path as Of

#: What a run leaves behind; no part of the project.
FOLDER = ROOT / ".bench"
HISTORY = FOLDER / "history"
BASELINES = Path(__file__).parent / "baselines"
#: The strategy architecture's own figures, as they were before anything of either was made faster.
KEPT = BASELINES / "strategy.json"
#: The distributions whose code runs, or decides what runs, between the socket and a callback.
WHEELS = ("msgspec", "picows", "protobuf", "uvloop")

#: By kind of baseline: the sources of its figures.
KINDS: Mapping[str, tuple[str, ...]] = {"calls": ("exact",), "instructions": ("simulated",)}

#: What is counted of a function.
TALLY = ("calls", "allocations", "bytes")
Functions = dict[str, dict[str, int]]


class NothingToKeep(Exception):
    """There is no report, or one that is not whole, or a baseline is kept already."""


def versions() -> dict[str, str]:
    """Of Python and of the wheels: what calls and allocations depend on."""
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in WHEELS}}


def build() -> dict[str, str]:
    """How this interpreter was made and what runs it: what instructions depend on beside that."""
    libc = " ".join(platform.libc_ver()).strip() or "unknown"
    return {"compiler": platform.python_compiler(), "build": " ".join(platform.python_build()), "libc": libc, "valgrind": _valgrind()}


def _valgrind() -> str:
    program = shutil.which("valgrind")
    if program is None:
        return "none"
    return subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout.strip()


def machine() -> dict[str, str]:
    """The facts of this machine, and in ``fingerprint`` a hash of what times depend on."""
    facts = {
        "cpu": _cpu_model(),
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "loop": "uvloop",
        **versions(),
        **build(),
    }
    return {"fingerprint": _hash(facts), **facts}


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or "unknown")


def _hash(facts: Mapping[str, str]) -> str:
    return hashlib.sha256(msgspec.json.encode(facts, order="sorted")).hexdigest()[:12]


def commit() -> str:
    """The revision that is measured, with a ``+`` if files differ from it; ``unknown`` outside of a repository."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty=+"], cwd=ROOT, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


def now() -> str:
    """The time, for people."""
    return datetime.now(UTC).isoformat(timespec="seconds")


# The history


def append(report: Report, folder: Path = HISTORY) -> Path:
    """Add a report to the history of its machine; returns the file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{report.machine['fingerprint']}.jsonl"
    with path.open("ab") as file:
        file.write(msgspec.json.encode(report) + b"\n")
    return path


# Baselines of counts


class Counted(msgspec.Struct, frozen=True):
    """What was counted of one path: totals over ``messages``, and of each function, in the order of TALLY."""

    messages: int
    totals: dict[str, int]
    functions: dict[str, tuple[int, ...]] = {}


class Baseline(msgspec.Struct, frozen=True):
    """The counts of one set of versions: by path, as ``name_of`` writes it."""

    versions: dict[str, str]
    commit: str
    counts: dict[str, Counted]

    def figures(self, source: str) -> list[Figure]:
        """As they were counted."""
        return [
            Figure(path_named(path), name, "", total / counted.messages, source, total=total, messages=counted.messages)  # type: ignore[arg-type]
            for path, counted in self.counts.items()
            for name, total in counted.totals.items()
        ]

    def functions(self) -> dict[Of, Functions]:
        """By path."""
        return {
            path_named(path): {name: dict(zip(TALLY, row, strict=True)) for name, row in counted.functions.items()}
            for path, counted in self.counts.items()
        }


def name_of(path: Of) -> str:
    """A path as one word of a file."""
    return "|".join(msgspec.structs.astuple(path))


def path_named(name: str) -> Of:
    """What ``name_of`` wrote."""
    venue, scope, channel, workload, variant = name.split("|")
    return msgspec.convert({"venue": venue, "scope": scope, "channel": channel, "workload": workload, "variant": variant}, Of)


def key_of(kind: str) -> dict[str, str]:
    """The versions that counts of a kind depend on, here."""
    return versions() if kind == "calls" else {**versions(), **build()}


def file_of(kind: str, folder: Path = BASELINES) -> Path:
    """Where the counts of a kind stand that were made with these versions."""
    key = key_of(kind)
    return folder / f"{kind}-{key['python']}-{_hash(key)}.json"


def made_of(kind: str, figures: Iterable[Figure], functions: Mapping[Of, Functions]) -> Baseline:
    """A baseline of what was counted."""
    counts: dict[str, Counted] = {}
    for (path, name), figure in sorted(by_key(figures).items(), key=lambda item: item[0]):
        if figure.source not in KINDS[kind] or figure.total is None or figure.messages is None:
            continue
        # An adapter's functions are those of what it adapts.
        its = functions.get(path, {}) if kind == "calls" and not path.variant.endswith("-adapted") else {}
        rows = {function: tuple(tally[part] for part in TALLY) for function, tally in its.items()}
        named = counts.setdefault(name_of(path), Counted(figure.messages, {}, rows))
        named.totals[name] = figure.total
    return Baseline(key_of(kind), commit(), counts)


def write_baseline(baseline: Baseline, file: Path) -> None:
    """One line for each path, so that a change is seen where it is."""
    file.parent.mkdir(parents=True, exist_ok=True)
    head = msgspec.json.encode({"versions": baseline.versions, "commit": baseline.commit})[:-1]
    lines = (
        msgspec.json.encode(path) + b":" + msgspec.json.encode(counted, order="sorted") for path, counted in sorted(baseline.counts.items())
    )
    file.write_bytes(head + b',"counts":{\n' + b",\n".join(lines) + b"\n}}\n")


def read_baseline(file: Path) -> Baseline | None:
    """What ``write_baseline`` wrote, None where nothing was."""
    return msgspec.json.decode(file.read_bytes(), type=Baseline) if file.is_file() else None


# The strategy architecture's own


def keep(report: Report, file: Path = KEPT) -> None:
    """Keep the strategy architecture's figures of a whole report. Raises NothingToKeep rather than write over them."""
    if file.exists():
        raise NothingToKeep(f"{file} is kept already; remove it first if it is to be another")
    its = [figure for figure in report.figures if figure.path.variant.startswith("strategy")]
    if not report.is_sound or not its:
        raise NothingToKeep("the report is not sound, or has nothing of the strategy architecture")
    kept = msgspec.structs.replace(report, figures=its)
    head = msgspec.json.encode({"machine": kept.machine, "commit": kept.commit, "at": kept.at})[:-1]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(head + b',"figures":[\n' + b",\n".join(map(msgspec.json.encode, its)) + b"\n]}\n")


def kept(file: Path = KEPT) -> Report:
    """What ``keep`` wrote."""
    return msgspec.json.decode(file.read_bytes(), type=Report)


def main() -> int:
    """Keep the strategy architecture's figures of the last whole run."""
    try:
        keep(msgspec.json.decode((FOLDER / "report.json").read_bytes(), type=Report))
    except (OSError, NothingToKeep) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"kept in {KEPT}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
