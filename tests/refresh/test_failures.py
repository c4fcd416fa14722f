"""Promise 7: failures are told apart. And what strange answers mean (the table of docs/refresh.md)."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any

import pytest
from connections.v1 import connection_pb2, error_reason_pb2, integration_pb2, integration_service_pb2

from tests.refresh.conftest import World
from tests.support.scripted_provider import ScriptedProvider, scripted_provider
from tests.support.service import INTEGRATION, Service, write_template

ACTIVE = connection_pb2.CONNECTION_STATUS_ACTIVE
FAILING = connection_pb2.CONNECTION_STATUS_REFRESH_FAILING
DEAD = connection_pb2.CONNECTION_STATUS_REAUTHORIZATION_REQUIRED


@pytest.fixture
def provider(world: World) -> Iterator[ScriptedProvider]:
    with scripted_provider() as running:
        world.oauth.token_url = running.url
        yield running
        world.oauth.token_url = f"{world.oauth.url}/token"


@pytest.fixture
def service(world: World, provider: ScriptedProvider) -> Service:
    del provider
    world.template(reuse_window="unlimited")
    return world.start()[1]


def put(service: Service, world: World, name: str, *, expires_in: float = -1) -> None:
    service.import_pair(world.oauth.issue(), expires_in=expires_in, connection_id=name)


def reason(connection: Any) -> str:
    return error_reason_pb2.ErrorReason.Name(connection.status_reason).removeprefix("ERROR_REASON_")


def test_promise_7_a_refused_grant_is_final_at_once(world: World, provider: ScriptedProvider, service: Service) -> None:
    put(service, world, "c", expires_in=300)
    provider.answer({"error": "invalid_grant"}, status=400)

    # The token still lives: the reader gets it, and the state says what happened.
    got = service.get("c")
    assert got.credentials.oauth2.access_token
    assert (got.status, reason(got)) == (DEAD, "REAUTHORIZATION_REQUIRED")
    assert not got.HasField("next_refresh_time")
    service.get("c")
    assert len(provider.requests) == 1

    put(service, world, "dead")
    failure = service.get_failure("dead")
    assert (failure.code, failure.reason) == ("FAILED_PRECONDITION", "REAUTHORIZATION_REQUIRED")
    assert service.get_failure("dead").reason == "REAUTHORIZATION_REQUIRED"
    assert len(provider.requests) == 2


def test_promise_7_a_refused_client_is_the_integration_s_fault(
    world: World, provider: ScriptedProvider, service: Service
) -> None:
    put(service, world, "one")
    put(service, world, "two")
    provider.answer({"error": "invalid_client"}, status=401)

    assert service.get_failure("one").reason == "INTEGRATION_MISCONFIGURED"
    # All its connections wait, without asking the provider again; none is marked dead.
    assert service.get_failure("two").reason == "INTEGRATION_MISCONFIGURED"
    assert len(provider.requests) == 1
    assert service.basic("one").status == FAILING
    assert service.basic("two").status == FAILING

    provider.answer({"access_token": "fresh", "expires_in": 3600})
    service.integrations.UpdateIntegration(
        integration_service_pb2.UpdateIntegrationRequest(
            integration=integration_pb2.Integration(provider_config_key=INTEGRATION, client_secret="corrected")
        )
    )
    assert service.get("one").credentials.oauth2.access_token == "fresh"
    assert service.get("two").status == ACTIVE
    assert provider.requests[-1]["client_secret"] == "corrected"


@pytest.mark.parametrize(
    ("body", "status", "expected"),
    [
        ({}, 503, "PROVIDER_UNAVAILABLE"),
        ("<html>maintenance</html>", 200, "PROVIDER_RESPONSE_INVALID"),
        ({"token_type": "Bearer"}, 200, "PROVIDER_RESPONSE_INVALID"),
        ({"error": "temporarily_unavailable"}, 200, "PROVIDER_UNAVAILABLE"),
    ],
)
def test_promise_7_a_passing_trouble_backs_off_and_a_success_clears_it(
    world: World, provider: ScriptedProvider, service: Service, body: Any, status: int, expected: str
) -> None:
    put(service, world, "c")
    provider.answer(body, status=status)

    failure = service.get_failure("c")
    assert (failure.code, failure.reason) == ("UNAVAILABLE", expected)
    failing = service.basic("c")
    assert (failing.status, reason(failing), failing.refresh_attempts) == (FAILING, expected, 1)
    assert failing.next_refresh_time.seconds > time.time()
    backing_off = service.get_failure("c")
    assert (backing_off.code, backing_off.reason) == ("UNAVAILABLE", "REFRESH_BACKING_OFF")
    assert backing_off.retry_after is not None
    assert 0 < backing_off.retry_after <= 10
    assert len(provider.requests) == 1

    provider.answer({"access_token": "fresh", "expires_in": 3600})
    forced = service.force("c").connection
    assert (forced.status, forced.refresh_attempts, forced.status_reason) == (ACTIVE, 0, 0)
    assert not forced.HasField("last_refresh_failure_time")


def test_promise_7_a_rate_limit_is_waited_out(world: World, provider: ScriptedProvider, service: Service) -> None:
    put(service, world, "c")
    provider.answer({}, status=429, headers={"Retry-After": "120"})

    failure = service.get_failure("c")
    assert (failure.code, failure.reason) == ("RESOURCE_EXHAUSTED", "PROVIDER_RATE_LIMITED")
    assert service.basic("c").next_refresh_time.seconds > time.time() + 110


def test_promise_7_an_outage_opens_the_breaker_and_marks_nobody_else(
    world: World, provider: ScriptedProvider, service: Service
) -> None:
    names = [f"c{number}" for number in range(8)]
    for name in names:
        put(service, world, name)
    provider.answer({}, status=503)

    for name in names:
        assert service.get_failure(name).reason == "PROVIDER_UNAVAILABLE"

    assert len(provider.requests) == 5
    assert [service.basic(name).status for name in names] == [FAILING] * 5 + [ACTIVE] * 3
    stopped = service.get_failure(names[-1])
    assert stopped.retry_after is not None
    # A person may try all the same, and an answer closes the breaker.
    provider.answer({"access_token": "fresh", "expires_in": 3600})
    service.force(names[0])
    assert service.get(names[-1]).credentials.oauth2.access_token == "fresh"


@pytest.mark.parametrize("expires_in", [-5, 0, 1e300, 400_000_000, "soon", None, [], math.pi * 1e12])
def test_an_absurd_expires_in_is_as_if_not_given(
    world: World, provider: ScriptedProvider, service: Service, expires_in: Any
) -> None:
    put(service, world, "c")
    provider.answer({"access_token": "fresh", "expires_in": expires_in})
    got = service.get("c")
    assert got.credentials.oauth2.access_token == "fresh"
    assert got.status == ACTIVE
    assert not got.HasField("credentials_expire_time")


def test_promise_10_the_last_known_life_stands_in_for_a_missing_one(
    world: World, provider: ScriptedProvider, service: Service
) -> None:
    put(service, world, "c")
    provider.answer({"access_token": "first", "expires_in": 7200})
    service.force("c")
    provider.answer({"access_token": "second"})
    got = service.force("c").connection
    assert got.credentials.oauth2.access_token == "second"
    assert abs(got.credentials_expire_time.seconds - (time.time() + 7200)) < 30


def test_promise_10_the_template_s_default_stands_in_for_a_missing_one(
    world: World, provider: ScriptedProvider
) -> None:
    write_template(world.templates, world.oauth, reuse_window="unlimited", default_lifetime=1800)
    _, service = world.start()
    put(service, world, "c")
    provider.answer({"access_token": "fresh"})
    assert abs(service.get("c").credentials_expire_time.seconds - (time.time() + 1800)) < 30


def test_promise_10_an_expired_token_without_refresh_token_is_an_error(world: World, service: Service) -> None:
    pair = world.oauth.issue(refreshable=False)
    service.import_pair(pair, expires_in=-1, connection_id="c")
    failure = service.get_failure("c")
    assert (failure.code, failure.reason) == ("FAILED_PRECONDITION", "CREDENTIALS_EXPIRED")
    assert service.force_failure("c").reason == "NOT_REFRESHABLE"


def test_no_refresh_token_in_the_answer_keeps_the_old_one(
    world: World, provider: ScriptedProvider, service: Service
) -> None:
    pair = world.oauth.issue()
    service.import_pair(pair, expires_in=-1, connection_id="c")
    provider.answer({"access_token": "fresh", "expires_in": 3600})
    got = service.get("c", include_refresh_token=True)
    assert got.credentials.oauth2.refresh_token == pair.refresh_token
    service.force("c")
    assert [request["refresh_token"] for request in provider.requests] == [pair.refresh_token] * 2


def test_a_changed_token_type_and_a_smaller_scope_are_shown(
    world: World, provider: ScriptedProvider, service: Service
) -> None:
    put(service, world, "c")
    provider.answer({"access_token": "fresh", "token_type": "DPoP", "scope": "read", "expires_in": 60})
    got = service.get("c")
    assert got.credentials.oauth2.token_type == "DPoP"
    assert list(got.granted_scopes) == ["read"]
    assert got.status == ACTIVE
