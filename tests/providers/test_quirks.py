"""What providers do differently from RFC 6749, and that we follow."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from server.domain.clock import SystemClock
from server.domain.model import AuthMode, OAuth2ClientCredentials, OAuth2Credentials
from server.domain.secret import Secret
from server.providers.interpolation import InterpolationError, Values, render_text
from server.refresh.ports import ExchangeFailed, ProviderAnswer
from tests.providers.support import CLIENT_SECRET, REFRESH, Endpoint, Setup, http, request

NOW = 1_800_000_000.0


def answer(fields: dict[str, Any]) -> ProviderAnswer:
    return ProviderAnswer(200, {"content-type": "application/json"}, json.dumps(fields).encode())


def read(setup: Setup, template: str, fields: dict[str, Any]) -> OAuth2Credentials:
    new = setup.exchange(template).interpret(request(), answer(fields), now=NOW)
    assert isinstance(new.credentials, OAuth2Credentials)
    return new.credentials


def test_a_token_in_an_object_of_its_own(setup: Setup) -> None:
    """Slack: a user's token is in `authed_user`, with its own scopes and refresh token."""
    user = {"access_token": "xoxp", "refresh_token": "xoxe", "scope": "a,b", "expires_in": 600, "token_type": "user"}
    got = read(setup, "alternate_access_token_response_path: authed_user\n", {"ok": True, "authed_user": user})
    assert got == OAuth2Credentials(Secret("xoxp"), Secret("xoxe"), "user", NOW + 600, ("a", "b"))
    bot = read(
        setup, "alternate_access_token_response_path: authed_user\n", {"access_token": "xoxb", "authed_user": user}
    )
    assert bot.access_token == Secret("xoxb")
    plain = read(setup, "alternate_access_token_response_path: data.key\n", {"data": {"key": "k"}})
    assert plain.access_token == Secret("k")


@pytest.mark.parametrize(
    ("strategy", "value", "expected"),
    [
        ("expireIn", 600, NOW + 600),
        ("expireIn", "600", NOW + 600),
        ("expireIn", "1:00:30", NOW + 86400 + 1800),
        ("expireAt", NOW + 60, NOW + 60),
        ("expireAt", (NOW + 60) * 1000, NOW + 60),
        ("expireAt", "2027-01-15T08:10:00Z", 1_800_000_600.0),
        ("expireAt", "2027-01-15T08:10:00", 1_800_000_600.0),
        ("expireAt", "2027-01-15T09:10:00+01:00", 1_800_000_600.0),
        ("expireAt", "soon", NOW + 77),
        ("expireIn", -1, NOW + 77),
        ("expireIn", None, NOW + 77),
    ],
)
def test_paths_and_units_of_token_responses(setup: Setup, strategy: str, value: object, expected: float) -> None:
    template = (
        "token_response: {token: d.0.t, refresh_token: d.0.r, token_expiration: d.0.e, "
        f"token_expiration_strategy: {strategy}}}\ntoken_expires_in_ms: 77000\n"
    )
    got = read(setup, template, {"d": [{"t": "tok", "r": "ref", "e": value}]})
    assert (got.access_token, got.refresh_token, got.expires_at) == (Secret("tok"), Secret("ref"), expected)


def test_milliseconds(setup: Setup) -> None:
    got = read(setup, "expires_in_unit: milliseconds\n", {"access_token": "t", "expires_in": 600_000})
    assert got.expires_at == NOW + 600


async def test_parameters_in_the_query(setup: Setup, endpoint: Endpoint) -> None:
    exchange = setup.exchange(f"body_format: query\ntoken_url: {endpoint.url}?v=1\nrefresh_params: {{x: 'a b'}}\n")
    await exchange.send(request(), timeout=5)
    method, target, _ = endpoint.last.line.split()
    assert (method, endpoint.last.body) == ("POST", b"")
    assert parse_qs(urlsplit(target).query) == {
        "v": ["1"], "grant_type": ["refresh_token"], "refresh_token": [REFRESH], "x": ["a b"], "client_id": ["client-1"],
        "client_secret": [CLIENT_SECRET],
    }  # fmt: skip


async def test_nested_json(setup: Setup, endpoint: Endpoint) -> None:
    exchange = setup.exchange(
        "body_format: json\nrefresh_params: {n: 7, o: {list: [1, '${connectionConfig.t}']}}\nconnection_config: {t: {}}\n"
    )
    await exchange.send(request(config={"t": "x"}), timeout=5)
    sent = json.loads(endpoint.last.body)
    assert (sent["n"], sent["o"]) == (7, {"list": [1, "x"]})


@pytest.mark.parametrize("template", ["authorization_method: header\n", "token_request_auth_method: basic\n"])
async def test_the_client_in_a_header(setup: Setup, endpoint: Endpoint, template: str) -> None:
    await setup.exchange(template).send(request(), timeout=5)
    assert endpoint.last.headers["authorization"].startswith("Basic ")
    assert b"client_secret" not in endpoint.last.body


async def test_a_template_may_write_the_authorization_itself(setup: Setup, endpoint: Endpoint) -> None:
    exchange = setup.exchange("token_headers: {Authorization: 'Token ${base64(${clientId}-${clientSecret})}'}\n")
    await exchange.send(request(client_secret="s"), timeout=5)
    assert endpoint.last.headers["authorization"] == "Token Y2xpZW50LTEtcw=="
    assert b"client_" not in endpoint.last.body


@pytest.mark.parametrize("separator", [" ", ",", "+", ";"])
async def test_scope_separators(setup: Setup, endpoint: Endpoint, separator: str) -> None:
    exchange = setup.exchange(f"scope_separator: '{separator}'\n", mode="OAUTH2_CC")
    asked = request(OAuth2ClientCredentials(), mode=AuthMode.OAUTH2_CC, scopes=("a", "b"))
    endpoint.answer = http(200, json.dumps({"access_token": "t", "scope": f"a{separator}c"}))
    new = exchange.interpret(asked, await exchange.send(asked, timeout=5), now=NOW)
    assert parse_qs(endpoint.last.body.decode())["scope"] == [f"a{separator}b"]
    assert new.granted_scopes == ("a", "c")


async def test_metadata_follow_each_refresh(setup: Setup, endpoint: Endpoint) -> None:
    exchange = setup.exchange("token_response_metadata: [instance_url, team.id]\n")
    fields = {"access_token": "t", "instance_url": "https://eu2.acme.example", "team": {"id": 5}}
    endpoint.answer = http(200, json.dumps(fields))
    new = exchange.interpret(request(), await exchange.send(request(), timeout=5), now=NOW)
    assert new.connection_config == {"instance_url": "https://eu2.acme.example", "team.id": 5}


def test_the_margin_of_providers_that_refuse_early_refreshes(setup: Setup) -> None:
    assert setup.exchange("token_expiration_buffer: 30\n").facts("acme").refresh_margin == 30.0


async def test_a_default_stands_in_for_what_is_left_out(setup: Setup, endpoint: Endpoint) -> None:
    exchange = setup.exchange(
        f"token_url: http://{endpoint.host}/${{connectionConfig.v}}/t\nconnection_config: {{v: {{default_value: v2}}}}\n"
    )
    assert exchange.check_connection("acme", None, {}) == []
    await exchange.send(request(), timeout=5)
    await exchange.send(request(config={"v": "v3"}), timeout=5)
    assert [received.line.split()[1] for received in endpoint.received] == ["/v2/t", "/v3/t"]


async def test_a_path_that_is_not_encoded(setup: Setup, endpoint: Endpoint) -> None:
    exchange = setup.exchange(
        f"token_url: http://{endpoint.host}/${{connectionConfig.p}}/t\n"
        "token_url_skip_encode: [p]\nconnection_config: {p: {}}\n"
    )
    await exchange.send(request(config={"p": "a/b"}), timeout=5)
    assert endpoint.last.line.split()[1] == "/a/b/t"
    for value in ("../x", "a/%2e%2E/b", "a?b", "a#b"):
        with pytest.raises(ExchangeFailed, match=r"connection_config\.p must be a path"):
            await exchange.send(request(config={"p": value}), timeout=5)


VALUES = Values(
    config={"a": "A"},
    credentials={"user": Secret("u,v"), "key": Secret("k")},
    plain={"clientId": Secret("id")},
    steps={"step1": {"x": [{"y": 7}]}},
    now=1_234_567_890.5,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${connectionConfig.a}-${clientId}", "A-id"),
        ("${connectionConfig.b || connectionConfig.a}", "A"),
        ("${connectionConfig.b} || x${connectionConfig.a}", "xA"),
        ("${connectionConfig.b} || none", "none"),
        ("${base64(${credentials.user}:${credentials.key})}", "dSx2Oms="),
        ("${sha256Hex(abc)}", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        ("${sha256Base64(abc)}", "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0="),
        # RFC 2202 section 3, test case 2.
        ("${hmacSha1Hex(what do ya want for nothing?, Jefe)}", "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
        ("${base64(${hmacSha1Hex(${credentials.user},x, ${credentials.key})})}", None),
        ("${step1.x.0.y}", "7"),
        ("${now:YYYY-MM-DD[T]HH:mm:ss.SSSZ}", "2009-02-13T23:31:30.500+00:00"),
        ("${now:X}", "1234567890"),
        ("a || b", "a"),
    ],
)
def test_placeholders(text: str, expected: str | None) -> None:
    got = render_text(text, VALUES)
    assert expected is None or got == expected


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("${connectionConfig.b}", "connection_config.b is missing"),
        ("${credentials.none}", "credentials.none is missing"),
        ("${step1.x.1.y}", "step1.x.1.y is missing"),
        ("${step2.x}", "step2.x is missing"),
        ("${apiKey}", "apiKey is missing"),
        ("${ed25519Sign(x, ${credentials.key})}", "credentials.key is not a private key"),
    ],
)
def test_what_has_no_value_is_named(text: str, named: str) -> None:
    with pytest.raises(InterpolationError, match=named):
        render_text(text, VALUES)


def test_the_clock_is_that_of_the_exchange() -> None:
    assert abs(SystemClock().now() - float(render_text("${now:X}", Values(now=SystemClock().now())))) < 5
