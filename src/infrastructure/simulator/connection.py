"""A client's WebSocket at a simulated exchange: frames, what waits to be written, and the log of what was put on it."""

import asyncio
import socket
import struct
import time
from collections import Counter, deque

from aiohttp import web

from infrastructure.simulator.exchange import Client, Message, PrivatePush
from infrastructure.simulator.market import Event, Topic

PING_EVERY_S = 15.0
#: Requests of a connection whose times are kept.
REMEMBERED_REQUESTS = 1000
#: A client that is so far behind is cut off.
MOST_UNREAD = 64 * 1024 * 1024
TEXT, BINARY, PING, PONG = 0x81, 0x82, 0x89, 0x8A
#: The start of a frame that never ends.
TORN_FRAME = bytes((TEXT, 126)) + (1000).to_bytes(2, "big") + b'{"time":1'


def framed(payload: bytes, opcode: int = TEXT) -> bytes:
    """A whole WebSocket frame, as servers send it: not masked."""
    length = len(payload)
    if length < 126:
        return bytes((opcode, length)) + payload
    if length < 65_536:
        return bytes((opcode, 126, length >> 8, length & 255)) + payload
    return bytes((opcode, 127)) + length.to_bytes(8, "big") + payload


def frame_of(message: Message) -> bytes:
    """The same for a message of the exchange: its type tells which kind of frame."""
    return framed(message.encode()) if isinstance(message, str) else framed(message, BINARY)


class Log:
    """The data frames put on the connections of one name, in order, since somebody last asked."""

    def __init__(self) -> None:
        self._indexes: dict[tuple[str, Topic], int] = {}
        self._streams: list[tuple[str, str, str]] = []
        self._entries: list[int] = []

    def add(self, event: Event, topic: Topic) -> None:
        """A frame was put on the connection."""
        symbol = event.market.symbol
        index = self._indexes.get((symbol, topic))
        if index is None:
            index = self._index(event.kind, symbol, topic)
        self._entries += (index, event.number)

    def add_private(self, push: PrivatePush) -> None:
        """A push of the account was put on the connection: of a balance the currency is the symbol, of a fill its id is the number."""
        event = push.event
        topic = Topic(push.channel, "", event.kind)
        index = self._indexes.get((event.subject, topic))
        if index is None:
            index = self._index(event.kind, event.subject, topic)
        self._entries += (index, event.number)

    def _index(self, kind: str, symbol: str, topic: Topic) -> int:
        index = self._indexes[symbol, topic] = len(self._streams)
        self._streams.append((kind, symbol, topic.channel))
        return index

    def take(self) -> dict[str, object]:
        """What was logged since the last call; the streams keep their indexes."""
        entries, self._entries = self._entries, []
        return {"streams": self._streams, "entries": list(zip(entries[::2], entries[1::2], strict=True))}


class Connection:
    """One WebSocket. What is put on it is written with the next ``flush``, in one piece."""

    def __init__(
        self,
        number: int,
        client: Client,
        websocket: web.WebSocketResponse,
        transport: asyncio.Transport,
        log_name: str | None,
        log: Log | None,
    ) -> None:
        self.number = number
        self.client = client
        self.websocket = websocket
        self.log_name = log_name
        self.log = log
        self.opened = self.subscribed = time.monotonic()
        #: When either side last sent anything.
        self.stirred = self.opened
        self.next_ping = self.opened + PING_EVERY_S
        #: By event, of the channels' requests; and when the last of them came, in monotonic seconds, with how many subscriptions began.
        self.requests: Counter[str] = Counter()
        self.requested: deque[tuple[float, str, int]] = deque(maxlen=REMEMBERED_REQUESTS)
        self.sent = 0
        #: When something went to the client that is no ping of ours; and when its messages of the last second came.
        self.served = self.opened
        self.taken: deque[float] = deque()
        #: The most messages that came within a second.
        self.busiest = 0
        self._controls = self._last_sent = 0
        #: The exchange's closing of it.
        self.closing: asyncio.Task[bool] | None = None
        #: Whether the whole recording was sent.
        self.is_played = False
        self._transport = transport
        self._waiting: list[bytes] = []
        self._dripping = bytearray()
        self._written = self.opened
        self._round_trips: dict[bytes, asyncio.Future[None]] = {}

    @property
    def is_open(self) -> bool:
        """Whether anything can be sent."""
        return not self._transport.is_closing()

    @property
    def is_slow(self) -> bool:
        """Whether the client is too far behind."""
        return self.is_open and self._transport.get_write_buffer_size() + len(self._dripping) > MOST_UNREAD

    def put(self, frame: bytes) -> None:
        """Send a whole frame with the next ``flush``."""
        self._waiting.append(frame)
        self.sent += 1

    def put_control(self, frame: bytes) -> None:
        """The same for a ping or a pong, which serves nobody."""
        self.put(frame)
        self._controls += 1

    def take(self, now: float) -> None:
        """A message of the client came."""
        taken = self.taken
        taken.append(now)
        while taken[0] <= now - 1:
            taken.popleft()
        self.busiest = max(self.busiest, len(taken))

    def quiet_s(self, now: float) -> float:
        """For how long nothing has gone to the client, as it was seen when this was last asked."""
        data = self.sent - self._controls
        if data != self._last_sent:
            self._last_sent, self.served = data, now
        return now - self.served

    def flush(self, drip: float = 0) -> None:
        """Write what waits; of ``drip`` bytes a second, where that is not 0, no more than is due."""
        now = time.monotonic()
        data = b"".join(self._waiting)
        self._waiting.clear()
        if drip or self._dripping:
            self._dripping += data
            due = int((now - self._written) * drip) if drip else len(self._dripping)
            if not due:
                return
            data = bytes(self._dripping[:due])
            del self._dripping[:due]
        self._written = now
        if data and self.is_open:
            self.stirred = now
            self._transport.write(data)

    async def round_trip(self) -> None:
        """Ping the client and wait for its pong."""
        payload = self.sent.to_bytes(8, "big")
        answered = self._round_trips[payload] = asyncio.get_running_loop().create_future()
        self.put_control(framed(payload, PING))
        try:
            await answered
        finally:
            del self._round_trips[payload]

    def pong(self, payload: bytes) -> None:
        """The client answered a ping."""
        answered = self._round_trips.get(payload)
        if answered is not None and not answered.done():
            answered.set_result(None)

    def cut(self) -> None:
        """Reset the connection in the middle of a frame."""
        if self.is_open:
            self._transport.write(TORN_FRAME)
            carrier = self._transport.get_extra_info("socket")
            carrier.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.abort()

    def abort(self) -> None:
        """End the connection without a word."""
        self._transport.abort()
