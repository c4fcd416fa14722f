"""What a token endpoint's refusal means for the connection, its integration or its provider."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, Final

from server.domain.errors import Reason
from server.providers.template import Template
from server.refresh.ports import ExchangeFailed, FailureKind, ProviderAnswer

MAX_RETRY_AFTER: Final = 86400.0

# RFC 6749 section 5.2, and what providers say in its place.
_GRANT_IS_GONE: Final = frozenset(
    {
        "invalid_grant",
        "bad_refresh_token",  # GitHub, HubSpot
        "invalid_refresh_token",  # Slack
        "token_revoked",  # Slack
        "token_expired",  # Slack
        "account_inactive",  # Slack
        "interaction_required",  # Microsoft (OpenID Connect Core section 3.1.2.6)
        "consent_required",
        "login_required",
    }
)
_CLIENT_IS_AT_FAULT: Final = frozenset(
    {
        "invalid_client",
        "unauthorized_client",
        "unsupported_grant_type",
        "invalid_scope",
        "invalid_request",
        "incorrect_client_credentials",  # GitHub
        "invalid_client_id",  # Slack
        "bad_client_id",  # HubSpot
        "bad_client_secret",  # Slack, HubSpot
    }
)
_RATE_LIMITED: Final = frozenset({"ratelimited", "rate_limited", "too_many_requests", "slow_down"})
_OUTAGE: Final = frozenset({"temporarily_unavailable", "server_error"})
_KNOWN: Final = _GRANT_IS_GONE | _CLIENT_IS_AT_FAULT | _RATE_LIMITED | _OUTAGE

# Only a text that can be nothing but a code is repeated in messages: a provider may put anything into `error`.
_CODE: Final = re.compile(r"[a-z][a-z_]{1,47}")


def failure_of(
    template: Template, answer: ProviderAnswer, fields: Mapping[str, Any] | None, *, now: float
) -> ExchangeFailed | None:
    """Return the failure that an answer reports, None if it reports success (which may still be without a token)."""
    status = answer.status
    retry_after = _retry_after(answer.headers.get("retry-after", ""), now)
    if status == 429:
        return _transient(Reason.PROVIDER_RATE_LIMITED, "the provider asks to slow down (HTTP 429)", retry_after)
    if status >= 500:
        return _transient(Reason.PROVIDER_UNAVAILABLE, f"the provider fails (HTTP {status})", retry_after)
    code = _error_code(fields) if fields is not None else ""
    if code:
        return _classified(template, code, fields or {}, status, retry_after)
    if 200 <= status < 300:
        return None
    if status == 401:
        return ExchangeFailed(
            FailureKind.CONFIGURATION,
            Reason.INTEGRATION_MISCONFIGURED,
            "the provider refuses the client (HTTP 401) without an OAuth error",
        )
    what = "redirects" if 300 <= status < 400 else "refuses without an OAuth error"
    return _transient(Reason.PROVIDER_RESPONSE_INVALID, f"the token endpoint {what} (HTTP {status})", retry_after)


@contextmanager
def refused_login(answer: ProviderAnswer) -> Iterator[None]:
    """Tell the refusal of a login that is the connection's own from one of the integration's client.

    Around the reading of an answer: whatever else is wrong with it, a 401 or 403 then means that the customer has to bring
    other credentials, and that no other connection is concerned.
    """
    try:
        yield
    except ExchangeFailed as failure:
        if answer.status not in {401, 403}:
            raise
        detail = f"the provider refuses the connection's credentials (HTTP {answer.status})"
        raise ExchangeFailed(
            FailureKind.PERMANENT, Reason.REAUTHORIZATION_REQUIRED, detail, oauth_error=failure.oauth_error
        ) from None


def _classified(
    template: Template, code: str, fields: Mapping[str, Any], status: int, retry_after: float | None
) -> ExchangeFailed:
    shown = code if _CODE.fullmatch(code) else ""
    detail = f"the provider answers {shown or 'an error'} (HTTP {status})"
    if code in _GRANT_IS_GONE or _template_says_gone(template, code, fields):
        return ExchangeFailed(FailureKind.PERMANENT, Reason.REAUTHORIZATION_REQUIRED, detail, oauth_error=shown)
    if code in _CLIENT_IS_AT_FAULT:
        return ExchangeFailed(FailureKind.CONFIGURATION, Reason.INTEGRATION_MISCONFIGURED, detail, oauth_error=shown)
    reason = Reason.PROVIDER_RATE_LIMITED if code in _RATE_LIMITED else Reason.PROVIDER_UNAVAILABLE
    return _transient(reason, detail, retry_after, shown)


def _error_code(fields: Mapping[str, Any]) -> str:
    """Return the error code that a body carries, "" for none.

    `error` counts whatever it holds. Some providers name the error elsewhere (`status`, `code`) or wrap it in an
    object; there only codes that are known count, since those keys may mean anything.
    """
    error = fields.get("error")
    if isinstance(error, str) and error:
        return error.lower() if error.lower() in _KNOWN else error
    wrapped = error if isinstance(error, Mapping) else {}
    for value in (wrapped.get("code"), wrapped.get("type"), fields.get("code"), fields.get("status")):
        if isinstance(value, str) and value.lower() in _KNOWN:
            return value.lower()
    return "unknown_error" if error or fields.get("ok") is False else ""


def _template_says_gone(template: Template, code: str, fields: Mapping[str, Any]) -> bool:
    part = template.reauthorization_errors.get(code)
    if part is None:
        return False
    descriptions = (fields.get(key) for key in ("error_description", "reason", "message"))
    return not part or any(part.lower() in text.lower() for text in descriptions if isinstance(text, str))


def _transient(reason: Reason, detail: str, retry_after: float | None, code: str = "") -> ExchangeFailed:
    return ExchangeFailed(FailureKind.TRANSIENT, reason, detail, retry_after=retry_after, oauth_error=code)


def _retry_after(value: str, now: float) -> float | None:
    """Return the seconds that a Retry-After header asks for (RFC 9110 section 10.2.3), at most a day."""
    text = value.strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:12]), MAX_RETRY_AFTER)
    try:
        moment = parsedate_to_datetime(text)
        at = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return min(max(at - now, 0.0), MAX_RETRY_AFTER)
