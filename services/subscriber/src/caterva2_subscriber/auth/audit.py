"""Writing down who did what (A18)."""

from __future__ import annotations

import time

from caterva2.errors import Unavailable
from caterva2_service.log import get_logger

from ..db import AuditEntry, AuditTrail
from .caller import Caller

_log = get_logger("caterva2.audit")


class Audit:
    """The audit trail, in the database and in the log. Entries never hold secrets."""

    def __init__(self, trail: AuditTrail) -> None:
        self._trail = trail

    async def record(
        self, action: str, actor: str, caller: Caller, *, target: str = "", result: str = "ok", detail: str = ""
    ) -> None:
        """Write down what was done. The log has it even while the database is away."""
        _log.info("audit", action=action, actor=actor, target=target, result=result, address=caller.address)
        entry = AuditEntry(time.time(), action, actor, target, result, caller.address, caller.request_id, detail)
        try:
            await self._trail.add(entry)
        except Unavailable:
            _log.error("audit entry not stored", action=action, actor=actor, target=target, result=result)

    async def read(
        self, *, limit: int = 100, before: int | None = None, action: str | None = None, actor: str | None = None
    ) -> list[AuditEntry]:
        """Return entries, the newest first; `before` is the id of the last one already seen."""
        return await self._trail.read(limit=limit, before=before, action=action, actor=actor)
