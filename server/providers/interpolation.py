"""Values of the connection config, put into what templates say: `${connectionConfig.subdomain}`.

In a URL a value can fill the place it was given and nothing else: in the host it must look like (part of) a host name,
elsewhere it is percent-encoded. A URL that begins with a placeholder takes a whole base URL from the config.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import quote

_PLACEHOLDER: Final = re.compile(r"\$\{connectionConfig\.([A-Za-z_][A-Za-z0-9_-]{0,63})\}")
_URL: Final = re.compile(r"(https?://)([^/?#]*)(.*)", re.DOTALL)

_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST: Final = rf"{_LABEL}(?:\.{_LABEL})*"
_PORT: Final = r"(?::[0-9]{1,5})?"
_HOST_VALUE: Final = re.compile(_HOST)
_AUTHORITY_VALUE: Final = re.compile(_HOST + _PORT)
_PATH: Final = r"[A-Za-z0-9\-._~!$&'()*+,;=:@%/]*"
_BASE_URL: Final = re.compile(rf"https?://{_HOST}{_PORT}(?:/{_PATH})?")
_WHOLE_URL: Final = re.compile(rf"https?://{_HOST}{_PORT}(?:/{_PATH})?(?:\?[A-Za-z0-9\-._~!$&'()*+,;=:@%/?]*)?")

MAX_VALUE: Final = 2048


class InterpolationError(Exception):
    """A placeholder has no value, or one that does not fit its place. Names the key and never the value."""

    def __init__(self, name: str, description: str) -> None:
        super().__init__(f"connection_config.{name} {description}")
        self.name = name
        self.description = description


def placeholders(text: str) -> tuple[str, ...]:
    """Return the connection-config keys that a text needs, in order, each once."""
    return tuple(dict.fromkeys(_PLACEHOLDER.findall(text)))


def is_well_formed(text: str) -> bool:
    """Return whether every `${` of a text belongs to a placeholder that is understood."""
    return "${" not in _PLACEHOLDER.sub("", text)


def is_url(text: str) -> bool:
    """Return whether a template's text can become a URL: it says http or https itself, or begins with a placeholder."""
    if re.search(r"[^!-~]|[#\\]", text):
        return False
    if match := _URL.fullmatch(text):
        host = _PLACEHOLDER.sub("x", match[2])
        return re.fullmatch(_HOST + _PORT, host) is not None
    return _PLACEHOLDER.match(text) is not None


def render_text(text: str, config: Mapping[str, Any]) -> str:
    """Return a parameter or header with its values. Raises `InterpolationError`."""
    return _fill(text, config, _plain)


def render_url(text: str, config: Mapping[str, Any]) -> str:
    """Return a URL with its values. Raises `InterpolationError`."""
    if match := _URL.fullmatch(text):
        scheme, authority, rest = match.groups()
        whole = _PLACEHOLDER.fullmatch(authority) is not None
        host = _fill(authority, config, _authority_value if whole else _host_value)
        return scheme + host + _fill(rest, config, _encoded)
    first = _PLACEHOLDER.match(text)
    if first is None:
        raise ValueError("a template's URL says http or https, or begins with a placeholder")
    rest = text[first.end() :]
    base = _value(first[1], config)
    if (_BASE_URL if rest else _WHOLE_URL).fullmatch(base) is None:
        raise InterpolationError(first[1], "must be an http or https URL without user name and fragment")
    return (base.rstrip("/") if rest else base) + _fill(rest, config, _encoded)


def _fill(text: str, config: Mapping[str, Any], convert: Callable[[str, str], str]) -> str:
    return _PLACEHOLDER.sub(lambda match: convert(match[1], _value(match[1], config)), text)


def _value(name: str, config: Mapping[str, Any]) -> str:
    value = config.get(name)
    if isinstance(value, bool):
        text = "true" if value else "false"
    elif isinstance(value, float) and value.is_integer():
        text = str(int(value))
    elif isinstance(value, str | int | float):
        text = str(value)
    elif value is None:
        text = ""
    else:
        raise InterpolationError(name, "must be a text, a number or a boolean")
    if not text:
        raise InterpolationError(name, "is missing")
    if len(text) > MAX_VALUE:
        raise InterpolationError(name, f"is longer than {MAX_VALUE} characters")
    return text


def _plain(name: str, value: str) -> str:
    if not value.isprintable():
        raise InterpolationError(name, "must not contain control characters")
    return value


def _host_value(name: str, value: str) -> str:
    if _HOST_VALUE.fullmatch(value) is None:
        raise InterpolationError(name, "must be a host name or a part of one: letters, digits, hyphens and dots")
    return value


def _authority_value(name: str, value: str) -> str:
    if _AUTHORITY_VALUE.fullmatch(value) is None:
        raise InterpolationError(name, "must be a host name, with a port if it needs one")
    return value


def _encoded(name: str, value: str) -> str:
    if value in {".", ".."}:
        raise InterpolationError(name, "must not be a relative path")
    try:
        return quote(value, safe="")
    except UnicodeEncodeError:
        raise InterpolationError(name, "is not valid Unicode") from None
