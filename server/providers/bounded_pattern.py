"""Regular expressions that cannot explode: matched in time proportional to the pattern times the text.

A pattern comes from a template and the text from a caller, and `re` backtracks. Here Python's parser of patterns is used,
and its syntax tree runs as an automaton that is in all its states at once. What needs backtracking (references to groups,
look-around) is refused, and so are patterns that grow too large.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any, Final

MAX_PATTERN: Final = 1000
_MAX_STATES: Final = 2000

_Test = Callable[[str], bool]


class PatternError(Exception):
    """A pattern is none, or not one that can be matched without backtracking."""


@dataclass(slots=True)
class _State:
    """`test` None: passed without a character. `anchor`: passed only at the start (`^`) or the end (`$`)."""

    test: _Test | None = None
    anchor: str = ""
    following: tuple[int, ...] = ()


class BoundedPattern:
    """A compiled pattern."""

    def __init__(self, pattern: str) -> None:
        if len(pattern) > MAX_PATTERN:
            raise PatternError(f"is longer than {MAX_PATTERN} characters")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tree = parser.parse(pattern)
        except re.error as error:
            raise PatternError(f"is not a regular expression: {error.msg}") from None
        except (RecursionError, OverflowError):
            raise PatternError("is not a regular expression: too deep or too large") from None
        if tree.state.flags & ~re.UNICODE:
            raise PatternError("sets flags, which patterns of templates cannot")
        self._states: list[_State] = []
        self._end = self._add(_State())
        self._start = self._sequence(list(tree), self._end)

    def fullmatch(self, text: str) -> bool:
        """Return whether the whole text matches."""
        last = len(text)
        present = self._reach({self._start}, 0, last)
        for index, character in enumerate(text):
            stepped: set[int] = set()
            for number in present:
                state = self._states[number]
                if state.test is not None and state.test(character):
                    stepped.update(state.following)
            if not stepped:
                return False
            present = self._reach(stepped, index + 1, last)
        return self._end in present

    def _reach(self, numbers: set[int], index: int, last: int) -> set[int]:
        """Return all states that can be had without a character from those given."""
        found: set[int] = set()
        waiting = list(numbers)
        while waiting:
            number = waiting.pop()
            if number in found:
                continue
            state = self._states[number]
            if (state.anchor == "^" and index != 0) or (state.anchor == "$" and index != last):
                continue
            found.add(number)
            if state.test is None:
                waiting.extend(state.following)
        return found

    def _add(self, state: _State) -> int:
        if len(self._states) >= _MAX_STATES:
            raise PatternError(f"needs more than {_MAX_STATES} states; make its repetitions smaller")
        self._states.append(state)
        return len(self._states) - 1

    def _sequence(self, items: list[Any], after: int) -> int:
        for operation, argument in reversed(items):
            after = self._item(str(operation), argument, after)
        return after

    def _item(self, operation: str, argument: Any, after: int) -> int:
        test = _test(operation, argument)
        if test is not None:
            return self._add(_State(test, following=(after,)))
        match operation:
            case "SUBPATTERN":
                _, add_flags, del_flags, inner = argument
                if add_flags or del_flags:
                    raise PatternError("sets flags, which patterns of templates cannot")
                return self._sequence(list(inner), after)
            case "BRANCH":
                starts = tuple(self._sequence(list(branch), after) for branch in argument[1])
                return self._add(_State(following=starts))
            case "MAX_REPEAT" | "MIN_REPEAT":
                least, most, inner = argument
                return self._repeat(least, most, inner, after)
            case "AT" if str(argument) in {"AT_BEGINNING", "AT_BEGINNING_STRING"}:
                return self._add(_State(anchor="^", following=(after,)))
            case "AT" if str(argument) in {"AT_END", "AT_END_STRING"}:
                return self._add(_State(anchor="$", following=(after,)))
            case _:
                raise PatternError(f"uses {operation.lower().replace('_', ' ')}, which could make it explode")

    def _repeat(self, least: int, most: Any, inner: Any, after: int) -> int:
        items = list(inner)
        if str(most) == "MAXREPEAT":
            loop = self._add(_State())
            start = self._sequence(items, loop)
            self._states[loop].following = (start, after)
            after = loop
        else:
            end = after
            for _ in range(int(most) - least):
                after = self._add(_State(following=(self._sequence(items, after), end)))
        for _ in range(least):
            after = self._sequence(items, after)
        return after


def _test(operation: str, argument: Any) -> _Test | None:
    """Return what a single character is tested with, None if the operation is not about one."""
    match operation:
        case "LITERAL":
            wanted = chr(argument)
            return lambda character: character == wanted
        case "NOT_LITERAL":
            unwanted = chr(argument)
            return lambda character: character != unwanted
        case "ANY":
            return lambda character: character != "\n"
        case "IN":
            return _one_of(argument)
        case _:
            return None


def _one_of(items: list[Any]) -> _Test:
    negated = str(items[0][0]) == "NEGATE"
    tests = [_member(str(kind), value) for kind, value in (items[1:] if negated else items)]
    return lambda character: any(test(character) for test in tests) != negated


_CATEGORIES: Final = {"DIGIT": r"\d", "SPACE": r"\s", "WORD": r"\w"}


def _member(kind: str, value: Any) -> _Test:
    if kind == "LITERAL":
        wanted = chr(value)
        return lambda character: character == wanted
    if kind == "RANGE":
        low, high = value
        return lambda character: low <= ord(character) <= high
    name = str(value).removeprefix("CATEGORY_")
    positive = re.compile(_CATEGORIES[name.removeprefix("NOT_")])
    wanted_match = not name.startswith("NOT_")
    return lambda character: (positive.match(character) is not None) == wanted_match


@lru_cache(maxsize=2048)
def compile_pattern(pattern: str) -> BoundedPattern:
    """Return a compiled pattern. Raises `PatternError`."""
    return BoundedPattern(pattern)
