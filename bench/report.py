"""What was measured, for people: Markdown tables, ratios first."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any, Final

from bench.get import Comparison
from bench.importing import Import
from bench.listing import Listing
from bench.steps import Step

RATE_TARGET: Final = 0.5
P50_TARGET: Final = 1.8
LIST_TARGET: Final = 100_000
MEMORY_TARGET: Final = 150e6


def machine() -> dict[str, str]:
    """Return what the figures depend on besides the code."""
    return {
        "cores": str(os.cpu_count()),
        "load_average": f"{os.getloadavg()[0]:.1f}",
        "python": platform.python_version(),
        "grpcio": version("grpcio"),
        "protobuf": version("protobuf"),
        "psycopg": version("psycopg"),
        "uvloop": version("uvloop"),
        "kernel": platform.release(),
        "h2load": _first_line("h2load", "--version"),
    }


def render(found: Mapping[str, Any], *, rounds: int, seconds: float) -> str:
    """Return everything as Markdown."""
    parts = [", ".join(f"{name} {value}" for name, value in machine().items())]
    if "get" in found:
        parts.append(_get(found["get"], rounds, seconds))
    if "list" in found:
        parts.append(_list(found["list"]))
    if "import" in found:
        parts.append(_import(found["import"]))
    if "steps" in found:
        parts.append(_steps(found["steps"]))
    return "\n\n".join(parts)


def _get(comparisons: Sequence[Comparison], rounds: int, seconds: float) -> str:
    lines = [
        f"GetConnection beside the echo, medians of {rounds} rounds of {seconds:g} s each",
        "",
        (
            "| in flight | workers | calls/s ÷ echo | p50 ÷ echo | calls/s | p50 ms | p99 ms | server CPU us | database CPU us "
            "| echo calls/s | echo p50 ms | echo p99 ms | echo CPU us |"
        ),
        "|--:" * 13 + "|",
    ]
    for each in comparisons:
        service, echo = each.service, each.echo
        database = "" if service.database_cpu is None else f"{service.database_cpu * 1e6:.0f}"
        lines.append(
            f"| {each.in_flight} | {each.workers} | {each.rate_ratio:.2f} | {each.p50_ratio:.2f} | {service.rate:,.0f} "
            f"| {service.p50 * 1e3:.2f} | {service.p99 * 1e3:.2f} | {service.server_cpu * 1e6:.0f} | {database} "
            f"| {echo.rate:,.0f} | {echo.p50 * 1e3:.2f} | {echo.p99 * 1e3:.2f} | {echo.server_cpu * 1e6:.0f} |"
        )
    at = {(each.in_flight, each.workers): each for each in comparisons}
    lines += [
        "",
        _verdict("64 in flight, two workers: calls/s ÷ echo", at[64, 2].rate_ratio, ">=", RATE_TARGET),
        _verdict("one in flight, one worker: p50 ÷ echo", at[1, 1].p50_ratio, "<=", P50_TARGET),
    ]
    return "\n".join(lines)


def _list(found: Listing) -> str:
    memory = found.memory
    return "\n".join(
        [
            f"ListConnections of {found.rows:,} connections with metadata and tags, pages of {found.page_size}, one worker",
            "",
            "| rows/s | first page ms | bytes/row | server CPU us/row | RSS before MB | RSS peak MB | USS peak MB |",
            "|--:" * 7 + "|",
            (
                f"| {found.rate:,.0f} | {found.first_page * 1e3:.0f} | {found.message_bytes / found.rows:.0f} "
                f"| {found.server_cpu * 1e6:.1f} | {memory.before / 1e6:.0f} | {memory.peak / 1e6:.0f} "
                f"| {memory.unique / 1e6:.0f} |"
            ),
            "",
            _verdict("rows/s", found.rate, ">=", LIST_TARGET),
            _verdict("server memory (RSS peak, MB)", memory.peak / 1e6, "<=", MEMORY_TARGET / 1e6),
            "",
            (
                f"By one tag ({found.filter_rows} of them): p50 {found.filter_p50 * 1e3:.2f} ms, "
                f"{'from the GIN index' if found.filter_uses_index else 'NOT from the GIN index'}"
            ),
            "",
            "```",
            found.filter_plan,
            "```",
        ]
    )


def _import(found: Import) -> str:
    return (
        f"`connections import --jsonl` of {found.lines:,} lines into two workers: {found.rate:,.0f} lines/s, "
        f"{found.server_cpu * 1e6:.0f} us of server CPU a line"
    )


def _steps(found: Sequence[Step]) -> str:
    lines = ["Steps of a read inside the process, without gRPC", "", "| step | CPU us |", "|---|--:|"]
    return "\n".join([*lines, *(f"| {step.name} | {step.seconds * 1e6:.1f} |" for step in found)])


def _verdict(what: str, value: float, relation: str, target: float) -> str:
    reached = value >= target if relation == ">=" else value <= target
    shown = f"{value:,.0f}" if value >= 1000 else f"{value:.2f}"
    return f"- {what}: {shown} ({relation} {target:,g}: {'reached' if reached else 'NOT reached'})"


def _first_line(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.partition("\n")[0]
    except OSError:
        return "none"
