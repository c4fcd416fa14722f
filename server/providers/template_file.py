"""How provider templates are read from files, with every mistake told by file, line and key.

A file holds one provider, named after the file, or many, keyed by name. A template may be an alias of another: it then has
the other's keys too, except those it gives itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from server.providers.template import ClientAuth, Template
from server.providers.template_keys import KEYS, REQUIRED, Acts
from server.providers.template_rules import contradictions
from server.providers.template_values import BadValueError
from server.providers.yaml_nodes import MappingNode, Node, YamlFileError, line_of, read, scalar

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


class TemplateError(Exception):
    """One or more template files are wrong. `problems` has them all, each as `file:line: key: text`."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class Given:
    """One key as a file gives it."""

    path: Path
    line: int
    value: Node


@dataclass(frozen=True, slots=True)
class Entry:
    """A template as it stands in a file, before its alias is looked up. `many`: it is one of several in the file."""

    name: str
    path: Path
    line: int
    many: bool
    keys: Mapping[str, Given]


@dataclass(frozen=True, slots=True)
class Note:
    """A key that is understood and not acted on, or a doubt that stops nothing."""

    provider: str
    path: str
    line: int
    key: str
    text: str


@dataclass(slots=True)
class Reading:
    """What came of reading files: templates in the order of the files, problems, notes."""

    templates: list[Template] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)


def read_template(path: Path, *, from_operator: bool) -> Template:
    """Return the template in a file that holds one. Raises `TemplateError` with every problem."""
    problems: list[str] = []
    entries = entries_of(path, problems)
    reading = build(entries, {}, from_operator=from_operator)
    if problems or reading.problems:
        raise TemplateError(sorted(problems + reading.problems, key=by_place))
    if len(reading.templates) != 1:
        raise TemplateError([f"{path}:1: holds {len(reading.templates)} templates, and not one"])
    return reading.templates[0]


def entries_of(path: Path, problems: list[str]) -> list[Entry]:
    """Return the templates that stand in a file; what is wrong is added to `problems`."""
    try:
        root = read(path)
    except YamlFileError as error:
        problems.append(f"{path}:{error.line}: {error.text}")
        return []
    except OSError as error:
        problems.append(f"{path}: cannot be read: {error.strerror}")
        return []
    if not _holds_many(root):
        if _NAME.fullmatch(path.stem) is None:
            problems.append(f"{path}: the file's name must be the provider's: lower-case letters, digits, hyphens")
        return [Entry(path.stem, path, 1, many=False, keys=_keys_of(path, "", root, problems))]
    found: dict[str, Entry] = {}
    for key_node, value_node in root.value:
        name, line = str(scalar(key_node)), line_of(key_node)
        if _NAME.fullmatch(name) is None:
            problems.append(f"{path}:{line}: {name}: is not a provider's name: lower-case letters, digits, hyphens")
        elif name in found:
            problems.append(f"{path}:{line}: {name}: is given twice, first on line {found[name].line}")
        else:
            found[name] = Entry(name, path, line, many=True, keys=_keys_of(path, f"{name}.", value_node, problems))
    return list(found.values())


def _holds_many(root: MappingNode) -> bool:
    """Return whether a file's keys are names of providers: none is a template's key, and all hold mappings."""
    names = {str(scalar(key)) for key, _ in root.value}
    return bool(root.value) and not names & set(KEYS) and all(isinstance(node, MappingNode) for _, node in root.value)


def _keys_of(path: Path, prefix: str, node: MappingNode, problems: list[str]) -> dict[str, Given]:
    found: dict[str, Given] = {}
    for key_node, value_node in node.value:
        key, line = str(scalar(key_node)), line_of(key_node)
        if key in found:
            problems.append(f"{path}:{line}: {prefix}{key}: is given twice, first on line {found[key].line}")
        elif key not in KEYS:
            problems.append(f"{path}:{line}: {prefix}{key}: is not a key of provider templates")
        else:
            found[key] = Given(path, line, value_node)
    return found


def build(entries: list[Entry], others: Mapping[str, Entry], *, from_operator: bool) -> Reading:
    """Return the templates of entries; aliases may name them and `others`."""
    reading = Reading()
    known = {**others, **{entry.name: entry for entry in entries}}
    for entry in entries:
        before = len(reading.problems)
        keys = _resolved(entry, known, reading.problems)
        if len(reading.problems) == before:
            _build_one(entry, keys, reading, from_operator=from_operator)
    return reading


def _resolved(entry: Entry, known: Mapping[str, Entry], problems: list[str]) -> dict[str, Given]:
    """Return an entry's keys over those of the template that it is an alias of, and so on."""
    chain, seen = [entry], {entry.name}
    while (given := chain[-1].keys.get("alias")) is not None:
        name = str(scalar(given.value))
        where = f"{given.path}:{given.line}: {_prefix(chain[-1])}alias"
        if name in seen:
            way = " -> ".join([*(link.name for link in chain), name])
            problems.append(f"{where}: goes round in a circle: {way}")
            break
        if name not in known:
            problems.append(f"{where}: {name!r} is not the name of a template")
            break
        chain.append(known[name])
        seen.add(name)
    keys: dict[str, Given] = {}
    for link in reversed(chain):
        keys |= {key: given for key, given in link.keys.items() if key != "alias"}
    return keys


def _build_one(entry: Entry, keys: Mapping[str, Given], reading: Reading, *, from_operator: bool) -> None:
    problems: list[str] = []
    values: dict[str, Any] = {}
    carried: dict[str, Any] = {}
    prefix = _prefix(entry)
    for name, given in keys.items():
        key = KEYS[name]
        try:
            value = key.kind.read(given.value)
        except BadValueError as bad:
            problems.append(f"{given.path}:{line_of(bad.node)}: {prefix}{name}: {bad}")
            continue
        if key.target and name == key.target:
            values[name] = value
        else:
            carried[name] = value
        if key.acts is Acts.NOT_YET:
            reading.notes.append(Note(entry.name, str(given.path), given.line, name, key.acts.value))
    problems += [f"{entry.path}:{entry.line}: {prefix}{key}: is required" for key in REQUIRED if key not in keys]
    if not problems:
        template = Template(name=entry.name, from_operator=from_operator, **_fields(values, carried))
        for found in contradictions(template, frozenset(keys)):
            given_at = keys.get(found.key)
            path, line = (given_at.path, given_at.line) if given_at else (entry.path, entry.line)
            if found.doubt and entry.many:
                reading.notes.append(Note(entry.name, str(path), line, found.key, found.text))
            else:
                problems.append(f"{path}:{line}: {prefix}{found.key}: {found.text}")
        if not problems:
            reading.templates.append(template)
    reading.problems += problems


def _fields(values: dict[str, Any], carried: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a template's fields: keys that are other names for one are brought home."""
    urls = values.get("token_url")
    if isinstance(urls, dict):
        values["token_url"] = urls.get("OAUTH2") or next(iter(urls.values()), "")
        values["app_token_url"] = urls.get("APP", "")
    if lifetime := carried.pop("token_expires_in_ms", None):
        values.setdefault("default_lifetime", lifetime)
    if (margin := carried.pop("token_expiration_buffer", None)) is not None:
        values.setdefault("refresh_margin", margin)
    if carried.pop("authorization_method", "") == "header":
        values.setdefault("token_request_auth_method", ClientAuth.BASIC)
    return {**values, "carried": carried}


def by_place(problem: str) -> tuple[str, int]:
    """Return what problems are sorted by: file and line."""
    match = re.match(r"(.*?):(\d+): ", problem)
    return (match[1], int(match[2])) if match else (problem, 0)


def _prefix(entry: Entry) -> str:
    return f"{entry.name}." if entry.many else ""


def template_paths(folder: Path) -> Iterator[Path]:
    """Yield the template files of a folder. Raises `OSError`."""
    yield from sorted(path for path in folder.iterdir() if path.suffix in {".yaml", ".yml"} and path.name[0] != ".")
