"""Creates the tables."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy import Text
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "environments",
        sa.Column("environment_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(collation="C"), nullable=False),
        sa.Column("create_time", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("environment_id", name=op.f("environments_pkey")),
        sa.UniqueConstraint("name", name=op.f("environments_name_key")),
    )
    op.create_table(
        "api_keys",
        sa.Column("environment_id", sa.Uuid(), nullable=False),
        sa.Column("api_key_id", sa.Uuid(), nullable=False),
        sa.Column("key_hash", sa.LargeBinary(), nullable=False),
        sa.Column("display_name", sa.Text(), nullable=False),
        sa.Column("admin", sa.Boolean(), nullable=False),
        sa.Column("suffix", sa.Text(), nullable=False),
        sa.Column("create_time", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("expire_time", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["environment_id"], ["environments.environment_id"], name=op.f("api_keys_environments_fkey")
        ),
        sa.PrimaryKeyConstraint("environment_id", "api_key_id", name=op.f("api_keys_pkey")),
        sa.UniqueConstraint("environment_id", "key_hash", name=op.f("api_keys_environment_id_key_hash_key")),
    )
    op.create_table(
        "environment_keys",
        sa.Column("environment_id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("wrapped_key", sa.LargeBinary(), nullable=False),
        sa.Column("create_time", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["environment_id"], ["environments.environment_id"], name=op.f("environment_keys_environments_fkey")
        ),
        sa.PrimaryKeyConstraint("environment_id", "version", name=op.f("environment_keys_pkey")),
    )
    op.create_table(
        "integrations",
        sa.Column("environment_id", sa.Uuid(), nullable=False),
        sa.Column("provider_config_key", sa.Text(collation="C"), nullable=False),
        sa.Column("uid", sa.Uuid(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("auth_mode", sa.Text(), nullable=False),
        sa.Column("display_name", sa.Text(), nullable=False),
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("wrapped_data_key", sa.LargeBinary(), nullable=False),
        sa.Column("sealed_client_secret", sa.LargeBinary(), nullable=True),
        sa.Column("scopes", postgresql.ARRAY(Text()), nullable=False),
        sa.Column("connection_config", postgresql.JSONB(astext_type=Text()), nullable=False),
        sa.Column("create_time", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("update_time", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("client_refused_until", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("client_refusals", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.ForeignKeyConstraint(
            ["environment_id"], ["environments.environment_id"], name=op.f("integrations_environments_fkey")
        ),
        sa.PrimaryKeyConstraint("environment_id", "provider_config_key", name=op.f("integrations_pkey")),
    )
    op.create_table(
        "connections",
        sa.Column("environment_id", sa.Uuid(), nullable=False),
        sa.Column("provider_config_key", sa.Text(collation="C"), nullable=False),
        sa.Column("connection_id", sa.Text(collation="C"), nullable=False),
        sa.Column("uid", sa.Uuid(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("auth_mode", sa.Text(), nullable=False),
        sa.Column("create_time", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("wrapped_data_key", sa.LargeBinary(), nullable=False),
        sa.Column("metadata", postgresql.JSONB(astext_type=Text()), nullable=False),
        sa.Column("tags", postgresql.JSONB(astext_type=Text()), nullable=False),
        sa.Column("connection_config", postgresql.JSONB(astext_type=Text()), nullable=False),
        sa.Column("display_name", sa.Text(), nullable=False),
        sa.Column("update_time", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("edit_part", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("failure_reason", sa.Text(), nullable=True),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("expire_time", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("refresh_due_time", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("next_refresh_time", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("last_refresh_time", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("last_failure_time", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("refresh_attempts", sa.Integer(), nullable=False),
        sa.Column("granted_scopes", postgresql.ARRAY(Text()), nullable=False),
        sa.Column("rotates", sa.Boolean(), nullable=True),
        sa.Column("lifetime", sa.Integer(), nullable=True),
        sa.Column("state_part", sa.LargeBinary(), nullable=False),
        sa.Column("sealed_credentials", sa.LargeBinary(), nullable=False),
        sa.Column("sealed_grant", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["environment_id", "provider_config_key"],
            ["integrations.environment_id", "integrations.provider_config_key"],
            name=op.f("connections_integrations_fkey"),
        ),
        sa.PrimaryKeyConstraint(
            "environment_id", "provider_config_key", "connection_id", name=op.f("connections_pkey")
        ),
        sa.UniqueConstraint("environment_id", "uid", name=op.f("connections_environment_id_uid_key")),
    )
    op.create_index("connections_connection_id_idx", "connections", ["environment_id", "connection_id"], unique=False)
    op.create_index(
        "connections_integration_newest_idx",
        "connections",
        ["environment_id", "provider_config_key", sa.literal_column("create_time DESC"), sa.literal_column("uid DESC")],
        unique=False,
    )
    op.create_index(
        "connections_newest_idx",
        "connections",
        ["environment_id", sa.literal_column("create_time DESC"), sa.literal_column("uid DESC")],
        unique=False,
    )
    op.create_index(
        "connections_next_refresh_idx",
        "connections",
        ["next_refresh_time"],
        unique=False,
        postgresql_where=sa.text("next_refresh_time IS NOT NULL"),
    )
    op.create_index(
        "connections_tags_idx",
        "connections",
        ["tags"],
        unique=False,
        postgresql_using="gin",
        postgresql_ops={"tags": "jsonb_path_ops"},
    )
    op.create_index(
        "connections_unhealthy_idx",
        "connections",
        ["environment_id", "status", sa.literal_column("create_time DESC"), sa.literal_column("uid DESC")],
        unique=False,
        postgresql_where=sa.text("status != 'ACTIVE'"),
    )
    op.create_table(
        "refresh_attempts",
        sa.Column("environment_id", sa.Uuid(), nullable=False),
        sa.Column("uid", sa.Uuid(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("owner", sa.Uuid(), nullable=False),
        sa.Column("lease_expire_time", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("spend_time", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("sealed_answer", sa.LargeBinary(), nullable=True),
        sa.Column("answer_time", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["environment_id", "uid"],
            ["connections.environment_id", "connections.uid"],
            name=op.f("refresh_attempts_connections_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("environment_id", "uid", name=op.f("refresh_attempts_pkey")),
    )
