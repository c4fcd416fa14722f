"""Bad answers and no answers: each has its own meaning, and none says anything secret."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.domain.errors import Reason
from server.domain.model import AuthMode, OAuth2ClientCredentials
from server.providers.catalogue import Catalogue
from server.providers.exchange import ProviderExchange
from server.providers.outbound import MAX_BODY, Outbound
from server.providers.template import Template
from server.refresh.ports import ExchangeFailed, FailureKind, ProviderAnswer
from tests.providers.support import ACCESS, CLIENT_SECRET, REFRESH, Endpoint, Setup, http, request

NOW = 1_700_000_000.0
SECRETS = (ACCESS, REFRESH, CLIENT_SECRET)
HTML = "<html><body>Sign in</body></html>"

PERMANENT = (FailureKind.PERMANENT, Reason.REAUTHORIZATION_REQUIRED)
CONFIGURATION = (FailureKind.CONFIGURATION, Reason.INTEGRATION_MISCONFIGURED)
UNAVAILABLE = (FailureKind.TRANSIENT, Reason.PROVIDER_UNAVAILABLE)
LIMITED = (FailureKind.TRANSIENT, Reason.PROVIDER_RATE_LIMITED)
INVALID = (FailureKind.TRANSIENT, Reason.PROVIDER_RESPONSE_INVALID)


def exchange_with(**facts: Any) -> ProviderExchange:
    template = Template("acme", "Acme", AuthMode.OAUTH2, token_url="https://acme.example/token", **facts)
    return ProviderExchange(Catalogue({"acme": template}), Outbound())


def failure(status: int, body: str | bytes, exchange: ProviderExchange | None = None, **headers: str) -> ExchangeFailed:
    content = body if isinstance(body, bytes) else body.encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    with pytest.raises(ExchangeFailed) as caught:
        (exchange or exchange_with()).interpret(request(), ProviderAnswer(status, named, content), now=NOW)
    return caught.value


async def unanswered(exchange: ProviderExchange, *, within: float = 5) -> ExchangeFailed:
    with pytest.raises(ExchangeFailed) as caught:
        await exchange.send(request(), timeout=within)
    said = f"{caught.value!r} {caught.value} {caught.value.__cause__!r}"
    assert not any(secret in said for secret in SECRETS)
    return caught.value


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        *[(status, '{"error": "invalid_grant"}', PERMANENT) for status in (200, 400, 401, 403)],
        (200, '{"error": "bad_refresh_token"}', PERMANENT),
        (200, '{"ok": false, "error": "invalid_refresh_token"}', PERMANENT),
        (400, '{"status": "BAD_REFRESH_TOKEN", "message": "missing or invalid refresh token"}', PERMANENT),
        (400, '{"object": "error", "status": 400, "code": "invalid_grant"}', PERMANENT),
        (400, '{"error": {"code": "invalid_grant"}}', PERMANENT),
        (200, '{"error": "invalid_grant", "access_token": "x"}', PERMANENT),
        (401, '{"error": "invalid_client"}', CONFIGURATION),
        (400, '{"error": "unauthorized_client"}', CONFIGURATION),
        (400, '{"error": "unsupported_grant_type"}', CONFIGURATION),
        (400, '{"error": "invalid_scope"}', CONFIGURATION),
        (400, '{"error": "invalid_request"}', CONFIGURATION),
        (200, '{"error": "incorrect_client_credentials"}', CONFIGURATION),
        (401, "", CONFIGURATION),
        (401, HTML, CONFIGURATION),
        (429, '{"error": "invalid_grant"}', LIMITED),
        (200, '{"ok": false, "error": "ratelimited"}', LIMITED),
        (500, '{"error": "invalid_grant"}', UNAVAILABLE),
        (502, HTML, UNAVAILABLE),
        (503, "", UNAVAILABLE),
        (400, '{"error": "temporarily_unavailable"}', UNAVAILABLE),
        (400, '{"error": "server_error"}', UNAVAILABLE),
        (400, '{"error": "something_else"}', UNAVAILABLE),
        (200, '{"ok": false}', UNAVAILABLE),
        (200, '{"error": {"what": 1}}', UNAVAILABLE),
        (400, HTML, INVALID),
        (404, "", INVALID),
        (403, "{}", INVALID),
        (302, "", INVALID),
        (204, "", INVALID),
        (200, "", INVALID),
        (200, HTML, INVALID),
        (200, "{}", INVALID),
        (200, "[]", INVALID),
        (200, "null", INVALID),
        (200, '{"access_token": null}', INVALID),
        (200, '{"access_token": ""}', INVALID),
        (200, '{"access_token": 7}', INVALID),
        (200, '{"access_token": "\\ud800"}', INVALID),
        (200, '{"access_token": "a"', INVALID),
        (200, "[" * 500_000, INVALID),
        (200, '{"access_token": "a", "n": ' + "9" * 10_000 + "}", INVALID),
        (200, b"\xff\xfe\x00", INVALID),
    ],
)  # fmt: skip
def test_what_answers_mean(status: int, body: str | bytes, expected: tuple[FailureKind, Reason]) -> None:
    failed = failure(status, body)
    assert (failed.kind, failed.reason) == expected
    assert not failed.maybe_spent


def test_a_code_is_told_and_nothing_else_is() -> None:
    failed = failure(400, json.dumps({"error": "invalid_grant", "error_description": REFRESH}))
    assert failed.oauth_error == "invalid_grant"
    assert "invalid_grant" in failed.detail
    assert REFRESH not in f"{failed!r}{failed.detail}"


@given(st.text(max_size=80), st.sampled_from([200, 400, 401, 403]))
def test_what_a_provider_writes_is_never_repeated(text: str, status: int) -> None:
    shown = failure(status, json.dumps({"error": "S3CRET " + text, "error_description": text}))
    assert "S3CRET" not in f"{shown!r}{shown.detail}{shown.oauth_error}"


@given(st.binary(max_size=200), st.integers(100, 599), st.sampled_from(["application/json", "a", "", "text/html"]))
def test_any_answer_has_a_meaning(body: bytes, status: int, content_type: str) -> None:
    assert failure(status, body, content_type=content_type).detail


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0), ("0", 0.0), ("999999999999999999999", 86400.0), ("-5", None), ("soon", None), ("", None),
        ("1.5", None), ("nan", None), ("²", None),
        (formatdate(NOW + 90, usegmt=True), 90.0), (formatdate(NOW - 90, usegmt=True), 0.0),
        (formatdate(NOW + 10**7, usegmt=True), 86400.0), ("Wed, 99 Foo 2020", None),
    ],
)  # fmt: skip
def test_retry_after(value: str, seconds: float | None) -> None:
    assert failure(429, "", retry_after=value).retry_after == seconds
    assert failure(503, "", retry_after=value).retry_after == seconds


def test_a_template_knows_its_providers_own_word_for_a_dead_grant() -> None:
    exchange = exchange_with(reauthorization_errors={"unauthorized_client": "refresh_token is invalid"})
    gone = failure(403, '{"error": "unauthorized_client", "error_description": "Refresh_token is invalid"}', exchange)
    assert (gone.kind, gone.reason) == PERMANENT
    client = failure(403, '{"error": "unauthorized_client", "error_description": "client unknown"}', exchange)
    assert (client.kind, client.reason) == CONFIGURATION


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_answers(setup: Setup, endpoint: Endpoint, status: int) -> None:
    endpoint.answer = http(status, "", Location=f"http://{endpoint.host}/elsewhere")
    got = await setup.exchange().send(request(), timeout=5)
    assert got.status == status
    assert len(endpoint.received) == 1


@pytest.mark.parametrize("reuse", [False, True])
async def test_a_dropped_connection_is_not_tried_again(setup: Setup, endpoint: Endpoint, reuse: bool) -> None:
    exchange = setup.exchange()
    if reuse:  # the answer offered to keep the connection
        await exchange.send(request(), timeout=5)
    before = len(endpoint.received)

    async def hang_up(writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    endpoint.behave = hang_up
    failed = await unanswered(exchange)
    assert (failed.kind, failed.reason, failed.maybe_spent) == (*UNAVAILABLE, True)
    assert len(endpoint.received) == before + 1


async def test_an_endpoint_that_never_answers(setup: Setup, endpoint: Endpoint) -> None:
    release = asyncio.Event()

    async def wait(_: object) -> None:
        await release.wait()

    endpoint.behave = wait
    failed = await unanswered(setup.exchange(), within=0.2)
    release.set()
    assert (failed.kind, failed.reason, failed.maybe_spent) == (*UNAVAILABLE, True)
    assert len(endpoint.received) == 1


async def test_an_endpoint_that_never_stops_answering(setup: Setup, endpoint: Endpoint) -> None:
    stop = asyncio.Event()

    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while not stop.is_set():
            writer.write(b" ")
            await asyncio.sleep(0.02)

    endpoint.behave = drip
    failed = await unanswered(setup.exchange(), within=0.3)
    stop.set()
    assert (failed.kind, failed.reason, failed.maybe_spent) == (*UNAVAILABLE, True)


@pytest.mark.parametrize(("status", "maybe_spent"), [(200, True), (500, True), (400, False)])
@pytest.mark.parametrize("told", [True, False])
async def test_fifty_megabytes(setup: Setup, endpoint: Endpoint, status: int, maybe_spent: bool, told: bool) -> None:
    written = 0

    async def flood(writer: asyncio.StreamWriter) -> None:
        nonlocal written
        length = "Content-Length: 52428800\r\n" if told else "Connection: close\r\n"
        writer.write(f"HTTP/1.1 {status} X\r\n{length}\r\n".encode())
        for _ in range(800):
            writer.write(b"x" * 65536)
            await writer.drain()
            written += 65536

    endpoint.behave = flood
    failed = await unanswered(setup.exchange())
    assert (failed.kind, failed.reason, failed.maybe_spent) == (*INVALID, maybe_spent)
    assert written < 52428800


async def test_a_small_answer_that_unpacks_to_fifty_megabytes(setup: Setup, endpoint: Endpoint) -> None:
    endpoint.answer = http(200, gzip.compress(b"0" * 52428800), Content_Encoding="gzip")
    failed = await unanswered(setup.exchange())
    assert (failed.kind, failed.reason, failed.maybe_spent) == (*INVALID, True)


async def test_a_body_at_the_limit_is_read(setup: Setup, endpoint: Endpoint) -> None:
    endpoint.answer = http(200, b" " * MAX_BODY)
    assert len((await setup.exchange().send(request(), timeout=5)).body) == MAX_BODY
    endpoint.answer = http(200, b" " * (MAX_BODY + 1))
    assert (await unanswered(setup.exchange())).reason is Reason.PROVIDER_RESPONSE_INVALID


@pytest.mark.parametrize(
    "answer", [b"SSH-2.0-OpenSSH\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nshort", b"HTTP/1.1 2"]
)
async def test_broken_http(setup: Setup, endpoint: Endpoint, answer: bytes) -> None:
    async def speak(writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()

    endpoint.behave = speak
    failed = await unanswered(setup.exchange())
    assert failed.kind is FailureKind.TRANSIENT
    assert failed.maybe_spent
    assert len(endpoint.received) == 1


async def test_nothing_is_sent_to_a_closed_port(setup: Setup) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{unused.getsockname()[1]}"
        exchange = setup.exchange(f"token_url: http://{host}/token\n", allowed=frozenset({"127.0.0.1"}))
        failed = await unanswered(exchange)
    assert (failed.kind, failed.reason, failed.maybe_spent) == (*UNAVAILABLE, False)


async def test_nothing_is_sent_without_tls(setup: Setup, endpoint: Endpoint) -> None:
    failed = await unanswered(setup.exchange(f"token_url: https://{endpoint.host}/token\n"))
    assert (failed.kind, failed.reason, failed.maybe_spent) == (*UNAVAILABLE, False)
    assert endpoint.received == []


async def test_client_credentials_are_never_spent(setup: Setup, endpoint: Endpoint) -> None:
    async def hang_up(_: object) -> None:
        return

    endpoint.behave = hang_up
    exchange = setup.exchange(mode="OAUTH2_CC")
    with pytest.raises(ExchangeFailed) as caught:
        await exchange.send(request(OAuth2ClientCredentials(), mode=AuthMode.OAUTH2_CC), timeout=5)
    assert caught.value.reason is Reason.PROVIDER_UNAVAILABLE
    assert not caught.value.maybe_spent


async def test_a_provider_without_a_template(setup: Setup) -> None:
    exchange = ProviderExchange(Catalogue({}), Outbound())
    setup.opened.append(exchange)
    assert (await unanswered(exchange)).kind is FailureKind.CONFIGURATION
    assert exchange.info("acme") is None
    assert exchange.facts("acme").reuse_window is None
