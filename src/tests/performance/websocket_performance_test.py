"""Measures both architectures, alone and through each other's adapter, on every channel of every venue; prints, and keeps what it found.

    cd src && ../.venv/bin/python -m tests.performance.websocket_performance_test [--quick] [--json] [--only TEXT]

In this order: duets in one process (``ways``), the parts of a frame's way (``parts``), real sockets (``over_socket``), a million messages
(``memory``), and what is counted (``exact``). The exit status is 1 where contestants did not do the same work. ``.bench/`` in the
project's folder holds report and plots, and the history of this machine.
"""

import argparse
import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from rich.console import Console

from infrastructure.events import MessageType
from infrastructure.exchanges import VENUES
from tests.harness.captures import ROOT
from tests.performance import parts, workloads
from tests.performance.figures import Figure, Report
from tests.performance.ways import compare_ways
from tests.performance.workload import Workload

WIDTH = 100


class Plan(msgspec.Struct, frozen=True):
    """How long is measured. Seconds are those of each workload, or of a whole section."""

    ways_s: float
    parts_s: float
    samples: int
    throughput_s: float
    pauses_s: float
    messages: int


FULL = Plan(ways_s=1.6, parts_s=15, samples=10_000, throughput_s=25, pauses_s=10, messages=1_000_000)
QUICK = Plan(ways_s=0.5, parts_s=0, samples=1_000, throughput_s=4, pauses_s=2, messages=60_000)


def chosen(is_quick: bool, text: str) -> list[Workload]:
    """All workloads, or a few; of them those whose venue or channel has ``text`` in it."""
    every = few() if is_quick else workloads.every_workload()
    return [workload for workload in every if text in f"{workload.venue} {workload.title}"]


def few() -> Iterator[Workload]:
    """Trades, a book and an order of each venue."""
    for name, venue in VENUES.items():
        for kind in (MessageType.TRADE, MessageType.ORDERBOOK):
            yield workloads.public(name, next(channel for channel, its in venue.channels.items() if its is kind))
        if venue.private is not None:
            yield workloads.private(name, next(iter(venue.private.channels)))
