"""What must hold of an integration and of a connection before they are stored: what their template needs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from server.domain.errors import Violation
from server.domain.model import (
    AppCredentials,
    AuthMode,
    Credentials,
    CustomCredentials,
    McpOAuth2Credentials,
    OAuth2ClientCredentials,
)
from server.domain.secret import Secret
from server.providers.bounded_pattern import compile_pattern
from server.providers.interpolation import CONFIG, MAX_VALUE, InterpolationError, Values, render_url
from server.providers.registry import MODES
from server.providers.template import Template
from server.providers.token_request import config_with_defaults

_URLS: Final = ("token_url", "refresh_url", "revocation_url")


def check_integration(
    template: Template,
    client_id: str,
    client_secret: Secret | None,
    scopes: Sequence[str],
    connection_config: Mapping[str, Any],
) -> list[Violation]:
    """Return what is wrong with an integration. Config values may still come with each connection."""
    found: list[Violation] = []
    if MODES[template.auth_mode].needs_client:
        needed = f"is required: {template.display_name} authorizes with {template.auth_mode.value}"
        if not client_id:
            found.append(Violation("integration.client_id", needed))
        if not client_secret:
            found.append(Violation("integration.client_secret", needed))
    separators = {template.scope_separator, " "}
    for index, scope in enumerate(scopes):
        if not scope or not scope.isprintable() or separators & set(scope):
            found.append(
                Violation(f"integration.scopes[{index}]", "must be one scope, without separators or control characters")
            )
    config = _config_violations(template, connection_config, required=False)
    return found + [Violation(f"integration.{entry.field}", entry.description) for entry in config]


def check_connection(
    template: Template, credentials: Credentials | None, connection_config: Mapping[str, Any]
) -> list[Violation]:
    """Return what is wrong with a connection. `connection_config` is its own, overlaid by the integration's.

    Without `credentials` only the config is checked.
    """
    found: list[Violation] = []
    mode = MODES[template.auth_mode]
    if credentials is None:
        pass
    elif not isinstance(credentials, mode.credentials_type):
        found.append(
            Violation(
                "credentials",
                f"must be of the kind that {template.display_name} takes: {_KIND_NAMES[template.auth_mode]}",
            )
        )
    else:
        found += _credential_violations(template, credentials)
    return found + _config_violations(template, connection_config, required=True)


def _credential_violations(template: Template, credentials: Credentials) -> Iterator[Violation]:
    """Yield what is missing from credentials of the right kind, and what breaks the template's patterns."""
    match credentials:
        case OAuth2ClientCredentials():
            has_key = credentials.client_secret or credentials.client_private_key
            if bool(credentials.client_id) != bool(has_key):
                yield Violation("credentials.oauth2_cc", "must have both a client_id and a client_secret, or neither")
            if template.require_client_certificate and credentials.client_id and not credentials.client_certificate:
                yield Violation("credentials.oauth2_cc.client_certificate", f"is required by {template.display_name}")
        case AppCredentials():
            if bool(credentials.app_id) != bool(credentials.private_key):
                yield Violation("credentials.app", "must have both an app_id and a private_key, or neither")
        case CustomCredentials() if not credentials.app.private_key:
            yield Violation("credentials.custom.app.private_key", f"is required by {template.display_name}")
        case McpOAuth2Credentials() if not template.token_url and not credentials.token_endpoint:
            yield Violation("credentials.mcp_oauth2.token_endpoint", "is required: the template has none")
    yield from _field_violations(template, credentials)


def _field_violations(template: Template, credentials: Credentials) -> Iterator[Violation]:
    kind = _KIND_NAMES[template.auth_mode]
    fields = getattr(credentials, "fields", None)
    for entry in template.credentials:
        if isinstance(fields, Mapping):
            secret, where = fields.get(entry.name), f'credentials.{kind}.fields["{entry.name}"]'
            needed = not (entry.optional or entry.default or entry.automated)
        else:
            name = re.sub(r"[A-Z]", lambda match: "_" + match[0].lower(), entry.name)
            value = getattr(credentials, name, None)
            secret, where = (Secret(value) if isinstance(value, str) else value), f"credentials.{kind}.{name}"
            needed = False
        if not isinstance(secret, Secret) or not secret:
            if needed:
                yield Violation(where, f"is required by {template.display_name}")
        elif entry.pattern and not _matches(entry.pattern, secret.reveal(), limit=_MAX_SECRET):
            # The example is the template's; the value is a secret and is not repeated.
            yield Violation(where, _hint(f"must match {entry.pattern}", entry.example))


_MAX_SECRET: Final = 16 * 1024


def _matches(pattern: str, value: object, *, limit: int = MAX_VALUE) -> bool:
    return isinstance(value, str) and len(value) <= limit and compile_pattern(pattern).fullmatch(value)


_KIND_NAMES: Final[Mapping[AuthMode, str]] = {
    AuthMode.OAUTH2: "oauth2",
    AuthMode.OAUTH2_CC: "oauth2_cc",
    AuthMode.API_KEY: "api_key",
    AuthMode.BASIC: "basic",
    AuthMode.NONE: "none at all",
    AuthMode.OAUTH1: "oauth1",
    AuthMode.APP: "app",
    AuthMode.CUSTOM: "custom",
    AuthMode.JWT: "jwt",
    AuthMode.TBA: "tba",
    AuthMode.TWO_STEP: "two_step",
    AuthMode.SIGNATURE: "signature",
    AuthMode.BILL: "bill",
    AuthMode.AWS_SIGV4: "aws_sigv4",
    AuthMode.INSTALL_PLUGIN: "basic",
    AuthMode.MCP_OAUTH2: "mcp_oauth2",
    AuthMode.MCP_OAUTH2_GENERIC: "mcp_oauth2",
}


def _config_violations(template: Template, config: Mapping[str, Any], *, required: bool) -> list[Violation]:
    found: dict[str, str] = {}
    for entry in template.connection_config:
        value = config.get(entry.name)
        if value is None or value == "":
            if required and not (entry.optional or entry.default or entry.automated):
                found[entry.name] = _hint(f"is required by {template.display_name}", entry.example)
        elif entry.pattern and not _matches(entry.pattern, value):
            found[entry.name] = _hint(f"must match {entry.pattern}", entry.example)
    for key in _URLS:
        try:
            if url := getattr(template, key):
                render_url(url, Values(config=config_with_defaults(template, config)))
        except InterpolationError as error:
            # What is missing was looked for above, and credentials are not looked at here.
            if error.root == CONFIG and config.get(error.name) not in (None, ""):
                found.setdefault(error.name, error.description)
    return [Violation(f"connection_config.{name}", description) for name, description in found.items()]


def _hint(text: str, example: str) -> str:
    return f"{text}, for example {example}" if example else text
