"""The strategy architecture as a receiver of frames: ``await parse_message``, then ``await message_handler``, as the old loop does."""

from infrastructure.events import MessageType
from infrastructure.networking.websocket.route import Outcome
from infrastructure.networking.websocket.strategies.interfaces import MessageHandler, MessageParser

_CONTROL = frozenset({MessageType.ACKNOWLEDGEMENT, MessageType.PONG, MessageType.NOTICE, MessageType.UNKNOWN})


class StrategyReceiver:
    """Runs a message parser and a message handler over frames. Takes its frames from the lane's task."""

    def __init__(self, parser: MessageParser, message_handler: MessageHandler) -> None:
        self._parse = parser.parse_message
        self._handle = message_handler

    async def _handle_message(self, raw_message: bytes | str) -> Outcome | None:
        """Take one frame; what the parser or the handler raises passes through, and so does an Outcome that the handler returns."""
        parsed = await self._parse(raw_message)
        if parsed is None:
            return Outcome.CONTROL
        outcome = await self._handle(parsed)
        if isinstance(outcome, Outcome):
            return outcome
        # A foreign parser may label its messages with types of its own, whose numbers mean something else.
        return Outcome.CONTROL if isinstance(parsed.message_type, MessageType) and parsed.message_type in _CONTROL else None
