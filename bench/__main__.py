"""`python -m bench`: measure this machine. See docs/performance.md."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from bench import get, importing, listing, report, steps
from bench.bed import prepared
from bench.load import LoadError, find

PARTS: Final = ("get", "list", "import", "steps")
_HOME: Final = Path(__file__).resolve().parents[1] / ".cache" / "bench"
_MISSING_TOOL: Final = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is asked for and print it; return the exit code."""
    options = _parser().parse_args(arguments)
    parts = options.only or ["get", "list"]
    if "get" in parts:
        try:
            find()
        except LoadError as error:
            print(error, file=sys.stderr)
            return _MISSING_TOOL
    found: dict[str, Any] = {}
    with prepared(options.directory.resolve(), options.database_url, options.rows) as bed:
        if "get" in parts:
            found["get"] = get.measure(bed, rounds=options.rounds, seconds=options.seconds, note=_note)
        if "list" in parts:
            found["list"] = listing.measure(bed, rounds=min(options.rounds, 3), note=_note)
        if "import" in parts:
            found["import"] = importing.measure(bed, lines=options.lines, note=_note)
        if "steps" in parts:
            found["steps"] = steps.run(bed)
    with contextlib.suppress(BrokenPipeError):
        if options.json:
            print(json.dumps({"machine": report.machine()} | found, default=dataclasses.asdict, indent=2))
        else:
            print(report.render(found, rounds=options.rounds, seconds=options.seconds))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "--seconds", type=float, default=2.0, help="of each measurement of reads (default: %(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=7, help="interleaved rounds, of which medians are shown")
    parser.add_argument(
        "--rows", type=int, default=1_000_000, help="connections in the database (default: %(default)s)"
    )
    parser.add_argument("--lines", type=int, default=20_000, help="lines of the import (default: %(default)s)")
    parser.add_argument("--only", action="append", choices=PARTS, help="may be repeated (default: get and list)")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument(
        "--database-url", default="", help="an empty database to fill, instead of the embedded Postgres"
    )
    parser.add_argument(
        "--directory", type=Path, default=_HOME, help="where the embedded Postgres and its rows are kept"
    )
    return parser


def _note(text: str) -> None:
    print(text, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
