"""ccxt.pro with an account, unmodified, held against tickrail with the same account at the same simulated exchange.

ccxt trades by its own REST calls. In the end, when all has settled, each order, fill, balance and position must be the same for ccxt
and for tickrail in both architectures, but for what ``VENUES`` says of ccxt; balances and positions must be those of the exchange's own
ledger; and no fill may have been told twice. Started by ``compare``.
"""

import asyncio
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from rich.table import Table

from infrastructure.simulator.launch import SideChannel
from tests.interop.process import ClientProcess
from tickrail import Architecture, simulated_exchange

SETTLE_TIMEOUT_S = 60.0
END_TIMEOUT_S = 10.0
#: What the account does by itself after ccxt has traded: orders of any kind, cancels, fills of what rests.
TRADES = 40
POLL_S = 0.1

KINDS = ("order", "fill", "balance", "position")
Values = Mapping[str, float | str | None]


class Play(NamedTuple):
    """Where ccxt trades, the private channels of each client, and what is known to be wrong with what ccxt sees.

    ``misread`` gives by the venue's own word for an order's status what ccxt takes it for; ``without`` names, by kind, the values that it
    does not have.
    """

    symbols: tuple[str, ...]
    tickrail: frozenset[str]
    ccxt: frozenset[str]
    fragment: str = ""
    misread: Mapping[str, str] = {}
    without: Mapping[str, tuple[str, ...]] = {}

    def as_seen(self, kind: str, values: Values) -> Values:
        """What ccxt must see where tickrail sees ``values``."""
        if kind == "order" and values.get("native") in self.misread:
            values = {**values, "status": self.misread[str(values["native"])]}
        return {name: each for name, each in values.items() if name not in ("native", *self.without.get(kind, ()))}


#: By venue.
VENUES: Mapping[str, Play] = {
    "gateio_spot": Play(
        ("BTC/USDT", "ETH/USDT"),
        frozenset({"spot.orders", "spot.usertrades", "spot.balances"}),
        frozenset({"spot.orders", "spot.usertrades", "spot.balances"}),
        # Words that it does not know and hands on.
        misread={"fok": "fok", "poc": "poc"},
    ),
    "gateio_futures": Play(
        ("BTC/USDT:USDT", "ETH/USDT:USDT"),
        frozenset(
            {
                "futures.orders",
                "futures.usertrades",
                "futures.balances",
                "futures.positions",
                "futures.liquidates",
                "futures.auto_deleverages",
            }
        ),
        frozenset({"futures.orders", "futures.usertrades", "futures.balances", "futures.positions"}),
        # It takes a position for one of futures if its WebSocket URL has this in it, else for one of spot, of which there is none.
        fragment="#fx",
        misread={"fok": "fok", "poc": "poc"},
    ),
    "mexc_spot": Play(
        ("BTC/USDT", "ETH/USDT"),
        frozenset(f"spot@private.{kind}.v3.api.pb" for kind in ("orders", "deals", "account")),
        frozenset(f"spot@private.{kind}.v3.api.pb" for kind in ("orders", "deals", "account")),
        # 5 is canceled after a part was filled.
        misread={"5": "closed"},
        # It looks for the maker's mark where it was before the frames were binary, and takes itself for the taker.
        without={"fill": ("role",)},
    ),
}


class Client(ClientProcess):
    """A client, and by kind and key what it was told last."""

    def __init__(self, name: str, channels: frozenset[str], command: Sequence[str], news: asyncio.Event) -> None:
        super().__init__(command)
        self.name = name
        self.channels = channels
        self.known: dict[str, dict[str, Values]] = {kind: {} for kind in KINDS}
        #: The ids of the orders that it placed.
        self.placed: list[str] = []
        self.is_done = False
        self.told_twice: list[str] = []
        self._news = news

    def take(self, line: Sequence[Any]) -> None:
        """A change that it saw, or an order that it placed."""
        kind, key, values = line
        if kind == "placed":
            self.placed.append(key)
        elif kind == "done":
            self.is_done = True
        else:
            if kind == "fill" and key in self.known[kind]:
                self.told_twice.append(key)
            self.known[kind][key] = values
        self._news.set()


async def observe(venue: str, ccxt_python: str) -> tuple[Table, list[str]]:
    """Let ccxt trade while all look on; gives a table of what they saw, and what was wrong."""
    play = VENUES[venue]
    symbols = ",".join(play.symbols)
    news = asyncio.Event()
    async with simulated_exchange(venue, "--seed", "7", "--symbols", symbols) as exchange:

        def client(name: str, python: str, url: str, channels: frozenset[str], architecture: str) -> Client:
            module = f"tests.interop.{name}_account"
            command = (python, "-m", module, venue, url, exchange.rest_url, symbols, architecture)
            return Client(f"{name} {architecture}".strip(), channels, command, news)

        clients = [client("tickrail", sys.executable, exchange.websocket_url, play.tickrail, each) for each in Architecture]
        clients.append(client("ccxt", ccxt_python, exchange.websocket_url + play.fragment, play.ccxt, ""))
        findings = await run_all(play, clients, exchange, news)
        table, different = compare(play, clients, await exchange.account())
    return table, findings + different


async def run_all(play: Play, clients: Sequence[Client], exchange: SideChannel, news: asyncio.Event) -> list[str]:
    """Run them until all has settled, or one ends, or the time is up; gives what was wrong, but for what they saw."""
    trader = clients[-1]

    async def until(condition: Callable[[], bool]) -> None:
        while not condition():
            news.clear()
            await news.wait()

    async def trade() -> None:
        while await channels_asked(clients, exchange) != Counter(client.channels for client in clients):
            await asyncio.sleep(POLL_S)
        # So that what an order is to cross is still there when it comes.
        await exchange.pause()
        trader.go()
        await until(lambda: trader.is_done)
        await exchange.trade(TRADES)
        ledger = await exchange.account()
        await until(lambda: not compare(play, clients, ledger)[1])

    trading = asyncio.create_task(trade())
    running = [asyncio.create_task(client.run()) for client in clients]
    try:
        await asyncio.wait((trading, *running), timeout=SETTLE_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
        asked = await channels_asked(clients, exchange)
        if trading.done():
            trading.result()
            for client in clients:
                client.end()
            await asyncio.wait(running, timeout=END_TIMEOUT_S)
    finally:
        for task in (trading, *running):
            task.cancel()
        await asyncio.wait((trading, *running))
    findings = [f"{client.name}: exit code {client.exit_code}" for client in clients if client.exit_code != 0]
    if asked != (named := Counter(client.channels for client in clients)):
        findings.append(f"the exchange was asked for {dict(asked)}, and not for {dict(named)}")
    return findings


async def channels_asked(clients: Sequence[Client], exchange: SideChannel) -> Counter[frozenset[str]]:
    """The private channels of each connection that has any."""
    named = frozenset[str]().union(*(client.channels for client in clients))
    connections = (await exchange.state())["connections"]
    return Counter(asked for each in connections if (asked := named.intersection(channel for channel, *_ in each["subscriptions"])))


def compare(play: Play, clients: Sequence[Client], ledger: Mapping[str, Any]) -> tuple[Table, list[str]]:
    """Each client against the first, and that against the exchange's ``ledger``: a table, and what was wrong."""
    first, trader = clients[0], clients[-1]
    wanted = {kind: set(first.known[kind]) for kind in KINDS}
    counts = {kind: len(ledger[f"{kind}s"]) for kind in KINDS}
    findings = [f"{first.name}: {len(wanted[kind])} of {count} {kind}s" for kind, count in counts.items() if len(wanted[kind]) != count]
    if not wanted["order"].issuperset(trader.placed):
        findings.append(f"{first.name}: not all of {trader.placed}, which were placed")
    findings += unlike_ledger(first, ledger)
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for column in ("client", "its account"):
        table.add_column(column, no_wrap=True)
    for column in ("in all", "seen", "different"):
        table.add_column(column, justify="right")
    for client in clients:
        if client.told_twice:
            findings.append(f"{client.name}: told twice: {client.told_twice}")
        for kind, keys in wanted.items():
            own = client.known[kind]
            common = {key: (own[key], first.known[kind][key]) for key in own.keys() & keys}
            if client is trader:
                common = {key: (play.as_seen(kind, mine), play.as_seen(kind, its)) for key, (mine, its) in common.items()}
            different = {key: both for key, both in common.items() if both[0] != both[1]}
            if keys:
                table.add_row(client.name, kind, *(str(len(each)) for each in (keys, own, different)))
            if own.keys() != keys:
                findings.append(f"{client.name}: {kind}: {sorted(own.keys() ^ keys)} not seen, or seen by it alone")
            findings += [f"{client.name}: {kind} {key}: {mine}, tickrail {its}" for key, (mine, its) in different.items()]
    return table, findings


def unlike_ledger(client: Client, ledger: Mapping[str, Any]) -> list[str]:
    """What it knows of balances and positions that is not what the exchange has."""
    theirs = {("balance", currency, name): text for currency, its in ledger["balances"].items() for name, text in its.items()}
    theirs |= {("position", symbol, "amount"): its["size"] for symbol, its in ledger["positions"].items()}
    return [
        f"{client.name}: {kind} {key}: {name} {value}, the exchange {text}"
        for (kind, key, name), text in theirs.items()
        # Of futures a balance is told as a total alone.
        if (value := client.known[kind].get(key, {}).get(name)) is not None and value != float(text)
    ]
