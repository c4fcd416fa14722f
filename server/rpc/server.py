"""The gRPC server. Only this module knows which server class serves.

Handlers are built from the contract's descriptors: requests that do not parse reach the chain as such, responses that are
serialised already are sent as they are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc
import grpc.aio
from connections.v1 import (
    admin_service_pb2,
    connection_service_pb2,
    integration_service_pb2,
    provider_service_pb2,
)
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from grpc_health.v1 import health, health_pb2_grpc

from server.rpc.chain import MalformedRequest, Step
from server.rpc.health import Readiness
from server.rpc.interceptor import ChainInterceptor
from server.rpc.reflection import add_reflection

SERVICES: Final[Mapping[str, ServiceDescriptor]] = {
    descriptor.name: descriptor
    for module in (connection_service_pb2, integration_service_pb2, provider_service_pb2, admin_service_pb2)
    for descriptor in module.DESCRIPTOR.services_by_name.values()
}
FULL_NAMES: Final = tuple(descriptor.full_name for descriptor in SERVICES.values())
_MALFORMED: Final = MalformedRequest()


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files; `client_ca` None: clients need no certificate."""

    certificate: Path
    key: Path
    client_ca: Path | None


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """How the server listens. Times in seconds. `reuse_port`: several processes share the port."""

    address: str
    reuse_port: bool
    reflection: bool
    max_message_bytes: int
    keepalive_time: float
    max_connection_age: float
    max_connection_age_grace: float
    tls: TlsFiles | None


class RpcServer:
    """Serves the contract, health and reflection on one port."""

    def __init__(
        self, settings: ServerSettings, servicers: Mapping[str, object], steps: Sequence[Step], readiness: Readiness
    ) -> None:
        self._interceptor = ChainInterceptor(steps)
        self._server = grpc.aio.server(interceptors=[self._interceptor], options=_options(settings))
        for name, servicer in servicers.items():
            self._server.add_generic_rpc_handlers((_handlers(SERVICES[name], servicer),))
        health_pb2_grpc.add_HealthServicer_to_server(readiness.servicer, self._server)
        if settings.reflection:
            add_reflection(self._server, (*FULL_NAMES, health.SERVICE_NAME))
        self._settings = settings
        self.port = 0

    async def start(self) -> None:
        """Bind and serve. Raises `OSError` if the address is taken or wrong."""
        try:
            if self._settings.tls is None:
                self.port = self._server.add_insecure_port(self._settings.address)
            else:
                self.port = self._server.add_secure_port(self._settings.address, _credentials(self._settings.tls))
        except RuntimeError as error:
            raise OSError(f"cannot listen on {self._settings.address}") from error
        if not self.port:
            raise OSError(f"cannot listen on {self._settings.address}")
        await self._server.start()

    async def stop(self, grace: float) -> int:
        """Accept nothing more, let calls end for `grace` seconds, then cancel them; return how many handlers were left.

        Waits for our own handlers too: grpc forgets those whose client has gone.
        """
        await self._server.stop(grace)
        for _ in range(20):
            if not self._interceptor.in_flight:
                break
            await asyncio.sleep(0.05)
        return len(self._interceptor.in_flight)


def _options(settings: ServerSettings) -> list[tuple[str, int]]:
    def milliseconds(seconds: float) -> int:
        return round(seconds * 1000)

    return [
        # Off unless several processes share the port on purpose: a second copy started by mistake must fail.
        ("grpc.so_reuseport", int(settings.reuse_port)),
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_send_message_length", max(settings.max_message_bytes, 16 << 20)),
        ("grpc.max_metadata_size", 16 << 10),
        ("grpc.max_concurrent_streams", 1000),
        ("grpc.keepalive_time_ms", milliseconds(settings.keepalive_time)),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.http2.max_ping_strikes", 2),
        # Clients come back to other processes now and then: one long connection would keep one process busy.
        ("grpc.max_connection_age_ms", milliseconds(settings.max_connection_age)),
        ("grpc.max_connection_age_grace_ms", milliseconds(settings.max_connection_age_grace)),
        ("grpc.server_handshake_timeout_ms", 20_000),
    ]


def _credentials(tls: TlsFiles) -> Any:
    """Return credentials that follow the files: a renewed certificate serves new connections without a restart."""

    def read() -> tuple[tuple[float, ...], Any]:
        paths = [path for path in (tls.certificate, tls.key, tls.client_ca) if path is not None]
        stamp = tuple(path.stat().st_mtime for path in paths)
        root = None if tls.client_ca is None else tls.client_ca.read_bytes()
        pair = (tls.key.read_bytes(), tls.certificate.read_bytes())
        return stamp, grpc.ssl_server_certificate_configuration([pair], root)

    last, initial = read()

    def renewed() -> Any:
        nonlocal last
        try:
            stamp, configuration = read()
        except OSError:
            # Half-written files: the last good certificate serves on.
            return None
        if stamp == last:
            return None
        last = stamp
        return configuration

    return grpc.dynamic_ssl_server_credentials(
        initial, renewed, require_client_authentication=tls.client_ca is not None
    )


def _handlers(descriptor: ServiceDescriptor, servicer: object) -> Any:
    handlers = {}
    for method in descriptor.methods:
        behaviour = getattr(servicer, method.name)
        make = grpc.unary_stream_rpc_method_handler if method.server_streaming else grpc.unary_unary_rpc_method_handler
        handlers[method.name] = make(
            behaviour, request_deserializer=_deserializer(method), response_serializer=_serialize
        )
    return grpc.method_handlers_generic_handler(descriptor.full_name, handlers)


def _deserializer(method: MethodDescriptor) -> Callable[[bytes], Message | MalformedRequest]:
    parse: Any = message_factory.GetMessageClass(method.input_type).FromString

    def deserialize(data: bytes) -> Message | MalformedRequest:
        try:
            message: Message = parse(data)
        except DecodeError:
            return _MALFORMED
        return message

    return deserialize


def _serialize(response: Any) -> bytes:
    if type(response) is bytes:
        return response
    data: bytes = response.SerializeToString()
    return data
