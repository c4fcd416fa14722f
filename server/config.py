"""Every setting, once: its variable, default, meaning, and whether it is a secret.

Settings come from environment variables with the prefix `CONNECTIONS_` and from nowhere else. A secret may come from a
file instead, named by the variable with `_FILE` appended. `python -m server.config` prints docs/configuration.md.
"""

# ruff: noqa: RUF009 - the calls in the class body of Config return dataclass fields

from __future__ import annotations

import dataclasses
import difflib
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from server import parsing
from server.domain.secret import MASK, Secret

PREFIX: Final = "CONNECTIONS_"

_TLS: Final = ("tls_cert", "tls_key", "tls_client_ca")
_WILDCARDS: Final = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 - recognised here, not bound to

# What Kubernetes puts into every pod for a Service whose name begins with "connections". Nobody wrote these, so they
# are not misspelt settings; a PORT among them is told from a setting by its value, `tcp://…`.
_SERVICE_LINK: Final = re.compile(
    rf"{PREFIX}(?:\w+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)"
)
_SERVICE_PORT: Final = re.compile(rf"{PREFIX}(?:\w+_)?PORT")


class ConfigError(Exception):
    """The environment does not make a configuration. `problems` has one sentence for each thing that is wrong."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class Setting:
    """What is known about one setting. `default` is what an environment would say; empty: unset.

    `parse` turns text into the value and raises ValueError with what it expects; `show` turns the value back into text.
    """

    group: str
    default: str
    help: str
    parse: Callable[[str], Any]
    show: Callable[[Any], str]
    secret: bool


@dataclass(frozen=True, slots=True)
class Row:
    """One setting as people see it: a secret's value is masked, an unset one is empty."""

    name: str
    value: str
    default: str
    help: str
    secret: bool
    group: str


def _setting(
    group: str,
    default: str,
    meaning: str,
    parse: Callable[[str], Any] = str,
    *,
    show: Callable[[Any], str] = str,
    secret: bool = False,
) -> Any:
    return dataclasses.field(
        metadata={"setting": Setting(group, default, meaning, parse, show, secret)}, repr=not secret
    )


def _duration(group: str, default: str, meaning: str, *, least: str = "1ms", most: str = "30d") -> Any:
    low, high = parsing.duration(least), parsing.duration(most)

    def parse(text: str) -> float:
        value = parsing.duration(text)
        if not low <= value <= high:
            raise ValueError(f"a duration from {least} to {most}")
        return value

    return _setting(group, default, meaning, parse, show=parsing.format_duration)


def _number(group: str, default: str, meaning: str, *, least: int, most: int) -> Any:
    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) < 19 and least <= int(text) <= most):
            raise ValueError(f"a whole number from {least} to {most}")
        return int(text)

    return _setting(group, default, meaning, parse)


def _switch(group: str, default: str, meaning: str) -> Any:
    return _setting(group, default, meaning, parsing.switch, show=lambda value: "true" if value else "false")


def _choice(group: str, default: str, meaning: str, choices: Sequence[str]) -> Any:
    def parse(text: str) -> str:
        if text.lower() not in choices:
            raise ValueError("one of " + ", ".join(choices))
        return text.lower()

    return _setting(group, default, meaning, parse)


def _secret(group: str, meaning: str, check: Callable[[str], str] = str) -> Any:
    return _setting(group, "", meaning, lambda text: Secret(check(text)), secret=True)


def _message_size(text: str) -> int:
    value = parsing.size(text)
    if not 1 << 16 <= value <= 1 << 30:
        raise ValueError("a size from 64KiB to 1GiB")
    return value


@dataclass(frozen=True, slots=True)
class Config:
    """The settings of a process; durations in seconds as `float`, sizes in bytes, unset ones None.

    Make one with `from_environment`, also in tests: some defaults follow other settings, which `dataclasses.replace`
    would not see.
    """

    grpc_address: str = _setting(
        "Server", "127.0.0.1:50051", "Where gRPC is served, host:port. Port 0 takes a free one.", parsing.address
    )
    http_address: str = _setting(
        "Server", "127.0.0.1:8080", "Where metrics and health are served over HTTP, host:port.", parsing.address
    )
    workers: int = _number(
        "Server", "1", "Processes that share the gRPC port. `serve --workers` overrides it.", least=1, most=256
    )
    reflection: bool = _switch("Server", "true", "Whether gRPC reflection is served, which grpcurl uses.")
    drain_delay: float = _duration(
        "Server",
        "0s",
        "How long to keep serving after a stop signal while health already says NOT_SERVING. 5s behind a mesh.",
        least="0s",
        most="10m",
    )
    shutdown_grace: float = _duration("Server", "30s", "How long calls may go on after that.", least="0s", most="1h")

    data_dir: Path = _setting(
        "Storage", ".connections", "Folder of the embedded Postgres, dev.key and the spool.", Path
    )
    database_url: Secret | None = _secret(
        "Storage",
        "Postgres to use, postgresql://user:password@host:5432/database. Unset: the embedded one in DATA_DIR.",
        parsing.postgres_url,
    )
    database_pool_size: int = _number("Storage", "8", "Connections to Postgres per worker.", least=1, most=1000)
    database_transaction_pooling: bool = _switch(
        "Storage",
        "false",
        "Set it behind PgBouncer in transaction mode: no prepared statements, no start-up options.",
    )
    database_statement_timeout: float = _duration("Storage", "5s", "Hard cap of one statement.", most="10m")
    spool_dir: Path = _setting(
        "Storage",
        "",
        "Folder that keeps refreshed credentials, encrypted, while Postgres is away. Unset: spool in DATA_DIR.",
        Path,
    )

    keyring: Secret | None = _secret(
        "Encryption",
        "Keyring that protects everything stored, as JSON; `connections keyring new` makes one. Required with"
        " DATABASE_URL; otherwise the server makes its own in DATA_DIR.",
    )

    providers_dir: Path | None = _setting(
        "Providers", "", "Folder of provider templates of your own. They win over the catalogue's.", parsing.folder
    )
    outbound_allowed_hosts: tuple[str, ...] = _setting(
        "Providers",
        "",
        "Comma list of host or host:port that may be called although their address is private or plain http.",
        parsing.hosts,
        show=",".join,
    )
    outbound_proxy: Secret | None = _secret(
        "Providers",
        "Proxy for all calls to providers, http://host:port. Secret because it may hold a password.",
        parsing.http_url,
    )
    exchange_timeout: float = _duration("Providers", "30s", "Hard cap of one exchange with a provider.", most="10m")

    refresh_margin: float = _duration(
        "Refreshing", "15m", "How long before a token's end it is refreshed ahead of need.", least="0s", most="1d"
    )
    lease_ttl: float = _duration(
        "Refreshing",
        "30s",
        "How long a refresh stays claimed by a process that has died. Living ones renew.",
        least="1s",
        most="10m",
    )
    scheduler_enabled: bool = _switch("Refreshing", "true", "Whether this process refreshes ahead of need.")

    request_timeout: float = _duration(
        "Limits", "30s", "Deadline of a call whose caller has none.", least="100ms", most="1h"
    )
    max_concurrent_calls: int = _number(
        "Limits", "1000", "Calls in flight per worker, beyond which new ones are refused.", least=1, most=1_000_000
    )
    list_max_concurrent: int = _number(
        "Limits", "64", "Lists in flight per worker, beyond which new ones are refused.", least=1, most=100_000
    )
    max_message_bytes: int = _setting(
        "Limits", "4MiB", "Largest message accepted.", _message_size, show=parsing.format_size
    )
    api_key_cache_ttl: float = _duration(
        "Limits", "10s", "How long a revoked API key may still be accepted.", least="0s", most="10m"
    )
    keepalive_time: float = _duration(
        "Limits", "1m", "After how much silence a client is pinged.", least="1s", most="1d"
    )
    max_connection_age: float = _duration(
        "Limits", "10m", "After how long clients are asked to reconnect, so that load spreads.", least="1s"
    )
    max_connection_age_grace: float = _duration(
        "Limits", "2m", "How long calls on such a connection may go on.", least="1s", most="1d"
    )

    tls_cert: Path | None = _setting(
        "TLS",
        "",
        "PEM file of the server's certificate chain. Unset: no TLS, for use behind a sidecar.",
        parsing.readable_file,
    )
    tls_key: Path | None = _setting("TLS", "", "PEM file of the certificate's private key.", parsing.readable_file)
    tls_client_ca: Path | None = _setting(
        "TLS", "", "PEM file of the authorities that clients' certificates must come from.", parsing.readable_file
    )

    log_level: str = _choice("Logs", "info", "Least severe level to log.", ("debug", "info", "warning", "error"))
    log_format: str = _choice(
        "Logs", "auto", "json, console for people, or auto: console on a terminal.", ("auto", "json", "console")
    )

    address: str = _setting(
        "Command line",
        "",
        "Server that the command calls: host:port, or https://host:port for TLS. Unset: GRPC_ADDRESS on this machine.",
        parsing.target,
    )
    api_key: Secret | None = _secret(
        "Command line", "API key that the command sends. Unset: the one in dev.key in DATA_DIR."
    )

    @classmethod
    def from_environment(cls, env: Mapping[str, str]) -> Config:
        """Read the settings. Raises ConfigError naming every problem, never a secret's value."""
        problems = _unknown(env)
        values: dict[str, Any] = {}
        for field, setting in SETTINGS.items():
            text = _text(field, setting, env, problems)
            values[field] = _value(variable(field), setting, text, problems) if text else None
        problems += _tls_problems({name for name in _TLS if env.get(variable(name), "").strip()})
        if problems:
            raise ConfigError(problems)
        values["outbound_allowed_hosts"] = values["outbound_allowed_hosts"] or ()
        values["spool_dir"] = values["spool_dir"] or values["data_dir"] / "spool"
        values["address"] = values["address"] or _local(values["grpc_address"])
        return cls(**values)

    def describe(self) -> list[Row]:
        """Return a row for each setting, with the values in use and secrets masked."""
        rows = []
        for field, setting in SETTINGS.items():
            value = getattr(self, field)
            text = "" if value is None else MASK if setting.secret else setting.show(value)
            rows.append(Row(variable(field), text, setting.default, setting.help, setting.secret, setting.group))
        return rows

    def serving_problems(self) -> list[str]:
        """Return what would keep `serve` from starting although each setting is valid by itself."""
        if self.database_url is not None and self.keyring is None:
            problem = (
                f"{PREFIX}KEYRING is missing: with {PREFIX}DATABASE_URL the server does not make a keyring of its own;"
                " `connections keyring new` prints one"
            )
            return [problem]
        return []


SETTINGS: Final[Mapping[str, Setting]] = {field.name: field.metadata["setting"] for field in dataclasses.fields(Config)}


def variable(field: str) -> str:
    """Return the environment variable of a field of Config."""
    return PREFIX + field.upper()


def _text(field: str, setting: Setting, env: Mapping[str, str], problems: list[str]) -> str:
    name = variable(field)
    text = env.get(name, "").strip()
    path = env.get(f"{name}_FILE", "").strip() if setting.secret else ""
    if text and path:
        problems.append(f"{name} and {name}_FILE are both set; keep one of them")
    elif path:
        try:
            text = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            problems.append(f"{name}_FILE={path!r}: expected the path of a text file that this process may read")
        else:
            if not text:
                problems.append(f"{name}_FILE={path!r}: the file is empty")
    return text or setting.default


def _value(name: str, setting: Setting, text: str, problems: list[str]) -> Any:
    try:
        return setting.parse(text)
    except ValueError as error:
        problems.append(f"{name}{'' if setting.secret else f'={text!r}'}: expected {error}")
        return None


def _tls_problems(given: set[str]) -> list[str]:
    if not given or {"tls_cert", "tls_key"} <= given:
        return []
    missing = [variable(name) for name in ("tls_cert", "tls_key") if name not in given]
    return [f"TLS is half configured: {', '.join(map(variable, sorted(given)))} needs {' and '.join(missing)}"]


def _unknown(env: Mapping[str, str]) -> list[str]:
    known = {variable(field) for field in SETTINGS}
    known |= {f"{variable(field)}_FILE" for field, setting in SETTINGS.items() if setting.secret}
    short = sorted(name.removeprefix(PREFIX) for name in known)
    problems = []
    for name in sorted(env):
        if not name.startswith(PREFIX) or name in known or _SERVICE_LINK.fullmatch(name):
            continue
        if _SERVICE_PORT.fullmatch(name) and env[name].startswith(("tcp://", "udp://", "sctp://")):
            continue
        # Without the prefix, which would make any two names alike.
        near = difflib.get_close_matches(name.removeprefix(PREFIX), short, n=1, cutoff=0.7)
        problems.append(f"{name} is not a setting" + (f"; did you mean {PREFIX}{near[0]}?" if near else ""))
    return problems


def _local(listening: str) -> str:
    """Return where a client on this machine reaches a server that listens on this address."""
    host, _, port = listening.rpartition(":")
    return f"{_WILDCARDS.get(host, host)}:{port}"


def render_reference() -> str:
    """Return docs/configuration.md."""
    lines = [
        "# Configuration",
        "",
        "<!-- Generated by `python -m server.config`; change `server/config.py` instead. -->",
        "",
        "Settings are environment variables. One that begins with `CONNECTIONS_` but is not in these tables is an",
        "error, so a misspelt name never goes unnoticed; variables that Kubernetes adds for a Service are let through.",
        "An empty value counts as unset. `connections check-config` shows the values in use.",
        "",
        "- Durations: `500ms`, `30` or `30s`, `5m`, `1h`, `7d`. Sizes: `1048576`, `512KiB`, `4MiB`. Switches: `true`,",
        "  `false`.",
        "- A setting marked *secret* is never shown, and may be read from a file instead: append `_FILE` to its name",
        "  and give the path, as with `CONNECTIONS_KEYRING_FILE=/run/secrets/keyring`.",
    ]
    group = ""
    for field, setting in SETTINGS.items():
        if setting.group != group:
            group = setting.group
            lines += ["", f"## {group}", "", "| variable | default | meaning |", "|---|---|---|"]
        default = f"`{setting.default}`" if setting.default else "unset"
        secret = " *Secret.*" if setting.secret else ""
        lines.append(f"| `{variable(field)}` | {default} | {setting.help}{secret} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(render_reference())
