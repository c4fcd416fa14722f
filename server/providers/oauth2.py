"""Auth mode OAUTH2: an end user's grant, kept alive by a refresh token (RFC 6749 section 6)."""

from __future__ import annotations

from dataclasses import dataclass

from server.domain.model import AuthMode, Credentials, OAuth2Credentials
from server.domain.secret import Secret
from server.providers.mode import OneRequest, not_refreshable, values_of
from server.providers.template import Template
from server.providers.token_request import Client, TokenRequest, build, misconfigured
from server.providers.token_response import TokenResponse
from server.refresh.ports import ExchangeRequest


@dataclass(frozen=True, slots=True)
class OAuth2(OneRequest):
    """The refresh token grant."""

    auth_mode: AuthMode = AuthMode.OAUTH2
    credentials_type: type = OAuth2Credentials
    needs_client: bool = True
    spends: bool = True

    def is_refreshable(self, credentials: Credentials) -> bool:
        """Return whether there is a refresh token."""
        return isinstance(credentials, OAuth2Credentials) and bool(credentials.refresh_token)

    def token_url(self, template: Template, request: ExchangeRequest) -> str:
        """Return where refreshes go."""
        return template.refresh_url or template.token_url

    def token_request(self, template: Template, request: ExchangeRequest, *, now: float) -> TokenRequest:
        """Return the refresh request. `scope` is left out: the grant keeps the scopes it has."""
        held = request.credentials
        if not isinstance(held, OAuth2Credentials) or not held.refresh_token:
            raise not_refreshable(self.auth_mode)
        client = self.client(request)
        return refresh_request(
            template, request, client, held.refresh_token, self.token_url(template, request), now=now
        )

    def renewed(self, request: ExchangeRequest, response: TokenResponse) -> Credentials:
        """Return the new tokens; a refresh token, type or scopes that the provider does not repeat stay."""
        old = request.credentials
        if not isinstance(old, OAuth2Credentials):
            raise not_refreshable(self.auth_mode)
        return renewed_tokens(old, response)

    def revocable(self, credentials: Credentials) -> Secret | None:
        """Return the refresh token, whose revocation ends the grant, or else the access token."""
        if not isinstance(credentials, OAuth2Credentials):
            return None
        if credentials.refresh_token:
            return credentials.refresh_token
        return credentials.access_token or None


def refresh_request(
    template: Template,
    request: ExchangeRequest,
    client: Client,
    refresh_token: Secret,
    url: str,
    *,
    now: float,
    params: dict[str, str] | None = None,
) -> TokenRequest:
    """Return a refresh token grant with the template's parameters and headers, and `params` beside its own."""
    if not client.client_id:
        raise misconfigured(template, "the integration has no client id")
    extra = template.refresh_params
    if extra is None:
        # token_params are written for the authorization code grant; only its grant_type does not fit here.
        extra = {name: text for name, text in template.token_params.items() if name != "grant_type"}
    headers = template.refresh_token_headers
    return build(
        template,
        url=url,
        params={"grant_type": "refresh_token", "refresh_token": refresh_token.reveal(), **(params or {})},
        extra_params=extra,
        extra_headers=template.token_headers if headers is None else headers,
        client=client,
        values=values_of(template, request, client, now=now),
    )


def renewed_tokens(old: OAuth2Credentials, response: TokenResponse) -> OAuth2Credentials:
    """Return new tokens; a refresh token, type or scopes that the provider does not repeat stay."""
    return OAuth2Credentials(
        access_token=response.access_token,
        refresh_token=response.refresh_token or old.refresh_token,
        token_type=response.token_type or old.token_type,
        expires_at=response.expires_at,
        scopes=old.scopes if response.scopes is None else response.scopes,
    )
