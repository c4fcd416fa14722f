"""The values that everything else is about: frozen, without I/O, secrets hidden from `repr`.

Instants are seconds since the Unix epoch as `float`; None means never, or not yet, as the field says.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from server.domain.credentials import (
    ApiKeyCredentials,
    AppCredentials,
    AwsSigV4Credentials,
    BasicCredentials,
    BillCredentials,
    Credentials,
    CustomCredentials,
    JwtCredentials,
    McpOAuth2Credentials,
    NoCredentials,
    OAuth1Credentials,
    OAuth2ClientCredentials,
    OAuth2Credentials,
    SignatureCredentials,
    TbaCredentials,
    TwoStepCredentials,
    awaits_token,
    expires_at_of,
    expiring,
    token_of,
)
from server.domain.errors import Reason
from server.domain.secret import Secret

__all__ = [
    "ApiKey",
    "ApiKeyCredentials",
    "AppCredentials",
    "AuthMode",
    "AwsSigV4Credentials",
    "BasicCredentials",
    "BillCredentials",
    "ConnectionConfigField",
    "ConnectionEdit",
    "ConnectionKey",
    "CredentialState",
    "Credentials",
    "CustomCredentials",
    "Environment",
    "Integration",
    "JwtCredentials",
    "ListFilter",
    "ListPosition",
    "McpOAuth2Credentials",
    "NoCredentials",
    "OAuth1Credentials",
    "OAuth2ClientCredentials",
    "OAuth2Credentials",
    "Principal",
    "ProviderFacts",
    "ProviderInfo",
    "RawResponse",
    "Revocation",
    "SignatureCredentials",
    "Status",
    "TbaCredentials",
    "TwoStepCredentials",
    "awaits_token",
    "expires_at_of",
    "expiring",
    "token_of",
]


class AuthMode(enum.Enum):
    """How a provider authorizes API calls. The names are those of template files."""

    OAUTH2 = "OAUTH2"
    OAUTH2_CC = "OAUTH2_CC"
    API_KEY = "API_KEY"
    BASIC = "BASIC"
    NONE = "NONE"
    OAUTH1 = "OAUTH1"
    APP = "APP"
    CUSTOM = "CUSTOM"
    JWT = "JWT"
    TBA = "TBA"
    TWO_STEP = "TWO_STEP"
    SIGNATURE = "SIGNATURE"
    BILL = "BILL"
    AWS_SIGV4 = "AWS_SIGV4"
    INSTALL_PLUGIN = "INSTALL_PLUGIN"
    MCP_OAUTH2 = "MCP_OAUTH2"
    MCP_OAUTH2_GENERIC = "MCP_OAUTH2_GENERIC"


class Status(enum.Enum):
    """Whether a connection's credentials work."""

    ACTIVE = "ACTIVE"
    REFRESH_FAILING = "REFRESH_FAILING"
    REAUTHORIZATION_REQUIRED = "REAUTHORIZATION_REQUIRED"


@dataclass(frozen=True, slots=True)
class ConnectionKey:
    """Names one connection. The environment is part of the name, so nothing can be looked up across environments."""

    environment_id: UUID
    provider_config_key: str
    connection_id: str


@dataclass(frozen=True, slots=True)
class RawResponse:
    """A token response as the provider returned it, decoded to a JSON object, its numbers unharmed."""

    value: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class ConnectionEdit:
    """What callers edit. `revision` is the etag's number; a refresh never moves it."""

    metadata: Mapping[str, Any]
    tags: Mapping[str, str]
    connection_config: Mapping[str, Any]
    display_name: str
    update_time: float
    revision: int


@dataclass(frozen=True, slots=True)
class CredentialState:
    """What the refresh engine writes, beside the credentials themselves.

    `refresh_due_at` is when a read starts to refresh, None for never; `next_refresh_at` is when the service refreshes
    by itself, None for never. `failure_reason` says why `status` is not ACTIVE.
    """

    status: Status
    failure_reason: Reason | None
    generation: int
    expires_at: float | None
    refresh_due_at: float | None
    next_refresh_at: float | None
    last_refresh_at: float | None
    last_failure_at: float | None
    refresh_attempts: int
    granted_scopes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Integration:
    """One environment's set-up of a provider."""

    environment_id: UUID
    provider_config_key: str
    uid: UUID
    provider: str
    auth_mode: AuthMode
    display_name: str
    client_id: str
    client_secret: Secret | None
    scopes: tuple[str, ...]
    connection_config: Mapping[str, Any]
    create_time: float
    update_time: float
    revision: int


@dataclass(frozen=True, slots=True)
class Environment:
    """The tenant boundary."""

    environment_id: UUID
    name: str
    create_time: float


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is known about an API key once it has been handed out: everything but the key."""

    api_key_id: UUID
    environment_id: UUID
    environment: str
    display_name: str
    admin: bool
    suffix: str
    create_time: float
    expire_time: float | None


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls: a key of one environment."""

    api_key_id: UUID
    environment_id: UUID
    environment: str
    admin: bool


@dataclass(frozen=True, slots=True)
class ListFilter:
    """Which connections a list shows; all conditions must hold, empty ones hold always."""

    connection_id: str = ""
    provider_config_keys: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    search: str = ""
    statuses: tuple[Status, ...] = ()

    def fingerprint(self) -> str:
        """Return a text that is equal for equal filters: what page tokens are bound to."""
        return json.dumps(
            [
                self.connection_id,
                sorted(self.provider_config_keys),
                sorted(self.tags.items()),
                self.search.casefold(),
                sorted(status.value for status in self.statuses),
            ],
            separators=(",", ":"),
        )


@dataclass(frozen=True, slots=True)
class ListPosition:
    """Where a list stands: after the connection with this creation time (microseconds) and uid."""

    create_time_us: int
    uid: UUID


@dataclass(frozen=True, slots=True)
class ConnectionConfigField:
    """A value that a template needs from each connection's config, or from its credentials.

    `default` is used if it is left out; an `automated` one is found by the authorization itself.
    """

    name: str
    title: str = ""
    description: str = ""
    example: str = ""
    pattern: str = ""
    optional: bool = False
    default: str = ""
    automated: bool = False


@dataclass(frozen=True, slots=True)
class ProviderInfo:
    """What callers and use cases may know about a provider template."""

    name: str
    display_name: str
    auth_mode: AuthMode
    categories: tuple[str, ...] = ()
    docs_url: str = ""
    authorization_url: str = ""
    token_url: str = ""
    default_scopes: tuple[str, ...] = ()
    connection_config_fields: Sequence[ConnectionConfigField] = ()
    credential_fields: Sequence[ConnectionConfigField] = ()
    from_operator: bool = False


@dataclass(frozen=True, slots=True)
class ProviderFacts:
    """Template facts that decide when and how credentials are refreshed. Times are in seconds.

    `refresh_margin`: how long before expiry a refresh is due, None for the default.
    `default_lifetime`: life of an access token when the provider names none, None if not known.
    `reuse_window`: for how long a spent refresh token may be presented again: `inf` if the provider does not rotate
    refresh tokens, 0.0 if reuse is refused at once, None if not known.
    `max_concurrency`: refreshes that may run against the provider at once, None for the default.
    `idle_refresh_after`: refresh at least this often to keep an idle refresh token alive, None if it does not matter.
    """

    refresh_margin: float | None = None
    default_lifetime: float | None = None
    reuse_window: float | None = None
    max_concurrency: int | None = None
    idle_refresh_after: float | None = None


class Revocation(enum.Enum):
    """What became of a connection's tokens at the provider."""

    NOT_REQUESTED = "NOT_REQUESTED"
    REVOKED = "REVOKED"
    NOT_SUPPORTED = "NOT_SUPPORTED"
    FAILED = "FAILED"
