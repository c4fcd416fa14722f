"""How the values of a template's keys are read, each with the JSON Schema that says the same."""

from __future__ import annotations

import enum
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from server.providers import interpolation
from server.providers.yaml_nodes import MappingNode, Node, ScalarNode, SequenceNode, scalar

_PARAMETER: Final = re.compile(r"[\x21-\x7e]{1,128}")
_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}")  # RFC 9110 section 5.6.2
_OWN_HEADERS: Final = frozenset({"connection", "content-length", "cookie", "expect", "host", "transfer-encoding"})
_PLACEHOLDER_OF_SECRET: Final = re.compile(r"\$\{[^}]*\b(?:credentials|clientSecret|accessToken|refreshToken|apiKey)\b")
_SECRET_NAMES: Final = frozenset(
    {
        "accesstoken",
        "refreshtoken",
        "idtoken",
        "token",
        "clientsecret",
        "password",
        "privatekey",
        "secret",
        "sessiontoken",
    }
)


class BadValueError(Exception):
    """A value that its key does not allow; `node` is where."""

    def __init__(self, node: Node, text: str) -> None:
        super().__init__(text)
        self.node = node


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of value: how it is read (raises `BadValueError`), and its JSON Schema."""

    read: Callable[[Node], Any]
    schema: Mapping[str, Any] = field(default_factory=dict)


def _text(node: Node) -> str:
    text = _any_text(node)
    if not text.strip():
        raise BadValueError(node, "must be a text")
    return text


def _any_text(node: Node) -> str:
    value = scalar(node)
    if not isinstance(value, str):
        raise BadValueError(node, "must be a text")
    if not value.isprintable():
        raise BadValueError(node, "must be one line without control characters")
    if _PLACEHOLDER_OF_SECRET.search(value):
        raise BadValueError(node, "is seen by callers, and must not name a secret")
    return value


def _prose(node: Node) -> str:
    value = scalar(node)
    if not isinstance(value, str):
        raise BadValueError(node, "must be a text")
    text = " ".join(value.split())
    if not text.isprintable():
        raise BadValueError(node, "must not have control characters")
    return text


def scalar_text(node: Node) -> str:
    """Return any scalar as it is written."""
    value = scalar(node)
    if value is None or not isinstance(node, ScalarNode):
        raise BadValueError(node, "must be a text")
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else str(node.value)


def _interpolated(node: Node) -> str:
    text = scalar_text(node)
    if not text.isprintable():
        raise BadValueError(node, "must be one line without control characters")
    if why := interpolation.why_malformed(text):
        raise BadValueError(node, why)
    return text


def _url(node: Node) -> str:
    text = _interpolated(node)
    if not interpolation.is_url(text):
        raise BadValueError(node, "must be an http or https URL, or begin with ${connectionConfig.NAME}")
    return text


def _web_page(node: Node) -> str:
    text = _text(node)
    if re.fullmatch(r"https?://[^\s]+", text) is None:
        raise BadValueError(node, "must be the URL of a page")
    return text


def _separator(node: Node) -> str:
    value = scalar(node)
    if value not in {" ", ",", "+", ";"}:
        raise BadValueError(node, "must be one of ' ', ',', '+' and ';'")
    return str(value)


def pairs(node: Node) -> list[tuple[Node, str, Node]]:
    """Return a mapping's keys and values with the key's node. Raises `BadValueError`, also for a key given twice."""
    if not isinstance(node, MappingNode):
        raise BadValueError(node, "must be a mapping")
    found: dict[str, tuple[Node, str, Node]] = {}
    for key_node, value_node in node.value:
        key = scalar_text(key_node) if isinstance(key_node, ScalarNode) and scalar(key_node) is not None else None
        if key is None:
            raise BadValueError(key_node, "has a key that is not a text")
        if key in found:
            raise BadValueError(key_node, f"has {key} twice")
        found[key] = (key_node, key, value_node)
    return list(found.values())


def _tree(node: Node) -> Any:
    """Return nested parameters: mappings, lists, numbers, booleans, and texts with placeholders."""
    if isinstance(node, MappingNode):
        found = {}
        for key_node, key, value_node in pairs(node):
            if _PARAMETER.fullmatch(key) is None:
                raise BadValueError(key_node, f"cannot set the parameter {key!r}")
            found[key] = _tree(value_node)
        return found
    if isinstance(node, SequenceNode):
        return [_tree(item) for item in node.value]
    value = scalar(node)
    if isinstance(value, bool | int | float):
        return value
    if value is None:
        raise BadValueError(node, "must be a text")
    if why := interpolation.why_malformed(value):
        raise BadValueError(node, why)
    if any(not (character.isprintable() or character in "\n\t") for character in value):
        raise BadValueError(node, "must be one line without control characters")
    return value


def _parameters(node: Node) -> Mapping[str, Any]:
    if not isinstance(node, MappingNode):
        raise BadValueError(node, "must be a mapping")
    found: Mapping[str, Any] = _tree(node)
    return found


def _headers(node: Node) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for key_node, key, value_node in pairs(node):
        if _HEADER.fullmatch(key) is None or key.lower() in _OWN_HEADERS:
            raise BadValueError(key_node, f"cannot set the header {key!r}")
        if any(key.lower() == other.lower() for other in found):
            raise BadValueError(key_node, f"has {key} twice")
        found[key] = _interpolated(value_node)
    return found


def _header_names(node: Node) -> tuple[str, ...]:
    """Return names of response headers: a list, or the values of a mapping."""
    items = [value for _, _, value in pairs(node)] if isinstance(node, MappingNode) else None
    if items is None and isinstance(node, SequenceNode):
        items = list(node.value)
    if items is None:
        raise BadValueError(node, "must be a list")
    found = []
    for item in items:
        name = _text(item)
        if _HEADER.fullmatch(name) is None:
            raise BadValueError(item, f"{name!r} is not the name of a header")
        found.append(name)
    return tuple(found)


def _metadata_paths(node: Node) -> tuple[str, ...]:
    """Return paths whose values callers will see: none may be a secret's."""
    paths: tuple[str, ...] = list_of(TEXT).read(node)
    for path, item in zip(paths, node.value, strict=True):
        name = "".join(filter(str.isalpha, path.rpartition(".")[2])).lower()
        if name in _SECRET_NAMES:
            raise BadValueError(item, f"would show {path} to callers, in the connection config")
    return paths


def _errors(node: Node) -> Mapping[str, str]:
    found = {}
    for _, key, value_node in pairs(node):
        text = scalar(value_node)
        if not isinstance(text, str):
            raise BadValueError(value_node, "must map error codes to texts")
        found[key] = text
    return found


def _number(node: Node, text: str) -> float:
    value = scalar(node)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise BadValueError(node, text)
    return float(value)


def _seconds(node: Node) -> float:
    return _number(node, "must be a number of seconds")


def _milliseconds(node: Node) -> float:
    return _number(node, "must be a number of milliseconds") / 1000


def _window(node: Node) -> float:
    return math.inf if scalar(node) == "unlimited" else _seconds(node)


def _count(node: Node) -> int:
    value = scalar(node)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise BadValueError(node, "must be a whole number of at least 1")
    return value


def _flag(node: Node) -> bool:
    value = scalar(node)
    if isinstance(value, str) and value in {"true", "false"}:
        return value == "true"
    if not isinstance(value, bool):
        raise BadValueError(node, "must be true or false")
    return value


def plain(node: Node) -> Any:
    """Return any value as it is."""
    if isinstance(node, MappingNode):
        return {key: plain(value) for _, key, value in pairs(node)}
    if isinstance(node, SequenceNode):
        return [plain(item) for item in node.value]
    return scalar(node)


def list_of(kind: Kind) -> Kind:
    """Return the kind of lists of something."""

    def read(node: Node) -> tuple[Any, ...]:
        if not isinstance(node, SequenceNode):
            raise BadValueError(node, "must be a list")
        return tuple(kind.read(item) for item in node.value)

    return Kind(read, {"type": "array", "items": kind.schema})


def one_of(members: type[enum.Enum]) -> Kind:
    """Return the kind of an enumeration's values."""

    def read(node: Node) -> Any:
        value = scalar(node)
        for member in members:
            if member.value == value:
                return member
        raise BadValueError(node, f"must be one of {', '.join(str(member.value) for member in members)}")

    return Kind(read, {"enum": [member.value for member in members]})


def texts(*allowed: str) -> Kind:
    """Return the kind of a few texts."""

    def read(node: Node) -> str:
        value = scalar(node)
        if value not in allowed:
            raise BadValueError(node, f"must be one of {', '.join(allowed)}")
        return str(value)

    return Kind(read, {"enum": list(allowed)})


_STRING: Final = {"type": "string"}
_OBJECT: Final = {"type": "object"}

TEXT: Final = Kind(_text, {**_STRING, "minLength": 1})
ANY_TEXT: Final = Kind(_any_text, _STRING)
PROSE: Final = Kind(_prose, _STRING)
SCALAR: Final = Kind(scalar_text, {"type": ["string", "number", "boolean"]})
URL: Final = Kind(_url, _STRING)
INTERPOLATED: Final = Kind(_interpolated, {"type": ["string", "number", "boolean"]})
WEB_PAGE: Final = Kind(_web_page, {**_STRING, "format": "uri"})
SEPARATOR: Final = Kind(_separator, {"enum": [" ", ",", "+", ";"]})
PARAMETERS: Final = Kind(_parameters, _OBJECT)
HEADERS: Final = Kind(_headers, {**_OBJECT, "additionalProperties": {"type": ["string", "number", "boolean"]}})
HEADER_NAMES: Final = Kind(_header_names, {"anyOf": [{"type": "array", "items": _STRING}, _OBJECT]})
METADATA_PATHS: Final = Kind(_metadata_paths, {"type": "array", "items": _STRING})
ERRORS: Final = Kind(_errors, {**_OBJECT, "additionalProperties": _STRING})
SECONDS: Final = Kind(_seconds, {"type": "number", "minimum": 0})
MILLISECONDS: Final = Kind(_milliseconds, {"type": "number", "minimum": 0})
WINDOW: Final = Kind(_window, {"anyOf": [{"type": "number", "minimum": 0}, {"const": "unlimited"}]})
COUNT: Final = Kind(_count, {"type": "integer", "minimum": 1})
FLAG: Final = Kind(_flag, {"type": "boolean"})
PLAIN: Final = Kind(plain, {})
