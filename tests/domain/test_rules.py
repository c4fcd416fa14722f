"""The rules of the contract, for any input."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.domain import rules
from server.domain.errors import InvalidRequest

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)


def depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max((depth(item) for item in value.values()), default=0)
    if isinstance(value, list):
        return 1 + max((depth(item) for item in value), default=0)
    return 0


def strings(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [*value, *(text for item in value.values() for text in strings(item))]
    if isinstance(value, list):
        return [text for item in value for text in strings(item)]
    return [value] if isinstance(value, str) else []


@given(st.dictionaries(st.text(max_size=3), _JSON, max_size=3))
def test_an_object_is_taken_if_json_and_the_limits_take_it(value: dict[str, Any]) -> None:
    broken = list(rules.json_object("metadata", value))
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        fits = len(text.encode("utf-8", "surrogatepass")) <= rules.MAX_METADATA_BYTES
    except ValueError:
        fits = False
    fits = fits and depth(value) <= rules.MAX_METADATA_DEPTH and not any("\0" in text for text in strings(value))
    assert fits == (not broken)
    assert all(violation.field.startswith("metadata") for violation in broken)


@given(_JSON)
def test_normalising_changes_how_numbers_are_written_and_no_value(value: Any) -> None:
    normal = rules.normalise_json(value)
    assert rules.normalise_json(normal) == normal or "nan" in repr(value)
    assert normal == value or "nan" in repr(value)
    assert ".0" not in json.dumps(rules.normalise_json([float(number) for number in range(-3, 3)]))


@given(st.dictionaries(st.text(max_size=70), st.text(max_size=260), max_size=13))
def test_tags_that_are_taken_can_be_stored_and_found_again(values: dict[str, str]) -> None:
    broken = list(rules.tags("tags", values))
    stored = rules.normalise_tags(values)
    if broken:
        return
    assert len(stored) == len(values) <= rules.MAX_TAGS
    assert list(rules.tags("tags", stored)) == []
    assert rules.normalise_tags(stored) == stored
    assert all(key.isascii() and key == key.lower() and 1 <= len(key) <= 64 for key in stored)


@given(st.from_regex(r"[a-zA-Z][a-zA-Z0-9_\-./]{0,63}", fullmatch=True), st.text(min_size=1, max_size=255))
def test_a_good_tag_is_taken(key: str, value: str) -> None:
    broken = [violation.description for violation in rules.tags("tags", {key: value})]
    if key.lower() != "end_user_email":
        assert broken in ([], ["value has a control character"])


@given(st.text(max_size=300))
def test_one_look_at_a_name_agrees_with_the_violations(value: str) -> None:
    assert rules.is_name(value) == (not list(rules.name("connection_id", value)))


@given(st.lists(st.text(min_size=1), min_size=1, max_size=40))
def test_at_most_sixteen_violations_are_raised_together(fields: list[str]) -> None:
    found = rules.Violations()
    for field in fields:
        found.add(field, "is wrong")
    with pytest.raises(InvalidRequest) as caught:
        found.raise_if_any()
    assert [violation.field for violation in caught.value.violations] == fields[:16]
    assert caught.value.metadata["violations"] == str(min(16, len(fields)))


@given(st.integers(0, 10**9))
def test_a_page_size_is_brought_into_its_range(asked: int) -> None:
    size = rules.coerce_page_size(asked)
    assert size == (asked if 1 <= asked <= 1000 else 100 if asked == 0 else 1000)
