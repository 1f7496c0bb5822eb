"""What a version of ``infrastructure`` in a folder does for a message: exactly, by whatever can count here.

Instructions and allocations are counted by ``exact``; calls and bytecodes by Python itself, see ``traces``.
"""

import importlib
import importlib.util
import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.harness.variants import VARIANTS
from tests.performance.pairs import Entry
from tests.performance.traces import Traces, trace
from tests.performance.workload import Workload

_NAME = "tests.performance.exact"
_exact: Any = importlib.import_module(_NAME) if importlib.util.find_spec(_NAME) else None


def cannot_count() -> str | None:
    """Why instructions and allocations cannot be counted here; None where they can."""
    if _exact is None or "source" not in inspect.signature(_exact.count).parameters:
        return "nothing here counts the instructions of another folder's code"
    missing: str | None = _exact.valgrind_missing()
    return missing


def count(source: Path, workloads: Sequence[Workload], wanted: Sequence[Entry]) -> Traces:
    """Everything that can be counted of these entries, and by function what can."""
    traced = trace(source, workloads, wanted)
    if cannot_count():
        return traced
    paths = {entry.path for entry in wanted}
    variants = {entry.variant for entry in wanted}
    counts = _exact.count(workloads, source=source, simulated=[number for number, each in enumerate(VARIANTS) if str(each) in variants])
    if counts.failures:
        raise ValueError("; ".join(counts.failures))
    # Calls are counted by both; those of ``traces`` are named as the others of its are.
    known = {figure.name for figure in traced.figures}
    figures = [figure for figure in counts.figures if figure.path in paths and figure.name not in known]
    functions = {path: dict(by_function) for path, by_function in traced.functions.items()}
    for path in paths:
        for function, tally in counts.functions.get(path, {}).items():
            of_bytes = {"allocations": tally["allocations"], "bytes": tally["bytes"]}
            functions[path][function] = functions[path].get(function, {}) | of_bytes
    return Traces([*traced.figures, *figures], functions)
