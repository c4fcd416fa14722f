"""`keyring`: the keys that protect everything stored."""

from __future__ import annotations

import base64
import json
import secrets
import sys

import typer

from server.cli.help import examples
from server.cli.output import note

app = typer.Typer(no_args_is_help=True, help="Make the keyring that protects everything stored.")


@app.callback()
def keyring() -> None:
    """Keep `new` a command of the group although it is the only one."""


@app.command(epilog=examples("(umask 077; connections keyring new > keyring.json)"))
def new() -> None:
    """Print a new keyring with one random key. Whoever loses it loses every credential stored under it."""
    key = base64.b64encode(secrets.token_bytes(32)).decode()
    sys.stdout.write(json.dumps({"primary": "k1", "keys": {"k1": key}}) + "\n")
    sys.stdout.flush()
    note(
        "Keep it where only the server can read it, and a copy elsewhere: without it, nothing stored can be read.\n"
        "Use it: CONNECTIONS_KEYRING_FILE=/path/to/keyring.json connections serve"
    )
