"""Signature Version 4 against the examples that AWS publishes with its test suite, and against moto's STS."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from moto.server import ThreadedMotoServer

from server.domain.model import AuthMode, AwsSigV4Credentials
from server.domain.secret import Secret
from server.providers.sigv4 import AccessKey, sign
from tests.providers.support import Setup, request

KEY = AccessKey("AKIDEXAMPLE", Secret("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"), "us-east-1", "service")
AT = datetime(2015, 8, 30, 12, 36, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("method", "headers", "body", "signature"),
    [
        ("GET", {}, b"", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        ("POST", {}, b"", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
        (
            "POST",
            {"Content-Type": "application/x-www-form-urlencoded"},
            b"Param1=value1",
            "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
        ),
    ],
    ids=["get-vanilla", "post-vanilla", "post-x-www-form-urlencoded"],
)
def test_published_vectors(method: str, headers: dict[str, str], body: bytes, signature: str) -> None:
    signed = sign(KEY, method, "https://example.amazonaws.com/", headers, body, now=AT)
    names = ";".join(sorted(name.lower() for name in (*headers, "host", "x-amz-date")))
    assert signed["Authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
        f"SignedHeaders={names}, Signature={signature}"
    )
    assert signed["X-Amz-Date"] == "20150830T123600Z"


@pytest.fixture
def sts() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"{host}:{port}"
    server.stop()


async def test_motos_sts_gives_temporary_credentials(setup: Setup, sts: str) -> None:
    exchange = setup.exchange(f"token_url: http://{sts}/\n", mode="AWS_SIGV4", allowed=frozenset({sts}))
    held = AwsSigV4Credentials("arn:aws:iam::123456789012:role/acme", "eu-central-1")
    asked = request(held, mode=AuthMode.AWS_SIGV4, client_id="AKID", client_secret="SK")
    answer = await exchange.send(asked, timeout=10)
    new = exchange.interpret(asked, answer, now=datetime.now(UTC).timestamp()).credentials
    assert isinstance(new, AwsSigV4Credentials)
    assert new.access_key_id.startswith("ASIA")
    assert new.secret_access_key
    assert new.session_token
    assert new.expires_at is not None
    assert 3000 < new.expires_at - datetime.now(UTC).timestamp() <= 3700
