"""Reflection under both of its names: `grpc.reflection.v1`, which clients ask for first, and `v1alpha` before it.

grpcio brings `v1alpha` alone. The messages of both are the same but for the package, so `v1` is served by the same
servicer, and described by a copy of the same file: whoever lists all services asks for each one's description.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool
from grpc_reflection.v1alpha import reflection, reflection_pb2

_ALPHA: Final = "grpc.reflection.v1alpha"
_V1: Final = "grpc.reflection.v1"
V1_SERVICE: Final = f"{_V1}.ServerReflection"
_FILE: Final = "grpc/reflection/v1/reflection.proto"


def add_reflection(server: Any, services: Sequence[str]) -> None:
    """Serve reflection of `services` (full names) and of itself."""
    _describe_v1()
    names = (*services, reflection.SERVICE_NAME, V1_SERVICE)
    reflection.enable_server_reflection(names, server)
    servicer = reflection.aio.ReflectionServicer(names)  # type: ignore[attr-defined]
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    generic = grpc.method_handlers_generic_handler(V1_SERVICE, {"ServerReflectionInfo": handler})
    server.add_generic_rpc_handlers((generic,))


def _describe_v1() -> None:
    """Add the description of `v1` to the pool that reflection answers from."""
    pool = descriptor_pool.Default()
    try:
        pool.FindFileByName(_FILE)
    except KeyError:
        file = descriptor_pb2.FileDescriptorProto.FromString(reflection_pb2.DESCRIPTOR.serialized_pb)
        file.name, file.package = _FILE, _V1
        for message in file.message_type:
            for field in message.field:
                if field.type_name:
                    field.type_name = field.type_name.replace(_ALPHA, _V1)
        for method in file.service[0].method:
            method.input_type = method.input_type.replace(_ALPHA, _V1)
            method.output_type = method.output_type.replace(_ALPHA, _V1)
        pool.AddSerializedFile(file.SerializeToString())
