"""The port `TokenExchange`, by templates and auth modes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from server.domain.clock import Clock, SystemClock
from server.domain.errors import Reason, Violation
from server.domain.model import AuthMode, Credentials, ProviderFacts, ProviderInfo
from server.domain.secret import Secret
from server.providers import checks
from server.providers.catalogue import Catalogue
from server.providers.mode import LOCAL_HOST, Line, Mode, values_of
from server.providers.outbound import Outbound
from server.providers.registry import MODES, SIGNED_HERE
from server.providers.template import Template
from server.providers.token_error import failure_of
from server.providers.token_request import build, endpoint, misconfigured
from server.providers.token_response import assumed_expiry, decode
from server.refresh.ports import (
    ExchangeFailed,
    ExchangeRequest,
    FailureKind,
    NewCredentials,
    ProviderAnswer,
)


class ProviderExchange:
    """Speaks with providers' token endpoints, as `server.refresh.ports.TokenExchange` asks."""

    def __init__(self, catalogue: Catalogue, outbound: Outbound, clock: Clock | None = None) -> None:
        self._catalogue = catalogue
        self._outbound = outbound
        self._clock = clock or SystemClock()

    def info(self, provider: str) -> ProviderInfo | None:
        """Return the template's public facts, None if there is no such template."""
        template = self._catalogue.get(provider)
        return None if template is None else info_of(template)

    def facts(self, provider: str) -> ProviderFacts:
        """Return the template's refresh facts; defaults if there is no such template."""
        template = self._catalogue.get(provider)
        if template is None:
            return ProviderFacts()
        # A mode that spends nothing can repeat its exchange, whatever else the template says.
        repeatable = not MODES[template.auth_mode].spends
        return ProviderFacts(
            refresh_margin=template.refresh_margin,
            default_lifetime=template.default_lifetime,
            reuse_window=math.inf if repeatable else template.reuse_window,
            max_concurrency=template.max_concurrency,
            idle_refresh_after=template.idle_refresh_after,
        )

    def all(self) -> tuple[ProviderInfo, ...]:
        """Return all templates' public facts, by name."""
        return tuple(info_of(template) for template in self._catalogue.all())

    def is_refreshable(self, auth_mode: AuthMode, credentials: Credentials) -> bool:
        """Return whether an exchange could bring new credentials in place of these."""
        return MODES[auth_mode].is_refreshable(credentials)

    def assumed_expiry(self, provider: str, access_token: Secret, *, now: float) -> float | None:
        """Return when an imported token ends of which that is not said: its JWT `exp`, else the template's default."""
        template = self._catalogue.get(provider)
        return None if template is None else assumed_expiry(template, access_token.reveal(), now=now)

    def check_integration(
        self,
        provider: str,
        client_id: str,
        client_secret: Secret | None,
        scopes: Sequence[str],
        connection_config: Mapping[str, Any],
    ) -> list[Violation]:
        """Return what the template finds wrong with an integration (`integration.client_id`, ...)."""
        template = self._catalogue.get(provider)
        if template is None:
            return [Violation("integration.provider", "is not the name of a provider template")]
        return checks.check_integration(template, client_id, client_secret, scopes, connection_config)

    def check_connection(
        self, provider: str, credentials: Credentials | None, connection_config: Mapping[str, Any]
    ) -> list[Violation]:
        """Return what the template finds wrong with a connection (`credentials`, `connection_config.subdomain`, ...).

        `connection_config` is the connection's, overlaid by the integration's; `credentials` None: only it is checked.
        """
        template = self._catalogue.get(provider)
        if template is None:
            return [Violation("provider_config_key", "belongs to an integration whose provider template is gone")]
        return checks.check_connection(template, credentials, connection_config)

    def token_host(self, request: ExchangeRequest) -> str:
        """Return `host:port` of the token endpoint, `local` if none is asked. Raises `ExchangeFailed` (CONFIGURATION)."""
        template, mode = self._resolve(request)
        text = mode.token_url(template, request)
        if not text:
            return LOCAL_HOST if mode.auth_mode in SIGNED_HERE else self._no_endpoint(template)
        values = values_of(template, request, mode.client(request), now=self._clock.now())
        url = self._outbound.check(endpoint(template, text, values))
        return f"{url.host_subcomponent}:{url.port}"

    def _no_endpoint(self, template: Template) -> str:
        raise misconfigured(template, "the template has no token_url")

    async def send(self, request: ExchangeRequest, *, timeout: float) -> ProviderAnswer:
        """Spend the refresh token (or client credentials, or a login), never repeated. Raises `ExchangeFailed`."""
        template, mode = self._resolve(request)
        try:
            return await mode.send(template, request, Line(self._outbound, self._clock), timeout=timeout)
        except ExchangeFailed as failure:
            failure.maybe_spent = failure.maybe_spent and mode.spends
            raise

    def interpret(self, request: ExchangeRequest, answer: ProviderAnswer, *, now: float) -> NewCredentials:
        """Turn an answer that arrived at `now` into credentials. Does no I/O. Raises `ExchangeFailed`."""
        template, mode = self._resolve(request)
        return mode.interpret(template, request, answer, now=now)

    async def revoke(self, request: ExchangeRequest, *, timeout: float) -> bool | None:
        """Ask the provider to revoke the tokens (RFC 7009): True if it did, False if that failed, None if it cannot."""
        template = self._catalogue.get(request.provider)
        mode = MODES[request.auth_mode]
        token = mode.revocable(request.credentials)
        if template is None or not template.revocation_url or token is None:
            return None
        client = mode.client(request)
        try:
            wire = build(
                template,
                url=template.revocation_url,
                # Without the optional token_type_hint: servers must do without it, and some refuse what is new to them.
                params={"token": token.reveal()},
                extra_params={},
                extra_headers=template.token_headers,
                client=client,
                values=values_of(template, request, client, now=self._clock.now()),
            )
            answer = await self._outbound.send(wire, timeout=timeout)
        except ExchangeFailed:
            return False
        return 200 <= answer.status < 300 and failure_of(template, answer, decode(answer), now=0.0) is None

    async def close(self) -> None:
        """Close what is open towards providers."""
        await self._outbound.close()

    def _resolve(self, request: ExchangeRequest) -> tuple[Template, Mode]:
        template = self._catalogue.get(request.provider)
        if template is None:
            raise ExchangeFailed(
                FailureKind.CONFIGURATION,
                Reason.INTEGRATION_MISCONFIGURED,
                f"there is no provider template {request.provider!r}",
            )
        return template, MODES[request.auth_mode]


def info_of(template: Template) -> ProviderInfo:
    """Return what callers may know of a template."""
    return ProviderInfo(
        name=template.name,
        display_name=template.display_name,
        auth_mode=template.auth_mode,
        categories=template.categories,
        docs_url=template.docs,
        authorization_url=template.authorization_url,
        token_url=template.token_url,
        default_scopes=template.default_scopes,
        connection_config_fields=template.connection_config,
        credential_fields=template.credentials,
        from_operator=template.from_operator,
    )
