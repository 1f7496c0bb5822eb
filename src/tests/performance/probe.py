"""Compiles ``probe.c`` and loads it: what counts allocations, calls by function, and asks callgrind.

It is made when it is first needed, with the system's compiler, into ``.bench/build``; no wheel and no setup knows of it.
"""

import hashlib
import importlib.machinery
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from functools import cache
from pathlib import Path
from types import CodeType
from typing import Protocol, cast

PROJECT = Path(__file__).parents[3]
SOURCE = Path(__file__).with_suffix(".c")
BUILD = PROJECT / ".bench" / "build"

#: (owner, name, calls, allocations, bytes); the owner is a code object, or the module or type of a C function of that name; or None.
FunctionRow = tuple[CodeType | type | object, str | None, int, int, int]


class ProbeError(Exception):
    """The probe cannot be made here: there is no compiler, or no header of Python."""


class Probe(Protocol):
    """What ``probe.c`` offers; its docstrings say what each does."""

    has_callgrind: bool

    def install(self) -> None: ...
    def remove(self) -> None: ...
    def start(self) -> None: ...
    def stop(self) -> tuple[int, int, int]: ...
    def start_profile(self) -> None: ...
    def stop_profile(self) -> tuple[int, int]: ...
    def functions(self) -> list[FunctionRow]: ...
    def forget(self) -> None: ...
    def runs_under_valgrind(self) -> bool: ...
    def start_instrumentation(self) -> None: ...
    def stop_instrumentation(self) -> None: ...
    def toggle_collect(self) -> None: ...
    def zero_stats(self) -> None: ...
    def dump_stats(self, name: str, /) -> None: ...
    def die_with_parent(self) -> None: ...
    def fork_each(self, jobs: int, at_once: int, /) -> int | None: ...


def build(folder: Path = BUILD) -> Path:
    """Compile the probe for this interpreter, unless that was done before; ProbeError says what is missing."""
    source = SOURCE.read_bytes()
    key = hashlib.sha256(source + sys.version.encode() + sysconfig.get_path("include").encode()).hexdigest()[:16]
    path = folder / f"probe-{key}.so"
    if path.exists():
        return path
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise ProbeError("no C compiler: neither gcc nor cc is on the path")
    include = Path(sysconfig.get_path("include"))
    if not (include / "Python.h").is_file():
        raise ProbeError(f"no headers of Python {sys.version.split()[0]}: {include / 'Python.h'} is missing")
    folder.mkdir(parents=True, exist_ok=True)
    # Into a file of its own first: another process may look for the finished one meanwhile.
    with tempfile.TemporaryDirectory(dir=folder) as own:
        made = Path(own) / "probe.so"
        command = [compiler, "-O2", "-Wall", "-Werror", "-shared", "-fPIC", f"-I{include}", "-o", str(made), str(SOURCE)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise ProbeError(f"{SOURCE.name} does not compile: {done.stderr.strip()}")
        os.replace(made, path)
    return path


def load_from(path: Path) -> Probe:
    """Load what ``build`` made."""
    loader = importlib.machinery.ExtensionFileLoader("probe", str(path))
    spec = importlib.util.spec_from_loader("probe", loader)
    if spec is None:
        raise ProbeError(f"{path} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return cast(Probe, module)


@cache
def load() -> Probe:
    """The probe, compiled if need be; one for the process, as its tables are."""
    return load_from(build())
