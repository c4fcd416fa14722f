"""Keys that customers paste, and the JWTs signed with them."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

PrivateKey: TypeAlias = RSAPrivateKey | EllipticCurvePrivateKey | Ed25519PrivateKey

RSA_ALGORITHMS: Final = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
EC_ALGORITHMS: Final = frozenset({"ES256", "ES384", "ES512", "EdDSA"})
HMAC_ALGORITHMS: Final = frozenset({"HS256", "HS384", "HS512"})
_CURVES: Final = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}


class SigningError(Exception):
    """A key cannot be used. The text follows the name of what holds the key, and quotes nothing of it."""


def load_private_key(text: str) -> PrivateKey:
    """Return the private key in a PEM text, also one whose line ends became `\\n` or that is wrapped in Base64.

    Raises `SigningError`.
    """
    pem = text.strip().replace("\\n", "\n")
    if "-----BEGIN" not in pem:
        try:
            pem = base64.b64decode(pem, validate=True).decode().strip()
        except (binascii.Error, ValueError):
            raise SigningError("is not a private key in PEM") from None
    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise SigningError("is not an unencrypted private key in PEM") from None
    if not isinstance(key, RSAPrivateKey | EllipticCurvePrivateKey | Ed25519PrivateKey):
        raise SigningError("is not an RSA, EC or Ed25519 private key")
    return key


def algorithm_for(key: PrivateKey) -> str:
    """Return the JWS algorithm (RFC 7518 section 3.1) that fits a key. Raises `SigningError`."""
    if isinstance(key, RSAPrivateKey):
        return "RS256"
    if isinstance(key, Ed25519PrivateKey):
        return "EdDSA"
    try:
        return _CURVES[key.curve.name]
    except KeyError:
        raise SigningError("is on a curve that JWTs are not signed with") from None


def sign_with_private_key(
    text: str, claims: Mapping[str, Any], *, algorithm: str = "", header: Mapping[str, Any] | None = None
) -> str:
    """Return a JWT signed with the private key in a PEM text. Raises `SigningError`."""
    key = load_private_key(text)
    return _sign(key, claims, algorithm or algorithm_for(key), header)


def sign_with_secret(
    secret: bytes, claims: Mapping[str, Any], *, algorithm: str, header: Mapping[str, Any] | None = None
) -> str:
    """Return a JWT signed with a shared secret. Raises `SigningError`."""
    return _sign(secret, claims, algorithm, header)


def _sign(key: Any, claims: Mapping[str, Any], algorithm: str, header: Mapping[str, Any] | None) -> str:
    try:
        return jwt.encode(dict(claims), key, algorithm=algorithm, headers=dict(header or {}))
    except (jwt.PyJWTError, ValueError, TypeError, NotImplementedError):
        raise SigningError(f"does not fit the algorithm {algorithm}") from None
