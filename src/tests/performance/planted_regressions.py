"""Losses that a change could bring in, each put into the direct path of a copy of ``infrastructure``. All of them must be found."""

from pathlib import Path

import msgspec

from tests.performance.pairs import PACKAGE, SRC, copy_package

HANDLER = "networking/websocket/handlers/base_websocket_client.py"
LANE = "networking/websocket/lane.py"
SESSION = "session.py"


class Planted(msgspec.Struct, frozen=True):
    """In ``file`` the text ``old``, which stands there once, becomes ``new``. ``where`` is the function that does more by it."""

    name: str
    file: str
    old: str
    new: str
    where: str

    def into(self, source: Path) -> Path:
        """Make ``source`` a folder with a copy of ``infrastructure`` that has this; returns it."""
        copied = copy_package(SRC / PACKAGE, source)
        file = copied / PACKAGE / self.file
        text = file.read_text()
        if text.count(self.old) != 1:
            raise ValueError(f"{self.name}: the text stands {text.count(self.old)} times in {self.file}, not once")
        file.write_text(text.replace(self.old, self.new))
        return copied


#: The beginning of the direct path: each frame passes it once.
_DELIVER = "        self.received = number = self.received + 1\n"
_PUBLISH = "    def _publish(self, messages: Any) -> Any:\n"

CALL = Planted(
    "one extra call",
    HANDLER,
    _PUBLISH,
    f"    def _planted(self) -> None:\n        pass\n\n{_PUBLISH}        self._planted()\n",
    "SessionHandler._planted",
)

#: A list's items lie in a block of their own, which no free list keeps.
ALLOCATION = Planted(
    "one extra allocation",
    LANE,
    _DELIVER,
    f"{_DELIVER}        _ = [raw, number, started, received_ns]\n",
    "Lane.deliver",
)

LINEAR_SEARCH = Planted(
    "a linear search over symbols",
    SESSION,
    "            source = self._sources[message.message_type].get(symbol)\n",
    "            known = self._sources[message.message_type]\n"
    "            source = next((known[name] for name in list(known) if name == symbol), None)\n",
    "Session.apply",
)

LEAK = Planted(
    "a leak of one object per 100 messages",
    LANE,
    _DELIVER,
    f'{_DELIVER}        if number % 100 == 0:\n            self.__dict__.setdefault("planted", []).append(object())\n',
    "Lane.deliver",
)


def work(name: str, length: int) -> Planted:
    """Look for a number among so many that are all another: a loop in C, with no call and no object of its own."""
    return Planted(name, LANE, _DELIVER, f"{_DELIVER}        number in ({'-1, ' * length})\n", "Lane.deliver")
