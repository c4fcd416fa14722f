"""How the server behaves around its calls: the chain, health, reflection, draining, refusing to start."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import re
import signal
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import grpc
import psutil
import psycopg
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from server.app import Application
from server.crypto.keyring import new_keyring
from server.domain.errors import CallerUnauthenticated
from server.rpc import chain
from server.rpc.call import Call
from server.rpc.server import FULL_NAMES
from tests.conftest import StartServer
from tests.service.conftest import Service
from tests.support.canaries import Canaries
from tests.support.client import Client, get_request
from tests.support.grpcurl import Grpcurl
from tests.support.oauth import OAuthServer
from tests.support.own_postgres import own_postgres
from tests.support.server_process import ServerProcess, run_command

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    """Wait until a condition holds; a net for hangs, not an expectation."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def health_of(address: str, service: str = "") -> int:
    with grpc.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        status: int = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=5).status
        return status


def http(server: ServerProcess, path: str) -> tuple[int, str]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://{server.addresses.http}{path}", timeout=10) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def lines(server: ServerProcess) -> list[dict[str, Any]]:
    return [json.loads(line) for line in server.logs().splitlines() if line.startswith("{")]


@pytest.fixture
def own(connections_server: StartServer, canaries: Canaries) -> Iterator[Callable[..., tuple[ServerProcess, Client]]]:
    """Start a server of the test's own and return it with an admin client."""
    channels = []

    def start(*arguments: str, **settings: Any) -> tuple[ServerProcess, Client]:
        server = connections_server(*arguments, **settings)
        key = canaries.add(server.bootstrap("own"))
        channel = grpc.insecure_channel(server.address, options=[("grpc.enable_retries", 0)])
        channels.append(channel)
        return server, Client(channel, key, remember=canaries.add)

    yield start
    for channel in channels:
        channel.close()


# The chain

_STEPS: Final = {
    "identity": "identity,",
    "access_log": "access_log,",
    "metrics": "measure,",
    "errors": "errors,",
    "shed": "Shed(",
    "authenticate": "Authenticate(",
    "deadline": "Budget(",
}


def test_the_chain_is_in_the_order_that_it_explains() -> None:
    explained = re.findall(r"^\d\. `(\w+)`", chain.__doc__ or "", re.MULTILINE)
    source = inspect.getsource(Application._start)
    steps = source[source.index("steps = (") :]
    places = [steps.index(_STEPS[name]) for name in explained]
    assert places == sorted(places)
    assert set(explained) == set(_STEPS)


async def _awaited(result: Awaitable[Any]) -> Any:
    return await result


def test_each_step_stands_where_its_reason_needs_it() -> None:
    """A refusal by the innermost step passes all the others outwards, each of which sees its final code."""
    seen: list[str] = []

    def noting(name: str) -> chain.Step:
        async def step(inner: Any, request: Any, call: Call) -> Any:
            seen.append(f"{name} in {call.code} {bool(call.request_id)}")
            try:
                return await inner(request, call)
            finally:
                seen.append(f"{name} out {call.code}")

        return step

    async def refuse(request: Any, call: Call) -> Any:
        raise CallerUnauthenticated("no")

    steps = [chain.identity, noting("below identity"), chain.errors, noting("below errors")]
    call = Call("/connections.v1.ConnectionService/GetConnection", (), "peer", None)
    with pytest.raises(CallerUnauthenticated):
        asyncio.run(_awaited(chain.compose(steps, refuse)(None, call)))
    assert seen == [
        "below identity in OK True",
        "below errors in OK True",
        "below errors out OK",
        "below identity out UNAUTHENTICATED",
    ]
    assert call.reason == "CALLER_UNAUTHENTICATED"


def test_a_refusal_is_logged_and_counted_and_does_not_hold_a_place(own: Any) -> None:
    server, client = own(max_concurrent_calls="1")
    nobody = client.with_key("")
    for _ in range(3):
        failure = nobody.fails(nobody.connections.GetConnection, get_request("mail", "a"))
        assert failure.reason == "CALLER_UNAUTHENTICATED"
    assert client.ids() == []
    logged = [line for line in lines(server) if line.get("reason") == "CALLER_UNAUTHENTICATED"]
    assert len(logged) == 3
    _, text = http(server, "/metrics")
    method = "/connections.v1.ConnectionService/GetConnection"
    counted = f'grpc_server_handled_total{{grpc_code="UNAUTHENTICATED",grpc_method="{method}"}} 3.0'
    assert counted in text


def test_one_line_for_each_call_with_its_request_id(service: Service, client: Client) -> None:
    client.integration("mail", "api-key-generic")
    client.api_key_connection("mail", "logged")
    metadata = (
        *client.metadata,
        ("x-request-id", "req-of-this-test"),
        ("traceparent", f"00-{'ab' * 16}-{'cd' * 8}-01"),
    )
    client.connections.GetConnection(get_request("mail", "logged"), timeout=10, metadata=metadata)
    until(lambda: "req-of-this-test" in service.server.logs())
    (line,) = [line for line in lines(service.server) if line.get("request_id") == "req-of-this-test"]
    assert line["method"] == "/connections.v1.ConnectionService/GetConnection"
    assert (line["code"], line["level"], line["event"]) == ("OK", "info", "rpc")
    assert (line["provider_config_key"], line["connection_id"]) == ("mail", "logged")
    assert (line["environment"], line["trace_id"]) == (client.environment, "ab" * 16)
    assert {"duration_ms", "peer", "api_key_id", "timestamp"} <= set(line)
    # An id that could break the line is not taken.
    bad = (*client.metadata, ("x-request-id", "r" * 129))
    client.connections.GetConnection(get_request("mail", "logged"), timeout=10, metadata=bad)
    assert "r" * 129 not in service.server.logs()


# Health and reflection


def test_health_overall_and_for_each_service(service: Service) -> None:
    assert health_of(service.address) == SERVING
    for name in FULL_NAMES:
        assert health_of(service.address, name) == SERVING
    with pytest.raises(grpc.RpcError) as caught:
        health_of(service.address, "connections.v1.Nothing")
    failed: Any = caught.value
    assert failed.code() == grpc.StatusCode.NOT_FOUND


def test_metrics_and_probes_over_http(service: Service, client: Client) -> None:
    client.ids()
    assert http(service.server, "/healthz") == (200, "ok\n")
    assert http(service.server, "/readyz") == (200, "ready\n")
    status, text = http(service.server, "/metrics")
    assert status == 200
    assert "grpc_server_handled_total" in text
    assert "connections_reads_total" in text
    assert http(service.server, "/nothing")[0] == 404


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_reflection_shows_what_there_is(service: Service, grpcurl: Grpcurl, version: str) -> None:
    listed = grpcurl(service.address, "list")
    assert set(FULL_NAMES) <= set(listed.stdout.split())
    assert f"grpc.reflection.{version}.ServerReflection" in listed.stdout
    request = {"file_containing_symbol": "connections.v1.ConnectionService"}
    answer = grpcurl(service.address, f"grpc.reflection.{version}.ServerReflection/ServerReflectionInfo", request)
    assert answer.exit_code == 0, answer.stderr
    assert answer.messages()[0]["file_descriptor_response"]["file_descriptor_proto"]


def test_reflection_describes_what_there_is(service: Service, grpcurl: Grpcurl) -> None:
    described = grpcurl(service.address, "describe")
    assert described.exit_code == 0, described.stderr
    for name in ("GetConnection", "ListConnections", "CreateEnvironment", "ListProviders", "UpdateIntegration"):
        assert f"rpc {name} (" in described.stdout


def test_readiness_follows_a_database_that_hangs(own: Any) -> None:
    with own_postgres() as postgres, postgres.database() as url:
        server, client = own(database=url)
        assert client.ids() == []
        postgres.freeze()
        try:
            # Ten seconds are promised; the rest is for a busy machine.
            until(lambda: health_of(server.address) == NOT_SERVING, 20)
            assert all(health_of(server.address, name) == NOT_SERVING for name in FULL_NAMES)
            assert http(server, "/readyz")[0] == 503
            assert http(server, "/healthz")[0] == 200
            failure = client.fails(client.connections.GetConnection, get_request("mail", "a"), timeout=2)
            assert failure.code in {grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE}
        finally:
            postgres.thaw()
        until(lambda: health_of(server.address) == SERVING)
        assert client.ids() == []
        assert server.terminate() == 0


# Stopping


def importing(client: Client, oauth: OAuthServer) -> None:
    client.oauth_integration(oauth)
    client.oauth_connection("crm", "a", oauth.issue(), expires_in=-10)


def test_a_stop_finishes_what_runs_and_ends_well(own: Any, oauth_server: OAuthServer) -> None:
    server, client = own(drain_delay="500ms")
    importing(client, oauth_server)
    oauth_server.fault("delay", seconds=2)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(client.get, "crm", "a")
        until(lambda: oauth_server.stats().total == 1)
        server.signal(signal.SIGTERM)
        until(lambda: '"draining"' in server.logs())
        # It still serves, and says that it does not want more.
        assert health_of(server.address) == NOT_SERVING
        assert http(server, "/readyz")[0] == 503
        found = slow.result()
    assert oauth_server.is_active(found.credentials.oauth2.access_token)
    assert server.wait() == 0
    assert any(line["event"] == "stopped" and line["calls_left"] == 0 for line in lines(server))


def test_a_stop_waits_for_an_exchange_whose_caller_has_left(
    own: Any, oauth_server: OAuthServer, database_url: str
) -> None:
    server, client = own()
    importing(client, oauth_server)
    oauth_server.fault("delay", seconds=2)
    request = get_request("crm", "a")
    assert client.fails(client.connections.GetConnection, request, timeout=0.5).reason == "REFRESH_CONTINUES"
    assert server.terminate() == 0
    with psycopg.connect(database_url) as database:
        assert database.execute("SELECT generation FROM connections").fetchall() == [(2,)]
        assert database.execute("SELECT count(*) FROM refresh_attempts").fetchone() == (0,)


def test_a_second_signal_ends_it_at_once(own: Any, oauth_server: OAuthServer) -> None:
    server, client = own()
    importing(client, oauth_server)
    oauth_server.fault("delay", seconds=60)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(client.fails, client.connections.GetConnection, get_request("crm", "a"))
        until(lambda: oauth_server.stats().total == 1)
        server.signal(signal.SIGTERM)
        until(lambda: '"draining"' in server.logs())
        server.signal(signal.SIGTERM)
        assert server.wait(10) == 1
        assert slow.result().code == grpc.StatusCode.UNAVAILABLE


def test_a_caller_that_leaves_does_not_cancel_others(
    service: Service, client: Client, oauth_server: OAuthServer
) -> None:
    importing(client, oauth_server)
    oauth_server.fault("delay", seconds=1)
    with ThreadPoolExecutor(4) as pool:
        others = [pool.submit(client.get, "crm", "a") for _ in range(3)]
        leaving = client.connections.GetConnection.future(get_request("crm", "a"), timeout=30, metadata=client.metadata)
        until(lambda: oauth_server.stats().total == 1)
        leaving.cancel()
        tokens = {future.result().credentials.oauth2.access_token for future in others}
    assert len(tokens) == 1
    assert oauth_server.stats().total == 1


# Several workers


def workers_of(server: ServerProcess) -> set[int]:
    return {line["pid"] for line in lines(server) if line["event"] == "serving"}


def alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_two_workers_share_a_port_and_one_that_dies_is_replaced(own: Any) -> None:
    server, client = own("--workers", "2")
    until(lambda: len(workers_of(server)) == 2)
    first, second = sorted(workers_of(server))
    time.sleep(2)  # a worker that dies in its first two seconds is taken for one that cannot start
    os.kill(second, signal.SIGKILL)
    until(lambda: len(workers_of(server)) == 3)
    (third,) = workers_of(server) - {first, second}
    assert [alive(pid) for pid in (first, second, third)] == [True, False, True]
    assert any(line["event"] == "worker_died" for line in lines(server))
    for _ in range(20):
        with grpc.insecure_channel(server.address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            Client(channel, client.api_key).ids()
    assert http(server, "/metrics")[0] == 200
    assert server.terminate() == 0
    until(lambda: not alive(first) and not alive(third))


def test_workers_end_when_their_parent_is_killed(connections_server: StartServer) -> None:
    server = connections_server("--workers", "2")
    until(lambda: len(workers_of(server)) == 2)
    pids = workers_of(server)
    os.kill(server.pid, signal.SIGKILL)
    until(lambda: not any(alive(pid) for pid in pids))


# Refusing to start


def refusal(settings: dict[str, str], *arguments: str) -> str:
    done = run_command("serve", *arguments, settings=settings)
    assert done.returncode != 0, done.stdout
    assert "Traceback" not in done.stderr
    return done.stderr


def test_a_wrong_keyring_is_refused_at_the_start(connections_server: StartServer, canaries: Canaries) -> None:
    server = connections_server()
    server.bootstrap()
    server.terminate()
    keyring = new_keyring("k1")
    secret = canaries.add(json.loads(keyring)["keys"]["k1"])
    said = refusal(server.settings | {"CONNECTIONS_KEYRING": keyring})
    assert "the keyring does not open what this database holds" in said
    assert secret not in said
    missing = new_keyring("k2")
    assert "k1" in refusal(server.settings | {"CONNECTIONS_KEYRING": missing})
    broken = refusal(server.settings | {"CONNECTIONS_KEYRING": '{"primary": "k1", "keys": {"k1": "c2hvcnQ="}}'})
    assert "CONNECTIONS_KEYRING" in broken
    assert "c2hvcnQ=" not in broken
    without = {name: value for name, value in server.settings.items() if name != "CONNECTIONS_KEYRING"}
    assert "CONNECTIONS_KEYRING is missing" in refusal(without)


def test_a_schema_that_is_behind_is_refused(connections_server: StartServer, empty_database_url: str) -> None:
    server = connections_server(database=empty_database_url, ready=False)
    assert server.wait(60) != 0
    assert "connections migrate" in server.logs()
    done = run_command("migrate", settings=server.settings)
    assert done.returncode == 0, done.stderr
    again = connections_server(database=empty_database_url)
    assert again.terminate() == 0


def test_a_port_that_is_taken_is_an_error(connections_server: StartServer) -> None:
    server = connections_server()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        other = f"127.0.0.1:{free.getsockname()[1]}"
    said = refusal(server.settings | {"CONNECTIONS_HTTP_ADDRESS": other})
    assert f"cannot listen on {server.address}" in said
    said = refusal(server.settings | {"CONNECTIONS_GRPC_ADDRESS": other})
    assert server.addresses.http.rpartition(":")[2] in said
    assert health_of(server.address) == SERVING


def test_a_database_that_cannot_be_reached_is_an_error(connections_server: StartServer) -> None:
    server = connections_server()
    server.terminate()
    url = "postgresql://user:password-of-the-database@127.0.0.1:9/nothing"
    said = refusal(server.settings | {"CONNECTIONS_DATABASE_URL": url})
    assert "CONNECTIONS_DATABASE_URL" in said
    assert "password-of-the-database" not in said
