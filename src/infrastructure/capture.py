"""Reads a capture file: JSON lines, ``{"t": seconds, "dir": "in" | "out" | "http", "url": ..., "raw": text}``.

A binary frame has ``"hex"`` in place of ``"raw"``; ``http`` lines are REST answers.
"""

from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from infrastructure.errors import CaptureError


class CaptureLine(msgspec.Struct):
    """One line of a capture file."""

    raw: str | None = None
    hex: str | None = None
    t: float | None = None
    dir: str = "in"
    url: str = ""

    @property
    def frame(self) -> bytes:
        """The message as it was on the wire."""
        return self.raw.encode() if self.raw is not None else bytes.fromhex(self.hex or "")

    @property
    def received_ns(self) -> int:
        """When it was received, 0 where the file does not say."""
        return 0 if self.t is None else round(self.t * 1e9)


def read_capture(path: Path) -> list[CaptureLine]:
    """The lines of a capture file, or CaptureError with the place of what is wrong."""
    decode = msgspec.json.Decoder(CaptureLine).decode
    lines: list[CaptureLine] = []
    try:
        text = path.read_bytes()
    except OSError as error:
        raise CaptureError(str(path), 0, f"cannot be read: {error.strerror}") from None
    for number, raw in enumerate(text.splitlines(), 1):
        if not raw.strip():
            continue
        try:
            line = decode(raw)
            if line.dir not in ("in", "out", "http"):
                raise ValueError(f"dir is {line.dir!r}, not in, out or http")
            if line.raw is None and line.hex is None:
                raise ValueError("neither raw nor hex")
            bytes.fromhex(line.hex or "")
            urlsplit(line.url)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise CaptureError(str(path), number, str(error)) from None
        lines.append(line)
    if all(line.t is not None for line in lines):
        lines.sort(key=lambda line: line.t or 0.0)
    return lines
