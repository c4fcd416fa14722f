"""Tells a provider's outage from a connection's trouble, per token host, in this process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from server.domain.clock import Clock
from server.telemetry import metrics

FAILURES_TO_OPEN: Final = 5
FIRST_PAUSE: Final = 15.0
MOST_PAUSE: Final = 300.0


@dataclass(slots=True)
class _Host:
    failures: int = 0
    pause: float = FIRST_PAUSE
    open_until: float = 0.0
    probing: bool = False


class Breakers:
    """A breaker per token host.

    It opens after five outages in a row, whichever connections they met, and lets one exchange through after a pause that
    doubles up to five minutes; a single answer closes it. While it is open no exchange starts, so that an outage neither
    hammers the provider nor moves connections into a failing state one by one.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._hosts: dict[str, _Host] = {}

    def enter(self, host: str) -> float | None:
        """Return None if an exchange may start, else the seconds until one may. Follow it by `succeed` or `fail`."""
        state = self._hosts.get(host)
        if state is None or state.failures < FAILURES_TO_OPEN:
            return None
        now = self._clock.now()
        if now < state.open_until:
            return state.open_until - now
        if state.probing:
            return 1.0
        state.probing = True
        return None

    def succeed(self, host: str) -> None:
        """Record that the host answered, whatever it answered."""
        if self._hosts.pop(host, None) is not None:
            self._show()

    def fail(self, host: str) -> None:
        """Record an outage: no answer, or a server error."""
        state = self._hosts.setdefault(host, _Host())
        if state.probing:
            state.probing = False
            state.pause = min(state.pause * 2, MOST_PAUSE)
        state.failures += 1
        if state.failures >= FAILURES_TO_OPEN:
            state.open_until = self._clock.now() + state.pause
            self._show()

    def abandon(self, host: str) -> None:
        """Record that an exchange that was let in did not take place."""
        state = self._hosts.get(host)
        if state is not None:
            state.probing = False

    def open_hosts(self) -> list[str]:
        """Return the hosts to which exchanges are let through one at a time, if at all."""
        return [host for host, state in self._hosts.items() if state.failures >= FAILURES_TO_OPEN]

    def _show(self) -> None:
        metrics.BREAKERS_OPEN.set(len(self.open_hosts()))
