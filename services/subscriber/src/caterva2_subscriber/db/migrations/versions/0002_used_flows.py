"""Answers of an OpenID provider that were used up."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "used_flows",
        sa.Column("flow_hash", sa.LargeBinary(32), primary_key=True),
        sa.Column("expires_at", sa.Float, nullable=False, index=True),
    )


def downgrade() -> None:
    """Remove the table."""
    op.drop_table("used_flows")
