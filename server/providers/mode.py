"""What an auth mode has to say for itself. One module implements it per mode; `registry` lists them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from server.domain.errors import Reason
from server.domain.model import AuthMode, Credentials
from server.domain.secret import Secret
from server.providers.template import Template
from server.providers.token_request import TokenRequest
from server.providers.token_response import TokenResponse
from server.refresh.ports import ExchangeFailed, ExchangeRequest, FailureKind


class Mode(Protocol):
    """How one auth mode gets credentials. Stateless."""

    @property
    def auth_mode(self) -> AuthMode:
        """The mode that this is."""
        ...

    @property
    def credentials_type(self) -> type:
        """The class of this mode's credentials."""
        ...

    @property
    def needs_client(self) -> bool:
        """Whether an integration must bring a client id and secret."""
        ...

    @property
    def spends(self) -> bool:
        """Whether an exchange may use up what it presents, so that an unanswered one cannot just be repeated."""
        ...

    def is_refreshable(self, credentials: Credentials) -> bool:
        """Return whether an exchange could bring new credentials in place of these."""
        ...

    def client(self, request: ExchangeRequest) -> tuple[str, Secret | None]:
        """Return the id and the secret of the client that speaks."""
        ...

    def token_request(self, template: Template, request: ExchangeRequest) -> TokenRequest:
        """Return the request that brings new credentials. Raises `ExchangeFailed` (CONFIGURATION)."""
        ...

    def renewed(self, request: ExchangeRequest, response: TokenResponse) -> Credentials:
        """Return the old credentials with what a token response replaces in them."""
        ...

    def revocable(self, credentials: Credentials) -> Secret | None:
        """Return the token whose revocation ends most, None if there is none."""
        ...


@dataclass(frozen=True, slots=True)
class FixedMode:
    """Base of the modes whose credentials no token endpoint renews."""

    auth_mode: AuthMode
    credentials_type: type
    needs_client: bool = False
    spends: bool = False

    def is_refreshable(self, credentials: Credentials) -> bool:
        """Return False."""
        return False

    def client(self, request: ExchangeRequest) -> tuple[str, Secret | None]:
        """Return the integration's client."""
        return request.client_id, request.client_secret

    def token_request(self, template: Template, request: ExchangeRequest) -> TokenRequest:
        """Raise `ExchangeFailed`: there is nothing to exchange."""
        raise not_refreshable(self.auth_mode)

    def renewed(self, request: ExchangeRequest, response: TokenResponse) -> Credentials:
        """Raise `ExchangeFailed`: there is nothing to exchange."""
        raise not_refreshable(self.auth_mode)

    def revocable(self, credentials: Credentials) -> Secret | None:
        """Return None: RFC 7009 revokes OAuth tokens only."""
        return None


def not_refreshable(auth_mode: AuthMode) -> ExchangeFailed:
    """Return the failure of an exchange that should not have been asked for."""
    return ExchangeFailed(
        FailureKind.CONFIGURATION, Reason.NOT_REFRESHABLE, f"these {auth_mode.value} credentials cannot be refreshed"
    )
