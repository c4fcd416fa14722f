"""Auth mode APP: an app's JWT, exchanged for the token of one of its installations.

As GitHub documents it ("Generating a JSON Web Token (JWT) for a GitHub App", "Generating an installation access token"):
the JWT is signed with RS256, names the app as issuer, lives for ten minutes at most, and begins a minute back against
clocks that differ. The answer names the token `token` and its end `expires_at`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Final

from server.domain.errors import Reason
from server.domain.model import AppCredentials, AuthMode, Credentials
from server.providers.mode import OneRequest, not_refreshable, values_of
from server.providers.signing import SigningError, sign_with_private_key
from server.providers.template import BodyFormat, ExpirationStrategy, Template, TokenPaths
from server.providers.token_request import (
    Client,
    TokenRequest,
    assemble,
    endpoint,
    misconfigured,
    parameters,
    text_headers,
)
from server.providers.token_response import TokenResponse, read_answer
from server.refresh.ports import ExchangeFailed, ExchangeRequest, FailureKind, NewCredentials, ProviderAnswer

_LIFE: Final = 9 * 60
_SKEW: Final = 60
_PATHS: Final = TokenPaths("token", "expires_at", ExpirationStrategy.AT)


@dataclass(frozen=True, slots=True)
class App(OneRequest):
    """The exchange of an app's JWT. The app is the credentials' own or else the integration's client."""

    auth_mode: AuthMode = AuthMode.APP
    credentials_type: type = AppCredentials
    needs_client: bool = False
    spends: bool = field(default=False)

    def is_refreshable(self, credentials: Credentials) -> bool:
        """Return True: the app can always sign another JWT."""
        return isinstance(credentials, AppCredentials)

    def client(self, request: ExchangeRequest) -> Client:
        """Return the app: its id, and its private key as the secret."""
        own = request.credentials
        if isinstance(own, AppCredentials) and own.app_id:
            return Client(own.app_id, own.private_key)
        return Client(request.client_id, request.client_secret)

    def token_url(self, template: Template, request: ExchangeRequest) -> str:
        """Return where an app's JWT is exchanged."""
        return template.app_token_url or template.token_url

    def token_request(self, template: Template, request: ExchangeRequest, *, now: float) -> TokenRequest:
        """Return the request for an installation's token."""
        client = self.client(request)
        return installation_request(template, request, client, self.token_url(template, request), now=now)

    def interpret(
        self, template: Template, request: ExchangeRequest, answer: ProviderAnswer, *, now: float
    ) -> NewCredentials:
        """Read the installation's token."""
        own = request.credentials
        if not isinstance(own, AppCredentials):
            raise not_refreshable(self.auth_mode)
        response = read_installation(template, answer, now=now)
        return NewCredentials(
            credentials=with_token(own, response), raw=response.raw, connection_config=response.metadata
        )


def installation_request(
    template: Template, request: ExchangeRequest, app: Client, url: str, *, now: float
) -> TokenRequest:
    """Return the request for an installation's token, authorized by the app's JWT. Raises `ExchangeFailed`."""
    if not app.client_id or not app.client_secret:
        raise misconfigured(template, "neither the connection nor its integration has an app id and a private key")
    claims = {"iat": int(now) - _SKEW, "exp": int(now) + _LIFE, "iss": app.client_id}
    try:
        assertion = sign_with_private_key(app.client_secret.reveal(), claims, algorithm="RS256")
    except SigningError as error:
        raise misconfigured(template, f"the app's private key {error}") from None
    values = values_of(template, request, Client(app.client_id), now=now)
    headers = text_headers(template, template.token_headers, values)
    headers["Authorization"] = f"Bearer {assertion}"
    fields = parameters(template, template.token_params, values)
    return assemble("POST", endpoint(template, url, values), fields, headers, BodyFormat.JSON)


def read_installation(template: Template, answer: ProviderAnswer, *, now: float) -> TokenResponse:
    """Return what the answer to an installation request says. Raises `ExchangeFailed`."""
    if answer.status == 404:
        # The app itself is known by its JWT, so it is the installation that is gone.
        detail = "the installation does not exist any more (HTTP 404)"
        raise ExchangeFailed(FailureKind.PERMANENT, Reason.REAUTHORIZATION_REQUIRED, detail)
    paths = template.token_response or _PATHS
    return read_answer(dataclasses.replace(template, token_response=paths), answer, now=now)


def with_token(app: AppCredentials, response: TokenResponse) -> AppCredentials:
    """Return an app's credentials with a new token."""
    return dataclasses.replace(app, access_token=response.access_token, expires_at=response.expires_at)
