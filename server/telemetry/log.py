"""Structured logs: JSON lines for machines, colours for people; never a secret.

Everything that is logged is named: `log.info("refresh", connection_id=…)`. A `Secret` shows as a mask whatever renders
it, and messages are only logged through `redaction.redact`.

A log that cannot be written (a full disk, a closed pipe) loses lines and nothing else: no call fails for it.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import logging
import sys
from collections.abc import MutableMapping
from contextvars import ContextVar
from typing import Any, BinaryIO, Final, TextIO

import orjson
import structlog

_LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}

_LINE: Final = orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z

request_id: Final[ContextVar[str]] = ContextVar("request_id", default="")
"""The id of the call that is being served, set by the chain; every line below it, in tasks it starts too, carries it."""


class _Sink:
    """A stream, of text or of bytes, that swallows its own failure."""

    def __init__(self, stream: TextIO | BinaryIO) -> None:
        self._write: Any = stream.write
        self._flush = stream.flush

    def write(self, line: str | bytes) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._write(line)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._flush()


class _State:
    """How lines leave this process; `sink` is None where people read them."""

    sink: _Sink | None = None
    threshold: int = logging.INFO


def _dumps(event: Any, **_: Any) -> bytes:
    return orjson.dumps(event, default=str)


def _add_request_id(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    current = request_id.get()
    if current:
        event.setdefault("request_id", current)
    return event


def configure(level: str = "info", style: str = "auto", stream: TextIO | None = None) -> None:
    """Send logs to `stream` (standard error by default).

    `style`: `json`, `console`, or `auto`: console on a terminal. Errors of libraries arrive in the same form.
    """
    stream = stream or sys.stderr
    console = style == "console" or (style == "auto" and stream.isatty())
    _State.threshold = _LEVELS[level]
    shared: list[Any] = [
        _add_request_id,
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if console:
        _State.sink = None
        processors = [*shared, structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
        text: Any = _Sink(stream)
        factory: Any = structlog.WriteLoggerFactory(text)
    else:
        _State.sink = _Sink(stream.buffer)
        processors = [*shared, structlog.processors.format_exc_info, structlog.processors.JSONRenderer(_dumps)]
        binary: Any = _State.sink
        factory = structlog.BytesLoggerFactory(binary)
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(_State.threshold),
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


def write(level: str, event: str, fields: dict[str, Any]) -> None:
    """Log a line by the shortest way: for the one that every call writes, which costs more through the logger than the
    rest of a call's chain does. What arrives is the same. Adds to `fields`, which must name `request_id` if it has one.
    """
    if _LEVELS[level] < _State.threshold:
        return
    sink = _State.sink
    if sink is None:
        getattr(structlog.get_logger(), level)(event, **fields)
        return
    fields["event"] = event
    fields["level"] = level
    fields["timestamp"] = dt.datetime.now(dt.UTC)
    try:
        line = orjson.dumps(fields, str, _LINE)
    except TypeError:
        # Half a surrogate pair, which UTF-8 cannot say; the standard library escapes it.
        line = json.dumps(fields, default=str).encode() + b"\n"
    sink.write(line)
    sink.flush()
