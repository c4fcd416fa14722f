"""Values as people write them: durations, sizes, addresses, switches.

Every parser takes stripped, non-empty text and raises ValueError with a phrase of what it expects; the phrase never
repeats the text, which may be a secret.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

_SECONDS: Final = {
    "ms": Decimal("0.001"),
    "": Decimal(1),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
    "d": Decimal(86400),
}
_DURATION: Final = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)\s*(ms|s|m|h|d)?")
_BYTES: Final = {"": 1, "b": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}
_SIZE: Final = re.compile(r"([0-9]{1,15})\s*(b|kib|mib|gib)?", re.IGNORECASE)
_HOST: Final = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z_](?:[0-9A-Za-z_.-]*[0-9A-Za-z_])?)")
_SWITCH: Final = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}

DURATION_EXPECTED: Final = "a duration such as 500ms, 30, 30s, 5m, 1h or 7d"


def duration(text: str) -> float:
    """Return seconds. A bare number counts seconds; units are ms, s, m, h and d."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(DURATION_EXPECTED)
    try:
        return float(Decimal(match[1]) * _SECONDS[match[2] or ""])
    except InvalidOperation:
        raise ValueError(DURATION_EXPECTED) from None


def format_duration(seconds: float) -> str:
    """Return the shortest text that `duration` reads as these seconds: `1h`, `90s`, `500ms`."""
    for unit in ("d", "h", "m", "s"):
        count = seconds / float(_SECONDS[unit])
        if count >= 1 and count == math.floor(count):
            return f"{count:.0f}{unit}"
    return "0s" if seconds == 0 else f"{Decimal(repr(seconds)) * 1000:f}".rstrip("0").rstrip(".") + "ms"


def size(text: str) -> int:
    """Return bytes. Units are KiB, MiB and GiB, in any case."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError("a size such as 1048576, 512KiB or 4MiB")
    return int(match[1]) * _BYTES[(match[2] or "").lower()]


def format_size(value: int) -> str:
    """Return the shortest text that `size` reads as these bytes."""
    for unit in ("GiB", "MiB", "KiB"):
        if value and value % _BYTES[unit.lower()] == 0:
            return f"{value // _BYTES[unit.lower()]}{unit}"
    return str(value)


def switch(text: str) -> bool:
    """Return whether the text says yes."""
    try:
        return _SWITCH[text.lower()]
    except KeyError:
        raise ValueError("true or false") from None


def address(text: str) -> str:
    """Return a `host:port` to listen on, as it was given. IPv6 hosts stand in brackets; port 0 asks for a free one."""
    host, _, port = text.rpartition(":")
    if not _HOST.fullmatch(host) or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError("host:port, for example 127.0.0.1:50051 or [::1]:50051")
    return text


def target(text: str) -> str:
    """Return the address of a server to call: `host:port`, or `https://host:port` for TLS."""
    try:
        address(text.removeprefix("https://").removeprefix("http://"))
    except ValueError:
        raise ValueError("host:port, or https://host:port for TLS") from None
    return text


def hosts(text: str) -> tuple[str, ...]:
    """Return the hosts, or host:port pairs, of a comma list, in lower case."""
    found = tuple(item for part in text.split(",") if (item := part.strip().lower()))
    for item in found:
        host, colon, port = item.rpartition(":")
        named = _HOST.fullmatch(host) and port.isdigit() and 0 < int(port) <= 65535 if colon else _HOST.fullmatch(item)
        if not named and not (item.startswith("[") and _HOST.fullmatch(item)):
            raise ValueError("a comma list of host or host:port, for example idp.internal,127.0.0.1:9000")
    return found


def http_url(text: str) -> str:
    """Return an http or https URL with a host, as it was given."""
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable:
        raise ValueError("a URL such as http://proxy.internal:3128")
    return text


def postgres_url(text: str) -> str:
    """Return the URL of a Postgres database, as it was given."""
    if not text.startswith(("postgresql://", "postgres://")):
        raise ValueError("a URL such as postgresql://user:password@host:5432/database")
    return text


def readable_file(text: str) -> Path:
    """Return the path of a file that exists and may be read."""
    path = Path(text)
    try:
        with path.open("rb"):
            return path
    except OSError:
        raise ValueError("the path of a file that exists and that this process may read") from None


def folder(text: str) -> Path:
    """Return the path of a folder that exists."""
    path = Path(text)
    if not path.is_dir():
        raise ValueError("the path of a folder that exists")
    return path
