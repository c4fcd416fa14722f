"""Values put into what templates say: `${connectionConfig.subdomain}`, `${base64(${credentials.user}:x)}`, `${a || b}`.

In a URL a value can fill the place it was given and nothing else: in the host it must look like (part of) a host name,
elsewhere it is percent-encoded. A URL that begins with a placeholder takes a whole base URL from its value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

from server.domain.secret import Secret
from server.providers.functions import FUNCTIONS, format_time
from server.providers.placeholders import Call, PlaceholderError, Text, Value, fitting_end, parse, split_alternatives
from server.providers.signing import SigningError

_URL: Final = re.compile(r"(https?://)((?:\$\{[^}]*\}|[^/?#])*)(.*)", re.DOTALL)

_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST: Final = rf"{_LABEL}(?:\.{_LABEL})*"
_PORT: Final = r"(?::[0-9]{1,5})?"
_HOST_VALUE: Final = re.compile(_HOST)
_AUTHORITY_VALUE: Final = re.compile(_HOST + _PORT)
_PATH: Final = r"[A-Za-z0-9\-._~!$&'()*+,;=:@%/]*"
_PATH_VALUE: Final = re.compile(_PATH)
_BASE_URL: Final = re.compile(rf"https?://{_HOST}{_PORT}(?:/{_PATH})?")
_WHOLE_URL: Final = re.compile(rf"https?://{_HOST}{_PORT}(?:/{_PATH})?(?:\?[A-Za-z0-9\-._~!$&'()*+,;=:@%/?]*)?")

MAX_VALUE: Final = 2048
_MAX_SECRET: Final = 64 * 1024
CONFIG: Final = "connectionConfig"


class InterpolationError(Exception):
    """A placeholder has no value, or one that does not fit its place. Names the value and never shows it.

    `name` is the key below `root`: `subdomain` for `${connectionConfig.subdomain}`.
    """

    def __init__(self, name: str, description: str, *, root: str = CONFIG) -> None:
        shown = "connection_config" if root == CONFIG else root
        super().__init__(f"{shown}.{name} {description}" if name else f"{shown} {description}")
        self.root = root
        self.name = name
        self.description = description


@dataclass(frozen=True, slots=True)
class Values:
    """What placeholders stand for, by their root.

    `config` is the connection config, `credentials` the customer's values, `plain` those without a dot (`accessToken`,
    `clientId`), `steps` the decoded answers of earlier steps by name (`step1`). `now` is the instant of `${now:...}`.
    """

    config: Mapping[str, Any] = field(default_factory=dict)
    credentials: Mapping[str, Secret] = field(default_factory=dict)
    plain: Mapping[str, Secret] = field(default_factory=dict)
    steps: Mapping[str, Any] = field(default_factory=dict, repr=False)
    now: float = 0.0

    def find(self, root: str, path: str) -> Any:
        """Return the value of `${root.path}`, None if there is none."""
        if root == CONFIG:
            return self.config.get(path)
        if root == "credentials":
            return self._credential(path)
        if root in self.steps:
            return at_path(self.steps[root], path)
        if root == "now":
            return format_time(self.now, path or "X")
        secret = self.plain.get(root)
        return secret.reveal() if secret and not path else None

    def _credential(self, path: str) -> str | None:
        if secret := self.credentials.get(path):
            return secret.reveal()
        # A key that providers hand out as `id:secret` in one piece.
        name, _, part = path.rpartition(".")
        whole = self.credentials.get(name)
        if whole is None or part not in {"id", "secret"} or ":" not in whole.reveal():
            return None
        first, _, second = whole.reveal().partition(":")
        return first if part == "id" else second


def at_path(value: Any, path: str) -> Any:
    """Return what is at a dotted path (`data.items.0.id`) in decoded JSON, None if nothing is."""
    for step in path.split(".") if path else ():
        if isinstance(value, Mapping):
            value = value.get(step)
        elif isinstance(value, list) and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        else:
            return None
    return value


def references(text: str) -> tuple[tuple[str, str], ...]:
    """Return the (root, path) of every value that a text names, in order, each once."""
    return tuple(dict.fromkeys(_references(parse(text))))


def _references(text: Text) -> Iterator[tuple[str, str]]:
    for alternative in text.alternatives:
        for part in alternative:
            if isinstance(part, Value):
                yield part.root, part.path
            elif isinstance(part, Call):
                for argument in part.arguments:
                    yield from _references(argument)


def placeholders(text: str) -> tuple[str, ...]:
    """Return the connection-config keys that a text needs, in order, each once: those without a fallback."""
    parsed = parse(text)
    if len(parsed.alternatives) > 1:
        return ()
    return tuple(dict.fromkeys(name for root, name in _needed(parsed) if root == CONFIG))


def _needed(text: Text) -> Iterator[tuple[str, str]]:
    for part in text.alternatives[0] if len(text.alternatives) == 1 else ():
        if isinstance(part, Value) and not part.fallbacks:
            yield part.root, part.path
        elif isinstance(part, Call):
            for argument in part.arguments:
                yield from _needed(argument)


def why_malformed(text: str) -> str | None:
    """Return what is wrong with a text's placeholders, None if they are understood."""
    try:
        parse(text)
    except PlaceholderError as error:
        return str(error)
    return None


def is_url(text: str) -> bool:
    """Return whether a template's text can become a URL: it says http or https itself, or begins with a placeholder."""
    return all(_is_one_url(one) for one in split_alternatives(text))


def _is_one_url(text: str) -> bool:
    if re.search(r"[^!-~]|[#\\]", _without_placeholders(text)):
        return False
    if match := _URL.fullmatch(text):
        return re.fullmatch(_HOST + _PORT, _without_placeholders(match[2])) is not None
    return text.startswith("${")


def _without_placeholders(text: str) -> str:
    shortened, at = "", 0
    while (start := text.find("${", at)) >= 0:
        shortened += text[at:start] + "x"
        at = fitting_end(text, start)
    return shortened + text[at:]


def render_text(text: str, values: Values) -> str:
    """Return a parameter or header with its values. Raises `InterpolationError`."""
    return _fill(text, values, _plain)


def render_secret(text: str, values: Values) -> str:
    """Return a text that may span lines (a key) with its values. Raises `InterpolationError`."""
    return _fill(text, values, _any)


def render_tree(tree: Any, values: Values) -> Any:
    """Return nested parameters with their values: texts are filled in, everything else stays. Raises `InterpolationError`."""
    if isinstance(tree, Mapping):
        return {key: render_tree(item, values) for key, item in tree.items()}
    if isinstance(tree, list | tuple):
        return [render_tree(item, values) for item in tree]
    return _fill(tree, values, _any) if isinstance(tree, str) else tree


def render_url(text: str, values: Values, *, skip_encode: frozenset[str] = frozenset()) -> str:
    """Return a URL with its values. Raises `InterpolationError`.

    Values of the connection config named in `skip_encode` may bring several path segments.
    """
    failure: InterpolationError | None = None
    for alternative in split_alternatives(text):
        try:
            return _render_one_url(alternative, values, skip_encode)
        except InterpolationError as error:
            failure = failure or error
    assert failure is not None
    raise failure


def _render_one_url(text: str, values: Values, skip_encode: frozenset[str]) -> str:
    def encoded(part: Value, value: str) -> str:
        return _path(part, value) if part.root == CONFIG and part.path in skip_encode else _encoded(part, value)

    if match := _URL.fullmatch(text):
        scheme, authority, rest = match.groups()
        whole = authority.startswith("${") and fitting_end(authority, 0) == len(authority)
        host = _fill(authority, values, _authority_value if whole else _host_value)
        return str(scheme) + host + _fill(rest, values, encoded)
    if not text.startswith("${"):
        raise ValueError("a template's URL says http or https, or begins with a placeholder")
    end = fitting_end(text, 0)
    rest = text[end:]
    base = _fill(text[:end], values, _any)
    if (_BASE_URL if rest else _WHOLE_URL).fullmatch(base) is None:
        root, path = references(text[:end])[0]
        raise InterpolationError(path, "must be an http or https URL without user name and fragment", root=root)
    return (base.rstrip("/") if rest else base) + _fill(rest, values, encoded)


_Convert = Callable[[Value, str], str]


def _fill(text: str, values: Values, convert: _Convert) -> str:
    return _fill_parsed(parse(text), values, convert)


def _fill_parsed(text: Text, values: Values, convert: _Convert) -> str:
    failure: InterpolationError | None = None
    for alternative in text.alternatives:
        try:
            return "".join(part if isinstance(part, str) else _fill_part(part, values, convert) for part in alternative)
        except InterpolationError as error:
            failure = failure or error
    assert failure is not None
    raise failure


def _fill_part(part: Value | Call, values: Values, convert: _Convert) -> str:
    if isinstance(part, Value):
        return convert(part, _value(part, values))
    arguments = [_fill_parsed(argument, values, _any) for argument in part.arguments]
    place = Value(part.name + "()", "")
    try:
        return convert(place, FUNCTIONS[part.name][1](*arguments))
    except SigningError as error:
        named = next(iter(_references(part.arguments[-1])), (part.name, ""))
        raise InterpolationError(named[1], str(error), root=named[0]) from None


def _value(part: Value, values: Values) -> str:
    try:
        return _one_value(part, values)
    except InterpolationError:
        for fallback in part.fallbacks:
            try:
                return _one_value(fallback, values)
            except InterpolationError:
                continue
        raise


def _one_value(part: Value, values: Values) -> str:
    value = values.find(part.root, part.path)
    if isinstance(value, bool):
        text = "true" if value else "false"
    elif isinstance(value, float) and value.is_integer():
        text = str(int(value))
    elif isinstance(value, str | int | float):
        text = str(value)
    elif value is None:
        text = ""
    else:
        raise InterpolationError(part.path, "must be a text, a number or a boolean", root=part.root)
    if not text:
        raise InterpolationError(part.path, "is missing", root=part.root)
    limit = MAX_VALUE if part.root == CONFIG else _MAX_SECRET
    if len(text) > limit:
        raise InterpolationError(part.path, f"is longer than {limit} characters", root=part.root)
    return text


def _any(_part: Value, value: str) -> str:
    return value


def _plain(part: Value, value: str) -> str:
    if not value.isprintable():
        raise InterpolationError(part.path, "must not contain control characters", root=part.root)
    return value


def _host_value(part: Value, value: str) -> str:
    if _HOST_VALUE.fullmatch(value) is None:
        what = "must be a host name or a part of one: letters, digits, hyphens and dots"
        raise InterpolationError(part.path, what, root=part.root)
    return value


def _authority_value(part: Value, value: str) -> str:
    if _AUTHORITY_VALUE.fullmatch(value) is None:
        raise InterpolationError(part.path, "must be a host name, with a port if it needs one", root=part.root)
    return value


def _path(part: Value, value: str) -> str:
    if _PATH_VALUE.fullmatch(value) is None or {".", "..", "%2e", "%2e%2e"} & set(value.lower().split("/")):
        raise InterpolationError(part.path, "must be a path without `..`", root=part.root)
    return value


def _encoded(part: Value, value: str) -> str:
    if value in {".", ".."}:
        raise InterpolationError(part.path, "must not be a relative path", root=part.root)
    try:
        return quote(value, safe="")
    except UnicodeEncodeError:
        raise InterpolationError(part.path, "is not valid Unicode", root=part.root) from None
