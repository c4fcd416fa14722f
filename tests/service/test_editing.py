"""Edits of connections: metadata, tags, config, etags, and many at once."""

from __future__ import annotations

import concurrent.futures
import json
from typing import Any

import grpc
import pytest
from connections.v1 import connection_pb2, connection_service_pb2
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.json_format import MessageToDict
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.service.conftest import Service
from tests.support.client import Client, create_request, force_request, struct
from tests.support.oauth import OAuthServer


@pytest.fixture
def mail(client: Client) -> Client:
    """A caller who has the connection `mail/a`."""
    client.integration("mail", "api-key-generic")
    client.api_key_connection("mail", "a")
    return client


def set_metadata(value: dict[str, Any], etag: str = "") -> connection_service_pb2.SetMetadataRequest:
    return connection_service_pb2.SetMetadataRequest(
        provider_config_key="mail", connection_id="a", metadata=struct(value), etag=etag
    )


def merge(value: dict[str, Any], etag: str = "") -> connection_service_pb2.UpdateMetadataRequest:
    return connection_service_pb2.UpdateMetadataRequest(
        provider_config_key="mail", connection_id="a", metadata=struct(value), etag=etag
    )


def set_tags(tags: dict[str, str], etag: str = "") -> connection_service_pb2.UpdateTagsRequest:
    return connection_service_pb2.UpdateTagsRequest(provider_config_key="mail", connection_id="a", tags=tags, etag=etag)


def update(
    paths: list[str] | None = None, *, config: dict[str, Any] | None = None, name: str = "", etag: str = ""
) -> connection_service_pb2.UpdateConnectionRequest:
    connection = connection_pb2.Connection(display_name=name, connection_config=struct(config or {}))
    return connection_service_pb2.UpdateConnectionRequest(
        provider_config_key="mail",
        connection_id="a",
        connection=connection,
        update_mask=None if paths is None else FieldMask(paths=paths),
        etag=etag,
    )


def json_of(client: Client) -> Any:
    found = MessageToDict(client.get("mail", "a").metadata)
    return json.loads(json.dumps(found))


def apply_rfc_7396(target: Any, patch: Any) -> Any:
    """The pseudo code of RFC 7396 section 2, word for word."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            if name in result:
                del result[name]
        else:
            result[name] = apply_rfc_7396(result.get(name), value)
    return result


_NAMES = st.sampled_from(["a", "b", "é", "", "long name"])
_LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False).map(lambda number: number + 0.0)
    | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5)
)


def _documents(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(children, max_size=3) | st.dictionaries(_NAMES, children, max_size=3)


_OBJECTS = st.dictionaries(_NAMES, st.recursive(_LEAVES, _documents, max_leaves=6), max_size=4)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=_OBJECTS, patch=_OBJECTS)
@example(before={"a": 1e17, "b": 1.5e300}, patch={"c": -1e22})
def test_a_patch_merges_as_rfc_7396_says(mail: Client, before: Any, patch: Any) -> None:
    mail.call(mail.connections.SetMetadata, set_metadata(before))
    assert json_of(mail) == before
    answer = mail.call(mail.connections.UpdateMetadata, merge(patch)).connection
    expected = apply_rfc_7396(before, patch)
    assert MessageToDict(answer.metadata) == expected
    assert json_of(mail) == expected
    # Another edit leaves it as it is, to the last digit.
    mail.call(mail.connections.UpdateTags, set_tags({"team": "blue"}))
    assert json_of(mail) == expected


@pytest.mark.parametrize("number", [5, -7, 0, 2**53, -(2**53)])
def test_integers_stay_integers_also_in_the_command(service: Service, mail: Client, number: int) -> None:
    mail.call(mail.connections.SetMetadata, set_metadata({"n": number, "deep": [{"n": number}], "half": 0.5}))
    for arguments in (
        ("get", "mail", "a", "--json"),
        ("get", "mail", "a"),
        ("list", "--json"),
        ("metadata", "get", "mail", "a"),
    ):
        done = service.server.command(*arguments, CONNECTIONS_API_KEY=mail.api_key)
        assert done.returncode == 0, done.stderr
        assert str(number) in done.stdout
        assert f"{number}.0" not in done.stdout
        assert "0.5" in done.stdout


def test_an_empty_object_clears_and_set_replaces(mail: Client) -> None:
    mail.call(mail.connections.SetMetadata, set_metadata({"a": 1, "b": {"c": [1, None]}}))
    mail.call(mail.connections.SetMetadata, set_metadata({"b": 2}))
    assert json_of(mail) == {"b": 2}
    mail.call(mail.connections.SetMetadata, set_metadata({}))
    assert json_of(mail) == {}


def test_concurrent_patches_of_different_keys_all_survive(service: Service, mail: Client) -> None:
    def patch(number: int) -> None:
        # A channel of its own each, as different processes have.
        options = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(service.address, options=options) as channel:
            one = Client(channel, mail.api_key)
            for step in range(5):
                one.call(one.connections.UpdateMetadata, merge({f"w{number}": {str(step): step}}))

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(patch, range(8)))
    assert json_of(mail) == {f"w{number}": {str(step): step for step in range(5)} for number in range(8)}
    assert mail.basic("mail", "a").etag == '"41"'


def test_edits_of_different_kinds_at_once_all_survive(mail: Client) -> None:
    calls = [
        (mail.connections.UpdateMetadata, merge({"x": 1})),
        (mail.connections.UpdateTags, set_tags({"team": "blue"})),
        (mail.connections.UpdateConnection, update(["display_name"], name="Acme")),
        (mail.connections.UpdateConnection, update(["connection_config.region"], config={"region": "eu"})),
        (mail.connections.UpdateConnection, update(["connection_config.zone"], config={"zone": "b"})),
    ]
    with concurrent.futures.ThreadPoolExecutor(len(calls)) as pool:
        list(pool.map(lambda pair: mail.call(*pair), calls))
    found = mail.basic("mail", "a")
    assert (json_of(mail), dict(found.tags), found.display_name) == ({"x": 1}, {"team": "blue"}, "Acme")
    assert MessageToDict(found.connection_config) == {"region": "eu", "zone": "b"}


def test_tags_are_a_set_stored_in_lower_case(mail: Client) -> None:
    full = {f"Key-{number}/x.y_z": "V" * 255 for number in range(10)}
    tagged = mail.call(mail.connections.UpdateTags, set_tags(full)).connection
    assert dict(tagged.tags) == {key.lower(): value for key, value in full.items()}
    replaced = mail.call(mail.connections.UpdateTags, set_tags({"end_user_email": "Ann@Example.com"})).connection
    assert dict(replaced.tags) == {"end_user_email": "Ann@Example.com"}
    assert not mail.call(mail.connections.UpdateTags, set_tags({})).connection.tags


def test_masks_say_what_changes(mail: Client) -> None:
    mail.call(mail.connections.UpdateConnection, update(None, config={"a": 1, "b": 2}, name="Acme"))
    only_name = mail.call(mail.connections.UpdateConnection, update(["display_name"], config={"x": 1}, name="Bcme"))
    assert MessageToDict(only_name.connection.connection_config) == {"a": 1, "b": 2}
    assert only_name.connection.display_name == "Bcme"
    one_key = mail.call(
        mail.connections.UpdateConnection, update(["connection_config.b", "connection_config.c"], config={"c": "z"})
    )
    assert MessageToDict(one_key.connection.connection_config) == {"a": 1, "c": "z"}
    assert one_key.connection.display_name == "Bcme"
    # An empty mask is none (AIP-134), as JSON clients send it.
    cleared = mail.call(mail.connections.UpdateConnection, update([])).connection
    assert not cleared.connection_config.fields
    assert cleared.display_name == ""


def test_the_etag_moves_with_edits_alone(mail: Client, oauth_server: OAuthServer) -> None:
    mail.oauth_integration(oauth_server)
    before = mail.oauth_connection("crm", "a", oauth_server.issue(), expires_in=-1)
    after = mail.force("crm", "a").connection
    assert after.etag == before.etag
    assert after.update_time == before.update_time
    edited = mail.call(mail.connections.SetMetadata, set_metadata({"a": 1})).connection
    assert edited.etag == '"2"'
    assert edited.update_time.ToNanoseconds() > mail.basic("mail", "a").create_time.ToNanoseconds()


def test_an_etag_guards_each_mutation(mail: Client, oauth_server: OAuthServer) -> None:
    mail.oauth_integration(oauth_server)
    mail.oauth_connection("crm", "a", oauth_server.issue())
    mutations: list[tuple[Any, Any]] = [
        (mail.connections.SetMetadata, set_metadata({"a": 1})),
        (mail.connections.UpdateMetadata, merge({"b": 1})),
        (mail.connections.UpdateTags, set_tags({"team": "blue"})),
        (mail.connections.UpdateConnection, update(["display_name"], name="Acme")),
        (mail.connections.CreateConnection, create_request(provider_config_key="mail", connection_id="a", metadata={})),
        (mail.connections.ForceRefresh, force_request("crm", "a")),
        (
            mail.connections.DeleteConnection,
            connection_service_pb2.DeleteConnectionRequest(provider_config_key="mail", connection_id="a"),
        ),
    ]
    for method, request in mutations:
        key = (request.provider_config_key, request.connection_id)
        before = mail.basic(*key)
        request.etag = '"999"'
        failure = mail.fails(method, request)
        assert (failure.code, failure.reason) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH")
        assert failure.metadata["currentEtag"] == before.etag
        assert mail.basic(*key) == before
        request.etag = before.etag
        mail.call(method, request)
    assert oauth_server.stats().total == 1


def test_an_etag_given_to_an_import_must_find_something(mail: Client) -> None:
    request = create_request(provider_config_key="mail", connection_id="new", metadata={}, etag='"1"')
    assert mail.fails(mail.connections.CreateConnection, request).reason == "CONNECTION_NOT_FOUND"
