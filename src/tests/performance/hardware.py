"""The processor's own counters, through ``perf_event_open``, where there are any: virtual machines mostly have none."""

import ctypes
import ctypes.util
import errno
import fcntl
import os
import platform
import struct

import msgspec

_NUMBERS = {"x86_64": 298, "aarch64": 241}
_TYPE_HARDWARE, _TYPE_SOFTWARE = 0, 1
_ENABLE, _DISABLE, _RESET = 0x2400, 0x2401, 0x2403
# Counts nothing until it is enabled; neither the kernel nor a hypervisor counts.
_FLAGS = 1 << 0 | 1 << 5 | 1 << 6
_SIZE = 120


class Event(msgspec.Struct, frozen=True):
    """What a counter counts, by the kernel's numbers."""

    name: str
    type: int
    config: int


PROCESSOR = (
    Event("hardware instructions", _TYPE_HARDWARE, 1),
    Event("hardware cache misses", _TYPE_HARDWARE, 3),
    Event("hardware branch misses", _TYPE_HARDWARE, 5),
)
#: Page faults: every kernel counts them.
PAGE_FAULTS = Event("page faults", _TYPE_SOFTWARE, 2)


class NoCounters(Exception):
    """The kernel gives this process no such counter, and why."""


class Counters:
    """Counts events of the thread that made it, in user space, between ``start`` and ``stop``; ``with`` lets go of them."""

    def __init__(self, events: tuple[Event, ...]) -> None:
        self._files: dict[str, int] = {}
        try:
            for event in events:
                self._files[event.name] = _open(event)
        except NoCounters:
            self.close()
            raise

    def __enter__(self) -> "Counters":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Count from zero."""
        for file in self._files.values():
            fcntl.ioctl(file, _RESET, 0)
            fcntl.ioctl(file, _ENABLE, 0)

    def stop(self) -> dict[str, int]:
        """What was counted since ``start``, by the names of the events."""
        for file in self._files.values():
            fcntl.ioctl(file, _DISABLE, 0)
        return {name: struct.unpack("Q", os.read(file, 8))[0] for name, file in self._files.items()}

    def close(self) -> None:
        """Give the counters back."""
        for file in self._files.values():
            os.close(file)
        self._files = {}


def missing() -> str | None:
    """Why the processor's counters cannot be read here; None where they can."""
    try:
        Counters(PROCESSOR).close()
    except NoCounters as error:
        return str(error)
    return None


def _open(event: Event) -> int:
    number = _NUMBERS.get(platform.machine())
    if number is None:
        raise NoCounters(f"perf_event_open has no known number on {platform.machine()}")
    libc = ctypes.CDLL(None, use_errno=True)
    attributes = struct.pack("IIQQQQQ", event.type, _SIZE, event.config, 0, 0, 0, _FLAGS).ljust(_SIZE, b"\0")
    file = int(libc.syscall(ctypes.c_long(number), attributes, 0, -1, ctypes.c_int(-1), ctypes.c_ulong(0)))
    if file < 0:
        code = ctypes.get_errno()
        raise NoCounters(f"perf_event_open, {event.name}: {errno.errorcode.get(code, code)}, {os.strerror(code)}")
    return file
