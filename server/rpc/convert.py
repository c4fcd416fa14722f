"""Domain values as messages of the contract, and responses put together from what is stored ready to send."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from connections.v1 import admin_service_pb2, integration_pb2, provider_pb2

from server import wire
from server.domain.model import ApiKey, ConnectionConfigField, Environment, Integration, ProviderInfo
from server.domain.ports import Rendered

_SUB_MESSAGE: Final = 2
CONNECTION_FIELD: Final = 1
"""`connection` in the responses that hold one, `connections` in a page of the list."""


def framed(field: int, message: bytes) -> bytes:
    """Return a serialised message as a field of another (protobuf wire format: tag, length, bytes)."""
    return varint(field << 3 | _SUB_MESSAGE) + varint(len(message)) + message


def varint(value: int) -> bytes:
    """Return a number as a base-128 varint."""
    if value < 0x80:
        return bytes((value,))
    if value < 0x4000:
        return bytes((value & 0x7F | 0x80, value >> 7))
    parts = bytearray()
    while value >= 0x80:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def page(connections: Iterable[Rendered], next_page_token: str) -> bytes:
    """Return a `ListConnectionsResponse`, serialised."""
    parts: list[bytes] = []
    for rendered in connections:
        parts.append(b"\x0a" + varint(len(rendered)))
        parts.append(rendered)
    if next_page_token:
        parts.append(framed(2, next_page_token.encode()))
    return b"".join(parts)


def integration(value: Integration) -> integration_pb2.Integration:
    """Return an integration, without its client secret."""
    return integration_pb2.Integration(
        provider_config_key=value.provider_config_key,
        uid=str(value.uid),
        provider=value.provider,
        auth_mode=wire.auth_mode_to_wire(value.auth_mode),
        display_name=value.display_name,
        client_id=value.client_id,
        client_secret_set=value.client_secret is not None,
        scopes=value.scopes,
        connection_config=wire.to_struct(value.connection_config),
        create_time=wire.to_timestamp(value.create_time),
        update_time=wire.to_timestamp(value.update_time),
        etag=wire.etag_of(value.revision),
    )


def provider(value: ProviderInfo) -> provider_pb2.Provider:
    """Return a provider template's public facts."""
    source = provider_pb2.PROVIDER_SOURCE_OPERATOR if value.from_operator else provider_pb2.PROVIDER_SOURCE_CATALOGUE
    return provider_pb2.Provider(
        provider=value.name,
        display_name=value.display_name,
        auth_mode=wire.auth_mode_to_wire(value.auth_mode),
        categories=value.categories,
        docs_url=value.docs_url,
        authorization_url=value.authorization_url,
        token_url=value.token_url,
        default_scopes=value.default_scopes,
        connection_config_fields=[_config_field(field) for field in value.connection_config_fields],
        credential_fields=[_config_field(field) for field in value.credential_fields],
        source=source,
    )


def _config_field(field: ConnectionConfigField) -> provider_pb2.ConnectionConfigField:
    return provider_pb2.ConnectionConfigField(
        name=field.name,
        title=field.title,
        description=field.description,
        example=field.example,
        pattern=field.pattern,
        optional=field.optional,
    )


def environment(value: Environment) -> admin_service_pb2.Environment:
    """Return an environment."""
    return admin_service_pb2.Environment(
        name=value.name, uid=str(value.environment_id), create_time=wire.to_timestamp(value.create_time)
    )


def api_key(value: ApiKey) -> admin_service_pb2.ApiKey:
    """Return what is known about an API key."""
    message = admin_service_pb2.ApiKey(
        api_key_id=str(value.api_key_id),
        environment=value.environment,
        display_name=value.display_name,
        admin=value.admin,
        suffix=value.suffix,
        create_time=wire.to_timestamp(value.create_time),
    )
    if value.expire_time is not None:
        message.expire_time.CopyFrom(wire.to_timestamp(value.expire_time))
    return message
