"""What a simulated exchange can do wrong: one table for names, values and help."""

import random
from collections import Counter
from collections.abc import Collection, Mapping
from math import inf
from types import MappingProxyType
from typing import NamedTuple

from infrastructure.errors import SettingsError


class Fault(NamedTuple):
    """A fault that stands until it is changed: ``NAME=VALUE``, or the name alone where ``value`` is empty."""

    name: str
    value: str
    help: str


COUNT, SECONDS, BYTES, CHANNEL, TARGET = "N", "SECONDS", "BYTES", "CHANNEL", "CHANNEL or PAIR"

_TABLE = (
    Fault("drop", COUNT, "one of N changes of a book is pushed to nobody, which leaves a hole in the ids"),
    Fault("duplicate", COUNT, "one of N pushes of a book comes twice"),
    Fault("reorder", COUNT, "one of N pushes of a book comes after the next one of its pair"),
    Fault("jump", COUNT, "the ids of one of N changes of a book leap, though nothing was left out"),
    Fault("bodyless", COUNT, "one of N pushes comes after one that says nothing"),
    Fault("old-schema", "", "pushes are as before June 2026: trades without ids, tops of books without versions"),
    Fault("full", COUNT, "one of N pushes of a book is the whole book, unasked"),
    Fault("corrupt", COUNT, "one of N changes of a best level is pushed with a wrong price or amount, and after it the right top"),
    Fault("reset", COUNT, "after one of N changes of a book its ids go on from far lower ones"),
    Fault("one-sided", TARGET, "the changes of its book come without bids"),
    Fault("thin", COUNT, "of each stream but books only one of N messages comes"),
    Fault("replay", COUNT, "a new subscription to trades begins with the last N that its log name was sent before"),
    Fault("refuse", TARGET, "its subscription is refused"),
    Fault("unanswered", CHANNEL, "its subscription gets neither acknowledgement nor data"),
    Fault("mute", TARGET, "its subscription is acknowledged, but nothing comes"),
    Fault("cut", SECONDS, "each connection is reset so long after it opened, in the middle of a frame"),
    Fault("retire", SECONDS, "each connection is closed, with a close frame, so long after it opened"),
    Fault("down", "", "new connections and REST requests are answered with 503"),
    Fault("stale", COUNT, "the first N REST books of each pair are from before the stream's first push"),
    Fault("drip", BYTES, "so many a second, and no more, go to each connection"),
    Fault("early", "", "the whole book of a stream comes before the acknowledgement"),
    Fault("slow-rest", SECONDS, "each REST answer takes so long"),
    Fault("too-often", COUNT, "whoever asks for a REST path more than N times a second is told to come back after one"),
    Fault("key-life", SECONDS, "a listen key lives so long after it was created or renewed, in place of an hour"),
    Fault("renewal-refused", "", "the renewal of a listen key is answered with an error"),
    Fault("keys-refused", "", "nobody gets a new listen key"),
    Fault("skew", SECONDS, "its clock is so far ahead, behind where that is negative: signed requests are refused whose time is right"),
    Fault("wrong-signature", "", "every signature is taken for a wrong one"),
    Fault("no-permission", "", "the API key may not do what it is used for"),
    Fault("cut-login", COUNT, "the next N connections are reset when their first private subscription comes"),
    Fault("quiet-private", "", "what happens to the account is pushed to nobody, and is in REST alone"),
)
FAULTS = {fault.name: fault for fault in _TABLE}
#: Those whose number may be below 0.
_SIGNED = ("skew",)
#: Faults that a recording can be served with.
OF_RECORDINGS = ("cut", "retire", "down", "drip", "slow-rest", "too-often")


class Faults:
    """The faults that stand, and how often each struck.

    ``targets`` are the channels and pairs that a fault of ``names`` may name; ``meaningless`` are those that cannot be, and why.
    """

    def __init__(
        self,
        targets: Collection[str],
        seed: int,
        names: Collection[str] = tuple(FAULTS),
        meaningless: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._names = names
        self._meaningless = meaningless
        self._targets = targets
        self._chance = random.Random(f"faults {seed}")
        self._amounts: dict[str, float] = {}
        self._hit: dict[str, set[str]] = {}

    def set(self, text: str) -> None:
        """Let ``NAME=VALUE`` stand; ``NAME=0`` ends it. Raises SettingsError."""
        name, equals, value = text.partition("=")
        if name in self._meaningless:
            raise SettingsError(f"fault {name!r} has no meaning here: {self._meaningless[name]}")
        if name not in self._names:
            raise SettingsError(f"unknown fault {name!r}; known: {', '.join(usage(FAULTS[known]) for known in self._names)}")
        fault = FAULTS[name]
        if value == "0":
            self._amounts.pop(name, None)
            self._hit.pop(name, None)
            return
        if bool(equals) != bool(fault.value):
            raise SettingsError(f"fault {text!r} is not of the form {usage(fault)}")
        if fault.value in (CHANNEL, TARGET):
            known = [target for target in self._targets if fault.value == TARGET or "/" not in target]
            if value not in known:
                raise SettingsError(f"fault {text!r} is not of the form {usage(fault)}; known: {', '.join(known)}")
            self._hit.setdefault(name, set()).add(value)
        elif amount := _number(fault, text, value) if value else 1:
            self._amounts[name] = amount
        else:
            self._amounts.pop(name, None)

    def clear(self) -> None:
        """No fault stands any more."""
        self._amounts.clear()
        self._hit.clear()

    @property
    def are_any(self) -> bool:
        """Whether any fault stands."""
        return bool(self._amounts or self._hit)

    def amount(self, name: str) -> float:
        """The number of a fault, 0 if it does not stand."""
        return self._amounts.get(name, 0)

    def strikes(self, name: str) -> bool:
        """Whether a fault that comes once in N times comes now."""
        once_in = self._amounts.get(name, 0)
        if not once_in or self._chance.random() * once_in >= 1:
            return False
        self.counts[name] += 1
        return True

    def takes(self, name: str) -> bool:
        """Whether a fault that comes the next N times comes now."""
        left = self._amounts.pop(name, 0)
        if left > 1:
            self._amounts[name] = left - 1
        if left:
            self.counts[name] += 1
        return bool(left)

    def spares(self, name: str) -> bool:
        """Whether a fault that strikes all but one in N times, lets this one pass."""
        of = self._amounts.get(name, 0)
        if not of or self._chance.random() * of < 1:
            return True
        self.counts[name] += 1
        return False

    def hits(self, name: str, *targets: str) -> bool:
        """Whether a fault stands for one of ``targets``."""
        hit = self._hit.get(name)
        if hit is None or hit.isdisjoint(targets):
            return False
        self.counts[name] += 1
        return True


def usage(fault: Fault) -> str:
    """``drop=N``."""
    return f"{fault.name}={fault.value}" if fault.value else fault.name


def _number(fault: Fault, text: str, value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = inf
    if not (0 <= number < inf or (fault.name in _SIGNED and -inf < number < 0)) or (fault.value != SECONDS and not number.is_integer()):
        raise SettingsError(
            f"fault {text!r} is not of the form {usage(fault)}: {'a number' if fault.value == SECONDS else 'a whole number'}, 0 ends it"
        )
    return number
