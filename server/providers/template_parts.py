"""Values of template keys that have keys of their own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from server.domain.model import ConnectionConfigField
from server.providers import interpolation
from server.providers import template_values as kinds
from server.providers.bounded_pattern import PatternError, compile_pattern
from server.providers.placeholders import is_config_name
from server.providers.template import (
    BodyFormat,
    ExpirationStrategy,
    Protocol,
    Signature,
    SignedToken,
    Step,
    TokenPaths,
)
from server.providers.template_values import BadValueError, Kind, pairs
from server.providers.yaml_nodes import MappingNode, Node


def _pattern(node: Node) -> str:
    text = kinds.TEXT.read(node)
    try:
        compile_pattern(text)
    except PatternError as error:
        raise BadValueError(node, str(error)) from None
    return str(text)


def _default(node: Node) -> str:
    text = kinds.scalar_text(node)
    if "${" in text:
        raise BadValueError(node, "is a value, and takes none of others")
    return text


def _record(node: Node, keys: Mapping[str, tuple[str, Kind]], what: str) -> dict[str, Any]:
    """Read a mapping whose keys are known: each with the name that it has in our class ("": read and left)."""
    values: dict[str, Any] = {}
    for key_node, key, inner in pairs(node):
        if key not in keys:
            raise BadValueError(key_node, f"{key} is not a key of {what}")
        name, kind = keys[key]
        value = kind.read(inner)
        if name:
            values[name] = value
    return values


def _schema(keys: Mapping[str, tuple[str, Kind]], *required: str) -> dict[str, Any]:
    properties = {key: kind.schema for key, (_, kind) in keys.items()}
    schema: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**schema, "required": list(required)} if required else schema


_FIELD_KEYS: Final[Mapping[str, tuple[str, Kind]]] = {
    "title": ("title", kinds.PROSE),
    "description": ("description", kinds.PROSE),
    "example": ("example", kinds.SCALAR),
    "pattern": ("pattern", Kind(_pattern, {"type": "string", "format": "regex"})),
    "optional": ("optional", kinds.FLAG),
    "default_value": ("default", kinds.Kind(_default, {"type": ["string", "number", "boolean"]})),
    "automated": ("automated", kinds.FLAG),
    "enum": ("enum", kinds.list_of(kinds.SCALAR)),
    "type": ("", kinds.TEXT),
    "format": ("", kinds.TEXT),
    "order": ("", kinds.PLAIN),
    "secret": ("", kinds.PLAIN),
    "hidden": ("", kinds.PLAIN),
    "prefix": ("", kinds.PLAIN),
    "suffix": ("", kinds.PLAIN),
    "doc_section": ("", kinds.PLAIN),
    "visible_when": ("", kinds.PLAIN),
    "warnings": ("", kinds.PLAIN),
}


def _fields(node: Node) -> tuple[ConnectionConfigField, ...]:
    fields = []
    for key_node, name, value_node in pairs(node):
        if not is_config_name(name):
            raise BadValueError(key_node, f"has the name {name!r}, which no placeholder can spell")
        values = _record(value_node, _FIELD_KEYS, "connection-config fields")
        # What is wrong is named with the field: several of them share a key.
        allowed = values.pop("enum", ())
        if allowed and "pattern" not in values:
            values["pattern"] = "|".join(re.escape(value) for value in allowed)
        fields.append(ConnectionConfigField(name=name, **values))
    return tuple(fields)


FIELDS: Final = Kind(_fields, {"type": "object", "additionalProperties": _schema(_FIELD_KEYS)})


def _token_url(node: Node) -> str | dict[str, str]:
    if isinstance(node, MappingNode):
        return {key: kinds.URL.read(inner) for _, key, inner in pairs(node)}
    return str(kinds.URL.read(node))


TOKEN_URL: Final = Kind(
    _token_url, {"anyOf": [{"type": "string"}, {"type": "object", "additionalProperties": {"type": "string"}}]}
)

_TOKEN_PATH_KEYS: Final[Mapping[str, tuple[str, Kind]]] = {
    "token": ("token", kinds.TEXT),
    "token_expiration": ("token_expiration", kinds.TEXT),
    "token_expiration_strategy": ("token_expiration_strategy", kinds.one_of(ExpirationStrategy)),
    "refresh_token": ("refresh_token", kinds.TEXT),
}


def _token_paths(node: Node) -> TokenPaths:
    values = _record(node, _TOKEN_PATH_KEYS, "token_response")
    if "token" not in values:
        raise BadValueError(node, "needs the path of the token")
    return TokenPaths(**values)


TOKEN_PATHS: Final = Kind(_token_paths, _schema(_TOKEN_PATH_KEYS, "token"))

_SIGNATURE_KEYS: Final[Mapping[str, tuple[str, Kind]]] = {
    "protocol": ("protocol", kinds.one_of(Protocol)),
    "hmac_secret_encoding": ("hmac_secret_encoding", kinds.texts("utf8", "hex")),
    "digest": ("digest", kinds.texts("hex", "raw")),
}


def _signature(node: Node) -> Signature:
    values = _record(node, _SIGNATURE_KEYS, "signature")
    if "protocol" not in values:
        raise BadValueError(node, "needs a protocol")
    return Signature(**values)


SIGNATURE: Final = Kind(_signature, _schema(_SIGNATURE_KEYS, "protocol"))


def _signing_key(node: Node) -> str:
    text = kinds.scalar_text(node)
    if why := interpolation.why_malformed(text):
        raise BadValueError(node, why)
    return text


_TOKEN_KEYS: Final[Mapping[str, tuple[str, Kind]]] = {
    "signing_key": ("signing_key", Kind(_signing_key, {"type": "string"})),
    "expires_in_ms": ("lifetime", kinds.MILLISECONDS),
    "header": ("header", kinds.PARAMETERS),
    "payload": ("payload", kinds.PARAMETERS),
}
SIGNED_TOKEN: Final = Kind(lambda node: SignedToken(**_record(node, _TOKEN_KEYS, "token")), _schema(_TOKEN_KEYS))

_STEP_KEYS: Final[Mapping[str, tuple[str, Kind]]] = {
    "token_url": ("token_url", kinds.URL),
    "token_params": ("token_params", kinds.PARAMETERS),
    "token_headers": ("token_headers", kinds.HEADERS),
    "token_request_method": ("token_request_method", kinds.texts("POST", "GET")),
    "body_format": ("body_format", kinds.one_of(BodyFormat)),
    "token_response_headers": ("token_response_headers", kinds.HEADER_NAMES),
}
MAX_STEPS: Final = 8


def _steps(node: Node) -> tuple[Step, ...]:
    steps: tuple[Step, ...] = kinds.list_of(_STEP).read(node)
    if len(steps) > MAX_STEPS:
        raise BadValueError(node, f"has more than {MAX_STEPS} steps")
    return steps


def _step(node: Node) -> Step:
    values = _record(node, _STEP_KEYS, "additional_steps")
    if "token_url" not in values:
        raise BadValueError(node, "needs a token_url")
    return Step(**values)


_STEP: Final = Kind(_step, _schema(_STEP_KEYS, "token_url"))
STEPS: Final = Kind(_steps, {"type": "array", "items": _STEP.schema, "maxItems": MAX_STEPS})
