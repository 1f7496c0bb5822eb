"""A WebSocket over a real socket; the only module that knows the WebSocket library.

    socket -> [TLS] -> buffer_updated: the time of the read -> picows: frames -> on_ws_frame: messages -> on_frame

picows hands out frames as they stand on the wire; whether a peer may send them is judged here. What is decided here, and why:

- A text message is handed on as bytes, unchecked. One that is not UTF-8 is a frame that its codec rejects and counts: a bad frame, not
  a lost connection.
- Compression is never offered and redirects are never followed. A wss:// address is never tried without TLS.
- ``max_message_bytes`` bounds what is held of an unfinished message. It can exist twice, while a buffer grows or when it becomes bytes.
- Any byte is a sign of life. Before a peer is given up the kernel is asked whether something of it waits there unread: then the event
  loop was held up, and the peer is not to blame.
- An answer to a ping stands for the pings before it too. The pings of the watch repeat what the last round trip asked with, so that a peer
  that answers only the latest of several answers that one.
- Of pings that come faster than their answers leave, some stay unanswered (RFC 6455, 5.5.3, lets the last answer stand for all).
- What ``on_frame`` lets through, a cancellation or MemoryError, ends the connection: the library has read ahead, and going on could lose a
  frame in silence. It passes to the event loop, which tells its exception handler; asyncio's own loop ends for KeyboardInterrupt and
  SystemExit.
- The library logs nothing: its records hold the address and the headers of the handshake, and so keys.
"""

import asyncio
import functools
import logging
import os
import re
import select
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import SplitResult, unquote_plus

from picows import (
    WSFrame,
    WSHandshakeError,
    WSListener,
    WSMsgType,
    WSProtocolError,
    WSTransport,
    WSUpgradeRequest,
    WSUpgradeResponse,
    ws_connect,
)

from infrastructure.clock import Clock
from infrastructure.errors import ConnectFailed, HandshakeDeferred, HandshakeRefused, SecurityFailed, SettingsError
from infrastructure.networking.address import check_address, port_of, shown
from infrastructure.networking.retry_after import retry_after_s
from infrastructure.networking.websocket.link import Loss, LossCause, OnFrame, OnLoss, Transport
from infrastructure.networking.websocket.settings import TransportSettings
from infrastructure.redaction import without_frames

#: A socket's family and the address in its form, as ``socket.getaddrinfo`` gives them.
Address = tuple[int, Any]
#: Host and port to the addresses to be tried, in this order; asked anew for each attempt. Raises OSError.
Resolve = Callable[[str, int], Awaitable[Sequence[Address]]]

#: What one read brings at most, and so what comes at most after ``pause``.
_READ_BYTES = 64 * 1024
_LONGEST_CONTROL = 127  # bytes of a frame that may stand inside a message
_BODY_SHOWN = 200
#: Shorter ones would black out ordinary words.
_SHORTEST_SECRET = 6
_LONGEST_REASON = 123  # bytes, RFC 6455, 5.5
_NO_CODE = 1005
_PROTOCOL_ERROR, _TOO_BIG, _INTERNAL_ERROR = 1002, 1009, 1011
_TEXT, _BINARY, _CONTINUATION = WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.CONTINUATION
_PING, _PONG, _CLOSE = WSMsgType.PING, WSMsgType.PONG, WSMsgType.CLOSE

_STATUS = re.compile(rb"HTTP/\d(?:\.\d)? (\d{3})\b")
_RETRY_AFTER = re.compile(rb"^retry-after:[ \t]*([^\r\n]*)", re.IGNORECASE | re.MULTILINE)
#: What OpenSSL calls a peer that speaks another TLS, or none.
_OTHER_TLS = frozenset(
    {
        "HTTP_REQUEST",
        "NO_PROTOCOLS_AVAILABLE",
        "TLSV1_ALERT_PROTOCOL_VERSION",
        "UNSUPPORTED_PROTOCOL",
        "VERSION_TOO_LOW",
        "WRONG_SSL_VERSION",
        "WRONG_VERSION_NUMBER",
    }
)

#: Timers fire up to so much early.
_EARLY_NS = 1_000_000
#: A frame that is overdue while bytes wait in the kernel is looked at again so often, so much later: time to read what had to wait.
_LOOKS, _LOOK_AGAIN_NS = 10, 50_000_000

# Not known to ``logging``, so that no configuration opens it, and above every level.
_SILENCE = logging.Logger("tickrail.transport", logging.CRITICAL + 1)


async def connect(
    url: str,
    on_frame: OnFrame,
    on_loss: OnLoss,
    *,
    settings: TransportSettings,
    clock: Clock,
    headers: Mapping[str, str] | None = None,
    ssl_context: ssl.SSLContext | None = None,
    may_read: Callable[[], bool] | None = None,
    worked: Callable[[int], None] | None = None,
    resolve: Resolve | None = None,
) -> Transport:
    """Open a WebSocket, within ``settings.open_timeout_s``.

    The host's addresses are tried in turn, each with its share of the time. Frames may come, and ``on_loss`` may be called, before this
    returns; nothing is called once it has raised. ``may_read`` and ``worked`` as in
    ``link.Connect``.

    Raises SecurityFailed, HandshakeRefused, HandshakeDeferred or another ConnectFailed; SettingsError where ``url`` or ``headers`` cannot
    be used. A ``ssl_context`` given is used as it is.
    """
    try:
        return await _connect(url, on_frame, on_loss, settings, clock, headers or {}, ssl_context, may_read, worked, resolve or _look_up)
    except (ConnectFailed, asyncio.CancelledError) as error:
        # Frames hold the address, which may hold a key; this one too.
        del url, headers
        raise without_frames(error)  # noqa: B904  # It is the same.


async def _connect(
    url: str,
    on_frame: OnFrame,
    on_loss: OnLoss,
    settings: TransportSettings,
    clock: Clock,
    headers: Mapping[str, str],
    ssl_context: ssl.SSLContext | None,
    may_read: Callable[[], bool] | None,
    worked: Callable[[int], None] | None,
    resolve: Resolve,
) -> Transport:
    parts = check_address(url, "wss", "ws")
    where = shown(url)
    _check_request(url, parts, headers)
    context = (ssl_context or _default_context()) if parts.scheme == "wss" else None
    loop = asyncio.get_running_loop()
    deadline = loop.time() + settings.open_timeout_s
    addresses = await _resolved(parts, where, resolve, deadline)
    failures = []
    for index, (family, address) in enumerate(addresses):
        websocket = _WebSocket(where, on_frame, on_loss, settings, clock, may_read, worked)
        share_s = (deadline - loop.time()) / (len(addresses) - index)
        try:
            await websocket.open(url, family, address, headers, context, share_s)
            return websocket
        except WSHandshakeError as error:
            raise refusal(where, error, _secrets(parts, headers), clock.now_ns()) from None
        except ssl.SSLCertVerificationError as error:
            raise SecurityFailed(where, error.verify_message) from error
        except TimeoutError:
            failures.append(f"{address[0]}: no answer within {share_s:.3g} s")
        except OSError as error:
            if isinstance(error, ssl.SSLError) and error.reason in _OTHER_TLS:
                raise SecurityFailed(where, f"it does not speak a TLS version that is safe: {error.reason}") from error
            failures.append(f"{address[0]}: {_words(error)}")
    raise ConnectFailed(where, "; ".join(failures) or "its name has no address")


def refusal(where: str, error: WSHandshakeError, secrets: Iterable[str], now_ns: int) -> HandshakeRefused:
    """What an answer to the handshake means that is not the right one: for now (HandshakeDeferred), or for good.

    ``secrets`` are blacked out where a server repeats them; ``now_ns`` is the Unix time for a Retry-After that is a date.
    """
    head = error.raw_header or b""
    found = _STATUS.match(head)
    status = int(found[1]) if found else error.response.status.value if error.response else None
    if status in (None, 101):
        return HandshakeDeferred(where, excerpt(str(error), secrets), status)
    reason = f"HTTP {status} {excerpt((error.raw_body or b'').decode(errors='replace'), secrets)}".strip()
    if status == 200:
        return HandshakeDeferred(where, reason, status)
    if status in (403, 418, 429) or status >= 500:
        wait = _RETRY_AFTER.search(head)
        return HandshakeDeferred(where, reason, status, wait and retry_after_s(wait[1].decode(errors="replace"), now_ns))
    return HandshakeRefused(where, reason, status)


def excerpt(text: str, secrets: Iterable[str]) -> str:
    """What can be shown of ``text``: 200 printable characters, none of the ``secrets``."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "***")
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())[:_BODY_SHOWN]


def may_be_sent(code: int) -> bool:
    """Whether a close frame may hold ``code`` (RFC 6455, 7.4, and the codes registered since)."""
    return 3000 <= code <= 4999 or (1000 <= code <= 1014 and code not in (1004, _NO_CODE, 1006))


def close_payload(code: int | None, reason: str = "") -> bytes:
    """What a close frame holds; a reason too long for one is cut."""
    if code is None:
        return b""
    return code.to_bytes(2, "big") + reason.encode(errors="replace")[:_LONGEST_REASON].decode(errors="ignore").encode()


def _words(error: OSError) -> str:
    """What the system says, without what the event loop has put around it."""
    if error.errno and not isinstance(error, ssl.SSLError):
        return os.strerror(error.errno)
    return str(error) or "the connection ended"


def _check_request(url: str, parts: SplitResult, headers: Mapping[str, str]) -> None:
    if parts.username is not None or parts.fragment:
        raise SettingsError(f"{shown(url)!r} has a user or a fragment, which the address of a WebSocket cannot have")
    if not url.isascii() or not url.isprintable() or " " in url:
        raise SettingsError(f"{shown(url)!r} has a character that must be written with a percent sign, or as punycode in a name")
    for name, value in headers.items():
        if not (name + value).isprintable():
            raise SettingsError(f"header {name!r} has a character that no header can have, such as a line's end")


def _secrets(parts: SplitResult, headers: Mapping[str, str]) -> list[str]:
    raw = [pair.partition("=")[2] for pair in parts.query.split("&")]
    words = [word for value in headers.values() for word in value.split()]
    return [value for value in (*raw, *map(unquote_plus, raw), *words) if len(value) >= _SHORTEST_SECRET]


@functools.cache
def _default_context() -> ssl.SSLContext:
    # Once: reading the certificates of all authorities takes tens of milliseconds, during which the event loop stands still.
    return ssl.create_default_context()


async def _look_up(host: str, port: int) -> list[Address]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(family, address) for family, _, _, _, address in found]


async def _resolved(parts: SplitResult, where: str, resolve: Resolve, deadline: float) -> Sequence[Address]:
    try:
        async with asyncio.timeout_at(deadline):
            return await resolve(parts.hostname or "", port_of(parts))
    except TimeoutError:
        raise ConnectFailed(where, "its name could not be looked up in time") from None
    except (OSError, UnicodeError) as error:  # UnicodeError: a name that no DNS can hold
        raise ConnectFailed(where, f"its name could not be looked up: {error}") from error


def _told_to_nobody(loss: Loss) -> None:
    """Whoever wanted to connect has been told by an exception."""


class _WebSocket(WSListener, asyncio.BufferedProtocol):
    """One WebSocket: a Transport to its user, a listener to picows, and the protocol of its socket, in front of picows' own."""

    __slots__ = (
        "_clock",
        "_close_timeout_s",
        "_frame_timeout_ns",
        "_has_opened",
        "_heard_ns",
        "_inner",
        "_is_closing",
        "_is_congested",
        "_looks",
        "_loop",
        "_loss",
        "_lost",
        "_max_bytes",
        "_may_read",
        "_on_frame",
        "_on_loss",
        "_parts",
        "_paused_ns",
        "_pending",
        "_ping_interval_ns",
        "_ping_timeout_ns",
        "_pinged_ns",
        "_received_ns",
        "_round_trips",
        "_tail",
        "_timer",
        "_trips",
        "_unfinished_ns",
        "_where",
        "_worked",
        "_ws",
    )

    def __init__(
        self,
        where: str,
        on_frame: OnFrame,
        on_loss: OnLoss,
        settings: TransportSettings,
        clock: Clock,
        may_read: Callable[[], bool] | None = None,
        worked: Callable[[int], None] | None = None,
    ) -> None:
        self._where = where
        self._on_frame = on_frame
        self._on_loss = on_loss
        self._may_read = may_read
        self._worked = worked
        self._clock = clock
        self._max_bytes = settings.max_message_bytes
        self._close_timeout_s = settings.close_timeout_s
        self._ping_interval_ns = round(settings.ping_interval_s * 1e9)
        self._ping_timeout_ns = round(settings.ping_timeout_s * 1e9)
        self._frame_timeout_ns = round(settings.frame_timeout_s * 1e9)
        self._loop = asyncio.get_running_loop()
        self._lost = asyncio.Event()
        #: Decided at the end's beginning, told when the socket is gone.
        self._loss: Loss | None = None
        self._has_opened = False
        #: We have sent the first close frame and wait for the other.
        self._is_closing = False
        #: More waits to be sent than should.
        self._is_congested = False
        self._ws: WSTransport | None = None
        #: picows' protocol, of which its types know nothing.
        self._inner: Any = None
        self._timer: asyncio.TimerHandle | None = None
        #: The message whose end has not come.
        self._parts: bytearray | None = None
        #: How many bytes of this read follow the last frame completed by it; -1 if none was.
        self._tail = -1
        #: How many bytes have come of the frame whose end has not.
        self._pending = 0
        self._received_ns = 0
        # By the monotonic clock: the last read, the last ping, since when a frame or message is unfinished, since when nothing is read.
        self._heard_ns = 0
        self._pinged_ns = 0
        self._unfinished_ns: int | None = None
        self._paused_ns: int | None = None
        self._looks = 0
        #: Round trips begun, and those that are not answered: what they asked with.
        self._trips = 0
        self._round_trips: dict[bytes, asyncio.Future[bool]] = {}

    def __repr__(self) -> str:
        state = "open" if self.is_open else "opening" if self._loss is None else "lost" if self._lost.is_set() else "ending"
        return f"<WebSocket {self._where} {state}>"

    async def open(
        self, url: str, family: int, address: Any, headers: Mapping[str, str], ssl_context: ssl.SSLContext | None, timeout_s: float
    ) -> None:
        """Open it at one address. Raises OSError (so TimeoutError and SSLError) or WSHandshakeError, and then leaves nothing behind."""
        deadline = self._loop.time() + timeout_s
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setblocking(False)
        try:
            async with asyncio.timeout_at(deadline):
                await self._loop.sock_connect(sock, address)
        except (OSError, asyncio.CancelledError):
            sock.close()
            raise
        # After an error picows closes twice, which makes asyncio's TLS deaf to ``abort``.
        tls: dict[str, Any] = {"ssl_shutdown_timeout": self._close_timeout_s} if ssl_context else {}
        opening = self._loop.create_task(
            ws_connect(
                self._accept,
                url,
                ssl_context=ssl_context,
                socket_factory=lambda _: sock,
                disconnect_on_exception=False,
                websocket_handshake_timeout=None,
                logger_name=_SILENCE,
                enable_auto_pong=False,
                max_frame_size=self._max_bytes,
                read_buffer_init_size=2 * _READ_BYTES,
                extra_headers=headers,
                max_redirects=0,
                use_aiofastnet=False,
                **tls,
            )
        )
        opening.add_done_callback(lambda task: task.cancelled() or task.exception())
        is_kept = is_late = False
        try:
            await asyncio.wait((opening,), timeout=deadline - self._loop.time())
            is_kept, is_late = self._has_opened, not opening.done()
        finally:
            if not is_kept:
                # A cancelled ws_connect leaves its socket open, and one that was refused parts politely: without the socket both end.
                self._abandon(sock)
                await asyncio.wait((opening,), timeout=self._close_timeout_s)
        if is_kept:
            return
        if is_late:
            raise TimeoutError
        opening.result()
        raise ConnectionResetError("the connection ended before the handshake was answered")

    def _abandon(self, sock: socket.socket) -> None:
        self._on_loss = _told_to_nobody
        self.abort()
        try:
            sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # It is gone already.

    def _accept(self, request: WSUpgradeRequest, response: WSUpgradeResponse) -> WSListener:
        """Picows: the handshake was answered as it should be."""
        if "Sec-WebSocket-Extensions" in response.headers:
            raise WSHandshakeError("an extension that was not asked for", response=response)
        return self

    # A Transport

    @property
    def is_open(self) -> bool:
        return self._has_opened and self._loss is None

    def send(self, text: str) -> None:
        if self.is_open and self._ws is not None:
            self._ws.send(_TEXT, text)

    async def round_trip(self) -> bool:
        if not self.is_open or self._ws is None:
            return False
        self._trips += 1
        payload = self._ping_payload()
        answered: asyncio.Future[bool] = self._loop.create_future()
        self._round_trips[payload] = answered
        self._ws.send_ping(payload)
        try:
            return await answered
        finally:
            self._round_trips.pop(payload, None)

    def pause(self) -> None:
        if self.is_open and self._paused_ns is None and self._ws is not None:
            self._paused_ns = self._clock.monotonic_ns()
            self._stop_timer()
            self._ws.underlying_transport.pause_reading()

    def resume(self) -> None:
        if self.is_open and self._paused_ns is not None and self._ws is not None:
            stood_still_ns = self._clock.monotonic_ns() - self._paused_ns
            self._paused_ns = None
            self._heard_ns += stood_still_ns
            self._pinged_ns += stood_still_ns
            if self._unfinished_ns is not None:
                self._unfinished_ns += stood_still_ns
            self._ws.underlying_transport.resume_reading()
            self._watch()

    async def close(self, code: int = 1000, reason: str = "") -> None:
        if self.is_open and self._ws is not None:
            self._ws.send(_CLOSE, close_payload(code, reason))
            self._is_closing = True
            self._loss = Loss(LossCause.CLOSED_BY_US, code, reason)
            if self._paused_ns is not None:
                self._ws.underlying_transport.resume_reading()
            self._abort_later()
        await self._lost.wait()

    def abort(self, cause: LossCause = LossCause.CLOSED_BY_US) -> None:
        self._loss = self._loss or Loss(cause)
        if self._ws is not None:
            self._stop_timer()
            self._ws.underlying_transport.abort()

    # The socket's protocol

    def get_buffer(self, sizehint: int) -> memoryview:
        # picows doubles its buffer whenever a read fills it, up to all that the kernel can hold.
        room: memoryview = self._inner.get_buffer(sizehint)
        return room[:_READ_BYTES]

    def buffer_updated(self, nbytes: int) -> None:
        self._heard_ns = self._clock.monotonic_ns()
        self._received_ns = self._heard_ns + self._clock.offset_ns
        if self._may_read is not None and not self._may_read() and self._ws is not None:
            self.abort(LossCause.ASLEEP)
            return
        self._tail = -1
        self._inner.buffer_updated(nbytes)
        if self._worked is not None:
            self._worked(self._clock.monotonic_ns() - self._heard_ns)
        if self._tail < 0:
            self._pending += nbytes
        else:
            self._pending = self._tail
            if self._parts is None:
                self._unfinished_ns = None
        if self._pending and self._unfinished_ns is None:
            self._unfinished_ns = self._heard_ns
        if self._ws is not None and self._ws.is_close_frame_sent:
            self._loss = self._loss or _objection(self._ws)
            self._part()
        elif self._parts is not None and len(self._parts) + self._pending > self._max_bytes + _LONGEST_CONTROL:
            self._refuse(_TOO_BIG, f"a message of more than {self._max_bytes} bytes")

    def connection_lost(self, exc: Exception | None) -> None:
        ws = self._ws
        if ws is None:
            return
        self._inner.connection_lost(exc)
        _forget_exception(ws)
        cut = Loss(LossCause.RESET if isinstance(exc, ConnectionError) else LossCause.CUT, reason=str(exc or ""))
        self._loss = loss = self._loss or _objection(ws) or cut
        self._stop_timer()
        self._lost.set()
        for answered in self._round_trips.values():
            if not answered.done():
                answered.set_result(False)
        on_loss = self._on_loss
        # Whoever holds this, and is told by it, is not held in return.
        self._ws = self._inner = self._parts = None
        del self._on_frame, self._on_loss
        on_loss(loss)

    def pause_writing(self) -> None:
        self._is_congested = True

    def resume_writing(self) -> None:
        self._is_congested = False

    # picows' listener

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._ws = transport
        self._has_opened = True
        below = transport.underlying_transport
        self._inner = below.get_protocol()
        below.set_protocol(self)
        # picows goes on with what came with the answer, of which it does not tell how much: what is unfinished counts from the next read.
        self._heard_ns = self._clock.monotonic_ns()
        self._received_ns = self._heard_ns + self._clock.offset_ns
        self._watch()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        is_handled = False
        try:
            self._tail = frame.tail_size
            message = None
            if self._loss is not None:
                if self._is_closing and frame.msg_type is _CLOSE:
                    self._part()
            elif frame.rsv1 or frame.rsv2 or frame.rsv3:
                self._refuse(_PROTOCOL_ERROR, "a frame of an extension that was not agreed on")
            else:
                kind = frame.msg_type
                if kind is _TEXT or kind is _BINARY:
                    if self._parts is not None:
                        self._refuse(_PROTOCOL_ERROR, "a message inside another")
                    elif frame.fin:
                        message = frame.get_payload_as_bytes()
                    else:
                        self._parts = bytearray(frame.get_payload_as_memoryview())
                        self._unfinished_ns = self._heard_ns
                elif kind is _CONTINUATION:
                    message = self._continued(frame)
                elif kind is _PING:
                    if not self._is_congested:
                        transport.send_pong(frame.get_payload_as_bytes())
                elif kind is _PONG:
                    self._answered(frame)
                elif kind is _CLOSE:
                    self._closed_by_peer(frame)
            if message is not None:
                self._on_frame(message, self._received_ns)
            is_handled = True
        finally:
            if not is_handled:
                self._interrupted(sys.exception())

    def _continued(self, frame: WSFrame) -> bytes | None:
        if self._parts is None:
            self._refuse(_PROTOCOL_ERROR, "a continuation of nothing")
            return None
        if len(self._parts) + frame.payload_size > self._max_bytes:
            self._refuse(_TOO_BIG, f"a message of more than {self._max_bytes} bytes")
            return None
        self._parts += frame.get_payload_as_memoryview()
        if not frame.fin:
            return None
        message = bytes(self._parts)
        self._parts = None
        return message

    def _answered(self, frame: WSFrame) -> None:
        payload = frame.get_payload_as_bytes() if self._round_trips else b""
        if payload in self._round_trips:
            for asked, answered in self._round_trips.items():  # Oldest first.
                if not answered.done():
                    answered.set_result(True)
                if asked == payload:
                    break

    def _closed_by_peer(self, frame: WSFrame) -> None:
        payload = frame.get_payload_as_bytes()
        code = int.from_bytes(payload[:2], "big") if payload else None
        if code is not None and not may_be_sent(code):
            self._refuse(_PROTOCOL_ERROR, f"close code {code}")
            return
        self._loss = Loss(LossCause.CLOSED_BY_VENUE, code or _NO_CODE, excerpt(payload[2:].decode(), ()))
        self._answer_and_part(close_payload(code))

    # The end: decided once, told by connection_lost

    def _refuse(self, code: int, reason: str) -> None:
        self._loss = _refused(code, reason)
        self._answer_and_part(close_payload(code, reason))

    def _interrupted(self, error: BaseException | None) -> None:
        reason = f"{type(error).__name__} while a frame was handled"
        self._loss = self._loss or Loss(LossCause.CLOSED_BY_US, _INTERNAL_ERROR, reason)
        self._answer_and_part(close_payload(_INTERNAL_ERROR))
        if isinstance(error, Exception):  # picows lets only the others through
            self._loop.call_exception_handler({"message": f"{self!r} ended: {reason}", "exception": error})

    def _answer_and_part(self, payload: bytes) -> None:
        if self._ws is not None:
            self._ws.send(_CLOSE, payload)
            self._part()

    def _part(self) -> None:
        """Send what waits, then close the socket; or abort when that takes too long, counted from our close if that came first."""
        if self._ws is not None:
            self._parts = None
            if not self._is_closing:
                self._abort_later()
            self._is_closing = False
            self._ws.underlying_transport.close()

    def _abort_later(self) -> None:
        self._stop_timer()
        self._timer = self._loop.call_later(self._close_timeout_s, self.abort)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # The watch: one timer

    def _watch(self) -> None:
        """Ping a peer that is silent, give up one that is gone or does not finish a frame, and look again when the next is due."""
        now_ns = self._clock.monotonic_ns()
        due_ns = now_ns + _EARLY_NS
        frame_at_ns = (now_ns if self._unfinished_ns is None else self._unfinished_ns) + self._frame_timeout_ns
        if frame_at_ns > due_ns:
            self._looks = 0
        elif self._looks < _LOOKS and self._has_unread():
            self._looks += 1
            frame_at_ns = now_ns + _LOOK_AGAIN_NS
        else:
            self._give_up(LossCause.FRAME_TIMEOUT)
            return
        if self._ping_at_ns() <= due_ns:
            if self._pinged_ns <= self._heard_ns:
                self._pinged_ns = now_ns
                if self._ws is not None:
                    self._ws.send_ping(self._ping_payload())
            elif self._has_unread():
                self._heard_ns = now_ns
            else:
                self._give_up(LossCause.PING_TIMEOUT)
                return
        wait_ns = min(frame_at_ns, self._ping_at_ns()) - now_ns
        self._timer = self._loop.call_later(max(wait_ns, _EARLY_NS) / 1e9, self._watch)

    def _ping_payload(self) -> bytes:
        """What a ping asks with: the number of the last round trip, nothing before the first."""
        return str(self._trips).encode() if self._trips else b""

    def _ping_at_ns(self) -> int:
        """When a ping is to be sent, or when the one sent should have been answered."""
        if self._pinged_ns > self._heard_ns:
            return self._pinged_ns + self._ping_timeout_ns
        return self._heard_ns + self._ping_interval_ns

    def _has_unread(self) -> bool:
        """Whether something of the peer waits in the kernel: then it is us who are late."""
        poll = select.poll()
        if self._ws is not None:
            poll.register(self._ws.underlying_transport.get_extra_info("socket"), select.POLLIN)
        return bool(poll.poll(0))

    def _give_up(self, cause: LossCause) -> None:
        self._loss = Loss(cause)
        self.abort()


def _forget_exception(ws: WSTransport) -> None:
    """Take the error that picows keeps for whoever waits for the end, or asyncio reports that nobody did."""
    try:
        ws.wait_disconnected().send(None)
    except (StopIteration, WSProtocolError, MemoryError) as error:
        error.__traceback__ = None  # which holds this frame, and so ``ws``, which holds the error


def _refused(code: int, reason: str) -> Loss:
    return Loss(LossCause.TOO_BIG if code == _TOO_BIG else LossCause.PROTOCOL, code, reason)


def _objection(ws: WSTransport) -> Loss | None:
    """Why picows could not read on, if so: only then has it sent a close frame of its own."""
    sent = ws.close_handshake.sent if ws.is_close_frame_sent else None
    return None if sent is None else _refused(int(sent.code.value), sent.reason)
