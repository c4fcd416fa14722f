"""What the refresh engine asks of the outside: providers that exchange tokens, and a store that remembers.

`providers` implements `TokenExchange`; `storage` implements `RefreshStore`.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID

from server.domain.errors import Reason
from server.domain.model import (
    AuthMode,
    ConnectionKey,
    Credentials,
    CredentialState,
    ProviderFacts,
    ProviderInfo,
    RawResponse,
)
from server.domain.secret import Secret


@dataclass(frozen=True, slots=True)
class ExchangeRequest:
    """Everything that a token exchange needs, resolved: nothing is looked up while it runs.

    `connection_config` is the connection's, overlaid by the integration's: an import must not redirect the client secret.
    """

    key: ConnectionKey
    provider: str
    auth_mode: AuthMode
    client_id: str
    client_secret: Secret | None
    scopes: tuple[str, ...]
    connection_config: Mapping[str, Any]
    credentials: Credentials


@dataclass(frozen=True, slots=True)
class ProviderAnswer:
    """A provider's HTTP answer, untouched: what is stored before it is looked at.

    `headers` holds only those that matter (`content-type`, `retry-after`), names in lower case. `body` is at most 1 MiB.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class NewCredentials:
    """What a token response means.

    `granted_scopes` is None if the provider did not say. `connection_config` holds values that the template takes from
    the response (an instance URL), to be merged. `rotated` is whether the refresh token changed.
    """

    credentials: Credentials
    raw: RawResponse
    granted_scopes: tuple[str, ...] | None = None
    connection_config: Mapping[str, Any] = field(default_factory=dict)
    rotated: bool = False


class FailureKind(enum.Enum):
    """What a failed exchange means for the connection, its integration or its provider."""

    PERMANENT = "permanent"
    """The grant is gone (`invalid_grant`): only the end user can repair it."""
    CONFIGURATION = "configuration"
    """The integration is at fault (`invalid_client`, a value is missing): all its connections wait."""
    TRANSIENT = "transient"
    """Outage, network, time-out, rate limit, rubbish: try again later."""


class ExchangeFailed(Exception):
    """An exchange that brought no credentials. `detail` is a short text for logs and operators without secrets.

    `maybe_spent` is whether the provider may have received the request although no answer came: then a rotating
    refresh token may be gone. `retry_after` is what the provider asked for, in seconds.
    """

    def __init__(
        self,
        kind: FailureKind,
        reason: Reason,
        detail: str,
        *,
        retry_after: float | None = None,
        maybe_spent: bool = False,
        oauth_error: str = "",
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.reason = reason
        self.detail = detail
        self.retry_after = retry_after
        self.maybe_spent = maybe_spent
        self.oauth_error = oauth_error


class TokenExchange(Protocol):
    """Speaks with providers' token endpoints. Knows templates and auth modes, and stores nothing."""

    def info(self, provider: str) -> ProviderInfo | None:
        """Return the template's public facts, None if there is no such template."""
        ...

    def facts(self, provider: str) -> ProviderFacts:
        """Return the template's refresh facts; defaults if there is no such template."""
        ...

    def is_refreshable(self, auth_mode: AuthMode, credentials: Credentials) -> bool:
        """Return whether an exchange could bring new credentials in place of these."""
        ...

    def token_host(self, request: ExchangeRequest) -> str:
        """Return `host:port` of the token endpoint: what a circuit breaker is keyed by.

        Raises `ExchangeFailed` (CONFIGURATION) if a value that the URL needs is missing.
        """
        ...

    async def send(self, request: ExchangeRequest, *, timeout: float) -> ProviderAnswer:
        """Spend the refresh token (or client credentials): one HTTP exchange, never repeated, at most `timeout` seconds.

        Any answer with a status line is returned, whatever the status. Raises `ExchangeFailed` if there is none.
        """
        ...

    def interpret(self, request: ExchangeRequest, answer: ProviderAnswer, *, now: float) -> NewCredentials:
        """Turn an answer into credentials. Does no I/O, so that a stored answer can be interpreted later.

        `now` is the instant at which the answer arrived: `expires_in` counts from it. Raises `ExchangeFailed`.
        """
        ...

    async def revoke(self, request: ExchangeRequest, *, timeout: float) -> bool | None:
        """Ask the provider to revoke the tokens (RFC 7009): True if it did, False if that failed, None if it cannot."""
        ...


@dataclass(frozen=True, slots=True)
class UnfinishedAttempt:
    """What an earlier owner of the lease left: the token may be spent since `spend_time`, and the answer, if it came."""

    spend_time: float
    answer: ProviderAnswer | None
    answer_time: float | None


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to exchange one connection's credentials, and all that the exchange needs.

    `generation` is that of the credentials in `request`: what the exchange brings is stored only if it is still theirs.
    `rotates` is whether the last refresh brought another refresh token, None if there was none. `lifetime` is how long
    the last token lived in all. `client_refused_until` is set while the provider refuses the integration's client.
    """

    owner: UUID
    key: ConnectionKey
    uid: UUID
    generation: int
    request: ExchangeRequest
    state: CredentialState
    raw: RawResponse | None
    rotates: bool | None
    lifetime: float | None
    client_refused_until: float | None
    client_refusals: int
    unfinished: UnfinishedAttempt | None
    wrapped_data_key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class LeaseHeld:
    """Someone else holds the lease."""

    uid: UUID
    generation: int


@dataclass(frozen=True, slots=True)
class Progress:
    """How far another's exchange is: the generation now, and until when the lease holds, None if nobody holds it."""

    generation: int
    lease_expires_at: float | None


@dataclass(frozen=True, slots=True)
class Applied:
    """What an exchange changes in the store."""

    state: CredentialState
    new: NewCredentials
    rotates: bool | None
    lifetime: float | None


@dataclass(frozen=True, slots=True)
class Slot:
    """The right to one of the refreshes that may run at a provider at once."""

    provider: str
    number: int


@dataclass(frozen=True, slots=True)
class Due:
    """A connection that was claimed for a refresh, the slot to do it in, and since when it is due."""

    key: ConnectionKey
    slot: Slot
    due_at: float


class RefreshStore(Protocol):
    """Keeps leases, attempts and what came of them. Every method raises `StorageUnavailable` if Postgres is away."""

    async def acquire(self, key: ConnectionKey, *, owner: UUID, now: float, ttl: float) -> Lease | LeaseHeld | None:
        """Take the lease for `ttl` seconds if nobody holds it. None if there is no such connection."""
        ...

    async def renew(self, lease: Lease, *, now: float, ttl: float) -> bool:
        """Hold the lease for `ttl` seconds more; False if it is no longer this owner's."""
        ...

    async def progress(self, key: ConnectionKey, uid: UUID) -> Progress | None:
        """Return how far another's exchange is, None if the connection is gone."""
        ...

    async def record_attempt(self, lease: Lease, *, now: float, spend_time: float) -> bool:
        """Record that the token is about to be sent; False if the lease is no longer this owner's, or if an answer has
        come to an earlier owner: then do not send.
        """
        ...

    async def keep_answer(self, lease: Lease, answer: ProviderAnswer, *, now: float) -> bool:
        """Store the provider's answer, sealed, whoever holds the lease now; False if the connection is gone."""
        ...

    async def apply(self, lease: Lease, applied: Applied) -> bool:
        """Store new credentials if the generation is still the lease's; False if it is not. Ends the attempt."""
        ...

    async def fail(self, lease: Lease, state: CredentialState, *, spent: bool, answered: bool) -> bool:
        """Store a failure's state if the generation is still the lease's; False if it is not.

        Ends the attempt unless the token may be `spent`. `answered`: the stored answer has been looked at and goes; one
        that an earlier owner stored meanwhile stays.
        """
        ...

    async def release(self, lease: Lease) -> None:
        """Give the lease back; what an earlier owner left unfinished stays recorded."""
        ...

    async def refuse_client(self, lease: Lease, *, until: float) -> None:
        """Record that the provider refuses the integration's client."""
        ...


class DueStore(Protocol):
    """Shares out what is due among all processes. Every method raises `StorageUnavailable` if Postgres is away."""

    async def open_slots(self, bound: Callable[[str], int]) -> Mapping[str, int]:
        """See to it that every provider in use has as many slots as `bound` gives for it; return the bounds."""
        ...

    async def claim_due(
        self, *, now: float, limit: int, hold: float, bounds: Mapping[str, int], done: Sequence[Slot], owner: UUID
    ) -> list[Due]:
        """Return connections whose `next_refresh_at` has come, soonest first, each with a free slot of its provider.

        For `hold` seconds nobody else gets the connection or the slot. `owner` names the caller; the slots in `done` are
        given back first. What dead processes left in mid-exchange is due at once.
        """
        ...


class AnswerSpool(Protocol):
    """Where answers wait, sealed, while Postgres is away."""

    async def keep(self, lease: Lease, answer: ProviderAnswer, *, now: float) -> None:
        """Write an answer so that it survives the process. Raises `OSError` if even that fails."""
        ...

    async def adopt(self) -> list[tuple[ConnectionKey, int]]:
        """Move what waits into the store; return whose it was, and the generation of the credentials it replaces.

        Stops early if the store is still away.
        """
        ...
