"""What becomes of a connection after an exchange. Pure rules, no I/O."""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from server.domain.errors import (
    CredentialsExpired,
    IntegrationMisconfigured,
    OutcomeUnknown,
    ProviderRateLimited,
    ProviderResponseInvalid,
    ProviderUnavailable,
    Reason,
    ReauthorizationRequired,
    RefreshBackingOff,
    ServiceError,
)
from server.domain.lifetime import when_due
from server.domain.model import (
    ConnectionKey,
    CredentialState,
    ProviderFacts,
    Status,
    expires_at_of,
    expiring,
)
from server.refresh.ports import Applied, ExchangeFailed, FailureKind, Lease, NewCredentials

FIRST_BACKOFF: Final = 10.0
MOST_BACKOFF: Final = 3600.0
FIRST_CLIENT_BACKOFF: Final = 60.0

_PROVIDER_ERRORS: Final[dict[Reason, tuple[type[ServiceError], str]]] = {
    Reason.PROVIDER_UNAVAILABLE: (ProviderUnavailable, "the provider's token endpoint fails or does not answer"),
    Reason.PROVIDER_RATE_LIMITED: (ProviderRateLimited, "the provider asked to slow down"),
    Reason.PROVIDER_RESPONSE_INVALID: (ProviderResponseInvalid, "the provider did not answer with a token response"),
    Reason.INTEGRATION_MISCONFIGURED: (
        IntegrationMisconfigured,
        (
            "the provider refuses the integration's client, or a value that its template needs is missing; "
            "correct the integration"
        ),
    ),
    Reason.REAUTHORIZATION_REQUIRED: (
        ReauthorizationRequired,
        "the provider refused the refresh token for good; the end user must authorize again",
    ),
    Reason.OUTCOME_UNKNOWN: (
        OutcomeUnknown,
        (
            "a refresh token may have been spent and its answer lost; force a refresh to try it anyway, "
            "or ask the end user to authorize again"
        ),
    ),
}


@dataclass(frozen=True, slots=True)
class Rules:
    """What the rules need beside their arguments. `random` returns numbers from 0 to 1."""

    margin: float
    random: Callable[[], float]


def backoff(attempts: int, *, first: float, random: float) -> float:
    """Return the seconds to wait after so many failures in a row: exponential, with half of it jitter."""
    whole = min(first * 2 ** min(attempts - 1, 32), MOST_BACKOFF)
    return float(whole * (0.5 + 0.5 * random))


def reuse_window(facts: ProviderFacts, *, rotates: bool | None) -> float:
    """Return for how many seconds a spent refresh token may be presented again.

    The template knows best. Where it is silent, a provider that kept the refresh token at the last refresh is taken not
    to rotate; nothing is risked with one that was never seen.
    """
    if facts.reuse_window is not None:
        return facts.reuse_window
    return math.inf if rotates is False else 0.0


def after_success(
    lease: Lease, new: NewCredentials, facts: ProviderFacts, rules: Rules, *, now: float, refreshable: bool
) -> Applied:
    """Return the state after new credentials came at `now`. A success clears every failure."""
    expires_at = expires_at_of(new.credentials)
    lifetime = lease.lifetime
    if expires_at is not None:
        lifetime = expires_at - now
    elif lifetime is not None and lease.state.expires_at is not None:
        # The provider gave a life before and is silent now: a token is not taken for eternal.
        expires_at = now + lifetime
        new = dataclasses.replace(new, credentials=expiring(new.credentials, expires_at))
    due = when_due(
        expires_at=expires_at,
        refreshable=refreshable,
        facts=facts,
        now=now,
        jitter=rules.random(),
        lifetime=lifetime,
        margin=rules.margin,
    )
    state = CredentialState(
        status=Status.ACTIVE,
        failure_reason=None,
        generation=lease.generation + 1,
        expires_at=expires_at,
        refresh_due_at=due.refresh_due_at,
        next_refresh_at=due.next_refresh_at,
        last_refresh_at=now,
        last_failure_at=None,
        refresh_attempts=0,
        granted_scopes=lease.state.granted_scopes if new.granted_scopes is None else new.granted_scopes,
    )
    return Applied(state=state, new=new, rotates=new.rotated, lifetime=lifetime)


def after_failure(lease: Lease, failure: ExchangeFailed, rules: Rules, *, now: float) -> CredentialState:
    """Return the state after a failed exchange. The generation stays: the credentials have not changed."""
    attempts = lease.state.refresh_attempts + 1
    failing = dataclasses.replace(
        lease.state,
        status=Status.REFRESH_FAILING,
        failure_reason=failure.reason,
        last_failure_at=now,
        refresh_attempts=attempts,
        refresh_due_at=None,
        next_refresh_at=None,
    )
    match failure.kind:
        case FailureKind.PERMANENT if failure.reason is Reason.REAUTHORIZATION_REQUIRED:
            return dataclasses.replace(failing, status=Status.REAUTHORIZATION_REQUIRED)
        case FailureKind.PERMANENT:
            return failing
        case _ if lease.state.failure_reason is Reason.OUTCOME_UNKNOWN:
            # Somebody forced it, and nothing was learnt: the token is not presented again unless somebody decides so.
            return dataclasses.replace(failing, failure_reason=Reason.OUTCOME_UNKNOWN)
        case FailureKind.CONFIGURATION:
            wait = backoff(attempts, first=FIRST_CLIENT_BACKOFF, random=rules.random())
        case _:
            wait = backoff(attempts, first=FIRST_BACKOFF, random=rules.random())
    again_at = now + max(wait, failure.retry_after or 0.0)
    return dataclasses.replace(failing, refresh_due_at=again_at, next_refresh_at=again_at)


def unknown_outcome() -> ExchangeFailed:
    """Return the failure for an answer that was lost after its refresh token was sent."""
    return ExchangeFailed(
        FailureKind.PERMANENT,
        Reason.OUTCOME_UNKNOWN,
        "the answer to a refresh was lost and the reuse window has passed",
        maybe_spent=True,
    )


def error_of(
    reason: Reason, key: ConnectionKey, provider: str = "", *, retry_after: float | None = None
) -> ServiceError:
    """Return what callers are told about a refresh that failed for `reason`."""
    kind, message = _PROVIDER_ERRORS.get(reason, _PROVIDER_ERRORS[Reason.PROVIDER_UNAVAILABLE])
    metadata = {"providerConfigKey": key.provider_config_key, "connectionId": key.connection_id}
    if provider:
        metadata["provider"] = provider
    return kind(message, metadata=metadata, retry_after=retry_after)


def why_unusable(
    key: ConnectionKey,
    *,
    status: Status,
    failure_reason: Reason | None,
    expires_at: float | None,
    refresh_due_at: float | None,
    now: float,
) -> ServiceError:
    """Return why a connection's token cannot be returned, for one that does not live long enough and is not refreshed now."""
    if failure_reason in {
        Reason.REAUTHORIZATION_REQUIRED,
        Reason.OUTCOME_UNKNOWN,
        Reason.INTEGRATION_MISCONFIGURED,
        Reason.PROVIDER_RATE_LIMITED,
    }:
        retry_after = None if refresh_due_at is None else max(0.0, refresh_due_at - now)
        return error_of(failure_reason, key, retry_after=retry_after)
    if status is Status.REFRESH_FAILING and refresh_due_at is not None:
        return RefreshBackingOff(
            "the last refresh failed and the next attempt is not due yet",
            metadata={
                "providerConfigKey": key.provider_config_key,
                "connectionId": key.connection_id,
                "lastReason": "" if failure_reason is None else failure_reason.name,
                "nextRefreshTime": _rfc3339(refresh_due_at),
            },
            retry_after=max(0.0, refresh_due_at - now),
        )
    return CredentialsExpired(
        "the token has expired, or lives shorter than min_ttl, and there is no way to refresh it; "
        "import new credentials or ask the end user to authorize again",
        metadata={"providerConfigKey": key.provider_config_key, "connectionId": key.connection_id}
        | ({} if expires_at is None else {"expireTime": _rfc3339(expires_at)}),
    )


def _rfc3339(instant: float) -> str:
    """Return an instant to the second, as the JSON form of a `Timestamp` has it."""
    return dt.datetime.fromtimestamp(int(instant), dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
