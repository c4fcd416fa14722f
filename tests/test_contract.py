"""The contract keeps its promises: what buf's rules cannot say is checked here, on the descriptor set."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from connections.v1 import connection_service_pb2, connection_service_pb2_grpc, error_reason_pb2
from google.api import annotations_pb2, field_behavior_pb2
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions

from server.domain.errors import Reason, ServiceError

GENERATED = Path(__file__).resolve().parents[1] / "generated"
PACKAGE = "connections.v1"

NOT_IDEMPOTENT = {
    "ForceRefresh": "each call spends a refresh token",
    "CreateIntegration": "a second call is told that the key is taken",
    "CreateEnvironment": "a second call is told that the name is taken",
    "CreateApiKey": "each call makes another key",
}

SECRET = re.compile(r"(^|_)(access_token|refresh_token|client_secret|password|secret|raw)$")
NOT_SECRET = {
    "connections.v1.GetConnectionRequest.include_refresh_token": "asks for one",
    "connections.v1.BatchGetConnectionsRequest.include_refresh_token": "asks for one",
    "connections.v1.ForceRefreshRequest.include_refresh_token": "asks for one",
}
ALSO_SECRET = {
    f"connections.v1.{name}"
    for name in (
        "ApiKeyCredentials.api_key",
        "AppCredentials.private_key",
        "AwsSigV4Credentials.secret_access_key",
        "AwsSigV4Credentials.session_token",
        "BillCredentials.dev_key",
        "BillCredentials.session_id",
        "JwtCredentials.fields",
        "JwtCredentials.token",
        "OAuth1Credentials.oauth_token",
        "OAuth1Credentials.oauth_token_secret",
        "OAuth2ClientCredentials.client_private_key",
        "SignatureCredentials.token",
        "TbaCredentials.token_id",
        "TwoStepCredentials.fields",
        "TwoStepCredentials.token",
    )
}


def _pool() -> tuple[descriptor_pool.DescriptorPool, list[str]]:
    """Return the committed descriptor set, and the names of our own files in it."""
    files = descriptor_pb2.FileDescriptorSet.FromString((GENERATED / "connections.binpb").read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.Add(file)
    return pool, [file.name for file in files.file if file.package == PACKAGE]


POOL, FILES = _pool()


def services() -> list[ServiceDescriptor]:
    return [service for name in FILES for service in POOL.FindFileByName(name).services_by_name.values()]


def methods() -> list[MethodDescriptor]:
    return [method for service in services() for method in service.methods]


def messages() -> list[Descriptor]:
    def nested(message: Descriptor) -> Iterator[Descriptor]:
        yield message
        for inner in message.nested_types:
            if not inner.GetOptions().map_entry:
                yield from nested(inner)

    return [
        found
        for name in FILES
        for message in POOL.FindFileByName(name).message_types_by_name.values()
        for found in nested(message)
    ]


def fields() -> list[FieldDescriptor]:
    return [field for message in messages() for field in message.fields]


def options_of(element: Any, kind: Any) -> Any:
    """Return an element's options with the extensions of the generated code, whatever pool the element is from."""
    return kind.FromString(element.GetOptions().SerializeToString())


def name_of(element: Any) -> str:
    return str(element.full_name)


def is_secret(field: FieldDescriptor) -> bool:
    return field.full_name in ALSO_SECRET or (
        SECRET.search(field.name) is not None and field.full_name not in NOT_SECRET
    )


def test_the_set_has_the_contract() -> None:
    found = {service.name for service in services()}
    assert found >= {"ConnectionService", "IntegrationService", "ProviderService", "AdminService"}


@pytest.mark.parametrize("method", methods(), ids=name_of)
def test_each_method_says_whether_it_may_be_repeated(method: MethodDescriptor) -> None:
    level = options_of(method, MethodOptions).idempotency_level
    assert (level == MethodOptions.IDEMPOTENCY_UNKNOWN) == (method.name in NOT_IDEMPOTENT)


def test_the_list_of_methods_that_are_not_idempotent_is_current() -> None:
    assert set(NOT_IDEMPOTENT) <= {method.name for method in methods()}


@pytest.mark.parametrize("method", methods(), ids=name_of)
def test_each_method_has_an_http_rule(method: MethodDescriptor) -> None:
    rule = options_of(method, MethodOptions).Extensions[annotations_pb2.http]
    kind = rule.WhichOneof("pattern")
    path = getattr(rule, kind)
    assert path.startswith("/v1/")
    assert (rule.body != "") == (kind in {"post", "put", "patch"})
    for variable in re.findall(r"{([\w.]+)}", path):
        message: Descriptor | None = method.input_type
        for part in variable.split("."):
            assert message is not None
            field = message.fields_by_name[part]
            message = field.message_type
        assert field.type == FieldDescriptor.TYPE_STRING


def test_no_two_methods_share_an_http_path() -> None:
    rules = [options_of(method, MethodOptions).Extensions[annotations_pb2.http] for method in methods()]
    paths = [(rule.WhichOneof("pattern"), getattr(rule, rule.WhichOneof("pattern"))) for rule in rules]
    assert len(set(paths)) == len(paths)


@pytest.mark.parametrize("field", fields(), ids=name_of)
def test_each_field_says_how_it_behaves(field: FieldDescriptor) -> None:
    assert options_of(field, descriptor_pb2.FieldOptions).Extensions[field_behavior_pb2.field_behavior]


@pytest.mark.parametrize("field", [field for field in fields() if is_secret(field)], ids=name_of)
def test_each_secret_is_redacted(field: FieldDescriptor) -> None:
    assert options_of(field, descriptor_pb2.FieldOptions).debug_redact


def test_the_rule_for_secrets_finds_them() -> None:
    """Guards the guard: without matches the test above would pass on nothing."""
    found = {field.full_name for field in fields() if is_secret(field)}
    assert found >= {
        "connections.v1.OAuth2Credentials.access_token",
        "connections.v1.OAuth2Credentials.refresh_token",
        "connections.v1.OAuth2ClientCredentials.client_secret",
        "connections.v1.BasicCredentials.password",
        "connections.v1.Credentials.raw",
        "connections.v1.Integration.client_secret",
        "connections.v1.CreateApiKeyResponse.secret",
        *ALSO_SECRET,
    }
    assert set(NOT_SECRET) <= {field.full_name for field in fields()}


def test_a_field_that_is_redacted_is_called_a_secret() -> None:
    redacted = {f.full_name for f in fields() if options_of(f, descriptor_pb2.FieldOptions).debug_redact}
    assert redacted == {field.full_name for field in fields() if is_secret(field)}


@pytest.mark.parametrize("method", methods(), ids=name_of)
def test_each_request_about_one_connection_has_flat_keys(method: MethodDescriptor) -> None:
    request = method.input_type
    if "connection_id" not in request.fields_by_name or method.name == "ListConnections":
        return
    assert request.fields_by_name["provider_config_key"].number == 1
    assert request.fields_by_name["connection_id"].number == 2


def test_reasons_are_those_of_the_domain() -> None:
    contract = {name.removeprefix("ERROR_REASON_"): number for name, number in error_reason_pb2.ErrorReason.items()}
    assert contract.pop("UNSPECIFIED") == 0
    assert contract == {reason.name: reason.value for reason in Reason}


def test_each_reason_has_one_exception() -> None:
    def family(kind: type[ServiceError]) -> Iterator[type[ServiceError]]:
        for child in kind.__subclasses__():
            yield child
            yield from family(child)

    raised = [kind.reason for kind in family(ServiceError) if "reason" in vars(kind)]
    assert len(set(raised)) == len(raised)
    # `NotFound` says which thing is missing.
    assert {reason.name for reason in set(Reason) - set(raised)} == {
        name for name in Reason.__members__ if name.endswith("_NOT_FOUND") and name != "METHOD_NOT_FOUND"
    }


def service_config() -> Any:
    return json.loads((GENERATED / "connections.service_config.json").read_text(encoding="utf-8"))


def seconds(duration: str) -> float:
    return float(duration.removesuffix("s"))


def configured() -> dict[str, Any]:
    """Return the entry of each method that the service config names."""
    found: dict[str, Any] = {}
    for entry in service_config()["methodConfig"]:
        for name in entry["name"]:
            if name:
                key = f"{name['service']}.{name['method']}"
                assert key not in found, f"{key} is configured twice"
                found[key] = entry
    return found


def test_the_service_config_names_only_what_exists() -> None:
    assert set(configured()) <= {method.full_name for method in methods()}
    assert service_config()["healthCheckConfig"]["serviceName"] in {service.full_name for service in services()}


def test_the_service_config_retries_reads_and_nothing_else() -> None:
    retried = {name for name, entry in configured().items() if "retryPolicy" in entry}
    assert retried == {m.full_name for m in methods() if re.match(r"(Batch)?Get|List", m.name)}
    for entry in service_config()["methodConfig"]:
        assert seconds(entry["timeout"]) > 0
        if policy := entry.get("retryPolicy"):
            assert not any(name == {} for name in entry["name"]), "the default entry covers writes"
            assert policy["retryableStatusCodes"] == ["UNAVAILABLE"]
            assert policy["maxAttempts"] == 4
            assert (seconds(policy["initialBackoff"]), seconds(policy["maxBackoff"])) == (0.1, 1.0)


def test_grpc_accepts_the_service_config() -> None:
    """A client with a bad service config fails each call with INVALID_ARGUMENT before it tries to connect."""
    config = json.dumps(service_config())
    with grpc.insecure_channel("127.0.0.1:1", options=[("grpc.service_config", config)]) as channel:
        stub = connection_service_pb2_grpc.ConnectionServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            stub.GetConnection(connection_service_pb2.GetConnectionRequest(), timeout=10)
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE, caught.value.details()
