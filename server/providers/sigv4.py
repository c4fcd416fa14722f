"""AWS Signature Version 4, as the IAM user guide describes it ("Create a signed AWS API request").

For requests to a service's root with a body: the query is signed in the order in which it is given.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from yarl import URL

from server.domain.secret import Secret

ALGORITHM: Final = "AWS4-HMAC-SHA256"


@dataclass(frozen=True, slots=True)
class AccessKey:
    """Who signs, and for what."""

    access_key_id: str
    secret_access_key: Secret = field(repr=False)
    region: str
    service: str


def sign(
    key: AccessKey, method: str, url: str, headers: Mapping[str, str], body: bytes, *, now: float
) -> dict[str, str]:
    """Return the headers with `Host`, `X-Amz-Date` and `Authorization` added; all of them but the last are signed."""
    target = URL(url, encoded=True)
    moment = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
    host = target.host_subcomponent or ""
    if target.port is not None and not target.is_default_port():
        host = f"{host}:{target.port}"
    signed = {**headers, "Host": host, "X-Amz-Date": moment}
    canonical = {name.lower(): " ".join(value.split()) for name, value in signed.items()}
    names = ";".join(sorted(canonical))
    request = "\n".join(
        [
            method,
            target.raw_path or "/",
            target.raw_query_string,
            *(f"{name}:{canonical[name]}" for name in sorted(canonical)),
            "",
            names,
            hashlib.sha256(body).hexdigest(),
        ]
    )
    scope = f"{moment[:8]}/{key.region}/{key.service}/aws4_request"
    text = "\n".join([ALGORITHM, moment, scope, hashlib.sha256(request.encode()).hexdigest()])
    signature = hmac.new(_signing_key(key, moment[:8]), text.encode(), hashlib.sha256).hexdigest()
    signed["Authorization"] = (
        f"{ALGORITHM} Credential={key.access_key_id}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    return signed


def _signing_key(key: AccessKey, day: str) -> bytes:
    secret = f"AWS4{key.secret_access_key.reveal()}".encode()
    for part in (day, key.region, key.service, "aws4_request"):
        secret = hmac.new(secret, part.encode(), hashlib.sha256).digest()
    return secret
