"""Migrations make what `tables.py` says, once, whoever runs them; and every key leads with the environment."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.pool import NullPool

from server.storage import migrate
from server.storage.engine import sqlalchemy_url
from server.storage.tables import metadata


@pytest.fixture
def engine(empty_database_url: str) -> Iterator[sa.Engine]:
    made = sa.create_engine(sqlalchemy_url(empty_database_url), poolclass=NullPool)
    yield made
    made.dispose()


def schema(engine: sa.Engine) -> list[Any]:
    query = sa.text(
        "SELECT table_name, column_name, data_type, is_nullable, column_default, collation_name"
        " FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, 2"
    )
    with engine.connect() as connection:
        return list(connection.execute(query))


def test_a_fresh_upgrade_makes_what_the_tables_say(engine: sa.Engine, empty_database_url: str) -> None:
    assert migrate.current(empty_database_url) is None
    migrate.upgrade(empty_database_url)
    assert migrate.current(empty_database_url) == migrate.head()
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True, "target_metadata": metadata}
        )
        assert compare_metadata(context, metadata) == []


def test_the_migrated_columns_are_those_of_the_tables(
    engine: sa.Engine, empty_database_url: str, database_url: str
) -> None:
    # Alembic does not compare collations; two databases do.
    metadata.create_all(engine)
    migrated = sa.create_engine(sqlalchemy_url(database_url), poolclass=NullPool)
    of_tables = [row for row in schema(engine) if row[0] != "alembic_version"]
    of_migrations = [row for row in schema(migrated) if row[0] != "alembic_version"]
    assert of_tables == of_migrations
    assert {row[5] for row in of_tables if row[1] in {"provider_config_key", "connection_id"}} == {"C"}


def test_a_second_upgrade_does_nothing(engine: sa.Engine, empty_database_url: str) -> None:
    migrate.upgrade(empty_database_url)
    before = schema(engine)
    with psycopg.connect(empty_database_url) as connection:
        row = connection.execute("SELECT xmin, ctid FROM alembic_version").fetchall()
        connection.rollback()
        migrate.upgrade(empty_database_url)
        assert connection.execute("SELECT xmin, ctid FROM alembic_version").fetchall() == row
    assert schema(engine) == before


def test_upgrades_at_once_are_safe(empty_database_url: str) -> None:
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(migrate.upgrade, [empty_database_url] * 3))
    with psycopg.connect(empty_database_url) as connection:
        assert connection.execute("SELECT count(*) FROM alembic_version").fetchone() == (1,)


def test_every_key_leads_with_the_environment(database_url: str) -> None:
    # First column of each primary key, unique index and foreign key.
    query = """
        SELECT t.relname, k.relname, a.attname
        FROM pg_index i
        JOIN pg_class t ON t.oid = i.indrelid JOIN pg_class k ON k.oid = i.indexrelid
        JOIN pg_namespace n ON n.oid = t.relnamespace
        JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = i.indkey[0]
        WHERE n.nspname = 'public' AND i.indisunique
        UNION ALL
        SELECT t.relname, c.conname, a.attname
        FROM pg_constraint c
        JOIN pg_class t ON t.oid = c.conrelid JOIN pg_namespace n ON n.oid = t.relnamespace
        JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = c.conkey[1]
        WHERE n.nspname = 'public' AND c.contype = 'f'
    """
    with psycopg.connect(database_url) as connection:
        found = connection.execute(query).fetchall()
    assert len({table for table, _, _ in found}) == len(metadata.tables) + 1
    # The names of environments are unique over all: that table is the one that says which environments there are.
    exceptions = {
        ("environments", "environments_name_key", "name"),
        ("alembic_version", "alembic_version_pkc", "version_num"),
        # How many refreshes run at a provider at once concerns all tenants together, and is no tenant's data.
        ("provider_slots", "provider_slots_pkey", "provider"),
    }
    assert [row for row in found if row[2] != "environment_id" and row not in exceptions] == []
