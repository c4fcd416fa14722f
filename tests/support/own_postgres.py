"""A Postgres of one test's own, to be stopped, started and frozen."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

from tests.support.postgres import Postgres, _embedded


class OwnPostgres(Postgres):
    """Nobody else uses it, so whatever is done to it is done to one test."""

    def halt(self) -> None:
        """Stop it, as an operator or a failing machine does."""
        self.thaw()
        _embedded(self._directory / "data").stop()

    def start(self) -> None:
        """Start it again where it was."""
        _embedded(self._directory / "data").ensure_postgres_running()

    def freeze(self) -> None:
        """Stop all its processes without ending one: connections stay open and nobody answers."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let its processes go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        pid_file = self._directory / "data" / "postmaster.pid"
        if not pid_file.exists():
            return
        postmaster = psutil.Process(int(pid_file.read_text().split("\n", 1)[0]))
        for process in (postmaster, *postmaster.children(recursive=True)):
            os.kill(process.pid, number)


@contextmanager
def own_postgres() -> Iterator[OwnPostgres]:
    """Yield a Postgres of one's own; it is stopped and removed afterwards."""
    postgres = OwnPostgres(Postgres.make_directory())
    try:
        yield postgres
    finally:
        postgres.thaw()
        postgres.stop()
