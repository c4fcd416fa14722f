"""What is sent to a token endpoint, on the wire."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote_plus, urlencode
from xml.sax.saxutils import escape

from server.domain.errors import Reason
from server.domain.secret import Secret
from server.providers.interpolation import (
    InterpolationError,
    Values,
    render_text,
    render_tree,
    render_url,
)
from server.providers.signing import SigningError, sign_with_private_key
from server.providers.template import BodyFormat, ClientAuth, Template
from server.refresh.ports import ExchangeFailed, FailureKind

_ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_ASSERTION_LIFE: Final = 300
_CONTENT_TYPES: Final = {
    BodyFormat.FORM: "application/x-www-form-urlencoded",
    BodyFormat.JSON: "application/json",
    BodyFormat.XML: "application/xml",
}


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """What TLS presents: a certificate chain and its key, both PEM."""

    certificate: str
    private_key: Secret


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """One request, ready to be sent. URL, headers and body may hold secrets.

    `keep_headers` are names of response headers that the answer keeps, beside those that it always does.
    """

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    method: str = "POST"
    keep_headers: tuple[str, ...] = ()
    certificate: ClientCertificate | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Client:
    """Who speaks: an OAuth client's id and secret, and for some ways to authenticate its key and certificate."""

    client_id: str
    client_secret: Secret | None = None
    private_key: Secret | None = None
    certificate: str = ""


def build(
    template: Template,
    *,
    url: str,
    params: Mapping[str, Any],
    extra_params: Mapping[str, Any],
    extra_headers: Mapping[str, str],
    client: Client,
    values: Values,
) -> TokenRequest:
    """Return an OAuth 2.0 token request with client authentication and body as the template wants them.

    `url` and the extra parameters and headers are the template's texts; extra parameters win over `params`. The client
    authenticates as RFC 6749 section 2.3.1 describes; one without a secret names itself in the body (section 3.2.1).
    Raises `ExchangeFailed` (CONFIGURATION) if a value is missing.
    """
    target = endpoint(template, url, values)
    fields = {**params, **parameters(template, extra_params, values)}
    headers = text_headers(template, extra_headers, values)
    method = template.token_request_auth_method
    if method is ClientAuth.PRIVATE_KEY_JWT:
        fields |= {"client_id": client.client_id, **_assertion(template, target, client, values.now)}
    elif any(name.lower() == "authorization" for name in headers):
        pass  # the template says itself how the client authenticates
    elif method is ClientAuth.BASIC and client.client_secret is not None:
        login = f"{quote_plus(client.client_id)}:{quote_plus(client.client_secret.reveal())}"
        headers["Authorization"] = "Basic " + base64.b64encode(login.encode()).decode()
    else:
        custom = method is ClientAuth.CUSTOM
        fields["username" if custom else "client_id"] = client.client_id
        if client.client_secret is not None:
            fields["password" if custom else "client_secret"] = client.client_secret.reveal()
    certificate = None
    if template.require_client_certificate:
        if not client.certificate or not client.private_key:
            raise misconfigured(
                template, "the client has no certificate and private key, which the provider wants to see"
            )
        certificate = ClientCertificate(client.certificate, client.private_key)
    return assemble(
        "POST",
        target,
        fields,
        headers,
        template.body_format,
        keep_headers=template.token_response_headers,
        certificate=certificate,
    )


def assemble(
    method: str,
    url: str,
    fields: Mapping[str, Any],
    headers: Mapping[str, str],
    body_format: BodyFormat,
    *,
    keep_headers: tuple[str, ...] = (),
    certificate: ClientCertificate | None = None,
) -> TokenRequest:
    """Return a request with its parameters where they belong: a GET has them in the query."""
    sent = dict(headers)
    names = {name.lower() for name in sent}
    if "accept" not in names:
        sent["Accept"] = "application/json"
    body = b""
    if body_format is BodyFormat.QUERY or method == "GET":
        if fields:
            url += ("&" if "?" in url else "?") + urlencode(_flat(fields))
    else:
        if "content-type" not in names:
            sent["Content-Type"] = _CONTENT_TYPES[body_format]
        body = _body(fields, body_format)
    return TokenRequest(
        url=url, headers=sent, body=body, method=method, keep_headers=keep_headers, certificate=certificate
    )


def _body(fields: Mapping[str, Any], body_format: BodyFormat) -> bytes:
    if body_format is BodyFormat.JSON:
        return json.dumps(fields).encode()
    if body_format is BodyFormat.XML:
        return ('<?xml version="1.0" encoding="UTF-8"?>' + _xml(fields)).encode()
    return urlencode(_flat(fields)).encode()


def _xml(value: Any) -> str:
    """Return nested parameters as elements; `@name` is an attribute of the element around it, `#text` its text."""
    if isinstance(value, Mapping):
        return "".join(_element(name, item) for name, item in value.items() if name[0] not in "@#") + _xml(
            value.get("#text", "")
        )
    return escape(_text(value))


def _element(name: str, value: Any) -> str:
    if isinstance(value, list | tuple):
        return "".join(_element(name, item) for item in value)
    attributes = ""
    if isinstance(value, Mapping):
        pairs = ((key[1:], escape(_text(item), {'"': "&quot;"})) for key, item in value.items() if key[0] == "@")
        attributes = "".join(f' {key}="{item}"' for key, item in pairs)
    return f"<{name}{attributes}>{_xml(value)}</{name}>"


def _flat(fields: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return parameters as a form has them: lists repeat their name, nested objects are JSON."""
    found: list[tuple[str, str]] = []
    for name, value in fields.items():
        items = value if isinstance(value, list | tuple) else (value,)
        found += [(name, json.dumps(item) if isinstance(item, Mapping) else _text(item)) for item in items]
    return found


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _assertion(template: Template, audience: str, client: Client, now: float) -> dict[str, str]:
    """Return the parameters of RFC 7523 section 2.2."""
    key = client.private_key or client.client_secret
    if not key:
        raise misconfigured(template, "the client has no private key to sign its assertion with")
    claims = {
        "iss": client.client_id,
        "sub": client.client_id,
        "aud": audience,
        "jti": secrets.token_urlsafe(16),
        "iat": int(now),
        "exp": int(now) + _ASSERTION_LIFE,
    }
    try:
        return {
            "client_assertion_type": _ASSERTION_TYPE,
            "client_assertion": sign_with_private_key(key.reveal(), claims),
        }
    except SigningError as error:
        raise misconfigured(template, f"the client's private key {error}") from None


def parameters(template: Template, tree: Mapping[str, Any], values: Values) -> dict[str, Any]:
    """Return a template's parameters with their values. Raises `ExchangeFailed` (CONFIGURATION) if one is missing."""
    try:
        rendered: dict[str, Any] = render_tree(tree, values)
    except InterpolationError as error:
        raise misconfigured(template, str(error)) from None
    return rendered


def text_headers(template: Template, headers: Mapping[str, str], values: Values) -> dict[str, str]:
    """Return a template's headers with their values. Raises `ExchangeFailed` (CONFIGURATION) if one is missing."""
    try:
        return {name: render_text(text, values) for name, text in headers.items()}
    except InterpolationError as error:
        raise misconfigured(template, str(error)) from None


def endpoint(template: Template, url: str, values: Values) -> str:
    """Return a template's URL with its values. Raises `ExchangeFailed` (CONFIGURATION) if one is missing."""
    if not url:
        raise misconfigured(template, "the template has no token_url")
    try:
        return render_url(url, values, skip_encode=frozenset(template.token_url_skip_encode))
    except InterpolationError as error:
        raise misconfigured(template, str(error)) from None


def config_with_defaults(template: Template, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a connection config with the template's defaults for what is left out."""
    defaults = {entry.name: entry.default for entry in template.connection_config if entry.default}
    return {**defaults, **{name: value for name, value in config.items() if value not in (None, "")}}


def misconfigured(template: Template, text: str) -> ExchangeFailed:
    """Return the failure of an exchange that cannot be tried with this set-up."""
    return ExchangeFailed(
        FailureKind.CONFIGURATION, Reason.INTEGRATION_MISCONFIGURED, f"provider {template.name}: {text}"
    )
