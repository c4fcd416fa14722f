"""What callers get wrong: each mistake has a status of its own that names the field, and changes nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from connections.v1 import connection_pb2, connection_service_pb2, integration_service_pb2, provider_service_pb2
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.struct_pb2 import Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp

from tests.service.conftest import Service
from tests.support.client import TIMEOUT, Client, create_request, failure_of, get_request, struct

s = connection_service_pb2
LONG = "x" * 256
KEY: dict[str, Any] = {"provider_config_key": "mail", "connection_id": "a"}


def _any(value: Any) -> Any:
    """Return what a client with another contract would send, whatever the types of ours say."""
    return value


def nested(depth: int) -> dict[str, Any]:
    return {"d": nested(depth - 1)} if depth > 1 else {"end": 1}


def not_a_number(where: str) -> Struct:
    return Struct(fields={"ok": Value(number_value=1), where: Value(number_value=math.nan)})


def oauth2(**fields: Any) -> connection_pb2.Credentials:
    return connection_pb2.Credentials(oauth2=connection_pb2.OAuth2Credentials(**fields))


def basic(**fields: Any) -> connection_pb2.Credentials:
    return connection_pb2.Credentials(basic=connection_pb2.BasicCredentials(**fields))


def api_key(value: str) -> connection_pb2.Credentials:
    return connection_pb2.Credentials(api_key=connection_pb2.ApiKeyCredentials(api_key=value))


def tags(number: int) -> dict[str, str]:
    return {f"k{index}": "v" for index in range(number)}


# Method, request, and the fields that the refusal names.
ROWS: dict[str, tuple[str, Any, set[str]]] = {
    "nothing given": ("GetConnection", s.GetConnectionRequest(), {"provider_config_key", "connection_id"}),
    "a long id": ("GetConnection", get_request("mail", LONG), {"connection_id"}),
    "a long key": ("GetConnection", get_request(LONG, "a"), {"provider_config_key"}),
    "a control character": ("GetConnection", get_request("mail", "a\nb"), {"connection_id"}),
    "an unknown view": ("GetConnection", get_request("mail", "a", view=7), {"view"}),
    "a negative min_ttl": ("GetConnection", get_request("mail", "a", min_ttl=-1), {"min_ttl"}),
    "a min_ttl of days": ("GetConnection", get_request("mail", "a", min_ttl=90_000), {"min_ttl"}),
    "a broken duration": (
        "GetConnection",
        s.GetConnectionRequest(**KEY, min_ttl=Duration(seconds=1, nanos=-5)),
        {"min_ttl"},
    ),
    "an empty batch": ("BatchGetConnections", s.BatchGetConnectionsRequest(), {"keys"}),
    "a large batch": (
        "BatchGetConnections",
        s.BatchGetConnectionsRequest(
            keys=[s.ConnectionKey(provider_config_key="mail", connection_id=str(n)) for n in range(101)]
        ),
        {"keys"},
    ),
    "a key twice": ("BatchGetConnections", s.BatchGetConnectionsRequest(keys=[s.ConnectionKey(**KEY)] * 2), {"keys"}),
    "a bad key in a batch": (
        "BatchGetConnections",
        s.BatchGetConnectionsRequest(keys=[s.ConnectionKey(**KEY), s.ConnectionKey(connection_id=LONG)]),
        {"keys[1].provider_config_key", "keys[1].connection_id"},
    ),
    "an unknown status": ("ListConnections", s.ListConnectionsRequest(statuses=_any([1, 99])), {"statuses[1]"}),
    "no status": ("ListConnections", s.ListConnectionsRequest(statuses=_any([0])), {"statuses[0]"}),
    "a negative page": ("ListConnections", s.ListConnectionsRequest(page_size=-1), {"page_size"}),
    "a negative limit": ("ListConnections", s.ListConnectionsRequest(limit=-1), {"limit"}),
    "a long search": ("ListConnections", s.ListConnectionsRequest(search=LONG), {"search"}),
    "a long token": ("ListConnections", s.ListConnectionsRequest(page_token="A" * 5000), {"page_token"}),
    "a bad tag filter": ("ListConnections", s.ListConnectionsRequest(tags={"1": "x"}), {'tags["1"]'}),
    "many keys": (
        "ListConnections",
        s.ListConnectionsRequest(provider_config_keys=[str(n) for n in range(101)]),
        {"provider_config_keys"},
    ),
    "an import without a key": ("CreateConnection", create_request(connection_id="a"), {"provider_config_key"}),
    "an import without credentials": (
        "CreateConnection",
        create_request(provider_config_key="mail", connection_id="new"),
        {"credentials"},
    ),
    "credentials of another kind": (
        "CreateConnection",
        create_request(**KEY, credentials=oauth2(access_token="an-access-token")),
        {"credentials"},
    ),
    "empty credentials": (
        "CreateConnection",
        create_request(**KEY, credentials=connection_pb2.Credentials()),
        {"credentials"},
    ),
    "an empty api key": (
        "CreateConnection",
        create_request(**KEY, credentials=api_key("")),
        {"credentials.api_key.api_key"},
    ),
    "a secret of 65 KiB": (
        "CreateConnection",
        create_request(**KEY, credentials=api_key("k" * (65 << 10))),
        {"credentials.api_key.api_key"},
    ),
    "a colon in the user-id": (
        "CreateConnection",
        create_request(**KEY, credentials=basic(username="a:b", password="p")),
        {"credentials.basic.username"},
    ),
    "an access token missing": (
        "CreateConnection",
        create_request(**KEY, credentials=oauth2(refresh_token="a-refresh-token")),
        {"credentials.oauth2.access_token"},
    ),
    "an impossible expiry": (
        "CreateConnection",
        create_request(**KEY, credentials=oauth2(access_token="t", expire_time=Timestamp(seconds=-5))),
        {"credentials.oauth2.expire_time"},
    ),
    "raw alone": (
        "CreateConnection",
        create_request(**KEY, credentials=connection_pb2.Credentials(raw=struct({"a": 1}))),
        {"credentials"},
    ),
    "created tomorrow": (
        "CreateConnection",
        create_request(**KEY, create_time=Timestamp(seconds=4_000_000_000)),
        {"create_time"},
    ),
    "a config value missing": (
        "CreateConnection",
        create_request(provider_config_key="shop", connection_id="new", credentials=oauth2(access_token="t")),
        {"connection_config.token_url"},
    ),
    "several mistakes at once": (
        "CreateConnection",
        create_request(provider_config_key="mail", connection_id=LONG, metadata=nested(9), tags={"a": ""}, etag="x"),
        {"connection_id", "metadata.d.d.d.d.d.d.d.d", 'tags["a"]', "etag"},
    ),
    "eleven tags": ("UpdateTags", s.UpdateTagsRequest(**KEY, tags=tags(11)), {"tags"}),
    "two tags that are equal in lower case": (
        "UpdateTags",
        s.UpdateTagsRequest(**KEY, tags={"Team": "x", "team": "y"}),
        {'tags["team"]'},
    ),
    "an empty tag value": ("UpdateTags", s.UpdateTagsRequest(**KEY, tags={"team": ""}), {'tags["team"]'}),
    "a long tag value": ("UpdateTags", s.UpdateTagsRequest(**KEY, tags={"team": LONG}), {'tags["team"]'}),
    "a long tag key": ("UpdateTags", s.UpdateTagsRequest(**KEY, tags={"k" * 65: "v"}), {f'tags["{"k" * 64}"]'}),
    "a tag key that starts with a digit": ("UpdateTags", s.UpdateTagsRequest(**KEY, tags={"1a": "v"}), {'tags["1a"]'}),
    "a tag key beyond ASCII": (
        "UpdateTags",
        s.UpdateTagsRequest(**KEY, tags={"\N{KELVIN SIGN}": "v"}),
        {'tags["\N{KELVIN SIGN}"]'},
    ),
    "an email that is none": (
        "UpdateTags",
        s.UpdateTagsRequest(**KEY, tags={"end_user_email": "ann"}),
        {'tags["end_user_email"]'},
    ),
    "metadata missing": ("SetMetadata", s.SetMetadataRequest(**KEY), {"metadata"}),
    "not a number": ("SetMetadata", s.SetMetadataRequest(**KEY, metadata=not_a_number("n")), {"metadata.n"}),
    "not a number in a patch": (
        "UpdateMetadata",
        s.UpdateMetadataRequest(**KEY, metadata=not_a_number("n")),
        {"metadata.n"},
    ),
    "metadata of 65 KiB": (
        "SetMetadata",
        s.SetMetadataRequest(**KEY, metadata=struct({"a": "x" * (65 << 10)})),
        {"metadata"},
    ),
    "metadata of a megabyte": (
        "SetMetadata",
        s.SetMetadataRequest(**KEY, metadata=struct({"a": "x" * (1 << 20)})),
        {"metadata"},
    ),
    "metadata of depth 9": (
        "SetMetadata",
        s.SetMetadataRequest(**KEY, metadata=struct(nested(9))),
        {"metadata.d.d.d.d.d.d.d.d"},
    ),
    "a NUL character": ("SetMetadata", s.SetMetadataRequest(**KEY, metadata=struct({"a": "\0"})), {"metadata.a"}),
    "an unknown path": (
        "UpdateConnection",
        s.UpdateConnectionRequest(
            **KEY, connection=connection_pb2.Connection(), update_mask=FieldMask(paths=["metadata"])
        ),
        {"update_mask"},
    ),
    "an update without a connection": ("UpdateConnection", s.UpdateConnectionRequest(**KEY), {"connection"}),
    "an etag that is none": ("DeleteConnection", s.DeleteConnectionRequest(**KEY, etag="7"), {"etag"}),
    "a forced refresh with an unknown view": ("ForceRefresh", s.ForceRefreshRequest(**KEY, view=_any(9)), {"view"}),
}


@pytest.fixture
def mail(client: Client) -> Client:
    client.integration("mail", "api-key-generic")
    client.integration("shop", "oauth2-generic", client_id="id", client_secret="secret-of-the-shop")
    client.api_key_connection("mail", "a", metadata={"kept": True}, tags={"team": "blue"})
    return client


@pytest.mark.parametrize("name", ROWS)
def test_a_mistake_is_named_by_its_field_and_changes_nothing(mail: Client, name: str) -> None:
    method, request, fields = ROWS[name]
    before = mail.get("mail", "a")
    failure = mail.fails(getattr(mail.connections, method), request)
    assert (failure.code, failure.reason, failure.domain) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_REQUEST",
        "connections",
    )
    assert set(failure.violations) == fields
    assert failure.metadata["violations"] == str(len(fields))
    assert all(failure.violations.values())
    assert mail.get("mail", "a") == before
    assert mail.ids() == ["a"]


def test_at_most_sixteen_violations_are_named(mail: Client) -> None:
    request = s.UpdateTagsRequest(**KEY, tags={f"{number}": "" for number in range(40)})
    failure = mail.fails(mail.connections.UpdateTags, request)
    assert 1 < len(failure.violations) <= 16
    assert len(failure.message) < 600


def test_a_patch_that_would_grow_metadata_beyond_its_limit_is_refused(mail: Client) -> None:
    half = "x" * (33 << 10)
    mail.call(mail.connections.UpdateMetadata, s.UpdateMetadataRequest(**KEY, metadata=struct({"a": half})))
    failure = mail.fails(mail.connections.UpdateMetadata, s.UpdateMetadataRequest(**KEY, metadata=struct({"b": half})))
    assert set(failure.violations) == {"metadata"}
    assert mail.get("mail", "a").metadata["a"] == half
    assert "b" not in mail.get("mail", "a").metadata.fields


def test_what_is_just_within_the_limits_is_taken(mail: Client) -> None:
    name = "é" * 255
    mail.integration(name, "api-key-generic")
    deep, large = nested(8), {"a": "x" * ((64 << 10) - 8)}
    made = mail.api_key_connection(name, name, tags=tags(10), metadata=deep, credentials=api_key("k" * (64 << 10)))
    assert mail.get(name, name).credentials.api_key.api_key == "k" * (64 << 10)
    assert len(made.tags) == 10
    mail.call(
        mail.connections.SetMetadata,
        s.SetMetadataRequest(provider_config_key=name, connection_id=name, metadata=struct(large)),
    )


INTEGRATIONS: dict[str, tuple[dict[str, Any], set[str]]] = {
    "nothing given": ({}, {"integration.provider_config_key", "integration.provider"}),
    "an unknown provider": ({"provider_config_key": "x", "provider": "githab"}, set()),
    "a client missing": (
        {"provider_config_key": "x", "provider": "github"},
        {"integration.client_id", "integration.client_secret"},
    ),
}


@pytest.mark.parametrize("name", INTEGRATIONS)
def test_an_integration_that_cannot_work_is_refused(client: Client, name: str) -> None:
    fields, expected = INTEGRATIONS[name]
    request = integration_service_pb2.CreateIntegrationRequest()
    request.integration.SetInParent()
    for field, value in fields.items():
        setattr(request.integration, field, value)
    failure = client.fails(client.integrations.CreateIntegration, request)
    if expected:
        assert set(failure.violations) == expected
    else:
        assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "PROVIDER_NOT_FOUND")
    listing = integration_service_pb2.ListIntegrationsRequest()
    assert not client.call(client.integrations.ListIntegrations, listing).integrations


def raw_call(client: Client, method: str, body: bytes) -> Callable[..., bytes]:
    call: Callable[..., bytes] = client.channel.unary_unary(method, None, None)
    return call(body, timeout=TIMEOUT, metadata=client.metadata)  # type: ignore[return-value]


@pytest.mark.parametrize("body", [b"\xff\xff\xff", b"\x0a\x7f", b"\x0a\x02\xff\xfe", b"\x08"])
def test_bytes_that_are_no_message_are_refused(client: Client, body: bytes) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        raw_call(client, "/connections.v1.ConnectionService/GetConnection", body)
    failure = failure_of(caught.value)
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
    assert set(failure.violations) == {"request"}


def test_bytes_that_are_no_message_learn_nothing_without_a_key(service: Service) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        raw_call(service.root.with_key(""), "/connections.v1.ConnectionService/GetConnection", b"\xff")
    assert failure_of(caught.value).reason == "CALLER_UNAUTHENTICATED"


def test_a_request_of_five_megabytes_is_refused_by_the_transport(mail: Client) -> None:
    request = s.SetMetadataRequest(**KEY, metadata=struct({"a": "x" * (5 << 20)}))
    failure = mail.fails(mail.connections.SetMetadata, request)
    # gRPC's own status, before a message exists that we could answer: it says what is too large, and the limit.
    assert failure.code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert str(4 << 20) in failure.message
    assert mail.get("mail", "a").metadata["kept"] is True


def test_an_unknown_provider_is_not_found(client: Client) -> None:
    request = provider_service_pb2.GetProviderRequest(provider="githab")
    failure = client.fails(client.providers.GetProvider, request)
    assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "PROVIDER_NOT_FOUND")
    assert failure.resource == ("connections.v1.Provider", "githab")


def test_keys_of_others_are_not_accepted_nor_told_apart(client: Client, stranger: Client) -> None:
    client.integration("mail", "api-key-generic")
    client.api_key_connection("mail", "a")
    request = get_request("mail", "a")
    assert stranger.fails(stranger.connections.GetConnection, request).reason == "CONNECTION_NOT_FOUND"
    mine = client.api_key
    theirs = stranger.api_key
    # The environment in a key cannot be swapped: the random part belongs to it.
    mixed = theirs[:30] + mine[30:]
    messages = set()
    for key in ("", mixed, mine[:-1], mine + "x", mine.upper(), "cnx_" + "a" * 26 + "_" + "b" * 43):
        failure = client.with_key(key).fails(client.with_key(key).connections.GetConnection, request)
        assert (failure.code, failure.reason) == (grpc.StatusCode.UNAUTHENTICATED, "CALLER_UNAUTHENTICATED")
        if key:
            messages.add(failure.message)
    assert len(messages) == 1
