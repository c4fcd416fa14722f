"""The composition root: the one module that knows everyone; start order, stop order.

Start: settings, logs, database, schema, keys, stores, providers, use cases, gRPC bound but NOT_SERVING, first readiness
check, SERVING. Stop: NOT_SERVING, go on serving for the drain delay, stop accepting, wait for calls and exchanges, close
providers and database.
"""

from __future__ import annotations

import asyncio
import functools
import os
import random
import signal
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any, Final
from uuid import UUID

import uvloop

from server import workers
from server.config import Config, variable
from server.crypto.data_keys import DataKeys
from server.domain.api_keys import ApiKeys, Authenticator
from server.domain.connections import Connections
from server.domain.errors import ServiceError
from server.domain.integrations import Integrations
from server.domain.model import ConnectionKey
from server.prepare import Database, StartError, check_schema, first_start, open_keyring, say_what_next, verify_keys
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
from server.storage.due import PostgresDueStore
from server.storage.engine import DatabaseSettings, create_engine
from server.storage.environments import PostgresEnvironmentKeyStore, PostgresEnvironmentStore
from server.storage.integrations import PostgresIntegrationStore
from server.storage.point_reader import PointReader
from server.storage.refresh import PostgresRefreshStore
from server.storage.spool import FileSpool
from server.telemetry import log
from server.web.monitoring import Monitoring

_NOBODY: Final = ConnectionKey(UUID(int=0), "", "")


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

    async def run(self, stop: asyncio.Event, announce: Callable[[int], None] | None = None) -> None:
        """Serve until `stop` is set, then drain. `announce` gets the port once it serves. Raises `StartError`."""
        async with AsyncExitStack() as stack:
            readiness, server, flights = await self._start(stack)
            if announce is not None:
                announce(server.port)
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
        keys = DataKeys(open_keyring(self._keyring), PostgresEnvironmentKeyStore(engine))
        environments = PostgresEnvironmentStore(engine, keys)
        await verify_keys(keys, environments)
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
            # The way that reads go, which gives a database that hangs up at once: a pool's connection is given up only
            # after it was asked in vain to cancel, and is not there at all when imports have taken them.
            await reader.read(_NOBODY)

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
        await _listen(server.start(), variable("grpc_address"), config.grpc_address)
        if self._with_http:
            try:
                await _listen(monitoring.start(), variable("http_address"), config.http_address)
            except StartError:
                await server.stop(0)
                raise
            stack.push_async_callback(monitoring.stop)
        stack.push_async_callback(self._end_tasks)
        self._spawn("clock", clock.keep_set())
        self._spawn("readiness", readiness.watch())
        scheduler = Scheduler(PostgresDueStore(engine), credentials, exchange, spool, clock)
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
        log.get().info("stopping")
        left = await server.stop(config.shutdown_grace)
        await self._end_tasks()
        # An exchange that has begun is worth waiting for whoever wanted it: its token may be spent.
        cancelled = await flights.drain(config.exchange_timeout)
        log.get().info("stopped", calls_left=left, refreshes_cancelled=cancelled)


async def _listen(start: Coroutine[Any, Any, None], setting: str, address: str) -> None:
    try:
        await start
    except OSError as error:
        raise StartError(
            f"cannot listen on {address}: another process does, or the address is not this machine's; {setting} chooses"
            " another"
        ) from error


def _report_death(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.get().error("background_task_died", task=task.get_name(), error=type(task.exception()).__name__)


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


def serve(config: Config) -> int:
    """Serve until a signal ends it; return the exit code. Raises `StartError`."""
    log.configure(config.log_level, config.log_format)
    with Database(config) as database:
        keyring = database.keyring()
        if database.embedded:
            migrations.upgrade(database.url)
            first_start(config, database.url, keyring)
        check_schema(database.url)
        announce = functools.partial(say_what_next, config) if database.embedded else None
        if config.workers > 1:
            if announce is not None:
                announce(int(config.grpc_address.rpartition(":")[2]))
            return workers.supervise(config, database.url, keyring)
        run_worker(config, database.url, keyring, reuse_port=False, with_http=True, announce=announce)
    return 0


def run_worker(
    config: Config,
    database_url: str,
    keyring: str,
    *,
    reuse_port: bool,
    with_http: bool,
    announce: Callable[[int], None] | None = None,
    parent: int | None = None,
) -> None:
    """Run one serving process until SIGTERM or SIGINT; a second signal ends it at once.

    `announce` is called with the gRPC port when it serves. A worker of several stops when its `parent` has died.
    """

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        orphaned: asyncio.Task[None] | None = None

        def signalled() -> None:
            if stop.is_set():
                log.get().warning("forced_stop")
                os._exit(1)
            stop.set()

        loop.add_signal_handler(signal.SIGTERM, signalled)
        if parent is not None:
            # One of several: the parent says when to stop, also for a Ctrl-C, which a terminal sends to all.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            orphaned = asyncio.create_task(_stop_without_parent(parent, stop))
        else:
            loop.add_signal_handler(signal.SIGINT, signalled)
        application = Application(config, database_url, keyring, reuse_port=reuse_port, with_http=with_http)
        await application.run(stop, announce)
        if orphaned is not None:
            orphaned.cancel()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


async def _stop_without_parent(parent: int, stop: asyncio.Event) -> None:
    """Stop when the parent has died: a worker that nobody watches would hold the port for ever."""
    while os.getppid() == parent:  # noqa: ASYNC110 (nothing tells a process that its parent has died)
        await asyncio.sleep(0.5)
    log.get().error("parent_died")
    stop.set()
