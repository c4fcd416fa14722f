"""A provider template: the facts that say how to refresh at a provider.

Key names are the public ones of Nango's providers.yaml, so that templates can be carried over; `docs/providers.md`
explains each.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from server.domain.model import AuthMode, ConnectionConfigField


class BodyFormat(enum.Enum):
    """How parameters travel in a token request: in its body, or in the URL's query."""

    FORM = "form"
    JSON = "json"
    QUERY = "query"
    XML = "xml"


class ClientAuth(enum.Enum):
    """How the client authenticates at the token endpoint (RFC 6749 section 2.3.1).

    `custom` sends its id and secret as `username` and `password`; `private_key_jwt` sends an assertion signed with its key
    (RFC 7523 section 2.2): the connection's, or else the integration's client secret.
    """

    BODY = "body"
    BASIC = "basic"
    CUSTOM = "custom"
    PRIVATE_KEY_JWT = "private_key_jwt"


class TimeUnit(enum.Enum):
    """What `expires_in` counts. RFC 6749 section 5.1 says seconds; not every provider does."""

    SECONDS = "seconds"
    MILLISECONDS = "milliseconds"


class Protocol(enum.Enum):
    """What signs the token of a mode that signs by itself."""

    RSA = "RSA"
    EC = "EC"
    HMAC = "HMAC"
    WSSE = "WSSE"


class ExpirationStrategy(enum.Enum):
    """What the value at `token_response.token_expiration` is: an instant, or a lifetime."""

    AT = "expireAt"
    IN = "expireIn"


class ClientRegistration(enum.Enum):
    """How the client of an MCP server comes to be: registered by hand, by RFC 7591, or named by a metadata document."""

    STATIC = "static"
    DYNAMIC = "dynamic"
    CIMD = "cimd"


@dataclass(frozen=True, slots=True)
class TokenPaths:
    """Dotted paths in a token response (and its headers, by name) at which its parts are found."""

    token: str
    token_expiration: str = ""
    token_expiration_strategy: ExpirationStrategy = ExpirationStrategy.IN
    refresh_token: str = ""


@dataclass(frozen=True, slots=True)
class Signature:
    """How a mode signs by itself. `digest`: for WSSE, whether the digest is encoded as `hex` first (Emarsys) or `raw`."""

    protocol: Protocol
    hmac_secret_encoding: str = "utf8"  # noqa: S105 (an encoding)
    digest: str = "hex"


@dataclass(frozen=True, slots=True)
class SignedToken:
    """What is signed. `header` and `payload` are nested parameters; `lifetime` is in seconds."""

    signing_key: str = ""
    lifetime: float = 600.0
    header: Mapping[str, Any] = field(default_factory=dict)
    payload: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Step:
    """One more request of a TWO_STEP login, which may use what earlier ones answered (`${step1.id}`)."""

    token_url: str
    token_params: Mapping[str, Any] = field(default_factory=dict)
    token_headers: Mapping[str, str] = field(default_factory=dict)
    token_request_method: str = "POST"  # noqa: S105 (a method)
    body_format: BodyFormat = BodyFormat.JSON
    token_response_headers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Template:
    """One provider. Texts may hold placeholders (see `interpolation`); times are in seconds; None means not known.

    `refresh_params` and `refresh_token_headers` are None if the template does not name them: then `token_params`
    (without its `grant_type`) and `token_headers` serve refreshes too. `reauthorization_errors` maps an OAuth error
    code to a text that its description must contain (empty: any) for the grant to count as gone. `app_token_url` is where
    an app's JWT is exchanged; `credentials` are the values that a connection's credentials bring. `carried` holds the
    keys that are understood and not acted on, as plain values.
    """

    name: str
    display_name: str
    auth_mode: AuthMode
    categories: tuple[str, ...] = ()
    docs: str = ""
    authorization_url: str = ""
    token_url: str = ""
    refresh_url: str = ""
    revocation_url: str = ""
    default_scopes: tuple[str, ...] = ()
    scope_separator: str = " "
    token_params: Mapping[str, Any] = field(default_factory=dict)
    refresh_params: Mapping[str, Any] | None = None
    token_headers: Mapping[str, str] = field(default_factory=dict)
    refresh_token_headers: Mapping[str, str] | None = None
    body_format: BodyFormat = BodyFormat.FORM
    token_request_auth_method: ClientAuth = ClientAuth.BODY
    token_response_metadata: tuple[str, ...] = ()
    connection_config: tuple[ConnectionConfigField, ...] = ()
    expires_in_unit: TimeUnit = TimeUnit.SECONDS
    reauthorization_errors: Mapping[str, str] = field(default_factory=dict)
    refresh_margin: float | None = None
    default_lifetime: float | None = None
    reuse_window: float | None = None
    max_concurrency: int | None = None
    idle_refresh_after: float | None = None
    app_token_url: str = ""
    credentials: tuple[ConnectionConfigField, ...] = ()
    token_request_method: str = "POST"  # noqa: S105 (a method)
    token_url_skip_encode: tuple[str, ...] = ()
    token_response: TokenPaths | None = None
    token_response_headers: tuple[str, ...] = ()
    alternate_access_token_response_path: str = ""
    refresh_token_params: Mapping[str, Any] = field(default_factory=dict)
    additional_steps: tuple[Step, ...] = ()
    signature: Signature | None = None
    token: SignedToken | None = None
    require_client_certificate: bool = False
    client_registration: ClientRegistration = ClientRegistration.STATIC
    registration_url: str = ""
    registration_params: Mapping[str, Any] = field(default_factory=dict)
    carried: Mapping[str, Any] = field(default_factory=dict)
    from_operator: bool = False
