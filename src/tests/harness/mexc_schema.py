"""MEXC spot's push frames read by the protobuf library from the tests' own table of fields: no schema of the project's takes part."""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

from tests.harness.mexc_frames import WRAPPER, Table

#: Fields of pushes that are whole numbers, and those that are lists; all others are texts, and there is one of each. A yes is a 1.
NUMBERS = {"createTime", "sendTime", "lastOrderCreateTime", "tradeType", "time", "windowStart", "windowEnd"}
NUMBERS |= {"orderType", "isMaker", "isSelfTrade", "status"}
LISTS = {"asks", "bids", "deals", "items"}
_PACKAGE = "tests.mexc"


def _add(file: descriptor_pb2.FileDescriptorProto, name: str, table: Table) -> None:
    message = file.message_type.add(name=name)
    for field_name, place in table.items():
        number, inner = (place, None) if isinstance(place, int) else place
        field = message.field.add(name=field_name, number=number)
        field.label = field.LABEL_REPEATED if field_name in LISTS else field.LABEL_OPTIONAL
        if inner is None:
            field.type = field.TYPE_INT64 if field_name in NUMBERS else field.TYPE_STRING
        else:
            field.type = field.TYPE_MESSAGE
            field.type_name = f".{_PACKAGE}.{name}_{field_name}"
            _add(file, f"{name}_{field_name}", inner)


def _wrapper_type() -> type[Message]:
    file = descriptor_pb2.FileDescriptorProto(name="tests_mexc.proto", package=_PACKAGE, syntax="proto3")
    _add(file, "Wrapper", WRAPPER)
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
