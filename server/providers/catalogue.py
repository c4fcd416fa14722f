"""The provider templates that exist: those that come with the service, overlaid by the operator's own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from server.providers.template import Template
from server.providers.template_file import Entry, TemplateError, build, entries_of, template_paths

_OURS: Final = Path(__file__).parent / "catalogue"


class Catalogue:
    """Templates by name. Immutable once loaded."""

    def __init__(self, templates: Mapping[str, Template]) -> None:
        self._templates = {name: templates[name] for name in sorted(templates)}

    @classmethod
    def load(cls, operator_folder: Path | None = None) -> Catalogue:
        """Read all templates. One in the operator's folder replaces ours of the same name.

        Raises `TemplateError` with the problems of all files.
        """
        problems: list[str] = []
        ours = _entries(_OURS, problems)
        reading = build(ours, {}, from_operator=False)
        problems += reading.problems
        templates = {template.name: template for template in reading.templates}
        if operator_folder is not None:
            own = build(_entries(operator_folder, problems), {entry.name: entry for entry in ours}, from_operator=True)
            problems += own.problems
            templates.update({template.name: template for template in own.templates})
        if problems:
            raise TemplateError(problems)
        return cls(templates)

    def get(self, name: str) -> Template | None:
        """Return the template of that name, None if there is none."""
        return self._templates.get(name)

    def all(self) -> tuple[Template, ...]:
        """Return all templates, by name."""
        return tuple(self._templates.values())

    def search(self, text: str) -> tuple[Template, ...]:
        """Return the templates whose name, display name or categories contain a text, case aside; by name."""
        wanted = text.casefold()
        return tuple(
            template
            for template in self._templates.values()
            if any(wanted in value.casefold() for value in (template.name, template.display_name, *template.categories))
        )


def catalogue_entries() -> dict[str, Entry]:
    """Return the templates that come with the service as their files give them, by name: what aliases may name."""
    problems: list[str] = []
    return {entry.name: entry for entry in _entries(_OURS, problems)}


def _entries(folder: Path, problems: list[str]) -> list[Entry]:
    try:
        paths = list(template_paths(folder))
    except OSError as error:
        problems.append(f"{folder}: cannot be read: {error.strerror}")
        return []
    found: dict[str, Entry] = {}
    for path in paths:
        for entry in entries_of(path, problems):
            if entry.name in found:
                where = f"{path}:{entry.line}" if entry.many else f"{path}"
                other = found[entry.name].path.name
                what = f"{entry.name}: {other} has" if entry.many else f"{other} is"
                problems.append(f"{where}: {what} a template of the same name")
            else:
                found[entry.name] = entry
    return list(found.values())
