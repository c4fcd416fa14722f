"""The one table of template keys: how each is read, what it means, and whether anything acts on it yet.

The reader, the JSON Schema, the table in docs/providers.md and `connections providers check` all follow it. Names are the
public ones of Nango's providers.yaml; those that it lacks are marked `ours`.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from server.domain.model import AuthMode
from server.providers import template_values as kinds
from server.providers.template import (
    BodyFormat,
    ClientAuth,
    ClientRegistration,
    TimeUnit,
)
from server.providers.template_parts import FIELDS, SIGNATURE, SIGNED_TOKEN, STEPS, TOKEN_PATHS, TOKEN_URL
from server.providers.template_values import Kind


class Acts(enum.Enum):
    """What becomes of a key."""

    YES = "acted on"
    SHOWN = "shown to people"
    NOT_YET = "understood, not acted on"


@dataclass(frozen=True, slots=True)
class Key:
    """One key. `target` is the template's field, empty for a key that is only carried. `modes` empty: all."""

    kind: Kind
    meaning: str
    target: str = ""
    acts: Acts = Acts.YES
    modes: frozenset[AuthMode] = frozenset()
    ours: bool = False


_M: Final = AuthMode
_GRANTS: Final = frozenset({_M.OAUTH2, _M.OAUTH2_CC, _M.CUSTOM, _M.MCP_OAUTH2, _M.MCP_OAUTH2_GENERIC})
_USERS: Final = _GRANTS - {_M.OAUTH2_CC}
_REQUESTS: Final = _GRANTS | {_M.APP, _M.TWO_STEP, _M.BILL, _M.AWS_SIGV4}
_EXCHANGES: Final = _REQUESTS | {_M.JWT, _M.SIGNATURE}
_BROWSER: Final = _USERS | {_M.OAUTH1, _M.APP, _M.INSTALL_PLUGIN}


def _acts(target: str, kind: Kind, meaning: str, modes: frozenset[AuthMode] = frozenset()) -> Key:
    return Key(kind, meaning, target, modes=modes)


def _ours(target: str, kind: Kind, meaning: str, modes: frozenset[AuthMode] = frozenset()) -> Key:
    return Key(kind, meaning, target, modes=modes, ours=True)


def _shown(target: str, kind: Kind, meaning: str) -> Key:
    return Key(kind, meaning, target, Acts.SHOWN)


def _carried(meaning: str, kind: Kind = kinds.PLAIN) -> Key:
    return Key(kind, meaning, acts=Acts.NOT_YET)


_FLOW: Final = "the authorization flow: "
_PROXY: Final = "requests on behalf of callers: "
_HOOKS: Final = "a hook of another program: "

KEYS: Final[Mapping[str, Key]] = {
    "display_name": _shown("display_name", kinds.TEXT, "what people call it; required"),
    "auth_mode": _acts("auth_mode", kinds.one_of(AuthMode), "how it authorizes; required"),
    "alias": _acts(
        "", kinds.TEXT, "name of a template whose keys hold here too, except those given here (whole values)"
    ),
    "categories": _shown("categories", kinds.list_of(kinds.TEXT), "list of groups it is found under"),
    "docs": _shown("docs", kinds.WEB_PAGE, "the provider's page that the facts come from"),
    "connection_config": _acts(
        "connection_config",
        FIELDS,
        "values that a connection brings: by name, `title`, `description`, `example`, `pattern` (for the whole value), "
        "`enum`, `optional`, `default_value`, `automated` (found by the authorization)",
    ),
    "credentials": _acts(
        "credentials", FIELDS, "values that a connection's credentials bring, described as in `connection_config`"
    ),
    "authorization_url": _shown("authorization_url", kinds.URL, "where end users authorize"),
    "token_url": _acts(
        "token_url", TOKEN_URL, "where tokens come from; by mode (`OAUTH2`, `APP`) for auth mode `CUSTOM`", _REQUESTS
    ),
    "refresh_url": _acts("refresh_url", kinds.URL, "where refreshes go, if not to `token_url`", _REQUESTS),
    "revocation_url": _ours("revocation_url", kinds.URL, "where tokens are revoked (RFC 7009)", _GRANTS),
    "default_scopes": _acts("default_scopes", kinds.list_of(kinds.TEXT), "scopes for integrations that name none"),
    "scope_separator": _acts(
        "scope_separator", kinds.SEPARATOR, "between scopes: `' '` (default), `','`, `'+'` or `';'`"
    ),
    "token_params": _acts("token_params", kinds.PARAMETERS, "extra parameters of token requests", _REQUESTS),
    "refresh_params": _acts(
        "refresh_params",
        kinds.PARAMETERS,
        "extra parameters of refreshes; without it `token_params` serve, but for `grant_type`",
        _GRANTS,
    ),
    "refresh_token_params": _acts(
        "refresh_token_params",
        kinds.PARAMETERS,
        "all parameters of a refresh at `refresh_url`",
        frozenset({_M.TWO_STEP}),
    ),
    "token_headers": _acts(
        "token_headers", kinds.HEADERS, "extra headers of token requests and revocations", _REQUESTS
    ),
    "refresh_token_headers": _acts(
        "refresh_token_headers",
        kinds.HEADERS,
        "extra headers of refreshes; without it `token_headers` serve",
        _REQUESTS,
    ),
    "token_response_headers": _acts(
        "token_response_headers",
        kinds.HEADER_NAMES,
        "response headers (`cookie.NAME`: cookies) that count as keys of the token response, by their names in lower case",
        _REQUESTS,
    ),
    "body_format": _acts(
        "body_format", kinds.one_of(BodyFormat), "`form` (default), `json`, `query` or `xml`", _REQUESTS
    ),
    "token_request_auth_method": _acts(
        "token_request_auth_method",
        kinds.one_of(ClientAuth),
        "client authentication: `body` (default), `basic`, `custom` (as `username` and `password`) or `private_key_jwt`",
        _GRANTS,
    ),
    "authorization_method": _acts(
        "",
        kinds.texts("header", "body"),
        "`header`: the same as client authentication `basic`",
        _GRANTS,
    ),
    "require_client_certificate": _acts(
        "require_client_certificate", kinds.FLAG, "the client presents its certificate in TLS (RFC 8705)", _GRANTS
    ),
    "token_request_method": _acts(
        "token_request_method", kinds.texts("POST", "GET"), "`POST` (default) or `GET`", frozenset({_M.TWO_STEP})
    ),
    "token_url_skip_encode": _acts(
        "token_url_skip_encode", kinds.list_of(kinds.TEXT), "values of the config that may bring several path segments"
    ),
    "token_response": _acts(
        "token_response",
        TOKEN_PATHS,
        "paths in the token response: `token`, `token_expiration` with its `token_expiration_strategy` (`expireAt`, "
        "`expireIn`), `refresh_token`",
        _REQUESTS,
    ),
    "alternate_access_token_response_path": _acts(
        "alternate_access_token_response_path",
        kinds.TEXT,
        "where the token is if the response has no `access_token`: the token, or the object that holds it",
        _GRANTS,
    ),
    "token_response_metadata": _acts(
        "token_response_metadata",
        kinds.METADATA_PATHS,
        "paths in token responses whose values go into the connection config, at each refresh; none may be a secret's",
        _REQUESTS,
    ),
    "additional_steps": _acts(
        "additional_steps",
        STEPS,
        "further requests of the login, which may use `${stepN.path}`",
        frozenset({_M.TWO_STEP}),
    ),
    "signature": _acts(
        "signature",
        SIGNATURE,
        "what signs: `protocol` (`RSA`, `EC`, `HMAC`, `WSSE`), `hmac_secret_encoding` (`utf8`, `hex`), ours: `digest` "
        "(`hex`, `raw`)",
    ),
    "token": _acts(
        "token",
        SIGNED_TOKEN,
        "what is signed: `signing_key`, `expires_in_ms`, `header`, `payload` (`${assertion}` in logins)",
    ),
    "expires_in_unit": _acts(
        "expires_in_unit",
        kinds.one_of(TimeUnit),
        "what lifetimes count: `seconds` (default) or `milliseconds`",
        _REQUESTS,
    ),
    "token_expires_in_ms": _acts(
        "default_lifetime", kinds.MILLISECONDS, "as `default_lifetime`, in milliseconds; 0: not known", _EXCHANGES
    ),
    "token_expiration_buffer": _acts("refresh_margin", kinds.SECONDS, "as `refresh_margin`", _EXCHANGES),
    "reauthorization_errors": _ours(
        "reauthorization_errors",
        kinds.ERRORS,
        "error codes that mean a dead grant here and something else elsewhere, each with a text that the description must "
        "contain (`''`: any)",
        _GRANTS,
    ),
    "refresh_margin": _ours(
        "refresh_margin", kinds.SECONDS, "seconds before expiry at which a refresh is due", _EXCHANGES
    ),
    "default_lifetime": _ours(
        "default_lifetime",
        kinds.SECONDS,
        "seconds that a token lives if the response does not say and the token is no JWT with an `exp`",
        _EXCHANGES,
    ),
    "reuse_window": _ours(
        "reuse_window",
        kinds.WINDOW,
        "seconds for which a used refresh token may be presented again: `0` if refused at once, `unlimited` if refresh "
        "tokens do not rotate; leave out if not known",
        _REQUESTS,
    ),
    "max_concurrency": _ours("max_concurrency", kinds.COUNT, "refreshes that may run at once", _EXCHANGES),
    "idle_refresh_after": _ours(
        "idle_refresh_after",
        kinds.SECONDS,
        "seconds after which an unused refresh token is used, to keep it alive",
        _REQUESTS,
    ),
    "client_registration": _acts(
        "client_registration",
        kinds.one_of(ClientRegistration),
        "how an MCP server's client comes to be: `static`, `dynamic` (RFC 7591) or `cimd`",
    ),
    "registration_url": _acts("registration_url", kinds.URL, "where clients register (RFC 7591)"),
    "registration_params": _acts("registration_params", kinds.PARAMETERS, "extra metadata of a client that registers"),
    "docs_connect": _shown("", kinds.WEB_PAGE, "a guide for whoever connects"),
    "setup_guide_url": _shown("", kinds.WEB_PAGE, "a guide for whoever sets up the integration"),
    "available_scopes": _shown("", kinds.PLAIN, "scopes that exist"),
    "integration_config": _carried("values that an integration brings", FIELDS),
    "connection_configuration": _carried(
        "an older form of `connection_config`: names alone", kinds.list_of(kinds.TEXT)
    ),
    "authorization_params": _carried(_FLOW + "extra parameters of the authorization URL", kinds.PARAMETERS),
    "disable_pkce": _carried(_FLOW + "no PKCE (RFC 7636)", kinds.FLAG),
    "authorization_url_replacements": _carried(_FLOW + "parts of the URL to replace"),
    "authorization_url_skip_empty": _carried(_FLOW + "leave out parameters without a value", kinds.FLAG),
    "authorization_url_skip_encode": _carried(_FLOW + "parameters that are not encoded"),
    "authorization_url_fragment": _carried(_FLOW + "the URL's fragment"),
    "authorization_code_param_in_callback": _carried(_FLOW + "what the code is called", kinds.TEXT),
    "authorization_code_param_in_webhook": _carried(_FLOW + "where a webhook brings the code", kinds.TEXT),
    "redirect_uri_metadata": _carried(_FLOW + "parameters of the redirect that go into the connection config"),
    "decode_url": _carried(_FLOW + "decode the URL", kinds.FLAG),
    "request_url": _carried(_FLOW + "where OAuth 1.0 request tokens come from", kinds.URL),
    "request_params": _carried(_FLOW + "parameters of the request for a request token", kinds.PARAMETERS),
    "request_http_method": _carried(_FLOW + "method of that request", kinds.texts("GET", "PUT", "POST")),
    "access_token_url": _carried(_FLOW + "where OAuth 1.0 tokens come from", kinds.URL),
    "token_http_method": _carried(_FLOW + "method of that request", kinds.texts("GET", "PUT", "POST")),
    "signature_method": _carried(_FLOW + "OAuth 1.0 signature method", kinds.TEXT),
    "installation": _carried(_FLOW + "who begins an installation", kinds.TEXT),
    "assertion": _carried("a SAML assertion of the login"),
    "assertion_option": _carried("choices for that assertion"),
    "auth": _carried("a block that nothing reads"),
    "auth_type": _carried("a word that nothing reads"),
    "proxy": _carried(_PROXY + "base URL, headers, verification, retries, pages"),
    "proxy_header_authorization": _carried(_PROXY + "the Authorization header"),
    "webhook_routing_script": _carried(_HOOKS + "routing of incoming webhooks"),
    "webhook_user_defined_secret": _carried("incoming webhooks carry a secret of the user's"),
    "webhook_allowed_query_params": _carried("query parameters of incoming webhooks"),
    "webhook_response_metadata": _carried("values of webhooks that go into the connection config"),
    "refresh_token_response_metadata": _carried("declared by the format, read by nothing"),
    "post_connection_script": _carried(_HOOKS + "after a connection is made"),
    "pre_connection_deletion_script": _carried(_HOOKS + "before a connection is deleted"),
    "credentials_verification_script": _carried(_HOOKS + "verification of credentials"),
}

REQUIRED: Final = ("display_name", "auth_mode")

NEEDED_BY_MODE: Final[Mapping[AuthMode, tuple[str, ...]]] = {
    _M.OAUTH2: ("token_url",),
    _M.OAUTH2_CC: ("token_url",),
    _M.CUSTOM: ("token_url",),
    _M.APP: ("token_url",),
    _M.TWO_STEP: ("token_url",),
    _M.BILL: ("token_url",),
    _M.JWT: ("token", "signature"),
}


def schema_of(key: Key) -> dict[str, Any]:
    """Return a key's JSON Schema, with what it means."""
    return {"description": key.meaning, **key.kind.schema}
