"""Users, groups, rights, sessions, tokens, quotas and the audit trail.

Accounts of the original Caterva2, in its table ``user``, are taken over: an existing ``db.sqlite`` goes on working.
"""

import time
import uuid

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def _user_id() -> sa.Column[uuid.UUID]:
    return sa.Column("user_id", sa.Uuid, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True)


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "users",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("email", sa.String(320), nullable=False),
        sa.Column("hashed_password", sa.String(1024)),
        sa.Column("is_active", sa.Boolean, nullable=False),
        sa.Column("is_superuser", sa.Boolean, nullable=False),
        sa.Column("is_verified", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
    )
    op.create_index("ix_users_email", "users", ["email"], unique=True)
    op.create_table(
        "identities",
        sa.Column("issuer", sa.String(500), primary_key=True),
        sa.Column("subject", sa.String(255), primary_key=True),
        _user_id(),
    )
    op.create_table(
        "groups",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("description", sa.String(500), nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
    )
    op.create_index("ix_groups_name", "groups", ["name"], unique=True)
    op.create_table(
        "memberships",
        sa.Column("group_id", sa.Uuid, sa.ForeignKey("groups.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("user_id", sa.Uuid, sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True, index=True),
        sa.Column("origin", sa.String(16), nullable=False),
    )
    op.create_table(
        "rights",
        sa.Column("root", sa.String(63), primary_key=True),
        sa.Column("access", sa.String(8), primary_key=True),
        sa.Column("grantee", sa.String(340), primary_key=True),
    )
    op.create_table(
        "sessions",
        sa.Column("token_hash", sa.LargeBinary(32), primary_key=True),
        _user_id(),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("used_at", sa.Float, nullable=False),
        sa.Column("expires_at", sa.Float, nullable=False, index=True),
        sa.Column("address", sa.String(64), nullable=False),
        sa.Column("agent", sa.String(200), nullable=False),
    )
    op.create_table(
        "api_tokens",
        sa.Column("id", sa.Uuid, primary_key=True),
        _user_id(),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("scopes", sa.JSON, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("expires_at", sa.Float, nullable=False),
        sa.Column("used_at", sa.Float),
    )
    op.create_index("ix_api_tokens_token_hash", "api_tokens", ["token_hash"], unique=True)
    op.create_table(
        "one_time_tokens",
        sa.Column("token_hash", sa.LargeBinary(32), primary_key=True),
        _user_id(),
        sa.Column("purpose", sa.String(16), nullable=False),
        sa.Column("expires_at", sa.Float, nullable=False, index=True),
        sa.Column("used_at", sa.Float),
    )
    op.create_table(
        "login_attempts",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("key", sa.String(100), nullable=False),
        sa.Column("at", sa.Float, nullable=False),
    )
    op.create_index("ix_login_attempts_key_at", "login_attempts", ["key", "at"])
    op.create_table(
        "quotas",
        sa.Column("scope", sa.String(40), primary_key=True),
        sa.Column("used_bytes", sa.BigInteger, nullable=False),
        sa.Column("limit_bytes", sa.BigInteger),
    )
    op.create_table(
        "audit",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("at", sa.Float, nullable=False, index=True),
        sa.Column("action", sa.String(40), nullable=False, index=True),
        sa.Column("actor", sa.String(320), nullable=False, index=True),
        sa.Column("target", sa.String(1100), nullable=False),
        sa.Column("result", sa.String(16), nullable=False),
        sa.Column("address", sa.String(64), nullable=False),
        sa.Column("request_id", sa.String(64), nullable=False),
        sa.Column("detail", sa.String(500), nullable=False),
    )
    _take_over_accounts()


def _take_over_accounts() -> None:
    connection = op.get_bind()
    if not sa.inspect(connection).has_table("user"):
        return
    columns = ("id", "email", "hashed_password", "is_active", "is_superuser", "is_verified")
    old = sa.table("user", *(sa.column(name) for name in columns))
    users = sa.table("users", sa.column("id", sa.Uuid), *(sa.column(n) for n in (*columns[1:], "created_at")))
    seen: set[str] = set()
    for row in connection.execute(sa.select(old)).mappings():
        email = row["email"].lower()
        if email in seen:
            continue
        seen.add(email)
        flags = {name: bool(row[name]) for name in columns[3:]}
        connection.execute(
            users.insert().values(
                id=uuid.UUID(str(row["id"])),
                email=email,
                hashed_password=row["hashed_password"],
                created_at=time.time(),
                **flags,
            )
        )


def downgrade() -> None:
    """Remove the tables."""
    for table in (
        "audit",
        "quotas",
        "login_attempts",
        "one_time_tokens",
        "api_tokens",
        "sessions",
        "rights",
        "memberships",
        "groups",
        "identities",
        "users",
    ):
        op.drop_table(table)
