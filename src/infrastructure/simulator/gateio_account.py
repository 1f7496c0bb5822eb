"""What the accounts of Gate.io's exchanges have in common: who signed what, and how a refusal is told."""

import hmac
import json
import re
from collections.abc import Mapping
from hashlib import sha512
from typing import Any, NamedTuple
from urllib.parse import unquote

from infrastructure.simulator.accounts import Refusal
from infrastructure.simulator.exchange import Answer, Request
from infrastructure.simulator.faults import Faults

#: How far a request's time may be from the exchange's.
MOST_OFF_S = 60
#: How a subscription or an order names itself.
ALL = "!all"
CLIENT_ID = re.compile(r"t-[0-9A-Za-z_.-]{1,28}")
#: What an order is called that its client did not name.
UNNAMED = "apiv4"

#: By what the account refuses: the status of the answer, its label and its words.
REFUSALS: Mapping[Refusal, tuple[int, str, str]] = {
    Refusal.AMOUNT: (400, "INVALID_PARAM_VALUE", "Invalid amount"),
    Refusal.PRICE: (400, "INVALID_PARAM_VALUE", "Invalid price"),
    Refusal.FUNDS: (400, "BALANCE_NOT_ENOUGH", "Not enough balance"),
    Refusal.UNKNOWN_ORDER: (404, "ORDER_NOT_FOUND", "Order not found"),
    Refusal.FINISHED: (400, "ORDER_CLOSED", "Order closed"),
    Refusal.NOTHING_TO_REDUCE: (400, "REDUCE_EXCEEDED", "Empty position"),
}


class Denied(Exception):
    """Whoever asks did not prove that he may."""

    def __init__(self, status: int, label: str, message: str) -> None:
        super().__init__(label)
        self.status = status
        self.body = json.dumps({"label": label, "message": message}, separators=(",", ":"))


class Asked(NamedTuple):
    """A signed REST request that was let in: its query, its body, what its path ends in, and the client's dialect."""

    query: Mapping[str, str]
    body: Mapping[str, Any]
    last: str
    dialect: str


class Gate:
    """Lets in whoever has the key, signs with the secret and has the right time."""

    def __init__(self, api_key: str, secret: str, faults: Faults) -> None:
        self._api_key = api_key
        self._secret = secret.encode()
        self._faults = faults

    def check_subscription(self, request: Mapping[str, Any], now_ms: int) -> None:
        """``auth`` of a subscription, or of its end. Raises Denied."""
        auth = request.get("auth")
        auth = auth if isinstance(auth, dict) else {}
        time = request.get("time")
        text = f"channel={request.get('channel')}&event={request.get('event')}&time={time}"
        self._check(auth.get("KEY") if auth.get("method") == "api_key" else None, auth.get("SIGN"), text, str(time), now_ms)

    def check_login(self, payload: Mapping[str, Any], channel: str, now_ms: int) -> None:
        """A login; ``req_param`` is signed as it was written, and as nothing where there is none. Raises Denied."""
        parameters = json.dumps(payload["req_param"], separators=(",", ":")) if "req_param" in payload else ""
        time = str(payload.get("timestamp"))
        self._check(payload.get("api_key"), payload.get("signature"), f"api\n{channel}\n{parameters}\n{time}", time, now_ms)

    def check_request(self, request: Request, now_ms: int) -> None:
        """The headers of a REST request, whose query is signed without its percent signs. Raises Denied."""
        headers = request.headers
        time = headers.get("Timestamp", "")
        body = sha512(request.body).hexdigest()
        text = f"{request.method}\n{request.path}\n{unquote(request.query)}\n{body}\n{time}"
        self._check(headers.get("KEY"), headers.get("SIGN"), text, time, now_ms)

    def _check(self, key: object, signature: object, text: str, time: str, now_ms: int) -> None:
        if key != self._api_key:
            raise Denied(401, "INVALID_KEY", "Invalid key provided")
        if not (time.isascii() and time.isdecimal() and len(time) <= 10) or abs(int(time) - now_ms / 1000) > MOST_OFF_S:
            raise Denied(403, "REQUEST_EXPIRED", f"gap between request Timestamp and server time exceeds {MOST_OFF_S}")
        right = hmac.new(self._secret, text.encode(), sha512).hexdigest()
        if self._stands("wrong-signature") or not (isinstance(signature, str) and hmac.compare_digest(signature.encode(), right.encode())):
            raise Denied(401, "INVALID_SIGNATURE", "Signature mismatch")
        if self._stands("no-permission"):
            raise Denied(403, "FORBIDDEN", "API key has no permission")

    def _stands(self, fault: str) -> bool:
        if not self._faults.amount(fault):
            return False
        self._faults.counts[fault] += 1
        return True


def refused(refusal: Refusal) -> Answer:
    """The REST answer to what the account refuses."""
    status, label, message = REFUSALS[refusal]
    return Answer(status, json.dumps({"label": label, "message": message}, separators=(",", ":")))
