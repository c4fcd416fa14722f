"""Messages that are shown: every field the contract marks is masked, wherever it sits."""

from __future__ import annotations

from typing import Any

from connections.v1 import admin_service_pb2, connection_pb2, connection_service_pb2, integration_pb2
from google.protobuf import any_pb2, struct_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.rpc import status_pb2

from server.domain.secret import MASK
from server.telemetry.redaction import redact

CANARY = "CANARYsecret"


def connection() -> connection_pb2.Connection:
    message = connection_pb2.Connection(provider_config_key="github", connection_id="c", tags={"a": "b"})
    message.credentials.oauth2.access_token = CANARY
    message.credentials.oauth2.refresh_token = CANARY
    message.credentials.oauth2.token_type = "Bearer"
    message.credentials.raw.update({"access_token": CANARY, CANARY: {"deep": [CANARY]}})
    message.metadata.update({"kept": "yes"})
    return message


def test_secrets_are_masked_and_the_rest_is_kept() -> None:
    shown = redact(connection())
    assert shown.credentials.oauth2.access_token == MASK
    assert shown.credentials.oauth2.token_type == "Bearer"
    assert dict(shown.credentials.raw) == {"redacted": MASK}
    assert dict(shown.metadata) == {"kept": "yes"}
    assert shown.tags == {"a": "b"}
    assert CANARY not in str(shown)


def test_the_message_itself_is_not_touched() -> None:
    message = connection()
    redact(message)
    assert message == connection()


def test_a_secret_that_is_not_set_stays_unset() -> None:
    shown = redact(integration_pb2.Integration(provider_config_key="github"))
    assert shown.client_secret == ""
    assert not redact(connection_pb2.Connection()).HasField("credentials")


def test_secrets_inside_repeated_messages_and_any_are_masked() -> None:
    batch = connection_service_pb2.BatchGetConnectionsResponse()
    batch.results.add().connection.CopyFrom(connection())
    packed = any_pb2.Any()
    packed.Pack(admin_service_pb2.CreateApiKeyResponse(secret=CANARY))
    batch.results.add().status.CopyFrom(status_pb2.Status(code=5, message="gone", details=[packed]))
    shown = redact(batch)
    assert CANARY.encode() not in shown.SerializeToString()
    assert shown.results[1].status.message == "gone"


def test_an_any_of_an_unknown_type_is_emptied() -> None:
    unknown = any_pb2.Any(type_url="type.googleapis.com/not.Known", value=CANARY.encode())
    assert redact(status_pb2.Status(details=[unknown])).details[0].value == b""


def test_no_field_of_the_contract_that_is_marked_gets_through() -> None:
    """Fill every field of every message of the contract; what remains of the canary must sit in unmarked fields."""
    marked = 0
    for file in (connection_pb2, connection_service_pb2, integration_pb2, admin_service_pb2):
        for descriptor in file.DESCRIPTOR.message_types_by_name.values():
            message = getattr(file, descriptor.name)()
            marked += _fill(message, secret=False, depth=4)
            assert CANARY.encode() not in redact(message).SerializeToString(), descriptor.full_name
    assert marked > 10


def _fill(message: Message, *, secret: bool, depth: int) -> int:
    """Put the canary into marked strings, and an innocent text into others; return how many were marked."""
    marked = 0
    if isinstance(message, struct_pb2.Struct):
        message.update({"key": CANARY if secret else "plain"})
        return int(secret)
    for field in message.DESCRIPTOR.fields:
        if field.message_type is not None and (depth == 0 or _is_map(field.message_type) or field.is_repeated):
            continue
        hidden = secret or field.GetOptions().debug_redact
        if field.message_type is not None:
            child = getattr(message, field.name)
            child.SetInParent()
            marked += _fill(child, secret=hidden, depth=depth - 1)
        elif field.type == FieldDescriptor.TYPE_STRING and not field.is_repeated:
            setattr(message, field.name, CANARY if hidden else "plain")
            marked += hidden
    return marked


def _is_map(descriptor: Any) -> bool:
    return bool(descriptor.GetOptions().map_entry)
