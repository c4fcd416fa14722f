"""Time, injected."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Tells the time. Instants everywhere in this program are seconds since the Unix epoch, as `float`."""

    def now(self) -> float:
        """Return the present instant."""
        ...


class SystemClock:
    """The clock of this machine."""

    def now(self) -> float:
        """Return the present instant."""
        return time.time()
