"""Auth modes MCP_OAUTH2 and MCP_OAUTH2_GENERIC: grants for Model Context Protocol servers.

As OAUTH2, with two differences: each token request names the server as its resource (RFC 8707), and the client may be one
that registered for this connection (RFC 7591). A token endpoint that was discovered is kept with the credentials; whoever
imports those could name any endpoint, so the integration's own client secret is never sent there.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from server.domain.model import AuthMode, Credentials, McpOAuth2Credentials
from server.domain.secret import Secret
from server.providers.mode import OneRequest, not_refreshable
from server.providers.oauth2 import refresh_request
from server.providers.template import Template
from server.providers.token_request import Client, TokenRequest, misconfigured
from server.providers.token_response import TokenResponse
from server.refresh.ports import ExchangeRequest


@dataclass(frozen=True, slots=True)
class McpOAuth2(OneRequest):
    """The refresh token grant with a resource indicator."""

    auth_mode: AuthMode = AuthMode.MCP_OAUTH2
    credentials_type: type = McpOAuth2Credentials
    needs_client: bool = False
    spends: bool = True

    def is_refreshable(self, credentials: Credentials) -> bool:
        """Return whether there is a refresh token."""
        return isinstance(credentials, McpOAuth2Credentials) and bool(credentials.refresh_token)

    def client(self, request: ExchangeRequest) -> Client:
        """Return the client that registered for the connection or else the integration's: never a mix of both."""
        held = request.credentials
        if isinstance(held, McpOAuth2Credentials):
            if held.client_id:
                return Client(held.client_id, held.client_secret)
            if held.token_endpoint:
                return Client(request.client_id)
        return Client(request.client_id, request.client_secret)

    def token_url(self, template: Template, request: ExchangeRequest) -> str:
        """Return where refreshes go: the template's endpoint, or the one that was discovered."""
        fixed = template.refresh_url or template.token_url
        if fixed:
            return fixed
        if not isinstance(request.credentials, McpOAuth2Credentials) or not request.credentials.token_endpoint:
            raise misconfigured(template, "neither the template nor the credentials name a token endpoint")
        return request.credentials.token_endpoint

    def token_request(self, template: Template, request: ExchangeRequest, *, now: float) -> TokenRequest:
        """Return the refresh request."""
        held = request.credentials
        if not isinstance(held, McpOAuth2Credentials) or not held.refresh_token:
            raise not_refreshable(self.auth_mode)
        url = self.token_url(template, request)
        if "${" in url and not (template.refresh_url or template.token_url):
            raise misconfigured(template, "credentials.mcp_oauth2.token_endpoint is not a URL")
        if not url.startswith(("https://", "http://", "${")):
            raise misconfigured(template, "credentials.mcp_oauth2.token_endpoint is not a URL")
        params = {"resource": held.resource} if held.resource else None
        return refresh_request(template, request, self.client(request), held.refresh_token, url, now=now, params=params)

    def renewed(self, request: ExchangeRequest, response: TokenResponse) -> Credentials:
        """Return the new tokens; what the provider does not repeat stays."""
        old = request.credentials
        if not isinstance(old, McpOAuth2Credentials):
            raise not_refreshable(self.auth_mode)
        return dataclasses.replace(
            old,
            access_token=response.access_token,
            refresh_token=response.refresh_token or old.refresh_token,
            token_type=response.token_type or old.token_type,
            expires_at=response.expires_at,
            scopes=old.scopes if response.scopes is None else response.scopes,
        )

    def revocable(self, credentials: Credentials) -> Secret | None:
        """Return the refresh token, whose revocation ends the grant, or else the access token."""
        if not isinstance(credentials, McpOAuth2Credentials):
            return None
        return credentials.refresh_token or credentials.access_token or None
