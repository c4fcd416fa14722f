"""The rule of dependency, checked: who may import whom in `server/`, and who may speak with the outside.

`rpc` and `web` call `domain` and `refresh`; `storage`, `providers`, `crypto` and `events` implement what those two ask
for; only `app` sees all.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SERVER = Path(__file__).resolve().parents[1] / "server"
MODULES = sorted(SERVER.rglob("*.py"))
MAX_LINES = 400

_ADAPTER = {"domain", "refresh.ports", "crypto", "telemetry", "wire"}

# What each part may import of ours, besides itself. A part that is not here needs a decision first.
ALLOWED: dict[str, set[str]] = {
    "__init__": set(),
    "parsing": set(),
    "domain": set(),
    "config": {"domain", "parsing"},
    "telemetry": {"domain"},
    # What both sides of the store speak: the contract's messages and the domain's values.
    "wire": {"domain", "wire_credentials"},
    "wire_credentials": {"domain"},
    "refresh": {"domain", "telemetry"},
    "storage": _ADAPTER,
    "providers": _ADAPTER,
    "crypto": _ADAPTER,
    "events": _ADAPTER,
    "rpc": {"domain", "refresh", "telemetry", "wire"},
    "web": {"domain", "refresh", "telemetry", "wire"},
    # The command is a client like any other: it shares the settings, the secret type and the masking of messages.
    # Templates are checked where their files are: no server is asked.
    "cli": {"app", "prepare", "config", "parsing", "telemetry", "domain.secret", "providers.lint"},
    "app": {
        "config",
        "telemetry",
        "domain",
        "refresh",
        "storage",
        "providers",
        "crypto",
        "events",
        "rpc",
        "web",
        "workers",
        "prepare",
    },
    "prepare": {"config", "telemetry", "domain", "storage", "crypto"},
    # Processes around `app`: the parent of several, and each of them.
    "workers": {"config", "telemetry"},
    "worker": {"app", "prepare", "config", "telemetry", "workers"},
}

# Outbound HTTP goes through the guard against private addresses, and so through one module.
HTTP_CLIENTS = {"aiohttp", "httpx", "requests", "urllib3", "urllib.request", "http.client"}
HTTP_CLIENT_HOME = "providers/outbound.py"

# Libraries that belong to one part; the composition root may set them up.
HOMES: dict[str, set[str]] = {
    "psycopg": {"storage", "app"},
    "psycopg_pool": {"storage", "app"},
    "sqlalchemy": {"storage", "app", "prepare"},
    "alembic": {"storage"},
    "grpc": {"rpc", "cli", "app"},
    "typer": {"cli"},
    "rich": {"cli"},
}


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield line and dotted name of everything imported anywhere in a module, also inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield node.lineno, "." * node.level + (f"{node.module}." if node.module else "") + alias.name


def is_within(name: str, package: str) -> bool:
    """Return whether a dotted name is the package or inside it."""
    return name == package or name.startswith(f"{package}.")


def violations(path: str, source: str) -> list[str]:
    """Return a sentence for each forbidden import of a module, named by its path relative to `server/`."""
    part = path.split("/", maxsplit=1)[0].removesuffix(".py")
    if part not in ALLOWED:
        return [f"server/{path} belongs to no part that this test knows"]
    found = []
    for line, name in imports(ast.parse(source)):
        where = f"server/{path}:{line} imports {name}"
        root = name.partition(".")[0]
        if name.startswith("."):
            found.append(f"{where}: relative imports hide the edge")
        elif root == "server":
            target = name.removeprefix("server").removeprefix(".")
            if not any(is_within(target, allowed) for allowed in ALLOWED[part] | {part}):
                found.append(f"{where}: {part} must not know it")
        elif part == "domain" and root not in sys.stdlib_module_names:
            found.append(f"{where}: the domain is pure, the standard library only")
        elif any(is_within(name, client) for client in HTTP_CLIENTS):
            serving = part in {"web", "app"} and is_within(name, "aiohttp.web")
            if path != HTTP_CLIENT_HOME and not serving:
                found.append(f"{where}: outbound HTTP belongs to server/{HTTP_CLIENT_HOME}")
        elif root in HOMES and part not in HOMES[root]:
            found.append(f"{where}: {root} belongs to {', '.join(sorted(HOMES[root]))}")
    return found


def relative(path: Path) -> str:
    return path.relative_to(SERVER).as_posix()


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_no_module_imports_what_it_must_not_know(path: Path) -> None:
    assert violations(relative(path), path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_no_module_is_too_long(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MAX_LINES, f"{lines} lines: what second job does it do?"


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("domain/model.py", "from server.refresh import ports"),
        ("domain/model.py", "import orjson"),
        ("domain/model.py", "from urllib.request import urlopen; import psycopg"),
        ("refresh/engine.py", "from server.storage.connections import Store"),
        ("refresh/engine.py", "def late():\n    import server.providers"),
        ("refresh/engine.py", "from grpc import aio"),
        ("rpc/connections.py", "from server import storage"),
        ("rpc/connections.py", "import server.crypto.envelope"),
        ("rpc/connections.py", "from server.app import serve"),
        ("rpc/connections.py", "from server.config import Config"),
        ("rpc/connections.py", "import psycopg"),
        ("web/callback.py", "from aiohttp import ClientSession"),
        ("storage/tables.py", "from server.refresh.engine import Engine"),
        ("storage/tables.py", "from server.config import Config"),
        ("storage/tables.py", "from server import parsing"),
        ("providers/oauth2.py", "import aiohttp"),
        ("providers/oauth2.py", "import http.client"),
        ("providers/oauth2.py", "from urllib import request"),
        ("crypto/kms.py", "import requests"),
        ("events/webhooks.py", "from ..storage import tables"),
        ("cli/get.py", "from server.domain.model import Connection"),
        ("cli/get.py", "from server.storage import tables"),
        ("config.py", "from server import app"),
        ("helpers/stuff.py", ""),
        ("utils.py", ""),
    ],
)
def test_a_forbidden_edge_is_seen(path: str, source: str) -> None:
    assert violations(path, source) != []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("app.py", "from server.storage import pool\nfrom server.rpc.server import Server\nimport grpc"),
        (
            "rpc/connections.py",
            "from server.refresh.engine import Engine\nfrom server.domain import model\nimport grpc",
        ),
        ("storage/tables.py", "from server.refresh.ports import RefreshStore\nfrom server.crypto import envelope"),
        ("providers/outbound.py", "import aiohttp\nfrom aiohttp.abc import AbstractResolver"),
        ("providers/oauth2.py", "from urllib.parse import quote\nfrom server.providers import outbound"),
        ("web/callback.py", "from aiohttp import web"),
        ("cli/serve.py", "from server import app\nfrom server.config import Config\nfrom server.cli import output"),
        ("domain/model.py", "from __future__ import annotations\nimport json\nfrom server.domain.secret import Secret"),
    ],
)
def test_an_allowed_edge_passes(path: str, source: str) -> None:
    assert violations(path, source) == []
