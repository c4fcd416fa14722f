"""Named places in an exchange at which a test may stop, delay or kill the process. In production they do nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

BEFORE_LEASE: Final = "before_lease"
AFTER_LEASE: Final = "after_lease"
BEFORE_SEND: Final = "before_send"
AFTER_ANSWER: Final = "after_answer"
BEFORE_APPLY: Final = "before_apply"
AFTER_APPLY: Final = "after_apply"

_hook: Callable[[str], Awaitable[None]] | None = None


async def reach(name: str) -> None:
    """Say that an exchange has come to the place called `name`."""
    if _hook is not None:
        await _hook(name)


def arm(hook: Callable[[str], Awaitable[None]]) -> None:
    """Call `hook` with the name of each place from now on. For tests."""
    global _hook  # noqa: PLW0603 (one process, one hook)
    _hook = hook
