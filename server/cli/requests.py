"""Import requests from JSON, with errors that never repeat what was in them."""

from __future__ import annotations

import re
from typing import Final

from connections.v1.connection_service_pb2 import CreateConnectionRequest
from google.protobuf.json_format import ParseDict, ParseError

from server.cli.options import parse_object
from server.cli.text import clean

# protobuf's messages quote the value that did not fit, which may be a token. Of them, only the path and the name of an
# unknown field are let through.
_PATH: Final = re.compile(r" at CreateConnectionRequest((?:\.[A-Za-z_][A-Za-z0-9_]*|\[\d+\])*)")
_UNKNOWN: Final = re.compile(r"has no field named \"([A-Za-z_][A-Za-z0-9_]{0,63})\"")
_FIELD: Final = re.compile(r"Failed to parse ([A-Za-z_][A-Za-z0-9_]*) field")


def parse_request(text: str | bytes) -> CreateConnectionRequest:
    """Read the protobuf JSON form of CreateConnectionRequest. Raises ValueError without any of the values."""
    value = parse_object(text)
    try:
        return ParseDict(value, CreateConnectionRequest())
    except ParseError as error:
        raise ValueError(_explain(str(error))) from None
    except (TypeError, AttributeError, ValueError, RecursionError):
        # ParseDict lets these escape for shapes that it does not foresee; their texts quote values too.
        raise ValueError("does not have the shape of a CreateConnectionRequest") from None


def _explain(text: str) -> str:
    path = _PATH.search(text)
    fields = _FIELD.findall(text)
    where = path[1].lstrip(".") if path and path[1] else ".".join(fields)
    unknown = _UNKNOWN.search(text)
    if unknown:
        return f"{where + ': ' if where else ''}no field is named {clean(unknown[1])!r}"
    return f"{where or 'the object'}: not a value that fits"
