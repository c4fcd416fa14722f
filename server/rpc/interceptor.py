"""The one interceptor: runs the chain around every method, ours and those of health and reflection."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final

import grpc
import grpc.aio

from server.domain.errors import MethodNotFound, ServiceError
from server.rpc.call import Call, Endpoint
from server.rpc.chain import Step, compose, is_ours
from server.rpc.status import code_of, to_status, trailing_metadata

_UNKNOWN: Final = "unknown"


class ChainInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """Wraps each method's handler once, and keeps it."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = steps
        self._handlers: dict[str, Any] = {}
        self.in_flight: set[Call] = set()

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], details: Any) -> Any:
        """Return the method's handler with the chain around it."""
        method = details.method
        handler = self._handlers.get(method)
        if handler is None:
            inner = await continuation(details)
            if inner is None:
                # Not kept, and in logs and metrics not named: the caller chooses the name.
                return grpc.unary_unary_rpc_method_handler(self.unary(_unknown(method), _UNKNOWN))
            handler = self._wrap(inner, method)
            self._handlers[method] = handler
        return handler

    def _wrap(self, handler: Any, method: str) -> Any:
        codec = {
            "request_deserializer": handler.request_deserializer,
            "response_serializer": handler.response_serializer,
        }
        if handler.unary_unary is not None:
            return grpc.unary_unary_rpc_method_handler(
                self.unary(_endpoint(handler.unary_unary, method), method), **codec
            )
        if handler.unary_stream is not None:
            return grpc.unary_stream_rpc_method_handler(
                self._stream(_stream_endpoint(handler.unary_stream, method), method), **codec
            )
        # Client streams exist in reflection alone; they run as they are.
        return handler

    def unary(self, endpoint: Endpoint, method: str) -> Any:
        """Return the behaviour of a unary method, as grpc calls it, with the chain around `endpoint`."""
        chain = compose(self._steps, endpoint)
        in_flight = self.in_flight

        async def handle(request: Any, context: Any) -> Any:
            call = Call(
                method, context.invocation_metadata() or (), context.peer(), context.time_remaining(), native=context
            )
            in_flight.add(call)
            try:
                return await chain(request, call)
            except ServiceError as error:
                await _abort(context, error)
            finally:
                in_flight.discard(call)

        return handle

    def _stream(self, endpoint: Endpoint, method: str) -> Any:
        chain = compose(self._steps, endpoint)
        in_flight = self.in_flight

        async def handle(request: Any, context: Any) -> None:
            async def send(message: bytes) -> None:
                await context.write(message)
                call.messages_sent += 1

            call = Call(
                method,
                context.invocation_metadata() or (),
                context.peer(),
                context.time_remaining(),
                send=send,
                native=context,
            )
            in_flight.add(call)
            try:
                await chain(request, call)
            except ServiceError as error:
                await _abort(context, error)
            finally:
                in_flight.discard(call)

        return handle


def _endpoint(behaviour: Callable[[Any, Any], Coroutine[Any, Any, Any]], method: str) -> Endpoint:
    if is_ours(method):
        return behaviour

    async def with_context(request: Any, call: Any) -> Any:
        return await behaviour(request, call.native)

    return with_context


def _stream_endpoint(behaviour: Callable[[Any, Any], Any], method: str) -> Endpoint:
    if is_ours(method):
        return behaviour

    async def with_context(request: Any, call: Any) -> None:
        if inspect.isasyncgenfunction(behaviour):
            async for message in behaviour(request, call.native):
                await call.send(message)
        else:
            await behaviour(request, call.native)

    return with_context


def _unknown(method: str) -> Endpoint:
    async def refuse(request: Any, call: Call) -> Any:
        del request, call
        raise MethodNotFound(
            "this server has no such method; `grpcurl … list` shows those that exist", metadata={"method": method}
        )

    return refuse


async def _abort(context: Any, error: ServiceError) -> None:
    status = to_status(error)
    await context.abort(code_of(error), status.message, trailing_metadata(error, status))
