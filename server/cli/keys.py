"""`keys`: what callers authenticate with."""

from __future__ import annotations

import sys
import time
from typing import Annotated

import typer
from connections.v1.admin_service_pb2 import CreateApiKeyRequest, DeleteApiKeyRequest, ListApiKeysRequest

from server.cli import options
from server.cli.client import connect
from server.cli.help import examples
from server.cli.output import note, print_json, print_json_line, print_table
from server.cli.text import clean, instant

app = typer.Typer(no_args_is_help=True, help="Create and revoke API keys. Needs an admin key.")


@app.command(epilog=examples("connections keys create --environment prod --display-name billing --expires-in 90d"))
def create(
    *,
    environment: options.Environment,
    display_name: Annotated[str, typer.Option("--display-name", help="What the key is for.")] = "",
    admin: Annotated[bool, typer.Option("--admin", help="Let it manage environments and keys.")] = False,
    expires_in: Annotated[
        float,
        typer.Option(
            "--expires-in",
            metavar="DURATION",
            parser=options.duration,
            help="How long it is accepted; for ever if left out.",
            show_default=False,
        ),
    ] = options.ZERO,
    as_json: options.Json = False,
    timeout: options.Timeout = options.TIMEOUT,
    address: options.Address = "",
) -> None:
    """Create an API key. The key is printed this once, alone on standard output, and cannot be shown again."""
    request = CreateApiKeyRequest(environment=environment, display_name=display_name, admin=admin)
    if expires_in:
        request.expire_time.FromNanoseconds(time.time_ns() + round(expires_in * 1e9))
    with connect(timeout, address) as client:
        response = client.call(client.admin.CreateApiKey, request)
    if as_json:
        # The key is what the call is for; masked, it would be lost.
        print_json(response, reveal=True)
        return
    key = response.api_key
    sys.stdout.write(response.secret + "\n")
    sys.stdout.flush()
    until = instant(key, "expire_time")
    note(
        f"key {clean(key.api_key_id)} of environment {clean(key.environment)}{', admin' if key.admin else ''}"
        f"{f', until {until}' if until else ''}. Keep it now: it cannot be shown again."
    )


@app.command("list", epilog=examples("connections keys list --environment prod"))
def list_(
    *,
    environment: options.Environment,
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON for each.")] = False,
    timeout: options.Timeout = options.TIMEOUT,
    address: options.Address = "",
) -> None:
    """List the API keys of an environment, newest first, by their last four characters."""
    with connect(timeout, address) as client:
        keys = client.call(client.admin.ListApiKeys, ListApiKeysRequest(environment=environment)).api_keys
    if as_json:
        for key in keys:
            print_json_line(key)
        return
    rows = (
        (
            key.api_key_id,
            f"…{key.suffix}",
            key.display_name,
            "admin" if key.admin else "",
            instant(key, "create_time"),
            instant(key, "expire_time"),
        )
        for key in keys
    )
    print_table(("ID", "KEY", "NAME", "RIGHTS", "CREATED", "EXPIRES"), rows)


@app.command(epilog=examples("connections keys delete 8c0f2f0e-6a51-4c54-9d6e-0d5b8f7a3c11 --environment prod"))
def delete(
    api_key_id: Annotated[str, typer.Argument(metavar="API_KEY_ID", show_default=False)],
    *,
    environment: options.Environment,
    yes: options.Yes = False,
    timeout: options.Timeout = options.TIMEOUT,
    address: options.Address = "",
) -> None:
    """Revoke an API key for good. Asks on a terminal."""
    options.confirm(f"Revoke the key {api_key_id} of {environment} for good?", yes=yes)
    with connect(timeout, address) as client:
        client.call(client.admin.DeleteApiKey, DeleteApiKeyRequest(environment=environment, api_key_id=api_key_id))
    note(f"revoked {clean(api_key_id)}; other processes stop accepting it within seconds")
