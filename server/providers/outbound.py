"""The one way out: HTTP requests to providers, guarded.

What a template or a connection's config says must never reach an address of our own network, and a request that
spends a refresh token must never be sent twice. So: `https` only, addresses checked in the resolver whose answer is
the one connected to, no redirects, no retries, no cookies, no kept connections, bounded bodies, one total time-out.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from types import SimpleNamespace
from typing import Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from server.domain.errors import Reason
from server.providers.addresses import why_forbidden
from server.providers.client_tls import presenting
from server.providers.token_request import TokenRequest
from server.refresh.ports import ExchangeFailed, FailureKind, ProviderAnswer

MAX_BODY: Final = 1024 * 1024
_URL: Final = re.compile(r"[!-\[\]-~]+")  # printable ASCII without the backslash, which some take for a slash
_KEPT_HEADERS: Final = ("content-type", "retry-after")


class AddressForbiddenError(OSError):
    """A name resolved to an address that is not public. An `OSError`, as aiohttp expects of resolvers."""


@dataclass(frozen=True, slots=True)
class AllowedHosts:
    """Hosts that the operator excepts from the guard: they may be private, and spoken to without TLS.

    An entry is `host` (any port) or `host:port`; IPv6 literals stand in brackets.
    """

    entries: frozenset[str]

    @classmethod
    def of(cls, entries: frozenset[str]) -> AllowedHosts:
        """Return the list with its entries in the form that hosts are compared in."""
        return cls(frozenset(entry.strip().lower() for entry in entries))

    def __contains__(self, host_and_port: tuple[str, int]) -> bool:
        host, port = host_and_port
        name = _bracketed(host)
        return name in self.entries or f"{name}:{port}" in self.entries


class GuardedResolver(AbstractResolver):
    """Resolves as `inner` does, and refuses a name if any of its addresses is forbidden.

    aiohttp connects to just what a resolver returned, so there is no second look-up that could answer differently.
    """

    def __init__(self, inner: AbstractResolver, allowed: AllowedHosts) -> None:
        self._inner = inner
        self._allowed = allowed

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the host's addresses. Raises `AddressForbiddenError`, and `OSError` if there are none."""
        found = await self._inner.resolve(host, port, family)
        if (host, port) not in self._allowed:
            for result in found:
                if why := why_forbidden(result["host"]):
                    raise AddressForbiddenError(why)
        return found

    async def close(self) -> None:
        """Release what the inner resolver holds."""
        await self._inner.close()


class Outbound:
    """An HTTP client for token endpoints. Made anywhere, used on one event loop, closed at the end.

    `proxy` is the URL of an HTTP proxy, which then resolves names in our place and must itself refuse private
    addresses. The proxy variables of the process environment are not read.
    """

    def __init__(
        self,
        *,
        allowed_hosts: frozenset[str] = frozenset(),
        proxy: str | None = None,
        resolver: AbstractResolver | None = None,
    ) -> None:
        self._allowed = AllowedHosts.of(allowed_hosts)
        self._proxy = proxy
        self._resolver = resolver
        self._session: aiohttp.ClientSession | None = None

    async def post(self, url: str, *, headers: Mapping[str, str], body: bytes, timeout: float) -> ProviderAnswer:
        """Send one POST; see `send`."""
        return await self.send(TokenRequest(url, headers, body), timeout=timeout)

    async def get(self, url: str, *, timeout: float) -> ProviderAnswer:
        """Send one GET that asks for JSON; see `send`."""
        return await self.send(TokenRequest(url, {"Accept": "application/json"}, b"", method="GET"), timeout=timeout)

    async def send(self, request: TokenRequest, *, timeout: float) -> ProviderAnswer:
        """Send one request and return its answer, whatever the status.

        Raises `ExchangeFailed`: CONFIGURATION if the guard refuses the URL or the client's certificate is none, TRANSIENT
        if no whole answer came within `timeout` seconds; then `maybe_spent` is whether the request had begun to leave.
        """
        target = self.check(request.url)
        tls = True if request.certificate is None else presenting(request.certificate)
        progress = SimpleNamespace(sent=False)
        try:
            async with (
                asyncio.timeout(timeout),
                self._open_session().request(
                    request.method,
                    target,
                    headers=request.headers,
                    data=request.body or None,
                    allow_redirects=False,
                    proxy=self._proxy,
                    ssl=tls,
                    trace_request_ctx=progress,
                ) as response,
            ):
                return await _read(response, request.keep_headers)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise _failure(error, _host_and_port(target), sent=progress.sent) from None

    def check(self, url: str) -> URL:
        """Return the URL as it will be connected to. Raises `ExchangeFailed` (CONFIGURATION) if it may not be."""
        try:
            # What is sent is what was written: the query is the template's, its escapes are ours.
            target = URL(url, encoded=True)
            host, port = target.host, target.port
        except ValueError:
            host, port = None, None
        if not host or port is None or target.scheme not in {"http", "https"} or _URL.fullmatch(url) is None:
            raise _refused("the URL is not an absolute http or https URL")
        host = host.lower()
        if target.user is not None or target.password is not None:
            raise _refused("the URL carries a user name or a password")
        if (host, port) in self._allowed:
            return target
        if target.scheme != "https":
            raise _refused(f"{_bracketed(host)}:{port} may be reached over https only")
        if _is_literal(host) and (why := why_forbidden(host)):
            raise _refused(f"{_bracketed(host)}:{port} is a forbidden address ({why})")
        return target

    async def close(self) -> None:
        """Close what is open; requests that still run fail."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            trace = aiohttp.TraceConfig()
            trace.on_request_headers_sent.append(_mark_sent)
            self._session = aiohttp.ClientSession(
                # A kept connection that the provider closes just as we write to it leaves the outcome unknown; a new
                # one for each exchange does not. The refresh engine bounds how many run at once.
                connector=aiohttp.TCPConnector(
                    resolver=GuardedResolver(self._resolver or aiohttp.ThreadedResolver(), self._reachable()),
                    use_dns_cache=False,
                    force_close=True,
                    limit=0,
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
                timeout=aiohttp.ClientTimeout(),
                trace_configs=[trace],
                headers={"Accept-Encoding": "identity", "User-Agent": "connections"},
            )
        return self._session

    def _reachable(self) -> AllowedHosts:
        """Return the hosts that may resolve to anything: those allowed, and the proxy, which is ours."""
        if self._proxy is None:
            return self._allowed
        proxy = URL(self._proxy)
        return AllowedHosts(self._allowed.entries | {_host_and_port(proxy)})


async def _mark_sent(
    _session: aiohttp.ClientSession, context: SimpleNamespace, _params: aiohttp.TraceRequestHeadersSentParams
) -> None:
    context.trace_request_ctx.sent = True


async def _read(response: aiohttp.ClientResponse, keep_headers: tuple[str, ...]) -> ProviderAnswer:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MAX_BODY:
            raise ExchangeFailed(
                FailureKind.TRANSIENT,
                Reason.PROVIDER_RESPONSE_INVALID,
                f"the answer (HTTP {response.status}) is larger than {MAX_BODY} bytes",
                # With a 4xx the provider says that it did nothing; otherwise the tokens may be in what was not read.
                maybe_spent=not 400 <= response.status < 500,
            )
    kept = (*_KEPT_HEADERS, *(name.lower() for name in keep_headers if not name.lower().startswith("cookie.")))
    headers = {name: response.headers[name] for name in kept if name in response.headers}
    for name in keep_headers:
        if name.lower().startswith("cookie.") and (cookie := response.cookies.get(name[7:])):
            headers[name.lower()] = cookie.value
    return ProviderAnswer(status=response.status, headers=headers, body=bytes(body))


def _failure(error: BaseException, host: str, *, sent: bool) -> ExchangeFailed:
    """Say what went wrong. The error's own text stays out: it may quote the URL, and so values of the config."""
    if isinstance(error, aiohttp.InvalidURL):
        return _refused(f"{host} is not a host that can be connected to")
    if isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, AddressForbiddenError):
        return _refused(f"{host} resolves to a forbidden address ({error.os_error})")
    reason = Reason.PROVIDER_UNAVAILABLE
    if isinstance(error, TimeoutError):
        what = "did not answer in time" if sent else "could not be connected to in time"
    elif not sent:
        what = f"could not be connected to ({type(error).__name__})"
    elif isinstance(error, aiohttp.ClientResponseError | aiohttp.ClientPayloadError):
        reason = Reason.PROVIDER_RESPONSE_INVALID
        what = f"answered with broken HTTP ({type(error).__name__})"
    else:
        what = f"closed the connection without an answer ({type(error).__name__})"
    return ExchangeFailed(FailureKind.TRANSIENT, reason, f"{host} {what}", maybe_spent=sent)


def _refused(detail: str) -> ExchangeFailed:
    return ExchangeFailed(FailureKind.CONFIGURATION, Reason.INTEGRATION_MISCONFIGURED, detail)


def _host_and_port(url: URL) -> str:
    return f"{_bracketed(url.host or '')}:{url.port}"


def _bracketed(host: str) -> str:
    name = host.lower().rstrip(".")
    return f"[{name}]" if ":" in name else name


def _is_literal(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
