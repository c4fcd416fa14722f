"""Skips that a fully equipped machine must not have.

A skipped test proves nothing, and a list of skips grows unseen. With CONNECTIONS_TEST_STRICT=1, which `.ci/run` sets
on a CI machine, a skip fails unless its reason is in `ALLOWED`.
"""

from __future__ import annotations

import os
from typing import Final

import pytest

STRICT_VARIABLE: Final = "CONNECTIONS_TEST_STRICT"

NO_GO: Final = "Go is not installed, so grpcurl cannot be"
NO_PGBOUNCER: Final = "pgbouncer is not installed"
NO_H2LOAD: Final = "h2load is not installed"
NOT_ROOT: Final = "only root can change to another user"
PRIVATE_PYTHON: Final = "no Python of this version is where another user may run it"

ALLOWED: Final = {
    NO_GO: "grpcurl comes from the Go module proxy; a machine for Python alone is a good machine",
    NO_PGBOUNCER: "a system package, which only root can install; .ci/run does where it can",
    NO_H2LOAD: "a system package, as pgbouncer",
    NOT_ROOT: "whoever is not root proves by the other tests that no root is needed",
    PRIVATE_PYTHON: "root's own interpreter under /root is a common set-up, and says nothing about the image",
}


def is_strict() -> bool:
    """Return whether skips count as failures in this run."""
    return os.environ.get(STRICT_VARIABLE, "") == "1"


def refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn a skip whose reason is not allowed into a failure. Expected failures (xfail) are not skips."""
    if not report.skipped or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    reason = reason.removeprefix("Skipped: ")
    if reason not in ALLOWED:
        report.outcome = "failed"
        report.longrepr = f"skipped in a strict run ({STRICT_VARIABLE}=1): {reason}"
