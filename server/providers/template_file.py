"""How a provider template is read from a file, with every mistake told by file, line and key."""

from __future__ import annotations

import enum
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from server.domain.model import AuthMode, ConnectionConfigField
from server.providers import interpolation
from server.providers.placeholders import is_config_name
from server.providers.registry import MODES
from server.providers.template import BodyFormat, ClientAuth, Template, TimeUnit
from server.providers.yaml_nodes import (
    MappingNode,
    Node,
    ScalarNode,
    SequenceNode,
    YamlFileError,
    line_of,
    read,
    scalar,
)

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_PARAMETER: Final = re.compile(r"[\x21-\x7e]{1,128}")
_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}")  # RFC 9110 section 5.6.2

# What the exchange itself writes: a template that set these would break framing or leak a secret to the wrong place.
_OWN_PARAMETERS: Final = frozenset({"client_id", "client_secret", "refresh_token"})
_OWN_HEADERS: Final = frozenset(
    {"authorization", "connection", "content-length", "content-type", "cookie", "expect", "host", "transfer-encoding"}
)


class TemplateError(Exception):
    """One or more template files are wrong. `problems` has them all, each as `file:line: key: text`."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class _BadValueError(Exception):
    """A value that its key does not allow; `node` is where."""

    def __init__(self, node: Node, text: str) -> None:
        super().__init__(text)
        self.node = node


def read_template(path: Path, *, from_operator: bool) -> Template:
    """Return the template in a file; its name is the file's. Raises `TemplateError` with every problem."""
    try:
        root = read(path)
    except YamlFileError as error:
        raise TemplateError([f"{path}:{error.line}: {error.text}"]) from None
    except OSError as error:
        raise TemplateError([f"{path}: cannot be read: {error.strerror}"]) from None
    problems: list[str] = []
    if _NAME.fullmatch(path.stem) is None:
        problems.append(f"{path}: the file's name must be the provider's: lower-case letters, digits, hyphens")
    values: dict[str, Any] = {}
    lines: dict[str, int] = {}
    for key_node, value_node in root.value:
        key = str(scalar(key_node))
        first = lines.setdefault(key, line_of(key_node))
        if key in values or first != line_of(key_node):
            problems.append(f"{path}:{line_of(key_node)}: {key}: is given twice, first on line {first}")
        elif key not in _KEYS:
            problems.append(f"{path}:{first}: {key}: is not a key of provider templates")
        else:
            try:
                values[key] = _KEYS[key](value_node)
            except _BadValueError as bad:
                problems.append(f"{path}:{line_of(bad.node)}: {key}: {bad}")
    problems += [f"{path}:1: {key}: is required" for key in ("display_name", "auth_mode") if key not in lines]
    if not problems:
        template = Template(name=path.stem, from_operator=from_operator, **values)
        problems += [
            f"{path}:{lines.get(key, 1)}: {key}: {text}" for key, text in _contradictions(template, set(values))
        ]
    if problems:
        raise TemplateError(problems)
    return template


def _contradictions(template: Template, given: set[str]) -> list[tuple[str, str]]:
    """Return what is wrong between keys that are right each for itself, as (key, text)."""
    found: list[tuple[str, str]] = []
    if template.auth_mode in {AuthMode.OAUTH2, AuthMode.OAUTH2_CC}:
        if not template.token_url:
            found.append(("token_url", f"is required for auth_mode {template.auth_mode.value}"))
    else:
        found += [
            (key, f"means nothing for auth_mode {template.auth_mode.value}") for key in sorted(given & _OAUTH_KEYS)
        ]
    needed = {entry.name: not entry.optional for entry in template.connection_config}
    texts: list[tuple[str, str]] = [
        (key, getattr(template, key)) for key in ("authorization_url", "token_url", "refresh_url", "revocation_url")
    ]
    for key in ("token_params", "refresh_params", "token_headers", "refresh_token_headers"):
        texts += [(key, text) for text in (getattr(template, key) or {}).values() if isinstance(text, str)]
    for key, text in texts:
        for name in interpolation.placeholders(text):
            if name not in needed:
                found.append((key, f"needs connection_config.{name}, which is not declared under connection_config"))
            elif not needed[name]:
                found.append((key, f"needs connection_config.{name}, which must then not be optional"))
    return list(dict.fromkeys(found))


def _text(node: Node) -> str:
    value = scalar(node)
    if not isinstance(value, str) or not value.strip():
        raise _BadValueError(node, "must be a text")
    if not value.isprintable():
        raise _BadValueError(node, "must be one line without control characters")
    return value


def _separator(node: Node) -> str:
    value = scalar(node)
    if value not in {" ", ",", "+", ";"}:
        raise _BadValueError(node, "must be one of ' ', ',', '+' and ';'")
    return str(value)


def _interpolated(node: Node) -> str:
    value = scalar(node)
    if isinstance(value, bool):
        value = "true" if value else "false"
    if value is None or isinstance(node, SequenceNode | MappingNode):
        raise _BadValueError(node, "must be a text")
    text = str(node.value) if isinstance(node, ScalarNode) and not isinstance(value, str) else str(value)
    if not text.isprintable():
        raise _BadValueError(node, "must be one line without control characters")
    if why := interpolation.why_malformed(text):
        raise _BadValueError(node, why)
    return text


def _url(node: Node) -> str:
    text = _interpolated(node)
    if not interpolation.is_url(text):
        raise _BadValueError(node, "must be an http or https URL, or begin with ${connectionConfig.NAME}")
    return text


def _web_page(node: Node) -> str:
    text = _text(node)
    if re.fullmatch(r"https?://[^\s]+", text) is None:
        raise _BadValueError(node, "must be the URL of a page")
    return text


def _list_of(read_item: Callable[[Node], str]) -> Callable[[Node], tuple[str, ...]]:
    def read_list(node: Node) -> tuple[str, ...]:
        if not isinstance(node, SequenceNode):
            raise _BadValueError(node, "must be a list")
        return tuple(read_item(item) for item in node.value)

    return read_list


def _pairs(node: Node) -> list[tuple[Node, str, Node]]:
    if not isinstance(node, MappingNode):
        raise _BadValueError(node, "must be a mapping")
    found: dict[str, tuple[Node, str, Node]] = {}
    for key_node, value_node in node.value:
        key = scalar(key_node)
        if not isinstance(key, str):
            raise _BadValueError(key_node, "has a key that is not a text")
        if key.lower() in found:
            raise _BadValueError(key_node, f"has {key} twice")
        found[key.lower()] = (key_node, key, value_node)
    return list(found.values())


def _parameters(node: Node) -> Mapping[str, str]:
    found = {}
    for key_node, key, value_node in _pairs(node):
        if _PARAMETER.fullmatch(key) is None or key in _OWN_PARAMETERS:
            raise _BadValueError(key_node, f"cannot set the parameter {key!r}")
        found[key] = _interpolated(value_node)
    return found


def _headers(node: Node) -> Mapping[str, str]:
    found = {}
    for key_node, key, value_node in _pairs(node):
        if _HEADER.fullmatch(key) is None or key.lower() in _OWN_HEADERS:
            raise _BadValueError(key_node, f"cannot set the header {key!r}")
        found[key] = _interpolated(value_node)
    return found


def _errors(node: Node) -> Mapping[str, str]:
    found = {}
    for _, key, value_node in _pairs(node):
        text = scalar(value_node)
        if not isinstance(text, str):
            raise _BadValueError(value_node, "must map error codes to texts")
        found[key] = text
    return found


def _member_of(kind: type[enum.Enum]) -> Callable[[Node], Any]:
    def read_member(node: Node) -> Any:
        value = scalar(node)
        for member in kind:
            if member.value == value:
                return member
        raise _BadValueError(node, f"must be one of {', '.join(str(member.value) for member in kind)}")

    return read_member


def _auth_mode(node: Node) -> AuthMode:
    mode: AuthMode = _member_of(AuthMode)(node)
    if mode not in MODES:
        raise _BadValueError(node, f"{mode.value} is not served yet")
    return mode


def _seconds(node: Node) -> float:
    value = scalar(node)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise _BadValueError(node, "must be a number of seconds")
    return float(value)


def _window(node: Node) -> float:
    return math.inf if scalar(node) == "unlimited" else _seconds(node)


def _count(node: Node) -> int:
    value = scalar(node)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise _BadValueError(node, "must be a whole number of at least 1")
    return value


def _config_fields(node: Node) -> tuple[ConnectionConfigField, ...]:
    fields = []
    for key_node, name, value_node in _pairs(node):
        if not is_config_name(name):
            raise _BadValueError(key_node, f"has the name {name!r}, which no placeholder can spell")
        values: dict[str, Any] = {}
        for inner_node, key, inner in _pairs(value_node):
            if key not in _FIELD_KEYS:
                raise _BadValueError(inner_node, f"{name}.{key} is not a key of connection-config fields")
            values[key] = _FIELD_KEYS[key](inner)
        fields.append(ConnectionConfigField(name=name, **values))
    return tuple(fields)


def _pattern(node: Node) -> str:
    text = _text(node)
    try:
        re.compile(text)
    except re.error as error:
        raise _BadValueError(node, f"is not a regular expression: {error.msg}") from None
    return text


def _flag(node: Node) -> bool:
    value = scalar(node)
    if not isinstance(value, bool):
        raise _BadValueError(node, "must be true or false")
    return value


_FIELD_KEYS: Final[Mapping[str, Callable[[Node], Any]]] = {
    "title": _text,
    "description": _text,
    "example": _text,
    "pattern": _pattern,
    "optional": _flag,
}

_OAUTH_READERS: Final[Mapping[str, Callable[[Node], Any]]] = {
    "authorization_url": _url,
    "token_url": _url,
    "refresh_url": _url,
    "revocation_url": _url,
    "default_scopes": _list_of(_text),
    "scope_separator": _separator,
    "token_params": _parameters,
    "refresh_params": _parameters,
    "token_headers": _headers,
    "refresh_token_headers": _headers,
    "body_format": _member_of(BodyFormat),
    "token_request_auth_method": _member_of(ClientAuth),
    "token_response_metadata": _list_of(_text),
    "expires_in_unit": _member_of(TimeUnit),
    "reauthorization_errors": _errors,
    "refresh_margin": _seconds,
    "default_lifetime": _seconds,
    "reuse_window": _window,
    "max_concurrency": _count,
    "idle_refresh_after": _seconds,
}
_OAUTH_KEYS: Final = frozenset(_OAUTH_READERS)

_KEYS: Final[Mapping[str, Callable[[Node], Any]]] = {
    "display_name": _text,
    "auth_mode": _auth_mode,
    "categories": _list_of(_text),
    "docs": _web_page,
    "connection_config": _config_fields,
    **_OAUTH_READERS,
}
