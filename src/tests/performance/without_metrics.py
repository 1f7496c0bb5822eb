"""The real path less its metrics, so that what these cost can be told: a Subject made ``with without_metrics()`` has none.

Metrics are what summaries and windows are made from: each frame's latency, its wait in the lane where it waits, the count of its messages
by type, and the clock readings for these alone. The frame's number, its outcome, the events' account and the reading that dates the frame
are no metrics: the contracts and ``received_ns`` need them. The path without is the source of the real one, less the statements named in
``METRICS``; one that is not found there, once, is an error.
"""

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from types import CodeType, FunctionType
from typing import Any
from unittest.mock import patch

from infrastructure.networking.websocket.adapters import strategy_adapter
from infrastructure.networking.websocket.handlers import PrivateWebSocketHandler, PublicWebSocketHandler
from infrastructure.networking.websocket.lane import Lane
from infrastructure.networking.websocket.strategies.general import EventMessageHandler
from tests.performance import subject
from tests.performance.duet import own_code
from tests.performance.subject import Subject

_COUNTING = ["by_type = self._by_type", "for message in messages:\n    by_type[message.message_type] += 1"]
#: By class and method: the statements that are metrics.
METRICS: Mapping[type, Mapping[str, Sequence[str]]] = {
    Lane: {
        "deliver": ["self._metrics.latency.record(self._monotonic_ns() - started)"],
        "_handle": [
            "metrics = route.metrics",
            "started = self._monotonic_ns()",
            "metrics.wait.record(started - queued_ns)",
            "metrics.latency.record(self._monotonic_ns() - started)",
        ],
    },
    PublicWebSocketHandler: {"_publish": _COUNTING},
    PrivateWebSocketHandler: {"_publish": _COUNTING},
    EventMessageHandler: {"handle": _COUNTING},
}


class NotFound(Exception):
    """A statement does not stand in a function's source, or more than once."""


class _Less(ast.NodeTransformer):
    """Takes statements out of a tree, and notes each."""

    def __init__(self, statements: Sequence[str]) -> None:
        self._wanted = {ast.dump(ast.parse(statement).body[0]): statement for statement in statements}
        self.found: list[str] = []

    def visit(self, node: ast.AST) -> Any:
        """Without the node, if it is one of them."""
        statement = self._wanted.get(ast.dump(node)) if isinstance(node, ast.stmt) else None
        if statement is None:
            return super().visit(node)
        self.found.append(statement)
        return None


def less(function: Callable[..., Any], statements: Sequence[str]) -> FunctionType:
    """``function``, compiled anew from its source without ``statements``. Raises NotFound."""
    if not isinstance(function, FunctionType):
        raise NotFound(f"{function!r} has no source")
    made: dict[str, Any] = {}
    exec(_compiled(function, tuple(statements)), function.__globals__, made)
    own: FunctionType = own_code(made[function.__name__])
    return own


@cache
def _compiled(function: FunctionType, statements: Sequence[str]) -> CodeType:
    name = f"{function.__module__}.{function.__qualname__}"
    if function.__closure__:
        raise NotFound(f"{name} is not all in its source")
    transformer = _Less(statements)
    tree = transformer.visit(ast.parse(textwrap.dedent(inspect.getsource(function))))
    if sorted(transformer.found) != sorted(statements):
        raise NotFound(f"{name} is to lose {sorted(statements)}, and has {sorted(transformer.found)}")
    return compile(tree, f"<{name}, less {len(statements)} statements>", "exec")


def rebuilt(kind: type, *, counts: bool) -> type:
    """A subclass of ``kind`` whose methods are its own, without the statements that are metrics unless it ``counts``."""
    own: dict[str, Any] = {}
    for name, method in inspect.getmembers(kind, inspect.isfunction):
        if name in METRICS[kind]:
            own[name] = less(method, [] if counts else METRICS[kind][name])
        elif not name.startswith("__"):
            own[name] = own_code(method)
    return type(kind)(kind.__name__, (kind,), own)


@contextmanager
def metrics_as(*, counts: bool) -> Iterator[None]:
    """A Subject that is made within, of either architecture as it is, has code of its own, and no metrics unless it ``counts``."""
    lane, public, private, handler = (rebuilt(kind, counts=counts) for kind in METRICS)
    with (
        patch.dict(Subject.__init__.__kwdefaults__, lane_type=lane),
        patch.object(subject, "PublicWebSocketHandler", public),
        patch.object(subject, "PrivateWebSocketHandler", private),
        patch.object(strategy_adapter, "EventMessageHandler", handler),
    ):
        yield


def without_metrics() -> AbstractContextManager[None]:
    """A Subject that is made within, of either architecture as it is, has no metrics."""
    return metrics_as(counts=False)
