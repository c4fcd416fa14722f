"""What the template finds wrong with an integration or a connection, before either is stored."""

from __future__ import annotations

from typing import Any

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
from server.providers.catalogue import Catalogue
from server.providers.exchange import ProviderExchange
from server.providers.outbound import Outbound
from server.refresh.ports import TokenExchange

EXCHANGE = ProviderExchange(Catalogue.load(), Outbound())
PORT: TokenExchange = EXCHANGE  # the type checker sees that the port is implemented
SECRET = Secret("s")

KINDS: dict[AuthMode, tuple[str, Credentials]] = {
    AuthMode.OAUTH2: ("github", OAuth2Credentials(SECRET)),
    AuthMode.OAUTH2_CC: ("oauth2-cc-generic", OAuth2ClientCredentials()),
    AuthMode.API_KEY: ("stripe", ApiKeyCredentials(SECRET)),
    AuthMode.BASIC: ("twilio", BasicCredentials("u", SECRET)),
    AuthMode.NONE: ("unauthenticated", NoCredentials()),
}


def integration(provider: str, **given: Any) -> list[str]:
    facts: dict[str, Any] = {"client_id": "id", "client_secret": SECRET, "scopes": (), "connection_config": {}, **given}
    return [violation.field for violation in EXCHANGE.check_integration(provider, **facts)]


def connection(provider: str, credentials: Credentials, config: dict[str, Any] | None = None) -> list[str]:
    return [violation.field for violation in EXCHANGE.check_connection(provider, credentials, config or {})]


@pytest.mark.parametrize("mode", KINDS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_kind_of_credentials_must_be_the_providers(mode: AuthMode, kind: AuthMode) -> None:
    config = {"token_url": "https://a.example/t"} if mode is AuthMode.OAUTH2_CC else {}
    assert connection(KINDS[mode][0], KINDS[kind][1], config) == ([] if mode is kind else ["credentials"])


def test_oauth2_needs_a_client() -> None:
    assert integration("github") == []
    assert integration("github", client_id="", client_secret=None) == [
        "integration.client_id",
        "integration.client_secret",
    ]
    assert integration("github", client_secret=Secret("")) == ["integration.client_secret"]


@pytest.mark.parametrize("provider", ["oauth2-cc-generic", "stripe", "twilio", "unauthenticated"])
def test_other_modes_need_none(provider: str) -> None:
    assert integration(provider, client_id="", client_secret=None) == []


@pytest.mark.parametrize("scope", ["", "a b", "a\n"])
def test_a_scope_is_one_scope(scope: str) -> None:
    assert integration("github", scopes=("ok", scope)) == ["integration.scopes[1]"]
    assert integration("slack", scopes=("a,b",)) == ["integration.scopes[0]"]


def test_config_values_are_required_of_connections_only() -> None:
    assert integration("zendesk") == []
    assert connection("zendesk", OAuth2Credentials(SECRET)) == ["connection_config.subdomain"]
    assert connection("zendesk", OAuth2Credentials(SECRET), {"subdomain": ""}) == ["connection_config.subdomain"]
    assert connection("zendesk", OAuth2Credentials(SECRET), {"subdomain": "acme", "more": 1}) == []


@pytest.mark.parametrize("value", ["evil.com/", "a.b", 7, ["x"], "x" * 5000, "acme\n"])
def test_config_values_must_match_their_pattern(value: Any) -> None:
    assert connection("zendesk", OAuth2Credentials(SECRET), {"subdomain": value}) == ["connection_config.subdomain"]
    assert integration("zendesk", connection_config={"subdomain": value}) == ["integration.connection_config.subdomain"]


@pytest.mark.parametrize("value", ["evil.com/", "not a host", "https://x.example", {"a": 1}, "a@b"])
def test_config_values_without_a_pattern_must_fit_their_url(value: Any) -> None:
    assert connection("gitlab-self-managed", OAuth2Credentials(SECRET), {"domain": value}) == [
        "connection_config.domain"
    ]


@pytest.mark.parametrize("url", ["example.com", "ftp://a.example", "https://u:p@a.example/"])
def test_a_whole_url_must_be_one(url: str) -> None:
    config = {"token_url": url}
    assert connection("oauth2-generic", OAuth2Credentials(SECRET), config) == ["connection_config.token_url"]


def test_a_client_of_the_connections_own_is_whole() -> None:
    config = {"token_url": "https://a.example/t"}
    for own in (OAuth2ClientCredentials("id"), OAuth2ClientCredentials(client_secret=SECRET)):
        assert connection("oauth2-cc-generic", own, config) == ["credentials.oauth2_cc"]
    assert connection("oauth2-cc-generic", OAuth2ClientCredentials("id", SECRET), config) == []


def test_an_unknown_provider() -> None:
    assert integration("githab") == ["integration.provider"]
    assert connection("githab", NoCredentials()) == ["provider_config_key"]
