"""The documents are true: their programs run, their numbers of lines are those of the files."""

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


def test_the_way_of_a_frame_has_the_lines_that_design_says() -> None:
    rows = re.findall(r"^\| \d+ \| `([\w/.]+)` \| (\d+) \|", (ROOT / "docs" / "design.md").read_text(), re.M)
    assert len(rows) > 5
    for name, lines in rows:
        assert (ROOT / "src" / "infrastructure" / name).read_text().count("\n") == int(lines), name
    assert sum(int(lines) for _, lines in rows) < 1500


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_the_links_of_a_document_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text()):
        assert (document.parent / target).exists(), target
