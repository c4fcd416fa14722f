"""A token endpoint on loopback that records what it is sent and answers as told, and an exchange that may reach it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from server.domain.model import AuthMode, ConnectionKey, Credentials, OAuth2Credentials
from server.domain.secret import Secret
from server.providers.catalogue import Catalogue
from server.providers.exchange import ProviderExchange
from server.providers.outbound import Outbound
from server.providers.template_file import read_template
from server.refresh.ports import ExchangeRequest

REFRESH = "rt-5e61-secret"
ACCESS = "at-9b02-secret"
CLIENT_SECRET = "cs-77aa-secret"
KEY = ConnectionKey(UUID(int=1), "acme", "customer-42")


@dataclass(frozen=True)
class Received:
    """One HTTP request, as it came over the wire."""

    line: str
    headers: Mapping[str, str]
    body: bytes


def http(status: int, body: bytes | str, content_type: str = "application/json", **headers: str) -> bytes:
    """Return an HTTP response as bytes."""
    content = body.encode() if isinstance(body, str) else body
    extra = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    head = f"HTTP/1.1 {status} X\r\nContent-Type: {content_type}\r\nContent-Length: {len(content)}\r\n{extra}\r\n"
    return head.encode() + content


@dataclass
class Endpoint:
    """A server made of a socket alone, so that it can also answer in ways that no HTTP library would."""

    port: int = 0
    received: list[Received] = field(default_factory=list)
    connections: int = 0
    answer: bytes = http(200, '{"access_token": "new-at"}')
    behave: Callable[[asyncio.StreamWriter], Any] | None = None
    answers: list[bytes] = field(default_factory=list)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.host}/token"

    @property
    def last(self) -> Received:
        return self.received[-1]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                first = await reader.readexactly(1)
                if first == b"\x16":  # a TLS handshake, which this server does not speak
                    return
                head = (first + await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                line, *rest = head.strip().split("\r\n")
                headers = {name.lower(): value.strip() for name, _, value in (entry.partition(":") for entry in rest)}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                self.received.append(Received(line, headers, body))
                if self.behave is not None:
                    await self.behave(writer)
                    return
                writer.write(self.answers.pop(0) if self.answers else self.answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, UnicodeDecodeError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()


@dataclass
class Setup:
    """Writes templates, and makes exchanges that know them."""

    folder: Path
    endpoint: Endpoint
    opened: list[ProviderExchange] = field(default_factory=list)

    def exchange(
        self, text: str = "", *, allowed: frozenset[str] | None = None, mode: str = "OAUTH2"
    ) -> ProviderExchange:
        """Return an exchange that knows one provider, `acme`, whose template has `text` added."""
        url = f"token_url: {self.endpoint.url}\n" if "token_url:" not in text and mode.startswith("OAUTH2") else ""
        path = self.folder / "acme.yaml"
        path.write_text(f"display_name: Acme\nauth_mode: {mode}\n{url}{text}")
        hosts = frozenset({self.endpoint.host}) if allowed is None else allowed
        catalogue = Catalogue({"acme": read_template(path, from_operator=True)})
        made = ProviderExchange(catalogue, Outbound(allowed_hosts=hosts))
        self.opened.append(made)
        return made


def request(
    credentials: Credentials | None = None,
    *,
    mode: AuthMode = AuthMode.OAUTH2,
    config: Mapping[str, Any] | None = None,
    client_id: str = "client-1",
    client_secret: str = CLIENT_SECRET,
    scopes: tuple[str, ...] = (),
) -> ExchangeRequest:
    """Return what the engine would ask for."""
    held = credentials or OAuth2Credentials(Secret(ACCESS), Secret(REFRESH), "Bearer", 1000.0, ("a",))
    return ExchangeRequest(
        key=KEY,
        provider="acme",
        auth_mode=mode,
        client_id=client_id,
        client_secret=Secret(client_secret) if client_secret else None,
        scopes=scopes,
        connection_config=config or {},
        credentials=held,
    )
