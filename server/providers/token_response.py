"""What a token endpoint's answer means: tokens (RFC 6749 section 5.1), or a failure (`token_error`)."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl

import jwt

from server.domain.errors import Reason
from server.domain.model import RawResponse
from server.domain.secret import Secret
from server.providers.template import Template, TimeUnit
from server.providers.token_error import failure_of
from server.refresh.ports import ExchangeFailed, FailureKind, ProviderAnswer

# A lifetime beyond this is a mistake (an instant, or milliseconds), not a promise.
MAX_LIFETIME: Final = 10 * 365 * 86400.0
_MAX_JWT: Final = 16 * 1024


@dataclass(frozen=True, slots=True)
class TokenResponse:
    """A successful token response. `expires_at` None: not known; `scopes` None: the provider did not say."""

    access_token: Secret
    refresh_token: Secret | None
    token_type: str
    expires_at: float | None
    scopes: tuple[str, ...] | None
    metadata: Mapping[str, Any] = field(repr=False)
    raw: RawResponse


def read_answer(template: Template, answer: ProviderAnswer, *, now: float) -> TokenResponse:
    """Return what an answer that arrived at `now` says. Raises `ExchangeFailed` if that is not a token."""
    fields = decode(answer)
    if failure := failure_of(template, answer, fields, now=now):
        raise failure
    access_token = fields.get("access_token") if fields is not None else None
    if fields is None or not isinstance(access_token, str) or not access_token:
        what = "is not a JSON object" if fields is None else "has no access_token"
        raise ExchangeFailed(
            FailureKind.TRANSIENT, Reason.PROVIDER_RESPONSE_INVALID, f"the answer (HTTP {answer.status}) {what}"
        )
    refresh_token = fields.get("refresh_token")
    token_type = fields.get("token_type")
    return TokenResponse(
        access_token=Secret(access_token),
        refresh_token=Secret(refresh_token) if isinstance(refresh_token, str) and refresh_token else None,
        token_type=token_type if isinstance(token_type, str) else "",
        expires_at=_expiry(template, fields, access_token, now),
        scopes=_scopes(fields.get("scope"), template.scope_separator),
        metadata=_metadata(fields, template.token_response_metadata),
        raw=RawResponse(fields),
    )


def assumed_expiry(template: Template, access_token: str, *, now: float) -> float | None:
    """Return when a token ends whose life the provider did not name: a JWT's `exp`, else the template's default."""
    exp = _jwt_exp(access_token)
    if exp is not None and 0 < exp - now <= MAX_LIFETIME:
        return exp
    return None if template.default_lifetime is None else now + template.default_lifetime


def decode(answer: ProviderAnswer) -> dict[str, Any] | None:
    """Return the object that a body holds, JSON or form-encoded, None if it holds none.

    Content types are not trusted, except to say that a body is a form. Numbers beyond what JSON can carry on (NaN,
    1e999) are kept as texts.
    """
    try:
        text = answer.body.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/x-www-form-urlencoded":
        try:
            return dict(parse_qsl(text, max_num_fields=200)) or None
        except ValueError:
            return None
    try:
        value = json.loads(text, parse_float=_finite, parse_constant=str)
        # A lone surrogate can be written in JSON but stored nowhere.
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _finite(text: str) -> float | str:
    value = float(text)
    return value if math.isfinite(value) else text


def _expiry(template: Template, fields: Mapping[str, Any], access_token: str, now: float) -> float | None:
    lifetime = _number(fields.get("expires_in"))
    if lifetime is not None:
        if template.expires_in_unit is TimeUnit.MILLISECONDS:
            lifetime /= 1000
        if 0 < lifetime <= MAX_LIFETIME:
            return now + lifetime
    return assumed_expiry(template, access_token, now=now)


def _number(value: object) -> float | None:
    """Return a number, or a text that is one; None for everything else, NaN and infinity among it."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _jwt_exp(token: str) -> float | None:
    """Return a JWT's `exp` (RFC 7519 section 4.1.4), unverified: a hint about a token that we hold anyway."""
    if token.count(".") != 2 or len(token) > _MAX_JWT:
        return None
    try:
        claims = jwt.decode(token, options={"verify_signature": False})
    except (jwt.PyJWTError, ValueError, RecursionError):
        return None
    return _number(claims.get("exp"))


def _scopes(value: object, separator: str) -> tuple[str, ...] | None:
    """Return granted scopes. Providers answer with spaces or commas whatever they are asked with, or with a list."""
    if isinstance(value, str):
        value = re.split(rf"[\s,{re.escape(separator)}]+", value)
    if isinstance(value, list) and all(isinstance(scope, str) for scope in value):
        # What no database column holds (NUL) must not keep the tokens beside it from being stored.
        return tuple(scope for scope in value if scope and scope.isprintable())
    return None


def _metadata(fields: Mapping[str, Any], paths: tuple[str, ...]) -> dict[str, Any]:
    """Return the values at dotted paths, under those paths, as far as they are there and simple."""
    found: dict[str, Any] = {}
    for path in paths:
        value: Any = fields
        for step in path.split("."):
            value = value.get(step) if isinstance(value, Mapping) else None
        if isinstance(value, str | int | float | bool) and "\x00" not in str(value):
            found[path] = value
    return found
