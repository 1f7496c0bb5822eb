"""The command's processes among others: signals in mid-stream, changed files, what it cannot connect to, who reads its output."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from infrastructure.exchanges import VENUES
from infrastructure.simulator.market import hidden_number
from tests.harness import canary
from tests.harness.captures import ROOT

TICKRAIL = str(Path(sys.executable).with_name("tickrail"))
VENUE = "gateio_spot"
BTC, ETH = "BTC/USDT", "ETH/USDT"
#: As users have it: what is printed to a file or a pipe waits in a buffer.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
PAIRS = [BTC, ETH, "SOL/USDT", "XRP/USDT", "DOGE/USDT", "ADA/USDT"]
CHANNELS = ["trade", "book_ticker", "ticker", "candle", "orderbook"]
BURST = 5000


def until(condition: Callable[[], object], within_s: float = 20.0) -> None:
    """Wait until ``condition`` holds; AssertionError if it does not in time."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "the condition never came to hold"
        time.sleep(0.02)


@contextmanager
def started(*arguments: object, **options: Any) -> Iterator["subprocess.Popen[str]"]:
    """The command, for as long as the block runs."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    with subprocess.Popen([TICKRAIL, *map(str, arguments)], text=True, cwd=ROOT, env=ENVIRONMENT, **options) as process:
        try:
            yield process
        finally:
            process.kill()


def finished(*arguments: object) -> tuple[int, str, str]:
    """Run the command to its end: exit code, output and errors."""
    with started(*arguments) as process:
        output, errors = process.communicate(timeout=60)
        return process.returncode, output, errors


def is_running(process_id: str) -> bool:
    """Whether the process has not ended; one that nobody has asked about since is a zombie."""
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Exchange(NamedTuple):
    """A simulated exchange in a process of its own."""

    websocket_url: str
    rest_url: str
    process: "subprocess.Popen[str]"

    def tell(self, what: str) -> dict[str, Any]:
        """What it says of itself."""
        with urllib.request.urlopen(f"{self.rest_url}/simulator/{what}") as answer:
            told: dict[str, Any] = json.load(answer)
            return told

    def connections(self, name: str) -> list[dict[str, Any]]:
        """Those that were opened under ``name``, in order."""
        return [each for each in self.tell("state")["connections"] if each["log"] == name]

    def do(self, fault: str) -> None:
        """Inject a fault."""
        urllib.request.urlopen(f"{self.rest_url}/simulator/fault", fault.encode()).close()


@contextmanager
def simulated(*options: object) -> Iterator[Exchange]:
    with started("simulate", VENUE, *options) as process:
        assert process.stdout is not None
        _, websocket_url, rest_url = process.stdout.readline().split()
        yield Exchange(websocket_url, rest_url, process)


@contextmanager
def with_account(venue: str, folder: Path) -> Iterator[Path]:
    """The configuration of an exchange with an account that trades, whose credentials are in a file."""
    options = ("--rate", 200, "--orders", 50, "--api-key", canary.KEY, "--secret", canary.SECRET)
    with started("simulate", venue, *options) as process:
        assert process.stdout is not None
        _, websocket_url, rest_url = process.stdout.readline().split()
        keys = folder / "keys.toml"
        keys.write_text(f'[{venue}]\nkey = "{canary.KEY}"\nsecret = "{canary.SECRET}"\n')
        keys.chmod(0o600)
        symbols = json.dumps(["BTC/USDT:USDT"] if "futures" in venue else [BTC])
        lines = [f"[{venue}]", f"symbols = {symbols}", 'channels = ["trade"]', f'credentials_file = "{keys}"']
        lines += [f'websocket_url = "{websocket_url}"', f'rest_url = "{rest_url}"']
        path = folder / "account.toml"
        path.write_text("\n".join(lines))
        yield path


@pytest.fixture(scope="module")
def exchange() -> Iterator[Exchange]:
    """An exchange that does nothing wrong, except that it never answers subscriptions of one channel."""
    with simulated("--rate", BURST, "--fault", "unanswered=spot.tickers") as exchange:
        yield exchange


class Config:
    """A configuration file with one exchange in it."""

    def __init__(self, path: Path, websocket_url: str, rest_url: str) -> None:
        self.path = path
        self._addresses = f'websocket_url = "{websocket_url}"\nrest_url = "{rest_url}"\n'

    def write(self, symbols: Sequence[str] = (BTC, ETH), channels: Sequence[str] = ("trade", "orderbook"), more: str = "") -> Path:
        """Make the file say this."""
        text = f"[{VENUE}]\nsymbols = {json.dumps(symbols)}\nchannels = {json.dumps(channels)}\n{self._addresses}{more}"
        self.path.write_text(text)
        return self.path


class Running:
    """A ``tickrail run --events`` under way."""

    def __init__(self, process: "subprocess.Popen[str]", config: Config, exchange: Exchange, name: str, folder: Path) -> None:
        self.process = process
        self.config = config
        self._exchange = exchange
        self._name = name
        self._folder = folder

    @property
    def errors(self) -> str:
        """What it has said on standard error."""
        return (self._folder / "errors").read_text()

    @property
    def printed(self) -> str:
        """What it has printed."""
        return (self._folder / "output").read_text()

    @property
    def connection(self) -> dict[str, Any]:
        """Its only connection, as the exchange sees it."""
        (connection,) = self._exchange.connections(self._name)
        return connection

    @property
    def streams(self) -> set[tuple[str, str]]:
        """What it is subscribed to, as the exchange sees it: native channel and pair."""
        return {(channel, symbol) for channel, symbol, *_ in self.connection["subscriptions"]}

    def has_events(self, more_than: int = 0) -> bool:
        """Whether so many bytes of events were printed."""
        return (self._folder / "output").stat().st_size > more_than

    def is_going_on(self) -> None:
        """Wait until more events were printed than now."""
        now = (self._folder / "output").stat().st_size
        until(lambda: self.has_events(now))

    def says(self, line: str) -> None:
        """Wait until ``line`` is the last on standard error."""
        until(lambda: self.errors.endswith(f"{line}\n"))

    def hang_up(self) -> None:
        """Tell it to read its file again."""
        self.process.send_signal(signal.SIGHUP)

    def end(self, how: signal.Signals, within_s: float = 5.0) -> int:
        """Signal it, and give its exit code."""
        self.process.send_signal(how)
        return self.process.wait(within_s)


@pytest.fixture
def config(exchange: Exchange, tmp_path: Path) -> Config:
    """Of the exchange; its connections are named after the test's folder."""
    return Config(tmp_path / "tickrail.toml", f"{exchange.websocket_url}?log={tmp_path.name}", exchange.rest_url)


@contextmanager
def streaming(config: Config, exchange: Exchange, folder: Path) -> Iterator[Running]:
    """``tickrail run --events`` with what ``config`` says, once it prints events."""
    with (
        (folder / "output").open("w") as output,
        (folder / "errors").open("w") as errors,
        started("run", "--config", config.path, "--events", stdout=output, stderr=errors) as process,
    ):
        running = Running(process, config, exchange, folder.name, folder)
        until(running.has_events)
        yield running


class TestDemo:
    @pytest.mark.parametrize(("how", "after_s"), [(signal.SIGINT, 0.0), (signal.SIGTERM, 0.0), (signal.SIGINT, 2.0), (signal.SIGTERM, 2.0)])
    def test_a_signal_ends_it_and_the_exchanges_that_it_started(self, how: signal.Signals, after_s: float) -> None:
        # A terminal interrupts the whole group.
        with started("demo", "--seconds", 60, "--json", start_new_session=True) as process:
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
            until(lambda: len(children.read_text().split()) == len(VENUES))
            exchanges = children.read_text().split()
            until(lambda: all(b"simulate" in Path(f"/proc/{child}/cmdline").read_bytes() for child in exchanges))
            time.sleep(after_s)  # While they start, or in mid-stream.
            if how is signal.SIGINT:
                os.killpg(process.pid, how)
            else:
                process.send_signal(how)
            assert process.communicate(timeout=10) == ("", "tickrail: ended early, nothing is proven\n")
            assert process.returncode == 130
            assert not any(is_running(child) for child in exchanges)

    def test_the_exchanges_end_with_it_however_it_ends(self) -> None:
        with started("demo", "--seconds", 60, "--json") as process:
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
            until(lambda: len(children.read_text().split()) == len(VENUES))
            exchanges = children.read_text().split()
            process.kill()
            until(lambda: not any(is_running(child) for child in exchanges))


class TestRun:
    def test_without_a_terminal_it_prints_its_table_once(self, config: Config) -> None:
        code, output, errors = finished("run", "--config", config.write(), "--seconds", 0.5)
        assert (code, errors) == (0, "")
        lines = [line.rstrip() for line in output.splitlines()]
        assert lines[0] == "tickrail run" and lines[1].split()[:3] == ["exchange", "state", "architecture"]
        assert [line.split()[:3] for line in lines[4:]] == [[VENUE, BTC, "live"], [VENUE, ETH, "live"]]
        assert max(map(len, lines)) <= 80

    @pytest.mark.parametrize("venue", VENUES)
    def test_an_account_is_shown_and_its_events_are_printed_and_never_a_secret(self, venue: str, tmp_path: Path) -> None:
        with with_account(venue, tmp_path) as config:
            code, table, errors = finished("run", "--config", config, "--seconds", 0.5)
            assert (code, errors, canary.found_in(table)) == (0, "", [])
            lines = [line.rstrip() for line in table.splitlines()]
            heads = [line.split() for line in lines]
            assert ["account", "state", "orders", "fills", "quote", "base", "or", "position"] in heads
            (shown,) = [line for line in heads if line[:2] == [venue, "live"]]
            assert int(shown[2]) >= 0 and shown[5] == "USDT" and max(map(len, lines)) <= 80
            code, printed, errors = finished("run", "--config", config, "--seconds", 1.5, "--events")
            assert (code, errors, canary.found_in(printed)) == (0, "", [])
        events = [json.loads(line) for line in printed.splitlines()]
        kinds = {"order", "fill", "balance", "account_state"} | ({"position"} if "futures" in venue else set())
        assert {event[0] for event in events} - {"trade"} == kinds
        assert [event[3] for event in events if event[0] == "account_state"] == ["authenticating", "reconciling", "live"]
        fills = [event for event in events if event[0] == "fill"]
        assert len({event[3] for event in fills}) == len(fills) > 0
        assert all(isinstance(number, str) for event in fills for number in event[6:8])  # not through a float

    def test_credentials_that_are_not_taken_are_told_in_the_exchanges_words(self, tmp_path: Path) -> None:
        with with_account(VENUE, tmp_path) as config:
            keys = tmp_path / "keys.toml"
            keys.write_text(keys.read_text().replace(canary.SECRET, canary.LISTEN_KEY))
            code, printed, errors = finished("run", "--config", config, "--seconds", 5)
        assert (code, printed, canary.found_in(errors)) == (2, "", [])
        (line,) = errors.splitlines()
        assert line.startswith("tickrail: ") and VENUE in line, line

    @pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
    def test_a_signal_in_a_burst_ends_it_after_all_that_was_received(
        self, exchange: Exchange, config: Config, tmp_path: Path, how: signal.Signals
    ) -> None:
        config.write(PAIRS, [channel for channel in CHANNELS if channel != "ticker"])
        with streaming(config, exchange, tmp_path) as running:
            # However slowly this machine prints: so many first.
            until(lambda: running.printed.count("\n") > BURST / 20)
            assert running.end(how) == 0
            assert running.errors == ""
            events = [json.loads(line) for line in running.printed.splitlines()]
        assert {event[0] for event in events} == {"trade", "book_ticker", "candle", "orderbook", "book_state"}
        assert {event[1] for event in events} == {VENUE}
        assert {event[3] for event in events if event[0] == "orderbook"} == set(PAIRS)
        assert not running.connection["is_open"]
        log = exchange.tell(f"log?name={tmp_path.name}")
        trades = log["streams"].index(["trade", BTC, "spot.trades"])
        sent = [number for index, number in log["entries"] if index == trades]
        printed = [hidden_number(event[6]) for event in events if event[0] == "trade" and event[2] == BTC]
        # The last few may have been on their way: how many, is a matter of the machine.
        assert printed and printed == sent[: len(printed)]

    def test_after_kill_9_it_starts_anew(self, exchange: Exchange, config: Config, tmp_path: Path) -> None:
        config.write()
        with streaming(config, exchange, tmp_path) as running:
            assert running.end(signal.SIGKILL) == -signal.SIGKILL
        until(lambda: not exchange.connections(tmp_path.name)[0]["is_open"])
        (tmp_path / "output").unlink()
        with streaming(config, exchange, tmp_path) as running:
            first, second = exchange.connections(tmp_path.name)
            assert first["subscriptions"] == [] and len(second["subscriptions"]) == 4
            assert running.end(signal.SIGTERM) == 0

    @pytest.mark.parametrize("architecture", ["direct", "strategy"])
    def test_t2_stopped_and_continued_it_believes_nothing_that_waited_and_begins_anew_once(
        self, exchange: Exchange, config: Config, tmp_path: Path, architecture: str
    ) -> None:
        config.write(more=f'architecture = "{architecture}"\n[{VENUE}.freshness]\ntick_s = 0.2\nasleep_s = 1.5\n')
        with streaming(config, exchange, tmp_path) as running:
            running.is_going_on()
            running.process.send_signal(signal.SIGSTOP)
            status = Path(f"/proc/{running.process.pid}/status")
            until(lambda: "\nState:\tT" in status.read_text())
            stopped_ns, stopped_s = time.time_ns(), exchange.tell("state")["now_s"]
            until(lambda: exchange.tell("state")["now_s"] > stopped_s + 2.5)
            continued_ns = time.time_ns()
            running.process.send_signal(signal.SIGCONT)
            until(lambda: len(exchange.connections(tmp_path.name)) == 2)
            running.is_going_on()
            running.is_going_on()
            assert running.end(signal.SIGTERM) == 0
            assert len(exchange.connections(tmp_path.name)) == 2
            events = [json.loads(line) for line in running.printed.splitlines()]
        times = [event[7] if event[0] == "trade" else event[5] if event[0] == "orderbook" else None for event in events]
        # What the exchange sent meanwhile waited, and was read first: none of it is told.
        tolerance_ns = 2_000_000
        assert not [at for at in times if at is not None and stopped_ns + tolerance_ns < at < continued_ns - tolerance_ns]
        after = next(index for index, at in enumerate(times) if at is not None and at >= continued_ns - tolerance_ns)
        before = next(index for index, event in enumerate(events) if event[0] == "gap")
        assert before < after and all(at is None for at in times[before:after])
        told = events[before:after]
        assert sorted((event[2], event[3]) for event in told if event[0] == "gap") == [
            (channel, pair) for channel in ("spot.obu", "spot.trades") for pair in (BTC, ETH)
        ]
        assert [event[2] for event in events if event[0] == "error"] == ["asleep", "disconnected"]
        assert sorted(event[3] for event in told if event[0] == "book_state" and event[5] == "stale") == [BTC, ETH]
        assert not [event for event in events[after:] if event[0] == "gap"]

    def test_a_changed_file_is_applied_to_the_live_connection(self, exchange: Exchange, config: Config, tmp_path: Path) -> None:
        config.write([BTC, ETH], ["trade"])
        with streaming(config, exchange, tmp_path) as running:
            assert running.streams == {("spot.trades", BTC), ("spot.trades", ETH)}
            config.write([ETH, "SOL/USDT"], ["trade", "book_ticker"], 'architecture = "strategy"')
            running.hang_up()
            until(lambda: "applied" in running.errors)
            assert re.fullmatch(rf"tickrail: {VENUE}: applied: 3 streams more, 1 fewer, strategy after frame \d+\n", running.errors), (
                running.errors
            )
            pairs = (ETH, "SOL/USDT")
            assert running.streams == {(channel, pair) for channel in ("spot.trades", "spot.book_ticker") for pair in pairs}
            running.is_going_on()
            config.write([ETH], ["trade"], "use_direct_handling = true")
            running.hang_up()
            until(lambda: "direct after frame" in running.errors)
            assert running.connection["is_open"] and running.streams == {("spot.trades", ETH)}
            assert running.end(signal.SIGTERM) == 0
            assert running.errors.count("\n") == 2

    def test_a_file_that_cannot_be_applied_is_noted_and_changes_nothing(self, exchange: Exchange, config: Config, tmp_path: Path) -> None:
        config.write([BTC, ETH], ["trade"])
        with streaming(config, exchange, tmp_path) as running:
            for more, says in (
                ("symbols = 3\n", "configuration: not applied: not TOML: Cannot overwrite a value (at line 6, column 12)"),
                ("[nope]\n", f"configuration: not applied: line 6: nope: unknown venue 'nope'; known: {', '.join(VENUES)}"),
                ("high_water = 9\n", f"{VENUE}: not applied: high_water cannot change on a live connection; open another manager"),
            ):
                config.write([BTC], ["trade", "book_ticker"], more)
                running.hang_up()
                running.says(f"tickrail: {says}")
            running.is_going_on()
            assert running.errors.count("\n") == 3
            assert running.streams == {("spot.trades", BTC), ("spot.trades", ETH)} and running.connection["is_open"]
            assert running.end(signal.SIGTERM) == 0

    def test_a_change_that_comes_while_another_is_applied_is_applied_after_it(
        self, exchange: Exchange, config: Config, tmp_path: Path
    ) -> None:
        config.write([BTC], ["trade"], "subscribe_timeout_s = 0.5")
        with streaming(config, exchange, tmp_path) as running:
            config.write([BTC], ["trade", "ticker"], "subscribe_timeout_s = 0.5")
            running.hang_up()
            until(lambda: running.connection["requests"] == {"subscribe": 2})
            config.write([BTC, ETH], ["trade"], "subscribe_timeout_s = 0.5")
            running.hang_up()
            until(lambda: "1 streams more" in running.errors)
            assert "did not answer spot.tickers of BTC/USDT within 1 s" in running.printed
            assert running.streams == {("spot.trades", BTC), ("spot.trades", ETH)}
            assert running.end(signal.SIGTERM) == 0

    def test_a_signal_ends_an_attempt_to_connect(self, tmp_path: Path) -> None:
        with closing(socket.create_server(("127.0.0.1", 0))) as silent:
            port = silent.getsockname()[1]
            config = Config(tmp_path / "tickrail.toml", f"ws://127.0.0.1:{port}/", f"http://127.0.0.1:{port}")
            with started("run", "--config", config.write()) as process, silent.accept()[0] as client:
                assert client.recv(3) == b"GET"
                process.send_signal(signal.SIGTERM)
                output, errors = process.communicate(timeout=5)
        assert (process.returncode, errors) == (0, "")
        assert output.startswith("tickrail run")

    def test_a_lost_connection_is_noted_and_made_again_until_the_exchange_is_given_up(self, tmp_path: Path) -> None:
        with simulated() as exchange:
            config = Config(tmp_path / "tickrail.toml", f"{exchange.websocket_url}?log={tmp_path.name}", exchange.rest_url)
            config.write(more=f"[{VENUE}.reconnect]\nfirst_delay_s = 0.01\nmax_attempts = 1\n")
            with streaming(config, exchange, tmp_path) as running:
                exchange.do("cut")
                until(lambda: running.errors)
                assert running.errors.startswith(f"tickrail: {VENUE}: disconnected: ")
                until(lambda: [each["is_open"] for each in exchange.connections(tmp_path.name)] == [False, True])
                running.is_going_on()
                exchange.process.kill()
                assert running.process.wait(10) == 1
                assert running.errors.splitlines()[-1].startswith(f"tickrail: {VENUE}: {VENUE}: gave up: ")

    def test_when_nobody_reads_its_events_any_more_it_ends(self, config: Config) -> None:
        with started("run", "--config", config.write(), "--events") as process:
            assert process.stdout is not None and process.stderr is not None
            assert process.stdout.readline()
            process.stdout.close()
            assert process.wait(10) == 1
            assert process.stderr.read() == ""

    def test_when_its_events_cannot_be_written_it_says_so_and_ends(self, config: Config) -> None:
        with Path("/dev/full").open("w") as full, started("run", "--config", config.write(), "--events", stdout=full) as process:
            assert process.wait(10) == 1
            assert process.stderr is not None
            assert process.stderr.read() == "tickrail: events cannot be written: No space left on device\n"


class TestWhatCannotBeOpened:
    """Exit code 2 and exactly one line."""

    def fails(self, *arguments: object, says: str) -> None:
        code, output, errors = finished(*arguments)
        assert (code, output) == (2, "")
        assert errors.count("\n") == 1 and errors.startswith("tickrail: ")
        assert says in errors

    def opens(self, folder: Path, websocket_url: str, says: str, rest_url: str = "https://localhost:1", **settings: Any) -> None:
        config = Config(folder / "tickrail.toml", websocket_url, rest_url)
        self.fails("run", "--config", config.write(**settings), says=says)

    def test_every_problem_of_a_file_has_a_line_of_its_own(self, tmp_path: Path) -> None:
        path = Config(tmp_path / "tickrail.toml", "ws://example.com/", "http://localhost").write(["BTCUSDT"], ["trades"], "nope = 1\n")
        code, output, errors = finished("run", "--config", path)
        assert (code, output) == (2, "")
        assert [line.removeprefix("tickrail: ").removeprefix(f"{path}: ").split(";")[0] for line in errors.splitlines()] == [
            f"line 2: {VENUE}.symbols: unknown symbol 'BTCUSDT'",
            f"line 3: {VENUE}.channels: {VENUE} has no channel 'trades'",
            f"line 4: {VENUE}.websocket_url: 'ws://example.com/' would be sent in plain text",
            f"line 6: {VENUE}.nope: unknown key",
        ]

    def test_a_port_where_nobody_listens(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as once:
            port = once.getsockname()[1]
        self.opens(tmp_path, f"ws://127.0.0.1:{port}/", f"cannot connect to ws://127.0.0.1:{port}/: 127.0.0.1: Connection refused")

    def test_a_host_without_an_address(self, tmp_path: Path) -> None:
        self.opens(tmp_path, "wss://no-such-host.invalid/", "wss://no-such-host.invalid/: its name could not be looked up")

    def test_an_address_that_is_no_websocket(self, exchange: Exchange, tmp_path: Path) -> None:
        self.opens(tmp_path, exchange.websocket_url.replace("/ws/v4/", "/nowhere"), "HTTP 404")

    def test_a_certificate_that_nobody_vouches_for(self, tmp_path: Path) -> None:
        certificate, key = tmp_path / "certificate", tmp_path / "key"
        kind = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
        names = f"-addext subjectAltName=DNS:localhost -keyout {key} -out {certificate}"
        subprocess.run(f"openssl req -x509 {kind} {names}".split(), capture_output=True, check=True)
        with simulated("--certificate", certificate, "--key", key) as exchange:
            url = exchange.websocket_url.replace("127.0.0.1", "localhost")
            assert url.startswith("wss://")
            self.opens(tmp_path, url, f"cannot connect to {url}: self-signed certificate")

    def test_a_symbol_that_the_exchange_does_not_trade(self, exchange: Exchange, tmp_path: Path) -> None:
        says = "unknown symbol 'NO/SUCH'; expected one of the 6 instruments of gateio_spot"
        self.opens(tmp_path, exchange.websocket_url, says, exchange.rest_url, symbols=["NO/SUCH"], channels=["trade"])

    def test_a_subscription_that_is_never_answered(self, exchange: Exchange, tmp_path: Path) -> None:
        says = f"{VENUE} did not answer spot.tickers of {BTC} within 0.2 s"
        more = "subscribe_timeout_s = 0.1\n"
        self.opens(tmp_path, exchange.websocket_url, says, exchange.rest_url, symbols=[BTC], channels=["ticker"], more=more)
