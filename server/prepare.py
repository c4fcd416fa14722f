"""What has to be there before the server can serve: a database with this release's schema, a keyring, a first key."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Final, Self

import sqlalchemy as sa

from server.config import Config
from server.crypto.data_keys import DataKeys
from server.crypto.keyring import EnvelopeError, Keyring, KeyringError, new_keyring
from server.domain.api_keys import ApiKeys, Authenticator
from server.domain.errors import EnvironmentAlreadyExists
from server.storage import migrate as migrations
from server.storage.clock import DatabaseClock
from server.storage.embedded import EmbeddedPostgres
from server.storage.engine import DatabaseSettings, create_engine
from server.storage.environments import PostgresEnvironmentKeyStore, PostgresEnvironmentStore
from server.telemetry import log

DEV_ENVIRONMENT: Final = "dev"


class StartError(Exception):
    """The server cannot start; the text says why and what to do."""


class Database:
    """Where this process finds Postgres: the one that is named, or the embedded one, which lives as long as this does."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._embedded: EmbeddedPostgres | None = None
        self.url = ""

    @property
    def embedded(self) -> bool:
        """Whether the embedded Postgres is used."""
        return self._config.database_url is None

    def __enter__(self) -> Self:
        if self._config.database_url is not None:
            self.url = self._config.database_url.reveal()
        else:
            self._config.data_dir.mkdir(parents=True, exist_ok=True)
            self._embedded = EmbeddedPostgres(self._config.data_dir / "postgres")
            self.url = self._embedded.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._embedded is not None:
            self._embedded.stop()

    def keyring(self) -> str:
        """Return the keyring's text; the embedded default makes its own, readable by its owner alone."""
        if self._config.keyring is not None:
            return self._config.keyring.reveal()
        if not self.embedded:
            raise StartError("CONNECTIONS_KEYRING is missing; make one with `connections keyring new`")
        path = self._config.data_dir / "keyring.json"
        if not path.exists():
            _write_private(path, new_keyring())
            log.get().warning(
                "keyring_made", path=str(path), next_step="keep a copy: without it nothing stored can be read"
            )
        return path.read_text()


def _write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    partial = path.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)


def open_keyring(text: str) -> Keyring:
    """Return the keyring of a text. Raises `StartError`."""
    try:
        return Keyring.parse(text)
    except KeyringError as error:
        raise StartError(f"CONNECTIONS_KEYRING: {error}") from error


async def verify_keys(keys: DataKeys, environments: PostgresEnvironmentStore) -> None:
    """See that the keyring opens every environment's key. Raises `StartError`."""
    try:
        for environment in await environments.all():
            await keys.verify(environment.environment_id)
    except (KeyringError, EnvelopeError) as error:
        raise StartError(
            f"the keyring does not open what this database holds: {error}; start with the keyring it was written with"
        ) from error


def check_schema(url: str) -> None:
    """See that the database has this release's schema, or a later one. Raises `StartError`."""
    try:
        current, head = migrations.current(url), migrations.head()
    except sa.exc.OperationalError as error:
        raise StartError("the database cannot be reached: check CONNECTIONS_DATABASE_URL") from error
    if current is None or current < head:
        raise StartError(
            f"the database's schema is {current or 'empty'}, this release needs {head}: run `connections migrate`"
        )


def migrate(config: Config) -> None:
    """Bring the database to this release's schema. Raises `StartError`."""
    log.configure(config.log_level, config.log_format)
    with Database(config) as database:
        try:
            migrations.upgrade(database.url)
        except sa.exc.OperationalError as error:
            raise StartError("the database cannot be reached: check CONNECTIONS_DATABASE_URL") from error


def bootstrap(config: Config, environment: str) -> str:
    """Create an environment and its first admin key; return the key. Raises `StartError` if the environment exists."""
    log.configure(config.log_level, config.log_format)
    with Database(config) as database:
        keyring = database.keyring()
        check_schema(database.url)
        return asyncio.run(_create_environment(database.url, keyring, environment))


async def _create_environment(url: str, keyring: str, name: str) -> str:
    engine = create_engine(DatabaseSettings(url, pool_size=1))
    try:
        keys = DataKeys(open_keyring(keyring), PostgresEnvironmentKeyStore(engine))
        environments = PostgresEnvironmentStore(engine, keys)
        await verify_keys(keys, environments)
        clock = DatabaseClock(engine)
        await clock.set()
        try:
            environment = await environments.create(name, now=clock.now())
        except EnvironmentAlreadyExists as error:
            raise StartError(f"{error.message}; `connections keys create` makes more keys") from error
        api_keys = ApiKeys(environments, clock, Authenticator(environments, clock))
        _, secret = await api_keys.create(environment, display_name="bootstrap", admin=True)
        return secret.reveal()
    finally:
        await engine.dispose()


def first_start(config: Config, url: str, keyring: str) -> None:
    """On the embedded default: make the environment `dev` and an admin key, kept in `dev.key`."""
    path = config.data_dir / "dev.key"
    address = config.grpc_address
    if not path.exists():
        try:
            key = asyncio.run(_create_environment(url, keyring, DEV_ENVIRONMENT))
        except StartError as error:
            raise StartError(
                f"{path} is gone, but its environment exists: restore the file, or remove {config.data_dir} to start anew"
            ) from error
        _write_private(path, key + "\n")
        print(  # noqa: T201 (shown once, to the person who started it)
            f"\nThe environment `dev` is ready. Its API key, kept in {path}:\n\n    {key}\n", flush=True
        )
    print(  # noqa: T201
        "To try it, in another terminal:\n\n"
        "    .venv/bin/connections providers list\n"
        f'    grpcurl -plaintext -H "authorization: Bearer $(cat {path})" {address} '
        "connections.v1.ProviderService/ListProviders\n",
        flush=True,
    )
