"""What has to be there before the server can serve: a database with this release's schema, a keyring, a first key."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Final, Self

import sqlalchemy as sa

from server.config import SETTINGS, Config, variable
from server.crypto.data_keys import DataKeys
from server.crypto.keyring import EnvelopeError, Keyring, KeyringError, new_keyring
from server.domain.api_keys import ApiKeys, Authenticator
from server.domain.errors import EnvironmentAlreadyExists, NotFound
from server.storage import migrate as migrations
from server.storage.clock import DatabaseClock
from server.storage.embedded import EmbeddedPostgres
from server.storage.engine import DatabaseSettings, create_engine
from server.storage.environments import PostgresEnvironmentKeyStore, PostgresEnvironmentStore
from server.telemetry import log

DEV_ENVIRONMENT: Final = "dev"


class StartError(Exception):
    """The server cannot start; the text says why and what to do."""


class DataDirectory:
    """The folder of the embedded default, for one process at a time.

    Two that shared the embedded Postgres would stop it under each other. The kernel releases the lock with the process,
    however that ends.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock: int | None = None

    def take(self) -> None:
        """Make the folder and lock it. Raises `StartError` if another process has it, or it cannot be written."""
        try:
            self._path.mkdir(parents=True, exist_ok=True)
            lock = os.open(self._path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StartError(
                f"the data directory {self._path} cannot be used ({error.strerror}): choose another with"
                " CONNECTIONS_DATA_DIR"
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(lock, 32).decode(errors="replace").strip()
            os.close(lock)
            raise StartError(
                f"the data directory {self._path} is in use by process {holder or 'unknown'}: stop that one first, or"
                " choose another folder with CONNECTIONS_DATA_DIR"
            ) from error
        os.ftruncate(lock, 0)
        os.write(lock, f"{os.getpid()}\n".encode())
        self._lock = lock

    def release(self) -> None:
        """Let others have it."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


class Database:
    """Where this process finds Postgres: the one that is named, or the embedded one, which lives as long as this does."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._directory = DataDirectory(config.data_dir)
        self._embedded: EmbeddedPostgres | None = None
        self.url = ""

    @property
    def _keyring_path(self) -> Path:
        return self._config.data_dir / "keyring.json"

    @property
    def embedded(self) -> bool:
        """Whether the embedded Postgres is used."""
        return self._config.database_url is None

    def __enter__(self) -> Self:
        if self._config.database_url is not None:
            self.url = self._config.database_url.reveal()
        else:
            self._directory.take()
            folder = self._config.data_dir / "postgres"
            # Only now: a new keyring beside an old database would hide that the right one is missing.
            if not folder.exists() and self._config.keyring is None and not self._keyring_path.exists():
                _write_private(self._keyring_path, new_keyring())
                log.get().warning(
                    "keyring_made",
                    path=str(self._keyring_path),
                    next_step="keep a copy: without it nothing stored can be read",
                )
            if not folder.exists():
                print(f"Making a Postgres in {folder}", file=sys.stderr, flush=True)  # noqa: T201 (it takes seconds)
            self._embedded = EmbeddedPostgres(folder)
            try:
                self.url = self._embedded.start()
            except (OSError, RuntimeError, subprocess.SubprocessError) as error:
                self._directory.release()
                log_file = folder / "log"
                why = f"{log_file} says why" if log_file.exists() else str(error)
                raise StartError(f"the embedded Postgres in {folder} does not start: {why}") from error
        return self

    def __exit__(self, *_: object) -> None:
        if self._embedded is not None:
            self._embedded.stop()
        self._directory.release()

    def keyring(self) -> str:
        """Return the keyring's text; the embedded default makes its own, readable by its owner alone."""
        if self._config.keyring is not None:
            return self._config.keyring.reveal()
        if not self.embedded:
            raise StartError("CONNECTIONS_KEYRING is missing; make one with `connections keyring new`")
        try:
            return self._keyring_path.read_text()
        except OSError as error:
            raise StartError(
                f"the keyring {self._keyring_path} cannot be read ({error.strerror}), and without it neither can what"
                f" is stored: restore it, or remove {self._config.data_dir} to start anew"
            ) from error


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


def bootstrap(config: Config, environment: str, *, recover: bool = False) -> str:
    """Create an environment and its first admin key; return the key.

    With `recover` the environment must exist, and gets one more admin key: for an operator who has lost them all.
    Raises `StartError`.
    """
    log.configure(config.log_level, config.log_format)
    with Database(config) as database:
        keyring = database.keyring()
        check_schema(database.url)
        return asyncio.run(_admin_key(config, database.url, keyring, environment, recover=recover))


async def _admin_key(config: Config, url: str, keyring: str, name: str, *, recover: bool) -> str:
    engine = create_engine(DatabaseSettings(url, pool_size=1, transaction_pooling=config.database_transaction_pooling))
    try:
        keys = DataKeys(open_keyring(keyring), PostgresEnvironmentKeyStore(engine))
        environments = PostgresEnvironmentStore(engine, keys)
        await verify_keys(keys, environments)
        clock = DatabaseClock(engine)
        await clock.set()
        try:
            environment = await (environments.by_name(name) if recover else environments.create(name, now=clock.now()))
        except EnvironmentAlreadyExists as error:
            raise StartError(
                f"{error.message}: `connections keys create` makes more keys for it; with --recover, so does this command"
            ) from error
        except NotFound as error:
            raise StartError(f"{error.message}: without --recover, this command creates it") from error
        api_keys = ApiKeys(environments, clock, Authenticator(environments, clock))
        _, secret = await api_keys.create(environment, display_name="recovered" if recover else "bootstrap", admin=True)
        return secret.reveal()
    finally:
        await engine.dispose()


def first_start(config: Config, url: str, keyring: str) -> None:
    """On the embedded default: make the environment `dev` and an admin key, kept in `dev.key` and printed this once."""
    path = config.data_dir / "dev.key"
    if path.exists():
        return
    try:
        key = asyncio.run(_admin_key(config, url, keyring, DEV_ENVIRONMENT, recover=False))
        said = f"The environment `{DEV_ENVIRONMENT}` is ready. Its API key"
    except StartError as error:
        if not isinstance(error.__cause__, EnvironmentAlreadyExists):
            raise
        key = asyncio.run(_admin_key(config, url, keyring, DEV_ENVIRONMENT, recover=True))
        said = f"{path} was gone, so there is a new API key. It"
    _write_private(path, key + "\n")
    _say(f"\n{said}, kept in {path}:\n\n    {key}\n")


def say_what_next(config: Config, port: int) -> None:
    """Tell who started the embedded default what to paste into another terminal."""
    host, _, _ = config.grpc_address.rpartition(":")
    address = f"{host}:{port}"
    settings = ""
    if address != SETTINGS["grpc_address"].default:
        settings += f"{variable('address')}={config.address.rpartition(':')[0]}:{port} "
    if str(config.data_dir) != SETTINGS["data_dir"].default:
        settings += f"{variable('data_dir')}={shlex.quote(str(config.data_dir))} "
    key = shlex.quote(str(config.data_dir / "dev.key"))
    command = sys.argv[0] if Path(sys.argv[0]).name == "connections" else "connections"
    _say(
        f"\nServing on {address}. To try it, in another terminal:\n\n"
        f"    {settings}{command} providers list\n"
        f'    grpcurl -plaintext -H "authorization: Bearer $(cat {key})" {address}'
        " connections.v1.ProviderService/ListProviders\n\n"
        "Ctrl-C stops it.\n"
    )


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 (to the person who started it; logs go elsewhere)
