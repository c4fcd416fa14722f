"""Use cases on integrations."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from server.domain import rules
from server.domain.clock import Clock
from server.domain.errors import NotFound, Violation
from server.domain.model import Integration
from server.domain.ports import IntegrationChange, IntegrationStore, Providers
from server.domain.secret import Secret


@dataclass(frozen=True, slots=True)
class NewIntegration:
    """What a caller gives to create an integration."""

    provider_config_key: str
    provider: str
    display_name: str = ""
    client_id: str = ""
    client_secret: Secret | None = None
    scopes: tuple[str, ...] = ()
    connection_config: Mapping[str, Any] = dataclasses.field(default_factory=dict)


class Integrations:
    """The use cases. Holds no state of its own."""

    def __init__(self, store: IntegrationStore, providers: Providers, clock: Clock) -> None:
        self._store = store
        self._providers = providers
        self._clock = clock

    async def create(self, environment_id: UUID, new: NewIntegration) -> Integration:
        """Create an integration. Raises `IntegrationAlreadyExists`, `NotFound` (provider), `InvalidRequest`."""
        info = self._providers.info(new.provider)
        if info is None:
            raise NotFound.provider(new.provider)
        now = self._clock.now()
        integration = Integration(
            environment_id=environment_id,
            provider_config_key=new.provider_config_key,
            uid=uuid.uuid4(),
            provider=new.provider,
            auth_mode=info.auth_mode,
            display_name=new.display_name or info.display_name,
            client_id=new.client_id,
            client_secret=new.client_secret or None,
            scopes=new.scopes,
            connection_config=new.connection_config,
            create_time=now,
            update_time=now,
            revision=1,
        )
        self._check(integration)
        await self._store.create(integration)
        return integration

    async def get(self, environment_id: UUID, provider_config_key: str) -> Integration:
        """Return an integration. Raises `NotFound`."""
        return await self._store.get(environment_id, provider_config_key)

    async def page(self, environment_id: UUID, *, after: str, size: int) -> tuple[Sequence[Integration], bool]:
        """Return up to `size` integrations after a key, and whether more follow."""
        rows = await self._store.page(environment_id, after, size + 1)
        return rows[:size], len(rows) > size

    async def update(
        self, environment_id: UUID, provider_config_key: str, change: IntegrationChange, *, etag: int | None = None
    ) -> Integration:
        """Change an integration. Raises `NotFound`, `EtagMismatch`, `InvalidRequest`."""
        now = self._clock.now()

        def apply(present: Integration) -> Integration:
            changed = dataclasses.replace(present, update_time=now, revision=present.revision + 1)
            if change.display_name is not None:
                changed = dataclasses.replace(changed, display_name=change.display_name)
            if change.client_id is not None:
                changed = dataclasses.replace(changed, client_id=change.client_id)
            if change.client_secret is not None:
                changed = dataclasses.replace(changed, client_secret=change.client_secret or None)
            if change.scopes is not None:
                changed = dataclasses.replace(changed, scopes=change.scopes)
            if change.connection_config is not None:
                changed = dataclasses.replace(changed, connection_config=change.connection_config)
            self._check(changed)
            return changed

        return await self._store.update(environment_id, provider_config_key, apply, etag=etag)

    async def delete(
        self, environment_id: UUID, provider_config_key: str, *, etag: int | None = None, force: bool = False
    ) -> int:
        """Delete an integration; return how many connections went with it.

        Raises `NotFound`, `EtagMismatch`, and `IntegrationHasConnections` unless `force`.
        """
        return await self._store.delete(environment_id, provider_config_key, etag=etag, force=force)

    def _check(self, integration: Integration) -> None:
        violations = rules.Violations()
        violations.extend(
            Violation(
                violation.field if violation.field.startswith("integration.") else f"integration.{violation.field}",
                violation.description,
            )
            for violation in self._providers.check_integration(
                integration.provider,
                integration.client_id,
                integration.client_secret,
                integration.scopes,
                integration.connection_config,
            )
        )
        violations.raise_if_any()
