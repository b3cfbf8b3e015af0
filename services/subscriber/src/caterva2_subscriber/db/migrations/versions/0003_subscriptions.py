"""Subscriptions to roots, of users and of the site."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "subscriptions",
        sa.Column("root", sa.String(63), primary_key=True),
        sa.Column("holder", sa.String(40), primary_key=True),
        sa.Column("created_at", sa.Float, nullable=False),
    )


def downgrade() -> None:
    """Remove the table."""
    op.drop_table("subscriptions")
