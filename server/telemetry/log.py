"""Structured logs: JSON lines for machines, colours for people; never a secret.

Everything that is logged is named: `log.info("refresh", connection_id=…)`. A `Secret` shows as a mask whatever renders
it, and messages are only logged through `redaction.redact`.
"""

from __future__ import annotations

import logging
import sys
from typing import Any, Final, TextIO

import orjson
import structlog

_LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def _dumps(event: Any, **_: Any) -> bytes:
    return orjson.dumps(event, default=str)


def configure(level: str = "info", style: str = "auto", stream: TextIO | None = None) -> None:
    """Send logs to `stream` (standard error by default).

    `style`: `json`, `console`, or `auto`: console on a terminal. Errors of libraries arrive in the same form.
    """
    stream = stream or sys.stderr
    console = style == "console" or (style == "auto" and stream.isatty())
    threshold = _LEVELS[level]
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if console:
        processors = [*shared, structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
        factory: Any = structlog.WriteLoggerFactory(stream)
    else:
        processors = [*shared, structlog.processors.format_exc_info, structlog.processors.JSONRenderer(_dumps)]
        factory = structlog.BytesLoggerFactory(stream.buffer)
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=factory,
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=logging.WARNING, handlers=[_Bridge()], force=True)


class _Bridge(logging.Handler):
    """Gives the records of libraries the form of our own logs, without their arguments' details."""

    def emit(self, record: logging.LogRecord) -> None:
        log = structlog.get_logger()
        level = "warning" if record.levelno < logging.ERROR else "error"
        # A library's exception may quote what it was given; its type and place are enough to act on.
        failure = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else None
        getattr(log, level)("library", logger=record.name, message=record.getMessage()[:500], exception=failure)


def get() -> Any:
    """Return the logger."""
    return structlog.get_logger()
