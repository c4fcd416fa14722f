"""What the use cases ask of the outside. `storage`, `providers` and `crypto` implement these."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NewType, Protocol
from uuid import UUID

from server.domain.errors import Reason, Violation
from server.domain.model import (
    ApiKey,
    AuthMode,
    ConnectionEdit,
    ConnectionKey,
    Credentials,
    Environment,
    Integration,
    ListFilter,
    ListPosition,
    Principal,
    ProviderFacts,
    ProviderInfo,
    RawResponse,
    Status,
)
from server.domain.secret import Secret

Rendered = NewType("Rendered", bytes)
"""A connection in the form in which it is returned: a serialised `connections.v1.Connection`."""


@dataclass(frozen=True, slots=True)
class StoredConnection:
    """What one SELECT brings for a read. `sealed` opens with `wrapped_data_key`; `basic` is everything but credentials."""

    key: ConnectionKey
    uid: UUID
    generation: int
    status: Status
    failure_reason: Reason | None
    expires_at: float | None
    refresh_due_at: float | None
    basic: Rendered
    wrapped_data_key: bytes = field(repr=False)
    sealed: bytes = field(repr=False)


class ListedConnection(Protocol):
    """One row of a list."""

    @property
    def rendered(self) -> Rendered:
        """The connection without credentials."""
        ...

    @property
    def position(self) -> ListPosition:
        """Where the list stands after it."""
        ...


@dataclass(frozen=True, slots=True)
class ImportedCredentials:
    """Credentials obtained elsewhere, and when they are due (see `lifetime.when_due`)."""

    credentials: Credentials
    raw: RawResponse | None
    granted_scopes: tuple[str, ...]
    expires_at: float | None
    refresh_due_at: float | None
    next_refresh_at: float | None


@dataclass(frozen=True, slots=True)
class ConnectionImport:
    """What an import writes. None keeps what an existing connection has; `missing` says what a new one would lack."""

    key: ConnectionKey
    provider: str
    auth_mode: AuthMode
    imported: ImportedCredentials | None
    connection_config: Mapping[str, Any] | None
    metadata: Mapping[str, Any] | None
    tags: Mapping[str, str] | None
    display_name: str | None
    create_time: float | None
    missing: Sequence[Violation] = ()


class ConnectionStore(Protocol):
    """Keeps connections. Every method raises `StorageUnavailable` if Postgres is away."""

    async def read(self, key: ConnectionKey) -> StoredConnection | None:
        """Return a connection by its key with one SELECT, None if there is none."""
        ...

    async def render(self, stored: StoredConnection) -> Rendered:
        """Return the connection with its credentials, without what refreshes. Raises `CredentialsUnreadable`."""
        ...

    async def render_with_refresh_token(self, key: ConnectionKey) -> Rendered | None:
        """Return the connection with everything that is stored, None if it is gone."""
        ...

    async def page(
        self, environment_id: UUID, where: ListFilter, after: ListPosition | None, size: int
    ) -> Sequence[ListedConnection]:
        """Return up to `size` connections after a position, newest first. Holds nothing open afterwards."""
        ...

    async def put(self, put: ConnectionImport, *, etag: int | None, now: float) -> tuple[Rendered, bool]:
        """Create the connection, or update the one that has the key; return it and whether it was created.

        Raises `NotFound` (integration; connection, if `etag` is given), `EtagMismatch`, and `InvalidRequest` if a new
        connection lacks something.
        """
        ...

    async def edit(
        self, key: ConnectionKey, edit: Callable[[ConnectionEdit], ConnectionEdit], *, etag: int | None
    ) -> Rendered:
        """Apply `edit` to what callers edit, atomically, and return the connection. `edit` may raise.

        Raises `NotFound` and `EtagMismatch`.
        """
        ...

    async def delete(self, key: ConnectionKey, *, etag: int | None) -> None:
        """Remove the connection and all its data. Raises `NotFound` and `EtagMismatch`."""
        ...


@dataclass(frozen=True, slots=True)
class IntegrationChange:
    """What an update changes; None keeps what is stored. `client_secret` empty removes it."""

    display_name: str | None = None
    client_id: str | None = None
    client_secret: Secret | None = None
    scopes: tuple[str, ...] | None = None
    connection_config: Mapping[str, Any] | None = None


class IntegrationStore(Protocol):
    """Keeps integrations."""

    async def create(self, integration: Integration) -> None:
        """Store a new integration. Raises `IntegrationAlreadyExists`."""
        ...

    async def get(self, environment_id: UUID, provider_config_key: str) -> Integration:
        """Return an integration, its client secret open. Raises `NotFound`."""
        ...

    async def page(self, environment_id: UUID, after: str, size: int) -> Sequence[Integration]:
        """Return up to `size` integrations whose key follows `after`, by key, without their client secrets' values."""
        ...

    async def update(
        self,
        environment_id: UUID,
        provider_config_key: str,
        change: Callable[[Integration], Integration],
        *,
        etag: int | None,
    ) -> Integration:
        """Apply `change` atomically and return the integration. Raises `NotFound` and `EtagMismatch`."""
        ...

    async def delete(self, environment_id: UUID, provider_config_key: str, *, etag: int | None, force: bool) -> int:
        """Remove an integration and return how many connections went with it.

        Raises `NotFound`, `EtagMismatch`, and `IntegrationHasConnections` unless `force`.
        """
        ...


class EnvironmentStore(Protocol):
    """Keeps environments and their API keys."""

    async def create(self, name: str, *, now: float) -> Environment:
        """Create an environment and its encryption key. Raises `EnvironmentAlreadyExists`."""
        ...

    async def all(self) -> Sequence[Environment]:
        """Return the environments by name."""
        ...

    async def by_name(self, name: str) -> Environment:
        """Return an environment. Raises `NotFound`."""
        ...

    async def add_api_key(self, key: ApiKey, key_hash: bytes) -> None:
        """Store what is known about a new key."""
        ...

    async def api_keys(self, environment: Environment) -> Sequence[ApiKey]:
        """Return the environment's keys, newest first."""
        ...

    async def delete_api_key(self, environment: Environment, api_key_id: UUID) -> None:
        """Revoke a key. Raises `NotFound`."""
        ...

    async def find_api_key(self, environment_id: UUID, key_hash: bytes) -> tuple[Principal, float | None] | None:
        """Return whose key has this hash and when it expires, None if there is none."""
        ...


class Providers(Protocol):
    """The provider templates, as far as use cases need them."""

    def info(self, provider: str) -> ProviderInfo | None:
        """Return a template's public facts, None if there is no such template."""
        ...

    def all(self) -> Sequence[ProviderInfo]:
        """Return all templates by name."""
        ...

    def facts(self, provider: str) -> ProviderFacts:
        """Return a template's refresh facts."""
        ...

    def is_refreshable(self, auth_mode: AuthMode, credentials: Credentials) -> bool:
        """Return whether an exchange could bring new credentials in place of these."""
        ...

    def assumed_expiry(self, provider: str, access_token: Secret, *, now: float) -> float | None:
        """Return when a token expires whose expiry was not named: by the token itself or the template, None if unknown."""
        ...

    def check_integration(
        self,
        provider: str,
        client_id: str,
        client_secret: Secret | None,
        scopes: Sequence[str],
        connection_config: Mapping[str, Any],
    ) -> list[Violation]:
        """Return what the template says cannot work in an integration."""
        ...

    def check_connection(
        self, provider: str, credentials: Credentials | None, connection_config: Mapping[str, Any]
    ) -> list[Violation]:
        """Return what the template says cannot work in a connection. `connection_config` includes the integration's."""
        ...
