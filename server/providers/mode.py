"""What an auth mode has to say for itself. One module implements it per mode; `registry` lists them."""

from __future__ import annotations

import dataclasses
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from server.domain.clock import Clock
from server.domain.errors import Reason
from server.domain.model import AuthMode, Credentials, RawResponse
from server.domain.secret import Secret
from server.providers.interpolation import Values
from server.providers.template import Template
from server.providers.token_request import Client, TokenRequest, config_with_defaults
from server.providers.token_response import TokenResponse, read_answer
from server.refresh.ports import ExchangeFailed, ExchangeRequest, FailureKind, NewCredentials, ProviderAnswer

LOCAL_HOST: Final = "local"
"""What stands for the token host of modes that sign by themselves and send nothing."""


class Sender(Protocol):
    """The way out, as far as modes need it."""

    async def send(self, request: TokenRequest, *, timeout: float) -> ProviderAnswer:
        """Send one request, once. Raises `ExchangeFailed`."""
        ...


@dataclass(frozen=True, slots=True)
class Line:
    """What an exchange may use of the world: the way out, and the time."""

    sender: Sender
    clock: Clock


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

    def client(self, request: ExchangeRequest) -> Client:
        """Return the client that speaks."""
        ...

    def token_url(self, template: Template, request: ExchangeRequest) -> str:
        """Return the URL that the exchange goes to, as the template writes it; empty if nothing is sent."""
        ...

    async def send(self, template: Template, request: ExchangeRequest, line: Line, *, timeout: float) -> ProviderAnswer:
        """Do the exchange and return its answer. Raises `ExchangeFailed`.

        A mode that spends what it presents, or part of it, returns that answer without having looked at it. One that
        spends nothing may send several requests, and reads all answers but the last.
        """
        ...

    def interpret(
        self, template: Template, request: ExchangeRequest, answer: ProviderAnswer, *, now: float
    ) -> NewCredentials:
        """Turn what `send` returned into credentials. Does no I/O. Raises `ExchangeFailed`."""
        ...

    def revocable(self, credentials: Credentials) -> Secret | None:
        """Return the token whose revocation ends most, None if there is none."""
        ...


class OneRequest:
    """Base of the modes whose exchange is one request to the token endpoint."""

    spends = False

    def client(self, request: ExchangeRequest) -> Client:
        """Return the integration's client."""
        return Client(request.client_id, request.client_secret)

    def token_url(self, template: Template, request: ExchangeRequest) -> str:
        """Return the template's token URL."""
        return template.token_url

    def token_request(self, template: Template, request: ExchangeRequest, *, now: float) -> TokenRequest:
        """Return the request that brings new credentials. Raises `ExchangeFailed` (CONFIGURATION)."""
        raise NotImplementedError

    def renewed(self, request: ExchangeRequest, response: TokenResponse) -> Credentials:
        """Return the old credentials with what a token response replaces in them."""
        raise NotImplementedError

    async def send(self, template: Template, request: ExchangeRequest, line: Line, *, timeout: float) -> ProviderAnswer:
        """Send the one request."""
        return await line.sender.send(self.token_request(template, request, now=line.clock.now()), timeout=timeout)

    def interpret(
        self, template: Template, request: ExchangeRequest, answer: ProviderAnswer, *, now: float
    ) -> NewCredentials:
        """Read a token response."""
        return new_credentials(request, read_answer(template, answer, now=now), self.renewed)

    def revocable(self, credentials: Credentials) -> Secret | None:
        """Return None: RFC 7009 revokes OAuth tokens only."""
        return None


def new_credentials(request: ExchangeRequest, response: TokenResponse, renewed: Any) -> NewCredentials:
    """Return what a token response means; `renewed` puts it into the credentials."""
    old, new = request.credentials, renewed(request, response)
    return NewCredentials(
        credentials=new,
        raw=response.raw,
        granted_scopes=response.scopes,
        connection_config=response.metadata,
        rotated=getattr(new, "refresh_token", None) != getattr(old, "refresh_token", None),
    )


@dataclass(frozen=True, slots=True)
class FixedMode:
    """The modes whose credentials nothing renews."""

    auth_mode: AuthMode
    credentials_type: type
    needs_client: bool = False
    spends: bool = False

    def is_refreshable(self, credentials: Credentials) -> bool:
        """Return False."""
        return False

    def client(self, request: ExchangeRequest) -> Client:
        """Return the integration's client."""
        return Client(request.client_id, request.client_secret)

    def token_url(self, template: Template, request: ExchangeRequest) -> str:
        """Raise `ExchangeFailed`: there is nothing to exchange."""
        raise not_refreshable(self.auth_mode)

    async def send(self, template: Template, request: ExchangeRequest, line: Line, *, timeout: float) -> ProviderAnswer:
        """Raise `ExchangeFailed`: there is nothing to exchange."""
        raise not_refreshable(self.auth_mode)

    def interpret(
        self, template: Template, request: ExchangeRequest, answer: ProviderAnswer, *, now: float
    ) -> NewCredentials:
        """Raise `ExchangeFailed`: there is nothing to exchange."""
        raise not_refreshable(self.auth_mode)

    def revocable(self, credentials: Credentials) -> Secret | None:
        """Return None: RFC 7009 revokes OAuth tokens only."""
        return None


def local_answer(fields: Mapping[str, Any]) -> ProviderAnswer:
    """Return what a mode that signs by itself made, in the form in which answers are stored."""
    return ProviderAnswer(status=200, headers={"content-type": "application/json"}, body=json.dumps(fields).encode())


def local_fields(answer: ProviderAnswer) -> dict[str, Any]:
    """Return what `local_answer` was given."""
    fields: dict[str, Any] = json.loads(answer.body)
    return fields


NO_RAW: Final = RawResponse({})


def values_of(template: Template, request: ExchangeRequest, client: Client, *, now: float) -> Values:
    """Return what the template's placeholders stand for in an exchange.

    The customer's values go by their names in the contract and in camel case: `dev_key` and `devKey`.
    """
    given: dict[str, Secret] = {entry.name: Secret(entry.default) for entry in template.credentials if entry.default}
    if dataclasses.is_dataclass(request.credentials):
        for entry in dataclasses.fields(request.credentials):
            value = getattr(request.credentials, entry.name)
            if isinstance(value, Mapping):
                given |= value
            elif isinstance(value, str | Secret) and value:
                secret = value if isinstance(value, Secret) else Secret(value)
                given[entry.name] = secret
                given[re.sub(r"_([a-z])", lambda match: match[1].upper(), entry.name)] = secret
    plain = {"random": Secret(secrets.token_urlsafe(24))}
    if client.client_id:
        plain["clientId"] = Secret(client.client_id)
    if client.client_secret:
        plain["clientSecret"] = client.client_secret
    if refresh_token := getattr(request.credentials, "refresh_token", None):
        plain["refreshToken"] = refresh_token
    if access_token := given.get("access_token") or given.get("token"):
        plain["accessToken"] = access_token
    return Values(
        config=config_with_defaults(template, request.connection_config), credentials=given, plain=plain, now=now
    )


def not_refreshable(auth_mode: AuthMode) -> ExchangeFailed:
    """Return the failure of an exchange that should not have been asked for."""
    return ExchangeFailed(
        FailureKind.CONFIGURATION, Reason.NOT_REFRESHABLE, f"these {auth_mode.value} credentials cannot be refreshed"
    )
