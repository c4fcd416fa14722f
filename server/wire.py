"""The contract's wire form: domain values to protobuf and back.

A connection's response is made of three parts that are written at different times by different hands: what callers
edit, what the refresh engine writes, and the credentials. Each is stored as the serialised fields of a `Connection`; protobuf
messages concatenate, so a read joins the parts and parses nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from connections.v1 import connection_pb2, error_reason_pb2, provider_pb2
from google.protobuf.struct_pb2 import ListValue, Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp

from server.domain.errors import Reason
from server.domain.model import (
    ApiKeyCredentials,
    AuthMode,
    BasicCredentials,
    ConnectionEdit,
    ConnectionKey,
    Credentials,
    CredentialState,
    OAuth2ClientCredentials,
    OAuth2Credentials,
    RawResponse,
    Status,
)
from server.domain.secret import Secret

_EXACT_INTEGER: Final = 2**53
_DEEPEST: Final = 24
"""Levels of a JSON value that are shown as such: protobuf reads 100 levels of messages, and an object takes three."""
_NULL: Final = 0


def to_struct(value: Mapping[str, Any]) -> Struct:
    """Return a JSON object as a `Struct`. Integers that a double cannot hold become strings, and what lies too deep for
    protobuf its JSON text.
    """
    struct = Struct()
    _fill(struct.fields, value, 1)
    return struct


def _fill(fields: Any, value: Mapping[str, Any], depth: int) -> None:
    for key, item in value.items():
        _set(fields[key], item, depth)


def _set(target: Value, item: Any, depth: int) -> None:
    if item is None:
        target.null_value = _NULL  # type: ignore[assignment]
    elif isinstance(item, bool):
        target.bool_value = item
    elif isinstance(item, int):
        if _survives(item):
            target.number_value = item
        else:
            target.string_value = str(item)
    elif isinstance(item, float):
        target.number_value = item
    elif isinstance(item, str):
        target.string_value = item
    elif depth == _DEEPEST:
        target.string_value = json.dumps(item, ensure_ascii=False)
    elif isinstance(item, Mapping):
        target.struct_value.SetInParent()
        _fill(target.struct_value.fields, item, depth + 1)
    else:
        values: ListValue = target.list_value
        values.SetInParent()
        for element in item:
            _set(values.values.add(), element, depth + 1)


def _survives(integer: int) -> bool:
    """Return whether a double gives all digits back. 1e17 from a caller comes back from jsonb as such an integer."""
    if abs(integer) <= _EXACT_INTEGER:
        return True
    try:
        return Decimal(repr(float(integer))) == integer
    except OverflowError:
        return False


def from_struct(struct: Struct) -> dict[str, Any]:
    """Return a `Struct` as a JSON object, its numbers as `float` (see `rules.normalise_json`)."""
    return {key: _get(value) for key, value in struct.fields.items()}


def _get(value: Value) -> Any:
    match value.WhichOneof("kind"):
        case "struct_value":
            return from_struct(value.struct_value)
        case "list_value":
            return [_get(item) for item in value.list_value.values]
        case "string_value":
            return value.string_value
        case "number_value":
            return value.number_value
        case "bool_value":
            return value.bool_value
        case _:
            return None


def to_timestamp(instant: float) -> Timestamp:
    """Return an instant (seconds since the epoch) as a `Timestamp`, to the microsecond."""
    microseconds = round(instant * 1_000_000)
    seconds, rest = divmod(microseconds, 1_000_000)
    return Timestamp(seconds=seconds, nanos=rest * 1000)


def from_timestamp(timestamp: Timestamp) -> float:
    """Return a `Timestamp` as an instant."""
    return timestamp.seconds + timestamp.nanos / 1e9


def etag_of(revision: int) -> str:
    """Return the etag of a revision: strong and quoted (RFC 9110 section 8.8.3)."""
    return f'"{revision}"'


_AUTH_MODES: Final[dict[AuthMode, Any]] = {
    mode: provider_pb2.AuthMode.Value(f"AUTH_MODE_{mode.value}") for mode in AuthMode
}
_STATUSES: Final[dict[Status, Any]] = {
    status: connection_pb2.ConnectionStatus.Value(f"CONNECTION_STATUS_{status.value}") for status in Status
}


def auth_mode_to_wire(mode: AuthMode) -> provider_pb2.AuthMode:
    """Return the contract's value for an auth mode."""
    value: provider_pb2.AuthMode = _AUTH_MODES[mode]
    return value


_REASONS: Final[dict[Reason, Any]] = {
    reason: error_reason_pb2.ErrorReason.Value(f"ERROR_REASON_{reason.name}") for reason in Reason
}
STATUSES_FROM_WIRE: Final = {value: status for status, value in _STATUSES.items()}


def identity_fields(
    key: ConnectionKey, uid: UUID, provider: str, auth_mode: AuthMode, create_time: float
) -> connection_pb2.Connection:
    """Return a `Connection` with the fields that never change."""
    return connection_pb2.Connection(
        provider_config_key=key.provider_config_key,
        connection_id=key.connection_id,
        uid=str(uid),
        provider=provider,
        auth_mode=_AUTH_MODES[auth_mode],
        create_time=to_timestamp(create_time),
    )


def edit_part(identity: connection_pb2.Connection, edit: ConnectionEdit) -> bytes:
    """Serialise what callers edit, after the fields that never change."""
    message = connection_pb2.Connection(
        connection_config=to_struct(edit.connection_config),
        metadata=to_struct(edit.metadata),
        tags=edit.tags,
        display_name=edit.display_name,
        update_time=to_timestamp(edit.update_time),
        etag=etag_of(edit.revision),
    )
    return identity.SerializeToString() + message.SerializeToString(deterministic=True)


def state_part(state: CredentialState) -> bytes:
    """Serialise what the refresh engine writes."""
    message = connection_pb2.Connection(
        status=_STATUSES[state.status],
        granted_scopes=state.granted_scopes,
        refresh_attempts=state.refresh_attempts,
        generation=state.generation,
    )
    if state.failure_reason is not None:
        message.status_reason = _REASONS[state.failure_reason]
    if state.expires_at is not None:
        message.credentials_expire_time.CopyFrom(to_timestamp(state.expires_at))
    if state.last_refresh_at is not None:
        message.last_refresh_time.CopyFrom(to_timestamp(state.last_refresh_at))
    if state.last_failure_at is not None:
        message.last_refresh_failure_time.CopyFrom(to_timestamp(state.last_failure_at))
    if state.next_refresh_at is not None:
        message.next_refresh_time.CopyFrom(to_timestamp(state.next_refresh_at))
    return message.SerializeToString()


def credentials_part(credentials: Credentials, raw: RawResponse | None, *, include_refresh_token: bool) -> bytes:
    """Serialise credentials as the `credentials` field of a `Connection`.

    Without `include_refresh_token`, what refreshes (refresh token, client secret) is left out, from `raw` too.
    """
    message = connection_pb2.Connection()
    message.credentials.CopyFrom(credentials_to_wire(credentials, include_refresh_token=include_refresh_token))
    if raw is not None:
        value = raw.value if include_refresh_token else _without_refresh_tokens(raw.value, _DEEPEST)
        message.credentials.raw.CopyFrom(to_struct(value))
    return message.SerializeToString()


def _without_refresh_tokens(value: Any, levels: int) -> Any:
    """Return a JSON value without what refreshes; what lies deeper than `levels` is left out, as nobody looks there."""
    if levels == 0 and isinstance(value, Mapping | list):
        return None
    if isinstance(value, Mapping):
        return {
            key: _without_refresh_tokens(item, levels - 1)
            for key, item in value.items()
            if "".join(filter(str.isalpha, key)).lower() not in {"refreshtoken", "clientsecret"}
        }
    if isinstance(value, list):
        return [_without_refresh_tokens(item, levels - 1) for item in value]
    return value


def credentials_to_wire(credentials: Credentials, *, include_refresh_token: bool) -> connection_pb2.Credentials:
    """Return credentials as the contract's message."""
    message = connection_pb2.Credentials()
    match credentials:
        case OAuth2Credentials():
            oauth2 = message.oauth2
            oauth2.access_token = credentials.access_token.reveal()
            oauth2.token_type = credentials.token_type
            oauth2.scopes.extend(credentials.scopes)
            if credentials.refresh_token is not None and include_refresh_token:
                oauth2.refresh_token = credentials.refresh_token.reveal()
            if credentials.expires_at is not None:
                oauth2.expire_time.CopyFrom(to_timestamp(credentials.expires_at))
        case OAuth2ClientCredentials():
            client = message.oauth2_cc
            client.SetInParent()
            client.client_id = credentials.client_id
            client.token_type = credentials.token_type
            client.scopes.extend(credentials.scopes)
            if credentials.client_secret is not None and include_refresh_token:
                client.client_secret = credentials.client_secret.reveal()
            if credentials.access_token is not None:
                client.access_token = credentials.access_token.reveal()
            if credentials.expires_at is not None:
                client.expire_time.CopyFrom(to_timestamp(credentials.expires_at))
        case ApiKeyCredentials():
            message.api_key.api_key = credentials.api_key.reveal()
        case BasicCredentials():
            message.basic.SetInParent()
            message.basic.username = credentials.username
            message.basic.password = credentials.password.reveal()
        case _:
            pass
    return message


def credentials_from_wire(message: connection_pb2.Credentials) -> Credentials | None:
    """Return the contract's message as credentials, None if no member of `kind` is set."""
    match message.WhichOneof("kind"):
        case "oauth2":
            oauth2 = message.oauth2
            return OAuth2Credentials(
                access_token=Secret(oauth2.access_token),
                refresh_token=Secret(oauth2.refresh_token) if oauth2.refresh_token else None,
                token_type=oauth2.token_type,
                expires_at=from_timestamp(oauth2.expire_time) if oauth2.HasField("expire_time") else None,
                scopes=tuple(oauth2.scopes),
            )
        case "oauth2_cc":
            client = message.oauth2_cc
            return OAuth2ClientCredentials(
                client_id=client.client_id,
                client_secret=Secret(client.client_secret) if client.client_secret else None,
                access_token=Secret(client.access_token) if client.access_token else None,
                token_type=client.token_type,
                expires_at=from_timestamp(client.expire_time) if client.HasField("expire_time") else None,
                scopes=tuple(client.scopes),
            )
        case "api_key":
            return ApiKeyCredentials(api_key=Secret(message.api_key.api_key))
        case "basic":
            return BasicCredentials(username=message.basic.username, password=Secret(message.basic.password))
        case _:
            return None
