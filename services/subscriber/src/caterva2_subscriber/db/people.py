"""Users, their groups and their identities at OpenID providers."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from uuid import UUID

from sqlalchemy import delete, func, text
from sqlalchemy.exc import IntegrityError
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from caterva2.errors import AlreadyExists, Conflict, NotFound, UserNotFound

from .database import Database
from .records import Account, Group, Identity
from .tables import GrantRow, GroupRow, IdentityRow, MembershipRow, SubscriptionRow, UserRow


class Users:
    """The accounts of people."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(
        self,
        email: str,
        hashed_password: str | None,
        *,
        superuser: bool = False,
        verified: bool = False,
        maxusers: int | None = None,
    ) -> Account:
        """Add an active user.

        Raises
        ------
        AlreadyExists
            If the address has an account.
        Conflict
            If there are `maxusers` accounts already.
        """
        row = UserRow(
            email=email.lower(),
            hashed_password=hashed_password,
            is_superuser=superuser,
            is_verified=verified,
            created_at=time.time(),
        )
        try:
            async with self._database.writing() as session:
                if maxusers:
                    await self._check_room(session, maxusers)
                session.add(row)
        except IntegrityError:
            raise AlreadyExists(f"there is a user {email} already") from None
        return _account(row, ())

    async def _check_room(self, session: AsyncSession, maxusers: int) -> None:
        if not self._database.is_sqlite:
            # Two that count at the same time would both see room for one.
            connection = await session.connection()
            await connection.execute(text("LOCK TABLE users IN SHARE ROW EXCLUSIVE MODE"))
        if (await session.exec(select(func.count()).select_from(UserRow))).one() >= maxusers:
            raise Conflict(f"Only a maximum of {maxusers} users are allowed")

    async def get(self, user_id: UUID) -> Account | None:
        """Return one user."""
        async with self._database.reading() as session:
            return await load_account(session, user_id)

    async def by_email(self, email: str) -> Account | None:
        """Return the user of an address, whatever its case."""
        async with self._database.reading() as session:
            row = (await session.exec(select(UserRow).where(UserRow.email == email.lower()))).first()
            return None if row is None else _account(row, await group_names(session, row.id))

    async def list(self) -> list[Account]:
        """Return all users by e-mail address."""
        async with self._database.reading() as session:
            rows = (await session.exec(select(UserRow).order_by(UserRow.email))).all()
            groups: dict[UUID, list[str]] = {}
            pairs = select(MembershipRow.user_id, GroupRow.name).join(GroupRow)
            for user_id, name in (await session.exec(pairs)).all():
                groups.setdefault(user_id, []).append(name)
            return [_account(row, groups.get(row.id, ())) for row in rows]

    async def change(
        self,
        user_id: UUID,
        *,
        hashed_password: str | None = None,
        active: bool | None = None,
        superuser: bool | None = None,
        verified: bool | None = None,
    ) -> None:
        """Change what is not None. Raises UserNotFound."""
        async with self._database.writing() as session:
            row = await session.get(UserRow, user_id)
            if row is None:
                raise UserNotFound("there is no such user")
            changes = {
                "hashed_password": hashed_password,
                "is_active": active,
                "is_superuser": superuser,
                "is_verified": verified,
            }
            for name, value in changes.items():
                if value is not None:
                    setattr(row, name, value)
            session.add(row)

    async def remove(self, user_id: UUID) -> None:
        """Remove a user with all that belongs to the account in the database. Raises UserNotFound."""
        async with self._database.writing() as session:
            row = await session.get(UserRow, user_id)
            if row is None:
                raise UserNotFound("there is no such user")
            await session.exec(delete(GrantRow).where(col(GrantRow.grantee) == f"user:{row.email}"))
            await session.exec(delete(SubscriptionRow).where(col(SubscriptionRow.holder) == str(row.id)))
            await session.delete(row)


class Identities:
    """Logins at OpenID providers, linked by issuer and subject, never by e-mail address (A9)."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, issuer: str, subject: str) -> Account | None:
        """Return the user that an identity belongs to."""
        async with self._database.reading() as session:
            row = await session.get(IdentityRow, (issuer, subject))
            return None if row is None else await load_account(session, row.user_id)

    async def link(self, issuer: str, subject: str, user_id: UUID) -> None:
        """Let an identity belong to a user. Raises AlreadyExists."""
        try:
            async with self._database.writing() as session:
                session.add(IdentityRow(issuer=issuer, subject=subject, user_id=user_id))
        except IntegrityError:
            raise AlreadyExists("this identity is linked already") from None

    async def list(self, user_id: UUID) -> list[Identity]:
        """Return the identities of a user."""
        query = (
            select(IdentityRow).where(IdentityRow.user_id == user_id).order_by(IdentityRow.issuer, IdentityRow.subject)
        )
        async with self._database.reading() as session:
            return [Identity(row.issuer, row.subject) for row in (await session.exec(query)).all()]

    async def unlink(self, user_id: UUID, identity_id: str, *, issuer: str | None) -> Identity:
        """Take an identity from a user who can log in without it.

        Parameters
        ----------
        issuer
            Whose identities still sign people in here; None where there is no provider.

        Raises
        ------
        NotFound
            If the user has no such identity.
        Conflict
            If the user could not log in any more.
        """
        async with self._database.writing() as session:
            # Two of them that are unlinked at the same time would each see the other as a way in.
            user = await session.get(UserRow, user_id, with_for_update=True)
            rows = (await session.exec(select(IdentityRow).where(IdentityRow.user_id == user_id))).all()
            found = {Identity(row.issuer, row.subject).id: row for row in rows}
            row = found.pop(identity_id, None)
            if user is None or row is None:
                raise NotFound("there is no such identity")
            if user.hashed_password is None and all(other.issuer != issuer for other in found.values()):
                raise Conflict(
                    "This identity is your only way into the account; choose a password first, by the link that "
                    "'Forgot password' sends you"
                )
            await session.delete(row)
            return Identity(row.issuer, row.subject)


class Groups:
    """Named sets of users."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(self) -> list[Group]:
        """Return all groups by name."""
        async with self._database.reading() as session:
            rows = (await session.exec(select(GroupRow).order_by(GroupRow.name))).all()
            members: dict[UUID, list[str]] = {row.id: [] for row in rows}
            pairs = select(MembershipRow.group_id, UserRow.email).join(UserRow).order_by(UserRow.email)
            for group_id, email in (await session.exec(pairs)).all():
                members[group_id].append(email)
            return [Group(row.name, row.description, tuple(members[row.id])) for row in rows]

    async def add(self, name: str, description: str = "") -> Group:
        """Add an empty group. Raises AlreadyExists."""
        try:
            async with self._database.writing() as session:
                session.add(GroupRow(name=name, description=description, created_at=time.time()))
        except IntegrityError:
            raise AlreadyExists(f"there is a group {name} already") from None
        return Group(name, description)

    async def remove(self, name: str) -> None:
        """Remove a group and what was granted to it. Raises UserNotFound."""
        async with self._database.writing() as session:
            row = await _group(session, name)
            await session.exec(delete(GrantRow).where(col(GrantRow.grantee) == f"group:{name}"))
            await session.delete(row)

    async def add_member(self, name: str, user_id: UUID) -> None:
        """Put a user into a group; no change if the user is in it. Raises UserNotFound."""
        async with self._database.writing() as session:
            row = await _group(session, name)
            if await session.get(MembershipRow, (row.id, user_id)) is None:
                session.add(MembershipRow(group_id=row.id, user_id=user_id))

    async def remove_member(self, name: str, user_id: UUID) -> None:
        """Take a user out of a group. Raises UserNotFound."""
        async with self._database.writing() as session:
            row = await _group(session, name)
            membership = await session.get(MembershipRow, (row.id, user_id))
            if membership is None:
                raise UserNotFound(f"the user is not in the group {name}")
            await session.delete(membership)

    async def follow_claims(self, user_id: UUID, names: Iterable[str]) -> None:
        """Make the memberships of origin ``oidc`` those of `names`; groups that do not exist yet are added."""
        wanted = set(names)
        async with self._database.writing() as session:
            known = {row.name: row for row in (await session.exec(select(GroupRow))).all()}
            for name in sorted(wanted - known.keys()):
                known[name] = GroupRow(name=name, created_at=time.time())
                session.add(known[name])
            await session.flush()
            mine = (await session.exec(select(MembershipRow).where(MembershipRow.user_id == user_id))).all()
            present = {row.group_id for row in mine}
            for row in mine:
                if row.origin == "oidc" and row.group_id not in {known[name].id for name in wanted}:
                    await session.delete(row)
            for name in wanted:
                if known[name].id not in present:
                    session.add(MembershipRow(group_id=known[name].id, user_id=user_id, origin="oidc"))


async def _group(session: AsyncSession, name: str) -> GroupRow:
    row = (await session.exec(select(GroupRow).where(GroupRow.name == name))).first()
    if row is None:
        raise UserNotFound(f"there is no group {name}")
    return row


async def group_names(session: AsyncSession, user_id: UUID) -> Sequence[str]:
    """Return the names of a user's groups."""
    return (await session.exec(select(GroupRow.name).join(MembershipRow).where(MembershipRow.user_id == user_id))).all()


async def load_account(session: AsyncSession, user_id: UUID) -> Account | None:
    """Return a user inside a transaction."""
    row = await session.get(UserRow, user_id)
    return None if row is None else _account(row, await group_names(session, user_id))


def _account(row: UserRow, groups: Iterable[str]) -> Account:
    return Account(
        id=row.id,
        email=row.email,
        is_active=row.is_active,
        is_superuser=row.is_superuser,
        is_verified=row.is_verified,
        created_at=row.created_at,
        groups=frozenset(groups),
        hashed_password=row.hashed_password,
    )
