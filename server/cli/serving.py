"""The server's own commands: thin shells around `server.app`, which is imported only when it is needed."""

from __future__ import annotations

import dataclasses
import os
import sys
from typing import Annotated, Any, Final

import grpc
import typer
from grpc_health.v1 import health_pb2, health_pb2_grpc

from server.cli import options
from server.cli.client import find_target, open_channel
from server.cli.errors import FAILED, NOT_FOUND, USAGE, CliError, cli_error
from server.cli.help import examples
from server.cli.output import note, print_table
from server.config import Config, ConfigError

_HEALTH_TIMEOUT: Final[Any] = "5s"


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    panel = "Server"
    app.command(rich_help_panel=panel, epilog=examples("connections serve --workers 4"))(serve)
    app.command(rich_help_panel=panel, epilog=examples("connections migrate"))(migrate)
    app.command(rich_help_panel=panel, epilog=examples("connections bootstrap --environment prod"))(bootstrap)
    app.command("check-config", rich_help_panel=panel, epilog=examples("connections check-config"))(check_config)
    app.command(rich_help_panel=panel, epilog=examples("connections healthcheck --timeout 2s"))(healthcheck)


def serve(
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, max=256, help="Processes on one port, instead of CONNECTIONS_WORKERS."),
    ] = None,
) -> None:
    """Run the server until it is told to stop. Settings: connections check-config."""
    config = _config()
    problems = config.serving_problems()
    if problems:
        raise CliError("\n  ".join(("the server cannot start:", *problems)), USAGE)
    if workers is not None:
        config = dataclasses.replace(config, workers=workers)
    import server.app  # noqa: PLC0415 - a client has no use for the server's modules
    import server.prepare  # noqa: PLC0415

    try:
        code = server.app.serve(config)
    except server.prepare.StartError as error:
        raise CliError(f"the server cannot start: {error}", FAILED) from None
    if code:
        raise typer.Exit(code)


def migrate() -> None:
    """Bring the database's tables up to this version. Safe to repeat, and while the previous version serves."""
    config = _config()
    import server.prepare  # noqa: PLC0415 - a client has no use for the server's modules

    try:
        server.prepare.migrate(config)
    except server.prepare.StartError as error:
        raise CliError(str(error), FAILED) from None
    note("the database is up to date")


def bootstrap(
    environment: options.Environment,
    *,
    recover: Annotated[
        bool, typer.Option("--recover", help="Make one more admin key for an environment whose keys are lost.")
    ] = False,
) -> None:
    """Create an environment and its first admin key directly in the database. Prints the key, this once."""
    config = _config()
    import server.prepare  # noqa: PLC0415 - a client has no use for the server's modules

    try:
        key = server.prepare.bootstrap(config, environment, recover=recover)
    except server.prepare.StartError as error:
        raise CliError(str(error), FAILED) from None
    sys.stdout.write(key + "\n")
    sys.stdout.flush()
    note(f"{'an' if recover else 'the first'} admin key of {environment}. Keep it now: it cannot be shown again.")


def check_config() -> None:
    """Check the settings without starting anything, and show the values in use. Secrets are masked."""
    config = _config()
    print_table(
        ("SETTING", "VALUE", "DEFAULT", "MEANING"),
        ((row.name, row.value, row.default, row.help) for row in config.describe()),
    )
    sys.stdout.flush()
    problems = config.serving_problems()
    if problems:
        raise CliError("\n  ".join(("the server would not start:", *problems)), USAGE)
    note("the settings are valid")


def healthcheck(
    *,
    service: Annotated[str, typer.Option("--service", help="One service, by its full name, instead of all.")] = "",
    timeout: options.Timeout = _HEALTH_TIMEOUT,
    address: options.Address = "",
) -> None:
    """Ask the server whether it serves (grpc.health.v1). Needs no key. Exit code 0 if it does, else 1, 3 or 5."""
    target = find_target(os.environ, address)
    request = health_pb2.HealthCheckRequest(service=service)
    with open_channel(target) as channel:
        try:
            response = health_pb2_grpc.HealthStub(channel).Check(request, timeout=timeout)
        except grpc.RpcError as error:
            if service and error.code() is grpc.StatusCode.NOT_FOUND:
                raise CliError(f"{target.address} has no service {service!r}", NOT_FOUND) from None
            raise cli_error(error, target.address, timeout) from None
    state = health_pb2.HealthCheckResponse.ServingStatus.Name(response.status)
    if response.status != health_pb2.HealthCheckResponse.SERVING:
        raise CliError(f"{target.address} says {state}", FAILED)
    note(f"{target.address} says {state}")


def _config() -> Config:
    try:
        return Config.from_environment(os.environ)
    except ConfigError as error:
        raise CliError(
            "\n  ".join(("wrong settings:", *error.problems)), USAGE, "docs/configuration.md lists all settings"
        ) from None
