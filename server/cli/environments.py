"""`environments`: the tenant boundary."""

from __future__ import annotations

from typing import Annotated

import typer
from connections.v1.admin_service_pb2 import CreateEnvironmentRequest, ListEnvironmentsRequest

from server.cli import options
from server.cli.client import connect
from server.cli.help import examples
from server.cli.output import note, print_json, print_json_line, print_table
from server.cli.text import clean, instant

app = typer.Typer(no_args_is_help=True, help="Create and list environments. Needs an admin key.")


@app.command(epilog=examples("connections environments create prod"))
def create(
    name: Annotated[str, typer.Argument(help="Lower-case letters, digits and dashes.", show_default=False)],
    *,
    as_json: options.Json = False,
    timeout: options.Timeout = options.TIMEOUT,
    address: options.Address = "",
) -> None:
    """Create an environment."""
    with connect(timeout, address) as client:
        response = client.call(client.admin.CreateEnvironment, CreateEnvironmentRequest(name=name))
    if as_json:
        print_json(response.environment)
        return
    created = clean(response.environment.name)
    note(f"created {created}; connections keys create --environment {created} makes a key for it")


@app.command("list", epilog=examples("connections environments list"))
def list_(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON for each.")] = False,
    timeout: options.Timeout = options.TIMEOUT,
    address: options.Address = "",
) -> None:
    """List the environments by name."""
    with connect(timeout, address) as client:
        found = client.call(client.admin.ListEnvironments, ListEnvironmentsRequest()).environments
    if as_json:
        for environment in found:
            print_json_line(environment)
        return
    print_table(("ENVIRONMENT", "UID", "CREATED"), ((e.name, e.uid, instant(e, "create_time")) for e in found))
