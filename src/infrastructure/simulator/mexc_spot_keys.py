"""How MEXC spot knows whose a request or a stream is: signatures over the bytes of a request, and listen keys with their lives. Pure."""

import hmac
from collections import Counter
from collections.abc import Callable
from secrets import token_hex

#: How long a listen key lives from its creation or its last renewal, unless a fault says otherwise.
LIFE_S = 3600.0
#: The most keys that a user has at a time, and the most connections that read one key's streams.
MOST_KEYS = 60
MOST_CONNECTIONS = 5
#: How old a request may be unless it says so itself, how old it may say that it may be, and how far its clock may be ahead, in ms.
WINDOW_MS, MOST_WINDOW_MS, AHEAD_MS = 5000, 60_000, 1000

_SIGNATURE = "signature="


def signed_text(query: str, body: str = "") -> tuple[str, str]:
    """What a request's signature is of, and that signature, "" if it has none.

    It is of the query as it stands in the URL, directly followed by the body, both without the signature.
    """
    signature = ""
    texts = []
    for part in (query, body):
        kept = []
        for field in part.split("&"):
            if field.startswith(_SIGNATURE):
                signature = field.removeprefix(_SIGNATURE)
            else:
                kept.append(field)
        texts.append("&".join(kept))
    return "".join(texts), signature


def signature_of(secret: str, text: str) -> str:
    """The signature of a text, in lower case."""
    return hmac.digest(secret.encode(), text.encode(), "sha256").hex()


def is_signed(secret: str, query: str, body: str = "") -> bool:
    """Whether a request bears the signature of this secret."""
    text, signature = signed_text(query, body)
    return hmac.compare_digest(signature.encode(), signature_of(secret, text).encode())


class Lapsed(Exception):
    """There is no such listen key, or no longer."""


class ListenKeys:
    """Which listen keys there are, whose they are, until when, and how many connections read each.

    ``life_s`` tells how long a key lives from its last renewal; what it says now holds for the keys that are there too.
    """

    def __init__(self, life_s: Callable[[], float] = lambda: LIFE_S) -> None:
        self._life_s = life_s
        #: By key: its user, and when it was made or renewed.
        self._keys: dict[str, tuple[int, int]] = {}
        self._connections: Counter[str] = Counter()

    def create(self, user: int, now_ms: int) -> str | None:
        """A new key, None if the user has as many as there may be."""
        if len(self.of(user, now_ms)) >= MOST_KEYS:
            return None
        key = token_hex(32)
        self._keys[key] = user, now_ms
        return key

    def of(self, user: int, now_ms: int) -> list[str]:
        """The keys of a user that are alive, the oldest first."""
        self._bury(now_ms)
        return [key for key, (owner, _) in self._keys.items() if owner == user]

    def renew(self, user: int, key: str, now_ms: int) -> None:
        """Let a key live for its whole time from now. Raises Lapsed."""
        self._check(user, key, now_ms)
        self._keys[key] = user, now_ms

    def delete(self, user: int, key: str, now_ms: int) -> None:
        """End a key. Raises Lapsed."""
        self._check(user, key, now_ms)
        del self._keys[key]

    def clear(self) -> None:
        """End every key."""
        self._keys.clear()

    def user(self, key: str, now_ms: int) -> int | None:
        """Whose a key is, None if it is nobody's or lapsed."""
        user, renewed_ms = self._keys.get(key, (None, 0))
        return user if user is not None and now_ms - renewed_ms < self._life_s() * 1000 else None

    def open(self, key: str, now_ms: int) -> int | None:
        """A connection begins to use a key: whose that is, or None if it may not."""
        user = self.user(key, now_ms)
        if user is None or self._connections[key] >= MOST_CONNECTIONS:
            return None
        self._connections[key] += 1
        return user

    def close(self, key: str) -> None:
        """A connection that used a key is gone."""
        self._connections[key] -= 1
        if not self._connections[key]:
            del self._connections[key]

    def _check(self, user: int, key: str, now_ms: int) -> None:
        if self.user(key, now_ms) != user:
            raise Lapsed(key)

    def _bury(self, now_ms: int) -> None:
        self._keys = {key: entry for key, entry in self._keys.items() if self.user(key, now_ms) is not None}
