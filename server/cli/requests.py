"""Import requests from JSON, with errors that never repeat what was in them."""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterator
from typing import Any, Final

from connections.v1.connection_pb2 import Credentials
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
        raise ValueError(_explain(str(error), set(_keys(value)))) from None
    except (TypeError, AttributeError, ValueError, RecursionError):
        # ParseDict lets these escape for shapes that it does not foresee; their texts quote values too.
        raise ValueError("does not have the shape of a CreateConnectionRequest") from None


def parse_token_response(text: str) -> Credentials:
    """Read a token response (RFC 6749 section 5.1) that came just now; all of it is kept as `raw`.

    Raises ValueError without any of the values.
    """
    response = parse_object(text)
    credentials = Credentials()
    oauth2 = credentials.oauth2
    for name in ("access_token", "refresh_token", "token_type"):
        value = response.get(name)
        if value is not None and not isinstance(value, str):
            raise ValueError(f"{name}: expected a text")
        setattr(oauth2, name, value or "")
    if not oauth2.access_token:
        raise ValueError("access_token is missing: this is not a token response")
    expires_in = response.get("expires_in")
    if expires_in is not None:
        try:
            # Some providers quote it.
            oauth2.expire_time.FromNanoseconds(time.time_ns() + int(expires_in) * 10**9)
        except (TypeError, ValueError, OverflowError):
            raise ValueError("expires_in: expected a number of seconds") from None
    scope = response.get("scope")
    if isinstance(scope, str):
        oauth2.scopes.extend(scope.split())
    credentials.raw.update(response)
    return credentials


def _keys(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from value
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _keys(item)


def _explain(text: str, keys: Collection[str]) -> str:
    path = _PATH.search(text)
    fields = _FIELD.findall(text)
    where = path[1].lstrip(".") if path and path[1] else ".".join(fields)
    unknown = _UNKNOWN.search(text)
    # Where an object is expected, protobuf takes the texts of a list for names.
    if unknown and unknown[1] in keys:
        return f"{where + ': ' if where else ''}no field is named {clean(unknown[1])!r}"
    return f"{where or 'the object'}: not a value that fits"
