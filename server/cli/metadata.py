"""`metadata`: the JSON object that callers own."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer
from connections.v1.connection_pb2 import Connection
from connections.v1.connection_service_pb2 import (
    ConnectionView,
    GetConnectionRequest,
    SetMetadataRequest,
    UpdateMetadataRequest,
)

from server.cli import options
from server.cli.client import connect
from server.cli.help import examples
from server.cli.output import print_json, to_json

app = typer.Typer(no_args_is_help=True, help="Read and change a connection's metadata.")

Document = Annotated[
    str, typer.Argument(metavar="JSON", help="A JSON object, @file, or - for standard input.", show_default=False)
]


@app.command(epilog=examples("connections metadata get github customer-42"))
def get(
    provider_config_key: options.Key,
    connection_id: options.ConnectionId,
    *,
    as_json: options.Json = False,
    timeout: options.Timeout = options.TIMEOUT,
    address: options.Address = "",
) -> None:
    """Print the metadata. It is JSON with and without --json."""
    request = GetConnectionRequest(
        provider_config_key=provider_config_key,
        connection_id=connection_id,
        view=ConnectionView.CONNECTION_VIEW_BASIC,
    )
    with connect(timeout, address) as client:
        connection: Connection = client.call(client.connections.GetConnection, request).connection
    _print(connection, whole=False)


@app.command(
    "set",
    epilog=examples(
        "connections metadata set github customer-42 @metadata.json", "connections metadata set github customer-42 '{}'"
    ),
)
def set_(
    provider_config_key: options.Key,
    connection_id: options.ConnectionId,
    document: Document,
    *,
    etag: options.Etag = "",
    as_json: options.Json = False,
    timeout: options.Timeout = options.TIMEOUT,
    address: options.Address = "",
) -> None:
    """Replace the whole metadata. Prints the result; with --json, the whole connection."""
    request = SetMetadataRequest(
        provider_config_key=provider_config_key,
        connection_id=connection_id,
        metadata=options.json_object(document, "JSON"),
        etag=etag,
    )
    with connect(timeout, address) as client:
        _print(client.call(client.connections.SetMetadata, request).connection, whole=as_json)


@app.command(
    epilog=examples("""connections metadata merge github customer-42 '{"plan": "pro", "trial_ends": null}'"""),
)
def merge(
    provider_config_key: options.Key,
    connection_id: options.ConnectionId,
    document: Document,
    *,
    etag: options.Etag = "",
    as_json: options.Json = False,
    timeout: options.Timeout = options.TIMEOUT,
    address: options.Address = "",
) -> None:
    """Merge a patch into the metadata (RFC 7396): null deletes a key. Prints the result; with --json, all of it."""
    request = UpdateMetadataRequest(
        provider_config_key=provider_config_key,
        connection_id=connection_id,
        metadata=options.json_object(document, "JSON"),
        etag=etag,
    )
    with connect(timeout, address) as client:
        _print(client.call(client.connections.UpdateMetadata, request).connection, whole=as_json)


def _print(connection: Connection, *, whole: bool) -> None:
    if whole:
        print_json(connection)
        return
    metadata = to_json(connection).get("metadata") or {}
    sys.stdout.write(json.dumps(metadata, indent=2, ensure_ascii=False) + "\n")
