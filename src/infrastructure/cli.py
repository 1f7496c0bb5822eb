"""The command ``tickrail``. Exit codes: 0 done, 1 a run found something wrong, 2 wrong input."""

import asyncio
import os
import signal
import sys
import textwrap
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import typer
from rich.console import Console
from rich.live import Live
from rich.text import Text

from infrastructure.canonical import canonical
from infrastructure.capture import read_capture
from infrastructure.demo import DEMO_VENUES, Demo, DemoSettings
from infrastructure.errors import SettingsError, TickrailError
from infrastructure.events import Architecture
from infrastructure.exchanges import VENUES
from infrastructure.injected import Inject
from infrastructure.replay import replay, venue_of
from infrastructure.run import Exchanges
from infrastructure.screens import demo_end, exchanges_picture, picture, replay_end
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
    pretty_exceptions_show_locals=False,  # What a frame holds may be secret, should the others ever be enabled.
    add_completion=False,
    rich_markup_mode=None,  # Its boxes cut help and errors into pieces of a few words.
)
_DEMO = DemoSettings()
_REFRESHES_PER_SECOND = 4
_FAULT_LINES = (
    textwrap.fill(f"{usage(each):27}{each.help}", 78, initial_indent="  ", subsequent_indent=" " * 29) for each in FAULTS.values()
)
_FAULTS_HELP = "\n".join(("\b", "Faults:", *_FAULT_LINES))

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on one line, for machines.")]


@app.command("demo", short_help="Prove on simulated exchanges that switching loses nothing.")
def demo_command(
    venue: Annotated[
        list[str] | None,
        typer.Option(metavar="VENUE", help=f"One of {', '.join(DEMO_VENUES)}. May be given several times.", show_default="all of them"),
    ] = None,
    seconds: Annotated[float, typer.Option(metavar="SECONDS", min=0.1, max=86_400, help="How long to stream.")] = _DEMO.seconds,
    rate: Annotated[float, typer.Option(metavar="N", min=1, max=1_000_000, help="Frames a second in all, over all venues.")] = _DEMO.rate,
    orders: Annotated[
        float, typer.Option("--orders", metavar="N", min=0, max=10_000, help="What the account of each venue does a second.")
    ] = _DEMO.orders,
    switch_every: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            min=0.01,
            help="How long until the first venue's architecture is switched again; the others' are a little later each.",
        ),
    ] = _DEMO.switch_every,
    seed: Annotated[int, typer.Option(metavar="N", help="Of the generated markets; the same seed, the same frames.")] = _DEMO.seed,
    as_json: Json = False,
    inject: Annotated[Inject | None, typer.Option(hidden=True, help="Put a fault into our own side, which the run must find.")] = None,
) -> None:
    """Stream simulated exchanges and an account at each, switch architectures while they flow, and prove that nothing was lost.

    Each exchange is a process of its own on this machine, and every message it sends carries a number. The numbers that reached the
    callbacks are held against those that were sent, and at the end each order book against the exchange's own, level by level. Of each
    account, which trades by itself, the connection is cut and replaced by another, and the listen key dies where there is one; every fill,
    and orders, balances and positions at the end, are held against the exchange's own, to the last digit. Exit code 0 only if nothing was
    lost, duplicated or reordered at any of them, and every book and account is right. Ctrl-C and SIGTERM end it unproven, with exit code
    130.

    Example: tickrail demo --seconds 5 --rate 8000 --switch-every 0.2
    """
    settings = DemoSettings(seconds=seconds, rate=rate, orders=orders, switch_every=switch_every, seed=seed, inject=inject)
    demo = Demo(venue or DEMO_VENUES, settings)
    console = Console()
    try:
        if as_json:
            summary = in_loop(demo.run())
        else:
            with _live(console, "tickrail demo  starting") as live:
                summary = in_loop(demo.run(lambda running, elapsed: live.update(picture(running, elapsed, console.height))))
    except KeyboardInterrupt:
        sys.stderr.write("tickrail: ended early, nothing is proven\n")
        raise typer.Exit(130) from None
    if as_json:
        sys.stdout.write(msgspec.json.encode(summary).decode() + "\n")
    else:
        console.print(demo_end(summary))
    raise typer.Exit(0 if summary.is_clean else 1)


@app.command("replay", short_help="Run recorded traffic through one architecture, or both in turn.")
def replay_command(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A capture: JSON lines with t, dir, url and raw or hex.", show_default=False)
    ],
    venue: Annotated[
        str | None,
        typer.Option(metavar="VENUE", help=f"Whose frames they are: {', '.join(VENUES)}.", show_default="by the addresses in the file"),
    ] = None,
    architecture: Annotated[Architecture, typer.Option(help="The architecture to start with.")] = Architecture.DIRECT,
    switch_every: Annotated[int, typer.Option(metavar="N", min=0, help="Switch the architecture every N frames; 0: never.")] = 0,
    adapted: Annotated[bool, typer.Option("--adapted", help="Run each architecture through the other's adapter.")] = False,
    as_json: Json = False,
) -> None:
    """Run recorded traffic through one architecture, or both in turn, and print what came of it.

    The digest covers every event in order: two runs over the same file must print the same one, whatever the architecture and however
    often it changed. REST answers are taken from the file; nothing is fetched.

    Example: tickrail replay capture.jsonl --switch-every 7
    """
    lines = read_capture(file)
    summary = asyncio.run(replay(lines, venue_of(lines, venue), architecture, switch_every=switch_every, adapted=adapted))
    if as_json:
        accounting = summary.accounting
        frames = {name: getattr(accounting, name) for name in ("received", "delivered", "control", "rejected", "shed", "in_flight")}
        sys.stdout.write(msgspec.json.encode(msgspec.to_builtins(summary) | {"accounting": frames}).decode() + "\n")
    else:
        Console().print(replay_end(summary))


@app.command("run", short_help="Stream the exchanges of a configuration file.")
def run_command(
    config: Annotated[Path, typer.Option(metavar="FILE", help="TOML, a table for each exchange; tickrail.example.toml shows all.")],
    seconds: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", min=0.1, help="How long to stream.", show_default="until Ctrl-C or SIGTERM"),
    ] = None,
    events: Annotated[bool, typer.Option("--events", help="Print each event as a line of JSON, and no table.")] = False,
) -> None:
    """Stream the exchanges of a configuration file, and an account where it says whose, and show what comes.

    SIGHUP reads the file again and applies it to the live connections: architecture, symbols and channels. Exit code 1 if every
    exchange was given up or the events cannot be written, 2 if the configuration is wrong or an exchange cannot be opened.

    Example: tickrail run --config tickrail.example.toml
    """
    lines: list[bytes] = []
    told: dict[str, str] = {}

    def on_event(event: Emission) -> None:
        if events:
            lines.append(canonical(event) + b"\n")

    def write(running: Exchanges) -> None:
        """What there is for those who do not look at the table: events, and on standard error the notes."""
        nonlocal told
        for name, note in running.notes.items():
            if told.get(name) != note:
                sys.stderr.write(f"tickrail: {name}: {note}\n")
        told = dict(running.notes)
        try:
            rest = b"".join(lines)
            while rest:  # An output without a buffer may take less than all.
                rest = rest[sys.stdout.buffer.write(rest) :]
            sys.stdout.buffer.flush()
        except OSError as error:
            if not isinstance(error, BrokenPipeError):
                sys.stderr.write(f"tickrail: events cannot be written: {error.strerror}\n")
            # What the buffer holds can go nowhere, and must not be tried again at the end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(1) from None
        lines.clear()

    console = Console()
    exchanges = Exchanges(config, on_event)
    if events or not console.is_terminal:
        in_loop(exchanges.run(seconds, write))
        write(exchanges)
    else:
        with _live(console, "tickrail run  connecting") as live:
            in_loop(exchanges.run(seconds, lambda running: live.update(exchanges_picture(running, console.height))))
    if not events:
        console.print(exchanges_picture(exchanges))
    if exchanges.managers and all(manager.failure for manager in exchanges.managers.values()):
        raise typer.Exit(1)


@app.command("simulate", short_help="Be an exchange on this machine, with faults.", epilog=_FAULTS_HELP)
def simulate_command(
    venue: Annotated[str, typer.Argument(metavar="VENUE", help=f"The exchange: {', '.join(EXCHANGES)}.", show_default=False)],
    port: Annotated[int, typer.Option(metavar="PORT", min=0, max=65_535, help=f"On {HOST}; 0: any that is free.")] = 0,
    seed: Annotated[int, typer.Option(metavar="N", help="Of the generated market; the same seed, the same contents.")] = 1,
    symbols: Annotated[
        str | None,
        typer.Option(
            metavar="PAIR,PAIR...",
            help="What is traded.",
            show_default="a few pairs of the exchange, or those of the capture",
        ),
    ] = None,
    rate: Annotated[
        float,
        typer.Option(metavar="N", min=0, max=1_000_000, help="What happens a second, over all pairs and channels, subscribed to or not."),
    ] = 100.0,
    capture: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Serve this recorded traffic, as fast as it can be read, and no generated market.")
    ] = None,
    fault: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="What goes wrong, as listed below. May be given several times."),
    ] = None,
    api_key: Annotated[str, typer.Option("--api-key", metavar="TEXT", help="Whoever has it and the secret, has an account.")] = "key",
    secret: Annotated[str, typer.Option("--secret", metavar="TEXT", help="What requests with the key are signed with.")] = "secret",
    orders: Annotated[
        float, typer.Option("--orders", metavar="N", min=0, max=10_000, help="What the account does by itself a second.")
    ] = 0.0,
    certificate: Annotated[Path | None, typer.Option(metavar="FILE", help="Serve wss and https with this certificate, PEM.")] = None,
    key: Annotated[Path | None, typer.Option(metavar="FILE", help="The key of the certificate, PEM.")] = None,
    attended: Annotated[bool, typer.Option("--attended", hidden=True, help="End when standard input ends.")] = False,
) -> None:
    """Be an exchange on this machine: REST and WebSocket on one port, with the real paths, requests and frames, and with faults.

    When it is ready it prints one line, the venue, its WebSocket address and its REST address, and then serves until SIGTERM or
    Ctrl-C.

    Example: tickrail simulate VENUE --port 8501 --fault drop=500 --fault cut=30
    """
    if (certificate is None) != (key is None):
        raise SettingsError("a certificate and its key belong together")
    security = security_of(certificate, key) if certificate and key else None
    own = EXCHANGES[venue].symbols if venue in EXCHANGES and not capture else ()
    pairs = tuple(symbols.split(",")) if symbols is not None else own
    lines = read_capture(capture) if capture else None
    simulator = Simulator(
        venue,
        pairs,
        seed=seed,
        rate=rate,
        faults=fault or (),
        capture=lines,
        api_key=api_key,
        secret=secret,
        orders_rate=orders,
    )

    def ready(bound: int) -> None:
        secure = "s" if security else ""
        address = f"{HOST}:{bound}"
        print(venue, f"ws{secure}://{address}{simulator.exchange.websocket_path}", f"http{secure}://{address}", flush=True)

    in_loop(serve_until_signal(simulator, port, security, ready, attended))


def in_loop(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Run to the end in an event loop of uvloop, where it is installed. What does not attend to SIGTERM itself is ended as by Ctrl-C."""

    async def attended() -> Result:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, signal.raise_signal, signal.SIGINT)
        return await coroutine

    with asyncio.Runner(loop_factory=_new_event_loop) as runner:
        return runner.run(attended())


def _live(console: Console, first: str) -> Live:
    """A place on the screen that is drawn anew and leaves nothing behind."""
    return Live(Text(first, "bold"), console=console, refresh_per_second=_REFRESHES_PER_SECOND, transient=True)


def main() -> None:
    """Run the command line; wrong input gives exit code 2 and what is wrong on standard error: a line, or one for each problem."""
    try:
        app()
    except TickrailError as error:
        sys.stderr.write(f"tickrail: {error}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
