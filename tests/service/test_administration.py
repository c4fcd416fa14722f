"""Integrations, provider templates, environments and API keys."""

from __future__ import annotations

import time
from typing import Any

import grpc
import pytest
from connections.v1 import (
    admin_service_pb2,
    connection_pb2,
    integration_pb2,
    integration_service_pb2,
    provider_pb2,
    provider_service_pb2,
)
from google.protobuf.field_mask_pb2 import FieldMask

from tests.service.conftest import Service, make_environment
from tests.support.canaries import Canaries
from tests.support.client import Client, get_request, timestamp

SECRET = "client-secret-that-never-comes-out"


def get(client: Client, key: str) -> Any:
    request = integration_service_pb2.GetIntegrationRequest(provider_config_key=key)
    return client.call(client.integrations.GetIntegration, request).integration


def change(
    key: str, paths: list[str] | None = None, etag: str = "", **fields: Any
) -> integration_service_pb2.UpdateIntegrationRequest:
    return integration_service_pb2.UpdateIntegrationRequest(
        integration=integration_pb2.Integration(provider_config_key=key, **fields),
        update_mask=None if paths is None else FieldMask(paths=paths),
        etag=etag,
    )


def test_a_client_secret_goes_in_and_never_comes_out(client: Client, canaries: Canaries) -> None:
    canaries.add(SECRET)
    made = client.integration("hub", "hubspot", client_id="id-1", client_secret=SECRET, scopes=["crm.read"])
    listed = client.call(
        client.integrations.ListIntegrations, integration_service_pb2.ListIntegrationsRequest()
    ).integrations
    changed = client.call(client.integrations.UpdateIntegration, change("hub", client_id="id-2")).integration
    for shown in (made, get(client, "hub"), changed, *listed):
        assert shown.client_secret == ""
        assert shown.client_secret_set
    assert made.auth_mode == provider_pb2.AUTH_MODE_OAUTH2
    assert list(made.scopes) == ["crm.read"]
    assert (changed.client_id, changed.etag) == ("id-2", '"2"')


def test_an_integration_is_changed_by_its_mask_or_by_what_is_set(client: Client) -> None:
    client.integration("hub", "hubspot", client_id="id-1", client_secret=SECRET, display_name="Hub")
    masked = client.call(
        client.integrations.UpdateIntegration, change("hub", ["display_name"], display_name="", client_id="other")
    ).integration
    assert (masked.display_name, masked.client_id) == ("", "id-1")
    failure = client.fails(client.integrations.UpdateIntegration, change("hub", ["provider"], provider="slack"))
    assert set(failure.violations) == {"update_mask"}
    failure = client.fails(client.integrations.UpdateIntegration, change("hub", etag='"1"', display_name="x"))
    assert failure.reason == "ETAG_MISMATCH"
    assert failure.metadata["currentEtag"] == masked.etag
    assert client.fails(client.integrations.UpdateIntegration, change("hub")).reason == "INVALID_REQUEST"
    assert get(client, "hub") == masked


def test_integrations_page_by_key(client: Client, stranger: Client) -> None:
    for name in ("b", "a", "C", "é", "d"):
        client.integration(name, "api-key-generic")
    keys, token = [], ""
    while True:
        request = integration_service_pb2.ListIntegrationsRequest(page_size=2, page_token=token)
        page = client.call(client.integrations.ListIntegrations, request)
        keys += [found.provider_config_key for found in page.integrations]
        token = page.next_page_token
        if not token:
            break
        request.page_token = token
        assert stranger.fails(stranger.integrations.ListIntegrations, request).reason == "PAGE_TOKEN_INVALID"
        providers = provider_service_pb2.ListProvidersRequest(page_token=token)
        assert client.fails(client.providers.ListProviders, providers).reason == "PAGE_TOKEN_INVALID"
    assert keys == ["C", "a", "b", "d", "é"]


def test_an_integration_with_connections_is_deleted_only_by_force(client: Client) -> None:
    client.integration("mail", "api-key-generic")
    client.api_key_connection("mail", "a")
    client.api_key_connection("mail", "b")
    request = integration_service_pb2.DeleteIntegrationRequest(provider_config_key="mail")
    failure = client.fails(client.integrations.DeleteIntegration, request)
    assert failure.reason == "INTEGRATION_HAS_CONNECTIONS"
    assert client.ids() == ["b", "a"]
    request.etag = '"7"'
    request.force = True
    assert client.fails(client.integrations.DeleteIntegration, request).reason == "ETAG_MISMATCH"
    request.etag = ""
    assert client.call(client.integrations.DeleteIntegration, request).deleted_connections == 2
    assert client.ids() == []
    assert client.fails(client.integrations.DeleteIntegration, request).reason == "INTEGRATION_NOT_FOUND"
    client.integration("mail", "api-key-generic")
    assert client.call(client.integrations.DeleteIntegration, request).deleted_connections == 0


def test_an_integration_key_is_taken_once(client: Client) -> None:
    client.integration("mail", "api-key-generic")
    request = integration_service_pb2.CreateIntegrationRequest(
        integration=integration_pb2.Integration(provider_config_key="mail", provider="basic-generic")
    )
    assert client.fails(client.integrations.CreateIntegration, request).reason == "INTEGRATION_ALREADY_EXISTS"
    assert get(client, "mail").provider == "api-key-generic"


def test_templates_are_listed_found_and_paged(client: Client) -> None:
    def names(**fields: Any) -> list[str]:
        found, token = [], ""
        while True:
            request = provider_service_pb2.ListProvidersRequest(page_token=token, **fields)
            page = client.call(client.providers.ListProviders, request)
            found += [provider.provider for provider in page.providers]
            token = page.next_page_token
            if not token:
                return found

    whole = names()
    assert whole == sorted(whole)
    assert {"github", "slack", "house"} <= set(whole)
    assert len(whole) >= 20
    assert names(page_size=3) == whole
    assert "github" in names(search="GitH")
    assert names(search="no such provider") == []
    house = client.call(
        client.providers.GetProvider, provider_service_pb2.GetProviderRequest(provider="house")
    ).provider
    assert house.source == provider_pb2.PROVIDER_SOURCE_OPERATOR
    github = client.call(
        client.providers.GetProvider, provider_service_pb2.GetProviderRequest(provider="github")
    ).provider
    assert github.source == provider_pb2.PROVIDER_SOURCE_CATALOGUE
    assert github.token_url.startswith("https://")


def test_a_change_of_the_client_lets_what_waited_go_on(client: Client, oauth_server: Any) -> None:
    client.oauth_integration(oauth_server, client_secret="a-wrong-client-secret")
    client.oauth_connection("crm", "a", oauth_server.issue(), expires_in=-5)
    failure = client.fails(client.connections.GetConnection, get_request("crm", "a"))
    assert failure.reason == "INTEGRATION_MISCONFIGURED"
    found = client.basic("crm", "a")
    assert found.status == connection_pb2.CONNECTION_STATUS_REFRESH_FAILING
    client.call(client.integrations.UpdateIntegration, change("crm", client_secret=oauth_server.client_secret))
    assert oauth_server.is_active(client.get("crm", "a").credentials.oauth2.access_token)


def test_admin_calls_need_an_admin_key(client: Client) -> None:
    for method, request in (
        (client.admin.ListEnvironments, admin_service_pb2.ListEnvironmentsRequest()),
        (client.admin.CreateEnvironment, admin_service_pb2.CreateEnvironmentRequest(name="sneaky")),
        (client.admin.CreateApiKey, admin_service_pb2.CreateApiKeyRequest(environment="root", admin=True)),
        (client.admin.ListApiKeys, admin_service_pb2.ListApiKeysRequest(environment="root")),
        (client.admin.DeleteApiKey, admin_service_pb2.DeleteApiKeyRequest(environment="root", api_key_id="x")),
    ):
        failure = client.fails(method, request)
        assert (failure.code, failure.reason) == (grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED")


def test_a_key_is_shown_once_and_ends_when_it_is_revoked(service: Service, canaries: Canaries) -> None:
    root = service.root
    client = make_environment(root, canaries)
    listing = admin_service_pb2.ListApiKeysRequest(environment=client.environment)
    second = root.call(
        root.admin.CreateApiKey,
        admin_service_pb2.CreateApiKeyRequest(environment=client.environment, display_name="second"),
    )
    canaries.add(second.secret)
    keys = root.call(root.admin.ListApiKeys, listing).api_keys
    assert [key.display_name for key in keys] == ["second", "test"]
    assert all(second.secret not in str(key) for key in keys)
    assert second.secret.endswith(keys[0].suffix)
    other = client.with_key(second.secret)
    assert other.ids() == []
    revoke = admin_service_pb2.DeleteApiKeyRequest(environment=client.environment, api_key_id=second.api_key.api_key_id)
    root.call(root.admin.DeleteApiKey, revoke)
    assert other.fails(other.connections.GetConnection, get_request("a", "b")).reason == "CALLER_UNAUTHENTICATED"
    assert root.fails(root.admin.DeleteApiKey, revoke).reason == "API_KEY_NOT_FOUND"
    assert client.ids() == []


def test_a_key_expires(service: Service, canaries: Canaries) -> None:
    root = service.root
    client = make_environment(root, canaries)
    ends = time.time() + 2
    made = root.call(
        root.admin.CreateApiKey,
        admin_service_pb2.CreateApiKeyRequest(environment=client.environment, expire_time=timestamp(ends)),
    )
    brief = client.with_key(canaries.add(made.secret))
    assert brief.ids() == []
    time.sleep(max(0.0, ends - time.time()) + 0.1)
    # It was in the cache of keys: that must not keep it alive.
    assert brief.fails(brief.connections.GetConnection, get_request("a", "b")).reason == "CALLER_UNAUTHENTICATED"


def test_environments_have_names_of_their_own(service: Service, canaries: Canaries) -> None:
    root = service.root
    client = make_environment(root, canaries)
    names = [
        found.name
        for found in root.call(root.admin.ListEnvironments, admin_service_pb2.ListEnvironmentsRequest()).environments
    ]
    assert names == sorted(names)
    assert client.environment in names
    again = admin_service_pb2.CreateEnvironmentRequest(name=client.environment)
    assert root.fails(root.admin.CreateEnvironment, again).reason == "ENVIRONMENT_ALREADY_EXISTS"
    for name in ("", "Dev", "1a", "a_b", "a" * 64):
        failure = root.fails(root.admin.CreateEnvironment, admin_service_pb2.CreateEnvironmentRequest(name=name))
        assert set(failure.violations) == {"name"}
    missing = admin_service_pb2.CreateApiKeyRequest(environment="nowhere")
    assert root.fails(root.admin.CreateApiKey, missing).reason == "ENVIRONMENT_NOT_FOUND"
    past = admin_service_pb2.CreateApiKeyRequest(environment=client.environment, expire_time=timestamp(1.0))
    assert set(root.fails(root.admin.CreateApiKey, past).violations) == {"expire_time"}


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic abc", "Bearer nonsense", "Bearer cnx_short"])
def test_a_call_without_a_good_key_learns_nothing(client: Client, header: str) -> None:
    metadata = (("authorization", header),) if header else ()
    with pytest.raises(grpc.RpcError) as caught:
        client.connections.GetConnection(get_request("", ""), timeout=10, metadata=metadata)
    call: Any = caught.value
    assert call.code() == grpc.StatusCode.UNAUTHENTICATED
