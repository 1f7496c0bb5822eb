"""What the frames of all Gate.io markets have in common: the envelope, acknowledgements, symbols, times.

Source: https://www.gate.com/docs/developers/apiv4/ws/en/ (spot), .../futures/ws/en/ (futures).
"""

from typing import Any

import msgspec

from infrastructure.errors import DecodeError, UnknownSymbol
from infrastructure.venue import Acknowledgement, Message, Notice, Pong, Unknown


class Refusal(msgspec.Struct):
    """``"error":{"code":2,"message":"unknown currency pair: NOPE_USDT"}``"""

    code: int | str | None = None
    message: str | None = None


class Envelope(msgspec.Struct):
    """``{"time":1606292218,"time_ms":1606292218231,"channel":"spot.trades","event":"update","result":{...}}``

    Everything but the channel may be missing: ``obu`` pushes carry no time, frames of 2021 no ``time_ms``.
    """

    channel: str = ""
    event: str | None = None
    time: int | None = None
    time_ms: int | None = None
    id: int | str | None = None
    payload: Any = None
    error: Refusal | None = None
    result: msgspec.Raw = msgspec.Raw(b"null")

    @property
    def exchange_ns(self) -> int | None:
        """When the venue sent this, as exactly as it says."""
        if self.time_ms:
            return self.time_ms * 1_000_000
        return self.time * 1_000_000_000 if self.time else None


_decode_envelope = msgspec.json.Decoder(Envelope, strict=False).decode


def open_envelope(raw_message: bytes | str) -> Envelope:
    """Decode the envelope of one frame; the result stays text. Raises DecodeError."""
    try:
        raw = raw_message.encode() if isinstance(raw_message, str) else raw_message
        if not raw.isascii():
            # msgspec skips the bytes of fields that nobody reads; a text frame must be UTF-8 throughout.
            raw.decode()
        return _decode_envelope(raw)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise DecodeError(f"not a Gate.io frame: {error}") from None


def control_message(envelope: Envelope, prefix: str) -> Message:
    """What a frame that is no market data says; ``prefix`` is the market's, as in ``spot.trades``."""
    if envelope.event in ("subscribe", "unsubscribe"):
        return _acknowledgement(envelope, envelope.event)
    if envelope.channel == prefix + "pong":
        return Pong(envelope.exchange_ns)
    if envelope.channel == prefix + "system":
        return Notice(envelope.channel, bytes(envelope.result).decode())
    return Unknown(envelope.channel, envelope.event or "")


def _acknowledgement(envelope: Envelope, request: str) -> Acknowledgement:
    payload = tuple(str(item) for item in envelope.payload) if isinstance(envelope.payload, list) else ()
    answer = Acknowledgement(envelope.channel, request, payload, envelope.id)
    if envelope.error is not None:
        answer.error_code = None if envelope.error.code is None else str(envelope.error.code)
        answer.error = envelope.error.message or "refused without a reason"
    return answer


def unified_pair(native: str) -> str:
    """``BTC_USDT`` as ``BTC/USDT``. Raises DecodeError for anything that is not two names of letters and digits."""
    base, _, quote = native.partition("_")
    if not (base.isalnum() and quote.isalnum() and len(native) <= 64):
        raise DecodeError(f"{native[:64]!r} is not a currency pair")
    return f"{base}/{quote}"


def native_pair(symbol: str) -> str:
    """``BTC/USDT`` as ``BTC_USDT``."""
    return symbol.replace("/", "_")


def unified_contract(native: str) -> str:
    """``BTC_USDT`` as ``BTC/USDT:USDT``; what is quoted in USD, on the venue's other sockets, is settled in BTC. Raises DecodeError."""
    pair = unified_pair(native)
    _, _, quote = pair.partition("/")
    return f"{pair}:{'BTC' if quote == 'USD' else quote}"


def native_contract(symbol: str) -> str:
    """``BTC/USDT:USDT`` as ``BTC_USDT``. Raises UnknownSymbol for what is not settled as its quote currency says, such as a spot pair."""
    pair, _, settle = symbol.partition(":")
    _, _, quote = pair.partition("/")
    if not settle or settle != ("BTC" if quote == "USD" else quote):
        raise UnknownSymbol(symbol, "a contract with its settlement currency, such as BTC/USDT:USDT")
    return native_pair(pair)


def milliseconds_to_ns(text: str) -> int:
    """``"1606292218213.4578"`` as 1606292218213457800, exactly. Raises DecodeError."""
    return _to_ns(text, 6, "milliseconds")


def seconds_to_ns(text: str) -> int:
    """``"1606292218.2134578"`` as 1606292218213457800, exactly. Raises DecodeError."""
    return _to_ns(text, 9, "seconds")


def _to_ns(text: str, places: int, unit: str) -> int:
    """``text`` shifted by ``places`` decimal places; what is finer than a nanosecond is cut off."""
    whole, _, fraction = text.partition(".")
    digits = whole + fraction
    if not (whole and len(whole) <= 21 - places and digits.isdecimal() and digits.isascii()):
        raise DecodeError(f"{text[:32]!r} is not a time in {unit}")
    missing = places - len(fraction)
    return int(digits) * 10**missing if missing >= 0 else int(digits[: len(whole) + places])
