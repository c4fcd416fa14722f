"""XML answers as the objects that paths look into. Entities, DTDs and external references are refused."""

from __future__ import annotations

from typing import Any, Final
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

_MAX_DEPTH: Final = 32


def xml_fields(body: bytes) -> dict[str, Any] | None:
    """Return a document as `{root: ...}`, None if it is not well-formed or uses what is refused.

    Elements become keys by their local names; repeated ones a list; text alone a string; attributes keys with an `@`, and
    text beside them `#text`.
    """
    try:
        root = fromstring(body, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError):
        return None
    value = _value(root, 0)
    return None if value is None else {_local(root.tag): value}


def _value(element: Element, depth: int) -> Any:
    if depth > _MAX_DEPTH:
        return None
    fields: dict[str, Any] = {f"@{_local(name)}": value for name, value in element.attrib.items()}
    for child in element:
        name, value = _local(child.tag), _value(child, depth + 1)
        if name not in fields:
            fields[name] = value
        elif isinstance(fields[name], list):
            fields[name].append(value)
        else:
            fields[name] = [fields[name], value]
    text = (element.text or "").strip()
    if not fields:
        return text
    if text:
        fields["#text"] = text
    return fields


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]
