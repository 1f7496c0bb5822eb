"""What a client tells: one line of JSON for each book, trade, ticker and top it sees, and of an account for each change it sees.

Runs in the environment of every client. Each is started as ``python -m tests.interop.CLIENT VENUE WEBSOCKET_URL REST_URL SYMBOL,SYMBOL...
CHANNEL,CHANNEL...``, with unified symbols and the venue's own channels; those that have no choice of channels leave the last one alone.
Those with an account have the architecture there, may trade once there is a line on the standard input, and end when that ends.
"""

import asyncio
import json
import sys
from typing import NamedTuple

#: The account of all clients; its user's number.
KEY, SECRET, USER_ID = "key", "secret", "1"

#: What all clients know a message by.
Number = int | float | str


class Task(NamedTuple):
    """What a client is asked to watch."""

    venue: str
    websocket_url: str
    rest_url: str
    symbols: list[str]
    channels: list[str]


def task() -> Task:
    """What the command line says."""
    venue, websocket_url, rest_url, symbols, channels = sys.argv[1:]
    return Task(venue, websocket_url, rest_url, symbols.split(","), channels.split(","))


def tell(kind: str, symbol: str, number: Number, *values: float) -> None:
    """Say what ``values`` the message of that ``number`` has.

    A book has its update id, and price and amount of the best bid, then of the best ask; a top, which is the venue's own word on that, the
    same; a trade its id, price and amount; a ticker, which has no id, the volume of the day, and what its venue has in it: the best bid
    and ask, of a contract the index price. A candle has the volume, and when it opened, open, high, low and close.
    """
    print(json.dumps([kind, symbol, number, values]), flush=True)


def tell_top(symbol: str, sent_ms: int, bid: float, bid_amount: float, ask: float, ask_amount: float) -> None:
    """The same of a top that has no update id for some client: it is known by when it was sent and by its amounts."""
    tell("top", symbol, f"{sent_ms} {bid_amount} {ask_amount}", bid, bid_amount, ask, ask_amount)


def tell_state(kind: str, key: str, **values: Number | None) -> None:
    """Say what an order, a fill, a balance or a position is by now: orders and fills by their ids, the others by currency and symbol.

    None is of what the client does not say. A position's ``amount`` is negative when short.
    """
    print(json.dumps([kind, key, values]), flush=True)


async def standard_input() -> asyncio.StreamReader:
    """Where a client of an account is told to trade, and to end."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader
