"""What authorizes API calls, one class per kind of credentials. Secrets are hidden from `repr`.

Instants are seconds since the Unix epoch; `expires_at` None: the credentials do not expire. A token that is None has
not been obtained yet: the first read obtains it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from server.domain.secret import Secret


@dataclass(frozen=True, slots=True)
class OAuth2Credentials:
    """Tokens of RFC 6749. `expires_at` None: the access token does not expire."""

    access_token: Secret
    refresh_token: Secret | None = None
    token_type: str = ""
    expires_at: float | None = None
    scopes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OAuth2ClientCredentials:
    """A client of the connection's own, and the token got with it (RFC 6749 section 4.4). Empty `client_id`: the
    integration's client is used. `client_private_key` (PEM) belongs to `client_certificate`, which TLS presents
    (RFC 8705), or signs client assertions (RFC 7523).
    """

    client_id: str = ""
    client_secret: Secret | None = None
    access_token: Secret | None = None
    token_type: str = ""
    expires_at: float | None = None
    scopes: tuple[str, ...] = ()
    client_certificate: str = ""
    client_private_key: Secret | None = None


@dataclass(frozen=True, slots=True)
class ApiKeyCredentials:
    """A key that the provider issued."""

    api_key: Secret


@dataclass(frozen=True, slots=True)
class BasicCredentials:
    """A login (RFC 7617)."""

    username: str
    password: Secret


@dataclass(frozen=True, slots=True)
class OAuth1Credentials:
    """Token credentials of RFC 5849. Callers sign with them."""

    oauth_token: Secret
    oauth_token_secret: Secret


@dataclass(frozen=True, slots=True)
class AppCredentials:
    """An installation's token. Without `app_id` and `private_key` (PEM) of its own, the integration's client is the app."""

    access_token: Secret | None = None
    expires_at: float | None = None
    app_id: str = ""
    private_key: Secret | None = None


@dataclass(frozen=True, slots=True)
class CustomCredentials:
    """An installation's token with an end user's beside it. `user_failure`: why the user's last refresh failed."""

    app: AppCredentials = field(default_factory=AppCredentials)
    user: OAuth2Credentials | None = None
    user_failure: str = ""


@dataclass(frozen=True, slots=True)
class JwtCredentials:
    """A JWT that we sign with what is in `fields`."""

    fields: Mapping[str, Secret] = field(default_factory=dict)
    token: Secret | None = None
    expires_at: float | None = None


@dataclass(frozen=True, slots=True)
class TbaCredentials:
    """Tokens that an administrator made. Callers sign with them."""

    token_id: Secret
    token_secret: Secret


@dataclass(frozen=True, slots=True)
class TwoStepCredentials:
    """A token that the template's requests obtain with `fields`."""

    fields: Mapping[str, Secret] = field(default_factory=dict)
    token: Secret | None = None
    refresh_token: Secret | None = None
    expires_at: float | None = None


@dataclass(frozen=True, slots=True)
class SignatureCredentials:
    """A login, and the header value that we compute from it."""

    username: str
    password: Secret
    token: Secret | None = None
    expires_at: float | None = None


@dataclass(frozen=True, slots=True)
class BillCredentials:
    """A login at BILL, and the session that it opened."""

    username: str
    password: Secret
    dev_key: Secret
    organization_id: str
    session_id: Secret | None = None
    user_id: str = ""
    expires_at: float | None = None


@dataclass(frozen=True, slots=True)
class AwsSigV4Credentials:
    """A role, and temporary credentials for it. Callers sign with them."""

    role_arn: str
    region: str
    service: str = ""
    external_id: str = ""
    access_key_id: str = ""
    secret_access_key: Secret | None = None
    session_token: Secret | None = None
    expires_at: float | None = None


@dataclass(frozen=True, slots=True)
class McpOAuth2Credentials:
    """Tokens for an MCP server, and the client that registered for them. Empty: the integration's, the template's."""

    access_token: Secret
    refresh_token: Secret | None = None
    token_type: str = ""
    expires_at: float | None = None
    scopes: tuple[str, ...] = ()
    client_id: str = ""
    client_secret: Secret | None = None
    resource: str = ""
    token_endpoint: str = ""


@dataclass(frozen=True, slots=True)
class NoCredentials:
    """For APIs that need none."""


Credentials = (
    OAuth2Credentials
    | OAuth2ClientCredentials
    | OAuth1Credentials
    | ApiKeyCredentials
    | BasicCredentials
    | AppCredentials
    | CustomCredentials
    | JwtCredentials
    | TbaCredentials
    | TwoStepCredentials
    | SignatureCredentials
    | BillCredentials
    | AwsSigV4Credentials
    | McpOAuth2Credentials
    | NoCredentials
)

_TOKENS: Final[Mapping[type, str]] = {
    OAuth2Credentials: "access_token",
    OAuth2ClientCredentials: "access_token",
    AppCredentials: "access_token",
    JwtCredentials: "token",
    TwoStepCredentials: "token",
    SignatureCredentials: "token",
    BillCredentials: "session_id",
    AwsSigV4Credentials: "session_token",
    McpOAuth2Credentials: "access_token",
}
"""Where the credentials that exchanges bring hold what they bring."""

_AnyCredentials = TypeVar("_AnyCredentials", bound=Credentials)


def expires_at_of(credentials: Credentials) -> float | None:
    """Return when the credentials stop working, None if they do not expire.

    An end user's tokens beside an installation's count as long as they can be refreshed: dead ones must not take the
    installation's with them.
    """
    if isinstance(credentials, CustomCredentials):
        user = credentials.user
        counts = user is not None and user.refresh_token and not credentials.user_failure
        known = [credentials.app.expires_at, user.expires_at if user is not None and counts else None]
        return min((instant for instant in known if instant is not None), default=None)
    expires_at: float | None = getattr(credentials, "expires_at", None)
    return expires_at


def expiring(credentials: _AnyCredentials, expires_at: float | None) -> _AnyCredentials:
    """Return credentials that stop working at an instant; unchanged if theirs is not the kind that does."""
    if isinstance(credentials, CustomCredentials):
        if credentials.app.expires_at is not None or expires_at is None:
            return credentials
        return dataclasses.replace(credentials, app=dataclasses.replace(credentials.app, expires_at=expires_at))
    if type(credentials) in _TOKENS:
        dated: Any = credentials
        changed: _AnyCredentials = dataclasses.replace(dated, expires_at=expires_at)
        return changed
    return credentials


def token_of(credentials: Credentials) -> Secret | None:
    """Return the token that an exchange brought or will bring, None if there is none (yet)."""
    held = credentials.app if isinstance(credentials, CustomCredentials) else credentials
    name = _TOKENS.get(type(held))
    token: Secret | None = None if name is None else getattr(held, name)
    return token or None


def awaits_token(credentials: Credentials) -> bool:
    """Return whether the first exchange is still to come."""
    return (isinstance(credentials, CustomCredentials) or type(credentials) in _TOKENS) and token_of(
        credentials
    ) is None
