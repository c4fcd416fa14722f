"""The `connections` command."""

from __future__ import annotations

import importlib.metadata
import os
import sys
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

from server.cli import (
    connections,
    environments,
    importing,
    integrations,
    keyring,
    keys,
    metadata,
    providers,
    serving,
    tags,
)
from server.cli.errors import EXIT_CODES, INTERRUPTED, CliError
from server.cli.help import examples

_FINDING = (
    "The server is found in CONNECTIONS_ADDRESS, else on this machine; the key in CONNECTIONS_API_KEY, else in the"
    " dev.key of CONNECTIONS_DATA_DIR."
)

_EPILOG = "\n\n".join(
    (
        examples(
            "connections providers list",
            "connections integrations create github --provider github --client-id ID --client-secret-stdin < secret",
            "connections get github customer-42",
        ),
        _FINDING,
        EXIT_CODES,
    )
)

app = typer.Typer(
    name="connections",
    no_args_is_help=True,
    help="Keep customers' credentials for third-party APIs working, and hand them out.",
    epilog=_EPILOG,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"connections {version()}\n")
        raise typer.Exit


def version() -> str:
    """Return the version of the installed package, `unknown` when run from a tree that is not installed."""
    try:
        return importlib.metadata.version("connections")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


@app.callback()
def _root(
    *,
    show_version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


connections.register(app)
importing.register(app)
app.add_typer(metadata.app, name="metadata")
app.add_typer(tags.app, name="tags")
app.add_typer(integrations.app, name="integrations")
app.add_typer(providers.app, name="providers")
app.add_typer(keys.app, name="keys")
app.add_typer(environments.app, name="environments")
app.add_typer(keyring.app, name="keyring", rich_help_panel="Server")
serving.register(app)


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command and exit with its code. `argv` is without the program's name."""
    code: object = 0
    try:
        app(args=None if argv is None else list(argv), prog_name="connections")
    except SystemExit as exit_:
        code = exit_.code
    except CliError as error:
        sys.stderr.write(error.render() + "\n")
        code = error.exit_code
    except KeyboardInterrupt:
        code = INTERRUPTED
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # `connections list | head`: the reader has what it wanted. Point stdout elsewhere, or the interpreter complains
        # when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise SystemExit(code)


if __name__ == "__main__":
    main()
