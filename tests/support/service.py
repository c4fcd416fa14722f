"""A caller of the service: stubs with a key, and the set-up of an integration at the tests' authorization server."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

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
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2, status_pb2

from tests.support.oauth import OAuthServer, TokenPair
from tests.support.server_process import ServerProcess

INTEGRATION: Final = "crm"
CONNECTION: Final = "customer-42"


@dataclass(frozen=True, slots=True)
class Failure:
    """A call's failure as its caller sees it."""

    code: str
    reason: str
    message: str
    metadata: dict[str, str]
    retry_after: float | None
    violations: dict[str, str] = field(default_factory=dict)


def failure_of(error: grpc.RpcError) -> Failure:
    """Read the rich details of an error."""
    trailers: Any = error.trailing_metadata() or ()
    binary = dict(trailers).get("grpc-status-details-bin", b"")
    status = status_pb2.Status.FromString(binary)
    info, retry, bad = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo(), error_details_pb2.BadRequest()
    retry_after = None
    for detail in status.details:
        detail.Unpack(info)
        detail.Unpack(bad)
        if detail.Unpack(retry):
            retry_after = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
    return Failure(
        code=error.code().name,
        reason=info.reason,
        message=status.message,
        metadata=dict(info.metadata),
        retry_after=retry_after,
        violations={violation.field: violation.description for violation in bad.field_violations},
    )


class _Authorization(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):  # type: ignore[type-arg]
    def __init__(self, key: str) -> None:
        self._key = key

    def _with_key(self, details: Any) -> Any:
        metadata = [*(details.metadata or ()), ("authorization", f"Bearer {self._key}")]
        return details._replace(metadata=metadata)

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return continuation(self._with_key(client_call_details), request)

    def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return continuation(self._with_key(client_call_details), request)


class Service:
    """Stubs of one server, with a key, and short forms of what tests do most."""

    def __init__(self, address: str, key: str) -> None:
        self.address = address
        self.key = key
        self._plain = grpc.insecure_channel(address, options=[("grpc.enable_retries", 0)])
        self.channel = grpc.intercept_channel(self._plain, _Authorization(key))
        self.connections = connection_service_pb2_grpc.ConnectionServiceStub(self.channel)
        self.integrations = integration_service_pb2_grpc.IntegrationServiceStub(self.channel)
        self.providers = provider_service_pb2_grpc.ProviderServiceStub(self.channel)
        self.admin = admin_service_pb2_grpc.AdminServiceStub(self.channel)

    def close(self) -> None:
        """Close the channel."""
        self._plain.close()

    def create_integration(self, oauth: OAuthServer, *, provider: str = "crm", key: str = INTEGRATION) -> None:
        """Create an integration of the tests' provider (see `write_template`)."""
        self.integrations.CreateIntegration(
            integration_service_pb2.CreateIntegrationRequest(
                integration=integration_pb2.Integration(
                    provider_config_key=key,
                    provider=provider,
                    client_id=oauth.client_id,
                    client_secret=oauth.client_secret,
                )
            ),
            timeout=10,
        )

    def import_pair(
        self, pair: TokenPair, *, expires_in: float | None, connection_id: str = CONNECTION, key: str = INTEGRATION
    ) -> connection_pb2.Connection:
        """Import a pair of tokens whose access token expires in so many seconds, as far as the service is told."""
        credentials = connection_pb2.Credentials(
            oauth2=connection_pb2.OAuth2Credentials(
                access_token=pair.access_token, refresh_token=pair.refresh_token, token_type="Bearer"
            )
        )
        if expires_in is not None:
            credentials.oauth2.expire_time.CopyFrom(timestamp(time.time() + expires_in))
        response: connection_service_pb2.CreateConnectionResponse = self.connections.CreateConnection(
            connection_service_pb2.CreateConnectionRequest(
                provider_config_key=key, connection_id=connection_id, credentials=credentials
            ),
            timeout=10,
        )
        return response.connection

    def get(
        self, connection_id: str = CONNECTION, *, key: str = INTEGRATION, timeout: float = 15, **fields: Any
    ) -> connection_pb2.Connection:
        """Read a connection."""
        request = connection_service_pb2.GetConnectionRequest(
            provider_config_key=key, connection_id=connection_id, **fields
        )
        response: connection_service_pb2.GetConnectionResponse = self.connections.GetConnection(
            request, timeout=timeout
        )
        return response.connection

    def basic(self, connection_id: str = CONNECTION, *, key: str = INTEGRATION) -> connection_pb2.Connection:
        """Read a connection without its credentials."""
        return self.get(connection_id, key=key, view=connection_service_pb2.CONNECTION_VIEW_BASIC)

    def force(
        self, connection_id: str = CONNECTION, *, key: str = INTEGRATION, timeout: float = 15, **fields: Any
    ) -> connection_service_pb2.ForceRefreshResponse:
        """Force a refresh."""
        request = connection_service_pb2.ForceRefreshRequest(
            provider_config_key=key, connection_id=connection_id, **fields
        )
        response: connection_service_pb2.ForceRefreshResponse = self.connections.ForceRefresh(request, timeout=timeout)
        return response

    def get_failure(self, connection_id: str = CONNECTION, **fields: Any) -> Failure:
        """Read a connection, expecting a failure."""
        try:
            self.get(connection_id, **fields)
        except grpc.RpcError as error:
            return failure_of(error)
        raise AssertionError("the read succeeded")

    def force_failure(self, connection_id: str = CONNECTION, **fields: Any) -> Failure:
        """Force a refresh, expecting a failure."""
        try:
            self.force(connection_id, **fields)
        except grpc.RpcError as error:
            return failure_of(error)
        raise AssertionError("the refresh succeeded")

    def wait_for_status(self, status: str, *, seconds: float = 10, connection_id: str = CONNECTION) -> Any:
        """Wait until a connection has a status (its name without prefix); return the connection."""
        wanted = connection_pb2.ConnectionStatus.Value(f"CONNECTION_STATUS_{status}")
        deadline = time.monotonic() + seconds
        while True:
            connection = self.basic(connection_id)
            if connection.status == wanted:
                return connection
            assert time.monotonic() < deadline, f"the connection did not become {status}: {connection}"
            time.sleep(0.05)


def timestamp(instant: float) -> Timestamp:
    """Return an instant as a `Timestamp`."""
    seconds = int(instant)
    return Timestamp(seconds=seconds, nanos=int((instant - seconds) * 1e9))


def write_template(folder: Path, oauth: OAuthServer, *, name: str = "crm", **facts: Any) -> Path:
    """Write an operator's template of the tests' authorization server; `facts` are further keys. Return the folder."""
    folder.mkdir(exist_ok=True)
    lines = [
        "display_name: Test CRM",
        "auth_mode: OAUTH2",
        "categories: [crm]",
        f"docs: {oauth.url}/docs",
        f"token_url: {oauth.token_url}",
        f"revocation_url: {oauth.revocation_url}",
        *(f"{key}: {value}" for key, value in facts.items()),
    ]
    (folder / f"{name}.yaml").write_text("\n".join(lines) + "\n")
    return folder


@contextmanager
def callers(servers: Sequence[ServerProcess], key: str) -> Iterator[list[Service]]:
    """Yield a caller of each server."""
    services = [Service(server.address, key) for server in servers]
    try:
        yield services
    finally:
        for service in services:
            service.close()
