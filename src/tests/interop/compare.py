"""Clients that others wrote, unmodified, held against tickrail: all take the same pushes from one simulated exchange.

    cd src && ../.venv/bin/python -m tests.interop.compare PYTHON [--seconds 15] [--venue VENUE]

Then the same of accounts: see ``compare_accounts``.

PYTHON is that of an environment with ccxt and cryptofeed. Every client is a process of its own. What a client has in common with tickrail,
a book or a top at an update id, a trade or a ticker, must be the same for both, but for what ``VENUES`` says of a client. Exit code 0
only if it is, if there was enough of it, if the exchange was asked for the channels that the table names, and if no client ended before its
time.
"""

import argparse
import asyncio
import ssl
import sys
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from rich.console import Console
from rich.table import Table

from infrastructure.simulator.launch import SideChannel
from tests.harness.bare_server import Certificates
from tests.interop import compare_accounts
from tests.interop.process import ClientProcess
from tests.interop.sight import Number
from tickrail import simulated_exchange

START_TIMEOUT_S = 60.0
MOST_THINGS_A_SECOND = "60"


class Peer(NamedTuple):
    """A client: its script, the channel that its books are to come from, and what is known to be wrong with what it sees.

    ``cuts`` says that it knows whole amounts only, truncated; ``without`` names, by kind, the values that it does not have, by their place;
    ``lacks`` are kinds that it has none of.
    """

    name: str
    channel: str
    fragment: str = ""
    cuts: bool = False
    without: Mapping[str, tuple[int, ...]] = {}
    lacks: tuple[str, ...] = ()


class Play(NamedTuple):
    """What is played: an exchange, what tickrail watches beside books, the clients, and how much they must have in common of each pair."""

    symbols: tuple[str, ...]
    channels: tuple[str, ...]
    peers: tuple[Peer, ...]
    #: By kind; 5 seconds of these exchanges give more.
    least: Mapping[str, int]


#: By venue.
VENUES: Mapping[str, Play] = {
    "gateio_spot": Play(
        ("BTC/USDT", "ETH/USDT"),
        ("spot.trades", "spot.tickers", "spot.book_ticker"),
        (
            Peer("tickrail", "spot.obu"),
            Peer("tickrail", "spot.order_book_update"),
            Peer("ccxt", "spot.obu"),
            Peer("ccxt", "spot.order_book_update", fragment="#gateeu"),
            Peer("cryptofeed", "spot.order_book_update", lacks=("top",)),
        ),
        {"book": 50, "trade": 10, "ticker": 2, "top": 10},
    ),
    "gateio_futures": Play(
        ("BTC/USDT:USDT", "ETH/USDT:USDT"),
        ("futures.trades", "futures.tickers", "futures.book_ticker"),
        (
            Peer("tickrail", "futures.obu"),
            Peer("tickrail", "futures.order_book_update"),
            # It has no other channel for a contract's book.
            Peer("ccxt", "futures.order_book_update"),
            # It breaks on the exact sizes, which are texts, and so does not ask for them; its tops are prices alone.
            Peer("cryptofeed", "futures.order_book_update", cuts=True, without={"top": (1, 3)}),
        ),
        {"book": 50, "trade": 10, "ticker": 2, "top": 10},
    ),
    "mexc_spot": Play(
        ("BTC/USDT", "ETH/USDT"),
        ("spot@public.aggre.deals.v3.api.pb", "spot@public.aggre.bookTicker.v3.api.pb", "spot@public.kline.v3.api.pb"),
        (
            Peer("tickrail", "spot@public.aggre.depth.v3.api.pb"),
            Peer("tickrail", "spot@public.limit.depth.v3.api.pb"),
            Peer("ccxt", "spot@public.aggre.depth.v3.api.pb"),
        ),
        {"book": 50, "trade": 10, "top": 10, "candle": 2},
    ),
}
#: By kind: where amounts stand.
AMOUNTS = {"book": (1, 3), "top": (1, 3), "trade": (1,)}

Values = tuple[float, ...]


class Client(ClientProcess):
    """A client, and by kind, pair and number what it saw; more than one thing if it contradicts itself."""

    def __init__(self, peer: Peer, symbols: Sequence[str], command: Sequence[str], environment: Mapping[str, str]) -> None:
        super().__init__(command, environment)
        self.peer = peer
        self.seen: dict[tuple[str, str], dict[Number, set[Values]]] = defaultdict(lambda: defaultdict(set))
        self.has_books = asyncio.Event()
        self._symbols = symbols

    def __str__(self) -> str:
        return f"{self.peer.name} on {self.peer.channel}"

    def as_seen(self, kind: str, values: Values) -> Values:
        """What this client must see where tickrail sees ``values``."""
        if self.peer.cuts:
            values = tuple(float(int(value)) if place in AMOUNTS.get(kind, ()) else value for place, value in enumerate(values))
        return tuple(value for place, value in enumerate(values) if place not in self.peer.without.get(kind, ()))

    def take(self, line: Sequence[Any]) -> None:
        """A thing that it saw."""
        kind, symbol, number, values = line
        self.seen[kind, symbol][number].add(tuple(values))
        if all(("book", symbol) in self.seen for symbol in self._symbols):
            self.has_books.set()


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


async def observe(venue: str, play: Play, peers_python: str, seconds: float) -> tuple[list[Client], list[str]]:
    """Run all clients side by side for ``seconds``; gives them with what was wrong, but for what they saw."""
    symbols = ",".join(play.symbols)
    with TemporaryDirectory() as folder:
        certificates = Certificates(Path(folder))
        async with simulated_exchange(venue, "--seed", "7", "--symbols", symbols, "--rate", MOST_THINGS_A_SECOND) as exchange:
            address = urlsplit(exchange.websocket_url)
            assert address.port is not None
            async with tls_in_front(address.port, certificates.server()) as tls_port:
                clients = []
                for peer in play.peers:
                    python = sys.executable if peer.name == "tickrail" else peers_python
                    # cryptofeed accepts nothing but TLS.
                    needs_tls = peer.name == "cryptofeed"
                    url = f"wss://localhost:{tls_port}{address.path}" if needs_tls else exchange.websocket_url + peer.fragment
                    channels = ",".join((peer.channel, *play.channels))
                    module = f"tests.interop.{peer.name}_client"
                    command = (python, "-m", module, venue, url, exchange.rest_url, symbols, channels)
                    clients.append(Client(peer, play.symbols, command, {"SSL_CERT_FILE": f"{folder}/authority"} if needs_tls else {}))
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
        books = dict.fromkeys(client.peer.channel for client in clients)
        return [channel for each in channels for channel in books if channel in each]

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
    if asking in done and (asked := Counter(asking.result())) != (named := Counter(client.peer.channel for client in clients)):
        findings.append(f"the exchange was asked for {dict(asked)}, and not for {dict(named)}")
    return findings


def compare(play: Play, clients: Sequence[Client]) -> tuple[Table, list[str]]:
    """Each client against the tickrail clients before it: a table, and what was wrong."""
    findings = []
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for column in ("client", "its books", "kind", "symbol"):
        table.add_column(column, no_wrap=True)
    for column in ("seen", "in common", "different"):
        table.add_column(column, justify="right")
    for place, client in enumerate(clients[1:], 1):
        references = [other for other in clients[:place] if other.peer.name == "tickrail"]
        for kind, least in play.least.items():
            if kind in client.peer.lacks:
                continue
            for symbol in play.symbols:
                own = client.seen[kind, symbol]
                theirs: defaultdict[Number, set[Values]] = defaultdict(set)
                for reference in references:
                    for number, values in reference.seen[kind, symbol].items():
                        theirs[number] |= {client.as_seen(kind, each) for each in values}
                common = [number for number in own if number in theirs]
                different = [number for number in common if len(own[number] | theirs[number]) > 1]
                row = (client.peer.name, client.peer.channel, kind, symbol, *(str(len(each)) for each in (own, common, different)))
                table.add_row(*row)
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
    parser.add_argument("--venue", choices=VENUES, action="append")
    given = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 120)
    is_wrong = False
    for venue in given.venue or VENUES:
        clients, findings = asyncio.run(observe(venue, VENUES[venue], given.python, given.seconds))
        console.print(venue, style="bold")
        if not findings:
            table, findings = compare(VENUES[venue], clients)
            console.print(table)
        accounts, wrong = asyncio.run(compare_accounts.observe(venue, given.python))
        console.print(accounts)
        for finding in (*findings, *wrong):
            console.print(finding, style="red", soft_wrap=True)
        is_wrong = is_wrong or bool(findings or wrong)
    return 1 if is_wrong else 0


if __name__ == "__main__":
    sys.exit(main())
