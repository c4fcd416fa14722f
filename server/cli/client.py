"""Where the server is, which key to send, and one way to call."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
from connections.v1 import (
    admin_service_pb2_grpc,
    connection_service_pb2_grpc,
    integration_service_pb2_grpc,
    provider_service_pb2_grpc,
)
from google.protobuf.message import Message

from server.cli.errors import NOT_ALLOWED, USAGE, CliError, cli_error
from server.config import PREFIX, SETTINGS, Config, ConfigError, variable
from server.domain.secret import Secret

# The server's own settings do not concern a client: on a machine that has both, a keyring file that only the server may
# read must not stop `connections list`.
_CLIENT_FIELDS: Final = ("address", "api_key", "data_dir", "grpc_address")

# A list page of 1000 connections with full metadata is far above gRPC's default of 4 MiB.
_MAX_MESSAGE: Final = 128 << 20

CHANNEL_OPTIONS: Final = (
    ("grpc.max_receive_message_length", _MAX_MESSAGE),
    ("grpc.primary_user_agent", "connections-cli"),
    # A terminal wants the error, not a client that hides it behind retries of its own.
    ("grpc.enable_retries", 0),
)


@dataclass(frozen=True, slots=True)
class Target:
    """A server and the key for it. `key` None: there is none, and only calls without one (health) will work."""

    address: str
    secure: bool
    key: Secret | None

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Return the call metadata that authenticates. Raises CliError if there is no key."""
        if self.key is None:
            raise CliError(
                "there is no API key",
                NOT_ALLOWED,
                "set CONNECTIONS_API_KEY, or CONNECTIONS_DATA_DIR to the folder with a server's dev.key",
            )
        return (("authorization", f"Bearer {self.key.reveal()}"),)


def find_target(env: Mapping[str, str], address: str = "") -> Target:
    """Find server and key in the environment, else `dev.key` in the data directory. `address` wins if it is given.

    Raises CliError, without any part of the key.
    """
    config = client_config({**env, variable("address"): address} if address else env)
    key = config.api_key or _dev_key(config)
    # gRPC quotes metadata that it refuses in its exception, so a key that it would refuse never gets there.
    if key is not None and not (key.reveal().isascii() and key.reveal().isprintable() and " " not in key.reveal()):
        raise CliError(f"the API key has characters that no key has; check {PREFIX}API_KEY", NOT_ALLOWED)
    host = config.address.removeprefix("https://").removeprefix("http://")
    return Target(host, config.address.startswith("https://"), key)


def client_config(env: Mapping[str, str]) -> Config:
    """Read the settings that concern a client. Raises CliError for those, and for unknown ones."""
    server_only = {variable(name) for name in SETTINGS if name not in _CLIENT_FIELDS}
    server_only |= {f"{name}_FILE" for name in server_only}
    try:
        return Config.from_environment({name: value for name, value in env.items() if name not in server_only})
    except ConfigError as error:
        raise CliError("\n  ".join(("wrong settings:", *error.problems)), USAGE, "connections check-config") from None


def _dev_key(config: Config) -> Secret | None:
    path = config.data_dir / "dev.key"
    try:
        text = path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError):
        raise CliError(f"{path} cannot be read", NOT_ALLOWED, "set CONNECTIONS_API_KEY instead") from None
    return Secret(text) if text else None


@dataclass(frozen=True, slots=True)
class Client:
    """Stubs of the services over one channel, and one way to call them."""

    channel: grpc.Channel
    target: Target
    timeout: float
    connections: Any = field(init=False)
    integrations: Any = field(init=False)
    providers: Any = field(init=False)
    admin: Any = field(init=False)

    def __post_init__(self) -> None:
        for name, factory in _STUBS.items():
            object.__setattr__(self, name, factory(self.channel))

    def call(self, method: Callable[..., Any], request: Message) -> Any:
        """Call a unary method with deadline and key; return its response. Raises CliError."""
        try:
            return method(request, timeout=self.timeout, metadata=self.target.metadata())
        except grpc.RpcError as error:
            raise cli_error(error, self.target.address, self.timeout) from None

    def stream(self, method: Callable[..., Any], request: Message) -> Iterator[Any]:
        """Call a server-streaming method; yield its messages. Raises grpc.RpcError, so that the caller may resume."""
        call = method(request, timeout=self.timeout, metadata=self.target.metadata())
        try:
            yield from call
        finally:
            call.cancel()

    def error(self, error: grpc.RpcError) -> CliError:
        """Return what to tell people about an error of `stream`."""
        return cli_error(error, self.target.address, self.timeout)


_STUBS: Final[Mapping[str, Callable[[grpc.Channel], Any]]] = {
    "connections": connection_service_pb2_grpc.ConnectionServiceStub,
    "integrations": integration_service_pb2_grpc.IntegrationServiceStub,
    "providers": provider_service_pb2_grpc.ProviderServiceStub,
    "admin": admin_service_pb2_grpc.AdminServiceStub,
}


@contextmanager
def connect(timeout: float, address: str = "") -> Iterator[Client]:
    """Dial the server that the environment names; calls end after `timeout` seconds."""
    target = find_target(os.environ, address)
    with open_channel(target) as channel:
        yield Client(channel, target, timeout)


def open_channel(target: Target) -> grpc.Channel:
    """Return a channel to the target. TLS trusts gRPC's authorities, or those of GRPC_DEFAULT_SSL_ROOTS_FILE_PATH."""
    if target.secure:
        return grpc.secure_channel(target.address, grpc.ssl_channel_credentials(), options=CHANNEL_OPTIONS)
    return grpc.insecure_channel(target.address, options=CHANNEL_OPTIONS)
