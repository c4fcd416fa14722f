"""When credentials are due for a refresh."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from server.domain.model import ProviderFacts

DEFAULT_MARGIN: Final = 900.0
SHORT_LIFE_FRACTION: Final = 0.25
"""A margin is never more than this part of a token's life, so that a ten-minute token is not refreshed at once."""
JITTER_FRACTION: Final = 0.5
"""The service refreshes by itself up to this part of the margin before reads would, spread so as not to come in waves."""
MAX_LIFETIME: Final = 10 * 365 * 86400.0
"""What a provider calls a longer life is a mistake, and is treated as if it had said nothing."""


@dataclass(frozen=True, slots=True)
class Due:
    """When a refresh is due: for reads, and for the service by itself. None for never."""

    refresh_due_at: float | None
    next_refresh_at: float | None


def when_due(
    *,
    expires_at: float | None,
    refreshable: bool,
    facts: ProviderFacts,
    now: float,
    jitter: float,
    lifetime: float | None = None,
    margin: float = DEFAULT_MARGIN,
) -> Due:
    """Return when credentials that expire at `expires_at` are due.

    `lifetime` is how long the token lives in all, None if that is not known (an import): then the whole margin holds.
    `jitter` is a random number from 0 to 1. A token whose life is not known and that cannot be refreshed is never due.
    """
    if not refreshable:
        return Due(None, None)
    idle_at = None if facts.idle_refresh_after is None else now + facts.idle_refresh_after * (1 - 0.1 * jitter)
    if expires_at is None:
        return Due(None, idle_at)
    margin = facts.refresh_margin if facts.refresh_margin is not None else margin
    if lifetime is not None:
        margin = min(margin, lifetime * SHORT_LIFE_FRACTION)
    due_at = expires_at - margin
    ahead_at = max(due_at - margin * JITTER_FRACTION * jitter, min(now, due_at))
    return Due(due_at, ahead_at if idle_at is None else min(ahead_at, idle_at))
