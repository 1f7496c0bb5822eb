"""How Gate.io's API v4 is shown whose requests they are: HMAC-SHA512 over what is asked and when, the same in all markets.

Source: https://www.gate.com/docs/developers/apiv4/en/#authentication, .../apiv4/ws/en/#authentication
"""

import hashlib
import hmac
from collections.abc import Mapping

from infrastructure.account_api import RestCall, SignedCall
from infrastructure.credentials import Credentials, Secret


class Proof(dict[str, str]):
    """``{"method":"api_key","KEY":"...","SIGN":"..."}``, of a message that may be printed: it shows nothing of itself."""

    def __repr__(self) -> str:
        return "<Proof>"

    __str__ = __repr__


def signature(secret: Secret, text: str) -> str:
    """HMAC-SHA512 in lower-case hex."""
    return hmac.new(secret.reveal().encode(), text.encode(), hashlib.sha512).hexdigest()


def subscription_proof(credentials: Credentials, channel: str, event: str, now_s: int) -> Proof:
    """What a request on a private channel carries as ``auth``; ``now_s`` is the request's own time."""
    sign = signature(credentials.secret, f"channel={channel}&event={event}&time={now_s}")
    return Proof(method="api_key", KEY=credentials.key.reveal(), SIGN=sign)


def signed_call(credentials: Credentials, call: RestCall, now_ms: int, headers: Mapping[str, str]) -> SignedCall:
    """A request to the REST interface, with ``headers`` of the venue beside its own. The query is signed, and sent, as it stands."""
    query = "&".join(f"{key}={value}" for key, value in call.query)
    timestamp = str(now_ms // 1000)
    body = hashlib.sha512(call.body.encode()).hexdigest()
    sign = signature(credentials.secret, "\n".join((call.method, call.path, query, body, timestamp)))
    proof = {"KEY": credentials.key.reveal(), "Timestamp": timestamp, "SIGN": sign}
    content = {"Content-Type": "application/json"} if call.body else {}
    return SignedCall(call.method, call.path, query, {**headers, **content, **proof}, call.body)
