"""People and what they may do, in a database: PostgreSQL, or SQLite in the state directory.

Table classes stay inside this package; everything else sees the records of `records` and the repositories.
"""

from .database import Database
from .people import Groups, Identities, Users
from .records import Account, ApiToken, AuditEntry, Group, Identity, Login, Usage
from .rights import Grants
from .sessions import ApiTokens, Attempts, OneTimeTokens, Sessions, UsedFlows
from .subscriptions import Subscriptions
from .trail import AuditTrail, Quotas

__all__ = [
    "Account",
    "ApiToken",
    "ApiTokens",
    "Attempts",
    "AuditEntry",
    "AuditTrail",
    "Database",
    "Grants",
    "Group",
    "Groups",
    "Identities",
    "Identity",
    "Login",
    "OneTimeTokens",
    "Quotas",
    "Sessions",
    "Subscriptions",
    "Usage",
    "UsedFlows",
    "Users",
]
