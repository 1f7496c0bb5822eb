"""What a version of ``infrastructure`` in a folder does for a message: exactly, by whatever can count here.

Instructions and allocations are counted by ``exact``; calls and bytecodes by Python itself, see ``traces``.
"""

from collections.abc import Sequence
from pathlib import Path

from tests.harness.variants import VARIANTS
from tests.performance import exact
from tests.performance.pairs import Entry
from tests.performance.traces import Traces, trace
from tests.performance.workload import Workload


def count(source: Path, workloads: Sequence[Workload], wanted: Sequence[Entry]) -> Traces:
    """Everything that can be counted of these entries, and by function what can."""
    traced = trace(source, workloads, wanted)
    if exact.valgrind_missing():
        return traced
    paths = {entry.path for entry in wanted}
    variants = {entry.variant for entry in wanted}
    counts = exact.count(workloads, source=source, simulated=[number for number, each in enumerate(VARIANTS) if str(each) in variants])
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
