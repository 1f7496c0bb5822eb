"""The command as its users run it: exit codes, what machines read, one clear line for wrong input."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.harness.captures import ROOT

TICKRAIL = Path(sys.executable).with_name("tickrail")
EXAMPLE = ROOT / "examples" / "gateio_spot.jsonl"


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the command."""
    return subprocess.run([TICKRAIL, *map(str, arguments)], capture_output=True, text=True, check=False, cwd=ROOT)


def demo(*arguments: object) -> tuple[int, dict[str, Any]]:
    """A short demo for machines: exit code and the object it printed last."""
    done = run("demo", "--seconds", 1, "--rate", 3000, "--switch-every", 0.1, "--json", *arguments)
    assert done.stderr == ""
    printed: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return done.returncode, printed


def test_a_demo_proves_that_nothing_was_lost_across_its_switches() -> None:
    code, printed = demo("--seed", 3)
    assert code == 0
    assert (printed["lost"], printed["duplicated"], printed["reordered"], printed["wrong_books"]) == (0, 0, 0, [])
    venue = printed["venues"]["gateio_spot"]
    frames = venue["accounting"]
    assert frames["received"] == sum(frames[name] for name in ("delivered", "control", "rejected", "shed", "in_flight")) > 1000
    assert venue["switches"] >= 5
    assert venue["books"] == {"live": 6, "syncing": 0, "gap": 0, "stale": 0}
    for architecture in ("direct", "strategy"):
        figures = venue["architectures"][architecture]
        assert figures["messages"] > 0 and figures["errors"] == 0 and 0 < figures["p50_ns"] <= figures["p99_ns"]


@pytest.mark.parametrize(
    ("fault", "found"), [("flip-early", "reordered"), ("drop", "lost"), ("double", "duplicated"), ("swap", "reordered")]
)
def test_a_demo_finds_a_fault_of_our_own(fault: str, found: str) -> None:
    code, printed = demo("--inject", fault)
    assert code == 1
    assert printed[found] > 0
    assert any(text.startswith(found) for text in printed["findings"])


def test_a_demo_for_people_ends_with_the_proof() -> None:
    done = run("demo", "--seconds", 0.5, "--switch-every", 0.1)
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1].strip() == "lost 0  duplicated 0  reordered 0"


@pytest.mark.parametrize(
    "options", [[], ["--architecture", "strategy"], ["--adapted"], ["--architecture", "strategy", "--switch-every", "7"]]
)
def test_a_replay_prints_the_same_whatever_the_architecture(options: list[str]) -> None:
    printed = json.loads(run("replay", EXAMPLE, "--venue", "gateio_spot", "--json", *options).stdout.splitlines()[-1])
    reference = json.loads(run("replay", EXAMPLE, "--json").stdout.splitlines()[-1])
    assert printed.pop("switches") == (printed["frames"] // 7 if "7" in options else 0)
    assert printed == {key: value for key, value in reference.items() if key != "switches"}
    assert set(printed["accounting"]) == {"received", "delivered", "control", "rejected", "shed", "in_flight"}
    book = printed["books"]["BTC/USDT"]
    assert book["state"] == "live" and book["bids"][0][0] > book["bids"][1][0] and book["asks"][0][0] < book["asks"][1][0]


def test_help_teaches() -> None:
    for arguments in (["--help"], ["demo", "--help"], ["replay", "--help"]):
        done = run(*arguments)
        assert done.returncode == 0
        assert "Example" in done.stdout or arguments == ["--help"]
    assert "inject" not in run("demo", "--help").stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["replay", "nowhere.jsonl"], "nowhere.jsonl: cannot be read: No such file or directory"),
        (["replay", "src"], "src: cannot be read: Is a directory"),
        (["replay", "README.md"], "README.md:1: JSON is malformed"),
        (["replay", EXAMPLE, "--venue", "nope"], "unknown venue 'nope'; known: gateio_spot"),
        (["replay", EXAMPLE, "--architecture", "both"], "'both' is not one of"),
        (["replay", EXAMPLE, "--switch-every", "-1"], "--switch-every"),
        (["demo", "--rate", "0"], "--rate"),
        (["demo", "--seconds", "nan"], "--seconds"),
        (["demo", "--rate", "nan"], "--rate"),
        (["demo", "--switch-every", "0"], "--switch-every"),
        (["demo", "--switch-every", "nan"], "--switch-every"),
        (["dmeo"], "No such command 'dmeo'"),
    ],
)
def test_wrong_input_gives_a_clear_line_and_exit_code_two(arguments: list[object], says: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert says in " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.stderr
