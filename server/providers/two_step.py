"""Auth mode TWO_STEP: a token that the template's own requests obtain with the customer's values.

The first request goes to `token_url`; `additional_steps` follow, each able to use what earlier ones answered. None of them
spends anything. A refresh token, if the provider gives one, is spent by a request of its own, whose answer nobody looks
at before it is stored, unless it is a refusal: then there is nothing to lose, and the login starts over.
"""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from typing import Any, Final

from server.domain.model import AuthMode, Credentials, TwoStepCredentials
from server.domain.secret import Secret
from server.providers.interpolation import Values
from server.providers.mode import Line, new_credentials, not_refreshable, values_of
from server.providers.signed_jwt import signed_token
from server.providers.template import Step, Template, TokenPaths
from server.providers.token_error import refused_login
from server.providers.token_request import Client, TokenRequest, assemble, endpoint, parameters, text_headers
from server.providers.token_response import TokenResponse, decode, read_answer
from server.refresh.ports import ExchangeRequest, NewCredentials, ProviderAnswer

_PATHS: Final = TokenPaths("token")


@dataclass(frozen=True, slots=True)
class TwoStep:
    """The template's login."""

    auth_mode: AuthMode = AuthMode.TWO_STEP
    credentials_type: type = TwoStepCredentials
    needs_client: bool = False
    # Whatever was spent and lost, the login can be repeated.
    spends: bool = False

    def is_refreshable(self, credentials: Credentials) -> bool:
        """Return True: the login can always be repeated."""
        return isinstance(credentials, TwoStepCredentials)

    def client(self, request: ExchangeRequest) -> Client:
        """Return the integration's client."""
        return Client(request.client_id, request.client_secret)

    def token_url(self, template: Template, request: ExchangeRequest) -> str:
        """Return where the exchange begins."""
        return template.refresh_url if _refreshes(template, request) else template.token_url

    async def send(self, template: Template, request: ExchangeRequest, line: Line, *, timeout: float) -> ProviderAnswer:
        """Refresh if that is possible and accepted; log in otherwise. Returns the last answer, or the first that failed."""
        if not isinstance(request.credentials, TwoStepCredentials):
            raise not_refreshable(self.auth_mode)
        ends = time.monotonic() + timeout
        values = values_of(template, request, self.client(request), now=line.clock.now())
        if _refreshes(template, request):
            answer = await line.sender.send(_refresh(template, values), timeout=timeout)
            if answer.status not in {400, 401, 403}:
                return answer
        if template.token is not None and template.signature is not None:
            assertion, _ = signed_token(template, values)
            values = dataclasses.replace(values, plain={**values.plain, "assertion": Secret(assertion)})
        first = Step(
            token_url=template.token_url,
            token_params=template.token_params,
            token_headers=template.token_headers,
            token_request_method=template.token_request_method,
            body_format=template.body_format,
            token_response_headers=template.token_response_headers,
        )
        steps = (first, *template.additional_steps)
        answers: dict[str, Any] = {}
        for number, step in enumerate(steps, start=1):
            seen = dataclasses.replace(values, steps=answers)
            answer = await line.sender.send(_request(template, step, seen), timeout=max(0.1, ends - time.monotonic()))
            if number == len(steps) or not 200 <= answer.status < 300:
                break
            answers[f"step{number}"] = decode(answer) or {}
        return answer

    def interpret(
        self, template: Template, request: ExchangeRequest, answer: ProviderAnswer, *, now: float
    ) -> NewCredentials:
        """Read the token of the last answer."""
        paths = template.token_response or _PATHS
        with refused_login(answer):
            response = read_answer(dataclasses.replace(template, token_response=paths), answer, now=now)
        return new_credentials(request, response, self._renewed)

    def _renewed(self, request: ExchangeRequest, response: TokenResponse) -> Credentials:
        old = request.credentials
        if not isinstance(old, TwoStepCredentials):
            raise not_refreshable(self.auth_mode)
        return dataclasses.replace(
            old,
            token=response.access_token,
            refresh_token=response.refresh_token or old.refresh_token,
            expires_at=response.expires_at,
        )

    def revocable(self, credentials: Credentials) -> Secret | None:
        """Return None: these are no OAuth tokens."""
        return None


def _refreshes(template: Template, request: ExchangeRequest) -> bool:
    held = request.credentials
    return bool(template.refresh_url) and isinstance(held, TwoStepCredentials) and bool(held.refresh_token)


def _refresh(template: Template, values: Values) -> TokenRequest:
    headers = template.refresh_token_headers
    step = Step(
        token_url=template.refresh_url,
        token_params=template.refresh_token_params or {"refresh_token": "${refreshToken}"},
        token_headers=template.token_headers if headers is None else headers,
        body_format=template.body_format,
        token_response_headers=template.token_response_headers,
    )
    return _request(template, step, values)


def _request(template: Template, step: Step, values: Values) -> TokenRequest:
    return assemble(
        step.token_request_method,
        endpoint(template, step.token_url, values),
        parameters(template, step.token_params, values),
        text_headers(template, step.token_headers, values),
        step.body_format,
        keep_headers=step.token_response_headers,
    )
