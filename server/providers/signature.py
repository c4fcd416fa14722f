"""Auth mode SIGNATURE: the `X-WSSE` header, computed here from a login. Nothing is sent.

WS-Security UsernameToken Profile 1.1: the digest is Base64(SHA-1(nonce + created + password)). Some providers (Emarsys)
write the hash in hexadecimal digits before Base64; a template says which with `signature.digest`.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from server.domain.model import AuthMode, Credentials, SignatureCredentials
from server.domain.secret import Secret
from server.providers.mode import NO_RAW, Line, local_answer, local_fields, not_refreshable
from server.providers.template import Template
from server.providers.token_request import Client, misconfigured
from server.refresh.ports import ExchangeRequest, NewCredentials, ProviderAnswer

_LIFE: Final = 300.0
"""Seconds for which servers accept a header, as the profile recommends."""


@dataclass(frozen=True, slots=True)
class Wsse:
    """Computes the header's value."""

    auth_mode: AuthMode = AuthMode.SIGNATURE
    credentials_type: type = SignatureCredentials
    needs_client: bool = False
    spends: bool = False

    def is_refreshable(self, credentials: Credentials) -> bool:
        """Return True: it can always be computed anew."""
        return isinstance(credentials, SignatureCredentials)

    def client(self, request: ExchangeRequest) -> Client:
        """Return the integration's client."""
        return Client(request.client_id, request.client_secret)

    def token_url(self, template: Template, request: ExchangeRequest) -> str:
        """Return nothing: the header is made here."""
        return ""

    async def send(self, template: Template, request: ExchangeRequest, line: Line, *, timeout: float) -> ProviderAnswer:
        """Compute a header."""
        held = request.credentials
        if not isinstance(held, SignatureCredentials):
            raise not_refreshable(self.auth_mode)
        if '"' in held.username or not held.username.isprintable():
            raise misconfigured(template, "the user name cannot stand in a header")
        now = line.clock.now()
        created = datetime.fromtimestamp(int(now), UTC).isoformat()
        nonce = secrets.token_hex(16)
        hashed = hashlib.sha1(f"{nonce}{created}{held.password.reveal()}".encode())  # noqa: S324 (the profile's)
        raw = template.signature is not None and template.signature.digest == "raw"
        digest = base64.b64encode(hashed.digest() if raw else hashed.hexdigest().encode()).decode()
        shown_nonce = base64.b64encode(nonce.encode()).decode() if raw else nonce
        token = (
            f'UsernameToken Username="{held.username}", PasswordDigest="{digest}", '
            f'Nonce="{shown_nonce}", Created="{created}"'
        )
        lifetime = template.token.lifetime if template.token is not None else _LIFE
        return local_answer({"token": token, "expires_at": now + lifetime})

    def interpret(
        self, template: Template, request: ExchangeRequest, answer: ProviderAnswer, *, now: float
    ) -> NewCredentials:
        """Return the credentials with the new header."""
        if not isinstance(request.credentials, SignatureCredentials):
            raise not_refreshable(self.auth_mode)
        made = local_fields(answer)
        new = dataclasses.replace(request.credentials, token=Secret(made["token"]), expires_at=made["expires_at"])
        return NewCredentials(credentials=new, raw=NO_RAW)

    def revocable(self, credentials: Credentials) -> Secret | None:
        """Return None: nobody keeps a list of these headers."""
        return None
