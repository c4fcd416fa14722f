"""What the refresh engine asks of the outside: providers that exchange tokens, and a store that remembers.

`providers` implements `TokenExchange`; `storage` implements `RefreshStore`.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from server.domain.errors import Reason
from server.domain.model import AuthMode, ConnectionKey, Credentials, ProviderInfo, RawResponse
from server.domain.secret import Secret


@dataclass(frozen=True, slots=True)
class ProviderFacts:
    """Template facts that decide how the engine treats a provider. Times are in seconds.

    `refresh_margin`: how long before expiry a refresh is due, None for the engine's default.
    `default_lifetime`: life of an access token when the provider names none, None if not known.
    `reuse_window`: for how long a spent refresh token may be presented again: `inf` if the provider does not rotate
    refresh tokens, 0.0 if reuse is refused at once, None if not known.
    `max_concurrency`: refreshes that may run against the provider at once, None for the engine's default.
    `idle_refresh_after`: refresh at least this often to keep an idle refresh token alive, None if it does not matter.
    """

    refresh_margin: float | None = None
    default_lifetime: float | None = None
    reuse_window: float | None = None
    max_concurrency: int | None = None
    idle_refresh_after: float | None = None


@dataclass(frozen=True, slots=True)
class ExchangeRequest:
    """Everything that a token exchange needs, resolved: nothing is looked up while it runs.

    `connection_config` is the integration's, overlaid by the connection's own.
    """

    key: ConnectionKey
    provider: str
    auth_mode: AuthMode
    client_id: str
    client_secret: Secret | None
    scopes: tuple[str, ...]
    connection_config: Mapping[str, Any]
    credentials: Credentials


@dataclass(frozen=True, slots=True)
class ProviderAnswer:
    """A provider's HTTP answer, untouched: what is stored before it is looked at.

    `headers` holds only those that matter (`content-type`, `retry-after`), names in lower case. `body` is at most 1 MiB.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class NewCredentials:
    """What a token response means.

    `granted_scopes` is None if the provider did not say. `connection_config` holds values that the template takes from
    the response (an instance URL), to be merged. `rotated` is whether the refresh token changed.
    """

    credentials: Credentials
    raw: RawResponse
    granted_scopes: tuple[str, ...] | None = None
    connection_config: Mapping[str, Any] = field(default_factory=dict)
    rotated: bool = False


class FailureKind(enum.Enum):
    """What a failed exchange means for the connection, its integration or its provider."""

    PERMANENT = "permanent"
    """The grant is gone (`invalid_grant`): only the end user can repair it."""
    CONFIGURATION = "configuration"
    """The integration is at fault (`invalid_client`, a value is missing): all its connections wait."""
    TRANSIENT = "transient"
    """Outage, network, time-out, rate limit, rubbish: try again later."""


class ExchangeFailed(Exception):
    """An exchange that brought no credentials. `detail` is a short text for logs and operators without secrets.

    `maybe_spent` is whether the provider may have received the request although no answer came: then a rotating
    refresh token may be gone. `retry_after` is what the provider asked for, in seconds.
    """

    def __init__(
        self,
        kind: FailureKind,
        reason: Reason,
        detail: str,
        *,
        retry_after: float | None = None,
        maybe_spent: bool = False,
        oauth_error: str = "",
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.reason = reason
        self.detail = detail
        self.retry_after = retry_after
        self.maybe_spent = maybe_spent
        self.oauth_error = oauth_error


class TokenExchange(Protocol):
    """Speaks with providers' token endpoints. Knows templates and auth modes, and stores nothing."""

    def info(self, provider: str) -> ProviderInfo | None:
        """Return the template's public facts, None if there is no such template."""
        ...

    def facts(self, provider: str) -> ProviderFacts:
        """Return the template's refresh facts; defaults if there is no such template."""
        ...

    def is_refreshable(self, auth_mode: AuthMode, credentials: Credentials) -> bool:
        """Return whether an exchange could bring new credentials in place of these."""
        ...

    def token_host(self, request: ExchangeRequest) -> str:
        """Return `host:port` of the token endpoint: what a circuit breaker is keyed by.

        Raises `ExchangeFailed` (CONFIGURATION) if a value that the URL needs is missing.
        """
        ...

    async def send(self, request: ExchangeRequest, *, timeout: float) -> ProviderAnswer:
        """Spend the refresh token (or client credentials): one HTTP exchange, never repeated, at most `timeout` seconds.

        Any answer with a status line is returned, whatever the status. Raises `ExchangeFailed` if there is none.
        """
        ...

    def interpret(self, request: ExchangeRequest, answer: ProviderAnswer, *, now: float) -> NewCredentials:
        """Turn an answer into credentials. Does no I/O, so that a stored answer can be interpreted later.

        `now` is the instant at which the answer arrived: `expires_in` counts from it. Raises `ExchangeFailed`.
        """
        ...

    async def revoke(self, request: ExchangeRequest, *, timeout: float) -> bool | None:
        """Ask the provider to revoke the tokens (RFC 7009): True if it did, False if that failed, None if it cannot."""
        ...
