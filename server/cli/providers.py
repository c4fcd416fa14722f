"""`providers`: the templates that integrations can be made of."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from connections.v1.provider_pb2 import ConnectionConfigField, Provider
from connections.v1.provider_service_pb2 import GetProviderRequest, ListProvidersRequest

from server.cli import completion, options
from server.cli.client import Client, connect
from server.cli.help import examples
from server.cli.output import print_fields, print_json, print_json_line, print_table
from server.cli.text import label

app = typer.Typer(no_args_is_help=True, help="Look at the provider templates, and check files of them.")


@app.command("list", epilog=examples("connections providers list --search crm"))
def list_(
    *,
    search: Annotated[str, typer.Option("--search", help="Only with this text in name or category.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON for each.")] = False,
    timeout: options.Timeout = options.TIMEOUT,
    address: options.Address = "",
) -> None:
    """List the templates by name."""
    with connect(timeout, address) as client:
        found = _all(client, search)
        if as_json:
            for provider in found:
                print_json_line(provider)
            return
        rows = (
            (
                item.provider,
                item.display_name,
                label(item, "auth_mode"),
                ",".join(field.name for field in item.connection_config_fields if not field.optional),
                ",".join(item.categories),
                label(item, "source"),
            )
            for item in found
        )
        print_table(("PROVIDER", "NAME", "AUTH MODE", "NEEDS", "CATEGORIES", "SOURCE"), rows)


@app.command(epilog=examples("connections providers get github"))
def get(
    provider: Annotated[
        str, typer.Argument(metavar="PROVIDER", autocompletion=completion.providers, show_default=False)
    ],
    *,
    as_json: options.Json = False,
    timeout: options.Timeout = options.TIMEOUT,
    address: options.Address = "",
) -> None:
    """Show one template."""
    with connect(timeout, address) as client:
        found: Provider = client.call(client.providers.GetProvider, GetProviderRequest(provider=provider)).provider
    if as_json:
        print_json(found)
        return
    print_fields(
        [
            ("provider", found.provider),
            ("name", found.display_name),
            ("auth mode", label(found, "auth_mode")),
            ("categories", " ".join(found.categories)),
            ("docs", found.docs_url),
            ("authorization", found.authorization_url),
            ("token", found.token_url),
            ("default scopes", " ".join(found.default_scopes)),
            ("source", label(found, "source")),
            *(
                (
                    f"config {field.name}",
                    _meaning(field),
                )
                for field in found.connection_config_fields
            ),
        ]
    )


@app.command(epilog=examples("connections providers check acme.yaml", "connections providers check all.yaml --json"))
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file of one template or many.", show_default=False)],
    *,
    as_json: options.Json = False,
) -> None:
    """Check a file of templates: what is wrong stops a server's start, what is unsupported is read and not acted on.

    Needs no server. Exits with 1 if something is wrong.
    """
    # Templates are not needed by any other command, and reading them loads a good part of the server.
    from server.providers.lint import check_file  # noqa: PLC0415

    report = check_file(file)
    if as_json:
        found = {
            "loaded": report.loaded,
            "problems": [dataclasses.asdict(note) for note in report.problems],
            "unsupported": [dataclasses.asdict(note) for note in report.unsupported],
        }
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
    else:
        for note in report.problems:
            key = f"{note.key}: " if note.key else ""
            sys.stdout.write(f"{note.path}:{note.line}: {note.provider or '-'}: {key}{note.text}\n")
        if report.unsupported:
            rows = ((f"{note.path}:{note.line}", note.provider, note.key, note.text) for note in report.unsupported)
            print_table(("WHERE", "PROVIDER", "KEY", "UNSUPPORTED"), rows)
        counts = f"{report.loaded} loaded, {len(report.problems)} wrong, {len(report.unsupported)} unsupported keys"
        sys.stdout.write(f"{file}: {counts}\n")
    if report.problems:
        raise typer.Exit(1)


def _meaning(field: ConnectionConfigField) -> str:
    example = f", for example {field.example}" if field.example else ""
    return f"{field.description or field.title}{example}{' (optional)' if field.optional else ''}"


def _all(client: Client, search: str) -> Iterator[Provider]:
    request = ListProvidersRequest(search=search, page_size=1000)
    while True:
        page = client.call(client.providers.ListProviders, request)
        yield from page.providers
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token
