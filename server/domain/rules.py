"""What a request may hold. Each rule yields violations; a request that breaks any is refused whole.

The limits are those of the contract and stand here once.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from server.domain.errors import InvalidRequest, Violation

MAX_NAME: Final = 255
MAX_TAGS: Final = 10
MAX_TAG_KEY: Final = 64
MAX_TAG_VALUE: Final = 255
MAX_METADATA_BYTES: Final = 64 * 1024
MAX_METADATA_DEPTH: Final = 8
MAX_SECRET_BYTES: Final = 64 * 1024
MAX_BATCH: Final = 100
MAX_PAGE_SIZE: Final = 1000
DEFAULT_PAGE_SIZE: Final = 100
MAX_MIN_TTL: Final = 24 * 3600.0
MAX_VIOLATIONS: Final = 16
MAX_SCOPES: Final = 200
MAX_FIELDS: Final = 50

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_TAG_KEY: Final = re.compile(r"[a-z][a-z0-9_\-./]*\Z")
# Deliberately loose (RFC 5321 allows far more than people expect): one @, no blanks, a dot-separated host after it.
_EMAIL: Final = re.compile(r"[^@\s]{1,64}@[^@\s.]+(\.[^@\s.]+)+\Z")
_ENVIRONMENT: Final = re.compile(r"[a-z][a-z0-9-]{0,62}\Z")


class Violations:
    """Collects violations and then raises them together."""

    def __init__(self) -> None:
        self._found: list[Violation] = []

    def add(self, field: str, description: str) -> None:
        """Record that `field` breaks a rule."""
        if len(self._found) < MAX_VIOLATIONS:
            self._found.append(Violation(field, description))

    def extend(self, violations: Iterable[Violation]) -> None:
        """Record violations found elsewhere."""
        for violation in violations:
            self.add(violation.field, violation.description)

    def check(self, rule: Callable[..., Iterable[Violation]], *args: Any, **kwargs: Any) -> None:
        """Apply one of the rules of this module."""
        self.extend(rule(*args, **kwargs))

    def raise_if_any(self) -> None:
        """Raise `InvalidRequest` if anything was recorded."""
        if self._found:
            raise InvalidRequest(self._found)


def is_name(value: str) -> bool:
    """Return whether `value` can be a `connection_id` or `provider_config_key`."""
    return 0 < len(value) <= MAX_NAME and _CONTROL.search(value) is None


def name(field: str, value: str) -> Iterator[Violation]:
    """`connection_id`, `provider_config_key`: 1 to 255 characters, no control characters."""
    if not value:
        yield Violation(field, "is required")
    else:
        yield from text(field, value)


def text(field: str, value: str, limit: int = MAX_NAME) -> Iterator[Violation]:
    """Optional text: at most `limit` characters, no control characters."""
    if len(value) > limit:
        yield Violation(field, f"has {len(value)} characters; at most {limit} are allowed")
    if _CONTROL.search(value):
        yield Violation(field, "has a control character")


def secret(field: str, value: str) -> Iterator[Violation]:
    """A token, key or password: at most 64 KiB, no NUL."""
    if len(value.encode("utf-8", "surrogatepass")) > MAX_SECRET_BYTES:
        yield Violation(field, f"is longer than {MAX_SECRET_BYTES} bytes")
    if "\x00" in value:
        yield Violation(field, "has a NUL character")


def environment_name(field: str, value: str) -> Iterator[Violation]:
    """The name of an environment."""
    if not _ENVIRONMENT.match(value):
        yield Violation(field, "must be 1 to 63 lower-case letters, digits and dashes, starting with a letter")


def page_size(field: str, value: int) -> Iterator[Violation]:
    """A page size: not negative."""
    if value < 0:
        yield Violation(field, "must not be negative")


def coerce_page_size(value: int) -> int:
    """Return the page size to use for what was asked for."""
    return min(value, MAX_PAGE_SIZE) or DEFAULT_PAGE_SIZE


def scopes(field: str, values: Sequence[str]) -> Iterator[Violation]:
    """Scopes: at most 200, each a name."""
    if len(values) > MAX_SCOPES:
        yield Violation(field, f"has {len(values)} scopes; at most {MAX_SCOPES} are allowed")
    for index, value in enumerate(values[:MAX_SCOPES]):
        yield from name(f"{field}[{index}]", value)


def tags(field: str, values: Mapping[str, str]) -> Iterator[Violation]:
    """Tags: at most 10; keys by pattern and unique in lower case; values 1 to 255 characters."""
    if len(values) > MAX_TAGS:
        yield Violation(field, f"has {len(values)} tags; at most {MAX_TAGS} are allowed")
    seen: dict[str, str] = {}
    for key, value in sorted(values.items())[: MAX_TAGS + MAX_VIOLATIONS]:
        lowered = key.lower()
        where = f'{field}["{key[:MAX_TAG_KEY]}"]'
        if len(key) > MAX_TAG_KEY:
            yield Violation(where, f"key has {len(key)} characters; at most {MAX_TAG_KEY} are allowed")
        elif not _TAG_KEY.match(lowered) or not key.isascii():
            yield Violation(where, "key must start with a letter, then letters, digits and _ - . /")
        if lowered in seen:
            yield Violation(where, f'key is equal to "{seen[lowered]}" in lower case')
        seen[lowered] = key
        if not 1 <= len(value) <= MAX_TAG_VALUE:
            yield Violation(where, f"value has {len(value)} characters; 1 to {MAX_TAG_VALUE} are allowed")
        elif _CONTROL.search(value):
            yield Violation(where, "value has a control character")
        elif lowered == "end_user_email" and not _EMAIL.match(value):
            yield Violation(where, "must be an email address")


def normalise_tags(values: Mapping[str, str]) -> dict[str, str]:
    """Return tags as they are stored: keys in lower case, sorted."""
    return dict(sorted((key.lower(), value) for key, value in values.items()))


def json_object(field: str, value: Mapping[str, Any]) -> Iterator[Violation]:
    """Metadata and connection config: depth 8, no NaN or infinity, no NUL, 64 KiB as compact JSON."""
    broken = list(_json_values(field, value, depth=1))
    if broken:
        yield from broken
        return
    size = len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass"))
    if size > MAX_METADATA_BYTES:
        yield Violation(field, f"has {size} bytes as JSON; at most {MAX_METADATA_BYTES} are allowed")


def _json_values(path: str, value: Any, depth: int) -> Iterator[Violation]:
    if isinstance(value, Mapping):
        if depth > MAX_METADATA_DEPTH:
            yield Violation(path, f"is nested deeper than {MAX_METADATA_DEPTH} levels")
            return
        for key, item in value.items():
            if "\x00" in key:
                yield Violation(path, "has a key with a NUL character")
            yield from _json_values(f"{path}.{key}"[:200], item, depth + 1)
    elif isinstance(value, list):
        if depth > MAX_METADATA_DEPTH:
            yield Violation(path, f"is nested deeper than {MAX_METADATA_DEPTH} levels")
            return
        for index, item in enumerate(value):
            yield from _json_values(f"{path}[{index}]"[:200], item, depth + 1)
    elif isinstance(value, float) and not math.isfinite(value):
        yield Violation(path, "is not a finite number; JSON has no NaN or infinity")
    elif isinstance(value, str) and "\x00" in value:
        yield Violation(path, "has a NUL character")


def normalise_json(value: Any) -> Any:
    """Return a JSON value with integral numbers as integers, which a `google.protobuf.Struct` carries as doubles."""
    if isinstance(value, Mapping):
        return {key: normalise_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [normalise_json(item) for item in value]
    if isinstance(value, float) and value.is_integer() and abs(value) <= 2**53:
        return int(value)
    return value
