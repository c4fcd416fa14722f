"""Arguments and options that many commands share, and how their text becomes values."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from google.protobuf.struct_pb2 import Struct

from server import parsing
from server.cli import completion

_SAFE_INTEGER: Final = 2**53


def duration(text: str) -> float:
    """Return seconds. Raises a usage error."""
    try:
        return parsing.duration(text)
    except ValueError as error:
        raise typer.BadParameter(f"expected {error}") from None


Address = Annotated[
    str, typer.Option("--address", metavar="HOST:PORT", help="Server to call, instead of CONNECTIONS_ADDRESS.")
]
Timeout = Annotated[
    float,
    typer.Option("--timeout", metavar="DURATION", parser=duration, help="Give up after this long."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Etag = Annotated[str, typer.Option("--etag", help="Refuse unless this is the present etag.")]
Key = Annotated[
    str,
    typer.Argument(
        metavar="PROVIDER_CONFIG_KEY",
        help="The integration.",
        autocompletion=completion.integrations,
        show_default=False,
    ),
]
ConnectionId = Annotated[str, typer.Argument(metavar="CONNECTION_ID", help="The connection.", show_default=False)]
Environment = Annotated[str, typer.Option("--environment", "-e", metavar="NAME", help="The environment.")]

# As text: typer runs an option's parser over its default as well.
TIMEOUT: Final[Any] = "30s"
ZERO: Final[Any] = "0s"


def secret_text(text: str) -> str:
    """Return a secret given on the command line: itself, `@path` for a file's content, `-` for standard input."""
    return _source(text).strip("\r\n") if text == "-" or text.startswith("@") else text


def pairs(values: Sequence[str], option: str) -> dict[str, str]:
    """Return `k=v` texts as a mapping. Raises a usage error."""
    found: dict[str, str] = {}
    for value in values:
        key, equals, rest = value.partition("=")
        if not equals or not key:
            raise typer.BadParameter("expected NAME=VALUE", param_hint=option)
        if key in found:
            raise typer.BadParameter(f"{key} is given twice", param_hint=option)
        found[key] = rest
    return found


def json_object(text: str, what: str) -> Struct:
    """Return the JSON object in the text, in the file that `@path` names, or on standard input for `-`.

    Raises a usage error, also for what a Struct would silently change: NaN, and integers that a double cannot hold.
    """
    struct = Struct()
    struct.update(checked_object(_source(text), what))
    return struct


def checked_object(text: str, what: str) -> dict[str, Any]:
    """Return the JSON object in the text. Raises a usage error that does not repeat the text: it may be secret."""
    try:
        return parse_object(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=what) from None


def parse_object(text: str | bytes) -> dict[str, Any]:
    """Return the JSON object in the text. Raises ValueError that does not repeat the text."""
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from None
    except UnicodeDecodeError:
        raise ValueError("not JSON: the text is not UTF-8") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("expected a JSON object")  # noqa: TRY004 - callers tell people about ValueError alone
    _check_numbers(value)
    return value


def confirm(question: str, *, yes: bool) -> None:
    """Ask on a terminal, unless told not to; a script that pipes input in is not asked."""
    if not yes and sys.stdin.isatty():
        typer.confirm(question, abort=True, err=True)


def _source(text: str) -> str:
    if text == "-":
        return sys.stdin.read()
    if text.startswith("@"):
        path = Path(text[1:])
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            raise typer.BadParameter(f"the file {str(path)!r} cannot be read as text") from None
    return text


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _check_numbers(value: Any) -> None:
    if isinstance(value, dict):
        for item in value.values():
            _check_numbers(item)
    elif isinstance(value, list):
        for item in value:
            _check_numbers(item)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a number is too large")
    elif isinstance(value, int) and abs(value) > _SAFE_INTEGER:
        raise ValueError("an integer beyond 2^53 would lose digits; give it as a string")
