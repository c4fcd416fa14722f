"""The grammar of a template's texts: what is literal, what is a placeholder, what is a call.

text        = alternative *( " || " alternative )
alternative = *( literal / "${" inside "}" )
inside      = function "(" text [ "," text ] ")" / value *( "||" value )
value       = root [ "." path ] / "now:" format
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from server.providers.functions import CALLERS_FUNCTIONS, FUNCTIONS

_VALUE: Final = re.compile(r"([A-Za-z][A-Za-z0-9]{0,63})(?:\.([A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?")
_NOW: Final = re.compile(r"now:([^${}|]{1,64})")
_CALL: Final = re.compile(r"([A-Za-z0-9]{1,64})\((.*)\)", re.DOTALL)
_CONFIG_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
_MAX_NESTING: Final = 4

_STEP: Final = re.compile(r"step[1-9][0-9]?")
# Roots that stand alone, and those that have a path below them.
PLAIN_ROOTS: Final = frozenset(
    {"accessToken", "apiKey", "clientId", "clientSecret", "refreshToken", "random", "now", "assertion"}
)
PATH_ROOTS: Final = frozenset({"connectionConfig", "credentials", "assertionOption"})


class PlaceholderError(Exception):
    """A text's placeholders are not understood; says why."""


@dataclass(frozen=True, slots=True)
class Value:
    """`${root.path}`, and what is tried if it has no value."""

    root: str
    path: str
    fallbacks: tuple[Value, ...] = ()


@dataclass(frozen=True, slots=True)
class Call:
    """`${name(arguments)}`."""

    name: str
    arguments: tuple[Text, ...]


@dataclass(frozen=True, slots=True)
class Text:
    """A text's alternatives, each of literals and placeholders; the first whose values are all there counts."""

    alternatives: tuple[tuple[str | Value | Call, ...], ...]


@lru_cache(maxsize=4096)
def parse(text: str) -> Text:
    """Return a text's structure. Raises `PlaceholderError`."""
    return _text(text, 0)


def is_config_name(name: str) -> bool:
    """Return whether a placeholder can spell a key of the connection config."""
    return _CONFIG_NAME.fullmatch(name) is not None


def fitting_end(text: str, start: int) -> int:
    """Return the index after the brace that closes the `${` at `start`; the text's length if none does."""
    depth = 0
    for index in range(start, len(text)):
        if text.startswith("${", index):
            depth += 1
        elif text[index] == "}" and depth:
            depth -= 1
            if depth == 0:
                return index + 1
    return len(text)


def split_alternatives(text: str) -> list[str]:
    """Return a text's alternatives as texts: what stands between ` || ` outside of placeholders."""
    found, start, at = [], 0, 0
    while at < len(text):
        if text.startswith("${", at):
            at = fitting_end(text, at)
        elif text.startswith(" || ", at) and at > start:
            found.append(text[start:at])
            at += 4
            start = at
        else:
            at += 1
    return [*found, text[start:]]


def _text(text: str, nesting: int) -> Text:
    if nesting > _MAX_NESTING:
        raise PlaceholderError(f"nests placeholders deeper than {_MAX_NESTING}")
    alternatives: list[tuple[str | Value | Call, ...]] = []
    parts: list[str | Value | Call] = []
    literal = ""
    at = 0
    while at < len(text):
        if text.startswith("${", at):
            end = fitting_end(text, at)
            if text[end - 1] != "}" or end - at < 4:
                raise PlaceholderError("has a placeholder that is not closed or empty")
            if literal:
                parts.append(literal)
            literal = ""
            parts.append(_inside(text[at + 2 : end - 1].strip(), nesting))
            at = end
        elif text.startswith(" || ", at) and (parts or literal):
            alternatives.append((*parts, literal) if literal else tuple(parts))
            parts, literal = [], ""
            at += 4
        else:
            literal += text[at]
            at += 1
    alternatives.append((*parts, literal) if literal or not parts else tuple(parts))
    return Text(tuple(alternatives))


def _inside(text: str, nesting: int) -> Value | Call:
    if match := _CALL.fullmatch(text):
        return _call(match[1], match[2], nesting)
    first, *others = (_value(one.strip()) for one in text.split("||"))
    return Value(first.root, first.path, tuple(others))


def _value(text: str) -> Value:
    if match := _NOW.fullmatch(text):
        return Value("now", match[1])
    match = _VALUE.fullmatch(text)
    if match is None:
        raise PlaceholderError("has a placeholder that is not understood")
    root, path = match[1], match[2] or ""
    if root in PATH_ROOTS or _STEP.fullmatch(root):
        if not path or (root == "connectionConfig" and not is_config_name(path)):
            raise PlaceholderError(f"has a placeholder ${{{root}}} without a name that can be looked up")
    elif root not in PLAIN_ROOTS or path:
        raise PlaceholderError(f"has a placeholder for {root!r}, which does not exist")
    return Value(root, path)


def _call(name: str, inside: str, nesting: int) -> Call:
    if name in CALLERS_FUNCTIONS:
        raise PlaceholderError(f"calls {name}(), which signs the requests of callers and not ours")
    if name not in FUNCTIONS:
        raise PlaceholderError(f"calls {name}(), which does not exist")
    wanted = FUNCTIONS[name][0]
    texts = [inside]
    if wanted == 2:
        # The text may hold commas itself; the key that follows it may not.
        commas = [index for index, depth in _depths(inside) if inside[index] == "," and depth == 0]
        if not commas:
            raise PlaceholderError(f"calls {name}() with one argument; it takes two")
        texts = [inside[: commas[-1]], inside[commas[-1] + 1 :]]
    return Call(name, tuple(_text(text.strip(" "), nesting + 1) for text in texts))


def _depths(text: str) -> list[tuple[int, int]]:
    found, depth = [], 0
    for index, character in enumerate(text):
        if text.startswith("${", index):
            depth += 1
        elif character == "}" and depth:
            depth -= 1
        found.append((index, depth))
    return found
