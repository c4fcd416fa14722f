"""What went wrong, said to people: one paragraph on stderr, a next step, and an exit code that scripts can rely on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from server.cli.text import clean
from server.parsing import format_duration

FAILED: Final = 1
USAGE: Final = 2
NOT_FOUND: Final = 3
NOT_ALLOWED: Final = 4
UNAVAILABLE: Final = 5
INTERRUPTED: Final = 130

EXIT_CODES: Final = (
    "Exit codes: 0 done, 1 the call failed, 2 wrong usage or settings, 3 not found, 4 not authenticated or not allowed,"
    " 5 unavailable or out of time, 130 interrupted."
)

_DETAILS: Final = "grpc-status-details-bin"

_BY_CODE: Final = {
    grpc.StatusCode.NOT_FOUND: NOT_FOUND,
    grpc.StatusCode.UNAUTHENTICATED: NOT_ALLOWED,
    grpc.StatusCode.PERMISSION_DENIED: NOT_ALLOWED,
    grpc.StatusCode.UNAVAILABLE: UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED: UNAVAILABLE,
    grpc.StatusCode.CANCELLED: INTERRUPTED,
}

# A step names only what the status itself says; `{…}` is ErrorInfo metadata, and a step whose value is missing falls
# back to the placeholder in capitals.
NEXT_STEPS: Final[Mapping[str, str]] = {
    "INVALID_REQUEST": "correct the fields above; nothing was changed",
    "PAGE_TOKEN_INVALID": "start the list again without a page token",
    "PAGE_TOKEN_MISMATCH": "repeat the filter that the page token came from, or start again without it",
    "CONNECTION_NOT_FOUND": "connections list --integration {providerConfigKey}",
    "INTEGRATION_NOT_FOUND": "connections integrations create {providerConfigKey} --provider PROVIDER"
    " (`connections integrations list` shows those that exist)",
    "PROVIDER_NOT_FOUND": "connections providers list",
    "ENVIRONMENT_NOT_FOUND": "connections environments list, or connections environments create {environment}",
    "API_KEY_NOT_FOUND": "connections keys list --environment ENVIRONMENT",
    "INTEGRATION_ALREADY_EXISTS": "connections integrations update {providerConfigKey}",
    "ENVIRONMENT_ALREADY_EXISTS": "connections environments list",
    "INTEGRATION_HAS_CONNECTIONS": "connections integrations delete {providerConfigKey} --force deletes them with it",
    "ETAG_MISMATCH": "read the resource again and repeat the edit with its present etag, or without one",
    "REAUTHORIZATION_REQUIRED": "ask the end user to authorize again, or connections import new credentials",
    "NOT_REFRESHABLE": "import new credentials with connections import",
    "CREDENTIALS_EXPIRED": "import new ones with connections import, with a refresh token if the provider has any",
    "INTEGRATION_MISCONFIGURED": "correct the client with connections integrations update {providerConfigKey}"
    " --client-id ID --client-secret-stdin",
    "OUTCOME_UNKNOWN": "try connections refresh; if the provider refuses, ask the end user to authorize again",
    "PROVIDER_UNAVAILABLE": "wait for the provider; the service tries again by itself",
    "PROVIDER_RATE_LIMITED": "wait as long as the provider asks",
    "PROVIDER_RESPONSE_INVALID": "check the integration's token URL and config if this lasts; the service tries again",
    "REFRESH_BACKING_OFF": "wait for the next attempt, or force one with connections refresh",
    "REFRESH_CONTINUES": "the refresh goes on without you: repeat the command to get its result",
    "DEADLINE_TOO_SHORT": "give it more time with --timeout",
    "DEADLINE_EXCEEDED": "give it more time with --timeout",
    "STORAGE_UNAVAILABLE": "check the server's database; connections healthcheck shows when it is back",
    "WRITE_CONFLICT": "repeat the command",
    "OVERLOADED": "try again later, or run more workers",
    "SHUTTING_DOWN": "try again; another replica or the restarted server answers",
    "INTERRUPTED": "try again",
    "CALLER_UNAUTHENTICATED": "set CONNECTIONS_API_KEY to a key of this server, or CONNECTIONS_DATA_DIR to the folder"
    " with its dev.key",
    "PERMISSION_DENIED": "use an admin key (connections keys create --admin, or connections bootstrap on the server)",
    "CREDENTIALS_UNREADABLE": "check the server's keyring; its log names the key",
    "INTERNAL": "report it with the request id {requestId}; the server's log has the details",
    "METHOD_NOT_FOUND": "use a command of the server's version (connections --version)",
}


class CliError(Exception):
    """Ends the command with a message, an exit code and, if there is one, the next step. Holds no secret."""

    def __init__(self, message: str, exit_code: int = FAILED, next_step: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.exit_code = exit_code
        self.next_step = next_step

    def render(self) -> str:
        """Return the text for stderr, without a line break at its end."""
        return f"error: {self.message}" + (f"\nnext: {self.next_step}" if self.next_step else "")


@dataclass(frozen=True, slots=True)
class Failure:
    """A gRPC error taken apart. `reason` is empty if the status did not come from this service; times are seconds."""

    code: grpc.StatusCode
    message: str
    reason: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    violations: tuple[tuple[str, str], ...] = ()
    retry_after: float | None = None

    @property
    def exit_code(self) -> int:
        """The exit code that stands for the status."""
        return _BY_CODE.get(self.code, FAILED)

    @property
    def label(self) -> str:
        """The reason, or else the code's name."""
        return self.reason or self.code.name


def failure_of(error: grpc.RpcError) -> Failure:
    """Take a gRPC error apart, of a sync or an asyncio call. What it cannot read it leaves out."""
    call: Any = error
    status = _status_of(call.trailing_metadata() or ())
    reason, metadata, violations, retry_after = "", {}, [], None
    for detail in status.details if status else ():
        info, bad, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
        try:
            if detail.Unpack(info) and info.domain == "connections":
                reason, metadata = info.reason, dict(info.metadata)
            elif detail.Unpack(bad):
                violations = [(clean(v.field), clean(v.description)) for v in bad.field_violations]
            elif detail.Unpack(retry):
                retry_after = retry.retry_delay.ToNanoseconds() / 1e9
        except DecodeError:
            continue
    return Failure(
        call.code(),
        clean(call.details() or ""),
        clean(reason),
        {key: clean(value) for key, value in metadata.items()},
        tuple(violations),
        retry_after,
    )


def cli_error(error: grpc.RpcError, address: str, timeout: float) -> CliError:
    """Return what to tell people about a failed call to this address with this deadline."""
    failure = failure_of(error)
    if not failure.reason:
        return _foreign(failure, address, timeout)
    parts = [f"{failure.message} ({failure.reason})"]
    # A single violation is already the message.
    if len(failure.violations) > 1:
        parts += [f"  {name}: {description}" for name, description in failure.violations]
    if failure.retry_after:
        parts.append(f"  retry in {format_duration(max(1.0, float(round(failure.retry_after))))}")
    return CliError("\n".join(parts), failure.exit_code, next_step(failure))


def next_step(failure: Failure) -> str:
    """Return what to do about the failure, empty if nobody knows."""
    return NEXT_STEPS.get(failure.reason, "").format_map(_Values(failure.metadata))


class _Values(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return "".join(f"_{char}" if char.isupper() else char for char in key).upper()


def _foreign(failure: Failure, address: str, timeout: float) -> CliError:
    if failure.code is grpc.StatusCode.UNAVAILABLE:
        return CliError(
            f"no server at {address}", UNAVAILABLE, "start one with `make serve`, or set CONNECTIONS_ADDRESS to one"
        )
    if failure.code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return CliError(
            f"{address} did not answer within {format_duration(timeout)}",
            UNAVAILABLE,
            "check the server with `connections healthcheck`, or give it more time with --timeout",
        )
    if failure.code is grpc.StatusCode.UNIMPLEMENTED:
        return CliError(
            f"the server at {address} does not have this call",
            FAILED,
            "check that CONNECTIONS_ADDRESS names a server of `connections` of this version",
        )
    return CliError(f"{failure.message or 'the call failed'} ({failure.code.name})", failure.exit_code)


def _status_of(trailing: Any) -> status_pb2.Status | None:
    for key, value in trailing:
        if key == _DETAILS and isinstance(value, bytes):
            try:
                return status_pb2.Status.FromString(value)
            except DecodeError:
                return None
    return None
