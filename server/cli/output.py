"""Tables for people, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from itertools import chain, islice
from typing import Any, Final, TextIO

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from server.cli.text import clean
from server.telemetry.redaction import redact

_SAMPLE: Final = 100
_WIDEST: Final = 60
_EXACT_INTEGER: Final = 2**53


def to_json(message: Message, *, reveal: bool = False) -> dict[str, Any]:
    """Return a message as protobuf JSON with the contract's own field names, secrets masked unless revealed."""
    shown = message if reveal else redact(message)
    found = MessageToDict(shown, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    return {name: _integral(value) for name, value in found.items()}


def _integral(value: Any) -> Any:
    """Return a JSON value with integral numbers as integers. The contract's only floats are those of a `Struct`, which
    knows no integers: people and programs wrote 5 and shall not read 5.0.
    """
    if isinstance(value, dict):
        return {name: _integral(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_integral(item) for item in value]
    if isinstance(value, float) and value.is_integer() and abs(value) <= _EXACT_INTEGER:
        return int(value)
    return value


def print_json(message: Message, *, reveal: bool = False) -> None:
    """Print one message as an indented JSON object."""
    sys.stdout.write(json.dumps(to_json(message, reveal=reveal), indent=2, ensure_ascii=False) + "\n")


def print_json_line(message: Message) -> None:
    """Print one message of many as a line of JSON. Secrets are always masked."""
    sys.stdout.write(json.dumps(to_json(message), ensure_ascii=False, separators=(",", ":")) + "\n")


def note(text: str) -> None:
    """Print a remark for people on stderr, where it does not get into a program's input."""
    sys.stderr.write(text + "\n")


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]], *, out: TextIO | None = None) -> int:
    """Print rows as they come, in constant memory; return how many there were.

    Widths follow the first hundred rows. On a terminal a line is cut at its width; in a pipe nothing is cut or
    coloured, and columns are apart by two spaces or more.
    """
    stream = out or sys.stdout
    iterator = (tuple(clean(cell) for cell in row) for row in rows)
    sample = list(islice(iterator, _SAMPLE))
    widths = [min(_WIDEST, max(cell_len(cell) for cell in column)) for column in zip(headings, *sample, strict=True)]
    console = Console(file=stream, highlight=False) if stream.isatty() else None
    if sample:
        _print_line(stream, console, widths, headings, style="bold")
    count = 0
    for row in chain(sample, iterator):
        _print_line(stream, console, widths, row)
        count += 1
    return count


def _print_line(
    stream: TextIO, console: Console | None, widths: Sequence[int], cells: Sequence[str], style: str = ""
) -> None:
    padded = [cell + " " * max(0, width - cell_len(cell)) for cell, width in zip(cells, widths, strict=True)]
    line = "  ".join(padded).rstrip()
    if console is None:
        stream.write(line + "\n")
        return
    if cell_len(line) > console.width:
        line = set_cell_size(line, console.width - 1) + "…"
    console.print(Text(line, style=style), no_wrap=True, overflow="crop")


def print_fields(fields: Iterable[tuple[str, str]]) -> None:
    """Print names and values, one on a line, leaving out empty values."""
    shown = [(name, clean(value)) for name, value in fields if value]
    width = max((len(name) for name, _ in shown), default=0)
    terminal = sys.stdout.isatty()
    console = Console(highlight=False, soft_wrap=True)
    for name, value in shown:
        if terminal:
            console.print(Text.assemble((name.ljust(width), "bold"), "  ", value), soft_wrap=True)
        else:
            sys.stdout.write(f"{name.ljust(width)}  {value}\n")


def compact(value: Any) -> str:
    """Return a JSON value on one line; an empty object gives an empty text."""
    return json.dumps(value, ensure_ascii=False) if value else ""
