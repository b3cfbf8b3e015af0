"""``cat2bro``: run a broker."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from caterva2_service.serve import run
from caterva2_service.settings import load_settings

from .admission import accepted
from .app import create_app
from .settings import BrokerSettings


def main(argv: Sequence[str] | None = None) -> int:
    """Run a broker until it is told to stop; return the exit code."""
    settings = load_settings(
        BrokerSettings,
        argv,
        prog="cat2bro",
        section="broker",
        description="Run a Caterva2 broker, which knows who publishes which root and where the bus is.",
    )
    print(f"cat2bro: {accepted(settings)}", file=sys.stderr)
    return run(lambda: create_app(settings), settings)


if __name__ == "__main__":
    sys.exit(main())
