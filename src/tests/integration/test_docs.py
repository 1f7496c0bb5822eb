"""The documents are true: their programs run, their numbers of lines are those of the files."""

import ast
import re
from pathlib import Path

import pytest

from tests.harness.captures import ROOT

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def programs(document: Path) -> str:
    """All Python blocks of a document as one program, at their own line numbers."""
    text = document.read_text()
    program = ["\n"] * text.count("\n")
    for block in re.finditer(r"^```python\n(.*?)^```", text, re.S | re.M):
        first = text.count("\n", 0, block.start(1))
        lines = block[1].splitlines(keepends=True)
        program[first : first + len(lines)] = lines
    return "".join(program)


@pytest.mark.parametrize("document", [document for document in DOCUMENTS if programs(document).strip()], ids=lambda path: path.name)
def test_the_programs_of_a_document_run(document: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    exec(compile(programs(document), document, "exec"), {"__name__": document.stem})


def lines_of(path: Path, name: str) -> int:
    """How many lines a function or method has."""
    body: list[ast.stmt] = ast.parse(path.read_text()).body
    for part in name.split("."):
        node = next(node for node in body if getattr(node, "name", None) == part)
        assert isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        body = node.body
    assert node.end_lineno is not None
    return node.end_lineno - node.lineno + 1


def test_the_way_of_a_frame_has_the_lines_that_design_says() -> None:
    text = (ROOT / "docs" / "design.md").read_text()
    rows = re.findall(r"^\| \d+ \| `([\w/.]+)` \| `([\w.]+)` \| (\d+) \|", text, re.M)
    assert len(rows) > 15
    said = {(file, name): int(lines) for file, name, lines in rows}
    assert said == {(file, name): lines_of(ROOT / "src" / "infrastructure" / file, name) for file, name in said}
    assert f"{sum(said.values())} lines in all" in text


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_the_links_of_a_document_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text()):
        assert (document.parent / target).exists(), target
