"""Auth mode BILL: a session that a login opens (BILL's API reference, "Log in": POST /v3/login).

BILL ends a session that is idle for 35 minutes. Its answer names no end, so that is what is assumed.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Final

from server.domain.model import AuthMode, BillCredentials, Credentials
from server.domain.secret import Secret
from server.providers.mode import OneRequest, not_refreshable, values_of
from server.providers.template import BodyFormat, Template, TokenPaths
from server.providers.token_error import refused_login
from server.providers.token_request import TokenRequest, assemble, endpoint, text_headers
from server.providers.token_response import read_answer
from server.refresh.ports import ExchangeRequest, NewCredentials, ProviderAnswer

_IDLE: Final = 35 * 60.0
_PATHS: Final = TokenPaths("sessionId")


@dataclass(frozen=True, slots=True)
class Bill(OneRequest):
    """Logs in again."""

    auth_mode: AuthMode = AuthMode.BILL
    credentials_type: type = BillCredentials
    needs_client: bool = False
    spends: bool = field(default=False)

    def is_refreshable(self, credentials: Credentials) -> bool:
        """Return True: the login can always be repeated."""
        return isinstance(credentials, BillCredentials)

    def token_request(self, template: Template, request: ExchangeRequest, *, now: float) -> TokenRequest:
        """Return the login."""
        held = request.credentials
        if not isinstance(held, BillCredentials):
            raise not_refreshable(self.auth_mode)
        values = values_of(template, request, self.client(request), now=now)
        fields = {
            "username": held.username,
            "password": held.password.reveal(),
            "organizationId": held.organization_id,
            "devKey": held.dev_key.reveal(),
        }
        headers = text_headers(template, template.token_headers, values)
        return assemble("POST", endpoint(template, template.token_url, values), fields, headers, BodyFormat.JSON)

    def interpret(
        self, template: Template, request: ExchangeRequest, answer: ProviderAnswer, *, now: float
    ) -> NewCredentials:
        """Read the session."""
        held = request.credentials
        if not isinstance(held, BillCredentials):
            raise not_refreshable(self.auth_mode)
        with refused_login(answer):
            response = read_answer(dataclasses.replace(template, token_response=_PATHS), answer, now=now)
        user_id = response.raw.value.get("userId")
        new = dataclasses.replace(
            held,
            session_id=response.access_token,
            user_id=user_id if isinstance(user_id, str) else held.user_id,
            expires_at=response.expires_at or now + _IDLE,
        )
        return NewCredentials(credentials=new, raw=response.raw, connection_config=response.metadata)

    def revocable(self, credentials: Credentials) -> Secret | None:
        """Return None: a session ends by itself."""
        return None
