"""Use cases on connections that need no provider: list, import, edit. Reading and refreshing is `refresh`."""

from __future__ import annotations

import dataclasses
import random
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from server.domain import rules
from server.domain.clock import Clock
from server.domain.errors import InvalidRequest, NotFound, Violation
from server.domain.lifetime import DEFAULT_MARGIN, when_due
from server.domain.merge_patch import merge_patch
from server.domain.model import (
    AuthMode,
    ConnectionEdit,
    ConnectionKey,
    Credentials,
    Integration,
    ListFilter,
    ListPosition,
    OAuth2ClientCredentials,
    OAuth2Credentials,
    RawResponse,
    expires_at_of,
)
from server.domain.ports import (
    ConnectionImport,
    ConnectionStore,
    ImportedCredentials,
    IntegrationStore,
    ListedConnection,
    Providers,
    Rendered,
)

_FETCH: Final = 1000
"""Rows per query of a list, whatever the page size: round trips cost more than rows."""
_FIRST_FETCH: Final = 100
"""Rows of the first query, which shows how large they are."""
_FETCH_BYTES: Final = 8 << 20
_PAGE_BYTES: Final = 2 << 20
_CLOCK_SKEW: Final = 60.0
"""Seconds by which a caller's clock may be ahead of ours before a time of its counts as the future."""


@dataclass(frozen=True, slots=True)
class NewConnection:
    """What a caller gives to `import_connection`. None: left out."""

    key: ConnectionKey
    credentials: Credentials | None = None
    raw: RawResponse | None = None
    connection_config: Mapping[str, Any] | None = None
    metadata: Mapping[str, Any] | None = None
    tags: Mapping[str, str] | None = None
    display_name: str | None = None
    create_time: float | None = None


class Connections:
    """The use cases. Holds no state of its own."""

    def __init__(
        self,
        store: ConnectionStore,
        integrations: IntegrationStore,
        providers: Providers,
        clock: Clock,
        *,
        refresh_margin: float = DEFAULT_MARGIN,
    ) -> None:
        self._store = store
        self._integrations = integrations
        self._providers = providers
        self._clock = clock
        self._refresh_margin = refresh_margin

    async def pages(
        self, environment_id: UUID, where: ListFilter, *, after: ListPosition | None, size: int, limit: int
    ) -> AsyncIterator[tuple[Sequence[ListedConnection], bool]]:
        """Yield pages of up to `size` connections, newest first, each with whether more follow; at least one page.

        A page of large connections has fewer: clients refuse messages of more than 4 MiB unless told otherwise.

        `limit` ends the list after so many, 0 for all. No database connection is held between pages.
        """
        left = limit or None
        rows: list[ListedConnection] = []
        held = 0
        fetch = _FIRST_FETCH
        exhausted = False
        while True:
            wanted = size if left is None else min(size, left)
            # One row more than is shown tells whether anything follows.
            while len(rows) <= wanted and held <= _PAGE_BYTES and not exhausted:
                fetch = fetch if left is None else min(fetch, left + 1)
                more = await self._store.page(environment_id, where, after, fetch)
                exhausted = len(more) < fetch
                if more:
                    after = more[-1].position
                    fetched = sum(len(row.rendered) for row in more)
                    held += fetched
                    # As many as fit into the memory that a list may take, by what these took.
                    fetch = max(1, min(_FETCH, _FETCH_BYTES * len(more) // fetched))
                rows.extend(more)
            count, taken = 0, 0
            while count < min(wanted, len(rows)) and (count == 0 or taken + len(rows[count].rendered) <= _PAGE_BYTES):
                taken += len(rows[count].rendered)
                count += 1
            page, rows = rows[:count], rows[count:]
            held -= taken
            if left is not None:
                left -= len(page)
            unfinished = bool(rows) or not exhausted
            yield page, unfinished
            if not unfinished or left == 0:
                return

    async def import_connection(self, new: NewConnection, *, etag: int | None = None) -> tuple[Rendered, bool]:
        """Create or update a connection; return it and whether it was created.

        Raises `InvalidRequest` if the template says that it cannot work, `NotFound`, `EtagMismatch`.
        """
        integration = await self._integrations.get(new.key.environment_id, new.key.provider_config_key)
        missing = self._check(integration, new)
        now = self._clock.now()
        if new.create_time is not None and new.create_time > now + _CLOCK_SKEW:
            raise InvalidRequest([Violation("create_time", "is in the future")])
        return await self._store.put(
            ConnectionImport(
                key=new.key,
                provider=integration.provider,
                auth_mode=integration.auth_mode,
                imported=None if new.credentials is None else self._imported(integration, new, now),
                connection_config=new.connection_config,
                metadata=new.metadata,
                tags=new.tags,
                display_name=new.display_name,
                create_time=new.create_time,
                missing=missing,
            ),
            etag=etag,
            now=now,
        )

    def _check(self, integration: Integration, new: NewConnection) -> list[Violation]:
        """Refuse what can never work; return what an existing connection may have already, but a new one lacks."""
        if self._providers.info(integration.provider) is None:
            raise NotFound.provider(integration.provider)
        found = rules.Violations()
        missing = []
        if new.credentials is None and integration.auth_mode is not AuthMode.NONE:
            missing.append(Violation("credentials", "is required for a new connection"))
        config = {**(new.connection_config or {}), **integration.connection_config}
        for violation in self._providers.check_connection(integration.provider, new.credentials, config):
            if new.connection_config is None and violation.field.startswith("connection_config"):
                missing.append(violation)
            else:
                found.extend([violation])
        found.raise_if_any()
        return missing

    def _imported(self, integration: Integration, new: NewConnection, now: float) -> ImportedCredentials:
        credentials = new.credentials
        assert credentials is not None
        expires_at = expires_at_of(credentials)
        if expires_at is None:
            token = getattr(credentials, "access_token", None)
            if token:
                expires_at = self._providers.assumed_expiry(integration.provider, token, now=now)
        missing = isinstance(credentials, OAuth2ClientCredentials) and not credentials.access_token
        if missing:
            # There is no token yet: the first read obtains one.
            expires_at = now
        due = when_due(
            expires_at=expires_at,
            refreshable=self._providers.is_refreshable(integration.auth_mode, credentials),
            facts=self._providers.facts(integration.provider),
            now=now,
            jitter=random.random(),  # noqa: S311 (spreads load, keeps no secret)
            margin=self._refresh_margin,
        )
        if isinstance(credentials, OAuth2Credentials | OAuth2ClientCredentials):
            credentials = dataclasses.replace(credentials, expires_at=expires_at)
        return ImportedCredentials(
            credentials=credentials,
            raw=new.raw,
            granted_scopes=getattr(credentials, "scopes", ()),
            expires_at=expires_at,
            refresh_due_at=due.refresh_due_at,
            next_refresh_at=due.next_refresh_at,
        )

    async def set_metadata(
        self, key: ConnectionKey, metadata: Mapping[str, Any], *, etag: int | None = None
    ) -> Rendered:
        """Replace the metadata. Raises `NotFound`, `EtagMismatch`."""
        return await self._edit(key, lambda edit: dataclasses.replace(edit, metadata=metadata), etag)

    async def merge_metadata(
        self, key: ConnectionKey, patch: Mapping[str, Any], *, etag: int | None = None
    ) -> Rendered:
        """Merge an RFC 7396 patch. Raises `NotFound`, `EtagMismatch`, `InvalidRequest` if the result is too large."""

        def merge(edit: ConnectionEdit) -> ConnectionEdit:
            merged = merge_patch(edit.metadata, patch)
            violations = rules.Violations()
            violations.check(rules.json_object, "metadata", merged)
            violations.raise_if_any()
            return dataclasses.replace(edit, metadata=merged)

        return await self._edit(key, merge, etag)

    async def set_tags(self, key: ConnectionKey, tags: Mapping[str, str], *, etag: int | None = None) -> Rendered:
        """Replace the tags. Raises `NotFound`, `EtagMismatch`."""
        return await self._edit(key, lambda edit: dataclasses.replace(edit, tags=tags), etag)

    async def update(
        self,
        key: ConnectionKey,
        *,
        connection_config: Mapping[str, Any] | None = None,
        config_patch: Mapping[str, Any] | None = None,
        display_name: str | None = None,
        etag: int | None = None,
    ) -> Rendered:
        """Change connection config and display name; None keeps either. `config_patch` sets single keys, None removes.

        Raises `NotFound`, `EtagMismatch`, `InvalidRequest` if the template says that the new config cannot work.
        """
        integration = await self._integrations.get(key.environment_id, key.provider_config_key)

        def change(edit: ConnectionEdit) -> ConnectionEdit:
            config = dict(edit.connection_config if connection_config is None else connection_config)
            for name, value in (config_patch or {}).items():
                config.pop(name, None)
                if value is not None:
                    config[name] = value
            if config != edit.connection_config:
                self._check_config(integration, config)
            return dataclasses.replace(
                edit,
                connection_config=config,
                display_name=edit.display_name if display_name is None else display_name,
            )

        return await self._edit(key, change, etag)

    def _check_config(self, integration: Integration, config: Mapping[str, Any]) -> None:
        violations = rules.Violations()
        violations.check(rules.json_object, "connection.connection_config", config)
        violations.extend(
            Violation(f"connection.{violation.field}", violation.description)
            for violation in self._providers.check_connection(
                integration.provider, None, {**config, **integration.connection_config}
            )
            if violation.field.startswith("connection_config")
        )
        violations.raise_if_any()

    async def _edit(
        self, key: ConnectionKey, edit: Callable[[ConnectionEdit], ConnectionEdit], etag: int | None
    ) -> Rendered:
        now = self._clock.now()

        def revise(present: ConnectionEdit) -> ConnectionEdit:
            return dataclasses.replace(edit(present), update_time=now, revision=present.revision + 1)

        return await self._store.edit(key, revise, etag=etag)


def new_connection_id() -> str:
    """Return a name for a connection whose caller gave none."""
    return str(uuid.uuid4())
