"""Where recorded traffic is looked for, and how its lines are read."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
CAPTURES = Path(os.environ.get("TICKRAIL_CAPTURES", ROOT.parent / "shared" / "captures"))


def lines(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of one capture file."""
    with path.open(encoding="utf-8") as file:
        for text in file:
            yield json.loads(text)
