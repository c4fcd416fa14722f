"""`refresh --watch`: a connection's refreshes as they happen."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Final

from connections.v1.connection_pb2 import Connection
from connections.v1.connection_service_pb2 import GetConnectionRequest

from server.cli.client import Client
from server.cli.output import print_json_line
from server.cli.text import instant, label

_INTERVAL: Final = 1.0
_WATCHED: Final = (
    "status",
    "status_reason",
    "generation",
    "refresh_attempts",
    "credentials_expire_time",
    "last_refresh_time",
    "last_refresh_failure_time",
    "next_refresh_time",
)


def watch(client: Client, request: GetConnectionRequest, *, as_json: bool) -> None:
    """Print a line now and whenever the state of a connection's credentials changes, until interrupted."""
    for connection in _changes(client, request):
        if as_json:
            print_json_line(connection)
        else:
            sys.stdout.write(_line(connection) + "\n")
        sys.stdout.flush()


def _changes(client: Client, request: GetConnectionRequest) -> Iterator[Connection]:
    before = None
    while True:
        connection: Connection = client.call(client.connections.GetConnection, request).connection
        state = [str(getattr(connection, field)) for field in _WATCHED]
        if state != before:
            yield connection
            before = state
        time.sleep(_INTERVAL)


def _line(connection: Connection) -> str:
    parts = [time.strftime("%H:%M:%S"), f"generation {connection.generation}", label(connection, "status")]
    if connection.status_reason:
        parts.append(label(connection, "status_reason"))
    if connection.refresh_attempts:
        parts.append(f"{connection.refresh_attempts} failed")
    for field, words in (("credentials_expire_time", "expires"), ("next_refresh_time", "next refresh")):
        if connection.HasField(field):
            parts.append(f"{words} {instant(connection, field)}")
    return "  ".join(parts)
