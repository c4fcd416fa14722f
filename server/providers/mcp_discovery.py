"""What an authorization flow has to find out about an MCP server: its authorization server, and a client of its own.

RFC 9728 (protected resource metadata), RFC 8414 (authorization server metadata), RFC 7591 (dynamic client registration).
Every address comes from strangers, so every request leaves through the guard; every document must name what was asked for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from yarl import URL

from server.domain.errors import Reason
from server.domain.secret import Secret
from server.providers.outbound import Outbound
from server.providers.token_request import TokenRequest
from server.providers.token_response import decode
from server.refresh.ports import ExchangeFailed, FailureKind, ProviderAnswer

_TIMEOUT: Final = 10.0
_MAX_ITEMS: Final = 100


@dataclass(frozen=True, slots=True)
class ProtectedResource:
    """A server's own description of who authorizes for it (RFC 9728 section 2)."""

    resource: str
    authorization_servers: tuple[str, ...]
    scopes_supported: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AuthorizationServer:
    """An authorization server's endpoints and abilities (RFC 8414 section 2). Empty: it has none."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    registration_endpoint: str = ""
    revocation_endpoint: str = ""
    scopes_supported: tuple[str, ...] = ()
    token_endpoint_auth_methods_supported: tuple[str, ...] = ()
    code_challenge_methods_supported: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RegisteredClient:
    """A client that registered (RFC 7591 section 3.2.1). `secret_expires_at`: None if its secret does not expire."""

    client_id: str
    client_secret: Secret | None = None
    secret_expires_at: float | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict, repr=False)


async def protected_resource(outbound: Outbound, server_url: str) -> ProtectedResource:
    """Return what an MCP server says of itself (RFC 9728 section 3.1). Raises `ExchangeFailed`."""
    for url in _well_known(server_url, "oauth-protected-resource"):
        fields = await _fetch(outbound, url)
        if fields is None:
            continue
        resource = fields.get("resource")
        # Section 3.3: a document about another resource must not be used. A server may name its whole origin.
        if not isinstance(resource, str) or not _covers(resource, server_url):
            raise _invalid("the protected resource metadata are about another resource")
        servers = _texts(fields, "authorization_servers") or (str(URL(server_url).origin()),)
        return ProtectedResource(resource, servers, _texts(fields, "scopes_supported"))
    raise _invalid("the server publishes no protected resource metadata (RFC 9728)")


async def authorization_server(outbound: Outbound, issuer: str) -> AuthorizationServer:
    """Return an authorization server's metadata (RFC 8414, else OpenID Connect Discovery). Raises `ExchangeFailed`."""
    openid = issuer.rstrip("/") + "/.well-known/openid-configuration"
    candidates = [
        _well_known(issuer, "oauth-authorization-server")[0],
        _well_known(issuer, "openid-configuration")[0],
        openid,
    ]
    for url in dict.fromkeys(candidates):
        fields = await _fetch(outbound, url)
        if fields is None:
            continue
        # Section 3.3: the issuer must be identical, or any host could speak for another.
        if str(fields.get("issuer", "")).rstrip("/") != issuer.rstrip("/"):
            raise _invalid("the authorization server metadata are about another issuer")
        found = AuthorizationServer(
            issuer=issuer,
            authorization_endpoint=_url(outbound, fields, "authorization_endpoint"),
            token_endpoint=_url(outbound, fields, "token_endpoint"),
            registration_endpoint=_url(outbound, fields, "registration_endpoint"),
            revocation_endpoint=_url(outbound, fields, "revocation_endpoint"),
            scopes_supported=_texts(fields, "scopes_supported"),
            token_endpoint_auth_methods_supported=_texts(fields, "token_endpoint_auth_methods_supported"),
            code_challenge_methods_supported=_texts(fields, "code_challenge_methods_supported"),
        )
        if not found.authorization_endpoint or not found.token_endpoint:
            raise _invalid("the authorization server metadata lack an authorization or a token endpoint")
        return found
    raise _invalid("the authorization server publishes no metadata (RFC 8414)")


async def register_client(
    outbound: Outbound,
    registration_endpoint: str,
    *,
    client_name: str,
    redirect_uris: Sequence[str],
    scopes: Sequence[str] = (),
    public: bool = True,
    extra: Mapping[str, Any] | None = None,
) -> RegisteredClient:
    """Register a client for the authorization code and refresh token grants. Raises `ExchangeFailed`.

    `public`: without a secret (PKCE protects its codes). `extra` is metadata of the template's (`registration_params`).
    """
    wanted: dict[str, Any] = {
        "client_name": client_name,
        "redirect_uris": list(redirect_uris),
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none" if public else "client_secret_post",
        **(extra or {}),
    }
    if scopes:
        wanted["scope"] = " ".join(scopes)
    headers = {"Accept": "application/json", "Content-Type": "application/json"}
    request = TokenRequest(registration_endpoint, headers, json.dumps(wanted).encode())
    answer = await outbound.send(request, timeout=_TIMEOUT)
    fields = decode(answer)
    if answer.status not in {200, 201} or fields is None:
        raise _failed(answer, "the registration endpoint refuses the client")
    client_id, secret, expires = (
        fields.get(name) for name in ("client_id", "client_secret", "client_secret_expires_at")
    )
    if not isinstance(client_id, str) or not client_id:
        raise _invalid("the registration endpoint's answer has no client_id")
    return RegisteredClient(
        client_id=client_id,
        client_secret=Secret(secret) if isinstance(secret, str) and secret else None,
        secret_expires_at=float(expires) if isinstance(expires, int | float) and expires > 0 else None,
        metadata={name: value for name, value in fields.items() if name not in _SECRET_METADATA},
    )


_SECRET_METADATA: Final = frozenset({"client_secret", "registration_access_token"})


def _well_known(url: str, name: str) -> list[str]:
    """Return the addresses at which metadata about a URL stand: before its path, and at the root."""
    parsed = URL(url)
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise _invalid("the server's address is not an http or https URL")
    origin, path = str(parsed.origin()), parsed.raw_path.rstrip("/")
    addresses = [f"{origin}/.well-known/{name}{path}", f"{origin}/.well-known/{name}"]
    return list(dict.fromkeys(addresses))


def _covers(resource: str, server_url: str) -> bool:
    named, asked = URL(resource), URL(server_url)
    if (named.scheme, named.host, named.port) != (asked.scheme, asked.host, asked.port):
        return False
    prefix = named.path.rstrip("/")
    return asked.path.rstrip("/") == prefix or asked.path.startswith(prefix + "/")


async def _fetch(outbound: Outbound, url: str) -> dict[str, Any] | None:
    """Return a metadata document, None if there is none at that address. Raises `ExchangeFailed` if nobody answers."""
    answer = await outbound.get(url, timeout=_TIMEOUT)
    if answer.status >= 500 or answer.status == 429:
        raise _failed(answer, "the metadata cannot be had")
    return decode(answer) if answer.status == 200 else None


def _texts(fields: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = fields.get(name)
    if not isinstance(value, list):
        return ()
    return tuple(item for item in value[:_MAX_ITEMS] if isinstance(item, str))


def _url(outbound: Outbound, fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not value:
        return ""
    outbound.check(value)
    return value


def _invalid(detail: str) -> ExchangeFailed:
    return ExchangeFailed(FailureKind.CONFIGURATION, Reason.PROVIDER_RESPONSE_INVALID, detail)


def _failed(answer: ProviderAnswer, detail: str) -> ExchangeFailed:
    kind = FailureKind.TRANSIENT if answer.status >= 500 or answer.status == 429 else FailureKind.CONFIGURATION
    return ExchangeFailed(kind, Reason.PROVIDER_RESPONSE_INVALID, f"{detail} (HTTP {answer.status})")
