"""Alembic's entry: runs the migrations on the connection that `server.storage.migrate` opened."""

from alembic import context

from server.storage.tables import metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, transaction_per_migration=True
)
with context.begin_transaction():
    context.run_migrations()
