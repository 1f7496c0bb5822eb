"""MEXC spot's push frames as a table of fields, read by the protobuf library itself: no schema of the project's takes part."""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

_TEXT, _NUMBER = "text", "number"
_LEVEL = ((1, "price", _TEXT), (2, "quantity", _TEXT))
_BEST = ((1, "bidPrice", _TEXT), (2, "bidQuantity", _TEXT), (3, "askPrice", _TEXT), (4, "askQuantity", _TEXT))
#: By message: number, name and type of each field; a type with a star is a list of that message.
MESSAGES: dict[str, tuple[tuple[int, str, str], ...]] = {
    "Wrapper": (
        (1, "channel", _TEXT),
        (3, "symbol", _TEXT),
        (4, "symbolId", _TEXT),
        (5, "createTime", _NUMBER),
        (6, "sendTime", _NUMBER),
        (303, "publicLimitDepths", "LimitDepths"),
        (308, "publicSpotKline", "SpotKline"),
        (309, "publicMiniTicker", "MiniTicker"),
        (310, "publicMiniTickers", "MiniTickers"),
        (311, "publicBookTickerBatch", "BookTickerBatch"),
        (313, "publicAggreDepths", "AggreDepths"),
        (314, "publicAggreDeals", "AggreDeals"),
        (315, "publicAggreBookTicker", "AggreBookTicker"),
    ),
    "Level": _LEVEL,
    "LimitDepths": (
        (1, "asks", "Level*"),
        (2, "bids", "Level*"),
        (3, "eventType", _TEXT),
        (4, "version", _TEXT),
        (5, "lastOrderCreateTime", _NUMBER),
    ),
    "AggreDepths": (
        (1, "asks", "Level*"),
        (2, "bids", "Level*"),
        (3, "eventType", _TEXT),
        (4, "fromVersion", _TEXT),
        (5, "toVersion", _TEXT),
        (6, "lastOrderCreateTime", _NUMBER),
    ),
    "Deal": ((1, "price", _TEXT), (2, "quantity", _TEXT), (3, "tradeType", _NUMBER), (4, "time", _NUMBER), (5, "tradeId", _TEXT)),
    "AggreDeals": ((1, "deals", "Deal*"), (2, "eventType", _TEXT)),
    "Best": _BEST,
    "AggreBookTicker": (*_BEST, (5, "version", _TEXT), (6, "lastOrderCreateTime", _NUMBER)),
    "BookTickerBatch": ((1, "items", "Best*"), (2, "version", _TEXT), (3, "lastOrderCreateTime", _NUMBER)),
    "SpotKline": (
        (1, "interval", _TEXT),
        (2, "windowStart", _NUMBER),
        (3, "openingPrice", _TEXT),
        (4, "closingPrice", _TEXT),
        (5, "highestPrice", _TEXT),
        (6, "lowestPrice", _TEXT),
        (7, "volume", _TEXT),
        (8, "amount", _TEXT),
        (9, "windowEnd", _NUMBER),
    ),
    "MiniTicker": tuple(
        (number, name, _TEXT)
        for number, name in enumerate(
            (
                "symbol",
                "price",
                "rate",
                "zonedRate",
                "high",
                "low",
                "volume",
                "quantity",
                "lastCloseRate",
                "lastCloseZonedRate",
                "lastCloseHigh",
                "lastCloseLow",
            ),
            1,
        )
    ),
    "MiniTickers": ((1, "items", "MiniTicker*"),),
}
_PACKAGE = "tests.mexc"


def _wrapper_type() -> type[Message]:
    file = descriptor_pb2.FileDescriptorProto(name="tests_mexc.proto", package=_PACKAGE, syntax="proto3")
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, field_name, kind in fields:
            field = message.field.add(name=field_name, number=number, label=3 if kind.endswith("*") else 1)
            if kind in (_TEXT, _NUMBER):
                field.type = (
                    descriptor_pb2.FieldDescriptorProto.TYPE_STRING if kind == _TEXT else descriptor_pb2.FieldDescriptorProto.TYPE_INT64
                )
            else:
                field.type = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE
                field.type_name = f".{_PACKAGE}.{kind.rstrip('*')}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.Wrapper"))


Wrapper = _wrapper_type()


def read_push(raw: bytes) -> dict[str, Any]:
    """What a frame says, by the venue's names; what it does not say is not there. Fails on a field that the table does not have."""
    message = Wrapper()
    message.ParseFromString(raw)
    return _plain(message)


def rewritten(raw: bytes) -> bytes:
    """The frame as the library writes what it has read."""
    message = Wrapper()
    message.ParseFromString(raw)
    return message.SerializeToString(deterministic=True)


def shape(read: dict[str, Any]) -> dict[str, Any]:
    """What a frame has, without what it says: names of fields, of a list those of its first."""
    shapes: dict[str, Any] = {}
    for name, value in read.items():
        first = value[0] if isinstance(value, list) else value
        shapes[name] = shape(first) if isinstance(first, dict) else type(first).__name__
    return shapes


def _plain(message: Message) -> dict[str, Any]:
    assert len(UnknownFieldSet(message)) == 0, message.DESCRIPTOR.name
    plain: dict[str, Any] = {}
    for field, value in message.ListFields():
        if field.type != FieldDescriptor.TYPE_MESSAGE:
            plain[field.name] = value
        elif isinstance(value, Message):
            plain[field.name] = _plain(value)
        else:
            plain[field.name] = [_plain(each) for each in value]
    return plain
