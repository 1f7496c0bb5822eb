"""Somebody with an account at a simulated exchange: signed requests by means of the tests' own, nothing of tickrail's codecs."""

import hmac
import json
import time
from collections.abc import Mapping, Sequence
from decimal import Decimal
from hashlib import sha512
from typing import Any, NamedTuple
from urllib.parse import urlencode

import aiohttp
from yarl import URL

KEY, SECRET = "key", "secret"


class Told(NamedTuple):
    """What REST answered."""

    status: int
    body: Any


async def mexc(
    http: aiohttp.ClientSession, method: str, path: str, key: str = KEY, secret: str = SECRET, body: str = "", **fields: Any
) -> Told:
    """A signed request to MEXC spot: ``timestamp`` is now unless it is given."""
    query = urlencode({"timestamp": int(time.time() * 1000)} | fields)
    signature = hmac.digest(secret.encode(), (query + body).encode(), "sha256").hex()
    url = URL(f"/api/v3/{path}?{query}&signature={signature}", encoded=True)
    return await _answer(http, method, url, {"X-MEXC-APIKEY": key}, body)


async def gateio(
    http: aiohttp.ClientSession,
    method: str,
    path: str,
    query: Mapping[str, Any] | None = None,
    body: Mapping[str, Any] | None = None,
    secret: str = SECRET,
) -> Told:
    """A signed request to one of Gate.io's exchanges."""
    whole, text, content, now = f"/api/v4/{path}", urlencode(query or {}), "" if body is None else json.dumps(body), str(int(time.time()))
    signed = f"{method}\n{whole}\n{text}\n{sha512(content.encode()).hexdigest()}\n{now}"
    headers = {"KEY": KEY, "Timestamp": now, "SIGN": _sha512(secret, signed)}
    return await _answer(http, method, URL(f"{whole}?{text}" if text else whole, encoded=True), headers, content)


def gateio_subscription(channel: str, payload: Sequence[str], event: str = "subscribe", secret: str = SECRET) -> dict[str, Any]:
    """A signed subscription at one of Gate.io's exchanges, or its end."""
    now = int(time.time())
    auth = {"method": "api_key", "KEY": KEY, "SIGN": _sha512(secret, f"channel={channel}&event={event}&time={now}")}
    return {"time": now, "channel": channel, "event": event, "payload": list(payload), "auth": auth}


def exact(text: str) -> Any:
    """JSON whose numbers are as exact as they were written."""
    return json.loads(text, parse_float=Decimal)


def _sha512(secret: str, text: str) -> str:
    return hmac.new(secret.encode(), text.encode(), sha512).hexdigest()


async def _answer(http: aiohttp.ClientSession, method: str, url: URL, headers: Mapping[str, str], content: str = "") -> Told:
    async with http.request(method, url, headers=headers, data=content) as answer:
        return Told(answer.status, exact(await answer.text()))
