"""Callers of the service: stubs with a key, and failures as callers see them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import uuid4

import grpc
from connections.v1 import (
    admin_service_pb2_grpc,
    connection_pb2,
    connection_service_pb2,
    connection_service_pb2_grpc,
    integration_pb2,
    integration_service_pb2,
    integration_service_pb2_grpc,
    provider_service_pb2_grpc,
)
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2, status_pb2

from tests.support.oauth import OAuthServer, TokenPair

TIMEOUT: Final = 30.0
"""Seconds that a call of a test may take: a net for hangs, not an expectation."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A status as a caller sees it. `violations` maps fields to what is wrong with them."""

    code: grpc.StatusCode
    reason: str
    domain: str
    message: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    violations: Mapping[str, str] = field(default_factory=dict)
    retry_after: float | None = None
    resource: tuple[str, str] | None = None
    preconditions: tuple[str, ...] = ()
    infos: int = 0

    @property
    def text(self) -> str:
        """Everything that it says, to be searched for secrets."""
        return repr(self)


def failure_of_status(status: status_pb2.Status) -> Failure:
    """Return a rich status taken apart."""
    values: dict[str, Any] = {"reason": "", "domain": "", "infos": 0}
    for detail in status.details:
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            info = error_details_pb2.ErrorInfo()
            detail.Unpack(info)
            values |= {"reason": info.reason, "domain": info.domain, "metadata": dict(info.metadata)}
            values["infos"] += 1
        elif detail.Is(error_details_pb2.BadRequest.DESCRIPTOR):
            bad = error_details_pb2.BadRequest()
            detail.Unpack(bad)
            values["violations"] = {found.field: found.description for found in bad.field_violations}
        elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            retry = error_details_pb2.RetryInfo()
            detail.Unpack(retry)
            values["retry_after"] = retry.retry_delay.ToNanoseconds() / 1e9
        elif detail.Is(error_details_pb2.ResourceInfo.DESCRIPTOR):
            resource = error_details_pb2.ResourceInfo()
            detail.Unpack(resource)
            values["resource"] = (resource.resource_type, resource.resource_name)
        elif detail.Is(error_details_pb2.PreconditionFailure.DESCRIPTOR):
            precondition = error_details_pb2.PreconditionFailure()
            detail.Unpack(precondition)
            values["preconditions"] = tuple(found.type for found in precondition.violations)
    code = next(code for code in grpc.StatusCode if code.value[0] == status.code)
    return Failure(code=code, message=status.message, **values)


def failure_of(error: grpc.RpcError) -> Failure:
    """Return what a call failed with; one without a rich status has no reason."""
    call: Any = error
    for key, value in call.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            found = failure_of_status(status_pb2.Status.FromString(value))
            assert found.code == call.code()
            assert found.message == call.details()
            return found
    return Failure(call.code(), "", "", call.details() or "")


def struct(value: Mapping[str, Any]) -> Struct:
    """Return a JSON object as a `Struct`."""
    made = Struct()
    made.update(value)
    return made


def timestamp(instant: float) -> Timestamp:
    """Return an instant (seconds since the epoch) as a `Timestamp`."""
    made = Timestamp()
    made.FromMicroseconds(round(instant * 1e6))
    return made


class Client:
    """Calls the service with one key. Keyword arguments of the calls are the fields of the request."""

    def __init__(
        self,
        channel: grpc.Channel,
        api_key: str,
        *,
        environment: str = "",
        seen: list[Failure] | None = None,
        remember: Callable[[str], object] = len,
    ) -> None:
        """`seen` gets every failure, `remember` every secret that is imported."""
        self.channel = channel
        self.api_key = api_key
        self.environment = environment
        self.seen = [] if seen is None else seen
        self.remember = remember
        self.connections = connection_service_pb2_grpc.ConnectionServiceStub(channel)
        self.integrations = integration_service_pb2_grpc.IntegrationServiceStub(channel)
        self.providers = provider_service_pb2_grpc.ProviderServiceStub(channel)
        self.admin = admin_service_pb2_grpc.AdminServiceStub(channel)

    def with_key(self, api_key: str) -> Client:
        """Return the same client with another key; empty for none."""
        return Client(self.channel, api_key, environment=self.environment, seen=self.seen, remember=self.remember)

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """The call metadata that authenticates."""
        return (("authorization", f"Bearer {self.api_key}"),) if self.api_key else ()

    def call(self, method: Callable[..., Any], request: Any, *, timeout: float | None = TIMEOUT) -> Any:
        """Make a unary call."""
        return method(request, timeout=timeout, metadata=self.metadata)

    def fails(self, method: Callable[..., Any], request: Any, *, timeout: float | None = TIMEOUT) -> Failure:
        """Make a call that must fail, and return how. A stream is read to its end."""
        try:
            answer = method(request, timeout=timeout, metadata=self.metadata)
            if isinstance(answer, Iterator):
                list(answer)
        except grpc.RpcError as error:
            found = failure_of(error)
            self.seen.append(found)
            return found
        raise AssertionError(f"the call succeeded: {type(request).__name__}")

    # What most tests need, in few words.

    def integration(self, key: str, provider: str, **fields: Any) -> integration_pb2.Integration:
        """Create an integration."""
        config = fields.pop("connection_config", None)
        integration = integration_pb2.Integration(provider_config_key=key, provider=provider, **fields)
        if config is not None:
            integration.connection_config.update(config)
        request = integration_service_pb2.CreateIntegrationRequest(integration=integration)
        created: integration_pb2.Integration = self.call(self.integrations.CreateIntegration, request).integration
        return created

    def oauth_integration(
        self, oauth: OAuthServer, key: str = "crm", provider: str = "oauth2-generic", **fields: Any
    ) -> integration_pb2.Integration:
        """Create an integration with the tests' authorization server."""
        chosen = {
            "client_id": oauth.client_id,
            "client_secret": oauth.client_secret,
            "connection_config": {"token_url": oauth.token_url},
        } | fields
        return self.integration(key, provider, **chosen)

    def create(self, **fields: Any) -> connection_service_pb2.CreateConnectionResponse:
        """Call CreateConnection; metadata, config and tags as plain dictionaries."""
        request = create_request(**fields)
        found = request.credentials
        for secret in (
            found.oauth2.access_token,
            found.oauth2.refresh_token,
            found.oauth2_cc.client_secret,
            found.api_key.api_key,
            found.basic.password,
        ):
            if secret:
                self.remember(secret)
        response: connection_service_pb2.CreateConnectionResponse = self.call(
            self.connections.CreateConnection, request
        )
        return response

    def api_key_connection(self, key: str, connection_id: str, **fields: Any) -> connection_pb2.Connection:
        """Import a connection with an API key."""
        credentials = connection_pb2.Credentials(api_key=connection_pb2.ApiKeyCredentials(api_key=f"key-{uuid4().hex}"))
        fields = {"credentials": credentials} | fields
        return self.create(provider_config_key=key, connection_id=connection_id, **fields).connection

    def oauth_connection(
        self, key: str, connection_id: str, pair: TokenPair, *, expires_in: float | None = None, **fields: Any
    ) -> connection_pb2.Connection:
        """Import tokens that expire in so many seconds from now (None: as issued)."""
        lives = pair.expires_in if expires_in is None else expires_in
        oauth2 = connection_pb2.OAuth2Credentials(
            access_token=pair.access_token, refresh_token=pair.refresh_token, token_type="Bearer"
        )
        if lives is not None:
            oauth2.expire_time.CopyFrom(timestamp(time.time() + lives))
        return self.create(
            provider_config_key=key,
            connection_id=connection_id,
            credentials=connection_pb2.Credentials(oauth2=oauth2),
            **fields,
        ).connection

    def get(self, key: str, connection_id: str, **fields: Any) -> connection_pb2.Connection:
        """Call GetConnection."""
        found: connection_pb2.Connection = self.call(
            self.connections.GetConnection, get_request(key, connection_id, **fields)
        ).connection
        return found

    def basic(self, key: str, connection_id: str) -> connection_pb2.Connection:
        """Call GetConnection without credentials, which never refreshes."""
        return self.get(key, connection_id, view="CONNECTION_VIEW_BASIC")

    def force(
        self, key: str, connection_id: str, *, timeout: float = TIMEOUT, **fields: Any
    ) -> connection_service_pb2.ForceRefreshResponse:
        """Call ForceRefresh."""
        request = connection_service_pb2.ForceRefreshRequest(
            provider_config_key=key, connection_id=connection_id, **fields
        )
        response: connection_service_pb2.ForceRefreshResponse = self.call(
            self.connections.ForceRefresh, request, timeout=timeout
        )
        return response

    def pages(self, **fields: Any) -> list[connection_service_pb2.ListConnectionsResponse]:
        """Call ListConnections and return its messages."""
        request = connection_service_pb2.ListConnectionsRequest(**fields)
        return list(self.connections.ListConnections(request, timeout=TIMEOUT, metadata=self.metadata))

    def ids(self, **fields: Any) -> list[str]:
        """Return the ids that ListConnections gives, in its order."""
        return [found.connection_id for page in self.pages(**fields) for found in page.connections]


def get_request(key: str, connection_id: str, **fields: Any) -> connection_service_pb2.GetConnectionRequest:
    """Return a request of GetConnection; `min_ttl` in seconds."""
    min_ttl = fields.pop("min_ttl", None)
    request = connection_service_pb2.GetConnectionRequest(
        provider_config_key=key, connection_id=connection_id, **fields
    )
    if min_ttl is not None:
        request.min_ttl.FromNanoseconds(round(min_ttl * 1e9))
    return request


def create_request(**fields: Any) -> connection_service_pb2.CreateConnectionRequest:
    """Return a request of CreateConnection; metadata, config and tags as plain dictionaries."""
    metadata, config, tags = (fields.pop(name, None) for name in ("metadata", "connection_config", "tags"))
    request = connection_service_pb2.CreateConnectionRequest(**fields)
    if metadata is not None:
        request.metadata.CopyFrom(struct(metadata))
    if config is not None:
        request.connection_config.CopyFrom(struct(config))
    if tags is not None:
        request.tags.CopyFrom(connection_service_pb2.Tags(tags=tags))
    return request


def force_request(key: str, connection_id: str, **fields: Any) -> connection_service_pb2.ForceRefreshRequest:
    """Return a request of ForceRefresh."""
    return connection_service_pb2.ForceRefreshRequest(provider_config_key=key, connection_id=connection_id, **fields)
