"""The sender's frames through the product's transport: each of them, once, in every variant; and what is told when it is not so."""

import asyncio
import os
import select
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from infrastructure.clock import Clock
from infrastructure.networking.websocket.connection import Connection
from infrastructure.networking.websocket.lane import HIGH_WATER
from infrastructure.networking.websocket.settings import TransportSettings
from infrastructure.networking.websocket.transport import connect
from tests.harness import frames
from tests.harness.variants import VARIANTS, Variant
from tests.performance import over_socket, workloads
from tests.performance.over_socket import latencies, opened, switch_pauses, throughputs
from tests.performance.sender import SATURATED, Schedule
from tests.performance.subject import Subject
from tests.performance.workload import PRIVATE, PUBLIC, Workload

FEW = 12
SOURCE = Path(__file__).parents[2]
DIRECT, _, STRATEGY, _ = VARIANTS


def trades(count: int = 60) -> Workload:
    return workloads.public("gateio_spot", "spot.trades", count)


async def delivered(workload: Workload, variant: Variant) -> tuple[int, object]:
    """Events and state of the same frames without a socket."""
    subject = Subject(workload, variant)
    await subject.prepare()
    before = subject.counted.events
    for frame in workload.frames:
        subject.deliver(frame)
    await subject.drain()
    return subject.counted.events - before, subject.state()


async def received(workload: Workload, schedule: Schedule = SATURATED, **settings: Any) -> over_socket.Reception:
    """By the first variant."""
    async with opened([workload], pinned=False) as line:
        return await line.receive(0, DIRECT, len(workload.frames), schedule, **settings)


def test_the_real_transport_reads_every_channel_in_every_variant() -> None:
    every = [workloads.public(*named, FEW) for named in workloads.channels(PUBLIC)]
    every += [workloads.private(*named, FEW) for named in workloads.channels(PRIVATE)]
    assert len(every) == 39

    async def run() -> None:
        async with opened(every, pinned=False) as line:
            for index, workload in enumerate(every):
                for variant in VARIANTS:
                    found = await line.receive(index, variant, FEW, SATURATED)
                    assert found.failures == [], workload.title
                    assert (found.events, found.state) == await delivered(workload, variant), workload.title
                    assert found.flown.written == FEW
                    assert found.flown.start_ns <= found.first_read_ns < min(found.ended_ns)

    asyncio.run(run())


def test_no_frame_ends_before_it_was_due_and_none_is_sent_before() -> None:
    found = asyncio.run(received(trades(), Schedule(2000.0)))
    assert found.failures == []
    assert len(found.flown.late_ns) == 60 and min(found.flown.late_ns) >= 0
    assert min(found.latency_ns) > 0
    assert [due - found.flown.start_ns for due in found.due_ns] == Schedule(2000.0).due_ns(60)


def test_every_variant_has_latencies_and_they_agree() -> None:
    chosen = [(trades(), 4000.0), (workloads.private("gateio_spot", "spot.balances", 40), 4000.0)]
    figures, distributions, failures = asyncio.run(latencies(chosen, samples=120, pinned=False))
    assert failures == []
    named = {(figure.path.channel, figure.path.variant): set[str]() for figure in figures}
    for figure in figures:
        named[figure.path.channel, figure.path.variant].add(figure.name)
    usual = {"latency p50", "latency p90", "latency p99", "latency max", "rate", "sender lateness p99"}
    waiting = usual | {"lane wait p50", "lane wait p99"}
    assert named == {
        (workload.channel, str(variant)): usual if variant == DIRECT else waiting for workload, _ in chosen for variant in VARIANTS
    }
    assert len(distributions) == 8
    assert all(each.samples >= 120 and list(each.latency_ns) == sorted(each.latency_ns) for each in distributions)
    assert all(len(each.shares) == len(each.latency_ns) == 200 for each in distributions)


def test_the_last_thousandth_is_told_only_of_enough_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(over_socket, "LEAST_FOR_TAIL", 120)
    figures, _, failures = asyncio.run(latencies([(trades(), 8000.0)], samples=120, burst=10, pinned=False))
    assert failures == []
    tails = [figure for figure in figures if figure.name == "latency p99.9"]
    assert [figure.path.workload for figure in tails] == ["burst x10"] * 4


def test_a_flood_is_taken_by_every_variant() -> None:
    figures, failures = asyncio.run(throughputs([trades(400)], seconds=0.1, pinned=False))
    assert failures == []
    assert [figure.name for figure in figures] == ["throughput", "throughput ratio to direct"] * 4
    assert figures[1].value == 1.0 and all(figure.value > 0 for figure in figures)


def test_a_lane_that_is_full_pauses_the_flood() -> None:
    # Of short frames more come with one read than are handled before the next.
    workload = workloads.public("mexc_spot", "spot@public.aggre.bookTicker.v3.api.pb", HIGH_WATER + 4000)

    async def run() -> over_socket.Reception:
        async with opened([workload], pinned=False) as line:
            return await line.receive(0, STRATEGY, len(workload.frames), SATURATED)

    found = asyncio.run(run())
    assert found.failures == [] and found.pauses > 0


def test_the_sender_has_a_core_and_the_subject_another() -> None:
    allowed = os.sched_getaffinity(0)

    async def run() -> tuple[set[int], set[int]]:
        async with opened([trades(5)]) as line:
            return os.sched_getaffinity(0), os.sched_getaffinity(line.sender.pid)

    subject, sender = asyncio.run(run())
    assert (subject, sender) == (({min(allowed)}, {max(allowed)}) if len(allowed) > 1 else (allowed, allowed))
    assert os.sched_getaffinity(0) == allowed


def test_switches_happen_where_the_receipts_say_and_nothing_is_lost() -> None:
    workload = workloads.public("gateio_spot", "spot.order_book_update", 200)

    async def run() -> over_socket.Reception:
        async with opened([workload], pinned=False) as line:
            return await line.receive(0, DIRECT, 200, Schedule(2000.0), 10)

    found = asyncio.run(run())
    assert found.failures == []
    assert len(found.switches) >= 4
    assert [receipt.changed for _, receipt in found.switches] == [n % 2 == 0 for n in range(len(found.switches))]
    assert [first for first, _ in found.switches] == sorted(first for first, _ in found.switches)


def test_pauses_of_switches_are_told_in_both_directions() -> None:
    figures, failures = asyncio.run(switch_pauses([(trades(400), 4000.0)], seconds=0.1, every=10, pinned=False))
    assert failures == []
    for architecture in ("direct", "strategy"):
        names = {figure.name for figure in figures if figure.path.variant == architecture}
        assert {"switch pause p50", "switch pause max", "no switch pause p50", "switch wait p50", "switch wait max"} <= names


def test_a_frame_that_was_not_sent_is_told() -> None:
    workload = trades(30)

    async def run() -> over_socket.Reception:
        async with opened([msgspec.structs.replace(workload, frames=workload.frames[:-1])], pinned=False) as line:
            line.workloads = [workload]
            return await line.receive(0, DIRECT, 30, SATURATED)

    found = asyncio.run(run())
    assert "direct: of 30 frames 29 were sent and 29 received" in found.failures
    assert "direct: 1 of 30 frames gave no event" in found.failures


def test_a_frame_that_gives_no_event_is_told() -> None:
    workload = trades(10)
    mixed = msgspec.structs.replace(workload, frames=(*workload.frames, frames.PONG))
    assert asyncio.run(received(mixed)).failures == ["direct: 1 of 11 frames gave no event"]


def test_a_frame_that_cannot_be_decoded_is_told() -> None:
    workload = trades(10)
    mixed = msgspec.structs.replace(workload, frames=(*workload.frames, b"{nonsense"))
    handled, silent = asyncio.run(received(mixed)).failures
    assert handled.startswith("direct: of 12 frames 11 were handled") and "'undecodable': 1" in handled  # One of them opened the feed.
    assert silent == "direct: 1 of 11 frames gave no event"


def test_another_number_of_events_and_another_state_are_told() -> None:
    workload = workloads.public("gateio_spot", "spot.order_book_update", 20)

    async def run() -> list[str]:
        judge = over_socket.Judge(workload)
        async with opened([workload], pinned=False) as line:
            judge.see(await line.receive(0, DIRECT, 20, SATURATED))
            judge.see(await line.receive(0, STRATEGY, 19, SATURATED))
        return judge.failures

    events, state = asyncio.run(run())
    assert events.endswith("strategy: 19 events, and 20 of direct")
    assert state.endswith("strategy: another state than direct's")


async def slow_flow(ends: Callable[[Connection], Awaitable[None]]) -> int:
    """Frames that are far apart, until ``ends`` has ended the connection; how many were written."""
    async with opened([trades(2)], pinned=False) as line:
        connection = Connection("gateio_spot")
        line.sender.begin(0, 2, Schedule(0.01))
        await connection.open(
            connect,
            line.sender.url,
            lambda raw, received_ns: None,
            settings=TransportSettings(),
            clock=Clock(),
            headers={},
            ssl_context=None,
            may_read=lambda: True,
            worked=lambda took_ns: None,
        )
        line.sender.go()
        async with asyncio.timeout(30):
            await ends(connection)
            flown = await line.sender.flown()
        return flown.written


def test_the_sender_answers_pings_between_frames_that_are_far_apart() -> None:
    async def asked(connection: Connection) -> None:
        assert await connection.round_trip()
        await connection.close()

    assert asyncio.run(slow_flow(asked)) < 2


def test_a_flow_ends_with_its_connection() -> None:
    async def aborted(connection: Connection) -> None:
        connection.abort()
        await connection.end()

    assert asyncio.run(slow_flow(aborted)) < 2


PARENT = """
import asyncio, os, signal, sys
from tests.performance import workloads
from tests.performance.sender import Schedule, Sender

async def main():
    async with Sender([workloads.public("gateio_spot", "spot.trades", 5)], pinned=False) as sender:
        if sys.argv[1] == "flowing":
            sender.begin(0, 5, Schedule(0.01))
            reader, writer = await asyncio.open_connection("127.0.0.1", sender.port)
            writer.write(b"GET / HTTP/1.1\\r\\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\\r\\n\\r\\n")
            await reader.readuntil(b"\\r\\n\\r\\n")
            sender.go()
        print(sender.pid, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.parametrize("doing", ["waiting", "flowing"])
def test_the_sender_ends_with_its_parent_however_that_ends(doing: str) -> None:
    command = [sys.executable, "-c", PARENT, doing]
    environment = os.environ | {"PYTHONPATH": str(SOURCE)}
    with subprocess.Popen(command, cwd=SOURCE, env=environment, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        sender = os.pidfd_open(int(parent.stdout.readline()))
        try:
            assert select.select([sender], [], [], 0)[0] == []
            parent.send_signal(signal.SIGKILL)
            assert select.select([sender], [], [], 30)[0] == [sender]
        finally:
            if not select.select([sender], [], [], 0)[0]:
                signal.pidfd_send_signal(sender, signal.SIGKILL)
            os.close(sender)
