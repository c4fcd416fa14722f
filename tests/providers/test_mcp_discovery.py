"""Discovery and registration for MCP servers, against servers that tell the truth and servers that do not."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from server.domain.secret import Secret
from server.providers.mcp_discovery import authorization_server, protected_resource, register_client
from server.providers.outbound import Outbound
from server.refresh.ports import ExchangeFailed
from tests.providers.support import Endpoint, http

MISSING = http(404, "no")


@pytest.fixture
async def outbound(endpoint: Endpoint) -> AsyncIterator[Outbound]:
    made = Outbound(allowed_hosts=frozenset({endpoint.host}))
    yield made
    await made.close()


def ok(fields: dict[str, Any]) -> bytes:
    return http(200, json.dumps(fields))


def paths(endpoint: Endpoint) -> list[str]:
    return [" ".join(received.line.split()[:2]) for received in endpoint.received]


async def test_a_server_names_who_authorizes_for_it(endpoint: Endpoint, outbound: Outbound) -> None:
    url = f"http://{endpoint.host}/mcp"
    document = {"resource": url, "authorization_servers": ["https://as.example"], "scopes_supported": ["read", 7]}
    endpoint.answers = [ok(document)]
    found = await protected_resource(outbound, url)
    assert (found.resource, found.authorization_servers, found.scopes_supported) == (
        url,
        ("https://as.example",),
        ("read",),
    )
    assert paths(endpoint) == ["GET /.well-known/oauth-protected-resource/mcp"]


async def test_the_root_is_asked_if_the_path_has_nothing(endpoint: Endpoint, outbound: Outbound) -> None:
    endpoint.answers = [MISSING, ok({"resource": f"http://{endpoint.host}"})]
    found = await protected_resource(outbound, f"http://{endpoint.host}/mcp")
    assert found.authorization_servers == (f"http://{endpoint.host}",)
    assert paths(endpoint)[1] == "GET /.well-known/oauth-protected-resource"


@pytest.mark.parametrize(
    "resource", ["https://other.example/mcp", "http://{host}/mcp-other", "http://{host}/mcp/deeper", 7]
)
async def test_metadata_of_another_resource_are_refused(endpoint: Endpoint, outbound: Outbound, resource: Any) -> None:
    named = resource.format(host=endpoint.host) if isinstance(resource, str) else resource
    endpoint.answer = ok({"resource": named, "authorization_servers": ["https://evil.example"]})
    with pytest.raises(ExchangeFailed, match="another resource"):
        await protected_resource(outbound, f"http://{endpoint.host}/mcp")


def metadata(endpoint: Endpoint, **changed: Any) -> dict[str, Any]:
    base = f"http://{endpoint.host}"
    return {
        "issuer": f"{base}/tenant", "authorization_endpoint": f"{base}/authorize", "token_endpoint": f"{base}/token",
        "registration_endpoint": f"{base}/register", "code_challenge_methods_supported": ["S256"], **changed,
    }  # fmt: skip


async def test_an_authorization_servers_metadata(endpoint: Endpoint, outbound: Outbound) -> None:
    endpoint.answers = [MISSING, ok(metadata(endpoint))]
    found = await authorization_server(outbound, f"http://{endpoint.host}/tenant")
    assert found.token_endpoint == f"http://{endpoint.host}/token"
    assert found.code_challenge_methods_supported == ("S256",)
    assert paths(endpoint) == [
        "GET /.well-known/oauth-authorization-server/tenant",
        "GET /.well-known/openid-configuration/tenant",
    ]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"issuer": "https://other.example"}, "another issuer"),
        ({"token_endpoint": ""}, "lack"),
        ({"token_endpoint": "https://169.254.169.254/token"}, "forbidden address"),
        ({"token_endpoint": "http://public.example/token"}, "https only"),
    ],
)
async def test_metadata_that_lie_are_refused(
    endpoint: Endpoint, outbound: Outbound, changed: dict[str, str], told: str
) -> None:
    endpoint.answer = ok(metadata(endpoint, **changed))
    with pytest.raises(ExchangeFailed, match=told):
        await authorization_server(outbound, f"http://{endpoint.host}/tenant")


async def test_addresses_of_our_own_network_are_not_asked(endpoint: Endpoint, outbound: Outbound) -> None:
    for url in ("http://127.0.0.1:1/mcp", "https://10.0.0.1/mcp", "ftp://a.example/x"):
        with pytest.raises(ExchangeFailed):
            await protected_resource(outbound, url)
    assert endpoint.received == []


async def test_a_client_registers(endpoint: Endpoint, outbound: Outbound) -> None:
    answer = {"client_id": "dyn", "client_secret": "shh-1", "client_secret_expires_at": 0, "client_name": "C"}
    endpoint.answer = http(201, json.dumps({**answer, "registration_access_token": "rat"}))
    client = await register_client(
        outbound, f"http://{endpoint.host}/register", client_name="C", redirect_uris=["https://c.example/cb"],
        scopes=["a", "b"], public=False, extra={"contacts": ["ops@c.example"]},
    )  # fmt: skip
    assert json.loads(endpoint.last.body) == {
        "client_name": "C", "redirect_uris": ["https://c.example/cb"], "scope": "a b", "contacts": ["ops@c.example"],
        "grant_types": ["authorization_code", "refresh_token"], "response_types": ["code"],
        "token_endpoint_auth_method": "client_secret_post",
    }  # fmt: skip
    assert (client.client_id, client.client_secret, client.secret_expires_at) == ("dyn", Secret("shh-1"), None)
    assert client.metadata == {"client_id": "dyn", "client_secret_expires_at": 0, "client_name": "C"}
    assert "shh-1" not in repr(client)


@pytest.mark.parametrize(
    "answer", [http(400, '{"error": "invalid_redirect_uri"}'), http(201, "{}"), http(200, "<html>")]
)
async def test_a_registration_that_fails(endpoint: Endpoint, outbound: Outbound, answer: bytes) -> None:
    endpoint.answer = answer
    with pytest.raises(ExchangeFailed, match="registration endpoint"):
        await register_client(outbound, f"http://{endpoint.host}/register", client_name="C", redirect_uris=[])
