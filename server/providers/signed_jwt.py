"""Auth mode JWT: a token that we sign ourselves with the customer's key (RFC 7519). Nothing is sent."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from server.domain.model import AuthMode, Credentials, JwtCredentials
from server.domain.secret import Secret
from server.providers.interpolation import InterpolationError, Values, render_secret
from server.providers.mode import NO_RAW, Line, local_answer, local_fields, not_refreshable, values_of
from server.providers.signing import (
    EC_ALGORITHMS,
    HMAC_ALGORITHMS,
    RSA_ALGORITHMS,
    SigningError,
    sign_with_private_key,
    sign_with_secret,
)
from server.providers.template import Protocol, Template
from server.providers.token_request import Client, misconfigured, parameters
from server.refresh.ports import ExchangeRequest, NewCredentials, ProviderAnswer

ALGORITHMS: Mapping[Protocol, frozenset[str]] = {
    Protocol.RSA: RSA_ALGORITHMS,
    Protocol.EC: EC_ALGORITHMS,
    Protocol.HMAC: HMAC_ALGORITHMS,
}
_DEFAULTS = {Protocol.RSA: "RS256", Protocol.EC: "", Protocol.HMAC: "HS256"}


@dataclass(frozen=True, slots=True)
class SignedJwt:
    """Signs by the template's `token` and `signature`."""

    auth_mode: AuthMode = AuthMode.JWT
    credentials_type: type = JwtCredentials
    needs_client: bool = False
    spends: bool = False

    def is_refreshable(self, credentials: Credentials) -> bool:
        """Return True: it can always be signed anew."""
        return isinstance(credentials, JwtCredentials)

    def client(self, request: ExchangeRequest) -> Client:
        """Return the integration's client."""
        return Client(request.client_id, request.client_secret)

    def token_url(self, template: Template, request: ExchangeRequest) -> str:
        """Return nothing: the token is made here."""
        return ""

    async def send(self, template: Template, request: ExchangeRequest, line: Line, *, timeout: float) -> ProviderAnswer:
        """Sign a token."""
        if not isinstance(request.credentials, JwtCredentials):
            raise not_refreshable(self.auth_mode)
        now = line.clock.now()
        values = values_of(template, request, self.client(request), now=now)
        token, expires_at = signed_token(template, values)
        return local_answer({"token": token, "expires_at": expires_at})

    def interpret(
        self, template: Template, request: ExchangeRequest, answer: ProviderAnswer, *, now: float
    ) -> NewCredentials:
        """Return the credentials with the new token."""
        if not isinstance(request.credentials, JwtCredentials):
            raise not_refreshable(self.auth_mode)
        made = local_fields(answer)
        new = dataclasses.replace(request.credentials, token=Secret(made["token"]), expires_at=made["expires_at"])
        return NewCredentials(credentials=new, raw=NO_RAW)

    def revocable(self, credentials: Credentials) -> Secret | None:
        """Return None: nobody keeps a list of these tokens."""
        return None


def signed_token(template: Template, values: Values) -> tuple[str, float]:
    """Return a JWT by the template's `token` and `signature`, and when it ends. Raises `ExchangeFailed`."""
    spec, signature = template.token, template.signature
    if spec is None or signature is None or signature.protocol not in ALGORITHMS:
        raise misconfigured(template, "the template does not say how its token is signed")
    header: dict[str, Any] = parameters(template, spec.header, values)
    issued = int(values.now)
    expires = issued + int(spec.lifetime)
    claims = {"iat": issued, "exp": expires, **parameters(template, spec.payload, values)}
    algorithm = str(header.pop("alg", "")) or _DEFAULTS[signature.protocol]
    if algorithm and algorithm not in ALGORITHMS[signature.protocol]:
        raise misconfigured(template, f"token.header.alg is not an algorithm of {signature.protocol.value}")
    try:
        key = render_secret(spec.signing_key, values)
    except InterpolationError as error:
        raise misconfigured(template, str(error)) from None
    try:
        if signature.protocol is Protocol.HMAC:
            hexadecimal = signature.hmac_secret_encoding == "hex"  # noqa: S105 (an encoding)
            secret = bytes.fromhex(key) if hexadecimal else key.encode()
            token = sign_with_secret(secret, claims, algorithm=algorithm, header=header)
        else:
            token = sign_with_private_key(key, claims, algorithm=algorithm, header=header)
    except SigningError as error:
        raise misconfigured(template, f"the signing key {error}") from None
    except ValueError:
        raise misconfigured(template, "the signing key is not written in hexadecimal digits") from None
    return token, float(expires)
