"""What can be said about a file of templates without a server: what is wrong, and what is not acted on."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from server.providers.catalogue import catalogue_entries
from server.providers.template_file import Note, build, by_place, entries_of

_PROBLEM: Final = re.compile(
    r"(?P<path>.*?):(?P<line>\d+): (?:(?:(?P<provider>[a-z0-9-]+)\.)?(?P<key>\w+): )?(?P<text>.*)", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Report:
    """What came of a file: how many of its templates can be loaded, what stops others, and what nothing acts on."""

    loaded: int
    problems: tuple[Note, ...]
    unsupported: tuple[Note, ...]


def check_file(path: Path) -> Report:
    """Return what is to be said about a file. Aliases may name its own templates and those of our catalogue."""
    problems: list[str] = []
    entries = entries_of(path, problems)
    reading = build(entries, catalogue_entries(), from_operator=True)
    alone = entries[0].name if len(entries) == 1 and not entries[0].many else ""
    found = [_note(problem, alone, path) for problem in sorted(problems + reading.problems, key=by_place)]
    return Report(len(reading.templates), tuple(found), tuple(sorted(reading.notes, key=lambda note: note.line)))


def _note(problem: str, provider: str, path: Path) -> Note:
    match = _PROBLEM.fullmatch(problem)
    if match is None:
        return Note(provider, str(path), 1, "", problem)
    name = match["provider"] or provider
    return Note(name, match["path"], int(match["line"]), match["key"] or "", match["text"])
