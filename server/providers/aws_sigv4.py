"""Auth mode AWS_SIGV4: temporary credentials of the customer's role (AWS STS API reference, AssumeRole).

The integration's client id and secret are the access key that assumes the role. STS is asked in the role's region, unless
the template's `token_url` names another endpoint.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass, field
from typing import Any, Final

from server.domain.errors import Reason
from server.domain.model import AuthMode, AwsSigV4Credentials, Credentials
from server.domain.secret import Secret
from server.providers.interpolation import at_path
from server.providers.mode import OneRequest, not_refreshable, values_of
from server.providers.sigv4 import AccessKey, sign
from server.providers.template import BodyFormat, ExpirationStrategy, Template, TokenPaths
from server.providers.token_request import TokenRequest, assemble, endpoint, misconfigured
from server.providers.token_response import decode, read_answer
from server.refresh.ports import ExchangeFailed, ExchangeRequest, FailureKind, NewCredentials, ProviderAnswer

_DURATION: Final = 3600
_REGION: Final = re.compile(r"[a-z]{2}(?:-[a-z]+){1,3}-[0-9]{1,2}")
_RESULT: Final = "AssumeRoleResponse.AssumeRoleResult.Credentials"
_PATHS: Final = TokenPaths(f"{_RESULT}.SessionToken", f"{_RESULT}.Expiration", ExpirationStrategy.AT)
_STS: Final = "https://sts.${credentials.region}.amazonaws.com/"

# The STS API reference's common errors that say what is wrong with the access key, and not with the role.
_KEY_IS_AT_FAULT: Final = frozenset(
    {
        "InvalidClientTokenId",
        "SignatureDoesNotMatch",
        "IncompleteSignature",
        "MissingAuthenticationToken",
        "OptInRequired",
    }
)


@dataclass(frozen=True, slots=True)
class AwsSigV4(OneRequest):
    """Assumes the role again."""

    auth_mode: AuthMode = AuthMode.AWS_SIGV4
    credentials_type: type = AwsSigV4Credentials
    needs_client: bool = True
    spends: bool = field(default=False)

    def is_refreshable(self, credentials: Credentials) -> bool:
        """Return True: the role can always be assumed again."""
        return isinstance(credentials, AwsSigV4Credentials)

    def token_url(self, template: Template, request: ExchangeRequest) -> str:
        """Return the template's STS endpoint, or else the region's."""
        return template.token_url or _STS

    def token_request(self, template: Template, request: ExchangeRequest, *, now: float) -> TokenRequest:
        """Return the signed AssumeRole request."""
        held = request.credentials
        if not isinstance(held, AwsSigV4Credentials):
            raise not_refreshable(self.auth_mode)
        if not request.client_id or not request.client_secret:
            raise misconfigured(template, "the integration has no access key (client id and secret)")
        if _REGION.fullmatch(held.region) is None:
            raise misconfigured(template, "credentials.aws_sigv4.region is not the name of a region")
        fields = {
            "Action": "AssumeRole",
            "Version": "2011-06-15",
            "RoleArn": held.role_arn,
            "RoleSessionName": "connections",
            "DurationSeconds": str(_DURATION),
        }
        if held.external_id:
            fields["ExternalId"] = held.external_id
        values = values_of(template, request, self.client(request), now=now)
        url = endpoint(template, self.token_url(template, request), values)
        wire = assemble("POST", url, fields, {"Accept": "application/xml"}, BodyFormat.FORM)
        key = AccessKey(request.client_id, request.client_secret, held.region, "sts")
        return dataclasses.replace(wire, headers=sign(key, "POST", url, wire.headers, wire.body, now=now))

    def interpret(
        self, template: Template, request: ExchangeRequest, answer: ProviderAnswer, *, now: float
    ) -> NewCredentials:
        """Read the temporary credentials."""
        held = request.credentials
        if not isinstance(held, AwsSigV4Credentials):
            raise not_refreshable(self.auth_mode)
        fields: dict[str, Any] = decode(answer) or {}
        code = at_path(fields, "ErrorResponse.Error.Code")
        if code == "AccessDenied":
            detail = "the role does not let the integration's access key assume it (AccessDenied)"
            raise ExchangeFailed(FailureKind.PERMANENT, Reason.REAUTHORIZATION_REQUIRED, detail)
        if code in _KEY_IS_AT_FAULT:
            raise misconfigured(template, f"STS refuses the integration's access key ({code})")
        response = read_answer(dataclasses.replace(template, token_response=_PATHS), answer, now=now)
        key_id, secret = (at_path(fields, f"{_RESULT}.{name}") for name in ("AccessKeyId", "SecretAccessKey"))
        if not isinstance(key_id, str) or not isinstance(secret, str) or not secret:
            raise ExchangeFailed(
                FailureKind.TRANSIENT, Reason.PROVIDER_RESPONSE_INVALID, "the answer of STS has no access key"
            )
        new = dataclasses.replace(
            held,
            access_key_id=key_id,
            secret_access_key=Secret(secret),
            session_token=response.access_token,
            expires_at=response.expires_at or now + _DURATION,
        )
        return NewCredentials(credentials=new, raw=response.raw)

    def revocable(self, credentials: Credentials) -> Secret | None:
        """Return None: STS revokes nothing."""
        return None
