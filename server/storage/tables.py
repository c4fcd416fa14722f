"""The tables. Migrations make them; a test holds the two together.

`environment_id` leads every primary key, unique index and foreign key, so that no query crosses environments and the
tables can be distributed by it. The exceptions are `environments` itself, whose names are unique over all, and
`provider_slots`, which holds nothing of any tenant: a provider's patience is shared by all environments.
Text keys sort by bytes (collation "C"): keyset paging must not depend on a locale.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TIMESTAMP

metadata: Final = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "fk": "%(table_name)s_%(referred_table_name)s_fkey",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
    }
)

_Key: Final = Text(collation="C")
_Time: Final = TIMESTAMP(timezone=True)

environments: Final = Table(
    "environments",
    metadata,
    Column("environment_id", Uuid, primary_key=True),
    Column("name", _Key, nullable=False, unique=True),
    Column("create_time", _Time, nullable=False),
)

environment_keys: Final = Table(
    "environment_keys",
    metadata,
    Column("environment_id", Uuid, nullable=False),
    Column("version", Integer, nullable=False),
    Column("wrapped_key", LargeBinary, nullable=False),
    Column("create_time", _Time, nullable=False),
    PrimaryKeyConstraint("environment_id", "version"),
    ForeignKeyConstraint(["environment_id"], ["environments.environment_id"]),
)

api_keys: Final = Table(
    "api_keys",
    metadata,
    Column("environment_id", Uuid, nullable=False),
    Column("api_key_id", Uuid, nullable=False),
    Column("key_hash", LargeBinary, nullable=False),
    Column("display_name", Text, nullable=False),
    Column("admin", Boolean, nullable=False),
    Column("suffix", Text, nullable=False),
    Column("create_time", _Time, nullable=False),
    Column("expire_time", _Time),
    PrimaryKeyConstraint("environment_id", "api_key_id"),
    UniqueConstraint("environment_id", "key_hash"),
    ForeignKeyConstraint(["environment_id"], ["environments.environment_id"]),
)

integrations: Final = Table(
    "integrations",
    metadata,
    Column("environment_id", Uuid, nullable=False),
    Column("provider_config_key", _Key, nullable=False),
    Column("uid", Uuid, nullable=False),
    Column("provider", Text, nullable=False),
    Column("auth_mode", Text, nullable=False),
    Column("display_name", Text, nullable=False),
    Column("client_id", Text, nullable=False),
    Column("wrapped_data_key", LargeBinary, nullable=False),
    Column("sealed_client_secret", LargeBinary),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("connection_config", JSONB, nullable=False),
    Column("create_time", _Time, nullable=False),
    Column("update_time", _Time, nullable=False),
    Column("revision", BigInteger, nullable=False),
    # Set when the provider refuses the client: until then no connection of the integration is refreshed.
    Column("client_refused_until", _Time),
    Column("client_refusals", Integer, nullable=False, server_default=text("0")),
    PrimaryKeyConstraint("environment_id", "provider_config_key"),
    ForeignKeyConstraint(["environment_id"], ["environments.environment_id"]),
)

connections: Final = Table(
    "connections",
    metadata,
    Column("environment_id", Uuid, nullable=False),
    Column("provider_config_key", _Key, nullable=False),
    Column("connection_id", _Key, nullable=False),
    Column("uid", Uuid, nullable=False),
    Column("provider", Text, nullable=False),
    Column("auth_mode", Text, nullable=False),
    Column("create_time", _Time, nullable=False),
    Column("wrapped_data_key", LargeBinary, nullable=False),
    # What callers edit, for filters, and in the form in which it is returned.
    Column("metadata", JSONB, nullable=False),
    Column("tags", JSONB, nullable=False),
    Column("connection_config", JSONB, nullable=False),
    Column("display_name", Text, nullable=False),
    Column("update_time", _Time, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("edit_part", LargeBinary, nullable=False),
    # What the refresh engine writes, for its own rules, and in the form in which it is returned.
    Column("status", Text, nullable=False),
    Column("failure_reason", Text),
    Column("generation", BigInteger, nullable=False),
    Column("expire_time", _Time),
    Column("refresh_due_time", _Time),
    Column("next_refresh_time", _Time),
    Column("last_refresh_time", _Time),
    Column("last_failure_time", _Time),
    Column("refresh_attempts", Integer, nullable=False),
    Column("granted_scopes", ARRAY(Text), nullable=False),
    # Whether the provider gave another refresh token at the last refresh; null before the first.
    Column("rotates", Boolean),
    # How long the last token lived, in seconds, for providers that sometimes do not say.
    Column("lifetime", Integer),
    Column("state_part", LargeBinary, nullable=False),
    # What a read returns; and everything, with what refreshes and the provider's own answer.
    Column("sealed_credentials", LargeBinary, nullable=False),
    Column("sealed_grant", LargeBinary, nullable=False),
    PrimaryKeyConstraint("environment_id", "provider_config_key", "connection_id"),
    UniqueConstraint("environment_id", "uid"),
    ForeignKeyConstraint(
        ["environment_id", "provider_config_key"],
        ["integrations.environment_id", "integrations.provider_config_key"],
    ),
)
Index(
    "connections_newest_idx",
    connections.c.environment_id,
    connections.c.create_time.desc(),
    connections.c.uid.desc(),
)
Index(
    "connections_integration_newest_idx",
    connections.c.environment_id,
    connections.c.provider_config_key,
    connections.c.create_time.desc(),
    connections.c.uid.desc(),
)
Index("connections_connection_id_idx", connections.c.environment_id, connections.c.connection_id)
Index("connections_tags_idx", connections.c.tags, postgresql_using="gin", postgresql_ops={"tags": "jsonb_path_ops"})
Index(
    "connections_unhealthy_idx",
    connections.c.environment_id,
    connections.c.status,
    connections.c.create_time.desc(),
    connections.c.uid.desc(),
    postgresql_where=connections.c.status != "ACTIVE",
)
Index(
    "connections_due_idx",
    connections.c.provider,
    connections.c.next_refresh_time,
    postgresql_where=connections.c.next_refresh_time.is_not(None),
)

refresh_attempts: Final = Table(
    "refresh_attempts",
    metadata,
    Column("environment_id", Uuid, nullable=False),
    Column("uid", Uuid, nullable=False),
    # The credentials that the attempt replaces; an attempt at an older generation is void.
    Column("generation", BigInteger, nullable=False),
    Column("owner", Uuid, nullable=False),
    Column("lease_expire_time", _Time, nullable=False),
    # Set before the refresh token is sent: from then on it may be spent.
    Column("spend_time", _Time),
    # The provider's answer, sealed, kept until it has been applied.
    Column("sealed_answer", LargeBinary),
    Column("answer_time", _Time),
    PrimaryKeyConstraint("environment_id", "uid"),
    ForeignKeyConstraint(
        ["environment_id", "uid"], ["connections.environment_id", "connections.uid"], ondelete="CASCADE"
    ),
)

provider_slots: Final = Table(
    "provider_slots",
    metadata,
    Column("provider", _Key, nullable=False),
    Column("slot", Integer, nullable=False),
    # Who refreshes in it, until when at the latest; it is free from then on.
    Column("owner", Uuid),
    Column("expire_time", _Time, nullable=False),
    PrimaryKeyConstraint("provider", "slot"),
)
