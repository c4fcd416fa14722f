"""What a token endpoint's answer means: tokens (RFC 6749 section 5.1), or a failure (`token_error`)."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import parse_qsl

import jwt

from server.domain.errors import Reason
from server.domain.model import RawResponse
from server.domain.secret import Secret
from server.providers.interpolation import at_path
from server.providers.template import ExpirationStrategy, Template, TimeUnit
from server.providers.token_error import failure_of
from server.providers.xml_answer import xml_fields
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
    found = None if fields is None else _token_fields(template, fields)
    if fields is None or found is None:
        what = "is not a JSON object" if fields is None else f"has no {_token_path(template)}"
        raise ExchangeFailed(
            FailureKind.TRANSIENT, Reason.PROVIDER_RESPONSE_INVALID, f"the answer (HTTP {answer.status}) {what}"
        )
    access_token, holder = found
    paths = template.token_response
    refresh_token = (
        at_path(fields, paths.refresh_token) if paths and paths.refresh_token else holder.get("refresh_token")
    )
    token_type = holder.get("token_type", fields.get("token_type"))
    return TokenResponse(
        access_token=Secret(access_token),
        refresh_token=Secret(refresh_token) if isinstance(refresh_token, str) and refresh_token else None,
        token_type=token_type if isinstance(token_type, str) else "",
        expires_at=_expiry(template, fields, holder, access_token, now),
        scopes=_scopes(holder.get("scope", fields.get("scope")), template.scope_separator),
        metadata=_metadata(fields, template.token_response_metadata),
        raw=RawResponse(fields),
    )


def _token_path(template: Template) -> str:
    return "access_token" if template.token_response is None else template.token_response.token


def _token_fields(template: Template, fields: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]] | None:
    """Return the access token and the object whose other keys describe it, None if there is no token.

    With an alternative path, the token is what is there: itself, or an object that has it as `access_token`.
    """
    token = at_path(fields, _token_path(template))
    if template.token_response is not None and isinstance(token, int) and not isinstance(token, bool):
        token = str(token)
    if isinstance(token, str) and token:
        return token, fields
    if template.alternate_access_token_response_path:
        other = at_path(fields, template.alternate_access_token_response_path)
        if isinstance(other, str) and other:
            return other, fields
        if isinstance(other, Mapping) and isinstance(other.get("access_token"), str) and other["access_token"]:
            return other["access_token"], other
    return None


def assumed_expiry(template: Template, access_token: str, *, now: float) -> float | None:
    """Return when a token ends whose life the provider did not name: a JWT's `exp`, else the template's default."""
    exp = _jwt_exp(access_token)
    if exp is not None and 0 < exp - now <= MAX_LIFETIME:
        return exp
    return None if template.default_lifetime is None else now + template.default_lifetime


def decode(answer: ProviderAnswer) -> dict[str, Any] | None:
    """Return the object that a body holds (JSON, form-encoded or XML), with headers that were kept; None if it holds none.

    Content types are not trusted, except to say that a body is a form or XML. Numbers beyond what JSON can carry on (NaN,
    1e999) are kept as texts. Headers are keys of their names in lower case; the body's own keys win.
    """
    extra = {name: value for name, value in answer.headers.items() if name not in {"content-type", "retry-after"}}
    fields = _decode_body(answer)
    if fields is None:
        # A provider that answers with headers alone.
        return extra if extra and not answer.body.strip() else None
    return {**extra, **fields}


def _decode_body(answer: ProviderAnswer) -> dict[str, Any] | None:
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
    if kind.endswith("xml") and text.lstrip().startswith("<"):
        return xml_fields(answer.body)
    try:
        value = json.loads(text, parse_float=_finite, parse_constant=str)
        # A lone surrogate can be written in JSON but stored nowhere.
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return None
    if isinstance(value, str) and value:
        # A few providers answer with the token alone.
        return {"token": value}
    return value if isinstance(value, dict) else None


def _finite(text: str) -> float | str:
    value = float(text)
    return value if math.isfinite(value) else text


def _expiry(
    template: Template, fields: Mapping[str, Any], holder: Mapping[str, Any], access_token: str, now: float
) -> float | None:
    paths = template.token_response
    if paths is not None and paths.token_expiration:
        value = at_path(fields, paths.token_expiration)
        at = paths.token_expiration_strategy is ExpirationStrategy.AT
        expires_at = instant_of(value, now) if at else _after(template, value, now)
        if expires_at is not None and 0 < expires_at - now <= MAX_LIFETIME:
            return expires_at
    else:
        expires_at = _after(template, holder.get("expires_in", fields.get("expires_in")), now)
        if expires_at is not None:
            return expires_at
    return assumed_expiry(template, access_token, now=now)


def _after(template: Template, value: object, now: float) -> float | None:
    """Return when a lifetime that an answer names ends: a number, or `days:hours:minutes`."""
    lifetime = _number(value)
    if lifetime is None:
        lifetime = _duration(value)
    elif template.expires_in_unit is TimeUnit.MILLISECONDS:
        lifetime /= 1000
    return now + lifetime if lifetime is not None and 0 < lifetime <= MAX_LIFETIME else None


def _duration(value: object) -> float | None:
    if isinstance(value, str) and (match := re.fullmatch(r"(\d{1,4}):(\d{1,2}):(\d{1,2})", value.strip())):
        return float(int(match[1]) * 86400 + int(match[2]) * 3600 + int(match[3]) * 60)
    return None


def instant_of(value: object, now: float) -> float | None:
    """Return an instant that an answer names: ISO 8601, seconds or milliseconds since 1970, or a lifetime as above."""
    number = _number(value)
    if number is not None:
        # No token lives until the year 5138; milliseconds are beyond that since 1973.
        return number / 1000 if number > 1e11 else number
    if (lifetime := _duration(value)) is not None:
        return now + lifetime
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value.strip())
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


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
        value = at_path(fields, path)
        if isinstance(value, str | int | float | bool) and "\x00" not in str(value):
            found[path] = value
    return found
