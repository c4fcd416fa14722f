"""Copies of messages that may be shown: what the contract marks `debug_redact` is masked.

protobuf's own `str`, `repr` and `text_format` ignore the option in Python, so nothing may show a message that has not
been through here.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final, TypeVar

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.struct_pb2 import Struct

from server.domain.secret import MASK

M = TypeVar("M", bound=Message)

_ANY: Final = AnyMessage.DESCRIPTOR.full_name


def redact(message: M) -> M:
    """Return a copy whose secrets are masked.

    A secret string or bytes field becomes the mask. Of a secret message everything is dropped, a `Struct` keeps one
    entry that says so. Other secret fields are cleared. Fields that are not set stay unset, so it can still be told
    whether there is a secret. An `Any` of an unknown type is emptied, since nobody can tell what it holds.
    """
    copy = type(message)()
    copy.CopyFrom(message)
    _redact(copy)
    return copy


def _redact(message: Message) -> None:
    if not _may_hold_secrets(message.DESCRIPTOR):
        return
    if isinstance(message, AnyMessage):
        _redact_any(message)
        return
    for field, value in message.ListFields():
        if field.GetOptions().debug_redact:
            _mask(message, field)
        elif field.message_type is not None:
            for child in _children(field, value):
                _redact(child)


def _children(field: FieldDescriptor, value: Any) -> list[Message]:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return list(value.values()) if field.message_type.fields_by_name["value"].message_type is not None else []
    return list(value) if field.is_repeated else [value]


def _mask(message: Message, field: FieldDescriptor) -> None:
    value = getattr(message, field.name)
    if field.is_repeated:
        if field.message_type is None and field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
            masked = [_masked_text(field)] * len(value)
            message.ClearField(field.name)
            getattr(message, field.name).extend(masked)
        else:
            message.ClearField(field.name)
    elif isinstance(value, Struct):
        value.Clear()
        value["redacted"] = MASK
    elif field.message_type is not None:
        value.Clear()
        value.SetInParent()
    elif field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        setattr(message, field.name, _masked_text(field))
    else:
        message.ClearField(field.name)


def _masked_text(field: FieldDescriptor) -> str | bytes:
    return MASK.encode() if field.type == FieldDescriptor.TYPE_BYTES else MASK


def _redact_any(message: AnyMessage) -> None:
    try:
        descriptor = descriptor_pool.Default().FindMessageTypeByName(message.TypeName())
        inner = message_factory.GetMessageClass(descriptor)()
        inner.ParseFromString(message.value)
    except (KeyError, DecodeError):
        message.value = b""
        return
    _redact(inner)
    message.value = inner.SerializeToString(deterministic=True)


@cache
def _may_hold_secrets(descriptor: Descriptor) -> bool:
    """Return whether a message of this type, or anything inside it, may hold a secret; most types cannot."""
    return _reaches_secret(descriptor, set())


def _reaches_secret(descriptor: Descriptor, seen: set[str]) -> bool:
    if descriptor.full_name == _ANY:
        return True
    if descriptor.full_name in seen:
        return False
    seen.add(descriptor.full_name)
    return any(
        field.GetOptions().debug_redact
        or (field.message_type is not None and _reaches_secret(field.message_type, seen))
        for field in descriptor.fields
    )
