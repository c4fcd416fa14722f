"""The provider templates that exist: those that come with the service, overlaid by the operator's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from server.providers.template import Template
from server.providers.template_file import TemplateError, read_template

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
        templates = {template.name: template for template in _read_folder(_OURS, problems, from_operator=False)}
        if operator_folder is not None:
            own = _read_folder(operator_folder, problems, from_operator=True)
            templates.update({template.name: template for template in own})
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


def _read_folder(folder: Path, problems: list[str], *, from_operator: bool) -> Iterator[Template]:
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix in {".yaml", ".yml"} and path.name[0] != ".")
    except OSError as error:
        problems.append(f"{folder}: cannot be read: {error.strerror}")
        return
    seen: dict[str, Path] = {}
    for path in paths:
        if path.stem in seen:
            problems.append(f"{path}: {seen[path.stem].name} is a template of the same name")
            continue
        seen[path.stem] = path
        try:
            yield read_template(path, from_operator=from_operator)
        except TemplateError as error:
            problems += error.problems
