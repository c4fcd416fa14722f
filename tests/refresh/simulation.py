"""The refresh engine on a simulated clock, against the real Postgres: several processes in one, and their provider.

Everything is the real thing, stores, sealing, use cases, templates, the reading of token responses, but for time (see
`simulated_time`) and the last step to the provider: `SimulatedProvider` stands in for outbound HTTP. It is the one place
in the tests of the engine where something is imitated, because no real provider can live on a simulated clock; what it
promises (rotation, reuse detection, reuse windows) the other tests of the engine find at a real authorization server.
"""

from __future__ import annotations

import asyncio
import enum
import json
import random
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from contextvars import Context
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from unittest import mock
from urllib.parse import parse_qs
from uuid import UUID

import psycopg
import sqlalchemy as sa
from sqlalchemy import event
from yarl import URL

from server.crypto.data_keys import DataKeys
from server.crypto.keyring import Keyring, new_keyring
from server.domain import deadline as deadline_module
from server.domain.connections import Connections
from server.domain.errors import Reason
from server.domain.model import AuthMode, ConnectionKey, Integration, OAuth2Credentials
from server.domain.ports import StoredConnection
from server.domain.secret import Secret
from server.providers.catalogue import Catalogue
from server.providers.exchange import ProviderExchange
from server.providers.outbound import Outbound
from server.providers.template import Template
from server.providers.token_request import TokenRequest
from server.refresh import fault_points
from server.refresh.breaker import Breakers
from server.refresh.exchange import Exchanger, ExchangeSettings
from server.refresh.flights import Flights
from server.refresh.outcome import Rules
from server.refresh.ports import ExchangeFailed, FailureKind, Lease, ProviderAnswer
from server.refresh.reading import Reader
from server.refresh.scheduler import Scheduler
from server.storage.connections import PostgresConnectionStore
from server.storage.due import PostgresDueStore
from server.storage.engine import DatabaseSettings, create_engine, unavailable
from server.storage.environments import PostgresEnvironmentKeyStore, PostgresEnvironmentStore
from server.storage.integrations import PostgresIntegrationStore
from server.storage.point_reader import PointReader
from server.storage.refresh import PostgresRefreshStore
from server.storage.spool import FileSpool
from tests.refresh.simulated_time import SimulatedLoop, Tasks

INTEGRATION: Final = "crm"
PROVIDER: Final = "simulated"
_URL: Final = "https://provider.example/token"


class Mode(enum.Enum):
    """How the provider fares."""

    UP = "up"
    DOWN = "down: no connection, nothing is sent"
    FAILING = "answers 503"
    LIMITING = "answers 429 with Retry-After"
    LOSING = "spends the token, and the answer never arrives"
    REFUSING = "refuses the client"


@dataclass(slots=True)
class _RefreshToken:
    """A refresh token at its provider. `answer` is what its first use was answered with."""

    family: int
    number: int
    spent_at: float | None = None
    answer: bytes = b""


@dataclass(slots=True)
class SimulatedProvider(Outbound):
    """A token endpoint that rotates refresh tokens and detects reuse, as RFC 9700 section 4.14.2 advises.

    A second use of a spent token within `reuse_window` seconds is answered as the first was; later it revokes the whole
    family and is answered `invalid_grant`. With `rotates` off, refresh tokens stay, and any use of them is good.
    A request is processed half-way through its latency, whether or not anybody still waits for the answer.
    """

    loop: SimulatedLoop
    reuse_window: float = 0.0
    rotates: bool = True
    life: float = 3600.0
    mode: Mode = Mode.UP
    latency: Callable[[str], float] = field(default=lambda refresh_token: 0.2)
    idle_limit: float | None = None
    """Seconds without use after which a refresh token is no longer good."""
    observe: Callable[[str], None] = field(default=lambda refresh_token: None)
    """Called with each refresh token that is sent."""
    requests: int = 0
    in_flight: int = 0
    most_in_flight: int = 0
    reuses: list[str] = field(default_factory=list)
    revoked: set[int] = field(default_factory=set)
    access_tokens: dict[str, float] = field(default_factory=dict)
    _tokens: dict[str, _RefreshToken] = field(default_factory=dict)
    _last_used: dict[int, float] = field(default_factory=dict)
    _families: int = 0

    def authorize(self) -> dict[str, Any]:
        """Let an end user grant access; return the token response."""
        self._families += 1
        return self._issue(self._families, 1)

    def position(self, refresh_token: str) -> tuple[int, int]:
        """Return which family a refresh token belongs to and its number in it."""
        token = self._tokens[refresh_token]
        return token.family, token.number

    def is_revoked(self, refresh_token: str) -> bool:
        """Return whether the family of a refresh token is revoked."""
        return self._tokens[refresh_token].family in self.revoked

    def _issue(self, family: int, number: int) -> dict[str, Any]:
        access_token = f"at-{family}-{len(self.access_tokens)}"
        self.access_tokens[access_token] = self.loop.now() + self.life
        refresh_token = f"rt-{family}-{number}"
        self._tokens.setdefault(refresh_token, _RefreshToken(family, number))
        self._last_used[family] = self.loop.now()
        return {
            "access_token": access_token,
            "refresh_token": refresh_token,
            "token_type": "Bearer",
            "expires_in": self.life,
        }

    def check(self, url: str) -> URL:
        """Return the URL; this provider is always allowed."""
        return URL(url)

    async def send(self, request: TokenRequest, *, timeout: float) -> ProviderAnswer:
        """Answer a token request, as `Outbound.send` would bring the answer."""
        assert request.url == _URL
        refresh_token = parse_qs(request.body.decode())["refresh_token"][0]
        mode, latency = self.mode, self.latency(refresh_token)
        if mode is Mode.DOWN:
            raise _transport("cannot be reached", maybe_spent=False)
        self.observe(refresh_token)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            # In no process's group: a process that dies does not stop the provider.
            processing = self.loop.create_task(self._process(refresh_token, latency / 2, mode), context=Context())
            async with asyncio.timeout(timeout):
                answer = await asyncio.shield(processing)
                await asyncio.sleep(latency / 2)
                if mode is Mode.LOSING:
                    raise _transport("closed the connection without an answer", maybe_spent=True)
                return answer
        except TimeoutError:
            raise _transport("did not answer in time", maybe_spent=True) from None
        finally:
            self.in_flight -= 1

    async def _process(self, refresh_token: str, after: float, mode: Mode) -> ProviderAnswer:
        await asyncio.sleep(after)
        self.requests += 1
        match mode:
            case Mode.FAILING:
                return _answer(503, {"error": "temporarily_unavailable"})
            case Mode.LIMITING:
                return _answer(429, {"error": "slow_down"}, {"retry-after": "90"})
            case Mode.REFUSING:
                return _answer(401, {"error": "invalid_client"})
            case _:
                return self._refresh(refresh_token)

    def _refresh(self, refresh_token: str) -> ProviderAnswer:
        now = self.loop.now()
        token = self._tokens[refresh_token]
        idle = self.idle_limit is not None and now - self._last_used[token.family] > self.idle_limit
        if token.family in self.revoked or idle:
            return _answer(400, {"error": "invalid_grant"})
        if not self.rotates:
            return _answer(200, self._issue(token.family, token.number))
        if token.spent_at is None:
            token.spent_at = now
            answer = _answer(200, self._issue(token.family, token.number + 1))
            token.answer = answer.body
            return answer
        if now - token.spent_at <= self.reuse_window:
            return ProviderAnswer(200, {"content-type": "application/json"}, token.answer)
        self.reuses.append(refresh_token)
        self.revoked.add(token.family)
        return _answer(400, {"error": "invalid_grant"})

    async def close(self) -> None:
        """Do nothing: no connection was opened."""


def _answer(status: int, document: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> ProviderAnswer:
    return ProviderAnswer(
        status, {"content-type": "application/json", **(headers or {})}, json.dumps(document).encode()
    )


def _transport(what: str, *, maybe_spent: bool) -> ExchangeFailed:
    return ExchangeFailed(
        FailureKind.TRANSIENT, Reason.PROVIDER_UNAVAILABLE, f"the provider {what}", maybe_spent=maybe_spent
    )


@dataclass(slots=True)
class World:
    """What processes share: the clock, the database, the keyring, the provider and what it says of itself."""

    loop: SimulatedLoop
    url: str
    folder: Path
    provider: SimulatedProvider
    template: Template
    others: tuple[Template, ...] = ()
    """Further providers, of integrations that are named like them."""
    keyring: Keyring = field(default_factory=lambda: Keyring.parse(new_keyring()))
    lease_ttl: float = 30.0
    margin: float = 900.0
    environment_id: UUID = field(init=False)
    kept: list[str] = field(default_factory=list)
    """The refresh tokens of answers that the store or the spool took."""
    tried_anyway: list[str] = field(default_factory=list)
    """The refresh tokens that were to be sent although the connection reported OUTCOME_UNKNOWN."""

    def providers(self) -> list[str]:
        """Return the names of all providers."""
        return [one.name for one in (self.template, *self.others)]

    def key(self, connection_id: str) -> ConnectionKey:
        """Return the name of a connection."""
        return ConnectionKey(self.environment_id, INTEGRATION, connection_id)

    async def set_up(self, process: Process) -> None:
        """Create the environment and the integration, and forget those of earlier worlds in the same database."""
        now = self.loop.now()
        async with process.engine.begin() as connection:
            for table in ("provider_slots", "connections", "integrations", "environment_keys", "environments"):
                await connection.execute(sa.text(f"DELETE FROM {table}"))
        store = PostgresEnvironmentStore(process.engine, process.keys)
        self.environment_id = (await store.create(f"simulation-{uuid.uuid4()}", now=now)).environment_id
        for name, provider in [(INTEGRATION, self.template.name), *((name, name) for name in self.providers())]:
            await process.integrations.create(
                Integration(
                    environment_id=self.environment_id,
                    provider_config_key=name,
                    uid=uuid.uuid4(),
                    provider=provider,
                    auth_mode=AuthMode.OAUTH2,
                    display_name="",
                    client_id="client",
                    client_secret=Secret("simulated-client-secret"),
                    scopes=(),
                    connection_config={},
                    create_time=now,
                    update_time=now,
                    revision=1,
                )
            )


def template(provider: SimulatedProvider, *, name: str = PROVIDER, **facts: Any) -> Template:
    """Return a template of the simulated provider."""
    known: dict[str, Any] = {"reuse_window": provider.reuse_window if provider.rotates else None} | facts
    return Template(name=name, display_name="Simulated", auth_mode=AuthMode.OAUTH2, token_url=_URL, docs=_URL, **known)


class Process:
    """One serving process, as `server.app` composes it, without what it serves with."""

    def __init__(self, world: World, name: str, *, pool_size: int = 4) -> None:
        self.world = world
        self.name = name
        self.tasks = Tasks()
        self.cut = False
        """Whether Postgres is out of this process's reach."""
        self.dies_at: str | None = None
        """The fault point at which it will die."""
        self.cut_at: str | None = None
        """The fault point at which Postgres will go out of its reach."""
        self.dead = False
        settings = DatabaseSettings(url=world.url, pool_size=pool_size)
        self.engine = create_engine(settings)
        event.listen(self.engine.sync_engine, "checkout", self._check_out)
        self._point_reader = PointReader(settings, lanes=1)
        self.keys = DataKeys(world.keyring, PostgresEnvironmentKeyStore(self.engine))
        self.integrations = PostgresIntegrationStore(self.engine, self.keys)
        self.connections = _Connections(self, self._point_reader)
        self.refreshes = _Refreshes(self)
        self.exchange = ProviderExchange(
            Catalogue({one.name: one for one in (world.template, *world.others)}), world.provider
        )
        self.spool = _Spool(self, world.folder / name)
        self.flights = Flights()
        clock = world.loop
        self.exchanger = Exchanger(
            self.refreshes,
            self.exchange,
            self.spool,
            Breakers(clock),
            clock,
            Rules(margin=world.margin, random=random.random),
            ExchangeSettings(timeout=30.0, lease_ttl=world.lease_ttl),
        )
        self.reader = Reader(self.connections, self.exchanger, self.flights, clock)
        self.use_cases = Connections(
            self.connections, self.integrations, self.exchange, clock, refresh_margin=world.margin
        )
        self.scheduler = self.make_scheduler()

    def make_scheduler(self, **settings: Any) -> Scheduler:
        """Return a scheduler of this process."""
        return Scheduler(
            PostgresDueStore(self.engine), self.reader, self.exchange, self.spool, self.world.loop, **settings
        )

    async def start(self) -> None:
        """Open what has to be opened."""
        self.world.loop.add_busy(self._is_busy)
        with self.world.loop.real_work():
            await self._point_reader.open()

    async def stop(self) -> None:
        """Close what was opened."""
        with self.world.loop.real_work():
            await self._point_reader.close()
            await self.engine.dispose()
        self.world.loop.remove_busy(self._is_busy)

    def die(self) -> None:
        """Let nothing more of this process happen."""
        self.dead = True
        for task in self.tasks.alive():
            task.cancel()

    async def bury(self) -> None:
        """Wait until a process that died is gone."""
        await asyncio.gather(*self.tasks.alive(), return_exceptions=True)
        await self.stop()

    async def run(self, work: Callable[[], Awaitable[Any]]) -> Any:
        """Do something in this process. Raises `asyncio.CancelledError` if it dies meanwhile."""

        async def whole() -> Any:
            return await work()

        return await self.tasks.start(whole())

    async def reach(self, point: str) -> None:
        """Die, or lose Postgres, if this is the place to do so."""
        if self.cut_at == point:
            self.cut, self.cut_at = True, None
        if self.dies_at == point:
            self.die()
        if self.dead:
            raise asyncio.CancelledError

    def check_reachable(self) -> None:
        """Raise what a process finds out that cannot reach Postgres."""
        if self.dead:
            raise asyncio.CancelledError
        if self.cut:
            raise unavailable("the database cannot be reached")

    def _check_out(self, *_: Any) -> None:
        if self.dead or self.cut:
            raise psycopg.OperationalError("the database cannot be reached")

    def _is_busy(self) -> bool:
        pool: Any = self.engine.pool
        return int(pool.checkedout()) > 0


class _Connections(PostgresConnectionStore):
    """The store, whose reads count as real work and fail when Postgres is out of reach."""

    def __init__(self, process: Process, reader: PointReader) -> None:
        super().__init__(process.engine, reader, process.keys)
        self._process = process

    async def read(self, key: ConnectionKey) -> StoredConnection | None:
        self._process.check_reachable()
        with self._process.world.loop.real_work():
            return await super().read(key)


class _Refreshes(PostgresRefreshStore):
    """The store, which tells the world what it took."""

    def __init__(self, process: Process) -> None:
        super().__init__(process.engine, process.keys, process.integrations)
        self._world = process.world

    async def keep_answer(self, lease: Lease, answer: ProviderAnswer, *, now: float) -> bool:
        kept = await super().keep_answer(lease, answer, now=now)
        _note(self._world, answer)
        return kept

    async def record_attempt(self, lease: Lease, *, now: float, spend_time: float) -> bool:
        recorded = await super().record_attempt(lease, now=now, spend_time=spend_time)
        if recorded and lease.state.failure_reason is Reason.OUTCOME_UNKNOWN:
            credentials = lease.request.credentials
            assert isinstance(credentials, OAuth2Credentials)
            assert credentials.refresh_token is not None
            self._world.tried_anyway.append(credentials.refresh_token.reveal())
        return recorded


class _Spool(FileSpool):
    """The spool, which tells the world what it took."""

    def __init__(self, process: Process, folder: Path) -> None:
        super().__init__(folder, process.keys, process.refreshes)
        self._world = process.world

    async def keep(self, lease: Lease, answer: ProviderAnswer, *, now: float) -> None:
        await super().keep(lease, answer, now=now)
        _note(self._world, answer)


def _note(world: World, answer: ProviderAnswer) -> None:
    with suppress(KeyError):
        world.kept.append(json.loads(answer.body)["refresh_token"])


async def stored_state(process: Process, key: ConnectionKey) -> Any:
    """Return the row of a connection, as the database has it."""
    query = sa.text(
        "SELECT status, failure_reason, generation, metadata, next_refresh_time, "
        "extract(epoch FROM expire_time)::float8 AS expires_at "
        "FROM connections WHERE environment_id = :e AND connection_id = :c"
    )
    async with process.engine.begin() as connection:
        return (await connection.execute(query, {"e": key.environment_id, "c": key.connection_id})).one()


@contextmanager
def simulated() -> Iterator[SimulatedLoop]:
    """Let simulated time hold for deadlines too, during the body; everything is run by `loop.run_until_complete`."""
    loop = SimulatedLoop()
    asyncio.set_event_loop(loop)
    with mock.patch.object(deadline_module, "time", loop):
        try:
            yield loop
        finally:
            asyncio.set_event_loop(None)
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()


@asynccontextmanager
async def processes_of(world: World, count: int = 2) -> AsyncIterator[list[Process]]:
    """Run processes in a new environment. Those that die are to be replaced with `reborn`."""
    processes = [Process(world, f"process-{number}") for number in range(1, count + 1)]
    with mock.patch.object(fault_points, "_hook", lambda point: hook(processes, point)):
        for process in processes:
            await process.start()
        await world.set_up(processes[0])
        try:
            yield processes
        finally:
            for process in processes:
                process.die()
                await process.bury()


async def reborn(process: Process) -> Process:
    """Start a process again that has died; its spool is where it was."""
    await process.bury()
    again = Process(process.world, process.name)
    await again.start()
    return again


async def hook(processes: Sequence[Process], point: str) -> None:
    """Tell the process in which a fault point was reached."""
    group = Tasks.current()
    for process in processes:
        if process.tasks is group:
            await process.reach(point)
