"""A client that is held against others: a process of its own, which tells line by line what it sees."""

import asyncio
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any


class ClientProcess(ABC):
    """One client; ``exit_code`` is None until it ends."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        self.exit_code: int | None = None
        self._command = command
        self._environment = os.environ | (environment or {})
        self._process: asyncio.subprocess.Process | None = None

    @abstractmethod
    def take(self, line: Sequence[Any]) -> None:
        """A line that it tells."""

    async def run(self) -> None:
        """Take what it tells until it ends or this is cancelled; its errors go where ours go."""
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(*self._command, env=self._environment, stdin=pipe, stdout=pipe)
        assert self._process.stdout is not None
        try:
            async for line in self._process.stdout:
                self.take(json.loads(line))
            self.exit_code = await self._process.wait()
        finally:
            if self._process.returncode is None:
                self._process.kill()  # it has nothing to put in order
                await self._process.wait()

    def go(self) -> None:
        """Give it a line on its standard input."""
        self._input.write(b"\n")

    def end(self) -> None:
        """End its standard input."""
        self._input.close()

    @property
    def _input(self) -> asyncio.StreamWriter:
        assert self._process is not None and self._process.stdin is not None
        return self._process.stdin
