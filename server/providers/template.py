"""A provider template: the facts that say how to refresh at a provider.

Key names are the public ones of Nango's providers.yaml, so that templates can be carried over; `docs/providers.md`
explains each.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from server.domain.model import AuthMode, ConnectionConfigField


class BodyFormat(enum.Enum):
    """How parameters travel in a token request's body."""

    FORM = "form"
    JSON = "json"


class ClientAuth(enum.Enum):
    """How the client authenticates at the token endpoint (RFC 6749 section 2.3.1)."""

    BODY = "body"
    BASIC = "basic"


class TimeUnit(enum.Enum):
    """What `expires_in` counts. RFC 6749 section 5.1 says seconds; not every provider does."""

    SECONDS = "seconds"
    MILLISECONDS = "milliseconds"


@dataclass(frozen=True, slots=True)
class Template:
    """One provider. Texts may hold `${connectionConfig.x}`; times are in seconds; None means not known.

    `refresh_params` and `refresh_token_headers` are None if the template does not name them: then `token_params`
    (without its `grant_type`) and `token_headers` serve refreshes too. `reauthorization_errors` maps an OAuth error
    code to a text that its description must contain (empty: any) for the grant to count as gone.
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
    token_params: Mapping[str, str] = field(default_factory=dict)
    refresh_params: Mapping[str, str] | None = None
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
    from_operator: bool = False
