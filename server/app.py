"""The composition root: the one module that knows everyone; start order, stop order.

Start: settings, logs, database, schema, keys, stores, providers, use cases, gRPC bound but NOT_SERVING, first readiness
check, SERVING. Stop: NOT_SERVING, go on serving for the drain delay, stop accepting, wait for calls and exchanges, close
providers and database.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final, Self

import sqlalchemy as sa
import uvloop

from server import workers
from server.config import Config
from server.crypto.data_keys import DataKeys
from server.crypto.keyring import EnvelopeError, Keyring, KeyringError, new_keyring
from server.domain.api_keys import ApiKeys, Authenticator
from server.domain.connections import Connections
from server.domain.errors import EnvironmentAlreadyExists, ServiceError
from server.domain.integrations import Integrations
from server.providers.catalogue import Catalogue
from server.providers.exchange import ProviderExchange
from server.providers.outbound import Outbound
from server.providers.template_file import TemplateError
from server.refresh.breaker import Breakers
from server.refresh.deletion import Deletion
from server.refresh.exchange import Exchanger, ExchangeSettings
from server.refresh.flights import Flights
from server.refresh.outcome import Rules
from server.refresh.reading import Reader
from server.refresh.scheduler import Scheduler
from server.rpc.admin_service import AdminService
from server.rpc.chain import Authenticate, Budget, Shed, access_log, errors, identity, measure
from server.rpc.connection_service import ConnectionService
from server.rpc.health import Readiness
from server.rpc.integration_service import IntegrationService
from server.rpc.page_token import PageTokens
from server.rpc.provider_service import ProviderService
from server.rpc.server import FULL_NAMES, RpcServer, ServerSettings, TlsFiles
from server.storage import migrate as migrations
from server.storage.clock import DatabaseClock
from server.storage.connections import PostgresConnectionStore
from server.storage.embedded import EmbeddedPostgres
from server.storage.engine import DatabaseSettings, create_engine, transaction
from server.storage.environments import PostgresEnvironmentKeyStore, PostgresEnvironmentStore
from server.storage.integrations import PostgresIntegrationStore
from server.storage.point_reader import PointReader
from server.storage.refresh import PostgresRefreshStore
from server.storage.spool import FileSpool
from server.telemetry import log
from server.web.monitoring import Monitoring

DEV_ENVIRONMENT: Final = "dev"


class StartError(Exception):
    """The server cannot start; the text says why and what to do."""


class Application:
    """One serving process."""

    def __init__(self, config: Config, database_url: str, keyring: str, *, reuse_port: bool, with_http: bool) -> None:
        self._config = config
        self._database_url = database_url
        self._keyring = keyring
        self._reuse_port = reuse_port
        self._with_http = with_http
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set, then drain. Raises `StartError`."""
        async with AsyncExitStack() as stack:
            readiness, server, flights = await self._start(stack)
            await stop.wait()
            await self._drain(readiness, server, flights)

    async def _start(  # noqa: PLR0915 (one list of who is given what; splitting it would hide the order)
        self, stack: AsyncExitStack
    ) -> tuple[Readiness, RpcServer, Flights]:
        config = self._config
        settings = DatabaseSettings(
            url=self._database_url,
            pool_size=config.database_pool_size,
            statement_timeout=config.database_statement_timeout,
            transaction_pooling=config.database_transaction_pooling,
        )
        engine = create_engine(settings)
        stack.push_async_callback(engine.dispose)
        clock = DatabaseClock(engine)
        try:
            await clock.set()
            reader = PointReader(settings)
            stack.push_async_callback(reader.close)
            await reader.open()
        except ServiceError as error:
            raise StartError(f"{error.message}: check CONNECTIONS_DATABASE_URL") from error
        keys = DataKeys(_keyring(self._keyring), PostgresEnvironmentKeyStore(engine))
        environments = PostgresEnvironmentStore(engine, keys)
        await _verify_keys(keys, environments)
        store = PostgresConnectionStore(engine, reader, keys)
        integration_store = PostgresIntegrationStore(engine, keys)
        refresh_store = PostgresRefreshStore(engine, keys, integration_store)
        exchange = _exchange(config)
        stack.push_async_callback(exchange.close)

        rules = Rules(margin=config.refresh_margin, random=random.random)
        flights = Flights()
        spool = FileSpool(config.spool_dir, keys, refresh_store)
        exchanger = Exchanger(
            refresh_store,
            exchange,
            spool,
            Breakers(clock),
            clock,
            rules,
            ExchangeSettings(timeout=config.exchange_timeout, lease_ttl=config.lease_ttl),
        )
        credentials = Reader(store, exchanger, flights, clock)
        authenticator = Authenticator(environments, clock, ttl=config.api_key_cache_ttl)
        tokens = PageTokens(keys)
        connections = Connections(store, integration_store, exchange, clock, refresh_margin=config.refresh_margin)
        servicers = {
            "ConnectionService": ConnectionService(
                credentials, connections, Deletion(store, refresh_store, exchange, clock), tokens, self._stopping
            ),
            "IntegrationService": IntegrationService(Integrations(integration_store, exchange, clock), tokens),
            "ProviderService": ProviderService(exchange, tokens),
            "AdminService": AdminService(environments, ApiKeys(environments, clock, authenticator), clock),
        }

        async def ping() -> None:
            async with transaction(engine) as connection:
                await connection.execute(sa.select(1))

        readiness = Readiness(FULL_NAMES, ping)
        await readiness.start()
        steps = (
            identity,
            access_log,
            measure,
            errors,
            Shed(max_calls=config.max_concurrent_calls, max_lists=config.list_max_concurrent),
            Authenticate(authenticator),
            Budget(cap=config.request_timeout),
        )
        server = RpcServer(_server_settings(config, reuse_port=self._reuse_port), servicers, steps, readiness)
        monitoring = Monitoring(config.http_address, readiness.check_once)
        try:
            await server.start()
            if self._with_http:
                await monitoring.start()
                stack.push_async_callback(monitoring.stop)
        except OSError as error:
            raise StartError(f"{error}; is another server running, or is the address wrong?") from error
        stack.push_async_callback(self._end_tasks)
        self._spawn("clock", clock.keep_set())
        self._spawn("readiness", readiness.watch())
        scheduler = Scheduler(refresh_store, credentials, exchange, spool, clock)
        self._spawn("spool", scheduler.adopt_spooled())
        if config.scheduler_enabled:
            self._spawn("scheduler", scheduler.run())
        await readiness.check_once()
        log.get().info("serving", grpc_port=server.port, pid=os.getpid())
        return readiness, server, flights

    def _spawn(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(_report_death)
        self._tasks.append(task)

    async def _end_tasks(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _drain(self, readiness: Readiness, server: RpcServer, flights: Flights) -> None:
        config = self._config
        log.get().info("draining", delay=config.drain_delay, grace=config.shutdown_grace)
        await readiness.drain()
        await asyncio.sleep(config.drain_delay)
        self._stopping.set()
        left = await server.stop(config.shutdown_grace)
        await self._end_tasks()
        # An exchange that has begun is worth waiting for whoever wanted it: its token may be spent.
        cancelled = await flights.drain(config.exchange_timeout)
        log.get().info("stopped", calls_left=left, refreshes_cancelled=cancelled)


def _report_death(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.get().error("background_task_died", task=task.get_name(), error=type(task.exception()).__name__)


def _keyring(text: str) -> Keyring:
    try:
        return Keyring.parse(text)
    except KeyringError as error:
        raise StartError(f"CONNECTIONS_KEYRING: {error}") from error


async def _verify_keys(keys: DataKeys, environments: PostgresEnvironmentStore) -> None:
    try:
        for environment in await environments.all():
            await keys.verify(environment.environment_id)
    except (KeyringError, EnvelopeError) as error:
        raise StartError(
            f"the keyring does not open what this database holds: {error}; start with the keyring it was written with"
        ) from error


def _exchange(config: Config) -> ProviderExchange:
    try:
        catalogue = Catalogue.load(config.providers_dir)
    except TemplateError as error:
        raise StartError(f"provider templates: {error}") from error
    proxy = None if config.outbound_proxy is None else config.outbound_proxy.reveal()
    return ProviderExchange(catalogue, Outbound(allowed_hosts=frozenset(config.outbound_allowed_hosts), proxy=proxy))


def _server_settings(config: Config, *, reuse_port: bool) -> ServerSettings:
    tls = None
    if config.tls_cert is not None and config.tls_key is not None:
        tls = TlsFiles(config.tls_cert, config.tls_key, config.tls_client_ca)
    return ServerSettings(
        address=config.grpc_address,
        reuse_port=reuse_port,
        reflection=config.reflection,
        max_message_bytes=config.max_message_bytes,
        keepalive_time=config.keepalive_time,
        max_connection_age=config.max_connection_age,
        max_connection_age_grace=config.max_connection_age_grace,
        tls=tls,
    )


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
            write_private(path, new_keyring())
            log.get().warning(
                "keyring_made", path=str(path), next_step="keep a copy: without it nothing stored can be read"
            )
        return path.read_text()


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    partial = path.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)


def serve(config: Config) -> int:
    """Serve until a signal ends it; return the exit code. Raises `StartError`."""
    log.configure(config.log_level, config.log_format)
    with Database(config) as database:
        keyring = database.keyring()
        if database.embedded:
            migrations.upgrade(database.url)
            _first_start(config, database.url, keyring)
        _check_schema(database.url)
        if config.workers > 1:
            return workers.supervise(config, database.url, keyring)
        run_worker(config, database.url, keyring, reuse_port=False, with_http=True)
    return 0


def run_worker(config: Config, database_url: str, keyring: str, *, reuse_port: bool, with_http: bool) -> None:
    """Run one serving process until SIGTERM or SIGINT; a second signal ends it at once."""

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()

        def signalled() -> None:
            if stop.is_set():
                log.get().warning("forced_stop")
                os._exit(1)
            stop.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, signalled)
        await Application(config, database_url, keyring, reuse_port=reuse_port, with_http=with_http).run(stop)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


def _check_schema(url: str) -> None:
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
        _check_schema(database.url)
        return asyncio.run(_create_environment(database.url, keyring, environment))


async def _create_environment(url: str, keyring: str, name: str) -> str:
    engine = create_engine(DatabaseSettings(url, pool_size=1))
    try:
        keys = DataKeys(_keyring(keyring), PostgresEnvironmentKeyStore(engine))
        environments = PostgresEnvironmentStore(engine, keys)
        await _verify_keys(keys, environments)
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


def _first_start(config: Config, url: str, keyring: str) -> None:
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
        write_private(path, key + "\n")
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
