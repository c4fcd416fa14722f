"""Credentials in the contract's wire form, and back. Stored in that form too, with nothing left out.

A message's fields are named as those of the class that it stands for, so one table is all there is to say: which member
of `kind` a class is, and which of its fields are what refreshes, shown only to who asks for that.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from types import NoneType
from typing import Any, Final

from connections.v1 import connection_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from server.domain import credentials as kinds
from server.domain.credentials import Credentials
from server.domain.secret import Secret


@dataclass(frozen=True, slots=True)
class _Kind:
    member: str
    refreshing: frozenset[str] = frozenset()


def _kind(member: str, *refreshing: str) -> _Kind:
    return _Kind(member, frozenset(refreshing))


_KINDS: Final[Mapping[type, _Kind]] = {
    kinds.OAuth2Credentials: _kind("oauth2", "refresh_token"),
    kinds.OAuth2ClientCredentials: _kind("oauth2_cc", "client_secret", "client_private_key"),
    kinds.ApiKeyCredentials: _kind("api_key"),
    kinds.BasicCredentials: _kind("basic"),
    kinds.OAuth1Credentials: _kind("oauth1"),
    kinds.AppCredentials: _kind("app", "private_key"),
    kinds.CustomCredentials: _kind("custom"),
    kinds.JwtCredentials: _kind("jwt", "fields"),
    kinds.TbaCredentials: _kind("tba"),
    kinds.TwoStepCredentials: _kind("two_step", "fields", "refresh_token"),
    kinds.SignatureCredentials: _kind("signature", "password"),
    kinds.BillCredentials: _kind("bill", "password"),
    kinds.AwsSigV4Credentials: _kind("aws_sigv4"),
    kinds.McpOAuth2Credentials: _kind("mcp_oauth2", "refresh_token", "client_secret"),
}
_BY_MEMBER: Final = {kind.member: cls for cls, kind in _KINDS.items()}
_TYPES: Final = {cls: typing.get_type_hints(cls) for cls in _KINDS}

# Field names that differ: an instant is a `_time` on the wire.
_WIRE_NAMES: Final = {"expires_at": "expire_time"}


def to_timestamp(instant: float) -> Timestamp:
    """Return an instant (seconds since the epoch) as a `Timestamp`, to the microsecond."""
    microseconds = round(instant * 1_000_000)
    seconds, rest = divmod(microseconds, 1_000_000)
    return Timestamp(seconds=seconds, nanos=rest * 1000)


def from_timestamp(timestamp: Timestamp) -> float:
    """Return a `Timestamp` as an instant."""
    return timestamp.seconds + timestamp.nanos / 1e9


def credentials_to_wire(credentials: Credentials, *, include_refresh_token: bool) -> connection_pb2.Credentials:
    """Return credentials as the contract's message; without `include_refresh_token`, without what refreshes."""
    message = connection_pb2.Credentials()
    kind = _KINDS.get(type(credentials))
    if kind is not None:
        target = getattr(message, kind.member)
        target.SetInParent()
        _write(target, credentials, show_all=include_refresh_token)
    return message


def _write(target: Any, source: Any, *, show_all: bool) -> None:
    kind = _KINDS[type(source)]
    for entry in dataclasses.fields(source):
        value = getattr(source, entry.name)
        if value is None or (entry.name in kind.refreshing and not show_all):
            continue
        name = _WIRE_NAMES.get(entry.name, entry.name)
        if type(value) in _KINDS:
            inner = getattr(target, name)
            inner.SetInParent()
            _write(inner, value, show_all=show_all)
        elif name == "expire_time":
            target.expire_time.CopyFrom(to_timestamp(value))
        elif isinstance(value, Mapping):
            getattr(target, name).update({key: secret.reveal() for key, secret in value.items()})
        elif isinstance(value, tuple):
            getattr(target, name).extend(value)
        else:
            setattr(target, name, value.reveal() if isinstance(value, Secret) else value)


def credentials_from_wire(message: connection_pb2.Credentials) -> Credentials | None:
    """Return the contract's message as credentials, None if no member of `kind` is set."""
    member = message.WhichOneof("kind")
    if member is None:
        return None
    credentials: Credentials = _read(_BY_MEMBER[member], getattr(message, member))
    return credentials


def _read(cls: type, source: Any) -> Any:
    values: dict[str, Any] = {}
    for name, hint in _TYPES[cls].items():
        wire_name = _WIRE_NAMES.get(name, name)
        parts = typing.get_args(hint) or (hint,)
        optional = NoneType in parts
        nested = next((part for part in parts if part in _KINDS), None)
        value = getattr(source, wire_name)
        if nested is not None:
            values[name] = None if optional and not source.HasField(wire_name) else _read(nested, value)
        elif wire_name == "expire_time":
            values[name] = from_timestamp(value) if source.HasField(wire_name) else None
        elif typing.get_origin(hint) is Mapping:
            values[name] = {key: Secret(text) for key, text in value.items()}
        elif typing.get_origin(hint) is tuple:
            values[name] = tuple(value)
        elif Secret in parts:
            values[name] = Secret(value) if value or not optional else None
        else:
            values[name] = value
    return cls(**values)
