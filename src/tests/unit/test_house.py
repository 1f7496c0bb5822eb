"""The house: which module may import which, what stands where, and what the wheel holds."""

import ast
import inspect
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from difflib import SequenceMatcher
from itertools import combinations
from pathlib import Path

import pytest

import tickrail
from tests.harness.captures import ROOT

SRC = ROOT / "src"
PACKAGE = SRC / "infrastructure"

#: The map. A module may import what stands on a line above its own, and what stands in its own column; never below, never the other
#: columns of its line. A package stands for all that is in it; ``__init__`` is the package's own file alone.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("events", "errors", "clock", "redaction", "windows"),
    ("credentials", "instruments"),
    ("account_api",),
    ("venue", "metrics"),
    ("book", "limits", "account"),
    ("audit",),
    ("book_sync", "rotation", "account_figures"),
    ("session",),
    ("private_session",),
    ("callbacks", "canonical", "exchanges.numbers", "exchanges.sequence", "networking.address", "networking.retry_after"),
    ("exchanges.gateio", "exchanges.mexc", "networking.websocket.route", "networking.websocket.settings"),
    (
        "exchanges.__init__",
        "freshness",
        "networking.http",
        "networking.websocket.link",
        "networking.websocket.marker",
        "networking.websocket.handlers",
        "networking.websocket.strategies",
        "networking.websocket.subscriptions",
    ),
    (
        "networking.websocket.lane",
        "networking.websocket.adapters",
        "networking.websocket.reconnect",
        "networking.websocket.transport",
        "networking.websocket.fake_transport",
    ),
    ("networking.websocket.wiring", "networking.websocket.connection", "networking.websocket.__init__"),
    ("networking.websocket.pipeline", "networking.websocket.subscriber"),
    ("networking.websocket.repairs", "networking.websocket.access"),
    ("networking.websocket.shard", "networking.websocket.reconciler"),
    ("networking.websocket.watchdog", "networking.websocket.rotations", "networking.websocket.private_shard"),
    ("networking.websocket.connections",),
    ("networking.websocket.account_streams",),
    ("networking.websocket.ws_manager",),
    ("config",),
    ("feed", "capture", "injected"),
    ("simulator", "replay"),
    ("demo", "run"),
    ("screens",),
    ("cli",),
)

#: Where an exchange may be named: its wire format, and its counterpart that tests and demonstrations talk to.
OF_ONE_VENUE = ("exchanges", "simulator")
VENUE_NAMES = ("gateio", "gate.io", "mexc")

#: Where everything may be caught: around a user's callable, and around the slot.
CATCHES_ALL = ("callbacks", "networking.websocket.lane")

#: Paths that others rely on literally; those not written yet are not listed yet.
FIXED = (
    "infrastructure/networking/websocket/ws_manager.py",
    "infrastructure/networking/websocket/handlers/__init__.py",
    "infrastructure/networking/websocket/handlers/base_websocket_client.py",
    "infrastructure/networking/websocket/handlers/public_handler.py",
    "infrastructure/networking/websocket/handlers/private_handler.py",
    "infrastructure/networking/websocket/adapters/__init__.py",
    "infrastructure/networking/websocket/adapters/handler_adapter.py",
    "infrastructure/networking/websocket/adapters/strategy_adapter.py",
)


def name_of(path: Path) -> str:
    """``exchanges/gateio/spot.py`` as ``exchanges.gateio.spot``."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


MODULES: dict[str, ast.Module] = {name_of(path): ast.parse(path.read_text(encoding="utf-8")) for path in sorted(PACKAGE.rglob("*.py"))}
EACH = pytest.mark.parametrize("module", MODULES)


def is_in(module: str, column: str) -> bool:
    return module == column or module.startswith(column + ".")


def place_of(module: str) -> tuple[int, str] | None:
    """The line and the column of a module on the map."""
    return next(((line, column) for line, columns in enumerate(LAYERS) for column in columns if is_in(module, column)), None)


def imported(tree: ast.AST) -> Iterator[str]:
    """Every module that is imported anywhere in ``tree``, by its full name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module is not None, f"line {node.lineno}: a relative import"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if _ours(whole) else node.module


def _ours(full_name: str) -> str | None:
    """The module of the map that a full name means."""
    name = full_name.removeprefix("infrastructure.")
    if name == full_name:
        return None
    return next((candidate for candidate in (name, f"{name}.__init__") if candidate in MODULES), None)


def own_imports(module: str) -> set[str]:
    """The modules of the house that ``module`` imports."""
    return {target for name in imported(MODULES[module]) if (target := _ours(name))}


@EACH
def test_every_module_has_its_place_on_the_map(module: str) -> None:
    assert place_of(module) is not None, f"put {module} on the map in this file, on the line where it belongs"


@EACH
def test_imports_go_up_the_map_only(module: str) -> None:
    place = place_of(module)
    assert place is not None
    line, column = place
    for target in own_imports(module):
        above = place_of(target)
        assert above is not None
        assert above[0] < line or above[1] == column, f"{module} imports {target}"


def test_every_entry_of_the_map_is_a_module() -> None:
    assert [column for columns in LAYERS for column in columns if not any(is_in(module, column) for module in MODULES)] == []


@EACH
def test_no_import_stands_inside_a_function(module: str) -> None:
    functions = (node for node in ast.walk(MODULES[module]) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda))
    assert [node.lineno for function in functions for node in ast.walk(function) if isinstance(node, ast.Import | ast.ImportFrom)] == []


#: From, and what it must not import whatever the map says.
FORBIDDEN = {
    "exchanges": ("infrastructure.networking", "asyncio", "socket", "ssl", "aiohttp", "picows", "logging", "time"),
    "networking": ("infrastructure.exchanges",),
    "simulator": (
        "infrastructure.exchanges",
        "infrastructure.book",
        "infrastructure.book_sync",
        "infrastructure.session",
        "infrastructure.account",
    ),
    "session": ("asyncio", "time"),
    "private_session": ("asyncio", "time"),
    "account": ("asyncio", "time"),
    "book": ("asyncio", "time"),
    "book_sync": ("asyncio", "time"),
    "audit": ("asyncio", "time"),
    "freshness": ("asyncio", "time"),
}


@pytest.mark.parametrize("part", FORBIDDEN)
def test_what_a_part_must_never_touch_it_does_not_import(part: str) -> None:
    modules = [module for module in MODULES if is_in(module, part)]
    assert modules
    for module in modules:
        touched = [name for name in imported(MODULES[module]) if any(is_in(name, forbidden) for forbidden in FORBIDDEN[part])]
        assert touched == [], module


@pytest.mark.parametrize("module", [module for module in MODULES if not any(is_in(module, part) for part in OF_ONE_VENUE)])
def test_no_venue_is_named_outside_its_own_folder_and_its_counterpart(module: str) -> None:
    path = PACKAGE / Path(*module.split("."))
    text = path.with_suffix(".py").read_text(encoding="utf-8").lower()
    assert [name for name in VENUE_NAMES if name in text] == []


#: As many lines two files of ``exchanges/`` may share in a row: beyond that they hold the same thing twice.
SHARED_LINES = 6


def told(path: Path) -> list[str]:
    """The lines of a file that say something: no imports, no comments, nothing empty; inner spaces do not count."""
    text = path.read_text(encoding="utf-8")
    imports = {
        line
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    lines = [" ".join(line.split()) for number, line in enumerate(text.split("\n"), 1) if number not in imports]
    return [line for line in lines if line and not line.startswith("#")]


def longest_shared(one: list[str], other: list[str]) -> list[str]:
    """The longest run of lines that stands in both."""
    found = SequenceMatcher(None, one, other, autojunk=False).find_longest_match()
    return one[found.a : found.a + found.size]


OF_EXCHANGES = sorted((PACKAGE / "exchanges").rglob("*.py"))


@pytest.mark.parametrize(("one", "other"), list(combinations(OF_EXCHANGES, 2)), ids=lambda path: "/".join(path.parts[-2:]))
def test_no_two_files_of_exchanges_say_the_same(one: Path, other: Path) -> None:
    shared = longest_shared(told(one), told(other))
    assert len(shared) <= SHARED_LINES, "\n".join(shared)


def test_a_copy_is_found_however_it_is_set(tmp_path: Path) -> None:
    path = PACKAGE / "exchanges" / "gateio" / "sequence.py"
    (copied,) = (node for node in ast.parse(path.read_text()).body if getattr(node, "name", None) == "InBand")
    lines = path.read_text().splitlines()[copied.lineno - 1 : copied.end_lineno]
    copy = tmp_path / "copy.py"
    copy.write_text("import ast\nif True:\n" + "\n\n    # another comment\n".join("    " + line for line in lines))
    assert longest_shared(told(path), told(copy)) == told(copy)[1:]
    assert len(told(copy)) > SHARED_LINES


@EACH
def test_everything_is_caught_at_two_places_only(module: str) -> None:
    broad = [node.lineno for node in ast.walk(MODULES[module]) if isinstance(node, ast.ExceptHandler) and is_broad(node.type)]
    assert broad == [] or module in CATCHES_ALL


def is_broad(caught: ast.expr | None) -> bool:
    """Whether an ``except`` names nothing, or everything."""
    parts = caught.elts if isinstance(caught, ast.Tuple) else [caught]
    return any(part is None or (isinstance(part, ast.Name) and part.id in ("Exception", "BaseException")) for part in parts)


@EACH
def test_nothing_is_suppressed_wholesale_either(module: str) -> None:
    calls = (node for node in ast.walk(MODULES[module]) if isinstance(node, ast.Call))
    suppressing = [call for call in calls if getattr(call.func, "attr", getattr(call.func, "id", None)) == "suppress"]
    assert [call.lineno for call in suppressing for argument in call.args if is_broad(argument)] == []


class TestPublicNames:
    def test_the_public_list_is_sorted_and_complete(self) -> None:
        names = [
            alias.asname or alias.name for name in ast.walk(tree_of("__init__")) if isinstance(name, ast.ImportFrom) for alias in name.names
        ]
        assert sorted(tickrail.__all__) == sorted(set(names))

    @pytest.mark.parametrize("name", tickrail.__all__)
    def test_every_public_name_has_a_docstring_of_its_own(self, name: str) -> None:
        thing = getattr(tickrail, name)
        assert thing.__doc__ and thing.__doc__.strip()
        if inspect.isclass(thing):
            assert "__doc__" in vars(thing)

    @pytest.mark.parametrize("name", [name for name in tickrail.__all__ if inspect.isclass(getattr(tickrail, name))])
    def test_every_public_method_has_a_docstring(self, name: str) -> None:
        members = inspect.getmembers(getattr(tickrail, name))
        ours = [(key, member) for key, member in members if not key.startswith("_") and is_ours(member)]
        assert [key for key, member in ours if not inspect.getdoc(member)] == []

    def test_the_public_package_holds_the_list_and_nothing_else(self) -> None:
        assert sorted(path.name for path in (SRC / "tickrail").iterdir() if path.name != "__pycache__") == ["__init__.py", "py.typed"]
        allowed = (ast.ImportFrom, ast.Assign, ast.Expr)
        assert [type(node).__name__ for node in tree_of("__init__").body if not isinstance(node, allowed)] == []


def tree_of(module: str) -> ast.Module:
    return ast.parse((SRC / "tickrail" / f"{module}.py").read_text(encoding="utf-8"))


def is_ours(member: object) -> bool:
    function = member.fget if isinstance(member, property) else member
    return (getattr(function, "__module__", None) or "").startswith("infrastructure") and callable(function)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The names in the wheel, built from a copy of the project so that the build leaves nothing behind."""
    folder = tmp_path_factory.mktemp("wheel")
    project = folder / "project"
    project.mkdir()
    for name in ("pyproject.toml", "setup.py", "LICENSE", "README.md"):
        shutil.copy(ROOT / name, project)
    shutil.copytree(SRC, project / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", "*_pb2.py*"))
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-index",
        "--no-deps",
        "--no-build-isolation",
        "--disable-pip-version-check",
    ]
    done = subprocess.run([*build, "--wheel-dir", folder, project], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("tickrail-*.whl")
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


class TestWheel:
    def test_it_holds_no_tests(self, wheel: list[str]) -> None:
        tops = {name.partition("/")[0] for name in wheel}
        assert {top for top in tops if not top.endswith(".dist-info")} == {"tickrail", "infrastructure"}
        assert [name for name in wheel if "tests" in name.split("/") or "conftest" in name] == []

    def test_it_holds_every_module_and_the_marks_of_typing(self, wheel: list[str]) -> None:
        modules = {str(path.relative_to(SRC)) for package in (PACKAGE, SRC / "tickrail") for path in package.rglob("*.py")}
        assert modules <= set(wheel)
        assert {"tickrail/py.typed", "infrastructure/py.typed"} <= set(wheel)

    def test_it_holds_what_is_made_of_each_description_of_messages_though_the_sources_do_not(self, wheel: list[str]) -> None:
        stems = [str(path.relative_to(SRC).with_suffix("")) for path in PACKAGE.rglob("*.proto")]
        assert stems
        assert {stem + end for stem in stems for end in (".proto", "_pb2.py", "_pb2.pyi")} <= set(wheel)

    @pytest.mark.parametrize("path", FIXED)
    def test_it_holds_the_paths_that_others_rely_on(self, wheel: list[str], path: str) -> None:
        assert path in wheel

    def test_the_shared_package_names_stay_open_to_others(self, wheel: list[str]) -> None:
        # Without an __init__ they are namespace packages and live beside a package of the same name.
        assert not {"infrastructure/__init__.py", "infrastructure/networking/__init__.py"} & set(wheel)
