"""The exceptions that callers may learn of: one family, each with a stable reason.

A `ServiceError` says what the caller may know: its `message` and `metadata` go out as they are, so neither may hold a
secret or another exception's text. What only operators may know rides along as the exception's `__cause__` and goes to
the log. `rpc/status.py` is the one place that turns the family into a status.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


class Reason(enum.Enum):
    """Stable reasons, equal by name to `ErrorReason` in the contract."""

    INVALID_REQUEST = 1
    PAGE_TOKEN_INVALID = 2
    PAGE_TOKEN_MISMATCH = 3
    CONNECTION_NOT_FOUND = 4
    INTEGRATION_NOT_FOUND = 5
    PROVIDER_NOT_FOUND = 6
    ENVIRONMENT_NOT_FOUND = 7
    API_KEY_NOT_FOUND = 8
    INTEGRATION_ALREADY_EXISTS = 9
    ENVIRONMENT_ALREADY_EXISTS = 10
    INTEGRATION_HAS_CONNECTIONS = 11
    ETAG_MISMATCH = 12
    REAUTHORIZATION_REQUIRED = 13
    NOT_REFRESHABLE = 14
    CREDENTIALS_EXPIRED = 15
    INTEGRATION_MISCONFIGURED = 16
    OUTCOME_UNKNOWN = 17
    PROVIDER_UNAVAILABLE = 18
    PROVIDER_RATE_LIMITED = 19
    PROVIDER_RESPONSE_INVALID = 20
    REFRESH_BACKING_OFF = 21
    REFRESH_CONTINUES = 22
    DEADLINE_TOO_SHORT = 23
    DEADLINE_EXCEEDED = 24
    STORAGE_UNAVAILABLE = 25
    WRITE_CONFLICT = 26
    OVERLOADED = 27
    SHUTTING_DOWN = 28
    INTERRUPTED = 29
    CALLER_UNAUTHENTICATED = 30
    PERMISSION_DENIED = 31
    CREDENTIALS_UNREADABLE = 32
    INTERNAL = 33
    METHOD_NOT_FOUND = 34


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken rule: the field as the contract spells it (`tags["team"]`), and a sentence that says what is wrong."""

    field: str
    description: str


class ServiceError(Exception):
    """What every error that reaches a caller derives from.

    `retry_after` is in seconds, None if trying again cannot help. `resource` is (type, name) of what is missing.
    """

    reason: Reason = Reason.INTERNAL

    def __init__(
        self,
        message: str,
        *,
        metadata: Mapping[str, str] | None = None,
        retry_after: float | None = None,
        resource: tuple[str, str] | None = None,
        violations: Sequence[Violation] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.metadata: Mapping[str, str] = metadata or {}
        self.retry_after = retry_after
        self.resource = resource
        self.violations = tuple(violations)


class InvalidRequest(ServiceError):
    """The request breaks rules of the contract; `violations` names them all."""

    reason = Reason.INVALID_REQUEST

    def __init__(self, violations: Sequence[Violation]) -> None:
        first = violations[0]
        more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
        super().__init__(
            f"{first.field}: {first.description}{more}",
            metadata={"violations": str(len(violations))},
            violations=violations,
        )


class PageTokenInvalid(ServiceError):
    """The page token was not made here, is damaged, or belongs to another environment."""

    reason = Reason.PAGE_TOKEN_INVALID


class PageTokenMismatch(ServiceError):
    """The page token was made for another filter."""

    reason = Reason.PAGE_TOKEN_MISMATCH


class NotFound(ServiceError):
    """What the request names does not exist in the caller's environment."""

    @classmethod
    def connection(cls, provider_config_key: str, connection_id: str) -> NotFound:
        """Say that a connection does not exist."""
        return _not_found(
            Reason.CONNECTION_NOT_FOUND,
            f"there is no connection {connection_id!r} under integration {provider_config_key!r} in this environment",
            ("connections.v1.Connection", f"{provider_config_key}/{connection_id}"),
            {"providerConfigKey": provider_config_key, "connectionId": connection_id},
        )

    @classmethod
    def integration(cls, provider_config_key: str) -> NotFound:
        """Say that an integration does not exist."""
        return _not_found(
            Reason.INTEGRATION_NOT_FOUND,
            f"there is no integration {provider_config_key!r} in this environment; create it first",
            ("connections.v1.Integration", provider_config_key),
            {"providerConfigKey": provider_config_key},
        )

    @classmethod
    def provider(cls, provider: str) -> NotFound:
        """Say that a provider template does not exist."""
        return _not_found(
            Reason.PROVIDER_NOT_FOUND,
            f"there is no provider template {provider!r}; ListProviders shows those that exist",
            ("connections.v1.Provider", provider),
            {"provider": provider},
        )

    @classmethod
    def environment(cls, name: str) -> NotFound:
        """Say that an environment does not exist."""
        return _not_found(
            Reason.ENVIRONMENT_NOT_FOUND,
            f"there is no environment {name!r}",
            ("connections.v1.Environment", name),
            {"environment": name},
        )

    @classmethod
    def api_key(cls, api_key_id: str) -> NotFound:
        """Say that an API key does not exist."""
        return _not_found(
            Reason.API_KEY_NOT_FOUND,
            f"there is no API key {api_key_id!r} in this environment",
            ("connections.v1.ApiKey", api_key_id),
            {"apiKeyId": api_key_id},
        )


def _not_found(reason: Reason, message: str, resource: tuple[str, str], metadata: Mapping[str, str]) -> NotFound:
    error = NotFound(message, resource=resource, metadata=metadata)
    error.reason = reason
    return error


class IntegrationAlreadyExists(ServiceError):
    """The provider_config_key is taken."""

    reason = Reason.INTEGRATION_ALREADY_EXISTS


class EnvironmentAlreadyExists(ServiceError):
    """The environment's name is taken."""

    reason = Reason.ENVIRONMENT_ALREADY_EXISTS


class IntegrationHasConnections(ServiceError):
    """The integration cannot be deleted while it has connections."""

    reason = Reason.INTEGRATION_HAS_CONNECTIONS


class EtagMismatch(ServiceError):
    """The resource was edited since the caller read it."""

    reason = Reason.ETAG_MISMATCH

    def __init__(self, current_etag: str) -> None:
        super().__init__(
            "the resource was edited since this etag was read; read it again and repeat the edit",
            metadata={"currentEtag": current_etag},
        )


class ReauthorizationRequired(ServiceError):
    """Only the end user can repair the connection."""

    reason = Reason.REAUTHORIZATION_REQUIRED


class NotRefreshable(ServiceError):
    """Credentials of this kind cannot be refreshed, or there is no refresh token."""

    reason = Reason.NOT_REFRESHABLE


class CredentialsExpired(ServiceError):
    """The token has expired, or lives too short, and there is no way to refresh it."""

    reason = Reason.CREDENTIALS_EXPIRED


class IntegrationMisconfigured(ServiceError):
    """The provider refuses the integration's client, or a value that the template needs is missing."""

    reason = Reason.INTEGRATION_MISCONFIGURED


class OutcomeUnknown(ServiceError):
    """A refresh token may have been spent and its answer lost, and the reuse window has passed."""

    reason = Reason.OUTCOME_UNKNOWN


class ProviderUnavailable(ServiceError):
    """The provider's token endpoint fails, hangs or cannot be reached."""

    reason = Reason.PROVIDER_UNAVAILABLE


class ProviderRateLimited(ServiceError):
    """The provider asked us to slow down."""

    reason = Reason.PROVIDER_RATE_LIMITED


class ProviderResponseInvalid(ServiceError):
    """The provider's token endpoint answered with something that is not a token response."""

    reason = Reason.PROVIDER_RESPONSE_INVALID


class RefreshBackingOff(ServiceError):
    """The next attempt is not due yet, and there is no valid token meanwhile."""

    reason = Reason.REFRESH_BACKING_OFF


class RefreshContinues(ServiceError):
    """The caller's deadline came while the refresh was running; it goes on."""

    reason = Reason.REFRESH_CONTINUES


class DeadlineTooShort(ServiceError):
    """The deadline leaves too little time; nothing was started."""

    reason = Reason.DEADLINE_TOO_SHORT

    def __init__(self, required: float) -> None:
        super().__init__(
            f"the deadline leaves less than the {required:g} s that this call needs; nothing was started",
            metadata={"requiredMs": str(round(required * 1000))},
        )


class DeadlineExceeded(ServiceError):
    """The deadline passed before the work was done."""

    reason = Reason.DEADLINE_EXCEEDED


class StorageUnavailable(ServiceError):
    """Postgres cannot be reached or did not answer in time."""

    reason = Reason.STORAGE_UNAVAILABLE


class WriteConflict(ServiceError):
    """Two writes met, and Postgres let only the other one through."""

    reason = Reason.WRITE_CONFLICT


class Overloaded(ServiceError):
    """The process has as much work as it can do well."""

    reason = Reason.OVERLOADED


class ShuttingDown(ServiceError):
    """The process is shutting down."""

    reason = Reason.SHUTTING_DOWN


class Interrupted(ServiceError):
    """Work that this call shared with others was cancelled under it."""

    reason = Reason.INTERRUPTED


class CallerUnauthenticated(ServiceError):
    """The caller sent no key, or one that is not accepted."""

    reason = Reason.CALLER_UNAUTHENTICATED


class PermissionDenied(ServiceError):
    """The key is good but not for this."""

    reason = Reason.PERMISSION_DENIED


class CredentialsUnreadable(ServiceError):
    """What is stored cannot be decrypted."""

    reason = Reason.CREDENTIALS_UNREADABLE


class Internal(ServiceError):
    """A defect of this service."""

    reason = Reason.INTERNAL


class MethodNotFound(ServiceError):
    """This server has no such method."""

    reason = Reason.METHOD_NOT_FOUND
