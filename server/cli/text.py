"""Text for terminals: values of others cannot move the cursor, and times read the same everywhere."""

from __future__ import annotations

import unicodedata

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp


def clean(text: str) -> str:
    """Return the text with control and formatting characters replaced: what a provider, a customer or a server wrote
    must not reach the terminal as an escape sequence or turn the line's direction.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join("\N{REPLACEMENT CHARACTER}" if unicodedata.category(char)[0] == "C" else char for char in text)


def instant(message: Message, field: str) -> str:
    """Return a timestamp field as UTC to the second, `2026-11-21T12:00:00Z`, empty if it is not set."""
    if not message.HasField(field):
        return ""
    value = getattr(message, field)
    return Timestamp(seconds=value.seconds).ToJsonString()


def label(message: Message, field: str) -> str:
    """Return an enum field without its type's prefix and in lower case: `reauthorization_required`; empty if unset."""
    descriptor = message.DESCRIPTOR.fields_by_name[field].enum_type
    number = getattr(message, field)
    if descriptor is None or not number:
        return ""
    known = descriptor.values_by_number.get(number)
    unspecified = descriptor.values_by_number[0].name
    return known.name.removeprefix(unspecified.removesuffix("UNSPECIFIED")).lower() if known else str(number)
