"""Adds the slots that bound scheduled refreshes per provider over all processes, and finds due connections by provider.

Processes of the previous release look for due connections by time alone. Their index goes: there is no release before
this one, and without it they are slower, not wrong.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "provider_slots",
        sa.Column("provider", sa.Text(collation="C"), nullable=False),
        sa.Column("slot", sa.Integer(), nullable=False),
        sa.Column("owner", sa.Uuid(), nullable=True),
        sa.Column("expire_time", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("provider", "slot", name=op.f("provider_slots_pkey")),
    )
    op.create_index(
        "connections_due_idx",
        "connections",
        ["provider", "next_refresh_time"],
        unique=False,
        postgresql_where=sa.text("next_refresh_time IS NOT NULL"),
    )
    op.drop_index("connections_next_refresh_idx", table_name="connections")
