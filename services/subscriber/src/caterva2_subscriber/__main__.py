"""Command line of the subscriber: ``cat2sub``."""

from __future__ import annotations

from caterva2_service import log, serve
from caterva2_service.settings import load_settings

from .app import create_app
from .settings import SubscriberSettings


def main() -> int:
    """Run a subscriber until it is told to stop."""
    settings = load_settings(
        SubscriberSettings,
        prog="cat2sub",
        section="subscriber",
        description="Follow published roots, cache what is read, and serve people.",
    )
    log.configure(settings.loglevel)
    return serve.run(lambda: create_app(settings), settings)


if __name__ == "__main__":
    raise SystemExit(main())
