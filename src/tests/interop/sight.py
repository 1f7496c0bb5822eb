"""What a client tells: one line of JSON for each book, trade and ticker it sees. Runs in the environment of every client."""

import json

SYMBOLS = ("BTC/USDT", "ETH/USDT")

#: What all clients know a message by.
Number = int | float | str


def tell(kind: str, symbol: str, number: Number, *values: float) -> None:
    """Say what ``values`` the message of that ``number`` has.

    A book has its update id, and price and amount of the best bid, then of the best ask; a trade its id, price and amount; a ticker,
    which has no id, the volume of the day, and the best bid and ask.
    """
    print(json.dumps([kind, symbol, number, values]), flush=True)
