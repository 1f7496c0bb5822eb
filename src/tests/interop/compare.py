"""Clients that others wrote, unmodified, held against tickrail: all take the same pushes from one simulated exchange.

    cd src && ../.venv/bin/python -m tests.interop.compare PYTHON [--seconds 15]

PYTHON is that of an environment with ccxt and cryptofeed. Every client is a process of its own. What a client has in common with tickrail,
a book at an update id, a trade or a ticker, must be the same for both. Exit code 0 only if it is, if there was enough of it, if the
exchange was asked for the channels that the table names, and if no client ended before its time.
"""

import argparse
import asyncio
import json
import os
import ssl
import sys
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

from rich.console import Console
from rich.table import Table

from infrastructure.simulator.launch import SideChannel
from tests.harness.bare_server import Certificates
from tests.interop.sight import SYMBOLS, Number
from tickrail import simulated_exchange

VENUE = "gateio_spot"
OBU = "spot.obu"
ORDER_BOOK_UPDATE = "spot.order_book_update"
EXCHANGE = ("--seed", "7", "--symbols", ",".join(SYMBOLS), "--rate", "60")
START_TIMEOUT_S = 60.0
#: Of each pair, by kind; 5 seconds of this exchange give more.
LEAST_IN_COMMON = {"book": 50, "trade": 10, "ticker": 2}

Values = tuple[float, ...]


class Client:
    """A client as a process of its own, and by kind, pair and number what it saw; more than one thing if it contradicts itself."""

    def __init__(self, name: str, channel: str, *command: str, environment: dict[str, str] | None = None) -> None:
        self.name = name
        self.channel = channel
        self.seen: dict[tuple[str, str], dict[Number, set[Values]]] = defaultdict(lambda: defaultdict(set))
        self.has_books = asyncio.Event()
        self.exit_code: int | None = None
        self._command = command
        self._environment = os.environ | (environment or {})

    def __str__(self) -> str:
        return f"{self.name} on {self.channel}"

    async def run(self) -> None:
        """Take what it tells until it ends or this is cancelled; its errors go where ours go."""
        process = await asyncio.create_subprocess_exec(*self._command, env=self._environment, stdout=asyncio.subprocess.PIPE)
        assert process.stdout is not None
        try:
            async for line in process.stdout:
                kind, symbol, number, values = json.loads(line)
                self.seen[kind, symbol][number].add(tuple(values))
                if all(("book", symbol) in self.seen for symbol in SYMBOLS):
                    self.has_books.set()
            self.exit_code = await process.wait()
        finally:
            if process.returncode is None:
                process.kill()  # it has nothing to put in order
                await process.wait()


@asynccontextmanager
async def tls_in_front(port: int, security: ssl.SSLContext) -> AsyncIterator[int]:
    """The plain server at ``port`` for clients that want TLS; gives their port."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass  # the other end is gone, as after the end of the stream
        finally:
            writer.close()

    async def tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        plain_reader, plain_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(carry(reader, plain_writer), carry(plain_reader, writer))

    async with await asyncio.start_server(tunnel, "127.0.0.1", 0, ssl=security) as server:
        yield server.sockets[0].getsockname()[1]


async def observe(peers_python: str, seconds: float) -> tuple[list[Client], list[str]]:
    """Run all clients side by side for ``seconds``; gives them with what was wrong, but for what they saw."""
    with TemporaryDirectory() as folder:
        certificates = Certificates(Path(folder))
        async with simulated_exchange(VENUE, *EXCHANGE) as exchange:
            url, rest = exchange.websocket_url, exchange.rest_url
            address = urlsplit(url)
            assert address.port is not None
            async with tls_in_front(address.port, certificates.server()) as tls_port:
                tls_url = f"wss://localhost:{tls_port}{address.path}"
                trusted = {"SSL_CERT_FILE": f"{folder}/authority"}
                tickrail = (sys.executable, "-m", "tests.interop.tickrail_client", url, rest)
                ccxt = (peers_python, "-m", "tests.interop.ccxt_client")
                cryptofeed = (peers_python, "-m", "tests.interop.cryptofeed_client", tls_url, rest)
                clients = [
                    Client("tickrail", OBU, *tickrail, OBU),
                    Client("tickrail", ORDER_BOOK_UPDATE, *tickrail, ORDER_BOOK_UPDATE),
                    Client("ccxt", OBU, *ccxt, url, rest),
                    Client("ccxt", ORDER_BOOK_UPDATE, *ccxt, f"{url}#gateeu", rest),
                    Client("cryptofeed", ORDER_BOOK_UPDATE, *cryptofeed, environment=trusted),
                ]
                return clients, await run_all(clients, exchange, seconds)


async def run_all(clients: Sequence[Client], exchange: SideChannel, seconds: float) -> list[str]:
    """Run them until each has had its books for ``seconds``, or one ends, or the time is up; gives what was wrong."""

    async def book_channels() -> list[str]:
        """By open connection, in the end."""
        for client in clients:
            await client.has_books.wait()
        await asyncio.sleep(seconds)
        connections = (await exchange.state())["connections"]
        channels = [{channel for channel, *_ in connection["subscriptions"]} for connection in connections]
        return [channel for each in channels for channel in (OBU, ORDER_BOOK_UPDATE) if channel in each]

    asking = asyncio.create_task(book_channels())
    tasks = [asking, *(asyncio.create_task(client.run()) for client in clients)]
    try:
        done, _ = await asyncio.wait(tasks, timeout=START_TIMEOUT_S + seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    findings = [f"{client} ended before its time: exit code {client.exit_code}" for client in clients if client.exit_code is not None]
    for task in done:
        task.result()
    if asking in done and (asked := Counter(asking.result())) != (named := Counter(client.channel for client in clients)):
        findings.append(f"the exchange was asked for {dict(asked)}, and not for {dict(named)}")
    return findings


def compare(clients: Sequence[Client]) -> tuple[Table, list[str]]:
    """Each client against the tickrail clients before it: a table, and what was wrong."""
    findings = []
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for column in ("client", "its books", "kind", "symbol"):
        table.add_column(column, no_wrap=True)
    for column in ("seen", "in common", "different"):
        table.add_column(column, justify="right")
    for place, client in enumerate(clients[1:], 1):
        references = [other for other in clients[:place] if other.name == "tickrail"]
        for kind, least in LEAST_IN_COMMON.items():
            for symbol in SYMBOLS:
                own = client.seen[kind, symbol]
                theirs: defaultdict[Number, set[Values]] = defaultdict(set)
                for reference in references:
                    for number, values in reference.seen[kind, symbol].items():
                        theirs[number] |= values
                common = [number for number in own if number in theirs]
                different = [number for number in common if len(own[number] | theirs[number]) > 1]
                table.add_row(client.name, client.channel, kind, symbol, *(str(len(each)) for each in (own, common, different)))
                if len(common) < least:
                    findings.append(f"{client}: {kind} {symbol}: {len(common)} in common, fewer than {least}")
                if different:
                    first = different[0]
                    findings.append(f"{client}: {kind} {symbol}: first at {first}: {own[first]}, tickrail {theirs[first]}")
    return table, findings


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("python")
    parser.add_argument("--seconds", type=float, default=15.0)
    given = parser.parse_args()
    clients, findings = asyncio.run(observe(given.python, given.seconds))
    console = Console()
    if not findings:
        table, findings = compare(clients)
        console.print(table)
    for finding in findings:
        console.print(finding, style="red", soft_wrap=True)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
