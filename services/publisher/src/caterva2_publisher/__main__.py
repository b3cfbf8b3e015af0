"""Command line of the publisher: ``cat2pub``."""

from __future__ import annotations

import sys

from caterva2.errors import Caterva2Error
from caterva2_service import log, serve
from caterva2_service.settings import load_settings

from .app import create_app
from .beside import beside_another
from .context import check_start
from .settings import PublisherSettings


def main() -> int:
    """Run a publisher until it is told to stop."""
    settings = load_settings(
        PublisherSettings,
        prog="cat2pub",
        section="publisher",
        description="Publish a directory or an HDF5 file as a root, and announce its changes.",
    )
    log.configure(settings.loglevel)
    chosen = beside_another(settings)
    if chosen != settings:
        print(
            f"cat2pub: another publisher runs here, so this one listens at {chosen.http} and keeps its state in "
            f"{chosen.statedir}",
            file=sys.stderr,
        )
        settings = chosen
    try:
        check_start(settings)
    except Caterva2Error as error:
        print(f"cat2pub: {error}", file=sys.stderr)
        return 1
    return serve.run(lambda: create_app(settings), settings)


if __name__ == "__main__":
    raise SystemExit(main())
