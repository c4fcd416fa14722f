"""`integrations`: one environment's set-up of a provider."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Annotated

import typer
from connections.v1.integration_pb2 import Integration
from connections.v1.integration_service_pb2 import (
    CreateIntegrationRequest,
    DeleteIntegrationRequest,
    GetIntegrationRequest,
    ListIntegrationsRequest,
    UpdateIntegrationRequest,
)

from server.cli import completion, options
from server.cli.client import Client, connect
from server.cli.help import examples
from server.cli.output import compact, note, print_fields, print_json, print_json_line, print_table, to_json
from server.cli.text import clean, instant, label

app = typer.Typer(no_args_is_help=True, help="Set providers up: client id and secret, scopes.")

NewKey = Annotated[
    str, typer.Argument(metavar="PROVIDER_CONFIG_KEY", help="A name of your choice.", show_default=False)
]
ClientId = Annotated[str | None, typer.Option("--client-id", help="Client id registered with the provider.")]
ClientSecret = Annotated[
    str | None,
    typer.Option(
        "--client-secret", help="Its secret; @file and - read it from elsewhere, where `ps` does not show it."
    ),
]
SecretStdin = Annotated[bool, typer.Option("--client-secret-stdin", help="Read the secret from standard input.")]
SecretEnv = Annotated[str, typer.Option("--client-secret-env", metavar="VARIABLE", help="Read it from this variable.")]
Scopes = Annotated[
    list[str] | None, typer.Option("--scope", help="Scope to ask for; repeatable. The template's own if none.")
]
ConfigPairs = Annotated[
    list[str] | None,
    typer.Option("--connection-config", metavar="NAME=VALUE", help="Value that all connections share; repeatable."),
]
DisplayName = Annotated[str | None, typer.Option("--display-name", help="What people see instead of the key.")]


@app.command(
    epilog=examples(
        "connections integrations create github --provider github --client-id Iv1.abc --client-secret-stdin < secret",
        "connections integrations create sendgrid --provider sendgrid",
    )
)
def create(
    provider_config_key: NewKey,
    *,
    provider: Annotated[
        str,
        typer.Option("--provider", help="Template's name.", autocompletion=completion.providers, show_default=False),
    ],
    client_id: ClientId = None,
    client_secret: ClientSecret = None,
    client_secret_stdin: SecretStdin = False,
    client_secret_env: SecretEnv = "",
    scope: Scopes = None,
    connection_config: ConfigPairs = None,
    display_name: DisplayName = None,
    as_json: options.Json = False,
    timeout: options.Timeout = options.TIMEOUT,
    address: options.Address = "",
) -> None:
    """Create an integration. With a client id and no secret, asks for the secret on a terminal."""
    secret = _client_secret(client_secret, from_stdin=client_secret_stdin, variable=client_secret_env)
    if secret is None and client_id and sys.stdin.isatty():
        secret = str(
            typer.prompt("Client secret (empty for none)", default="", hide_input=True, show_default=False, err=True)
        )
    integration = Integration(
        provider_config_key=provider_config_key,
        provider=provider,
        client_id=client_id or "",
        client_secret=secret or "",
        scopes=scope or (),
        display_name=display_name or "",
    )
    if connection_config:
        integration.connection_config.update(options.pairs(connection_config, "--connection-config"))
    with connect(timeout, address) as client:
        response = client.call(client.integrations.CreateIntegration, CreateIntegrationRequest(integration=integration))
    _show(response.integration, as_json=as_json)


@app.command(epilog=examples("connections integrations get github"))
def get(
    provider_config_key: options.Key,
    *,
    as_json: options.Json = False,
    timeout: options.Timeout = options.TIMEOUT,
    address: options.Address = "",
) -> None:
    """Show an integration. Its client secret is never shown."""
    with connect(timeout, address) as client:
        request = GetIntegrationRequest(provider_config_key=provider_config_key)
        integration: Integration = client.call(client.integrations.GetIntegration, request).integration
    _show(integration, as_json=as_json)


@app.command("list", epilog=examples("connections integrations list --json"))
def list_(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON for each.")] = False,
    timeout: options.Timeout = options.TIMEOUT,
    address: options.Address = "",
) -> None:
    """List the integrations by key."""
    with connect(timeout, address) as client:
        found = _all(client)
        if as_json:
            for integration in found:
                print_json_line(integration)
            return
        rows = (
            (
                item.provider_config_key,
                item.provider,
                label(item, "auth_mode"),
                item.client_id,
                "set" if item.client_secret_set else "",
                item.display_name,
            )
            for item in found
        )
        count = print_table(("INTEGRATION", "PROVIDER", "AUTH MODE", "CLIENT ID", "SECRET", "NAME"), rows)
    if not count:
        note("no integrations yet; connections integrations create KEY --provider PROVIDER makes one")


@app.command(
    epilog=examples(
        "connections integrations update github --client-secret-stdin < new-secret",
        "connections integrations update github --scope repo --scope read:org",
    )
)
def update(
    provider_config_key: options.Key,
    *,
    client_id: ClientId = None,
    client_secret: ClientSecret = None,
    client_secret_stdin: SecretStdin = False,
    client_secret_env: SecretEnv = "",
    scope: Scopes = None,
    connection_config: ConfigPairs = None,
    display_name: DisplayName = None,
    etag: options.Etag = "",
    as_json: options.Json = False,
    timeout: options.Timeout = options.TIMEOUT,
    address: options.Address = "",
) -> None:
    """Change what the options name and nothing else. A list or config is replaced as a whole."""
    request = UpdateIntegrationRequest(etag=etag)
    request.integration.provider_config_key = provider_config_key
    secret = _client_secret(client_secret, from_stdin=client_secret_stdin, variable=client_secret_env)
    for name, value in (("client_id", client_id), ("client_secret", secret), ("display_name", display_name)):
        if value is not None:
            setattr(request.integration, name, value)
            request.update_mask.paths.append(name)
    if scope is not None:
        request.integration.scopes.extend(item for item in scope if item)
        request.update_mask.paths.append("scopes")
    if connection_config is not None:
        request.integration.connection_config.update(options.pairs(connection_config, "--connection-config"))
        request.update_mask.paths.append("connection_config")
    if not request.update_mask.paths:
        raise typer.BadParameter("name something to change", param_hint="options")
    with connect(timeout, address) as client:
        _show(client.call(client.integrations.UpdateIntegration, request).integration, as_json=as_json)


@app.command(epilog=examples("connections integrations delete github --force"))
def delete(
    provider_config_key: options.Key,
    *,
    force: Annotated[bool, typer.Option("--force", help="Delete its connections with it.")] = False,
    etag: options.Etag = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
    timeout: options.Timeout = options.TIMEOUT,
    address: options.Address = "",
) -> None:
    """Delete an integration. Refused if it has connections, unless --force. Asks on a terminal."""
    options.confirm(
        f"Delete the integration {provider_config_key}{' and all its connections' if force else ''} for good?", yes=yes
    )
    request = DeleteIntegrationRequest(provider_config_key=provider_config_key, force=force, etag=etag)
    with connect(timeout, address) as client:
        response = client.call(client.integrations.DeleteIntegration, request)
    if as_json:
        print_json(response)
        return
    more = f" and {response.deleted_connections} connections" if response.deleted_connections else ""
    note(f"deleted {clean(provider_config_key)}{more}")


def _client_secret(given: str | None, *, from_stdin: bool, variable: str) -> str | None:
    if (given is not None) + from_stdin + bool(variable) > 1:
        raise typer.BadParameter("give the secret in one way only", param_hint="--client-secret")
    if from_stdin:
        return options.secret_text("-")
    if variable:
        if variable not in os.environ:
            raise typer.BadParameter(f"the variable {variable} is not set", param_hint="--client-secret-env")
        return os.environ[variable]
    return None if given is None else options.secret_text(given)


def _all(client: Client) -> Iterator[Integration]:
    request = ListIntegrationsRequest(page_size=1000)
    while True:
        page = client.call(client.integrations.ListIntegrations, request)
        yield from page.integrations
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


def _show(integration: Integration, *, as_json: bool) -> None:
    if as_json:
        print_json(integration)
        return
    print_fields(
        [
            ("integration", integration.provider_config_key),
            ("provider", integration.provider),
            ("auth mode", label(integration, "auth_mode")),
            ("name", integration.display_name),
            ("client id", integration.client_id),
            ("client secret", "set" if integration.client_secret_set else "not set"),
            ("scopes", " ".join(integration.scopes)),
            ("config", compact(to_json(integration).get("connection_config"))),
            ("created", instant(integration, "create_time")),
            ("updated", instant(integration, "update_time")),
            ("etag", integration.etag),
        ]
    )
