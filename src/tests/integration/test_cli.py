"""The command as its users run it: exit codes, what people and machines read, one clear line for wrong input."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from infrastructure.cli import main
from infrastructure.demo import Demo, DemoSettings
from infrastructure.exchanges import VENUES
from infrastructure.screens import picture
from tests.harness import canary, frames
from tests.harness.captures import ROOT

TICKRAIL = Path(sys.executable).with_name("tickrail")
EXAMPLE = ROOT / "examples" / "gateio_spot.jsonl"
COMMANDS = ("demo", "replay", "run", "simulate")
#: Each of our own faults, as what a demo must find it, and at which venues.
INJECTED: dict[str, tuple[str, Iterable[str]]] = {
    "flip-early": ("reordered", VENUES),
    "drop": ("lost", ["mexc_spot"]),
    "double": ("duplicated", ["gateio_futures"]),
    "swap": ("reordered", ["gateio_spot"]),
    "lose-fill": ("fills_lost", ["mexc_spot", "gateio_futures"]),
    "double-fill": ("fills_duplicated", ["gateio_spot"]),
}
#: How its findings begin.
FOUND = {"fills_lost": "fill lost", "fills_duplicated": "fill duplicated"}
#: As users have it, 80 columns wide.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"} | {"COLUMNS": "80"}


def start(*arguments: object) -> "subprocess.Popen[str]":
    """Start the command."""
    command = [str(TICKRAIL), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=ENVIRONMENT)


def run(*arguments: object) -> "subprocess.CompletedProcess[str]":
    """Run the command."""
    with start(*arguments) as process:
        output, errors = process.communicate(timeout=60)
        return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def at_once(commands: Iterable[tuple[object, ...]]) -> Iterator[dict[tuple[object, ...], "subprocess.Popen[str]"]]:
    """A fixture: all ``commands``, started together."""
    processes = {arguments: start(*arguments) for arguments in commands}
    yield processes
    for process in processes.values():
        process.terminate()  # A demo that is killed cannot end its exchanges.
        process.communicate(timeout=60)


def found_of(figures: dict[str, Any]) -> list[Any]:
    """What a demo found, at one venue or over all."""
    names = ("lost", "duplicated", "reordered", "wrong_books", "fills_lost", "fills_duplicated", "orders_reordered", "wrong_account")
    return [figures[name] for name in (*names, "unbalanced", "findings")]


NOTHING = [0, 0, 0, [], 0, 0, 0, [], False, []]


def test_a_demo_proves_that_nothing_was_lost_at_any_venue_across_its_switches() -> None:
    done = run("demo", "--seconds", 2, "--rate", 3000, "--orders", 20, "--switch-every", 0.1, "--seed", 3, "--json")
    assert (done.returncode, done.stderr, done.stdout.count("\n")) == (0, "", 1)
    summary = json.loads(done.stdout)
    assert found_of(summary) == NOTHING and 2 <= summary["seconds"] < 10
    assert list(summary["venues"]) == list(VENUES)
    for venue in summary["venues"].values():
        assert found_of(venue) == NOTHING
        frames = venue["accounting"]
        outcomes = [frames[name] for name in ("delivered", "control", "rejected", "shed", "in_flight")]
        assert frames["received"] == sum(outcomes) > 500
        assert venue["switches"] >= 5 and venue["connections"] == 1
        assert venue["books"] == {"live": 6, "syncing": 0, "gap": 0, "stale": 0}
        assert venue["gaps_repaired"] >= 0
        account = venue["account"]
        assert account["state"] == "live" and account["fills"] > 0 and account["orders"] >= 0 and venue["account_gaps"] == 0
        assert all(Decimal(total) >= 0 for total in account["balances"].values()) and "USDT" in account["balances"]
        assert sum(path["messages"] for path in venue["architectures"].values()) == frames["received"]
        for path in (venue["architectures"][architecture] for architecture in ("direct", "strategy")):
            assert path["messages"] > 0 and path["errors"] == 0 and 0 < path["p50_ns"] <= path["p99_ns"]
            assert 250 < path["per_second"] < 2500
    # Each on its own schedule.
    switches = [venue["switches"] for venue in summary["venues"].values()]
    assert switches == sorted(switches, reverse=True) and len(set(switches)) == len(switches)


@pytest.fixture
def injected() -> Iterator[dict[str, "subprocess.Popen[str]"]]:
    """Demos with a fault of our own each, all at once: they mostly wait."""
    options = ("demo", "--seconds", 1.5, "--switch-every", 0.1, "--orders", 40, "--json")
    commands = {
        fault: (*options, "--rate", 1500 * len(list(venues)), "--inject", fault, *(part for name in venues for part in ("--venue", name)))
        for fault, (_, venues) in INJECTED.items()
    }
    for demos in at_once(commands.values()):
        yield {fault: demos[command] for fault, command in commands.items()}


def test_a_demo_finds_every_fault_of_our_own_at_each_venue(injected: dict[str, "subprocess.Popen[str]"]) -> None:
    for fault, (kind, venues) in INJECTED.items():
        output, errors = injected[fault].communicate(timeout=60)
        assert (injected[fault].returncode, errors) == (1, ""), fault
        summary = json.loads(output)
        assert list(summary["venues"]) == list(venues)
        assert summary[kind] == sum(venue[kind] for venue in summary["venues"].values())
        for name, venue in summary["venues"].items():
            assert venue[kind] > 0, (fault, name)
            assert any(text.startswith(f"{FOUND.get(kind, kind)}: ") for text in venue["findings"])
            assert set(summary["findings"]) >= {f"{text}, {name}" for text in venue["findings"]}


def test_a_demo_for_people_ends_with_the_proof() -> None:
    done = run("demo", "--seconds", 0.5, "--switch-every", 0.1, "--venue", "mexc_spot", "--venue", "gateio_futures")
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    assert lines[-1] == "lost 0  duplicated 0  reordered 0"
    assert lines[-2] == "fills lost 0  duplicated 0"
    assert lines[-3] == "accounts: orders, balances and positions compared with theirs, digit by digit"
    assert lines[-4] == "books: 12 live, all compared with the exchanges' own, level by level"
    assert lines[0].startswith("mexc_spot, gateio_futures: ")
    assert lines[1].split() == ["venue", "architecture", "messages", "per", "second", "errors", "p50", "us", "p99", "us"]
    assert [line.split()[:2] for line in lines[2:6:2]] == [["mexc_spot", "direct"], ["gateio_futures", "direct"]]
    assert max(map(len, lines)) < 80


def test_what_a_demo_shows_fits_a_terminal_of_80_columns_and_24_lines() -> None:
    demo = Demo(settings=DemoSettings(seconds=0.6, rate=3000.0))
    pictures: list[str] = []

    def show(running: Demo, elapsed: float) -> None:
        for height in (24, 50):
            console = Console(file=StringIO(), width=200)
            console.print(picture(running, elapsed, height))
            assert isinstance(console.file, StringIO)
            pictures.append(console.file.getvalue())

    asyncio.run(demo.run(show))
    assert len(pictures) >= 4
    for text, height in zip(pictures, (24, 50) * len(pictures), strict=False):
        lines = [line.rstrip() for line in text.splitlines()]
        assert len(lines) < height and max(map(len, lines)) <= 80
    small, tall = ([line.split()[0] for line in text.partition("\nbook ")[2].splitlines()[1:]] for text in pictures[-2:])
    assert set(small) == set(VENUES) and len(tall) == 18
    for text in pictures:
        accounts = text.partition("\naccount ")[2].splitlines()[1:4]
        assert [line.split()[0] for line in accounts] == list(VENUES) and all(" live " in line for line in accounts)


@pytest.mark.parametrize("venue", VENUES)
def test_a_replay_prints_the_same_whatever_the_architecture(venue: str) -> None:
    example = ROOT / "examples" / f"{venue}.jsonl"
    reference = json.loads(run("replay", example, "--json").stdout)
    assert reference.pop("switches") == 0
    assert set(reference["accounting"]) == {"received", "delivered", "control", "rejected", "shed", "in_flight"}
    book = reference["books"]["BTC/USDT:USDT" if "futures" in venue else "BTC/USDT"]
    assert book["state"] == "live" and book["bids"][0][0] > book["bids"][1][0] and book["asks"][0][0] < book["asks"][1][0]
    options = ("--architecture", "strategy", "--adapted", "--venue", venue, "--switch-every", 7)
    printed = json.loads(run("replay", example, "--json", *options).stdout)
    assert printed.pop("switches") == printed["frames"] // 7
    assert printed == reference


def test_a_replay_for_people_ends_with_the_digest() -> None:
    lines = [line.rstrip() for line in run("replay", EXAMPLE).stdout.splitlines()]
    assert lines[-1].startswith("sha256 ") and len(lines[-1]) == 71
    assert lines[0].split()[:3] == ["received", "delivered", "control"]
    assert max(map(len, lines)) < 80


def test_a_replay_for_people_shows_as_many_decimals_for_every_price_of_a_book(tmp_path: Path) -> None:
    book = frames.obu(None, 7, [("6280.60", "1")], [("6280.65", "2")], full=True, pair="ETH_USDT")
    path = tmp_path / "capture.jsonl"
    path.write_text(json.dumps({"dir": "in", "raw": book.decode()}))
    lines = run("replay", path, "--venue", "gateio_spot").stdout.splitlines()
    assert any(line.startswith("ETH/USDT   live     6280.60    6280.65 ") for line in lines)


#: The ends of wrong input, each a process of its own.
WRONG: dict[tuple[object, ...], str] = {
    ("replay", "nowhere.jsonl"): "nowhere.jsonl: cannot be read: No such file or directory",
    ("replay", "README.md"): "README.md:1: JSON is malformed: invalid character (byte 0)",
    ("replay", EXAMPLE, "--venue", "nope"): f"unknown venue 'nope'; known: {', '.join(VENUES)}",
    ("demo", "--venue", "nope"): f"unknown venue 'nope'; known: {', '.join(VENUES)}",
    ("run", "--config", "nowhere.toml"): "nowhere.toml: cannot be read: No such file or directory",
    ("run", "--config", "README.md"): "README.md: not TOML: Expected '=' after a key in a key/value pair (at line 3, column 9)",
}


@pytest.fixture(scope="module")
def wrong() -> Iterator[dict[tuple[object, ...], "subprocess.Popen[str]"]]:
    """All of them, at once."""
    yield from at_once(WRONG)


@pytest.mark.parametrize("arguments", WRONG, ids=lambda arguments: " ".join(map(str, arguments)))
def test_wrong_input_gives_one_line_and_exit_code_two(
    wrong: dict[tuple[object, ...], "subprocess.Popen[str]"], arguments: tuple[object, ...]
) -> None:
    printed = wrong[arguments].communicate(timeout=60)
    assert (wrong[arguments].returncode, *printed) == (2, "", f"tickrail: {WRONG[arguments]}\n")


def test_run_says_where_credentials_belong_and_shows_none(tmp_path: Path) -> None:
    exchange = '[gateio_spot]\nsymbols = ["BTC/USDT"]\nchannels = ["trade"]\n'
    keys = tmp_path / "keys.toml"
    keys.write_text(f'[gateio_spot]\nkey = "{canary.KEY}"\nsecret = "{canary.SECRET}"\n')
    keys.chmod(0o640)
    wrong = {
        f'api_key = "{canary.KEY}"': "gateio_spot.api_key: looks like a secret, which has no place here; ",
        f'credentials = "{canary.SECRET}"': "gateio_spot.credentials: only 'environment' may stand here; ",
        'credentials = "environment"': "gateio_spot.credentials: no credentials of gateio_spot: TICKRAIL_GATEIO_SPOT_KEY and ",
        f'credentials_file = "{keys}"': f"gateio_spot.credentials_file: the file of credentials '{keys}' has mode 0640, ",
    }
    config = tmp_path / "config.toml"
    for line, words in wrong.items():
        config.write_text(exchange + line)
        done = run("run", "--config", config)
        assert (done.returncode, done.stdout) == (2, "")
        (said,) = done.stderr.splitlines()
        assert said.startswith(f"tickrail: {config}: line 4: {words}") and canary.found_in(said) == []


def called(*arguments: object) -> int | str | None:
    """Call the command in this process; its exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["tickrail", *map(str, arguments)])
        patch.setenv("COLUMNS", "80")
        with pytest.raises(SystemExit) as ended:
            main()
    return ended.value.code


def test_help_says_what_each_command_is_for_in_whole_sentences(capsys: pytest.CaptureFixture[str]) -> None:
    assert called("--help") == 0
    commands = capsys.readouterr().out.partition("Commands:")[2]
    assert [line.split()[0] for line in commands.strip().splitlines()] == list(COMMANDS)
    assert all(line.endswith(".") and not line.endswith("...") for line in commands.strip().splitlines())


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_fits_and_shows_how_to_begin(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert called(command, "--help") == 0
    text = capsys.readouterr().out
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
    assert f"Example: tickrail {command} " in text
    assert "inject" not in text and "…" not in text


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["replay", EXAMPLE, "--architecture", "both"], "Invalid value for '--architecture'"),
        (["replay", EXAMPLE, "--switch-every", "-1"], "Invalid value for '--switch-every'"),
        (["demo", "--rate", "0"], "Invalid value for '--rate'"),
        (["demo", "--seconds", "nan"], "Invalid value for '--seconds'"),
        (["demo", "--rate", "nan"], "Invalid value for '--rate'"),
        (["demo", "--orders", "-1"], "Invalid value for '--orders'"),
        (["demo", "--seed", "one"], "Invalid value for '--seed'"),
        (["demo", "--switch-every", "0"], "Invalid value for '--switch-every'"),
        (["demo", "--switch-every", "nan"], "Invalid value for '--switch-every'"),
        (["run", "--config", "nowhere.toml", "--seconds", "-1"], "Invalid value for '--seconds'"),
        (["run"], "Missing option '--config'"),
        (["simulate"], "Missing argument 'VENUE'"),
        (["simulate", "gateio_spot", "--rate", "inf"], "Invalid value for '--rate'"),
        (["simulate", "gateio_spot", "--dorp"], "No such option: --dorp"),
        (["dmeo"], "No such command 'dmeo'"),
    ],
)
def test_wrong_usage_gives_a_line_after_the_usage_and_exit_code_two(
    arguments: list[object], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert called(*arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    usage, hint, _, error = printed.err.splitlines()
    assert usage.startswith("Usage: tickrail ") and hint.startswith("Try 'tickrail ")
    assert error.startswith(f"Error: {says}")
