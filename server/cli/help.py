"""How help texts look."""

from __future__ import annotations


def examples(*commands: str) -> str:
    """Return an epilog with one example to a line."""
    return "\n\n".join(("Examples:" if len(commands) > 1 else "Example:", *commands))
