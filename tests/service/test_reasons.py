"""Every reason that the contract lists is reached: over the wire, with the code and details that it promises.

Each case here provokes one reason. A case that is missing, or a reason without a case, fails.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc
import grpc.aio
import psycopg
import pytest
from connections.v1 import (
    admin_service_pb2,
    connection_service_pb2,
    connection_service_pb2_grpc,
    error_reason_pb2,
    integration_service_pb2,
    provider_service_pb2,
)

from server.domain.errors import WriteConflict
from server.rpc.chain import Budget, access_log, errors, identity, measure
from server.rpc.health import Readiness
from server.rpc.server import RpcServer, ServerSettings
from tests.conftest import StartServer
from tests.service.conftest import Service
from tests.support.canaries import Canaries
from tests.support.client import (
    Client,
    Failure,
    create_request,
    failure_of,
    force_request,
    get_request,
    struct,
)
from tests.support.oauth import OAuthServer
from tests.support.own_postgres import own_postgres
from tests.support.server_process import ServerProcess

PROTO: Final = Path(__file__).resolve().parents[2] / "proto" / "connections" / "v1" / "error_reason.proto"
REASONS: Final = [name.removeprefix("ERROR_REASON_") for name in error_reason_pb2.ErrorReason.keys()[1:]]
_RETRYABLE: Final = {
    "PROVIDER_UNAVAILABLE",
    "PROVIDER_RATE_LIMITED",
    "PROVIDER_RESPONSE_INVALID",
    "REFRESH_BACKING_OFF",
    "STORAGE_UNAVAILABLE",
    "OVERLOADED",
    "SHUTTING_DOWN",
    "INTERRUPTED",
}

_c = connection_service_pb2
MAIL: Final = {"provider_config_key": "mail", "connection_id": "a"}


@dataclass(frozen=True, slots=True)
class World:
    """What a case may use."""

    client: Client
    root: Client
    oauth: OAuthServer
    database_url: str
    start: StartServer

    def get(self, key: str, connection_id: str = "a", **fields: Any) -> Failure:
        """Return the failure of a read."""
        return self.client.fails(self.client.connections.GetConnection, get_request(key, connection_id, **fields))

    def due(self, connection_id: str = "a") -> None:
        """Import tokens that have expired."""
        self.client.oauth_connection("crm", connection_id, self.oauth.issue(), expires_in=-10)

    def server_of_its_own(self, **settings: Any) -> tuple[ServerProcess, Client]:
        """Start a server for this case alone, and return a client with an admin key."""
        server = self.start(**settings)
        key = server.bootstrap("own")
        self.client.remember(key)
        channel = grpc.insecure_channel(server.address, options=[("grpc.enable_retries", 0)])
        return server, Client(channel, key, environment="own", seen=self.client.seen, remember=self.client.remember)


Case = Callable[[World], Failure]
CASES: Final[dict[str, Case]] = {}


def case(function: Case) -> Case:
    CASES[function.__name__.upper()] = function
    return function


@case
def invalid_request(world: World) -> Failure:
    failure = world.get("", "")
    assert set(failure.violations) == {"provider_config_key", "connection_id"}
    assert failure.metadata == {"violations": "2"}
    return failure


@case
def page_token_invalid(world: World) -> Failure:
    request = _c.ListConnectionsRequest(page_token="AAAA")
    return world.client.fails(world.client.connections.ListConnections, request)


@case
def page_token_mismatch(world: World) -> Failure:
    world.client.api_key_connection("mail", "b")
    token = world.client.pages(page_size=1)[0].next_page_token
    request = _c.ListConnectionsRequest(page_token=token, search="a")
    return world.client.fails(world.client.connections.ListConnections, request)


@case
def connection_not_found(world: World) -> Failure:
    failure = world.get("mail", "nobody")
    assert failure.metadata == {"providerConfigKey": "mail", "connectionId": "nobody"}
    assert failure.resource == ("connections.v1.Connection", "mail/nobody")
    return failure


@case
def integration_not_found(world: World) -> Failure:
    request = integration_service_pb2.GetIntegrationRequest(provider_config_key="nothing")
    failure = world.client.fails(world.client.integrations.GetIntegration, request)
    create = create_request(provider_config_key="nothing", connection_id="a", metadata={})
    assert world.client.fails(world.client.connections.CreateConnection, create) == failure
    assert failure.metadata == {"providerConfigKey": "nothing"}
    return failure


@case
def provider_not_found(world: World) -> Failure:
    request = provider_service_pb2.GetProviderRequest(provider="githab")
    failure = world.client.fails(world.client.providers.GetProvider, request)
    assert failure.metadata == {"provider": "githab"}
    return failure


@case
def environment_not_found(world: World) -> Failure:
    request = admin_service_pb2.ListApiKeysRequest(environment="stage")
    failure = world.root.fails(world.root.admin.ListApiKeys, request)
    assert failure.metadata == {"environment": "stage"}
    return failure


@case
def api_key_not_found(world: World) -> Failure:
    missing = "00000000-0000-4000-8000-000000000000"
    request = admin_service_pb2.DeleteApiKeyRequest(environment=world.client.environment, api_key_id=missing)
    failure = world.root.fails(world.root.admin.DeleteApiKey, request)
    assert failure.metadata == {"apiKeyId": missing}
    return failure


@case
def integration_already_exists(world: World) -> Failure:
    request = integration_service_pb2.CreateIntegrationRequest()
    request.integration.provider_config_key, request.integration.provider = "mail", "api-key-generic"
    failure = world.client.fails(world.client.integrations.CreateIntegration, request)
    assert failure.metadata == {"providerConfigKey": "mail"}
    return failure


@case
def environment_already_exists(world: World) -> Failure:
    request = admin_service_pb2.CreateEnvironmentRequest(name=world.client.environment)
    failure = world.root.fails(world.root.admin.CreateEnvironment, request)
    assert failure.metadata == {"environment": world.client.environment}
    return failure


@case
def integration_has_connections(world: World) -> Failure:
    request = integration_service_pb2.DeleteIntegrationRequest(provider_config_key="mail")
    failure = world.client.fails(world.client.integrations.DeleteIntegration, request)
    assert failure.metadata == {"providerConfigKey": "mail"}
    return failure


@case
def etag_mismatch(world: World) -> Failure:
    request = _c.SetMetadataRequest(**MAIL, metadata=struct({}), etag='"7"')
    failure = world.client.fails(world.client.connections.SetMetadata, request)
    assert failure.metadata == {"currentEtag": '"1"'}
    return failure


@case
def reauthorization_required(world: World) -> Failure:
    world.client.oauth_connection("crm", "a", world.oauth.issue(), expires_in=-10)
    spent = world.client.basic("crm", "a")
    world.oauth.fault("error200")
    failure = world.get("crm")
    assert failure.metadata["connectionId"] == spent.connection_id
    # The same answer later, without asking the provider again.
    assert world.get("crm").reason == failure.reason
    assert world.client.basic("crm", "a").status_reason == error_reason_pb2.ERROR_REASON_REAUTHORIZATION_REQUIRED
    return failure


@case
def not_refreshable(world: World) -> Failure:
    return world.client.fails(world.client.connections.ForceRefresh, force_request("mail", "a"))


@case
def credentials_expired(world: World) -> Failure:
    world.client.oauth_connection("crm", "a", world.oauth.issue(refreshable=False), expires_in=-10)
    failure = world.get("crm")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", failure.metadata["expireTime"])
    return failure


@case
def integration_misconfigured(world: World) -> Failure:
    world.client.oauth_integration(world.oauth, "wrong", client_secret="not-the-secret-of-it")
    world.client.oauth_connection("wrong", "a", world.oauth.issue(), expires_in=-10)
    failure = world.get("wrong")
    assert failure.metadata["providerConfigKey"] == "wrong"
    return failure


@case
def outcome_unknown(world: World) -> Failure:
    world.due()
    world.oauth.fault("lost")
    failure = world.get("crm")
    assert world.get("crm").reason == failure.reason
    assert world.oauth.stats().total == 1
    return failure


@case
def provider_unavailable(world: World) -> Failure:
    world.due()
    world.oauth.fault("http500")
    failure = world.get("crm")
    assert failure.metadata["provider"] == "oauth2-generic"
    return failure


@case
def provider_rate_limited(world: World) -> Failure:
    world.due()
    world.oauth.fault("http429", retry_after=77)
    failure = world.get("crm")
    assert failure.retry_after is not None
    assert failure.retry_after >= 77
    return failure


@case
def provider_response_invalid(world: World) -> Failure:
    world.due()
    world.oauth.fault("html")
    return world.get("crm")


@case
def refresh_backing_off(world: World) -> Failure:
    world.due()
    world.oauth.fault("http500")
    world.get("crm")
    failure = world.get("crm")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", failure.metadata["nextRefreshTime"])
    assert failure.metadata["lastReason"] == "PROVIDER_UNAVAILABLE"
    assert world.oauth.stats().total == 1
    return failure


@case
def refresh_continues(world: World) -> Failure:
    world.due()
    world.oauth.fault("delay", seconds=1.5)
    request = get_request("crm", "a")
    failure = world.client.fails(world.client.connections.GetConnection, request, timeout=0.7)
    # The next read has its result, of the same exchange.
    assert world.oauth.is_active(world.client.get("crm", "a").credentials.oauth2.access_token)
    assert world.oauth.stats().total == 1
    return failure


@case
def deadline_too_short(world: World) -> Failure:
    world.due()
    request = force_request("crm", "a")
    failure = world.client.fails(world.client.connections.ForceRefresh, request, timeout=0.9)
    assert failure.metadata == {"requiredMs": "1000"}
    assert world.oauth.stats().total == 0
    return failure


@case
def deadline_exceeded(world: World) -> Failure:
    with psycopg.connect(world.database_url) as blocker:
        blocker.execute("SELECT 1 FROM connections WHERE connection_id = 'locked' FOR UPDATE")
        world.client.api_key_connection("mail", "locked")
        blocker.commit()
        blocker.execute("SELECT 1 FROM connections WHERE connection_id = 'locked' FOR UPDATE")
        request = _c.SetMetadataRequest(provider_config_key="mail", connection_id="locked", metadata=struct({"a": 1}))
        failure = world.client.fails(world.client.connections.SetMetadata, request, timeout=0.7)
    assert not world.client.get("mail", "locked").metadata.fields
    return failure


@case
def storage_unavailable(world: World) -> Failure:
    with own_postgres() as postgres, postgres.database() as url:
        _, client = world.server_of_its_own(database=url)
        client.integration("mail", "api-key-generic")
        client.api_key_connection("mail", "a")
        postgres.halt()
        failure = client.fails(client.connections.GetConnection, get_request("mail", "a"))
        for method, request in (
            (client.connections.SetMetadata, _c.SetMetadataRequest(**MAIL, metadata=struct({"a": 1}))),
            (client.connections.ListConnections, _c.ListConnectionsRequest()),
            (client.connections.CreateConnection, create_request(**MAIL, metadata={})),
        ):
            assert client.fails(method, request).reason == failure.reason
        postgres.start()
        # It comes back by itself.
        _until(lambda: _answers(client))
        assert client.get("mail", "a").etag == '"1"'
    return failure


def _answers(client: Client) -> bool:
    with contextlib.suppress(grpc.RpcError):
        client.get("mail", "a")
        return True
    return False


def _until(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@case
def overloaded(world: World) -> Failure:
    _, client = world.server_of_its_own(max_concurrent_calls="1")
    client.oauth_integration(world.oauth)
    client.oauth_connection("crm", "a", world.oauth.issue(), expires_in=-10)
    world.oauth.fault("delay", seconds=2)
    request = get_request("crm", "a")
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(client.call, client.connections.GetConnection, request)
        _until(lambda: world.oauth.stats().total == 1)
        failure = client.fails(client.connections.GetConnection, request)
        assert slow.result().connection.generation == 2
    assert failure.metadata == {"limit": "1"}
    assert client.get("crm", "a").generation == 2
    return failure


@case
def shutting_down(world: World) -> Failure:
    server, client = world.server_of_its_own(shutdown_grace="20s")
    client.integration("mail", "api-key-generic")
    padding = {"x": "y" * 60_000}
    for number in range(40):
        client.api_key_connection("mail", f"c{number}", metadata=padding)
    request = _c.ListConnectionsRequest(page_size=1)
    stream: Any = client.connections.ListConnections(request, timeout=30, metadata=client.metadata)
    # A reader who reads one page and then nothing: flow control holds the server in the middle of the list.
    page = next(stream)
    server.signal(signal.SIGTERM)
    _until(lambda: '"stopping"' in server.logs())
    read = [page]
    try:
        read.extend(stream)
    except grpc.RpcError as error:
        failure = failure_of(error)
    else:
        raise AssertionError("the list came to its end although the server was shutting down")
    assert len(read) < 40
    assert read[-1].next_page_token
    assert server.wait() == 0
    return failure


@case
def caller_unauthenticated(world: World) -> Failure:
    nobody = world.client.with_key("")
    return nobody.fails(nobody.connections.GetConnection, get_request("mail", "a"))


@case
def permission_denied(world: World) -> Failure:
    return world.client.fails(world.client.admin.ListEnvironments, admin_service_pb2.ListEnvironmentsRequest())


@case
def credentials_unreadable(world: World) -> Failure:
    world.client.api_key_connection("mail", "b")
    with psycopg.connect(world.database_url, autocommit=True) as database:
        # Copied whole from another row of the same environment: column, data key and all.
        database.execute(
            "UPDATE connections SET (sealed_credentials, wrapped_data_key) ="
            " (SELECT sealed_credentials, wrapped_data_key FROM connections o"
            "  WHERE o.environment_id = connections.environment_id AND o.connection_id = 'b')"
            " WHERE connection_id = 'a' AND environment_id ="
            " (SELECT environment_id FROM environments WHERE name = %s)",
            (world.client.environment,),
        )
    failure = world.get("mail")
    # Only what is sealed is out of reach, and only of that row.
    assert world.client.basic("mail", "a").connection_id == "a"
    assert world.client.get("mail", "b").credentials.api_key.api_key
    return failure


@case
def method_not_found(world: World) -> Failure:
    failures = set()
    for method in ("/connections.v1.ConnectionService/Get", "/connections.v1.Nothing/Get", "/x/y"):
        call = world.client.channel.unary_unary(method, None, None)
        with pytest.raises(grpc.RpcError) as caught:
            call(b"", timeout=10, metadata=world.client.metadata)
        failure = failure_of(caught.value)
        assert failure.metadata == {"method": method}
        failures.add((failure.code, failure.reason))
    assert len(failures) == 1
    return failure


# What no caller can bring about is raised inside, behind the real chain, server and wire.


class _Failing:
    """Stands for the servicer: raises what it is given."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __getattr__(self, name: str) -> Any:
        async def method(request: Any, call: Any) -> Any:
            raise self._error

        return method


@contextlib.asynccontextmanager
async def _serving(error: BaseException) -> AsyncIterator[str]:
    async def fine() -> None:
        return None

    readiness = Readiness((), fine)
    settings = ServerSettings("127.0.0.1:0", False, False, 4 << 20, 60, 600, 60, None)
    steps = (identity, access_log, measure, errors, Budget(cap=30))
    server = RpcServer(settings, {"ConnectionService": _Failing(error)}, steps, readiness)
    await server.start()
    try:
        yield f"127.0.0.1:{server.port}"
    finally:
        await server.stop(0)


def _raised_inside(error: BaseException) -> Failure:
    async def main() -> Failure:
        async with _serving(error) as address, grpc.aio.insecure_channel(address) as channel:
            stub: Any = connection_service_pb2_grpc.ConnectionServiceStub(channel)
            try:
                await stub.GetConnection(get_request("mail", "a"), timeout=10)
            except grpc.aio.AioRpcError as failed:
                return failure_of(failed)
        raise AssertionError("the call succeeded")

    return asyncio.run(main())


@case
def write_conflict(world: World) -> Failure:
    del world
    return _raised_inside(WriteConflict("two writes met; repeat the call", retry_after=0.0))


@case
def internal(world: World) -> Failure:
    secret = "what-an-exception-quotes"
    world.client.remember(secret)
    failure = _raised_inside(ValueError(secret))
    assert failure.metadata["requestId"]
    assert secret not in failure.text
    return failure


@case
def interrupted(world: World) -> Failure:
    del world
    return _raised_inside(asyncio.CancelledError())


@pytest.fixture
def world(
    service: Service, client: Client, oauth_server: OAuthServer, connections_server: StartServer, canaries: Canaries
) -> World:
    client.integration("mail", "api-key-generic")
    client.api_key_connection("mail", "a")
    client.oauth_integration(oauth_server)
    # One answer closes the breaker that other tests may have opened.
    client.oauth_connection("crm", "first", oauth_server.issue())
    client.force("crm", "first")
    oauth_server.reset()
    return World(client, service.root, oauth_server, service.database_url, connections_server)


def _promised(reason: str) -> tuple[str, str]:
    """Return what error_reason.proto says of a reason: its code, and its whole comment."""
    match = re.search(rf"((?:  //[^\n]*\n)+)  ERROR_REASON_{reason} = ", PROTO.read_text())
    assert match is not None
    comment = " ".join(line.strip().removeprefix("//").strip() for line in match[1].splitlines())
    code = re.search(r"\b([A-Z_]{7,}), for example `", comment)
    assert code is not None, comment
    return code[1], comment


@pytest.mark.parametrize("reason", REASONS)
def test_a_reason_is_reached_with_what_the_contract_promises(world: World, reason: str) -> None:
    failure = CASES[reason](world)
    code, comment = _promised(reason)
    assert (failure.reason, failure.code.name, failure.domain) == (reason, code, "connections")
    assert failure.infos == 1
    assert failure.message
    example = set(re.findall(r'"(\w+)":', comment)) - {"reason", "domain", "metadata"}
    assert example <= set(failure.metadata)
    if "RetryInfo" in comment or reason in _RETRYABLE:
        assert failure.retry_after is not None
    if failure.code == grpc.StatusCode.FAILED_PRECONDITION:
        assert failure.preconditions == (reason,)
    if failure.code == grpc.StatusCode.NOT_FOUND:
        assert failure.resource is not None


def test_no_case_is_without_a_reason() -> None:
    assert set(CASES) == set(REASONS)
