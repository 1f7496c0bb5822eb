"""The settings of one exchange's connection."""

import msgspec

from infrastructure.events import Architecture
from infrastructure.venue import Venue


class TransportSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Of one WebSocket. A peer that sends nothing for ``ping_interval_s`` is pinged, and given up ``ping_timeout_s`` later."""

    open_timeout_s: float = 10.0
    close_timeout_s: float = 2.0
    #: From the first byte of a frame to its last.
    frame_timeout_s: float = 10.0
    ping_interval_s: float = 10.0
    ping_timeout_s: float = 10.0
    max_message_bytes: int = 4 * 1024 * 1024


class ReconnectSettings(msgspec.Struct, frozen=True, kw_only=True):
    """When to connect again: full jitter between 0 and a bound that grows from ``first_delay_s`` by ``factor`` to ``max_delay_s``.

    The bound starts over once data has flowed for ``stable_s``. More than ``max_restarts`` connections lost or failed within ``window_s``,
    or ``max_attempts`` failures in a row (None: any number), and the venue is given up.
    """

    first_delay_s: float = 0.5
    factor: float = 2.0
    max_delay_s: float = 30.0
    stable_s: float = 10.0
    max_restarts: int = 60
    window_s: float = 600.0
    max_attempts: int | None = None
    #: The wait after a refusal that means a ban but names no time, such as HTTP 403.
    ban_delay_s: float = 60.0
    #: Whether a close without a status (1005) starts over at the first delay.
    reset_on_1005: bool = False


class ExchangeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Of one exchange: what to stream, through which architecture, over which connection.

    ``channels`` are the venue's names, or ``trade``, ``book_ticker``, ``ticker``, ``candle`` and ``orderbook``, each with an option after a
    colon where the channel has one: ``candle:5m``. ``symbols`` are unified. Addresses default to the venue's own.
    """

    venue: Venue
    symbols: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    architecture: Architecture = Architecture.DIRECT
    websocket_url: str | None = None
    rest_url: str | None = None
    transport: TransportSettings = TransportSettings()
    reconnect: ReconnectSettings = ReconnectSettings()
    #: How long a subscription may stay unanswered.
    subscribe_timeout_s: float = 10.0
    close_deadline_s: float = 5.0
    #: Frames that may wait in the lane before reading pauses.
    high_water: int = 8192
    snapshots_per_minute: float = 120.0
