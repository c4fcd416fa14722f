"""The functions that a template's placeholders may call: `${base64(...)}`."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from server.providers.signing import SigningError, load_private_key


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _sha256_hex(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _sha256_base64(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _hmac_sha1_hex(text: str, key: str) -> str:
    return hmac.new(key.encode(), text.encode(), hashlib.sha1).hexdigest()


def _ed25519_sign(text: str, key: str) -> str:
    private = load_private_key(key)
    if not isinstance(private, Ed25519PrivateKey):
        raise SigningError("is not an Ed25519 private key")
    return base64.b64encode(private.sign(text.encode())).decode()


def _fingerprint(key: str) -> str:
    """Return a public key's fingerprint as Snowflake's key-pair authentication names keys: `SHA256:` and Base64."""
    public = load_private_key(key).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return "SHA256:" + base64.b64encode(hashlib.sha256(public).digest()).decode()


# Name to number of arguments and function. Each may raise `SigningError`, whose text names no value.
FUNCTIONS: Final[Mapping[str, tuple[int, Callable[..., str]]]] = {
    "base64": (1, _base64),
    "sha256Hex": (1, _sha256_hex),
    "sha256Base64": (1, _sha256_base64),
    "hmacSha1Hex": (2, _hmac_sha1_hex),
    "ed25519Sign": (2, _ed25519_sign),
    "fingerprint": (1, _fingerprint),
}

# Signs a finished request with its headers: what callers send, never what a token request is made of.
CALLERS_FUNCTIONS: Final = frozenset({"awsSigV4"})

_TOKEN: Final = re.compile(r"\[([^\]]*)\]|YYYY|MM|DD|HH|mm|ss|SSS|X|x|Z")


def format_time(instant: float, pattern: str) -> str:
    """Return an instant in UTC by a pattern of YYYY MM DD HH mm ss SSS, X (seconds), x (milliseconds), Z and [text]."""
    moment = datetime.fromtimestamp(instant, UTC)
    values = {
        "YYYY": f"{moment.year:04}",
        "MM": f"{moment.month:02}",
        "DD": f"{moment.day:02}",
        "HH": f"{moment.hour:02}",
        "mm": f"{moment.minute:02}",
        "ss": f"{moment.second:02}",
        "SSS": f"{moment.microsecond // 1000:03}",
        "X": str(int(instant)),
        "x": str(int(instant * 1000)),
        "Z": "+00:00",
    }
    return _TOKEN.sub(lambda match: match[1] if match[1] is not None else values[match[0]], pattern)
