"""Auth mode OAUTH2_CC: the client credentials grant (RFC 6749 section 4.4).

The client authenticates with its secret (in the body, by HTTP Basic, as user name and password), with an assertion that
its key signs (RFC 7523), or with a certificate (RFC 8705); see `token_request`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Final

from server.domain.errors import Reason
from server.domain.model import AuthMode, Credentials, OAuth2ClientCredentials
from server.domain.secret import Secret
from server.providers.mode import OneRequest, not_refreshable, values_of
from server.providers.template import Template
from server.providers.token_request import Client, TokenRequest, build, misconfigured
from server.providers.token_response import TokenResponse
from server.refresh.ports import ExchangeFailed, ExchangeRequest, FailureKind, NewCredentials, ProviderAnswer

# RFC 6749 section 5.2; empty: a 401 without an OAuth error.
_CLIENT_REFUSED: Final = frozenset({"", "invalid_client", "unauthorized_client"})


@dataclass(frozen=True, slots=True)
class OAuth2ClientCredentialsMode(OneRequest):
    """The client credentials grant, with the connection's own client or else the integration's."""

    auth_mode: AuthMode = AuthMode.OAUTH2_CC
    credentials_type: type = OAuth2ClientCredentials
    needs_client: bool = False
    spends: bool = False

    def is_refreshable(self, credentials: Credentials) -> bool:
        """Return True: the client can always ask for another token."""
        return isinstance(credentials, OAuth2ClientCredentials)

    def client(self, request: ExchangeRequest) -> Client:
        """Return the connection's own client or else the integration's: never a mix of both."""
        own = request.credentials
        if isinstance(own, OAuth2ClientCredentials) and own.client_id:
            return Client(own.client_id, own.client_secret, own.client_private_key, own.client_certificate)
        return Client(request.client_id, request.client_secret)

    def token_request(self, template: Template, request: ExchangeRequest, *, now: float) -> TokenRequest:
        """Return the token request, with the integration's scopes or else the template's."""
        own = request.credentials
        if not isinstance(own, OAuth2ClientCredentials):
            raise not_refreshable(self.auth_mode)
        client = self.client(request)
        if not client.client_id or not (client.client_secret or client.private_key):
            raise misconfigured(template, "neither the connection nor its integration has a client id and a secret")
        params = {"grant_type": "client_credentials"}
        if scopes := request.scopes or template.default_scopes:
            params["scope"] = template.scope_separator.join(scopes)
        return build(
            template,
            url=template.token_url,
            params=params,
            extra_params=template.token_params,
            extra_headers=template.token_headers,
            client=client,
            values=values_of(template, request, client, now=now),
        )

    def renewed(self, request: ExchangeRequest, response: TokenResponse) -> Credentials:
        """Return the client with its new token."""
        own = request.credentials
        if not isinstance(own, OAuth2ClientCredentials):
            raise not_refreshable(self.auth_mode)
        return dataclasses.replace(
            own,
            access_token=response.access_token,
            token_type=response.token_type or own.token_type,
            expires_at=response.expires_at,
            scopes=own.scopes if response.scopes is None else response.scopes,
        )

    def interpret(
        self, template: Template, request: ExchangeRequest, answer: ProviderAnswer, *, now: float
    ) -> NewCredentials:
        """Read a token response. The refusal of a connection's own client concerns that connection alone."""
        try:
            return OneRequest.interpret(self, template, request, answer, now=now)
        except ExchangeFailed as failure:
            own = isinstance(request.credentials, OAuth2ClientCredentials) and bool(request.credentials.client_id)
            if not own or failure.kind is not FailureKind.CONFIGURATION or failure.oauth_error not in _CLIENT_REFUSED:
                raise
            detail = f"{failure.detail}, and the client is the connection's own"
            raise ExchangeFailed(
                FailureKind.PERMANENT, Reason.REAUTHORIZATION_REQUIRED, detail, oauth_error=failure.oauth_error
            ) from None

    def revocable(self, credentials: Credentials) -> Secret | None:
        """Return the access token, if there is one."""
        if isinstance(credentials, OAuth2ClientCredentials) and credentials.access_token:
            return credentials.access_token
        return None
