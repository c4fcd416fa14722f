"""OAUTH2_CC with a client certificate (RFC 8705), against a TLS server that demands one."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from server.domain.model import AuthMode, OAuth2ClientCredentials
from server.domain.secret import Secret
from server.refresh.ports import ExchangeFailed, FailureKind
from tests.providers.support import Endpoint, Setup, request

Key = ec.EllipticCurvePrivateKey


def pem(key: Key) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def certificate(subject: str, key: Key, issuer: str, signer: Key, *, usage: Any = None) -> str:
    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=usage is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    if usage is not None:
        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        builder = builder.add_extension(x509.SubjectAlternativeName([address]), critical=False)
    return builder.sign(signer, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


@dataclass
class Tls:
    host: str
    client_certificate: str
    client_key: str
    endpoint: Endpoint
    subjects: list[str]


@pytest.fixture
async def tls(tmp_path: Path, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Tls]:
    root_key, server_key, client_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    root = certificate("root", root_key, "root", root_key)
    ca, chain = tmp_path / "ca.pem", tmp_path / "server.pem"
    ca.write_text(root)
    server = certificate("server", server_key, "root", root_key, usage=ExtendedKeyUsageOID.SERVER_AUTH)
    chain.write_text(server + pem(server_key))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(ca))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(chain)
    subjects: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peercert")
        subjects.append(peer["subject"][0][0][1])
        await endpoint.serve(reader, writer)

    listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    # What the system trusts: OpenSSL's own variable, as an operator would set it.
    monkeypatch.setenv("SSL_CERT_FILE", str(ca))
    shown = certificate("acme-client", client_key, "root", root_key, usage=ExtendedKeyUsageOID.CLIENT_AUTH)
    host = f"127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    yield Tls(host, shown, pem(client_key), endpoint, subjects)
    listening.close()


def template(tls: Tls) -> str:
    return f"token_url: https://{tls.host}/token\nrequire_client_certificate: true\n"


def own_client(tls: Tls) -> OAuth2ClientCredentials:
    key = Secret(tls.client_key)
    return OAuth2ClientCredentials("own", None, client_certificate=tls.client_certificate, client_private_key=key)


async def test_the_client_shows_its_certificate(setup: Setup, tls: Tls) -> None:
    exchange = setup.exchange(template(tls), mode="OAUTH2_CC", allowed=frozenset({tls.host}))
    held = OAuth2ClientCredentials(
        "own", None, client_certificate=tls.client_certificate, client_private_key=Secret(tls.client_key)
    )
    answer = await exchange.send(request(held, mode=AuthMode.OAUTH2_CC), timeout=5)
    assert answer.status == 200
    assert tls.subjects == ["acme-client"]
    assert tls.endpoint.last.body == b"grant_type=client_credentials&client_id=own"


async def test_the_servers_certificate_is_verified_all_the_same(
    setup: Setup, tls: Tls, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other_key = ec.generate_private_key(ec.SECP256R1())
    other = tmp_path / "other.pem"
    other.write_text(certificate("other", other_key, "other", other_key))
    monkeypatch.setenv("SSL_CERT_FILE", str(other))
    exchange = setup.exchange(template(tls), mode="OAUTH2_CC", allowed=frozenset({tls.host}))
    held = OAuth2ClientCredentials(
        "own", None, client_certificate=tls.client_certificate, client_private_key=Secret(tls.client_key)
    )
    with pytest.raises(ExchangeFailed) as caught:
        await exchange.send(request(held, mode=AuthMode.OAUTH2_CC), timeout=5)
    assert caught.value.kind is FailureKind.TRANSIENT
    assert tls.endpoint.received == []


@pytest.mark.parametrize("part", ["certificate", "key"])
async def test_a_certificate_or_key_that_is_none_is_told(setup: Setup, tls: Tls, part: str) -> None:
    exchange = setup.exchange(template(tls), mode="OAUTH2_CC", allowed=frozenset({tls.host}))
    held = OAuth2ClientCredentials(
        "own",
        None,
        client_certificate="nonsense-4711" if part == "certificate" else tls.client_certificate,
        client_private_key=Secret("nonsense-4711" if part == "key" else tls.client_key),
    )
    with pytest.raises(ExchangeFailed, match="not a pair") as caught:
        await exchange.send(request(held, mode=AuthMode.OAUTH2_CC), timeout=5)
    assert caught.value.kind is FailureKind.CONFIGURATION
    assert "4711" not in caught.value.detail


async def test_a_client_without_a_certificate_is_refused_before_anything_is_sent(setup: Setup, tls: Tls) -> None:
    exchange = setup.exchange(template(tls), mode="OAUTH2_CC", allowed=frozenset({tls.host}))
    with pytest.raises(ExchangeFailed, match="no certificate"):
        await exchange.send(request(OAuth2ClientCredentials(), mode=AuthMode.OAUTH2_CC), timeout=5)
    assert tls.subjects == []
