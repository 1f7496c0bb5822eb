"""What is asked of a venue's REST interface about an account, and what comes back. Pure: requests and answers as values."""

from collections.abc import Mapping
from enum import Enum

import msgspec

from infrastructure.credentials import Secret
from infrastructure.events import BalanceUpdate, Fill, OrderUpdate, PositionUpdate


class RestCall(msgspec.Struct, frozen=True):
    """One request, not signed: ``query`` as it stands in the URL, in its order; ``body`` is JSON or empty."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    body: str = ""

    def __repr__(self) -> str:
        # Its query may hold a listen key.
        return f"<RestCall {self.method} {self.path}>"


class SignedCall(msgspec.Struct, frozen=True):
    """The same as it is sent: ``query`` is the text after the question mark, byte by byte as it was signed.

    What may be secret in it is kept from its repr.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: str = ""

    def __repr__(self) -> str:
        return f"<SignedCall {self.method} {self.path}>"


class Part(Enum):
    """What an account consists of."""

    ORDERS = "orders"
    FILLS = "fills"
    BALANCES = "balances"
    POSITIONS = "positions"


class AccountCall(msgspec.Struct, frozen=True):
    """A request for a part of the account; ``symbol`` is unified, None where the answer is for all."""

    part: Part
    call: RestCall
    symbol: str | None = None
    #: Of an answer in several pages: which of them.
    page: int = 1


class AccountAnswer(msgspec.Struct, frozen=True):
    """What an answer holds, and the request for its next page, None if it was the last."""

    events: tuple[OrderUpdate | Fill | BalanceUpdate | PositionUpdate, ...]
    following: AccountCall | None = None


class RefusalKind(Enum):
    """What a venue's refusal of a signed request means."""

    #: Key, secret or permission: trying again does not help.
    CREDENTIALS = "credentials"
    #: The time in the request is too far from the venue's.
    CLOCK = "clock"
    #: The listen key is not known, or no longer.
    KEY = "key"
    OTHER = "other"


class ListenKeys(msgspec.Struct, frozen=True):
    """How a venue gives out keys for private streams: a key is created and renewed by signed requests, and is part of the address.

    A key lives ``life_s`` from its creation or its last renewal. Two connections may use one while one takes over from the other.
    """

    create: RestCall
    renew_path: str
    key_name: str
    life_s: float
    renew_s: float

    def renew(self, key: Secret) -> RestCall:
        """The request that lets ``key`` live for ``life_s`` from now."""
        return RestCall("PUT", self.renew_path, ((self.key_name, key.reveal()),))
