"""How a connection is spread over its row's columns, and read back: for rules and filters, and ready to be returned."""

from __future__ import annotations

import base64
import json
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from connections.v1 import connection_pb2

from server import wire
from server.crypto.data_keys import DataKey
from server.domain.errors import Reason
from server.domain.model import (
    AuthMode,
    ConnectionEdit,
    ConnectionKey,
    Credentials,
    CredentialState,
    NoCredentials,
    RawResponse,
    Status,
)
from server.domain.ports import ConnectionImport, ImportedCredentials
from server.storage.engine import from_datetime, to_datetime
from server.storage.tables import connections as table

TABLE: Final = "connections"
CREDENTIALS: Final = "sealed_credentials"
GRANT: Final = "sealed_grant"
_NOTHING: Final = ImportedCredentials(NoCredentials(), None, (), None, None, None)
"""What a connection has whose API needs no credentials."""


def matches(key: ConnectionKey) -> sa.ColumnElement[bool]:
    """Return the condition that holds for one connection."""
    return sa.and_(
        table.c.environment_id == key.environment_id,
        table.c.provider_config_key == key.provider_config_key,
        table.c.connection_id == key.connection_id,
    )


def grant_to_bytes(credentials: Credentials, raw: RawResponse | None) -> bytes:
    """Serialise credentials whole, with the provider's answer to the last digit."""
    message = wire.credentials_to_wire(credentials, include_refresh_token=True)
    document = {
        "credentials": base64.b64encode(message.SerializeToString()).decode(),
        "raw": None if raw is None else raw.value,
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def grant_from_bytes(data: bytes) -> tuple[Credentials, RawResponse | None]:
    """Return what `grant_to_bytes` was given."""
    document = json.loads(data)
    message = connection_pb2.Credentials.FromString(base64.b64decode(document["credentials"]))
    raw = document["raw"]
    return wire.credentials_from_wire(message) or NoCredentials(), None if raw is None else RawResponse(raw)


def state_columns(state: CredentialState) -> dict[str, Any]:
    """Return the columns that hold a credential state, for rules and for responses."""
    return {
        "status": state.status.value,
        "failure_reason": None if state.failure_reason is None else state.failure_reason.name,
        "generation": state.generation,
        "expire_time": to_datetime(state.expires_at),
        "refresh_due_time": to_datetime(state.refresh_due_at),
        "next_refresh_time": to_datetime(state.next_refresh_at),
        "last_refresh_time": to_datetime(state.last_refresh_at),
        "last_failure_time": to_datetime(state.last_failure_at),
        "refresh_attempts": state.refresh_attempts,
        "granted_scopes": list(state.granted_scopes),
        "state_part": wire.state_part(state),
    }


def state_of(row: Any) -> CredentialState:
    """Return the credential state that a row holds."""
    return CredentialState(
        status=Status(row.status),
        failure_reason=None if row.failure_reason is None else Reason[row.failure_reason],
        generation=row.generation,
        expires_at=from_datetime(row.expire_time),
        refresh_due_at=from_datetime(row.refresh_due_time),
        next_refresh_at=from_datetime(row.next_refresh_time),
        last_refresh_at=from_datetime(row.last_refresh_time),
        last_failure_at=from_datetime(row.last_failure_time),
        refresh_attempts=row.refresh_attempts,
        granted_scopes=tuple(row.granted_scopes),
    )


def sealed_columns(key: DataKey, credentials: Credentials, raw: RawResponse | None) -> dict[str, bytes]:
    """Return the columns that hold credentials, sealed."""
    shown = wire.credentials_part(credentials, raw, include_refresh_token=False)
    return {
        CREDENTIALS: key.seal(CREDENTIALS, shown),
        GRANT: key.seal(GRANT, grant_to_bytes(credentials, raw)),
    }


def edit_of(row: Any) -> ConnectionEdit:
    """Return what callers edit of a row."""
    return ConnectionEdit(
        metadata=row.metadata,
        tags=row.tags,
        connection_config=row.connection_config,
        display_name=row.display_name,
        update_time=row.update_time.timestamp(),
        revision=row.revision,
    )


def edit_columns(key: ConnectionKey, row: Any, edit: ConnectionEdit) -> dict[str, Any]:
    """Return the columns that hold an edit, for filters and for responses. `row` brings what never changes."""
    identity = wire.identity_fields(key, row.uid, row.provider, AuthMode(row.auth_mode), row.create_time.timestamp())
    return {
        "metadata": edit.metadata,
        "tags": edit.tags,
        "connection_config": edit.connection_config,
        "display_name": edit.display_name,
        "update_time": to_datetime(edit.update_time),
        "revision": edit.revision,
        "edit_part": wire.edit_part(identity, edit),
    }


def new_columns(put: ConnectionImport, uid: UUID, data_key: DataKey, now: float) -> dict[str, Any]:
    """Return the whole row of a connection that did not exist; `data_key` is for `uid`'s row."""
    imported, key = put.imported or _NOTHING, put.key
    created = min(now, put.create_time or now)
    edit = ConnectionEdit(
        metadata=put.metadata or {},
        tags=put.tags or {},
        connection_config=put.connection_config or {},
        display_name=put.display_name or "",
        update_time=now,
        revision=1,
    )
    return {
        "environment_id": key.environment_id,
        "provider_config_key": key.provider_config_key,
        "connection_id": key.connection_id,
        "uid": uid,
        "provider": put.provider,
        "auth_mode": put.auth_mode.value,
        "create_time": to_datetime(created),
        "wrapped_data_key": data_key.wrapped,
        "metadata": edit.metadata,
        "tags": edit.tags,
        "connection_config": edit.connection_config,
        "display_name": edit.display_name,
        "update_time": to_datetime(edit.update_time),
        "revision": edit.revision,
        "edit_part": wire.edit_part(wire.identity_fields(key, uid, put.provider, put.auth_mode, created), edit),
        **state_columns(imported_state(imported, generation=1)),
        **sealed_columns(data_key, imported.credentials, imported.raw),
    }


def imported_state(imported: ImportedCredentials, *, generation: int) -> CredentialState:
    """Return the state of a connection whose credentials were just imported."""
    return CredentialState(
        status=Status.ACTIVE,
        failure_reason=None,
        generation=generation,
        expires_at=imported.expires_at,
        refresh_due_at=imported.refresh_due_at,
        next_refresh_at=imported.next_refresh_at,
        last_refresh_at=None,
        last_failure_at=None,
        refresh_attempts=0,
        granted_scopes=imported.granted_scopes,
    )
