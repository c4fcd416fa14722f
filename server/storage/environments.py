"""The environments aggregate: environments, their encryption keys, their API keys."""

from __future__ import annotations

import hmac
import uuid
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from server.crypto.data_keys import DataKeys
from server.domain.errors import EnvironmentAlreadyExists, NotFound
from server.domain.model import ApiKey, Environment, Principal
from server.storage.engine import from_datetime, to_datetime, transaction
from server.storage.tables import api_keys, environment_keys, environments


class PostgresEnvironmentKeyStore:
    """Implements `crypto.data_keys.EnvironmentKeyStore`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def environment_keys(self, environment_id: UUID) -> dict[int, bytes]:
        """Return the wrapped keys of an environment by version, empty if it does not exist."""
        query = sa.select(environment_keys.c.version, environment_keys.c.wrapped_key).where(
            environment_keys.c.environment_id == environment_id
        )
        async with transaction(self._engine) as connection:
            return {row.version: row.wrapped_key for row in await connection.execute(query)}


class PostgresEnvironmentStore:
    """Implements `domain.ports.EnvironmentStore`."""

    def __init__(self, engine: AsyncEngine, keys: DataKeys) -> None:
        self._engine = engine
        self._keys = keys

    async def create(self, name: str, *, now: float) -> Environment:
        """Create an environment and its encryption key. Raises `EnvironmentAlreadyExists`."""
        environment = Environment(uuid.uuid4(), name, now)
        wrapped = await self._keys.wrap_environment_key(environment.environment_id)
        created = to_datetime(now)
        async with transaction(self._engine) as connection:
            try:
                await connection.execute(
                    sa.insert(environments).values(
                        environment_id=environment.environment_id, name=name, create_time=created
                    )
                )
            except sa.exc.IntegrityError as error:
                raise EnvironmentAlreadyExists(
                    f"environment {name!r} exists already", metadata={"environment": name}
                ) from error
            await connection.execute(
                sa.insert(environment_keys).values(
                    environment_id=environment.environment_id, version=1, wrapped_key=wrapped, create_time=created
                )
            )
        return environment

    async def all(self) -> Sequence[Environment]:
        """Return the environments by name."""
        async with transaction(self._engine) as connection:
            rows = await connection.execute(sa.select(environments).order_by(environments.c.name))
            return [_environment(row) for row in rows]

    async def by_name(self, name: str) -> Environment:
        """Return an environment. Raises `NotFound`."""
        async with transaction(self._engine) as connection:
            query = sa.select(environments).where(environments.c.name == name)
            row = (await connection.execute(query)).one_or_none()
        if row is None:
            raise NotFound.environment(name)
        return _environment(row)

    async def add_api_key(self, key: ApiKey, key_hash: bytes) -> None:
        """Store what is known about a new key."""
        async with transaction(self._engine) as connection:
            await connection.execute(
                sa.insert(api_keys).values(
                    environment_id=key.environment_id,
                    api_key_id=key.api_key_id,
                    key_hash=key_hash,
                    display_name=key.display_name,
                    admin=key.admin,
                    suffix=key.suffix,
                    create_time=to_datetime(key.create_time),
                    expire_time=to_datetime(key.expire_time),
                )
            )

    async def api_keys(self, environment: Environment) -> Sequence[ApiKey]:
        """Return the environment's keys, newest first."""
        query = (
            sa.select(api_keys)
            .where(api_keys.c.environment_id == environment.environment_id)
            .order_by(api_keys.c.create_time.desc(), api_keys.c.api_key_id)
        )
        async with transaction(self._engine) as connection:
            return [
                ApiKey(
                    api_key_id=row.api_key_id,
                    environment_id=row.environment_id,
                    environment=environment.name,
                    display_name=row.display_name,
                    admin=row.admin,
                    suffix=row.suffix,
                    create_time=row.create_time.timestamp(),
                    expire_time=from_datetime(row.expire_time),
                )
                for row in await connection.execute(query)
            ]

    async def delete_api_key(self, environment: Environment, api_key_id: UUID) -> None:
        """Revoke a key. Raises `NotFound`."""
        statement = sa.delete(api_keys).where(
            api_keys.c.environment_id == environment.environment_id, api_keys.c.api_key_id == api_key_id
        )
        async with transaction(self._engine) as connection:
            if not (await connection.execute(statement)).rowcount:
                raise NotFound.api_key(str(api_key_id))

    async def find_api_key(self, environment_id: UUID, key_hash: bytes) -> tuple[Principal, float | None] | None:
        """Return whose key has this hash and when it expires, None if there is none."""
        query = (
            sa.select(api_keys, environments.c.name)
            .join(environments, environments.c.environment_id == api_keys.c.environment_id)
            .where(api_keys.c.environment_id == environment_id, api_keys.c.key_hash == key_hash)
        )
        async with transaction(self._engine) as connection:
            row = (await connection.execute(query)).one_or_none()
        if row is None or not hmac.compare_digest(row.key_hash, key_hash):
            return None
        principal = Principal(row.api_key_id, row.environment_id, row.name, row.admin)
        return principal, from_datetime(row.expire_time)


def _environment(row: Any) -> Environment:
    return Environment(row.environment_id, row.name, row.create_time.timestamp())
