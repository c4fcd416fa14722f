"""The one place that turns an error into a `google.rpc.Status`."""

from __future__ import annotations

from typing import Final

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2

from server.domain.errors import Reason, ServiceError

DOMAIN: Final = "connections"

_CODES: Final[dict[Reason, grpc.StatusCode]] = {
    Reason.INVALID_REQUEST: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.PAGE_TOKEN_INVALID: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.PAGE_TOKEN_MISMATCH: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.CONNECTION_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Reason.INTEGRATION_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Reason.PROVIDER_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Reason.ENVIRONMENT_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Reason.API_KEY_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Reason.INTEGRATION_ALREADY_EXISTS: grpc.StatusCode.ALREADY_EXISTS,
    Reason.ENVIRONMENT_ALREADY_EXISTS: grpc.StatusCode.ALREADY_EXISTS,
    Reason.INTEGRATION_HAS_CONNECTIONS: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.ETAG_MISMATCH: grpc.StatusCode.ABORTED,
    Reason.REAUTHORIZATION_REQUIRED: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.NOT_REFRESHABLE: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.CREDENTIALS_EXPIRED: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.INTEGRATION_MISCONFIGURED: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.OUTCOME_UNKNOWN: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.PROVIDER_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    Reason.PROVIDER_RATE_LIMITED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.PROVIDER_RESPONSE_INVALID: grpc.StatusCode.UNAVAILABLE,
    Reason.REFRESH_BACKING_OFF: grpc.StatusCode.UNAVAILABLE,
    Reason.REFRESH_CONTINUES: grpc.StatusCode.DEADLINE_EXCEEDED,
    Reason.DEADLINE_TOO_SHORT: grpc.StatusCode.DEADLINE_EXCEEDED,
    Reason.DEADLINE_EXCEEDED: grpc.StatusCode.DEADLINE_EXCEEDED,
    Reason.STORAGE_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    Reason.WRITE_CONFLICT: grpc.StatusCode.ABORTED,
    Reason.OVERLOADED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.SHUTTING_DOWN: grpc.StatusCode.UNAVAILABLE,
    Reason.INTERRUPTED: grpc.StatusCode.UNAVAILABLE,
    Reason.CALLER_UNAUTHENTICATED: grpc.StatusCode.UNAUTHENTICATED,
    Reason.PERMISSION_DENIED: grpc.StatusCode.PERMISSION_DENIED,
    Reason.CREDENTIALS_UNREADABLE: grpc.StatusCode.INTERNAL,
    Reason.INTERNAL: grpc.StatusCode.INTERNAL,
    Reason.METHOD_NOT_FOUND: grpc.StatusCode.UNIMPLEMENTED,
}
_PRECONDITIONS: Final = {
    Reason.REAUTHORIZATION_REQUIRED,
    Reason.NOT_REFRESHABLE,
    Reason.CREDENTIALS_EXPIRED,
    Reason.INTEGRATION_MISCONFIGURED,
    Reason.OUTCOME_UNKNOWN,
    Reason.INTEGRATION_HAS_CONNECTIONS,
}
# In bytes. Trailers have to stay under the 8 KiB that clients accept by default, where the details grow by a third
# (base64) and every byte of the message may take three.
_MAX_TEXT: Final = 512
_MAX_NAME: Final = 1020
_MAX_FIELD: Final = 200
_MAX_VIOLATIONS: Final = 3600


def code_of(error: ServiceError) -> grpc.StatusCode:
    """Return the code that an error is sent with."""
    return _CODES[error.reason]


def to_status(error: ServiceError) -> status_pb2.Status:
    """Return an error as callers see it: a code, a sentence, and details to act on."""
    details = [
        _pack(
            error_details_pb2.ErrorInfo(
                reason=error.reason.name,
                domain=DOMAIN,
                metadata={name: _clip(value, _MAX_NAME) for name, value in error.metadata.items()},
            )
        )
    ]
    if error.violations:
        bad_request = _bad_request(error, _MAX_FIELD)
        if bad_request.ByteSize() > _MAX_VIOLATIONS:
            bad_request = _bad_request(error, _MAX_VIOLATIONS // len(error.violations) // 3)
        details.append(_pack(bad_request))
    if error.retry_after is not None:
        seconds = int(error.retry_after)
        nanos = int((error.retry_after - seconds) * 1e9)
        details.append(_pack(error_details_pb2.RetryInfo(retry_delay=Duration(seconds=seconds, nanos=nanos))))
    if error.resource is not None:
        details.append(
            _pack(
                error_details_pb2.ResourceInfo(
                    resource_type=error.resource[0], resource_name=_clip(error.resource[1], _MAX_NAME)
                )
            )
        )
    if error.reason in _PRECONDITIONS:
        precondition = error_details_pb2.PreconditionFailure()
        precondition.violations.add(
            type=error.reason.name,
            subject=_clip(
                "/".join(
                    error.metadata[name] for name in ("providerConfigKey", "connectionId") if name in error.metadata
                ),
                _MAX_TEXT,
            ),
            description=_clip(error.message, _MAX_TEXT),
        )
        details.append(_pack(precondition))
    return status_pb2.Status(code=code_of(error).value[0], message=_clip(error.message, _MAX_TEXT), details=details)


def _bad_request(error: ServiceError, limit: int) -> error_details_pb2.BadRequest:
    bad_request = error_details_pb2.BadRequest()
    for violation in error.violations:
        bad_request.field_violations.add(
            field=_clip(violation.field, limit),
            description=_clip(violation.description, limit),
            reason=error.reason.name,
        )
    return bad_request


def _clip(text: str, limit: int) -> str:
    """Return the part of a text that fits into so many bytes."""
    return text if len(text) * 4 <= limit else text.encode()[:limit].decode(errors="ignore")


def trailing_metadata(error: ServiceError, status: status_pb2.Status) -> tuple[tuple[str, str | bytes], ...]:
    """Return the trailers of an error: the rich status, and when a client's own retries should come back."""
    trailers: list[tuple[str, str | bytes]] = [("grpc-status-details-bin", status.SerializeToString())]
    if error.reason is Reason.OVERLOADED and error.retry_after is not None:
        trailers.append(("grpc-retry-pushback-ms", str(round(error.retry_after * 1000))))
    return tuple(trailers)


def _pack(message: object) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(message)  # type: ignore[arg-type]
    return packed
