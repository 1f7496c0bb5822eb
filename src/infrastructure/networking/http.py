"""Requests to a venue's REST interface: never more often than the venue allows, and none while it asks for a pause."""

import asyncio
import random
import re
import ssl
from collections.abc import Awaitable, Callable, Hashable, Mapping
from typing import Self
from urllib.parse import parse_qsl

import aiohttp
import msgspec
from yarl import URL

from infrastructure.account_api import SignedCall
from infrastructure.clock import Clock
from infrastructure.errors import RequestFailed
from infrastructure.limits import Limiter
from infrastructure.networking.address import check_address, shown
from infrastructure.networking.retry_after import retry_after_s
from infrastructure.redaction import REDACTED, REDACTION, without_frames

MAX_BODY_BYTES = 16 * 1024 * 1024
#: So much is told of the body of a refusal.
EXCERPT_CHARACTERS = 200
FIRST_DELAY_S, MAX_DELAY_S = 0.5, 10.0
#: Statuses by which a venue says that it is asked too often.
TOO_OFTEN = frozenset({418, 429})
#: A text in a request that is shorter is a number or a name, and may be told; a key or a signature is longer.
SECRET_CHARACTERS = 16
#: What may stand in a request line: no space, which ends it, and no fragment, which is not sent.
_TARGET = re.compile(r"[!\x22$-~]*")


class Answer(msgspec.Struct, frozen=True):
    """What came back; of a body that is refused only the beginning."""

    status: int
    body: bytes
    retry_after: str = ""


class Rest:
    """A venue's REST interface. ``close`` it after use, or use it in ``async with``.

    Each attempt takes a turn of ``limiter`` under ``key``. A request that came to nothing but may pass is repeated, ``attempts`` in all:
    at the time that the venue names, else after a delay with full jitter. An attempt may last ``timeout_s``, from connecting to the last
    byte.
    """

    def __init__(
        self,
        base_url: str,
        *,
        limiter: Limiter,
        key: Hashable,
        headers: Mapping[str, str] | None = None,
        ssl_context: ssl.SSLContext | None = None,
        timeout_s: float = 10.0,
        attempts: int = 4,
        chance: random.Random | None = None,
        clock: Clock | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        check_address(base_url, "https", "http")
        self._base_url = base_url.rstrip("/")
        self._headers = {"Accept-Encoding": "identity", **(headers or {})}
        self._limiter = limiter
        self._key = key
        self._ssl = ssl_context or True
        self._timeout_s = timeout_s
        self._attempts = attempts
        self._chance = chance or random.Random()
        self._clock = clock or Clock()
        self._sleep = sleep
        self._session: aiohttp.ClientSession | None = None
        self._is_closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection. A request that is under way, or comes later, fails."""
        self._is_closed = True
        if self._session is not None:
            await self._session.close()

    async def get(self, path: str, query: Mapping[str, str]) -> bytes:
        """The body of the answer, which may be long in coming. Raises RequestFailed and nothing else."""
        call = SignedCall("GET", path, URL().with_query(query).raw_query_string, {})
        return await self.send(lambda: call)

    async def send(self, sign: Callable[[], SignedCall]) -> bytes:
        """The body of the answer to what ``sign`` makes, which is asked for each attempt: what is signed holds its time.

        Query and body go out byte by byte as they are. A request may arrive twice, when only its answer was lost: what must not be done
        twice is not for this. Raises RequestFailed, which holds nothing of query, headers and body, and what ``sign`` raises.
        """
        attempt = 1
        while True:
            await self._limiter.turn(self._key)
            try:
                outcome = await self._attempt(sign())
            except asyncio.CancelledError as error:
                # The frames that it came through hold the request.
                raise without_frames(error) from None
            if isinstance(outcome, bytes):
                return outcome
            failure, may_pass = outcome
            if not may_pass:
                raise failure
            wait_s = failure.retry_after_s or self._chance.uniform(0.0, min(FIRST_DELAY_S * 2 ** (attempt - 1), MAX_DELAY_S))
            if failure.status in TOO_OFTEN or failure.retry_after_s:
                self._limiter.defer(self._key, wait_s)
            if attempt == self._attempts:
                raise failure
            attempt += 1
            await self._sleep(wait_s)

    async def _attempt(self, call: SignedCall) -> bytes | tuple[RequestFailed, bool]:
        """The body, or why there is none and whether that may pass: not raised, since a traceback from here on would hold the request."""
        where = shown(self._base_url + call.path)
        if self._is_closed:
            return RequestFailed(where, "closed by us"), False
        if not (_TARGET.fullmatch(call.path) and _TARGET.fullmatch(call.query)):
            return RequestFailed(where, "path or query is not written as it is sent"), False
        try:
            answer = await self._ask(call)
        except aiohttp.ClientSSLError as error:
            return RequestFailed(where, REDACTION.redacted(str(error))), False
        except TimeoutError:
            return RequestFailed(where, f"no whole answer within {self._timeout_s:g} s"), True
        except aiohttp.ClientResponseError as error:
            # The text of the error itself holds the query.
            return RequestFailed(where, f"not an answer of HTTP: {error.message}"), True
        except aiohttp.ClientError as error:
            return RequestFailed(where, REDACTION.redacted(str(error))), True
        if not 200 <= answer.status < 300:
            words = _without(call, answer.body.decode(errors="replace"))[:EXCERPT_CHARACTERS]
            wait_s = retry_after_s(answer.retry_after, self._clock.now_ns())
            failure = RequestFailed(where, f"HTTP {answer.status}: {words}", answer.status, wait_s, words)
            return failure, answer.status in TOO_OFTEN or answer.status >= 500
        if len(answer.body) > MAX_BODY_BYTES:
            return RequestFailed(where, f"the body is longer than {MAX_BODY_BYTES} bytes", answer.status), False
        return answer.body

    async def _ask(self, call: SignedCall) -> Answer:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=self._ssl),
                timeout=aiohttp.ClientTimeout(total=self._timeout_s),
                # A body that is never unpacked cannot grow.
                auto_decompress=False,
                headers=self._headers,
            )
        async with self._session.request(
            call.method,
            # As it stands: written anew it would not be what was signed.
            URL(f"{self._base_url}{call.path}?{call.query}".removesuffix("?"), encoded=True),
            data=call.body.encode() or None,
            headers=call.headers if call.method == "GET" else {"Content-Type": "application/json", **call.headers},
            allow_redirects=False,
        ) as response:
            is_taken = 200 <= response.status < 300
            body = await _read(response.content, MAX_BODY_BYTES if is_taken else 4 * EXCERPT_CHARACTERS)
            return Answer(response.status, body, response.headers.get("Retry-After", ""))


def _without(call: SignedCall, words: str) -> str:
    """``words`` of a venue that may repeat what it was sent, without what may be secret of it."""
    values = [*call.headers.values(), *(value for _, value in parse_qsl(call.query, keep_blank_values=True)), call.query, call.body]
    for value in sorted({value for value in values if len(value) >= SECRET_CHARACTERS}, key=len, reverse=True):
        words = words.replace(value, REDACTED)
    return REDACTION.redacted(words)


async def _read(content: aiohttp.StreamReader, limit: int) -> bytes:
    """A body, or so much of it that it is longer than ``limit``."""
    body = bytearray()
    async for chunk in content.iter_any():
        body += chunk
        if len(body) > limit:
            break
    return bytes(body)
