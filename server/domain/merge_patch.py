"""JSON merge patch (RFC 7396)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def merge_patch(target: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """Return `target` with `patch` merged into it: null deletes a key, objects merge, anything else replaces.

    Neither argument is changed. Source: RFC 7396 section 2, for patches that are objects.
    """
    result = dict(target)
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        elif isinstance(value, Mapping):
            present = result.get(name)
            result[name] = merge_patch(present if isinstance(present, Mapping) else {}, value)
        else:
            result[name] = value
    return result
