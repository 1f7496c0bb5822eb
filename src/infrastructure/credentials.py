"""Keys and secrets of an account, which show nothing of themselves wherever they may be printed."""

import hmac
from typing import NoReturn

import msgspec


class Secret:
    """A text that nobody sees by accident: not in a repr, not in ``str``, not in a pickle. ``reveal`` is for whoever signs or sends."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself."""
        return self._text

    def __repr__(self) -> str:
        return "<Secret>"

    def __str__(self) -> str:
        return "<Secret>"

    def __format__(self, spec: str) -> str:
        return format("<Secret>", spec)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._text.encode(), other._text.encode())

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not pickled or copied into anything that is")


class Credentials(msgspec.Struct, frozen=True):
    """What proves to a venue whose account it is: the key that names it, and the secret that signs."""

    key: Secret
    secret: Secret
