"""Command line of the subscriber: ``cat2sub``."""

from __future__ import annotations

import asyncio
import sys

from caterva2.errors import BadRequest, Unavailable
from caterva2_service import log, workers
from caterva2_service.settings import load_settings

from .app import create_app
from .db import Database
from .people import database_url
from .settings import SubscriberSettings

PROG = "cat2sub"


def main() -> int:
    """Run a subscriber until it is told to stop."""
    settings = load_settings(
        SubscriberSettings,
        prog=PROG,
        section="subscriber",
        description="Follow published roots, cache what is read, and serve people.",
    )
    log.configure(settings.loglevel)
    if settings.migrate:
        return asyncio.run(migrate(settings))
    return workers.run(lambda siblings: create_app(settings, siblings=siblings), settings, settings.nworkers)


async def migrate(settings: SubscriberSettings) -> int:
    """Bring the database to this version and return the exit code of the process."""
    if settings.database.url is None:
        settings.statedir.mkdir(parents=True, exist_ok=True)
    url, owner = database_url(settings), settings.database.migration_url
    try:
        database = Database(owner.get_secret_value() if owner else url)
    except BadRequest as error:
        print(f"{PROG}: {error}", file=sys.stderr)
        return 1
    try:
        await database.migrate(admit=url if owner else None)
    except (BadRequest, Unavailable) as error:
        print(f"{PROG}: {error}", file=sys.stderr)
        return 1
    finally:
        await database.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
