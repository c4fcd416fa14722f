"""Auth mode CUSTOM: an installation's token with an end user's beside it (a GitHub App that users authorize too).

The installation's token comes first and spends nothing: if it cannot be had, the user's refresh token is not touched.
Then the user's is refreshed, and both answers are kept together before the user's is looked at. A failure of the user's
part is noted in the credentials and fails nothing.
"""

from __future__ import annotations

import base64
import dataclasses
import time
from dataclasses import dataclass
from typing import Any, Final

from server.domain.model import AuthMode, Credentials, CustomCredentials, OAuth2Credentials
from server.domain.secret import Secret
from server.providers.app import installation_request, read_installation, with_token
from server.providers.mode import Line, local_answer, local_fields, not_refreshable
from server.providers.oauth2 import refresh_request, renewed_tokens
from server.providers.template import Template
from server.providers.token_request import Client
from server.providers.token_response import read_answer
from server.refresh.ports import ExchangeFailed, ExchangeRequest, FailureKind, NewCredentials, ProviderAnswer

_UNAVAILABLE: Final = "unavailable"


@dataclass(frozen=True, slots=True)
class Custom:
    """An app's exchange and a refresh token grant, together."""

    auth_mode: AuthMode = AuthMode.CUSTOM
    credentials_type: type = CustomCredentials
    needs_client: bool = True
    # What is spent is the user's alone, whose loss is noted and survived; the installation's token can always be had.
    spends: bool = False

    def is_refreshable(self, credentials: Credentials) -> bool:
        """Return True: the app can always sign another JWT."""
        return isinstance(credentials, CustomCredentials)

    def client(self, request: ExchangeRequest) -> Client:
        """Return the integration's client, which the user authorized."""
        return Client(request.client_id, request.client_secret)

    def token_url(self, template: Template, request: ExchangeRequest) -> str:
        """Return where the app's JWT is exchanged."""
        return template.app_token_url

    async def send(self, template: Template, request: ExchangeRequest, line: Line, *, timeout: float) -> ProviderAnswer:
        """Get the installation's token, then refresh the user's."""
        held = _held(request)
        started = time.monotonic()
        now = line.clock.now()
        app = Client(held.app.app_id or request.client_id, held.app.private_key)
        wire = installation_request(template, request, app, template.app_token_url, now=now)
        answer = await line.sender.send(wire, timeout=timeout)
        if not 200 <= answer.status < 300:
            return answer
        parts: dict[str, Any] = {"app": _packed(answer)}
        if held.user is not None and held.user.refresh_token:
            left = max(1.0, timeout - (time.monotonic() - started))
            try:
                url = template.refresh_url or template.token_url
                as_user = dataclasses.replace(request, credentials=held.user)
                grant = refresh_request(template, as_user, self.client(request), held.user.refresh_token, url, now=now)
                parts["user"] = _packed(await line.sender.send(grant, timeout=left))
            except ExchangeFailed as failure:
                parts["user_failure"] = failure.oauth_error or _UNAVAILABLE
        return local_answer(parts)

    def interpret(
        self, template: Template, request: ExchangeRequest, answer: ProviderAnswer, *, now: float
    ) -> NewCredentials:
        """Read both answers."""
        held = _held(request)
        if not 200 <= answer.status < 300:
            read_installation(template, answer, now=now)
            raise AssertionError("an answer that is no success brought a token")  # pragma: no cover
        parts = local_fields(answer)
        response = read_installation(template, _unpacked(parts["app"]), now=now)
        user, failure = held.user, parts.get("user_failure", "")
        config = dict(response.metadata)
        scopes = None
        if "user" in parts and user is not None:
            try:
                granted = read_answer(template, _unpacked(parts["user"]), now=now)
                user, scopes = renewed_tokens(user, granted), granted.scopes
                config |= granted.metadata
            except ExchangeFailed as failed:
                failure = failed.oauth_error or _UNAVAILABLE
                if failed.kind is FailureKind.PERMANENT:
                    # It would be refused each time; the end user has to authorize again.
                    user = dataclasses.replace(user, refresh_token=None)
        new = CustomCredentials(app=with_token(held.app, response), user=user, user_failure=failure)
        return NewCredentials(
            credentials=new,
            raw=response.raw,
            granted_scopes=scopes,
            connection_config=config,
            rotated=_refresh_token(new.user) != _refresh_token(held.user),
        )

    def revocable(self, credentials: Credentials) -> Secret | None:
        """Return the user's refresh token or else access token; an installation's token is not the user's to revoke."""
        if not isinstance(credentials, CustomCredentials) or credentials.user is None:
            return None
        return credentials.user.refresh_token or credentials.user.access_token or None


def _held(request: ExchangeRequest) -> CustomCredentials:
    if not isinstance(request.credentials, CustomCredentials):
        raise not_refreshable(AuthMode.CUSTOM)
    return request.credentials


def _refresh_token(user: OAuth2Credentials | None) -> Secret | None:
    return None if user is None else user.refresh_token


def _packed(answer: ProviderAnswer) -> dict[str, Any]:
    return {
        "status": answer.status,
        "headers": dict(answer.headers),
        "body": base64.b64encode(answer.body).decode(),
    }


def _unpacked(part: dict[str, Any]) -> ProviderAnswer:
    return ProviderAnswer(part["status"], part["headers"], base64.b64decode(part["body"]))
