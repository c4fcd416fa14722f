"""`ConnectionService`: validates, converts, calls one use case, converts back."""

from __future__ import annotations

import asyncio
from typing import Final

from connections.v1 import connection_pb2, connection_service_pb2

from server import wire
from server.domain import rules
from server.domain.connections import Connections, NewConnection, new_connection_id
from server.domain.errors import EtagMismatch, ServiceError, ShuttingDown
from server.domain.model import ConnectionKey, NoCredentials, RawResponse, Revocation
from server.domain.ports import Rendered
from server.refresh.deletion import Deletion
from server.refresh.reading import ForceOutcome, Reader
from server.rpc import convert, validate
from server.rpc.call import Call
from server.rpc.page_token import PageTokens, position_from_bytes, position_to_bytes
from server.rpc.status import to_status

_BASIC: Final = connection_service_pb2.CONNECTION_VIEW_BASIC
_BATCH_PARALLEL: Final = 16
_PURPOSE: Final = "connections"
_OUTCOMES: Final = {
    ForceOutcome.REFRESHED: connection_service_pb2.REFRESH_OUTCOME_REFRESHED,
    ForceOutcome.SHARED: connection_service_pb2.REFRESH_OUTCOME_SHARED,
}
_REVOCATIONS: Final = {
    Revocation.NOT_REQUESTED: connection_service_pb2.REVOCATION_OUTCOME_NOT_REQUESTED,
    Revocation.REVOKED: connection_service_pb2.REVOCATION_OUTCOME_REVOKED,
    Revocation.NOT_SUPPORTED: connection_service_pb2.REVOCATION_OUTCOME_NOT_SUPPORTED,
    Revocation.FAILED: connection_service_pb2.REVOCATION_OUTCOME_FAILED,
}


class ConnectionService:
    """The servicer. Responses are bytes where they are stored ready to send."""

    def __init__(
        self, reader: Reader, connections: Connections, deletion: Deletion, tokens: PageTokens, stopping: asyncio.Event
    ) -> None:
        self._reader = reader
        self._connections = connections
        self._deletion = deletion
        self._tokens = tokens
        self._stopping = stopping

    async def GetConnection(self, request: connection_service_pb2.GetConnectionRequest, call: Call) -> bytes:
        """Return a connection with credentials that are valid now."""
        key = validate.fast_key(call.caller.environment_id, request.provider_config_key, request.connection_id)
        _name(call, key)
        min_ttl = 0.0
        if request.view not in (0, 2) or request.HasField("min_ttl"):
            found = rules.Violations()
            validate.view(found, request.view)
            min_ttl = validate.min_ttl(found, request.min_ttl)
            found.raise_if_any()
            if request.view == _BASIC:
                return convert.framed(convert.CONNECTION_FIELD, await self._reader.basic(key))
        rendered = await self._reader.get(
            key,
            min_ttl=min_ttl,
            deadline=call.deadline,
            include_refresh_token=request.include_refresh_token,
        )
        return convert.framed(convert.CONNECTION_FIELD, rendered)

    async def BatchGetConnections(
        self, request: connection_service_pb2.BatchGetConnectionsRequest, call: Call
    ) -> bytes:
        """Return connections, each with its own outcome."""
        found = rules.Violations()
        if not 1 <= len(request.keys) <= rules.MAX_BATCH:
            found.add("keys", f"has {len(request.keys)} keys; 1 to {rules.MAX_BATCH} are allowed")
        full = validate.view(found, request.view)
        min_ttl = validate.min_ttl(found, request.min_ttl)
        keys: list[ConnectionKey] = []
        for index, named in enumerate(request.keys[: rules.MAX_BATCH]):
            found.check(rules.name, f"keys[{index}].provider_config_key", named.provider_config_key)
            found.check(rules.name, f"keys[{index}].connection_id", named.connection_id)
            keys.append(ConnectionKey(call.caller.environment_id, named.provider_config_key, named.connection_id))
        if len(set(keys)) < len(keys):
            found.add("keys", "names a connection twice")
        found.raise_if_any()
        call.fields["keys"] = len(keys)

        async def read(key: ConnectionKey) -> bytes:
            result = connection_service_pb2.BatchGetConnectionsResult(
                key=connection_service_pb2.ConnectionKey(
                    provider_config_key=key.provider_config_key, connection_id=key.connection_id
                )
            )
            try:
                async with gate:
                    if full:
                        rendered = await self._reader.get(
                            key,
                            min_ttl=min_ttl,
                            deadline=call.deadline,
                            include_refresh_token=request.include_refresh_token,
                        )
                    else:
                        rendered = await self._reader.basic(key)
            except ServiceError as error:
                result.status.CopyFrom(to_status(error))
                return result.SerializeToString()
            return result.SerializeToString() + convert.framed(2, rendered)

        gate = asyncio.Semaphore(_BATCH_PARALLEL)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(read(key)) for key in keys]
        return b"".join(convert.framed(1, task.result()) for task in tasks)

    async def ListConnections(self, request: connection_service_pb2.ListConnectionsRequest, call: Call) -> None:
        """Send pages of connections."""
        where = validate.list_filter(request)
        environment_id = call.caller.environment_id
        size = rules.coerce_page_size(request.page_size)
        after = None
        fingerprint = where.fingerprint()
        if request.page_token:
            after = position_from_bytes(
                await self._tokens.read(environment_id, _PURPOSE, fingerprint, request.page_token)
            )
        assert call.send is not None
        pages = self._connections.pages(environment_id, where, after=after, size=size, limit=request.limit)
        async for rows, more in pages:
            token = ""
            if more:
                token = await self._tokens.make(
                    environment_id, _PURPOSE, fingerprint, position_to_bytes(rows[-1].position)
                )
            await call.send(convert.page((row.rendered for row in rows), token))
            if more and self._stopping.is_set():
                # Not OK, which would read as a complete list: the token just sent lets the caller go on elsewhere.
                raise ShuttingDown("the server is shutting down; go on with the last page token", retry_after=0.1)

    async def CreateConnection(self, request: connection_service_pb2.CreateConnectionRequest, call: Call) -> bytes:
        """Import or update a connection."""
        found = rules.Violations()
        connection_id = request.connection_id or new_connection_id()
        key = ConnectionKey(call.caller.environment_id, request.provider_config_key, connection_id)
        found.check(rules.name, "provider_config_key", request.provider_config_key)
        found.check(rules.name, "connection_id", connection_id)
        etag = validate.etag(found, request.etag)
        credentials = None
        raw = None
        if request.HasField("credentials"):
            validate.credentials(found, request.credentials)
            credentials = wire.credentials_from_wire(request.credentials) or NoCredentials()
            if request.credentials.HasField("raw"):
                raw = RawResponse(rules.normalise_json(wire.from_struct(request.credentials.raw)))
        config = (
            validate.json_object(found, "connection_config", request.connection_config)
            if request.HasField("connection_config")
            else None
        )
        metadata = validate.json_object(found, "metadata", request.metadata) if request.HasField("metadata") else None
        tags = validate.tags_of(found, "tags", request.tags.tags) if request.HasField("tags") else None
        display_name = request.display_name if request.HasField("display_name") else None
        found.check(rules.text, "display_name", display_name or "")
        create_time = None
        if request.HasField("create_time"):
            create_time = validate.instant(found, "create_time", request.create_time)
        found.raise_if_any()
        _name(call, key)
        rendered, created = await self._connections.import_connection(
            NewConnection(
                key=key,
                credentials=credentials,
                raw=raw,
                connection_config=config,
                metadata=metadata,
                tags=tags,
                display_name=display_name,
                create_time=create_time,
            ),
            etag=etag,
        )
        tail = connection_service_pb2.CreateConnectionResponse(created=created)
        return convert.framed(convert.CONNECTION_FIELD, rendered) + tail.SerializeToString()

    async def UpdateConnection(self, request: connection_service_pb2.UpdateConnectionRequest, call: Call) -> bytes:
        """Change connection config and display name."""
        found = rules.Violations()
        key = validate.connection_key(found, call.caller.environment_id, request)
        etag = validate.etag(found, request.etag)
        if not request.HasField("connection"):
            found.add("connection", "is required")
        paths = validate.mask(
            found,
            request.update_mask.paths or ("*",),
            ("connection_config", "display_name"),
            prefix="connection_config.",
        )
        config = validate.json_object(found, "connection.connection_config", request.connection.connection_config)
        found.check(rules.text, "connection.display_name", request.connection.display_name)
        found.raise_if_any()
        _name(call, key)
        single = {path.partition(".")[2] for path in paths if path.startswith("connection_config.")}
        rendered = await self._connections.update(
            key,
            connection_config=config if "connection_config" in paths else None,
            config_patch={name: config.get(name) for name in single},
            display_name=request.connection.display_name if "display_name" in paths else None,
            etag=etag,
        )
        return _connection(rendered)

    async def DeleteConnection(
        self, request: connection_service_pb2.DeleteConnectionRequest, call: Call
    ) -> connection_service_pb2.DeleteConnectionResponse:
        """Remove a connection for good."""
        found = rules.Violations()
        key = validate.connection_key(found, call.caller.environment_id, request)
        etag = validate.etag(found, request.etag)
        found.raise_if_any()
        _name(call, key)
        outcome = await self._deletion.delete(key, etag=etag, revoke=request.revoke, deadline=call.deadline)
        return connection_service_pb2.DeleteConnectionResponse(revocation=_REVOCATIONS[outcome])

    async def SetMetadata(self, request: connection_service_pb2.SetMetadataRequest, call: Call) -> bytes:
        """Replace the metadata."""
        key, etag, metadata = self._metadata(request, call)
        return _connection(await self._connections.set_metadata(key, metadata, etag=etag))

    async def UpdateMetadata(self, request: connection_service_pb2.UpdateMetadataRequest, call: Call) -> bytes:
        """Merge a patch into the metadata."""
        key, etag, patch = self._metadata(request, call)
        return _connection(await self._connections.merge_metadata(key, patch, etag=etag))

    def _metadata(
        self,
        request: connection_service_pb2.SetMetadataRequest | connection_service_pb2.UpdateMetadataRequest,
        call: Call,
    ) -> tuple[ConnectionKey, int | None, dict[str, object]]:
        found = rules.Violations()
        key = validate.connection_key(found, call.caller.environment_id, request)
        etag = validate.etag(found, request.etag)
        if not request.HasField("metadata"):
            found.add("metadata", "is required")
        metadata = validate.json_object(found, "metadata", request.metadata)
        found.raise_if_any()
        _name(call, key)
        return key, etag, metadata

    async def UpdateTags(self, request: connection_service_pb2.UpdateTagsRequest, call: Call) -> bytes:
        """Replace the tags."""
        found = rules.Violations()
        key = validate.connection_key(found, call.caller.environment_id, request)
        etag = validate.etag(found, request.etag)
        tags = validate.tags_of(found, "tags", request.tags)
        found.raise_if_any()
        _name(call, key)
        return _connection(await self._connections.set_tags(key, tags, etag=etag))

    async def ForceRefresh(self, request: connection_service_pb2.ForceRefreshRequest, call: Call) -> bytes:
        """Obtain new credentials now."""
        found = rules.Violations()
        key = validate.connection_key(found, call.caller.environment_id, request)
        full = validate.view(found, request.view)
        etag = validate.etag(found, request.etag)
        found.raise_if_any()
        _name(call, key)
        if etag is not None:
            present = connection_pb2.Connection.FromString(await self._reader.basic(key))
            if present.etag != wire.etag_of(etag):
                raise EtagMismatch(present.etag)
        forced = await self._reader.force(
            key, deadline=call.deadline, include_refresh_token=request.include_refresh_token
        )
        tail = connection_service_pb2.ForceRefreshResponse(
            outcome=_OUTCOMES[forced.outcome], previous_generation=forced.previous_generation
        )
        if forced.expires_at is not None:
            tail.credentials_expire_time.CopyFrom(wire.to_timestamp(forced.expires_at))
        rendered = forced.rendered if full else await self._reader.basic(key)
        return _connection(rendered) + tail.SerializeToString()


def _connection(rendered: Rendered) -> bytes:
    return convert.framed(convert.CONNECTION_FIELD, rendered)


def _name(call: Call, key: ConnectionKey) -> None:
    call.fields["provider_config_key"] = key.provider_config_key
    call.fields["connection_id"] = key.connection_id
