"""YAML 1.2 with line numbers: a small, bounded subset, read into nodes that know where they stand."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, ScalarEvent
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

MAX_FILE: Final = 2 * 1024 * 1024
_MAX_DEPTH: Final = 16
_TAG: Final = "tag:yaml.org,2002:"

__all__ = [
    "MAX_FILE",
    "MappingNode",
    "Node",
    "ScalarNode",
    "SequenceNode",
    "YamlFileError",
    "line_of",
    "read",
    "scalar",
]


class YamlFileError(Exception):
    """A file that is no YAML of the kind read here. `line` counts from 1."""

    def __init__(self, line: int, text: str) -> None:
        super().__init__(text)
        self.line = line
        self.text = text


def read(path: Path) -> MappingNode:
    """Return the mapping that a file consists of. Raises `YamlFileError`, and `OSError` if it cannot be opened."""
    with path.open("rb") as file:
        content = file.read(MAX_FILE + 1)
    if len(content) > MAX_FILE:
        raise YamlFileError(1, f"the file is larger than {MAX_FILE} bytes")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise YamlFileError(content.count(b"\n", 0, error.start) + 1, "the file is not UTF-8") from None
    try:
        _check_events(text)
        root = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise YamlFileError(mark.line + 1 if mark else 1, error.problem or "this is not YAML") from None
    except YAMLError:
        raise YamlFileError(1, "this is not YAML") from None
    if not isinstance(root, MappingNode):
        raise YamlFileError(1, "the file must be a mapping of keys to values")
    return root


def scalar(node: Node) -> str | int | float | bool | None:
    """Return a scalar's value by the core schema of YAML 1.2; for a mapping, a sequence or null, None."""
    if not isinstance(node, ScalarNode):
        return None
    text = str(node.value)
    kind = str(node.tag).removeprefix(_TAG)
    try:
        if kind == "bool":
            return text.lower() == "true"
        if kind == "int":
            return int(text.replace("_", ""), 0)
        if kind == "float":
            return float(text.replace("_", "").replace(".inf", "inf").replace(".nan", "nan"))
    except ValueError:
        return text
    return None if kind == "null" else text


def line_of(node: Node) -> int:
    """Return the line that a node begins on, counted from 1."""
    return int(node.start_mark.line) + 1


def _check_events(text: str) -> None:
    """Refuse what a template has no use for before anything is built from it: aliases, tags, deep nesting."""
    depth = 0
    for event in YAML(typ="safe", pure=True).parse(text):
        line = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, AliasEvent) or getattr(event, "anchor", None):
            raise YamlFileError(line, "anchors and aliases are not used in templates")
        if isinstance(event, ScalarEvent | CollectionStartEvent) and event.ctag is not None:
            raise YamlFileError(line, "tags are not used in templates")
        if isinstance(event, CollectionStartEvent):
            depth += 1
        elif isinstance(event, CollectionEndEvent):
            depth -= 1
        if depth > _MAX_DEPTH:
            raise YamlFileError(line, f"nested deeper than {_MAX_DEPTH}")
