"""`import`: credentials obtained elsewhere, one connection or a file of them."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from connections.v1.connection_service_pb2 import CreateConnectionRequest

from server.cli import bulk, completion, options
from server.cli.client import connect, find_target
from server.cli.connections import print_connection
from server.cli.errors import FAILED, INTERRUPTED, CliError
from server.cli.help import examples
from server.cli.output import note, print_json
from server.cli.requests import parse_request, parse_token_response

_EXAMPLES = examples(
    "connections import github customer-42 --token-response response.json --tag organization=acme",
    "connections import github customer-42 --access-token @token --refresh-token @refresh --expires-in 1h",
    "connections import sendgrid customer-42 --api-key - < key",
    "connections import --file connection.json      (or: connections import < connection.json)",
    "connections import --jsonl connections.jsonl --errors failed.jsonl",
)

_SECRET = "@file and - read it from elsewhere, where `ps` does not show it."  # noqa: S105 - help text


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("import", epilog=_EXAMPLES)(import_)


def import_(
    provider_config_key: Annotated[
        str,
        typer.Argument(
            metavar="PROVIDER_CONFIG_KEY",
            help="The integration.",
            autocompletion=completion.integrations,
            show_default=False,
        ),
    ] = "",
    connection_id: Annotated[
        str,
        typer.Argument(metavar="CONNECTION_ID", help="A name of your choice; a UUID if left out.", show_default=False),
    ] = "",
    *,
    file: Annotated[
        str,
        typer.Option("--file", metavar="PATH", help="One connection as JSON, a CreateConnectionRequest; - for stdin."),
    ] = "",
    jsonl: Annotated[
        str, typer.Option("--jsonl", metavar="PATH", help="Many, one on each line; - for stdin. Safe to repeat.")
    ] = "",
    errors: Annotated[
        Path | None, typer.Option("--errors", metavar="PATH", help="With --jsonl: write failed lines' reasons here.")
    ] = None,
    concurrency: Annotated[
        int, typer.Option("--concurrency", min=1, max=1024, help="With --jsonl: calls in flight.")
    ] = 64,
    token_response: Annotated[
        str,
        typer.Option(
            "--token-response", metavar="PATH", help="The provider's token response (JSON), just received; - for stdin."
        ),
    ] = "",
    access_token: Annotated[
        str | None, typer.Option("--access-token", help=f"OAuth 2.0 access token; {_SECRET}")
    ] = None,
    refresh_token: Annotated[str | None, typer.Option("--refresh-token", help=f"Refresh token; {_SECRET}")] = None,
    expires_in: Annotated[
        float,
        typer.Option(
            "--expires-in",
            metavar="DURATION",
            parser=options.duration,
            help="Life of the access token; not known if left out.",
            show_default=False,
        ),
    ] = options.ZERO,
    token_type: Annotated[str, typer.Option("--token-type", help="How to use it, for example Bearer.")] = "",
    scope: Annotated[list[str] | None, typer.Option("--scope", help="Scope that was granted; repeatable.")] = None,
    client_id: Annotated[
        str | None, typer.Option("--client-id", help="Client credentials: the connection's client.")
    ] = None,
    client_secret: Annotated[str | None, typer.Option("--client-secret", help=f"Its secret; {_SECRET}")] = None,
    api_key: Annotated[str | None, typer.Option("--api-key", help=f"API key; {_SECRET}")] = None,
    username: Annotated[str | None, typer.Option("--username", help="Login: the user-id.")] = None,
    password: Annotated[str | None, typer.Option("--password", help=f"Login: the password; {_SECRET}")] = None,
    tag: Annotated[list[str] | None, typer.Option("--tag", metavar="NAME=VALUE", help="Tag; repeatable.")] = None,
    metadata: Annotated[str, typer.Option("--metadata", metavar="JSON", help="JSON object, @file or -.")] = "",
    connection_config: Annotated[
        list[str] | None,
        typer.Option("--connection-config", metavar="NAME=VALUE", help="Value that the template needs; repeatable."),
    ] = None,
    display_name: Annotated[
        str | None, typer.Option("--display-name", help="What people see instead of the id.")
    ] = None,
    etag: options.Etag = "",
    as_json: options.Json = False,
    timeout: options.Timeout = options.TIMEOUT,
    address: options.Address = "",
) -> None:
    """Import credentials: create the connection, or update the one that has the key. What is left out is kept.

    A line of --jsonl is the protobuf JSON form of CreateConnectionRequest, for example
    {"provider_config_key": "github", "connection_id": "customer-42", "credentials": {"oauth2": {"access_token": "…"}}}.
    Every line needs a connection_id, so an import that was interrupted is simply run again.
    """
    piped = not (provider_config_key or file or jsonl) and not sys.stdin.isatty()
    text = sys.stdin.read() if piped else ""
    if bool(provider_config_key) + bool(file) + bool(jsonl) + bool(text) != 1:
        raise typer.BadParameter(
            "give either a PROVIDER_CONFIG_KEY with options, or --file (or pipe one connection in), or --jsonl",
            param_hint="import",
        )
    if jsonl:
        _bulk(jsonl, errors, concurrency, timeout, address)
        return
    if file or text:
        text = text or _read(file, "--file")
        try:
            request = parse_request(text)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--file" if file else "standard input") from None
    else:
        request = CreateConnectionRequest(
            provider_config_key=provider_config_key, connection_id=connection_id, display_name=display_name, etag=etag
        )
        _set_credentials(
            request,
            token_response=token_response,
            oauth2={"access_token": access_token, "refresh_token": refresh_token},
            client={"client_id": client_id, "client_secret": client_secret},
            api_key=api_key,
            login={"username": username, "password": password},
            token={"token_type": token_type, "scopes": scope or [], "expires_in": expires_in},
        )
        if tag:
            request.tags.tags.update(options.pairs(tag, "--tag"))
        if metadata:
            request.metadata.CopyFrom(options.json_object(metadata, "--metadata"))
        if connection_config:
            request.connection_config.update(options.pairs(connection_config, "--connection-config"))
    with connect(timeout, address) as client:
        response = client.call(client.connections.CreateConnection, request)
    if as_json:
        print_json(response)
        return
    print_connection(response.connection)
    note("created" if response.created else "updated")


def _set_credentials(
    request: CreateConnectionRequest,
    *,
    token_response: str,
    oauth2: dict[str, str | None],
    client: dict[str, str | None],
    api_key: str | None,
    login: dict[str, str | None],
    token: dict[str, Any],
) -> None:
    kinds = {
        "--token-response": bool(token_response),
        "--access-token": any(value is not None for value in oauth2.values()),
        "--api-key": api_key is not None,
        "--username": any(value is not None for value in login.values()),
    }
    if any(value is not None for value in client.values()):
        # An access token may come with a client of the connection's own; a refresh token cannot.
        if oauth2["refresh_token"] is not None:
            raise typer.BadParameter("client credentials have no refresh token", param_hint="--refresh-token")
        del kinds["--access-token"]
        kinds["--client-id"] = True
    given = [name for name, present in kinds.items() if present]
    if len(given) > 1:
        raise typer.BadParameter("credentials of one kind only", param_hint=" and ".join(given))
    if not given:
        return
    if given == ["--token-response"]:
        try:
            request.credentials.CopyFrom(parse_token_response(_read(token_response, "--token-response")))
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--token-response") from None
        return
    credentials = request.credentials
    if given == ["--api-key"]:
        credentials.api_key.api_key = options.secret_text(api_key or "")
        return
    if given == ["--username"]:
        credentials.basic.username = login["username"] or ""
        credentials.basic.password = options.secret_text(login["password"] or "")
        return
    kind: Any = credentials.oauth2_cc if given == ["--client-id"] else credentials.oauth2
    if given == ["--client-id"]:
        kind.client_id = client["client_id"] or ""
        kind.client_secret = options.secret_text(client["client_secret"] or "")
    else:
        kind.refresh_token = options.secret_text(oauth2["refresh_token"] or "")
    kind.access_token = options.secret_text(oauth2["access_token"] or "")
    kind.token_type = token["token_type"]
    kind.scopes.extend(token["scopes"])
    if token["expires_in"]:
        kind.expire_time.FromNanoseconds(time.time_ns() + round(token["expires_in"] * 1e9))


def _bulk(jsonl: str, errors: Path | None, concurrency: int, timeout: float, address: str) -> None:
    target = find_target(os.environ, address)
    target.metadata()
    try:
        summary = asyncio.run(bulk.run(target, jsonl, errors, concurrency=concurrency, call_timeout=timeout))
    except OSError as error:
        raise CliError(f"{error.filename or jsonl} cannot be opened: {error.strerror}") from None
    note(summary.sentence())
    if summary.interrupted:
        raise CliError(
            f"interrupted; every line before line {summary.complete_to + 1} is done",
            INTERRUPTED,
            "run the same command again: lines that are imported already are updated in place",
        )
    if summary.stopped is not None:
        raise summary.stopped
    if summary.failed:
        lines = "line" if summary.total == 1 else "lines"
        raise CliError(f"{summary.failed} of {summary.total} {lines} failed", FAILED, "correct them and import again")


def _read(path: str, option: str) -> str:
    try:
        return sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise typer.BadParameter(f"the file {path!r} cannot be read as text", param_hint=option) from None
