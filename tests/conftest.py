"""Fixtures that all tests share: databases, the authorization server, the service as a process, grpcurl."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, Protocol

import hypothesis
import pytest

from tests.support import grpcurl as grpcurl_support
from tests.support import strict
from tests.support.canaries import Canaries
from tests.support.oauth import OAuthServer, running_oauth_server
from tests.support.postgres import Postgres
from tests.support.server_process import KEYRING_SECRET, ServerProcess, default_settings

# Other tests run beside, with real servers: how long an example takes says nothing.
hypothesis.settings.register_profile("connections", deadline=None)
hypothesis.settings.load_profile("connections")

_DIRECTORY = pytest.StashKey[Path]()


def pytest_configure(config: pytest.Config) -> None:
    """Agree on a directory for the run's Postgres: the main process makes it, xdist's workers are told of it."""
    worker_input: dict[str, Any] | None = getattr(config, "workerinput", None)
    directory = Path(worker_input["postgres_directory"]) if worker_input else Postgres.make_directory()
    config.stash[_DIRECTORY] = directory


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker of xdist the directory."""
    node.workerinput["postgres_directory"] = str(node.config.stash[_DIRECTORY])


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the run's Postgres, in the main process only."""
    if not hasattr(config, "workerinput"):
        Postgres(config.stash[_DIRECTORY]).stop()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let no skip pass in a strict run unless its reason is allowed."""
    del item
    report = yield
    if strict.is_strict():
        strict.refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Do the same for modules that skip themselves whole."""
    report = yield
    if strict.is_strict():
        strict.refuse_skip(report)
    return report


@pytest.fixture(scope="session")
def postgres(pytestconfig: pytest.Config) -> Postgres:
    """The Postgres of the run, started when first asked for a database."""
    return Postgres(pytestconfig.stash[_DIRECTORY])


@pytest.fixture
def database_url(postgres: Postgres) -> Iterator[str]:
    """URL of a migrated database that belongs to this test."""
    with postgres.database() as url:
        yield url


@pytest.fixture
def empty_database_url(postgres: Postgres) -> Iterator[str]:
    """URL of an empty database that belongs to this test: for tests of the migrations themselves."""
    with postgres.database(migrated=False) as url:
        yield url


@pytest.fixture
def shared_path() -> Iterator[Path]:
    """A folder in which an embedded Postgres can run, which for root runs as another user.

    `tmp_path` will not do: any session of pytest that starts meanwhile closes the folder above it to other users.
    """
    with tempfile.TemporaryDirectory(prefix="connections-") as folder:
        yield Path(folder).resolve()


@pytest.fixture(scope="session")
def canaries() -> Canaries:
    """Secrets that no server's log may show: `canaries.add(secret)`."""
    found = Canaries()
    found.add(KEYRING_SECRET, "the key of the keyring")
    return found


@pytest.fixture(scope="session")
def _oauth_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OAuthServer]:
    with running_oauth_server(tmp_path_factory.mktemp("oauth") / "log") as server:
        yield server


@pytest.fixture
def oauth_server(_oauth_process: OAuthServer, canaries: Canaries) -> Iterator[OAuthServer]:
    """Authlib's authorization server, with no memory of other tests. What it issues is registered as canaries."""
    _oauth_process.reset()
    canaries.add_source(_oauth_process.tokens)
    yield _oauth_process
    canaries.remove_source(_oauth_process.tokens)


class StartServer(Protocol):
    """Starts a server and returns it when it is ready."""

    def __call__(
        self, *arguments: str, database: str | None = None, ready: bool = True, fault_point: str = "", **settings: str
    ) -> ServerProcess:
        """Start one. `arguments` go to `serve`, `settings` are variables without their prefix, in lower case.

        `database` is a URL, of the test's own database if left out. With `ready=False` it returns at once. `fault_point`:
        see `tests/support/faulty_server.py`.
        """
        ...


@pytest.fixture
def connections_server(request: pytest.FixtureRequest, tmp_path: Path, canaries: Canaries) -> Iterator[StartServer]:
    """Start servers as real processes. At the end of the test they are killed and their logs searched for secrets."""
    started: list[ServerProcess] = []

    def start(
        *arguments: str, database: str | None = None, ready: bool = True, fault_point: str = "", **settings: str
    ) -> ServerProcess:
        url = database or request.getfixturevalue("database_url")
        chosen = {f"CONNECTIONS_{name.upper()}": value for name, value in settings.items()}
        number = len(started)
        server = ServerProcess(
            default_settings(url, tmp_path / f"data-{number}") | chosen,
            tmp_path / f"server-{number}.log",
            arguments,
            fault_point=fault_point,
        )
        started.append(server)
        if ready:
            server.wait_until_ready()
        return server

    # Before the first server starts, so that a test's database outlives its servers.
    request.getfixturevalue("database_url")
    yield start
    for server in started:
        server.kill()
    leaks = [f"{server.log.name}: {leak}" for server in started for leak in canaries.found_in(server.logs())]
    assert not leaks, "a server's log shows secrets:\n" + "\n".join(leaks)


@pytest.fixture(scope="session")
def grpcurl() -> grpcurl_support.Grpcurl:
    """grpcurl, a client that none of us wrote."""
    program = grpcurl_support.find()
    if program is None:
        pytest.skip(strict.NO_GO if shutil.which("go") is None else "grpcurl is not installed: run .ci/run once")
    return grpcurl_support.Grpcurl(program)
