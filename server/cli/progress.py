"""How far an import has got, on stderr: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.text import Text

_EVERY: Final = 5.0
_STEP: Final = 256


class Progress:
    """Shows progress through `size` bytes; 0 if nobody knows how many there are."""

    def __init__(self, size: int) -> None:
        self._bar: Bar | None = None
        self._task = TaskID(0)
        self._bytes = 0
        self._count = 0
        self._text = "importing"
        self._said = time.monotonic()
        if sys.stderr.isatty():
            self._bar = Bar(
                TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(), console=Console(file=sys.stderr)
            )
            self._task = self._bar.add_task("importing", total=size or None)

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._show(self._bar)
            self._bar.stop()

    def advance(self, size: int, total: int, failed: int) -> None:
        """Note that a line of so many bytes is done, and the counts so far."""
        self._bytes += size
        self._count += 1
        self._text = f"{total} lines, {failed} failed"
        if self._bar is not None:
            # Drawing a bar costs more than importing a line.
            if self._count % _STEP == 0:
                self._show(self._bar)
        elif time.monotonic() - self._said >= _EVERY:
            self._said = time.monotonic()
            sys.stderr.write(f"importing: {self._text}\n")

    def note(self, text: str) -> None:
        """Write a line above the bar."""
        if self._bar is not None:
            self._bar.console.print(Text(text), soft_wrap=True)
        else:
            sys.stderr.write(text + "\n")

    def _show(self, bar: Bar) -> None:
        bar.update(self._task, completed=self._bytes, description=self._text)
