"""`tags`: the small string pairs that attribute a connection to people and organisations."""

from __future__ import annotations

from typing import Annotated

import typer
from connections.v1.connection_pb2 import Connection
from connections.v1.connection_service_pb2 import ConnectionView, GetConnectionRequest, UpdateTagsRequest

from server.cli import options
from server.cli.client import connect
from server.cli.help import examples
from server.cli.output import print_json, print_table

app = typer.Typer(no_args_is_help=True, help="Read and replace a connection's tags.")


@app.command(epilog=examples("connections tags get github customer-42"))
def get(
    provider_config_key: options.Key,
    connection_id: options.ConnectionId,
    *,
    as_json: options.Json = False,
    timeout: options.Timeout = options.TIMEOUT,
    address: options.Address = "",
) -> None:
    """Show the tags; with --json, the connection that has them."""
    request = GetConnectionRequest(
        provider_config_key=provider_config_key,
        connection_id=connection_id,
        view=ConnectionView.CONNECTION_VIEW_BASIC,
    )
    with connect(timeout, address) as client:
        connection: Connection = client.call(client.connections.GetConnection, request).connection
    _print(connection, as_json=as_json)


@app.command(
    "set",
    epilog=examples(
        "connections tags set github customer-42 organization=acme end_user_email=jo@acme.example",
        "connections tags set github customer-42 --clear",
    ),
)
def set_(
    provider_config_key: options.Key,
    connection_id: options.ConnectionId,
    tags: Annotated[list[str] | None, typer.Argument(metavar="NAME=VALUE...", show_default=False)] = None,
    *,
    clear: Annotated[bool, typer.Option("--clear", help="Remove all tags.")] = False,
    etag: options.Etag = "",
    as_json: options.Json = False,
    timeout: options.Timeout = options.TIMEOUT,
    address: options.Address = "",
) -> None:
    """Replace the whole set of tags."""
    if bool(tags) == clear:
        raise typer.BadParameter("give the tags, or --clear to remove all", param_hint="NAME=VALUE")
    request = UpdateTagsRequest(
        provider_config_key=provider_config_key,
        connection_id=connection_id,
        tags=options.pairs(tags or (), "NAME=VALUE"),
        etag=etag,
    )
    with connect(timeout, address) as client:
        _print(client.call(client.connections.UpdateTags, request).connection, as_json=as_json)


def _print(connection: Connection, *, as_json: bool) -> None:
    if as_json:
        print_json(connection)
    else:
        print_table(("TAG", "VALUE"), sorted(connection.tags.items()))
