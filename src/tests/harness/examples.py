"""The payloads in the docstrings of the structs that read them."""

import json
import re
from typing import Any

from msgspec import Struct


def example(struct: type[Struct], **changes: Any) -> Any:
    """The payload in the docstring of ``struct``, with some of its values changed; None takes a key away."""
    found = re.search(r"``(\{.*?\})``", struct.__doc__ or "", re.DOTALL)
    assert found is not None
    return {key: value for key, value in (json.loads(found[1]) | changes).items() if value is not None}
