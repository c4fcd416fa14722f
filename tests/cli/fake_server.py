"""A stand-in for the real server until the tests of the command run against that one.

It is a real gRPC server with the services of the contract over dictionaries, just truthful enough for the command: it
checks the key, keeps what it is given, pages its lists and answers errors with the details that the contract names. It
neither refreshes nor validates. `Fake.fail` queues errors for the next calls of a method.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent import futures
from typing import Any
from uuid import uuid4

import grpc
from connections.v1 import (
    admin_service_pb2 as admin,
)
from connections.v1 import (
    admin_service_pb2_grpc as admin_rpc,
)
from connections.v1 import (
    connection_pb2,
    integration_pb2,
    provider_pb2,
)
from connections.v1 import (
    connection_service_pb2 as service,
)
from connections.v1 import (
    connection_service_pb2_grpc as connection_rpc,
)
from connections.v1 import (
    integration_service_pb2 as integrations,
)
from connections.v1 import (
    integration_service_pb2_grpc as integration_rpc,
)
from connections.v1 import (
    provider_service_pb2 as providers,
)
from connections.v1 import (
    provider_service_pb2_grpc as provider_rpc,
)
from google.protobuf import any_pb2
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToDict
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

KEY = "test-key-CANARYkey0001"
MODES = {
    "oauth2": provider_pb2.AUTH_MODE_OAUTH2,
    "oauth2_cc": provider_pb2.AUTH_MODE_OAUTH2_CC,
    "api_key": provider_pb2.AUTH_MODE_API_KEY,
    "basic": provider_pb2.AUTH_MODE_BASIC,
}


class RefusedError(Exception):
    """An error to answer with."""

    def __init__(
        self,
        code: grpc.StatusCode,
        reason: str,
        message: str,
        *,
        metadata: dict[str, str] | None = None,
        violations: Sequence[tuple[str, str]] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code, self.reason, self.message = code, reason, message
        self.metadata, self.violations, self.retry_after = metadata or {}, violations, retry_after


def _abort(context: grpc.ServicerContext, error: RefusedError) -> None:
    details: list[Any] = []
    if error.reason:
        details.append(error_details_pb2.ErrorInfo(reason=error.reason, domain="connections", metadata=error.metadata))
    if error.violations:
        details.append(
            error_details_pb2.BadRequest(
                field_violations=[
                    error_details_pb2.BadRequest.FieldViolation(field=name, description=text)
                    for name, text in error.violations
                ]
            )
        )
    if error.retry_after is not None:
        delay = Duration()
        delay.FromNanoseconds(round(error.retry_after * 1e9))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    status = status_pb2.Status(code=error.code.value[0], message=error.message)
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    if details:
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    context.abort(error.code, error.message)


class Fake(
    connection_rpc.ConnectionServiceServicer,
    integration_rpc.IntegrationServiceServicer,
    provider_rpc.ProviderServiceServicer,
    admin_rpc.AdminServiceServicer,
):
    """All services over dictionaries. `requests` has what each method was called with."""

    def __init__(self) -> None:
        self.connections: dict[tuple[str, str], connection_pb2.Connection] = {}
        self.integrations: dict[str, integration_pb2.Integration] = {}
        self.keys: dict[str, admin.ApiKey] = {}
        self.environments = {"dev": admin.Environment(name="dev", uid=str(uuid4()))}
        self.requests: dict[str, list[Any]] = defaultdict(list)
        self.failures: dict[str, list[RefusedError]] = defaultdict(list)
        self.gate: threading.Event | None = None
        self.waiting = threading.Semaphore(0)
        self.cut_after: int | None = None

    def fail(self, method: str, *errors: RefusedError) -> None:
        self.failures[method] += errors

    def _find(self, request: Any) -> connection_pb2.Connection:
        found = self.connections.get((request.provider_config_key, request.connection_id))
        if found is None:
            raise RefusedError(
                grpc.StatusCode.NOT_FOUND,
                "CONNECTION_NOT_FOUND",
                f"there is no connection {request.connection_id!r}",
                metadata={"providerConfigKey": request.provider_config_key, "connectionId": request.connection_id},
            )
        return found

    def _integration(self, key: str) -> integration_pb2.Integration:
        if key not in self.integrations:
            raise RefusedError(
                grpc.StatusCode.NOT_FOUND,
                "INTEGRATION_NOT_FOUND",
                f"there is no integration {key!r} in this environment",
                metadata={"providerConfigKey": key},
            )
        return self.integrations[key]

    def do_get_connection(self, request: Any) -> Any:
        connection = connection_pb2.Connection()
        connection.CopyFrom(self._find(request))
        if request.view == service.CONNECTION_VIEW_BASIC:
            connection.ClearField("credentials")
        elif not request.include_refresh_token and connection.credentials.HasField("oauth2"):
            connection.credentials.oauth2.ClearField("refresh_token")
        return service.GetConnectionResponse(connection=connection)

    def do_create_connection(self, request: Any) -> Any:
        if self.gate is not None:
            self.waiting.release()
            self.gate.wait()
        integration = self._integration(request.provider_config_key)
        key = (request.provider_config_key, request.connection_id or str(uuid4()))
        created = key not in self.connections
        connection = self.connections.setdefault(
            key,
            connection_pb2.Connection(
                provider_config_key=key[0],
                connection_id=key[1],
                uid=str(uuid4()),
                provider=integration.provider,
                status=connection_pb2.CONNECTION_STATUS_ACTIVE,
                etag='"1"',
            ),
        )
        if request.HasField("credentials"):
            connection.credentials.CopyFrom(request.credentials)
            connection.generation += 1
            connection.auth_mode = MODES[request.credentials.WhichOneof("kind")]
        if request.HasField("metadata"):
            connection.metadata.CopyFrom(request.metadata)
        if request.HasField("tags"):
            connection.tags.clear()
            connection.tags.update(request.tags.tags)
        if request.HasField("display_name"):
            connection.display_name = request.display_name
        return service.CreateConnectionResponse(connection=self._basic(connection), created=created)

    def do_delete_connection(self, request: Any) -> Any:
        self._find(request)
        del self.connections[request.provider_config_key, request.connection_id]
        outcome = service.REVOCATION_OUTCOME_REVOKED if request.revoke else service.REVOCATION_OUTCOME_NOT_REQUESTED
        return service.DeleteConnectionResponse(revocation=outcome)

    def do_set_metadata(self, request: Any) -> Any:
        connection = self._find(request)
        connection.metadata.CopyFrom(request.metadata)
        return service.SetMetadataResponse(connection=self._basic(connection))

    def do_update_metadata(self, request: Any) -> Any:
        connection = self._find(request)
        for key, value in MessageToDict(request.metadata).items():
            if value is None:
                connection.metadata.fields.pop(key, None)
            else:
                connection.metadata[key] = value
        return service.UpdateMetadataResponse(connection=self._basic(connection))

    def do_update_tags(self, request: Any) -> Any:
        connection = self._find(request)
        connection.tags.clear()
        connection.tags.update(request.tags)
        return service.UpdateTagsResponse(connection=self._basic(connection))

    def do_force_refresh(self, request: Any) -> Any:
        connection = self._find(request)
        connection.generation += 1
        return service.ForceRefreshResponse(
            connection=connection,
            outcome=service.REFRESH_OUTCOME_REFRESHED,
            previous_generation=connection.generation - 1,
        )

    def do_create_integration(self, request: Any) -> Any:
        stored = integration_pb2.Integration()
        stored.CopyFrom(request.integration)
        stored.client_secret_set = bool(stored.client_secret)
        stored.client_secret = ""
        self.integrations[stored.provider_config_key] = stored
        return integrations.CreateIntegrationResponse(integration=stored)

    def do_get_integration(self, request: Any) -> Any:
        return integrations.GetIntegrationResponse(integration=self._integration(request.provider_config_key))

    def do_list_integrations(self, _: Any) -> Any:
        return integrations.ListIntegrationsResponse(integrations=self.integrations.values())

    def do_update_integration(self, request: Any) -> Any:
        stored = self._integration(request.integration.provider_config_key)
        request.update_mask.MergeMessage(request.integration, stored, replace_repeated_field=True)
        stored.client_secret = ""
        return integrations.UpdateIntegrationResponse(integration=stored)

    def do_delete_integration(self, request: Any) -> Any:
        self._integration(request.provider_config_key)
        del self.integrations[request.provider_config_key]
        return integrations.DeleteIntegrationResponse(deleted_connections=0)

    def do_list_providers(self, request: Any) -> Any:
        found = [item for item in PROVIDERS if request.search in item.provider]
        return providers.ListProvidersResponse(providers=found)

    def do_get_provider(self, request: Any) -> Any:
        for item in PROVIDERS:
            if item.provider == request.provider:
                return providers.GetProviderResponse(provider=item)
        raise RefusedError(grpc.StatusCode.NOT_FOUND, "PROVIDER_NOT_FOUND", "there is no such provider template")

    def do_create_environment(self, request: Any) -> Any:
        self.environments[request.name] = admin.Environment(name=request.name, uid=str(uuid4()))
        return admin.CreateEnvironmentResponse(environment=self.environments[request.name])

    def do_list_environments(self, _: Any) -> Any:
        return admin.ListEnvironmentsResponse(environments=self.environments.values())

    def do_create_api_key(self, request: Any) -> Any:
        key = admin.ApiKey(
            api_key_id=str(uuid4()),
            environment=request.environment,
            display_name=request.display_name,
            admin=request.admin,
            suffix="wxyz",
        )
        if request.HasField("expire_time"):
            key.expire_time.CopyFrom(request.expire_time)
        self.keys[key.api_key_id] = key
        return admin.CreateApiKeyResponse(api_key=key, secret="new-key-wxyz")

    def do_list_api_keys(self, request: Any) -> Any:
        return admin.ListApiKeysResponse(
            api_keys=[key for key in self.keys.values() if key.environment == request.environment]
        )

    def do_delete_api_key(self, request: Any) -> Any:
        del self.keys[request.api_key_id]
        return admin.DeleteApiKeyResponse()

    def ListConnections(  # noqa: N802 - the contract's name
        self, request: Any, context: grpc.ServicerContext
    ) -> Any:
        self._admit("ListConnections", request, context)
        found = [
            self._basic(item)
            for item in reversed(self.connections.values())
            if (not request.provider_config_keys or item.provider_config_key in request.provider_config_keys)
            and all(item.tags.get(key) == value for key, value in request.tags.items())
            and (not request.statuses or item.status in request.statuses)
        ]
        start = int(request.page_token or 0)
        end = min(len(found), start + request.limit) if request.limit else len(found)
        size = request.page_size or 100
        sent = 0
        while True:
            stop = min(end, start + size)
            token = str(stop) if stop < len(found) else ""
            yield service.ListConnectionsResponse(connections=found[start:stop], next_page_token=token)
            start, sent = stop, sent + 1
            if start >= end:
                return
            if self.cut_after == sent:
                self.cut_after = None
                _abort(
                    context, RefusedError(grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN", "the server is shutting down")
                )

    def _basic(self, connection: connection_pb2.Connection) -> connection_pb2.Connection:
        copy = connection_pb2.Connection()
        copy.CopyFrom(connection)
        copy.ClearField("credentials")
        return copy

    def _admit(self, method: str, request: Any, context: grpc.ServicerContext) -> None:
        if dict(context.invocation_metadata()).get("authorization") != f"Bearer {KEY}":
            _abort(
                context,
                RefusedError(grpc.StatusCode.UNAUTHENTICATED, "CALLER_UNAUTHENTICATED", "the key is not accepted"),
            )
        self.requests[method].append(request)
        if self.failures[method]:
            _abort(context, self.failures[method].pop(0))


def _handler(name: str) -> Any:
    snake = "".join(f"_{char.lower()}" if char.isupper() else char for char in name)

    def handle(self: Fake, request: Any, context: grpc.ServicerContext) -> Any:
        self._admit(name, request, context)
        try:
            return getattr(self, f"do{snake}")(request)
        except RefusedError as error:
            return _abort(context, error)

    return handle


for _file in (service, integrations, providers, admin):
    for _service in _file.DESCRIPTOR.services_by_name.values():
        for _method in _service.methods:
            if not _method.server_streaming and _method.name not in ("BatchGetConnections", "UpdateConnection"):
                setattr(Fake, _method.name, _handler(_method.name))

PROVIDERS = [
    provider_pb2.Provider(
        provider="github",
        display_name="GitHub",
        auth_mode=provider_pb2.AUTH_MODE_OAUTH2,
        token_url="https://github.com/login/oauth/access_token",
        source=provider_pb2.PROVIDER_SOURCE_CATALOGUE,
    ),
    provider_pb2.Provider(
        provider="zendesk",
        display_name="Zendesk",
        auth_mode=provider_pb2.AUTH_MODE_OAUTH2,
        connection_config_fields=[
            provider_pb2.ConnectionConfigField(name="subdomain", description="Part before zendesk.com", example="acme")
        ],
    ),
]


def start(fake: Fake) -> tuple[grpc.Server, str]:
    """Serve on a free port of the loopback; return the server and its address."""
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=32), options=(("grpc.so_reuseport", 0),))
    adders: list[Callable[[Any, grpc.Server], None]] = [
        connection_rpc.add_ConnectionServiceServicer_to_server,
        integration_rpc.add_IntegrationServiceServicer_to_server,
        provider_rpc.add_ProviderServiceServicer_to_server,
        admin_rpc.add_AdminServiceServicer_to_server,
    ]
    for add in adders:
        add(fake, server)
    checks = health.HealthServicer()
    checks.set("", health_pb2.HealthCheckResponse.SERVING)
    checks.set("resting", health_pb2.HealthCheckResponse.NOT_SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, f"127.0.0.1:{port}"
