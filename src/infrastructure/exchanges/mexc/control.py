"""MEXC's text frames: what it answers to requests. Source: https://www.mexc.com/api-docs/spot-v3/websocket-market-streams"""

import msgspec

from infrastructure.errors import DecodeError
from infrastructure.venue import Acknowledgement, Message, Notice, Pong, Unknown

#: The one frame that is plain text: the address named a listen key that the venue does not know, or no longer.
INVALID_LISTEN_KEY = b"Invalid listen key"

#: How streams begin, by which a list of them is told from words.
_STREAM = "spot@"
#: How words begin that are no agreement, whatever the code.
_REFUSAL = "Not Subscribed"
_NOTHING_AGREED = "no subscription"


class Answer(msgspec.Struct):
    """``{"id":0,"code":0,"msg":"spot@public.aggre.deals.v3.api.pb@100ms@BTCUSDT"}``

    ``id`` repeats that of the request and is 0 where it had none. ``msg`` is the streams that were agreed, joined by commas, or empty when
    the connection had them all before; or words, with the streams in brackets.
    """

    msg: str | None = None
    id: int | str | None = None
    code: int | str = 0


_decode_answer = msgspec.json.Decoder(Answer).decode


def read_text(raw: bytes) -> list[Message]:
    """What a text frame says: one message, or two when a part of a request was agreed and a part refused. Raises DecodeError.

    ``Invalid listen key`` answers whatever was asked for on such a connection: nothing will come of it.
    """
    if raw == INVALID_LISTEN_KEY:
        return [Acknowledgement("", "", error=INVALID_LISTEN_KEY.decode())]
    try:
        if not raw.isascii():
            # msgspec skips the bytes of fields that nobody reads; a text frame must be UTF-8 throughout.
            raw.decode()
        answer = _decode_answer(raw)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise DecodeError(f"not an answer of MEXC: {error}") from None
    code = str(answer.code)
    if code != "0":
        words = answer.msg or "refused without a reason"
        return [Acknowledgement("", "", _bracketed(words), answer.id or None, code, words)]
    if answer.msg is None:
        return [Unknown("", "")]
    return _answered(answer.msg, answer.id or None)


def _answered(words: str, request_id: int | str | None) -> list[Message]:
    """Of an answer with code 0, which proves nothing: what was agreed and what was refused stands in its words.

    ``Subscribed successful! [spot@...,spot@...]. Not Subscribed successfully! [spot@...].  Reason： Blocked! ``, or one half of that.
    """
    if not words or words.startswith(_STREAM):
        return [Acknowledgement("", "", tuple(words.split(",")) if words else (), request_id)]
    if words == "PONG":
        return [Pong(None)]
    yes, refusal, no = words.partition(_REFUSAL)
    agreed, refused = _bracketed(yes), _bracketed(no)
    messages: list[Message] = []
    if agreed:
        messages.append(Acknowledgement("", "", agreed, request_id))
    if refused or (refusal and not agreed):
        messages.append(Acknowledgement("", "", refused, request_id, error=refusal + no))
    if messages:
        return messages
    if request_id is None and not words.startswith(_NOTHING_AGREED):
        return [Notice("", words)]
    return [Acknowledgement("", "", (), request_id, error=words)]


def _bracketed(words: str) -> tuple[str, ...]:
    """The streams that stand in brackets."""
    names = (name.strip() for part in words.split("[")[1:] for name in part.partition("]")[0].split(","))
    return tuple(name for name in names if name.startswith(_STREAM))
