"""The command ``tickrail``. Exit codes: 0 done, 1 a run found something wrong, 2 wrong input."""

import asyncio
import sys
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import typer
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from infrastructure.book import OrderBook
from infrastructure.canonical import canonical
from infrastructure.capture import read_capture
from infrastructure.demo import SYMBOLS, Demo, DemoSummary, Inject, VenueFigures
from infrastructure.errors import SettingsError, TickrailError
from infrastructure.events import Architecture
from infrastructure.exchanges import VENUES
from infrastructure.metrics import FrameAccounting
from infrastructure.replay import ReplaySummary, replay, venue_of
from infrastructure.run import Exchanges
from infrastructure.session import Emission
from infrastructure.simulator import EXCHANGES
from infrastructure.simulator.faults import FAULTS, usage
from infrastructure.simulator.server import HOST, Simulator, security_of, serve_until_signal

_new_event_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
try:
    import uvloop
except ImportError:
    pass
else:
    _new_event_loop = uvloop.new_event_loop

Result = TypeVar("Result")

app = typer.Typer(
    name="tickrail",
    help="Exchange WebSocket streams through two architectures, switched while data flows, with an account of every frame.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode="rich",
)
_DEMO_VENUE = next(iter(VENUES))
_REFRESHES_PER_SECOND = 4
_BOOKS_SHOWN = 15

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on one line, for machines.")]


@app.command("demo")
def demo_command(
    seconds: Annotated[float, typer.Option(min=0.1, max=86_400, help="How long to stream.")] = 20.0,
    rate: Annotated[float, typer.Option(min=1, max=1_000_000, help="Frames a second in all.")] = 4000.0,
    switch_every: Annotated[float, typer.Option(min=0.01, help="Seconds between two switches of the architecture.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Of the generated market; the same seed, the same frames.")] = 1,
    as_json: Json = False,
    inject: Annotated[Inject | None, typer.Option(hidden=True, help="Put a fault into our own side, which the run must find.")] = None,
) -> None:
    """Stream a simulated exchange over a real socket, switch architectures in mid-stream, and prove that nothing was lost.

    The exchange is a process of its own on this machine, and every message it sends carries a number. The numbers that reached the
    callbacks are held against those that were sent, and at the end each order book against the exchange's own. Exit code 0 only if nothing
    was lost, duplicated or reordered and every book is right.

    Example: tickrail demo --seconds 5 --rate 8000 --switch-every 0.2
    """
    demo = Demo(_DEMO_VENUE, seed, inject)
    console = Console()
    if as_json:
        summary = in_loop(demo.run(seconds, rate, switch_every))
        sys.stdout.write(msgspec.json.encode(summary).decode() + "\n")
    else:
        with Live(console=console, refresh_per_second=_REFRESHES_PER_SECOND, transient=True) as live:
            shown = -1.0

            def show(running: Demo, elapsed: float) -> None:
                nonlocal shown
                if elapsed - shown >= 1 / _REFRESHES_PER_SECOND:
                    shown = elapsed
                    live.update(picture(running, elapsed, seconds))

            summary = in_loop(demo.run(seconds, rate, switch_every, show))
        console.print(_demo_end(summary))
    raise typer.Exit(0 if summary.is_clean else 1)


@app.command("replay")
def replay_command(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A capture: JSON lines with t, dir, url and raw or hex.", show_default=False)
    ],
    venue: Annotated[str | None, typer.Option(help=f"Whose frames they are: {', '.join(VENUES)}. Default: by the file's URLs.")] = None,
    architecture: Annotated[Architecture, typer.Option(help="The architecture to start with.")] = Architecture.DIRECT,
    switch_every: Annotated[int, typer.Option(min=0, help="Switch the architecture every so many frames; 0: never.")] = 0,
    adapted: Annotated[bool, typer.Option("--adapted", help="Run each architecture through the other's adapter.")] = False,
    as_json: Json = False,
) -> None:
    """Run recorded traffic through one architecture, or both in turn, and print what came of it.

    The digest covers every event in order: two runs over the same file must print the same one, whatever the architecture and however
    often it changed. REST answers are taken from the file; nothing is fetched.

    Example: tickrail replay capture.jsonl --architecture strategy --switch-every 7
    """
    lines = read_capture(file)
    summary = asyncio.run(replay(lines, venue or venue_of(lines), architecture, switch_every=switch_every, adapted=adapted))
    if as_json:
        accounting = summary.accounting
        frames = {name: getattr(accounting, name) for name in ("received", "delivered", "control", "rejected", "shed", "in_flight")}
        sys.stdout.write(msgspec.json.encode(msgspec.to_builtins(summary) | {"accounting": frames}).decode() + "\n")
    else:
        Console().print(_replay_end(summary))


@app.command("run")
def run_command(
    config: Annotated[Path, typer.Option(metavar="FILE", help="TOML, one table for each exchange; tickrail.example.toml shows all.")],
    seconds: Annotated[float | None, typer.Option(min=0.1, help="Stop after so long; default: at Ctrl-C or SIGTERM.")] = None,
    events: Annotated[bool, typer.Option("--events", help="Print every event as a line of JSON instead of the table.")] = False,
) -> None:
    """Stream the exchanges of a configuration file and show what comes.

    SIGHUP reads the file again and applies it to the live connections: architecture, symbols and channels. Exit code 1 if every
    exchange was given up, 2 if the configuration is wrong or an exchange cannot be opened.

    Example: tickrail run --config tickrail.example.toml
    """

    def on_event(event: Emission) -> None:
        if events:
            sys.stdout.buffer.write(canonical(event) + b"\n")

    console = Console()
    exchanges = Exchanges(config, on_event)
    if events or not console.is_terminal:
        in_loop(exchanges.run(seconds, lambda _: sys.stdout.flush()))
    else:
        with Live(console=console, refresh_per_second=_REFRESHES_PER_SECOND, transient=True) as live:
            in_loop(exchanges.run(seconds, lambda running: live.update(exchanges_picture(running))))
    if not events:
        console.print(exchanges_picture(exchanges))
    if exchanges.managers and all(manager.failure for manager in exchanges.managers.values()):
        raise typer.Exit(1)


@app.command("simulate")
def simulate_command(
    venue: Annotated[str, typer.Argument(metavar="VENUE", help=f"The exchange: {', '.join(EXCHANGES)}.", show_default=False)],
    port: Annotated[int, typer.Option(min=0, max=65_535, help="TCP port on 127.0.0.1; 0: any that is free.")] = 0,
    seed: Annotated[int, typer.Option(help="Of the generated market; the same seed, the same contents.")] = 1,
    symbols: Annotated[str | None, typer.Option(help="Pairs, with commas between them.", show_default=",".join(SYMBOLS))] = None,
    rate: Annotated[
        float, typer.Option(min=0, max=1_000_000, help="What happens a second, over all pairs and channels, subscribed to or not.")
    ] = 100.0,
    capture: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Serve this recorded traffic, as fast as it can be read, and no generated market.")
    ] = None,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="; ".join(f"{usage(each)}: {each.help}" for each in FAULTS.values()) + ". May be given several times.",
        ),
    ] = None,
    certificate: Annotated[Path | None, typer.Option(metavar="FILE", help="Serve wss and https with this certificate, PEM.")] = None,
    key: Annotated[Path | None, typer.Option(metavar="FILE", help="The key of the certificate, PEM.")] = None,
) -> None:
    """Be an exchange on this machine: REST and WebSocket on one port, with the real paths, requests and frames, and with faults.

    When it is ready it prints one line, the venue, its WebSocket address and its REST address, and then serves until SIGTERM or
    Ctrl-C.

    Example: tickrail simulate VENUE --port 8501 --rate 2000 --fault drop=500 --fault cut=30
    """
    if (certificate is None) != (key is None):
        raise SettingsError("a certificate and its key belong together")
    security = security_of(certificate, key) if certificate and key else None
    pairs = tuple(symbols.split(",")) if symbols is not None else () if capture else SYMBOLS
    lines = read_capture(capture) if capture else None
    simulator = Simulator(venue, pairs, seed=seed, rate=rate, faults=fault or (), capture=lines)

    def ready(bound: int) -> None:
        secure = "s" if security else ""
        address = f"{HOST}:{bound}"
        print(venue, f"ws{secure}://{address}{simulator.exchange.websocket_path}", f"http{secure}://{address}", flush=True)

    in_loop(serve_until_signal(simulator, port, security, ready))


def in_loop(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Run to the end in an event loop of uvloop, where it is installed."""
    with asyncio.Runner(loop_factory=_new_event_loop) as runner:
        return runner.run(coroutine)


def main() -> None:
    """Run the command line; wrong input gives one line on standard error and exit code 2."""
    try:
        app()
    except TickrailError as error:
        sys.stderr.write(f"tickrail: {error}\n")
        sys.exit(2)


def picture(demo: Demo, elapsed: float, seconds: float) -> Group:
    """What a demo shows while it runs; fits 80 columns and 24 lines."""
    assert demo.feed is not None
    figures = demo.figures()
    head = Text.assemble(
        ("tickrail demo", "bold"),
        f"  {demo.venue.name}  {elapsed:5.1f} of {seconds:.0f} s  now: ",
        (demo.feed.architecture.value, "bold cyan"),
    )
    ledger = demo.ledger
    proof = Text.assemble(
        "lost ", _verdict(ledger.lost), "  duplicated ", _verdict(ledger.duplicated), "  reordered ", _verdict(ledger.reordered)
    )
    return Group(head, _architectures(figures), _books(demo.feed.books), _account(figures.accounting), _changes(figures), proof)


def exchanges_picture(exchanges: Exchanges) -> Group:
    """What a run shows: a line for each exchange, then the books, as many as fit."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("exchange", "state", "architecture"):
        table.add_column(name)
    for name in ("frames", "rejected", "waiting", "lag ms", "connects"):
        table.add_column(name, justify="right")
    books: dict[str, OrderBook] = {}
    for name, manager in exchanges.managers.items():
        frames = manager.accounting.frames
        books |= manager.books
        table.add_row(
            name,
            manager.state.value,
            manager.architecture.value,
            f"{frames.received:,}",
            f"{frames.rejected:,}",
            f"{frames.in_flight:,}",
            f"{manager.lag_ns / 1e6:.0f}",
            f"{manager.connects:,}",
        )
    notes = [Text(f"{name}: {note}", "yellow") for name, note in exchanges.notes.items()]
    return Group(Text("tickrail run", "bold"), table, _books(dict(list(books.items())[:_BOOKS_SHOWN])), *notes)


def _architectures(figures: VenueFigures) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column("architecture")
    for name in ("messages", "per second", "errors", "p50 us", "p99 us"):
        table.add_column(name, justify="right")
    for name, path in figures.architectures.items():
        table.add_row(
            name, f"{path.messages:,}", f"{path.per_second:,.0f}", str(path.errors), _microseconds(path.p50_ns), _microseconds(path.p99_ns)
        )
    return table


def _books(books: Mapping[str, OrderBook]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column("book")
    for name in ("state", "best bid", "best ask", "update id"):
        table.add_column(name, justify="right")
    for symbol, book in sorted(books.items()):
        bid, ask = (book.best_bid, book.best_ask) if book.is_live else (None, None)
        state = Text(book.state.value, "green" if book.is_live else "yellow")
        table.add_row(symbol, state, f"{bid[0]:.2f}" if bid else "-", f"{ask[0]:.2f}" if ask else "-", str(book.last_id or "-"))
    return table


def _account(frames: FrameAccounting) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for name in ("received", "delivered", "control", "rejected", "shed", "in_flight"):
        table.add_column(name.replace("_", " "), justify="right")
    counts = (frames.received, frames.delivered, frames.control, frames.rejected, frames.shed, frames.in_flight)
    table.add_row(*(f"{count:,}" for count in counts))
    return table


def _changes(figures: VenueFigures) -> Text:
    return Text(f"switches {figures.switches:,}   holes in books repaired {figures.gaps_repaired:,}")


def _demo_end(summary: DemoSummary) -> Group:
    parts: list[Text | Table] = []
    for venue, figures in summary.venues.items():
        parts += [Text(f"{venue}: {summary.seconds:.1f} s", "bold"), _architectures(figures)]
        parts += [_account(figures.accounting), _changes(figures)]
        parts.append(Text(f"books: {figures.books.live} live, all compared with the exchange's own, level by level"))
    parts += [Text(finding, "red") for finding in summary.findings]
    parts += [Text(f"wrong book: {symbol}", "red") for symbol in summary.wrong_books]
    parts.append(
        Text.assemble(
            "lost ", _verdict(summary.lost), "  duplicated ", _verdict(summary.duplicated), "  reordered ", _verdict(summary.reordered)
        )
    )
    return Group(*parts)


def _replay_end(summary: ReplaySummary) -> Group:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for name in ("book", "state"):
        table.add_column(name)
    for name in ("best bid", "best ask", "levels", "update id"):
        table.add_column(name, justify="right")
    for symbol, book in summary.books.items():
        bid, ask = (f"{side[0][0]:g}" if side else "-" for side in (book.bids, book.asks))
        table.add_row(symbol, book.state, bid, ask, f"{len(book.bids)} + {len(book.asks)}", str(book.last_id))
    events = "  ".join(f"{kind} {count:,}" for kind, count in summary.events.items())
    return Group(
        _account(summary.accounting),
        Text(f"events: {events}"),
        Text(f"switches {summary.switches:,}"),
        table,
        Text(f"sha256 {summary.events_sha256}"),
    )


def _verdict(count: int) -> tuple[str, str]:
    return (f"{count:,}", "bold red" if count else "bold green")


def _microseconds(nanoseconds: int | None) -> str:
    return "-" if nanoseconds is None else f"{nanoseconds / 1000:.1f}"


if __name__ == "__main__":
    main()
