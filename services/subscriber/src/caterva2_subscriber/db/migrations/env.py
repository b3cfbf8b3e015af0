"""Run by Alembic inside `caterva2_subscriber.db.database.upgrade`, on a connection that is already open."""

from alembic import context

from caterva2_subscriber.db import tables

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=tables.UserRow.metadata,
    render_as_batch=connection.dialect.name == "sqlite",
)
context.run_migrations()
