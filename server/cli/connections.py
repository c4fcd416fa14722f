"""`get`, `list`, `delete` and `refresh`: what people do with one connection or many."""

from __future__ import annotations

import enum
import sys
from collections.abc import Iterator
from typing import Annotated

import grpc
import typer
from connections.v1.connection_pb2 import Connection, Credentials
from connections.v1.connection_service_pb2 import (
    DeleteConnectionRequest,
    ForceRefreshRequest,
    GetConnectionRequest,
    ListConnectionsRequest,
)

from server.cli import completion, options
from server.cli.client import Client, connect
from server.cli.errors import CliError, failure_of
from server.cli.help import examples
from server.cli.output import compact, note, print_fields, print_json, print_json_line, print_table, to_json
from server.cli.text import clean, instant, label
from server.cli.watching import watch
from server.telemetry.redaction import redact


class View(enum.StrEnum):
    """How much of a connection to show."""

    BASIC = "basic"
    FULL = "full"


class Status(enum.StrEnum):
    """Statuses to filter by."""

    ACTIVE = "active"
    REFRESH_FAILING = "refresh_failing"
    REAUTHORIZATION_REQUIRED = "reauthorization_required"


Reveal = Annotated[bool, typer.Option("--reveal", help="Show secrets instead of a mask.")]
Token = Annotated[bool, typer.Option("--token", help="Print the access token or API key alone, for $(…).")]
RefreshToken = Annotated[bool, typer.Option("--refresh-token", help="Ask for the refresh token too.")]

_GET_EXAMPLES = examples(
    "connections get github customer-42",
    "connections get github customer-42 --min-ttl 5m --json --reveal",
    'curl -H "authorization: Bearer $(connections get github customer-42 --token)" https://api.github.com/user',
)
_LIST_EXAMPLES = examples(
    "connections list --integration github --tag organization=acme",
    "connections list --status reauthorization_required --json",
)


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    app.command(epilog=_GET_EXAMPLES)(get)
    app.command("list", epilog=_LIST_EXAMPLES)(list_)
    app.command(epilog=examples("connections delete github customer-42 --revoke"))(delete)
    app.command(
        epilog=examples(
            "connections refresh github customer-42 --timeout 1m",
            "connections refresh github customer-42 --watch",
        )
    )(refresh)


def get(
    provider_config_key: options.Key,
    connection_id: options.ConnectionId,
    *,
    view: Annotated[View, typer.Option("--view", help="basic: without credentials, never refreshes.")] = View.FULL,
    min_ttl: Annotated[
        float, typer.Option("--min-ttl", metavar="DURATION", parser=options.duration, help="Least life of the token.")
    ] = options.ZERO,
    refresh_token: RefreshToken = False,
    reveal: Reveal = False,
    token: Token = False,
    as_json: options.Json = False,
    timeout: options.Timeout = options.TIMEOUT,
    address: options.Address = "",
) -> None:
    """Show a connection, with credentials that are valid now. Secrets are masked without --reveal or --token."""
    request = GetConnectionRequest(
        provider_config_key=provider_config_key,
        connection_id=connection_id,
        view=f"CONNECTION_VIEW_{view.name}",
        include_refresh_token=refresh_token,
    )
    if min_ttl:
        request.min_ttl.FromNanoseconds(round(min_ttl * 1e9))
    if token and view is View.BASIC:
        raise typer.BadParameter("a basic view has no credentials", param_hint="--token")
    with connect(timeout, address) as client:
        connection: Connection = client.call(client.connections.GetConnection, request).connection
    _show(connection, reveal=reveal, token=token, as_json=as_json)


def refresh(
    provider_config_key: options.Key,
    connection_id: options.ConnectionId,
    *,
    follow: Annotated[
        bool, typer.Option("--watch", help="Force nothing: print a line whenever the credentials' state changes.")
    ] = False,
    refresh_token: RefreshToken = False,
    reveal: Reveal = False,
    token: Token = False,
    etag: options.Etag = "",
    as_json: options.Json = False,
    timeout: options.Timeout = options.TIMEOUT,
    address: options.Address = "",
) -> None:
    """Get new credentials from the provider now, whatever the state of the present ones."""
    if follow:
        basic = GetConnectionRequest(
            provider_config_key=provider_config_key, connection_id=connection_id, view="CONNECTION_VIEW_BASIC"
        )
        with connect(timeout, address) as client:
            watch(client, basic, as_json=as_json)
    request = ForceRefreshRequest(
        provider_config_key=provider_config_key,
        connection_id=connection_id,
        etag=etag,
        include_refresh_token=refresh_token,
    )
    with connect(timeout, address) as client:
        response = client.call(client.connections.ForceRefresh, request)
    if as_json and not token:
        print_json(response, reveal=reveal)
        return
    _show(response.connection, reveal=reveal, token=token, as_json=False)
    if not token:
        note(f"generation {response.previous_generation} -> {response.connection.generation}")


def list_(
    *,
    connection_id: Annotated[str, typer.Option("--connection-id", help="Only this id, under any integration.")] = "",
    integration: Annotated[
        list[str] | None,
        typer.Option(
            "--integration", help="Only this integration; repeatable.", autocompletion=completion.integrations
        ),
    ] = None,
    tag: Annotated[
        list[str] | None,
        typer.Option("--tag", metavar="NAME=VALUE", help="Only with this tag; repeatable, all must match."),
    ] = None,
    search: Annotated[str, typer.Option("--search", help="Only with this text in id or display name.")] = "",
    status: Annotated[list[Status] | None, typer.Option("--status", help="Only with this status; repeatable.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=0, help="At most this many; 0 for all.")] = 0,
    page_size: Annotated[int, typer.Option("--page-size", min=0, max=1000, help="Connections per message.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON for each.")] = False,
    timeout: Annotated[
        float,
        typer.Option(
            "--timeout", metavar="DURATION", parser=options.duration, help="Give up after this long without news."
        ),
    ] = options.TIMEOUT,
    address: options.Address = "",
) -> None:
    """List connections, newest first, without credentials. Streams any number in constant memory."""
    request = ListConnectionsRequest(
        connection_id=connection_id,
        provider_config_keys=integration or (),
        tags=options.pairs(tag or (), "--tag"),
        search=search,
        statuses=[f"CONNECTION_STATUS_{item.name}" for item in status or ()],
        page_size=page_size or (min(limit, 1000) if limit else 500),
        limit=limit,
    )
    with connect(timeout, address) as client:
        found = _stream(client, request)
        if as_json:
            for connection in found:
                print_json_line(connection)
            return
        headings = ("INTEGRATION", "CONNECTION", "NAME", "STATUS", "EXPIRES", "CREATED", "TAGS")
        count = print_table(headings, (_row(connection) for connection in found))
    sys.stdout.flush()
    note(f"{count} connection{'' if count == 1 else 's'}")


def delete(
    provider_config_key: options.Key,
    connection_id: options.ConnectionId,
    *,
    revoke: Annotated[bool, typer.Option("--revoke", help="Ask the provider to revoke the tokens first.")] = False,
    etag: options.Etag = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
    timeout: options.Timeout = options.TIMEOUT,
    address: options.Address = "",
) -> None:
    """Delete a connection, its credentials and all its data for good. Asks on a terminal."""
    options.confirm(f"Delete {provider_config_key}/{connection_id} for good?", yes=yes)
    request = DeleteConnectionRequest(
        provider_config_key=provider_config_key, connection_id=connection_id, revoke=revoke, etag=etag
    )
    with connect(timeout, address) as client:
        response = client.call(client.connections.DeleteConnection, request)
    if as_json:
        print_json(response)
        return
    note(f"deleted {clean(provider_config_key)}/{clean(connection_id)}")
    if revoke:
        note(f"tokens at the provider: {label(response, 'revocation').replace('_', ' ') or 'unknown'}")


def _stream(client: Client, request: ListConnectionsRequest) -> Iterator[Connection]:
    """Yield connections. A stream that ends early after it brought something is resumed from its last page, so a list
    longer than the deadline, or one that a restart cuts off, still is complete.
    """
    left = request.limit
    while True:
        progress = False
        try:
            for page in client.stream(client.connections.ListConnections, request):
                yield from page.connections
                left -= len(page.connections)
                progress = True
                request.page_token = page.next_page_token
        except grpc.RpcError as error:
            resumable = failure_of(error).code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
            if not (progress and resumable):
                raise client.error(error) from None
            if not request.page_token or (request.limit and left <= 0):
                return
            if request.limit:
                request.limit = left
        else:
            return


def _row(connection: Connection) -> tuple[str, ...]:
    tags = connection.tags
    name = connection.display_name or tags.get("end_user_display_name", "") or tags.get("end_user_email", "")
    return (
        connection.provider_config_key,
        connection.connection_id,
        name,
        label(connection, "status"),
        instant(connection, "credentials_expire_time"),
        instant(connection, "create_time"),
        ",".join(f"{key}={value}" for key, value in sorted(tags.items())),
    )


def _show(connection: Connection, *, reveal: bool, token: bool, as_json: bool) -> None:
    if token:
        sys.stdout.write(_token(connection.credentials) + "\n")
    elif as_json:
        print_json(connection, reveal=reveal)
    else:
        print_connection(connection, reveal=reveal)


def print_connection(connection: Connection, *, reveal: bool = False) -> None:
    """Print a connection for people."""
    shown = connection if reveal else redact(connection)
    fields = to_json(shown, reveal=True)
    credentials = fields.get("credentials", {})
    kind = shown.credentials.WhichOneof("kind")
    secrets = credentials.get(kind, {}) if kind else {}
    print_fields(
        [
            ("integration", connection.provider_config_key),
            ("connection", connection.connection_id),
            ("name", connection.display_name),
            ("provider", connection.provider),
            ("auth mode", label(connection, "auth_mode")),
            ("status", label(connection, "status")),
            ("why", label(connection, "status_reason")),
            *((name.replace("_", " "), _plain(value)) for name, value in secrets.items()),
            ("raw", compact(credentials.get("raw"))),
            ("granted scopes", " ".join(connection.granted_scopes)),
            ("config", compact(fields["connection_config"]) if connection.HasField("connection_config") else ""),
            ("metadata", compact(fields["metadata"]) if connection.HasField("metadata") else ""),
            ("tags", " ".join(f"{key}={value}" for key, value in sorted(connection.tags.items()))),
            ("created", instant(connection, "create_time")),
            ("updated", instant(connection, "update_time")),
            ("expires", instant(connection, "credentials_expire_time")),
            ("last refresh", instant(connection, "last_refresh_time")),
            ("last failure", instant(connection, "last_refresh_failure_time")),
            ("next refresh", instant(connection, "next_refresh_time")),
            ("failed attempts", str(connection.refresh_attempts or "")),
            ("generation", str(connection.generation)),
            ("etag", connection.etag),
        ]
    )


def _plain(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _token(credentials: Credentials) -> str:
    kind = credentials.WhichOneof("kind")
    token = {
        "oauth2": credentials.oauth2.access_token,
        "oauth2_cc": credentials.oauth2_cc.access_token,
        "api_key": credentials.api_key.api_key,
    }.get(kind or "", "")
    if not token:
        raise CliError(
            "the connection has no single token" + (" but a login" if kind == "basic" else ""),
            next_step="use --json --reveal for all its credentials",
        )
    return token
