"""MEXC's text frames: what it answers to requests. Source: https://www.mexc.com/api-docs/spot-v3/websocket-market-streams"""

import msgspec

from infrastructure.errors import DecodeError
from infrastructure.venue import Acknowledgement, Message, Notice, Pong, Unknown

#: The one frame that is plain text: the address named a listen key that the venue does not know, or no longer.
INVALID_LISTEN_KEY = b"Invalid listen key"

#: How channels begin, by which a list of them is told from words.
_STREAM = "spot@"
_REFUSAL = "Not Subscribed"


class Answer(msgspec.Struct):
    """``{"id":0,"code":0,"msg":"spot@public.aggre.deals.v3.api.pb@100ms@BTCUSDT"}``

    ``id`` repeats that of the request and is 0 where it had none.
    """

    msg: str | None = None
    id: int | str | None = None
    code: int | str = 0


_decode_answer = msgspec.json.Decoder(Answer).decode


def read_text(raw: bytes) -> Message:
    """What a text frame says. Raises DecodeError.

    ``Invalid listen key`` answers whatever was asked for on such a connection: nothing will come of it.
    """
    if raw == INVALID_LISTEN_KEY:
        return Acknowledgement("", "", error=INVALID_LISTEN_KEY.decode())
    try:
        if not raw.isascii():
            # msgspec skips the bytes of fields that nobody reads; a text frame must be UTF-8 throughout.
            raw.decode()
        answer = _decode_answer(raw)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise DecodeError(f"not an answer of MEXC: {error}") from None
    return _message(answer)


def _message(answer: Answer) -> Message:
    """Neither code nor number says that a subscription was agreed: a refusal has code 0 too, and its words stand in ``msg``."""
    words = answer.msg or ""
    request_id = answer.id or None
    code = str(answer.code)
    if code == "0" and _REFUSAL not in words:
        if words.startswith(_STREAM):
            return Acknowledgement("", "", tuple(words.split(",")), request_id)
        if words == "PONG":
            return Pong(None)
        if not words:
            return Unknown("", "")
        if request_id is None:
            return Notice("", words)
    error_code = None if code == "0" else code
    return Acknowledgement("", "", _refused(words), request_id, error_code, words or "refused without a reason")


def _refused(words: str) -> tuple[str, ...]:
    """The channels of ``Not Subscribed successfully! [spot@public.deals.v3.api@BTCUSDT].  Reason： Blocked! ``"""
    return tuple(
        name.strip() for part in words.split("[")[1:] for name in part.partition("]")[0].split(",") if name.strip().startswith(_STREAM)
    )
