"""Every kind of credentials survives the wire, and shows what refreshes to nobody who did not ask."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any

import pytest
from connections.v1 import connection_pb2
from google.protobuf import json_format

from server import wire
from server.domain import credentials as kinds
from server.domain.model import AppCredentials, Credentials, CustomCredentials, NoCredentials, OAuth2Credentials
from server.domain.rules import Violations
from server.domain.secret import Secret
from server.rpc import validate
from server.wire_credentials import _KINDS

ALL = [kind for kind in typing.get_args(Credentials) if kind is not NoCredentials]
REFRESHING = {"refresh_token", "client_secret", "client_private_key", "private_key", "fields"}


def full(kind: type) -> Any:
    """Return credentials of a kind with every field set."""
    values: dict[str, Any] = {}
    for name, hint in typing.get_type_hints(kind).items():
        parts = typing.get_args(hint) or (hint,)
        if name == "expires_at":
            values[name] = 1_700_000_000.25
        elif typing.get_origin(hint) is Mapping:
            values[name] = {"key": Secret("hidden-fields")}
        elif typing.get_origin(hint) is tuple:
            values[name] = ("a", "b")
        elif Secret in parts:
            values[name] = Secret(f"hidden-{name}")
        elif AppCredentials in parts or OAuth2Credentials in parts:
            values[name] = full(
                next(part for part in parts if isinstance(part, type) and dataclasses.is_dataclass(part))
            )
        else:
            values[name] = name
    return kind(**values)


@pytest.mark.parametrize("kind", ALL)
def test_every_field_survives(kind: type) -> None:
    credentials = full(kind)
    message = wire.credentials_to_wire(credentials, include_refresh_token=True)
    parsed = connection_pb2.Credentials.FromString(message.SerializeToString())
    assert wire.credentials_from_wire(parsed) == credentials
    assert "hidden" not in repr(credentials)


@pytest.mark.parametrize("kind", ALL)
def test_what_refreshes_is_shown_only_on_request(kind: type) -> None:
    message = wire.credentials_to_wire(full(kind), include_refresh_token=False)
    shown = json_format.MessageToJson(message)
    for name in REFRESHING:
        assert f"hidden-{name}" not in shown
    if kind in {kinds.SignatureCredentials, kinds.BillCredentials}:
        assert "hidden-password" not in shown
    if kind is kinds.BasicCredentials:
        assert "hidden-password" in shown


def test_each_member_of_the_contract_has_its_class() -> None:
    members = {field.name for field in connection_pb2.Credentials.DESCRIPTOR.oneofs_by_name["kind"].fields}
    assert {kind.member for kind in _KINDS.values()} == members


def test_empty_credentials_come_back() -> None:
    for credentials in (CustomCredentials(), kinds.JwtCredentials(), kinds.OAuth2ClientCredentials()):
        message = wire.credentials_to_wire(credentials, include_refresh_token=True)
        assert wire.credentials_from_wire(message) == credentials


def violations(**given: Any) -> dict[str, str]:
    found = Violations()
    validate.credentials(found, json_format.ParseDict(given, connection_pb2.Credentials()))
    return {violation.field: violation.description for violation in found._found}


def test_the_door_names_what_is_missing_or_too_long() -> None:
    assert violations(oauth1={}) == {
        "credentials.oauth1.oauth_token": "is required",
        "credentials.oauth1.oauth_token_secret": "is required",
    }
    assert set(violations(bill={"username": "u\n"})) == {
        "credentials.bill.password",
        "credentials.bill.dev_key",
        "credentials.bill.organization_id",
    }
    assert set(violations(aws_sigv4={"role_arn": "a" * 3000, "region": "eu\n"})) == {
        "credentials.aws_sigv4.role_arn",
        "credentials.aws_sigv4.region",
    }
    assert set(violations(custom={"user": {"refresh_token": "x"}})) == {"credentials.custom.user.access_token"}
    assert set(violations(two_step={"fields": {"a\n": "x", "b": "\0", "c": "y" * 70_000}})) == {
        "credentials.two_step.fields",
        'credentials.two_step.fields["b"]',
        'credentials.two_step.fields["c"]',
    }
    assert set(violations(jwt={"fields": {f"k{n}": "v" for n in range(51)}})) == {"credentials.jwt.fields"}
    assert violations(jwt={"fields": {"privateKey": "-----BEGIN"}}) == {}
