"""Names of MEXC's streams and markets in its own notation and in the unified one."""

from infrastructure.errors import DecodeError

#: What pairs are quoted in, longer names first. A native name has nothing between its parts, so that without an instrument list its end
#: alone tells them apart. TUSD and BUSD are of the past. Source: https://www.mexc.com/learn/article/spot-market-trading-rules/1
QUOTES = ("USDT", "USDC", "USDE", "USD1", "TUSD", "BUSD", "EUR", "BRL", "BTC", "ETH")
_LONGEST = 64


def channel_of(text: str) -> str:
    """``spot@public.kline.v3.api.pb@BTCUSDT@Min15`` without symbol and option."""
    return "@".join(text.split("@", 2)[:2])


def unified_symbol(native: str) -> str:
    """``BTCUSDT`` as ``BTC/USDT``, by its end. Raises DecodeError for anything that does not end in a quote currency."""
    for quote in QUOTES:
        base = native[: -len(quote)]
        if native.endswith(quote) and base.isalnum() and len(native) <= _LONGEST:
            return f"{base}/{quote}"
    raise DecodeError(f"{native[:_LONGEST]!r} is not a market quoted in one of {', '.join(QUOTES)}")


def native_symbol(symbol: str) -> str:
    """``BTC/USDT`` as ``BTCUSDT``."""
    return symbol.replace("/", "")
