"""What token endpoints are sent, and what becomes of good answers."""

from __future__ import annotations

import base64
import json
import math
from typing import Any
from urllib.parse import parse_qs

import jwt
import pytest

from server.domain.model import (
    ApiKeyCredentials,
    AuthMode,
    BasicCredentials,
    Credentials,
    NoCredentials,
    OAuth2ClientCredentials,
    OAuth2Credentials,
)
from server.domain.secret import Secret
from server.refresh.ports import ExchangeFailed, FailureKind, NewCredentials, ProviderAnswer
from tests.providers.support import ACCESS, CLIENT_SECRET, REFRESH, Endpoint, Setup, http, request

NOW = 1_700_000_000.0


def form(body: bytes) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(body.decode(), strict_parsing=True).items()}


def answer(fields: dict[str, Any] | str, status: int = 200, content_type: str = "application/json") -> ProviderAnswer:
    body = fields if isinstance(fields, str) else json.dumps(fields)
    return ProviderAnswer(status, {"content-type": content_type}, body.encode())


def oauth2(new: NewCredentials) -> OAuth2Credentials:
    assert isinstance(new.credentials, OAuth2Credentials)
    return new.credentials


async def test_refresh_by_form_with_the_client_in_the_body(setup: Setup, endpoint: Endpoint) -> None:
    exchange = setup.exchange()
    endpoint.answer = http(200, '{"access_token": "new"}', Retry_After="7", X_Other="no")
    got = await exchange.send(request(), timeout=5)
    assert endpoint.last.line == "POST /token HTTP/1.1"
    assert endpoint.last.headers["content-type"] == "application/x-www-form-urlencoded"
    assert endpoint.last.headers["accept"] == "application/json"
    assert "authorization" not in endpoint.last.headers
    assert form(endpoint.last.body) == {
        "grant_type": "refresh_token",
        "refresh_token": REFRESH,
        "client_id": "client-1",
        "client_secret": CLIENT_SECRET,
    }
    assert got == ProviderAnswer(
        200, {"content-type": "application/json", "retry-after": "7"}, b'{"access_token": "new"}'
    )


async def test_basic_client_authentication_encodes_id_and_secret_first(setup: Setup, endpoint: Endpoint) -> None:
    exchange = setup.exchange("token_request_auth_method: basic\n")
    await exchange.send(request(client_id="a:b c", client_secret="s/ü+"), timeout=5)
    login = base64.b64decode(endpoint.last.headers["authorization"].removeprefix("Basic ")).decode()
    assert login == "a%3Ab+c:s%2F%C3%BC%2B"
    assert form(endpoint.last.body) == {"grant_type": "refresh_token", "refresh_token": REFRESH}


async def test_json_body(setup: Setup, endpoint: Endpoint) -> None:
    await setup.exchange("body_format: json\n").send(request(), timeout=5)
    assert endpoint.last.headers["content-type"] == "application/json"
    assert json.loads(endpoint.last.body)["refresh_token"] == REFRESH


async def test_client_without_a_secret_names_itself_in_the_body(setup: Setup, endpoint: Endpoint) -> None:
    exchange = setup.exchange("token_request_auth_method: basic\n")
    await exchange.send(request(client_secret=""), timeout=5)
    assert "authorization" not in endpoint.last.headers
    assert form(endpoint.last.body)["client_id"] == "client-1"


async def test_extra_parameters_and_headers_are_interpolated_and_win(setup: Setup, endpoint: Endpoint) -> None:
    exchange = setup.exchange(
        "refresh_params: {grant_type: special, tenant: 'x-${connectionConfig.tenant}', flag: true, n: 7}\n"
        "token_headers: {Never: sent}\n"
        "refresh_token_headers: {X-Tenant: '${connectionConfig.tenant}', accept: text/plain}\n"
        "connection_config: {tenant: {title: T}}\n"
    )
    await exchange.send(request(config={"tenant": "a b&c"}), timeout=5)
    sent = form(endpoint.last.body)
    assert (sent["grant_type"], sent["tenant"], sent["flag"], sent["n"]) == ("special", "x-a b&c", "true", "7")
    assert endpoint.last.headers["x-tenant"] == "a b&c"
    assert endpoint.last.headers["accept"] == "text/plain"
    assert "never" not in endpoint.last.headers


async def test_token_params_serve_a_refresh_without_their_grant_type(setup: Setup, endpoint: Endpoint) -> None:
    exchange = setup.exchange(
        "token_params: {grant_type: authorization_code, audience: api}\ntoken_headers: {X-V: '2'}\n"
    )
    await exchange.send(request(), timeout=5)
    sent = form(endpoint.last.body)
    assert (sent["grant_type"], sent["audience"]) == ("refresh_token", "api")
    assert endpoint.last.headers["x-v"] == "2"


async def test_refresh_url_is_used_and_query_strings_survive(setup: Setup, endpoint: Endpoint) -> None:
    exchange = setup.exchange(
        f"token_url: https://unused.example/t\nrefresh_url: http://{endpoint.host}/r?v=1&p=${{connectionConfig.p}}\n"
        "connection_config: {p: {}}\n"
    )
    asked = request(config={"p": "a/b?c#d&e %"})
    assert exchange.token_host(asked) == endpoint.host
    await exchange.send(asked, timeout=5)
    assert endpoint.last.line == "POST /r?v=1&p=a%2Fb%3Fc%23d%26e%20%25 HTTP/1.1"


async def test_no_cookies_are_kept(setup: Setup, endpoint: Endpoint) -> None:
    exchange = setup.exchange()
    endpoint.answer = http(200, "{}", Set_Cookie="sid=1; Path=/")
    await exchange.send(request(), timeout=5)
    await exchange.send(request(), timeout=5)
    assert "cookie" not in endpoint.last.headers
    assert endpoint.connections == 2


async def test_client_credentials_use_the_integrations_client(setup: Setup, endpoint: Endpoint) -> None:
    exchange = setup.exchange(
        "default_scopes: [a, b]\nscope_separator: ','\ntoken_params: {audience: api}\n", mode="OAUTH2_CC"
    )
    asked = request(OAuth2ClientCredentials(), mode=AuthMode.OAUTH2_CC)
    new = exchange.interpret(asked, await exchange.send(asked, timeout=5), now=NOW)
    assert form(endpoint.last.body) == {
        "grant_type": "client_credentials",
        "scope": "a,b",
        "audience": "api",
        "client_id": "client-1",
        "client_secret": CLIENT_SECRET,
    }
    assert new.credentials == OAuth2ClientCredentials(access_token=Secret("new-at"))
    assert not new.rotated
    assert exchange.facts("acme").reuse_window == math.inf


async def test_client_credentials_of_the_connection_come_first(setup: Setup, endpoint: Endpoint) -> None:
    exchange = setup.exchange(mode="OAUTH2_CC")
    own = OAuth2ClientCredentials("own", Secret("own-secret"), Secret("old"))
    asked = request(own, mode=AuthMode.OAUTH2_CC, scopes=("x", "y"))
    new = exchange.interpret(asked, await exchange.send(asked, timeout=5), now=NOW)
    sent = form(endpoint.last.body)
    assert (sent["client_id"], sent["client_secret"], sent["scope"]) == ("own", "own-secret", "x y")
    assert new.credentials == OAuth2ClientCredentials("own", Secret("own-secret"), Secret("new-at"))


@pytest.mark.parametrize("own", [OAuth2ClientCredentials("own"), OAuth2ClientCredentials()])
async def test_client_credentials_never_mix_two_clients(
    setup: Setup, endpoint: Endpoint, own: OAuth2ClientCredentials
) -> None:
    exchange = setup.exchange(mode="OAUTH2_CC")
    with pytest.raises(ExchangeFailed) as caught:
        await exchange.send(
            request(own, mode=AuthMode.OAUTH2_CC, client_secret=CLIENT_SECRET if own.client_id else ""), timeout=5
        )
    assert caught.value.kind is FailureKind.CONFIGURATION
    assert endpoint.received == []


@pytest.mark.parametrize(
    ("mode", "held"),
    [
        (AuthMode.API_KEY, ApiKeyCredentials(Secret("k"))),
        (AuthMode.BASIC, BasicCredentials("u", Secret("p"))),
        (AuthMode.NONE, NoCredentials()),
        (AuthMode.OAUTH2, OAuth2Credentials(Secret("a"))),
        (AuthMode.OAUTH2, OAuth2Credentials(Secret("a"), Secret(""))),
    ],
)
async def test_what_cannot_be_refreshed_is_not_tried(
    setup: Setup, endpoint: Endpoint, mode: AuthMode, held: Credentials
) -> None:
    exchange = setup.exchange(mode=mode.value)
    assert not exchange.is_refreshable(mode, held)
    with pytest.raises(ExchangeFailed):
        await exchange.send(request(held, mode=mode), timeout=5)
    assert endpoint.received == []


def test_what_can_be_refreshed(setup: Setup) -> None:
    exchange = setup.exchange()
    assert exchange.is_refreshable(AuthMode.OAUTH2, OAuth2Credentials(Secret("a"), Secret("r")))
    assert exchange.is_refreshable(AuthMode.OAUTH2_CC, OAuth2ClientCredentials())


def test_new_tokens_replace_old_ones(setup: Setup) -> None:
    exchange = setup.exchange("token_response_metadata: [instance_url, team.id, team, absent.x]\n")
    fields = {
        "access_token": "a2",
        "refresh_token": "r2",
        "token_type": "DPoP",
        "expires_in": 3600,
        "scope": "read,write admin",
        "instance_url": "https://eu9.example",
        "team": {"id": "T1"},
        "big": 2**70,
    }
    new = exchange.interpret(request(), answer(fields), now=NOW)
    assert oauth2(new) == OAuth2Credentials(Secret("a2"), Secret("r2"), "DPoP", NOW + 3600, ("read", "write", "admin"))
    assert new.rotated
    assert new.granted_scopes == ("read", "write", "admin")
    assert new.connection_config == {"instance_url": "https://eu9.example", "team.id": "T1"}
    assert new.raw.value == fields


@pytest.mark.parametrize("given", [{}, {"refresh_token": None}, {"refresh_token": ""}, {"refresh_token": REFRESH}])
def test_a_refresh_token_that_does_not_change_stays(setup: Setup, given: dict[str, Any]) -> None:
    new = setup.exchange().interpret(request(), answer({"access_token": "a2", **given}), now=NOW)
    assert oauth2(new) == OAuth2Credentials(Secret("a2"), Secret(REFRESH), "Bearer", None, ("a",))
    assert not new.rotated
    assert new.granted_scopes is None


@pytest.mark.parametrize(
    ("expires_in", "life"),
    [
        ("3600", 3600), (3600.5, 3600.5), ("1e3", 1000), (315_360_000, 315_360_000.0),
        (0, None), (-1, None), ("-5", None), (1_700_003_600_000, None), (float("nan"), None), (float("inf"), None),
        ("soon", None), (True, None), (None, None), ([], None), (10**400, None), ("9" * 5000, None),
    ],
)  # fmt: skip
def test_lifetimes(setup: Setup, expires_in: Any, life: float | None) -> None:
    given = answer({"access_token": "a2", "expires_in": expires_in})
    assert oauth2(setup.exchange().interpret(request(), given, now=NOW)).expires_at == (life and NOW + life)
    default = setup.exchange("default_lifetime: 1800\n").interpret(request(), given, now=NOW)
    assert oauth2(default).expires_at == NOW + (life or 1800)


def test_lifetime_in_milliseconds(setup: Setup) -> None:
    exchange = setup.exchange("expires_in_unit: milliseconds\n")
    new = exchange.interpret(request(), answer({"access_token": "a2", "expires_in": "60000"}), now=NOW)
    assert oauth2(new).expires_at == NOW + 60


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({"exp": NOW + 60}, NOW + 60),
        ({"exp": NOW - 60}, NOW + 1800),
        ({"exp": NOW * 1000}, NOW + 1800),
        ({"exp": "x"}, NOW + 1800),
        ({}, NOW + 1800),
        ({"exp": NOW + 60, "pad": "x" * 20_000}, NOW + 1800),
    ],
)
def test_a_jwt_says_itself_when_it_ends(setup: Setup, claims: dict[str, Any], expected: float) -> None:
    exchange = setup.exchange("default_lifetime: 1800\n")
    token = jwt.encode(claims, "k" * 32, algorithm="HS256")
    new = exchange.interpret(request(), answer({"access_token": token}), now=NOW)
    assert oauth2(new).expires_at == expected
    assert exchange.assumed_expiry("acme", Secret(token), now=NOW) == expected


@pytest.mark.parametrize("token", ["a.b.c", "..", "eyJhbGciOiJub25lIn0.W10.x", f"eyJ{'b' * 300}.[[[.x"])
def test_what_only_looks_like_a_jwt_is_just_a_token(setup: Setup, token: str) -> None:
    assert setup.exchange().assumed_expiry("acme", Secret(token), now=NOW) is None


def test_form_encoded_answers_are_read(setup: Setup) -> None:
    given = answer(
        "access_token=a%202&scope=x%2Cy&expires_in=60", content_type="application/x-www-form-urlencoded; charset=utf-8"
    )
    new = setup.exchange().interpret(request(), given, now=NOW)
    assert oauth2(new).access_token == Secret("a 2")
    assert (oauth2(new).expires_at, new.granted_scopes) == (NOW + 60, ("x", "y"))


def test_json_under_a_wrong_content_type_is_read(setup: Setup) -> None:
    new = setup.exchange().interpret(
        request(), answer('\ufeff{"access_token": "a2"}', content_type="text/html"), now=NOW
    )
    assert oauth2(new).access_token == Secret("a2")


def test_numbers_that_json_cannot_carry_on_become_texts(setup: Setup) -> None:
    new = setup.exchange().interpret(
        request(), answer('{"access_token": "a2", "x": NaN, "y": -Infinity, "z": 1e999}'), now=NOW
    )
    assert new.raw.value == {"access_token": "a2", "x": "NaN", "y": "-Infinity", "z": "1e999"}
    json.dumps(new.raw.value, allow_nan=False)


async def test_revocation(setup: Setup, endpoint: Endpoint) -> None:
    exchange = setup.exchange(f"revocation_url: http://{endpoint.host}/revoke\ntoken_request_auth_method: basic\n")
    endpoint.answer = http(200, "")
    assert await exchange.revoke(request(), timeout=5) is True
    assert endpoint.last.line == "POST /revoke HTTP/1.1"
    assert form(endpoint.last.body) == {"token": REFRESH}
    assert "authorization" in endpoint.last.headers
    assert await exchange.revoke(request(OAuth2Credentials(Secret(ACCESS))), timeout=5) is True
    assert form(endpoint.last.body) == {"token": ACCESS}


@pytest.mark.parametrize("given", [http(503, ""), http(400, '{"error": "x"}'), http(200, '{"ok": false}'), b""])
async def test_revocation_that_fails(setup: Setup, endpoint: Endpoint, given: bytes) -> None:
    exchange = setup.exchange(f"revocation_url: http://{endpoint.host}/revoke\n")
    endpoint.answer = given
    if not given:

        async def hang_up(_: object) -> None:
            return

        endpoint.behave = hang_up
    assert await exchange.revoke(request(), timeout=5) is False


async def test_revocation_that_is_not_possible(setup: Setup, endpoint: Endpoint) -> None:
    assert await setup.exchange().revoke(request(), timeout=5) is None
    fixed = setup.exchange(mode="API_KEY")
    assert await fixed.revoke(request(ApiKeyCredentials(Secret("k")), mode=AuthMode.API_KEY), timeout=5) is None
    assert endpoint.received == []


async def test_a_client_of_the_connections_own_revokes_its_token(setup: Setup, endpoint: Endpoint) -> None:
    exchange = setup.exchange(f"revocation_url: http://{endpoint.host}/revoke\n", mode="OAUTH2_CC")
    own = OAuth2ClientCredentials("own", Secret("own-secret"), Secret("held"))
    assert await exchange.revoke(request(own, mode=AuthMode.OAUTH2_CC), timeout=5) is True
    assert form(endpoint.last.body) == {"token": "held", "client_id": "own", "client_secret": "own-secret"}
