"""Streams several exchanges by configuration, each by its own manager and isolated from the others, until told to stop."""

import asyncio
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

from infrastructure.account_figures import AccountFigures
from infrastructure.config import read_config
from infrastructure.errors import ConfigError, TickrailError
from infrastructure.events import ErrorEvent, Fill
from infrastructure.feed import open_feed
from infrastructure.limits import Limiter
from infrastructure.networking.websocket.settings import ExchangeSettings
from infrastructure.networking.websocket.ws_manager import WebSocketManager
from infrastructure.replay import CALLBACK_NAMES
from infrastructure.session import Emission

OnEvent = Callable[[Emission], None]

#: The callbacks of an account.
ACCOUNT_CALLBACK_NAMES = ("on_order", "on_fill", "on_balance", "on_position", "on_risk", "on_account_state")


class Exchanges:
    """The exchanges of one configuration file. ``notes`` are the latest words on each: what went wrong, what was applied."""

    def __init__(self, path: Path, on_event: OnEvent) -> None:
        self.managers: dict[str, WebSocketManager] = {}
        self.notes: dict[str, str] = {}
        self._fills: Counter[str] = Counter()
        self._path = path
        self._on_event = on_event
        #: One for all, because exchanges may share a host.
        self._limiter = Limiter()
        self._stopped = asyncio.Event()
        self._changed = asyncio.Event()

    @property
    def accounts(self) -> dict[str, AccountFigures]:
        """What is known of the account at each exchange that has credentials."""
        return {
            name: AccountFigures.of(manager.account, self._fills[name])
            for name, manager in self.managers.items()
            if manager.private is not None
        }

    def stop(self) -> None:
        """End ``run``; a handler for signals."""
        self._stopped.set()

    def reload(self) -> None:
        """Read the file again and apply what it says now, after what is being applied; a handler for signals."""
        self._changed.set()

    async def run(self, seconds: float | None, show: Callable[["Exchanges"], None] | None = None, every_s: float = 0.25) -> None:
        """Open all, then stream until ``stop``, for ``seconds``, or until every exchange has failed. Raises what keeps one from opening."""
        settings = read_config(self._path)
        deadline = None if seconds is None else asyncio.get_running_loop().time() + seconds
        with _signals({signal.SIGINT: self.stop, signal.SIGTERM: self.stop, signal.SIGHUP: self.reload}, self._continued):
            async with AsyncExitStack() as stack:
                for name, exchange in settings.items():
                    if not self._stopped.is_set():
                        await self._open(stack, name, exchange)
                applying = asyncio.create_task(self._apply_changes())
                while not self._stopped.is_set() and any(manager.failure is None for manager in self.managers.values()):
                    if show is not None:
                        show(self)
                    remaining = every_s if deadline is None else min(every_s, deadline - asyncio.get_running_loop().time())
                    if remaining <= 0:
                        break
                    try:
                        await asyncio.wait_for(self._stopped.wait(), remaining)
                    except TimeoutError:
                        pass
                    for name, manager in self.managers.items():
                        if manager.failure is not None:
                            self.notes[name] = str(manager.failure)
                applying.cancel()
                await asyncio.wait([applying])

    async def _open(self, stack: AsyncExitStack, name: str, settings: ExchangeSettings) -> None:
        """Open one exchange; a signal to stop ends the attempt."""
        callbacks: dict[str, Any] = dict.fromkeys(CALLBACK_NAMES, self._on_event) | {"on_error": self._on_error}
        if settings.credentials is not None:
            callbacks |= dict.fromkeys(ACCOUNT_CALLBACK_NAMES, self._on_event) | {"on_fill": self._on_fill}
        opening = asyncio.create_task(
            stack.enter_async_context(open_feed(settings, limiter=self._limiter, partial_streams=True, **callbacks))
        )
        stopping = asyncio.create_task(self._stopped.wait())
        await asyncio.wait([opening, stopping], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if opening.done():
            self.managers[name] = opening.result()
        else:
            opening.cancel()
            await asyncio.wait([opening])

    def _on_fill(self, fill: Fill) -> None:
        self._fills[fill.venue] += 1
        self._on_event(fill)

    def _on_error(self, event: ErrorEvent) -> None:
        self.notes[event.venue] = f"{event.kind}: {event.text}"
        self._on_event(event)

    async def _apply_changes(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            await self._apply()

    async def _apply(self) -> None:
        try:
            settings = read_config(self._path)
        except ConfigError as error:
            self.notes["configuration"] = f"not applied: {'; '.join(error.problems)}"
            return
        self.notes.pop("configuration", None)
        for name in sorted(settings.keys() ^ self.managers.keys()):
            self.notes[name] = "not applied: exchanges come and go with a restart only"
        for name, manager in self.managers.items():
            if name not in settings:
                continue
            try:
                applied = await manager.apply(settings[name])
            except TickrailError as error:
                self.notes[name] = f"not applied: {error}"
                continue
            receipt = "" if applied.switch is None else f", {applied.switch.architecture.value} after frame {applied.switch.after_frame}"
            self.notes[name] = f"applied: {len(applied.subscribed)} streams more, {len(applied.unsubscribed)} fewer{receipt}"

    def _continued(self, *_: object) -> None:
        for manager in self.managers.values():
            manager.continued()


@contextmanager
def _signals(handlers: Mapping[signal.Signals, Callable[[], None]], continued: Callable[..., None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    for number, handler in handlers.items():
        loop.add_signal_handler(number, handler)
    # Not by the loop, which would read its sockets first.
    before = signal.signal(signal.SIGCONT, continued)
    try:
        yield
    finally:
        signal.signal(signal.SIGCONT, before)
        for number in handlers:
            loop.remove_signal_handler(number)
