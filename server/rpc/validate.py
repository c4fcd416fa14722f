"""What a request must hold before a use case sees it; every violation is named at once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final
from uuid import UUID

from connections.v1 import connection_pb2, connection_service_pb2
from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from server import wire
from server.domain import rules
from server.domain.errors import InvalidRequest, Violation
from server.domain.model import ConnectionKey, ListFilter, Status

_ETAG: Final = re.compile(r'"([1-9][0-9]{0,17})"\Z')
_LATEST: Final = 253_402_300_799
"""The last second of the year 9999, which a Timestamp must not pass; a `float` cannot tell its end from the next."""
_MAX_PAGE_TOKEN: Final = 1024
_WIRE_PER_JSON: Final = 6
"""A list of digits has 2 bytes for each as JSON, and 11 as a `Struct`."""


def connection_key(found: rules.Violations, environment_id: UUID, request: Any) -> ConnectionKey:
    """Check the key pair that names one connection."""
    found.check(rules.name, "provider_config_key", request.provider_config_key)
    found.check(rules.name, "connection_id", request.connection_id)
    return ConnectionKey(environment_id, request.provider_config_key, request.connection_id)


def fast_key(environment_id: UUID, provider_config_key: str, connection_id: str) -> ConnectionKey:
    """As `connection_key`, for the hot path: one look at good keys, and the violations only for bad ones."""
    if not (rules.is_name(provider_config_key) and rules.is_name(connection_id)):
        found = rules.Violations()
        found.check(rules.name, "provider_config_key", provider_config_key)
        found.check(rules.name, "connection_id", connection_id)
        found.raise_if_any()
    return ConnectionKey(environment_id, provider_config_key, connection_id)


def etag(found: rules.Violations, value: str) -> int | None:
    """Return the revision of an etag, None if there is none."""
    if not value:
        return None
    match = _ETAG.match(value)
    if match is None:
        found.add("etag", 'is not an etag of this service; they look like "7", quotes included')
        return None
    return int(match.group(1))


def json_object(found: rules.Violations, field: str, struct: Struct) -> dict[str, Any]:
    """Return a `Struct` as a JSON object within the limits, integral numbers as integers."""
    if struct.ByteSize() > _WIRE_PER_JSON * rules.MAX_METADATA_BYTES:
        # Far beyond the limit whatever its JSON looks like; do not spend time on it.
        found.add(field, f"is larger than {rules.MAX_METADATA_BYTES} bytes as JSON")
        return {}
    value: dict[str, Any] = rules.normalise_json(wire.from_struct(struct))
    found.check(rules.json_object, field, value)
    return value


def view(found: rules.Violations, value: int) -> bool:
    """Return whether a view asks for credentials; FULL if it is not set."""
    if value not in connection_service_pb2.ConnectionView.values():
        found.add("view", f"{value} is not a ConnectionView")
    return value != connection_service_pb2.CONNECTION_VIEW_BASIC


def min_ttl(found: rules.Violations, value: Duration) -> float:
    """Return `min_ttl` in seconds."""
    seconds = value.seconds + value.nanos / 1e9
    if value.seconds < 0 or value.nanos < 0 or not 0 <= seconds <= rules.MAX_MIN_TTL:
        found.add("min_ttl", "must be from 0 s to 24 h")
    return seconds


def instant(found: rules.Violations, field: str, message: Timestamp) -> float:
    """Return a `Timestamp` as an instant."""
    if not 0 <= message.seconds < _LATEST or not 0 <= message.nanos < 1_000_000_000:
        found.add(field, "is not a time between 1970 and 9999")
        return 0.0
    return wire.from_timestamp(message)


def credentials(  # noqa: PLR0912 (one branch per kind)
    found: rules.Violations, message: connection_pb2.Credentials
) -> None:
    """Check sizes and presence of what credentials hold; whether they fit the provider, its template says."""
    match message.WhichOneof("kind"):
        case "oauth2":
            oauth2 = message.oauth2
            if not oauth2.access_token:
                found.add("credentials.oauth2.access_token", "is required")
            _secrets(found, "oauth2", access_token=oauth2.access_token, refresh_token=oauth2.refresh_token)
            found.check(rules.text, "credentials.oauth2.token_type", oauth2.token_type)
            found.check(rules.scopes, "credentials.oauth2.scopes", oauth2.scopes)
            if oauth2.HasField("expire_time"):
                instant(found, "credentials.oauth2.expire_time", oauth2.expire_time)
        case "oauth2_cc":
            client = message.oauth2_cc
            found.check(rules.text, "credentials.oauth2_cc.client_id", client.client_id)
            _secrets(found, "oauth2_cc", client_secret=client.client_secret, access_token=client.access_token)
            found.check(rules.text, "credentials.oauth2_cc.token_type", client.token_type)
            found.check(rules.scopes, "credentials.oauth2_cc.scopes", client.scopes)
            if client.HasField("expire_time"):
                instant(found, "credentials.oauth2_cc.expire_time", client.expire_time)
        case "api_key":
            if not message.api_key.api_key:
                found.add("credentials.api_key.api_key", "is required")
            _secrets(found, "api_key", api_key=message.api_key.api_key)
        case "basic":
            basic = message.basic
            _secrets(found, "basic", username=basic.username, password=basic.password)
            if ":" in basic.username:
                found.add("credentials.basic.username", "must not contain a colon (RFC 7617)")
            if not basic.username and not basic.password:
                found.add("credentials.basic", "needs a username or a password")
        case _:
            if message.HasField("raw"):
                found.add("credentials", "has `raw` but none of its kinds")
    if message.HasField("raw"):
        json_object(found, "credentials.raw", message.raw)


def _secrets(found: rules.Violations, kind: str, **values: str) -> None:
    for name, value in values.items():
        found.check(rules.secret, f"credentials.{kind}.{name}", value)


def list_filter(request: connection_service_pb2.ListConnectionsRequest) -> ListFilter:
    """Return the filter of a list. Raises `InvalidRequest`."""
    found = rules.Violations()
    if request.connection_id:
        found.check(rules.name, "connection_id", request.connection_id)
    if len(request.provider_config_keys) > rules.MAX_BATCH:
        found.add("provider_config_keys", f"has more than {rules.MAX_BATCH} keys")
    for index, key in enumerate(request.provider_config_keys[: rules.MAX_BATCH]):
        found.check(rules.name, f"provider_config_keys[{index}]", key)
    found.check(rules.tags, "tags", request.tags)
    found.check(rules.text, "search", request.search)
    statuses: list[Status] = []
    for index, value in enumerate(request.statuses):
        status = wire.STATUSES_FROM_WIRE.get(value)
        if status is None:
            found.add(f"statuses[{index}]", f"{value} is not a status to filter by")
        elif status not in statuses:
            statuses.append(status)
    found.check(rules.page_size, "page_size", request.page_size)
    if request.limit < 0:
        found.add("limit", "must not be negative")
    page_token(found, request.page_token)
    found.raise_if_any()
    return ListFilter(
        connection_id=request.connection_id,
        provider_config_keys=tuple(dict.fromkeys(request.provider_config_keys)),
        tags=rules.normalise_tags(request.tags),
        search=request.search,
        statuses=tuple(statuses),
    )


def page_token(found: rules.Violations, value: str) -> None:
    """Check a page token's size; what is in it, `page_token.PageTokens` reads."""
    if len(value) > _MAX_PAGE_TOKEN:
        found.add("page_token", f"is longer than {_MAX_PAGE_TOKEN} characters")


def mask(found: rules.Violations, paths: Iterable[str], allowed: Iterable[str], *, prefix: str = "") -> set[str]:
    """Return the paths of a field mask; `prefix` allows paths under it, such as `connection_config.`."""
    known = set(allowed)
    chosen: set[str] = set()
    for path in paths:
        if path == "*":
            chosen |= known
        elif path in known or (prefix and path.startswith(prefix) and len(path) > len(prefix)):
            chosen.add(path)
        else:
            found.add("update_mask", f"{path[:100]!r} cannot be changed; {', '.join(sorted(known))} can")
    return chosen


def uuid_of(field: str, value: str) -> UUID:
    """Return a UUID. Raises `InvalidRequest`."""
    try:
        return UUID(value)
    except ValueError:
        raise InvalidRequest([Violation(field, "is not a UUID")]) from None


def tags_of(found: rules.Violations, field: str, tags: Mapping[str, str]) -> dict[str, str]:
    """Return tags as they are stored."""
    found.check(rules.tags, field, tags)
    return rules.normalise_tags(tags)
