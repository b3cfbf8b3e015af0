"""The database role that serves people: it reads and writes rows, and cannot change tables (requirement A23)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import unicodedata

from sqlalchemy import Connection, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from caterva2.errors import BadRequest
from caterva2_service.log import get_logger

INSUFFICIENT_PRIVILEGE = "42501"
_ITERATIONS = 4096
_DIGEST = "sha256"
_TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() AND tableowner = current_user"
_SEQUENCES = (
    "SELECT sequencename FROM pg_sequences WHERE schemaname = current_schema() AND sequenceowner = current_user"
)

_log = get_logger(__name__)


def admit(connection: Connection, url: str) -> None:
    """Let the role of `url` use the tables that belong to the role of `connection`; make it if there is none.

    Its password becomes the one of `url`, so that a password is rotated by changing the URL and migrating again. Where
    the owner may not do that the role stays as whoever manages the server made it.

    Raises
    ------
    BadRequest
        If `url` names no user, or not the database of the connection.
    """
    parsed = make_url(url)
    if parsed.username is None or parsed.database != connection.engine.url.database:
        raise BadRequest("database.url and database.migration_url must name one database, and database.url a user")
    if parsed.username == connection.exec_driver_sql("SELECT current_user").scalar_one():
        return
    _make(connection, parsed.username, parsed.password)
    _grant(connection, parsed.username)


def _make(connection: Connection, name: str, password: str | None) -> None:
    role = connection.dialect.identifier_preparer.quote(name)
    known = connection.execute(text("SELECT 1 FROM pg_roles WHERE rolname = :name"), {"name": name}).scalar()
    statement = f"{'ALTER' if known else 'CREATE'} ROLE {role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE"
    if password is not None:
        statement += f" PASSWORD '{scram_verifier(password)}'"
    try:
        with connection.begin_nested():
            connection.exec_driver_sql(statement)
    except DBAPIError as error:
        if not known or getattr(error.orig, "sqlstate", None) != INSUFFICIENT_PRIVILEGE:
            raise
        _log.info("the role that serves people is managed by somebody else", role=name)


def _grant(connection: Connection, name: str) -> None:
    quote = connection.dialect.identifier_preparer.quote
    role, schema = quote(name), quote(connection.exec_driver_sql("SELECT current_schema()").scalar_one())
    may_look = text("SELECT has_schema_privilege(:name, current_schema(), 'USAGE')")
    if not connection.execute(may_look, {"name": name}).scalar_one():
        connection.exec_driver_sql(f"GRANT USAGE ON SCHEMA {schema} TO {role}")
    for table in connection.exec_driver_sql(_TABLES).scalars().all():
        rights = "SELECT" if table == "alembic_version" else "SELECT, INSERT, UPDATE, DELETE"
        connection.exec_driver_sql(f"GRANT {rights} ON {schema}.{quote(table)} TO {role}")
    for sequence in connection.exec_driver_sql(_SEQUENCES).scalars().all():
        connection.exec_driver_sql(f"GRANT USAGE ON SEQUENCE {schema}.{quote(sequence)} TO {role}")


def scram_verifier(password: str) -> str:
    """Return what PostgreSQL keeps of a password (RFC 5803), so that the server and its logs never see it."""
    salt = secrets.token_bytes(16)
    normal = unicodedata.normalize("NFKC", password).encode()
    salted = hashlib.pbkdf2_hmac(_DIGEST, normal, salt, _ITERATIONS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", _DIGEST)).digest()
    server = hmac.digest(salted, b"Server Key", _DIGEST)
    shown = [base64.b64encode(part).decode() for part in (salt, stored, server)]
    return f"SCRAM-SHA-256${_ITERATIONS}:{shown[0]}${shown[1]}:{shown[2]}"
