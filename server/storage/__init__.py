"""Postgres: tables, one module per aggregate, migrations."""
