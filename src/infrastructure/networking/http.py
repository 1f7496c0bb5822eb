"""Requests to a venue's REST interface: never more often than the venue allows, and none while it asks for a pause."""

import asyncio
import random
import ssl
from collections.abc import Awaitable, Callable, Hashable, Mapping
from typing import Self

import aiohttp

from infrastructure.clock import Clock
from infrastructure.errors import RequestFailed
from infrastructure.limits import Limiter
from infrastructure.networking.address import check_address, shown
from infrastructure.networking.retry_after import retry_after_s

MAX_BODY_BYTES = 16 * 1024 * 1024
#: So much is told of the body of a refusal.
EXCERPT_CHARACTERS = 200
FIRST_DELAY_S, MAX_DELAY_S = 0.5, 10.0
#: Statuses by which a venue says that it is asked too often.
TOO_OFTEN = frozenset({418, 429})


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
        url = self._base_url + path
        where = shown(url)
        attempt = 1
        while True:
            await self._limiter.turn(self._key)
            try:
                return await self._ask(url, query, where)
            except RequestFailed as error:
                if error.status not in TOO_OFTEN and (error.status or 0) < 500:
                    raise
                failure = error
            except aiohttp.ClientSSLError as error:
                raise RequestFailed(where, str(error)) from None
            except TimeoutError:
                failure = RequestFailed(where, f"no whole answer within {self._timeout_s:g} s")
            except aiohttp.ClientResponseError as error:
                # The text of the error itself holds the query.
                failure = RequestFailed(where, f"not an answer of HTTP: {error.message}")
            except aiohttp.ClientError as error:
                failure = RequestFailed(where, str(error))
            wait_s = failure.retry_after_s or self._chance.uniform(0.0, min(FIRST_DELAY_S * 2 ** (attempt - 1), MAX_DELAY_S))
            if failure.status in TOO_OFTEN or failure.retry_after_s:
                self._limiter.defer(self._key, wait_s)
            if attempt == self._attempts:
                raise failure
            attempt += 1
            await self._sleep(wait_s)

    async def _ask(self, url: str, query: Mapping[str, str], where: str) -> bytes:
        if self._is_closed:
            raise RequestFailed(where, "closed by us")
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=self._ssl),
                timeout=aiohttp.ClientTimeout(total=self._timeout_s),
                # A body that is never unpacked cannot grow.
                auto_decompress=False,
                headers=self._headers,
            )
        async with self._session.get(url, params=query, allow_redirects=False) as response:
            status = response.status
            if 200 <= status < 300:
                body = await _read(response.content, MAX_BODY_BYTES)
                if len(body) > MAX_BODY_BYTES:
                    raise RequestFailed(where, f"the body is longer than {MAX_BODY_BYTES} bytes", status)
                return body
            words = (await _read(response.content, 4 * EXCERPT_CHARACTERS)).decode(errors="replace")[:EXCERPT_CHARACTERS]
            raise RequestFailed(
                where, f"HTTP {status}: {words}", status, retry_after_s(response.headers.get("Retry-After", ""), self._clock.now_ns())
            )


async def _read(content: aiohttp.StreamReader, limit: int) -> bytes:
    """A body, or so much of it that it is longer than ``limit``."""
    body = bytearray()
    async for chunk in content.iter_any():
        body += chunk
        if len(body) > limit:
            break
    return bytes(body)
