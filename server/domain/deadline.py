"""How long a caller still waits."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Deadline:
    """A caller's deadline, made once from what the transport says and then only read.

    It is kept on the monotonic clock, so that a step of the wall clock does not move it.
    """

    at: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """Return the deadline that lies `seconds` ahead."""
        return cls(time.monotonic() + seconds)

    def remaining(self) -> float:
        """Return the seconds left, 0.0 if the deadline has passed."""
        return max(0.0, self.at - time.monotonic())
