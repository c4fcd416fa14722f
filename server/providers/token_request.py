"""What is sent to a token endpoint, on the wire."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote_plus, urlencode

from server.domain.errors import Reason
from server.domain.secret import Secret
from server.providers.interpolation import InterpolationError, render_text, render_url
from server.providers.template import BodyFormat, ClientAuth, Template
from server.refresh.ports import ExchangeFailed, FailureKind


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """One POST, ready to be sent. Headers and body hold secrets."""

    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


def build(
    template: Template,
    *,
    url: str,
    params: Mapping[str, str],
    extra_params: Mapping[str, str],
    extra_headers: Mapping[str, str],
    client_id: str,
    client_secret: Secret | None,
    config: Mapping[str, Any],
) -> TokenRequest:
    """Return a request with client authentication and body as the template wants them.

    `url` and the extra parameters and headers are the template's texts; extra parameters win over `params`. The client
    authenticates as RFC 6749 section 2.3.1 describes; one without a secret names itself in the body (section 3.2.1).
    Raises `ExchangeFailed` (CONFIGURATION) if a value is missing.
    """
    target = endpoint(template, url, config)
    try:
        fields = {**params, **{name: render_text(text, config) for name, text in extra_params.items()}}
        headers = {name: render_text(text, config) for name, text in extra_headers.items()}
    except InterpolationError as error:
        raise misconfigured(template, str(error)) from None
    if template.token_request_auth_method is ClientAuth.BASIC and client_secret is not None:
        login = f"{quote_plus(client_id)}:{quote_plus(client_secret.reveal())}"
        headers["Authorization"] = "Basic " + base64.b64encode(login.encode()).decode()
    else:
        fields["client_id"] = client_id
        if client_secret is not None:
            fields["client_secret"] = client_secret.reveal()
    if not any(name.lower() == "accept" for name in headers):
        headers["Accept"] = "application/json"
    if template.body_format is BodyFormat.JSON:
        headers["Content-Type"] = "application/json"
        body = json.dumps(fields).encode()
    else:
        headers["Content-Type"] = "application/x-www-form-urlencoded"
        body = urlencode(fields).encode()
    return TokenRequest(url=target, headers=headers, body=body)


def endpoint(template: Template, url: str, config: Mapping[str, Any]) -> str:
    """Return a template's URL with its values. Raises `ExchangeFailed` (CONFIGURATION) if one is missing."""
    if not url:
        raise misconfigured(template, "the template has no token_url")
    try:
        return render_url(url, config)
    except InterpolationError as error:
        raise misconfigured(template, str(error)) from None


def misconfigured(template: Template, text: str) -> ExchangeFailed:
    """Return the failure of an exchange that cannot be tried with this set-up."""
    return ExchangeFailed(
        FailureKind.CONFIGURATION, Reason.INTEGRATION_MISCONFIGURED, f"provider {template.name}: {text}"
    )
