"""How MEXC spot knows whose a request or a connection is: signatures, listen keys, its clock, and what it says when it refuses.

Source: https://www.mexc.com/api-docs/spot-v3/general-info and .../websocket-user-data-streams
"""

import hmac
import re
from urllib.parse import quote, urlencode

import msgspec

from infrastructure.account_api import ListenKeys, RefusalKind, RestCall, SignedCall
from infrastructure.credentials import Credentials, Secret
from infrastructure.errors import DecodeError
from infrastructure.exchanges.mexc.channels import EARLIEST_MS, LATEST_MS

#: So old a request may be when the venue gets it. It takes up to 60,000; what it assumes by itself is enough.
RECEIVE_WINDOW_MS = 5000

_KEYS_PATH = "/api/v3/userDataStream"
#: A key lives for an hour, and the venue advises to renew it every 30 minutes. Five minutes less leave time to try again. It is never
#: deleted: it lapses by itself, and another connection may use it.
LISTEN_KEYS = ListenKeys(
    create=RestCall("POST", _KEYS_PATH),
    renew_path=_KEYS_PATH,
    key_name="listenKey",
    life_s=3600.0,
    renew_s=1500.0,
)
TIME_CALL = RestCall("GET", "/api/v3/time")

_CREDENTIALS = frozenset({"401", "403", "602", "10072", "700001", "700002", "700006", "700007"})
_CLOCK = frozenset({"700003", "10073"})
#: By its list a missing key, but seen too for arguments that are out of range: the words decide.
_BAD_REQUEST = "400"
_ABOUT_THE_KEY = re.compile(r"api[ _-]?key", re.IGNORECASE)
#: ``Invalid listen key`` on a connection; REST says it in words of its own.
_NO_SUCH_LISTEN_KEY = re.compile(r"invalid.*listen[ _-]?key|listen[ _-]?key.*(invalid|exist|expired|not found)", re.IGNORECASE | re.DOTALL)
#: So far words are looked at: what is longer is a page of a firewall.
_WORDS = 512
#: A key becomes part of an address. The venue's have 64 letters and digits.
_LISTEN_KEY = re.compile(r"[A-Za-z0-9_-]{1,256}", re.ASCII)


class Refusal(msgspec.Struct):
    """``{"code":700003,"msg":"Timestamp for this request is outside of the recvWindow."}``: what REST answers, with status 400 mostly."""

    code: int | str
    msg: str | None = None


class ListenKey(msgspec.Struct):
    """``{"listenKey":"pqia91ma19a5s61cv6a81va65sdf19v8a65a1a5s61cv6a81va65sdf19v8a65a1"}``"""

    listenKey: str


class ServerTime(msgspec.Struct):
    """``{"serverTime":1790281247251}``"""

    serverTime: int


_decode_refusal = msgspec.json.Decoder(Refusal).decode
_decode_listen_key = msgspec.json.Decoder(ListenKey).decode
_decode_server_time = msgspec.json.Decoder(ServerTime).decode


def signature(secret: Secret, query: str, body: str = "") -> str:
    """HMAC-SHA256 of the query as it stands in the URL and the body right behind it, in lower case."""
    return hmac.digest(secret.reveal().encode(), (query + body).encode(), "sha256").hex()


def signed(credentials: Credentials, call: RestCall, now_ms: int) -> SignedCall:
    """``symbol=BTCUSDT&recvWindow=5000&timestamp=1700000000000&signature=...``, and the key in a header.

    Without a type of content the venue refuses what is not a GET, though it may have no body.
    """
    parameters = [*call.query, ("recvWindow", str(RECEIVE_WINDOW_MS)), ("timestamp", str(now_ms))]
    query = urlencode(parameters, quote_via=quote)
    query += "&signature=" + signature(credentials.secret, query, call.body)
    headers = {"X-MEXC-APIKEY": credentials.key.reveal(), "Content-Type": "application/json"}
    return SignedCall(call.method, call.path, query, headers, call.body)


def refusal(words: str, code: str | None = None) -> RefusalKind:
    """What a refusal means. A body without a code of its own, as a firewall's 403, says nothing about the credentials."""
    if code is None:
        try:
            answer = _decode_refusal(words)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            pass
        else:
            code, words = str(answer.code), answer.msg or ""
    words = words[:_WORDS]
    if code in _CREDENTIALS or (code == _BAD_REQUEST and _ABOUT_THE_KEY.search(words)):
        return RefusalKind.CREDENTIALS
    if code in _CLOCK:
        return RefusalKind.CLOCK
    if _NO_SUCH_LISTEN_KEY.search(words):
        return RefusalKind.KEY
    return RefusalKind.OTHER


def listen_key(raw: bytes | str) -> Secret:
    """The key in the answer to ``LISTEN_KEYS.create``. Raises DecodeError, which does not show it."""
    try:
        text = _decode_listen_key(raw).listenKey
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise DecodeError("not an answer with a listen key") from None
    if not _LISTEN_KEY.fullmatch(text):
        raise DecodeError(f"a listen key of {len(text)} characters that do not fit in an address")
    return Secret(text)


def server_time(raw: bytes | str) -> int:
    """The venue's time in milliseconds in the answer to ``TIME_CALL``. Raises DecodeError."""
    try:
        time = _decode_server_time(raw).serverTime
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise DecodeError(f"not the venue's time: {error}") from None
    if not EARLIEST_MS <= time <= LATEST_MS:
        raise DecodeError(f"{time} is not a time in milliseconds")
    return time
